use super::*;
use crate::accounts::PasscodeWish;
use crate::accounts::fixture::{CAROL, Fixture, NOW};
use crate::engine::batch::{Batch, Change};
use crate::engine::record::{Answer, Answers, encode};

async fn put(site: &Fixture, subject: &Subject, record: &UserRecord) {
    let batch = Batch {
        write: vec![(Key::user(&subject.key), Change::Put(encode(record), None))],
        ..Batch::default()
    };
    assert!(site.accounts.commit(batch).await.unwrap());
}

fn answers(locked: bool) -> Option<Box<Answers>> {
    let answer = Answer {
        question: "pet".into(),
        own: None,
        hash: [0; 32],
        salt: [0; 16],
        scheme: 1,
    };
    Some(Box::new(Answers {
        answers: vec![answer],
        locked,
        ..Answers::default()
    }))
}

#[tokio::test]
async fn a_password_is_set_shown_once_and_kept_nowhere() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let reset = site.accounts.reset_password(&ana, CAROL).await.unwrap();
    let set = site.main.password.lock().clone().unwrap();
    assert_eq!(
        (set.expose_str(), reset.password.len()),
        (Some(reset.password.as_str()), 17)
    );
    assert_eq!(*site.main.changes.lock(), ["ana reset-password"]);
    assert_eq!(site.record(&ana).await.must_change, Some(forced(CAROL)));
    assert_eq!(site.audited().await, ["user.reset accept", "user.reset accept"]);
    for record in site.accounts.store.audit(1, 100).await.unwrap() {
        let body = String::from_utf8(record.body).unwrap();
        assert!(!body.contains(reset.password.as_str()), "{body}");
    }
    let again = site.accounts.reset_password(&ana, CAROL).await.unwrap();
    assert_ne!(again.password, reset.password);
}

#[tokio::test]
async fn what_a_directory_says_to_a_reset_is_told_and_only_what_is_not_known_is_held_to_be_done() {
    let refused = Changed::Refused(crate::engine::account::PasswordRefusal::TooShort);
    for (came, held, outcome) in [
        (refused, false, "reject"),
        (Changed::Forbidden("no right".into()), false, "reject"),
        (Changed::Unavailable("down".into()), false, "unavailable"),
        (Changed::Lost("no answer".into()), true, "unavailable"),
    ] {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        *site.main.answers.lock() = came.clone();
        match site.accounts.reset_password(&ana, CAROL).await {
            Err(AccountError::NotDone(why)) => assert_eq!(why.came, came),
            other => panic!("{}", other.is_ok()),
        }
        assert_eq!(site.record(&ana).await.must_change.is_some(), held, "{came:?}");
        let audited = site.audited().await;
        assert_eq!(
            audited,
            ["user.reset accept".to_owned(), format!("user.reset {outcome}")]
        );
    }
}

#[tokio::test]
async fn a_refused_reset_leaves_the_word_of_another_operator() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let ben = Actor { name: "ben", now: NOW };
    site.accounts.force_change(&ana, true, ben).await.unwrap();
    *site.main.answers.lock() = Changed::Unavailable("down".into());
    assert!(site.accounts.reset_password(&ana, CAROL).await.is_err());
    assert_eq!(site.record(&ana).await.must_change, Some(forced(ben)));
}

#[tokio::test]
async fn a_change_is_forced_here_and_in_the_directory_and_taken_back() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let force = async |wanted| site.accounts.force_change(&ana, wanted, CAROL).await.unwrap();
    let first = force(true).await;
    assert_eq!(
        (first.must_change, first.changed, first.directory),
        (true, true, InDirectory::Done)
    );
    assert!(!force(true).await.changed);
    let view = site.accounts.show(&ana, NOW).await.unwrap();
    assert_eq!(view.must_change.map(|forced| forced.by), Some("carol".into()));
    assert!(force(false).await.changed);
    assert_eq!(
        *site.main.changes.lock(),
        ["ana must-change", "ana must-change", "ana need-not-change"]
    );
    // Nobody there knows such a thing: it holds here.
    *site.main.answers.lock() = Changed::Unsupported;
    assert_eq!(force(true).await.directory, InDirectory::Unsupported);
    *site.main.answers.lock() = Changed::Lost("no answer".into());
    let InDirectory::Failed(why) = force(true).await.directory else {
        panic!()
    };
    assert!(why.contains("may have been done"), "{why}");
    assert!(site.record(&ana).await.must_change.is_some());
    assert_eq!(site.audited().await.last().unwrap(), "user.must-change unavailable");
}

