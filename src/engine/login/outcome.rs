//! What decisions are made of: prompts, changed records, audit events.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::authenticator::KindSet;
use crate::engine::batch::{Batch, Change, Key, Versioned};
use crate::engine::dialog::Dialog;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::Person;
use crate::engine::login::Engine;
use crate::engine::policy::{Terms, Unreplied};
use crate::engine::record::{self, ThrottleRecord, UserRecord};
use crate::engine::request::{AuthnRequest, Protocol};
use crate::engine::throttle::Limit;
use crate::engine::verdict::{Grant, Prompt};
use crate::secret::Secret;

/// How much later than ours the clock of another process may be.
pub(super) const CLOCK_LEEWAY: Duration = Duration::from_secs(5);

/// The last login with a password alone is kept to the minute, so that not every one writes the record.
pub(super) const LAST_LOGIN_STEP: Duration = Duration::from_secs(60);

pub(super) fn prompt(
    engine: &Engine,
    request: &AuthnRequest,
    terms: &Terms,
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
    };
    Prompt {
        text: terms.prompt.to_string(),
        echo: false,
        dialog,
    }
}

/// What somebody is let in with, when `terms` are met.
///
/// # Errors
/// When a RADIUS attribute of the rule cannot be encoded.
pub(super) fn grant(terms: &Terms, request: &AuthnRequest, person: &Arc<Person>) -> Result<Grant, Unreplied> {
    let reply = match request.origin.protocol {
        Protocol::Radius => terms.reply.pairs(person)?,
        Protocol::Ldap => Vec::new(),
    };
    Ok(Grant {
        person: Arc::clone(person),
        message: terms.message(person),
        reply,
        ms_chap: None,
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
    true
}

/// The decision rests on the record although it leaves it as it is: a denial that came meanwhile is heard.
pub(super) fn expect_user(batch: &mut Batch, person: &Person, before: &Versioned<UserRecord>) {
    batch.expect.push((Key::user(&person.key), before.version));
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
