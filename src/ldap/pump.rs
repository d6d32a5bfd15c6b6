//! Moves messages between a client and the server behind us: large reads, frames split by their heads,
//! octets written from the buffer they were read into. One side is not read while the other does not take
//! what there is, so that a connection never holds more than its two buffers.
//!
//! Messages that have to be looked at come out as [`Event::Message`]; until the caller has dealt with one,
//! nothing behind it is touched.

mod gated;

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use zeroize::{Zeroize as _, Zeroizing};

use crate::ldap::frame::{FrameError, Front, Head, Sender, front};
use crate::ldap::outstanding::Outstanding;
use crate::ldap::reply::{EXTENDED_RESPONSE, is_goodbye};
use crate::ldap::restrict::Gate;
use crate::ldap::session::Session;

/// Both ends of a connection and what is on its way between them.
pub(super) struct Pump<C, U> {
    /// The client.
    pub(super) client: Port<C>,
    /// The server, once it was needed.
    pub(super) server: Option<Port<U>>,
    /// Operations sent on and not answered yet.
    pub(super) outstanding: Outstanding,
    /// What looks at every message, where not all may pass.
    pub(super) gate: Option<Box<Gate>>,
    /// Grows with every message that is found, and with every [`CAPACITY`] octets that have moved: the octets of a
    /// large message do not keep a connection alive one by one.
    pub(super) activity: u64,
    /// Octets moved since it last grew for them.
    moved: usize,
    /// Messages sent on and not yet counted.
    relayed: u64,
    counter: Counter,
    /// Octets at the front of the client's buffer, and still to come, that go to the server.
    upward: usize,
    /// Octets at the front of the server's buffer, and still to come, that go to the client.
    downward: usize,
    /// Octets of the client's, here and still to come, that go nowhere.
    skipped: usize,
    limits: Limits,
    /// The operation whose answer is not to be passed on, but looked at first.
    awaited: Option<i32>,
}

/// How large a client's messages may be, in octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Before a bind.
    pub(super) before_bind: usize,
    /// After it.
    pub(super) after_bind: usize,
}

/// Why the pump has stopped.
#[derive(Debug)]
pub(super) enum Event {
    /// A message of the client's to look at; it stands at the front of the client's buffer.
    Message(Head),
    /// The server's answer that was waited for stands at the front of its buffer.
    Answered(Head),
    /// Nothing is outstanding and nothing is on its way to the client. Only when asked for.
    Drained,
    /// The client has closed, or cannot be written to.
    ClientGone,
    /// What the client sent is not LDAP.
    ClientMisbehaved(FrameError),
    /// The server has closed or failed; all that it had sent has been passed on.
    ServerGone,
    /// The server has said goodbye, and the client has been sent its words.
    Dismissed,
}

/// What the pump is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Both directions.
    Run,
    /// Only what the server still sends; nothing more is taken from the client.
    Drain,
}

