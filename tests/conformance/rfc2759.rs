//! MS-CHAPv2 (RFC 2759), its keys (RFC 3079), and both in RADIUS (RFC 2548).

use portcullis::clock;
use portcullis::engine::Given;
use portcullis::engine::response::{Chap, Kept, MsChapV2, Peer, ResponseOutcome, nt_hash};
use portcullis::keyring::Keyring;
use portcullis::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_REJECT, ACCESS_REQUEST, CHAP_CHALLENGE, CHAP_PASSWORD, MESSAGE_AUTHENTICATOR,
    MS_CHAP_CHALLENGE, MS_CHAP_ERROR, MS_CHAP2_RESPONSE, MS_CHAP2_SUCCESS, MS_MPPE_ENCRYPTION_POLICY,
    MS_MPPE_ENCRYPTION_TYPES, MS_MPPE_RECV_KEY, MS_MPPE_SEND_KEY, REPLY_MESSAGE, USER_NAME, VENDOR_SPECIFIC,
};
use portcullis::radius::channel::Channel;
use portcullis::radius::exchange::{Exchange, Patience, Target, TlsTarget, Transport, Version, radsec_secret};
use portcullis::radius::intake::Sender;
use portcullis::radius::login::{Login, Method, Outcome};
use portcullis::radius::packet::{Attributes, Packet, Writer};
use portcullis::radius::translate::{self, Refusal, ReplyTo, Untranslated};
use portcullis::secret::Secret;
use portcullis::tls::client::{Settings, Trust};

use crate::server::{Server, kinds, let_in, table, values};
use crate::stream::{self, Site, clients};
use crate::vectors::Vectors;

// Sections 8 and 9.2; RFC 3079 section 3.5.3.

#[test]
fn the_example_comes_out_octet_for_octet() {
    let vectors = Vectors::load("rfc2759.txt");
    let password = Secret::new("clientPass");
    assert!(nt_hash(&password).unwrap().matches(vectors.packet("password hash")));
    for user in [b"User".as_slice(), b"EXAMPLE\\User"] {
        let peer = Peer {
            user,
            password: &password,
            challenge: vectors.packet("authenticator challenge").try_into().unwrap(),
            peer_challenge: vectors.packet("peer challenge").try_into().unwrap(),
        };
        let response = peer.response(5).unwrap();
        assert_eq!(response.len(), MsChapV2::OCTETS);
        assert_eq!(response[..2], [5, 0]);
        assert_eq!(response[2..18], *vectors.packet("peer challenge"));
        assert_eq!(response[18..26], [0; 8]);
        assert_eq!(response[26..], *vectors.packet("nt response"));
        let expected = peer.expected(5).unwrap();
        assert_eq!(
            expected.authenticator_response,
            vectors.packet("authenticator response")
        );
        assert!(expected.send_key.matches(vectors.packet("send start key")));
        assert!(!expected.receive_key.matches(vectors.packet("send start key")));
        assert_eq!(expected.receive_key.len(), 16);
    }
}

const CHALLENGE: [u8; 16] = [0x11; 16];

/// A response for `user` to [`CHALLENGE`].
fn response_of(user: &str, password: &str) -> Vec<u8> {
    let peer = Peer {
        user: user.as_bytes(),
        password: &Secret::new(password),
        challenge: &CHALLENGE,
        peer_challenge: &[0x22; 16],
    };
    peer.response(77).unwrap()
}

/// The value of a Vendor-Specific attribute of Microsoft's with these in it.
fn microsoft(attributes: &[(u8, &[u8])]) -> Vec<u8> {
    let mut value = vec![0, 0, 1, 55];
    for (kind, octets) in attributes {
        value.extend([*kind, u8::try_from(octets.len() + 2).unwrap()]);
        value.extend_from_slice(octets);
    }
    value
}

