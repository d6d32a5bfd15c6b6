//! Codes by time (RFC 6238): one step either way, and a step at or below the last accepted one never again.

use crate::clock::Timestamp;
use crate::engine::authenticator::oath::{self, Match};
use crate::engine::authenticator::{CodeAuthenticator, Context, Judgement, Kind};
use crate::engine::record::{TokenKind, UserRecord};
use crate::keyring::KeyError;

/// Steps accepted before and after the present one (RFC 6238 section 5.2).
pub(super) const SKEW: u64 = 1;

/// TOTP tokens.
#[derive(Debug)]
pub struct Totp;

impl CodeAuthenticator for Totp {
    fn kind(&self) -> Kind {
        Kind::Totp
    }

    fn enrolled(&self, record: &UserRecord, _now: Timestamp) -> bool {
        record.tokens.iter().any(|token| oath::is_usable(token, is_totp))
    }

    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError> {
        oath::judge(typed, record, context, is_totp, |kind, generator, code| {
            let TokenKind::Totp {
                period,
                last_step,
                drift,
            } = kind
            else {
                return Match::None;
            };
            let here = oath::step(context.now, period).saturating_add_signed(i64::from(drift));
            // The newest step first: one that was used already must not hide one that was not.
            let mut window = (here.saturating_sub(SKEW)..=here + SKEW).rev();
            match window.find(|&step| generator.matches(code, step)) {
                Some(step) if last_step.is_none_or(|last| step > last) => Match::Next(TokenKind::Totp {
                    period,
                    last_step: Some(step),
                    drift,
                }),
                Some(_) => Match::Used,
                None => Match::None,
            }
        })
    }
}

fn is_totp(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Totp { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::authenticator::MAX_CONSECUTIVE_FAILURES;
    use crate::engine::authenticator::oath::tests::record;
    use crate::engine::facts::UserKey;
    use crate::keyring::Keyring;

    #[test]
    fn a_code_is_right_once_within_one_step() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        // Step 3 is from 90 s to 119 s; its code is 969429, those of steps 2 and 4 are 359152 and 338314.
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(100),
            sent: None,
        };
        let fresh = record(
            &keyring,
            &user,
            TokenKind::Totp {
                period: 30,
                last_step: None,
                drift: 0,
            },
        );
        for (code, expected) in [
            ("969429", Judgement::Right),
            ("969 429", Judgement::Right),
            ("359152", Judgement::Right),
            ("338314", Judgement::Right),
            ("287082", Judgement::Wrong),
            ("254676", Judgement::Wrong),
            ("96942", Judgement::NotApplicable),
        ] {
            assert_eq!(
                Totp.judge(code, &mut fresh.clone(), &context).unwrap(),
                expected,
                "{code}"
            );
        }
        let mut record = fresh;
        assert_eq!(Totp.judge("969429", &mut record, &context).unwrap(), Judgement::Right);
        assert_eq!(
            Totp.judge("969429", &mut record, &context).unwrap(),
            Judgement::Replayed
        );
        assert_eq!(
            Totp.judge("359152", &mut record, &context).unwrap(),
            Judgement::Replayed,
            "an older step"
        );
        assert_eq!(
            Totp.judge("338314", &mut record, &context).unwrap(),
            Judgement::Right,
            "a newer step"
        );
    }

    #[test]
    fn a_hundred_failures_in_a_row_disable_a_token() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(100),
            sent: None,
        };
        let mut record = record(
            &keyring,
            &user,
            TokenKind::Totp {
                period: 30,
                last_step: None,
                drift: 0,
            },
        );
        for _ in 0..MAX_CONSECUTIVE_FAILURES {
            assert_eq!(Totp.judge("000000", &mut record, &context).unwrap(), Judgement::Wrong);
        }
        assert_eq!(
            Totp.judge("969429", &mut record, &context).unwrap(),
            Judgement::NotApplicable
        );
        assert!(!Totp.enrolled(&record, context.now));
    }
}
