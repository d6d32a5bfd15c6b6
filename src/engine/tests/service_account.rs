//! Service accounts: judged by their own rule, behind those that deny.

use super::*;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::denials::GroupDenials;
use crate::engine::policy::{Audit, Known, Rule};
use crate::engine::relayed::{Permit, RelayedChange, Target};

const RULES: &str = r#"
[[rule]]
name = "never here"
when = { service = ["closed"] }
deny = true

[[rule]]
name = "one session"
when = { service = ["apps"] }
require = { all = ["password", "totp"] }
max_sessions = 1
"#;

fn world() -> World {
    let mut world = World::new();
    let mut faults = Faults::default();
    let source = [Source::new(Path::new("p.toml"), RULES)];
    world.engine.policy = Arc::new(policy::parse(&source, Dictionary::shipped(), &mut faults));
    assert_eq!(faults, Faults::default());
    world
}

fn origin(world: &World, service: &str) -> Origin {
    Origin {
        protocol: Protocol::Ldap,
        service_account: Some(Arc::new(Rule::service_account("cn=svc", Audit::All, None))),
        ..world.request(service, "ana", PASSWORD, None, Capability::None).origin
    }
}

#[test]
fn rules_that_count_sessions_do_not_keep_an_account_out() {
    let mut world = world();
    for (service, accepted) in [("apps", true), ("anywhere", true), ("closed", false)] {
        let mut request = world.request(service, "ana", PASSWORD, None, Capability::None);
        request.origin = origin(&world, service);
        let verdict = world.run(&request);
        assert_eq!(
            matches!(verdict, Verdict::Accept(_)),
            accepted,
            "{service}: {verdict:?}"
        );
    }
}

#[test]
fn a_change_that_an_account_has_relayed_is_judged_by_its_own_rule() {
    let mut world = world();
    let change = |world: &World, service: &str| RelayedChange {
        person: Arc::clone(&world.person),
        login: LoginName::parse("ana").unwrap(),
        proven: KindSet::of(Kind::Password),
        origin: origin(world, service),
        target: Target::Known(UserKey::new("corp", "2")),
    };
    let permit = |world: &World, service: &str| {
        let change = change(world, service);
        world.engine.permit(
            &change,
            (&world.user(), &GroupDenials::default()),
            Known::default(),
            Some(9),
            world.now,
        )
    };
    for service in ["apps", "anywhere"] {
        assert_eq!(
            permit(&world, service),
            Permit::Granted("service account cn=svc".into()),
            "{service}"
        );
    }
    assert_eq!(permit(&world, "closed"), Permit::Refused(Denial::Policy));
    let mut user = world.user();
    user.denied = Some(Deny {
        until: None,
        reason: "leaked".into(),
        by: "carol".into(),
        at: world.now,
    });
    world.put(&user);
    assert_eq!(permit(&world, "apps"), Permit::Refused(Denial::Denied));
}
