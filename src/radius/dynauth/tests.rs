use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::*;
use crate::config;
use crate::dictionary::Dictionary;
use crate::engine::texts::Texts;
use crate::radius::attribute::{COA_REQUEST, DISCONNECT_REQUEST, NAS_IDENTIFIER, USER_NAME};
use crate::radius::crypto::Signature;
use crate::radius::packet::{Packet, Writer};

const SECRET: &str = "a secret of 22 octets.";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const ACCT_SESSION_ID: u8 = 44;

/// A NAS that answers each request as `answer` says: code, Error-Cause, secret. Whatever came is handed
/// out in the end.
struct Nas {
    port: u16,
    seen: JoinHandle<Vec<Vec<u8>>>,
    stop: tokio::sync::oneshot::Sender<()>,
}

type Answer = (u8, Option<u32>, &'static str);

impl Nas {
    async fn start(answer: impl Fn(&Packet<'_>) -> Option<Answer> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let seen = tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut buffer = vec![0; 4096];
            loop {
                let (length, from) = tokio::select! {
                    received = socket.recv_from(&mut buffer) => received.unwrap(),
                    _ = &mut stopped => return seen,
                };
                let packet = Packet::parse(&buffer[..length]).unwrap();
                seen.push(buffer[..length].to_vec());
                let Some((code, cause, secret)) = answer(&packet) else {
                    continue;
                };
                let mut octets = Vec::new();
                let mut writer = Writer::begin(&mut octets, code, packet.identifier(), packet.authenticator(), false);
                if let Some(cause) = cause {
                    writer.push(ERROR_CAUSE, &cause.to_be_bytes()).unwrap();
                }
                writer.finish_reply(&SharedSecret::new(&Secret::new(secret)));
                socket.send_to(&octets, from).await.unwrap();
            }
        });
        Self { port, seen, stop }
    }

    async fn seen(self) -> Vec<Vec<u8>> {
        self.stop.send(()).unwrap();
        self.seen.await.unwrap()
    }
}

/// One client of that name, with these lines of `dynamic_authorization`.
fn client(name: &str, net: &str, lines: Option<String>) -> config::Client {
    let dynamic = lines.map_or_else(String::new, |lines| format!("[dynamic_authorization]\n{lines}"));
    let text = format!("name = \"{name}\"\naddress = [\"{net}\"]\n{dynamic}");
    toml::from_str(&text).unwrap()
}

fn table(clients: &[config::Client]) -> ClientTable {
    let secret = Secret::new(SECRET);
    let entries = clients.iter().map(|client| (client, &secret, Arc::from("main")));
    ClientTable::build(entries, &Texts::default()).unwrap()
}

fn one(port: u16, lines: &str) -> ClientTable {
    table(&[client("vpn", "127.0.0.0/8", Some(format!("port = {port}\n{lines}")))])
}

fn identity(id: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for (kind, value) in [
        (USER_NAME, "ana"),
        (NAS_IDENTIFIER, "edge"),
        (CLASS, "opaque"),
        (30, "called"),
        (ACCT_SESSION_ID, id),
        (60, "not a name of anything"),
    ] {
        octets.extend_from_slice(&[kind, u8::try_from(value.len() + 2).unwrap()]);
        octets.extend_from_slice(value.as_bytes());
    }
    octets
}

fn session(client: &str, id: &str) -> Named {
    Named {
        client: client.into(),
        source: [127, 0, 0, 1].into(),
        encrypted: false,
        identity: identity(id),
    }
}

/// As RFC 5176 sections 2.3 and 3.4 want it: both computed with zeros for the authenticator.
fn is_signed_by(secret: &SharedSecret, packet: &Packet<'_>) -> bool {
    secret.reply_signature(packet, &[0; 16]) == Signature::Valid && secret.proves_response(packet, &[0; 16])
}

fn attributes(octets: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let packet = Packet::parse(octets).unwrap();
    packet
        .attributes()
        .map(|attribute| (attribute.kind, attribute.value.to_vec()))
        .collect()
}

