//! Another key file in place of the one a store was written with.
//!
//! The store is written anew beside the old one, under the new key, and checked; then it takes the old one's place in
//! one step, and the new key file that of the old one. Cut off anywhere, either the old store and the old key file are
//! in place, or the next run finishes what was begun. `docs/decisions/0027-rekey-and-schema.md` tells why.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::seal::{Anchor, PublicKey};
use super::replace::{self, Replacement};
use super::sled::{Hold, Loader, OpenError, PRUNED, SledStore};
use super::{Entry, Head, Record, Snapshot, Store as _, StoreError};
use crate::clock::Timestamp;
use crate::engine::batch::Key;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::record::{UserRecord, decode, encode};
use crate::engine::reseal::{Bond, Resealed, bond};
use crate::keyring::{KeyError, KeyFile, Keyring};

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Rekeying {
    /// The store's folder.
    pub store: PathBuf,
    /// The key file in place.
    pub key_file: PathBuf,
    /// Where the new key file goes, for the operator to put in place; it takes the old one's place when absent.
    pub into: Option<PathBuf>,
    /// Also another pepper: all answers have to be defined anew.
    pub renew_answers: bool,
    /// Only look whether it could be done.
    pub dry_run: bool,
    /// Who wants it, for the audit.
    pub by: String,
    /// When.
    pub now: Timestamp,
}

/// What was done.
#[derive(Debug)]
pub struct Rekeyed {
    /// How much was sealed anew; `None` where an earlier run had done that, and only the files had to be put in place.
    pub resealed: Option<Resealed>,
    /// The new key file.
    pub key_file: PathBuf,
    /// Where the old store and the old key file are now. Absent after a dry run; the key file is absent where it stays
    /// in its place.
    pub former: Option<(PathBuf, Option<PathBuf>)>,
}

