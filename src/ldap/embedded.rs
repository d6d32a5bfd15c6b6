//! LDAP for directories without a server: reading the entries of an LDIF file, and nothing else.
//!
//! Search (RFC 4511 section 4.5) with base, one-level and subtree scope, the root DSE (RFC 4512 section
//! 5.1) and WhoAmI (RFC 4532). Aliases are not followed, there are no referrals, and passwords are not
//! among the attributes. One search returns at most [`MOST_ENTRIES`] entries.

mod filter;

use crate::ber::{self, BOOLEAN, BerError, ENUMERATED, INTEGER, Message, OCTET_STRING, Reader, SEQUENCE};
use crate::directory::local::{Attribute, Entry, Tree};
use crate::engine::Person;
use crate::engine::filter::Matcher;
use crate::ldap::controls::has_critical;
use crate::ldap::frame::Head;
use crate::ldap::reply::{Answer, Code, EXTENDED_REQUEST, SEARCH_REQUEST, START_TLS, WHO_AM_I, response_to, who_am_i};

use filter::FilterError;

/// The directory as one connection sees it.
pub struct Embedded<'t> {
    /// The entries.
    pub tree: &'t Tree,
    /// Who is bound.
    pub person: Option<&'t Person>,
    /// Whether StartTLS is offered, for the root DSE.
    pub start_tls: bool,
}

impl Embedded<'_> {
    /// Appends the answers to the operation that `input` begins with to `out`. `input` is shorter than
    /// `head.total` when the message is absurdly large.
    pub fn answer(&self, head: &Head, input: &[u8], out: &mut Vec<u8>) {
        let Some(response) = response_to(head.operation) else {
            return; // an abandon: everything is answered before the next message is read
        };
        let end = match input.get(..head.total).map(Message::read) {
            None => Err((Code::UnwillingToPerform, "the request is too large")),
            Some(Err(_)) => Err((Code::ProtocolError, "the request cannot be read")),
            Some(Ok(message)) if has_critical(message.controls) => {
                Err((Code::UnavailableCriticalExtension, "a critical control is not known"))
            }
            Some(Ok(message)) => match head.operation {
                SEARCH_REQUEST => self.search(&message, out),
                EXTENDED_REQUEST => match Reader::new(message.operation.content).expect(REQUEST_NAME) {
                    Ok(name) if name == WHO_AM_I.as_bytes() => {
                        who_am_i(head.id, self.person.map(|person| person.dn.as_str()), out);
                        return;
                    }
                    _ => Err((Code::ProtocolError, "the extended operation is not known")),
                },
                _ => Err((
                    Code::UnwillingToPerform,
                    "this directory is a file: it can only be read",
                )),
            },
        };
        let (code, text) = end.err().unwrap_or((Code::Success, ""));
        let answer = Answer {
            id: head.id,
            response,
            code,
            text,
        };
        answer.write(out);
    }

    fn search(&self, message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), (Code, &'static str)> {
        let search = Search::read(message.operation.content).map_err(|fault| match fault {
            FilterError::Malformed(_) => (Code::ProtocolError, "the search cannot be read"),
            FilterError::TooComplex => (Code::UnwillingToPerform, "the filter is too complex"),
        })?;
        if search.base.is_empty() && search.scope == Scope::Base {
            if search.filter.matches(self.root_dse().as_slice()) == Some(true) {
                write_entry(message.id, "", &self.root_dse(), &search, out);
            }
            return Ok(());
        }
        let tree = self.tree;
        if search.base.is_empty() {
            let found: Box<dyn Iterator<Item = &Entry>> = match search.scope {
                Scope::Base | Scope::One => Box::new(tree.roots()),
                Scope::Subtree => Box::new(tree.roots().flat_map(|root| tree.subtree(root))),
                Scope::Children => Box::new(tree.roots().flat_map(|root| tree.subtree(root).skip(1))),
            };
            return send(message.id, found, &search, out);
        }
        let Some(base) = tree.get(search.base) else {
            return Err((Code::NoSuchObject, ""));
        };
        match search.scope {
            Scope::Base => send(message.id, std::iter::once(base), &search, out),
            Scope::One => send(message.id, tree.children(base), &search, out),
            Scope::Subtree => send(message.id, tree.subtree(base), &search, out),
            Scope::Children => send(message.id, tree.subtree(base).skip(1), &search, out),
        }
    }

    fn root_dse(&self) -> Vec<Attribute> {
        let attribute = |name: &str, operational, values: Vec<&str>| Attribute {
            name: name.to_owned(),
            values: values.into_iter().map(|value| value.as_bytes().to_vec()).collect(),
            operational,
        };
        let mut extensions = vec![WHO_AM_I];
        if self.start_tls {
            extensions.push(START_TLS);
        }
        vec![
            attribute("objectClass", false, vec!["top"]),
            attribute("namingContexts", true, self.tree.roots().map(Entry::dn).collect()),
            attribute("supportedLDAPVersion", true, vec!["3"]),
            attribute("supportedExtension", true, extensions),
            attribute("vendorName", true, vec!["Portcullis"]),
        ]
    }
}

