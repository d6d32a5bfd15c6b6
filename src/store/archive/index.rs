//! The index of a segment: for each term the records that have it.
//!
//! | part | content |
//! | --- | --- |
//! | head | [`MAGIC`], format (u32), SHA-256 of the segment, records (u32), where each of the [`BUCKETS`] buckets begins and the last ends (u32 each), tag (32 octets) |
//! | buckets | terms in order: hash (u64), how many records have it (u32), and up to [`INLINE`] their numbers (u16 each), or for more where these lie (u32) and a tag (8 octets); then the bucket's tag (8 octets) |
//! | lists | numbers of records (u16 each), or from [`DENSE`] on a bit for each record |
//!
//! Every tag is keyed with the key file and covers where its part belongs. So a part that was damaged or altered is
//! found out when it is read, and never passes for "no such record". An index holds nothing that its segment does
//! not: it can be made again.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::Flaw;
use super::seal::Octets;
use super::terms::{Bits, Query, Term};
use crate::keyring::Keyring;

/// Gathers the terms of a segment.
#[derive(Debug, Default)]
pub(super) struct Builder {
    // A map in order, so that the same records make the same file.
    terms: BTreeMap<Term, Vec<u16>>,
}

impl Builder {
    /// Adds a record's terms; `number` counts from zero and grows.
    pub(super) fn add(&mut self, number: u16, terms: &[Term]) {
        for term in terms {
            self.terms.entry(*term).or_default().push(number);
        }
    }

    /// The file.
    pub(super) fn finish(self, keyring: &Keyring, segment: &[u8; 32], count: usize) -> Vec<u8> {
        let mut lists = Vec::new();
        let mut buckets = vec![Vec::new(); BUCKETS];
        for (term, numbers) in &self.terms {
            let Some(bucket) = buckets.get_mut(bucket(*term)) else {
                continue;
            };
            bucket.extend_from_slice(&term.0.to_be_bytes());
            bucket.extend_from_slice(&octets32(numbers.len()));
            if numbers.len() <= INLINE {
                bucket.extend(numbers.iter().flat_map(|number| number.to_be_bytes()));
                continue;
            }
            let list: Vec<u8> = if numbers.len() < DENSE {
                numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
            } else {
                let mut bits = Bits::empty(count);
                numbers.iter().for_each(|number| bits.insert(usize::from(*number)));
                bits.octets()
            };
            bucket.extend_from_slice(&octets32(lists.len()));
            bucket.extend_from_slice(&tag(keyring, &[b"list", segment, &term.0.to_be_bytes(), &list]));
            lists.extend_from_slice(&list);
        }
        for (number, bucket) in (0_u32..).zip(&mut buckets) {
            let tag = tag(keyring, &[b"bucket", segment, &number.to_be_bytes(), bucket]);
            bucket.extend_from_slice(&tag);
        }
        let mut file = [MAGIC, &FORMAT.to_be_bytes()[..], segment, &octets32(count)].concat();
        let mut at = HEAD;
        file.extend_from_slice(&octets32(at));
        for bucket in &buckets {
            at += bucket.len();
            file.extend_from_slice(&octets32(at));
        }
        let tag = keyring.digest_index(&[b"head", &file]);
        file.extend_from_slice(&tag);
        for bucket in buckets {
            file.extend_from_slice(&bucket);
        }
        file.extend_from_slice(&lists);
        file
    }
}

/// An index that is open: its head was read and is right.
#[derive(Debug)]
pub(super) struct Index {
    file: File,
    segment: [u8; 32],
    count: usize,
    /// Where each bucket begins, and the last ends.
    begins: Vec<u32>,
}

impl Index {
    /// Opens the index of the segment with this digest.
    pub(super) fn open(file: File, keyring: &Keyring, segment: &[u8; 32]) -> Result<Self, Flaw> {
        let mut head = vec![0; HEAD];
        file.read_exact_at(&mut head, 0).map_err(Flaw::of)?;
        let (content, written) = head.split_at(HEAD - 32);
        if keyring.digest_index(&[b"head", content]) != written {
            return Err(Flaw::Damaged("its head is not what was written"));
        }
        let parse = || {
            let mut octets = Octets(content);
            let known = octets.take(MAGIC.len())? == MAGIC && octets.number32()? == FORMAT;
            let of: [u8; 32] = octets.array()?;
            let count = usize::try_from(octets.number32()?).ok()?;
            let begins: Option<Vec<u32>> = (0..=BUCKETS).map(|_| octets.number32()).collect();
            (known && of == *segment).then_some((count, begins?))
        };
        let (count, begins) = parse().ok_or(Flaw::Damaged("it belongs to another segment"))?;
        Ok(Self {
            file,
            segment: *segment,
            count,
            begins,
        })
    }

