//! A search on the wire: the request's octets and the fields of its answers (RFC 4511 section 4.5).

use crate::ber::{self, BerError, Message, Reader};
use crate::directory::filter::{self, Filter};

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
        self.encode_with(message_id, None, out);
    }

    /// The same with `controls`, as they are encoded.
    pub(super) fn encode_with(&self, message_id: i32, controls: Option<&[u8]>, out: &mut Vec<u8>) {
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
                filter::encode(self.filter, out);
                ber::write_with(ber::SEQUENCE, out, |out| {
                    for attribute in self.attributes {
                        ber::write(ber::OCTET_STRING, attribute.as_bytes(), out);
                    }
                });
            });
            if let Some(controls) = controls {
                ber::write(CONTROLS, controls, out);
            }
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

    /// The attributes of which the server sent a part alone, and from which value on the rest is to be asked for.
    pub(super) fn parts(&self) -> Vec<(String, usize)> {
        let rest = |(name, values): &(String, Vec<_>)| {
            let range = Range::read(name).filter(|range| !range.is_last)?;
            Some((name.clone(), range.first.checked_add(values.len())?))
        };
        self.attributes.iter().filter_map(rest).collect()
    }

    /// Adds to the part called `name` what the server sent as the part that begins at `first`: the range that came,
    /// and how many values it had. `None` when `other` has no such part, or one without values.
    pub(super) fn append(&mut self, name: &str, first: usize, other: Self) -> Option<(Range, usize)> {
        let of_it = |other: &str| Range::read(other).filter(|range| range.first == first && same_name(other, name));
        let mut found = other.attributes.into_iter();
        let (range, values) = found.find_map(|(other, values)| Some((of_it(&other)?, values)))?;
        let (_, all) = self.attributes.iter_mut().find(|(known, _)| known == name)?;
        let count = values.len();
        all.extend(values);
        (count > 0).then_some((range, count))
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

/// Which values of an attribute a description is about: `member;range=0-1499` ([MS-ADTS] 3.1.1.3.1.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The first, counted from zero.
    pub(super) first: usize,
    /// No more follow.
    pub(super) is_last: bool,
}

impl Range {
    fn read(description: &str) -> Option<Self> {
        let range = |option: &str| {
            let (key, range) = option.split_once('=')?;
            let (first, last) = range.split_once('-')?;
            let is_last = last == "*";
            let whole = key.eq_ignore_ascii_case("range") && (is_last || last.parse::<usize>().is_ok());
            let first = first.parse().ok().filter(|_| whole)?;
            Some(Self { first, is_last })
        };
        description.split(';').skip(1).find_map(range)
    }
}

/// `name` with the values from `first` on, to ask for.
pub(super) fn from_value(name: &str, first: usize) -> String {
    format!("{};range={first}-*", base_name(name))
}

fn same_name(one: &str, other: &str) -> bool {
    base_name(one).eq_ignore_ascii_case(base_name(other))
}

fn base_name(description: &str) -> &str {
    description.split(';').next().unwrap_or(description)
}

const SEARCH_REQUEST: u8 = 0x63;
const RESULT_ENTRY: u8 = 0x64;
const RESULT_DONE: u8 = 0x65;
const RESULT_REFERENCE: u8 = 0x73;
const SET: u8 = 0x31;
const CONTROLS: u8 = 0xa0;
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
    fn parts_are_known_and_joined() {
        let range = |text| Range::read(text).map(|range| (range.first, range.is_last));
        assert_eq!(range("member;range=0-1499"), Some((0, false)));
        assert_eq!(range("member;Range=1500-*"), Some((1500, true)));
        assert_eq!(range("member;binary;range=0-*"), Some((0, true)));
        for none in [
            "member",
            "member;lang-de",
            "member;range=-",
            "member;range=0-x",
            "range=0-5",
            "m;range=-1-4",
        ] {
            assert_eq!(range(none), None, "{none}");
        }
        assert_eq!(from_value("member;range=0-1499", 1500), "member;range=1500-*");

        let first = [
            ("member", "never empty here"),
            ("memberOf;range=0-0", "cn=a"),
            ("cn", "x"),
        ];
        let mut entry = FoundEntry::of("uid=a", &first);
        assert_eq!(entry.parts(), [("memberOf;range=0-0".to_owned(), 1)]);
        let next = |name| FoundEntry::of("uid=a", &[("memberOf", "decoy"), (name, "cn=b")]);
        let mut append = |name| {
            entry
                .append("memberOf;range=0-0", 1, next(name))
                .map(|(range, _)| range.is_last)
        };
        // Another part, another attribute, no part at all.
        for odd in ["memberof;range=2-*", "member;range=1-*", "memberof;range=0-*", "cn"] {
            assert_eq!(append(odd), None, "{odd}");
        }
        assert_eq!(append("MEMBEROF;range=1-1"), Some(false));
        assert_eq!(entry.texts("memberOf").collect::<Vec<_>>(), ["cn=a", "cn=b"]);
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
