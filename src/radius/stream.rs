//! Listeners for RADIUS over TCP (RFC 6613) and TLS (RFC 6614), with RADIUS/1.1 (RFC 9765) on the same port.
//!
//! Connections are accepted here: so many at once, of them a share for each source, TLS within its time, and
//! only for who turns out to be a client. Each then lives in a task of its own (`connection`).

mod connection;
pub mod frame;
mod outbox;
mod outstanding;
mod sources;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use rustls::server::Acceptor;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::accept::{concerns_one_connection, prepare, report};
use crate::clock;
use crate::config::{RadiusListener, Transport, Version};
use crate::metrics;
use crate::radius::attribute::{ERROR_CAUSE, PROTOCOL_ERROR, REPLY_MESSAGE};
use crate::radius::channel::Channel;
use crate::radius::client::{Client, Stranger};
use crate::radius::drops::{Closing, Drops, Reason};
use crate::radius::intake::Service;
use crate::radius::packet::{Overflow, Writer};
use crate::radius::stream::connection::{Connection, Party};
use crate::radius::stream::sources::Sources;
use crate::tls::mutual::{Application, MutualServer};
use crate::tls::peer::Peer;

/// Binds a listener's socket. Must be called within the runtime.
///
/// # Errors
/// As the system gives them: address in use, not allowed.
pub fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    if listen.is_ipv6() {
        // Each family has its own listener, and `[::]` does not take the IPv4 port of another.
        socket.set_only_v6(true)?;
    }
    // A restart must not wait for connections that the kernel still remembers.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// What a TLS listener that speaks `versions` names in ALPN (RFC 9765 section 3.1), the newest first.
pub fn applications(versions: &[Version]) -> Vec<Application> {
    let known = [
        (
            Version::V11,
            Application {
                name: RADIUS_1_1,
                tls13_only: true,
                unnamed: false,
            },
        ),
        (
            Version::V10,
            Application {
                name: RADIUS_1_0,
                tls13_only: false,
                unnamed: true,
            },
        ),
    ];
    let spoken = known.into_iter().filter(|(version, _)| versions.contains(version));
    spoken.map(|(_, application)| application).collect()
}

