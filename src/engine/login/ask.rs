//! Factors that have to be asked for before anybody can type them: which there are, how somebody chooses, and how
//! each is asked for ([`WAYS`]).
//!
//! What is said comes from the rule alone, and whoever has given a wrong password, or is barred, or does not exist
//! gets the same rounds with the same texts; nothing is sent then, and the refusal comes at the end. So nobody can
//! have messages sent to others, and nobody learns by this whether a password is right.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::authenticator::{Kind, KindSet, sent};
use crate::engine::batch::{Batch, Change, Key, Versioned};
use crate::engine::delivery::{Delivered, Message, Route, SendRecord, Undeliverable};
use crate::engine::dialog::{Dialog, MAX_ROUNDS};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{Facts, Lookup, Person};
use crate::engine::login::case::Case;
use crate::engine::login::challenge;
use crate::engine::login::outcome::{asks_for_code, event, explained, prompt, write_user};
use crate::engine::login::tried::Tried;
use crate::engine::login::{Attempt, Decision, Effect, Engine, Stage, Step};
use crate::engine::policy::{Requirement, Rule, Terms};
use crate::engine::record::{self, SentCode, UserRecord};
use crate::engine::request::{AuthnRequest, Capability};
use crate::engine::texts::{Text, Voice};
use crate::engine::verdict::{Denial, Prompt, Verdict};
use crate::secret::Secret;

/// How one kind of factor is asked for.
#[derive(Debug)]
pub(super) struct Way {
    /// What it proves.
    pub(super) kind: Kind,
    /// What it is called among others.
    option: Text,
    /// What is said once it has been asked for.
    asked: Text,
}

/// The kinds that have to be asked for, in the order in which they are offered. A new one is a line here, and an arm
/// in [`Asking::ask_for`].
const WAYS: [Way; 4] = [
    Way {
        kind: Kind::EmailCode,
        option: Text::ChooseEmailCode,
        asked: Text::EmailCode,
    },
    Way {
        kind: Kind::GatewayCode,
        option: Text::ChooseGatewayCode,
        asked: Text::GatewayCode,
    },
    Way {
        kind: Kind::Ocra,
        option: Text::ChooseOcra,
        asked: Text::Ocra,
    },
    Way {
        kind: Kind::Approval,
        option: Text::ChooseApproval,
        asked: Text::ApprovalAsked,
    },
];

/// What the ways are called where all of them are offered, in that order.
pub(in crate::engine) fn options() -> impl Iterator<Item = Text> {
    std::iter::once(Text::ChooseUsual).chain(WAYS.iter().map(|way| way.option))
}

/// What somebody is offered: from the rule alone.
#[derive(Debug)]
struct Offer {
    /// Whether a code can be typed that nobody has to ask for.
    typed: bool,
    /// What can be asked for.
    ways: Vec<&'static Way>,
}

impl Offer {
    fn of(useful: KindSet) -> Self {
        let asked = WAYS.iter().fold(KindSet::EMPTY, |kinds, way| kinds.with(way.kind));
        Self {
            typed: !useful.without(asked).is_empty(),
            ways: WAYS.iter().filter(|way| useful.has(way.kind)).collect(),
        }
    }

    /// What is asked for by the number that was typed. Zero stands for what was used last; nothing comes of that
    /// where nothing was.
    fn chosen(&self, typed: &Secret, usual: Option<Kind>) -> Option<Chosen> {
        let typed = typed.expose_str()?.trim();
        let choice = self.typed || self.ways.len() > 1;
        let number: usize = typed.parse().ok().filter(|_| choice && typed.len() == 1)?;
        let Some(index) = number.checked_sub(1) else {
            let way = self.ways.iter().find(|way| Some(way.kind) == usual).copied();
            return (self.ways.len() > 1).then_some(Chosen {
                // Time passes all the same.
                way: way.or(self.ways.first().copied())?,
                real: way.is_some(),
                said: Text::UsualCode,
            });
        };
        let way = *self.ways.get(index)?;
        Some(Chosen {
            way,
            real: true,
            said: way.asked,
        })
    }

