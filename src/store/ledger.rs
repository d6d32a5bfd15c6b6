//! What every store does alike: counting revisions, linking the audit chain, checking a batch's limits.

use super::{AuditRecord, StoreError};
use crate::clock::Timestamp;
use crate::engine::batch::{Batch, Change, Key};
use crate::keyring::Keyring;

/// Where a store stands: its last revision and the end of its audit chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Revision of the last applied batch; zero in a new store.
    pub revision: u64,
    /// Sequence number of the last audit record; zero before the first.
    pub audit_sequence: u64,
    /// Link of the last audit record; zeros before the first.
    pub audit_link: [u8; 32],
    /// [`Keyring::fingerprint`] of the key file the store was written with.
    pub fingerprint: [u8; 8],
}

impl Head {
    /// The head of a store in which nothing has happened.
    pub(super) fn new(keyring: &Keyring) -> Self {
        Self {
            fingerprint: keyring.fingerprint(),
            ..Self::default()
        }
    }

    /// Appends an audit record to the chain.
    pub(super) fn append(&mut self, keyring: &Keyring, body: Vec<u8>) -> AuditRecord {
        self.audit_sequence += 1;
        self.audit_link = keyring.audit_link(&self.audit_link, self.audit_sequence, &body);
        AuditRecord {
            sequence: self.audit_sequence,
            link: self.audit_link,
            body,
        }
    }

    /// Takes a record that was linked before as the next of the chain; false when it does not follow.
    pub(super) fn follow(&mut self, keyring: &Keyring, record: &AuditRecord) -> bool {
        let sequence = self.audit_sequence + 1;
        let link = keyring.audit_link(&self.audit_link, sequence, &record.body);
        let follows = record.sequence == sequence && record.link == link;
        if follows {
            self.audit_sequence = sequence;
            self.audit_link = link;
        }
        follows
    }
}

/// Longest value a batch may write, in octets.
pub(super) const MAX_VALUE_OCTETS: usize = 60_000;

/// Longest audit record, in octets of JSON: what a value takes besides its link and length.
pub(super) const MAX_AUDIT_OCTETS: usize = MAX_VALUE_OCTETS - 64;

/// Serialises a batch's audit events after checking the batch against the limits of every store.
pub(super) fn check(batch: &Batch) -> Result<Vec<Vec<u8>>, StoreError> {
    for (key, change) in &batch.write {
        let octets = key.as_octets();
        if octets.is_empty() || octets.len() > Key::MAX_OCTETS {
            return Err(StoreError(format!(
                "a key of {} octets cannot be written",
                octets.len()
            )));
        }
        if own(octets) {
            return Err(StoreError("keys under a/ and m/ belong to the store".into()));
        }
        if let Change::Put(value, _) = change
            && value.len() > MAX_VALUE_OCTETS
        {
            return Err(StoreError(format!("a value of {} octets is too long", value.len())));
        }
    }
    batch
        .audit
        .iter()
        .map(|event| {
            let body = serde_json::to_vec(event)
                .map_err(|error| StoreError(format!("an audit record cannot be serialised: {error}")))?;
            if body.len() > MAX_AUDIT_OCTETS {
                return Err(StoreError(format!(
                    "an audit record of {} octets is too long",
                    body.len()
                )));
            }
            Ok(body)
        })
        .collect()
}

/// Whether a key belongs to the store: nobody else reads or writes it.
pub(super) fn own(key: &[u8]) -> bool {
    key.starts_with(b"a/") || key.starts_with(b"m/")
}

/// Whether something that expires then has expired by `now`.
pub(super) fn expired(expires: Option<Timestamp>, now: Timestamp) -> bool {
    expires.is_some_and(|moment| moment <= now)
}

/// The last key of a prefix's range is below this; `None` when there is no key above all of them.
pub(super) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_its_successor() {
        assert_eq!(after_prefix(b"u/"), Some(b"u0".to_vec()));
        assert_eq!(after_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(after_prefix(b"\xff"), None);
    }

    #[test]
    fn a_chain_accepts_its_own_records_only() {
        let keyring = Keyring::from_root(&[1; 32]);
        let mut written = Head::new(&keyring);
        let records: Vec<_> = ["one", "two"].map(|body| written.append(&keyring, body.into())).into();
        let mut read = Head::new(&keyring);
        assert!(!read.follow(&keyring, &records[1]));
        assert!(read.follow(&keyring, &records[0]));
        let mut altered = records[1].clone();
        altered.body[0] ^= 1;
        assert!(!read.follow(&keyring, &altered));
        assert!(read.follow(&keyring, &records[1]));
        assert_eq!(read, written);
    }
}
