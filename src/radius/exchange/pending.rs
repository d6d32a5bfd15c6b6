//! The questions in flight on one socket or connection, by identifier or token.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::radius::crypto::AUTHENTICATOR_LEN;
use crate::radius::exchange::reply::{Measure, Reply};
use crate::radius::packet::Packet;

/// Who waits for what. Bounded by the identifiers there are, or by the questions that are let in.
#[derive(Debug)]
pub(super) struct Pending {
    /// `None` once the connection has ended.
    waiting: Mutex<Option<HashMap<u32, Waiter>>>,
}

#[derive(Debug)]
struct Waiter {
    code: u8,
    authenticator: [u8; AUTHENTICATOR_LEN],
    unproven: Arc<AtomicU32>,
    /// Gone when nobody waits any more, but the number must not be used again before its reply came.
    reply: Option<oneshot::Sender<Reply>>,
}

/// A question that waits for its reply.
#[derive(Debug)]
pub(super) struct Awaited {
    reply: oneshot::Receiver<Reply>,
    unproven: Arc<AtomicU32>,
}

impl Awaited {
    /// The reply; `None` when the connection has ended.
    pub(super) async fn reply(&mut self) -> Option<Reply> {
        (&mut self.reply).await.ok()
    }

    /// How many replies to it proved nothing.
    pub(super) fn unproven(&self) -> u32 {
        self.unproven.load(Ordering::Relaxed)
    }
}

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It proved itself; its number is free.
    Proven {
        /// Whether anybody was still waiting; if not, nobody else gives the number back.
        awaited: bool,
    },
    /// Nobody asked for it.
    Unknown,
    /// It proves nothing; the question goes on waiting.
    Unproven,
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Some(HashMap::new())),
        }
    }

    /// Begins to wait. `None` when the connection has ended.
    pub(super) fn expect(&self, number: u32, code: u8, authenticator: [u8; AUTHENTICATOR_LEN]) -> Option<Awaited> {
        let (sender, receiver) = oneshot::channel();
        let unproven = Arc::new(AtomicU32::new(0));
        let waiter = Waiter {
            code,
            authenticator,
            unproven: Arc::clone(&unproven),
            reply: Some(sender),
        };
        self.waiting.lock().as_mut()?.insert(number, waiter);
        Some(Awaited {
            reply: receiver,
            unproven,
        })
    }

    /// Hands a packet to whoever waits for it.
    pub(super) fn deliver(&self, number: u32, packet: &Packet<'_>, measure: Measure<'_>) -> Fate {
        let mut waiting = self.waiting.lock();
        let Some(waiting) = waiting.as_mut() else {
            return Fate::Unknown;
        };
        let Some(waiter) = waiting.get(&number) else {
            return Fate::Unknown;
        };
        let Some(reply) = measure.prove(packet, waiter.code, &waiter.authenticator) else {
            waiter.unproven.fetch_add(1, Ordering::Relaxed);
            return Fate::Unproven;
        };
        let sender = waiting.remove(&number).and_then(|waiter| waiter.reply);
        let awaited = sender.is_some();
        if let Some(sender) = sender {
            // Whoever gave up this very moment needs no reply, and gives the number back.
            let _ = sender.send(reply);
        }
        Fate::Proven { awaited }
    }

    /// Stops waiting; a reply that still comes is unknown.
    pub(super) fn forget(&self, number: u32) {
        if let Some(waiting) = self.waiting.lock().as_mut() {
            waiting.remove(&number);
        }
    }

    /// Stops waiting, but knows the reply when it comes. Returns whether it is still to come.
    pub(super) fn abandon(&self, number: u32) -> bool {
        let mut waiting = self.waiting.lock();
        let waiter = waiting.as_mut().and_then(|waiting| waiting.get_mut(&number));
        waiter.map(|waiter| waiter.reply = None).is_some()
    }

    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().is_none()
    }

    /// The connection has ended: nobody gets a reply any more.
    pub(super) fn close(&self) {
        *self.waiting.lock() = None;
    }
}