#[tokio::test]
async fn a_session_is_named_as_its_client_knows_it() {
    let nas = Nas::start(|_| Some((DISCONNECT_ACK, None, SECRET))).await;
    let clients = one(nas.port, "");
    let outcomes = ask(vec![(session("vpn", "7"), Wish::End)], &clients, NOW).await;
    assert_eq!(outcomes, [Outcome::Acknowledged]);
    let seen = nas.seen().await;
    let packet = Packet::parse(&seen[0]).unwrap();
    assert_eq!(packet.code(), DISCONNECT_REQUEST);
    let secret = SharedSecret::new(&Secret::new(SECRET));
    assert!(packet.signed_first());
    assert!(is_signed_by(&secret, &packet));
    let named: Vec<(u8, Vec<u8>)> = attributes(&seen[0]).split_off(1);
    assert_eq!(
        named,
        [
            (USER_NAME, b"ana".to_vec()),
            (NAS_IDENTIFIER, b"edge".to_vec()),
            (ACCT_SESSION_ID, b"7".to_vec()),
            (EVENT_TIMESTAMP, 1_700_000_000u32.to_be_bytes().to_vec()),
        ]
    );
}

#[tokio::test]
async fn the_configuration_chooses_what_names_it() {
    let nas = Nas::start(|packet| {
        let ack = if packet.code() == COA_REQUEST {
            COA_ACK
        } else {
            DISCONNECT_ACK
        };
        Some((ack, None, SECRET))
    })
    .await;
    let clients = one(
        nas.port,
        "message_authenticator = false\nattributes = [\"Acct-Session-Id\", \"Class\"]",
    );
    let pair = |name: &str, value: &str| Dictionary::shipped().pair(name, value).unwrap();
    let change = vec![pair("Filter-Id", "vpn"), pair("Framed-IP-Address", "192.0.2.1")];
    for wish in [Wish::End, Wish::Change(change)] {
        let outcomes = ask(vec![(session("vpn", "7"), wish)], &clients, NOW).await;
        assert_eq!(outcomes, [Outcome::Acknowledged]);
    }
    let seen = nas.seen().await;
    let kinds = |octets: &[u8]| -> Vec<u8> { attributes(octets).into_iter().map(|(kind, _)| kind).collect() };
    assert_eq!(kinds(&seen[0]), [CLASS, ACCT_SESSION_ID, EVENT_TIMESTAMP]);
    assert_eq!(
        kinds(&seen[1]),
        [ACCT_SESSION_ID, EVENT_TIMESTAMP, 11],
        "a Class would be a change, and an address cannot be changed"
    );
}

#[tokio::test]
async fn refusals_have_names() {
    let nas = Nas::start(|packet| {
        let cause = match packet.find(ACCT_SESSION_ID) {
            Some(b"1") => Some(503),
            Some(b"2") => Some(4711),
            _ => None,
        };
        Some((DISCONNECT_NAK, cause, SECRET))
    })
    .await;
    let clients = one(nas.port, "");
    let questions = ["1", "2", "3"].map(|id| (session("vpn", id), Wish::End));
    let told: Vec<String> = ask(questions.to_vec(), &clients, NOW)
        .await
        .iter()
        .map(|outcome| format!("{}: {outcome}", outcome.word()))
        .collect();
    assert_eq!(
        told,
        [
            "refused: Session-Context-Not-Found (503)",
            "refused: Error-Cause 4711",
            "refused: no Error-Cause given"
        ]
    );
}

#[tokio::test]
async fn a_client_that_is_silent_holds_up_nobody_else() {
    let dead = Nas::start(|_| None).await;
    let lively = Nas::start(|_| Some((DISCONNECT_ACK, None, SECRET))).await;
    let clients = table(&[
        client(
            "dead",
            "127.0.0.1",
            Some(format!("port = {}\ntries = 2\ntimeout = \"150ms\"", dead.port)),
        ),
        client("lively", "127.0.0.2", Some(format!("port = {}", lively.port))),
    ]);
    let many = AT_ONCE_EACH * 4;
    let mut questions = vec![(session("dead", "x"), Wish::End); many];
    questions.push((session("lively", "y"), Wish::End));
    let outcomes = ask(questions, &clients, NOW).await;
    assert_eq!(outcomes.last(), Some(&Outcome::Acknowledged));
    let silent = outcomes
        .iter()
        .filter(|outcome| **outcome == Outcome::Silent { unproven: 0 })
        .count();
    assert_eq!(silent, AT_ONCE_EACH, "the others are not even sent");
    assert_eq!(outcomes[many - 1], Outcome::GivenUp);
    let seen = dead.seen().await;
    assert_eq!(seen.len(), AT_ONCE_EACH * 2, "each twice");
    for octets in &seen {
        let same = seen.iter().filter(|other| *other == octets).count();
        assert_eq!(same, 2, "octet for octet");
    }
    assert_eq!(lively.seen().await.len(), 1);
}

