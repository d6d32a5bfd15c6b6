//! Opening a store: every way in which it can be wrong is named, and none of them is a panic.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::super::archive::Archive;
use super::super::archive::seal::{Anchor, Position};
use super::super::ledger::Head;
use super::super::schema;
use super::check;
use super::format::{self, ARCHIVE, AUDIT, HEAD, PRUNED};
use super::shared;
use super::tip::Tip;
use crate::keyring::Keyring;

/// Why a store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be made, read or synced.
    #[error("cannot open the store in {0}")]
    Io(PathBuf, #[source] io::Error),
    /// Another process has it open.
    #[error("the store in {0} is in use by another process; stop that one first")]
    Locked(PathBuf),
    /// It was written with another key file.
    #[error(
        "the store in {path} was written with another key file (it names {}, this one is {}): put the right key file back",
        hex(.store), hex(.key)
    )]
    WrongKey {
        /// Where the store is.
        path: PathBuf,
        /// Fingerprint of the key the store was written with.
        store: [u8; 8],
        /// Fingerprint of the key at hand.
        key: [u8; 8],
    },
    /// A newer program wrote it.
    #[error("the store in {0} has schema {1}, and this version knows schemas up to {current}: run the version that wrote it, or a newer one", current = schema::CURRENT)]
    Schema(PathBuf, u32),
    /// An older program wrote it.
    #[error("the store in {0} has schema {1}, and this version works with {current}: run `portcullis store upgrade`, which keeps the old store beside the new one", current = schema::CURRENT)]
    Older(PathBuf, u32),
    /// Its files are damaged.
    #[error(
        "the store in {path} is damaged: {reason}; restore a backup or an export: portcullis restore <file> --replace"
    )]
    Damaged {
        /// Where the store is.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
}

fn hex(octets: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(octets)
}

/// A database that was opened and checked.
pub(super) struct Opened {
    pub(super) db: ::sled::Db,
    /// The database's file, to sync it.
    pub(super) file: File,
    pub(super) archive: Archive,
    pub(super) head: Head,
    pub(super) tip: Tip,
    /// What was not looked at for damage yet.
    pub(super) unchecked: check::Rest,
}

/// Opens or makes the database in `path`.
pub(super) fn open(path: &Path, cache_bytes: u64, keyring: &Arc<Keyring>) -> Result<Opened, OpenError> {
    let io_error = |error| OpenError::Io(path.to_owned(), error);
    let damaged = |reason: String| OpenError::Damaged {
        path: path.to_owned(),
        reason,
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error)?;
    if path.join(MAKING).try_exists().map_err(io_error)? || !exists(path).map_err(io_error)? {
        return make(path, cache_bytes, keyring);
    }
    let (tip, revision) = open_tip(path)?;
    lock(tip.file(), path)?;
    if !path.join(DATABASE).try_exists().map_err(io_error)? {
        return Err(damaged(format!("the file {DATABASE} is missing")));
    }
    remove_unfinished(path).map_err(io_error)?;

    let db = open_database(path, cache_bytes)?;
    let file = sync(path).map_err(io_error)?;
    let (head, through, anchor, unchecked) = catch_unwind(AssertUnwindSafe(|| check(&db)))
        .unwrap_or_else(|panic| Err(Fault::Damaged(shared::panicked(panic.as_ref()).0)))
        .map_err(|fault| match fault {
            Fault::Schema(found) if schema::steps(found).is_ok() => OpenError::Older(path.to_owned(), found),
            Fault::Schema(found) => OpenError::Schema(path.to_owned(), found),
            Fault::Damaged(reason) => damaged(reason),
        })?;
    if head.revision < revision {
        let lost = revision - head.revision;
        return Err(damaged(format!("its last {lost} changes are missing")));
    }
    if head.fingerprint != keyring.fingerprint() {
        return Err(OpenError::WrongKey {
            path: path.to_owned(),
            store: head.fingerprint,
            key: keyring.fingerprint(),
        });
    }
    let folder = path.join(ARCHIVE_FOLDER);
    let archive = Archive::open(folder, Arc::clone(keyring), through, anchor).map_err(io_error)?;
    Ok(Opened {
        db,
        file,
        archive,
        head,
        tip,
        unchecked,
    })
}

/// The last revision that the tip of a store knows of.
pub(super) fn revision(path: &Path) -> Result<u64, OpenError> {
    open_tip(path).map(|(_, revision)| revision)
}

fn open_tip(path: &Path) -> Result<(Tip, u64), OpenError> {
    let damaged = |reason: &str| OpenError::Damaged {
        path: path.to_owned(),
        reason: reason.to_owned(),
    };
    match Tip::open(path) {
        Ok(Some(tip)) => Ok(tip),
        Ok(None) => Err(damaged("its tip is missing")),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(damaged("its tip does not read")),
        Err(error) => Err(OpenError::Io(path.to_owned(), error)),
    }
}

