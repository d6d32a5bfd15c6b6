//! Applications that bind with every request: a code counts for a while, from where it was given.

use serde_json::Value;

use crate::support::clients::{ldap_command, ldapwhoami, python};
use crate::support::portcullis::Portcullis;
use crate::support::process::{run, text};
use crate::support::slapd::{Slapd, password, user, user_dn};
use crate::support::totp::code;

const RULE: &str = r#"
[[rule]]
name = "reused"
when = { service = ["wiki"], dn_suffix = ["ou=people,dc=example,dc=org"] }
require = { all = ["password", { any = ["totp", "recovery-code"] }] }
reuse = "10m"
"#;

/// A site, and what user 1 types with a code that has let them in once.
fn proven(directory: &Slapd) -> (Portcullis, String) {
    let site = Portcullis::install(directory);
    site.add("", RULE);
    let mut site = site;
    site.serve();
    let typed = appended(&site.enrol(&user(1)), 0);
    assert_eq!(bind(&site, &typed), Some(0));
    (site, typed)
}

fn appended(seed: &str, steps: i64) -> String {
    format!("{},{}", password(1), code(seed, steps))
}

fn bind(site: &Portcullis, typed: &str) -> Option<i32> {
    let output = ldapwhoami(&site.ldaps_url(), &user_dn(1), typed, site.certificates());
    output.status.code()
}

/// Binds anew as many times as told, from an address, and prints the result codes.
const BINDS: &str = "
import sys, ldap3
url, source, dn, password, count = sys.argv[1:]
for _ in range(int(count)):
    connection = ldap3.Connection(ldap3.Server(url), dn, password, source_address=source)
    connection.bind()
    print(connection.result['result'])
    connection.unbind()
";

fn binds_from(site: &Portcullis, source: &str, typed: &str, count: usize) -> Vec<String> {
    let count = count.to_string();
    let output = python(BINDS, &[&site.ldap_url(), source, &user_dn(1), typed, &count]);
    assert!(output.status.success(), "{}", text(&output));
    let codes = String::from_utf8_lossy(&output.stdout);
    codes.lines().map(ToOwned::to_owned).collect()
}

fn listed(site: &Portcullis) -> Vec<Value> {
    site.json(&["reuse", "list"])["reused"].as_array().unwrap().clone()
}

fn logins(site: &Portcullis) -> Vec<Value> {
    let found = site.json(&["audit", "search", "--oldest-first", "--action", "login", "-n", "1000"]);
    found.as_array().unwrap().clone()
}

#[test]
fn an_application_binds_ten_times_with_one_code_and_only_from_where_it_was_given() {
    let directory = Slapd::start(20);
    let (site, typed) = proven(&directory);
    // Another listener, so another application.
    assert_eq!(binds_from(&site, "127.0.0.1", &typed, 1), ["49"]);
    let seed = site.enrol(&user(1));
    let typed = appended(&seed, 1);
    assert_eq!(binds_from(&site, "127.0.0.1", &typed, 10), ["0"; 10]);
    assert_eq!(
        binds_from(&site, "127.0.0.1", &password(1), 2),
        ["0"; 2],
        "the password alone"
    );
    assert_eq!(binds_from(&site, "127.0.0.2", &typed, 1), ["49"]);
    assert_eq!(binds_from(&site, "127.0.0.1", "wrong", 1), ["49"]);
    assert_eq!(directory.failures(1), 0, "guesses are no business of the directory");

    let records = logins(&site);
    let of = |reason: &str| records.iter().filter(|record| record["reason"] == reason).count();
    assert_eq!(
        (of("code-reused"), of("code-replayed"), of("wrong-password")),
        (11, 2, 1)
    );
    let reused = records.iter().find(|record| record["reason"] == "code-reused").unwrap();
    assert_eq!(reused["factors"], serde_json::json!(["password", "totp"]));
    assert_eq!(reused["outcome"], "accept");
    let shown = site.json(&["user", "show", &user(1)]);
    assert_eq!(shown["failures"]["count"], 2, "the first was cleared by the new code");

    let entries = listed(&site);
    let entry = entries.iter().find(|entry| entry["client"] == "wiki").unwrap();
    assert_eq!(entry["login"], user(1));
    assert_eq!(entry["source"], "127.0.0.1");
    assert_eq!(entry["kinds"], serde_json::json!(["totp"]));
    assert_eq!(entry["rule"], "reused");
    let table = site.cli(&["reuse", "list", &user(1)]);
    assert!(text(&table).contains("APPLICATION"), "{}", text(&table));
    let explained = site.json(&["policy", "explain", &user(1), "--client", "wiki"]);
    let told = explained["text"].as_str().unwrap();
    assert!(told.contains("code reused for 10m"), "{told}");
    assert!(site.log().contains("code-reused"), "{}", site.log());
}

