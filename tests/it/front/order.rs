//! Binds, StartTLS, Abandon and Unbind in every order, among other operations.

use std::io::Write as _;
use std::thread;
use std::time::Duration;

use super::binds::handshake;
use super::peers::{Scripted, Setup, read_to_end};
use super::start;
use super::wire::{ANA, BEN, START_TLS, WHO_AM_I, Wire, abandon, bind, extended, message, plain, search};

const BOTH_WAYS: &str = "tls = \"starttls\"\nallow_plaintext = true\n";

#[test]
fn binds_in_one_write_are_done_one_after_the_other() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::connect(front.address);
    let pipeline = [
        plain(1, ["", ANA, "anapw"]),
        bind(2, BEN, "wrong"),
        plain(3, ["", BEN, "benpw"]),
        search(4, BEN, 0),
        extended(5, WHO_AM_I),
    ];
    wire.send(&pipeline.concat());
    let codes: Vec<_> = (0..3)
        .map(|_| wire.expect())
        .map(|reply| (reply.id, reply.code()))
        .collect();
    assert_eq!(codes, [(1, 0), (2, 49), (3, 0)]);
    let mut rest: Vec<_> = (0..3).map(|_| wire.expect()).collect();
    rest.sort_by_key(|reply| (reply.id, reply.operation));
    assert_eq!((rest[0].id, rest[1].code()), (4, 0));
    assert_eq!(rest[2].identity(), format!("dn:{BEN}"));
}

#[test]
fn abandoning_a_bind_has_no_effect() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::connect(front.address);
    wire.send(&[bind(1, ANA, "anapw"), abandon(2, 1), extended(3, WHO_AM_I)].concat());
    assert_eq!(
        (wire.expect().code(), wire.expect().identity()),
        (0, format!("dn:{ANA}"))
    );
    wire.send(&[plain(4, ["", BEN, "wrong"]), abandon(5, 4), extended(6, WHO_AM_I)].concat());
    let (refused, after) = (wire.expect(), wire.expect());
    assert_eq!((refused.id, refused.code()), (4, 49));
    assert_eq!((after.id, after.code()), (6, 8));
    // Before anything, of a bind that never was.
    let mut wire = Wire::connect(front.address);
    wire.send(&[abandon(1, 9), bind(2, ANA, "anapw"), abandon(3, 2)].concat());
    assert_eq!(wire.expect().code(), 0);
    assert_eq!(wire.who_am_i(4).identity(), format!("dn:{ANA}"));
}

#[test]
fn operations_that_do_not_end_are_abandoned_by_a_bind() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    slapd.halt();
    wire.send(&[search(2, ANA, 0), bind(3, BEN, "benpw")].concat());
    thread::sleep(Duration::from_millis(2500));
    slapd.go_on();
    let reply = wire.expect();
    assert_eq!((reply.id, reply.code()), (3, 0), "nothing comes of the search");
    assert_eq!(wire.who_am_i(4).identity(), format!("dn:{BEN}"));
}

#[test]
fn unbind_ends_everything_wherever_it_stands() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let unbind = |id| message(id, 0x42, &[], |_| {});
    let mut wire = Wire::connect(front.address);
    wire.send(&[bind(1, ANA, "anapw"), unbind(2), extended(3, WHO_AM_I)].concat());
    assert_eq!(wire.expect().code(), 0);
    assert_eq!(wire.next(), None);
    let mut wire = Wire::connect(front.address);
    wire.send(&unbind(1));
    assert_eq!(wire.next(), None);
    // The server hears of it, too, in the middle of an operation.
    let (told, hears) = std::sync::mpsc::channel();
    let server = Scripted::start(move |mut stream| {
        let mut wire = Wire::on(stream.try_clone().unwrap());
        let _ = wire.stream.set_read_timeout(Some(Duration::from_secs(20)));
        let mut first = [0; 512];
        let _ = std::io::Read::read(&mut wire.stream, &mut first).unwrap();
        stream
            .write_all(b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00")
            .unwrap();
        told.send(read_to_end(&mut stream)).unwrap();
    });
    let front = Setup::before(server.address).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let rest = [search(2, ANA, 0), unbind(3)].concat();
    wire.send(&rest);
    assert_eq!(wire.next(), None);
    assert_eq!(hears.recv_timeout(Duration::from_secs(20)).unwrap(), rest);
}

#[test]
fn start_tls_undoes_a_bind_and_comes_only_once() {
    let slapd = start();
    let front = Setup::before(slapd.address()).configured(BOTH_WAYS).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    assert_eq!(wire.ask(&extended(2, START_TLS)).code(), 0);
    let mut wire = handshake(&front, wire.stream);
    assert_eq!(wire.who_am_i(3).code(), 8, "anonymous");
    let twice = wire.ask(&extended(4, START_TLS));
    assert_eq!((twice.id, twice.code()), (4, 1));
    assert_eq!(wire.ask(&plain(5, ["", "ana", "anapw"])).code(), 0);
    let bound = wire.ask(&extended(6, START_TLS));
    assert_eq!((bound.id, bound.code()), (6, 1));
    assert_eq!(
        wire.who_am_i(7).identity(),
        format!("dn:{ANA}"),
        "a refused StartTLS undoes nothing"
    );
    assert_eq!(wire.ask(&bind(8, BEN, "benpw")).code(), 0);
    assert_eq!(wire.who_am_i(9).identity(), format!("dn:{BEN}"));
}

#[test]
fn start_tls_behind_a_bind_that_is_under_way_waits_for_it() {
    let slapd = start();
    let front = Setup::before(slapd.address()).configured(BOTH_WAYS).start();
    let mut wire = Wire::connect(front.address);
    wire.send(&[plain(1, ["", "ana", "anapw"]), extended(2, START_TLS)].concat());
    let (bound, started) = (wire.expect(), wire.expect());
    assert_eq!((bound.id, bound.code(), started.id, started.code()), (1, 0, 2, 0));
    let mut wire = handshake(&front, wire.stream);
    assert_eq!(wire.who_am_i(3).code(), 8);
}

#[test]
fn after_a_handshake_that_failed_there_is_nothing() {
    let slapd = start();
    let front = Setup::before(slapd.address()).configured(BOTH_WAYS).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    assert_eq!(wire.ask(&extended(2, START_TLS)).code(), 0);
    let asked = front.asked();
    wire.send(&[extended(3, WHO_AM_I), bind(4, BEN, "benpw")].concat());
    let rest = read_to_end(&mut wire.stream);
    // An alert of TLS at most, and no LDAP.
    assert!(rest.first().is_none_or(|kind| *kind == 0x15), "{rest:x?}");
    assert_eq!(front.asked(), asked);
}

#[test]
fn start_tls_that_is_refused_leaves_everything_as_it_is() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let refused = wire.ask(&extended(2, START_TLS));
    assert_eq!((refused.id, refused.code()), (2, 2));
    assert_eq!(wire.who_am_i(3).identity(), format!("dn:{ANA}"));
}
