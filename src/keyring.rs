//! The key file and everything derived from it: sealing of stored secrets and of dialogs, keyed digests.
//!
//! The key file lives outside the store, so that a copy of the store alone gives nothing away. One
//! 256-bit root key is expanded with HKDF-SHA-256 (RFC 5869) into one key for each purpose.
//!
//! A key file that came in place of another one carries on what cannot be done anew: the keys of the digests and of
//! the stretch of the audit that was written under the former one. The former root key is not in it.

mod file;

use std::fmt;
use std::path::PathBuf;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::hmac;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use zeroize::Zeroizing;

use crate::clock::{self, Timestamp};
use crate::secret::Secret;

pub use self::file::KeyFile;

/// Octets a sealed text is longer than its plain text: format, nonce, tag.
pub const SEAL_OVERHEAD: usize = 1 + NONCE_LEN + 16;

/// How long one dialog key is in use, in seconds. Dialogs live five minutes at most, so the current
/// and the previous key open every live one.
const DIALOG_KEY_SECS: u64 = 3600;

const SEAL_FORMAT: u8 = 1;
const ROOT_SALT: &[u8] = b"portcullis root";

/// Why a key file or a sealed text could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key file is missing or unreadable.
    #[error("cannot read the key file {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The key file could not be made.
    #[error("cannot write the key file {0}")]
    Write(PathBuf, #[source] std::io::Error),
    /// Others than the owner can read it.
    #[error("the key file {0} is readable by others (mode {1:o}); run: chmod 600 {0}")]
    Exposed(PathBuf, u32),
    /// It holds something else than a key.
    #[error(
        "the key file {0} is not a Portcullis key: expected a line `{current}<44 characters of base64>`, and after it what is \
         carried on of former keys",
        current = file::CURRENT
    )]
    Malformed(PathBuf),
    /// A sealed text was made with another key, for another place, or was changed.
    #[error(
        "a sealed secret does not open: the key file is not the one this store was written with, or the store was tampered with"
    )]
    Sealed,
}

/// The keys of one installation. Cheap to share behind an `Arc`, never printed.
pub struct Keyring {
    records: LessSafeKey,
    codes: hmac::Key,
    audit: hmac::Key,
    typed: hmac::Key,
    pepper: hmac::Key,
    fingerprint: [u8; 8],
    proxy_mark: [u8; 16],
    dialogs: Prk,
    /// Oldest first.
    former: Vec<Former>,
    signer: Ed25519KeyPair,
    index: hmac::Key,
}

/// What is carried on of a key that another one has taken the place of.
struct Former {
    /// The last audit record that it linked.
    until: u64,
    audit: hmac::Key,
    codes: hmac::Key,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring([secret])")
    }
}

impl Keyring {
    /// Expands a root key of at least 32 octets.
    pub fn from_root(root: &[u8]) -> Self {
        let prk = Salt::new(HKDF_SHA256, ROOT_SALT).extract(root);
        let mut fingerprint = [0u8; 8];
        for (octet, derived) in fingerprint.iter_mut().zip(expand(&prk, &[b"fingerprint"]).iter()) {
            *octet = *derived;
        }
        let mut proxy_mark = [0u8; 16];
        for (octet, derived) in proxy_mark.iter_mut().zip(expand(&prk, &[b"proxy mark"]).iter()) {
            *octet = *derived;
        }
        Self {
            records: aead_key(&prk, &[b"records"]),
            codes: hmac::Key::new(hmac::HMAC_SHA256, expand(&prk, &[b"codes"]).as_slice()),
            audit: hmac::Key::new(hmac::HMAC_SHA256, expand(&prk, &[b"audit"]).as_slice()),
            typed: hmac::Key::new(hmac::HMAC_SHA256, expand(&prk, &[b"typed"]).as_slice()),
            pepper: hmac::Key::new(hmac::HMAC_SHA256, expand(&prk, &[b"pepper"]).as_slice()),
            dialogs: Salt::new(HKDF_SHA256, b"portcullis dialogs").extract(expand(&prk, &[b"dialogs"]).as_slice()),
            fingerprint,
            proxy_mark,
            former: Vec::new(),
            signer: signer(&expand(&prk, &[b"audit signature"])),
            index: hmac::Key::new(hmac::HMAC_SHA256, expand(&prk, &[b"audit index"]).as_slice()),
        }
    }

