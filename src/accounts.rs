//! Administration of what is kept of people. Joins store, directories and the engine's records, as the
//! verifier does for logins: every change is one compare-and-swap batch with its audit record, durable
//! before the answer.

mod answers;
mod api_tokens;
mod census;
mod codes;
mod delegations;
mod denials;
mod four_eyes;
mod group_denials;
mod helpdesk;
mod imports;
pub mod jobs;
mod keys;
mod notices;
mod offline;
mod operators;
mod otpauth;
mod relation;
mod requests;
mod resolve;
mod tokens;
mod verify;
pub mod view;
mod warrant;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::clock::{self, Timestamp};
use crate::directory::Directory;
use crate::engine::approval::{Action, Refused};
use crate::engine::batch::{Batch, Change, Key, Version};
use crate::engine::denials::GroupDenials;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Lookup, Person, SessionFacts, UserKey};
use crate::engine::generated::Shape;
use crate::engine::offline::Responses;
use crate::engine::policy::Policy;
use crate::engine::questions::answers::BadSet;
use crate::engine::record::{BadRecord, ThrottleRecord, UserRecord, decode, encode};
use crate::engine::request::BadName;
use crate::engine::throttle::{Limit, Standing};
use crate::keyring::{KeyError, Keyring};
use crate::store::{CommitError, Durability, Store, StoreError};

pub use answers::{AnswersChange, DefineWish};
pub use api_tokens::ApiTokenWish;
pub use census::{Census, Counts};
pub use codes::PasscodeWish;
pub use delegations::DelegationWish;
pub use denials::DenyWish;
use denials::stated;
pub use four_eyes::FourEyes;
pub use helpdesk::{NotDone, UnlockWish};
pub use imports::{Imported, TokenImport};
pub use keys::{Holders, KeyWish};
pub use notices::Notice;
pub use otpauth::BadUri;
pub use relation::Relation;
pub use requests::{Answer, Ask, Wanted};
use resolve::{directory_of, look_up, parse_name};
pub use tokens::{TokenWish, Which};
pub use verify::SaidAnswer;
use view::{
    AccountView, DenyView, DirectoryView, FailureView, Found, ManagerView, MustChangeView, PasscodeView, TokenView,
    Unlocked, UserRow, UserView,
};
pub use warrant::{Doing, Warrant};

/// What may change under a running process by a reload.
pub trait Surroundings: Send + Sync {
    /// All directories, in the order of the configuration.
    fn directories(&self) -> Vec<Arc<dyn Directory>>;

    /// Failures allowed to one person.
    fn limit(&self) -> Limit;

    /// The policy in force.
    fn policy(&self) -> Arc<Policy>;

    /// What takes a second person.
    fn four_eyes(&self) -> FourEyes;

    /// The groups that nobody of is let in. What is stored there is in force for every login at once.
    fn group_denials(&self) -> &ArcSwap<GroupDenials>;

    /// What passwords are like that are made up.
    fn generated_passwords(&self) -> Shape {
        Shape::default()
    }

    /// Hears that the record of a person has been changed, once that is durable: what they have proven counts
    /// no more.
    fn changed(&self, _user: &UserKey) {}

    /// Has somebody told that a request waits for them. Returns at once, whatever becomes of it.
    fn tell(&self, _notice: Notice) {}
}

/// The one who asks.
#[derive(Clone, Copy, Debug)]
pub struct Actor<'a> {
    /// Local account name of the operator.
    pub name: &'a str,
    /// The moment of asking.
    pub now: Timestamp,
}

impl<'a> Actor<'a> {
    /// Someone who asks now.
    pub fn now(name: &'a str) -> Self {
        Self {
            name,
            now: clock::now(),
        }
    }
}

/// A person that an operation is about.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Key of all our records.
    pub key: UserKey,
    /// The login name.
    pub login: String,
    /// As the directory describes them; `None` when no directory knows the person any more.
    pub person: Option<Arc<Person>>,
    /// The approved request that something is done to them under; spent by the change.
    pub warrant: Option<Arc<Warrant>>,
}

/// Administration of people's records.
pub struct Accounts {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    surroundings: Arc<dyn Surroundings>,
    enrolling_keys: Arc<tokio::sync::Mutex<()>>,
    group_denials: tokio::sync::Mutex<()>,
    jobs: jobs::Board,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accounts")
    }
}

