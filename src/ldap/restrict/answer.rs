//! Answers: entries lose their hidden attributes, and what lies outside of the bases does not go out.

use super::attributes::Hidden;
use super::controls::{CONTROLS, cookie_of};
use super::filter::end;
use super::pages::Pages;
use super::request::is_public;
use super::{Refusal, Restriction};
use crate::ber::{self, BerError, INTEGER, Message, OCTET_STRING, Reader, SEQUENCE};
use crate::dn::Dn;
use crate::ldap::frame::Head;
use crate::ldap::reply::SEARCH_DONE;

pub(super) fn show(restriction: &Restriction, pages: &mut Pages, head: &Head, frame: &[u8], out: &mut Vec<u8>) {
    let shown = match head.operation {
        SEARCH_ENTRY => {
            pages.count(head.id);
            entry(restriction, frame, out)
        }
        SEARCH_REFERENCE => reference(restriction, frame).map(|shown| {
            if shown {
                out.extend_from_slice(frame);
            }
        }),
        // Only controls that are not let through have such answers (RFC 4533).
        INTERMEDIATE if restriction.withholds() => Ok(()),
        SEARCH_DONE if pages.is_under_way(head.id) => {
            let message = Message::read(frame);
            pages.end(head.id, message.ok().and_then(|message| cookie_of(message.controls)));
            out.extend_from_slice(frame);
            Ok(())
        }
        _ => {
            out.extend_from_slice(frame);
            Ok(())
        }
    };
    if shown.is_err() {
        tracing::warn!(
            operation = head.operation,
            "an answer of the directory cannot be read, and was kept back"
        );
    }
}

fn entry(restriction: &Restriction, frame: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    let message = Message::read(frame)?;
    let mut fields = Reader::new(message.operation.content);
    let name = fields.expect(OCTET_STRING)?;
    let attributes = fields.expect(SEQUENCE)?;
    end(&fields)?;
    if !restriction.bases.is_empty() {
        let dn = Dn::parse(name).map_err(|_| BerError::Unexpected)?;
        if !restriction.reaches(&dn) && !is_public(&dn) {
            return Ok(());
        }
    }
    let Some(shown) = restriction
        .hidden
        .as_ref()
        .map(|hidden| visible(hidden, attributes))
        .transpose()?
        .flatten()
    else {
        out.extend_from_slice(frame);
        return Ok(());
    };
    ber::write_with(SEQUENCE, out, |out| {
        ber::write_integer(INTEGER, message.id, out);
        ber::write_with(SEARCH_ENTRY, out, |out| {
            ber::write(OCTET_STRING, name, out);
            ber::write(SEQUENCE, &shown, out);
        });
        if let Some(controls) = message.controls {
            ber::write(CONTROLS, controls, out);
        }
    });
    Ok(())
}

/// The attributes that may be seen; `None` when that is all of them.
fn visible(hidden: &Hidden, attributes: &[u8]) -> Result<Option<Vec<u8>>, BerError> {
    let mut shown = Vec::with_capacity(attributes.len());
    let mut reader = Reader::new(attributes);
    while !reader.is_empty() {
        let attribute = reader.element()?;
        let description = Reader::new(attribute.content).expect(OCTET_STRING)?;
        if attribute.tag != SEQUENCE {
            return Err(BerError::Unexpected);
        }
        if hidden.shows(description) {
            shown.extend_from_slice(attribute.whole);
        }
    }
    Ok((shown.len() < attributes.len()).then_some(shown))
}

/// Whether a continuation reference (RFC 4511 section 4.5.3) leads to what is served here only.
fn reference(restriction: &Restriction, frame: &[u8]) -> Result<bool, Refusal> {
    if restriction.bases.is_empty() {
        return Ok(true);
    }
    let message = Message::read(frame)?;
    let mut urls = Reader::new(message.operation.content);
    while !urls.is_empty() {
        let reaches = |dn: &Dn| restriction.reaches(dn);
        if !name_in(urls.expect(OCTET_STRING)?).as_ref().is_some_and(reaches) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The distinguished name in an LDAP URL (RFC 4516), if there is one.
fn name_in(url: &[u8]) -> Option<Dn> {
    let text = std::str::from_utf8(url).ok()?;
    let (_, rest) = text.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let name = path.split('?').next()?;
    let mut octets = Vec::with_capacity(name.len());
    let mut parts = name.bytes();
    while let Some(octet) = parts.next() {
        if octet == b'%' {
            let pair = [parts.next()?, parts.next()?];
            let digits = std::str::from_utf8(&pair).ok()?;
            octets.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            octets.push(octet);
        }
    }
    Dn::parse(&octets).ok()
}

/// SearchResultEntry
const SEARCH_ENTRY: u8 = 0x64;
/// SearchResultReference
const SEARCH_REFERENCE: u8 = 0x73;
/// IntermediateResponse
const INTERMEDIATE: u8 = 0x79;
