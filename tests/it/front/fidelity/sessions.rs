//! What takes more than a request and its answer: operations under way together, abandoned, cancelled, told of
//! changes; large values; servers that say goodbye or say nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::wire::{ANA, Reply, WHO_AM_I, bind};
use super::requests::*;
use super::{ADMIN, Pair, replies, without_last_words};

fn persist() -> Request {
    let mode = sequence(&[&element(0x0a, &[3])]);
    let mut search =
        Search::of("ou=people,dc=example,dc=org", "(objectClass=person)").selecting(&["cn", "description"]);
    search.scope = 1;
    search.request().demanding(SYNC, Some(&mode))
}

/// The octets with change numbers, which hold the time, overwritten.
fn timeless(reply: &Reply) -> Vec<u8> {
    const CHANGE_NUMBER: usize = "20260101000000.000000Z#000000#000#000000".len();
    let mut octets = reply.octets.clone();
    while let Some(at) = octets.windows(4).position(|window| window == b"csn=") {
        octets[at..at + 4 + CHANGE_NUMBER].fill(b'.');
    }
    octets
}

#[test]
fn a_client_is_told_of_changes_until_it_cancels_or_abandons() {
    let pair = Pair::start();
    let [direct, behind] = pair.bound(ADMIN, "adminpw").map(|mut wire| {
        let mut seen = Vec::new();
        for (id, end) in [(2, cancel(2)), (50, abandon(50))] {
            wire.send(&persist().message(id));
            // The entries that there are, then word that this was all (RFC 4533 section 3.4).
            while seen.last().is_none_or(|reply: &Reply| reply.operation != 0x79) {
                seen.push(wire.expect());
            }
            for step in 1..4 {
                let change = match step {
                    1 => add_person("told").message(id + step),
                    2 => modify(ANA, &[(REPLACE, "description", &[b"new"])]).message(id + step),
                    _ => delete("uid=told,ou=people,dc=example,dc=org").message(id + step),
                };
                wire.send(&change);
                // The news and the result are sent by different threads.
                let mut both = [wire.expect(), wire.expect()];
                both.sort_by_key(|reply| reply.id);
                seen.extend(both);
            }
            // While its thread still sends the news, OpenLDAP finds that it is too late to cancel a search.
            std::thread::sleep(SETTLED);
            wire.send(&end.message(id + 10));
            if end.operation[0] == 0x77 {
                let mut both = [wire.expect(), wire.expect()];
                both.sort_by_key(|reply| reply.id);
                seen.extend(both);
            }
            seen.push(wire.who_am_i(id + 20));
        }
        seen
    });
    // A new entry's UUID is its own: only the number of octets can be compared.
    assert_eq!(direct.len(), behind.len());
    for (one, other) in direct.iter().zip(&behind) {
        if one.operation == 0x64 {
            assert_eq!((one.id, one.octets.len()), (other.id, other.octets.len()));
        } else {
            assert_eq!(timeless(one), timeless(other));
        }
    }
    let canceled = direct.iter().filter(|reply| reply.operation == 0x65).map(Reply::code);
    assert!(canceled.eq([118]), "the cancelled search says so");
}

const SETTLED: Duration = Duration::from_millis(100);

/// Two hundred operations in one write; answers in any order, but those of one operation in theirs.
#[test]
fn many_operations_at_once() {
    let pair = Pair::start();
    let [direct, behind] = pair.bound(ANA, "anapw").map(|mut wire| {
        let kinds = [
            find("(objectClass=*)"),
            extended(WHO_AM_I, None),
            compare(ANA, "cn", b"ana"),
            find("(uid=ben)").demanding(PAGED, Some(&page(5, b""))),
            read("cn=slow,ou=codes,dc=example,dc=org", &[]),
            modify(ANA, &[(REPLACE, "jpegPhoto", &[b"x"])]),
        ];
        // The slow one only once: others that came later are answered before it.
        let request = |id: i32| match id {
            100 => &kinds[4],
            _ => &kinds[usize::try_from(id).unwrap() % 4],
        };
        let all: Vec<u8> = (2..202).flat_map(|id| request(id).message(id)).collect();
        wire.send(&all);
        let mut answers: BTreeMap<i32, Vec<Reply>> = BTreeMap::new();
        let mut order = Vec::new();
        while order.len() < 200 {
            let reply = wire.expect();
            if !matches!(reply.operation, 0x64 | 0x73 | 0x79) {
                order.push(reply.id);
            }
            answers.entry(reply.id).or_default().push(reply);
        }
        assert!(!order.is_sorted(), "the slow one holds up the others");
        answers
    });
    assert_eq!(direct, behind);
}