/// A SearchRequest, as far as it is heeded.
struct Search<'a> {
    base: &'a str,
    scope: Scope,
    /// Most entries to return.
    limit: usize,
    types_only: bool,
    filter: Matcher,
    selection: Selection<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Base,
    One,
    Subtree,
    /// draft-sermersheim-ldap-subordinate-scope, which OpenLDAP's tools offer.
    Children,
}

impl<'a> Search<'a> {
    fn read(content: &'a [u8]) -> Result<Self, FilterError> {
        let mut fields = Reader::new(content);
        let base = std::str::from_utf8(fields.expect(OCTET_STRING)?).map_err(|_| BerError::Unexpected)?;
        let scope = match fields.integer(ENUMERATED)? {
            0 => Scope::Base,
            1 => Scope::One,
            2 => Scope::Subtree,
            3 => Scope::Children,
            _ => return Err(BerError::Unexpected.into()),
        };
        fields.integer(ENUMERATED)?; // derefAliases
        let limit = usize::try_from(fields.integer(INTEGER)?).map_err(|_| BerError::Unexpected)?;
        fields.integer(INTEGER)?; // timeLimit: nothing here takes long
        let types_only = fields.expect(BOOLEAN)? != [0];
        let filter = filter::read(fields.element()?)?;
        let selection = Selection::read(fields.expect(SEQUENCE)?)?;
        Ok(Self {
            base,
            scope,
            limit: if limit == 0 {
                MOST_ENTRIES
            } else {
                limit.min(MOST_ENTRIES)
            },
            types_only,
            filter,
            selection,
        })
    }
}

/// Which attributes a search returns (RFC 4511 section 4.5.1.8, RFC 3673).
struct Selection<'a> {
    user: bool,
    operational: bool,
    names: Vec<&'a str>,
}

impl<'a> Selection<'a> {
    fn read(content: &'a [u8]) -> Result<Self, BerError> {
        let mut names = Vec::new();
        let mut reader = Reader::new(content);
        while !reader.is_empty() {
            // A name that is not even text names nothing.
            names.extend(std::str::from_utf8(reader.expect(OCTET_STRING)?));
        }
        Ok(Self {
            user: names.is_empty() || names.contains(&"*"),
            operational: names.contains(&"+"),
            names,
        })
    }

    fn wants(&self, attribute: &Attribute) -> bool {
        let group = if attribute.operational {
            self.operational
        } else {
            self.user
        };
        group || self.names.iter().any(|name| name.eq_ignore_ascii_case(&attribute.name))
    }
}

/// Writes the entries that match, as many as allowed.
fn send<'t>(
    id: i32,
    candidates: impl Iterator<Item = &'t Entry>,
    search: &Search<'_>,
    out: &mut Vec<u8>,
) -> Result<(), (Code, &'static str)> {
    let start = out.len();
    let matching = candidates.filter(|entry| search.filter.matches(entry.attributes()) == Some(true));
    for (count, entry) in matching.enumerate() {
        if count >= search.limit {
            return Err((Code::SizeLimitExceeded, ""));
        }
        if out.len() - start > MOST_OCTETS {
            return Err((Code::AdminLimitExceeded, "the result is too large"));
        }
        write_entry(id, entry.dn(), entry.attributes(), search, out);
    }
    Ok(())
}

fn write_entry(id: i32, dn: &str, attributes: &[Attribute], search: &Search<'_>, out: &mut Vec<u8>) {
    const SEARCH_ENTRY: u8 = 0x64;
    const SET: u8 = 0x31;
    ber::write_with(SEQUENCE, out, |out| {
        ber::write_integer(INTEGER, id, out);
        ber::write_with(SEARCH_ENTRY, out, |out| {
            ber::write(OCTET_STRING, dn.as_bytes(), out);
            ber::write_with(SEQUENCE, out, |out| {
                for attribute in attributes.iter().filter(|attribute| search.selection.wants(attribute)) {
                    ber::write_with(SEQUENCE, out, |out| {
                        ber::write(OCTET_STRING, attribute.name.as_bytes(), out);
                        ber::write_with(SET, out, |out| {
                            for value in attribute.values.iter().filter(|_| !search.types_only) {
                                ber::write(OCTET_STRING, value, out);
                            }
                        });
                    });
                }
            });
        });
    });
}

