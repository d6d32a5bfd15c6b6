//! Texts with places that are filled in from a person's entry: `{memberOf:rdn}`, `{vlan|42}`.

use std::fmt;

use crate::engine::facts::Person;

/// A text with places to fill in.
#[derive(Clone, Debug)]
pub struct Template {
    written: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Place(Place),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    source: Source,
    /// The value of the first component instead of the whole distinguished name.
    rdn: bool,
    default: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Login,
    Dn,
    Directory,
    Group,
    /// An attribute of the entry; in lower case.
    Attribute(String),
}

/// Why a template gives no texts for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfilled {
    /// `:rdn` of something else.
    #[error("`{{{0}:rdn}}` is not a distinguished name for this person")]
    NoName(String),
    /// Several places with many values each.
    #[error("gives more than {MAX_TEXTS} values")]
    Many,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A text that says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some(inside) = from.strip_prefix('{') {
                let Some((inside, after)) = inside.split_once('}') else {
                    return Err("has a `{` without its `}`; a brace itself is written `{{`".into());
                };
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Place(place(inside)?));
                rest = after;
            } else {
                return Err("has a `}` without its `{`; a brace itself is written `}}`".into());
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self {
            written: text.into(),
            parts,
        })
    }

    /// The text, when there is nothing to fill in.
    pub fn constant(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            [_, ..] => None,
        }
    }

    /// The attributes of the entry that it takes values from, in lower case.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Place(Place {
                source: Source::Attribute(name),
                ..
            }) => Some(name.as_str()),
            Part::Place(_) | Part::Text(_) => None,
        })
    }

    /// The texts for a person: one for each value of a place, and none when a place has neither value nor
    /// default.
    ///
    /// # Errors
    /// [`Unfilled`].
    pub fn fill(&self, person: &Person) -> Result<Vec<String>, Unfilled> {
        let mut texts = vec![String::new()];
        for part in &self.parts {
            match part {
                Part::Text(text) => texts.iter_mut().for_each(|filled| filled.push_str(text)),
                Part::Place(place) => {
                    let values = place.values(person)?;
                    if texts.len().saturating_mul(values.len()) > MAX_TEXTS {
                        return Err(Unfilled::Many);
                    }
                    let joined = |filled: &String| -> Vec<String> {
                        values.iter().map(|value| format!("{filled}{value}")).collect()
                    };
                    texts = texts.iter().flat_map(joined).collect();
                }
            }
        }
        Ok(texts)
    }
}

/// As it was written.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl Place {
    fn values(&self, person: &Person) -> Result<Vec<String>, Unfilled> {
        let values: &[String] = match &self.source {
            Source::Login => std::slice::from_ref(&person.login),
            Source::Dn => std::slice::from_ref(&person.dn),
            Source::Directory => return Ok(vec![person.directory.to_string()]),
            Source::Group => &person.groups,
            Source::Attribute(name) => person.attributes.get(name).map(Vec::as_slice).unwrap_or_default(),
        };
        match &self.default {
            Some(default) if values.is_empty() => Ok(vec![default.clone()]),
            Some(_) | None if !self.rdn => Ok(values.to_vec()),
            Some(_) | None => values
                .iter()
                .map(|value| first_value(value).ok_or_else(|| Unfilled::NoName(self.source.to_string())))
                .collect(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login => "login",
            Self::Dn => "dn",
            Self::Directory => "directory",
            Self::Group => "group",
            Self::Attribute(name) => name,
        })
    }
}

/// What stands between braces.
fn place(inside: &str) -> Result<Place, String> {
    let (reference, default) = match inside.split_once('|') {
        Some((reference, default)) => (reference, Some(default.to_owned())),
        None => (inside, None),
    };
    let (name, rdn) = match reference.split_once(':') {
        None => (reference, false),
        Some((name, "rdn")) => (name, true),
        Some((name, other)) => {
            return Err(format!(
                "has `{{{name}:{other}}}`; behind the colon only `rdn` is known"
            ));
        }
    };
    let letter = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b';' | b'.' | b'_');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(letter) {
        return Err(format!(
            "has `{{{inside}}}`, which names no attribute; write {{name}}, {{name|default}} or {{name:rdn}}, and `{{{{` for a brace itself"
        ));
    }
    let source = match name {
        "login" => Source::Login,
        "dn" => Source::Dn,
        "directory" => Source::Directory,
        "group" => Source::Group,
        other if is_secret(other) => {
            return Err(format!(
                "has `{{{name}}}`, which is a secret of the directory and is not given away"
            ));
        }
        other => Source::Attribute(other.to_lowercase()),
    };
    Ok(Place { source, rdn, default })
}

