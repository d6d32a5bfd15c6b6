//! One file of the archive: a stretch of audit records that changes no more.
//!
//! | part | content |
//! | --- | --- |
//! | start | [`MAGIC`], format (u32) |
//! | blocks | links of the records (32 octets each), then, compressed (LZ4 block), length (u32) and body of each |
//! | directory | for each block: where it begins (u64), its length (u32), length uncompressed (u32), CRC-32 (u32), records (u32), earliest and latest moment (u64 each) |
//! | seal | [`Seal`], whose digest covers all before it |
//! | end | where the directory begins (u64), blocks (u32), CRC-32 of directory, seal and these (u32), [`END`] |
//!
//! Numbers are big-endian. The name tells the first and the last record.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest;

use super::super::AuditRecord;
use super::index::{self, Index};
use super::seal::{Octets, Position, Seal, Span};
use super::terms::{Term, Terms};
use super::{Flaw, sync_folder};
use crate::clock::Timestamp;
use crate::keyring::Keyring;

/// Name of the segment that holds these records.
pub(super) fn name(first: u64, last: u64) -> String {
    format!("{first:016}-{last:016}.segment")
}

/// Name of its index.
pub(super) fn index_name(first: u64, last: u64) -> String {
    format!("{first:016}-{last:016}.index")
}

/// The first and the last record by a file's name, and whether it is an index.
pub(super) fn parse_name(name: &str) -> Option<(u64, u64, bool)> {
    let (range, kind) = name.split_once('.')?;
    let (first, last) = range.split_once('-')?;
    let index = match kind {
        "segment" => false,
        "index" => true,
        _ => return None,
    };
    Some((first.parse().ok()?, last.parse().ok()?, index))
}

/// A segment being written. Dropped before [`Writer::finish`], it leaves nothing behind.
pub(crate) struct Writer {
    folder: PathBuf,
    file: BufWriter<File>,
    unfinished: Unfinished,
    hash: digest::Context,
    at: u64,
    before: Position,
    last: Position,
    span: Span,
    block: Block,
    blocks: Vec<BlockEntry>,
    terms: Terms,
    scratch: Vec<Term>,
    index: index::Builder,
}

/// A block being filled.
#[derive(Default)]
struct Block {
    links: Vec<u8>,
    bodies: Vec<u8>,
    count: u32,
    span: Option<Span>,
}

impl Writer {
    /// Begins a segment after `before` in the folder.
    pub(crate) fn create(folder: &Path, before: Position) -> io::Result<Self> {
        let path = folder.join(UNFINISHED);
        let file = create(&path)?;
        let mut writer = Self {
            folder: folder.to_owned(),
            file: BufWriter::with_capacity(256 * 1024, file),
            unfinished: Unfinished(path),
            hash: digest::Context::new(&digest::SHA256),
            at: 0,
            before,
            last: before,
            span: Span::EMPTY,
            block: Block::default(),
            blocks: Vec::new(),
            terms: Terms::default(),
            scratch: Vec::new(),
            index: index::Builder::default(),
        };
        writer.put(MAGIC)?;
        writer.put(&FORMAT.to_be_bytes())?;
        Ok(writer)
    }

    /// How far it has got.
    pub(crate) fn last(&self) -> Position {
        self.last
    }

    /// How many records it holds.
    pub(crate) fn count(&self) -> u64 {
        self.last.sequence - self.before.sequence
    }

    /// Whether it takes so many more records.
    pub(crate) fn has_room(&self, more: u64) -> bool {
        self.count() + more <= MAX_RECORDS && self.at < MAX_OCTETS
    }

    /// Adds the next record. False, and nothing is added, when it is not the next one of the chain: what was
    /// tampered with is never sealed.
    pub(crate) fn push(&mut self, keyring: &Keyring, record: &AuditRecord) -> io::Result<bool> {
        let number = u16::try_from(self.count()).map_err(io::Error::other)?;
        if !self.last.follow(keyring, record) {
            return Ok(false);
        }
        let at = self.terms.of(keyring, record, &mut self.scratch);
        self.index.add(number, &self.scratch);
        self.span.include(at);
        let length = u32::try_from(record.body.len()).map_err(io::Error::other)?;
        self.block.links.extend_from_slice(&record.link);
        self.block.bodies.extend_from_slice(&length.to_be_bytes());
        self.block.bodies.extend_from_slice(&record.body);
        self.block.count += 1;
        self.block.span.get_or_insert(Span::EMPTY).include(at);
        if self.block.bodies.len() >= BLOCK_OCTETS {
            self.end_block()?;
        }
        Ok(true)
    }

