//! Clients that mean no good, or that nobody tested: each is answered or closed, and another is served meanwhile.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use portcullis::ber::{self, ENUMERATED, INTEGER, OCTET_STRING, SEQUENCE};

use super::peers::{Scripted, Setup};
use super::start;
use super::wire::{ANA, WHO_AM_I, Wire, abandon, bind, extended, message, modify_description, search};
use crate::support::process::until;

const PROTOCOL_ERROR: i32 = 2;
const BUSY: i32 = 51;
const UNAVAILABLE: i32 = 52;

/// A server that answers every request with success.
fn obliging() -> Scripted {
    Scripted::start(|stream| {
        let mut wire = Wire::on(stream);
        while let Some(request) = wire.next() {
            let response = match request.operation {
                0x60 => 0x61,
                0x63 => 0x65,
                0x66 => 0x67,
                0x77 => 0x78,
                _ => continue,
            };
            let done = message(request.id, response, &[], |out| {
                out.extend(b"\x0a\x01\x00\x04\x00\x04\x00")
            });
            if wire.stream.write_all(&done).is_err() {
                return;
            }
        }
    })
}

/// `(!(!(…(cn=*)…)))`, that many times.
fn nested_search(id: i32, levels: usize) -> Vec<u8> {
    // From the inside out, each header written backwards.
    let mut filter: Vec<u8> = b"\x87\x02cn".iter().rev().copied().collect();
    for _ in 0..levels {
        let mut header = Vec::new();
        ber::write_header(0xa2, filter.len(), &mut header);
        filter.extend(header.iter().rev());
    }
    filter.reverse();
    message(id, 0x63, &[], |out| {
        ber::write(OCTET_STRING, ANA.as_bytes(), out);
        ber::write_integer(ENUMERATED, 0, out);
        ber::write_integer(ENUMERATED, 0, out);
        ber::write_integer(INTEGER, 0, out);
        ber::write_integer(INTEGER, 0, out);
        out.extend_from_slice(b"\x01\x01\x00");
        out.extend_from_slice(&filter);
        ber::write(SEQUENCE, &[], out);
    })
}

#[test]
fn a_filter_of_any_depth_is_the_servers_to_judge() {
    let server = obliging();
    let front = Setup::before(server.address).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    for (id, levels) in [(2, 1000), (3, 15_000), (4, 100_000)] {
        assert_eq!(wire.ask(&nested_search(id, levels)).code(), 0, "{levels} levels");
    }
}

#[test]
fn a_client_that_speaks_tls_or_http_to_the_plain_port_is_told_and_closed() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    for octets in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"\x30\x89\x01\x00\x00\x00\x00\x00\x00\x00\x00",
    ] {
        let mut wire = Wire::connect(front.address);
        wire.send(octets);
        wire.expect_goodbye(PROTOCOL_ERROR);
    }
}

/// A message that is announced as large, and whose octets come one by one once the buffer has been passed on.
#[test]
fn the_octets_of_a_large_message_do_not_keep_a_connection_alive() {
    let server = obliging();
    let front = Setup::before(server.address).and("idle = \"400ms\"").start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let large = modify_description(2, ANA, &vec![b'x'; 500_000]);
    wire.send(&large[..100_000]);
    let mut stream = wire.stream.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        large[100_000..].chunks(1).any(|octet| {
            thread::sleep(Duration::from_millis(10));
            stream.write_all(octet).is_err()
        })
    });
    // An answer is owed, and cannot come.
    loop {
        let reply = wire.expect();
        if reply.is_notice_of_disconnection() {
            assert_eq!(reply.code(), UNAVAILABLE);
            break;
        }
    }
    drop(wire);
    assert!(dripping.join().unwrap());
}

#[test]
fn a_hundred_thousand_operations_in_one_stream() {
    const OPERATIONS: i32 = 100_000;
    let server = obliging();
    let front = Setup::before(server.address).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let mut stream = wire.stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        let all: Vec<u8> = (2..OPERATIONS + 2).flat_map(|id| search(id, ANA, 0)).collect();
        stream.write_all(&all).unwrap();
    });
    let mut answered = vec![false; usize::try_from(OPERATIONS).unwrap()];
    for _ in 0..OPERATIONS {
        let reply = wire.expect();
        // More than are under way at most are told so.
        assert!([0, BUSY].contains(&reply.code()));
        assert!(!std::mem::replace(
            &mut answered[usize::try_from(reply.id - 2).unwrap()],
            true
        ));
    }
    writing.join().unwrap();
    assert_eq!(Wire::bound(front.address, ANA, "anapw").who_am_i(2).code(), 0);
}

#[test]
fn a_storm_of_abandons() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let mut other = Wire::bound(front.address, ANA, "anapw");
    let mut stream = wire.stream.try_clone().unwrap();
    let writing = thread::spawn(move || {
        // Of so many it is remembered that they were abandoned; who abandons more may lose the connection.
        for id in (2..2_000).step_by(2) {
            let both = [search(id, "dc=example,dc=org", 2), abandon(id + 1, id)].concat();
            stream.write_all(&both).unwrap();
        }
        stream.write_all(&extended(30_000, WHO_AM_I)).unwrap();
    });
    for id in 2..50 {
        assert_eq!(other.who_am_i(id).code(), 0);
    }
    // Some are answered before they are abandoned.
    while wire.expect().id != 30_000 {}
    writing.join().unwrap();
}

#[test]
fn clients_that_vanish_while_they_are_answered_leave_nothing_behind() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut other = Wire::bound(front.address, ANA, "anapw");
    for number in 0..200 {
        let mut wire = Wire::connect(front.address);
        wire.send(&[bind(1, ANA, "anapw"), search(2, "dc=example,dc=org", 2)].concat());
        match number % 4 {
            0 => drop(wire),
            1 => wire.stream.shutdown(Shutdown::Write).unwrap(),
            2 => {
                assert_eq!(wire.expect().code(), 0);
            }
            // A reset: what has come is not read.
            _ => assert!(wire.stream.peek(&mut [0]).is_ok()),
        }
    }
    assert_eq!(other.who_am_i(2).code(), 0);
    until("their places are free", || {
        front.metrics.render().contains("ldap_connections 1\n")
    });
}

#[test]
fn hundreds_of_silent_connections_leave_room_for_one_that_works() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("connections = 400").start();
    let silent: Vec<_> = (0..399).map(|_| TcpStream::connect(front.address).unwrap()).collect();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    assert_eq!(wire.who_am_i(2).code(), 0);
    for _ in 0..50 {
        assert_eq!(Wire::connect(front.address).next(), None, "no place is left");
    }
    assert_eq!(wire.who_am_i(3).code(), 0);
    drop(silent);
    until("places are free again", || {
        let mut again = Wire::connect(front.address);
        let _ = again.stream.write_all(&bind(1, ANA, "anapw"));
        again.next().is_some_and(|reply| reply.code() == 0)
    });
}
