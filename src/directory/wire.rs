//! One connection to an LDAP server: opened, encrypted and verified, then one message out and messages
//! in, with limits. Whatever is not the answer that was asked for ends the connection.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::BytesMut;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zeroize::{Zeroize as _, Zeroizing};

use crate::ber::{self, BerError, Header, Message, Reader};
use crate::clock;
use crate::directory::dns::Dns;
use crate::directory::relayed::Relayed;
use crate::directory::resolve::Resolver;
use crate::directory::servers::{Server, Servers};
use crate::directory::{Stream, bind};

/// Where a server is and how it is spoken to.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The URL, for people.
    pub(super) url: String,
    /// Host name or address.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    /// How the connection is encrypted.
    pub(super) security: Security,
    /// Longest time for connecting, encryption included.
    pub(super) connect_timeout: Duration,
    /// Who is asked for its addresses; the system when absent.
    pub(super) dns: Option<Dns>,
}

/// How a connection is encrypted. There is no form without verification.
#[derive(Clone, Debug)]
pub(super) enum Security {
    /// Not at all: allowed by the configuration only.
    Plain,
    /// From the first octet.
    Ldaps(Verification),
    /// After the StartTLS operation (RFC 4511 section 4.14).
    StartTls(Verification),
}

/// Whom the server must prove to be.
#[derive(Clone, Debug)]
pub(super) struct Verification {
    /// The authorities.
    pub(super) config: Arc<ClientConfig>,
    /// The name in the certificate.
    pub(super) name: ServerName<'static>,
}

