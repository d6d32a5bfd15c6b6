//! Requests: taken apart, judged, and written anew where a limit is lowered or a control left out.

use super::controls::Controls;
use super::filter::{self, HIDDEN, end};
use super::pages::Pages;
use super::{Refusal, Restriction};
use crate::ber::{self, BOOLEAN, BerError, ENUMERATED, Element, INTEGER, Message, OCTET_STRING, Reader, SEQUENCE};
use crate::config::Operation;
use crate::dn::{Dn, Rdn};
use crate::ldap::reply::{
    ABANDON_REQUEST, CANCEL, Code, EXTENDED_REQUEST, PASSWORD_MODIFY, SEARCH_REQUEST, START_TLS, WHO_AM_I,
};

/// Judges a whole message: `None` to send it on as it is, or what to send on in its place.
pub(super) fn judge(restriction: &Restriction, pages: &mut Pages, frame: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let message = Message::read(frame)?;
    let Some(request) = Request::read(&message)? else {
        return Ok(None);
    };
    request.is_allowed(restriction)?;
    request.stays_within(restriction)?;
    request.tells_nothing(restriction)?;
    let controls = if restriction.withholds() {
        Some(Controls::read(message.controls, restriction)?)
    } else {
        None
    };
    match request {
        Request::Search(search) => search.limited(restriction, pages, &message, controls),
        Request::Compare(_)
        | Request::Modify(_)
        | Request::Add(_)
        | Request::Delete(_)
        | Request::ModifyDn(_)
        | Request::Extended(_) => Ok(controls.filter(|controls| !controls.are_unchanged()).map(|controls| {
            rewritten(&message, &controls, |out| {
                out.extend_from_slice(message.operation.whole);
            })
        })),
    }
}

/// Whether the operation of a message is as RFC 4511 has it, to the last octet: servers may read on behind the end of
/// one that is too short, and take for a part of it what follows.
pub(super) fn is_whole(message: &Message<'_>) -> bool {
    match Request::read(message) {
        Ok(Some(Request::Search(search))) => filter::check(search.filter, None).is_ok(),
        Ok(_) => true,
        Err(_) => false,
    }
}

