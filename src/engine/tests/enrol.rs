//! People who have never had a second factor: enrolment at first login, and the time that a rule leaves for it.

use super::*;
use crate::engine::dialog::MAX_SEALED;
use crate::engine::verdict::Prompt;
use crate::engine::workflow::Workflows;
use crate::engine::{Grant, Settings, Transport};

const RULES: &str = r#"
[[rule]]
name = "enrol here"
when = { service = ["vpn"] }
require = { all = ["password", { any = ["totp", "recovery-code"] }] }
enrol = "now"

[[rule]]
name = "enrol anywhere"
when = { service = ["open"] }
require = { all = ["password", "totp"] }
enrol = "now"
enrol_unprotected = true

[[rule]]
name = "enrol soon"
when = { service = ["soon"] }
require = { all = ["password", "totp"] }
enrol = { until = "2023-12-31" }

[[rule]]
name = "enrol soon, in words of its own"
when = { service = ["own"] }
require = { all = ["password", "totp"] }
enrol = { until = "2023-12-31", reminder = "See the intranet." }
order = "password-first"

[[rule]]
name = "a passcode"
when = { service = ["wiki"], operation = ["password-change"] }
require = { any = ["passcode", { all = ["password", "totp"] }] }

[[rule]]
name = "a passcode, in the clear"
when = { service = ["open wiki"], operation = ["password-change"] }
require = { any = ["passcode", { all = ["password", "totp"] }] }
enrol_unprotected = true

[[rule]]
name = "no word of enrolment"
when = { service = ["strict", "wiki", "open wiki"] }
require = { all = ["password", "totp"] }
"#;

const SHOWN: &str = "Add to app: GA4T QNZW GU2D GMRR GA4T QNZW GU2D GMRR then enter its code:";
const NEXT: &str = "Now the next code:";
const CODE: &str = "Enter the 6-digit code";

/// Ana has nothing, and never had.
fn world() -> World {
    let mut world = World::new();
    let mut faults = Faults::default();
    let sources = [Source::new(Path::new("enrol.toml"), RULES)];
    let policy = policy::parse(&sources, Dictionary::shipped(), &mut faults);
    assert_eq!(faults, Faults::default());
    world.engine.policy = Arc::new(policy);
    world.store.clear();
    world
}

/// The code of the new key, so many steps from now.
fn code(world: &World, ahead: i64) -> String {
    let generator = Generator::new(&Secret::new(*KEY), Algorithm::Sha1, 6);
    let step = (world.now.secs() / 30).saturating_add_signed(ahead);
    generator.code(step).expose_str().unwrap().to_owned()
}

fn prompt(verdict: Verdict) -> Prompt {
    match verdict {
        Verdict::Challenge(prompt) => prompt,
        other => panic!("no challenge: {other:?}"),
    }
}

fn grant(verdict: Verdict) -> Grant {
    match verdict {
        Verdict::Accept(grant) => grant,
        other => panic!("not let in: {other:?}"),
    }
}

impl World {
    /// What is typed to a client that shows dialogs, over TLS.
    fn over_tls(&mut self, service: &str, user: &str, typed: &str, dialog: Option<Dialog>) -> Verdict {
        let mut request = self.request(service, user, typed, dialog, Capability::Dialog);
        request.origin.transport = Transport::Tls;
        self.run(&request)
    }

    fn show_key(&mut self) -> Dialog {
        let shown = prompt(self.over_tls("vpn", "ana", PASSWORD, None));
        assert_eq!((shown.text.as_str(), shown.echo), (SHOWN, true));
        shown.dialog
    }

    /// Whether there is no token yet, nor a word of one.
    fn is_pending(&self) -> bool {
        let record = self.user();
        record.tokens.is_empty() && !record.ever_enrolled && record.login == "ana"
    }

    fn last(&self) -> (String, Option<String>) {
        let last = self.audit.last().unwrap();
        (last.action.clone(), last.reason.clone())
    }
}

