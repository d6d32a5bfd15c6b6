//! The servers of one directory in order of preference, and the one prober that each of them has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::causes::in_full;
use crate::clock::{self, Timestamp};
use crate::directory::ServerStatus;
use crate::directory::bind;
use crate::directory::filter::Filter;
use crate::directory::health::{Health, Standing};
use crate::directory::pool::Lane;
use crate::directory::resolve::Resolver;
use crate::directory::search::{Answer, Scope, Search};
use crate::directory::wire::{Connection, Target, WireError};

/// What all servers of a directory have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Connections to one server, for look-ups.
    pub(super) look_ups: usize,
    /// Connections to one server, for trying passwords.
    pub(super) binds: usize,
    /// Longest time for one answer.
    pub(super) timeout: Duration,
    /// Between tries of a server.
    pub(super) health_interval: Duration,
    /// Longest life of a connection, less up to a fifth by chance so that not all end at once.
    pub(super) max_age: Duration,
    /// Longest time that a connection lies idle.
    pub(super) max_idle: Duration,
}

/// The servers, which may change at any time.
pub(super) struct Servers {
    terms: Terms,
    list: ArcSwap<Vec<Listed>>,
    /// Why there is none, when the list is empty.
    absence: Mutex<Option<String>>,
    /// Whether it is known which servers there are, or that none can be found for now.
    settled: watch::Sender<bool>,
}

/// A server and its prober, which ends with its place in the list.
#[derive(Clone)]
pub(super) struct Listed {
    pub(super) server: Arc<Server>,
    _prober: Arc<AbortOnDropHandle<()>>,
}

impl Servers {
    /// Starts watching the servers.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(super) fn new(targets: Vec<Target>, terms: Terms) -> Self {
        let servers = Self::unknown(terms);
        servers.replace(targets);
        servers.settle(None);
        servers
    }

    /// None yet: they are still being looked for.
    pub(super) fn unknown(terms: Terms) -> Self {
        Self {
            terms,
            list: ArcSwap::default(),
            absence: Mutex::default(),
            settled: watch::Sender::new(false),
        }
    }

    /// Who waits to know which servers there are waits no longer. `absence` says why there are none.
    pub(super) fn settle(&self, absence: Option<String>) {
        *self.absence.lock() = absence;
        self.settled.send_replace(true);
    }

    /// Waits until it is known which servers there are; whether it was not before. Waiting has no end of its own.
    pub(super) async fn wait_until_settled(&self) -> bool {
        let mut settled = self.settled.subscribe();
        if *settled.borrow_and_update() {
            return false;
        }
        settled.wait_for(|settled| *settled).await.is_ok()
    }

    /// Makes these the servers, in this order. Those that were there before stay as they are, with their
    /// connections; those that are gone get no more work.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(super) fn replace(&self, targets: Vec<Target>) {
        let old = self.list.load_full();
        let keep = |target: Target| {
            let same = |listed: &&Listed| listed.server.target.url == target.url;
            old.iter().find(same).cloned().unwrap_or_else(|| self.listed(target))
        };
        let new: Vec<Listed> = targets.into_iter().map(keep).collect();
        let stays = |server: &Arc<Server>| new.iter().any(|listed| Arc::ptr_eq(&listed.server, server));
        let gone: Vec<Arc<Server>> = old
            .iter()
            .map(|listed| Arc::clone(&listed.server))
            .filter(|server| !stays(server))
            .collect();
        self.list.store(Arc::new(new));
        gone.iter().for_each(|server| server.retire());
    }

    /// All of them.
    pub(super) fn all(&self) -> Guard<Arc<Vec<Listed>>> {
        self.list.load()
    }

    /// Where new work goes: to the first that is healthy, else to the first that answers.
    pub(super) fn best(&self) -> Option<Arc<Server>> {
        let all = self.list.load();
        let first = |standing| all.iter().find(|listed| listed.server.standing() == standing);
        let best = first(Standing::Healthy).or_else(|| first(Standing::Returning))?;
        Some(Arc::clone(&best.server))
    }

    /// Why there is none to be had, for logs.
    pub(super) fn why_none(&self) -> String {
        let told = |listed: &Listed| {
            let server = &listed.server;
            let health = server.health.lock();
            format!("{}: {}", server.url(), health.error().unwrap_or("given up"))
        };
        let all: Vec<String> = self.list.load().iter().map(told).collect();
        if all.is_empty() {
            return self.absence.lock().clone().unwrap_or_else(|| "none is known".into());
        }
        all.join("; ")
    }

    fn listed(&self, target: Target) -> Listed {
        let server = Arc::new(Server::new(target, self.terms));
        let prober = tokio::spawn(look_after(Arc::clone(&server)));
        Listed {
            server,
            _prober: Arc::new(AbortOnDropHandle::new(prober)),
        }
    }
}

