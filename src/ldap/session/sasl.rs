//! Binds by SASL: which mechanism is judged where (RFC 4513 section 5.2).

use super::{Binding, Session, Step};
use crate::config::RelayedMechanism;
use crate::ldap::controls::BindControls;
use crate::ldap::reply::Code;
use crate::ldap::sasl::{Plain, SaslCredentials};
use crate::ldap::translate::{Bind, How};

/// A step of a mechanism that the directory judges.
pub struct RelayedBind<'a> {
    /// messageID.
    pub id: i32,
    /// The mechanism.
    pub mechanism: RelayedMechanism,
    /// What the client says, if anything.
    pub credentials: Option<&'a [u8]>,
    /// What else the bind asks for.
    pub controls: BindControls,
}

impl Session {
    /// Takes a bind by SASL; the session is anonymous by now. The name of such a bind says nothing (RFC 4511
    /// section 4.2), and an empty mechanism gives up the one under way, which is answered as one not served
    /// (RFC 4513 section 5.2.1.3).
    pub(super) fn sasl<'a>(self, id: i32, sasl: SaslCredentials<'a>, controls: BindControls) -> Step<'a> {
        let is = |name: &str| sasl.mechanism.eq_ignore_ascii_case(name.as_bytes());
        let offered = self.rules.sasl;
        let unprotected = !self.encrypted && !self.rules.allow_plaintext;
        let mut relayed = self.rules.relayed.iter().flat_map(|list| list.iter());
        if is("PLAIN") && offered.plain {
            if unprotected {
                return self.refuse(
                    id,
                    Code::ConfidentialityRequired,
                    "passwords are accepted over TLS only",
                );
            }
            let Some(message) = sasl.credentials else {
                return Step::Challenge(self, id);
            };
            let Some(plain) = Plain::read(message) else {
                return self.refuse(id, Code::ProtocolError, "this is no message of PLAIN");
            };
            // RFC 4513 section 5.1.2, as for simple binds.
            if plain.password.is_empty() {
                return self.refuse(id, Code::UnwillingToPerform, "a bind with a name needs a password");
            }
            let how = How::Plain(plain);
            return Step::Bind(self.binding(), Bind { id, how, controls });
        }
        if is("EXTERNAL") && offered.external {
            // Without credentials the client asks for whatever identity the certificate has (section 5.2.3.1).
            let acting_as = sasl.credentials.unwrap_or_default();
            let how = How::External { acting_as };
            return Step::Bind(self.binding(), Bind { id, how, controls });
        }
        match relayed.find(|mechanism| is(mechanism.as_str())).cloned() {
            Some(_) if unprotected => self.refuse(
                id,
                Code::ConfidentialityRequired,
                "this mechanism is served over TLS only",
            ),
            Some(mechanism) => {
                let bind = RelayedBind {
                    id,
                    mechanism,
                    credentials: sasl.credentials,
                    controls,
                };
                Step::Relayed(self.binding(), bind)
            }
            None => self.refuse(id, Code::AuthMethodNotSupported, "this mechanism is not served"),
        }
    }
}

impl Binding {
    /// A step of a mechanism is done and another is to come: nobody is bound so far.
    pub fn goes_on(self) -> Session {
        self.refused()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Anonymous;
    use crate::ldap::sasl::Offered;
    use crate::ldap::session::Rules;

    fn session(encrypted: bool) -> Session {
        let rules = Rules {
            allow_plaintext: false,
            anonymous: Anonymous::RootDse,
            start_tls: true,
            sasl: Offered {
                plain: true,
                external: true,
            },
            relayed: Some(Arc::from([RelayedMechanism::try_from("gssapi".to_owned()).unwrap()])),
        };
        Session::new(rules, encrypted)
    }

    fn ask(session: Session, mechanism: &'static str, credentials: Option<&'static [u8]>) -> Step<'static> {
        let sasl = SaslCredentials {
            mechanism: mechanism.as_bytes(),
            credentials,
        };
        session.sasl(7, sasl, BindControls::default())
    }

    fn code(step: Step<'_>) -> Code {
        let Step::Answer(session, answer) = step else {
            panic!("no answer")
        };
        assert!(!session.is_bound() && answer.id == 7);
        answer.code
    }

    #[test]
    fn plain_is_a_bind_by_name_and_password() {
        let Step::Bind(_, bind) = ask(session(true), "plain", Some(b"\0ana\0pw")) else {
            panic!()
        };
        assert!(matches!(bind.how, How::Plain(plain) if plain.login == "ana" && plain.password == b"pw"));
        assert_eq!(
            code(ask(session(true), "PLAIN", Some(b"\0ana\0"))),
            Code::UnwillingToPerform
        );
        assert_eq!(code(ask(session(true), "PLAIN", Some(b"ana\0pw"))), Code::ProtocolError);
        assert_eq!(
            code(ask(session(false), "PLAIN", Some(b"\0ana\0pw"))),
            Code::ConfidentialityRequired
        );
        assert!(matches!(ask(session(true), "PLAIN", None), Step::Challenge(_, 7)));
    }

    #[test]
    fn mechanisms_go_where_the_listener_says() {
        assert!(matches!(ask(session(true), "EXTERNAL", None), Step::Bind(..)));
        assert!(matches!(ask(session(true), "GSSAPI", Some(b"x")), Step::Relayed(..)));
        assert_eq!(code(ask(session(false), "GSSAPI", None)), Code::ConfidentialityRequired);
        for other in ["", "GSSAP", "ANONYMOUS", "DIGEST-MD5", "PLAIN\0"] {
            assert_eq!(
                code(ask(session(true), other, Some(b""))),
                Code::AuthMethodNotSupported,
                "{other}"
            );
        }
        let mut closed = session(true);
        closed.rules.sasl = Offered::default();
        assert_eq!(
            code(ask(closed, "PLAIN", Some(b"\0ana\0pw"))),
            Code::AuthMethodNotSupported
        );
    }
}
