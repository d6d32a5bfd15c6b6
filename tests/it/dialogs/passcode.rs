//! (b) A passcode from helpdesk, then a new password.

use std::thread;

use super::wire::{What, Wire};
use super::{Line, MANNERS, Manner, Place, REFUSED, Shown, asked, at_gateway, at_prompt, lead, line};
use crate::support::portcullis::DIALOG;
use crate::support::slapd::{password, user};
use crate::support::totp::{code, wrong_code};

const ACCEPTED: &str = "Passcode accepted. New password:";
const REPEAT: &str = "Repeat the new password:";
const CHANGED: &str = "Password changed. Sign in with it.";
const NEW: &str = "correct horse battery";

fn lines(passcode: &str) -> Vec<Line> {
    vec![
        asked(passcode, ACCEPTED),
        asked(NEW, REPEAT),
        line(NEW, Shown::Closed(CHANGED)),
    ]
}

#[test]
fn over_the_wire() {
    for manner in MANNERS {
        let mut place = Place::start();
        let passcode = place.passcode(1, &[]);
        lead(&mut place, manner, &user(1), &lines(&passcode));
        assert!(
            place.is_password(1, NEW) && !place.is_password(1, &password(1)),
            "{manner:?}"
        );
        // Used up.
        let again = place.wire().say(&user(1), &passcode, None);
        assert_ne!(again.text, ACCEPTED, "{manner:?}");
        place.tells_nothing(&[NEW, &passcode]);
    }
}

#[test]
fn at_a_login_prompt_and_a_gateway() {
    let place = Place::start();
    let passcode = place.passcode(1, &[]);
    at_prompt(&place, &user(1), &lines(&passcode));
    assert!(place.is_password(1, NEW) && !place.is_password(1, &password(1)));
    let passcode = place.passcode(2, &[]);
    at_gateway(&place, &user(2), &lines(&passcode));
    assert!(place.is_password(2, NEW) && !place.is_password(2, &password(2)));
}

#[test]
fn a_factor_that_is_enrolled_is_asked_for_first() {
    for manner in MANNERS {
        let mut place = Place::start();
        let seed = place.site.enrol(&user(1));
        let passcode = place.passcode(1, &[]);
        let mut lines = lines(&passcode);
        lines[0] = asked(code(&seed, 0), ACCEPTED);
        lines.insert(0, line(passcode.as_str(), Shown::Asked("Enter a code:", true)));
        if manner == Manner::Plain {
            lines.insert(1, line(wrong_code(&seed), Shown::Asked("Enter a code:", true)));
        }
        lead(&mut place, manner, &user(1), &lines);
        assert!(
            place.is_password(1, NEW) && !place.is_password(1, &password(1)),
            "{manner:?}"
        );
    }
}

#[test]
fn a_passcode_used_at_many_places_at_once_opens_one_session() {
    let place = Place::start();
    let passcode = place.passcode(1, &[]);
    let port = place.site.radius();
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || Wire::new(DIALOG, port).say(&user(1), &passcode, None);
        let askers: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    let opened: Vec<_> = answers.iter().filter(|answer| answer.text == ACCEPTED).collect();
    assert_eq!(opened.len(), 1, "{answers:?}");
    // And that one goes on, from wherever its State is.
    let mut wire = place.wire();
    let repeat = wire.say(&user(1), NEW, Some(opened[0]));
    let done = wire.say(&user(1), NEW, Some(&repeat));
    assert_eq!((done.what, done.text.as_str()), (What::Reject, CHANGED));
    assert!(place.is_password(1, NEW));
    // Every State of it is worth nothing now.
    for before in [opened[0], &repeat] {
        let replayed = wire.say(&user(1), "another password", Some(before));
        assert_eq!((replayed.what, replayed.text.as_str()), (What::Reject, REFUSED));
    }
    assert!(place.is_password(1, NEW));
}

#[test]
fn three_new_passwords_at_most_whatever_state_is_played_again() {
    let place = Place::start();
    let passcode = place.passcode(1, &[]);
    let mut wire = place.wire();
    let opened = wire.say(&user(1), &passcode, None);
    let mut told = Vec::new();
    // Always from the beginning, as if nothing had been refused.
    for _ in 0..5 {
        let repeat = wire.say(&user(1), "short", Some(&opened));
        if repeat.what == What::Challenge {
            told.push(wire.say(&user(1), "short", Some(&repeat)).text);
        }
    }
    let too_short = "Too short. New password:".to_owned();
    let over = "The password was not changed.".to_owned();
    assert_eq!(told, [too_short.clone(), too_short, over]);
    assert!(place.is_password(1, &password(1)));
}

#[test]
fn an_outage_burns_nothing() {
    let mut place = Place::start();
    let passcode = place.passcode(1, &[]);
    let mut wire = place.wire();
    let opened = wire.say(&user(1), &passcode, None);
    let repeat = wire.say(&user(1), NEW, Some(&opened));
    place.directory.kill();
    // No answer at all: the client would try its next server.
    let request = wire.request(&user(1), NEW, repeat.state.as_deref());
    assert!(wire.is_not_answered(&request));
    place.directory.start_again();
    place.site.kill_and_serve();
    let done = wire.say(&user(1), NEW, Some(&repeat));
    assert_eq!((done.what, done.text.as_str()), (What::Reject, CHANGED));
    assert!(place.is_password(1, NEW));
}
