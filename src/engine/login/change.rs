//! New passwords: set by who knows the old one, or by the service account where a rule takes something else in
//! its place; and the sessions that somebody is let into for nothing but that.
//!
//! A change takes the place of the try of the password that a login would end with: the directory judges the old
//! one by it. What it rests on is committed durably before, because the directory takes nothing back. A passcode
//! is given back where the directory does not take the new password, [`MAX_REFUSED`] times at most; other codes
//! are not, because the answer has told that they were right.
//!
//! [`MAX_REFUSED`]: crate::engine::authenticator::passcode::MAX_REFUSED

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::account::{Changed, PasswordChange};
use crate::engine::authenticator::{Judgement, Kind, KindSet, codes, passcode};
use crate::engine::batch::Batch;
use crate::engine::dialog::Dialog;
use crate::engine::event::Outcome;
use crate::engine::facts::{Facts, Lookup, Person};
use crate::engine::login::case::Case;
use crate::engine::login::course::Walk;
use crate::engine::login::outcome::{CLOCK_LEEWAY, event, expect_user, name_digest, write_throttle, write_user};
use crate::engine::login::tried::Tried;
use crate::engine::login::{Attempt, Decision, Effect, Engine, Stage, Step};
use crate::engine::policy::{Known, Rule, Ruling, Subject, Terms, Who};
use crate::engine::record::{ThrottleRecord, UserRecord};
use crate::engine::request::{AuthnRequest, Capability, Operation, Purpose};
use crate::engine::texts::Text;
use crate::engine::verdict::{Denial, Grant, Outage, Restricted, Verdict};
use crate::engine::workflow::Start;
use crate::secret::Secret;

/// How long a session may last that is there for a new password.
const RESTRICTED_LIFE: Duration = Duration::from_secs(10 * 60);

const PASSCODE: KindSet = KindSet::of(Kind::Passcode);

