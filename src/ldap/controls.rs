//! The controls of a request (RFC 4511 section 4.1.11), as far as we deal with them ourselves.
//!
//! Those of a bind are not relayed but read and written anew: what a server makes of octets that we do not
//! understand could hide what it says of the password, and a critical control that it does not know would
//! pass for an outage.

use crate::ber::{self, BerError, OCTET_STRING, Reader, SEQUENCE};

/// What the controls of a bind ask for, as far as it is heeded. Whether it was critical makes no difference:
/// a server that does not know these two binds without them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindControls {
    /// The state of the password (draft-behera-ldap-password-policy-10 section 6.1).
    pub policy: bool,
    /// The authorization identity (RFC 3829 section 2).
    pub identity: bool,
}

/// Why a bind is not performed for its controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlFault {
    /// They are not the controls of RFC 4511.
    #[error("the controls cannot be read")]
    Malformed(#[source] BerError),
    /// A critical one that a bind cannot have here.
    #[error("a critical control is not known")]
    Critical,
    /// One with a value that has none.
    #[error("a control has a value where it has none")]
    Value,
}

impl From<BerError> for ControlFault {
    fn from(fault: BerError) -> Self {
        Self::Malformed(fault)
    }
}

impl BindControls {
    /// Reads the content of a bind's controls element. Unknown controls that are not critical are left out.
    ///
    /// # Errors
    /// [`ControlFault::Malformed`] whatever else is wrong, else the first of the other faults.
    pub fn read(controls: Option<&[u8]>) -> Result<Self, ControlFault> {
        let mut reader = Reader::new(controls.unwrap_or_default());
        let mut asked = Self::default();
        let mut fault = None;
        while !reader.is_empty() {
            let control = Control::read(reader.expect(SEQUENCE)?)?;
            let known = match control.oid {
                PASSWORD_POLICY => &mut asked.policy,
                AUTHORIZATION_IDENTITY => &mut asked.identity,
                _ if control.critical => {
                    fault = fault.or(Some(ControlFault::Critical));
                    continue;
                }
                _ => continue,
            };
            if control.value.is_some() {
                fault = fault.or(Some(ControlFault::Value));
            }
            *known = true;
        }
        fault.map_or(Ok(asked), Err)
    }
}

/// Whether the controls of an operation that we perform ourselves ask for the state of the password.
///
/// # Errors
/// As for [`BindControls::read`]; no other control is known.
pub fn asks_for_policy(controls: Option<&[u8]>) -> Result<bool, ControlFault> {
    let mut reader = Reader::new(controls.unwrap_or_default());
    let mut asked = false;
    let mut fault = None;
    while !reader.is_empty() {
        let control = Control::read(reader.expect(SEQUENCE)?)?;
        match control.oid {
            PASSWORD_POLICY if control.value.is_some() => fault = fault.or(Some(ControlFault::Value)),
            PASSWORD_POLICY => asked = true,
            _ if control.critical => fault = fault.or(Some(ControlFault::Critical)),
            _ => {}
        }
    }
    fault.map_or(Ok(asked), Err)
}

/// Whether a critical control stands among these, or one that cannot be read: then an operation that we
/// answer ourselves must not be performed.
pub fn has_critical(controls: Option<&[u8]>) -> bool {
    let mut reader = Reader::new(controls.unwrap_or_default());
    while !reader.is_empty() {
        match reader.expect(SEQUENCE).and_then(Control::read) {
            Ok(control) if !control.critical => {}
            Ok(_) | Err(_) => return true,
        }
    }
    false
}

/// The types of all controls.
///
/// # Errors
/// [`BerError`] when any of them is not as RFC 4511 lays it out.
pub(super) fn each_control(controls: &[u8]) -> Result<Vec<&[u8]>, BerError> {
    let mut reader = Reader::new(controls);
    let mut types = Vec::new();
    while !reader.is_empty() {
        types.push(Control::read(reader.expect(SEQUENCE)?)?.oid);
    }
    Ok(types)
}

/// One control.
pub(super) struct Control<'a> {
    /// controlType.
    pub(super) oid: &'a [u8],
    /// criticality.
    pub(super) critical: bool,
    /// controlValue.
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Control<'a> {
    /// Reads the content of one control: type, criticality unless false, value if there is one, and no more.
    pub(super) fn read(content: &'a [u8]) -> Result<Self, BerError> {
        let mut fields = Reader::new(content);
        let oid = fields.expect(OCTET_STRING)?;
        let critical = match fields.peek() {
            // RFC 4511 section 5.1 has TRUE as 0xff; some clients write another octet that is not zero.
            Some(ber::BOOLEAN) => match fields.expect(ber::BOOLEAN)? {
                [value] => *value != 0,
                _ => return Err(BerError::Unexpected),
            },
            Some(_) | None => false,
        };
        let value = if fields.is_empty() {
            None
        } else {
            Some(fields.expect(OCTET_STRING)?)
        };
        if !fields.is_empty() {
            return Err(BerError::Unexpected);
        }
        Ok(Self { oid, critical, value })
    }
}

