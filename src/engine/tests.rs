//! The engine as a whole, on a small world of records in memory: what it must do, and what it must never do.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects; everything else fails it"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::clock::Timestamp;
use crate::dictionary::Dictionary;
use crate::document::{Faults, Source};
use crate::engine::account::{Changed, PasswordChange};
use crate::engine::approval::RequestRecord;
use crate::engine::authenticator::enrolling::TotpKey;
use crate::engine::authenticator::oath::Generator;
use crate::engine::authenticator::{passcode, recovery_code};
use crate::engine::batch::{Batch, Change, Key, Version, Versioned};
use crate::engine::denials::{GroupDenial, GroupDenials};
use crate::engine::dialog::{Dialog, Lifetime};
use crate::engine::event::Outcome;
use crate::engine::facts::{SessionFacts, Whose};
use crate::engine::login::{Effect, Engine, Evidence, Settings, Step};
use crate::engine::policy;
use crate::engine::questions::answers::Hashed;
use crate::engine::questions::answers::tests::cheap;
use crate::engine::record::{self, Algorithm, Deny, Passcode, ThrottleRecord, Token, TokenKind, UserRecord};
use crate::engine::request::{
    AuthnRequest, Capability, Claims, Given, LoginName, Manner, Origin, Protocol, Purpose, Split,
};
use crate::engine::response::{Kept, ResponseOutcome};
use crate::engine::throttle::Limit;
use crate::engine::{Denial, Facts, Lookup, PasswordOutcome, Person, Transport, UserKey, Verdict};
use crate::keyring::Keyring;
use crate::secret::Secret;

mod course;
mod enrol;
mod password;
mod questions;
mod response;
mod reuse;
mod service_account;
mod sessions;
mod shown;

const SEED: &[u8] = b"12345678901234567890";
/// The key of every token that is enrolled in a dialog.
const KEY: &[u8; 20] = b"09876543210987654321";
const PASSWORD: &str = "correct horse";
const START: u64 = 1_700_000_010;

const POLICY: &str = r#"
[[rule]]
name = "exempt"
when = { service = ["exempt"] }
require = "password"
user_failures = 0
audit = "failures"

[[rule]]
name = "answers"
when = { service = ["answers"] }
require = { all = ["password", "questions"] }

[[rule]]
name = "password"
when = { service = ["password"] }
require = "password"

[[rule]]
name = "code only"
when = { service = ["code"] }
require = { any = ["totp", "passcode"] }

[[rule]]
name = "first the password"
when = { service = ["password-first"] }
require = { all = ["password", "totp"] }
order = "password-first"

[[rule]]
name = "either"
when = { service = ["either"] }
require = { any = ["password", "totp"] }

[[rule]]
name = "password or passcode"
when = { service = ["password or passcode"] }
require = { any = ["password", "passcode"] }

[[rule]]
name = "a code, or a password and a saved code"
when = { service = ["instead"] }
require = { any = ["totp", { all = ["password", "recovery-code"] }] }

[[rule]]
name = "with attributes"
when = { service = ["attributes"] }
require = { any = ["password", "totp"] }
message = "Welcome {login}"
reply = { Filter-Id = "{group:rdn}", Session-Timeout = "{hours|3600}", Class = ["a", "b"], Framed-IP-Address = "{address}" }

[[rule]]
name = "not here"
when = { service = ["closed"], user = ["ana"] }
deny = true

[[rule]]
name = "others here"
when = { service = ["closed"], user = ["ben"] }
require = { all = ["password", "totp"] }

[[rule]]
name = "forgotten"
when = { service = ["wiki"], operation = ["password-change"] }
require = { any = ["passcode", { all = ["password", "totp"] }] }

[[rule]]
name = "wiki"
when = { service = ["wiki"] }
require = { all = ["password", "totp"] }

[[rule]]
name = "a new password by a passcode"
when = { service = ["password-change by passcode"], operation = ["password-change"] }
require = "passcode"

[[rule]]
name = "a login by the password"
when = { service = ["password-change by passcode"] }
require = "password"

[[rule]]
name = "a certificate"
when = { service = ["certificate"] }
require = "certificate"

[[rule]]
name = "a certificate and a password"
when = { service = ["certified"] }
require = { all = ["certificate", "password"] }

[[rule]]
name = "a certificate and a code"
when = { service = ["certified code"] }
require = { all = ["certificate", "totp"] }

[[rule]]
name = "a certificate or a password and a code"
when = { service = ["lenient"] }
require = { any = ["certificate", { all = ["password", "totp"] }] }

[[rule]]
name = "a relayed mechanism"
when = { service = ["sasl"] }
require = { any = ["sasl", { all = ["password", "totp"] }] }

[[rule]]
name = "both"
when = { service = ["vpn"], user = ["ana"] }
require = { all = ["password", { any = ["totp", "recovery-code", "passcode"] }] }
"#;

