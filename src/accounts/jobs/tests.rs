use super::*;
use crate::accounts::fixture::{CAROL, Fixture, NOW};
use crate::accounts::view::JobState;
use crate::engine::account::Changed;
use crate::engine::record::ForcedChange;

fn whom(filter: &str) -> Whom {
    Whom {
        directory: "main".into(),
        filter: filter.into(),
        group: None,
        enrolled: None,
    }
}

#[tokio::test]
async fn jobs_are_listed_in_order_begun_once_and_ended_with_their_result() {
    let site = Fixture::new();
    let later = NOW + Duration::from_secs(60);
    let schedule = async |at| {
        let action = Action::ForceChanges(whom("(uid=*)"));
        site.accounts.schedule(action, at, false, CAROL).await.unwrap().job
    };
    assert_eq!([schedule(later).await, schedule(NOW).await], [1, 2]);
    let numbers = async |now| {
        let (due, next) = site.accounts.due_jobs(now).await.unwrap();
        let due: Vec<u64> = due.iter().map(|job| job.number).collect();
        (due, next)
    };
    assert_eq!(numbers(NOW).await, (vec![2], Some(later)));
    let job = site.accounts.begin_job(2, NOW).await.unwrap().unwrap();
    assert_eq!((job.by.as_str(), job.state), ("carol", State::Running));
    // Broken off, it goes before those whose time has come meanwhile.
    assert_eq!(numbers(later).await, (vec![2, 1], None));
    assert!(site.accounts.begin_job(2, NOW).await.unwrap().is_some());
    let mut progress = Progress {
        done: 3,
        ..Progress::default()
    };
    progress.fail("uid=ana,dc=main", "out of reach");
    assert!(site.accounts.job_goes_on(2, &progress).await.unwrap());
    let seen = site.accounts.job(2).await.unwrap();
    assert_eq!((seen.state, seen.progress.done), (JobState::Running, 3));
    site.accounts.end_job(2, progress, Ok(()), later).await.unwrap();
    let ended = site.accounts.job(2).await.unwrap();
    assert_eq!(
        (ended.state, ended.progress.failed, ended.ended),
        (JobState::Done, 1, Some(later))
    );
    assert!(site.accounts.begin_job(2, later).await.unwrap().is_none(), "it is over");

    let cancelled = site.accounts.cancel_job(1, CAROL).await.unwrap();
    assert_eq!(cancelled.state, JobState::Cancelled);
    assert!(site.accounts.begin_job(1, later).await.unwrap().is_none());
    assert!(!site.accounts.job_goes_on(1, &Progress::default()).await.unwrap());
    let again = site.accounts.cancel_job(1, CAROL).await;
    assert!(matches!(again, Err(AccountError::JobOver(1, _))), "{again:?}");
    let none = site.accounts.job(9).await;
    assert!(matches!(none, Err(AccountError::NoSuchJob(_))), "{none:?}");
    assert_eq!(numbers(later).await, (vec![], None));
    assert_eq!(
        site.audited().await,
        [
            "schedule.add accept",
            "schedule.add accept",
            "schedule.run accept",
            "schedule.run accept",
            "schedule.done accept",
            "schedule.cancel accept"
        ]
    );
}

#[tokio::test]
async fn what_cannot_be_done_is_not_scheduled() {
    let site = Fixture::new();
    let bad = [whom("(uid="), whom(&format!("(uid={})", "x".repeat(5000)))];
    for whom in bad {
        let refused = site
            .accounts
            .schedule(Action::ForceChanges(whom), NOW, false, CAROL)
            .await;
        assert!(matches!(refused, Err(AccountError::Invalid(_))), "{refused:?}");
    }
    let elsewhere = Whom {
        directory: "nowhere".into(),
        ..whom("(uid=*)")
    };
    let refused = site
        .accounts
        .schedule(Action::ForceChanges(elsewhere), NOW, false, CAROL)
        .await;
    assert!(matches!(refused, Err(AccountError::NoSuchDirectory(..))), "{refused:?}");
    assert!(site.accounts.jobs().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_job_is_done_once_with_each_person_wherever_it_is_broken_off() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let force = async || site.accounts.force_in_job(7, &ana, CAROL).await.unwrap();
    assert_eq!(force().await, Step::Done);
    assert!(site.record(&ana).await.must_change.is_some());
    assert_eq!(force().await, Step::Done);
    assert_eq!(*site.main.changes.lock(), ["ana must-change"]);
    assert_eq!(site.audited().await, ["user.must-change accept"]);

    // Killed after our own record, and before what the directory answers is noted.
    let mark = Key::done_with(8, &ana.key);
    let begun = Change::Put(encode(&Mark::Begun), Some(NOW + MARK_LIFE));
    site.accounts.put_mark(mark.clone(), begun.clone()).await.unwrap();
    assert_eq!(site.accounts.force_in_job(8, &ana, CAROL).await.unwrap(), Step::Done);
    assert_eq!(site.main.changes.lock().len(), 2, "the directory is told again");
    // The same, but the password has been changed since.
    site.accounts.force_change(&ana, false, CAROL).await.unwrap();
    site.accounts.put_mark(mark, begun).await.unwrap();
    assert_eq!(site.accounts.force_in_job(8, &ana, CAROL).await.unwrap(), Step::Done);
    assert_eq!(site.record(&ana).await.must_change, None);
    assert_eq!(site.main.changes.lock().len(), 3);
    assert_eq!(
        site.audited().await,
        ["user.must-change accept", "user.must-change accept"]
    );
}

#[tokio::test]
async fn a_directory_that_does_not_do_it_is_a_failure_that_stays_one() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    *site.main.answers.lock() = Changed::Unavailable("out of reach".into());
    let Step::Failed(why) = site.accounts.force_in_job(7, &ana, CAROL).await.unwrap() else {
        panic!()
    };
    assert!(why.contains("out of reach"), "{why}");
    assert!(site.record(&ana).await.must_change.is_some(), "it holds here");
    *site.main.answers.lock() = Changed::Done;
    assert_eq!(
        site.accounts.force_in_job(7, &ana, CAROL).await.unwrap(),
        Step::Failed(why)
    );
    assert_eq!(
        site.audited().await,
        ["user.must-change accept", "user.must-change unavailable"]
    );
}

