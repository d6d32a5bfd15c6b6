//! The `local` directory: the people of an LDIF file, for demonstrations, tests and small sites.

mod hash;
mod tree;
mod workers;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use foldhash::fast::RandomState;
use moka::sync::Cache;
use ring::hmac;

use crate::clock;
use crate::config;
use crate::directory::person::Flag;
use crate::directory::{Directory, DirectoryStatus, Link, ServerStatus};
use crate::document::Faults;
use crate::engine::facts::normalise_dn;
use crate::engine::request::LoginForm;
use crate::engine::response::{Response, ResponseOutcome};
use crate::engine::{BoxFuture, LoginName, Lookup, PasswordOutcome, Person, UserKey};
use crate::secret::Secret;

use hash::{Clear, StoredPassword};
use workers::Workers;

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
    workers: Workers,
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
        let flags = read_flags(config, &mut faults);
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
            let person = person(config, &directory, entry, &flags);
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
            workers: Workers::new(LONGEST_QUEUE),
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
            LoginForm::Dn(dn) => return self.at(self.by_normalised_dn.get(&normalise_dn(dn))),
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
        match self.workers.matches(Arc::clone(stored), password.clone()).await {
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
        match self.workers.matches(decoy, password.clone()).await {
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
                latency_ms: None,
                connections: 0,
                error: None,
            }],
            queue: self.workers.waiting(),
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

    fn connect(&self) -> BoxFuture<'_, Result<Link, String>> {
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

fn read_flags(config: &config::LocalDirectory, faults: &mut Faults) -> Vec<Flag> {
    let mut flags = Vec::new();
    for text in &config.disabled_by {
        match Flag::parse(text) {
            Ok(flag) => flags.push(flag),
            Err(message) => faults.file(
                &config.ldif,
                format!("directory `{}`: disabled_by: {message}", config.name),
            ),
        }
    }
    flags
}

