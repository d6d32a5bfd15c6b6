//! A connection that an LDAP client's operations are relayed over, and what it says of its server.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use crate::clock;
use crate::directory::Stream;
use crate::directory::pool::Count;
use crate::directory::servers::{Server, Servers, by_chance};

/// The connection; its place among those that the directory allows goes with it.
pub(super) struct Relayed<S> {
    stream: S,
    server: Arc<Server>,
    servers: Arc<Servers>,
    /// Of the server's lives, the one that it was opened in.
    life: u64,
    /// When it is too old for another bind.
    ends: Instant,
    _count: Count,
    _place: OwnedSemaphorePermit,
}

impl<S> Relayed<S> {
    /// `life` is the server's before the connection was opened.
    pub(super) fn new(
        stream: S,
        server: Arc<Server>,
        servers: Arc<Servers>,
        life: u64,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let age = by_chance(server.terms().max_age, AGE_SPREAD);
        Self {
            stream,
            life,
            ends: clock::monotonic() + age,
            _count: Count::new(server.relayed()),
            _place: place,
            server,
            servers,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for Relayed<S> {
    fn patience(&self) -> Duration {
        self.server.terms().timeout
    }

    fn is_wanted(&self) -> bool {
        self.life == self.server.life()
            && clock::monotonic() < self.ends
            && self.servers.best().is_some_and(|best| Arc::ptr_eq(&best, &self.server))
    }

    fn answered(&self, span: Duration) {
        self.server.answered(span);
    }

    fn failed(&self, why: &str) {
        if self.life == self.server.life() {
            self.server.give_up(why);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Relayed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Relayed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Part of a connection's longest life that chance takes away.
const AGE_SPREAD: f64 = 0.2;
