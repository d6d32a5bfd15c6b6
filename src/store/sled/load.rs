//! Filling a new database with what an export holds.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::sled::IVec;

use super::super::ledger::Head;
use super::super::{AuditRecord, Entry, Record, StoreError, ledger};
use super::format;
use super::open::{self, OpenError};
use super::shared::guarded;
use super::tip::Tip;
use crate::engine::batch::Batch;
use crate::engine::event::AuditEvent;
use crate::keyring::Keyring;

/// A database being filled. It counts as a store after [`Loader::finish`] only.
pub(in super::super) struct Loader {
    db: ::sled::Db,
    file: File,
    tip: Tip,
    batch: ::sled::Batch,
    audit: Vec<AuditRecord>,
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
            audit: Vec::new(),
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

    fn record(&mut self, record: Record) -> Result<(), StoreError> {
        let mut octets = format::encode(&record.value, record.expires);
        format::stamp(&mut octets, record.version.0);
        self.octets += octets.len();
        self.batch.insert(IVec::from(record.key.as_octets()), octets);
        self.write_some()
    }

    fn audit(&mut self, record: AuditRecord) -> Result<(), StoreError> {
        self.octets += record.body.len();
        self.audit.push(record);
        self.write_some()
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
        let mut batch = std::mem::take(&mut self.batch);
        format::pack_audit(&std::mem::take(&mut self.audit), |key, value| batch.insert(key, value));
        self.octets = 0;
        guarded(|| self.db.apply_batch(batch))
    }
}

const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// How much is written together.
const BATCH_OCTETS: usize = 512 * 1024;
