//! RFC 6613: RADIUS over TCP, and what holds for TLS as well: closing rules, limits, order of replies.

use std::time::Duration;

use portcullis::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REJECT, MESSAGE_AUTHENTICATOR, PROXY_STATE, STATE, USER_NAME,
};
use portcullis::radius::crypto::SharedSecret;
use portcullis::radius::packet::Packet;
use portcullis::secret::Secret;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::server::{PATIENCE, SECRET, kinds, request, values};
use crate::stream::{ANYWHERE, Line, Server, clients};

#[tokio::test]
async fn packets_are_found_however_they_are_cut() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    let (one, two) = (line.login(1, "ana", "hunter2", &[]), line.login(2, "ana", "wrong", &[]));
    line.send(&[&one[..], &two[..30]].concat()).await;
    assert_eq!(line.receive().await[0], ACCESS_ACCEPT);
    for octet in &two[30..] {
        line.send(&[*octet]).await;
    }
    let reply = line.receive().await;
    line.check(&two, &reply);
    assert_eq!((reply[0], reply[1]), (ACCESS_REJECT, 2));
}

#[tokio::test]
async fn a_dialog_goes_on_from_connection_to_connection() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    let asked = line.login(9, "bob", "hunter2", &[(PROXY_STATE, b"p1"), (PROXY_STATE, b"p2")]);
    let challenge = line.ask(&asked).await;
    assert_eq!(challenge[0], ACCESS_CHALLENGE);
    assert_eq!(values(&challenge, PROXY_STATE), [b"p1", b"p2"]);
    let state = values(&challenge, STATE).remove(0);
    let mut other = server.connect().await;
    let answer = other.login(9, "bob", "492039", &[(STATE, &state)]);
    assert_eq!(other.ask(&answer).await[0], ACCESS_ACCEPT);
}

#[tokio::test]
async fn a_slow_request_delays_no_other() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    let slow = line.login(1, "slow", "hunter2", &[]);
    line.send(&slow).await;
    server.stub.until_waiting(1).await;
    for identifier in 2..=200 {
        let quick = line.login(identifier, "ana", "hunter2", &[]);
        assert_eq!(line.ask(&quick).await[0], ACCESS_ACCEPT);
    }
    server.stub.release(1);
    let late = line.receive().await;
    line.check(&slow, &late);
    assert_eq!(late[1], 1);
}

// Section 2.6.4.

#[tokio::test]
async fn what_cannot_be_a_packet_closes_the_connection() {
    let server = Server::tcp("", "");
    let attributes = |octets: &[u8]| {
        let mut packet = [&[1, 1, 0, 0][..], &[7; 16], octets].concat();
        let length = u16::try_from(packet.len()).unwrap();
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet
    };
    let wrong_secret = SharedSecret::new(&Secret::new("other"));
    let signed = request(1, 1, [1; 16], &wrong_secret, &[(USER_NAME, b"ana")], true);
    let unsigned = request(1, 1, [1; 16], &wrong_secret, &[(USER_NAME, b"ana")], false);
    let cases: [(Vec<u8>, &str); 8] = [
        (vec![1, 1, 0, 19, 0], "bad-length"),
        (vec![1, 1, 0x10, 1, 0], "bad-length"),
        (attributes(&[USER_NAME, 0]), "malformed"),
        (attributes(&[USER_NAME, 1]), "malformed"),
        (attributes(&[USER_NAME, 4, b'a']), "malformed"),
        (attributes(&[MESSAGE_AUTHENTICATOR, 3, 0]), "malformed"),
        (signed, "bad-message-authenticator"),
        (unsigned, "missing-message-authenticator"),
    ];
    for (octets, reason) in cases {
        let before = server.counted(reason);
        let mut line = server.connect().await;
        line.send(&octets).await;
        line.expect_close().await;
        assert_eq!(server.counted(reason), before + 1, "{reason} for {octets:02x?}");
    }
    assert_eq!(server.stub.calls("ana"), 0);
}

