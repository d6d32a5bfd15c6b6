//! Requests of every kind, as octets.

use portcullis::ber::{self, BOOLEAN, ENUMERATED, INTEGER, OCTET_STRING, SEQUENCE};
use portcullis::directory::filter::{Filter, encode};

/// A request without its message id.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Its protocolOp, identifier and length included.
    pub(super) operation: Vec<u8>,
    controls: Vec<u8>,
}

impl Request {
    /// An operation of any content.
    pub(super) fn of(tag: u8, content: &[u8]) -> Self {
        Self {
            operation: element(tag, content),
            controls: Vec::new(),
        }
    }

    /// With a control.
    pub(super) fn with(mut self, oid: &str, critical: bool, value: Option<&[u8]>) -> Self {
        ber::write_with(SEQUENCE, &mut self.controls, |out| {
            ber::write(OCTET_STRING, oid.as_bytes(), out);
            if critical {
                ber::write(BOOLEAN, &[0xff], out);
            }
            if let Some(value) = value {
                ber::write(OCTET_STRING, value, out);
            }
        });
        self
    }

    /// With a critical control.
    pub(super) fn demanding(self, oid: &str, value: Option<&[u8]>) -> Self {
        self.with(oid, true, value)
    }

    /// With octets for controls that may be none.
    pub(super) fn with_octets(mut self, controls: &[u8]) -> Self {
        self.controls.extend_from_slice(controls);
        self
    }

    /// The message.
    pub(super) fn message(&self, id: i32) -> Vec<u8> {
        let mut out = Vec::new();
        ber::write_with(SEQUENCE, &mut out, |out| {
            ber::write_integer(INTEGER, id, out);
            out.extend_from_slice(&self.operation);
            if !self.controls.is_empty() {
                ber::write(0xa0, &self.controls, out);
            }
        });
        out
    }
}

/// A SearchRequest (RFC 4511 section 4.5.1).
#[derive(Clone, Debug)]
pub(super) struct Search {
    pub(super) base: String,
    pub(super) scope: i32,
    pub(super) aliases: i32,
    pub(super) size: i32,
    pub(super) time: i32,
    pub(super) types_only: bool,
    /// As octets, so that it may be anything.
    pub(super) filter: Vec<u8>,
    pub(super) attributes: Vec<String>,
}

impl Search {
    /// A search of the subtree for a filter in text.
    pub(super) fn of(base: &str, filter: &str) -> Self {
        let mut octets = Vec::new();
        encode(&Filter::parse(filter).unwrap(), &mut octets);
        Self {
            base: base.into(),
            scope: 2,
            aliases: 0,
            size: 0,
            time: 0,
            types_only: false,
            filter: octets,
            attributes: Vec::new(),
        }
    }

