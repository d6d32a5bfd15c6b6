//! Denials of groups: durable first, then in force for every login, and only then answered.

use std::sync::Arc;

use super::view::{GroupDenialView, GroupDenied};
use super::{AccountError, Accounts, Actor, DenyWish, PAGE, RETRIES, denials, event};
use crate::clock::Timestamp;
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::denials::{GroupDenial, GroupDenials};
use crate::engine::facts::{Person, normalise_dn};
use crate::engine::record::{Deny, decode, encode};

impl Accounts {
    /// Puts in force what the store has of denied groups. For the start, before anybody is let in.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load_group_denials(&self) -> Result<(), AccountError> {
        let page = self.store.scan(Key::GROUP_DENIALS, None, PAGE).await?;
        let mut all = Vec::with_capacity(page.len());
        for (key, octets) in page {
            let name = || String::from_utf8_lossy(key.as_octets()).into_owned();
            all.push(decode(&octets).map_err(|error| AccountError::BadRecord(name(), error))?);
        }
        self.surroundings.group_denials().store(Arc::new(GroupDenials(all)));
        Ok(())
    }

    /// Keeps the members of a group out from the moment this completes. `group` is its distinguished name, or its `cn`;
    /// who is in it is what the directory says at each login. A denial in force is replaced.
    ///
    /// # Errors
    /// [`AccountError::Invalid`], or when the store fails.
    pub async fn deny_group(
        &self,
        group: &str,
        directory: Option<&str>,
        wish: &DenyWish,
        by: Actor<'_>,
    ) -> Result<(GroupDenied, GroupDenial), AccountError> {
        let group = self.group(group, directory)?;
        let deny = denials::deny(wish, by)?;
        let _one_at_a_time = self.group_denials.lock().await;
        let mut all = GroupDenials::clone(&self.surroundings.group_denials().load());
        let same = |denial: &GroupDenial| denial.group == group && denial.directory.as_deref() == directory;
        let replaced = all
            .0
            .iter()
            .any(|denial| same(denial) && denial.deny.is_in_force(by.now));
        let over = over(&mut all, by.now);
        all.0.retain(|denial| !same(denial));
        if all.0.len() >= GroupDenials::MOST {
            let what = format!(
                "{} groups are denied already, the most there can be",
                GroupDenials::MOST
            );
            return Err(AccountError::Invalid(what));
        }
        let denial = GroupDenial {
            group: group.clone(),
            directory: directory.map(ToOwned::to_owned),
            deny,
        };
        let what = format!("{group}: {}", denials::ends(wish));
        let mut batch = over;
        batch.audit.push(event("group.deny", by, None, &what));
        batch.write.retain(|(key, _)| *key != denial.key());
        batch.write.push((denial.key(), Change::Put(encode(&denial), None)));
        all.0.push(denial.clone());
        self.put_in_force(batch, all).await?;
        let view = GroupDenialView::of(&denial);
        Ok((GroupDenied { denial: view, replaced }, denial))
    }

    /// Lifts it. The answer is what was lifted.
    ///
    /// # Errors
    /// [`AccountError::NotDenied`], or when the store fails.
    pub async fn lift_group_denial(
        &self,
        group: &str,
        directory: Option<&str>,
        reason: &str,
        by: Actor<'_>,
    ) -> Result<GroupDenialView, AccountError> {
        let reason = denials::stated(reason)?;
        let group = self.group(group, directory)?;
        let _one_at_a_time = self.group_denials.lock().await;
        let mut all = GroupDenials::clone(&self.surroundings.group_denials().load());
        let mut batch = over(&mut all, by.now);
        let same = |denial: &GroupDenial| denial.group == group && denial.directory.as_deref() == directory;
        let Some(place) = all.0.iter().position(same) else {
            return Err(AccountError::NotDenied(group));
        };
        let lifted = all.0.remove(place);
        let what = format!("{group}: denial by {} lifted", lifted.deny.by);
        let what = if reason.is_empty() {
            what
        } else {
            format!("{what}: {reason}")
        };
        batch.audit.push(event("group.undeny", by, None, &what));
        batch.write.push((lifted.key(), Change::Delete));
        self.put_in_force(batch, all).await?;
        Ok(GroupDenialView::of(&lifted))
    }

    /// The denied group that keeps a person out.
    pub(super) fn denied_group(&self, person: &Person, now: Timestamp) -> Option<GroupDenialView> {
        let all = self.surroundings.group_denials().load();
        all.of(person, now).map(GroupDenialView::of)
    }

    /// Groups that are denied now.
    pub fn denied_groups(&self, now: Timestamp) -> Vec<GroupDenialView> {
        let all = self.surroundings.group_denials().load();
        let in_force = all.0.iter().filter(|denial| denial.deny.is_in_force(now));
        in_force.map(GroupDenialView::of).collect()
    }

    /// Nobody else writes these keys, and nobody who does waits for anything but the store.
    async fn put_in_force(&self, batch: Batch, all: GroupDenials) -> Result<(), AccountError> {
        for _ in 0..RETRIES {
            if self.commit(batch.clone()).await? {
                self.surroundings.group_denials().store(Arc::new(all));
                return Ok(());
            }
        }
        Err(AccountError::Busy("denied groups".into()))
    }

    /// A group's name as it is compared.
    fn group(&self, group: &str, directory: Option<&str>) -> Result<String, AccountError> {
        self.chosen(directory)?;
        let name = normalise_dn(group.trim());
        if name.is_empty() || name.chars().any(char::is_control) || name.len() > LONGEST_NAME {
            return Err(AccountError::Invalid(format!("`{group}` is not the name of a group")));
        }
        Ok(name)
    }
}

