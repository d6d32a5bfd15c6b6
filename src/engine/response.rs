//! Responses to challenges: CHAP (RFC 1994, RFC 2865 section 5.3) and MS-CHAPv2 (RFC 2759).
//!
//! Here the password never arrives. What arrives was computed from it and from a challenge, and can be
//! judged only by who keeps the password itself, or for MS-CHAPv2 its NT hash: never by a directory that
//! is asked by bind.

mod mschap;

use std::fmt;
use std::sync::Arc;

use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use crate::secret::Secret;

pub use mschap::{MsChapV2, Peer, nt_hash};

/// A response, with the challenge that it answers.
#[derive(Clone, Debug)]
pub enum Response {
    /// CHAP with MD5.
    Chap(Chap),
    /// MS-CHAP version 2.
    MsChapV2(MsChapV2),
}

/// A CHAP response (RFC 1994 section 4.1, algorithm 5).
#[derive(Clone)]
pub struct Chap {
    /// The identifier of the challenge.
    identifier: u8,
    /// The challenge, [`Chap::CHALLENGE`] octets.
    challenge: Vec<u8>,
    /// MD5 over identifier, password and challenge.
    response: [u8; 16],
}

/// What is kept of a password.
#[derive(Clone, Copy, Debug)]
pub enum Kept<'k> {
    /// The password itself.
    Clear(&'k Secret),
    /// Its NT hash: MD4 over the password in UTF-16LE, 16 octets (RFC 2759 section 8.3).
    NtHash(&'k Secret),
}

/// What came of judging a response.
#[derive(Clone, Debug)]
pub enum ResponseOutcome {
    /// It was made with the password. For MS-CHAPv2 with what the client is to be told and given.
    Right(Option<Arc<MsChapSuccess>>),
    /// It was not.
    Wrong,
    /// Nothing is kept of the person's password that it could be compared with.
    Impossible,
    /// The entry has gone since it was looked up.
    Unknown,
}

/// What follows from a right MS-CHAPv2 response.
#[derive(Clone, Debug)]
pub struct MsChapSuccess {
    /// The identifier that the response came with.
    pub identifier: u8,
    /// What proves to the peer that we know the password as well: 20 octets, written as `S=` and 40
    /// hexadecimal digits (RFC 2759 section 8.7).
    pub authenticator_response: [u8; 20],
    /// MS-MPPE-Send-Key: 16 octets, what the client encrypts with (RFC 3079 section 3.3).
    pub send_key: Secret,
    /// MS-MPPE-Recv-Key: 16 octets, what the client decrypts with.
    pub receive_key: Secret,
}

impl Response {
    /// Judges it by what is kept of the password. Never [`ResponseOutcome::Unknown`].
    pub fn judge(&self, kept: Kept<'_>) -> ResponseOutcome {
        match (self, kept) {
            (Self::Chap(chap), Kept::Clear(password)) if chap.is_made_with(password) => ResponseOutcome::Right(None),
            (Self::Chap(_), Kept::Clear(_)) => ResponseOutcome::Wrong,
            (Self::Chap(_), Kept::NtHash(_)) => ResponseOutcome::Impossible,
            (Self::MsChapV2(response), Kept::NtHash(hash)) => response.judge(hash),
            // A password that is no text has no NT hash.
            (Self::MsChapV2(response), Kept::Clear(password)) => match nt_hash(password) {
                Some(hash) => response.judge(&hash),
                None => ResponseOutcome::Impossible,
            },
        }
    }
}

impl Chap {
    /// Octets of a challenge: RFC 2865 section 5.40 has five at least, and an attribute holds no more.
    pub const CHALLENGE: std::ops::RangeInclusive<usize> = 5..=253;

    /// Takes a response; `None` when the challenge has not a length of [`Chap::CHALLENGE`].
    pub fn new(identifier: u8, challenge: &[u8], response: [u8; 16]) -> Option<Self> {
        Self::CHALLENGE.contains(&challenge.len()).then(|| Self {
            identifier,
            challenge: challenge.to_vec(),
            response,
        })
    }

    /// The response that the holder of `password` gives.
    pub fn response(identifier: u8, password: &Secret, challenge: &[u8]) -> [u8; 16] {
        let mut md5 = Md5::new();
        md5.update([identifier]);
        md5.update(password.expose());
        md5.update(challenge);
        md5.finalize().into()
    }

    fn is_made_with(&self, password: &Secret) -> bool {
        let expected = Self::response(self.identifier, password, &self.challenge);
        expected.ct_eq(&self.response).into()
    }
}

/// A response lets guesses be tried at leisure: it is printed no more than a password is.
impl fmt::Debug for Chap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[CHAP response]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chap_takes_the_password_itself() {
        let (password, other) = (Secret::new("arctangent"), Secret::new("other"));
        let hash = nt_hash(&password).unwrap();
        let challenge = [7; 16];
        let chap = |response| Response::Chap(Chap::new(22, &challenge, response).unwrap());
        let right = chap(Chap::response(22, &password, &challenge));
        let of_another_challenge = chap(Chap::response(23, &password, &challenge));
        let wrong = |outcome| matches!(outcome, ResponseOutcome::Wrong);
        assert!(matches!(
            right.judge(Kept::Clear(&password)),
            ResponseOutcome::Right(None)
        ));
        assert!(wrong(right.judge(Kept::Clear(&other))));
        assert!(wrong(of_another_challenge.judge(Kept::Clear(&password))));
        assert!(matches!(right.judge(Kept::NtHash(&hash)), ResponseOutcome::Impossible));
        assert_eq!(format!("{right:?}"), "Chap([CHAP response])");
    }

    #[test]
    fn challenges_have_their_lengths() {
        for (length, taken) in [(0, false), (4, false), (5, true), (16, true), (253, true), (254, false)] {
            assert_eq!(Chap::new(1, &vec![0; length], [0; 16]).is_some(), taken, "{length}");
        }
    }
}
