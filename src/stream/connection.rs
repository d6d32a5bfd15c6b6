//! One connection to a collector.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufWriter};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{AuditStream, StreamTransport};
use crate::tls::client::{Settings, Trust};
use crate::tls::{self, TlsError};

/// Where a collector is, and how to reach it.
pub(super) struct Peer {
    host: String,
    port: u16,
    protection: Protection,
    patience: Duration,
}

enum Protection {
    Tls(TlsConnector, ServerName<'static>),
    Tcp,
    Udp,
}

/// Why a collector does not take records.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("cannot connect to {0}")]
    Connect(String, #[source] io::Error),
    #[error("no TLS with {0}")]
    Handshake(String, #[source] io::Error),
    #[error("the connection to the collector broke")]
    Broke(#[source] io::Error),
    #[error("the collector closed the connection")]
    Closed,
    #[error("the collector takes nothing")]
    Slow,
    #[error("the collector does not close the connection when we do; if it never does, say confirm = false")]
    Unconfirmed,
}

/// An open connection.
pub(super) struct Connection {
    channel: Channel,
    patience: Duration,
}

enum Channel {
    Stream(Box<BufWriter<Box<dyn Duplex>>>),
    Datagrams(UdpSocket),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Duplex for T {}

impl Peer {
    /// Reads what TLS needs. Blocks.
    pub(super) fn new(settings: &AuditStream) -> Result<Self, TlsError> {
        let (host, port) = settings.host_and_port().unwrap_or_default();
        let protection = match settings.transport {
            StreamTransport::Tls => {
                let files = Settings {
                    trust: Trust::Authorities(settings.ca_file.as_deref()),
                    identity: settings.certificate.as_deref().zip(settings.key.as_deref()),
                    protocols: &[],
                };
                let name = tls::server_name(settings.server_name.as_deref().unwrap_or(host))?;
                Protection::Tls(TlsConnector::from(files.config()?), name)
            }
            StreamTransport::Tcp => Protection::Tcp,
            StreamTransport::Udp => Protection::Udp,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            protection,
            patience: settings.timeout,
        })
    }

    /// Connects, TLS included.
    pub(super) async fn connect(&self) -> Result<Connection, Failed> {
        let target = || format!("{}:{}", self.host, self.port);
        let connecting = async {
            let failed = |error| Failed::Connect(target(), error);
            let channel = match &self.protection {
                Protection::Udp => Channel::Datagrams(self.socket().await.map_err(failed)?),
                Protection::Tcp => Channel::of(self.stream().await.map_err(failed)?),
                Protection::Tls(connector, name) => {
                    let stream = self.stream().await.map_err(failed)?;
                    let stream = connector.connect(name.clone(), stream).await;
                    Channel::of(stream.map_err(|error| Failed::Handshake(target(), error))?)
                }
            };
            Ok(Connection {
                channel,
                patience: self.patience,
            })
        };
        timeout(self.patience, connecting)
            .await
            .unwrap_or_else(|_| Err(Failed::Connect(target(), io::ErrorKind::TimedOut.into())))
    }

    async fn stream(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn socket(&self) -> io::Result<UdpSocket> {
        let mut addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let address = addresses.next().ok_or(io::ErrorKind::NotFound)?;
        let own: SocketAddr = match address {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(own).await?;
        socket.connect(address).await?;
        Ok(socket)
    }
}

impl Channel {
    fn of(stream: impl Duplex + 'static) -> Self {
        Self::Stream(Box::new(BufWriter::with_capacity(BUFFER, Box::new(stream))))
    }
}

impl Connection {
    /// Sends a record with its frame; it may wait for [`Connection::flush`].
    pub(super) async fn write(&mut self, octets: &[u8]) -> Result<(), Failed> {
        let writing = async {
            match &mut self.channel {
                Channel::Stream(stream) => stream.write_all(octets).await,
                // What does not arrive is lost, as everything over UDP may be.
                Channel::Datagrams(socket) => match socket.send(octets).await {
                    Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => Err(error),
                    Ok(_) | Err(_) => Ok(()),
                },
            }
        };
        within(self.patience, writing).await
    }

    pub(super) async fn flush(&mut self) -> Result<(), Failed> {
        match &mut self.channel {
            Channel::Stream(stream) => within(self.patience, stream.flush()).await,
            Channel::Datagrams(_) => Ok(()),
        }
    }

    /// Waits until the collector ends the connection. It has nothing else to say: whatever it says is skipped.
    pub(super) async fn ended(&mut self) -> Failed {
        match &mut self.channel {
            Channel::Stream(stream) => match drained(stream.get_mut()).await {
                Ok(()) => Failed::Closed,
                Err(error) => Failed::Broke(error),
            },
            Channel::Datagrams(_) => std::future::pending().await,
        }
    }

    /// Ends the connection, and waits for the collector to end it as well: then it has read everything.
    pub(super) async fn finish(self) -> Result<(), Failed> {
        let Channel::Stream(mut stream) = self.channel else {
            return Ok(());
        };
        within(self.patience, stream.shutdown()).await?;
        match timeout(self.patience, drained(stream.get_mut())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failed::Broke(error)),
            Err(_) => Err(Failed::Unconfirmed),
        }
    }
}

/// Reads to the end. Not everybody says farewell in TLS before the connection's own end.
async fn drained(stream: &mut Box<dyn Duplex>) -> io::Result<()> {
    let mut octets = [0; 512];
    loop {
        match stream.read(&mut octets).await {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn within(patience: Duration, work: impl Future<Output = io::Result<()>>) -> Result<(), Failed> {
    match timeout(patience, work).await {
        Ok(done) => done.map_err(Failed::Broke),
        Err(_) => Err(Failed::Slow),
    }
}

/// Octets gathered before they are sent.
const BUFFER: usize = 32 * 1024;