    /// A public name of this key, 8 octets, so that a store can tell that it was opened with another one.
    pub fn fingerprint(&self) -> [u8; 8] {
        self.fingerprint
    }

    /// A public mark of this installation, by which a request that it has sent is known when it comes back
    /// (RADIUS Proxy-State).
    pub fn proxy_mark(&self) -> &[u8; 16] {
        &self.proxy_mark
    }

    /// Seals a stored secret (AES-256-GCM, random nonce) to `place`, the name of the field it stands in:
    /// it opens there only.
    pub fn seal(&self, place: &[u8], plain: &[u8]) -> Vec<u8> {
        seal_with(&self.records, place, plain)
    }

    /// Opens what [`Keyring::seal`] made for the same `place`.
    ///
    /// # Errors
    /// [`KeyError::Sealed`] for another key, another place, or altered octets.
    pub fn open(&self, place: &[u8], sealed: &[u8]) -> Result<Secret, KeyError> {
        open_with(&self.records, place, sealed)
    }

    /// HMAC-SHA-256 of a machine-made code in a `context`, for codes with enough entropy to need no
    /// slow hash (recovery codes, passcodes).
    pub fn digest_code(&self, context: &[u8], code: &[u8]) -> [u8; 32] {
        tag(&self.codes, &[context, &[0], code])
    }

    /// The digests that may be stored of a code: that of [`Keyring::digest_code`], then those of former keys.
    pub fn digests_of_code(&self, context: &[u8], code: &[u8]) -> impl Iterator<Item = [u8; 32]> {
        let former = self.former.iter().rev().map(|former| &former.codes);
        std::iter::once(&self.codes)
            .chain(former)
            .map(move |key| tag(key, &[context, &[0], code]))
    }

    /// HMAC-SHA-256 of `parts`, each with its length before it: by it a text that somebody typed is known again
    /// in the same context, while the process lives. Not for storing.
    pub fn digest_typed(&self, parts: &[&[u8]]) -> [u8; 32] {
        tag_of_parts(&self.typed, parts)
    }

    /// HMAC-SHA-256 of `parts`, each with its length before it, for a text that people think up: the slow hash of
    /// this is stored, so that a copy of the store alone does not let anybody guess.
    pub fn pepper(&self, parts: &[&[u8]]) -> [u8; 32] {
        tag_of_parts(&self.pepper, parts)
    }

    /// One link of the audit chain: HMAC-SHA-256 over the previous link, the sequence number and the record, under the
    /// key that was in place then.
    pub fn audit_link(&self, previous: &[u8; 32], sequence: u64, body: &[u8]) -> [u8; 32] {
        let former = self.former.iter().find(|former| sequence <= former.until);
        let key = former.map_or(&self.audit, |former| &former.audit);
        tag(key, &[previous, &sequence.to_be_bytes(), body])
    }

    /// Signs a statement about the audit (Ed25519, RFC 8032).
    pub fn sign_audit(&self, statement: &[u8]) -> [u8; 64] {
        let mut octets = [0; 64];
        octets.copy_from_slice(self.signer.sign(statement).as_ref());
        octets
    }

    /// The key that statements signed by [`Keyring::sign_audit`] are checked with. It is no secret, and by it
    /// nobody can write a record.
    pub fn audit_public_key(&self) -> [u8; 32] {
        let mut octets = [0; 32];
        octets.copy_from_slice(self.signer.public_key().as_ref());
        octets
    }

    /// HMAC-SHA-256 of `parts`, each with its length before it, for what is kept to find audit records by.
    pub fn digest_index(&self, parts: &[&[u8]]) -> [u8; 32] {
        tag_of_parts(&self.index, parts)
    }

    /// Seals a dialog for the trip through a client, under the key of the hour.
    pub fn seal_dialog(&self, place: &[u8], plain: &[u8], now: Timestamp) -> Vec<u8> {
        seal_with(&self.dialog_key(now.secs() / DIALOG_KEY_SECS), place, plain)
    }

    /// Opens a dialog sealed in this hour or the one before.
    ///
    /// # Errors
    /// [`KeyError::Sealed`] for a foreign, altered or long expired one.
    pub fn open_dialog(&self, place: &[u8], sealed: &[u8], now: Timestamp) -> Result<Secret, KeyError> {
        let epoch = now.secs() / DIALOG_KEY_SECS;
        open_with(&self.dialog_key(epoch), place, sealed)
            .or_else(|_| open_with(&self.dialog_key(epoch.saturating_sub(1)), place, sealed))
    }

