//! One try of one password, for the engine: by a bind on the client's own connection to the server, which
//! is opened only now. Whoever is refused before costs the directory nothing.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use zeroize::Zeroize as _;

use super::open;
use crate::ber::{BerError, Message};
use crate::causes::in_full;
use crate::clock;
use crate::directory::bind::{BindResponse, UNAVAILABLE, encode_bind, outcome};
use crate::directory::local::Tree;
use crate::directory::{ConnectError, Directory, Stream};
use crate::engine::{BoxFuture, PasswordCheck, PasswordOutcome, Person};
use crate::ldap::frame::{FrameError, Front, Head, Sender, front};
use crate::ldap::outstanding::Outstanding;
use crate::ldap::pump::{CAPACITY, Port};
use crate::ldap::reply::{BIND_RESPONSE, EXTENDED_RESPONSE, is_goodbye};
use crate::secret::Secret;

/// Tries a password, once.
pub(super) struct Trial<'c> {
    pub(super) directory: Arc<dyn Directory>,
    /// The connection, once there is one.
    pub(super) server: &'c mut Option<Port<Box<dyn Stream>>>,
    /// What is there instead of it for a directory that has no server.
    pub(super) embedded: &'c mut Option<Arc<Tree>>,
    /// What the client had sent on before.
    pub(super) outstanding: &'c Outstanding,
    /// Takes answers to operations that the client had abandoned.
    pub(super) late: &'c mut Vec<u8>,
    /// Whether the server may hold the connection to be bound.
    pub(super) has_rights: &'c mut bool,
    /// Whether a password is not to be tried, whatever the engine says: the entry may not be bound to from here.
    pub(super) is_barred: &'c (dyn Fn(&Person) -> bool + Sync),
    /// messageID of the client's bind.
    pub(super) id: i32,
    /// Whether the client asks for the authorization identity.
    pub(super) asks_identity: bool,
    pub(super) tried: Tried,
}

/// What came of it.
pub(super) enum Tried {
    /// The password was not tried.
    Nothing,
    /// Right; the server's answer.
    Right(Vec<u8>),
    /// Right, says a directory that has no server.
    RightHere,
    /// Right, but to be changed first, and the server holds the connection to be bound; its answer.
    MustChange(Vec<u8>),
    /// Anything else.
    NotRight,
    /// The connection cannot be used any more.
    Lost,
    /// Not at all: as many connections are relayed to the directory as may be.
    Busy,
}

impl PasswordCheck for Trial<'_> {
    fn check<'a>(&'a mut self, person: &'a Person, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(async move {
            // RFC 4513 section 5.1.2: without a password the server would answer success.
            if password.is_empty() || person.dn.is_empty() || (self.is_barred)(person) {
                return PasswordOutcome::Wrong;
            }
            if !matches!(self.tried, Tried::Nothing) {
                return PasswordOutcome::Unavailable("a second try of one attempt".into());
            }
            self.tried = Tried::NotRight;
            let started = clock::monotonic();
            // Nothing is outstanding now, and nothing of the old connection's state outlives a bind.
            if self.server.as_ref().is_some_and(|server| !server.stream.is_wanted()) {
                *self.server = None;
                *self.has_rights = false;
            }
            let is_new = self.server.is_none();
            match open(self.directory.as_ref(), self.server, self.embedded).await {
                Ok(()) => {}
                Err(busy @ ConnectError::Busy(_)) => {
                    self.tried = Tried::Busy;
                    return PasswordOutcome::Unavailable(busy.to_string());
                }
                Err(error) => return PasswordOutcome::Unavailable(error.to_string()),
            }
            if self.server.is_none() {
                let outcome = self.directory.verify(person, password).await;
                if outcome == PasswordOutcome::Right {
                    self.tried = Tried::RightHere;
                }
                return outcome;
            }
            self.tried = Tried::Lost;
            match self.bind(&person.dn, password, started).await {
                Ok(outcome) => outcome,
                Err(fault) => {
                    let why = format!("a bind on a relayed connection: {}", in_full(&fault));
                    if let Some(server) = self.server
                        && fault.is_the_servers(is_new)
                    {
                        server.stream.failed(&why);
                    }
                    PasswordOutcome::Unavailable(why)
                }
            }
        })
    }
}

