//! One connection: packets in, replies out as they are finished, in no particular order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::clock::{self, Timestamp};
use crate::radius::attribute::code_name;
use crate::radius::channel::Channel;
use crate::radius::client::{Client, ClientTable, Unsound};
use crate::radius::delay::{Delayed, jittered, sleep_until};
use crate::radius::drops::{Closing, Reason};
use crate::radius::intake::{Judging, Precedence, Screened, Sender, Settled, Undone, Unfit, Work};
use crate::radius::packet::Packet;
use crate::radius::stream::Shared;
use crate::radius::stream::frame::Frames;
use crate::radius::stream::outbox::Outbox;
use crate::radius::stream::outstanding::{Key, Outstanding};
use crate::radius::translate::{Reply, ReplyTo};
use crate::tls::peer::Peer;

/// Who is at the other end.
pub(super) struct Party {
    pub(super) source: SocketAddr,
    pub(super) channel: Channel,
    /// What its certificate says, over TLS.
    pub(super) peer: Option<Peer>,
    pub(super) client: Arc<Client>,
    /// The table that the client was found in.
    pub(super) clients: Arc<ClientTable>,
}

/// A connection that is served.
pub(super) struct Connection {
    shared: Arc<Shared>,
    party: Party,
    outstanding: Outstanding,
    delayed: Delayed<Ready>,
    /// Octets of what is held back.
    delayed_octets: usize,
    outbox: Outbox,
    /// Replies are written here first.
    scratch: Vec<u8>,
    in_flight: usize,
    /// When a request came or a reply was finished last.
    active: Instant,
    done: mpsc::UnboundedSender<Done>,
    finished: mpsc::UnboundedReceiver<Done>,
    open: Gauge,
}

/// A request that is being judged.
struct Asked {
    reply: ReplyTo,
    key: Key,
    arrived: Instant,
    _place: Place,
}

/// A request that was judged; without an outcome when judging panicked.
struct Done {
    asked: Asked,
    settled: Option<Settled>,
}

/// A reply that is ready to be sent.
#[derive(Debug)]
struct Ready {
    key: Key,
    octets: Box<[u8]>,
}

/// Why a connection is closed at once.
struct Close {
    reason: Reason,
    detail: String,
}

