//! An attribute as it stands in a packet: tag, and the headers around it.

use crate::dictionary::attribute::{Attribute, Home, Kind, MAX_VALUE, Pair, VENDOR_SPECIFIC};

/// The value is longer than its attribute can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value is longer than its attribute can be")]
pub struct Long;

impl Attribute {
    /// Appends the attribute to the octets behind a packet's header: `body` is the value with its tag, and
    /// hidden where it is one of those.
    ///
    /// # Errors
    /// [`Long`] when it does not fit an attribute; then nothing is appended.
    pub fn lay_out(&self, body: &[u8], out: &mut Vec<u8>) -> Result<(), Long> {
        let before = out.len();
        let laid = match &self.home {
            Home::Standard if self.concat => body
                .chunks(MAX_VALUE)
                .try_for_each(|piece| outer(self.carrier(), &[], piece, out)),
            Home::Standard => outer(self.carrier(), &[], body, out),
            Home::Extended(kind @ (245 | 246)) => self.long_extended(*kind, body, out),
            Home::Extended(kind) => outer(*kind, &[self.inner_number()], body, out),
            Home::Vendor(vendor) => {
                let mut head = Vec::with_capacity(12);
                head.extend_from_slice(&vendor.number.to_be_bytes());
                let format = vendor.format;
                big_endian(self.number, format.kind, &mut head);
                let length = u32::try_from(format.header() + body.len()).map_err(|_| Long)?;
                if format.length == 1 && length > u32::from(u8::MAX) {
                    return Err(Long);
                }
                big_endian(length, format.length, &mut head);
                if format.continuation {
                    head.push(0);
                }
                outer(VENDOR_SPECIFIC, &head, body, out)
            }
        };
        if laid.is_err() {
            out.truncate(before);
        }
        laid
    }

    /// In pieces; all but the last say that there is more (RFC 6929 section 2.2).
    fn long_extended(&self, kind: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), Long> {
        const MORE: u8 = 0x80;
        let mut pieces = body.chunks(MAX_VALUE - 2).peekable();
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_some() { MORE } else { 0 };
            outer(kind, &[self.inner_number(), flags], piece, out)?;
        }
        Ok(())
    }

    fn inner_number(&self) -> u8 {
        u8::try_from(self.number).unwrap_or(0)
    }
}

impl Pair {
    /// Appends the tag that stands before the value (RFC 2868 section 3), if there is one. A text without a
    /// tag goes without, unless its first octet would be taken for one.
    pub fn push_tag(&self, out: &mut Vec<u8>) {
        let mistakable = self.value.first().is_some_and(|first| *first <= MAX_TAG);
        let needed = self.attribute.kind == Kind::Integer || mistakable;
        match self.tag {
            Some(tag) if self.attribute.tagged => out.push(tag),
            None if self.attribute.tagged && needed => out.push(0),
            Some(_) | None => {}
        }
    }
}

fn outer(kind: u8, head: &[u8], piece: &[u8], out: &mut Vec<u8>) -> Result<(), Long> {
    let length = u8::try_from(2 + head.len() + piece.len()).map_err(|_| Long)?;
    out.extend_from_slice(&[kind, length]);
    out.extend_from_slice(head);
    out.extend_from_slice(piece);
    Ok(())
}

/// The last `octets` octets of a number.
fn big_endian(number: u32, octets: u8, out: &mut Vec<u8>) {
    let all = number.to_be_bytes();
    let skip = all.len().saturating_sub(octets.into());
    out.extend(all.iter().skip(skip));
}

/// Largest octet that is a tag.
const MAX_TAG: u8 = 31;
