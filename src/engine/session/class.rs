//! Class (RFC 2865 section 5.25) in an Access-Accept: names the person and the login, so that accounting
//! finds them whatever User-Name the client reports.

use subtle::ConstantTimeEq as _;

use crate::engine::facts::UserKey;
use crate::engine::stuffed::{stuff, unstuff};
use crate::keyring::Keyring;

/// The login that a session came of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Who logged in.
    pub user: UserKey,
    /// Which login: a random number.
    pub grant: u64,
}

const FORMAT: u8 = 0xC1;
const TAG_LEN: usize = 16;

impl Class {
    /// Most octets: those of one attribute.
    pub const MAX_OCTETS: usize = 253;

    /// The octets to send to `client`: format, login, person, and the first half of an HMAC-SHA-256 that
    /// is bound to the client; none of them zero. `None` for a person whose key is too long.
    pub fn write(&self, keyring: &Keyring, client: &str) -> Option<Vec<u8>> {
        let mut octets = vec![FORMAT];
        octets.extend_from_slice(&self.grant.to_be_bytes());
        octets.extend_from_slice(self.user.as_str().as_bytes());
        let tag = tag(keyring, client, &octets);
        octets.extend_from_slice(&tag);
        let stuffed = stuff(&octets);
        (stuffed.len() <= Self::MAX_OCTETS).then_some(stuffed)
    }

    /// Reads what [`Class::write`] made for the same client; anything else is somebody else's.
    pub fn read(octets: &[u8], keyring: &Keyring, client: &str) -> Option<Self> {
        let octets = unstuff(octets)?;
        let (body, given) = octets.split_last_chunk::<TAG_LEN>()?;
        let (&FORMAT, rest) = body.split_first()? else {
            return None;
        };
        // A session may have begun under a former key.
        let context = context(client);
        let mut digests = keyring.digests_of_code(&context, body);
        if !digests.any(|digest| bool::from(cut(digest).ct_eq(given))) {
            return None;
        }
        let (grant, user) = rest.split_first_chunk::<8>()?;
        let (directory, identifier) = std::str::from_utf8(user).ok()?.split_once(':')?;
        Some(Self {
            user: UserKey::new(directory, identifier),
            grant: u64::from_be_bytes(*grant),
        })
    }
}

fn tag(keyring: &Keyring, client: &str, body: &[u8]) -> [u8; TAG_LEN] {
    cut(keyring.digest_code(&context(client), body))
}

fn context(client: &str) -> Vec<u8> {
    [b"radius class/".as_slice(), client.as_bytes()].concat()
}

fn cut(digest: [u8; 32]) -> [u8; TAG_LEN] {
    let mut tag = [0; TAG_LEN];
    for (octet, from) in tag.iter_mut().zip(digest) {
        *octet = from;
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_read_back_by_its_client_only() {
        let keyring = Keyring::from_root(&[1; 32]);
        let class = Class {
            user: UserKey::new("corp", "6c9d1f8e-0001"),
            grant: 77,
        };
        let octets = class.write(&keyring, "vpn").unwrap();
        assert_eq!(Class::read(&octets, &keyring, "vpn").as_ref(), Some(&class));
        assert_eq!(Class::read(&octets, &keyring, "wifi"), None);
        assert_eq!(Class::read(&octets, &Keyring::from_root(&[2; 32]), "vpn"), None);
        for at in 0..octets.len() {
            let mut altered = octets.clone();
            altered[at] ^= 1;
            assert_eq!(Class::read(&altered, &keyring, "vpn"), None, "octet {at}");
        }
        for short in 0..octets.len() {
            assert_eq!(Class::read(&octets[..short], &keyring, "vpn"), None);
        }
    }

    #[test]
    fn a_key_too_long_has_no_class() {
        let keyring = Keyring::from_root(&[1; 32]);
        let of = |length: usize| Class {
            user: UserKey::new("d", &"x".repeat(length)),
            grant: 1,
        };
        assert_eq!(of(225).write(&keyring, "vpn").unwrap().len(), Class::MAX_OCTETS);
        assert_eq!(of(226).write(&keyring, "vpn"), None);
    }
}
