//! One client connection from its first octet to its last: binds are judged, everything else goes to a
//! connection of the client's own to the directory server, so that message ids pass untouched.
//!
//! That connection never holds rights which the client has not just earned: whenever the session is not
//! bound and the server may think otherwise, the connection to it is closed.

mod authorized;
mod bind;
mod gate;
mod password;
mod relayed;
mod shown;
mod trial;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Sleep, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::clock;
use crate::directory::local::Tree;
use crate::directory::{ConnectError, Directory, Link, Stream};
use crate::engine::{Manner, Origin, Protocol, Transport};
use crate::ldap::account::Account;
use crate::ldap::authorized::Authorized;
use crate::ldap::bound::Bound;
use crate::ldap::embedded::Embedded;
use crate::ldap::frame::Head;
use crate::ldap::listener::Shared;
use crate::ldap::pump::{Event, Limits, Mode, Port, Pump};
use crate::ldap::reply::{
    Answer, BIND_REQUEST, Code, empty_challenge, notice_of_disconnection, response_to, start_tls, unbind,
};
use crate::ldap::session::{Session, Step};
use crate::ldap::stream::{ClientStream, handshake};

use authorized::Sent;
use gate::Passage;
use password::Identity;
use shown::Shown;

/// A client connection, TLS done if it begins with TLS.
pub(super) struct Connection {
    shared: Arc<Shared>,
    peer: SocketAddr,
    pump: Pump<ClientStream, Box<dyn Stream>>,
    /// What answers instead of a server, for directories that have none.
    embedded: Option<Arc<Tree>>,
    /// Who is bound.
    bound: Option<Bound>,
    /// What else is known of them.
    identity: Option<Identity>,
    /// The service account that is bound, if it is one.
    account: Option<Arc<Account>>,
    /// Who showed a certificate.
    shown: Option<Box<Shown>>,
    /// Whom operations are authorized as, where the server has not seen a bind of theirs.
    acting_as: Option<Authorized>,
    /// Whether the server may hold the connection to be bound.
    server_has_rights: bool,
    /// Whether the server waits for the next step of a mechanism.
    negotiating: bool,
    /// Whether a bind was accepted or an operation sent on, ever: before, little patience is due.
    settled: bool,
    stop: CancellationToken,
    tick: Pin<Box<Sleep>>,
    /// The pump's activity at the last tick.
    seen_activity: u64,
    /// Ticks since it last changed.
    quiet_ticks: u32,
}

/// The connection ends; whatever had to be said has been said.
struct Ended;

/// What a connection waits for.
enum Next {
    Event(Event),
    Idle,
    Stop,
}

impl Connection {
    /// `opened` is when the connection was accepted: a handshake since then counts as idle.
    pub(super) fn new(
        shared: Arc<Shared>,
        stream: ClientStream,
        peer: SocketAddr,
        opened: Instant,
        stop: CancellationToken,
    ) -> Self {
        let limits = Limits {
            before_bind: shared.config.max_pdu_before_bind,
            after_bind: shared.config.max_pdu,
        };
        let period = shared.tick(false);
        let mut quiet_ticks = 0;
        let mut next = opened + period;
        while next <= clock::monotonic() && quiet_ticks < TICKS {
            quiet_ticks += 1;
            next += period;
        }
        let tick = Box::pin(sleep_until(next.into()));
        let shown = Shown::by(&stream, &shared.config.certificate_login);
        let pump = Pump::new(stream, limits, shared.metrics.ldap_relayed.clone());
        Self {
            shared,
            peer,
            pump,
            embedded: None,
            bound: None,
            identity: None,
            account: None,
            shown,
            acting_as: None,
            server_has_rights: false,
            negotiating: false,
            settled: false,
            stop,
            tick,
            seen_activity: 0,
            quiet_ticks,
        }
    }

