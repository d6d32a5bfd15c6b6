//! What imported files are encrypted with: AES in CBC mode, under a key or a password.

use std::num::NonZeroU32;

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use ring::{hmac, pbkdf2};
use zeroize::Zeroizing;

/// Decrypts what an initialisation vector precedes (XML Encryption 1.1 section 5.2: the last octet says how many are
/// padding, whatever they are). `None` for a key of another length, or what cannot be right under it.
pub(super) fn decrypt(key: &[u8], octets: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (iv, body) = octets.split_at_checked(16)?;
    if body.is_empty() || body.len() % 16 != 0 {
        return None;
    }
    let mut plain = Zeroizing::new(body.to_vec());
    match key.len() {
        16 => cbc::Decryptor::<aes::Aes128>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded::<NoPadding>(&mut plain)
            .ok()?,
        24 => cbc::Decryptor::<aes::Aes192>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded::<NoPadding>(&mut plain)
            .ok()?,
        32 => cbc::Decryptor::<aes::Aes256>::new_from_slices(key, iv)
            .ok()?
            .decrypt_padded::<NoPadding>(&mut plain)
            .ok()?,
        _ => return None,
    };
    let padding = usize::from(*plain.last()?);
    if !(1..=16).contains(&padding) {
        return None;
    }
    let length = plain.len() - padding;
    plain.truncate(length);
    Some(plain)
}

/// Whether a message has this authentication code.
pub(super) fn is_authentic(algorithm: hmac::Algorithm, key: &[u8], message: &[u8], code: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(algorithm, key), message, code).is_ok()
}

/// PBKDF2 (RFC 8018 section 5.2).
pub(super) fn derive(
    algorithm: pbkdf2::Algorithm,
    password: &[u8],
    salt: &[u8],
    rounds: NonZeroU32,
    length: usize,
) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; length]);
    pbkdf2::derive(algorithm, rounds, salt, password, &mut key);
    key
}
