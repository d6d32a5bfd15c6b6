//! The attributes that a rule adds to an Access-Accept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::dictionary::{Attribute, Dictionary, Encryption, Home, Kind, Pair, Unnamed};
use crate::engine::facts::Person;
use crate::engine::policy::template::Template;

/// The attributes that a rule adds, in the order in which they are sent.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    attribute: Arc<Attribute>,
    tag: Option<u8>,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    /// Encoded when the policy was read.
    Constant(Vec<u8>),
    /// Filled in and encoded for each login.
    Template(Template),
}

/// An attribute that has no value for a person, though it must have one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attribute} {reason}")]
pub struct Unreplied {
    /// Its name, with its tag.
    pub attribute: String,
    /// What is wrong; never the value.
    pub reason: String,
}

impl Reply {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The attributes of entries that values are taken from, in lower case.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().flat_map(|line| match &line.value {
            Value::Constant(_) => None.into_iter().flatten(),
            Value::Template(template) => Some(template.attributes()).into_iter().flatten(),
        })
    }

    /// The attributes for a person. A place without value and default leaves its attribute out. Behind them
    /// stands what is `passed` on from elsewhere, without the attributes that the rule sets itself.
    ///
    /// # Errors
    /// [`Unreplied`] when a value cannot be encoded: without it the reply could allow too much.
    pub fn pairs(&self, person: &Person, passed: &[Pair]) -> Result<Vec<Pair>, Unreplied> {
        let mut pairs = Vec::with_capacity(self.lines.len());
        let mut octets = 0;
        for line in &self.lines {
            let pair = |value| Pair {
                attribute: Arc::clone(&line.attribute),
                tag: line.tag,
                value,
            };
            match &line.value {
                Value::Constant(value) => {
                    octets += HEADERS + value.len();
                    pairs.push(pair(value.clone()));
                }
                Value::Template(template) => {
                    let texts = template.fill(person).map_err(|error| line.unreplied(&error))?;
                    for text in texts {
                        let value = line.attribute.encode(&text).map_err(|error| line.unreplied(&error))?;
                        octets += HEADERS + value.len();
                        pairs.push(pair(value));
                    }
                }
            }
            if octets > MAX_OCTETS {
                return Err(line.unreplied(&"and what comes before it do not fit a packet"));
            }
        }
        let own = |attribute: &Attribute| self.lines.iter().any(|line| line.attribute.is(attribute));
        for pair in passed.iter().filter(|pair| !own(&pair.attribute)) {
            octets += HEADERS + pair.value.len();
            if octets > MAX_OCTETS {
                return Err(Unreplied {
                    attribute: pair.label(),
                    reason: "of the upstream and what comes before it do not fit a packet".into(),
                });
            }
            pairs.push(pair.clone());
        }
        Ok(pairs)
    }

    /// The lines as they stand in the policy, for explanations; what must not be seen appears as its length.
    pub fn written(&self) -> Vec<String> {
        let written = |line: &Line| match &line.value {
            Value::Constant(value) => Pair {
                attribute: Arc::clone(&line.attribute),
                tag: line.tag,
                value: value.clone(),
            }
            .to_string(),
            Value::Template(template) => format!("{} = \"{template}\"", line.label()),
        };
        self.lines.iter().map(written).collect()
    }
}

impl Line {
    fn label(&self) -> String {
        match self.tag {
            Some(tag) => format!("{}:{tag}", self.attribute.name),
            None => self.attribute.name.to_string(),
        }
    }

    fn unreplied(&self, reason: &impl ToString) -> Unreplied {
        Unreplied {
            attribute: self.label(),
            reason: reason.to_string(),
        }
    }
}

/// The table `reply` of a rule.
pub(super) type RawReply = BTreeMap<String, RawValues>;

