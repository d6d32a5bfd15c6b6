//! What is done later, or to many: stored before anybody is told that it will be, and done exactly once with each
//! person although the process may be killed at any moment.
//!
//! A mark for each person ([`Key::done_with`]) is written in one batch with the change of their record and its audit
//! record. A job that was broken off begins again from the start and passes over whoever has a mark. Whether the
//! directory is told once more is decided by the person's record: who has changed the password meanwhile is left alone.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, watch};

use super::helpdesk::forced;
use super::view::{InDirectory, JobView, moment};
use super::{AccountError, Accounts, Actor, DenyWish, RETRIES, Subject, event};
use crate::clock::Timestamp;
use crate::directory::filter::Filter;
use crate::engine::account::AccountChange;
use crate::engine::batch::{Batch, Change, Key, Version};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Lookup, UserKey, normalise_dn};
use crate::engine::policy::is_group;
use crate::engine::record::{Record, UserRecord, decode, encode};
use crate::engine::request::LoginName;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Many are to change their passwords.
    ForceChanges(Whom),
    /// One person is to.
    ForceChange(Named),
    /// An account is to be switched off.
    Disable(Named),
    /// A person is to be kept out.
    Deny {
        /// Whom.
        whom: Named,
        /// Until when.
        #[serde(with = "until")]
        until: Option<Timestamp>,
        /// Why.
        reason: String,
    },
    /// The members of a group are to be kept out.
    DenyGroup {
        /// The group.
        group: String,
        /// The directory; all when absent.
        directory: Option<String>,
        /// Until when.
        #[serde(with = "until")]
        until: Option<Timestamp>,
        /// Why.
        reason: String,
    },
}

/// A moment for people in JSON, and as it is in the store.
mod until {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Timestamp, moment};

    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub(super) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => moment::option::serialize(at, serializer),
            false => at.serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
        match deserializer.is_human_readable() {
            true => moment::option::deserialize(deserializer),
            false => Option::deserialize(deserializer),
        }
    }
}

/// One person, who must still be the same when the time comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Key of the person.
    pub user: UserKey,
    /// Login name.
    pub login: String,
}

/// Many people of one directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whom {
    /// The directory.
    pub directory: String,
    /// A filter (RFC 4515), beside the directory's own.
    pub filter: String,
    /// Members of this group only: its distinguished name, or its `cn`.
    pub group: Option<String>,
    /// Those who have a second factor only, or those who have none.
    pub enrolled: Option<bool>,
}

impl Whom {
    /// The filter.
    ///
    /// # Errors
    /// [`AccountError::Invalid`] with the place.
    pub fn filter(&self) -> Result<Filter, AccountError> {
        if self.filter.len() > LONGEST_FILTER {
            return Err(AccountError::Invalid(format!(
                "a filter has at most {LONGEST_FILTER} octets"
            )));
        }
        Filter::parse(&self.filter).map_err(|error| AccountError::Invalid(format!("`{}`: {error}", self.filter)))
    }

    /// Why somebody is not meant, if so.
    pub fn leaves_out(&self, subject: &Subject, record: &UserRecord) -> Option<&'static str> {
        let in_group = |group: &String| {
            let group = normalise_dn(group);
            let mut groups = subject.person.iter().flat_map(|person| &person.groups);
            groups.any(|of| is_group(&group, of))
        };
        let enrolled = !record.recovery.is_empty() || record.tokens.iter().any(|token| !token.is_of_machine());
        match (&self.group, self.enrolled) {
            (Some(group), _) if !in_group(group) => Some("not in the group"),
            (_, Some(true)) if !enrolled => Some("has no second factor"),
            (_, Some(false)) if enrolled => Some("has a second factor"),
            _ if record.must_change.is_some() => Some("has to change it already"),
            _ => None,
        }
    }
}