    /// The question; `None` where there is nothing to choose.
    fn question(&self, engine: &Engine, request: &AuthnRequest) -> Option<String> {
        // The client's language: the person's own would tell that there is somebody.
        self.question_in(engine.policy.texts.voice(&request.origin.manner, None))
    }

    fn question_in(&self, voice: Voice<'_>) -> Option<String> {
        let say = |text, values: &[(&str, &str)]| voice.say(text, values);
        let usual = (self.ways.len() > 1).then(|| format!("0 {}", say(Text::ChooseUsual, &[])));
        let named = self
            .ways
            .iter()
            .zip(1..)
            .map(|(way, number)| format!("{number} {}", say(way.option, &[])));
        let options: Vec<String> = usual.into_iter().chain(named).collect();
        let options = options.join(" ");
        match (self.typed, self.ways.as_slice()) {
            (_, []) | (false, [_]) => None,
            (true, [_, ..]) => Some(say(Text::CodeOr, &[("options", &options)])),
            (false, [_, _, ..]) => Some(say(Text::Choose, &[("options", &options)])),
        }
    }
}

/// What is said first where some of the `useful` codes have to be asked for, with `…` for what only a login makes;
/// `None` where codes are simply typed. `once` is for clients that can ask but once.
pub(in crate::engine) fn first_said(useful: KindSet, once: bool, voice: Voice<'_>) -> Option<String> {
    let offer = Offer::of(useful);
    let way = offer.ways.first()?;
    match offer.question_in(voice) {
        _ if once && offer.typed => None,
        Some(question) if !once => Some(question),
        Some(_) | None => Some(voice.say(way.asked, &[("id", "…"), ("challenge", "…")])),
    }
}

/// What somebody has chosen.
struct Chosen {
    way: &'static Way,
    /// Whether anything comes of it.
    real: bool,
    /// What is said then.
    said: Text,
}

/// Something that is asked of somebody, within a request.
pub(super) struct Asking<'a, 'f> {
    pub(super) engine: &'a Engine,
    pub(super) request: &'a AuthnRequest,
    pub(super) facts: &'f Facts,
    pub(super) rule: &'a Rule,
    pub(super) terms: &'a Terms,
    pub(super) requirement: &'a Requirement,
    /// Who it is really asked of: whose password was right, and whom nothing bars.
    pub(super) person: Option<Arc<Person>>,
    /// Why they will be refused at the end, known already.
    pub(super) untold: Option<Denial>,
    /// What was proven: without the password, if it was wrong.
    pub(super) proven: KindSet,
    /// A password that is right and too old, to be tried again once all else is proven.
    pub(super) outdated: Option<Secret>,
    /// The person's record, as the decision leaves it.
    pub(super) record: Cow<'f, UserRecord>,
    /// What else the decision rests on. Nothing of the person's record.
    pub(super) batch: Batch,
    pub(super) nonce: u64,
    pub(super) now: Timestamp,
}

/// A code between its sending and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Delivering<'a> {
    pub(super) rule: &'a Rule,
    requirement: &'a Requirement,
    /// What kind of code it is.
    kind: Kind,
    pub(super) proven: KindSet,
    outdated: Option<Secret>,
    said: Text,
    untold: Option<Denial>,
    /// Names the code.
    pub(super) id: u64,
    /// How long it is good for.
    life: Duration,
    /// What was counted, if anything was sent.
    counted: Option<Counted>,
}

/// A code that was counted, and is counted no more if it could not be sent.
#[derive(Clone, Debug)]
struct Counted {
    person: Arc<Person>,
    destination: [u8; 32],
    route: Arc<Route>,
    at: Timestamp,
    note: AuditEvent,
}

