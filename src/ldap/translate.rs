//! Between LDAP and the engine: a BindRequest becomes a question, a verdict becomes a result code.

use std::sync::Arc;

use crate::ber::{self, BerError, Element, INTEGER, Message, OCTET_STRING, Reader, SEQUENCE};
use crate::engine::authenticator::Kind;
use crate::engine::{AuthnRequest, Capability, Claims, Given, LoginName, Origin, Purpose, Split, Verdict};
use crate::ldap::controls::{BindControls, PASSWORD_POLICY};
use crate::ldap::reply::Code;
use crate::ldap::sasl::{Plain, SaslCredentials, authorization_identity};
use crate::secret::Secret;

/// A BindRequest (RFC 4511 section 4.2) as it stands in its message. The password stays where it is until
/// the engine is asked.
#[derive(Clone, Copy)]
pub struct BindRequest<'a> {
    /// messageID.
    pub id: i32,
    /// The LDAP version; only 3 is served.
    pub version: i32,
    /// The name: a distinguished name by the RFC; others are taken for login names.
    pub name: &'a [u8],
    /// How the client means to prove it.
    pub credentials: Credentials<'a>,
}

/// AuthenticationChoice.
#[derive(Clone, Copy)]
pub enum Credentials<'a> {
    /// A password.
    Simple(&'a [u8]),
    /// A mechanism.
    Sasl(SaslCredentials<'a>),
    /// A choice that no RFC knows (Active Directory's `sicily`).
    Other,
}

impl<'a> BindRequest<'a> {
    /// Reads the request out of its message.
    ///
    /// # Errors
    /// [`BerError`] when the operation is not a BindRequest.
    pub fn read(message: &Message<'a>) -> Result<Self, BerError> {
        if message.operation.tag != 0x60 {
            return Err(BerError::Unexpected);
        }
        let mut fields = Reader::new(message.operation.content);
        let version = fields.integer(INTEGER)?;
        let name = fields.expect(OCTET_STRING)?;
        let choice = fields.element()?;
        if !fields.is_empty() {
            return Err(BerError::Unexpected);
        }
        Ok(Self {
            id: message.id,
            version,
            name,
            credentials: match choice.tag {
                SIMPLE => Credentials::Simple(choice.content),
                SASL => Credentials::Sasl(SaslCredentials::read(choice.content)?),
                _ => Credentials::Other,
            },
        })
    }
}

/// A bind that the engine can be asked about.
#[derive(Clone, Copy)]
pub struct Bind<'a> {
    /// messageID.
    pub id: i32,
    /// Who, and by what.
    pub how: How<'a>,
    /// What else it asks for.
    pub controls: BindControls,
}

/// What a bind is judged by.
#[derive(Clone, Copy)]
pub enum How<'a> {
    /// A name and a password, both there.
    Simple {
        /// The name as sent.
        name: &'a [u8],
        /// The password as sent, a code perhaps appended; never empty.
        password: &'a [u8],
    },
    /// The same by SASL PLAIN; the password is not empty.
    Plain(Plain<'a>),
    /// SASL EXTERNAL: the certificate of the connection.
    External {
        /// The authorization identity as sent.
        acting_as: &'a [u8],
    },
}

impl How<'_> {
    /// The SASL mechanism, for logs and the audit.
    pub const fn mechanism(&self) -> Option<&'static str> {
        match self {
            Self::Simple { .. } => None,
            Self::Plain(_) => Some("plain"),
            Self::External { .. } => Some("external"),
        }
    }
}

impl Bind<'_> {
    /// The name that it gives; a certificate gives one in its place.
    pub fn name(&self) -> Option<&[u8]> {
        match self.how {
            How::Simple { name, .. } => Some(name),
            How::Plain(plain) => Some(plain.login.as_bytes()),
            How::External { .. } => None,
        }
    }

    /// The question for the engine; `None` for names that never match anyone. `certificate` is the name that
    /// the connection's certificate gives, if it has one.
    pub fn question(&self, origin: Origin, split: Split, certificate: Option<&LoginName>) -> Option<AuthnRequest> {
        let (login, given, acting_as) = match self.how {
            How::Simple { name, password } => {
                let name = std::str::from_utf8(name).ok()?;
                (login_name(name)?, Given::Typed(Secret::new(password)), "")
            }
            How::Plain(plain) => {
                let given = Given::Typed(Secret::new(plain.password));
                (login_name(plain.login)?, given, plain.acting_as)
            }
            How::External { acting_as } => {
                let given = Given::Proven(Kind::Certificate);
                (certificate?.clone(), given, std::str::from_utf8(acting_as).ok()?)
            }
        };
        Some(AuthnRequest {
            login,
            given,
            dialog: None,
            origin,
            capability: Capability::Append(split),
            purpose: Purpose::Login,
            claims: Claims {
                certificate: certificate.cloned(),
                acting_as: authorization_identity(acting_as).ok()?,
                mechanism: self.how.mechanism().map(Arc::from),
            },
        })
    }
}

