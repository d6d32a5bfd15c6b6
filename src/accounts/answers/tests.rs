use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::accounts::fixture::{CAROL, Fixture, NOW};
use crate::document::{Faults, Source};
use crate::engine::policy::Policy;
use crate::engine::questions;
use crate::engine::questions::answers::{BadSet, Refusal};
use crate::secret::Secret;

/// Two answers of four, one question of helpdesk's, one in one's own wording.
pub(in crate::accounts) const POLICY: &str = r#"
[questions]
define = 2
ask = 2
correct = 2
lock_after = 3
reconfirm_days = 10

[[question]]
id = "school"
kind = "mandatory"
text = { en = "First school?", de = "Erste Schule?" }

[[question]]
id = "street"
text = { en = "First street?" }

[[question]]
id = "book"
text = { en = "First book?" }

[[question]]
id = "own"
kind = "user-defined"
text = { en = "A question of your own:" }

[[question]]
id = "word"
kind = "helpdesk"
text = { en = "A word for helpdesk:" }
"#;

/// Puts a question policy in force, as it is written.
pub(in crate::accounts) fn ask_questions(site: &Fixture, text: &str) {
    let mut faults = Faults::default();
    let source = Source::new(Path::new(questions::FILE), text);
    let mut policy = Policy::default();
    policy.questions = questions::parse(&source, &mut faults);
    assert!(faults.0.is_empty(), "{faults}");
    *site.policy.lock() = Arc::new(policy);
}

pub(in crate::accounts) fn new(question: &str, answer: &str) -> NewAnswer {
    NewAnswer {
        question: question.into(),
        own: (question == "own").then(|| "First pet?".into()),
        answer: Secret::new(answer),
    }
}

/// What ana answers.
pub(in crate::accounts) fn answers() -> [NewAnswer; 4] {
    [
        new("school", "St. Mary's"),
        new("street", "Main Street"),
        new("own", "Fluffy"),
        new("word", "Lighthouse"),
    ]
}

async fn site() -> (Fixture, Subject) {
    let site = Fixture::new();
    ask_questions(&site, POLICY);
    let ana = site.subject("ana").await;
    (site, ana)
}

#[tokio::test]
async fn answers_are_defined_all_together_and_never_seen_again() {
    let (site, ana) = site().await;
    let before = site.accounts.answers(&ana, NOW).await.unwrap();
    assert_eq!((before.defined.len(), before.due.as_deref()), (0, Some("missing")));
    let given = answers();
    let define = |wish| site.accounts.define_answers(&ana, &given, wish, CAROL);

    let look = DefineWish {
        check: true,
        ..DefineWish::default()
    };
    assert!(!define(look).await.unwrap().stored);
    assert!(site.record(&ana).await.answers.is_none(), "only looked at");

    let done = define(DefineWish::default()).await.unwrap();
    assert_eq!((done.answers, done.replaced, done.stored), (4, false, true));
    let stored = format!("{:?}", site.record(&ana).await);
    for secret in ["mary", "fluffy", "lighthouse", "First pet"] {
        assert!(
            !stored.to_lowercase().contains(&secret.to_lowercase()),
            "{secret}: {stored}"
        );
    }
    let view = site.accounts.answers(&ana, NOW).await.unwrap();
    let ids: Vec<&str> = view.defined.iter().map(|one| one.question.as_str()).collect();
    assert_eq!(ids, ["school", "street", "own", "word"]);
    assert!(view.usable && view.due.is_none());
    assert_eq!(view.confirmed, Some(NOW));

    let again = define(DefineWish::default()).await;
    assert!(matches!(again, Err(AccountError::AnswersDefined(_))), "{again:?}");
    let over = DefineWish {
        replace: true,
        ..DefineWish::default()
    };
    assert!(define(over).await.unwrap().replaced);
    assert_eq!(
        site.audited().await,
        ["answers.define accept", "answers.define accept"],
        "what was not done is not written down as done"
    );
}

