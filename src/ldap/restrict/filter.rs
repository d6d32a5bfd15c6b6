//! Search filters (RFC 4511 section 4.5.1.7): read strictly, and looked through for what they ask about.

use super::Refusal;
use super::attributes::Hidden;
use crate::ber::{BerError, Element, OCTET_STRING, Reader, SEQUENCE};
use crate::ldap::reply::Code;

/// Whether a filter is one, is not nested too deep, and asks about no hidden attribute. One that does is
/// refused, and not taken for undefined: what matches then would tell less than the client believes.
pub(super) fn check(filter: Element<'_>, hidden: Option<&Hidden>) -> Result<(), Refusal> {
    part(filter, hidden, 0)
}

fn part(filter: Element<'_>, hidden: Option<&Hidden>, level: usize) -> Result<(), Refusal> {
    if level >= MOST_LEVELS {
        return Err(Refusal(Code::UnwillingToPerform, "the filter is nested too deep"));
    }
    let mut fields = Reader::new(filter.content);
    match filter.tag {
        // Without parts they are true and false (RFC 4526).
        AND | OR => {
            while !fields.is_empty() {
                part(fields.element()?, hidden, level + 1)?;
            }
        }
        NOT => part(fields.element()?, hidden, level + 1)?,
        EQUALITY | GREATER_OR_EQUAL | LESS_OR_EQUAL | APPROXIMATELY => {
            tells(hidden, fields.expect(OCTET_STRING)?)?;
            fields.expect(OCTET_STRING)?;
        }
        SUBSTRINGS => {
            tells(hidden, fields.expect(OCTET_STRING)?)?;
            let mut pieces = Reader::new(fields.expect(SEQUENCE)?);
            while !pieces.is_empty() {
                if !matches!(pieces.element()?.tag, 0x80..=0x82) {
                    return Err(BerError::Unexpected.into());
                }
            }
        }
        PRESENT => return tells(hidden, filter.content),
        EXTENSIBLE => extensible(&mut fields, hidden)?,
        _ => return Err(BerError::Unexpected.into()),
    }
    end(&fields)
}

/// Without a type the assertion is held against all attributes, those included that are hidden.
fn extensible(fields: &mut Reader<'_>, hidden: Option<&Hidden>) -> Result<(), Refusal> {
    if fields.peek() == Some(0x81) {
        fields.expect(0x81)?;
    }
    if fields.peek() == Some(0x82) {
        tells(hidden, fields.expect(0x82)?)?;
    } else if hidden.is_some() {
        return Err(HIDDEN);
    }
    fields.expect(0x83)?;
    if fields.peek() == Some(0x84) && fields.expect(0x84)?.len() != size_of::<u8>() {
        return Err(BerError::Unexpected.into());
    }
    Ok(())
}

fn tells(hidden: Option<&Hidden>, description: &[u8]) -> Result<(), Refusal> {
    match hidden {
        Some(hidden) if !hidden.tells(description) => Err(HIDDEN),
        Some(_) | None => Ok(()),
    }
}

/// A message that goes on behind its end could say something else to the server.
pub(super) fn end(fields: &Reader<'_>) -> Result<(), Refusal> {
    if fields.is_empty() {
        Ok(())
    } else {
        Err(BerError::Unexpected.into())
    }
}

/// What is answered to whoever asks about a hidden attribute, whether it is there or not.
pub(super) const HIDDEN: Refusal = Refusal(
    Code::InsufficientAccessRights,
    "an attribute in the request is hidden here",
);

/// Levels of filters within filters.
pub(super) const MOST_LEVELS: usize = 64;

// The choices of a filter.
const AND: u8 = 0xa0;
const OR: u8 = 0xa1;
const NOT: u8 = 0xa2;
const EQUALITY: u8 = 0xa3;
const SUBSTRINGS: u8 = 0xa4;
const GREATER_OR_EQUAL: u8 = 0xa5;
const LESS_OR_EQUAL: u8 = 0xa6;
const PRESENT: u8 = 0x87;
const APPROXIMATELY: u8 = 0xa8;
const EXTENSIBLE: u8 = 0xa9;