impl Trial<'_> {
    /// The exchange, within what is left of the server's time since `started`.
    async fn bind(&mut self, dn: &str, password: &Secret, started: Instant) -> Result<PasswordOutcome, Fault> {
        let Some(server) = &self.server else {
            return Err(Fault::Closed);
        };
        let patience = server.stream.patience();
        let begun = clock::monotonic();
        let outcome = timeout_at((started + patience).into(), self.exchange(dn, password)).await;
        let span = clock::monotonic().saturating_duration_since(begun);
        let Ok(outcome) = outcome else {
            return Err(Fault::Silence { span, patience });
        };
        if let (Ok(_), Some(server)) = (&outcome, &self.server) {
            server.stream.answered(span);
        }
        outcome
    }

    async fn exchange(&mut self, dn: &str, password: &Secret) -> Result<PasswordOutcome, Fault> {
        let server = self.server.as_mut().ok_or(Fault::Closed)?;
        *self.has_rights = true;
        encode_bind(self.id, dn, password, self.asks_identity, &mut server.outbox);
        server.send().await.map_err(Fault::Io)?;
        let head = response(server, (BIND_RESPONSE, self.id), self.outstanding, self.late).await?;
        let reply = server.inbox.filled().get(..head.total).unwrap_or_default();
        let message = Message::read(reply)?;
        let response = BindResponse::read(&message)?;
        let outcome = outcome(&response);
        // RFC 4511 section 4.2.1: after a bind that failed the connection is anonymous.
        *self.has_rights = response.code == 0;
        self.tried = match outcome {
            PasswordOutcome::Right => Tried::Right(reply.to_vec()),
            PasswordOutcome::MustChange if *self.has_rights => Tried::MustChange(reply.to_vec()),
            PasswordOutcome::Wrong
            | PasswordOutcome::Expired
            | PasswordOutcome::MustChange
            | PasswordOutcome::Locked
            | PasswordOutcome::Disabled
            | PasswordOutcome::Unknown
            | PasswordOutcome::Unavailable(_) => Tried::NotRight,
        };
        if response.code == UNAVAILABLE {
            server.stream.failed("the server says that it is unavailable");
        }
        server.inbox.consume(head.total);
        Ok(outcome)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        // When the attempt is given up in the middle, the password may still be in there.
        if let Some(server) = self.server {
            server.outbox.zeroize();
        }
    }
}

/// Waits for the response of this operation and messageID. It stands at the front of the inbox then; what else
/// has come goes to `late`.
pub(super) async fn response(
    server: &mut Port<Box<dyn Stream>>,
    (kind, id): (u8, i32),
    outstanding: &Outstanding,
    late: &mut Vec<u8>,
) -> Result<Head, Fault> {
    loop {
        let head = match front(server.inbox.filled(), CAPACITY, CAPACITY, Sender::Server)? {
            Front::Whole(head) => head,
            Front::Incomplete => {
                match server.fill().await {
                    Ok(()) => {}
                    Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => return Err(Fault::Closed),
                    Err(fault) => return Err(Fault::Io(fault)),
                }
                continue;
            }
            Front::Streamed(_) => return Err(Fault::Flood),
        };
        if head.id == id && head.operation == kind {
            return Ok(head);
        }
        let frame = server.inbox.filled().get(..head.total).unwrap_or_default();
        if is_goodbye(&head, frame) {
            return Err(Fault::Closed);
        }
        let unsolicited = head.id == 0 && head.operation == EXTENDED_RESPONSE;
        if !unsolicited && !outstanding.is_abandoned(head.id) {
            return Err(Fault::Stray {
                operation: head.operation,
                id: head.id,
                asked: id,
            });
        }
        if late.len() + frame.len() > CAPACITY {
            return Err(Fault::Flood);
        }
        late.extend_from_slice(frame);
        server.inbox.consume(head.total);
    }
}

/// Why a bind has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the connection failed")]
    Io(#[source] io::Error),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server did not answer within {span:?}")]
    Silence { span: Duration, patience: Duration },
    #[error("the server does not speak LDAP")]
    Frame(#[from] FrameError),
    #[error("the server's answer cannot be read")]
    Answer(#[from] BerError),
    #[error("the server sent message {id} (operation {operation:#04x}) instead of the answer to {asked}")]
    Stray { operation: u8, id: i32, asked: i32 },
    #[error("the server sends other messages without end")]
    Flood,
    #[error("an abandoned operation had message id {0}, too")]
    Taken(i32),
}

impl Fault {
    /// Whether the server is to be given up for it. A connection that was open before may have been closed
    /// for any reason, and who had little time to answer may be well.
    fn is_the_servers(&self, is_new: bool) -> bool {
        match self {
            Self::Io(_) | Self::Closed => is_new,
            Self::Silence { span, patience } => *span >= *patience / 2,
            Self::Frame(_) | Self::Answer(_) | Self::Stray { .. } => true,
            // What the client had abandoned may be large.
            Self::Flood => is_new,
            Self::Taken(_) => false,
        }
    }
}