#[test]
fn two_codes_in_a_row_enrol_and_let_in() {
    let mut world = world();
    let first = world.show_key();
    assert!(world.binds == 1 && world.is_pending());
    let keyring = Arc::clone(&world.engine.keyring);
    assert!(first.seal(&keyring, b"vpn", world.now).unwrap().len() <= MAX_SEALED);
    let typed = code(&world, 0);
    let second = prompt(world.over_tls("vpn", "ana", &typed, Some(first)));
    assert_eq!(second.text, NEXT);
    assert!(world.is_pending());
    world.now = world.now + Duration::from_secs(30);
    let typed = code(&world, 0);
    let grant = grant(world.over_tls("vpn", "ana", &typed, Some(second.dialog.clone())));
    assert_eq!(grant.proven.to_string(), "password+totp");
    let record = world.user();
    assert!(record.ever_enrolled && record.tokens.len() == 1);
    assert_eq!((world.binds, world.failures()), (1, 0));
    let actions: Vec<&str> = world.audit.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["login", "token.enrol", "login"]);
    assert_eq!(world.audit[0].outcome, Outcome::Restricted);
    assert_eq!(world.audit[1].reason.as_deref(), Some("totp token 1 `token-1`"));

    // The same State once more, and the same code at a login.
    let again = world.over_tls("vpn", "ana", &typed, Some(second.dialog));
    assert_eq!(denial(again), Denial::BadDialog);
    let dialog = prompt(world.over_tls("vpn", "ana", PASSWORD, None));
    assert_eq!(dialog.text, CODE, "from now on a code is asked for first");
    assert_eq!(world.binds, 1);
    let replayed = world.over_tls("vpn", "ana", &typed, Some(dialog.dialog.clone()));
    assert_eq!(denial(replayed), Denial::CodeReplayed);
    world.now = world.now + Duration::from_secs(30);
    let typed = code(&world, 0);
    assert!(matches!(
        world.over_tls("vpn", "ana", &typed, Some(dialog.dialog)),
        Verdict::Accept(_)
    ));
}

