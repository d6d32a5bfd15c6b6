//! What is signed about the audit: checkpoints, the seals of segments, and the anchor that retention leaves.
//!
//! The chain itself is keyed, so only whoever has the key file can follow its links. Beside it runs a digest that
//! anybody can follow: SHA-256 over the digest before, the sequence number and the record. Signatures (Ed25519,
//! RFC 8032) cover both, so with the public key alone it can be shown that records are the ones that were there
//! when a statement was signed.

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ring::digest;
use ring::signature::{ED25519, UnparsedPublicKey};

use super::super::AuditRecord;
use crate::clock::Timestamp;
use crate::keyring::Keyring;

/// How far a chain has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Number of the last record; zero before the first.
    pub sequence: u64,
    /// Its link; zeros before the first.
    pub link: [u8; 32],
    /// The digest over all records up to it; zeros before the first.
    pub digest: [u8; 32],
}

impl Position {
    /// Goes on by one record, whose link is taken as it stands.
    pub fn advance(&mut self, record: &AuditRecord) {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.digest);
        context.update(&record.sequence.to_be_bytes());
        context.update(&record.body);
        self.digest.copy_from_slice(context.finish().as_ref());
        self.sequence = record.sequence;
        self.link = record.link;
    }

    /// Goes on by one record if it is the next of the chain under this key; false when it is not.
    pub fn follow(&mut self, keyring: &Keyring, record: &AuditRecord) -> bool {
        let sequence = self.sequence + 1;
        let follows =
            record.sequence == sequence && record.link == keyring.audit_link(&self.link, sequence, &record.body);
        if follows {
            self.advance(record);
        }
        follows
    }

    pub(in super::super) fn encode(&self) -> Vec<u8> {
        [&self.sequence.to_be_bytes()[..], &self.link, &self.digest].concat()
    }

    pub(in super::super) fn decode(octets: &[u8]) -> Option<Self> {
        let mut octets = Octets(octets);
        let position = octets.position()?;
        octets.end().then_some(position)
    }
}

/// A public key that statements are checked with, as printed: 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The public key of an installation.
    pub fn of(keyring: &Keyring) -> Self {
        Self(keyring.audit_public_key())
    }

    /// Reads what [`PublicKey`] prints.
    pub fn parse(text: &str) -> Option<Self> {
        let octets = HEXLOWER.decode(text.trim().to_lowercase().as_bytes()).ok()?;
        octets.try_into().ok().map(Self)
    }

    fn verifies(&self, statement: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(statement, signature)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// A signed statement: at this moment, the chain had got so far.
///
/// As text it is one word, `checkpoint-1:<sequence>:<milliseconds>:<base64url>`, where the last part is link,
/// digest and signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How far the chain had got.
    pub position: Position,
    /// When it was signed.
    pub at: Timestamp,
    signature: [u8; 64],
}

impl Checkpoint {
    /// Signs.
    pub fn sign(keyring: &Keyring, position: Position, at: Timestamp) -> Self {
        let signature = keyring.sign_audit(&Self::statement(&position, at));
        Self {
            position,
            at,
            signature,
        }
    }

    /// Whether the owner of this key signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&Self::statement(&self.position, self.at), &self.signature)
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.trim().strip_prefix(CHECKPOINT)?;
        let (sequence, rest) = rest.split_once(':')?;
        let (at, rest) = rest.split_once(':')?;
        let octets = BASE64URL_NOPAD.decode(rest.as_bytes()).ok()?;
        let mut octets = Octets(&octets);
        let position = Position {
            sequence: sequence.parse().ok()?,
            link: octets.array()?,
            digest: octets.array()?,
        };
        let signature = octets.array()?;
        octets.end().then_some(Self {
            position,
            at: Timestamp::from_millis(at.parse().ok()?),
            signature,
        })
    }

    fn statement(position: &Position, at: Timestamp) -> Vec<u8> {
        [CHECKPOINT.as_bytes(), &position.encode(), &at.millis().to_be_bytes()].concat()
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = [&self.position.link[..], &self.position.digest, &self.signature].concat();
        let (sequence, at) = (self.position.sequence, self.at.millis());
        write!(f, "{CHECKPOINT}{sequence}:{at}:{}", BASE64URL_NOPAD.encode(&octets))
    }
}

