//! The RADIUS front end: Access-Requests with User-Password over UDP (RFC 2865, 2869, 3579, 5080, 5997), TCP
//! (RFC 6613) and TLS (RFC 6614, RFC 9765).
//!
//! A packet goes straight through: [`udp`] or [`stream`] receives it, [`client`] says whose it is, [`intake`] whether its
//! integrity suffices, [`duplicate`] catches retransmissions, [`translate`] makes an
//! [`AuthnRequest`](crate::engine::AuthnRequest) of it and later a reply of the verdict. [`exchange`] is
//! the other side of the conversation, and [`login`] logs in over it.

pub mod accounting;
pub mod attribute;
pub mod channel;
pub mod client;
pub mod crypto;
pub mod decode;
mod delay;
mod drops;
pub mod duplicate;
pub mod dynauth;
pub mod exchange;
pub mod intake;
pub mod login;
mod method;
pub mod observed;
pub mod packet;
pub mod pairs;
pub mod probe;
pub mod stream;
pub mod translate;
pub mod udp;