impl Close {
    fn new(reason: Reason, detail: impl ToString) -> Self {
        Self {
            reason,
            detail: detail.to_string(),
        }
    }
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, party: Party) -> Self {
        let (done, finished) = mpsc::unbounded_channel();
        let open = shared.service.metrics.radius_connections(&shared.config.name);
        open.inc();
        Self {
            shared,
            party,
            outstanding: Outstanding::default(),
            delayed: Delayed::new(MAX_DELAYED),
            delayed_octets: 0,
            outbox: Outbox::default(),
            scratch: Vec::new(),
            in_flight: 0,
            active: clock::monotonic(),
            done,
            finished,
            open,
        }
    }

    /// Serves the connection to its end.
    pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut self, stream: S, shutdown: CancellationToken) {
        let Party {
            source,
            channel,
            ref client,
            ..
        } = self.party;
        let client = Arc::clone(client);
        info!(client = %client.name, %source, %channel, "connected");
        let (mut reader, mut writer) = tokio::io::split(stream);
        match self.run(&mut reader, &mut writer, &shutdown).await {
            Ok(()) => debug!(client = %client.name, %source, "disconnected"),
            Err(Close { reason, detail }) => {
                self.shared.dropped(reason, source, Some(&client), &detail);
                if reason == Reason::Closed(Closing::Unfinished) {
                    self.release_early();
                }
            }
        }
        // Tells the client that nothing was cut off; whoever does not listen does without it.
        let _ = tokio::time::timeout(LAST_WORD, self.last_words(&mut writer)).await;
    }

    /// Sends what is ready, and the end.
    async fn last_words<W: AsyncWrite + Unpin>(&mut self, writer: &mut W) -> io::Result<()> {
        while !self.outbox.is_empty() {
            let written = self.outbox.write(writer).await?;
            self.outbox.written(written, clock::monotonic());
        }
        writer.shutdown().await
    }

    async fn run<R, W>(&mut self, reader: &mut R, writer: &mut W, shutdown: &CancellationToken) -> Result<(), Close>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut frames = Frames::default();
        let mut settled = Vec::new();
        // Since when the beginning of a packet waits for its end.
        let mut partial: Option<Instant> = None;
        // Until when what is under way may be finished, once nothing more is read.
        let mut ending: Option<Instant> = None;
        loop {
            let reading = ending.is_none() && self.has_room();
            let patience = self.patience(partial.filter(|_| reading), ending);
            let wake = [patience.ends(), self.delayed.next_due()].into_iter().flatten().min();
            tokio::select! {
                () = shutdown.cancelled(), if ending.is_none() => {
                    ending = Some(clock::monotonic() + self.shared.drain);
                }
                _ = self.finished.recv_many(&mut settled, BATCH) => {
                    for done in settled.drain(..) {
                        self.settle(done);
                    }
                }
                read = reader.read(frames.space()), if reading => match read {
                    Ok(0) if frames.is_partial() => {
                        return Err(Close::new(Reason::Closed(Closing::Truncated), "it ended within a packet"));
                    }
                    // Replies to what came before are still wanted: only one direction may be closed.
                    Ok(0) => ending = Some(clock::monotonic() + self.shared.drain),
                    Ok(octets) => frames.filled(octets),
                    Err(error) => return self.lost(&error),
                },
                written = self.outbox.write(writer), if !self.outbox.is_empty() => match written {
                    Ok(written) => self.outbox.written(written, clock::monotonic()),
                    Err(error) => return self.lost(&error),
                },
                () = sleep_until(wake), if wake.is_some() => {}
            }
            let now = clock::monotonic();
            if ending.is_none() {
                let handled = self.receive(&mut frames, now)?;
                // What was not read because there was no room for it is not late.
                let since = partial.filter(|_| reading && handled == 0).unwrap_or(now);
                partial = frames.is_partial().then_some(since);
            }
            self.release(now);
            if self.is_over(ending) {
                return Ok(());
            }
            let reading = ending.is_none() && self.has_room();
            self.patience(partial.filter(|_| reading), ending).check(now)?;
        }
    }

    /// Whether more may be taken from the connection.
    fn has_room(&self) -> bool {
        self.in_flight < self.shared.config.in_flight_per_connection && !self.outbox.is_full()
    }

    /// How long is waited, for a packet that has begun to come, and for the end.
    fn patience(&self, partial: Option<Instant>, ending: Option<Instant>) -> Patience {
        let quiet = self.in_flight == 0 && self.delayed.is_empty() && self.outbox.is_empty();
        Patience {
            idle: quiet.then(|| self.active + self.shared.config.idle),
            packet: partial.map(|since| since + self.shared.config.handshake),
            writing: self
                .outbox
                .waiting_since()
                .map(|since| since + self.shared.config.handshake),
            ending,
        }
    }

    /// Whether nothing is left to do on a connection that is not read any more.
    fn is_over(&self, ending: Option<Instant>) -> bool {
        ending.is_some() && self.in_flight == 0 && self.delayed.is_empty() && self.outbox.is_empty()
    }

    /// The client has gone, or the network.
    fn lost(&self, error: &io::Error) -> Result<(), Close> {
        let Party { source, client, .. } = &self.party;
        debug!(client = %client.name, %source, %error, in_flight = self.in_flight, "connection lost");
        Ok(())
    }

    /// Handles the packets that are there, as far as there is room for them; how many it were.
    fn receive(&mut self, frames: &mut Frames, now: Instant) -> Result<usize, Close> {
        let (wall, mut handled) = (clock::now(), 0);
        while self.has_room() {
            let packet = frames
                .packet()
                .map_err(|bad| Close::new(Reason::Closed(Closing::Length), bad))?;
            let Some(octets) = packet else {
                break;
            };
            self.active = now;
            self.still_known(wall)?;
            self.handle(octets, wall, now)?;
            handled += 1;
        }
        Ok(handled)
    }

    /// Finds the client again after a reload: nothing is judged for one that is configured no more.
    fn still_known(&mut self, now: Timestamp) -> Result<(), Close> {
        let clients = self.shared.service.clients.load();
        if Arc::ptr_eq(&clients, &self.party.clients) {
            return Ok(());
        }
        let removed = |detail: &str| Close::new(Reason::Closed(Closing::Removed), detail);
        let source = self.party.source.ip();
        let found = match (&self.party.peer, &self.shared.tls) {
            (Some(peer), Some(tls)) => {
                if !tls.trusts(peer, now) {
                    return Err(removed("its certificate is trusted no more"));
                }
                clients.find_certified(source, peer).ok()
            }
            (Some(_), None) | (None, _) => clients.find(source),
        };
        let found = found.filter(|found| found.name == self.party.client.name).cloned();
        self.party.client = found.ok_or_else(|| removed("no [[client]] of this name fits it any more"))?;
        self.party.clients = clients.clone();
        Ok(())
    }

    /// One packet: to an answer, a task that waits for one, or nothing.
    fn handle(&mut self, octets: &[u8], now: Timestamp, arrived: Instant) -> Result<(), Close> {
        let Party { source, channel, .. } = self.party;
        let parsed = match channel {
            Channel::Udp | Channel::Tcp | Channel::Tls => Packet::parse(octets),
            Channel::Tls11 => Packet::parse_unsigned(octets),
        };
        let packet = parsed.map_err(|malformed| Close::new(Reason::Malformed, malformed))?;
        let client = Arc::clone(&self.party.client);
        let listener = Arc::clone(&self.shared.listener);
        let sender = Sender {
            client: &client,
            channel,
            source,
            listener: Some(&listener),
        };
        match self.shared.service.screen(&packet, sender, self.shared.config.serve) {
            Ok(Screened::Access | Screened::Accounting) => {}
            Ok(Screened::Status) => {
                let reply = ReplyTo::new(&packet, client, channel);
                reply.status(self.shared.config.serve, &mut self.scratch);
                self.outbox.push(&self.scratch, arrived);
                return Ok(());
            }
            // The one fault after which a connection may go on (RFC 6613 section 2.6.4).
            Err(Unfit::Code) => {
                let detail = code_name(packet.code());
                self.shared
                    .dropped(Reason::UnexpectedCode, source, Some(&client), &detail);
                return Ok(());
            }
            Err(Unfit::Loop) => {
                let detail = "our own Proxy-State";
                self.shared.dropped(Reason::ProxyLoop, source, Some(&client), &detail);
                return Ok(());
            }
            Err(Unfit::Unsound(unsound)) => {
                return Err(Close::new(Reason::Unsound(unsound), secret_hint(unsound, channel)));
            }
        }
        let key = Key::new(&packet, channel);
        if !self.outstanding.begin(key) {
            return Err(Close::new(Reason::Closed(Closing::Repeated), format!("{key:?}")));
        }
        self.admit(&packet, sender, key, now, arrived);
        Ok(())
    }

    fn admit(&mut self, packet: &Packet<'_>, sender: Sender<'_>, key: Key, now: Timestamp, arrived: Instant) {
        let service = &self.shared.service;
        let work = match service.work(packet, sender, now) {
            Ok(work) => work,
            // The packet is well-formed: what it holds is of no use, which harms nobody else's requests. Behind a
            // proxy, somebody else's client sent it.
            Err(useless @ (Undone::Access(_) | Undone::Accounting(_))) => {
                self.leave(Reason::Malformed, sender, key, &useless);
                return;
            }
        };
        let reply = ReplyTo::new(packet, Arc::clone(sender.client), sender.channel);
        let precedence = work.precedence();
        let judging = match work {
            Work::Verify(request) => service.judge(request),
            Work::Account(report) => service.account(report),
            Work::Refuse(refusal) => {
                service.refused(refusal, packet, sender, arrived);
                reply.reject(&mut self.scratch);
                self.answer(&reply, key, arrived, Reply::Reject);
                return;
            }
        };
        let Some(place) = Place::take(&self.shared, precedence) else {
            self.leave(Reason::Overload, sender, key, &"in_flight is reached");
            let unable = reply.unable(&mut self.scratch);
            self.answer(&reply, key, arrived, unable);
            return;
        };
        let asked = Asked {
            reply,
            key,
            arrived,
            _place: place,
        };
        self.ask(judging, asked);
    }

    /// A request that gets no answer, while the connection goes on.
    fn leave(&mut self, reason: Reason, sender: Sender<'_>, key: Key, detail: &dyn std::fmt::Display) {
        self.shared.dropped(reason, sender.source, Some(sender.client), detail);
        self.outstanding.end(key);
    }

    fn ask(&mut self, judging: Judging, asked: Asked) {
        self.in_flight += 1;
        match judging.now_or() {
            Ok(settled) => self.settle(Done { asked, settled }),
            Err(judging) => {
                let done = self.done.clone();
                tokio::spawn(async move {
                    let settled = judging.await;
                    // Nobody waits for it when the connection is closed.
                    let _ = done.send(Done { asked, settled });
                });
            }
        }
    }

    /// Answers a request that was judged.
    fn settle(&mut self, done: Done) {
        let Done { asked, settled } = done;
        self.in_flight -= 1;
        let Some(settled) = settled else {
            error!(client = %asked.reply.client().name, "judging a request panicked; it is not answered");
            let unable = asked.reply.unable(&mut self.scratch);
            return self.answer(&asked.reply, asked.key, asked.arrived, unable);
        };
        let now = clock::now();
        let keyring = &self.shared.service.keyring;
        let reply = asked.reply.settled(&settled, keyring, now, &mut self.scratch);
        self.answer(&asked.reply, asked.key, asked.arrived, reply);
    }

    /// Sends what was written to `scratch`; an Access-Reject when its time has come, counted from the
    /// arrival of the request, so that how long it took tells nothing.
    fn answer(&mut self, to: &ReplyTo, key: Key, arrived: Instant, reply: Reply) {
        if reply == Reply::Silence || self.scratch.is_empty() {
            return self.outstanding.end(key);
        }
        let now = clock::monotonic();
        self.active = now;
        let delay = to.client().reject_delay;
        if reply != Reply::Reject || delay.is_zero() {
            self.outstanding.end(key);
            return self.outbox.push(&self.scratch, now);
        }
        let ready = Ready {
            key,
            octets: self.scratch.as_slice().into(),
        };
        let due = arrived + jittered(delay, u16::from_ne_bytes(clock::random()));
        let octets = self.delayed_octets + ready.octets.len();
        if octets > MAX_DELAYED_OCTETS {
            return self.send(&ready, now);
        }
        match self.delayed.hold(due, ready) {
            Ok(()) => self.delayed_octets = octets,
            Err(ready) => self.send(&ready, now),
        }
    }

    fn send(&mut self, ready: &Ready, now: Instant) {
        self.outstanding.end(ready.key);
        self.outbox.push(&ready.octets, now);
    }

    /// Sends the Access-Rejects whose time has come.
    fn release(&mut self, now: Instant) {
        while let Some(ready) = self.delayed.pop(now) {
            self.delayed_octets -= ready.octets.len();
            self.active = now;
            self.send(&ready, now);
        }
    }

    /// Sends all Access-Rejects that are held back.
    fn release_early(&mut self) {
        let now = clock::monotonic();
        while let Some(ready) = self.delayed.pop_early() {
            self.delayed_octets -= ready.octets.len();
            self.send(&ready, now);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// What to look at when a request's integrity does not suffice.
const fn secret_hint(unsound: Unsound, channel: Channel) -> &'static str {
    match unsound {
        Unsound::BadMessageAuthenticator | Unsound::BadRequestAuthenticator if channel.encrypted() => {
            "check the shared secret: over TLS it is \"radsec\" unless the client's entry says another"
        }
        Unsound::BadMessageAuthenticator
        | Unsound::BadRequestAuthenticator
        | Unsound::MissingMessageAuthenticator
        | Unsound::UnsignedProxyState => unsound.remedy(),
    }
}

/// Moments at which patience ends.
struct Patience {
    idle: Option<Instant>,
    packet: Option<Instant>,
    writing: Option<Instant>,
    ending: Option<Instant>,
}

impl Patience {
    /// When the first of them is.
    fn ends(&self) -> Option<Instant> {
        let all = [self.idle, self.packet, self.writing, self.ending];
        all.into_iter().flatten().min()
    }

    /// Ends the connection when one of them has come.
    fn check(&self, now: Instant) -> Result<(), Close> {
        let over = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        let (closing, detail) = if over(self.writing) {
            (Closing::SlowReader, "it does not take its replies")
        } else if over(self.packet) {
            (Closing::SlowPacket, "a packet began and did not end")
        } else if over(self.ending) {
            (
                Closing::Unfinished,
                "requests under way were not finished within `drain`",
            )
        } else if over(self.idle) {
            (Closing::Idle, "it was idle")
        } else {
            return Ok(());
        };
        Err(Close::new(Reason::Closed(closing), detail))
    }
}

/// A request's place among those that are worked on at once.
struct Place(Arc<Shared>);

impl Place {
    /// A place, if there is one for requests of this precedence.
    fn take(shared: &Arc<Shared>, precedence: Precedence) -> Option<Self> {
        let room = precedence.room(shared.config.in_flight, shared.config.serve);
        let more = |count| (count < room).then_some(count + 1);
        let taken = shared
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok()?;
        shared.gauge.inc();
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge.dec();
    }
}

/// Verdicts taken before other things get a turn.
const BATCH: usize = 64;

/// Access-Rejects held back at once; what exceeds them is sent without delay.
const MAX_DELAYED: usize = 1024;

/// Their octets: Proxy-State, which replies give back, can make each as long as a packet.
const MAX_DELAYED_OCTETS: usize = 256 << 10;

/// How long a client has to take the end of a connection.
const LAST_WORD: Duration = Duration::from_secs(1);