/// What a segment says of itself, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// How far the chain had got before its first record.
    pub before: Position,
    /// How far it has got with its last.
    pub last: Position,
    /// When it was sealed.
    pub at: Timestamp,
    /// Moments of its records.
    pub span: Span,
    /// SHA-256 of all of the file before the seal.
    pub content: [u8; 32],
    signature: [u8; 64],
}

impl Seal {
    pub(super) const OCTETS: usize = 72 + 72 + 8 + 16 + 32 + 64;

    pub(super) fn sign(
        keyring: &Keyring,
        before: Position,
        last: Position,
        at: Timestamp,
        span: Span,
        content: [u8; 32],
    ) -> Self {
        let mut seal = Self {
            before,
            last,
            at,
            span,
            content,
            signature: [0; 64],
        };
        seal.signature = keyring.sign_audit(&seal.statement());
        seal
    }

    /// Whether the owner of this key signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&self.statement(), &self.signature)
    }

    /// Number of its first record.
    pub fn first(&self) -> u64 {
        self.before.sequence.saturating_add(1)
    }

    /// How many records it holds.
    pub fn count(&self) -> u64 {
        self.last.sequence.saturating_sub(self.before.sequence)
    }

    fn content(&self) -> Vec<u8> {
        [
            &self.before.encode()[..],
            &self.last.encode(),
            &self.at.millis().to_be_bytes(),
            &self.span.first.millis().to_be_bytes(),
            &self.span.last.millis().to_be_bytes(),
            &self.content,
        ]
        .concat()
    }

    fn statement(&self) -> Vec<u8> {
        [SEAL, &self.content()].concat()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.content()[..], &self.signature].concat()
    }

    pub(super) fn decode(octets: &[u8]) -> Option<Self> {
        let mut octets = Octets(octets);
        let seal = Self {
            before: octets.position()?,
            last: octets.position()?,
            at: Timestamp::from_millis(octets.number()?),
            span: Span {
                first: Timestamp::from_millis(octets.number()?),
                last: Timestamp::from_millis(octets.number()?),
            },
            content: octets.array()?,
            signature: octets.array()?,
        };
        octets.end().then_some(seal)
    }
}

/// The earliest and the latest moment of some records. The clock may have been set in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Earliest.
    pub first: Timestamp,
    /// Latest.
    pub last: Timestamp,
}

impl Span {
    /// Of no records: anything is earlier and later.
    pub(crate) const EMPTY: Self = Self {
        first: Timestamp::from_millis(u64::MAX),
        last: Timestamp::from_millis(0),
    };

    /// Takes in another moment.
    pub(crate) fn include(&mut self, at: Timestamp) {
        self.first = self.first.min(at);
        self.last = self.last.max(at);
    }

    /// Whether anything in it may be from `since` on and before `until`.
    pub(crate) fn meets(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> bool {
        since.is_none_or(|since| self.last >= since) && until.is_none_or(|until| self.first < until)
    }
}

/// What retention leaves of the records it took away, signed: the rest of the chain goes on from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// How far the chain had got with the last record that is gone.
    pub last: Position,
    /// Moment of the latest record that is gone.
    pub latest: Timestamp,
    /// When they were taken away, the last time.
    pub at: Timestamp,
    /// Who did it, the last time.
    pub by: String,
    signature: [u8; 64],
}

impl Anchor {
    /// Signs.
    pub fn sign(keyring: &Keyring, last: Position, latest: Timestamp, at: Timestamp, by: String) -> Self {
        let mut anchor = Self {
            last,
            latest,
            at,
            by,
            signature: [0; 64],
        };
        anchor.signature = keyring.sign_audit(&anchor.statement());
        anchor
    }

