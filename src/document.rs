//! TOML documents whose every fault has a place: file, line, column, key, and a remedy.
//!
//! A document is read section by section, so that one fault does not hide the others.

use std::fmt;
use std::fs;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Works, but probably not as meant.
    Warning,
    /// Does not work.
    Error,
}

/// One thing that is wrong with a file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// From 1; zero when the whole file is meant.
    pub line: usize,
    /// From 1; zero when the whole file is meant.
    pub column: usize,
    /// The key, as a dotted path; empty when none is meant.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(match self.severity {
            Severity::Warning => ": warning: ",
            Severity::Error => ": ",
        })?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

/// A place in a file, kept for what may turn out to be wrong with it later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// The file.
    pub file: PathBuf,
    /// From 1; zero when the whole file is meant.
    pub line: usize,
    /// From 1; zero when the whole file is meant.
    pub column: usize,
    /// The key, as a dotted path; empty when none is meant.
    pub key: String,
}

impl Spot {
    /// What does not work there.
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        Fault {
            severity: Severity::Error,
            file: self.file.clone(),
            line: self.line,
            column: self.column,
            key: self.key.clone(),
            message: message.into(),
        }
    }

    /// What works there, but is probably not meant.
    pub fn warning(&self, message: impl Into<String>) -> Fault {
        Fault {
            severity: Severity::Warning,
            ..self.fault(message)
        }
    }
}

/// `file:line`
impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// All that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Whether anything does not work.
    pub fn any_errors(&self) -> bool {
        self.0.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// Something about a file as a whole that works but is probably not meant.
    pub fn warn_file(&mut self, file: &Path, message: impl Into<String>) {
        self.file(file, message);
        if let Some(last) = self.0.last_mut() {
            last.severity = Severity::Warning;
        }
    }

    /// A fault of a file as a whole.
    pub fn file(&mut self, file: &Path, message: impl Into<String>) {
        self.0.push(Fault {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
        });
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The text of a file.
#[derive(Clone, Debug)]
pub struct Source {
    file: PathBuf,
    text: String,
}

impl Source {
    /// Largest file read, in octets.
    const MAX_OCTETS: u64 = 16 << 20;

    /// Reads a file of UTF-8 text; what is wrong with it goes to `faults`.
    pub fn read(file: &Path, faults: &mut Faults) -> Option<Self> {
        let size = match fs::metadata(file) {
            Ok(metadata) => metadata.len(),
            Err(error) => {
                faults.file(file, format!("cannot be read: {error}"));
                return None;
            }
        };
        if size > Self::MAX_OCTETS {
            faults.file(
                file,
                format!("has {size} octets; a file this large is not a configuration"),
            );
            return None;
        }
        // What is no file (a device, a pipe) has no size that could be asked for.
        let mut text = String::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
        let read = fs::File::open(file).and_then(|opened| opened.take(Self::MAX_OCTETS + 1).read_to_string(&mut text));
        match read {
            Ok(octets) if u64::try_from(octets).is_ok_and(|octets| octets > Self::MAX_OCTETS) => {
                faults.file(file, "has no end; it is not a configuration");
                None
            }
            Ok(_) => Some(Self::new(file, text)),
            Err(error) => {
                faults.file(file, format!("cannot be read: {error}"));
                None
            }
        }
    }

    /// Takes a text that stands for a file.
    pub fn new(file: &Path, text: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            text: text.into(),
        }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file's path.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Line and column, from 1, of an octet offset.
    pub fn place(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset.min(self.text.len())).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
        (line, column)
    }

    fn fault(&self, span: Option<Range<usize>>, key: &str, message: impl Into<String>) -> Fault {
        let (line, column) = span.map_or((0, 0), |span| self.place(span.start));
        Fault {
            severity: Severity::Error,
            file: self.file.clone(),
            line,
            column,
            key: key.to_owned(),
            message: message.into(),
        }
    }
}

/// A parsed document.
pub struct Document<'s> {
    source: &'s Source,
    root: Spanned<DeTable<'s>>,
}

