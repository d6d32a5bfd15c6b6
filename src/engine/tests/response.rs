//! CHAP and MS-CHAPv2: what they can prove, and what they must never do.

use super::*;
use crate::engine::authenticator::passcode::MAX_FAILURES;
use crate::engine::response::{Chap, MsChapV2, Peer, Response};
use crate::engine::verdict::Grant;

const CODE: &str = "K7QXM3RTWP";
const CHALLENGE: [u8; 16] = [0x5a; 16];

fn chap(password: &str) -> Response {
    let made = Chap::response(7, &Secret::new(password), &CHALLENGE);
    Response::Chap(Chap::new(7, &CHALLENGE, made).unwrap())
}

fn ms_chap(password: &str) -> Response {
    let password = Secret::new(password);
    let peer = Peer {
        user: b"ana",
        password: &password,
        challenge: &CHALLENGE,
        peer_challenge: &[3; 16],
    };
    Response::MsChapV2(MsChapV2::new(&peer.response(9).unwrap(), &CHALLENGE, b"ana").unwrap())
}

impl World {
    /// Issues ana's passcode for CHAP.
    fn seal_passcode(&mut self) {
        let mut user = self.user();
        let key = self.person.key.as_str().to_owned();
        let passcode = user.passcode.as_mut().unwrap();
        let place = Passcode::place(&key, &passcode.id);
        passcode.sealed = Some(self.engine.keyring.seal(&place, CODE.as_bytes()));
        self.put(&user);
    }

    fn respond(&mut self, service: &str, user: &str, response: Response) -> Verdict {
        let request = AuthnRequest {
            given: Given::Response(response),
            ..self.request(service, user, "", None, Capability::Dialog)
        };
        self.run(&request)
    }
}

fn grant(verdict: Verdict) -> Grant {
    match verdict {
        Verdict::Accept(grant) => grant,
        other => panic!("not let in: {other:?}"),
    }
}

#[test]
fn a_directory_that_keeps_the_password_judges_both() {
    let mut world = World::new();
    world.kept = Some(Secret::new(PASSWORD));
    assert!(
        grant(world.respond("password", "ana", chap(PASSWORD)))
            .ms_chap
            .is_none()
    );
    let success = grant(world.respond("password", "ana", ms_chap(PASSWORD)))
        .ms_chap
        .unwrap();
    assert_eq!(success.identifier, 9);
    for response in [chap("wrong"), ms_chap("wrong")] {
        assert_eq!(
            denial(world.respond("password", "ana", response)),
            Denial::WrongPassword
        );
    }
    assert_eq!((world.failures(), world.binds), (2, 4));
}

#[test]
fn a_directory_that_keeps_nothing_cannot_judge_and_nobody_is_blamed() {
    let mut world = World::new();
    for response in [chap(PASSWORD), ms_chap(PASSWORD)] {
        let denial = denial(world.respond("password", "ana", response));
        assert_eq!(denial, Denial::MethodImpossible);
        assert!(denial.advice().unwrap().contains("PAP"));
        assert!(!denial.counts_against_source());
    }
    let throttle: Versioned<ThrottleRecord> = world.read(&Key::throttle(&world.person.key));
    assert!(throttle.value.is_clear(), "{throttle:?}");
}

#[test]
fn a_passcode_counts_when_it_was_issued_for_it_and_once() {
    for typed in ["K7QXM-3RTWP", "k7qxm-3rtwp", "K7QXM3RTWP", "k7qxm3rtwp"] {
        for response in [chap(typed), ms_chap(typed)] {
            let mut world = World::new();
            assert_eq!(
                denial(world.respond("code", "ana", response.clone())),
                Denial::MethodImpossible,
                "of a passcode that was not issued for it there is a digest"
            );
            world.seal_passcode();
            let ms_chap = matches!(response, Response::MsChapV2(_));
            let grant = grant(world.respond("code", "ana", response.clone()));
            assert_eq!(grant.ms_chap.is_some(), ms_chap);
            assert_eq!(world.audit.last().unwrap().factors, ["passcode"]);
            assert_eq!(world.binds, 0);
            assert_eq!(
                denial(world.respond("code", "ana", response)),
                Denial::NotEnrolled,
                "{typed} twice"
            );
        }
    }
}

