use proptest::prelude::*;

use super::*;
use crate::engine::record::{decode, encode};

#[test]
fn names_are_read_back_as_they_are_written() {
    let keyring = Keyring::from_root(&[1; 32]);
    for nonce in 0..1000 {
        let id = RequestId::of(&keyring, nonce, Timestamp::from_secs(nonce));
        let text = id.to_string();
        assert_eq!(text.len(), RequestId::LENGTH);
        assert_eq!(RequestId::parse(&text), Some(id), "{text}");
        assert_eq!(
            RequestId::parse(&format!(" {}-{} ", &text[..3].to_lowercase(), &text[3..])),
            Some(id)
        );
    }
    for wrong in ["", "K7QXM", "K7QXM33", "K7QXM0", "ü7QXM3"] {
        assert_eq!(RequestId::parse(wrong), None, "{wrong}");
    }
    let now = Timestamp::from_secs(1);
    assert_ne!(RequestId::of(&keyring, 1, now), RequestId::of(&keyring, 2, now));
}

const NOW: Timestamp = Timestamp::from_secs(1_000_000);
const LIFE: Duration = Duration::from_secs(60);

/// Somebody with an account, and a person in the directory behind it: `u1` and `u1-admin` are the same one.
fn who(account: &str) -> Who {
    let person = account.strip_suffix("-admin").unwrap_or(account);
    Who {
        account: account.to_owned(),
        key: Some(UserKey::new("main", person)),
    }
}

fn word(by: &str, instead_of: Option<&str>, at: Timestamp) -> Word {
    Word {
        by: who(by),
        instead_of: instead_of.map(who),
        at,
        reason: String::new(),
    }
}

const DIGEST: [u8; 32] = [7; 32];

/// `u0` asks to do something to `u1`.
fn request(levels: usize) -> RequestRecord {
    let deed = Deed {
        action: Action::Passcode,
        asked_by: who("u0"),
        reason: "lost".into(),
        parameters: Vec::new(),
        digest: DIGEST,
    };
    let rule = Rule {
        actions: vec![Action::Passcode],
        about: About::Everybody,
        levels: vec![Approver::Manager; levels],
        life: LIFE,
    };
    RequestRecord::deed(deed, &UserKey::new("main", "u1"), "u1", NOW, &rule)
}

fn spend(request: &mut RequestRecord, by: &str, at: Timestamp) -> Result<(), Refused> {
    request.spend(
        Action::Passcode,
        &UserKey::new("main", "u1"),
        &DIGEST,
        word(by, None, at),
    )
}

#[test]
fn two_levels_and_one_use() {
    let mut request = request(2);
    assert_eq!(request.stand(NOW), Stand::Waiting(0));
    assert_eq!(spend(&mut request, "u0", NOW), Err(Refused::NotApproved));
    for party in ["u0", "u1", "u0-admin", "u1-admin"] {
        assert_eq!(
            request.approve(0, word(party, None, NOW)),
            Err(Refused::Party),
            "{party}"
        );
        let instead = word("u5", Some(party), NOW);
        assert_eq!(request.approve(0, instead), Err(Refused::Party), "for {party}");
    }
    assert_eq!(request.approve(1, word("u2", None, NOW)), Err(Refused::OtherLevel));
    request.approve(0, word("u2", Some("u3"), NOW)).unwrap();
    for again in ["u2", "u2-admin", "u3", "u3-admin"] {
        assert_eq!(
            request.approve(1, word(again, None, NOW)),
            Err(Refused::Again),
            "{again}"
        );
        let instead = word("u5", Some(again), NOW);
        assert_eq!(request.approve(1, instead), Err(Refused::Again), "for {again}");
    }
    request.approve(1, word("u4", None, NOW)).unwrap();
    assert_eq!(request.stand(NOW), Stand::Approved);
    assert_eq!(request.deny(word("u6", None, NOW)), Err(Refused::Over(Stand::Approved)));

    // Nobody else's, nothing else, nobody else, not later, and once.
    assert_eq!(spend(&mut request, "u2", NOW), Err(Refused::NotTheirs));
    let user = UserKey::new("main", "u1");
    for (action, user, digest) in [
        (Action::Unlock, &user, &DIGEST),
        (Action::Passcode, &UserKey::new("main", "u7"), &DIGEST),
        (Action::Passcode, &user, &[8; 32]),
    ] {
        let refused = request.spend(action, user, digest, word("u0", None, NOW));
        assert_eq!(refused, Err(Refused::OtherMatter));
    }
    assert_eq!(
        spend(&mut request.clone(), "u0", NOW + LIFE),
        Err(Refused::Over(Stand::Expired))
    );
    spend(&mut request, "u0", NOW).unwrap();
    assert_eq!(spend(&mut request, "u0", NOW), Err(Refused::Over(Stand::Used)));
}

#[test]
fn a_request_for_a_login_is_good_for_nothing_else() {
    let mut request = RequestRecord {
        matter: Matter::Login(Place {
            client: "vpn".into(),
            service: "vpn".into(),
            source: "192.0.2.1".parse().unwrap(),
            calling_station: None,
        }),
        levels: vec![Approver::ManagerOrGroup],
        ..request(1)
    };
    assert_eq!(request.approve(0, word("u1", None, NOW)), Err(Refused::Party));
    request.approve(0, word("u2", None, NOW)).unwrap();
    assert_eq!(spend(&mut request, "u1", NOW), Err(Refused::OtherMatter));
}