enum Request<'a> {
    Search(Search<'a>),
    Compare(Compare<'a>),
    Modify(Write<'a>),
    Add(Write<'a>),
    /// The entry's name.
    Delete(&'a [u8]),
    ModifyDn(ModifyDn<'a>),
    Extended(Extended<'a>),
}

impl<'a> Request<'a> {
    /// `None` for an abandon: it asks for nothing, and is known by its number alone.
    fn read(message: &Message<'a>) -> Result<Option<Self>, Refusal> {
        let content = message.operation.content;
        Ok(Some(match message.operation.tag {
            ABANDON_REQUEST => return Ok(None),
            SEARCH_REQUEST => Self::Search(Search::read(content)?),
            COMPARE => Self::Compare(Compare::read(content)?),
            MODIFY => Self::Modify(Write::read(content, modification)?),
            ADD => Self::Add(Write::read(content, attribute)?),
            DELETE => Self::Delete(content),
            MODIFY_DN => Self::ModifyDn(ModifyDn::read(content)?),
            EXTENDED_REQUEST => Self::Extended(Extended::read(content)?),
            _ => return Err(BerError::Unexpected.into()),
        }))
    }

    fn is_allowed(&self, restriction: &Restriction) -> Result<(), Refusal> {
        let operation = match self {
            Self::Search(_) => Operation::Search,
            Self::Compare(_) => Operation::Compare,
            Self::Modify(_) => Operation::Modify,
            Self::Add(_) => Operation::Add,
            Self::Delete(_) => Operation::Delete,
            Self::ModifyDn(_) => Operation::ModifyDn,
            Self::Extended(extended) => match extended.operation() {
                Some(operation) => operation,
                // StartTLS is the listener's own business.
                None => return Ok(()),
            },
        };
        let allowed = match &restriction.operations {
            Some(listed) => {
                listed.contains(&operation)
                    || extended_number(&operation).is_some_and(|number| listed.contains(&number))
            }
            // One that we do not know could read or write anything.
            None => !restriction.withholds() || !matches!(operation, Operation::Extended(_)),
        };
        if allowed {
            Ok(())
        } else {
            Err(Refusal(Code::UnwillingToPerform, "the operation is not allowed here"))
        }
    }

    fn stays_within(&self, restriction: &Restriction) -> Result<(), Refusal> {
        if restriction.bases.is_empty() {
            return Ok(());
        }
        let reach = |name: &[u8]| within(restriction, name).map(|_| ());
        match self {
            Self::Search(search) if search.scope == BASE_OBJECT && is_public(&parsed(search.base)?) => Ok(()),
            Self::Search(search) => reach(search.base),
            Self::Compare(compare) => reach(compare.entry),
            Self::Modify(write) | Self::Add(write) => reach(write.entry),
            Self::Delete(entry) => reach(entry),
            Self::ModifyDn(rename) => {
                let old = within(restriction, rename.entry)?;
                let above = rename.above.map(|above| within(restriction, above)).transpose()?;
                let first = Rdn::parse(rename.first).map_err(|_| BAD_NAME)?;
                match old.renamed(first, above.as_ref()) {
                    Some(new) if restriction.reaches(&new) => Ok(()),
                    Some(_) | None => Err(OUTSIDE),
                }
            }
            Self::Extended(extended) => match extended.whose {
                Some(name) => reach(name),
                None => Ok(()),
            },
        }
    }

    fn tells_nothing(&self, restriction: &Restriction) -> Result<(), Refusal> {
        let hidden = restriction.hidden.as_ref();
        let tells = |name: &[u8]| match hidden {
            Some(hidden) if !hidden.tells(name) => Err(HIDDEN),
            Some(_) | None => Ok(()),
        };
        match self {
            // Nested filters are bounded, whatever is hidden.
            Self::Search(search) => filter::check(search.filter, hidden),
            Self::Compare(compare) => tells(compare.attribute),
            Self::Modify(write) | Self::Add(write) => write.attributes.iter().try_for_each(|name| tells(name)),
            Self::ModifyDn(rename) if hidden.is_some() => {
                let first = Rdn::parse(rename.first).map_err(|_| BAD_NAME)?;
                first.attributes().try_for_each(|name| tells(name.as_bytes()))
            }
            Self::ModifyDn(_) | Self::Delete(_) | Self::Extended(_) => Ok(()),
        }
    }
}

/// SearchRequest (RFC 4511 section 4.5.1).
struct Search<'a> {
    base: &'a [u8],
    scope: i32,
    aliases: i32,
    entries: i32,
    seconds: i32,
    types_only: &'a [u8],
    filter: Element<'a>,
    attributes: &'a [u8],
}

impl<'a> Search<'a> {
    fn read(content: &'a [u8]) -> Result<Self, Refusal> {
        let mut fields = Reader::new(content);
        let search = Self {
            base: fields.expect(OCTET_STRING)?,
            scope: fields.integer(ENUMERATED)?,
            aliases: fields.integer(ENUMERATED)?,
            entries: fields.integer(INTEGER)?,
            seconds: fields.integer(INTEGER)?,
            types_only: fields.expect(BOOLEAN)?,
            filter: fields.element()?,
            attributes: fields.expect(SEQUENCE)?,
        };
        end(&fields)?;
        let mut attributes = Reader::new(search.attributes);
        while !attributes.is_empty() {
            attributes.expect(OCTET_STRING)?;
        }
        // The scope 3 is that of draft-sermersheim-ldap-subordinate-scope.
        let sound = (0..=3).contains(&search.scope)
            && (0..=3).contains(&search.aliases)
            && search.entries >= 0
            && search.seconds >= 0
            && search.types_only.len() == 1;
        if sound {
            Ok(search)
        } else {
            Err(BerError::Unexpected.into())
        }
    }

    /// Lowers the limits, and has aliases left alone where the search could get out by one: what it found
    /// there would be counted and sorted, even if it were not shown.
    fn limited(
        mut self,
        restriction: &Restriction,
        pages: &mut Pages,
        message: &Message<'_>,
        controls: Option<Controls<'_>>,
    ) -> Result<Option<Vec<u8>>, Refusal> {
        let mut controls = controls;
        let before = (self.entries, self.seconds, self.aliases);
        self.entries = lowered(self.entries, restriction.max_entries);
        self.seconds = lowered(self.seconds, restriction.time_limit);
        if !restriction.bases.is_empty() {
            self.aliases = NEVER_DEREF_ALIASES;
        }
        if let (Some(most), Some(page)) = (
            restriction.max_entries,
            controls.as_mut().and_then(|controls| controls.page.as_mut()),
        ) {
            let sent = if page.cookie.is_empty() {
                0
            } else {
                pages.before(page.cookie).ok_or(Refusal(
                    Code::UnwillingToPerform,
                    "the page is not known on this connection",
                ))?
            };
            let left = usize::try_from(most).unwrap_or_default().saturating_sub(sent);
            let left = i32::try_from(left).unwrap_or(i32::MAX);
            // A size of zero with a cookie gives the search up (RFC 2696 section 3).
            if left == 0 && page.size > 0 {
                return Err(Refusal(Code::SizeLimitExceeded, ""));
            }
            // Their entries could not be told apart.
            if pages.is_under_way(message.id) {
                return Err(Refusal(Code::ProtocolError, "another search has this message id"));
            }
            if page.size > left {
                page.size = left;
                page.changed = true;
            }
            pages.begin(message.id, sent);
        }
        let same_fields = before == (self.entries, self.seconds, self.aliases);
        if same_fields && controls.as_ref().is_none_or(Controls::are_unchanged) {
            return Ok(None);
        }
        Ok(Some(match controls {
            Some(controls) => rewritten(message, &controls, |out| self.write(out)),
            None => written(
                message.id,
                |out| self.write(out),
                |out| {
                    if let Some(controls) = message.controls {
                        ber::write(super::controls::CONTROLS, controls, out);
                    }
                },
            ),
        }))
    }

    fn write(&self, out: &mut Vec<u8>) {
        ber::write_with(SEARCH_REQUEST, out, |out| {
            ber::write(OCTET_STRING, self.base, out);
            ber::write_integer(ENUMERATED, self.scope, out);
            ber::write_integer(ENUMERATED, self.aliases, out);
            ber::write_integer(INTEGER, self.entries, out);
            ber::write_integer(INTEGER, self.seconds, out);
            ber::write(BOOLEAN, self.types_only, out);
            out.extend_from_slice(self.filter.whole);
            ber::write(SEQUENCE, self.attributes, out);
        });
    }
}

/// CompareRequest (RFC 4511 section 4.10).
struct Compare<'a> {
    entry: &'a [u8],
    attribute: &'a [u8],
}

impl<'a> Compare<'a> {
    fn read(content: &'a [u8]) -> Result<Self, Refusal> {
        let mut fields = Reader::new(content);
        let entry = fields.expect(OCTET_STRING)?;
        let mut assertion = Reader::new(fields.expect(SEQUENCE)?);
        end(&fields)?;
        let attribute = assertion.expect(OCTET_STRING)?;
        assertion.expect(OCTET_STRING)?;
        end(&assertion)?;
        Ok(Self { entry, attribute })
    }
}

/// ModifyRequest and AddRequest (RFC 4511 sections 4.6 and 4.7), as far as they are alike.
struct Write<'a> {
    entry: &'a [u8],
    attributes: Vec<&'a [u8]>,
}

impl<'a> Write<'a> {
    fn read(content: &'a [u8], one: fn(&mut Reader<'a>) -> Result<&'a [u8], Refusal>) -> Result<Self, Refusal> {
        let mut fields = Reader::new(content);
        let entry = fields.expect(OCTET_STRING)?;
        let mut list = Reader::new(fields.expect(SEQUENCE)?);
        end(&fields)?;
        let mut attributes = Vec::new();
        while !list.is_empty() {
            attributes.push(one(&mut list)?);
        }
        Ok(Self { entry, attributes })
    }
}

/// Reads one change and returns the attribute's description.
fn modification<'a>(list: &mut Reader<'a>) -> Result<&'a [u8], Refusal> {
    let mut change = Reader::new(list.expect(SEQUENCE)?);
    change.integer(ENUMERATED)?;
    let name = attribute(&mut change)?;
    end(&change)?;
    Ok(name)
}