    /// Serves the connection until it ends.
    pub(super) async fn serve(mut self) {
        let encrypted = self.pump.client.stream.is_encrypted();
        let mut session = Session::new(self.shared.rules.clone(), encrypted);
        loop {
            if session.is_anonymous() {
                self.bound = None;
                self.acting_as = None;
                self.identity = None;
                self.account = None;
                if self.server_has_rights {
                    self.drop_server();
                }
            }
            self.set_gate();
            let next = self.next(&session).await;
            let step = match next {
                Next::Event(Event::Message(head)) => self.message(session, head).await,
                Next::Event(Event::Drained | Event::Answered(_)) => Ok(session),
                Next::Event(Event::ClientGone) => Err(Ended),
                Next::Event(Event::ClientMisbehaved(fault)) => {
                    self.shared.metrics.drop("ldap", fault.word());
                    tracing::info!(
                        listener = %self.shared.config.name,
                        peer = %self.peer,
                        error = &fault as &dyn std::error::Error,
                        "disconnected"
                    );
                    self.goodbye(Code::ProtocolError, "this is not an LDAP message that is taken here")
                        .await
                }
                Next::Event(Event::ServerGone) => self.server_gone(session).await,
                Next::Event(Event::Dismissed) => {
                    tracing::info!(listener = %self.shared.config.name, peer = %self.peer, "the directory server said goodbye");
                    self.farewell().await
                }
                Next::Idle => {
                    self.goodbye(Code::Unavailable, "the connection was idle for too long")
                        .await
                }
                Next::Stop => self.stop(&session).await,
            };
            match step {
                Ok(next) => session = next,
                Err(Ended) => return,
            }
        }
    }

    async fn next(&mut self, session: &Session) -> Next {
        let stop = self.bound.as_ref().map_or(&self.stop, Bound::ended).clone();
        if stop.is_cancelled() {
            return Next::Stop;
        }
        loop {
            tokio::select! {
                biased;
                event = self.pump.run(session, Mode::Run) => return Next::Event(event),
                () = stop.cancelled() => return Next::Stop,
                () = &mut self.tick => {
                    self.tick = Box::pin(sleep(self.shared.tick(self.settled)));
                    if std::mem::replace(&mut self.seen_activity, self.pump.activity) != self.pump.activity {
                        self.quiet_ticks = 0;
                        continue;
                    }
                    self.quiet_ticks += 1;
                    self.pump.rest();
                    // A search that waits for changes may be silent for long; a client that does not read, or has not
                    // said all that it began to say, may not.
                    let waits = !self.pump.outstanding.is_empty()
                        && !self.pump.is_client_slow()
                        && !self.pump.is_client_amid_message();
                    if self.quiet_ticks >= TICKS && !waits {
                        return Next::Idle;
                    }
                }
            }
        }
    }

