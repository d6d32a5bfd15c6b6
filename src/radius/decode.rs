//! A packet taken apart for people: what it says, what proves it, and where it is malformed.
//!
//! Unlike [`Packet::parse`], which drops what is malformed, this reads as far as it can and names the
//! octet at which it cannot go on.

pub mod datagram;
pub mod dump;
pub mod named;

use serde::{Serialize, Serializer};

use crate::radius::attribute::{ACCESS_REQUEST, MESSAGE_AUTHENTICATOR, STATUS_SERVER, code_name};
use crate::radius::crypto::{AUTHENTICATOR_LEN, SharedSecret, Signature};
use crate::radius::packet::{HEADER_LEN, MAX_LEN, Packet};

/// What is known besides the octets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The shared secret.
    pub secret: Option<&'a SharedSecret>,
    /// The Authenticator field of the request that a reply answers.
    pub request: Option<&'a [u8; AUTHENTICATOR_LEN]>,
    /// Whether the packet travelled as RADIUS/1.1 (RFC 9765).
    pub v11: bool,
}

/// A packet, as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dissected<'a> {
    /// Code.
    pub code: u8,
    /// The code's name.
    pub name: &'static str,
    /// What tells requests apart.
    #[serde(flatten)]
    pub mark: Mark,
    /// The Length field.
    pub length: u16,
    /// Octets beyond Length, which mean nothing (RFC 2865 section 3).
    pub padding: usize,
    /// The Authenticator field; RADIUS/1.1 has none.
    #[serde(serialize_with = "hex_or_null")]
    pub authenticator: Option<&'a [u8; AUTHENTICATOR_LEN]>,
    /// What the Authenticator field is worth.
    pub authenticator_check: Check,
    /// What Message-Authenticator is worth.
    pub message_authenticator: Check,
    /// Whether Message-Authenticator is the first attribute, as it must be in replies.
    pub signed_first: bool,
    /// The attributes before the first fault.
    #[serde(skip)]
    pub attributes: Vec<Placed<'a>>,
    /// What is malformed.
    pub fault: Option<Fault>,
}

/// What a reply is matched to its request by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// Identifier (RFC 2865 section 3).
    Identifier(u8),
    /// Token (RFC 9765 section 4.1).
    Token(u32),
}

/// What a field that proves something is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Made with the shared secret over these octets.
    Valid,
    /// Not that: another secret, another request, or altered on the way.
    Invalid,
    /// It is not there.
    Absent,
    /// Random in a request of this kind, so it proves nothing.
    Random,
    /// Needs the shared secret to be judged.
    NeedsSecret,
    /// Needs the request's authenticator to be judged.
    NeedsRequest,
    /// RADIUS/1.1 does not use it.
    Unused,
    /// The packet is malformed.
    Malformed,
}

/// An attribute and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// Octets of the packet before it.
    pub at: usize,
    /// Type.
    pub kind: u8,
    /// Value.
    pub value: &'a [u8],
    /// Type, length and value.
    pub raw: &'a [u8],
}

