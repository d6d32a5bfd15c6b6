//! LDIF content records (RFC 2849): folded lines, base64 values, comments. Change records and values
//! behind URLs are refused. Every fault has its line, and a file with any fault gives nothing.

use std::collections::HashMap;
use std::path::Path;

use data_encoding::BASE64;

use crate::document::{Fault, Faults, Severity};
use crate::engine::facts::normalise_dn;

/// One entry as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Line of `dn:`, from 1.
    pub line: usize,
    /// The distinguished name as written.
    pub dn: String,
    /// The same in the form in which names are compared.
    pub normalised_dn: String,
    /// Attributes in the order in which they first appear.
    pub attributes: Vec<RecordAttribute>,
}

/// An attribute of a [`Record`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordAttribute {
    /// The description as first written.
    pub name: String,
    /// Line of its first value, from 1.
    pub line: usize,
    /// The values in order.
    pub values: Vec<Vec<u8>>,
}

impl Record {
    /// The attribute `name`, in any case.
    pub fn attribute(&self, name: &str) -> Option<&RecordAttribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }
}

/// Reads the text of an LDIF file; `file` is named in faults.
///
/// # Errors
/// Everything found wrong (at most [`MAX_FAULTS`]), each with its line and a remedy.
pub fn parse(file: &Path, text: &[u8]) -> Result<Vec<Record>, Faults> {
    let mut parser = Parser {
        file,
        faults: Faults::default(),
        records: Vec::new(),
        by_dn: HashMap::new(),
        open: Open::Between,
        version_allowed: true,
    };
    for (number, line) in LogicalLines::new(text) {
        parser.line(number, &line);
        if parser.faults.0.len() >= MAX_FAULTS {
            break;
        }
    }
    parser.close();
    if parser.faults.0.is_empty() {
        Ok(parser.records)
    } else {
        Err(parser.faults)
    }
}

/// Most faults that are reported for one file.
pub const MAX_FAULTS: usize = 50;

/// A fault on a line of an LDIF file.
pub(super) fn fault(file: &Path, line: usize, key: &str, message: impl Into<String>) -> Fault {
    Fault {
        severity: Severity::Error,
        file: file.to_owned(),
        line,
        column: 1,
        key: key.to_owned(),
        message: message.into(),
    }
}

/// The relative names of a distinguished name, each with its offset: cut at commas that are not escaped.
fn rdns(dn: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(dn);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = false;
        let end = text.bytes().position(|octet| {
            let cut = octet == b',' && !escaped;
            escaped = octet == b'\\' && !escaped;
            cut
        });
        match end {
            Some(end) => {
                rest = text.get(end + 1..);
                text.get(..end)
            }
            None => {
                rest = None;
                Some(text)
            }
        }
    })
}

/// The attribute types of the first relative name; an error says what is no distinguished name about `dn`.
fn naming_attributes(dn: &str) -> Result<Vec<&str>, String> {
    let mut naming = Vec::new();
    for (index, rdn) in rdns(dn).enumerate() {
        // An escaped `+` may be cut here too: only what stands before the first `=` of a part matters.
        for part in rdn.split('+').filter(|part| part.contains('=') || !rdn.contains('=')) {
            let attribute = part.split_once('=').map(|(attribute, _)| attribute.trim());
            match attribute {
                Some(attribute) if is_description(attribute) => {
                    if index == 0 {
                        naming.push(attribute);
                    }
                }
                Some(_) | None => {
                    return Err(format!(
                        "`{rdn}` is no relative distinguished name; write them as `uid=ana,ou=people,dc=example,dc=org`"
                    ));
                }
            }
        }
    }
    Ok(naming)
}

fn is_description(name: &str) -> bool {
    let mut characters = name.bytes();
    characters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && characters.all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b';' | b'.' | b'_'))
}