/// Reads one attribute and returns its description.
fn attribute<'a>(list: &mut Reader<'a>) -> Result<&'a [u8], Refusal> {
    const SET: u8 = 0x31;
    let mut attribute = Reader::new(list.expect(SEQUENCE)?);
    let name = attribute.expect(OCTET_STRING)?;
    let mut values = Reader::new(attribute.expect(SET)?);
    end(&attribute)?;
    while !values.is_empty() {
        values.expect(OCTET_STRING)?;
    }
    Ok(name)
}

/// ModifyDNRequest (RFC 4511 section 4.9).
struct ModifyDn<'a> {
    entry: &'a [u8],
    first: &'a [u8],
    above: Option<&'a [u8]>,
}

impl<'a> ModifyDn<'a> {
    fn read(content: &'a [u8]) -> Result<Self, Refusal> {
        let mut fields = Reader::new(content);
        let entry = fields.expect(OCTET_STRING)?;
        let first = fields.expect(OCTET_STRING)?;
        fields.expect(BOOLEAN)?;
        let above = if fields.is_empty() {
            None
        } else {
            Some(fields.expect(0x80)?)
        };
        end(&fields)?;
        Ok(Self { entry, first, above })
    }
}

/// ExtendedRequest (RFC 4511 section 4.12).
struct Extended<'a> {
    name: &'a [u8],
    /// The entry whose password is to be changed, when it is named (RFC 3062 section 2).
    whose: Option<&'a [u8]>,
}