/// Something malformed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("octet {at}: {what}")]
pub struct Fault {
    /// Octets of the packet before it.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

/// Takes a packet apart.
///
/// # Errors
/// [`Fault`] when there is no whole header.
pub fn dissect<'a>(octets: &'a [u8], known: Known<'_>) -> Result<Dissected<'a>, Fault> {
    let Some((header, _)) = octets.split_first_chunk::<HEADER_LEN>() else {
        let what = format!("the packet ends here, within its header of {HEADER_LEN} octets");
        return Err(Fault { at: octets.len(), what });
    };
    let [code, identifier, high, low, rest @ ..] = header;
    let length = u16::from_be_bytes([*high, *low]);
    let (end, length_fault) = bounds(octets.len(), usize::from(length));
    let (attributes, attribute_fault) = walk(octets, end);
    let fault = length_fault.or(attribute_fault);
    let mut dissected = Dissected {
        code: *code,
        name: code_name(*code),
        mark: Mark::Identifier(*identifier),
        length,
        padding: octets.len() - end,
        authenticator: Some(rest),
        authenticator_check: Check::Malformed,
        message_authenticator: Check::Malformed,
        signed_first: attributes
            .first()
            .is_some_and(|first| first.kind == MESSAGE_AUTHENTICATOR),
        attributes,
        fault,
    };
    if known.v11 {
        let [token @ .., _, _, _, _, _, _, _, _, _, _, _, _] = rest;
        dissected.mark = Mark::Token(u32::from_be_bytes(*token));
        dissected.authenticator = None;
        dissected.authenticator_check = Check::Unused;
        dissected.message_authenticator = Check::Unused;
    } else if let Ok(packet) = Packet::parse(octets) {
        (dissected.authenticator_check, dissected.message_authenticator) = checks(&packet, known);
    }
    Ok(dissected)
}

/// Accounting-Request (RFC 2866 section 4.1).
const ACCOUNTING_REQUEST: u8 = 4;
/// Disconnect-Request (RFC 5176 section 3).
const DISCONNECT_REQUEST: u8 = 40;
/// CoA-Request (RFC 5176 section 3).
const COA_REQUEST: u8 = 43;
const ZEROS: [u8; AUTHENTICATOR_LEN] = [0; AUTHENTICATOR_LEN];

/// Whether packets of this code ask for an answer.
pub const fn is_request(code: u8) -> bool {
    matches!(
        code,
        ACCESS_REQUEST | STATUS_SERVER | ACCOUNTING_REQUEST | DISCONNECT_REQUEST | COA_REQUEST
    )
}

/// Where the attributes end, and what is wrong with the Length field.
fn bounds(present: usize, length: usize) -> (usize, Option<Fault>) {
    let fault = |what| Some(Fault { at: 2, what });
    if length < HEADER_LEN {
        let what = format!("Length is {length}, and the least is {HEADER_LEN}");
        (present, fault(what))
    } else if length > MAX_LEN {
        let what = format!("Length is {length}, and the most is {MAX_LEN}");
        (present.min(MAX_LEN), fault(what))
    } else if length > present {
        let what = format!("Length is {length}, but there are only {present} octets");
        (present, fault(what))
    } else {
        (length, None)
    }
}

fn walk(octets: &[u8], end: usize) -> (Vec<Placed<'_>>, Option<Fault>) {
    let mut attributes = Vec::new();
    let mut at = HEADER_LEN;
    let mut signed = false;
    let fault = |at, what: String| Some(Fault { at, what });
    loop {
        let rest = octets.get(at..end).unwrap_or_default();
        let (kind, length) = match rest {
            [] => return (attributes, None),
            [kind] => {
                let what = format!("type {kind} is the last octet, without a length");
                return (attributes, fault(at, what));
            }
            [kind, length, ..] => (*kind, usize::from(*length)),
        };
        if length < 2 {
            let what = format!("the attribute of type {kind} at octet {at} has length {length}, and the least is 2");
            return (attributes, fault(at + 1, what));
        }
        let Some((raw, value)) = rest.get(..length).and_then(|raw| Some((raw, raw.get(2..)?))) else {
            let left = rest.len();
            let what =
                format!("the attribute of type {kind} at octet {at} has length {length}, but {left} octets are left");
            return (attributes, fault(at + 1, what));
        };
        attributes.push(Placed { at, kind, value, raw });
        if kind == MESSAGE_AUTHENTICATOR {
            if value.len() != AUTHENTICATOR_LEN {
                let what = format!(
                    "Message-Authenticator has length {length}, and must have {}",
                    AUTHENTICATOR_LEN + 2
                );
                return (attributes, fault(at + 1, what));
            }
            if signed {
                return (attributes, fault(at, "a second Message-Authenticator".into()));
            }
            signed = true;
        }
        at += length;
    }
}

/// What Authenticator and Message-Authenticator are worth.
fn checks(packet: &Packet<'_>, known: Known<'_>) -> (Check, Check) {
    let code = packet.code();
    let random = matches!(code, ACCESS_REQUEST | STATUS_SERVER);
    let Some(secret) = known.secret else {
        let own = if random { Check::Random } else { Check::NeedsSecret };
        let signature = if packet.has(MESSAGE_AUTHENTICATOR) {
            Check::NeedsSecret
        } else {
            Check::Absent
        };
        return (own, signature);
    };
    if random {
        return (Check::Random, judged(secret.request_signature(packet)));
    }
    // For requests that are authenticated as a whole, the field counts as zeros (RFC 2866 section 3,
    // RFC 5176 section 2.3); for replies, as the request's.
    let base = if is_request(code) { Some(&ZEROS) } else { known.request };
    match base {
        Some(base) => {
            let own = if secret.proves_response(packet, base) {
                Check::Valid
            } else {
                Check::Invalid
            };
            (own, judged(secret.reply_signature(packet, base)))
        }
        None if packet.has(MESSAGE_AUTHENTICATOR) => (Check::NeedsRequest, Check::NeedsRequest),
        None => (Check::NeedsRequest, Check::Absent),
    }
}

const fn judged(signature: Signature) -> Check {
    match signature {
        Signature::Valid => Check::Valid,
        Signature::Invalid => Check::Invalid,
        Signature::Absent => Check::Absent,
    }
}

fn hex_or_null<S: Serializer>(octets: &Option<&[u8; AUTHENTICATOR_LEN]>, serializer: S) -> Result<S::Ok, S::Error> {
    octets.map(|octets| hex(octets)).serialize(serializer)
}

/// Octets as lower-case hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    use std::fmt::Write as _;
    octets
        .iter()
        .fold(String::with_capacity(2 * octets.len()), |mut text, octet| {
            // Writing into a String does not fail.
            let _ = write!(text, "{octet:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::radius::attribute::{ACCESS_ACCEPT, STATE, USER_NAME};
    use crate::radius::packet::Writer;
    use crate::secret::Secret;

    fn secret() -> SharedSecret {
        SharedSecret::new(&Secret::new("s3cret"))
    }

    fn with(secret: &SharedSecret) -> Known<'_> {
        Known {
            secret: Some(secret),
            ..Known::default()
        }
    }

    fn request(sign: bool) -> Vec<u8> {
        let mut octets = Vec::new();
        let mut writer = Writer::begin(&mut octets, ACCESS_REQUEST, 7, &[5; 16], sign);
        writer.push(USER_NAME, b"ana").unwrap();
        writer.push(STATE, b"1234").unwrap();
        writer.finish_request(&secret());
        octets
    }

    #[test]
    fn a_request() {
        let (octets, secret) = (request(true), secret());
        let found = dissect(&octets, with(&secret)).unwrap();
        assert_eq!((found.name, found.mark), ("Access-Request", Mark::Identifier(7)));
        assert_eq!(
            (found.authenticator_check, found.message_authenticator),
            (Check::Random, Check::Valid)
        );
        assert!(found.signed_first && found.fault.is_none());
        let places: Vec<_> = found
            .attributes
            .iter()
            .map(|attribute| (attribute.at, attribute.kind))
            .collect();
        assert_eq!(places, [(20, MESSAGE_AUTHENTICATOR), (38, USER_NAME), (43, STATE)]);
        let other = SharedSecret::new(&Secret::new("other"));
        assert_eq!(
            dissect(&octets, with(&other)).unwrap().message_authenticator,
            Check::Invalid
        );
        assert_eq!(
            dissect(&octets, Known::default()).unwrap().message_authenticator,
            Check::NeedsSecret
        );
        assert_eq!(
            dissect(&request(false), with(&secret)).unwrap().message_authenticator,
            Check::Absent
        );
    }

    #[test]
    fn a_reply_needs_its_request() {
        let (mut octets, secret) = (Vec::new(), secret());
        Writer::begin(&mut octets, ACCESS_ACCEPT, 7, &[5; 16], true).finish_reply(&secret);
        let checked = |known: Known<'_>| {
            let found = dissect(&octets, known).unwrap();
            (found.authenticator_check, found.message_authenticator)
        };
        assert_eq!(checked(with(&secret)), (Check::NeedsRequest, Check::NeedsRequest));
        for (request, expected) in [([5; 16], Check::Valid), ([6; 16], Check::Invalid)] {
            let known = Known {
                request: Some(&request),
                ..with(&secret)
            };
            assert_eq!(checked(known), (expected, expected));
        }
    }

    #[test]
    fn requests_that_are_authenticated_as_a_whole() {
        let secret = secret();
        for code in [ACCOUNTING_REQUEST, DISCONNECT_REQUEST, COA_REQUEST] {
            let mut octets = Vec::new();
            let mut writer = Writer::begin(&mut octets, code, 7, &[0; 16], true);
            writer.push(USER_NAME, b"ana").unwrap();
            // The same computation as for a reply, over an Authenticator field of zeros.
            writer.finish_reply(&secret);
            let found = dissect(&octets, with(&secret)).unwrap();
            assert_eq!(
                (found.authenticator_check, found.message_authenticator),
                (Check::Valid, Check::Valid)
            );
            octets[25] ^= 1;
            let found = dissect(&octets, with(&secret)).unwrap();
            assert_eq!(
                (found.authenticator_check, found.message_authenticator),
                (Check::Invalid, Check::Invalid)
            );
        }
    }

    #[test]
    fn version_1_1_has_a_token() {
        let mut octets = request(false);
        octets[4..8].copy_from_slice(&[0, 0, 1, 2]);
        let known = Known {
            v11: true,
            ..Known::default()
        };
        let found = dissect(&octets, known).unwrap();
        assert_eq!((found.mark, found.authenticator), (Mark::Token(258), None));
        assert_eq!(found.message_authenticator, Check::Unused);
    }

    #[test]
    fn faults_name_the_octet() {
        let fault = |octets: &[u8]| match dissect(octets, Known::default()) {
            Ok(found) => found.fault.map(|fault| (fault.at, fault.what)),
            Err(fault) => Some((fault.at, fault.what)),
        };
        let good = request(true);
        assert_eq!(fault(&good), None);
        assert_eq!(fault(&good[..19]).unwrap().0, 19);
        assert_eq!(
            fault(&good[..48]).unwrap(),
            (2, "Length is 49, but there are only 48 octets".into())
        );
        let altered = |at: usize, octet: u8| {
            let mut octets = good.clone();
            octets[at] = octet;
            fault(&octets).unwrap()
        };
        assert_eq!(altered(3, 19), (2, "Length is 19, and the least is 20".into()));
        assert_eq!(altered(2, 0x20).1, "Length is 8241, and the most is 4096");
        assert_eq!(
            altered(39, 1),
            (
                39,
                "the attribute of type 1 at octet 38 has length 1, and the least is 2".into()
            )
        );
        assert_eq!(
            altered(44, 7),
            (
                44,
                "the attribute of type 24 at octet 43 has length 7, but 6 octets are left".into()
            )
        );
        assert_eq!(
            altered(3, 44),
            (43, "type 24 is the last octet, without a length".into())
        );
        assert_eq!(altered(21, 5).0, 21);
    }

    proptest! {
        /// What is dropped on the wire has a fault here, and nothing else has.
        #[test]
        fn agrees_with_the_parser(mut octets in prop::collection::vec(any::<u8>(), 20..120), fit in any::<bool>()) {
            if fit {
                let length = u16::try_from(octets.len()).unwrap();
                octets[2..4].copy_from_slice(&length.to_be_bytes());
                let mut at = 20;
                while at + 1 < octets.len() {
                    octets[at + 1] = octets[at + 1] % 8 + 1;
                    at += usize::from(octets[at + 1]);
                }
            }
            let found = dissect(&octets, Known::default()).unwrap();
            prop_assert_eq!(found.fault.is_none(), Packet::parse(&octets).is_ok());
        }
    }
}
