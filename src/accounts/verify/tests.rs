use std::sync::Arc;

use tokio::task::JoinSet;

use super::*;
use crate::accounts::answers::tests::{POLICY, answers, ask_questions};
use crate::accounts::fixture::{CAROL, Fixture, LIMIT, NOW};
use crate::accounts::{AnswersChange, DefineWish, TokenWish};
use crate::engine::authenticator::oath;
use crate::engine::record::Algorithm;

async fn code_of(site: &Fixture, ana: &Subject) -> Secret {
    let enrolled = site.accounts.enrol(ana, &TokenWish::default(), CAROL).await.unwrap();
    let seed = data_encoding::BASE32_NOPAD.decode(enrolled.seed.as_bytes()).unwrap();
    oath::Generator::new(&Secret::new(seed), Algorithm::Sha1, 6).code(oath::step(NOW, 30))
}

fn wrong(code: &Secret) -> Secret {
    let other: String = code
        .expose_str()
        .unwrap()
        .chars()
        .map(|digit| if digit == '0' { '1' } else { '0' })
        .collect();
    Secret::new(other)
}

#[tokio::test]
async fn a_code_is_right_once() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let nothing = site.accounts.verify_code(&ana, &Secret::new("123456"), CAROL).await;
    assert!(matches!(nothing, Err(AccountError::NothingToVerify(..))));

    let code = code_of(&site, &ana).await;
    let verify = |code| site.accounts.verify_code(&ana, code, CAROL);
    assert!(verify(&code).await.unwrap().matched);
    assert!(!verify(&code).await.unwrap().matched, "it is spent");
    let made = site.accounts.new_recovery_codes(&ana, CAROL).await.unwrap();
    let recovery = Secret::new(made.codes[0].as_str());
    assert!(verify(&recovery).await.unwrap().matched);
    let audited = site.audited().await;
    assert_eq!(
        audited
            .iter()
            .filter(|line| line.starts_with("user.verify"))
            .collect::<Vec<_>>(),
        ["user.verify accept", "user.verify reject", "user.verify accept"]
    );
}

#[tokio::test]
async fn wrong_codes_count_as_at_a_login_and_lock_both() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let code = code_of(&site, &ana).await;
    let wrong = wrong(&code);
    let verify = |code| site.accounts.verify_code(&ana, code, CAROL);
    for _ in 0..LIMIT.failures {
        assert!(!verify(&wrong).await.unwrap().matched);
    }
    let failures = site.accounts.show(&ana, NOW).await.unwrap().failures;
    assert!(failures.locked);
    let refused = verify(&code).await;
    assert!(
        matches!(refused, Err(AccountError::LockedOut(_))),
        "a right code is not heard either"
    );
    assert_eq!(site.record(&ana).await.tokens[0].last_used, None);
}

#[tokio::test]
async fn a_match_forgives_no_wrong_passwords() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let code = code_of(&site, &ana).await;
    site.fail(&ana, NOW).await;
    assert!(site.accounts.verify_code(&ana, &code, CAROL).await.unwrap().matched);
    assert_eq!(site.accounts.show(&ana, NOW).await.unwrap().failures.count, 1);
}

#[tokio::test]
async fn a_passcode_is_no_proof_at_the_desk_and_not_spent_there() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    code_of(&site, &ana).await;
    let issued = site
        .accounts
        .issue_passcode(&ana, Default::default(), CAROL)
        .await
        .unwrap();
    let code = Secret::new(issued.code.as_str());
    assert!(!site.accounts.verify_code(&ana, &code, CAROL).await.unwrap().matched);
    assert!(site.record(&ana).await.passcode.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_one_code_matches_once_and_guesses_end_at_the_limit() {
    let site = Arc::new(Fixture::new());
    let ana = site.subject("ana").await;
    let code = code_of(&site, &ana).await;
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (site, ana, code) = (Arc::clone(&site), ana.clone(), code.clone());
        tasks.spawn(async move { site.accounts.verify_code(&ana, &code, CAROL).await });
    }
    let matched = tasks.join_all().await;
    let count = |wanted: bool| {
        let is = |answer: &&Result<VerifiedUser, _>| answer.as_ref().is_ok_and(|answer| answer.matched == wanted);
        matched.iter().filter(is).count()
    };
    assert_eq!(count(true), 1, "{matched:?}");
    assert!(count(false) <= LIMIT.failures as usize, "{matched:?}");
}

/// Ana with her answers.
async fn answering() -> (Fixture, Subject) {
    let site = Fixture::new();
    ask_questions(&site, POLICY);
    let ana = site.subject("ana").await;
    site.accounts
        .define_answers(&ana, &answers(), DefineWish::default(), CAROL)
        .await
        .unwrap();
    (site, ana)
}

