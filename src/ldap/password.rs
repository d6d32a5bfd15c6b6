//! Password Modify (RFC 3062) on the wire, and what a verdict on one means for the client.
//!
//! Whoever is bound as somebody learns why a change is not made; nobody else learns more than they proved: that a
//! name or a password is wrong looks as it does for a bind, and so does everything that keeps a person out.

use crate::ber::{self, BerError, Message, OCTET_STRING, Reader, SEQUENCE};
use crate::engine::account::PasswordRefusal;
use crate::engine::{Denial, Verdict};
use crate::ldap::controls::PASSWORD_POLICY;
use crate::ldap::reply::{Code, EXTENDED_REQUEST, EXTENDED_RESPONSE, PASSWORD_MODIFY, message, result};
use crate::secret::Secret;

/// A Password Modify request as it stands in its message.
#[derive(Clone, Copy)]
pub struct PasswordModify<'a> {
    /// messageID.
    pub id: i32,
    /// userIdentity: whose password, nothing for who is bound. Never empty.
    pub identity: Option<&'a [u8]>,
    /// oldPasswd, which may be empty.
    pub old: Option<&'a [u8]>,
    /// newPasswd, which may be empty; one is made up when there is none.
    pub new: Option<&'a [u8]>,
    /// Content of the message's controls element.
    pub controls: Option<&'a [u8]>,
}

impl<'a> PasswordModify<'a> {
    /// Reads the request out of its message.
    ///
    /// # Errors
    /// [`BerError`] when the operation is none, or has anything in it that RFC 3062 section 2 does not.
    pub fn read(message: &Message<'a>) -> Result<Self, BerError> {
        if message.operation.tag != EXTENDED_REQUEST {
            return Err(BerError::Unexpected);
        }
        let mut request = Reader::new(message.operation.content);
        if request.expect(REQUEST_NAME)? != PASSWORD_MODIFY.as_bytes() {
            return Err(BerError::Unexpected);
        }
        let mut fields = Reader::new(&[]);
        if !request.is_empty() {
            let mut value = Reader::new(request.expect(REQUEST_VALUE)?);
            fields = Reader::new(value.expect(SEQUENCE)?);
            if !value.is_empty() || !request.is_empty() {
                return Err(BerError::Unexpected);
            }
        }
        let identity = optional(&mut fields, USER_IDENTITY)?;
        let old = optional(&mut fields, OLD_PASSWORD)?;
        let new = optional(&mut fields, NEW_PASSWORD)?;
        if !fields.is_empty() {
            return Err(BerError::Unexpected);
        }
        Ok(Self {
            id: message.id,
            identity: identity.filter(|identity| !identity.is_empty()),
            old,
            new,
            controls: message.controls,
        })
    }
}

fn optional<'a>(fields: &mut Reader<'a>, tag: u8) -> Result<Option<&'a [u8]>, BerError> {
    match fields.peek() {
        Some(found) if found == tag => fields.expect(tag).map(Some),
        Some(_) | None => Ok(None),
    }
}

/// The answer to a Password Modify request that we deal with ourselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// resultCode.
    pub(super) code: Code,
    /// diagnosticMessage.
    pub(super) text: String,
    /// What the password policy control says, where the client asks for it.
    pub(super) refusal: Option<PasswordRefusal>,
}

impl Changed {
    /// An answer without more than a code and a text.
    pub(super) fn plain(code: Code, text: &str) -> Self {
        Self {
            code,
            text: text.to_owned(),
            refusal: None,
        }
    }

