//! Names of tokens, tokens that come from elsewhere, and what is left when they are gone.

use super::*;

#[tokio::test]
async fn a_token_gets_another_name_and_nothing_else() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    for _ in 0..2 {
        site.accounts.enrol(&ana, &wish(Kind::Totp), CAROL).await.unwrap();
    }
    let before = site.record(&ana).await;
    let rename = |which: &'static str, label: &'static str| {
        let (site, ana, which) = (&site, &ana, Which::parse(which));
        async move { site.accounts.rename_token(ana, &which, label, CAROL).await }
    };
    assert_eq!(rename("1", " phone ").await.unwrap().label, "phone");
    assert_eq!(
        rename("phone", "phone").await.unwrap().label,
        "phone",
        "its own name is free"
    );
    let taken = rename("token-2", "phone").await;
    assert!(matches!(taken, Err(AccountError::LabelTaken(..))), "{taken:?}");
    assert!(matches!(
        rename("token-1", "x").await,
        Err(AccountError::NoSuchToken(..))
    ));
    assert!(matches!(rename("2", "a\u{7}b").await, Err(AccountError::Invalid(_))));
    let mut after = site.record(&ana).await;
    after.tokens[0].label = "token-1".into();
    assert_eq!(after, before);
}

#[tokio::test]
async fn seeds_of_eighty_bits_come_as_uris() {
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let read = |uri: &str| TokenWish::from_uri(&Secret::new(uri)).unwrap();
    let old = read("otpauth://totp/Old:ana?secret=GEZDGNBVGY3TQOJQ&period=60&digits=8&algorithm=SHA512");
    let enrolled = site.accounts.enrol(&ana, &old, CAROL).await.unwrap();
    assert_eq!(enrolled.seed, "GEZDGNBVGY3TQOJQ");
    let token = &site.record(&ana).await.tokens[0];
    assert_eq!((token.algorithm, token.digits), (Algorithm::Sha512, 8));
    assert!(matches!(token.kind, TokenKind::Totp { period: 60, .. }));
    let shorter = read("otpauth://totp/Old:ana?secret=GEZDGNBV");
    assert!(matches!(
        site.accounts.enrol(&ana, &shorter, CAROL).await,
        Err(AccountError::Invalid(_))
    ));
}

/// However the last factor goes, that there was one stays known: no rule then takes the password alone
/// (engine/tests/enrol.rs).
#[tokio::test]
async fn whatever_goes_it_stays_known_that_there_was_a_factor() {
    let key = KeyWish {
        public: "vvccccccgiht".into(),
        private: Secret::new("0123456789ab"),
        key: Secret::new("000102030405060708090a0b0c0d0e0f"),
        code: None,
        label: None,
    };
    for kind in [Kind::Totp, Kind::Hotp, Kind::YubicoOtp] {
        let site = Fixture::new();
        let ana = site.subject("ana").await;
        if kind == Kind::YubicoOtp {
            let mut holders = Holders::default();
            let made = site.accounts.enrol_key(&ana, &key, &mut holders, false, CAROL).await;
            made.unwrap().unwrap();
        } else {
            site.accounts.enrol(&ana, &wish(kind), CAROL).await.unwrap();
        }
        let off = site.accounts.switch_token(&ana, &Which::Id(1), false, CAROL).await;
        assert!(!off.unwrap().enabled, "{kind:?}");
        assert!(site.record(&ana).await.ever_enrolled, "{kind:?} switched off");
        site.accounts.revoke_token(&ana, &Which::Id(1), CAROL).await.unwrap();
        let record = site.record(&ana).await;
        assert!(record.tokens.is_empty() && record.ever_enrolled, "{kind:?} revoked");
    }
    let site = Fixture::new();
    let ana = site.subject("ana").await;
    let made = site.accounts.new_recovery_codes(&ana, CAROL).await.unwrap();
    for code in &made.codes {
        let used = site
            .accounts
            .verify_code(&ana, &Secret::new(code.as_str()), CAROL)
            .await;
        assert!(used.unwrap().matched);
    }
    let record = site.record(&ana).await;
    assert!(
        record.recovery.is_empty() && record.ever_enrolled,
        "recovery codes used up"
    );
}
