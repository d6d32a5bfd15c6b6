//! Who is bound after what, and that nothing is left of who was bound before.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use portcullis::secret::Secret;

use super::peers::{Front, Setup, run};
use super::start;
use super::wire::{ANA, BEN, MAY, START_TLS, WHO_AM_I, Wire, bind, bind_with, control, extended, message, search};
use crate::support::slapd::Slapd;

/// Anonymous operations pass, so that WhoAmI tells what rights the server gives us.
fn open(slapd: &Slapd) -> Setup {
    Setup::before(slapd.address()).and("anonymous = \"yes\"")
}

const ANONYMOUS: &str = "";

fn identity(wire: &mut Wire<TcpStream>) -> String {
    let reply = wire.who_am_i(1000);
    assert_eq!(reply.code(), 0);
    reply.identity()
}

#[test]
fn a_bind_gives_the_rights_of_its_name() {
    let slapd = start();
    let front = open(&slapd).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    assert_eq!(identity(&mut wire), format!("dn:{ANA}"));
    assert_eq!(wire.ask(&bind(2, BEN, "benpw")).code(), 0);
    assert_eq!(identity(&mut wire), format!("dn:{BEN}"));
}

#[test]
fn login_names_and_appended_codes() {
    let slapd = start();
    let front = open(&slapd).start();
    let mut wire = Wire::bound(front.address, "ANA ", "anapw,123456");
    assert_eq!(identity(&mut wire), format!("dn:{ANA}"));
    let refused = wire.ask(&bind(2, ANA, "anapw,654321"));
    assert_eq!(refused.result(), (49, String::new()));
    // No password in front of the code: all of it is the password.
    assert_eq!(wire.ask(&bind(3, ANA, ",123456")).result(), (49, String::new()));
}

#[test]
fn after_any_failed_bind_the_connection_is_anonymous() {
    let slapd = start();
    let front = open(&slapd).start();
    let failures = [
        (bind(2, ANA, "wrong"), 49),
        (bind(2, ANA, "anapw,000000"), 49), // the server is never asked
        (bind(2, MAY, "maypw"), 49),
        (bind(2, ANA, ""), 53),
        (bind(2, "\u{1}", "x"), 49),
        (
            message(2, 0x60, &[], |out| out.extend(b"\x02\x01\x02\x04\x00\x80\x00")),
            2,
        ),
        (
            message(2, 0x60, &[], |out| {
                out.extend(b"\x02\x01\x03\x04\x00\xa3\x07\x04\x05OTHER")
            }),
            7,
        ),
        (message(2, 0x60, &[], |out| out.extend(b"garbage")), 2),
        (bind_with(2, ANA, "anapw", &control("1.2.3", true)), 12),
        (bind(2, "", ""), 0),
    ];
    for (attempt, code) in failures {
        let mut wire = Wire::bound(front.address, ANA, "anapw");
        assert_eq!(wire.ask(&attempt).code(), code, "{attempt:x?}");
        assert_eq!(identity(&mut wire), ANONYMOUS, "{attempt:x?}");
    }
}

#[test]
fn accepted_without_a_password_the_server_is_asked_as_nobody() {
    let slapd = start();
    let front = open(&slapd).accepting_unasked().start();
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&bind(1, ANA, "anything")).code(), 0);
    assert_eq!(identity(&mut wire), ANONYMOUS);
}

#[test]
fn a_password_that_must_be_changed_is_no_login() {
    let slapd = start();
    // slapd itself says success.
    assert_eq!(Wire::connect(slapd.address()).ask(&bind(1, MAY, "maypw")).code(), 0);
    let front = open(&slapd).start();
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&bind(1, MAY, "maypw")).result(), (49, String::new()));
    assert_eq!(identity(&mut wire), ANONYMOUS);
    let policy = control("1.3.6.1.4.1.42.2.27.8.5.1", true);
    assert_eq!(
        wire.ask(&bind_with(3, MAY, "maypw", &policy)).result(),
        (49, String::new())
    );
    assert_eq!(identity(&mut wire), ANONYMOUS);
}

