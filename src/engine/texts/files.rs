//! Reading prompt files, and what is wrong with them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::document::{Document, Fault, Faults, Source, nearest};
use crate::engine::authenticator::enrolling::TotpKey;
use crate::engine::login::ask;
use crate::engine::policy::MAX_PROMPT;
use crate::engine::texts::{ENGLISH, Languages, MAX_OCTETS, Text, ascii, fill, is_unfit};
use crate::engine::workflow::Action;

/// Reads each file into its language, over what is there already.
pub(super) fn parse(sources: &[Source], languages: &mut Languages, faults: &mut Faults) {
    // English first: what another language lacks is English.
    let english = |source: &&Source| name(source).as_deref() == Some(ENGLISH);
    for source in sources.iter().filter(english) {
        read(source, ENGLISH, languages, faults);
    }
    for source in sources.iter().filter(|source| !english(source)) {
        match name(source) {
            Some(language) => read(source, &language, languages, faults),
            None => faults.file(
                source.file(),
                "is not named after a language; name it like de.toml or pt-br.toml",
            ),
        }
    }
}

/// The language that a file is named after: a tag (RFC 5646) in lower case.
fn name(source: &Source) -> Option<String> {
    let name = source.file().file_stem()?.to_str()?;
    let (language, rest) = name.split_once('-').unwrap_or((name, "x"));
    let letters = |part: &str| part.bytes().all(|octet| octet.is_ascii_lowercase());
    let plain = |part: &str| {
        (1..=8).contains(&part.len())
            && part
                .bytes()
                .all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit())
    };
    ((2..=3).contains(&language.len()) && letters(language) && rest.split('-').all(plain)).then(|| name.to_owned())
}

fn read(source: &Source, language: &str, languages: &mut Languages, faults: &mut Faults) {
    let Some(document) = Document::parse(source, faults) else {
        return;
    };
    let keys: Vec<&str> = Text::ALL.iter().map(|text| text.key()).collect();
    document.only(&keys, faults);
    let mut own: BTreeMap<Text, Arc<str>> = languages.get(language).cloned().unwrap_or_default();
    for text in Text::ALL {
        let at = [text.key()];
        match document.text(&at) {
            Some(written) => {
                own.insert(*text, written.into());
            }
            None if document.has(&at) => faults.0.push(document.fault(&at, "is not a text; put it in quotes")),
            None => {}
        }
    }
    let spoken = Spoken {
        own: &own,
        english: languages.get(ENGLISH),
    };
    for text in Text::ALL {
        if let Some(written) = document.text(&[text.key()]) {
            faults.0.extend(check(*text, written, &spoken, &document));
        }
    }
    let missing: Vec<&str> = Text::ALL
        .iter()
        .filter(|text| !own.contains_key(text))
        .map(|text| text.key())
        .collect();
    if !missing.is_empty() {
        let message = format!("has no text for {}, which will be said in English", missing.join(", "));
        faults.warn_file(source.file(), message);
    }
    languages.insert(language.into(), own);
}

/// What is wrong with one text.
fn check(text: Text, written: &str, spoken: &Spoken<'_>, document: &Document<'_>) -> Option<Fault> {
    let at = [text.key()];
    if written.trim().is_empty() {
        return Some(document.fault(&at, "is empty; remove it to have it said as shipped"));
    }
    if written.chars().any(is_unfit) {
        let message = "has a line break or another control character; write it on one line";
        return Some(document.fault(&at, message));
    }
    let known = text.placeholders();
    let found = match placeholders(written) {
        Ok(found) => found,
        Err(message) => return Some(document.fault(&at, message)),
    };
    if let Some(strange) = found.iter().find(|name| !known.contains(name)) {
        let there_is = match (nearest(strange, known), known) {
            (Some(near), _) => format!("did you mean {{{near}}}?"),
            (None, []) => "nothing is filled into this text".into(),
            (None, known) => format!("there is {{{}}}", known.join("}, {")),
        };
        return Some(document.fault(&at, format!("has {{{strange}}}, which is not filled in; {there_is}")));
    }
    if let Some(lacking) = known.iter().find(|name| !found.contains(name)) {
        return Some(document.fault(&at, format!("lacks {{{lacking}}}, without which it says too little")));
    }
    let longest = spoken.filled(text, written);
    let filled = if known.is_empty() { "" } else { ", filled in," };
    let letters = longest.chars().count();
    if letters > MAX_PROMPT {
        let message = format!("has{filled} {letters} characters; at most {MAX_PROMPT} are shown");
        return Some(document.fault(&at, message));
    }
    if longest.len() > MAX_OCTETS {
        let message = format!(
            "takes{filled} {} octets; one RADIUS attribute holds {MAX_OCTETS}",
            longest.len()
        );
        return Some(document.fault(&at, message));
    }
    let plain = ascii::write(longest).len();
    (plain > MAX_PROMPT).then(|| {
        let message = format!(
            "comes{filled} to {plain} characters for clients with ascii = true, which are shown the first {MAX_PROMPT}"
        );
        document.warning(&at, message)
    })
}