impl<'a, 'f> Case<'a, 'f> {
    /// The password that is to be set, if that is what the request is for.
    pub(super) const fn new_password(&self) -> Option<&'a Secret> {
        self.request.new_password()
    }

    /// Has the password changed: from `old`, if that is what it rests on, else by the service account.
    pub(super) fn change(
        self,
        proven: KindSet,
        old: Option<Secret>,
        new: &Secret,
        record: Cow<'f, UserRecord>,
    ) -> Step<'a> {
        let (person, change) = match (&self.facts.lookup, self.blocked, old) {
            (Lookup::Found(_), None, Some(_)) if self.facts.password_by.is_some() => {
                return self.refuse(Denial::ChangeUnsupported, record);
            }
            (Lookup::Found(person), None, old) => (person, change_of(old, new)),
            (Lookup::Found(_) | Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_), _, Some(old)) => {
                return self.pretend(old, self.facts.password_by.clone(), None, record);
            }
            (Lookup::Found(_) | Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_), _, None) => {
                return self.refuse(self.blocked.unwrap_or(Denial::UnknownUser), record);
            }
        };
        let unspent = matches!(record, Cow::Borrowed(_));
        let (mut reserve, attempt) = self.reserve(person, proven, record, None);
        if unspent {
            // A denial that came meanwhile is heard before it is too late.
            expect_user(&mut reserve, person, &self.facts.user);
        }
        let effect = Effect::Change {
            person: Arc::clone(person),
            change,
            reserve,
        };
        Step::Do(effect, attempt)
    }

    /// A new password in a session that was opened for nothing else: what was proven then stands in `dialog`. Where
    /// that is the password, `typed` takes its place unless it is empty; where it is a passcode, `typed` is not
    /// looked at.
    pub(super) fn renew(self, typed: &Secret, dialog: &Dialog) -> Step<'a> {
        let record = self.record();
        if let Some(denial) = self.blocked {
            return self.refuse(denial, record);
        }
        let foreign = dialog.user != name_digest(self.request) || dialog.started > self.now + CLOCK_LEEWAY;
        let Some(new) = self.new_password().filter(|_| !foreign && self.now < dialog.expires) else {
            return self.refuse(Denial::BadDialog, record);
        };
        let requirement = self.requirement;
        let proven = dialog.proven.union(self.held);
        match &dialog.password {
            Some(held) if requirement.is_met(proven.with(Kind::Password)) => {
                let old = if typed.is_empty() { held } else { typed };
                self.change(proven, Some(old.clone()), new, record)
            }
            None if requirement.is_met(proven) => self.change(proven, None, new, record),
            Some(_) | None => self.refuse(Denial::Policy, record),
        }
    }

    /// Lets a passcode open a session for a new password, where a rule for that takes it in place of the old one
    /// and it does not let in for more. None when what was typed is none, or the front end has no such sessions.
    pub(super) fn opening_to_change(&mut self, typed: &Secret, record: &mut Cow<'f, UserRecord>) -> Option<Step<'a>> {
        if !self.request.can_renew() {
            return None;
        }
        if let Some(step) = self.first_half(typed) {
            return Some(step);
        }
        // A passcode is for whoever is locked out too; three wrong ones revoke it.
        let (Lookup::Found(person), None | Some(Denial::Throttled)) = (&self.facts.lookup, self.blocked) else {
            return None;
        };
        if self.requirement.codes_instead_of_password().has(Kind::Passcode) {
            return None;
        }
        let rule = rule_for_change(self.engine, self.request, self.facts, person, self.now)?;
        let Ruling::Require(terms) = &rule.ruling else {
            return None;
        };
        if !takes_passcode(terms) {
            return None;
        }
        let case = Case {
            rule,
            terms,
            blocked: None,
            ..*self
        };
        if let Some(step) = case.answered_before(typed, None) {
            return Some(step);
        }
        match case.judge(typed, PASSCODE, record) {
            Err(error) => Some(self.broken(&error)),
            Ok((Judgement::Right, _)) => {
                let record = std::mem::replace(record, self.record());
                Some(match self.request.purpose {
                    Purpose::LoginOrChange { .. } => case.restrict(person, record),
                    Purpose::Login | Purpose::NewPassword(_) => case.passcode_used(record),
                })
            }
            // It may well be the password.
            Ok((judgement, _)) => {
                self.guessed = matches!(judgement, Judgement::Wrong | Judgement::Replayed);
                None
            }
        }
    }

    /// Asks for the other half of what looks like half a passcode: everybody, so that it tells nothing.
    fn first_half(&self, typed: &Secret) -> Option<Step<'a>> {
        if !self.engine.settings.four_eyes || !matches!(self.request.purpose, Purpose::Login) {
            return None;
        }
        let first = codes::normalise(typed.expose_str()?);
        if !codes::is_well_formed(&first, passcode::LENGTH / 2) {
            return None;
        }
        let subject = Subject {
            login: &self.request.login,
            origin: &self.request.origin,
            person: Who::Decoy,
            operation: Operation::PasswordChange,
            sessions: None,
            known: Known::default(),
            now: self.now,
        };
        let own = match &self.facts.lookup {
            Lookup::Found(person) => rule_for_change(self.engine, self.request, self.facts, person, self.now),
            Lookup::Unknown | Lookup::Ambiguous | Lookup::Unavailable(_) => None,
        };
        // Where anybody is asked for the other half, everybody is: also whom another rule decides about.
        let takes = |rule: &&Rule| matches!(&rule.ruling, Ruling::Require(terms) if takes_passcode(terms));
        let rule = own
            .filter(takes)
            .or_else(|| self.engine.policy.decoy_that(&subject, takes_passcode))?;
        let Ruling::Require(terms) = &rule.ruling else {
            return None;
        };
        takes_passcode(terms).then(|| Case { rule, terms, ..*self }.first_part(first))
    }

    /// Let in with a passcode, for a new password.
    fn restrict(self, person: &Arc<Person>, record: Cow<'f, UserRecord>) -> Step<'a> {
        let mut batch = Batch::default();
        self.write_user(&mut batch, person, &record);
        if self.limit.failures > 0 {
            let cleared = self.facts.throttle.value.clone().with_success(None, true);
            write_throttle(&mut batch, person, &self.facts.throttle, &cleared, self.limit);
        }
        let rule = Some(&*self.rule.name);
        let reason = Some(Kind::Passcode.word());
        batch.audit.push(event(
            self.request,
            Some(person),
            rule,
            PASSCODE,
            Outcome::Restricted,
            reason,
            self.now,
        ));
        Step::Decided(Decision {
            verdict: Verdict::Restricted(Restricted {
                person: Arc::clone(person),
                dialog: dialog(self.request, PASSCODE, None, self.now),
            }),
            batch,
            rule: Some(Arc::clone(&self.rule.name)),
            proven: PASSCODE,
            reuse: None,
        })
    }
}

