//! People whom an operator keeps out.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use portcullis::clock;

use crate::support::clients::ldapwhoami;
use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::{text, until};
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::code;

#[test]
fn a_denied_person_is_refused_over_both_protocols_at_once_and_over_a_restart() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::start(&directory);
    let seed = site.enrol(&user(1));
    let door = |site: &Portcullis| site.radclient(PASSWORD_ONLY).login(&user(1), &password(1));
    let over_ldap = |site: &Portcullis, typed: &str| {
        let output = ldapwhoami(&site.ldaps_url(), &user_dn(1), typed, site.certificates());
        output.status.code()
    };
    assert_eq!(door(&site), Reply::Accept);
    let denied = site.json(&["deny", &user(1), "--reason", "laptop stolen"]);
    assert_eq!(denied["denial"]["reason"], "laptop stolen");

    let appended = format!("{},{}", password(1), code(&seed, 0));
    assert_eq!(door(&site), Reply::Reject);
    assert_eq!(over_ldap(&site, &appended), Some(49));
    let vpn = site.radclient(DIALOG);
    let challenge = vpn.login(&user(1), &password(1));
    assert!(
        matches!(challenge, Reply::Challenge { .. }),
        "asked like others: {challenge:?}"
    );
    assert_eq!(vpn.answer(&user(1), &code(&seed, 0), &challenge), Reply::Reject);
    assert_eq!(directory.failures(1), 0, "the directory was not asked about them");
    assert_eq!(
        site.radclient(PASSWORD_ONLY).login(&user(2), &password(2)),
        Reply::Accept,
        "nobody else is denied"
    );

    site.kill_and_serve();
    assert_eq!(door(&site), Reply::Reject);
    let listed = site.json(&["deny", "--list"]);
    assert_eq!(listed[0]["login"], user(1));
    let shown = site.json(&["user", "show", &user(1)]);
    assert_eq!(shown["denied"]["reason"], "laptop stolen");
    let explained = site.json(&["policy", "explain", &user(1), "--client", "door"]);
    assert_eq!(explained["decision"], "deny");
    let told = explained["text"].as_str().unwrap();
    assert!(told.contains("denied by root, until that is lifted"), "{told}");
    assert!(told.contains("laptop stolen"), "{told}");

    site.json(&["deny", &user(1), "--lift", "--reason", "found again"]);
    assert_eq!(door(&site), Reply::Accept);
    assert_eq!(
        over_ldap(&site, &appended),
        Some(0),
        "a code typed while denied was not spent"
    );
    let again = site.cli(&["deny", &user(1), "--lift"]);
    assert_eq!(again.status.code(), Some(5), "{}", text(&again));
    let audited = site.json(&["audit", "search", "--oldest-first", "--action", "user"]);
    let records: Vec<&str> = audited
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["action"].as_str().unwrap())
        .collect();
    assert_eq!(records, ["user.deny", "user.undeny"]);
}

#[test]
fn a_denial_is_over_when_its_time_has_come() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let door = site.radclient(PASSWORD_ONLY);
    let until_then = clock::now() + std::time::Duration::from_secs(3);
    let moment = until_then.to_string();
    site.json(&["deny", &user(1), "--until", &moment, "--reason", "for a moment"]);
    let early = door.login(&user(1), &password(1));
    assert!(early == Reply::Reject || clock::now() >= until_then, "{early:?}");
    until("the denial is over", || clock::now() >= until_then);
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept);
    assert_eq!(site.json(&["deny", "--list"]), serde_json::json!([]));
}

/// Binds, says so, waits for a line, and asks who it is.
const BOUND: &str = "
import sys, ssl, ldap3
tls = ldap3.Tls(validate=ssl.CERT_REQUIRED, ca_certs_file=sys.argv[4])
connection = ldap3.Connection(ldap3.Server(sys.argv[1], tls=tls), sys.argv[2], sys.argv[3], auto_bind=True)
print('bound', flush=True)
sys.stdin.readline()
try:
    print('still', connection.extend.standard.who_am_i(), flush=True)
except Exception as error:
    print('ended', type(error).__name__, flush=True)
";

#[test]
fn a_bound_connection_ends_with_the_denial_and_others_stay() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let authority = site.certificates().authority.display().to_string();
    let bind = |number: usize| {
        let seed = site.enrol(&user(number));
        let typed = format!("{},{}", password(number), code(&seed, 0));
        let mut python = Command::new("/usr/bin/python3")
            .args(["-c", BOUND, &site.ldaps_url(), &user_dn(number), &typed, &authority])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(python.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "bound");
        (python, lines)
    };
    let (mut ana, mut said_by_ana) = bind(1);
    let (mut ben, mut said_by_ben) = bind(2);
    let denied = site.json(&["deny", &user(1), "--reason", "laptop stolen"]);
    assert_eq!(denied["connections"], 1);
    for python in [&mut ana, &mut ben] {
        python.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    let last = said_by_ana.next().unwrap().unwrap();
    assert!(last.starts_with("ended"), "{last}");
    let last = said_by_ben.next().unwrap().unwrap();
    assert!(last.starts_with("still"), "{last}");
    ana.wait().unwrap();
    ben.wait().unwrap();
}