#[test]
fn a_password_changed_in_the_directory_itself_ends_it() {
    let directory = Slapd::start(20);
    let (site, typed) = proven(&directory);
    assert_eq!(bind(&site, &typed), Some(0));
    let mut change = ldap_command("ldappasswd", &directory.url(), &user_dn(1), &password(1));
    let changed = run(change.args(["-s", "changed"]), "");
    assert!(changed.status.success(), "{}", text(&changed));
    assert_eq!(bind(&site, &typed), Some(49));
    assert_eq!(directory.failures(1), 1, "the directory judged it");
    assert_eq!(listed(&site), Vec::<Value>::new());
    for _ in 0..6 {
        assert_eq!(bind(&site, &typed), Some(49));
    }
    assert_eq!(bind(&site, "changed"), Some(49), "nothing was proven with it");
    assert_eq!(directory.failures(1), 1, "and asked no more");
    let shown = site.json(&["user", "show", &user(1)]);
    assert_eq!(shown["failures"]["locked"], false, "{shown}");
    let fresh = site.enrol(&user(1));
    assert_eq!(bind(&site, &format!("changed,{}", code(&fresh, 0))), Some(0));
    assert_eq!(bind(&site, "changed"), Some(0));
}

#[test]
fn operators_end_it() {
    let directory = Slapd::start(20);
    let (site, mut typed) = proven(&directory);
    let name = user(1);
    let deny: &[&[&str]] = &[&["deny", &name, "--reason", "stolen"], &["deny", &name, "--lift"]];
    let switch: &[&[&str]] = &[&["token", "disable", &name, "1"], &["token", "enable", &name, "1"]];
    let recovery: &[&[&str]] = &[&["recovery-codes", "new", &name]];
    let passcode: &[&[&str]] = &[&["passcode", "issue", &name]];
    let revoke: &[&[&str]] = &[&["token", "revoke", &name, "2", "--yes"]];
    let clear: &[&[&str]] = &[&["reuse", "clear", &name]];
    let clear_all: &[&[&str]] = &[&["reuse", "clear", "--all", "--yes"]];
    let reload: &[&[&str]] = &[&["reload"]];
    for ending in [deny, switch, recovery, passcode, revoke, clear, clear_all, reload] {
        assert_eq!(bind(&site, &typed), Some(0), "before {ending:?}");
        for command in ending {
            let output = site.cli(command);
            assert!(output.status.success(), "{command:?}: {}", text(&output));
        }
        assert_eq!(listed(&site), Vec::<Value>::new(), "{ending:?}");
        assert_eq!(bind(&site, &typed), Some(49), "{ending:?}");
        assert_eq!(bind(&site, &password(1)), Some(49), "{ending:?}");
        // A new token, whose codes nobody has used.
        typed = appended(&site.enrol(&name), 0);
        assert_eq!(bind(&site, &typed), Some(0), "after {ending:?}");
    }
    let cleared = site.json(&["audit", "search", "--oldest-first", "--action", "reuse.clear"]);
    let reasons: Vec<&str> = cleared
        .as_array()
        .unwrap()
        .iter()
        .map(|record| record["reason"].as_str().unwrap())
        .collect();
    assert_eq!(reasons, [format!("{name}: 1 cleared").as_str(), "everybody: 1 cleared"]);
    let refused = site.cli(&["reuse", "clear", "--all"]);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "not without being asked: {}",
        text(&refused)
    );
}

#[test]
fn a_restart_forgets_it_and_every_reused_bind_is_durable_before_its_answer() {
    let directory = Slapd::start(20);
    let (mut site, typed) = proven(&directory);
    for _ in 0..3 {
        assert_eq!(bind(&site, &typed), Some(0));
    }
    site.kill_and_serve();
    let reused = logins(&site)
        .iter()
        .filter(|record| record["reason"] == "code-reused")
        .count();
    assert_eq!(reused, 3);
    assert_eq!(bind(&site, &typed), Some(49));
}

#[test]
fn a_lock_ends_it() {
    let directory = Slapd::start(20);
    let (site, typed) = proven(&directory);
    for _ in 0..5 {
        assert_eq!(bind(&site, "guess"), Some(49));
    }
    assert_eq!(listed(&site), Vec::<Value>::new());
    assert!(site.cli(&["user", "unlock", &user(1)]).status.success());
    assert_eq!(bind(&site, &password(1)), Some(49));
    assert_eq!(bind(&site, &typed), Some(49));
}

#[test]
fn binds_at_once_are_all_served() {
    let directory = Slapd::start(20);
    let (site, typed) = proven(&directory);
    let all: Vec<Option<i32>> = std::thread::scope(|scope| {
        let binds: Vec<_> = (0..12).map(|_| scope.spawn(|| bind(&site, &typed))).collect();
        binds.into_iter().map(|bind| bind.join().unwrap()).collect()
    });
    assert_eq!(all, vec![Some(0); 12]);
    assert!(site.cli(&["token", "disable", &user(1), "1"]).status.success());
    assert_eq!(bind(&site, &typed), Some(49));
}
