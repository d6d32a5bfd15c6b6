//! The bind and TLS state of one client connection, without I/O (RFC 4511 sections 4.2 and 4.14, RFC 4513).
//!
//! A [`Session`] takes one message and is spent by it; what comes out says what to do and holds the next
//! state. Two of the states are not sessions, so that nothing can be processed in them: [`Binding`], while
//! a bind is judged, and [`Upgrading`], while TLS is negotiated. From the first octet of a bind on the
//! connection is anonymous, whatever it was before, and stays so unless the bind is accepted.
//!
//! Messages that arrive behind a bind are left unread in order until it has ended, and are then judged by
//! what it ended with. RFC 4511 section 4.2.1 has clients wait, and lets servers choose: answering
//! operationsError would break the many clients that send bind and search in one go.

mod sasl;

use std::sync::Arc;

use crate::ber::Message;
use crate::config::{Anonymous, RelayedMechanism};
use crate::ldap::controls::{BindControls, ControlFault, has_critical};
use crate::ldap::frame::{Head, leading};
use crate::ldap::password::PasswordModify;
use crate::ldap::reply::{
    ABANDON_REQUEST, Answer, BIND_REQUEST, BIND_RESPONSE, Code, EXTENDED_REQUEST, EXTENDED_RESPONSE, PASSWORD_MODIFY,
    SEARCH_REQUEST, START_TLS, UNBIND_REQUEST, response_to,
};
use crate::ldap::sasl::Offered;
use crate::ldap::translate::{Bind, BindRequest, Credentials, How};

pub use sasl::RelayedBind;

/// What the listener's configuration allows.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Passwords without TLS.
    pub allow_plaintext: bool,
    /// What connections may do that have not bound.
    pub anonymous: Anonymous,
    /// Whether there is a certificate to start TLS with.
    pub start_tls: bool,
    /// SASL mechanisms that are judged here.
    pub sasl: Offered,
    /// SASL mechanisms that are relayed to the directory.
    pub relayed: Option<Arc<[RelayedMechanism]>>,
}

/// A connection that can take a message.
#[derive(Debug)]
pub struct Session {
    rules: Rules,
    encrypted: bool,
    standing: Standing,
    /// Messages are not sent on as they are, but written anew.
    rewritten: bool,
}

/// What the last bind has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There was none, or it was refused.
    Anonymous,
    /// Accepted.
    Bound,
    /// Accepted to change the password, and for nothing else (draft-behera-ldap-password-policy-10 section 7.1).
    MustChange,
}

