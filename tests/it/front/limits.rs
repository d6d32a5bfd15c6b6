//! Clients and servers that misbehave, vanish, stall or flood.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use super::peers::{Scripted, Setup, read_to_end};
use super::start;
use super::wire::{ANA, START_TLS, WHO_AM_I, Wire, abandon, bind, extended, message, modify_description, search};

const PROTOCOL_ERROR: i32 = 2;
const UNAVAILABLE: i32 = 52;

/// A BindResponse with success for every bind, and `other` for the rest.
fn answering(other: impl Fn(&mut Wire<TcpStream>, &[u8], i32, u8) + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |stream| {
        let mut wire = Wire::on(stream);
        while let Some(request) = wire.next() {
            if request.operation == 0x60 {
                wire.send(&result(request.id, 0x61));
            } else {
                other(&mut wire, &request.octets, request.id, request.operation);
            }
        }
    })
}

fn result(id: i32, operation: u8) -> Vec<u8> {
    message(id, operation, &[], |out| out.extend(b"\x0a\x01\x00\x04\x00\x04\x00"))
}

#[test]
fn what_is_not_ldap_is_told_so_and_closed() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("max_pdu_before_bind = 2000").start();
    let zero = extended(0, WHO_AM_I);
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x30\x80\x02\x01\x01",
        b"\x30\x82\x08\x00\x02\x01\x01",
        b"\x30\x84\x7f\xff\xff\xff",
        b"\x30\x05\x02\x01\x01\x64\x00",
        b"\x30\x05\x02\x01\x01\x7e\x00",
        b"\x30\x03\x02\x01\x01",
        &zero,
    ] {
        let mut wire = Wire::connect(front.address);
        wire.send(garbage);
        wire.expect_goodbye(PROTOCOL_ERROR);
    }
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    assert_eq!(
        wire.ask(&modify_description(2, ANA, &[b'x'; 4000])).code(),
        0,
        "the other limit holds now"
    );
    assert!(front.metrics.render().contains("reason=\"malformed\""));
}

#[test]
fn messages_over_the_limit_after_a_bind() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("max_pdu = 100000").start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    wire.send(&search(2, ANA, 0));
    assert_eq!(wire.expect().operation, 0x64);
    assert_eq!(wire.expect().code(), 0);
    wire.send(b"\x30\x83\x02\x00\x00\x02\x01\x03\x63");
    wire.expect_goodbye(PROTOCOL_ERROR);
}

#[test]
fn a_server_that_dies_leaves_no_operation_without_an_answer() {
    let mut slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    slapd.halt();
    wire.send(
        &[
            search(2, "dc=example,dc=org", 2),
            modify_description(3, ANA, b"x"),
            extended(4, WHO_AM_I),
            search(5, ANA, 0),
            abandon(6, 5),
        ]
        .concat(),
    );
    // We answer this one ourselves: then all before it has been sent on.
    let refused = wire.ask(&extended(7, START_TLS));
    assert_eq!((refused.id, refused.code()), (7, 1));
    slapd.kill();
    let mut owed: Vec<_> = (0..3).map(|_| wire.expect()).collect();
    owed.sort_by_key(|reply| reply.id);
    let seen: Vec<_> = owed
        .iter()
        .map(|reply| (reply.id, reply.operation, reply.code()))
        .collect();
    assert_eq!(
        seen,
        [(2, 0x65, UNAVAILABLE), (3, 0x67, UNAVAILABLE), (4, 0x78, UNAVAILABLE)]
    );
    wire.expect_goodbye(UNAVAILABLE);
}

#[test]
fn a_directory_out_of_reach_is_no_wrong_password() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let front = Setup::before(nowhere).start();
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&bind(1, ANA, "anapw")).code(), UNAVAILABLE);
    assert_eq!(wire.ask(&search(2, "", 0)).code(), UNAVAILABLE);
}

#[test]
fn a_server_that_closes_during_a_bind_is_no_wrong_password() {
    let server = Scripted::start(|mut stream| {
        let _ = stream.read(&mut [0; 100]);
    });
    let front = Setup::before(server.address).start();
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&bind(1, ANA, "anapw")).code(), UNAVAILABLE);
}

