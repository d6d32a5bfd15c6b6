//! A login, judged: from the first field typed to the verdict, as steps that spend their state.
//!
//! [`Engine::begin`] judges what can be judged from facts alone. When the directory has to try a
//! password it says so ([`Step::Do`]) and hands out an [`Attempt`], which goes on with the answer.
//! Every [`Decision`] and every [`Effect`] carries the [`Batch`] to be committed first.

mod again;
mod approval;
pub(in crate::engine) mod ask;
mod case;
mod challenge;
mod change;
mod course;
mod enrol;
mod further;
mod open;
mod outcome;
mod respond;
mod round;
mod shown;
mod tasks;
mod tried;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dictionary::Pair;
use crate::engine::account::{Changed, PasswordChange};
use crate::engine::authenticator::enrolling::TotpKey;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::delivery::{Delivered, Message};
use crate::engine::dialog::Lifetime;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Facts, Lookup, PasswordOutcome, Person, Whose};
use crate::engine::policy::{Policy, Rule, Ruling, Subject, Terms, Who};
use crate::engine::questions::answers::{HashJob, Hashed};
use crate::engine::record::UserRecord;
use crate::engine::request::{AuthnRequest, Given, LoginForm, Purpose};
use crate::engine::response::{Response, ResponseOutcome};
use crate::engine::reuse::{self, Reused};
use crate::engine::throttle::{Limit, Standing};
use crate::engine::upstream::{Answer, Question};
use crate::engine::verdict::{Denial, Outage, Prompt, Verdict};
use crate::engine::workflow::Start;
use crate::keyring::Keyring;
use crate::secret::Secret;

use ask::Delivering;
pub(in crate::engine) use ask::first_said;
use case::Case;
use course::Position;
pub use open::FAIL_OPEN;
use outcome::event;
pub use outcome::refusal;
use tried::Tried;
use upstream::Asked;

/// The engine: a policy, the keys, the limits. Replaced whole on reload.
#[derive(Clone, Debug)]
pub struct Engine {
    /// The rules.
    pub policy: Arc<Policy>,
    /// Opens seeds, digests codes.
    pub keyring: Arc<Keyring>,
    /// Limits and life times.
    pub settings: Settings,
    /// Draws the key of a new token.
    pub draw: fn() -> TotpKey,
}

/// Limits and life times.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Failures of one person.
    pub limit: Limit,
    /// Life of dialogs.
    pub lifetime: Lifetime,
    /// How long a login counts as a session before its session is reported.
    pub start_within: Duration,
    /// How long a request for an approval waits for it, and the approval for its use.
    pub approval_life: Duration,
    /// Whether passcodes are handed over in two halves, by two people.
    pub four_eyes: bool,
}

/// What happens next.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "lives for a moment on the stack, and most are decisions of one request"
)]
pub enum Step<'a> {
    /// Nothing: here is the verdict.
    Decided(Decision),
    /// Something has to be done first.
    Do(Effect, Attempt<'a>),
    /// As many attempts of this person are under way as there are failures left: begin again when one
    /// of them has come back.
    Wait,
}