impl Action {
    /// The word for it, as in the audit.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::ForceChanges(_) => "users.must-change",
            Self::ForceChange(_) => "user.must-change",
            Self::Disable(_) => "user.disable",
            Self::Deny { .. } => "user.deny",
            Self::DenyGroup { .. } => "group.deny",
        }
    }

    /// What is to be done to whom, in one line.
    pub fn told(&self) -> String {
        match self {
            Self::ForceChanges(whom) => {
                let mut told = format!("{} {} in {}", self.word(), whom.filter, whom.directory);
                if let Some(group) = &whom.group {
                    told.push_str(&format!(", members of {group}"));
                }
                match whom.enrolled {
                    Some(true) => told.push_str(", with a second factor"),
                    Some(false) => told.push_str(", without a second factor"),
                    None => {}
                }
                told
            }
            Self::ForceChange(named) | Self::Disable(named) | Self::Deny { whom: named, .. } => {
                format!("{} {}", self.word(), named.login)
            }
            Self::DenyGroup { group, .. } => format!("{} {group}", self.word()),
        }
    }
}

/// How a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Its time has not come.
    Waiting,
    /// It has begun; after a start, it was broken off.
    Running,
    /// It is done.
    Done,
    /// Not done, or not to the end, for this reason.
    Failed(String),
    /// This operator did not want it any more.
    Cancelled(String),
}

/// How far a job is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// People it is done with.
    pub done: u64,
    /// People it is not about.
    pub skipped: u64,
    /// People it could not be done with.
    pub failed: u64,
    /// The first of them, each with the reason.
    pub failures: Vec<(String, String)>,
}

impl Progress {
    /// Notes a failure; of many, the first alone are named.
    pub fn fail(&mut self, who: &str, why: &str) {
        self.failed += 1;
        if self.failures.len() < MOST_FAILURES {
            self.failures.push((cut(who, 128), cut(why, 256)));
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    let end = text.floor_char_boundary(most.min(text.len()));
    text.get(..end).unwrap_or_default().to_owned()
}

/// A job, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Names it.
    pub number: u64,
    /// The operator whom it is done for; what they may do is asked again when it is done.
    pub by: String,
    /// Whether that was root, or the process's own account.
    pub own: bool,
    /// When it was asked for.
    pub asked: Timestamp,
    /// When it is to be done.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// How it stands.
    pub state: State,
    /// How far it is.
    pub progress: Progress,
    /// When it was over.
    pub ended: Option<Timestamp>,
}

impl Record for JobRecord {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

/// What came of a job for one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is done, now or before the job was broken off.
    Done,
    /// It holds here, and the directory has not done it.
    Failed(String),
}

/// What a mark says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mark {
    /// It holds here; what the directory was told is not known.
    Begun,
    /// It is over.
    Over(Option<String>),
}

impl Record for Mark {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

/// What runs, for who looks on.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Numbers are given one at a time.
    numbering: tokio::sync::Mutex<()>,
    /// Something was asked for, or called off.
    wake: Notify,
    live: Mutex<BTreeMap<u64, Progress>>,
    changed: watch::Sender<u64>,
}

impl Accounts {
    /// Has something done at `at`; `own` says that the operator is root or the process's own account.
    ///
    /// # Errors
    /// [`AccountError::Invalid`] when too much waits already, or for a filter that is none.
    pub async fn schedule(
        &self,
        action: Action,
        at: Timestamp,
        own: bool,
        by: Actor<'_>,
    ) -> Result<JobView, AccountError> {
        if let Action::ForceChanges(whom) = &action {
            whom.filter()?;
            self.chosen(Some(&whom.directory))?;
        }
        let _one_at_a_time = self.jobs.numbering.lock().await;
        let all = self.all_jobs().await?;
        let (open, over): (Vec<_>, Vec<_>) = all.iter().partition(|(_, job)| job.ended.is_none());
        if open.len() >= MOST_JOBS {
            let what = format!("{MOST_JOBS} jobs are not done yet, the most there can be");
            return Err(AccountError::Invalid(what));
        }
        let number = all.last().map_or(0, |(_, job)| job.number) + 1;
        let record = JobRecord {
            number,
            by: by.name.to_owned(),
            own,
            asked: by.now,
            at,
            action,
            state: State::Waiting,
            progress: Progress::default(),
            ended: None,
        };
        let mut batch = Batch::default();
        batch.replace(Key::job(number), Version::default(), Change::Put(encode(&record), None));
        // The oldest of those that are over make room.
        for (_, old) in over.iter().rev().skip(MOST_JOBS) {
            batch.write.push((Key::job(old.number), Change::Delete));
        }
        let what = format!("job {number} at {at}: {}", record.action.told());
        batch.audit.push(event("schedule.add", by, None, &what));
        if !self.commit(batch).await? {
            return Err(AccountError::Busy(format!("job {number}")));
        }
        self.jobs.wake.notify_one();
        Ok(JobView::of(&record, None))
    }