#[test]
fn exactly_one_bind_and_then_every_octet_in_order() {
    let (sender, receiver) = mpsc::channel();
    let server = answering(move |wire, octets, id, operation| {
        sender.send(octets.to_vec()).unwrap();
        if operation == 0x63 {
            wire.send(&result(id, 0x65));
        }
    });
    let front = Setup::before(server.address).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let requests = [search(2, ANA, 0), abandon(3, 2), search(4, ANA, 2)];
    wire.send(&requests.concat());
    for request in requests {
        assert_eq!(receiver.recv_timeout(Duration::from_secs(20)).unwrap(), request);
    }
    let unbind = message(5, 0x42, &[], |_| {});
    wire.send(&unbind);
    assert_eq!(receiver.recv_timeout(Duration::from_secs(20)).unwrap(), unbind);
    assert!(
        receiver.recv_timeout(Duration::from_millis(200)).is_err(),
        "nothing else"
    );
}

/// One client takes nothing of an endless answer; another goes on as if it were not there.
#[test]
fn a_client_that_does_not_read_stalls_itself_only() {
    let server = answering(|wire, _, id, operation| {
        if operation == 0x63 {
            let entry = message(id, 0x64, &[], |out| out.extend([0; 5000]));
            // Ends when the other side has had enough.
            while wire.stream.write_all(&entry).is_ok() {}
        } else {
            wire.send(&result(id, 0x78));
        }
    });
    let front = Setup::before(server.address).and("idle = \"400ms\"").start();
    let mut deaf = Wire::bound(front.address, ANA, "anapw");
    deaf.send(&search(2, ANA, 2));
    for id in 1..50 {
        let mut wire = Wire::bound(front.address, ANA, "anapw");
        assert_eq!(wire.who_am_i(id + 1).code(), 0);
    }
    // It is closed after the idle time: what is left to read ends.
    std::thread::sleep(Duration::from_millis(1200));
    let left = read_to_end(&mut deaf.stream);
    assert!(!left.is_empty() && left.len() < 64 << 20, "{}", left.len());
}

#[test]
fn idle_connections_are_told_to_go() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("idle = \"200ms\"").start();
    Wire::connect(front.address).expect_goodbye(UNAVAILABLE);
    Wire::bound(front.address, ANA, "anapw").expect_goodbye(UNAVAILABLE);
    // A message that never becomes whole is no sign of life.
    let mut drip = Wire::connect(front.address);
    let mut stream = drip.stream.try_clone().unwrap();
    let dripping = std::thread::spawn(move || {
        let bind = bind(1, ANA, &"x".repeat(2000));
        for octet in bind.chunks(1) {
            if stream.write_all(octet).is_err() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    });
    drip.expect_goodbye(UNAVAILABLE);
    drop(drip);
    assert!(dripping.join().unwrap());
}

#[test]
fn a_client_that_only_binds_is_not_idle() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("idle = \"800ms\"").start();
    let mut wire = Wire::connect(front.address);
    let start = portcullis::clock::monotonic();
    for id in 1.. {
        assert_eq!(wire.ask(&bind(id, ANA, "anapw")).code(), 0);
        if start.elapsed() > Duration::from_secs(2) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn more_connections_than_allowed_are_closed() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("connections = 2").start();
    let first = Wire::bound(front.address, ANA, "anapw");
    let _second = Wire::bound(front.address, ANA, "anapw");
    let mut third = Wire::connect(front.address);
    assert_eq!(third.next(), None);
    assert!(front.metrics.render().contains("too-many-connections"));
    first.stream.shutdown(Shutdown::Both).unwrap();
    drop(first);
    for _ in 0..1000 {
        let mut again = Wire::connect(front.address);
        let _ = again.stream.write_all(&bind(1, ANA, "anapw"));
        if again.next().is_some_and(|reply| reply.code() == 0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("a place that has become free is not given again");
}

#[test]
fn shutting_down_finishes_what_is_under_way_and_says_goodbye() {
    let slapd = start();
    let mut front = Setup::before(slapd.address()).start();
    let mut idle = Wire::connect(front.address);
    let mut bound = Wire::bound(front.address, ANA, "anapw");
    assert_eq!(bound.who_am_i(2).code(), 0);
    assert_eq!(idle.ask_all(&search(1, "", 0)).len(), 2);
    front.stop();
    idle.expect_goodbye(UNAVAILABLE);
    bound.expect_goodbye(UNAVAILABLE);
    assert!(TcpStream::connect(front.address).is_err());
}

#[test]
fn a_server_that_does_not_speak_ldap_is_a_lost_server() {
    let server = answering(|wire, _, _, _| wire.send(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let front = Setup::before(server.address).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let reply = wire.ask(&search(2, ANA, 0));
    assert_eq!((reply.id, reply.operation, reply.code()), (2, 0x65, UNAVAILABLE));
    wire.expect_goodbye(UNAVAILABLE);
}
