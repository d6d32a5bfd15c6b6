//! A search on the wire: the request's octets and the fields of its answers (RFC 4511 section 4.5).

use crate::ber::{self, BerError, Message, Reader};
use crate::directory::filter::Filter;

/// What to search, without the message id.
pub(super) struct Search<'a> {
    pub(super) base: &'a str,
    pub(super) scope: Scope,
    /// Entries that the server returns at most; zero sets no limit.
    pub(super) size_limit: i32,
    /// Seconds that the server takes at most.
    pub(super) time_limit: i32,
    pub(super) filter: &'a Filter,
    pub(super) attributes: &'a [String],
}

/// How far below the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The base alone.
    Base,
    /// The base and everything below it.
    Subtree,
}

impl Search<'_> {
    /// Appends the request.
    pub(super) fn encode(&self, message_id: i32, out: &mut Vec<u8>) {
        ber::write_with(ber::SEQUENCE, out, |out| {
            ber::write_integer(ber::INTEGER, message_id, out);
            ber::write_with(SEARCH_REQUEST, out, |out| {
                ber::write(ber::OCTET_STRING, self.base.as_bytes(), out);
                let scope = match self.scope {
                    Scope::Base => 0,
                    Scope::Subtree => 2,
                };
                ber::write_integer(ber::ENUMERATED, scope, out);
                ber::write_integer(ber::ENUMERATED, NEVER_DEREF_ALIASES, out);
                ber::write_integer(ber::INTEGER, self.size_limit, out);
                ber::write_integer(ber::INTEGER, self.time_limit, out);
                ber::write(ber::BOOLEAN, &[0], out);
                self.filter.encode(out);
                ber::write_with(ber::SEQUENCE, out, |out| {
                    for attribute in self.attributes {
                        ber::write(ber::OCTET_STRING, attribute.as_bytes(), out);
                    }
                });
            });
        });
    }
}

/// One answer to a search.
pub(super) enum Answer<'a> {
    Entry(EntryView<'a>),
    /// A referral to another server, which is not followed.
    Reference,
    Done {
        code: i32,
        diagnostic: &'a [u8],
    },
}

impl<'a> Answer<'a> {
    pub(super) fn read(message: &Message<'a>) -> Result<Self, BerError> {
        let mut fields = Reader::new(message.operation.content);
        match message.operation.tag {
            RESULT_ENTRY => Ok(Self::Entry(EntryView {
                dn: fields.expect(ber::OCTET_STRING)?,
                attributes: fields.expect(ber::SEQUENCE)?,
            })),
            RESULT_REFERENCE => Ok(Self::Reference),
            RESULT_DONE => {
                let code = fields.integer(ber::ENUMERATED)?;
                fields.expect(ber::OCTET_STRING)?;
                let diagnostic = fields.expect(ber::OCTET_STRING)?;
                Ok(Self::Done { code, diagnostic })
            }
            _ => Err(BerError::Unexpected),
        }
    }
}

/// An entry as it stands in the message.
pub(super) struct EntryView<'a> {
    pub(super) dn: &'a [u8],
    attributes: &'a [u8],
}

/// An entry taken out of its message.
#[derive(Debug, Default)]
pub(super) struct FoundEntry {
    pub(super) dn: String,
    attributes: Vec<(String, Vec<Vec<u8>>)>,
}

impl EntryView<'_> {
    pub(super) fn to_owned(&self) -> Result<FoundEntry, BerError> {
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).map_err(|_| BerError::Unexpected);
        let mut attributes = Vec::new();
        let mut list = Reader::new(self.attributes);
        while !list.is_empty() {
            let mut attribute = Reader::new(list.expect(ber::SEQUENCE)?);
            let name = text(attribute.expect(ber::OCTET_STRING)?)?;
            let mut set = Reader::new(attribute.expect(SET)?);
            let mut values = Vec::new();
            while !set.is_empty() {
                values.push(set.expect(ber::OCTET_STRING)?.to_vec());
            }
            attributes.push((name, values));
        }
        Ok(FoundEntry {
            dn: text(self.dn)?,
            attributes,
        })
    }
}