/// The person that a bind names: by a distinguished name, or as people type their names.
pub(super) fn login_name(name: &str) -> Option<LoginName> {
    let login = if looks_like_dn(name) {
        LoginName::parse_dn(name)
    } else {
        LoginName::parse(name)
    };
    login.ok()
}

/// What a verdict means for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindEnd {
    /// Let in: the directory's own answer goes out, or plain success when it was not asked.
    Accepted,
    /// Let in to change the password, and for nothing else.
    Restricted,
    /// Not let in, and this is the result; the diagnostic message is always empty.
    Refused(Code),
}

/// Translates a verdict. Every refusal looks the same (RFC 4513 section 6.3.1, and PROTOCOLS: an outage is
/// never told as a wrong password).
pub fn end_of(verdict: &Verdict) -> BindEnd {
    match verdict {
        Verdict::Accept(_) => BindEnd::Accepted,
        Verdict::Restricted(_) => BindEnd::Restricted,
        Verdict::Reject(_) => BindEnd::Refused(Code::InvalidCredentials),
        Verdict::Unavailable(_) => BindEnd::Refused(Code::Unavailable),
        Verdict::Challenge(_) | Verdict::Closed(_) => {
            tracing::error!("the engine asked for a challenge, or ended one, which an LDAP bind cannot carry; refused");
            BindEnd::Refused(Code::InvalidCredentials)
        }
    }
}

/// The server's BindResponse as the client may see it: octet for octet, but for a password policy control
/// that only we had asked for.
///
/// # Errors
/// [`BerError`] when `pdu` is not an LDAPMessage with readable controls.
pub fn bind_response(pdu: &[u8], asked_for_policy: bool, out: &mut Vec<u8>) -> Result<(), BerError> {
    let message = Message::read(pdu)?;
    let Some(controls) = message.controls.filter(|controls| {
        // Leaving out what is not there would only change the octets.
        !asked_for_policy && has_control(controls, PASSWORD_POLICY)
    }) else {
        out.extend_from_slice(pdu);
        return Ok(());
    };
    let mut kept = Vec::with_capacity(controls.len());
    let mut reader = Reader::new(controls);
    while !reader.is_empty() {
        let control = reader.element()?;
        if control_type(&control) != Some(PASSWORD_POLICY) {
            kept.extend_from_slice(control.whole);
        }
    }
    ber::write_with(SEQUENCE, out, |out| {
        ber::write_integer(INTEGER, message.id, out);
        out.extend_from_slice(message.operation.whole);
        if !kept.is_empty() {
            ber::write(CONTROLS, &kept, out);
        }
    });
    Ok(())
}

/// Whether a bind name is meant as a distinguished name (RFC 4514): it begins with an attribute type, by
/// name or number, and an equals sign.
fn looks_like_dn(name: &str) -> bool {
    let Some((attribute, _)) = name.split_once('=') else {
        return false;
    };
    let attribute = attribute.trim();
    attribute.starts_with(|first: char| first.is_ascii_alphanumeric())
        && attribute
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b';'))
}

fn has_control(controls: &[u8], oid: &[u8]) -> bool {
    let mut reader = Reader::new(controls);
    while let Ok(control) = reader.element() {
        if control_type(&control) == Some(oid) {
            return true;
        }
    }
    false
}

fn control_type<'a>(control: &Element<'a>) -> Option<&'a [u8]> {
    Reader::new(control.content).expect(OCTET_STRING).ok()
}

