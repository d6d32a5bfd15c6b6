//! Audit records for other programs: rows of CSV (RFC 4180) and syslog messages (RFC 5424).

use std::fmt::Write as _;

use super::AuditLine;
use crate::engine::event::Outcome;

/// The columns of CSV, in the order of [`row`].
pub const COLUMNS: [&str; 19] = [
    "sequence",
    "at",
    "action",
    "actor",
    "target",
    "via",
    "client",
    "source",
    "rule",
    "factors",
    "outcome",
    "reason",
    "directory",
    "service",
    "listener",
    "nas_identifier",
    "called_station",
    "calling_station",
    "link",
];

/// The cells of a record, in the order of [`COLUMNS`]; what is absent is empty. A cell that a spreadsheet would take
/// for a formula begins with an apostrophe.
pub fn row(line: &AuditLine) -> [String; COLUMNS.len()] {
    let text = |text: Option<&str>| guarded(text.unwrap_or_default());
    let context = line.context.as_deref();
    [
        line.sequence.to_string(),
        line.at.to_string(),
        guarded(&line.action),
        guarded(&line.actor),
        text(line.target.as_deref()),
        guarded(&line.via),
        text(line.client.as_deref()),
        line.source.map(|source| source.to_string()).unwrap_or_default(),
        text(line.rule.as_deref()),
        guarded(&line.factors.join("+")),
        line.outcome.to_string(),
        text(line.reason.as_deref()),
        text(context.map(|context| &*context.directory)),
        text(context.map(|context| &*context.service)),
        text(context.and_then(|context| context.listener.as_deref())),
        text(context.and_then(|context| context.nas_identifier.as_deref())),
        text(context.and_then(|context| context.called_station.as_deref())),
        text(context.and_then(|context| context.calling_station.as_deref())),
        line.link.clone(),
    ]
}

/// A cell that no spreadsheet takes for a formula: they calculate what begins so.
pub fn guarded(text: &str) -> String {
    match text.chars().next() {
        Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
        Some(_) | None => text.to_owned(),
    }
}

/// What all messages of one sender have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// HOSTNAME.
    pub host: String,
    /// The facility's number (RFC 5424 section 6.2.1), up to 23.
    pub facility: u8,
    /// The number behind `@` in the name of the structured data (section 7.2.2).
    pub enterprise: u32,
}

impl Sender {
    /// `authpriv`: messages about security and authorization.
    pub const AUTHPRIV: u8 = 10;

    /// The number that is reserved for documentation (RFC 5612), for those who have none of their own.
    pub const NO_ENTERPRISE: u32 = 32_473;

    /// The record as one message of at most [`MOST_OCTETS`], without a frame.
    pub fn message(&self, line: &AuditLine) -> String {
        let priority = u16::from(self.facility.min(23)) * 8 + severity(line.outcome);
        let mut message = format!(
            "<{priority}>1 {} {} portcullis - {} ",
            line.at,
            header(&self.host, 255),
            header(&line.action, 32)
        );
        // Writing into a String does not fail.
        let _ = write!(message, "[audit@{}", self.enterprise);
        for (name, value) in parameters(line) {
            let _ = write!(message, " {name}=\"");
            parameter(&value, &mut message);
            message.push('"');
        }
        message.push_str("] ");
        let text = sentence(line);
        if !text.is_ascii() {
            // Section 6.4: text in UTF-8 says so.
            message.push('\u{feff}');
        }
        message.push_str(&text);
        let end = message.floor_char_boundary(MOST_OCTETS);
        message.truncate(end);
        message
    }
}

/// Longest message, in octets: what receivers should be able to take (RFC 5425 section 4.3.1).
pub const MOST_OCTETS: usize = 8192;

/// Longest value of structured data, in octets before escaping: all of them and the text stay within a message.
const MOST_VALUE: usize = 400;

/// RFC 5424 section 6.2.1.
const fn severity(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Unavailable => 3,
        Outcome::Reject => 4,
        Outcome::Restricted => 5,
        Outcome::Accept => 6,
    }
}

/// A field of the header: printable ASCII without spaces, or the nil value.
fn header(text: &str, most: usize) -> String {
    let clean: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if clean.is_empty() { "-".to_owned() } else { clean }
}

/// Section 6.3.3: what would end a value is escaped. Control characters would end a line somewhere; they are shown as
/// U+FFFD.
fn parameter(value: &str, message: &mut String) {
    let end = value.floor_char_boundary(MOST_VALUE);
    for letter in value.get(..end).unwrap_or_default().chars() {
        match letter {
            '"' | '\\' | ']' => message.extend(['\\', letter]),
            control if control.is_control() => message.push('\u{fffd}'),
            plain => message.push(plain),
        }
    }
}

