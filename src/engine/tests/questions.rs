//! Security questions in dialogs: asked, judged, counted, defined.

use super::*;
use crate::engine::Transport;
use crate::engine::questions::answers::{NewAnswer, prepare_one};
use crate::engine::questions::tests::policy as questions;
use crate::engine::verdict::Prompt;
use crate::engine::workflow::Workflows;

/// Everybody's wrong answer.
const NONSENSE: &str = "no idea";

impl World {
    /// Recovery by a code and two questions, of which ana has three answers; then a choice.
    fn asking() -> Self {
        Self::following(
            "[workflow]\nstarts = \"recover\"\n\
             steps = [{ prove = [\"totp\"] }, \"questions\", { choose = [\"unlock\", \"answers\"] }]\n",
        )
    }

    fn following(workflow: &str) -> Self {
        let mut world = Self::new();
        let mut faults = Faults::default();
        let workflows = Workflows::parse(&[Source::new(Path::new("recover.toml"), workflow)], &mut faults);
        assert!(faults.0.is_empty(), "{faults}");
        let policy = Arc::make_mut(&mut world.engine.policy);
        policy.workflows = workflows;
        policy.questions = questions();
        let mut user = world.user();
        let answer = |id: &str| {
            let new = NewAnswer {
                question: id.into(),
                own: None,
                answer: Secret::new(right(id)),
            };
            let mut salt = [0; 16];
            salt[..4].copy_from_slice(&id.as_bytes()[..4]);
            let prepared = prepare_one(&new, &world.person.key, &world.engine.keyring, salt);
            let hash = cheap(&prepared.job);
            prepared.finish(hash)
        };
        let defined = ["school", "street", "concert"].map(answer).into();
        let answers = user.answers.get_or_insert_default();
        answers.define(defined, &questions(), world.now);
        world.put(&user);
        world
    }

    fn type_in(&mut self, user: &str, typed: &str, before: Option<&Prompt>) -> Verdict {
        let dialog = before.map(|prompt| prompt.dialog.clone());
        let mut request = self.request("wiki", user, typed, dialog, Capability::Dialog);
        request.origin.manner.recover = Some("?recover".into());
        request.origin.transport = Transport::Tls;
        self.run(&request)
    }

    fn prompted(&mut self, user: &str, typed: &str, before: Option<&Prompt>) -> Prompt {
        match self.type_in(user, typed, before) {
            Verdict::Challenge(prompt) => prompt,
            other => panic!("{other:?}"),
        }
    }

    /// A whole dialog: `code`, then an answer to each question; the questions, and what came of it.
    fn recover(&mut self, user: &str, code: &str, answer: impl Fn(&str) -> String) -> (Vec<String>, Verdict) {
        let first = self.prompted(user, "?recover", None);
        let mut before = self.prompted(user, code, Some(&first));
        let mut asked = Vec::new();
        loop {
            asked.push(before.text.clone());
            match self.type_in(user, &answer(&before.text), Some(&before)) {
                Verdict::Challenge(prompt) if prompt.text.ends_with('?') => before = prompt,
                verdict => return (asked, verdict),
            }
        }
    }

    /// At the service that takes the password alone, over TLS.
    fn login_encrypted(&mut self, dialog: Option<Dialog>, typed: &str) -> Verdict {
        let mut request = self.request("password", "ana", typed, dialog, Capability::Dialog);
        request.origin.transport = Transport::Tls;
        self.run(&request)
    }

    fn next_step(&mut self) -> String {
        self.now = self.now + Duration::from_secs(30);
        self.code()
    }

    fn answers(&self) -> record::Answers {
        *self.user().answers.unwrap()
    }
}

fn right(question: &str) -> String {
    format!("the {question} it was")
}

/// What ana answers to a question.
fn ana(text: &str) -> String {
    let policy = questions();
    let asked = policy
        .questions
        .iter()
        .find(|question| question.texts.values().any(|own| **own == *text));
    right(&asked.unwrap().id)
}

fn nonsense(_: &str) -> String {
    NONSENSE.into()
}

fn refused(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Reject(Denial::NotProven | Denial::UnknownUser | Denial::Throttled)
    )
}

#[test]
fn right_answers_after_a_code_open_a_session() {
    let mut world = World::asking();
    let code = world.code();
    let (asked, verdict) = world.recover("ana", &code, ana);
    assert_eq!((asked.len(), world.hashes), (2, 2));
    assert!(
        matches!(&verdict, Verdict::Challenge(prompt) if prompt.text.starts_with("1 unlock")),
        "{verdict:?}"
    );
    let answers = world.answers();
    assert_eq!((answers.rounds, answers.failures), (1, 0));
    assert!(world.user().helped.is_some());
}

