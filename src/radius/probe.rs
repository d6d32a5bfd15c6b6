//! Asks a RADIUS server over UDP whether it lives (Status-Server, RFC 5997), from an address of one's choice.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::radius::attribute::{ACCESS_ACCEPT, STATUS_SERVER};
use crate::radius::crypto::{SharedSecret, Signature};
use crate::radius::packet::{MAX_LEN, Packet, Writer};
use crate::secret::Secret;

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A reply that proves itself and carries a valid Message-Authenticator as its first attribute.
    Signed,
    /// A reply that proves itself by its Response Authenticator alone.
    Unsigned,
    /// Nothing that proves itself.
    Silence {
        /// Replies that came and proved nothing.
        unproven: u32,
    },
}

/// Asks once, and waits for at most `patience`.
///
/// # Errors
/// When `source` is no address of this machine, or the system refuses otherwise.
pub async fn status(server: SocketAddr, source: IpAddr, secret: &Secret, patience: Duration) -> io::Result<Answer> {
    let secret = SharedSecret::new(secret);
    let socket = UdpSocket::bind((source, 0)).await?;
    socket.connect(server).await?;
    let authenticator = clock::random();
    let [identifier] = clock::random();
    let mut octets = Vec::new();
    Writer::begin(&mut octets, STATUS_SERVER, identifier, &authenticator, true).finish_request(&secret);
    socket.send(&octets).await?;

    let deadline = Instant::from_std(clock::monotonic() + patience);
    let mut unproven = 0;
    octets.resize(MAX_LEN, 0);
    loop {
        let length = match timeout_at(deadline, socket.recv(&mut octets)).await {
            Ok(Ok(length)) => length,
            // The port is closed: nothing comes.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Ok(Answer::Silence { unproven });
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => return Ok(Answer::Silence { unproven }),
        };
        let reply = octets.get(..length).and_then(|reply| Packet::parse(reply).ok());
        let Some(reply) = reply.filter(|reply| reply.identifier() == identifier && reply.code() != STATUS_SERVER)
        else {
            continue;
        };
        match secret.reply_signature(&reply, &authenticator) {
            _ if !secret.proves_response(&reply, &authenticator) => unproven += 1,
            Signature::Invalid => unproven += 1,
            Signature::Valid if reply.signed_first() || reply.code() != ACCESS_ACCEPT => return Ok(Answer::Signed),
            Signature::Valid | Signature::Absent => return Ok(Answer::Unsigned),
        }
    }
}