#[tokio::test]
async fn an_unknown_code_is_discarded_and_nothing_more() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    for code in [0, 2, 3, 11, 40, 52, 255] {
        let strange = request(code, 1, [1; 16], &line.secret, &[(USER_NAME, b"ana")], true);
        line.send(&strange).await;
    }
    let login = line.login(1, "ana", "hunter2", &[]);
    assert_eq!(line.ask(&login).await[0], ACCESS_ACCEPT);
    assert_eq!(server.counted("unexpected-code"), 7);
}

#[tokio::test]
async fn a_stranger_is_closed_at_once() {
    let server = Server::tcp("", "");
    server
        .clients
        .store(clients(&[("far", "address = ['192.0.2.1']")]).into());
    let mut line = server.connect().await;
    line.expect_close().await;
    assert_eq!(server.counted("unknown-client"), 1);
}

#[tokio::test]
async fn an_identifier_in_use_closes_the_connection() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    let (slow, again) = (
        line.login(7, "slow", "hunter2", &[]),
        line.login(7, "ana", "hunter2", &[]),
    );
    line.send(&slow).await;
    server.stub.until_waiting(1).await;
    line.send(&again).await;
    line.expect_close().await;
    assert_eq!((server.counted("identifier-in-use"), server.stub.calls("ana")), (1, 0));
    // It is free again once it was answered; an Access-Reject that is held back is no answer yet.
    let mut line = server.connect().await;
    for _ in 0..3 {
        let login = line.login(7, "ana", "hunter2", &[]);
        assert_eq!(line.ask(&login).await[0], ACCESS_ACCEPT);
    }
    server
        .clients
        .store(clients(&[("vpn", &format!("{ANYWHERE}\nreject_delay = '1h'"))]).into());
    let mut line = server.connect().await;
    let both = [line.login(8, "ana", "wrong", &[]), line.login(8, "ana", "hunter2", &[])];
    line.send(&both.concat()).await;
    line.expect_close().await;
}

#[tokio::test]
async fn the_watchdog_is_answered_while_others_wait() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    let slow = line.login(0, "slow", "hunter2", &[]);
    line.send(&slow).await;
    let status = line.status(0);
    let reply = line.ask(&status).await;
    assert_eq!((reply[0], kinds(&reply)), (ACCESS_ACCEPT, vec![MESSAGE_AUTHENTICATOR]));
}

#[tokio::test]
async fn a_reject_is_held_back_and_others_are_not() {
    let server = Server::tcp("", "reject_delay = '300ms'");
    let mut line = server.connect().await;
    let requests = [line.login(1, "ana", "wrong", &[]), line.login(2, "ana", "hunter2", &[])];
    line.send(&requests.concat()).await;
    let (first, second) = (line.receive().await, line.receive().await);
    assert_eq!(
        (first[0], first[1], second[0], second[1]),
        (ACCESS_ACCEPT, 2, ACCESS_REJECT, 1)
    );
}

#[tokio::test]
async fn what_came_before_the_end_is_answered() {
    let server = Server::tcp("", "reject_delay = '100ms'");
    let mut line = server.connect().await;
    let requests = [
        line.login(1, "slow", "hunter2", &[]),
        line.login(2, "ana", "wrong", &[]),
    ];
    line.send(&requests.concat()).await;
    line.stream.shutdown().await.unwrap();
    assert_eq!(line.receive().await[0], ACCESS_REJECT);
    server.stub.release(1);
    assert_eq!(line.receive().await[0], ACCESS_ACCEPT);
    line.expect_close().await;
}

#[tokio::test]
async fn an_outage_and_a_panic_are_silence_and_the_connection_goes_on() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    for user in ["down", "panic", "down", "panic"] {
        let unanswered = line.login(5, user, "hunter2", &[]);
        line.send(&unanswered).await;
    }
    let login = line.login(5, "ana", "hunter2", &[]);
    assert_eq!(line.ask(&login).await[0], ACCESS_ACCEPT);
    assert_eq!(server.stub.calls("panic"), 2);
}

