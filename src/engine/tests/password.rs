//! New passwords: what they rest on, what is spent, what is given back; and sessions for nothing else.

use super::*;
use crate::engine::Grant;
use crate::engine::account::PasswordRefusal;
use crate::engine::authenticator::passcode::MAX_REFUSED;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::record::ForcedChange;
use crate::engine::relayed::{Permit, RelayedChange, Target};
use crate::engine::request::Operation;
use crate::engine::upstream::Answer;
use crate::engine::verdict::Restricted;

const NEW: &str = "battery staple";
const PASSCODE: &str = "k7qxm-3rtwp";
const APPENDED: Capability = Capability::Append(Split::Separator(','));

impl World {
    fn new_password(&self, service: &str, typed: &str, dialog: Option<Dialog>) -> AuthnRequest {
        let mut request = self.request(service, "ana", typed, dialog, APPENDED);
        request.purpose = Purpose::NewPassword(Secret::new(NEW));
        request
    }

    fn set(&mut self, service: &str, typed: &str) -> Verdict {
        let request = self.new_password(service, typed, None);
        self.run(&request)
    }

    fn bind(&mut self, service: &str, typed: &str, expired: bool) -> Verdict {
        let mut request = self.request(service, "ana", typed, None, APPENDED);
        request.purpose = Purpose::LoginOrChange { expired };
        self.run(&request)
    }

    fn both(&self) -> String {
        format!("{PASSWORD},{}", self.code())
    }
}

fn done(verdict: Verdict) -> Grant {
    match verdict {
        Verdict::Accept(grant) => grant,
        other => panic!("{other:?}"),
    }
}

fn restricted(verdict: Verdict) -> Restricted {
    match verdict {
        Verdict::Restricted(restricted) => restricted,
        other => panic!("{other:?}"),
    }
}

fn kinds(kinds: &[Kind]) -> KindSet {
    kinds.iter().fold(KindSet::EMPTY, |set, kind| set.with(*kind))
}

#[test]
fn a_change_takes_what_a_login_takes_and_is_the_one_try_of_the_password() {
    let mut world = World::new();
    assert_eq!(denial(world.set("vpn", PASSWORD)), Denial::MissingCode);
    assert_eq!(denial(world.set("vpn", "wrong,123456")), Denial::WrongCode);
    assert!(world.changes.is_empty());
    let typed = world.both();
    let grant = done(world.set("vpn", &typed));
    assert_eq!(grant.proven, kinds(&[Kind::Password, Kind::Totp]));
    assert_eq!(world.changes, [(Some(PASSWORD.to_owned()), NEW.to_owned())]);
    assert_eq!(world.binds, 0, "the directory judges it by the change");
    let event = world.audit.last().unwrap();
    assert_eq!(
        (event.action.as_str(), event.outcome, event.rule.as_deref()),
        ("password.change", Outcome::Accept, Some("both"))
    );
    assert_eq!(event.factors, ["password", "totp"]);
    assert_eq!(denial(world.set("vpn", &typed)), Denial::CodeReplayed);
    assert_eq!(world.failures(), 1);
}

#[test]
fn a_wrong_old_password_counts_as_one_at_a_login_does() {
    let mut world = World::new();
    for _ in 0..5 {
        assert_eq!(denial(world.set("password", "wrong")), Denial::WrongPassword);
    }
    assert_eq!(denial(world.set("password", PASSWORD)), Denial::Throttled);
    assert!(world.changes.is_empty());
}

#[test]
fn nobody_is_told_from_somebody() {
    let mut world = World::new();
    let mut request = world.new_password("password", PASSWORD, None);
    request.login = LoginName::parse("nobody").unwrap();
    assert_eq!(denial(world.run(&request)), Denial::UnknownUser);
}

#[test]
fn what_stands_in_for_the_old_password_must_be_allowed_by_name() {
    let mut world = World::new();
    let code = world.code();
    assert_eq!(denial(world.set("code", &code)), Denial::Policy);
    assert_eq!(
        denial(world.set("either", &code)),
        Denial::WrongPassword,
        "no code is asked for"
    );
    assert_eq!(
        denial(world.set("password or passcode", PASSCODE)),
        Denial::WrongPassword
    );
    assert!(world.user().passcode.is_some_and(|passcode| passcode.failures == 0));
    assert!(world.changes.is_empty());
    // A code where no change is asked for is as good as ever.
    done(world.ask("code", "ana", &code, Capability::None));
}

