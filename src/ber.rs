//! BER elements and LDAP messages as borrowed views (RFC 4511 section 5.1): definite lengths only, no
//! recursion, nothing copied. Any length-of-length form is legal and read.

/// What is wrong with some BER.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BerError {
    /// Length octet 0x80, which RFC 4511 section 5.1 forbids.
    #[error("indefinite length")]
    IndefiniteLength,
    /// A tag number above 30, which LDAP does not use.
    #[error("multi-octet tag")]
    LongTag,
    /// A length that no memory could hold.
    #[error("length out of range")]
    TooLong,
    /// The content ends before the length says so.
    #[error("truncated element")]
    Truncated,
    /// Another element than the grammar wants here.
    #[error("unexpected element")]
    Unexpected,
}

/// Tag of a SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// Tag of an INTEGER.
pub const INTEGER: u8 = 0x02;
/// Tag of an OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// Tag of an ENUMERATED.
pub const ENUMERATED: u8 = 0x0a;
/// Tag of a BOOLEAN.
pub const BOOLEAN: u8 = 0x01;

/// Identifier and length octets of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The identifier octet.
    pub tag: u8,
    /// Octets of identifier and length together.
    pub octets: usize,
    /// Octets of content.
    pub content: usize,
}

impl Header {
    /// Reads a header; `None` when more octets are needed to know it.
    ///
    /// # Errors
    /// For forms that RFC 4511 forbids, as soon as they show.
    pub fn read(input: &[u8]) -> Result<Option<Self>, BerError> {
        let Some((&tag, rest)) = input.split_first() else {
            return Ok(None);
        };
        if tag & 0x1f == 0x1f {
            return Err(BerError::LongTag);
        }
        let Some((&first, rest)) = rest.split_first() else {
            return Ok(None);
        };
        if first < 0x80 {
            return Ok(Some(Self {
                tag,
                octets: 2,
                content: usize::from(first),
            }));
        }
        let count = usize::from(first & 0x7f);
        if count == 0 {
            return Err(BerError::IndefiniteLength);
        }
        let mut content = 0usize;
        for &octet in rest.iter().take(count) {
            if content > (usize::MAX >> 9) {
                return Err(BerError::TooLong);
            }
            content = (content << 8) | usize::from(octet);
        }
        if rest.len() < count {
            return Ok(None);
        }
        Ok(Some(Self {
            tag,
            octets: 2 + count,
            content,
        }))
    }

    /// Octets of the whole element.
    pub fn total(self) -> Result<usize, BerError> {
        self.octets.checked_add(self.content).ok_or(BerError::TooLong)
    }
}

/// One element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// The identifier octet.
    pub tag: u8,
    /// The content octets.
    pub content: &'a [u8],
    /// The element with its header, as it stands in the input.
    pub whole: &'a [u8],
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Starts at the beginning of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next element's tag, without taking it.
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// Takes the next element.
    ///
    /// # Errors
    /// [`BerError::Truncated`] at the end of the input, and the faults of headers.
    pub fn element(&mut self) -> Result<Element<'a>, BerError> {
        let header = Header::read(self.0)?.ok_or(BerError::Truncated)?;
        let (whole, rest) = self.0.split_at_checked(header.total()?).ok_or(BerError::Truncated)?;
        let content = whole.get(header.octets..).ok_or(BerError::Truncated)?;
        self.0 = rest;
        Ok(Element {
            tag: header.tag,
            content,
            whole,
        })
    }

    /// Takes the next element, which must have `tag`.
    ///
    /// # Errors
    /// [`BerError::Unexpected`] for another tag.
    pub fn expect(&mut self, tag: u8) -> Result<&'a [u8], BerError> {
        let element = self.element()?;
        if element.tag == tag {
            Ok(element.content)
        } else {
            Err(BerError::Unexpected)
        }
    }

    /// Takes an INTEGER or ENUMERATED (`tag`) that fits 32 bits.
    ///
    /// # Errors
    /// [`BerError::Unexpected`] for another tag, no octets, or more than four.
    pub fn integer(&mut self, tag: u8) -> Result<i32, BerError> {
        integer(self.expect(tag)?)
    }
}

/// The value of INTEGER content octets (two's complement, one to four octets).
///
/// # Errors
/// [`BerError::Unexpected`] when there are none or more than four.
pub fn integer(content: &[u8]) -> Result<i32, BerError> {
    let (&first, _) = content.split_first().ok_or(BerError::Unexpected)?;
    if content.len() > 4 {
        return Err(BerError::Unexpected);
    }
    let start = if first & 0x80 == 0 { 0 } else { -1 };
    Ok(content
        .iter()
        .fold(start, |value: i32, &octet| (value << 8) | i32::from(octet)))
}

