//! What RADIUS proves and hides with a shared secret: Message-Authenticator (RFC 3579 section 3.2),
//! Response Authenticator (RFC 2865 section 3), User-Password (RFC 2865 section 5.2).
//!
//! MD5 is what the protocol prescribes; only HMAC-MD5 still proves anything (CVE-2024-3596).

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use crate::clock;
use crate::radius::packet::{HEADER_LEN, Packet};
use crate::secret::Secret;

/// Octets of an Authenticator field and of a Message-Authenticator.
pub const AUTHENTICATOR_LEN: usize = 16;

/// Most octets of a password (RFC 2865 section 5.2).
pub const MAX_PASSWORD: usize = 128;

const BLOCK: usize = 16;

/// Most octets of a value that is hidden with a salt: with tag, salt, length and padding it fits a vendor's
/// attribute.
const MAX_SALTED: u8 = 239;

/// The first bit of a salt is always set (RFC 2868 section 3.5).
const SALT_MARK: u16 = 0x8000;

/// A secret shared with one client, with the hash states that every packet starts from.
#[derive(Clone)]
pub struct SharedSecret {
    secret: Secret,
    /// HMAC-MD5 with the key already absorbed: saves two blocks of MD5 a packet.
    keyed: Hmac<Md5>,
    /// MD5 with the secret already absorbed, where User-Password's key stream begins.
    absorbed: Md5,
}

/// What a packet's Message-Authenticator is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    Absent,
    /// Made with the shared secret, over exactly this packet.
    Valid,
    /// Not that.
    Invalid,
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Salts of one packet: no two are the same, and the first bit of each is set (RFC 2868 section 3.5).
#[derive(Debug, Default)]
pub struct Salts(Option<u16>);

impl Salts {
    /// Another one.
    pub fn fresh(&mut self) -> [u8; 2] {
        let next = match self.0 {
            Some(last) => last.wrapping_add(1),
            None => u16::from_be_bytes(clock::random()),
        };
        self.0 = Some(next);
        (next | SALT_MARK).to_be_bytes()
    }
}

impl SharedSecret {
    /// Prepares a secret of any length.
    #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
    pub fn new(secret: &Secret) -> Self {
        Self {
            secret: secret.clone(),
            keyed: Hmac::new_from_slice(secret.expose()).expect("a key of any length"),
            absorbed: Md5::new_with_prefix(secret.expose()),
        }
    }

    /// Judges the Message-Authenticator of a request: HMAC-MD5 over the packet with the attribute's
    /// value taken as zeros.
    pub fn request_signature(&self, packet: &Packet<'_>) -> Signature {
        self.signature(packet, packet.authenticator())
    }

    /// Judges the Message-Authenticator of a reply, for which the Authenticator field counts as the
    /// request's.
    pub fn reply_signature(&self, reply: &Packet<'_>, request: &[u8; AUTHENTICATOR_LEN]) -> Signature {
        self.signature(reply, request)
    }

    /// Whether a reply's Response Authenticator was made for the request with this authenticator.
    pub fn proves_response(&self, reply: &Packet<'_>, request: &[u8; AUTHENTICATOR_LEN]) -> bool {
        let Some((head, tail)) = reply.octets().split_first_chunk::<4>() else {
            return false;
        };
        let mut md5 = Md5::new();
        md5.update(head);
        md5.update(request);
        md5.update(tail.get(AUTHENTICATOR_LEN..).unwrap_or_default());
        md5.update(self.secret.expose());
        md5.finalize().as_slice().ct_eq(reply.authenticator()).into()
    }

    /// The Response Authenticator of a reply whose Authenticator field still holds the request's.
    pub fn response_authenticator(&self, reply: &[u8]) -> [u8; AUTHENTICATOR_LEN] {
        let mut md5 = Md5::new();
        md5.update(reply);
        md5.update(self.secret.expose());
        md5.finalize().into()
    }

    /// Hides a password of at most 128 octets, padded with NULs to a multiple of 16. Longer ones give
    /// `None`.
    pub fn hide(&self, password: &Secret, authenticator: &[u8; AUTHENTICATOR_LEN]) -> Option<Vec<u8>> {
        if password.len() > MAX_PASSWORD {
            return None;
        }
        let mut octets = password.expose().to_vec();
        octets.resize(password.len().div_ceil(BLOCK).max(1) * BLOCK, 0);
        let mut previous = *authenticator;
        for block in octets.chunks_exact_mut(BLOCK) {
            self.mask(block, &previous);
            previous.copy_from_slice(block);
        }
        Some(octets)
    }