#[test]
fn wrong_responses_revoke_a_passcode_as_wrong_codes_do() {
    let mut world = World::new();
    world.seal_passcode();
    for _ in 0..MAX_FAILURES {
        assert_eq!(denial(world.respond("code", "ana", chap("guess"))), Denial::WrongCode);
    }
    assert_eq!(world.failures(), usize::from(MAX_FAILURES));
    assert!(world.user().passcode.is_none());
}

#[test]
fn a_right_password_is_no_wrong_passcode() {
    let mut world = World::new();
    world.seal_passcode();
    world.kept = Some(Secret::new(PASSWORD));
    for _ in 0..=MAX_FAILURES {
        grant(world.respond("password or passcode", "ana", chap(PASSWORD)));
    }
    assert_eq!(world.user().passcode.unwrap().failures, 0);
    grant(world.respond("password or passcode", "ana", chap(CODE)));
}

#[test]
fn where_only_the_passcode_can_be_judged_a_wrong_response_is_a_wrong_code() {
    let mut world = World::new();
    world.seal_passcode();
    assert_eq!(
        denial(world.respond("password or passcode", "ana", chap(PASSWORD))),
        Denial::WrongCode
    );
    assert_eq!((world.failures(), world.user().passcode.unwrap().failures), (1, 1));
}

#[test]
fn a_rule_that_asks_for_two_proofs_is_not_met() {
    let mut world = World::new();
    world.seal_passcode();
    world.kept = Some(Secret::new(PASSWORD));
    for given in [PASSWORD, CODE] {
        assert_eq!(denial(world.respond("vpn", "ana", chap(given))), Denial::MethodOneProof);
    }
    assert_eq!((world.binds, world.failures()), (0, 0));
    assert_eq!(world.user().passcode.unwrap().failures, 0);
}

#[test]
fn nobody_else_gets_in() {
    let mut world = World::new();
    world.kept = Some(Secret::new(PASSWORD));
    assert_eq!(
        denial(world.respond("password", "zoe", chap(PASSWORD))),
        Denial::UnknownUser
    );
    assert_eq!(denial(world.respond("closed", "ana", chap(PASSWORD))), Denial::Policy);
    Arc::make_mut(&mut world.person).enabled = false;
    assert_eq!(
        denial(world.respond("password", "ana", chap(PASSWORD))),
        Denial::Disabled
    );
    assert_eq!(world.binds, 0);
}

#[test]
fn a_dialog_is_not_answered_by_a_response() {
    let mut world = World::new();
    world.seal_passcode();
    let dialog = challenge(world.ask("vpn", "ana", PASSWORD, Capability::Dialog));
    let request = AuthnRequest {
        given: Given::Response(chap(CODE)),
        ..world.request("vpn", "ana", "", Some(dialog), Capability::Dialog)
    };
    assert_eq!(denial(world.run(&request)), Denial::BadDialog);
}

proptest! {
    /// Whatever was tried before: after five failures nothing is judged, and so nothing accepted.
    #[test]
    fn who_is_throttled_never_gets_in(tries in prop::collection::vec((any::<bool>(), 0u8..8), 5..30)) {
        let mut world = World::new();
        world.seal_passcode();
        world.kept = Some(Secret::new(PASSWORD));
        for (modern, kind) in tries {
            let throttled = world.failures() >= 5;
            let given = match kind {
                0 => PASSWORD,
                1 => CODE,
                _ => "guess",
            };
            let response = if modern { ms_chap(given) } else { chap(given) };
            let binds = world.binds;
            let verdict = world.respond("password or passcode", "ana", response);
            if throttled {
                prop_assert_eq!(denial(verdict), Denial::Throttled);
                prop_assert_eq!(world.binds, binds);
            }
        }
    }
}
