use super::*;
use crate::accounts::fixture::TestDirectory;
use crate::engine::Keep;
use crate::engine::session::tests::report;
use crate::engine::session::{Class, GrantRecord, Kind, Report};
use crate::keyring::Keyring;
use crate::store::memory::MemoryStore;

struct House {
    store: Arc<MemoryStore>,
    directory: Arc<TestDirectory>,
    sessions: Sessions,
}

async fn house(limits: Limits) -> House {
    let store = Arc::new(MemoryStore::new(Arc::new(Keyring::from_root(&[1; 32]))));
    let directory = TestDirectory::new("corp", &["ana", "ben"]);
    let sessions = open(&store, &directory, limits).await;
    House {
        store,
        directory,
        sessions,
    }
}

async fn open(store: &Arc<MemoryStore>, directory: &Arc<TestDirectory>, limits: Limits) -> Sessions {
    let found = Arc::clone(directory) as Arc<dyn Directory>;
    let directories: DirectoryByName = Arc::new(move |name| (name == "corp").then(|| Arc::clone(&found)));
    let settings = Settings {
        common: limits,
        clients: HashMap::new(),
    };
    let store = Arc::clone(store) as Arc<dyn Store>;
    Sessions::load(store, directories, settings, Metrics::default())
        .await
        .unwrap()
}

impl House {
    async fn hear(&self, report: Report) {
        self.sessions.keep(report).await.unwrap();
    }

    async fn names(&self) -> Vec<String> {
        let (found, _) = self.sessions.list(&Filter::default(), 100).await.unwrap();
        found.iter().map(|session| session.name().to_string()).collect()
    }

    async fn audited(&self) -> Vec<String> {
        let records = self.store.audit(1, 1000).await.unwrap();
        let line = |record: &crate::store::AuditRecord| {
            let event = record.event().unwrap();
            format!("{} {}: {}", event.action, event.actor, event.reason.unwrap_or_default())
        };
        records.iter().map(line).collect()
    }
}

/// A report about now, `secs` ago.
fn ago(kind: Kind, id: &str, secs: u64) -> Report {
    Report {
        at: crate::clock::now() - Duration::from_secs(secs),
        ..report(kind, id, 0)
    }
}

fn ana() -> UserKey {
    UserKey::new("corp", "id-ana")
}

#[tokio::test]
async fn a_session_is_found_by_name_person_and_identifier_until_it_stops() {
    let house = house(Limits::default()).await;
    house.hear(ago(Kind::Start, "A/1", 100)).await;
    assert_eq!(house.names().await, ["vpn/nas1/A%2F1"]);
    assert_eq!(house.sessions.count_of(&ana(), 10).await.unwrap(), 1);
    let of_ana = Filter {
        user: Some(ana()),
        client: None,
    };
    let (found, more) = house.sessions.list(&of_ana, 10).await.unwrap();
    assert_eq!((found.len(), more, found[0].login.as_str()), (1, false, "ana"));
    let now = crate::clock::now();
    assert!(house.sessions.find("vpn/nas1/A%2F1", now).await.unwrap().is_some());
    assert_eq!(house.sessions.with_id("A/1", 2).await.unwrap().len(), 1);
    assert_eq!(house.sessions.open(), 1);

    let mut stop = ago(Kind::Stop, "A/1", 0);
    stop.usage.seconds = Some(100);
    stop.usage.octets_in = 5_000_000_000;
    stop.terminate_cause = Some(1);
    house.hear(stop.clone()).await;
    house.hear(stop).await;
    assert_eq!(house.names().await, Vec::<String>::new());
    assert_eq!(house.sessions.count_of(&ana(), 10).await.unwrap(), 0);
    assert_eq!(house.sessions.open(), 0);
    assert_eq!(
        house.audited().await,
        [
            "session.start ana: vpn/nas1/A%2F1",
            "session.stop ana: vpn/nas1/A%2F1: user-request, 100 s, 5000000000 octets in, 0 octets out",
        ]
    );
}

#[tokio::test]
async fn accounting_does_not_need_the_directory() {
    let house = house(Limits::default()).await;
    house.directory.set_down(true);
    house.hear(ago(Kind::Start, "1", 60)).await;
    assert_eq!(house.sessions.count_of(&ana(), 10).await.unwrap(), 0);
    house.directory.set_down(false);
    house.hear(ago(Kind::Interim, "1", 0)).await;
    assert_eq!(house.sessions.count_of(&ana(), 10).await.unwrap(), 1, "asked again");
}

#[tokio::test]
async fn the_class_says_whose_a_session_is_whatever_the_name() {
    let house = house(Limits::default()).await;
    let grants = GrantRecord::default().with(7, "vpn", crate::clock::now(), Duration::from_secs(60));
    let mut batch = Batch::default();
    let change = Change::Put(record::encode(&grants), grants.expires());
    batch.replace(Key::grants(&ana()), Version::default(), change);
    house.store.commit(batch, Durability::Durable).await.unwrap();

    let mut start = ago(Kind::Start, "1", 0);
    start.details.user_name = Some("00-11-22-33-44-55".into());
    start.class = Some(Class { user: ana(), grant: 7 });
    house.hear(start).await;
    assert_eq!(house.sessions.count_of(&ana(), 10).await.unwrap(), 1);
    let left = house
        .store
        .read(&[Key::grants(&ana())], crate::clock::now())
        .await
        .unwrap();
    assert!(left[0].value.is_none(), "its login is under way no more");
}

