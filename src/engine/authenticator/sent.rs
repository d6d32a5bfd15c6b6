//! Codes that were sent to somebody (out-of-band, NIST SP 800-63B section 3.1.3): each good once, for the dialog
//! that it was sent for, and for its time; three wrong ones end it.

use crate::clock::Timestamp;
use crate::engine::authenticator::{CodeAuthenticator, Context, Judgement, Kind, codes};
use crate::engine::facts::UserKey;
use crate::engine::record::{SentCode, UserRecord};
use crate::keyring::{KeyError, Keyring};

/// Codes sent by e-mail.
pub const EMAIL: Sent = Sent(Kind::EmailCode);

/// Codes sent by a gateway.
pub const GATEWAY: Sent = Sent(Kind::GatewayCode);

/// Wrong codes that end the right one.
pub const MAX_FAILURES: u8 = 3;

/// What is kept in [`UserRecord::sent`], of one kind.
#[derive(Debug)]
pub struct Sent(pub Kind);

impl CodeAuthenticator for Sent {
    fn kind(&self) -> Kind {
        self.0
    }

    fn enrolled(&self, record: &UserRecord, now: Timestamp) -> bool {
        record.sent.iter().any(|sent| sent.kind == self.0 && now < sent.expires)
    }

    fn judge(&self, typed: &str, record: &mut UserRecord, context: &Context<'_>) -> Result<Judgement, KeyError> {
        record.sent.retain(|sent| context.now < sent.expires);
        let typed = codes::normalise(typed);
        let Some(at) = record
            .sent
            .iter()
            .position(|sent| Some(sent.id) == context.sent && sent.kind == self.0)
            .filter(|_| typed.bytes().all(|octet| octet.is_ascii_digit()))
        else {
            return Ok(Judgement::NotApplicable);
        };
        let Some(sent) = record.sent.get_mut(at) else {
            return Ok(Judgement::NotApplicable);
        };
        // Comparing keyed digests needs no constant time: nobody can choose them.
        if sent.digest == digest(context.keyring, context.user, sent.id, &typed) {
            record.sent.remove(at);
            record.prefers = Some(self.0);
            return Ok(Judgement::Right);
        }
        sent.failures = sent.failures.saturating_add(1);
        if sent.failures >= MAX_FAILURES {
            record.sent.remove(at);
        }
        Ok(Judgement::Wrong)
    }
}

/// Keeps a code that is about to be sent; those that have expired go, and the oldest where there are too many.
pub fn keep(record: &mut UserRecord, sent: SentCode, now: Timestamp) {
    record.sent.retain(|other| now < other.expires);
    while record.sent.len() >= UserRecord::MAX_SENT {
        record.sent.remove(0);
    }
    record.sent.push(sent);
}

/// What is stored of a code. Codes have too little in them to be the same under the same digest again.
pub fn digest(keyring: &Keyring, user: &UserKey, id: u64, code: &str) -> [u8; 32] {
    keyring.digest_code(format!("sent/{user}/{id:016x}").as_bytes(), code.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &str = "1";

    fn world() -> (Keyring, UserKey, UserRecord) {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", USER);
        let mut record = UserRecord::default();
        for (id, kind, code) in [(7, Kind::EmailCode, "123456"), (8, Kind::GatewayCode, "87654321")] {
            let sent = SentCode {
                id,
                kind,
                digest: digest(&keyring, &user, id, code),
                expires: Timestamp::from_secs(300),
                failures: 0,
            };
            keep(&mut record, sent, Timestamp::from_secs(0));
        }
        (keyring, user, record)
    }

    fn judge(authenticator: &Sent, typed: &str, id: Option<u64>, at: u64, record: &mut UserRecord) -> Judgement {
        let (keyring, user, _) = world();
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: Timestamp::from_secs(at),
            sent: id,
        };
        authenticator.judge(typed, record, &context).unwrap()
    }

    #[test]
    fn counts_once_for_its_dialog_and_its_time() {
        let (_, _, mut record) = world();
        assert_eq!(judge(&EMAIL, "123456", None, 1, &mut record), Judgement::NotApplicable);
        assert_eq!(
            judge(&EMAIL, "123456", Some(8), 1, &mut record),
            Judgement::NotApplicable
        );
        assert_eq!(
            judge(&GATEWAY, "123456", Some(7), 1, &mut record),
            Judgement::NotApplicable
        );
        assert_eq!(
            judge(&EMAIL, "123456", Some(7), 300, &mut record.clone()),
            Judgement::NotApplicable
        );
        assert_eq!(judge(&EMAIL, " 123 456 ", Some(7), 299, &mut record), Judgement::Right);
        assert_eq!(record.prefers, Some(Kind::EmailCode));
        assert_eq!(
            judge(&EMAIL, "123456", Some(7), 299, &mut record),
            Judgement::NotApplicable
        );
        assert_eq!(judge(&GATEWAY, "87654321", Some(8), 299, &mut record), Judgement::Right);
    }

    #[test]
    fn three_failures_end_it() {
        let (_, _, mut record) = world();
        for _ in 0..MAX_FAILURES {
            assert_eq!(judge(&EMAIL, "000000", Some(7), 1, &mut record), Judgement::Wrong);
        }
        assert_eq!(
            judge(&EMAIL, "123456", Some(7), 1, &mut record),
            Judgement::NotApplicable
        );
        assert_eq!(record.sent.len(), 1, "the other one is left alone");
    }

    #[test]
    fn no_more_are_kept_than_may_be() {
        let (keyring, user, mut record) = world();
        for id in 0..10 {
            let sent = SentCode {
                id,
                kind: Kind::EmailCode,
                digest: digest(&keyring, &user, id, "1"),
                expires: Timestamp::from_secs(300),
                failures: 0,
            };
            keep(&mut record, sent, Timestamp::from_secs(1));
        }
        assert_eq!(record.sent.len(), UserRecord::MAX_SENT);
        assert_eq!(record.sent.last().unwrap().id, 9);
    }
}
