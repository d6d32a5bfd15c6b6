//! `[generated_passwords]`: passwords that helpdesk has made up.

use serde::Deserialize;

use crate::engine::generated::Shape;

/// `[generated_passwords]`
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct GeneratedPasswords {
    /// Characters, dashes included: 12 to 64.
    pub length: usize,
    /// Kinds of characters that each one has.
    pub classes: Vec<Class>,
}

/// A kind of characters.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Small letters.
    Lower,
    /// Capitals.
    Upper,
    /// Digits.
    Digit,
    /// Dashes between groups of five.
    Special,
}

impl Default for GeneratedPasswords {
    fn default() -> Self {
        Self {
            length: Shape::default().length,
            classes: vec![Class::Lower, Class::Upper, Class::Digit, Class::Special],
        }
    }
}

impl GeneratedPasswords {
    /// What they are like.
    pub fn shape(&self) -> Shape {
        let has = |class| self.classes.contains(&class);
        Shape {
            length: self.length,
            lower: has(Class::Lower),
            upper: has(Class::Upper),
            digit: has(Class::Digit),
            special: has(Class::Special),
        }
    }
}
