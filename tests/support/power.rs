//! A disk that forgets what was not synced, fed from a record of system calls.
//!
//! What a power cut may leave behind: of each file, what was written before a sync of it began that was
//! done by then; of all later writes, any set of pages, each page as it was after any of the writes to
//! it. Of the changes of folders, all up to the last that a sync of its folder covered, and any number
//! of the next ones, in order. `sync_file_range` promises nothing and counts for nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

const PAGE: usize = 4096;

/// The system calls to record.
pub(crate) const CALLS: &str = "trace=openat,open,creat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,\
    truncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,lseek";

/// Random numbers from a seed (xorshift, Marsaglia 2003).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end`, or zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % end.max(1)
    }
}

/// The files and folders under a root.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    folders: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Disk {
    /// All that is under `root` now.
    pub(crate) fn of(root: &Path) -> Self {
        let mut disk = Self::default();
        disk.gather(root, root);
        disk
    }

    fn gather(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                self.folders.push(name);
                self.gather(root, &path);
            } else {
                self.files.insert(name, fs::read(&path).unwrap());
            }
        }
    }

    /// Puts it all under another root.
    pub(crate) fn write(&self, root: &Path) {
        for folder in &self.folders {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        for (name, octets) in &self.files {
            fs::write(root.join(name), octets).unwrap();
        }
    }
}

/// A file, whatever its name is at the time.
type Inode = usize;

#[derive(Debug)]
enum Call {
    Write {
        inode: Inode,
        offset: usize,
        octets: Vec<u8>,
    },
    Truncate {
        inode: Inode,
        length: usize,
    },
    Sync {
        inode: Inode,
    },
    SyncFolder {
        folder: PathBuf,
    },
    Create {
        name: PathBuf,
        inode: Inode,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Remove {
        name: PathBuf,
    },
    MakeFolder {
        name: PathBuf,
    },
    /// Something was printed.
    Print {
        text: String,
    },
}

/// A call, with the lines of the record at which it began and was done.
#[derive(Debug)]
struct Step {
    begun: usize,
    done: usize,
    call: Call,
}

/// What a process did to the files under a root, in order.
pub(crate) struct Record {
    steps: Vec<Step>,
    inodes: HashMap<PathBuf, Inode>,
    end: usize,
}

impl Record {
    /// The number of moments.
    pub(crate) fn end(&self) -> usize {
        self.end
    }

    /// What was printed, with the moments at which that began.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.steps.iter().filter_map(|step| match &step.call {
            Call::Print { text } => Some((step.begun, text.as_str())),
            Call::Write { .. }
            | Call::Truncate { .. }
            | Call::Sync { .. }
            | Call::SyncFolder { .. }
            | Call::Create { .. }
            | Call::Rename { .. }
            | Call::Remove { .. }
            | Call::MakeFolder { .. } => None,
        })
    }

    /// What a power cut at the moment `cut` may leave of `before` and the record.
    pub(crate) fn replay(&self, before: &Disk, cut: usize, random: &mut Random) -> Disk {
        let steps: Vec<_> = self.steps.iter().filter(|step| step.begun < cut).collect();
        let mut disk = Disk {
            folders: before.folders.clone(),
            files: BTreeMap::new(),
        };
        let mut names: BTreeMap<PathBuf, Inode> = BTreeMap::new();
        for name in before.files.keys() {
            names.insert(name.clone(), self.inodes[name]);
        }
        let changes: Vec<_> = steps
            .iter()
            .filter_map(|step| Some((step, folder_of(&step.call)?)))
            .collect();
        let covered = |(step, folder): &(&&Step, &Path)| {
            steps.iter().any(|sync| {
                matches!(&sync.call, Call::SyncFolder { folder: synced } if synced == folder)
                    && sync.begun > step.done
                    && sync.done < cut
            })
        };
        let certain = changes.iter().rposition(covered).map_or(0, |last| last + 1);
        let kept = certain + random.below(changes.len() - certain + 1);
        for (step, _) in changes.iter().take(kept) {
            match &step.call {
                Call::Create { name, inode } => {
                    names.insert(name.clone(), *inode);
                }
                Call::Rename { from, to } => {
                    if let Some(inode) = names.remove(from) {
                        names.insert(to.clone(), inode);
                    }
                }
                Call::Remove { name } => {
                    names.remove(name);
                }
                Call::MakeFolder { name } => disk.folders.push(name.clone()),
                Call::Write { .. }
                | Call::Truncate { .. }
                | Call::Sync { .. }
                | Call::SyncFolder { .. }
                | Call::Print { .. } => unreachable!("no change of a folder"),
            }
        }
        for (name, inode) in names {
            let octets = before.files.iter().find(|(name, _)| self.inodes[*name] == inode);
            let mut octets = octets.map(|(_, octets)| octets.clone()).unwrap_or_default();
            survive(&mut octets, inode, &steps, cut, random);
            disk.files.insert(name, octets);
        }
        disk
    }
}