impl<'s> Document<'s> {
    /// Parses a text; `None`, and faults, when it is not TOML.
    pub fn parse(source: &'s Source, faults: &mut Faults) -> Option<Self> {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        if errors.is_empty() {
            return Some(Self { source, root });
        }
        for error in errors {
            faults.0.push(source.fault(error.span(), "", error.message().trim()));
        }
        None
    }

    /// Reports every top-level key that is not in `known`.
    pub fn only(&self, known: &[&str], faults: &mut Faults) {
        for key in self.root.get_ref().keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let hint = nearest(name, known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                faults
                    .0
                    .push(self.source.fault(Some(key.span()), name, format!("unknown key{hint}")));
            }
        }
    }

    /// The table `key`, or the default when there is none; faults inside it are reported.
    pub fn section<T: DeserializeOwned + Default>(&self, key: &str, faults: &mut Faults) -> T {
        match self.root.get_ref().get(key) {
            Some(value) => self.read(value, key, &[], faults).unwrap_or_default(),
            None => T::default(),
        }
    }

    /// The tables of the array `key` with their indices, as far as they can be read.
    pub fn items<T: DeserializeOwned>(&self, key: &str, faults: &mut Faults) -> Vec<(usize, T)> {
        let Some(value) = self.root.get_ref().get(key) else {
            return Vec::new();
        };
        let Some(array) = value.get_ref().as_array() else {
            let message = format!(
                "is a {}; write [[{key}]] above each of them",
                value.get_ref().type_str()
            );
            faults.0.push(self.source.fault(Some(value.span()), key, message));
            return Vec::new();
        };
        let read = |(index, item): (usize, &Spanned<DeValue<'s>>)| {
            Some((index, self.read(item, &format!("{key}[{index}]"), &[], faults)?))
        };
        array.iter().enumerate().filter_map(read).collect()
    }

    /// A string under `path`, if it is one: for choosing what to read a table as.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        self.find(path)?.get_ref().as_str()
    }

    /// One item of the array `key`; the keys in `known` have been read already.
    pub fn item<T: DeserializeOwned>(&self, key: &str, index: usize, known: &[&str], faults: &mut Faults) -> Option<T> {
        let item = self.root.get_ref().get(key)?.get_ref().as_array()?.get(index)?;
        self.read(item, &format!("{key}[{index}]"), known, faults)
    }

    /// How many items the array `key` has.
    pub fn count(&self, key: &str) -> usize {
        self.root
            .get_ref()
            .get(key)
            .and_then(|value| value.get_ref().as_array())
            .map_or(0, |array| array.len())
    }

    /// Whether there is something under `path`.
    pub fn has(&self, path: &[&str]) -> bool {
        self.find(path).is_some()
    }

    /// Makes a fault at `path` (names, and indices as digits), or at the nearest enclosing table.
    pub fn fault(&self, path: &[&str], message: impl Into<String>) -> Fault {
        let span = (0..=path.len())
            .rev()
            .find_map(|length| self.find(path.get(..length)?))
            .map(Spanned::span);
        self.source.fault(span, &shown(path), message)
    }

    /// Like [`Document::fault`], for what works but is probably not meant.
    pub fn warning(&self, path: &[&str], message: impl Into<String>) -> Fault {
        Fault {
            severity: Severity::Warning,
            ..self.fault(path, message)
        }
    }

    /// The place of what stands under `path`, or of the nearest enclosing table.
    pub fn spot(&self, path: &[&str]) -> Spot {
        let fault = self.fault(path, "");
        Spot {
            file: fault.file,
            line: fault.line,
            column: fault.column,
            key: fault.key,
        }
    }

    fn find(&self, path: &[&str]) -> Option<&Spanned<DeValue<'s>>> {
        let (first, rest) = path.split_first()?;
        let mut at = self.root.get_ref().get(*first)?;
        for step in rest {
            at = match at.get_ref() {
                DeValue::Table(table) => table.get(*step)?,
                DeValue::Array(array) => array.get(step.parse::<usize>().ok()?)?,
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_) => return None,
            };
        }
        Some(at)
    }

    fn read<T: DeserializeOwned>(
        &self,
        value: &Spanned<DeValue<'s>>,
        key: &str,
        known: &[&str],
        faults: &mut Faults,
    ) -> Option<T> {
        let mut unknown = Vec::new();
        let deserializer = ValueDeserializer::from(value.clone());
        // A step into a table that may be absent is written as `?`; it is no key.
        let note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string().replace(".?", ""));
        let result = serde_ignored::deserialize(deserializer, note);
        for path in unknown.iter().filter(|path| !known.contains(&path.as_str())) {
            let steps: Vec<&str> = path.split('.').collect();
            let span = key_span(value, &steps).unwrap_or_else(|| value.span());
            let hint = match (steps.as_slice(), names_in::<T>()) {
                ([name], Some(names)) => nearest(name, names),
                _ => None,
            };
            let hint = hint.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            faults.0.push(
                self.source
                    .fault(Some(span), &format!("{key}.{path}"), format!("unknown key{hint}")),
            );
        }
        match result {
            Ok(read) => Some(read),
            Err(error) => {
                let error: toml::de::Error = error;
                let span = error
                    .span()
                    .filter(|span| !span.is_empty())
                    .unwrap_or_else(|| value.span());
                let key = key_at(value, span.start, key.to_owned());
                faults
                    .0
                    .push(self.source.fault(Some(span), &key, plainly(error.message().trim())));
                None
            }
        }
    }
}