/// Every attribute of Microsoft's in a reply.
fn told(reply: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    for value in values(reply, VENDOR_SPECIFIC) {
        let inner = value.strip_prefix(&[0, 0, 1, 55]).expect("Microsoft's");
        found.extend(Attributes::new(inner).map(|attribute| (attribute.kind, attribute.value.to_vec())));
    }
    found
}

// RFC 2548 sections 2.1.2, 2.3.2, 2.3.3 and 2.4.

#[tokio::test]
async fn who_is_let_in_gets_the_proof_and_the_keys() {
    let server = Server::start("");
    let wire = server.wire().await;
    let peer = Peer {
        user: b"ana",
        password: &Secret::new("hunter2"),
        challenge: &CHALLENGE,
        peer_challenge: &[0x22; 16],
    };
    let expected = peer.expected(77).unwrap();
    let response = response_of("ana", "hunter2");
    let challenge: (u8, &[u8]) = (MS_CHAP_CHALLENGE, &CHALLENGE);
    let one = microsoft(&[challenge, (MS_CHAP2_RESPONSE, &response)]);
    let apart = [microsoft(&[(MS_CHAP2_RESPONSE, &response)]), microsoft(&[challenge])];
    let requests = [
        wire.request(1, &[(USER_NAME, b"ana"), (VENDOR_SPECIFIC, &one)]),
        wire.request(
            2,
            &[
                (VENDOR_SPECIFIC, &apart[0]),
                (USER_NAME, b"ana"),
                (VENDOR_SPECIFIC, &apart[1]),
            ],
        ),
    ];
    for request in requests {
        let reply = wire.ask(&request).await;
        assert_eq!((reply[0], kinds(&reply)[0]), (ACCESS_ACCEPT, MESSAGE_AUTHENTICATOR));
        let told = told(&reply);
        let value = |kind| &told.iter().find(|(found, _)| *found == kind).unwrap().1;
        let success = value(MS_CHAP2_SUCCESS);
        let digits: String = expected
            .authenticator_response
            .iter()
            .map(|octet| format!("{octet:02X}"))
            .collect();
        assert_eq!(success[0], 77);
        assert_eq!(success[1..], *format!("S={digits}").as_bytes());
        assert_eq!(*value(MS_MPPE_ENCRYPTION_POLICY), [0, 0, 0, 1]);
        assert_eq!(*value(MS_MPPE_ENCRYPTION_TYPES), [0, 0, 0, 4]);
        let (send, receive) = (value(MS_MPPE_SEND_KEY), value(MS_MPPE_RECV_KEY));
        assert!(send[0] & 0x80 != 0 && receive[0] & 0x80 != 0, "the salt's first bit");
        assert_ne!(send[..2], receive[..2], "no salt twice");
        let authenticator: &[u8; 16] = request[4..20].try_into().unwrap();
        let revealed = |hidden| wire.secret.reveal_salted(hidden, authenticator).unwrap();
        assert!(expected.send_key.matches(revealed(send).expose()));
        assert!(expected.receive_key.matches(revealed(receive).expose()));
    }
}

/// A request as RADIUS/1.1 carries it, translated: what is given, or why not.
fn over_radius_1_1(attributes: &[(u8, &[u8])]) -> Result<Given, Untranslated> {
    let clients = table("", "not used");
    let client = clients.find([127, 0, 0, 1].into()).unwrap();
    let octets = plain_request(attributes);
    let sender = Sender {
        client,
        channel: Channel::Tls11,
        source: ([127, 0, 0, 1], 2083).into(),
        listener: None,
    };
    let request = translate::request(&Packet::parse(&octets).unwrap(), sender, &keyring(), clock::now());
    request.map(|request| request.given)
}

fn plain_request(attributes: &[(u8, &[u8])]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut writer = Writer::begin(&mut octets, ACCESS_REQUEST, 0, &[9; 16], false);
    for (kind, value) in attributes {
        writer.push(*kind, value).unwrap();
    }
    writer.finish_plain();
    octets
}