#[tokio::test]
async fn a_nas_that_comes_back_has_no_sessions_left() {
    let house = house(Limits::default()).await;
    for id in 0..450 {
        house.hear(ago(Kind::Start, &id.to_string(), 100)).await;
    }
    let elsewhere = Report {
        nas: "nas12".into(),
        ..ago(Kind::Start, "1", 100)
    };
    house.hear(elsewhere).await;
    house.hear(ago(Kind::Start, "new", 5)).await;
    house.hear(ago(Kind::On, "", 10)).await;
    assert_eq!(house.names().await, ["vpn/nas1/new", "vpn/nas12/1"]);
    assert_eq!(house.sessions.open(), 2);
    let audited = house.audited().await;
    assert_eq!(
        audited.last().unwrap(),
        "session.reset nas1: the NAS begins accounting; 450 sessions closed"
    );
    assert!(
        audited
            .iter()
            .any(|line| line.starts_with("session.stop ana: vpn/nas1/17: nas-reboot, "))
    );
}

#[tokio::test]
async fn many_that_come_back_at_once_are_taken_a_few_at_a_time() {
    let house = Arc::new(house(Limits::default()).await);
    house.hear(ago(Kind::Start, "1", 100)).await;
    let resets = 200;
    let mut under_way = tokio::task::JoinSet::new();
    for _ in 0..resets {
        let house = Arc::clone(&house);
        under_way.spawn(async move { house.sessions.keep(ago(Kind::On, "", 10)).await.is_ok() });
    }
    let kept = under_way.join_all().await.into_iter().filter(|kept| *kept).count();
    assert!((1..resets).contains(&kept), "the others say it again: {kept}");
    assert!(house.names().await.is_empty());
    house.hear(ago(Kind::On, "", 10)).await;
}

#[tokio::test]
async fn an_unknown_stop_is_written_down_and_its_late_start_opens_nothing() {
    let house = house(Limits::default()).await;
    house.hear(ago(Kind::Stop, "1", 0)).await;
    house.hear(ago(Kind::Start, "1", 50)).await;
    assert!(house.names().await.is_empty());
    assert_eq!(house.audited().await.len(), 1);
    assert_eq!(house.sessions.open(), 0);
}

#[tokio::test]
async fn more_than_a_client_may_have_is_not_acknowledged() {
    let house = house(Limits {
        most: 2,
        ..Limits::default()
    })
    .await;
    house.hear(ago(Kind::Start, "1", 0)).await;
    house.hear(ago(Kind::Start, "2", 0)).await;
    let outage = house.sessions.keep(ago(Kind::Start, "3", 0)).await.unwrap_err();
    assert!(outage.reason.contains("max_sessions"), "{}", outage.reason);
    house.hear(ago(Kind::Stop, "1", 0)).await;
    house.hear(ago(Kind::Start, "3", 0)).await;
    assert_eq!(house.sessions.open(), 2);
}