/// One value or several, as texts.
pub(super) enum RawValues {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for RawValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> Visitor<'de> for OneOrMany {
    type Value = RawValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, or a list of them")
    }

    fn visit_str<E>(self, text: &str) -> Result<RawValues, E> {
        Ok(RawValues::One(text.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<RawValues, E> {
        Ok(RawValues::One(number.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<RawValues, A::Error> {
        let mut texts = Vec::new();
        while let Some(RawValue(text)) = items.next_element()? {
            texts.push(text);
        }
        Ok(RawValues::Many(texts))
    }
}

/// A text or a number, as text.
struct RawValue(String);

impl<'de> Deserialize<'de> for RawValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match RawValues::deserialize(deserializer)? {
            RawValues::One(text) => Ok(Self(text)),
            RawValues::Many(_) => Err(D::Error::custom("is a list within a list; write a text or a number")),
        }
    }
}

/// Reads the table `reply`; `fault` gets the keys below it and what is wrong there.
pub(super) fn compile(raw: RawReply, dictionary: &Dictionary, mut fault: impl FnMut(&[&str], String)) -> Reply {
    let mut lines = Vec::new();
    for (name, values) in raw {
        let (attribute, tag) = match dictionary.find_tagged(&name) {
            Ok(found) => found,
            Err(error) => {
                let more = match &error {
                    Unnamed::Unknown { hint, .. } if hint.is_empty() => "; [dictionary] in the configuration adds more",
                    Unnamed::Unknown { .. } | Unnamed::Untagged(_) | Unnamed::Tag(_) => "",
                };
                fault(&[&name], format!("{error}{more}"));
                continue;
            }
        };
        if let Some(why) = refused(&attribute) {
            fault(&[&name], why.to_owned());
            continue;
        }
        let (values, listed) = match values {
            RawValues::One(value) => (vec![value], false),
            RawValues::Many(values) => (values, true),
        };
        if values.is_empty() {
            fault(&[&name], "is an empty list; remove it, or list something".into());
        }
        for (index, value) in values.into_iter().enumerate() {
            let index = index.to_string();
            let path: &[&str] = if listed { &[&name, &index] } else { &[&name] };
            match value_of(&attribute, &value) {
                Ok(value) => lines.push(Line {
                    attribute: Arc::clone(&attribute),
                    tag,
                    value,
                }),
                Err(why) => fault(path, why),
            }
        }
    }
    if lines.len() > MAX_LINES {
        fault(
            &[],
            format!("has {} attributes; a packet holds at most {MAX_LINES}", lines.len()),
        );
    }
    Reply { lines }
}

fn value_of(attribute: &Attribute, text: &str) -> Result<Value, String> {
    let template = Template::parse(text)?;
    match template.constant() {
        Some(constant) => match attribute.encode(constant) {
            Ok(value) => Ok(Value::Constant(value)),
            Err(error) if attribute.secret => Err(error.to_string()),
            Err(error) => Err(format!("`{constant}` {error}")),
        },
        None => Ok(Value::Template(template)),
    }
}

/// Why an attribute cannot be set by a rule, nor be passed on from an upstream.
pub fn refused(attribute: &Attribute) -> Option<&'static str> {
    match attribute.encryption {
        Encryption::None | Encryption::TunnelPassword => {}
        Encryption::UserPassword | Encryption::AscendSecret => {
            return Some("proves who somebody is, and has no place in an Access-Accept");
        }
    }
    if matches!(
        attribute.kind,
        Kind::VendorSpecific | Kind::Extended | Kind::LongExtended
    ) {
        return Some("holds other attributes; name one of those, such as Cisco-AVPair or Attr-26.9.1");
    }
    match (&attribute.home, attribute.number) {
        (Home::Standard, 18) => Some("is set by `message` of the rule"),
        (Home::Standard, 3 | 60 | 70) => Some("proves who somebody is, and has no place in an Access-Accept"),
        (Home::Standard, 24) => Some("belongs to the conversation, and is set by Portcullis alone"),
        (Home::Standard, 33 | 79 | 80) => Some("belongs to the protocol, and is set by Portcullis alone"),
        (Home::Standard, 40..=51) => Some("belongs to accounting, and has no place in an Access-Accept"),
        (Home::Vendor(vendor), 1..=6 | 11 | 25..=27) if vendor.number == MICROSOFT => {
            Some("belongs to MS-CHAP, and has no place in a policy")
        }
        (Home::Extended(241), 1..=4) => Some("belongs to the protocol, and is set by Portcullis alone"),
        (Home::Standard | Home::Vendor(_) | Home::Extended(_), _) => None,
    }
}

/// Microsoft's private enterprise number.
const MICROSOFT: u32 = 311;

/// Octets around a value at most, roughly: of Vendor-Specific, of the vendor's own, of salt and padding.
const HEADERS: usize = 12;

/// Most octets of all attributes: a packet has 4096, and needs some for itself.
const MAX_OCTETS: usize = 3700;

/// Most attributes of one rule: a packet has 4096 octets.
const MAX_LINES: usize = 256;