#[test]
fn of_two_enrolments_at_once_one_comes_through() {
    let mut world = world();
    let (one, other) = (world.show_key(), world.show_key());
    let typed = code(&world, 0);
    assert_eq!(
        denial(world.over_tls("vpn", "ana", &typed, Some(one))),
        Denial::BadDialog
    );
    let half = prompt(world.over_tls("vpn", "ana", &typed, Some(other))).dialog;
    world.now = world.now + Duration::from_secs(30);
    let typed = code(&world, 0);
    // The same State twice, judged on the same facts: the second does not commit, and is judged again.
    let engine = world.engine.clone();
    let facts = world.facts("ana");
    let decide = |world: &World, facts: &Facts| {
        let mut request = world.request("vpn", "ana", &typed, Some(half.clone()), Capability::Dialog);
        request.origin.transport = Transport::Tls;
        match engine.begin(&request, facts, world.now, 7) {
            Step::Decided(decision) => decision,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (decide(&world, &facts), decide(&world, &facts));
    assert!(matches!(
        (&first.verdict, &second.verdict),
        (Verdict::Accept(_), Verdict::Accept(_))
    ));
    assert!(world.commit(first.batch));
    assert!(!world.commit(second.batch), "it rests on a record that is another now");
    let second = decide(&world, &world.facts("ana"));
    assert_eq!(denial(second.verdict), Denial::BadDialog);
    assert_eq!(world.user().tokens.len(), 1);
}

#[test]
fn whoever_is_enrolled_by_an_operator_meanwhile_is_too_late() {
    let mut world = world();
    let dialog = world.show_key();
    let mut record = world.user();
    record.ever_enrolled = true;
    world.put(&record);
    let typed = code(&world, 0);
    let late = world.over_tls("vpn", "ana", &typed, Some(dialog));
    assert_eq!(denial(late), Denial::EnrolledMeanwhile);
}

#[test]
fn wrong_codes_count_and_three_end_it() {
    let mut world = world();
    let first = world.show_key();
    let mut dialog = first.clone();
    for failures in 1..=2 {
        let again = prompt(world.over_tls("vpn", "ana", "000000", Some(dialog)));
        assert_eq!((again.text.as_str(), world.failures()), (SHOWN, failures));
        dialog = again.dialog;
    }
    assert_eq!(
        denial(world.over_tls("vpn", "ana", "000000", Some(dialog))),
        Denial::WrongCode
    );
    // The first State again gives no more guesses.
    let typed = code(&world, 0);
    let replayed = world.over_tls("vpn", "ana", &typed, Some(first));
    assert_eq!((denial(replayed), world.failures()), (Denial::BadDialog, 3));
    // Nor does beginning anew: the failures of codes stay.
    let anew = world.show_key();
    for failures in 4..=5 {
        prompt(world.over_tls("vpn", "ana", "000000", Some(anew.clone())));
        assert_eq!(world.failures(), failures);
    }
    let locked = world.over_tls("vpn", "ana", &typed, Some(anew));
    assert_eq!(denial(locked), Denial::Throttled);
    assert!(world.is_pending());
}

#[test]
fn a_wrong_second_code_is_asked_for_again() {
    let mut world = world();
    let first = world.show_key();
    let typed = code(&world, 0);
    let second = prompt(world.over_tls("vpn", "ana", &typed, Some(first)));
    let same = prompt(world.over_tls("vpn", "ana", &typed, Some(second.dialog)));
    assert_eq!(
        (same.text.as_str(), world.failures()),
        (NEXT, 0),
        "typed twice is no guess"
    );
    let wrong = prompt(world.over_tls("vpn", "ana", "000000", Some(same.dialog)));
    assert_eq!((wrong.text.as_str(), world.failures()), (NEXT, 1));
    world.now = world.now + Duration::from_secs(30);
    let typed = code(&world, 0);
    assert!(matches!(
        world.over_tls("vpn", "ana", &typed, Some(wrong.dialog)),
        Verdict::Accept(_)
    ));
}

#[test]
fn a_wrong_password_is_asked_for_a_code_as_everybody_is() {
    let mut world = world();
    let wrong = prompt(world.over_tls("vpn", "ana", "guess", None));
    assert_eq!((world.binds, world.failures()), (1, 1));
    assert_eq!(wrong.untold, Some(Denial::WrongPassword));
    assert_eq!(world.last(), ("login".into(), Some("wrong-password".into())));
    let length = |prompt: &Prompt, world: &World| {
        let keyring = &world.engine.keyring;
        prompt.dialog.seal(keyring, b"vpn", world.now).unwrap().len()
    };
    let mut enrolled = World::new();
    enrolled.engine.policy = Arc::clone(&world.engine.policy);
    let usual = prompt(enrolled.over_tls("vpn", "ana", "guess", None));
    assert_eq!(enrolled.binds, 0);
    let mut same = vec![usual];
    // Names of nobody: some of them are given the time of a bind.
    for name in ["ben", "cid", "dot", "eva", "fay", "gus", "hal", "ida"] {
        same.push(prompt(world.over_tls("vpn", name, "guess", None)));
    }
    for other in &same {
        assert_eq!(other.untold, None);
        assert_eq!((&other.text, other.echo), (&wrong.text, wrong.echo));
        // Stuffing makes single octets of difference.
        assert!(length(other, &world).abs_diff(length(&wrong, &world)) <= 1);
    }
    for typed in ["000000", &code(&world, 0)] {
        let end = world.over_tls("vpn", "ana", typed, Some(wrong.dialog.clone()));
        assert_eq!(denial(end), Denial::NotEnrolled);
        assert_eq!(
            denial(world.over_tls("vpn", "ben", typed, Some(same[1].dialog.clone()))),
            Denial::UnknownUser
        );
    }
    assert_eq!((world.binds, world.failures()), (1, 1), "judged once, counted once");
    // Whoever is locked out is asked the same, and the directory is left alone.
    for failures in 2..=5 {
        prompt(world.over_tls("vpn", "ana", "guess", None));
        assert_eq!(world.failures(), failures);
    }
    let locked = prompt(world.over_tls("vpn", "ana", PASSWORD, None));
    assert_eq!((locked.text.as_str(), world.binds), (CODE, 5));
}

#[test]
fn some_names_of_nobody_are_tried_and_some_are_not() {
    let world = world();
    let tried = |user: &str| {
        let mut request = world.request("vpn", user, "guess", None, Capability::Dialog);
        request.origin.transport = Transport::Tls;
        let facts = world.facts(user);
        match world.engine.begin(&request, &facts, world.now, 1) {
            Step::Do(Effect::VerifyNobody { .. }, _) => true,
            Step::Decided(_) => false,
            other => panic!("{other:?}"),
        }
    };
    let names: Vec<String> = (0..64).map(|number| format!("nobody{number}")).collect();
    let count = names.iter().filter(|name| tried(name)).count();
    assert!((10..=54).contains(&count), "{count} of 64");
    assert!(names.iter().all(|name| tried(name) == tried(name)));
}

#[test]
fn what_the_directory_says_of_an_account_is_not_told_either() {
    for outcome in [PasswordOutcome::Locked, PasswordOutcome::Disabled] {
        let mut world = world();
        world.outcome = Some(outcome);
        let asked = prompt(world.over_tls("vpn", "ana", PASSWORD, None));
        assert_eq!(asked.text, CODE);
        assert_eq!(world.failures(), 0);
        assert_eq!(
            denial(world.over_tls("vpn", "ana", "000000", Some(asked.dialog))),
            Denial::NotEnrolled
        );
    }
    let mut world = world();
    world.outcome = Some(PasswordOutcome::Unavailable("down".into()));
    assert!(matches!(
        world.over_tls("vpn", "ana", PASSWORD, None),
        Verdict::Unavailable(_)
    ));
}

#[test]
fn the_key_is_not_shown_in_the_clear_unless_the_rule_says_so() {
    let mut world = world();
    let asked = prompt(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    assert_eq!((asked.text.as_str(), world.binds), (CODE, 0));
    let end = world.answer("vpn", "ana", "000000", asked.dialog);
    assert_eq!(denial(end), Denial::EnrolUnprotected);
    assert!(Denial::EnrolUnprotected.advice().unwrap().contains("enrol_unprotected"));
    assert_eq!(world.last(), ("login".into(), Some("enrol-unprotected".into())));
    let shown = prompt(world.ask("open", "ana", PASSWORD, Capability::Dialog));
    assert_eq!(shown.text, SHOWN);
}

#[test]
fn clients_without_dialogs_are_told_where_to_enrol() {
    let mut world = world();
    for capability in [APPEND, Capability::None] {
        for typed in [PASSWORD, "correct horse,000000"] {
            let mut request = world.request("vpn", "ana", typed, None, capability);
            request.origin.transport = Transport::Tls;
            assert_eq!(denial(world.run(&request)), Denial::EnrolElsewhere);
        }
    }
    let asked = prompt(world.ask("vpn", "ana", PASSWORD, Capability::SingleChallenge));
    let request = world.request("vpn", "ana", "000000", Some(asked.dialog), Capability::SingleChallenge);
    assert_eq!(denial(world.run(&request)), Denial::EnrolElsewhere);
    assert_eq!((world.binds, world.failures()), (0, 0), "nothing was judged");
}

#[test]
fn grace_lets_in_with_a_reminder_until_its_day_is_over() {
    let mut world = world();
    for capability in [
        Capability::Dialog,
        Capability::SingleChallenge,
        APPEND,
        Capability::None,
    ] {
        let let_in = grant(world.ask("soon", "ana", PASSWORD, capability));
        let reminder = "Set up an authenticator app: after 2023-12-31 the password alone is not enough.";
        assert_eq!(let_in.message.as_deref(), Some(reminder));
        assert_eq!(let_in.proven.to_string(), "password");
        assert_eq!(world.last(), ("login".into(), Some("enrol-grace".into())));
        let own = grant(world.ask("own", "ana", PASSWORD, capability));
        assert_eq!(own.message.as_deref(), Some("See the intranet."));
    }
    assert_eq!(world.binds, 8);
    assert_eq!(prompt(world.ask("soon", "ana", "guess", Capability::Dialog)).text, CODE);
    assert_eq!(denial(world.ask("soon", "ana", "guess", APPEND)), Denial::WrongPassword);
    assert_eq!(
        denial(world.ask("own", "ana", "guess", Capability::Dialog)),
        Denial::WrongPassword
    );
    assert_eq!(world.failures(), 3);
    assert_eq!(
        denial(world.ask("strict", "ana", PASSWORD, APPEND)),
        Denial::MissingCode
    );

    // The last moment of it, and the first one after it.
    world.now = Timestamp::from_millis(1_704_067_199_999);
    grant(world.ask("soon", "ana", PASSWORD, APPEND));
    world.now = Timestamp::from_millis(1_704_067_200_000);
    assert_eq!(
        denial(world.ask("soon", "ana", PASSWORD, APPEND)),
        Denial::EnrolElsewhere
    );
    assert_eq!(prompt(world.over_tls("soon", "ana", PASSWORD, None)).text, SHOWN);
    assert_eq!(prompt(world.over_tls("own", "ana", PASSWORD, None)).text, SHOWN);
}

/// Ana has a token, and a passcode that leads to another one.
fn reenrolling(replaces_factor: bool) -> World {
    let rules = world().engine.policy;
    let mut world = World::new();
    world.engine.policy = rules;
    let text = "[workflow]\nstarts = \"passcode\"\nsteps = [\"factors\", \"enrol\"]\n";
    let mut faults = Faults::default();
    let workflows = Workflows::parse(&[Source::new(Path::new("passcode.toml"), text)], &mut faults);
    assert!(faults.0.is_empty(), "{faults}");
    Arc::make_mut(&mut world.engine.policy).workflows = workflows;
    let mut record = world.user();
    record.passcode.as_mut().unwrap().replaces_factor = replaces_factor;
    record.next_token = 2;
    world.put(&record);
    world
}

/// From the key to the end.
fn confirm(world: &mut World, service: &str, shown: Prompt) -> Verdict {
    assert_eq!(shown.text, SHOWN);
    let typed = code(world, 0);
    let half = prompt(world.over_tls(service, "ana", &typed, Some(shown.dialog)));
    assert_eq!(half.text, NEXT);
    world.now = world.now + Duration::from_secs(30);
    let typed = code(world, 0);
    world.over_tls(service, "ana", &typed, Some(half.dialog))
}

fn usable(record: &UserRecord) -> Vec<(u32, bool)> {
    record.tokens.iter().map(|token| (token.id, !token.disabled)).collect()
}

#[test]
fn a_token_enrolled_in_place_of_a_lost_one_switches_it_off() {
    let mut world = reenrolling(true);
    let shown = prompt(world.over_tls("wiki", "ana", "K7QXM3RTWP", None));
    let Verdict::Closed(closed) = confirm(&mut world, "wiki", shown) else {
        panic!("not at an end");
    };
    assert_eq!(
        (closed.text.as_str(), closed.word),
        ("Token enrolled. Sign in.", "enrolled")
    );
    assert_eq!(usable(&world.user()), [(1, false), (2, true)]);
    let said: Vec<_> = world.audit.iter().map(|event| event.action.as_str()).collect();
    assert!(said.ends_with(&["token.enrol", "token.disable"]), "{said:?}");
    assert!(
        world.user().helped.is_some_and(|helped| helped.ended.is_some()),
        "the session is over"
    );
}

#[test]
fn a_token_enrolled_beside_others_is_one_more() {
    let mut world = reenrolling(false);
    let factor = prompt(world.over_tls("wiki", "ana", "K7QXM3RTWP", None));
    let typed = world.code();
    let shown = prompt(world.over_tls("wiki", "ana", &typed, Some(factor.dialog)));
    assert!(matches!(confirm(&mut world, "wiki", shown), Verdict::Closed(_)));
    assert_eq!(usable(&world.user()), [(1, true), (2, true)]);
}

#[test]
fn in_a_session_as_well_a_key_is_hidden_and_there_are_limits() {
    let mut world = reenrolling(true);
    let refused = world.ask("wiki", "ana", "K7QXM3RTWP", Capability::Dialog);
    assert_eq!(denial(refused), Denial::EnrolUnprotected);
    let mut world = reenrolling(true);
    let shown = prompt(world.ask("open wiki", "ana", "K7QXM3RTWP", Capability::Dialog));
    assert!(matches!(confirm(&mut world, "open wiki", shown), Verdict::Closed(_)));
    let mut world = reenrolling(true);
    let mut record = world.user();
    while record.tokens.len() < UserRecord::MAX_TOKENS {
        record.tokens.push(record.tokens[0].clone());
    }
    world.put(&record);
    let full = world.over_tls("wiki", "ana", "K7QXM3RTWP", None);
    assert_eq!(denial(full), Denial::TooManyTokens);
    let mut world = reenrolling(true);
    let mut shown = prompt(world.over_tls("wiki", "ana", "K7QXM3RTWP", None));
    for _ in 0..2 {
        shown = prompt(world.over_tls("wiki", "ana", "000000", Some(shown.dialog)));
    }
    let end = world.over_tls("wiki", "ana", "000000", Some(shown.dialog.clone()));
    assert_eq!(denial(end), Denial::WrongCode);
    let typed = code(&world, 0);
    let over = world.over_tls("wiki", "ana", &typed, Some(shown.dialog));
    assert_eq!(denial(over), Denial::BadDialog);
    assert_eq!(
        usable(&world.user()),
        [(1, true)],
        "nothing is switched off before the new one is there"
    );
}

#[test]
fn an_old_password_is_changed_before_there_is_a_token() {
    for service in ["vpn", "soon"] {
        let mut world = world();
        world.outcome = Some(PasswordOutcome::MustChange);
        let first = prompt(world.over_tls(service, "ana", PASSWORD, None));
        assert_eq!(first.text, "The password must be changed. New password:");
        let again = prompt(world.over_tls(service, "ana", "a new one", Some(first.dialog)));
        let end = world.over_tls(service, "ana", "a new one", Some(again.dialog));
        // Nobody is let in by it: what the rule asks for comes with the next login.
        let Verdict::Closed(closed) = end else {
            panic!("{end:?}")
        };
        assert_eq!(closed.text, "Password changed. Sign in with it.");
        assert_eq!(world.changes, [(Some(PASSWORD.into()), "a new one".into())]);
    }
}

#[test]
fn a_workflow_without_the_step_lets_nobody_in() {
    let mut world = world();
    let text = "[workflow]\nstarts = \"enrol\"\nsteps = []\nends = \"accept\"\n";
    let mut faults = Faults::default();
    let workflows = Workflows::parse(&[Source::new(Path::new("enrol.toml"), text)], &mut faults);
    Arc::make_mut(&mut world.engine.policy).workflows = workflows;
    assert_eq!(
        denial(world.over_tls("vpn", "ana", PASSWORD, None)),
        Denial::NotEnrolled
    );
}

/// Every way in which somebody can lose the last factor: the password alone is enough for none of them.
#[test]
fn whoever_has_had_a_factor_never_falls_back() {
    let fresh = || {
        let mut world = World::new();
        world.engine.policy = super::enrol::world().engine.policy;
        world
    };
    let token_gone = |record: &mut UserRecord| record.tokens.clear();
    let token_off = |record: &mut UserRecord| record.tokens[0].disabled = true;
    type Way<'w> = (&'w str, &'w dyn Fn(&mut UserRecord));
    let ways: [Way<'_>; 4] = [
        ("revoked", &|record| {
            token_gone(record);
            record.recovery.clear();
            record.passcode = None;
        }),
        ("switched off", &|record| {
            token_off(record);
            record.recovery.clear();
        }),
        ("recovery codes spent", &|record| {
            record.tokens.clear();
            record.recovery.clear();
        }),
        ("an older record that does not say so", &|record| {
            token_off(record);
            record.recovery.clear();
            record.ever_enrolled = false;
        }),
    ];
    for (way, lose) in ways {
        let mut world = fresh();
        let mut record = world.user();
        lose(&mut record);
        world.put(&record);
        let asked = prompt(world.over_tls("vpn", "ana", PASSWORD, None));
        assert_eq!((asked.text.as_str(), world.binds), (CODE, 0), "{way}");
        assert_eq!(
            denial(world.over_tls("vpn", "ana", "000000", Some(asked.dialog))),
            Denial::NotEnrolled,
            "{way}"
        );
        assert_eq!(
            denial(world.ask("soon", "ana", PASSWORD, APPEND)),
            Denial::MissingCode,
            "{way}"
        );
    }
    // A token that too many wrong codes have disabled.
    let mut world = fresh();
    world.engine.settings = Settings {
        limit: Limit {
            failures: 0,
            window: Duration::from_secs(900),
        },
        ..world.engine.settings
    };
    let mut record = world.user();
    record.recovery.clear();
    world.put(&record);
    for _ in 0..100 {
        world.ask("soon", "ana", "correct horse,000000", APPEND);
    }
    assert!(world.user().tokens[0].disabled);
    assert_eq!(denial(world.ask("soon", "ana", PASSWORD, APPEND)), Denial::MissingCode);
    // The last recovery code, spent at a login.
    let mut world = fresh();
    let mut record = world.user();
    record.tokens.clear();
    world.put(&record);
    let typed = format!("{PASSWORD},23456789ABCDEF");
    grant(world.ask("vpn", "ana", &typed, APPEND));
    assert!(world.user().recovery.is_empty());
    assert_eq!(denial(world.ask("soon", "ana", PASSWORD, APPEND)), Denial::MissingCode);
}
