//! Accounting and sessions, as radclient reports them.

use serde_json::Value;

use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{Slapd, password, user};

/// The attributes of an Accounting-Request about one session.
fn report(kind: &str, user: &str, id: &str, more: &str) -> String {
    format!(
        "Acct-Status-Type = {kind}\nAcct-Session-Id = \"{id}\"\nUser-Name = \"{user}\"\nNAS-Identifier = \"gw1\"\nFramed-IP-Address = 10.1.2.3\n{more}\n"
    )
}

fn open(site: &Portcullis, arguments: &[&str]) -> Vec<Value> {
    let list = site.json(&[&["session", "list"], arguments].concat());
    list["sessions"].as_array().expect("a list").clone()
}

fn names(site: &Portcullis) -> Vec<String> {
    let name = |session: &Value| session["name"].as_str().unwrap().to_owned();
    open(site, &[]).iter().map(name).collect()
}

#[test]
fn a_session_is_seen_from_start_to_stop() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let (vpn, ana) = (site.radclient(DIALOG), user(1));
    let stranger = site.radclient(DIALOG).with_secret("another-secret");
    assert!(!stranger.account(&report("Start", &ana, "A1", ""), 1));
    assert!(names(&site).is_empty());

    let start = report(
        "Start",
        &ana.to_uppercase(),
        "A1",
        "Calling-Station-Id = \"203.0.113.9\"",
    );
    assert!(vpn.account(&start, 10));
    assert!(vpn.account(&start, 10), "said again");
    // Signed besides, as radclient makes it over the zeroed field.
    let signed =
        "Acct-Input-Octets = 705032704\nAcct-Input-Gigawords = 1\nAcct-Session-Time = 60\nMessage-Authenticator = 0x00";
    assert!(vpn.account(&report("Interim-Update", &ana, "A1", signed), 10));
    assert_eq!(names(&site), ["vpn/gw1/A1"]);
    assert_eq!(open(&site, &[&ana]).len(), 1, "found by person");
    assert!(open(&site, &[&user(2)]).is_empty());
    assert!(open(&site, &["--client", "door"]).is_empty());
    let session = site.json(&["session", "show", "A1"]);
    assert_eq!(session["login"].as_str(), Some(&*ana), "as the directory has it");
    assert_eq!(session["octets_in"].as_u64(), Some(5_000_000_000));
    assert_eq!(session["address"].as_str(), Some("10.1.2.3"));
    assert_eq!(site.json(&["status"])["sessions"].as_u64(), Some(1));
    assert!(!site.cli(&["session", "show", "vpn/gw1/A2"]).status.success());

    let stop = report(
        "Stop",
        &ana,
        "A1",
        "Acct-Session-Time = 90\nAcct-Terminate-Cause = User-Request",
    );
    assert!(vpn.account(&stop, 10));
    assert!(
        vpn.account(&report("Interim-Update", &ana, "A1", ""), 10),
        "late, and too late"
    );
    assert!(names(&site).is_empty());
    let audit = site.audit();
    let of = |action: &str| audit.iter().filter(|line| line.contains(action)).count();
    assert_eq!((of("session.start"), of("session.stop")), (1, 1), "{audit:#?}");
    assert!(
        audit
            .iter()
            .any(|line| line.contains("user-request, 90 s, 5000000000 octets in"))
    );
}

#[test]
fn a_nas_that_restarts_has_no_sessions_left() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let vpn = site.radclient(DIALOG);
    for number in 1..=3 {
        assert!(vpn.account(&report("Start", &user(number), &format!("B{number}"), ""), 10));
    }
    let elsewhere = "Acct-Status-Type = Start\nAcct-Session-Id = \"C1\"\nNAS-IP-Address = 192.0.2.7\n";
    assert!(vpn.account(elsewhere, 10));
    assert!(vpn.account("Acct-Status-Type = Accounting-On\nNAS-Identifier = \"gw1\"\n", 10));
    assert_eq!(names(&site), ["vpn/192.0.2.7/C1"]);
    assert!(site.audit().iter().any(|line| line.contains("3 sessions closed")));
}

#[test]
fn what_was_acknowledged_outlives_the_process() {
    let directory = Slapd::start(20);
    let mut site = Portcullis::start(&directory);
    for round in 1..=4 {
        let id = format!("D{round}");
        assert!(
            site.radclient(DIALOG)
                .account(&report("Start", &user(round), &id, ""), 10)
        );
        site.kill_and_serve();
        assert_eq!(names(&site).len(), round, "round {round}");
    }
    assert_eq!(site.json(&["status"])["sessions"].as_u64(), Some(4), "counted again");
}

#[test]
fn accounting_goes_on_without_the_directory() {
    let mut directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    directory.kill();
    assert!(site.radclient(DIALOG).account(&report("Start", &user(1), "E1", ""), 20));
    assert_eq!(open(&site, &[])[0]["user"], Value::Null);
    directory.start_again();
    // Asked again with the next report, once the directory is found healthy.
    crate::support::process::until("the person is known", || {
        assert!(
            site.radclient(DIALOG)
                .account(&report("Interim-Update", &user(1), "E1", ""), 20)
        );
        open(&site, &[])[0]["user"].is_string()
    });
}

#[test]
fn a_person_has_no_more_sessions_than_the_rule_allows() {
    let directory = Slapd::start(20);
    let site = Portcullis::install(&directory);
    site.write_policy(
        "[[rule]]\nname = \"one at a time\"\nwhen = { service = [\"door\"] }\nrequire = \"password\"\nmax_sessions = 1\n",
    );
    let mut site = site;
    site.serve();
    let door = site.radclient(PASSWORD_ONLY);

    // At once: one of them slips in.
    let logins: Vec<String> = (0..8).map(|_| request(&user(1), &password(1), None)).collect();
    let replies = door.ask_at_once(&logins);
    assert_eq!(replies.len(), 8);
    assert_eq!(
        replies.iter().filter(|reply| **reply == Reply::Accept).count(),
        1,
        "{replies:?}"
    );
    assert!(site.audit().iter().any(|line| line.contains("session-limit")));

    // The session that its Class tells of takes the place of the login.
    let class = door.class(&user(2), &password(2)).expect("a Class");
    assert!(door.account(
        &report("Start", "somebody else's name", "F1", &format!("Class = {class}")),
        10
    ));
    assert_eq!(open(&site, &[&user(2)]).len(), 1);
    assert_eq!(door.login(&user(2), &password(2)), Reply::Reject);
    assert_eq!(
        door.login(&user(3), &password(3)),
        Reply::Accept,
        "others are not concerned"
    );
    assert!(door.account(&report("Stop", "somebody else's name", "F1", ""), 10));
    assert_eq!(door.login(&user(2), &password(2)), Reply::Accept);
    let explained = site.json(&["policy", "explain", &user(2), "--client", "door"]);
    assert!(
        explained["text"].as_str().unwrap().contains("one session at most"),
        "{explained}"
    );
    // The login just let in counts here as it does at the door.
    assert_eq!(explained["decision"], "deny", "{explained}");
    assert_eq!(door.login(&user(2), &password(2)), Reply::Reject);
}