impl<C, U> Pump<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    pub(super) fn new(client: C, limits: Limits, counter: Counter) -> Self {
        Self {
            client: Port::new(client),
            server: None,
            outstanding: Outstanding::default(),
            gate: None,
            activity: 0,
            moved: 0,
            relayed: 0,
            counter,
            upward: 0,
            downward: 0,
            skipped: 0,
            limits,
            awaited: None,
        }
    }

    /// Runs until something has to be decided. Dropping the future loses nothing.
    pub(super) async fn run(&mut self, session: &Session, mode: Mode) -> Event {
        poll_fn(|cx| self.poll(cx, session, mode)).await
    }

    /// Passes on what the server still sends until it answers the operation `id`; nothing more is taken from
    /// the client.
    pub(super) async fn await_answer(&mut self, session: &Session, id: i32) -> Event {
        self.awaited = Some(id);
        let event = self.run(session, Mode::Drain).await;
        self.awaited = None;
        event
    }

    /// Takes the answer that was waited for out of the server's buffer, and overwrites it there.
    pub(super) fn take_answer(&mut self, head: &Head) -> Zeroizing<Vec<u8>> {
        let mut answer = Zeroizing::new(Vec::new());
        if let Some(server) = &mut self.server {
            answer.extend_from_slice(server.inbox.filled().get(..head.total).unwrap_or_default());
            server.inbox.wipe(head.total);
        }
        // It belongs: that operation was sent on, and this is its final response.
        self.outstanding.answered(head);
        self.activity += 1;
        self.relayed += 1;
        answer
    }

    /// Passes on answers to operations that the client has abandoned. Nobody waits for them: where answers are
    /// looked at, they are not worth a look.
    pub(super) fn pass_late(&mut self, late: &mut Vec<u8>) {
        if !self.gate.as_ref().is_some_and(|gate| gate.reads_answers()) {
            self.client.outbox.append(late);
        }
    }

    /// Sends the client's front message on to the server, which must be there.
    pub(super) fn send_on(&mut self, head: &Head) {
        self.outstanding
            .note(head, self.client.inbox.filled().get(head.offset..).unwrap_or_default());
        self.upward += head.total;
        self.relayed += 1;
    }

    /// Takes note that the client's front message was written anew to the server's outbox, and drops it.
    pub(super) fn sent_anew(&mut self, head: &Head) {
        self.outstanding
            .note(head, self.client.inbox.filled().get(head.offset..).unwrap_or_default());
        self.relayed += 1;
        self.activity += 1;
        self.drop_message(head);
    }

    /// Sends a message on in place of the client's front one, which is dropped. The server must be there.
    pub(super) fn send_instead(&mut self, head: &Head, octets: &[u8]) {
        if let Some(server) = &mut self.server {
            server.outbox.extend_from_slice(octets);
        }
        self.sent_anew(head);
    }

    /// Drops the client's front message, and overwrites what is here of it.
    pub(super) fn drop_message(&mut self, head: &Head) {
        let here = head.total.min(self.client.inbox.filled().len());
        self.client.inbox.wipe(here);
        self.skipped = head.total - here;
    }

    /// Whether the client has been sent a part of a message whose rest is still to come.
    pub(super) fn is_amid_message(&self) -> bool {
        self.downward > 0
    }

    /// Whether something is waiting for the client to read.
    pub(super) fn is_client_slow(&self) -> bool {
        self.downward > 0 || !self.client.outbox.is_empty()
    }

    /// Gives back the memory that was needed while much was moved. For connections that are quiet: they are many.
    pub(super) fn rest(&mut self) {
        self.client.inbox.rest();
        if let Some(server) = &mut self.server {
            server.inbox.rest();
        }
        self.outstanding.rest();
    }

    /// Whether the rest of a message is still to come from the client, whose beginning is on its way to the server.
    pub(super) fn is_client_amid_message(&self) -> bool {
        self.upward > self.client.inbox.filled().len()
    }

    /// Closes the connection to the server. What it has not answered stays outstanding.
    pub(super) fn drop_server(&mut self) {
        self.server = None;
        self.outstanding.new_server();
        self.skipped += std::mem::take(&mut self.upward);
        self.downward = 0;
    }

    fn poll(&mut self, cx: &mut Context<'_>, session: &Session, mode: Mode) -> Poll<Event> {
        let advanced = self.advance(cx, session, mode);
        if self.relayed > 0 {
            self.counter.inc_by(std::mem::take(&mut self.relayed));
        }
        match advanced {
            Ok(()) => Poll::Pending,
            Err(event) => Poll::Ready(event),
        }
    }

    /// Moves what can be moved; an event is what ends it early.
    fn advance(&mut self, cx: &mut Context<'_>, session: &Session, mode: Mode) -> Result<(), Event> {
        loop {
            let down = self.move_down(cx)?;
            let up = match mode {
                Mode::Run => self.move_up(cx, session)?,
                Mode::Drain if self.downward == 0 && self.outstanding.is_empty() => return Err(Event::Drained),
                Mode::Drain => Moved::Nothing,
            };
            if (down, up) != (Moved::Nothing, Moved::Nothing) {
                continue;
            }
            self.client.poll_flush(cx).map_err(|_| Event::ClientGone)?;
            if let Some(server) = &mut self.server
                && server.poll_flush(cx).is_err()
            {
                server.gone = true;
                continue;
            }
            return Ok(());
        }
    }

    /// From the server to the client.
    fn move_down(&mut self, cx: &mut Context<'_>) -> Result<Moved, Event> {
        let mut moved = Moved::Nothing;
        loop {
            if self.downward == 0 {
                match self.client.poll_own(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Err(Event::ClientGone),
                    Poll::Pending => return Ok(moved),
                }
            }
            let Some(server) = &mut self.server else {
                return Ok(moved);
            };
            if self.downward == 0 && !server.dismissed {
                let awaited = self.awaited;
                // With a gate nothing goes the other way, whatever has become of the server.
                let (octets, answer) = match self.gate.as_deref_mut().filter(|gate| gate.reads_answers()) {
                    Some(gate) => {
                        let sides = (&mut self.outstanding, &mut self.client.outbox);
                        let (seen, answer) = gated::show(server, gate, sides, awaited, self.limits.after_bind);
                        self.relayed += seen;
                        self.activity += seen;
                        if seen > 0 {
                            moved = Moved::Something;
                            continue;
                        }
                        (0, answer)
                    }
                    None => {
                        let counts = (&mut self.activity, &mut self.relayed);
                        scan_server(server, &mut self.outstanding, awaited, counts)
                    }
                };
                self.downward = octets;
                if let Some(head) = answer.filter(|_| octets == 0) {
                    return Err(Event::Answered(head));
                }
            }
            let here = self.downward.min(server.inbox.filled().len());
            if here > 0 {
                let octets = server.inbox.filled().get(..here).unwrap_or_default();
                match self.client.poll_write(cx, octets) {
                    Poll::Ready(Ok(count)) => {
                        server.inbox.consume(count);
                        self.downward -= count;
                        note_moved(count, &mut self.moved, &mut self.activity);
                        moved = Moved::Something;
                        continue;
                    }
                    Poll::Ready(Err(_)) => return Err(Event::ClientGone),
                    // The rest may be read meanwhile, as far as the buffer goes.
                    Poll::Pending => {}
                }
            }
            if server.gone {
                // With nothing left that could be passed on, it is time to say so.
                return match (here, server.dismissed) {
                    (0, false) => Err(Event::ServerGone),
                    (0, true) => Err(Event::Dismissed),
                    _ => Ok(moved),
                };
            }
            match server.poll_fill(cx) {
                Poll::Ready(Ok(())) => moved = Moved::Something,
                Poll::Ready(Err(_)) => server.gone = true,
                Poll::Pending => return Ok(moved),
            }
        }
    }

    /// From the client to the server.
    fn move_up(&mut self, cx: &mut Context<'_>, session: &Session) -> Result<Moved, Event> {
        let mut moved = Moved::Nothing;
        if let Some(server) = &mut self.server
            && !server.outbox.is_empty()
        {
            // Written anew: nothing more is taken from the client until it is gone.
            match server.poll_own(cx) {
                Poll::Ready(Ok(())) => moved = Moved::Something,
                Poll::Ready(Err(_)) => {
                    server.outbox.clear();
                    server.gone = true;
                    return Ok(Moved::Something);
                }
                Poll::Pending => return Ok(Moved::Nothing),
            }
        }
        loop {
            if self.skipped > 0 {
                let here = self.skipped.min(self.client.inbox.filled().len());
                self.client.inbox.wipe(here);
                self.skipped -= here;
            } else if self.upward == 0 {
                // A client that takes none of our answers gets no further ones.
                if self.client.outbox.len() >= CAPACITY {
                    return Ok(moved);
                }
                self.scan_client(session)?;
            }
            let here = self.upward.min(self.client.inbox.filled().len());
            if here > 0 {
                let Some(server) = &mut self.server else {
                    return Err(Event::ServerGone);
                };
                if !server.gone {
                    let octets = self.client.inbox.filled().get(..here).unwrap_or_default();
                    match server.poll_write(cx, octets) {
                        Poll::Ready(Ok(count)) => {
                            self.client.inbox.consume(count);
                            self.upward -= count;
                            note_moved(count, &mut self.moved, &mut self.activity);
                            moved = Moved::Something;
                            continue;
                        }
                        Poll::Ready(Err(_)) => {
                            server.gone = true;
                            // What it may have sent before it failed is passed on first.
                            return Ok(Moved::Something);
                        }
                        Poll::Pending => {}
                    }
                }
            }
            if self.client.gone {
                return if here == 0 { Err(Event::ClientGone) } else { Ok(moved) };
            }
            match self.client.poll_fill(cx) {
                Poll::Ready(Ok(())) => moved = Moved::Something,
                Poll::Ready(Err(_)) => self.client.gone = true,
                Poll::Pending => return Ok(moved),
            }
        }
    }

    /// Takes all messages at the front of the client's buffer that need no look.
    fn scan_client(&mut self, session: &Session) -> Result<(), Event> {
        let limit = if session.is_bound() {
            self.limits.after_bind
        } else {
            self.limits.before_bind
        };
        loop {
            let input = self.client.inbox.filled().get(self.upward..).unwrap_or_default();
            let (head, whole) = match front(input, self.client.inbox.most, limit, Sender::Client) {
                Ok(Front::Incomplete) => return Ok(()),
                Ok(Front::Whole(head)) => (head, true),
                // It is looked at as a whole or not at all; for nobody in particular, memory is not spent on it.
                Ok(Front::Streamed(head)) if self.gate.is_some() && session.is_bound() => {
                    self.client.inbox.hold(head.total);
                    return Ok(());
                }
                Ok(Front::Streamed(head)) => (head, false),
                // What came before it is sent on first.
                Err(_) if self.upward > 0 => return Ok(()),
                Err(fault) => return Err(Event::ClientMisbehaved(fault)),
            };
            let looked_at = !session.relays(head.operation) || self.gate.is_some();
            if looked_at || self.server.is_none() || self.outstanding.is_full() {
                return if self.upward > 0 {
                    Ok(())
                } else {
                    self.activity += 1;
                    Err(Event::Message(head))
                };
            }
            self.outstanding
                .note(&head, input.get(head.offset..).unwrap_or_default());
            self.upward += head.total;
            self.relayed += 1;
            self.activity += 1;
            if !whole {
                return Ok(());
            }
        }
    }
}