/// Most entries that one search returns.
pub const MOST_ENTRIES: usize = 1000;
/// Most octets that one search returns, roughly.
const MOST_OCTETS: usize = 4 << 20;
/// requestName of an ExtendedRequest.
const REQUEST_NAME: u8 = 0x80;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ldap3_proto::proto::LdapFilter;

    use super::*;
    use crate::ldap::frame::Sender;

    const LDIF: &str = "\
dn: dc=example,dc=org
objectClass: domain
dc: example

dn: uid=ana,dc=example,dc=org
objectClass: inetOrgPerson
uid: ana
cn: Ana  Example
sn: Example
mail: Ana@Example.org
employeeNumber: 9
userPassword: {SSHA}W8zfzQQGuCK4wPHQRXG6nUQ2NRhzYWx0c2FsdA==

dn: uid=ben,dc=example,dc=org
objectClass: inetOrgPerson
uid: ben
cn: Ben
sn: Example
employeeNumber: 10

dn: cn=staff,dc=example,dc=org
objectClass: groupOfNames
cn: staff
member: uid=ana,dc=example,dc=org
";

    fn tree() -> Tree {
        Tree::parse(Path::new("test.ldif"), LDIF.as_bytes()).unwrap()
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "another crate's enum")]
    /// A search built by another implementation; the entries' names and the result code.
    fn search(
        base: &str,
        scope: ldap3_proto::LdapSearchScope,
        filter: &str,
        attrs: &[&str],
        limit: i32,
    ) -> (Vec<String>, i32, Vec<u8>) {
        use ldap3_proto::proto::{LdapDerefAliases, LdapMsg, LdapOp, LdapSearchRequest};
        let message = LdapMsg::new(
            5,
            LdapOp::SearchRequest(LdapSearchRequest {
                base: base.into(),
                scope,
                aliases: LdapDerefAliases::Never,
                sizelimit: limit,
                timelimit: 0,
                typesonly: false,
                filter: parsed(filter),
                attrs: attrs.iter().map(|name| (*name).to_owned()).collect(),
            }),
        );
        let mut codec = ldap3_proto::LdapCodec::default();
        let mut request = bytes::BytesMut::new();
        tokio_util::codec::Encoder::encode(&mut codec, message, &mut request).unwrap();
        let out = answered(&request);
        let mut octets = bytes::BytesMut::from(&out[..]);
        let mut names = Vec::new();
        loop {
            let message: LdapMsg = tokio_util::codec::Decoder::decode(&mut codec, &mut octets)
                .unwrap()
                .unwrap();
            match &message.op {
                LdapOp::SearchResultEntry(entry) => names.push(entry.dn.clone()),
                LdapOp::SearchResultDone(done) => return (names, done.code.clone() as i32, out),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The other implementation's reader of filters takes no `=` in values.
    fn parsed(filter: &str) -> LdapFilter {
        match filter.trim_matches(['(', ')']).split_once('=') {
            Some((name, dn)) if name.starts_with("member") => LdapFilter::Equality(name.into(), dn.into()),
            _ => ldap3_proto::parse_ldap_filter_str(filter).unwrap(),
        }
    }

    fn answered(request: &[u8]) -> Vec<u8> {
        let tree = tree();
        let embedded = Embedded {
            tree: &tree,
            person: None,
            start_tls: true,
        };
        let head = Head::read(request, 1 << 20, Sender::Client).unwrap().unwrap();
        let mut out = Vec::new();
        embedded.answer(&head, request, &mut out);
        out
    }

    fn found(filter: &str) -> Vec<String> {
        let (names, code, _) = search(
            "dc=example,dc=org",
            ldap3_proto::LdapSearchScope::Subtree,
            filter,
            &[],
            0,
        );
        assert_eq!(code, 0, "{filter}");
        names
    }

    #[test]
    fn filters_find_what_they_mean() {
        const ANA: &str = "uid=ana,dc=example,dc=org";
        const BEN: &str = "uid=ben,dc=example,dc=org";
        for (filter, expected) in [
            ("(uid=ANA)", vec![ANA]),
            ("(mail=*@example.ORG)", vec![ANA]),
            ("(mail=a*@*.org)", vec![ANA]),
            ("(cn=*n*)", vec![ANA, BEN]),
            ("(&(objectClass=inetOrgPerson)(!(mail=*)))", vec![BEN]),
            ("(|(uid=ana)(uid=ben))", vec![ANA, BEN]),
            ("(employeeNumber>=10)", vec![BEN]),
            ("(employeeNumber<=9)", vec![ANA]),
            ("(member=UID=ana,DC=example,dc=org)", vec!["cn=staff,dc=example,dc=org"]),
            ("(memberOf=cn=staff,dc=example,dc=org)", vec![ANA]),
            ("(uid:1.2.3:=ana)", vec![]),
            ("(!(uid:1.2.3:=ana))", vec![]),
            ("(userPassword=*)", vec![]),
        ] {
            let mut names = found(filter);
            names.retain(|name| name != "dc=example,dc=org");
            assert_eq!(names, expected, "{filter}");
        }
    }

    #[test]
    fn scopes_limits_and_bases() {
        use ldap3_proto::LdapSearchScope::{Base, OneLevel, Subtree};
        let count = |base, scope, limit| {
            let (names, code, _) = search(base, scope, "(objectClass=*)", &[], limit);
            (names.len(), code)
        };
        assert_eq!(count("DC=Example, DC=org", Base, 0), (1, 0));
        assert_eq!(count("dc=example,dc=org", OneLevel, 0), (3, 0));
        assert_eq!(count("dc=example,dc=org", Subtree, 0), (4, 0));
        assert_eq!(count("dc=example,dc=org", Subtree, 4), (4, 0));
        assert_eq!(count("dc=example,dc=org", Subtree, 2), (2, 4));
        assert_eq!(count("dc=elsewhere", Base, 0), (0, 32));
        assert_eq!(count("", Subtree, 0), (4, 0));
        assert_eq!(count("", Base, 0), (1, 0));
    }

    #[test]
    fn attributes_are_selected_and_passwords_never() {
        use ldap3_proto::LdapSearchScope::Base;
        let holds = |attrs: &[&str], text: &str| {
            let (_, _, out) = search("uid=ana,dc=example,dc=org", Base, "(objectClass=*)", attrs, 0);
            out.windows(text.len())
                .any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
        };
        assert!(holds(&[], "Ana@Example.org"));
        assert!(!holds(&[], "entryUUID"));
        assert!(holds(&["+"], "entryUUID"));
        assert!(holds(&["entryuuid"], "entryUUID"));
        assert!(holds(&["MAIL"], "Ana@Example.org"));
        assert!(!holds(&["1.1"], "mail"));
        for attrs in [&["*", "+"][..], &["userPassword"], &[]] {
            assert!(!holds(attrs, "userPassword") && !holds(attrs, "SSHA"), "{attrs:?}");
        }
    }

    #[test]
    fn everything_else_is_declined() {
        let code = |operation: u8, content: &[u8]| {
            let mut request = Vec::new();
            ber::write_with(SEQUENCE, &mut request, |out| {
                ber::write_integer(INTEGER, 5, out);
                ber::write(operation, content, out);
            });
            let out = answered(&request);
            let message = Message::read(&out).unwrap();
            Reader::new(message.operation.content).integer(ENUMERATED).unwrap()
        };
        assert_eq!(code(0x66, b""), 53);
        assert_eq!(code(0x4a, b"dc=x"), 53);
        assert_eq!(code(0x63, b"\x04\x00garbage"), 2);
        assert_eq!(code(0x77, b"\x80\x051.2.3"), 2);
        assert_eq!(code(0x77, &[&b"\x80\x17"[..], WHO_AM_I.as_bytes()].concat()), 0);
    }

    #[test]
    fn a_filter_cannot_be_deep_or_large_without_end() {
        let mut nested = vec![0x87, 0x01, b'x'];
        for _ in 0..100 {
            let mut outer = Vec::new();
            ber::write(0xa2, &nested, &mut outer);
            nested = outer;
        }
        let read = |octets: &[u8]| filter::read(Reader::new(octets).element().unwrap());
        assert!(matches!(read(&nested), Err(FilterError::TooComplex)));
        let mut wide = Vec::new();
        ber::write(0xa1, &[0x87, 0x01, b'x'].repeat(5000), &mut wide);
        assert!(matches!(read(&wide), Err(FilterError::TooComplex)));
    }
}
