//! The `local` directory: the people of an LDIF file, for demonstrations, tests and small sites.

mod hash;
mod people;
mod tree;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use foldhash::fast::RandomState;
use moka::sync::Cache;
use ring::hmac;
use tokio::sync::mpsc::Sender;

use crate::clock;
use crate::config;
use crate::directory::filter::Filter;
use crate::directory::person::{Flag, SsoMarks};
use crate::directory::{ConnectError, Directory, DirectoryStatus, Link, ServerStatus};
use crate::document::Faults;
use crate::engine::account::{AccountState, StateAnswer};
use crate::engine::facts::{Manager, normalise_dn};
use crate::engine::request::LoginForm;
use crate::engine::response::{Response, ResponseOutcome};
use crate::engine::{BoxFuture, LoginName, Lookup, PasswordOutcome, Person, UserKey};
use crate::hashing;
use crate::secret::Secret;

use hash::{Clear, StoredPassword};

pub use hash::hash_password;
pub use tree::{Attribute, Entry, Tree};

/// A directory that is a file, read once; to read it again, make another.
pub struct LocalDirectory {
    name: String,
    file: PathBuf,
    tree: Arc<Tree>,
    people: Vec<PersonEntry>,
    /// Places in `people` by distinguished name, as the file writes it.
    by_dn: HashMap<String, usize, RandomState>,
    /// The same by normalised name.
    by_normalised_dn: HashMap<String, usize, RandomState>,
    /// The people whom a canonical login name may mean.
    by_login: HashMap<String, Vec<usize>, RandomState>,
    /// The same for names with an `@`, which may also be a mail address or a principal name.
    by_principal: HashMap<String, Vec<usize>, RandomState>,
    decoy: Arc<StoredPassword>,
    remembered: Option<Remembered>,
}

struct PersonEntry {
    person: Arc<Person>,
    password: Arc<StoredPassword>,
    /// Where the password is kept in a way that no response can be compared with.
    nt_hash: Option<StoredPassword>,
}

impl LocalDirectory {
    /// Reads the file. Blocks: for starting and reloading, not for the runtime's threads.
    ///
    /// # Errors
    /// Every fault of the file with its line; of a file with any fault nothing is used.
    pub fn load(config: &config::LocalDirectory) -> Result<Arc<Self>, Faults> {
        let fault = |message: String| {
            let mut faults = Faults::default();
            faults.file(&config.ldif, message);
            faults
        };
        let size = fs::metadata(&config.ldif)
            .map_err(|error| fault(format!("cannot be read: {error}")))?
            .len();
        if size > MAX_FILE {
            return Err(fault(format!(
                "has {size} octets; more than {MAX_FILE} belong into a directory server"
            )));
        }
        let text = fs::read(&config.ldif).map_err(|error| fault(format!("cannot be read: {error}")))?;
        Self::parse(config, &text)
    }