/// Where the parser stands.
enum Open {
    /// Before a `dn:`.
    Between,
    /// Inside an entry.
    Entry(Record),
    /// Inside an entry that is broken: the rest of it is skipped.
    Skipping,
}

struct Parser<'a> {
    file: &'a Path,
    faults: Faults,
    records: Vec<Record>,
    by_dn: HashMap<String, usize>,
    open: Open,
    version_allowed: bool,
}

impl Parser<'_> {
    fn fault(&mut self, line: usize, key: &str, message: impl Into<String>) {
        self.faults.0.push(fault(self.file, line, key, message));
    }

    fn line(&mut self, number: usize, line: &[u8]) {
        if line.is_empty() {
            self.close();
            return;
        }
        if matches!(self.open, Open::Skipping) {
            return;
        }
        match Self::attribute(line) {
            Ok((name, value)) => self.attribute_line(number, name, value),
            Err((name, message)) => {
                self.fault(number, &name, message);
                self.open = Open::Skipping;
            }
        }
    }

    /// Cuts `name: value` or `name:: base64`.
    fn attribute(line: &[u8]) -> Result<(&str, Vec<u8>), (String, String)> {
        let bare = |message: &str| (String::new(), message.to_owned());
        let Some(colon) = line.iter().position(|&octet| octet == b':') else {
            return Err(bare(
                "is no `attribute: value`; to continue the line before, begin with one blank",
            ));
        };
        let (name, value) = line.split_at(colon);
        let name = std::str::from_utf8(name)
            .ok()
            .filter(|name| is_description(name))
            .ok_or_else(|| bare("what stands before the colon is no attribute name"))?;
        let failed = |message: &str| (name.to_owned(), message.to_owned());
        let value = value.get(1..).unwrap_or_default();
        if let Some(encoded) = value.strip_prefix(b":") {
            let octets = BASE64
                .decode(encoded.trim_ascii())
                .map_err(|error| failed(&format!("the value after `::` is not base64: {error}")))?;
            return Ok((name, octets));
        }
        if value.first() == Some(&b'<') {
            return Err(failed(
                "values behind a URL (`:<`) are not read; put the value itself here, in base64 after `::`",
            ));
        }
        let start = value.iter().position(|&octet| octet != b' ').unwrap_or(value.len());
        let value = value.get(start..).unwrap_or_default();
        if value.contains(&0) || std::str::from_utf8(value).is_err() {
            return Err(failed("the value is not UTF-8 text; write it in base64 after `::`"));
        }
        Ok((name, value.to_vec()))
    }

    fn attribute_line(&mut self, number: usize, name: &str, value: Vec<u8>) {
        let version_allowed = std::mem::take(&mut self.version_allowed);
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match &mut self.open {
            Open::Skipping => {}
            Open::Between if version_allowed && is("version") => {
                if value != b"1" {
                    self.fault(number, name, "only version 1 of LDIF is known (RFC 2849)");
                }
            }
            Open::Between if is("dn") => self.begin(number, value),
            Open::Between => {
                self.fault(
                    number,
                    name,
                    "an entry begins with `dn:`; is there an empty line too many before?",
                );
                self.open = Open::Skipping;
            }
            Open::Entry(_) if is("changetype") || is("control") => {
                self.fault(
                    number,
                    name,
                    "this is a change, not an entry; only entries can be loaded",
                );
                self.open = Open::Skipping;
            }
            Open::Entry(_) if is("dn") => {
                self.fault(
                    number,
                    name,
                    "a second `dn:` in one entry; put an empty line between entries",
                );
                self.open = Open::Skipping;
            }
            Open::Entry(record) => {
                let known = record
                    .attributes
                    .iter_mut()
                    .find(|attribute| attribute.name.eq_ignore_ascii_case(name));
                match known {
                    Some(attribute) => attribute.values.push(value),
                    None => record.attributes.push(RecordAttribute {
                        name: name.to_owned(),
                        line: number,
                        values: vec![value],
                    }),
                }
            }
        }
    }

    fn begin(&mut self, number: usize, dn: Vec<u8>) {
        self.open = Open::Skipping;
        let Ok(dn) = String::from_utf8(dn) else {
            return self.fault(number, "dn", "the name is not UTF-8");
        };
        if dn.chars().any(char::is_control) {
            return self.fault(number, "dn", "the name contains a control character");
        }
        if let Err(message) = naming_attributes(&dn) {
            return self.fault(number, "dn", message);
        }
        let normalised_dn = normalise_dn(&dn);
        if let Some(&line) = self.by_dn.get(&normalised_dn) {
            let message = format!("`{dn}` stands on line {line} already; remove one of the two");
            return self.fault(number, "dn", message);
        }
        self.by_dn.insert(normalised_dn.clone(), number);
        self.open = Open::Entry(Record {
            line: number,
            dn,
            normalised_dn,
            attributes: Vec::new(),
        });
    }

    fn close(&mut self) {
        let Open::Entry(record) = std::mem::replace(&mut self.open, Open::Between) else {
            return;
        };
        if record.attribute("objectClass").is_none() {
            return self.fault(
                record.line,
                "dn",
                "the entry has no objectClass; add `objectClass:` lines",
            );
        }
        let naming = naming_attributes(&record.dn).unwrap_or_default();
        if let Some(missing) = naming.iter().find(|name| record.attribute(name).is_none()) {
            let message = format!("the entry is named by `{missing}` but does not have it; add a `{missing}:` line");
            return self.fault(record.line, "dn", message);
        }
        self.records.push(record);
    }
}