#[test]
fn only_who_asked_takes_it_back() {
    let mut request = request(1);
    assert_eq!(request.cancel(word("u2", None, NOW)), Err(Refused::NotTheirs));
    request.approve(0, word("u2", None, NOW)).unwrap();
    request.cancel(word("u0", None, NOW)).unwrap();
    assert_eq!(spend(&mut request, "u0", NOW), Err(Refused::Over(Stand::Cancelled)));
}

#[test]
fn parameters_are_told_apart() {
    let keyring = Keyring::from_root(&[1; 32]);
    let of = |action, pairs: &[(&str, &str)]| {
        let owned: Vec<(String, String)> = pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        Deed::digest(&keyring, action, &owned)
    };
    let one = of(Action::Passcode, &[("minutes", "15")]);
    assert_eq!(one, of(Action::Passcode, &[("minutes", "15")]));
    for other in [
        of(Action::Passcode, &[("minutes", "16")]),
        of(Action::Passcode, &[("minute", "s15")]),
        of(Action::Passcode, &[]),
        of(Action::Unlock, &[("minutes", "15")]),
    ] {
        assert_ne!(one, other);
    }
}

#[test]
fn requests_of_the_first_format_are_read() {
    #[derive(serde::Serialize)]
    struct Written(older::RequestRecord1);
    impl Written {
        fn octets(state: older::State1) -> Vec<u8> {
            let record = older::RequestRecord1 {
                action: older::Action1::Login,
                user: UserKey::new("main", "1"),
                login: "ana".into(),
                client: "vpn".into(),
                service: "vpn".into(),
                source: "192.0.2.1".parse().unwrap(),
                calling_station: None,
                asked: NOW,
                expires: NOW + LIFE,
                state,
            };
            postcard::to_extend(&Self(record), vec![1]).unwrap()
        }
    }
    let said = |by: &str| older::Word1 {
        by: by.into(),
        at: NOW,
        reason: "no".into(),
    };
    let read = |state| decode::<RequestRecord>(&Written::octets(state)).unwrap();
    assert_eq!(read(older::State1::Pending).stand(NOW), Stand::Waiting(0));
    assert_eq!(read(older::State1::Denied(said("ben"))).stand(NOW), Stand::Denied);
    let approved = read(older::State1::Approved(said("ben")));
    assert_eq!(
        (approved.stand(NOW), approved.words[0].speaker().as_str()),
        (Stand::Approved, "ben")
    );
    assert_eq!(decode::<RequestRecord>(&encode(&approved)).unwrap(), approved);
}

/// Something that happens to a request.
#[derive(Clone, Debug)]
enum Event {
    Approve(usize, String, Option<String>),
    Deny(String),
    Cancel(String),
    Spend(String),
}

fn anybody() -> impl Strategy<Value = String> {
    (0..6u8, any::<bool>()).prop_map(|(number, admin)| format!("u{number}{}", if admin { "-admin" } else { "" }))
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..4usize, anybody(), proptest::option::of(anybody()))
            .prop_map(|(level, by, instead)| Event::Approve(level, by, instead)),
        1 => anybody().prop_map(Event::Deny),
        1 => anybody().prop_map(Event::Cancel),
        2 => anybody().prop_map(Event::Spend),
    ]
}

proptest! {
    /// Whatever happens, in whatever order: a request is used at most once, in time, by who asked, after every level was
    /// approved by people who are all different from each other, from who asked and from whom it is about.
    #[test]
    fn nothing_is_done_without_every_level(
        levels in 1..4usize,
        events in proptest::collection::vec((event(), 0..25u64), 1..60),
    ) {
        let mut request = request(levels);
        let mut now = NOW;
        let mut approvals: Vec<(usize, Vec<String>, Timestamp)> = Vec::new();
        let mut used = 0;
        let mut over = false;
        for (event, pause) in events {
            now = now + Duration::from_secs(pause) / 4;
            let before = request.clone();
            let person = |account: &str| account.trim_end_matches("-admin").to_owned();
            let done = match &event {
                Event::Approve(level, by, instead) => {
                    let done = request.approve(*level, word(by, instead.as_deref(), now));
                    if done.is_ok() {
                        let people = std::iter::once(by).chain(instead).map(|one| person(one)).collect();
                        approvals.push((*level, people, now));
                    }
                    done
                }
                Event::Deny(by) => request.deny(word(by, None, now)),
                Event::Cancel(by) => request.cancel(word(by, None, now)),
                Event::Spend(by) => {
                    let done = spend(&mut request, by, now);
                    if done.is_ok() {
                        used += 1;
                        prop_assert_eq!(person(by), "u0");
                        prop_assert_eq!(approvals.len(), levels);
                    }
                    done
                }
            };
            prop_assert!(done.is_err() || (now < NOW + LIFE && !over), "{:?} after the end", event);
            prop_assert!(done.is_ok() || request == before, "a refusal changed something");
            over |= done.is_ok() && !matches!(event, Event::Approve(..));
        }
        prop_assert!(used <= 1);
        let mut seen: Vec<String> = vec!["u0".into(), "u1".into()];
        for (index, (level, people, _)) in approvals.iter().enumerate() {
            prop_assert_eq!(index, *level, "in order");
            let distinct: std::collections::BTreeSet<&String> = people.iter().collect();
            for one in distinct {
                prop_assert!(!seen.contains(one), "{} twice in {:?}", one, approvals);
                seen.push(one.clone());
            }
        }
    }
}
