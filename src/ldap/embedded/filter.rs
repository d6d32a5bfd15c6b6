//! Search filters as they come over the wire (RFC 4511 section 4.5.1.7), within bounds.

use crate::ber::{BerError, Element, OCTET_STRING, Reader, SEQUENCE};
use crate::directory::local::Attribute;
use crate::engine::filter::{Comparison, Entry, Filter, Matcher, Part};

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

/// Reads a filter.
pub(super) fn read(element: Element<'_>) -> Result<Matcher, FilterError> {
    let mut parts = 0;
    part(element, 0, &mut parts).map(|filter| Matcher::new(&filter))
}

impl Entry for [Attribute] {
    const ABSENT: Option<bool> = Some(false);

    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
        let named = self
            .iter()
            .filter(|attribute| attribute.name.eq_ignore_ascii_case(name));
        let mut found = None;
        for value in named.flat_map(|attribute| &attribute.values) {
            if test(value) {
                return Some(true);
            }
            found = Some(false);
        }
        found
    }
}

fn part(element: Element<'_>, level: usize, parts: &mut usize) -> Result<Filter, FilterError> {
    *parts += 1;
    if level > MOST_LEVELS || *parts > MOST_PARTS {
        return Err(FilterError::TooComplex);
    }
    let mut fields = Reader::new(element.content);
    let compare = |comparison, fields: &mut Reader<'_>| {
        let name = text(fields.expect(OCTET_STRING)?)?;
        Ok::<_, BerError>(Filter::Compare(comparison, name, fields.expect(OCTET_STRING)?.to_vec()))
    };
    Ok(match element.tag {
        0xa0 => Filter::And(list(fields, level, parts)?),
        0xa1 => Filter::Or(list(fields, level, parts)?),
        0xa2 => Filter::Not(Box::new(part(fields.element()?, level + 1, parts)?)),
        0xa3 => compare(Comparison::Equal, &mut fields)?,
        0xa4 => {
            let name = text(fields.expect(OCTET_STRING)?)?;
            let mut pieces = Vec::new();
            let mut list = Reader::new(fields.expect(SEQUENCE)?);
            while !list.is_empty() {
                *parts += 1;
                let piece = list.element()?;
                let place = match piece.tag {
                    0x80 => Part::Initial,
                    0x81 => Part::Any,
                    0x82 => Part::Final,
                    _ => return Err(BerError::Unexpected.into()),
                };
                pieces.push((place, piece.content.to_vec()));
            }
            Filter::Substrings(name, pieces)
        }
        0xa5 => compare(Comparison::GreaterOrEqual, &mut fields)?,
        0xa6 => compare(Comparison::LessOrEqual, &mut fields)?,
        0x87 => Filter::Present(text(element.content)?),
        0xa8 => compare(Comparison::Approximate, &mut fields)?,
        0xa9 => extensible(fields)?,
        _ => return Err(BerError::Unexpected.into()),
    })
}

fn list(mut fields: Reader<'_>, level: usize, parts: &mut usize) -> Result<Vec<Filter>, FilterError> {
    let mut list = Vec::new();
    while !fields.is_empty() {
        list.push(part(fields.element()?, level + 1, parts)?);
    }
    Ok(list)
}

fn extensible(mut fields: Reader<'_>) -> Result<Filter, BerError> {
    let (mut rule, mut attribute, mut value) = (None, None, None);
    while !fields.is_empty() {
        let field = fields.element()?;
        match field.tag {
            0x81 => rule = Some(text(field.content)?),
            0x82 => attribute = Some(text(field.content)?),
            0x83 => value = Some(field.content.to_vec()),
            // That the attributes of the name count as well is more than is looked at.
            0x84 => {}
            _ => return Err(BerError::Unexpected),
        }
    }
    Ok(Filter::Extensible {
        rule,
        attribute,
        value: value.ok_or(BerError::Unexpected)?,
        dn: false,
    })
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
