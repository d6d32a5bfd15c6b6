//! SASL PLAIN and what is no SASL, as octets on the wire.

use std::net::TcpStream;

use super::peers::Setup;
use super::start;
use super::wire::{ANA, BEN, MAY, Wire, bind, bind_with, control, message, plain, sasl};

/// The name that the server has for the connection.
fn identity(wire: &mut Wire<TcpStream>) -> String {
    wire.who_am_i(1000).identity()
}

#[test]
fn plain_is_answered_as_a_simple_bind_is() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("anonymous = \"yes\"").start();
    let direct = Wire::connect(slapd.address()).ask(&bind(7, ANA, "anapw"));
    let authzid = format!("dn:{ANA}");
    for parts in [
        ["", ANA, "anapw"],
        ["", "ana", "anapw"],
        ["", " ANA", "anapw,123456"],
        ["u:ana", "ana", "anapw"],
        [authzid.as_str(), "ana", "anapw"],
    ] {
        let mut wire = Wire::bound(front.address, BEN, "benpw");
        assert_eq!(wire.ask(&plain(7, parts)), direct, "{parts:?}");
        assert_eq!(identity(&mut wire), authzid);
    }
}

#[test]
fn whatever_is_wrong_with_plain_nobody_is_bound() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("anonymous = \"yes\"").start();
    let refused = |code: i32| (code, String::new());
    for parts in [
        ["", ANA, "wrong"],
        ["", "ana", "anapw,000000"],
        ["", MAY, "maypw"],
        ["u:ben", "ana", "anapw"],
        [&format!("dn:{BEN}"), ANA, "anapw"],
        ["ana", "ana", "anapw"],
        ["dn:", "ana", "anapw"],
        ["", "\u{1}", "x"],
    ] {
        let mut wire = Wire::bound(front.address, BEN, "benpw");
        assert_eq!(wire.ask(&plain(2, parts)).result(), refused(49), "{parts:?}");
        assert_eq!(identity(&mut wire), "", "{parts:?}");
    }
    let asked = front.asked();
    let malformed: [&[u8]; 7] = [
        b"",
        b"ana",
        b"ana\0anapw",
        b"\0\0anapw",
        b"\0ana\0a\0b",
        b"\0ana\0\xff",
        b"\0",
    ];
    for octets in malformed {
        let mut wire = Wire::connect(front.address);
        assert_eq!(wire.ask(&sasl(2, "PLAIN", Some(octets))).code(), 2, "{octets:x?}");
        assert_eq!(identity(&mut wire), "");
    }
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&plain(2, ["", ANA, ""])).code(), 53);
    assert_eq!(front.asked(), asked, "the engine was not asked");
}

#[test]
fn the_client_may_wait_for_an_empty_challenge() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::connect(front.address);
    let challenge = wire.ask(&sasl(1, "PLAIN", None));
    // resultCode saslBindInProgress, no matchedDN, no text, empty serverSaslCreds.
    let expected = b"\x30\x0e\x02\x01\x01\x61\x09\x0a\x01\x0e\x04\x00\x04\x00\x87\x00";
    assert_eq!(challenge.octets, expected);
    assert_eq!(wire.ask(&plain(2, ["", ANA, "anapw"])).code(), 0);
    assert_eq!(identity(&mut wire), format!("dn:{ANA}"));
    // Given up half-way, by an empty mechanism or by another bind.
    assert_eq!(wire.ask(&sasl(3, "PLAIN", None)).code(), 14);
    assert_eq!(wire.ask(&sasl(4, "", None)).code(), 7);
    assert_eq!(wire.who_am_i(5).code(), 8);
    assert_eq!(wire.ask(&sasl(6, "plain", None)).code(), 14);
    assert_eq!(wire.ask(&bind(7, BEN, "benpw")).code(), 0);
    assert_eq!(identity(&mut wire), format!("dn:{BEN}"));
}

