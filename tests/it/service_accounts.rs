//! Applications' own accounts on an LDAP listener: the password alone, from where they are, as far as they may.

use std::process::{Command, Output};

use crate::support::clients::ldap_command;
use crate::support::portcullis::Portcullis;
use crate::support::process::{free_port, run, text};
use crate::support::slapd::{SERVICE_DN, SERVICE_PASSWORD, SUFFIX, Slapd, password, user, user_dn};
use crate::support::totp::code;

/// Everybody has to show a code, and the directory's configuration takes the account for nobody.
const RULES: &str = r#"
[[rule]]
name = "not at night"
when = { service = ["closed"] }
deny = true

[[rule]]
name = "codes"
when = { service = ["apps", "elsewhere"] }
require = { all = ["password", "totp"] }
"#;

fn start() -> (Portcullis, [String; 3], Slapd) {
    start_before(Slapd::start(20))
}

fn start_before(directory: Slapd) -> (Portcullis, [String; 3], Slapd) {
    let mut site = Portcullis::install(&directory);
    let ports = [free_port(), free_port(), free_port()];
    let listener = |name: &str, port: u16, source: &str| {
        format!(
            "[[ldap]]\nname = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"none\"\nallow_plaintext = true\n\
             directory = \"main\"\n[ldap.restrict]\noperations = [\"who-am-i\", \"password-modify\"]\n\
             [[ldap.service_account]]\ndn = \"{SERVICE_DN}\"\nnames = [\"svc@apps\"]\nsource = [\"{source}\"]\n\
             audit = \"failures\"\nuser_failures = 0\n\
             [ldap.service_account.restrict]\nread_only = true\nbases = [\"ou=people,{SUFFIX}\"]\n\
             hide_attributes = [\"sn\"]\n\
             [[ldap.service_account]]\ndn = \"{}\"\nsource = [\"{source}\"]\n\
             [ldap.service_account.restrict]\nread_only = true\nhide_attributes = [\"sn\"]\n",
            user_dn(7)
        )
    };
    let listeners = [
        listener("apps", ports[0], "127.0.0.1"),
        listener("elsewhere", ports[1], "192.0.2.0/24"),
        listener("closed", ports[2], "127.0.0.1"),
    ];
    site.add(&listeners.concat(), RULES);
    site.serve();
    (site, ports.map(|port| format!("ldap://127.0.0.1:{port}")), directory)
}

fn whoami(url: &str, name: &str, typed: &str) -> Output {
    run(&mut ldap_command("ldapwhoami", url, name, typed), "")
}

fn search(url: &str, dn: &str, typed: &str, base: &str, filter: &str) -> Output {
    let mut command = ldap_command("ldapsearch", url, dn, typed);
    command.args(["-LLL", "-b", base, filter]);
    run(&mut command, "")
}

#[test]
fn the_password_is_enough_from_where_the_application_is() {
    let (site, urls, _directory) = start();
    let [apps, elsewhere, closed] = &urls;
    for name in [SERVICE_DN, "CN = s\\76c , DC=Example,DC=org", "svc@apps"] {
        let output = whoami(apps, name, SERVICE_PASSWORD);
        assert_eq!(text(&output).trim(), format!("dn:{SERVICE_DN}"), "{name}");
        assert_eq!(
            whoami(elsewhere, name, SERVICE_PASSWORD).status.code(),
            Some(49),
            "{name}"
        );
    }
    // Neither does another name of the same entry open it there.
    assert_eq!(whoami(elsewhere, "svc", SERVICE_PASSWORD).status.code(), Some(49));
    assert_eq!(whoami(apps, SERVICE_DN, "wrong").status.code(), Some(49));
    assert_eq!(
        whoami(closed, SERVICE_DN, SERVICE_PASSWORD).status.code(),
        Some(49),
        "a rule that denies comes first"
    );
    assert!(
        site.log().contains("an address that it may not come from"),
        "{}",
        site.log()
    );

    // People are judged as ever.
    assert_eq!(whoami(apps, &user_dn(1), &password(1)).status.code(), Some(49));
    let typed = format!("{},{}", password(1), code(&site.enrol(&user(1)), 0));
    assert_eq!(
        text(&whoami(apps, &user_dn(1), &typed)).trim(),
        format!("dn:{}", user_dn(1))
    );

    let records = site.audit();
    let of_account: Vec<&String> = records.iter().filter(|record| record.contains("cn=svc")).collect();
    assert!(
        of_account.iter().any(|record| record.contains("wrong-password")),
        "{records:?}"
    );
    assert!(
        of_account.iter().any(|record| record.contains("unknown-user")),
        "{records:?}"
    );
    assert!(
        !of_account.iter().any(|record| record.contains("accept")),
        "{records:?}"
    );
}