#[test]
fn a_refusal_takes_back_what_the_server_has_accepted() {
    let slapd = start();
    let front = open(&slapd).refusing_anyway().start();
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&bind(1, ANA, "anapw")).result(), (49, String::new()));
    assert_eq!(identity(&mut wire), ANONYMOUS);
}

#[test]
fn unauthenticated_binds_ask_nobody() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&bind(1, ANA, "")).code(), 53);
    assert_eq!(front.asked(), 0);
}

#[test]
fn anonymous_connections_read_the_root_dse_and_are_told_to_bind() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::connect(front.address);
    let direct = Wire::connect(slapd.address()).ask_all(&search(1, "", 0));
    assert_eq!(wire.ask_all(&search(1, "", 0)), direct);
    assert_eq!(wire.ask(&search(2, "dc=example,dc=org", 2)).code(), 8);
    assert_eq!(wire.ask(&extended(3, WHO_AM_I)).code(), 8);
    assert_eq!(wire.ask(&bind_with(4, "", "", &control("1.2.3", true))).code(), 12);
    assert_eq!(wire.ask(&bind(5, "", "")).code(), 0);
    assert_eq!(wire.ask(&search(6, ANA, 0)).code(), 8);
    assert_eq!(front.asked(), 0);
}

#[test]
fn what_stands_behind_a_bind_is_done_as_who_it_binds() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::connect(front.address);
    let pipeline = [
        extended(1, WHO_AM_I),
        bind(2, ANA, "anapw"),
        extended(3, WHO_AM_I),
        search(4, ANA, 0),
        bind(5, BEN, "benpw"),
        extended(6, WHO_AM_I),
        bind(7, BEN, "wrong"),
        extended(8, WHO_AM_I),
    ];
    wire.send(&pipeline.concat());
    assert_eq!(wire.expect().code(), 8);
    assert_eq!(wire.expect().code(), 0);
    // Operations run at once, but all of them end before the next bind.
    let mut before: Vec<_> = (0..3).map(|_| wire.expect()).collect();
    before.sort_by_key(|reply| (reply.id, reply.operation));
    assert_eq!(before[0].identity(), format!("dn:{ANA}"));
    assert_eq!((before[1].operation, before[2].code()), (0x64, 0));
    assert_eq!((wire.expect().id, wire.expect().identity()), (5, format!("dn:{BEN}")));
    let refused = wire.expect();
    assert_eq!((refused.id, refused.code()), (7, 49));
    let last = wire.expect();
    assert_eq!((last.id, last.code()), (8, 8));
}

#[test]
fn passwords_need_tls_unless_the_listener_allows_otherwise() {
    let slapd = start();
    let front = Setup::before(slapd.address())
        .configured("tls = \"starttls\"\n")
        .start();
    let mut wire = Wire::connect(front.address);
    assert_eq!(wire.ask(&bind(1, ANA, "anapw")).code(), 13);
    assert_eq!(front.asked(), 0);
    let ca = front.authority.to_str().unwrap().to_owned();
    let environment = [("LDAPTLS_CACERT", ca.as_str()), ("LDAPTLS_REQCERT", "demand")];
    let url = front.url();
    let arguments = ["-x", "-ZZ", "-H", &url, "-D", ANA, "-w", "anapw"];
    let output = run("ldapwhoami", &arguments, "", &environment);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        format!("dn:{ANA}"),
        "{output:?}"
    );
}

#[test]
fn ldaps() {
    let slapd = start();
    let front = Setup::before(slapd.address()).configured("tls = \"ldaps\"\n").start();
    let ca = front.authority.to_str().unwrap().to_owned();
    let environment = [("LDAPTLS_CACERT", ca.as_str()), ("LDAPTLS_REQCERT", "demand")];
    let url = format!("ldaps://{}", front.address);
    let search = ["-x", "-LLL", "-H", &url, "-D", ANA, "-w", "anapw", "-b", ANA];
    let through = run("ldapsearch", &search, "", &environment);
    let mut direct = search;
    let url = slapd.url();
    direct[3] = &url;
    assert_eq!(
        through.stdout,
        run("ldapsearch", &direct, "", &[]).stdout,
        "{through:?}"
    );
    assert!(!through.stdout.is_empty());
    // StartTLS within TLS is out of order.
    let mut wire = handshake(&front, Wire::connect(front.address).stream);
    assert_eq!(wire.ask(&extended(1, START_TLS)).code(), 1);
}

