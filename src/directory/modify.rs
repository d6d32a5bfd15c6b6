//! Changes on the wire: ModifyRequest (RFC 4511 section 4.6) and Password Modify (RFC 3062), and what a
//! refusal says in the words of OpenLDAP, 389 Directory Server and Active Directory.

use zeroize::{Zeroize as _, Zeroizing};

use crate::ber::{self, BerError, Message, Reader};
use crate::directory::bind::{self, policy_error};
use crate::engine::account::{Changed, PasswordRefusal};
use crate::secret::Secret;

/// What is done to one attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Delete,
    Replace,
}

/// One change of one attribute. Without values, Delete and Replace remove all there are.
pub(super) struct Modification<'a> {
    pub(super) operation: Operation,
    pub(super) attribute: &'a str,
    pub(super) values: &'a [&'a [u8]],
}

/// Appends a ModifyRequest, with a further `control` as it is encoded. `out` may hold a password afterwards: the caller overwrites it after sending.
pub(super) fn encode_modify(
    message_id: i32,
    dn: &str,
    modifications: &[Modification<'_>],
    control: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    let mut operation = Zeroizing::new(Vec::new());
    ber::write(ber::OCTET_STRING, dn.as_bytes(), &mut operation);
    let mut changes = Zeroizing::new(Vec::with_capacity(ROOM));
    for modification in modifications {
        let mut values = Zeroizing::new(Vec::with_capacity(ROOM));
        for value in modification.values {
            ber::write(ber::OCTET_STRING, value, &mut values);
        }
        let mut attribute = Zeroizing::new(Vec::with_capacity(ROOM));
        ber::write(ber::OCTET_STRING, modification.attribute.as_bytes(), &mut attribute);
        ber::write(SET, &values, &mut attribute);
        let mut change = Zeroizing::new(Vec::with_capacity(ROOM));
        let number = match modification.operation {
            Operation::Add => 0,
            Operation::Delete => 1,
            Operation::Replace => 2,
        };
        ber::write_integer(ber::ENUMERATED, number, &mut change);
        ber::write(ber::SEQUENCE, &attribute, &mut change);
        ber::write(ber::SEQUENCE, &change, &mut changes);
    }
    ber::write(ber::SEQUENCE, &changes, &mut operation);
    message(message_id, MODIFY_REQUEST, &operation, control, out);
}

/// Appends a Password Modify request for the one who is bound, or for `user`.
pub(super) fn encode_password_modify(
    message_id: i32,
    user: Option<&str>,
    old: Option<&Secret>,
    new: &Secret,
    out: &mut Vec<u8>,
) {
    let mut fields = Zeroizing::new(Vec::with_capacity(ROOM));
    if let Some(user) = user {
        ber::write(USER_IDENTITY, user.as_bytes(), &mut fields);
    }
    if let Some(old) = old {
        ber::write(OLD_PASSWORD, old.expose(), &mut fields);
    }
    ber::write(NEW_PASSWORD, new.expose(), &mut fields);
    let mut value = Zeroizing::new(Vec::with_capacity(ROOM));
    ber::write(ber::SEQUENCE, &fields, &mut value);
    let mut operation = Zeroizing::new(Vec::with_capacity(ROOM));
    ber::write(REQUEST_NAME, PASSWORD_MODIFY, &mut operation);
    ber::write(REQUEST_VALUE, &value, &mut operation);
    message(message_id, EXTENDED_REQUEST, &operation, None, out);
}

/// An LDAPMessage with the password policy request control, whose response tells why a password is refused.
fn message(message_id: i32, tag: u8, operation: &[u8], control: Option<&[u8]>, out: &mut Vec<u8>) {
    let mut content = Zeroizing::new(Vec::with_capacity(operation.len() + ROOM));
    ber::write_integer(ber::INTEGER, message_id, &mut content);
    ber::write(tag, operation, &mut content);
    let controls = [&bind::PASSWORD_POLICY_REQUEST, control.unwrap_or_default()].concat();
    ber::write(CONTROLS, &controls, &mut content);
    let needed = ber::total(content.len());
    if out.capacity() - out.len() < needed {
        // No copy of a password is left behind by a growing buffer.
        let mut larger = Vec::with_capacity(out.len() + needed);
        larger.extend_from_slice(out);
        out.zeroize();
        *out = larger;
    }
    ber::write(ber::SEQUENCE, &content, out);
}

/// The answer to a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: i32,
    pub(super) diagnostic: Vec<u8>,
    /// The `error` of the password policy response control.
    policy_error: Option<i32>,
}

