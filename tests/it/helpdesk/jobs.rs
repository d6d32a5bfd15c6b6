//! Many people at once, and later: over the death of the process.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use portcullis::clock;
use serde_json::Value;

use super::{audited, door};
use crate::support::portcullis::Portcullis;
use crate::support::process::{text, until};
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, group_dn, password, user};

const ALL: [&str; 5] = ["must-change", "--directory", "main", "--filter", "(uid=user*)"];

/// How often each person was forced, by the audit.
fn forced(site: &Portcullis) -> BTreeMap<String, usize> {
    let records = site.json(&[
        "audit",
        "search",
        "--oldest-first",
        "--action",
        "user.must-change",
        "-n",
        "10000",
    ]);
    let mut counts = BTreeMap::new();
    for record in records.as_array().unwrap() {
        *counts.entry(record["target"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    counts
}

fn ended(site: &Portcullis, job: &str) -> Value {
    let mut last = Value::Null;
    until("the job is over", || {
        let output = site.cli(&["schedule", "show", job, "--json"]);
        last = serde_json::from_slice(&output.stdout).unwrap_or_default();
        matches!(last["state"].as_str(), Some("done" | "failed" | "cancelled"))
    });
    last
}

#[test]
fn a_filter_finds_who_is_meant_and_says_who_is_not() {
    let directory = Slapd::writable(40);
    let site = Portcullis::start(&directory);
    site.enrol(&user(1));
    let dry = |more: &[&str]| {
        let output = site.cli(&[&["user"], &ALL[..], more, &["--dry-run"]].concat());
        assert!(output.status.success(), "{}", text(&output));
        let told = text(&output);
        told.lines().last().unwrap().to_owned()
    };
    assert_eq!(dry(&[]), "40 would be meant, 0 left out");
    assert_eq!(dry(&["--enrolled"]), "1 would be meant, 39 left out");
    assert_eq!(dry(&["--not-enrolled"]), "39 would be meant, 1 left out");
    assert_eq!(dry(&["--group", "group1"]), "4 would be meant, 36 left out");
    assert_eq!(dry(&["--group", &group_dn(2)]), "4 would be meant, 36 left out");
    assert_eq!(door(&site, 2, &password(2)), Reply::Accept, "nothing is done");
    // Many are asked about, and there is nobody to ask.
    let many = site.cli(&[&["user"], &ALL[..]].concat());
    assert_eq!(many.status.code(), Some(2), "{}", text(&many));
    assert!(text(&many).contains("40 people"), "{}", text(&many));
    let few = site.json(&[&["user"], &ALL[..], &["--group", "group1"]].concat());
    assert_eq!(
        (&few["state"], &few["progress"]["done"], &few["progress"]["skipped"]),
        (&Value::from("done"), &Value::from(4), &Value::from(36))
    );
    assert_eq!(door(&site, 11, &password(11)), Reply::Reject);
    assert_eq!(door(&site, 12, &password(12)), Reply::Accept);
    assert_eq!(dry(&["--group", "group1"]), "0 would be meant, 40 left out");
    assert_eq!(
        audited(&site, "schedule"),
        ["schedule.add accept", "schedule.run accept", "schedule.done accept"]
    );
    assert_eq!(audited(&site, "user.must-change").len(), 4);
}

#[test]
fn whom_a_directory_does_not_change_is_named_and_held_to_it_here() {
    // The account for look-ups may not write.
    let directory = Slapd::start(3);
    let site = Portcullis::start(&directory);
    let output = site.cli(&[&["user"], &ALL[..], &["--yes", "--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let job: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&job["state"], &job["progress"]["failed"]),
        (&Value::from("done"), &Value::from(3))
    );
    assert_eq!(job["progress"]["failures"].as_array().unwrap().len(), 3);
    assert_eq!(door(&site, 1, &password(1)), Reply::Reject);
}

#[test]
fn a_directory_that_gives_no_more_names_fails_the_job_and_is_told_of() {
    // slapd's own limit is 500 entries.
    let directory = Slapd::start(510);
    let site = Portcullis::start(&directory);
    let output = site.cli(&[&["user"], &ALL[..], &["--yes", "--json"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let job: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(job["state"], "failed");
    let error = job["error"].as_str().unwrap();
    assert!(error.contains("gives the account for look-ups no more"), "{error}");
}

#[test]
fn killed_again_and_again_each_person_is_forced_once() {
    let people = 450;
    let directory = Slapd::writable(people);
    let mut site = Portcullis::start(&directory);
    let mut command = site.command();
    command
        .args(["user"])
        .args(ALL)
        .args(["--yes", "--socket"])
        .arg(site.path("state/admin.sock"));
    let mut asking = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut kills = 0;
    loop {
        until("the job is known", || {
            let jobs = site.json(&["schedule", "list", "--all"]);
            !jobs.as_array().unwrap().is_empty()
        });
        std::thread::sleep(Duration::from_millis(150));
        let job = site.cli(&["schedule", "show", "1", "--json"]);
        let job: Value = serde_json::from_slice(&job.stdout).unwrap();
        if job["state"] == "done" || kills == 4 {
            break;
        }
        site.kill_and_serve();
        kills += 1;
    }
    asking.wait().unwrap();
    assert!(kills > 0, "it was killed at least once");
    let job = ended(&site, "1");
    assert_eq!(
        (&job["state"], &job["progress"]["done"]),
        (&Value::from("done"), &Value::from(people))
    );
    let counts = forced(&site);
    assert_eq!(counts.len(), people);
    assert!(counts.values().all(|&count| count == 1), "{counts:?}");
    for number in [1, people / 2, people] {
        assert_eq!(door(&site, number, &password(number)), Reply::Reject);
    }
    let verified = site.cli(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", text(&verified));
}

#[test]
fn what_is_scheduled_is_done_at_its_time_and_at_the_next_start_if_that_was_missed() {
    let directory = Slapd::writable(5);
    let mut site = Portcullis::start(&directory);
    let soon = || (clock::now() + Duration::from_secs(3)).to_string();
    let first = site.json(&["user", "disable", &user(1), "--at", &soon()]);
    let late = (clock::now() + Duration::from_secs(4)).to_string();
    site.json(&["user", "must-change", &user(2), "--at", &late]);
    site.json(&[
        "deny",
        &user(3),
        "--from",
        &late,
        "--until",
        "2h",
        "--reason",
        "last day",
    ]);
    site.json(&[
        "deny",
        "--group",
        "group4",
        "--from",
        &late,
        "--reason",
        "contract ended",
    ]);
    let never = site.json(&["user", "disable", &user(5), "--at", "1h"]);
    assert_eq!(site.json(&["schedule", "list"]).as_array().unwrap().len(), 5);
    assert_eq!(door(&site, 1, &password(1)), Reply::Accept);
    let number = |job: &Value| job["job"].as_u64().unwrap().to_string();
    let cancelled = site.json(&["schedule", "cancel", &number(&never)]);
    assert_eq!(cancelled["state"], "cancelled");
    assert_eq!(ended(&site, &number(&first))["state"], "done");
    assert_eq!(door(&site, 1, &password(1)), Reply::Reject);
    // Nobody is there when the others are due.
    site.kill();
    std::thread::sleep(Duration::from_secs(3));
    site.serve();
    for job in ["2", "3", "4"] {
        let over = ended(&site, job);
        assert_eq!(
            (&over["state"], &over["progress"]["done"]),
            (&Value::from("done"), &Value::from(1)),
            "{over}"
        );
    }
    for person in [2, 3, 4] {
        assert_eq!(door(&site, person, &password(person)), Reply::Reject, "{person}");
    }
    assert_eq!(door(&site, 5, &password(5)), Reply::Accept);
    assert!(site.json(&["schedule", "list"]).as_array().unwrap().is_empty());
    assert_eq!(audited(&site, "user.deny"), ["user.deny accept"]);
    assert_eq!(audited(&site, "group.deny"), ["group.deny accept"]);
    // Lifted, and the same job does not say it again.
    site.json(&["deny", &user(3), "--lift"]);
    site.kill_and_serve();
    assert_eq!(door(&site, 3, &password(3)), Reply::Accept);
    let past = site.cli(&["user", "disable", &user(5), "--at", "2001-01-01"]);
    assert_eq!(past.status.code(), Some(2), "{}", text(&past));
}
