//! Questions over TCP and TLS: one connection at a time, made when it is needed.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::clock;
use crate::radius::channel::Channel;
use crate::radius::crypto::SharedSecret;
use crate::radius::exchange::pending::{Fate, Pending};
use crate::radius::exchange::reply::{Measure, Reply};
use crate::radius::exchange::request::{Mark, Request};
use crate::radius::exchange::{Counters, Failure, RADIUS_1_1, Target, TlsTarget, Transport, Version, count};
use crate::radius::packet::{HEADER_LEN, MAX_LEN, Packet};

/// The way to one server.
#[derive(Debug)]
pub(super) struct Link {
    target: Target,
    patience: Duration,
    counters: Arc<Counters>,
    /// Held while a connection is made, so that one is made for all who wait.
    state: tokio::sync::Mutex<State>,
    /// The channel of the latest connection, to be shown.
    channel: Mutex<Channel>,
}

#[derive(Debug, Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// Connections in a row that failed, or ended without a single proven reply.
    failures: u32,
    last: Option<(Instant, Arc<io::Error>)>,
}

impl Link {
    pub(super) fn new(target: Target, patience: Duration, counters: Arc<Counters>) -> Self {
        let channel = match target.transport {
            Transport::Udp(_) | Transport::Tcp(_) => Channel::Tcp,
            Transport::Tls(_) => Channel::Tls,
        };
        Self {
            target,
            patience,
            counters,
            state: tokio::sync::Mutex::default(),
            channel: Mutex::new(channel),
        }
    }

    pub(super) fn channel(&self) -> Channel {
        *self.channel.lock()
    }

    /// Asks over the connection. A server that closes an idle connection loses what crossed its farewell on
    /// the way: such a question is asked once more, over a new connection.
    pub(super) async fn ask(&self, request: &Request, deadline: Instant) -> Result<Reply, Failure> {
        let mut again = true;
        loop {
            let connection = self.connection(deadline).await?;
            let known = connection.desk.proven();
            match connection.ask(request, deadline).await {
                Err(Failure::Lost { .. }) if known && again => again = false,
                other => return other,
            }
        }
    }

    async fn connection(&self, deadline: Instant) -> Result<Arc<Connection>, Failure> {
        let server = self.target.address;
        let left = deadline.saturating_duration_since(clock::monotonic());
        let Ok(mut state) = timeout(left, self.state.lock()).await else {
            return Err(Failure::Silence { server, unproven: 0 });
        };
        if let Some(connection) = &state.connection {
            if !connection.desk.pending.is_closed() {
                return Ok(Arc::clone(connection));
            }
            if connection.desk.proven() {
                state.failures = 0;
            } else {
                state.failed(io::Error::other("the server closed the connection without an answer"));
            }
            state.connection = None;
        }
        let now = clock::monotonic();
        if let Some((at, error)) = &state.last
            && state.failures > 0
            && now < *at + pause(state.failures)
        {
            return Err(Failure::Connect {
                server,
                source: Arc::clone(error),
            });
        }
        // Its own time, not the question's: a hurried question must not hide that nothing answers.
        const LONGEST: Duration = Duration::from_secs(5);
        let made = timeout(self.patience.min(LONGEST), self.open()).await;
        match made.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(connection) => {
                *self.channel.lock() = connection.channel;
                let connection = Arc::new(connection);
                state.connection = Some(Arc::clone(&connection));
                Ok(connection)
            }
            Err(error) => {
                let source = state.failed(error);
                Err(Failure::Connect { server, source })
            }
        }
    }

    async fn open(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.target.address).await?;
        stream.set_nodelay(true)?;
        let (tls, secret, channel) = match &self.target.transport {
            Transport::Udp(_) => return Err(io::ErrorKind::Unsupported.into()),
            Transport::Tcp(secret) => (None, secret, Channel::Tcp),
            Transport::Tls(tls) => (Some(tls), &tls.secret, Channel::Tls),
        };
        let parts = Parts {
            server: self.target.address,
            signed: self.target.signed_replies,
            counters: Arc::clone(&self.counters),
        };
        let Some(tls) = tls else {
            return Ok(Connection::new(stream, Some(secret.clone()), channel, parts));
        };
        let stream = TlsConnector::from(Arc::clone(&tls.config))
            .connect(tls.name.clone(), stream)
            .await?;
        if newest(stream.get_ref().1, tls)? {
            Ok(Connection::new(stream, None, Channel::Tls11, parts))
        } else {
            Ok(Connection::new(stream, Some(secret.clone()), channel, parts))
        }
    }
}

impl State {
    fn failed(&mut self, error: io::Error) -> Arc<io::Error> {
        let error = Arc::new(error);
        self.failures = self.failures.saturating_add(1);
        self.last = Some((clock::monotonic(), Arc::clone(&error)));
        error
    }
}

