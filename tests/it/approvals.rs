//! Logins that somebody else approves by the command line while a VPN's dialog waits, or before an application binds
//! again.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::clients::ldapwhoami;
use crate::support::mailbox::{LOGIN, Mailbox};
use crate::support::operators::{self, CLERK, LEAD, MANAGER, json_as, refused_as};
use crate::support::pki::Authority;
use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::until;
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

/// What operators do not do alone: a passcode by the manager and then a member of group 9; unlocking by the manager.
const DEEDS: &str = r#"
[[approval]]
action = ["passcode"]
levels = [{ by = "manager" }, { by = "group", group = "group9" }]
life = "1h"

[[approval]]
action = ["unlock", "deny"]
levels = [{ by = "manager" }]

"#;

fn start_deeds() -> (Slapd, Portcullis) {
    let directory = Slapd::start(20);
    operators::hire(&directory);
    let mut site = Portcullis::install(&directory);
    site.add(&[DEEDS, operators::CONFIGURATION].concat(), "");
    operators::let_in(&site);
    site.serve();
    (directory, site)
}

/// The identifier of a request just made.
fn ask_as(site: &Portcullis, account: &str, arguments: &[&str]) -> String {
    let all = [&["request", "new"], arguments, &["--reason", "phone lost"]].concat();
    let asked = json_as(site, account, &all);
    asked["id"].as_str().expect("an identifier").to_owned()
}

#[test]
fn a_deed_goes_through_two_levels_and_is_done_once() {
    let (_directory, mut site) = start_deeds();
    let ana = user(1);
    let issue = ["passcode", "issue", ana.as_str(), "--minutes", "15"];
    refused_as(&site, CLERK, &issue, 4);
    assert_eq!(site.cli(&issue).status.code(), Some(4), "root neither");
    let id = ask_as(&site, CLERK, &["passcode", &ana, "minutes=15"]);
    let under = [&issue[..], &["--under", id.as_str()]].concat();
    let approve = ["approve", id.as_str()];

    refused_as(&site, CLERK, &under, 4);
    refused_as(&site, CLERK, &approve, 4);
    refused_as(&site, LEAD, &approve, 4);
    assert_eq!(
        json_as(&site, MANAGER, &["request", "list", "--for-me"])[0]["id"],
        id.as_str()
    );
    json_as(&site, MANAGER, &approve);
    site.kill_and_serve();
    refused_as(&site, MANAGER, &approve, 4);
    refused_as(&site, CLERK, &under, 4);
    assert_eq!(
        json_as(&site, LEAD, &["request", "list", "--for-me"])[0]["id"],
        id.as_str()
    );
    let approved = json_as(&site, LEAD, &["approve", &id, "--reason", "seen in person"]);
    assert_eq!(
        (&approved["state"], &approved["levels"][1]["by"]),
        (&"approved".into(), &LEAD.into())
    );
    site.kill_and_serve();

    // Bound to who asked, to whom it is about, and to what was said.
    refused_as(&site, MANAGER, &under, 4);
    refused_as(&site, CLERK, &["passcode", "issue", &ana, "--under", &id], 4);
    refused_as(
        &site,
        CLERK,
        &["passcode", "issue", &user(2), "--minutes", "15", "--under", &id],
        4,
    );
    // Of many at once one does it, also right before the process is killed.
    let issued = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| operators::cli_as(&site, CLERK, &under).status.code()))
            .collect();
        tries
            .into_iter()
            .map(|one| one.join().expect("a try"))
            .collect::<Vec<_>>()
    });
    assert_eq!(issued.iter().filter(|code| **code == Some(0)).count(), 1, "{issued:?}");
    site.kill_and_serve();
    refused_as(&site, CLERK, &under, 1);
    let shown = json_as(&site, CLERK, &["request", "show", &id]);
    assert_eq!(shown["state"], "used");
    let audit = site.audit().join("\n");
    assert_eq!(audit.matches("\"request.use\"").count(), 1, "{audit}");
    assert!(audit.contains(&format!("approved by {MANAGER}, {LEAD}")), "{audit}");
    assert!(site.json(&["audit", "verify"])["broken"].is_null());
}

#[test]
fn killed_while_it_is_done_it_is_done_once_or_not_yet() {
    let (_directory, mut site) = start_deeds();
    let ana = user(1);
    for pause in [0, 2, 5, 10, 20, 40] {
        let id = ask_as(&site, CLERK, &["unlock", &ana]);
        json_as(&site, MANAGER, &["approve", &id]);
        let under = ["user", "unlock", &ana, "--under", &id];
        std::thread::scope(|scope| {
            let trying = scope.spawn(|| operators::cli_as(&site, CLERK, &under));
            std::thread::sleep(std::time::Duration::from_millis(pause));
            site.signal(Signal::SIGKILL);
            trying.join().expect("a try");
        });
        site.kill_and_serve();
        let audit = site.audit();
        let used = |id: &str| {
            audit
                .iter()
                .filter(|line| line.contains("request.use") && line.contains(id))
                .count()
        };
        let before = used(&id);
        let again = operators::cli_as(&site, CLERK, &under).status.code();
        assert_eq!(again, Some(if before == 1 { 1 } else { 0 }), "pause {pause}: {before}");
        refused_as(&site, CLERK, &under, 1);
        let audit = site.audit();
        let uses = audit
            .iter()
            .filter(|line| line.contains("request.use") && line.contains(&id))
            .count();
        assert_eq!(uses, 1, "pause {pause}");
    }
}

