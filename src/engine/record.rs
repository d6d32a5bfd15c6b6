//! What the store keeps of a person. Seeds are sealed by the key ring, codes kept as keyed digests.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::clock::Timestamp;
use crate::engine::approval::RequestId;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::workflow::Start;

/// Everything kept of one person; one record, so that one compare-and-swap covers it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The login name at the last change, for listings.
    pub login: String,
    /// One-time-password tokens, oldest first; at most [`UserRecord::MAX_TOKENS`].
    pub tokens: Vec<Token>,
    /// Unused recovery codes, as [`crate::keyring::Keyring::digest_code`].
    pub recovery: Vec<[u8; 32]>,
    /// Consecutive wrong guesses judged against the recovery codes.
    pub recovery_failures: u32,
    /// The one live passcode.
    pub passcode: Option<Passcode>,
    /// Set by the first enrolment and never cleared: removing the last token never falls back to
    /// password only.
    pub ever_enrolled: bool,
    /// Last accepted login.
    pub last_login: Option<Timestamp>,
    /// Number given to the next token.
    pub next_token: u32,
    /// An operator's word that the person is not to be let in. Since format 2.
    pub denied: Option<Deny>,
    /// Answers to security questions. Since format 4, like all that follows.
    pub answers: Option<Box<Answers>>,
    /// The session in which the person may help themselves, once something has opened one.
    pub helped: Option<Helped>,
    /// Codes on their way, each good for one login; at most [`UserRecord::MAX_SENT`].
    pub sent: Vec<SentCode>,
    /// The open request for an approval.
    pub approval: Option<RequestId>,
    /// What the person was last asked for by their own choice.
    pub prefers: Option<Kind>,
    /// The last code, if it was wrong but one of a token that is out of step.
    pub stray: Option<Stray>,
    /// Challenges of offline tokens that were answered lately.
    pub answered: Vec<AnsweredChallenge>,
    /// An operator's word that the password is to be changed at the next login. Since format 5.
    pub must_change: Option<ForcedChange>,
}

impl UserRecord {
    /// Most codes that one person may have on their way.
    pub const MAX_SENT: usize = 4;

    /// Most tokens one person may have.
    pub const MAX_TOKENS: usize = 20;

    /// The denial in force at `now`.
    pub fn denial(&self, now: Timestamp) -> Option<&Deny> {
        self.denied.as_ref().filter(|deny| deny.is_in_force(now))
    }
}

/// A code that was refused although a token shows it: not now, but not far from now. The one right after it brings
/// the token back into step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// The token's number.
    pub token: u32,
    /// The step or counter that it is the code for.
    pub at: u64,
    /// When it was typed.
    pub seen: Timestamp,
}

/// What somebody may do without being let in, opened by a passcode or by recovery: within ten minutes, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Helped {
    /// Names the session, in the sealed dialog too.
    pub id: u64,
    /// What it began with.
    pub start: Start,
    /// When it ends.
    pub until: Timestamp,
    /// Wrong codes and new passwords that were not taken; three end it.
    pub failures: u8,
    /// The last request that proved or ended something, by which it is known when it is sent again after a restart.
    pub packet: Option<[u8; 16]>,
    /// What has been proven.
    pub proven: KindSet,
    /// Whether what opened it stands in for a second factor that was lost.
    pub replaces_factor: bool,
    /// Whether it is open: before, something has been proven, but not all.
    pub open: bool,
    /// How it ended. Nothing more is done in it.
    pub ended: Option<Ended>,
}

impl Helped {
    /// Whether the session of this name goes on.
    pub fn goes_on(&self, id: u64, now: Timestamp) -> bool {
        self.open && self.ended.is_none() && self.id == id && now < self.until
    }
}

/// What a session came to in which somebody helped themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// The password is changed.
    PasswordChanged,
    /// New passwords were not taken.
    PasswordNotChanged,
    /// The account is unlocked.
    Unlocked,
    /// A token is enrolled.
    Enrolled,
    /// Nothing of these.
    Done,
}

/// Security answers and their state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// The answers, in the order in which they were defined.
    pub answers: Vec<Answer>,
    /// Digest of the question policy that they were defined under.
    pub policy: u32,
    /// Rounds of questions that were answered right: other questions are asked next time.
    pub rounds: u32,
    /// Rounds that were not, in a row.
    pub failures: u32,
    /// Locked after too many of them, or by an operator.
    pub locked: bool,
    /// Must be defined anew before it counts.
    pub must_update: bool,
    /// When it was last defined or confirmed.
    pub confirmed: Timestamp,
    /// Answers that are being defined in a dialog, until all of them are in.
    pub draft: Option<Draft>,
}

