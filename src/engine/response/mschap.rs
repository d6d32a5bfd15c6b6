//! MS-CHAPv2 (RFC 2759) and the keys for MPPE that follow from it (RFC 3079 section 3.3).
//!
//! MD4, single DES and SHA-1 are what the protocol prescribes. A captured exchange can be searched for
//! the NT hash with the effort of one DES key: it is worth something inside TLS only.

use std::fmt;
use std::sync::Arc;

use des::Des;
use des::cipher::{Array, BlockCipherEncrypt as _, KeyInit as _};
use md4::Md4;
use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{MsChapSuccess, ResponseOutcome};
use crate::secret::Secret;

/// A response of MS-CHAP version 2, with both challenges.
#[derive(Clone)]
pub struct MsChapV2 {
    /// The identifier of the challenge.
    identifier: u8,
    authenticator_challenge: [u8; 16],
    peer_challenge: [u8; 16],
    nt_response: [u8; 24],
    /// The user's name as the peer hashed it: without a Windows domain before it.
    user: Vec<u8>,
}

/// The peer's side: whoever has the password and answers a challenge.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The user's name as it is sent, in octets.
    pub user: &'a [u8],
    /// The password; UTF-8.
    pub password: &'a Secret,
    /// The authenticator's challenge.
    pub challenge: &'a [u8; 16],
    /// The peer's own challenge.
    pub peer_challenge: &'a [u8; 16],
}

impl MsChapV2 {
    /// Takes the value of an MS-CHAP2-Response (RFC 2548 section 2.3.2): identifier, flags, peer
    /// challenge, eight reserved octets, response. `None` when it has not [`MsChapV2::OCTETS`].
    ///
    /// `user` is User-Name as it was sent: the peer has hashed its very octets, but for a Windows domain
    /// and backslash before it.
    pub fn new(value: &[u8], challenge: &[u8; 16], user: &[u8]) -> Option<Self> {
        let value: &[u8; Self::OCTETS] = value.try_into().ok()?;
        let (&[identifier, _flags], rest) = value.split_first_chunk::<2>()?;
        let (peer_challenge, rest) = rest.split_first_chunk::<16>()?;
        let nt_response = rest.split_last_chunk::<24>()?.1;
        Some(Self {
            identifier,
            authenticator_challenge: *challenge,
            peer_challenge: *peer_challenge,
            nt_response: *nt_response,
            user: without_domain(user).to_vec(),
        })
    }

    /// Octets of an MS-CHAP2-Response.
    pub const OCTETS: usize = 50;

    /// Judges it by the NT hash of the password.
    pub(super) fn judge(&self, hash: &Secret) -> ResponseOutcome {
        let challenge = challenge_hash(&self.peer_challenge, &self.authenticator_challenge, &self.user);
        let Some(expected) = challenge_response(&challenge, hash) else {
            return ResponseOutcome::Impossible;
        };
        if !bool::from(expected.ct_eq(&self.nt_response)) {
            return ResponseOutcome::Wrong;
        }
        let hash_hash = md4(hash.expose());
        let master = master_key(&hash_hash, &self.nt_response);
        ResponseOutcome::Right(Some(Arc::new(MsChapSuccess {
            identifier: self.identifier,
            authenticator_response: authenticator_response(&hash_hash, &self.nt_response, &challenge),
            send_key: start_key(&master, AUTHENTICATOR_SENDS),
            receive_key: start_key(&master, PEER_SENDS),
        })))
    }
}

impl Peer<'_> {
    /// The value of an MS-CHAP2-Response, [`MsChapV2::OCTETS`] long; `None` when the password is no text.
    pub fn response(&self, identifier: u8) -> Option<Vec<u8>> {
        let hash = nt_hash(self.password)?;
        let response = challenge_response(&self.challenge_hash(), &hash)?;
        let parts: [&[u8]; 4] = [&[identifier, 0], self.peer_challenge, &[0; 8], &response];
        Some(parts.concat())
    }

    /// What an authenticator that knows the password tells and gives in return for
    /// [`Peer::response`]: to compare with what came.
    pub fn expected(&self, identifier: u8) -> Option<Arc<MsChapSuccess>> {
        let value = self.response(identifier)?;
        let response = MsChapV2::new(&value, self.challenge, self.user)?;
        match response.judge(&nt_hash(self.password)?) {
            ResponseOutcome::Right(success) => success,
            ResponseOutcome::Wrong | ResponseOutcome::Impossible | ResponseOutcome::Unknown => None,
        }
    }

    fn challenge_hash(&self) -> [u8; 8] {
        challenge_hash(self.peer_challenge, self.challenge, without_domain(self.user))
    }
}

/// A response lets guesses be tried at leisure: it is printed no more than a password is.
impl fmt::Debug for MsChapV2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[MS-CHAPv2 response]")
    }
}

