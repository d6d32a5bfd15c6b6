//! Offline tokens as a factor (OCRA, RFC 6287): a challenge of eight digits is shown, the token answers it.
//!
//! A challenge follows from the number of its dialog, so that nothing is written when one is shown: whoever asks
//! without having proven anything makes no work for the store. What was answered is written down: a challenge is
//! answered right once, and wrong [`MAX_FAILURES`] times.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::engine::authenticator::{CodeAuthenticator, Context, Judgement, Kind, codes, oath};
use crate::engine::ocra::{Input, Suite};
use crate::engine::record::{AnsweredChallenge, Token, TokenKind, UserRecord};
use crate::keyring::{KeyError, Keyring};

/// Wrong responses that end a challenge.
pub const MAX_FAILURES: u8 = 3;

/// Digits of a challenge.
pub const CHALLENGE_DIGITS: usize = 8;

/// Most answered challenges of one person that are remembered.
const MAX_ANSWERED: usize = 32;

/// How long an answered challenge is remembered: no dialog lives as long ([`Keyring::open_dialog`]).
const REMEMBERED: Duration = Duration::from_secs(2 * 60 * 60);

/// OCRA tokens.
#[derive(Debug)]
pub struct Ocra;

impl CodeAuthenticator for Ocra {
    fn kind(&self) -> Kind {
        Kind::Ocra
    }

    fn enrolled(&self, record: &UserRecord, _now: Timestamp) -> bool {
        record.tokens.iter().any(|token| oath::is_usable(token, proves_logins))
    }

    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError> {
        let response = oath::digits(typed);
        let has_form = |token: &Token| {
            oath::is_usable(token, proves_logins)
                && response.len() == usize::from(token.digits)
                && response.bytes().all(|octet| octet.is_ascii_digit())
        };
        let Some(id) = context.sent.filter(|_| record.tokens.iter().any(has_form)) else {
            return Ok(Judgement::NotApplicable);
        };
        match answered(record, id, context.now) {
            Some(before) if before.spent => return Ok(Judgement::Replayed),
            Some(before) if before.failures >= MAX_FAILURES => return Ok(Judgement::Wrong),
            Some(_) => {}
            // Only by many right answers within a short time: the next one waits, so that none comes back.
            None if !has_room(record, context.now) => return Ok(Judgement::NotApplicable),
            None => {}
        }
        let question = challenge(context.keyring, id);
        let mut right = None;
        for (index, token) in record.tokens.iter().enumerate().filter(|(_, token)| has_form(token)) {
            let TokenKind::Ocra { suite, .. } = token.kind else {
                continue;
            };
            let place = Token::place(context.user.as_str(), token.id);
            let key = context.keyring.open(&place, &token.seed)?;
            let input = Input {
                question: &question,
                ..Input::default()
            };
            let expected = Suite::from(suite).response(&key, &input);
            if expected.is_ok_and(|expected| expected.matches(response.as_bytes())) {
                right = Some(index);
            }
        }
        remember(record, id, right.is_some(), context.now);
        match right.and_then(|index| record.tokens.get_mut(index)) {
            Some(token) => {
                token.count_success(context.now);
                Ok(Judgement::Right)
            }
            None => {
                record
                    .tokens
                    .iter_mut()
                    .filter(|token| has_form(token))
                    .for_each(Token::count_failure);
                Ok(Judgement::Wrong)
            }
        }
    }
}

/// The challenge of the dialog that is named by `id`: [`CHALLENGE_DIGITS`] digits that nobody can foresee.
pub fn challenge(keyring: &Keyring, id: u64) -> String {
    let digest = keyring.digest_code(b"ocra-challenge", &id.to_be_bytes());
    let number = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, octet| number << 8 | u64::from(*octet));
    format!("{:08}", number % 100_000_000)
}

/// A challenge as it is shown: in two groups of four.
pub fn grouped(challenge: &str) -> String {
    codes::in_groups(challenge, CHALLENGE_DIGITS / 2, ' ')
}

fn proves_logins(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Ocra { offline: false, .. })
}

fn answered(record: &UserRecord, id: u64, now: Timestamp) -> Option<AnsweredChallenge> {
    let mut live = record.answered.iter().filter(|before| now < before.expires);
    live.find(|before| before.id == id).copied()
}

/// Whether one more can be remembered without forgetting one that was answered right.
fn has_room(record: &UserRecord, now: Timestamp) -> bool {
    let spent = record
        .answered
        .iter()
        .filter(|before| before.spent && now < before.expires);
    spent.count() < MAX_ANSWERED
}