#[test]
fn it_may_what_its_own_table_says() {
    let (site, urls, _directory) = start();
    let apps = &urls[0];
    let people = format!("ou=people,{SUFFIX}");
    let found = search(apps, SERVICE_DN, SERVICE_PASSWORD, &people, "(uid=user00003)");
    let shown = text(&found);
    assert!(
        found.status.success() && shown.contains(&user_dn(3)) && !shown.contains("sn:"),
        "{shown}"
    );
    let outside = search(apps, SERVICE_DN, SERVICE_PASSWORD, SUFFIX, "(uid=user00003)");
    assert_eq!(outside.status.code(), Some(32));
    let typed = format!("{},{}", password(2), code(&site.enrol(&user(2)), 0));
    let others = search(apps, &user_dn(2), &typed, &people, "(uid=user00003)");
    assert_eq!(others.status.code(), Some(53), "people may only ask who they are");
}

#[test]
fn an_operator_can_keep_it_out_and_ask_why() {
    let (site, urls, _directory) = start();
    let apps = &urls[0];
    let explain = |client: &str, source: &str| {
        site.json(&["policy", "explain", SERVICE_DN, "--client", client, "--source", source])
    };
    let explained = explain("apps", "127.0.0.1");
    assert_eq!(explained["decision"], "allow", "{explained}");
    assert!(
        explained["text"]
            .as_str()
            .unwrap()
            .contains("=> require password (by rule \"service account"),
        "{explained}"
    );
    let explained = explain("apps", "192.0.2.1");
    assert_eq!(explained["decision"], "deny", "{explained}");
    assert!(
        explained["text"]
            .as_str()
            .unwrap()
            .contains("may not come from this address"),
        "{explained}"
    );
    assert_eq!(explain("closed", "127.0.0.1")["decision"], "deny");

    site.json(&["deny", SERVICE_DN, "--reason", "leaked"]);
    assert_eq!(whoami(apps, SERVICE_DN, SERVICE_PASSWORD).status.code(), Some(49));
    site.json(&["deny", SERVICE_DN, "--lift", "--reason", "changed"]);
    assert!(whoami(apps, SERVICE_DN, SERVICE_PASSWORD).status.success());
}

/// Other names lead to the same entry: they give it no other rights, and open it to nobody from elsewhere.
#[test]
fn it_is_the_same_account_under_each_of_its_names() {
    let (site, urls, directory) = start_before(Slapd::writable(20));
    let [apps, elsewhere, _] = &urls;
    let seed = site.enrol(&user(7));
    let typed = |step| format!("{},{}", password(7), code(&seed, step));
    let people = format!("ou=people,{SUFFIX}");
    let found = search(apps, &user(7), &typed(0), &people, "(uid=user00003)");
    let shown = text(&found);
    assert!(
        found.status.success() && shown.contains(&user_dn(3)) && !shown.contains("sn:"),
        "{shown}"
    );
    for name in [user_dn(7), user(7)] {
        let mut command = Command::new("ldappasswd");
        command.args(["-x", "-o", "nettimeout=30", "-H", elsewhere]);
        command.args(["-a", &typed(1), "-s", "taken over now", &name]);
        let output = run(&mut command, "");
        assert!(text(&output).contains("(49)"), "{name}: {output:?}");
    }
    let unchanged = whoami(&directory.url(), &user_dn(7), &password(7));
    assert!(unchanged.status.success(), "{unchanged:?}");
}