/// How long to leave a server alone after so many failures: half a second, then twice as long each time,
/// up to half a minute, give or take a tenth.
fn pause(failures: u32) -> Duration {
    let [chance] = clock::random::<1>();
    let seconds = Duration::from_millis(500) * (1 << failures.saturating_sub(1).min(6));
    let seconds = seconds.min(Duration::from_secs(30));
    seconds - seconds / 10 + seconds * u32::from(chance) / 5 / 255
}

/// Whether RADIUS/1.1 was agreed on (RFC 9765 section 3.3).
fn newest(tls: &rustls::ClientConnection, target: &TlsTarget) -> io::Result<bool> {
    let chosen = tls.alpn_protocol() == Some(RADIUS_1_1);
    let fault = |text: &str| Err(io::Error::new(io::ErrorKind::InvalidData, text));
    match target.version {
        Version::V1_1 if !chosen => fault("the server does not speak RADIUS/1.1"),
        Version::Auto | Version::V1_1 if chosen && tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) => {
            fault("the server wants RADIUS/1.1 without TLS 1.3 (RFC 9765 section 3.1)")
        }
        Version::Auto | Version::V1_0 | Version::V1_1 => Ok(chosen),
    }
}

/// One connection, for as long as it lasts.
#[derive(Debug)]
struct Connection {
    server: SocketAddr,
    channel: Channel,
    /// `None` over RADIUS/1.1.
    secret: Option<SharedSecret>,
    desk: Arc<Desk>,
    /// Frames for the writer. Bounded: whoever finds it full waits, up to the time of its question.
    outgoing: mpsc::Sender<Zeroizing<Vec<u8>>>,
    _reader: AbortOnDropHandle<()>,
    _writer: AbortOnDropHandle<()>,
}

/// What those who ask share with those who read and write.
#[derive(Debug)]
struct Desk {
    pending: Pending,
    numbers: Numbers,
    /// Says that the connection has ended: reader and writer let go of it.
    ended: CancellationToken,
    /// Packets received.
    packets: AtomicU64,
    /// Whether any reply has proven itself.
    proven: AtomicBool,
}

/// Where numbers for questions come from.
#[derive(Debug)]
enum Numbers {
    Identifiers {
        /// A permit for each identifier in `free`.
        available: Semaphore,
        free: Mutex<VecDeque<u8>>,
    },
    Tokens(AtomicU32),
}

impl Desk {
    fn new(tokens: bool) -> Self {
        let numbers = if tokens {
            Numbers::Tokens(AtomicU32::new(u32::from_be_bytes(clock::random())))
        } else {
            Numbers::Identifiers {
                available: Semaphore::new(256),
                free: Mutex::new((0..=u8::MAX).collect()),
            }
        };
        Self {
            pending: Pending::new(),
            numbers,
            ended: CancellationToken::new(),
            packets: AtomicU64::new(0),
            proven: AtomicBool::new(false),
        }
    }

    /// A number that nobody uses; `None` when the connection has ended.
    async fn take(&self) -> Option<Taken<'_>> {
        let number = match &self.numbers {
            Numbers::Tokens(next) => next.fetch_add(1, Ordering::Relaxed),
            Numbers::Identifiers { available, free } => {
                available.acquire().await.ok()?.forget();
                free.lock().pop_front()?.into()
            }
        };
        Some(Taken { desk: self, number })
    }

    fn release(&self, number: u32) {
        if let (Numbers::Identifiers { available, free }, Ok(identifier)) = (&self.numbers, u8::try_from(number)) {
            free.lock().push_back(identifier);
            available.add_permits(1);
        }
    }

    /// The connection has ended: whoever waits hears of it.
    fn close(&self) {
        self.pending.close();
        self.ended.cancel();
        if let Numbers::Identifiers { available, .. } = &self.numbers {
            available.close();
        }
    }

    /// One half of the connection: its end is the end of both.
    async fn until_it_ends(self: Arc<Self>, half: impl Future<Output = ()>) {
        tokio::select! {
            () = half => self.close(),
            () = self.ended.cancelled() => {}
        }
    }

    fn received(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }

    fn proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }
}

/// A number in use.
struct Taken<'a> {
    desk: &'a Desk,
    number: u32,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        match self.desk.numbers {
            // An identifier is in use until its reply came (RFC 6613 section 2.6.5).
            Numbers::Identifiers { .. } => {
                if !self.desk.pending.abandon(self.number) {
                    self.desk.release(self.number);
                }
            }
            Numbers::Tokens(_) => self.desk.pending.forget(self.number),
        }
    }
}

struct Parts {
    server: SocketAddr,
    signed: bool,
    counters: Arc<Counters>,
}

