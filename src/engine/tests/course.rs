//! Dialogs that follow workflows: passcodes, recovery, expired passwords.

use super::*;
use crate::engine::account::PasswordRefusal;
use crate::engine::verdict::Prompt;
use crate::engine::workflow::Workflows;

const DEFAULT_PROMPT: &str = "Enter the 6-digit code";
const NEW: &str = "correct horse battery";

impl World {
    /// Recovery by a code alone, and then a choice.
    fn recovering() -> Self {
        let mut world = Self::new();
        let text = "[workflow]\nstarts = \"recover\"\nends = \"reject\"\n\
                    steps = [{ prove = [\"totp\", \"recovery-code\"] }, { choose = [\"unlock\", \"new-password\"] }]\n";
        let mut faults = Faults::default();
        let workflows = Workflows::parse(&[Source::new(Path::new("recover.toml"), text)], &mut faults);
        assert!(faults.0.is_empty(), "{faults}");
        Arc::make_mut(&mut world.engine.policy).workflows = workflows;
        world
    }

    /// A request as a client sends it that lets people recover.
    fn typed(&self, user: &str, typed: &str, dialog: Option<&Dialog>, packet: u8) -> AuthnRequest {
        let mut request = self.request("wiki", user, typed, dialog.cloned(), Capability::Dialog);
        request.origin.manner.recover = Some("?recover".into());
        request.origin.manner.packet = Some([packet; 16]);
        request
    }

    fn typing(&mut self, user: &str, text: &str, before: Option<&Prompt>) -> Verdict {
        let packet = u8::try_from(self.revision % 251).unwrap();
        let request = self.typed(user, text, before.map(|prompt| &prompt.dialog), packet);
        self.run(&request)
    }

    fn user_record(&self) -> UserRecord {
        self.read::<UserRecord>(&Key::user(&self.person.key)).value
    }
}

fn asked(verdict: Verdict, text: &str) -> Prompt {
    let Verdict::Challenge(prompt) = verdict else {
        panic!("{verdict:?} instead of \"{text}\"");
    };
    assert_eq!(prompt.text, text);
    prompt
}

fn closed(verdict: Verdict, text: &str) {
    let Verdict::Closed(closed) = verdict else {
        panic!("{verdict:?} instead of \"{text}\"");
    };
    assert_eq!(closed.text, text);
}

fn refused(verdict: Verdict, denial: Denial) {
    assert!(
        matches!(verdict, Verdict::Reject(found) if found == denial),
        "{verdict:?} instead of {denial:?}"
    );
}

#[test]
fn a_passcode_leads_to_a_new_password_after_the_second_factor() {
    let mut world = World::new();
    let code = world.code();
    let first = asked(world.typing("ana", "k7qxm-3rtwp", None), "Enter a code:");
    assert_eq!(world.user_record().passcode, None, "used up with the answer");
    let second = asked(
        world.typing("ana", &code, Some(&first)),
        "Passcode accepted. New password:",
    );
    let third = asked(world.typing("ana", NEW, Some(&second)), "Repeat the new password:");
    closed(
        world.typing("ana", NEW, Some(&third)),
        "Password changed. Sign in with it.",
    );
    assert_eq!(world.changes, [(None, NEW.to_owned())]);
    // The session is over, and every step of it.
    for prompt in [&first, &second, &third] {
        refused(world.typing("ana", NEW, Some(prompt)), Denial::BadDialog);
    }
    assert_eq!(world.changes.len(), 1);
    assert!(world.user_record().helped.unwrap().ended.is_some());
}

#[test]
fn a_lost_factor_is_not_asked_for_when_the_passcode_replaces_it() {
    let mut world = World::new();
    let mut record = world.user_record();
    record.passcode.as_mut().unwrap().replaces_factor = true;
    world.put(&record);
    asked(
        world.typing("ana", "K7QXM3RTWP", None),
        "Passcode accepted. New password:",
    );
}

