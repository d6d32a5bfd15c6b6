//! Questions over UDP: sockets with 256 identifiers each, opened as they are needed.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::radius::channel::Channel;
use crate::radius::crypto::SharedSecret;
use crate::radius::exchange::pending::{Fate, Pending};
use crate::radius::exchange::reply::{Measure, Reply};
use crate::radius::exchange::request::{Mark, Request};
use crate::radius::exchange::{Counters, Failure, Patience, Pauses, count};
use crate::radius::packet::{MAX_LEN, Packet};

/// The sockets to one server, each with a source port of its own.
#[derive(Debug)]
pub(super) struct Sockets {
    server: SocketAddr,
    secret: SharedSecret,
    signed: bool,
    most: usize,
    counters: Arc<Counters>,
    pool: Mutex<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    open: Vec<Arc<Socket>>,
    /// Identifiers that nobody uses, longest unused first: a late reply meets nobody.
    free: VecDeque<(Arc<Socket>, u8)>,
}

#[derive(Debug)]
struct Socket {
    socket: Arc<UdpSocket>,
    pending: Arc<Pending>,
    _receiver: AbortOnDropHandle<()>,
}

/// An identifier in use; it is free again when this goes.
struct Place<'a> {
    sockets: &'a Sockets,
    socket: Arc<Socket>,
    identifier: u8,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.socket.pending.forget(self.identifier.into());
        let place = (Arc::clone(&self.socket), self.identifier);
        self.sockets.pool.lock().free.push_back(place);
    }
}

impl Sockets {
    pub(super) fn new(
        server: SocketAddr,
        secret: SharedSecret,
        signed: bool,
        in_flight: usize,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            server,
            secret,
            signed,
            most: in_flight.div_ceil(256).max(1),
            counters,
            pool: Mutex::default(),
        }
    }

    /// Asks until a proven reply comes. The same octets each time: a retransmission is no new request.
    pub(super) async fn ask(
        &self,
        request: &Request,
        patience: &Patience,
        deadline: Instant,
    ) -> Result<Reply, Failure> {
        let place = self.place()?;
        let encoded = request
            .encode(Mark::Identifier(place.identifier, &self.secret))
            .ok_or(Failure::TooLong)?;
        let number = place.identifier.into();
        let awaited = place
            .socket
            .pending
            .expect(number, request.code(), encoded.authenticator);
        let mut awaited = awaited.ok_or(Failure::Lost { server: self.server })?;
        let mut pauses = Pauses::new(patience);
        for tries in 0..patience.tries.max(1) {
            if tries > 0 {
                count(&self.counters.retransmitted);
            }
            // A server that is not there yet refuses by ICMP, which shows at the next call: that anybody can
            // forge, so it says nothing. A datagram that the system would not take counts as lost.
            let _ = place.socket.socket.send(&encoded.octets).await;
            let [chance] = clock::random();
            let left = deadline.saturating_duration_since(clock::monotonic());
            match timeout(pauses.next(chance).min(left), awaited.reply()).await {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => return Err(Failure::Lost { server: self.server }),
                Err(_) if left.is_zero() => break,
                Err(_) => {}
            }
        }
        Err(Failure::Silence {
            server: self.server,
            unproven: awaited.unproven(),
        })
    }

    fn place(&self) -> Result<Place<'_>, Failure> {
        let mut pool = self.pool.lock();
        if pool.free.is_empty() && pool.open.len() < self.most {
            let socket = Arc::new(self.open().map_err(|error| Failure::Connect {
                server: self.server,
                source: Arc::new(error),
            })?);
            // The first identifier is as hard to guess as the port.
            let [first] = clock::random::<1>();
            let free = (0..=u8::MAX).map(|offset| (Arc::clone(&socket), first.wrapping_add(offset)));
            pool.free.extend(free);
            pool.open.push(socket);
        }
        // There are as many identifiers as questions in flight.
        let (socket, identifier) = pool.free.pop_front().ok_or(Failure::Busy(self.server))?;
        Ok(Place {
            sockets: self,
            socket,
            identifier,
        })
    }

    fn open(&self) -> io::Result<Socket> {
        let local: SocketAddr = if self.server.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = std::net::UdpSocket::bind(local)?;
        socket.connect(self.server)?;
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UdpSocket::from_std(socket)?);
        let pending = Arc::new(Pending::new());
        let receiver = Receiver {
            socket: Arc::clone(&socket),
            pending: Arc::clone(&pending),
            secret: self.secret.clone(),
            signed: self.signed,
            counters: Arc::clone(&self.counters),
        };
        Ok(Socket {
            socket,
            pending,
            _receiver: AbortOnDropHandle::new(tokio::spawn(receiver.run())),
        })
    }
}

/// Hands the replies of one socket to those who wait.
struct Receiver {
    socket: Arc<UdpSocket>,
    pending: Arc<Pending>,
    secret: SharedSecret,
    signed: bool,
    counters: Arc<Counters>,
}

impl Receiver {
    async fn run(self) {
        // A connected socket gets datagrams from the server only. One octet more shows nothing: what is
        // beyond the Length field is padding.
        let mut buffer = vec![0; MAX_LEN];
        let measure = Measure {
            secret: Some(&self.secret),
            signed: self.signed,
            channel: Channel::Udp,
        };
        loop {
            let length = match self.socket.recv(&mut buffer).await {
                Ok(length) => length,
                Err(error) => {
                    if error.kind() != io::ErrorKind::ConnectionRefused {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    continue;
                }
            };
            let packet = Packet::parse(buffer.get(..length).unwrap_or_default());
            let fate = packet.map_or(Fate::Unknown, |packet| {
                self.pending.deliver(packet.identifier().into(), &packet, measure)
            });
            match fate {
                Fate::Proven { .. } => {}
                Fate::Unknown | Fate::Unproven => count(&self.counters.unproven),
            }
        }
    }
}
