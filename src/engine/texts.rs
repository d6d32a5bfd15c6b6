//! What is said in dialogs: one line each, at most [`MAX_PROMPT`] characters, in the languages of the prompt files.
//!
//! The languages that are shipped (`policies/prompts`) are built in. A text that a language lacks is said in
//! English.

mod ascii;
mod files;
mod language;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::document::{Faults, Source};
use crate::engine::facts::Person;
use crate::engine::policy::MAX_PROMPT;
use crate::engine::request::Manner;

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
    /// The end: nobody was let in, and nothing is said of the reason.
    Refused = "refused" ();
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
    /// Asks for a code, or for the number of what is to be sent instead.
    CodeOr = "code-or" ("options");
    /// An option: what was chosen last time.
    ChooseUsual = "choose-usual" ();
    /// An option.
    ChooseEmailCode = "choose-email-code" ();
    /// An option.
    ChooseGatewayCode = "choose-gateway-code" ();
    /// An option.
    ChooseApproval = "choose-approval" ();
    /// An option.
    ChooseOcra = "choose-ocra" ();
    /// Asks for what was sent.
    EmailCode = "email-code" ();
    /// Asks for what was sent.
    GatewayCode = "gateway-code" ();
    /// Asks for what was sent in the way that was chosen last time.
    UsualCode = "usual-code" ();
    /// Nothing was sent, and there is no other way.
    NotSent = "not-sent" ();
    /// Nothing was sent: asks again.
    NotSentBut = "not-sent-but" ("question");
    /// Somebody else has been asked to approve: asks to say when that is done.
    ApprovalAsked = "approval-asked" ("id");
    /// That is not done yet: asks once more.
    ApprovalPending = "approval-pending" ("id");
    /// Shows the key of a token that is being enrolled, and asks for its first code.
    EnrolKey = "enrol-key" ("key");
    /// Asks for the code after it.
    EnrolNext = "enrol-next" ();
    /// Reminds somebody who is let in without a second factor for the time being.
    EnrolReminder = "enrol-reminder" ("until");
    /// The end: the token is enrolled.
    Enrolled = "enrolled" ();
    /// Shows a challenge and asks for the response of an offline token.
    Ocra = "ocra" ("challenge");
    /// Asks for a code, or for the response of an offline token.
    CodeOrOcra = "code-or-ocra" ("challenge");
    /// Asks for an answer that is to be kept, one of several.
    DefineAnswer = "define-answer" ("number", "count", "question");
    /// An answer is not taken, for a reason: asks for another.
    AnswerRefused = "answer-refused" ("reason", "question");
    /// A reason.
    AnswerTooShort = "answer-too-short" ("length");
    /// A reason.
    AnswerTooLong = "answer-too-long" ("length");
    /// A reason.
    AnswerBlocked = "answer-blocked" ();
    /// A reason.
    AnswerInQuestion = "answer-in-question" ();
    /// A reason.
    AnswerLoginName = "answer-login-name" ();
    /// A reason.
    AnswerDuplicate = "answer-duplicate" ();
}

/// The texts of all languages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    languages: Languages,
    default: Arc<str>,
    /// The attribute that names people's languages, in lower case, by directory.
    preferred: BTreeMap<Arc<str>, Arc<str>>,
}

/// The texts of each language, by the language's name in lower case; English has all.
type Languages = BTreeMap<Arc<str>, BTreeMap<Text, Arc<str>>>;

impl Default for Texts {
    fn default() -> Self {
        Self {
            languages: BUILT_IN.clone(),
            default: ENGLISH.into(),
            preferred: BTreeMap::new(),
        }
    }
}

impl Texts {
    /// Reads prompt files, each named after its language; what they do not replace stays as it is built in.
    pub fn parse(sources: &[Source], faults: &mut Faults) -> Self {
        let mut texts = Self::default();
        files::parse(sources, &mut texts.languages, faults);
        texts
    }