    async fn message(&mut self, session: Session, head: Head) -> Result<Session, Ended> {
        let arrived = clock::monotonic();
        if head.operation == BIND_REQUEST {
            self.quiesce(&session).await?;
            // What was asked under this restriction could be answered under the next.
            let reads_answers = self.pump.gate.as_ref().is_some_and(|gate| gate.reads_answers());
            if reads_answers && self.pump.outstanding.has_abandoned() {
                self.drop_server();
            }
            // Whatever it ends with: they belong to who was bound before.
            self.account = None;
            self.identity = None;
            if self.acting_as.take().is_some() {
                self.drop_server();
            }
        }
        // Only what is not sent on without a look comes here: a copy costs little and frees the buffer.
        let here = self.pump.client.inbox.filled();
        let input = Zeroizing::new(here.get(..head.total).unwrap_or(here).to_vec());
        let step = session.receive(&head, &input, self.pump.outstanding.len());
        let goes_on = std::mem::take(&mut self.negotiating);
        if goes_on && !matches!(step, Step::Relayed(..)) {
            // Given up half-way: whatever comes next finds a server that knows nothing of it.
            self.drop_server();
        }
        match step {
            Step::Relay(session) => {
                let instead = match self.passes(&head, &input) {
                    Passage::Closed => return Ok(session),
                    Passage::Open => None,
                    Passage::Instead(octets) => Some(octets),
                };
                self.settled = true;
                match self.relay(&head, &input, instead.as_deref()).await {
                    Ok(()) => Ok(session),
                    Err(text) => self.misbehaved(text).await,
                }
            }
            Step::Answer(session, answer) => {
                answer.write(&mut self.pump.client.outbox);
                self.pump.drop_message(&head);
                Ok(session)
            }
            Step::NoTls(session, code, text) => {
                start_tls(head.id, code, text, &mut self.pump.client.outbox);
                self.pump.drop_message(&head);
                Ok(session)
            }
            Step::Ignore(session) => {
                self.pump.drop_message(&head);
                Ok(session)
            }
            Step::Challenge(session, id) => {
                empty_challenge(id, &mut self.pump.client.outbox);
                self.pump.drop_message(&head);
                Ok(session)
            }
            Step::Bind(binding, bind) => {
                self.pump.drop_message(&head);
                Ok(self.bind(binding, bind, arrived).await)
            }
            Step::ChangePassword(session, request) => {
                let instead = match self.passes(&head, &input) {
                    Passage::Closed => return Ok(session),
                    Passage::Open => None,
                    Passage::Instead(octets) => Some(octets),
                };
                let frame = instead.as_deref().unwrap_or(&input);
                self.change_password(session, &head, frame, &request, arrived).await
            }
            Step::Relayed(binding, bind) => {
                self.pump.drop_message(&head);
                Ok(self.relayed_bind(binding, bind, goes_on, arrived).await)
            }
            Step::StartTls(upgrading) => {
                start_tls(head.id, Code::Success, "", &mut self.pump.client.outbox);
                self.upgrade().await?;
                Ok(upgrading.done())
            }
            Step::Close => {
                if let Some(server) = &mut self.pump.server {
                    unbind(head.id, &mut server.outbox);
                    let _best_effort = timeout(FAREWELL, server.send()).await;
                }
                let _best_effort = timeout(FAREWELL, self.pump.client.stream.shutdown()).await;
                Err(Ended)
            }
            Step::Disconnect(text) => self.misbehaved(text).await,
        }
    }

    async fn misbehaved(&mut self, text: &'static str) -> Result<Session, Ended> {
        self.shared.metrics.drop("ldap", "protocol-error");
        tracing::info!(listener = %self.shared.config.name, peer = %self.peer, text, "disconnected");
        self.goodbye(Code::ProtocolError, text).await
    }

