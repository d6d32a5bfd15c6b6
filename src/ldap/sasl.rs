//! SASL in binds (RFC 4511 section 4.2, RFC 4513 section 5.2): PLAIN (RFC 4616), and EXTERNAL (RFC 4422
//! appendix A) by the certificate that the client showed.

use crate::ber::{BerError, OCTET_STRING, Reader};
use crate::config::{CertificateName, SaslMechanism};
use crate::engine::LoginName;
use crate::ldap::translate::login_name;
use crate::tls::peer::Peer;

/// What a listener does with SASL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    /// PLAIN is judged here.
    pub plain: bool,
    /// EXTERNAL is judged here.
    pub external: bool,
}

impl Offered {
    /// `certificates` says whether clients are asked for certificates: without, EXTERNAL has nothing to go by.
    pub fn new(mechanisms: &[SaslMechanism], certificates: bool) -> Self {
        Self {
            plain: mechanisms.contains(&SaslMechanism::Plain),
            external: certificates && mechanisms.contains(&SaslMechanism::External),
        }
    }
}

/// SaslCredentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaslCredentials<'a> {
    /// The mechanism as sent; empty to give up one that is under way.
    pub mechanism: &'a [u8],
    /// What the client says, if anything.
    pub credentials: Option<&'a [u8]>,
}

impl<'a> SaslCredentials<'a> {
    /// Reads the content of the choice.
    ///
    /// # Errors
    /// [`BerError`] when it is anything but mechanism and credentials.
    pub fn read(content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let mechanism = fields.expect(OCTET_STRING)?;
        let credentials = match fields.is_empty() {
            true => None,
            false => Some(fields.expect(OCTET_STRING)?),
        };
        if !fields.is_empty() {
            return Err(BerError::Unexpected);
        }
        Ok(Self { mechanism, credentials })
    }
}

/// A message of PLAIN.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Plain<'a> {
    /// Who the client wants to act as; empty for who logs in.
    pub acting_as: &'a str,
    /// Who logs in, never empty.
    pub login: &'a str,
    /// The password, which may be empty.
    pub password: &'a [u8],
}

impl<'a> Plain<'a> {
    /// Reads `[authzid] NUL authcid NUL passwd`: UTF-8 with two NULs and no more (RFC 4616 section 2). `None` for
    /// anything else, and for an empty authcid.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(message).ok()?;
        let mut parts = text.split('\0');
        let (acting_as, login, password) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || login.is_empty() {
            return None;
        }
        Some(Self {
            acting_as,
            login,
            password: password.as_bytes(),
        })
    }
}

/// Reads an authorization identity (RFC 4513 section 5.2.1.8): `dn:` or `u:` and a name, or nothing for who
/// logs in.
///
/// # Errors
/// When it is anything else: it can be nobody's.
pub fn authorization_identity(text: &str) -> Result<Option<LoginName>, NobodysIdentity> {
    if text.is_empty() {
        return Ok(None);
    }
    let name = match text.split_once(':') {
        Some(("dn", dn)) => LoginName::parse_dn(dn).ok(),
        Some(("u", name)) => login_name(name),
        Some(_) | None => None,
    };
    name.map(Some).ok_or(NobodysIdentity)
}

/// An authorization identity that can be nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the authorization identity is neither `dn:` nor `u:` and a name")]
pub struct NobodysIdentity;

/// The login name in a certificate: the first of `names` that is there. `None` when none is, or when that one
/// can be no login name.
pub fn certificate_login(peer: &Peer, names: &[CertificateName]) -> Option<LoginName> {
    names.iter().find_map(|name| match name {
        CertificateName::SanEmail => peer.emails.first().map(|name| LoginName::parse(name).ok()),
        CertificateName::SanUpn => peer.principals.first().map(|name| LoginName::parse(name).ok()),
        CertificateName::SanDns => peer.hosts.first().map(|name| LoginName::parse(name).ok()),
        CertificateName::SubjectCn => subject(peer, &["CN", "2.5.4.3"]).map(|name| LoginName::parse(name).ok()),
        CertificateName::SubjectUid => subject(peer, &["UID", UID]).map(|name| LoginName::parse(name).ok()),
        CertificateName::Subject => subject_dn(peer).map(|dn| LoginName::parse_dn(&dn).ok()),
    })?
}

/// The last value of an attribute in the subject: the most specific one.
fn subject<'p>(peer: &'p Peer, kinds: &[&str]) -> Option<&'p str> {
    let mut attributes = peer.subject_names.iter().flatten().flatten();
    attributes
        .rfind(|(kind, _)| kinds.iter().any(|wanted| kind.eq_ignore_ascii_case(wanted)))
        .map(|(_, value)| value.as_str())
}

/// The subject as LDAP writes it (RFC 4514): the last relative name first. Empty subjects name nobody.
fn subject_dn(peer: &Peer) -> Option<String> {
    let names = peer.subject_names.as_ref().filter(|names| !names.is_empty())?;
    let mut dn = String::new();
    for name in names.iter().rev() {
        for (index, (kind, value)) in name.iter().enumerate() {
            if index > 0 {
                dn.push('+');
            } else if !dn.is_empty() {
                dn.push(',');
            }
            dn.push_str(keyword(kind));
            dn.push('=');
            escape(value, &mut dn);
        }
    }
    Some(dn)
}

/// The keyword that every directory knows (RFC 4514 section 3), or the type as it is.
fn keyword(kind: &str) -> &str {
    match kind {
        "2.5.4.3" => "CN",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.6" => "C",
        "2.5.4.9" => "STREET",
        "0.9.2342.19200300.100.1.25" | "domainComponent" => "DC",
        UID => "UID",
        other => other,
    }
}

