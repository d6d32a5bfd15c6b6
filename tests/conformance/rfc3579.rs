//! RFC 3579: Message-Authenticator and EAP; and what CVE-2024-3596 made of Proxy-State.

use portcullis::clock;
use portcullis::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REJECT, ACCESS_REQUEST, EAP_MESSAGE, MESSAGE_AUTHENTICATOR, NAS_IDENTIFIER,
    PROXY_STATE, REPLY_MESSAGE, STATE, STATUS_SERVER, USER_NAME, USER_PASSWORD,
};
use portcullis::radius::client::{Habit, Learned as _};
use portcullis::radius::crypto::{SharedSecret, Signature};
use portcullis::radius::packet::{Packet, Writer};
use portcullis::secret::Secret;

use crate::server::{SECRET, Server, Wire, kinds, request, table, values};
use crate::vectors::Vectors;

// Section 3.2.

#[test]
fn vectors_are_signed_right() {
    let vectors = Vectors::load("rfc3579.txt");
    let secret = SharedSecret::new(&vectors.secret);
    let first = Packet::parse(vectors.packet("signed first")).unwrap();
    assert!(first.signed_first());
    assert_eq!(secret.request_signature(&first), Signature::Valid);
    let middle = Packet::parse(vectors.packet("signed in the middle")).unwrap();
    assert!(!middle.signed_first());
    assert_eq!(secret.request_signature(&middle), Signature::Valid);
    let password = secret
        .reveal(middle.find(USER_PASSWORD).unwrap(), middle.authenticator())
        .unwrap();
    assert!(password.matches(b"correct horse battery staple, twice over"));
    assert_eq!(middle.find(NAS_IDENTIFIER), Some(&b"nas01"[..]));
    for (request, reply) in [
        ("signed first", "accept"),
        ("signed first", "reject"),
        ("eap identity", "eap reject"),
    ] {
        let request = Packet::parse(vectors.packet(request)).unwrap();
        let octets = vectors.packet(reply);
        let view = Packet::parse(octets).unwrap();
        assert_eq!(secret.reply_signature(&view, request.authenticator()), Signature::Valid);
        assert!(secret.proves_response(&view, request.authenticator()));
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(
            &mut buffer,
            view.code(),
            view.identifier(),
            request.authenticator(),
            true,
        );
        for attribute in view.attributes().skip(1) {
            writer.push(attribute.kind, attribute.value).unwrap();
        }
        writer.finish_reply(&secret);
        assert_eq!(buffer, octets, "{reply}");
    }
}

#[tokio::test]
async fn the_listener_answers_with_the_octets_of_the_vectors() {
    let vectors = Vectors::load("rfc3579.txt");
    let server = Server::start("");
    server
        .clients
        .store(table("", vectors.secret.expose_str().unwrap()).into());
    let wire = server.wire().await;
    wire.send(vectors.packet("signed first")).await;
    assert_eq!(wire.receive().await, vectors.packet("reject"));
    wire.send(vectors.packet("eap identity")).await;
    assert_eq!(wire.receive().await, vectors.packet("eap reject"));
    assert_eq!(server.stub.calls("nemo"), 1);
}

#[tokio::test]
async fn a_wrong_signature_is_silence_whatever_is_required() {
    for lines in [
        "",
        "require_message_authenticator = 'auto'",
        "require_message_authenticator = 'no'\nlimit_proxy_state = 'no'",
    ] {
        let server = Server::start(lines);
        let wire = server.wire().await;
        let mut altered = wire.login(1, "ana", "hunter2", &[]);
        altered[23] ^= 1;
        wire.expect_silence(&altered).await;
        assert_eq!(server.stub.calls("ana"), 0, "{lines}");
    }
}

#[tokio::test]
async fn unsigned_requests_only_where_they_are_allowed() {
    let server = Server::start("");
    let wire = server.wire().await;
    wire.expect_silence(&unsigned(&wire, 1, &[])).await;
    assert_eq!(server.counted("reason=\"missing-message-authenticator\""), 1);

    let server = Server::start("require_message_authenticator = 'no'");
    let wire = server.wire().await;
    let reply = wire.ask(&unsigned(&wire, 1, &[])).await;
    assert_eq!(reply[0], ACCESS_ACCEPT);
    wire.expect_silence(&unsigned(&wire, 2, &[(EAP_MESSAGE, &[2, 1, 0, 5, 1])]))
        .await;
}

#[tokio::test]
async fn an_address_that_has_signed_once_must_go_on() {
    let server = Server::start("require_message_authenticator = 'auto'");
    let wire = server.wire().await;
    assert_eq!(wire.ask(&unsigned(&wire, 1, &[])).await[0], ACCESS_ACCEPT);
    assert_eq!(wire.ask(&wire.login(2, "ana", "hunter2", &[])).await[0], ACCESS_ACCEPT);
    wire.expect_silence(&unsigned(&wire, 3, &[])).await;
}

/// Both are in one entry, `127.0.0.0/8`.
#[tokio::test]
async fn each_address_of_a_prefix_is_judged_by_itself() {
    let server = Server::start("require_message_authenticator = 'auto'");
    let (one, two) = (server.wire().await, server.wire_from("127.0.0.2").await);
    assert_eq!(one.ask(&one.login(1, "ana", "hunter2", &[])).await[0], ACCESS_ACCEPT);
    one.expect_silence(&unsigned(&one, 2, &[])).await;
    assert_eq!(two.ask(&unsigned(&two, 2, &[])).await[0], ACCESS_ACCEPT);
    let vpn = "127.0.0.1".parse().unwrap();
    assert_eq!(server.learned.habit("vpn", vpn), Some(Habit::Signs));
    assert_eq!(server.learned.forget("vpn", Some(vpn)), [vpn]);
    assert_eq!(
        one.ask(&unsigned(&one, 3, &[])).await[0],
        ACCESS_ACCEPT,
        "it may be plain again"
    );
}