/// Answers that are being defined in a dialog. They count for nothing yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Names it, in the sealed dialog too.
    pub id: u64,
    /// Those that are in, in the order in which they were asked for.
    pub answers: Vec<Answer>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's name in the question policy; the person's own text, sealed, in `own`.
    pub question: String,
    /// The text of a user-defined question, sealed.
    pub own: Option<Vec<u8>>,
    /// Argon2id of the normalised answer, keyed with a pepper outside the store.
    pub hash: [u8; 32],
    /// Its salt.
    pub salt: [u8; 16],
    /// Version of the normaliser and of the cost.
    pub scheme: u8,
}

/// A code on its way to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentCode {
    /// Names it, in the sealed dialog too: it counts for that dialog only.
    pub id: u64,
    /// What it proves.
    pub kind: Kind,
    /// As [`crate::keyring::Keyring::digest_code`].
    pub digest: [u8; 32],
    /// From then on it is dead.
    pub expires: Timestamp,
    /// Wrong codes since; three end it.
    pub failures: u8,
}

/// A challenge of an offline token that was answered: right once, wrong a few times, and not again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredChallenge {
    /// Names the challenge, in the sealed dialog too.
    pub id: u64,
    /// No dialog that it was shown in lives longer.
    pub expires: Timestamp,
    /// Wrong responses.
    pub failures: u8,
    /// Whether it was answered right.
    pub spent: bool,
}

/// An operator's word that a person is not to be let in, whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deny {
    /// From then on it is over; until it is lifted when absent.
    pub until: Option<Timestamp>,
    /// Why, for operators and the audit. At most [`Deny::MAX_REASON`] octets.
    pub reason: String,
    /// The operator.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Deny {
    /// Longest reason, in octets of UTF-8.
    pub const MAX_REASON: usize = 500;

    /// Whether it still holds.
    pub fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// An operator's word that somebody's password is to be changed at the next login, whatever the directory says of it. A
/// change that goes through us ends it, or an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedChange {
    /// The operator.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A TOTP or HOTP token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Unique within the person's record, never given again.
    pub id: u32,
    /// The name the person knows it by.
    pub label: String,
    /// TOTP or HOTP, with its moving state.
    pub kind: TokenKind,
    /// The HMAC's hash function.
    pub algorithm: Algorithm,
    /// 6 to 8.
    pub digits: u8,
    /// The seed, sealed to [`Token::place`].
    pub seed: Vec<u8>,
    /// Switched off by an operator, or after 100 consecutive failures.
    pub disabled: bool,
    /// Consecutive wrong codes judged against it.
    pub failures: u32,
    /// When it was enrolled.
    pub enrolled: Timestamp,
    /// When it last proved a login.
    pub last_used: Option<Timestamp>,
}

impl Token {
    /// Whether it is the key of a machine that cannot reach us, and no factor of the person's.
    pub const fn is_of_machine(&self) -> bool {
        matches!(self.kind, TokenKind::Ocra { offline: true, .. })
    }

    /// The place that this token's seed is sealed to.
    pub fn place(user: &str, id: u32) -> Vec<u8> {
        format!("seed/{user}/{id}").into_bytes()
    }
}

/// The moving factor of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenKind {
    /// RFC 6238.
    Totp {
        /// Seconds in a step: 30 or 60.
        period: u16,
        /// The last accepted step; a step at or below it is never accepted again.
        last_step: Option<u64>,
        /// Steps that the token's clock is ahead of ours, as found by the last resynchronisation.
        drift: i16,
    },
    /// RFC 4226.
    Hotp {
        /// The next counter that can be accepted.
        counter: u64,
    },
    /// Yubico OTP: the key's AES key and private identity are the seed. Since format 4, like what follows.
    YubicoOtp {
        /// Public identity, 6 octets.
        public: [u8; 6],
        /// Usage counter and session counter of the last code that was taken: `usage << 8 | session`.
        last: Option<u32>,
    },
    /// An offline token, or a machine that cannot reach us (OCRA, RFC 6287): challenge and response.
    Ocra {
        /// The suite.
        suite: OcraSuite,
        /// Whether the key lies on a machine that cannot reach us: it proves no login then.
        offline: bool,
    },
}

