use std::time::Duration;

use tokio::task::JoinSet;

use super::fixture::{CAROL, Fixture, LIMIT, NOW};
use super::view::Kind;
use super::*;
use crate::engine::authenticator::{Context, KindSet, judge, oath, passcode};
use crate::engine::authenticator::{Judgement, Kind as Factor};
use crate::engine::record::{Algorithm, TokenKind};
use crate::engine::response::{Chap, Response, ResponseOutcome};
use crate::secret::Secret;

fn wish(kind: Kind) -> TokenWish {
    TokenWish {
        kind,
        algorithm: Algorithm::Sha1,
        digits: 6,
        period: 30,
        counter: 0,
        seed: None,
        label: None,
        issuer: "Portcullis".into(),
    }
}

/// The seed of RFC 4226 appendix D.
fn rfc_seed() -> Option<Secret> {
    Some(Secret::new("gezd gnbv gy3t qojq gezd gnbv gy3t qojq"))
}

#[tokio::test]
async fn names_are_resolved_in_every_directory_or_in_the_one_given() {
    let site = Fixture::new();
    assert_eq!(site.subject(" ANA").await.key.as_str(), "main:id-ana");
    assert_eq!(site.subject("gus").await.key.as_str(), "guests:id-gus");
    let other = site.accounts.resolve("ana", Some("guests")).await;
    assert!(matches!(other, Err(AccountError::NoSuchUser(_))), "{other:?}");
    let nowhere = site.accounts.resolve("ana", Some("elsewhere")).await;
    assert!(matches!(nowhere, Err(AccountError::NoSuchDirectory(..))), "{nowhere:?}");
    let bad = site.accounts.resolve("a\u{0}na", None).await;
    assert!(matches!(bad, Err(AccountError::BadName(..))), "{bad:?}");
}

#[tokio::test]
async fn the_same_name_in_two_directories_is_never_guessed() {
    let site = Fixture::new();
    site.guests.alias("ana", "gus");
    let ambiguous = site.accounts.resolve("ana", None).await;
    assert!(matches!(ambiguous, Err(AccountError::Ambiguous(..))), "{ambiguous:?}");
    assert!(site.accounts.resolve("ana", Some("main")).await.is_ok());
}

#[tokio::test]
async fn an_outage_is_not_an_unknown_name() {
    let site = Fixture::new();
    site.guests.set_down(true);
    let answer = site.accounts.resolve("ana", None).await;
    assert!(
        matches!(answer, Err(AccountError::DirectoryUnavailable(..))),
        "{answer:?}"
    );
    assert!(site.accounts.resolve("ana", Some("main")).await.is_ok());
    let found = site.accounts.find("ana", None, 10).await.unwrap();
    assert_eq!(found.users.len(), 1);
    assert_eq!(found.unavailable, ["guests: out of reach"]);
}

#[tokio::test]
async fn someone_who_left_can_be_cleaned_up_but_gets_nothing_new() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    site.accounts.enrol(&ana, &wish(Kind::Totp), CAROL).await.unwrap();
    site.main.remove("ana");
    for name in ["ana", "main:id-ana"] {
        let left = site.subject(name).await;
        assert_eq!(left.key, ana.key);
        assert!(left.person.is_none());
    }
    let left = site.subject("ana").await;
    let refused = site.accounts.enrol(&left, &wish(Kind::Totp), CAROL).await;
    assert!(matches!(refused, Err(AccountError::Gone(_))));
    let codes = site.accounts.new_recovery_codes(&left, CAROL).await;
    assert!(matches!(codes, Err(AccountError::Gone(_))));
    site.accounts.revoke_token(&left, &Which::Id(1), CAROL).await.unwrap();
}

#[tokio::test]
async fn find_searches_directories_and_records() {
    let site = Fixture::new();
    for name in ["ana", "ben"] {
        let subject = site.subject(name).await;
        site.accounts.enrol(&subject, &wish(Kind::Totp), CAROL).await.unwrap();
    }
    let logins = |found: Found| found.users.into_iter().map(|user| user.login).collect::<Vec<_>>();
    let find = |text, limit| site.accounts.find(text, None, limit);
    assert_eq!(logins(find("carol", 10).await.unwrap()), ["carol"], "no record needed");
    assert_eq!(logins(find("n", 10).await.unwrap()), ["ana", "ben"]);
    let cut = find("n", 1).await.unwrap();
    assert!(cut.more);
    assert_eq!(logins(cut), ["ana"]);
    let elsewhere = site.accounts.find("n", Some("guests"), 10).await.unwrap();
    assert!(elsewhere.users.is_empty());
}