impl Answer {
    /// Reads a ModifyResponse or an ExtendedResponse.
    pub(super) fn read(message: &Message<'_>) -> Result<Self, BerError> {
        if !matches!(message.operation.tag, MODIFY_RESPONSE | EXTENDED_RESPONSE) {
            return Err(BerError::Unexpected);
        }
        let mut fields = Reader::new(message.operation.content);
        let code = fields.integer(ber::ENUMERATED)?;
        fields.expect(ber::OCTET_STRING)?;
        Ok(Self {
            code,
            diagnostic: fields.expect(ber::OCTET_STRING)?.to_vec(),
            policy_error: policy_error(message.controls.unwrap_or_default())?,
        })
    }

    /// What became of the change. `own` says that the old password was given with it, so that it may be
    /// what is wrong.
    pub(super) fn changed(&self, own: bool) -> Changed {
        let text = String::from_utf8_lossy(&self.diagnostic).to_ascii_lowercase();
        let told = || bind::describe(self.code, &self.diagnostic);
        if let Some(refused) = self.policy_error.and_then(by_policy_error)
            && self.code != SUCCESS
        {
            // 389 Directory Server's "insufficient quality" is every reason; its text says which.
            return match (refused, by_text(&text)) {
                (None, _) => Changed::Forbidden(told()),
                (Some(PasswordRefusal::TooSimple), PasswordRefusal::Unspecified) => {
                    Changed::Refused(PasswordRefusal::TooSimple)
                }
                (Some(PasswordRefusal::TooSimple), told) => Changed::Refused(told),
                (Some(refused), _) => Changed::Refused(refused),
            };
        }
        match self.code {
            SUCCESS => Changed::Done,
            NO_SUCH_OBJECT => Changed::Unknown,
            INVALID_CREDENTIALS if own => Changed::WrongPassword,
            CONSTRAINT_VIOLATION if own && text.starts_with(AD_WRONG_PASSWORD) => Changed::WrongPassword,
            // The old password was not looked at.
            CONSTRAINT_VIOLATION if own && text.starts_with(AD_LOCKED) => Changed::Locked,
            UNWILLING_TO_PERFORM if own && text.contains("verify old password") => Changed::WrongPassword,
            CONSTRAINT_VIOLATION => Changed::Refused(by_text(&text)),
            UNWILLING_TO_PERFORM if text.contains(AD_REFUSED) => Changed::Refused(by_text(&text)),
            UNWILLING_TO_PERFORM | INSUFFICIENT_ACCESS | CONFIDENTIALITY_REQUIRED | STRONGER_AUTH_REQUIRED => {
                Changed::Forbidden(told())
            }
            UNDEFINED_TYPE | OBJECT_CLASS_VIOLATION | PROTOCOL_ERROR => Changed::Unsupported,
            _ => Changed::Unavailable(format!("the server answered {}", told())),
        }
    }
}

/// PasswordPolicyResponseValue.error of draft-behera-ldap-password-policy-10 section 6.2: a refusal of the
/// new password, or `Some(None)` for a change that is not allowed at all.
fn by_policy_error(error: i32) -> Option<Option<PasswordRefusal>> {
    match error {
        // passwordModNotAllowed, mustSupplyOldPassword
        3 | 4 => Some(None),
        5 => Some(Some(PasswordRefusal::TooSimple)),
        6 => Some(Some(PasswordRefusal::TooShort)),
        7 => Some(Some(PasswordRefusal::TooSoon)),
        8 => Some(Some(PasswordRefusal::UsedBefore)),
        _ => None,
    }
}

/// Servers without the control say it in words. Windows says nothing but `0000052D`.
fn by_text(text: &str) -> PasswordRefusal {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // "must be at least 8 characters long", but also "must contain at least 1 digit characters".
    if says(&[
        "too short",
        "characters long",
        "minimum length",
        "longer than or equal",
        "equal to or longer",
    ]) {
        PasswordRefusal::TooShort
    } else if says(&["too long", "longer than"]) {
        PasswordRefusal::TooLong
    } else if says(&["history", "already used", "reuse", "not being changed"]) {
        PasswordRefusal::UsedBefore
    } else if says(&[
        "minimum age",
        "within password min",
        "too young",
        "too soon",
        "too recent",
    ]) {
        PasswordRefusal::TooSoon
    } else if says(&[
        "complexity",
        "quality",
        "syntax",
        "palindrome",
        "trivial",
        "based on",
        "at least",
    ]) {
        PasswordRefusal::TooSimple
    } else {
        PasswordRefusal::Unspecified
    }
}