#[tokio::test]
async fn what_is_not_durable_is_not_acknowledged() {
    let house = house(Limits::default()).await;
    house.store.close().await.unwrap();
    assert!(house.sessions.keep(ago(Kind::Start, "1", 0)).await.is_err());
    assert!(house.sessions.keep(ago(Kind::On, "1", 0)).await.is_err());
    assert_eq!(house.sessions.open(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_at_once_come_to_one_session() {
    let house = Arc::new(house(Limits::default()).await);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..40 {
        let house = Arc::clone(&house);
        let kind = if number % 2 == 0 { Kind::Start } else { Kind::Interim };
        tasks.spawn(async move { house.hear(ago(kind, "1", number)).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(house.names().await.len(), 1);
    assert_eq!(house.sessions.open(), 1);
    assert_eq!(house.audited().await.len(), 1, "one begin");
}

#[tokio::test]
async fn silent_sessions_are_given_up_and_live_again_when_they_report() {
    let hour = Duration::from_secs(3600);
    let house = house(Limits {
        stale_after: hour,
        ..Limits::default()
    })
    .await;
    house.hear(ago(Kind::Start, "1", 0)).await;
    let began = crate::clock::now();
    let mut closed = 0;
    for minute in 0..=59 {
        closed += house
            .sessions
            .sweep(began + Duration::from_secs(60 * minute))
            .await
            .unwrap();
    }
    assert_eq!(closed, 0);
    assert_eq!(
        house
            .sessions
            .sweep(began + hour + Duration::from_secs(1))
            .await
            .unwrap(),
        1
    );
    assert!(house.names().await.is_empty());
    assert!(house.audited().await.last().unwrap().contains("vpn/nas1/1: stale, "));
    let again = Report {
        at: began + 2 * hour,
        ..report(Kind::Interim, "1", 0)
    };
    house.hear(again).await;
    assert_eq!(house.names().await.len(), 1);
}

#[tokio::test]
async fn a_clock_that_jumps_closes_nothing() {
    let hour = Duration::from_secs(3600);
    let limits = Limits {
        stale_after: hour,
        ..Limits::default()
    };
    let house = house(limits).await;
    house.hear(ago(Kind::Start, "1", 0)).await;
    let began = crate::clock::now();
    assert_eq!(house.sessions.sweep(began).await.unwrap(), 0);
    assert_eq!(
        house.sessions.sweep(began + 1000 * hour).await.unwrap(),
        0,
        "a day later, all at once"
    );
    let restarted = open(&house.store, &house.directory, limits).await;
    assert_eq!(restarted.open(), 1);
    assert_eq!(
        restarted.sweep(began + 2000 * hour).await.unwrap(),
        0,
        "after a long rest"
    );

    // Set back by years: what was heard in the future becomes silent all the same.
    let past = began - 10_000 * hour;
    let mut closed = 0;
    for minute in 0..=63 {
        closed += restarted.sweep(past + Duration::from_secs(60 * minute)).await.unwrap();
    }
    assert_eq!(closed, 1);
}

#[tokio::test]
async fn an_operator_closes_a_session_only_as_it_was_seen() {
    let house = house(Limits::default()).await;
    house.hear(ago(Kind::Start, "1", 100)).await;
    let now = crate::clock::now();
    let seen = house.sessions.find("vpn/nas1/1", now).await.unwrap().unwrap();
    house.hear(ago(Kind::Interim, "1", 0)).await;
    assert!(!house.sessions.close(&seen, Cause::Ended, now).await.unwrap());
    let seen = house.sessions.find("vpn/nas1/1", now).await.unwrap().unwrap();
    assert!(house.sessions.close(&seen, Cause::Ended, now).await.unwrap());
    assert!(house.names().await.is_empty());
}

#[tokio::test]
async fn a_session_that_its_client_ends_is_closed_by_its_stop_or_a_minute_later() {
    let house = house(Limits::default()).await;
    house.hear(ago(Kind::Start, "stops", 100)).await;
    house.hear(ago(Kind::Start, "does-not", 100)).await;
    let now = crate::clock::now();
    let (found, _) = house.sessions.list(&Filter::default(), 10).await.unwrap();
    for session in &found {
        assert!(house.sessions.note_ending(&session.name(), now).await.unwrap());
    }
    // An update that was on its way changes nothing about it.
    house.hear(ago(Kind::Interim, "does-not", 0)).await;
    house.hear(ago(Kind::Stop, "stops", 0)).await;
    assert_eq!(house.names().await, ["vpn/nas1/does-not"]);
    assert_eq!(house.sessions.sweep(now + Duration::from_secs(59)).await.unwrap(), 0);
    assert_eq!(house.sessions.sweep(now + Duration::from_secs(61)).await.unwrap(), 1);
    assert_eq!(house.names().await, Vec::<String>::new());
    let audited = house.audited().await;
    let last = audited.last().unwrap();
    assert!(
        last.starts_with("session.stop ana: vpn/nas1/does-not: ended by an operator"),
        "{last}"
    );
    let gone = house.sessions.note_ending(&found[0].name(), now).await.unwrap();
    assert!(!gone, "it is over");
}

#[test]
fn what_goes_wrong_again_and_again_is_said_now_and_then() {
    let (mut quiet, now) = (Quiet::default(), crate::clock::monotonic());
    assert_eq!(quiet.due(now), Some(0));
    for _ in 0..1000 {
        assert_eq!(quiet.due(now + Quiet::SPAN / 2), None);
    }
    assert_eq!(quiet.due(now + Quiet::SPAN), Some(1000));
}

#[tokio::test]
async fn a_session_that_its_client_does_not_know_is_closed_unless_it_is_heard_of() {
    let house = house(Limits::default()).await;
    house.hear(ago(Kind::Start, "gone", 100)).await;
    house.hear(ago(Kind::Start, "lives", 100)).await;
    let (asked, _) = house.sessions.list(&Filter::default(), 10).await.unwrap();
    // Longer than the clock's step, so that it is heard of later.
    tokio::time::sleep(Duration::from_millis(5)).await;
    house.hear(ago(Kind::Interim, "lives", 0)).await;
    let now = crate::clock::now();
    let mut closed = Vec::new();
    for session in &asked {
        closed.push(house.sessions.close_unknown(session, now).await.unwrap());
    }
    assert_eq!(closed, [true, false]);
    assert_eq!(house.names().await, ["vpn/nas1/lives"]);
    let last = house.audited().await.pop().unwrap();
    assert!(
        last.starts_with("session.stop ana: vpn/nas1/gone: its client has no such session, "),
        "{last}"
    );
    assert!(
        !house.sessions.close_unknown(&asked[0], now).await.unwrap(),
        "it is over"
    );
    // The client was wrong, or has begun another one.
    let again = Report {
        at: now + Duration::from_secs(1),
        ..report(Kind::Interim, "gone", 0)
    };
    house.hear(again).await;
    assert_eq!(house.names().await.len(), 2);
}
