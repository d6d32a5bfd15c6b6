//! How many people have what: counts over all records, nobody by name.

use std::collections::BTreeMap;

use super::{AccountError, Accounts};
use crate::clock::Timestamp;
use crate::engine::questions::Questions;
use crate::engine::questions::answers::due;
use crate::engine::record::UserRecord;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// What the groups are: directories.
    pub by: &'static str,
    /// The counts, by group.
    pub groups: BTreeMap<String, Counts>,
    /// Records looked at.
    pub records: u64,
    /// What is to be known of it: sentences.
    pub notes: Vec<String>,
}

/// Counts of people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub people: u64,
    /// Those with a second factor that counts.
    pub registered: u64,
    /// Those who had one once and have none that counts: a rule that wants one lets them in no more.
    pub must_register: u64,
    /// Those with something to put in order: one of the four that follow.
    pub must_update: u64,
    /// With tokens, all of them switched off.
    pub tokens_off: u64,
    /// With at most two recovery codes left of a set.
    pub few_codes: u64,
    /// With answers to security questions that are to be defined anew.
    pub answers_due: u64,
    /// With answers that are locked.
    pub answers_locked: u64,
    /// Kept out by an operator.
    pub denied: u64,
}

impl Counts {
    /// Those without a second factor that counts.
    pub const fn unregistered(&self) -> u64 {
        self.people.saturating_sub(self.registered)
    }

    fn add(&mut self, record: &UserRecord, questions: &Questions, now: Timestamp) {
        let mut tokens = record.tokens.iter().filter(|token| !token.is_of_machine()).peekable();
        let any = tokens.peek().is_some();
        let live = tokens.any(|token| !token.disabled);
        let codes = !record.recovery.is_empty();
        let answers = record.answers.as_deref();
        let off = any && !live;
        let few = codes && record.recovery.len() <= FEW_CODES;
        let outdated =
            answers.is_some_and(|answers| answers.are_defined() && due(Some(answers), questions, now).is_some());
        let locked = answers.is_some_and(|answers| answers.locked);
        self.people += 1;
        self.registered += u64::from(live || codes);
        self.must_register += u64::from(record.ever_enrolled && !live && !codes);
        self.must_update += u64::from(off || few || outdated || locked);
        self.tokens_off += u64::from(off);
        self.few_codes += u64::from(few);
        self.answers_due += u64::from(outdated);
        self.answers_locked += u64::from(locked);
        self.denied += u64::from(record.denial(now).is_some());
    }
}

/// Recovery codes that are few.
const FEW_CODES: usize = 2;

impl Accounts {
    /// Counts people by directory, of one directory where it is given. Reads all records, a page at a time.
    ///
    /// # Errors
    /// When the store fails, or a record does not read.
    pub async fn census(&self, directory: Option<&str>, now: Timestamp) -> Result<Census, AccountError> {
        let policy = self.surroundings.policy();
        let mut census = Census {
            by: "directory",
            ..Census::default()
        };
        self.each_user(|key, record| {
            let (name, _) = key.as_str().split_once(':').unwrap_or_default();
            census.records += 1;
            if directory.is_none_or(|wanted| wanted == name) {
                let counts = census.groups.entry(name.to_owned()).or_default();
                counts.add(&record, &policy.questions, now);
            }
            true
        })
        .await?;
        census
            .notes
            .push("people without a record, who never logged in nor were given anything, are not counted".into());
        Ok(census)
    }
}

#[cfg(test)]
mod tests {
    use crate::accounts::fixture::Fixture;
    use crate::accounts::{Actor, TokenWish};
    use crate::clock;

    #[tokio::test]
    async fn people_are_counted_by_what_they_have() {
        let site = Fixture::new();
        let by = Actor::now("carol");
        let ana = site.accounts.resolve("ana", None).await.unwrap();
        site.accounts.enrol(&ana, &TokenWish::default(), by).await.unwrap();
        let census = site.accounts.census(None, clock::now()).await.unwrap();
        let (name, counts) = census.groups.iter().next().unwrap();
        assert_eq!(
            (counts.people, counts.registered, counts.must_update),
            (1, 1, 0),
            "{name}"
        );
        assert!(
            site.accounts
                .census(Some("nowhere"), clock::now())
                .await
                .unwrap()
                .groups
                .is_empty()
        );
    }
}