    /// Takes `text` for the content of the configured file.
    ///
    /// # Errors
    /// As for [`LocalDirectory::load`].
    pub fn parse(config: &config::LocalDirectory, text: &[u8]) -> Result<Arc<Self>, Faults> {
        let clear = if config.cleartext {
            Clear::Allowed
        } else {
            Clear::Refused
        };
        let tree = Tree::parse_with(&config.ldif, text, clear)?;
        let mut faults = Faults::default();
        let flags = read_flags(config, "disabled_by", &config.disabled_by, &mut faults);
        let marks = read_flags(config, "sso_managed_by", &config.sso_managed_by, &mut faults);
        let marks = SsoMarks::new(marks, &config.sso_managed_groups);
        if !faults.0.is_empty() {
            return Err(faults);
        }
        let directory: Arc<str> = config.name.as_str().into();
        let mut people = Vec::new();
        let mut by_dn = HashMap::default();
        let mut by_normalised_dn = HashMap::default();
        let mut by_login = HashMap::default();
        let mut by_principal = HashMap::default();
        let mut decoy: Option<&StoredPassword> = None;
        for (entry, stored, nt_hash) in tree.people() {
            let person = Person {
                manager: manager(config, &tree, entry),
                ..person(config, &directory, entry, &flags, &marks)
            };
            let place = people.len();
            by_dn.insert(entry.dn().to_owned(), place);
            by_normalised_dn.insert(entry.normalised_dn().to_owned(), place);
            for attribute in &config.login_attributes {
                index(&mut by_login, entry, attribute, place);
                index(&mut by_principal, entry, attribute, place);
            }
            index(&mut by_principal, entry, "userPrincipalName", place);
            if decoy.is_none_or(|decoy| decoy.cost() < stored.cost()) {
                decoy = Some(stored);
            }
            people.push(PersonEntry {
                person: Arc::new(person),
                password: Arc::new(stored.clone()),
                nt_hash: nt_hash.cloned(),
            });
        }
        let decoy = Arc::new(decoy.map_or_else(StoredPassword::default_decoy, StoredPassword::decoy));
        Ok(Arc::new(Self {
            name: config.name.clone(),
            file: config.ldif.clone(),
            people,
            by_dn,
            by_normalised_dn,
            by_login,
            by_principal,
            decoy,
            remembered: (!config.remember.is_zero()).then(|| Remembered::new(config.remember)),
            tree: Arc::new(tree),
        }))
    }

    /// The entries.
    pub fn tree(&self) -> &Arc<Tree> {
        &self.tree
    }

    fn find(&self, login: &LoginName) -> Lookup {
        let found = match login.form() {
            LoginForm::Plain(name) => self.by_login.get(name),
            LoginForm::Domain { user, .. } => self.by_login.get(user),
            LoginForm::Principal(name) => self.by_principal.get(name),
            LoginForm::Dn(dn) | LoginForm::Account(dn) => return self.at(self.by_normalised_dn.get(&normalise_dn(dn))),
        };
        match found.map(Vec::as_slice) {
            Some([_, _, ..]) => Lookup::Ambiguous,
            one_or_none => self.at(one_or_none.and_then(<[_]>::first)),
        }
    }

    /// Finds a person again whom a look-up has given.
    fn entry(&self, person: &Person) -> Option<&PersonEntry> {
        self.people.get(*self.by_dn.get(&person.dn)?)
    }

    fn at(&self, place: Option<&usize>) -> Lookup {
        match place.and_then(|&place| self.people.get(place)) {
            Some(entry) => Lookup::Found(Arc::clone(&entry.person)),
            None => Lookup::Unknown,
        }
    }

    async fn compare(&self, person: &Person, password: &Secret) -> PasswordOutcome {
        if password.is_empty() {
            return PasswordOutcome::Wrong;
        }
        let Some(entry) = self.entry(person) else {
            return PasswordOutcome::Unknown;
        };
        let stored = &entry.password;
        if !stored.is_slow() {
            return judged(stored.matches(password, &mut Vec::new()));
        }
        let digest = self
            .remembered
            .as_ref()
            .map(|remembered| (remembered, remembered.digest(&person.key, stored, password)));
        if let Some((remembered, digest)) = &digest
            && remembered.right.contains_key(digest)
        {
            return PasswordOutcome::Right;
        }
        match compare(Arc::clone(stored), password.clone()).await {
            None => overloaded(),
            Some(false) => PasswordOutcome::Wrong,
            Some(true) => {
                if let Some((remembered, digest)) = digest {
                    remembered.right.insert(digest, ());
                }
                PasswordOutcome::Right
            }
        }
    }

    fn judge(&self, person: &Person, response: &Response) -> ResponseOutcome {
        let Some(entry) = self.entry(person) else {
            return ResponseOutcome::Unknown;
        };
        let kept = entry.password.kept().or_else(|| entry.nt_hash.as_ref()?.kept());
        kept.map_or(ResponseOutcome::Impossible, |kept| response.judge(kept))
    }

