//! Denials: an operator's word that a person is not to be let in.

use super::view::{Denied, DenyView};
use super::{AccountError, Accounts, Actor, Subject};
use crate::clock::Timestamp;
use crate::engine::batch::Batch;
use crate::engine::record::Deny;

/// What a denial is to be like.
#[derive(Clone, Debug)]
pub struct DenyWish {
    /// From then on it is over; until it is lifted when absent. Not in the past.
    pub until: Option<Timestamp>,
    /// Why: not empty, on one line, at most [`Deny::MAX_REASON`] octets.
    pub reason: String,
}

impl Accounts {
    /// Keeps a person out from the moment this completes: over all protocols, whatever the rules say, and
    /// over restarts. A denial in force is replaced. People whom no directory knows any more can be denied
    /// as well: they might come back.
    ///
    /// # Errors
    /// [`AccountError::Invalid`], or when the store fails.
    pub async fn deny(&self, subject: &Subject, wish: &DenyWish, by: Actor<'_>) -> Result<Denied, AccountError> {
        self.deny_with(subject, wish, &Batch::default(), by).await
    }

    /// The same together with other changes, `beside`.
    pub(super) async fn deny_with(
        &self,
        subject: &Subject,
        wish: &DenyWish,
        beside: &Batch,
        by: Actor<'_>,
    ) -> Result<Denied, AccountError> {
        let deny = deny(wish, by)?;
        self.change_with("user.deny", subject, by, beside, |record| {
            let replaced = record.denial(by.now).is_some();
            let denial = DenyView::of(subject.key.as_str(), &subject.login, &deny);
            record.denied = Some(deny.clone());
            Ok((Denied { denial, replaced }, ends(wish)))
        })
        .await
    }

    /// Lifts a person's denial; `reason` is for the audit and may be empty. The answer is what was lifted.
    ///
    /// # Errors
    /// [`AccountError::NotDenied`], or when the store fails.
    pub async fn lift_denial(&self, subject: &Subject, reason: &str, by: Actor<'_>) -> Result<DenyView, AccountError> {
        let reason = stated(reason)?;
        self.change("user.undeny", subject, by, |record| {
            let deny = record.denied.take().filter(|deny| deny.is_in_force(by.now));
            let deny = deny.ok_or_else(|| AccountError::NotDenied(subject.login.clone()))?;
            let what = if reason.is_empty() {
                format!("denial by {} lifted", deny.by)
            } else {
                format!("denial by {} lifted: {reason}", deny.by)
            };
            Ok((DenyView::of(subject.key.as_str(), &subject.login, &deny), what))
        })
        .await
    }

    /// Denials in force, in the order of the people's keys, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn denials(&self, limit: usize, now: Timestamp) -> Result<Vec<DenyView>, AccountError> {
        let mut denials = Vec::new();
        self.each_user(|key, record| {
            if let Some(deny) = record.denial(now) {
                denials.push(DenyView::of(key.as_str(), &record.login, deny));
            }
            denials.len() < limit
        })
        .await?;
        Ok(denials)
    }
}

/// The denial that is wished for.
pub(super) fn deny(wish: &DenyWish, by: Actor<'_>) -> Result<Deny, AccountError> {
    let reason = stated(&wish.reason)?;
    if reason.is_empty() {
        return Err(AccountError::Invalid("a denial needs a reason".into()));
    }
    if let Some(until) = wish.until.filter(|&until| until <= by.now) {
        return Err(AccountError::Invalid(format!("{until} is past")));
    }
    Ok(Deny {
        until: wish.until,
        reason: reason.to_owned(),
        by: by.name.to_owned(),
        at: by.now,
    })
}

/// What is wished for, for the audit.
pub(super) fn ends(wish: &DenyWish) -> String {
    let reason = wish.reason.trim();
    match wish.until {
        Some(until) => format!("until {until}: {reason}"),
        None => format!("until lifted: {reason}"),
    }
}

