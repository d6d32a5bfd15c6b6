//! RFC 2865: Remote Authentication Dial In User Service.

use std::time::Duration;

use portcullis::clock;
use portcullis::engine::dialog::Dialog;
use portcullis::engine::response::Chap;
use portcullis::engine::{Capability, Given, Protocol, Split};
use portcullis::keyring::Keyring;
use portcullis::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REJECT, CALLING_STATION_ID, CHAP_CHALLENGE, CHAP_PASSWORD,
    MESSAGE_AUTHENTICATOR, NAS_IDENTIFIER, PROMPT, PROXY_STATE, REPLY_MESSAGE, SESSION_TIMEOUT, STATE, USER_NAME,
    USER_PASSWORD, VENDOR_SPECIFIC,
};
use portcullis::radius::crypto::SharedSecret;
use portcullis::radius::exchange::{Exchange, Patience, Target, Transport};
use portcullis::radius::login::{Login, Method, Outcome};
use portcullis::radius::packet::{Packet, Writer};
use portcullis::secret::Secret;

use crate::server::{SECRET, Server, kinds, table, values};
use crate::vectors::Vectors;

// Sections 5.2 and 7: the examples.

/// What every Access-Reject says.
const REJECT_TEXT: &str = "Login failed.";

#[test]
fn examples_reveal_their_passwords() {
    let vectors = Vectors::load("rfc2865.txt");
    let secret = SharedSecret::new(&vectors.secret);
    for (name, user, password) in [
        ("telnet request", "nemo", "arctangent"),
        ("token request", "mopsy", "challenge"),
        ("token answer", "mopsy", "99101462"),
    ] {
        let packet = Packet::parse(vectors.packet(name)).unwrap();
        assert_eq!(packet.find(USER_NAME), Some(user.as_bytes()), "{name}");
        let hidden = packet.find(USER_PASSWORD).unwrap();
        let revealed = secret.reveal(hidden, packet.authenticator()).unwrap();
        assert_eq!(revealed.expose(), password.as_bytes(), "{name}");
        let again = secret.hide(&Secret::new(password), packet.authenticator()).unwrap();
        assert_eq!(again, hidden, "{name}");
    }
}

#[test]
fn examples_have_right_response_authenticators() {
    let vectors = Vectors::load("rfc2865.txt");
    let secret = SharedSecret::new(&vectors.secret);
    for (request, reply) in [
        ("telnet request", "telnet accept"),
        ("chap request", "chap accept"),
        ("token request", "token challenge"),
        ("token answer", "token reject"),
    ] {
        let request = Packet::parse(vectors.packet(request)).unwrap();
        let octets = vectors.packet(reply);
        assert!(
            secret.proves_response(&Packet::parse(octets).unwrap(), request.authenticator()),
            "{reply}"
        );
        // The same reply, written here, has the same octets.
        let view = Packet::parse(octets).unwrap();
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(
            &mut buffer,
            view.code(),
            view.identifier(),
            request.authenticator(),
            false,
        );
        for attribute in view.attributes() {
            writer.push(attribute.kind, attribute.value).unwrap();
        }
        writer.finish_reply(&secret);
        assert_eq!(buffer, octets, "{reply}");
    }
}

// Section 3: packets that are silently discarded.

#[tokio::test]
async fn what_is_no_packet_is_silence() {
    let server = Server::start("");
    let wire = server.wire().await;
    let good = wire.login(1, "ana", "hunter2", &[]);
    for length in [0, 1, 19, good.len() - 1] {
        wire.expect_silence(&good[..length]).await;
    }
    for code in [0, 2, 3, 4, 11, 40, 255] {
        let mut other = good.clone();
        other[0] = code;
        wire.expect_silence(&other).await;
    }
    let mut long = vec![0; 4097];
    long[..4].copy_from_slice(&[1, 1, 0x10, 0x01]);
    wire.expect_silence(&long).await;
    let mut attribute = good.clone();
    let at = good.len() - 18;
    attribute[at + 1] = 1;
    wire.expect_silence(&attribute).await;
    assert_eq!(server.stub.calls("ana"), 0);
    assert_eq!(server.counted("reason=\"malformed\""), 6);
}

#[tokio::test]
async fn padding_is_ignored() {
    let server = Server::start("");
    let wire = server.wire().await;
    let mut padded = wire.login(1, "ana", "hunter2", &[]);
    padded.resize(4500, 0xff);
    wire.send(&padded).await;
    assert_eq!(wire.receive().await[0], ACCESS_ACCEPT);
}

