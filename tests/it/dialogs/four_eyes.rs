//! (d) A passcode in two halves: the first from helpdesk, the second from somebody else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use super::{Line, MANNERS, Manner, Place, Shown, asked, at_prompt, lead, line};
use crate::support::portcullis::{Portcullis, find};
use crate::support::process::{run, text};
use crate::support::slapd::{SUFFIX, password, user, user_dn};

const SECOND: &str = "Second part, from your manager:";
const ACCEPTED: &str = "Passcode accepted. New password:";
const REPEAT: &str = "Repeat the new password:";
const CHANGED: &str = "Password changed. Sign in with it.";
const NEW: &str = "correct horse battery";

/// An account of this machine that is nobody's; the person of that name is the manager of user 1.
const MANAGER: &str = "games";

fn start() -> Place {
    let place = Place::start_with("", |site| {
        let file = fs::read_to_string(site.configuration_file()).unwrap();
        site.configure(&format!(
            "{file}\n[passcodes]\nfour_eyes = true\n\n[admin]\noperators = [\"{MANAGER}\"]\n"
        ));
        for folder in [site.folder(), &site.path("state")] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
    });
    let dn = format!("uid={MANAGER},ou=people,{SUFFIX}");
    place.directory.modify(&format!(
        "dn: {dn}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {MANAGER}\ncn: M\nsn: M\nuserPassword: managerpw\n\n\
         dn: {}\nchangetype: modify\nreplace: manager\nmanager: {dn}\n",
        user_dn(1)
    ));
    place
}

/// Both halves of a passcode: helpdesk sees the first one, and the manager the second.
fn halves(site: &Portcullis) -> (String, String) {
    let issued = site.json(&["passcode", "issue", &user(1)]);
    let word = |key: &str| find(&issued, key).and_then(|text| text.as_str()).unwrap().to_owned();
    let (first, id) = (word("code"), word("id"));
    assert!(!issued.to_string().contains("second\":\""), "{issued}");
    let socket = site.path("state/admin.sock");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    let mut release = Command::new("setpriv");
    release.args(["--reuid", MANAGER, "--clear-groups", env!("CARGO_BIN_EXE_portcullis")]);
    release
        .args(["passcode", "release", &id, "--json", "--socket"])
        .arg(socket);
    let output = run(&mut release, "");
    assert!(output.status.success(), "{}", text(&output));
    let released: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let second = find(&released, "second").and_then(|text| text.as_str()).unwrap();
    (first, second.to_owned())
}

fn lines(first: &str, second: &str) -> Vec<Line> {
    vec![
        asked(first, SECOND),
        asked(second, ACCEPTED),
        asked(NEW, REPEAT),
        line(NEW, Shown::Closed(CHANGED)),
    ]
}

#[test]
fn two_prompts_or_one() {
    for manner in MANNERS {
        let mut place = start();
        let (first, second) = halves(&place.site);
        lead(&mut place, manner, &user(1), &lines(&first, &second));
        assert!(
            place.is_password(1, NEW) && !place.is_password(1, &password(1)),
            "{manner:?}"
        );
        place.tells_nothing(&[&first, &second, NEW]);
    }
    let mut place = start();
    let (first, second) = halves(&place.site);
    let mut whole = lines("", &second);
    whole.remove(0);
    whole[0].typed = format!("{first}{second}");
    lead(&mut place, Manner::Plain, &user(1), &whole);
    assert!(place.is_password(1, NEW));
}

#[test]
fn at_a_login_prompt() {
    let place = start();
    let (first, second) = halves(&place.site);
    at_prompt(&place, &user(1), &lines(&first, &second));
    assert!(place.is_password(1, NEW) && !place.is_password(1, &password(1)));
}

#[test]
fn a_half_tells_nothing() {
    let mut place = start();
    let (first, second) = halves(&place.site);
    let other = if first == "K7QXM" { "3RTWP" } else { "K7QXM" };
    for (name, typed) in [
        (user(1), other),
        (user(2), first.as_str()),
        ("nobody".to_owned(), other),
    ] {
        let lines = [asked(typed, SECOND), line(second.as_str(), Shown::Refused)];
        lead(&mut place, Manner::Plain, &name, &lines);
    }
    lead(&mut place, Manner::Plain, &user(1), &lines(&first, &second));
    assert!(place.is_password(1, NEW));
}