/// NtPasswordHash (RFC 2759 section 8.3), 16 octets; `None` when the password is not UTF-8.
pub fn nt_hash(password: &Secret) -> Option<Secret> {
    let text = password.expose_str()?;
    // Room for all of it at once: no copy of the password stays behind in memory that was too small.
    let mut wide = Zeroizing::new(Vec::with_capacity(text.len() * 2));
    wide.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    Some(Secret::new(*md4(&wide)))
}

fn without_domain(user: &[u8]) -> &[u8] {
    let backslash = user.iter().position(|&octet| octet == b'\\');
    backslash.and_then(|at| user.get(at + 1..)).unwrap_or(user)
}

fn md4(octets: &[u8]) -> Zeroizing<[u8; 16]> {
    Zeroizing::new(Md4::digest(octets).into())
}

/// ChallengeHash (section 8.2).
fn challenge_hash(peer: &[u8; 16], authenticator: &[u8; 16], user: &[u8]) -> [u8; 8] {
    let mut sha1 = Sha1::new();
    sha1.update(peer);
    sha1.update(authenticator);
    sha1.update(user);
    let [a, b, c, d, e, f, g, h, ..]: [u8; 20] = sha1.finalize().into();
    [a, b, c, d, e, f, g, h]
}

/// ChallengeResponse (section 8.5): the challenge under three DES keys, which are the hash and five zeros.
/// `None` when `hash` has not 16 octets.
fn challenge_response(challenge: &[u8; 8], hash: &Secret) -> Option<[u8; 24]> {
    let hash: &[u8; 16] = hash.expose().try_into().ok()?;
    let mut keys = Zeroizing::new([0u8; 21]);
    keys.first_chunk_mut::<16>()?.copy_from_slice(hash);
    let mut response = [0; 24];
    for (key, out) in keys.as_chunks::<7>().0.iter().zip(response.as_chunks_mut::<8>().0) {
        let mut block = Array::from(*challenge);
        Des::new(&Array::from(*des_key(key))).encrypt_block(&mut block);
        *out = block.into();
    }
    Some(response)
}

/// Spreads 56 bits over eight octets, seven in each; the lowest bit would be parity, which DES ignores.
fn des_key(octets: &[u8; 7]) -> Zeroizing<[u8; 8]> {
    let [a, b, c, d, e, f, g] = *octets;
    let bits = Zeroizing::new(u64::from_be_bytes([0, a, b, c, d, e, f, g]));
    let mut key = Zeroizing::new([0u8; 8]);
    for (index, octet) in key.iter_mut().enumerate() {
        let [.., low] = (*bits >> (49 - 7 * index)).to_be_bytes();
        *octet = low << 1;
    }
    key
}

/// GenerateAuthenticatorResponse (section 8.7), before it is written in hexadecimal digits.
fn authenticator_response(hash_hash: &[u8; 16], nt_response: &[u8; 24], challenge: &[u8; 8]) -> [u8; 20] {
    let mut sha1 = Sha1::new();
    sha1.update(hash_hash);
    sha1.update(nt_response);
    sha1.update(b"Magic server to client signing constant");
    let digest = sha1.finalize();
    let mut sha1 = Sha1::new();
    sha1.update(digest);
    sha1.update(challenge);
    sha1.update(b"Pad to make it do more than one iteration");
    sha1.finalize().into()
}

/// GetMasterKey (RFC 3079 section 3.3).
fn master_key(hash_hash: &[u8; 16], nt_response: &[u8; 24]) -> Zeroizing<[u8; 16]> {
    let mut sha1 = Sha1::new();
    sha1.update(hash_hash);
    sha1.update(nt_response);
    sha1.update(b"This is the MPPE Master Key");
    first_16(sha1)
}

/// GetAsymmetricStartKey (RFC 3079 section 3.3) for 128 bits, told apart by `direction`.
fn start_key(master: &[u8; 16], direction: &[u8]) -> Secret {
    let mut sha1 = Sha1::new();
    sha1.update(master);
    sha1.update([0x00; 40]);
    sha1.update(direction);
    sha1.update([0xf2; 40]);
    Secret::new(first_16(sha1).as_slice())
}

fn first_16(sha1: Sha1) -> Zeroizing<[u8; 16]> {
    let digest: Zeroizing<[u8; 20]> = Zeroizing::new(sha1.finalize().into());
    let mut key = Zeroizing::new([0; 16]);
    key.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
    key
}

/// What the peer sends with and the authenticator receives with.
const PEER_SENDS: &[u8] = b"On the client side, this is the send key; on the server side, it is the receive key.";

/// What the authenticator sends with and the peer receives with.
const AUTHENTICATOR_SENDS: &[u8] =
    b"On the client side, this is the receive key; on the server side, it is the send key.";
