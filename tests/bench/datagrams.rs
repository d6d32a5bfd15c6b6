//! Datagrams in batches: one system call for many (recvmmsg, sendmmsg).
#![allow(dead_code, reason = "each generator uses its own part of this")]

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};

/// Datagrams in one call.
pub(crate) const BATCH: usize = 64;
/// Longest RADIUS packet.
const LONGEST: usize = 4096;
/// Octets of the kernel's receive buffer.
const RECEIVE_BUFFER: usize = 4 << 20;

/// A connected socket with the identifiers of the packets that wait to be sent.
pub(crate) struct Port {
    socket: UdpSocket,
    queue: Vec<u8>,
    /// Taken out while its datagrams are looked at.
    received: Option<Batch>,
    headers: MultiHeaders<SockaddrIn>,
}

/// Buffers for one call.
pub(crate) struct Batch {
    buffers: Vec<[u8; LONGEST]>,
    received: MultiHeaders<SockaddrIn>,
    /// Apart from those for receiving: sending leaves pointers to its addresses in them.
    sent: MultiHeaders<SockaddrIn>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![[0; LONGEST]; BATCH],
            received: MultiHeaders::preallocate(BATCH, None),
            sent: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Receives what is there, or with `wait` at least one; lengths and senders in order.
    pub(crate) fn receive(&mut self, socket: &UdpSocket, wait: bool) -> Vec<(usize, Option<SockaddrIn>)> {
        let flags = if wait {
            MsgFlags::MSG_WAITFORONE
        } else {
            MsgFlags::MSG_DONTWAIT
        };
        let mut slices: Vec<_> = self
            .buffers
            .iter_mut()
            .map(|buffer| [IoSliceMut::new(buffer)])
            .collect();
        // Nothing there, or the server is gone and the kernel says so: no datagrams either way.
        recvmmsg(socket.as_raw_fd(), &mut self.received, slices.iter_mut(), flags, None)
            .map(|messages| messages.map(|message| (message.bytes, message.address)).collect())
            .unwrap_or_default()
    }

    pub(crate) fn buffer(&mut self, index: usize) -> &mut [u8] {
        &mut self.buffers[index]
    }

    /// Sends the first octets of the first buffers back to where they came from.
    pub(crate) fn send_back(&mut self, socket: &UdpSocket, lengths: &[(usize, Option<SockaddrIn>)]) {
        let mut done = 0;
        while done < lengths.len() {
            let rest = &lengths[done..];
            let slices: Vec<_> = self.buffers[done..]
                .iter()
                .zip(rest)
                .map(|(buffer, (length, _))| [IoSlice::new(&buffer[..*length])])
                .collect();
            let senders: Vec<_> = rest.iter().map(|(_, sender)| *sender).collect();
            let sent = sendmmsg(
                socket.as_raw_fd(),
                &mut self.sent,
                &slices,
                senders,
                [],
                MsgFlags::empty(),
            );
            match sent.map(Iterator::count) {
                Ok(count) if count > 0 => done += count,
                _ => return,
            }
        }
    }
}

impl Port {
    /// A socket of its own that speaks to `server` only.
    pub(crate) fn connected(from: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((from, 0)).expect("a socket");
        socket.connect(server).expect("connecting a datagram socket");
        widen(&socket);
        Self {
            socket,
            queue: Vec::new(),
            received: Some(Batch::new()),
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    pub(crate) fn queue(&mut self, id: u8) {
        self.queue.push(id);
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Sends what is queued, as far as the kernel takes it.
    pub(crate) fn send<'p>(&mut self, packet: impl Fn(u8) -> &'p Vec<u8>) {
        while !self.queue.is_empty() {
            let count = self.queue.len().min(BATCH);
            let slices: Vec<_> = self.queue[..count]
                .iter()
                .map(|&id| [IoSlice::new(packet(id))])
                .collect();
            let nobody = vec![None; count];
            let flags = MsgFlags::MSG_DONTWAIT;
            let sent = sendmmsg(self.socket.as_raw_fd(), &mut self.headers, &slices, nobody, [], flags);
            match sent.map(Iterator::count) {
                Ok(count) if count > 0 => drop(self.queue.drain(..count)),
                _ => return,
            }
        }
    }

    /// For waiting.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes what has come; how many. What `take` gives back is queued.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(&[u8]) -> Option<u8>) -> usize {
        let Some(mut received) = self.received.take() else {
            return 0;
        };
        let lengths = received.receive(&self.socket, false);
        for (index, (length, _)) in lengths.iter().enumerate() {
            self.queue.extend(take(&received.buffers[index][..*length]));
        }
        self.received = Some(received);
        lengths.len()
    }
}

/// Gives a socket a receive buffer that outlasts a busy moment.
pub(crate) fn widen(socket: &UdpSocket) {
    // The kernel may give less, which costs datagrams and nothing else.
    let _ = setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER);
}

/// Waits until one of the sockets has something, a millisecond at most.
pub(crate) fn wait<'p>(sockets: impl Iterator<Item = BorrowedFd<'p>>) {
    let mut polled: Vec<_> = sockets.map(|socket| PollFd::new(socket, PollFlags::POLLIN)).collect();
    // Interrupted or not, the caller looks.
    let _ = poll(&mut polled, PollTimeout::from(1u8));
}