impl<'a> Asking<'a, '_> {
    /// Asks for what is still needed: sends a code where there is but one way, has somebody choose where there are
    /// several. A client that can ask but once is asked for a code that can be typed at once, if there is one.
    pub(super) fn ask(self) -> Step<'a> {
        let useful = self.requirement.useful_codes(self.proven.with(Kind::Password));
        let offer = Offer::of(useful);
        let once = self.request.capability == Capability::SingleChallenge;
        match (offer.ways.first(), offer.question(self.engine, self.request)) {
            (None, _) => self.challenge(None),
            (Some(_), _) if once && offer.typed => self.challenge(None),
            (Some(_), Some(question)) if !once => self.challenge(Some(question)),
            (Some(way), _) => self.ask_for(&Chosen {
                way,
                real: true,
                said: way.asked,
            }),
        }
    }

    /// Asks for one kind.
    fn ask_for(self, chosen: &Chosen) -> Step<'a> {
        match chosen.way.kind {
            Kind::EmailCode | Kind::GatewayCode => self.send(chosen),
            Kind::Ocra => self.show_challenge(),
            Kind::Approval => self.ask_approval(chosen.real),
            Kind::Password
            | Kind::Totp
            | Kind::Hotp
            | Kind::RecoveryCode
            | Kind::Passcode
            | Kind::Radius
            | Kind::Certificate
            | Kind::Sasl
            | Kind::YubicoOtp
            | Kind::Questions => self.challenge(None),
        }
    }

    /// Shows a challenge for an offline token, to everybody.
    fn show_challenge(self) -> Step<'a> {
        let id = self.nonce;
        let text = challenge::text(self.engine, self.request, KindSet::of(Kind::Ocra), id);
        let mut step = self.challenge(Some(text));
        if let Step::Decided(Decision {
            verdict: Verdict::Challenge(prompt),
            ..
        }) = &mut step
        {
            prompt.dialog.sent = Some(id);
            prompt.echo = false;
        }
        step
    }

    /// Has a code sent, if it is to be; takes the time of it if not.
    fn send(mut self, chosen: &Chosen) -> Step<'a> {
        let kind = chosen.way.kind;
        let Some(usual) = self.engine.policy.routes.of(kind) else {
            let reason = Undeliverable::NoRoute(kind).to_string();
            return self.engine.outage(self.request, Some(self.rule), reason, self.now);
        };
        let mut delivering = Delivering {
            rule: self.rule,
            requirement: self.requirement,
            kind,
            proven: self.proven,
            outdated: self.outdated.clone(),
            said: chosen.said,
            untold: self.untold,
            id: self.nonce,
            life: usual.life,
            counted: None,
        };
        let mut delivery = Arc::clone(&usual.name);
        let mut message = None;
        let mut note = None;
        if let Some(person) = self.person.clone().filter(|_| chosen.real) {
            let mut noted = self.event(&person, Outcome::Accept);
            match self.address(kind, &person) {
                Ok((addressed, destination, route)) => {
                    noted.reason = Some(format!("{}: {}", route.name, addressed.destination));
                    delivery = Arc::clone(&route.name);
                    message = Some(addressed);
                    note = Some(noted.clone());
                    delivering.counted = Some(Counted {
                        person: Arc::clone(&person),
                        destination,
                        route,
                        at: self.now,
                        note: noted,
                    });
                }
                Err(Unsent::Unknown) => {
                    let reason = "what was sent before was not read".to_owned();
                    return self.engine.outage(self.request, Some(self.rule), reason, self.now);
                }
                Err(Unsent::For(why)) => {
                    noted.outcome = Outcome::Reject;
                    noted.reason = Some(format!("{kind}: {why}"));
                    self.batch.audit.push(noted);
                }
            }
        }
        if let Lookup::Found(person) = &self.facts.lookup
            && let Cow::Owned(record) = &self.record
        {
            write_user(&mut self.batch, person, &self.facts.user, record);
        }
        let attempt = Attempt {
            engine: self.engine,
            request: self.request,
            stage: Stage::Delivering(delivering),
        };
        let effect = Effect::Deliver {
            delivery,
            message,
            note,
            reserve: self.batch,
        };
        Step::Do(effect, attempt)
    }

    /// Makes the message to somebody, and counts it.
    fn address(&mut self, kind: Kind, person: &Person) -> Result<(Message, [u8; 32], Arc<Route>), Unsent> {
        let facts = self.facts;
        let sending = facts.sending.as_ref().ok_or(Unsent::Unknown)?;
        let (route, destination) = self.engine.policy.routes.to(kind, person).map_err(Unsent::For)?;
        let keyring = &self.engine.keyring;
        let digest = destination.digest(keyring);
        let mut known = sending.destinations.iter();
        let (_, before) = known.find(|(known, _)| *known == digest).ok_or(Unsent::Unknown)?;
        let destinations = before.value.with(self.now, route.per_destination, route.window);
        let destinations = destinations.ok_or(Unsent::For(Undeliverable::Destination))?;
        let persons = sending.person.value.with(self.now, route.per_person, route.window);
        let persons = persons.ok_or(Unsent::For(Undeliverable::Person))?;
        count(
            &mut self.batch,
            Key::sent_to(&digest),
            before,
            &destinations,
            route.window,
        );
        count(
            &mut self.batch,
            Key::sent_for(&person.key),
            &sending.person,
            &persons,
            route.window,
        );
        let code = route.code(u64::from_be_bytes(sending.random));
        let kept = SentCode {
            id: self.nonce,
            kind,
            digest: sent::digest(keyring, &person.key, self.nonce, code.expose_str().unwrap_or_default()),
            expires: self.now + route.life,
            failures: 0,
        };
        sent::keep(self.record.to_mut(), kept, self.now);
        let message = Message {
            destination,
            code,
            minutes: route.life.as_secs().div_ceil(60),
            login: person.login.clone(),
            service: Arc::clone(&self.request.origin.service),
        };
        Ok((message, digest, Arc::clone(route)))
    }

    /// Asks for what can be typed at once, or which way it shall be.
    fn challenge(self, question: Option<String>) -> Step<'a> {
        let mut prompt = self.prompt();
        if let Some(question) = question {
            prompt.echo = true;
            prompt.text = question;
        }
        self.decide(prompt)
    }

    /// Says `prompt`, and writes what it rests on.
    pub(super) fn decide(mut self, mut prompt: Prompt) -> Step<'a> {
        prompt.untold = self.untold;
        if let Lookup::Found(person) = &self.facts.lookup
            && let Cow::Owned(record) = &self.record
        {
            write_user(&mut self.batch, person, &self.facts.user, record);
        }
        Step::Decided(Decision {
            verdict: Verdict::Challenge(prompt),
            batch: self.batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven: self.proven,
            reuse: None,
        })
    }

    pub(super) fn prompt(&self) -> Prompt {
        let before = self.request.dialog.as_ref();
        let text = asks_for_code(self.engine, self.request, self.terms, None);
        let held = self.outdated.clone();
        let mut prompt = prompt(self.engine, self.request, text, self.proven, held, before, self.now);
        prompt.dialog.outdated = self.outdated.is_some();
        prompt
    }

    fn event(&self, person: &Person, outcome: Outcome) -> AuditEvent {
        let rule = Some(&*self.rule.name);
        let mut event = event(
            self.request,
            Some(person),
            rule,
            KindSet::EMPTY,
            outcome,
            None,
            self.now,
        );
        event.action = SENT.into();
        event
    }
}

