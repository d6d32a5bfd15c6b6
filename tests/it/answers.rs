//! Answers to security questions as operators handle them, and callers whom helpdesk finds out about.

use std::fs;

use crate::support::portcullis::{APPEND, Portcullis, find};
use crate::support::process::text;
use crate::support::radclient::Reply;
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::{code, wrong_code};

const QUESTIONS: &str = r#"
[questions]
define = 2
ask = 2
correct = 2
lock_after = 3

[[question]]
id = "school"
kind = "mandatory"
text = { en = "First school?", de = "Erste Schule?" }

[[question]]
id = "street"
text = { en = "First street?" }

[[question]]
id = "own"
kind = "user-defined"
text = { en = "A question of your own:" }

[[question]]
id = "word"
kind = "helpdesk"
text = { en = "A word for helpdesk:" }
"#;

fn site(directory: &Slapd) -> Portcullis {
    let mut site = Portcullis::install(directory);
    fs::write(site.path("policies/questions.toml"), QUESTIONS).unwrap();
    site.serve();
    site
}

/// What ends up on the disk of the installation, and in what it says.
fn everything(site: &Portcullis) -> String {
    let mut octets = site.log().into_bytes();
    octets.extend(site.audit().join("\n").into_bytes());
    let mut folders = vec![site.path("state")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                octets.extend(fs::read(path).unwrap_or_default());
            }
        }
    }
    String::from_utf8_lossy(&octets).into_owned()
}

#[test]
fn answers_live_as_operators_say() {
    let directory = Slapd::start(20);
    let mut site = site(&directory);
    let ana = user(1);
    let policy = site.json(&["answers", "questions", "--language", "de"]);
    assert_eq!(find(&policy, "text").unwrap(), "Erste Schule?");
    assert_eq!(find(&site.json(&["answers", "show", &ana]), "due").unwrap(), "missing");

    let given = r#"[{"question": "school", "answer": "Saint Hildegard"},
        {"question": "street", "answer": "Lindenstrasse"},
        {"question": "word", "answer": "Leuchtturm"},
        {"question": "own", "own": "First pet?", "answer": "Schnuffel"}]"#;
    let made = site.cli_with(&["answers", "define", &ana, "--stdin"], given);
    assert!(made.status.success(), "{}", text(&made));
    let twice = site.cli_with(&["answers", "define", &ana, "--stdin"], given);
    assert_eq!(twice.status.code(), Some(1), "{}", text(&twice));
    assert!(text(&twice).contains("--replace"), "{}", text(&twice));
    // Each question in turn: school, street, the own one with its wording, word.
    let typed = "Saint Hildegard\nLindenstrasse\nFirst pet?\nSchnuffel\n\n";
    let made = site.cli_with(&["answers", "define", &ana, "--replace"], typed);
    assert!(made.status.success(), "{}", text(&made));
    assert!(text(&made).contains("3 answers"), "{}", text(&made));
    let made = site.cli_with(&["answers", "define", &ana, "--stdin", "--replace"], given);
    assert!(made.status.success(), "{}", text(&made));

    site.kill_and_serve();
    let shown = site.json(&["answers", "show", &ana]);
    assert_eq!(find(&shown, "usable").unwrap(), true);
    assert_eq!(find(&shown, "defined").unwrap().as_array().map(Vec::len), Some(4));
    for verb in ["lock", "unlock", "must-update", "reconfirm"] {
        let done = site.cli(&["answers", verb, &ana]);
        assert!(done.status.success(), "{verb}: {}", text(&done));
    }
    let stored = everything(&site).to_lowercase();
    for secret in ["hildegard", "lindenstrasse", "leuchtturm", "schnuffel", "first pet"] {
        assert!(!stored.contains(secret), "{secret} is somewhere in the clear");
    }
    let gone = site.cli(&["answers", "unregister", &ana, "--yes"]);
    assert!(gone.status.success(), "{}", text(&gone));
    let again = site.cli(&["answers", "unregister", &ana, "--yes"]);
    assert_eq!(again.status.code(), Some(5), "{}", text(&again));

    let short = r#"[{"question": "school", "answer": "ab"}, {"question": "street", "answer": "Lindenstrasse"}]"#;
    let refused = site.cli_with(&["answers", "define", &ana, "--stdin"], short);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(text(&refused).contains("`school`: too short"), "{}", text(&refused));
    let garbled = site.cli_with(
        &["answers", "define", &ana, "--stdin"],
        "[{\"question\": \"school\", \"geheim\"}]",
    );
    assert_eq!(garbled.status.code(), Some(2), "{}", text(&garbled));
    assert!(!text(&garbled).contains("geheim"), "{}", text(&garbled));
}

