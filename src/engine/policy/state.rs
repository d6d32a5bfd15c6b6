//! What conditions ask of an account besides its entry: the state of its password, and what is enrolled.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::clock::Timestamp;
use crate::document::nearest;
use crate::engine::account::AccountState;
use crate::engine::authenticator::{CODES, Kind, KindSet};
use crate::engine::record::{Token, UserRecord};

/// A state of an account, as its directory tells it without trying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// None of the others: the password is good.
    Good,
    /// The password is too old.
    Expired,
    /// The password must be changed first.
    MustChange,
    /// The directory has locked it.
    Locked,
    /// Switched off, or its time is over or has not begun.
    Disabled,
}

impl Credential {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Good,
        Self::Expired,
        Self::MustChange,
        Self::Locked,
        Self::Disabled,
    ];

    /// The word for it in policies.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Expired => "expired",
            Self::MustChange => "must-change",
            Self::Locked => "locked",
            Self::Disabled => "disabled",
        }
    }

    /// Whether an account is in this state.
    pub fn is(self, state: &AccountState) -> bool {
        match self {
            Self::Good => !(state.expired || state.must_change || state.locked || state.disabled),
            Self::Expired => state.expired,
            Self::MustChange => state.must_change,
            Self::Locked => state.locked,
            Self::Disabled => state.disabled,
        }
    }
}

/// What a person has enrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// No second factor now.
    None,
    /// No second factor now, and none ever before.
    Never,
    /// One of this kind that could prove something now; for questions, answers that are not locked.
    Kind(Kind),
}

impl Enrolment {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let kept = KindSet::SENT;
        let kinds = CODES
            .iter()
            .map(|code| code.kind())
            .filter(move |kind| !kept.has(*kind));
        [Self::None, Self::Never]
            .into_iter()
            .chain(kinds.chain([Kind::Questions]).map(Self::Kind))
    }

    /// The word for it in policies.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Never => "never",
            Self::Kind(kind) => kind.word(),
        }
    }

    /// Whether it is so.
    pub fn is(self, record: &UserRecord, now: Timestamp) -> bool {
        let own = || Self::all().any(|what| what.is_factor() && what.is(record, now));
        match self {
            Self::None => !own(),
            Self::Never => {
                !record.ever_enrolled && record.tokens.iter().all(Token::is_of_machine) && record.recovery.is_empty()
            }
            Self::Kind(Kind::Questions) => record
                .answers
                .as_ref()
                .is_some_and(|kept| !kept.locked && !kept.answers.is_empty()),
            Self::Kind(kind) => CODES
                .iter()
                .any(|code| code.kind() == kind && code.enrolled(record, now)),
        }
    }

    /// Whether it is a factor of the person's own: what helpdesk lends, and answers, are none.
    fn is_factor(self) -> bool {
        match self {
            Self::None | Self::Never | Self::Kind(Kind::Passcode | Kind::Questions) => false,
            Self::Kind(_) => true,
        }
    }
}

/// One of `all`, by its word.
fn named<'de, D: Deserializer<'de>, T: Copy>(
    deserializer: D,
    what: &str,
    all: impl IntoIterator<Item = T>,
    word: impl Fn(T) -> &'static str,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let all: Vec<T> = all.into_iter().collect();
    if let Some(found) = all.iter().find(|one| word(**one) == text) {
        return Ok(*found);
    }
    let words: Vec<&str> = all.iter().map(|one| word(*one)).collect();
    let hint = nearest(&text, &words).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
    Err(D::Error::custom(format!(
        "`{text}` is no {what}; there are {}{hint}",
        words.join(", ")
    )))
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        named(deserializer, "state of an account", Self::ALL, Self::word)
    }
}

impl<'de> Deserialize<'de> for Enrolment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        named(deserializer, "enrolment", Self::all(), Self::word)
    }
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::{Algorithm, Answer, Answers, TokenKind};

    const NOW: Timestamp = Timestamp::from_secs(1_767_600_000);

    fn words(record: &UserRecord) -> Vec<&'static str> {
        Enrolment::all()
            .filter(|what| what.is(record, NOW))
            .map(Enrolment::word)
            .collect()
    }

    #[test]
    fn what_is_enrolled_is_told_by_its_word() {
        let mut record = UserRecord::default();
        assert_eq!(words(&record), ["none", "never"]);
        record.tokens.push(Token {
            id: 1,
            label: "phone".into(),
            kind: TokenKind::Hotp { counter: 0 },
            algorithm: Algorithm::default(),
            digits: 6,
            seed: Vec::new(),
            disabled: false,
            failures: 0,
            enrolled: NOW,
            last_used: None,
        });
        record.ever_enrolled = true;
        assert_eq!(words(&record), ["hotp"]);
        record.tokens[0].disabled = true;
        record.recovery.push([0; 32]);
        assert_eq!(words(&record), ["recovery-code"]);
        record.recovery.clear();
        record.answers = Some(Box::new(Answers {
            answers: vec![Answer {
                question: "first".into(),
                own: None,
                hash: [0; 32],
                salt: [0; 16],
                scheme: 1,
            }],
            ..Answers::default()
        }));
        assert_eq!(words(&record), ["none", "questions"]);
    }

    #[test]
    fn an_account_can_be_in_several_states() {
        let states = |state: &AccountState| -> Vec<&str> {
            let all = Credential::ALL.into_iter().filter(|one| one.is(state));
            all.map(Credential::word).collect()
        };
        assert_eq!(states(&AccountState::default()), ["good"]);
        let state = AccountState {
            locked: true,
            expired: true,
            ..AccountState::default()
        };
        assert_eq!(states(&state), ["expired", "locked"]);
    }
}
