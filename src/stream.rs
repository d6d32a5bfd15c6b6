//! The audit on its way to collectors, as it is written: syslog (RFC 5424) or lines of JSON, over TLS.
//!
//! Records are sent in their order and at least once. How far a collector has come is kept in the store under the
//! stream's name, and moves only once a connection was closed in good order: its end is sent, and the collector has
//! answered with its own. Syslog has no other way to say that something was read, and what a connection that breaks
//! had still under way would be lost otherwise. After a break everything since is sent again; each record carries its
//! place in the chain, by which a collector knows it.

mod connection;
mod cursor;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::accounts::view::moment;
use crate::audit::export::Sender;
use crate::audit::{Audit, AuditLine, Filter};
use crate::causes::in_full;
use crate::clock::{self, Timestamp};
use crate::config::{AuditStream, StreamKind, StreamStart, StreamTransport};
use crate::store::Store;
use crate::tls::TlsError;

use connection::Peer;
use cursor::Cursor;

/// All streams, which come and go with the configuration.
pub struct Streams {
    source: Source,
    running: tokio::sync::Mutex<BTreeMap<String, Running>>,
    /// The same streams for those who only look.
    seen: Mutex<BTreeMap<String, Arc<Stream>>>,
}

/// Where records come from.
#[derive(Clone)]
pub struct Source {
    /// The audit.
    pub audit: Arc<Audit>,
    /// Keeps how far each collector has come.
    pub store: Arc<dyn Store>,
    /// The node's name, for syslog.
    pub host: String,
}

/// What is wrong with a stream's files.
#[derive(Debug, thiserror::Error)]
#[error("audit stream \"{name}\"")]
pub struct SetupError {
    /// The stream.
    name: String,
    /// What is wrong.
    #[source]
    error: Box<TlsError>,
}

/// How a stream is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Configured name.
    pub name: String,
    /// `syslog` or `json`.
    pub kind: String,
    /// The collector.
    pub target: String,
    /// `tls`, `tcp` or `udp`.
    pub transport: String,
    /// Whether a connection is open. Between records none needs to be.
    pub connected: bool,
    /// Records sent since the start, those that were sent again among them.
    pub sent: u64,
    /// The last record that the collector has certainly read.
    pub confirmed: u64,
    /// Records after it.
    pub waiting: u64,
    /// When it last took something.
    #[serde(default, with = "moment::option")]
    pub last: Option<Timestamp>,
    /// Milliseconds that the last connection took to open.
    pub latency_ms: Option<f64>,
    /// Since when it does not work, and why.
    #[serde(default, with = "moment::option")]
    pub failing: Option<Timestamp>,
    /// Why.
    pub error: Option<String>,
}

