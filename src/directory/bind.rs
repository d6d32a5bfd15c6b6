//! One simple bind on the wire: the request's octets, the response's fields, and what came of it
//! (RFC 4511 section 4.2; draft-behera-ldap-password-policy-10; the sub-codes of Active Directory).

use crate::ber::{self, BerError, Message, Reader};
use crate::engine::PasswordOutcome;
use crate::secret::Secret;

/// Appends a simple BindRequest (LDAPMessage and all) to `out`.
///
/// The password policy request control goes with it, and is the first: without it a server does not say
/// that a password must be changed. `asks_identity` adds the authorization identity request (RFC 3829).
/// Neither is critical: a server that does not know one must still judge the password.
///
/// `out` holds the password afterwards: the caller overwrites it after sending. No copy is left behind
/// by a growing buffer, because room for everything is made before the password is written.
pub fn encode_bind(message_id: i32, dn: &str, password: &Secret, asks_identity: bool, out: &mut Vec<u8>) {
    let further: &[u8] = if asks_identity { &IDENTITY_REQUEST } else { &[] };
    let bind = VERSION_3.len() + ber::total(dn.len()) + ber::total(password.len());
    let controls = PASSWORD_POLICY_REQUEST.len() + further.len();
    let mut id = Vec::with_capacity(6);
    ber::write_integer(ber::INTEGER, message_id, &mut id);
    let message = id.len() + ber::total(bind) + ber::total(controls);

    let needed = ber::total(message);
    if out.capacity() - out.len() < needed {
        let mut larger = Vec::with_capacity(out.len() + needed);
        larger.extend_from_slice(out);
        zeroize::Zeroize::zeroize(out);
        *out = larger;
    }
    ber::write_header(ber::SEQUENCE, message, out);
    out.extend_from_slice(&id);
    ber::write_header(BIND_REQUEST, bind, out);
    out.extend_from_slice(&VERSION_3);
    ber::write(ber::OCTET_STRING, dn.as_bytes(), out);
    ber::write(SIMPLE, password.expose(), out);
    ber::write_header(CONTROLS, controls, out);
    out.extend_from_slice(&PASSWORD_POLICY_REQUEST);
    out.extend_from_slice(further);
}

/// Appends a BindRequest with a step of a SASL mechanism to `out`, with the same controls. The name is empty (RFC
/// 4511 section 4.2): the mechanism says who it is.
pub fn encode_sasl_bind(
    message_id: i32,
    mechanism: &str,
    credentials: Option<&[u8]>,
    asks_identity: bool,
    out: &mut Vec<u8>,
) {
    ber::write_with(ber::SEQUENCE, out, |out| {
        ber::write_integer(ber::INTEGER, message_id, out);
        ber::write_with(BIND_REQUEST, out, |out| {
            out.extend_from_slice(&VERSION_3);
            ber::write(ber::OCTET_STRING, b"", out);
            ber::write_with(SASL, out, |out| {
                ber::write(ber::OCTET_STRING, mechanism.as_bytes(), out);
                if let Some(credentials) = credentials {
                    ber::write(ber::OCTET_STRING, credentials, out);
                }
            });
        });
        ber::write_with(CONTROLS, out, |out| {
            out.extend_from_slice(&PASSWORD_POLICY_REQUEST);
            if asks_identity {
                out.extend_from_slice(&IDENTITY_REQUEST);
            }
        });
    });
}

/// A BindResponse, undecoded beyond its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindResponse<'a> {
    /// The resultCode.
    pub code: i32,
    /// The matchedDN.
    pub matched_dn: &'a [u8],
    /// The diagnosticMessage.
    pub diagnostic: &'a [u8],
    /// Content of the message's controls element, if there is one.
    pub controls: Option<&'a [u8]>,
}

impl<'a> BindResponse<'a> {
    /// Reads the response out of its message.
    ///
    /// # Errors
    /// [`BerError::Unexpected`] when the message is not a BindResponse.
    pub fn read(message: &Message<'a>) -> Result<Self, BerError> {
        if message.operation.tag != BIND_RESPONSE {
            return Err(BerError::Unexpected);
        }
        let mut fields = Reader::new(message.operation.content);
        Ok(Self {
            code: fields.integer(ber::ENUMERATED)?,
            matched_dn: fields.expect(ber::OCTET_STRING)?,
            diagnostic: fields.expect(ber::OCTET_STRING)?,
            controls: message.controls,
        })
    }
}

