//! A login, judged: from the first field typed to the verdict, as steps that spend their state.
//!
//! [`Engine::begin`] judges what can be judged from facts alone. When the directory has to try a
//! password it says so ([`Step::Do`]) and hands out an [`Attempt`], which goes on with the answer.
//! Every [`Decision`] and every [`Effect`] carries the [`Batch`] to be committed first.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::authenticator::{self, Context, Judgement, Kind, KindSet};
use crate::engine::batch::{Batch, Change, Key, Versioned};
use crate::engine::dialog::{Dialog, Lifetime, MAX_ROUNDS};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Facts, Lookup, PasswordOutcome, Person};
use crate::engine::policy::{Audit, Order, Policy, Rule, Ruling, Subject, Terms, Who};
use crate::engine::record::{self, Pending, ThrottleRecord, UserRecord};
use crate::engine::request::{AuthnRequest, Capability};
use crate::engine::throttle::{Limit, Standing};
use crate::engine::verdict::{Denial, Grant, Outage, Prompt, Verdict};
use crate::keyring::{KeyError, Keyring};
use crate::secret::Secret;

/// The engine: a policy, the keys, the limits. Replaced whole on reload.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The rules.
    pub policy: Arc<Policy>,
    /// Opens seeds, digests codes.
    pub keyring: Arc<Keyring>,
    /// Limits and life times.
    pub settings: Settings,
}

/// Limits and life times.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Failures of one person.
    pub limit: Limit,
    /// Life of dialogs.
    pub lifetime: Lifetime,
}

/// What happens next.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing: here is the verdict.
    Decided(Decision),
    /// Something has to be done first.
    Do(Effect, Attempt<'a>),
    /// As many attempts of this person are under way as there are failures left: begin again when one
    /// of them has come back.
    Wait,
}

/// A verdict with what has to be durable before it leaves.
#[derive(Debug)]
pub struct Decision {
    /// The verdict.
    pub verdict: Verdict,
    /// To be committed durably first. May be empty.
    pub batch: Batch,
    /// The rule that decided, for logs.
    pub rule: Option<Arc<str>>,
    /// What was proven, for logs.
    pub proven: KindSet,
}

/// Something to be done outside of the engine.
#[derive(Debug)]
pub enum Effect {
    /// Try a password, after committing `reserve`: visible to everyone, durable with the verdict.
    VerifyPassword {
        /// Whose.
        person: Arc<Person>,
        /// Never empty.
        password: Secret,
        /// The attempt counted, and the code spent.
        reserve: Batch,
    },
    /// Spend the time of trying a password for someone who does not exist.
    VerifyNobody {
        /// What was typed.
        password: Secret,
    },
}

/// What came of an effect.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// Of trying a password.
    Password(PasswordOutcome),
    /// Of spending time.
    Nothing,
}

/// An attempt between an effect and its evidence.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    engine: &'a Engine,
    request: &'a AuthnRequest,
    stage: Stage<'a>,
}

#[derive(Clone, Debug)]
enum Stage<'a> {
    /// The directory tries the password of a person.
    Trying {
        person: Arc<Person>,
        rule: &'a Rule,
        terms: &'a Terms,
        proven: KindSet,
        nonce: u64,
        /// The record before its code was spent and after, to give the code back if there is an outage.
        spent: Option<Box<(UserRecord, UserRecord)>>,
    },
    /// Time is spent for nobody.
    Pretending { rule: Option<Arc<str>>, denial: Denial },
}

