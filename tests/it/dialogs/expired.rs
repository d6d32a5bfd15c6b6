//! (f) A password that has expired, or must be changed: the factor first, then a new one in place of the old one.

use super::{Line, MANNERS, Manner, Place, Shown, asked, at_gateway, at_prompt, lead, line};
use crate::support::slapd::{password, user};
use crate::support::totp::code;

const CODE: &str = "Enter the 6-digit code";
const EXPIRED: &str = "Password expired. New password:";
const MUST_CHANGE: &str = "The password must be changed. New password:";
const REPEAT: &str = "Repeat the new password:";
const CHANGED: &str = "Password changed. Sign in with it.";
const NEW: &str = "correct horse battery";

fn lines(old: &str, seed: Option<&str>, why: &'static str) -> Vec<Line> {
    let mut lines = match seed {
        Some(seed) => vec![asked(old, CODE), asked(code(seed, 0), why)],
        None => vec![asked(old, why)],
    };
    lines.push(asked(NEW, REPEAT));
    lines.push(line(NEW, Shown::EnteredOnce(CHANGED)));
    lines
}

#[test]
fn over_the_wire_after_the_factor() {
    for manner in MANNERS {
        let mut place = Place::start();
        let seed = place.site.enrol(&user(5));
        let lines = lines(&password(5), Some(&seed), EXPIRED);
        lead(&mut place, manner, &user(5), &lines);
        assert!(
            place.is_password(5, NEW) && !place.is_password(5, &password(5)),
            "{manner:?}"
        );
        place.tells_nothing(&[NEW, &password(5)]);
    }
}

#[test]
fn over_the_wire_where_the_password_is_all() {
    let mut place = Place::start();
    lead(
        &mut place,
        Manner::Killing,
        &user(7),
        &lines(&password(7), None, EXPIRED),
    );
    assert!(place.is_password(7, NEW) && !place.is_password(7, &password(7)));
    place.directory.require_change(8);
    lead(
        &mut place,
        Manner::Repeating,
        &user(8),
        &lines(&password(8), None, MUST_CHANGE),
    );
    assert!(place.is_password(8, NEW) && !place.is_password(8, &password(8)));
    // And is a password like any other from now on.
    let login = [line(NEW, Shown::Entered)];
    lead(&mut place, Manner::Plain, &user(7), &login);
    lead(&mut place, Manner::Plain, &user(8), &login);
}

#[test]
fn at_a_login_prompt_and_a_gateway() {
    let place = Place::start();
    let seed = place.site.enrol(&user(5));
    at_prompt(&place, &user(5), &lines(&password(5), Some(&seed), EXPIRED));
    assert!(place.is_password(5, NEW) && !place.is_password(5, &password(5)));
    at_gateway(&place, &user(7), &lines(&password(7), None, EXPIRED));
    assert!(place.is_password(7, NEW) && !place.is_password(7, &password(7)));
}

/// A wrong password is no expired one, and tells nothing.
#[test]
fn only_the_right_password_is_expired() {
    let mut place = Place::start();
    lead(&mut place, Manner::Plain, &user(7), &[line("wrong", Shown::Refused)]);
    let seed = place.site.enrol(&user(5));
    let lines = [asked("wrong", CODE), line(code(&seed, 0), Shown::Refused)];
    lead(&mut place, Manner::Plain, &user(5), &lines);
    assert!(place.is_password(7, &password(7)) || !place.is_password(7, NEW));
}

#[test]
fn what_the_directory_does_not_take_is_told_in_plain_words() {
    let mut place = Place::start();
    let lines = [
        asked(password(7), EXPIRED),
        asked("short", REPEAT),
        asked("short", "Too short. New password:"),
        asked(NEW, REPEAT),
        asked("something else", "They differ. New password:"),
        asked(password(7), REPEAT),
        // The third that is not taken; it is as long as the others.
        line(password(7), Shown::Closed("The password was not changed.")),
    ];
    lead(&mut place, Manner::Repeating, &user(7), &lines);
    assert!(!place.is_password(7, NEW));
    // It begins anew, and the history is heeded.
    let again = "battery horse staple";
    let lines = [
        asked(password(7), EXPIRED),
        asked(NEW, REPEAT),
        line(NEW, Shown::Entered),
    ];
    lead(&mut place, Manner::Plain, &user(7), &lines);
    place.directory.require_change(7);
    let lines = [
        asked(NEW, MUST_CHANGE),
        asked(NEW, REPEAT),
        asked(NEW, "Used before. New password:"),
        asked(again, REPEAT),
        line(again, Shown::Entered),
    ];
    lead(&mut place, Manner::Plain, &user(7), &lines);
    assert!(place.is_password(7, again) && !place.is_password(7, NEW));
}