/// AuthenticationChoice `simple`.
const SIMPLE: u8 = 0x80;
/// AuthenticationChoice `sasl`.
const SASL: u8 = 0xa3;
/// The controls element of a message.
const CONTROLS: u8 = 0xa0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::request::LoginForm;
    use crate::engine::{Denial, Manner, Outage, Protocol, Transport};

    fn origin() -> Origin {
        Origin {
            protocol: Protocol::Ldap,
            service: Arc::from("wiki"),
            client: Arc::from("wiki"),
            directory: Arc::from("corp"),
            source: [127, 0, 0, 1].into(),
            nas_identifier: None,
            calling_station: None,
            called_station: None,
            listener: None,
            application: None,
            transport: Transport::Tls,
            service_account: None,
            manner: Manner::default(),
        }
    }

    fn form(name: &str) -> Option<LoginForm> {
        let simple = How::Simple {
            name: name.as_bytes(),
            password: b"p",
        };
        let plain = How::Plain(Plain {
            acting_as: "",
            login: name,
            password: b"p",
        });
        let [simple, plain] = [simple, plain].map(|how| Some(question(how, None)?.login.form().clone()));
        assert_eq!(simple, plain, "the same names by either way");
        simple
    }

    fn question(how: How<'_>, certificate: Option<&LoginName>) -> Option<AuthnRequest> {
        let bind = Bind {
            id: 1,
            how,
            controls: BindControls::default(),
        };
        bind.question(origin(), Split::Separator(','), certificate)
    }

    #[test]
    fn a_certificate_names_who_logs_in_by_external() {
        let ana = LoginName::parse("ana").unwrap();
        let external = |acting_as: &'static str| How::External {
            acting_as: acting_as.as_bytes(),
        };
        assert!(question(external(""), None).is_none());
        let asked = question(external("u:ben"), Some(&ana)).unwrap();
        assert_eq!((&asked.login, asked.claims.certificate.as_ref()), (&ana, Some(&ana)));
        assert_eq!(asked.claims.acting_as, LoginName::parse("ben").ok());
        assert!(matches!(asked.given, Given::Proven(Kind::Certificate)));
        assert!(question(external("ben"), Some(&ana)).is_none());
        assert!(question(How::External { acting_as: b"\xff" }, Some(&ana)).is_none());
    }

    #[test]
    fn names_that_are_no_dn_are_login_names() {
        for dn in ["uid=ana,dc=x", "UID = ana,dc=x", "0.9.2342.19200300.100.1.1=ana"] {
            assert!(matches!(form(dn), Some(LoginForm::Dn(_))), "{dn}");
        }
        assert!(matches!(form("ana"), Some(LoginForm::Plain(_))));
        assert!(matches!(form("ana@example.org"), Some(LoginForm::Principal(_))));
        assert!(matches!(form("EX\\ana"), Some(LoginForm::Domain { .. })));
        assert!(matches!(form("=ana"), Some(LoginForm::Plain(_))));
        assert_eq!(form("a\0na"), None);
        assert_eq!(form(" "), None);
    }

    #[test]
    fn every_refusal_looks_the_same_and_an_outage_does_not() {
        for denial in [
            Denial::UnknownUser,
            Denial::WrongCode,
            Denial::Throttled,
            Denial::PasswordMustChange,
        ] {
            assert_eq!(
                end_of(&Verdict::Reject(denial)),
                BindEnd::Refused(Code::InvalidCredentials)
            );
        }
        let outage = Verdict::Unavailable(Outage { reason: "x".into() });
        assert_eq!(end_of(&outage), BindEnd::Refused(Code::Unavailable));
    }

    fn control(oid: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        ber::write_with(SEQUENCE, &mut out, |out| ber::write(OCTET_STRING, oid, out));
        out
    }

    fn response(controls: &[&Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        ber::write_with(SEQUENCE, &mut out, |out| {
            ber::write_integer(INTEGER, 9, out);
            ber::write(0x61, &[0x0a, 1, 0, 4, 0, 4, 0], out);
            if !controls.is_empty() {
                let controls: Vec<u8> = controls.iter().copied().flatten().copied().collect();
                ber::write(CONTROLS, &controls, out);
            }
        });
        out
    }

    #[test]
    fn only_our_own_control_is_left_out() {
        let policy = control(PASSWORD_POLICY);
        let other = control(b"1.2.3");
        let seen = |controls: &[&Vec<u8>], asked| {
            let mut out = Vec::new();
            bind_response(&response(controls), asked, &mut out).unwrap();
            out
        };
        assert_eq!(seen(&[], false), response(&[]));
        assert_eq!(seen(&[&policy], false), response(&[]));
        assert_eq!(seen(&[&policy], true), response(&[&policy]));
        assert_eq!(seen(&[&policy, &other], false), response(&[&other]));
        // Another length form must survive when nothing is left out.
        let mut long = response(&[]);
        long.splice(1..2, [0x82, 0, long[1]]);
        let mut out = Vec::new();
        bind_response(&long, false, &mut out).unwrap();
        assert_eq!(out, long);
    }

    #[test]
    fn binds_are_taken_apart() {
        let mut pdu = Vec::new();
        ber::write_with(SEQUENCE, &mut pdu, |out| {
            ber::write_integer(INTEGER, 5, out);
            ber::write_with(0x60, out, |out| {
                ber::write_integer(INTEGER, 3, out);
                ber::write(OCTET_STRING, b"cn=x", out);
                ber::write(0x80, b"\xff\x00pw", out);
            });
        });
        let bind = BindRequest::read(&Message::read(&pdu).unwrap()).unwrap();
        assert_eq!((bind.id, bind.version, bind.name), (5, 3, &b"cn=x"[..]));
        assert!(matches!(bind.credentials, Credentials::Simple(b"\xff\x00pw")));
    }
}