/// Makes a store in an empty folder, or in one where making it was interrupted: a mark lies there from
/// before the first file until all are on disk.
fn make(path: &Path, cache_bytes: u64, keyring: &Arc<Keyring>) -> Result<Opened, OpenError> {
    let io_error = |error| OpenError::Io(path.to_owned(), error);
    let mark = File::create(path.join(MAKING)).map_err(io_error)?;
    lock(&mark, path)?;
    sync_folder(path).map_err(io_error)?;
    for entry in fs::read_dir(path).map_err(io_error)? {
        let entry = entry.map_err(io_error)?;
        let file_type = entry.file_type().map_err(io_error)?;
        if file_type.is_dir() {
            fs::remove_dir_all(entry.path()).map_err(io_error)?;
        } else if entry.file_name() != MAKING {
            fs::remove_file(entry.path()).map_err(io_error)?;
        }
    }
    let db = open_database(path, cache_bytes)?;
    let head = Head::new(keyring);
    shared::guarded(|| db.insert(HEAD, format::encode_head(&head)).and_then(|_| db.flush()))
        .map_err(|error| io_error(io::Error::other(error)))?;
    let tip = Tip::create(path, &head).map_err(io_error)?;
    lock(tip.file(), path)?;
    let file = sync(path).map_err(io_error)?;
    fs::remove_file(path.join(MAKING))
        .and_then(|()| sync_folder(path))
        .map_err(io_error)?;
    let folder = path.join(ARCHIVE_FOLDER);
    let archive = Archive::open(folder, Arc::clone(keyring), Position::default(), None).map_err(io_error)?;
    Ok(Opened {
        db,
        file,
        archive,
        head,
        tip,
        unchecked: None,
    })
}

/// Whether there is anything in a folder.
pub(in super::super) fn exists(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().transpose()?.is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes a folder's entries durable.
pub(in super::super) fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    File::open(path)?.sync_all()
}

/// Keeps other processes out for as long as the file stays open.
fn lock(file: &File, path: &Path) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(fs::TryLockError::WouldBlock) => Err(OpenError::Locked(path.to_owned())),
        Err(fs::TryLockError::Error(error)) => Err(OpenError::Io(path.to_owned(), error)),
    }
}

/// Sled writes what it recovered to a file that it renames when it is whole. If it is cut off before,
/// it takes that file for a whole one the next time, and finds it corrupt.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let unfinished = |name: &str| name.starts_with("snap.") && name.ends_with(".generating");
        if name.to_str().is_some_and(unfinished) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open_database(path: &Path, cache_bytes: u64) -> Result<::sled::Db, OpenError> {
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .flush_every_ms(None);
    let mut attempts = 0;
    loop {
        let opened = catch_unwind(AssertUnwindSafe(|| config.open())).map_err(|panic| OpenError::Damaged {
            path: path.to_owned(),
            reason: shared::panicked(panic.as_ref()).0,
        })?;
        return match opened {
            Ok(db) => Ok(db),
            Err(::sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                attempts += 1;
                if attempts < LOCK_ATTEMPTS {
                    std::thread::sleep(LOCK_PAUSE);
                    continue;
                }
                Err(OpenError::Locked(path.to_owned()))
            }
            Err(::sled::Error::Io(error)) => Err(OpenError::Io(path.to_owned(), error)),
            Err(
                error @ (::sled::Error::Corruption { .. }
                | ::sled::Error::CollectionNotFound(_)
                | ::sled::Error::Unsupported(_)
                | ::sled::Error::ReportableBug(_)),
            ) => Err(OpenError::Damaged {
                path: path.to_owned(),
                reason: error.to_string(),
            }),
        };
    }
}

/// Sled never syncs what it creates. Returns its file, which stays open for later syncs.
fn sync(path: &Path) -> io::Result<File> {
    File::open(path.join("conf"))?.sync_all()?;
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path.join(DATABASE))?;
    file.sync_all()?;
    sync_folder(path)?;
    if let Some(parent) = path.parent() {
        sync_folder(parent)?;
    }
    Ok(file)
}

enum Fault {
    Schema(u32),
    Damaged(String),
}

impl From<::sled::Error> for Fault {
    fn from(error: ::sled::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// What a database says of itself.
type Found = (Head, Position, Option<Anchor>, check::Rest);

/// Reads the head, the first records and the audit's end.
fn check(db: &::sled::Db) -> Result<Found, Fault> {
    let octets = db
        .get(HEAD)?
        .ok_or_else(|| Fault::Damaged("its head is missing".into()))?;
    let head = format::decode_head(&octets)
        .map_err(Fault::Schema)?
        .ok_or_else(|| Fault::Damaged("its head does not read".into()))?;
    let unchecked = check::first(db, head.revision).map_err(Fault::Damaged)?;
    let through = match own(db, ARCHIVE)? {
        Some(octets) => {
            Position::decode(&octets).ok_or_else(|| Fault::Damaged("the archive's end does not read".into()))?
        }
        None => Position::default(),
    };
    let anchor = match own(db, PRUNED)? {
        Some(octets) => {
            let anchor = Anchor::decode(&octets);
            Some(anchor.ok_or_else(|| Fault::Damaged("the anchor of the audit does not read".into()))?)
        }
        None => None,
    };
    let last = db.scan_prefix(AUDIT).next_back().transpose()?;
    let last = match &last {
        Some((key, octets)) => format::unpack_audit(key, octets)
            .and_then(|records| records.last().map(|record| (record.sequence, record.link)))
            .ok_or_else(|| Fault::Damaged("an audit record does not read".into()))?,
        None => (through.sequence, through.link),
    };
    if last != (head.audit_sequence, head.audit_link) {
        return Err(Fault::Damaged("the end of the audit chain is missing".into()));
    }
    Ok((head, through, anchor, unchecked))
}

/// What lies under a key of the store's own.
fn own(db: &::sled::Db, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let octets = db.get(key)?;
    Ok(octets.and_then(|octets| format::decode(&octets).map(|record| record.value.to_vec())))
}

/// Folder of the audit's archive.
const ARCHIVE_FOLDER: &str = "audit";

/// Sled's file.
pub(super) const DATABASE: &str = "db";

/// Present while a new store is being made.
const MAKING: &str = "making";

/// Sled lets go of its lock some time after it was dropped, when its last deferred work is done.
pub(super) const LOCK_ATTEMPTS: u32 = 20;
pub(super) const LOCK_PAUSE: Duration = Duration::from_millis(50);