#[tokio::test]
async fn strangers_get_no_answer() {
    let server = Server::start("");
    let wire = server.wire().await;
    let request = wire.login(1, "ana", "hunter2", &[]);
    let known = server.clients.load_full();
    server.clients.store(Default::default());
    wire.send(&request).await;
    while server.counted("reason=\"unknown-client\"") == 0 {
        tokio::task::yield_now().await;
    }
    server.clients.store(known);
    assert_eq!(
        wire.ask(&request).await[0],
        ACCESS_ACCEPT,
        "known again after the table was swapped"
    );
    assert_eq!(server.stub.calls("ana"), 1);
}

#[tokio::test]
async fn a_secret_changes_with_the_table() {
    let server = Server::start("");
    let wire = server.wire().await;
    server.clients.store(table("", "another").into());
    wire.send(&wire.login(1, "ana", "hunter2", &[])).await;
    while server.counted("reason=\"bad-message-authenticator\"") == 0 {
        tokio::task::yield_now().await;
    }
    server.clients.store(table("", SECRET).into());
    wire.expect_nothing_before_status().await;
    assert_eq!(server.stub.calls("ana"), 0);
}

// Sections 4.1 and 5: requests that are refused, with one text, whatever is wrong.

#[tokio::test]
async fn contradictory_and_unsupported_requests_are_refused() {
    let server = Server::start("");
    let wire = server.wire().await;
    let hidden = wire.hidden("hunter2");
    let empty = wire.hidden("");
    let name: (u8, &[u8]) = (USER_NAME, b"ana");
    let password: (u8, &[u8]) = (USER_PASSWORD, &hidden);
    let chap: (u8, &[u8]) = (CHAP_PASSWORD, &[1; 17]);
    let ms_chap: (u8, &[u8]) = (VENDOR_SPECIFIC, &[0, 0, 1, 55, 1, 4, 1, 2]);
    let cases: [&[(u8, &[u8])]; 16] = [
        &[password],
        &[(USER_NAME, b""), password],
        &[name, name, password],
        &[name, password, password],
        &[name, password, chap],
        &[name, password, ms_chap],
        &[name, chap, chap],
        &[name, chap, ms_chap],
        &[name, ms_chap],
        &[name],
        &[name, (USER_PASSWORD, &empty)],
        &[(USER_NAME, b"an\0a"), password],
        &[(USER_NAME, b"ana\n"), password],
        &[(USER_NAME, b"\xff\xfe"), password],
        &[name, password, (STATE, b"1"), (STATE, b"2")],
        &[name, password, (STATE, b"not one of ours")],
    ];
    for (identifier, attributes) in (0..).zip(cases) {
        let reply = wire.ask(&wire.request(identifier, attributes)).await;
        assert_eq!(reply[0], ACCESS_REJECT, "case {identifier}");
        assert_eq!(
            kinds(&reply),
            [MESSAGE_AUTHENTICATOR, REPLY_MESSAGE],
            "case {identifier}"
        );
        assert_eq!(values(&reply, REPLY_MESSAGE), [REJECT_TEXT.as_bytes()]);
    }
    assert_eq!(server.stub.calls("ana"), 0, "nobody was asked");
    assert_eq!(server.counted("decisions_total"), 16);
    let wrong = wire.ask(&wire.login(100, "ana", "wrong", &[])).await;
    assert_eq!(
        values(&wrong, REPLY_MESSAGE),
        [REJECT_TEXT.as_bytes()],
        "one and the same text"
    );
}

#[tokio::test]
async fn a_password_of_wrong_length_is_silence() {
    let server = Server::start("");
    let wire = server.wire().await;
    for length in [0, 15, 17, 144] {
        let password = vec![1; length];
        let request = wire.request(1, &[(USER_NAME, b"ana"), (USER_PASSWORD, &password)]);
        wire.expect_silence(&request).await;
    }
    assert_eq!(server.stub.calls("ana"), 0);
}

// Sections 5.3, 5.40 and 7.2: CHAP.

