//! Search filters (RFC 4511 section 4.5.1.7), read once and then held against many entries.
//!
//! There is no schema: values are compared as text without regard to case and to runs of blanks, as names
//! where both look like one, as numbers in orderings of numbers, and octet for octet when they are no text.

use crate::ber::{BerError, Element, OCTET_STRING, Reader};
use crate::directory::local::Attribute;
use crate::engine::facts::normalise_dn;

/// A filter that can be held against entries.
#[derive(Debug)]
pub(super) enum Filter {
    And(Vec<Filter>),
    Or(Vec<Filter>),
    Not(Box<Filter>),
    Equal(String, Value),
    Substrings(String, Vec<Piece>),
    AtLeast(String, Value),
    AtMost(String, Value),
    Present(String),
    /// Something that we cannot judge.
    Undefined,
}

/// Why a filter is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilterError {
    /// It is not a filter.
    #[error("the filter cannot be read")]
    Malformed(#[from] BerError),
    /// More parts or levels than anybody needs.
    #[error("the filter has more than {MOST_PARTS} parts or {MOST_LEVELS} levels")]
    TooComplex,
}

impl Filter {
    /// Reads a filter.
    pub(super) fn read(element: Element<'_>) -> Result<Self, FilterError> {
        let mut parts = 0;
        Self::part(element, 0, &mut parts)
    }

    fn part(element: Element<'_>, level: usize, parts: &mut usize) -> Result<Self, FilterError> {
        *parts += 1;
        if level > MOST_LEVELS || *parts > MOST_PARTS {
            return Err(FilterError::TooComplex);
        }
        let mut fields = Reader::new(element.content);
        Ok(match element.tag {
            0xa0 => Self::And(Self::list(fields, level, parts)?),
            0xa1 => Self::Or(Self::list(fields, level, parts)?),
            0xa2 => Self::Not(Box::new(Self::part(fields.element()?, level + 1, parts)?)),
            0xa3 | 0xa8 => Self::Equal(name(&mut fields)?, Value::new(fields.expect(OCTET_STRING)?)),
            0xa4 => {
                let name = name(&mut fields)?;
                let mut pieces = Vec::new();
                let mut list = Reader::new(fields.expect(crate::ber::SEQUENCE)?);
                while !list.is_empty() {
                    *parts += 1;
                    let piece = list.element()?;
                    pieces.push(Piece::new(piece.tag, piece.content)?);
                }
                Self::Substrings(name, pieces)
            }
            0xa5 => Self::AtLeast(name(&mut fields)?, Value::new(fields.expect(OCTET_STRING)?)),
            0xa6 => Self::AtMost(name(&mut fields)?, Value::new(fields.expect(OCTET_STRING)?)),
            0x87 => Self::Present(text(element.content)?),
            0xa9 => Self::extensible(fields)?,
            _ => return Err(BerError::Unexpected.into()),
        })
    }

    fn list(mut fields: Reader<'_>, level: usize, parts: &mut usize) -> Result<Vec<Self>, FilterError> {
        let mut list = Vec::new();
        while !fields.is_empty() {
            list.push(Self::part(fields.element()?, level + 1, parts)?);
        }
        Ok(list)
    }

    /// `(cn:=x)` and `(cn:caseIgnoreMatch:=x)` are equality; other rules are not known here.
    fn extensible(mut fields: Reader<'_>) -> Result<Self, FilterError> {
        let (mut rule, mut attribute, mut value) = (None, None, None);
        while !fields.is_empty() {
            let field = fields.element()?;
            match field.tag {
                0x81 => rule = Some(field.content),
                0x82 => attribute = Some(text(field.content)?),
                0x83 => value = Some(Value::new(field.content)),
                0x84 => {}
                _ => return Err(BerError::Unexpected.into()),
            }
        }
        let known = matches!(rule, None | Some(b"caseIgnoreMatch" | b"2.5.13.2"));
        Ok(match (attribute, value) {
            (Some(attribute), Some(value)) if known => Self::Equal(attribute, value),
            (_, Some(_)) => Self::Undefined,
            (_, None) => return Err(BerError::Unexpected.into()),
        })
    }