/// draft-behera-ldap-password-policy-10 section 6.
pub(super) const PASSWORD_POLICY: &[u8] = b"1.3.6.1.4.1.42.2.27.8.5.1";
/// RFC 4370 section 3.
pub(super) const PROXIED_AUTHORIZATION: &[u8] = b"2.16.840.1.113730.3.4.18";
/// draft-weltman-ldapv3-proxy-04: its forerunner, which some servers still know.
pub(super) const PROXIED_AUTHORIZATION_V1: &[u8] = b"2.16.840.1.113730.3.4.12";
/// RFC 3829 section 2.
const AUTHORIZATION_IDENTITY: &[u8] = b"2.16.840.1.113730.3.4.16";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn control(oid: &[u8], critical: Option<u8>, value: Option<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        ber::write_with(SEQUENCE, &mut out, |out| {
            ber::write(OCTET_STRING, oid, out);
            if let Some(critical) = critical {
                ber::write(ber::BOOLEAN, &[critical], out);
            }
            if let Some(value) = value {
                ber::write(OCTET_STRING, value, out);
            }
        });
        out
    }

    fn read(controls: &[Vec<u8>]) -> Result<BindControls, ControlFault> {
        BindControls::read(Some(&controls.concat()))
    }

    #[test]
    fn critical_controls_are_seen() {
        assert!(!has_critical(None));
        assert!(!has_critical(Some(&control(b"1.2.3", None, None))));
        assert!(!has_critical(Some(&control(b"1.2.3", Some(0), Some(b"v")))));
        let second = [control(b"1.2.3", None, None), control(b"1.2.4", Some(0xff), None)].concat();
        assert!(has_critical(Some(&second)));
        assert!(has_critical(Some(b"\x30\x7f")), "what cannot be read may be critical");
    }

    #[test]
    fn a_bind_may_ask_for_two_things() {
        let both = BindControls {
            policy: true,
            identity: true,
        };
        assert_eq!(BindControls::read(None), Ok(BindControls::default()));
        assert_eq!(read(&[]), Ok(BindControls::default()));
        let policy = control(PASSWORD_POLICY, None, None);
        let identity = control(AUTHORIZATION_IDENTITY, Some(0xff), None);
        let other = control(b"1.2.3", Some(0), Some(b"v"));
        assert_eq!(read(&[other, identity, policy.clone(), policy]), Ok(both));
    }

    #[test]
    fn what_is_critical_and_unknown_or_has_a_stray_value_is_a_fault() {
        for truth in [1, 0x7f, 0xff] {
            let unknown = control(b"1.2.3", Some(truth), None);
            assert_eq!(read(&[unknown]), Err(ControlFault::Critical), "{truth}");
        }
        for oid in [PASSWORD_POLICY, AUTHORIZATION_IDENTITY] {
            for value in [&b""[..], b"v"] {
                assert_eq!(read(&[control(oid, None, Some(value))]), Err(ControlFault::Value));
            }
        }
    }

    #[test]
    fn controls_are_read_strictly_to_the_last() {
        let swallowing = b"\x30\x28\x04\x071.2.3.4\x04\x1d";
        for malformed in [
            &swallowing[..],
            b"\x30\x00",
            b"\x30\x80\x00\x00",
            b"\x04\x03\x04\x011",
            b"\x30\x03\x02\x011",
            b"\x30\x05\x04\x011\x01\x00",
            b"\x30\x07\x04\x011\x01\x02\x00\x00",
            b"\x30\x06\x04\x011\x02\x01\x01",
            b"\x30\x08\x04\x011\x04\x00\x01\x01\xff",
            b"\x30\x07\x04\x011\x04\x00\x04\x00",
            b"\x30\x04\x04\x011\x00",
            b"\x00",
        ] {
            let critical = control(b"1.2.3", Some(0xff), None);
            let found = read(&[critical, malformed.to_vec()]);
            assert!(matches!(found, Err(ControlFault::Malformed(_))), "{malformed:x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            if BindControls::read(Some(&octets)) == Err(ControlFault::Critical) {
                prop_assert!(has_critical(Some(&octets)));
            }
        }
    }
}