    /// Whether the owner of this key signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(&self.statement(), &self.signature)
    }

    fn content(&self) -> Vec<u8> {
        [
            &self.last.encode()[..],
            &self.latest.millis().to_be_bytes(),
            &self.at.millis().to_be_bytes(),
            self.by.as_bytes(),
        ]
        .concat()
    }

    fn statement(&self) -> Vec<u8> {
        [ANCHOR, &self.content()].concat()
    }

    /// The octets that it is stored as.
    pub fn encode(&self) -> Vec<u8> {
        [&self.signature[..], &self.content()].concat()
    }

    /// Reads what [`Anchor::encode`] wrote; `None` for anything else.
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let mut octets = Octets(octets);
        let signature = octets.array()?;
        Some(Self {
            last: octets.position()?,
            latest: Timestamp::from_millis(octets.number()?),
            at: Timestamp::from_millis(octets.number()?),
            by: String::from_utf8(octets.0.to_vec()).ok()?,
            signature,
        })
    }
}

/// Octets read from the front.
pub(super) struct Octets<'a>(pub(super) &'a [u8]);

impl<'a> Octets<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn number32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn end(&self) -> bool {
        self.0.is_empty()
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position {
            sequence: self.number()?,
            link: self.array()?,
            digest: self.array()?,
        })
    }
}

/// What statements begin with, so that none passes for one of another kind.
const CHECKPOINT: &str = "checkpoint-1:";
const SEAL: &[u8] = b"portcullis audit segment 1:";
const ANCHOR: &[u8] = b"portcullis audit anchor 1:";

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring() -> Keyring {
        Keyring::from_root(&[5; 32])
    }

    fn position() -> Position {
        Position {
            sequence: 77,
            link: [1; 32],
            digest: [2; 32],
        }
    }

    #[test]
    fn a_checkpoint_is_one_word_and_nobody_else_can_write_it() {
        let key = PublicKey::of(&keyring());
        assert_eq!(PublicKey::parse(&key.to_string()), Some(key));
        let checkpoint = Checkpoint::sign(&keyring(), position(), Timestamp::from_millis(9));
        let text = checkpoint.to_string();
        assert!(!text.contains(char::is_whitespace), "{text}");
        assert_eq!(Checkpoint::parse(&text).as_ref(), Some(&checkpoint));
        assert!(checkpoint.is_signed_by(&key));
        assert!(!checkpoint.is_signed_by(&PublicKey::of(&Keyring::from_root(&[6; 32]))));
        for (old, new) in [(":77:", ":78:"), (":9:", ":8:")] {
            let other = Checkpoint::parse(&text.replace(old, new)).unwrap();
            assert!(!other.is_signed_by(&key), "{new}");
        }
        for bad in [
            "",
            "checkpoint-1:77",
            "checkpoint-2:77:9:AAAA",
            "checkpoint-1:77:9:AAAA",
        ] {
            assert_eq!(Checkpoint::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn seals_and_anchors_round_trip_signed() {
        let key = PublicKey::of(&keyring());
        let span = Span {
            first: Timestamp::from_secs(1),
            last: Timestamp::from_secs(2),
        };
        let seal = Seal::sign(
            &keyring(),
            Position::default(),
            position(),
            Timestamp::from_secs(3),
            span,
            [4; 32],
        );
        let octets = seal.encode();
        assert_eq!(octets.len(), Seal::OCTETS);
        assert_eq!(Seal::decode(&octets), Some(seal.clone()));
        assert!(seal.is_signed_by(&key));
        let at = Timestamp::from_secs(8);
        let anchor = Anchor::sign(&keyring(), position(), at, at, "uid:0".into());
        assert_eq!(Anchor::decode(&anchor.encode()), Some(anchor.clone()));
        assert!(anchor.is_signed_by(&key));
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            assert!(!Seal::decode(&changed).unwrap().is_signed_by(&key), "octet {at}");
        }
        let octets = anchor.encode();
        for at in 0..octets.len() {
            let mut changed = octets.clone();
            changed[at] ^= 1;
            let forged = Anchor::decode(&changed);
            assert!(forged.is_none_or(|forged| !forged.is_signed_by(&key)), "octet {at}");
        }
    }
}