    /// Seals it, with its index, and makes both durable under their names.
    pub(crate) fn finish(mut self, keyring: &Keyring, now: Timestamp) -> io::Result<Seal> {
        self.end_block()?;
        let directory_at = self.at;
        let mut tail = Vec::with_capacity(self.blocks.len() * BlockEntry::OCTETS);
        for block in &self.blocks {
            block.encode(&mut tail);
        }
        self.hash.update(&tail);
        let mut content = [0; 32];
        content.copy_from_slice(self.hash.clone().finish().as_ref());
        let seal = Seal::sign(keyring, self.before, self.last, now, self.span, content);
        tail.extend_from_slice(&seal.encode());
        tail.extend_from_slice(&directory_at.to_be_bytes());
        let count = u32::try_from(self.blocks.len()).map_err(io::Error::other)?;
        tail.extend_from_slice(&count.to_be_bytes());
        tail.extend_from_slice(&crc32fast::hash(&tail).to_be_bytes());
        tail.extend_from_slice(END);
        self.file.write_all(&tail)?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;

        let (first, last) = (seal.first(), seal.last.sequence);
        let count = usize::try_from(seal.count()).map_err(io::Error::other)?;
        let index = std::mem::take(&mut self.index).finish(keyring, &seal.content, count);
        write_index(&self.folder, first, last, &index)?;
        fs::rename(&self.unfinished.0, self.folder.join(name(first, last)))?;
        sync_folder(&self.folder)?;
        Ok(seal)
    }

    fn end_block(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        let Some(span) = block.span else { return Ok(()) };
        let mut octets = block.links;
        octets.extend_from_slice(&lz4_flex::block::compress(&block.bodies));
        self.blocks.push(BlockEntry {
            at: self.at,
            length: u32::try_from(octets.len()).map_err(io::Error::other)?,
            raw: u32::try_from(block.bodies.len()).map_err(io::Error::other)?,
            sum: crc32fast::hash(&octets),
            count: block.count,
            span,
            first: 0,
        });
        self.put(&octets)
    }

    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.hash.update(octets);
        self.at += octets.len() as u64;
        self.file.write_all(octets)
    }
}

fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

fn write_index(folder: &Path, first: u64, last: u64, octets: &[u8]) -> io::Result<()> {
    let unfinished = Unfinished(folder.join(UNFINISHED_INDEX));
    let mut file = create(&unfinished.0)?;
    file.write_all(octets)?;
    file.sync_all()?;
    fs::rename(&unfinished.0, folder.join(index_name(first, last)))
}

/// A file that is removed when it is given up. After it got its name there is nothing to remove.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A line of the directory.
#[derive(Clone, Debug)]
pub(super) struct BlockEntry {
    at: u64,
    length: u32,
    raw: u32,
    sum: u32,
    count: u32,
    pub(super) span: Span,
    /// Number of its first record within the segment.
    pub(super) first: usize,
}

impl BlockEntry {
    const OCTETS: usize = 8 + 4 * 4 + 16;

    fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.at.to_be_bytes());
        for number in [self.length, self.raw, self.sum, self.count] {
            into.extend_from_slice(&number.to_be_bytes());
        }
        into.extend_from_slice(&self.span.first.millis().to_be_bytes());
        into.extend_from_slice(&self.span.last.millis().to_be_bytes());
    }

    fn decode(octets: &mut Octets<'_>) -> Option<Self> {
        Some(Self {
            at: octets.number()?,
            length: octets.number32()?,
            raw: octets.number32()?,
            sum: octets.number32()?,
            count: octets.number32()?,
            span: Span {
                first: Timestamp::from_millis(octets.number()?),
                last: Timestamp::from_millis(octets.number()?),
            },
            first: 0,
        })
    }

    /// How many records it holds.
    pub(super) fn count(&self) -> usize {
        self.count as usize
    }
}

/// A segment that is open: its directory and seal were read.
#[derive(Debug)]
pub(crate) struct Segment {
    folder: PathBuf,
    file: File,
    pub(super) seal: Seal,
    pub(super) blocks: Vec<BlockEntry>,
    index: parking_lot::Mutex<Option<std::sync::Arc<Index>>>,
}

