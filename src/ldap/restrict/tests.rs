use proptest::prelude::*;

use super::*;
use crate::ber::{self, BOOLEAN, ENUMERATED, INTEGER, Message, OCTET_STRING, SEQUENCE};
use crate::ldap::frame::Sender;

fn gate(table: &str) -> Gate {
    Gate::new(Restriction::new(&toml::from_str(table).unwrap()).unwrap())
}

fn message(id: i32, operation: u8, controls: &[u8], fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write_integer(INTEGER, id, out);
        ber::write_with(operation, out, fill);
        if !controls.is_empty() {
            ber::write(0xa0, controls, out);
        }
    });
    out
}

fn search(id: i32, entries: i32, aliases: i32, controls: &[u8]) -> Vec<u8> {
    message(id, 0x63, controls, |out| {
        ber::write(OCTET_STRING, b"ou=people,dc=x", out);
        ber::write_integer(ENUMERATED, 2, out);
        ber::write_integer(ENUMERATED, aliases, out);
        ber::write_integer(INTEGER, entries, out);
        ber::write_integer(INTEGER, 0, out);
        ber::write(BOOLEAN, &[0], out);
        ber::write(0x87, b"objectClass", out);
        ber::write(SEQUENCE, &[], out);
    })
}

fn page(size: i32, cookie: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write(OCTET_STRING, b"1.2.840.113556.1.4.319", out);
        ber::write_with(OCTET_STRING, out, |out| {
            ber::write_with(SEQUENCE, out, |out| {
                ber::write_integer(INTEGER, size, out);
                ber::write(OCTET_STRING, cookie, out);
            });
        });
    });
    out
}

fn ask(gate: &mut Gate, request: &[u8]) -> Ruling {
    let head = Head::read(request, usize::MAX, Sender::Client).unwrap().unwrap();
    gate.request(&head, request)
}

/// A page of `count` entries, and its end with `cookie`.
fn answer_page(gate: &mut Gate, id: i32, count: usize, cookie: &[u8]) {
    let entry = message(id, 0x64, &[], |out| {
        ber::write(OCTET_STRING, b"uid=a,ou=people,dc=x", out);
        ber::write(SEQUENCE, &[], out);
    });
    let done = message(id, 0x65, &page(0, cookie), |out| {
        out.extend_from_slice(&[0x0a, 1, 0, 4, 0, 4, 0])
    });
    let mut out = Vec::new();
    for frame in std::iter::repeat_n(&entry, count).chain([&done]) {
        let head = Head::read(frame, usize::MAX, Sender::Server).unwrap().unwrap();
        gate.answer(&head, frame, &mut out);
    }
    assert_eq!(out.len(), count * entry.len() + done.len());
}

fn refused(ruling: &Ruling) -> Option<Code> {
    match ruling {
        Ruling::Refuse(answer) => Some(answer.code),
        Ruling::Pass | Ruling::Instead(_) | Ruling::Drop => None,
    }
}

#[test]
fn nothing_is_written_anew_that_may_go_on_as_it_is() {
    let mut gate = gate("bases = [\"ou=people,dc=x\"]\nmax_entries = 5");
    assert_eq!(ask(&mut gate, &search(1, 5, 0, &[])), Ruling::Pass);
    let expected = Ruling::Instead(search(2, 5, 0, &[]));
    assert_eq!(ask(&mut gate, &search(2, 0, 3, &[])), expected, "limit and aliases");
    let unknown = b"\x30\x07\x04\x051.2.3";
    assert_eq!(
        ask(&mut gate, &search(2, 5, 0, unknown)),
        expected,
        "a control left out"
    );
}

/// Entries of two searches with one message id could be counted for the wrong one.
#[test]
fn pages_under_way_have_a_message_id_of_their_own() {
    let mut gate = gate("max_entries = 5");
    assert_eq!(ask(&mut gate, &search(1, 5, 0, &page(3, b""))), Ruling::Pass);
    let second = ask(&mut gate, &search(1, 5, 0, &page(3, b"")));
    assert_eq!(refused(&second), Some(Code::ProtocolError));
    answer_page(&mut gate, 1, 3, b"one");
    assert_eq!(ask(&mut gate, &search(1, 5, 0, &page(2, b"one"))), Ruling::Pass);
}