    /// Reveals a User-Password. Trailing NULs are padding and go; a NUL inside is data. With a wrong
    /// secret the result is noise.
    ///
    /// `None` when the value is not 16 to 128 octets in blocks of 16.
    pub fn reveal(&self, hidden: &[u8], authenticator: &[u8; AUTHENTICATOR_LEN]) -> Option<Secret> {
        if !(BLOCK..=MAX_PASSWORD).contains(&hidden.len()) || !hidden.len().is_multiple_of(BLOCK) {
            return None;
        }
        let mut octets = Zeroizing::new([0u8; MAX_PASSWORD]);
        let plain = octets.get_mut(..hidden.len())?;
        plain.copy_from_slice(hidden);
        let mut previous = authenticator.as_slice();
        for (block, cipher) in plain.chunks_exact_mut(BLOCK).zip(hidden.chunks_exact(BLOCK)) {
            self.mask(block, previous);
            previous = cipher;
        }
        let end = plain.iter().rposition(|&octet| octet != 0).map_or(0, |last| last + 1);
        plain.get(..end).map(Secret::new)
    }

    /// Hides a value as Tunnel-Password (RFC 2868 section 3.5) and MS-MPPE keys (RFC 2548 section 2.4.2) are: the salt, then length,
    /// value and padding under a key stream that begins with secret, request authenticator and salt. The
    /// salt's first bit must be set, and no two in a packet be the same. Values of more than 239 octets give
    /// `None`: they fit no attribute.
    pub fn hide_salted(&self, value: &Secret, salt: [u8; 2], request: &[u8; AUTHENTICATOR_LEN]) -> Option<Vec<u8>> {
        let length = u8::try_from(value.len()).ok().filter(|length| *length <= MAX_SALTED)?;
        let blocks = (value.len() + 1).div_ceil(BLOCK);
        let mut octets = Vec::with_capacity(salt.len() + blocks * BLOCK);
        octets.extend_from_slice(&salt);
        octets.push(length);
        octets.extend_from_slice(value.expose());
        octets.resize(salt.len() + blocks * BLOCK, 0);
        let mut previous = [request.as_slice(), &salt].concat();
        for block in octets.get_mut(salt.len()..)?.chunks_exact_mut(BLOCK) {
            self.mask(block, &previous);
            previous.clear();
            previous.extend_from_slice(block);
        }
        Some(octets)
    }

    /// Reveals what [`SharedSecret::hide_salted`] hides; `None` when the octets cannot be that, as with a
    /// wrong secret they mostly cannot.
    pub fn reveal_salted(&self, hidden: &[u8], request: &[u8; AUTHENTICATOR_LEN]) -> Option<Secret> {
        let (salt, cipher) = hidden.split_first_chunk::<2>()?;
        if cipher.is_empty() || !cipher.len().is_multiple_of(BLOCK) {
            return None;
        }
        let mut octets = Zeroizing::new(cipher.to_vec());
        let first = [request.as_slice(), salt].concat();
        let mut previous = first.as_slice();
        for (block, cipher) in octets.chunks_exact_mut(BLOCK).zip(cipher.chunks_exact(BLOCK)) {
            self.mask(block, previous);
            previous = cipher;
        }
        let (&length, value) = octets.split_first()?;
        let (value, padding) = value.split_at_checked(usize::from(length))?;
        (padding.len() < BLOCK).then(|| Secret::new(value))
    }