/// What the response says of the password.
///
/// Success alone is not enough: a server that knows the password policy control reports "right, but to
/// be changed first" as success plus that control. A code that says nothing about this password (busy,
/// unavailable, stronger authentication required …) is an outage, never a wrong password.
pub fn outcome(response: &BindResponse<'_>) -> PasswordOutcome {
    let controls = response.controls.unwrap_or_default();
    let expired_control = has_control(controls, NETSCAPE_EXPIRED);
    match response.code {
        SUCCESS => match policy_error(controls) {
            // 389 Directory Server sends its older control with a success when the password was reset.
            Ok(None) if expired_control => PasswordOutcome::MustChange,
            Ok(error) => error.and_then(by_policy).unwrap_or(PasswordOutcome::Right),
            Err(_) => PasswordOutcome::Unavailable("the server's password policy control cannot be read".into()),
        },
        INVALID_CREDENTIALS => {
            let by_control = policy_error(controls).ok().flatten().and_then(by_policy);
            match by_control {
                Some(PasswordOutcome::Expired) if says_before_it_looks(response.diagnostic) => {
                    PasswordOutcome::Disabled
                }
                Some(by_control) => by_control,
                None if expired_control && says_after_it_looked(response.diagnostic) => PasswordOutcome::Expired,
                None => by_sub_code(response.diagnostic).unwrap_or(PasswordOutcome::Wrong),
            }
        }
        NO_SUCH_OBJECT => PasswordOutcome::Unknown,
        // The entry has no password to compare with.
        INAPPROPRIATE_AUTHENTICATION => PasswordOutcome::Wrong,
        CONSTRAINT_VIOLATION | UNWILLING_TO_PERFORM => {
            by_text(response.diagnostic).unwrap_or_else(|| unavailable(response))
        }
        _ => unavailable(response),
    }
}

/// The result code's name (RFC 4511 appendix A), for logs.
pub fn code_name(code: i32) -> &'static str {
    match code {
        0 => "success",
        1 => "operationsError",
        2 => "protocolError",
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded",
        7 => "authMethodNotSupported",
        8 => "strongerAuthRequired",
        10 => "referral",
        11 => "adminLimitExceeded",
        12 => "unavailableCriticalExtension",
        13 => "confidentialityRequired",
        14 => "saslBindInProgress",
        16 => "noSuchAttribute",
        18 => "inappropriateMatching",
        19 => "constraintViolation",
        21 => "invalidAttributeSyntax",
        32 => "noSuchObject",
        34 => "invalidDNSyntax",
        48 => "inappropriateAuthentication",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        53 => "unwillingToPerform",
        80 => "other",
        _ => "a result code without a name",
    }
}

/// `name (code): text` with the text cut to a length that fits a log line and without control characters.
pub fn describe(code: i32, diagnostic: &[u8]) -> String {
    let mut text = format!("{} ({code})", code_name(code));
    let diagnostic = String::from_utf8_lossy(diagnostic);
    let printable = |character: &char| !character.is_control();
    let shown: String = diagnostic.chars().filter(printable).take(200).collect();
    if !shown.trim().is_empty() {
        text.push_str(": ");
        text.push_str(shown.trim());
    }
    text
}

fn unavailable(response: &BindResponse<'_>) -> PasswordOutcome {
    PasswordOutcome::Unavailable(format!(
        "the server answered {}",
        describe(response.code, response.diagnostic)
    ))
}

/// PasswordPolicyResponseValue.error, as far as it concerns a bind.
fn by_policy(error: i32) -> Option<PasswordOutcome> {
    match error {
        0 => Some(PasswordOutcome::Expired),
        1 => Some(PasswordOutcome::Locked),
        2 => Some(PasswordOutcome::MustChange),
        _ => None,
    }
}

/// The hexadecimal Windows error after `data` in `80090308: LdapErr: DSID-…, comment:
/// AcceptSecurityContext error, data 52e, v1db1`.
fn by_sub_code(diagnostic: &[u8]) -> Option<PasswordOutcome> {
    let text = std::str::from_utf8(diagnostic).ok()?;
    let (_, after) = text.split_once(" data ")?;
    let digits: &str = after.split(|character: char| !character.is_ascii_hexdigit()).next()?;
    match u32::from_str_radix(digits, 16).ok()? {
        0x52e => Some(PasswordOutcome::Wrong),
        0x525 => Some(PasswordOutcome::Unknown),
        // account restriction; not at this time; not from here; disabled; no right to log on; account expired
        0x52f | 0x530 | 0x531 | 0x533 | 0x569 | 0x701 => Some(PasswordOutcome::Disabled),
        0x532 => Some(PasswordOutcome::Expired),
        0x773 => Some(PasswordOutcome::MustChange),
        0x775 => Some(PasswordOutcome::Locked),
        // No domain controller to ask, too many contexts, the domain cannot be contacted.
        code @ (0x51f | 0x568 | 0x54b) => Some(PasswordOutcome::Unavailable(format!(
            "the server cannot check passwords now (sub-code {code:x})"
        ))),
        _ => None,
    }
}