/// The value of `unicodePwd`: the password in double quotes, in UTF-16 with the low octet first. `None` for
/// a password that is not text.
pub(super) fn unicode_password(password: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    let text = password.expose_str()?;
    let mut octets = Zeroizing::new(Vec::with_capacity(2 * text.len() + 4));
    octets.extend_from_slice(b"\"\0");
    for unit in text.encode_utf16() {
        octets.extend_from_slice(&unit.to_le_bytes());
    }
    octets.extend_from_slice(b"\"\0");
    Some(octets)
}

/// LDAP_SERVER_POLICY_HINTS_OID (MS-ADTS section 3.1.1.3.4.1.27) and its deprecated elder, each with the control
/// as it is sent: critical, so that a history that is not heeded is no success, with the flag 1.
pub(super) const POLICY_HINTS: [(&str, &[u8]); 2] = [
    (
        "1.2.840.113556.1.4.2239",
        b"\x30\x23\x04\x171.2.840.113556.1.4.2239\x01\x01\xff\x04\x05\x30\x03\x02\x01\x01",
    ),
    (
        "1.2.840.113556.1.4.2066",
        b"\x30\x23\x04\x171.2.840.113556.1.4.2066\x01\x01\xff\x04\x05\x30\x03\x02\x01\x01",
    ),
];

/// Room for one field, so that a password is not copied by a growing buffer.
const ROOM: usize = 1024;

const MODIFY_REQUEST: u8 = 0x66;
const MODIFY_RESPONSE: u8 = 0x67;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const REQUEST_NAME: u8 = 0x80;
const REQUEST_VALUE: u8 = 0x81;
const USER_IDENTITY: u8 = 0x80;
const OLD_PASSWORD: u8 = 0x81;
const NEW_PASSWORD: u8 = 0x82;
const SET: u8 = 0x31;
const CONTROLS: u8 = 0xa0;

/// RFC 3062 section 2.
const PASSWORD_MODIFY: &[u8] = b"1.3.6.1.4.1.4203.1.11.1";

/// ERROR_INVALID_PASSWORD, before a colon.
const AD_WRONG_PASSWORD: &str = "00000056";
/// ERROR_ACCOUNT_LOCKED_OUT.
const AD_LOCKED: &str = "00000775";
/// ERROR_PASSWORD_RESTRICTION.
const AD_REFUSED: &str = "0000052d";

const SUCCESS: i32 = 0;
const PROTOCOL_ERROR: i32 = 2;
const STRONGER_AUTH_REQUIRED: i32 = 8;
const CONFIDENTIALITY_REQUIRED: i32 = 13;
const UNDEFINED_TYPE: i32 = 17;
const CONSTRAINT_VIOLATION: i32 = 19;
const NO_SUCH_OBJECT: i32 = 32;
const INVALID_CREDENTIALS: i32 = 49;
const INSUFFICIENT_ACCESS: i32 = 50;
const UNWILLING_TO_PERFORM: i32 = 53;
const OBJECT_CLASS_VIOLATION: i32 = 65;

#[cfg(test)]
mod tests {
    use ldap3_proto::LdapCodec;
    use ldap3_proto::proto::{LdapMsg, LdapOp};

    use super::*;

    fn decoded(octets: &[u8]) -> LdapMsg {
        let mut buffer = bytes::BytesMut::from(octets);
        let mut codec = LdapCodec::new(Some(1 << 20), None);
        let read = tokio_util::codec::Decoder::decode(&mut codec, &mut buffer);
        read.unwrap().unwrap()
    }

    fn answer(code: i32, text: &str) -> Answer {
        Answer {
            code,
            diagnostic: text.as_bytes().to_vec(),
            policy_error: None,
        }
    }

    #[test]
    fn requests_are_read_by_another_implementation() {
        let mut out = Vec::new();
        let old = unicode_password(&Secret::new("ä1")).unwrap();
        assert_eq!(*old, b"\"\0\xe4\x001\0\"\0".to_vec());
        let values: [&[u8]; 1] = [&old];
        let modifications = [
            Modification {
                operation: Operation::Delete,
                attribute: "unicodePwd",
                values: &values,
            },
            Modification {
                operation: Operation::Replace,
                attribute: "lockoutTime",
                values: &[b"0"],
            },
        ];
        encode_modify(9, "cn=ana,dc=x", &modifications, Some(POLICY_HINTS[0].1), &mut out);
        let read = decoded(&out);
        assert_eq!(read.ctrl.len(), 2);
        let LdapOp::ModifyRequest(request) = read.op else {
            panic!("{read:?}")
        };
        assert_eq!(
            (read.msgid, request.dn.as_str(), request.changes.len()),
            (9, "cn=ana,dc=x", 2)
        );
        assert_eq!(request.changes[0].modification.atype, "unicodePwd");
        assert_eq!(request.changes[0].modification.vals, [old.to_vec()]);

        out.clear();
        encode_password_modify(3, Some("uid=ana"), Some(&Secret::new("a")), &Secret::new("b"), &mut out);
        let read = decoded(&out);
        let LdapOp::ExtendedRequest(request) = read.op else {
            panic!("{read:?}")
        };
        assert_eq!(request.name, "1.3.6.1.4.1.4203.1.11.1");
        let request = ldap3_proto::proto::LdapPasswordModifyRequest::try_from(&request).unwrap();
        assert_eq!(request.user_identity.as_deref(), Some("uid=ana"));
        assert_eq!(request.old_password.as_deref(), Some("a"));
        assert_eq!(request.new_password.as_deref(), Some("b"));
    }

