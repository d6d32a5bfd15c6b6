//! A TOTP key on its way into somebody's app: shown once, and a token only once two consecutive codes of it have
//! been typed. Until then nothing is stored: it travels in the sealed dialog.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::clock::Timestamp;
use crate::engine::authenticator::oath::{self, Generator};
use crate::engine::authenticator::{Context, codes, totp};
use crate::engine::record::{Algorithm, Token, TokenKind, UserRecord};
use crate::keyring::KeyError;
use crate::secret::Secret;

/// A key of 160 bits (RFC 4226 section 4, requirement R6).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct TotpKey([u8; TotpKey::OCTETS]);

/// A key, and what has been seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolling {
    key: TotpKey,
    /// The step of the first code, once that was right.
    first: Option<u64>,
}

/// What a typed code comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Right, and the next one is asked for.
    First(Enrolling),
    /// The second is right as well: the key becomes a token that has accepted this step.
    Confirmed(u64),
    /// Not the one that was asked for.
    Missed {
        /// What is asked again.
        again: Enrolling,
        /// Whether it is none of the key's codes at all, and so a guess.
        guess: bool,
    },
}

/// Seconds in a step, as authenticator apps have it.
const PERIOD: u16 = 30;

/// Digits of a code, as authenticator apps have it.
const DIGITS: u8 = 6;

impl TotpKey {
    /// Octets of a key.
    pub const OCTETS: usize = 20;

    /// Characters of a key as it is shown: 32 of base32, in groups of four.
    pub const SHOWN: usize = 39;

    /// Takes random octets.
    pub const fn new(octets: [u8; Self::OCTETS]) -> Self {
        Self(octets)
    }

    /// The key for people to type: base32 (RFC 4648 section 6) in groups of four.
    pub fn shown(&self) -> Zeroizing<String> {
        let text = Zeroizing::new(BASE32_NOPAD.encode(&self.0));
        Zeroizing::new(codes::in_groups(&text, 4, ' '))
    }

    fn generator(&self) -> Generator {
        Generator::new(&Secret::new(self.0), Algorithm::Sha1, DIGITS)
    }
}

impl fmt::Debug for TotpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Enrolling {
    /// A new key, of which nothing has been seen.
    pub const fn new(key: TotpKey) -> Self {
        Self { key, first: None }
    }

    /// The key.
    pub const fn key(&self) -> &TotpKey {
        &self.key
    }

    /// Whether the first code was right, and the second is asked for.
    pub const fn is_half_confirmed(&self) -> bool {
        self.first.is_some()
    }

    /// Judges a code. A right one that does not follow the first takes its place: somebody was slow, and has
    /// guessed nothing.
    pub fn judge(&self, typed: &str, now: Timestamp) -> Typed {
        let generator = self.key.generator();
        let code = oath::digits(typed);
        let here = oath::step(now, PERIOD);
        // Newest first, as for logins.
        let mut window = (here.saturating_sub(totp::SKEW)..=here + totp::SKEW).rev();
        let found = window.find(|&step| generator.has_form(&code) && generator.matches(&code, step));
        match (self.first, found) {
            (Some(first), Some(step)) if step == first + 1 => Typed::Confirmed(step),
            (None, Some(step)) => Typed::First(Self {
                first: Some(step),
                ..self.clone()
            }),
            (Some(first), Some(step)) => self.miss(Some(step.max(first)), false),
            // The code that was typed before, once more and late, is none of the window any more.
            (Some(first), None) => self.miss(self.first, !generator.matches(&code, first)),
            (None, None) => self.miss(None, true),
        }
    }

    fn miss(&self, first: Option<u64>, guess: bool) -> Typed {
        let again = Self {
            key: self.key.clone(),
            first,
        };
        Typed::Missed { again, guess }
    }

    /// Makes it a token of `record` that has accepted `last_step`; `None` when the person has as many tokens as
    /// there may be, or this key is one of them already.
    ///
    /// # Errors
    /// When the seed of another token does not open.
    pub fn enrol<'r>(
        &self,
        last_step: u64,
        record: &'r mut UserRecord,
        context: &Context<'_>,
    ) -> Result<Option<&'r Token>, KeyError> {
        let user = context.user.as_str();
        for token in &record.tokens {
            let seed = context.keyring.open(&Token::place(user, token.id), &token.seed)?;
            if seed.matches(&self.key.0) {
                return Ok(None);
            }
        }
        if record.tokens.len() >= UserRecord::MAX_TOKENS {
            return Ok(None);
        }
        let kind = TokenKind::Totp {
            period: PERIOD,
            last_step: Some(last_step),
            drift: 0,
        };
        let id = record.next_token.max(1);
        record.next_token = id + 1;
        record.ever_enrolled = true;
        record.tokens.push(Token {
            id,
            label: free_label(record, id),
            kind,
            algorithm: Algorithm::Sha1,
            digits: DIGITS,
            seed: context.keyring.seal(&Token::place(user, id), &self.key.0),
            disabled: false,
            failures: 0,
            enrolled: context.now,
            last_used: Some(context.now),
        });
        Ok(record.tokens.last())
    }
}