/// The action that the audit knows the sending of a code by.
const SENT: &str = "code.send";

/// Why nothing is sent to somebody whose password is right.
enum Unsent {
    /// They cannot be reached, or were sent too much.
    For(Undeliverable),
    /// What was sent before has not been read.
    Unknown,
}

fn count(batch: &mut Batch, key: Key, before: &Versioned<SendRecord>, counted: &SendRecord, window: Duration) {
    let change = Change::Put(record::encode(counted), counted.expires(window));
    batch.replace(key, before.version, change);
}

impl<'a> Delivering<'a> {
    /// Goes on with what came of the sending.
    pub(super) fn delivered(
        self,
        delivered: &Delivered,
        engine: &'a Engine,
        request: &'a AuthnRequest,
        facts: &Facts,
        now: Timestamp,
    ) -> Step<'a> {
        let mut batch = Batch::default();
        if let Some(counted) = &self.counted {
            if matches!(delivered, Delivered::Busy(_) | Delivered::Unavailable(_)) {
                counted.take_back(&mut batch, facts);
            }
            batch.audit.extend(delivered.noted(&counted.note, now));
        }
        if let Some(step) = self.open(delivered, &batch, (engine, request), facts, now) {
            return step;
        }
        let before = request.dialog.as_ref();
        let outdated = self.outdated.is_some();
        let mut prompt = prompt(engine, request, String::new(), self.proven, self.outdated, before, now);
        prompt.dialog.outdated = outdated;
        // The client's language: the person's own would tell that there is somebody.
        let voice = engine.policy.texts.voice(&request.origin.manner, None);
        let say = |text, values: &[(&str, &str)]| voice.say(text, values);
        prompt.text = match delivered.is_told() {
            false => say(self.said, &[]),
            true => {
                let offer = Offer::of(self.requirement.useful_codes(self.proven.with(Kind::Password)));
                let question = offer.question(engine, request).filter(|_| may_ask(request));
                match question {
                    Some(question) => say(Text::NotSentBut, &[("question", &question)]),
                    None => say(Text::NotSent, &[]),
                }
            }
        };
        prompt.untold = self.untold;
        prompt.dialog.sent = Some(self.id);
        // Mail takes its time.
        prompt.dialog.expires = prompt.dialog.expires.max(now + self.life);
        Step::Decided(Decision {
            verdict: Verdict::Challenge(prompt),
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven: self.proven,
            reuse: None,
        })
    }

    /// By which delivery a code of which kind is sent to somebody whose password is right and good.
    pub(super) fn reaches(&self) -> Option<(&str, Kind)> {
        let counted = self.counted.as_ref().filter(|_| self.outdated.is_none())?;
        Some((&counted.route.name, self.kind))
    }

    /// Whether a code may be sent on the way on from here.
    pub(super) const fn counts(&self) -> bool {
        self.counted.is_some()
    }
}

