//! Reading the audit: verifying its chain, searching it, following it.
//!
//! The chain is keyed ([`Keyring::audit_link`]), so nobody can write a valid record without the key
//! file. What it cannot show by itself is that the newest records and the store's own count of them were
//! cut off together: for that, note the head that [`Verified::head`] gives elsewhere from time to time
//! and hand it to [`Audit::verify`].

pub mod export;

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::accounts::view::moment;
use crate::clock::Timestamp;
use crate::engine::event::{AuditEvent, Context, Outcome};
use crate::keyring::Keyring;
use crate::store::{AuditRecord, Store, StoreError};

/// Reads the audit of a store.
pub struct Audit {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Audit")
    }
}

/// One record, as printed: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Position in the chain, from 1.
    pub sequence: u64,
    /// When it was decided.
    #[serde(with = "moment")]
    pub at: Timestamp,
    /// What happened.
    pub action: String,
    /// Who did it.
    pub actor: String,
    /// Key of the person it was done to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The protocol, or `admin`.
    pub via: String,
    /// The RADIUS client or LDAP listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The network source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<IpAddr>,
    /// The policy rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Authenticators proven.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<String>,
    /// What came of it.
    pub outcome: Outcome,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What else conditions of rules can ask of where a login came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Box<Context>>,
    /// The record's link in the chain, in hexadecimal.
    pub link: String,
}

/// What to look for; everything given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Who did it or whom it was done to: a name or a key. Any one of these matches.
    pub people: Vec<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// The action, or the beginning of it up to a dot: `token` finds `token.enrol`.
    pub action: Option<String>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// The RADIUS client or LDAP listener.
    pub client: Option<String>,
    /// Text anywhere in the record, in any case.
    pub text: Option<String>,
}

/// A stretch of the audit that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The records that match, oldest first.
    pub records: Vec<AuditLine>,
    /// Where to go on.
    pub next: u64,
    /// Whether everything there was has been looked at.
    pub end: bool,
}

/// A chain that is whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Records checked.
    pub records: u64,
    /// The last record, as `sequence:link`; empty when there are none.
    pub head: String,
}

/// The first thing that is wrong with a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broken {
    /// The position it shows at.
    pub sequence: u64,
    /// What was done.
    pub tampering: Tampering,
    /// The same in words.
    pub detail: String,
}

/// What can be done to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tampering {
    /// A record's text or link is not what was written.
    Changed,
    /// Records are missing in the middle.
    Removed,
    /// A record stands in another's place.
    Reordered,
    /// Records are missing at the end.
    Truncated,
}

/// What verifying came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// Whole.
    Whole(Verified),
    /// Not whole.
    Broken(Broken),
}

/// A head noted earlier, as [`Verified::head`] gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position.
    pub sequence: u64,
    /// Link.
    pub link: [u8; 32],
}

/// The audit cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the audit cannot be read")]
pub struct AuditError(#[from] StoreError);

impl Head {
    /// Reads `sequence:link`.
    pub fn parse(text: &str) -> Option<Self> {
        let (sequence, link) = text.trim().split_once(':')?;
        let link = HEXLOWER.decode(link.to_lowercase().as_bytes()).ok()?;
        Some(Self {
            sequence: sequence.parse().ok()?,
            link: link.try_into().ok()?,
        })
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, HEXLOWER.encode(&self.link))
    }
}

impl Audit {
    /// Reads the audit of `store`, written under `keyring`.
    pub fn new(store: Arc<dyn Store>, keyring: Arc<Keyring>) -> Self {
        Self { store, keyring }
    }