impl Step<'_> {
    /// With what it changes about codes that count for longer than one login.
    fn with_reuse(mut self, change: Option<reuse::Change>) -> Self {
        if let Self::Decided(decision) = &mut self {
            decision.reuse = change;
        }
        self
    }
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
    /// What it changes about codes that count for longer than one login, once it is committed.
    pub reuse: Option<reuse::Change>,
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
    /// Have the directory judge a response, after committing `reserve` as for a password.
    VerifyResponse {
        /// Whose.
        person: Arc<Person>,
        /// The response, with its challenge.
        response: Response,
        /// The attempt counted.
        reserve: Batch,
    },
    /// Ask an upstream server, after committing `reserve` as for a password.
    AskUpstream {
        /// What to ask.
        question: Question,
        /// The attempt counted, the code spent, and the challenge that is answered used up.
        reserve: Batch,
    },
    /// Have a password changed, after committing `reserve` durably: what is done in the directory cannot be
    /// taken back, and so a code that it rests on must not come back either, even if this process ends in between.
    Change {
        /// Whose.
        person: Arc<Person>,
        /// To what, and by what right.
        change: PasswordChange,
        /// The attempt counted, and the code spent.
        reserve: Batch,
    },
    /// Send a code, after committing `reserve` durably: a message cannot be taken back, and so it must stay counted.
    Deliver {
        /// By which delivery.
        delivery: Arc<str>,
        /// What, and where to. Nothing where it is only to look so.
        message: Option<Message>,
        /// What the audit is to say, to be completed with what came of it, where that is known only after the answer.
        note: Option<AuditEvent>,
        /// The code's digest, and the counts of what was sent.
        reserve: Batch,
    },
    /// Have an answer hashed. It rests on nothing: what comes of it is judged by the records as they are then, so
    /// that answers that are hashed at the same time count one after the other.
    Hash(HashJob),
    /// Spend the time of trying a password for someone who does not exist.
    VerifyNobody {
        /// What was typed.
        password: Secret,
        /// The upstream that would be asked; the directory when there is none.
        by: Option<Arc<str>>,
    },
}

impl Effect {
    /// Whether the records are the same after it as before.
    pub fn changes_nothing(&self) -> bool {
        match self {
            Self::VerifyPassword { reserve, .. }
            | Self::VerifyResponse { reserve, .. }
            | Self::Change { reserve, .. }
            | Self::Deliver { reserve, .. }
            | Self::AskUpstream { reserve, .. } => reserve.is_empty(),
            Self::Hash(_) | Self::VerifyNobody { .. } => true,
        }
    }
}

/// What came of an effect.
#[derive(Clone, Debug)]
pub enum Evidence {
    /// Of trying a password, or of pretending to.
    Password(PasswordOutcome),
    /// Of having a response judged.
    Response(ResponseOutcome),
    /// Of asking an upstream server.
    Upstream(Answer),
    /// Of changing a password.
    Changed(Changed),
    /// Of sending a code.
    Delivered(Delivered),
    /// Of hashing an answer.
    Hashed(Hashed),
}

/// An attempt between an effect and its evidence.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    engine: &'a Engine,
    request: &'a AuthnRequest,
    stage: Stage<'a>,
}

#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "lives for a moment on the stack, and nobody is pretended for often"
)]
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
        /// What was typed has been judged as a code as well, and was wrong.
        guessed: bool,
        /// What stands in for a code.
        reused: Option<Reused>,
        /// What an upstream server was asked; nothing when the directory tries the password.
        asked: Option<Asked>,
        /// What upstream servers said is to be passed on.
        passed: Vec<Pair>,
        /// The password that is tried, where it is needed again if it must be changed.
        held: Option<Secret>,
        /// Why a factor was out of reach that the rule lets go of then.
        opened: Option<Arc<str>>,
    },
    /// Time is spent for nobody.
    Pretending {
        rule: &'a Rule,
        denial: Denial,
        nonce: u64,
        /// What is asked all the same; refused at once where there is nothing.
        then: Option<Box<Prompt>>,
        /// A password that would be tried where the upstream that is pretended to be asked is out of reach.
        opens: Option<Secret>,
    },
    /// A code is sent, or it looks so.
    Delivering(Delivering<'a>),
    /// A step of a workflow waits for what it wanted done.
    Walking { position: Box<Position>, nonce: u64 },
    /// An answer is hashed; then the request is judged from the beginning.
    Hashing { nonce: u64 },
}

impl Engine {
    /// Judges a request. `nonce` names this attempt among all of the last minutes.
    pub fn begin<'a>(&'a self, request: &'a AuthnRequest, facts: &Facts, now: Timestamp, nonce: u64) -> Step<'a> {
        self.judge(request, facts, None, now, nonce)
    }

