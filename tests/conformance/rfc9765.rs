//! RFC 9765: RADIUS/1.1.
//!
//! No other implementation of it could be installed to test against: what is expected here is written out by
//! hand in `vectors/rfc9765.txt`, and spoken by a client of our own.

use std::collections::HashSet;
use std::time::Duration;

use portcullis::engine::Given;
use portcullis::engine::response::{Kept, ResponseOutcome};
use portcullis::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REJECT, ACCESS_REQUEST, ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE,
    ACCT_SESSION_ID, ACCT_STATUS_TYPE, CHAP_PASSWORD, CLASS, EAP_MESSAGE, ERROR_CAUSE, MESSAGE_AUTHENTICATOR,
    PROTOCOL_ERROR, PROXY_STATE, STATE, STATUS_SERVER, USER_NAME, USER_PASSWORD,
};
use portcullis::radius::packet::Packet;
use portcullis::secret::Secret;
use rustls::HandshakeKind;
use tokio::net::TcpStream;

use crate::pki::{Leaf, Offer, client_config, connect};
use crate::rfc2866::{SESSION, START};
use crate::server::values;
use crate::stream::{Line, Server, Site, Tls, clients, plain};
use crate::vectors::Vectors;

const BY_NAME: &str = "certificate = { san = ['dns:nas1.example.org'] }";
const V10: &[u8] = b"radius/1.0";
const V11: &[u8] = b"radius/1.1";

