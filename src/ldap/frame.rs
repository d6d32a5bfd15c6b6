//! Where one LDAPMessage ends and the next begins, and what little a relay has to know of each: its
//! messageID and which operation it is. Nothing is decoded beyond that, nothing is copied, and a frame
//! need not be in memory as a whole to be understood.

use crate::ber::{self, BerError, Header, INTEGER, Reader, SEQUENCE};

/// What the first octets of an LDAPMessage tell (RFC 4511 section 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// messageID, 0..2^31-1; zero only from servers.
    pub id: i32,
    /// The identifier octet of the protocolOp.
    pub operation: u8,
    /// Octets before the protocolOp's identifier octet.
    pub offset: usize,
    /// Octets of the whole message.
    pub total: usize,
}

/// Who sent a message: a client must not use messageID zero (RFC 4511 section 4.1.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An LDAP client.
    Client,
    /// An LDAP server; zero marks its unsolicited notifications.
    Server,
}

/// Why octets are not an LDAPMessage that we take. All of them end the connection (RFC 4511 section 4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The message is longer than the listener allows.
    #[error("a message of {octets} octets, where {limit} are allowed")]
    TooLarge {
        /// Octets of the message.
        octets: usize,
        /// What is allowed now.
        limit: usize,
    },
    /// The octets are not the BER that LDAP allows.
    #[error("not an LDAP message")]
    Malformed(#[source] BerError),
    /// messageID zero from a client, or a negative one.
    #[error("message id {0}")]
    BadMessageId(i32),
}

impl FrameError {
    /// A stable word for metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too-large",
            Self::Malformed(_) => "malformed",
            Self::BadMessageId(_) => "bad-message-id",
        }
    }
}

impl From<BerError> for FrameError {
    fn from(fault: BerError) -> Self {
        Self::Malformed(fault)
    }
}

impl Head {
    /// Reads the head of the message that `input` begins with; `None` when more octets are needed. A fault
    /// is reported with the first octet that shows it, so that nobody waits for a message that cannot come.
    ///
    /// # Errors
    /// [`FrameError`] for whatever is not an LDAPMessage of at most `limit` octets from `sender`.
    pub fn read(input: &[u8], limit: usize, sender: Sender) -> Result<Option<Self>, FrameError> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        if first != SEQUENCE {
            return Err(BerError::Unexpected.into());
        }
        let Some(outer) = Header::read(input)? else {
            return Ok(None);
        };
        let total = outer.total()?;
        if total > limit {
            return Err(FrameError::TooLarge { octets: total, limit });
        }
        let body = input.get(outer.octets..total.min(input.len())).unwrap_or_default();
        let complete = input.len() >= total;
        match Self::read_body(body, outer, total, sender) {
            // The message has all its octets and they are too few: more input cannot mend it.
            Ok(None) if complete => Err(BerError::Truncated.into()),
            other => other,
        }
    }

    fn read_body(body: &[u8], outer: Header, total: usize, sender: Sender) -> Result<Option<Self>, FrameError> {
        let Some(&tag) = body.first() else {
            return Ok(None);
        };
        if tag != INTEGER {
            return Err(BerError::Unexpected.into());
        }
        let Some(id) = Header::read(body)? else {
            return Ok(None);
        };
        if id.content == 0 || id.content > 4 {
            return Err(BerError::Unexpected.into());
        }
        let Some(content) = body.get(id.octets..id.total()?) else {
            return Ok(None);
        };
        let number = ber::integer(content)?;
        if number < 0 || (number == 0 && sender == Sender::Client) {
            return Err(FrameError::BadMessageId(number));
        }
        let operation = id.total()?;
        let Some(&tag) = body.get(operation) else {
            return Ok(None);
        };
        Ok(Some(Self {
            id: number,
            operation: tag,
            offset: outer.octets + operation,
            total,
        }))
    }
}

/// The first element inside the protocolOp, as far as `frame` reaches: the base of a search, the name of an
/// extended operation. `None` when the operation is not constructed like that or is cut off before its end.
pub(super) fn leading<'a>(frame: &'a [u8], head: &Head) -> Option<Leading<'a>> {
    let operation = frame.get(head.offset..)?;
    let header = Header::read(operation).ok()??;
    let mut content = Reader::new(operation.get(header.octets..)?);
    let first = content.element().ok()?;
    Some(Leading {
        tag: first.tag,
        content: first.content,
        rest: content.rest(),
    })
}

/// See [`leading`].
pub(super) struct Leading<'a> {
    /// Tag of the first element.
    pub(super) tag: u8,
    /// Its content.
    pub(super) content: &'a [u8],
    /// What follows it.
    pub(super) rest: &'a [u8],
}

/// What a splitter finds at the front of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Not enough to tell.
    Incomplete,
    /// A message that is there as a whole.
    Whole(Head),
    /// A message that the buffer cannot hold as a whole: its octets go on as they come.
    Streamed(Head),
}