impl Segment {
    /// Opens the segment that the folder names so.
    pub(super) fn open(folder: &Path, first: u64, last: u64) -> Result<Self, Flaw> {
        let file = File::open(folder.join(name(first, last))).map_err(Flaw::of)?;
        check_start(&file)?;
        let (seal, blocks) = read_tail(&file)?;
        if (seal.first(), seal.last.sequence) != (first, last) {
            return Err(Flaw::Misplaced(seal.first(), seal.last.sequence));
        }
        Ok(Self {
            folder: folder.to_owned(),
            file,
            seal,
            blocks,
            index: parking_lot::Mutex::default(),
        })
    }

    /// Number of its first record.
    pub(super) fn first(&self) -> u64 {
        self.seal.first()
    }

    /// The records of a block.
    pub(super) fn read(&self, block: &BlockEntry) -> Result<Vec<AuditRecord>, Flaw> {
        let octets = self.octets(block)?;
        if crc32fast::hash(&octets) != block.sum {
            return Err(Flaw::Damaged("a checksum is wrong"));
        }
        self.decode(block, &octets)
            .ok_or(Flaw::Damaged("a block does not read"))
    }

    /// The records of a block as far as they can be read, whatever its checksum says.
    pub(super) fn read_damaged(&self, block: &BlockEntry) -> Vec<AuditRecord> {
        let octets = self.octets(block).unwrap_or_default();
        self.decode(block, &octets).unwrap_or_default()
    }

    /// Whether the file is, octet for octet, the one that was sealed.
    pub(super) fn is_as_sealed(&self) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        let Some(mut left) = length.checked_sub((Seal::OCTETS + TRAILER) as u64) else {
            return Ok(false);
        };
        let mut context = digest::Context::new(&digest::SHA256);
        let mut buffer = vec![0; 256 * 1024];
        let mut at = 0;
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = buffer.get_mut(..piece).unwrap_or_default();
            self.file.read_exact_at(piece, at)?;
            context.update(piece);
            at += piece.len() as u64;
            left -= piece.len() as u64;
        }
        Ok(context.finish().as_ref() == self.seal.content)
    }

    /// Its index. One that is missing or damaged is made again from the records.
    pub(super) fn index(&self, keyring: &Keyring) -> Result<std::sync::Arc<Index>, Flaw> {
        let mut held = self.index.lock();
        if let Some(index) = &*held {
            return Ok(std::sync::Arc::clone(index));
        }
        let index = match self.open_index(keyring) {
            Ok(index) => index,
            Err(flaw) => {
                tracing::warn!(%flaw, first = self.first(), "an index of the audit is made again");
                self.rebuild_index(keyring)?;
                self.open_index(keyring)?
            }
        };
        let index = std::sync::Arc::new(index);
        *held = Some(std::sync::Arc::clone(&index));
        Ok(index)
    }

    /// Makes the index again, because a part of it was found damaged.
    pub(super) fn mend_index(&self, keyring: &Keyring) -> Result<(), Flaw> {
        let mut held = self.index.lock();
        *held = None;
        self.rebuild_index(keyring)
    }

    /// Checks the index; made again if need be, which the answer tells.
    pub(super) fn check_index(&self, keyring: &Keyring) -> Result<bool, Flaw> {
        if self.open_index(keyring).and_then(|index| index.check(keyring)).is_ok() {
            return Ok(true);
        }
        self.mend_index(keyring)?;
        Ok(false)
    }

    fn open_index(&self, keyring: &Keyring) -> Result<Index, Flaw> {
        let path = self.folder.join(index_name(self.first(), self.seal.last.sequence));
        let file = File::open(path).map_err(Flaw::of)?;
        Index::open(file, keyring, &self.seal.content)
    }

    fn rebuild_index(&self, keyring: &Keyring) -> Result<(), Flaw> {
        let (mut builder, mut terms, mut found) = (index::Builder::default(), Terms::default(), Vec::new());
        let mut number = 0;
        for block in &self.blocks {
            for record in self.read(block)? {
                terms.of(keyring, &record, &mut found);
                builder.add(number, &found);
                number = number.wrapping_add(1);
            }
        }
        let (first, last) = (self.first(), self.seal.last.sequence);
        let count = usize::try_from(self.seal.count()).unwrap_or(usize::MAX);
        let octets = builder.finish(keyring, &self.seal.content, count);
        write_index(&self.folder, first, last, &octets)
            .and_then(|()| sync_folder(&self.folder))
            .map_err(Flaw::Io)
    }

    fn octets(&self, block: &BlockEntry) -> Result<Vec<u8>, Flaw> {
        if block.length > MAX_BLOCK {
            return Err(Flaw::Damaged("a length is out of range"));
        }
        let mut octets = vec![0; block.length as usize];
        self.file.read_exact_at(&mut octets, block.at).map_err(Flaw::of)?;
        Ok(octets)
    }

    fn decode(&self, block: &BlockEntry, octets: &[u8]) -> Option<Vec<AuditRecord>> {
        if block.raw > MAX_BLOCK {
            return None;
        }
        let (links, packed) = octets.split_at_checked(block.count().checked_mul(32)?)?;
        let bodies = lz4_flex::block::decompress(packed, block.raw as usize).ok()?;
        let mut bodies = Octets(&bodies);
        let mut records = Vec::with_capacity(block.count());
        for (sequence, link) in (self.first() + block.first as u64..).zip(links.as_chunks().0) {
            let length = usize::try_from(bodies.number32()?).ok()?;
            records.push(AuditRecord {
                sequence,
                link: *link,
                body: bodies.take(length)?.to_vec(),
            });
        }
        bodies.end().then_some(records)
    }
}

