//! RADIUS under load that nobody wants: strangers, junk, and more logins than a slow directory can judge.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use portcullis::clock;
use portcullis::radius::attribute::{ACCESS_ACCEPT, ACCESS_REQUEST, USER_NAME, USER_PASSWORD};
use portcullis::radius::crypto::SharedSecret;
use portcullis::radius::packet::Writer;
use portcullis::secret::Secret;
use serde_json::Value;

use crate::support::portcullis::{APPEND, DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::{PATIENCE, until};
use crate::support::radclient::{Reply, SECRET};
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::code;

/// Datagrams of each kind.
const MANY: u32 = 40_000;

/// What the process may grow by, in KiB: replies kept for retransmissions (16 MiB and their keys), the lists
/// of strangers and troubles, and what the allocator keeps of it.
const GROWTH: u64 = 64 * 1024;

#[test]
fn a_flood_of_junk_takes_neither_memory_nor_service() {
    let directory = Slapd::start(5);
    let site = Portcullis::start(&directory);
    let door = site.radclient(PASSWORD_ONLY);
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept);
    let process = site.json(&["status"])["pid"].as_u64().unwrap();
    let before = resident(process);
    let server: SocketAddr = ([127, 0, 0, 1], site.radius()).into();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            // From nobody, from a client without any sense, and from one with none of the secret.
            for (source, kind) in [
                ("127.0.0.77", Junk::Request),
                (APPEND, Junk::Octets),
                (DIALOG, Junk::Request),
            ] {
                send(source, server, kind);
            }
            done.store(true, Ordering::SeqCst);
        });
        let mut served = 0;
        while !done.load(Ordering::SeqCst) {
            assert_eq!(
                door.login_patiently(&user(1), &password(1)),
                Reply::Accept,
                "while it lasts"
            );
            served += 1;
        }
        flood.join().unwrap();
        assert!(served > 0);
    });
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept);
    let after = resident(process);
    assert!(after < before + GROWTH, "{before} KiB, then {after} KiB");

    let strangers = site.json(&["client", "list", "--unknown"]);
    assert_eq!(strangers.as_array().unwrap().len(), 1);
    assert!(strangers[0]["packets"].as_u64().unwrap() > 1000);
    let malformed = &site.json(&["client", "show", "append"])["troubles"];
    assert_eq!(
        malformed.as_array().unwrap().len(),
        1,
        "one trouble, however often: {malformed}"
    );
    let dropped = site.log().matches("packet dropped").count();
    assert!((2..50).contains(&dropped), "{dropped} lines in the log");
}

#[derive(Clone, Copy)]
enum Junk {
    /// Access-Requests without User-Password, each another.
    Request,
    /// Of any length, with anything in them.
    Octets,
}

fn send(source: &str, server: SocketAddr, kind: Junk) {
    let socket = UdpSocket::bind((source, 0)).unwrap();
    for number in 0..MANY {
        let mut octets = match kind {
            Junk::Request => vec![1, number.to_be_bytes()[3], 0, 25],
            Junk::Octets => vec![number.to_be_bytes()[2], 1, 0xff, 0xff],
        };
        octets.extend_from_slice(&clock::random::<16>());
        octets.extend_from_slice(&[1, 5, b'a', b'n', b'a']);
        if matches!(kind, Junk::Octets) {
            octets.resize((number % 60) as usize, 0xee);
        }
        // A full buffer somewhere on the way loses datagrams, which is as good.
        let _ = socket.send_to(&octets, server);
    }
}

/// Resident memory in KiB (proc(5)).
fn resident(process: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_slow_directory_sheds_new_logins_and_keeps_dialogs() {
    let directory = Slapd::start(40);
    let mut site = Portcullis::install(&directory);
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    site.configure(&configuration.replace("[[radius]]\n", "[[radius]]\nin_flight = 8\n"));
    site.serve();
    let seed = site.enrol(&user(1));
    let vpn = site.radclient(DIALOG);
    let challenge = vpn.login(&user(1), &password(1));
    assert!(matches!(challenge, Reply::Challenge { .. }), "{challenge:?}");

    directory.halt();
    let crowd = UdpSocket::bind((PASSWORD_ONLY, 0)).unwrap();
    crowd.set_read_timeout(Some(PATIENCE)).unwrap();
    let server: SocketAddr = ([127, 0, 0, 1], site.radius()).into();
    for number in 2..22u8 {
        crowd.send_to(&login(number), server).unwrap();
    }
    until("new logins are shed", || dropped(&site, "door") == 14);
    thread::scope(|scope| {
        let answer = scope.spawn(|| vpn.answer(&user(1), &code(&seed, 0), &challenge));
        until("the answer is taken besides the six logins", || under_way(&site) == 7);
        directory.go_on();
        assert_eq!(answer.join().unwrap(), Reply::Accept);
    });
    let mut buffer = [0; 4096];
    for _ in 0..6 {
        crowd.recv(&mut buffer).unwrap();
        assert_eq!(buffer[0], ACCESS_ACCEPT);
    }
    assert_eq!((dropped(&site, "door"), dropped(&site, "vpn")), (14, 0));
    let troubles: Value = site.json(&["client", "show", "door"])["troubles"].clone();
    assert_eq!(troubles[0]["what"], "too many requests at once");
}

/// Packets of a client that got no answer.
fn dropped(site: &Portcullis, client: &str) -> u64 {
    site.json(&["client", "show", client])["dropped"].as_u64().unwrap()
}

/// RADIUS requests being worked on.
fn under_way(site: &Portcullis) -> u64 {
    let status = site.json(&["status"]);
    let listeners = status["listeners"].as_array().unwrap();
    let radius = listeners.iter().find(|listener| listener["kind"] == "radius").unwrap();
    radius["active"].as_u64().unwrap()
}

/// A signed Access-Request of a user of the directory, whose number is its identifier.
fn login(number: u8) -> Vec<u8> {
    let secret = SharedSecret::new(&Secret::new(SECRET));
    let (authenticator, mut octets) = (clock::random(), Vec::new());
    let mut writer = Writer::begin(&mut octets, ACCESS_REQUEST, number, &authenticator, true);
    let hidden = secret
        .hide(&Secret::new(password(number.into())), &authenticator)
        .unwrap();
    writer.push(USER_NAME, user(number.into()).as_bytes()).unwrap();
    writer.push(USER_PASSWORD, &hidden).unwrap();
    writer.finish_request(&secret);
    octets
}