#[test]
fn a_passcode_sets_a_password_once() {
    let mut world = World::new();
    let grant = done(world.set("wiki", PASSCODE));
    assert_eq!(grant.proven, kinds(&[Kind::Passcode]));
    assert_eq!(world.changes, [(None, NEW.to_owned())]);
    assert!(world.user().passcode.is_none());
    assert_eq!(denial(world.set("wiki", PASSCODE)), Denial::MissingCode);
    assert_eq!(world.changes.len(), 1);
    // It is no way in: the rule for logins asks for more.
    let mut other = World::new();
    assert_eq!(
        denial(other.ask("wiki", "ana", PASSCODE, APPENDED)),
        Denial::MissingCode
    );
}

#[test]
fn one_passcode_in_two_changes_at_once_sets_one_password() {
    let mut world = World::new();
    let request = world.new_password("wiki", PASSCODE, None);
    let engine = world.engine.clone();
    let facts = world.facts("ana");
    let begin = |nonce| engine.begin(&request, &facts, world.now, nonce);
    let (Step::Do(Effect::Change { reserve: first, .. }, _), Step::Do(Effect::Change { reserve: second, .. }, _)) =
        (begin(1), begin(2))
    else {
        panic!("both are about to be made")
    };
    assert!(world.commit(first));
    assert!(!world.commit(second), "what it rests on is gone");
    // The one begins again; and so does whoever comes after a crash before the answer.
    assert_eq!(denial(world.set("wiki", PASSCODE)), Denial::MissingCode);
    assert!(world.changes.is_empty());
}

#[test]
fn a_new_password_that_is_not_taken_gives_the_passcode_back_so_often() {
    let mut world = World::new();
    let refusal = PasswordRefusal::TooShort;
    for count in 1..MAX_REFUSED {
        world.changed = Some(Changed::Refused(refusal));
        assert_eq!(denial(world.set("wiki", PASSCODE)), Denial::NewPassword(refusal));
        let passcode = world.user().passcode.unwrap();
        assert_eq!((passcode.refused, passcode.failures), (count, 0));
    }
    assert_eq!(world.failures(), 0, "it was no guess");
    let event = world.audit.last().unwrap();
    assert_eq!(event.reason.as_deref(), Some("new-password-too-short"));
    assert_eq!(denial(world.set("wiki", PASSCODE)), Denial::NewPassword(refusal));
    assert!(world.user().passcode.is_none(), "enough is enough");

    let mut world = World::new();
    world.changed = Some(Changed::Refused(refusal));
    assert_eq!(denial(world.set("wiki", PASSCODE)), Denial::NewPassword(refusal));
    world.changed = None;
    done(world.set("wiki", PASSCODE));
}

#[test]
fn a_code_that_the_answer_has_told_to_be_right_stays_spent() {
    let mut world = World::new();
    world.changed = Some(Changed::Refused(PasswordRefusal::UsedBefore));
    let typed = world.both();
    assert_eq!(
        denial(world.set("vpn", &typed)),
        Denial::NewPassword(PasswordRefusal::UsedBefore)
    );
    world.changed = None;
    assert_eq!(denial(world.set("vpn", &typed)), Denial::CodeReplayed);
}

#[test]
fn an_outage_gives_everything_back_and_counts_for_nobody() {
    let mut world = World::new();
    world.changed = Some(Changed::Unavailable("gone".into()));
    let typed = world.both();
    for typed in [PASSCODE, &typed] {
        let verdict = world.set("wiki", typed);
        assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    }
    let passcode = world.user().passcode.unwrap();
    assert_eq!((passcode.refused, world.failures()), (0, 0));
    world.changed = None;
    done(world.set("wiki", &typed));
    done(world.set("wiki", PASSCODE));
}

#[test]
fn what_the_directory_does_not_allow_is_no_fault_of_the_persons() {
    for (changed, expected) in [
        (Changed::Forbidden("no write access".into()), Denial::ChangeForbidden),
        (Changed::Unsupported, Denial::ChangeUnsupported),
    ] {
        let mut world = World::new();
        world.changed = Some(changed);
        assert_eq!(denial(world.set("wiki", PASSCODE)), expected);
        assert!(world.user().passcode.is_some_and(|passcode| passcode.refused == 0));
        assert_eq!(world.failures(), 0);
        assert!(expected.advice().is_some());
    }
    let mut world = World::new();
    world.changed = Some(Changed::Locked);
    assert_eq!(denial(world.set("password", PASSWORD)), Denial::Locked);
}

