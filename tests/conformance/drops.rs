//! Packets that get no answer: each reason is counted once for each packet, and remembered with its client.

use portcullis::clock;
use portcullis::radius::attribute::{ACCESS_REJECT, ACCESS_REQUEST, PROXY_STATE, USER_NAME, USER_PASSWORD};
use portcullis::radius::observed::{Reason, What};
use portcullis::secret::Secret;

use crate::server::{SECRET, Server, request, table};

/// All but `send-failed`, which takes a reply that the system refuses to send (`radius::udp`).
#[tokio::test]
async fn every_reason_is_counted_and_remembered() {
    let server = Server::listen(
        "127.0.0.1:0",
        "in_flight = 1",
        "require_message_authenticator = 'no'\nlimit_proxy_state = 'yes'",
    );
    let wire = server.wire().await;
    let good = wire.login(1, "ana", "hunter2", &[]);

    wire.expect_silence(&good[..good.len() - 1]).await;
    let mut code = good.clone();
    code[0] = 255;
    wire.expect_silence(&code).await;
    let mut altered = good.clone();
    altered[23] ^= 1;
    wire.expect_silence(&altered).await;
    let hidden = wire.hidden("hunter2");
    let proxied: [(u8, &[u8]); 3] = [(USER_NAME, b"ana"), (USER_PASSWORD, &hidden), (PROXY_STATE, b"x")];
    wire.expect_silence(&request(ACCESS_REQUEST, 2, [9; 16], &wire.secret, &proxied, false))
        .await;
    wire.send(&wire.login(3, "slow", "hunter2", &[])).await;
    server.until_waiting(1).await;
    wire.expect_silence(&good).await;
    server.stub.release(1);
    wire.receive().await;

    let seen = server.clients.load_full();
    let mut remembered: Vec<What> = seen
        .named("vpn")
        .map(|client| client.seen.troubles().into_iter().map(|trouble| trouble.what).collect())
        .unwrap();
    remembered.reverse();
    let words: Vec<&str> = remembered
        .iter()
        .map(|what| match what {
            What::Dropped(reason) => reason.word(),
            other @ (What::Refused(_) | What::Denied(_) | What::Garbled) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        words,
        [
            "malformed",
            "unexpected-code",
            "bad-message-authenticator",
            "unsigned-proxy-state",
            "overload"
        ]
    );

    // Now the entry requires it, and then nobody is known.
    server.clients.store(table("", SECRET).into());
    let bare = &proxied[..2];
    wire.expect_silence(&request(ACCESS_REQUEST, 4, [9; 16], &wire.secret, bare, false))
        .await;
    server.clients.store(Default::default());
    wire.send(&good).await;
    while server.counted("reason=\"unknown-client\"") == 0 {
        tokio::task::yield_now().await;
    }
    let stranger = server.strangers.all().remove(0);
    assert_eq!((stranger.address, stranger.packets), ([127, 0, 0, 1].into(), 1));
    assert!(clock::now() >= stranger.last);

    for word in words
        .into_iter()
        .chain(["missing-message-authenticator", Reason::UnknownClient.word()])
    {
        assert_eq!(server.counted(&format!("reason=\"{word}\"")), 1, "{word}");
    }
}

/// Without signatures nothing proves the secret, but passwords come out as noise.
#[tokio::test]
async fn an_unsigned_client_with_another_secret_is_pointed_out() {
    let server = Server::start("require_message_authenticator = 'no'");
    let wire = server.wire().await;
    // Sixteen octets that the right secret reveals as no UTF-8.
    let noise = wire.secret.hide(&Secret::new([0xff; 16]), &[9; 16]).unwrap();
    let attributes: [(u8, &[u8]); 2] = [(USER_NAME, b"ana"), (USER_PASSWORD, &noise)];
    for (identifier, sign) in [(1, true), (2, false)] {
        let request = request(ACCESS_REQUEST, identifier, [9; 16], &wire.secret, &attributes, sign);
        assert_eq!(wire.ask(&request).await[0], ACCESS_REJECT);
    }
    let clients = server.clients.load_full();
    let troubles = clients.named("vpn").unwrap().seen.troubles();
    let whats: Vec<(What, u64)> = troubles.iter().map(|trouble| (trouble.what, trouble.times)).collect();
    assert_eq!(whats, [(What::Garbled, 1)]);
    assert!(What::Garbled.remedy().contains("shared secret"));
}
