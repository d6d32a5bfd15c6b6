//! Conditions of rules on what a real directory, a real RADIUS client and real LDAP connections say.

use std::fs;

use crate::support::clients::ldap_command;
use crate::support::portcullis::{DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::{free_port, run, text};
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{SUFFIX, Slapd, group_dn, password, user, user_dn};

const RULES: &str = r#"
[[rule]]
name = "not who is locked"
when = { service = ["states"], credential = ["locked"] }
deny = true

[[rule]]
name = "not after failures"
when = { service = ["failures"], failures = { at_least = 2 } }
deny = true

[[rule]]
name = "a department"
when = { service = ["attributes"], attribute = { departmentNumber = ["42"] } }
require = "password"

[[rule]]
name = "a filter"
when = { service = ["attributes"], filter = ["(&(sn>=3)(!(title=trainee)))"] }
require = "password"

[[rule]]
name = "the reports of somebody"
when = { service = ["managers"], manager = ["USER00001"] }
require = "password"

[[rule]]
name = "the reports of somebody by name"
when = { service = ["managers"], manager = ["uid=user00002, ou=people,dc=example,dc=org"] }
require = "password"

[[rule]]
name = "groups in groups"
when = { service = ["nested"], group = ["everybody"] }
require = "password"

[[rule]]
name = "signed in elsewhere"
when = { service = ["sso"], sso_managed = false }
require = "password"

[[rule]]
name = "administrators"
when = { service = ["admins"], privileged = true }
require = "password"

[[rule]]
name = "whose account is in order"
when = { service = ["states"] }
require = "password"

[[rule]]
name = "whoever has not failed"
when = { service = ["failures"] }
require = "password"

[[rule]]
name = "guests by their network"
when = { service = ["stations"], called_station = ["*:guest"], calling_station = ["00-11-*"] }
require = "password"

[[rule]]
name = "by listener"
when = { service = ["listeners"], listener = ["radius"] }
require = "password"

[[rule]]
name = "who has never enrolled"
when = { service = ["enrolled"], enrolment = ["never"] }
require = "password"

[[rule]]
name = "the wiki"
when = { application = ["wiki"] }
require = "password"
"#;

/// Everybody has a department, but 4; 5 and 6 have a manager, 7 two; 4 is a trainee, and 3 has no title at all.
fn directory() -> Slapd {
    let directory = Slapd::start(20);
    let mut changes = String::new();
    let mut change = |number: usize, attribute: &str, values: &[&str]| {
        changes += &format!("dn: {}\nchangetype: modify\nadd: {attribute}\n", user_dn(number));
        for value in values {
            changes += &format!("{attribute}: {value}\n");
        }
        changes.push('\n');
    };
    change(1, "departmentNumber", &["42", "43"]);
    change(2, "departmentNumber", &["43"]);
    change(4, "title", &["Trainee"]);
    change(5, "title", &["clerk"]);
    change(5, "manager", &[&user_dn(1)]);
    change(6, "manager", &[&user_dn(2)]);
    change(7, "manager", &[&user_dn(1), &user_dn(2)]);
    changes += &format!(
        "dn: cn=everybody,ou=groups,{SUFFIX}\nchangetype: add\nobjectClass: groupOfNames\ncn: everybody\nmember: {}\n\n\
         dn: cn=more,ou=groups,{SUFFIX}\nchangetype: add\nobjectClass: groupOfNames\ncn: more\nmember: cn=everybody,ou=groups,{SUFFIX}\n\n",
        group_dn(3)
    );
    directory.modify(&changes);
    directory
}

/// A site whose client `door` is of `service`, and whose directory has `more`.
fn site(directory: &Slapd, service: &str, more: &str, configuration: &str) -> Portcullis {
    let mut site = Portcullis::install(directory);
    site.add(configuration, RULES);
    let text = fs::read_to_string(site.configuration_file()).unwrap();
    let text = text
        .replace("name = \"main\"\n", &format!("name = \"main\"\n{more}\n"))
        .replace(
            "name = \"door\"\n",
            &format!("name = \"door\"\nservice = \"{service}\"\n"),
        );
    site.configure(&text);
    site.serve();
    site
}

fn lets_in(site: &Portcullis, number: usize) -> bool {
    match site.radclient(PASSWORD_ONLY).login(&user(number), &password(number)) {
        Reply::Accept => true,
        Reply::Reject => false,
        other @ (Reply::Challenge { .. } | Reply::Silence) => panic!("{other:?}"),
    }
}

fn let_in(site: &Portcullis, numbers: std::ops::RangeInclusive<usize>) -> Vec<usize> {
    numbers.filter(|number| lets_in(site, *number)).collect()
}

#[test]
fn what_entries_say() {
    let directory = directory();
    let attributes = site(&directory, "attributes", "", "");
    // 5 is a clerk; of 3 and 6 nobody knows that they are no trainees.
    assert_eq!(let_in(&attributes, 1..=6), [1, 5]);
    let explained = attributes.json(&["policy", "explain", &user(5), "--client", "door"]);
    let shown = explained.to_string();
    assert!(shown.contains("title=clerk"), "{shown}");
    assert!(shown.contains("attribute.departmentnumber is 42"), "{shown}");
    drop(attributes);

    let managers = site(&directory, "managers", "", "");
    // Of two managers it is not known which is meant.
    assert_eq!(let_in(&managers, 4..=7), [5, 6]);
    let explained = managers
        .json(&["policy", "explain", &user(5), "--client", "door"])
        .to_string();
    assert!(explained.contains("user00001 (uid=user00001,ou=people"), "{explained}");
    drop(managers);

    let nested = site(&directory, "nested", "nested_groups = true", "");
    assert_eq!(let_in(&nested, 2..=4), [3]);
    assert!(lets_in(&nested, 13));
}

#[test]
fn classes_of_people() {
    let directory = directory();
    let elsewhere = site(
        &directory,
        "sso",
        "sso_managed_by = [\"title=clerk\"]\nsso_managed_groups = [\"group6\"]",
        "",
    );
    assert_eq!(let_in(&elsewhere, 4..=7), [4, 7]);
    drop(elsewhere);
    // A directory that says nothing of it says that nobody is known to be signed in here.
    let unsaid = site(&directory, "sso", "", "");
    assert!(!lets_in(&unsaid, 4));
    drop(unsaid);
    let admins = site(&directory, "admins", "", "[privileged]\ngroup = [\"group7\"]\n");
    assert_eq!(let_in(&admins, 6..=8), [7]);
}

#[test]
fn states_of_accounts_are_known_before_a_password_is_tried() {
    let directory = directory();
    let site = site(&directory, "states", "", "");
    assert_eq!(let_in(&site, 1..=2), [1, 2]);
    directory.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n\n",
        user_dn(2)
    ));
    assert_eq!(let_in(&site, 1..=2), [1]);
    assert!(
        site.audit().iter().any(|record| record.contains("not who is locked")),
        "refused by the rule, not by the directory"
    );
    let explained = site
        .json(&["policy", "explain", &user(2), "--client", "door"])
        .to_string();
    assert!(explained.contains("locked"), "{explained}");
}

