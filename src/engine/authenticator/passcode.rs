//! Passcodes that helpdesk issues to someone who cannot log in: timed, used once, revoked by three failures.

use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::engine::authenticator::{CodeAuthenticator, Context, Judgement, Kind, codes};
use crate::engine::facts::UserKey;
use crate::engine::record::{Passcode, UserRecord};
use crate::engine::response::{Kept, Response, ResponseOutcome};
use crate::keyring::{KeyError, Keyring};
use crate::secret::Secret;

/// Symbols in a passcode: 10 of 30 make 49 bits.
pub const LENGTH: usize = 10;

/// Symbols in the first half of one that two people hand over. Each half is 24 bits, which is why there is one digest
/// of the whole only: a half proves nothing and tells nothing.
pub const HALF: usize = 5;

/// How long a passcode lives unless it is issued for another time.
pub const DEFAULT_LIFE: Duration = Duration::from_secs(60 * 60);

/// The shortest life that one can be issued for.
pub const MIN_LIFE: Duration = Duration::from_secs(60);

/// The longest life that one can be issued for.
pub const MAX_LIFE: Duration = Duration::from_secs(8 * 60 * 60);

/// Wrong passcodes that revoke the live one.
pub const MAX_FAILURES: u8 = 3;

/// New passwords that a directory may refuse from the holder of one passcode: people need a few tries to meet
/// a directory's rules, and more would only find out what passwords there were before.
pub const MAX_REFUSED: u8 = 10;

/// Issued passcodes.
#[derive(Debug)]
pub struct Passcodes;

impl CodeAuthenticator for Passcodes {
    fn kind(&self) -> Kind {
        Kind::Passcode
    }

    fn enrolled(&self, record: &UserRecord, now: Timestamp) -> bool {
        record.passcode.as_ref().is_some_and(|passcode| now < passcode.expires)
    }

    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError> {
        let code = codes::normalise(typed);
        let live = record
            .passcode
            .as_ref()
            .filter(|passcode| context.now < passcode.expires);
        let Some(passcode) = live.filter(|_| codes::is_well_formed(&code, LENGTH)) else {
            return Ok(Judgement::NotApplicable);
        };
        // As long as the second half is not released, nobody can have the whole but by guessing.
        let place = place(context.user);
        let mut digests = context.keyring.digests_of_code(&place, code.as_bytes());
        let right = digests.any(|digest| digest == passcode.digest);
        if right && passcode.second.is_none() {
            record.passcode = None;
            return Ok(Judgement::Right);
        }
        count_failure(record);
        Ok(Judgement::Wrong)
    }
}

/// Judges a response as one made with the live passcode. A right one spends it, a wrong one is counted.
/// Impossible when there is none, or it was not issued for this.
///
/// # Errors
/// When the sealed copy does not open.
pub fn judge_response(
    response: &Response,
    record: &mut UserRecord,
    context: &Context<'_>,
) -> Result<ResponseOutcome, KeyError> {
    let live = record
        .passcode
        .as_ref()
        .filter(|passcode| context.now < passcode.expires);
    let Some((passcode, sealed)) = live.and_then(|passcode| Some((passcode, passcode.sealed.as_ref()?))) else {
        return Ok(ResponseOutcome::Impossible);
    };
    let code = context
        .keyring
        .open(&Passcode::place(context.user.as_str(), &passcode.id), sealed)?;
    let released = passcode.second.is_none();
    let code = code.expose_str().unwrap_or_default();
    for typed in spellings(code) {
        let outcome = response.judge(Kept::Clear(&typed));
        if released && matches!(outcome, ResponseOutcome::Right(_)) {
            record.passcode = None;
            return Ok(outcome);
        }
    }
    count_failure(record);
    Ok(ResponseOutcome::Wrong)
}

