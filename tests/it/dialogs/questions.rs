//! (c) whole, by the workflow that is built in: a code, two security questions, and a choice.

use super::{Line, MANNERS, Manner, Place, Shown, asked, at_gateway, at_prompt, lead, line};
use crate::support::slapd::{password, user};
use crate::support::totp::{code, wrong_code};

const FIRST: Shown = Shown::Asked("Recovery or authenticator code:", true);
const MENU: Shown = Shown::Asked("1 unlock  2 new password:", true);
const SCHOOL: &str = "First school you remember?";
const INSTRUCTOR: &str = "First name of your driving instructor?";
const NEW: &str = "correct horse battery";

const RULE: &str = r#"
[[rule]]
name = "recovery"
when = { service = ["vpn"], operation = ["recovery"] }
require = { any = ["totp", "recovery-code"] }
"#;

const QUESTIONS: &str = r#"
[questions]
define = 2
ask = 2
selection = "fixed"

[[question]]
id = "school"
text = { en = "First school you remember?" }

[[question]]
id = "instructor"
text = { en = "First name of your driving instructor?" }
"#;

fn start() -> Place {
    let place = Place::start_with(RULE, |site| {
        std::fs::write(site.path("policies/questions.toml"), QUESTIONS).unwrap();
        let file = std::fs::read_to_string(site.configuration_file()).unwrap();
        let dialog = "profile = \"dialog\"\n";
        site.configure(&file.replacen(dialog, &format!("{dialog}recover = true\n"), 1));
    });
    for number in [1, 2] {
        let given =
            r#"[{"question": "school", "answer": "St. Mary's"}, {"question": "instructor", "answer": "Ottilie"}]"#;
        let made = place
            .site
            .cli_with(&["answers", "define", &user(number), "--stdin"], given);
        assert!(made.status.success(), "{made:?}");
    }
    place
}

fn recover(code: &str, answers: [&str; 2], end: &[Line]) -> Vec<Line> {
    let [school, instructor] = answers;
    let mut lines = vec![
        line("?recover", FIRST),
        asked(code, SCHOOL),
        asked(school, INSTRUCTOR),
        line(instructor, MENU),
    ];
    lines.extend_from_slice(end);
    lines
}

fn new_password() -> [Line; 3] {
    [
        asked("2", "New password:"),
        asked(NEW, "Repeat the new password:"),
        line(NEW, Shown::Closed("Password changed. Sign in with it.")),
    ]
}

/// As people type them.
const ANSWERS: [&str; 2] = ["st. mary's", " OTTILIE "];

#[test]
fn a_new_password_over_the_wire() {
    for manner in MANNERS {
        let mut place = start();
        let seed = place.site.enrol(&user(1));
        lead(
            &mut place,
            manner,
            &user(1),
            &recover(&code(&seed, 0), ANSWERS, &new_password()),
        );
        assert!(
            place.is_password(1, NEW) && !place.is_password(1, &password(1)),
            "{manner:?}"
        );
    }
}

#[test]
fn at_a_login_prompt_and_a_gateway() {
    let place = start();
    let (one, two) = (place.site.enrol(&user(1)), place.site.enrol(&user(2)));
    at_prompt(&place, &user(1), &recover(&code(&one, 0), ANSWERS, &new_password()));
    assert!(place.is_password(1, NEW) && !place.is_password(1, &password(1)));
    let unlock = [line("1", Shown::Closed("Unlocked. Sign in."))];
    at_gateway(&place, &user(2), &recover(&code(&two, 0), ANSWERS, &unlock));
}

/// Nobody, a wrong code, and a wrong answer: the same rounds.
#[test]
fn what_was_wrong_is_not_told() {
    let mut place = start();
    let seed = place.site.enrol(&user(1));
    for (name, typed, answers) in [
        ("nobody".to_owned(), "123456".to_owned(), ANSWERS),
        (user(1), wrong_code(&seed), ANSWERS),
        (user(1), code(&seed, 0), ["St. Mary's", "Otto"]),
    ] {
        let mut lines = recover(&typed, answers, &[]);
        lines[3] = line(answers[1], Shown::Refused);
        lead(&mut place, Manner::Plain, &name, &lines);
    }
}