#[tokio::test]
async fn an_enrolled_token_makes_codes_that_are_taken() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    for (algorithm, octets) in [(Algorithm::Sha1, 20), (Algorithm::Sha256, 32), (Algorithm::Sha512, 64)] {
        let wish = TokenWish {
            algorithm,
            digits: 8,
            period: 60,
            ..wish(Kind::Totp)
        };
        let enrolled = site.accounts.enrol(&ana, &wish, CAROL).await.unwrap();
        let seed = data_encoding::BASE32_NOPAD.decode(enrolled.seed.as_bytes()).unwrap();
        assert_eq!(seed.len(), octets, "as long as the hash");
        assert!(enrolled.uri.contains(&enrolled.seed), "{}", enrolled.uri);
        let generator = oath::Generator::new(&Secret::new(seed), algorithm, 8);
        let code = generator.code(oath::step(NOW, 60));
        let mut record = site.record(&ana).await;
        let context = Context {
            user: &ana.key,
            keyring: &site.keyring,
            now: NOW,
            sent: None,
        };
        let (judgement, _) = judge(
            code.expose_str().unwrap(),
            KindSet::of(Factor::Totp),
            &mut record,
            &context,
        )
        .unwrap();
        assert_eq!(judgement, Judgement::Right, "{algorithm:?}");
    }
    let record = site.record(&ana).await;
    assert!(record.ever_enrolled);
    assert_eq!(record.login, "ana");
    assert_eq!(
        record.tokens.iter().map(|token| token.id).collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[tokio::test]
async fn seeds_of_hardware_tokens_are_taken() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let with = |seed: &str| TokenWish {
        seed: Some(Secret::new(seed)),
        ..wish(Kind::Hotp)
    };
    let legacy = site
        .accounts
        .enrol(&ana, &with("JBSWY3DPEHPK3PXP"), CAROL)
        .await
        .unwrap();
    assert_eq!(legacy.seed, "JBSWY3DPEHPK3PXP", "80 bits");
    assert!(legacy.uri.starts_with("otpauth://hotp/"));
    let padded = site
        .accounts
        .enrol(&ana, &with("jbsw-y3dp ehpk3pxp ae======"), CAROL)
        .await;
    assert_eq!(padded.unwrap().seed, "JBSWY3DPEHPK3PXPAE");
    for bad in ["JBSWY3DPEHPK3PX", "JBSWY3DP", "0189", "", &"A".repeat(400)] {
        let refused = site.accounts.enrol(&ana, &with(bad), CAROL).await;
        assert!(matches!(refused, Err(AccountError::Invalid(_))), "{bad}");
    }
}

#[tokio::test]
async fn wishes_out_of_bounds_change_nothing() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let wishes = [
        TokenWish {
            digits: 5,
            ..wish(Kind::Totp)
        },
        TokenWish {
            digits: 9,
            ..wish(Kind::Hotp)
        },
        TokenWish {
            period: 45,
            ..wish(Kind::Totp)
        },
        TokenWish {
            label: Some("a\nb".into()),
            ..wish(Kind::Totp)
        },
        TokenWish {
            label: Some(" ".into()),
            ..wish(Kind::Totp)
        },
        TokenWish {
            label: Some("x".repeat(65)),
            ..wish(Kind::Totp)
        },
        TokenWish {
            issuer: String::new(),
            ..wish(Kind::Totp)
        },
    ];
    for wish in wishes {
        let refused = site.accounts.enrol(&ana, &wish, CAROL).await;
        assert!(matches!(refused, Err(AccountError::Invalid(_))), "{wish:?}");
    }
    assert_eq!(site.record(&ana).await, UserRecord::default());
    assert!(site.audited().await.is_empty());
}

#[tokio::test]
async fn tokens_have_a_limit_and_their_own_names() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let named = TokenWish {
        label: Some("phone".into()),
        ..wish(Kind::Totp)
    };
    site.accounts.enrol(&ana, &named, CAROL).await.unwrap();
    let twice = site.accounts.enrol(&ana, &named, CAROL).await;
    assert!(matches!(twice, Err(AccountError::LabelTaken(..))));
    for _ in 1..UserRecord::MAX_TOKENS {
        site.accounts.enrol(&ana, &wish(Kind::Totp), CAROL).await.unwrap();
    }
    let over = site.accounts.enrol(&ana, &wish(Kind::Totp), CAROL).await;
    assert!(matches!(over, Err(AccountError::TooManyTokens(_))));
    let revoked = site
        .accounts
        .revoke_token(&ana, &Which::parse("phone"), CAROL)
        .await
        .unwrap();
    assert_eq!(revoked.id, 1);
    let next = site.accounts.enrol(&ana, &named, CAROL).await.unwrap();
    assert_eq!(next.token.id, 21, "numbers are never given again");
}