/// The OCRA suites that tokens are made with (RFC 6287 section 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OcraSuite {
    /// `OCRA-1:HOTP-SHA1-6:QN08`
    #[default]
    Sha1Digits6,
    /// `OCRA-1:HOTP-SHA256-8:QN08`
    Sha256Digits8,
    /// `OCRA-1:HOTP-SHA512-8:QN08`
    Sha512Digits8,
}

/// Hash function of a token's HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// HMAC-SHA-1, what most apps can do.
    #[default]
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// A code that helpdesk issued to someone who cannot log in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passcode {
    /// Random identifier for listing and revoking.
    pub id: String,
    /// As [`crate::keyring::Keyring::digest_code`].
    pub digest: [u8; 32],
    /// The operator who issued it.
    pub issued_by: String,
    /// When.
    pub issued: Timestamp,
    /// From then on it is dead.
    pub expires: Timestamp,
    /// Wrong passcodes since; three revoke it.
    pub failures: u8,
    /// The code itself, normalised and sealed to [`Passcode::place`], when it was issued for CHAP: a response
    /// cannot be compared with a digest.
    pub sealed: Option<Vec<u8>>,
    /// New passwords that the directory did not take from its holder. Since format 3.
    pub refused: u8,
    /// Whether it stands in for a second factor that was lost. Since format 4, like what follows.
    pub replaces_factor: bool,
    /// The second half, sealed to [`Passcode::second_place`], until somebody else has released it. As long as it is
    /// here the passcode opens nothing: nobody can have it.
    pub second: Option<Vec<u8>>,
    /// Who released the second half.
    pub released_by: Option<String>,
    /// Whether it has two halves, for two people to hand over.
    pub halves: bool,
}

impl Passcode {
    /// The place that this passcode's code is sealed to.
    pub fn place(user: &str, id: &str) -> Vec<u8> {
        format!("passcode/{user}/{id}").into_bytes()
    }

    /// The place that its second half is sealed to.
    pub fn second_place(user: &str, id: &str) -> Vec<u8> {
        format!("passcode-half/{user}/{id}").into_bytes()
    }
}

/// The failures of one person, over all protocols and factors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThrottleRecord {
    /// Each counted failure, oldest first; no more than the limit.
    pub failures: Vec<Failure>,
    /// Attempts whose password is being tried right now: counted as failures until the answer is known,
    /// and for good when it never comes.
    pub pending: Vec<Pending>,
    /// Challenges of upstream servers that went out and are not answered yet; counted as failures. Since
    /// format 2.
    pub challenges: Vec<Pending>,
}

/// A counted failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// When it was.
    pub at: Timestamp,
    /// Whether a code was wrong: a login without a code does not clear it.
    pub code: bool,
}

/// An attempt under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When it began.
    pub at: Timestamp,
    /// Random number that tells it from others.
    pub nonce: u64,
}

