//! The words that records are found by.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::super::AuditRecord;
use crate::clock::Timestamp;
use crate::engine::event::AuditEvent;
use crate::keyring::Keyring;

/// What a word was said as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// Who did it.
    Actor = 1,
    /// To whom it was done.
    Target = 2,
    /// The RADIUS client or LDAP listener.
    Client = 3,
    /// The action, or the beginning of it before a dot.
    Action = 4,
    /// What came of it.
    Outcome = 5,
    /// The policy rule.
    Rule = 6,
    /// The network source, or a network it lies in.
    Source = 7,
    /// The protocol, or what it is called before a slash.
    Via = 8,
}

/// A word, hashed under the key file so that an index tells no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Term(pub(super) u64);

impl Term {
    /// The term of a word in a field. Words are alike whatever the case of their ASCII letters.
    pub fn of(keyring: &Keyring, field: Field, word: &str) -> Self {
        Self::hash(keyring, &key(field, word.as_bytes()))
    }

    /// The term that all addresses of a network have, and some more addresses may have: an index knows a few
    /// lengths of prefixes.
    pub fn of_network(keyring: &Keyring, network: IpNet) -> Option<Self> {
        let lengths = prefixes(network.addr());
        let length = lengths.into_iter().find(|length| *length <= network.prefix_len())?;
        Some(Self::hash(keyring, &key(Field::Source, &cut(network.addr(), length))))
    }

    fn hash(keyring: &Keyring, key: &[u8]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = keyring.digest_index(&[b"term", key]);
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// Gives the terms of records, and remembers what it has hashed.
#[derive(Debug, Default)]
pub(crate) struct Terms {
    known: HashMap<Vec<u8>, Term>,
}

impl Terms {
    /// The moment of a record and all its terms. A record whose text does not read has none, and the moment zero.
    pub(crate) fn of(&mut self, keyring: &Keyring, record: &AuditRecord, into: &mut Vec<Term>) -> Timestamp {
        into.clear();
        let Ok(event) = record.event() else {
            return Timestamp::default();
        };
        if self.known.len() > MOST_KNOWN {
            self.known.clear();
        }
        each(&event, |field, word| {
            let key = key(field, word);
            let term = match self.known.get(&key) {
                Some(term) => *term,
                None => {
                    let term = Term::hash(keyring, &key);
                    self.known.insert(key, term);
                    term
                }
            };
            into.push(term);
        });
        into.sort_unstable();
        into.dedup();
        event.at
    }
}

fn key(field: Field, word: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(word.len() + 1);
    key.push(field as u8);
    key.extend(word.iter().map(u8::to_ascii_lowercase));
    key
}

fn each(event: &AuditEvent, mut give: impl FnMut(Field, &[u8])) {
    give(Field::Actor, event.actor.as_bytes());
    if let Some(target) = &event.target {
        give(Field::Target, target.as_bytes());
    }
    if let Some(client) = &event.client {
        give(Field::Client, client.as_bytes());
    }
    if let Some(rule) = &event.rule {
        give(Field::Rule, rule.as_bytes());
    }
    give(Field::Outcome, event.outcome.to_string().as_bytes());
    for beginning in beginnings(&event.action, '.') {
        give(Field::Action, beginning.as_bytes());
    }
    for beginning in beginnings(&event.via, '/') {
        give(Field::Via, beginning.as_bytes());
    }
    if let Some(source) = event.source {
        for length in prefixes(source) {
            give(Field::Source, &cut(source, length));
        }
    }
}

/// A text and what stands before each of its separators.
fn beginnings(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let before = text.match_indices(separator).filter_map(|(at, _)| text.get(..at));
    before.chain([text])
}

/// Lengths of prefixes that are indexed, longest first.
fn prefixes(address: IpAddr) -> [u8; 4] {
    match address {
        IpAddr::V4(_) => [32, 24, 16, 8],
        IpAddr::V6(_) => [128, 64, 48, 32],
    }
}

/// The network of an address, with the length of its prefix. In hexadecimal, because words may change case.
fn cut(address: IpAddr, length: u8) -> Vec<u8> {
    let mut octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    octets.truncate(usize::from(length / 8));
    format!("{}/{length}", data_encoding::HEXLOWER.encode(&octets)).into_bytes()
}

/// How many terms are remembered before it is begun anew.
const MOST_KNOWN: usize = 500_000;

/// What to look for: every set of terms must have one that the record has, and the moment must fit. What it finds
/// may hold more than was asked for; it leaves nothing out.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// One of each must be there.
    pub all: Vec<Vec<Term>>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
}

/// A set of small numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    pub(crate) fn empty(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    pub(crate) fn insert(&mut self, number: usize) {
        if let Some(word) = self.0.get_mut(number / 64) {
            *word |= 1 << (number % 64);
        }
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.0
            .get(number / 64)
            .is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Whether anything from `first` to before `end` is in it.
    pub(crate) fn meets(&self, first: usize, end: usize) -> bool {
        let mut at = first;
        while at < end {
            let word = self.0.get(at / 64).copied().unwrap_or(0) >> (at % 64);
            let here = (64 - at % 64).min(end - at);
            let mask = if here == 64 { u64::MAX } else { (1 << here) - 1 };
            if word & mask != 0 {
                return true;
            }
            at += here;
        }
        false
    }

