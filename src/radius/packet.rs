//! RADIUS packets (RFC 2865 section 3): a borrowed view of received octets, and a writer into a buffer
//! that is used again and again. Neither allocates for a request.

use crate::radius::attribute::MESSAGE_AUTHENTICATOR;
use crate::radius::crypto::{AUTHENTICATOR_LEN, SharedSecret};

/// Octets before the first attribute.
pub const HEADER_LEN: usize = 20;

/// Most octets of a packet (RFC 2865 section 3).
pub const MAX_LEN: usize = 4096;

/// Most octets of one attribute's value.
pub const MAX_VALUE: usize = 253;

/// What makes octets no RADIUS packet. All of these are dropped silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer octets than a header, or than the Length field says.
    #[error("the datagram is shorter than a packet or than its Length field")]
    Short,
    /// The Length field is outside 20 to 4096.
    #[error("the Length field is not between 20 and 4096")]
    Length,
    /// An attribute's length is below 2, or it runs past the end.
    #[error("an attribute is shorter than 2 octets or runs past the end")]
    Attribute,
    /// A Message-Authenticator that is not 16 octets long, or more than one.
    #[error("the Message-Authenticator is not one of 16 octets")]
    MessageAuthenticator,
}

/// A well-formed packet: every attribute lies within it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Header and attributes, without padding.
    octets: &'a [u8],
    code: u8,
    identifier: u8,
    authenticator: &'a [u8; AUTHENTICATOR_LEN],
    attributes: &'a [u8],
    /// Where the value of Message-Authenticator begins, counted from the packet's first octet.
    signature: Option<usize>,
}

/// One attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Type (RFC 2865 section 5).
    pub kind: u8,
    /// Value, 0 to 253 octets.
    pub value: &'a [u8],
    /// Type, length and value as they stand in the packet.
    pub raw: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram. Octets beyond the Length field are padding and ignored.
    ///
    /// # Errors
    /// [`Malformed`] for anything that must be dropped silently.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let mut packet = Self::header(datagram)?;
        packet.signature = packet.check(true)?;
        Ok(packet)
    }

    /// Reads a packet of RADIUS/1.1 (RFC 9765 section 4): what was the Identifier is ignored, and so is a
    /// Message-Authenticator, whatever it holds (section 5.2). The first four octets of the Authenticator
    /// field are the Token.
    ///
    /// # Errors
    /// [`Malformed`] when the octets are no packet.
    pub fn parse_unsigned(octets: &'a [u8]) -> Result<Self, Malformed> {
        let mut packet = Self::header(octets)?;
        packet.identifier = 0;
        packet.check(false)?;
        Ok(packet)
    }

    fn header(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let Some(&[code, identifier, high, low]) = datagram.first_chunk::<4>() else {
            return Err(Malformed::Short);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(HEADER_LEN..=MAX_LEN).contains(&length) {
            return Err(Malformed::Length);
        }
        let octets = datagram.get(..length).ok_or(Malformed::Short)?;
        let (header, attributes) = octets.split_at_checked(HEADER_LEN).ok_or(Malformed::Short)?;
        let authenticator = header.last_chunk::<AUTHENTICATOR_LEN>().ok_or(Malformed::Short)?;
        Ok(Self {
            octets,
            code,
            identifier,
            authenticator,
            attributes,
            signature: None,
        })
    }

    /// Code.
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// Identifier.
    pub const fn identifier(&self) -> u8 {
        self.identifier
    }

    /// The Authenticator field: the Request Authenticator, or the Response Authenticator in a reply.
    pub const fn authenticator(&self) -> &'a [u8; AUTHENTICATOR_LEN] {
        self.authenticator
    }

    /// The Token, which tells requests on one connection of RADIUS/1.1 apart (RFC 9765 section 4.2).
    pub fn token(&self) -> [u8; 4] {
        self.authenticator.first_chunk().copied().unwrap_or_default()
    }

    /// The whole packet without padding.
    pub const fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// All attributes in order.
    pub const fn attributes(&self) -> Attributes<'a> {
        Attributes { rest: self.attributes }
    }

    /// The values of all attributes of one type, in order.
    pub fn all(&self, kind: u8) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.attributes()
            .filter(move |attribute| attribute.kind == kind)
            .map(|attribute| attribute.value)
    }

    /// The value of the first attribute of a type.
    pub fn find(&self, kind: u8) -> Option<&'a [u8]> {
        self.all(kind).next()
    }

    /// Whether there is an attribute of this type.
    pub fn has(&self, kind: u8) -> bool {
        self.find(kind).is_some()
    }

    /// Whether Message-Authenticator is the first attribute, where replies must have it.
    pub const fn signed_first(&self) -> bool {
        matches!(self.signature, Some(SIGNATURE_FIRST))
    }

    /// Where the value of Message-Authenticator begins, counted from the first octet of the packet.
    pub(in crate::radius) const fn signature(&self) -> Option<usize> {
        self.signature
    }

    /// Walks all attributes once, so that later walks cannot fail; finds Message-Authenticator, where it
    /// means something.
    fn check(&self, signed: bool) -> Result<Option<usize>, Malformed> {
        let mut walk = self.attributes();
        let mut signature = None;
        loop {
            let at = self.octets.len() - walk.rest.len();
            let Some(attribute) = walk.next() else { break };
            if signed && attribute.kind == MESSAGE_AUTHENTICATOR {
                if attribute.value.len() != AUTHENTICATOR_LEN || signature.is_some() {
                    return Err(Malformed::MessageAuthenticator);
                }
                signature = Some(at + 2);
            }
        }
        if walk.rest.is_empty() {
            Ok(signature)
        } else {
            Err(Malformed::Attribute)
        }
    }
}