/// A record that does not decode: written by a newer version, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("a stored record does not decode (written by a newer version, or damaged)")]
pub struct BadRecord(#[source] Option<postcard::Error>);

/// A kind of record. Its format is the first octet of what is stored; older ones are still read.
pub trait Record: Serialize + DeserializeOwned {
    /// The format that is written.
    const FORMAT: u8;

    /// Reads what follows an octet of format other than [`Record::FORMAT`]; `None` for one that there never was.
    fn from_older(format: u8, octets: &[u8]) -> Option<postcard::Result<Self>>;
}

impl Record for UserRecord {
    const FORMAT: u8 = 5;

    fn from_older(format: u8, octets: &[u8]) -> Option<postcard::Result<Self>> {
        match format {
            1 => Some(postcard::from_bytes(octets).map(older::UserRecord1::into_current)),
            2 => Some(postcard::from_bytes(octets).map(older::UserRecord2::into_current)),
            3 => Some(postcard::from_bytes(octets).map(older::UserRecord3::into_current)),
            4 => Some(postcard::from_bytes(octets).map(older::UserRecord4::into_current)),
            _ => None,
        }
    }
}

impl Record for ThrottleRecord {
    const FORMAT: u8 = 2;

    fn from_older(format: u8, octets: &[u8]) -> Option<postcard::Result<Self>> {
        (format == 1).then(|| postcard::from_bytes(octets).map(older::ThrottleRecord1::into_current))
    }
}

/// Writes a record: one octet of format, then postcard.
pub fn encode<T: Record>(record: &T) -> Vec<u8> {
    postcard::to_extend(record, vec![T::FORMAT]).unwrap_or_default()
}

/// Reads what [`encode`] wrote, now or in an earlier version.
///
/// # Errors
/// [`BadRecord`].
pub fn decode<T: Record>(octets: &[u8]) -> Result<T, BadRecord> {
    let (&format, rest) = octets.split_first().ok_or(BadRecord(None))?;
    let read = if format == T::FORMAT {
        postcard::from_bytes(rest)
    } else {
        T::from_older(format, rest).ok_or(BadRecord(None))?
    };
    read.map_err(|error| BadRecord(Some(error)))
}

/// Formats that are no longer written.
mod older {
    use super::{
        AnsweredChallenge, Answers, Deny, Failure, Helped, Kind, Passcode, Pending, RequestId, SentCode, Stray,
        Timestamp, Token,
    };
    use serde::Deserialize;

    /// Format 1 of [`super::ThrottleRecord`]: before challenges were counted.
    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct ThrottleRecord1 {
        pub(super) failures: Vec<Failure>,
        pub(super) pending: Vec<Pending>,
    }

    impl ThrottleRecord1 {
        pub(super) fn into_current(self) -> super::ThrottleRecord {
            super::ThrottleRecord {
                failures: self.failures,
                pending: self.pending,
                challenges: Vec::new(),
            }
        }
    }

    /// Format 1 of [`super::UserRecord`]: before passcodes were issued for CHAP, and before denials.
    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct UserRecord1 {
        pub(super) login: String,
        pub(super) tokens: Vec<Token>,
        pub(super) recovery: Vec<[u8; 32]>,
        pub(super) recovery_failures: u32,
        pub(super) passcode: Option<Passcode1>,
        pub(super) ever_enrolled: bool,
        pub(super) last_login: Option<Timestamp>,
        pub(super) next_token: u32,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct Passcode1 {
        pub(super) id: String,
        pub(super) digest: [u8; 32],
        pub(super) issued_by: String,
        pub(super) issued: Timestamp,
        pub(super) expires: Timestamp,
        pub(super) failures: u8,
    }

    /// Each format is read as the one after it, so that a new one leaves the older alone.
    impl UserRecord1 {
        pub(super) fn into_current(self) -> super::UserRecord {
            let next = UserRecord2 {
                login: self.login,
                tokens: self.tokens,
                recovery: self.recovery,
                recovery_failures: self.recovery_failures,
                passcode: self.passcode.map(Passcode1::into_next),
                ever_enrolled: self.ever_enrolled,
                last_login: self.last_login,
                next_token: self.next_token,
                denied: None,
            };
            next.into_current()
        }
    }

    impl Passcode1 {
        fn into_next(self) -> Passcode2 {
            Passcode2 {
                id: self.id,
                digest: self.digest,
                issued_by: self.issued_by,
                issued: self.issued,
                expires: self.expires,
                failures: self.failures,
                sealed: None,
            }
        }
    }

    /// Format 2 of [`super::UserRecord`]: before passcodes set passwords.
    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct UserRecord2 {
        pub(super) login: String,
        pub(super) tokens: Vec<Token>,
        pub(super) recovery: Vec<[u8; 32]>,
        pub(super) recovery_failures: u32,
        pub(super) passcode: Option<Passcode2>,
        pub(super) ever_enrolled: bool,
        pub(super) last_login: Option<Timestamp>,
        pub(super) next_token: u32,
        pub(super) denied: Option<Deny>,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct Passcode2 {
        pub(super) id: String,
        pub(super) digest: [u8; 32],
        pub(super) issued_by: String,
        pub(super) issued: Timestamp,
        pub(super) expires: Timestamp,
        pub(super) failures: u8,
        pub(super) sealed: Option<Vec<u8>>,
    }

    impl UserRecord2 {
        pub(super) fn into_current(self) -> super::UserRecord {
            let next = UserRecord3 {
                login: self.login,
                tokens: self.tokens,
                recovery: self.recovery,
                recovery_failures: self.recovery_failures,
                passcode: self.passcode.map(Passcode2::into_next),
                ever_enrolled: self.ever_enrolled,
                last_login: self.last_login,
                next_token: self.next_token,
                denied: self.denied,
            };
            next.into_current()
        }
    }

    impl Passcode2 {
        fn into_next(self) -> Passcode3 {
            Passcode3 {
                id: self.id,
                digest: self.digest,
                issued_by: self.issued_by,
                issued: self.issued,
                expires: self.expires,
                failures: self.failures,
                sealed: self.sealed,
                refused: 0,
            }
        }
    }

    /// Format 3 of [`super::UserRecord`]: before people helped themselves.
    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct UserRecord3 {
        pub(super) login: String,
        pub(super) tokens: Vec<Token>,
        pub(super) recovery: Vec<[u8; 32]>,
        pub(super) recovery_failures: u32,
        pub(super) passcode: Option<Passcode3>,
        pub(super) ever_enrolled: bool,
        pub(super) last_login: Option<Timestamp>,
        pub(super) next_token: u32,
        pub(super) denied: Option<Deny>,
    }

    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct Passcode3 {
        pub(super) id: String,
        pub(super) digest: [u8; 32],
        pub(super) issued_by: String,
        pub(super) issued: Timestamp,
        pub(super) expires: Timestamp,
        pub(super) failures: u8,
        pub(super) sealed: Option<Vec<u8>>,
        pub(super) refused: u8,
    }

    impl UserRecord3 {
        pub(super) fn into_current(self) -> super::UserRecord {
            let next = UserRecord4 {
                login: self.login,
                tokens: self.tokens,
                recovery: self.recovery,
                recovery_failures: self.recovery_failures,
                passcode: self.passcode.map(Passcode3::into_current),
                ever_enrolled: self.ever_enrolled,
                last_login: self.last_login,
                next_token: self.next_token,
                denied: self.denied,
                answers: None,
                helped: None,
                sent: Vec::new(),
                approval: None,
                prefers: None,
                stray: None,
                answered: Vec::new(),
            };
            next.into_current()
        }
    }

    /// Format 4 of [`super::UserRecord`]: before operators had passwords changed.
    #[derive(Deserialize)]
    #[cfg_attr(test, derive(serde::Serialize))]
    pub(super) struct UserRecord4 {
        pub(super) login: String,
        pub(super) tokens: Vec<Token>,
        pub(super) recovery: Vec<[u8; 32]>,
        pub(super) recovery_failures: u32,
        pub(super) passcode: Option<Passcode>,
        pub(super) ever_enrolled: bool,
        pub(super) last_login: Option<Timestamp>,
        pub(super) next_token: u32,
        pub(super) denied: Option<Deny>,
        pub(super) answers: Option<Box<Answers>>,
        pub(super) helped: Option<Helped>,
        pub(super) sent: Vec<SentCode>,
        pub(super) approval: Option<RequestId>,
        pub(super) prefers: Option<Kind>,
        pub(super) stray: Option<Stray>,
        pub(super) answered: Vec<AnsweredChallenge>,
    }

    impl UserRecord4 {
        pub(super) fn into_current(self) -> super::UserRecord {
            super::UserRecord {
                login: self.login,
                tokens: self.tokens,
                recovery: self.recovery,
                recovery_failures: self.recovery_failures,
                passcode: self.passcode,
                ever_enrolled: self.ever_enrolled,
                last_login: self.last_login,
                next_token: self.next_token,
                denied: self.denied,
                answers: self.answers,
                helped: self.helped,
                sent: self.sent,
                approval: self.approval,
                prefers: self.prefers,
                stray: self.stray,
                answered: self.answered,
                must_change: None,
            }
        }
    }

    impl Passcode3 {
        fn into_current(self) -> Passcode {
            Passcode {
                id: self.id,
                digest: self.digest,
                issued_by: self.issued_by,
                issued: self.issued,
                expires: self.expires,
                failures: self.failures,
                sealed: self.sealed,
                refused: self.refused,
                replaces_factor: false,
                second: None,
                released_by: None,
                halves: false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_first_format_are_read() {
        let first = older::UserRecord1 {
            login: "ana".into(),
            tokens: Vec::new(),
            recovery: vec![[9; 32]],
            recovery_failures: 2,
            passcode: Some(older::Passcode1 {
                id: "p1".into(),
                digest: [7; 32],
                issued_by: "helpdesk".into(),
                issued: Timestamp::from_secs(1),
                expires: Timestamp::from_secs(2),
                failures: 1,
            }),
            ever_enrolled: true,
            last_login: Some(Timestamp::from_secs(3)),
            next_token: 4,
        };
        let octets = postcard::to_extend(&first, vec![1]).unwrap();
        let record: UserRecord = decode(&octets).unwrap();
        let passcode = record.passcode.as_ref().unwrap();
        assert_eq!(
            (passcode.id.as_str(), passcode.failures, &passcode.sealed),
            ("p1", 1, &None)
        );
        assert_eq!(
            (record.next_token, record.last_login),
            (4, Some(Timestamp::from_secs(3)))
        );
        // Written anew it comes back the same.
        assert_eq!(decode::<UserRecord>(&encode(&record)).unwrap(), record);
        assert!(decode::<UserRecord>(&[]).is_err());
        assert!(
            decode::<UserRecord>(&[9, 0]).is_err(),
            "a newer format is not guessed at"
        );
    }

    #[test]
    fn records_of_the_second_format_are_read() {
        let second = older::UserRecord2 {
            login: "ana".into(),
            tokens: Vec::new(),
            recovery: Vec::new(),
            recovery_failures: 0,
            passcode: Some(older::Passcode2 {
                id: "p1".into(),
                digest: [7; 32],
                issued_by: "helpdesk".into(),
                issued: Timestamp::from_secs(1),
                expires: Timestamp::from_secs(2),
                failures: 1,
                sealed: Some(vec![5]),
            }),
            ever_enrolled: false,
            last_login: None,
            next_token: 4,
            denied: None,
        };
        let record: UserRecord = decode(&postcard::to_extend(&second, vec![2]).unwrap()).unwrap();
        let passcode = record.passcode.as_ref().unwrap();
        assert_eq!((passcode.refused, &passcode.sealed), (0, &Some(vec![5])));
        assert_eq!(decode::<UserRecord>(&encode(&record)).unwrap(), record);
    }

    /// As version 0.1 wrote it before there were denials.
    const FORMAT_1: &str = "0103616e6101010570686f6e65001e01abd4821b01000603010203000280d095ffbc3101909e96ffbc3101\
                            0707070707070707070707070707070707070707070707070707070707070707\
                            03000101909e96ffbc3102";

    fn octets(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn ana() -> UserRecord {
        UserRecord {
            login: "ana".into(),
            tokens: vec![Token {
                id: 1,
                label: "phone".into(),
                kind: TokenKind::Totp {
                    period: 30,
                    last_step: Some(56_666_667),
                    drift: -1,
                },
                algorithm: Algorithm::Sha1,
                digits: 6,
                seed: vec![1, 2, 3],
                disabled: false,
                failures: 2,
                enrolled: Timestamp::from_secs(1_700_000_000),
                last_used: Some(Timestamp::from_secs(1_700_000_010)),
            }],
            recovery: vec![[7; 32]],
            recovery_failures: 3,
            passcode: None,
            ever_enrolled: true,
            last_login: Some(Timestamp::from_secs(1_700_000_010)),
            next_token: 2,
            denied: None,
            ..UserRecord::default()
        }
    }

    #[test]
    fn records_of_format_1_are_still_read() {
        assert_eq!(decode::<UserRecord>(&octets(FORMAT_1)).unwrap(), ana());
        let empty: UserRecord = decode(&octets("010000000000000000")).unwrap();
        assert_eq!(empty, UserRecord::default());
        assert!(decode::<UserRecord>(&octets("0103616e61")).is_err(), "cut off");
    }

    #[test]
    fn counts_of_format_1_are_still_read() {
        let pending = vec![Pending {
            at: Timestamp::from_secs(7),
            nonce: 9,
        }];
        let old = older::ThrottleRecord1 {
            failures: Vec::new(),
            pending: pending.clone(),
        };
        let octets = postcard::to_extend(&old, vec![1]).unwrap();
        let read: ThrottleRecord = decode(&octets).unwrap();
        assert_eq!((read.pending, read.challenges), (pending, Vec::new()));
    }

    #[test]
    fn a_denial_survives_the_store() {
        let denied = UserRecord {
            denied: Some(Deny {
                until: Some(Timestamp::from_secs(1_700_003_600)),
                reason: "laptop stolen".into(),
                by: "carol".into(),
                at: Timestamp::from_secs(1_700_000_000),
            }),
            ..ana()
        };
        let written = encode(&denied);
        assert_eq!(written.first(), Some(&5));
        assert_eq!(decode::<UserRecord>(&written).unwrap(), denied);
        assert!(decode::<UserRecord>(&[&[9], written.get(1..).unwrap()].concat()).is_err());
        assert!(decode::<UserRecord>(&[]).is_err());
    }

    #[test]
    fn records_of_the_third_format_are_read() {
        let third = older::UserRecord3 {
            login: "ana".into(),
            tokens: ana().tokens,
            recovery: ana().recovery,
            recovery_failures: 3,
            passcode: None,
            ever_enrolled: true,
            last_login: ana().last_login,
            next_token: 2,
            denied: None,
        };
        let octets = postcard::to_extend(&third, vec![3]).unwrap();
        assert_eq!(decode::<UserRecord>(&octets).unwrap(), ana());
        assert!(decode::<UserRecord>(octets.get(..20).unwrap()).is_err(), "cut off");
    }

    #[test]
    fn records_of_the_fourth_format_are_read() {
        let record = UserRecord {
            answered: vec![AnsweredChallenge {
                id: 7,
                expires: Timestamp::from_secs(9),
                failures: 1,
                spent: true,
            }],
            ..ana()
        };
        // The fifth has one field more, at the end.
        let mut fourth = encode(&record);
        assert_eq!(
            (fourth.pop(), fourth.first_mut().map(|format| *format = 4)),
            (Some(0), Some(()))
        );
        assert_eq!(decode::<UserRecord>(&fourth).unwrap(), record);
        let forced = UserRecord {
            must_change: Some(ForcedChange {
                by: "carol".into(),
                at: Timestamp::from_secs(10),
            }),
            ..record
        };
        assert_eq!(decode::<UserRecord>(&encode(&forced)).unwrap(), forced);
    }

    /// The store takes values of 60 000 octets.
    #[test]
    fn the_fullest_record_fits_the_store() {
        let letters = |count: usize| "\u{10348}".repeat(count);
        let sealed = |octets: usize| vec![0xff; octets + 64];
        let late = Timestamp::from_secs(1 << 40);
        let token = Token {
            id: u32::MAX,
            label: letters(64),
            kind: TokenKind::Totp {
                period: u16::MAX,
                last_step: Some(u64::MAX),
                drift: i16::MIN,
            },
            seed: sealed(128),
            failures: u32::MAX,
            enrolled: late,
            last_used: Some(late),
            ..ana().tokens[0].clone()
        };
        let answer = Answer {
            question: "q".repeat(32),
            own: Some(sealed(120 * 4)),
            hash: [0xff; 32],
            salt: [0xff; 16],
            scheme: 1,
        };
        let sent = SentCode {
            id: u64::MAX,
            kind: Kind::Ocra,
            digest: [0xff; 32],
            expires: late,
            failures: 3,
        };
        let challenge = AnsweredChallenge {
            id: u64::MAX,
            expires: late,
            failures: 3,
            spent: true,
        };
        let fullest = UserRecord {
            login: letters(256),
            tokens: vec![token; UserRecord::MAX_TOKENS],
            recovery: vec![[0xff; 32]; 10],
            denied: Some(Deny {
                until: Some(late),
                reason: "r".repeat(Deny::MAX_REASON),
                by: letters(256),
                at: late,
            }),
            answers: Some(Box::new(Answers {
                answers: vec![answer.clone(); 20],
                draft: Some(Draft {
                    id: u64::MAX,
                    answers: vec![answer; 20],
                }),
                ..Answers::default()
            })),
            sent: vec![sent; UserRecord::MAX_SENT],
            answered: vec![challenge; 32],
            ..ana()
        };
        let octets = encode(&fullest);
        assert!(octets.len() < 60_000, "{}", octets.len());
        assert_eq!(decode::<UserRecord>(&octets).unwrap(), fullest);
    }

    #[test]
    fn a_denial_ends_by_itself() {
        let until = Timestamp::from_secs(100);
        let deny = Deny {
            until: Some(until),
            reason: String::new(),
            by: "carol".into(),
            at: Timestamp::default(),
        };
        assert!(deny.is_in_force(Timestamp::from_millis(99_999)));
        assert!(!deny.is_in_force(until));
        let lasting = Deny { until: None, ..deny };
        assert!(lasting.is_in_force(Timestamp::from_secs(u64::MAX / 1000)));
    }
}
