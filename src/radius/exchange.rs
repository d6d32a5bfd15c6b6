//! The client's side of RADIUS, on every transport: one [`Exchange`] asks one server, many questions at
//! once, and believes only replies that prove themselves.
//!
//! Over UDP a question is sent again, octet for octet, at the times of RFC 5080 section 2.2.1, from sockets
//! with 256 identifiers each. Over TCP and TLS it is sent once (RFC 6613 section 2.6.1); a connection that
//! ends is made again, with growing pauses after failures. Over RADIUS/1.1 (RFC 9765) the Token takes the
//! place of the identifier, and nothing is signed or hidden.
//!
//! Whoever proves nothing is counted and ignored: a wrong Response Authenticator, a wrong or missing
//! Message-Authenticator, an identifier that nobody waits for.

mod datagrams;
mod pending;
mod reply;
mod request;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock;
use crate::radius::attribute::{ERROR_CAUSE, PROTOCOL_ERROR};
use crate::radius::channel::Channel;
use crate::radius::crypto::SharedSecret;
use crate::radius::pairs::Hiding;
use crate::secret::Secret;

pub use reply::Reply;
pub use request::Request;

/// A server, and how to reach it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Address and port.
    pub address: SocketAddr,
    /// How packets travel there.
    pub transport: Transport,
    /// Whether replies to Access-Request and Status-Server over UDP and TCP must carry a
    /// Message-Authenticator; without it they can be forged (CVE-2024-3596). Over TLS it need not be there.
    /// One that is there must be right in any case. RADIUS/1.1 has none.
    pub signed_replies: bool,
}

/// How packets travel to a server.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Datagrams.
    Udp(SharedSecret),
    /// A TCP connection without TLS.
    Tcp(SharedSecret),
    /// TLS.
    Tls(TlsTarget),
}

/// A server that is reached over TLS.
#[derive(Clone, Debug)]
pub struct TlsTarget {
    /// Whom to trust and as whom to appear: [`crate::tls::client::Settings::config`].
    pub config: Arc<ClientConfig>,
    /// The name that the server's certificate must be for.
    pub name: ServerName<'static>,
    /// The secret of packets that are not RADIUS/1.1.
    pub secret: SharedSecret,
    /// Which versions of RADIUS to offer; `config` must offer the same by ALPN ([`Version::alpn`]).
    pub version: Version,
}

/// The versions of RADIUS over TLS that a client offers (RFC 9765 section 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// Both; the server chooses, and one that knows of no choice speaks 1.0.
    #[default]
    Auto,
    /// RADIUS/1.0: RFC 6614.
    V1_0,
    /// RADIUS/1.1, and no connection with a server that does not speak it.
    V1_1,
}

impl Version {
    /// The protocol names to offer, most wanted first.
    pub const fn alpn(self) -> &'static [&'static [u8]] {
        match self {
            Self::Auto => &[RADIUS_1_1, b"radius/1.0"],
            Self::V1_0 => &[b"radius/1.0"],
            Self::V1_1 => &[RADIUS_1_1],
        }
    }
}

const RADIUS_1_1: &[u8] = b"radius/1.1";

/// The secret of RADIUS over TLS where none is agreed on (RFC 6614 section 2.3).
pub fn radsec_secret() -> SharedSecret {
    SharedSecret::new(&Secret::new("radsec"))
}

/// How long to wait, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The pause before the second datagram, give or take a tenth; each further pause is twice as long
    /// (RFC 5080 section 2.2.1: IRT).
    pub first: Duration,
    /// The longest pause (MRT).
    pub longest: Duration,
    /// Most datagrams with one question (MRC).
    pub tries: u32,
    /// Longest time for one answer (MRD), and for making a connection: at most five seconds of it.
    pub total: Duration,
    /// Most questions in flight.
    pub in_flight: usize,
    /// Most questions that wait for others to be answered; further ones fail at once.
    pub waiting: usize,
}

