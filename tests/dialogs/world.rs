//! A small world around the engine: records in memory, and a directory that says what it is told to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use portcullis::clock::Timestamp;
use portcullis::dictionary::Dictionary;
use portcullis::document::{Fault, Faults, Source};
use portcullis::engine::account::{Changed, PasswordChange, PasswordRefusal};
use portcullis::engine::approval::{RequestRecord, Who, Word};
use portcullis::engine::authenticator::enrolling::TotpKey;
use portcullis::engine::authenticator::{Kind, passcode, recovery_code, yubico_otp};
use portcullis::engine::batch::{Batch, Change, Key, Version, Versioned};
use portcullis::engine::delivery::{Delivered, Destination, Form, Message, Route, Routes, Sending};
use portcullis::engine::dialog::{Dialog, Lifetime};
use portcullis::engine::facts::Whose;
use portcullis::engine::ocra::{Input, Suite};
use portcullis::engine::questions;
use portcullis::engine::questions::answers::{HashJob, Hashed, NewAnswer, Prepared};
use portcullis::engine::record::{self, Algorithm, Answers, OcraSuite, Passcode, Token, TokenKind, UserRecord};
use portcullis::engine::throttle::Limit;
use portcullis::engine::upstream::{self, Answer, Awaiting, Question};
use portcullis::engine::{
    AuthnRequest, Capability, Claims, Effect, Engine, Evidence, Facts, Given, LoginName, Lookup, Manner, Origin,
    PasswordOutcome, Person, Protocol, Purpose, Settings, Step, Transport, UserKey, Verdict, policy,
};
use portcullis::keyring::Keyring;
use portcullis::secret::Secret;

use crate::transcript::Reply;

const START: Timestamp = Timestamp::from_secs(1_700_000_010);
const PASSWORD: &str = "hunter2";
const UPSTREAM: &str = "tokens";
const SEED: &[u8] = b"12345678901234567890";
/// The key of every token that is enrolled in a dialog.
const KEY: &[u8; 20] = b"09876543210987654321";
const POLICY: &str = include_str!("policy.toml");
const QUESTIONS: &str = include_str!("questions.toml");
/// What ana answers.
const ANSWERS: [(&str, &str); 4] = [
    ("school", "St. Mary's"),
    ("street", "Station Road"),
    ("book", "The Hobbit"),
    ("concert", "Jethro Tull"),
];
/// What State is sealed to.
const PLACE: &[u8] = b"client";

