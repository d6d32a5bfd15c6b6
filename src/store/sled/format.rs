//! How records lie in the tree.
//!
//! | key | value |
//! | --- | --- |
//! | `m/archive` | as any other: how far the archive goes, [`Position`](super::super::archive::seal::Position) |
//! | `m/head` | schema (u32), revision, audit sequence, audit link, key fingerprint: [`Head`] |
//! | `a/` first sequence number (u64) | audit records that were written together: link, length (u32), body, each |
//! | `m/pruned` | as any other: what retention has left, [`Anchor`](super::super::archive::seal::Anchor) |
//! | any other | version (u64), expiry in milliseconds (u64, zero for none), octets |
//!
//! Numbers are big-endian, so that keys sort by number.

use ::sled::IVec;

use super::super::ledger::{Head, MAX_VALUE_OCTETS};
use super::super::{AuditRecord, schema};
use crate::clock::Timestamp;

/// Key of the head.
pub(super) const HEAD: &[u8] = b"m/head";

/// Key of how far the archive goes.
pub(super) const ARCHIVE: &[u8] = b"m/archive";

/// Key of what retention has left of the audit.
pub(in super::super) const PRUNED: &[u8] = b"m/pruned";

/// Prefix of audit records.
pub(super) const AUDIT: &[u8] = b"a/";

/// The first key that is no audit record's.
pub(super) const AFTER_AUDIT: &[u8] = b"a0";

/// Octets before those of the value.
const HEADER_OCTETS: usize = 16;

/// A record's octets with the version still open, see [`stamp`].
pub(super) fn encode(value: &[u8], expires: Option<Timestamp>) -> Vec<u8> {
    let mut octets = Vec::with_capacity(HEADER_OCTETS + value.len());
    octets.extend_from_slice(&[0; 8]);
    let millis = expires.map_or(0, |moment| moment.millis().max(1));
    octets.extend_from_slice(&millis.to_be_bytes());
    octets.extend_from_slice(value);
    octets
}

/// Writes the version into encoded octets.
pub(super) fn stamp(octets: &mut [u8], version: u64) {
    if let Some(place) = octets.first_chunk_mut() {
        *place = version.to_be_bytes();
    }
}

/// A record's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoded<'a> {
    pub(super) version: u64,
    pub(super) expires: Option<Timestamp>,
    pub(super) value: &'a [u8],
}

/// Reads a record; `None` when its header is cut short.
pub(super) fn decode(octets: &[u8]) -> Option<Decoded<'_>> {
    let (version, rest) = octets.split_first_chunk()?;
    let (expires, value) = rest.split_first_chunk()?;
    let millis = u64::from_be_bytes(*expires);
    Some(Decoded {
        version: u64::from_be_bytes(*version),
        expires: (millis != 0).then(|| Timestamp::from_millis(millis)),
        value,
    })
}

/// The head's octets.
pub(super) fn encode_head(head: &Head) -> Vec<u8> {
    let mut octets = schema::CURRENT.to_be_bytes().to_vec();
    octets.extend_from_slice(&head.revision.to_be_bytes());
    octets.extend_from_slice(&head.audit_sequence.to_be_bytes());
    octets.extend_from_slice(&head.audit_link);
    octets.extend_from_slice(&head.fingerprint);
    octets
}

/// Reads the head: `Err` carries the schema that another version of the program wrote, `None` octets
/// that are no head.
pub(super) fn decode_head(octets: &[u8]) -> Result<Option<Head>, u32> {
    let Some((number, rest)) = octets.split_first_chunk() else {
        return Ok(None);
    };
    let number = u32::from_be_bytes(*number);
    if number != schema::CURRENT {
        return Err(number);
    }
    let parts = || {
        let (revision, rest) = rest.split_first_chunk()?;
        let (audit_sequence, rest) = rest.split_first_chunk()?;
        let (audit_link, rest) = rest.split_first_chunk()?;
        let fingerprint = rest.try_into().ok()?;
        Some(Head {
            revision: u64::from_be_bytes(*revision),
            audit_sequence: u64::from_be_bytes(*audit_sequence),
            audit_link: *audit_link,
            fingerprint,
        })
    };
    Ok(parts())
}

/// Key of the audit records from `sequence` on.
pub(super) fn audit_key(sequence: u64) -> IVec {
    let mut key = [0; 10];
    key[..2].copy_from_slice(AUDIT);
    key[2..].copy_from_slice(&sequence.to_be_bytes());
    IVec::from(&key[..])
}

/// Packs audit records that follow each other into as few values as fit.
pub(super) fn pack_audit(records: &[AuditRecord], mut write: impl FnMut(IVec, IVec)) {
    let mut rest = records;
    while let Some(first) = rest.first() {
        let mut octets = Vec::new();
        while let Some((record, others)) = rest.split_first() {
            let needed = record.link.len() + 4 + record.body.len();
            if !octets.is_empty() && octets.len() + needed > MAX_VALUE_OCTETS {
                break;
            }
            let length = u32::try_from(record.body.len()).unwrap_or(u32::MAX);
            octets.extend_from_slice(&record.link);
            octets.extend_from_slice(&length.to_be_bytes());
            octets.extend_from_slice(&record.body);
            rest = others;
        }
        write(audit_key(first.sequence), IVec::from(octets));
    }
}

/// Unpacks what [`pack_audit`] wrote; `None` when it is cut short.
pub(super) fn unpack_audit(key: &[u8], octets: &[u8]) -> Option<Vec<AuditRecord>> {
    let first = key.strip_prefix(AUDIT)?;
    let mut sequence = u64::from_be_bytes(first.try_into().ok()?);
    let mut rest = octets;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let (link, after) = rest.split_first_chunk()?;
        let (length, after) = after.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (body, after) = after.split_at_checked(length)?;
        records.push(AuditRecord {
            sequence,
            link: *link,
            body: body.to_vec(),
        });
        sequence += 1;
        rest = after;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        let mut octets = encode(b"value", Some(Timestamp::from_millis(77)));
        stamp(&mut octets, 9);
        let decoded = decode(&octets).unwrap();
        assert_eq!(
            (decoded.version, decoded.expires, decoded.value),
            (9, Some(Timestamp::from_millis(77)), &b"value"[..])
        );
        assert!(decode(&octets[..15]).is_none());
        assert_eq!(decode(&encode(b"", None)).unwrap().expires, None);
    }

    #[test]
    fn a_head_round_trips_and_names_a_foreign_schema() {
        let head = Head {
            revision: 3,
            audit_sequence: 2,
            audit_link: [5; 32],
            fingerprint: [6; 8],
        };
        let mut octets = encode_head(&head);
        assert_eq!(decode_head(&octets), Ok(Some(head)));
        assert_eq!(decode_head(&octets[..20]), Ok(None));
        octets[3] = 2;
        assert_eq!(decode_head(&octets), Err(2));
    }

    #[test]
    fn audit_records_are_packed_within_the_limit() {
        let records: Vec<_> = (1..=9)
            .map(|sequence| AuditRecord {
                sequence,
                link: [u8::try_from(sequence).unwrap(); 32],
                body: vec![b'x'; 20_000],
            })
            .collect();
        let mut unpacked = Vec::new();
        pack_audit(&records, |key, value| {
            assert!(value.len() <= MAX_VALUE_OCTETS);
            unpacked.extend(unpack_audit(&key, &value).unwrap());
        });
        assert_eq!(unpacked, records);
        assert!(unpack_audit(&audit_key(1), &[0; 40]).is_none());
        assert!(unpack_audit(&audit_key(1), &[0; 20]).is_none());
    }
}