/// Serves connections until `shutdown`; then reads no more, and finishes what is under way for at most
/// `drain`. Dropping the future closes all connections.
///
/// `tls` must be there for `transport = "tls"`; without it such a listener closes every connection.
pub async fn serve(
    listener: TcpListener,
    config: RadiusListener,
    tls: Option<Arc<MutualServer>>,
    service: Service,
    shutdown: CancellationToken,
    drain: Duration,
) {
    let shared = Arc::new(Shared::new(config, tls, service, drain));
    let mut connections = JoinSet::new();
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, source)) => {
                pause = SHORTEST_PAUSE;
                admit(&shared, stream, source, &shutdown, &mut connections);
            }
            Err(fault) if concerns_one_connection(&fault) => {}
            Err(error) => {
                warn!(listener = %shared.config.name, %error, "cannot accept connections");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// What the connections of a listener have in common.
struct Shared {
    /// The listener's name.
    listener: Arc<str>,
    config: RadiusListener,
    tls: Option<Arc<MutualServer>>,
    service: Service,
    drain: Duration,
    drops: Mutex<Drops>,
    /// Requests of all connections that are being worked on.
    in_flight: AtomicUsize,
    gauge: Gauge,
    places: Arc<Semaphore>,
    /// Handshakes under way: a part of the connections, so that those which do not finish keep out only
    /// each other.
    handshakes: Arc<Semaphore>,
    sources: Arc<Sources>,
}

impl Shared {
    fn new(config: RadiusListener, tls: Option<Arc<MutualServer>>, service: Service, drain: Duration) -> Self {
        let worked_on = &service.metrics.in_flight;
        let gauge = worked_on
            .get_or_create(&metrics::Protocol { protocol: "radius" })
            .clone();
        Self {
            drops: Mutex::new(Drops::new(service.metrics.clone(), Arc::clone(&service.strangers))),
            listener: config.name.as_str().into(),
            in_flight: AtomicUsize::new(0),
            gauge,
            places: Arc::new(Semaphore::new(config.connections)),
            handshakes: Arc::new(Semaphore::new((config.connections / 4).max(LEAST_HANDSHAKES))),
            sources: Arc::new(Sources::new(&config)),
            config,
            tls,
            service,
            drain,
        }
    }

    /// Counts a packet or a connection of which nothing comes.
    fn dropped(&self, reason: Reason, source: SocketAddr, client: Option<&Client>, detail: &dyn fmt::Display) {
        if reason == Reason::Closed(Closing::Idle) {
            // Nothing is wrong with that, so it is nothing to warn of.
            let client = client.map(|client| &*client.name);
            debug!(%source, client, "closed, because it was idle");
            return self.service.metrics.drop("radius", reason.word());
        }
        let now = (clock::monotonic(), clock::now());
        self.drops.lock().count(reason, source, client, detail, now);
    }
}

/// Lets a connection in, if there is room for it and it could be a client's.
fn admit(
    shared: &Arc<Shared>,
    stream: TcpStream,
    source: SocketAddr,
    shutdown: &CancellationToken,
    connections: &mut JoinSet<()>,
) {
    let clients = shared.service.clients.load();
    let could_be = match shared.config.transport {
        Transport::Udp | Transport::Tcp => clients.find(source.ip()).is_some(),
        Transport::Tls => clients.could_be(source.ip()),
    };
    if !could_be {
        let detail = "no [[client]] has this address";
        return shared.dropped(Reason::UnknownClient, source, None, &detail);
    }
    let closed = |closing: Closing, key: &str| {
        let detail = format!("`{key}` of listener \"{}\" is reached", shared.config.name);
        shared.dropped(Reason::Closed(closing), source, None, &detail);
    };
    let share = match shared.sources.admit(source.ip(), clock::monotonic()) {
        Ok(share) => share,
        Err(Closing::TooFast) => return closed(Closing::TooFast, "handshakes_per_source"),
        Err(closing) => return closed(closing, "connections_per_source"),
    };
    let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() else {
        return closed(Closing::TooMany, "connections");
    };
    let handshake = Arc::clone(&shared.handshakes).try_acquire_owned();
    if handshake.is_err() && shared.config.transport == Transport::Tls {
        return closed(Closing::TooManyHandshakes, "connections");
    }
    let (shared, shutdown) = (Arc::clone(shared), shutdown.clone());
    connections.spawn(async move {
        let _held = (share, place);
        if let Err(error) = prepare(&stream) {
            debug!(%source, %error, "cannot set socket options");
        }
        match shared.config.transport {
            Transport::Udp | Transport::Tcp => {
                drop(handshake);
                plain(shared, stream, source, shutdown).await;
            }
            Transport::Tls => {
                let Some(shaken) = shutdown.run_until_cancelled(shake(&shared, stream, source)).await else {
                    return;
                };
                drop(handshake);
                if let Some((stream, party)) = shaken {
                    Connection::new(shared, party).serve(stream, shutdown).await;
                }
            }
        }
    });
}

async fn plain(shared: Arc<Shared>, stream: TcpStream, source: SocketAddr, shutdown: CancellationToken) {
    let clients = shared.service.clients.load_full();
    let Some(client) = clients.find(source.ip()).cloned() else {
        return;
    };
    let party = Party {
        source,
        channel: Channel::Tcp,
        peer: None,
        client,
        clients,
    };
    Connection::new(shared, party).serve(stream, shutdown).await;
}

/// Negotiates TLS, and finds out who it is.
async fn shake(
    shared: &Arc<Shared>,
    stream: TcpStream,
    source: SocketAddr,
) -> Option<(Box<TlsStream<TcpStream>>, Party)> {
    let Some(tls) = &shared.tls else {
        error!(listener = %shared.config.name, "no certificate to serve TLS with");
        return None;
    };
    let shaken = match timeout(shared.config.handshake, negotiate(tls, stream)).await {
        Ok(shaken) => shaken,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it took longer than `handshake`",
        )),
    };
    let mut stream = match shaken {
        Ok(stream) => stream,
        Err(error) => {
            shared.dropped(Reason::Closed(Closing::Handshake), source, None, &error);
            return None;
        }
    };
    let (_, session) = stream.get_ref();
    let alpn = session.alpn_protocol().map(<[u8]>::to_vec);
    let peer = session.peer_certificates().and_then(Peer::read);
    let channel = match alpn.as_deref() {
        Some(RADIUS_1_1) => Channel::Tls11,
        None if !shared.config.versions.contains(&Version::V10) => {
            let detail = "the client names no version (ALPN), and `versions` has only \"1.1\"";
            shared.dropped(Reason::Closed(Closing::Version), source, None, &detail);
            part(&mut stream, &version_wanted()).await;
            return None;
        }
        Some(_) | None => Channel::Tls,
    };
    let clients = shared.service.clients.load_full();
    let found = match &peer {
        Some(peer) => clients.find_certified(source.ip(), peer).cloned(),
        None => Err(Stranger::Unknown),
    };
    match found {
        Ok(client) => {
            let party = Party {
                source,
                channel,
                peer,
                client,
                clients,
            };
            Some((Box::new(stream), party))
        }
        Err(stranger) => {
            let subject = peer.map_or_else(String::new, |peer| peer.subject);
            let detail = format!("{stranger}; its subject is {subject:?}");
            shared.dropped(Reason::UnknownClient, source, None, &detail);
            part(&mut stream, &[]).await;
            None
        }
    }
}

async fn negotiate(tls: &MutualServer, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let config = tls
        .choose(&start.client_hello())
        .ok_or_else(|| io::Error::other("the listener speaks no version"))?;
    start.into_stream(config).await
}

/// Says a last word, for a moment, and closes.
async fn part(stream: &mut TlsStream<TcpStream>, octets: &[u8]) {
    let last = async {
        stream.write_all(octets).await?;
        stream.shutdown().await
    };
    // Whoever does not listen does without it.
    let _ = timeout(LAST_WORD, last).await;
}

/// The Protocol-Error for a client that does not know of versions (RFC 9765 section 3.4). It answers no
/// request, so its Token is zero.
fn version_wanted() -> Vec<u8> {
    let mut buffer = Vec::new();
    let mut writer = Writer::begin(&mut buffer, PROTOCOL_ERROR, 0, &[0; 16], false);
    let written: Result<(), Overflow> = writer
        .push_text(REPLY_MESSAGE, "This server speaks RADIUS/1.1 only, and wants ALPN.")
        .and_then(|()| writer.push_u32(ERROR_CAUSE, UNSUPPORTED_EXTENSION));
    match written {
        Ok(()) => writer.finish_plain(),
        Err(Overflow) => buffer.clear(),
    }
    buffer
}

/// ALPN names (RFC 9765 section 10).
const RADIUS_1_0: &[u8] = b"radius/1.0";
const RADIUS_1_1: &[u8] = b"radius/1.1";

/// Error-Cause: Unsupported Extension (RFC 5176 section 3.5).
const UNSUPPORTED_EXTENSION: u32 = 406;

/// Handshakes that may always be under way at once.
const LEAST_HANDSHAKES: usize = 16;
/// Connections that the kernel completes before we accept them.
const BACKLOG: i32 = 1024;
/// How long a client has to take a last word.
const LAST_WORD: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
