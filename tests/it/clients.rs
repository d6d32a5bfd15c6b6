//! What `client list|show|test|forget` tells of real clients that are configured wrong.

use std::fs;

use serde_json::Value;

use crate::support::portcullis::{APPEND, DIALOG, PASSWORD_ONLY, Portcullis};
use crate::support::process::{free_port, text, until};
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{Slapd, password, user};

/// An installation whose dialog client is judged by what it has been seen to do.
fn learning(directory: &Slapd) -> Portcullis {
    let mut site = Portcullis::install(directory);
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    site.configure(&configuration.replace(
        "require_message_authenticator = \"no\"",
        "require_message_authenticator = \"auto\"",
    ));
    site.serve();
    site
}

fn unsigned(more: &str) -> String {
    request(&user(1), &password(1), None).replace("Message-Authenticator = 0x00\n", more)
}

fn troubles(site: &Portcullis, client: &str) -> Vec<Value> {
    site.json(&["client", "show", client])["troubles"]
        .as_array()
        .unwrap()
        .clone()
}

#[test]
fn what_a_client_does_wrong_is_told_with_a_remedy() {
    let directory = Slapd::start(5);
    let site = Portcullis::start(&directory);
    let door = site.radclient(PASSWORD_ONLY);
    assert_eq!(door.login(&user(1), &password(1)), Reply::Accept);

    let chap = unsigned("Message-Authenticator = 0x00\n").replace("User-Password", "CHAP-Password");
    assert_eq!(door.ask(&chap), Reply::Reject);
    assert_eq!(door.ask_in_vain(&unsigned(""), 1), Reply::Silence);
    assert_eq!(
        door.clone()
            .with_secret("another")
            .ask_in_vain(&request(&user(1), "x", None), 1),
        Reply::Silence
    );
    let stranger = site.radclient("127.0.0.77");
    assert_eq!(stranger.ask_in_vain(&unsigned(""), 1), Reply::Silence);

    let found = troubles(&site, "door");
    let told: Vec<(&str, bool)> = found
        .iter()
        .map(|trouble| (trouble["what"].as_str().unwrap(), trouble["dropped"].as_bool().unwrap()))
        .collect();
    assert_eq!(told[0], ("bad Message-Authenticator", true), "the latest first");
    assert_eq!(told[1], ("missing Message-Authenticator", true));
    assert!(told[2].0.starts_with("CHAP") && !told[2].1, "{told:?}");
    let shown = text(&site.cli(&["client", "show", "door"]));
    for remedy in [
        "the shared secret differs",
        "require_message_authenticator = \"auto\"",
        "configure the client for PAP",
    ] {
        assert!(shown.contains(remedy), "{remedy}\n{shown}");
    }

    let list = site.json(&["client", "list"]);
    let row = list
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "door")
        .unwrap();
    assert_eq!((row["requests"].as_u64(), row["dropped"].as_u64()), (Some(2), Some(2)));
    assert!(row["last_seen"].is_string());
    assert_eq!(row["last_trouble"]["what"], "bad Message-Authenticator");
    let strangers = site.json(&["client", "list", "--unknown"]);
    assert_eq!(
        (&strangers[0]["address"], &strangers[0]["packets"]),
        (&"127.0.0.77".into(), &1.into())
    );

    // A reload does not make anybody forget.
    assert!(site.cli(&["reload"]).status.success());
    assert_eq!(troubles(&site, "door").len(), 3);
    let missing = site.cli(&["client", "show", "nobody"]);
    assert_eq!(missing.status.code(), Some(5), "{}", text(&missing));
}

#[test]
fn what_was_learned_outlives_the_process_until_it_is_forgotten() {
    let directory = Slapd::start(5);
    let mut site = learning(&directory);
    let bare = unsigned("");
    let challenge = |reply: &Reply| matches!(reply, Reply::Challenge { .. });
    assert!(challenge(&site.radclient(DIALOG).ask(&bare)), "nothing is known yet");
    let learned = |site: &Portcullis| site.json(&["client", "show", "vpn"])["learned"].clone();
    assert_eq!(learned(&site)[0]["habit"], "plain");

    assert!(challenge(&site.radclient(DIALOG).login(&user(1), &password(1))));
    assert_eq!(
        site.radclient(DIALOG).ask_in_vain(&bare, 1),
        Reply::Silence,
        "it signs, and must go on"
    );
    let known = learned(&site);
    assert_eq!(
        (&known[0]["habit"], &known[0]["address"]),
        (&"signs".into(), &DIALOG.into())
    );
    assert!(known[0]["since"].is_string());

    // In order behind it, so that what was learned is on disk before the process is killed.
    assert!(site.cli(&["client", "forget", "door"]).status.success());
    site.kill_and_serve();
    assert_eq!(learned(&site), known, "since when, too");
    assert_eq!(site.radclient(DIALOG).ask_in_vain(&bare, 1), Reply::Silence);

    assert_eq!(site.json(&["client", "forget", "vpn", DIALOG])["addresses"][0], DIALOG);
    assert!(challenge(&site.radclient(DIALOG).ask(&bare)), "it may be plain again");
    assert!(site.cli(&["client", "forget", "vpn"]).status.success());
    site.kill_and_serve();
    assert_eq!(learned(&site).as_array().unwrap().len(), 0);
    let audit = site.audit().join("\n");
    assert!(
        audit.contains("client.forget") && audit.contains("what was learned of 127.0.0.1"),
        "{audit}"
    );
    assert_eq!(site.cli(&["client", "forget", "nobody"]).status.code(), Some(5));
}

#[test]
fn a_test_asks_our_own_listener_with_the_clients_secret() {
    let mut directory = Slapd::start(5);
    let mut site = learning(&directory);
    let configuration = fs::read_to_string(site.configuration_file()).unwrap();
    let port = free_port();
    site.configure(&format!(
        "{configuration}\n[[radius]]\nname = \"bare\"\nlisten = \"127.0.0.1:{port}\"\ntransport = \"tcp\"\n\
         allow_plaintext_tcp = true\n"
    ));
    site.kill_and_serve();
    let report = |client: &str| {
        let output = site.cli(&["client", "test", client, "--json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        (output.status.code(), report["findings"].as_array().unwrap().clone())
    };
    for (client, address) in [("vpn", DIALOG), ("append", APPEND), ("door", PASSWORD_ONLY)] {
        let (code, findings) = report(client);
        assert_eq!(code, Some(0), "{findings:?}");
        let asked = format!("answers Status-Server from {address}");
        let good = |finding: &&Value| finding["grade"] == "good" && finding["text"].as_str().unwrap().contains(&asked);
        assert!(findings.iter().any(|finding| good(&finding)), "{findings:?}");
    }
    // So it does over TCP.
    let (_, findings) = report("vpn");
    let tcp = findings
        .iter()
        .find(|finding| finding["about"].as_str().unwrap().contains("\"bare\""));
    assert_eq!(tcp.expect("a word on it")["grade"], "good", "{findings:?}");
    // A listener that does not answer, and a directory that is gone, are faults.
    directory.kill();
    until("the directory is known to be gone", || {
        site.radclient(PASSWORD_ONLY)
            .ask_in_vain(&request(&user(2), &password(2), None), 1);
        report("door").0 == Some(1)
    });
    assert_eq!(site.cli(&["client", "test", "nobody"]).status.code(), Some(5));
}