    /// Whether an entry with these attributes matches; `None` is "undefined", which `not` does not turn
    /// into a match.
    pub(super) fn matches(&self, attributes: &[Attribute]) -> Option<bool> {
        let any = |name: &str, test: &dyn Fn(&[u8]) -> bool| {
            let mut named = attributes
                .iter()
                .filter(|attribute| attribute.name.eq_ignore_ascii_case(name));
            Some(named.any(|attribute| attribute.values.iter().any(|value| test(value))))
        };
        match self {
            Self::And(parts) => parts
                .iter()
                .try_fold(Some(true), |all, part| match part.matches(attributes) {
                    Some(false) => Err(Some(false)),
                    Some(true) => Ok(all),
                    None => Ok(None),
                })
                .unwrap_or_else(|end| end),
            Self::Or(parts) => parts
                .iter()
                .try_fold(Some(false), |all, part| match part.matches(attributes) {
                    Some(true) => Err(Some(true)),
                    Some(false) => Ok(all),
                    None => Ok(None),
                })
                .unwrap_or_else(|end| end),
            Self::Not(part) => part.matches(attributes).map(|matches| !matches),
            Self::Equal(name, wanted) => any(name, &|value| wanted.equals(value)),
            Self::Substrings(name, pieces) => any(name, &|value| has_pieces(&fold(value), pieces)),
            Self::AtLeast(name, wanted) => any(name, &|value| wanted.order(value).is_le()),
            Self::AtMost(name, wanted) => any(name, &|value| wanted.order(value).is_ge()),
            Self::Present(name) => any(name, &|_| true),
            Self::Undefined => None,
        }
    }
}

/// An assertion value, in the forms that it is compared in.
#[derive(Debug)]
pub(super) struct Value {
    folded: Vec<u8>,
    /// As a distinguished name, if it could be one.
    name: Option<String>,
    number: Option<i64>,
}

impl Value {
    fn new(octets: &[u8]) -> Self {
        let text = std::str::from_utf8(octets).ok();
        Self {
            folded: fold(octets),
            name: text.filter(|text| text.contains('=')).map(normalise_dn),
            number: text.and_then(|text| text.trim().parse().ok()),
        }
    }

    fn equals(&self, value: &[u8]) -> bool {
        if fold(value) == self.folded {
            return true;
        }
        let text = || std::str::from_utf8(value).ok();
        self.name
            .as_ref()
            .is_some_and(|name| text().is_some_and(|text| normalise_dn(text) == *name))
    }

    /// How this value stands to `value`.
    fn order(&self, value: &[u8]) -> std::cmp::Ordering {
        let number: Option<i64> = std::str::from_utf8(value)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        match (self.number, number) {
            (Some(own), Some(other)) => own.cmp(&other),
            _ => self.folded.cmp(&fold(value)),
        }
    }
}

/// A piece of a substring assertion.
#[derive(Debug)]
pub(super) enum Piece {
    Initial(Vec<u8>),
    Any(Vec<u8>),
    Final(Vec<u8>),
}

impl Piece {
    fn new(tag: u8, octets: &[u8]) -> Result<Self, BerError> {
        // Blanks at the ends of a piece count: they stand in the middle of a value.
        let folded = lower(octets);
        match tag {
            0x80 => Ok(Self::Initial(folded)),
            0x81 => Ok(Self::Any(folded)),
            0x82 => Ok(Self::Final(folded)),
            _ => Err(BerError::Unexpected),
        }
    }
}

fn has_pieces(value: &[u8], pieces: &[Piece]) -> bool {
    let mut rest = value;
    pieces.iter().all(|piece| {
        let after = match piece {
            Piece::Initial(wanted) => rest.strip_prefix(wanted.as_slice()),
            Piece::Any(wanted) if wanted.is_empty() => Some(rest),
            Piece::Any(wanted) => rest
                .windows(wanted.len())
                .position(|window| window == wanted)
                .and_then(|at| rest.get(at + wanted.len()..)),
            Piece::Final(wanted) => rest.ends_with(wanted).then_some(&[][..]),
        };
        after.inspect(|after| rest = after).is_some()
    })
}

/// Lower case, one blank for many, none at the ends; octets that are no text stay as they are.
fn fold(octets: &[u8]) -> Vec<u8> {
    let mut folded = lower(octets);
    if std::str::from_utf8(octets).is_ok() {
        folded.dedup_by(|next, before| *next == b' ' && *before == b' ');
        if folded.last() == Some(&b' ') {
            folded.pop();
        }
        if folded.first() == Some(&b' ') {
            folded.remove(0);
        }
    }
    folded
}

fn lower(octets: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.is_ascii() => text.to_lowercase().into_bytes(),
        Ok(_) => octets.to_ascii_lowercase(),
        Err(_) => octets.to_vec(),
    }
}

fn name(fields: &mut Reader<'_>) -> Result<String, BerError> {
    text(fields.expect(OCTET_STRING)?)
}

fn text(octets: &[u8]) -> Result<String, BerError> {
    std::str::from_utf8(octets)
        .map(str::to_owned)
        .map_err(|_| BerError::Unexpected)
}

/// Most parts of a filter: it is held against every entry on a thread that others wait for.
const MOST_PARTS: usize = 256;
/// Most levels of `and`, `or` and `not`.
const MOST_LEVELS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

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
        let pieces = [Piece::Initial(b"ab".to_vec()), Piece::Final(b"ba".to_vec())];
        assert!(has_pieces(b"abba", &pieces));
        assert!(!has_pieces(b"aba", &pieces));
    }
}
