//! Security questions over RADIUS: answers defined in a dialog, asked when the password is forgotten, counted when
//! they are guessed at many at once.

use std::fs;

use crate::support::portcullis::{DIALOG, Portcullis};
use crate::support::radclient::{Reply, request};
use crate::support::slapd::{Slapd, password, user};
use crate::support::totp::code;

const QUESTIONS: &str = r#"
[questions]
define = 3
ask = 2
lock_after = 3
# The tests' clients speak RADIUS without TLS.
unprotected = true

[[question]]
id = "school"
text = { en = "First school?", de = "Erste Schule?" }

[[question]]
id = "street"
text = { en = "First street?", de = "Erste Strasse?" }

[[question]]
id = "book"
text = { en = "First book?", de = "Erstes Buch?" }
"#;

const RECOVER: &str = r#"
[workflow]
starts = "recover"
steps = [{ prove = ["recovery-code", "totp"] }, "questions", { choose = ["unlock", "answers"] }]
"#;

const LOGIN: &str = r#"
[workflow]
starts = "login"
steps = ["answers"]
ends = "accept"
"#;

/// A site that has people define answers, and lets them recover at the VPN.
fn site(directory: &Slapd) -> Portcullis {
    let mut site = Portcullis::install(directory);
    let file = site.configuration_file();
    let configuration = fs::read_to_string(&file).unwrap();
    site.configure(&configuration.replace("name = \"vpn\"\n", "name = \"vpn\"\nrecover = true\n"));
    fs::create_dir(site.path("policies/workflows")).unwrap();
    fs::write(site.path("policies/questions.toml"), QUESTIONS).unwrap();
    fs::write(site.path("policies/workflows/recover.toml"), RECOVER).unwrap();
    fs::write(site.path("policies/workflows/login.toml"), LOGIN).unwrap();
    site.serve();
    site
}

/// What everybody here answers.
fn answer_to(text: &str) -> &'static str {
    match text.rsplit_once(": ").map_or(text, |(_, question)| question) {
        "First school?" => "St. Mary's",
        "First street?" => "Station Road",
        "First book?" => "The Hobbit",
        other => panic!("no answer to {other}"),
    }
}

/// Logs in with password and code, and defines the answers that are asked for; the process dies between the steps.
fn define(site: &mut Portcullis, name: &str, number: usize, seed: &str, dies: bool) {
    let first = site.radclient(DIALOG).login(name, &password(number));
    let mut reply = site.radclient(DIALOG).answer(name, &code(seed, 0), &first);
    for count in 1..=3 {
        let text = reply.prompt().to_owned();
        assert!(text.starts_with(&format!("Answer {count} of 3 to keep: ")), "{text}");
        if dies {
            site.kill_and_serve();
        }
        reply = site.radclient(DIALOG).answer(name, answer_to(&text), &reply);
    }
    assert_eq!(reply, Reply::Accept);
}

/// Begins a recovery and proves the code: the first question.
fn begin(site: &Portcullis, name: &str, code: &str) -> Reply {
    let first = site.radclient(DIALOG).login(name, "?recover");
    assert_eq!(first.prompt(), "Recovery or authenticator code:");
    site.radclient(DIALOG).answer(name, code, &first)
}

#[test]
fn answers_are_defined_and_asked_over_the_death_of_the_process() {
    let directory = Slapd::start(20);
    let mut site = site(&directory);
    let name = user(1);
    let seed = site.enrol(&name);
    define(&mut site, &name, 1, &seed, true);

    let mut reply = begin(&site, &name, &code(&seed, 1));
    for _ in 0..2 {
        let text = reply.prompt().to_owned();
        site.kill_and_serve();
        reply = site
            .radclient(DIALOG)
            .answer(&name, &answer_to(&text).to_uppercase(), &reply);
    }
    assert_eq!(reply.prompt(), "1 unlock  2 security answers:");
    let audit = site.audit();
    let defined = |record: &&String| record.contains("answers.define") && record.contains("accept");
    assert_eq!(audit.iter().filter(defined).count(), 1, "{audit:#?}");
    assert!(
        !audit
            .iter()
            .any(|record| record.contains("Hobbit") || record.contains("Mary"))
    );
    assert!(!site.log().contains("Hobbit") && !site.log().contains("HOBBIT"));
}

#[test]
fn guesses_at_once_count_one_after_the_other() {
    let directory = Slapd::start(20);
    let mut site = site(&directory);
    let name = user(1);
    let seed = site.enrol(&name);
    define(&mut site, &name, 1, &seed, false);

    let first = begin(&site, &name, &code(&seed, 1));
    let last = site.radclient(DIALOG).answer(&name, answer_to(first.prompt()), &first);
    let state = last.state();
    let guesses: Vec<String> = (0..16)
        .map(|number| request(&name, &format!("guess number {number}"), Some(state)))
        .collect();
    let replies = site.radclient(DIALOG).ask_at_once(&guesses);
    assert!(!replies.is_empty());
    assert!(replies.iter().all(|reply| *reply == Reply::Reject), "{replies:?}");
    let audit = site.audit();
    let wrong = audit.iter().filter(|record| record.contains("wrong-answers")).count();
    assert_eq!(wrong, 3, "three lock, and no more were judged: {audit:#?}");

    // The right one comes too late, for this process and the next.
    let late = site.radclient(DIALOG).answer(&name, answer_to(last.prompt()), &last);
    assert_eq!(late, Reply::Reject);
    site.kill_and_serve();
    let late = site.radclient(DIALOG).answer(&name, answer_to(last.prompt()), &last);
    assert_eq!(late, Reply::Reject);
}

#[test]
fn nobody_is_asked_as_much_as_somebody() {
    let directory = Slapd::start(20);
    let mut site = site(&directory);
    let name = user(1);
    let seed = site.enrol(&name);
    define(&mut site, &name, 1, &seed, false);
    // A code that is wrong, a name that is nobody's, somebody without answers.
    for who in [name, "nobody-at-all".to_owned(), user(2)] {
        let mut reply = begin(&site, &who, "000000");
        for _ in 0..2 {
            let text = reply.prompt().to_owned();
            reply = site.radclient(DIALOG).answer(&who, answer_to(&text), &reply);
        }
        assert_eq!(reply, Reply::Reject, "{who}");
    }
}
