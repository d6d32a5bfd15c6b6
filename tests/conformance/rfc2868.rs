//! RFC 2868 and RFC 2548: tags, and values hidden with a salt; attributes of rules in replies.

use std::sync::Arc;

use portcullis::clock;
use portcullis::dictionary::{Dictionary, Pair};
use portcullis::engine::{Grant, Person, UserKey, Verdict};
use portcullis::keyring::Keyring;
use portcullis::radius::attribute::{ACCESS_ACCEPT, ACCESS_REJECT, REPLY_MESSAGE};
use portcullis::radius::channel::Channel;
use portcullis::radius::crypto::SharedSecret;
use portcullis::radius::packet::{Packet, Writer};
use portcullis::radius::pairs::reveal;
use portcullis::radius::translate::{Reply, ReplyTo};

use crate::server::table;
use crate::vectors::Vectors;

#[test]
fn hidden_values_are_revealed() {
    let vectors = Vectors::load("rfc2868.txt");
    let secret = SharedSecret::new(&vectors.secret);
    let authenticator: &[u8; 16] = vectors.packet("request authenticator").try_into().unwrap();
    let packet = Packet::parse(vectors.packet("accept")).unwrap();
    assert!(secret.proves_response(&packet, authenticator));
    let names = Dictionary::shipped().name(packet.attributes().rest());
    let revealed: Vec<(String, Vec<u8>)> = names
        .map(|named| {
            let value = reveal(&named, Some((&secret, authenticator))).unwrap();
            (named.label().to_string(), value.expose().to_vec())
        })
        .collect();
    let counted = |end: u8| (0..end).collect::<Vec<u8>>();
    let expected = [
        ("Tunnel-Password:1", b"hunter2".to_vec()),
        ("Tunnel-Password:2", b"sixteen octets..".to_vec()),
        ("Tunnel-Password", Vec::new()),
        ("MS-MPPE-Send-Key", counted(16)),
        ("MS-MPPE-Recv-Key", counted(32)),
    ];
    assert_eq!(revealed, expected.map(|(name, value)| (name.to_owned(), value)));
}

/// The reply to a login with these attributes and this text.
fn accept(reply: Vec<Pair>, message: &str, channel: Channel) -> (Reply, Vec<u8>) {
    let client = table("class = false", "not used");
    let client = Arc::clone(client.find([127, 0, 0, 1].into()).unwrap());
    let mut request = Vec::new();
    Writer::begin(&mut request, 1, 9, &[3; 16], false).finish_plain();
    let person = Person {
        key: UserKey::new("table", "ana"),
        directory: "table".into(),
        dn: "uid=ana,dc=example,dc=org".into(),
        login: "ana".into(),
        groups: Vec::new(),
        attributes: Default::default(),
        enabled: true,
        manager: None,
        sso_managed: None,
    };
    let verdict = Verdict::Accept(Grant {
        person: Arc::new(person),
        message: Some(message.to_owned()),
        reply,
        ms_chap: None,
        proven: Default::default(),
        id: 0,
    });
    let reply_to = ReplyTo::new(&Packet::parse(&request).unwrap(), client, channel);
    let mut buffer = Vec::new();
    let kind = reply_to.verdict(&verdict, &Keyring::from_root(&[5; 32]), clock::now(), &mut buffer);
    (kind, buffer)
}

fn pairs(lines: &[(&str, &str)]) -> Vec<Pair> {
    let pair = |(name, value): &(&str, &str)| Dictionary::shipped().pair(name, value).unwrap();
    lines.iter().map(pair).collect()
}

#[test]
fn an_accept_carries_all_attributes_or_becomes_a_reject() {
    let long = "x".repeat(253);
    let filters = |count: usize| pairs(&vec![("Filter-Id", long.as_str()); count]);
    let (kind, octets) = accept(filters(15), "hello", Channel::Udp);
    assert_eq!((kind, octets[0]), (Reply::Accept, ACCESS_ACCEPT));
    assert_eq!(Packet::parse(&octets).unwrap().all(11).count(), 15);

    // The text gives way, the attributes do not.
    let (kind, octets) = accept(filters(15), &"y".repeat(240), Channel::Udp);
    let packet = Packet::parse(&octets).unwrap();
    assert_eq!((kind, packet.all(11).count()), (Reply::Accept, 15));
    assert!(!packet.has(REPLY_MESSAGE));
    let (kind, octets) = accept(filters(16), "hello", Channel::Udp);
    assert_eq!((kind, octets[0]), (Reply::Reject, ACCESS_REJECT));
    assert!(!Packet::parse(&octets).unwrap().has(11));
}

#[test]
fn nothing_is_hidden_over_radius_1_1() {
    let secrets = [("Tunnel-Password:3", "hunter2"), ("MS-MPPE-Send-Key", "0x0102")];
    let plain = [&[69, 10, 3][..], b"hunter2", &[26, 10, 0, 0, 1, 55, 16, 4, 1, 2]].concat();
    let (_, octets) = accept(pairs(&secrets), "", Channel::Tls11);
    assert_eq!(octets[20..], plain);
    for channel in [Channel::Udp, Channel::Tcp, Channel::Tls] {
        let (_, octets) = accept(pairs(&secrets), "", channel);
        assert!(!octets.windows(7).any(|window| window == b"hunter2"), "{channel}");
    }
}