/// RFC 4514 section 2.4.
fn escape(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, character) in value.chars().enumerate() {
        let special = matches!(character, '"' | '+' | ',' | ';' | '<' | '>' | '\\')
            || (character == '#' && index == 0)
            || (character == ' ' && (index == 0 || index == last));
        if special {
            out.push('\\');
        }
        out.push(character);
    }
}

const UID: &str = "0.9.2342.19200300.100.1.1";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;
    use crate::engine::request::LoginForm;

    #[test]
    fn plain_is_three_parts() {
        let plain = |message: &'static [u8]| Plain::read(message).map(|it| (it.acting_as, it.login, it.password));
        assert_eq!(plain(b"\0ana\0pw"), Some(("", "ana", &b"pw"[..])));
        assert_eq!(plain(b"u:ana\0EX\\ana\0p w"), Some(("u:ana", "EX\\ana", &b"p w"[..])));
        assert_eq!(plain(b"\0ana\0"), Some(("", "ana", &b""[..])));
        for malformed in [
            &b""[..],
            b"ana",
            b"ana\0pw",
            b"\0\0pw",
            b"\0ana\0pw\0",
            b"\0ana\0p\0w",
            b"\0ana\0\xff",
            b"\xff\0ana\0pw",
        ] {
            assert_eq!(plain(malformed), None, "{malformed:x?}");
        }
    }

    #[test]
    fn credentials_are_mechanism_and_octets() {
        let read = |content| SaslCredentials::read(content).map(|it| (it.mechanism, it.credentials));
        assert_eq!(read(b"\x04\x05PLAIN"), Ok((&b"PLAIN"[..], None)));
        assert_eq!(read(b"\x04\x00\x04\x00"), Ok((&b""[..], Some(&b""[..]))));
        assert_eq!(
            read(b"\x04\x81\x01X\x04\x82\x00\x01y"),
            Ok((&b"X"[..], Some(&b"y"[..])))
        );
        for malformed in [
            &b""[..],
            b"\x80\x01X",
            b"\x04\x01X\x80\x00",
            b"\x04\x01X\x04\x00\x04\x00",
            b"\x04\x02X",
        ] {
            assert!(read(malformed).is_err(), "{malformed:x?}");
        }
    }

    #[test]
    fn authorization_identities_are_dn_or_u() {
        let form = |text: &str| authorization_identity(text).map(|name| name.map(|name| name.form().clone()));
        assert_eq!(form(""), Ok(None));
        assert_eq!(form("dn:uid=ana,dc=x"), Ok(Some(LoginForm::Dn("uid=ana,dc=x".into()))));
        assert_eq!(form("u:Ana"), Ok(Some(LoginForm::Plain("ana".into()))));
        assert_eq!(
            form("u:ana@example.org"),
            Ok(Some(LoginForm::Principal("ana@example.org".into())))
        );
        for nobodys in ["dn:", "u:", "ana", "x:ana", "U:ana", "u:a\nna"] {
            assert_eq!(form(nobodys), Err(NobodysIdentity), "{nobodys}");
        }
    }

    fn peer(subject: &[(DnType, &str)], names: Vec<SanType>) -> Peer {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = names;
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Peer::read(std::slice::from_ref(certificate.der())).unwrap()
    }

    #[test]
    fn the_first_name_that_is_there_counts() {
        use CertificateName::{SanDns, SanEmail, SanUpn, Subject, SubjectCn, SubjectUid};
        let uid = DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 1]);
        let subject = [
            (DnType::OrganizationName, "Example, Inc."),
            (uid, "ana"),
            (DnType::CommonName, " Ana #1 "),
        ];
        let names = vec![
            SanType::Rfc822Name("Ana@Example.org".try_into().unwrap()),
            SanType::Rfc822Name("other@example.org".try_into().unwrap()),
            SanType::DnsName("host.example.org".try_into().unwrap()),
        ];
        let peer = peer(&subject, names);
        let name = |names: &[CertificateName]| certificate_login(&peer, names).map(|name| name.as_str().to_owned());
        assert_eq!(
            name(&[SanUpn, SanEmail, SubjectUid]).as_deref(),
            Some("ana@example.org")
        );
        assert_eq!(name(&[SubjectUid]).as_deref(), Some("ana"));
        assert_eq!(name(&[SubjectCn]).as_deref(), Some("ana #1"));
        assert_eq!(name(&[SanDns]).as_deref(), Some("host.example.org"));
        assert_eq!(
            name(&[Subject]).as_deref(),
            Some("CN=\\ Ana #1\\ ,uid=ana,O=Example\\, Inc.")
        );
        assert_eq!(name(&[SanUpn]), None);
        assert_eq!(name(&[]), None);
    }

    #[test]
    fn a_name_that_cannot_be_is_not_passed_over() {
        let peer = peer(&[(DnType::CommonName, "a\u{1}na")], vec![]);
        let names = [CertificateName::SubjectCn, CertificateName::SubjectUid];
        assert_eq!(certificate_login(&peer, &names), None);
        assert_eq!(certificate_login(&peer, &[CertificateName::Subject]), None);
    }

    proptest! {
        #[test]
        fn what_plain_says_is_what_was_meant(parts in ("[^\0]{0,8}", "[^\0]{1,8}", "[^\0]{0,8}")) {
            let message = format!("{}\0{}\0{}", parts.0, parts.1, parts.2);
            let read = Plain::read(message.as_bytes()).unwrap();
            prop_assert_eq!((read.acting_as, read.login, read.password), (&*parts.0, &*parts.1, parts.2.as_bytes()));
        }
    }
}