    /// Checks every record from the first to the store's head, and that the chain passes through a head
    /// `noted` earlier.
    ///
    /// # Errors
    /// When the store cannot be read. A broken chain is an answer, not an error.
    pub async fn verify(&self, noted: Option<&Head>) -> Result<Verification, AuditError> {
        let head = self.store.status().audit_sequence;
        let mut last = Head {
            sequence: 0,
            link: [0; 32],
        };
        loop {
            let page = self.store.audit(last.sequence + 1, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for (index, record) in page.iter().enumerate() {
                let rest = page.get(index..).unwrap_or_default();
                if let Some(broken) = self.judge(&last, record, rest) {
                    return Ok(Verification::Broken(broken));
                }
                last = Head {
                    sequence: record.sequence,
                    link: record.link,
                };
                if let Some(noted) = noted.filter(|noted| noted.sequence == last.sequence && noted.link != last.link) {
                    let detail = format!("record {} is not the one noted as {noted}", last.sequence);
                    return Ok(broken(last.sequence, Tampering::Changed, detail));
                }
            }
            tokio::task::yield_now().await;
        }
        let expected = head.max(noted.map_or(0, |noted| noted.sequence));
        if last.sequence < expected {
            let detail = format!(
                "the chain ends with record {}, but there were {expected}",
                last.sequence
            );
            return Ok(broken(last.sequence + 1, Tampering::Truncated, detail));
        }
        Ok(Verification::Whole(Verified {
            records: last.sequence,
            head: if last.sequence == 0 {
                String::new()
            } else {
                last.to_string()
            },
        }))
    }

    /// Looks at up to [`STRETCH`] records from `from` on and gives those that match, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn search(&self, filter: &Filter, from: u64, limit: usize) -> Result<Stretch, AuditError> {
        let from = from.max(1);
        let mut stretch = Stretch {
            records: Vec::new(),
            next: from,
            end: false,
        };
        while stretch.records.len() < limit && stretch.next - from < STRETCH {
            let page = self.store.audit(stretch.next, PAGE).await?;
            let full = page.len() == PAGE;
            for record in page {
                stretch.next = record.sequence + 1;
                stretch.records.extend(filter.pick(record));
                if stretch.records.len() >= limit {
                    return Ok(stretch);
                }
            }
            if !full {
                stretch.end = true;
                break;
            }
            tokio::task::yield_now().await;
        }
        Ok(stretch)
    }

    /// The last `count` records that match, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn last(&self, filter: &Filter, count: usize) -> Result<Stretch, AuditError> {
        let head = self.store.status().audit_sequence;
        let mut found: VecDeque<AuditLine> = VecDeque::new();
        let mut end = head;
        while end > 0 && found.len() < count {
            let begin = end.saturating_sub(PAGE_SEQUENCES);
            let page = self.store.audit(begin + 1, PAGE).await?;
            let page = page.into_iter().filter(|record| record.sequence <= end);
            let mut matching: Vec<AuditLine> = page.filter_map(|record| filter.pick(record)).collect();
            while let (Some(line), true) = (matching.pop(), found.len() < count) {
                found.push_front(line);
            }
            end = begin;
            tokio::task::yield_now().await;
        }
        Ok(Stretch {
            records: found.into(),
            next: head + 1,
            end: true,
        })
    }

    /// What is wrong with `record` after `last`, if anything; `rest` begins with it.
    fn judge(&self, last: &Head, record: &AuditRecord, rest: &[AuditRecord]) -> Option<Broken> {
        let expected = last.sequence + 1;
        if record.sequence > expected {
            let detail = match record.sequence - 1 {
                only if only == expected => format!("record {only} is missing"),
                to => format!("records {expected} to {to} are missing"),
            };
            return Some(Broken {
                sequence: expected,
                tampering: Tampering::Removed,
                detail,
            });
        }
        if record.sequence < expected {
            return Some(Broken {
                sequence: record.sequence,
                tampering: Tampering::Reordered,
                detail: format!("record {} comes after record {}", record.sequence, last.sequence),
            });
        }
        if self.is_link(&last.link, expected, record) {
            return None;
        }
        let (tampering, detail) = self.explain(expected, record, rest);
        Some(Broken {
            sequence: expected,
            tampering,
            detail,
        })
    }

    /// Tells a record that was moved, or that moved up because others were taken out before it, from one
    /// that was altered. It is a diagnosis: the chain is broken here in any case.
    fn explain(&self, expected: u64, record: &AuditRecord, rest: &[AuditRecord]) -> (Tampering, String) {
        for pair in rest.windows(2) {
            let [before, at] = pair else { continue };
            let original = at.sequence;
            // Before the place it came from stands its old neighbour, or, when neighbours were swapped,
            // that neighbour stands in the place itself.
            if self.is_link(&before.link, original, record) || self.is_link(&at.link, original, record) {
                return (
                    Tampering::Reordered,
                    format!("record {original} stands in the place of record {expected}"),
                );
            }
        }
        if let [_, next, ..] = rest {
            let gap = (1..=LONGEST_GAP).find(|gap| self.is_link(&record.link, next.sequence + gap, next));
            if let Some(gap) = gap {
                let what = if gap == 1 {
                    "1 record was".into()
                } else {
                    format!("{gap} records were")
                };
                return (
                    Tampering::Removed,
                    format!("{what} taken out before what is now record {expected}"),
                );
            }
        }
        (
            Tampering::Changed,
            format!(
                "record {expected} is not what was written; it claims: {}",
                claim(record)
            ),
        )
    }

    fn is_link(&self, previous: &[u8; 32], sequence: u64, record: &AuditRecord) -> bool {
        self.keyring.audit_link(previous, sequence, &record.body) == record.link
    }
}

