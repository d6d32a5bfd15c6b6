//! What requests are sent over: a source port, or a connection with TLS. Each has 256 identifiers.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use crate::datagrams::{BATCH, Port};
use crate::streams::Stream;

pub(crate) enum Link {
    Datagrams(Box<Port>),
    Stream(Box<Stream>),
}

impl Link {
    pub(crate) fn connected(from: IpAddr, server: SocketAddr, tls: Option<&Arc<rustls::ClientConfig>>) -> Self {
        match tls {
            None => Self::Datagrams(Box::new(Port::connected(from, server))),
            Some(config) => Self::Stream(Box::new(Stream::connected(from, server, config))),
        }
    }

    /// Whether as much is queued as one system call takes.
    pub(crate) fn is_full(&self) -> bool {
        let queued = match self {
            Self::Datagrams(port) => port.queued(),
            Self::Stream(stream) => stream.queued(),
        };
        queued >= BATCH
    }

    pub(crate) fn queue(&mut self, id: u8) {
        match self {
            Self::Datagrams(port) => port.queue(id),
            Self::Stream(stream) => stream.queue(id),
        }
    }

    /// Sends what is queued, as far as the kernel takes it.
    pub(crate) fn send<'p>(&mut self, packet: impl Fn(u8) -> &'p Vec<u8>) {
        match self {
            Self::Datagrams(port) => port.send(packet),
            Self::Stream(stream) => stream.send(packet),
        }
    }

    /// Takes what has come; how many. What `take` gives back is queued.
    pub(crate) fn receive(&mut self, take: impl FnMut(&[u8]) -> Option<u8>) -> usize {
        match self {
            Self::Datagrams(port) => port.receive(take),
            Self::Stream(stream) => stream.receive(take),
        }
    }

    /// For waiting.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Datagrams(port) => port.descriptor(),
            Self::Stream(stream) => stream.descriptor(),
        }
    }
}