    /// Judges a request whose answer may have been hashed already.
    fn judge<'a>(
        &'a self,
        request: &'a AuthnRequest,
        facts: &Facts,
        hashed: Option<Hashed>,
        now: Timestamp,
        nonce: u64,
    ) -> Step<'a> {
        match self.case(request, facts, now, nonce) {
            Ok((case, standing)) => Case { hashed, ..case }.begin(standing),
            Err(step) => *step,
        }
    }

    /// Finds the rule that a request is judged by, and whether anything bars the person.
    ///
    /// # Errors
    /// What is answered where there is none, or where that cannot be said.
    fn case<'a, 'f>(
        &'a self,
        request: &'a AuthnRequest,
        facts: &'f Facts,
        now: Timestamp,
        nonce: u64,
    ) -> Result<(Case<'a, 'f>, Standing), Box<Step<'a>>> {
        if is_malformed(request) {
            return Err(self.reject(request, facts, None, Denial::Malformed, now).into());
        }
        if matches!(request.login.form(), LoginForm::Account(_)) && request.origin.service_account.is_none() {
            return Err(self.misplaced(request, facts, now).into());
        }
        let person = match &facts.lookup {
            Lookup::Found(person) => Some(person),
            Lookup::Unknown | Lookup::Ambiguous => None,
            Lookup::Unavailable(reason) => return Err(self.outage(request, None, reason.clone(), now).into()),
        };
        let who = person.map_or(Who::Decoy, |person| Who::Known(person));
        let subject = Subject {
            login: &request.login,
            origin: &request.origin,
            person: who,
            operation: request.operation(),
            sessions: facts.sessions.as_ref().map(|sessions| sessions.count(now)),
            known: facts.known(self.settings.limit.window, now),
            now,
        };
        let decided = match (person, &request.origin.service_account) {
            (None, _) => None,
            (Some(_), Some(own)) if !self.policy.bars_account(&subject) => Some(own.as_ref()),
            (Some(_), Some(_) | None) => self.policy.decide(&subject),
        };
        let admits = decided.filter(|rule| matches!(rule.ruling, Ruling::Require(_)));
        let refusal = if person.is_some() {
            Denial::Policy
        } else {
            Denial::UnknownUser
        };
        let Some(rule) = admits.or_else(|| self.policy.decoy(&subject)) else {
            return Err(self.reject(request, facts, decided, refusal, now).into());
        };
        let Ruling::Require(terms) = &rule.ruling else {
            return Err(self.reject(request, facts, decided, refusal, now).into());
        };
        for whose in [&facts.certificate, &facts.acting_as] {
            if let Whose::Unavailable(reason) = whose {
                return Err(self.outage(request, Some(rule), reason.clone(), now).into());
            }
        }
        let held = match facts.certificate {
            Whose::Theirs => KindSet::of(Kind::Certificate),
            Whose::Absent | Whose::Others | Whose::Unavailable(_) => KindSet::EMPTY,
        };
        let requirement = terms.requirement_for(subject.operation);
        let possible = !requirement.is_impossible();
        let limit = terms.limit(self.settings.limit);
        let answered = request.dialog.as_ref().and_then(|dialog| dialog.asking);
        let standing = facts.throttle.value.standing(limit, answered, now);
        let unlimited = admits.is_some() && limit.failures == 0;
        // A passcode is for whoever is locked out too; three wrong ones revoke it.
        let course = request.dialog.as_ref().and_then(|dialog| dialog.course.as_ref());
        let forgiven = course.is_some_and(|course| course.start == Start::Passcode && course.session.is_none());
        // Found out now, told at the end: the conversation is the same for everybody.
        let blocked = match person {
            Some(_) | None if facts.source_over_limit && !unlimited => Some(Denial::SourceThrottled),
            Some(_) | None if admits.is_none() || !possible => Some(refusal),
            // No rule lets anyone past it, not one without limits either.
            Some(_) if facts.is_denied(now) => Some(Denial::Denied),
            Some(_) if standing == Standing::Over && !forgiven => Some(Denial::Throttled),
            Some(person) if !person.enabled => Some(Denial::Disabled),
            Some(_) if facts.acting_as == Whose::Others => Some(Denial::NotThemselves),
            Some(_) | None => None,
        };
        let case = Case {
            engine: self,
            request,
            facts,
            rule: decided.unwrap_or(rule),
            terms,
            requirement: requirement.beside(held).unwrap_or(requirement),
            held,
            limit,
            blocked,
            guessed: false,
            reused: None,
            hashed: None,
            now,
            nonce,
        };
        Ok((case, standing))
    }

    /// A service account from an address that it may not come from is nobody, whatever a rule would ask of others:
    /// that the name is one of a service account is no secret, and the guess counts against the source.
    fn misplaced<'a>(&self, request: &AuthnRequest, facts: &Facts, now: Timestamp) -> Step<'a> {
        if !facts.source_over_limit {
            return self.reject(request, facts, None, Denial::UnknownUser, now);
        }
        // One audit record stands for many of these.
        Step::Decided(Decision {
            verdict: Verdict::Reject(Denial::SourceThrottled),
            batch: Batch::default(),
            rule: None,
            proven: KindSet::EMPTY,
            reuse: None,
        })
    }

    fn reject<'a>(
        &self,
        request: &AuthnRequest,
        facts: &Facts,
        rule: Option<&Rule>,
        denial: Denial,
        now: Timestamp,
    ) -> Step<'a> {
        let target = facts.lookup.person().map(Arc::as_ref);
        let event = |rule: Option<&str>| {
            let reason = Some(denial.word());
            event(request, target, rule, KindSet::EMPTY, Outcome::Reject, reason, now)
        };
        conclude(rule, Verdict::Reject(denial), event)
    }

    fn outage<'a>(&self, request: &AuthnRequest, rule: Option<&Rule>, reason: String, now: Timestamp) -> Step<'a> {
        let text = reason.clone();
        let event = |rule: Option<&str>| {
            event(
                request,
                None,
                rule,
                KindSet::EMPTY,
                Outcome::Unavailable,
                Some(&text),
                now,
            )
        };
        conclude(rule, Verdict::Unavailable(Outage { reason }), event)
    }
}

