//! Accounts at the helpdesk, before slapd with ppolicy; and, beside it, a Samba domain, many people at once, groups.

mod domain;
mod groups;
mod jobs;

use std::process::Command;

use serde_json::Value;

use crate::support::clients::ldapwhoami;
use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::{run, text};
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::code;

/// Where a change is asked for in a dialog, by the password alone.
const DESK: &str = r#"
[[rule]]
name = "at the desk"
when = { client = ["vpn"] }
require = "password"
"#;

fn start(directory: &Slapd) -> Portcullis {
    let mut site = Portcullis::install(directory);
    site.add("", DESK);
    site.serve();
    site
}

/// How a password alone fares at a client that cannot ask.
fn door(site: &Portcullis, number: usize, password: &str) -> Reply {
    site.radclient(PASSWORD_ONLY).login(&user(number), password)
}

/// How it fares at the directory itself.
fn direct(directory: &Slapd, number: usize, password: &str) -> bool {
    let output = ldapwhoami(
        &directory.tls_url(),
        &user_dn(number),
        password,
        directory.certificates(),
    );
    output.status.success()
}

/// The actions of the audit with their outcomes, of those that begin with `word`.
fn audited(site: &Portcullis, word: &str) -> Vec<String> {
    let records = site.json(&["audit", "search", "--oldest-first", "--action", word]);
    let records = records.as_array().unwrap().iter();
    let told = |record: &Value| {
        let field = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}", field("action"), field("outcome"))
    };
    records.map(told).collect()
}

/// Answers the dialog that ends with a new password.
fn change(site: &Portcullis, number: usize, old: &str, new: &str) {
    let vpn = site.radclient(DIALOG);
    let asked = vpn.login(&user(number), old);
    assert!(matches!(asked, Reply::Challenge { .. }), "{asked:?}");
    let again = vpn.answer(&user(number), new, &asked);
    assert!(matches!(again, Reply::Challenge { .. }), "{again:?}");
    let end = vpn.answer(&user(number), new, &again);
    assert_eq!(end, Reply::Accept);
}

#[test]
fn a_reset_password_is_set_and_has_to_be_changed_at_the_door_and_in_the_directory() {
    let directory = Slapd::writable(3);
    let mut site = start(&directory);
    assert_eq!(door(&site, 1, &password(1)), Reply::Accept);
    let reset = site.json(&["user", "reset", &user(1)]);
    let new = reset["password"].as_str().unwrap();
    assert_eq!(new.len(), 17);
    assert!(direct(&directory, 1, new) && !direct(&directory, 1, &password(1)));
    assert_eq!(
        door(&site, 1, new),
        Reply::Reject,
        "it lets in for nothing but a change"
    );
    let shown = site.json(&["user", "show", &user(1)]);
    assert_eq!(shown["must_change"]["by"], "root");
    assert_eq!(shown["directory"]["account"]["known"]["must_change"], true);
    assert_eq!(shown["logins"][0]["outcome"], "reject");
    assert_eq!(shown["logins"][0]["reason"], "password-must-change");
    assert!(!site.audit().concat().contains(new) && !site.log().contains(new));
    assert_eq!(audited(&site, "user.reset"), ["user.reset accept", "user.reset accept"]);

    site.kill_and_serve();
    change(&site, 1, new, "battery-staple");
    assert_eq!(door(&site, 1, "battery-staple"), Reply::Accept);
    assert_eq!(site.json(&["user", "show", &user(1)])["must_change"], Value::Null);
}

#[test]
fn an_outage_and_an_answer_that_does_not_come_are_told_as_such() {
    let mut directory = Slapd::writable(2);
    let site = start(&directory);
    site.json(&["user", "show", &user(1)]);
    directory.halt();
    let lost = site.cli(&["user", "reset", &user(1)]);
    assert_eq!(lost.status.code(), Some(3), "{}", text(&lost));
    assert!(!text(&lost).contains("new password"), "{}", text(&lost));
    directory.go_on();
    directory.kill();
    let down = site.cli(&["user", "reset", &user(2)]);
    assert_eq!(down.status.code(), Some(3), "{}", text(&down));
}

#[test]
fn a_change_is_wanted_although_the_directory_has_forgotten_about_it() {
    let directory = Slapd::writable(3);
    let site = start(&directory);
    let forced = site.json(&["user", "must-change", &user(2)]);
    assert_eq!(forced["directory"], "done");
    assert_eq!(door(&site, 2, &password(2)), Reply::Reject);
    directory.modify(&format!("dn: {}\nchangetype: modify\ndelete: pwdReset\n", user_dn(2)));
    assert_eq!(door(&site, 2, &password(2)), Reply::Reject, "here it holds");
    change(&site, 2, &password(2), "battery-staple");
    assert_eq!(door(&site, 2, "battery-staple"), Reply::Accept);

    site.json(&["user", "must-change", &user(3)]);
    let undone = site.json(&["user", "must-change", &user(3), "--undo"]);
    assert_eq!(
        (&undone["changed"], &undone["directory"]),
        (&Value::Bool(true), &Value::from("done"))
    );
    assert_eq!(door(&site, 3, &password(3)), Reply::Accept);
    assert_eq!(
        audited(&site, "user.must-change"),
        [
            "user.must-change accept",
            "user.must-change accept",
            "user.must-change accept"
        ]
    );
}