/// What to do about a message.
pub enum Step<'a> {
    /// Send it on as it is.
    Relay(Session),
    /// Answer it; it goes no further.
    Answer(Session, Answer),
    /// Answer a StartTLS that cannot be.
    NoTls(Session, Code, &'static str),
    /// It needs no answer and goes no further.
    Ignore(Session),
    /// Ask the engine.
    Bind(Binding, Bind<'a>),
    /// Have the directory judge a step of a SASL mechanism.
    Relayed(Binding, RelayedBind<'a>),
    /// Ask for the client's first octets of a mechanism; the number is the message's.
    Challenge(Session, i32),
    /// Change a password, of who is bound or somebody else's.
    ChangePassword(Session, PasswordModify<'a>),
    /// Answer success, forget what else has arrived, and negotiate.
    StartTls(Upgrading),
    /// The client has said goodbye.
    Close,
    /// Say why (Notice of Disconnection), and close.
    Disconnect(&'static str),
}

/// A bind is being judged.
#[derive(Debug)]
pub struct Binding {
    rules: Rules,
    encrypted: bool,
}

/// TLS is being negotiated.
#[derive(Debug)]
pub struct Upgrading {
    rules: Rules,
}

impl Session {
    /// A connection that has just been opened, over TLS or not.
    pub fn new(rules: Rules, encrypted: bool) -> Self {
        Self {
            rules,
            encrypted,
            standing: Standing::Anonymous,
            rewritten: false,
        }
    }

    /// What the last bind has come to.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether a bind has been accepted without restriction, and nothing has undone it since.
    pub fn is_bound(&self) -> bool {
        self.standing == Standing::Bound
    }

    /// Whether nobody is bound.
    pub fn is_anonymous(&self) -> bool {
        self.standing == Standing::Anonymous
    }

    /// The password is another one now, and the directory knows who is bound: nothing is in the way any more.
    #[must_use]
    pub fn freed(self) -> Self {
        match self.standing {
            Standing::Anonymous => self,
            Standing::Bound | Standing::MustChange => Self {
                standing: Standing::Bound,
                ..self
            },
        }
    }

    /// Nobody is bound any more.
    #[must_use]
    pub fn ended(self) -> Self {
        Self {
            standing: Standing::Anonymous,
            rewritten: false,
            ..self
        }
    }

    /// Whether the connection is over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether messages of this operation are sent on without being looked at.
    pub fn relays(&self, operation: u8) -> bool {
        let may = match self.standing {
            Standing::Anonymous => self.rules.anonymous == Anonymous::Yes,
            Standing::Bound => true,
            Standing::MustChange => false,
        };
        may && !self.rewritten
            && !matches!(operation, BIND_REQUEST | EXTENDED_REQUEST | UNBIND_REQUEST)
            && (response_to(operation).is_some() || operation == ABANDON_REQUEST)
    }

    /// Takes the message that `input` begins with. All of it is there unless it is too large for the
    /// buffer (then `input` is shorter than `head.total`). `outstanding` counts operations not yet answered.
    pub fn receive<'a>(self, head: &Head, input: &'a [u8], outstanding: usize) -> Step<'a> {
        let frame = input.get(..head.total);
        match head.operation {
            UNBIND_REQUEST => Step::Close,
            BIND_REQUEST => match frame {
                Some(frame) => self.bind(head, frame),
                None => Step::Disconnect("the bind request is too large"),
            },
            EXTENDED_REQUEST => match (requested(head, input), frame) {
                (Some(START_TLS), Some(frame)) => self.start_tls(frame, outstanding),
                (Some(START_TLS), None) => Step::Disconnect("the StartTLS request is too large"),
                (Some(PASSWORD_MODIFY), frame) => self.change_password(head, frame),
                (Some(_), _) => self.ordinary(head, input, EXTENDED_REQUEST),
                // OpenLDAP takes an element of any type for the name: what we cannot name must not pass.
                (None, _) => Step::Disconnect("the extended request cannot be read"),
            },
            operation if operation == ABANDON_REQUEST || response_to(operation).is_some() => {
                self.ordinary(head, input, operation)
            }
            // RFC 4511 section 4.1.1: a protocolOp that is not recognised.
            _ => Step::Disconnect("the operation is not one of LDAP version 3"),
        }
    }

    /// Answers a bind.
    fn refuse<'a>(self, id: i32, code: Code, text: &'static str) -> Step<'a> {
        let response = BIND_RESPONSE;
        let answer = Answer {
            id,
            response,
            code,
            text,
        };
        Step::Answer(self, answer)
    }

    fn bind<'a>(self, head: &Head, frame: &'a [u8]) -> Step<'a> {
        let anonymous = self.ended();
        let refuse = |session: Self, code, text| session.refuse(head.id, code, text);
        let Ok(message) = Message::read(frame) else {
            return Step::Disconnect("the bind request cannot be read");
        };
        // Before anybody is looked for: the answer is the same for every name.
        let controls = match BindControls::read(message.controls) {
            Ok(controls) => controls,
            Err(ControlFault::Malformed(_)) => return Step::Disconnect("the controls of the bind cannot be read"),
            Err(ControlFault::Critical) => {
                let text = "a critical control is not known";
                return refuse(anonymous, Code::UnavailableCriticalExtension, text);
            }
            Err(ControlFault::Value) => {
                let text = "a control has a value where it has none";
                return refuse(anonymous, Code::ProtocolError, text);
            }
        };
        let Ok(request) = BindRequest::read(&message) else {
            return refuse(anonymous, Code::ProtocolError, "the bind request cannot be read");
        };
        if request.version != 3 {
            return refuse(anonymous, Code::ProtocolError, "only LDAP version 3 is served");
        }
        let password = match request.credentials {
            Credentials::Simple(password) => password,
            Credentials::Sasl(sasl) => return anonymous.sasl(request.id, sasl, controls),
            Credentials::Other => {
                let text = "this way to bind is not served";
                return refuse(anonymous, Code::AuthMethodNotSupported, text);
            }
        };
        match (request.name.is_empty(), password.is_empty()) {
            (true, true) => refuse(anonymous, Code::Success, ""),
            // RFC 4513 sections 5.1.2 and 6.3.1.
            (false, true) => {
                let text = "a bind with a name needs a password";
                refuse(anonymous, Code::UnwillingToPerform, text)
            }
            (_, false) if !anonymous.encrypted && !anonymous.rules.allow_plaintext => {
                let text = "passwords are accepted over TLS only";
                refuse(anonymous, Code::ConfidentialityRequired, text)
            }
            (_, false) => Step::Bind(
                anonymous.binding(),
                Bind {
                    id: request.id,
                    how: How::Simple {
                        name: request.name,
                        password,
                    },
                    controls,
                },
            ),
        }
    }

    fn binding(self) -> Binding {
        Binding {
            rules: self.rules,
            encrypted: self.encrypted,
        }
    }

    fn start_tls(self, frame: &[u8], outstanding: usize) -> Step<'_> {
        let Ok(message) = Message::read(frame) else {
            return Step::Disconnect("the StartTLS request cannot be read");
        };
        // RFC 4511 section 4.14.1 and RFC 4513 section 3.1.1.
        if self.encrypted {
            return Step::NoTls(self, Code::OperationsError, "TLS is established already");
        }
        if outstanding > 0 {
            return Step::NoTls(self, Code::OperationsError, "operations are outstanding");
        }
        if !self.rules.start_tls {
            return Step::NoTls(self, Code::ProtocolError, "TLS is not served here");
        }
        if has_critical(message.controls) {
            let text = "a critical control is not known";
            return Step::NoTls(self, Code::UnavailableCriticalExtension, text);
        }
        Step::StartTls(Upgrading { rules: self.rules })
    }

    fn change_password<'a>(self, head: &Head, frame: Option<&'a [u8]>) -> Step<'a> {
        let answer = |code, text| Answer {
            id: head.id,
            response: EXTENDED_RESPONSE,
            code,
            text,
        };
        let Some(frame) = frame else {
            let text = "the password change is too large";
            return Step::Answer(self, answer(Code::UnwillingToPerform, text));
        };
        let Ok(message) = Message::read(frame) else {
            return Step::Disconnect("the password change cannot be read");
        };
        let Ok(request) = PasswordModify::read(&message) else {
            let text = "the password change cannot be read";
            return Step::Answer(self, answer(Code::ProtocolError, text));
        };
        if !self.encrypted && !self.rules.allow_plaintext {
            let text = "passwords are accepted over TLS only";
            return Step::Answer(self, answer(Code::ConfidentialityRequired, text));
        }
        // Neither proves anything, and neither can be set.
        if [request.old, request.new]
            .iter()
            .flatten()
            .any(|password| password.is_empty())
        {
            return Step::Answer(self, answer(Code::UnwillingToPerform, "a password is empty"));
        }
        Step::ChangePassword(self, request)
    }

    /// Anonymous connections are told strongerAuthRequired, as OpenLDAP's `require authc` does: binding
    /// would help, whereas insufficientAccessRights says that these rights are too few.
    fn ordinary<'a>(self, head: &Head, input: &'a [u8], operation: u8) -> Step<'a> {
        let allowed = match (self.standing, self.rules.anonymous) {
            (Standing::Bound, _) | (Standing::Anonymous, Anonymous::Yes) => true,
            (Standing::Anonymous, Anonymous::RootDse) => operation == SEARCH_REQUEST && reads_root_dse(head, input),
            (Standing::MustChange, _) => false,
        };
        let (code, text) = if self.standing == Standing::MustChange {
            let text = "the password must be changed first, and nothing else can be done until then";
            (Code::InsufficientAccessRights, text)
        } else {
            (Code::StrongerAuthRequired, "bind first")
        };
        match response_to(operation) {
            _ if allowed => Step::Relay(self),
            Some(response) => {
                let answer = Answer {
                    id: head.id,
                    response,
                    code,
                    text,
                };
                Step::Answer(self, answer)
            }
            // Nothing that could be abandoned is under way; an abandon has no response.
            None => Step::Ignore(self),
        }
    }
}