/// FreeIPA, once grace is over, says that a password has expired whatever password it was: it proves nothing.
fn says_before_it_looks(diagnostic: &[u8]) -> bool {
    lower(diagnostic).contains("password is expired")
}

/// 389 Directory Server says it of the right password alone. Its control by itself is no proof: FreeIPA sends it with
/// wrong passwords too, as long as there is grace.
fn says_after_it_looked(diagnostic: &[u8]) -> bool {
    lower(diagnostic).contains("password expired")
}

fn lower(diagnostic: &[u8]) -> String {
    String::from_utf8_lossy(diagnostic).to_ascii_lowercase()
}

/// 389 Directory Server and FreeIPA tell states of the account by text alone, before they look at the password.
fn by_text(diagnostic: &[u8]) -> Option<PasswordOutcome> {
    let text = lower(diagnostic);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&[
        "retry limit",
        "too many failed logins",
        "account locked",
        "account is locked",
    ]) {
        Some(PasswordOutcome::Locked)
    } else if says(&[
        "account inactivated",
        "inactivity limit",
        "account is expired",
        "account (kerberos) is expired",
        "password expired",
        "password has expired",
        "password is expired",
    ]) {
        Some(PasswordOutcome::Disabled)
    } else {
        None
    }
}

/// The `error` of the password policy response control:
/// `SEQUENCE { warning [0] CHOICE {…} OPTIONAL, error [1] ENUMERATED OPTIONAL }`.
pub(super) fn policy_error(controls: &[u8]) -> Result<Option<i32>, BerError> {
    let mut reader = Reader::new(controls);
    while !reader.is_empty() {
        let mut control = Reader::new(reader.expect(ber::SEQUENCE)?);
        if control.expect(ber::OCTET_STRING)? != PASSWORD_POLICY {
            continue;
        }
        if control.peek() == Some(ber::BOOLEAN) {
            control.element()?;
        }
        if control.is_empty() {
            return Ok(None);
        }
        let mut value = Reader::new(control.expect(ber::OCTET_STRING)?);
        let mut fields = Reader::new(value.expect(ber::SEQUENCE)?);
        while !fields.is_empty() {
            let field = fields.element()?;
            if field.tag == POLICY_ERROR {
                return ber::integer(field.content).map(Some);
            }
        }
        return Ok(None);
    }
    Ok(None)
}

fn has_control(controls: &[u8], oid: &[u8]) -> bool {
    let mut reader = Reader::new(controls);
    while let Ok(control) = reader.expect(ber::SEQUENCE) {
        if Reader::new(control).expect(ber::OCTET_STRING) == Ok(oid) {
            return true;
        }
    }
    false
}

const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const CONTROLS: u8 = 0xa0;
const SIMPLE: u8 = 0x80;
const SASL: u8 = 0xa3;
const POLICY_ERROR: u8 = 0x81;
const VERSION_3: [u8; 3] = [0x02, 0x01, 0x03];

/// draft-behera-ldap-password-policy-10 section 6.
pub(super) const PASSWORD_POLICY: &[u8] = b"1.3.6.1.4.1.42.2.27.8.5.1";

/// `SEQUENCE { controlType }`: criticality is false by default, and there is no value.
pub(super) const PASSWORD_POLICY_REQUEST: [u8; 29] = *b"\x30\x1b\x04\x191.3.6.1.4.1.42.2.27.8.5.1";

/// The authorization identity request of RFC 3829 section 2, likewise.
const IDENTITY_REQUEST: [u8; 28] = *b"\x30\x1a\x04\x182.16.840.1.113730.3.4.16";

/// The older control by which 389 Directory Server says that a password has expired or must be changed.
const NETSCAPE_EXPIRED: &[u8] = b"2.16.840.1.113730.3.4.4";

/// resultCode busy.
pub(super) const BUSY: i32 = 51;
/// resultCode unavailable.
pub const UNAVAILABLE: i32 = 52;