#[test]
fn large_values_both_ways() {
    let photo: Vec<u8> = (0..10_000_000u32)
        .map(|number| number.to_le_bytes()[0] ^ 0x5a)
        .collect();
    let requests = [
        modify(
            ANA,
            &[
                (REPLACE, "jpegPhoto", &[&photo]),
                (REPLACE, "description", &[&[b'x'; 70_000]]),
            ],
        ),
        read(ANA, &[]),
        read(ANA, &["cn"]),
        compare(ANA, "jpegPhoto", &photo[..100_000]),
        modify(ANA, &[(DELETE, "jpegPhoto", &[&photo])]),
        modify(ANA, &[(DELETE, "jpegPhoto", &[])]),
        read(ANA, &[]),
        // More values than a buffer holds.
        modify(
            "cn=staff,dc=example,dc=org",
            &[(
                ADD,
                "member",
                &(0..5000)
                    .map(|number| format!("uid=user{number},ou=people,dc=example,dc=org"))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_bytes)
                    .collect::<Vec<_>>(),
            )],
        ),
        find("(objectClass=groupOfNames)"),
    ];
    Pair::start().compare(ADMIN, "adminpw", &requests);
}

#[test]
fn what_a_server_says_unasked_is_passed_on() {
    let pair = Pair::start();
    let requests = [
        read("cn=told,ou=codes,dc=example,dc=org", &[]),
        read("cn=cut,ou=codes,dc=example,dc=org", &[]),
        read("cn=hangs-up,ou=codes,dc=example,dc=org", &[]),
        find("(uid=ana)"),
    ];
    pair.compare(ANA, "anapw", &requests);
}

#[test]
fn a_server_that_is_shut_down_says_so_in_its_own_words() {
    let mut pair = Pair::start();
    let mut both = pair.bound(ANA, "anapw");
    for wire in &mut both {
        wire.send(&persist().message(2));
        while wire.expect().operation != 0x79 {}
    }
    pair.direct.terminate();
    pair.behind.terminate();
    let [direct, behind] = both.map(|mut wire| {
        let mut last = Vec::new();
        while let Some(reply) = wire.next() {
            last.push(reply);
        }
        without_last_words(&mut last);
        last
    });
    assert_eq!(direct, behind);
}

#[test]
fn an_unbind_ends_the_connection_without_a_word() {
    let pair = Pair::start();
    for octets in [
        Request::of(0x42, b"").message(2),
        [find("(uid=ana)").message(2), Request::of(0x42, b"").message(3)].concat(),
    ] {
        for mut wire in pair.bound(ANA, "anapw") {
            wire.send(&octets);
            // What was under way may be answered or not.
            while let Some(reply) = wire.next() {
                assert!(!reply.is_notice_of_disconnection());
            }
        }
    }
}

/// What a bind brings, directly and through us. Where the two differ, policy is why.
#[test]
fn binds_differ_in_these_points_only() {
    let pair = Pair::start();
    let anyone = |name: &str, password: &str| Bind::Simple(3, name.into(), password.into());
    let same = [
        anyone(ANA, "anapw"),
        anyone(ANA, "wrong"),
        anyone("UID=ana, OU=people,DC=example,DC=org", "anapw"),
        anyone("uid=nobody,ou=people,dc=example,dc=org", "x"),
        anyone("ou=people,dc=example,dc=org", "x"),
        anyone("cn=anybody,dc=elsewhere", "x"),
        anyone("uid=x,ou=elsewhere,dc=example,dc=org", "x"),
        anyone("", ""),
        anyone("", "x"),
    ];
    for bind in &same {
        let [direct, behind] = pair.unbound(&bind.message(7));
        assert_eq!(direct, behind, "{bind:?}");
    }
    for (bind, direct, ours, reason) in [
        (anyone(ANA, ""), 53, 53, "another text: it is answered here"),
        (anyone("ana", "anapw"), 34, 0, "login names are names"),
        (
            anyone("uid=,,", "x"),
            34,
            52,
            "nobody, where names are looked up; here the server was asked and could not judge",
        ),
        (
            Bind::Simple(2, ANA.into(), "anapw".into()),
            2,
            2,
            "another text: it is answered here",
        ),
        (
            Bind::Simple(4, ANA.into(), "anapw".into()),
            2,
            2,
            "another text: it is answered here",
        ),
        (Bind::Critical, 12, 12, "another text: the engine is not asked"),
    ] {
        let answered = pair.unbound(&bind.message(7)).map(|replies| replies[0].code());
        assert_eq!(answered, [direct, ours], "{bind:?}: {reason}");
    }
}

#[derive(Debug)]
enum Bind {
    Simple(i32, String, String),
    Critical,
}

impl Bind {
    fn message(&self, id: i32) -> Vec<u8> {
        match self {
            Self::Simple(3, name, password) => bind(id, name, password),
            Self::Simple(version, name, password) => {
                let content = [integer(*version), string(name), element(0x80, password.as_bytes())].concat();
                Request::of(0x60, &content).message(id)
            }
            Self::Critical => {
                let content = [integer(3), string(ANA), element(0x80, b"anapw")].concat();
                Request::of(0x60, &content).demanding("1.2.3.4", None).message(id)
            }
        }
    }
}

impl Pair {
    /// What one message brings on connections that have not bound.
    fn unbound(&self, octets: &[u8]) -> [Vec<Reply>; 2] {
        [self.direct.address(), self.front.address].map(|address| {
            let mut wire = super::Wire::connect(address);
            replies(&mut wire, octets)
        })
    }
}