/// One server and how it is doing.
pub(super) struct Server {
    target: Target,
    resolver: Resolver,
    terms: Terms,
    /// The standing of `health`, to be read without a lock.
    standing: AtomicU8,
    /// Grows when the server is given up: connections of an earlier life are not used again.
    life: AtomicU64,
    latency_us: AtomicU64,
    /// When it answered last, in milliseconds since the epoch; 0 is never.
    answered_at: AtomicU64,
    used: AtomicBool,
    health: Mutex<Health>,
    /// Wakes whoever waits for a place here.
    given_up: Notify,
    /// Wakes the prober.
    alarm: Notify,
    pub(super) look_ups: Lane,
    pub(super) binds: Lane,
    /// Connections that clients' operations are relayed over.
    relayed: Arc<AtomicUsize>,
}

impl Server {
    fn new(target: Target, terms: Terms) -> Self {
        Self {
            resolver: Resolver::new(&target.host, target.port, target.dns.clone()),
            target,
            terms,
            standing: AtomicU8::new(HEALTHY),
            life: AtomicU64::new(0),
            latency_us: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
            used: AtomicBool::new(false),
            health: Mutex::new(Health::new(clock::monotonic())),
            given_up: Notify::new(),
            alarm: Notify::new(),
            look_ups: Lane::new(terms.look_ups),
            binds: Lane::new(terms.binds),
            relayed: Arc::default(),
        }
    }