impl FoundEntry {
    /// One with these attributes, one value each.
    #[cfg(test)]
    pub(super) fn of(dn: &str, attributes: &[(&str, &str)]) -> Self {
        let attribute = |&(name, value): &(&str, &str)| (name.to_owned(), vec![value.as_bytes().to_vec()]);
        Self {
            dn: dn.to_owned(),
            attributes: attributes.iter().map(attribute).collect(),
        }
    }

    /// The values of `name` in any case and with any options: `memberOf;range=0-1499` counts as `memberOf`.
    pub(super) fn values<'e>(&'e self, name: &str) -> impl Iterator<Item = &'e [u8]> {
        let name = base_name(name).to_owned();
        self.attributes
            .iter()
            .filter(move |(other, _)| base_name(other).eq_ignore_ascii_case(&name))
            .flat_map(|(_, values)| values.iter().map(Vec::as_slice))
    }

    /// The values of `name` that are text.
    pub(super) fn texts<'e>(&'e self, name: &str) -> impl Iterator<Item = &'e str> {
        self.values(name).filter_map(|value| std::str::from_utf8(value).ok())
    }
}

fn base_name(description: &str) -> &str {
    description.split(';').next().unwrap_or(description)
}

const SEARCH_REQUEST: u8 = 0x63;
const RESULT_ENTRY: u8 = 0x64;
const RESULT_DONE: u8 = 0x65;
const RESULT_REFERENCE: u8 = 0x73;
const SET: u8 = 0x31;
const NEVER_DEREF_ALIASES: i32 = 0;

#[cfg(test)]
mod tests {
    use ldap3_proto::proto::{LdapMsg, LdapOp, LdapSearchScope};

    use super::*;

    #[test]
    fn the_request_is_read_by_another_implementation() {
        let search = Search {
            base: "dc=x",
            scope: Scope::Subtree,
            size_limit: 2,
            time_limit: 3,
            filter: &Filter::equal("uid", "a"),
            attributes: &["entryUUID".into(), "memberOf".into()],
        };
        let mut out = Vec::new();
        search.encode(70_000, &mut out);
        let mut octets = bytes::BytesMut::from(&out[..]);
        let mut codec = ldap3_proto::LdapCodec::default();
        let message: LdapMsg = tokio_util::codec::Decoder::decode(&mut codec, &mut octets)
            .unwrap()
            .unwrap();
        let LdapOp::SearchRequest(read) = message.op else {
            panic!()
        };
        assert_eq!(
            (message.msgid, read.base.as_str(), read.scope),
            (70_000, "dc=x", LdapSearchScope::Subtree)
        );
        assert_eq!((read.sizelimit, read.timelimit, read.typesonly), (2, 3, false));
        assert_eq!(read.attrs, ["entryUUID", "memberOf"]);
    }

    #[test]
    fn entries_are_read_with_options_and_binary_values() {
        let mut pdu = Vec::new();
        ber::write_with(ber::SEQUENCE, &mut pdu, |out| {
            ber::write_integer(ber::INTEGER, 1, out);
            ber::write_with(RESULT_ENTRY, out, |out| {
                ber::write(ber::OCTET_STRING, b"uid=a,dc=x", out);
                ber::write_with(ber::SEQUENCE, out, |out| {
                    for (name, value) in [("MemberOf;range=0-1", &b"cn=g"[..]), ("objectGUID", &[0xff, 0])] {
                        ber::write_with(ber::SEQUENCE, out, |out| {
                            ber::write(ber::OCTET_STRING, name.as_bytes(), out);
                            ber::write_with(SET, out, |out| ber::write(ber::OCTET_STRING, value, out));
                        });
                    }
                });
            });
        });
        let message = Message::read(&pdu).unwrap();
        let Ok(Answer::Entry(entry)) = Answer::read(&message) else {
            panic!()
        };
        let entry = entry.to_owned().unwrap();
        assert_eq!(entry.dn, "uid=a,dc=x");
        assert_eq!(entry.texts("memberof").collect::<Vec<_>>(), ["cn=g"]);
        assert_eq!(entry.values("objectguid").collect::<Vec<_>>(), [[0xff, 0]]);
        assert_eq!(entry.texts("objectGUID").count(), 0);
    }
}
