//! RFC 5997: Status-Server.

use portcullis::radius::attribute::{ACCESS_ACCEPT, MESSAGE_AUTHENTICATOR, PROXY_STATE, STATUS_SERVER, USER_NAME};
use portcullis::radius::crypto::{SharedSecret, Signature};
use portcullis::radius::packet::Packet;

use crate::server::{Server, kinds, request, table};
use crate::vectors::Vectors;

// Section 6.1.

#[tokio::test]
async fn the_example_is_answered_with_the_octets_of_the_example() {
    let vectors = Vectors::load("rfc5997.txt");
    let asked = Packet::parse(vectors.packet("status-server")).unwrap();
    assert_eq!(
        SharedSecret::new(&vectors.secret).request_signature(&asked),
        Signature::Valid
    );
    let server = Server::start("");
    let secret = vectors.secret.expose_str().unwrap();
    // The example predates Message-Authenticator in replies.
    server
        .clients
        .store(table("send_message_authenticator = false", secret).into());
    let wire = server.wire().await;
    wire.send(vectors.packet("status-server")).await;
    assert_eq!(wire.receive().await, vectors.packet("access-accept"));
}

// Section 6.2.

#[tokio::test]
async fn an_accounting_port_answers_with_the_octets_of_the_example() {
    let vectors = Vectors::load("rfc5997.txt");
    let server = Server::listen("127.0.0.1:0", "serve = ['accounting']", "");
    let secret = vectors.secret.expose_str().unwrap();
    server
        .clients
        .store(table("send_message_authenticator = false", secret).into());
    let wire = server.wire().await;
    wire.send(vectors.packet("status-server accounting")).await;
    assert_eq!(wire.receive().await, vectors.packet("accounting-response"));
}

#[tokio::test]
async fn must_be_signed_and_is_never_judged() {
    // A reject would be seen to wait; an answer to Status-Server never does.
    let server = Server::start("require_message_authenticator = 'no'\nreject_delay = '1h'");
    let wire = server.wire().await;
    let unsigned = request(STATUS_SERVER, 1, [3; 16], &wire.secret, &[], false);
    wire.expect_silence(&unsigned).await;
    let attributes: [(u8, &[u8]); 2] = [(USER_NAME, b"ana"), (PROXY_STATE, b"p")];
    let signed = request(STATUS_SERVER, 2, [3; 16], &wire.secret, &attributes, true);
    let reply = wire.ask(&signed).await;
    assert_eq!(reply[0], ACCESS_ACCEPT);
    assert_eq!(kinds(&reply), [MESSAGE_AUTHENTICATOR, PROXY_STATE]);
    assert_eq!(server.stub.calls("ana"), 0);
}

#[tokio::test]
async fn is_answered_under_overload() {
    let server = Server::listen("127.0.0.1:0", "in_flight = 1", "");
    let wire = server.wire().await;
    wire.send(&wire.login(1, "slow", "hunter2", &[])).await;
    server.until_waiting(1).await;
    wire.expect_silence(&wire.login(2, "ana", "hunter2", &[])).await;
    assert_eq!(server.stub.calls("ana"), 0);
    server.stub.release(1);
    assert_eq!(wire.receive().await[0], ACCESS_ACCEPT);
}
