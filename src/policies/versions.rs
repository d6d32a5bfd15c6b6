//! The versions of the policies that were put in force, kept in the store: who, when, why, and every file.
//!
//! A version is a record (`p/v/<number>`) and its files, compressed, sealed and cut into pieces
//! (`p/t/<number>/<piece>`): rules may hold what is secret, such as Tunnel-Password. Numbers only grow. The newest are
//! kept; older ones go with the commit that adds one.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::batch::{Batch, Change, Key, Version as Revision};
use crate::engine::event::AuditEvent;
use crate::engine::record::{self, BadRecord, Record};
use crate::keyring::{KeyError, Keyring};
use crate::policies::files::{PolicyFile, PolicyFiles};
use crate::store::{CommitError, Durability, Store, StoreError};

/// The versions of one store.
#[derive(Clone)]
pub struct Versions {
    store: Arc<dyn Store>,
    keyring: Arc<Keyring>,
}

/// One version, without its files' texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// From 1, in the order in which versions were put in force.
    pub number: u64,
    /// As [`PolicyFiles::digest`].
    pub digest: String,
    /// The operator, or `portcullis` for the process itself.
    pub by: String,
    /// When it was put in force.
    pub at: Timestamp,
    /// On which occasion.
    pub why: Why,
    /// Rules in all files.
    pub rules: u64,
    /// Names and octets of the files.
    pub files: Vec<(String, u64)>,
    /// Pieces that the texts are kept in.
    pieces: u32,
}

/// On which occasion a version was put in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Why {
    /// The process started with it.
    Start,
    /// A reload took it.
    Reload,
    /// It is an earlier one, put back.
    Rollback(u64),
}

/// What is to be kept.
#[derive(Clone, Copy, Debug)]
pub struct InForce<'a> {
    /// The files.
    pub files: &'a PolicyFiles,
    /// How many rules they come to.
    pub rules: usize,
    /// Who put them in force.
    pub by: &'a str,
    /// When.
    pub at: Timestamp,
    /// On which occasion.
    pub why: Why,
}