    pub(super) fn selecting(mut self, attributes: &[&str]) -> Self {
        self.attributes = attributes.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    pub(super) fn request(&self) -> Request {
        let mut out = Vec::new();
        ber::write(OCTET_STRING, self.base.as_bytes(), &mut out);
        ber::write_integer(ENUMERATED, self.scope, &mut out);
        ber::write_integer(ENUMERATED, self.aliases, &mut out);
        ber::write_integer(INTEGER, self.size, &mut out);
        ber::write_integer(INTEGER, self.time, &mut out);
        ber::write(BOOLEAN, &[if self.types_only { 0xff } else { 0 }], &mut out);
        out.extend_from_slice(&self.filter);
        ber::write_with(SEQUENCE, &mut out, |out| {
            for name in &self.attributes {
                ber::write(OCTET_STRING, name.as_bytes(), out);
            }
        });
        Request::of(0x63, &out)
    }
}

/// A search of the subtree below the suffix.
pub(super) fn find(filter: &str) -> Request {
    Search::of("dc=example,dc=org", filter).request()
}

/// A search of one entry.
pub(super) fn read(dn: &str, attributes: &[&str]) -> Request {
    let mut search = Search::of(dn, "(objectClass=*)").selecting(attributes);
    search.scope = 0;
    search.request()
}

/// Attributes with values, as in entries and changes.
pub(super) type Values<'a> = &'a [(&'a str, &'a [&'a [u8]])];

pub(super) fn add(dn: &str, attributes: Values<'_>) -> Request {
    let mut out = Vec::new();
    ber::write(OCTET_STRING, dn.as_bytes(), &mut out);
    ber::write_with(SEQUENCE, &mut out, |out| {
        for (name, values) in attributes {
            write_attribute(name, values, out);
        }
    });
    Request::of(0x68, &out)
}

/// A person with nothing but what the schema demands.
pub(super) fn add_person(uid: &str) -> Request {
    add(
        &format!("uid={uid},ou=people,dc=example,dc=org"),
        &[
            ("objectClass", &[b"inetOrgPerson"]),
            ("uid", &[uid.as_bytes()]),
            ("cn", &[uid.as_bytes()]),
            ("sn", &[b"Example"]),
        ],
    )
}

pub(super) const ADD: i32 = 0;
pub(super) const DELETE: i32 = 1;
pub(super) const REPLACE: i32 = 2;
pub(super) const INCREMENT: i32 = 3;

pub(super) fn modify(dn: &str, changes: &[(i32, &str, &[&[u8]])]) -> Request {
    let mut out = Vec::new();
    ber::write(OCTET_STRING, dn.as_bytes(), &mut out);
    ber::write_with(SEQUENCE, &mut out, |out| {
        for (kind, name, values) in changes {
            ber::write_with(SEQUENCE, out, |out| {
                ber::write_integer(ENUMERATED, *kind, out);
                write_attribute(name, values, out);
            });
        }
    });
    Request::of(0x66, &out)
}

fn write_attribute(name: &str, values: &[&[u8]], out: &mut Vec<u8>) {
    ber::write_with(SEQUENCE, out, |out| {
        ber::write(OCTET_STRING, name.as_bytes(), out);
        ber::write_with(0x31, out, |out| {
            for value in values {
                ber::write(OCTET_STRING, value, out);
            }
        });
    });
}

pub(super) fn delete(dn: &str) -> Request {
    Request::of(0x4a, dn.as_bytes())
}

pub(super) fn rename(dn: &str, rdn: &str, delete_old: bool, superior: Option<&str>) -> Request {
    let mut out = Vec::new();
    ber::write(OCTET_STRING, dn.as_bytes(), &mut out);
    ber::write(OCTET_STRING, rdn.as_bytes(), &mut out);
    ber::write(BOOLEAN, &[if delete_old { 0xff } else { 0 }], &mut out);
    if let Some(superior) = superior {
        ber::write(0x80, superior.as_bytes(), &mut out);
    }
    Request::of(0x6c, &out)
}

pub(super) fn compare(dn: &str, attribute: &str, value: &[u8]) -> Request {
    let mut out = Vec::new();
    ber::write(OCTET_STRING, dn.as_bytes(), &mut out);
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write(OCTET_STRING, attribute.as_bytes(), out);
        ber::write(OCTET_STRING, value, out);
    });
    Request::of(0x6e, &out)
}

pub(super) fn extended(oid: &str, value: Option<&[u8]>) -> Request {
    let mut out = element(0x80, oid.as_bytes());
    if let Some(value) = value {
        ber::write(0x81, value, &mut out);
    }
    Request::of(0x77, &out)
}

pub(super) fn abandon(target: i32) -> Request {
    let mut out = Vec::new();
    ber::write_integer(0x50, target, &mut out);
    Request {
        operation: out,
        controls: Vec::new(),
    }
}

/// Cancel (RFC 3909).
pub(super) fn cancel(target: i32) -> Request {
    let mut id = Vec::new();
    ber::write_integer(INTEGER, target, &mut id);
    extended("1.3.6.1.1.8", Some(&element(SEQUENCE, &id)))
}

/// An element as octets.
pub(super) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write(tag, content, &mut out);
    out
}

/// A SEQUENCE of elements.
pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// An INTEGER.
pub(super) fn integer(value: i32) -> Vec<u8> {
    let mut out = Vec::new();
    ber::write_integer(INTEGER, value, &mut out);
    out
}

/// An OCTET STRING.
pub(super) fn string(value: &str) -> Vec<u8> {
    element(OCTET_STRING, value.as_bytes())
}

/// An AttributeSelection.
pub(super) fn selection(names: &[&str]) -> Vec<u8> {
    let names: Vec<Vec<u8>> = names.iter().map(|name| string(name)).collect();
    element(SEQUENCE, &names.concat())
}

/// `simple paged results` (RFC 2696), `size` entries from a cookie on.
pub(super) fn page(size: i32, cookie: &[u8]) -> Vec<u8> {
    sequence(&[&integer(size), &element(OCTET_STRING, cookie)])
}

pub(super) const PAGED: &str = "1.2.840.113556.1.4.319";
pub(super) const SORT: &str = "1.2.840.113556.1.4.473";
pub(super) const LIST_VIEW: &str = "2.16.840.1.113730.3.4.9";
pub(super) const SYNC: &str = "1.3.6.1.4.1.4203.1.9.1.1";
pub(super) const DEREF: &str = "1.3.6.1.4.1.4203.666.5.16";
pub(super) const MANAGE: &str = "2.16.840.1.113730.3.4.2";
pub(super) const SUBENTRIES: &str = "1.3.6.1.4.1.4203.1.10.1";
pub(super) const ASSERTION: &str = "1.3.6.1.1.12";
pub(super) const PRE_READ: &str = "1.3.6.1.1.13.1";
pub(super) const POST_READ: &str = "1.3.6.1.1.13.2";
pub(super) const PROXIED: &str = "2.16.840.1.113730.3.4.18";
pub(super) const NOOP: &str = "1.3.6.1.4.1.4203.666.5.2";
pub(super) const RELAX: &str = "1.3.6.1.4.1.4203.666.5.12";
pub(super) const TREE_DELETE: &str = "1.2.840.113556.1.4.805";
pub(super) const MATCHED_VALUES: &str = "1.2.826.0.1.3344810.2.3";
pub(super) const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
pub(super) const NO_COPY: &str = "1.3.6.1.1.22";
pub(super) const TRANSACTION: &str = "1.3.6.1.1.21.2";
pub(super) const START_TRANSACTION: &str = "1.3.6.1.1.21.1";
pub(super) const END_TRANSACTION: &str = "1.3.6.1.1.21.3";
pub(super) const REFRESH: &str = "1.3.6.1.4.1.1466.101.119.1";
pub(super) const TURN: &str = "1.3.6.1.1.19";
pub(super) const PASSWORD: &str = "1.3.6.1.4.1.4203.1.11.1";