    /// What a verdict comes to, for a client that is `known` to be the person or for one that is nobody yet.
    pub(super) fn by(verdict: &Verdict, known: bool) -> Self {
        let denial = match verdict {
            Verdict::Accept(_) => return Self::plain(Code::Success, ""),
            Verdict::Unavailable(_) => return Self::plain(Code::Unavailable, "the password cannot be changed now"),
            Verdict::Reject(denial) => *denial,
            Verdict::Restricted(_) | Verdict::Challenge(_) | Verdict::Closed(_) => {
                tracing::error!("a password change was judged as if it were a login; refused");
                return Self::plain(Code::UnwillingToPerform, "");
            }
        };
        match denial {
            Denial::NewPassword(refusal) => Self {
                code: Code::ConstraintViolation,
                text: format!("the new password is not taken: {refusal}"),
                refusal: Some(refusal),
            },
            Denial::ChangeForbidden => Self::plain(Code::UnwillingToPerform, "the directory does not allow the change"),
            Denial::ChangeUnsupported => Self::plain(Code::UnwillingToPerform, NEVER),
            Denial::Policy
            | Denial::Denied
            | Denial::MissingCode
            | Denial::NotEnrolled
            | Denial::MissingCertificate
                if known =>
            {
                Self::plain(Code::UnwillingToPerform, PROVE_MORE)
            }
            Denial::BadDialog if known => {
                let text = "too much time has passed since the bind; bind again";
                Self::plain(Code::UnwillingToPerform, text)
            }
            Denial::UnknownUser
            | Denial::Policy
            | Denial::Denied
            | Denial::SessionLimit
            | Denial::Throttled
            | Denial::SourceThrottled
            | Denial::Locked
            | Denial::Disabled
            | Denial::WrongPassword
            | Denial::PasswordExpired
            | Denial::PasswordMustChange
            | Denial::WrongCode
            | Denial::ReuseOver
            | Denial::CodeReplayed
            | Denial::MissingCode
            | Denial::ClientCannotAsk
            | Denial::NotEnrolled
            | Denial::BadDialog
            | Denial::Malformed
            | Denial::ReplyAttribute
            | Denial::MethodImpossible
            | Denial::MethodOneProof
            | Denial::MissingCertificate
            | Denial::UntypedProof
            | Denial::NotThemselves
            | Denial::RefusedBefore
            | Denial::ApprovalPending
            | Denial::ApprovalDenied
            | Denial::NotProven
            | Denial::EnrolElsewhere
            | Denial::EnrolUnprotected
            | Denial::EnrolledMeanwhile
            | Denial::TooManyTokens
            | Denial::WrongAnswers
            | Denial::AnswersLocked => Self::plain(Code::InvalidCredentials, ""),
        }
    }

    /// Appends the message. `generated` is the new password where the client gave none; it goes out with success
    /// only.
    pub(super) fn write(&self, id: i32, wants_policy: bool, generated: Option<&Secret>, out: &mut Vec<u8>) {
        let policy = wants_policy.then(|| policy_response(self.refusal.and_then(policy_error)));
        let generated = generated.filter(|_| self.code == Code::Success);
        message(id, EXTENDED_RESPONSE, policy.as_deref(), out, |out| {
            result(self.code, &self.text, out);
            if let Some(generated) = generated {
                ber::write_with(RESPONSE_VALUE, out, |out| {
                    ber::write_with(SEQUENCE, out, |out| ber::write(GENERATED, generated.expose(), out));
                });
            }
        });
    }
}

/// The password policy response control (draft-behera-ldap-password-policy-10 section 6.2) with an `error`, or
/// with nothing to say.
pub(super) fn policy_response(error: Option<u8>) -> Vec<u8> {
    let mut value = Vec::with_capacity(8);
    ber::write_with(SEQUENCE, &mut value, |out| {
        if let Some(error) = error {
            ber::write(POLICY_ERROR, &[error], out);
        }
    });
    let mut control = Vec::with_capacity(48);
    ber::write_with(SEQUENCE, &mut control, |out| {
        ber::write(OCTET_STRING, PASSWORD_POLICY, out);
        ber::write(OCTET_STRING, &value, out);
    });
    control
}

const fn policy_error(refusal: PasswordRefusal) -> Option<u8> {
    match refusal {
        PasswordRefusal::TooSimple | PasswordRefusal::TooLong => Some(5), // insufficientPasswordQuality
        PasswordRefusal::TooShort => Some(6),
        PasswordRefusal::TooSoon => Some(7),    // passwordTooYoung
        PasswordRefusal::UsedBefore => Some(8), // passwordInHistory
        PasswordRefusal::Unspecified => None,
    }
}

/// Error `changeAfterReset` of the password policy response.
pub(super) const CHANGE_AFTER_RESET: u8 = 2;
/// Said where passwords are not changed at all.
pub(super) const NEVER: &str = "passwords of this directory cannot be changed here";
/// Said to who is bound and has to prove more than that.
pub(super) const PROVE_MORE: &str = "the policy does not allow it with what was proven";

const REQUEST_NAME: u8 = 0x80;
const REQUEST_VALUE: u8 = 0x81;
const RESPONSE_VALUE: u8 = 0x8b;
const USER_IDENTITY: u8 = 0x80;
const OLD_PASSWORD: u8 = 0x81;
const NEW_PASSWORD: u8 = 0x82;
const GENERATED: u8 = 0x80;
const POLICY_ERROR: u8 = 0x81;

#[cfg(test)]
mod tests {
    use ldap3_proto::LdapCodec;
    use ldap3_proto::proto::{LdapMsg, LdapOp, LdapResultCode};
    use proptest::prelude::*;

    use super::*;
    use crate::ber::INTEGER;
    use crate::engine::Outage;

    fn request(value: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        ber::write_with(SEQUENCE, &mut out, |out| {
            ber::write_integer(INTEGER, 7, out);
            ber::write_with(EXTENDED_REQUEST, out, |out| {
                ber::write(REQUEST_NAME, PASSWORD_MODIFY.as_bytes(), out);
                if let Some(value) = value {
                    ber::write(REQUEST_VALUE, value, out);
                }
            });
        });
        out
    }