/// Longest name of a group, in octets.
const LONGEST_NAME: usize = 1024;

/// Takes those out that are over; the batch removes them.
fn over(all: &mut GroupDenials, now: Timestamp) -> Batch {
    let mut batch = Batch::default();
    all.0.retain(|denial| {
        let stays = denial.deny.is_in_force(now);
        if !stays {
            batch.write.push((denial.key(), Change::Delete));
        }
        stays
    });
    batch
}

impl GroupDenialView {
    fn of(denial: &GroupDenial) -> Self {
        let Deny { until, reason, by, at } = denial.deny.clone();
        Self {
            group: denial.group.clone(),
            directory: denial.directory.clone(),
            until,
            reason,
            by,
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::accounts::fixture::{CAROL, Fixture, NOW};

    fn wish(until: Option<u64>) -> DenyWish {
        DenyWish {
            until: until.map(|secs| NOW + Duration::from_secs(secs)),
            reason: "left the company".into(),
        }
    }

    #[tokio::test]
    async fn groups_are_denied_listed_replaced_lifted_and_still_denied_after_a_start() {
        let site = Fixture::new();
        let deny =
            async |group: &str, directory, until| site.accounts.deny_group(group, directory, &wish(until), CAROL).await;
        let (denied, _) = deny("CN=Staff, DC=main", None, None).await.unwrap();
        assert_eq!(
            (denied.denial.group.as_str(), denied.replaced),
            ("cn=staff,dc=main", false)
        );
        deny("staff", Some("guests"), Some(60)).await.unwrap();
        let (again, _) = deny("cn=staff,dc=main", None, Some(30)).await.unwrap();
        assert!(again.replaced);
        let names = |now| -> Vec<String> {
            let all = site.accounts.denied_groups(now).into_iter();
            all.map(|denial| denial.group).collect()
        };
        assert_eq!(names(NOW), ["staff", "cn=staff,dc=main"]);
        assert_eq!(names(NOW + Duration::from_secs(30)), ["staff"], "it ends by itself");
        // As after a start.
        site.denials.store(Arc::default());
        site.accounts.load_group_denials().await.unwrap();
        let mut known = names(NOW);
        known.sort_unstable();
        assert_eq!(known, ["cn=staff,dc=main", "staff"]);
        let ana = site.subject("ana").await;
        let denials = site.denials.load_full();
        assert!(denials.of(ana.person.as_ref().unwrap(), NOW).is_some());

        let lifted = site
            .accounts
            .lift_group_denial("staff", Some("guests"), "", CAROL)
            .await
            .unwrap();
        assert_eq!(lifted.until, Some(NOW + Duration::from_secs(60)));
        let none = site.accounts.lift_group_denial("staff", None, "", CAROL).await;
        assert!(matches!(none, Err(AccountError::NotDenied(_))), "{none:?}");
        for bad in [
            deny("", None, None).await,
            deny("a\nb", None, None).await,
            deny("x", None, Some(0)).await,
        ] {
            assert!(matches!(bad, Err(AccountError::Invalid(_))), "{bad:?}");
        }
        assert!(matches!(
            deny("x", Some("nowhere"), None).await,
            Err(AccountError::NoSuchDirectory(..))
        ));
        assert_eq!(
            site.audited().await,
            [
                "group.deny accept",
                "group.deny accept",
                "group.deny accept",
                "group.undeny accept"
            ]
        );
    }

    #[tokio::test]
    async fn those_that_are_over_are_cleared_away() {
        let site = Fixture::new();
        for group in ["one", "two"] {
            site.accounts
                .deny_group(group, None, &wish(Some(60)), CAROL)
                .await
                .unwrap();
        }
        let later = Actor {
            now: NOW + Duration::from_secs(60),
            ..CAROL
        };
        site.accounts.deny_group("one", None, &wish(None), later).await.unwrap();
        site.accounts.load_group_denials().await.unwrap();
        let kept: Vec<String> = site
            .denials
            .load()
            .0
            .iter()
            .map(|denial| denial.group.clone())
            .collect();
        assert_eq!(kept, ["one"]);
    }
}
