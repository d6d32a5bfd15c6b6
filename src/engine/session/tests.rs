use super::*;

pub(crate) fn report(kind: Kind, id: &str, secs: u64) -> Report {
    Report {
        kind,
        client: "vpn".into(),
        service: "vpn".into(),
        directory: "corp".into(),
        source: [192, 0, 2, 1].into(),
        encrypted: false,
        nas: "nas1".into(),
        id: id.into(),
        class: None,
        details: Details {
            user_name: Some("ana".into()),
            ..Details::default()
        },
        at: at(secs),
        usage: Usage::default(),
        terminate_cause: None,
    }
}

pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + secs)
}

fn owner() -> Owner {
    Owner {
        user: Some(UserKey::new("corp", "1")),
        login: "ana".into(),
        unresolved: false,
    }
}

fn used(mut report: Report, seconds: u32, octets: u64) -> Report {
    report.usage = Usage {
        seconds: Some(seconds),
        octets_in: octets,
        octets_out: 2 * octets,
        ..Usage::default()
    };
    report
}

/// What a sequence of reports leaves: the open session, and what is remembered of the end.
#[derive(Default)]
struct Life {
    open: Option<SessionRecord>,
    ended: Option<Ended>,
    opened: usize,
    closed: usize,
}

impl Life {
    fn hear(&mut self, report: &Report) {
        match apply(self.open.as_ref(), self.ended, report, &owner(), report.at) {
            Change::None => {}
            Change::Opened { session, replaces } => {
                self.closed += usize::from(replaces);
                self.opened += 1;
                self.open = Some(session);
                self.ended = None;
            }
            Change::Updated(session) => self.open = Some(session),
            Change::Closed { session, was_open } => {
                assert_eq!(was_open, self.open.is_some());
                self.closed += 1;
                self.open = None;
                self.ended = Some(Ended {
                    at: session.last,
                    presumed: false,
                });
            }
        }
    }
}

#[test]
fn a_session_from_start_to_stop() {
    let mut life = Life::default();
    life.hear(&report(Kind::Start, "1", 0));
    life.hear(&used(report(Kind::Interim, "1", 300), 300, 5000));
    let session = life.open.clone().unwrap();
    assert_eq!((session.started, session.heard), (at(0), at(300)));
    assert_eq!((session.usage.octets_in, session.usage.octets_out), (5000, 10_000));
    life.hear(&used(report(Kind::Stop, "1", 400), 400, 6000));
    assert_eq!((life.opened, life.closed), (1, 1));
    assert!(life.open.is_none());
}

/// Every order of a session's reports, with one of them said twice, opens and closes one session at most
/// and leaves none open.
#[test]
fn every_order_comes_to_the_same_end() {
    let reports = [
        report(Kind::Start, "1", 0),
        used(report(Kind::Interim, "1", 100), 100, 10),
        used(report(Kind::Interim, "1", 200), 200, 20),
        used(report(Kind::Stop, "1", 300), 300, 30),
    ];
    for twice in 0..reports.len() {
        let mut order: Vec<usize> = (0..reports.len()).chain([twice]).collect();
        permute(&mut order, 0, &mut |order| {
            let mut life = Life::default();
            for &index in order {
                life.hear(&reports[index]);
            }
            assert!(life.open.is_none(), "{order:?}");
            assert!(life.opened <= 1 && life.closed == 1, "{order:?}");
        });
    }
}

fn permute(order: &mut [usize], from: usize, visit: &mut dyn FnMut(&[usize])) {
    if from == order.len() {
        return visit(order);
    }
    for other in from..order.len() {
        order.swap(from, other);
        permute(order, from + 1, visit);
        order.swap(from, other);
    }
}

