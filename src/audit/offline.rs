//! What somebody without the key file can verify: an export, with the public key and checkpoints.
//!
//! The links of the chain are keyed and mean nothing without the key file. But each checkpoint, those in the audit
//! itself and those noted elsewhere, signs a digest over all records before it, and that digest anybody can compute.
//! So an auditor who has the public key from a trusted place learns that the records up to the last checkpoint are,
//! all of them and in this order, those that were there when it was signed. What they cannot learn: whether whoever
//! holds the key file signed another history; nothing about records after the last checkpoint.

use std::collections::VecDeque;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::trail::CHECKPOINT;
use super::verify::broken;
use super::{Broken, Checkpoint, Head, PublicKey, Tampering};
use crate::accounts::view::moment;
use crate::clock::Timestamp;
use crate::store::AuditRecord;
use crate::store::archive::seal::{Anchor, Position};
use crate::store::export::{self, AuditEntry, ExportError};

/// What an export proves to whoever has the public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attested {
    /// Records in the export.
    pub records: u64,
    /// The last record before the first in it; zero when none is gone.
    pub gone: u64,
    /// The last record, as `sequence:link`; empty when there are none.
    pub head: String,
    /// Checkpoints that hold.
    pub checkpoints: u64,
    /// Checkpoints that are not signed with this key, and attest nothing: from before a rekeying, or forged.
    #[serde(default)]
    pub foreign: u64,
    /// All records up to this one are attested; zero when there is no checkpoint.
    pub attested: u64,
    /// When that was signed.
    #[serde(with = "moment::option", default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Timestamp>,
}

/// What verifying an export came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attestation {
    /// Everything that is signed is there.
    Whole(Attested),
    /// It is not.
    Broken(Broken),
}

/// Verifies an export with the public key, and with checkpoints `noted` elsewhere. Blocks.
///
/// # Errors
/// [`ExportError`] when the file cannot be read, or is no whole export. Broken statements are an answer.
pub fn verify_export(path: &Path, key: &PublicKey, noted: &[Checkpoint]) -> Result<Attestation, ExportError> {
    let mut follower = Follower {
        key,
        noted,
        at: Position::default(),
        good: 0,
        attested: Attested {
            records: 0,
            gone: 0,
            head: String::new(),
            checkpoints: 0,
            foreign: 0,
            attested: 0,
            signed: None,
        },
        broken: None,
        recent: VecDeque::new(),
    };
    if let Some(foreign) = noted.iter().find(|checkpoint| !checkpoint.is_signed_by(key)) {
        let detail = "a checkpoint that was given is not signed with this key".to_owned();
        return Ok(Attestation::Broken(broken(
            foreign.position.sequence,
            Tampering::Changed,
            detail,
        )));
    }
    // Checksums first: nothing in the file is believed before.
    export::verify(path)?;
    export::read_audit(path, |entry| match entry {
        AuditEntry::Anchor(anchor) => follower.anchor(&anchor),
        AuditEntry::Record(record) => follower.record(&record),
    })?;
    Ok(follower.finish())
}

struct Follower<'a> {
    key: &'a PublicKey,
    noted: &'a [Checkpoint],
    at: Position,
    /// The last record that a checkpoint attests.
    good: u64,
    attested: Attested,
    broken: Option<Broken>,
    /// Where it was before each of the last records.
    recent: VecDeque<Position>,
}

/// The text of the checkpoint that a record is, if it is one.
fn checkpoint_in(record: &AuditRecord) -> Option<String> {
    // Most records are none, and reading them all takes long.
    let word = CHECKPOINT.as_bytes();
    record
        .body
        .windows(word.len())
        .any(|window| window == word)
        .then_some(())?;
    record.event().ok().filter(|event| event.action == CHECKPOINT)?.reason
}

/// How far back a checkpoint may point from the record that it stands in.
const RECENT: usize = 10_000;

impl Follower<'_> {
    fn anchor(&mut self, anchor: &Anchor) {
        if anchor.is_signed_by(self.key) {
            self.at = anchor.last;
            self.good = anchor.last.sequence;
            self.attested.gone = anchor.last.sequence;
        } else {
            let detail = "that records were taken away by retention is not signed with this key".to_owned();
            self.fail(1, Tampering::Removed, detail);
        }
    }

    fn record(&mut self, record: &AuditRecord) {
        let expected = self.at.sequence + 1;
        if record.sequence != expected {
            let detail = format!("record {} stands where record {expected} should", record.sequence);
            self.fail(expected, Tampering::Removed, detail);
        }
        if self.broken.is_some() {
            return;
        }
        let before = self.at;
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.at.advance(record);
        self.attested.records += 1;
        let noted: Vec<_> = self
            .noted
            .iter()
            .filter(|noted| noted.position.sequence == record.sequence)
            .collect();
        for noted in noted {
            let at = self.at;
            self.hold(noted, &at);
        }
        let text = checkpoint_in(record);
        let Some(text) = text else {
            self.recent.push_back(before);
            return;
        };
        match Checkpoint::parse(&text).filter(|checkpoint| checkpoint.is_signed_by(self.key)) {
            Some(checkpoint) if checkpoint.position.sequence == before.sequence => self.hold(&checkpoint, &before),
            // Records may have been written while it was being signed: then it is of an earlier one.
            Some(checkpoint) if checkpoint.position.sequence < before.sequence => {
                let back = before.sequence - checkpoint.position.sequence;
                let back = usize::try_from(back).unwrap_or(usize::MAX);
                let index = self.recent.len().checked_sub(back);
                if let Some(at) = index.and_then(|index| self.recent.get(index)).copied() {
                    self.hold(&checkpoint, &at);
                }
            }
            // Signed with a key from before a rekeying, or by nobody: it attests nothing. Whatever was done to it or to
            // records before it shows at the next one that holds.
            Some(_) | None => self.attested.foreign += 1,
        }
        self.recent.push_back(before);
    }

    fn hold(&mut self, checkpoint: &Checkpoint, at: &Position) {
        if checkpoint.position == *at {
            self.attested.checkpoints += 1;
            self.attested.attested = at.sequence;
            self.attested.signed = Some(checkpoint.at);
            self.good = at.sequence;
            return;
        }
        let detail = format!(
            "the records {} to {} are not those that were signed at {}",
            self.good + 1,
            at.sequence,
            checkpoint.at
        );
        self.fail(self.good + 1, Tampering::Changed, detail);
    }

    fn fail(&mut self, sequence: u64, tampering: Tampering, detail: String) {
        self.broken.get_or_insert(broken(sequence, tampering, detail));
    }

    fn finish(mut self) -> Attestation {
        let expected = self
            .noted
            .iter()
            .map(|noted| noted.position.sequence)
            .max()
            .unwrap_or(0);
        if self.at.sequence < expected {
            let detail = format!("the records end with {}, but there were {expected}", self.at.sequence);
            self.fail(self.at.sequence + 1, Tampering::Truncated, detail);
        }
        if let Some(broken) = self.broken {
            return Attestation::Broken(broken);
        }
        if self.at.sequence > 0 {
            self.attested.head = Head {
                sequence: self.at.sequence,
                link: self.at.link,
            }
            .to_string();
        }
        Attestation::Whole(self.attested)
    }
}