    /// The languages there are, by name, in order.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.languages.keys().map(|name| &**name)
    }

    /// The language of this name, in whatever case.
    pub fn language(&self, name: &str) -> Option<&Arc<str>> {
        let name = name.to_lowercase();
        self.languages.get_key_value(name.as_str()).map(|(name, _)| name)
    }

    /// The language of clients that name none.
    pub fn default_language(&self) -> &str {
        &self.default
    }

    /// Says everything in this language where nobody asks for another: one of [`Texts::languages`].
    pub fn set_default(&mut self, language: Arc<str>) {
        self.default = language;
    }

    /// Takes the language of a directory's people from this attribute of theirs.
    pub fn prefer(&mut self, directory: &str, attribute: &str) {
        self.preferred.insert(directory.into(), attribute.to_lowercase().into());
    }

    /// How texts are said to whoever sits at a client with such a manner. `person` is for whom something was
    /// proven to be right, and nobody else: a text in somebody's own language tells that there is somebody.
    pub fn voice<'a>(&'a self, manner: &'a Manner, person: Option<&Person>) -> Voice<'a> {
        let own = person.and_then(|person| self.own_language(person));
        Voice {
            texts: self,
            language: own.or(manner.language.as_deref()).unwrap_or(&self.default),
            ascii: manner.ascii,
        }
    }

    /// The first language that a person would like and that there is.
    fn own_language(&self, person: &Person) -> Option<&str> {
        let attribute = self.preferred.get(&person.directory)?;
        let values = person.attributes.get(&**attribute)?;
        values
            .iter()
            .find_map(|value| language::choose(value, |name| self.language(name)))
            .map(|name| &**name)
    }

    fn template(&self, language: &str, text: Text) -> &str {
        let of = |language| self.languages.get(language).and_then(|texts| texts.get(&text));
        of(language).or_else(|| of(ENGLISH)).map_or("", |text| text)
    }
}

/// Texts in one language, for one client.
#[derive(Clone, Copy, Debug)]
pub struct Voice<'a> {
    texts: &'a Texts,
    language: &'a str,
    ascii: bool,
}

impl<'a> Voice<'a> {
    /// The language: one of [`Texts::languages`], unless the client's was taken away.
    pub const fn language(&self) -> &'a str {
        self.language
    }

    /// A text with `values` in place of its placeholders; on one line of at most [`MAX_PROMPT`] characters.
    pub fn say(&self, text: Text, values: &[(&str, &str)]) -> String {
        let mut template = self.texts.template(self.language, text);
        // Better in English than in question marks.
        if self.ascii && !ascii::can_write(template) {
            template = self.texts.template(ENGLISH, text);
        }
        self.line(fill(template, values))
    }

    /// A text that is not from a prompt file, as this client can show it; on one line as well.
    pub fn write<'t>(&self, text: impl Into<Cow<'t, str>>) -> String {
        self.line(text.into())
    }

    fn line(&self, text: Cow<'_, str>) -> String {
        let text = if self.ascii { ascii::write(text) } else { text };
        one_line(text)
    }
}

/// A text that is passed on as it is, as far as a client with such a manner can show it.
pub fn shown(text: String, manner: &Manner) -> String {
    if manner.ascii {
        ascii::write(Cow::Owned(text)).into_owned()
    } else {
        text
    }
}

/// What stands between braces is replaced by its value, once; what has none stays.
fn fill<'t>(template: &'t str, values: &[(&str, &str)]) -> Cow<'t, str> {
    if values.is_empty() {
        return Cow::Borrowed(template);
    }
    let mut filled = String::with_capacity(MAX_PROMPT);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        rest = after;
        let value = rest.split_once('}').and_then(|(name, behind)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((*value, behind))
        });
        match value {
            Some((value, behind)) => {
                filled.push_str(value);
                rest = behind;
            }
            None => filled.push('{'),
        }
    }
    filled.push_str(rest);
    Cow::Owned(filled)
}

fn one_line(text: Cow<'_, str>) -> String {
    let fits = |text: &str| text.len() <= MAX_PROMPT && !text.chars().any(is_unfit);
    if fits(&text) {
        return text.into_owned();
    }
    let mut line = String::with_capacity(text.len().min(MAX_OCTETS));
    for letter in text.chars().filter(|letter| !is_unfit(*letter)).take(MAX_PROMPT) {
        if line.len() + letter.len_utf8() > MAX_OCTETS {
            break;
        }
        line.push(letter);
    }
    line
}