#[tokio::test]
async fn the_chap_example_is_answered_for_its_password() {
    let vectors = Vectors::load("rfc2865.txt");
    let server = Server::start("");
    let secret = vectors.secret.expose_str().unwrap();
    // The example predates Message-Authenticator.
    let client = "require_message_authenticator = 'no'\nsend_message_authenticator = false";
    server.clients.store(table(client, secret).into());
    let wire = server.wire().await;
    wire.send(vectors.packet("chap request")).await;
    assert_eq!(wire.receive().await[0], ACCESS_ACCEPT);
    // One octet of what is the challenge as well, and it is another challenge.
    let mut altered = vectors.packet("chap request").to_vec();
    altered[4] ^= 1;
    wire.send(&altered).await;
    assert_eq!(wire.receive().await[0], ACCESS_REJECT);
    assert_eq!(server.stub.calls("flopsy"), 2);
}

#[tokio::test]
async fn the_challenge_may_come_in_an_attribute() {
    let server = Server::start("");
    let wire = server.wire().await;
    for (identifier, challenge) in (1..).zip([&[7; 5][..], &[8; 16], &[9; 253]]) {
        let mut value = vec![identifier];
        value.extend(Chap::response(identifier, &Secret::new("hunter2"), challenge));
        let attributes: [(u8, &[u8]); 3] = [
            (USER_NAME, b"ana"),
            (CHAP_PASSWORD, &value),
            (CHAP_CHALLENGE, challenge),
        ];
        let reply = wire.ask(&wire.request(identifier, &attributes)).await;
        assert_eq!(reply[0], ACCESS_ACCEPT, "{}", challenge.len());
        // The same to the Request Authenticator is wrong.
        let reply = wire.ask(&wire.request(identifier + 100, &attributes[..2])).await;
        assert_eq!(reply[0], ACCESS_REJECT);
    }
}

#[tokio::test]
async fn chap_of_wrong_length_is_silence() {
    let server = Server::start("");
    let wire = server.wire().await;
    for (password, challenge) in [(16, 16), (18, 16), (0, 16), (17, 4), (17, 0)] {
        let (password, challenge) = (vec![1; password], vec![2; challenge]);
        let attributes: [(u8, &[u8]); 3] = [
            (USER_NAME, b"ana"),
            (CHAP_PASSWORD, &password),
            (CHAP_CHALLENGE, &challenge),
        ];
        wire.expect_silence(&wire.request(1, &attributes)).await;
    }
    assert_eq!(server.stub.calls("ana"), 0);
}

// Section 5.2.

#[tokio::test]
async fn the_password_arrives_as_it_was_typed() {
    let server = Server::start("");
    let wire = server.wire().await;
    for (identifier, typed) in [b"a\0b".as_slice(), b"\xff\x00\xfe", "pässword".as_bytes(), &[b'x'; 128]]
        .into_iter()
        .enumerate()
    {
        let hidden = wire.secret.hide(&Secret::new(typed), &[9; 16]).unwrap();
        let request = wire.request(
            u8::try_from(identifier).unwrap(),
            &[(USER_NAME, b"ana"), (USER_PASSWORD, &hidden)],
        );
        assert_eq!(wire.ask(&request).await[0], ACCESS_REJECT);
        assert!(matches!(server.stub.last().given, Given::Typed(last) if last.matches(typed)));
    }
}

#[tokio::test]
async fn the_origin_of_a_request_is_known() {
    let server = Server::start("service = 'remote'\nprofile = 'append'\nappend = { digits = 6 }");
    let wire = server.wire().await;
    let more: [(u8, &[u8]); 2] = [(NAS_IDENTIFIER, b"gate-1"), (CALLING_STATION_ID, b"bad\nlines")];
    assert_eq!(
        wire.ask(&wire.login(1, " Ana ", "hunter2", &more)).await[0],
        ACCESS_ACCEPT
    );
    let request = server.stub.last();
    assert_eq!(request.login.as_str(), "ana");
    assert_eq!(request.capability, Capability::Append(Split::Fixed(6)));
    let origin = request.origin;
    assert_eq!(
        (&*origin.service, &*origin.client, &*origin.directory, origin.protocol),
        ("remote", "vpn", "table", Protocol::Radius)
    );
    assert_eq!(origin.source.to_string(), "127.0.0.1");
    assert_eq!(origin.nas_identifier.as_deref(), Some("gate-1"));
    assert_eq!(origin.calling_station, None);
    assert!(!origin.encrypted());
}

// Section 5.33.

#[tokio::test]
async fn every_proxy_state_comes_back_in_order() {
    let server = Server::start("");
    let wire = server.wire().await;
    let long = [7; 253];
    let states: [&[u8]; 4] = [b"first", &long, b"", b"first"];
    let more: Vec<(u8, &[u8])> = states.iter().map(|state| (PROXY_STATE, *state)).collect();
    for (identifier, (user, code)) in (0..).zip([
        ("ana", ACCESS_ACCEPT),
        ("bob", ACCESS_CHALLENGE),
        ("nobody", ACCESS_REJECT),
    ]) {
        let reply = wire.ask(&wire.login(identifier, user, "hunter2", &more)).await;
        assert_eq!(reply[0], code);
        assert_eq!(values(&reply, PROXY_STATE), states, "{user}");
    }
}