/// The names between braces.
fn placeholders(written: &str) -> Result<Vec<&str>, &'static str> {
    let mut names = Vec::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('{') {
        if before.contains('}') {
            return Err("has a `}` without its `{`");
        }
        let Some((name, behind)) = after.split_once('}') else {
            return Err("has a `{` without its `}`");
        };
        names.push(name);
        rest = behind;
    }
    if rest.contains('}') {
        return Err("has a `}` without its `{`");
    }
    Ok(names)
}

/// What a language says, for telling how long texts become.
struct Spoken<'a> {
    own: &'a BTreeMap<Text, Arc<str>>,
    english: Option<&'a BTreeMap<Text, Arc<str>>>,
}

impl Spoken<'_> {
    /// A text with the longest values in place of its placeholders.
    fn filled<'t>(&self, text: Text, written: &'t str) -> Cow<'t, str> {
        let names = text.placeholders().iter();
        let values: Vec<(&str, String)> = names.map(|name| (*name, self.longest(text, name))).collect();
        let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fill(written, &values)
    }

    /// The longest sensible value of a placeholder of a text.
    fn longest(&self, text: Text, placeholder: &str) -> String {
        match placeholder {
            "reason" => {
                let prefix = if text == Text::AnswerRefused { ANSWER } else { "reason-" };
                let reasons = Text::ALL.iter().filter(|reason| reason.key().starts_with(prefix));
                self.longest_of(reasons.filter(|reason| **reason != Text::AnswerRefused).copied())
            }
            "options" => self.longest_options(text),
            // What is asked again is what was asked before: the ways there are.
            "question" if text == Text::NotSentBut => self.longest_of([Text::CodeOr, Text::Choose].into_iter()),
            "key" => "x".repeat(TotpKey::SHOWN),
            "number" | "count" | "length" => "20".into(),
            "question" => "x".repeat(QUESTION),
            _ => "x".repeat(USUAL),
        }
    }

    /// All that can be chosen where this text asks: ways to prove a factor, and for [`Text::Choose`] what is to be done
    /// as well.
    fn longest_options(&self, text: Text) -> String {
        let ways = self.numbered(0, " ", ask::options());
        let actions = self.numbered(1, "  ", Action::ALL.into_iter().map(Action::text));
        let longer = text == Text::Choose && actions.chars().count() > ways.chars().count();
        if longer { actions } else { ways }
    }

    fn numbered(&self, first: usize, between: &str, options: impl Iterator<Item = Text>) -> String {
        let options = (first..).zip(options.map(|option| self.written(option)));
        let options: Vec<String> = options.map(|(number, option)| format!("{number} {option}")).collect();
        options.join(between)
    }

    /// The longest of some texts, filled in.
    fn longest_of(&self, texts: impl Iterator<Item = Text>) -> String {
        let filled = texts.map(|text| self.filled(text, self.written(text)).into_owned());
        filled.max_by_key(|text| text.chars().count()).unwrap_or_default()
    }

    fn written(&self, text: Text) -> &str {
        let english = || self.english?.get(&text);
        self.own.get(&text).or_else(english).map_or("", |text| text)
    }
}

/// What the keys of reasons against an answer start with.
const ANSWER: &str = "answer-";

/// Characters of a long question.
const QUESTION: usize = 60;