impl Engine {
    /// Judges a request. `nonce` is a random number that names this attempt.
    pub fn begin<'a>(&'a self, request: &'a AuthnRequest, facts: &Facts, now: Timestamp, nonce: u64) -> Step<'a> {
        if request.typed.is_empty() {
            return self.reject(request, facts, None, Denial::Malformed, now);
        }
        let person = match &facts.lookup {
            Lookup::Found(person) => Some(person),
            Lookup::Unknown | Lookup::Ambiguous => None,
            Lookup::Unavailable(reason) => return self.outage(request, None, reason.clone(), now),
        };
        let who = person.map_or(Who::Decoy, |person| Who::Known(person));
        let subject = Subject {
            login: &request.login,
            origin: &request.origin,
            person: who,
            now,
        };
        let Some(rule) = self.policy.decide(&subject) else {
            return self.reject(request, facts, None, Denial::Policy, now);
        };
        let Ruling::Require(terms) = &rule.ruling else {
            return self.reject(request, facts, Some(rule), Denial::Policy, now);
        };
        let limit = terms.limit(self.settings.limit);
        let standing = facts.throttle.value.standing(limit, now);
        // Found out now, told at the end: the conversation is the same for everybody.
        let blocked = match person {
            None => Some(Denial::UnknownUser),
            Some(_) if standing == Standing::Over || facts.source_over_limit => Some(Denial::Throttled),
            Some(person) if !person.enabled => Some(Denial::Disabled),
            Some(_) => None,
        };
        let case = Case {
            engine: self,
            request,
            facts,
            rule,
            terms,
            limit,
            blocked,
            now,
            nonce,
        };
        match (blocked, standing) {
            (None, Standing::Busy) => Step::Wait,
            (None | Some(_), _) => match &request.dialog {
                Some(dialog) => case.answer(dialog),
                None => case.opening(),
            },
        }
    }

    fn reject<'a>(
        &self,
        request: &AuthnRequest,
        facts: &Facts,
        rule: Option<&Rule>,
        denial: Denial,
        now: Timestamp,
    ) -> Step<'a> {
        let target = match &facts.lookup {
            Lookup::Found(person) => Some(person.as_ref()),
            Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_) => None,
        };
        let mut batch = Batch::default();
        let name = rule.map(|rule| Arc::clone(&rule.name));
        batch.audit.push(event(
            request,
            target,
            name.as_deref(),
            KindSet::EMPTY,
            Outcome::Reject,
            Some(denial.word()),
            now,
        ));
        Step::Decided(Decision {
            verdict: Verdict::Reject(denial),
            batch,
            rule: name,
            proven: KindSet::EMPTY,
        })
    }

    fn outage<'a>(&self, request: &AuthnRequest, rule: Option<&Rule>, reason: String, now: Timestamp) -> Step<'a> {
        let mut batch = Batch::default();
        let name = rule.map(|rule| Arc::clone(&rule.name));
        batch.audit.push(event(
            request,
            None,
            name.as_deref(),
            KindSet::EMPTY,
            Outcome::Unavailable,
            Some(&reason),
            now,
        ));
        Step::Decided(Decision {
            verdict: Verdict::Unavailable(Outage { reason }),
            batch,
            rule: name,
            proven: KindSet::EMPTY,
        })
    }
}

impl<'a> Attempt<'a> {
    /// Goes on with the evidence. `facts` are the records as they are now; when the decision's batch
    /// meets a conflict, the same evidence is judged again on newer facts.
    pub fn resume(self, evidence: Evidence, facts: &Facts, now: Timestamp) -> Step<'a> {
        let Self { engine, request, stage } = self;
        match stage {
            Stage::Pretending { rule, denial } => {
                let mut batch = Batch::default();
                batch.audit.push(event(
                    request,
                    None,
                    rule.as_deref(),
                    KindSet::EMPTY,
                    Outcome::Reject,
                    Some(denial.word()),
                    now,
                ));
                Step::Decided(Decision {
                    verdict: Verdict::Reject(denial),
                    batch,
                    rule,
                    proven: KindSet::EMPTY,
                })
            }
            Stage::Trying {
                person,
                rule,
                terms,
                proven,
                nonce,
                spent,
            } => {
                let limit = terms.limit(engine.settings.limit);
                let tried = Tried {
                    engine,
                    request,
                    facts,
                    person,
                    rule,
                    terms,
                    limit,
                    proven,
                    nonce,
                    spent,
                    now,
                };
                match evidence {
                    Evidence::Password(PasswordOutcome::Right) => tried.right(),
                    Evidence::Password(PasswordOutcome::Wrong | PasswordOutcome::Unknown) => tried.wrong(),
                    Evidence::Password(PasswordOutcome::Expired) => tried.barred(Denial::PasswordExpired),
                    Evidence::Password(PasswordOutcome::MustChange) => tried.barred(Denial::PasswordMustChange),
                    Evidence::Password(PasswordOutcome::Locked) => tried.barred(Denial::Locked),
                    Evidence::Password(PasswordOutcome::Disabled) => tried.barred(Denial::Disabled),
                    Evidence::Password(PasswordOutcome::Unavailable(reason)) => tried.unavailable(reason),
                    Evidence::Nothing => tried.unavailable("the password was not tried".into()),
                }
            }
        }
    }
}