/// Writes down that a challenge was answered, in place of what has expired, or else of the oldest wrong answer.
fn remember(record: &mut UserRecord, id: u64, right: bool, now: Timestamp) {
    record.answered.retain(|before| now < before.expires);
    if let Some(before) = record.answered.iter_mut().find(|before| before.id == id) {
        before.spent = right;
        before.failures = before.failures.saturating_add(u8::from(!right));
        return;
    }
    if record.answered.len() >= MAX_ANSWERED
        && let Some(oldest) = record.answered.iter().position(|before| !before.spent)
    {
        record.answered.remove(oldest);
    }
    record.answered.push(AnsweredChallenge {
        id,
        expires: now + REMEMBERED,
        failures: u8::from(!right),
        spent: right,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;
    use crate::engine::ocra::tests::key;
    use crate::engine::record::{Algorithm, OcraSuite};
    use crate::secret::Secret;

    const SUITE: OcraSuite = OcraSuite::Sha256Digits8;

    fn record(keyring: &Keyring, user: &UserKey, offline: bool) -> UserRecord {
        let token = Token {
            id: 1,
            label: "pad".into(),
            kind: TokenKind::Ocra { suite: SUITE, offline },
            algorithm: Algorithm::Sha256,
            digits: 8,
            seed: keyring.seal(&Token::place(user.as_str(), 1), key(32).expose()),
            disabled: false,
            failures: 0,
            enrolled: Timestamp::default(),
            last_used: None,
        };
        UserRecord {
            tokens: vec![token],
            ..UserRecord::default()
        }
    }

    /// What the token shows for the challenge of a dialog.
    fn response(keyring: &Keyring, id: u64) -> String {
        let input = Input {
            question: &challenge(keyring, id),
            ..Input::default()
        };
        let response: Secret = Suite::from(SUITE).response(&key(32), &input).unwrap();
        response.expose_str().unwrap().to_owned()
    }

    #[test]
    fn a_challenge_is_answered_right_once() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let at = |secs, sent| Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(secs),
            sent,
        };
        let mut record = record(&keyring, &user, false);
        let right = response(&keyring, 7);
        let mut judge = |typed: &str, secs, sent| Ocra.judge(typed, &mut record, &at(secs, sent)).unwrap();
        assert_eq!(
            judge(&right, 1, None),
            Judgement::NotApplicable,
            "no challenge was shown"
        );
        assert_eq!(judge(&right, 1, Some(8)), Judgement::Wrong, "of another dialog");
        assert_eq!(judge("1234567", 1, Some(7)), Judgement::NotApplicable);
        assert_eq!(
            judge(&format!("{} {}", &right[..4], &right[4..]), 1, Some(7)),
            Judgement::Right
        );
        assert_eq!(judge(&right, 1, Some(7)), Judgement::Replayed);
        assert_eq!(
            judge(&right, 7_200, Some(7)),
            Judgement::Replayed,
            "as long as a dialog opens"
        );
        assert_eq!(record.tokens[0].failures, 0);
    }

    #[test]
    fn three_wrong_responses_end_a_challenge() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(1),
            sent: Some(7),
        };
        let mut record = record(&keyring, &user, false);
        let right = response(&keyring, 7);
        let wrong = if right == "00000000" { "00000001" } else { "00000000" };
        for _ in 0..MAX_FAILURES {
            assert_eq!(Ocra.judge(wrong, &mut record, &context).unwrap(), Judgement::Wrong);
        }
        assert_eq!(Ocra.judge(&right, &mut record, &context).unwrap(), Judgement::Wrong);
        assert_eq!(record.tokens[0].failures, u32::from(MAX_FAILURES));
        let next = Context {
            sent: Some(8),
            ..context
        };
        let right = response(&keyring, 8);
        assert_eq!(Ocra.judge(&right, &mut record, &next).unwrap(), Judgement::Right);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_forgets_a_right_answer() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = |id| Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(1),
            sent: Some(id),
        };
        let mut record = record(&keyring, &user, false);
        let mut judge = |typed: &str, id| Ocra.judge(typed, &mut record, &context(id)).unwrap();
        for id in 0..32 {
            assert_eq!(judge(&response(&keyring, id), id), Judgement::Right);
        }
        for id in 32..40 {
            assert_eq!(judge(&response(&keyring, id), id), Judgement::NotApplicable, "no room");
        }
        for id in 0..32 {
            assert_eq!(judge(&response(&keyring, id), id), Judgement::Replayed);
        }
        assert_eq!(record.answered.len(), 32);
    }

    #[test]
    fn the_key_of_a_machine_proves_no_login() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(1),
            sent: Some(7),
        };
        let mut record = record(&keyring, &user, true);
        assert!(!Ocra.enrolled(&record, context.now));
        let right = response(&keyring, 7);
        assert_eq!(
            Ocra.judge(&right, &mut record, &context).unwrap(),
            Judgement::NotApplicable
        );
    }

    #[test]
    fn challenges_are_eight_digits_of_their_own() {
        let keyring = Keyring::from_root(&[1; 32]);
        let one = challenge(&keyring, 1);
        assert_eq!((one.len(), &one), (CHALLENGE_DIGITS, &challenge(&keyring, 1)));
        assert_ne!(one, challenge(&keyring, 2));
        assert_ne!(one, challenge(&Keyring::from_root(&[2; 32]), 1));
        assert_eq!(grouped("12345678"), "1234 5678");
    }
}
