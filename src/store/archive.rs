//! The archive: where audit records go when they have lain in the database for a while.
//!
//! The database is made for records that change. The audit only grows, so its older part moves, 65,536 records at a
//! time, into files of its own: compressed, sealed with a signature, and each with an index of who, what, where and
//! with what outcome. `docs/decisions/0026-audit-archive.md` tells how nothing is lost on the way.

mod index;
pub mod seal;
mod segment;
pub mod terms;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use moka::sync::Cache;

use self::seal::{Anchor, Position, PublicKey, Seal, Span};
use self::segment::{BlockEntry, Segment};
pub(super) use self::segment::{MAX_RECORDS, Writer};
use self::terms::{Bits, Query};
use super::sled::sync_folder;
use super::{AuditRecord, StoreError};
use crate::clock::Timestamp;
use crate::keyring::Keyring;

/// What is wrong with a file of the archive.
#[derive(Debug, thiserror::Error)]
pub enum Flaw {
    /// It is not there.
    #[error("it is missing")]
    Missing,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(#[source] io::Error),
    /// It is not what was written.
    #[error("{0}")]
    Damaged(&'static str),
    /// It holds other records than its name tells.
    #[error("it holds the records {0} to {1}")]
    Misplaced(u64, u64),
}

impl Flaw {
    fn of(error: io::Error) -> Self {
        let kind = error.kind();
        if kind == io::ErrorKind::NotFound {
            Self::Missing
        } else if kind == io::ErrorKind::UnexpectedEof {
            Self::Damaged("it is cut short")
        } else {
            Self::Io(error)
        }
    }
}

/// In which order records are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// From the oldest on.
    #[default]
    OldestFirst,
    /// From the newest back.
    NewestFirst,
}

/// How much a search may do. What is cheap costs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub u64);

impl Budget {
    /// Takes so much; false when it is used up.
    pub fn take(&mut self, cost: u64) -> bool {
        let left = self.0.checked_sub(cost);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// How a search through the archive ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The record that was not looked at any more; none when all were.
    pub stopped_at: Option<u64>,
    /// What could not be read, in words.
    pub flaws: Vec<String>,
    /// The last record of the archive at the time.
    pub through: u64,
}

/// A stretch of records with a file of its own, or what is missing between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Number of its first record.
    pub first: u64,
    /// Number of its last record.
    pub last: u64,
    /// Moments of its records; none when the file is missing or did not read when the store was opened.
    pub span: Option<Span>,
}

impl Stretch {
    /// The name of its file.
    pub fn file(&self) -> String {
        segment::name(self.first, self.last)
    }
}

/// What the archive holds at a moment.
#[derive(Debug)]
pub struct Catalog {
    /// What retention has left of the records before the first.
    pub anchor: Option<Anchor>,
    /// End of the last stretch, as the database has it.
    pub through: Position,
    /// From the oldest on, without gaps, from behind the anchor to `through`.
    pub stretches: Vec<Stretch>,
    /// Octets on disk.
    pub size: u64,
}

/// The archive of a store.
pub struct Archive {
    folder: PathBuf,
    keyring: Arc<Keyring>,
    catalog: ArcSwap<Catalog>,
    open: Cache<u64, Arc<Segment>>,
    /// Held by whoever needs the records to stay.
    pins: Arc<()>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// Keeps records from being taken away by retention for as long as it lives.
#[derive(Debug)]
pub struct Pin {
    _held: Arc<()>,
}

impl Archive {
    /// Opens the archive in `folder`, of which the database says that it goes `through` there, behind `anchor`.
    ///
    /// Files that are missing or damaged do not keep it from opening: reading them is an error, and verifying names
    /// them. Files that the database does not know yet do not count: they come of a crash, and their records are
    /// still in the database.
    pub(super) fn open(
        folder: PathBuf,
        keyring: Arc<Keyring>,
        through: Position,
        anchor: Option<Anchor>,
    ) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut names: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        let gone = anchor
            .as_ref()
            .filter(|anchor| anchor.is_signed_by(&PublicKey::of(&keyring)))
            .map_or(0, |anchor| anchor.last.sequence);
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let Some((first, last, index)) = entry.file_name().to_str().and_then(segment::parse_name) else {
                continue;
            };
            if last <= gone {
                // Retention was cut off before it had removed them.
                fs::remove_file(entry.path())?;
            } else if !index && last <= through.sequence && first <= last {
                names.entry(first).or_default().push(last);
            }
        }
        let mut stretches = Vec::new();
        let mut next = anchor.as_ref().map_or(0, |anchor| anchor.last.sequence) + 1;
        while next <= through.sequence {
            let here = names.get(&next).into_iter().flatten().copied();
            // A segment that was cut off before the database knew of it can lie beside the one that was made in its
            // place, and have fewer records.
            let joins = |last: u64| last == through.sequence || names.contains_key(&(last + 1));
            let mut readable = None;
            let mut named = None;
            for last in here {
                match segment::read_seal(&folder.join(segment::name(next, last))) {
                    Ok(seal) if (seal.first(), seal.last.sequence) == (next, last) => {
                        if readable.is_none_or(|(other, _)| !joins(other)) {
                            readable = Some((last, seal.span));
                        }
                    }
                    Ok(_) | Err(_) => named = Some(last),
                }
            }
            let (last, span) = match (readable, named) {
                (Some((last, span)), _) => (last, Some(span)),
                (None, Some(last)) => (last, None),
                (None, None) => {
                    let after = names
                        .range(next..)
                        .next()
                        .map_or(through.sequence, |(first, _)| first - 1);
                    (after, None)
                }
            };
            let stretch = Stretch {
                first: next,
                last,
                span,
            };
            if span.is_none() {
                let file = stretch.file();
                tracing::error!(
                    file,
                    "records of the audit cannot be read; run `portcullis audit verify`"
                );
            }
            stretches.push(stretch);
            next = last + 1;
        }
        let size = size_of(&folder);
        Ok(Self {
            folder,
            keyring,
            catalog: ArcSwap::from_pointee(Catalog {
                anchor,
                through,
                stretches,
                size,
            }),
            open: Cache::new(OPEN_SEGMENTS),
            pins: Arc::default(),
        })
    }