#[tokio::test]
async fn the_last_token_gone_is_remembered() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    site.accounts.enrol(&ana, &wish(Kind::Totp), CAROL).await.unwrap();
    site.accounts.revoke_token(&ana, &Which::Id(1), CAROL).await.unwrap();
    let view = site.accounts.show(&ana, NOW).await.unwrap();
    assert!(view.tokens.is_empty());
    assert!(view.ever_enrolled);
    let again = site.accounts.revoke_token(&ana, &Which::Id(1), CAROL).await;
    assert!(matches!(again, Err(AccountError::NoSuchToken(..))));
    assert_eq!(site.audited().await, ["token.enrol accept", "token.revoke accept"]);
}

#[tokio::test]
async fn a_switched_off_token_comes_back_with_a_clean_slate() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    site.accounts.enrol(&ana, &wish(Kind::Totp), CAROL).await.unwrap();
    let off = site
        .accounts
        .switch_token(&ana, &Which::Id(1), false, CAROL)
        .await
        .unwrap();
    assert!(!off.enabled);
    let on = site
        .accounts
        .switch_token(&ana, &Which::Id(1), true, CAROL)
        .await
        .unwrap();
    assert!(on.enabled);
    assert_eq!(on.failures, 0);
}

#[tokio::test]
async fn resync_takes_two_new_codes_and_never_old_ones() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let wish = TokenWish {
        seed: rfc_seed(),
        ..wish(Kind::Hotp)
    };
    site.accounts.enrol(&ana, &wish, CAROL).await.unwrap();
    let resync = async |first: &str, second: &str| {
        let codes = (&Secret::new(first), &Secret::new(second));
        site.accounts.resync(&ana, &Which::Id(1), codes, CAROL).await
    };
    // RFC 4226 appendix D: counters 3 and 4.
    let resynced = resync("969429", "338314").await.unwrap();
    assert_eq!(resynced.offset, 3);
    assert_eq!(site.record(&ana).await.tokens[0].kind, TokenKind::Hotp { counter: 5 });
    for (first, second) in [("969429", "338314"), ("755224", "287082"), ("254676", "162583")] {
        let refused = resync(first, second).await;
        assert!(matches!(refused, Err(AccountError::NotInStep)), "{first} {second}");
    }
    let audited = site.audited().await;
    assert_eq!(audited.iter().filter(|line| *line == "token.resync reject").count(), 3);
}

#[tokio::test]
async fn recovery_codes_replace_the_old_set_and_are_stored_as_digests() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let old = site.accounts.new_recovery_codes(&ana, CAROL).await.unwrap();
    let new = site.accounts.new_recovery_codes(&ana, CAROL).await.unwrap();
    assert_eq!((old.codes.len(), old.replaced), (10, 0));
    assert_eq!((new.codes.len(), new.replaced), (10, 10));
    let mut record = site.record(&ana).await;
    assert!(record.ever_enrolled);
    let context = Context {
        user: &ana.key,
        keyring: &site.keyring,
        now: NOW,
        sent: None,
    };
    let mut right = |code: &str| {
        let wanted = KindSet::of(Factor::RecoveryCode);
        judge(code, wanted, &mut record, &context).unwrap().0 == Judgement::Right
    };
    assert!(!right(&old.codes[0]), "void");
    assert!(right(&new.codes[0].to_lowercase()));
    assert!(!right(&new.codes[0]), "once");
}

#[tokio::test]
async fn a_passcode_is_one_and_timed() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let hour = PasscodeWish::default();
    let first = site.accounts.issue_passcode(&ana, hour, CAROL).await.unwrap();
    assert_eq!(first.passcode.expires, NOW + Duration::from_secs(3600));
    assert!(!first.replaced);
    let second = site.accounts.issue_passcode(&ana, hour, CAROL).await.unwrap();
    assert!(second.replaced);
    let mut record = site.record(&ana).await;
    let context = Context {
        user: &ana.key,
        keyring: &site.keyring,
        now: NOW,
        sent: None,
    };
    let mut right = |code: &str| {
        let wanted = KindSet::of(Factor::Passcode);
        judge(code, wanted, &mut record, &context).unwrap().0 == Judgement::Right
    };
    assert!(!right(&first.code), "replaced");
    assert!(right(&second.code));
    assert!(!second.passcode.chap && site.record(&ana).await.passcode.unwrap().sealed.is_none());

    let wish = PasscodeWish { chap: true, ..hour };
    let third = site.accounts.issue_passcode(&ana, wish, CAROL).await.unwrap();
    assert!(third.passcode.chap);
    let mut record = site.record(&ana).await;
    let shown = Secret::new(third.code.as_str());
    let challenge = [4; 16];
    let response = Chap::new(1, &challenge, Chap::response(1, &shown, &challenge)).unwrap();
    let outcome = passcode::judge_response(&Response::Chap(response), &mut record, &context).unwrap();
    assert!(matches!(outcome, ResponseOutcome::Right(_)), "typed as it was shown");
    assert!(record.passcode.is_none());

    for secs in [59, 8 * 3600 + 1] {
        let wish = PasscodeWish {
            life: Some(Duration::from_secs(secs)),
            ..hour
        };
        let refused = site.accounts.issue_passcode(&ana, wish, CAROL).await;
        assert!(matches!(refused, Err(AccountError::Invalid(_))), "{secs}");
    }
}