#[test]
fn an_application_changes_it_by_password_modify() {
    let directory = Slapd::writable(3);
    let mut site = Portcullis::install(&directory);
    site.add(
        "",
        "[[rule]]\nname = \"wiki\"\nwhen = { service = [\"wiki\"] }\nrequire = \"password\"\n",
    );
    site.serve();
    site.json(&["user", "must-change", &user(1)]);
    directory.modify(&format!("dn: {}\nchangetype: modify\ndelete: pwdReset\n", user_dn(1)));
    // Who can see that it is to be changed is let in for that, and for nothing else.
    let bound = |program: &str, options: &[&str]| {
        let mut command = Command::new(program);
        command.args([
            "-x",
            "-H",
            &site.ldaps_url(),
            "-D",
            &user_dn(1),
            "-w",
            &password(1),
            "-e",
            "ppolicy",
        ]);
        command
            .args(options)
            .env("LDAPTLS_CACERT", &site.certificates().authority);
        run(&mut command, "")
    };
    let searched = bound("/usr/bin/ldapsearch", &["-b", "dc=example,dc=org", "-s", "base", "1.1"]);
    assert_eq!(searched.status.code(), Some(50), "{}", text(&searched));
    let changed = bound("/usr/bin/ldappasswd", &["-a", &password(1), "-s", "battery-staple"]);
    assert!(changed.status.success(), "{}", text(&changed));
    assert_eq!(site.json(&["user", "show", &user(1)])["must_change"], Value::Null);
    assert_eq!(door(&site, 1, "battery-staple"), Reply::Accept);
}

#[test]
fn an_account_is_switched_off_on_and_unlocked() {
    let directory = Slapd::writable(3);
    let site = start(&directory);
    let off = site.json(&["user", "disable", &user(1)]);
    assert_eq!(
        (&off["enabled"], &off["connections"]),
        (&Value::Bool(false), &Value::from(0))
    );
    assert!(!direct(&directory, 1, &password(1)));
    assert_eq!(door(&site, 1, &password(1)), Reply::Reject);
    // That is no lock that an unlock ends.
    let unlocked = site.cli(&["user", "unlock", &user(1), "--account"]);
    assert_eq!(unlocked.status.code(), Some(1), "{}", text(&unlocked));
    assert!(text(&unlocked).contains("disabled"), "{}", text(&unlocked));
    assert_eq!(site.json(&["user", "enable", &user(1)])["enabled"], true);
    assert!(direct(&directory, 1, &password(1)));
    assert_eq!(door(&site, 1, &password(1)), Reply::Accept);

    // Our lock, and the directory's.
    for _ in 0..5 {
        door(&site, 2, "wrong");
    }
    for _ in 0..10 {
        assert!(!direct(&directory, 2, "wrong"));
    }
    assert!(!direct(&directory, 2, &password(2)), "locked there");
    let profile = site.json(&["user", "unlock", &user(2), "--profile"]);
    assert_eq!(
        (&profile["was_locked"], &profile["account"]),
        (&Value::Bool(true), &Value::Null)
    );
    assert!(!direct(&directory, 2, &password(2)));
    assert_eq!(site.json(&["user", "unlock", &user(2)])["account"], "done");
    assert!(direct(&directory, 2, &password(2)));
    assert_eq!(door(&site, 2, &password(2)), Reply::Accept);
}

#[test]
fn who_is_unregistered_is_no_newcomer_unless_an_operator_says_so() {
    let directory = Slapd::start(3);
    let mut site = Portcullis::install(&directory);
    let rule = "[[rule]]\nname = \"newcomers\"\nwhen = { client = [\"append\"] }\n\
                require = { all = [\"password\", \"totp\"] }\nenrol = { until = \"2099-01-01\" }\n";
    site.add("", rule);
    site.serve();
    let append = |site: &Portcullis, typed: &str| {
        site.radclient(crate::support::portcullis::APPEND)
            .login(&user(1), typed)
    };
    let granted = append(&site, &password(1));
    assert!(!matches!(granted, Reply::Reject), "time is left to enrol: {granted:?}");
    let seed = site.enrol(&user(1));
    site.json(&["recovery-codes", "new", &user(1)]);
    assert_eq!(append(&site, &password(1)), Reply::Reject);
    let asked = site.cli(&["user", "unregister", &user(1)]);
    assert_eq!(
        asked.status.code(),
        Some(2),
        "it asks, and there is nobody to ask: {}",
        text(&asked)
    );
    let taken = site.json(&["user", "unregister", &user(1), "--yes"]);
    assert_eq!(
        (&taken["tokens"], &taken["recovery_codes"]),
        (&Value::from(1), &Value::from(10))
    );
    site.kill_and_serve();
    assert_eq!(
        append(&site, &format!("{},{}", password(1), code(&seed, 0))),
        Reply::Reject
    );
    assert_eq!(
        append(&site, &password(1)),
        Reply::Reject,
        "the password alone lets nobody in"
    );
    site.json(&["user", "unregister", &user(1), "--as-new", "--yes"]);
    let granted = append(&site, &password(1));
    assert!(!matches!(granted, Reply::Reject), "{granted:?}");
}