/// The value of the first component of a distinguished name, without escapes (RFC 4514 section 2.4).
fn first_value(dn: &str) -> Option<String> {
    let (kind, rest) = dn.split_once('=')?;
    let kind = kind.trim();
    if kind.is_empty()
        || !kind
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-.".contains(&octet))
    {
        return None;
    }
    let mut value = Vec::new();
    // Blanks at the end count only when they are escaped.
    let mut kept = 0;
    let mut octets = rest.trim_start().bytes();
    while let Some(octet) = octets.next() {
        match octet {
            b',' | b'+' | b';' => break,
            b'\\' => {
                let escaped = octets.next()?;
                match char::from(escaped).to_digit(16) {
                    Some(high) => {
                        let low = char::from(octets.next()?).to_digit(16)?;
                        value.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    None => value.push(escaped),
                }
                kept = value.len();
            }
            b' ' => value.push(octet),
            octet => {
                value.push(octet);
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    String::from_utf8(value).ok().filter(|value| !value.is_empty())
}

/// Whether passwords or keys are kept in an attribute.
pub(super) fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Attributes that passwords and keys are kept in.
const SECRETS: [&str; 8] = [
    "userpassword",
    "authpassword",
    "unicodepwd",
    "sambantpassword",
    "sambalmpassword",
    "krbprincipalkey",
    "pwdhistory",
    "ms-mcs-admpwd",
];

/// Most texts that come of one template.
const MAX_TEXTS: usize = 256;

/// Longest name of an attribute, in octets.
const MAX_NAME: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;

    fn ana() -> Person {
        let text = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<String>>();
        Person {
            key: UserKey::new("corp", "1"),
            directory: "corp".into(),
            dn: "uid=ana,ou=people,dc=example,dc=org".into(),
            login: "ana".into(),
            groups: text(&["cn=staff,dc=x", "cn=vpn,dc=x"]),
            attributes: [
                ("mail".to_owned(), text(&["a@example.org", "b@example.org"])),
                (
                    "memberof".to_owned(),
                    text(&["CN=Sales\\, North \\2B1,OU=x", "cn = a \\  +x=y", "cn=\\c3\\a4"]),
                ),
            ]
            .into(),
            enabled: true,
            manager: None,
            sso_managed: None,
        }
    }

    fn filled(text: &str) -> Vec<String> {
        Template::parse(text).unwrap().fill(&ana()).unwrap()
    }

    #[test]
    fn places_are_filled() {
        assert_eq!(filled("hello"), ["hello"]);
        assert_eq!(filled("{login} of {directory}"), ["ana of corp"]);
        assert_eq!(filled("{dn:rdn}/{dn}"), ["ana/uid=ana,ou=people,dc=example,dc=org"]);
        assert_eq!(filled("<{Mail}>"), ["<a@example.org>", "<b@example.org>"]);
        assert_eq!(filled("{group:rdn}"), ["staff", "vpn"]);
        assert_eq!(filled("{memberOf:rdn}"), ["Sales, North +1", "a  ", "ä"]);
        assert_eq!(filled("{vlan|42}"), ["42"]);
        assert_eq!(filled("{vlan:rdn|}"), [""]);
        assert_eq!(filled("{mail|x}").len(), 2);
        assert_eq!(filled("a{vlan}b"), Vec::<String>::new());
        assert_eq!(filled("{{login}} {{{login}}}"), ["{login} {ana}"]);
        assert_eq!(filled("{mail}{group:rdn}").len(), 4);
        assert_eq!(Template::parse("a{{b}}").unwrap().constant(), Some("a{b}"));
        assert_eq!(Template::parse("").unwrap().constant(), Some(""));
        let template = Template::parse("{login}{Mail}{vlan|1}").unwrap();
        assert_eq!(template.constant(), None);
        assert_eq!(template.attributes().collect::<Vec<_>>(), ["mail", "vlan"]);
    }

    #[test]
    fn what_cannot_be_filled_is_an_error() {
        let failed = |text| Template::parse(text).unwrap().fill(&ana()).unwrap_err();
        assert_eq!(failed("{mail:rdn}"), Unfilled::NoName("mail".into()));
        assert_eq!(failed(&"{mail}".repeat(9)), Unfilled::Many);
    }

    #[test]
    fn faults_say_what_to_write() {
        let fault = |text| Template::parse(text).unwrap_err();
        assert_eq!(
            fault("{login"),
            "has a `{` without its `}`; a brace itself is written `{{`"
        );
        assert_eq!(
            fault("login}"),
            "has a `}` without its `{`; a brace itself is written `}}`"
        );
        assert_eq!(
            fault("{mail:first}"),
            "has `{mail:first}`; behind the colon only `rdn` is known"
        );
        assert!(fault("{}").starts_with("has `{}`, which names no attribute; write {name}"));
        assert!(fault("{a b}").contains("names no attribute"));
        assert!(fault("{userPassword|x}").contains("is a secret of the directory"));
    }

    #[test]
    fn components_of_names() {
        for (dn, value) in [
            ("cn=a", Some("a")),
            ("a@example.org", None),
            ("a b=c", None),
            ("cn=", None),
            ("cn=\\", None),
            ("cn=\\4", None),
            ("cn=\\4x", None),
            ("cn=\\ff", None),
            ("2.5.4.3=x;y", Some("x")),
        ] {
            assert_eq!(first_value(dn).as_deref(), value, "{dn}");
        }
    }
}