const SUCCESS: i32 = 0;
const CONSTRAINT_VIOLATION: i32 = 19;
const NO_SUCH_OBJECT: i32 = 32;
const INAPPROPRIATE_AUTHENTICATION: i32 = 48;
const INVALID_CREDENTIALS: i32 = 49;
const UNWILLING_TO_PERFORM: i32 = 53;

#[cfg(test)]
mod tests {
    use ldap3_proto::proto::{LdapBindCred, LdapMsg, LdapOp};

    use super::*;

    fn control(oid: &[u8], value: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        ber::write_with(ber::SEQUENCE, &mut out, |out| {
            ber::write(ber::OCTET_STRING, oid, out);
            if let Some(value) = value {
                ber::write(ber::OCTET_STRING, value, out);
            }
        });
        out
    }

    fn judged(code: i32, diagnostic: &str, controls: Option<Vec<u8>>) -> PasswordOutcome {
        let mut pdu = Vec::new();
        ber::write_with(ber::SEQUENCE, &mut pdu, |out| {
            ber::write_integer(ber::INTEGER, 7, out);
            ber::write_with(BIND_RESPONSE, out, |out| {
                ber::write_integer(ber::ENUMERATED, code, out);
                ber::write(ber::OCTET_STRING, b"", out);
                ber::write(ber::OCTET_STRING, diagnostic.as_bytes(), out);
            });
            if let Some(controls) = &controls {
                ber::write(CONTROLS, controls, out);
            }
        });
        let message = Message::read(&pdu).unwrap();
        outcome(&BindResponse::read(&message).unwrap())
    }

    fn ad(sub_code: &str) -> PasswordOutcome {
        let text =
            format!("80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {sub_code}, v1db1\0");
        judged(INVALID_CREDENTIALS, &text, None)
    }

    #[test]
    fn active_directory_sub_codes() {
        for (sub_code, expected) in [
            ("52e", PasswordOutcome::Wrong),
            ("525", PasswordOutcome::Unknown),
            ("530", PasswordOutcome::Disabled),
            ("531", PasswordOutcome::Disabled),
            ("532", PasswordOutcome::Expired),
            ("533", PasswordOutcome::Disabled),
            ("701", PasswordOutcome::Disabled),
            ("773", PasswordOutcome::MustChange),
            ("775", PasswordOutcome::Locked),
            ("57", PasswordOutcome::Wrong),
            ("zzz", PasswordOutcome::Wrong),
        ] {
            assert_eq!(ad(sub_code), expected, "{sub_code}");
        }
        assert!(matches!(ad("51f"), PasswordOutcome::Unavailable(_)));
    }

    #[test]
    fn password_policy_control() {
        let policy = |value: &[u8]| Some(control(PASSWORD_POLICY, Some(value)));
        let error = |error: u8| policy(&[0x30, 0x03, 0x81, 0x01, error]);
        assert_eq!(judged(0, "", None), PasswordOutcome::Right);
        assert_eq!(judged(0, "", policy(&[0x30, 0x00])), PasswordOutcome::Right);
        assert_eq!(
            judged(0, "", Some(control(PASSWORD_POLICY, None))),
            PasswordOutcome::Right
        );
        // Grace logins and a coming expiry are warnings only.
        let grace = [0x30, 0x05, 0xa0, 0x03, 0x81, 0x01, 0x02];
        assert_eq!(judged(0, "", policy(&grace)), PasswordOutcome::Right);
        assert_eq!(judged(0, "", error(2)), PasswordOutcome::MustChange);
        assert_eq!(judged(0, "", error(0)), PasswordOutcome::Expired);
        assert_eq!(judged(0, "", error(1)), PasswordOutcome::Locked);
        assert_eq!(judged(0, "", error(5)), PasswordOutcome::Right);
        assert_eq!(judged(49, "", error(0)), PasswordOutcome::Expired);
        assert_eq!(judged(49, "", error(1)), PasswordOutcome::Locked);
        assert_eq!(judged(49, "", error(2)), PasswordOutcome::MustChange);
        assert_eq!(judged(49, "", error(9)), PasswordOutcome::Wrong);
        let warned = [0x30, 0x08, 0xa0, 0x03, 0x80, 0x01, 0x09, 0x81, 0x01, 0x02];
        assert_eq!(judged(0, "", policy(&warned)), PasswordOutcome::MustChange);
    }

