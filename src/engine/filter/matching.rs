//! Filters held against entries (RFC 4511 section 4.5.1.7).
//!
//! There is no schema: values are compared as text without regard to case and to runs of blanks, as names
//! where both look like one, as numbers in orderings of numbers, and octet for octet when they are no text.
//! Nothing is allocated, but where names are compared that are written with blanks or letters of other scripts.

use std::cmp::Ordering;
use std::str::Chars;

use crate::engine::facts::{is_named, normalise_dn};
use crate::engine::filter::{Comparison, Filter, Part};

/// What a filter is held against.
pub trait Entry {
    /// What a comparison comes to with an attribute that the entry has not.
    const ABSENT: Option<bool>;

    /// Whether any value of the attribute `name`, in lower case, passes `test`; `None` when there is no value.
    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool>;
}

/// A filter that can be held against many entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Matcher(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Item(String, Test),
    Present(String),
    /// Something that cannot be judged here.
    Undefined,
}

/// What is asked of the values of an attribute.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equal(Value),
    AtLeast(Value),
    AtMost(Value),
    Substrings(Vec<Piece>),
}

impl Matcher {
    /// Prepares a filter. Matching rules other than `caseIgnoreMatch` are not known.
    pub fn new(filter: &Filter) -> Self {
        Self(Node::new(filter))
    }

    /// Whether `entry` matches; `None` is "undefined", which `not` does not turn into a match.
    pub fn matches<E: Entry + ?Sized>(&self, entry: &E) -> Option<bool> {
        self.0.matches(entry)
    }

    /// The attributes that it asks about, in lower case; some perhaps more than once.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let mut open = vec![&self.0];
        std::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Node::And(parts) | Node::Or(parts) => open.extend(parts.iter().rev()),
                    Node::Not(part) => open.push(part),
                    Node::Item(name, _) | Node::Present(name) => return Some(name.as_str()),
                    Node::Undefined => {}
                }
            }
        })
    }

    /// Whether everything in it can be judged.
    pub fn is_defined(&self) -> bool {
        let mut open = vec![&self.0];
        while let Some(node) = open.pop() {
            match node {
                Node::And(parts) | Node::Or(parts) => open.extend(parts),
                Node::Not(part) => open.push(part),
                Node::Item(..) | Node::Present(_) => {}
                Node::Undefined => return false,
            }
        }
        true
    }
}

impl Node {
    fn new(filter: &Filter) -> Self {
        let all = |filters: &[Filter]| filters.iter().map(Self::new).collect();
        match filter {
            Filter::And(filters) => Self::And(all(filters)),
            Filter::Or(filters) => Self::Or(all(filters)),
            Filter::Not(filter) => Self::Not(Box::new(Self::new(filter))),
            Filter::Compare(comparison, name, value) => {
                let value = Value::new(value);
                let test = match comparison {
                    Comparison::Equal | Comparison::Approximate => Test::Equal(value),
                    Comparison::GreaterOrEqual => Test::AtLeast(value),
                    Comparison::LessOrEqual => Test::AtMost(value),
                };
                Self::Item(name.to_lowercase(), test)
            }
            Filter::Present(name) => Self::Present(name.to_lowercase()),
            Filter::Substrings(name, parts) => {
                let pieces = parts.iter().map(|(part, octets)| Piece::new(*part, octets));
                Self::Item(name.to_lowercase(), Test::Substrings(pieces.collect()))
            }
            Filter::Extensible {
                rule,
                attribute: Some(name),
                value,
                dn: false,
            } if matches!(rule.as_deref(), None | Some("caseIgnoreMatch" | "2.5.13.2")) => {
                Self::Item(name.to_lowercase(), Test::Equal(Value::new(value)))
            }
            Filter::Extensible { .. } => Self::Undefined,
        }
    }

    fn matches<E: Entry + ?Sized>(&self, entry: &E) -> Option<bool> {
        match self {
            Self::And(parts) => joined(parts, entry, false),
            Self::Or(parts) => joined(parts, entry, true),
            Self::Not(part) => part.matches(entry).map(|matches| !matches),
            Self::Item(name, test) => entry.any(name, &mut |value| test.passes(value)).or(E::ABSENT),
            Self::Present(name) => Some(entry.any(name, &mut |_| true).is_some()),
            Self::Undefined => None,
        }
    }
}

/// One part that is `decisive` settles it; otherwise one that is undefined does.
fn joined<E: Entry + ?Sized>(parts: &[Node], entry: &E, decisive: bool) -> Option<bool> {
    let mut all = Some(!decisive);
    for part in parts {
        match part.matches(entry) {
            Some(matches) if matches == decisive => return Some(decisive),
            Some(_) => {}
            None => all = None,
        }
    }
    all
}

