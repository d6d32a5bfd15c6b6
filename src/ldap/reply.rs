//! The few LDAP messages that we write ourselves (RFC 4511 sections 4.1.9, 4.4.1, 4.12).

use crate::ber::{self, ENUMERATED, INTEGER, Message, OCTET_STRING, Reader, SEQUENCE};
use crate::ldap::frame::Head;

/// A resultCode of RFC 4511 appendix A, as far as we send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// 0
    Success,
    /// 1: not now, or not in this order.
    OperationsError,
    /// 2: not what the protocol says.
    ProtocolError,
    /// 4
    SizeLimitExceeded,
    /// 7: a way to bind that is not served.
    AuthMethodNotSupported,
    /// 8: bind first.
    StrongerAuthRequired,
    /// 11
    AdminLimitExceeded,
    /// 14: a bind with SASL goes on.
    SaslBindInProgress,
    /// 48: EXTERNAL without a certificate.
    InappropriateAuthentication,
    /// 12: a critical control that we do not know.
    UnavailableCriticalExtension,
    /// 13: not without TLS.
    ConfidentialityRequired,
    /// 19: the directory's policy does not take it.
    ConstraintViolation,
    /// 32
    NoSuchObject,
    /// 34
    InvalidDnSyntax,
    /// 49
    InvalidCredentials,
    /// 50: not with these rights.
    InsufficientAccessRights,
    /// 51: too many operations at once.
    Busy,
    /// 52: the directory is out of reach.
    Unavailable,
    /// 53
    UnwillingToPerform,
    /// 123: an authorization identity that may not be had (RFC 4370 section 4).
    AuthorizationDenied,
}

impl Code {
    /// The number on the wire.
    pub const fn number(self) -> i32 {
        match self {
            Self::Success => 0,
            Self::OperationsError => 1,
            Self::ProtocolError => 2,
            Self::SizeLimitExceeded => 4,
            Self::AuthMethodNotSupported => 7,
            Self::StrongerAuthRequired => 8,
            Self::AdminLimitExceeded => 11,
            Self::UnavailableCriticalExtension => 12,
            Self::ConfidentialityRequired => 13,
            Self::SaslBindInProgress => 14,
            Self::ConstraintViolation => 19,
            Self::NoSuchObject => 32,
            Self::InvalidDnSyntax => 34,
            Self::InappropriateAuthentication => 48,
            Self::InvalidCredentials => 49,
            Self::InsufficientAccessRights => 50,
            Self::Busy => 51,
            Self::Unavailable => 52,
            Self::UnwillingToPerform => 53,
            Self::AuthorizationDenied => 123,
        }
    }
}

/// A result that we send for one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// messageID of the request.
    pub id: i32,
    /// Identifier octet of the response.
    pub response: u8,
    /// The result.
    pub code: Code,
    /// diagnosticMessage.
    pub text: &'static str,
}

impl Answer {
    /// Appends the message to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        message(self.id, self.response, None, out, |out| {
            result(self.code, self.text, out)
        });
    }
}

/// Appends the response to StartTLS (RFC 4511 section 4.14.2).
pub(super) fn start_tls(id: i32, code: Code, text: &str, out: &mut Vec<u8>) {
    message(id, EXTENDED_RESPONSE, None, out, |out| {
        result(code, text, out);
        ber::write(RESPONSE_NAME, START_TLS.as_bytes(), out);
    });
}

/// Appends the answer that asks for the client's first octets of a mechanism in which it speaks first: an empty
/// challenge (RFC 4422 section 3, RFC 4511 section 4.2.2).
pub(super) fn empty_challenge(id: i32, out: &mut Vec<u8>) {
    message(id, BIND_RESPONSE, None, out, |out| {
        result(Code::SaslBindInProgress, "", out);
        ber::write(SERVER_SASL_CREDS, b"", out);
    });
}