impl Default for Patience {
    /// The times of RFC 5080 section 2.2.1.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            longest: Duration::from_secs(16),
            tries: 5,
            total: Duration::from_secs(30),
            in_flight: 1024,
            waiting: 1024,
        }
    }
}

impl Patience {
    /// `tries` datagrams with the same pause between them.
    pub fn steady(pause: Duration, tries: u32) -> Self {
        Self {
            first: pause,
            longest: pause,
            tries,
            total: pause.saturating_mul(tries),
            ..Self::default()
        }
    }
}

/// Why a question has no answer. None of these says anything about what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The question fits no packet: 4096 octets, 253 to an attribute, 128 to a password.
    #[error("the request does not fit a RADIUS packet")]
    TooLong,
    /// As many questions as may wait are waiting already.
    #[error("too many requests are waiting for {0}")]
    Busy(SocketAddr),
    /// No connection, or no socket.
    #[error("cannot connect to {server}")]
    Connect {
        /// The server.
        server: SocketAddr,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The connection ended before the answer came.
    #[error("{server} closed the connection")]
    Lost {
        /// The server.
        server: SocketAddr,
    },
    /// No reply that proves itself, in time.
    #[error("no answer from {server} in time{}", unproven_text(*.unproven))]
    Silence {
        /// The server.
        server: SocketAddr,
        /// Replies to this question that proved nothing: a sign of a wrong shared secret, or of a server that
        /// does not sign.
        unproven: u32,
    },
    /// Protocol-Error (RFC 7930 section 4): the server will not have this packet.
    #[error("{server} answered with Protocol-Error{}", cause_text(*.cause))]
    Refused {
        /// The server.
        server: SocketAddr,
        /// Error-Cause (RFC 5176 section 3.5).
        cause: Option<u32>,
    },
}

fn unproven_text(unproven: u32) -> String {
    match unproven {
        0 => String::new(),
        many => format!(
            "; {many} replies proved nothing: the shared secret differs, or the server sends no Message-Authenticator \
             where one is required"
        ),
    }
}

fn cause_text(cause: Option<u32>) -> String {
    cause.map_or_else(String::new, |cause| format!(", Error-Cause {cause}"))
}

/// What an exchange has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Questions asked.
    pub asked: u64,
    /// Datagrams sent again.
    pub retransmitted: u64,
    /// Proven replies.
    pub answered: u64,
    /// Replies that proved nothing, were malformed, or came too late to be known.
    pub unproven: u64,
    /// Questions without an answer.
    pub failed: u64,
    /// Questions in flight now.
    pub in_flight: usize,
}

/// Asks one server. Clones share sockets and connections; they close when the last clone goes. Needs a
/// tokio runtime.
#[derive(Clone, Debug)]
pub struct Exchange {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: Target,
    patience: Patience,
    path: Path,
    counters: Arc<Counters>,
    /// A permit for each question in flight or waiting.
    admitted: Semaphore,
    /// A permit for each question in flight.
    under_way: Semaphore,
}

#[derive(Debug)]
enum Path {
    Datagrams(datagrams::Sockets),
    Stream(stream::Link),
}