fn offer(alpn: &[&'static [u8]], tls12: bool) -> Offer {
    Offer {
        alpn: alpn.to_vec(),
        tls12,
    }
}

async fn line(site: &Site, server: &Server, leaf: &Leaf) -> Line<Tls> {
    let line = site.offering(server, leaf, &offer(&[V11], false)).await;
    assert_eq!(line.stream.get_ref().1.alpn_protocol(), Some(V11));
    line
}

/// What is true of every reply: reserved fields are zero, the Token is the request's, nothing is signed.
fn token_of(reply: &[u8]) -> [u8; 4] {
    let packet = Packet::parse_unsigned(reply).unwrap();
    assert_eq!((reply[1], &reply[8..20]), (0, &[0; 12][..]));
    assert!(!packet.has(MESSAGE_AUTHENTICATOR));
    packet.token()
}

fn login(token: [u8; 4], user: &str, password: &[u8], more: &[(u8, &[u8])]) -> Vec<u8> {
    let mut attributes = vec![(USER_NAME, user.as_bytes()), (USER_PASSWORD, password)];
    attributes.extend_from_slice(more);
    plain(ACCESS_REQUEST, token, &attributes)
}

#[tokio::test]
async fn packets_are_as_they_are_written_out() {
    let vectors = Vectors::load("rfc9765.txt");
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let mut line = line(&site, &server, &site.nas()).await;
    for (asked, token) in [("login", [1, 2, 3, 4]), ("login-with-noise", [1, 2, 3, 5])] {
        line.send(vectors.packet(asked)).await;
        let challenge = line.receive().await;
        assert_eq!(
            (challenge[0], token_of(&challenge)),
            (ACCESS_CHALLENGE, token),
            "{asked}"
        );
        assert_eq!(values(&challenge, PROXY_STATE), [b"p1"]);
        let state = values(&challenge, STATE).remove(0);
        line.send(&login([9, 9, 9, token[3]], "bob", b"492039", &[(STATE, &state)]))
            .await;
        assert_eq!(line.receive().await[0], ACCESS_ACCEPT);
    }
    for (asked, answered) in [("refused", "reject"), ("status-server", "status-reply")] {
        line.send(vectors.packet(asked)).await;
        assert_eq!(line.receive().await, vectors.packet(answered), "{asked}");
    }
}

#[tokio::test]
async fn what_was_said_is_understood_again() {
    let vectors = Vectors::load("rfc9765.txt");
    let [login, challenge, answer, accept] = ["login", "challenge", "answer", "accept"]
        .map(|name| Packet::parse_unsigned(vectors.packet(&format!("spoken-{name}"))).unwrap());
    assert_eq!(
        [login, challenge, answer, accept].map(|packet| packet.code()),
        [ACCESS_REQUEST, ACCESS_CHALLENGE, ACCESS_REQUEST, ACCESS_ACCEPT]
    );
    assert_eq!(token_of(challenge.octets()), login.token());
    assert_eq!(token_of(accept.octets()), answer.token());
    assert_eq!(token_of(answer.octets())[3], token_of(login.octets())[3] + 1);
    assert_eq!(login.find(USER_PASSWORD), Some(&b"pw00001"[..]));
    assert_eq!(answer.find(STATE), challenge.find(STATE));

    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let mut line = line(&site, &server, &site.nas()).await;
    line.send(login.octets()).await;
    let reply = line.receive().await;
    assert_eq!((reply[0], token_of(&reply)), (ACCESS_REJECT, login.token()));
    assert!(matches!(server.stub.last().given, Given::Typed(typed) if typed.matches(b"pw00001")));
    line.send(vectors.packet("chap")).await;
    assert_eq!(token_of(&line.receive().await), [0xff; 4]);
    let Given::Response(response) = server.stub.last().given else {
        panic!("no CHAP")
    };
    let judged = |password: &str| response.judge(Kept::Clear(&Secret::new(password)));
    assert!(matches!(judged("hunter2"), ResponseOutcome::Right(None)));
    assert!(matches!(judged("hunter3"), ResponseOutcome::Wrong));
}

#[tokio::test]
async fn passwords_are_octets_up_to_128_and_taken_as_they_are() {
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let mut line = line(&site, &server, &site.nas()).await;
    for password in [&[b'x'; 128][..], b"\xff\x00\x01", b"trailing\0\0"] {
        line.send(&login([1; 4], "ana", password, &[])).await;
        assert_eq!(line.receive().await[0], ACCESS_REJECT);
        assert!(matches!(server.stub.last().given, Given::Typed(last) if last.matches(password)));
    }
    // An empty one, one that is too long, CHAP without a challenge, EAP: refused, and the connection goes on.
    for attributes in [
        &[(USER_NAME, &b"ana"[..]), (USER_PASSWORD, b"")][..],
        &[(USER_NAME, b"ana"), (USER_PASSWORD, &[b'x'; 129])],
        &[(USER_NAME, b"ana"), (CHAP_PASSWORD, &[1; 17])],
        &[(USER_NAME, b"ana"), (EAP_MESSAGE, &[2, 1, 0, 5, 1])],
    ] {
        let calls = server.stub.calls("ana");
        line.send(&plain(ACCESS_REQUEST, [2; 4], attributes)).await;
        let reply = line.receive().await;
        assert_eq!((reply[0], token_of(&reply)), (ACCESS_REJECT, [2; 4]));
        assert_eq!(server.stub.calls("ana"), calls);
    }
}

// Section 4.2: the Token tells requests apart, so more than 256 may be under way.

#[tokio::test]
async fn more_requests_than_identifiers_are_under_way() {
    let site = Site::make();
    let listener = "in_flight = 2000\nin_flight_per_connection = 1000";
    let server = Server::tls(&site, listener, clients(&[("nas", BY_NAME)]));
    let mut line = line(&site, &server, &site.nas()).await;
    let tokens: HashSet<[u8; 4]> = (0..600_u32).map(|number| (number << 16 | 1).to_be_bytes()).collect();
    for token in &tokens {
        line.send(&login(*token, "slow", b"hunter2", &[])).await;
    }
    server.stub.until_waiting(600).await;
    line.send(&login([1, 1, 1, 1], "ana", b"hunter2", &[])).await;
    assert_eq!(token_of(&line.receive().await), [1; 4]);
    server.stub.release(600);
    let mut answered = HashSet::new();
    for _ in 0..600 {
        let reply = line.receive().await;
        assert_eq!(reply[0], ACCESS_ACCEPT);
        answered.insert(token_of(&reply));
    }
    assert_eq!(answered, tokens);
    // One that is not answered yet cannot be used again; Reserved-1, the old Identifier, is no part of it.
    line.send(&login([7; 4], "slow", b"hunter2", &[])).await;
    let mut again = login([7; 4], "ana", b"hunter2", &[]);
    again[1] = 9;
    line.send(&again).await;
    line.expect_close().await;
    assert_eq!(server.counted("identifier-in-use"), 1);
}

#[tokio::test]
async fn what_cannot_be_a_packet_closes() {
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let nas = site.nas();
    let mut short = plain(ACCESS_REQUEST, [1; 4], &[(USER_NAME, b"ana")]);
    short[21] = 1;
    for octets in [vec![1, 0, 0, 19], vec![1, 0, 0xff, 0xff], short] {
        let mut line = line(&site, &server, &nas).await;
        line.send(&octets).await;
        line.expect_close().await;
    }
    let mut line = line(&site, &server, &nas).await;
    line.send(&plain(77, [1; 4], &[])).await;
    line.send(&plain(STATUS_SERVER, [1; 4], &[])).await;
    assert_eq!(line.receive().await[0], ACCESS_ACCEPT);
}

// Section 6.1: what cannot be worked on is answered with Protocol-Error.

#[tokio::test]
async fn who_cannot_be_served_is_told_so_at_once() {
    let site = Site::make();
    let server = Server::tls(&site, "in_flight = 1", clients(&[("nas", BY_NAME)]));
    let mut line = line(&site, &server, &site.nas()).await;
    let accounting = [
        (USER_NAME, &b"down"[..]),
        (ACCT_STATUS_TYPE, &[0, 0, 0, 1]),
        (ACCT_SESSION_ID, b"1"),
        (PROXY_STATE, b"p1"),
    ];
    let unable = [
        login([1; 4], "down", b"hunter2", &[(PROXY_STATE, b"p1")]),
        login([2; 4], "panic", b"hunter2", &[(PROXY_STATE, b"p1")]),
        plain(ACCOUNTING_REQUEST, [3; 4], &accounting),
    ];
    for (asked, token) in unable.iter().zip([[1; 4], [2; 4], [3; 4]]) {
        line.send(asked).await;
        let reply = line.receive().await;
        assert_eq!((reply[0], token_of(&reply)), (PROTOCOL_ERROR, token));
        assert_eq!(values(&reply, ERROR_CAUSE), [506_u32.to_be_bytes()]);
        assert_eq!(values(&reply, PROXY_STATE), [b"p1"]);
    }
    line.send(&login([4; 4], "slow", b"hunter2", &[])).await;
    server.stub.until_waiting(1).await;
    line.send(&login([5; 4], "ana", b"hunter2", &[])).await;
    let reply = line.receive().await;
    assert_eq!((reply[0], token_of(&reply)), (PROTOCOL_ERROR, [5; 4]), "overload");
    server.stub.release(1);
    assert_eq!(line.receive().await[0], ACCESS_ACCEPT);
}

// Section 3: which version is spoken.

#[tokio::test]
async fn versions_are_negotiated_as_the_table_says() {
    let site = Site::make();
    let nas = site.nas();
    // Configured here, offered there, TLS 1.2: the version agreed on, or none.
    let (old, both, new) = ("versions = ['1.0']", "versions = ['1.0', '1.1']", "versions = ['1.1']");
    for (versions, offered, tls12, agreed) in [
        (old, &[V10][..], false, Some(V10)),
        (old, &[V10, V11], false, Some(V10)),
        (old, &[V11], false, None),
        (both, &[V10], false, Some(V10)),
        (both, &[V10, V11], false, Some(V11)),
        (both, &[V11, V10], false, Some(V11)),
        (both, &[V11], false, Some(V11)),
        (both, &[b"h2"], false, None),
        // Who names RADIUS/1.1 must speak TLS 1.3 (section 3.5). This client does not, although it offers
        // suites of it.
        (both, &[V11, V10], true, None),
        (both, &[V10], true, Some(V10)),
        (both, &[V11], true, None),
        (new, &[V10, V11], false, Some(V11)),
        (new, &[V10], false, None),
        (new, &[V11], true, None),
    ] {
        let server = Server::tls(&site, versions, clients(&[("nas", BY_NAME)]));
        let case = format!("{versions}, {offered:?}, TLS 1.2 {tls12}");
        let stream = TcpStream::connect(server.address).await.unwrap();
        let config = client_config(&site.authority.file(), Some(&nas), &offer(offered, tls12));
        match (connect(config, stream).await, agreed) {
            (Ok(stream), Some(agreed)) => {
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(agreed), "{case}");
                let mut line = Line::new(stream, "radsec");
                let asked = if agreed == V11 {
                    plain(STATUS_SERVER, [1; 4], &[])
                } else {
                    line.status(1)
                };
                line.send(&asked).await;
                assert_eq!(line.receive().await[0], ACCESS_ACCEPT, "{case}");
            }
            (Err(error), None) => {
                let text = format!("{error:?}");
                let alert = ["NoApplicationProtocol", "ProtocolVersion"]
                    .iter()
                    .any(|alert| text.contains(alert));
                assert!(alert, "{case}: {text}");
            }
            (Ok(_), None) => panic!("{case}: agreed on something"),
            (Err(error), Some(_)) => panic!("{case}: {error}"),
        }
    }
}