#[tokio::test]
async fn a_reply_gives_up_its_text_before_proxy_state() {
    let server = Server::start("");
    let wire = server.wire().await;
    let (full, rest) = ([1; 253], [2; 200]);
    let mut more: Vec<(u8, &[u8])> = vec![(PROXY_STATE, &full); 15];
    more.push((PROXY_STATE, &rest));
    for (identifier, (user, code)) in (0..).zip([
        ("chatty", ACCESS_ACCEPT),
        ("bob", ACCESS_REJECT),
        ("nobody", ACCESS_REJECT),
    ]) {
        let reply = wire.ask(&wire.login(identifier, user, "hunter2", &more)).await;
        assert_eq!(reply[0], code, "{user}");
        assert_eq!(values(&reply, PROXY_STATE).len(), 16, "{user}");
    }
}

// Section 5.18.

#[tokio::test]
async fn long_texts_take_several_attributes() {
    let server = Server::start("");
    let wire = server.wire().await;
    let reply = wire.ask(&wire.login(1, "chatty", "x", &[])).await;
    let pieces = values(&reply, REPLY_MESSAGE);
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces.concat(), "ä".repeat(300).as_bytes());
    assert!(pieces.iter().all(|piece| std::str::from_utf8(piece).is_ok()));
}

// Sections 4.4 and 5.24: challenges.

#[tokio::test]
async fn a_dialog_goes_on_for_its_client_only() {
    let server = Server::start("");
    let wire = server.wire().await;
    let challenge = wire.ask(&wire.login(1, "bob", "hunter2", &[(PROXY_STATE, b"p")])).await;
    assert_eq!(challenge[0], ACCESS_CHALLENGE);
    assert_eq!(
        kinds(&challenge),
        [
            MESSAGE_AUTHENTICATOR,
            REPLY_MESSAGE,
            STATE,
            PROMPT,
            SESSION_TIMEOUT,
            PROXY_STATE
        ]
    );
    assert_eq!(values(&challenge, PROMPT), [[0, 0, 0, 0]]);
    let timeout = u32::from_be_bytes(values(&challenge, SESSION_TIMEOUT)[0].as_slice().try_into().unwrap());
    assert!((100..=120).contains(&timeout), "{timeout}");
    let state = &values(&challenge, STATE)[0];
    let again = wire.ask(&wire.login(2, "bob", "hunter2", &[])).await;
    assert_ne!(&values(&again, STATE)[0], state, "new on every round");

    let mut altered = state.clone();
    *altered.last_mut().unwrap() ^= 1;
    let spoilt = wire.ask(&wire.login(3, "bob", "492039", &[(STATE, &altered)])).await;
    assert_eq!(spoilt[0], ACCESS_REJECT);

    // The same dialog, sealed for another client entry, and under another key.
    let dialog = Dialog::open(state, &server.keyring, b"vpn", clock::now()).unwrap();
    let elsewhere = dialog.seal(&server.keyring, b"wifi", clock::now()).unwrap();
    let foreign = dialog
        .seal(&Keyring::from_root(&[6; 32]), b"vpn", clock::now())
        .unwrap();
    for (identifier, state) in [(4, elsewhere), (5, foreign)] {
        let reply = wire
            .ask(&wire.login(identifier, "bob", "492039", &[(STATE, &state)]))
            .await;
        assert_eq!(reply[0], ACCESS_REJECT);
    }
    assert_eq!(server.stub.calls("bob"), 2, "only the first rounds were judged");

    let accept = wire.ask(&wire.login(6, "bob", "492039", &[(STATE, state)])).await;
    assert_eq!(accept[0], ACCESS_ACCEPT);
    assert_eq!(values(&accept, REPLY_MESSAGE), [b"Welcome."]);
    assert!(server.stub.last().dialog.is_some());
}

#[tokio::test]
async fn no_challenge_for_a_client_that_cannot_show_one() {
    for profile in ["none", "append"] {
        let server = Server::start(&format!("profile = '{profile}'"));
        let wire = server.wire().await;
        let reply = wire.ask(&wire.login(1, "bob", "hunter2", &[])).await;
        assert_eq!(reply[0], ACCESS_REJECT, "{profile}");
    }
}

