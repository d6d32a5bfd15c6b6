//! What decisions are made of: prompts, changed records, audit events.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::dictionary::Pair;
use crate::engine::authenticator::KindSet;
use crate::engine::batch::{Batch, Change, Key, Versioned};
use crate::engine::dialog::Dialog;
use crate::engine::event::{AuditEvent, Context, Outcome};
use crate::engine::facts::{Facts, Person};
use crate::engine::login::Engine;
use crate::engine::policy::{Terms, Unreplied};
use crate::engine::record::{self, Failure, ThrottleRecord, UserRecord};
use crate::engine::request::{AuthnRequest, Protocol};
use crate::engine::texts::{self, Text};
use crate::engine::throttle::{Limit, Standing};
use crate::engine::verdict::{Denial, Grant, Prompt};
use crate::secret::Secret;

/// How much later than ours the clock of another process may be.
pub(super) const CLOCK_LEEWAY: Duration = Duration::from_secs(5);

/// The last login with a password alone is kept to the minute, so that not every one writes the record.
pub(super) const LAST_LOGIN_STEP: Duration = Duration::from_secs(60);

pub(super) fn prompt(
    engine: &Engine,
    request: &AuthnRequest,
    text: String,
    proven: KindSet,
    password: Option<Secret>,
    before: Option<&Dialog>,
    now: Timestamp,
) -> Prompt {
    let (started, round) = before.map_or((now, 0), |before| (before.started, before.round));
    let expires = Dialog::deadline(started, now, engine.settings.lifetime);
    let dialog = Dialog {
        user: name_digest(request),
        started,
        expires,
        round: round.saturating_add(1),
        proven,
        password,
        outdated: false,
        asking: None,
        approval: None,
        sent: None,
        course: None,
    };
    Prompt {
        text,
        echo: false,
        dialog,
        untold: None,
    }
}

/// What asks for a code: the rule's own text, else ours in the client's language, or in that of a `person` who has
/// proven something.
pub(super) fn asks_for_code(engine: &Engine, request: &AuthnRequest, terms: &Terms, person: Option<&Person>) -> String {
    let voice = engine.policy.texts.voice(&request.origin.manner, person);
    match &terms.prompt {
        Some(own) => voice.write(&**own),
        None => voice.say(Text::Code, &[]),
    }
}

/// What somebody is let in with, when `terms` are met; `passed` is what upstream servers say besides.
///
/// # Errors
/// When a RADIUS attribute of the rule cannot be encoded, or all of them do not fit a packet.
pub(super) fn grant(
    terms: &Terms,
    request: &AuthnRequest,
    person: &Arc<Person>,
    id: u64,
    passed: &[Pair],
    proven: KindSet,
) -> Result<Grant, Unreplied> {
    let reply = match request.origin.protocol {
        Protocol::Radius => terms.reply.pairs(person, passed)?,
        Protocol::Ldap => Vec::new(),
    };
    Ok(Grant {
        person: Arc::clone(person),
        id,
        message: terms
            .message(person)
            .map(|text| texts::shown(text, &request.origin.manner)),
        reply,
        ms_chap: None,
        proven,
    })
}

/// The audit record of a refusal, with more than its word.
pub(super) fn explained(mut event: AuditEvent, detail: Option<&str>) -> AuditEvent {
    if let (Some(reason), Some(detail)) = (&mut event.reason, detail) {
        reason.push_str(": ");
        reason.push_str(detail);
    }
    event
}

pub(super) fn name_digest(request: &AuthnRequest) -> [u8; 16] {
    let digest = ring::digest::digest(&ring::digest::SHA256, request.login.as_str().as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(digest.as_ref().get(..16).unwrap_or(&[0; 16]));
    short
}

pub(super) fn write_user(
    batch: &mut Batch,
    person: &Person,
    before: &Versioned<UserRecord>,
    record: &UserRecord,
) -> bool {
    if before.value == *record {
        return false;
    }
    batch.replace(
        Key::user(&person.key),
        before.version,
        Change::Put(record::encode(record), None),
    );
    if let Some(over) = before.value.approval.filter(|id| record.approval != Some(*id)) {
        // It counts only as long as the person's record names it.
        batch.write.push((Key::request(over), Change::Delete));
    }
    true
}

/// The decision rests on the record although it leaves it as it is: a denial that came meanwhile is heard.
pub(super) fn expect_user(batch: &mut Batch, person: &Person, before: &Versioned<UserRecord>) {
    batch.expect.push((Key::user(&person.key), before.version));
}

/// Whether a login would be one session too many.
pub(super) fn one_too_many(facts: &Facts, terms: &Terms, now: Timestamp) -> bool {
    match (terms.max_sessions, &facts.sessions) {
        (Some(most), Some(sessions)) => sessions.count(now) >= most,
        // Counted where any rule says so: this is never met, and must not let anybody in.
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// A decision about the number of sessions rests on the logins under way.
pub(super) fn expect_grants(batch: &mut Batch, facts: &Facts, person: &Person) {
    if let Some(sessions) = &facts.sessions {
        batch.expect.push((Key::grants(&person.key), sessions.grants.version));
    }
}

/// Counts a login among those whose session is about to begin.
pub(super) fn write_grant(
    batch: &mut Batch,
    engine: &Engine,
    request: &AuthnRequest,
    facts: &Facts,
    person: &Person,
    (id, now): (u64, Timestamp),
) {
    let Some(sessions) = &facts.sessions else { return };
    match request.origin.protocol {
        // No session follows a bind.
        Protocol::Ldap => expect_grants(batch, facts, person),
        Protocol::Radius => {
            let life = engine.settings.start_within;
            let grants = sessions
                .grants
                .value
                .clone()
                .with(id, &request.origin.client, now, life);
            let change = Change::Put(record::encode(&grants), grants.expires());
            batch.replace(Key::grants(&person.key), sessions.grants.version, change);
        }
    }
}

pub(super) fn write_throttle(
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

/// Whether one more failure, of the attempt named by `nonce`, locks the person out.
pub(super) fn locks(throttle: &ThrottleRecord, nonce: Option<u64>, limit: Limit, now: Timestamp) -> bool {
    let failure = Failure { at: now, code: true };
    let counted = throttle.clone().with_failure(nonce, failure, limit);
    counted.standing(limit, None, now) == Standing::Over
}

/// The audit record of a refusal that comes after a decision.
pub fn refusal(
    request: &AuthnRequest,
    person: &Person,
    rule: Option<&str>,
    denial: Denial,
    now: Timestamp,
) -> AuditEvent {
    let word = Some(denial.word());
    event(request, Some(person), rule, KindSet::EMPTY, Outcome::Reject, word, now)
}

pub(super) fn event(
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
        action: request.purpose.operation().action().into(),
        actor: request.login.to_string(),
        target: person.map(|person| person.key.to_string()),
        via: match &request.claims.mechanism {
            Some(mechanism) => format!("{}/{mechanism}", request.origin.protocol),
            None => request.origin.protocol.to_string(),
        },
        client: Some(request.origin.client.to_string()),
        source: Some(request.origin.source),
        rule: rule.map(ToOwned::to_owned),
        factors: proven.iter().map(|kind| kind.to_string()).collect(),
        outcome,
        reason: reason.map(ToOwned::to_owned),
        context: Some(Context::of(&request.origin)),
    }
}
