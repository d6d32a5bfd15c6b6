//! RADIUS packets as the load generators need them, written apart from the server's own, so that the
//! two check each other.
#![allow(dead_code, reason = "each generator uses its own part of this")]

use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};

use crate::common::Random;

pub(crate) const ACCESS_ACCEPT: u8 = 2;
pub(crate) const ACCESS_REJECT: u8 = 3;
pub(crate) const ACCOUNTING_RESPONSE: u8 = 5;
pub(crate) const ACCESS_CHALLENGE: u8 = 11;

const USER_NAME: u8 = 1;
const USER_PASSWORD: u8 = 2;
const STATE: u8 = 24;
const NAS_IDENTIFIER: u8 = 32;
const ACCT_STATUS_TYPE: u8 = 40;
const ACCT_SESSION_ID: u8 = 44;
const ACCT_SESSION_TIME: u8 = 46;
const MESSAGE_AUTHENTICATOR: u8 = 80;
const HEADER: usize = 20;

/// Builds requests and verifies replies under one shared secret.
pub(crate) struct Codec {
    secret: Vec<u8>,
    mac: Hmac<Md5>,
    strict: bool,
}

impl Codec {
    /// `strict`: replies must carry a Message-Authenticator as their first attribute.
    pub(crate) fn new(secret: &[u8], strict: bool) -> Self {
        Self {
            secret: secret.to_vec(),
            mac: Hmac::new_from_slice(secret).expect("any key will do"),
            strict,
        }
    }

    /// An Access-Request with User-Password and Message-Authenticator.
    pub(crate) fn build(
        &self,
        id: u8,
        name: &str,
        password: &str,
        state: Option<&[u8]>,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) {
        out.clear();
        out.extend([1, id, 0, 0]);
        out.extend(random.next().to_be_bytes());
        out.extend(random.next().to_be_bytes());
        let authenticator: [u8; 16] = out[4..HEADER].try_into().expect("16 octets");
        attribute(out, MESSAGE_AUTHENTICATOR, &[0; 16]);
        attribute(out, USER_NAME, name.as_bytes());
        attribute(out, USER_PASSWORD, &self.hide(password.as_bytes(), authenticator));
        attribute(out, NAS_IDENTIFIER, b"radload");
        if let Some(state) = state {
            attribute(out, STATE, state);
        }
        measure(out);
        let mac = self.mac.clone().chain_update(&out).finalize().into_bytes();
        out[HEADER + 2..HEADER + 18].copy_from_slice(&mac);
    }

    /// An Accounting-Request that begins a session, or ends it (RFC 2866 section 4.1).
    pub(crate) fn account(&self, id: u8, name: &str, session: &str, stop: bool, out: &mut Vec<u8>) {
        out.clear();
        out.extend([4, id, 0, 0]);
        out.extend([0; 16]);
        attribute(out, ACCT_STATUS_TYPE, &[0, 0, 0, if stop { 2 } else { 1 }]);
        attribute(out, USER_NAME, name.as_bytes());
        attribute(out, NAS_IDENTIFIER, b"radload");
        attribute(out, ACCT_SESSION_ID, session.as_bytes());
        if stop {
            attribute(out, ACCT_SESSION_TIME, &[0, 0, 0, 1]);
        }
        measure(out);
        let digest = Md5::new().chain_update(&out).chain_update(&self.secret).finalize();
        out[4..HEADER].copy_from_slice(&digest);
    }

    /// The reply's State, or why it is not a genuine reply to `request`.
    pub(crate) fn verify<'r>(&self, request: &[u8], reply: &'r [u8]) -> Result<Option<&'r [u8]>, &'static str> {
        let length = reply
            .get(2..4)
            .map_or(0, |field| usize::from(field[0]) << 8 | usize::from(field[1]));
        let reply = reply
            .get(..length)
            .filter(|reply| reply.len() >= HEADER)
            .ok_or("bad length")?;
        let digest = Md5::new()
            .chain_update(&reply[..4])
            .chain_update(&request[4..HEADER])
            .chain_update(&reply[HEADER..])
            .chain_update(&self.secret)
            .finalize();
        if digest[..] != reply[4..HEADER] {
            return Err("bad Response Authenticator");
        }
        let (mut state, mut signed_at) = (None, None);
        let mut at = HEADER;
        while at < reply.len() {
            let size = reply.get(at + 1).map_or(0, |&size| usize::from(size));
            let value = reply.get(at + 2..at + size).ok_or("bad attributes")?;
            match reply[at] {
                STATE => state = Some(value),
                MESSAGE_AUTHENTICATOR if value.len() == 16 => signed_at = Some(at + 2),
                _ => {}
            }
            at += size;
        }
        if let Some(at) = signed_at {
            let mac = self
                .mac
                .clone()
                .chain_update(&reply[..4])
                .chain_update(&request[4..HEADER]);
            let mac = mac
                .chain_update(&reply[HEADER..at])
                .chain_update([0; 16])
                .chain_update(&reply[at + 16..]);
            if mac.finalize().into_bytes()[..] != reply[at..at + 16] {
                return Err("bad Message-Authenticator");
            }
        }
        if self.strict && signed_at != Some(HEADER + 2) {
            return Err("Message-Authenticator is not first");
        }
        Ok(state)
    }

    /// A signed Access-Accept with nothing in it, written over `request`. Its length.
    pub(crate) fn accept(&self, request: &mut [u8]) -> usize {
        const LENGTH: usize = HEADER + 18;
        let mut reply = [0; LENGTH];
        reply[..4].copy_from_slice(&[ACCESS_ACCEPT, request[1], 0, LENGTH as u8]);
        reply[4..HEADER].copy_from_slice(&request[4..HEADER]);
        reply[HEADER..HEADER + 2].copy_from_slice(&[MESSAGE_AUTHENTICATOR, 18]);
        let mac = self.mac.clone().chain_update(reply).finalize().into_bytes();
        reply[HEADER + 2..].copy_from_slice(&mac);
        let digest = Md5::new().chain_update(reply).chain_update(&self.secret).finalize();
        reply[4..HEADER].copy_from_slice(&digest);
        request[..LENGTH].copy_from_slice(&reply);
        LENGTH
    }

    /// RFC 2865 section 5.2.
    fn hide(&self, password: &[u8], authenticator: [u8; 16]) -> Vec<u8> {
        let mut hidden = password.to_vec();
        hidden.resize(password.len().max(1).next_multiple_of(16), 0);
        let mut previous = authenticator;
        for block in hidden.chunks_exact_mut(16) {
            let key = Md5::new().chain_update(&self.secret).chain_update(previous).finalize();
            block.iter_mut().zip(key).for_each(|(octet, key)| *octet ^= key);
            previous.copy_from_slice(block);
        }
        hidden
    }
}

/// Writes the Length field.
fn measure(out: &mut [u8]) {
    let length = u16::try_from(out.len()).expect("short packets");
    out[2..4].copy_from_slice(&length.to_be_bytes());
}

fn attribute(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u8::try_from(value.len() + 2).expect("short attributes");
    out.extend([kind, length]);
    out.extend_from_slice(value);
}