struct Running {
    stream: Arc<Stream>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Streams {
    /// None yet.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            running: tokio::sync::Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// Whether the files of these streams can be used. Blocks.
    ///
    /// # Errors
    /// For the first one that cannot, with its place in the list.
    pub fn check(settings: &[AuditStream]) -> Result<(), (usize, SetupError)> {
        for (index, settings) in settings.iter().enumerate() {
            Peer::new(settings).map_err(|error| (index, setup_error(settings, error)))?;
        }
        Ok(())
    }

    /// Starts and stops streams until there are just these. Those that stay the same go on, unless they use
    /// certificates, which may have been exchanged.
    ///
    /// # Errors
    /// When files cannot be used; the streams are as they were then.
    pub async fn replace(&self, settings: &[AuditStream]) -> Result<(), SetupError> {
        let mut running = self.running.lock().await;
        let list = settings.to_vec();
        let ready = tokio::task::spawn_blocking(move || {
            let ready = |settings: AuditStream| match Peer::new(&settings) {
                Ok(peer) => Ok(Stream::new(settings, peer)),
                Err(error) => Err(setup_error(&settings, error)),
            };
            list.into_iter().map(ready).collect::<Result<Vec<Stream>, SetupError>>()
        });
        let ready = match ready.await {
            Ok(ready) => ready?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        let stays = |name: &str, before: &Stream| {
            settings.iter().any(|wanted| {
                wanted.name == name
                    && *wanted == before.settings
                    && wanted.ca_file.is_none()
                    && wanted.certificate.is_none()
            })
        };
        let gone: Vec<String> = running
            .iter()
            .filter(|(name, before)| !stays(name, &before.stream))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some(old) = running.remove(&name) {
                // One of a name at a time: they share what is kept of it.
                old.end().await;
            }
        }
        for stream in ready {
            if running.contains_key(&stream.settings.name) {
                continue;
            }
            let stream = Arc::new(stream);
            let stop = CancellationToken::new();
            let task = tokio::spawn(Arc::clone(&stream).run(self.source.clone(), stop.clone()));
            let name = stream.settings.name.clone();
            running.insert(name, Running { stream, stop, task });
        }
        let seen = running
            .iter()
            .map(|(name, running)| (name.clone(), Arc::clone(&running.stream)));
        *self.seen.lock() = seen.collect();
        Ok(())
    }

    /// Sends nothing new, and ends the connections in good order where collectors let it.
    pub async fn stop(&self) {
        let running = std::mem::take(&mut *self.running.lock().await);
        for stream in running.values() {
            stream.stop.cancel();
        }
        for stream in running.into_values() {
            stream.end().await;
        }
    }

    /// How all of them are doing.
    pub fn status(&self) -> Vec<StreamStatus> {
        let head = self.source.store.status().audit_sequence;
        self.seen.lock().values().map(|stream| stream.status(head)).collect()
    }

    /// Connects to a collector now, and sends nothing. How long that took.
    ///
    /// # Errors
    /// Why there is no connection, in one line; `None` when there is no stream of this name.
    pub async fn probe(&self, name: &str) -> Result<Duration, Option<String>> {
        let stream = self.seen.lock().get(name).cloned();
        let stream = stream.ok_or(None)?;
        let began = clock::monotonic();
        let connection = stream.peer.connect().await.map_err(|failed| Some(in_full(&failed)))?;
        let took = began.elapsed();
        // It has let us in, whatever comes of the farewell.
        let _ = connection.finish().await;
        Ok(took)
    }

    /// The same, told by [`Streams::status`] from then on.
    pub async fn probe_and_note(&self, name: &str) {
        let Some(stream) = self.seen.lock().get(name).cloned() else {
            return;
        };
        match self.probe(name).await {
            Ok(took) => stream.state.lock().latency = Some(took),
            Err(why) => {
                let mut state = stream.state.lock();
                let since = state.failing.take().map_or_else(clock::now, |(since, _)| since);
                state.failing = Some((since, why.unwrap_or_default()));
            }
        }
    }
}

fn setup_error(settings: &AuditStream, error: TlsError) -> SetupError {
    SetupError {
        name: settings.name.clone(),
        error: Box::new(error),
    }
}

impl Running {
    async fn end(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// One stream.
struct Stream {
    settings: AuditStream,
    peer: Peer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connected: bool,
    sent: u64,
    confirmed: u64,
    last: Option<Timestamp>,
    latency: Option<Duration>,
    failing: Option<(Timestamp, String)>,
}

/// Why records are not on their way.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the store does not work")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Collector(#[from] connection::Failed),
}

/// How a connection ended that did not fail.
enum Carried {
    /// Everything sent is confirmed; there may be more.
    Confirmed,
    /// The stream is to stop.
    Stopped,
}

impl Stream {
    fn new(settings: AuditStream, peer: Peer) -> Self {
        Self {
            settings,
            peer,
            state: Mutex::default(),
        }
    }

    fn status(&self, head: u64) -> StreamStatus {
        let state = self.state.lock();
        let (failing, error) = state.failing.clone().unzip();
        StreamStatus {
            name: self.settings.name.clone(),
            kind: self.settings.kind.word().into(),
            target: self.settings.server.clone(),
            transport: self.settings.transport.word().into(),
            connected: state.connected,
            sent: state.sent,
            confirmed: state.confirmed,
            waiting: head.saturating_sub(state.confirmed),
            last: state.last,
            latency_ms: state.latency.map(|span| span.as_secs_f64() * 1000.0),
            failing,
            error,
        }
    }

