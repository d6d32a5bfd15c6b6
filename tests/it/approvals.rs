//! Logins that somebody else approves by the command line while a VPN's dialog waits, or before an application binds
//! again.

use serde_json::Value;

use crate::support::clients::ldapwhoami;
use crate::support::operators::{self, CLERK, LEAD, MANAGER, json_as, refused_as};
use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{Slapd, password, user, user_dn};

const CONFIGURATION: &str = "[approvals]\ngroup = \"cn=group9,ou=groups,dc=example,dc=org\"\n";

const RULES: &str = r#"
[[rule]]
name = "somebody else agrees"
when = { service = ["vpn", "door", "wiki"], user = ["user00001", "user00002", "user00008", "daemon"] }
require = { all = ["password", "approval"] }
"#;

fn start() -> (Slapd, Portcullis) {
    let directory = Slapd::start(20);
    operators::hire(&directory);
    let mut site = Portcullis::install(&directory);
    site.add(&[CONFIGURATION, operators::CONFIGURATION].concat(), RULES);
    operators::let_in(&site);
    site.serve();
    (directory, site)
}

/// The one request of a user that is open.
fn open(site: &Portcullis, name: &str) -> String {
    let requests = site.json(&["request", "list"]);
    let own: Vec<&Value> = requests
        .as_array()
        .expect("a list")
        .iter()
        .filter(|request| request["login"] == name)
        .collect();
    assert_eq!(own.len(), 1, "{requests}");
    own[0]["id"].as_str().expect("an identifier").to_owned()
}

#[test]
fn a_dialog_waits_for_somebody_elses_word() {
    let (_directory, mut site) = start();
    let asked = site.radclient(DIALOG).login(&user(1), &password(1));
    let id = open(&site, &user(1));
    asked.asks(&format!("Approval {id} asked for"));
    let waits = site.radclient(DIALOG).answer(&user(1), "ok", &asked);
    waits.asks("not given yet");

    // Not by who may not, and not lost with the process.
    let approve = ["approve", id.as_str()];
    refused_as(&site, CLERK, &approve, 4);
    assert_eq!(site.cli(&approve).status.code(), Some(4), "root is nobody's manager");
    refused_as(&site, MANAGER, &["approve", "ZZZZZZ"], 5);
    site.kill_and_serve();
    let shown = json_as(&site, MANAGER, &["request", "show", &id]);
    assert_eq!(
        (&shown["state"], &shown["approvers"]["manager"]),
        (&"pending".into(), &MANAGER.into())
    );
    json_as(&site, MANAGER, &approve);
    refused_as(&site, MANAGER, &approve, 1);
    site.kill_and_serve();

    // Who knows the password, but asked in another dialog, has nothing of it.
    let vpn = site.radclient(DIALOG);
    let wrong = vpn.login(&user(1), "wrong");
    wrong.asks("asked for");
    vpn.answer(&user(1), "ok", &wrong).asks("not given yet");
    let nobody = vpn.login("nobody", "wrong");
    nobody.asks("asked for");
    vpn.answer("nobody", "ok", &nobody).asks("not given yet");

    // Used by many at once: one of them is let in.
    let requests: Vec<String> = (0..20).map(|_| request(&user(1), "ok", Some(waits.state()))).collect();
    let replies = vpn.ask_at_once(&requests);
    let accepted = replies.iter().filter(|reply| **reply == Reply::Accept).count();
    assert_eq!((replies.len(), accepted), (20, 1), "{replies:?}");
    assert!(site.json(&["request", "list"]).as_array().is_some_and(Vec::is_empty));

    // What is denied ends the dialog.
    let asked = vpn.login(&user(2), &password(2));
    let id = open(&site, &user(2));
    json_as(&site, CLERK, &["request", "deny", &id, "--reason", "on leave"]);
    refused_as(&site, MANAGER, &["approve", &id], 1);
    assert_eq!(vpn.answer(&user(2), "ok", &asked), Reply::Reject);

    let audit = site.audit().join("\n");
    for expected in [
        "\"approval.ask\"",
        "\"request.approve\"",
        "\"request.deny\"",
        "\"approval-denied\"",
    ] {
        assert!(audit.contains(expected), "{expected}: {audit}");
    }
    assert!(audit.contains("[\"password\",\"approval\"]"), "{audit}");
}

#[test]
fn who_cannot_hold_a_dialog_comes_back() {
    let (_directory, mut site) = start();
    let binds = |site: &Portcullis, password: &str| {
        ldapwhoami(&site.ldaps_url(), &user_dn(8), password, site.certificates())
            .status
            .success()
    };
    assert!(!binds(&site, &password(8)), "the first try asks");
    let id = open(&site, &user(8));
    assert!(!binds(&site, &password(8)), "and the next one waits");
    assert_eq!(open(&site, &user(8)), id);
    refused_as(&site, MANAGER, &["approve", &id], 4);
    json_as(&site, LEAD, &["approve", &id]);
    site.kill_and_serve();
    assert!(!binds(&site, "wrong"), "it stands for no password");
    assert!(binds(&site, &password(8)));
    assert!(!binds(&site, &password(8)), "once");

    // What was asked for at one place is not for another, which asks for itself.
    let id = open(&site, &user(8));
    json_as(&site, LEAD, &["approve", &id]);
    let door = site.radclient(PASSWORD_ONLY);
    assert_eq!(door.login(&user(8), &password(8)), Reply::Reject);
    let other = open(&site, &user(8));
    assert_ne!(other, id);
    json_as(&site, LEAD, &["approve", &other]);
    let replies = door.ask_at_once(&vec![request(&user(8), &password(8), None); 20]);
    let accepted = replies.iter().filter(|reply| **reply == Reply::Accept).count();
    assert_eq!(accepted, 1, "{replies:?}");

    // Nobody approves for themselves.
    assert_eq!(door.login(MANAGER, "daemon-password"), Reply::Reject);
    let own = open(&site, MANAGER);
    refused_as(&site, MANAGER, &["approve", &own], 4);
    json_as(&site, LEAD, &["approve", &own]);
    assert_eq!(door.login(MANAGER, "daemon-password"), Reply::Accept);
}
