//! Attributes of the dictionary in packets: written with what hides them on this channel, and read again.

use std::fmt;

use crate::dictionary::{Dictionary, Encryption, Named, Pair};
use crate::radius::crypto::{AUTHENTICATOR_LEN, Salts, SharedSecret};
use crate::radius::packet::{Overflow, Packet, Writer};
use crate::secret::Secret;

/// What values are hidden with: the shared secret, and the authenticator of the request that is sent or
/// answered. None over RADIUS/1.1, where they travel as they are (RFC 9765 section 5.1).
pub type Hiding<'a> = Option<(&'a SharedSecret, &'a [u8; AUTHENTICATOR_LEN])>;

/// Why attributes cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    /// An attribute is too long, or the packet would be.
    #[error("{0} does not fit the packet")]
    Full(String),
    /// Hidden in a way that is not known here.
    #[error("{0} is hidden in a way that Portcullis does not know")]
    Unhideable(String),
}

/// Appends attributes to a packet in their order.
///
/// # Errors
/// [`Unwritten`], which names the attribute; the packet is of no use then.
pub fn write(writer: &mut Writer<'_>, pairs: &[Pair], hiding: Hiding<'_>, salts: &mut Salts) -> Result<(), Unwritten> {
    let (mut body, mut octets) = (Vec::new(), Vec::new());
    for pair in pairs {
        let full = || Unwritten::Full(pair.label());
        body.clear();
        octets.clear();
        match (pair.attribute.encryption, hiding) {
            (Encryption::None, _) | (_, None) => {
                pair.push_tag(&mut body);
                body.extend_from_slice(&pair.value);
            }
            (Encryption::TunnelPassword, Some((secret, authenticator))) => {
                // Behind a tag stands a salt, so the tag is always there.
                if pair.attribute.tagged {
                    body.push(pair.tag.unwrap_or(0));
                }
                let value = Secret::new(pair.value.as_slice());
                let hidden = secret.hide_salted(&value, salts.fresh(), authenticator);
                body.extend_from_slice(&hidden.ok_or_else(full)?);
            }
            (Encryption::UserPassword, Some((secret, authenticator))) => {
                let hidden = secret.hide(&Secret::new(pair.value.as_slice()), authenticator);
                body = hidden.ok_or_else(full)?;
            }
            (Encryption::AscendSecret, Some(_)) => return Err(Unwritten::Unhideable(pair.label())),
        }
        pair.attribute.lay_out(&body, &mut octets).map_err(|_| full())?;
        writer.push_raw(&octets).map_err(|Overflow| full())?;
    }
    Ok(())
}

/// The value of an attribute that was received hidden, if it is one of those that can be revealed. With a
/// wrong secret it is noise, or none.
pub fn reveal(named: &Named<'_>, hiding: Hiding<'_>) -> Option<Secret> {
    match (named.attribute?.encryption, hiding) {
        (Encryption::None, _) => None,
        (_, None) => Some(Secret::new(named.value)),
        (Encryption::TunnelPassword, Some((secret, authenticator))) => secret.reveal_salted(named.value, authenticator),
        (Encryption::UserPassword, Some((secret, authenticator))) => secret.reveal(named.value, authenticator),
        (Encryption::AscendSecret, Some(_)) => None,
    }
}