/// Why versions cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum VersionError {
    /// There is none of that number: there never was, or it has made room for newer ones.
    #[error("there is no version {0} of the policies")]
    None(u64),
    /// The files are more than is kept.
    #[error("the policies have {octets} octets in {files} files, more than is kept of a version")]
    TooLarge {
        /// Octets of all texts.
        octets: usize,
        /// Files.
        files: usize,
    },
    /// Others were first, time and again.
    #[error("versions are being kept by others at the same time")]
    Busy,
    /// The store cannot be used.
    #[error("the versions of the policies cannot be read or written")]
    Store(#[from] StoreError),
    /// A record does not decode.
    #[error("a version of the policies does not decode")]
    Record(#[source] BadRecord),
    /// The files do not open with the key that is in use.
    #[error("the files of version {0} were sealed with another key")]
    Sealed(u64, #[source] KeyError),
    /// The files open and are not what was kept.
    #[error("the files of version {0} are damaged")]
    Damaged(u64),
}

impl Versions {
    /// Those of `store`, sealed under `keyring`.
    pub fn new(store: Arc<dyn Store>, keyring: Arc<Keyring>) -> Self {
        Self { store, keyring }
    }

    /// Keeps what is put in force, unless the newest version is the same, together with what the audit is to say,
    /// durably; `most` versions are kept. Returns the newest version, and whether it is new.
    ///
    /// # Errors
    /// [`VersionError`]; nothing was kept then, except that after [`VersionError::Store`] it may have been.
    pub async fn keep(
        &self,
        new: InForce<'_>,
        most: usize,
        audit: &[AuditEvent],
    ) -> Result<(Version, bool), VersionError> {
        let (octets, files) = (new.files.octets(), new.files.len());
        if octets > PolicyFiles::MAX_OCTETS || files > PolicyFiles::MAX_FILES {
            return Err(VersionError::TooLarge { octets, files });
        }
        let digest = new.files.digest();
        for _ in 0..RETRIES {
            let (newest, revision) = self.newest(new.at).await?;
            let mut batch = Batch {
                audit: audit.to_vec(),
                ..Batch::default()
            };
            let last = self.find(newest, new.at).await?;
            if let Some(last) = last.filter(|last| last.digest == digest)
                && self.open(&last, new.at).await.is_ok()
            {
                batch.expect.push((head(), revision));
                match self.commit(batch).await? {
                    true => return Ok((last, false)),
                    false => continue,
                }
            }
            let number = newest.saturating_add(1);
            let pieces = self.seal(number, new.files);
            let version = Version {
                number,
                digest: digest.clone(),
                by: new.by.to_owned(),
                at: new.at,
                why: new.why,
                rules: new.rules as u64,
                files: new
                    .files
                    .iter()
                    .map(|(name, text)| (name.to_owned(), text.len() as u64))
                    .collect(),
                pieces: u32::try_from(pieces.len()).unwrap_or(u32::MAX),
            };
            batch.replace(head(), revision, Change::Put(record::encode(&Newest(number)), None));
            batch
                .write
                .push((Key::policy_version(number), Change::Put(record::encode(&version), None)));
            for (index, piece) in (0..).zip(pieces) {
                batch
                    .write
                    .push((Key::policy_text(number, index), Change::Put(piece, None)));
            }
            self.forget(most, &mut batch).await?;
            if self.commit(batch).await? {
                return Ok((version, true));
            }
        }
        Err(VersionError::Busy)
    }

    /// All that are kept, oldest first.
    ///
    /// # Errors
    /// [`VersionError`].
    pub async fn list(&self) -> Result<Vec<Version>, VersionError> {
        let mut versions = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.scan(Key::POLICY_VERSIONS, after.as_ref(), PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            for (_, octets) in page {
                versions.push(record::decode(&octets).map_err(VersionError::Record)?);
            }
            if !full {
                return Ok(versions);
            }
        }
    }

    /// One version with its files, as those of `folder`.
    ///
    /// # Errors
    /// [`VersionError`].
    pub async fn read(
        &self,
        number: u64,
        folder: &Path,
        now: Timestamp,
    ) -> Result<(Version, PolicyFiles), VersionError> {
        let version = self.find(number, now).await?.ok_or(VersionError::None(number))?;
        let files = self.open(&version, now).await?;
        Ok((version, files.at(folder)))
    }

    /// The newest version that has this digest, if it is kept.
    ///
    /// # Errors
    /// [`VersionError`].
    pub async fn with_digest(&self, digest: &str) -> Result<Option<Version>, VersionError> {
        Ok(self
            .list()
            .await?
            .into_iter()
            .rev()
            .find(|version| version.digest == digest))
    }

    async fn newest(&self, now: Timestamp) -> Result<(u64, Revision), VersionError> {
        let found = self.store.read(&[head()], now).await?;
        let found = found.into_iter().next().unwrap_or_default();
        let newest = match found.value {
            Some(octets) => record::decode::<Newest>(&octets).map_err(VersionError::Record)?.0,
            None => 0,
        };
        Ok((newest, found.version))
    }

    async fn find(&self, number: u64, now: Timestamp) -> Result<Option<Version>, VersionError> {
        let found = self.store.read(&[Key::policy_version(number)], now).await?;
        let octets = found.into_iter().next().and_then(|found| found.value);
        octets
            .map(|octets| record::decode(&octets).map_err(VersionError::Record))
            .transpose()
    }

    async fn open(&self, version: &Version, now: Timestamp) -> Result<PolicyFiles, VersionError> {
        let number = version.number;
        let damaged = || VersionError::Damaged(number);
        let keys: Vec<Key> = (0..version.pieces)
            .map(|piece| Key::policy_text(number, piece))
            .collect();
        let mut sealed = Vec::new();
        for found in self.store.read(&keys, now).await? {
            sealed.extend(found.value.ok_or_else(damaged)?);
        }
        let packed = self
            .keyring
            .open(&Key::policy_text_place(number), &sealed)
            .map_err(|error| VersionError::Sealed(number, error))?;
        let files = unpack(packed.expose()).ok_or_else(damaged)?;
        let files = PolicyFiles::taken(Path::new(""), files).map_err(|_| damaged())?;
        if files.digest() != version.digest {
            return Err(damaged());
        }
        Ok(files)
    }

    fn seal(&self, number: u64, files: &PolicyFiles) -> Vec<Vec<u8>> {
        let packed = pack(files.to_files());
        let sealed = self.keyring.seal(&Key::policy_text_place(number), &packed);
        sealed.chunks(PIECE).map(<[u8]>::to_vec).collect()
    }

    /// Has `batch` remove what there is no more room for beside the version that it adds.
    async fn forget(&self, most: usize, batch: &mut Batch) -> Result<(), VersionError> {
        let versions = self.list().await?;
        let excess = (versions.len() + 1).saturating_sub(most.max(1));
        for version in versions.iter().take(excess.min(FORGET)) {
            batch.write.push((Key::policy_version(version.number), Change::Delete));
            let pieces = (0..version.pieces).map(|piece| Key::policy_text(version.number, piece));
            batch.write.extend(pieces.map(|key| (key, Change::Delete)));
        }
        Ok(())
    }

    async fn commit(&self, batch: Batch) -> Result<bool, VersionError> {
        match self.store.commit(batch, Durability::Durable).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(CommitError::Unavailable(error)) => Err(error.into()),
        }
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Versions")
    }
}

impl Version {
    /// The beginning of the digest, enough to tell versions apart for people.
    pub fn short(&self) -> &str {
        short(&self.digest)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::Reload => f.write_str("reload"),
            Self::Rollback(number) => write!(f, "rollback to {number}"),
        }
    }
}

