//! Servers of one directory and pools of connections to them.
//!
//! A pool lends each connection to one task at a time, which writes and reads itself: an exchange costs
//! one write, one read and one wake-up. What waits is bounded in number and in time. A connection comes
//! back only after a complete exchange; whatever happens in between (an error, a time-out, a caller that
//! goes away) closes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tracing::{info, warn};

use crate::clock;
use crate::directory::ServerStatus;
use crate::directory::wire::{Connection, Target, WireError, chain};

/// One server and how it is doing.
pub(super) struct Server {
    target: Target,
    healthy: AtomicBool,
    /// Grows when the server is given up: connections of an earlier life are not used again.
    life: AtomicU64,
    connections: AtomicUsize,
    latency_us: AtomicU64,
    used: AtomicBool,
    error: Mutex<Option<String>>,
    given_up: Notify,
}

impl Server {
    /// A server that counts as healthy until tried.
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            healthy: AtomicBool::new(true),
            life: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            latency_us: AtomicU64::new(0),
            used: AtomicBool::new(false),
            error: Mutex::new(None),
            given_up: Notify::new(),
        }
    }

    /// The URL.
    pub(super) fn url(&self) -> &str {
        &self.target.url
    }

    /// Whether new work goes there.
    pub(super) fn is_healthy(&self) -> bool {
        self.healthy.load(Ordering::Acquire)
    }

    /// Opens a connection that belongs to no pool.
    pub(super) async fn open(&self) -> Result<Connection, WireError> {
        Connection::open(&self.target).await
    }

    /// Gives the server up until it is seen to answer again.
    pub(super) fn give_up(&self, why: &str) {
        *self.error.lock() = Some(why.to_owned());
        self.life.fetch_add(1, Ordering::AcqRel);
        if self.healthy.swap(false, Ordering::AcqRel) {
            warn!(server = self.url(), error = why, "directory server is given up for now");
            self.given_up.notify_one();
        }
    }

    /// Takes note of an answer that took `span`.
    pub(super) fn answered(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.store(micros.max(1), Ordering::Relaxed);
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Sends new work there again.
    pub(super) fn take_back(&self, span: Duration) {
        self.answered(span);
        *self.error.lock() = None;
        if !self.healthy.swap(true, Ordering::AcqRel) {
            info!(server = self.url(), "directory server answers again");
        }
    }

    /// Waits until the server is to be tried: an `interval` after the last try, or shortly after it was
    /// given up. Returns whether it needs trying, because it failed or was not used since.
    pub(super) async fn next_try(&self, interval: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = self.given_up.notified() => tokio::time::sleep(interval.min(SECOND_CHANCE)).await,
        }
        !self.used.swap(false, Ordering::Relaxed) || !self.is_healthy()
    }

    /// For `status`.
    pub(super) fn status(&self) -> ServerStatus {
        let micros = self.latency_us.load(Ordering::Relaxed);
        let millis = Duration::from_micros(micros).as_secs_f64() * 1000.0;
        ServerStatus {
            address: self.target.url.clone(),
            healthy: self.is_healthy(),
            latency_ms: (micros > 0).then_some(millis),
            connections: self.connections.load(Ordering::Relaxed),
            error: self.error.lock().clone(),
        }
    }
}

/// Why there is no connection to be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    #[error("{0} requests are waiting for a connection already")]
    QueueFull(usize),
    #[error("no server is reachable: {0}")]
    NoServer(String),
    #[error("the pool is closed")]
    Stopped,
}

/// Connections for one purpose, over the servers in order of preference.
pub(super) struct Pool {
    servers: Arc<[Arc<Server>]>,
    permits: Semaphore,
    waiting: AtomicUsize,
    longest_queue: usize,
    idle: Mutex<Vec<Pooled>>,
}

/// A connection and where it leads.
struct Pooled {
    connection: Connection,
    server: Arc<Server>,
    life: u64,
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.server.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection lent to one task. Dropping it closes the connection; [`Lease::give_back`] keeps it.
pub(super) struct Lease<'a> {
    pooled: Pooled,
    pool: &'a Pool,
    /// Whether it was open before, and so may have been closed by the server meanwhile.
    pub(super) reused: bool,
    started: Instant,
    // Last, so that the connection is back before the next in the queue is let in.
    _permit: SemaphorePermit<'a>,
}

/// What a request was doing, for whoever ends it early.
#[derive(Default)]
pub(super) struct Progress {
    busy_with: Option<(Arc<Server>, Instant)>,
}

