//! A second record, beside the database, of how far it had got.
//!
//! When a part of sled's log is damaged, sled takes it for the torn end of a crash and opens what came
//! before: an old state, in which used codes are unused again. The tip says which revision was on disk
//! for certain, so such a state is found out. It is written after every group and synced about once a
//! second: a killed process loses nothing of it, a power cut at most the last moments.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::ledger::Head;
use crate::clock;

/// The tip of an open store.
#[derive(Debug)]
pub(super) struct Tip {
    file: File,
    /// Which slot is written next. Two take turns, on pages of their own: a torn write spoils one.
    slot: u64,
    synced: Instant,
}

impl Tip {
    /// Makes the tip of a new store, durably. Its presence says that the store was made completely.
    pub(super) fn create(folder: &Path, head: &Head) -> io::Result<Self> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(folder.join(NAME))?;
        let mut tip = Self {
            file,
            slot: 0,
            synced: clock::monotonic(),
        };
        tip.write(head)?;
        tip.write(head)?;
        tip.sync()?;
        Ok(tip)
    }

    /// Opens the tip of a store that was made completely, with the last revision it knows of; `None` when
    /// there is no tip.
    ///
    /// # Errors
    /// `InvalidData` when neither slot can be read.
    pub(super) fn open(folder: &Path) -> io::Result<Option<(Self, u64)>> {
        let file = match fs::OpenOptions::new().read(true).write(true).open(folder.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let revisions = [read(&file, 0)?, read(&file, 1)?];
        let Some(revision) = revisions.into_iter().flatten().max() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let tip = Self {
            file,
            slot: u64::from(revisions.first() == Some(&Some(revision))),
            synced: clock::monotonic(),
        };
        Ok(Some((tip, revision)))
    }

    /// The file, to lock it.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Notes a head that is on disk.
    pub(super) fn write(&mut self, head: &Head) -> io::Result<()> {
        let revision = head.revision.to_be_bytes();
        let sum = crc32fast::hash(&[MAGIC, &revision[..]].concat()).to_be_bytes();
        let octets = [MAGIC, &revision, &sum].concat();
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

fn read(file: &File, slot: u64) -> io::Result<Option<u64>> {
    let mut octets = [0; LENGTH];
    match file.read_exact_at(&mut octets, slot * SLOT_OCTETS) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let (content, sum) = octets.split_at(LENGTH - 4);
    let right = content.starts_with(MAGIC) && sum == crc32fast::hash(content).to_be_bytes();
    let revision = content.last_chunk().copied().map(u64::from_be_bytes);
    Ok(revision.filter(|_| right))
}

pub(super) const NAME: &str = "tip";
const MAGIC: &[u8] = b"portcullis-tip-1";
const LENGTH: usize = MAGIC.len() + 8 + 4;
const SLOT_OCTETS: u64 = 4096;
const SYNC_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn head(revision: u64) -> Head {
        Head {
            revision,
            ..Head::default()
        }
    }

    #[test]
    fn the_newer_readable_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Tip::open(folder.path()).unwrap().is_none());
        let mut tip = Tip::create(folder.path(), &head(0)).unwrap();
        for revision in 1..=3 {
            tip.write(&head(revision)).unwrap();
            let (reopened, found) = Tip::open(folder.path()).unwrap().unwrap();
            assert_eq!(found, revision);
            tip = reopened;
        }
        // Revision 3 stands in the first slot or the second: spoil one, then the other.
        let path = folder.path().join(NAME);
        let whole = fs::read(&path).unwrap();
        let mut found = Vec::new();
        for slot in [0, 4096] {
            let mut octets = whole.clone();
            octets[slot + 20] ^= 1;
            fs::write(&path, octets).unwrap();
            found.push(Tip::open(folder.path()).unwrap().unwrap().1);
        }
        found.sort_unstable();
        assert_eq!(found, [2, 3]);
        fs::write(&path, b"").unwrap();
        assert_eq!(Tip::open(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
