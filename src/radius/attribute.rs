//! The numbers of RADIUS that are used here: packet codes, attribute types, enumerated values.
//!
//! Names and numbers come from the `radius` crate where it has them; nothing else of it is used
//! (`docs/decisions/0003-radius-codec.md`).

use radius::core::code::Code as Assigned;
use radius::core::{rfc2865, rfc2866, rfc2869};

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
/// NAS-IP-Address (RFC 2865 section 5.4).
pub const NAS_IP_ADDRESS: u8 = rfc2865::NAS_IP_ADDRESS_TYPE;
/// NAS-Port (RFC 2865 section 5.5).
pub const NAS_PORT: u8 = rfc2865::NAS_PORT_TYPE;
/// Framed-IP-Address (RFC 2865 section 5.8).
pub const FRAMED_IP_ADDRESS: u8 = rfc2865::FRAMED_IP_ADDRESS_TYPE;
/// Class (RFC 2865 section 5.25).
pub const CLASS: u8 = rfc2865::CLASS_TYPE;
/// Called-Station-Id (RFC 2865 section 5.30).
pub const CALLED_STATION_ID: u8 = rfc2865::CALLED_STATION_ID_TYPE;
/// NAS-Port-Type (RFC 2865 section 5.41).
pub const NAS_PORT_TYPE: u8 = rfc2865::NAS_PORT_TYPE_TYPE;
/// Acct-Status-Type (RFC 2866 section 5.1).
pub const ACCT_STATUS_TYPE: u8 = rfc2866::ACCT_STATUS_TYPE_TYPE;
/// Acct-Delay-Time (RFC 2866 section 5.2).
pub const ACCT_DELAY_TIME: u8 = rfc2866::ACCT_DELAY_TIME_TYPE;
/// Acct-Input-Octets (RFC 2866 section 5.3).
pub const ACCT_INPUT_OCTETS: u8 = rfc2866::ACCT_INPUT_OCTETS_TYPE;
/// Acct-Output-Octets (RFC 2866 section 5.4).
pub const ACCT_OUTPUT_OCTETS: u8 = rfc2866::ACCT_OUTPUT_OCTETS_TYPE;
/// Acct-Session-Id (RFC 2866 section 5.5).
pub const ACCT_SESSION_ID: u8 = rfc2866::ACCT_SESSION_ID_TYPE;
/// Acct-Session-Time (RFC 2866 section 5.7).
pub const ACCT_SESSION_TIME: u8 = rfc2866::ACCT_SESSION_TIME_TYPE;
/// Acct-Input-Packets (RFC 2866 section 5.8).
pub const ACCT_INPUT_PACKETS: u8 = rfc2866::ACCT_INPUT_PACKETS_TYPE;
/// Acct-Output-Packets (RFC 2866 section 5.9).
pub const ACCT_OUTPUT_PACKETS: u8 = rfc2866::ACCT_OUTPUT_PACKETS_TYPE;
/// Acct-Terminate-Cause (RFC 2866 section 5.10).
pub const ACCT_TERMINATE_CAUSE: u8 = rfc2866::ACCT_TERMINATE_CAUSE_TYPE;
/// Acct-Multi-Session-Id (RFC 2866 section 5.11).
pub const ACCT_MULTI_SESSION_ID: u8 = rfc2866::ACCT_MULTI_SESSION_ID_TYPE;
/// Acct-Input-Gigawords (RFC 2869 section 5.1).
pub const ACCT_INPUT_GIGAWORDS: u8 = rfc2869::ACCT_INPUT_GIGAWORDS_TYPE;
/// Acct-Output-Gigawords (RFC 2869 section 5.2).
pub const ACCT_OUTPUT_GIGAWORDS: u8 = rfc2869::ACCT_OUTPUT_GIGAWORDS_TYPE;
/// Event-Timestamp (RFC 2869 section 5.3).
pub const EVENT_TIMESTAMP: u8 = rfc2869::EVENT_TIMESTAMP_TYPE;
/// NAS-Port-Id (RFC 2869 section 5.17).
pub const NAS_PORT_ID: u8 = rfc2869::NAS_PORT_ID_TYPE;
/// Chargeable-User-Identity (RFC 4372 section 2.2).
pub const CHARGEABLE_USER_IDENTITY: u8 = 89;
/// Originating-Line-Info (RFC 7155 section 4.4.9).
pub const ORIGINATING_LINE_INFO: u8 = 94;
/// NAS-IPv6-Address (RFC 3162 section 2.1).
pub const NAS_IPV6_ADDRESS: u8 = 95;
/// Framed-Interface-Id (RFC 3162 section 2.2).
pub const FRAMED_INTERFACE_ID: u8 = 96;
/// Framed-IPv6-Prefix (RFC 3162 section 2.3).
pub const FRAMED_IPV6_PREFIX: u8 = 97;
/// Framed-IPv6-Address (RFC 6911 section 3.1).
pub const FRAMED_IPV6_ADDRESS: u8 = 168;
/// Calling-Station-Id (RFC 2865 section 5.31).
pub const CALLING_STATION_ID: u8 = rfc2865::CALLING_STATION_ID_TYPE;
/// NAS-Identifier (RFC 2865 section 5.32).
pub const NAS_IDENTIFIER: u8 = rfc2865::NAS_IDENTIFIER_TYPE;
/// Proxy-State (RFC 2865 section 5.33).
pub const PROXY_STATE: u8 = rfc2865::PROXY_STATE_TYPE;
/// CHAP-Challenge (RFC 2865 section 5.40).
pub const CHAP_CHALLENGE: u8 = rfc2865::CHAP_CHALLENGE_TYPE;
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