    /// The records that may match; `None` for all.
    pub(super) fn candidates(&self, keyring: &Keyring, query: &Query) -> Result<Option<Bits>, Flaw> {
        query.candidates(self.count, |term, bits| self.look_up(keyring, term, bits))
    }

    /// Checks every tag.
    pub(super) fn check(&self, keyring: &Keyring) -> Result<(), Flaw> {
        for number in 0..BUCKETS {
            let bucket = self.bucket(keyring, number)?;
            let mut entries = Octets(&bucket);
            while !entries.end() {
                let entry = Entry::read(&mut entries).ok_or(UNREADABLE)?;
                if let Place::List(at, tag) = entry.place {
                    self.list(keyring, &entry, at, &tag)?;
                }
            }
        }
        Ok(())
    }

    fn look_up(&self, keyring: &Keyring, term: Term, bits: &mut Bits) -> Result<(), Flaw> {
        let bucket = self.bucket(keyring, bucket(term))?;
        let mut entries = Octets(&bucket);
        while !entries.end() {
            let entry = Entry::read(&mut entries).ok_or(UNREADABLE)?;
            if entry.term < term {
                continue;
            }
            if entry.term > term {
                break;
            }
            match entry.place {
                Place::Here(numbers) => insert(bits, numbers),
                Place::List(at, tag) => {
                    let list = self.list(keyring, &entry, at, &tag)?;
                    if entry.count < DENSE {
                        insert(bits, &list);
                    } else {
                        bits.or_octets(&list);
                    }
                }
            }
            break;
        }
        Ok(())
    }

    fn bucket(&self, keyring: &Keyring, number: usize) -> Result<Vec<u8>, Flaw> {
        let (Some(begin), Some(end)) = (self.begins.get(number), self.begins.get(number + 1)) else {
            return Err(UNREADABLE);
        };
        let length = end.checked_sub(*begin).ok_or(UNREADABLE)?;
        let mut bucket = vec![0; usize::try_from(length).map_err(|_| UNREADABLE)?];
        self.file
            .read_exact_at(&mut bucket, u64::from(*begin))
            .map_err(Flaw::of)?;
        let written = bucket.split_off(bucket.len().checked_sub(TAG).ok_or(UNREADABLE)?);
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        if tag(keyring, &[b"bucket", &self.segment, &number.to_be_bytes(), &bucket]) != *written {
            return Err(Flaw::Damaged("a part of it is not what was written"));
        }
        Ok(bucket)
    }

    fn list(&self, keyring: &Keyring, entry: &Entry<'_>, at: u32, written: &[u8; TAG]) -> Result<Vec<u8>, Flaw> {
        let length = if entry.count < DENSE {
            entry.count * 2
        } else {
            self.count.div_ceil(64) * 8
        };
        let mut list = vec![0; length];
        let begin = self.begins.last().copied().unwrap_or(0);
        self.file
            .read_exact_at(&mut list, u64::from(begin) + u64::from(at))
            .map_err(Flaw::of)?;
        if tag(keyring, &[b"list", &self.segment, &entry.term.0.to_be_bytes(), &list]) != *written {
            return Err(Flaw::Damaged("a part of it is not what was written"));
        }
        Ok(list)
    }
}

struct Entry<'a> {
    term: Term,
    count: usize,
    place: Place<'a>,
}

enum Place<'a> {
    Here(&'a [u8]),
    List(u32, [u8; TAG]),
}

impl<'a> Entry<'a> {
    fn read(octets: &mut Octets<'a>) -> Option<Self> {
        let term = Term(octets.number()?);
        let count = usize::try_from(octets.number32()?).ok()?;
        let place = if count <= INLINE {
            Place::Here(octets.take(count * 2)?)
        } else {
            Place::List(octets.number32()?, octets.array()?)
        };
        Some(Self { term, count, place })
    }
}