#[test]
fn everybody_has_the_same_rounds() {
    let mut world = World::asking();
    let (known, verdict) = world.recover("ana", "000000", nonsense);
    assert!(refused(&verdict), "{verdict:?}");
    let hashes = world.hashes;
    let (unknown, verdict) = world.recover("eve", "000000", nonsense);
    assert!(refused(&verdict), "{verdict:?}");
    assert_eq!((known.len(), hashes), (unknown.len(), world.hashes - hashes));
    // Of the same questions each, however often.
    assert_eq!(world.recover("eve", "000000", nonsense).0, unknown);
    assert_eq!(world.recover("ana", "000000", nonsense).0, known);
    // Neither what was wrong before nor who is unknown counts against any answers.
    assert_eq!(world.answers().failures, 0);
}

#[test]
fn who_has_no_answers_is_asked_all_the_same() {
    let mut world = World::asking();
    let mut user = world.user();
    user.answers = None;
    world.put(&user);
    let code = world.code();
    let (asked, verdict) = world.recover("ana", &code, ana);
    assert_eq!(asked.len(), 2);
    assert!(refused(&verdict), "{verdict:?}");
}

#[test]
fn who_has_too_few_answers_is_asked_what_nobody_has() {
    let mut world = World::asking();
    let mut user = world.user();
    user.answers.as_mut().unwrap().answers.truncate(1);
    world.put(&user);
    let code = world.code();
    let (asked, verdict) = world.recover("ana", &code, ana);
    assert_eq!(asked.len(), 2);
    assert!(refused(&verdict), "{verdict:?}");
    assert_eq!((world.answers().failures, world.failures()), (0, 0), "that is no guess");
}

#[test]
fn answers_that_are_due_are_defined_after_a_login() {
    let mut world =
        World::following("[workflow]\nstarts = \"recover\"\nsteps = [{ prove = [\"totp\"] }, \"unlock\"]\n");
    let mut faults = Faults::default();
    let text = "[workflow]\nstarts = \"login\"\nsteps = [\"answers\"]\nends = \"accept\"\n";
    let source = Source::new(Path::new("login.toml"), text);
    let workflows = Workflows::parse(&[source], &mut faults);
    assert!(faults.0.is_empty(), "{faults}");
    Arc::make_mut(&mut world.engine.policy).workflows = workflows;
    // Nothing is due: let in at once.
    assert!(matches!(world.login_encrypted(None, PASSWORD), Verdict::Accept(_)));
    let mut user = world.user();
    user.answers.as_mut().unwrap().require_update();
    world.put(&user);
    // Not where a client cannot ask.
    let once = world.ask("password", "ana", PASSWORD, Capability::None);
    assert!(matches!(once, Verdict::Accept(_)), "{once:?}");
    let mut verdict = world.login_encrypted(None, PASSWORD);
    for answer in ["St. Mary's", "Station Road", "The Hobbit"] {
        let Verdict::Challenge(prompt) = verdict else {
            panic!("{verdict:?}")
        };
        assert!(prompt.text.starts_with("Answer "), "{}", prompt.text);
        verdict = world.login_encrypted(Some(prompt.dialog), answer);
    }
    assert!(matches!(verdict, Verdict::Accept(_)), "{verdict:?}");
    assert!(world.answers().count());
}

#[test]
fn wrong_rounds_count_and_lock() {
    let mut world = World::asking();
    let code = world.code();
    let half = |text: &str| {
        if text == "First school?" {
            ana(text)
        } else {
            NONSENSE.into()
        }
    };
    let (first, verdict) = world.recover("ana", &code, half);
    assert!(refused(&verdict), "one right answer of two is not enough: {verdict:?}");
    assert_eq!((world.answers().failures, world.failures()), (1, 1));
    let code = world.next_step();
    let (second, _) = world.recover("ana", &code, nonsense);
    assert_eq!(first, second, "the same questions again");
    assert!(world.answers().locked);
    assert_eq!(
        world
            .audit
            .iter()
            .filter(|event| event.reason.as_deref() == Some("wrong-answers"))
            .count(),
        2
    );
    // Locked, right answers are as good as wrong ones, and the questions are the same.
    let code = world.next_step();
    let (third, verdict) = world.recover("ana", &code, ana);
    assert_eq!(third, first);
    assert!(refused(&verdict), "{verdict:?}");
    assert_eq!(world.failures(), 2, "what cannot be right is no guess");
    let mut user = world.user();
    user.answers.as_mut().unwrap().unlock();
    world.put(&user);
    let code = world.next_step();
    let (_, verdict) = world.recover("ana", &code, ana);
    assert!(matches!(verdict, Verdict::Challenge(_)), "{verdict:?}");
}

