//! What a bind may ask for besides, and what of it reaches the server.

use std::sync::mpsc;
use std::time::Duration;

use portcullis::ber::Message;

use super::peers::{Scripted, Setup};
use super::start;
use super::wire::{ANA, MAY, Wire, bind, bind_with, control, control_with_value, message};

const POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
const IDENTITY: &str = "2.16.840.1.113730.3.4.16";
const PROTOCOL_ERROR: i32 = 2;
const UNAVAILABLE_CRITICAL_EXTENSION: i32 = 12;

#[test]
fn a_critical_control_is_refused_whoever_binds_and_nobody_is_asked() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let critical = control("1.2.3.4", true);
    for (name, password) in [(ANA, "anapw"), (ANA, "wrong"), ("uid=nobody,dc=x", "x"), ("", "")] {
        let reply = Wire::connect(front.address).ask(&bind_with(1, name, password, &critical));
        assert_eq!(
            (reply.operation, reply.code()),
            (0x61, UNAVAILABLE_CRITICAL_EXTENSION),
            "{name}"
        );
    }
    for oid in [POLICY, IDENTITY] {
        let valued = control_with_value(oid, b"v");
        let reply = Wire::connect(front.address).ask(&bind_with(1, ANA, "anapw", &valued));
        assert_eq!((reply.operation, reply.code()), (0x61, PROTOCOL_ERROR), "{oid}");
    }
    assert_eq!(front.asked(), 0);
}

/// The control claims octets behind the controls: those of whatever would be appended.
#[test]
fn controls_that_cannot_be_read_end_the_connection() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let swallowing = b"\x30\x28\x04\x071.2.3.4\x04\x1d";
    let behind = [&control(POLICY, false)[..], swallowing].concat();
    for controls in [&swallowing[..], &behind] {
        let mut wire = Wire::connect(front.address);
        wire.send(&bind_with(1, MAY, "maypw", controls));
        wire.expect_goodbye(PROTOCOL_ERROR);
    }
    assert_eq!(front.asked(), 0);
}

#[test]
fn the_server_is_asked_for_two_things_only_and_ours_comes_first() {
    let (sender, receiver) = mpsc::channel();
    let server = Scripted::start(move |stream| {
        let mut wire = Wire::on(stream);
        while let Some(request) = wire.next() {
            sender.send(request.octets).unwrap();
            wire.send(&message(request.id, 0x61, &[], |out| {
                out.extend(b"\x0a\x01\x00\x04\x00\x04\x00");
            }));
        }
    });
    let front = Setup::before(server.address).start();
    let mut wire = Wire::connect(front.address);
    let (policy, identity) = (control(POLICY, false), control(IDENTITY, false));
    let both = [&policy[..], &identity].concat();
    let harmless = [control("1.2.3", false), control_with_value("1.2.4", b"v")].concat();
    let critical = [&harmless[..], &control(IDENTITY, true), &control(POLICY, true)].concat();
    for (sent, expected) in [
        (&harmless, &policy),
        (&identity, &both),
        (&policy, &policy),
        (&critical, &both),
    ] {
        assert_eq!(wire.ask(&bind_with(1, ANA, "anapw", sent)).code(), 0);
        let request = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(Message::read(&request).unwrap().controls, Some(&expected[..]));
    }
}

#[test]
fn a_bind_that_is_refused_untried_opens_no_connection() {
    let (sender, receiver) = mpsc::channel();
    let server = Scripted::start(move |_| sender.send(()).unwrap());
    let front = Setup::before(server.address).start();
    let mut wire = Wire::connect(front.address);
    // A wrong code: the password is not tried.
    assert_eq!(wire.ask(&bind(1, ANA, "anapw,000000")).code(), 49);
    assert_eq!(wire.ask(&bind(2, "\u{1}", "x")).code(), 49);
    // This one is tried, on the first connection that the server sees.
    assert_eq!(wire.ask(&bind(3, ANA, "anapw")).code(), 52);
    assert!(receiver.recv_timeout(Duration::from_secs(20)).is_ok());
    assert!(receiver.recv_timeout(Duration::from_millis(200)).is_err(), "no other");
}