#[test]
fn who_is_denied_sets_no_password() {
    let mut world = World::new();
    let mut user = world.user();
    user.denied = Some(Deny {
        until: None,
        reason: "laptop stolen".into(),
        by: "carol".into(),
        at: world.now,
    });
    world.put(&user);
    assert_eq!(
        denial(world.set("wiki", PASSCODE)),
        Denial::MissingCode,
        "not judged at all"
    );
    assert!(world.user().passcode.is_some());
    assert_eq!(denial(world.set("password", PASSWORD)), Denial::Denied);
    assert!(world.changes.is_empty());
}

#[test]
fn a_password_that_must_be_changed_opens_a_session_for_that_to_who_can_hold_one() {
    let mut world = World::new();
    world.outcome = Some(PasswordOutcome::MustChange);
    assert_eq!(
        denial(world.ask("password", "ana", PASSWORD, APPENDED)),
        Denial::PasswordMustChange
    );
    // Not before the code is proven.
    assert_eq!(denial(world.bind("vpn", PASSWORD, true)), Denial::MissingCode);
    let typed = world.both();
    let session = restricted(world.bind("vpn", &typed, false));
    let event = world.audit.last().unwrap();
    assert_eq!(
        (event.outcome, event.reason.as_deref()),
        (Outcome::Restricted, Some("password-must-change"))
    );
    // The old password need not be given again, and the code cannot be.
    world.outcome = None;
    let request = world.new_password("vpn", "", Some(session.dialog.clone()));
    done(world.run(&request));
    assert_eq!(world.changes, [(Some(PASSWORD.to_owned()), NEW.to_owned())]);
    let request = world.new_password("vpn", "wrong", Some(session.dialog.clone()));
    assert_eq!(denial(world.run(&request)), Denial::WrongPassword);
    // Nor by somebody else, nor for ever, nor where more is asked for.
    let mut request = world.new_password("vpn", "", Some(session.dialog.clone()));
    request.login = LoginName::parse("ANA@example.org").unwrap();
    assert!(!matches!(world.run(&request), Verdict::Accept(_)));
    world.now = world.now + Duration::from_secs(600);
    let request = world.new_password("vpn", "", Some(session.dialog));
    assert_eq!(denial(world.run(&request)), Denial::BadDialog);
}

#[test]
fn an_expired_password_is_one_only_where_the_front_end_says_so() {
    let mut world = World::new();
    world.outcome = Some(PasswordOutcome::Expired);
    assert_eq!(denial(world.bind("password", PASSWORD, false)), Denial::PasswordExpired);
    restricted(world.bind("password", PASSWORD, true));
    world.outcome = Some(PasswordOutcome::Wrong);
    assert_eq!(denial(world.bind("password", PASSWORD, true)), Denial::WrongPassword);
}

#[test]
fn a_session_is_no_good_for_a_rule_that_asks_for_more() {
    let mut world = World::new();
    world.outcome = Some(PasswordOutcome::MustChange);
    let session = restricted(world.bind("password", PASSWORD, false));
    let request = world.new_password("vpn", "", Some(session.dialog));
    assert_eq!(denial(world.run(&request)), Denial::Policy);
    assert!(world.changes.is_empty());
}

#[test]
fn a_passcode_opens_a_session_for_a_new_password() {
    let mut world = World::new();
    let session = restricted(world.bind("wiki", PASSCODE, false));
    assert!(world.user().passcode.is_none(), "spent");
    assert_eq!(world.audit.last().unwrap().reason.as_deref(), Some("passcode"));
    let again = |world: &mut World, dialog: &Dialog| {
        let request = world.new_password("wiki", "", Some(dialog.clone()));
        world.run(&request)
    };
    world.changed = Some(Changed::Refused(PasswordRefusal::TooSimple));
    assert_eq!(
        denial(again(&mut world, &session.dialog)),
        Denial::NewPassword(PasswordRefusal::TooSimple)
    );
    world.changed = None;
    done(again(&mut world, &session.dialog));
    assert_eq!(world.changes, [(None, NEW.to_owned())]);
    // Where it lets in for more, it does that.
    let mut world = World::new();
    done(world.bind("code", PASSCODE, false));
}

#[test]
fn guesses_at_a_passcode_on_the_way_to_a_login_revoke_it() {
    let mut world = World::new();
    for _ in 0..3 {
        assert_eq!(denial(world.bind("wiki", "K7QXM3RTWQ", false)), Denial::MissingCode);
    }
    assert_eq!(denial(world.bind("wiki", PASSCODE, false)), Denial::MissingCode);
    // And a right code after such a guess is spent all the same.
    let mut world = World::new();
    let typed = world.both();
    done(world.bind("wiki", &typed, false));
    assert_eq!(denial(world.bind("wiki", &typed, false)), Denial::CodeReplayed);
}

