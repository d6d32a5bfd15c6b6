//! Rules that let people in without a factor that is out of reach (`fail_open`).
//!
//! What is let go of is an upstream server's word, or a code that cannot be sent. Everything else that the rule asks
//! for has to be proven, the password always; whoever has another factor that the rule takes uses that one; and who has
//! typed a wrong code gains nothing by an outage.

use crate::clock::Timestamp;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::batch::Batch;
use crate::engine::delivery::Delivered;
use crate::engine::facts::Facts;
use crate::engine::login::ask::Delivering;
use crate::engine::login::tried::Tried;
use crate::engine::login::{Attempt, Effect, Engine, Stage, Step};
use crate::engine::policy::{Enrolment, Requirement, Rule, Terms};
use crate::engine::request::{AuthnRequest, Operation};
use crate::engine::verdict::Denial;
use crate::secret::Secret;

/// The word that the audit's reason begins with for a login without a factor that was out of reach.
pub const FAIL_OPEN: &str = "fail-open";

/// The reason of such a login for the audit.
pub(super) fn reason(why: &str) -> String {
    format!("{FAIL_OPEN}: {why}")
}

impl<'a> Tried<'a, '_> {
    /// The upstream server is out of reach: goes on without its word where the rule says so.
    pub(super) fn out_of_reach(mut self, why: String) -> Step<'a> {
        let Some(asked) = &mut self.asked else {
            return self.unavailable(why);
        };
        let kind = asked.kind;
        let held = asked.held.clone();
        let proven = match held {
            Some(_) => self.proven.with(Kind::Password),
            None => self.proven,
        };
        let opens = kind == Kind::Radius
            && !self.guessed
            && lets_go(
                self.engine,
                self.request,
                self.facts,
                (self.terms, self.requirement),
                kind,
                (proven, self.now),
            );
        if !opens {
            return self.unavailable(why);
        }
        self.opened = Some(why.into());
        match held {
            Some(password) => {
                let proven = self.proven;
                self.try_password(proven, password)
            }
            None => self.advance(proven, None),
        }
    }

    /// Whether nothing is missing but what is out of reach.
    pub(super) fn is_open(&self, proven: KindSet) -> bool {
        self.opened.is_some() && proven.has(Kind::Password) && self.requirement.is_met(proven.with(Kind::Radius))
    }
}

impl<'a> Delivering<'a> {
    /// A code could not be sent to somebody whose password is right: lets them in where the rule says so.
    pub(super) fn open(
        &self,
        delivered: &Delivered,
        batch: &Batch,
        (engine, request): (&'a Engine, &'a AuthnRequest),
        facts: &Facts,
        now: Timestamp,
    ) -> Option<Step<'a>> {
        let Delivered::Unavailable(why) = delivered else {
            return None;
        };
        let (delivery, kind) = self.reaches()?;
        let (case, _) = engine.case(request, facts, now, self.id).ok()?;
        let same = std::ptr::eq(case.rule, self.rule) && case.blocked.is_none();
        let terms = (case.terms, case.requirement);
        if !same || !lets_go(engine, request, facts, terms, kind, (self.proven, now)) {
            return None;
        }
        let why = reason(&format!("delivery {delivery}: {why}"));
        let record = case.record();
        Some(case.accept_with(self.proven, record, Some((why, batch.clone()))))
    }
}

/// Whether somebody who has proven `proven` is let in without `kind`, which is out of reach.
fn lets_go(
    engine: &Engine,
    request: &AuthnRequest,
    facts: &Facts,
    (terms, requirement): (&Terms, &Requirement),
    kind: Kind,
    (proven, now): (KindSet, Timestamp),
) -> bool {
    let login = request.operation() == Operation::Login && request.new_password().is_none();
    let enough = proven.has(Kind::Password) && requirement.is_met(proven.with(kind));
    let Some(person) = facts
        .lookup
        .person()
        .filter(|_| login && enough && terms.fail_open.is_some())
    else {
        return false;
    };
    let record = &facts.user.value;
    let others = requirement.useful_codes(proven).without(KindSet::of(kind));
    let usable = |other: Kind| match other {
        Kind::Approval | Kind::Radius => true,
        Kind::EmailCode | Kind::GatewayCode => engine.policy.routes.to(other, person).is_ok(),
        Kind::Password
        | Kind::Totp
        | Kind::Hotp
        | Kind::RecoveryCode
        | Kind::Passcode
        | Kind::Certificate
        | Kind::Sasl
        | Kind::YubicoOtp
        | Kind::Ocra
        | Kind::Questions => Enrolment::Kind(other).is(record, now),
    };
    !others.iter().any(usable)
}

/// Goes on for nobody as for somebody whose upstream is out of reach: takes the time of trying their password.
pub(super) fn pretend<'a>(
    engine: &'a Engine,
    request: &'a AuthnRequest,
    facts: &Facts,
    (rule, denial): (&'a Rule, Denial),
    password: Secret,
    nonce: u64,
) -> Step<'a> {
    let stage = Stage::Pretending {
        rule,
        denial,
        nonce,
        then: None,
        opens: None,
    };
    let attempt = Attempt { engine, request, stage };
    let by = facts.password_by.clone();
    Step::Do(Effect::VerifyNobody { password, by }, attempt)
}
