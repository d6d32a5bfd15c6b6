//! Opening a store: every way in which it can be wrong is named, and none of them is a panic.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::StoreError;
use super::super::ledger::Head;
use super::format::{self, AFTER_AUDIT, AUDIT, HEAD};
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
    /// A newer or older program wrote it in a layout this one does not know.
    #[error("the store in {0} has layout {1}, which this version cannot read")]
    Schema(PathBuf, u32),
    /// Its files are damaged.
    #[error(
        "the store in {path} is damaged: {reason}; move the folder away and run: portcullis store restore <export file>"
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
    pub(super) head: Head,
    pub(super) tip: Tip,
}

/// Opens or makes the database in `path`.
pub(super) fn open(path: &Path, cache_bytes: u64, keyring: &Keyring) -> Result<Opened, OpenError> {
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
    let tip = Tip::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => damaged("its tip does not read".into()),
        _ => io_error(error),
    })?;
    if tip.is_some() && !path.join(DATABASE).exists() {
        return Err(damaged(format!("the file {DATABASE} is missing")));
    }

    let db = open_database(path, cache_bytes)?;
    let file = sync(path).map_err(io_error)?;
    let head = catch_unwind(AssertUnwindSafe(|| check(&db)))
        .unwrap_or_else(|panic| Err(Fault::Damaged(shared::panicked(panic.as_ref()).0)))
        .map_err(|fault| match fault {
            Fault::Schema(schema) => OpenError::Schema(path.to_owned(), schema),
            Fault::Damaged(reason) => damaged(reason),
        })?;
    let head = match (head, &tip) {
        (Some(head), Some((_, revision))) if head.revision < *revision => {
            let lost = revision - head.revision;
            return Err(damaged(format!("its last {lost} changes are missing")));
        }
        (Some(head), _) => head,
        (None, Some(_)) => return Err(damaged("its head is missing".into())),
        (None, None) => create(&db, &file, keyring).map_err(|error| io_error(io::Error::other(error)))?,
    };
    if head.fingerprint != keyring.fingerprint() {
        return Err(OpenError::WrongKey {
            path: path.to_owned(),
            store: head.fingerprint,
            key: keyring.fingerprint(),
        });
    }
    let tip = match tip {
        Some((tip, _)) => tip,
        None if head.revision == 0 => Tip::create(path, &head)
            .and_then(|tip| sync_folder(path).map(|()| tip))
            .map_err(io_error)?,
        None => return Err(damaged("its tip is missing".into())),
    };
    Ok(Opened { db, file, head, tip })
}

/// Whether there is a store in a folder, whole or not.
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

fn open_database(path: &Path, cache_bytes: u64) -> Result<::sled::Db, OpenError> {
    let config = ::sled::Config::new()
        .path(path)
        .cache_capacity(cache_bytes)
        .mode(::sled::Mode::HighThroughput)
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

/// Reads every record but the audit's, of which there may be very many, and the audit's end. Sled reads
/// pages when they are asked for; without this a damaged page would show up in the middle of a login.
fn check(db: &::sled::Db) -> Result<Option<Head>, Fault> {
    let Some(octets) = db.get(HEAD)? else {
        return match db.first()? {
            None => Ok(None),
            Some(_) => Err(Fault::Damaged("its head is missing".into())),
        };
    };
    let head = format::decode_head(&octets)
        .map_err(Fault::Schema)?
        .ok_or_else(|| Fault::Damaged("its head does not read".into()))?;
    for item in db.range(AFTER_AUDIT..) {
        let (key, octets) = item?;
        if *key == *HEAD {
            continue;
        }
        if format::decode(&octets).is_none_or(|record| record.version > head.revision) {
            return Err(Fault::Damaged("a record does not read".into()));
        }
    }
    let last = db.scan_prefix(AUDIT).next_back().transpose()?;
    let last = match &last {
        Some((key, octets)) => format::unpack_audit(key, octets)
            .and_then(|records| records.last().map(|record| (record.sequence, record.link)))
            .ok_or_else(|| Fault::Damaged("an audit record does not read".into()))?,
        None => (0, [0; 32]),
    };
    if last != (head.audit_sequence, head.audit_link) {
        return Err(Fault::Damaged("the end of the audit chain is missing".into()));
    }
    Ok(Some(head))
}

fn create(db: &::sled::Db, file: &File, keyring: &Keyring) -> Result<Head, StoreError> {
    let failed = |error: &dyn std::fmt::Display| StoreError(error.to_string());
    let head = Head::new(keyring);
    db.insert(HEAD, format::encode_head(&head))
        .map_err(|error| failed(&error))?;
    db.flush().map_err(|error| failed(&error))?;
    file.sync_data().map_err(|error| failed(&error))?;
    Ok(head)
}

/// Sled's file.
const DATABASE: &str = "db";

/// Sled lets go of its lock some time after it was dropped, when its last deferred work is done.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