#[tokio::test]
async fn a_client_that_a_reload_removed_is_closed_at_its_next_packet() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    let login = line.login(1, "ana", "hunter2", &[]);
    assert_eq!(line.ask(&login).await[0], ACCESS_ACCEPT);
    let changed = clients(&[("vpn", &format!("{ANYWHERE}\nservice = 'other'"))]);
    server.clients.store(changed.into());
    let login = line.login(2, "ana", "hunter2", &[]);
    assert_eq!(line.ask(&login).await[0], ACCESS_ACCEPT);
    assert_eq!(&*server.stub.last().origin.service, "other", "the new entry counts");
    server
        .clients
        .store(clients(&[("far", "address = ['192.0.2.1']")]).into());
    let login = line.login(3, "ana", "hunter2", &[]);
    line.send(&login).await;
    line.expect_close().await;
    assert_eq!((server.counted("client-removed"), server.stub.calls("ana")), (1, 2));
}

// Limits.

#[tokio::test]
async fn so_many_connections_and_no_more() {
    let server = Server::tcp("connections = 2", "");
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    let status = one.status(1);
    one.ask(&status).await;
    two.ask(&status).await;
    server.connect().await.expect_close().await;
    assert_eq!(server.counted("too-many-connections"), 1);
    drop(one);
    let refused = async {
        loop {
            let mut line = server.connect().await;
            let status = line.status(1);
            let _ = line.stream.write_all(&status).await;
            if line.stream.read_u8().await.is_ok_and(|code| code == ACCESS_ACCEPT) {
                break;
            }
        }
    };
    timeout(PATIENCE, refused).await.expect("the place is free again");
}

#[tokio::test]
async fn one_source_has_its_share_and_its_pace() {
    let server = Server::tcp("connections_per_source = 1", "");
    let mut one = server.connect().await;
    let status = one.status(1);
    one.ask(&status).await;
    server.connect().await.expect_close().await;
    assert_eq!(server.counted("too-many-connections-of-one-source"), 1);

    let server = Server::tcp("handshakes_per_source = 1", "");
    let mut lines = Vec::new();
    for _ in 0..20 {
        lines.push(server.connect().await);
    }
    server.until_counted("connections-too-fast", 10).await;
    lines[0].ask(&status).await;
}

#[tokio::test]
async fn nothing_is_read_while_enough_is_under_way() {
    let server = Server::tcp("in_flight_per_connection = 2", "");
    let mut line = server.connect().await;
    let mut requests: Vec<Vec<u8>> = (1..=2).map(|id| line.login(id, "slow", "hunter2", &[])).collect();
    requests.extend((3..=60).map(|id| line.login(id, "ana", "hunter2", &[])));
    line.send(&requests.concat()).await;
    server.stub.until_waiting(2).await;
    // Another connection is served meanwhile, so there was time for the third request.
    let mut other = server.connect().await;
    for identifier in 1..=50 {
        let login = other.login(identifier, "chatty", "x", &[]);
        other.ask(&login).await;
    }
    assert_eq!(server.stub.calls("ana"), 0);
    server.stub.release(2);
    for _ in 1..=60 {
        assert_eq!(line.receive().await[0], ACCESS_ACCEPT);
    }
}

#[tokio::test]
async fn under_overload_dialogs_are_finished_first() {
    let server = Server::tcp("in_flight = 4", "");
    let mut line = server.connect().await;
    let asked = line.login(9, "bob", "hunter2", &[]);
    let state = values(&line.ask(&asked).await, STATE).remove(0);
    for identifier in 1..=3 {
        let slow = line.login(identifier, "slow", "hunter2", &[]);
        line.send(&slow).await;
    }
    server.stub.until_waiting(3).await;
    let shed = line.login(4, "ana", "hunter2", &[]);
    line.send(&shed).await;
    let answer = line.login(5, "bob", "492039", &[(STATE, &state)]);
    assert_eq!(line.ask(&answer).await[0], ACCESS_ACCEPT);
    assert_eq!((server.counted("overload"), server.stub.calls("ana")), (1, 0));
}

