//! RFC 5080: duplicate detection (section 2.2.2), overload (section 2.2.3); and what is ours: delayed
//! rejects, draining.

use std::time::Duration;

use portcullis::clock;
use portcullis::radius::attribute::{ACCESS_ACCEPT, ACCESS_REJECT, STATE};

use crate::server::{Server, values};

#[tokio::test]
async fn a_retransmission_gets_the_same_octets_and_is_judged_once() {
    let server = Server::start("");
    let wire = server.wire().await;
    for (identifier, (user, code)) in (1..).zip([("ana", ACCESS_ACCEPT), ("nobody", ACCESS_REJECT)]) {
        let request = wire.login(identifier, user, "hunter2", &[]);
        let first = wire.ask(&request).await;
        assert_eq!(first[0], code);
        for _ in 0..3 {
            assert_eq!(wire.ask(&request).await, first);
        }
        assert_eq!(server.stub.calls(user), 1);
    }
    let request = wire.login(3, "bob", "hunter2", &[]);
    let challenge = wire.ask(&request).await;
    assert_eq!(wire.ask(&request).await, challenge, "the same State again");
    assert_eq!(server.counted("radius_replayed_total"), 7);
}

#[tokio::test]
async fn a_retransmission_of_a_pending_request_is_silence() {
    let server = Server::start("");
    let wire = server.wire().await;
    let request = wire.login(1, "slow", "hunter2", &[]);
    wire.send(&request).await;
    server.until_waiting(1).await;
    wire.expect_silence(&request).await;
    wire.expect_silence(&request).await;
    server.stub.release(1);
    let reply = wire.receive().await;
    wire.check(&request, &reply);
    assert_eq!(reply[0], ACCESS_ACCEPT);
    assert_eq!(wire.ask(&request).await, reply);
    assert_eq!(server.stub.calls("slow"), 1);
}

#[tokio::test]
async fn another_authenticator_or_port_is_another_request() {
    let server = Server::start("");
    let wire = server.wire().await;
    let request = wire.login(1, "ana", "hunter2", &[]);
    wire.ask(&request).await;
    wire.ask(&wire.login(1, "ana", "hunter2", &[])).await;
    assert_eq!(server.stub.calls("ana"), 2);
    server.wire().await.ask(&request).await;
    assert_eq!(server.stub.calls("ana"), 3);
}

#[tokio::test]
async fn a_bad_request_does_not_evict_a_good_one() {
    let server = Server::start("");
    let wire = server.wire().await;
    let request = wire.login(1, "ana", "hunter2", &[]);
    let reply = wire.ask(&request).await;
    let mut forged = wire.login(1, "ana", "hunter2", &[]);
    forged[25] ^= 1;
    wire.expect_silence(&forged).await;
    assert_eq!(wire.ask(&request).await, reply);
    assert_eq!(server.stub.calls("ana"), 1);
}

#[tokio::test]
async fn an_outage_is_silence_and_is_tried_anew() {
    let server = Server::start("");
    let wire = server.wire().await;
    let request = wire.login(1, "down", "hunter2", &[]);
    wire.expect_silence(&request).await;
    wire.expect_silence(&request).await;
    assert_eq!(server.stub.calls("down"), 2);
}

#[tokio::test]
async fn a_panic_while_judging_ends_one_request() {
    let server = Server::start("");
    let wire = server.wire().await;
    let request = wire.login(1, "panic", "hunter2", &[]);
    wire.expect_silence(&request).await;
    wire.expect_silence(&request).await;
    assert_eq!(server.stub.calls("panic"), 2);
    assert_eq!(wire.ask(&wire.login(2, "ana", "hunter2", &[])).await[0], ACCESS_ACCEPT);
    assert_eq!(server.counted("in_flight"), 0);
}

// Section 2.2.3.

#[tokio::test]
async fn overload_sheds_new_logins_and_keeps_dialogs() {
    let server = Server::listen("127.0.0.1:0", "in_flight = 8", "");
    let wire = server.wire().await;
    let challenge = wire.ask(&wire.login(100, "bob", "hunter2", &[])).await;
    let state = values(&challenge, STATE).remove(0);
    for identifier in 0..6 {
        wire.send(&wire.login(identifier, "slow", "hunter2", &[])).await;
    }
    server.until_waiting(6).await;
    let shed = wire.login(7, "ana", "hunter2", &[]);
    wire.expect_silence(&shed).await;
    let made_up = wire.login(8, "ana", "hunter2", &[(STATE, b"made up")]);
    assert_eq!(
        wire.ask(&made_up).await[0],
        ACCESS_REJECT,
        "a State of somebody else buys nothing"
    );
    assert_eq!(server.stub.calls("ana"), 0);
    let answer = wire.login(9, "bob", "492039", &[(STATE, &state)]);
    assert_eq!(wire.ask(&answer).await[0], ACCESS_ACCEPT);
    server.stub.release(6);
    for _ in 0..6 {
        assert_eq!(wire.receive().await[0], ACCESS_ACCEPT);
    }
    assert_eq!(
        wire.ask(&shed).await[0],
        ACCESS_ACCEPT,
        "a shed request is welcome again"
    );
    assert_eq!(server.counted("reason=\"overload\""), 1);
}

// Access-Rejects are held back.

#[tokio::test]
async fn a_reject_waits_counted_from_its_arrival() {
    let server = Server::start("reject_delay = '400ms'");
    let wire = server.wire().await;
    let request = wire.login(1, "nobody", "hunter2", &[]);
    let started = clock::monotonic();
    wire.expect_silence(&request).await;
    wire.expect_silence(&request).await;
    assert_eq!(
        wire.ask(&wire.login(2, "ana", "hunter2", &[])).await[0],
        ACCESS_ACCEPT,
        "others do not wait"
    );
    let reply = wire.receive().await;
    assert_eq!(reply[0], ACCESS_REJECT);
    assert!(clock::monotonic() - started >= Duration::from_millis(360));
    assert_eq!(wire.ask(&request).await, reply, "a replay does not wait again");
    assert_eq!(server.stub.calls("nobody"), 1);
}

#[tokio::test]
async fn a_refusal_unheard_waits_as_well() {
    let server = Server::start("reject_delay = '200ms'");
    let wire = server.wire().await;
    wire.expect_silence(&wire.request(1, &[])).await;
    assert_eq!(wire.receive().await[0], ACCESS_REJECT);
}

// Draining.

#[tokio::test]
async fn what_is_under_way_is_finished_before_the_end() {
    let server = Server::start("reject_delay = '200ms'");
    let wire = server.wire().await;
    let slow = wire.login(1, "slow", "hunter2", &[]);
    wire.send(&wire.login(2, "nobody", "hunter2", &[])).await;
    wire.send(&slow).await;
    server.until_waiting(1).await;
    server.shutdown.cancel();
    assert_eq!(wire.receive().await[0], ACCESS_REJECT);
    server.stub.release(1);
    let reply = wire.receive().await;
    wire.check(&slow, &reply);
    assert_eq!(reply[0], ACCESS_ACCEPT);
    server.task.await.unwrap();
}
