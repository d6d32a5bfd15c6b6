//! Octets as an LDAP client's stream, as a server's, and as what an embedded directory is asked.

use std::path::Path;
use std::sync::LazyLock;

use portcullis::ber::{Message, Reader};
use portcullis::config::Anonymous;
use portcullis::directory::local::Tree;
use portcullis::engine::authenticator::Kind;
use portcullis::engine::{Given, LoginName, Manner, Origin, Protocol, Split, Transport};
use portcullis::ldap::embedded::Embedded;
use portcullis::ldap::frame::{Front, Head, Sender, front};
use portcullis::ldap::password::PasswordModify;
use portcullis::ldap::sasl::{Offered, Plain};
use portcullis::ldap::session::{Rules, Session, Step};
use portcullis::ldap::translate::{How, bind_response};

/// Splits `data` and deals with every message in it, as both sides do.
pub fn ldap_frame(data: &[u8]) {
    let mut session = Session::new(RULES, false);
    let mut rest = data;
    while let Ok(Front::Whole(head)) = front(rest, CAPACITY, CAPACITY, Sender::Client) {
        let frame = &rest[..head.total];
        assert!(head.id > 0 && head.offset < head.total);
        assert_eq!(frame[head.offset], head.operation);
        rest = &rest[head.total..];
        answer(&head, frame);
        let Some(next) = receive(session, &head, frame) else {
            break;
        };
        session = next;
    }
    if let Ok(message) = Message::read(data)
        && let Ok(request) = PasswordModify::read(&message)
    {
        let fields = [request.identity, request.old, request.new];
        let octets: usize = fields.iter().flatten().map(|field| field.len()).sum();
        assert!(octets < data.len());
    }
    // A head tells the same whether the rest of its message has come or not.
    if let Ok(Some(head)) = Head::read(data, CAPACITY, Sender::Client) {
        for end in 0..data.len().min(head.total) {
            if let Some(early) = Head::read(&data[..end], CAPACITY, Sender::Client).expect("no fault comes later") {
                assert_eq!(early, head);
            }
        }
    }
    let mut out = Vec::new();
    if bind_response(data, true, &mut out).is_ok() {
        assert_eq!(out, data);
        out.clear();
        if bind_response(data, false, &mut out).is_ok() {
            assert!(Message::read(&out).is_ok());
        }
    }
}

/// Nothing but an accepted bind makes a session bound.
pub(crate) fn receive(session: Session, head: &Head, frame: &[u8]) -> Option<Session> {
    let was_bound = session.is_bound();
    let next = match session.receive(head, frame, 0) {
        Step::Relay(session) | Step::Answer(session, _) | Step::NoTls(session, ..) | Step::Ignore(session) => session,
        Step::Bind(binding, bind) => {
            let sent = match bind.how {
                How::Simple { password, .. } | How::Plain(Plain { password, .. }) => Some(password),
                How::External { .. } => None,
            };
            assert_ne!(sent, Some(&b""[..]));
            let certificate = LoginName::parse("ana").expect("a name");
            if let Some(question) = bind.question(origin(), Split::Separator(','), Some(&certificate)) {
                match (question.given, sent) {
                    (Given::Typed(typed), Some(sent)) => assert!(typed.matches(sent)),
                    (Given::Proven(kind), None) => assert_eq!(kind, Kind::Certificate),
                    (given, _) => panic!("{given:?}"),
                }
                return Some(binding.accepted());
            }
            binding.refused()
        }
        Step::ChangePassword(session, request) => {
            let given = [request.old, request.new].into_iter().flatten();
            assert!(given.into_iter().all(|password| !password.is_empty()));
            session
        }
        Step::Relayed(binding, _) => binding.goes_on(),
        Step::Challenge(session, id) => {
            assert_eq!(id, head.id);
            session
        }
        Step::StartTls(upgrading) => upgrading.done(),
        Step::Close | Step::Disconnect(_) => return None,
    };
    assert!(was_bound || !next.is_bound());
    Some(next)
}

/// Every answer is a whole message with the request's id, and no password is in it.
fn answer(head: &Head, frame: &[u8]) {
    let mut out = Vec::new();
    let embedded = Embedded {
        tree: &TREE,
        person: None,
        start_tls: true,
    };
    embedded.answer(head, frame, &mut out);
    let mut replies = Reader::new(&out);
    while !replies.is_empty() {
        let reply = replies.element().expect("we write whole messages");
        assert_eq!(Message::read(reply.whole).expect("and sound ones").id, head.id);
    }
    assert!(!out.windows(SALTED.len()).any(|window| window == SALTED.as_bytes()));
}

fn origin() -> Origin {
    Origin {
        protocol: Protocol::Ldap,
        service: "wiki".into(),
        client: "wiki".into(),
        directory: "corp".into(),
        source: [192, 0, 2, 1].into(),
        nas_identifier: None,
        calling_station: None,
        called_station: None,
        listener: None,
        application: None,
        transport: Transport::Tcp,
        service_account: None,
        manner: Manner::default(),
    }
}

pub(crate) const CAPACITY: usize = 64 * 1024;

pub(crate) const RULES: Rules = Rules {
    allow_plaintext: true,
    anonymous: Anonymous::RootDse,
    start_tls: true,
    sasl: Offered {
        plain: true,
        external: true,
    },
    relayed: None,
};

/// SHA-1 of a password and a salt, in Base64, as RFC 2307 servers store them.
const SALTED: &str = "W8zfzQQGuCK4wPHQRXG6nUQ2NRhzYWx0c2FsdA==";

static TREE: LazyLock<Tree> = LazyLock::new(|| {
    let text = format!(
        "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
         dn: uid=ana,dc=x\nobjectClass: inetOrgPerson\nuid: ana\ncn: Ana\nsn: X\nuserPassword: {{SSHA}}{SALTED}\n"
    );
    Tree::parse(Path::new("fuzz.ldif"), text.as_bytes()).expect("sound entries")
});
