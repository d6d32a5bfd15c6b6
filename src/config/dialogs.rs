//! `[dialogs]`, and what clients say of their dialogs.

use std::sync::Arc;

use serde::Deserialize;
use serde::de::Error as _;

/// `[dialogs]`: what conversations with people are like.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default)]
pub struct Dialogs {
    /// The language of those for whom nothing else says one.
    pub language: String,
}

impl Default for Dialogs {
    fn default() -> Self {
        Self { language: "en".into() }
    }
}

/// `client.recover`: what is typed in place of a forgotten password; nothing when absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recover(pub Option<Arc<str>>);

impl Recover {
    /// The word where the configuration says `true`.
    pub const USUAL: &'static str = "?recover";

    /// A shorter one could be somebody's password, in characters.
    const LEAST: usize = 4;

    /// Longest word, in characters.
    const MOST: usize = 32;
}

impl<'de> Deserialize<'de> for Recover {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Whether(bool),
            Word(String),
        }
        let raw = Raw::deserialize(deserializer)
            .map_err(|_| D::Error::custom("is neither true, false nor a word such as \"?recover\""))?;
        let word = match raw {
            Raw::Whether(false) => return Ok(Self(None)),
            Raw::Whether(true) => Self::USUAL.to_owned(),
            Raw::Word(word) => word,
        };
        let apart = word.starts_with(|first: char| first.is_ascii_punctuation());
        let plain = word.chars().all(|letter| letter.is_ascii_graphic());
        if !apart || !plain || !(Self::LEAST..=Self::MOST).contains(&word.len()) {
            return Err(D::Error::custom(format!(
                "`{word}` could be a password: write {} to {} ASCII characters without blanks that begin with a sign, \
                 such as \"{}\"",
                Self::LEAST,
                Self::MOST,
                Self::USUAL
            )));
        }
        Ok(Self(Some(word.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Client {
        recover: Recover,
    }

    fn word(value: &str) -> Result<Option<String>, String> {
        let read = toml::from_str::<Client>(&format!("recover = {value}"));
        read.map(|client| client.recover.0.map(|word| word.to_string()))
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn the_word_is_nobodys_password() {
        assert_eq!(word("false"), Ok(None));
        assert_eq!(word("true"), Ok(Some("?recover".into())));
        assert_eq!(word("\"!hilfe\""), Ok(Some("!hilfe".into())));
        for value in ["\"recover\"", "\"?re\"", "\"\"", "\"? recover\"", "\"?r\u{e9}cover\""] {
            assert!(word(value).unwrap_err().contains("could be a password"), "{value}");
        }
        assert!(word(&format!("\"?{}\"", "x".repeat(32))).is_err());
        assert!(word("7").unwrap_err().starts_with("is neither true"));
    }
}
