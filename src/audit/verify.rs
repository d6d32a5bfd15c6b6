//! Verifying the chain, and telling what was done to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{Audit, AuditError, Broken, Checkpoint, Head, PublicKey, Tampering, Verification, Verified};
use crate::keyring::Keyring;
use crate::store::archive::seal::Position;
use crate::store::archive::{Archive, Examined, Flaw, Stretch};
use crate::store::{AuditRecord, StoreError};

/// What the chain must pass through besides being whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// Heads noted earlier.
    pub heads: Vec<Head>,
    /// Checkpoints noted earlier. One that fits the chain was signed by whoever knows the chain's key, which may have
    /// been another one before a rekeying: so the chain counts, not the signature.
    pub checkpoints: Vec<Checkpoint>,
}

impl Demands {
    /// What is wrong with the record that the chain has got to, if anything.
    fn fault(&self, at: &Position) -> Option<Broken> {
        let head = self
            .heads
            .iter()
            .find(|head| head.sequence == at.sequence && head.link != at.link);
        let head = head.map(ToString::to_string);
        let checkpoint = || {
            let mut here = self
                .checkpoints
                .iter()
                .filter(|checkpoint| checkpoint.position.sequence == at.sequence);
            here.find(|checkpoint| checkpoint.position != *at)
                .map(ToString::to_string)
        };
        let noted = head.or_else(checkpoint)?;
        let detail = format!("record {} is not the one noted as {noted}", at.sequence);
        Some(broken(at.sequence, Tampering::Changed, detail))
    }

    /// The last record that is demanded.
    fn last(&self) -> u64 {
        let heads = self.heads.iter().map(|head| head.sequence);
        let checkpoints = self.checkpoints.iter().map(|checkpoint| checkpoint.position.sequence);
        heads.chain(checkpoints).max().unwrap_or(0)
    }
}

impl Audit {
    /// Checks every record from the first that is kept to the store's head, and that the chain passes through a head
    /// `noted` earlier.
    ///
    /// # Errors
    /// When the store cannot be read. A broken chain is an answer, not an error.
    pub async fn verify(&self, noted: Option<&Head>) -> Result<Verification, AuditError> {
        let demands = Demands {
            heads: noted.cloned().into_iter().collect(),
            ..Demands::default()
        };
        self.verify_with(demands).await
    }

    /// As [`Audit::verify`], with more that the chain must pass through. Sealed segments are checked on several
    /// processors, all but one of those there are.
    ///
    /// # Errors
    /// As [`Audit::verify`].
    pub async fn verify_with(&self, demands: Demands) -> Result<Verification, AuditError> {
        let mut whole = Verified::default();
        let mut last = Position::default();
        let demands = Arc::new(demands);
        let head = self.store.status().audit_sequence;
        if let Some(archive) = self.store.archive() {
            let (keyring, demands) = (Arc::clone(&self.keyring), Arc::clone(&demands));
            let work = move || verify_archive(&archive, &keyring, &demands, head);
            let done = tokio::task::spawn_blocking(work).await;
            match done.map_err(|error| StoreError(error.to_string()))? {
                Ok(archived) => {
                    last = archived.last;
                    whole.gone = archived.gone;
                    whole.segments = archived.segments;
                    whole.mended = archived.mended;
                }
                Err(broken) => return Ok(Verification::Broken(broken)),
            }
        }
        loop {
            let page = self.store.audit(last.sequence + 1, PAGE).await?;
            if page.is_empty() {
                break;
            }
            if let Some(broken) = follow(&self.keyring, &mut last, &page, &[], &demands) {
                return Ok(Verification::Broken(broken));
            }
            tokio::task::yield_now().await;
        }
        let expected = head.max(demands.last());
        if last.sequence < expected {
            let last = last.sequence;
            let detail = format!("the chain ends with record {last}, but there were {expected}");
            let broken = broken(last + 1, Tampering::Truncated, detail);
            return Ok(Verification::Broken(broken));
        }
        whole.records = last.sequence - whole.gone;
        if last.sequence > 0 {
            whole.head = Head {
                sequence: last.sequence,
                link: last.link,
            }
            .to_string();
        }
        Ok(Verification::Whole(whole))
    }
}