fn keyring() -> Keyring {
    Keyring::from_root(&[1; 32])
}

// RFC 9765: no authenticator that could be a challenge, nothing hidden.

#[test]
fn radius_1_1_needs_the_challenge_and_carries_keys_as_they_are() {
    let chap = [&[7][..], &Chap::response(7, &Secret::new("hunter2"), &CHALLENGE)].concat();
    let name: (u8, &[u8]) = (USER_NAME, b"ana");
    let without = over_radius_1_1(&[name, (CHAP_PASSWORD, &chap)]);
    assert!(matches!(without, Err(Untranslated::Refused(Refusal::NoChallenge))));
    let with = over_radius_1_1(&[name, (CHAP_PASSWORD, &chap), (CHAP_CHALLENGE, &CHALLENGE)]);
    let Ok(Given::Response(response)) = with else {
        panic!("{with:?}")
    };
    let password = Secret::new("hunter2");
    assert!(matches!(
        response.judge(Kept::Clear(&password)),
        ResponseOutcome::Right(None)
    ));

    let value = microsoft(&[
        (MS_CHAP_CHALLENGE, &CHALLENGE),
        (MS_CHAP2_RESPONSE, &response_of("ana", "hunter2")),
    ]);
    let attributes = [name, (VENDOR_SPECIFIC, value.as_slice())];
    let Ok(Given::Response(response)) = over_radius_1_1(&attributes) else {
        panic!("no response")
    };
    let ResponseOutcome::Right(success) = response.judge(Kept::Clear(&password)) else {
        panic!("not right")
    };
    let clients = table("", "not used");
    let client = clients.find([127, 0, 0, 1].into()).unwrap();
    let octets = plain_request(&attributes);
    let reply_to = ReplyTo::new(&Packet::parse(&octets).unwrap(), client.clone(), Channel::Tls11);
    let mut buffer = Vec::new();
    reply_to.verdict(&let_in(success.clone()), &keyring(), clock::now(), &mut buffer);
    let told = told(&buffer);
    let value = |kind| &told.iter().find(|(found, _)| *found == kind).unwrap().1;
    let success = success.unwrap();
    assert!(success.send_key.matches(value(MS_MPPE_SEND_KEY)));
    assert!(success.receive_key.matches(value(MS_MPPE_RECV_KEY)));
}

// RFC 2548 section 2.1.5, RFC 2759 section 6.