impl Test {
    fn passes(&self, value: &[u8]) -> bool {
        match self {
            Self::Equal(wanted) => wanted.equals(value),
            Self::AtLeast(wanted) => wanted.order(value).is_le(),
            Self::AtMost(wanted) => wanted.order(value).is_ge(),
            Self::Substrings(pieces) => match std::str::from_utf8(value) {
                Ok(text) => text_has(Folded::new(text), pieces),
                Err(_) => octets_have(value, pieces),
            },
        }
    }
}

/// An assertion value, in the forms that it is compared in.
#[derive(Clone, Debug, PartialEq)]
struct Value {
    /// Folded, if it is text.
    octets: Vec<u8>,
    text: Option<String>,
    /// As a distinguished name, if it could be one.
    name: Option<String>,
    number: Option<i64>,
}

impl Value {
    fn new(octets: &[u8]) -> Self {
        let text = std::str::from_utf8(octets).ok();
        Self {
            octets: octets.to_vec(),
            text: text.map(|text| Folded::new(text).collect()),
            name: text.filter(|text| text.contains('=')).map(normalise_dn),
            number: text.and_then(|text| text.trim().parse().ok()),
        }
    }

    fn equals(&self, value: &[u8]) -> bool {
        match (&self.text, std::str::from_utf8(value)) {
            (Some(wanted), Ok(value)) => {
                value.eq_ignore_ascii_case(wanted)
                    || Folded::new(value).eq(wanted.chars())
                    || self.name.as_ref().is_some_and(|name| is_named(value, name))
            }
            (None, Err(_)) => self.octets == value,
            (Some(_), Err(_)) | (None, Ok(_)) => false,
        }
    }

    /// How this value stands to `value`.
    fn order(&self, value: &[u8]) -> Ordering {
        let text = std::str::from_utf8(value).ok();
        let number: Option<i64> = text.and_then(|text| text.trim().parse().ok());
        match (self.number, number, &self.text, text) {
            (Some(own), Some(other), _, _) => own.cmp(&other),
            (_, _, Some(own), Some(other)) => own.chars().cmp(Folded::new(other)),
            (_, _, _, _) => self.octets.as_slice().cmp(value),
        }
    }
}

/// A piece of a substring assertion.
#[derive(Clone, Debug, PartialEq)]
struct Piece {
    part: Part,
    octets: Vec<u8>,
    /// In lower case, if it is text. Blanks at its ends count: they stand in the middle of a value.
    text: Option<String>,
}

impl Piece {
    fn new(part: Part, octets: &[u8]) -> Self {
        let text = std::str::from_utf8(octets).ok();
        Self {
            part,
            octets: octets.to_vec(),
            text: text.map(|text| text.chars().flat_map(char::to_lowercase).collect()),
        }
    }
}

fn text_has(value: Folded<'_>, pieces: &[Piece]) -> bool {
    let mut rest = value;
    pieces.iter().all(|piece| {
        let Some(wanted) = piece.text.as_deref() else {
            return false;
        };
        let after = match piece.part {
            Part::Initial => rest.after(wanted),
            Part::Any => rest.positions().find_map(|at| at.after(wanted)),
            Part::Final => rest
                .positions()
                .filter_map(|at| at.after(wanted))
                .find(|after| after.clone().next().is_none()),
        };
        after.inspect(|after| rest = after.clone()).is_some()
    })
}

fn octets_have(value: &[u8], pieces: &[Piece]) -> bool {
    let mut rest = value;
    pieces.iter().all(|piece| {
        let wanted = piece.octets.as_slice();
        let after = match piece.part {
            Part::Initial => rest.strip_prefix(wanted),
            Part::Any if wanted.is_empty() => Some(rest),
            Part::Any => rest
                .windows(wanted.len())
                .position(|window| window == wanted)
                .and_then(|at| rest.get(at + wanted.len()..)),
            Part::Final => rest.ends_with(wanted).then_some(&[][..]),
        };
        after.inspect(|after| rest = after).is_some()
    })
}

/// The letters of a text in lower case, one blank for many, none at the ends.
#[derive(Clone)]
struct Folded<'t> {
    letters: Chars<'t>,
    /// What is left of a letter that is several in lower case.
    lower: Option<std::char::ToLowercase>,
    after_blank: bool,
}

