//! The RADIUS front end against the documents that it follows, one module for each, over real sockets on
//! loopback. Behind it stands a table instead of a directory: what is tested here is the protocol.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says where"
)]

#[path = "../support/pki.rs"]
mod pki;
mod server;
mod stream;
mod vectors;

// What gets no answer, by reason.
mod drops;
// A stock client's view of the whole.
mod radclient;
// MS-CHAPv2 and its keys, in RADIUS.
mod rfc2759;
// RADIUS: packets, passwords, State, Proxy-State.
mod rfc2865;
// Tags, hidden values, attributes of rules.
mod rfc2868;
// Message-Authenticator, EAP.
mod rfc3579;
// Duplicate detection, overload.
mod rfc5080;
// Status-Server.
mod rfc5997;
// RADIUS over TCP: cutting, closing, limits.
mod rfc6613;
// RADIUS over TLS: who is let in.
mod rfc6614;
// RADIUS/1.1.
mod rfc9765;
