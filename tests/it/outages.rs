//! A directory that is out of reach is never a wrong password, and nobody else's trouble.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use crate::support::clients::ldapwhoami;
use crate::support::portcullis::{OTHER, PASSWORD_ONLY, Portcullis};
use crate::support::process::{text, until};
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{SERVICE_DN, SERVICE_PASSWORD, Slapd, password, user};

/// More than the failures that a user is allowed.
const ATTEMPTS: usize = 7;

/// Seconds in which every time-out of the configuration has passed twice.
const LONGER_THAN_TIME_OUTS: u32 = 8;

/// LDAP: busy (51) or unavailable (52), or the connection was closed on us (-1 as an exit code).
fn is_outage(code: Option<i32>) -> bool {
    matches!(code, Some(51 | 52 | 255))
}

/// While `main` is out of reach: silence for its users, and service for those of `other`.
fn assert_only_main_is_out(site: &Portcullis) {
    let door = site.radclient(PASSWORD_ONLY);
    let attributes = request(&user(1), &password(1), None);
    thread::scope(|scope| {
        let ask = || door.ask_in_vain(&attributes, LONGER_THAN_TIME_OUTS);
        let waiting: Vec<_> = (0..ATTEMPTS).map(|_| scope.spawn(ask)).collect();
        for number in 2..10 {
            assert_eq!(
                site.radclient(OTHER).login(&user(number), &password(number)),
                Reply::Accept,
                "the other directory's users are served"
            );
        }
        for attempt in waiting {
            let reply = attempt.join().unwrap();
            assert_eq!(reply, Reply::Silence, "any answer would be one about the password");
        }
    });
    let bind = ldapwhoami(&site.ldaps_url(), SERVICE_DN, SERVICE_PASSWORD, site.certificates());
    assert!(is_outage(bind.status.code()), "{}", text(&bind));
}

/// Once `main` is back, nothing of it was counted.
fn assert_recovers(site: &Portcullis) {
    until("the directory's users are served again", || {
        site.radclient(PASSWORD_ONLY).login(&user(1), &password(1)) == Reply::Accept
    });
}

#[test]
fn a_halted_directory() {
    let (main, other) = (Slapd::start(20), Slapd::start(20));
    let mut site = Portcullis::install_between(&main, &other);
    site.serve();
    // Connections are open and pooled when it happens.
    assert_eq!(
        site.radclient(PASSWORD_ONLY).login(&user(1), &password(1)),
        Reply::Accept
    );
    main.halt();
    assert_only_main_is_out(&site);
    main.go_on();
    assert_recovers(&site);
}

#[test]
fn a_directory_that_refuses_connections() {
    let (mut main, other) = (Slapd::start(20), Slapd::start(20));
    let mut site = Portcullis::install_between(&main, &other);
    site.serve();
    assert_eq!(
        site.radclient(PASSWORD_ONLY).login(&user(1), &password(1)),
        Reply::Accept
    );
    main.kill();
    assert_only_main_is_out(&site);
    main.start_again();
    assert_recovers(&site);
}

#[test]
fn a_directory_that_is_not_there_when_the_server_starts() {
    let (mut main, other) = (Slapd::start(20), Slapd::start(20));
    let mut site = Portcullis::install_between(&main, &other);
    main.kill();
    site.serve();
    assert_only_main_is_out(&site);
    main.start_again();
    assert_recovers(&site);
}

#[test]
fn a_half_dead_server_is_passed_over_for_the_next() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::install(&directory);
    // Accepts connections, and answers with what no LDAP server says.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let half_dead = format!("ldaps://127.0.0.1:{}", listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                // Whatever becomes of that connection is as it should be.
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(b"\x30\x84\xff\xff\xff\xff half dead");
                let _ = stream.read(&mut buffer);
            });
        }
    });
    let configuration = std::fs::read_to_string(site.configuration_file()).unwrap();
    let (one, two) = (
        format!("\"{}\"", directory.tls_url()),
        format!("\"{half_dead}\", \"{}\"", directory.tls_url()),
    );
    assert!(configuration.contains(&one));
    site.configure(&configuration.replace(&one, &two));
    site.serve();
    assert_recovers(&site);
    for number in 2..6 {
        let reply = site.radclient(PASSWORD_ONLY).login(&user(number), &password(number));
        assert_eq!(reply, Reply::Accept);
    }
    assert_eq!(site.radclient(PASSWORD_ONLY).login(&user(7), "wrong"), Reply::Reject);
    assert_eq!(directory.failures(7), 1);
}
