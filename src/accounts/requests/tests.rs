use std::sync::Arc;
use std::time::Duration;

use crate::accounts::fixture::{CAROL, Fixture, NOW};
use crate::accounts::{DelegationWish, Doing, PasscodeWish};
use crate::engine::approval::{About, DelegationRecord, Matter, Place, Refused, Rule, Scope};
use crate::engine::record::UserRecord;
use crate::store::{Durability, Store as _};

use super::*;

const BEN: Actor<'static> = Actor { name: "ben", now: NOW };
const DAN: Actor<'static> = Actor { name: "dan", now: NOW };
const EVE: Actor<'static> = Actor { name: "eve", now: NOW };
const HOUR: Duration = Duration::from_secs(3600);
const LIFE: Duration = Duration::from_secs(2 * 3600);

/// Asks for a login, as an engine does.
async fn ask(site: &Fixture, login: &str, nonce: u64) -> String {
    let subject = site.subject(login).await;
    let id = RequestId::of(&site.keyring, nonce, NOW);
    let record = RequestRecord {
        matter: Matter::Login(Place {
            client: "vpn".into(),
            service: "vpn".into(),
            source: "192.0.2.1".parse().unwrap(),
            calling_station: None,
        }),
        user: subject.key.clone(),
        login: login.to_owned(),
        asked: NOW + Duration::from_millis(nonce),
        expires: NOW + Duration::from_secs(300),
        levels: vec![Approver::ManagerOrGroup],
        words: Vec::new(),
        end: None,
    };
    let user = UserRecord {
        login: login.to_owned(),
        approval: Some(id),
        ..UserRecord::default()
    };
    let mut batch = Batch::default();
    let put = Change::Put(encode(&record), Some(record.expires));
    batch.write.push((Key::request(id), put));
    batch
        .write
        .push((Key::user(&subject.key), Change::Put(encode(&user), None)));
    site.store.commit(batch, Durability::Durable).await.unwrap();
    id.to_string()
}

fn all(limit: usize) -> Wanted<'static> {
    Wanted {
        limit,
        ..Wanted::default()
    }
}

/// An installation where passcodes take the manager's word and then that of a member of `leads`: carol asks for ana,
/// ben is ana's manager, dan a lead, and eve is nobody in particular.
fn site() -> Fixture {
    let site = Fixture::new();
    for name in ["dan", "eve"] {
        site.main.hire(name);
    }
    site.main.set_manager("ana", "ben");
    site.main.set_manager("ben", "eve");
    site.main.add_to_group("dan", "cn=leads,dc=main");
    levels(&site, &[Approver::Manager, Approver::Group("leads".into())]);
    site
}

fn levels(site: &Fixture, levels: &[Approver]) {
    site.four_eyes.lock().rules = Arc::new([Rule {
        actions: vec![Action::Passcode, Action::Unlock],
        about: About::Everybody,
        levels: levels.to_vec(),
        life: LIFE,
    }]);
}

async fn ask_for(site: &Fixture, action: Action, by: Actor<'_>) -> Result<String, AccountError> {
    let ana = site.subject("ana").await;
    let ask = Ask {
        action,
        reason: "phone lost".into(),
        parameters: Vec::new(),
    };
    site.accounts.ask(&ana, &ask, by).await.map(|view| view.id)
}

async fn approve(site: &Fixture, id: &str, by: Actor<'_>) -> Result<RequestView, AccountError> {
    let ana = site.subject("ana").await;
    site.accounts.decide_request(&ana, id, Answer::Approve(""), by).await
}

/// Issues a passcode under a request, as a route does.
async fn issue(site: &Fixture, id: Option<&str>, by: Actor<'_>) -> Result<String, AccountError> {
    let doing = Doing {
        action: Action::Passcode,
        parameters: &[],
        request: id,
    };
    let ana = site.accounts.warranted(site.subject("ana").await, doing, by).await?;
    let issued = site.accounts.issue_passcode(&ana, PasscodeWish::default(), by).await?;
    Ok(issued.passcode.id)
}