/// Appends a Notice of Disconnection (RFC 4511 section 4.4.1).
pub(super) fn notice_of_disconnection(code: Code, text: &str, out: &mut Vec<u8>) {
    message(0, EXTENDED_RESPONSE, None, out, |out| {
        result(code, text, out);
        ber::write(RESPONSE_NAME, NOTICE_OF_DISCONNECTION.as_bytes(), out);
    });
}

/// Appends the response to WhoAmI (RFC 4532): the name of who is bound, nothing for nobody.
pub(super) fn who_am_i(id: i32, dn: Option<&str>, out: &mut Vec<u8>) {
    message(id, EXTENDED_RESPONSE, None, out, |out| {
        result(Code::Success, "", out);
        let identity = dn.map(|dn| format!("dn:{dn}")).unwrap_or_default();
        ber::write(RESPONSE_VALUE, identity.as_bytes(), out);
    });
}

/// Appends a WhoAmI request (RFC 4532).
pub(super) fn ask_who_am_i(id: i32, out: &mut Vec<u8>) {
    message(id, EXTENDED_REQUEST, None, out, |out| {
        ber::write(REQUEST_NAME, WHO_AM_I.as_bytes(), out)
    });
}

/// The authorization identity that a WhoAmI response tells; `None` when it tells none, or is no success.
pub(super) fn told_who_am_i<'a>(message: &Message<'a>) -> Option<&'a str> {
    let mut fields = Reader::new(message.operation.content);
    if message.operation.tag != EXTENDED_RESPONSE || fields.integer(ENUMERATED) != Ok(Code::Success.number()) {
        return None;
    }
    while !fields.is_empty() {
        let field = fields.element().ok()?;
        if field.tag == RESPONSE_VALUE {
            return std::str::from_utf8(field.content)
                .ok()
                .filter(|identity| !identity.is_empty());
        }
    }
    None
}

/// Appends an UnbindRequest (RFC 4511 section 4.3).
pub(super) fn unbind(id: i32, out: &mut Vec<u8>) {
    message(id, UNBIND_REQUEST, None, out, |_| {});
}

/// Appends the successful response to a bind that was let in to change the password (RFC 4511 section 4.2.2),
/// with the password policy control where the client asked for it.
pub(super) fn bound_to_change(id: i32, control: Option<&[u8]>, out: &mut Vec<u8>) {
    message(id, BIND_RESPONSE, control, out, |out| result(Code::Success, "", out));
}

/// Appends a message with the `controls`, each an element, if there are any.
pub(super) fn message(
    id: i32,
    operation: u8,
    controls: Option<&[u8]>,
    out: &mut Vec<u8>,
    fill: impl FnOnce(&mut Vec<u8>),
) {
    ber::write_with(SEQUENCE, out, |out| {
        ber::write_integer(INTEGER, id, out);
        ber::write_with(operation, out, fill);
        if let Some(controls) = controls {
            ber::write(CONTROLS, controls, out);
        }
    });
}

/// The controls element of a message.
const CONTROLS: u8 = 0xa0;

/// Appends the fields of an LDAPResult.
pub(super) fn result(code: Code, text: &str, out: &mut Vec<u8>) {
    ber::write_integer(ENUMERATED, code.number(), out);
    ber::write(OCTET_STRING, b"", out);
    ber::write(OCTET_STRING, text.as_bytes(), out);
}

/// BindRequest
pub(super) const BIND_REQUEST: u8 = 0x60;
/// BindResponse
pub(super) const BIND_RESPONSE: u8 = 0x61;
/// UnbindRequest
pub(super) const UNBIND_REQUEST: u8 = 0x42;
/// SearchRequest
pub(super) const SEARCH_REQUEST: u8 = 0x63;
/// SearchResultDone
pub(super) const SEARCH_DONE: u8 = 0x65;
/// SearchResultEntry.
pub(super) const SEARCH_ENTRY: u8 = 0x64;
/// SearchResultReference.
pub(super) const SEARCH_REFERENCE: u8 = 0x73;
/// IntermediateResponse (RFC 4511 section 4.13).
pub(super) const INTERMEDIATE_RESPONSE: u8 = 0x79;
/// AbandonRequest
pub(super) const ABANDON_REQUEST: u8 = 0x50;
/// ExtendedRequest
pub(super) const EXTENDED_REQUEST: u8 = 0x77;
/// ExtendedResponse
pub(super) const EXTENDED_RESPONSE: u8 = 0x78;
/// serverSaslCreds of a BindResponse
const SERVER_SASL_CREDS: u8 = 0x87;
/// responseName of an ExtendedResponse
const RESPONSE_NAME: u8 = 0x8a;