    /// All jobs that are known, in the order in which they were asked for.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn jobs(&self) -> Result<Vec<JobView>, AccountError> {
        let all = self.all_jobs().await?;
        let live = self.jobs.live.lock();
        Ok(all
            .iter()
            .map(|(_, job)| JobView::of(job, live.get(&job.number)))
            .collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// [`AccountError::NoSuchJob`].
    pub async fn job(&self, number: u64) -> Result<JobView, AccountError> {
        let (record, _) = self.read_job(number).await?;
        Ok(JobView::of(&record, self.jobs.live.lock().get(&number)))
    }

    /// Calls a job off, also one that runs: what it has done stays done.
    ///
    /// # Errors
    /// [`AccountError::NoSuchJob`], [`AccountError::JobOver`].
    pub async fn cancel_job(&self, number: u64, by: Actor<'_>) -> Result<JobView, AccountError> {
        let record = self
            .change_job(number, |record| {
                match record.state {
                    State::Waiting | State::Running => {}
                    State::Done => return Err(AccountError::JobOver(number, "done already")),
                    State::Failed(_) => return Err(AccountError::JobOver(number, "over; it failed")),
                    State::Cancelled(_) => return Err(AccountError::JobOver(number, "cancelled already")),
                }
                record.state = State::Cancelled(by.name.to_owned());
                record.ended = Some(by.now);
                let what = format!("job {number}: {}", record.action.told());
                Ok(Some(event("schedule.cancel", by, None, &what)))
            })
            .await?;
        self.jobs.wake.notify_one();
        self.jobs.changed.send_modify(|count| *count += 1);
        Ok(JobView::of(&record, None))
    }

    /// Jobs whose time has come, those that were broken off first; and when the next one comes.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn due_jobs(&self, now: Timestamp) -> Result<(Vec<JobRecord>, Option<Timestamp>), AccountError> {
        let open = self.all_jobs().await?.into_iter().map(|(_, job)| job);
        let open = open.filter(|job| job.ended.is_none());
        let (mut due, later): (Vec<_>, Vec<_>) = open.partition(|job| job.at <= now);
        due.sort_by_key(|job| (job.state != State::Running, job.at, job.number));
        Ok((due, later.iter().map(|job| job.at).min()))
    }

    /// Waits until something is asked for or called off, at most so long.
    pub async fn jobs_changed(&self, most: Duration) {
        let _ = tokio::time::timeout(most, self.jobs.wake.notified()).await;
    }

    /// Hears of progress: the value grows with each.
    pub fn watch_jobs(&self) -> watch::Receiver<u64> {
        self.jobs.changed.subscribe()
    }