pub(crate) struct World {
    pub(crate) user: String,
    pub(crate) service: String,
    pub(crate) capability: Capability,
    pub(crate) now: Timestamp,
    /// What the directory says instead of the truth.
    pub(crate) directory: Option<PasswordOutcome>,
    pub(crate) binds: usize,
    /// Of the last audit record.
    pub(crate) reason: String,
    pub(crate) upstream_gone: bool,
    /// Questions to the upstream.
    pub(crate) asked: usize,
    /// Whether codes cannot be sent.
    pub(crate) delivery_gone: Option<Delivered>,
    /// Codes sent.
    pub(crate) sent: usize,
    /// Answers hashed.
    pub(crate) hashed: usize,
    pub(crate) reply: Option<Reply>,
    /// The code that was sent last.
    mailbox: Option<Secret>,
    /// Everybody's password.
    pub(crate) password: String,
    used: Vec<String>,
    engine: Engine,
    people: BTreeMap<String, Arc<Person>>,
    records: BTreeMap<Key, (Vec<u8>, Version)>,
    revision: u64,
    /// What a client would bring back, sealed as it would be.
    state: Option<Vec<u8>>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut faults = Faults::default();
        let mut rules = policy::parse(
            &[Source::new(Path::new("policy.toml"), POLICY)],
            Dictionary::shipped(),
            &mut faults,
        );
        rules.questions = questions::parse(&Source::new(Path::new("questions.toml"), QUESTIONS), &mut faults);
        let told = |fault: &Fault| fault.key.ends_with("fail_open");
        assert!(faults.0.iter().all(told), "{faults}");
        rules.routes = Routes(vec![
            route("mail", Kind::EmailCode, "mail", Form::Mail(Vec::new())),
            route("sms", Kind::GatewayCode, "mobile", NUMBERS),
        ]);
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
        let mut world = Self {
            user: String::new(),
            service: String::new(),
            capability: Capability::None,
            now: START,
            directory: None,
            binds: 0,
            reason: String::new(),
            upstream_gone: false,
            asked: 0,
            delivery_gone: None,
            sent: 0,
            hashed: 0,
            reply: None,
            mailbox: None,
            password: PASSWORD.into(),
            used: Vec::new(),
            engine: Engine {
                policy: Arc::new(rules),
                keyring: Arc::new(Keyring::from_root(&[9; 32])),
                settings,
                draw: || TotpKey::new(*KEY),
            },
            people: ["ana", "bob", "kim"].map(|name| (name.to_owned(), person(name))).into(),
            records: BTreeMap::new(),
            revision: 0,
            state: None,
        };
        world.enrol_ana();
        world.enrol_kim();
        world
    }

    /// What is typed first.
    pub(crate) fn login(&mut self, typed: &str) {
        self.ask(typed, None);
    }

    /// The answer to the last challenge.
    pub(crate) fn answer(&mut self, typed: &str) -> Result<(), String> {
        let state = self.state.clone().ok_or("an answer, but nothing was asked")?;
        let dialog = Dialog::open(&state, &self.engine.keyring, PLACE, self.now).ok_or("State does not open")?;
        self.ask(typed, Some(dialog));
        Ok(())
    }

    /// What an operator does to ana's answers.
    pub(crate) fn lock_answers(&mut self, locked: bool) {
        let key = Key::user(&self.people["ana"].key);
        let Versioned { value, version } = self.read::<UserRecord>(&key);
        let mut record = value;
        let answers = record.answers.as_mut().unwrap();
        match locked {
            true => answers.lock(),
            false => answers.unlock(),
        }
        let mut batch = Batch::default();
        batch.replace(key, version, Change::Put(record::encode(&record), None));
        self.commit(batch);
    }

    /// The response of kim's offline token to the challenge in what was asked last.
    pub(crate) fn respond(&mut self) -> Result<(), String> {
        let Some(Reply::Challenge(text)) = &self.reply else {
            return Err("nothing was asked".into());
        };
        let challenge: String = text.chars().filter(char::is_ascii_digit).collect();
        let input = Input {
            question: &challenge,
            ..Input::default()
        };
        let response = Suite::from(OcraSuite::Sha1Digits6).response(&Secret::new(SEED), &input);
        let response = response.map_err(|error| error.to_string())?;
        self.answer(response.expose_str().unwrap())
    }

    fn ask(&mut self, typed: &str, dialog: Option<Dialog>) {
        let request = AuthnRequest {
            login: LoginName::parse(&self.user).unwrap(),
            given: Given::Typed(Secret::new(typed)),
            dialog,
            origin: Origin {
                protocol: Protocol::Radius,
                service: self.service.as_str().into(),
                client: "client".into(),
                directory: "main".into(),
                source: "192.0.2.1".parse().unwrap(),
                nas_identifier: None,
                calling_station: None,
                called_station: None,
                listener: None,
                application: None,
                transport: Transport::Udp,
                service_account: None,
                manner: Manner {
                    recover: Some("?recover".into()),
                    ..Manner::default()
                },
            },
            capability: self.capability,
            purpose: Purpose::Login,
            claims: Claims::default(),
        };
        let verdict = self.judge(&request);
        self.reply = Some(match verdict {
            Verdict::Accept(_) => Reply::Accept,
            Verdict::Challenge(prompt) => {
                self.state = prompt.dialog.seal(&self.engine.keyring, PLACE, self.now);
                let id = prompt.dialog.approval.map(|id| id.to_string());
                Reply::Challenge(id.map_or(prompt.text.clone(), |id| prompt.text.replace(&id, "{id}")))
            }
            Verdict::Reject(denial) => Reply::Reject(denial.word().to_owned()),
            Verdict::Closed(closed) => Reply::Closed(closed.text),
            Verdict::Restricted(_) => panic!("nobody asked for a session to change the password in"),
            Verdict::Unavailable(_) => Reply::Unavailable,
        });
    }

    /// What the verifier does, one attempt at a time.
    fn judge(&mut self, request: &AuthnRequest) -> Verdict {
        let engine = self.engine.clone();
        let mut step = engine.begin(request, &self.facts(request), self.now, self.revision);
        loop {
            step = match step {
                Step::Decided(decision) => {
                    self.commit(decision.batch);
                    return decision.verdict;
                }
                Step::Wait => panic!("nothing else is under way"),
                Step::Do(Effect::VerifyNobody { .. }, attempt) => attempt.resume(
                    Evidence::Password(PasswordOutcome::Unknown),
                    &self.facts(request),
                    self.now,
                ),
                Step::Do(Effect::VerifyResponse { .. }, _) => panic!("everything is typed"),
                Step::Do(Effect::Deliver { message, reserve, .. }, attempt) => {
                    self.commit(reserve);
                    let delivered = self.deliver(message);
                    attempt.resume(Evidence::Delivered(delivered), &self.facts(request), self.now)
                }
                Step::Do(Effect::Change { change, reserve, .. }, attempt) => {
                    self.commit(reserve);
                    let changed = self.change(&change);
                    attempt.resume(Evidence::Changed(changed), &self.facts(request), self.now)
                }
                Step::Do(Effect::Hash(job), attempt) => {
                    self.hashed += 1;
                    let (salt, hash) = (job.salt, Some(hash(&job)));
                    let evidence = Evidence::Hashed(Hashed { salt, hash });
                    attempt.resume(evidence, &self.facts(request), self.now)
                }
                Step::Do(Effect::AskUpstream { question, reserve }, attempt) => {
                    self.commit(reserve);
                    let answer = self.upstream(&question);
                    attempt.resume(Evidence::Upstream(answer), &self.facts(request), self.now)
                }
                Step::Do(Effect::VerifyPassword { password, reserve, .. }, attempt) => {
                    self.commit(reserve);
                    self.binds += 1;
                    let outcome = self.tried(&password);
                    attempt.resume(Evidence::Password(outcome), &self.facts(request), self.now)
                }
            };
        }
    }

    /// That a password is too old is said of the right one alone.
    fn tried(&self, password: &Secret) -> PasswordOutcome {
        match (&self.directory, password.matches(self.password.as_bytes())) {
            (None, true) => PasswordOutcome::Right,
            (None | Some(PasswordOutcome::Expired | PasswordOutcome::MustChange), false) => PasswordOutcome::Wrong,
            (Some(said), _) => said.clone(),
        }
    }

    /// New passwords have eight characters and were not used before; a lock goes with an unlock, and what was too old
    /// with a new password.
    fn change(&mut self, change: &PasswordChange) -> Changed {
        if let Some(PasswordOutcome::Unavailable(why)) = &self.directory {
            return Changed::Unavailable(why.clone());
        }
        let new = match change {
            PasswordChange::Own { old, .. } if !old.matches(self.password.as_bytes()) => return Changed::WrongPassword,
            PasswordChange::Own { new, .. } | PasswordChange::Reset { new } => new.expose_str().unwrap().to_owned(),
            PasswordChange::Unlock => {
                self.directory = None;
                return Changed::Done;
            }
        };
        if new.chars().count() < 8 {
            return Changed::Refused(PasswordRefusal::TooShort);
        }
        if new == self.password || self.used.contains(&new) {
            return Changed::Refused(PasswordRefusal::UsedBefore);
        }
        self.used.push(std::mem::replace(&mut self.password, new));
        self.directory = None;
        Changed::Done
    }

    fn facts(&self, request: &AuthnRequest) -> Facts {
        let Some(person) = self.people.get(request.login.as_str()) else {
            return Facts {
                lookup: Lookup::Unknown,
                user: Versioned::default(),
                throttle: Versioned::default(),
                source_over_limit: false,
                password_by: self.password_by(),
                challenged: Versioned::default(),
                sessions: None,
                certificate: Whose::Absent,
                acting_as: Whose::Absent,
                reused: None,
                sending: None,
                approval: None,
                account: None,
                denials: Arc::default(),
            };
        };
        let asking = request.dialog.as_ref().and_then(|dialog| dialog.asking);
        Facts {
            lookup: Lookup::Found(Arc::clone(person)),
            user: self.read(&Key::user(&person.key)),
            throttle: self.read(&Key::throttle(&person.key)),
            source_over_limit: false,
            sessions: None,
            certificate: Whose::Absent,
            acting_as: Whose::Absent,
            reused: None,
            approval: self.approval(person),
            account: None,
            password_by: self.password_by(),
            sending: Some(self.sending(person)),
            challenged: asking.map_or_else(Versioned::default, |id| self.read(&Key::upstream(id))),
            denials: Arc::default(),
        }
    }

    fn approval(&self, person: &Person) -> Option<Box<RequestRecord>> {
        let user: UserRecord = self.read(&Key::user(&person.key)).value;
        let open = user.approval.filter(|_| self.engine.policy.approves())?;
        let (octets, _) = self.records.get(&Key::request(open))?;
        Some(Box::new(record::decode(octets).unwrap()))
    }

    /// Somebody decides the open request of the one who is typing.
    pub(crate) fn decide(&mut self, approve: bool) -> Result<(), String> {
        let person = self.people.get(&self.user).ok_or("nobody is typing")?;
        let user: UserRecord = self.read(&Key::user(&person.key)).value;
        let open = user.approval.ok_or("nothing is asked for")?;
        let mut request = self.approval(person).ok_or("the request has gone")?;
        let word = Word {
            by: Who {
                account: "carol".into(),
                key: None,
            },
            instead_of: None,
            at: self.now,
            reason: String::new(),
        };
        let decided = if approve {
            request.approve(0, word)
        } else {
            request.deny(word)
        };
        decided.map_err(|refused| refused.to_string())?;
        let mut batch = Batch::default();
        batch
            .write
            .push((Key::request(open), Change::Put(record::encode(&*request), None)));
        self.commit(batch);
        Ok(())
    }

    /// At the service `remote` an upstream judges passwords.
    fn password_by(&self) -> Option<Arc<str>> {
        (self.service.starts_with("remote")).then(|| UPSTREAM.into())
    }

    /// What an upstream server says: `hunter2` and `424242` are right, so is `limited`, with an attribute to be passed on, `push` and then `more` are answered by
    /// another question, and the answer to that is `yes`.
    fn upstream(&mut self, question: &Question) -> Answer {
        assert_eq!(&*question.upstream, UPSTREAM);
        self.asked += 1;
        if self.upstream_gone {
            return Answer::OutOfReach(String::new());
        }
        let awaiting = |state: &str| Awaiting {
            server: "one".into(),
            state: state.into(),
        };
        let challenge = |text: &str, state: &str| {
            Answer::Challenge(upstream::Challenge {
                text: text.into(),
                echo: true,
                awaiting: awaiting(state),
            })
        };
        match (question.typed.expose_str().unwrap(), &question.challenge) {
            ("hunter2" | "424242", None) => Answer::Accept(Vec::new()),
            ("limited", None) => Answer::Accept(vec![Dictionary::shipped().pair("Filter-Id", "staff").unwrap()]),
            ("push", None) => challenge("Is it you?", "first"),
            ("more", Some(first)) if *first == awaiting("first") => challenge("", "second"),
            ("yes", Some(_)) => Answer::Accept(Vec::new()),
            _ => Answer::Reject,
        }
    }

    /// What a delivery does: the code is in [`World::mailbox`] unless the delivery is gone.
    fn deliver(&mut self, message: Option<Message>) -> Delivered {
        match (message, self.delivery_gone.clone()) {
            (_, Some(gone)) => gone,
            (None, None) => Delivered::Sent(String::new()),
            (Some(message), None) => {
                self.sent += 1;
                self.mailbox = Some(message.code);
                Delivered::Sent("250 Ok".into())
            }
        }
    }

    /// What is typed, with the code that was sent last for `{code}`.
    pub(crate) fn filled(&self, typed: &str) -> String {
        let code = self.mailbox.as_ref().and_then(Secret::expose_str).unwrap_or_default();
        typed.replace("{code}", code)
    }

    fn sending(&self, person: &Person) -> Sending {
        let routes = &self.engine.policy.routes;
        let reached = [Kind::EmailCode, Kind::GatewayCode].map(|kind| routes.to(kind, person).ok());
        let digest = |(_, destination): (&Arc<Route>, Destination)| {
            let digest = destination.digest(&self.engine.keyring);
            (digest, self.read(&Key::sent_to(&digest)))
        };
        Sending {
            person: self.read(&Key::sent_for(&person.key)),
            destinations: reached.into_iter().flatten().map(digest).collect(),
            random: (self.revision * 7_654_321).to_be_bytes(),
        }
    }

    fn read<T: record::Record + Default>(&self, key: &Key) -> Versioned<T> {
        match self.records.get(key) {
            Some((octets, version)) => Versioned {
                value: record::decode(octets).unwrap(),
                version: *version,
            },
            None => Versioned::default(),
        }
    }

    fn commit(&mut self, batch: Batch) {
        for (key, expected) in &batch.expect {
            let version = self.records.get(key).map_or(Version(0), |(_, version)| *version);
            assert_eq!(version, *expected, "nobody else writes");
        }
        if let Some(event) = batch.audit.last() {
            self.reason = event.reason.clone().unwrap_or_default();
        }
        self.revision += 1;
        for (key, change) in batch.write {
            match change {
                Change::Put(octets, _) => self.records.insert(key, (octets, Version(self.revision))),
                Change::Delete => self.records.remove(&key),
            };
        }
    }

    fn enrol_ana(&mut self) {
        let key = self.people["ana"].key.clone();
        let keyring = Arc::clone(&self.engine.keyring);
        let questions = &self.engine.policy.questions;
        let given = ANSWERS.map(|(question, answer)| NewAnswer {
            question: question.into(),
            own: None,
            answer: Secret::new(answer),
        });
        let mut salt = 0;
        let salts = || {
            salt += 1;
            [salt; 16]
        };
        let prepared = questions.prepare(&given, "ana", &key, &keyring, salts).unwrap();
        let finish = |prepared: Prepared| {
            let hash = hash(&prepared.job);
            prepared.finish(hash)
        };
        let mut answers = Answers::default();
        answers.define(prepared.into_iter().map(finish).collect(), questions, START);
        let record = UserRecord {
            answers: Some(Box::new(answers)),
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
                seed: keyring.seal(&Token::place(key.as_str(), 1), SEED),
                disabled: false,
                failures: 0,
                enrolled: START,
                last_used: None,
            }],
            recovery: vec![recovery_code::digest(&keyring, &key, "23456789ABCDEF")],
            passcode: Some(Passcode {
                id: "p".into(),
                digest: passcode::digest(&keyring, &key, "K7QXM3RTWP"),
                issued_by: "helpdesk".into(),
                issued: START,
                expires: START + Duration::from_secs(3600),
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
        };
        let mut batch = Batch::default();
        let change = Change::Put(record::encode(&record), None);
        batch.replace(Key::user(&key), Version::default(), change);
        self.commit(batch);
    }

    /// A key that types, and an offline token.
    fn enrol_kim(&mut self) {
        let key = self.people["kim"].key.clone();
        let token = |id: u32, kind, digits, seed: &[u8]| Token {
            id,
            label: format!("token-{id}"),
            kind,
            algorithm: Algorithm::Sha1,
            digits,
            seed: self.engine.keyring.seal(&Token::place(key.as_str(), id), seed),
            disabled: false,
            failures: 0,
            enrolled: START,
            last_used: None,
        };
        let yubikey = TokenKind::YubicoOtp {
            public: yubico_otp::public_identity("vvccccccbcde").unwrap(),
            last: None,
        };
        let seed = yubico_otp::seed("010203040506", "000102030405060708090a0b0c0d0e0f").unwrap();
        let pad = TokenKind::Ocra {
            suite: OcraSuite::Sha1Digits6,
            offline: false,
        };
        let record = UserRecord {
            login: "kim".into(),
            tokens: vec![token(1, yubikey, 44, seed.expose()), token(2, pad, 6, SEED)],
            ever_enrolled: true,
            ..UserRecord::default()
        };
        let mut batch = Batch::default();
        let change = Change::Put(record::encode(&record), None);
        batch.replace(Key::user(&key), Version::default(), change);
        self.commit(batch);
    }
}