#[test]
fn mechanisms_that_are_not_served() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    for mechanism in ["EXTERNAL", "DIGEST-MD5", "GSSAPI", "ANONYMOUS", "", "PLAIN\0"] {
        let mut wire = Wire::bound(front.address, ANA, "anapw");
        assert_eq!(
            wire.ask(&sasl(2, mechanism, Some(b"\0ana\0anapw"))).code(),
            7,
            "{mechanism}"
        );
        assert_eq!(wire.who_am_i(3).code(), 8, "nobody is bound any more");
    }
    let closed = Setup::before(slapd.address()).and("sasl = [\"external\"]").start();
    let mut wire = Wire::connect(closed.address);
    assert_eq!(wire.ask(&plain(1, ["", ANA, "anapw"])).code(), 7);
    let guarded = Setup::before(slapd.address())
        .configured("tls = \"starttls\"\n")
        .start();
    let mut wire = Wire::connect(guarded.address);
    assert_eq!(wire.ask(&plain(1, ["", ANA, "anapw"])).code(), 13);
    assert_eq!(wire.ask(&plain(2, ["", ANA, ""])).code(), 13);
    assert_eq!(guarded.asked(), 0);
}

#[test]
fn external_without_a_certificate_has_nothing_to_go_by() {
    let slapd = start();
    let lines = "tls = \"starttls\"\nallow_plaintext = true\nclient_certificate = \"optional\"\n";
    let front = Setup::before(slapd.address()).configured(lines).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let asked = front.asked();
    for credentials in [None, Some(&b""[..]), Some(b"u:ana")] {
        assert_eq!(
            wire.ask(&sasl(2, "EXTERNAL", credentials)).result(),
            (48, String::new())
        );
        assert_eq!(wire.who_am_i(3).code(), 8);
    }
    assert_eq!(front.asked(), asked);
}

#[test]
fn every_form_of_a_bind_request_that_the_rfc_allows_and_no_other() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let credentials = |sasl: &'static [u8]| {
        message(1, 0x60, &[], |out| {
            out.extend([&b"\x02\x01\x03\x04\x00"[..], sasl].concat())
        })
    };
    let long = b"\xa3\x84\x00\x00\x00\x17\x04\x81\x05PLAIN\x04\x83\x00\x00\x0a\x00ana\x00anapw";
    assert_eq!(Wire::connect(front.address).ask(&credentials(long)).code(), 0);
    for malformed in [
        &b"\xa3\x00"[..],
        b"\xa3\x02\x04\x05",
        b"\xa3\x07\x80\x05PLAIN",
        b"\xa3\x13\x04\x05PLAIN\x80\x0a\x00ana\x00anapw",
        b"\xa3\x15\x04\x05PLAIN\x04\x0a\x00ana\x00anapw\x04\x00",
        b"\xa3\x07\x04\x05PLAIN\x04\x00",
        b"",
    ] {
        let mut wire = Wire::connect(front.address);
        assert_eq!(wire.ask(&credentials(malformed)).code(), 2, "{malformed:x?}");
        assert_eq!(wire.ask(&bind(2, ANA, "anapw")).code(), 0, "the connection goes on");
    }
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&credentials(b"\xaa\x00")).code(), 7, "no choice of the RFC");
    assert_eq!(wire.ask(&credentials(b"\x83\x05PLAIN")).code(), 7);
}

#[test]
fn controls_are_those_of_a_simple_bind() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let with = |controls: &[u8]| {
        message(3, 0x60, controls, |out| {
            out.extend(b"\x02\x01\x03\x04\x00\xa3\x13\x04\x05PLAIN\x04\x0a\x00ana\x00anapw");
        })
    };
    for controls in [
        control("1.3.6.1.4.1.42.2.27.8.5.1", false),
        control("2.16.840.1.113730.3.4.16", true),
        control("1.2.3", false),
        control("1.2.3", true),
    ] {
        let ask = |octets: &[u8]| Wire::connect(front.address).ask(octets);
        assert_eq!(ask(&with(&controls)), ask(&bind_with(3, ANA, "anapw", &controls)));
    }
}
