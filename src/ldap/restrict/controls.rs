//! The controls of a request on a listener that withholds something: let through by list.
//!
//! Any other control could tell of what is withheld: proxied authorization acts for somebody else, assertion
//! and matched values are filters, read entries come back in controls, synchronisation goes past limits.

use super::attributes::Hidden;
use super::filter::{HIDDEN, end};
use super::{Refusal, Restriction};
use crate::ber::{self, BOOLEAN, INTEGER, OCTET_STRING, Reader, SEQUENCE};
use crate::ldap::controls::{Control, PASSWORD_POLICY};
use crate::ldap::reply::Code;

/// The controls of a request.
#[derive(Debug, Default)]
pub(super) struct Controls<'a> {
    /// Those that go on, as they stand, but for paged results.
    pub(super) kept: Vec<&'a [u8]>,
    /// Paged results (RFC 2696).
    pub(super) page: Option<Page<'a>>,
    /// Whether some do not go on.
    pub(super) some_dropped: bool,
}

/// Paged results.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    pub(super) critical: bool,
    pub(super) size: i32,
    pub(super) cookie: &'a [u8],
    /// Whether it has to be written anew.
    pub(super) changed: bool,
    whole: &'a [u8],
}

impl<'a> Controls<'a> {
    pub(super) fn read(content: Option<&'a [u8]>, restriction: &Restriction) -> Result<Self, Refusal> {
        let mut reader = Reader::new(content.unwrap_or_default());
        let mut controls = Self::default();
        let mut seen: Vec<&[u8]> = Vec::new();
        while !reader.is_empty() {
            let element = reader.element()?;
            if element.tag != SEQUENCE {
                return Err(ber::BerError::Unexpected.into());
            }
            let control = Control::read(element.content)?;
            if seen.contains(&control.oid) {
                return Err(Refusal(Code::ProtocolError, "a control is there twice"));
            }
            if seen.len() >= MOST_CONTROLS {
                return Err(Refusal(Code::UnwillingToPerform, "too many controls"));
            }
            seen.push(control.oid);
            if control.oid == PAGED_RESULTS {
                controls.page = Some(Page::read(&control, element.whole)?);
            } else if HARMLESS.contains(&control.oid) {
                controls.kept.push(element.whole);
            } else if control.oid == SORT {
                check_keys(control.value.unwrap_or_default(), restriction.hidden.as_ref())?;
                controls.kept.push(element.whole);
            } else if control.critical {
                let text = "a critical control is not let through here";
                return Err(Refusal(Code::UnavailableCriticalExtension, text));
            } else {
                controls.some_dropped = true;
            }
        }
        Ok(controls)
    }

    /// Whether the request's own controls may go on as they stand.
    pub(super) fn are_unchanged(&self) -> bool {
        !self.some_dropped && self.page.is_none_or(|page| !page.changed)
    }

    /// Appends the controls element, unless nothing is left to stand in it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.kept.is_empty() && self.page.is_none() {
            return;
        }
        ber::write_with(CONTROLS, out, |out| {
            self.kept.iter().for_each(|control| out.extend_from_slice(control));
            if let Some(page) = &self.page {
                page.write(out);
            }
        });
    }
}

impl<'a> Page<'a> {
    fn read(control: &Control<'a>, whole: &'a [u8]) -> Result<Self, Refusal> {
        let (size, cookie) = page_value(control.value.unwrap_or_default())?;
        Ok(Self {
            critical: control.critical,
            size,
            cookie,
            changed: false,
            whole,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        if !self.changed {
            out.extend_from_slice(self.whole);
            return;
        }
        ber::write_with(SEQUENCE, out, |out| {
            ber::write(OCTET_STRING, PAGED_RESULTS, out);
            if self.critical {
                ber::write(BOOLEAN, &[0xff], out);
            }
            ber::write_with(OCTET_STRING, out, |out| {
                ber::write_with(SEQUENCE, out, |out| {
                    ber::write_integer(INTEGER, self.size, out);
                    ber::write(OCTET_STRING, self.cookie, out);
                });
            });
        });
    }
}

/// The cookie in the controls of a response, if paged results is among them.
pub(super) fn cookie_of(controls: Option<&[u8]>) -> Option<&[u8]> {
    let mut reader = Reader::new(controls.unwrap_or_default());
    while let Ok(content) = reader.expect(SEQUENCE) {
        if let Ok(control) = Control::read(content)
            && control.oid == PAGED_RESULTS
        {
            return Some(page_value(control.value?).ok()?.1);
        }
    }
    None
}

fn page_value(value: &[u8]) -> Result<(i32, &[u8]), Refusal> {
    let mut outer = Reader::new(value);
    let mut fields = Reader::new(outer.expect(SEQUENCE)?);
    let size = fields.integer(INTEGER)?;
    let cookie = fields.expect(OCTET_STRING)?;
    end(&fields)?;
    end(&outer)?;
    if size < 0 {
        return Err(ber::BerError::Unexpected.into());
    }
    Ok((size, cookie))
}

/// The order of entries tells of the values that they are sorted by (RFC 2891).
fn check_keys(value: &[u8], hidden: Option<&Hidden>) -> Result<(), Refusal> {
    let mut outer = Reader::new(value);
    let mut keys = Reader::new(outer.expect(SEQUENCE)?);
    end(&outer)?;
    while !keys.is_empty() {
        let mut key = Reader::new(keys.expect(SEQUENCE)?);
        let name = key.expect(OCTET_STRING)?;
        if hidden.is_some_and(|hidden| !hidden.tells(name)) {
            return Err(HIDDEN);
        }
        if key.peek() == Some(0x80) {
            key.expect(0x80)?;
        }
        if key.peek() == Some(0x81) {
            key.expect(0x81)?;
        }
        end(&key)?;
    }
    Ok(())
}

/// RFC 2696.
const PAGED_RESULTS: &[u8] = b"1.2.840.113556.1.4.319";
/// RFC 2891.
const SORT: &[u8] = b"1.2.840.113556.1.4.473";
/// Controls that change nothing about what is seen.
const HARMLESS: [&[u8]; 7] = [
    // The password policy of the one who is bound (draft-behera-ldap-password-policy-10).
    PASSWORD_POLICY,
    // ManageDsaIT (RFC 3296).
    b"2.16.840.1.113730.3.4.2",
    // Subentries (RFC 3672).
    b"1.3.6.1.4.1.4203.1.10.1",
    // Don't Use Copy (RFC 6171).
    b"1.3.6.1.1.22",
    // Active Directory: referrals to others are not wanted (LDAP_SERVER_DOMAIN_SCOPE_OID).
    b"1.2.840.113556.1.4.1339",
    // Active Directory: adding what is there is no fault (LDAP_SERVER_PERMISSIVE_MODIFY_OID).
    b"1.2.840.113556.1.4.1413",
    // Delete with all that is below (draft-armijo-ldap-treedelete).
    b"1.2.840.113556.1.4.805",
];
/// The controls element of a message.
pub(super) const CONTROLS: u8 = 0xa0;
/// Controls of one request.
const MOST_CONTROLS: usize = 32;