fn insert(bits: &mut Bits, numbers: &[u8]) {
    for number in numbers.as_chunks().0 {
        bits.insert(usize::from(u16::from_be_bytes(*number)));
    }
}

/// Terms are spread over buckets by the first bits of their hash, so that buckets are in order as well.
fn bucket(term: Term) -> usize {
    usize::try_from(term.0 >> (64 - BUCKETS.ilog2())).unwrap_or(0)
}

fn tag(keyring: &Keyring, parts: &[&[u8]]) -> [u8; TAG] {
    let [a, b, c, d, e, f, g, h, ..] = keyring.digest_index(parts);
    [a, b, c, d, e, f, g, h]
}

fn octets32(number: usize) -> [u8; 4] {
    // A segment of at most 65,536 records makes far less than 4 GiB of index.
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes()
}

const MAGIC: &[u8; 16] = b"portcullis-index";
const FORMAT: u32 = 1;
const BUCKETS: usize = 1024;
const TAG: usize = 8;
const HEAD: usize = 16 + 4 + 32 + 4 + (BUCKETS + 1) * 4 + 32;

/// Most numbers that stand beside their term.
const INLINE: usize = 128;

/// From how many records on a term has a bit for each record.
const DENSE: usize = 4096;

const UNREADABLE: Flaw = Flaw::Damaged("it does not read");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keyring() -> Keyring {
        Keyring::from_root(&[9; 32])
    }

    fn built() -> Vec<u8> {
        let mut builder = Builder::default();
        for number in 0..10_000_u16 {
            // One term in every record, one in every other, one in every tenth, one in each.
            let mut terms = vec![Term(1 << 62), Term(u64::from(number) << 48 | 7)];
            if number.is_multiple_of(2) {
                terms.push(Term(2 << 62));
            }
            if number.is_multiple_of(10) {
                terms.push(Term(3 << 62));
            }
            terms.sort_unstable();
            builder.add(number, &terms);
        }
        builder.finish(&keyring(), &[1; 32], 10_000)
    }

    fn open(octets: &[u8]) -> Result<Index, Flaw> {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, octets).unwrap();
        Index::open(file, &keyring(), &[1; 32])
    }

    fn count(index: &Index, terms: &[u64]) -> usize {
        let query = Query {
            all: terms.iter().map(|term| vec![Term(*term)]).collect(),
            ..Query::default()
        };
        let bits = index.candidates(&keyring(), &query).unwrap().unwrap();
        (0..10_000).filter(|number| bits.contains(*number)).count()
    }

    #[test]
    fn terms_are_found_alone_and_together() {
        let index = open(&built()).unwrap();
        index.check(&keyring()).unwrap();
        assert_eq!(count(&index, &[1 << 62]), 10_000);
        assert_eq!(count(&index, &[2 << 62]), 5000);
        assert_eq!(count(&index, &[2 << 62, 3 << 62]), 1000);
        assert_eq!(count(&index, &[2 << 62, 4321 << 48 | 7]), 0);
        assert_eq!(count(&index, &[2 << 62, 4320 << 48 | 7]), 1);
        assert_eq!(count(&index, &[99]), 0);
        assert!(index.candidates(&keyring(), &Query::default()).unwrap().is_none());
    }

    #[test]
    fn an_index_of_another_segment_or_key_is_refused() {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &built()).unwrap();
        assert!(Index::open(file.try_clone().unwrap(), &keyring(), &[2; 32]).is_err());
        assert!(Index::open(file, &Keyring::from_root(&[8; 32]), &[1; 32]).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_never_an_answer(at: prop::sample::Index, bit in 0u8..8) {
            let mut octets = built();
            let at = at.index(octets.len());
            octets[at] ^= 1 << bit;
            let found = open(&octets).and_then(|index| index.check(&keyring()));
            prop_assert!(found.is_err());
        }

        #[test]
        fn a_cut_is_never_an_answer(length: prop::sample::Index) {
            let octets = built();
            let cut = &octets[..length.index(octets.len())];
            let found = open(cut).and_then(|index| index.check(&keyring()));
            prop_assert!(found.is_err());
        }
    }
}