/// Ana, her records, and a directory that knows her password.
struct World {
    engine: Engine,
    store: BTreeMap<Key, (Vec<u8>, Version)>,
    revision: u64,
    now: Timestamp,
    binds: usize,
    hashes: usize,
    /// No answer can be hashed.
    too_busy: bool,
    outcome: Option<PasswordOutcome>,
    /// What the directory makes of a change, if not what it should.
    changed: Option<Changed>,
    /// Passwords set: from which, to which.
    changes: Vec<(Option<String>, String)>,
    /// The password, in a directory that keeps it.
    kept: Option<Secret>,
    /// Whose the name in a certificate is.
    certificate: Whose,
    acting_as: Whose,
    denials: Arc<GroupDenials>,
    person: Arc<Person>,
    audit: Vec<crate::engine::event::AuditEvent>,
}

impl World {
    fn new() -> Self {
        let mut faults = Faults::default();
        let rules = policy::parse(
            &[Source::new(Path::new("p.toml"), POLICY)],
            Dictionary::shipped(),
            &mut faults,
        );
        assert!(faults.0.is_empty(), "{faults}");
        let settings = Settings {
            start_within: Duration::from_secs(60),
            approval_life: Duration::from_secs(300),
            four_eyes: false,
            limit: Limit {
                failures: 5,
                window: Duration::from_secs(900),
            },
            lifetime: Lifetime {
                step: Duration::from_secs(120),
                whole: Duration::from_secs(300),
            },
        };
        let keyring = Arc::new(Keyring::from_root(&[9; 32]));
        let person = Arc::new(Person {
            key: UserKey::new("corp", "1"),
            directory: "corp".into(),
            dn: "uid=ana,dc=x".into(),
            login: "ana".into(),
            groups: Vec::new(),
            attributes: BTreeMap::new(),
            enabled: true,
            manager: None,
            sso_managed: None,
        });
        let mut world = Self {
            engine: Engine {
                policy: Arc::new(rules),
                keyring,
                settings,
                draw: || TotpKey::new(*KEY),
            },
            store: BTreeMap::new(),
            revision: 0,
            now: Timestamp::from_secs(START),
            binds: 0,
            hashes: 0,
            too_busy: false,
            outcome: None,
            changed: None,
            changes: Vec::new(),
            kept: None,
            certificate: Whose::Absent,
            acting_as: Whose::Absent,
            denials: Arc::default(),
            person,
            audit: Vec::new(),
        };
        let key = world.person.key.clone();
        let ring = Arc::clone(&world.engine.keyring);
        world.put(&UserRecord {
            login: "ana".into(),
            tokens: vec![Token {
                id: 1,
                label: "phone".into(),
                kind: TokenKind::Totp {
                    period: 30,
                    last_step: None,
                    drift: 0,
                },
                algorithm: Algorithm::Sha1,
                digits: 6,
                seed: ring.seal(&Token::place(key.as_str(), 1), SEED),
                disabled: false,
                failures: 0,
                enrolled: Timestamp::default(),
                last_used: None,
            }],
            recovery: vec![recovery_code::digest(&ring, &key, "23456789ABCDEF")],
            passcode: Some(Passcode {
                id: "p".into(),
                digest: passcode::digest(&ring, &key, "K7QXM3RTWP"),
                issued_by: "helpdesk".into(),
                issued: world.now,
                expires: world.now + Duration::from_secs(3600),
                failures: 0,
                sealed: None,
                refused: 0,
                replaces_factor: false,
                second: None,
                released_by: None,
                halves: false,
            }),
            ever_enrolled: true,
            ..UserRecord::default()
        });
        world
    }

    fn put(&mut self, user: &UserRecord) {
        let mut batch = Batch::default();
        batch
            .write
            .push((Key::user(&self.person.key), Change::Put(record::encode(user), None)));
        assert!(self.commit(batch));
    }

    fn commit(&mut self, batch: Batch) -> bool {
        let version = |key: &Key| self.store.get(key).map_or(Version(0), |(_, version)| *version);
        if batch.expect.iter().any(|(key, expected)| version(key) != *expected) {
            return false;
        }
        self.revision += 1;
        for (key, change) in batch.write {
            match change {
                Change::Put(octets, _) => self.store.insert(key, (octets, Version(self.revision))),
                Change::Delete => self.store.remove(&key),
            };
        }
        self.audit.extend(batch.audit);
        true
    }

    fn read<T: record::Record + Default>(&self, key: &Key) -> Versioned<T> {
        match self.store.get(key) {
            Some((octets, version)) => Versioned {
                value: record::decode(octets).unwrap(),
                version: *version,
            },
            None => Versioned::default(),
        }
    }

    fn facts(&self, user: &str) -> Facts {
        let known = user == "ana";
        Facts {
            lookup: if known {
                Lookup::Found(Arc::clone(&self.person))
            } else {
                Lookup::Unknown
            },
            user: if known {
                self.read(&Key::user(&self.person.key))
            } else {
                Versioned::default()
            },
            throttle: if known {
                self.read(&Key::throttle(&self.person.key))
            } else {
                Versioned::default()
            },
            source_over_limit: false,
            password_by: None,
            challenged: Versioned::default(),
            certificate: self.certificate.clone(),
            acting_as: self.acting_as.clone(),
            sessions: (known && self.engine.policy.most_sessions() > 0).then(|| self.sessions()),
            reused: None,
            sending: None,
            approval: self.approval(known),
            account: None,
            denials: Arc::clone(&self.denials),
        }
    }

