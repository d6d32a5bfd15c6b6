//! Reading an export. Nothing in the file is believed before its checksum was seen.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use ring::digest;

use super::super::archive::seal::{Anchor, PublicKey};
use super::super::ledger::Head;
use super::super::sled::PRUNED;
use super::super::{AuditRecord, Entry, Record, schema};
use super::{AUDIT, END, ExportError, HEADER, MAGIC, MAX_BODY, RECORD, Summary};
use crate::clock::Timestamp;
use crate::engine::batch::{Key, Version};
use crate::keyring::Keyring;

/// Reads a whole export and checks everything that can be checked without the key file.
///
/// # Errors
/// [`ExportError::Io`], [`ExportError::Damaged`], [`ExportError::Format`].
pub fn verify(path: &Path) -> Result<Summary, ExportError> {
    read(path, |_| Ok(()))
}

/// Reads a whole export and checks everything: also that it was made under this key, and that the audit records
/// link up to the head.
///
/// # Errors
/// As [`verify`], and [`ExportError::WrongKey`].
pub fn verify_with(path: &Path, keyring: &Keyring) -> Result<Summary, ExportError> {
    let summary = verify(path)?;
    if summary.head.fingerprint != keyring.fingerprint() {
        return Err(ExportError::WrongKey(path.to_owned()));
    }
    verify_chain(path, keyring)
}

fn verify_chain(path: &Path, keyring: &Keyring) -> Result<Summary, ExportError> {
    let mut chain = Head::new(keyring);
    let mut whole = true;
    let summary = read(path, |entry| {
        match entry {
            Entry::Audit(record) => whole &= chain.follow(keyring, &record),
            // The chain goes on from what retention has left, which nobody can make without the key.
            Entry::Record(record) if record.key.as_octets() == PRUNED => match Anchor::decode(&record.value) {
                Some(anchor) if chain.audit_sequence == 0 && anchor.is_signed_by(&PublicKey::of(keyring)) => {
                    chain.audit_sequence = anchor.last.sequence;
                    chain.audit_link = anchor.last.link;
                }
                Some(_) | None => whole = false,
            },
            Entry::Record(_) => {}
        }
        Ok(())
    })?;
    let ends = (summary.head.audit_sequence, summary.head.audit_link) == (chain.audit_sequence, chain.audit_link);
    if whole && ends {
        Ok(summary)
    } else {
        Err(ExportError::Damaged {
            path: path.to_owned(),
            reason: "the audit chain does not link",
            at: summary.size,
        })
    }
}

/// What an export holds of the audit.
#[derive(Clone, Debug)]
pub enum AuditEntry {
    /// What retention has left; before the first record.
    Anchor(Anchor),
    /// A record.
    Record(AuditRecord),
}

/// Hands on what an export holds of the audit, in order. [`verify`] must have found it whole before.
///
/// # Errors
/// As [`verify`].
pub fn read_audit(path: &Path, mut each: impl FnMut(AuditEntry)) -> Result<Summary, ExportError> {
    read(path, |entry| {
        match entry {
            Entry::Audit(record) => each(AuditEntry::Record(record)),
            Entry::Record(record) if record.key.as_octets() == PRUNED => {
                each(AuditEntry::Anchor(Anchor::decode(&record.value).ok_or_else(|| {
                    ExportError::Damaged {
                        path: path.to_owned(),
                        reason: "what retention has left does not read",
                        at: 0,
                    }
                })?));
            }
            Entry::Record(_) => {}
        }
        Ok(())
    })
}

/// Reads a whole export and hands every entry on. Only the final answer tells whether they were right:
/// the caller must have verified the file before it acts on them.
pub(super) fn read(
    path: &Path,
    mut each: impl FnMut(Entry) -> Result<(), ExportError>,
) -> Result<Summary, ExportError> {
    let mut frames = Frames::open(path)?;
    let (schema, head) = frames.header()?;
    let mut summary = Summary {
        head,
        schema,
        records: 0,
        audit: 0,
        size: 0,
    };
    let mut gone = 0;
    loop {
        let start = frames.at;
        let kind = frames.next()?;
        let body = Body(&frames.body);
        let entry = match kind {
            RECORD => body.record().map(Entry::Record),
            AUDIT => body.audit().map(Entry::Audit),
            END => break,
            _ => None,
        };
        match &entry {
            Some(Entry::Record(_)) => summary.records += 1,
            Some(Entry::Audit(_)) => summary.audit += 1,
            None => return Err(frames.damaged("a record does not read", start)),
        }
        if let Some(Entry::Record(record)) = &entry
            && record.key.as_octets() == PRUNED
        {
            gone = Anchor::decode(&record.value).map_or(0, |anchor| anchor.last.sequence);
        }
        if let Some(entry) = entry {
            each(entry)?;
        }
    }
    let counts = [summary.records.to_be_bytes(), summary.audit.to_be_bytes()].concat();
    if frames.body != counts || summary.audit.checked_add(gone) != Some(head.audit_sequence) {
        return Err(frames.damaged("records are missing", frames.at));
    }
    frames.end()?;
    summary.size = frames.at;
    Ok(summary)
}