#[test]
fn answers_that_must_be_updated_do_not_count() {
    let mut world = World::asking();
    let mut user = world.user();
    user.answers.as_mut().unwrap().require_update();
    world.put(&user);
    let code = world.code();
    let (_, verdict) = world.recover("ana", &code, ana);
    assert!(refused(&verdict), "{verdict:?}");
}

#[test]
fn a_replayed_state_gives_no_guess_for_nothing() {
    let mut world = World::asking();
    let code = world.code();
    let first = world.prompted("ana", "?recover", None);
    let question = world.prompted("ana", &code, Some(&first));
    let last = world.prompted("ana", &ana(&question.text), Some(&question));
    // The same challenge, answered over and over: each one counts, and then they are locked.
    for failures in 1..=2 {
        assert!(refused(&world.type_in("ana", NONSENSE, Some(&last))));
        assert_eq!(
            (world.answers().failures, world.failures()),
            (failures, failures as usize)
        );
    }
    assert!(refused(&world.type_in("ana", &ana(&last.text), Some(&last))), "locked");
    // A question answered over and over tells nothing: the next one is asked whatever was typed.
    let text = world.prompted("ana", NONSENSE, Some(&question)).text;
    assert_eq!(text, last.text);
    assert_eq!(world.answers().failures, 2);
}

#[test]
fn a_round_that_began_before_another_was_right_is_void() {
    let mut world = World::asking();
    let code = world.code();
    let first = world.prompted("ana", "?recover", None);
    let question = world.prompted("ana", &code, Some(&first));
    let last = world.prompted("ana", &ana(&question.text), Some(&question));
    let choice = world.prompted("ana", &ana(&last.text), Some(&last));
    assert!(choice.text.starts_with("1 unlock"));
    let again = world.type_in("ana", &ana(&last.text), Some(&last));
    assert!(refused(&again), "{again:?}");
    assert_eq!((world.answers().failures, world.answers().rounds), (0, 1));
}

#[test]
fn too_many_hashes_are_an_outage_and_no_wrong_answer() {
    let mut world = World::asking();
    let code = world.code();
    let first = world.prompted("ana", "?recover", None);
    let question = world.prompted("ana", &code, Some(&first));
    let (records, audit) = (world.revision, world.audit.len());
    world.too_busy = true;
    let verdict = world.type_in("ana", &ana(&question.text), Some(&question));
    assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    assert_eq!((world.answers().failures, world.failures()), (0, 0));
    assert_eq!(world.audit.len(), audit, "a flood writes nothing down");
    assert!(world.revision - records <= 1);
    // The same can be typed again.
    world.too_busy = false;
    let last = world.prompted("ana", &ana(&question.text), Some(&question));
    world.prompted("ana", &ana(&last.text), Some(&last));
}

#[test]
fn questions_before_the_code_tell_nothing_of_themselves() {
    let mut world = World::following(
        "[workflow]\nstarts = \"recover\"\nsteps = [\"questions\", { prove = [\"totp\"] }, \"unlock\"]\n",
    );
    let question = world.prompted("ana", "?recover", None);
    let last = world.prompted("ana", &ana(&question.text), Some(&question));
    let code = world.prompted("ana", &ana(&last.text), Some(&last));
    assert!(refused(&world.type_in("ana", "000000", Some(&code))));
    // Right, and yet the same questions next time: the round has opened nothing.
    assert_eq!(world.answers().rounds, 0);
    assert_eq!(world.prompted("ana", "?recover", None).text, question.text);
}

#[test]
fn without_a_question_policy_nobody_gets_through() {
    let mut world = World::asking();
    Arc::make_mut(&mut world.engine.policy).questions = policy::Policy::default().questions;
    let code = world.code();
    let first = world.prompted("ana", "?recover", None);
    let verdict = world.type_in("ana", &code, Some(&first));
    assert!(refused(&verdict), "{verdict:?}");
}