/// What came of the archive.
struct Archived {
    last: Position,
    gone: u64,
    segments: u64,
    mended: Vec<String>,
}

/// How one stretch joins the others.
struct Joint {
    before: Position,
    last: Position,
    mended: Option<String>,
}

fn verify_archive(archive: &Archive, keyring: &Keyring, demands: &Demands, head: u64) -> Result<Archived, Broken> {
    let catalog = archive.catalog();
    let mut last = Position::default();
    if let Some(anchor) = &catalog.anchor {
        if !anchor.is_signed_by(&PublicKey::of(keyring)) {
            let gone = anchor.last.sequence;
            let detail =
                format!("that records up to {gone} were taken away by retention is not signed by this installation");
            return Err(broken(1, Tampering::Removed, detail));
        }
        last = anchor.last;
    }
    let gone = last.sequence;
    let stretches = &catalog.stretches;
    let joints = examine_all(archive, keyring, demands, stretches)?;
    let mut mended = Vec::new();
    for (joint, stretch) in joints.into_iter().zip(stretches) {
        if joint.before != last {
            let detail = format!(
                "the segment {} does not go on from record {}: it is from another chain",
                stretch.file(),
                last.sequence
            );
            return Err(broken(stretch.first, Tampering::Changed, detail));
        }
        last = joint.last;
        mended.extend(joint.mended);
    }
    if last != catalog.through {
        let detail = "the database and the last segment do not agree".to_owned();
        return Err(broken(last.sequence, Tampering::Changed, detail));
    }
    if let Some(sealed) = archive.beyond().filter(|sealed| *sealed > head) {
        let detail = format!("the chain ends with record {head}, but a sealed segment goes to {sealed}");
        return Err(broken(head + 1, Tampering::Truncated, detail));
    }
    Ok(Archived {
        last,
        gone,
        segments: stretches.len() as u64,
        mended,
    })
}