    /// The URL.
    pub(super) fn url(&self) -> &str {
        &self.target.url
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// How it stands.
    pub(super) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Acquire) {
            HEALTHY => Standing::Healthy,
            RETURNING => Standing::Returning,
            _ => Standing::GivenUp,
        }
    }

    /// Which of its lives this is.
    pub(super) fn life(&self) -> u64 {
        self.life.load(Ordering::Acquire)
    }

    /// Counts the connections that are relayed over.
    pub(super) fn relayed(&self) -> &Arc<AtomicUsize> {
        &self.relayed
    }

    /// Opens a connection that belongs to no pool.
    pub(super) async fn open(&self) -> Result<Connection, WireError> {
        Connection::open(&self.target, &self.resolver).await
    }

    /// Gives the server up until it is seen to answer again.
    pub(super) fn give_up(&self, why: &str) {
        let mut health = self.health.lock();
        if health.give_up(clock::monotonic(), self.terms.health_interval, why) {
            self.leave(&health);
            drop(health);
            warn!(server = self.url(), error = why, "directory server is given up for now");
            self.alarm.notify_one();
        }
    }

    /// Takes note of an answer that took `span`.
    pub(super) fn answered(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.store(micros.max(1), Ordering::Relaxed);
        self.answered_at.store(clock::now().millis(), Ordering::Relaxed);
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Waits until the server is given up; not at all when it is.
    pub(super) async fn until_given_up(&self) {
        loop {
            let mut told = std::pin::pin!(self.given_up.notified());
            told.as_mut().enable();
            if self.standing() == Standing::GivenUp {
                return;
            }
            told.await;
        }
    }

    /// Asks for its root entry over a new connection, and judges it by the answer. Whoever answered real work
    /// meanwhile is not given up for it.
    pub(super) async fn try_now(&self) {
        let started = clock::monotonic();
        self.used.store(false, Ordering::Relaxed);
        let timeout = self.terms.timeout;
        let ask = async {
            let mut connection = self.open().await?;
            read_root(&mut connection).await
        };
        let error = match tokio::time::timeout(timeout, ask).await {
            Ok(Ok(None)) => return self.try_answered(started),
            Ok(Ok(Some(refusal))) => format!("the server answered {refusal}"),
            Ok(Err(error)) => in_full(&error),
            Err(_) => format!("no answer within {timeout:?}"),
        };
        if self.standing() == Standing::Healthy && self.used.load(Ordering::Relaxed) {
            info!(
                server = self.url(),
                error, "directory server has not answered a try, but others"
            );
            return;
        }
        self.give_up(&error);
        self.health.lock().try_failed();
    }

    /// For `status`.
    pub(super) fn status(&self) -> ServerStatus {
        let micros = self.latency_us.load(Ordering::Relaxed);
        let millis = Duration::from_micros(micros).as_secs_f64() * 1000.0;
        let (now, moment) = (clock::monotonic(), clock::now());
        let health = self.health.lock();
        ServerStatus {
            address: self.target.url.clone(),
            healthy: health.standing() != Standing::GivenUp,
            standing: health.standing(),
            since: Some(moment - now.saturating_duration_since(health.since())),
            next_try: health.next_try().map(|at| moment + at.saturating_duration_since(now)),
            given_up: health.times_given_up(),
            latency_ms: (micros > 0).then_some(millis),
            last: Some(self.answered_at.load(Ordering::Relaxed))
                .filter(|at| *at > 0)
                .map(Timestamp::from_millis),
            connections: self.look_ups.open() + self.binds.open(),
            relayed: self.relayed.load(Ordering::Relaxed),
            error: health.error().map(str::to_owned),
        }
    }

    fn try_answered(&self, started: Instant) {
        let now = clock::monotonic();
        self.answered(now.saturating_duration_since(started));
        let mut health = self.health.lock();
        let (before, after) = health.try_answered(now);
        self.standing.store(number(after), Ordering::Release);
        drop(health);
        if before != after {
            info!(
                server = self.url(),
                standing = after.word(),
                "directory server answers again"
            );
        }
    }

    /// No work goes there any more, because it is configured no more.
    fn retire(&self) {
        let mut health = self.health.lock();
        health.give_up(clock::monotonic(), self.terms.health_interval, "is not in use any more");
        self.leave(&health);
    }

    /// Makes known that the server is given up. Under the lock, so that standings are published in order.
    fn leave(&self, health: &Health) {
        self.standing.store(number(health.standing()), Ordering::Release);
        self.life.fetch_add(1, Ordering::AcqRel);
        self.look_ups.clear();
        self.binds.clear();
        self.given_up.notify_waiters();
    }

    /// Waits until the server is to be looked at; whether it needs a try, because it is not trusted or was
    /// not used since.
    async fn next_look(&self) -> bool {
        let pause = {
            let mut health = self.health.lock();
            let pause = by_chance(health.pause(self.terms.health_interval), PAUSE_SPREAD);
            health.will_be_tried(clock::monotonic() + pause);
            pause
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The pause is a shorter one now.
            () = self.alarm.notified() => return false,
        }
        !self.used.swap(false, Ordering::Relaxed) || self.standing() != Standing::Healthy
    }
}

/// `span`, less up to `fraction` of it by chance.
pub(super) fn by_chance(span: Duration, fraction: f64) -> Duration {
    let chance = f64::from(u16::from_be_bytes(clock::random::<2>())) / f64::from(u16::MAX);
    span.mul_f64(1.0 - fraction * chance)
}