#[tokio::test]
async fn a_login_is_decided_once() {
    let site = Fixture::new();
    site.main.set_manager("ana", "ben");
    let first = ask(&site, "ana", 1).await;
    let second = ask(&site, "carol", 2).await;
    let open = site.accounts.requests(all(10), NOW).await.unwrap();
    assert_eq!(open.len(), 2);
    let oldest = site.accounts.requests(all(1), NOW).await.unwrap();
    assert_eq!(
        (oldest.len(), &oldest[0].id),
        (1, &first),
        "whatever the order of their names"
    );

    let (ana, relation) = site.accounts.find_request(&first.to_lowercase(), BEN).await.unwrap();
    assert_eq!((ana.login.as_str(), relation), ("ana", Relation::Second));
    let (carol, relation) = site.accounts.find_request(&second, BEN).await.unwrap();
    assert_eq!(relation, Relation::Other);
    let (view, approvers) = site.accounts.request(&first, NOW).await.unwrap();
    assert_eq!(
        (view.state.as_str(), approvers.manager.as_deref()),
        ("pending", Some("ben"))
    );

    let approved = approve(&site, &first, BEN).await.unwrap();
    assert_eq!(
        (approved.state.as_str(), approved.by.as_deref()),
        ("approved", Some("ben"))
    );
    assert!(matches!(
        approve(&site, &first, BEN).await,
        Err(AccountError::Decided(..))
    ));
    let not_asked = site
        .accounts
        .decide_request(&carol, &second, Answer::Approve(""), BEN)
        .await;
    assert!(matches!(not_asked, Err(AccountError::NotAsked(..))), "{not_asked:?}");
    let denied = site
        .accounts
        .decide_request(&carol, &second, Answer::Deny("no"), BEN)
        .await
        .unwrap();
    assert_eq!(
        (denied.state.as_str(), denied.reason.as_deref()),
        ("denied", Some("no"))
    );
    assert_eq!(site.audited().await, ["request.approve accept", "request.deny accept"]);
}

#[tokio::test]
async fn what_is_over_is_not_decided() {
    let site = Fixture::new();
    let id = ask(&site, "ana", 1).await;
    let ana = site.subject("ana").await;
    let late = Actor {
        now: NOW + Duration::from_secs(300),
        ..BEN
    };
    assert!(site.accounts.requests(all(10), late.now).await.unwrap().is_empty());
    for (id, by) in [(id.as_str(), late), ("ZZZZZZ", BEN), ("no", BEN)] {
        let decided = site.accounts.decide_request(&ana, id, Answer::Deny(""), by).await;
        assert!(matches!(decided, Err(AccountError::NoSuchRequest(_))), "{id}");
    }
    let ben = site.subject("ben").await;
    let foreign = site.accounts.decide_request(&ben, &id, Answer::Deny(""), BEN).await;
    assert!(foreign.is_err(), "it is ana's");
    let long = "x".repeat(501);
    let refused = site.accounts.decide_request(&ana, &id, Answer::Deny(&long), BEN).await;
    assert!(matches!(refused, Err(AccountError::Invalid(_))));
}

#[tokio::test]
async fn approved_or_denied_but_never_both() {
    let site = Fixture::new();
    site.main.set_manager("ana", "ben");
    for nonce in 0..20 {
        let id = ask(&site, "ana", nonce).await;
        let ana = site.subject("ana").await;
        let (one, other) = tokio::join!(
            site.accounts.decide_request(&ana, &id, Answer::Approve(""), BEN),
            site.accounts.decide_request(&ana, &id, Answer::Deny(""), BEN)
        );
        assert!(one.is_ok() != other.is_ok());
    }
}

#[tokio::test]
async fn a_damaged_record_hides_no_other() {
    let site = Fixture::new();
    let whole = ask(&site, "ana", 1).await;
    let mut batch = Batch::default();
    let broken = RequestId::of(&site.keyring, 2, NOW);
    batch
        .write
        .push((Key::request(broken), Change::Put(vec![2, 255, 255], None)));
    let user = crate::engine::facts::UserKey::new("main", "id-zed");
    batch.write.push((Key::user(&user), Change::Put(vec![4, 255], None)));
    site.store.commit(batch, Durability::Durable).await.unwrap();
    let open = site.accounts.requests(all(10), NOW).await.unwrap();
    assert_eq!(open.iter().map(|view| &view.id).collect::<Vec<_>>(), [&whole]);
    let damaged = site.accounts.request(&broken.to_string(), NOW).await;
    assert!(matches!(damaged, Err(AccountError::BadRecord(..))), "{damaged:?}");
    assert!(site.accounts.passcodes(None, 10, NOW).await.is_ok());
    assert!(site.accounts.denials(10, NOW).await.is_ok());
    assert!(
        site.accounts.key_holders().await.is_err(),
        "who has which key must be known of all"
    );
}