fn say(pairs: &[(&str, &str)]) -> Vec<SaidAnswer> {
    let said = pairs.iter().map(|(question, answer)| SaidAnswer {
        question: (*question).into(),
        answer: Secret::new(*answer),
    });
    said.collect()
}

#[tokio::test]
async fn helpdesk_asks_its_own_questions_first_and_learns_only_whether_they_match() {
    let (site, ana) = answering().await;
    let asked = site.accounts.verification_questions(&ana, None, CAROL).await.unwrap();
    let texts: Vec<&str> = asked.questions.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(
        texts,
        ["First pet?", "A word for helpdesk:"],
        "in the caller's own wording"
    );
    assert_eq!(asked.correct, 2);

    let verify = async |pairs: &[(&str, &str)]| site.accounts.verify_answers(&ana, &say(pairs), CAROL).await;
    let half = verify(&[("own", "fluffy"), ("word", "windmill")]).await.unwrap();
    let right = verify(&[("word", " LIGHTHOUSE"), ("own", "fluffy")]).await.unwrap();
    assert_eq!((half.matched, right.matched), (false, true));
    let record = site.record(&ana).await.answers.unwrap();
    assert_eq!((record.failures, record.rounds), (0, 1));
    assert_eq!(
        site.accounts.show(&ana, NOW).await.unwrap().failures.count,
        1,
        "counted like a login"
    );

    // Nobody chooses what is asked.
    for other in [
        &[("school", "St. Mary's"), ("street", "Main Street")][..],
        &[("own", "fluffy")],
        &[("own", "fluffy"), ("own", "fluffy")],
        &[("own", "fluffy"), ("word", "lighthouse"), ("school", "St. Mary's")],
    ] {
        let refused = verify(other).await;
        assert!(matches!(refused, Err(AccountError::Invalid(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn others_are_asked_where_helpdesk_has_too_few_of_its_own() {
    let (site, ana) = answering().await;
    let few = &answers()[..3];
    let over = DefineWish {
        replace: true,
        ..DefineWish::default()
    };
    site.accounts.define_answers(&ana, few, over, CAROL).await.unwrap();
    let asked = site.accounts.verification_questions(&ana, None, CAROL).await.unwrap();
    assert_eq!(asked.questions.len(), 2);
    assert_eq!(asked.questions[0].question, "own");
    assert!(["school", "street"].contains(&asked.questions[1].question.as_str()));
}

#[tokio::test]
async fn wrong_answers_lock_them_and_locked_ones_are_not_judged() {
    let (site, ana) = answering().await;
    let guess = say(&[("own", "rex"), ("word", "windmill")]);
    let right = say(&[("own", "fluffy"), ("word", "lighthouse")]);
    for _ in 0..LIMIT.failures {
        assert!(!site.accounts.verify_answers(&ana, &guess, CAROL).await.unwrap().matched);
    }
    let over = site.accounts.verify_answers(&ana, &right, CAROL).await;
    assert!(matches!(over, Err(AccountError::LockedOut(_))));
    site.accounts.unlock(&ana, CAROL).await.unwrap();
    // The third in a row.
    assert!(!site.accounts.verify_answers(&ana, &guess, CAROL).await.unwrap().matched);
    assert!(site.accounts.answers(&ana, NOW).await.unwrap().locked);
    site.accounts.unlock(&ana, CAROL).await.unwrap();
    let locked = site.accounts.verify_answers(&ana, &right, CAROL).await;
    assert!(matches!(locked, Err(AccountError::AnswersLocked(_))));
    let asked = site.accounts.verification_questions(&ana, None, CAROL).await;
    assert!(matches!(asked, Err(AccountError::AnswersLocked(_))));

    let change = |change| site.accounts.change_answers(&ana, change, CAROL);
    change(AnswersChange::Unlock).await.unwrap();
    assert!(site.accounts.verify_answers(&ana, &right, CAROL).await.unwrap().matched);
    change(AnswersChange::MustUpdate).await.unwrap();
    let outdated = site.accounts.verify_answers(&ana, &right, CAROL).await;
    assert!(matches!(outdated, Err(AccountError::AnswersOutdated(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_at_once_end_at_the_limit() {
    let (site, ana) = answering().await;
    let site = Arc::new(site);
    let mut tasks = JoinSet::new();
    for number in 0..6 {
        let (site, ana) = (Arc::clone(&site), ana.clone());
        let guess = say(&[("own", "rex"), ("word", &format!("windmill {number}"))]);
        tasks.spawn(async move { site.accounts.verify_answers(&ana, &guess, CAROL).await.is_ok() });
    }
    let judged = tasks.join_all().await.into_iter().filter(|judged| *judged).count();
    assert_eq!(judged, LIMIT.failures as usize);
}