/// Records looked at in one search request, so that no request is without bound.
pub const STRETCH: u64 = 20_000;

const PAGE: usize = 1000;
const PAGE_SEQUENCES: u64 = 1000;

/// Longest gap that is told from an alteration when the records after it were renumbered.
const LONGEST_GAP: u64 = 64;

fn broken(sequence: u64, tampering: Tampering, detail: String) -> Verification {
    Verification::Broken(Broken {
        sequence,
        tampering,
        detail,
    })
}

fn claim(record: &AuditRecord) -> String {
    record.event().map_or_else(
        |_| "nothing readable".to_owned(),
        |event| format!("{} {} by {} at {}", event.action, event.outcome, event.actor, event.at),
    )
}

impl Filter {
    fn pick(&self, record: AuditRecord) -> Option<AuditLine> {
        let event = record.event().unwrap_or_else(|_| unreadable());
        self.matches(&event, &record.body)
            .then(|| AuditLine::new(record.sequence, &record.link, event))
    }

    fn matches(&self, event: &AuditEvent, body: &[u8]) -> bool {
        let same = |wanted: &str, is: Option<&str>| is.is_some_and(|is| is.eq_ignore_ascii_case(wanted));
        self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
            && self.outcome.is_none_or(|outcome| event.outcome == outcome)
            && self
                .actor
                .as_deref()
                .is_none_or(|actor| same(actor, Some(&event.actor)))
            && self
                .client
                .as_deref()
                .is_none_or(|client| same(client, event.client.as_deref()))
            && self
                .action
                .as_deref()
                .is_none_or(|action| is_action(&event.action, action))
            && (self.people.is_empty()
                || self
                    .people
                    .iter()
                    .any(|name| same(name, Some(&event.actor)) || same(name, event.target.as_deref())))
            && self.text.as_deref().is_none_or(|text| {
                String::from_utf8_lossy(body)
                    .to_lowercase()
                    .contains(&text.to_lowercase())
            })
    }
}

fn is_action(action: &str, wanted: &str) -> bool {
    action
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What stands for a record whose text does not read, so that it is seen and not skipped.
fn unreadable() -> AuditEvent {
    AuditEvent {
        at: Timestamp::default(),
        action: "unreadable".into(),
        actor: String::new(),
        target: None,
        via: String::new(),
        client: None,
        source: None,
        rule: None,
        factors: Vec::new(),
        outcome: Outcome::Unavailable,
        reason: Some("the record does not read; run `portcullis audit verify`".into()),
        context: None,
    }
}

impl AuditLine {
    fn new(sequence: u64, link: &[u8; 32], event: AuditEvent) -> Self {
        Self {
            sequence,
            at: event.at,
            action: event.action,
            actor: event.actor,
            target: event.target,
            via: event.via,
            client: event.client,
            source: event.source,
            rule: event.rule,
            factors: event.factors,
            outcome: event.outcome,
            reason: event.reason,
            context: event.context,
            link: HEXLOWER.encode(link),
        }
    }
}

#[cfg(test)]
mod tests;