/// responseValue of an ExtendedResponse
const RESPONSE_VALUE: u8 = 0x8b;
/// requestName of an ExtendedRequest
const REQUEST_NAME: u8 = 0x80;

/// RFC 4511 section 4.14.
pub(super) const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// RFC 4532.
pub(super) const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
/// RFC 3062.
pub(super) const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
/// RFC 3909.
pub(super) const CANCEL: &str = "1.3.6.1.1.8";
/// RFC 4511 section 4.4.1.
pub(super) const NOTICE_OF_DISCONNECTION: &str = "1.3.6.1.4.1.1466.20036";

/// The identifier octet of the response that ends an operation; `None` for what is no request that is
/// answered (RFC 4511 section 4.2 and on).
pub(super) const fn response_to(request: u8) -> Option<u8> {
    match request {
        BIND_REQUEST => Some(BIND_RESPONSE),
        SEARCH_REQUEST => Some(SEARCH_DONE),
        0x66 => Some(0x67), // modify
        0x68 => Some(0x69), // add
        0x4a => Some(0x6b), // delete
        0x6c => Some(0x6d), // modify DN
        0x6e => Some(0x6f), // compare
        EXTENDED_REQUEST => Some(EXTENDED_RESPONSE),
        _ => None,
    }
}

/// Whether a message with this identifier octet ends its operation: entries, references and intermediate
/// responses do not.
pub(super) const fn is_final(response: u8) -> bool {
    matches!(response, 0x61 | 0x65 | 0x67 | 0x69 | 0x6b | 0x6d | 0x6f | 0x78)
}

/// Whether a server's message is a Notice of Disconnection: no more will come.
pub(super) fn is_goodbye(head: &Head, frame: &[u8]) -> bool {
    let name = NOTICE_OF_DISCONNECTION.as_bytes();
    head.id == 0 && head.operation == EXTENDED_RESPONSE && frame.windows(name.len()).any(|window| window == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_rfc_lays_them_out() {
        let mut out = Vec::new();
        let answer = Answer {
            id: 2,
            response: SEARCH_DONE,
            code: Code::Unavailable,
            text: "",
        };
        answer.write(&mut out);
        assert_eq!(out, [0x30, 12, 2, 1, 2, 0x65, 7, 0x0a, 1, 52, 4, 0, 4, 0]);
        out.clear();
        notice_of_disconnection(Code::ProtocolError, "x", &mut out);
        assert_eq!(out[..15], [0x30, 37, 2, 1, 0, 0x78, 32, 0x0a, 1, 2, 4, 0, 4, 1, b'x']);
        assert_eq!(&out[17..], NOTICE_OF_DISCONNECTION.as_bytes());
        out.clear();
        unbind(7, &mut out);
        assert_eq!(out, [0x30, 5, 2, 1, 7, 0x42, 0]);
    }

    #[test]
    fn every_answered_request_has_its_final_response() {
        for request in [0x60, 0x63, 0x66, 0x68, 0x4a, 0x6c, 0x6e, 0x77] {
            assert!(is_final(response_to(request).unwrap()), "{request:x}");
        }
        for other in [0x42, 0x50, 0x61, 0x64, 0x73, 0x79, 0x00, 0xff] {
            assert_eq!(response_to(other), None, "{other:x}");
        }
        assert!(!is_final(0x64) && !is_final(0x73) && !is_final(0x79));
    }
}
