//! How a group lies in the journal.
//!
//! | octets | meaning |
//! | --- | --- |
//! | 16 | [`MAGIC`] |
//! | 4 | CRC-32 of all that follows, padding excluded |
//! | 4 | length of the body |
//! | 8 | which use of the file this is: a random number |
//! | 8, 8 | first and last revision of the group |
//! | 4, 4 | how many slots and audit records there are |
//! | 68 | the head after the group |
//! | each slot | length of the key (u16), of the octets (u32, [`REMOVED`] for none), both |
//! | each audit record | link (32), length (u32), body |
//!
//! The body begins after the revisions; numbers are big-endian. Frames begin on pages, so that a torn write
//! never touches one that was acknowledged.

use ::sled::IVec;

use super::super::AuditRecord;
use super::format;
use super::group::{Group, Slot};

/// What frames begin on, in octets.
pub(super) const PAGE: usize = 4096;

/// A frame that was read and is whole.
#[derive(Debug)]
pub(super) struct Frame {
    /// First revision of the group; the last one is in its head.
    pub(super) first: u64,
    /// What it changes.
    pub(super) group: Group,
}

/// Writes a group as a frame into `buffer`, padded to whole pages; what was there is lost.
pub(super) fn encode(buffer: &mut Vec<u8>, use_id: u64, first: u64, group: &Group) {
    buffer.clear();
    buffer.extend_from_slice(MAGIC);
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&use_id.to_be_bytes());
    buffer.extend_from_slice(&first.to_be_bytes());
    buffer.extend_from_slice(&group.head.revision.to_be_bytes());
    put_length(buffer, group.slots.len());
    put_length(buffer, group.audit.len());
    buffer.extend_from_slice(&format::encode_head(&group.head));
    for (key, slot) in &group.slots {
        let length = u16::try_from(key.len()).unwrap_or(u16::MAX);
        buffer.extend_from_slice(&length.to_be_bytes());
        match &slot.octets {
            Some(octets) => put_length(buffer, octets.len()),
            None => buffer.extend_from_slice(&REMOVED.to_be_bytes()),
        }
        buffer.extend_from_slice(key);
        buffer.extend_from_slice(slot.octets.as_deref().unwrap_or_default());
    }
    for record in &group.audit {
        buffer.extend_from_slice(&record.link);
        put_length(buffer, record.body.len());
        buffer.extend_from_slice(&record.body);
    }
    let body = u32::try_from(buffer.len() - HEADER_OCTETS).unwrap_or(u32::MAX);
    fill(buffer, SUM_END, body);
    let sum = crc32fast::hash(buffer.get(SUM_END..).unwrap_or_default());
    fill(buffer, MAGIC.len(), sum);
    buffer.resize(buffer.len().next_multiple_of(PAGE), 0);
}

/// Which use of the file the frame at the beginning of `octets` says it is of.
pub(super) fn use_id(octets: &[u8]) -> Option<u64> {
    let (id, _) = octets.strip_prefix(MAGIC)?.get(8..)?.split_first_chunk()?;
    Some(u64::from_be_bytes(*id))
}

/// Reads the frame at the beginning of `octets`, and how many octets it takes; `None` when there is no
/// whole one.
pub(super) fn decode(octets: &[u8]) -> Option<(Frame, usize)> {
    let mut reader = Reader(octets.strip_prefix(MAGIC)?);
    let sum = reader.u32()?;
    let covered = reader.0;
    let body = reader.length()?;
    let _use_id = reader.u64()?;
    let first = reader.u64()?;
    let last = reader.u64()?;
    let mut reader = Reader(reader.take(body)?);
    let covered = covered.get(..HEADER_OCTETS - SUM_END + body)?;
    if crc32fast::hash(covered) != sum {
        return None;
    }
    let group = read_group(&mut reader, last)?;
    let whole = (HEADER_OCTETS + body).next_multiple_of(PAGE);
    let right = first <= last && group.head.revision == last && reader.0.is_empty();
    right.then_some((Frame { first, group }, whole))
}