/// The beginning of a digest, enough to tell versions apart for people.
pub fn short(digest: &str) -> &str {
    digest.get(..SHORT).unwrap_or(digest)
}

/// The number of the newest version there ever was.
#[derive(Serialize, Deserialize)]
struct Newest(u64);

impl Record for Newest {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

impl Record for Version {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

/// Digits of a digest that are shown.
const SHORT: usize = 16;

/// Octets of a piece; a value of the store has 60,000 at most.
const PIECE: usize = 60_000;

/// Most times keeping is tried again because others came first.
const RETRIES: usize = 8;

/// Records read at once.
const PAGE: usize = 200;

/// Most versions removed with one commit, where fewer are to be kept than before.
const FORGET: usize = 20;

fn head() -> Key {
    Key::policy_head()
}

fn pack(files: Vec<PolicyFile>) -> Vec<u8> {
    let pairs: Vec<(String, String)> = files.into_iter().map(|file| (file.name, file.text)).collect();
    lz4_flex::compress_prepend_size(&postcard::to_stdvec(&pairs).unwrap_or_default())
}

fn unpack(octets: &[u8]) -> Option<Vec<PolicyFile>> {
    let size: [u8; 4] = octets.get(..4)?.try_into().ok()?;
    // Names and lengths stand beside the texts.
    if u32::from_le_bytes(size) as usize > PolicyFiles::MAX_OCTETS * 2 {
        return None;
    }
    let plain = lz4_flex::decompress_size_prepended(octets).ok()?;
    let pairs: Vec<(String, String)> = postcard::from_bytes(&plain).ok()?;
    Some(
        pairs
            .into_iter()
            .map(|(name, text)| PolicyFile { name, text })
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn versions() -> (Versions, Arc<MemoryStore>) {
        let keyring = Arc::new(Keyring::from_root(&[7; 32]));
        let store = Arc::new(MemoryStore::new(Arc::clone(&keyring)));
        (Versions::new(store.clone(), keyring), store)
    }

    fn files(text: &str) -> PolicyFiles {
        let file = PolicyFile {
            name: "10-a.toml".into(),
            text: text.into(),
        };
        PolicyFiles::taken(Path::new("policies"), vec![file]).unwrap()
    }

    fn in_force(files: &PolicyFiles, why: Why) -> InForce<'_> {
        InForce {
            files,
            rules: 1,
            by: "carol",
            at: Timestamp::from_secs(1_800_000_000),
            why,
        }
    }

    #[tokio::test]
    async fn versions_are_kept_with_their_files() {
        let (versions, _) = versions();
        // What does not compress, over several pieces.
        let mut state = 1_u64;
        let mut letter = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'0' + u8::try_from(state >> 58).unwrap())
        };
        let long: String = (0..200_000).map(|_| letter()).collect();
        let (first, second) = (files("one"), files(&long));
        let (kept, new) = versions.keep(in_force(&first, Why::Start), 100, &[]).await.unwrap();
        assert!(new && kept.number == 1 && kept.digest == first.digest());
        let (same, new) = versions.keep(in_force(&first, Why::Reload), 100, &[]).await.unwrap();
        assert!(!new && same == kept, "an identical one is not kept twice in a row");
        let (kept, _) = versions.keep(in_force(&second, Why::Reload), 100, &[]).await.unwrap();
        assert!(kept.number == 2 && kept.pieces > 1, "{kept:?}");
        let (back, new) = versions
            .keep(in_force(&first, Why::Rollback(1)), 100, &[])
            .await
            .unwrap();
        assert!(new && back.number == 3);
        let now = Timestamp::from_secs(1_800_000_001);
        let (version, read) = versions.read(2, Path::new("policies"), now).await.unwrap();
        assert_eq!((version.number, read), (2, second));
        assert_eq!(versions.with_digest(&first.digest()).await.unwrap(), Some(back));
        assert!(matches!(
            versions.read(4, Path::new(""), now).await,
            Err(VersionError::None(4))
        ));
    }