    /// The last record in the archive; zero when it is empty. What comes after is in the database.
    pub fn through(&self) -> u64 {
        self.catalog.load().through.sequence
    }

    /// The end of the archive.
    pub fn last(&self) -> Position {
        self.catalog.load().through
    }

    /// What retention has left of the records before the first.
    pub fn anchor(&self) -> Option<Anchor> {
        self.catalog.load().anchor.clone()
    }

    /// All that it holds now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Octets on disk.
    pub fn size(&self) -> u64 {
        self.catalog.load().size
    }

    /// Whether there is a seal of ours for records that the archive does not know: then the database was put back to
    /// an older state. Gives the last record of them.
    pub fn beyond(&self) -> Option<u64> {
        let (through, key) = (self.through(), PublicKey::of(&self.keyring));
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str().and_then(segment::parse_name));
        let beyond = names.filter(|(_, last, index)| !index && *last > through);
        beyond
            .filter_map(|(first, last, _)| segment::read_seal(&self.folder.join(segment::name(first, last))).ok())
            .filter(|seal| seal.is_signed_by(&key))
            .map(|seal| seal.last.sequence)
            .max()
    }

    /// Up to `limit` records from `from` on, in order; fewer at the end of the archive. Blocks.
    ///
    /// # Errors
    /// When a file is missing or damaged; the text names it.
    pub fn read(&self, from: u64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let catalog = self.catalog.load_full();
        let mut page = Vec::new();
        let begin = catalog.stretches.partition_point(|stretch| stretch.last < from);
        for stretch in catalog.stretches.get(begin..).unwrap_or_default() {
            let failed = |flaw| StoreError(format!("the file {} of the audit: {flaw}", stretch.file()));
            let segment = self.segment(stretch).map_err(failed)?;
            let skip = usize::try_from(from.saturating_sub(stretch.first)).unwrap_or(usize::MAX);
            let begin = segment
                .blocks
                .partition_point(|block| block.first + block.count() <= skip);
            for block in segment.blocks.get(begin..).unwrap_or_default() {
                if page.len() >= limit {
                    return Ok(page);
                }
                let records = segment.read(block).map_err(failed)?;
                let room = limit - page.len();
                page.extend(records.into_iter().filter(|record| record.sequence >= from).take(room));
            }
        }
        Ok(page)
    }

    /// Gives the records that may match, in the given order, from `from` on in that order, until `each` breaks off at
    /// a record, or the budget is used up. Blocks.
    ///
    /// Damage in an index is mended from the records. What cannot be read of these is told in the answer.
    pub fn find(
        &self,
        query: &Query,
        order: Order,
        from: u64,
        budget: &mut Budget,
        each: &mut dyn FnMut(AuditRecord) -> ControlFlow<()>,
    ) -> Outcome {
        let catalog = self.catalog.load_full();
        let mut outcome = Outcome {
            through: catalog.through.sequence,
            ..Outcome::default()
        };
        let mut at = 0;
        while let Some(stretch) = in_order(&catalog.stretches, order, &mut at) {
            let outside = match order {
                Order::OldestFirst => stretch.last < from,
                Order::NewestFirst => stretch.first > from,
            };
            if outside || !stretch.span.is_none_or(|span| span.meets(query.since, query.until)) {
                continue;
            }
            let search = StretchSearch {
                archive: self,
                query,
                order,
                from,
                stretch: *stretch,
            };
            if let ControlFlow::Break(sequence) = search.run(budget, &mut outcome.flaws, each) {
                outcome.stopped_at = Some(sequence);
                break;
            }
        }
        outcome
    }

    /// Opens a stretch to look at every record of it, whatever state its file is in.
    ///
    /// # Errors
    /// [`Flaw`], when not even its end can be read.
    pub fn examine(&self, stretch: &Stretch) -> Result<Examined, Flaw> {
        let segment = Segment::open(&self.folder, stretch.first, stretch.last)?;
        Ok(Examined {
            segment,
            keyring: Arc::clone(&self.keyring),
        })
    }

    /// The longest beginning of the archive that may go, as its last record and its latest moment: whole stretches
    /// of which every record is older than `before` and, of all records, not one of the newest `keep`.
    pub fn prunable(&self, before: Timestamp, newest: u64) -> Option<(u64, Timestamp)> {
        let catalog = self.catalog.load();
        let mut found = None;
        let mut latest = catalog
            .anchor
            .as_ref()
            .map_or(Timestamp::default(), |anchor| anchor.latest);
        for stretch in &catalog.stretches {
            let Some(span) = stretch.span.filter(|span| span.last < before && stretch.last <= newest) else {
                break;
            };
            latest = latest.max(span.last);
            found = Some((stretch.last, latest));
        }
        found
    }

    /// Where the stretch that ends with this record gets to, by its seal.
    pub(super) fn end_of(&self, last: u64) -> Result<Position, StoreError> {
        let catalog = self.catalog.load();
        let stretch = catalog.stretches.iter().find(|stretch| stretch.last == last);
        let stretch = stretch.ok_or_else(|| StoreError(format!("no segment of the audit ends with record {last}")))?;
        let failed = |flaw| StoreError(format!("the file {} of the audit: {flaw}", stretch.file()));
        let seal = self.segment(stretch).map_err(failed)?.seal.clone();
        if seal.is_signed_by(&PublicKey::of(&self.keyring)) {
            Ok(seal.last)
        } else {
            Err(failed(Flaw::Damaged("its seal is not ours")))
        }
    }

    /// Makes an empty archive go on behind an anchor.
    pub(super) fn go_on_from(&self, anchor: Anchor) {
        self.catalog.store(Arc::new(Catalog {
            through: anchor.last,
            anchor: Some(anchor),
            stretches: Vec::new(),
            size: 0,
        }));
    }

    /// Keeps retention away.
    pub fn pin(&self) -> Pin {
        Pin {
            _held: Arc::clone(&self.pins),
        }
    }

    /// Whether somebody reads the whole.
    pub(super) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pins) > 1
    }

    /// Begins a segment behind the last one.
    pub(super) fn begin(&self) -> io::Result<Writer> {
        Writer::create(&self.folder, self.last())
    }

    /// Takes in a segment that was finished: from now on its records are read from here.
    pub(super) fn take_in(&self, seal: &Seal) {
        let size = size_of(&self.folder);
        self.catalog.rcu(|old| {
            let mut stretches = old.stretches.clone();
            stretches.push(Stretch {
                first: seal.first(),
                last: seal.last.sequence,
                span: Some(seal.span),
            });
            Catalog {
                anchor: old.anchor.clone(),
                through: seal.last,
                stretches,
                size,
            }
        });
    }

    /// Lets go of everything up to an anchor that is on disk.
    pub(super) fn let_go(&self, anchor: Anchor) -> io::Result<()> {
        let gone = anchor.last.sequence;
        let old = self.catalog.rcu(|old| Catalog {
            anchor: Some(anchor.clone()),
            through: old.through,
            stretches: old
                .stretches
                .iter()
                .filter(|stretch| stretch.last > gone)
                .copied()
                .collect(),
            size: old.size,
        });
        for stretch in old.stretches.iter().filter(|stretch| stretch.last <= gone) {
            self.open.invalidate(&stretch.first);
            for name in [
                segment::name(stretch.first, stretch.last),
                segment::index_name(stretch.first, stretch.last),
            ] {
                match fs::remove_file(self.folder.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        sync_folder(&self.folder)
    }

    fn segment(&self, stretch: &Stretch) -> Result<Arc<Segment>, Flaw> {
        if let Some(segment) = self.open.get(&stretch.first) {
            return Ok(segment);
        }
        let segment = Arc::new(Segment::open(&self.folder, stretch.first, stretch.last)?);
        self.open.insert(stretch.first, Arc::clone(&segment));
        Ok(segment)
    }
}

/// The next in order.
fn in_order<'a, T>(list: &'a [T], order: Order, at: &mut usize) -> Option<&'a T> {
    let index = match order {
        Order::OldestFirst => *at,
        Order::NewestFirst => list.len().checked_sub(*at + 1)?,
    };
    *at += 1;
    list.get(index)
}

