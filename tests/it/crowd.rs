//! What many LDAP connections cost the server, and clients that take nothing of what they asked for.

use std::io::Write as _;
use std::time::Duration;

use crate::front::wire::{Wire, bind, search};
use crate::support::portcullis::Portcullis;
use crate::support::process::until;
use crate::support::slapd::{SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd, user_dn};

/// The installation with lines of its own for the listener that has no TLS.
fn site(directory: &Slapd, lines: &str) -> Portcullis {
    let mut site = Portcullis::install(directory);
    let configuration = std::fs::read_to_string(site.configuration_file()).unwrap();
    let listener = "name = \"wiki\"\n";
    site.configure(&configuration.replacen(listener, &format!("{listener}{lines}\n"), 1));
    site.serve();
    site
}

/// 250 MB for 10,000 of them, that is, their connections to the directory over TLS included.
#[test]
fn idle_connections_cost_little() {
    const CONNECTIONS: usize = 400;
    // A build that is not optimised keeps about twice as much for each as a release does.
    const EACH: usize = if cfg!(debug_assertions) { 28_000 } else { 25_000 };
    let directory = Slapd::start(500);
    let site = site(&directory, "idle = \"40s\"");
    // What the first ones bring into being stays.
    let open = |count: usize| -> Vec<_> {
        let one = |_| {
            let mut wire = Wire::bound(site.ldap_address(), SERVICE_DN, SERVICE_PASSWORD);
            assert_eq!(wire.ask_all(&search(2, SERVICE_DN, 0)).len(), 2);
            wire
        };
        (0..count).map(one).collect()
    };
    let warm = open(20);
    let before = site.resident();
    let crowd = open(CONNECTIONS);
    let mut each = 0;
    until("idle connections have given back their memory", || {
        each = site.resident().saturating_sub(before) / CONNECTIONS;
        each < EACH
    });
    println!("{each} octets for an idle connection");
    drop((warm, crowd));
}

/// Each asks for more than a hundred megabytes and reads none of it.
#[test]
fn clients_that_take_nothing_cost_little_and_hold_up_nobody() {
    // Each takes one of slapd's four threads.
    const DEAF: usize = 3;
    let directory = Slapd::start(500);
    let site = site(&directory, "idle = \"3s\"");
    let mut other = Wire::bound(site.ldap_address(), SERVICE_DN, SERVICE_PASSWORD);
    assert!(other.ask_all(&search(2, SUFFIX, 2)).len() > 500);
    let before = site.resident();
    let mut deaf: Vec<_> = (0..DEAF)
        .map(|_| {
            let mut wire = Wire::bound(site.ldap_address(), SERVICE_DN, SERVICE_PASSWORD);
            let all: Vec<u8> = (2..902).flat_map(|id| search(id, SUFFIX, 2)).collect();
            wire.send(&all);
            wire
        })
        .collect();
    for id in 3..200 {
        let replies = other.ask_all(&search(id, &user_dn(7), 0));
        assert_eq!(replies.len(), 2, "{replies:?}");
    }
    let grown = site.resident().saturating_sub(before);
    assert!(grown < DEAF * 1_000_000, "{grown} octets for {DEAF} clients");
    // They are closed after the idle time, while the other goes on.
    for (wire, id) in deaf.iter_mut().zip(1000..) {
        until("a client that does not read is closed", || {
            let replies = other.ask_all(&search(id, &user_dn(8), 0));
            assert_eq!(replies.len(), 2, "{replies:?}");
            let sent = wire.stream.write_all(&bind(9, SERVICE_DN, SERVICE_PASSWORD));
            std::thread::sleep(Duration::from_millis(20));
            sent.is_err()
        });
    }
}