    #[test]
    fn a_control_that_cannot_be_read_lets_nobody_in() {
        for value in [
            &[0x30, 0x03, 0x81, 0x01][..],
            &[0x04, 0x00],
            &[],
            &[0x30, 0x02, 0x81, 0x00],
        ] {
            let controls = Some(control(PASSWORD_POLICY, Some(value)));
            assert!(
                matches!(judged(0, "", controls.clone()), PasswordOutcome::Unavailable(_)),
                "{value:x?}"
            );
            assert_eq!(judged(49, "", controls), PasswordOutcome::Wrong, "{value:x?}");
        }
        let garbage = Some(vec![0x30, 0x7f]);
        assert!(matches!(judged(0, "", garbage), PasswordOutcome::Unavailable(_)));
    }

    #[test]
    fn other_servers_by_control_and_text() {
        let expired = || Some(control(NETSCAPE_EXPIRED, Some(b"0")));
        assert_eq!(judged(0, "", expired()), PasswordOutcome::MustChange);
        assert_eq!(judged(49, "password expired!", expired()), PasswordOutcome::Expired);
        assert_eq!(
            judged(19, "Exceed password retry limit. Please try later.", None),
            PasswordOutcome::Locked
        );
        assert_eq!(
            judged(53, "Account inactivated. Contact system administrator.", None),
            PasswordOutcome::Disabled
        );
        assert_eq!(judged(53, "Too many failed logins.\n", None), PasswordOutcome::Locked);
        assert_eq!(judged(53, "password expired!", None), PasswordOutcome::Disabled);
        assert_eq!(judged(32, "", None), PasswordOutcome::Unknown);
        assert_eq!(judged(48, "", None), PasswordOutcome::Wrong);
        assert_eq!(judged(49, "", None), PasswordOutcome::Wrong);
    }

    #[test]
    fn what_is_said_of_any_password_proves_none() {
        let expired = || Some(control(NETSCAPE_EXPIRED, Some(b"0")));
        // FreeIPA: a wrong password while there is grace, and any password afterwards.
        assert_eq!(judged(49, "", expired()), PasswordOutcome::Wrong);
        let over = Some(control(PASSWORD_POLICY, Some(&[0x30, 0x03, 0x81, 0x01, 0x00])));
        assert_eq!(judged(49, "Password is expired.\n", over), PasswordOutcome::Disabled);
        assert_eq!(judged(49, "Password is expired.\n", None), PasswordOutcome::Wrong);
    }

    #[test]
    fn an_outage_is_never_a_wrong_password() {
        for code in [1, 2, 3, 7, 8, 10, 11, 12, 13, 14, 19, 34, 50, 51, 52, 53, 80, 118, -1] {
            let outcome = judged(code, "not now\u{7}", None);
            let PasswordOutcome::Unavailable(text) = outcome else {
                panic!("{code}: {outcome:?}");
            };
            assert!(text.ends_with(&format!("({code}): not now")), "{text}");
        }
    }

    #[test]
    fn the_request_is_read_by_another_implementation() {
        for length in [1, 100, 127, 128, 255, 256, 70_000] {
            let mut out = Vec::new();
            let password = "p".repeat(length);
            encode_bind(300, "uid=ana,dc=x", &Secret::new(password.as_str()), false, &mut out);
            let message = Message::read(&out).unwrap();
            assert_eq!(message.controls, Some(&PASSWORD_POLICY_REQUEST[..]));
            let mut codec = ldap3_proto::LdapCodec::new(Some(1 << 20), None);
            let mut octets = bytes::BytesMut::from(&out[..]);
            let read: LdapMsg = tokio_util::codec::Decoder::decode(&mut codec, &mut octets)
                .unwrap()
                .unwrap();
            let LdapOp::BindRequest(bind) = read.op else { panic!() };
            assert_eq!((read.msgid, bind.dn.as_str(), bind.version), (300, "uid=ana,dc=x", 3));
            assert_eq!(bind.cred, LdapBindCred::Simple(password));
        }
    }

    #[test]
    fn the_password_policy_request_is_the_first_control() {
        let mut out = Vec::new();
        encode_bind(1, "uid=ana,dc=x", &Secret::new("p"), true, &mut out);
        let message = Message::read(&out).unwrap();
        let identity = control(b"2.16.840.1.113730.3.4.16", None);
        let both = [control(PASSWORD_POLICY, None), identity].concat();
        assert_eq!(message.controls, Some(&both[..]));
    }

    #[test]
    fn other_messages_are_no_bind_response() {
        let done = [
            0x30, 0x0c, 0x02, 0x01, 0x01, 0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00,
        ];
        let message = Message::read(&done).unwrap();
        assert_eq!(BindResponse::read(&message), Err(BerError::Unexpected));
    }
}
