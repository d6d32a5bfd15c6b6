//! The listener: datagrams in, datagrams out.
//!
//! One task serves one socket and owns everything that belongs to it, so nothing is locked on the way of a
//! packet. A listener has several sockets on its address, so that more than one processor can work: the system
//! gives each source address and port to one of them, and so a retransmission to the one that knows it. Datagrams are taken and sent in batches. A verdict that needs no waiting is answered in place; one
//! that does is waited for by a task of its own, bounded in number.

mod batch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use prometheus_client::metrics::gauge::Gauge;
use socket2::{Domain, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::clock::{self, Timestamp};
use crate::config::{RadiusListener, Serves};
use crate::metrics::Protocol;
use crate::radius::attribute::code_name;
use crate::radius::channel::Channel;
use crate::radius::client::{Client, ClientTable};
use crate::radius::delay::{Delayed, jittered, sleep_until};
use crate::radius::drops::{Drops, Reason};
use crate::radius::duplicate::{Bounds, Seen, Table, Ticket};
use crate::radius::intake::{Judging, Screened, Sender, Service, Settled, Unfit, Work};
use crate::radius::packet::Packet;
use crate::radius::translate::{Reply, ReplyTo};
use crate::radius::udp::batch::{BATCH, Inbox, Outbox, Peer};

/// Binds a listener's sockets, with large receive buffers; on a wildcard address, replies leave from the
/// address that the request was sent to. Must be called within the runtime.
///
/// # Errors
/// As the system gives them: address in use, not allowed.
pub fn bind(listen: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    // Several sockets can share an address with those of another process as well. The first one does not
    // share, to find that out; it also finds a port where none is given.
    let alone = open(listen, false)?;
    if workers <= 1 {
        return Ok(vec![alone]);
    }
    let address = alone.local_addr()?;
    drop(alone);
    (0..workers).map(|_| open(address, true)).collect()
}

fn open(listen: SocketAddr, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, None)?;
    if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
        warn!(%listen, %error, "the receive buffer keeps its default size");
    }
    if listen.is_ipv6() {
        // Each family has its own listener, and `[::]` does not take the IPv4 port of another.
        socket.set_only_v6(true)?;
    }
    if listen.ip().is_unspecified() {
        if listen.is_ipv6() {
            setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        } else {
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        }
    }
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    UdpSocket::from_std(socket.into())
}

/// Serves sockets of one address until `shutdown`; then takes no more packets, and finishes what is under way
/// for at most `drain`. They share the listener's limits evenly.
pub async fn serve(
    sockets: Vec<UdpSocket>,
    mut config: RadiusListener,
    service: Service,
    shutdown: CancellationToken,
    drain: Duration,
) {
    let count = sockets.len().max(1);
    config.in_flight = config.in_flight.div_ceil(count);
    let whole = Bounds::default();
    let bounds = Bounds {
        entries: whole.entries / count,
        octets: whole.octets / count,
    };
    let mut workers = JoinSet::new();
    for socket in sockets {
        let (config, service, shutdown) = (config.clone(), service.clone(), shutdown.clone());
        workers.spawn(work(socket, config, bounds, service, shutdown, drain));
    }
    while workers.join_next().await.is_some() {}
}

/// Serves one socket.
async fn work(
    socket: UdpSocket,
    config: RadiusListener,
    bounds: Bounds,
    service: Service,
    shutdown: CancellationToken,
    drain: Duration,
) {
    let (done, mut finished) = mpsc::unbounded_channel();
    let mut listener = Listener::new(socket, &config, bounds, service, done);
    let mut settled = Vec::with_capacity(BATCH);
    let mut deadline: Option<Instant> = None;
    loop {
        if deadline.is_some() && listener.is_idle() {
            break;
        }
        let wake = [listener.delayed.next_due(), deadline].into_iter().flatten().min();
        tokio::select! {
            () = shutdown.cancelled(), if deadline.is_none() => {
                deadline = Some(clock::monotonic() + drain);
            }
            _ = finished.recv_many(&mut settled, 4 * BATCH) => {
                for done in settled.drain(..) {
                    listener.settle(done);
                }
            }
            ready = listener.socket.readable(), if deadline.is_none() => {
                let received = ready.and_then(|()| listener.receive());
                if let Err(error) = received && error.kind() != io::ErrorKind::WouldBlock {
                    warn!(listener = %config.name, %error, "receiving failed");
                    tokio::time::sleep(RECEIVE_PAUSE).await;
                }
            }
            () = sleep_until(wake), if wake.is_some() => {}
        }
        listener.release(clock::monotonic());
        if deadline.is_some_and(|deadline| clock::monotonic() >= deadline) {
            warn!(listener = %config.name, in_flight = listener.in_flight, "stopping with requests in flight");
            listener.release_early();
            listener.flush().await;
            break;
        }
        listener.flush().await;
    }
}