    /// Sends the front message on, or `instead` of it, or answers it in the directory's place. The error is what to
    /// say to a client whose message has to be read and cannot be.
    async fn relay(&mut self, head: &Head, input: &[u8], instead: Option<&[u8]>) -> Result<(), &'static str> {
        let refusal = match self.connect().await {
            Err(ConnectError::Busy(most)) => {
                tracing::warn!(listener = %self.shared.config.name, most, "as many connections are relayed to the directory as may be");
                Some((Code::Busy, "too many connections to the directory"))
            }
            Err(ConnectError::Unreachable(reason)) => {
                tracing::warn!(listener = %self.shared.config.name, %reason, "the directory is out of reach");
                Some((Code::Unavailable, "the directory is out of reach"))
            }
            Ok(()) if self.pump.outstanding.is_full() => Some((Code::Busy, "too many operations at once")),
            Ok(()) => match self.acting_as.take() {
                None => None,
                Some(authorized) => {
                    let frame = instead.or_else(|| input.get(..head.total));
                    let sent = self.send_authorized(&authorized, head, frame);
                    self.acting_as = Some(authorized);
                    match sent {
                        Sent::On => return Ok(()),
                        Sent::Malformed => return Err("the request cannot be read"),
                        Sent::Refused(code, text) => Some((code, text)),
                    }
                }
            },
        };
        match (refusal, response_to(head.operation)) {
            (Some((code, text)), Some(response)) => {
                let id = head.id;
                let answer = Answer {
                    id,
                    response,
                    code,
                    text,
                };
                answer.write(&mut self.pump.client.outbox);
                self.pump.drop_message(head);
            }
            _ => {
                if let Some(tree) = &self.embedded {
                    let embedded = Embedded {
                        tree,
                        person: self.bound.as_ref().map(|bound| &**bound.person()),
                        start_tls: self.shared.rules.start_tls,
                    };
                    let answers = &mut self.pump.client.outbox;
                    match self.pump.gate.as_deref_mut() {
                        Some(gate) => gate::answer(&embedded, gate, instead.unwrap_or(input), answers),
                        None => embedded.answer(head, input, answers),
                    }
                    self.pump.drop_message(head);
                } else if self.pump.server.is_some() && self.acting_as.is_none() {
                    match instead {
                        Some(octets) => self.pump.send_instead(head, octets),
                        None => self.pump.send_on(head),
                    }
                } else {
                    // An abandon for a server that is gone: nothing is left to abandon.
                    self.pump.drop_message(head);
                }
            }
        }
        Ok(())
    }

    fn origin(&self, directory: &str, encrypted: bool) -> Origin {
        Origin {
            protocol: Protocol::Ldap,
            service: Arc::clone(&self.shared.service),
            client: Arc::clone(&self.shared.name),
            directory: directory.into(),
            source: self.peer.ip().to_canonical(),
            nas_identifier: None,
            calling_station: None,
            called_station: None,
            listener: None,
            application: self.shared.application(self.peer.ip()),
            transport: if encrypted { Transport::Tls } else { Transport::Tcp },
            service_account: None,
            manner: Manner::default(),
        }
    }

    /// Opens what operations go to, unless it is open.
    async fn connect(&mut self) -> Result<(), ConnectError> {
        if self.pump.server.is_some() || self.embedded.is_some() {
            return Ok(());
        }
        let directory = (self.shared.directory)()
            .ok_or_else(|| ConnectError::Unreachable("no directory of that name is configured".into()))?;
        match self.acting_as {
            Some(_) => self.connect_authorized(directory.as_ref()).await,
            None => open(directory.as_ref(), &mut self.pump.server, &mut self.embedded).await,
        }
    }

    fn drop_server(&mut self) {
        self.pump.drop_server();
        self.server_has_rights = false;
    }

    /// Before a bind is processed, operations under way must end or be abandoned (RFC 4511 section 4.2.1).
    async fn quiesce(&mut self, session: &Session) -> Result<(), Ended> {
        if self.pump.server.is_none() {
            return Ok(());
        }
        match timeout(PATIENCE, self.pump.run(session, Mode::Drain)).await {
            Ok(Event::Drained) => Ok(()),
            Ok(Event::ServerGone) if !self.pump.is_amid_message() => {
                self.pump.outstanding.fail(&mut self.pump.client.outbox);
                self.drop_server();
                Ok(())
            }
            Err(_elapsed) if !self.pump.is_amid_message() => {
                // Closing abandons them.
                self.pump.outstanding.clear();
                self.drop_server();
                Ok(())
            }
            Ok(Event::Dismissed) => self.farewell().await,
            Ok(
                Event::ServerGone
                | Event::ClientGone
                | Event::Message(_)
                | Event::ClientMisbehaved(_)
                | Event::Answered(_),
            )
            | Err(_) => Err(Ended),
        }
    }

    /// The server is lost: what is outstanding is answered; a client that was bound has to come again,
    /// because its password is not kept.
    async fn server_gone(&mut self, session: Session) -> Result<Session, Ended> {
        if self.pump.is_amid_message() {
            return Err(Ended);
        }
        let owed = self.pump.outstanding.len();
        if owed > 0 {
            tracing::warn!(listener = %self.shared.config.name, peer = %self.peer, owed, "the directory server closed");
        }
        self.pump.outstanding.fail(&mut self.pump.client.outbox);
        self.drop_server();
        if !session.is_anonymous() {
            return self.goodbye(Code::Unavailable, "the directory is out of reach").await;
        }
        Ok(session)
    }

    /// What is under way is finished, then the client is told to go; at once, if it is not welcome any more.
    async fn stop(&mut self, session: &Session) -> Result<Session, Ended> {
        if !self.stop.is_cancelled() {
            tracing::info!(listener = %self.shared.config.name, peer = %self.peer, "disconnected: the person is denied");
            self.drop_server();
            return self
                .goodbye(Code::Unavailable, "an administrator has ended this connection")
                .await;
        }
        // What does not end in time is given up.
        if let Ok(Event::Dismissed) = timeout(PATIENCE, self.pump.run(session, Mode::Drain)).await {
            return self.farewell().await;
        }
        self.goodbye(Code::Unavailable, "the server is shutting down").await
    }

    /// Sends a Notice of Disconnection and closes (RFC 4511 section 4.4.1).
    async fn goodbye(&mut self, code: Code, text: &str) -> Result<Session, Ended> {
        if self.pump.is_amid_message() {
            return Err(Ended);
        }
        notice_of_disconnection(code, text, &mut self.pump.client.outbox);
        self.farewell().await
    }

    /// Closes, once the client has been sent what is there for it.
    async fn farewell<T>(&mut self) -> Result<T, Ended> {
        let client = &mut self.pump.client;
        let _best_effort = timeout(FAREWELL, async {
            client.send().await?;
            client.stream.shutdown().await?;
            discard(&mut client.stream).await
        })
        .await;
        Err(Ended)
    }

    /// TLS on a connection that began without (RFC 4511 section 4.14).
    async fn upgrade(&mut self) -> Result<(), Ended> {
        self.pump.client.send().await.map_err(|_| Ended)?;
        let Some(tls) = &self.shared.tls else {
            return Err(Ended);
        };
        let plain = std::mem::replace(&mut self.pump.client.stream, ClientStream::Closed);
        let ClientStream::Plain(plain) = plain else {
            return Err(Ended);
        };
        match handshake(tls, plain, self.shared.unsettled).await {
            // A new port: octets that came before the handshake may be anybody's (RFC 4511 section 4.14.1)
            // and are forgotten.
            Ok(stream) => {
                self.shown = Shown::by(&stream, &self.shared.config.certificate_login);
                self.pump.client = Port::new(stream);
            }
            Err(fault) => {
                self.shared.metrics.drop("ldap", "tls-handshake");
                tracing::info!(
                    listener = %self.shared.config.name,
                    peer = %self.peer,
                    error = &fault as &dyn std::error::Error,
                    "no TLS"
                );
                return Err(Ended);
            }
        }
        Ok(())
    }
}

/// Opens what a connection's operations go to, unless one of the two is there.
async fn open(
    directory: &dyn Directory,
    server: &mut Option<Port<Box<dyn Stream>>>,
    embedded: &mut Option<Arc<Tree>>,
) -> Result<(), ConnectError> {
    if server.is_none() && embedded.is_none() {
        match directory.connect().await? {
            Link::Remote(stream) => *server = Some(Port::new(stream)),
            Link::Embedded(tree) => *embedded = Some(tree),
        }
    }
    Ok(())
}

/// Reads what the client has still sent, so that closing does not take back what we said last.
async fn discard(stream: &mut ClientStream) -> io::Result<()> {
    let mut octets = [0; 4096];
    for _ in 0..64 {
        let mut space = ReadBuf::new(&mut octets);
        std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut space)).await?;
        if space.filled().is_empty() {
            break;
        }
    }
    Ok(())
}

/// How long operations may take to end before a bind or a shutdown.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a last word may take.
const FAREWELL: Duration = Duration::from_millis(500);
/// Quiet ticks after which a connection counts as idle.
pub(super) const TICKS: u32 = 8;