/// Characters that would end the line, or show others in another place than they stand.
fn is_unfit(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Longest text in octets: one Reply-Message (RFC 2865 section 5.18).
const MAX_OCTETS: usize = 253;

const ENGLISH: &str = "en";

/// The texts as shipped.
static BUILT_IN: LazyLock<Languages> = LazyLock::new(|| {
    let mut languages = Languages::new();
    let sources = SHIPPED.map(|(name, text)| Source::new(Path::new(name), text));
    files::parse(&sources, &mut languages, &mut Faults::default());
    languages
});

const SHIPPED: [(&str, &str); 3] = [
    ("en.toml", include_str!("../../policies/prompts/en.toml")),
    ("de.toml", include_str!("../../policies/prompts/de.toml")),
    ("fr.toml", include_str!("../../policies/prompts/fr.toml")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;

    fn manner(language: Option<&str>, ascii: bool) -> Manner {
        Manner {
            language: language.map(Arc::from),
            ascii,
            ..Manner::default()
        }
    }

    fn person(value: &str) -> Person {
        Person {
            key: UserKey::new("corp", "1"),
            directory: "corp".into(),
            dn: "uid=ana,dc=example,dc=org".into(),
            login: "ana".into(),
            groups: Vec::new(),
            attributes: [("preferredlanguage".to_owned(), vec![value.to_owned()])].into(),
            enabled: true,
            manager: None,
            sso_managed: None,
        }
    }

    #[test]
    fn every_shipped_language_is_whole_and_sound() {
        let mut faults = Faults::default();
        let sources = SHIPPED.map(|(name, text)| Source::new(Path::new(name), text));
        files::parse(&sources, &mut Languages::new(), &mut faults);
        assert!(faults.0.is_empty(), "{faults}");
        assert_eq!(BUILT_IN.len(), SHIPPED.len());
        for (name, texts) in &*BUILT_IN {
            for text in Text::ALL {
                assert!(texts.contains_key(text), "{} is missing in {name}.toml", text.key());
                assert!(ascii::can_write(&texts[text]), "{name}: {}", texts[text]);
            }
        }
        assert!(BUILT_IN[ENGLISH].values().all(|text| text.is_ascii()));
    }

    #[test]
    fn a_shipped_file_that_cannot_be_read_would_be_found() {
        for (name, text) in SHIPPED {
            let said_twice = format!("{text}\nrefused = \"again\"\n");
            for broken in [said_twice, format!("{text}\nrefused =\n")] {
                let mut faults = Faults::default();
                files::parse(
                    &[Source::new(Path::new(name), broken)],
                    &mut Languages::new(),
                    &mut faults,
                );
                assert!(faults.any_errors(), "{name}");
            }
        }
    }

    #[test]
    fn placeholders_are_filled_once() {
        let texts = Texts::default();
        let manner = Manner::default();
        let voice = texts.voice(&manner, None);
        assert_eq!(
            voice.say(Text::PasswordRefused, &[("reason", "Too short")]),
            "Too short. New password:"
        );
        assert_eq!(
            voice.say(Text::PasswordRefused, &[("reason", "{reason}{")]),
            "{reason}{. New password:"
        );
        assert_eq!(
            voice.say(Text::PasswordRefused, &[("other", "x")]),
            "{reason}. New password:"
        );
    }

    #[test]
    fn a_text_is_one_line_that_fits_one_attribute() {
        let texts = Texts::default();
        let manner = Manner::default();
        let voice = texts.voice(&manner, None);
        assert_eq!(voice.write("a\u{7}b\r\nc\u{2028}d\u{202e}e"), "abcde");
        assert_eq!(voice.write("x".repeat(300)).len(), MAX_PROMPT);
        let wide = voice.write("\u{6f22}".repeat(300));
        assert_eq!(wide.chars().count(), 84, "three octets each");
    }

    #[test]
    fn the_language_is_the_clients_until_the_person_is_known() {
        let mut texts = Texts::default();
        let said = |texts: &Texts, manner: &Manner, person: Option<&Person>| {
            texts.voice(manner, person).say(Text::NewPassword, &[])
        };
        let (german, plain) = (manner(Some("de"), false), manner(None, false));
        let ana = person("fr-CA, de;q=0.5");
        assert_eq!(said(&texts, &plain, None), "New password:");
        assert_eq!(said(&texts, &german, None), "Neues Passwort:");
        assert_eq!(said(&texts, &german, Some(&ana)), "Neues Passwort:", "not asked for");
        texts.prefer("corp", "preferredLanguage");
        assert_eq!(said(&texts, &german, Some(&ana)), "Nouveau mot de passe :");
        assert_eq!(said(&texts, &german, None), "Neues Passwort:");
        assert_eq!(said(&texts, &german, Some(&person("xx"))), "Neues Passwort:");
        texts.set_default("fr".into());
        assert_eq!(said(&texts, &plain, None), "Nouveau mot de passe :");
        assert_eq!(
            texts
                .voice(&manner(Some("xx"), false), None)
                .say(Text::NewPassword, &[]),
            "New password:",
            "a language that there is no more"
        );
    }

    #[test]
    fn ascii_clients_are_told_in_ascii() {
        let source = Source::new(Path::new("ru.toml"), "new-password = \"\u{041d}\u{043e}\u{0432}\"\n");
        let mut faults = Faults::default();
        let texts = Texts::parse(&[source], &mut faults);
        let said = |language, text| texts.voice(&manner(Some(language), true), None).say(text, &[]);
        assert_eq!(said("de", Text::SecondPart), "Zweiter Teil, von Ihrer Fuehrungskraft:");
        assert_eq!(said("ru", Text::NewPassword), "New password:", "rather than ???");
        let asked = manner(Some("de"), true);
        let voice = texts.voice(&asked, None);
        assert_eq!(voice.write("\u{201e}Stra\u{df}e\u{201c}?"), "\"Strasse\"?");
        for (language, known) in &texts.languages {
            for text in known.keys() {
                assert!(said(language, *text).is_ascii(), "{language}: {}", text.key());
            }
        }
    }
}