    pub(crate) fn and(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// Takes in a set written by [`Bits::octets`].
    pub(super) fn or_octets(&mut self, octets: &[u8]) {
        for (word, octets) in self.0.iter_mut().zip(octets.as_chunks().0) {
            *word |= u64::from_be_bytes(*octets);
        }
    }

    pub(super) fn octets(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_be_bytes()).collect()
    }
}

impl Query {
    /// Those of `count` records that may match; `None` for all of them. `look_up` adds the records that have a term.
    pub(crate) fn candidates<E>(
        &self,
        count: usize,
        mut look_up: impl FnMut(Term, &mut Bits) -> Result<(), E>,
    ) -> Result<Option<Bits>, E> {
        let mut found: Option<Bits> = None;
        for any in &self.all {
            let mut bits = Bits::empty(count);
            for term in any {
                look_up(*term, &mut bits)?;
            }
            if let Some(found) = &found {
                bits.and(found);
            }
            let none = bits.is_empty();
            found = Some(bits);
            if none {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits() {
        let mut bits = Bits::empty(200);
        for number in [0, 63, 64, 199] {
            bits.insert(number);
        }
        assert!(bits.contains(63) && !bits.contains(62) && !bits.contains(1000));
        for (first, end, expected) in [
            (1, 63, false),
            (1, 64, true),
            (65, 199, false),
            (65, 200, true),
            (5, 5, false),
            (0, 1, true),
        ] {
            assert_eq!(bits.meets(first, end), expected, "{first}..{end}");
        }
        let mut other = Bits::empty(200);
        other.or_octets(&bits.octets());
        assert_eq!(other, bits);
        other.and(&Bits::empty(200));
        assert!(other.is_empty());
    }

    #[test]
    fn a_network_is_found_by_the_longest_prefix_that_is_indexed() {
        let keyring = Keyring::from_root(&[1; 32]);
        let term = |text: &str| Term::of_network(&keyring, text.parse().unwrap());
        let has = |address: &str, network: &str| {
            let address: IpAddr = address.parse().unwrap();
            let terms =
                prefixes(address).map(|length| Term::hash(&keyring, &key(Field::Source, &cut(address, length))));
            terms.contains(&term(network).unwrap())
        };
        assert!(has("10.1.2.3", "10.1.2.3/32"));
        assert!(has("10.1.2.3", "10.1.2.0/25"), "a superset is found");
        assert!(has("10.1.2.3", "10.1.0.0/20"));
        assert!(has("10.1.2.3", "10.0.0.0/8"));
        assert!(!has("11.1.2.3", "10.0.0.0/8"));
        assert!(has("2001:db8::1", "2001:db8::/32"));
        assert!(has("2001:db8::1", "2001:db8::1/128"));
        assert_eq!(term("0.0.0.0/0"), None);
    }
}
