//! The numbers of RADIUS that are used here: packet codes, attribute types, enumerated values.
//!
//! Names and numbers come from the `radius` crate where it has them; nothing else of it is used
//! (`docs/decisions/0003-radius-codec.md`).

use radius::core::code::Code as Assigned;
use radius::core::{rfc2865, rfc2869};

/// Access-Request (RFC 2865 section 4.1).
pub const ACCESS_REQUEST: u8 = Assigned::AccessRequest as u8;
/// Access-Accept (RFC 2865 section 4.2).
pub const ACCESS_ACCEPT: u8 = Assigned::AccessAccept as u8;
/// Access-Reject (RFC 2865 section 4.3).
pub const ACCESS_REJECT: u8 = Assigned::AccessReject as u8;
/// Accounting-Request (RFC 2866 section 4.1).
pub const ACCOUNTING_REQUEST: u8 = Assigned::AccountingRequest as u8;
/// Accounting-Response (RFC 2866 section 4.2).
pub const ACCOUNTING_RESPONSE: u8 = Assigned::AccountingResponse as u8;
/// Access-Challenge (RFC 2865 section 4.4).
pub const ACCESS_CHALLENGE: u8 = Assigned::AccessChallenge as u8;
/// Status-Server (RFC 5997 section 3).
pub const STATUS_SERVER: u8 = Assigned::StatusServer as u8;
/// Disconnect-Request (RFC 5176 section 2.1).
pub const DISCONNECT_REQUEST: u8 = Assigned::DisconnectRequest as u8;
/// Disconnect-ACK (RFC 5176 section 2.1).
pub const DISCONNECT_ACK: u8 = Assigned::DisconnectACK as u8;
/// Disconnect-NAK (RFC 5176 section 2.1).
pub const DISCONNECT_NAK: u8 = Assigned::DisconnectNAK as u8;
/// CoA-Request (RFC 5176 section 2.2).
pub const COA_REQUEST: u8 = Assigned::CoARequest as u8;
/// CoA-ACK (RFC 5176 section 2.2).
pub const COA_ACK: u8 = Assigned::CoAACK as u8;
/// CoA-NAK (RFC 5176 section 2.2).
pub const COA_NAK: u8 = Assigned::CoANAK as u8;
/// Protocol-Error (RFC 7930 section 4).
pub const PROTOCOL_ERROR: u8 = 52;

/// User-Name (RFC 2865 section 5.1).
pub const USER_NAME: u8 = rfc2865::USER_NAME_TYPE;
/// User-Password (RFC 2865 section 5.2).
pub const USER_PASSWORD: u8 = rfc2865::USER_PASSWORD_TYPE;
/// CHAP-Password (RFC 2865 section 5.3).
pub const CHAP_PASSWORD: u8 = rfc2865::CHAP_PASSWORD_TYPE;
/// Reply-Message (RFC 2865 section 5.18).
pub const REPLY_MESSAGE: u8 = rfc2865::REPLY_MESSAGE_TYPE;
/// State (RFC 2865 section 5.24).
pub const STATE: u8 = rfc2865::STATE_TYPE;
/// Vendor-Specific (RFC 2865 section 5.26).
pub const VENDOR_SPECIFIC: u8 = rfc2865::VENDOR_SPECIFIC_TYPE;
/// Session-Timeout (RFC 2865 section 5.27): in an Access-Challenge, how long to wait for the answer.
pub const SESSION_TIMEOUT: u8 = rfc2865::SESSION_TIMEOUT_TYPE;
/// Calling-Station-Id (RFC 2865 section 5.31).
pub const CALLING_STATION_ID: u8 = rfc2865::CALLING_STATION_ID_TYPE;
/// NAS-Identifier (RFC 2865 section 5.32).
pub const NAS_IDENTIFIER: u8 = rfc2865::NAS_IDENTIFIER_TYPE;
/// Proxy-State (RFC 2865 section 5.33).
pub const PROXY_STATE: u8 = rfc2865::PROXY_STATE_TYPE;
/// CHAP-Challenge (RFC 2865 section 5.40).
pub const CHAP_CHALLENGE: u8 = rfc2865::CHAP_CHALLENGE_TYPE;
/// Class (RFC 2865 section 5.25).
pub const CLASS: u8 = rfc2865::CLASS_TYPE;
/// Event-Timestamp (RFC 2869 section 5.3), in seconds since 1970.
pub const EVENT_TIMESTAMP: u8 = rfc2869::EVENT_TIMESTAMP_TYPE;
/// Prompt (RFC 2869 section 5.10).
pub const PROMPT: u8 = rfc2869::PROMPT_TYPE;
/// EAP-Message (RFC 3579 section 3.1).
pub const EAP_MESSAGE: u8 = rfc2869::EAP_MESSAGE_TYPE;
/// Message-Authenticator (RFC 3579 section 3.2).
pub const MESSAGE_AUTHENTICATOR: u8 = rfc2869::MESSAGE_AUTHENTICATOR_TYPE;
/// Error-Cause (RFC 5176 section 3.5).
pub const ERROR_CAUSE: u8 = 101;

/// Prompt: do not show what is typed.
pub const PROMPT_NO_ECHO: u32 = rfc2869::PROMPT_NO_ECHO;
/// Prompt: show what is typed.
pub const PROMPT_ECHO: u32 = rfc2869::PROMPT_ECHO;

/// Microsoft's vendor number (RFC 2548).
pub const VENDOR_MICROSOFT: u32 = 311;
/// MS-CHAP-Response (RFC 2548 section 2.1.3).
pub const MS_CHAP_RESPONSE: u8 = 1;
/// MS-CHAP-Error (RFC 2548 section 2.1.5).
pub const MS_CHAP_ERROR: u8 = 2;
/// MS-MPPE-Encryption-Policy (RFC 2548 section 2.4.4).
pub const MS_MPPE_ENCRYPTION_POLICY: u8 = 7;
/// MS-MPPE-Encryption-Types (RFC 2548 section 2.4.5).
pub const MS_MPPE_ENCRYPTION_TYPES: u8 = 8;
/// MS-CHAP-Challenge (RFC 2548 section 2.1.2).
pub const MS_CHAP_CHALLENGE: u8 = 11;
/// MS-MPPE-Send-Key (RFC 2548 section 2.4.2).
pub const MS_MPPE_SEND_KEY: u8 = 16;
/// MS-MPPE-Recv-Key (RFC 2548 section 2.4.3).
pub const MS_MPPE_RECV_KEY: u8 = 17;
/// MS-CHAP2-Response (RFC 2548 section 2.3.2).
pub const MS_CHAP2_RESPONSE: u8 = 25;
/// MS-CHAP2-Success (RFC 2548 section 2.3.3).
pub const MS_CHAP2_SUCCESS: u8 = 26;

/// The name of a packet code, for logs.
pub fn code_name(code: u8) -> &'static str {
    Assigned::from(code).string()
}