/// Brings a file from its first state to one that a power cut may leave.
fn survive(octets: &mut Vec<u8>, inode: Inode, steps: &[&Step], cut: usize, random: &mut Random) {
    let synced = |step: &Step| step.done < cut && matches!(step.call, Call::Sync { inode: other } if other == inode);
    let sync = steps.iter().filter(|step| synced(step)).map(|step| step.begun).max();
    // Keep nothing, all, or something in between of what is not certain.
    let odds = random.below(5);
    let mut pages: BTreeMap<usize, Vec<(usize, &[u8])>> = BTreeMap::new();
    for step in steps {
        let certain = sync.is_some_and(|sync| step.done < sync);
        match &step.call {
            Call::Write {
                inode: other,
                offset,
                octets: written,
            } if *other == inode => {
                if certain {
                    put(octets, *offset, written);
                    continue;
                }
                let mut at = *offset;
                let mut rest = written.as_slice();
                while !rest.is_empty() {
                    let (part, after) = rest.split_at(rest.len().min(PAGE - at % PAGE));
                    pages.entry(at / PAGE).or_default().push((at, part));
                    at += part.len();
                    rest = after;
                }
            }
            Call::Truncate { inode: other, length } if *other == inode => {
                if certain || random.below(2) == 0 {
                    octets.resize(*length, 0);
                }
            }
            Call::Write { .. }
            | Call::Truncate { .. }
            | Call::Sync { .. }
            | Call::SyncFolder { .. }
            | Call::Create { .. }
            | Call::Rename { .. }
            | Call::Remove { .. }
            | Call::MakeFolder { .. }
            | Call::Print { .. } => {}
        }
    }
    for writes in pages.values() {
        let kept = match odds {
            0 => 0,
            1 => writes.len(),
            _ => random.below(writes.len() + 1),
        };
        for (at, part) in writes.iter().take(kept) {
            put(octets, *at, part);
        }
    }
}

fn put(octets: &mut Vec<u8>, at: usize, part: &[u8]) {
    if octets.len() < at + part.len() {
        octets.resize(at + part.len(), 0);
    }
    octets[at..at + part.len()].copy_from_slice(part);
}

/// The folder that a call changes.
fn folder_of(call: &Call) -> Option<&Path> {
    match call {
        Call::Create { name, .. } | Call::Remove { name } | Call::MakeFolder { name } => name.parent(),
        Call::Rename { to, .. } => to.parent(),
        Call::Write { .. }
        | Call::Truncate { .. }
        | Call::Sync { .. }
        | Call::SyncFolder { .. }
        | Call::Print { .. } => None,
    }
}

impl Record {
    /// Reads what strace wrote of a process that found `before` under `root`.
    pub(crate) fn read(trace: &Path, root: &Path, before: &Disk) -> Self {
        let text = fs::read_to_string(trace).unwrap();
        let mut reader = Reader {
            root,
            inodes: HashMap::new(),
            next: 0,
            names: HashMap::new(),
            positions: HashMap::new(),
        };
        for name in before.files.keys() {
            reader.inode(name);
        }
        let mut steps = Vec::new();
        let mut unfinished: HashMap<&str, (usize, String)> = HashMap::new();
        let mut end = 0;
        for (at, line) in text.lines().enumerate() {
            end = at;
            let (process, rest) = line.split_once(' ').unwrap();
            let rest = rest.trim_start();
            if let Some(part) = rest.strip_suffix("<unfinished ...>") {
                unfinished.insert(process, (at, part.trim_end().to_owned()));
                continue;
            }
            let (begun, whole) = match rest.strip_prefix("<... ") {
                Some(resumed) => {
                    let Some((begun, first)) = unfinished.remove(process) else {
                        continue;
                    };
                    let (_, second) = resumed.split_once(" resumed>").unwrap();
                    (begun, first + second)
                }
                None => (at, rest.to_owned()),
            };
            for call in reader.call(&whole) {
                steps.push(Step { begun, done: at, call });
            }
        }
        steps.sort_by_key(|step| step.done);
        Self {
            steps,
            inodes: reader.inodes,
            end,
        }
    }
}

/// Understands the lines of a trace.
struct Reader<'a> {
    root: &'a Path,
    /// The first inode of each name: that of a file that was there before.
    inodes: HashMap<PathBuf, Inode>,
    next: Inode,
    /// The inode of each name now.
    names: HashMap<PathBuf, Inode>,
    /// Where the next `write` to a descriptor goes.
    positions: HashMap<String, usize>,
}