/// A request that a rule lets in on terms.
#[derive(Clone, Copy)]
struct Case<'a, 'f> {
    engine: &'a Engine,
    request: &'a AuthnRequest,
    facts: &'f Facts,
    rule: &'a Rule,
    terms: &'a Terms,
    limit: Limit,
    blocked: Option<Denial>,
    now: Timestamp,
    nonce: u64,
}

impl<'a> Case<'a, '_> {
    /// The first field of a conversation.
    fn opening(self) -> Step<'a> {
        let requirement = &self.terms.requirement;
        let typed = &self.request.typed;
        let instead = requirement.codes_instead_of_password();
        let mut record = self.facts.user.value.clone();
        if !instead.is_empty() {
            let judged = match self.judge(typed, instead, &mut record) {
                Ok(judged) => judged,
                Err(error) => return self.broken(&error),
            };
            match judged {
                (Judgement::Right, Some(kind)) => return self.proceed(KindSet::of(kind), None, record, 0),
                // What cannot be a password was a code, and wrong.
                (judgement, _) if !requirement.takes_password() => return self.refuse_code(judgement, instead, record),
                _ => {}
            }
        }
        if requirement.wants_only_password(KindSet::EMPTY) {
            return self.try_password(KindSet::EMPTY, typed.clone(), record);
        }
        match self.request.capability {
            Capability::SingleChallenge if requirement.fewest_codes() > 1 => {
                self.refuse(Denial::ClientCannotAsk, record)
            }
            Capability::Dialog | Capability::SingleChallenge => match self.terms.order {
                Order::CodeFirst => self.challenge(KindSet::EMPTY, Some(typed.clone()), record, None),
                Order::PasswordFirst => self.try_password(KindSet::EMPTY, typed.clone(), record),
            },
            Capability::Append(split) => match split.cut(typed) {
                Some((password, code)) => self.code(&code, KindSet::EMPTY, Some(password), record, None),
                None => self.refuse(Denial::MissingCode, record),
            },
            Capability::None => self.refuse(Denial::ClientCannotAsk, record),
        }
    }

    /// An answer within a dialog.
    fn answer(self, dialog: &Dialog) -> Step<'a> {
        let record = self.facts.user.value.clone();
        if dialog.user != name_digest(self.request)
            || dialog.expires <= self.now
            || dialog.started > self.now + CLOCK_LEEWAY
        {
            return self.refuse(Denial::BadDialog, record);
        }
        self.code(
            &self.request.typed,
            dialog.proven,
            dialog.password.clone(),
            record,
            Some(dialog),
        )
    }

    /// Judges a code that stands beside a password or follows a challenge.
    fn code(
        self,
        typed: &Secret,
        proven: KindSet,
        password: Option<Secret>,
        mut record: UserRecord,
        dialog: Option<&Dialog>,
    ) -> Step<'a> {
        let useful = self.terms.requirement.useful_codes(proven);
        match self.judge(typed, useful, &mut record) {
            Ok((Judgement::Right, Some(kind))) => {
                let round = dialog.map_or(0, |dialog| dialog.round);
                let started = dialog.map(|dialog| dialog.started);
                self.proceed_with(proven.with(kind), password, record, round, started)
            }
            Ok((judgement, _)) => self.refuse_code(judgement, useful, record),
            Err(error) => self.broken(&error),
        }
    }

    fn proceed(self, proven: KindSet, password: Option<Secret>, record: UserRecord, round: u8) -> Step<'a> {
        self.proceed_with(proven, password, record, round, None)
    }

    /// Something was proven: let in, try the password, or ask for more.
    fn proceed_with(
        self,
        proven: KindSet,
        password: Option<Secret>,
        record: UserRecord,
        round: u8,
        started: Option<Timestamp>,
    ) -> Step<'a> {
        let requirement = &self.terms.requirement;
        if requirement.is_met(proven) {
            return self.accept(proven, record);
        }
        if let Some(password) = password.as_ref().filter(|_| requirement.wants_only_password(proven)) {
            return self.try_password(proven, password.clone(), record);
        }
        match self.request.capability {
            Capability::Dialog if round < MAX_ROUNDS => {
                let began = started.unwrap_or(self.now);
                self.challenge(proven, password, record, Some((began, round)))
            }
            Capability::Dialog | Capability::SingleChallenge | Capability::Append(_) | Capability::None => {
                self.refuse(Denial::ClientCannotAsk, record)
            }
        }
    }

    /// Judges `typed`, unless the person is barred anyway.
    fn judge(
        &self,
        typed: &Secret,
        wanted: KindSet,
        record: &mut UserRecord,
    ) -> Result<(Judgement, Option<Kind>), KeyError> {
        let (Lookup::Found(person), None, Some(text)) = (&self.facts.lookup, self.blocked, typed.expose_str()) else {
            return Ok((Judgement::NotApplicable, None));
        };
        let context = Context {
            user: &person.key,
            keyring: &self.engine.keyring,
            now: self.now,
        };
        authenticator::judge(text, wanted, record, &context)
    }

    fn try_password(self, proven: KindSet, password: Secret, record: UserRecord) -> Step<'a> {
        if password.is_empty() {
            return self.refuse(Denial::Malformed, record);
        }
        let (Lookup::Found(person), None) = (&self.facts.lookup, self.blocked) else {
            let denial = self.blocked.unwrap_or(Denial::UnknownUser);
            let stage = Stage::Pretending {
                rule: Some(Arc::clone(&self.rule.name)),
                denial,
            };
            let attempt = Attempt {
                engine: self.engine,
                request: self.request,
                stage,
            };
            return if denial == Denial::UnknownUser {
                Step::Do(Effect::VerifyNobody { password }, attempt)
            } else {
                // Someone locked out is refused without a word to the directory.
                self.refuse(denial, record)
            };
        };
        let mut reserve = Batch::default();
        if self.limit.failures > 0 {
            let pending = Pending {
                at: self.now,
                nonce: self.nonce,
            };
            let counted = self.facts.throttle.value.clone().with_pending(pending, self.limit);
            write_throttle(&mut reserve, person, &self.facts.throttle, &counted, self.limit);
        }
        let spent = self
            .write_user(&mut reserve, person, &record)
            .then(|| Box::new((self.facts.user.value.clone(), record)));
        let stage = Stage::Trying {
            person: Arc::clone(person),
            rule: self.rule,
            terms: self.terms,
            proven,
            nonce: self.nonce,
            spent,
        };
        let effect = Effect::VerifyPassword {
            person: Arc::clone(person),
            password,
            reserve,
        };
        Step::Do(
            effect,
            Attempt {
                engine: self.engine,
                request: self.request,
                stage,
            },
        )
    }

    fn accept(self, proven: KindSet, mut record: UserRecord) -> Step<'a> {
        let (Lookup::Found(person), None) = (&self.facts.lookup, self.blocked) else {
            return self.refuse(self.blocked.unwrap_or(Denial::UnknownUser), record);
        };
        record.last_login = Some(self.now);
        let mut batch = Batch::default();
        self.write_user(&mut batch, person, &record);
        if self.limit.failures > 0 {
            let cleared = self.facts.throttle.value.clone().with_success(None);
            write_throttle(&mut batch, person, &self.facts.throttle, &cleared, self.limit);
        }
        let event = event(
            self.request,
            Some(person),
            Some(&self.rule.name),
            proven,
            Outcome::Accept,
            None,
            self.now,
        );
        if self.terms.audit == Audit::All {
            batch.audit.push(event);
        }
        Step::Decided(Decision {
            verdict: Verdict::Accept(Grant {
                person: Arc::clone(person),
                message: None,
            }),
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven,
        })
    }

    fn challenge(
        self,
        proven: KindSet,
        password: Option<Secret>,
        record: UserRecord,
        before: Option<(Timestamp, u8)>,
    ) -> Step<'a> {
        let mut batch = Batch::default();
        if let Lookup::Found(person) = &self.facts.lookup {
            self.write_user(&mut batch, person, &record);
        }
        let rule = Some(Arc::clone(&self.rule.name));
        let prompt = prompt(
            self.engine,
            self.request,
            self.terms,
            proven,
            password,
            before,
            self.now,
        );
        Step::Decided(Decision {
            verdict: Verdict::Challenge(prompt),
            batch,
            rule,
            proven,
        })
    }

    /// Refuses a code; the failure counts if the code could have been a guess.
    fn refuse_code(self, judgement: Judgement, wanted: KindSet, record: UserRecord) -> Step<'a> {
        let denial = match judgement {
            Judgement::Replayed => Denial::CodeReplayed,
            Judgement::Wrong | Judgement::Right => Denial::WrongCode,
            Judgement::NotApplicable if authenticator::any_enrolled(wanted, &self.facts.user.value, self.now) => {
                Denial::WrongCode
            }
            Judgement::NotApplicable => Denial::NotEnrolled,
        };
        self.refuse(self.blocked.unwrap_or(denial), record)
    }

    fn refuse(self, denial: Denial, record: UserRecord) -> Step<'a> {
        let mut batch = Batch::default();
        let person = match &self.facts.lookup {
            Lookup::Found(person) => Some(person),
            Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_) => None,
        };
        if let Some(person) = person {
            self.write_user(&mut batch, person, &record);
            if denial.is_guess() && self.limit.failures > 0 && self.blocked.is_none() {
                let counted = self
                    .facts
                    .throttle
                    .value
                    .clone()
                    .with_failure(None, self.limit, self.now);
                write_throttle(&mut batch, person, &self.facts.throttle, &counted, self.limit);
            }
        }
        let target = person.map(AsRef::as_ref);
        batch.audit.push(event(
            self.request,
            target,
            Some(&self.rule.name),
            KindSet::EMPTY,
            Outcome::Reject,
            Some(denial.word()),
            self.now,
        ));
        Step::Decided(Decision {
            verdict: Verdict::Reject(denial),
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven: KindSet::EMPTY,
        })
    }

    fn broken(self, error: &KeyError) -> Step<'a> {
        self.engine
            .outage(self.request, Some(self.rule), error.to_string(), self.now)
    }

    /// Writes the person's record if judging changed it.
    fn write_user(&self, batch: &mut Batch, person: &Person, record: &UserRecord) -> bool {
        write_user(batch, person, &self.facts.user, record)
    }
}