/// Counts octets that have moved as activity, when they are enough.
fn note_moved(count: usize, moved: &mut usize, activity: &mut u64) {
    *moved += count;
    if *moved >= CAPACITY {
        *moved = 0;
        *activity += 1;
    }
}

/// Whether a direction got anywhere; it is tried again until neither does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moved {
    Nothing,
    Something,
}

/// Counts the octets of all messages at the front of the server's buffer, and notes which operations end. Stops
/// at the answer that is `awaited`.
fn scan_server<U>(
    server: &mut Port<U>,
    outstanding: &mut Outstanding,
    awaited: Option<i32>,
    (activity, relayed): (&mut u64, &mut u64),
) -> (usize, Option<Head>) {
    let mut octets = 0;
    while let Some(input) = server.inbox.filled().get(octets..) {
        let (head, whole) = match front(input, CAPACITY, usize::MAX, Sender::Server) {
            Ok(Front::Incomplete) => break,
            Ok(Front::Whole(head)) => (head, true),
            Ok(Front::Streamed(head)) => (head, false),
            Err(fault) => {
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    "the directory server does not speak LDAP"
                );
                server.gone = true;
                break;
            }
        };
        if is_goodbye(&head, input.get(..head.total).unwrap_or_default()) {
            // It says more of the reason than we could, and nothing comes behind it (RFC 4511 section 4.4.1).
            server.gone = true;
            server.dismissed = true;
            octets += head.total;
            break;
        }
        if awaited == Some(head.id) && whole && head.operation == EXTENDED_RESPONSE {
            return (octets, Some(head));
        }
        if !outstanding.answered(&head) {
            tracing::warn!(
                id = head.id,
                operation = head.operation,
                "the directory server answers what it was not asked; its connection is closed"
            );
            server.gone = true;
            break;
        }
        *activity += 1;
        *relayed += 1;
        octets += head.total;
        if !whole {
            break;
        }
    }
    (octets, None)
}