    fn approval(&self, known: bool) -> Option<Box<RequestRecord>> {
        let user: UserRecord = self.read(&Key::user(&self.person.key)).value;
        let open = user.approval.filter(|_| known && self.engine.policy.approves())?;
        let (octets, _) = self.store.get(&Key::request(open))?;
        Some(Box::new(record::decode(octets).unwrap()))
    }

    fn sessions(&self) -> SessionFacts {
        let prefix = Key::sessions_of(&self.person.key);
        let keys = self.store.keys();
        SessionFacts {
            open: keys.filter(|key| key.as_octets().starts_with(&prefix)).count(),
            grants: self.read(&Key::grants(&self.person.key)),
        }
    }

    fn request(
        &self,
        service: &str,
        user: &str,
        typed: &str,
        dialog: Option<Dialog>,
        capability: Capability,
    ) -> AuthnRequest {
        AuthnRequest {
            login: LoginName::parse(user).unwrap(),
            given: Given::Typed(Secret::new(typed)),
            dialog,
            origin: Origin {
                protocol: Protocol::Radius,
                service: service.into(),
                client: "c".into(),
                directory: "corp".into(),
                source: "192.0.2.1".parse().unwrap(),
                nas_identifier: None,
                calling_station: None,
                called_station: None,
                listener: None,
                application: None,
                transport: Transport::Udp,
                service_account: None,
                manner: Manner::default(),
            },
            capability,
            purpose: Purpose::Login,
            claims: Claims::default(),
        }
    }

    /// Runs a request to its verdict as the verifier does.
    fn run(&mut self, request: &AuthnRequest) -> Verdict {
        let engine = self.engine.clone();
        let user = request.login.as_str();
        let mut step = engine.begin(request, &self.facts(user), self.now, self.revision);
        while let Step::Do(Effect::Hash(job), attempt) = step {
            let hash = (!self.too_busy).then(|| cheap(&job));
            self.hashes += 1;
            let hashed = Evidence::Hashed(Hashed { salt: job.salt, hash });
            step = attempt.resume(hashed, &self.facts(user), self.now);
        }
        let (decision, attempt) = match step {
            Step::Do(Effect::Hash(_), _) => unreachable!("done before"),
            Step::Decided(decision) => (decision, None),
            Step::Wait => panic!("nothing else is under way"),
            Step::Do(Effect::AskUpstream { .. }, _) => panic!("there is no upstream"),
            Step::Do(Effect::Deliver { .. }, _) => panic!("nothing is sent"),
            Step::Do(Effect::VerifyNobody { .. }, attempt) => {
                match attempt.resume(
                    Evidence::Password(PasswordOutcome::Unknown),
                    &self.facts(user),
                    self.now,
                ) {
                    Step::Decided(decision) => (decision, None),
                    other => panic!("{other:?}"),
                }
            }
            Step::Do(Effect::VerifyResponse { response, reserve, .. }, attempt) => {
                assert!(self.commit(reserve));
                self.binds += 1;
                let outcome = match &self.kept {
                    Some(password) => response.judge(Kept::Clear(password)),
                    None => ResponseOutcome::Impossible,
                };
                match attempt
                    .clone()
                    .resume(Evidence::Response(outcome), &self.facts(user), self.now)
                {
                    Step::Decided(decision) => (decision, Some(attempt)),
                    other => panic!("{other:?}"),
                }
            }
            Step::Do(Effect::Change { change, reserve, .. }, attempt) => {
                assert!(self.commit(reserve));
                let changed = self.change(&change);
                match attempt
                    .clone()
                    .resume(Evidence::Changed(changed), &self.facts(user), self.now)
                {
                    Step::Decided(decision) => (decision, Some(attempt)),
                    other => panic!("{other:?}"),
                }
            }
            Step::Do(Effect::VerifyPassword { password, reserve, .. }, attempt) => {
                assert!(!password.is_empty(), "never an empty password");
                assert!(self.commit(reserve));
                self.binds += 1;
                let right = if password.matches(PASSWORD.as_bytes()) {
                    PasswordOutcome::Right
                } else {
                    PasswordOutcome::Wrong
                };
                let outcome = self.outcome.clone().unwrap_or(right);
                match attempt
                    .clone()
                    .resume(Evidence::Password(outcome), &self.facts(user), self.now)
                {
                    Step::Decided(decision) => (decision, Some(attempt)),
                    other => panic!("{other:?}"),
                }
            }
        };
        drop(attempt);
        assert!(self.commit(decision.batch));
        decision.verdict
    }

    /// What the directory does.
    fn change(&mut self, change: &PasswordChange) -> Changed {
        let text = |secret: &Secret| secret.expose_str().unwrap().to_owned();
        let done = match change {
            PasswordChange::Own { old, .. } if !old.matches(PASSWORD.as_bytes()) => return Changed::WrongPassword,
            PasswordChange::Own { old, new } => (Some(text(old)), text(new)),
            PasswordChange::Reset { new } => (None, text(new)),
            PasswordChange::Unlock => (None, "(unlocked)".to_owned()),
        };
        let changed = self.changed.clone().unwrap_or(Changed::Done);
        if changed == Changed::Done {
            self.changes.push(done);
        }
        changed
    }