#[tokio::test]
async fn a_dialog_that_does_not_fit_is_refused() {
    let server = Server::start("");
    let wire = server.wire().await;
    let reply = wire.ask(&wire.login(1, "long", "hunter2", &[])).await;
    assert_eq!(reply[0], ACCESS_REJECT);
}

// The client's side.

fn client(server: &Server, secret: &str, patience: Patience) -> Login {
    let target = Target {
        address: server.address,
        transport: Transport::Udp(SharedSecret::new(&Secret::new(secret))),
        signed_replies: true,
    };
    Login::new(Exchange::connect(target, patience))
}

fn said(outcome: &Outcome) -> (&'static str, Vec<String>) {
    match outcome {
        Outcome::Accept(reply) => ("accept", reply.messages()),
        Outcome::Unproven(reply) => ("unproven", reply.messages()),
        Outcome::Reject(reply) => ("reject", reply.messages()),
        Outcome::Abandoned => ("abandoned", vec![]),
        Outcome::Timeout { unproven } => ("timeout", vec![unproven.to_string()]),
    }
}

#[tokio::test]
async fn our_own_client_walks_through_a_challenge() {
    let server = Server::start("");
    let login = client(&server, SECRET, Patience::default());
    let password = Secret::new("hunter2");
    let mut asked = Vec::new();
    let outcome = login
        .login("bob", &password, |challenge| {
            asked.push(challenge.clone());
            Some(Secret::new("492039"))
        })
        .await
        .unwrap();
    assert_eq!(said(&outcome), ("accept", vec!["Welcome.".into()]));
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].messages, ["Enter the 6-digit code"]);
    assert!(!asked[0].echo);

    let outcome = login.login("bob", &password, |_| None).await.unwrap();
    assert!(matches!(outcome, Outcome::Abandoned));
    let outcome = login.login("ana", &Secret::new("no"), |_| None).await.unwrap();
    assert_eq!(said(&outcome), ("reject", vec![REJECT_TEXT.into()]));
    assert!(login.status().await.unwrap());
}

#[tokio::test]
async fn our_own_client_speaks_chap_and_ms_chap() {
    let server = Server::start("");
    for method in [Method::Chap, Method::MsChapV2] {
        let login = client(&server, SECRET, Patience::default()).method(method);
        for (password, expected) in [("hunter2", "accept"), ("hunter3", "reject")] {
            let outcome = login.login("ana", &Secret::new(password), |_| None).await.unwrap();
            assert_eq!(said(&outcome).0, expected, "{method:?}");
        }
    }
    // A server that knows nobody's password and lets them in.
    let login = client(&server, SECRET, Patience::default()).method(Method::MsChapV2);
    let outcome = login.login("liar", &Secret::new("hunter2"), |_| None).await.unwrap();
    assert_eq!(said(&outcome).0, "unproven");
}

#[tokio::test]
async fn our_own_client_believes_nobody_else() {
    let server = Server::start("require_message_authenticator = 'no'");
    let login = client(&server, "wrong", Patience::steady(Duration::from_millis(50), 2));
    let outcome = login.login("ana", &Secret::new("hunter2"), |_| None).await.unwrap();
    assert_eq!(
        said(&outcome),
        ("timeout", vec!["0".into()]),
        "a wrong signature gets no answer"
    );
}

#[tokio::test]
async fn ipv6_and_wildcard_addresses() {
    for (address, client) in [
        ("[::1]:0", "IPv6"),
        ("0.0.0.0:0", "wildcard"),
        ("[::]:0", "IPv6 wildcard"),
    ] {
        let server = Server::listen(address, "", "");
        let wire = server.wire().await;
        let reply = wire.ask(&wire.login(1, "ana", "hunter2", &[])).await;
        assert_eq!(reply[0], ACCESS_ACCEPT, "{client}");
    }
}

#[tokio::test]
async fn a_reply_leaves_from_the_address_that_was_asked() {
    let server = Server::listen("0.0.0.0:0", "", "");
    let wire = server.wire().await;
    // A connected socket takes datagrams from this very address only.
    let second: std::net::SocketAddr = ([127, 0, 0, 2], server.address.port()).into();
    wire.socket.connect(second).await.unwrap();
    let reply = wire.ask(&wire.login(1, "ana", "hunter2", &[])).await;
    assert_eq!(reply[0], ACCESS_ACCEPT);
}
