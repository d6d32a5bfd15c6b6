//! Tokens that are out of step: brought back by two consecutive codes that were never used (RFC 4226 section
//! 7.4, RFC 6238 section 6), typed for an operator, or one after the other at two logins.
//!
//! At a login the first of the two is refused like any wrong code, and counted: nothing tells that it was one of
//! the token's. Only where it would have been right is kept ([`Stray`]). If the next code judged by the token is
//! the one after it, that is the proof; any other wrong code in between makes the search begin anew.

use std::time::Duration;

use super::{Generator, digits, step};
use crate::clock::Timestamp;
use crate::engine::authenticator::Context;
use crate::engine::record::{Stray, Token, TokenKind};
use crate::keyring::KeyError;

/// Steps around the present, or counters ahead, that are searched for an operator.
const WINDOW: u64 = 100;

/// Steps around the present that are searched at a login: ten minutes of a 30-second token. Counters are
/// searched as for an operator: they do not go by without somebody who has the token in hand.
const LOGIN_STEPS: u64 = 20;

/// How long the first code waits for the second.
const PATIENCE: Duration = Duration::from_secs(600);

impl Token {
    /// Finds where the token stands from two consecutive codes, neither of them used before, a hundred steps
    /// around the present or counters ahead; `None` when they are not consecutive codes of this token, or old
    /// ones (accepting those was CVE-2019-12887). Both codes are spent by the state returned.
    ///
    /// # Errors
    /// When the seed does not open.
    pub fn resync(&self, first: &str, second: &str, context: &Context<'_>) -> Result<Option<TokenKind>, KeyError> {
        let generator = Generator::open(self, context)?;
        let (first, second) = (digits(first), digits(second));
        let mut places = places(self.kind, WINDOW, context.now);
        let found =
            places.find(|&at| generator.matches(&first, at) && generator.matches(&second, at.saturating_add(1)));
        Ok(found.and_then(|at| after(self.kind, at.saturating_add(1), context.now)))
    }

    /// What to remember of a wrong code that is one of this token's all the same.
    pub(super) fn stray(&self, generator: &Generator, code: &str, now: Timestamp) -> Option<Stray> {
        let around = match self.kind {
            TokenKind::Totp { .. } => LOGIN_STEPS,
            TokenKind::Hotp { .. } | TokenKind::YubicoOtp { .. } | TokenKind::Ocra { .. } => WINDOW,
        };
        let at = places(self.kind, around, now).find(|&at| generator.matches(code, at))?;
        Some(Stray {
            token: self.id,
            at,
            seen: now,
        })
    }

    /// The token's state, both codes spent, if `code` is the one right after the stray one of `before`.
    pub(super) fn follows(
        &self,
        before: &Stray,
        generator: &Generator,
        code: &str,
        now: Timestamp,
    ) -> Option<TokenKind> {
        let in_time = now.since(before.seen) <= PATIENCE;
        let still_unused = places(self.kind, WINDOW, now).contains(&before.at);
        let next = before.at.saturating_add(1);
        if in_time && still_unused && generator.matches(code, next) {
            after(self.kind, next, now)
        } else {
            None
        }
    }
}

/// The steps or counters that an unused code may stand for, `around` the present one.
fn places(kind: TokenKind, around: u64, now: Timestamp) -> std::ops::Range<u64> {
    match kind {
        TokenKind::Totp { period, last_step, .. } => {
            let here = step(now, period);
            let unused = last_step.map_or(0, |last| last.saturating_add(1));
            unused.max(here.saturating_sub(around))..here.saturating_add(around).saturating_add(1)
        }
        TokenKind::Hotp { counter } => counter..counter.saturating_add(around).saturating_add(1),
        TokenKind::YubicoOtp { .. } | TokenKind::Ocra { .. } => NOWHERE,
    }
}

/// A range without a place in it.
const NOWHERE: std::ops::Range<u64> = 0..0;