/// Listeners that restrict nothing, before a directory whose people may set their own passwords.
fn start_open() -> (Portcullis, [String; 2], Slapd) {
    let directory = Slapd::writable(3);
    let mut site = Portcullis::install(&directory);
    let ports = [free_port(), free_port()];
    let listener = |name: &str, port: u16, source: &str| {
        format!(
            "[[ldap]]\nname = \"{name}\"\nlisten = \"127.0.0.1:{port}\"\ntls = \"none\"\nallow_plaintext = true\n\
             directory = \"main\"\nreject_delay = \"10ms\"\n\
             [[ldap.service_account]]\ndn = \"{SERVICE_DN}\"\nnames = [\"svc@apps\"]\nsource = [\"{source}\"]\n\
             [[ldap.service_account]]\ndn = \"{}\"\nsource = [\"{source}\"]\n",
            user_dn(2)
        )
    };
    let listeners = [
        listener("apps", ports[0], "127.0.0.1"),
        listener("elsewhere", ports[1], "192.0.2.0/24"),
    ];
    let rules = "[[rule]]\nname = \"everybody\"\nwhen = { service = [\"elsewhere\"] }\nrequire = \"password\"\n";
    site.add(&listeners.concat(), rules);
    site.serve();
    (site, ports.map(|port| format!("ldap://127.0.0.1:{port}")), directory)
}

#[test]
fn its_password_is_changed_from_where_it_is_and_from_nowhere_else() {
    let (site, [apps, elsewhere], _directory) = start_open();
    let change = |url: &str, name: &str, old: &str, new: &str| {
        let mut command = std::process::Command::new("ldappasswd");
        command.args(["-x", "-o", "nettimeout=30", "-H", url, "-a", old, "-s", new, name]);
        let output = run(&mut command, "");
        // Its own exit code does not tell one result from another.
        if text(&output).contains("(49)") {
            Some(49)
        } else {
            output.status.code()
        }
    };
    // People may, there.
    assert_eq!(change(&elsewhere, &user_dn(1), &password(1), "new password 1"), Some(0));
    for name in [SERVICE_DN, "CN = s\\76c , DC=Example,DC=org", "svc@apps", "svc"] {
        assert_eq!(
            change(&elsewhere, name, SERVICE_PASSWORD, "taken over 1"),
            Some(49),
            "{name}"
        );
    }
    assert!(whoami(&apps, SERVICE_DN, SERVICE_PASSWORD).status.success());
    // No rule speaks of it; its own does.
    assert_eq!(change(&apps, SERVICE_DN, "wrong", "new password 2"), Some(49));
    assert_eq!(change(&apps, SERVICE_DN, SERVICE_PASSWORD, "new password 2"), Some(0));
    assert!(whoami(&apps, SERVICE_DN, "new password 2").status.success());
    let records = site.audit();
    let taken: Vec<&String> = records
        .iter()
        .filter(|record| record.contains("unknown-user"))
        .collect();
    assert!(taken.len() >= 4, "{records:?}");
}

#[test]
fn nobody_locks_it_out_from_elsewhere_under_another_name() {
    let (site, [apps, elsewhere], _directory) = start_open();
    for _ in 0..7 {
        assert_eq!(whoami(&elsewhere, &user(2), "wrong").status.code(), Some(49));
    }
    assert!(
        whoami(&apps, &user_dn(2), &password(2)).status.success(),
        "{:?}",
        site.audit()
    );
    // From where it may come from, guesses count as anybody's.
    for _ in 0..7 {
        assert_eq!(whoami(&apps, &user_dn(2), "wrong").status.code(), Some(49));
    }
    assert_eq!(whoami(&apps, &user_dn(2), &password(2)).status.code(), Some(49));
}
