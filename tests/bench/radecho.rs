//! The limit that a RADIUS server on this machine cannot pass: signed Access-Accepts, nothing looked up.
#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a tool that meets something unexpected should end there; sizes are of its own making"
)]

mod common;
mod datagrams;
mod packet;

use std::net::{SocketAddr, UdpSocket};

use clap::Parser;

use datagrams::Batch;
use packet::Codec;

/// Accepts everything.
#[derive(Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:18129")]
    addr: SocketAddr,
    /// Shared secret.
    #[arg(long, default_value = "testing123")]
    secret: String,
}

fn main() {
    let options = Options::parse();
    let socket = UdpSocket::bind(options.addr).expect("a free address");
    datagrams::widen(&socket);
    let codec = Codec::new(options.secret.as_bytes(), false);
    let mut batch = Batch::new();
    loop {
        let mut received = batch.receive(&socket, true);
        for (index, (length, _)) in received.iter_mut().enumerate() {
            if *length >= 20 {
                *length = codec.accept(batch.buffer(index));
            }
        }
        batch.send_back(&socket, &received);
    }
}