impl<'t> Folded<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            letters: text.trim_matches(' ').chars(),
            lower: None,
            after_blank: false,
        }
    }

    /// What follows `wanted`, if it begins with that.
    fn after(&self, wanted: &str) -> Option<Self> {
        let mut rest = self.clone();
        wanted.chars().all(|letter| rest.next() == Some(letter)).then_some(rest)
    }

    /// What begins at each letter, and at the end.
    fn positions(&self) -> impl Iterator<Item = Self> {
        let mut next = Some(self.clone());
        std::iter::from_fn(move || {
            let this = next.take()?;
            let mut rest = this.clone();
            next = rest.next().map(|_| rest);
            Some(this)
        })
    }
}

impl Iterator for Folded<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        if let Some(letter) = self.lower.as_mut().and_then(Iterator::next) {
            return Some(letter);
        }
        self.lower = None;
        loop {
            let letter = self.letters.next()?;
            let again = letter == ' ' && self.after_blank;
            self.after_blank = letter == ' ';
            if again {
                continue;
            }
            if letter.is_ascii() {
                return Some(letter.to_ascii_lowercase());
            }
            let mut lower = letter.to_lowercase();
            let first = lower.next();
            self.lower = Some(lower);
            return first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry with one value for each attribute; what it has not is undefined.
    struct Card(&'static [(&'static str, &'static str)]);

    impl Entry for Card {
        const ABSENT: Option<bool> = None;

        fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
            let mut values = self.0.iter().filter(|(known, _)| *known == name);
            values.next().map(|(_, value)| test(value.as_bytes()))
        }
    }

    #[test]
    fn filters_have_three_values() {
        let card = Card(&[("cn", "Ana  Müller"), ("level", "10"), ("manager", "uid=ben, dc=x")]);
        for (filter, expected) in [
            ("(CN=ana MÜLLER)", Some(true)),
            ("(cn=ana)", Some(false)),
            ("(level>=9)", Some(true)),
            ("(level<=9)", Some(false)),
            ("(cn=a*mü*er)", Some(true)),
            ("(cn=*na m*)", Some(true)),
            ("(cn=*a)", Some(false)),
            ("(cn=ana*ana*)", Some(false)),
            ("(manager=UID=Ben,DC=x)", Some(true)),
            ("(cn:caseIgnoreMatch:=ana müller)", Some(true)),
            ("(title=x)", None),
            ("(!(title=x))", None),
            ("(title=*)", Some(false)),
            ("(!(title=*))", Some(true)),
            ("(level:1.2.840.113556.1.4.803:=2)", None),
            ("(|(title=x)(level=10))", Some(true)),
            ("(|(title=x)(level=11))", None),
            ("(&(title=x)(level=10))", None),
            ("(&(title=x)(level=11))", Some(false)),
            ("(&)", Some(true)),
            ("(|)", Some(false)),
        ] {
            let matcher = Matcher::new(&Filter::parse(filter).unwrap());
            assert_eq!(matcher.matches(&card), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_asked_about_is_known() {
        let matcher = |text: &str| Matcher::new(&Filter::parse(text).unwrap());
        let asked = matcher("(&(Department=x)(!(|(title=*)(cn=a*))))");
        assert_eq!(asked.attributes().collect::<Vec<_>>(), ["department", "title", "cn"]);
        assert!(asked.is_defined());
        assert!(!matcher("(!(cn:2.4.6:=x))").is_defined());
    }

    #[test]
    fn values_are_compared_in_one_form() {
        let equal = |one: &str, other: &str| Value::new(one.as_bytes()).equals(other.as_bytes());
        assert!(equal("ana example", " Ana  Example "));
        assert!(equal("uid=ana, dc=x", "UID=ana,DC=X"));
        assert!(equal("ÄRZTIN", "ärztin"));
        assert!(!equal("ana", "anna"));
        assert!(Value::new(b"\xff\x20\x20").equals(b"\xff\x20\x20"));
        assert!(!Value::new(b"\xff\x20\x20").equals(b"\xff\x20"));
    }

    #[test]
    fn numbers_are_ordered_as_numbers() {
        assert!(Value::new(b"10").order(b"9").is_gt());
        assert!(Value::new(b"b").order(b"A").is_gt());
    }

    #[test]
    fn pieces_do_not_overlap() {
        let pieces = [Piece::new(Part::Initial, b"ab"), Piece::new(Part::Final, b"ba")];
        assert!(text_has(Folded::new("abba"), &pieces));
        assert!(!text_has(Folded::new("aba"), &pieces));
        assert!(octets_have(b"ab\xffba", &pieces));
        assert!(!octets_have(b"aba", &pieces));
    }
}