    #[test]
    fn refusals_in_the_words_of_each_server() {
        let refused = |code, text: &str| answer(code, text).changed(true);
        let samba = "0000052D: Constraint violation - check_password_restrictions: the password is too short. \
                     It should be equal to or longer than 7 characters!";
        assert_eq!(refused(19, samba), Changed::Refused(PasswordRefusal::TooShort));
        let used = "0000052D: Constraint violation - check_password_restrictions: the password was already used \
                    (in history)!";
        assert_eq!(refused(19, used), Changed::Refused(PasswordRefusal::UsedBefore));
        let windows = "0000052D: AtrErr: DSID-03190F80, #1: 0: 0000052D: DSID-03190F80, problem 1005";
        assert_eq!(refused(19, windows), Changed::Refused(PasswordRefusal::Unspecified));
        assert_eq!(
            refused(
                53,
                "0000052D: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0"
            ),
            Changed::Refused(PasswordRefusal::Unspecified)
        );
        assert_eq!(refused(19, "00000056: AtrErr: DSID-03190FD5"), Changed::WrongPassword);
        assert_eq!(
            refused(19, "00000775: Constraint violation - locked out"),
            Changed::Locked
        );
        assert!(matches!(
            answer(19, "00000056: AtrErr").changed(false),
            Changed::Refused(_)
        ));
        assert_eq!(
            refused(
                19,
                "invalid password syntax: password must be at least 8 characters long"
            ),
            Changed::Refused(PasswordRefusal::TooShort)
        );
        assert_eq!(refused(53, "unwilling to verify old password"), Changed::WrongPassword);
        assert!(matches!(refused(50, ""), Changed::Forbidden(_)));
        assert!(matches!(refused(52, ""), Changed::Unavailable(_)));
        assert_eq!(refused(2, "unsupported extended operation"), Changed::Unsupported);
        for (text, expected) in [
            (
                "invalid password syntax - password must be at least 8 characters long",
                PasswordRefusal::TooShort,
            ),
            (
                "invalid password syntax - password must contain at least 1 digit characters",
                PasswordRefusal::TooSimple,
            ),
            (
                "invalid password syntax - password based off of user entry",
                PasswordRefusal::TooSimple,
            ),
            (
                "invalid password syntax - password is a palindrome",
                PasswordRefusal::TooSimple,
            ),
            ("password in history", PasswordRefusal::UsedBefore),
            ("within password minimum age", PasswordRefusal::TooSoon),
            ("Password fails quality checking policy", PasswordRefusal::TooSimple),
            ("Password is too short", PasswordRefusal::TooShort),
            ("Password is too young to change", PasswordRefusal::TooSoon),
            (
                "Password is not being changed from existing value",
                PasswordRefusal::UsedBefore,
            ),
            (
                "0000052D: Constraint violation - check_password_restrictions: the password does not meet the \
                 complexity criteria!",
                PasswordRefusal::TooSimple,
            ),
            (
                "0000052D: Constraint violation - check_password_restrictions: password is too young to change!",
                PasswordRefusal::TooSoon,
            ),
        ] {
            assert_eq!(refused(19, text), Changed::Refused(expected), "{text}");
            let general = Answer {
                policy_error: Some(5),
                ..answer(19, text)
            };
            assert_eq!(general.changed(true), Changed::Refused(expected), "{text}");
        }
        let by_control = Answer {
            policy_error: Some(8),
            ..answer(19, "Password is in history of old passwords")
        };
        assert_eq!(by_control.changed(true), Changed::Refused(PasswordRefusal::UsedBefore));
        let forbidden = Answer {
            policy_error: Some(3),
            ..answer(53, "")
        };
        assert!(matches!(forbidden.changed(true), Changed::Forbidden(_)));
    }
}