/// Octets that the kernel may hold for us: some ten thousand requests.
const RECEIVE_BUFFER: usize = 8 << 20;

/// After an error that is likely to come again at once.
const RECEIVE_PAUSE: Duration = Duration::from_millis(10);

/// Batches taken before finished verdicts get a turn.
const BATCHES_A_TURN: usize = 4;

/// Access-Rejects held back at once; what exceeds them is sent without delay.
const MAX_DELAYED: usize = 8192;

struct Listener {
    socket: UdpSocket,
    service: Service,
    inbox: Inbox,
    outbox: Outbox,
    duplicates: Table,
    delayed: Delayed<Ready>,
    drops: Drops,
    /// Replies are written here before they are stored.
    scratch: Vec<u8>,
    in_flight: usize,
    serves: Serves,
    /// The listener's name.
    listener: Arc<str>,
    limit: usize,
    gauge: Gauge,
    done: mpsc::UnboundedSender<Done>,
}

/// A request that is being judged.
struct Asked {
    reply: ReplyTo,
    peer: Peer,
    ticket: Ticket,
    arrived: Instant,
}

/// A request that was judged; without an outcome when judging panicked.
struct Done {
    asked: Asked,
    settled: Option<Settled>,
}

/// A reply that is ready to be sent.
#[derive(Debug)]
struct Ready {
    peer: Peer,
    ticket: Ticket,
    octets: Arc<[u8]>,
}