#[test]
fn rules_say_who_may_ask_the_directory() {
    let world = World::new();
    let asks = |service: &str, proven: &[Kind]| {
        let change = RelayedChange {
            person: Arc::clone(&world.person),
            login: LoginName::parse("ana").unwrap(),
            proven: kinds(proven),
            origin: world.request(service, "ana", "x", None, APPENDED).origin,
            target: Target::Known(world.person.key.clone()),
        };
        world.engine.permit(
            &change,
            (&world.user(), &GroupDenials::default()),
            policy::Known::default(),
            None,
            world.now,
        )
    };
    assert_eq!(asks("password", &[Kind::Password]), Permit::Granted("password".into()));
    assert_eq!(asks("vpn", &[Kind::Password]), Permit::ProveMore("both".into()));
    assert_eq!(
        asks("vpn", &[Kind::Password, Kind::Totp]),
        Permit::Granted("both".into())
    );
    assert_eq!(asks("closed", &[Kind::Password]), Permit::Refused(Denial::Policy));
    assert_eq!(asks("nowhere", &[Kind::Password]), Permit::Refused(Denial::Policy));
    assert_eq!(asks("code", &[Kind::Totp]), Permit::Refused(Denial::Policy));
}

#[test]
fn rules_can_be_about_one_operation() {
    let origin = World::new().request("x", "ana", "x", None, APPENDED).origin;
    let decide = |text: &str, operation: Operation| {
        let mut faults = Faults::default();
        let source = [Source::new(Path::new("p.toml"), text)];
        let policy = policy::parse(&source, Dictionary::shipped(), &mut faults);
        assert!(faults.0.is_empty(), "{faults}");
        let login = LoginName::parse("ana").unwrap();
        let subject = policy::Subject {
            login: &login,
            origin: &origin,
            person: policy::Who::Decoy,
            operation,
            sessions: None,
            known: policy::Known::default(),
            now: Timestamp::default(),
        };
        policy.decide(&subject).map(|rule| rule.name.to_string())
    };
    const CHANGES: &str = "[[rule]]\nname = \"changes\"\nwhen = { operation = [\"password-change\"] }\ndeny = true\n";
    const ALL: &str = "[[rule]]\nname = \"all\"\nrequire = \"password\"\n";
    let both = format!("{CHANGES}{ALL}");
    assert_eq!(decide(&both, Operation::PasswordChange).as_deref(), Some("changes"));
    assert_eq!(decide(&both, Operation::Login).as_deref(), Some("all"));
    assert_eq!(decide(ALL, Operation::PasswordChange).as_deref(), Some("all"));
}

#[test]
fn a_password_that_looks_like_a_passcode_costs_the_passcode_nothing() {
    let mut world = World::new();
    world.kept = None;
    for _ in 0..4 {
        world.outcome = Some(PasswordOutcome::Right);
        done(world.bind("password-change by passcode", "K7QXM3RTWQ", false));
    }
    assert!(world.user().passcode.is_some_and(|passcode| passcode.failures == 0));
}

#[test]
fn a_wrong_passcode_counts_although_the_directory_is_out_of_reach() {
    let mut world = World::new();
    world.outcome = Some(PasswordOutcome::Unavailable("gone".into()));
    for _ in 0..3 {
        let verdict = world.bind("password-change by passcode", "K7QXM3RTWQ", false);
        assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    }
    assert!(world.user().passcode.is_none(), "three wrong ones revoke it");
    assert_eq!(world.failures(), 3);
}

#[test]
fn what_a_change_without_an_answer_rests_on_stays_spent() {
    let mut world = World::new();
    world.changed = Some(Changed::Lost("no answer".into()));
    let typed = world.both();
    for typed in [PASSCODE, &typed] {
        let verdict = world.set("wiki", typed);
        assert!(matches!(verdict, Verdict::Unavailable(_)), "{verdict:?}");
    }
    assert!(world.user().passcode.is_none());
    assert_eq!(world.failures(), 0, "nobody's failure");
    world.changed = None;
    assert_eq!(denial(world.set("wiki", PASSCODE)), Denial::MissingCode);
    assert_eq!(denial(world.set("wiki", &typed)), Denial::CodeReplayed);
}