    /// Begins a job, or goes on with one that was broken off; `None` when it was called off.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn begin_job(&self, number: u64, now: Timestamp) -> Result<Option<JobRecord>, AccountError> {
        let record = self
            .change_job(number, |record| {
                let again = record.state == State::Running;
                if record.ended.is_some() {
                    return Ok(None);
                }
                record.state = State::Running;
                let what = match again {
                    true => format!("job {number} goes on after a start: {}", record.action.told()),
                    false => format!("job {number}: {}", record.action.told()),
                };
                let by = Actor { name: &record.by, now };
                Ok(Some(event("schedule.run", by, None, &what)))
            })
            .await?;
        self.jobs.live.lock().insert(number, Progress::default());
        Ok(record.ended.is_none().then_some(record))
    }

    /// Says how far a job is; false when it has been called off.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn job_goes_on(&self, number: u64, progress: &Progress) -> Result<bool, AccountError> {
        self.jobs.live.lock().insert(number, progress.clone());
        self.jobs.changed.send_modify(|count| *count += 1);
        let (record, _) = self.read_job(number).await?;
        Ok(record.ended.is_none())
    }

    /// Ends a job, unless it was called off meanwhile; an error says why it is not done to the end.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn end_job(
        &self,
        number: u64,
        progress: Progress,
        came: Result<(), String>,
        now: Timestamp,
    ) -> Result<(), AccountError> {
        self.change_job(number, |record| {
            record.progress = progress.clone();
            let was_over = record.ended.is_some();
            let counts = format!(
                "job {number}: {}; done {}, left out {}, failed {}",
                record.action.told(),
                progress.done,
                progress.skipped,
                progress.failed
            );
            let by = Actor { name: &record.by, now };
            let (state, event) = match &came {
                Ok(()) => (State::Done, event("schedule.done", by, None, &counts)),
                Err(why) => {
                    let event = AuditEvent {
                        outcome: Outcome::Reject,
                        ..event("schedule.done", by, None, &format!("{counts}: {why}"))
                    };
                    (State::Failed(cut(why, 1000)), event)
                }
            };
            if !was_over {
                record.state = state;
                record.ended = Some(now);
            }
            Ok(Some(event))
        })
        .await?;
        self.jobs.live.lock().remove(&number);
        self.jobs.changed.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Has one person's password changed for a job, once.
    ///
    /// # Errors
    /// When the store fails, or another server judges the passwords.
    pub async fn force_in_job(&self, number: u64, subject: &Subject, by: Actor<'_>) -> Result<Step, AccountError> {
        let directory = self.changeable(subject)?;
        let mark = Key::done_with(number, &subject.key);
        let keeps = |mark_is: Mark| Change::Put(encode(&mark_is), Some(by.now + MARK_LIFE));
        match self.mark(&mark, by.now).await? {
            Some(Mark::Over(None)) => return Ok(Step::Done),
            Some(Mark::Over(Some(why))) => return Ok(Step::Failed(why)),
            Some(Mark::Begun) => {
                let ((record, _), _) = self.load(subject, by.now).await?;
                if record.must_change.is_none() {
                    // They have changed it since.
                    return Ok(Step::Done);
                }
            }
            None => {
                let beside = Batch::of(mark.clone(), keeps(Mark::Begun));
                self.change_with("user.must-change", subject, by, &beside, |record| {
                    record.must_change = Some(forced(by));
                    Ok(((), format!("at the next login (job {number})")))
                })
                .await?;
            }
        }
        let told = self
            .tell(subject, &directory, AccountChange::MustChange(true), by)
            .await?;
        let why = match told {
            InDirectory::Done | InDirectory::Unsupported => None,
            InDirectory::Failed(why) => Some(why),
        };
        self.put_mark(mark, keeps(Mark::Over(why.clone()))).await?;
        Ok(why.map_or(Step::Done, Step::Failed))
    }

    /// Denies a person for a job, once. False when that was done before.
    ///
    /// # Errors
    /// As [`Accounts::deny`].
    pub async fn deny_in_job(
        &self,
        number: u64,
        subject: &Subject,
        wish: &DenyWish,
        by: Actor<'_>,
    ) -> Result<bool, AccountError> {
        let mark = Key::done_with(number, &subject.key);
        if self.mark(&mark, by.now).await?.is_some() {
            return Ok(false);
        }
        let beside = Batch::of(mark, Change::Put(encode(&Mark::Over(None)), Some(by.now + MARK_LIFE)));
        self.deny_with(subject, wish, &beside, by).await?;
        Ok(true)
    }

    /// Whether a job of one step has been done, as [`Accounts::job_step_done`] noted.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn job_step_is_done(&self, number: u64, now: Timestamp) -> Result<bool, AccountError> {
        let mark = Key::done_with(number, &UserKey::new("", "all"));
        Ok(self.mark(&mark, now).await?.is_some())
    }

    /// Notes that a job of one step has been done.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn job_step_done(&self, number: u64, now: Timestamp) -> Result<(), AccountError> {
        let mark = Key::done_with(number, &UserKey::new("", "all"));
        let change = Change::Put(encode(&Mark::Over(None)), Some(now + MARK_LIFE));
        self.put_mark(mark, change).await
    }

    /// The distinguished names of the people whom `whom` may mean, some at a time; what the search came to, at its end.
    ///
    /// # Errors
    /// [`AccountError::Invalid`], [`AccountError::NoSuchDirectory`].
    pub fn search(&self, whom: &Whom) -> Result<Searched, AccountError> {
        let filter = whom.filter()?;
        let directory = self.chosen(Some(&whom.directory))?.swap_remove(0);
        let (found, names) = mpsc::channel(2);
        let came = tokio::spawn(async move { directory.people(&filter, found).await });
        Ok(Searched { names, came })
    }

    /// The person of this name in a directory; `None` when it is nobody's that could log in.
    ///
    /// # Errors
    /// When the directory cannot be asked.
    pub async fn by_dn(&self, directory: &str, dn: &str) -> Result<Option<Subject>, AccountError> {
        let Ok(login) = LoginName::parse_dn(dn) else {
            return Ok(None);
        };
        let directory = self.chosen(Some(directory))?.swap_remove(0);
        match directory.look_up(&login).await {
            Lookup::Found(person) => Ok(Some(Subject {
                key: person.key.clone(),
                login: person.login.clone(),
                person: Some(person),
                warrant: None,
            })),
            Lookup::Unknown | Lookup::Ambiguous => Ok(None),
            Lookup::Unavailable(why) => Err(AccountError::DirectoryUnavailable(directory.name().to_owned(), why)),
        }
    }

    /// The record of a person.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn record_of(&self, subject: &Subject, now: Timestamp) -> Result<UserRecord, AccountError> {
        Ok(self.load(subject, now).await?.0.0)
    }

    /// Whether a job has marked somebody, so that it is not decided anew whether they are meant.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_marked(&self, number: u64, subject: &Subject, now: Timestamp) -> Result<bool, AccountError> {
        let mark = Key::done_with(number, &subject.key);
        Ok(self.mark(&mark, now).await?.is_some())
    }

    async fn mark(&self, key: &Key, now: Timestamp) -> Result<Option<Mark>, AccountError> {
        let found = self.store.read(std::slice::from_ref(key), now).await?;
        let octets = found.into_iter().next().and_then(|found| found.value);
        let bad = |error| AccountError::BadRecord(String::from_utf8_lossy(key.as_octets()).into_owned(), error);
        octets.as_deref().map(decode).transpose().map_err(bad)
    }

    async fn put_mark(&self, key: Key, change: Change) -> Result<(), AccountError> {
        let batch = Batch {
            write: vec![(key, change)],
            ..Batch::default()
        };
        self.commit(batch).await.map(|_| ())
    }

    async fn all_jobs(&self) -> Result<Vec<(Key, JobRecord)>, AccountError> {
        let page = self.store.scan(Key::JOBS, None, MOST_JOBS * 3).await?;
        let read = |(key, octets): (Key, Vec<u8>)| {
            let record = decode(&octets);
            let bad = |error| AccountError::BadRecord(String::from_utf8_lossy(key.as_octets()).into_owned(), error);
            record.map_err(bad).map(|record| (key, record))
        };
        page.into_iter().map(read).collect()
    }

    async fn read_job(&self, number: u64) -> Result<(JobRecord, Version), AccountError> {
        let none = || AccountError::NoSuchJob(number.to_string());
        let found = self.store.read(&[Key::job(number)], Timestamp::default()).await?;
        let found = found.into_iter().next().ok_or_else(none)?;
        let octets = found.value.ok_or_else(none)?;
        let record = decode(&octets).map_err(|error| AccountError::BadRecord(format!("job {number}"), error))?;
        Ok((record, found.version))
    }

    /// Changes a job's record; nothing is written where `change` has nothing for the audit.
    async fn change_job(
        &self,
        number: u64,
        mut change: impl FnMut(&mut JobRecord) -> Result<Option<AuditEvent>, AccountError>,
    ) -> Result<JobRecord, AccountError> {
        for _ in 0..RETRIES {
            let (mut record, version) = self.read_job(number).await?;
            let Some(event) = change(&mut record)? else {
                return Ok(record);
            };
            let mut batch = Batch::default();
            batch.replace(Key::job(number), version, Change::Put(encode(&record), None));
            batch.audit.push(event);
            if self.commit(batch).await? {
                return Ok(record);
            }
        }
        Err(AccountError::Busy(format!("job {number}")))
    }
}

/// People on their way from a search.
#[derive(Debug)]
pub struct Searched {
    /// Distinguished names, some at a time.
    pub names: mpsc::Receiver<Vec<String>>,
    /// What the search came to.
    pub came: tokio::task::JoinHandle<Result<(), String>>,
}

/// Most jobs that are not done yet; as many that are over are kept.
const MOST_JOBS: usize = 1000;

/// Failures that are named.
const MOST_FAILURES: usize = 100;

/// How long it is known that a job is done with somebody: a job does not take as long.
const MARK_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Longest filter, in octets.
const LONGEST_FILTER: usize = 4096;

#[cfg(test)]
mod tests;