fn person(config: &config::LocalDirectory, directory: &Arc<str>, entry: &Entry, flags: &[Flag]) -> Person {
    let mut attributes = BTreeMap::new();
    for name in &config.attributes {
        let values: Vec<String> = entry.texts(name).map(str::to_owned).collect();
        if !values.is_empty() {
            attributes.insert(name.to_lowercase(), values);
        }
    }
    let login = config.login_attributes.iter().find_map(|name| entry.texts(name).next());
    let blocked = flags
        .iter()
        .any(|flag| flag.value(entry.values(&flag.attribute).iter().map(Vec::as_slice)) == Some(true));
    Person {
        key: UserKey::new(
            directory,
            entry.texts("entryUUID").next().unwrap_or(entry.normalised_dn()),
        ),
        directory: Arc::clone(directory),
        dn: entry.dn().to_owned(),
        login: login.unwrap_or(entry.dn()).to_owned(),
        groups: entry.texts("memberOf").map(normalise_dn).collect(),
        attributes,
        enabled: !blocked,
    }
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

/// Comparisons that may wait for a core: some two seconds' worth on two cores.
const LONGEST_QUEUE: usize = 256;

const MOST_REMEMBERED: u64 = 10_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::response::{Chap, MsChapV2, Peer};

    fn config() -> config::LocalDirectory {
        config::LocalDirectory {
            name: "site".into(),
            ldif: "site.ldif".into(),
            login_attributes: vec!["uid".into(), "employeeNumber".into(), "mail".into()],
            attributes: vec!["Mail".into()],
            disabled_by: vec!["nsAccountLock".into()],
            remember: Duration::from_secs(60),
            cleartext: false,
        }
    }

    fn site(hash: &str) -> String {
        format!(
            "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
             dn: uid=Ana,dc=x\nobjectClass: inetOrgPerson\nuid: Ana\nmail: Ana@Example.org\n\
             entryUUID: 0F0E0D0C-0000-4000-8000-000000000001\nuserPassword: {hash}\n\n\
             dn: uid=bo,dc=x\nobjectClass: inetOrgPerson\nuid: bo\nemployeeNumber: ana2\n\
             nsAccountLock: TRUE\nuserPassword: {SHA_SECRET}\n\n\
             dn: uid=ana2,dc=x\nobjectClass: inetOrgPerson\nuid: ana2\nuserPassword: {SHA_SECRET}\n\n\
             dn: uid=none,dc=x\nobjectClass: inetOrgPerson\nuid: none\n\n\
             dn: cn=staff,dc=x\nobjectClass: groupOfNames\ncn: staff\nmember: uid=ana,dc=x\n"
        )
    }

    const SHA_SECRET: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

    fn load(hash: &str) -> Arc<LocalDirectory> {
        LocalDirectory::parse(&config(), site(hash).as_bytes()).unwrap()
    }

    fn found(directory: &LocalDirectory, login: LoginName) -> Arc<Person> {
        let lookup = directory.find(&login);
        let Lookup::Found(person) = lookup else {
            panic!("{login}: {lookup:?}");
        };
        person
    }

    #[test]
    fn people_are_found_by_every_form_of_name() {
        let directory = load(SHA_SECRET);
        for name in ["ana", " ANA", "EX\\ana", "ana@EXAMPLE.org"] {
            let ana = found(&directory, LoginName::parse(name).unwrap());
            assert_eq!(ana.dn, "uid=Ana,dc=x");
            assert_eq!(ana.key.as_str(), "site:0f0e0d0c-0000-4000-8000-000000000001");
            assert_eq!(ana.login, "Ana");
            assert_eq!(ana.groups, ["cn=staff,dc=x"]);
            assert_eq!(ana.attributes["mail"], ["Ana@Example.org"]);
            assert!(ana.enabled);
        }
        assert!(!found(&directory, LoginName::parse("bo").unwrap()).enabled);
        assert_eq!(
            found(&directory, LoginName::parse_dn("UID=bo, DC=x").unwrap()).dn,
            "uid=bo,dc=x"
        );
    }

    #[test]
    fn a_mail_address_is_a_name_only_where_it_is_configured() {
        let config = config::LocalDirectory {
            login_attributes: vec!["uid".into()],
            ..config()
        };
        let directory = LocalDirectory::parse(&config, site(SHA_SECRET).as_bytes()).unwrap();
        let lookup = directory.find(&LoginName::parse("ana@example.org").unwrap());
        assert!(matches!(lookup, Lookup::Unknown), "{lookup:?}");
    }

    #[test]
    fn who_is_not_found() {
        let directory = load(SHA_SECRET);
        for name in ["none", "nobody", "*", "ana)(uid=*", "staff", "cn=staff,dc=x"] {
            let lookup = directory.find(&LoginName::parse(name).unwrap());
            assert!(matches!(lookup, Lookup::Unknown), "{name}: {lookup:?}");
        }
        let group = LoginName::parse_dn("cn=staff,dc=x").unwrap();
        assert!(matches!(directory.find(&group), Lookup::Unknown));
        let two = directory.find(&LoginName::parse("ana2").unwrap());
        assert!(matches!(two, Lookup::Ambiguous), "{two:?}");
    }

    #[tokio::test]
    async fn passwords() {
        let hash = hash_password(&Secret::new("hunter2"));
        let directory = load(&hash);
        let ana = found(&directory, LoginName::parse("ana").unwrap());
        let verify = async |password: &str| directory.verify(&ana, &Secret::new(password)).await;
        assert_eq!(verify("hunter3").await, PasswordOutcome::Wrong);
        assert_eq!(verify("hunter2").await, PasswordOutcome::Right);
        assert_eq!(verify("").await, PasswordOutcome::Wrong);
        directory.verify_nobody(&Secret::new("hunter2")).await;
        let mut gone = Person::clone(&ana);
        gone.dn = "uid=gone,dc=x".into();
        let outcome = directory.verify(&gone, &Secret::new("hunter2")).await;
        assert_eq!(outcome, PasswordOutcome::Unknown);
    }

    #[test]
    fn a_right_password_is_remembered_without_the_workers() {
        let directory = load(&hash_password(&Secret::new("hunter2")));
        let ana = found(&directory, LoginName::parse("ana").unwrap());
        let right = Secret::new("hunter2");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(runtime.block_on(directory.verify(&ana, &right)), PasswordOutcome::Right);
        // Polled once, outside any runtime: a trip to another thread would not be ready, or panic.
        let poll = |password: &Secret| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            directory.verify(&ana, password).as_mut().poll(&mut context)
        };
        assert_eq!(poll(&right), std::task::Poll::Ready(PasswordOutcome::Right));
        let remembered = directory.remembered.as_ref().unwrap();
        let stored = &directory.people[directory.by_normalised_dn["uid=ana,dc=x"]].password;
        let changed = StoredPassword::parse(hash_password(&right).as_bytes(), Clear::Refused).unwrap();
        assert!(
            remembered
                .right
                .contains_key(&remembered.digest(&ana.key, stored, &right))
        );
        assert!(
            !remembered
                .right
                .contains_key(&remembered.digest(&ana.key, &changed, &right))
        );
        assert!(
            !remembered
                .right
                .contains_key(&remembered.digest(&ana.key, stored, &Secret::new("x")))
        );
    }

    #[tokio::test]
    async fn responses_are_judged_by_what_is_kept() {
        const CHALLENGE: [u8; 16] = [1; 16];
        let password = Secret::new("clientPass");
        let chap = Chap::new(3, &CHALLENGE, Chap::response(3, &password, &CHALLENGE)).unwrap();
        let peer = Peer {
            user: b"ana",
            password: &password,
            challenge: &CHALLENGE,
            peer_challenge: &[2; 16],
        };
        let modern = MsChapV2::new(&peer.response(4).unwrap(), &CHALLENGE, b"ana").unwrap();
        let (chap, modern) = (Response::Chap(chap), Response::MsChapV2(modern));
        let config = config::LocalDirectory {
            cleartext: true,
            ..config()
        };
        let nt = "44ebba8d5312b8d611474411f56989ae";
        let beside = format!("{SHA_SECRET}\nsambaNTPassword: {nt}");
        for (stored, by_chap, by_modern) in [
            ("clientPass".to_owned(), "Right(None)", "Right(Some"),
            ("{CLEARTEXT}clientPass".into(), "Right(None)", "Right(Some"),
            ("{CLEARTEXT}clientpass".into(), "Wrong", "Wrong"),
            (format!("{{NT}}{nt}"), "Impossible", "Right(Some"),
            (beside, "Impossible", "Right(Some"),
            (SHA_SECRET.into(), "Impossible", "Impossible"),
        ] {
            let directory = LocalDirectory::parse(&config, site(&stored).as_bytes()).unwrap();
            let ana = found(&directory, LoginName::parse("ana").unwrap());
            for (response, expected) in [(&chap, by_chap), (&modern, by_modern)] {
                let outcome = directory.verify_response(&ana, response).await;
                assert!(format!("{outcome:?}").starts_with(expected), "{stored}: {outcome:?}");
            }
            let mut gone = Person::clone(&ana);
            gone.dn = "uid=gone,dc=x".into();
            let outcome = directory.verify_response(&gone, &chap).await;
            assert!(matches!(outcome, ResponseOutcome::Unknown));
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_an_outage_and_no_wrong_password() {
        let workers = Workers::new(0);
        let stored = Arc::new(StoredPassword::default_decoy());
        assert_eq!(workers.matches(stored, Secret::new("x")).await, None);
        assert_eq!(workers.waiting(), 0, "a place not given is given back");
    }

    #[test]
    fn faults_name_file_and_line() {
        let text = site("hunter2");
        let Err(faults) = LocalDirectory::parse(&config(), text.as_bytes()) else {
            panic!()
        };
        assert!(
            faults.to_string().starts_with("site.ldif:10:1: userPassword: "),
            "{faults}"
        );
        let Err(faults) = LocalDirectory::load(&config()) else {
            panic!()
        };
        assert!(faults.to_string().starts_with("site.ldif: cannot be read"), "{faults}");
    }
}