/// Looks at all stretches, several at a time; the first of them that is broken counts.
fn examine_all(
    archive: &Archive,
    keyring: &Keyring,
    demands: &Demands,
    stretches: &[Stretch],
) -> Result<Vec<Joint>, Broken> {
    let next = AtomicUsize::new(0);
    // Nothing behind the first broken one need be looked at.
    let end = AtomicU64::new(u64::MAX);
    let results = Mutex::new(Vec::new());
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(stretch) = stretches.get(number) else { return };
            if stretch.first > end.load(Ordering::Relaxed) {
                return;
            }
            let result = examine(archive, keyring, demands, stretch);
            if result.is_err() {
                end.fetch_min(stretch.first, Ordering::Relaxed);
            }
            results.lock().push((number, result));
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 2..processors.min(MOST_THREADS) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner();
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Looks at every record of a stretch.
fn examine(archive: &Archive, keyring: &Keyring, demands: &Demands, stretch: &Stretch) -> Result<Joint, Broken> {
    let file = stretch.file();
    let at = |flaw: Flaw| {
        let (first, last) = (stretch.first, stretch.last);
        match flaw {
            Flaw::Missing => {
                let detail = format!("records {first} to {last} are missing: there is no segment {file}");
                broken(first, Tampering::Removed, detail)
            }
            Flaw::Misplaced(other, to) => {
                let detail = format!("the segment {file} holds the records {other} to {to}");
                broken(first, Tampering::Reordered, detail)
            }
            Flaw::Io(_) | Flaw::Damaged(_) => {
                let detail = format!("the segment {file} with the records {first} to {last}: {flaw}");
                broken(first, Tampering::Changed, detail)
            }
        }
    };
    let examined = archive.examine(stretch).map_err(&at)?;
    let before = examined.seal().before;
    let mut last = before;
    let mut ahead = records(&examined, 0);
    for block in 0..examined.blocks() {
        let here = std::mem::replace(&mut ahead, records(&examined, block + 1));
        let (first, to) = examined.range(block);
        if here.is_empty() {
            let detail = format!("the records {first} to {to} do not read (segment {file})");
            return Err(broken(first, Tampering::Changed, detail));
        }
        if let Some(broken) = follow(keyring, &mut last, &here, &ahead, demands) {
            return Err(broken);
        }
    }
    if last != examined.seal().last || !examined.is_as_sealed().map_err(&at)? {
        let detail = format!("the segment {file} is not the one that was sealed, though its records link");
        return Err(broken(stretch.first, Tampering::Changed, detail));
    }
    let mended = match examined.check_index() {
        Ok(true) => None,
        Ok(false) => Some(file),
        Err(flaw) => Some(format!("{file}: {flaw}")),
    };
    Ok(Joint { before, last, mended })
}

fn records(examined: &Examined, block: usize) -> Vec<AuditRecord> {
    examined.records(block)
}

/// Goes on along the chain; what is wrong with it, if anything. `ahead` are records behind these, for telling what
/// was done.
fn follow(
    keyring: &Keyring,
    last: &mut Position,
    page: &[AuditRecord],
    ahead: &[AuditRecord],
    demands: &Demands,
) -> Option<Broken> {
    for (index, record) in page.iter().enumerate() {
        if !last.follow(keyring, record) {
            let mut rest = page.get(index..).unwrap_or_default().to_vec();
            rest.extend_from_slice(ahead);
            return Some(judge(keyring, last, record, &rest));
        }
        if let Some(broken) = demands.fault(last) {
            return Some(broken);
        }
    }
    None
}

/// What is wrong with `record`, which does not follow on `last`; `rest` begins with it.
fn judge(keyring: &Keyring, last: &Position, record: &AuditRecord, rest: &[AuditRecord]) -> Broken {
    let expected = last.sequence + 1;
    if record.sequence > expected {
        let detail = match record.sequence - 1 {
            only if only == expected => format!("record {only} is missing"),
            to => format!("records {expected} to {to} are missing"),
        };
        return broken(expected, Tampering::Removed, detail);
    }
    if record.sequence < expected {
        let detail = format!("record {} comes after record {}", record.sequence, last.sequence);
        return broken(record.sequence, Tampering::Reordered, detail);
    }
    let (tampering, detail) = explain(keyring, expected, record, rest);
    broken(expected, tampering, detail)
}

/// Tells a record that was moved, or that moved up because others were taken out before it, from one
/// that was altered. It is a diagnosis: the chain is broken here in any case.
fn explain(keyring: &Keyring, expected: u64, record: &AuditRecord, rest: &[AuditRecord]) -> (Tampering, String) {
    let is_link = |previous: &[u8; 32], sequence: u64, record: &AuditRecord| {
        keyring.audit_link(previous, sequence, &record.body) == record.link
    };
    for pair in rest.windows(2) {
        let [before, at] = pair else { continue };
        let original = at.sequence;
        // Before the place it came from stands its old neighbour, or, when neighbours were swapped,
        // that neighbour stands in the place itself.
        if is_link(&before.link, original, record) || is_link(&at.link, original, record) {
            return (
                Tampering::Reordered,
                format!("record {original} stands in the place of record {expected}"),
            );
        }
    }
    if let [_, next, ..] = rest {
        let gap = (1..=LONGEST_GAP).find(|gap| is_link(&record.link, next.sequence + gap, next));
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

fn claim(record: &AuditRecord) -> String {
    record.event().map_or_else(
        |_| "nothing readable".to_owned(),
        |event| format!("{} {} by {} at {}", event.action, event.outcome, event.actor, event.at),
    )
}

pub(super) fn broken(sequence: u64, tampering: Tampering, detail: String) -> Broken {
    Broken {
        sequence,
        tampering,
        detail,
    }
}

const PAGE: usize = 1000;

/// Longest gap that is told from an alteration when the records after it were renumbered.
const LONGEST_GAP: u64 = 64;

/// Most segments that are looked at at a time.
const MOST_THREADS: usize = 16;