/// Spans of time written as `30s`, `15m`, `1h 30m`.
pub mod span {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    /// Reads a span of time.
    ///
    /// # Errors
    /// For anything that is not one, and for negative ones.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok())
            .or_else(|| days(&text))
            .ok_or_else(|| {
                D::Error::custom(format!(
                    "`{text}` is not a span of time; write `30s`, `15m` or `1h 30m`"
                ))
            })
    }

    /// Whole days, of 24 hours.
    fn days(text: &str) -> Option<Duration> {
        let days: u64 = text.trim().strip_suffix('d')?.trim().parse().ok()?;
        days.checked_mul(86_400).map(Duration::from_secs)
    }

    /// A span of time that may be absent.
    pub mod option {
        use std::time::Duration;

        use serde::Deserializer;

        /// Reads a span of time.
        ///
        /// # Errors
        /// As [`super::deserialize`].
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            super::deserialize(deserializer).map(Some)
        }
    }
}

/// The keys that a table read as `T` may have; `None` when `T` is no plain table.
fn names_in<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    /// Answers no question but which fields are asked for.
    struct Asked<'n>(&'n mut Option<&'static [&'static str]>);

    impl<'de> Deserializer<'de> for Asked<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(Self::Error::custom("has no names"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = Some(fields);
            Err(Self::Error::custom("has no values"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut names = None;
    // It always fails: what counts is what was asked for.
    let _ = T::deserialize(Asked(&mut names)).is_ok();
    names
}

/// What a deserializer says, without the words of the programming language.
fn plainly(message: &str) -> String {
    const LIMITS: [(&str, u64); 3] = [
        ("u8", u8::MAX as u64),
        ("u16", u16::MAX as u64),
        ("u32", u32::MAX as u64),
    ];
    if message == "invalid socket address syntax" {
        return "is not an address with a port; write `192.0.2.1:1812` or `[2001:db8::1]:1812`, and no host name"
            .into();
    }
    if let Some((before, kind)) = message.rsplit_once(", expected ") {
        if let Some((_, most)) = LIMITS.iter().find(|(name, _)| *name == kind) {
            return format!("{before}, expected a whole number from 0 to {most}");
        }
        if kind.starts_with("struct ") {
            return format!("{before}, expected a table");
        }
        if matches!(kind, "u64" | "usize") {
            return format!("{before}, expected a whole number from 0");
        }
    }
    message.to_owned()
}

/// The key, below `key`, of the innermost value that the offset lies in.
fn key_at(value: &Spanned<DeValue<'_>>, offset: usize, key: String) -> String {
    match value.get_ref() {
        DeValue::Table(table) => match table.iter().find(|(_, inner)| covers(inner, offset)) {
            Some((name, inner)) => key_at(inner, offset, format!("{key}.{}", name.get_ref())),
            None => key,
        },
        DeValue::Array(array) => match array.iter().enumerate().find(|(_, inner)| covers(inner, offset)) {
            Some((index, inner)) => key_at(inner, offset, format!("{key}[{index}]")),
            None => key,
        },
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            key
        }
    }
}

/// Whether the offset lies in the value. The span of a table under a header of its own is the header's alone.
fn covers(value: &Spanned<DeValue<'_>>, offset: usize) -> bool {
    value.span().contains(&offset)
        || match value.get_ref() {
            DeValue::Table(table) => table.iter().any(|(_, inner)| covers(inner, offset)),
            DeValue::Array(array) => array.iter().any(|inner| covers(inner, offset)),
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_) => false,
        }
}

fn key_span(value: &Spanned<DeValue<'_>>, steps: &[&str]) -> Option<Range<usize>> {
    let (first, rest) = steps.split_first()?;
    match value.get_ref() {
        DeValue::Table(table) => {
            let (key, inner) = table.iter().find(|(key, _)| key.get_ref() == first)?;
            if rest.is_empty() {
                Some(key.span())
            } else {
                key_span(inner, rest)
            }
        }
        DeValue::Array(array) => key_span(array.get(first.parse::<usize>().ok()?)?, rest),
        DeValue::String(_) | DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            None
        }
    }
}

