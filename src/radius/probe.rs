//! Asks a RADIUS server over UDP or TCP whether it lives (Status-Server, RFC 5997), or whether it speaks TLS,
//! from an address of one's choice.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use crate::clock;
use crate::radius::attribute::{ACCESS_ACCEPT, STATUS_SERVER};
use crate::radius::crypto::{AUTHENTICATOR_LEN, SharedSecret, Signature};
use crate::radius::packet::{HEADER_LEN, MAX_LEN, Packet, Writer};
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

/// Asks once over UDP, and waits for at most `patience`.
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
        match judged(&secret, &reply, &authenticator) {
            Some(answer) => return Ok(answer),
            None => unproven += 1,
        }
    }
}

/// Asks once over a TCP connection of its own, and waits for at most `patience`.
///
/// # Errors
/// As for [`status`], and when the connection is refused or closed.
pub async fn status_over_tcp(
    server: SocketAddr,
    source: IpAddr,
    secret: &Secret,
    patience: Duration,
) -> io::Result<Answer> {
    let secret = SharedSecret::new(secret);
    let authenticator = clock::random();
    let mut octets = Vec::new();
    Writer::begin(&mut octets, STATUS_SERVER, 0, &authenticator, true).finish_request(&secret);
    let conversation = async {
        let mut stream = connect(server, Some(source)).await?;
        stream.write_all(&octets).await?;
        let mut reply = vec![0; HEADER_LEN];
        stream.read_exact(&mut reply).await?;
        let length = match reply.get(2..4) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            Some(_) | None => 0,
        };
        reply.resize(length.clamp(HEADER_LEN, MAX_LEN), 0);
        stream
            .read_exact(reply.get_mut(HEADER_LEN..).unwrap_or_default())
            .await?;
        let judged = Packet::parse(&reply)
            .ok()
            .and_then(|reply| judged(&secret, &reply, &authenticator));
        Ok(judged.unwrap_or(Answer::Silence { unproven: 1 }))
    };
    timeout(patience, conversation)
        .await
        .unwrap_or(Ok(Answer::Silence { unproven: 0 }))
}

/// Makes a TLS connection with `config`, from `source` if there is one, and closes it. That it comes about says
/// that the server speaks TLS and has a certificate that `config` trusts; not that it takes a client without
/// a certificate, or any other.
///
/// # Errors
/// When there is no connection, or no TLS, within `patience`.
pub async fn handshake(
    server: SocketAddr,
    source: Option<IpAddr>,
    config: Arc<ClientConfig>,
    patience: Duration,
) -> io::Result<()> {
    let conversation = async {
        let stream = connect(server, source).await?;
        let name = ServerName::IpAddress(server.ip().into());
        TlsConnector::from(config).connect(name, stream).await.map(|_| ())
    };
    timeout(patience, conversation)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn connect(server: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if server.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(source) = source {
        socket.bind((source, 0).into())?;
    }
    socket.connect(server).await
}

/// What a reply proves; `None` for nothing.
fn judged(secret: &SharedSecret, reply: &Packet<'_>, authenticator: &[u8; AUTHENTICATOR_LEN]) -> Option<Answer> {
    match secret.reply_signature(reply, authenticator) {
        _ if !secret.proves_response(reply, authenticator) => None,
        Signature::Invalid => None,
        Signature::Valid if reply.signed_first() || reply.code() != ACCESS_ACCEPT => Some(Answer::Signed),
        Signature::Valid | Signature::Absent => Some(Answer::Unsigned),
    }
}
