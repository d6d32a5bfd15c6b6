//! The parts of LDAP messages that decide something, each with octets of its own: binds, controls, extended
//! requests, and what servers answer.

use portcullis::ber::{self, Message, Reader};
use portcullis::directory::bind::{BindResponse, encode_bind, outcome};
use portcullis::engine::PasswordOutcome;
use portcullis::ldap::controls::{BindControls, ControlFault, has_critical};
use portcullis::ldap::frame::{Front, Head, Sender, front};
use portcullis::ldap::session::{Session, Step};
use portcullis::ldap::translate::{BindRequest, How, bind_response};
use portcullis::secret::Secret;

use super::ldap_frame::{CAPACITY, RULES, receive};

/// `data` as a BindRequest and, from where its first octet says, its controls.
pub fn ldap_bind(data: &[u8]) {
    let Some((&split, data)) = data.split_first() else {
        return;
    };
    let (content, controls) = data.split_at(usize::from(split).min(data.len()));
    let frame = message(0x60, content, controls);
    let head = whole(&frame);
    let _ = receive(Session::new(RULES, true), &head, &frame);
    let Step::Bind(_, bind) = Session::new(RULES, true).receive(&head, &frame, 0) else {
        return;
    };
    assert_eq!(bind.id, head.id);
    let read = Message::read(&frame).expect("a bind that is judged was read");
    let request = BindRequest::read(&read).expect("so it was");
    assert_eq!(BindControls::read(read.controls), Ok(bind.controls));
    let (name, password) = match bind.how {
        How::Simple { name, password } => {
            assert_eq!(request.name, name);
            (name, password)
        }
        How::Plain(plain) => (plain.login.as_bytes(), plain.password),
        How::External { .. } => return,
    };
    assert!(!password.is_empty());
    // What goes to the server is one message with one bind, whatever the name and the password are.
    let Ok(dn) = std::str::from_utf8(name) else { return };
    let mut sent = Vec::new();
    encode_bind(bind.id, dn, &Secret::new(password), bind.controls.identity, &mut sent);
    let again = Message::read(&sent).expect("we write messages");
    let request = BindRequest::read(&again).expect("and binds");
    assert_eq!((request.id, request.version, request.name), (bind.id, 3, name));
    let asked = BindControls::read(again.controls).expect("and controls");
    assert!(asked.policy && asked.identity == bind.controls.identity);
}

/// `data` as the controls of a request.
pub fn ldap_controls(data: &[u8]) {
    match BindControls::read(Some(data)) {
        Ok(asked) => {
            // Known ones may be critical; that nothing else is, is why it was read.
            assert!(asked.policy || asked.identity || !has_critical(Some(data)));
        }
        Err(ControlFault::Critical) => assert!(has_critical(Some(data))),
        Err(ControlFault::Malformed(_)) => assert!(has_critical(Some(data)), "it may be critical"),
        Err(ControlFault::Value) => {}
    }
}

/// `data` as an ExtendedRequest: what goes on has a name that a server reads as we did, and it is not StartTLS.
pub fn ldap_extended(data: &[u8]) {
    const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";
    let frame = message(0x77, data, &[]);
    let head = whole(&frame);
    let Some(session) = receive(Session::new(RULES, true), &head, &frame) else {
        return;
    };
    if let Step::Relay(_) = session.receive(&head, &frame, 0) {
        let name = Reader::new(data).element().expect("the name was read");
        assert!(name.tag == 0x80 && name.content != START_TLS);
    }
}

/// `data` as what a server sends.
pub fn ldap_response(data: &[u8]) {
    let mut rest = data;
    while let Ok(Front::Whole(head)) = front(rest, CAPACITY, usize::MAX, Sender::Server) {
        let (frame, behind) = rest.split_at(head.total);
        rest = behind;
        assert!(head.id >= 0 && frame[head.offset] == head.operation);
        let Ok(message) = Message::read(frame) else { continue };
        let Ok(response) = BindResponse::read(&message) else {
            continue;
        };
        let outcome = outcome(&response);
        assert!(outcome != PasswordOutcome::Right || response.code == 0, "{response:?}");
        for asked in [false, true] {
            let mut out = Vec::new();
            if bind_response(frame, asked, &mut out).is_ok() {
                let passed = Message::read(&out).expect("what the client gets is a message");
                assert_eq!((passed.id, passed.operation), (message.id, message.operation));
                assert!(!asked || out == frame);
            }
        }
    }
}

fn message(operation: u8, content: &[u8], controls: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(ber::SEQUENCE, &mut out, |out| {
        ber::write_integer(ber::INTEGER, 7, out);
        ber::write(operation, content, out);
        if !controls.is_empty() {
            ber::write(0xa0, controls, out);
        }
    });
    out
}

fn whole(frame: &[u8]) -> Head {
    Head::read(frame, usize::MAX, Sender::Client)
        .expect("we write messages")
        .expect("as a whole")
}