#[derive(Debug, Default)]
struct Counters {
    asked: AtomicU64,
    retransmitted: AtomicU64,
    answered: AtomicU64,
    unproven: AtomicU64,
    failed: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Exchange {
    /// Prepares to ask `target`. Sockets and connections are made when the first question is asked.
    pub fn connect(target: Target, patience: Patience) -> Self {
        let counters = Arc::new(Counters::default());
        let path = match &target.transport {
            Transport::Udp(secret) => Path::Datagrams(datagrams::Sockets::new(
                target.address,
                secret.clone(),
                target.signed_replies,
                patience.in_flight,
                Arc::clone(&counters),
            )),
            Transport::Tcp(_) | Transport::Tls(_) => {
                Path::Stream(stream::Link::new(target.clone(), patience.total, Arc::clone(&counters)))
            }
        };
        let admitted = patience.in_flight.saturating_add(patience.waiting);
        Self {
            shared: Arc::new(Shared {
                target,
                patience,
                path,
                counters,
                admitted: Semaphore::new(admitted.min(Semaphore::MAX_PERMITS)),
                under_way: Semaphore::new(patience.in_flight.min(Semaphore::MAX_PERMITS)),
            }),
        }
    }

    /// Asks, and waits for a proven reply. Dropping the future gives up.
    ///
    /// # Errors
    /// [`Failure`]. After every one but [`Failure::TooLong`] and [`Failure::Busy`] the server may have got
    /// the question and acted on it.
    pub async fn ask(&self, request: &Request) -> Result<Reply, Failure> {
        let shared = &self.shared;
        let server = shared.target.address;
        let _admitted = shared.admitted.try_acquire().map_err(|_| Failure::Busy(server))?;
        count(&shared.counters.asked);
        let result = self.settle(request).await;
        count(match result {
            Ok(_) => &shared.counters.answered,
            Err(_) => &shared.counters.failed,
        });
        result
    }

    /// Whether the server answers Status-Server (RFC 5997).
    ///
    /// # Errors
    /// As for [`Exchange::ask`].
    pub async fn status(&self) -> Result<Reply, Failure> {
        self.ask(&Request::status_server()).await
    }

    /// Where the questions go.
    pub fn server(&self) -> SocketAddr {
        self.shared.target.address
    }

    /// How packets travel; which version of RADIUS is spoken over TLS shows once there is a connection.
    pub fn channel(&self) -> Channel {
        match &self.shared.path {
            Path::Datagrams(_) => Channel::Udp,
            Path::Stream(link) => link.channel(),
        }
    }

    /// What encrypted values of a reply are read with.
    pub fn hiding<'a>(&'a self, reply: &'a Reply) -> Hiding<'a> {
        let secret = match &self.shared.target.transport {
            Transport::Udp(secret) | Transport::Tcp(secret) => secret,
            Transport::Tls(tls) => &tls.secret,
        };
        match reply.channel() {
            Channel::Udp | Channel::Tcp | Channel::Tls => Some((secret, reply.request_authenticator())),
            Channel::Tls11 => None,
        }
    }

    /// What has been done so far.
    pub fn figures(&self) -> Figures {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            asked: read(&counters.asked),
            retransmitted: read(&counters.retransmitted),
            answered: read(&counters.answered),
            unproven: read(&counters.unproven),
            failed: read(&counters.failed),
            in_flight: self
                .shared
                .patience
                .in_flight
                .saturating_sub(self.shared.under_way.available_permits()),
        }
    }

    async fn settle(&self, request: &Request) -> Result<Reply, Failure> {
        let shared = &self.shared;
        let server = shared.target.address;
        let deadline = clock::monotonic() + shared.patience.total;
        let silence = Failure::Silence { server, unproven: 0 };
        let Ok(permit) = timeout(shared.patience.total, shared.under_way.acquire()).await else {
            return Err(silence);
        };
        let _under_way = permit.map_err(|_| silence)?;
        let reply = match &shared.path {
            Path::Datagrams(sockets) => sockets.ask(request, &shared.patience, deadline).await?,
            Path::Stream(link) => link.ask(request, deadline).await?,
        };
        if reply.code() == PROTOCOL_ERROR {
            return Err(Failure::Refused {
                server,
                cause: reply.find_u32(ERROR_CAUSE),
            });
        }
        Ok(reply)
    }
}

/// The pauses between datagrams (RFC 5080 section 2.2.1).
#[derive(Debug)]
struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    fn new(patience: &Patience) -> Self {
        Self {
            next: patience.first,
            longest: patience.longest,
        }
    }

    /// `chance` is 0 to 255: how far the pause lies between nine and eleven tenths.
    fn next(&mut self, chance: u8) -> Duration {
        let spread = self.next / 5;
        let pause = self.next - self.next / 10 + spread * u32::from(chance) / 255;
        self.next = self.next.saturating_mul(2).min(self.longest);
        pause
    }
}