fn parameters(line: &AuditLine) -> Vec<(&'static str, String)> {
    let context = line.context.as_deref();
    let some = |text: Option<&str>| text.map(ToOwned::to_owned);
    let all = [
        ("sequence", Some(line.sequence.to_string())),
        ("action", Some(line.action.clone())),
        ("outcome", Some(line.outcome.to_string())),
        ("actor", Some(line.actor.clone())),
        ("target", line.target.clone()),
        ("via", Some(line.via.clone())),
        ("client", line.client.clone()),
        ("source", line.source.map(|source| source.to_string())),
        ("rule", line.rule.clone()),
        ("factors", (!line.factors.is_empty()).then(|| line.factors.join("+"))),
        ("reason", line.reason.clone()),
        ("directory", some(context.map(|context| &*context.directory))),
        ("service", some(context.map(|context| &*context.service))),
        (
            "listener",
            some(context.and_then(|context| context.listener.as_deref())),
        ),
        (
            "nasIdentifier",
            some(context.and_then(|context| context.nas_identifier.as_deref())),
        ),
        (
            "calledStation",
            some(context.and_then(|context| context.called_station.as_deref())),
        ),
        (
            "callingStation",
            some(context.and_then(|context| context.calling_station.as_deref())),
        ),
        ("link", Some(line.link.clone())),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// The record in one line for people.
fn sentence(line: &AuditLine) -> String {
    let mut text = format!("{} {}: {} via {}", line.action, line.outcome, line.actor, line.via);
    for (name, value) in [("client", &line.client), ("target", &line.target), ("rule", &line.rule)] {
        if let Some(value) = value {
            let _ = write!(text, ", {name} {value}");
        }
    }
    if let Some(reason) = &line.reason {
        let _ = write!(text, ": {reason}");
    }
    text.chars()
        .map(|letter| if letter.is_control() { '\u{fffd}' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Timestamp;

    fn line() -> AuditLine {
        AuditLine {
            sequence: 7,
            at: Timestamp::from_millis(1_700_000_000_123),
            action: "login".into(),
            actor: "ana".into(),
            target: Some("people:1".into()),
            via: "radius".into(),
            client: Some("vpn".into()),
            source: Some([192, 0, 2, 1].into()),
            rule: Some("two factors".into()),
            factors: vec!["password".into(), "totp".into()],
            outcome: Outcome::Accept,
            reason: None,
            context: None,
            link: "00ff".into(),
        }
    }

    fn sender() -> Sender {
        Sender {
            host: "gate 1".into(),
            facility: Sender::AUTHPRIV,
            enterprise: Sender::NO_ENTERPRISE,
        }
    }

    #[test]
    fn a_message_is_as_rfc_5424_has_it() {
        assert_eq!(
            sender().message(&line()),
            "<86>1 2023-11-14T22:13:20.123Z gate1 portcullis - login [audit@32473 sequence=\"7\" action=\"login\" \
             outcome=\"accept\" actor=\"ana\" target=\"people:1\" via=\"radius\" client=\"vpn\" source=\"192.0.2.1\" \
             rule=\"two factors\" factors=\"password+totp\" link=\"00ff\"] login accept: ana via radius, client vpn, \
             target people:1, rule two factors"
        );
    }

    #[test]
    fn nothing_in_a_value_ends_it_or_the_line() {
        let hostile = AuditLine {
            actor: "a\"] <0>1 x\\\n".into(),
            reason: Some("grün".into()),
            outcome: Outcome::Reject,
            ..line()
        };
        let message = sender().message(&hostile);
        assert!(message.contains("actor=\"a\\\"\\] <0>1 x\\\\\u{fffd}\""), "{message}");
        assert!(message.contains("\u{feff}login reject"), "{message}");
        assert!(!message.contains('\n') && message.starts_with("<84>1 "), "{message}");
    }

    #[test]
    fn cells_are_no_formulas() {
        let hostile = AuditLine {
            actor: "=HYPERLINK(\"http://example.org\")".into(),
            ..line()
        };
        let cells = row(&hostile);
        assert_eq!(cells[3], "'=HYPERLINK(\"http://example.org\")");
        assert_eq!(cells[9], "password+totp");
    }

    proptest! {
        /// Whatever is in a record, its structured data is one element, and its message is bounded.
        #[test]
        fn structured_data_is_read_back(actor in ".{0,600}", reason in ".{0,9000}") {
            let message = sender().message(&AuditLine { actor: actor.clone(), reason: Some(reason), ..line() });
            prop_assert!(message.len() <= MOST_OCTETS);
            prop_assert!(!message.chars().any(char::is_control));
            let (_, data) = message.split_once(" actor=\"").unwrap();
            let mut read = String::new();
            let mut letters = data.chars();
            while let Some(letter) = letters.next() {
                match letter {
                    '"' => break,
                    '\\' => read.extend(letters.next()),
                    plain => read.push(plain),
                }
            }
            let end = actor.floor_char_boundary(MOST_VALUE);
            let expected: String = actor[..end].chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
