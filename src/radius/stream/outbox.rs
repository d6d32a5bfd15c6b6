//! Replies on their way into a connection.

use std::io;
use std::time::Instant;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Replies that were not taken yet, in the order in which they were finished.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    octets: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
    /// Whether something was taken that may still wait in TLS.
    unflushed: bool,
    /// Since when nothing was taken of what waits.
    waiting_since: Option<Instant>,
}

impl Outbox {
    /// Above this nothing more is read from the connection.
    const HIGH_WATER: usize = 64 << 10;

    /// What the buffer may keep of its size when it is empty.
    const KEPT: usize = 4 << 10;

    pub(super) fn push(&mut self, packet: &[u8], now: Instant) {
        self.octets.extend_from_slice(packet);
        self.waiting_since.get_or_insert(now);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.octets.is_empty() && !self.unflushed
    }

    pub(super) fn is_full(&self) -> bool {
        self.octets.len() - self.taken >= Self::HIGH_WATER
    }

    /// Since when the client has taken nothing of what waits for it.
    pub(super) const fn waiting_since(&self) -> Option<Instant> {
        self.waiting_since
    }

    /// Writes what can be written without waiting longer than for a first piece. Loses nothing when it is
    /// dropped half-way.
    ///
    /// # Errors
    /// As the connection gives them.
    pub(super) async fn write<W: AsyncWrite + Unpin>(&mut self, writer: &mut W) -> io::Result<Written> {
        if self.octets.is_empty() {
            writer.flush().await?;
            return Ok(Written::Flushed);
        }
        match writer.write(self.octets.get(self.taken..).unwrap_or_default()).await? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            octets => Ok(Written::Octets(octets)),
        }
    }

    /// Takes note of what [`Outbox::write`] did.
    pub(super) fn written(&mut self, written: Written, now: Instant) {
        match written {
            Written::Flushed => self.unflushed = false,
            Written::Octets(octets) => {
                self.taken += octets;
                self.unflushed = true;
                if self.taken >= self.octets.len() {
                    self.octets.clear();
                    self.octets.shrink_to(Self::KEPT);
                    self.taken = 0;
                }
            }
        }
        self.waiting_since = (!self.is_empty()).then_some(now);
    }
}

/// What a call of [`Outbox::write`] did.
#[derive(Clone, Copy, Debug)]
pub(super) enum Written {
    /// So many octets were taken.
    Octets(usize),
    /// Everything taken is on its way.
    Flushed,
}
