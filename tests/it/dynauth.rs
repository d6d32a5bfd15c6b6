//! Sessions that are ended and changed at a NAS that others wrote.

use serde_json::Value;

use crate::support::nas::Nas;
use crate::support::portcullis::Portcullis;
use crate::support::process::{free_port, until};
use crate::support::radclient::SECRET;
use crate::support::slapd::{Slapd, user};

/// The NAS's loopback address.
const NAS: &str = "127.0.0.5";

/// An installation that has the NAS as a client, with these keys of `dynamic_authorization`.
fn site(directory: &Slapd, dynamic: &str) -> Portcullis {
    let mut site = Portcullis::install(directory);
    let client = format!(
        "[[client]]\nname = \"nas\"\naddress = [\"{NAS}\"]\nsecret = \"{SECRET}\"\ndirectory = \"main\"\n\
         dynamic_authorization = {{ {dynamic} }}\n"
    );
    let rules = "[[rule]]\nname = \"the NAS\"\nwhen = { client = [\"nas\"] }\nrequire = \"password\"\n";
    site.add(&client, rules);
    site.serve();
    site
}

/// What a command says in JSON, and how it ended.
fn asked(site: &Portcullis, arguments: &[&str]) -> (Value, Option<i32>) {
    let output = site.cli(&[arguments, &["--json"]].concat());
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (told, output.status.code())
}

#[test]
fn the_nas_is_asked_and_the_session_closes_with_its_stop() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(2), "Session-Context-Not-Removable");
    let site = site(&directory, &format!("port = {}", nas.port()));
    assert!(nas.account(site.radius(), "Start", "8A2F", &user(1)));
    let (report, exit) = asked(&site, &["session", "end", &user(1)]);
    assert_eq!(exit, Some(0), "{report}");
    let session = &report["sessions"][0];
    assert_eq!(session["outcome"], "acknowledged");
    assert_eq!(session["session"], "nas/edge/8A2F");
    let got = nas.got();
    assert_eq!(got.len(), 1, "{got:#?}");
    assert!(got[0].contains("Disconnect-Request"));
    for attribute in [
        "User-Name = \"user00001\"",
        "NAS-Identifier = \"edge\"",
        "NAS-Port = 7",
        "Calling-Station-Id = \"02-00-00-00-00-01\"",
        "Framed-IP-Address = 192.0.2.77",
        "Acct-Session-Id = \"8A2F\"",
        "Event-Timestamp = ",
        "Message-Authenticator = 0x",
    ] {
        assert!(got[0].contains(attribute), "{attribute} is missing in {}", got[0]);
    }
    assert!(nas.account(site.radius(), "Stop", "8A2F", &user(1)));
    let (report, exit) = asked(&site, &["session", "end", &user(1)]);
    assert_eq!((report["sessions"].as_array().unwrap().len(), exit), (0, Some(0)));
    let (_, exit) = {
        let output = site.cli(&["session", "end", "--session", "8A2F"]);
        ((), output.status.code())
    };
    assert_eq!(exit, Some(5), "no such session any more");
    let audit = site.audit().join("\n");
    assert!(audit.contains("nas/edge/8A2F: disconnect acknowledged"), "{audit}");
}

#[test]
fn a_refusal_is_told_by_name() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(2), "Session-Context-Not-Removable");
    let site = site(&directory, &format!("port = {}", nas.port()));
    assert!(nas.account(site.radius(), "Start", "1", &user(1)));
    assert!(nas.account(site.radius(), "Start", "2", &user(2)));
    let (report, exit) = asked(&site, &["session", "end", "--session", "2", "--client", "nas"]);
    assert_eq!(exit, Some(1));
    let session = &report["sessions"][0];
    assert_eq!(session["outcome"], "refused");
    assert_eq!(
        session["detail"],
        "Session-Context-Not-Removable (504): not while the backup runs"
    );
    assert_eq!(nas.got().len(), 1, "nothing was asked about the other session");
}

