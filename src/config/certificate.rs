//! What `client.certificate` says of a certificate, in forms that compare.

use std::fmt;
use std::net::IpAddr;

use serde::Deserialize;

/// A subjectAltName (RFC 5280 section 4.2.1.6) that a certificate must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum SubjectName {
    /// `dns:nas1.example.org`, in lower case.
    Dns(String),
    /// `dns:*.example.org`: any one label before what is kept here, which begins with a dot.
    DnsBelow(String),
    /// `ip:192.0.2.1`
    Ip(IpAddr),
    /// `uri:…`, octet for octet.
    Uri(String),
}

impl TryFrom<String> for SubjectName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let malformed = || {
            format!("`{text}` is no name; write `dns:nas1.example.org`, `dns:*.example.org`, `ip:192.0.2.1` or `uri:…`")
        };
        let (kind, name) = text.split_once(':').ok_or_else(malformed)?;
        match kind {
            "dns" => {
                let name = name.to_ascii_lowercase();
                let below = name.strip_prefix('*').filter(|rest| rest.starts_with('.'));
                if !is_host_name(below.map_or(name.as_str(), |rest| rest.trim_start_matches('.'))) {
                    return Err(malformed());
                }
                Ok(match below {
                    Some(rest) => Self::DnsBelow(rest.to_owned()),
                    None => Self::Dns(name),
                })
            }
            "ip" => name.parse().map(Self::Ip).map_err(|_| malformed()),
            "uri" if name.contains(':') => Ok(Self::Uri(name.to_owned())),
            _ => Err(malformed()),
        }
    }
}

fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    name.split('.').all(label)
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::DnsBelow(rest) => write!(f, "dns:*{rest}"),
            Self::Ip(address) => write!(f, "ip:{address}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

/// SHA-256 over a whole certificate, as `openssl x509 -fingerprint -sha256` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Fingerprint(pub [u8; 32]);

impl TryFrom<String> for Fingerprint {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").unwrap_or_default().replace(':', "");
        let octets = data_encoding::HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok();
        octets
            .and_then(|octets| octets.try_into().ok())
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no fingerprint; write `sha256:` and 64 hexadecimal digits"))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A distinguished name in a form that compares: `(TYPE, value)` in the order written, types in upper case,
/// values in lower case with single blanks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct IssuerName(Vec<(String, String)>);

impl IssuerName {
    /// From attributes as they stand in a certificate.
    pub fn new<'t>(attributes: impl IntoIterator<Item = (&'t str, &'t str)>) -> Self {
        let normal = |(kind, value): (&str, &str)| (kind.trim().to_uppercase(), normal(value));
        Self(attributes.into_iter().map(normal).collect())
    }

    /// Whether it is the same name, from whichever end it is written: certificates begin with the country,
    /// LDAP (RFC 4514) and openssl's `-nameopt RFC2253` with the common name.
    pub fn names(&self, other: &Self) -> bool {
        self.0 == other.0 || self.0.iter().eq(other.0.iter().rev())
    }
}

fn normal(value: &str) -> String {
    let words: Vec<String> = value.split_whitespace().map(str::to_lowercase).collect();
    words.join(" ")
}

impl TryFrom<String> for IssuerName {
    type Error = String;

    /// `CN=Example CA, O=Example`; a backslash takes the character after it as it is.
    fn try_from(text: String) -> Result<Self, String> {
        let malformed = || format!("`{text}` is no distinguished name; write `CN=Example CA, O=Example`");
        let mut parts = vec![String::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let taken = match character {
                ',' => {
                    parts.push(String::new());
                    continue;
                }
                '\\' => characters.next().ok_or_else(malformed)?,
                other => other,
            };
            parts.last_mut().ok_or_else(malformed)?.push(taken);
        }
        let mut attributes = Vec::new();
        for part in &parts {
            let (kind, value) = part.split_once('=').ok_or_else(malformed)?;
            if kind.trim().is_empty() || value.trim().is_empty() {
                return Err(malformed());
            }
            attributes.push((kind, value));
        }
        Ok(Self::new(attributes))
    }
}

impl fmt::Display for IssuerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (kind, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{kind}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn san(text: &str) -> Result<SubjectName, String> {
        text.to_owned().try_into()
    }

    #[test]
    fn names_are_told_by_their_kind() {
        assert_eq!(
            san("dns:NAS1.example.org"),
            Ok(SubjectName::Dns("nas1.example.org".into()))
        );
        assert_eq!(
            san("dns:*.example.org"),
            Ok(SubjectName::DnsBelow(".example.org".into()))
        );
        assert_eq!(
            san("ip:2001:db8::1"),
            Ok(SubjectName::Ip("2001:db8::1".parse().unwrap()))
        );
        assert_eq!(san("uri:urn:nas:1"), Ok(SubjectName::Uri("urn:nas:1".into())));
        for wrong in [
            "nas1.example.org",
            "dns:",
            "dns:*",
            "dns:*.*.org",
            "dns:n*.org",
            "dns:a..b",
            "ip:nas1",
            "uri:x",
            "mail:a@b",
        ] {
            assert!(san(wrong).is_err(), "{wrong}");
        }
        assert_eq!(san("dns:*.example.org").unwrap().to_string(), "dns:*.example.org");
    }

    #[test]
    fn fingerprints_are_read_with_and_without_colons() {
        let read = |text: &str| Fingerprint::try_from(text.to_owned());
        let plain = format!("sha256:{}", "ab".repeat(32));
        let colons = format!("sha256:{}", vec!["AB"; 32].join(":"));
        assert_eq!(read(&plain), Ok(Fingerprint([0xab; 32])));
        assert_eq!(read(&colons), read(&plain));
        assert_eq!(read(&plain).unwrap().to_string(), plain);
        for wrong in ["", "sha1:00", &plain[..70], &plain[7..]] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn distinguished_names_compare_from_either_end() {
        let read = |text: &str| IssuerName::try_from(text.to_owned());
        let one = read("CN=Example  CA, O=Acme\\, Inc.").unwrap();
        assert_eq!(one, IssuerName::new([("cn", "example ca"), ("o", "acme, inc.")]));
        assert!(one.names(&read("o=acme\\, inc.,cn=example ca").unwrap()));
        assert!(!one.names(&read("cn=example ca").unwrap()));
        assert_eq!(one.to_string(), "CN=example ca, O=acme, inc.");
        for wrong in ["", "Example CA", "CN=", "CN=a,", "CN=a\\"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