#[tokio::test]
async fn passcodes_are_listed_while_they_live_and_can_be_revoked() {
    let site = Fixture::new();
    let (ana, ben) = (site.subject("ana").await, site.subject("ben").await);
    let issued = site
        .accounts
        .issue_passcode(&ana, PasscodeWish::default(), CAROL)
        .await
        .unwrap();
    site.accounts
        .issue_passcode(&ben, PasscodeWish::default(), CAROL)
        .await
        .unwrap();
    let all = |now| site.accounts.passcodes(None, 100, now);
    assert_eq!(all(NOW).await.unwrap().len(), 2);
    assert!(
        all(NOW + Duration::from_secs(3600)).await.unwrap().is_empty(),
        "expired"
    );
    let wrong = site.accounts.revoke_passcode(&ana, Some("other"), CAROL).await;
    assert!(matches!(wrong, Err(AccountError::NoSuchPasscode(_))));
    let revoked = site
        .accounts
        .revoke_passcode(&ana, Some(&issued.passcode.id), CAROL)
        .await;
    assert_eq!(revoked.unwrap().id, issued.passcode.id);
    let left: Vec<String> = all(NOW)
        .await
        .unwrap()
        .into_iter()
        .map(|passcode| passcode.login)
        .collect();
    assert_eq!(left, ["ben"]);
}

#[tokio::test]
async fn unlock_forgets_failures() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    site.fail(&ana, NOW).await;
    site.fail(&ana, NOW + Duration::from_secs(60)).await;
    let later = NOW + Duration::from_secs(120);
    let failures = site.accounts.show(&ana, later).await.unwrap().failures;
    assert!(failures.locked);
    assert_eq!(
        failures.locked_until,
        Some(NOW + LIMIT.window),
        "when the first failure leaves the window"
    );
    let by = Actor { now: later, ..CAROL };
    let unlocked = site.accounts.unlock(&ana, by).await.unwrap();
    assert_eq!((unlocked.cleared, unlocked.was_locked), (2, true));
    assert!(!site.accounts.show(&ana, later).await.unwrap().failures.locked);
    let again = site.accounts.unlock(&ana, by).await.unwrap();
    assert_eq!((again.cleared, again.was_locked), (0, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_enrolments_all_count() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let mut tasks = JoinSet::new();
    for _ in 0..12 {
        let (accounts, ana) = (Arc::clone(&site.accounts), ana.clone());
        tasks.spawn(async move { accounts.enrol(&ana, &wish(Kind::Totp), CAROL).await.unwrap().token.id });
    }
    let mut ids = tasks.join_all().await;
    ids.sort_unstable();
    assert_eq!(ids, (1..=12).collect::<Vec<u32>>());
    assert_eq!(site.record(&ana).await.tokens.len(), 12);
    assert_eq!(site.audited().await.len(), 12, "one record each, none for a lost race");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_after_an_unlock_stays_counted() {
    let site = Arc::new(Fixture::new());
    let ana = site.subject("ana").await;
    for _ in 0..50 {
        site.fail(&ana, NOW).await;
        let (failing, unlocking) = (
            tokio::spawn({
                let (site, ana) = (Arc::clone(&site), ana.clone());
                async move { site.fail(&ana, NOW).await }
            }),
            tokio::spawn({
                let (site, ana) = (Arc::clone(&site), ana.clone());
                async move { site.accounts.unlock(&ana, CAROL).await.unwrap().cleared }
            }),
        );
        failing.await.unwrap();
        let cleared = unlocking.await.unwrap();
        let left = site.accounts.show(&ana, NOW).await.unwrap().failures.count;
        assert_eq!(
            cleared + left,
            2,
            "every failure was either seen by the unlock or is still there"
        );
        site.accounts.unlock(&ana, CAROL).await.unwrap();
    }
}