impl Listener {
    fn new(
        socket: UdpSocket,
        config: &RadiusListener,
        bounds: Bounds,
        service: Service,
        done: mpsc::UnboundedSender<Done>,
    ) -> Self {
        let gauge = service
            .metrics
            .in_flight
            .get_or_create(&Protocol { protocol: "radius" })
            .clone();
        Self {
            socket,
            inbox: Inbox::new(),
            outbox: Outbox::default(),
            duplicates: Table::new(config.replay, bounds),
            delayed: Delayed::new(MAX_DELAYED),
            drops: Drops::new(service.metrics.clone(), Arc::clone(&service.strangers)),
            scratch: Vec::with_capacity(512),
            in_flight: 0,
            serves: config.serve,
            listener: config.name.as_str().into(),
            limit: config.in_flight,
            gauge,
            done,
            service,
        }
    }

    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.delayed.is_empty()
    }

    /// Takes what the socket has and handles it.
    fn receive(&mut self) -> io::Result<()> {
        let mut inbox = std::mem::replace(&mut self.inbox, Inbox::empty());
        let clients = self.service.clients.load_full();
        let mut result = Ok(());
        for _ in 0..BATCHES_A_TURN {
            result = inbox.receive(&self.socket);
            if result.is_err() {
                break;
            }
            let (now, arrived) = (clock::now(), clock::monotonic());
            for (datagram, peer) in inbox.datagrams() {
                self.handle(datagram, peer, &clients, now, arrived);
            }
            if !inbox.is_full() {
                break;
            }
        }
        self.inbox = inbox;
        result
    }

    /// One datagram: to an answer, a task that waits for one, or nothing.
    fn handle(&mut self, datagram: &[u8], peer: Peer, clients: &ClientTable, now: Timestamp, arrived: Instant) {
        let source = peer.address;
        let Some(client) = clients.find(source.ip()) else {
            let detail = "no [[client]] has this address";
            return self
                .drops
                .count(Reason::UnknownClient, source, None, &detail, (arrived, now));
        };
        let packet = match Packet::parse(datagram) {
            Ok(packet) => packet,
            Err(malformed) => return self.drop(Reason::Malformed, peer, client, &malformed, arrived),
        };
        let listener = Arc::clone(&self.listener);
        let sender = Sender {
            client,
            channel: Channel::Udp,
            source,
            listener: Some(&listener),
        };
        match self.service.screen(&packet, sender, self.serves) {
            Ok(Screened::Access | Screened::Accounting) => {}
            Ok(Screened::Status) => {
                ReplyTo::new(&packet, Arc::clone(client), Channel::Udp).status(self.serves, &mut self.scratch);
                return self.outbox.push(peer, self.scratch.as_slice().into());
            }
            Err(Unfit::Code) => {
                let detail = code_name(packet.code());
                return self.drop(Reason::UnexpectedCode, peer, client, &detail, arrived);
            }
            Err(Unfit::Loop) => {
                return self.drop(Reason::ProxyLoop, peer, client, &"our own Proxy-State", arrived);
            }
            Err(Unfit::Unsound(unsound)) => {
                return self.drop(Reason::Unsound(unsound), peer, client, &unsound.remedy(), arrived);
            }
        }
        match self
            .duplicates
            .admit(source, packet.identifier(), packet.octets(), arrived)
        {
            Seen::New(ticket) => self.admit(&packet, sender, peer, ticket, now, arrived),
            Seen::Pending => debug!(%source, client = %client.name, "retransmission of a pending request"),
            Seen::Replied(octets) => {
                self.service.metrics.replayed.inc();
                self.outbox.push(peer, octets);
            }
            Seen::Full => self.drop(Reason::Overload, peer, client, &"too many requests pending", arrived),
        }
    }

    /// A request that was not seen before.
    fn admit(
        &mut self,
        packet: &Packet<'_>,
        sender: Sender<'_>,
        peer: Peer,
        ticket: Ticket,
        now: Timestamp,
        arrived: Instant,
    ) {
        let client = sender.client;
        let work = match self.service.work(packet, sender, now) {
            Ok(work) => work,
            Err(malformed) => {
                self.duplicates.forget(ticket);
                return self.drop(Reason::Malformed, peer, client, &malformed, arrived);
            }
        };
        let asked = Asked {
            reply: ReplyTo::new(packet, Arc::clone(client), sender.channel),
            peer,
            ticket,
            arrived,
        };
        let precedence = work.precedence();
        let judging = match work {
            Work::Verify(request) => self.service.judge(request),
            Work::Account(report) => self.service.account(report),
            Work::Refuse(refusal) => {
                self.service.refused(refusal, packet, sender, arrived);
                asked.reply.reject(&mut self.scratch);
                return self.answer(asked, Reply::Reject);
            }
        };
        if self.in_flight >= precedence.room(self.limit, self.serves) {
            self.duplicates.forget(ticket);
            return self.drop(Reason::Overload, peer, client, &"in_flight is reached", arrived);
        }
        self.ask(judging, asked);
    }

    fn ask(&mut self, judging: Judging, asked: Asked) {
        self.in_flight += 1;
        self.gauge.inc();
        match judging.now_or() {
            Ok(settled) => self.settle(Done { asked, settled }),
            Err(judging) => {
                let done = self.done.clone();
                tokio::spawn(async move {
                    let settled = judging.await;
                    // The listener is gone only when the time to drain is over.
                    let _ = done.send(Done { asked, settled });
                });
            }
        }
    }

    /// Answers a request that was judged.
    fn settle(&mut self, done: Done) {
        let Done { asked, settled } = done;
        self.in_flight -= 1;
        self.gauge.dec();
        let Some(settled) = settled else {
            error!(client = %asked.reply.client().name, "judging a request panicked; it gets no answer");
            return self.duplicates.forget(asked.ticket);
        };
        let now = clock::now();
        let reply = asked
            .reply
            .settled(&settled, &self.service.keyring, now, &mut self.scratch);
        self.answer(asked, reply);
    }

    /// Sends what was written to `scratch`; an Access-Reject when its time has come, counted from the
    /// arrival of the request, so that how long it took tells nothing.
    fn answer(&mut self, asked: Asked, reply: Reply) {
        if reply == Reply::Silence || self.scratch.is_empty() {
            return self.duplicates.forget(asked.ticket);
        }
        let ready = Ready {
            peer: asked.peer,
            ticket: asked.ticket,
            octets: self.scratch.as_slice().into(),
        };
        let delay = asked.reply.client().reject_delay;
        if reply != Reply::Reject || delay.is_zero() {
            return self.send(ready, clock::monotonic());
        }
        let due = asked.arrived + jittered(delay, u16::from_ne_bytes(clock::random()));
        if let Err(ready) = self.delayed.hold(due, ready) {
            self.send(ready, clock::monotonic());
        }
    }

    fn send(&mut self, ready: Ready, now: Instant) {
        self.duplicates.replied(ready.ticket, Arc::clone(&ready.octets), now);
        self.outbox.push(ready.peer, ready.octets);
    }

    /// Sends the Access-Rejects whose time has come.
    fn release(&mut self, now: Instant) {
        while let Some(ready) = self.delayed.pop(now) {
            self.send(ready, now);
        }
    }

    /// Sends all Access-Rejects that are held back.
    fn release_early(&mut self) {
        while let Some(ready) = self.delayed.pop_early() {
            self.outbox.push(ready.peer, ready.octets);
        }
    }

    async fn flush(&mut self) {
        let Self {
            outbox, socket, drops, ..
        } = self;
        let failed = |peer: Peer, error: &io::Error| {
            let times = (clock::monotonic(), clock::now());
            drops.count(Reason::SendFailed, peer.address, None, error, times);
        };
        outbox.flush(socket, failed).await;
    }

    fn drop(&mut self, reason: Reason, peer: Peer, client: &Client, detail: &dyn std::fmt::Display, now: Instant) {
        let times = (now, clock::now());
        self.drops.count(reason, peer.address, Some(client), detail, times);
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;

    use super::*;
    use crate::dictionary::Dictionary;
    use crate::engine::{AuthnRequest, BoxFuture, Check, Denial, Keep, Outage, Report, Verdict, Verify};
    use crate::keyring::Keyring;
    use crate::metrics::Metrics;
    use crate::radius::client::Habits;

    struct Nobody;

    impl Verify for Nobody {
        fn verify<'a>(&'a self, _: AuthnRequest, _: Check<'a>) -> BoxFuture<'a, Verdict> {
            Box::pin(async { Verdict::Reject(Denial::WrongPassword) })
        }
    }

    impl Keep for Nobody {
        fn keep(&self, _: Report) -> BoxFuture<'_, Result<(), Outage>> {
            Box::pin(async { Ok(()) })
        }
    }

    /// Nothing can be sent to port 0; what comes behind it is.
    #[tokio::test]
    async fn a_reply_that_cannot_be_sent_is_counted_and_holds_up_nothing() {
        let socket = open(([127, 0, 0, 1], 0).into(), false).unwrap();
        let config: RadiusListener = toml::from_str("listen = '127.0.0.1:0'").unwrap();
        let service = Service {
            clients: Arc::default(),
            verify: Arc::new(Nobody),
            keep: Arc::new(Nobody),
            keyring: Arc::new(Keyring::from_root(&[5; 32])),
            learned: Arc::new(Habits::default()),
            dictionary: Arc::new(ArcSwap::new(Arc::clone(Dictionary::shipped()))),
            metrics: Metrics::default(),
            strangers: Arc::default(),
        };
        let metrics = service.metrics.clone();
        let (done, _finished) = mpsc::unbounded_channel();
        let mut listener = Listener::new(socket, &config, Bounds::default(), service, done);
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for address in [([127, 0, 0, 1], 0).into(), client.local_addr().unwrap()] {
            let peer = Peer { address, via: None };
            listener.outbox.push(peer, Arc::from(&b"reply"[..]));
        }
        listener.flush().await;
        let mut buffer = [0; 16];
        assert_eq!(client.recv(&mut buffer).await.unwrap(), 5);
        let counted = "dropped_total{protocol=\"radius\",reason=\"send-failed\"} 1";
        assert!(metrics.render().contains(counted), "{}", metrics.render());
    }

    #[tokio::test]
    async fn workers_share_an_address_with_each_other_and_nobody_else() {
        let anywhere = ([127, 0, 0, 1], 0).into();
        let sockets = bind(anywhere, 3).unwrap();
        let address = sockets[0].local_addr().unwrap();
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        for workers in [1, 2] {
            let error = bind(address, workers).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        }
    }
}
