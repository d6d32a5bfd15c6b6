//! Reloading, checking and looking: what operators do to a running server.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::portcullis::{PASSWORD_ONLY, Portcullis};
use crate::support::process::{run, text, until};
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user};

const DENY_ALL: &str = "[[rule]]\nname = \"closed\"\ndeny = true\n";
const PASSWORD_FOR_ALL: &str = "[[rule]]\nname = \"open\"\nrequire = \"password\"\n";

#[test]
fn a_reload_takes_the_new_policy_and_a_broken_one_leaves_the_old() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let enters = || site.radclient(PASSWORD_ONLY).login(&user(1), &password(1)) == Reply::Accept;
    assert!(enters());

    site.write_policy(DENY_ALL);
    assert!(enters(), "nothing changes before a reload");
    let reload = site.cli(&["reload"]);
    assert!(reload.status.success(), "{}", text(&reload));
    assert!(!enters());

    site.write_policy("[[rule]]\nname = \"broken\"\nrequire = \"pasword\"\n");
    let reload = site.cli(&["reload"]);
    assert!(!reload.status.success(), "a broken policy is refused");
    assert!(
        text(&reload).contains("10-test.toml:3"),
        "with its place: {}",
        text(&reload)
    );
    assert!(!enters(), "the old policy is in force");
    site.signal(Signal::SIGHUP);
    assert!(!enters(), "by signal as well");

    site.write_policy(PASSWORD_FOR_ALL);
    site.signal(Signal::SIGHUP);
    until("the signal is heeded", enters);
    let audit = site.audit().join("\n");
    assert!(audit.contains("reload"), "{audit}");
}

#[test]
fn a_reload_takes_new_clients_and_secrets() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let door = site.radclient(PASSWORD_ONLY);
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept);
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    let moved = configuration.replace("[\"127.0.0.3\"]", "[\"127.0.0.9\"]");
    assert_ne!(moved, configuration);
    site.configure(&moved);
    let reload = site.cli(&["reload"]);
    assert!(reload.status.success(), "{}", text(&reload));
    let attributes = crate::support::radclient::request(&user(1), &password(1), None);
    assert_eq!(door.ask_in_vain(&attributes, 2), Reply::Silence);
    assert_eq!(site.radclient("127.0.0.9").login(&user(1), &password(1)), Reply::Accept);
}

#[test]
fn check_names_every_fault_with_its_place() {
    let directory = Slapd::start(3);
    let site = Portcullis::install(&directory);
    let sound = run(site.command().args(["check", "-c", "portcullis.toml"]), "");
    assert!(sound.status.success(), "{}", text(&sound));

    // What cannot be read hides what does not fit together, and both hide what the files named lack.
    let configurations = [
        ("unreadable", include_str!("faulty/unreadable.toml")),
        ("secrets", include_str!("faulty/secrets.toml")),
        ("misfits", include_str!("faulty/misfits.toml")),
    ];
    for (name, text) in configurations {
        site.configure(text);
        assert_faults(&site, name);
    }
    let site = Portcullis::install(&directory);
    site.write_policy(include_str!("faulty/policy.toml"));
    assert_faults(&site, "policy");
}

/// What `check` prints, with the test's own folder and ports left out.
fn assert_faults(site: &Portcullis, name: &str) {
    let checked = run(site.command().args(["check", "-c", "portcullis.toml"]), "");
    assert_eq!(checked.status.code(), Some(2), "{name}: {}", text(&checked));
    let folder = site.folder().display().to_string().replace('.', "\\.");
    insta::with_settings!({ filters => vec![(folder.as_str(), "[folder]")], omit_expression => true }, {
        insta::assert_snapshot!(format!("check_{name}"), text(&checked));
    });
}

#[test]
fn the_server_shows_how_it_is_and_what_it_decided() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let status = site.json(&["status"]).to_string();
    for expected in ["main", "sled", "radius", "wiki-tls"] {
        assert!(status.contains(expected), "{expected}: {status}");
    }
    site.radclient(PASSWORD_ONLY).login(&user(4), "wrong");
    let found = site
        .json(&["audit", "search", "--oldest-first", "--user", &user(4)])
        .to_string();
    assert!(found.contains("wrong-password"), "{found}");
    assert!(!found.contains("\"wrong\""), "no secrets: {found}");
    let shown = site.json(&["user", "show", &user(4)]).to_string();
    assert!(shown.contains(&user(4)), "{shown}");
    let found = site.json(&["user", "find", &user(4)]).to_string();
    assert!(found.contains(&user(4)), "{found}");
    let unknown = site.cli(&["user", "show", "nobody"]);
    assert!(!unknown.status.success());
}

#[test]
fn the_policies_that_are_shipped_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("portcullis.toml");
    let clients: String = ["vpn", "switches", "wifi", "wiki"]
        .iter()
        .zip(1..)
        .map(|(name, number)| {
            format!(
                "[[client]]\nname = \"{name}\"\naddress = [\"127.0.0.{number}\"]\nsecret = \"a-secret-of-the-tests\"\n"
            )
        })
        .collect();
    let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/policies");
    let written = format!(
        "[node]\nname = \"shipped\"\n[policies]\npath = \"{policies}\"\n[[directory]]\nname = \"people\"\nkind = \"local\"\n\
         ldif = \"people.ldif\"\n[[radius]]\nlisten = \"127.0.0.1:0\"\n{clients}"
    );
    fs::write(&configuration, written).unwrap();
    fs::write(
        folder.path().join("people.ldif"),
        "dn: dc=example,dc=org\nobjectClass: domain\ndc: example\n",
    )
    .unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
    let checked = run(check.arg("check").arg("-c").arg(&configuration), "");
    let said = text(&checked);
    assert!(checked.status.success() && !said.contains("warning"), "{said}");
}
