//! Authenticators: one file each, listed in [`Kind`].

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The directory's password.
    Password,
    /// A code by time (RFC 6238).
    Totp,
    /// A code by counter (RFC 4226).
    Hotp,
    /// A look-up secret (NIST SP 800-63B section 3.1.2).
    RecoveryCode,
    /// A code that helpdesk issued.
    Passcode,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [
        Self::Password,
        Self::Totp,
        Self::Hotp,
        Self::RecoveryCode,
        Self::Passcode,
    ];

    /// The word for it in policies, logs and the audit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Totp => "totp",
            Self::Hotp => "hotp",
            Self::RecoveryCode => "recovery-code",
            Self::Passcode => "passcode",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KindSet(u16);

impl KindSet {
    /// Nothing.
    pub const EMPTY: Self = Self(0);

    /// One kind.
    pub const fn of(kind: Kind) -> Self {
        Self(1 << kind as u16)
    }

    /// With `kind` added.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        self.union(Self::of(kind))
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this but not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `kind` is in it.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & Self::of(kind).0 != 0
    }

    /// Whether all of `other` is in it.
    pub const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many kinds it has.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Its kinds in order.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl fmt::Display for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, kind) in self.iter().enumerate() {
            if index > 0 {
                f.write_str("+")?;
            }
            f.write_str(kind.word())?;
        }
        Ok(())
    }
}