    fn ask(&mut self, service: &str, user: &str, typed: &str, capability: Capability) -> Verdict {
        let request = self.request(service, user, typed, None, capability);
        self.run(&request)
    }

    fn answer(&mut self, service: &str, user: &str, typed: &str, dialog: Dialog) -> Verdict {
        let request = self.request(service, user, typed, Some(dialog), Capability::Dialog);
        self.run(&request)
    }

    fn code(&self) -> String {
        let generator = Generator::new(&Secret::new(SEED), Algorithm::Sha1, 6);
        generator.code(self.now.secs() / 30).expose_str().unwrap().to_owned()
    }

    fn failures(&self) -> usize {
        self.read::<ThrottleRecord>(&Key::throttle(&self.person.key))
            .value
            .failures
            .len()
    }

    fn user(&self) -> UserRecord {
        self.read(&Key::user(&self.person.key)).value
    }
}

#[test]
fn what_a_rule_replies_with() {
    let mut world = World::new();
    let person = Arc::make_mut(&mut world.person);
    person.groups = vec!["cn=staff,dc=x".into(), "cn=vpn,dc=x".into()];
    for typed in [PASSWORD.to_owned(), world.code()] {
        let Verdict::Accept(grant) = world.ask("attributes", "ana", &typed, Capability::Dialog) else {
            panic!("refused");
        };
        let lines: Vec<String> = grant.reply.iter().map(ToString::to_string).collect();
        let expected = [
            "Class = 0x61",
            "Class = 0x62",
            "Filter-Id = \"staff\"",
            "Filter-Id = \"vpn\"",
            "Session-Timeout = 3600",
        ];
        assert_eq!(lines, expected, "without an address there is no attribute for it");
        assert_eq!(grant.message.as_deref(), Some("Welcome ana"));
    }
    let mut request = world.request("attributes", "ana", PASSWORD, None, Capability::Dialog);
    request.origin.protocol = Protocol::Ldap;
    let Verdict::Accept(grant) = world.run(&request) else {
        panic!("refused");
    };
    assert!(grant.reply.is_empty(), "other protocols have no use for them");
}

#[test]
fn an_attribute_that_has_no_value_refuses() {
    let mut world = World::new();
    Arc::make_mut(&mut world.person)
        .attributes
        .insert("hours".into(), vec!["many".into()]);
    let typed = [PASSWORD.to_owned(), world.code()];
    for typed in &typed {
        let verdict = world.ask("attributes", "ana", typed, Capability::Dialog);
        assert_eq!(denial(verdict), Denial::ReplyAttribute);
        let reason = world.audit.last().unwrap().reason.clone().unwrap();
        assert_eq!(
            reason,
            "reply-attribute: Session-Timeout is neither a number from 0 to 4294967295 nor the name of a value"
        );
    }
    let throttle = world.read::<ThrottleRecord>(&Key::throttle(&world.person.key)).value;
    assert!(throttle.is_clear(), "nobody guessed, and no attempt is left open");
    Arc::make_mut(&mut world.person).attributes.clear();
    let again = world.ask("attributes", "ana", &typed[1], Capability::Dialog);
    assert!(matches!(again, Verdict::Reject(_)), "the code was spent: {again:?}");
}

fn challenge(verdict: Verdict) -> Dialog {
    match verdict {
        Verdict::Challenge(prompt) => prompt.dialog,
        other => panic!("no challenge: {other:?}"),
    }
}

fn denial(verdict: Verdict) -> Denial {
    match verdict {
        Verdict::Reject(denial) => denial,
        other => panic!("no rejection: {other:?}"),
    }
}

const APPEND: Capability = Capability::Append(Split::Separator(','));

#[test]
fn password_then_code() {
    let mut world = World::new();
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    assert_eq!(world.binds, 0, "the password waits until the code is in");
    let code = world.code();
    assert!(matches!(
        world.answer("vpn", "ana", &code, dialog.clone()),
        Verdict::Accept(_)
    ));
    assert_eq!(world.binds, 1);
    assert_eq!(
        denial(world.answer("vpn", "ana", &code, dialog)),
        Denial::CodeReplayed,
        "a dialog played again"
    );
    assert_eq!(world.binds, 1);
    assert_eq!(world.failures(), 1);
}

#[test]
fn a_wrong_code_never_reaches_the_directory() {
    let mut world = World::new();
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    assert_eq!(denial(world.answer("vpn", "ana", "000000", dialog)), Denial::WrongCode);
    assert_eq!(
        denial(world.ask("vpn", "ana", "correct horse,000000", APPEND)),
        Denial::WrongCode
    );
    assert_eq!((world.binds, world.failures()), (0, 2));
}