#[test]
fn the_request_that_used_a_passcode_is_answered_again() {
    let mut world = World::new();
    let request = world.typed("ana", "K7QXM3RTWP", None, 7);
    asked(world.run(&request), "Enter a code:");
    // Sent again after a restart: the same step, in the same session.
    let again = asked(world.run(&request), "Enter a code:");
    let code = world.code();
    asked(
        world.typing("ana", &code, Some(&again)),
        "Passcode accepted. New password:",
    );
    // Another request with the passcode is not.
    let other = world.typed("ana", "K7QXM3RTWP", None, 8);
    asked(world.run(&other), DEFAULT_PROMPT);
    let guess = world.typed("ana", "K7QXM3RTWX", None, 7);
    asked(world.run(&guess), DEFAULT_PROMPT);
}

#[test]
fn three_wrong_codes_end_the_session() {
    let mut world = World::new();
    let first = asked(world.typing("ana", "K7QXM3RTWP", None), "Enter a code:");
    let second = asked(world.typing("ana", "000000", Some(&first)), "Enter a code:");
    // The same State gives no more tries than the newest.
    asked(world.typing("ana", "000001", Some(&first)), "Enter a code:");
    refused(world.typing("ana", "000002", Some(&second)), Denial::WrongCode);
    let code = world.code();
    refused(world.typing("ana", &code, Some(&second)), Denial::BadDialog);
    assert_eq!(world.failures(), 3);
}

#[test]
fn a_password_that_is_not_taken_is_told_in_plain_words_three_times() {
    let mut world = World::new();
    world.changed = Some(Changed::Refused(PasswordRefusal::TooShort));
    let first = asked(world.typing("ana", "K7QXM3RTWP", None), "Enter a code:");
    let code = world.code();
    let mut prompt = asked(
        world.typing("ana", &code, Some(&first)),
        "Passcode accepted. New password:",
    );
    let repeat = asked(world.typing("ana", "one", Some(&prompt)), "Repeat the new password:");
    prompt = asked(world.typing("ana", "two", Some(&repeat)), "They differ. New password:");
    let repeat = asked(world.typing("ana", "one", Some(&prompt)), "Repeat the new password:");
    prompt = asked(world.typing("ana", "one", Some(&repeat)), "Too short. New password:");
    let repeat = asked(world.typing("ana", "one", Some(&prompt)), "Repeat the new password:");
    closed(
        world.typing("ana", "one", Some(&repeat)),
        "The password was not changed.",
    );
    refused(world.typing("ana", "one", Some(&repeat)), Denial::BadDialog);
}

#[test]
fn an_outage_takes_no_try() {
    let mut world = World::new();
    let first = asked(world.typing("ana", "K7QXM3RTWP", None), "Enter a code:");
    let code = world.code();
    let second = asked(
        world.typing("ana", &code, Some(&first)),
        "Passcode accepted. New password:",
    );
    let third = asked(world.typing("ana", NEW, Some(&second)), "Repeat the new password:");
    world.changed = Some(Changed::Unavailable("gone".into()));
    for _ in 0..5 {
        assert!(matches!(
            world.typing("ana", NEW, Some(&third)),
            Verdict::Unavailable(_)
        ));
    }
    world.changed = None;
    closed(
        world.typing("ana", NEW, Some(&third)),
        "Password changed. Sign in with it.",
    );
}

#[test]
fn either_half_of_a_passcode_tells_nothing() {
    let mut world = World::new();
    world.engine.settings.four_eyes = true;
    for (user, half) in [("nobody", "K7QXM"), ("ana", "K7QXN"), ("ana", "K7QXM")] {
        let prompt = asked(world.typing(user, half, None), "Second part, from your manager:");
        let denial = if user == "ana" {
            Denial::WrongCode
        } else {
            Denial::UnknownUser
        };
        refused(world.typing(user, "22222", Some(&prompt)), denial);
    }
    assert_eq!(world.failures(), 2);
    let prompt = asked(world.typing("ana", "k7qxm", None), "Second part, from your manager:");
    asked(world.typing("ana", "3rtwp", Some(&prompt)), "Enter a code:");
    // Used once.
    refused(world.typing("ana", "3rtwp", Some(&prompt)), Denial::NotEnrolled);
}