impl<'a> Extended<'a> {
    fn read(content: &'a [u8]) -> Result<Self, Refusal> {
        let mut fields = Reader::new(content);
        let name = fields.expect(0x80)?;
        let value = if fields.is_empty() {
            None
        } else {
            Some(fields.expect(0x81)?)
        };
        end(&fields)?;
        let mut whose = None;
        if let Some(value) = value.filter(|_| name == PASSWORD_MODIFY.as_bytes()) {
            let mut outer = Reader::new(value);
            let mut fields = Reader::new(outer.expect(SEQUENCE)?);
            end(&outer)?;
            if fields.peek() == Some(0x80) {
                whose = Some(fields.expect(0x80)?);
            }
        }
        Ok(Self { name, whose })
    }

    /// `None` for StartTLS.
    fn operation(&self) -> Option<Operation> {
        let known = [
            (PASSWORD_MODIFY, Operation::PasswordModify),
            (WHO_AM_I, Operation::WhoAmI),
            (CANCEL, Operation::Cancel),
        ];
        if self.name == START_TLS.as_bytes() {
            return None;
        }
        let named = known.into_iter().find(|(number, _)| self.name == number.as_bytes());
        Some(match named {
            Some((_, operation)) => operation,
            None => Operation::Extended(String::from_utf8_lossy(self.name).into_owned()),
        })
    }
}

/// An operation that has a word may be listed by its number as well.
fn extended_number(operation: &Operation) -> Option<Operation> {
    let number = match operation {
        Operation::PasswordModify => PASSWORD_MODIFY,
        Operation::WhoAmI => WHO_AM_I,
        Operation::Cancel => CANCEL,
        Operation::Search
        | Operation::Compare
        | Operation::Add
        | Operation::Modify
        | Operation::Delete
        | Operation::ModifyDn
        | Operation::Extended(_) => return None,
    };
    Some(Operation::Extended(number.to_owned()))
}

/// Entries that clients need and that hold nothing of anybody: the root DSE and the schema, by the names that
/// it has in OpenLDAP, 389 Directory Server and Active Directory (RFC 4512 sections 4.2 and 5.1).
pub(super) fn is_public(dn: &Dn) -> bool {
    match dn.rdns() {
        [] => true,
        [only] => only.is("cn", "subschema") || only.is("cn", "schema"),
        [first, second, third, domain @ ..] => {
            first.is("cn", "aggregate")
                && second.is("cn", "schema")
                && third.is("cn", "configuration")
                && domain.iter().all(|step| step.attributes().eq(["dc"]))
        }
        [_, _] => false,
    }
}

fn parsed(name: &[u8]) -> Result<Dn, Refusal> {
    Dn::parse(name).map_err(|_| BAD_NAME)
}

fn within(restriction: &Restriction, name: &[u8]) -> Result<Dn, Refusal> {
    let dn = parsed(name)?;
    if restriction.reaches(&dn) { Ok(dn) } else { Err(OUTSIDE) }
}

/// The lower of two limits, of which zero is none.
fn lowered(asked: i32, most: Option<i32>) -> i32 {
    match most {
        Some(most) if asked == 0 || asked > most => most,
        Some(_) | None => asked,
    }
}

fn rewritten(message: &Message<'_>, controls: &Controls<'_>, operation: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    written(message.id, operation, |out| controls.write(out))
}

fn written(id: i32, operation: impl FnOnce(&mut Vec<u8>), controls: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write_integer(INTEGER, id, out);
        operation(out);
        controls(out);
    });
    out
}

/// Not "no such object" with the name of the entry above, as the directory would say: nothing was looked for.
const OUTSIDE: Refusal = Refusal(Code::NoSuchObject, "the name is outside of what is served here");
const BAD_NAME: Refusal = Refusal(Code::InvalidDnSyntax, "the name is not a distinguished name");

const BASE_OBJECT: i32 = 0;
const NEVER_DEREF_ALIASES: i32 = 0;
const MODIFY: u8 = 0x66;
const ADD: u8 = 0x68;
const DELETE: u8 = 0x4a;
const MODIFY_DN: u8 = 0x6c;
const COMPARE: u8 = 0x6e;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_may_read() {
        let public = |name: &str| is_public(&Dn::parse(name.as_bytes()).unwrap());
        for name in [
            "",
            "cn=Subschema",
            "CN=schema",
            "CN=Aggregate,CN=Schema,CN=Configuration,DC=x,DC=y",
        ] {
            assert!(public(name), "{name}");
        }
        for name in [
            "cn=config",
            "cn=x,cn=subschema",
            "cn=schema,cn=configuration,dc=x",
            "cn=aggregate,cn=schema,cn=configuration,ou=x",
        ] {
            assert!(!public(name), "{name}");
        }
    }

    #[test]
    fn limits_are_lowered_and_never_raised() {
        assert_eq!(lowered(0, Some(5)), 5);
        assert_eq!(lowered(9, Some(5)), 5);
        assert_eq!(lowered(3, Some(5)), 3);
        assert_eq!((lowered(0, None), lowered(7, None)), (0, 7));
    }
}