    async fn run(self: Arc<Self>, source: Source, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        let mut cursor = None;
        loop {
            let carried = self.carry(&source, &mut cursor, &stop).await;
            self.state.lock().connected = false;
            match carried {
                Ok(Carried::Stopped) => return,
                Ok(Carried::Confirmed) => {
                    pause = FIRST_PAUSE;
                    self.works();
                    continue;
                }
                Err(failed) => self.fails(&failed),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits for records, and sends them over one connection until it is time to have them confirmed.
    async fn carry(
        &self,
        source: &Source,
        cursor: &mut Option<Cursor>,
        stop: &CancellationToken,
    ) -> Result<Carried, Failed> {
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => cursor.insert(self.first(source).await?),
        };
        let (mut page, mut next) = loop {
            let (page, next) = read(source, cursor.next).await?;
            if !page.is_empty() {
                break (page, next);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(Carried::Stopped),
                () = tokio::time::sleep(LOOK) => {}
            }
        };
        let began = clock::monotonic();
        let mut connection = tokio::select! {
            () = stop.cancelled() => return Ok(Carried::Stopped),
            connected = self.peer.connect() => connected?,
        };
        {
            let mut state = self.state.lock();
            (state.connected, state.latency) = (true, Some(began.elapsed()));
        }
        let sender = self.sender(source);
        let (mut under_way, mut since) = (0_u64, None);
        loop {
            for line in &page {
                connection.write(&self.octets(&sender, line)).await?;
            }
            connection.flush().await?;
            under_way += u64::try_from(page.len()).unwrap_or(u64::MAX);
            if !page.is_empty() {
                let mut state = self.state.lock();
                state.sent += u64::try_from(page.len()).unwrap_or(u64::MAX);
                state.last = Some(clock::now());
                drop(state);
                since.get_or_insert_with(clock::monotonic);
            }
            if !self.confirms() && !page.is_empty() {
                self.keep(source, cursor, next).await?;
                self.works();
                since = None;
            }
            let due = since.is_some_and(|since| since.elapsed() >= CONFIRM_AFTER) || under_way >= MOST_UNDER_WAY;
            if stop.is_cancelled() || (self.confirms() && due) {
                connection.finish().await?;
                self.keep(source, cursor, next).await?;
                return Ok(if stop.is_cancelled() {
                    Carried::Stopped
                } else {
                    Carried::Confirmed
                });
            }
            let more = read(source, next).await?;
            if more.0.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => {}
                    ended = connection.ended() => return Err(ended.into()),
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
            (page, next) = more;
        }
    }

    /// Whether it shows that something was read.
    fn confirms(&self) -> bool {
        match self.settings.transport {
            StreamTransport::Tls | StreamTransport::Tcp => self.settings.confirm,
            StreamTransport::Udp => false,
        }
    }

    /// Where it goes on, or begins.
    async fn first(&self, source: &Source) -> Result<Cursor, Failed> {
        let kept = cursor::load(source.store.as_ref(), &self.settings.name, clock::now()).await;
        let cursor = match kept.map_err(|error| Failed::Store(error.into()))? {
            Some(cursor) => cursor,
            None => {
                let next = match self.settings.from {
                    StreamStart::Beginning => 1,
                    StreamStart::Now => source.store.status().audit_sequence + 1,
                };
                let mut first = Cursor { next };
                self.keep(source, &mut first, next).await?;
                first
            }
        };
        self.state.lock().confirmed = cursor.next.saturating_sub(1);
        Ok(cursor)
    }

    async fn keep(&self, source: &Source, cursor: &mut Cursor, next: u64) -> Result<(), Failed> {
        let further = Cursor { next };
        let kept = cursor::keep(source.store.as_ref(), &self.settings.name, &further).await;
        kept.map_err(|error| Failed::Store(error.into()))?;
        *cursor = further;
        self.state.lock().confirmed = next.saturating_sub(1);
        Ok(())
    }

    fn sender(&self, source: &Source) -> Sender {
        Sender {
            host: source.host.clone(),
            facility: self.settings.facility as u8,
            enterprise: self.settings.enterprise,
        }
    }

    /// A record with its frame.
    fn octets(&self, sender: &Sender, line: &AuditLine) -> Vec<u8> {
        match (self.settings.kind, self.settings.transport) {
            (StreamKind::Json, _) => {
                let mut octets = serde_json::to_vec(line).unwrap_or_default();
                octets.push(b'\n');
                octets
            }
            // One message is one datagram (RFC 5426 section 3.1).
            (StreamKind::Syslog, StreamTransport::Udp) => sender.message(line).into_bytes(),
            // Octet counting (RFC 5425 section 4.3, RFC 6587 section 3.4.1).
            (StreamKind::Syslog, StreamTransport::Tls | StreamTransport::Tcp) => {
                let message = sender.message(line);
                format!("{} {message}", message.len()).into_bytes()
            }
        }
    }

    fn works(&self) {
        if self.state.lock().failing.take().is_some() {
            info!(stream = self.settings.name, "the audit stream goes on");
        }
    }

    fn fails(&self, failed: &Failed) {
        let why = in_full(failed);
        let mut state = self.state.lock();
        let since = match &state.failing {
            Some((since, _)) => *since,
            None => {
                warn!(
                    stream = self.settings.name,
                    error = why,
                    "the audit stream waits; nothing is lost"
                );
                clock::now()
            }
        };
        state.failing = Some((since, why));
    }
}

/// The next records, and where they end.
async fn read(source: &Source, from: u64) -> Result<(Vec<AuditLine>, u64), Failed> {
    let stretch = source.audit.search(&Filter::default(), from, PAGE).await;
    let stretch = stretch.map_err(|error| Failed::Store(error.into()))?;
    Ok((stretch.records, stretch.next))
}

/// Records in memory at once.
const PAGE: usize = 200;
/// How often new records are looked for.
const LOOK: Duration = Duration::from_millis(250);
/// How long records are under way before they are to be confirmed.
const CONFIRM_AFTER: Duration = Duration::from_secs(5);
/// Records after which they are to be confirmed.
const MOST_UNDER_WAY: u64 = 10_000;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
