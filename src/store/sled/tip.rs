//! A second record, beside the journal and the database, of how far they had got.
//!
//! When a part of sled's log is damaged, sled takes it for the torn end of a crash and opens what came
//! before: an old state, in which used codes are unused again. A damaged frame of the journal looks like
//! a torn one. The tip says which revision was in the journal for certain and which in the tree, so such
//! a state is found out. It is written after every group and synced about once a second: a killed process
//! loses nothing of it, a power cut at most the last moments.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::clock;

/// What a tip says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Noted {
    /// The last revision that is on disk, in the journal or the tree.
    pub(super) durable: u64,
    /// The last revision that the tree has on disk.
    pub(super) stored: u64,
}

/// The tip of an open store.
#[derive(Debug)]
pub(super) struct Tip {
    file: File,
    noted: Noted,
    /// Which slot is written next. Two take turns, on pages of their own: a torn write spoils one.
    slot: u64,
    synced: Instant,
}

impl Tip {
    /// Makes the tip of a new store, durably. Its presence says that the store was made completely.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join(NAME))?;
        let mut tip = Self {
            file,
            noted: Noted::default(),
            slot: 0,
            synced: clock::monotonic(),
        };
        tip.write()?;
        tip.write()?;
        tip.sync()?;
        Ok(tip)
    }

    /// Opens the tip of a store that was made completely, with what it says; `None` when there is no
    /// tip.
    ///
    /// # Errors
    /// `InvalidData` when neither slot can be read.
    pub(super) fn open(folder: &Path) -> io::Result<Option<(Self, Noted)>> {
        let file = match fs::OpenOptions::new().read(true).write(true).open(folder.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let [first, second] = [read(&file, 0)?, read(&file, 1)?];
        let Some(noted) = first.max(second) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let tip = Self {
            file,
            noted,
            slot: u64::from(first == Some(noted)),
            synced: clock::monotonic(),
        };
        Ok(Some((tip, noted)))
    }

    /// The file, to lock it.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Notes a revision that the journal or the tree has on disk.
    pub(super) fn note_durable(&mut self, revision: u64) -> io::Result<()> {
        self.noted.durable = self.noted.durable.max(revision);
        self.write()
    }

    /// Notes a revision that the tree has on disk.
    pub(super) fn note_stored(&mut self, revision: u64) -> io::Result<()> {
        self.noted.stored = self.noted.stored.max(revision);
        self.write()
    }

    fn write(&mut self) -> io::Result<()> {
        let mut octets = Vec::with_capacity(LENGTH);
        octets.extend_from_slice(MAGIC);
        octets.extend_from_slice(&self.noted.durable.to_be_bytes());
        octets.extend_from_slice(&sum(&octets));
        octets.extend_from_slice(&self.noted.stored.to_be_bytes());
        octets.extend_from_slice(&sum(&octets));
        self.file.write_all_at(&octets, self.slot * SLOT_OCTETS)?;
        self.slot = 1 - self.slot;
        if clock::monotonic().duration_since(self.synced) >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes what was noted durable.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.synced = clock::monotonic();
        self.file.sync_data()
    }
}

/// Reads a slot: magic, durable revision, CRC-32 of both; stored revision, CRC-32 of all before. The first
/// three alone were all there was before stores had a journal: then the tree held what was durable.
fn read(file: &File, slot: u64) -> io::Result<Option<Noted>> {
    let mut octets = [0; LENGTH];
    let mut length = 0;
    while let Some(rest) = octets.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, slot * SLOT_OCTETS + length as u64)? {
            0 => break,
            more => length += more,
        }
    }
    let part = |end: usize| {
        let number = octets.get(..end)?.last_chunk().copied().map(u64::from_be_bytes)?;
        let right = octets.get(end..end + 4)? == sum(octets.get(..end)?);
        right.then_some(number)
    };
    let Some(durable) = part(DURABLE_END).filter(|_| octets.starts_with(MAGIC)) else {
        return Ok(None);
    };
    if octets
        .get(OLD_LENGTH..)
        .is_some_and(|rest| rest.iter().all(|octet| *octet == 0))
    {
        return Ok(Some(Noted {
            durable,
            stored: durable,
        }));
    }
    Ok(part(STORED_END).map(|stored| Noted { durable, stored }))
}

fn sum(octets: &[u8]) -> [u8; 4] {
    crc32fast::hash(octets).to_be_bytes()
}

const NAME: &str = "tip";
const MAGIC: &[u8] = b"portcullis-tip-1";
const DURABLE_END: usize = MAGIC.len() + 8;
const OLD_LENGTH: usize = DURABLE_END + 4;
const STORED_END: usize = OLD_LENGTH + 8;
const LENGTH: usize = STORED_END + 4;
const SLOT_OCTETS: u64 = 4096;
const SYNC_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_readable_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Tip::open(folder.path()).unwrap().is_none());
        let mut tip = Tip::create(folder.path()).unwrap();
        for revision in 1..=2 {
            tip.note_durable(revision).unwrap();
            let (reopened, found) = Tip::open(folder.path()).unwrap().unwrap();
            assert_eq!((found.durable, found.stored), (revision, 0));
            tip = reopened;
        }
        tip.note_stored(1).unwrap();
        let newest = Noted { durable: 2, stored: 1 };
        assert_eq!(Tip::open(folder.path()).unwrap().unwrap().1, newest);
        // It stands in the first slot or the second: spoil one, then the other.
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        for at in [20, 30, 38] {
            let mut found = Vec::new();
            for slot in [0, 4096] {
                let mut octets = whole.clone();
                octets[slot + at] ^= 1;
                fs::write(&path, octets).unwrap();
                found.push(Tip::open(folder.path()).unwrap().unwrap().1);
            }
            found.sort_unstable();
            assert_eq!(found, [Noted { durable: 2, stored: 0 }, newest]);
        }
        fs::write(&path, b"").unwrap();
        assert_eq!(Tip::open(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_tip_of_a_store_without_a_journal_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let slot = |revision: u64| {
            let content = [MAGIC, &revision.to_be_bytes()].concat();
            [&content[..], &crc32fast::hash(&content).to_be_bytes()].concat()
        };
        let mut octets = slot(8);
        octets.resize(4096, 0);
        octets.extend(slot(7));
        fs::write(&path, octets).unwrap();
        let (mut tip, found) = Tip::open(folder.path()).unwrap().unwrap();
        assert_eq!(found, Noted { durable: 8, stored: 8 });
        tip.note_durable(9).unwrap();
        let (_, found) = Tip::open(folder.path()).unwrap().unwrap();
        assert_eq!(found, Noted { durable: 9, stored: 8 });
    }
}