impl Counted {
    /// Nothing was sent: it counts against nobody.
    fn take_back(&self, batch: &mut Batch, facts: &Facts) {
        let Some(sending) = &facts.sending else { return };
        let destination = sending
            .destinations
            .iter()
            .find(|(digest, _)| *digest == self.destination);
        let keys = [
            (Key::sent_for(&self.person.key), Some(&sending.person)),
            (Key::sent_to(&self.destination), destination.map(|(_, before)| before)),
        ];
        for (key, before) in keys {
            let Some(before) = before else { continue };
            let mut left = before.value.clone();
            let Some(at) = left.sent.iter().position(|at| *at == self.at) else {
                continue;
            };
            left.sent.remove(at);
            count(batch, key, before, &left, self.route.window);
        }
    }
}

/// Whether the client can be sent another challenge after the one that this request is answered with.
fn may_ask(request: &AuthnRequest) -> bool {
    let round = request.dialog.as_ref().map_or(0, |dialog| dialog.round);
    request.capability == Capability::Dialog && round + 1 < MAX_ROUNDS
}

impl<'a, 'f> Case<'a, 'f> {
    /// An answer in a dialog by a rule that hides whether the password was right.
    pub(super) fn answer_asked(self, typed: &Secret, dialog: &Dialog) -> Step<'a> {
        let typed_before = dialog.proven.without(KindSet::UNTYPED);
        // Nothing was proven, and nothing is there to be tried yet.
        let spoilt = typed_before.is_empty() && dialog.password.is_none();
        let record = self.record();
        let useful = self.requirement.useful_codes(dialog.proven.with(Kind::Password));
        let usual = record.prefers;
        let chosen = Offer::of(useful)
            .chosen(typed, usual)
            .filter(|_| self.request.capability == Capability::Dialog && dialog.round < MAX_ROUNDS);
        if let Some(chosen) = chosen {
            // A password that nobody has tried is held where another rule decided when it was typed.
            let real = !typed_before.is_empty() || dialog.outdated;
            return self.asking(dialog.proven, real, record).ask_for(&chosen);
        }
        if spoilt {
            return self.refuse(self.blocked.unwrap_or(Denial::RefusedBefore), record);
        }
        self.code(typed, dialog.proven, dialog.password.clone(), record, Some(dialog))
    }

    /// Asks for more of somebody who has proven something.
    pub(super) fn ask_more(self, proven: KindSet, record: Cow<'f, UserRecord>) -> Step<'a> {
        self.asking(proven, true, record).ask()
    }

    fn asking(self, proven: KindSet, really: bool, record: Cow<'f, UserRecord>) -> Asking<'a, 'f> {
        let person = match (&self.facts.lookup, self.blocked) {
            (Lookup::Found(person), None) if really => Some(Arc::clone(person)),
            (Lookup::Found(_) | Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_), _) => None,
        };
        let dialog = self.request.dialog.as_ref().filter(|dialog| dialog.outdated);
        let outdated = dialog.and_then(|dialog| dialog.password.clone());
        Asking {
            engine: self.engine,
            request: self.request,
            facts: self.facts,
            rule: self.rule,
            terms: self.terms,
            requirement: self.requirement,
            person,
            untold: None,
            proven,
            outdated,
            record,
            batch: Batch::default(),
            nonce: self.nonce,
            now: self.now,
        }
    }
}

