//! Operations by chance, most of them sound, some a little broken.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use portcullis::ber::{Header, Reader};
use portcullis::ldap::frame::{Head, Sender};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::super::wire::{ANA, BEN, Reply, WHO_AM_I, Wire};
use super::requests::*;
use super::{ADMIN, Pair, replies, without_last_words};

#[test]
fn by_chance() {
    let pair = Pair::start();
    let both = std::cell::RefCell::new(pair.bound(ADMIN, "adminpw"));
    let config = Config {
        cases: 3000,
        failure_persistence: None,
        // A smaller case meets another state of the servers.
        max_shrink_iters: 0,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&(1..=i32::MAX, request(), damage()), |(id, request, damage)| {
            let octets = damage.apply(request.message(id));
            let mut both = both.borrow_mut();
            if is_refused(&octets) {
                both[1].send(&octets);
                both[1].expect_goodbye(2);
                *both = pair.bound(ADMIN, "adminpw");
                return Ok(());
            }
            let answers = both.each_mut().map(|wire| answers(wire, &octets));
            if answers.iter().any(|answers| answers.closed) {
                *both = pair.bound(ADMIN, "adminpw");
            }
            let [direct, behind] = answers;
            if direct.closed != behind.closed || direct.replies != behind.replies {
                let shown = octets.escape_ascii();
                return Err(TestCaseError::fail(format!("{shown}\n{direct:?}\n{behind:?}")));
            }
            Ok(())
        })
        .unwrap();
}

/// Whether we refuse a message whatever the server would make of it: OpenLDAP answers to negative and no message
/// ids, and takes an element of any type for the name of an extended operation.
fn is_refused(octets: &[u8]) -> bool {
    let Ok(Some(head)) = Head::read(octets, usize::MAX, Sender::Client) else {
        return true;
    };
    let named = |operation: &[u8]| {
        let header = Header::read(operation).ok()??;
        Reader::new(&operation[header.octets..]).expect(0x80).ok().map(drop)
    };
    head.operation == 0x77 && named(&octets[head.offset..]).is_none()
}

/// What comes back, and whether the connection has ended.
#[derive(Debug)]
struct Answers {
    replies: Vec<Reply>,
    closed: bool,
}

/// Sends a message, and behind it another that is answered in any case if the connection goes on. Where it ends,
/// the words of the end are left out: ours name other reasons.
fn answers(wire: &mut Wire<TcpStream>, octets: &[u8]) -> Answers {
    let head = Head::read(octets, usize::MAX, Sender::Client).unwrap();
    let _ = wire.stream.write_all(octets);
    let mut next = Vec::new();
    if head.is_some_and(|head| head.operation == 0x50) {
        next = extended(WHO_AM_I, None).message(1);
    } else if is_silent(wire) {
        // OpenLDAP forgets to answer some requests that it cannot read, and everything behind them.
        return Answers {
            replies: Vec::new(),
            closed: true,
        };
    }
    let mut replies = replies(wire, &next);
    without_last_words(&mut replies);
    let closed = replies
        .last()
        .is_none_or(|last| matches!(last.operation, 0x64 | 0x73 | 0x79) || last.is_notice_of_disconnection());
    if closed {
        replies.retain(|reply| !reply.is_notice_of_disconnection());
    }
    Answers { replies, closed }
}

/// Whether nothing comes for long.
fn is_silent(wire: &mut Wire<TcpStream>) -> bool {
    let patience = wire.stream.read_timeout().unwrap();
    wire.stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let silent = wire.buffer.is_empty()
        && wire
            .stream
            .peek(&mut [0])
            .is_err_and(|fault| fault.kind() == ErrorKind::WouldBlock);
    wire.stream.set_read_timeout(patience).unwrap();
    silent
}

/// Octets changed behind the length of the whole message, which is made to fit.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Change(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
}

impl Damage {
    fn apply(&self, message: Vec<u8>) -> Vec<u8> {
        let mut body = Reader::new(&message).expect(0x30).unwrap().to_vec();
        match self {
            Self::None => return message,
            Self::Change(at, octet) => *at.get_mut(&mut body) = *octet,
            Self::Remove(at, count) => {
                let at = at.index(body.len());
                body.drain(at..(at + count).min(body.len()));
            }
            Self::Insert(at, octets) => {
                let at = at.index(body.len());
                body.splice(at..at, octets.iter().copied());
            }
        }
        let damaged = element(0x30, &body);
        // Binds are judged, unbinds and abandons are not answered.
        match Head::read(&damaged, usize::MAX, Sender::Client) {
            Ok(Some(Head {
                operation: 0x60 | 0x42 | 0x50,
                ..
            })) => message,
            _ => damaged,
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => Just(Damage::None),
        2 => (index(), any::<u8>()).prop_map(|(at, octet)| Damage::Change(at, octet)),
        1 => (index(), 1usize..9).prop_map(|(at, count)| Damage::Remove(at, count)),
        1 => (index(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, octets)| Damage::Insert(at, octets)),
    ]
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec![
            "dc=example,dc=org",
            "ou=people,dc=example,dc=org",
            ANA,
            BEN,
            "uid=r1,ou=people,dc=example,dc=org",
            "uid=r2,ou=people,dc=example,dc=org",
            "ou=elsewhere,dc=example,dc=org",
            "uid=x,ou=elsewhere,dc=example,dc=org",
            "ou=alias,dc=example,dc=org",
            "cn=none,dc=example,dc=org",
            "cn=busy,ou=codes,dc=example,dc=org",
            "",
        ])
        .prop_map(str::to_owned),
        1 => "[a-z=,+\\\\ #\"éß]{0,20}",
    ]
}