    fn dialog_key(&self, epoch: u64) -> LessSafeKey {
        aead_key(&self.dialogs, &[&epoch.to_be_bytes()])
    }
}

fn tag(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    octets_of(context)
}

fn tag_of_parts(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    octets_of(context)
}

fn octets_of(context: hmac::Context) -> [u8; 32] {
    let mut octets = [0u8; 32];
    octets.copy_from_slice(context.sign().as_ref());
    octets
}

#[allow(
    clippy::expect_used,
    reason = "a nonce of NONCE_LEN octets and texts far below the cipher's limit cannot fail"
)]
fn seal_with(key: &LessSafeKey, place: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce = clock::random::<NONCE_LEN>();
    let mut sealed = Vec::with_capacity(plain.len() + SEAL_OVERHEAD);
    sealed.push(SEAL_FORMAT);
    sealed.extend_from_slice(&nonce);
    let mut body = Zeroizing::new(plain.to_vec());
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut body)
        .expect("sealing a short text");
    sealed.extend_from_slice(&body);
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

fn open_with(key: &LessSafeKey, place: &[u8], sealed: &[u8]) -> Result<Secret, KeyError> {
    let Some((&SEAL_FORMAT, rest)) = sealed.split_first() else {
        return Err(KeyError::Sealed);
    };
    let Some((nonce, body)) = rest.split_first_chunk::<NONCE_LEN>() else {
        return Err(KeyError::Sealed);
    };
    let mut body = Zeroizing::new(body.to_vec());
    let plain = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place), &mut body)
        .map_err(|_| KeyError::Sealed)?;
    Ok(Secret::new(&*plain))
}

#[allow(clippy::expect_used, reason = "a 32 octet key fits the cipher")]
fn aead_key(prk: &Prk, info: &[&[u8]]) -> LessSafeKey {
    let key = expand(prk, info);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("a key of 32 octets"))
}

#[allow(clippy::expect_used, reason = "any 32 octets are a seed")]
fn signer(seed: &[u8; 32]) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(seed).expect("a seed of 32 octets")
}

#[allow(clippy::expect_used, reason = "32 octets are within HKDF's limit of 255 blocks")]
fn expand(prk: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    struct Len;
    impl KeyType for Len {
        fn len(&self) -> usize {
            32
        }
    }
    let mut octets = Zeroizing::new([0u8; 32]);
    prk.expand(info, Len)
        .and_then(|okm| okm.fill(octets.as_mut_slice()))
        .expect("32 octets");
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Keyring {
        Keyring::from_root(&[7; 32])
    }

    #[test]
    fn a_sealed_secret_opens_in_its_place_only() {
        let sealed = ring().seal(b"user/1/token/2", b"seed");
        assert_eq!(ring().open(b"user/1/token/2", &sealed).unwrap().expose(), b"seed");
        assert!(ring().open(b"user/2/token/2", &sealed).is_err());
        assert!(Keyring::from_root(&[8; 32]).open(b"user/1/token/2", &sealed).is_err());
        let mut altered = sealed.clone();
        *altered.last_mut().unwrap() ^= 1;
        assert!(ring().open(b"user/1/token/2", &altered).is_err());
        assert!(ring().open(b"user/1/token/2", &[]).is_err());
    }

    #[test]
    fn the_parts_of_a_digest_do_not_run_into_one_another() {
        assert_eq!(ring().digest_typed(&[b"ab", b"c"]), ring().digest_typed(&[b"ab", b"c"]));
        assert_ne!(ring().digest_typed(&[b"ab", b"c"]), ring().digest_typed(&[b"a", b"bc"]));
        let other = Keyring::from_root(&[8; 32]);
        assert_ne!(ring().digest_typed(&[b"ab"]), other.digest_typed(&[b"ab"]));
    }

    #[test]
    fn dialog_keys_rotate() {
        let start = Timestamp::from_secs(DIALOG_KEY_SECS * 10 - 1);
        let sealed = ring().seal_dialog(b"vpn", b"dialog", start);
        let soon = Timestamp::from_secs(DIALOG_KEY_SECS * 10 + 60);
        assert_eq!(ring().open_dialog(b"vpn", &sealed, soon).unwrap().expose(), b"dialog");
        let late = Timestamp::from_secs(DIALOG_KEY_SECS * 11 + 60);
        assert!(ring().open_dialog(b"vpn", &sealed, late).is_err());
    }
}