#[tokio::test]
async fn a_scheduled_denial_is_said_once() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let wish = DenyWish {
        until: None,
        reason: "last day".into(),
    };
    let deny = async || site.accounts.deny_in_job(7, &ana, &wish, CAROL).await.unwrap();
    assert!(deny().await);
    site.accounts.lift_denial(&ana, "", CAROL).await.unwrap();
    assert!(!deny().await, "the same job, after a start");
    assert_eq!(site.record(&ana).await.denied, None);
    assert!(!site.accounts.job_step_is_done(8, NOW).await.unwrap());
    site.accounts.job_step_done(8, NOW).await.unwrap();
    assert!(site.accounts.job_step_is_done(8, NOW).await.unwrap());
}

#[tokio::test]
async fn people_are_found_and_left_out() {
    let site = Fixture::new();
    site.main.add_to_group("ben", "cn=sales,dc=main");
    let mut searched = site.accounts.search(&whom("(uid=*)")).unwrap();
    let mut found = Vec::new();
    while let Some(names) = searched.names.recv().await {
        found.extend(names);
    }
    assert_eq!(found.len(), 3);
    assert_eq!(searched.came.await.unwrap(), Ok(()));
    let ben = site.accounts.by_dn("main", "uid=ben,dc=main").await.unwrap().unwrap();
    assert!(
        site.accounts
            .by_dn("main", "uid=nobody,dc=main")
            .await
            .unwrap()
            .is_none()
    );
    let with = |group: Option<&str>, enrolled, record: &UserRecord| {
        let whom = Whom {
            group: group.map(Into::into),
            enrolled,
            ..whom("(uid=*)")
        };
        whom.leaves_out(&ben, record)
    };
    let bare = UserRecord::default();
    let holder = UserRecord {
        recovery: vec![[0; 32]],
        ..UserRecord::default()
    };
    assert_eq!(with(Some("sales"), None, &bare), None);
    assert_eq!(with(Some("CN=Sales, DC=main"), None, &bare), None);
    assert_eq!(with(Some("others"), None, &bare), Some("not in the group"));
    assert_eq!(with(None, Some(true), &bare), Some("has no second factor"));
    assert_eq!(with(None, Some(false), &bare), None);
    assert_eq!(with(None, Some(true), &holder), None);
    assert_eq!(with(None, Some(false), &holder), Some("has a second factor"));
    let forced = UserRecord {
        must_change: Some(ForcedChange {
            by: "carol".into(),
            at: NOW,
        }),
        ..bare
    };
    assert_eq!(with(None, None, &forced), Some("has to change it already"));
}

#[test]
fn a_job_survives_the_store_with_as_many_failures_as_it_keeps() {
    let mut progress = Progress::default();
    for number in 0..1000 {
        progress.fail(&format!("{number}{}", "ü".repeat(200)), &"\u{10348}".repeat(400));
    }
    assert_eq!((progress.failed, progress.failures.len()), (1000, MOST_FAILURES));
    let record = JobRecord {
        number: u64::MAX,
        by: "carol".into(),
        own: true,
        asked: NOW,
        at: NOW,
        action: Action::Deny {
            whom: Named {
                user: UserKey::new("main", "1"),
                login: "ana".into(),
            },
            until: Some(NOW),
            reason: "r".repeat(500),
        },
        state: State::Failed("why".into()),
        progress,
        ended: Some(NOW),
    };
    let octets = encode(&record);
    assert!(octets.len() < 60_000, "{}", octets.len());
    assert_eq!(decode::<JobRecord>(&octets).unwrap(), record);
}
