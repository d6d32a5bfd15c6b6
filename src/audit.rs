//! Reading the audit: verifying its chain, searching it, following it; its checkpoints and its retention.
//!
//! The chain is keyed ([`Keyring::audit_link`]), so nobody can write a valid record without the key
//! file. What it cannot show by itself is that the newest records and the store's own count of them were
//! cut off together: for that, note a checkpoint ([`Audit::checkpoint`]) elsewhere from time to time and hand
//! it to [`Audit::verify`].

pub mod export;
mod filter;
pub mod offline;
mod search;
mod tail;
mod trail;
mod verify;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::accounts::view::moment;
use crate::clock::Timestamp;
use crate::engine::event::{AuditEvent, Context, Outcome};
use crate::keyring::Keyring;
use crate::store::archive::seal::Position;
use crate::store::{Store, StoreError};

pub use self::filter::Filter;
pub use self::trail::{By, CHECKPOINT, Pruned, Retention};
pub use self::verify::Demands;
pub use crate::store::archive::Order;
pub use crate::store::archive::seal::{Checkpoint, PublicKey};

/// Reads the audit of a store.
pub struct Audit {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
    /// Finds records that are not in the archive yet.
    tail: Mutex<tail::Tail>,
    /// How far the digest for checkpoints has been computed.
    position: Mutex<Position>,
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

/// A stretch of the audit that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// The records that match, in the order that was asked for.
    pub records: Vec<AuditLine>,
    /// Where to go on.
    pub next: u64,
    /// Whether everything there was has been looked at: nothing else matches.
    pub end: bool,
    /// What could not be looked at because it is damaged, in words. Verifying tells more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// A chain that is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Records checked.
    pub records: u64,
    /// The last record, as `sequence:link`; empty when there are none.
    pub head: String,
    /// The last record that retention took away; zero when it took none.
    #[serde(default)]
    pub gone: u64,
    /// Sealed files that were checked.
    #[serde(default)]
    pub segments: u64,
    /// Files of indexes that were missing or damaged and were made again from the records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mended: Vec<String>,
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

/// The audit cannot be read, or not be changed in the way asked for.
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
        Self {
            store,
            keyring,
            tail: Mutex::default(),
            position: Mutex::default(),
        }
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
