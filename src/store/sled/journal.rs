//! The journal: what makes a group durable, by one append and one sync, long before the tree has it.
//!
//! Two files are used in turn. While the tree takes what stands in one, groups go to the other; when the
//! tree has it on disk, that file is written from its beginning again. The files hold zeros where
//! nothing was written yet, so that a sync has no new length to write, and they never shrink.
//!
//! Frames of an earlier use lie behind those of the present one. Each use has a random number, which all
//! its frames carry, so that they are not mistaken for each other, nor a stored value for a frame.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::frame::{self, Frame, PAGE};
use super::group::Group;
use crate::clock;

/// An open journal.
#[derive(Debug)]
pub(super) struct Journal {
    /// The file in use, and the one whose frames the tree takes or has.
    current: Part,
    other: Part,
    /// Number of the present use of the file.
    use_id: u64,
    /// Where the next frame goes.
    position: u64,
    /// How many times groups had been handed to the tree when the present use began.
    handed: u64,
    /// The last revision that was written.
    last: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Part {
    file: File,
    length: u64,
}

/// The frames of the last use of one file.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// Whole frames whose revisions follow on, from the beginning of the file.
    pub(super) frames: Vec<Frame>,
    /// The last revision of a frame of the same use that lies behind one that is not whole. As a frame is
    /// written after the one before it was synced, the file is damaged then.
    pub(super) beyond: Option<u64>,
}

impl Journal {
    /// Makes the files of a new journal; those that are there are emptied. The caller syncs the folder.
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        let create = |name: &str| -> io::Result<Part> {
            let mut options = fs::OpenOptions::new();
            let file = options
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(folder.join(name))?;
            let mut part = Part { file, length: 0 };
            part.make_room(1)?;
            part.file.sync_all()?;
            Ok(part)
        };
        let [first, second] = NAMES;
        Ok(Self::new(create(first)?, create(second)?))
    }

    /// Opens the files, and reads what was written last to each; `None` when one is missing.
    pub(super) fn open(folder: &Path) -> io::Result<Option<(Self, [Run; 2])>> {
        let [first, second] = NAMES.map(|name| fs::OpenOptions::new().read(true).write(true).open(folder.join(name)));
        let (first, second) = match (first, second) {
            (Ok(first), Ok(second)) => (first, second),
            (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let runs = [read(&first)?, read(&second)?];
        Ok(Some((Self::new(Part::new(first)?, Part::new(second)?), runs)))
    }

    fn new(current: Part, other: Part) -> Self {
        Self {
            current,
            other,
            use_id: u64::from_be_bytes(clock::random()),
            position: 0,
            handed: 0,
            last: 0,
            buffer: Vec::new(),
        }
    }

    /// Starts over behind `revision`: the tree has on disk what stands in the files.
    pub(super) fn reset(&mut self, revision: u64) {
        self.position = 0;
        self.use_id = u64::from_be_bytes(clock::random());
        self.last = revision;
    }

    /// Appends a group and syncs it. `handed` counts how many times the tree was handed what was written:
    /// when it has grown, this goes to the other file.
    pub(super) fn write(&mut self, group: &Group, handed: u64) -> io::Result<()> {
        if self.handed != handed {
            std::mem::swap(&mut self.current, &mut self.other);
            self.handed = handed;
            self.reset(self.last);
        }
        frame::encode(&mut self.buffer, self.use_id, self.last + 1, group);
        let end = self.position + self.buffer.len() as u64;
        self.current.make_room(end)?;
        self.current.file.write_all_at(&self.buffer, self.position)?;
        self.current.file.sync_data()?;
        self.position = end;
        self.last = group.head.revision;
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_OCTETS);
        Ok(())
    }

    /// How much was written to the file in use.
    pub(super) fn used(&self) -> u64 {
        self.position
    }
}

impl Part {
    fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }

    /// Makes the file reach `end`, if it does not, and a good deal further.
    fn make_room(&mut self, end: u64) -> io::Result<()> {
        let zeros = [0; 64 * 1024];
        let wanted = end.next_multiple_of(STEP);
        while self.length < wanted {
            let missing = usize::try_from(wanted - self.length).unwrap_or(usize::MAX);
            let part = zeros.get(..missing).unwrap_or(&zeros);
            self.file.write_all_at(part, self.length)?;
            self.length += part.len() as u64;
        }
        Ok(())
    }
}