/// CVE-2011-0411 and its kin: what somebody else wrote in front of the handshake is not obeyed.
#[test]
fn octets_before_the_handshake_are_forgotten() {
    let slapd = start();
    let front = Setup::before(slapd.address())
        .configured("tls = \"starttls\"\nallow_plaintext = true\n")
        .start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let injected = [extended(2, START_TLS), extended(3, WHO_AM_I), bind(4, BEN, "benpw")].concat();
    assert_eq!(wire.ask(&injected).code(), 0);
    assert!(wire.buffer.is_empty());
    let asked = front.asked();
    let mut wire = handshake(&front, wire.stream);
    // The first answer belongs to the first question after the handshake, and nobody is bound.
    let reply = wire.who_am_i(9);
    assert_eq!((reply.id, reply.code()), (9, 8));
    assert_eq!(front.asked(), asked);
    assert_eq!(wire.ask(&bind(10, BEN, "benpw")).code(), 0);
    assert_eq!(wire.who_am_i(11).identity(), format!("dn:{BEN}"));
}

#[test]
fn tls_is_not_started_while_operations_are_outstanding() {
    let slapd = start();
    let front = Setup::before(slapd.address())
        .configured("tls = \"starttls\"\nallow_plaintext = true\n")
        .start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    slapd.halt();
    wire.send(&[search(2, ANA, 0), extended(3, START_TLS)].concat());
    let reply = wire.expect();
    assert_eq!((reply.id, reply.code()), (3, 1));
}

#[test]
fn a_refused_bind_is_held_back() {
    let slapd = start();
    let front = Setup::before(slapd.address()).and("reject_delay = \"300ms\"").start();
    let mut wire = Wire::connect(front.address);
    let started = portcullis::clock::monotonic();
    assert_eq!(wire.ask(&bind(1, ANA, "wrong")).code(), 49);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

/// The client that `portcullis login ldap` is.
#[test]
fn our_own_client() {
    use portcullis::ldap::login::{LoginError, Target, login};
    let slapd = start();
    let front = Setup::before(slapd.address())
        .configured("tls = \"starttls\"\n")
        .start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let target = |starttls, ca_file| Target {
        url: front.url(),
        starttls,
        ca_file,
        server_name: Some("localhost".into()),
        timeout: Duration::from_secs(20),
    };
    let attempt = |target: Target, password: &str| runtime.block_on(login(&target, ANA, &Secret::new(password)));
    let trusting = || target(true, Some(front.authority.clone()));
    let report = attempt(trusting(), "anapw").unwrap();
    assert!(report.accepted() && report.encrypted);
    assert_eq!(report.identity, Some(format!("dn:{ANA}")));
    let report = attempt(trusting(), "wrong").unwrap();
    assert_eq!(
        (report.words().as_str(), report.identity),
        ("invalid credentials (49)", None)
    );
    let report = attempt(target(false, None), "anapw").unwrap();
    assert_eq!((report.code, report.encrypted), (13, false));
    let strangers = Setup::before(slapd.address()).start();
    let fault = attempt(target(true, Some(strangers.authority.clone())), "anapw").unwrap_err();
    assert!(matches!(fault, LoginError::Handshake { .. }), "{fault}");
    let refusing = Target {
        url: strangers.url(),
        ..trusting()
    };
    assert!(matches!(
        attempt(refusing, "anapw"),
        Err(LoginError::StartTls { code: 2 })
    ));
}

pub(crate) fn handshake(front: &Front, stream: TcpStream) -> Wire<impl Read + Write + use<>> {
    let config = portcullis::tls::client_config(Some(&front.authority)).unwrap();
    let name = portcullis::tls::server_name("localhost").unwrap();
    let connection = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
    Wire::on(rustls::StreamOwned::new(connection, stream))
}
