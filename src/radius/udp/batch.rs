//! Many datagrams with one system call: recvmmsg and sendmmsg.
//!
//! On a wildcard address each datagram tells which of our addresses it was sent to, and the reply leaves
//! from there: a client drops replies from elsewhere (RFC 2865 section 3).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::cmsg_space;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage, recvmmsg, sendmmsg,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::radius::packet::MAX_LEN;

/// Datagrams taken or sent at once.
pub(super) const BATCH: usize = 32;

/// The other end of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its address and port.
    pub(super) address: SocketAddr,
    /// Our address, on a socket that has many.
    pub(super) via: Option<IpAddr>,
}

/// Datagrams received and not yet handled.
#[derive(Debug)]
pub(super) struct Inbox {
    buffers: Vec<Box<[u8; MAX_LEN]>>,
    arrived: Vec<(usize, Option<Peer>)>,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            buffers: (0..BATCH).map(|_| Box::new([0; MAX_LEN])).collect(),
            arrived: Vec::with_capacity(BATCH),
        }
    }

    /// One that holds the place of another for a while, and can receive nothing.
    pub(super) const fn empty() -> Self {
        Self {
            buffers: Vec::new(),
            arrived: Vec::new(),
        }
    }

    /// Takes what the socket has, at most [`BATCH`] datagrams. What lies beyond 4096 octets of one is cut
    /// off: it could only be padding.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; others as the system gives them.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let Self { buffers, arrived } = self;
        arrived.clear();
        socket.try_io(Interest::READABLE, || {
            let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
                .iter_mut()
                .map(|buffer| [IoSliceMut::new(buffer.as_mut_slice())])
                .collect();
            // Made anew each time: the system writes lengths into it that the next call would take for limits.
            let mut headers = MultiHeaders::preallocate(BATCH, Some(cmsg_space!(in6_pktinfo)));
            let fd = socket.as_raw_fd();
            let messages = recvmmsg(fd, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
            arrived.extend(messages.map(|message| (message.bytes, peer(&message))));
            Ok(())
        })
    }

    /// What was received last.
    pub(super) fn datagrams(&self) -> impl Iterator<Item = (&[u8], Peer)> {
        self.buffers
            .iter()
            .zip(&self.arrived)
            .filter_map(|(buffer, &(length, peer))| Some((buffer.get(..length)?, peer?)))
    }

    /// Whether the last call filled every buffer, so that there may be more.
    pub(super) fn is_full(&self) -> bool {
        self.arrived.len() == BATCH
    }
}

/// Replies that wait for the next system call.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Vec<(Peer, Arc<[u8]>)>,
}

impl Outbox {
    pub(super) fn push(&mut self, peer: Peer, octets: Arc<[u8]>) {
        self.queue.push((peer, octets));
    }

    /// Sends everything, waiting while the socket's buffer is full. What cannot be sent is handed to
    /// `failed` and left.
    pub(super) async fn flush(&mut self, socket: &UdpSocket, mut failed: impl FnMut(Peer, &io::Error)) {
        let mut rest = self.queue.as_slice();
        while let Some((first, _)) = rest.first() {
            // One call has one sender address.
            let run = rest
                .iter()
                .take(BATCH)
                .take_while(|(peer, _)| peer.via == first.via)
                .count();
            let (now, later) = rest.split_at(run);
            match socket.async_io(Interest::WRITABLE, || send(socket, now)).await {
                Ok(sent) => rest = rest.get(sent.max(1)..).unwrap_or(later),
                Err(error) => {
                    failed(*first, &error);
                    rest = rest.get(1..).unwrap_or_default();
                }
            }
        }
        self.queue.clear();
    }
}

/// Sends datagrams that leave from one address; how many were sent.
fn send(socket: &UdpSocket, replies: &[(Peer, Arc<[u8]>)]) -> io::Result<usize> {
    let addresses: Vec<Option<SockaddrStorage>> = replies
        .iter()
        .map(|(peer, _)| Some(SockaddrStorage::from(peer.address)))
        .collect();
    let slices: Vec<[IoSlice<'_>; 1]> = replies.iter().map(|(_, octets)| [IoSlice::new(octets)]).collect();
    let (v4, v6);
    let mut control = Vec::new();
    match replies.first().and_then(|(peer, _)| peer.via) {
        None => {}
        Some(IpAddr::V4(address)) => {
            v4 = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr {
                    s_addr: u32::from_ne_bytes(address.octets()),
                },
                ipi_addr: in_addr { s_addr: 0 },
            };
            control.push(ControlMessage::Ipv4PacketInfo(&v4));
        }
        Some(IpAddr::V6(address)) => {
            v6 = in6_pktinfo {
                ipi6_addr: in6_addr {
                    s6_addr: address.octets(),
                },
                ipi6_ifindex: 0,
            };
            control.push(ControlMessage::Ipv6PacketInfo(&v6));
        }
    }
    let space = (!control.is_empty()).then(|| cmsg_space!(in6_pktinfo));
    let mut headers = MultiHeaders::preallocate(replies.len(), space);
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let sent = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &addresses, &control, flags)?;
    Ok(sent.count())
}

fn peer(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<Peer> {
    let storage = message.address?;
    let address = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::from(*v4),
        (None, Some(v6)) => SocketAddr::from(*v6),
        (None, None) => return None,
    };
    let via = message.cmsgs().ok()?.find_map(|control| {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = control {
            Some(IpAddr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()))
        } else if let ControlMessageOwned::Ipv6PacketInfo(info) = control {
            Some(IpAddr::from(info.ipi6_addr.s6_addr))
        } else {
            None
        }
    });
    Some(Peer { address, via })
}