#[tokio::test]
async fn the_policy_holds_for_operators_too() {
    let (site, ana) = site().await;
    let refused = async |given: Vec<NewAnswer>| {
        let done = site
            .accounts
            .define_answers(&ana, &given, DefineWish::default(), CAROL)
            .await;
        match done {
            Err(AccountError::BadAnswers(_, bad)) => bad,
            other => panic!("{other:?}"),
        }
    };
    let short = refused(vec![new("school", "ab"), new("street", "Main Street")]).await;
    assert_eq!(short, BadSet::Answer("school".into(), Refusal::TooShort(3)));
    let same = refused(vec![new("school", "Main"), new("street", "main ")]).await;
    assert_eq!(same, BadSet::Answer("street".into(), Refusal::Duplicate));
    let name = refused(vec![new("school", "ANA"), new("street", "Main Street")]).await;
    assert_eq!(name, BadSet::Answer("school".into(), Refusal::LoginName));
    let few = refused(vec![new("school", "St. Mary's"), new("word", "Lighthouse")]).await;
    assert_eq!(few, BadSet::TooFew(1, 2));
    assert!(site.record(&ana).await.answers.is_none());

    site.main.remove("ana");
    let gone = Subject { person: None, ..ana };
    let left = site
        .accounts
        .define_answers(&gone, &answers(), DefineWish::default(), CAROL)
        .await;
    assert!(matches!(left, Err(AccountError::Gone(_))));
}

#[tokio::test]
async fn without_questions_nothing_is_defined() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let none = site
        .accounts
        .define_answers(&ana, &answers(), DefineWish::default(), CAROL)
        .await;
    assert!(matches!(none, Err(AccountError::NoQuestions)));
    assert_eq!(site.accounts.answers(&ana, NOW).await.unwrap().due, None);
}

#[tokio::test]
async fn the_life_of_answers() {
    let (site, ana) = site().await;
    let change = |change, by| site.accounts.change_answers(&ana, change, by);
    for needless in [
        AnswersChange::Unlock,
        AnswersChange::MustUpdate,
        AnswersChange::Reconfirm,
        AnswersChange::Unregister,
    ] {
        let none = change(needless, CAROL).await;
        assert!(matches!(none, Err(AccountError::NoAnswers(_))), "{needless:?}");
    }
    site.accounts
        .define_answers(&ana, &answers(), DefineWish::default(), CAROL)
        .await
        .unwrap();
    let locked = change(AnswersChange::Lock, CAROL).await.unwrap();
    assert!(locked.locked && !locked.usable);
    let unlocked = change(AnswersChange::Unlock, CAROL).await.unwrap();
    assert!(!unlocked.locked && unlocked.usable);

    let later = NOW + Duration::from_secs(11 * 86_400);
    let old = site.accounts.answers(&ana, later).await.unwrap();
    assert_eq!((old.usable, old.due.as_deref()), (true, Some("reconfirm")));
    let by = Actor { now: later, ..CAROL };
    let confirmed = change(AnswersChange::Reconfirm, by).await.unwrap();
    assert_eq!((confirmed.due, confirmed.confirmed), (None, Some(later)));

    let outdated = change(AnswersChange::MustUpdate, by).await.unwrap();
    assert_eq!((outdated.usable, outdated.due.as_deref()), (false, Some("must-update")));
    let gone = change(AnswersChange::Unregister, by).await.unwrap();
    assert!(gone.defined.is_empty() && gone.confirmed.is_none());
    assert!(site.record(&ana).await.answers.is_none());

    let audited = site.audited().await;
    let actions: Vec<&str> = audited.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "answers.define",
            "answers.lock",
            "answers.unlock",
            "answers.reconfirm",
            "answers.must-update",
            "answers.unregister"
        ]
    );
}

#[tokio::test]
async fn a_lock_comes_before_answers_and_stays_when_they_are_defined() {
    let (site, ana) = site().await;
    site.accounts
        .change_answers(&ana, AnswersChange::Lock, CAROL)
        .await
        .unwrap();
    site.accounts
        .define_answers(&ana, &answers(), DefineWish::default(), CAROL)
        .await
        .unwrap();
    let view = site.accounts.answers(&ana, NOW).await.unwrap();
    assert!(view.locked && !view.usable);
}