/// One end: the stream, what was read from it, what we have to say to it ourselves.
pub(super) struct Port<S> {
    /// The stream.
    pub(super) stream: S,
    /// What was read and not yet dealt with.
    pub(super) inbox: Buffer,
    /// Whole messages of our own to this end.
    pub(super) outbox: Vec<u8>,
    written: usize,
    unflushed: bool,
    gone: bool,
    /// Its last message was a Notice of Disconnection.
    dismissed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Port<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            inbox: Buffer::default(),
            outbox: Vec::new(),
            written: 0,
            unflushed: false,
            gone: false,
            dismissed: false,
        }
    }

    /// Writes all of the outbox, and overwrites it: it may hold a password.
    ///
    /// # Errors
    /// Those of the stream.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        let sent = match self
            .stream
            .write_all(self.outbox.get(self.written..).unwrap_or_default())
            .await
        {
            Ok(()) => self.stream.flush().await,
            Err(fault) => Err(fault),
        };
        self.outbox.zeroize();
        self.written = 0;
        self.unflushed = false;
        sent
    }

    /// Reads more into the inbox.
    ///
    /// # Errors
    /// Those of the stream; its end is [`io::ErrorKind::UnexpectedEof`], a full buffer
    /// [`io::ErrorKind::OutOfMemory`].
    pub(super) async fn fill(&mut self) -> io::Result<()> {
        if self.inbox.is_full() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Pending also while the buffer is full.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbox.is_full() {
            return Poll::Pending;
        }
        let mut space = ReadBuf::new(self.inbox.space());
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        let count = space.filled().len();
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.inbox.filled_by(count);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, octets))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        Poll::Ready(Ok(count))
    }

    /// Writes the outbox, as far as it goes.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.outbox.len() {
            let octets = self.outbox.get(self.written..).unwrap_or_default();
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, octets))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unflushed = true;
        }
        // It may hold a password that was made up.
        self.outbox.zeroize();
        self.outbox.shrink_to(CAPACITY);
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.stream).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
    }
}