/// Characters that a placeholder of no other known length takes.
const USUAL: usize = 24;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::texts::Texts;

    fn faults_of(name: &str, text: &str) -> Vec<String> {
        let mut faults = Faults::default();
        Texts::parse(&[Source::new(Path::new(name), text)], &mut faults);
        faults.0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn faults_of_prompt_files_have_places() {
        let long = "x".repeat(121);
        let text = format!(
            r#"code = "{long}"
repeat-pasword = "again"
factor = 7
second-part = "{{part}}:"
new-password = " "
passwords-differ = "a\nb"
password-refused = "{{reson}}. New password:"
password-changed = "changed {{now"
password-not-changed = "not}} changed"
choose = "Choose:"
done = "\u202eenod"
"#
        );
        assert_eq!(
            faults_of("en.toml", &text),
            [
                "en.toml:2:1: repeat-pasword: unknown key; did you mean `repeat-password`?",
                "en.toml:3:10: factor: is not a text; put it in quotes",
                "en.toml:1:8: code: has 121 characters; at most 120 are shown",
                "en.toml:4:15: second-part: has {part}, which is not filled in; nothing is filled into this text",
                "en.toml:5:16: new-password: is empty; remove it to have it said as shipped",
                "en.toml:6:20: passwords-differ: has a line break or another control character; write it on one line",
                "en.toml:7:20: password-refused: has {reson}, which is not filled in; did you mean {reason}?",
                "en.toml:8:20: password-changed: has a `{` without its `}`",
                "en.toml:9:24: password-not-changed: has a `}` without its `{`",
                "en.toml:11:8: done: has a line break or another control character; write it on one line",
                "en.toml:10:10: choose: lacks {options}, without which it says too little",
            ]
            .map(String::from)
        );
    }

    #[test]
    fn lengths_are_those_of_filled_texts() {
        let reason = "r".repeat(90);
        let text =
            format!("reason-too-short = \"{reason}\"\npassword-refused = \"{{reason}}. Choose another password:\"\n");
        let faults = faults_of("en.toml", &text);
        assert_eq!(faults.len(), 0, "{faults:?}");
        let faults = faults_of("en.toml", &text.replace("Choose another", "Choose another, longer"));
        assert_eq!(
            faults,
            ["en.toml:2:20: password-refused: has, filled in, 124 characters; at most 120 are shown"]
        );
        let wide = "\u{6f22}".repeat(100);
        assert_eq!(
            faults_of("en.toml", &format!("done = \"{wide}\"\n")),
            ["en.toml:1:8: done: takes 300 octets; one RADIUS attribute holds 253"]
        );
        let umlauts = "ä".repeat(61);
        assert_eq!(
            faults_of("en.toml", &format!("done = \"{umlauts}\"\n")),
            [
                "en.toml:1:8: warning: done: comes to 122 characters for clients with ascii = true, which are shown the first 120"
            ]
        );
    }

    #[test]
    fn options_are_those_of_the_text_that_lists_them() {
        let long = "x".repeat(100);
        let text = |key: &str| format!("{key} = \"{long}\"\n");
        let complaint = |key, column: usize, letters: usize| {
            format!("en.toml:2:{column}: {key}: has, filled in, {letters} characters; at most 120 are shown")
        };
        let listing = |option: &str| {
            let lists = "code-or = \"Code, or {options}:\"\nchoose = \"{options}:\"\n";
            let faults = faults_of("en.toml", &format!("{}{lists}", text(option)));
            faults
                .iter()
                .map(|fault| fault.split(' ').nth(1).unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(listing("choose-unlock"), ["choose:"]);
        assert_eq!(listing("choose-ocra"), ["choose:", "code-or:"]);
        let ways = "Could not be sent. Code, or 0 usual 1 e-mail 2 text message 3 offline 4 approval:";
        let again = format!("not-sent-but = \"{}{{question}}\"\n", "x".repeat(60));
        let filled = 60 + ways.len() - "Could not be sent. ".len();
        assert_eq!(
            faults_of("en.toml", &format!("done = \"x\"\n{again}")),
            [complaint("not-sent-but", 16, filled)]
        );
    }

    #[test]
    fn what_a_language_lacks_is_named() {
        let keys = |except: &str| {
            let all = Text::ALL.iter().filter(|text| text.key() != except);
            all.map(|text| {
                let places: Vec<String> = text.placeholders().iter().map(|name| format!("{{{name}}}")).collect();
                format!("{} = \"x{}\"\n", text.key(), places.join(""))
            })
            .collect::<String>()
        };
        assert_eq!(faults_of("it.toml", &keys("")), [""; 0]);
        assert_eq!(
            faults_of("it.toml", &keys("done")),
            ["it.toml: warning: has no text for done, which will be said in English"]
        );
        assert_eq!(
            faults_of("de.toml", "done = \"Fertig.\"\n"),
            [""; 0],
            "the rest is built in"
        );
    }

    #[test]
    fn files_are_named_after_languages() {
        for name in [
            "de_DE.toml",
            "German.toml",
            "d.toml",
            "de-.toml",
            "DE.toml",
            "backup of de.toml",
        ] {
            assert_eq!(
                faults_of(name, ""),
                [format!(
                    "{name}: is not named after a language; name it like de.toml or pt-br.toml"
                )]
            );
        }
        for name in ["pt-br.toml", "zh-hant-tw.toml", "nds.toml"] {
            let faults = faults_of(name, "");
            assert!(
                faults.len() == 1 && faults[0].contains("warning: has no text for"),
                "{faults:?}"
            );
        }
    }
}