/// Reads seal and directory from a segment's end.
fn read_tail(file: &File) -> Result<(Seal, Vec<BlockEntry>), Flaw> {
    const DAMAGED: Flaw = Flaw::Damaged("its end does not read");
    let length = file.metadata().map_err(Flaw::of)?.len();
    let trailer_at = length.checked_sub(TRAILER as u64).ok_or(DAMAGED)?;
    let mut trailer = [0; TRAILER];
    file.read_exact_at(&mut trailer, trailer_at).map_err(Flaw::of)?;
    let mut octets = Octets(&trailer);
    let parts = (octets.number(), octets.number32(), octets.number32());
    let (Some(directory_at), Some(count), Some(sum)) = parts else {
        return Err(DAMAGED);
    };
    let entries = u64::from(count) * BlockEntry::OCTETS as u64;
    let expected = directory_at.checked_add(entries + Seal::OCTETS as u64);
    if octets.0 != END || u64::from(count) > MAX_RECORDS || expected != Some(trailer_at) {
        return Err(DAMAGED);
    }
    // The sum covers directory, seal, and the first two numbers of the trailer.
    let mut tail = vec![0; usize::try_from(trailer_at - directory_at).map_err(|_| DAMAGED)? + 12];
    file.read_exact_at(&mut tail, directory_at).map_err(Flaw::of)?;
    if crc32fast::hash(&tail) != sum {
        return Err(DAMAGED);
    }
    let mut octets = Octets(&tail);
    let mut blocks = Vec::new();
    let mut first = 0;
    for _ in 0..count {
        let mut block = BlockEntry::decode(&mut octets).ok_or(DAMAGED)?;
        block.first = first;
        first += block.count();
        blocks.push(block);
    }
    let seal = octets.take(Seal::OCTETS).and_then(Seal::decode).ok_or(DAMAGED)?;
    if seal.count() != first as u64 {
        return Err(DAMAGED);
    }
    Ok((seal, blocks))
}

/// Reads the seal of a segment, and no more of it.
pub(super) fn read_seal(path: &Path) -> Result<Seal, Flaw> {
    let file = File::open(path).map_err(Flaw::of)?;
    check_start(&file)?;
    read_tail(&file).map(|(seal, _)| seal)
}

fn check_start(file: &File) -> Result<(), Flaw> {
    let mut start = [0; START];
    file.read_exact_at(&mut start, 0).map_err(Flaw::of)?;
    if start.strip_prefix(MAGIC) == Some(&FORMAT.to_be_bytes()[..]) {
        Ok(())
    } else {
        Err(Flaw::Damaged("it does not begin like a segment of this version"))
    }
}

const MAGIC: &[u8; 16] = b"portcullis-audit";
const FORMAT: u32 = 1;
const START: usize = 16 + 4;
const END: &[u8; 8] = b"segment.";
const TRAILER: usize = 8 + 4 + 4 + 8;

/// From how many octets on a block is full. A search reads whole blocks.
const BLOCK_OCTETS: usize = 32 * 1024;

/// Longest block that is accepted: a full one and a longest record, with links.
const MAX_BLOCK: u32 = 512 * 1024;

/// Most records of a segment: their numbers in the index have 16 bits.
pub(crate) const MAX_RECORDS: u64 = 65_536;

/// From how many octets on a segment is full.
const MAX_OCTETS: u64 = 64 << 20;

/// Names of what is being written. Left over after a crash, they are written over.
const UNFINISHED: &str = "unfinished.segment";
const UNFINISHED_INDEX: &str = "unfinished.index";