    type Fields = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

    fn read(value: Option<&[u8]>) -> Result<Fields, BerError> {
        let octets = request(value);
        let message = Message::read(&octets).unwrap();
        let owned = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
        PasswordModify::read(&message).map(|request| (owned(request.identity), owned(request.old), owned(request.new)))
    }

    #[test]
    fn every_field_may_be_absent() {
        let some = |text: &str| Some(text.as_bytes().to_vec());
        assert_eq!(read(None), Ok((None, None, None)));
        assert_eq!(read(Some(b"\x30\x00")), Ok((None, None, None)));
        assert_eq!(
            read(Some(b"\x30\x0b\x80\x03u=x\x81\x01o\x82\x01n")),
            Ok((some("u=x"), some("o"), some("n")))
        );
        assert_eq!(read(Some(b"\x30\x03\x82\x01n")), Ok((None, None, some("n"))));
        assert_eq!(read(Some(b"\x30\x02\x80\x00")), Ok((None, None, None)), "nobody named");
        assert_eq!(read(Some(b"\x30\x02\x81\x00")), Ok((None, some(""), None)));
    }

    #[test]
    fn what_rfc_3062_does_not_have_is_a_fault() {
        for value in [
            &b""[..],
            b"\x31\x00",
            b"\x30\x80\x00\x00",
            b"\x30\x00\x00",
            b"\x30\x03\x82\x01",
            b"\x30\x03\x83\x01x",
            b"\x30\x03\x04\x01x",
            b"\x30\x06\x82\x01n\x81\x01o",
            b"\x30\x06\x81\x01o\x81\x01o",
            b"\x30\x05\x82\x01n\x00\x00",
        ] {
            assert!(read(Some(value)).is_err(), "{value:x?}");
        }
    }

    #[test]
    fn answers_are_read_by_another_implementation() {
        let decoded = |changed: &Changed, generated: Option<&Secret>| {
            let mut out = Vec::new();
            changed.write(9, true, generated, &mut out);
            let message = Message::read(&out).unwrap();
            let controls = message.controls.unwrap().to_vec();
            let mut octets = bytes::BytesMut::from(&out[..]);
            let read: LdapMsg =
                tokio_util::codec::Decoder::decode(&mut LdapCodec::new(Some(1 << 20), None), &mut octets)
                    .unwrap()
                    .unwrap();
            let LdapOp::ExtendedResponse(response) = read.op else {
                panic!()
            };
            assert_eq!(read.msgid, 9);
            (response, controls)
        };
        let refused = Changed::by(&Verdict::Reject(Denial::NewPassword(PasswordRefusal::TooShort)), false);
        let (response, controls) = decoded(&refused, Some(&Secret::new("made")));
        assert_eq!(response.res.code, LdapResultCode::ConstraintViolation);
        assert_eq!(response.res.message, "the new password is not taken: it is too short");
        assert_eq!((response.name, response.value), (None, None));
        assert!(controls.ends_with(b"\x04\x05\x30\x03\x81\x01\x06"), "{controls:x?}");
        let (response, controls) = decoded(&Changed::plain(Code::Success, ""), Some(&Secret::new("made")));
        assert_eq!(response.value.as_deref(), Some(&b"\x30\x06\x80\x04made"[..]));
        assert!(controls.ends_with(b"\x04\x02\x30\x00"), "{controls:x?}");
        let mut out = Vec::new();
        refused.write(9, false, None, &mut out);
        assert_eq!(Message::read(&out).unwrap().controls, None, "not asked for");
    }

    #[test]
    fn nobody_learns_more_than_was_proven() {
        let code = |denial, known| Changed::by(&Verdict::Reject(denial), known).code;
        for denial in [
            Denial::UnknownUser,
            Denial::Policy,
            Denial::Denied,
            Denial::Locked,
            Denial::Throttled,
            Denial::WrongPassword,
            Denial::WrongCode,
            Denial::NotEnrolled,
        ] {
            let answer = Changed::by(&Verdict::Reject(denial), false);
            assert_eq!(answer, Changed::plain(Code::InvalidCredentials, ""), "{denial:?}");
        }
        assert_eq!(code(Denial::Policy, true), Code::UnwillingToPerform);
        assert_eq!(code(Denial::WrongPassword, true), Code::InvalidCredentials);
        assert_eq!(code(Denial::ChangeForbidden, false), Code::UnwillingToPerform);
        let outage = Verdict::Unavailable(Outage { reason: "x".into() });
        assert_eq!(Changed::by(&outage, false).code, Code::Unavailable);
    }

    proptest! {
        #[test]
        fn arbitrary_values_never_panic(value in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok((identity, old, new)) = read(Some(&value)) {
                let fields = [identity, old, new];
                prop_assert!(fields.iter().flatten().map(Vec::len).sum::<usize>() <= value.len());
            }
        }
    }
}