#[test]
fn a_rule_may_ask_questions_beside_the_password() {
    let mut world = World::asking();
    let dialog = |world: &mut World, user: &str, answer: &dyn Fn(&str) -> String, password: &str| {
        let mut verdict = world.ask("answers", user, password, Capability::Dialog);
        let mut rounds = 0;
        while let Verdict::Challenge(prompt) = &verdict {
            rounds += 1;
            let typed = answer(&prompt.text);
            let dialog = prompt.dialog.clone();
            verdict = world.answer("answers", user, &typed, dialog);
        }
        (rounds, verdict)
    };
    let (rounds, verdict) = dialog(&mut world, "ana", &ana, PASSWORD);
    assert!(matches!(&verdict, Verdict::Accept(_)), "{verdict:?}");
    assert_eq!((rounds, world.binds, world.answers().rounds), (2, 1, 1));

    let (rounds, verdict) = dialog(&mut world, "ana", &ana, "wrong");
    assert!(matches!(verdict, Verdict::Reject(Denial::WrongPassword)), "{verdict:?}");
    assert_eq!((rounds, world.answers().rounds), (2, 1), "the questions do not tell");

    let (rounds, verdict) = dialog(&mut world, "ana", &nonsense, PASSWORD);
    assert!(matches!(verdict, Verdict::Reject(Denial::WrongAnswers)), "{verdict:?}");
    assert_eq!((rounds, world.answers().failures, world.failures()), (2, 1, 2));

    let (rounds, verdict) = dialog(&mut world, "eve", &nonsense, PASSWORD);
    assert!(matches!(verdict, Verdict::Reject(Denial::UnknownUser)), "{verdict:?}");
    assert_eq!(rounds, 2);
    let once = world.ask("answers", "ana", PASSWORD, Capability::None);
    assert!(matches!(once, Verdict::Reject(Denial::ClientCannotAsk)), "{once:?}");
}

#[test]
fn answers_are_defined_in_a_session() {
    let mut world = World::asking();
    let code = world.code();
    let (_, verdict) = world.recover("ana", &code, ana);
    let Verdict::Challenge(choice) = verdict else {
        panic!("{verdict:?}")
    };
    let before = world.answers().answers;
    let first = world.prompted("ana", "2", Some(&choice));
    assert_eq!(first.text, "Answer 1 of 3 to keep: First school?");
    let refusal = world.prompted("ana", "ab", Some(&first));
    assert_eq!(refusal.text, "At least 3 characters. First school?");
    let refusal = world.prompted("ana", "First School", Some(&refusal));
    assert_eq!(refusal.text, "It stands in the question. First school?");
    let second = world.prompted("ana", "St. Mary's", Some(&refusal));
    assert!(second.text.starts_with("Answer 2 of 3 to keep: "), "{}", second.text);
    let refusal = world.prompted("ana", "st.  MARY'S", Some(&second));
    assert!(
        refusal.text.starts_with("The same as another answer. "),
        "{}",
        refusal.text
    );
    let third = world.prompted("ana", "Station Road", Some(&refusal));
    assert_eq!(world.answers().answers, before, "nothing counts before all are in");
    let verdict = world.type_in("ana", "The Hobbit", Some(&third));
    assert!(matches!(&verdict, Verdict::Closed(_)), "{verdict:?}");
    let answers = world.answers();
    assert_eq!(
        (answers.answers.len(), &answers.draft, answers.confirmed),
        (3, &None, world.now)
    );
    let mut salts: Vec<_> = answers.answers.iter().map(|answer| answer.salt).collect();
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 3);
    // The sealed dialog fits, and the session is over.
    let sealed = third.dialog.seal(&world.engine.keyring, b"vpn", world.now);
    assert!(sealed.is_some());
    let again = world.type_in("ana", "The Hobbit", Some(&third));
    assert!(matches!(again, Verdict::Reject(Denial::BadDialog)), "{again:?}");
}

#[test]
fn answers_are_not_defined_over_a_transport_that_does_not_encrypt() {
    let mut world = World::asking();
    let code = world.code();
    let (_, verdict) = world.recover("ana", &code, ana);
    let Verdict::Challenge(choice) = verdict else {
        panic!("{verdict:?}")
    };
    let mut request = world.request("wiki", "ana", "2", Some(choice.dialog), Capability::Dialog);
    request.origin.manner.recover = Some("?recover".into());
    let verdict = world.run(&request);
    assert!(matches!(verdict, Verdict::Closed(_)), "{verdict:?}");
}

#[test]
fn a_round_that_was_right_lets_nobody_in_a_second_time() {
    let mut world = World::asking();
    Arc::make_mut(&mut world.engine.policy).questions.selection = crate::engine::questions::Selection::Fixed;
    let challenged = |verdict| match verdict {
        Verdict::Challenge(prompt) => prompt,
        other => panic!("{other:?}"),
    };
    let first: Prompt = challenged(world.ask("answers", "ana", PASSWORD, Capability::Dialog));
    let second: Prompt = challenged(world.answer("answers", "ana", &ana(&first.text), first.dialog.clone()));
    let last = ana(&second.text);
    let verdict = world.answer("answers", "ana", &last, second.dialog.clone());
    assert!(matches!(verdict, Verdict::Accept(_)), "{verdict:?}");
    let again = world.answer("answers", "ana", &last, second.dialog.clone());
    assert!(matches!(again, Verdict::Reject(Denial::BadDialog)), "{again:?}");
}
