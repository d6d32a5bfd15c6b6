//! Filling a new database with what an export holds.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::sled::IVec;

use super::super::archive::seal::Anchor;
use super::super::archive::{Archive, Writer};
use super::super::ledger::Head;
use super::super::{AuditRecord, Entry, Record, StoreError, ledger};
use super::archiver;
use super::format::{self, PRUNED};
use super::open::{self, OpenError};
use super::shared::{guarded, unreadable};
use super::tip::Tip;
use crate::clock;
use crate::engine::batch::Batch;
use crate::engine::event::AuditEvent;
use crate::keyring::Keyring;

/// A database being filled. It counts as a store after [`Loader::finish`] only.
pub(in super::super) struct Loader {
    db: ::sled::Db,
    file: File,
    tip: Tip,
    batch: ::sled::Batch,
    archive: Archive,
    segment: Option<Writer>,
    keyring: Arc<Keyring>,
    octets: usize,
}

impl Loader {
    /// Makes a new database in a folder that does not exist.
    pub(in super::super) fn create(path: &Path, keyring: &Arc<Keyring>) -> Result<Self, OpenError> {
        let opened = open::open(path, CACHE_BYTES, keyring)?;
        Ok(Self {
            db: opened.db,
            file: opened.file,
            tip: opened.tip,
            batch: ::sled::Batch::default(),
            archive: opened.archive,
            segment: None,
            keyring: Arc::clone(keyring),
            octets: 0,
        })
    }

    /// Adds an entry as it was: a record with its version, an audit record with its link.
    pub(in super::super) fn entry(&mut self, entry: Entry) -> Result<(), StoreError> {
        match entry {
            Entry::Record(record) => self.record(record),
            Entry::Audit(record) => self.audit(record),
        }
    }

    /// What retention has left comes before the first audit record.
    fn record(&mut self, record: Record) -> Result<(), StoreError> {
        if record.key.as_octets() == PRUNED {
            let anchor = Anchor::decode(&record.value).ok_or_else(unreadable)?;
            self.archive.go_on_from(anchor);
        }
        let mut octets = format::encode(&record.value, record.expires);
        format::stamp(&mut octets, record.version.0);
        self.octets += octets.len();
        self.batch.insert(IVec::from(record.key.as_octets()), octets);
        self.write_some()
    }

    /// All of them go to the archive.
    fn audit(&mut self, record: AuditRecord) -> Result<(), StoreError> {
        let failed = |error: std::io::Error| StoreError(error.to_string());
        let mut segment = match self.segment.take() {
            Some(segment) if segment.has_room(1) => segment,
            Some(full) => {
                self.seal(full)?;
                self.archive.begin().map_err(failed)?
            }
            None => self.archive.begin().map_err(failed)?,
        };
        if !segment.push(&self.keyring, &record).map_err(failed)? {
            return Err(StoreError(format!("audit record {} does not follow", record.sequence)));
        }
        self.segment = Some(segment);
        Ok(())
    }

    fn seal(&self, segment: Writer) -> Result<(), StoreError> {
        let seal = segment.finish(&self.keyring, clock::now());
        self.archive
            .take_in(&seal.map_err(|error| StoreError(error.to_string()))?);
        Ok(())
    }

    /// Makes everything durable and turns the database into a store that stands at `head`, or one change further if
    /// there is a `note` for its audit.
    pub(in super::super) fn finish(
        mut self,
        mut head: Head,
        keyring: &Keyring,
        note: Option<&AuditEvent>,
    ) -> Result<(), StoreError> {
        if let Some(event) = note {
            let mut batch = Batch::default();
            batch.audit.push(event.clone());
            head.revision += 1;
            head.fingerprint = keyring.fingerprint();
            for body in ledger::check(&batch)? {
                self.audit(head.append(keyring, body))?;
            }
        }
        if let Some(segment) = self.segment.take() {
            self.seal(segment)?;
        }
        if let (key, Some(octets)) = archiver::noted(&self.archive.last()) {
            self.batch.insert(key, octets);
        }
        self.batch.insert(format::HEAD, format::encode_head(&head));
        self.write()?;
        guarded(|| self.db.flush())?;
        self.file
            .sync_all()
            .and_then(|()| self.tip.write(&head))
            .and_then(|()| self.tip.sync())
            .map_err(|error| StoreError(error.to_string()))
    }

    fn write_some(&mut self) -> Result<(), StoreError> {
        if self.octets < BATCH_OCTETS {
            Ok(())
        } else {
            self.write()
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut self.batch);
        self.octets = 0;
        guarded(|| self.db.apply_batch(batch))
    }
}

const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// How much is written together.
const BATCH_OCTETS: usize = 512 * 1024;