/// In place of the slow hash.
fn hash(job: &HashJob) -> [u8; 32] {
    let octets = [job.input.expose(), &job.salt].concat();
    let digest = ring::digest::digest(&ring::digest::SHA256, &octets);
    *digest.as_ref().first_chunk().unwrap()
}

const NUMBERS: Form = Form::Number {
    country_code: None,
    prefixes: Vec::new(),
};

fn route(name: &str, serves: Kind, attribute: &str, form: Form) -> Arc<Route> {
    Arc::new(Route {
        name: name.into(),
        serves,
        attributes: vec![attribute.into()],
        form,
        digits: 6,
        life: Duration::from_secs(300),
        per_destination: 3,
        per_person: 4,
        window: Duration::from_secs(900),
    })
}

fn person(name: &str) -> Arc<Person> {
    let attributes = match name {
        "ana" => BTreeMap::from([
            ("mail".to_owned(), vec!["ana@example.org".to_owned()]),
            ("mobile".to_owned(), vec!["+49 170 1234567".to_owned()]),
        ]),
        _ => BTreeMap::new(),
    };
    Arc::new(Person {
        key: UserKey::new("main", name),
        directory: "main".into(),
        dn: format!("uid={name},dc=example,dc=org"),
        login: name.into(),
        groups: Vec::new(),
        attributes,
        enabled: true,
        manager: None,
        sso_managed: None,
    })
}