/// Octets that the files take.
pub(super) fn size(folder: &Path) -> u64 {
    let lengths = NAMES.map(|name| fs::metadata(folder.join(name)).map_or(0, |data| data.len()));
    lengths.iter().sum()
}

fn read(mut file: &File) -> io::Result<Run> {
    let mut octets = Vec::new();
    io::Read::read_to_end(&mut file, &mut octets)?;
    Ok(read_run(&octets))
}

fn read_run(octets: &[u8]) -> Run {
    let mut run = Run::default();
    let Some(use_id) = frame::use_id(octets) else {
        return run;
    };
    let same_use = |rest: &[u8]| frame::use_id(rest) == Some(use_id);
    let mut rest = octets;
    let mut last = None;
    while let Some((frame, length)) = same_use(rest).then(|| frame::decode(rest)).flatten() {
        if last.is_some_and(|last| frame.first != last + 1) {
            break;
        }
        last = Some(frame.group.head.revision);
        run.frames.push(frame);
        rest = rest.get(length..).unwrap_or_default();
    }
    let behind = rest.chunks(PAGE).enumerate();
    let behind = behind.filter(|(_, page)| same_use(page));
    let behind = behind.filter_map(|(at, _)| frame::decode(rest.get(at * PAGE..)?));
    run.beyond = behind.map(|(frame, _)| frame.group.head.revision).max();
    run
}

/// The files' names.
const NAMES: [&str; 2] = ["journal.0", "journal.1"];

/// How much the files grow at a time, in octets.
const STEP: u64 = 1024 * 1024;

/// How much memory stays for the next frame, in octets.
const KEPT_OCTETS: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Head;
    use crate::store::sled::group::Slot;

    /// A group of one record that ends at a revision.
    fn group(revision: u64, octets: usize) -> Group {
        let mut group = Group {
            head: Head {
                revision,
                ..Head::default()
            },
            ..Group::default()
        };
        let slot = Slot {
            written: revision,
            octets: Some(vec![1; octets].into()),
        };
        group.slots.insert("u/a".into(), slot);
        group
    }

    fn found(folder: &Path) -> [Vec<u64>; 2] {
        let (_, runs) = Journal::open(folder).unwrap().unwrap();
        runs.map(|run| {
            assert_eq!(run.beyond, None);
            run.frames.iter().map(|frame| frame.group.head.revision).collect()
        })
    }

    fn damage(path: &Path, at: u64) {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(b"?", at).unwrap();
    }

    #[test]
    fn files_take_turns_and_earlier_uses_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Journal::open(folder.path()).unwrap().is_none());
        let mut journal = Journal::create(folder.path()).unwrap();
        assert_eq!(found(folder.path()), [const { Vec::<u64>::new() }; 2]);
        for (revision, handed) in [(2, 0), (5, 0), (6, 0), (7, 1), (8, 1)] {
            journal.write(&group(revision, 100), handed).unwrap();
        }
        assert_eq!(found(folder.path()), [vec![2, 5, 6], vec![7, 8]]);
        // The frames of 5 and 6 still stand behind that of 9.
        journal.write(&group(9, 100), 2).unwrap();
        assert_eq!(found(folder.path()), [vec![9], vec![7, 8]]);

        let (mut journal, _) = Journal::open(folder.path()).unwrap().unwrap();
        journal.reset(9);
        journal.write(&group(10, 100), 0).unwrap();
        assert_eq!(found(folder.path()), [vec![10], vec![7, 8]]);
    }

    #[test]
    fn a_torn_end_is_ignored_and_a_damaged_middle_shows() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path()).unwrap();
        for revision in 1..=3 {
            journal.write(&group(revision, 100), 0).unwrap();
        }
        let path = folder.path().join("journal.0");
        damage(&path, 2 * 4096 + 60);
        assert_eq!(found(folder.path()), [vec![1, 2], vec![]]);
        journal.write(&group(4, 100), 0).unwrap();
        let (_, [run, _]) = Journal::open(folder.path()).unwrap().unwrap();
        assert_eq!((run.frames.len(), run.beyond), (2, Some(4)));
    }

    #[test]
    fn files_grow_in_steps() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path()).unwrap();
        assert_eq!(size(folder.path()), 2 * STEP);
        let steps = usize::try_from(STEP).unwrap();
        journal.write(&group(1, 2 * steps), 0).unwrap();
        journal.write(&group(2, 100), 0).unwrap();
        assert_eq!(size(folder.path()), 4 * STEP);
        assert_eq!(found(folder.path()), [vec![1, 2], vec![]]);
    }
}