#[tokio::test]
async fn what_takes_an_approval_is_done_under_one_and_once() {
    let site = site();
    let refused = issue(&site, None, CAROL).await;
    assert!(
        matches!(refused, Err(AccountError::NeedsApproval(Action::Passcode, _))),
        "{refused:?}"
    );
    let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    let early = issue(&site, Some(&id), CAROL).await;
    assert!(
        matches!(early, Err(AccountError::NotGood(_, Refused::NotApproved))),
        "{early:?}"
    );

    // In order, each by who may at that level, nobody twice, never who asks.
    for (by, relation) in [
        (DAN, Relation::Other),
        (CAROL, Relation::Issuer),
        (EVE, Relation::Other),
    ] {
        let not_asked = approve(&site, &id, by).await;
        assert!(
            matches!(&not_asked, Err(AccountError::NotAsked(_, found)) if *found == relation),
            "{not_asked:?}"
        );
    }
    let first = approve(&site, &id, BEN).await.unwrap();
    assert_eq!(first.state, "pending");
    site.main.add_to_group("ben", "cn=leads,dc=main");
    let again = approve(&site, &id, BEN).await;
    assert!(
        matches!(again, Err(AccountError::NotAsked(_, Relation::Issuer))),
        "{again:?}"
    );
    let (view, second) = site.accounts.request(&id, NOW).await.unwrap();
    assert_eq!(
        (view.levels[0].by.as_deref(), second.group.as_deref()),
        (Some("ben"), Some("leads"))
    );
    assert_eq!(approve(&site, &id, DAN).await.unwrap().state, "approved");

    // By who asked, for what was asked, in time.
    let other = issue(&site, Some(&id), DAN).await;
    assert!(
        matches!(other, Err(AccountError::NotGood(_, Refused::NotTheirs))),
        "{other:?}"
    );
    let unlock = Doing {
        action: Action::Unlock,
        parameters: &[],
        request: Some(&id),
    };
    let else_ = site.accounts.warranted(site.subject("ana").await, unlock, CAROL).await;
    assert!(
        matches!(else_, Err(AccountError::NotGood(_, Refused::OtherMatter))),
        "{else_:?}"
    );
    let said = [("minutes".to_owned(), "480".to_owned())];
    let longer = Doing {
        action: Action::Passcode,
        parameters: &said,
        request: Some(&id),
    };
    let longer = site.accounts.warranted(site.subject("ana").await, longer, CAROL).await;
    assert!(
        matches!(longer, Err(AccountError::NotGood(_, Refused::OtherMatter))),
        "{longer:?}"
    );
    let ben = site.subject("ben").await;
    let for_ben = Doing {
        action: Action::Passcode,
        parameters: &[],
        request: Some(&id),
    };
    let for_ben = site.accounts.warranted(ben, for_ben, CAROL).await;
    assert!(
        matches!(for_ben, Err(AccountError::NotGood(_, Refused::OtherMatter))),
        "{for_ben:?}"
    );
    let late = Actor {
        now: NOW + LIFE,
        ..CAROL
    };
    let late = issue(&site, Some(&id), late).await;
    assert!(matches!(late, Err(AccountError::NoSuchRequest(_))), "{late:?}");

    // However many try at once.
    let site = Arc::new(site);
    let mut trying = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (site, id) = (Arc::clone(&site), id.clone());
        trying.spawn(async move { issue(&site, Some(&id), CAROL).await.is_ok() });
    }
    let done = trying.join_all().await;
    assert_eq!(done.into_iter().filter(|done| *done).count(), 1);
    let spent = issue(&site, Some(&id), CAROL).await;
    assert!(matches!(spent, Err(AccountError::Decided(_, "used"))), "{spent:?}");
    assert_eq!(
        site.audited().await,
        [
            "request.ask accept",
            "request.approve accept",
            "request.approve accept",
            "passcode.issue accept",
            "request.use accept"
        ]
    );
}

