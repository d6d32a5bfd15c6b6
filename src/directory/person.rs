//! What directories of every kind do to turn an entry into a [`Person`](crate::engine::Person).

use crate::engine::facts::normalise_dn;
use crate::engine::policy::is_group;

/// An attribute that says whether something is so of an account: boolean (`nsAccountLock`), a bit of a number
/// (`userAccountControl&2`), or a value among others (`employeeType=external`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flag {
    /// The attribute's name.
    pub(super) attribute: String,
    mark: Mark,
}

/// What of the attribute says it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    Truth,
    Bits(i64),
    Value(String),
}

impl Flag {
    /// Reads `name`, `name&mask` or `name=value`; the mask is decimal or `0x…`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let flag = |attribute: &str, mark| Self {
            attribute: attribute.trim().to_owned(),
            mark,
        };
        if let Some((attribute, value)) = text.split_once('=') {
            return match value.trim() {
                "" => Err(format!("`{text}` has no value; write it as `{attribute}=external`")),
                value => Ok(flag(attribute, Mark::Value(value.to_owned()))),
            };
        }
        let Some((attribute, mask)) = text.split_once('&') else {
            return Ok(flag(text, Mark::Truth));
        };
        let mask = mask.trim();
        let number = match mask.strip_prefix("0x") {
            Some(hexadecimal) => i64::from_str_radix(hexadecimal, 16).ok(),
            None => mask.parse().ok(),
        };
        match number {
            Some(number) if number != 0 => Ok(flag(attribute, Mark::Bits(number))),
            Some(_) | None => Err(format!(
                "`{text}`: `{mask}` is no bit mask; write it as `{attribute}&2`"
            )),
        }
    }

    /// What the attribute's values say; `None` when they say nothing.
    ///
    /// A boolean that is neither true nor false by RFC 4517 (or 0 and 1) says nothing.
    pub(super) fn value<'v>(&self, values: impl IntoIterator<Item = &'v [u8]>) -> Option<bool> {
        let mut said = None;
        for value in values {
            let text = std::str::from_utf8(value).unwrap_or_default().trim();
            let one = match &self.mark {
                Mark::Bits(mask) => text.parse::<i64>().ok().map(|number| number & mask != 0),
                Mark::Value(wanted) => Some(text.to_lowercase() == wanted.to_lowercase()),
                Mark::Truth if text.eq_ignore_ascii_case("true") || text == "1" => Some(true),
                Mark::Truth if text.eq_ignore_ascii_case("false") || text == "0" => Some(false),
                Mark::Truth => None,
            };
            // Of several values a true one counts.
            said = match (said, one) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (None, other) | (other, None) => other,
                (Some(false), Some(false)) => Some(false),
            };
        }
        said
    }
}

/// What marks people whom another system signs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SsoMarks {
    /// Of which any may be true.
    pub(super) flags: Vec<Flag>,
    /// Normalised distinguished names, or bare common names.
    groups: Vec<String>,
}

impl SsoMarks {
    pub(super) fn new(flags: Vec<Flag>, groups: &[String]) -> Self {
        Self {
            flags,
            groups: groups.iter().map(|name| normalise_dn(name)).collect(),
        }
    }

    /// Whether somebody in these `groups` has any of the marks; `None` where there are none to have. A mark that the
    /// entry says nothing of is not there.
    pub(super) fn on(&self, says: impl Fn(&Flag) -> Option<bool>, groups: &[String]) -> Option<bool> {
        if self.flags.is_empty() && self.groups.is_empty() {
            return None;
        }
        let member = |name: &String| groups.iter().any(|group| is_group(name, group));
        Some(self.flags.iter().any(|flag| says(flag) == Some(true)) || self.groups.iter().any(member))
    }
}

/// The canonical text of a UUID (RFC 9562 section 4).
pub(super) fn format_uuid(octets: [u8; 16]) -> String {
    let hex = data_encoding::HEXLOWER.encode(&octets);
    let mut text = String::with_capacity(36);
    for (index, character) in hex.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(character);
    }
    text
}

/// The text of a Windows GUID: its first three fields are stored with their last octet first.
pub(super) fn format_guid(octets: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = octets;
    let [i, j, k, l, m, n, o, p] = rest;
    format_uuid([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
        let said = |flag: &str, values: &[&str]| {
            let flag = Flag::parse(flag).unwrap();
            flag.value(values.iter().map(|value| value.as_bytes()))
        };
        assert_eq!(said("nsAccountLock", &["TRUE"]), Some(true));
        assert_eq!(said("nsAccountLock", &["false"]), Some(false));
        assert_eq!(said("nsAccountLock", &[]), None);
        assert_eq!(said("nsAccountLock", &["perhaps"]), None);
        assert_eq!(said("nsAccountLock", &["false", "true"]), Some(true));
        assert_eq!(said("userAccountControl&2", &["514"]), Some(true));
        assert_eq!(said("userAccountControl&0x2", &["512"]), Some(false));
        assert_eq!(said("userAccountControl&2", &["x"]), None);
        assert!(Flag::parse("a&b").unwrap_err().contains("bit mask"));
        assert!(Flag::parse("a&0").is_err());
        assert_eq!(said("employeeType=External", &["staff", "external"]), Some(true));
        assert_eq!(said("employeeType=external", &["staff"]), Some(false));
        assert_eq!(said("employeeType=external", &[]), None);
        assert!(Flag::parse("employeeType=").unwrap_err().contains("no value"));
    }

    #[test]
    fn marks_of_other_systems() {
        let flag = Flag::parse("federated").unwrap();
        let marks = SsoMarks::new(vec![flag], &["SSO".into()]);
        let groups = ["cn=sso,dc=x".to_owned()];
        assert_eq!(marks.on(|_| None, &[]), Some(false));
        assert_eq!(marks.on(|_| Some(true), &[]), Some(true));
        assert_eq!(marks.on(|_| Some(false), &groups), Some(true));
        assert_eq!(SsoMarks::default().on(|_| Some(true), &groups), None);
    }

    #[test]
    fn identifiers() {
        let octets = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        assert_eq!(format_uuid(octets), "01020304-0506-0708-090a-0b0c0d0e0f10");
        assert_eq!(format_guid(octets), "04030201-0605-0807-090a-0b0c0d0e0f10");
    }
}