/// The default of `limit_proxy_state`: what the first request from an address does is the rule for it.
#[tokio::test]
async fn unsigned_proxy_state_only_from_what_began_as_an_old_proxy() {
    let server = Server::start("require_message_authenticator = 'no'");
    let (plain, proxy) = (server.wire().await, server.wire_from("127.0.0.2").await);
    let proxied: [(u8, &[u8]); 1] = [(PROXY_STATE, b"x")];
    assert_eq!(plain.ask(&unsigned(&plain, 1, &[])).await[0], ACCESS_ACCEPT);
    plain.expect_silence(&unsigned(&plain, 2, &proxied)).await;
    assert_eq!(server.counted("reason=\"unsigned-proxy-state\""), 1);

    for identifier in 1..4 {
        let reply = proxy.ask(&unsigned(&proxy, identifier, &proxied)).await;
        assert_eq!(reply[0], ACCESS_ACCEPT);
        assert_eq!(values(&reply, PROXY_STATE), [b"x"]);
    }
    assert_eq!(proxy.ask(&unsigned(&proxy, 4, &[])).await[0], ACCESS_ACCEPT);
    assert_eq!(
        proxy.ask(&proxy.login(5, "ana", "hunter2", &proxied)).await[0],
        ACCESS_ACCEPT
    );
    proxy.expect_silence(&unsigned(&proxy, 6, &proxied)).await;
}

/// [`Wire::ask`] checks each.
#[tokio::test]
async fn every_kind_of_reply_begins_with_message_authenticator() {
    let server = Server::start("");
    let wire = server.wire().await;
    let hidden = wire.hidden("hunter2");
    for (request, code) in [
        (wire.login(1, "ana", "hunter2", &[]), ACCESS_ACCEPT),
        (wire.login(2, "chatty", "hunter2", &[]), ACCESS_ACCEPT),
        (wire.login(3, "bob", "hunter2", &[]), ACCESS_CHALLENGE),
        (wire.login(4, "ana", "wrong", &[]), ACCESS_REJECT),
        (wire.login(5, "ana", "hunter2", &[(STATE, b"made up")]), ACCESS_REJECT),
        (wire.request(6, &[(USER_PASSWORD, &hidden)]), ACCESS_REJECT),
        (
            request(STATUS_SERVER, 7, [1; 16], &wire.secret, &[], true),
            ACCESS_ACCEPT,
        ),
    ] {
        let reply = wire.ask(&request).await;
        assert_eq!(
            (reply[0], kinds(&reply)[0]),
            (code, MESSAGE_AUTHENTICATOR),
            "{}",
            request[1]
        );
    }
}

#[tokio::test]
async fn proxy_state_must_be_signed() {
    let server = Server::start("require_message_authenticator = 'no'\nlimit_proxy_state = 'yes'");
    let wire = server.wire().await;
    wire.expect_silence(&unsigned(&wire, 1, &[(PROXY_STATE, b"x")])).await;
    assert_eq!(server.counted("reason=\"unsigned-proxy-state\""), 1);
    let signed = wire.login(2, "ana", "hunter2", &[(PROXY_STATE, b"x")]);
    assert_eq!(wire.ask(&signed).await[0], ACCESS_ACCEPT);
}

#[tokio::test]
async fn an_old_client_may_be_spared_the_signature() {
    let server = Server::start("require_message_authenticator = 'no'\nsend_message_authenticator = false");
    let wire = server.wire().await;
    let request = unsigned(&wire, 1, &[]);
    wire.send(&request).await;
    let reply = wire.receive().await;
    assert_eq!(reply[0], ACCESS_ACCEPT);
    assert!(kinds(&reply).is_empty());
    let reply = Packet::parse(&reply).unwrap();
    let asked = Packet::parse(&request).unwrap();
    assert!(wire.secret.proves_response(&reply, asked.authenticator()));
}

// Sections 2.6 and 3.1.

#[tokio::test]
async fn eap_is_refused_with_an_eap_failure() {
    let server = Server::start("send_message_authenticator = false");
    let wire = server.wire().await;
    let identity: (u8, &[u8]) = (EAP_MESSAGE, &[2, 42, 0, 8, 1, b'a', b'n', b'a']);
    let reply = wire.ask(&wire.request(1, &[(USER_NAME, b"ana"), identity])).await;
    assert_eq!(reply[0], ACCESS_REJECT);
    assert_eq!(kinds(&reply), [MESSAGE_AUTHENTICATOR, EAP_MESSAGE, REPLY_MESSAGE]);
    assert_eq!(
        Packet::parse(&reply).unwrap().find(EAP_MESSAGE),
        Some(&[4, 42, 0, 4][..])
    );

    let hidden = wire.hidden("hunter2");
    let both = wire.request(2, &[(USER_NAME, b"ana"), (USER_PASSWORD, &hidden), identity]);
    assert_eq!(wire.ask(&both).await[0], ACCESS_REJECT);
    assert_eq!(server.stub.calls("ana"), 0);
}

/// A request of `ana` with the right password and no Message-Authenticator.
fn unsigned(wire: &Wire, identifier: u8, more: &[(u8, &[u8])]) -> Vec<u8> {
    let authenticator = clock::random();
    let secret = SharedSecret::new(&Secret::new(SECRET));
    let hidden = wire.secret.hide(&Secret::new("hunter2"), &authenticator).unwrap();
    let mut attributes = vec![(USER_NAME, &b"ana"[..]), (USER_PASSWORD, hidden.as_slice())];
    attributes.extend_from_slice(more);
    request(ACCESS_REQUEST, identifier, authenticator, &secret, &attributes, false)
}