impl Progress {
    /// The time is over: a server that had a fair part of it to answer is given up.
    pub(super) fn timed_out(self, allowed: Duration) -> String {
        let Some((server, since)) = self.busy_with else {
            return format!("no connection was free within {allowed:?}");
        };
        let text = format!("{} did not answer within {allowed:?}", server.url());
        if clock::monotonic().duration_since(since) >= allowed / 2 {
            server.give_up(&text);
        }
        text
    }

    fn busy_with(&mut self, server: &Arc<Server>) -> Instant {
        let now = clock::monotonic();
        self.busy_with = Some((Arc::clone(server), now));
        now
    }
}

impl Pool {
    /// At most `size` connections, with `longest_queue` requests waiting for one.
    pub(super) fn new(servers: Arc<[Arc<Server>]>, size: usize, longest_queue: usize) -> Self {
        Self {
            servers,
            permits: Semaphore::new(size.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
            longest_queue,
            idle: Mutex::new(Vec::with_capacity(size.min(1024))),
        }
    }

    /// Requests waiting for a connection.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lends a connection to the first healthy server, after waiting for one to be free.
    ///
    /// `fresh` skips the idle ones. Waiting has no end of its own: the caller sets one around the whole
    /// exchange, and asks `progress` what to make of it.
    pub(super) async fn lease(&self, fresh: bool, progress: &mut Progress) -> Result<Lease<'_>, LeaseError> {
        let permit = self.permit().await?;
        loop {
            let Some(server) = self.servers.iter().find(|server| server.is_healthy()) else {
                return Err(LeaseError::NoServer(self.why_none()));
            };
            let started = progress.busy_with(server);
            if !fresh && let Some(pooled) = self.take_idle(server) {
                return Ok(Lease {
                    pooled,
                    pool: self,
                    reused: true,
                    started,
                    _permit: permit,
                });
            }
            let life = server.life.load(Ordering::Acquire);
            match server.open().await {
                Ok(connection) => {
                    server.connections.fetch_add(1, Ordering::Relaxed);
                    return Ok(Lease {
                        pooled: Pooled {
                            connection,
                            server: Arc::clone(server),
                            life,
                        },
                        pool: self,
                        reused: false,
                        started,
                        _permit: permit,
                    });
                }
                Err(error) => server.give_up(&chain(&error)),
            }
        }
    }

    /// Closes the idle connections to `server`.
    pub(super) fn forget_idle(&self, server: &Arc<Server>) {
        let stale: Vec<Pooled> = self
            .idle
            .lock()
            .extract_if(.., |pooled| Arc::ptr_eq(&pooled.server, server))
            .collect();
        drop(stale);
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, LeaseError> {
        if let Ok(permit) = self.permits.try_acquire() {
            return Ok(permit);
        }
        let place = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.longest_queue {
            return Err(LeaseError::QueueFull(self.longest_queue));
        }
        let permit = self.permits.acquire().await.map_err(|_| LeaseError::Stopped);
        drop(place);
        permit
    }

    /// The idle connection used last that is still good; those that are not are closed.
    fn take_idle(&self, server: &Arc<Server>) -> Option<Pooled> {
        loop {
            let mut pooled = self.idle.lock().pop()?;
            if Arc::ptr_eq(&pooled.server, server) && pooled.is_current() && !pooled.connection.is_stale() {
                return Some(pooled);
            }
        }
    }

    fn why_none(&self) -> String {
        let told = |server: &Arc<Server>| {
            let error = server.error.lock();
            format!("{}: {}", server.url(), error.as_deref().unwrap_or("given up"))
        };
        self.servers.iter().map(told).collect::<Vec<_>>().join("; ")
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pooled {
    fn is_current(&self) -> bool {
        self.life == self.server.life.load(Ordering::Acquire)
    }
}

impl<'a> Lease<'a> {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.pooled.connection
    }

    /// The server it leads to.
    pub(super) fn server(&self) -> &Arc<Server> {
        &self.pooled.server
    }

    /// Returns the connection after a complete exchange.
    pub(super) fn give_back(self) {
        let Self {
            pooled, pool, started, ..
        } = self;
        pooled
            .server
            .answered(clock::monotonic().saturating_duration_since(started));
        if pooled.is_current() {
            pool.idle.lock().push(pooled);
        }
    }

    /// Closes the connection after `error`, and judges the server by it. One closed while it lay idle
    /// says nothing of the server, but the others that lay idle are not trusted any more.
    pub(super) fn failed(self, error: &WireError) -> String {
        let text = format!("{}: {}", self.server().url(), chain(error));
        if self.reused && error.is_closed() {
            self.pool.forget_idle(self.server());
        } else {
            self.server().give_up(&chain(error));
        }
        text
    }
}

/// How soon a server that was given up is tried for the first time.
const SECOND_CHANCE: Duration = Duration::from_millis(250);