#[test]
fn pages_are_counted_by_their_cookies() {
    let mut gate = gate("max_entries = 5");
    assert_eq!(ask(&mut gate, &search(1, 5, 0, &page(3, b""))), Ruling::Pass);
    answer_page(&mut gate, 1, 3, b"one");
    // A second search in between changes nothing about the first.
    assert_eq!(ask(&mut gate, &search(2, 5, 0, &page(1, b""))), Ruling::Pass);
    answer_page(&mut gate, 2, 1, b"other");
    let less = Ruling::Instead(search(3, 5, 0, &page(2, b"one")));
    assert_eq!(ask(&mut gate, &search(3, 5, 0, &page(3, b"one"))), less);
    answer_page(&mut gate, 3, 2, b"two");
    let last = ask(&mut gate, &search(4, 5, 0, &page(3, b"two")));
    assert_eq!(refused(&last), Some(Code::SizeLimitExceeded));
    for stale in [&b"one"[..], b"two", b"made up"] {
        let again = ask(&mut gate, &search(5, 5, 0, &page(3, stale)));
        assert_eq!(refused(&again), Some(Code::UnwillingToPerform));
    }
    assert_eq!(
        ask(&mut gate, &search(6, 5, 0, &page(0, b"other"))),
        Ruling::Pass,
        "given up"
    );
}

#[test]
fn filters_end_at_a_depth() {
    let mut gate = gate("read_only = true");
    let mut nested = |levels: usize| {
        let mut filter = b"\x87\x01a".to_vec();
        for _ in 0..levels {
            let inner = std::mem::take(&mut filter);
            ber::write(0xa2, &inner, &mut filter);
        }
        let request = message(1, 0x63, &[], |out| {
            out.extend_from_slice(&[4, 0, 0x0a, 1, 0, 0x0a, 1, 0, 2, 1, 0, 2, 1, 0, 1, 1, 0]);
            out.extend_from_slice(&filter);
            out.extend_from_slice(&[0x30, 0]);
        });
        refused(&ask(&mut gate, &request))
    };
    assert_eq!((nested(63), nested(64)), (None, Some(Code::UnwillingToPerform)));
    assert_eq!(nested(10_000), Some(Code::UnwillingToPerform));
}

#[test]
fn what_goes_on_behind_its_end_is_refused() {
    let mut gate = gate("hide_attributes = [\"mail\"]");
    let request = search(1, 0, 0, &[]);
    let content = Message::read(&request).unwrap().operation.content.to_vec();
    let longer = message(1, 0x63, &[], |out| {
        out.extend_from_slice(&content);
        out.extend_from_slice(b"\x87\x04mail");
    });
    assert_eq!(refused(&ask(&mut gate, &longer)), Some(Code::ProtocolError));
    assert_eq!(ask(&mut gate, &request), Ruling::Pass);
    // A part of a message is never passed on.
    let head = Head::read(&request, usize::MAX, Sender::Client).unwrap().unwrap();
    assert_eq!(
        refused(&gate.request(&head, &request[..20])),
        Some(Code::AdminLimitExceeded)
    );
}

#[test]
fn an_empty_table_restricts_nothing() {
    assert!(Restriction::new(&Restrict::default()).is_none());
    assert!(!gate("read_only = true").reads_answers());
    assert!(gate("max_entries = 1").reads_answers());
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..120), tag in any::<u8>()) {
        let mut gate = gate("bases = [\"dc=x\"]\nhide_attributes = [\"mail\"]\nmax_entries = 3");
        let frame = message(5, tag, &[], |out| out.extend_from_slice(&octets));
        let Ok(Some(head)) = Head::read(&frame, usize::MAX, Sender::Client) else { return Ok(()) };
        if let Ruling::Instead(other) = gate.request(&head, &frame) {
            prop_assert!(Message::read(&other).is_ok());
        }
        let mut out = Vec::new();
        gate.answer(&head, &frame, &mut out);
        prop_assert!(out.is_empty() || out == frame || Message::read(&out).is_ok());
    }
}