fn attribute() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "cn", "sn", "mail", "description", "jpegPhoto", "uidNumber", "seeAlso", "objectClass", "cn;lang-de", "uid",
            "telephoneNumber", "2.5.4.3",
        ])
        .prop_map(str::to_owned),
        1 => "[a-zA-Z0-9;.* -]{0,12}",
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["ana", "x", "Example", "7", "", "person", "+1 555", ANA]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (200usize..70_000).prop_map(|count| vec![b'v'; count]),
    ]
}

fn filter() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        (
            prop::sample::select(vec![0xa3u8, 0xa5, 0xa6, 0xa8]),
            attribute(),
            value()
        )
            .prop_map(|(tag, name, value)| element(tag, &[string(&name), element(4, &value)].concat())),
        attribute().prop_map(|name| element(0x87, name.as_bytes())),
        (attribute(), prop::collection::vec((0x80u8..0x83, value()), 0..4)).prop_map(|(name, pieces)| {
            let pieces: Vec<Vec<u8>> = pieces.iter().map(|(tag, value)| element(*tag, value)).collect();
            element(0xa4, &[string(&name), element(0x30, &pieces.concat())].concat())
        }),
        (attribute(), value(), any::<bool>()).prop_map(|(name, value, dn)| {
            let flag: &[u8] = if dn { b"\x84\x01\xff" } else { b"" };
            element(
                0xa9,
                &[&element(0x82, name.as_bytes()), &element(0x83, &value), flag].concat(),
            )
        }),
    ];
    leaf.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            (0xa0u8..0xa2, prop::collection::vec(inner.clone(), 0..4))
                .prop_map(|(tag, parts)| element(tag, &parts.concat())),
            inner.prop_map(|part| element(0xa2, &part)),
        ]
    })
}

fn plain() -> impl Strategy<Value = Request> {
    let search = (
        (name(), -1i32..5, -1i32..5),
        prop_oneof![4 => Just(0), 1 => -1i32..4],
        any::<bool>(),
        filter(),
        prop::collection::vec(prop_oneof![attribute(), Just("*".into()), Just("1.1".into())], 0..4),
    )
        .prop_map(|((base, scope, aliases), size, types_only, filter, attributes)| {
            let search = Search {
                base,
                scope,
                aliases,
                size,
                time: 0,
                types_only,
                filter,
                attributes,
            };
            search.request()
        });
    let changes = prop::collection::vec((-1i32..5, attribute(), prop::collection::vec(value(), 0..3)), 0..4);
    let modify = (name(), changes).prop_map(|(dn, changes)| {
        let values: Vec<Vec<&[u8]>> = changes
            .iter()
            .map(|(.., values)| values.iter().map(Vec::as_slice).collect())
            .collect();
        let changes: Vec<(i32, &str, &[&[u8]])> = changes
            .iter()
            .zip(&values)
            .map(|((kind, name, _), values)| (*kind, name.as_str(), values.as_slice()))
            .collect();
        super::requests::modify(&dn, &changes)
    });
    prop_oneof![
        6 => search,
        3 => modify,
        1 => prop::sample::select(vec!["r1", "r2"]).prop_map(add_person),
        1 => name().prop_map(|dn| delete(&dn)),
        1 => (name(), "(uid|cn)=r[1-3]", any::<bool>()).prop_map(|(dn, rdn, old)| rename(&dn, &rdn, old, None)),
        2 => (name(), attribute(), value()).prop_map(|(dn, name, value)| compare(&dn, &name, &value)),
        1 => prop::sample::select(vec![WHO_AM_I, "1.2.3.4", TURN, "1.3.6.1.1.8", REFRESH, ""])
            .prop_flat_map(|oid| prop::option::of(value()).prop_map(move |value| extended(oid, value.as_deref()))),
        1 => any::<i32>().prop_map(abandon),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let control = (
        prop::sample::select(vec![
            PAGED,
            SORT,
            DEREF,
            MANAGE,
            SUBENTRIES,
            ASSERTION,
            NOOP,
            RELAX,
            MATCHED_VALUES,
            DOMAIN_SCOPE,
            NO_COPY,
            "1.2.3.4",
            "",
        ]),
        any::<bool>(),
        prop::option::of(prop_oneof![value(), Just(page(3, b"")), Just(element(0x87, b"cn"))]),
    );
    (plain(), prop::collection::vec(control, 0..3), 0u8..8).prop_map(|(request, controls, with)| {
        if with > 2 {
            return request;
        }
        controls.iter().fold(request, |request, (oid, critical, value)| {
            request.with(oid, *critical, value.as_deref())
        })
    })
}