#[tokio::test]
async fn an_answer_with_another_secret_proves_nothing() {
    let nas = Nas::start(|_| Some((DISCONNECT_ACK, None, "another secret"))).await;
    let clients = one(nas.port, "tries = 1\ntimeout = \"1s\"");
    let outcomes = ask(vec![(session("vpn", "7"), Wish::End)], &clients, NOW).await;
    assert_eq!(outcomes, [Outcome::Silent { unproven: 1 }]);
    assert!(outcomes[0].to_string().contains("shared secret"));
}

#[tokio::test]
async fn a_secret_of_its_own_and_another_address() {
    const OTHER: &str = "the secret of the other door";
    let nas = Nas::start(|packet| {
        let other = SharedSecret::new(&Secret::new(OTHER));
        assert!(is_signed_by(&other, packet));
        Some((DISCONNECT_ACK, None, OTHER))
    })
    .await;
    let clients = one(nas.port, &format!("address = \"127.0.0.1\"\nsecret = \"{OTHER}\""));
    let elsewhere = Named {
        source: [192, 0, 2, 1].into(),
        encrypted: true,
        ..session("vpn", "7")
    };
    let outcomes = ask(vec![(elsewhere, Wish::End)], &clients, NOW).await;
    assert_eq!(outcomes, [Outcome::Acknowledged]);
}

#[tokio::test]
async fn what_cannot_be_asked_is_said() {
    let clients = table(&[
        client("vpn", "127.0.0.1", Some("port = 9".into())),
        client("plain", "127.0.0.2", None),
    ]);
    let nameless = Named {
        identity: identity("7")[..11].to_vec(),
        ..session("vpn", "7")
    };
    let over_tls = Named {
        encrypted: true,
        ..session("vpn", "7")
    };
    let only_nas = Named {
        identity: [&[NAS_IDENTIFIER, 6][..], b"edge"].concat(),
        ..session("vpn", "7")
    };
    let nothing = Named {
        identity: Vec::new(),
        ..nameless
    };
    for (session, lack) in [
        (session("gone", "7"), Lack::Gone),
        (session("plain", "7"), Lack::Unconfigured),
        (over_tls, Lack::OverTls),
        (only_nas, Lack::Nameless),
        (nothing, Lack::Nameless),
    ] {
        let outcomes = ask(vec![(session, Wish::End)], &clients, NOW).await;
        assert_eq!(outcomes, [Outcome::Unsupported(lack)]);
    }
}

#[test]
fn three_tries_of_three_seconds() {
    assert_eq!(
        Duration::from_secs(9),
        Settings::new(&toml::from_str("").unwrap(), &Secret::new(SECRET))
            .patience
            .total
    );
}

#[tokio::test]
async fn what_a_client_says_forges_no_lines() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let clients = one(socket.local_addr().unwrap().port(), "");
    let nas = async {
        let mut buffer = vec![0; 4096];
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let packet = Packet::parse(&buffer[..length]).unwrap();
        let mut octets = Vec::new();
        let (identifier, authenticator) = (packet.identifier(), packet.authenticator());
        let mut writer = Writer::begin(&mut octets, DISCONNECT_NAK, identifier, authenticator, false);
        writer.push(REPLY_MESSAGE, b"no\nacknowledged\x1b[2J").unwrap();
        writer.finish_reply(&SharedSecret::new(&Secret::new(SECRET)));
        socket.send_to(&octets, from).await.unwrap();
    };
    let question = vec![(session("vpn", "1"), Wish::End)];
    let (outcomes, ()) = tokio::join!(ask(question, &clients, NOW), nas);
    let text = outcomes[0].to_string();
    assert!(matches!(outcomes[0], Outcome::Refused { .. }));
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