impl Binding {
    /// The bind was accepted.
    pub fn accepted(self) -> Session {
        Session {
            rules: self.rules,
            encrypted: self.encrypted,
            standing: Standing::Bound,
            rewritten: false,
        }
    }

    /// The bind was accepted, and every message is to be written anew before it is sent on.
    pub fn accepted_rewriting(self) -> Session {
        Session {
            rewritten: true,
            ..self.accepted()
        }
    }

    /// The bind was accepted to change the password.
    pub fn restricted(self) -> Session {
        Session {
            standing: Standing::MustChange,
            ..self.accepted()
        }
    }

    /// The bind was refused, or could not be judged.
    pub fn refused(self) -> Session {
        Session {
            rules: self.rules,
            encrypted: self.encrypted,
            standing: Standing::Anonymous,
            rewritten: false,
        }
    }

    /// Whether the password came over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }
}

impl Upgrading {
    /// The handshake is done: everything begins anew, anonymous (RFC 4513 section 3.1.2).
    pub fn done(self) -> Session {
        Session::new(self.rules, true)
    }
}

/// The requestName of an extended request, which comes first (RFC 4511 section 4.12); empty when it is no text.
fn requested<'a>(head: &Head, input: &'a [u8]) -> Option<&'a str> {
    const REQUEST_NAME: u8 = 0x80;
    let name = leading(input, head).filter(|name| name.tag == REQUEST_NAME)?;
    Some(std::str::from_utf8(name.content).unwrap_or_default())
}