#[tokio::test]
async fn who_agreed_that_a_passcode_be_issued_does_not_release_it() {
    let site = site();
    site.four_eyes.lock().passcodes = true;
    site.four_eyes.lock().holders = Some("leads".into());
    levels(&site, &[Approver::Manager]);
    let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    approve(&site, &id, BEN).await.unwrap();
    let passcode = issue(&site, Some(&id), CAROL).await.unwrap();
    for by in [BEN, CAROL] {
        let (_, relation) = site.accounts.find_passcode(&passcode, by).await.unwrap();
        assert_eq!(relation, Relation::Issuer, "{}", by.name);
    }
    let (ana, relation) = site.accounts.find_passcode(&passcode, DAN).await.unwrap();
    assert_eq!(relation, Relation::Second);
    let not_asked = site.accounts.release_passcode(&ana, &passcode, BEN).await;
    assert!(matches!(not_asked, Err(AccountError::NotAsked(..))));
    site.accounts.release_passcode(&ana, &passcode, DAN).await.unwrap();
}

#[tokio::test]
async fn two_who_approve_at_once_fill_two_levels_or_one() {
    let site = site();
    site.main.add_to_group("eve", "cn=leads,dc=main");
    levels(
        &site,
        &[Approver::Group("leads".into()), Approver::Group("leads".into())],
    );
    for _ in 0..10 {
        let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
        let (one, two, again) = tokio::join!(
            approve(&site, &id, DAN),
            approve(&site, &id, EVE),
            approve(&site, &id, DAN)
        );
        let agreed = [one.is_ok(), two.is_ok(), again.is_ok()]
            .iter()
            .filter(|ok| **ok)
            .count();
        assert_eq!(agreed, 2, "each of them once");
        let (view, _) = site.accounts.request(&id, NOW).await.unwrap();
        assert_eq!(view.state, "approved");
        assert_ne!(view.levels[0].by, view.levels[1].by);
    }
}

#[tokio::test]
async fn a_denial_at_any_level_ends_it_and_its_maker_may_take_it_back() {
    let site = site();
    let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    approve(&site, &id, BEN).await.unwrap();
    let ana = site.subject("ana").await;
    site.accounts
        .decide_request(&ana, &id, Answer::Deny("no"), DAN)
        .await
        .unwrap();
    for result in [
        approve(&site, &id, DAN).await.map(|_| ()),
        issue(&site, Some(&id), CAROL).await.map(|_| ()),
    ] {
        assert!(matches!(result, Err(AccountError::Decided(_, "denied"))), "{result:?}");
    }
    let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    let theirs = site.accounts.cancel_request(&id, "", DAN).await;
    assert!(
        matches!(theirs, Err(AccountError::NotGood(_, Refused::NotTheirs))),
        "{theirs:?}"
    );
    site.accounts.cancel_request(&id, "found it", CAROL).await.unwrap();
    assert!(site.accounts.requests(all(10), NOW).await.unwrap().is_empty());
    let over = Wanted {
        over: true,
        of: Some("carol"),
        ..all(10)
    };
    assert_eq!(site.accounts.requests(over, NOW).await.unwrap().len(), 2);
}

#[tokio::test]
async fn lists_say_what_waits_for_whom() {
    let site = site();
    let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    let waiting = async |name| {
        let wanted = Wanted {
            for_whom: Some(name),
            ..all(10)
        };
        site.accounts.requests(wanted, NOW).await.unwrap().len()
    };
    assert_eq!(
        (waiting("ben").await, waiting("dan").await, waiting("carol").await),
        (1, 0, 0)
    );
    approve(&site, &id, BEN).await.unwrap();
    assert_eq!((waiting("ben").await, waiting("dan").await), (0, 1));
}

#[tokio::test]
async fn only_what_somebody_could_approve_is_asked_for() {
    let site = site();
    let not = ask_for(&site, Action::Deny, CAROL).await;
    assert!(
        matches!(not, Err(AccountError::NoApprovalNeeded(Action::Deny, _))),
        "{not:?}"
    );
    levels(&site, &[Approver::ManagersManager]);
    assert!(ask_for(&site, Action::Passcode, CAROL).await.is_ok());
    let own = ask_for(&site, Action::Passcode, EVE).await;
    assert!(
        matches!(own, Err(AccountError::NobodySecond(_))),
        "eve would be the only one: {own:?}"
    );
    // Levels that the configuration wants differently by now.
    let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    approve(&site, &id, EVE).await.unwrap();
    levels(&site, &[Approver::ManagersManager, Approver::Manager]);
    let other = issue(&site, Some(&id), CAROL).await;
    assert!(matches!(other, Err(AccountError::OtherLevels(_))), "{other:?}");
}