/// A search through one stretch.
struct StretchSearch<'a> {
    archive: &'a Archive,
    query: &'a Query,
    order: Order,
    from: u64,
    stretch: Stretch,
}

impl StretchSearch<'_> {
    fn run(
        &self,
        budget: &mut Budget,
        flaws: &mut Vec<String>,
        each: &mut dyn FnMut(AuditRecord) -> ControlFlow<()>,
    ) -> ControlFlow<u64> {
        // Where to go on when not even the first of it was looked at.
        let begin = match self.order {
            Order::OldestFirst => self.stretch.first.max(self.from),
            Order::NewestFirst => self.stretch.last.min(self.from),
        };
        if !budget.take(COST_OF_INDEX) {
            return ControlFlow::Break(begin);
        }
        let segment = match self.archive.segment(&self.stretch) {
            Ok(segment) => segment,
            Err(flaw) => {
                flaws.push(format!(
                    "the records {} to {} ({}): {flaw}",
                    self.stretch.first,
                    self.stretch.last,
                    self.stretch.file()
                ));
                return ControlFlow::Continue(());
            }
        };
        let candidates = self.candidates(&segment);
        let mut at = 0;
        while let Some(block) = in_order(&segment.blocks, self.order, &mut at) {
            if !self.wants(block, candidates.as_ref()) {
                continue;
            }
            let end = self.stretch.first + (block.first + block.count()) as u64 - 1;
            let begin = match self.order {
                Order::OldestFirst => (self.stretch.first + block.first as u64).max(self.from),
                Order::NewestFirst => end.min(self.from),
            };
            if !budget.take(COST_OF_BLOCK) {
                return ControlFlow::Break(begin);
            }
            let mut records = match segment.read(block) {
                Ok(records) => records,
                Err(flaw) => {
                    flaws.push(format!("the records up to {end} ({}): {flaw}", self.stretch.file()));
                    continue;
                }
            };
            if self.order == Order::NewestFirst {
                records.reverse();
            }
            for record in records {
                let number = usize::try_from(record.sequence - self.stretch.first).unwrap_or(usize::MAX);
                if self.is_before(record.sequence) || candidates.as_ref().is_some_and(|bits| !bits.contains(number)) {
                    continue;
                }
                let sequence = record.sequence;
                if !budget.take(1) || each(record).is_break() {
                    return ControlFlow::Break(sequence);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Whether a record comes before the one that the search begins with.
    fn is_before(&self, sequence: u64) -> bool {
        match self.order {
            Order::OldestFirst => sequence < self.from,
            Order::NewestFirst => sequence > self.from,
        }
    }

    fn wants(&self, block: &BlockEntry, candidates: Option<&Bits>) -> bool {
        let first = self.stretch.first + block.first as u64;
        let last = first + block.count() as u64 - 1;
        let outside = match self.order {
            Order::OldestFirst => last < self.from,
            Order::NewestFirst => first > self.from,
        };
        !outside
            && block.span.meets(self.query.since, self.query.until)
            && candidates.is_none_or(|bits| bits.meets(block.first, block.first + block.count()))
    }

    /// The records that may match, by the index. Where there is none to be had, all may.
    fn candidates(&self, segment: &Segment) -> Option<Bits> {
        let keyring = &self.archive.keyring;
        if self.query.all.is_empty() {
            return None;
        }
        let look = || {
            segment
                .index(keyring)
                .and_then(|index| index.candidates(keyring, self.query))
        };
        let found = look().or_else(|flaw| {
            tracing::warn!(%flaw, file = self.stretch.file(), "the index of a part of the audit is made again");
            segment.mend_index(keyring).and_then(|()| look())
        });
        found.unwrap_or_else(|flaw| {
            tracing::error!(%flaw, file = self.stretch.file(), "a part of the audit has no index");
            None
        })
    }
}

/// A stretch opened to be looked at whole.
#[derive(Debug)]
pub struct Examined {
    segment: Segment,
    keyring: Arc<Keyring>,
}

impl Examined {
    /// What it says of itself.
    pub fn seal(&self) -> &Seal {
        &self.segment.seal
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.segment.blocks.len()
    }

    /// The numbers of the first and the last record of a block.
    pub fn range(&self, block: usize) -> (u64, u64) {
        self.segment.blocks.get(block).map_or((0, 0), |block| {
            let first = self.segment.first() + block.first as u64;
            (first, first + (block.count() as u64).saturating_sub(1))
        })
    }

    /// The records of a block, as far as they can be read.
    pub fn records(&self, block: usize) -> Vec<AuditRecord> {
        self.segment
            .blocks
            .get(block)
            .map_or_else(Vec::new, |block| self.segment.read_damaged(block))
    }

    /// Whether the file is, octet for octet, what was sealed, and the seal is ours.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_as_sealed(&self) -> Result<bool, Flaw> {
        let ours = self.segment.seal.is_signed_by(&PublicKey::of(&self.keyring));
        Ok(ours && self.segment.is_as_sealed().map_err(Flaw::of)?)
    }

    /// Whether its index was whole. One that was not is made again.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn check_index(&self) -> Result<bool, Flaw> {
        self.segment.check_index(&self.keyring)
    }
}

/// What the files of a folder take.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|file| file.len())
        .sum()
}

/// Segments that are held open, each with its directory of some 20 KiB and the index's of 4 KiB.
const OPEN_SEGMENTS: u64 = 256;

/// What opening a segment and asking its index costs, and reading a block, in records looked at.
const COST_OF_INDEX: u64 = 20;
const COST_OF_BLOCK: u64 = 30;