/// What people type for a normalised code: as it was shown or without the dash, in capitals or not. A response
/// tells nothing of what was typed, so each is tried.
fn spellings(code: &str) -> [Secret; 4] {
    let shown = Zeroizing::new(codes::grouped(code));
    let lower = |text: &str| Secret::new(text.to_lowercase());
    [
        Secret::new(shown.as_str()),
        lower(&shown),
        Secret::new(code),
        lower(code),
    ]
}

/// Gives a spent passcode back to a person whose new password was not taken by the directory, `refused` for what
/// it is, until it was so for [`MAX_REFUSED`] of them.
pub fn give_back(spent: &Passcode, refused: bool) -> Option<Passcode> {
    let count = spent.refused.saturating_add(u8::from(refused));
    (count < MAX_REFUSED).then(|| Passcode {
        refused: count,
        ..spent.clone()
    })
}

fn count_failure(record: &mut UserRecord) {
    let Some(passcode) = &mut record.passcode else { return };
    passcode.failures = passcode.failures.saturating_add(1);
    if passcode.failures >= MAX_FAILURES {
        record.passcode = None;
    }
}

/// What is stored of a normalised passcode.
pub fn digest(keyring: &Keyring, user: &UserKey, code: &str) -> [u8; 32] {
    keyring.digest_code(&place(user), code.as_bytes())
}

fn place(user: &UserKey) -> Vec<u8> {
    format!("passcode/{user}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(keyring: &Keyring, user: &UserKey) -> UserRecord {
        let passcode = Passcode {
            id: "p1".into(),
            digest: digest(keyring, user, "K7QXM3RTWP"),
            issued_by: "helpdesk".into(),
            issued: Timestamp::from_secs(0),
            expires: Timestamp::from_secs(3600),
            failures: 0,
            sealed: None,
            refused: 0,
            replaces_factor: false,
            second: None,
            released_by: None,
            halves: false,
        };
        UserRecord {
            passcode: Some(passcode),
            ..UserRecord::default()
        }
    }

    #[test]
    fn works_once_until_it_expires() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let at = |secs| Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(secs),
            sent: None,
        };
        let mut used = record(&keyring, &user);
        assert_eq!(
            Passcodes.judge("k7qxm-3rtwp", &mut used, &at(10)).unwrap(),
            Judgement::Right
        );
        assert_eq!(
            Passcodes.judge("k7qxm-3rtwp", &mut used, &at(10)).unwrap(),
            Judgement::NotApplicable
        );
        let mut late = record(&keyring, &user);
        assert_eq!(
            Passcodes.judge("K7QXM3RTWP", &mut late, &at(3600)).unwrap(),
            Judgement::NotApplicable
        );
    }

    #[test]
    fn nothing_is_right_before_the_second_half_is_released() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(10),
            sent: None,
        };
        let mut waiting = record(&keyring, &user);
        waiting.passcode.as_mut().unwrap().second = Some(vec![1]);
        let mut guess = |typed| Passcodes.judge(typed, &mut waiting, &context).unwrap();
        assert_eq!(guess("K7QXM"), Judgement::NotApplicable, "a half is no code");
        assert_eq!(guess("3RTWP"), Judgement::NotApplicable);
        assert_eq!(guess("K7QXM-3RTWP"), Judgement::Wrong);
        assert_eq!(waiting.passcode.as_ref().unwrap().failures, 1, "and counts");
        waiting.passcode.as_mut().unwrap().second = None;
        let judged = Passcodes.judge("K7QXM-3RTWP", &mut waiting, &context).unwrap();
        assert_eq!(judged, Judgement::Right);
    }

    #[test]
    fn three_failures_revoke_it() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(10),
            sent: None,
        };
        let mut record = record(&keyring, &user);
        for _ in 0..MAX_FAILURES {
            assert_eq!(
                Passcodes.judge("K7QXM3RTWQ", &mut record, &context).unwrap(),
                Judgement::Wrong
            );
        }
        assert_eq!(
            Passcodes.judge("K7QXM3RTWP", &mut record, &context).unwrap(),
            Judgement::NotApplicable
        );
    }
}
