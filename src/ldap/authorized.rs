//! Operations of somebody whom the directory has not seen a password of: sent over a connection of the service
//! account's, each with the Proxied Authorization control (RFC 4370), so that the directory applies the person's
//! rights and no others.
//!
//! Messages are not passed on but written anew, from what was read of them, with our control in front: octets
//! that we do not understand could swallow a control behind them. So the operation is read to its end, too.

use crate::ber::{self, BOOLEAN, INTEGER, Message, OCTET_STRING, Reader, SEQUENCE};
use crate::ldap::controls::{PROXIED_AUTHORIZATION, PROXIED_AUTHORIZATION_V1, each_control};
use crate::ldap::reply::{ABANDON_REQUEST, EXTENDED_REQUEST, WHO_AM_I};
use crate::ldap::restrict::is_whole;

/// Whom operations are authorized as.
pub struct Authorized {
    /// The control, whole.
    control: Vec<u8>,
}

/// Why an operation is not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// It is no LDAPMessage with controls of RFC 4511.
    #[error("the message cannot be read")]
    Malformed,
    /// It names an authorization identity of its own, and one message can have no more than one (RFC 4370
    /// section 3).
    #[error("the message has a proxied authorization of its own")]
    OwnIdentity,
    /// An extended operation: 389 Directory Server performs them without a look at the control, critical or not.
    #[error("the authorization does not reach extended operations")]
    Extended,
}

impl Authorized {
    /// As the person with this distinguished name; `None` for an empty one, which would be nobody.
    pub fn new(dn: &str) -> Option<Self> {
        if dn.is_empty() {
            return None;
        }
        let mut control = Vec::new();
        ber::write_with(SEQUENCE, &mut control, |out| {
            ber::write(OCTET_STRING, PROXIED_AUTHORIZATION, out);
            ber::write(BOOLEAN, &[0xff], out);
            ber::write(OCTET_STRING, format!("dn:{dn}").as_bytes(), out);
        });
        Some(Self { control })
    }

    /// Appends the message with the control to `out`. Abandon has no use for it (RFC 4370 section 3): it is
    /// written anew without any control.
    ///
    /// # Errors
    /// [`Unsendable`]; then nothing was appended.
    pub fn rewrite(&self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), Unsendable> {
        let message = Message::read(frame).map_err(|_| Unsendable::Malformed)?;
        if !is_whole(&message) {
            return Err(Unsendable::Malformed);
        }
        if message.operation.tag == EXTENDED_REQUEST
            && Reader::new(message.operation.content).expect(REQUEST_NAME) != Ok(WHO_AM_I.as_bytes())
        {
            return Err(Unsendable::Extended);
        }
        let given = message.controls.unwrap_or_default();
        for oid in each_control(given).map_err(|_| Unsendable::Malformed)? {
            if [PROXIED_AUTHORIZATION, PROXIED_AUTHORIZATION_V1].contains(&oid) {
                return Err(Unsendable::OwnIdentity);
            }
        }
        ber::write_with(SEQUENCE, out, |out| {
            ber::write_integer(INTEGER, message.id, out);
            out.extend_from_slice(message.operation.whole);
            if message.operation.tag != ABANDON_REQUEST {
                ber::write_with(CONTROLS, out, |out| {
                    out.extend_from_slice(&self.control);
                    out.extend_from_slice(given);
                });
            }
        });
        Ok(())
    }
}