#[test]
fn who_does_not_answer_is_asked_again_and_named() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(2), "Session-Context-Not-Removable");
    let other = free_port();
    let site = site(&directory, &format!("port = {other}, timeout = \"200ms\", tries = 2"));
    assert!(nas.account(site.radius(), "Start", "1", &user(1)));
    let (report, exit) = asked(&site, &["session", "end", &user(1)]);
    assert_eq!(
        (&report["sessions"][0]["outcome"], exit),
        (&"no-answer".into(), Some(1))
    );
    // Still open, so it can be tried again.
    let (report, _) = asked(&site, &["session", "end", &user(1)]);
    assert_eq!(report["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn with_another_secret_the_nas_says_nothing() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(2), "Session-Context-Not-Removable");
    let dynamic = format!(
        "port = {}, timeout = \"500ms\", tries = 2, secret = \"another secret entirely\"",
        nas.port()
    );
    let site = site(&directory, &dynamic);
    assert!(nas.account(site.radius(), "Start", "1", &user(1)));
    let (report, exit) = asked(&site, &["session", "end", &user(1)]);
    assert_eq!(
        (&report["sessions"][0]["outcome"], exit),
        (&"no-answer".into(), Some(1))
    );
}

#[test]
fn a_denial_ends_the_sessions_and_stands_even_where_nobody_answers() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(2), "Session-Context-Not-Removable");
    let site = site(&directory, &format!("port = {}", nas.port()));
    assert!(nas.account(site.radius(), "Start", "1", &user(1)));
    assert!(nas.account(site.radius(), "Start", "2", &user(2)));
    let denied = site.json(&["deny", &user(1), "--reason", "laptop stolen"]);
    assert_eq!(denied["sessions"]["sessions"][0]["outcome"], "acknowledged");
    let denied = site.json(&["deny", &user(2), "--reason", "laptop stolen"]);
    assert_eq!(denied["sessions"]["sessions"][0]["outcome"], "refused");
    let listed = site.json(&["deny", "--list"]);
    assert_eq!(listed.as_array().unwrap().len(), 2, "both denials stand");
    let printed = site.cli(&["deny", &user(2), "--reason", "again"]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.contains("Session-Context-Not-Removable (504)"), "{printed}");
}

#[test]
fn policies_are_decided_again_for_open_sessions() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(9), "Session-Context-Not-Removable");
    let site = site(&directory, &format!("port = {}", nas.port()));
    for number in [1, 2] {
        assert!(nas.account(site.radius(), "Start", &number.to_string(), &user(number)));
    }
    let (report, exit) = asked(&site, &["session", "refresh"]);
    assert_eq!(exit, Some(0), "{report}");
    assert_eq!(report["sessions"][0]["outcome"], "unchanged", "{report}");
    assert_eq!(nas.got().len(), 0);

    let rules = format!(
        "[[rule]]\nname = \"not them\"\nwhen = {{ client = [\"nas\"], user = [\"{}\"] }}\ndeny = true\n\n\
         [[rule]]\nname = \"the NAS\"\nwhen = {{ client = [\"nas\"] }}\nrequire = \"password\"\n\
         reply = {{ Filter-Id = \"quarantine\" }}\n",
        user(1)
    );
    site.write_policy(&rules);
    site.json(&["reload"]);
    assert_eq!(nas.got().len(), 0, "a reload asks nobody by itself");
    let (report, exit) = asked(&site, &["session", "refresh"]);
    assert_eq!(exit, Some(0), "{report}");
    let row = |index: usize, key: &str| report["sessions"][index][key].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (row(0, "asked"), row(0, "because")),
        ("disconnect".into(), "policy".into())
    );
    assert_eq!(
        (row(1, "asked"), row(1, "because")),
        ("change".into(), "rule \"the NAS\"".into())
    );
    until("both requests are printed", || nas.got().len() == 2);
    let got = nas.got();
    let change = got.iter().find(|packet| packet.contains("CoA-Request")).unwrap();
    assert!(change.contains("Filter-Id = \"quarantine\""), "{change}");
    assert!(change.contains("Acct-Session-Id = \"2\""), "{change}");
    let end = got.iter().find(|packet| packet.contains("Disconnect-Request")).unwrap();
    assert!(end.contains("Acct-Session-Id = \"1\""), "{end}");
}