#[test]
fn an_expired_password_is_not_changed_with_less_than_the_rule_for_changes_asks_for() {
    let mut world = World::new();
    world.outcome = Some(PasswordOutcome::Expired);
    let verdict = world.ask("password-change by passcode", "ana", PASSWORD, Capability::Dialog);
    assert!(
        matches!(verdict, Verdict::Reject(Denial::PasswordExpired)),
        "{verdict:?}"
    );
    let verdict = world.ask("password", "ana", PASSWORD, Capability::Dialog);
    assert!(matches!(verdict, Verdict::Challenge(_)), "{verdict:?}");
}

/// An operator's word that the password is to be changed.
pub(super) fn force(world: &mut World) {
    let record = UserRecord {
        must_change: Some(ForcedChange {
            by: "carol".into(),
            at: world.now,
        }),
        ..world.user()
    };
    world.put(&record);
}

#[test]
fn a_password_that_an_operator_wants_changed_lets_in_for_nothing_else_until_it_is() {
    let mut world = World::new();
    force(&mut world);
    // Where nothing can be changed, as over CHAP, it is refused; a wrong one stays a wrong one.
    assert_eq!(
        denial(world.ask("password", "ana", PASSWORD, Capability::None)),
        Denial::PasswordMustChange
    );
    assert_eq!(
        denial(world.ask("password", "ana", "wrong", Capability::None)),
        Denial::WrongPassword
    );
    assert_eq!(world.failures(), 1);
    let session = restricted(world.bind("password", PASSWORD, false));
    let mut request = world.new_password("password", "", Some(session.dialog));
    request.given = Given::Typed(Secret::default());
    done(world.run(&request));
    assert_eq!(world.changes, [(Some(PASSWORD.to_owned()), NEW.to_owned())]);
    assert_eq!(
        world.user().must_change,
        None,
        "in one batch with what the answer rests on"
    );
}

#[test]
fn a_code_has_to_be_right_before_anybody_hears_of_it() {
    let mut world = World::new();
    force(&mut world);
    assert_eq!(
        denial(world.ask("vpn", "ana", &format!("{PASSWORD},000000"), APPENDED)),
        Denial::WrongCode
    );
    let typed = world.both();
    assert_eq!(
        denial(world.ask("vpn", "ana", &typed, APPENDED)),
        Denial::PasswordMustChange
    );
    assert_eq!(denial(world.ask("vpn", "ana", &typed, APPENDED)), Denial::CodeReplayed);
    // Without the password it is nobody's business.
    let mut world = World::new();
    force(&mut world);
    let code = world.code();
    done(world.ask("code", "ana", &code, Capability::None));
}

#[test]
fn a_change_with_the_old_password_or_a_passcode_ends_it_and_one_that_is_refused_does_not() {
    let mut world = World::new();
    force(&mut world);
    world.changed = Some(Changed::Refused(PasswordRefusal::TooShort));
    assert_eq!(
        denial(world.set("password", PASSWORD)),
        Denial::NewPassword(PasswordRefusal::TooShort)
    );
    assert!(world.user().must_change.is_some());
    world.changed = Some(Changed::Lost("no answer".into()));
    assert!(matches!(world.set("password", PASSWORD), Verdict::Unavailable(_)));
    assert!(world.user().must_change.is_some(), "perhaps it is not changed");
    world.changed = None;
    done(world.set("password", PASSWORD));
    assert_eq!(world.user().must_change, None);

    let mut world = World::new();
    force(&mut world);
    done(world.set("wiki", PASSCODE));
    assert_eq!(world.user().must_change, None);
}

#[test]
fn a_password_that_another_server_judges_is_not_to_be_changed_here() {
    let mut world = World::new();
    force(&mut world);
    let request = world.request("password", "ana", PASSWORD, None, Capability::None);
    let engine = world.engine.clone();
    let facts = Facts {
        password_by: Some("elsewhere".into()),
        ..world.facts("ana")
    };
    let Step::Do(Effect::AskUpstream { reserve, .. }, attempt) = engine.begin(&request, &facts, world.now, 1) else {
        panic!("the upstream is asked")
    };
    assert!(world.commit(reserve));
    let facts = Facts {
        password_by: Some("elsewhere".into()),
        ..world.facts("ana")
    };
    let right = Evidence::Upstream(Answer::Accept(Vec::new()));
    let Step::Decided(decision) = attempt.resume(right, &facts, world.now) else {
        panic!("nothing more is asked")
    };
    assert!(matches!(decision.verdict, Verdict::Accept(_)), "{:?}", decision.verdict);
}
