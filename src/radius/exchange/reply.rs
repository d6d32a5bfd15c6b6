//! Replies, and what makes them worth believing.

use crate::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REJECT, ACCESS_REQUEST, ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE, COA_ACK,
    COA_NAK, COA_REQUEST, DISCONNECT_ACK, DISCONNECT_NAK, DISCONNECT_REQUEST, PROMPT, PROMPT_ECHO, PROTOCOL_ERROR,
    REPLY_MESSAGE, STATUS_SERVER,
};
use crate::radius::channel::Channel;
use crate::radius::crypto::{AUTHENTICATOR_LEN, SharedSecret, Signature};
use crate::radius::packet::{Attributes, HEADER_LEN, Packet};

/// A proven reply.
#[derive(Clone, Debug)]
pub struct Reply {
    octets: Vec<u8>,
    code: u8,
    authenticator: [u8; AUTHENTICATOR_LEN],
    channel: Channel,
}

impl Reply {
    /// Its packet code. To an Access-Request: Accept, Reject or Challenge; to Status-Server: Accept or
    /// Accounting-Response; to the others their own replies. Nothing else is let through.
    pub const fn code(&self) -> u8 {
        self.code
    }

    /// Its attributes, in order.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes::new(self.octets.get(HEADER_LEN..).unwrap_or_default())
    }

    /// The values of all attributes of one type, in order.
    pub fn all(&self, kind: u8) -> impl Iterator<Item = &[u8]> {
        self.attributes()
            .filter(move |attribute| attribute.kind == kind)
            .map(|attribute| attribute.value)
    }

    /// The value of the first attribute of a type.
    pub fn find(&self, kind: u8) -> Option<&[u8]> {
        self.all(kind).next()
    }

    /// The first attribute of a type, when it is an integer.
    pub fn find_u32(&self, kind: u8) -> Option<u32> {
        self.find(kind)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// What to show, in order. Not made safe for a terminal.
    pub fn messages(&self) -> Vec<String> {
        self.all(REPLY_MESSAGE)
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect()
    }

    /// Whether an answer may be shown while it is typed (RFC 2869 section 5.10).
    pub fn echo(&self) -> bool {
        self.find_u32(PROMPT) == Some(PROMPT_ECHO)
    }

    /// The whole packet, without padding.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The authenticator of the request that it answers, with which encrypted values are read.
    pub const fn request_authenticator(&self) -> &[u8; AUTHENTICATOR_LEN] {
        &self.authenticator
    }

    /// How it travelled.
    pub const fn channel(&self) -> Channel {
        self.channel
    }
}

/// What a reply is measured by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure<'a> {
    /// `None` over RADIUS/1.1, where TLS proves everything.
    pub(super) secret: Option<&'a SharedSecret>,
    /// Whether replies to Access-Request and Status-Server must be signed where nothing is encrypted.
    pub(super) signed: bool,
    /// How the reply came.
    pub(super) channel: Channel,
}

impl Measure<'_> {
    /// The reply, if `packet` is one to the request with this code and authenticator. That it has the
    /// right identifier is known already.
    pub(super) fn prove(
        self,
        packet: &Packet<'_>,
        request: u8,
        authenticator: &[u8; AUTHENTICATOR_LEN],
    ) -> Option<Reply> {
        let proven = answers(request, packet.code())
            && self.secret.is_none_or(|secret| {
                let signature_holds = match secret.reply_signature(packet, authenticator) {
                    Signature::Valid => true,
                    Signature::Absent => {
                        // TLS has proven already who speaks.
                        self.channel.encrypted() || !(self.signed && matches!(request, ACCESS_REQUEST | STATUS_SERVER))
                    }
                    Signature::Invalid => false,
                };
                signature_holds && secret.proves_response(packet, authenticator)
            });
        proven.then(|| Reply {
            octets: packet.octets().to_vec(),
            code: packet.code(),
            authenticator: *authenticator,
            channel: self.channel,
        })
    }
}

/// Whether a packet with the code `reply` can answer one with the code `request`.
fn answers(request: u8, reply: u8) -> bool {
    reply == PROTOCOL_ERROR
        || match request {
            ACCESS_REQUEST => matches!(reply, ACCESS_ACCEPT | ACCESS_REJECT | ACCESS_CHALLENGE),
            STATUS_SERVER => matches!(reply, ACCESS_ACCEPT | ACCOUNTING_RESPONSE),
            ACCOUNTING_REQUEST => reply == ACCOUNTING_RESPONSE,
            DISCONNECT_REQUEST => matches!(reply, DISCONNECT_ACK | DISCONNECT_NAK),
            COA_REQUEST => matches!(reply, COA_ACK | COA_NAK),
            _ => false,
        }
}