/// What went wrong with a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("cannot find its address")]
    Resolve(#[source] io::Error),
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    #[error("no TLS with the server")]
    Tls(#[source] io::Error),
    #[error("the server refuses StartTLS: {0}")]
    StartTlsRefused(String),
    #[error("the server sent octets between its StartTLS answer and the handshake")]
    Injected,
    /// Nothing of the request has left, so that it can be sent again elsewhere.
    #[error("the connection was closed before anything was sent")]
    NothingSent(#[source] io::Error),
    #[error("the connection failed")]
    Io(#[source] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server disconnected: {0}")]
    Disconnected(String),
    #[error("the server sent what is no LDAP message")]
    Garbage(#[from] BerError),
    #[error("the server sent a message of {0} octets")]
    TooLarge(usize),
    #[error("the server answered message {answered} when asked message {asked}")]
    WrongMessage { asked: i32, answered: i32 },
    #[error("the server answered with another kind of response")]
    WrongResponse,
    #[error("the server sent more than {0} entries")]
    TooMany(usize),
    #[error("the server sent more than {0} messages in answer to one")]
    TooManyMessages(usize),
    #[error("the server sent more than {0} octets in answer to one message")]
    TooMuch(usize),
}

impl WireError {
    /// Whether the connection was closed, as an idle one may be at any time.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::NothingSent(_) | Self::Io(_) | Self::Closed | Self::Disconnected(_) => true,
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::ConnectTimeout(_)
            | Self::Tls(_)
            | Self::StartTlsRefused(_)
            | Self::Injected
            | Self::Garbage(_)
            | Self::TooLarge(_)
            | Self::WrongMessage { .. }
            | Self::WrongResponse
            | Self::TooMany(_)
            | Self::TooManyMessages(_)
            | Self::TooMuch(_) => false,
        }
    }
}

/// An open connection.
pub(super) struct Connection {
    transport: Transport,
    input: BytesMut,
    /// Octets at the start of `input` that the message handed out last is made of.
    handed_out: usize,
    /// Overwritten when the connection goes away in the middle of a request, too.
    output: Zeroizing<Vec<u8>>,
    last_id: i32,
    /// What has come in answer to the last request.
    messages: usize,
    octets: usize,
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Connects, and encrypts and verifies as the target wants it. A name's addresses are tried one after
    /// the other, each for its share of the time that is left.
    pub(super) async fn open(target: &Target, resolver: &Resolver) -> Result<Self, WireError> {
        let deadline = clock::monotonic() + target.connect_timeout;
        let late = || WireError::ConnectTimeout(target.connect_timeout);
        let addresses = tokio::time::timeout_at(deadline.into(), resolver.addresses())
            .await
            .map_err(|_| late())?
            .map_err(WireError::Resolve)?;
        let mut last = late();
        for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
            let time = deadline.saturating_duration_since(clock::monotonic());
            let share = time / u32::try_from(left).unwrap_or(u32::MAX);
            last = match tokio::time::timeout(share, Self::open_at(*address, target)).await {
                Ok(Ok(connection)) => {
                    if addresses.len() > 1 {
                        resolver.prefer(*address);
                    }
                    return Ok(connection);
                }
                Ok(Err(error)) => error,
                Err(_) => late(),
            };
        }
        resolver.forget();
        Err(last)
    }

    /// Starts the next request: an empty buffer to write it to, and its message id.
    pub(super) fn request(&mut self) -> (i32, &mut Vec<u8>) {
        self.output.clear();
        self.messages = 0;
        self.octets = 0;
        self.last_id = match self.last_id {
            i32::MAX => 1,
            id => id + 1,
        };
        (self.last_id, &mut self.output)
    }

    /// Sends the request, and overwrites it: it may hold a password.
    pub(super) async fn send(&mut self) -> Result<(), WireError> {
        let sent = match &mut self.transport {
            Transport::Plain(stream) => send_plain(stream, &self.output).await,
            Transport::Tls(stream) => send_tls(stream, &self.output).await,
        };
        self.output.zeroize();
        sent
    }

    /// The next message that answers the request, which the connection keeps until the next call.
    pub(super) async fn receive(&mut self) -> Result<Message<'_>, WireError> {
        let _ = self.input.split_to(self.handed_out.min(self.input.len()));
        self.handed_out = 0;
        let length = self.fill().await?;
        self.handed_out = length;
        self.messages += 1;
        self.octets = self.octets.saturating_add(length);
        if self.messages > MOST_MESSAGES {
            return Err(WireError::TooManyMessages(MOST_MESSAGES));
        }
        if self.octets > MOST_OCTETS {
            return Err(WireError::TooMuch(MOST_OCTETS));
        }
        let message = Message::read(self.input.get(..length).ok_or(WireError::Closed)?)?;
        if message.id == self.last_id {
            return Ok(message);
        }
        Err(if message.id == 0 && message.operation.tag == EXTENDED_RESPONSE {
            WireError::Disconnected(notice(&message))
        } else {
            WireError::WrongMessage {
                asked: self.last_id,
                answered: message.id,
            }
        })
    }

    /// Whether an idle connection has been closed, or has octets that nobody asked for. Asks the kernel
    /// (one system call, no waiting): what the runtime knows may be older.
    pub(super) fn is_stale(&mut self) -> bool {
        if self.input.len() > self.handed_out {
            return true;
        }
        let mut octet = [MaybeUninit::uninit()];
        match &mut self.transport {
            Transport::Plain(stream) => !nothing_to_read(SockRef::from(&*stream).peek(&mut octet)),
            Transport::Tls(stream) => {
                let seen = SockRef::from(stream.get_ref().0).peek(&mut octet);
                // Octets may be a session ticket, which the TLS layer keeps to itself.
                !nothing_to_read(seen) && !nothing_in_tls(stream)
            }
        }
    }

    /// Gives the bare stream away, to be relayed over; `life` is the server's before it was opened.
    pub(super) fn relayed(
        self,
        server: Arc<Server>,
        servers: &Arc<Servers>,
        life: u64,
        place: OwnedSemaphorePermit,
    ) -> Box<dyn Stream> {
        let servers = Arc::clone(servers);
        match self.transport {
            Transport::Plain(stream) => Box::new(Relayed::new(stream, server, servers, life, place)),
            Transport::Tls(stream) => Box::new(Relayed::new(*stream, server, servers, life, place)),
        }
    }

    async fn open_at(address: SocketAddr, target: &Target) -> Result<Self, WireError> {
        let stream = TcpStream::connect(address).await.map_err(WireError::Connect)?;
        stream.set_nodelay(true).map_err(WireError::Connect)?;
        // An idle connection whose server vanished behind a firewall is noticed.
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        SockRef::from(&stream)
            .set_tcp_keepalive(&keepalive)
            .map_err(WireError::Connect)?;
        let transport = match &target.security {
            Security::Plain => Transport::Plain(stream),
            Security::Ldaps(verification) => handshake(stream, verification).await?,
            Security::StartTls(verification) => {
                let mut plain = Self::over(Transport::Plain(stream));
                plain.start_tls().await?;
                match plain.transport {
                    Transport::Plain(stream) => handshake(stream, verification).await?,
                    tls @ Transport::Tls(_) => tls,
                }
            }
        };
        Ok(Self::over(transport))
    }

    fn over(transport: Transport) -> Self {
        Self {
            transport,
            input: BytesMut::new(),
            handed_out: 0,
            output: Zeroizing::default(),
            last_id: 0,
            messages: 0,
            octets: 0,
        }
    }

    async fn start_tls(&mut self) -> Result<(), WireError> {
        let (id, out) = self.request();
        ber::write_with(ber::SEQUENCE, out, |out| {
            ber::write_integer(ber::INTEGER, id, out);
            ber::write_with(EXTENDED_REQUEST, out, |out| ber::write(REQUEST_NAME, START_TLS, out));
        });
        self.send().await?;
        let message = self.receive().await?;
        if message.operation.tag != EXTENDED_RESPONSE {
            return Err(WireError::WrongResponse);
        }
        let mut fields = Reader::new(message.operation.content);
        let code = fields.integer(ber::ENUMERATED)?;
        if code != 0 {
            return Err(WireError::StartTlsRefused(notice(&message)));
        }
        // What arrives before the handshake is not protected by it, whoever wrote it.
        if self.input.len() > self.handed_out {
            return Err(WireError::Injected);
        }
        Ok(())
    }

    /// Reads until a whole message is there; its length.
    async fn fill(&mut self) -> Result<usize, WireError> {
        loop {
            if let Some(header) = Header::read(&self.input)? {
                let total = header.total()?;
                if header.tag != ber::SEQUENCE {
                    return Err(WireError::Garbage(BerError::Unexpected));
                }
                if total > MAX_MESSAGE {
                    return Err(WireError::TooLarge(total));
                }
                if self.input.len() >= total {
                    return Ok(total);
                }
            } else if self.input.len() >= LONGEST_HEADER {
                return Err(WireError::Garbage(BerError::TooLong));
            }
            self.input.reserve(READ_AT_ONCE);
            let read = match &mut self.transport {
                Transport::Plain(stream) => stream.read_buf(&mut self.input).await,
                Transport::Tls(stream) => stream.read_buf(&mut self.input).await,
            };
            if read.map_err(WireError::Io)? == 0 {
                return Err(WireError::Closed);
            }
        }
    }
}

