//! Codes by counter (RFC 4226): ten ahead, and the counter moves past the accepted one.

use crate::clock::Timestamp;
use crate::engine::authenticator::oath::{self, Match};
use crate::engine::authenticator::{CodeAuthenticator, Context, Judgement, Kind};
use crate::engine::record::{TokenKind, UserRecord};
use crate::keyring::KeyError;

/// Counters tried from the expected one on (RFC 4226 section 7.4).
const LOOK_AHEAD: u64 = 10;

/// HOTP tokens.
#[derive(Debug)]
pub struct Hotp;

impl CodeAuthenticator for Hotp {
    fn kind(&self) -> Kind {
        Kind::Hotp
    }

    fn enrolled(&self, record: &UserRecord, _now: Timestamp) -> bool {
        record.tokens.iter().any(|token| oath::is_usable(token, is_hotp))
    }

    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError> {
        oath::judge(typed, record, context, is_hotp, |kind, generator, code| {
            let TokenKind::Hotp { counter } = kind else {
                return Match::None;
            };
            let mut window = counter..counter.saturating_add(LOOK_AHEAD);
            match window.find(|&at| generator.matches(code, at)) {
                Some(at) => Match::Next(TokenKind::Hotp { counter: at + 1 }),
                None => Match::None,
            }
        })
    }
}

fn is_hotp(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Hotp { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::authenticator::oath::tests::record;
    use crate::engine::facts::UserKey;
    use crate::keyring::Keyring;

    #[test]
    fn the_counter_only_moves_forward() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(1),
            sent: None,
        };
        let mut record = record(&keyring, &user, TokenKind::Hotp { counter: 0 });
        assert_eq!(
            Hotp.judge("969429", &mut record, &context).unwrap(),
            Judgement::Right,
            "counter 3, ahead"
        );
        assert_eq!(record.tokens[0].kind, TokenKind::Hotp { counter: 4 });
        assert_eq!(
            Hotp.judge("969429", &mut record, &context).unwrap(),
            Judgement::Wrong,
            "used"
        );
        assert_eq!(
            Hotp.judge("287082", &mut record, &context).unwrap(),
            Judgement::Wrong,
            "passed over"
        );
        assert_eq!(record.tokens[0].failures, 2);
        assert_eq!(Hotp.judge("338314", &mut record, &context).unwrap(), Judgement::Right);
        assert_eq!(record.tokens[0].failures, 0);
    }
}
