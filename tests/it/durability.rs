//! One code, one accept: at once, over all front ends, and over the death of the process.

use crate::support::clients::{ldapwhoami, python};
use crate::support::portcullis::{APPEND, DIALOG, Portcullis};
use crate::support::process::text;
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::code;

/// Binds on fifty connections at the same moment; prints how many succeeded.
const FIFTY_BINDS: &str = "
import sys, threading, ldap3
url, dn, password = sys.argv[1:]
connections = [ldap3.Connection(ldap3.Server(url, get_info=ldap3.NONE), dn, password) for _ in range(50)]
for connection in connections:
    connection.open()
start = threading.Barrier(len(connections))
bound = []
def bind(connection):
    start.wait()
    if connection.bind():
        bound.append(connection)
threads = [threading.Thread(target=bind, args=[connection]) for connection in connections]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(bound))
";

#[test]
fn of_a_hundred_submissions_of_one_code_one_is_accepted() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let typed = format!("{},{}", password(1), code(&seed, 0));
    let requests: Vec<String> = (0..50).map(|_| request(&user(1), &typed, None)).collect();
    let radius = site.radclient(APPEND);
    let (replies, bound) = std::thread::scope(|scope| {
        let over_radius = scope.spawn(|| radius.ask_at_once(&requests));
        let over_ldap = scope.spawn(|| python(FIFTY_BINDS, &[&site.ldap_url(), &user_dn(1), &typed]));
        (over_radius.join().unwrap(), over_ldap.join().unwrap())
    });
    assert_eq!(replies.len(), 50, "every request was answered");
    let accepted = replies.iter().filter(|reply| **reply == Reply::Accept).count();
    let bound: usize = text(&bound)
        .trim()
        .parse()
        .unwrap_or_else(|_| panic!("{}", text(&bound)));
    assert_eq!(
        accepted + bound,
        1,
        "accepted over RADIUS: {accepted}, over LDAP: {bound}"
    );
}

#[test]
fn an_accept_outlives_the_process_that_gave_it() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::start(&directory);
    // Several users, so that one lucky write does not pass for a rule.
    for number in 1..=5 {
        let seed = site.enrol(&user(number));
        let typed = format!("{},{}", password(number), code(&seed, 0));
        assert_eq!(site.radclient(APPEND).login(&user(number), &typed), Reply::Accept);
        site.kill_and_serve();
        assert_eq!(
            site.radclient(APPEND).login(&user(number), &typed),
            Reply::Reject,
            "the code stays used"
        );
        let again = ldapwhoami(&site.ldaps_url(), &user_dn(number), &typed, site.certificates());
        assert_eq!(again.status.code(), Some(49), "over LDAP too");
        let audit = site.audit();
        let accepts = audit
            .iter()
            .filter(|record| {
                record.contains(&user(number)) && record.contains("\"accept\"") && record.contains("login")
            })
            .count();
        assert_eq!(accepts, 1, "{audit:#?}");
        let verified = site.cli(&["audit", "verify"]);
        assert!(verified.status.success(), "{}", text(&verified));
    }
}

#[test]
fn a_dialog_outlives_the_process_that_began_it() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let challenge = site.radclient(DIALOG).login(&user(1), &password(1));
    site.kill_and_serve();
    let reply = site.radclient(DIALOG).answer(&user(1), &code(&seed, 0), &challenge);
    assert_eq!(reply, Reply::Accept);
}

#[test]
fn it_ends_when_told_to_and_finds_everything_again() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let status = site.terminate();
    assert!(status.success(), "{status}: {}", site.log());
    site.serve();
    let typed = format!("{},{}", password(1), code(&seed, 0));
    assert_eq!(site.radclient(APPEND).login(&user(1), &typed), Reply::Accept);
}