#[test]
fn an_update_without_a_start_opens_the_session_and_the_start_corrects_it() {
    let mut life = Life::default();
    life.hear(&used(report(Kind::Interim, "1", 600), 500, 10));
    assert_eq!(life.open.as_ref().unwrap().started, at(100), "reckoned");
    life.hear(&report(Kind::Start, "1", 98));
    let session = life.open.unwrap();
    assert_eq!(
        (session.started, session.last, session.start_seen),
        (at(98), at(600), true)
    );
    assert_eq!(session.usage.octets_in, 10);
}

#[test]
fn a_start_said_again_tells_nothing_new() {
    let mut life = Life::default();
    life.hear(&report(Kind::Start, "1", 0));
    let first = life.open.clone();
    let again = apply(first.as_ref(), None, &report(Kind::Start, "1", 4), &owner(), at(9));
    assert_eq!(again, Change::None);
}

#[test]
fn an_identifier_used_again_is_another_session() {
    let mut life = Life::default();
    life.hear(&report(Kind::Start, "1", 0));
    life.hear(&report(Kind::Start, "1", 5000));
    assert_eq!((life.opened, life.closed), (2, 1));
    assert_eq!(life.open.as_ref().unwrap().started, at(5000));
    life.hear(&report(Kind::Stop, "1", 6000));
    life.hear(&report(Kind::Start, "1", 7000));
    assert_eq!((life.opened, life.closed), (3, 2));
}

#[test]
fn a_session_given_up_for_dead_lives_when_it_reports() {
    let ended = Some(Ended {
        at: at(1000),
        presumed: true,
    });
    let update = report(Kind::Interim, "1", 1001);
    assert!(matches!(
        apply(None, ended, &update, &owner(), at(1001)),
        Change::Opened { .. }
    ));
    let late = report(Kind::Interim, "1", 999);
    assert_eq!(apply(None, ended, &late, &owner(), at(1001)), Change::None);
    let stop = report(Kind::Stop, "1", 999);
    let closed = apply(None, ended, &stop, &owner(), at(1001));
    assert!(
        matches!(closed, Change::Closed { was_open: false, .. }),
        "what it used is worth writing down"
    );
}

#[test]
fn counters_never_run_back() {
    let mut life = Life::default();
    life.hear(&report(Kind::Start, "1", 0));
    life.hear(&used(report(Kind::Interim, "1", 200), 200, 20));
    let mut older = used(report(Kind::Interim, "1", 100), 100, 10);
    older.details.user_name = Some("other".into());
    older.details.port = Some(7);
    life.hear(&older);
    let session = life.open.unwrap();
    assert_eq!((session.usage.seconds, session.usage.octets_in), (Some(200), 20));
    assert_eq!(
        session.details.user_name.as_deref(),
        Some("ana"),
        "the later word counts"
    );
    assert_eq!(session.details.port, Some(7), "what it left out is filled in");
}

#[test]
fn a_session_begun_after_the_nas_came_back_does_not_end_with_it() {
    let mut life = Life::default();
    life.hear(&report(Kind::Start, "1", 100));
    let session = life.open.unwrap();
    assert!(ends_with_nas(&session, &report(Kind::On, "", 200)));
    assert!(!ends_with_nas(&session, &report(Kind::On, "", 50)));
}

#[test]
fn causes_have_words() {
    assert_eq!(Cause::Reported(Some(1)).to_string(), "user-request");
    assert_eq!(Cause::Reported(Some(99)).to_string(), "cause 99");
    assert_eq!(Cause::NasReboot.to_string(), "nas-reboot");
}

#[test]
fn sessions_of_format_1_are_still_read() {
    let owner = owner();
    let Change::Opened { session, .. } = apply(None, None, &report(Kind::Start, "1", 0), &owner, at(0)) else {
        panic!("a start opens")
    };
    let mut stored = crate::engine::record::encode(&session);
    assert_eq!((stored[0], stored.pop()), (2, Some(0)), "nothing stands at its end");
    stored[0] = 1;
    assert_eq!(
        crate::engine::record::decode::<SessionRecord>(&stored).unwrap(),
        session
    );
    stored[0] = 9;
    assert!(crate::engine::record::decode::<SessionRecord>(&stored).is_err());
}
