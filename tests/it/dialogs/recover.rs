//! (c) Somebody forgot the password: a second proof first, then a choice: unlock, or a new password.

use super::{Line, MANNERS, Manner, Place, REFUSED, Shown, asked, at_gateway, at_prompt, lead, line};
use crate::dialogs::wire::What;
use crate::support::portcullis::find;
use crate::support::slapd::{password, user, user_dn};
use crate::support::totp::{code, wrong_code};

const FIRST: Shown = Shown::Asked("Recovery or authenticator code:", true);
const MENU: Shown = Shown::Asked("1 unlock  2 new password:", true);
const REPEAT: &str = "Repeat the new password:";
const NEW: &str = "correct horse battery";

const RULE: &str = r#"
[[rule]]
name = "recovery"
when = { service = ["vpn"], operation = ["recovery"] }
require = { any = ["totp", "recovery-code"] }
"#;

/// The workflow without questions.
const WORKFLOW: &str = r#"
[workflow]
starts = "recover"
steps = [{ prove = ["recovery-code", "totp"] }, { choose = ["unlock", "new-password"] }]
ends = "reject"
"#;

fn start() -> Place {
    Place::start_with(RULE, |site| {
        let folder = site.path("policies/workflows");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("recover.toml"), WORKFLOW).unwrap();
        let file = std::fs::read_to_string(site.configuration_file()).unwrap();
        let dialog = "profile = \"dialog\"\n";
        site.configure(&file.replacen(dialog, &format!("{dialog}recover = true\n"), 1));
    })
}

fn new_password(code: &str) -> Vec<Line> {
    vec![
        line("?recover", FIRST),
        line(code, MENU),
        asked("2", "New password:"),
        asked(NEW, REPEAT),
        line(NEW, Shown::Closed("Password changed. Sign in with it.")),
    ]
}

fn unlock(code: &str) -> Vec<Line> {
    vec![
        line("?recover", FIRST),
        line(code, MENU),
        line("1", Shown::Closed("Unlocked. Sign in.")),
    ]
}

/// Ten wrong passwords, so that the directory locks the account.
fn lock(place: &Place, number: usize) {
    for _ in 0..10 {
        assert!(!place.is_password(number, "wrong"));
    }
    assert!(!place.is_password(number, &password(number)), "locked");
}

#[test]
fn a_new_password_over_the_wire() {
    for manner in MANNERS {
        let mut place = start();
        let seed = place.site.enrol(&user(1));
        lead(&mut place, manner, &user(1), &new_password(&code(&seed, 0)));
        assert!(
            place.is_password(1, NEW) && !place.is_password(1, &password(1)),
            "{manner:?}"
        );
    }
}

#[test]
fn unlocked_with_the_same_password_over_the_wire() {
    for manner in MANNERS {
        let mut place = start();
        let made = place.site.json(&["recovery-codes", "new", &user(1)]);
        let codes = find(&made, "codes").and_then(|codes| codes.as_array()).unwrap();
        let code = codes[0].as_str().unwrap();
        lock(&place, 1);
        lead(&mut place, manner, &user(1), &unlock(code));
        assert!(place.is_password(1, &password(1)), "{manner:?}");
        // The code is spent.
        let again = [line("?recover", FIRST), line(code, Shown::Refused)];
        lead(&mut place, Manner::Plain, &user(1), &again);
    }
}

#[test]
fn at_a_login_prompt_and_a_gateway() {
    let place = start();
    let (one, two) = (place.site.enrol(&user(1)), place.site.enrol(&user(2)));
    at_prompt(&place, &user(1), &new_password(&code(&one, 0)));
    assert!(place.is_password(1, NEW) && !place.is_password(1, &password(1)));
    lock(&place, 2);
    at_gateway(&place, &user(2), &unlock(&code(&two, 0)));
    assert!(place.is_password(2, &password(2)));
}

#[test]
fn nobody_is_told_from_somebody() {
    let mut place = start();
    let seed = place.site.enrol(&user(1));
    for (name, typed) in [
        ("nobody".to_owned(), "123456".to_owned()),
        (user(1), wrong_code(&seed)),
        (user(2), "123456".to_owned()),
    ] {
        let lines = [line("?recover", FIRST), line(typed, Shown::Refused)];
        lead(&mut place, Manner::Plain, &name, &lines);
    }
}

/// A lock that an administrator has put on is not lifted by whoever is locked.
#[test]
fn who_is_locked_by_an_administrator_stays_so() {
    let mut place = start();
    place.directory.modify(&format!(
        "dn: {}\nchangetype: modify\nreplace: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n",
        user_dn(1)
    ));
    let seed = place.site.enrol(&user(1));
    let mut lines = unlock(&code(&seed, 0));
    lines[2] = line("1", Shown::Refused);
    lead(&mut place, Manner::Plain, &user(1), &lines);
    let mut lines = new_password(&code(&seed, 1));
    lines[4] = line(NEW, Shown::Refused);
    lead(&mut place, Manner::Plain, &user(1), &lines);
    assert!(
        !place.is_password(1, &password(1)) && !place.is_password(1, NEW),
        "still locked"
    );
}

#[test]
fn one_code_opens_one_session() {
    let place = start();
    let seed = place.site.enrol(&user(1));
    let right = code(&seed, 0);
    let mut wire = place.wire();
    let first = wire.say(&user(1), "?recover", None);
    let menu = wire.say(&user(1), &right, Some(&first));
    assert_eq!(menu.text, "1 unlock  2 new password:");
    // Another request with the same code, though the State is the same.
    let again = wire.say(&user(1), &right, Some(&first));
    assert_eq!((again.what, again.text.as_str()), (What::Reject, REFUSED));
    let done = wire.say(&user(1), "1", Some(&menu));
    assert_eq!(done.text, "Unlocked. Sign in.");
}
