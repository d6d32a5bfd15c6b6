//! Checksummed exports: the whole store in one file, to restore from after the disk or the database
//! failed.
//!
//! The file begins with [`MAGIC`] and continues with frames: length (u32), kind (1 octet), body, CRC-32
//! of kind and body. The first frame is the header, the last one the counts, and after that follows the
//! SHA-256 of all before. Numbers are big-endian. The file holds what the store holds: secrets in it are
//! sealed with the key file, which is not part of it.

mod encoder;
mod reader;
mod stream;
mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::reader::{AuditEntry, read_audit, verify, verify_with};
pub use self::stream::{Stream, stream};
pub use self::writer::Receiver;
use self::writer::Writer;
use super::ledger::Head;
use super::replace::{self, Replacement};
use super::schema::{self, Step};
use super::sled::{self, Loader};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::engine::event::AuditEvent;
use crate::keyring::Keyring;

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The moment of the store it was made at.
    pub head: Head,
    /// The [`schema`](super::schema) of what is in it.
    pub schema: u32,
    /// Keys.
    pub records: u64,
    /// Audit records.
    pub audit: u64,
    /// Length of the file, in octets.
    pub size: u64,
}

/// Why an export could not be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file or folder cannot be read or written.
    #[error("cannot use {0}")]
    Io(PathBuf, #[source] io::Error),
    /// The store does not give its contents away.
    #[error("the store cannot be exported")]
    Store(#[source] StoreError),
    /// The file is no export, is cut short, or was changed.
    #[error("{path} is damaged: {reason} (at octet {at}); use an older export")]
    Damaged {
        /// The export.
        path: PathBuf,
        /// What was found.
        reason: &'static str,
        /// Where.
        at: u64,
    },
    /// A newer program wrote it.
    #[error("{0} has schema {1}, and this version reads schemas up to {current}; use the version that wrote it, or a newer one", current = schema::CURRENT)]
    Format(PathBuf, u32),
    /// It was made from a store with another key file.
    #[error("{0} was written with another key file; put that one in place first")]
    WrongKey(PathBuf),
    /// There is something where the store should go.
    #[error("{0} is not empty: an existing store is never overwritten")]
    Exists(PathBuf),
    /// The new store cannot be made.
    #[error("cannot make the new store")]
    Open(#[source] sled::OpenError),
    /// The store that is to be replaced cannot be set aside.
    #[error("cannot set aside the store that is there")]
    InPlace(#[source] sled::OpenError),
    /// What was set aside before is in the way.
    #[error("{0} is in the way: it was set aside by an earlier run; move it away, or destroy it, first")]
    Former(PathBuf),
}

/// Writes all of `store`, as of one moment, to `path`. The file appears whole and durable or not at all;
/// one that was there before is replaced. The store goes on working meanwhile.
///
/// # Errors
/// [`ExportError::Io`] and [`ExportError::Store`].
pub async fn export(store: &dyn Store, path: &Path) -> Result<Summary, ExportError> {
    let mut snapshot = store.snapshot().await.map_err(ExportError::Store)?;
    let head = *snapshot.head();
    let mut writer = blocking(path, {
        let path = path.to_owned();
        move || Writer::create(&path, &head)
    })
    .await?;
    loop {
        let piece = snapshot.next(PIECE).await.map_err(ExportError::Store)?;
        if piece.is_empty() {
            break;
        }
        writer = blocking(path, move || {
            for entry in &piece {
                writer.entry(entry)?;
            }
            Ok(writer)
        })
        .await?;
    }
    drop(snapshot);
    blocking(path, move || writer.finish()).await
}

/// Exports into `folder` under a name that tells the moment, and removes all but the newest `keep`
/// exports made so. Returns where it went.
///
/// # Errors
/// As [`export`]. When the new export fails, no old one is removed.
pub async fn export_and_rotate(
    store: &dyn Store,
    folder: &Path,
    keep: usize,
    now: Timestamp,
) -> Result<(PathBuf, Summary), ExportError> {
    let path = folder.join(format!("{NAME_START}{:013}{NAME_END}", now.millis()));
    let summary = export(store, &path).await?;
    blocking(folder, {
        let folder = folder.to_owned();
        move || rotate(&folder, keep)
    })
    .await?;
    Ok((path, summary))
}

/// How a store is restored.
#[derive(Clone, Debug, Default)]
pub struct Restoring {
    /// A store that is there is set aside; otherwise the folder must not exist or be empty.
    pub replace: bool,
    /// Appended to the audit chain of the new store: by whom, and from what.
    pub note: Option<AuditEvent>,
}

/// What came of [`restore`].
#[derive(Debug)]
pub struct Restored {
    /// What the export holds.
    pub summary: Summary,
    /// Where the store that was there before is now.
    pub former: Option<PathBuf>,
}

/// Makes a store in the folder `into` from an export. Everything is verified first: checksums, the key file, every
/// link of the audit chain. The new store is made beside `into` and takes its place in one step, so that there is
/// the old one or the new one at any moment. Blocks.
///
/// # Errors
/// [`ExportError`]. What was in `into` is untouched then.
pub fn restore(path: &Path, into: &Path, keyring: &Arc<Keyring>, how: &Restoring) -> Result<Restored, ExportError> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |error| ExportError::Io(path, error)
    };
    let there = sled::exists(into).map_err(at(into))?;
    if there && !how.replace {
        return Err(ExportError::Exists(into.to_owned()));
    }
    let former = replace::former(into);
    if there && former.exists() {
        return Err(ExportError::Former(former));
    }
    let summary = verify_with(path, keyring)?;
    let steps = schema::steps(summary.schema).map_err(|_| ExportError::Format(path.to_owned(), summary.schema))?;

    let replacement = Replacement::begin(into, ".restoring").map_err(at(into))?;
    let put = || {
        load(path, replacement.folder(), keyring, &summary, steps, how.note.as_ref())?;
        let _new = sled::Hold::take(replacement.folder()).map_err(ExportError::Open)?;
        if !there {
            replacement.put().map_err(at(into))?;
            return Ok(None);
        }
        let _old = sled::Hold::take(into).map_err(ExportError::InPlace)?;
        replacement.exchange().map(Some).map_err(at(into))
    };
    let former = put().inspect_err(|_| replacement.abandon())?;
    Ok(Restored { summary, former })
}

fn load(
    path: &Path,
    into: &Path,
    keyring: &Arc<Keyring>,
    summary: &Summary,
    steps: &[Step],
    note: Option<&AuditEvent>,
) -> Result<(), ExportError> {
    let mut loader = Loader::create(into, keyring).map_err(ExportError::Open)?;
    reader::read(path, |entry| {
        for entry in schema::turn(steps, entry).map_err(ExportError::Store)? {
            loader.entry(entry).map_err(ExportError::Store)?;
        }
        Ok(())
    })?;
    loader.finish(summary.head, keyring, note).map_err(ExportError::Store)
}

/// Removes all but the newest exports in a folder. Names sort by time.
fn rotate(folder: &Path, keep: usize) -> io::Result<()> {
    let names = named(folder)?;
    let surplus = names.len().saturating_sub(keep.max(1));
    for name in names.iter().take(surplus) {
        fs::remove_file(folder.join(name))?;
    }
    sled::sync_folder(folder)
}

/// The exports that [`export_and_rotate`] made, oldest first.
fn named(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().into_string().unwrap_or_default();
        if name.starts_with(NAME_START) && name.ends_with(NAME_END) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// When the newest export in `folder` that [`export_and_rotate`] made was begun; none if there is none.
pub async fn newest(folder: &Path) -> Option<Timestamp> {
    let folder = folder.to_owned();
    let names = tokio::task::spawn_blocking(move || named(&folder).unwrap_or_default()).await;
    let name = names.ok()?.pop()?;
    let millis = name.strip_prefix(NAME_START)?.strip_suffix(NAME_END)?;
    Some(Timestamp::from_millis(millis.parse().ok()?))
}

/// Does file work where it may block.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ExportError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|error| ExportError::Io(path.to_owned(), error))
}

/// What an export begins with.
const MAGIC: &[u8; 16] = b"portcullis-store";

/// Kinds of frames.
const HEADER: u8 = 1;
const RECORD: u8 = 2;
const AUDIT: u8 = 3;
const END: u8 = 4;

/// Longest body of a frame that is accepted: far above the longest record.
const MAX_BODY: usize = 128 * 1024;

/// How many entries are fetched from the store together.
const PIECE: usize = 512;

const NAME_START: &str = "portcullis-";
const NAME_END: &str = ".export";