/// A password tried by the directory.
struct Tried<'a, 'f> {
    engine: &'a Engine,
    request: &'a AuthnRequest,
    facts: &'f Facts,
    person: Arc<Person>,
    rule: &'a Rule,
    terms: &'a Terms,
    limit: Limit,
    proven: KindSet,
    nonce: u64,
    spent: Option<Box<(UserRecord, UserRecord)>>,
    now: Timestamp,
}

impl<'a> Tried<'a, '_> {
    fn right(self) -> Step<'a> {
        let proven = self.proven.with(Kind::Password);
        let mut batch = Batch::default();
        if !self.terms.requirement.is_met(proven) {
            // Password first: nothing is settled yet, so earlier failures stay counted.
            self.throttle(&mut batch, ThrottleRecord::without_pending);
            let prompt = prompt(self.engine, self.request, self.terms, proven, None, None, self.now);
            return self.decided(Verdict::Challenge(prompt), batch, proven);
        }
        self.throttle(&mut batch, |record, nonce| record.with_success(Some(nonce)));
        if self.facts.user.version.0 > 0
            && self
                .facts
                .user
                .value
                .last_login
                .is_none_or(|last| self.now.since(last) >= LAST_LOGIN_STEP)
        {
            let record = UserRecord {
                last_login: Some(self.now),
                ..self.facts.user.value.clone()
            };
            write_user(&mut batch, &self.person, &self.facts.user, &record);
        }
        if self.terms.audit == Audit::All {
            batch.audit.push(self.event(proven, Outcome::Accept, None));
        }
        let grant = Grant {
            person: Arc::clone(&self.person),
            message: None,
        };
        self.decided(Verdict::Accept(grant), batch, proven)
    }

    fn wrong(self) -> Step<'a> {
        let mut batch = Batch::default();
        let (limit, now) = (self.limit, self.now);
        self.throttle(&mut batch, |record, nonce| record.with_failure(Some(nonce), limit, now));
        self.rejected(Denial::WrongPassword, batch)
    }

    /// The directory knows the password but does not let the person in.
    fn barred(self, denial: Denial) -> Step<'a> {
        let mut batch = Batch::default();
        self.throttle(&mut batch, ThrottleRecord::without_pending);
        self.rejected(denial, batch)
    }

    /// An outage counts against nobody, and gives the code back: no answer has told that it was right.
    fn unavailable(self, reason: String) -> Step<'a> {
        let mut batch = Batch::default();
        self.throttle(&mut batch, ThrottleRecord::without_pending);
        if let Some((before, after)) = self.spent.as_deref()
            && self.facts.user.value == *after
        {
            write_user(&mut batch, &self.person, &self.facts.user, before);
        }
        batch
            .audit
            .push(self.event(KindSet::EMPTY, Outcome::Unavailable, Some(&reason)));
        self.decided(Verdict::Unavailable(Outage { reason }), batch, KindSet::EMPTY)
    }

    fn rejected(self, denial: Denial, mut batch: Batch) -> Step<'a> {
        batch
            .audit
            .push(self.event(self.proven, Outcome::Reject, Some(denial.word())));
        let proven = self.proven;
        self.decided(Verdict::Reject(denial), batch, proven)
    }

    fn throttle(&self, batch: &mut Batch, change: impl FnOnce(ThrottleRecord, u64) -> ThrottleRecord) {
        if self.limit.failures > 0 {
            let changed = change(self.facts.throttle.value.clone(), self.nonce);
            write_throttle(batch, &self.person, &self.facts.throttle, &changed, self.limit);
        }
    }

    fn event(&self, proven: KindSet, outcome: Outcome, reason: Option<&str>) -> AuditEvent {
        event(
            self.request,
            Some(&self.person),
            Some(&self.rule.name),
            proven,
            outcome,
            reason,
            self.now,
        )
    }

    fn decided(self, verdict: Verdict, batch: Batch, proven: KindSet) -> Step<'a> {
        Step::Decided(Decision {
            verdict,
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven,
        })
    }
}