#[test]
fn a_passcode_works_for_somebody_who_is_locked_out() {
    let mut world = World::new();
    let code = world.code();
    for _ in 0..5 {
        let prompt = asked(world.typing("ana", "wrong", None), DEFAULT_PROMPT);
        world.typing("ana", "000000", Some(&prompt));
    }
    let prompt = asked(world.typing("ana", PASSWORD, None), DEFAULT_PROMPT);
    refused(world.typing("ana", &code, Some(&prompt)), Denial::Throttled);
    asked(world.typing("ana", "K7QXM3RTWP", None), "Enter a code:");
}

#[test]
fn recovery_is_the_same_for_everybody_until_all_is_proven() {
    let mut world = World::recovering();
    let code = world.code();
    for (user, typed, denial) in [
        ("nobody", "123456", Denial::UnknownUser),
        ("ana", "000000", Denial::NotProven),
    ] {
        let first = asked(world.typing(user, "?recover", None), "Recovery or authenticator code:");
        assert!(first.echo);
        refused(world.typing(user, typed, Some(&first)), denial);
    }
    assert_eq!(world.failures(), 1);
    let first = asked(world.typing("ana", "?recover", None), "Recovery or authenticator code:");
    let menu = asked(world.typing("ana", &code, Some(&first)), "1 unlock  2 new password:");
    let menu = asked(world.typing("ana", "3", Some(&menu)), "1 unlock  2 new password:");
    closed(world.typing("ana", "1", Some(&menu)), "Unlocked. Sign in.");
    assert_eq!(world.changes, [(None, "(unlocked)".to_owned())]);
    refused(world.typing("ana", "1", Some(&menu)), Denial::BadDialog);
    // Without leave it is a password like any other.
    let plain = world.request("wiki", "ana", "?recover", None, Capability::Dialog);
    asked(world.run(&plain), DEFAULT_PROMPT);
}

#[test]
fn a_code_opens_one_session() {
    let mut world = World::recovering();
    let first = asked(world.typing("ana", "?recover", None), "Recovery or authenticator code:");
    let code = world.code();
    let menu = asked(world.typing("ana", &code, Some(&first)), "1 unlock  2 new password:");
    refused(world.typing("ana", &code, Some(&first)), Denial::NotProven);
    let new = asked(world.typing("ana", "2", Some(&menu)), "New password:");
    let repeat = asked(world.typing("ana", NEW, Some(&new)), "Repeat the new password:");
    world.now = world.now + Duration::from_secs(121);
    refused(world.typing("ana", NEW, Some(&repeat)), Denial::BadDialog);
    assert!(world.changes.is_empty());
}

#[test]
fn an_expired_password_is_changed_after_the_factor() {
    for outcome in [PasswordOutcome::Expired, PasswordOutcome::MustChange] {
        let mut world = World::new();
        world.outcome = Some(outcome.clone());
        let code = world.code();
        let first = asked(world.typing("ana", PASSWORD, None), DEFAULT_PROMPT);
        let text = match outcome {
            PasswordOutcome::Expired => "Password expired. New password:",
            _ => "The password must be changed. New password:",
        };
        let second = asked(world.typing("ana", &code, Some(&first)), text);
        let third = asked(world.typing("ana", NEW, Some(&second)), "Repeat the new password:");
        let sealed = third.dialog.seal(&world.engine.keyring, b"c", world.now).unwrap();
        assert!(!sealed.is_empty());
        assert!(matches!(world.typing("ana", NEW, Some(&third)), Verdict::Accept(_)));
        assert_eq!(world.changes, [(Some(PASSWORD.to_owned()), NEW.to_owned())]);
        refused(world.typing("ana", NEW, Some(&third)), Denial::BadDialog);
        // Where no rule lets people change passwords, and where there is no dialog, it is a refusal.
        let mut world = World::new();
        world.outcome = Some(outcome);
        let single = world.ask("code", "ana", PASSWORD, Capability::None);
        assert!(matches!(single, Verdict::Reject(_)));
    }
}

#[test]
fn the_longest_password_fits_with_its_course() {
    let mut world = World::new();
    world.outcome = Some(PasswordOutcome::Expired);
    let code = world.code();
    let first = asked(world.typing("ana", PASSWORD, None), DEFAULT_PROMPT);
    let second = asked(
        world.typing("ana", &code, Some(&first)),
        "Password expired. New password:",
    );
    let mut third = asked(world.typing("ana", NEW, Some(&second)), "Repeat the new password:");
    third.dialog.password = Some(Secret::new(vec![b'x'; 128]));
    assert!(third.dialog.seal(&world.engine.keyring, b"c", world.now).is_some());
}