/// Whether nothing is given for what is asked.
fn is_malformed(request: &AuthnRequest) -> bool {
    let nothing_typed = matches!(&request.given, Given::Typed(typed) if typed.is_empty());
    match (&request.purpose, &request.dialog, &request.given) {
        (Purpose::Login | Purpose::LoginOrChange { .. }, _, _) | (Purpose::NewPassword(_), None, Given::Typed(_)) => {
            nothing_typed || matches!(&request.purpose, Purpose::NewPassword(new) if new.is_empty())
        }
        // What is proven stands in the dialog.
        (Purpose::NewPassword(new), Some(_), Given::Typed(_)) => new.is_empty(),
        // A response is to a password that nobody here knows.
        (Purpose::NewPassword(_), _, Given::Response(_) | Given::Proven(_)) => true,
    }
}

/// A decision that changes no record and is written to the audit as `event` says for the rule's name.
fn conclude<'a>(rule: Option<&Rule>, verdict: Verdict, event: impl FnOnce(Option<&str>) -> AuditEvent) -> Step<'a> {
    let rule = rule.map(|rule| Arc::clone(&rule.name));
    let batch = Batch {
        audit: vec![event(rule.as_deref())],
        ..Batch::default()
    };
    Step::Decided(Decision {
        verdict,
        batch,
        rule,
        proven: KindSet::EMPTY,
        reuse: None,
    })
}

impl<'a> Attempt<'a> {
    /// Whether going on may have a code sent, or take back its count: then [`Facts::sending`] is needed.
    pub fn may_send(&self) -> bool {
        match &self.stage {
            Stage::Trying { terms, .. } => terms.hides_password(),
            Stage::Delivering(delivering) => delivering.counts(),
            Stage::Hashing { .. } | Stage::Pretending { .. } | Stage::Walking { .. } => false,
        }
    }