/// How much later than ours the clock of another process may be.
const CLOCK_LEEWAY: Duration = Duration::from_secs(5);

/// The last login is kept to the minute, so that not every login writes the record.
const LAST_LOGIN_STEP: Duration = Duration::from_secs(60);

fn prompt(
    engine: &Engine,
    request: &AuthnRequest,
    terms: &Terms,
    proven: KindSet,
    password: Option<Secret>,
    before: Option<(Timestamp, u8)>,
    now: Timestamp,
) -> Prompt {
    let (started, round) = before.unwrap_or((now, 0));
    let expires = Dialog::deadline(started, now, engine.settings.lifetime);
    let dialog = Dialog {
        user: name_digest(request),
        started,
        expires,
        round: round.saturating_add(1),
        proven,
        password,
    };
    Prompt {
        text: terms.prompt.to_string(),
        echo: false,
        dialog,
    }
}

fn name_digest(request: &AuthnRequest) -> [u8; 16] {
    let digest = ring::digest::digest(&ring::digest::SHA256, request.login.as_str().as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(digest.as_ref().get(..16).unwrap_or(&[0; 16]));
    short
}

fn write_user(batch: &mut Batch, person: &Person, before: &Versioned<UserRecord>, record: &UserRecord) -> bool {
    if before.value == *record {
        return false;
    }
    batch.replace(
        Key::user(&person.key),
        before.version,
        Change::Put(record::encode(record), None),
    );
    true
}

fn write_throttle(
    batch: &mut Batch,
    person: &Person,
    before: &Versioned<ThrottleRecord>,
    record: &ThrottleRecord,
    limit: Limit,
) {
    let key = Key::throttle(&person.key);
    if before.value == *record {
        // Unchanged, but the decision rests on it.
        batch.expect.push((key, before.version));
    } else if record.is_clear() {
        batch.replace(key, before.version, Change::Delete);
    } else {
        batch.replace(
            key,
            before.version,
            Change::Put(record::encode(record), record.expires(limit)),
        );
    }
}

fn event(
    request: &AuthnRequest,
    person: Option<&Person>,
    rule: Option<&str>,
    proven: KindSet,
    outcome: Outcome,
    reason: Option<&str>,
    at: Timestamp,
) -> AuditEvent {
    AuditEvent {
        at,
        action: "login".into(),
        actor: request.login.to_string(),
        target: person.map(|person| person.key.to_string()),
        via: request.origin.protocol.to_string(),
        client: Some(request.origin.client.to_string()),
        source: Some(request.origin.source),
        rule: rule.map(ToOwned::to_owned),
        factors: proven.iter().map(|kind| kind.to_string()).collect(),
        outcome,
        reason: reason.map(ToOwned::to_owned),
    }
}