/// Iterates over attributes; stops before the first malformed one.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads attributes that stand outside a packet.
    pub const fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// What has not been read: empty at the end, unless an attribute is malformed.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let &[kind, length] = self.rest.first_chunk::<2>()?;
        let (raw, rest) = self.rest.split_at_checked(usize::from(length))?;
        let value = raw.get(2..)?;
        self.rest = rest;
        Some(Attribute { kind, value, raw })
    }
}

/// The attribute or the packet would be longer than the format allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attribute does not fit the packet")]
pub struct Overflow;

/// Writes one packet into a buffer that the caller keeps.
///
/// The Authenticator field holds the request's authenticator until the packet is finished, as both
/// signatures of a reply need it (RFC 3579 section 3.2, RFC 2865 section 3).
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut Vec<u8>,
    signed: bool,
}

impl<'b> Writer<'b> {
    /// Begins a packet in `buffer`, whose old contents go. With `sign`, room for Message-Authenticator
    /// is made as the first attribute.
    pub fn begin(
        buffer: &'b mut Vec<u8>,
        code: u8,
        identifier: u8,
        authenticator: &[u8; AUTHENTICATOR_LEN],
        sign: bool,
    ) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&[code, identifier, 0, 0]);
        buffer.extend_from_slice(authenticator);
        if sign {
            buffer.extend_from_slice(&[MESSAGE_AUTHENTICATOR, 18]);
            buffer.extend_from_slice(&[0; AUTHENTICATOR_LEN]);
        }
        Self { buffer, signed: sign }
    }

    /// Appends an attribute.
    ///
    /// # Errors
    /// [`Overflow`] when the value is longer than 253 octets or the packet would exceed 4096.
    pub fn push(&mut self, kind: u8, value: &[u8]) -> Result<(), Overflow> {
        if self.buffer.len() + 2 + value.len() > MAX_LEN {
            return Err(Overflow);
        }
        append(kind, value, self.buffer)
    }

    /// Appends an attribute of type integer.
    ///
    /// # Errors
    /// As for [`Writer::push`].
    pub fn push_u32(&mut self, kind: u8, value: u32) -> Result<(), Overflow> {
        self.push(kind, &value.to_be_bytes())
    }

    /// Appends a text of any length, over as many attributes as it takes, cut between characters. An
    /// empty text appends nothing (RFC 2865 section 5: a text has 1 to 253 octets).
    ///
    /// # Errors
    /// As for [`Writer::push`].
    pub fn push_text(&mut self, kind: u8, text: &str) -> Result<(), Overflow> {
        pieces(text).try_for_each(|piece| self.push(kind, piece.as_bytes()))
    }

    /// Appends attributes that are encoded already.
    ///
    /// # Errors
    /// As for [`Writer::push`].
    pub fn push_raw(&mut self, attributes: &[u8]) -> Result<(), Overflow> {
        if self.buffer.len() + attributes.len() > MAX_LEN {
            return Err(Overflow);
        }
        self.buffer.extend_from_slice(attributes);
        Ok(())
    }

    /// Writes length, Message-Authenticator and Response Authenticator. The reply is then in the buffer.
    pub fn finish_reply(mut self, secret: &SharedSecret) {
        self.seal(secret);
        let authenticator = secret.response_authenticator(self.buffer);
        if let Some(field) = self.buffer.get_mut(4..HEADER_LEN) {
            field.copy_from_slice(&authenticator);
        }
    }

    /// Writes length and Message-Authenticator. The request is then in the buffer.
    pub fn finish_request(mut self, secret: &SharedSecret) {
        self.seal(secret);
    }

    /// Writes the length; nothing is signed (RFC 9765 section 4). The packet is then in the buffer.
    pub fn finish_plain(mut self) {
        self.measure();
    }

    fn measure(&mut self) {
        // Every push kept the length within MAX_LEN.
        let length = u16::try_from(self.buffer.len()).unwrap_or(u16::MAX).to_be_bytes();
        if let Some(field) = self.buffer.get_mut(2..4) {
            field.copy_from_slice(&length);
        }
    }

    fn seal(&mut self, secret: &SharedSecret) {
        self.measure();
        if self.signed {
            let signature = secret.hmac(&[self.buffer]);
            if let Some(field) = self
                .buffer
                .get_mut(SIGNATURE_FIRST..SIGNATURE_FIRST + AUTHENTICATOR_LEN)
            {
                field.copy_from_slice(&signature);
            }
        }
    }
}