/// An LDAPMessage (RFC 4511 section 4.1.1) with its operation undecoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// messageID, 0..2^31-1.
    pub id: i32,
    /// The protocolOp.
    pub operation: Element<'a>,
    /// Content of the controls element ([0]), if there is one.
    pub controls: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads one whole message.
    ///
    /// # Errors
    /// When it is not an LDAPMessage: a SEQUENCE of messageID, protocolOp, and perhaps controls.
    pub fn read(pdu: &'a [u8]) -> Result<Self, BerError> {
        let mut outer = Reader::new(pdu);
        let mut inner = Reader::new(outer.expect(SEQUENCE)?);
        if !outer.is_empty() {
            return Err(BerError::Unexpected);
        }
        let id = inner.integer(INTEGER)?;
        let operation = inner.element()?;
        let controls = if inner.is_empty() {
            None
        } else {
            Some(inner.expect(0xa0)?)
        };
        if id < 0 || !inner.is_empty() {
            return Err(BerError::Unexpected);
        }
        Ok(Self {
            id,
            operation,
            controls,
        })
    }
}

/// Appends an element to `out`, with the shortest length form.
pub fn write(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    write_header(tag, content.len(), out);
    out.extend_from_slice(content);
}

/// Appends the header of an element whose `content` octets the caller appends next.
pub fn write_header(tag: u8, content: usize, out: &mut Vec<u8>) {
    out.push(tag);
    write_length(content, out);
}

/// Octets of an element with `content` octets of content, in the shortest length form.
pub fn total(content: usize) -> usize {
    let header = match content {
        0..=0x7f => 2,
        0x80..=0xff => 3,
        0x100..=0xffff => 4,
        _ => 6,
    };
    header + content
}

/// Appends an element whose content `fill` writes.
pub fn write_with(tag: u8, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut content = Vec::with_capacity(64);
    fill(&mut content);
    write(tag, &content, out);
}

/// Appends an INTEGER or ENUMERATED in the fewest octets.
pub fn write_integer(tag: u8, value: i32, out: &mut Vec<u8>) {
    let octets = value.to_be_bytes();
    let redundant =
        |pair: &[u8]| matches!(pair, [0, next] if next & 0x80 == 0) || matches!(pair, [0xff, next] if next & 0x80 != 0);
    let skip = octets.windows(2).take_while(|pair| redundant(pair)).count();
    write(tag, octets.get(skip..).unwrap_or(&octets), out);
}

#[allow(clippy::cast_possible_truncation, reason = "each arm has bounded the length")]
fn write_length(length: usize, out: &mut Vec<u8>) {
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend_from_slice(&[0x81, length as u8]),
        0x100..=0xffff => {
            out.push(0x82);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x84);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_length_is_read() {
        for input in [
            &[0x30, 0x01, 0xaa][..],
            &[0x30, 0x81, 0x01, 0xaa],
            &[0x30, 0x84, 0, 0, 0, 1, 0xaa],
            &[0x30, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xaa],
        ] {
            assert_eq!(Reader::new(input).expect(SEQUENCE).unwrap(), &[0xaa], "{input:x?}");
        }
    }

    #[test]
    fn forbidden_forms_are_refused() {
        assert_eq!(Header::read(&[0x30, 0x80]), Err(BerError::IndefiniteLength));
        assert_eq!(Header::read(&[0x3f, 0x01]), Err(BerError::LongTag));
        assert_eq!(
            Header::read(&[0x30, 0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
            Err(BerError::TooLong)
        );
        assert_eq!(Header::read(&[0x30, 0x82, 1]), Ok(None));
        assert_eq!(Reader::new(&[0x04, 0x05, 1]).element(), Err(BerError::Truncated));
    }

    #[test]
    fn totals_are_what_is_written() {
        for content in [0, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let mut out = Vec::new();
            write(OCTET_STRING, &vec![0; content], &mut out);
            assert_eq!(out.len(), total(content));
        }
    }

    #[test]
    fn integers_round_trip() {
        for value in [0, 1, 127, 128, 255, 256, -1, -128, -129, i32::MAX, i32::MIN] {
            let mut out = Vec::new();
            write_integer(INTEGER, value, &mut out);
            assert_eq!(Reader::new(&out).integer(INTEGER).unwrap(), value);
        }
    }

    #[test]
    fn messages_are_taken_apart_without_decoding() {
        let unbind = [0x30, 0x05, 0x02, 0x01, 0x07, 0x42, 0x00];
        let message = Message::read(&unbind).unwrap();
        assert_eq!((message.id, message.operation.tag, message.controls), (7, 0x42, None));
        assert!(
            Message::read(&[0x30, 0x05, 0x02, 0x01, 0xff, 0x42, 0x00]).is_err(),
            "negative id"
        );
    }
}