/// What is held back is bounded: beyond that, Access-Rejects leave at once.
#[tokio::test]
async fn long_rejects_held_back_do_not_fill_the_memory() {
    let server = Server::tcp("", "reject_delay = '10m'");
    let mut line = server.connect().await;
    let long: Vec<(u8, &[u8])> = vec![(PROXY_STATE, &[7; 250]); 15];
    for identifier in 0..=255 {
        let refused = request(1, identifier, [1; 16], &line.secret, &long, true);
        line.send(&refused).await;
    }
    let (first, reply) = (256 * 1024 / 3800, line.receive().await);
    assert!(
        reply[0] == ACCESS_REJECT && usize::from(reply[1]) <= first,
        "{}",
        reply[1]
    );
}

#[tokio::test]
async fn the_idle_and_the_slow_are_closed() {
    let server = Server::tcp("idle = '200ms'\nhandshake = '500ms'", "");
    let mut line = server.connect().await;
    let status = line.status(1);
    line.ask(&status).await;
    line.expect_close().await;
    assert_eq!(server.counted("\"idle\""), 1);

    let server = Server::tcp("handshake = '300ms'", "");
    let line = server.connect().await;
    let login = line.login(1, "ana", "hunter2", &[]);
    let (mut reader, mut writer) = tokio::io::split(line.stream);
    let dripping = tokio::spawn(async move {
        for octet in login {
            if writer.write_all(&[octet]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut rest))
        .await
        .expect("it closes");
    assert_eq!(
        (rest.len(), server.counted("slow-packet"), server.stub.calls("ana")),
        (0, 1, 0)
    );
    dripping.abort();

    let mut line = server.connect().await;
    line.send(&[1, 1, 0]).await;
    line.stream.shutdown().await.unwrap();
    line.expect_close().await;
    assert_eq!(server.counted("truncated"), 1);
}

#[tokio::test]
async fn who_takes_no_replies_is_closed_and_costs_little() {
    let server = Server::tcp("handshake = '300ms'", "");
    let line = server.connect().await;
    let mut flood = Vec::new();
    for _ in 0..100 {
        flood.extend(line.status(1));
    }
    let Line { stream, .. } = line;
    let (_unread, mut writer) = tokio::io::split(stream);
    let mut taken = 0_usize;
    let flooding = async {
        while writer.write_all(&flood).await.is_ok() {
            taken += flood.len();
        }
    };
    timeout(PATIENCE, flooding).await.expect("it closes");
    server.until_counted("slow-reader", 1).await;
    // Kernel buffers on both sides, and nothing of ours that grows.
    assert!(taken < 64 << 20, "{taken} octets were taken");
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    let slow = line.login(1, "slow", "hunter2", &[]);
    line.send(&slow).await;
    server.stub.until_waiting(1).await;
    server.shutdown.cancel();
    let gone = async { while TcpStream::connect(server.address).await.is_ok() {} };
    timeout(PATIENCE, gone).await.expect("no new connections");
    server.stub.release(1);
    let reply = line.receive().await;
    line.check(&slow, &reply);
    line.expect_close().await;
    timeout(PATIENCE, server.task).await.expect("it ends").unwrap();
}

/// Well-formed packets, so section 2.6.4 closes nothing: behind a proxy, the other requests are other people's.
#[tokio::test]
async fn a_password_or_response_that_is_none_is_discarded_and_nothing_more() {
    let server = Server::tcp("", "");
    let mut line = server.connect().await;
    let secret = SharedSecret::new(&Secret::new(SECRET));
    let slow = line.login(7, "slow", "hunter2", &[]);
    line.send(&slow).await;
    server.stub.until_waiting(1).await;
    for proof in [(2, &[1; 17][..]), (3, &[1; 5])] {
        let octets = request(1, 1, [1; 16], &secret, &[(USER_NAME, b"ana"), proof], true);
        assert!(Packet::parse(&octets).is_ok());
        line.send(&octets).await;
    }
    let login = line.login(1, "ana", "hunter2", &[]);
    assert_eq!(line.ask(&login).await[0], ACCESS_ACCEPT, "the identifier is free");
    assert_eq!(server.counted("malformed"), 2);
    server.stub.release(1);
    assert_eq!(line.receive().await[1], 7);
}
