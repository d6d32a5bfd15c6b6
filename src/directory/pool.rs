//! Pools of connections to the servers of one directory.
//!
//! A pool lends each connection to one task at a time, which writes and reads itself: an exchange costs
//! one write, one read and one wake-up. What waits is bounded in number and in time. A connection comes
//! back only after a complete exchange; whatever happens in between (an error, a time-out, a caller that
//! goes away) closes it.
//!
//! Places are counted for each server: those that wait for one which has stopped answering take none from
//! the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::causes::in_full;
use crate::clock;
use crate::directory::servers::{Server, Servers, Terms, by_chance};
use crate::directory::wire::{Connection, WireError};

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

/// What a connection is for. The two never mix: after a user's bind a connection has that user's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    LookUps,
    Binds,
}

/// Connections for one purpose.
pub(super) struct Pool {
    servers: Arc<Servers>,
    purpose: Purpose,
    waiting: AtomicUsize,
    longest_queue: usize,
}

/// One server's connections for one purpose.
pub(super) struct Lane {
    places: Arc<Semaphore>,
    /// Those not lent, the one used last at the end.
    idle: Mutex<Vec<Pooled>>,
    open: Arc<AtomicUsize>,
}

/// A connection and how long it may be used.
struct Pooled {
    connection: Connection,
    /// Of the server's lives, the one that it was opened in.
    life: u64,
    /// When it is too old.
    ends: Instant,
    /// When it has been idle for too long.
    stale: Instant,
    _count: Count,
}

/// A connection lent to one task. Dropping it closes the connection; [`Lease::give_back`] keeps it.
pub(super) struct Lease {
    pooled: Pooled,
    server: Arc<Server>,
    purpose: Purpose,
    /// Whether it was open before, and so may have been closed by the server meanwhile.
    pub(super) reused: bool,
    started: Instant,
    // Last, so that the connection is back before the next in the queue is let in.
    _place: OwnedSemaphorePermit,
}

/// What a request was doing, for whoever ends it early.
#[derive(Default)]
pub(super) struct Progress {
    busy_with: Option<(Arc<Server>, Instant)>,
    /// Whether something was asked for that may be done although no answer comes.
    pub(super) asked: bool,
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

    pub(super) fn busy_with(&mut self, server: &Arc<Server>) -> Instant {
        let now = clock::monotonic();
        self.busy_with = Some((Arc::clone(server), now));
        now
    }
}

impl Pool {
    /// With `longest_queue` requests waiting for a connection, at most.
    pub(super) fn new(servers: Arc<Servers>, purpose: Purpose, longest_queue: usize) -> Self {
        Self {
            servers,
            purpose,
            waiting: AtomicUsize::new(0),
            longest_queue,
        }
    }

    /// Requests waiting for a connection.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lends a connection to the best server, after waiting for one to be free; at once an error when no
    /// server is left. Before it is known which servers there are, that is waited for.
    ///
    /// `fresh` skips the idle ones. Waiting has no end of its own: the caller sets one around the whole
    /// exchange, and asks `progress` what to make of it.
    pub(super) async fn lease(&self, fresh: bool, progress: &mut Progress) -> Result<Lease, LeaseError> {
        loop {
            let Some(server) = self.servers.best() else {
                if self.servers.wait_until_settled().await {
                    continue;
                }
                return Err(LeaseError::NoServer(self.servers.why_none()));
            };
            let lane = server.lane(self.purpose);
            let Some(place) = self.place(&server, lane).await? else {
                continue;
            };
            let life = server.life();
            let started = progress.busy_with(&server);
            let idle = if fresh { None } else { lane.take_idle(life, started) };
            let reused = idle.is_some();
            let pooled = match idle {
                Some(pooled) => pooled,
                None => match server.open().await {
                    Ok(connection) => lane.admit(connection, life, started, server.terms()),
                    Err(error) => {
                        server.give_up(&in_full(&error));
                        continue;
                    }
                },
            };
            return Ok(Lease {
                pooled,
                server,
                purpose: self.purpose,
                reused,
                started,
                _place: place,
            });
        }
    }

    /// A place at `server`; none when the server is given up while one waits for it.
    async fn place(&self, server: &Server, lane: &Lane) -> Result<Option<OwnedSemaphorePermit>, LeaseError> {
        if let Ok(place) = Arc::clone(&lane.places).try_acquire_owned() {
            return Ok(Some(place));
        }
        let _in_queue = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.longest_queue {
            return Err(LeaseError::QueueFull(self.longest_queue));
        }
        tokio::select! {
            biased;
            () = server.until_given_up() => Ok(None),
            place = Arc::clone(&lane.places).acquire_owned() => {
                place.map(Some).map_err(|_| LeaseError::Stopped)
            }
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    fn lane(&self, purpose: Purpose) -> &Lane {
        match purpose {
            Purpose::LookUps => &self.look_ups,
            Purpose::Binds => &self.binds,
        }
    }
}

impl Lane {
    /// At most `size` connections.
    pub(super) fn new(size: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(size.clamp(1, Semaphore::MAX_PERMITS))),
            idle: Mutex::default(),
            open: Arc::default(),
        }
    }

    /// Connections, idle or lent.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Closes the idle ones.
    pub(super) fn clear(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }

    /// Closes those that are too old or were idle for too long.
    pub(super) fn sweep(&self, now: Instant) {
        let over: Vec<Pooled> = self
            .idle
            .lock()
            .extract_if(.., |pooled| !pooled.is_good_at(now))
            .collect();
        drop(over);
    }

    /// The idle connection used last that is still good; those that are not are closed.
    fn take_idle(&self, life: u64, now: Instant) -> Option<Pooled> {
        loop {
            let mut pooled = self.idle.lock().pop()?;
            if pooled.life == life && pooled.is_good_at(now) && !pooled.connection.is_stale() {
                return Some(pooled);
            }
        }
    }

    fn admit(&self, connection: Connection, life: u64, now: Instant, terms: &Terms) -> Pooled {
        Pooled {
            connection,
            life,
            ends: now + by_chance(terms.max_age, AGE_SPREAD),
            stale: now,
            _count: Count::new(&self.open),
        }
    }
}

impl Pooled {
    fn is_good_at(&self, now: Instant) -> bool {
        now < self.ends && now < self.stale
    }
}

/// One of a number of connections, for as long as it is there.
pub(super) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(super) fn new(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lease {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.pooled.connection
    }

    /// The server it leads to.
    pub(super) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Returns the connection after a complete exchange.
    pub(super) fn give_back(self) {
        let Self {
            mut pooled,
            server,
            purpose,
            started,
            ..
        } = self;
        let now = clock::monotonic();
        server.answered(now.saturating_duration_since(started));
        pooled.stale = now + server.terms().max_idle;
        let mut idle = server.lane(purpose).idle.lock();
        // Looked at under the lock, so that none is left behind when the server is given up just now.
        if pooled.life == server.life() && now < pooled.ends {
            idle.push(pooled);
        }
    }

    /// Closes the connection after `error`, and judges the server by it. One closed while it lay idle
    /// says nothing of the server, but the others that lay idle are not trusted any more.
    pub(super) fn failed(self, error: &WireError) -> String {
        let text = format!("{}: {}", self.server.url(), in_full(error));
        if self.reused && error.is_closed() {
            self.server.lane(self.purpose).clear();
        } else {
            self.server.give_up(&in_full(error));
        }
        text
    }
}

/// Part of a connection's longest life that chance takes away.
const AGE_SPREAD: f64 = 0.2;