/// Why an operation was not done. Nothing was changed, except that after [`AccountError::Store`] the
/// change may have been made.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// Not a name at all.
    #[error("`{0}` is not a login name")]
    BadName(String, #[source] BadName),
    /// No directory and no record knows it.
    #[error("nobody is called `{0}`")]
    NoSuchUser(String),
    /// The person has left the directory, and the operation makes sense only for someone who is there.
    #[error("`{0}` is in no directory any more")]
    Gone(String),
    /// One directory has several entries for it, or several have one.
    #[error("`{0}` could be more than one person: {1}")]
    Ambiguous(String, String),
    /// Not a configured directory.
    #[error("there is no directory `{0}`; configured: {1}")]
    NoSuchDirectory(String, String),
    /// A directory that has to be asked is out of reach.
    #[error("directory `{0}` cannot be asked: {1}")]
    DirectoryUnavailable(String, String),
    /// No such token.
    #[error("`{0}` has no token `{1}`")]
    NoSuchToken(String, String),
    /// Somebody has the key already: its public identity, and the record's key.
    #[error("the key `{0}` is enrolled already, by {1}")]
    KeyTaken(String, String),
    /// No such machine.
    #[error("`{0}` has no machine `{1}`")]
    NoSuchMachine(String, String),
    /// Too many responses within an hour.
    #[error("`{0}` was given {most} responses within the hour, the most there can be", most = Responses::MOST)]
    TooManyResponses(String),
    /// No live passcode.
    #[error("`{0}` has no live passcode")]
    NoSuchPasscode(String),
    /// No denial in force.
    #[error("`{0}` is not denied")]
    NotDenied(String),
    /// A request that contradicts the limits.
    #[error("{0}")]
    Invalid(String),
    /// The person has as many tokens as anyone may have.
    #[error("`{0}` has {max} tokens already, the most there can be", max = UserRecord::MAX_TOKENS)]
    TooManyTokens(String),
    /// Another token is called that.
    #[error("`{0}` has a token called `{1}` already")]
    LabelTaken(String, String),
    /// There is no question policy.
    #[error("there are no security questions")]
    NoQuestions,
    /// No answers to security questions.
    #[error("`{0}` has no answers to security questions")]
    NoAnswers(String),
    /// Answers that would have to be replaced.
    #[error("`{0}` has answers to security questions already")]
    AnswersDefined(String),
    /// Answers that the question policy does not take.
    #[error("the answers of `{0}` are not taken")]
    BadAnswers(String, #[source] BadSet),
    /// Answers that do not count because they are locked.
    #[error("the answers of `{0}` are locked; nothing was judged")]
    AnswersLocked(String),
    /// Answers that do not count until they are defined anew.
    #[error("the answers of `{0}` must be defined anew before they count; nothing was judged")]
    AnswersOutdated(String),
    /// Nothing that a caller could prove anything by.
    #[error("`{0}` has no {1} to be known by")]
    NothingToVerify(String, &'static str),
    /// Too many failures.
    #[error("`{0}` is locked out after too many failures; nothing was judged")]
    LockedOut(String),
    /// Too many slow hashes wait already.
    #[error("too many answers wait to be hashed; nothing was done")]
    Overloaded,
    /// No live passcode of that identifier.
    #[error("no live passcode has the identifier `{0}`")]
    NoPasscode(String),
    /// The second half of a passcode was released before, or there are no halves.
    #[error("passcode `{0}` does not wait for its second half to be released")]
    NotWaiting(String),
    /// There is nobody who could be the second of two people.
    #[error("nobody could agree to it for `{0}`: no manager in the directory, and no group configured")]
    NobodySecond(String),
    /// No such request, or not any more.
    #[error("there is no request `{0}`; it may have expired, or be used up")]
    NoSuchRequest(String),
    /// A request that somebody has decided already.
    #[error("request `{0}` is {1} already")]
    Decided(String, &'static str),
    /// No such API token of an operator.
    #[error("there is no API token `{0}`; it may have expired")]
    NoSuchApiToken(String),
    /// The operator has an API token of that name.
    #[error("there is an API token `{0}` already")]
    ApiTokenTaken(String),
    /// Something that takes an approval: what, and on whom.
    #[error("{0} of `{1}` takes an approval")]
    NeedsApproval(Action, String),
    /// Something asked for that takes none.
    #[error("{0} of `{1}` takes no approval")]
    NoApprovalNeeded(Action, String),
    /// A request that is not good for what it is to be used for.
    #[error("request `{0}` cannot be used for that: {1}")]
    NotGood(String, Refused),
    /// A request that waits for somebody else by now.
    #[error("request `{0}` does not wait for you")]
    NotAsked(String, Relation),
    /// A request whose levels are not those that the configuration wants by now.
    #[error("the configuration wants other approvals by now than request `{0}` has")]
    OtherLevels(String),
    /// An operator with too many open requests.
    #[error("`{0}` has as many open requests as anybody may have")]
    TooManyRequests(String),
    /// No such delegation.
    #[error("there is no delegation `{0}`; it may have ended")]
    NoSuchDelegation(String),
    /// The two codes do not follow one another, or are old.
    #[error("these are not two consecutive new codes of that token")]
    NotInStep,
    /// The directory did not do it.
    #[error(transparent)]
    NotDone(#[from] Box<NotDone>),
    /// No such job.
    #[error("there is no job `{0}`")]
    NoSuchJob(String),
    /// Too late: it runs, or is over.
    #[error("job `{0}` is {1}")]
    JobOver(u64, &'static str),
    /// Other changes to the same person kept coming first.
    #[error("the records of `{0}` keep changing; nothing was done")]
    Busy(String),
    /// The store does not work.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored record is unusable.
    #[error("the record of `{0}` is unusable")]
    BadRecord(String, #[source] BadRecord),
    /// A stored secret does not open.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl Accounts {
    /// Administration of what `store` keeps of the people in the directories of `surroundings`.
    pub fn new(store: Arc<dyn Store>, keyring: Arc<Keyring>, surroundings: Arc<dyn Surroundings>) -> Self {
        Self {
            store,
            keyring,
            surroundings,
            enrolling_keys: Arc::default(),
            group_denials: tokio::sync::Mutex::default(),
            jobs: jobs::Board::default(),
        }
    }

    /// Searches: exact names in the directories, and parts of names in the records. At most `limit` rows.
    ///
    /// # Errors
    /// When the store cannot be read; a directory that cannot be asked is named in the answer.
    pub async fn find(&self, text: &str, directory: Option<&str>, limit: usize) -> Result<Found, AccountError> {
        let login = parse_name(text)?;
        let directories = self.chosen(directory)?;
        let mut subjects: Vec<Subject> = Vec::new();
        let mut unavailable = Vec::new();
        for (directory, lookup) in look_up(directories, &login).await {
            match lookup {
                Lookup::Found(person) => subjects.push(Subject {
                    key: person.key.clone(),
                    login: person.login.clone(),
                    person: Some(person),
                    warrant: None,
                }),
                Lookup::Unknown => {}
                Lookup::Ambiguous => unavailable.push(format!("{directory}: several entries are called `{text}`")),
                Lookup::Unavailable(reason) => unavailable.push(format!("{directory}: {reason}")),
            }
        }
        let part = login.as_str().to_lowercase();
        let mut more = false;
        self.each_user(|key, record| {
            let hit = record.login.to_lowercase().contains(&part) || key.as_str() == part;
            let here = directory.is_none_or(|name| directory_of(key.as_str()) == name);
            if !hit || !here || subjects.iter().any(|subject| &subject.key == key) {
                return true;
            }
            if subjects.len() >= limit {
                more = true;
                return false;
            }
            subjects.push(Subject {
                key: key.clone(),
                login: record.login,
                person: None,
                warrant: None,
            });
            true
        })
        .await?;
        more |= subjects.len() > limit;
        subjects.truncate(limit);
        let mut users = Vec::with_capacity(subjects.len());
        for subject in &subjects {
            users.push(self.row(subject, clock::now()).await?);
        }
        Ok(Found {
            users,
            more,
            unavailable,
        })
    }

    /// Everything there is to see of a person.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn show(&self, subject: &Subject, now: Timestamp) -> Result<UserView, AccountError> {
        let (user, throttle) = self.load(subject, now).await?;
        let (record, throttle) = (user.0, throttle.0);
        let open = Key::sessions_of(&subject.key);
        let sessions = self.store.scan(&open, None, SessionFacts::MOST).await?;
        let directory = match &subject.person {
            Some(person) => Some(self.in_directory(person).await),
            None => None,
        };
        Ok(UserView {
            key: subject.key.to_string(),
            login: subject.login.clone(),
            directory,
            tokens: record.tokens.iter().map(TokenView::of).collect(),
            recovery_codes: record.recovery.len(),
            passcode: PasscodeView::live(subject.key.as_str(), &record, now),
            ever_enrolled: record.ever_enrolled,
            last_login: record.last_login,
            failures: FailureView::of(&throttle, self.surroundings.limit(), now),
            denied: record
                .denial(now)
                .map(|deny| DenyView::of(subject.key.as_str(), &subject.login, deny)),
            denied_groups: subject
                .person
                .as_ref()
                .and_then(|person| self.denied_group(person, now))
                .into_iter()
                .collect(),
            must_change: record.must_change.as_ref().map(MustChangeView::of),
            privileged: subject
                .person
                .as_ref()
                .is_some_and(|person| self.surroundings.policy().privileged.includes(person)),
            answers: record.answers.as_ref().map(|answers| answers.locked),
            logins: Vec::new(),
            sessions: sessions.len(),
        })
    }

    /// What the person's directory says of the account and of the manager, asked at the same time. That it
    /// cannot be asked now is part of the answer.
    async fn in_directory(&self, person: &Person) -> DirectoryView {
        let (account, manager) = match self.chosen(Some(&person.directory)) {
            Ok(directories) => match directories.first() {
                Some(directory) => {
                    let (state, manager) = tokio::join!(directory.state(person), directory.manager(person));
                    (state.into(), manager.into())
                }
                None => Default::default(),
            },
            Err(error) => {
                let why = error.to_string();
                (AccountView::Unavailable(why.clone()), ManagerView::Unavailable(why))
            }
        };
        DirectoryView::of(person, account, manager)
    }

    /// Forgets a person's failures, those against the recovery codes included. A failure that is counted
    /// meanwhile stays counted.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn unlock(&self, subject: &Subject, by: Actor<'_>) -> Result<Unlocked, AccountError> {
        for _ in 0..RETRIES {
            let ((mut record, version), (throttle, throttle_version)) = self.load(subject, by.now).await?;
            let limit = self.surroundings.limit();
            let seen = FailureView::of(&throttle, limit, by.now);
            let mut batch = Batch::default();
            if throttle_version != Version::default() {
                batch.replace(Key::throttle(&subject.key), throttle_version, Change::Delete);
            }
            if record.recovery_failures > 0 {
                record.recovery_failures = 0;
                batch.replace(Key::user(&subject.key), version, Change::Put(encode(&record), None));
            }
            let what = format!("{}: {} failures cleared", subject.login, seen.count);
            batch.audit.push(event("user.unlock", by, Some(subject), &what));
            self.spend(subject, &mut batch, by).await?;
            if self.commit(batch).await? {
                return Ok(Unlocked {
                    user: subject.key.to_string(),
                    login: subject.login.clone(),
                    cleared: seen.count,
                    was_locked: throttle.standing(limit, None, by.now) == Standing::Over,
                    ..Unlocked::default()
                });
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    /// Appends an audit record of something that changes no records: a reload, a refusal.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn note(
        &self,
        action: &str,
        by: Actor<'_>,
        subject: Option<&Subject>,
        outcome: Outcome,
        reason: &str,
    ) -> Result<(), AccountError> {
        let mut batch = Batch::default();
        batch.audit.push(AuditEvent {
            outcome,
            ..event(action, by, subject, reason)
        });
        self.commit(batch).await?;
        Ok(())
    }

    /// Changes a person's record by `change`, which says what it did for the audit and may run several
    /// times, each time on a fresh record.
    async fn change<T>(
        &self,
        action: &str,
        subject: &Subject,
        by: Actor<'_>,
        change: impl FnMut(&mut UserRecord) -> Result<(T, String), AccountError>,
    ) -> Result<T, AccountError> {
        self.change_with(action, subject, by, &Batch::default(), change).await
    }

    /// The same together with other changes, `beside`.
    async fn change_with<T>(
        &self,
        action: &str,
        subject: &Subject,
        by: Actor<'_>,
        beside: &Batch,
        mut change: impl FnMut(&mut UserRecord) -> Result<(T, String), AccountError>,
    ) -> Result<T, AccountError> {
        for _ in 0..RETRIES {
            let ((mut record, version), _) = self.load(subject, by.now).await?;
            let asked = record.approval;
            let (answer, what) = change(&mut record)?;
            record.login.clone_from(&subject.login);
            let mut batch = beside.clone();
            batch.replace(Key::user(&subject.key), version, Change::Put(encode(&record), None));
            if let Some(over) = asked.filter(|id| record.approval != Some(*id)) {
                // It counts only as long as the person's record names it.
                batch.write.push((Key::request(over), Change::Delete));
            }
            let what = format!("{}: {what}", subject.login);
            batch.audit.push(event(action, by, Some(subject), &what));
            self.spend(subject, &mut batch, by).await?;
            if self.commit(batch).await? {
                self.surroundings.changed(&subject.key);
                return Ok(answer);
            }
        }
        Err(AccountError::Busy(subject.login.clone()))
    }

    /// Commits durably; false on a conflict.
    async fn commit(&self, batch: Batch) -> Result<bool, AccountError> {
        match self.store.commit(batch, Durability::Durable).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(CommitError::Unavailable(error)) => Err(error.into()),
        }
    }

    async fn load(&self, subject: &Subject, now: Timestamp) -> Result<Loaded, AccountError> {
        let keys = [Key::user(&subject.key), Key::throttle(&subject.key)];
        let found = self.store.read(&keys, now).await?;
        let bad = |error| AccountError::BadRecord(subject.login.clone(), error);
        let [user, throttle] = found.as_slice() else {
            return Err(StoreError("a read of two keys did not give two values".into()).into());
        };
        let record = user
            .value
            .as_deref()
            .map(decode::<UserRecord>)
            .transpose()
            .map_err(bad)?;
        let counter = throttle
            .value
            .as_deref()
            .map(decode::<ThrottleRecord>)
            .transpose()
            .map_err(bad)?;
        Ok((
            (record.unwrap_or_default(), user.version),
            (counter.unwrap_or_default(), throttle.version),
        ))
    }

    async fn row(&self, subject: &Subject, now: Timestamp) -> Result<UserRow, AccountError> {
        let ((record, _), (throttle, _)) = self.load(subject, now).await?;
        Ok(UserRow {
            key: subject.key.to_string(),
            login: subject.login.clone(),
            dn: subject.person.as_ref().map(|person| person.dn.clone()),
            tokens: record
                .tokens
                .iter()
                .filter(|token| !token.disabled && !token.is_of_machine())
                .count(),
            recovery_codes: record.recovery.len(),
            locked: throttle.standing(self.surroundings.limit(), None, now) == Standing::Over,
            denied: record.denial(now).is_some()
                || subject
                    .person
                    .as_ref()
                    .is_some_and(|person| self.denied_group(person, now).is_some()),
            must_change: record.must_change.is_some(),
            last_login: record.last_login,
        })
    }

    /// Visits all user records in the order of their keys, a page at a time, until `visit` says stop. One that is
    /// damaged is left out.
    async fn each_user(&self, mut visit: impl FnMut(&UserKey, UserRecord) -> bool) -> Result<(), AccountError> {
        self.each_read(|user, record| {
            Ok(match record {
                Ok(record) => visit(user, record),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(%user, error, "a record is unusable; left out");
                    true
                }
            })
        })
        .await
    }

    /// The same, for what must know of all: a damaged record is the visitor's.
    async fn each_read(
        &self,
        mut visit: impl FnMut(&UserKey, Result<UserRecord, BadRecord>) -> Result<bool, AccountError>,
    ) -> Result<(), AccountError> {
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.scan(Key::USERS, after.as_ref(), PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (key, octets) in page {
                let Some(user) = key.user_key() else { continue };
                if !visit(&user, decode(&octets))? {
                    return Ok(());
                }
            }
            if !full {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }
}

type Loaded = ((UserRecord, Version), (ThrottleRecord, Version));

/// Most times a change is tried again because others came first.
const RETRIES: usize = 32;

/// Records read at once.
const PAGE: usize = 1000;

impl Subject {
    /// The person's entry.
    fn present(&self) -> Result<&Arc<Person>, AccountError> {
        self.person
            .as_ref()
            .ok_or_else(|| AccountError::Gone(self.login.clone()))
    }
}

fn event(action: &str, by: Actor<'_>, subject: Option<&Subject>, what: &str) -> AuditEvent {
    AuditEvent {
        at: by.now,
        action: action.to_owned(),
        actor: by.name.to_owned(),
        target: subject.map(|subject| subject.key.to_string()),
        via: "admin".to_owned(),
        client: None,
        source: None,
        rule: None,
        factors: Vec::new(),
        outcome: Outcome::Accept,
        reason: Some(what.to_owned()),
        context: None,
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
