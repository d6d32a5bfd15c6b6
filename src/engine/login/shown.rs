//! What is proven without being typed: a certificate, or a SASL mechanism that the directory has judged.

use std::borrow::Cow;

use crate::engine::authenticator::Kind;
use crate::engine::login::Step;
use crate::engine::login::case::Case;
use crate::engine::verdict::Denial;

impl<'a> Case<'a, '_> {
    /// Judges by what was proven before the engine was asked: all of it that the rule asks for, or nothing.
    pub(super) fn proven(self, kind: Kind) -> Step<'a> {
        let record = Cow::Borrowed(&self.facts.user.value);
        let proven = self.held.with(kind);
        let refused = match self.blocked {
            // Most mechanisms prove the password, in a way in which nobody could change it.
            None if kind == Kind::Sasl && self.facts.user.value.must_change.is_some() => {
                Some(Denial::PasswordMustChange)
            }
            None if self.terms.requirement.is_met(proven) => None,
            None => Some(Denial::UntypedProof),
            blocked @ Some(_) => blocked,
        };
        match refused {
            Some(denial) => self.refuse(denial, record),
            None => self.accept(proven, record),
        }
    }

    /// The rule asks for what cannot be typed, whatever is.
    pub(super) fn without_certificate(self) -> Step<'a> {
        let record = Cow::Borrowed(&self.facts.user.value);
        self.refuse(self.blocked.unwrap_or(Denial::MissingCertificate), record)
    }
}
