//! What a rule says of people who have never had a second factor: when they have to enrol one, and where.

use std::fmt;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::clock::Timestamp;
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::policy::schedule::Day;
use crate::engine::policy::{MAX_PROMPT, Requirement};

/// What becomes of people who have never had a second factor, once their password is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrol {
    /// Until when the password alone is enough. From then on, and from the beginning where there is no grace,
    /// they enrol a token before they are let in.
    pub grace: Option<Grace>,
}

/// A time in which the password alone is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grace {
    /// The first moment after it.
    pub over: Timestamp,
    /// The last day of it, as written.
    pub written: Arc<str>,
    /// What people are reminded with, in place of the prompt files' text. At most 120 characters.
    pub reminder: Option<Arc<str>>,
}

impl Enrol {
    /// What has to be proven, and nothing else, by somebody who has just enrolled.
    const PROVEN: KindSet = KindSet::of(Kind::Password).with(Kind::Totp);

    /// The grace in force.
    pub fn grace(&self, now: Timestamp) -> Option<&Grace> {
        self.grace.as_ref().filter(|grace| now < grace.over)
    }

    /// Whether a token enrolled beside the password is ever enough for what a rule requires.
    pub fn fits(requirement: &Requirement) -> bool {
        let alternatives = requirement.alternatives().iter();
        let mut typed = alternatives.map(|kinds| kinds.without(KindSet::UNTYPED));
        typed.any(|kinds| kinds == Self::PROVEN)
    }
}

impl fmt::Display for Enrol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.grace {
            None => f.write_str("whoever has never enrolled does so now"),
            Some(grace) => write!(
                f,
                "the password alone for whoever has never enrolled until {}, who enrols from then on",
                grace.written
            ),
        }
    }
}

/// `enrol` as it is written: `"now"`, or `{ until = "2026-12-31" }`.
#[derive(Debug)]
pub(super) enum RawEnrol {
    Now,
    Grace(Grace),
}

impl<'de> Deserialize<'de> for RawEnrol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnrolVisitor;

        impl<'de> Visitor<'de> for EnrolVisitor {
            type Value = RawEnrol;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"now\", or { until = \"2026-12-31\" }")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<RawEnrol, E> {
                match word {
                    "now" => Ok(RawEnrol::Now),
                    other => Err(E::custom(format!(
                        "`{other}` is not known; write \"now\", or {{ until = \"2026-12-31\" }}"
                    ))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawEnrol, A::Error> {
                let raw = RawGrace::deserialize(MapAccessDeserializer::new(map))?;
                Ok(RawEnrol::Grace(Grace {
                    over: Day::parse(&raw.until).map_err(A::Error::custom)?.over,
                    written: raw.until.trim().into(),
                    reminder: raw.reminder.map(Arc::from),
                }))
            }
        }

        deserializer.deserialize_any(EnrolVisitor)
    }
}

#[derive(Deserialize)]
struct RawGrace {
    until: String,
    #[serde(default)]
    reminder: Option<String>,
}

impl Grace {
    /// Whether the rule's own reminder can be shown.
    pub(super) fn is_sound(&self) -> bool {
        let sound = |text: &str| {
            let letters = text.chars().count();
            letters <= MAX_PROMPT && !text.chars().any(char::is_control) && !text.trim().is_empty()
        };
        self.reminder.as_deref().is_none_or(sound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_lasts_through_its_last_day() {
        let moment = |text: &str| Day::parse(text).unwrap().over.to_string();
        assert_eq!(moment("2026-12-31"), "2027-01-01T00:00:00.000Z");
        assert_eq!(moment(" 2026-12-31 Europe/Berlin "), "2026-12-31T23:00:00.000Z");
        for text in [
            "",
            "tomorrow",
            "2026-13-01",
            "2026-12-31 Atlantis",
            "2026-12-31 UTC now",
            "1960-01-01",
        ] {
            assert!(Day::parse(text).is_err(), "{text}");
        }
    }
}