/// Tries a server that failed, or that was not needed, again and again; closes what was idle for too long.
async fn look_after(server: Arc<Server>) {
    loop {
        if server.next_look().await {
            server.try_now().await;
        }
        let now = clock::monotonic();
        server.look_ups.sweep(now);
        server.binds.sweep(now);
    }
}

/// Whether the server is at work: any answer will do, except that it is busy or unavailable.
async fn read_root(connection: &mut Connection) -> Result<Option<String>, WireError> {
    let (id, out) = connection.request();
    let search = Search {
        base: "",
        scope: Scope::Base,
        size_limit: 1,
        time_limit: 0,
        filter: &Filter::Present("objectClass".into()),
        attributes: &["1.1".to_owned()],
    };
    search.encode(id, out);
    connection.send().await?;
    loop {
        let message = connection.receive().await?;
        match Answer::read(&message)? {
            Answer::Entry(_) | Answer::Reference => {}
            Answer::Done { code, diagnostic } => {
                let not_now = matches!(code, bind::BUSY | bind::UNAVAILABLE);
                return Ok(not_now.then(|| bind::describe(code, diagnostic)));
            }
        }
    }
}

const fn number(standing: Standing) -> u8 {
    match standing {
        Standing::Healthy => HEALTHY,
        Standing::Returning => RETURNING,
        Standing::GivenUp => GIVEN_UP,
    }
}

const HEALTHY: u8 = 0;
const RETURNING: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Part of a pause that chance takes away: many proxies do not ask in step.
const PAUSE_SPREAD: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::pool::{LeaseError, Pool, Progress, Purpose};
    use crate::directory::wire::Security;

    fn target(port: u16) -> Target {
        Target {
            url: format!("ldap://127.0.0.1:{port}"),
            host: "127.0.0.1".into(),
            port,
            security: Security::Plain,
            connect_timeout: Duration::from_secs(5),
            dns: None,
        }
    }

    fn terms() -> Terms {
        Terms {
            look_ups: 1,
            binds: 1,
            timeout: Duration::from_secs(5),
            health_interval: Duration::from_secs(3600),
            max_age: Duration::from_secs(3600),
            max_idle: Duration::from_secs(3600),
        }
    }

    #[tokio::test]
    async fn the_list_changes_and_those_who_stay_keep_their_connections() {
        let one = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let two = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap().port();
        let (one, two) = ((port(&one), one), (port(&two), two));
        let servers = Arc::new(Servers::new(vec![target(one.0)], terms()));
        let pool = Arc::new(Pool::new(Arc::clone(&servers), Purpose::Binds, 10));
        let mut progress = Progress::default();
        pool.lease(false, &mut progress).await.unwrap().give_back();
        let first = servers.best().unwrap();
        assert_eq!(first.status().connections, 1);

        servers.replace(vec![target(two.0), target(one.0)]);
        assert_eq!(servers.best().unwrap().url(), target(two.0).url);
        assert!(Arc::ptr_eq(&servers.all()[1].server, &first));
        assert_eq!(first.status().connections, 1);

        // Who waits for a server that is taken out goes on to the next.
        servers.replace(vec![target(one.0), target(two.0)]);
        let lent = pool.lease(false, &mut progress).await.unwrap();
        assert!(lent.reused);
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move {
                pool.lease(false, &mut Progress::default())
                    .await
                    .map(|lease| lease.server().url().to_owned())
            }
        });
        while pool.waiting() == 0 {
            tokio::task::yield_now().await;
        }
        servers.replace(vec![target(two.0)]);
        assert_eq!(waiting.await.unwrap().unwrap(), target(two.0).url);
        lent.give_back();
        assert_eq!(first.status().connections, 0, "its connections are not kept");

        servers.replace(Vec::new());
        let none = pool.lease(false, &mut progress).await;
        assert!(matches!(none, Err(LeaseError::NoServer(why)) if why == "none is known"));
    }
}
