//! A small installation for tests: a store in memory and two directories with made-up people.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::mpsc::Sender;

use super::{Accounts, Actor, FourEyes, Subject, Surroundings};
use crate::clock::Timestamp;
use crate::directory::filter::Filter;
use crate::directory::{ConnectError, Directory, DirectoryStatus, Link};
use crate::engine::account::{AccountChange, Changed};
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::denials::GroupDenials;
use crate::engine::facts::{Lookup, PasswordOutcome, Person, UserKey};
use crate::engine::policy::Policy;
use crate::engine::record::{Failure, ThrottleRecord, UserRecord, decode, encode};
use crate::engine::throttle::Limit;
use crate::engine::{BoxFuture, LoginName};
use crate::keyring::Keyring;
use crate::secret::Secret;
use crate::store::memory::MemoryStore;
use crate::store::{Durability, Store};

pub(crate) const LIMIT: Limit = Limit {
    failures: 2,
    window: Duration::from_secs(900),
};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

pub(crate) const CAROL: Actor<'static> = Actor {
    name: "carol",
    now: NOW,
};

/// Knows people by login name; `down` makes it unavailable.
pub(crate) struct TestDirectory {
    name: String,
    people: Mutex<BTreeMap<String, Arc<Person>>>,
    /// Managers by login name.
    managers: Mutex<BTreeMap<String, String>>,
    down: Mutex<bool>,
    /// What it answers to changes, and those that it was asked for: login name and word.
    pub(crate) answers: Mutex<Changed>,
    pub(crate) changes: Mutex<Vec<String>>,
    /// The last password that was set.
    pub(crate) password: Mutex<Option<Secret>>,
}

impl TestDirectory {
    pub(crate) fn new(name: &str, people: &[&str]) -> Arc<Self> {
        let people = people
            .iter()
            .map(|login| ((*login).to_owned(), person(name, login, login)));
        Arc::new(Self {
            name: name.to_owned(),
            people: Mutex::new(people.collect()),
            managers: Mutex::default(),
            down: Mutex::new(false),
            answers: Mutex::new(Changed::Done),
            changes: Mutex::default(),
            password: Mutex::default(),
        })
    }

    /// One more person.
    pub(crate) fn hire(&self, login: &str) {
        let person = person(&self.name, login, login);
        self.people.lock().insert(login.to_owned(), person);
    }

    /// Another name for somebody.
    pub(crate) fn alias(&self, alias: &str, login: &str) {
        let person = Arc::clone(&self.people.lock()[login]);
        self.people.lock().insert(alias.to_owned(), person);
    }

    pub(crate) fn set_manager(&self, login: &str, manager: &str) {
        self.managers.lock().insert(login.to_owned(), manager.to_owned());
    }

    pub(crate) fn add_to_group(&self, login: &str, group: &str) {
        let mut people = self.people.lock();
        let mut person = Person::clone(&people[login]);
        person.groups.push(group.to_owned());
        people.insert(login.to_owned(), Arc::new(person));
    }

    pub(crate) fn remove(&self, login: &str) {
        self.people.lock().remove(login);
    }

    pub(crate) fn set_down(&self, down: bool) {
        *self.down.lock() = down;
    }
}

fn person(directory: &str, login: &str, identifier: &str) -> Arc<Person> {
    Arc::new(Person {
        key: UserKey::new(directory, &format!("id-{identifier}")),
        directory: directory.into(),
        dn: format!("uid={login},dc={directory}"),
        login: login.to_owned(),
        groups: vec![format!("cn=staff,dc={directory}")],
        attributes: BTreeMap::new(),
        enabled: true,
        manager: None,
        sso_managed: None,
    })
}

impl Directory for TestDirectory {
    fn name(&self) -> &str {
        &self.name
    }

    fn look_up<'a>(&'a self, login: &'a LoginName) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            if *self.down.lock() {
                return Lookup::Unavailable("out of reach".into());
            }
            let people = self.people.lock();
            let by_dn = || people.values().find(|person| person.dn == login.as_str());
            let found = people.get(login.as_str()).or_else(by_dn).cloned();
            found.map_or(Lookup::Unknown, Lookup::Found)
        })
    }

    fn verify<'a>(&'a self, _: &'a Person, _: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(async { PasswordOutcome::Wrong })
    }

    fn verify_nobody<'a>(&'a self, _: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(async { PasswordOutcome::Unknown })
    }

    fn manager<'a>(&'a self, person: &'a Person) -> BoxFuture<'a, Lookup> {
        Box::pin(async move {
            if *self.down.lock() {
                return Lookup::Unavailable("out of reach".into());
            }
            let manager = self.managers.lock().get(&person.login).cloned();
            let found = manager.and_then(|manager| self.people.lock().get(&manager).cloned());
            found.map_or(Lookup::Unknown, Lookup::Found)
        })
    }

    fn change<'a>(&'a self, person: &'a Person, change: AccountChange<'a>) -> BoxFuture<'a, Changed> {
        Box::pin(async move {
            self.changes.lock().push(format!("{} {}", person.login, change.word()));
            let came = self.answers.lock().clone();
            if let (AccountChange::Reset { new, .. }, Changed::Done) = (change, &came) {
                *self.password.lock() = Some(new.clone());
            }
            came
        })
    }

    /// Everybody, whatever the filter says.
    fn people<'a>(&'a self, _: &'a Filter, found: Sender<Vec<String>>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let names: Vec<String> = self.people.lock().values().map(|person| person.dn.clone()).collect();
            for name in names {
                let _ = found.send(vec![name]).await;
            }
            Ok(())
        })
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        Box::pin(async { Err(ConnectError::Unreachable("nothing to relay to".into())) })
    }

    fn forget_look_ups(&self) {}

    fn probe(&self) -> BoxFuture<'_, DirectoryStatus> {
        Box::pin(async { self.status() })
    }

    fn status(&self) -> DirectoryStatus {
        DirectoryStatus {
            name: self.name.clone(),
            kind: "test".into(),
            servers: Vec::new(),
            queue: 0,
            max_connection_age: None,
        }
    }
}