    async fn compare_with_decoy(&self, password: &Secret) -> PasswordOutcome {
        let decoy = Arc::clone(&self.decoy);
        if !decoy.is_slow() {
            decoy.matches(password, &mut Vec::new());
            return PasswordOutcome::Unknown;
        }
        match compare(decoy, password.clone()).await {
            Some(_) => PasswordOutcome::Unknown,
            None => overloaded(),
        }
    }

    fn current(&self) -> DirectoryStatus {
        DirectoryStatus {
            name: self.name.clone(),
            kind: "local".into(),
            servers: vec![ServerStatus {
                address: self.file.display().to_string(),
                healthy: true,
                ..ServerStatus::default()
            }],
            queue: hashing::pool().waiting(),
            max_connection_age: None,
        }
    }
}

impl Directory for LocalDirectory {
    fn name(&self) -> &str {
        &self.name
    }

    fn look_up<'a>(&'a self, login: &'a LoginName) -> BoxFuture<'a, Lookup> {
        Box::pin(std::future::ready(self.find(login)))
    }

    fn verify<'a>(&'a self, person: &'a Person, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(self.compare(person, password))
    }

    fn verify_response<'a>(&'a self, person: &'a Person, response: &'a Response) -> BoxFuture<'a, ResponseOutcome> {
        Box::pin(std::future::ready(self.judge(person, response)))
    }

    fn verify_nobody<'a>(&'a self, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(self.compare_with_decoy(password))
    }

    /// Entries of a file are never locked, and their passwords never too old.
    fn state<'a>(&'a self, person: &'a Person) -> BoxFuture<'a, StateAnswer> {
        let known = |entry: &PersonEntry| {
            StateAnswer::Known(AccountState {
                disabled: !entry.person.enabled,
                ..AccountState::default()
            })
        };
        Box::pin(std::future::ready(
            self.entry(person).map_or(StateAnswer::Unknown, known),
        ))
    }

    fn manager<'a>(&'a self, person: &'a Person) -> BoxFuture<'a, Lookup> {
        let entry = self.tree.get(&person.dn);
        let mut named = entry.into_iter().flat_map(|entry| entry.texts("manager"));
        let found = match (named.next(), named.next()) {
            (None, _) => Lookup::Unknown,
            (Some(dn), None) => self.at(self.by_normalised_dn.get(&normalise_dn(dn))),
            (Some(_), Some(_)) => Lookup::Ambiguous,
        };
        Box::pin(std::future::ready(found))
    }

    fn people<'a>(&'a self, filter: &'a Filter, found: Sender<Vec<String>>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            for some in self.people.chunks(TOGETHER) {
                let mut names = Vec::new();
                for entry in some {
                    let entry = self.tree.get(&entry.person.dn);
                    if let Some(entry) = entry
                        && people::matches(filter, entry)?
                    {
                        names.push(entry.dn().to_owned());
                    }
                }
                if !names.is_empty() && found.send(names).await.is_err() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn connect(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        Box::pin(std::future::ready(Ok(Link::Embedded(Arc::clone(&self.tree)))))
    }

    fn forget_look_ups(&self) {}

    fn probe(&self) -> BoxFuture<'_, DirectoryStatus> {
        Box::pin(std::future::ready(self.current()))
    }

    fn status(&self) -> DirectoryStatus {
        self.current()
    }
}

/// People looked at in one go.
const TOGETHER: usize = 500;

/// Compares by a slow hash; `None` when too many are waiting already.
async fn compare(stored: Arc<StoredPassword>, password: Secret) -> Option<bool> {
    let compare = move |blocks: &mut Vec<_>| stored.matches(&password, blocks);
    hashing::pool().run(compare).await
}

