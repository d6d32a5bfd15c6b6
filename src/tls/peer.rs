//! What a peer's certificate says of the peer (RFC 5280).

use std::net::IpAddr;

use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use x509_parser::objects::{oid_registry, oid2abbrev};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::ber::Reader;

/// Who presented a certificate that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// SHA-256 over the certificate.
    pub fingerprint: [u8; 32],
    /// subjectAltName: host names, in lower case.
    pub hosts: Vec<String>,
    /// subjectAltName: addresses.
    pub addresses: Vec<IpAddr>,
    /// subjectAltName: URIs.
    pub uris: Vec<String>,
    /// The issuer's distinguished name as it stands, attribute by attribute: `("CN", "Example CA")`. A type
    /// without a short name is its object identifier; a value that is no text is left out.
    pub issuer: Vec<(String, String)>,
    /// The subject's distinguished name, for logs.
    pub subject: String,
    /// subjectAltName: mail addresses.
    pub emails: Vec<String>,
    /// subjectAltName: user principal names (otherName 1.3.6.1.4.1.311.20.2.3).
    pub principals: Vec<String>,
    /// The subject, one relative name after the other as they stand in the certificate, each of one attribute or
    /// more; `None` when a value in it is no text.
    pub subject_names: Option<Vec<Vec<(String, String)>>>,
    chain: Vec<CertificateDer<'static>>,
}

impl Peer {
    /// Reads the first certificate of a chain; `None` when it cannot be read. Says nothing about whether it
    /// can be trusted.
    pub fn read(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let own = chain.first()?;
        let (_, certificate) = X509Certificate::from_der(own).ok()?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, own).as_ref());
        let mut peer = Self {
            fingerprint,
            hosts: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            issuer: attributes(certificate.issuer()),
            subject: certificate.subject().to_string(),
            emails: Vec::new(),
            principals: Vec::new(),
            subject_names: relative_names(certificate.subject()),
            chain: chain
                .iter()
                .map(|certificate| certificate.clone().into_owned())
                .collect(),
        };
        // An extension that is repeated or cannot be read names nobody.
        let Some(names) = certificate.subject_alternative_name().ok().flatten() else {
            return Some(peer);
        };
        for name in &names.value.general_names {
            match name {
                GeneralName::DNSName(host) => peer.hosts.push(host.to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => peer.addresses.extend(address(octets)),
                GeneralName::URI(uri) => peer.uris.push((*uri).to_owned()),
                GeneralName::RFC822Name(address) => peer.emails.push((*address).to_owned()),
                GeneralName::OtherName(kind, value) if kind.to_id_string() == PRINCIPAL => {
                    peer.principals.extend(principal(value));
                }
                GeneralName::OtherName(..)
                | GeneralName::X400Address(_)
                | GeneralName::DirectoryName(_)
                | GeneralName::EDIPartyName(_)
                | GeneralName::RegisteredID(_)
                | GeneralName::Invalid(..) => {}
            }
        }
        Some(peer)
    }

    /// The certificates that it presented, its own first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

fn attributes(name: &X509Name<'_>) -> Vec<(String, String)> {
    name.iter_attributes().filter_map(attribute).collect()
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> Option<(String, String)> {
    let value = attribute.as_str().ok()?.to_owned();
    let kind = match oid2abbrev(attribute.attr_type(), oid_registry()) {
        Ok(short) => short.to_owned(),
        Err(_) => attribute.attr_type().to_id_string(),
    };
    Some((kind, value))
}

fn relative_names(name: &X509Name<'_>) -> Option<Vec<Vec<(String, String)>>> {
    name.iter_rdn().map(|rdn| rdn.iter().map(attribute).collect()).collect()
}

/// The value of an otherName: `[0] EXPLICIT UTF8String`.
fn principal(value: &[u8]) -> Option<String> {
    const EXPLICIT: u8 = 0xa0;
    const UTF8_STRING: u8 = 0x0c;
    let mut outer = Reader::new(value);
    let text = Reader::new(outer.expect(EXPLICIT).ok()?).expect(UTF8_STRING).ok()?;
    String::from_utf8(text.to_vec()).ok()
}

/// The user principal name of Active Directory.
const PRINCIPAL: &str = "1.3.6.1.4.1.311.20.2.3";

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_and_issuer_are_read() {
        let mut params = CertificateParams::new(vec!["NAS1.example.org".to_owned()]).unwrap();
        params.subject_alt_names.extend([
            SanType::IpAddress("192.0.2.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
            SanType::URI("urn:nas:1".try_into().unwrap()),
            SanType::Rfc822Name("nas@example.org".try_into().unwrap()),
            SanType::OtherName((
                vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3],
                rcgen::OtherNameValue::Utf8String("nas@EXAMPLE.ORG".into()),
            )),
        ]);
        params.distinguished_name.push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, "NAS 1");
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = certificate.der().clone();
        let peer = Peer::read(std::slice::from_ref(&der)).unwrap();
        assert_eq!(peer.hosts, ["nas1.example.org"]);
        assert_eq!(
            peer.addresses,
            ["192.0.2.7", "2001:db8::7"].map(|text| text.parse::<IpAddr>().unwrap())
        );
        assert_eq!(peer.uris, ["urn:nas:1"]);
        assert_eq!(peer.emails, ["nas@example.org"]);
        assert_eq!(peer.principals, ["nas@EXAMPLE.ORG"]);
        let names = peer.subject_names.unwrap();
        assert!(
            names.contains(&vec![("CN".to_owned(), "NAS 1".to_owned())]),
            "{names:?}"
        );
        assert!(
            peer.issuer.contains(&("CN".into(), "NAS 1".into())),
            "{:?}",
            peer.issuer
        );
        assert!(
            peer.issuer.contains(&("O".into(), "Example".into())),
            "{:?}",
            peer.issuer
        );
        assert_eq!(peer.fingerprint, digest(&SHA256, &der).as_ref());
        assert_eq!(Peer::read(&[]), None);
        assert_eq!(Peer::read(&[der[..40].to_vec().into()]), None);
    }
}
