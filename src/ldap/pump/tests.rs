//! Both directions over streams that hold little, cut wherever chance has it.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::ber::{self, INTEGER, SEQUENCE};
use crate::config::Anonymous;
use crate::ldap::sasl::Offered;
use crate::ldap::session::Rules;

/// A message with a long form of its length, which must survive.
fn message(id: i32, operation: u8, content: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    ber::write_integer(INTEGER, id, &mut body);
    ber::write(operation, content, &mut body);
    let mut out = vec![SEQUENCE, 0x84];
    out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend(body);
    out
}

/// What reaches the server of `requests`, what reaches the client of `answers`, and how it ended.
fn moved(requests: &[u8], answers: &[u8], cuts: &[usize]) -> (Vec<u8>, Vec<u8>, Event) {
    const LIMITS: Limits = Limits {
        before_bind: 1 << 20,
        after_bind: 1 << 20,
    };
    let rules = Rules {
        allow_plaintext: true,
        anonymous: Anonymous::Yes,
        start_tls: false,
        sasl: Offered::default(),
        relayed: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let session = Session::new(rules, true);
        let (client, near) = duplex(300);
        let (far, server) = duplex(700);
        let mut pump = Pump::new(near, LIMITS, Counter::default());
        pump.server = Some(Port::new(far));
        let (mut from_client, mut to_client) = tokio::io::split(client);
        let (mut from_server, mut to_server) = tokio::io::split(server);
        let asking = async {
            for piece in pieces(requests, cuts) {
                to_client.write_all(piece).await.unwrap();
            }
            to_client
        };
        let answering = async {
            let mut seen = vec![0; requests.len()];
            from_server.read_exact(&mut seen).await.unwrap();
            for piece in pieces(answers, cuts) {
                if to_server.write_all(piece).await.is_err() {
                    break;
                }
            }
            let _ = to_server.shutdown().await;
            seen
        };
        let reading = async {
            let mut seen = Vec::new();
            let _ = from_client.read_to_end(&mut seen).await;
            seen
        };
        let pumping = async {
            let event = pump.run(&session, Mode::Run).await;
            drop(pump);
            event
        };
        let all = async { tokio::join!(asking, answering, reading, pumping) };
        let (_open, up, down, event) = tokio::time::timeout(Duration::from_secs(60), all).await.unwrap();
        (up, down, event)
    })
}

/// The same octets in pieces as long as `cuts` say.
fn pieces<'a>(octets: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = octets;
    cuts.iter().cycle().map_while(move |cut| {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// The answers of a server to searches 1 to 5: entries of any size in any order, and the end of each.
fn answers() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let size = prop_oneof![4 => 0usize..200, 1 => 1000usize..9000, 1 => Just(CAPACITY + 100)];
    prop::collection::vec((1i32..6, prop::sample::select(vec![0x64u8, 0x73, 0x79]), size), 0..12).prop_map(|entries| {
        let mut all: Vec<Vec<u8>> = entries
            .iter()
            .map(|(id, operation, size)| message(*id, *operation, &vec![b'x'; *size]))
            .collect();
        all.extend((1..6).map(|id| message(id, 0x65, b"\x0a\x01\x00\x04\x00\x04\x00")));
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_octet_passes_in_order(answers in answers(), cuts in prop::collection::vec(1usize..3000, 1..20), large in 0usize..100_000) {
        let requests: Vec<u8> = (1..6).flat_map(|id| message(id, 0x63, &vec![b'q'; large / usize::try_from(id).unwrap()])).collect();
        let sent = answers.concat();
        let (up, down, event) = moved(&requests, &sent, &cuts);
        prop_assert!(up == requests && down == sent);
        prop_assert!(matches!(event, Event::ServerGone));
    }

    #[test]
    fn of_a_server_that_goes_astray_whole_messages_pass_and_no_more(
        answers in answers(),
        cuts in prop::collection::vec(1usize..3000, 1..20),
        at in any::<prop::sample::Index>(),
        octets in prop::collection::vec(any::<u8>(), 1..40),
        goodbye in any::<bool>(),
    ) {
        let requests: Vec<u8> = (1..6).flat_map(|id| message(id, 0x63, b"q")).collect();
        let before = answers[..at.index(answers.len())].concat();
        let mut sent = before.clone();
        let mut passed = before.clone();
        if goodbye {
            let mut notice = Vec::new();
            crate::ldap::reply::notice_of_disconnection(crate::ldap::reply::Code::Busy, "later", &mut notice);
            sent.extend_from_slice(&notice);
            passed.extend_from_slice(&notice);
        } else {
            // No identifier of a message: nothing behind it can be trusted.
            sent.push(0x31);
        }
        sent.extend_from_slice(&octets);
        let (_, down, event) = moved(&requests, &sent, &cuts);
        prop_assert!(down == passed, "{} of {} octets", down.len(), passed.len());
        prop_assert!(matches!(event, Event::Dismissed) == goodbye);
    }
}