#[test]
fn a_guess_at_recovering_counts_against_its_source_whoever_it_is_about() {
    let mut world = World::recovering();
    Arc::make_mut(&mut world.engine.policy).questions = crate::engine::questions::tests::policy();
    let text = "[workflow]\nstarts = \"recover\"\nsteps = [{ prove = [\"totp\"] }, \"questions\", \"unlock\"]\n";
    let mut faults = Faults::default();
    let source = Source::new(Path::new("recover.toml"), text);
    Arc::make_mut(&mut world.engine.policy).workflows = Workflows::parse(&[source], &mut faults);
    assert!(faults.0.is_empty(), "{faults}");
    for user in ["ana", "nobody"] {
        let Verdict::Challenge(first) = world.typing(user, "?recover", None) else {
            panic!("not asked");
        };
        assert_eq!(first.untold, None);
        let mut verdict = world.typing(user, "000000", Some(&first));
        let mut counted = 0;
        let denial = loop {
            match verdict {
                Verdict::Challenge(prompt) => {
                    counted += usize::from(prompt.untold.is_some_and(Denial::counts_against_source));
                    verdict = world.typing(user, "no idea", Some(&prompt));
                }
                Verdict::Reject(denial) => break denial,
                other => panic!("{other:?}"),
            }
        };
        counted += usize::from(denial.counts_against_source());
        assert_eq!(counted, 2, "{user}");
    }
}

#[test]
fn half_a_passcode_is_asked_for_the_other_whatever_rule_decides_about_the_person() {
    let mut world = World::new();
    world.engine.settings.four_eyes = true;
    let mut faults = Faults::default();
    let text = "[[rule]]\nname = \"ana\"\nwhen = { service = [\"wiki\"], user = [\"ana\"] }\n\
                require = { all = [\"password\", \"totp\"] }\n\
                [[rule]]\nname = \"others\"\nwhen = { service = [\"wiki\"], operation = [\"password-change\"] }\n\
                require = \"passcode\"\n\
                [[rule]]\nname = \"login\"\nwhen = { service = [\"wiki\"] }\n\
                require = { all = [\"password\", \"totp\"] }\n";
    let source = Source::new(Path::new("p.toml"), text);
    world.engine.policy = Arc::new(policy::parse(&[source], Dictionary::shipped(), &mut faults));
    assert!(faults.0.is_empty(), "{faults}");
    for user in ["ana", "nobody"] {
        let Verdict::Challenge(first) = world.typing(user, "K7QXM", None) else {
            panic!("{user} is not asked");
        };
        assert_ne!(first.text, DEFAULT_PROMPT, "{user}");
        let verdict = world.typing(user, "3RTWP", Some(&first));
        assert!(matches!(verdict, Verdict::Reject(_)), "{user}: {verdict:?}");
    }
    assert!(world.user_record().helped.is_none() && world.user_record().passcode.is_some());
}

#[test]
fn a_rule_against_new_passwords_holds_after_recovery_too() {
    let mut world = World::recovering();
    let rule = |operation: &str, ruling: &str| {
        format!("[[rule]]\nname = \"{operation}\"\nwhen = {{ operation = [\"{operation}\"] }}\n{ruling}\n")
    };
    let text = rule("password-change", "deny = true") + &rule("recovery", "require = \"totp\"");
    let mut faults = Faults::default();
    let rules = policy::parse(
        &[Source::new(Path::new("p.toml"), text)],
        Dictionary::shipped(),
        &mut faults,
    );
    assert!(faults.0.is_empty(), "{faults}");
    Arc::make_mut(&mut world.engine.policy).rules = rules.rules;
    let first = asked(world.typing("ana", "?recover", None), "Recovery or authenticator code:");
    let code = world.code();
    let menu = asked(world.typing("ana", &code, Some(&first)), "1 unlock  2 new password:");
    refused(world.typing("ana", "2", Some(&menu)), Denial::Policy);
    closed(world.typing("ana", "1", Some(&menu)), "Unlocked. Sign in.");
    assert_eq!(world.changes, [(None, "(unlocked)".to_owned())]);
}