/// Octets read and not yet dealt with: at most [`CAPACITY`] unless one message has to be held as a whole, small
/// until more is needed, overwritten when let go.
pub(super) struct Buffer {
    octets: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    /// The last read could have brought more.
    wanting: bool,
    /// Most octets that it holds now.
    most: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self {
            octets: Zeroizing::default(),
            start: 0,
            end: 0,
            wanting: false,
            most: CAPACITY,
        }
    }
}

impl Buffer {
    /// Makes room for a message of `octets` at its front, until that has been dealt with.
    fn hold(&mut self, octets: usize) {
        self.most = self.most.max(octets);
        self.wanting = true;
    }

    /// What is there.
    pub(super) fn filled(&self) -> &[u8] {
        self.octets.get(self.start..self.end).unwrap_or_default()
    }

    /// Lets go of the first octets.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
        if self.most > CAPACITY && self.end - self.start <= CAPACITY {
            let rest = Zeroizing::new(self.filled().to_vec());
            *self = Self {
                end: rest.len(),
                octets: rest,
                ..Self::default()
            };
        }
    }

    /// Lets go of the first octets and overwrites them.
    pub(super) fn wipe(&mut self, count: usize) {
        let end = (self.start + count).min(self.end);
        if let Some(octets) = self.octets.get_mut(self.start..end) {
            octets.zeroize();
        }
        self.consume(count);
    }

    /// Lets go of its memory when nothing is in it.
    fn rest(&mut self) {
        if self.start == self.end && self.octets.len() > SMALLEST {
            *self = Self::default();
        }
    }

    fn is_full(&self) -> bool {
        self.end - self.start >= self.most
    }

    /// Room for a read: never empty unless the buffer is full.
    fn space(&mut self) -> &mut [u8] {
        if self.end == self.octets.len() || self.wanting {
            let size = self.octets.len();
            if size < self.most && (self.start == 0 || self.wanting) {
                let mut larger = Zeroizing::new(vec![0; (size * 4).clamp(SMALLEST, self.most)]);
                let filled = self.filled();
                let count = filled.len();
                if let Some(target) = larger.get_mut(..count) {
                    target.copy_from_slice(filled);
                }
                self.octets = larger;
                self.end = count;
            } else {
                self.octets.copy_within(self.start..self.end, 0);
                self.end -= self.start;
            }
            self.start = 0;
            self.wanting = false;
        }
        self.octets.get_mut(self.end..).unwrap_or_default()
    }

    fn filled_by(&mut self, count: usize) {
        self.end += count;
        self.wanting = self.end == self.octets.len() && self.octets.len() < self.most;
    }
}

/// Most octets held of one direction.
pub(super) const CAPACITY: usize = 64 * 1024;
/// What a buffer begins with: idle connections are many.
const SMALLEST: usize = 1024;

#[cfg(test)]
mod tests;
