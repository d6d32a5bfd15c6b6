//! What is said in dialogs: one line each, at most [`MAX_PROMPT`] characters, in the languages of the prompt files.
//!
//! English is built in (`policies/prompts/en.toml`). A text that a language lacks is said in English.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use crate::engine::policy::MAX_PROMPT;

macro_rules! texts {
    ($($(#[$meaning:meta])* $name:ident = $word:literal ($($placeholder:literal),*);)*) => {
        /// A text, by what it is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Text {
            $($(#[$meaning])* $name,)*
        }

        impl Text {
            /// All of them, in the order of the prompt files.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its key in a prompt file.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// What it may hold in braces.
            pub const fn placeholders(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($placeholder),*],)* }
            }
        }
    };
}

texts! {
    /// Asks for a code beside the password.
    Code = "code" ();
    /// Asks for the other half of a passcode.
    SecondPart = "second-part" ();
    /// Asks for a new password after a passcode.
    PasscodeAccepted = "passcode-accepted" ();
    /// Asks for a new password in place of one that is too old.
    PasswordExpired = "password-expired" ();
    /// Asks for a new password in place of one that somebody else has set.
    PasswordMustChange = "password-must-change" ();
    /// Asks for a new password.
    NewPassword = "new-password" ();
    /// Asks for it again.
    RepeatPassword = "repeat-password" ();
    /// The two were not the same: asks for a new password.
    PasswordsDiffer = "passwords-differ" ();
    /// The directory does not take it, for a reason: asks for another.
    PasswordRefused = "password-refused" ("reason");
    /// A reason.
    ReasonTooShort = "reason-too-short" ();
    /// A reason.
    ReasonTooLong = "reason-too-long" ();
    /// A reason.
    ReasonUsedBefore = "reason-used-before" ();
    /// A reason.
    ReasonTooSoon = "reason-too-soon" ();
    /// A reason.
    ReasonTooSimple = "reason-too-simple" ();
    /// A reason.
    ReasonUnspecified = "reason-unspecified" ();
    /// The end: the password is changed.
    PasswordChanged = "password-changed" ();
    /// The end: it is not.
    PasswordNotChanged = "password-not-changed" ();
    /// The end: the account is unlocked.
    Unlocked = "unlocked" ();
    /// The end: nothing went wrong, and there is nothing more to say.
    Done = "done" ();
    /// Asks which of some options, each a number and its name.
    Choose = "choose" ("options");
    /// An option.
    ChooseUnlock = "choose-unlock" ();
    /// An option.
    ChooseNewPassword = "choose-new-password" ();
    /// An option.
    ChooseEnrol = "choose-enrol" ();
    /// An option.
    ChooseAnswers = "choose-answers" ();
    /// Asks for the first proof of somebody who has forgotten the password.
    RecoveryCode = "recovery-code" ();
    /// Asks for a code of any kind that the person has.
    Factor = "factor" ();
    /// Somebody else has been asked to approve: asks to say when that is done.
    ApprovalAsked = "approval-asked" ("id");
    /// That is not done yet: asks once more.
    ApprovalPending = "approval-pending" ("id");
}

/// The texts of all languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    languages: BTreeMap<Arc<str>, BTreeMap<Text, Arc<str>>>,
    /// The language of clients that name none.
    pub default: Arc<str>,
}

impl Default for Texts {
    fn default() -> Self {
        Self {
            languages: BTreeMap::new(),
            default: ENGLISH.into(),
        }
    }
}

impl Texts {
    /// A text in a language, with `values` in place of the placeholders; on one line of at most [`MAX_PROMPT`]
    /// characters.
    pub fn say(&self, language: Option<&str>, text: Text, values: &[(&str, &str)]) -> String {
        let template = self.template(language.unwrap_or(&self.default), text);
        let mut said: Cow<'_, str> = Cow::Borrowed(template);
        for (name, value) in values {
            said = Cow::Owned(said.replace(&format!("{{{name}}}"), value));
        }
        said.chars()
            .filter(|letter| !letter.is_control())
            .take(MAX_PROMPT)
            .collect()
    }

    fn template(&self, language: &str, text: Text) -> &str {
        let own = self.languages.get(language).and_then(|texts| texts.get(&text));
        own.or_else(|| BUILT_IN.get(&text)).map_or("", |text| text)
    }
}

const ENGLISH: &str = "en";

/// The English texts, as shipped.
static BUILT_IN: LazyLock<BTreeMap<Text, Arc<str>>> = LazyLock::new(|| {
    let texts: BTreeMap<String, String> =
        toml::from_str(include_str!("../../policies/prompts/en.toml")).unwrap_or_default();
    let known = |text: &Text| Some((*text, texts.get(text.key())?.as_str().into()));
    Text::ALL.iter().filter_map(known).collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_there_in_english_and_short_enough() {
        for text in Text::ALL {
            let english = BUILT_IN
                .get(text)
                .unwrap_or_else(|| panic!("{} is missing", text.key()));
            assert!(
                english.chars().count() <= MAX_PROMPT && english.is_ascii(),
                "{}",
                text.key()
            );
        }
    }

    #[test]
    fn placeholders_are_filled() {
        let texts = Texts::default();
        let said = texts.say(None, Text::PasswordRefused, &[("reason", "Too short")]);
        assert_eq!(said, "Too short. New password:");
        assert_eq!(texts.say(Some("xx"), Text::NewPassword, &[]), "New password:");
    }
}
