//! Sessions that are ended and changed at a NAS that others wrote.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

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
    let mut site = install(directory, dynamic);
    site.serve();
    site
}

/// The same, not started.
fn install(directory: &Slapd, dynamic: &str) -> Portcullis {
    let site = Portcullis::install(directory);
    let client = format!(
        "[[client]]\nname = \"nas\"\naddress = [\"{NAS}\"]\nsecret = \"{SECRET}\"\ndirectory = \"main\"\n\
         dynamic_authorization = {{ {dynamic} }}\n"
    );
    let rules = "[[rule]]\nname = \"the NAS\"\nwhen = { client = [\"nas\"] }\nrequire = \"password\"\n";
    site.add(&client, rules);
    site
}

/// The open sessions.
fn names(site: &Portcullis) -> Vec<String> {
    let list = site.json(&["session", "list"]);
    let sessions = list["sessions"].as_array().unwrap();
    let name = |session: &Value| session["name"].as_str().unwrap().to_owned();
    sessions.iter().map(name).collect()
}

/// The metrics, as Prometheus asks for them.
fn scrape(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
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

#[test]
fn a_session_that_the_nas_does_not_know_is_closed_here() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(2), "Session-Context-Not-Found");
    let site = site(&directory, &format!("port = {}", nas.port()));
    assert!(nas.account(site.radius(), "Start", "1", &user(1)));
    assert!(nas.account(site.radius(), "Start", "2", &user(2)));
    let (report, exit) = asked(&site, &["session", "end", &user(2)]);
    let session = &report["sessions"][0];
    assert_eq!((&session["outcome"], exit), (&"gone".into(), Some(0)), "{report}");
    let detail = session["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("Session-Context-Not-Found (503)") && detail.ends_with("; closed here"),
        "{detail}"
    );
    assert_eq!(names(&site), ["nas/edge/1"]);
    let audit = site.audit().join("\n");
    assert!(audit.contains("nas/edge/2: its client has no such session"), "{audit}");
    assert!(audit.contains("nas/edge/2: disconnect gone"), "{audit}");
    // It has one after all.
    assert!(nas.account(site.radius(), "Interim-Update", "2", &user(2)));
    assert_eq!(names(&site), ["nas/edge/1", "nas/edge/2"]);
}

#[test]
fn a_session_that_ends_is_shown_as_such() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(2), "Session-Context-Not-Removable");
    let site = site(&directory, &format!("port = {}", nas.port()));
    assert!(nas.account(site.radius(), "Start", "1", &user(1)));
    assert!(nas.account(site.radius(), "Start", "2", &user(2)));
    assert_eq!(site.json(&["user", "show", &user(1)])["sessions"], 1);
    let printed = |arguments: &[&str]| String::from_utf8(site.cli(arguments).stdout).unwrap();
    assert!(!printed(&["session", "list"]).contains("ending"));
    let _ = asked(&site, &["session", "end", &user(1)]);
    let _ = asked(&site, &["session", "end", &user(2)]);
    let list = printed(&["session", "list"]);
    let line = |id: &str| {
        list.lines()
            .find(|line| line.contains(id))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(line("nas/edge/1").contains(" ending "), "{list}");
    assert!(line("nas/edge/2").contains(" open "), "{list}");
    assert!(site.json(&["session", "show", "1"])["ending"].is_string());
    assert!(site.json(&["session", "show", "2"])["ending"].is_null());
    assert!(printed(&["session", "show", "1"]).contains("as its client was asked to"));
    assert!(printed(&["user", "show", &user(2)]).contains("1 open"));
}

#[test]
fn a_session_that_a_denied_person_begins_is_ended() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(9), "Session-Context-Not-Removable");
    let site = site(&directory, &format!("port = {}", nas.port()));
    site.json(&["deny", &user(1), "--reason", "laptop stolen"]);
    // Let in before that, reported after it.
    assert!(nas.account(site.radius(), "Start", "2", &user(2)));
    assert!(nas.account(site.radius(), "Start", "1", &user(1)));
    until("the NAS is asked", || nas.got().len() == 1);
    assert!(nas.got()[0].contains("Acct-Session-Id = \"1\""), "{:?}", nas.got());
    until("it is written down", || {
        let audit = site.audit();
        let found = audit
            .iter()
            .find(|line| line.contains("nas/edge/1: disconnect acknowledged (denied)"));
        found.is_some_and(|line| line.contains("portcullis"))
    });
    // Said again while it ends: it is not asked again.
    assert!(nas.account(site.radius(), "Interim-Update", "1", &user(1)));
    // And one that goes on from before a report could tell whose it is.
    site.json(&["deny", &user(3), "--reason", "laptop stolen"]);
    assert!(nas.account(site.radius(), "Interim-Update", "3", &user(3)));
    until("the NAS is asked", || nas.got().len() == 2);
    assert!(nas.got()[1].contains("Acct-Session-Id = \"3\""), "{:?}", nas.got());
}

#[test]
fn a_session_can_be_named_by_its_class() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(9), "Session-Context-Not-Removable");
    let dynamic = format!("port = {}, attributes = [\"Acct-Session-Id\", \"Class\"]", nas.port());
    let site = site(&directory, &dynamic);
    assert!(nas.account_saying(site.radius(), "Start", "1", &user(1), "Class = 0x0badcafe\n"));
    let (report, exit) = asked(&site, &["session", "end", &user(1)]);
    assert_eq!(exit, Some(0), "{report}");
    assert!(nas.got()[0].contains("Class = 0x0badcafe"), "{:?}", nas.got());
}

#[test]
fn what_came_of_requests_is_counted() {
    let directory = Slapd::start(20);
    let nas = Nas::start(NAS, &user(2), "Session-Context-Not-Removable");
    let metrics = free_port();
    let mut site = install(&directory, &format!("port = {}", nas.port()));
    site.add(&format!("[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n"), "");
    site.serve();
    for number in [1, 2] {
        assert!(nas.account(site.radius(), "Start", &number.to_string(), &user(number)));
        let _ = asked(&site, &["session", "end", &user(number)]);
    }
    let page = scrape(metrics);
    for line in [
        "portcullis_dynamic_authorization_total{client=\"nas\",kind=\"disconnect\",outcome=\"acknowledged\"} 1",
        "portcullis_dynamic_authorization_total{client=\"nas\",kind=\"disconnect\",outcome=\"refused\"} 1",
        "portcullis_dynamic_authorization_unproven_total{client=\"nas\"} 0",
    ] {
        assert!(page.contains(line), "{page}");
    }
}