fn overloaded() -> PasswordOutcome {
    PasswordOutcome::Unavailable("too many passwords are being checked at once".into())
}

/// Passwords that were right, as digests under a key that this process alone has: a repeated login
/// costs a digest instead of an Argon2.
struct Remembered {
    key: hmac::Key,
    right: Cache<[u8; 32], ()>,
}

impl Remembered {
    fn new(span: std::time::Duration) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &clock::random::<32>()),
            right: Cache::builder()
                .max_capacity(MOST_REMEMBERED)
                .time_to_live(span)
                .build(),
        }
    }

    /// Covers the stored password as well: one that was changed is not remembered.
    fn digest(&self, user: &UserKey, stored: &StoredPassword, password: &Secret) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        let [expected, salt] = stored.identity();
        for part in [user.as_str().as_bytes(), expected, salt, password.expose()] {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }
}

fn judged(matches: bool) -> PasswordOutcome {
    if matches {
        PasswordOutcome::Right
    } else {
        PasswordOutcome::Wrong
    }
}

fn read_flags(config: &config::LocalDirectory, key: &str, texts: &[String], faults: &mut Faults) -> Vec<Flag> {
    let mut flags = Vec::new();
    for text in texts {
        match Flag::parse(text) {
            Ok(flag) => flags.push(flag),
            Err(message) => faults.file(&config.ldif, format!("directory `{}`: {key}: {message}", config.name)),
        }
    }
    flags
}

fn person(
    config: &config::LocalDirectory,
    directory: &Arc<str>,
    entry: &Entry,
    flags: &[Flag],
    marks: &SsoMarks,
) -> Person {
    let mut attributes = BTreeMap::new();
    for name in &config.attributes {
        let values: Vec<String> = entry.texts(name).map(str::to_owned).collect();
        if !values.is_empty() {
            attributes.insert(name.to_lowercase(), values);
        }
    }
    let login = config.login_attributes.iter().find_map(|name| entry.texts(name).next());
    let says = |flag: &Flag| flag.value(entry.values(&flag.attribute).iter().map(Vec::as_slice));
    let blocked = flags.iter().any(|flag| says(flag) == Some(true));
    let groups: Vec<String> = entry.texts("memberOf").map(normalise_dn).collect();
    Person {
        key: UserKey::new(
            directory,
            entry.texts("entryUUID").next().unwrap_or(entry.normalised_dn()),
        ),
        directory: Arc::clone(directory),
        dn: entry.dn().to_owned(),
        login: login.unwrap_or(entry.dn()).to_owned(),
        sso_managed: marks.on(says, &groups),
        groups,
        attributes,
        enabled: !blocked,
        manager: None,
    }
}

/// Whom an entry names as manager. Of several it is not known which is meant.
fn manager(config: &config::LocalDirectory, tree: &Tree, entry: &Entry) -> Option<Manager> {
    let mut named = entry.texts("manager");
    let (dn, None) = (named.next()?, named.next()) else {
        return None;
    };
    let login = tree.get(dn).and_then(|entry| {
        let mut attributes = config.login_attributes.iter();
        attributes.find_map(|name| entry.texts(name).next())
    });
    Some(Manager {
        dn: normalise_dn(dn),
        login: login.map(str::to_owned),
    })
}

/// Files `entry`, which has this place, under each value of `attribute`, in the form that login names are canonicalised to.
fn index(by_name: &mut HashMap<String, Vec<usize>, RandomState>, entry: &Entry, attribute: &str, place: usize) {
    for value in entry.texts(attribute) {
        let Ok(name) = LoginName::parse(value) else { continue };
        let people = by_name.entry(name.as_str().to_owned()).or_default();
        if people.last() != Some(&place) {
            people.push(place);
        }
    }
}

/// Largest file loaded, in octets.
const MAX_FILE: u64 = 64 << 20;

const MOST_REMEMBERED: u64 = 10_000;

#[cfg(test)]
mod tests;