    #[tokio::test]
    async fn the_oldest_make_room() {
        let (versions, store) = versions();
        for number in 0..6 {
            let files = files(&format!("text {number}"));
            versions.keep(in_force(&files, Why::Reload), 3, &[]).await.unwrap();
        }
        let numbers: Vec<u64> = versions
            .list()
            .await
            .unwrap()
            .iter()
            .map(|version| version.number)
            .collect();
        assert_eq!(numbers, [4, 5, 6]);
        let left = store.scan(b"p/", None, 100).await.unwrap();
        assert_eq!(left.len(), 7, "three versions with a piece each, and the head");
    }

    #[tokio::test]
    async fn what_another_key_sealed_does_not_open_and_is_kept_anew() {
        let (versions, store) = versions();
        let one = files("Tunnel-Password = \"hidden\"");
        versions.keep(in_force(&one, Why::Start), 100, &[]).await.unwrap();
        let raw: Vec<u8> = store
            .scan(b"p/", None, 100)
            .await
            .unwrap()
            .into_iter()
            .flat_map(|(_, octets)| octets)
            .collect();
        assert!(!String::from_utf8_lossy(&raw).contains("hidden"), "it is sealed");
        let other = Versions::new(store, Arc::new(Keyring::from_root(&[8; 32])));
        let now = Timestamp::from_secs(1_800_000_001);
        let opened = other.read(1, Path::new(""), now).await;
        assert!(matches!(opened, Err(VersionError::Sealed(1, _))));
        let (kept, new) = other.keep(in_force(&one, Why::Start), 100, &[]).await.unwrap();
        assert!(new && kept.number == 2);
        assert!(other.read(2, Path::new(""), now).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_kept() {
        let (versions, _) = versions();
        let mut folder = PolicyFiles::default();
        let temporary = tempfile::tempdir().unwrap();
        std::fs::write(temporary.path().join("a.toml"), "#".repeat(PolicyFiles::MAX_OCTETS + 1)).unwrap();
        folder.clone_from(&PolicyFiles::read(
            temporary.path(),
            &mut crate::document::Faults::default(),
        ));
        let kept = versions.keep(in_force(&folder, Why::Start), 100, &[]).await;
        assert!(matches!(kept, Err(VersionError::TooLarge { .. })), "{kept:?}");
    }
}