#[test]
fn failures_and_enrolment() {
    let directory = directory();
    let failing = site(&directory, "failures", "", "");
    for _ in 0..2 {
        assert_eq!(failing.radclient(PASSWORD_ONLY).login(&user(1), "wrong"), Reply::Reject);
    }
    assert!(!lets_in(&failing, 1));
    assert!(lets_in(&failing, 2));
    let refused = failing
        .audit()
        .into_iter()
        .any(|record| record.contains("not after failures"));
    assert!(refused, "{:?}", failing.audit());
    drop(failing);
    let enrolled = site(&directory, "enrolled", "", "");
    enrolled.enrol(&user(3));
    assert_eq!(let_in(&enrolled, 2..=3), [2]);
}

#[test]
fn what_clients_say() {
    let directory = directory();
    let site = site(&directory, "stations", "", "");
    let asks = |more: &str| {
        let radclient = site.radclient(PASSWORD_ONLY);
        radclient.ask(&format!("{}{more}", request(&user(1), &password(1), None)))
    };
    let guest = "Called-Station-Id = \"AA-BB-CC-DD-EE-FF:Guest\"\n";
    let mine = "Calling-Station-Id = \"00-11-22-33-44-55\"\n";
    let other = "Calling-Station-Id = \"00-12-22-33-44-55\"\n";
    assert_eq!(asks(&format!("{guest}{mine}")), Reply::Accept);
    assert_eq!(asks(&format!("{guest}{other}")), Reply::Reject);
    assert_eq!(asks(guest), Reply::Reject, "what is not said lets nobody in");
    assert_eq!(
        asks(&format!("Called-Station-Id = \"AA:staff\"\n{mine}")),
        Reply::Reject
    );
    let stations = ["--called-station", "x:guest", "--calling-station", "00-11-22"];
    let explain = [&["policy", "explain", "user00001", "--client", "door"][..], &stations].concat();
    assert_eq!(site.json(&explain)["decision"], "allow");
    assert!(
        site.audit()
            .iter()
            .any(|record| record.contains("AA-BB-CC-DD-EE-FF:Guest"))
    );
}

#[test]
fn the_listener_that_was_asked() {
    let directory = directory();
    let port = free_port();
    let second = format!("[[radius]]\nname = \"second\"\nlisten = \"127.0.0.1:{port}\"\n");
    let site = site(&directory, "listeners", "", &second);
    assert!(lets_in(&site, 1));
    let asked = crate::support::radclient::Radclient::to(port).from(PASSWORD_ONLY);
    assert_eq!(asked.login(&user(1), &password(1)), Reply::Reject);
    let explain = |listener: &str| {
        let asked = [
            "policy",
            "explain",
            "user00001",
            "--client",
            "door",
            "--listener",
            listener,
        ];
        site.json(&asked)["decision"].clone()
    };
    assert_eq!((explain("radius"), explain("second")), ("allow".into(), "deny".into()));
    assert!(site.radclient(DIALOG).login(&user(1), &password(1)) != Reply::Accept);
}

#[test]
fn applications_behind_one_listener() {
    let directory = directory();
    let port = free_port();
    let listener = |source: &str| {
        format!(
            "[[ldap]]\nname = \"apps\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"none\"\nallow_plaintext = true\n\
             directory = \"main\"\n[[ldap.application]]\nname = \"git\"\nsource = [\"192.0.2.1\"]\n\
             [[ldap.application]]\nname = \"wiki\"\nsource = [\"{source}\"]\n"
        )
    };
    let url = format!("ldap://127.0.0.1:{port}");
    for (source, code) in [("127.0.0.0/8", 0), ("192.0.2.0/24", 49)] {
        let site = site(&directory, "door", "", &listener(source));
        let output = run(&mut ldap_command("ldapwhoami", &url, &user_dn(1), &password(1)), "");
        assert_eq!(output.status.code(), Some(code), "{source}: {}", text(&output));
        let told = site
            .audit()
            .into_iter()
            .any(|record| record.contains("\"application\":\"wiki\""));
        assert_eq!(told, code == 0, "{source}");
        let asked = [
            "policy",
            "explain",
            "user00001",
            "--client",
            "apps",
            "--source",
            "127.0.0.1",
        ];
        let decision = if code == 0 { "allow" } else { "deny" };
        assert_eq!(site.json(&asked)["decision"], decision);
    }
}
