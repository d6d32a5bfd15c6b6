//! Saved recovery codes: look-up secrets of 68 bits, one use each (NIST SP 800-63B section 3.1.2).

use crate::clock::Timestamp;
use crate::engine::authenticator::{CodeAuthenticator, Context, Judgement, Kind, MAX_CONSECUTIVE_FAILURES, codes};
use crate::engine::facts::UserKey;
use crate::engine::record::UserRecord;
use crate::keyring::{KeyError, Keyring};

/// Codes in one set.
pub const COUNT: usize = 10;

/// Symbols in a code: 14 of 30 make 68 bits.
pub const LENGTH: usize = 14;

/// Recovery codes.
#[derive(Debug)]
pub struct RecoveryCodes;

impl CodeAuthenticator for RecoveryCodes {
    fn kind(&self) -> Kind {
        Kind::RecoveryCode
    }

    fn enrolled(&self, record: &UserRecord, _now: Timestamp) -> bool {
        !record.recovery.is_empty() && record.recovery_failures < MAX_CONSECUTIVE_FAILURES
    }

    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError> {
        let code = codes::normalise(typed);
        if !self.enrolled(record, context.now) || !codes::is_well_formed(&code, LENGTH) {
            return Ok(Judgement::NotApplicable);
        }
        let before = record.recovery.len();
        // Comparing keyed digests needs no constant time: nobody can choose them.
        for typed in context.keyring.digests_of_code(&place(context.user), code.as_bytes()) {
            record.recovery.retain(|stored| *stored != typed);
        }
        if record.recovery.len() == before {
            record.recovery_failures = record.recovery_failures.saturating_add(1);
            return Ok(Judgement::Wrong);
        }
        record.recovery_failures = 0;
        Ok(Judgement::Right)
    }
}

/// What is stored of a normalised code.
pub fn digest(keyring: &Keyring, user: &UserKey, code: &str) -> [u8; 32] {
    keyring.digest_code(&place(user), code.as_bytes())
}

fn place(user: &UserKey) -> Vec<u8> {
    format!("recovery/{user}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_works_once() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(1),
            sent: None,
        };
        let codes = ["23456789ABCDEF", "GHJKMNPQRSTVWX"];
        let mut record = UserRecord {
            recovery: codes.iter().map(|code| digest(&keyring, &user, code)).collect(),
            ..UserRecord::default()
        };
        assert_eq!(
            RecoveryCodes.judge("ghjkm-npqrs-tvwx", &mut record, &context).unwrap(),
            Judgement::Right
        );
        assert_eq!(
            RecoveryCodes.judge("GHJKMNPQRSTVWX", &mut record, &context).unwrap(),
            Judgement::Wrong
        );
        assert_eq!(
            RecoveryCodes.judge("123456", &mut record, &context).unwrap(),
            Judgement::NotApplicable
        );
        assert_eq!(
            RecoveryCodes.judge("23456789ABCDEF", &mut record, &context).unwrap(),
            Judgement::Right
        );
        assert!(!RecoveryCodes.enrolled(&record, context.now));
    }
}