#[tokio::test]
async fn an_account_is_switched_off_and_on() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    assert!(!site.accounts.switch_account(&ana, false, CAROL).await.unwrap().enabled);
    assert!(site.accounts.switch_account(&ana, true, CAROL).await.unwrap().enabled);
    assert_eq!(*site.main.changes.lock(), ["ana disable", "ana enable"]);
    *site.main.answers.lock() = Changed::Unsupported;
    let refused = site.accounts.switch_account(&ana, false, CAROL).await;
    assert!(matches!(refused, Err(AccountError::NotDone(_))), "{refused:?}");
    assert_eq!(
        site.audited().await,
        [
            "user.disable accept",
            "user.disable accept",
            "user.enable accept",
            "user.enable accept",
            "user.disable accept",
            "user.disable reject"
        ]
    );
    site.main.remove("ana");
    let gone = Subject { person: None, ..ana };
    let refused = site.accounts.switch_account(&gone, false, CAROL).await;
    assert!(matches!(refused, Err(AccountError::Gone(_))), "{refused:?}");
}

#[tokio::test]
async fn all_that_is_enrolled_goes_and_the_password_alone_is_not_enough_after_it() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    site.accounts.new_recovery_codes(&ana, CAROL).await.unwrap();
    site.accounts
        .issue_passcode(&ana, PasscodeWish::default(), CAROL)
        .await
        .unwrap();
    site.accounts.force_change(&ana, true, CAROL).await.unwrap();
    let record = UserRecord {
        answers: answers(true),
        next_token: 4,
        prefers: Some(crate::engine::authenticator::Kind::Totp),
        ..site.record(&ana).await
    };
    put(&site, &ana, &record).await;
    let taken = site.accounts.unregister(&ana, false, CAROL).await.unwrap();
    assert_eq!((taken.recovery_codes, taken.answers, taken.passcode), (10, true, true));
    let left = site.record(&ana).await;
    let expected = UserRecord {
        login: "ana".into(),
        ever_enrolled: true,
        next_token: 4,
        must_change: Some(forced(CAROL)),
        ..UserRecord::default()
    };
    assert_eq!(
        left, expected,
        "a number is never given twice, and what an operator said stays"
    );
    let again = site.accounts.unregister(&ana, true, CAROL).await.unwrap();
    assert_eq!((again.recovery_codes, again.as_new), (0, true));
    assert!(!site.record(&ana).await.ever_enrolled);
}

#[tokio::test]
async fn somebody_who_never_enrolled_is_no_more_enrolled_after_it() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    site.accounts.unregister(&ana, false, CAROL).await.unwrap();
    assert!(!site.record(&ana).await.ever_enrolled);
}

#[tokio::test]
async fn locks_are_ended_one_by_one_or_together() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let unlock = async |profile, account, answers| {
        let wish = UnlockWish {
            profile,
            account,
            answers,
        };
        site.accounts.unlock_all(&ana, wish, CAROL).await.unwrap()
    };
    for _ in 0..2 {
        site.fail(&ana, NOW).await;
    }
    put(
        &site,
        &ana,
        &UserRecord {
            answers: answers(true),
            ..UserRecord::default()
        },
    )
    .await;
    let account = unlock(false, true, false).await;
    assert_eq!((account.account, account.was_locked), (Some(InDirectory::Done), false));
    assert_eq!(*site.main.changes.lock(), ["ana unlock"]);
    let profile = unlock(true, false, false).await;
    assert_eq!((profile.account, profile.was_locked, profile.cleared), (None, true, 2));
    assert!(site.record(&ana).await.answers.unwrap().locked);
    assert!(unlock(false, false, true).await.answers);
    assert!(!site.record(&ana).await.answers.unwrap().locked);
    assert!(!unlock(false, false, true).await.answers);
    *site.main.answers.lock() = Changed::Disabled;
    let both = unlock(true, true, false).await;
    assert!(matches!(both.account, Some(InDirectory::Failed(_))), "{both:?}");
}