/// A search of scope base for the empty name (RFC 4512 section 5.1).
fn reads_root_dse(head: &Head, input: &[u8]) -> bool {
    leading(input, head).is_some_and(|base| {
        base.tag == crate::ber::OCTET_STRING
            && base.content.is_empty()
            && crate::ber::Reader::new(base.rest).integer(crate::ber::ENUMERATED) == Ok(0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ber::{self, ENUMERATED, INTEGER, OCTET_STRING, SEQUENCE};
    use crate::ldap::frame::Sender;

    const RULES: Rules = Rules {
        allow_plaintext: false,
        anonymous: Anonymous::RootDse,
        start_tls: true,
        sasl: Offered {
            plain: true,
            external: false,
        },
        relayed: None,
    };

    fn message(operation: u8, controls: &[u8], fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        ber::write_with(SEQUENCE, &mut out, |out| {
            ber::write_integer(INTEGER, 4, out);
            ber::write_with(operation, out, fill);
            if !controls.is_empty() {
                ber::write(0xa0, controls, out);
            }
        });
        out
    }

    fn bind(version: i32, name: &str, tag: u8, password: &[u8]) -> Vec<u8> {
        message(BIND_REQUEST, &[], |out| {
            ber::write_integer(INTEGER, version, out);
            ber::write(OCTET_STRING, name.as_bytes(), out);
            ber::write(tag, password, out);
        })
    }

    fn search(base: &str, scope: i32) -> Vec<u8> {
        message(SEARCH_REQUEST, &[], |out| {
            ber::write(OCTET_STRING, base.as_bytes(), out);
            ber::write_integer(ENUMERATED, scope, out);
        })
    }

    fn extended(oid: &str, controls: &[u8]) -> Vec<u8> {
        message(EXTENDED_REQUEST, controls, |out| ber::write(0x80, oid.as_bytes(), out))
    }

    #[test]
    fn an_extended_request_without_a_name_that_can_be_read_goes_no_further() {
        let mut named = extended("1.2.3.4", &[]);
        assert!(matches!(receive(bound(), &named, 0), Step::Relay(_)));
        let name = named.iter().position(|octet| *octet == 0x80).unwrap();
        named[name] = OCTET_STRING;
        assert!(matches!(receive(bound(), &named, 0), Step::Disconnect(_)));
        let nameless = message(EXTENDED_REQUEST, &[], |_| {});
        assert!(matches!(receive(bound(), &nameless, 0), Step::Disconnect(_)));
        let odd = message(EXTENDED_REQUEST, &[], |out| ber::write(0x80, b"\xff", out));
        assert!(
            matches!(receive(bound(), &odd, 0), Step::Relay(_)),
            "the server says what it thinks"
        );
    }

    fn receive(session: Session, input: &[u8], outstanding: usize) -> Step<'_> {
        let head = Head::read(input, 1 << 20, Sender::Client).unwrap().unwrap();
        session.receive(&head, input, outstanding)
    }

    fn bound() -> Session {
        Binding {
            rules: RULES,
            encrypted: true,
        }
        .accepted()
    }

    /// The code that a session answers with, and whether it is bound afterwards.
    fn answered(session: Session, input: &[u8]) -> (Code, bool) {
        match receive(session, input, 0) {
            Step::Answer(session, answer) => (answer.code, session.is_bound()),
            Step::NoTls(session, code, _) => (code, session.is_bound()),
            Step::Relay(_) => panic!("relayed"),
            Step::Ignore(_) => panic!("ignored"),
            Step::Bind(..) | Step::Relayed(..) => panic!("bound"),
            Step::Challenge(..) => panic!("challenged"),
            Step::ChangePassword(..) => panic!("changed a password"),
            Step::StartTls(_) => panic!("started TLS"),
            Step::Close => panic!("closed"),
            Step::Disconnect(text) => panic!("disconnected: {text}"),
        }
    }

    #[test]
    fn whatever_a_bind_ends_with_the_earlier_one_is_gone() {
        let cases: [(Vec<u8>, Code); 5] = [
            (bind(2, "cn=x", 0x80, b"pw"), Code::ProtocolError),
            (bind(3, "cn=x", 0xa3, b"\x04\x05OTHER"), Code::AuthMethodNotSupported),
            (bind(3, "cn=x", 0x80, b""), Code::UnwillingToPerform),
            (bind(3, "", 0x80, b""), Code::Success),
            (message(BIND_REQUEST, &[], |out| out.push(0x05)), Code::ProtocolError),
        ];
        for (input, code) in cases {
            assert_eq!(answered(bound(), &input), (code, false));
        }
        let input = bind(3, "cn=x", 0x80, b"pw");
        let Step::Bind(binding, asked) = receive(bound(), &input, 0) else {
            panic!()
        };
        let How::Simple { name, password } = asked.how else {
            panic!()
        };
        assert_eq!((name, password), (&b"cn=x"[..], &b"pw"[..]));
        assert!(!binding.refused().is_bound());
    }

    fn bind_with(name: &str, controls: &[u8]) -> Vec<u8> {
        message(BIND_REQUEST, controls, |out| {
            ber::write_integer(INTEGER, 3, out);
            ber::write(OCTET_STRING, name.as_bytes(), out);
            ber::write(0x80, if name.is_empty() { b"" } else { b"pw" }, out);
        })
    }

    #[test]
    fn a_bind_with_controls_that_are_not_taken_is_refused_unjudged() {
        let critical = b"\x30\x0a\x04\x051.2.3\x01\x01\xff";
        let valued = b"\x30\x1d\x04\x191.3.6.1.4.1.42.2.27.8.5.1\x04\x00";
        for name in ["cn=x", ""] {
            assert_eq!(
                answered(bound(), &bind_with(name, critical)),
                (Code::UnavailableCriticalExtension, false)
            );
            assert_eq!(
                answered(bound(), &bind_with(name, valued)),
                (Code::ProtocolError, false)
            );
            let malformed = bind_with(name, b"\x30\x28\x04\x071.2.3.4\x04\x1d");
            assert!(matches!(receive(bound(), &malformed, 0), Step::Disconnect(_)));
        }
        let asking = b"\x30\x1b\x04\x191.3.6.1.4.1.42.2.27.8.5.1\x30\x07\x04\x051.2.3";
        let input = bind_with("cn=x", asking);
        let Step::Bind(_, simple) = receive(bound(), &input, 0) else {
            panic!()
        };
        assert!(simple.controls.policy && !simple.controls.identity);
    }

    #[test]
    fn passwords_need_tls_unless_allowed() {
        let input = bind(3, "cn=x", 0x80, b"pw");
        assert_eq!(
            answered(Session::new(RULES, false), &input),
            (Code::ConfidentialityRequired, false)
        );
        let open = Rules {
            allow_plaintext: true,
            ..RULES
        };
        assert!(matches!(receive(Session::new(open, false), &input, 0), Step::Bind(..)));
        assert!(matches!(receive(Session::new(RULES, true), &input, 0), Step::Bind(..)));
    }

    #[test]
    fn anonymous_connections_read_the_root_dse_and_nothing_else() {
        let anonymous = || Session::new(RULES, true);
        assert!(matches!(receive(anonymous(), &search("", 0), 0), Step::Relay(_)));
        for refused in [
            search("", 2),
            search("dc=x", 0),
            message(0x66, &[], |_| {}),
            extended("1.3.6.1.4.1.4203.1.11.3", &[]),
        ] {
            assert_eq!(answered(anonymous(), &refused).0, Code::StrongerAuthRequired);
        }
        let abandon = message(ABANDON_REQUEST, &[], |_| {});
        assert!(matches!(receive(anonymous(), &abandon, 0), Step::Ignore(_)));
        let open = Rules {
            anonymous: Anonymous::Yes,
            ..RULES
        };
        assert!(matches!(
            receive(Session::new(open, true), &search("dc=x", 2), 0),
            Step::Relay(_)
        ));
        assert!(matches!(receive(bound(), &search("dc=x", 2), 0), Step::Relay(_)));
    }

    #[test]
    fn start_tls_only_once_and_only_when_nothing_is_under_way() {
        let input = extended(START_TLS, &[]);
        let plain = || Session::new(RULES, false);
        let Step::StartTls(upgrading) = receive(plain(), &input, 0) else {
            panic!()
        };
        let session = upgrading.done();
        assert!(session.is_encrypted() && !session.is_bound());
        assert_eq!(answered(session, &input).0, Code::OperationsError);
        assert!(matches!(
            receive(plain(), &input, 1),
            Step::NoTls(_, Code::OperationsError, _)
        ));
        let without = Rules {
            start_tls: false,
            ..RULES
        };
        assert_eq!(answered(Session::new(without, false), &input).0, Code::ProtocolError);
        let critical = b"\x30\x0a\x04\x051.2.3\x01\x01\xff";
        assert_eq!(
            answered(plain(), &extended(START_TLS, critical)).0,
            Code::UnavailableCriticalExtension
        );
    }

    #[test]
    fn what_is_no_request_ends_the_connection() {
        for operation in [BIND_RESPONSE, 0x64, 0x65, 0x79, 0x00, 0x7e] {
            let input = message(operation, &[], |_| {});
            assert!(
                matches!(receive(bound(), &input, 0), Step::Disconnect(_)),
                "{operation:x}"
            );
            assert!(!bound().relays(operation), "{operation:x}");
        }
        assert!(matches!(
            receive(bound(), &message(UNBIND_REQUEST, &[], |_| {}), 0),
            Step::Close
        ));
    }

    fn restricted() -> Session {
        Binding {
            rules: RULES,
            encrypted: true,
        }
        .restricted()
    }

    const CHANGE: &[u8] = b"\x30\x06\x81\x01o\x82\x01n";

    fn password_modify(value: &[u8]) -> Vec<u8> {
        message(EXTENDED_REQUEST, &[], |out| {
            ber::write(0x80, PASSWORD_MODIFY.as_bytes(), out);
            ber::write(0x81, value, out);
        })
    }

    #[test]
    fn who_must_change_the_password_can_do_nothing_else() {
        for operation in [SEARCH_REQUEST, 0x66, 0x68, 0x4a, 0x6c, 0x6e] {
            let input = message(operation, &[], |out| out.extend([0; 4]));
            let (code, bound) = answered(restricted(), &input);
            assert_eq!((code, bound), (Code::InsufficientAccessRights, false), "{operation:x}");
            assert!(!restricted().relays(operation), "{operation:x}");
        }
        assert_eq!(answered(restricted(), &search("", 0)).0, Code::InsufficientAccessRights);
        let who_am_i = extended("1.3.6.1.4.1.4203.1.11.3", &[]);
        assert_eq!(answered(restricted(), &who_am_i).0, Code::InsufficientAccessRights);
        let abandon = message(ABANDON_REQUEST, &[], |_| {});
        assert!(matches!(receive(restricted(), &abandon, 0), Step::Ignore(_)));
        assert!(matches!(
            receive(restricted(), &bind(3, "cn=x", 0x80, b"pw"), 0),
            Step::Bind(..)
        ));
        let unbind = message(UNBIND_REQUEST, &[], |_| {});
        assert!(matches!(receive(restricted(), &unbind, 0), Step::Close));
        let input = password_modify(CHANGE);
        let Step::ChangePassword(session, request) = receive(restricted(), &input, 0) else {
            panic!()
        };
        assert_eq!((request.old, request.new), (Some(&b"o"[..]), Some(&b"n"[..])));
        assert_eq!(session.standing(), Standing::MustChange);
        assert!(session.freed().is_bound());
        assert!(restricted().ended().is_anonymous());
        assert!(
            Session::new(RULES, true).freed().is_anonymous(),
            "nobody is bound by it"
        );
    }

    #[test]
    fn passwords_are_changed_over_tls_unless_allowed_and_never_to_nothing() {
        let input = password_modify(CHANGE);
        assert_eq!(
            answered(Session::new(RULES, false), &input).0,
            Code::ConfidentialityRequired
        );
        assert!(matches!(
            receive(Session::new(RULES, true), &input, 0),
            Step::ChangePassword(..)
        ));
        for (value, code) in [
            (&b"\x30\x02\x81\x00"[..], Code::UnwillingToPerform),
            (b"\x30\x02\x82\x00", Code::UnwillingToPerform),
            (b"\x30\x02\x83\x00", Code::ProtocolError),
        ] {
            assert_eq!(answered(bound(), &password_modify(value)), (code, true), "{value:x?}");
        }
    }

    #[test]
    fn what_is_written_anew_is_always_looked_at() {
        let acting = || {
            Binding {
                rules: RULES,
                encrypted: true,
            }
            .accepted_rewriting()
        };
        for operation in 0..=u8::MAX {
            assert!(!acting().relays(operation), "{operation:x}");
        }
        assert!(matches!(receive(acting(), &search("dc=x", 2), 0), Step::Relay(_)));
    }

    #[test]
    fn what_is_not_looked_at_is_what_would_be_relayed_anyway() {
        for operation in 0..=u8::MAX {
            let input = message(operation, &[], |out| out.extend([0; 4]));
            if operation & 0x1f != 0x1f && bound().relays(operation) {
                assert!(matches!(receive(bound(), &input, 0), Step::Relay(_)), "{operation:x}");
            }
            assert!(!Session::new(RULES, true).relays(operation));
        }
    }
}