async fn handshake(stream: TcpStream, verification: &Verification) -> Result<Transport, WireError> {
    let connector = TlsConnector::from(Arc::clone(&verification.config));
    let stream = connector
        .connect(verification.name.clone(), stream)
        .await
        .map_err(WireError::Tls)?;
    Ok(Transport::Tls(Box::new(stream)))
}

async fn send_plain(stream: &mut TcpStream, octets: &[u8]) -> Result<(), WireError> {
    let sent = stream.write(octets).await.map_err(WireError::NothingSent)?;
    stream
        .write_all(octets.get(sent..).unwrap_or_default())
        .await
        .map_err(WireError::Io)
}

/// Over TLS an error does not tell whether a whole record has left before.
async fn send_tls(stream: &mut TlsStream<TcpStream>, octets: &[u8]) -> Result<(), WireError> {
    stream.write_all(octets).await.map_err(WireError::Io)?;
    stream.flush().await.map_err(WireError::Io)
}

fn nothing_to_read(peeked: io::Result<usize>) -> bool {
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

fn nothing_in_tls(stream: &mut TlsStream<TcpStream>) -> bool {
    let mut octet = [0u8; 1];
    // The waker is replaced by the next real read.
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(stream)
        .poll_read(&mut context, &mut ReadBuf::new(&mut octet))
        .is_pending()
}

/// The result code and text of a response, for logs.
fn notice(message: &Message<'_>) -> String {
    let mut fields = Reader::new(message.operation.content);
    let Ok(code) = fields.integer(ber::ENUMERATED) else {
        return "no reason given".into();
    };
    let diagnostic = fields.element().and_then(|_| fields.expect(ber::OCTET_STRING));
    bind::describe(code, diagnostic.unwrap_or_default())
}

const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const REQUEST_NAME: u8 = 0x80;
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// Largest answer read, in octets: an entry in some tens of thousands of groups.
const MAX_MESSAGE: usize = 4 << 20;
/// Most that is read in answer to one request: bounds what a search that floods can make us keep.
const MOST_OCTETS: usize = 32 << 20;
const MOST_MESSAGES: usize = 20_000;
const LONGEST_HEADER: usize = 32;
const READ_AT_ONCE: usize = 2048;
const KEEPALIVE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn target() -> Target {
        Target {
            url: "ldap://several".into(),
            host: "several".into(),
            port: 1,
            security: Security::Plain,
            connect_timeout: Duration::from_secs(2),
            dns: None,
        }
    }

    /// An address where connecting takes for ever: the queue of its listener is full.
    fn tarpit() -> (Vec<socket2::Socket>, SocketAddr) {
        let socket = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let listener = socket();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = vec![listener];
        for _ in 0..4 {
            let stream = socket();
            stream.set_nonblocking(true).unwrap();
            let _ = stream.connect(&address);
            held.push(stream);
        }
        (held, address.as_socket().unwrap())
    }

    #[tokio::test]
    async fn a_dead_address_leaves_time_for_the_next_and_is_asked_last_then() {
        let (_held, dead) = tarpit();
        let alive = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alive.local_addr().unwrap();
        let resolver = Resolver::knowing(&[dead, address]);
        Connection::open(&target(), &resolver).await.unwrap();
        assert_eq!(*resolver.addresses().await.unwrap(), [address, dead]);

        let nowhere = Resolver::knowing(&[dead]);
        let outcome = Connection::open(&target(), &nowhere).await;
        assert!(matches!(outcome, Err(WireError::ConnectTimeout(_))));
    }
}