fn read_group(reader: &mut Reader<'_>, last: u64) -> Option<Group> {
    let slots = reader.u32()?;
    let audit = reader.u32()?;
    let head = format::decode_head(reader.take(format::HEAD_OCTETS)?).ok().flatten()?;
    let mut group = Group {
        head,
        ..Group::default()
    };
    for _ in 0..slots {
        let key = usize::from(u16::from_be_bytes(reader.chunk()?));
        let length = reader.u32()?;
        let key = IVec::from(reader.take(key)?);
        let octets = match length {
            REMOVED => None,
            length => Some(IVec::from(reader.take(usize::try_from(length).ok()?)?)),
        };
        group.slots.insert(key, Slot { written: last, octets });
    }
    let before = head.audit_sequence.checked_sub(u64::from(audit))?;
    for sequence in (before + 1)..=head.audit_sequence {
        let link = reader.chunk()?;
        let length = reader.length()?;
        let body = reader.take(length)?.to_vec();
        group.audit.push(AuditRecord { sequence, link, body });
    }
    Some(group)
}

fn put_length(buffer: &mut Vec<u8>, length: usize) {
    buffer.extend_from_slice(&u32::try_from(length).unwrap_or(REMOVED).to_be_bytes());
}

fn fill(buffer: &mut [u8], at: usize, number: u32) {
    if let Some(place) = buffer.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = number.to_be_bytes();
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*chunk)
    }

    fn u32(&mut self) -> Option<u32> {
        self.chunk().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_be_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.u32()?).ok()
    }
}

/// What a frame begins with.
const MAGIC: &[u8; 16] = b"portcullis-jrn-1";

/// Where the sum ends and what it covers begins.
const SUM_END: usize = MAGIC.len() + 4;

/// Octets before the body.
const HEADER_OCTETS: usize = SUM_END + 4 + 8 + 8 + 8;

/// The length that says that a key was removed.
const REMOVED: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Head;

    fn group() -> Group {
        let mut group = Group {
            head: Head {
                revision: 9,
                audit_sequence: 4,
                audit_link: [4; 32],
                fingerprint: [6; 8],
            },
            ..Group::default()
        };
        for (key, octets) in [("u/a", Some(IVec::from(&[1; 5000][..]))), ("u/b", None)] {
            group.slots.insert(IVec::from(key), Slot { written: 9, octets });
        }
        for sequence in 3..=4 {
            group.audit.push(AuditRecord {
                sequence,
                link: [u8::try_from(sequence).unwrap(); 32],
                body: b"{}".to_vec(),
            });
        }
        group
    }

    #[test]
    fn a_frame_round_trips() {
        let mut octets = vec![7; 9];
        encode(&mut octets, 77, 8, &group());
        assert_eq!((octets.len(), use_id(&octets)), (2 * PAGE, Some(77)));
        octets.extend_from_slice(b"what follows");
        let (frame, length) = decode(&octets).unwrap();
        let expected = group();
        assert_eq!((frame.first, frame.group.head, length), (8, expected.head, 2 * PAGE));
        assert_eq!(frame.group.audit, expected.audit);
        assert_eq!(frame.group.slots.len(), 2);
        for (key, slot) in expected.slots {
            assert_eq!(frame.group.slots[&key].octets, slot.octets);
        }
    }

    #[test]
    fn a_frame_with_a_wrong_octet_is_none() {
        let mut whole = Vec::new();
        encode(&mut whole, 77, 8, &group());
        let used = whole.iter().rposition(|octet| *octet != 0).unwrap() + 1;
        for at in 0..used {
            let mut octets = whole.clone();
            octets[at] ^= 0x20;
            assert!(decode(&octets).is_none(), "flipped at {at}");
        }
        for length in [0, 10, 100, PAGE, used - 1] {
            assert!(decode(&whole[..length]).is_none(), "cut at {length}");
        }
    }
}