#[tokio::test]
async fn who_names_no_version_speaks_the_old_one_or_is_told() {
    let vectors = Vectors::load("rfc9765.txt");
    let site = Site::make();
    let server = Server::tls(&site, "versions = ['1.0', '1.1']", clients(&[("nas", BY_NAME)]));
    let mut line = site.line(&server, &site.nas()).await;
    let asked = line.login(1, "ana", "hunter2", &[]);
    assert_eq!(line.ask(&asked).await[0], ACCESS_ACCEPT);

    let server = Server::tls(&site, "versions = ['1.1']", clients(&[("nas", BY_NAME)]));
    let mut line = site.line(&server, &site.nas()).await;
    assert_eq!(line.receive().await, vectors.packet("version-wanted"));
    line.expect_close().await;
    assert_eq!(server.counted("reason=\"version\""), 1);
}

#[tokio::test]
async fn sessions_are_not_resumed_so_versions_cannot_change() {
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let nas = site.nas();
    for tls12 in [false, true] {
        let alpn: &[&'static [u8]] = if tls12 { &[V10] } else { &[V11] };
        let config = client_config(&site.authority.file(), Some(&nas), &offer(alpn, tls12));
        for _ in 0..2 {
            let stream = TcpStream::connect(server.address).await.unwrap();
            let stream = connect(config.clone(), stream).await.unwrap();
            let mut line = Line::new(stream, "radsec");
            let asked = if tls12 {
                line.status(1)
            } else {
                plain(STATUS_SERVER, [1; 4], &[])
            };
            line.send(&asked).await;
            line.receive().await;
            let kind = line.stream.get_ref().1.handshake_kind();
            assert_ne!(kind, Some(HandshakeKind::Resumed));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

// Section 4.1: nothing of accounting is computed either.

#[tokio::test]
async fn accounting_has_a_token_in_the_place_of_its_authenticator() {
    let site = Site::make();
    let server = Server::tls(&site, "", clients(&[("nas", BY_NAME)]));
    let mut line = line(&site, &server, &site.nas()).await;
    line.send(&login([1; 4], "ana", b"hunter2", &[])).await;
    let class = values(&line.receive().await, CLASS).remove(0);
    // What lies behind the Token is not looked at: no Request Authenticator is checked.
    for (token, noise) in [([7, 0, 0, 1], [0; 12]), ([7, 0, 0, 2], [0xa5; 12])] {
        let attributes = [START, SESSION, (CLASS, class.as_slice()), (PROXY_STATE, b"p1")];
        let mut start = plain(ACCOUNTING_REQUEST, token, &attributes);
        start[8..20].copy_from_slice(&noise);
        line.send(&start).await;
        let reply = line.receive().await;
        assert_eq!((reply[0], token_of(&reply)), (ACCOUNTING_RESPONSE, token));
        assert_eq!(values(&reply, PROXY_STATE), [b"p1"]);
    }
    let reports = server.stub.reports();
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[0].class.as_ref().unwrap().user.as_str(), "table:ana");
    assert!(reports[0].encrypted && reports[0].id == "0001");
    // Over RADIUS/1.0 on the same port the same octets prove nothing.
    let mut old = site.offering(&server, &site.nas(), &offer(&[V10], false)).await;
    old.send(&plain(ACCOUNTING_REQUEST, [7, 0, 0, 3], &[START, SESSION]))
        .await;
    old.expect_close().await;
    assert_eq!(server.counted("bad-request-authenticator"), 1);
}
