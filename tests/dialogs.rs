//! Conversations as transcripts: `tests/dialogs/*.txt`, played against the engine.
//!
//! ```text
//! user ana                      who is typing from here on
//! client vpn dialog             service and profile: dialog, single-challenge, append, none
//! > password "hunter2"          what is typed first
//! < challenge "Code:"           what must come back: challenge "TEXT", accept, reject WORD, unavailable
//! +12s                          time passes: s, m, h
//! > "492039"                    the answer to the last challenge
//! < accept
//! > response                    what kim's offline token answers to the challenge; `#` stands for its digits
//! directory unavailable         what the directory says from here on; `as it is` ends that
//! upstream unavailable          the upstream RADIUS server is gone; `as it is` ends that
//! delivery unavailable          codes cannot be sent; `as it is` ends that
//! sent 1                        how many codes were sent, so far; `{code}` in an answer is the last one
//! approval given                somebody approves what was asked for; `approval denied` is the opposite
//! asked 1                       how often the upstream was asked, so far
//! answers locked                an operator locks ana's answers to security questions; `unlocked` ends that
//! hashed 1                      how many answers were hashed, so far
//! password "hunter2"            what the password is by now
//! reason fail-open              what the reason in the last audit record begins with
//! binds 1                       how often the directory was asked to try a password, so far
//! ```
//!
//! Lines that begin with `#` are remarks. Everybody's password is `hunter2`; ana has a TOTP token with the
//! seed of RFC 6238, the recovery code `23456789ABCDEF` and the passcode `K7QXM3RTWP`; bob has nothing; kim has a key that types and an offline token. The
//! upstream finds `hunter2` and `424242` right, `limited` with an attribute to be passed on, asks `Is it you?` after `push`, asks once more after `more`,
//! and is content with `yes`; at the service `remote` it judges passwords. It
//! is 1700000010 seconds after 1970. The policy is `tests/dialogs/policy.toml`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that meets something unexpected should end there"
)]

#[path = "dialogs/transcript.rs"]
mod transcript;
#[path = "dialogs/world.rs"]
mod world;

use std::fs;
use std::path::Path;

use transcript::{Line, parse};
use world::World;

#[test]
fn every_transcript_is_played_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let mut played = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let text = fs::read_to_string(&path).unwrap();
            play(&text).unwrap_or_else(|fault| panic!("{}:{fault}", path.display()));
            played += 1;
        }
    }
    assert!(played > 0, "no transcripts");
}

#[test]
fn a_transcript_that_does_not_hold_is_found_out() {
    let lines = "client vpn dialog\nuser ana\n> password \"hunter2\"\n";
    let play_with = |last: &str| play(&format!("{lines}{last}\n"));
    assert_eq!(play_with("< challenge \"Code:\""), Ok(()));
    assert_eq!(
        play_with("< accept").unwrap_err(),
        "4: wanted accept, and got challenge \"Code:\""
    );
    assert_eq!(play_with("binds 1").unwrap_err(), "4: the directory was asked 0 times");
    assert_eq!(play("> \"1\"").unwrap_err(), "1: an answer, but nothing was asked");
    assert_eq!(play("< accept").unwrap_err(), "1: nothing was typed");
}

/// Plays a transcript; the error begins with the line's number.
fn play(text: &str) -> Result<(), String> {
    let mut world = World::new();
    for (number, line) in parse(text)? {
        step(&mut world, line).map_err(|fault| format!("{number}: {fault}"))?;
    }
    Ok(())
}

fn step(world: &mut World, line: Line) -> Result<(), String> {
    match line {
        Line::User(name) => world.user = name,
        Line::Client(service, capability) => (world.service, world.capability) = (service, capability),
        Line::Directory(outcome) => world.directory = outcome,
        Line::Upstream(gone) => world.upstream_gone = gone,
        Line::Approval(approve) => world.decide(approve)?,
        Line::Later(span) => world.now = world.now + span,
        Line::Typed(text) => world.login(&text),
        Line::Answer(text) => world.answer(&world.filled(&text))?,
        Line::Response => world.respond()?,
        Line::Reply(wanted) => {
            let got = world.reply.clone().ok_or("nothing was typed")?;
            if !got.fits(&wanted) {
                return Err(format!("wanted {wanted}, and got {got}"));
            }
        }
        Line::Delivery(gone) => world.delivery_gone = gone,
        Line::Sent(wanted) if world.sent == wanted => {}
        Line::Sent(_) => return Err(format!("{} codes were sent", world.sent)),
        Line::Reason(wanted) if world.reason.starts_with(&wanted) => {}
        Line::Reason(_) => return Err(format!("the reason is \"{}\"", world.reason)),
        Line::Binds(wanted) if world.binds == wanted => {}
        Line::Password(wanted) if world.password == wanted => {}
        Line::Password(_) => return Err(format!("the password is \"{}\"", world.password)),
        Line::Asked(wanted) if world.asked == wanted => {}
        Line::Answers(locked) => world.lock_answers(locked),
        Line::Hashed(wanted) if world.hashed == wanted => {}
        Line::Hashed(_) => return Err(format!("{} answers were hashed", world.hashed)),
        Line::Asked(_) => return Err(format!("the upstream was asked {} times", world.asked)),
        Line::Binds(_) => return Err(format!("the directory was asked {} times", world.binds)),
    }
    Ok(())
}
