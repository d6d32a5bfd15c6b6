//! The audit on its way to rsyslog, over TLS, through deaths of either.

use std::collections::BTreeSet;

use crate::support::certificates::Certificates;
use crate::support::portcullis::{PASSWORD_ONLY, Portcullis};
use crate::support::process::{text, until};
use crate::support::rsyslog::Rsyslog;
use crate::support::slapd::{Slapd, password, user};

fn stream(rsyslog: &Rsyslog, authority: &Certificates) -> String {
    format!(
        "[[audit_stream]]\nname = \"siem\"\nkind = \"syslog\"\nserver = \"127.0.0.1:{}\"\nca_file = \"{}\"\ntimeout = \"2s\"\n",
        rsyslog.port(),
        authority.authority.display()
    )
}

/// Sequence of the newest record of ours.
fn head(site: &Portcullis) -> u64 {
    site.json(&["status"])["store"]["audit_sequence"].as_u64().unwrap()
}

fn has_all(rsyslog: &Rsyslog, head: u64) -> bool {
    let have: BTreeSet<u64> = rsyslog.sequences().into_iter().collect();
    (1..=head).all(|sequence| have.contains(&sequence))
}

#[test]
fn nothing_is_lost_over_the_death_of_either_side() {
    let directory = Slapd::start(20);
    let mut rsyslog = Rsyslog::install();
    rsyslog.run();
    let mut site = Portcullis::install(&directory);
    site.add(&stream(&rsyslog, rsyslog.certificates()), "");
    site.serve();
    let door = site.radclient(PASSWORD_ONLY);
    door.login(&user(1), &password(1));
    door.login(&user(2), "wrong");
    until("the collector has everything", || has_all(&rsyslog, head(&site)));
    let lines = rsyslog.lines();
    let refused = lines.iter().find(|line| line.contains("outcome=\"reject\"")).unwrap();
    let expected = "portcullis|login|test|warning|[audit@32473 sequence=\"";
    assert!(refused.starts_with(expected), "its parser reads it: {refused}");
    assert!(refused.contains("reason=\"wrong-password\""), "{refused}");
    let sequences = rsyslog.sequences();
    assert!(sequences.is_sorted(), "in order: {sequences:?}");
    until("it is confirmed", || {
        let status = site.json(&["status"]);
        status["streams"][0]["waiting"] == 0 && status["streams"][0]["error"].is_null()
    });

    // The collector dies, with what it was sent before in its file.
    rsyslog.kill();
    for number in 3..8 {
        door.login(&user(number), &password(number));
    }
    until("the outage shows", || {
        let status = site.json(&["status"]);
        status["streams"][0]["waiting"].as_u64() >= Some(5) && !status["streams"][0]["error"].is_null()
    });
    let tested = site.cli(&["test", "siem"]);
    assert_eq!(tested.status.code(), Some(1), "{}", text(&tested));
    assert!(text(&tested).contains("not lost"), "{}", text(&tested));

    // So do we, in the middle of it.
    site.kill_and_serve();
    let door = site.radclient(PASSWORD_ONLY);
    door.login(&user(8), &password(8));
    rsyslog.run();
    until("the collector has caught up", || has_all(&rsyslog, head(&site)));
    for number in 9..12 {
        door.login(&user(number), &password(number));
        site.kill_and_serve();
    }
    until("nothing is missing after three deaths", || {
        has_all(&rsyslog, head(&site))
    });
    assert_eq!(site.cli(&["test", "siem"]).status.code(), Some(0));
}

#[test]
fn a_collector_with_another_certificate_gets_nothing() {
    let directory = Slapd::start(3);
    let mut rsyslog = Rsyslog::install();
    rsyslog.run();
    let folder = tempfile::tempdir().unwrap();
    let strangers = Certificates::make(folder.path());
    let mut site = Portcullis::install(&directory);
    site.add(&stream(&rsyslog, &strangers), "");
    site.serve();
    until("it is told why", || {
        let status = site.json(&["status"]);
        status["streams"][0]["error"]
            .as_str()
            .is_some_and(|error| error.contains("no TLS"))
    });
    assert!(rsyslog.lines().is_empty(), "{:?}", rsyslog.lines());
    // With the right authority it goes on, from the beginning, without a restart.
    let configuration = std::fs::read_to_string(site.configuration_file()).unwrap();
    let wrong = strangers.authority.display().to_string();
    let right = rsyslog.certificates().authority.display().to_string();
    site.configure(&configuration.replace(&wrong, &right));
    let reload = site.cli(&["reload"]);
    assert!(reload.status.success(), "{}", text(&reload));
    until("the collector has everything", || has_all(&rsyslog, head(&site)));
}

#[test]
fn exports_are_whole_and_in_their_forms() {
    let directory = Slapd::start(5);
    let site = Portcullis::start(&directory);
    site.radclient(PASSWORD_ONLY).login(&user(1), &password(1));
    site.radclient(PASSWORD_ONLY).login(&user(2), "wrong");
    let all = site.json(&["audit", "search", "--oldest-first"]);
    let count = all.as_array().unwrap().len();
    let file = |name: &str| site.path(name);
    for format in ["json", "jsonl", "csv", "syslog"] {
        let to = file(&format!("audit.{format}"));
        let written = site.cli(&["audit", "export", "--format", format, "-o", to.to_str().unwrap()]);
        assert!(written.status.success(), "{}", text(&written));
    }
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let exported: serde_json::Value = serde_json::from_str(&read("audit.json")).unwrap();
    assert_eq!(exported.as_array().unwrap()[..count], all.as_array().unwrap()[..]);
    assert_eq!(read("audit.jsonl").lines().count(), exported.as_array().unwrap().len());
    let mut table = csv::Reader::from_path(file("audit.csv")).unwrap();
    let rows: Vec<csv::StringRecord> = table.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), exported.as_array().unwrap().len());
    assert_eq!(&rows[0][0], "1");
    assert!(
        read("audit.syslog")
            .lines()
            .all(|line| line.starts_with('<') && line.contains(" portcullis - "))
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file("audit.csv")).unwrap().permissions());
    assert_eq!(mode & 0o077, 0, "for nobody else");
    let printed = site.cli(&["audit", "export", "--format", "csv", "--outcome", "reject"]);
    assert!(
        text(&printed).contains("wrong-password") && !text(&printed).contains(",accept,"),
        "{}",
        text(&printed)
    );
}
