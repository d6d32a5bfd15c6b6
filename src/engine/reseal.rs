//! What has to be done to stored records when another key file takes the place of the one they were written with.

use serde::Serialize;

use crate::engine::batch::Key;
use crate::engine::facts::UserKey;
use crate::engine::record::{Passcode, Token, UserRecord};
use crate::keyring::{KeyError, Keyring};

/// What a record under some key has to do with the key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bond {
    /// A person's: secrets are sealed in it.
    Person,
    /// None: nothing in it is sealed, and what digests it holds are those of codes, which former keys still judge,
    /// or are of use for minutes only.
    None,
    /// A piece of the files of a version of the policies, which are sealed as a whole.
    PolicyText,
    /// Part of a dialog that does not outlive the key: it goes.
    Dialog,
}

/// The bond of a stored record; `None` for one that nobody has said it of.
pub fn bond(key: &Key) -> Option<Bond> {
    let octets = key.as_octets();
    let known = BONDS.iter().find(|(prefix, _)| octets.starts_with(prefix));
    known.map(|(_, bond)| *bond)
}

/// Every prefix of [`Key`] is here, or a new key file cannot be put in place.
const BONDS: &[(&[u8], Bond)] = &[
    (Key::USERS, Bond::Person),
    (b"e/r/", Bond::Dialog),
    (b"p/t/", Bond::PolicyText),
    (b"p/", Bond::None),
    (b"e/p/", Bond::None),
    (b"e/l/", Bond::None),
    (b"e/a/", Bond::None),
    (b"e/k/", Bond::None),
    (b"e/t/", Bond::None),
    (b"e/d/", Bond::None),
    (b"e/o/", Bond::None),
    (b"e/q/", Bond::None),
    (b"e/s/", Bond::None),
    (b"e/g/", Bond::None),
    (b"e/f/", Bond::None),
    (b"c/", Bond::None),
    (b"s/", Bond::None),
    (b"S/", Bond::None),
    (b"w/", Bond::None),
    (b"x/", Bond::None),
    (b"d/", Bond::None),
    (b"j/", Bond::None),
    (b"e/j/", Bond::None),
    (b"e/h", Bond::None),
    (b"e/a/", Bond::None),
    (b"e/k/", Bond::None),
];

/// How much was sealed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Resealed {
    /// People's records.
    pub people: u64,
    /// Seeds and keys of tokens, and of machines that cannot reach us.
    pub seeds: u64,
    /// Passcodes for CHAP, and halves of passcodes.
    pub passcodes: u64,
    /// Questions in people's own words.
    pub questions: u64,
    /// Versions of the policies.
    pub policies: u64,
    /// Sets of answers, which count only as long as the pepper stays the same.
    pub answers: u64,
    /// Sets of recovery codes and passcodes that only a digest is stored of: the former key goes on judging them.
    pub digests: u64,
}

impl std::ops::AddAssign for Resealed {
    fn add_assign(&mut self, other: Self) {
        self.people += other.people;
        self.seeds += other.seeds;
        self.passcodes += other.passcodes;
        self.questions += other.questions;
        self.policies += other.policies;
        self.answers += other.answers;
        self.digests += other.digests;
    }
}

impl UserRecord {
    /// Seals every secret in the record of `user` anew.
    ///
    /// # Errors
    /// When one of them does not open with `old`. The record is of no use then.
    pub fn reseal(&mut self, user: &UserKey, old: &Keyring, new: &Keyring) -> Result<Resealed, KeyError> {
        let mut done = Resealed {
            people: 1,
            ..Resealed::default()
        };
        let again = |place: &[u8], sealed: &mut Vec<u8>| -> Result<(), KeyError> {
            *sealed = new.seal(place, old.open(place, sealed)?.expose());
            Ok(())
        };
        for token in &mut self.tokens {
            again(&Token::place(user.as_str(), token.id), &mut token.seed)?;
            done.seeds += 1;
        }
        if let Some(passcode) = &mut self.passcode {
            let place = Passcode::place(user.as_str(), &passcode.id);
            let second = Passcode::second_place(user.as_str(), &passcode.id);
            for (place, sealed) in [(place, &mut passcode.sealed), (second, &mut passcode.second)] {
                if let Some(sealed) = sealed {
                    again(&place, sealed)?;
                    done.passcodes += 1;
                }
            }
            done.digests += 1;
        }
        done.digests += u64::from(!self.recovery.is_empty());
        if let Some(answers) = &mut self.answers {
            let drafted = answers.draft.iter_mut().flat_map(|draft| &mut draft.answers);
            for answer in answers.answers.iter_mut().chain(drafted) {
                done.questions += u64::from(answer.reseal(user, old, new)?);
            }
            done.answers += u64::from(answers.are_defined());
        }
        Ok(done)
    }