impl Connection {
    fn new<S>(stream: S, secret: Option<SharedSecret>, channel: Channel, parts: Parts) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        const QUEUE: usize = 64;
        let (incoming, outgoing) = tokio::io::split(stream);
        let (sender, frames) = mpsc::channel(QUEUE);
        let desk = Arc::new(Desk::new(secret.is_none()));
        let reader = Reader {
            desk: Arc::clone(&desk),
            secret: secret.clone(),
            signed: parts.signed,
            channel,
            counters: parts.counters,
        };
        let reading = Arc::clone(&desk).until_it_ends(reader.run(BufReader::new(incoming)));
        let writing = Arc::clone(&desk).until_it_ends(write(outgoing, frames));
        Self {
            server: parts.server,
            channel,
            secret,
            desk,
            outgoing: sender,
            _reader: AbortOnDropHandle::new(tokio::spawn(reading)),
            _writer: AbortOnDropHandle::new(tokio::spawn(writing)),
        }
    }

    async fn ask(&self, request: &Request, deadline: Instant) -> Result<Reply, Failure> {
        let server = self.server;
        let left = || deadline.saturating_duration_since(clock::monotonic());
        let silence = Failure::Silence { server, unproven: 0 };
        let lost = || Failure::Lost { server };
        let Ok(taken) = timeout(left(), self.desk.take()).await else {
            // Every identifier waits for an answer: another connection may do better.
            self.desk.close();
            return Err(silence);
        };
        let taken = taken.ok_or_else(lost)?;
        let mark = match &self.secret {
            Some(secret) => Mark::Identifier(u8::try_from(taken.number).unwrap_or_default(), secret),
            None => Mark::Token(taken.number),
        };
        let encoded = request.encode(mark).ok_or(Failure::TooLong)?;
        let seen = self.desk.received();
        let expected = self
            .desk
            .pending
            .expect(taken.number, request.code(), encoded.authenticator);
        let mut awaited = expected.ok_or_else(lost)?;
        let conversation = async {
            self.outgoing.send(encoded.octets).await.ok()?;
            awaited.reply().await
        };
        match timeout(left(), conversation).await {
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => match awaited.unproven() {
                0 => Err(lost()),
                unproven => Err(Failure::Silence { server, unproven }),
            },
            Err(_) => {
                // A connection over which nothing at all has come meanwhile is dead (RFC 3539 section 3.4).
                if seen == self.desk.received() {
                    self.desk.close();
                }
                Err(silence)
            }
        }
    }
}

/// Writes frames, as many at once as there are.
async fn write<W: AsyncWrite + Unpin>(mut to: W, mut frames: mpsc::Receiver<Zeroizing<Vec<u8>>>) {
    let mut buffer = Zeroizing::new(Vec::with_capacity(2 * MAX_LEN));
    while let Some(frame) = frames.recv().await {
        buffer.extend_from_slice(&frame);
        while buffer.len() < MAX_LEN
            && let Ok(frame) = frames.try_recv()
        {
            buffer.extend_from_slice(&frame);
        }
        if to.write_all(&buffer).await.is_err() || to.flush().await.is_err() {
            break;
        }
        buffer.clear();
    }
}

/// Hands the replies of one connection to those who wait.
struct Reader {
    desk: Arc<Desk>,
    secret: Option<SharedSecret>,
    signed: bool,
    channel: Channel,
    counters: Arc<Counters>,
}

impl Reader {
    async fn run(self, mut from: impl AsyncRead + Unpin) {
        let mut buffer = vec![0; MAX_LEN];
        // Whatever ends the reading ends the connection (RFC 6613 section 2.6.4).
        while let Ok(length) = frame(&mut from, &mut buffer).await {
            if !self.take(buffer.get(..length).unwrap_or_default()) {
                count(&self.counters.unproven);
                break;
            }
        }
    }

    /// Whether the connection may go on.
    fn take(&self, octets: &[u8]) -> bool {
        let Ok(packet) = Packet::parse(octets) else {
            return false;
        };
        self.desk.packets.fetch_add(1, Ordering::Relaxed);
        let measure = Measure {
            secret: self.secret.as_ref(),
            signed: self.signed,
            channel: self.channel,
        };
        let number = match self.secret {
            Some(_) => packet.identifier().into(),
            None => {
                let &[a, b, c, d, ..] = packet.authenticator();
                u32::from_be_bytes([a, b, c, d])
            }
        };
        match self.desk.pending.deliver(number, &packet, measure) {
            Fate::Proven { awaited } => {
                self.desk.proven.store(true, Ordering::Relaxed);
                if !awaited {
                    self.desk.release(number);
                }
                true
            }
            Fate::Unknown => {
                count(&self.counters.unproven);
                true
            }
            Fate::Unproven => false,
        }
    }
}

/// Reads one packet; returns its length.
async fn frame(from: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> io::Result<usize> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut head = [0; 4];
    from.read_exact(&mut head).await?;
    let [_, _, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !(HEADER_LEN..=MAX_LEN).contains(&length) {
        return Err(malformed());
    }
    let (start, rest) = buffer
        .get_mut(..length)
        .and_then(|packet| packet.split_at_mut_checked(head.len()))
        .ok_or_else(malformed)?;
    start.copy_from_slice(&head);
    from.read_exact(rest).await?;
    Ok(length)
}