/// Why it was not done. The old store and the old key file are in place then.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// A file or folder cannot be read or written.
    #[error("cannot use {0}")]
    Io(PathBuf, #[source] io::Error),
    /// The file system cannot exchange two names in one step.
    #[error("the file system of {0} cannot exchange two folders in one step")]
    NoExchange(PathBuf, #[source] io::Error),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store has no people and no audit: nothing depends on its key.
    #[error("there is no store at {0}")]
    NoStore(PathBuf),
    /// What was set aside before is in the way.
    #[error("{0} is in the way: it was set aside by an earlier run; move it away, or destroy it, first")]
    InTheWay(PathBuf),
    /// A record that nobody has said the bond of.
    #[error("the record `{0}` is of a kind that this version cannot put under another key")]
    UnknownRecord(String),
    /// A secret that does not open, or a record that does not read.
    #[error("the record `{0}` cannot be sealed anew")]
    Record(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The audit chain is broken.
    #[error("the audit chain does not link at record {0}; find out why first: portcullis audit verify")]
    Chain(u64),
    /// What was written is not what was read.
    #[error("the new store is not what it must be: {0}")]
    Unlike(&'static str),
}

/// Puts a new key file in place of the one that a store was written with, while no server runs. Blocks for seconds
/// per million people.
///
/// # Errors
/// [`RekeyError`].
pub async fn rekey(how: &Rekeying) -> Result<Rekeyed, RekeyError> {
    let files = Files::of(how);
    if !how.store.is_dir() {
        return Err(RekeyError::NoStore(how.store.clone()));
    }
    let key = KeyFile::read(&how.key_file)?;
    if let Some(finished) = files.finish(&key)? {
        return Ok(finished);
    }
    for former in [Some(&files.former_store), files.former_key.as_ref()]
        .into_iter()
        .flatten()
    {
        if former.exists() {
            return Err(RekeyError::InTheWay(former.clone()));
        }
    }
    if how.into.is_some() && files.next.exists() {
        return Err(RekeyError::InTheWay(files.next));
    }
    let old = Arc::new(key.keyring());
    let store = SledStore::open(&how.store, CACHE, Arc::clone(&old))?;
    let mut snapshot = store.snapshot().await?;
    let head = *snapshot.head();
    let next = key.successor(head.audit_sequence, !how.renew_answers);
    let new = Arc::new(next.keyring());
    let mut turning = Turning {
        old: &old,
        new: &new,
        renew_answers: how.renew_answers,
        done: Resealed::default(),
        pieces: Vec::new(),
        chain: Head::new(&old),
    };
    if how.dry_run {
        turning.all(&mut *snapshot, |_| Ok(())).await?;
        return Ok(Rekeyed {
            resealed: Some(turning.done),
            key_file: files.next,
            former: None,
        });
    }

    // A key file of a run that was cut off before anything was in place: nothing is sealed with it.
    remove(&files.next)?;
    next.write(&files.next)?;
    let given = replace::give_like(&files.next, &how.key_file);
    given.map_err(|error| RekeyError::Io(files.next.clone(), error))?;
    let at = |error| RekeyError::Io(how.store.clone(), error);
    let replacement = Replacement::begin(&how.store, BUILDING).map_err(at)?;
    let built = build(how, &mut turning, &mut *snapshot, replacement.folder()).await;
    drop(snapshot);
    let closed = store.close().await;
    // Audit records may have gone to the archive meanwhile, which changes nothing of what was read.
    let revision = store.status().revision;
    drop(store);
    let done = turning.done;
    let put = || {
        built?;
        closed?;
        let _new = Hold::take(replacement.folder())?;
        let _old = Hold::take(&how.store)?;
        if SledStore::revision(&how.store)? != revision {
            return Err(RekeyError::Unlike("the store has changed meanwhile"));
        }
        let no_exchange = |error| RekeyError::NoExchange(how.store.clone(), error);
        let former_store = replacement.exchange().map_err(no_exchange)?;
        Ok((former_store, files.swap_keys()?))
    };
    let former = put();
    if former.is_err() && !files.exchanged(&key) {
        replacement.abandon();
        remove(&files.next)?;
    }
    Ok(Rekeyed {
        resealed: Some(done),
        key_file: files.in_place(),
        former: Some(former?),
    })
}

/// Writes the new store, and reads it back.
async fn build(
    how: &Rekeying,
    turning: &mut Turning<'_>,
    snapshot: &mut dyn Snapshot,
    folder: &Path,
) -> Result<(), RekeyError> {
    let head = *snapshot.head();
    let mut loader = Loader::create(folder, turning.new)?;
    let mut records = 0u64;
    turning
        .all(snapshot, |entry| {
            records += u64::from(matches!(entry, Entry::Record(_)));
            loader.entry(entry)
        })
        .await?;
    let note = turning.note(how);
    loader.finish(head, turning.new, Some(&note))?;

    let store = SledStore::open(folder, CACHE, Arc::clone(turning.new))?;
    let mut written = store.snapshot().await?;
    let mut check = Turning {
        old: turning.new,
        new: turning.new,
        renew_answers: false,
        done: Resealed::default(),
        pieces: Vec::new(),
        chain: Head::new(turning.new),
    };
    let mut found = 0u64;
    check
        .all(&mut *written, |entry| {
            found += u64::from(matches!(entry, Entry::Record(_)));
            Ok(())
        })
        .await?;
    drop(written);
    store.close().await?;
    if check.done != turning.done || found != records {
        return Err(RekeyError::Unlike("records are missing"));
    }
    Ok(())
}

/// Turns a store's entries from one key to another.
struct Turning<'a> {
    old: &'a Arc<Keyring>,
    new: &'a Arc<Keyring>,
    renew_answers: bool,
    done: Resealed,
    /// Of one version of the policies, which are sealed as a whole.
    pieces: Vec<Record>,
    chain: Head,
}

impl Turning<'_> {
    async fn all(
        &mut self,
        snapshot: &mut dyn Snapshot,
        mut each: impl FnMut(Entry) -> Result<(), StoreError>,
    ) -> Result<(), RekeyError> {
        let each: &mut Each<'_> = &mut each;
        loop {
            let piece = snapshot.next(PIECE).await?;
            if piece.is_empty() {
                break;
            }
            for entry in piece {
                if let Some(entry) = self.turn(entry, each)? {
                    each(entry)?;
                }
            }
        }
        self.policy(each)?;
        let head = snapshot.head();
        if (self.chain.audit_sequence, self.chain.audit_link) == (head.audit_sequence, head.audit_link) {
            Ok(())
        } else {
            Err(RekeyError::Chain(self.chain.audit_sequence + 1))
        }
    }

    /// Turns an entry; policies go to `each` once all of a version is there.
    fn turn(&mut self, entry: Entry, each: &mut Each<'_>) -> Result<Option<Entry>, RekeyError> {
        let record = match entry {
            Entry::Audit(record) if self.chain.follow(self.old, &record) => return Ok(Some(Entry::Audit(record))),
            Entry::Audit(record) => return Err(RekeyError::Chain(record.sequence)),
            Entry::Record(record) => record,
        };
        if record.key.as_octets() == PRUNED {
            return self.anchor(record).map(|record| Some(Entry::Record(record)));
        }
        match bond(&record.key) {
            Some(Bond::None) => Ok(Some(Entry::Record(record))),
            Some(Bond::Dialog) => Ok(None),
            Some(Bond::PolicyText) => {
                // Pieces of a version follow each other.
                let number = |record: &Record| record.key.policy_text_number();
                if self.pieces.last().is_some_and(|last| number(last) != number(&record)) {
                    self.policy(each)?;
                }
                self.pieces.push(record);
                Ok(None)
            }
            Some(Bond::Person) => self.person(record).map(|record| Some(Entry::Record(record))),
            None => Err(RekeyError::UnknownRecord(name(&record.key))),
        }
    }

    /// What retention has left of the audit, signed anew: the chain goes on from there.
    fn anchor(&mut self, record: Record) -> Result<Record, RekeyError> {
        let ours = |anchor: &Anchor| self.chain.audit_sequence == 0 && anchor.is_signed_by(&PublicKey::of(self.old));
        let Some(anchor) = Anchor::decode(&record.value).filter(ours) else {
            return Err(RekeyError::Chain(1));
        };
        self.chain.audit_sequence = anchor.last.sequence;
        self.chain.audit_link = anchor.last.link;
        let again = Anchor::sign(self.new, anchor.last, anchor.latest, anchor.at, anchor.by);
        Ok(Record {
            value: again.encode(),
            ..record
        })
    }

    /// Seals the files of a version anew, in pieces of the same lengths.
    fn policy(&mut self, each: &mut Each<'_>) -> Result<(), RekeyError> {
        let pieces = std::mem::take(&mut self.pieces);
        let Some(first) = pieces.first() else { return Ok(()) };
        let number = first.key.policy_text_number();
        let place = Key::policy_text_place(number.ok_or_else(|| RekeyError::UnknownRecord(name(&first.key)))?);
        let sealed = pieces.iter().map(|piece| &piece.value[..]).collect::<Vec<_>>().concat();
        let failed = |error: KeyError| RekeyError::Record(name(&first.key), Box::new(error));
        let again = self
            .new
            .seal(&place, self.old.open(&place, &sealed).map_err(failed)?.expose());
        let mut rest = &again[..];
        for piece in &pieces {
            let (value, after) = rest.split_at_checked(piece.value.len()).unwrap_or((rest, &[]));
            rest = after;
            each(Entry::Record(Record {
                value: value.to_vec(),
                ..piece.clone()
            }))?;
        }
        self.done.policies += 1;
        Ok(())
    }

    fn person(&mut self, record: Record) -> Result<Record, RekeyError> {
        let failed = |error| RekeyError::Record(name(&record.key), error);
        let user = record.key.user_key();
        let user = user.ok_or_else(|| RekeyError::UnknownRecord(name(&record.key)))?;
        let mut person: UserRecord = decode(&record.value).map_err(|error| failed(Box::new(error)))?;
        let resealed = person.reseal(&user, self.old, self.new);
        self.done += resealed.map_err(|error| failed(Box::new(error)))?;
        if self.renew_answers {
            person.outdate_answers();
        }
        Ok(Record {
            value: encode(&person),
            ..record
        })
    }

    /// The first audit record under the new key.
    fn note(&self, how: &Rekeying) -> AuditEvent {
        let [old, new] = [self.old, self.new].map(|key| data_encoding::HEXLOWER.encode(&key.fingerprint()));
        let answers = if how.renew_answers {
            "; answers are to be defined anew"
        } else {
            ""
        };
        let done = self.done;
        AuditEvent {
            at: how.now,
            action: "rekey".into(),
            actor: how.by.clone(),
            target: None,
            via: "cli".into(),
            client: None,
            source: None,
            rule: None,
            factors: Vec::new(),
            outcome: Outcome::Accept,
            reason: Some(format!(
                "from key {old} to {new}: {} people, {} seeds, {} passcodes, {} questions, {} versions of the policies{answers}",
                done.people, done.seeds, done.passcodes, done.questions, done.policies
            )),
            context: None,
        }
    }
}

/// Takes what was turned.
type Each<'a> = dyn FnMut(Entry) -> Result<(), StoreError> + 'a;

fn name(key: &Key) -> String {
    String::from_utf8_lossy(key.as_octets()).into_owned()
}

/// Where the files of a run are.
struct Files {
    store: PathBuf,
    key: PathBuf,
    /// The new key file before it is in place.
    next: PathBuf,
    former_store: PathBuf,
    /// Absent where the operator puts the new key file in place.
    former_key: Option<PathBuf>,
}

impl Files {
    fn of(how: &Rekeying) -> Self {
        let own = how.into.is_none();
        Self {
            store: how.store.clone(),
            key: how.key_file.clone(),
            next: how.into.clone().unwrap_or_else(|| next_key_file(&how.key_file)),
            former_store: replace::former(&how.store),
            former_key: own.then(|| replace::former(&how.key_file)),
        }
    }

    fn in_place(&self) -> PathBuf {
        if self.former_key.is_some() {
            &self.key
        } else {
            &self.next
        }
        .clone()
    }

    /// Finishes a run that was cut off after the new store was in place.
    fn finish(&self, key: &KeyFile) -> Result<Option<Rekeyed>, RekeyError> {
        if !self.next.exists() {
            return Ok(None);
        }
        let next = KeyFile::read(&self.next)?;
        // Only the last renaming was left to do.
        let swapped = self.former_key.is_some() && key.follows(&next);
        if !swapped && !self.exchanged(key) {
            return Ok(None);
        }
        let _hold = Hold::take(&self.store)?;
        let building = replace::beside(&self.store, BUILDING);
        if building.exists() {
            let set_aside = replace::set_aside(&building, &self.store);
            set_aside.map_err(|error| RekeyError::Io(building, error))?;
        }
        let former_key = if swapped {
            self.set_key_aside()?
        } else {
            self.swap_keys()?
        };
        Ok(Some(Rekeyed {
            resealed: None,
            key_file: self.in_place(),
            former: Some((self.former_store.clone(), former_key)),
        }))
    }

    /// Whether the store in place is written with the next key.
    fn exchanged(&self, key: &KeyFile) -> bool {
        let Ok(next) = KeyFile::read(&self.next) else {
            return false;
        };
        if !next.follows(key) {
            return false;
        }
        SledStore::is_of(&self.store, &Arc::new(next.keyring())).is_ok_and(|right| right)
    }

    fn swap_keys(&self) -> Result<Option<PathBuf>, RekeyError> {
        if self.former_key.is_none() {
            return Ok(None);
        }
        let at = |error| RekeyError::Io(self.key.clone(), error);
        replace::exchange(&self.next, &self.key).map_err(at)?;
        super::sled::sync_folder(replace::parent(&self.key)).map_err(at)?;
        self.set_key_aside()
    }

    fn set_key_aside(&self) -> Result<Option<PathBuf>, RekeyError> {
        let at = |error| RekeyError::Io(self.key.clone(), error);
        replace::set_aside(&self.next, &self.key).map(Some).map_err(at)
    }
}

/// Where the new key file is before it is in place.
pub fn next_key_file(key_file: &Path) -> PathBuf {
    replace::beside(key_file, ".next")
}

fn remove(path: &Path) -> Result<(), RekeyError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RekeyError::Io(path.to_owned(), error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a store that is being written is called besides its place.
const BUILDING: &str = ".rekeying";

/// Memory for the stores' pages, in octets.
const CACHE: u64 = 64 << 20;

/// How many entries are read together.
const PIECE: usize = 512;