    /// Goes on with the evidence. `facts` are the records as they are now; when the decision's batch
    /// meets a conflict, the same evidence is judged again on newer facts.
    pub fn resume(self, evidence: Evidence, facts: &Facts, now: Timestamp) -> Step<'a> {
        let Self { engine, request, stage } = self;
        match stage {
            Stage::Delivering(delivering) => match evidence {
                Evidence::Delivered(delivered) => delivering.delivered(&delivered, engine, request, facts, now),
                Evidence::Password(_)
                | Evidence::Response(_)
                | Evidence::Upstream(_)
                | Evidence::Changed(_)
                | Evidence::Hashed(_) => engine.outage(request, None, "nothing was sent".to_owned(), now),
            },
            Stage::Hashing { nonce } => match evidence {
                Evidence::Hashed(hashed) => engine.judge(request, facts, Some(hashed), now, nonce),
                Evidence::Password(_)
                | Evidence::Response(_)
                | Evidence::Upstream(_)
                | Evidence::Changed(_)
                | Evidence::Delivered(_) => engine.judge(request, facts, None, now, nonce),
            },
            Stage::Pretending {
                rule,
                denial,
                nonce,
                then,
                opens,
            } => {
                if let Evidence::Password(PasswordOutcome::Unavailable(reason)) = evidence {
                    return match opens {
                        Some(password) => open::pretend(engine, request, facts, (rule, denial), password, nonce),
                        None => engine.outage(request, Some(rule), reason, now),
                    };
                }
                if let Ruling::Require(terms) = &rule.ruling
                    && ask::hides(request, terms, &terms.requirement, KindSet::EMPTY)
                {
                    return ask::pretend(engine, request, facts, (rule, terms), denial, (nonce, now));
                }
                match then {
                    Some(prompt) => enrol::ask_all_the_same(*prompt, rule),
                    None => engine.reject(request, facts, Some(rule), denial, now),
                }
            }
            Stage::Walking { position, nonce } => {
                Self::walk_on(engine, request, (*position, nonce), evidence, facts, now)
            }
            Stage::Trying {
                person,
                rule,
                terms,
                proven,
                nonce,
                spent,
                guessed,
                reused,
                asked,
                passed,
                held,
                opened,
            } => {
                let limit = terms.limit(engine.settings.limit);
                let requirement = terms.requirement_for(request.operation());
                let tried = Tried {
                    engine,
                    request,
                    facts,
                    person,
                    rule,
                    terms,
                    requirement: requirement.beside(proven).unwrap_or(requirement),
                    limit,
                    proven,
                    nonce,
                    spent,
                    guessed,
                    reused,
                    asked,
                    passed,
                    held,
                    opened,
                    approved: false,
                    now,
                };
                match evidence {
                    Evidence::Password(PasswordOutcome::Right) => tried.right(),
                    Evidence::Password(PasswordOutcome::Wrong | PasswordOutcome::Unknown) => tried.wrong(),
                    Evidence::Password(PasswordOutcome::Expired) => tried.outdated(Denial::PasswordExpired),
                    Evidence::Password(PasswordOutcome::MustChange) => tried.outdated(Denial::PasswordMustChange),
                    Evidence::Password(PasswordOutcome::Locked) => tried.barred(Denial::Locked),
                    Evidence::Password(PasswordOutcome::Disabled) => tried.barred(Denial::Disabled),
                    Evidence::Password(PasswordOutcome::Unavailable(reason)) => tried.unavailable(reason),
                    Evidence::Response(outcome) => tried.responded(outcome),
                    Evidence::Upstream(answer) => tried.answered(answer),
                    Evidence::Changed(changed) => tried.changed(changed),
                    Evidence::Delivered(_) => tried.unavailable("a code was sent that nobody wanted".into()),
                    Evidence::Hashed(_) => tried.unavailable("an answer was hashed that nobody asked for".into()),
                }
            }
        }
    }
}