    /// HMAC-MD5 over the parts in order.
    pub(in crate::radius) fn hmac(&self, parts: &[&[u8]]) -> [u8; AUTHENTICATOR_LEN] {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    fn signature(&self, packet: &Packet<'_>, authenticator: &[u8; AUTHENTICATOR_LEN]) -> Signature {
        let Some(at) = packet.signature() else {
            return Signature::Absent;
        };
        let octets = packet.octets();
        let (Some(head), Some(before), Some(given), Some(after)) = (
            octets.get(..4),
            octets.get(HEADER_LEN..at),
            octets.get(at..at + AUTHENTICATOR_LEN),
            octets.get(at + AUTHENTICATOR_LEN..),
        ) else {
            return Signature::Invalid;
        };
        let expected = self.hmac(&[head, authenticator, before, &[0; AUTHENTICATOR_LEN], after]);
        if expected.as_slice().ct_eq(given).into() {
            Signature::Valid
        } else {
            Signature::Invalid
        }
    }

    /// Adds the key stream block that follows from the cipher block before.
    fn mask(&self, block: &mut [u8], previous: &[u8]) {
        let mut md5 = self.absorbed.clone();
        md5.update(previous);
        let mut stream: [u8; BLOCK] = md5.finalize().into();
        for (octet, key) in block.iter_mut().zip(stream) {
            *octet ^= key;
        }
        stream.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::radius::packet::Writer;

    fn secret() -> SharedSecret {
        SharedSecret::new(&Secret::new("xyzzy5461"))
    }

    #[test]
    fn passwords_have_16_to_128_octets_in_blocks() {
        for length in [0, 1, 15, 17, 144, 160] {
            assert!(secret().reveal(&vec![0; length], &[0; 16]).is_none(), "{length}");
        }
        assert!(secret().hide(&Secret::new([1; 129]), &[0; 16]).is_none());
        assert_eq!(secret().hide(&Secret::default(), &[0; 16]).unwrap().len(), 16);
    }

    #[test]
    fn only_trailing_nuls_are_padding() {
        let hidden = secret().hide(&Secret::new("a\0b\0\0"), &[3; 16]).unwrap();
        assert_eq!(secret().reveal(&hidden, &[3; 16]).unwrap().expose(), b"a\0b");
    }

    #[test]
    fn a_reply_is_bound_to_its_request() {
        let mut buffer = Vec::new();
        Writer::begin(&mut buffer, 2, 1, &[5; 16], true).finish_reply(&secret());
        let reply = Packet::parse(&buffer).unwrap();
        assert!(secret().proves_response(&reply, &[5; 16]));
        assert!(!secret().proves_response(&reply, &[6; 16]));
        assert_eq!(secret().reply_signature(&reply, &[5; 16]), Signature::Valid);
        assert_eq!(secret().reply_signature(&reply, &[6; 16]), Signature::Invalid);
        let other = SharedSecret::new(&Secret::new("other"));
        assert!(!other.proves_response(&reply, &[5; 16]));
        assert_eq!(other.reply_signature(&reply, &[5; 16]), Signature::Invalid);
    }

    #[test]
    fn every_changed_octet_spoils_a_signed_request() {
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, 1, 1, &[5; 16], true);
        writer.push(1, b"ana").unwrap();
        writer.finish_request(&secret());
        assert_eq!(
            secret().request_signature(&Packet::parse(&buffer).unwrap()),
            Signature::Valid
        );
        for at in 0..buffer.len() {
            let mut altered = buffer.clone();
            altered[at] ^= 1;
            if let Ok(packet) = Packet::parse(&altered) {
                assert_ne!(secret().request_signature(&packet), Signature::Valid, "octet {at}");
            }
        }
    }

    #[test]
    fn salted_values_have_their_limits() {
        let hide = |length: usize| secret().hide_salted(&Secret::new(vec![7; length]), [0x80, 1], &[3; 16]);
        assert_eq!(hide(0).unwrap().len(), 2 + 16);
        assert_eq!(hide(15).unwrap().len(), 2 + 16);
        assert_eq!(hide(16).unwrap().len(), 2 + 32);
        assert_eq!(hide(239).unwrap().len(), 2 + 240);
        assert!(hide(240).is_none());
        for broken in [&[][..], &[0x80], &[0x80, 1], &[0; 17], &[0; 2 + 15]] {
            assert!(secret().reveal_salted(broken, &[3; 16]).is_none(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn salted_values_come_back(
            value in prop::collection::vec(any::<u8>(), 0..=239),
            salt in any::<[u8; 2]>(),
            authenticator in any::<[u8; 16]>(),
        ) {
            let hidden = secret().hide_salted(&Secret::new(value.as_slice()), salt, &authenticator).unwrap();
            prop_assert_eq!(hidden.len() % 16, 2);
            prop_assert_eq!(&hidden[..2], &salt);
            prop_assert!(value.len() < 4 || !hidden.windows(value.len()).any(|window| window == value));
            let revealed = secret().reveal_salted(&hidden, &authenticator).unwrap();
            prop_assert_eq!(revealed.expose(), &value[..]);
        }

        #[test]
        fn revealing_never_panics(hidden in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = secret().reveal_salted(&hidden, &[0; 16]);
            let _ = secret().reveal(&hidden, &[0; 16]);
        }

        #[test]
        fn hidden_passwords_come_back(
            mut password in prop::collection::vec(any::<u8>(), 0..=128),
            authenticator in any::<[u8; 16]>(),
        ) {
            let hidden = secret().hide(&Secret::new(password.clone()), &authenticator).unwrap();
            let revealed = secret().reveal(&hidden, &authenticator).unwrap();
            while password.last() == Some(&0) {
                password.pop();
            }
            prop_assert_eq!(revealed.expose(), &password[..]);
        }
    }
}
