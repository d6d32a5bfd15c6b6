//! How many people have what: counts over all records, nobody by name.

use std::collections::BTreeMap;

use super::jobs::Whom;
use super::{AccountError, Accounts};
use crate::clock::Timestamp;
use crate::engine::facts::normalise_dn;
use crate::engine::policy::is_group;
use crate::engine::questions::Questions;
use crate::engine::questions::answers::due;
use crate::engine::record::UserRecord;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// What the groups are: directories, or groups of one.
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
    /// Those whom only the directory knows: they never logged in, nor were given anything.
    pub without_record: u64,
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
    /// Counts people by directory, of one directory where it is given: reads all records, a page at a time, and lists
    /// the people of each directory that can be listed, so that those without a record are counted as well.
    ///
    /// # Errors
    /// When the store fails, or a record does not read.
    pub async fn census(&self, directory: Option<&str>, now: Timestamp) -> Result<Census, AccountError> {
        let chosen = self.chosen(directory)?;
        let policy = self.surroundings.policy();
        let mut census = Census {
            by: "directory",
            ..Census::default()
        };
        for directory in &chosen {
            census.groups.insert(directory.name().to_owned(), Counts::default());
        }
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
        for directory in chosen {
            let name = directory.name().to_owned();
            let mut listed = 0_u64;
            let listing = self.each_listed(&name, |_| listed += 1).await?;
            match listing {
                Ok(()) => {
                    let counts = census.groups.entry(name).or_default();
                    counts.without_record = listed.saturating_sub(counts.people);
                    counts.people += counts.without_record;
                }
                Err(why) => census.notes.push(format!(
                    "{name}: people without a record are not counted, because it cannot be listed: {why}"
                )),
            }
        }
        Ok(census)
    }

    /// Counts the members of one group of a directory, each looked up by itself.
    ///
    /// # Errors
    /// When the store fails, the directory cannot be asked, or a record does not read.
    pub async fn census_of_group(&self, directory: &str, group: &str, now: Timestamp) -> Result<Census, AccountError> {
        let policy = self.surroundings.policy();
        let mut census = Census {
            by: "group",
            ..Census::default()
        };
        let mut counts = Counts::default();
        let wanted = normalise_dn(group);
        let mut searched = self.search(&everybody(directory))?;
        while let Some(names) = searched.names.recv().await {
            for dn in names {
                let Some(subject) = self.by_dn(directory, &dn).await? else {
                    continue;
                };
                let groups = subject.person.iter().flat_map(|person| &person.groups);
                if !groups.clone().any(|of| is_group(&wanted, of)) {
                    continue;
                }
                let record = self.record_of(&subject, now).await?;
                census.records += 1;
                counts.without_record += u64::from(record == UserRecord::default());
                counts.add(&record, &policy.questions, now);
            }
        }
        let came = searched.came.await.unwrap_or_else(|error| Err(error.to_string()));
        came.map_err(|why| AccountError::DirectoryUnavailable(directory.to_owned(), why))?;
        census.groups.insert(group.to_owned(), counts);
        Ok(census)
    }

    /// Hands over the name of everybody in a directory; why it could not be listed to the end, if so.
    async fn each_listed(
        &self,
        directory: &str,
        mut take: impl FnMut(String),
    ) -> Result<Result<(), String>, AccountError> {
        let mut searched = self.search(&everybody(directory))?;
        while let Some(names) = searched.names.recv().await {
            names.into_iter().for_each(&mut take);
        }
        Ok(searched.came.await.unwrap_or_else(|error| Err(error.to_string())))
    }
}

/// All people of a directory.
fn everybody(directory: &str) -> Whom {
    Whom {
        directory: directory.to_owned(),
        filter: "(objectClass=*)".to_owned(),
        group: None,
        enrolled: None,
    }
}

#[cfg(test)]
mod tests {
    use super::Counts;
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
        let sum = |count: fn(&Counts) -> u64| census.groups.values().map(count).sum::<u64>();
        assert_eq!(
            (sum(|counts| counts.registered), sum(|counts| counts.must_update)),
            (1, 0)
        );
        assert_eq!(
            sum(|counts| counts.people - counts.without_record),
            1,
            "ana has a record"
        );
        assert!(site.accounts.census(Some("nowhere"), clock::now()).await.is_err());
    }
}