#[test]
fn a_file_is_taken_whole_or_told_line_by_line() {
    let directory = Slapd::start(20);
    let site = site(&directory);
    let (ana, ben, carol, dora) = (user(1), user(2), user(3), user(4));
    let faulty = format!(
        "user,question,answer\n\
         {ana},school,Saint Hildegard\n\
         {ana},street,Lindenstrasse\n\
         {ben},school,Saint Hildegard\n\
         {ben},street,saint  HILDEGARD\n\
         {carol},school,Saint Hildegard\n\
         {carol},street\n\
         nobody-at-all,school,Saint Hildegard\n\
         nobody-at-all,street,Lindenstrasse\n\
         {dora},school,Saint Hildegard\n"
    );
    fs::write(site.path("answers.csv"), &faulty).unwrap();
    let faults = [
        ("answers.csv:4: ", "the same as another answer"),
        ("answers.csv:7: ", "not as many fields"),
        ("answers.csv:8: ", "nobody is called"),
        ("answers.csv:10: ", "1 answers"),
    ];
    for arguments in [
        &["answers", "import", "answers.csv", "--dry-run"][..],
        &["answers", "import", "answers.csv"],
    ] {
        let told = site.cli(arguments);
        assert_eq!(told.status.code(), Some(2), "{}", text(&told));
        for (place, what) in faults {
            let line = text(&told)
                .lines()
                .find(|line| line.starts_with(place))
                .map(str::to_owned);
            assert!(
                line.is_some_and(|line| line.contains(what)),
                "{place} {what}: {}",
                text(&told)
            );
        }
        assert!(!text(&told).to_lowercase().contains("hildegard"), "{}", text(&told));
        assert!(text(&told).contains("nothing was stored"), "{}", text(&told));
    }
    let usable = |user: &str| find(&site.json(&["answers", "show", user]), "usable").unwrap() == true;
    assert!(!usable(&ana));

    let some = site.cli(&["answers", "import", "answers.csv", "--skip-faulty", "--json"]);
    assert_eq!(some.status.code(), Some(1), "{}", text(&some));
    let report: serde_json::Value = serde_json::from_slice(&some.stdout).unwrap();
    assert_eq!(report["defined"], serde_json::json!([ana]));
    assert_eq!(report["faults"].as_array().map(Vec::len), Some(4));
    assert!(usable(&ana) && !usable(&ben) && !usable(&carol) && !usable(&dora));

    let person = |user: &str| {
        serde_json::json!({ "user": user, "answers": [
            { "question": "school", "answer": "Saint Anne" }, { "question": "street", "answer": "Main Street" },
        ] })
    };
    let list = serde_json::json!([person(&ana), person(&ben), person(&carol)]);
    fs::write(site.path("answers.json"), serde_json::to_string_pretty(&list).unwrap()).unwrap();
    let kept = site.cli(&["answers", "import", "answers.json"]);
    assert_eq!(kept.status.code(), Some(2), "{}", text(&kept));
    assert!(
        text(&kept).contains("answers.json:2: ") && text(&kept).contains("already"),
        "{}",
        text(&kept)
    );
    let done = site.cli(&["answers", "import", "answers.json", "--replace"]);
    assert!(done.status.success(), "{}", text(&done));
    assert!(usable(&ben) && usable(&carol));
    let missing = site.cli(&["answers", "import", "nowhere.csv"]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing));
}

#[test]
fn helpdesk_finds_out_who_is_calling() {
    let directory = Slapd::start(20);
    let mut site = site(&directory);
    let ana = user(1);
    let none = site.cli_with(&["user", "verify", &ana], "123456\n");
    assert_eq!(none.status.code(), Some(5), "{}", text(&none));
    let seed = site.enrol(&ana);
    let right = code(&seed, 0);
    let verify = |site: &Portcullis, said: &str| {
        let output = site.cli_with(&["user", "verify", &ana], said);
        (output.status.code(), text(&output).trim().to_owned())
    };
    assert_eq!(verify(&site, &right), (Some(0), "match".to_owned()));
    site.kill_and_serve();
    assert_eq!(
        verify(&site, &right),
        (Some(1), "no match".to_owned()),
        "spent, over the death of the process"
    );
    let login = format!("{},{right}", password(1));
    assert_eq!(
        site.radclient(APPEND).login(&ana, &login),
        Reply::Reject,
        "at logins too"
    );
    assert_eq!(verify(&site, "").0, Some(2), "what was not said does not count");

    let given = r#"[{"question": "school", "answer": "Saint Hildegard"},
        {"question": "street", "answer": "Lindenstrasse"},
        {"question": "word", "answer": "Leuchtturm"},
        {"question": "own", "own": "First pet?", "answer": "Schnuffel"}]"#;
    site.json(&["user", "unlock", &ana]);
    let made = site.cli_with(&["answers", "define", &ana, "--stdin"], given);
    assert!(made.status.success(), "{}", text(&made));
    let ask = |said: &str| site.cli_with(&["user", "verify", &ana, "--questions"], said);
    assert_eq!(ask("Schnuffel\nWindmill\n").status.code(), Some(1));
    let matched = ask("schnuffel \nLEUCHTTURM\n");
    assert_eq!(
        (matched.status.code(), text(&matched).trim().to_owned()),
        (Some(0), "match".into())
    );

    // Wrong codes at the desk keep the person out at logins as well.
    let wrong = wrong_code(&seed);
    let heard = (0..100).take_while(|_| verify(&site, &wrong).1 == "no match").count();
    assert!((1..20).contains(&heard), "{heard} guesses were heard");
    let (exit, said) = verify(&site, &code(&seed, 1));
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("locked out"), "{said}");
    let login = format!("{},{}", password(1), code(&seed, 1));
    assert_eq!(site.radclient(APPEND).login(&ana, &login), Reply::Reject);

    let audit = site.audit().join("\n");
    assert!(
        audit.contains("user.verify") && audit.contains("no match: wrong-answers"),
        "{audit}"
    );
    assert!(!everything(&site).contains(&right), "no code is written down");
}