/// A reason as it is written down.
pub(super) fn stated(reason: &str) -> Result<&str, AccountError> {
    let reason = reason.trim();
    if reason.len() > Deny::MAX_REASON {
        let what = format!("a reason has at most {} octets", Deny::MAX_REASON);
        return Err(AccountError::Invalid(what));
    }
    if reason.chars().any(char::is_control) {
        return Err(AccountError::Invalid("a reason is one line of plain text".into()));
    }
    Ok(reason)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::accounts::fixture::{CAROL, Fixture, NOW};

    fn wish(until: Option<Duration>) -> DenyWish {
        DenyWish {
            until: until.map(|span| NOW + span),
            reason: " laptop stolen ".into(),
        }
    }

    #[tokio::test]
    async fn somebody_without_a_record_gets_one() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        let denied = site.accounts.deny(&ana, &wish(None), CAROL).await.unwrap();
        assert!(!denied.replaced);
        let record = site.record(&ana).await;
        assert_eq!(record.login, "ana");
        let deny = record.denial(NOW).unwrap();
        assert_eq!((deny.by.as_str(), deny.reason.as_str()), ("carol", "laptop stolen"));
        let view = site.accounts.show(&ana, NOW).await.unwrap();
        assert_eq!(view.denied, Some(denied.denial));
        assert!(!view.ever_enrolled);
    }

    #[tokio::test]
    async fn denials_are_listed_replaced_and_lifted() {
        let site = Fixture::new();
        let (ana, gus) = (site.subject("ana").await, site.subject("gus").await);
        site.accounts
            .deny(&ana, &wish(Some(Duration::from_secs(60))), CAROL)
            .await
            .unwrap();
        site.accounts.deny(&gus, &wish(None), CAROL).await.unwrap();
        let again = site
            .accounts
            .deny(&ana, &wish(Some(Duration::from_secs(120))), CAROL)
            .await
            .unwrap();
        assert!(again.replaced);
        let names = async |now| -> Vec<String> {
            let denials = site.accounts.denials(10, now).await.unwrap();
            denials.into_iter().map(|denial| denial.login).collect()
        };
        assert_eq!(names(NOW + Duration::from_secs(60)).await, ["gus", "ana"]);
        assert_eq!(
            names(NOW + Duration::from_secs(120)).await,
            ["gus"],
            "it ends by itself"
        );
        assert_eq!(site.accounts.denials(1, NOW).await.unwrap().len(), 1);

        let lifted = site.accounts.lift_denial(&gus, "", CAROL).await.unwrap();
        assert_eq!((lifted.login.as_str(), lifted.until), ("gus", None));
        let none = site.accounts.lift_denial(&gus, "", CAROL).await;
        assert!(matches!(none, Err(AccountError::NotDenied(_))), "{none:?}");
        assert_eq!(site.accounts.show(&gus, NOW).await.unwrap().denied, None);
        assert_eq!(
            site.audited().await,
            [
                "user.deny accept",
                "user.deny accept",
                "user.deny accept",
                "user.undeny accept"
            ]
        );
    }

    #[tokio::test]
    async fn a_denial_that_is_over_cannot_be_lifted() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        site.accounts
            .deny(&ana, &wish(Some(Duration::from_secs(60))), CAROL)
            .await
            .unwrap();
        let later = Actor {
            now: NOW + Duration::from_secs(60),
            ..CAROL
        };
        let lifted = site.accounts.lift_denial(&ana, "", later).await;
        assert!(matches!(lifted, Err(AccountError::NotDenied(_))), "{lifted:?}");
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused() {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        for (reason, until) in [
            ("", None),
            ("  ", None),
            ("two\nlines", None),
            (&"x".repeat(501), None),
            ("late", Some(NOW)),
        ] {
            let wish = DenyWish {
                until,
                reason: reason.to_owned(),
            };
            let refused = site.accounts.deny(&ana, &wish, CAROL).await;
            assert!(
                matches!(refused, Err(AccountError::Invalid(_))),
                "{reason:?}: {refused:?}"
            );
        }
        assert_eq!(site.record(&ana).await.denied, None);
    }
}
