//! What can take somebody else's word: the words that configuration, commands and the audit name it by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a request is for, or a delegation lets somebody approve. Stored by number: new ones go to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Action {
    /// To log in, where a rule takes an approval.
    Login,
    /// To release the second half of a passcode. Never asked for by a request: it has a name of its own.
    PasscodeRelease,
    /// To issue a passcode.
    Passcode,
    /// To enrol a token.
    TokenEnrol,
    /// To enrol a key that types Yubico OTP.
    KeyEnrol,
    /// To revoke a token.
    TokenRevoke,
    /// To switch a token off.
    TokenDisable,
    /// To switch it on again.
    TokenEnable,
    /// To give it another name.
    TokenRename,
    /// To bring it back into step.
    TokenResync,
    /// To make recovery codes.
    RecoveryCodes,
    /// To make the key of a machine that cannot reach us.
    MachineEnrol,
    /// To revoke it.
    MachineRevoke,
    /// To say the response to what such a machine asks.
    MachineRespond,
    /// To forget failures.
    Unlock,
    /// To keep somebody out.
    Deny,
    /// To let them try again.
    Undeny,
    /// To set a generated password.
    PasswordReset,
    /// To have somebody change their password.
    MustChange,
    /// To enable an account.
    Enable,
    /// To disable it.
    Disable,
    /// To take away all that somebody has enrolled.
    Unregister,
    /// To define somebody's answers to security questions.
    AnswersDefine,
    /// To let them count again.
    AnswersUnlock,
    /// To revoke a passcode.
    PasscodeRevoke,
}

impl Action {
    /// Every one.
    pub const ALL: [Self; 25] = [
        Self::Login,
        Self::PasscodeRelease,
        Self::Passcode,
        Self::TokenEnrol,
        Self::KeyEnrol,
        Self::TokenRevoke,
        Self::TokenDisable,
        Self::TokenEnable,
        Self::TokenRename,
        Self::TokenResync,
        Self::RecoveryCodes,
        Self::MachineEnrol,
        Self::MachineRevoke,
        Self::MachineRespond,
        Self::Unlock,
        Self::Deny,
        Self::Undeny,
        Self::PasswordReset,
        Self::MustChange,
        Self::Enable,
        Self::Disable,
        Self::Unregister,
        Self::AnswersDefine,
        Self::AnswersUnlock,
        Self::PasscodeRevoke,
    ];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::PasscodeRelease => "passcode-release",
            Self::Passcode => "passcode",
            Self::TokenEnrol => "token-enrol",
            Self::KeyEnrol => "key-enrol",
            Self::TokenRevoke => "token-revoke",
            Self::TokenDisable => "token-disable",
            Self::TokenEnable => "token-enable",
            Self::TokenRename => "token-rename",
            Self::TokenResync => "token-resync",
            Self::RecoveryCodes => "recovery-codes",
            Self::MachineEnrol => "machine-enrol",
            Self::MachineRevoke => "machine-revoke",
            Self::MachineRespond => "machine-respond",
            Self::Unlock => "unlock",
            Self::Deny => "deny",
            Self::Undeny => "undeny",
            Self::PasswordReset => "password-reset",
            Self::MustChange => "must-change",
            Self::Enable => "enable",
            Self::Disable => "disable",
            Self::Unregister => "unregister",
            Self::AnswersDefine => "answers-define",
            Self::AnswersUnlock => "answers-unlock",
            Self::PasscodeRevoke => "passcode-revoke",
        }
    }

    /// The one of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.word() == word)
    }

    /// Whether an operator can ask for it; the others come about by themselves.
    pub const fn can_be_asked_for(self) -> bool {
        !matches!(self, Self::Login | Self::PasscodeRelease)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_word_of_its_own() {
        for action in Action::ALL {
            assert_eq!(Action::parse(action.word()), Some(action));
        }
        assert_eq!(Action::parse("everything"), None);
    }
}