#[tokio::test]
async fn every_refusal_has_the_one_error() {
    let server = Server::start("");
    let wire = server.wire().await;
    let right = response_of("ana", "hunter2");
    let wrong = response_of("ana", "hunter3");
    let challenge: (u8, &[u8]) = (MS_CHAP_CHALLENGE, &CHALLENGE);
    let name: (u8, &[u8]) = (USER_NAME, b"ana");
    let wrong = microsoft(&[challenge, (MS_CHAP2_RESPONSE, &wrong)]);
    let sound = microsoft(&[challenge, (MS_CHAP2_RESPONSE, &right)]);
    let alone = microsoft(&[(MS_CHAP2_RESPONSE, &right)]);
    let twice = microsoft(&[(MS_CHAP2_RESPONSE, &right), (MS_CHAP2_RESPONSE, &right), challenge]);
    let hidden = wire.hidden("hunter2");
    let cases: [&[(u8, &[u8])]; 6] = [
        &[name, (VENDOR_SPECIFIC, &wrong)],
        &[(USER_NAME, b"nobody"), (VENDOR_SPECIFIC, &sound)],
        &[name, (VENDOR_SPECIFIC, &alone)],
        &[name, (VENDOR_SPECIFIC, &twice)],
        &[name, (VENDOR_SPECIFIC, &sound), (2, &hidden)],
        &[name, (VENDOR_SPECIFIC, &sound), (CHAP_PASSWORD, &[0; 17])],
    ];
    for (identifier, attributes) in (1..).zip(cases) {
        let reply = wire.ask(&wire.request(identifier, attributes)).await;
        assert_eq!(reply[0], ACCESS_REJECT, "case {identifier}");
        assert_eq!(kinds(&reply), [MESSAGE_AUTHENTICATOR, VENDOR_SPECIFIC, REPLY_MESSAGE]);
        let told = told(&reply);
        assert_eq!((told.len(), told[0].0, told[0].1[0]), (1, MS_CHAP_ERROR, 77));
        let text = String::from_utf8(told[0].1[1..].to_vec()).unwrap();
        let digits = text
            .strip_prefix("E=691 R=0 C=")
            .and_then(|rest| rest.strip_suffix(" V=3"))
            .unwrap_or_else(|| panic!("{text}"));
        assert_eq!(digits.len(), 32);
        assert!(digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
    assert_eq!(server.stub.calls("ana") + server.stub.calls("nobody"), 2);
}

#[tokio::test]
async fn wrong_lengths_are_silence() {
    let server = Server::start("");
    let wire = server.wire().await;
    let right = response_of("ana", "hunter2");
    let challenge: (u8, &[u8]) = (MS_CHAP_CHALLENGE, &CHALLENGE);
    let mut trailing = microsoft(&[challenge, (MS_CHAP2_RESPONSE, &right)]);
    trailing.push(9);
    for value in [
        microsoft(&[challenge, (MS_CHAP2_RESPONSE, &right[..49])]),
        microsoft(&[challenge, (MS_CHAP2_RESPONSE, &[right.as_slice(), &[0]].concat())]),
        microsoft(&[challenge, (MS_CHAP2_RESPONSE, &[])]),
        microsoft(&[(MS_CHAP_CHALLENGE, &CHALLENGE[..15]), (MS_CHAP2_RESPONSE, &right)]),
        microsoft(&[(MS_CHAP_CHALLENGE, &[0; 17]), (MS_CHAP2_RESPONSE, &right)]),
        trailing,
    ] {
        let request = wire.request(1, &[(USER_NAME, b"ana"), (VENDOR_SPECIFIC, &value)]);
        wire.expect_silence(&request).await;
    }
    assert_eq!(server.stub.calls("ana"), 0);
}

#[tokio::test]
async fn our_own_client_speaks_all_methods_over_both_versions_of_radius_over_tls() {
    let site = Site::make();
    let nas = site.nas();
    let entry = "certificate = { san = ['dns:nas1.example.org'] }";
    let server = stream::Server::tls(&site, "", clients(&[("nas", entry)]));
    for (version, channel) in [(Version::V1_0, Channel::Tls), (Version::V1_1, Channel::Tls11)] {
        let settings = Settings {
            trust: Trust::Authorities(Some(&site.authority.file())),
            identity: Some((&nas.chain, &nas.key)),
            protocols: version.alpn(),
        };
        let target = Target {
            address: server.address,
            transport: Transport::Tls(TlsTarget {
                config: settings.config().unwrap(),
                name: portcullis::tls::server_name("127.0.0.1").unwrap(),
                secret: radsec_secret(),
                version,
            }),
            signed_replies: true,
        };
        let exchange = Exchange::connect(target, Patience::default());
        for method in [Method::Pap, Method::Chap, Method::MsChapV2] {
            let login = Login::new(exchange.clone()).method(method);
            for (password, accepted) in [("hunter2", true), ("hunter3", false)] {
                let outcome = login.login("ana", &Secret::new(password), |_| None).await.unwrap();
                assert_eq!(
                    matches!(outcome, Outcome::Accept(_)),
                    accepted,
                    "{method:?} over {channel}"
                );
                assert_eq!(matches!(outcome, Outcome::Reject(_)), !accepted);
            }
        }
        assert_eq!(exchange.channel(), channel);
    }
}