fn shown(path: &[&str]) -> String {
    let mut text = String::new();
    for step in path {
        if step.bytes().all(|octet| octet.is_ascii_digit()) {
            text.push_str(&format!("[{step}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(step);
        }
    }
    text
}

/// The known word that differs least from `word`, if it is close.
pub fn nearest<'w>(word: &str, known: &[&'w str]) -> Option<&'w str> {
    known
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (index, from) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        if let Some(first) = row.first_mut() {
            *first = before;
        }
        for (cell, to) in row.iter_mut().skip(1).zip(right.chars()) {
            let best = (diagonal + usize::from(from != to)).min(*cell + 1).min(before + 1);
            diagonal = *cell;
            *cell = best;
            before = best;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Section {
        size: u8,
        name: String,
    }

    #[test]
    fn faults_are_told_without_the_words_of_the_language() {
        for (said, told) in [
            (
                "invalid value: integer `99999`, expected u16",
                "invalid value: integer `99999`, expected a whole number from 0 to 65535",
            ),
            (
                "invalid value: integer `-1`, expected u64",
                "invalid value: integer `-1`, expected a whole number from 0",
            ),
            (
                "invalid type: string \"x\", expected a boolean",
                "invalid type: string \"x\", expected a boolean",
            ),
            (
                "invalid type: boolean `true`, expected struct ProxyProtocol",
                "invalid type: boolean `true`, expected a table",
            ),
        ] {
            assert_eq!(plainly(said), told);
        }
        let error = "127.0.0.1".parse::<std::net::SocketAddr>().unwrap_err();
        assert!(
            plainly(&error.to_string()).starts_with("is not an address with a port"),
            "{error}"
        );
    }

    #[test]
    fn the_keys_of_a_table_are_known() {
        assert_eq!(names_in::<Section>(), Some(["size", "name"].as_slice()));
        assert_eq!(names_in::<String>(), None);
        assert_eq!(names_in::<Vec<Section>>(), None);
    }

    #[test]
    fn faults_in_tables_below_an_item_name_the_key() {
        #[derive(Deserialize)]
        struct Item {
            #[expect(dead_code, reason = "only read")]
            below: Section,
        }
        let source = Source::new(Path::new("t.toml"), "[[c]]\n[c.below]\nsize = \"x\"\n");
        let mut faults = Faults::default();
        let document = Document::parse(&source, &mut faults).unwrap();
        assert!(document.items::<Item>("c", &mut faults).is_empty());
        assert!(
            faults.to_string().starts_with("t.toml:3:8: c[0].below.size: "),
            "{faults}"
        );
    }

    #[test]
    fn every_fault_has_its_place() {
        let text = "[a]\nsize = 3\nnmae = \"x\"\n\n[b]\nsize = 300\n\n[[c]]\nsize = 1\n[[c]]\nsize = \"x\"\n[d]\n";
        let source = Source::new(Path::new("t.toml"), text);
        let mut faults = Faults::default();
        let document = Document::parse(&source, &mut faults).unwrap();
        document.only(&["a", "b", "c"], &mut faults);
        let a: Section = document.section("a", &mut faults);
        assert_eq!(a.size, 3);
        let _: Section = document.section("b", &mut faults);
        let c: Vec<(usize, Section)> = document.items("c", &mut faults);
        assert_eq!(c.len(), 1);
        let lines: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        assert_eq!(lines[0], "t.toml:12:2: d: unknown key; did you mean `a`?");
        assert_eq!(lines[1], "t.toml:3:1: a.nmae: unknown key; did you mean `name`?");
        assert!(
            lines[2].starts_with("t.toml:6:8: b.size: invalid value: integer `300`"),
            "{}",
            lines[2]
        );
        assert!(
            lines[3].starts_with("t.toml:11:8: c[1].size: invalid type: string"),
            "{}",
            lines[3]
        );
    }

    #[test]
    fn what_has_no_end_is_not_read_to_it() {
        let mut faults = Faults::default();
        assert!(Source::read(Path::new("/dev/zero"), &mut faults).is_none());
        assert!(faults.to_string().contains("has no end"), "{faults}");
    }

    #[test]
    fn syntax_faults_have_lines() {
        let source = Source::new(Path::new("t.toml"), "a = 1\nb = = 2\n");
        let mut faults = Faults::default();
        assert!(Document::parse(&source, &mut faults).is_none());
        assert_eq!(faults.0[0].line, 2);
    }
}
