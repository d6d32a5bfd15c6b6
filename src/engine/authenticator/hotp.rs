//! Codes by counter (RFC 4226): ten ahead, and the counter moves past the accepted one.

use crate::clock::Timestamp;
use crate::engine::authenticator::oath::{self, Generator};
use crate::engine::authenticator::{CodeAuthenticator, Context, Judgement, Kind};
use crate::engine::record::{Token, TokenKind, UserRecord};
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
        record.tokens.iter().any(is_usable)
    }

    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError> {
        let code = oath::digits(typed);
        let mut best = Judgement::NotApplicable;
        let mut wrong = Vec::new();
        for index in 0..record.tokens.len() {
            let Some(token) = record.tokens.get_mut(index).filter(|token| is_usable(token)) else {
                continue;
            };
            let TokenKind::Hotp { counter } = token.kind else {
                continue;
            };
            let generator = Generator::open(token, context)?;
            if !generator.has_form(&code) {
                continue;
            }
            let mut window = counter..counter.saturating_add(LOOK_AHEAD);
            match window.find(|&at| generator.matches(&code, at)) {
                Some(at) => {
                    token.kind = TokenKind::Hotp { counter: at + 1 };
                    token.count_success(context.now);
                    return Ok(Judgement::Right);
                }
                None => {
                    wrong.push(index);
                    best = Judgement::Wrong;
                }
            }
        }
        // A failure counts only once no token has found the code right.
        for index in wrong {
            if let Some(token) = record.tokens.get_mut(index) {
                token.count_failure();
            }
        }
        Ok(best)
    }
}

fn is_usable(token: &Token) -> bool {
    !token.disabled && matches!(token.kind, TokenKind::Hotp { .. })
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