/// Looks at the front of `input`, of a buffer that grows to `capacity` octets at most.
///
/// # Errors
/// As for [`Head::read`].
pub fn front(input: &[u8], capacity: usize, limit: usize, sender: Sender) -> Result<Front, FrameError> {
    let Some(head) = Head::read(input, limit, sender)? else {
        return if input.len() < capacity {
            Ok(Front::Incomplete)
        } else {
            // Only absurd length forms take more than a buffer to say how long a message is.
            Err(BerError::TooLong.into())
        };
    };
    if input.len() >= head.total {
        Ok(Front::Whole(head))
    } else if head.total > capacity && input.len() >= capacity {
        Ok(Front::Streamed(head))
    } else {
        Ok(Front::Incomplete)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UNBIND: [u8; 7] = [0x30, 0x05, 0x02, 0x01, 0x07, 0x42, 0x00];

    #[test]
    fn a_head_is_known_before_the_rest_has_come() {
        let head = Head {
            id: 7,
            operation: 0x42,
            offset: 5,
            total: 7,
        };
        assert_eq!(Head::read(&UNBIND, 100, Sender::Client), Ok(Some(head)));
        assert_eq!(Head::read(&UNBIND[..6], 100, Sender::Client), Ok(Some(head)));
        for short in 0..6 {
            assert_eq!(Head::read(&UNBIND[..short], 100, Sender::Client), Ok(None), "{short}");
        }
    }

    #[test]
    fn every_form_of_length_is_split() {
        let frame = [0x30, 0x84, 0, 0, 0, 7, 0x02, 0x82, 0, 1, 0x07, 0x42, 0x00];
        let head = Head::read(&frame, 100, Sender::Client).unwrap().unwrap();
        assert_eq!((head.id, head.operation, head.total), (7, 0x42, frame.len()));
        assert_eq!(frame[head.offset], 0x42);
    }

    #[test]
    fn faults_show_with_their_first_octet() {
        let fault = |input: &[u8]| Head::read(input, 100, Sender::Client).unwrap_err();
        assert!(matches!(fault(b"GET / HTTP/1.1"), FrameError::Malformed(_)));
        assert!(matches!(
            fault(&[0x30, 0x80]),
            FrameError::Malformed(BerError::IndefiniteLength)
        ));
        assert_eq!(
            fault(&[0x30, 0x81, 0xc8]),
            FrameError::TooLarge {
                octets: 203,
                limit: 100
            }
        );
        assert!(matches!(fault(&[0x30, 0x05, 0x04]), FrameError::Malformed(_)));
        assert_eq!(
            fault(&[0x30, 0x05, 0x02, 0x01, 0x00, 0x42, 0x00]),
            FrameError::BadMessageId(0)
        );
        assert_eq!(
            fault(&[0x30, 0x05, 0x02, 0x01, 0xff, 0x42, 0x00]),
            FrameError::BadMessageId(-1)
        );
        assert!(matches!(
            fault(&[0x30, 0x03, 0x02, 0x01, 0x05, 0x30]),
            FrameError::Malformed(_)
        ));
        assert!(matches!(fault(&[0x30, 0x00]), FrameError::Malformed(_)));
        assert!(
            Head::read(&[0x30, 0x05, 0x02, 0x01, 0x00, 0x78, 0x00], 100, Sender::Server).is_ok(),
            "servers notify with id zero"
        );
    }

    #[test]
    fn what_a_buffer_cannot_hold_is_streamed() {
        let mut frame = vec![0x30, 0x82, 0x01, 0x00, 0x02, 0x01, 0x01, 0x64];
        assert_eq!(front(&frame, 64, 1000, Sender::Server), Ok(Front::Incomplete));
        frame.resize(64, 0);
        assert!(matches!(
            front(&frame, 64, 1000, Sender::Server),
            Ok(Front::Streamed(Head { total: 260, .. }))
        ));
        frame.resize(260, 0);
        assert!(matches!(front(&frame, 512, 1000, Sender::Server), Ok(Front::Whole(_))));
    }

    /// An LDAPMessage with a length form of the test's choice.
    fn message(id: u16, operation: u8, content: &[u8], extra: u8) -> Vec<u8> {
        let mut body = vec![0x02, 0x02];
        body.extend((id & 0x7fff).to_be_bytes());
        ber::write(operation, content, &mut body);
        let octets = usize::from(extra) + 4;
        let mut frame = vec![0x30, 0x80 | u8::try_from(octets).unwrap()];
        frame.extend(std::iter::repeat_n(0, octets - 4));
        frame.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        frame.extend(body);
        frame
    }

    proptest! {
        #[test]
        fn chunks_do_not_change_what_is_split(
            messages in prop::collection::vec((1u16.., 0x60u8..0x7e, prop::collection::vec(any::<u8>(), 0..300), 0u8..4), 1..12),
            chunks in prop::collection::vec(1usize..200, 1..50),
        ) {
            prop_assume!(messages.iter().all(|(id, ..)| id & 0x7fff != 0));
            let frames: Vec<Vec<u8>> =
                messages.iter().map(|(id, op, content, extra)| message(*id, *op, content, *extra)).collect();
            let stream = frames.concat();
            let (mut buffer, mut position, mut found) = (Vec::new(), 0, Vec::new());
            for size in chunks.iter().cycle() {
                let end = (position + size).min(stream.len());
                buffer.extend_from_slice(&stream[position..end]);
                position = end;
                while let Front::Whole(head) = front(&buffer, 4096, 4096, Sender::Client).unwrap() {
                    found.push(buffer.drain(..head.total).collect::<Vec<u8>>());
                }
                if position == stream.len() {
                    break;
                }
            }
            prop_assert_eq!(found, frames);
        }

        #[test]
        fn arbitrary_octets_never_panic(input in prop::collection::vec(any::<u8>(), 0..200), capacity in 0usize..300) {
            for sender in [Sender::Client, Sender::Server] {
                if let Ok(Front::Whole(head)) = front(&input, capacity, 1000, sender) {
                    prop_assert!(head.total <= input.len() && head.offset < head.total);
                    let _ = leading(&input[..head.total], &head);
                }
            }
        }
    }
}
