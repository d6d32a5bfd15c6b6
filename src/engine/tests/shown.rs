//! Certificates and relayed mechanisms: one factor each, and only the person's own.

use super::*;
use crate::engine::authenticator::Kind;

impl World {
    fn show(&mut self, service: &str, user: &str, kind: Kind) -> Verdict {
        let request = AuthnRequest {
            given: Given::Proven(kind),
            ..self.request(service, user, "", None, APPEND)
        };
        self.run(&request)
    }

    /// A bind with EXTERNAL: the login name is the certificate's.
    fn external(&mut self, service: &str) -> Verdict {
        self.certificate = Whose::Theirs;
        self.show(service, "ana", Kind::Certificate)
    }
}

fn accepted(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Accept(_))
}

#[test]
fn a_certificate_alone_is_one_factor() {
    let mut world = World::new();
    assert!(accepted(&world.external("certificate")));
    assert!(accepted(&world.external("lenient")));
    assert_eq!(world.binds, 0);
    let written = &world.audit[0];
    assert_eq!(
        (written.outcome, &written.factors[..]),
        (Outcome::Accept, &["certificate".to_owned()][..])
    );
    for service in ["password", "certified", "certified code", "vpn", "sasl", "either"] {
        assert_eq!(denial(world.external(service)), Denial::UntypedProof, "{service}");
    }
    assert_eq!(denial(world.external("closed")), Denial::Policy);
    assert_eq!(world.failures(), 0, "nothing was guessed");
}

#[test]
fn a_certificate_does_not_let_past_what_bars_the_person() {
    let mut world = World::new();
    let mut user = world.user();
    user.denied = Some(Deny {
        by: "op".into(),
        at: world.now,
        reason: String::new(),
        until: None,
    });
    let before = world.user();
    world.put(&user);
    assert_eq!(denial(world.external("certificate")), Denial::Denied);
    world.put(&before);
    Arc::make_mut(&mut world.person).enabled = false;
    assert_eq!(denial(world.external("certificate")), Denial::Disabled);
    Arc::make_mut(&mut world.person).enabled = true;
    for _ in 0..5 {
        world.ask("password", "ana", "wrong", APPEND);
    }
    assert_eq!(denial(world.external("certificate")), Denial::Throttled);
    world.certificate = Whose::Absent;
    let unknown = world.show("certificate", "nobody", Kind::Certificate);
    assert_eq!(denial(unknown), Denial::UnknownUser);
}

#[test]
fn guesses_at_codes_stay_counted_beside_a_certificate() {
    let mut world = World::new();
    world.ask("vpn", "ana", "correct horse,000000", APPEND);
    assert_eq!(world.failures(), 1);
    assert!(accepted(&world.external("certificate")));
    assert!(accepted(&world.ask("certified", "ana", PASSWORD, APPEND)));
    assert_eq!(world.failures(), 1);
}

#[test]
fn a_certificate_counts_beside_a_password_if_it_is_the_persons() {
    let mut world = World::new();
    for whose in [Whose::Absent, Whose::Others] {
        world.certificate = whose;
        for service in ["certified", "certificate", "certified code"] {
            let verdict = world.ask(service, "ana", PASSWORD, APPEND);
            assert_eq!(denial(verdict), Denial::MissingCertificate, "{service}");
            assert_eq!(
                denial(world.ask(service, "nobody", "x", APPEND)),
                Denial::UnknownUser,
                "{service}"
            );
        }
        let typed = format!("{PASSWORD},{}", world.code());
        assert!(accepted(&world.ask("lenient", "ana", &typed, APPEND)));
        world.now = world.now + Duration::from_secs(60);
    }
    assert_eq!(world.binds, 2, "nothing is tried that cannot be enough");
    world.certificate = Whose::Theirs;
    assert!(accepted(&world.ask("certified", "ana", PASSWORD, APPEND)));
    let factors = &world.audit.last().unwrap().factors;
    assert_eq!(factors[..], ["password", "certificate"]);
    assert_eq!(
        denial(world.ask("certified", "ana", "wrong", APPEND)),
        Denial::WrongPassword
    );
    let code = world.code();
    assert!(accepted(&world.ask("certified code", "ana", &code, APPEND)));
    // A rule that does not ask for it asks for as much as ever.
    assert_eq!(denial(world.ask("vpn", "ana", PASSWORD, APPEND)), Denial::MissingCode);
}

#[test]
fn a_password_that_is_typed_must_be_right_even_where_the_certificate_would_do() {
    let mut world = World::new();
    world.certificate = Whose::Theirs;
    assert_eq!(
        denial(world.ask("certificate", "ana", "wrong", APPEND)),
        Denial::WrongPassword
    );
    assert!(accepted(&world.ask("certificate", "ana", PASSWORD, APPEND)));
    assert_eq!(world.binds, 2);
}

#[test]
fn nobody_acts_as_somebody_else() {
    let mut world = World::new();
    world.acting_as = Whose::Others;
    assert_eq!(
        denial(world.ask("password", "ana", PASSWORD, APPEND)),
        Denial::NotThemselves
    );
    assert_eq!(denial(world.external("certificate")), Denial::NotThemselves);
    assert_eq!(world.binds, 0);
    world.acting_as = Whose::Theirs;
    assert!(accepted(&world.ask("password", "ana", PASSWORD, APPEND)));
    assert!(accepted(&world.external("certificate")));
    world.acting_as = Whose::Unavailable("down".into());
    assert!(matches!(
        world.ask("password", "ana", PASSWORD, APPEND),
        Verdict::Unavailable(_)
    ));
}

#[test]
fn a_relayed_mechanism_is_enough_only_where_a_rule_says_so() {
    let mut world = World::new();
    assert!(accepted(&world.show("sasl", "ana", Kind::Sasl)));
    let before = world.user();
    super::password::force(&mut world);
    let verdict = world.show("sasl", "ana", Kind::Sasl);
    assert_eq!(
        denial(verdict),
        Denial::PasswordMustChange,
        "by another way to prove it"
    );
    assert!(accepted(&world.external("certificate")), "that is no password");
    world.certificate = Whose::Absent;
    assert_eq!(world.failures(), 0);
    world.put(&before);
    for service in ["password", "vpn", "certificate", "either"] {
        let verdict = world.show(service, "ana", Kind::Sasl);
        assert_eq!(denial(verdict), Denial::UntypedProof, "{service}");
    }
    assert_eq!(denial(world.ask("sasl", "ana", PASSWORD, APPEND)), Denial::MissingCode);
}
