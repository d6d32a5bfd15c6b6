//! Machines that cannot reach us: somebody at one reads out a challenge, and helpdesk says the response. Both sides
//! know the key of that machine and person, and nothing else goes between them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::authenticator::ocra::CHALLENGE_DIGITS;
use crate::engine::record::{OcraSuite, Record};

/// How responses are computed: eight digits, which nobody has to type often.
pub const SUITE: OcraSuite = OcraSuite::Sha256Digits8;

/// Octets of a key, as many as the hash function's output (RFC 6287 section 4).
pub const KEY_OCTETS: usize = 32;

/// Longest name of a machine, in characters.
pub const MAX_MACHINE: usize = 64;

/// A challenge from eight random octets.
pub fn challenge(random: [u8; 8]) -> String {
    format!("{:08}", u64::from_be_bytes(random) % 100_000_000)
}

/// Whether a machine can be called that: letters, digits, `.`, `_`, `-`.
pub fn is_machine(name: &str) -> bool {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-');
    (1..=MAX_MACHINE).contains(&name.len()) && name.bytes().all(plain)
}

/// What somebody at a machine is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The machine, where it is said.
    pub machine: Option<String>,
    /// The challenge: eight digits.
    pub challenge: String,
}

impl Asked {
    /// What the QR code says.
    pub fn uri(machine: &str, challenge: &str) -> String {
        format!("{SCHEME}{machine}/{challenge}")
    }

    /// Reads a challenge as it was told, with or without blanks, or what the QR code says.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (machine, challenge) = match text.strip_prefix(SCHEME) {
            Some(rest) => rest
                .split_once('/')
                .map(|(machine, challenge)| (Some(machine), challenge))?,
            None => (None, text),
        };
        let challenge: String = challenge
            .chars()
            .filter(|character| !character.is_whitespace())
            .collect();
        let is_whole = challenge.len() == CHALLENGE_DIGITS && challenge.bytes().all(|octet| octet.is_ascii_digit());
        let is_named = machine.is_none_or(is_machine);
        (is_whole && is_named).then(|| Self {
            machine: machine.map(ToOwned::to_owned),
            challenge,
        })
    }
}

const SCHEME: &str = "portcullis:offline/";

/// When responses were given for one person, oldest first: not more than [`Responses::MOST`] in
/// [`Responses::WINDOW`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responses(Vec<Timestamp>);

impl Responses {
    /// Most responses within the window.
    pub const MOST: usize = 10;

    /// The window.
    pub const WINDOW: Duration = Duration::from_secs(60 * 60);

    /// With one more; `None` when there were too many.
    pub fn with(&self, now: Timestamp) -> Option<Self> {
        let recent = self.0.iter().filter(|at| **at > now - Self::WINDOW);
        let mut given: Vec<Timestamp> = recent.copied().collect();
        given.push(now);
        (given.len() <= Self::MOST).then_some(Self(given))
    }
}

impl Record for Responses {
    const FORMAT: u8 = 1;

    fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_as_they_are_told() {
        let asked = |machine: Option<&str>| {
            Some(Asked {
                machine: machine.map(Into::into),
                challenge: "12345678".into(),
            })
        };
        assert_eq!(Asked::parse(" 1234 5678 "), asked(None));
        assert_eq!(Asked::parse(&Asked::uri("lab-7.x", "12345678")), asked(Some("lab-7.x")));
        for text in [
            "",
            "1234567",
            "123456789",
            "1234567x",
            "portcullis:offline/12345678",
            "portcullis:offline//12345678",
            "portcullis:offline/a b/12345678",
        ] {
            assert_eq!(Asked::parse(text), None, "{text}");
        }
        assert_eq!(challenge([0, 0, 0, 0, 0, 0, 0, 7]), "00000007");
        assert_eq!(challenge([0xff; 8]).len(), CHALLENGE_DIGITS);
    }

    #[test]
    fn so_many_responses_in_an_hour() {
        let at = Timestamp::from_secs;
        let mut given = Responses::default();
        for secs in 0..10 {
            given = given.with(at(10_000 + secs)).unwrap();
        }
        assert_eq!(given.with(at(10_010)), None);
        assert_eq!(given.with(at(13_599)), None);
        assert_eq!(given.with(at(13_600)).unwrap().0.len(), 10, "the first is an hour ago");
    }
}