/// An installation with the directories `main` (ana, ben, carol) and `guests` (gus).
pub(crate) struct Fixture {
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) main: Arc<TestDirectory>,
    pub(crate) guests: Arc<TestDirectory>,
    pub(crate) four_eyes: Arc<Mutex<FourEyes>>,
    /// The denied groups in force.
    pub(crate) denials: Arc<ArcSwap<GroupDenials>>,
    /// The policy in force.
    pub(crate) policy: Arc<Mutex<Arc<Policy>>>,
}

struct Both {
    directories: Vec<Arc<TestDirectory>>,
    four_eyes: Arc<Mutex<FourEyes>>,
    denials: Arc<ArcSwap<GroupDenials>>,
    policy: Arc<Mutex<Arc<Policy>>>,
}

impl Surroundings for Both {
    fn directories(&self) -> Vec<Arc<dyn Directory>> {
        self.directories
            .iter()
            .map(|directory| Arc::clone(directory) as Arc<dyn Directory>)
            .collect()
    }

    fn limit(&self) -> Limit {
        LIMIT
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.lock())
    }

    fn four_eyes(&self) -> FourEyes {
        self.four_eyes.lock().clone()
    }

    fn group_denials(&self) -> &ArcSwap<GroupDenials> {
        &self.denials
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let keyring = Arc::new(Keyring::from_root(&[1; 32]));
        let store = Arc::new(MemoryStore::new(Arc::clone(&keyring)));
        let main = TestDirectory::new("main", &["ana", "ben", "carol"]);
        let guests = TestDirectory::new("guests", &["gus"]);
        let four_eyes = Arc::new(Mutex::new(FourEyes::default()));
        let policy: Arc<Mutex<Arc<Policy>>> = Arc::default();
        let denials: Arc<ArcSwap<GroupDenials>> = Arc::default();
        let surroundings = Both {
            directories: vec![Arc::clone(&main), Arc::clone(&guests)],
            four_eyes: Arc::clone(&four_eyes),
            denials: Arc::clone(&denials),
            policy: Arc::clone(&policy),
        };
        let accounts = Accounts::new(Arc::clone(&store) as _, Arc::clone(&keyring), Arc::new(surroundings));
        Self {
            accounts: Arc::new(accounts),
            store,
            keyring,
            main,
            guests,
            policy,
            denials,
            four_eyes,
        }
    }

    pub(crate) async fn subject(&self, name: &str) -> Subject {
        self.accounts.resolve(name, None).await.unwrap()
    }

    pub(crate) async fn record(&self, subject: &Subject) -> UserRecord {
        let found = self.store.read(&[Key::user(&subject.key)], NOW).await.unwrap();
        found[0]
            .value
            .as_deref()
            .map_or_else(UserRecord::default, |octets| decode(octets).unwrap())
    }

    /// Counts a failure, as a login does.
    pub(crate) async fn fail(&self, subject: &Subject, at: Timestamp) {
        let key = Key::throttle(&subject.key);
        loop {
            let found = self.store.read(std::slice::from_ref(&key), at).await.unwrap();
            let record = found[0]
                .value
                .as_deref()
                .map_or_else(ThrottleRecord::default, |octets| decode(octets).unwrap());
            let record = record.with_failure(None, Failure { at, code: false }, LIMIT);
            let mut batch = Batch::default();
            let change = Change::Put(encode(&record), record.expires(LIMIT));
            batch.replace(key.clone(), found[0].version, change);
            if self.store.commit(batch, Durability::Durable).await.is_ok() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The actions audited so far, each with its outcome.
    pub(crate) async fn audited(&self) -> Vec<String> {
        let records = self.store.audit(1, 10_000).await.unwrap();
        let events = records.iter().map(|record| record.event().unwrap());
        events
            .map(|event| format!("{} {}", event.action, event.outcome))
            .collect()
    }
}