impl<'a, 'f> Tried<'a, 'f> {
    /// Asks for more of somebody whose password is right.
    pub(super) fn ask_more(self, proven: KindSet) -> Step<'a> {
        let mut batch = Batch::default();
        self.end_attempt(&mut batch);
        let person = Arc::clone(&self.person);
        self.asking(proven, Some(person), batch).ask()
    }

    /// Whether a refusal is to wait for the end of the dialog.
    pub(super) fn hides(&self) -> bool {
        let password = self.asked.as_ref().is_none_or(|asked| !asked.is_code());
        password && hides(self.request, self.terms, self.requirement, self.proven)
    }

    /// Goes on as if the password were right; it was not, or the person is not to be let in.
    pub(super) fn deceive(self, denial: Denial, mut batch: Batch) -> Step<'a> {
        let event = self.event(self.proven, Outcome::Reject, Some(denial.word()));
        batch.audit.push(explained(event, Some("told at the end")));
        let proven = self.proven.without(KindSet::of(Kind::Password));
        let mut asking = self.asking(proven, None, batch);
        asking.untold = Some(denial);
        asking.ask()
    }

    pub(super) fn asking(self, proven: KindSet, person: Option<Arc<Person>>, batch: Batch) -> Asking<'a, 'f> {
        let record = match self.judged_record() {
            Cow::Owned(record) => Cow::Owned(record),
            Cow::Borrowed(_) => Cow::Borrowed(&self.facts.user.value),
        };
        Asking {
            engine: self.engine,
            request: self.request,
            facts: self.facts,
            rule: self.rule,
            terms: self.terms,
            requirement: self.requirement,
            person,
            untold: None,
            proven,
            outdated: None,
            record,
            batch,
            nonce: self.nonce,
            now: self.now,
        }
    }
}

/// Whether a refusal of a password waits for the end of the dialog: the rule asks for something by which a right one
/// would be known.
pub(super) fn hides(request: &AuthnRequest, terms: &Terms, requirement: &Requirement, proven: KindSet) -> bool {
    let may_ask = match request.capability {
        Capability::Dialog | Capability::SingleChallenge => request.dialog.is_none(),
        Capability::Append(_) | Capability::None => false,
    };
    may_ask
        && request.new_password().is_none()
        && terms.hides_password()
        && !requirement.is_met(proven.with(Kind::Password))
}

/// Goes on with somebody who does not exist, or is barred, as if the password were right.
pub(super) fn pretend<'a>(
    engine: &'a Engine,
    request: &'a AuthnRequest,
    facts: &Facts,
    (rule, terms): (&'a Rule, &'a Terms),
    denial: Denial,
    (nonce, now): (u64, Timestamp),
) -> Step<'a> {
    let asking = Asking {
        engine,
        request,
        facts,
        rule,
        terms,
        requirement: terms.requirement.beside(KindSet::EMPTY).unwrap_or(&terms.requirement),
        person: None,
        untold: Some(denial),
        proven: KindSet::EMPTY,
        outdated: None,
        record: Cow::Borrowed(&facts.user.value),
        batch: Batch::default(),
        nonce,
        now,
    };
    asking.ask()
}