#[tokio::test]
async fn a_delegate_approves_in_somebodys_place_and_no_further() {
    let site = site();
    let delegate = async |by: Actor<'_>, to: &str, scope: &str| {
        let wish = DelegationWish {
            to: to.to_owned(),
            scope: Scope::parse([scope]).unwrap(),
            until: NOW + HOUR,
            reason: "on leave".into(),
        };
        site.accounts.delegate(&wish, by).await
    };
    // What ben has he hands to eve; what eve has of it she cannot hand to dan; dan has nothing of ben's.
    let made = delegate(BEN, "eve", "action=passcode").await.unwrap();
    delegate(EVE, "dan", "all").await.unwrap();
    let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    assert!(approve(&site, &id, DAN).await.is_err());
    let (_, relation) = site.accounts.find_request(&id, EVE).await.unwrap();
    assert_eq!(relation, Relation::Second);
    let view = approve(&site, &id, EVE).await.unwrap();
    assert_eq!(view.levels[0].by.as_deref(), Some("eve for ben"));
    // The two are one person now.
    for one in ["ben", "eve"] {
        site.main.add_to_group(one, "cn=leads,dc=main");
    }
    for by in [BEN, EVE] {
        let again = approve(&site, &id, by).await;
        assert!(
            matches!(again, Err(AccountError::NotAsked(_, Relation::Issuer))),
            "{again:?}"
        );
    }
    // Out of scope; too late; ended; and no more than the one who handed it over has.
    let other = ask_for(&site, Action::Unlock, CAROL).await.unwrap();
    assert!(approve(&site, &other, EVE).await.is_err());
    let third = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    let late = Actor { now: NOW + HOUR, ..EVE };
    assert!(approve(&site, &third, late).await.is_err());
    site.main.set_manager("ana", "dan");
    assert!(approve(&site, &third, EVE).await.is_err(), "ben is no manager any more");
    site.main.set_manager("ana", "ben");
    site.accounts.end_delegation(&made.id, CAROL).await.unwrap();
    assert!(approve(&site, &third, EVE).await.is_err());
    let gone = site.accounts.end_delegation(&made.id, CAROL).await;
    assert!(matches!(gone, Err(AccountError::NoSuchDelegation(_))), "{gone:?}");
}

#[tokio::test]
async fn nobody_gets_round_it_by_delegating() {
    let site = site();
    let delegate = async |by: Actor<'_>, to: &str, until: Duration| {
        let wish = DelegationWish {
            to: to.to_owned(),
            scope: Scope::default(),
            until: NOW + until,
            reason: "on leave".into(),
        };
        site.accounts.delegate(&wish, by).await
    };
    // The manager asks, and has somebody else approve in their place.
    delegate(BEN, "dan", HOUR).await.unwrap();
    levels(&site, &[Approver::Group("leads".into()), Approver::ManagerOrGroup]);
    site.four_eyes.lock().approvers = Some("leads".into());
    let id = ask_for(&site, Action::Passcode, BEN).await.unwrap();
    approve(&site, &id, DAN).await.unwrap();
    let twice = approve(&site, &id, DAN).await;
    assert!(
        matches!(twice, Err(AccountError::NotAsked(_, Relation::Issuer))),
        "{twice:?}"
    );
    // Who asks cannot approve in somebody's place either.
    delegate(BEN, "carol", HOUR).await.unwrap();
    levels(&site, &[Approver::Manager]);
    let id = ask_for(&site, Action::Passcode, CAROL).await.unwrap();
    assert!(approve(&site, &id, CAROL).await.is_err());
    // Nor whom it is about.
    delegate(BEN, "ana", HOUR).await.unwrap();
    let ana = Actor { name: "ana", now: NOW };
    assert!(approve(&site, &id, ana).await.is_err());

    site.main.alias("ben-admin", "ben");
    for (to, until) in [
        ("ben", HOUR),
        ("ben-admin", HOUR),
        ("nobody", HOUR),
        ("eve", Duration::ZERO),
        ("eve", DelegationRecord::LONGEST + HOUR),
    ] {
        let refused = delegate(BEN, to, until).await;
        assert!(
            matches!(refused, Err(AccountError::Invalid(_))),
            "{to} {until:?}: {refused:?}"
        );
    }
    let listed = site.accounts.delegations(Some("dan"), NOW).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(site.accounts.delegations(None, NOW).await.unwrap().len(), 3);
    assert!(site.accounts.delegations(None, NOW + HOUR).await.unwrap().is_empty());
}