#[test]
fn a_right_code_is_spent_even_with_a_wrong_password() {
    let mut world = World::new();
    let code = world.code();
    assert_eq!(
        denial(world.ask("vpn", "ana", &format!("wrong,{code}"), APPEND)),
        Denial::WrongPassword
    );
    assert_eq!(
        denial(world.ask("vpn", "ana", &format!("{PASSWORD},{code}"), APPEND)),
        Denial::CodeReplayed
    );
    assert_eq!((world.binds, world.failures()), (1, 2));
}

#[test]
fn an_outage_counts_against_nobody_and_gives_the_code_back() {
    let mut world = World::new();
    let before = world.user();
    let code = world.code();
    world.outcome = Some(PasswordOutcome::Unavailable("down".into()));
    assert!(matches!(
        world.ask("vpn", "ana", &format!("{PASSWORD},{code}"), APPEND),
        Verdict::Unavailable(_)
    ));
    assert_eq!((world.failures(), world.user()), (0, before));
    assert_eq!(world.audit.last().unwrap().outcome, Outcome::Unavailable);
    world.outcome = None;
    assert!(matches!(
        world.ask("vpn", "ana", &format!("{PASSWORD},{code}"), APPEND),
        Verdict::Accept(_)
    ));
}

#[test]
fn a_password_that_must_be_changed_is_no_login() {
    let mut world = World::new();
    for (outcome, expected) in [
        (PasswordOutcome::MustChange, Denial::PasswordMustChange),
        (PasswordOutcome::Expired, Denial::PasswordExpired),
        (PasswordOutcome::Locked, Denial::Locked),
        (PasswordOutcome::Disabled, Denial::Disabled),
    ] {
        world.outcome = Some(outcome);
        assert_eq!(
            denial(world.ask("password", "ana", PASSWORD, Capability::None)),
            expected
        );
    }
    assert_eq!(world.failures(), 0);
}

#[test]
fn five_failures_and_the_sixth_try_asks_nobody() {
    let mut world = World::new();
    for _ in 0..5 {
        assert_eq!(
            denial(world.ask("password", "ana", "wrong", Capability::None)),
            Denial::WrongPassword
        );
    }
    assert_eq!(
        denial(world.ask("password", "ana", PASSWORD, Capability::None)),
        Denial::Throttled
    );
    assert_eq!(world.binds, 5);
    // Over any other service and factor as well, and without giving it away at once.
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    let code = world.code();
    assert_eq!(denial(world.answer("vpn", "ana", &code, dialog)), Denial::Throttled);
    world.now = world.now + Duration::from_secs(901);
    assert!(matches!(
        world.ask("password", "ana", PASSWORD, Capability::None),
        Verdict::Accept(_)
    ));
    assert_eq!(world.failures(), 0, "a success clears the count");
}