/// A name that no other token of the person has.
fn free_label(record: &UserRecord, id: u32) -> String {
    let taken = |label: &str| record.tokens.iter().any(|token| token.label == label);
    let mut label = format!("token-{id}");
    while taken(&label) {
        label.push('a');
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::authenticator::oath::tests::RFC_SEED;
    use crate::engine::facts::UserKey;
    use crate::engine::request::Manner;
    use crate::engine::texts::{Text, Texts};
    use crate::keyring::Keyring;

    fn key() -> TotpKey {
        TotpKey::new(RFC_SEED.try_into().unwrap())
    }

    // Steps 2 to 5 begin at 60, 90, 120 and 150 s.
    const STEP_2: &str = "359152";
    const STEP_3: &str = "969429";
    const STEP_4: &str = "338314";
    const STEP_5: &str = "254676";

    const fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn half() -> Enrolling {
        let Typed::First(half) = Enrolling::new(key()).judge(STEP_3, at(95)) else {
            panic!("the first code is wrong");
        };
        half
    }

    #[test]
    fn two_consecutive_codes_confirm() {
        assert_eq!(half().judge("338 314", at(121)), Typed::Confirmed(4));
        assert_eq!(
            half().judge(STEP_4, at(100)),
            Typed::Confirmed(4),
            "a clock that is fast"
        );
        assert!(half().is_half_confirmed() && !Enrolling::new(key()).is_half_confirmed());
    }

    #[test]
    fn what_does_not_follow_is_asked_for_again() {
        let Typed::Missed { again, guess: false } = half().judge(STEP_3, at(96)) else {
            panic!("the same code is no guess");
        };
        assert_eq!(again.judge(STEP_4, at(121)), Typed::Confirmed(4));
        let Typed::Missed { again, guess: false } = half().judge(STEP_5, at(151)) else {
            panic!("a code that was skipped is no guess");
        };
        assert!(
            matches!(again.judge(STEP_4, at(152)), Typed::Missed { guess: false, .. }),
            "backwards"
        );
        assert!(
            matches!(half().judge(STEP_3, at(300)), Typed::Missed { guess: false, .. }),
            "the first, late"
        );
        assert!(
            matches!(half().judge(STEP_2, at(300)), Typed::Missed { guess: true, .. }),
            "an old one"
        );
    }

    #[test]
    fn what_is_no_code_of_the_key_is_a_guess() {
        let enrolling = Enrolling::new(key());
        for typed in ["000000", "12345", "", "969429 0"] {
            let again = enrolling.clone();
            assert_eq!(
                enrolling.judge(typed, at(95)),
                Typed::Missed { again, guess: true },
                "{typed}"
            );
        }
    }

    #[test]
    fn a_token_is_made_once_and_has_spent_its_codes() {
        let keyring = Keyring::from_root(&[1; 32]);
        let user = UserKey::new("d", "1");
        let context = Context {
            user: &user,
            keyring: &keyring,
            now: at(121),
            sent: None,
        };
        let mut record = UserRecord::default();
        let token = half().enrol(4, &mut record, &context).unwrap().unwrap();
        assert_eq!((token.id, token.label.as_str()), (1, "token-1"));
        assert!(record.ever_enrolled);
        assert_eq!(
            half().enrol(4, &mut record, &context).unwrap(),
            None,
            "the same key again"
        );
        let wanted = crate::engine::authenticator::KindSet::of(crate::engine::authenticator::Kind::Totp);
        let (judged, _) = crate::engine::authenticator::judge(STEP_4, wanted, &mut record, &context).unwrap();
        assert_eq!(judged, crate::engine::authenticator::Judgement::Replayed);
        while record.tokens.len() < UserRecord::MAX_TOKENS {
            let octet = u8::try_from(record.tokens.len()).unwrap();
            let other = Enrolling::new(TotpKey::new([octet; 20]));
            assert!(other.enrol(4, &mut record, &context).unwrap().is_some());
        }
        let one_more = Enrolling::new(TotpKey::new([99; 20]));
        assert_eq!(one_more.enrol(4, &mut record, &context).unwrap(), None);
    }

    #[test]
    fn the_key_fits_its_text_and_is_not_printed() {
        let shown = key().shown();
        assert_eq!(shown.len(), TotpKey::SHOWN);
        assert_eq!(*shown, "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        let said = Texts::default()
            .voice(&Manner::default(), None)
            .say(Text::EnrolKey, &[("key", &shown)]);
        assert!(said.contains(shown.as_str()) && said.ends_with(':'), "{said}");
        assert!(!format!("{:?}", half()).contains("49"));
    }
}
