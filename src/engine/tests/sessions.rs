//! Limits on a person's sessions.

use super::*;
use crate::dictionary::Dictionary;
use crate::engine::session::{GrantRecord, SessionName};

const LIMITED: &str = r#"
[[rule]]
name = "busy people stay out of the lab"
when = { service = ["lab"], sessions = { at_least = 2 } }
deny = true

[[rule]]
name = "guests have two"
when = { service = ["guest"] }
unless = { sessions = { at_least = 2 } }
require = "password"

[[rule]]
name = "two at once"
when = { service = ["vpn", "lab"] }
require = { all = ["password", "totp"] }
max_sessions = 2

[[rule]]
name = "only one"
when = { service = ["one"] }
require = "password"
max_sessions = 1
"#;

fn world() -> World {
    let mut world = World::new();
    let mut faults = Faults::default();
    let policy = policy::parse(
        &[Source::new(Path::new("sessions.toml"), LIMITED)],
        Dictionary::shipped(),
        &mut faults,
    );
    assert_eq!(faults, Faults::default());
    assert!(policy.counts_sessions());
    assert!(!world.engine.policy.counts_sessions(), "others need no count");
    world.engine.policy = Arc::new(policy);
    world
}

impl World {
    fn open(&mut self, id: &str) {
        let name = SessionName {
            client: "c".into(),
            nas: "n".into(),
            id: id.into(),
        };
        let mut batch = Batch::default();
        let key = Key::session_of(&self.person.key, &name);
        batch.write.push((key, Change::Put(vec![1], None)));
        assert!(self.commit(batch));
    }

    fn under_way(&self) -> usize {
        self.read::<GrantRecord>(&Key::grants(&self.person.key))
            .value
            .live(self.now)
    }
}

#[test]
fn logins_under_way_count_until_their_time_is_over() {
    let mut world = world();
    assert!(matches!(
        world.ask("one", "ana", PASSWORD, Capability::None),
        Verdict::Accept(_)
    ));
    assert_eq!(world.under_way(), 1);
    let refused = denial(world.ask("one", "ana", PASSWORD, Capability::None));
    assert_eq!(refused, Denial::SessionLimit);
    assert_eq!(world.failures(), 0, "that is no guess");
    world.now = world.now + Duration::from_secs(60);
    assert!(matches!(
        world.ask("one", "ana", PASSWORD, Capability::None),
        Verdict::Accept(_)
    ));
}

#[test]
fn the_limit_is_told_at_the_end_and_to_who_proves_who_they_are() {
    let mut world = world();
    world.open("1");
    world.open("2");
    let wrong = denial(world.ask("one", "ana", "wrong", Capability::None));
    assert_eq!(wrong, Denial::WrongPassword);
    let code = world.code();
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    assert_eq!(denial(world.answer("vpn", "ana", &code, dialog)), Denial::SessionLimit);
    let again = denial(world.ask("vpn", "ana", &format!("{PASSWORD},{code}"), APPEND));
    assert_eq!(again, Denial::CodeReplayed, "a right code is spent all the same");
}

#[test]
fn rules_may_ask_how_many_sessions_there_are() {
    let mut world = world();
    world.open("1");
    let code = world.code();
    let dialog = challenge(world.ask("lab", "ana", PASSWORD, Capability::Dialog));
    assert!(matches!(world.answer("lab", "ana", &code, dialog), Verdict::Accept(_)));
    world.open("2");
    world.now = world.now + Duration::from_secs(90);
    let code = world.code();
    let dialog = challenge(world.ask("lab", "ana", PASSWORD, Capability::Dialog));
    assert_eq!(denial(world.answer("lab", "ana", &code, dialog)), Denial::Policy);
}

/// Both begin before either is decided: the second decision rests on records that the first has changed.
#[test]
fn two_logins_at_once_do_not_both_slip_under_a_limit() {
    let mut world = world();
    let engine = world.engine.clone();
    let request = world.request("one", "ana", PASSWORD, None, Capability::None);
    let facts = world.facts("ana");
    let now = world.now;
    let right = Evidence::Password(PasswordOutcome::Right);
    let begin = |nonce| match engine.begin(&request, &facts, now, nonce) {
        Step::Do(Effect::VerifyPassword { .. }, attempt) => attempt,
        other => panic!("{other:?}"),
    };
    let (first, second) = (begin(1), begin(2));
    let decided =
        |attempt: crate::engine::Attempt<'_>, facts: &Facts, now| match attempt.resume(right.clone(), facts, now) {
            Step::Decided(decision) => decision,
            other => panic!("{other:?}"),
        };
    let one = decided(first, &facts, now);
    let other = decided(second.clone(), &facts, now);
    assert!(matches!(
        (&one.verdict, &other.verdict),
        (Verdict::Accept(_), Verdict::Accept(_))
    ));
    assert!(world.commit(one.batch));
    assert!(!world.commit(other.batch), "a conflict");
    let again = decided(second, &world.facts("ana"), now);
    assert_eq!(denial(again.verdict), Denial::SessionLimit);
}

/// The directory takes its time; what a rule asks about sessions has to hold when the login is decided.
#[test]
fn two_logins_at_once_do_not_both_slip_past_a_condition() {
    let mut world = world();
    world.open("1");
    let engine = world.engine.clone();
    let request = world.request("guest", "ana", PASSWORD, None, Capability::None);
    let (facts, now) = (world.facts("ana"), world.now);
    let begin = |nonce| match engine.begin(&request, &facts, now, nonce) {
        Step::Do(Effect::VerifyPassword { .. }, attempt) => attempt,
        other => panic!("{other:?}"),
    };
    let (first, second) = (begin(1), begin(2));
    let decided = |attempt: crate::engine::Attempt<'_>, facts: &Facts| match attempt.resume(
        Evidence::Password(PasswordOutcome::Right),
        facts,
        now,
    ) {
        Step::Decided(decision) => decision,
        other => panic!("{other:?}"),
    };
    let one = decided(first, &facts);
    assert!(matches!(one.verdict, Verdict::Accept(_)));
    assert!(world.commit(one.batch));
    let other = decided(second, &world.facts("ana"));
    assert_eq!(denial(other.verdict), Denial::SessionLimit);
}

#[test]
fn nobody_is_told_how_many_sessions_somebody_has() {
    let mut world = world();
    let dialog = challenge(world.ask("lab", "nobody", PASSWORD, Capability::Dialog));
    assert_eq!(
        denial(world.answer("lab", "nobody", "000000", dialog)),
        Denial::UnknownUser
    );
}