/// The state of a token whose code for `last` was just shown.
fn after(kind: TokenKind, last: u64, now: Timestamp) -> Option<TokenKind> {
    match kind {
        TokenKind::Totp { period, .. } => {
            let ahead = i128::from(last) - i128::from(step(now, period));
            Some(TokenKind::Totp {
                period,
                last_step: Some(last),
                drift: i16::try_from(ahead).unwrap_or(0),
            })
        }
        TokenKind::Hotp { .. } => Some(TokenKind::Hotp {
            counter: last.saturating_add(1),
        }),
        TokenKind::YubicoOtp { .. } | TokenKind::Ocra { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::authenticator::oath::tests::{RFC_SEED, record};
    use crate::engine::authenticator::{Judgement, Kind, KindSet, judge};
    use crate::engine::facts::UserKey;
    use crate::engine::record::{Algorithm, UserRecord};
    use crate::keyring::Keyring;
    use crate::secret::Secret;

    #[test]
    fn resync_wants_two_consecutive_unused_codes() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(59),
            sent: None,
        };
        let mut record = record(&keyring, &user, TokenKind::Hotp { counter: 2 });
        let token = record.tokens.first_mut().unwrap();
        assert_eq!(
            token.resync("338314", "254676", &context).unwrap(),
            Some(TokenKind::Hotp { counter: 6 })
        );
        assert_eq!(
            token.resync("755224", "287082", &context).unwrap(),
            None,
            "codes before the counter"
        );
        assert_eq!(
            token.resync("338314", "287922", &context).unwrap(),
            None,
            "not consecutive"
        );
        token.kind = TokenKind::Totp {
            period: 30,
            last_step: Some(4),
            drift: 0,
        };
        assert_eq!(
            token.resync("338314", "254676", &context).unwrap(),
            None,
            "the first was used"
        );
        assert_eq!(
            token.resync("254676", "287922", &context).unwrap(),
            Some(TokenKind::Totp {
                period: 30,
                last_step: Some(6),
                drift: 5
            })
        );
    }

    /// Types `codes`, each at its moment, and gives what became of them.
    fn typed(record: &mut UserRecord, codes: &[(u64, &str)]) -> Vec<Judgement> {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let wanted = KindSet::of(Kind::Totp).with(Kind::Hotp);
        let judged = codes.iter().map(|&(secs, code)| {
            let context = Context {
                user: &user,
                keyring: &keyring,
                now: Timestamp::from_secs(secs),
                sent: None,
            };
            judge(code, wanted, record, &context).unwrap().0
        });
        judged.collect()
    }

    fn with(kind: TokenKind) -> UserRecord {
        record(&Keyring::from_root(&[1; 32]), &UserKey::new("d", "1"), kind)
    }

    fn totp(last_step: Option<u64>) -> UserRecord {
        with(TokenKind::Totp {
            period: 30,
            last_step,
            drift: 0,
        })
    }

    #[test]
    fn two_consecutive_codes_at_two_logins_bring_a_token_back() {
        // Steps 3 and 4; the token shows the codes of steps 8 and 9.
        let mut record = totp(None);
        assert_eq!(
            typed(&mut record, &[(100, "399871"), (125, "520489"), (126, "520489")]),
            [Judgement::Wrong, Judgement::Right, Judgement::Replayed]
        );
        let back = TokenKind::Totp {
            period: 30,
            last_step: Some(9),
            drift: 5,
        };
        assert_eq!(record.tokens[0].kind, back);
        assert_eq!(
            (record.tokens[0].failures, record.stray),
            (0, None),
            "the replay counts nothing against it"
        );

        let mut record = with(TokenKind::Hotp { counter: 0 });
        let codes = counters(&record, &[50, 51]);
        let codes: Vec<(u64, &str)> = codes.iter().map(|code| (100, code.as_str())).collect();
        assert_eq!(typed(&mut record, &codes), [Judgement::Wrong, Judgement::Right]);
        assert_eq!(record.tokens[0].kind, TokenKind::Hotp { counter: 52 });
    }

    #[test]
    fn nothing_less_brings_it_back() {
        use Judgement::Wrong;
        type Case = (
            Option<u64>,
            &'static [(u64, &'static str)],
            &'static [Judgement],
            &'static str,
        );
        let cases: [Case; 6] = [
            (
                None,
                &[(100, "162583"), (101, "520489")],
                &[Wrong, Wrong],
                "not consecutive",
            ),
            (
                None,
                &[(100, "520489"), (101, "399871")],
                &[Wrong, Wrong],
                "in the wrong order",
            ),
            (
                None,
                &[(100, "399871"), (101, "000000"), (102, "520489")],
                &[Wrong, Wrong, Wrong],
                "another guess in between",
            ),
            (
                Some(8),
                &[(100, "399871"), (101, "520489")],
                &[Wrong, Wrong],
                "the first was used",
            ),
            (
                Some(9),
                &[(330, "399871"), (331, "520489")],
                &[Wrong, Wrong],
                "both were used",
            ),
            (
                None,
                &[(0, "399871"), (601, "520489")],
                &[Wrong, Wrong],
                "too long a time",
            ),
        ];
        for (last_step, codes, expected, what) in cases {
            assert_eq!(typed(&mut totp(last_step), codes), expected, "{what}");
        }
    }

    #[test]
    fn far_away_codes_are_not_remembered() {
        let mut record = totp(None);
        let code = |at| counters(&record, &[at]).remove(0);
        let (last, beyond) = (code(100 + LOGIN_STEPS), code(101 + LOGIN_STEPS));
        typed(&mut record, &[(3000, &beyond)]);
        assert_eq!(record.stray, None);
        typed(&mut record, &[(3000, &last)]);
        assert_eq!(record.stray.map(|stray| stray.at), Some(100 + LOGIN_STEPS));
    }

    #[test]
    fn a_right_code_of_another_token_ends_the_search() {
        let mut record = totp(None);
        let keyring = Keyring::from_root(&[1; 32]);
        let mut other = record.tokens[0].clone();
        other.id = 2;
        other.kind = TokenKind::Hotp { counter: 0 };
        other.seed = keyring.seal(&Token::place("d:1", 2), b"another seed of 20 oc");
        record.tokens.push(other.clone());
        let right = Generator::new(&Secret::new(b"another seed of 20 oc".as_slice()), Algorithm::Sha1, 6).code(0);
        let right = right.expose_str().unwrap();
        assert_eq!(
            typed(&mut record, &[(100, "399871"), (101, right), (102, "520489")]),
            [Judgement::Wrong, Judgement::Right, Judgement::Wrong]
        );
    }

    /// The codes of the first token at some counters.
    fn counters(record: &UserRecord, at: &[u64]) -> Vec<String> {
        let generator = Generator::new(&Secret::new(RFC_SEED), record.tokens[0].algorithm, 6);
        let codes = at.iter().map(|&at| generator.code(at));
        codes.map(|code| code.expose_str().unwrap().to_owned()).collect()
    }
}