    /// Has the answers defined anew before they count again: nobody can judge them under another pepper.
    pub fn outdate_answers(&mut self) {
        if let Some(answers) = &mut self.answers {
            answers.require_update();
            answers.draft = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::engine::questions::answers::{NewAnswer, prepare_one};
    use crate::engine::record::{Algorithm, Answers, Draft, OcraSuite, TokenKind};
    use crate::secret::Secret;

    #[test]
    fn every_key_has_its_bond() {
        // Prefixes stand in the source of the keys as literals.
        let (source, _tests) = include_str!("batch.rs").split_once("#[cfg(test)]").unwrap();
        let literals = source.split("b\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let prefixes: Vec<&str> = literals
            .filter(|text| text.get(1..2) == Some("/") && *text != "e/")
            .collect();
        assert!(prefixes.len() > 10, "{prefixes:?}");
        for prefix in prefixes {
            let key = Key::from_octets(format!("{prefix}1").as_bytes());
            assert!(bond(&key).is_some(), "{prefix}: what has it to do with the key file?");
        }
        assert_eq!(bond(&Key::from_octets(b"z/1")), None);
    }

    #[test]
    fn everything_sealed_is_sealed_anew_in_its_place() {
        let [old, new] = [[1; 32], [2; 32]].map(|root| Keyring::from_root(&root));
        let user = UserKey::new("corp", "1");
        let token = |id, kind| Token {
            id,
            label: format!("token-{id}"),
            kind,
            algorithm: Algorithm::Sha1,
            digits: 6,
            seed: old.seal(&Token::place(user.as_str(), id), &[7; 20]),
            disabled: false,
            failures: 0,
            enrolled: Timestamp::default(),
            last_used: None,
        };
        let own = |question: &str| {
            let given = NewAnswer {
                question: question.into(),
                own: Some("Which boat?".into()),
                answer: Secret::new("a red one"),
            };
            prepare_one(&given, &user, &old, [0; 16]).finish([0; 32])
        };
        let passcode = Passcode {
            id: "p".into(),
            digest: [0; 32],
            issued_by: "carol".into(),
            issued: Timestamp::default(),
            expires: Timestamp::default(),
            failures: 0,
            sealed: Some(old.seal(&Passcode::place(user.as_str(), "p"), b"whole")),
            refused: 0,
            replaces_factor: false,
            second: Some(old.seal(&Passcode::second_place(user.as_str(), "p"), b"half")),
            released_by: None,
            halves: true,
        };
        let mut record = UserRecord {
            tokens: vec![
                token(1, TokenKind::Hotp { counter: 7 }),
                token(
                    3,
                    TokenKind::Ocra {
                        suite: OcraSuite::default(),
                        offline: true,
                    },
                ),
            ],
            recovery: vec![[0; 32]],
            passcode: Some(passcode),
            answers: Some(Box::new(Answers {
                answers: vec![own("user-1")],
                draft: Some(Draft {
                    id: 1,
                    answers: vec![own("user-2")],
                }),
                ..Answers::default()
            })),
            ..UserRecord::default()
        };
        let before = record.clone();
        let done = record.reseal(&user, &old, &new).unwrap();
        let expected = Resealed {
            people: 1,
            seeds: 2,
            passcodes: 2,
            questions: 2,
            policies: 0,
            answers: 1,
            digests: 2,
        };
        assert_eq!(done, expected);
        assert!(record.clone().reseal(&user, &old, &new).is_err());
        // Back again: nothing else has changed.
        assert_eq!(record.reseal(&user, &new, &old).unwrap(), expected);
        let seed = |record: &UserRecord, at: usize| {
            let token = &record.tokens[at];
            old.open(&Token::place(user.as_str(), token.id), &token.seed).unwrap()
        };
        for at in 0..2 {
            assert_eq!(seed(&record, at).expose(), seed(&before, at).expose());
        }
        record.outdate_answers();
        let answers = record.answers.unwrap();
        assert!(answers.must_update && answers.draft.is_none());
    }
}