impl<'a> Attempt<'a> {
    /// Keeps the password that is tried, if it may be needed again.
    pub(super) fn hold(&mut self, password: &Secret) {
        if let (true, Stage::Trying { held, .. }) = (self.request.can_renew(), &mut self.stage) {
            *held = Some(password.clone());
        }
    }
}

impl<'a> Tried<'a, '_> {
    /// Has the password changed, once all that comes before it is proven.
    pub(super) fn change(self, proven: KindSet, old: Option<Secret>, new: &Secret) -> Step<'a> {
        if old.is_some() && self.facts.password_by.is_some() {
            return self.barred(Denial::ChangeUnsupported);
        }
        let person = Arc::clone(&self.person);
        let change = change_of(old, new);
        let (reserve, attempt) = self.go_on(proven, None);
        let effect = Effect::Change {
            person,
            change,
            reserve,
        };
        Step::Do(effect, attempt)
    }

    /// Goes on with what came of a change.
    pub(super) fn changed(self, changed: Changed) -> Step<'a> {
        match changed {
            Changed::Done => self.renewed(),
            Changed::WrongPassword => self.wrong(),
            Changed::Refused(refusal) => self.untaken(Denial::NewPassword(refusal), None),
            Changed::Locked => self.barred(Denial::Locked),
            Changed::Disabled => self.barred(Denial::Disabled),
            Changed::Forbidden(why) => self.untaken(Denial::ChangeForbidden, Some(&why)),
            Changed::Unsupported => self.untaken(Denial::ChangeUnsupported, None),
            Changed::Unknown => self.barred(Denial::UnknownUser),
            Changed::Unavailable(reason) => self.unavailable(reason),
            Changed::Lost(reason) => self.lost(reason),
        }
    }

    /// The password is right, and too old to be let in with.
    pub(super) fn outdated(self, denial: Denial) -> Step<'a> {
        let in_dialog = matches!(self.request.purpose, Purpose::Login);
        let may = match self.request.purpose {
            Purpose::LoginOrChange { expired } => expired || denial == Denial::PasswordMustChange,
            Purpose::Login => self.request.capability == Capability::Dialog && self.passed.is_empty(),
            Purpose::NewPassword(_) => false,
        };
        let proven = self.proven.with(Kind::Password);
        let denied = self.facts.is_denied(self.now);
        // A code that counts for later binds has not been given with this one.
        if !may || denied || self.reused.is_some() || self.held.is_none() || !self.may_change() {
            return self.barred(denial);
        }
        if !self.requirement.is_met(proven) && self.lacks_a_first_token(proven).is_none() {
            // The factors first; then the password is tried again.
            return match in_dialog && self.may_ask() {
                true => self.ask_for_factors(),
                false => self.barred(denial),
            };
        }
        if in_dialog && !self.is_enough_to_change(proven) {
            return self.barred(denial);
        }
        if in_dialog {
            return self.expired(denial);
        }
        let mut batch = Batch::default();
        let codes = !self.proven.codes().is_empty();
        self.throttle(&mut batch, |record, nonce| record.with_success(Some(nonce), codes));
        self.settle_record(&mut batch);
        batch
            .audit
            .push(self.event(proven, Outcome::Restricted, Some(denial.word())));
        let restricted = Restricted {
            person: Arc::clone(&self.person),
            dialog: dialog(self.request, self.proven, self.held.clone(), self.now),
        };
        self.decided(Verdict::Restricted(restricted), batch, proven)
    }

    /// Asks for what else the rule requires, as of anybody whose password was tried; the password is tried once more
    /// after it.
    fn ask_for_factors(self) -> Step<'a> {
        let mut batch = Batch::default();
        self.end_attempt(&mut batch);
        let (held, proven) = (self.held.clone(), self.proven);
        if self.hides() {
            let person = Arc::clone(&self.person);
            let mut asking = self.asking(proven, Some(person), batch);
            asking.outdated = held;
            return asking.ask();
        }
        let prompt = self.prompt(proven, held);
        self.decided(Verdict::Challenge(prompt), batch, proven)
    }

    /// Everything is proven, and the dialog goes on to a new password.
    fn expired(self, denial: Denial) -> Step<'a> {
        let case = match self.engine.case(self.request, self.facts, self.now, self.nonce) {
            Ok((case, _)) if case.blocked.is_none() => case,
            Ok(_) | Err(_) => return self.barred(denial),
        };
        let record = match self.judged_record() {
            Cow::Owned(record) => Cow::Owned(record),
            Cow::Borrowed(_) => case.record(),
        };
        let Some(mut walk) = Walk::new(case, Start::Expired, record) else {
            return self.barred(denial);
        };
        walk.position.proven = self.proven.with(Kind::Password);
        walk.position.password = self.held;
        walk.because = Some(if denial == Denial::PasswordMustChange {
            Text::PasswordMustChange
        } else {
            Text::PasswordExpired
        });
        walk.enter(false);
        walk.note(Operation::Login.action(), Outcome::Restricted, Some(denial.word()));
        walk.go()
    }

    /// Whether a rule lets the person change the password at all.
    fn may_change(&self) -> bool {
        let rule = rule_for_change(self.engine, self.request, self.facts, &self.person, self.now);
        rule.is_some_and(|rule| matches!(&rule.ruling, Ruling::Require(terms) if !terms.change.is_impossible()))
    }

    /// Whether `proven` is what the rule for changes asks for, which may be more than the login does. Who has yet to
    /// enrol their first token is let off it here as they are at the login.
    fn is_enough_to_change(&self, proven: KindSet) -> bool {
        let rule = rule_for_change(self.engine, self.request, self.facts, &self.person, self.now);
        let Some(Ruling::Require(terms)) = rule.map(|rule| &rule.ruling) else {
            return false;
        };
        let first = self.lacks_a_first_token(proven).map(|_| proven.with(Kind::Totp));
        terms.change.is_met(first.unwrap_or(proven))
    }

    /// The new password is set. What came meanwhile, a denial say, does not make it undone.
    fn renewed(self) -> Step<'a> {
        let own = !self.requirement.is_met(self.proven);
        let codes = !self.proven.codes().is_empty();
        let proven = if own {
            self.proven.with(Kind::Password)
        } else {
            self.proven
        };
        let mut batch = Batch::default();
        self.throttle(&mut batch, |record, nonce| record.with_success(Some(nonce), codes));
        let mut record = self.judged_record();
        if record.must_change.is_some() {
            record.to_mut().must_change = None;
        }
        if let Cow::Owned(record) = record {
            write_user(&mut batch, &self.person, &self.facts.user, &record);
        }
        batch.audit.push(self.event(proven, Outcome::Accept, None));
        let grant = Grant {
            person: Arc::clone(&self.person),
            id: self.nonce,
            message: None,
            reply: Vec::new(),
            ms_chap: None,
            proven,
        };
        self.decided(Verdict::Accept(grant), batch, proven)
    }

    /// Perhaps it is set, perhaps not. What it rests on stays spent: it must not set a second one.
    fn lost(self, reason: String) -> Step<'a> {
        let mut batch = Batch::default();
        self.end_attempt(&mut batch);
        batch
            .audit
            .push(self.event(self.proven, Outcome::Unavailable, Some(&reason)));
        let proven = self.proven;
        self.decided(Verdict::Unavailable(Outage { reason }), batch, proven)
    }

    /// Everything was proven, but the password is not changed.
    fn untaken(self, denial: Denial, detail: Option<&str>) -> Step<'a> {
        let mut batch = Batch::default();
        let refused = matches!(denial, Denial::NewPassword(_));
        if !refused {
            // A directory may say so whatever the old password was: a guess stays one.
            self.end_attempt(&mut batch);
        } else {
            self.throttle(&mut batch, ThrottleRecord::without_pending);
        }
        let spent = self.before_judging().and_then(|before| before.passcode.as_ref());
        match spent.filter(|_| self.proven.has(Kind::Passcode)) {
            Some(spent) => {
                let record = UserRecord {
                    passcode: passcode::give_back(spent, refused),
                    ..self.facts.user.value.clone()
                };
                write_user(&mut batch, &self.person, &self.facts.user, &record);
            }
            None if refused => self.settle_record(&mut batch),
            None => {}
        }
        self.rejected(denial, detail, batch)
    }

    /// Takes back a guess that was none, now that what was typed is known to be the password.
    fn settle_record(&self, batch: &mut Batch) {
        if let Cow::Owned(record) = self.judged_record() {
            write_user(batch, &self.person, &self.facts.user, &record);
        }
    }
}

