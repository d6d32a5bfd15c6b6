//! What is done to an account in its directory, and what came of it. The engine decides on these; the
//! directory performs them.

use std::fmt;

use crate::clock::Timestamp;
use crate::secret::Secret;

/// One change of one account.
#[derive(Clone, Copy, Debug)]
pub enum AccountChange<'a> {
    /// Its owner changes the password: history, minimum age and quality apply, and the old password is
    /// judged like any other try.
    Password {
        /// The password until now.
        old: &'a Secret,
        /// The one from now on.
        new: &'a Secret,
    },
    /// The password is set without knowing the old one.
    ///
    /// Not to be changed at the next login, it is its owner's own choice, proved in another way (a passcode):
    /// history applies, where the server can be told so. To be changed, it is an administrator's.
    Reset {
        /// The password from now on.
        new: &'a Secret,
        /// Whether its owner must change it at the next login.
        must_change: bool,
    },
    /// Ends a lock-out, and nothing else.
    Unlock,
    /// Whether the password must be changed at the next login.
    MustChange(bool),
    /// Whether the account may log in at all.
    Enabled(bool),
}

impl AccountChange<'_> {
    /// The stable word for the audit.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Password { .. } => "change-password",
            Self::Reset { .. } => "reset-password",
            Self::Unlock => "unlock",
            Self::MustChange(true) => "must-change",
            Self::MustChange(false) => "need-not-change",
            Self::Enabled(true) => "enable",
            Self::Enabled(false) => "disable",
        }
    }
}

/// What somebody does to their own account, as the engine hands it out.
#[derive(Clone, Debug)]
pub enum PasswordChange {
    /// See [`AccountChange::Password`].
    Own {
        /// The password until now, never empty.
        old: Secret,
        /// The one from now on, never empty.
        new: Secret,
    },
    /// See [`AccountChange::Reset`]. It need not be changed again: its owner has chosen it.
    Reset {
        /// The password from now on, never empty.
        new: Secret,
    },
    /// See [`AccountChange::Unlock`].
    Unlock,
}

impl PasswordChange {
    /// What the directory is asked to do.
    pub const fn as_change(&self) -> AccountChange<'_> {
        match self {
            Self::Own { old, new } => AccountChange::Password { old, new },
            Self::Reset { new } => AccountChange::Reset {
                new,
                must_change: false,
            },
            Self::Unlock => AccountChange::Unlock,
        }
    }
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Done.
    Done,
    /// The old password is wrong.
    WrongPassword,
    /// The directory's policy does not take the new password.
    Refused(PasswordRefusal),
    /// The account is locked: whether the old password is right is not known.
    Locked,
    /// The account is disabled: whether the old password is right is not known.
    Disabled,
    /// The account may not do this, or the one that acts for it lacks the right. The text says what the
    /// directory said, for logs.
    Forbidden(String),
    /// This directory has no such thing.
    Unsupported,
    /// The entry has gone.
    Unknown,
    /// The directory could not be asked. The text says why.
    Unavailable(String),
    /// It was asked, and did not answer: whether it was done is not known. The text says why.
    Lost(String),
}

/// Why a directory's policy does not take a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordRefusal {
    /// Fewer characters than the policy wants.
    TooShort,
    /// More characters than the directory takes.
    TooLong,
    /// It is one of the last passwords.
    UsedBefore,
    /// The last change was too short a time ago.
    TooSoon,
    /// Too few kinds of characters, or a part of the name.
    TooSimple,
    /// The directory does not say.
    Unspecified,
}

impl PasswordRefusal {
    /// The stable word for logs, metrics and the audit.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooShort => "new-password-too-short",
            Self::TooLong => "new-password-too-long",
            Self::UsedBefore => "new-password-used-before",
            Self::TooSoon => "new-password-too-soon",
            Self::TooSimple => "new-password-too-simple",
            Self::Unspecified => "new-password-refused",
        }
    }
}

impl fmt::Display for PasswordRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "it is too short",
            Self::TooLong => "it is too long",
            Self::UsedBefore => "it was used before",
            Self::TooSoon => "the last change was too recent",
            Self::TooSimple => "it is too simple",
            Self::Unspecified => "the directory's policy does not allow it",
        })
    }
}

/// What a directory says of an account, for helpdesk and policies. What the account for look-ups may not read
/// looks like what is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountState {
    /// Locked out right now, after failures or by an administrator.
    pub locked: bool,
    /// When the lock ends by itself, where the directory tells.
    pub locked_until: Option<Timestamp>,
    /// The password must be changed at the next login.
    pub must_change: bool,
    /// Switched off, or its time is over or has not begun.
    pub disabled: bool,
    /// The password is too old.
    pub expired: bool,
    /// When the password was last set.
    pub password_set: Option<Timestamp>,
    /// When the password becomes, or became, too old.
    pub password_expires: Option<Timestamp>,
    /// Logins that are left with a password that is too old, where the directory tells.
    pub grace_logins: Option<u32>,
}

/// What came of asking for an account's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateAnswer {
    /// The directory says this.
    Known(AccountState),
    /// This directory has no such thing.
    Unsupported,
    /// The entry has gone.
    Unknown,
    /// The directory could not be asked. The text says why.
    Unavailable(String),
}