/// All attributes of a packet on one line, for logs: what proves or opens something appears as its length.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// What knows the names.
    pub dictionary: &'a Dictionary,
    /// The packet.
    pub packet: &'a Packet<'a>,
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = self.packet.attributes().rest();
        for (index, named) in self.dictionary.name(attributes).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{}", named.for_log())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::packet::Malformed;

    const AUTHENTICATOR: [u8; AUTHENTICATOR_LEN] = [7; AUTHENTICATOR_LEN];

    fn pairs(lines: &[(&str, &str)]) -> Vec<Pair> {
        let pair = |(name, value): &(&str, &str)| Dictionary::shipped().pair(name, value).unwrap();
        lines.iter().map(pair).collect()
    }

    fn written(pairs: &[Pair], hiding: Hiding<'_>) -> Result<Vec<u8>, Unwritten> {
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, 2, 1, &AUTHENTICATOR, false);
        write(&mut writer, pairs, hiding, &mut Salts::default())?;
        writer.finish_plain();
        Ok(buffer)
    }

    #[test]
    fn hidden_values_differ_in_salt_and_come_back() {
        let secret = SharedSecret::new(&Secret::new("xyzzy5461"));
        let hiding = Some((&secret, &AUTHENTICATOR));
        let lines = [
            ("Tunnel-Password:3", "hunter2"),
            ("Tunnel-Password", "hunter2"),
            ("MS-MPPE-Send-Key", "0x00112233445566778899aabbccddeeff00"),
            ("User-Password", "swordfish"),
        ];
        let buffer = written(&pairs(&lines), hiding).unwrap();
        let packet = Packet::parse(&buffer).unwrap();
        let named: Vec<Named<'_>> = Dictionary::shipped().name(packet.attributes().rest()).collect();
        let revealed: Vec<Secret> = named.iter().map(|named| reveal(named, hiding).unwrap()).collect();
        let plain: Vec<Vec<u8>> = pairs(&lines).into_iter().map(|pair| pair.value).collect();
        assert_eq!(revealed.iter().map(Secret::expose).collect::<Vec<_>>(), plain);
        assert_eq!((named[0].tag, named[1].tag), (Some(3), None));
        let salts: Vec<&[u8]> = named[..3].iter().map(|named| &named.value[..2]).collect();
        assert!(salts.iter().all(|salt| salt[0] & 0x80 != 0));
        assert!(salts[0] != salts[1] && salts[1] != salts[2] && salts[0] != salts[2]);
        assert!(
            !Listed {
                dictionary: Dictionary::shipped(),
                packet: &packet
            }
            .to_string()
            .contains("hunter")
        );
    }

    #[test]
    fn nothing_is_hidden_over_radius_1_1() {
        let buffer = written(
            &pairs(&[("Tunnel-Password:3", "hunter2"), ("MS-MPPE-Recv-Key", "0x0102")]),
            None,
        )
        .unwrap();
        let expected = [&[69, 10, 3][..], b"hunter2", &[26, 10, 0, 0, 1, 55, 17, 4, 1, 2]].concat();
        assert_eq!(&buffer[20..], expected);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let many: Vec<Pair> = (0..20)
            .flat_map(|_| pairs(&[("Filter-Id", &"x".repeat(253))]))
            .collect();
        assert_eq!(written(&many, None), Err(Unwritten::Full("Filter-Id".into())));
        let secret = SharedSecret::new(&Secret::new("xyzzy5461"));
        let mut long = pairs(&[("Tunnel-Password:1", "x")]);
        long[0].value = vec![b'x'; 240];
        let error = written(&long, Some((&secret, &AUTHENTICATOR))).unwrap_err();
        assert_eq!(error.to_string(), "Tunnel-Password:1 does not fit the packet");
    }

    #[test]
    fn packets_are_listed() {
        let mut buffer = written(&pairs(&[("User-Name", "ana"), ("NAS-Port", "7")]), None).unwrap();
        buffer.extend_from_slice(&[250, 4, 1, 2, 26, 9, 0, 0, 1, 55, 99, 3, 1, 2, 4, 5, 6]);
        buffer[3] = u8::try_from(buffer.len()).unwrap();
        let packet = Packet::parse(&buffer).map_err(|error: Malformed| error).unwrap();
        let listed = Listed {
            dictionary: Dictionary::shipped(),
            packet: &packet,
        };
        assert_eq!(
            listed.to_string(),
            "User-Name = \"ana\", NAS-Port = 7, Attr-250 = 0x0102, Attr-26.311.99 = 0x01, User-Password = (2 octets)"
        );
    }
}