/// Whether a passcode is enough for a new password.
pub(super) fn takes_passcode(terms: &Terms) -> bool {
    terms.change.is_met(PASSCODE)
}

impl Walk<'_, '_> {
    /// Whether a rule keeps the person from a new password, whatever has been proven for it.
    pub(super) fn is_kept_from_change(&self) -> bool {
        let Case {
            engine,
            request,
            facts,
            now,
            ..
        } = self.case;
        let rule = self
            .person()
            .and_then(|person| rule_for_change(engine, request, facts, person, now));
        !rule.is_some_and(|rule| matches!(rule.ruling, Ruling::Require(_)))
    }
}

/// The rule that decides about a change of the password of somebody who means to log in.
fn rule_for_change<'a>(
    engine: &'a Engine,
    request: &AuthnRequest,
    facts: &Facts,
    person: &Person,
    now: Timestamp,
) -> Option<&'a Rule> {
    engine.policy.decide(&Subject {
        login: &request.login,
        origin: &request.origin,
        person: Who::Known(person),
        operation: Operation::PasswordChange,
        sessions: facts.sessions.as_ref().map(|sessions| sessions.count(now)),
        known: facts.known(engine.settings.limit.window, now),
        now,
    })
}

/// What a session for a new password has to bring back with it.
fn dialog(request: &AuthnRequest, proven: KindSet, password: Option<Secret>, now: Timestamp) -> Dialog {
    Dialog {
        user: name_digest(request),
        started: now,
        expires: now + RESTRICTED_LIFE,
        round: 0,
        proven,
        password,
        outdated: false,
        asking: None,
        approval: None,
        sent: None,
        course: None,
    }
}

fn change_of(old: Option<Secret>, new: &Secret) -> PasswordChange {
    let new = new.clone();
    match old {
        Some(old) => PasswordChange::Own { old, new },
        None => PasswordChange::Reset { new },
    }
}
