//! The same through us as without us: octet for octet.
//!
//! Each test starts two servers that cannot be told apart, one of them behind us, and does the same with both.

mod clients; // ldap-utils and ldap3
mod operations; // one after the other
mod random; // by chance
mod requests; // what to send
mod sessions; // several at once, large, unasked, the last words

use std::net::TcpStream;
use std::path::Path;

use super::peers::{Front, Setup, run};
use super::start;
use super::wire::{
    ANA, Reply, WHO_AM_I, Wire, bind, bind_with, control, extended, modify_description, search, search_with,
};
use crate::support::slapd::Slapd;
use requests::Request;

const ADMIN: &str = "cn=admin,dc=example,dc=org";

/// Two servers that cannot be told apart, and us before one of them.
struct Pair {
    direct: Slapd,
    behind: Slapd,
    front: Front,
}

impl Pair {
    fn start() -> Self {
        let entries = include_str!("../entries/rich.ldif");
        let (direct, behind) = Slapd::twins(include_str!("../entries/rich.conf"), &[entries]);
        let front = Setup::before(behind.address()).and("max_pdu = 33554432").start();
        Self { direct, behind, front }
    }

    /// A connection to the one server, and one to the other through us.
    fn bound(&self, dn: &str, password: &str) -> [Wire<TcpStream>; 2] {
        [self.direct.address(), self.front.address].map(|address| Wire::bound(address, dn, password))
    }

    /// Sends all of `requests`, each when the one before is answered, and compares what comes back. One that ends
    /// the connection is followed by a new one.
    fn compare(&self, dn: &str, password: &str, requests: &[Request]) {
        let mut both = self.bound(dn, password);
        for (id, request) in (2..).zip(requests) {
            let octets = request.message(id);
            let [direct, mut behind] = both.each_mut().map(|wire| replies(wire, &octets));
            without_last_words(&mut behind);
            let shown = &octets[..octets.len().min(300)];
            assert_eq!(direct, behind, "{dn} sent {}", shown.escape_ascii());
            if direct.last().is_none_or(|reply| reply.id != id) {
                both = self.bound(dn, password);
            }
        }
    }

    /// What one message alone brings, with the end of the connection if it brings that.
    fn alone(&self, dn: &str, password: &str, octets: &[u8]) -> [Vec<Reply>; 2] {
        let [direct, mut behind] = self.bound(dn, password).map(|mut wire| replies(&mut wire, octets));
        without_last_words(&mut behind);
        [direct, behind]
    }
}

/// Leaves out what we say where the server closes without a word: unavailable for each operation under way, and a
/// notice. A server that says why it closes is quoted.
fn without_last_words(replies: &mut Vec<Reply>) {
    let ours = |reply: &Reply| matches!(reply.operation, 0x65.. | 0x61) && reply.result() == (52, OUT_OF_REACH.into());
    while replies.last().is_some_and(ours) {
        replies.pop();
    }
}

/// What we say of a server that is gone.
const OUT_OF_REACH: &str = "the directory is out of reach";

/// Sends `octets` and returns what comes until the operation or the connection ends.
fn replies(wire: &mut Wire<TcpStream>, octets: &[u8]) -> Vec<Reply> {
    use std::io::Write as _;
    // The other side may have closed before all of it was written.
    let _ = wire.stream.write_all(octets);
    let mut replies = Vec::new();
    while let Some(reply) = wire.next() {
        let last = !matches!(reply.operation, 0x64 | 0x73 | 0x79) && !reply.is_notice_of_disconnection();
        // OpenLDAP says goodbye twice sometimes, or stays; we pass on the first and close.
        let goodbye = reply.is_notice_of_disconnection();
        replies.push(reply);
        if last || goodbye {
            break;
        }
    }
    replies
}

const POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";

#[test]
fn python_ldap3_sees_no_difference() {
    let (direct, behind) = (start(), start());
    let front = Setup::before(behind.address()).start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/front/entries/client.py");
    let at = |url: &str| {
        let output = run("/usr/bin/python3", &[script.to_str().unwrap(), url], "", &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(at(&direct.url()), at(&front.url()));
}

/// Messages as clients never write them, many at once: every octet of every answer is the server's.
#[test]
fn answers_are_the_servers_octets() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    // A search whose lengths are written in the longest way.
    let odd = {
        let plain = search(7, ANA, 0);
        let mut odd = vec![0x30, 0x84, 0, 0, 0, u8::try_from(plain.len() - 2).unwrap()];
        odd.extend_from_slice(&plain[2..]);
        odd
    };
    let requests = [
        search(2, "dc=example,dc=org", 2),
        search(300_000, "dc=example,dc=org", 1),
        extended(4, "1.2.3.4.5"),
        extended(5, WHO_AM_I),
        search_with(6, "dc=example,dc=org", 0, &control("1.2.3.4", true)),
        odd,
    ];
    let answers = |address| {
        let mut wire = Wire::bound(address, ANA, "anapw");
        requests.iter().map(|request| wire.ask_all(request)).collect::<Vec<_>>()
    };
    assert_eq!(answers(slapd.address()), answers(front.address));

    let mut wire = Wire::bound(front.address, ANA, "anapw");
    wire.send(&requests.concat());
    let mut open = 6;
    while open > 0 {
        let reply = wire.expect();
        open -= i32::from(!matches!(reply.operation, 0x64 | 0x73));
    }
}

#[test]
fn bind_answers_are_the_servers_octets() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let policy = control(POLICY, false);
    for request in [bind(9, ANA, "anapw"), bind_with(70_000, ANA, "anapw", &policy)] {
        let direct = Wire::connect(slapd.address()).ask(&request);
        let relayed = Wire::connect(front.address).ask(&request);
        assert_eq!(direct, relayed);
    }
}

#[test]
fn large_messages_pass_both_ways() {
    let slapd = start();
    let front = Setup::before(slapd.address()).start();
    let mut wire = Wire::bound(front.address, ANA, "anapw");
    let value = "large ".repeat(300_000);
    assert_eq!(wire.ask(&modify_description(2, ANA, value.as_bytes())).code(), 0);
    // Behind a large message the small ones are found again; slapd works on both at once.
    wire.send(&[modify_description(3, ANA, value.as_bytes()), extended(4, WHO_AM_I)].concat());
    let mut replies = [wire.expect(), wire.expect()];
    replies.sort_by_key(|reply| reply.id);
    assert_eq!((replies[0].id, replies[0].code()), (3, 0));
    assert_eq!((replies[1].id, replies[1].identity()), (4, format!("dn:{ANA}")));
    let through = wire.ask_all(&search(5, ANA, 0));
    let direct = Wire::bound(slapd.address(), ANA, "anapw").ask_all(&search(5, ANA, 0));
    assert!(through[0].octets.len() > value.len());
    assert_eq!(through, direct);
}