/// The controls element of a message.
const CONTROLS: u8 = 0xa0;
/// The requestName of an extended request.
const REQUEST_NAME: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SEARCH: &[u8] =
        b"\x63\x16\x04\x01x\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x00\x30\x00";

    fn message(operation: &[u8], controls: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        ber::write_with(SEQUENCE, &mut out, |out| {
            ber::write_integer(INTEGER, 7, out);
            out.extend_from_slice(operation);
            if let Some(controls) = controls {
                ber::write(CONTROLS, controls, out);
            }
        });
        out
    }

    fn rewritten(frame: &[u8]) -> Result<Vec<u8>, Unsendable> {
        let mut out = Vec::new();
        let done = Authorized::new("uid=ana,dc=x").unwrap().rewrite(frame, &mut out);
        assert!(done.is_ok() || out.is_empty());
        done.map(|()| out)
    }

    const OURS: &[u8] = b"\x30\x2e\x04\x182.16.840.1.113730.3.4.18\x01\x01\xff\x04\x0fdn:uid=ana,dc=x";
    const OTHER: &[u8] = b"\x30\x07\x04\x051.2.3";

    #[test]
    fn our_control_comes_first_and_the_others_stay() {
        assert_eq!(rewritten(&message(SEARCH, None)), Ok(message(SEARCH, Some(OURS))));
        let both = [OURS, OTHER].concat();
        assert_eq!(
            rewritten(&message(SEARCH, Some(OTHER))),
            Ok(message(SEARCH, Some(&both)))
        );
        assert!(Authorized::new("").is_none());
    }

    #[test]
    fn abandon_has_no_authorization() {
        let abandon = b"\x50\x01\x05";
        assert_eq!(rewritten(&message(abandon, None)), Ok(message(abandon, None)));
        assert_eq!(rewritten(&message(abandon, Some(OTHER))), Ok(message(abandon, None)));
    }

    #[test]
    fn of_extended_operations_who_am_i_alone() {
        let extended = |name: &str| {
            let mut operation = Vec::new();
            ber::write_with(0x77, &mut operation, |out| ber::write(0x80, name.as_bytes(), out));
            rewritten(&message(&operation, None))
        };
        assert!(extended(WHO_AM_I).is_ok());
        for other in ["1.3.6.1.1.8", "1.3.6.1.1.21.1", "2.16.840.1.113730.3.8.10.5", ""] {
            assert_eq!(extended(other), Err(Unsendable::Extended), "{other}");
        }
    }

    #[test]
    fn nobody_brings_an_identity_along_and_nothing_unread_is_sent() {
        assert_eq!(rewritten(&message(SEARCH, Some(OURS))), Err(Unsendable::OwnIdentity));
        let second = [OTHER, OURS].concat();
        assert_eq!(rewritten(&message(SEARCH, Some(&second))), Err(Unsendable::OwnIdentity));
        for controls in [
            &b"\x30\x28\x04\x071.2.3.4\x04\x1d"[..],
            b"\x30\x00",
            b"\x04\x00",
            b"\x00",
        ] {
            assert_eq!(
                rewritten(&message(SEARCH, Some(controls))),
                Err(Unsendable::Malformed),
                "{controls:x?}"
            );
        }
        // Servers would read on into the controls.
        let cut = SEARCH.strip_suffix(b"\x30\x00").unwrap();
        let cut = [&[0x63, SEARCH[1] - 2], &cut[2..]].concat();
        assert_eq!(rewritten(&message(&cut, None)), Err(Unsendable::Malformed));
        let mut long = SEARCH.to_vec();
        *long.last_mut().unwrap() = 50;
        assert_eq!(rewritten(&message(&long, None)), Err(Unsendable::Malformed));
        let mut trailing = message(SEARCH, None);
        trailing.push(0);
        assert_eq!(rewritten(&trailing), Err(Unsendable::Malformed));
    }

    proptest! {
        /// Whatever is sent on says whose rights it wants, first of all.
        #[test]
        fn no_message_without_the_control(operation in prop_oneof![Just(0x4au8), 0x60u8..0x78], body in prop::collection::vec(any::<u8>(), 0..40), controls in prop::option::of(prop::collection::vec(any::<u8>(), 0..60))) {
            let mut whole = Vec::new();
            ber::write(operation, &body, &mut whole);
            if let Ok(out) = rewritten(&message(&whole, controls.as_deref())) {
                let read = Message::read(&out).unwrap();
                prop_assert_eq!(read.operation.whole, &whole[..]);
                prop_assert!(read.controls.unwrap().starts_with(OURS));
            }
        }
    }
}