/// The frames of an export, one after the other.
struct Frames {
    path: PathBuf,
    file: BufReader<File>,
    hash: digest::Context,
    at: u64,
    body: Vec<u8>,
}

impl Frames {
    fn open(path: &Path) -> Result<Self, ExportError> {
        let file = File::open(path).map_err(|error| ExportError::Io(path.to_owned(), error))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(256 * 1024, file),
            hash: digest::Context::new(&digest::SHA256),
            at: 0,
            body: Vec::new(),
        })
    }

    fn header(&mut self) -> Result<(u32, Head), ExportError> {
        let mut magic = [0; MAGIC.len()];
        self.fill(&mut magic)?;
        if magic != *MAGIC {
            return Err(self.damaged("it is no export", 0));
        }
        let kind = self.next()?;
        let mut body = Body(&self.body);
        let (HEADER, Some(schema)) = (kind, body.number32()) else {
            return Err(self.damaged("its header does not read", self.at));
        };
        if schema::steps(schema).is_err() {
            return Err(ExportError::Format(self.path.clone(), schema));
        }
        body.head()
            .map(|head| (schema, head))
            .ok_or_else(|| self.damaged("its header does not read", self.at))
    }

    /// Reads the next frame into `body` and returns its kind.
    fn next(&mut self) -> Result<u8, ExportError> {
        let start = self.at;
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_BODY {
            return Err(self.damaged("a length is out of range", start));
        }
        let mut kind = [0];
        self.fill(&mut kind)?;
        let mut body = std::mem::take(&mut self.body);
        body.resize(length, 0);
        self.fill(&mut body)?;
        let mut sum = [0; 4];
        self.fill(&mut sum)?;
        let mut expected = crc32fast::Hasher::new();
        expected.update(&kind);
        expected.update(&body);
        self.body = body;
        if u32::from_be_bytes(sum) != expected.finalize() {
            return Err(self.damaged("a checksum is wrong", start));
        }
        let [kind] = kind;
        Ok(kind)
    }

    /// Checks the digest of all before, and that nothing follows it.
    fn end(&mut self) -> Result<(), ExportError> {
        let expected = self.hash.clone().finish();
        let mut digest = [0; digest::SHA256_OUTPUT_LEN];
        self.fill(&mut digest)?;
        if digest != expected.as_ref() {
            return Err(self.damaged("its digest is wrong", self.at));
        }
        match self.file.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.damaged("something follows its end", self.at)),
            Err(error) => Err(ExportError::Io(self.path.clone(), error)),
        }
    }

    fn fill(&mut self, octets: &mut [u8]) -> Result<(), ExportError> {
        self.file.read_exact(octets).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.damaged("it is cut short", self.at)
            } else {
                ExportError::Io(self.path.clone(), error)
            }
        })?;
        self.hash.update(octets);
        self.at += octets.len() as u64;
        Ok(())
    }

    fn damaged(&self, reason: &'static str, at: u64) -> ExportError {
        ExportError::Damaged {
            path: self.path.clone(),
            reason,
            at,
        }
    }
}

/// A frame's body, read from the front.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn number32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn head(&mut self) -> Option<Head> {
        let head = Head {
            revision: self.number()?,
            audit_sequence: self.number()?,
            audit_link: self.array()?,
            fingerprint: self.array()?,
        };
        self.0.is_empty().then_some(head)
    }

    fn record(mut self) -> Option<Record> {
        let version = Version(self.number()?);
        let expires = self.number()?;
        let length = usize::from(self.array().map(u16::from_be_bytes)?);
        let (key, value) = self.0.split_at_checked(length)?;
        Some(Record {
            key: Key::from_octets(key),
            version,
            expires: (expires != 0).then(|| Timestamp::from_millis(expires)),
            value: value.to_vec(),
        })
    }

    fn audit(mut self) -> Option<AuditRecord> {
        Some(AuditRecord {
            sequence: self.number()?,
            link: self.array()?,
            body: self.0.to_vec(),
        })
    }
}
