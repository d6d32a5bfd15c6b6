//! Trying parts one by one, reports, and the metrics behind them.

use crate::support::portcullis::{PASSWORD_ONLY, Portcullis};
use crate::support::process::{text, until};
use crate::support::slapd::{Slapd, password, user};

#[test]
fn every_part_is_tried_as_it_is_used() {
    let mut directory = Slapd::start(5);
    let mut site = Portcullis::start(&directory);
    let tested = site.json(&["test", "--all"]);
    let parts = tested["parts"].as_array().unwrap();
    let names: Vec<String> = parts
        .iter()
        .map(|part| format!("{}:{}", part["kind"].as_str().unwrap(), part["name"].as_str().unwrap()))
        .collect();
    for expected in ["listener:wiki", "listener:wiki-tls", "directory:main", "store:store"] {
        assert!(names.iter().any(|name| name == expected), "{expected}: {names:?}");
    }
    assert!(parts.iter().all(|part| part["grade"] == "good"), "{tested:#}");
    let one = site.cli(&["test", "directory:main"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one));
    let unknown = site.cli(&["test", "nothing"]);
    assert_eq!(unknown.status.code(), Some(5), "{}", text(&unknown));
    assert!(text(&unknown).contains("directory:main"), "{}", text(&unknown));

    let status = site.json(&["status"]);
    let server = &status["directories"][0]["servers"][0];
    assert!(
        server["last"].is_string() && server["latency_ms"].is_number(),
        "{server}"
    );
    assert_eq!(status["nodes"][0]["role"], "single");

    directory.kill();
    let broken = site.cli(&["test", "main"]);
    assert_eq!(broken.status.code(), Some(1), "{}", text(&broken));
    assert!(text(&broken).contains("remedy"), "{}", text(&broken));
    let status = site.cli(&["status", "--probe", "--strict"]);
    assert_eq!(status.status.code(), Some(1), "{}", text(&status));
    assert!(site.terminate().success());
    assert_eq!(site.cli(&["test", "--all"]).status.code(), Some(3));
}

#[test]
fn reports_count_what_happened() {
    let directory = Slapd::start(20);
    let site = Portcullis::start(&directory);
    let door = site.radclient(PASSWORD_ONLY);
    for number in 1..4 {
        door.login(&user(number), &password(number));
    }
    door.login(&user(4), "wrong");
    site.enrol(&user(5));
    let logins = site.json(&["report", "logins"]);
    assert_eq!(logins["total"], serde_json::json!([3, 0, 1, 0]), "{logins:#}");
    let reasons = site.json(&["report", "logins", "--by", "reason"]).to_string();
    assert!(reasons.contains("wrong-password"), "{reasons}");
    let none = site.json(&["report", "logins", "--until", "2020-01-01"]);
    assert_eq!(none["rows"], serde_json::json!([]));
    let helpdesk = site.json(&["report", "helpdesk"]).to_string();
    assert!(helpdesk.contains("token.enrol"), "{helpdesk}");
    let factors = site.json(&["report", "factors"]);
    assert_eq!(factors["rows"][0]["of"][0], "password");
    let enrolment = site.json(&["report", "enrolment"]);
    let column = |report: &serde_json::Value, name: &str| {
        let columns = report["columns"].as_array().unwrap();
        let at = columns.iter().position(|column| column == name).unwrap();
        report["total"][at].as_u64().unwrap()
    };
    assert!(
        column(&enrolment, "people") >= 20,
        "listed by the directory: {enrolment:#}"
    );
    assert_eq!(column(&enrolment, "registered"), 1, "{enrolment:#}");
    let group = site.json(&["report", "enrolment", "--directory", "main", "--group", "group5"]);
    assert_eq!(
        (column(&group, "people"), column(&group, "registered")),
        (2, 1),
        "{group:#}"
    );
    let csv = text(&site.cli(&["report", "logins", "--by", "client", "--csv"]));
    assert_eq!(csv, "client,accept,restricted,reject,unavailable\ndoor,3,0,1,0\n");
    let mut command = site.command();
    command
        .env("LC_ALL", "C")
        .args(["report", "logins", "--by", "client", "--plot", "--socket"]);
    command.arg(site.path("state/admin.sock"));
    let plot = text(&crate::support::process::run(&mut command, ""));
    assert!(plot.contains("door  4  ####") && plot.is_ascii(), "{plot}");
    until("latencies are counted", || {
        let once = site.json(&["top", "--interval", "1"]);
        once["clients"][0]["client"] == "door"
    });
}