#[test]
fn attempts_under_way_are_counted_before_they_are_checked() {
    let mut world = World::new();
    let engine = world.engine.clone();
    let requests: Vec<AuthnRequest> = (0..6)
        .map(|_| world.request("password", "ana", "wrong", None, Capability::None))
        .collect();
    let mut attempts = Vec::new();
    for (nonce, request) in (0..).zip(&requests) {
        match engine.begin(request, &world.facts("ana"), world.now, nonce) {
            Step::Do(Effect::VerifyPassword { reserve, .. }, attempt) => {
                assert!(world.commit(reserve));
                attempts.push(attempt);
            }
            Step::Wait => assert_eq!(nonce, 5, "the sixth waits for one of the five"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(attempts.len(), 5);
    for attempt in attempts {
        let Step::Decided(decision) = attempt.resume(
            Evidence::Password(PasswordOutcome::Wrong),
            &world.facts("ana"),
            world.now,
        ) else {
            panic!("a password is tried once")
        };
        assert!(world.commit(decision.batch));
    }
    assert_eq!(denial(world.run(&requests[5])), Denial::Throttled);
}

#[test]
fn nobody_is_asked_what_somebody_would_be() {
    let mut world = World::new();
    let dialog = challenge(world.ask("vpn", "nobody", "anything", Capability::Dialog));
    assert_eq!(
        denial(world.answer("vpn", "nobody", "123456", dialog)),
        Denial::UnknownUser
    );
    assert_eq!(
        denial(world.ask("password", "nobody", "anything", Capability::None)),
        Denial::UnknownUser
    );
    world.put(&UserRecord::default());
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    assert_eq!(
        denial(world.answer("vpn", "ana", "123456", dialog)),
        Denial::NotEnrolled
    );
    assert_eq!(world.binds, 0);
}

#[test]
fn dialogs_expire_and_belong_to_one_user() {
    let mut world = World::new();
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    assert_eq!(
        denial(world.answer("vpn", "nobody", "123456", dialog.clone())),
        Denial::BadDialog
    );
    world.now = world.now + Duration::from_secs(121);
    let code = world.code();
    assert_eq!(denial(world.answer("vpn", "ana", &code, dialog)), Denial::BadDialog);
    assert_eq!((world.binds, world.failures()), (0, 0));
}

#[test]
fn clients_are_never_asked_for_what_they_cannot_do() {
    let mut world = World::new();
    assert_eq!(
        denial(world.ask("vpn", "ana", PASSWORD, Capability::None)),
        Denial::ClientCannotAsk
    );
    assert_eq!(denial(world.ask("vpn", "ana", PASSWORD, APPEND)), Denial::MissingCode);
    challenge(world.ask("vpn", "ana", PASSWORD, Capability::SingleChallenge));
    assert!(
        matches!(world.ask("password", "ana", PASSWORD, APPEND), Verdict::Accept(_)),
        "nothing is cut off where no code is due"
    );
    assert_eq!(world.failures(), 0);
}

#[test]
fn every_kind_of_code_works_once() {
    for code in ["23456789ABCDEF", "k7qxm-3rtwp"] {
        let mut world = World::new();
        assert!(
            matches!(
                world.ask("vpn", "ana", &format!("{PASSWORD},{code}"), APPEND),
                Verdict::Accept(_)
            ),
            "{code}"
        );
        let again = denial(world.ask("vpn", "ana", &format!("{PASSWORD},{code}"), APPEND));
        assert!(matches!(again, Denial::WrongCode), "{again:?}");
    }
}

#[test]
fn a_code_alone_where_the_rule_says_so() {
    let mut world = World::new();
    let code = world.code();
    assert!(matches!(
        world.ask("code", "ana", &code, Capability::None),
        Verdict::Accept(_)
    ));
    assert_eq!(
        denial(world.ask("code", "ana", &code, Capability::None)),
        Denial::CodeReplayed
    );
    assert!(matches!(
        world.ask("code", "ana", "K7QXM3RTWP", Capability::None),
        Verdict::Accept(_)
    ));
    assert_eq!(world.binds, 0);
}

#[test]
fn password_first_asks_for_a_code_only_after_it() {
    let mut world = World::new();
    assert_eq!(
        denial(world.ask("password-first", "ana", "wrong", Capability::Dialog)),
        Denial::WrongPassword
    );
    let dialog = challenge(world.ask("password-first", "ana", PASSWORD, Capability::Dialog));
    assert!(
        dialog.password.is_none(),
        "a password found right is not carried further"
    );
    assert_eq!(world.failures(), 1, "the first half of a login clears nothing");
    let code = world.code();
    assert!(matches!(
        world.answer("password-first", "ana", &code, dialog),
        Verdict::Accept(_)
    ));
    assert_eq!((world.binds, world.failures()), (2, 0));
}

#[test]
fn exempt_accounts_write_nothing_when_all_is_well() {
    let world = World::new();
    let (revision, audit) = (world.revision, world.audit.len());
    let request = world.request("exempt", "ana", PASSWORD, None, Capability::None);
    let engine = world.engine.clone();
    let Step::Do(Effect::VerifyPassword { reserve, .. }, attempt) =
        engine.begin(&request, &world.facts("ana"), world.now, 1)
    else {
        panic!("the password is tried")
    };
    assert!(reserve.is_empty());
    let facts = world.facts("ana");
    let Step::Decided(decision) = attempt
        .clone()
        .resume(Evidence::Password(PasswordOutcome::Right), &facts, world.now)
    else {
        panic!("a password is tried once")
    };
    assert!(decision.batch.audit.is_empty());
    let Step::Decided(decision) = attempt.resume(Evidence::Password(PasswordOutcome::Wrong), &facts, world.now) else {
        panic!("a password is tried once")
    };
    assert_eq!(decision.batch.audit.len(), 1, "refusals are always written down");
    assert_eq!((world.revision, world.audit.len()), (revision, audit));
}

#[test]
fn the_default_is_deny() {
    let mut world = World::new();
    assert_eq!(
        denial(world.ask("unheard of", "ana", PASSWORD, Capability::Dialog)),
        Denial::Policy
    );
    assert_eq!(
        denial(world.ask("password", "ana", "", Capability::None)),
        Denial::Malformed
    );
}

#[test]
fn a_guess_counts_whatever_becomes_of_the_rest() {
    let mut world = World::new();
    world.outcome = Some(PasswordOutcome::Unavailable("down".into()));
    for failures in 1..=5 {
        assert!(matches!(
            world.ask("either", "ana", "000000", APPEND),
            Verdict::Unavailable(_)
        ));
        assert_eq!(world.failures(), failures, "a code guessed during an outage");
    }
    assert_eq!(world.user().tokens[0].failures, 5);
    let code = world.code();
    assert_eq!(denial(world.ask("either", "ana", &code, APPEND)), Denial::Throttled);

    let mut world = World::new();
    for failures in 1..=5 {
        challenge(world.ask("instead", "ana", "000000", Capability::Dialog));
        assert_eq!(
            world.failures(),
            failures,
            "a code guessed where a password was expected"
        );
        assert_eq!(world.audit.len(), failures);
    }
    challenge(world.ask("instead", "ana", &code, Capability::Dialog));
}

#[test]
fn a_password_that_looks_like_a_code_is_no_failure() {
    let mut world = World::new();
    world.outcome = Some(PasswordOutcome::Right);
    assert!(matches!(
        world.ask("either", "ana", "123456", APPEND),
        Verdict::Accept(_)
    ));
    assert_eq!((world.failures(), world.user().tokens[0].failures), (0, 0));
}

#[test]
fn a_login_without_a_code_does_not_clear_wrong_codes() {
    let mut world = World::new();
    for _ in 0..4 {
        assert_eq!(
            denial(world.ask("vpn", "ana", "correct horse,000000", APPEND)),
            Denial::WrongCode
        );
    }
    assert!(matches!(
        world.ask("password", "ana", PASSWORD, Capability::None),
        Verdict::Accept(_)
    ));
    assert_eq!(world.failures(), 4);
    let code = world.code();
    assert!(matches!(
        world.ask("vpn", "ana", &format!("{PASSWORD},{code}"), APPEND),
        Verdict::Accept(_)
    ));
    assert_eq!(world.failures(), 0);
}

#[test]
fn who_is_denied_is_asked_what_others_are() {
    let mut world = World::new();
    for user in ["ana", "nobody"] {
        let dialog = challenge(world.ask("closed", user, PASSWORD, Capability::Dialog));
        let code = world.code();
        let expected = if user == "ana" {
            Denial::Policy
        } else {
            Denial::UnknownUser
        };
        assert_eq!(denial(world.answer("closed", user, &code, dialog)), expected);
    }
    assert_eq!(
        world.audit[0].rule.as_deref(),
        Some("not here"),
        "the audit names the rule that denied"
    );
    assert_eq!(world.binds, 0);
}

#[test]
fn a_source_over_its_limit_is_refused_unheard_and_unwritten() {
    let world = World::new();
    let engine = world.engine.clone();
    for (service, user, refused) in [
        ("password", "ana", true),
        ("password", "nobody", true),
        ("exempt", "ana", false),
    ] {
        let request = world.request(service, user, PASSWORD, None, Capability::None);
        let facts = Facts {
            source_over_limit: true,
            sessions: None,
            ..world.facts(user)
        };
        match engine.begin(&request, &facts, world.now, 1) {
            Step::Decided(decision) => {
                assert!(refused && decision.batch.is_empty());
                assert_eq!(denial(decision.verdict), Denial::SourceThrottled);
            }
            other => assert!(!refused, "{other:?}"),
        }
    }
}

fn deny(world: &mut World, until: Option<Duration>) {
    let denied = Deny {
        until: until.map(|span| world.now + span),
        reason: "laptop stolen".into(),
        by: "carol".into(),
        at: world.now,
    };
    let record = UserRecord {
        denied: Some(denied),
        ..world.user()
    };
    world.put(&record);
}

#[test]
fn a_denial_keeps_out_until_its_time_whatever_the_rule() {
    let mut world = World::new();
    deny(&mut world, Some(Duration::from_secs(600)));
    for service in ["password", "exempt"] {
        assert_eq!(
            denial(world.ask(service, "ana", PASSWORD, Capability::None)),
            Denial::Denied,
            "{service}"
        );
    }
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    let code = world.code();
    assert_eq!(denial(world.answer("vpn", "ana", &code, dialog)), Denial::Denied);
    assert_eq!(
        (world.binds, world.failures()),
        (0, 0),
        "the directory is not asked, nothing counts"
    );
    assert_eq!(world.audit.last().unwrap().reason.as_deref(), Some("denied"));

    world.now = world.now + Duration::from_millis(599_999);
    assert_eq!(
        denial(world.ask("password", "ana", PASSWORD, Capability::None)),
        Denial::Denied
    );
    world.now = world.now + Duration::from_millis(1);
    assert!(matches!(
        world.ask("password", "ana", PASSWORD, Capability::None),
        Verdict::Accept(_)
    ));
}

#[test]
fn a_denial_without_end_lasts_until_it_is_lifted() {
    let mut world = World::new();
    deny(&mut world, None);
    world.now = world.now + Duration::from_secs(20 * 365 * 86400);
    assert_eq!(
        denial(world.ask("password", "ana", PASSWORD, Capability::None)),
        Denial::Denied
    );
    let lifted = UserRecord {
        denied: None,
        ..world.user()
    };
    world.put(&lifted);
    assert!(matches!(
        world.ask("password", "ana", PASSWORD, Capability::None),
        Verdict::Accept(_)
    ));
}

const GROUP: &str = "cn=staff,dc=example";

/// Denies a group; ana is in [`GROUP`].
fn deny_group(world: &mut World, group: &str) {
    let mut person = Person::clone(&world.person);
    person.groups = vec![GROUP.into()];
    world.person = Arc::new(person);
    let deny = record::Deny {
        until: Some(world.now + Duration::from_secs(600)),
        reason: "contract ended".into(),
        by: "carol".into(),
        at: world.now,
    };
    world.denials = Arc::new(GroupDenials(vec![GroupDenial {
        group: group.into(),
        directory: None,
        deny,
    }]));
}

#[test]
fn the_denial_of_a_group_is_as_good_as_that_of_its_members() {
    let mut world = World::new();
    deny_group(&mut world, "cn=another,dc=example");
    assert!(matches!(
        world.ask("password", "ana", PASSWORD, Capability::None),
        Verdict::Accept(_)
    ));
    deny_group(&mut world, GROUP);
    let binds = world.binds;
    for service in ["password", "exempt"] {
        assert_eq!(
            denial(world.ask(service, "ana", PASSWORD, Capability::None)),
            Denial::Denied,
            "{service}"
        );
    }
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    let code = world.code();
    assert_eq!(denial(world.answer("vpn", "ana", &code, dialog)), Denial::Denied);
    assert_eq!((world.binds, world.failures()), (binds, 0));
    world.now = world.now + Duration::from_secs(600);
    assert!(matches!(
        world.ask("password", "ana", PASSWORD, Capability::None),
        Verdict::Accept(_)
    ));
}

#[test]
fn the_denial_of_a_group_while_the_directory_is_asked_is_heard() {
    let mut world = World::new();
    let engine = world.engine.clone();
    let request = world.request("password", "ana", PASSWORD, None, Capability::None);
    let Step::Do(Effect::VerifyPassword { reserve, .. }, attempt) =
        engine.begin(&request, &world.facts("ana"), world.now, 1)
    else {
        panic!("the password is tried")
    };
    assert!(world.commit(reserve));
    deny_group(&mut world, GROUP);
    let right = Evidence::Password(PasswordOutcome::Right);
    let Step::Decided(decision) = attempt.resume(right, &world.facts("ana"), world.now) else {
        panic!("a password is tried once")
    };
    assert_eq!(denial(decision.verdict), Denial::Denied);
}

#[test]
fn a_denial_while_the_directory_is_asked_is_heard() {
    let mut world = World::new();
    let engine = world.engine.clone();
    for service in ["password", "exempt"] {
        world.put(&UserRecord::default());
        let request = world.request(service, "ana", PASSWORD, None, Capability::None);
        let Step::Do(Effect::VerifyPassword { reserve, .. }, attempt) =
            engine.begin(&request, &world.facts("ana"), world.now, 1)
        else {
            panic!("the password is tried")
        };
        assert!(world.commit(reserve));
        let before = world.facts("ana");
        deny(&mut world, None);
        let right = || Evidence::Password(PasswordOutcome::Right);
        let Step::Decided(late) = attempt.clone().resume(right(), &before, world.now) else {
            panic!("a password is tried once")
        };
        if service == "password" {
            assert!(matches!(late.verdict, Verdict::Accept(_)));
            assert!(!world.commit(late.batch), "it rests on a record that has changed");
        }
        let Step::Decided(decision) = attempt.resume(right(), &world.facts("ana"), world.now) else {
            panic!("a password is tried once")
        };
        assert!(world.commit(decision.batch));
        assert_eq!(denial(decision.verdict), Denial::Denied);
        assert_eq!(world.failures(), 0);
    }
}

#[derive(Clone, Debug)]
enum Move {
    Append { right_password: bool, right_code: bool },
    Start,
    Answer { right_code: bool },
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        (any::<bool>(), any::<bool>()).prop_map(|(right_password, right_code)| Move::Append {
            right_password,
            right_code
        }),
        Just(Move::Start),
        any::<bool>().prop_map(|right_code| Move::Answer { right_code }),
        (1u64..400).prop_map(Move::Wait),
    ];
    proptest::collection::vec(one, 1..40)
}

proptest! {
    /// Whatever is tried: one code lets in once, nobody gets in while throttled, and the directory is
    /// asked at most once for each attempt.
    #[test]
    fn one_code_once_and_never_while_throttled(moves in moves()) {
        let mut world = World::new();
        let mut accepted = std::collections::HashSet::new();
        let mut dialog: Option<Dialog> = None;
        let mut failed: Vec<u64> = Vec::new();
        for step in moves {
            let code = world.code();
            let binds = world.binds;
            let typed = |right| if right { code.clone() } else { "000000".to_owned() };
            let verdict = match step {
                Move::Wait(secs) => {
                    world.now = world.now + Duration::from_secs(secs);
                    continue;
                }
                Move::Append { right_password, right_code } => {
                    let password = if right_password { PASSWORD } else { "wrong" };
                    world.ask("vpn", "ana", &format!("{password},{}", typed(right_code)), APPEND)
                }
                Move::Start => world.ask("vpn", "ana", PASSWORD, Capability::Dialog),
                Move::Answer { right_code } => match dialog.clone() {
                    Some(dialog) => world.answer("vpn", "ana", &typed(right_code), dialog),
                    None => continue,
                },
            };
            prop_assert!(world.binds <= binds + 1);
            let now = world.now.secs();
            let recent = failed.iter().filter(|&&at| at + 900 > now).count();
            match verdict {
                Verdict::Accept(_) => {
                    prop_assert!(recent < 5, "let in with {} failures", recent);
                    prop_assert!(accepted.insert(code), "one code let in twice");
                    failed.clear();
                }
                Verdict::Challenge(prompt) => dialog = Some(prompt.dialog),
                Verdict::Reject(denial) if denial.is_guess() => failed.push(now),
                Verdict::Reject(_) => {}
                Verdict::Restricted(_) | Verdict::Closed(_) => prop_assert!(false, "nobody asked for it"),
                Verdict::Unavailable(outage) => prop_assert!(false, "{}", outage.reason),
            }
        }
    }
}