#[test]
fn somebody_approves_in_anothers_place() {
    let (directory, mut site) = start_deeds();
    let ana = user(1);
    let add = |to: &str, scope: &str| {
        [
            "delegation",
            "add",
            to,
            "--scope",
            scope,
            "--until",
            "7d",
            "--reason",
            "on leave",
        ]
        .map(ToOwned::to_owned)
    };
    let run_as = |site: &Portcullis, account: &str, words: &[String]| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        json_as(site, account, &words)
    };
    let made = run_as(&site, MANAGER, &add(LEAD, "action=unlock"));
    let id = ask_as(&site, CLERK, &["unlock", &ana]);
    site.kill_and_serve();
    let approved = json_as(&site, LEAD, &["approve", &id]);
    assert_eq!(approved["levels"][0]["by"], format!("{LEAD} for {MANAGER}").as_str());
    json_as(&site, CLERK, &["user", "unlock", &ana, "--under", &id]);

    // Not beyond its scope, and not for whom the manager is none.
    let other = ask_as(&site, CLERK, &["deny", &ana, "reason=stolen"]);
    refused_as(&site, LEAD, &["approve", &other], 4);
    // The manager's boss says who the manager is: no longer this one.
    let third = ask_as(&site, CLERK, &["unlock", &ana]);
    let dn = user_dn(1);
    directory.modify(&format!("dn: {dn}\nchangetype: modify\ndelete: manager\n\n"));
    site.kill_and_serve();
    refused_as(&site, LEAD, &["approve", &third], 4);
    refused_as(&site, MANAGER, &["approve", &third], 4);
    directory.modify(&format!(
        "dn: {dn}\nchangetype: modify\nadd: manager\nmanager: uid={MANAGER},ou=people,dc=example,dc=org\n\n"
    ));
    site.kill_and_serve();
    json_as(
        &site,
        CLERK,
        &["delegation", "end", made["id"].as_str().expect("an identifier")],
    );
    refused_as(&site, LEAD, &["approve", &third], 4);
    json_as(&site, MANAGER, &["approve", &third]);
    let audit = site.audit().join("\n");
    for expected in ["delegation.grant", "delegation.end", "daemon"] {
        assert!(audit.contains(expected), "{expected}");
    }
    assert!(audit.contains(&format!("by {LEAD} for {MANAGER}")), "{audit}");
}

#[test]
fn managers_hear_of_requests_by_mail_and_nothing_waits_for_it() {
    let directory = Slapd::start(20);
    operators::hire(&directory);
    directory.modify(&format!(
        "dn: uid={MANAGER},ou=people,dc=example,dc=org\nchangetype: modify\nadd: mail\nmail: boss@example.org\n\n"
    ));
    let mut site = Portcullis::install(&directory);
    let authority = Authority::make(site.folder(), "mail");
    let mail = Mailbox::mail(site.folder(), "starttls", &authority.server("mail"));
    let delivery = format!(
        "[[delivery]]\nname = \"mail\"\nkind = \"smtp\"\nserver = \"localhost:{}\"\ntls = \"starttls\"\nca_file = \"{}\"\n\
         login = \"{}\"\npassword = \"{}\"\nfrom = \"codes@example.org\"\ntimeout = \"2s\"\n\
         [approvals]\nnotify = \"mail\"\n",
        mail.port(),
        authority.file().display(),
        LOGIN.0,
        LOGIN.1
    );
    site.add(&[DEEDS, &delivery, operators::CONFIGURATION].concat(), "");
    operators::let_in(&site);
    site.serve();

    let id = ask_as(&site, CLERK, &["passcode", &user(1), "minutes=15"]);
    until("the manager is told", || !mail.messages().is_empty());
    let told = mail.last();
    for expected in ["boss@example.org", &format!("portcullis approve {id}"), CLERK] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    // The next level is a group, whose members are not told; nor does anything wait for a server that hangs.
    json_as(&site, MANAGER, &["approve", &id]);
    mail.halt();
    let other = ask_as(&site, CLERK, &["unlock", &user(1)]);
    json_as(&site, MANAGER, &["approve", &other]);
    json_as(&site, CLERK, &["user", "unlock", &user(1), "--under", &other]);
    until("it is given up", || site.log().contains("not told"));
    mail.go_on();
    assert_eq!(mail.messages().len(), 1);
}
