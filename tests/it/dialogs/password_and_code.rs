//! (a) A password, then a code.

use super::{MANNERS, Manner, Place, Shown, asked, at_gateway, at_prompt, lead, line};
use crate::support::slapd::{password, user};
use crate::support::totp::{code, wrong_code};

const CODE: &str = "Enter the 6-digit code";

#[test]
fn over_the_wire() {
    let mut place = Place::start();
    for (number, manner) in (1..).zip(MANNERS) {
        let seed = place.site.enrol(&user(number));
        let last = match manner {
            // The code is spent, and what it opened is not opened again.
            Manner::Losing => line(wrong_code(&seed), Shown::Refused),
            Manner::Plain | Manner::Repeating | Manner::Killing => line(code(&seed, 0), Shown::Entered),
        };
        let lines = [asked(password(number), CODE), last];
        lead(&mut place, manner, &user(number), &lines);
    }
    // Nobody, and somebody with nothing: the same.
    for name in ["nobody".to_owned(), user(9)] {
        let lines = [asked(password(9), CODE), line("123456", Shown::Refused)];
        lead(&mut place, Manner::Plain, &name, &lines);
    }
}

#[test]
fn at_a_login_prompt_and_a_gateway() {
    let place = Place::start();
    let lines = |seed: &str, number: usize| {
        let code = code(seed, 0);
        [asked(password(number), CODE), line(code, Shown::Entered)]
    };
    let (one, two) = (place.site.enrol(&user(1)), place.site.enrol(&user(2)));
    at_prompt(&place, &user(1), &lines(&one, 1));
    at_gateway(&place, &user(2), &lines(&two, 2));
}