/// Lines unfolded, without comments; empty ones stay, because they end entries.
struct LogicalLines<'a> {
    rest: Option<&'a [u8]>,
    number: usize,
}

impl<'a> LogicalLines<'a> {
    fn new(text: &'a [u8]) -> Self {
        // Some editors begin the file with a byte order mark.
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        Self {
            rest: Some(text),
            number: 0,
        }
    }

    fn physical(&mut self) -> Option<&'a [u8]> {
        let text = self.rest?;
        self.number += 1;
        let line = match text.iter().position(|&octet| octet == b'\n') {
            Some(end) => {
                self.rest = text.get(end + 1..).filter(|rest| !rest.is_empty());
                text.get(..end).unwrap_or_default()
            }
            None => {
                self.rest = None;
                text
            }
        };
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl Iterator for LogicalLines<'_> {
    type Item = (usize, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut line = self.physical()?.to_vec();
            let number = self.number;
            if !line.is_empty() {
                while self.rest.is_some_and(|rest| rest.first() == Some(&b' ')) {
                    line.extend_from_slice(self.physical()?.get(1..).unwrap_or_default());
                }
            }
            if line.first() != Some(&b'#') {
                return Some((number, line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Record>, String> {
        parse(Path::new("people.ldif"), text.as_bytes()).map_err(|faults| faults.to_string())
    }

    #[test]
    fn records_as_rfc_2849_has_them() {
        let text = "\u{feff}version: 1\r\n# a comment\r\n  that goes on\r\n\r\n\
                    dn: uid=ana,ou=people,\r\n dc=x\r\nobjectClass: person\r\nOBJECTCLASS:top\r\nuid:   ana\r\n\
                    cn:: w4ZibGU=\r\n\r\n\r\n\
                    dn:: dWlkPWJvLGRjPXg=\nobjectClass: person\nuid: bo\ndescription:\nsn: a\n  b\n";
        let records = read(text).unwrap();
        assert_eq!(records.len(), 2);
        assert_eq!((records[0].line, records[0].dn.as_str()), (5, "uid=ana,ou=people,dc=x"));
        let value = |record: usize, name: &str| records[record].attribute(name).unwrap().values.clone();
        assert_eq!(value(0, "objectclass"), [b"person".to_vec(), b"top".to_vec()]);
        assert_eq!(value(0, "uid"), [b"ana".to_vec()]);
        assert_eq!(value(0, "cn"), ["Æble".as_bytes().to_vec()]);
        assert_eq!(records[1].normalised_dn, "uid=bo,dc=x");
        assert_eq!(value(1, "description"), [b"".to_vec()]);
        assert_eq!(value(1, "sn"), [b"a b".to_vec()]);
    }

    #[test]
    fn faults_have_lines_and_remedies() {
        let entry = "dn: uid=a,dc=x\nobjectClass: person\nuid: a\n";
        for (text, line, words) in [
            ("cn: x\n".to_owned(), 1, "begins with `dn:`"),
            (format!("{entry}jpegPhoto:< file:///etc/passwd\n"), 4, "URL"),
            (format!("{entry}cn:: %%%\n"), 4, "not base64"),
            (format!("{entry}what is this\n"), 4, "begin with one blank"),
            (format!("{entry}c n: x\n"), 4, "no attribute name"),
            (format!("{entry}cn: a\0b\n"), 4, "base64 after"),
            (format!("{entry}changetype: modify\n"), 4, "only entries"),
            (format!("{entry}dn: uid=b,dc=x\n"), 4, "empty line between"),
            (format!("{entry}\n# again\nDN: UID=A, dc=x\n"), 6, "line 1 already"),
            ("version: 2\n\n".to_owned() + entry, 1, "version 1"),
            (
                "dn: nonsense\nobjectClass: x\n".to_owned(),
                1,
                "relative distinguished name",
            ),
            (
                "dn: uid=a,,dc=x\nobjectClass: x\n".to_owned(),
                1,
                "relative distinguished name",
            ),
            ("dn:\nobjectClass: x\n".to_owned(), 1, "relative distinguished name"),
            ("dn: uid=a,dc=x\nuid: a\n".to_owned(), 1, "objectClass"),
            (
                "dn: uid=a,dc=x\nobjectClass: x\ncn: a\n".to_owned(),
                1,
                "add a `uid:` line",
            ),
            ("dn:: AAA=\nobjectClass: x\n".to_owned(), 1, "control character"),
        ] {
            let faults = read(&text).unwrap_err();
            assert!(
                faults.starts_with(&format!("people.ldif:{line}:1: ")),
                "{text:?}: {faults}"
            );
            assert!(faults.contains(words), "{text:?}: {faults}");
        }
        let latin1 = parse(Path::new("p"), b"dn: uid=a,dc=x\nobjectClass: x\nuid: a\ncn: \xe9\n").unwrap_err();
        assert!(
            latin1.to_string().contains("p:4:1: cn: the value is not UTF-8"),
            "{latin1}"
        );
    }

    #[test]
    fn one_fault_does_not_hide_the_next_and_nothing_is_half_loaded() {
        let text = "dn: uid=a,dc=x\nuid:< x\nsn:< x\n\ndn: uid=b,dc=x\nobjectClass: x\nuid: b\n\ncn: c\n";
        let faults = read(text).unwrap_err();
        let lines: Vec<&str> = faults.lines().collect();
        assert_eq!(lines.len(), 2, "{faults}");
        assert!(lines[0].starts_with("people.ldif:2:"));
        assert!(lines[1].starts_with("people.ldif:9:"));
        let many = "x\n\n".repeat(1000);
        assert_eq!(read(&many).unwrap_err().lines().count(), MAX_FAULTS);
    }

    #[test]
    fn escaped_separators_do_not_cut_names() {
        let text = "dn: cn=Doe\\, John+uid=j,dc=x\nobjectClass: x\ncn: Doe, John\nuid: j\n\
                    \ndn: cn=C\\+\\+,dc=x\nobjectClass: x\ncn: C++\n";
        assert_eq!(read(text).unwrap().len(), 2);
    }
}