impl Reader<'_> {
    fn call(&mut self, line: &str) -> Vec<Call> {
        let Some((name, rest)) = line.split_once('(') else {
            return Vec::new();
        };
        let Some((arguments, result)) = rest.rsplit_once(" = ") else {
            return Vec::new();
        };
        if result.starts_with('-') || result.starts_with('?') {
            return Vec::new();
        }
        let arguments = arguments.trim_end().trim_end_matches(')');
        let strings: Vec<Vec<u8>> = arguments.split('"').skip(1).step_by(2).map(unescape).collect();
        let mut numbers = arguments.rsplit(", ").map(|word| word.parse::<usize>().ok());
        let descriptor = arguments.split(['<', ',']).next().unwrap_or_default().to_owned();
        let target = described(arguments).and_then(|path| self.inside(&path));
        let named = |at: usize| {
            strings
                .get(at)
                .map(|octets| PathBuf::from(String::from_utf8(octets.clone()).unwrap()))
        };
        match name {
            "write" if descriptor == "2" => {
                let text = String::from_utf8_lossy(&strings[0]).into_owned();
                vec![Call::Print { text }]
            }
            "openat" | "open" | "creat" => {
                let opened = result.split('<').next().unwrap_or_default().trim().to_owned();
                self.positions.insert(opened, 0);
                let Some(path) = described(result).and_then(|path| self.inside(&path)) else {
                    return Vec::new();
                };
                if self.root.join(&path).is_dir() {
                    return Vec::new();
                }
                let mut calls = Vec::new();
                let created = arguments.contains("O_CREAT") && !self.names.contains_key(&path);
                let inode = self.inode(&path);
                if created {
                    calls.push(Call::Create { name: path, inode });
                }
                if arguments.contains("O_TRUNC") {
                    calls.push(Call::Truncate { inode, length: 0 });
                }
                calls
            }
            "lseek" => {
                if let Ok(position) = result.trim().parse() {
                    self.positions.insert(descriptor, position);
                }
                Vec::new()
            }
            "write" | "pwrite64" => {
                let Some(path) = target else { return Vec::new() };
                let inode = self.inode(&path);
                let length: usize = result.trim().parse().unwrap();
                let octets = strings[0][..length].to_vec();
                let offset = if name == "write" {
                    let position = self.positions.entry(descriptor).or_default();
                    *position += length;
                    *position - length
                } else {
                    numbers.next().flatten().unwrap()
                };
                vec![Call::Write { inode, offset, octets }]
            }
            "ftruncate" => {
                let Some(path) = target else { return Vec::new() };
                let length = numbers.next().flatten().unwrap();
                vec![Call::Truncate {
                    inode: self.inode(&path),
                    length,
                }]
            }
            "fsync" | "fdatasync" => {
                let Some(path) = target else { return Vec::new() };
                if self.root.join(&path).is_dir() {
                    vec![Call::SyncFolder { folder: path }]
                } else {
                    vec![Call::Sync {
                        inode: self.inode(&path),
                    }]
                }
            }
            "mkdir" | "mkdirat" => {
                let path = named(0).and_then(|path| self.inside(&path));
                path.map(|name| Call::MakeFolder { name }).into_iter().collect()
            }
            "rename" | "renameat" | "renameat2" => {
                let from = named(0).and_then(|path| self.inside(&path));
                let to = named(1).and_then(|path| self.inside(&path));
                let (Some(from), Some(to)) = (from, to) else {
                    return Vec::new();
                };
                let inode = self.inode(&from);
                self.names.remove(&from);
                self.names.insert(to.clone(), inode);
                vec![Call::Rename { from, to }]
            }
            "unlink" | "unlinkat" => {
                let Some(name) = named(0).and_then(|path| self.inside(&path)) else {
                    return Vec::new();
                };
                self.names.remove(&name);
                vec![Call::Remove { name }]
            }
            _ => {
                let inside = target.is_some()
                    || (0..strings.len()).any(|at| named(at).is_some_and(|path| self.inside(&path).is_some()));
                assert!(!inside, "the record has a call that is not understood: {name}");
                Vec::new()
            }
        }
    }

    fn inside(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(self.root).ok().map(Path::to_owned)
    }

    fn inode(&mut self, path: &Path) -> Inode {
        if let Some(inode) = self.names.get(path) {
            return *inode;
        }
        self.next += 1;
        self.names.insert(path.to_owned(), self.next);
        self.inodes.entry(path.to_owned()).or_insert(self.next);
        self.next
    }
}

/// The path that strace notes for the first descriptor, as in `5</tmp/db>`.
fn described(text: &str) -> Option<PathBuf> {
    let (_, rest) = text.split_once('<')?;
    let (path, _) = rest.split_once('>')?;
    let path = if path.contains("\\x") {
        unescape(path)
    } else {
        path.as_bytes().to_vec()
    };
    Some(PathBuf::from(String::from_utf8(path).ok()?))
}

fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x")
        .skip(1)
        .map(|digits| u8::from_str_radix(&digits[..2], 16).unwrap())
        .collect()
}