/// Appends an attribute to octets of any length.
pub(in crate::radius) fn append(kind: u8, value: &[u8], octets: &mut Vec<u8>) -> Result<(), Overflow> {
    let length = u8::try_from(value.len() + 2).map_err(|_| Overflow)?;
    octets.extend_from_slice(&[kind, length]);
    octets.extend_from_slice(value);
    Ok(())
}

/// A text in values of one attribute each; none for an empty text.
pub(in crate::radius) fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (piece, rest) = cut(text, MAX_VALUE);
        text = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Cuts a text into its first `octets` octets or a few less, so as not to cut a character, and the rest.
pub(in crate::radius) fn cut(text: &str, octets: usize) -> (&str, &str) {
    (0..=octets.min(text.len()))
        .rev()
        .find_map(|end| text.split_at_checked(end))
        .unwrap_or((text, ""))
}

/// Where the value of Message-Authenticator begins when it is the first attribute.
const SIGNATURE_FIRST: usize = HEADER_LEN + 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::radius::attribute::{ACCESS_REQUEST, REPLY_MESSAGE, STATE, USER_NAME};
    use crate::secret::Secret;

    fn packet(attributes: &[u8]) -> Vec<u8> {
        let mut octets = vec![ACCESS_REQUEST, 7, 0, 0];
        octets.extend_from_slice(&[9; 16]);
        octets.extend_from_slice(attributes);
        let length = u16::try_from(octets.len()).unwrap();
        octets[2..4].copy_from_slice(&length.to_be_bytes());
        octets
    }

    #[test]
    fn padding_is_ignored_and_truncation_is_not() {
        let mut octets = packet(&[USER_NAME, 5, b'a', b'n', b'a']);
        for end in 0..octets.len() {
            assert_eq!(Packet::parse(&octets[..end]).unwrap_err(), Malformed::Short, "{end}");
        }
        octets.extend_from_slice(&[USER_NAME, 0, 0]);
        let view = Packet::parse(&octets).unwrap();
        assert_eq!(view.find(USER_NAME), Some(&b"ana"[..]));
        assert_eq!(view.octets().len(), 25);
        assert_eq!((view.code(), view.identifier()), (ACCESS_REQUEST, 7));
    }

    #[test]
    fn the_length_field_has_bounds() {
        for (length, verdict) in [
            (19u16, Malformed::Length),
            (4097, Malformed::Length),
            (0, Malformed::Length),
        ] {
            let mut octets = packet(&[]);
            octets.resize(5000, 0);
            octets[2..4].copy_from_slice(&length.to_be_bytes());
            assert_eq!(Packet::parse(&octets).unwrap_err(), verdict);
        }
    }

    #[test]
    fn malformed_attributes() {
        for attributes in [
            &[USER_NAME][..],
            &[USER_NAME, 0],
            &[USER_NAME, 1],
            &[USER_NAME, 4, b'a'],
            &[USER_NAME, 3, b'a', STATE],
        ] {
            assert_eq!(
                Packet::parse(&packet(attributes)).unwrap_err(),
                Malformed::Attribute,
                "{attributes:?}"
            );
        }
        assert_eq!(
            Packet::parse(&packet(&[USER_NAME, 2])).unwrap().find(USER_NAME),
            Some(&[][..])
        );
        let mut twice = [[MESSAGE_AUTHENTICATOR, 18].as_slice(), &[0; 16]].concat();
        twice.extend_from_within(..);
        for attributes in [&[MESSAGE_AUTHENTICATOR, 3, 0][..], &twice] {
            assert_eq!(
                Packet::parse(&packet(attributes)).unwrap_err(),
                Malformed::MessageAuthenticator
            );
        }
    }

    #[test]
    fn without_signatures_a_message_authenticator_means_nothing() {
        for attributes in [&[MESSAGE_AUTHENTICATOR, 3, 0, MESSAGE_AUTHENTICATOR, 2][..], &[]] {
            let octets = packet(attributes);
            let view = Packet::parse_unsigned(&octets).unwrap();
            assert_eq!((view.identifier(), view.token()), (0, [9; 4]));
            assert_eq!(view.signature(), None);
        }
        assert_eq!(
            Packet::parse_unsigned(&packet(&[MESSAGE_AUTHENTICATOR, 1])).unwrap_err(),
            Malformed::Attribute
        );
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let secret = SharedSecret::new(&Secret::new("s"));
        let text = format!("{}äöü", "x".repeat(252));
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, 2, 1, &[0; 16], true);
        writer.push_text(REPLY_MESSAGE, &text).unwrap();
        writer.push_text(REPLY_MESSAGE, "").unwrap();
        writer.finish_reply(&secret);
        let pieces: Vec<&[u8]> = Packet::parse(&buffer).unwrap().all(REPLY_MESSAGE).collect();
        assert_eq!(pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(), [252, 6]);
        assert_eq!(pieces.concat(), text.as_bytes());
        assert!(pieces.iter().all(|piece| std::str::from_utf8(piece).is_ok()));
    }

    #[test]
    fn nothing_is_written_past_the_limits() {
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, 2, 1, &[0; 16], false);
        assert_eq!(writer.push(STATE, &[0; 254]), Err(Overflow));
        for _ in 0..15 {
            writer.push(STATE, &[0; 253]).unwrap();
        }
        assert_eq!(writer.push(STATE, &[0; 253]), Err(Overflow));
        assert_eq!(writer.push_raw(&[0; 300]), Err(Overflow));
        writer.push(STATE, &[0; 249]).unwrap();
        writer.finish_request(&SharedSecret::new(&Secret::new("s")));
        assert_eq!(buffer.len(), MAX_LEN);
        assert_eq!(Packet::parse(&buffer).unwrap().all(STATE).count(), 16);
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_reads_back_what_is_there(octets in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(packet) = Packet::parse(&octets) {
                let again: Vec<u8> = packet.attributes().flat_map(|attribute| attribute.raw.to_vec()).collect();
                prop_assert_eq!(&packet.octets()[HEADER_LEN..], &again[..]);
            }
        }

        #[test]
        fn what_is_written_is_read(
            code in any::<u8>(),
            identifier in any::<u8>(),
            authenticator in any::<[u8; 16]>(),
            attributes in prop::collection::vec((1u8..80, prop::collection::vec(any::<u8>(), 0..=253)), 0..14),
            sign in any::<bool>(),
        ) {
            let secret = SharedSecret::new(&Secret::new("secret"));
            let mut buffer = vec![1; 10];
            let mut writer = Writer::begin(&mut buffer, code, identifier, &authenticator, sign);
            for (kind, value) in &attributes {
                writer.push(*kind, value).unwrap();
            }
            writer.finish_request(&secret);
            let packet = Packet::parse(&buffer).unwrap();
            prop_assert_eq!(packet.code(), code);
            prop_assert_eq!(packet.identifier(), identifier);
            prop_assert_eq!(packet.authenticator(), &authenticator);
            prop_assert_eq!(packet.signed_first(), sign);
            let read: Vec<(u8, Vec<u8>)> = packet
                .attributes()
                .skip(usize::from(sign))
                .map(|attribute| (attribute.kind, attribute.value.to_vec()))
                .collect();
            prop_assert_eq!(read, attributes);
        }
    }
}
