//! The attributes of a packet that was taken apart, by name, with their values as people read them.

use serde::Serialize;

use crate::dictionary::{Dictionary, Encryption, Named};
use crate::radius::crypto::AUTHENTICATOR_LEN;
use crate::radius::decode::{Dissected, Known, hex, is_request};
use crate::secret::Secret;

/// One attribute, in words. Those inside a Vendor-Specific have a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Octets of the packet before the attribute, or before the one that it is in.
    pub at: usize,
    /// Its name, with the tag behind it if it has one; `Attr-…` when no dictionary knows it.
    pub name: String,
    /// Its number, as `1` or `26.311.16`.
    pub number: String,
    /// Its value: texts in quotation marks, numbers by their names, everything else in hexadecimal digits.
    pub value: String,
}

/// What may be shown of values that prove or open something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Their lengths.
    Hide,
    /// All of it, made readable where the shared secret is known.
    Show,
}

/// The attributes of a packet in order.
pub fn lines(packet: &Dissected<'_>, dictionary: &Dictionary, known: Known<'_>, secrets: Secrets) -> Vec<Line> {
    let mut lines = Vec::with_capacity(packet.attributes.len());
    for placed in &packet.attributes {
        for named in dictionary.name(placed.raw) {
            lines.push(Line {
                at: placed.at,
                name: named.label().to_string(),
                number: named.path.to_string(),
                value: value(&named, packet, known, secrets),
            });
        }
    }
    lines
}

fn value(named: &Named<'_>, packet: &Dissected<'_>, known: Known<'_>, secrets: Secrets) -> String {
    let octets = named.value;
    let encryption = named
        .attribute
        .map_or(Encryption::None, |attribute| attribute.encryption);
    let encrypted = encryption != Encryption::None && !known.v11;
    if secrets == Secrets::Hide && (encrypted || named.is_secret()) {
        return format!("({} octets, not shown)", octets.len());
    }
    let Some(attribute) = named.attribute else {
        return format!("0x{}", hex(octets));
    };
    if !encrypted {
        return attribute.show(octets).to_string();
    }
    match reveal(attribute.encryption, octets, packet, known) {
        Ok(plain) => attribute.show(plain.expose()).to_string(),
        Err(why) => format!("0x{} ({why})", hex(octets)),
    }
}

/// Undoes what hides a value: with the request's authenticator, also in its reply.
fn reveal(
    encryption: Encryption,
    hidden: &[u8],
    packet: &Dissected<'_>,
    known: Known<'_>,
) -> Result<Secret, &'static str> {
    let secret = known
        .secret
        .ok_or("hidden with the shared secret, which is not given")?;
    let request: &[u8; AUTHENTICATOR_LEN] = match (is_request(packet.code), packet.authenticator) {
        (true, Some(own)) => own,
        (true, None) | (false, _) => known
            .request
            .ok_or("hidden with the request's authenticator, which is not given")?,
    };
    let plain = match encryption {
        Encryption::None => Some(Secret::new(hidden)),
        Encryption::UserPassword => secret.reveal(hidden, request),
        Encryption::TunnelPassword => secret.reveal_salted(hidden, request),
        Encryption::AscendSecret => return Err("hidden in Ascend's way"),
    };
    plain.ok_or("not hidden as it should be, or with another shared secret")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::crypto::SharedSecret;
    use crate::radius::decode::dissect;
    use crate::radius::packet::Writer;

    const REQUEST: [u8; AUTHENTICATOR_LEN] = [5; AUTHENTICATOR_LEN];

    fn values(octets: &[u8], known: Known<'_>, secrets: Secrets) -> Vec<String> {
        let packet = dissect(octets, known).unwrap();
        lines(&packet, Dictionary::shipped(), known, secrets)
            .into_iter()
            .map(|line| format!("{} {} {} = {}", line.at, line.number, line.name, line.value))
            .collect()
    }

    #[test]
    fn passwords_only_when_asked_for() {
        let secret = SharedSecret::new(&Secret::new("s3cret"));
        let mut octets = Vec::new();
        let mut writer = Writer::begin(&mut octets, 1, 1, &REQUEST, false);
        writer.push(1, b"ana").unwrap();
        let hidden = secret.hide(&Secret::new("hunter2"), &REQUEST).unwrap();
        writer.push(2, &hidden).unwrap();
        writer.push(250, &[1, 2]).unwrap();
        writer.finish_request(&secret);
        let known = Known {
            secret: Some(&secret),
            ..Known::default()
        };
        let hidden = values(&octets, known, Secrets::Hide);
        assert_eq!(
            hidden,
            [
                "20 1 User-Name = \"ana\"",
                "25 2 User-Password = (16 octets, not shown)",
                "43 250 Attr-250 = 0x0102"
            ]
        );
        assert_eq!(
            values(&octets, known, Secrets::Show)[1],
            "25 2 User-Password = \"hunter2\""
        );
        let without = values(&octets, Known::default(), Secrets::Show);
        assert!(without[1].contains("which is not given"), "{without:?}");
        let v11 = Known {
            v11: true,
            ..Known::default()
        };
        octets[27..43].copy_from_slice(b"correct horse 16");
        assert_eq!(
            values(&octets, v11, Secrets::Show)[1],
            "25 2 User-Password = \"correct horse 16\""
        );
        assert!(values(&octets, v11, Secrets::Hide)[1].contains("not shown"));
    }

    #[test]
    fn keys_in_replies_need_the_request() {
        let secret = SharedSecret::new(&Secret::new("s3cret"));
        let key = secret
            .hide_salted(&Secret::new([0xab; 16]), [0x80, 1], &REQUEST)
            .unwrap();
        let mut octets = Vec::new();
        let mut writer = Writer::begin(&mut octets, 2, 1, &REQUEST, false);
        let length = u8::try_from(key.len() + 2).unwrap();
        // MS-MPPE-Send-Key and MS-MPPE-Encryption-Policy in one Vendor-Specific of Microsoft's.
        let inside = [&[0, 0, 1, 55, 16, length][..], &key, &[7, 6, 0, 0, 0, 1]].concat();
        writer.push(26, &inside).unwrap();
        writer.finish_reply(&secret);
        let with = |request| Known {
            secret: Some(&secret),
            request,
            v11: false,
        };
        let shown = values(&octets, with(Some(&REQUEST)), Secrets::Show);
        assert_eq!(
            shown[0],
            format!("20 26.311.16 MS-MPPE-Send-Key = 0x{}", "ab".repeat(16))
        );
        assert!(
            shown[1].starts_with("20 26.311.7 MS-MPPE-Encryption-Policy = "),
            "{shown:?}"
        );
        assert!(values(&octets, with(None), Secrets::Show)[0].contains("request's authenticator"));
        let hidden = values(&octets, with(Some(&REQUEST)), Secrets::Hide);
        assert!(
            hidden[0].contains("not shown") && !hidden[1].contains("not shown"),
            "{hidden:?}"
        );
    }
}
