//! One try of one password, for the engine: by a bind on the client's own connection to the server, which
//! is opened only now. Whoever is refused before costs the directory nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use zeroize::Zeroize as _;

use super::open;
use crate::ber::Message;
use crate::directory::bind::{BindResponse, encode_bind, outcome};
use crate::directory::local::Tree;
use crate::directory::{Directory, Stream};
use crate::engine::{BoxFuture, PasswordCheck, PasswordOutcome, Person};
use crate::ldap::frame::{Front, Head, Sender, front};
use crate::ldap::pump::{CAPACITY, Port};
use crate::ldap::reply::{BIND_RESPONSE, is_goodbye};
use crate::secret::Secret;

/// Tries a password, once.
pub(super) struct Trial<'c> {
    pub(super) directory: Arc<dyn Directory>,
    /// The connection, once there is one.
    pub(super) server: &'c mut Option<Port<Box<dyn Stream>>>,
    /// What is there instead of it for a directory that has no server.
    pub(super) embedded: &'c mut Option<Arc<Tree>>,
    /// Takes answers to operations that the client had abandoned.
    pub(super) late: &'c mut Vec<u8>,
    /// Whether the server may hold the connection to be bound.
    pub(super) has_rights: &'c mut bool,
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
}

impl PasswordCheck for Trial<'_> {
    fn check<'a>(&'a mut self, person: &'a Person, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome> {
        Box::pin(async move {
            // RFC 4513 section 5.1.2: without a password the server would answer success.
            if password.is_empty() || person.dn.is_empty() {
                return PasswordOutcome::Wrong;
            }
            if !matches!(self.tried, Tried::Nothing) {
                return PasswordOutcome::Unavailable("a second try of one attempt".into());
            }
            self.tried = Tried::NotRight;
            if let Err(reason) = open(self.directory.as_ref(), self.server, self.embedded).await {
                return PasswordOutcome::Unavailable(reason);
            }
            if self.server.is_none() {
                let outcome = self.directory.verify(person, password).await;
                if outcome == PasswordOutcome::Right {
                    self.tried = Tried::RightHere;
                }
                return outcome;
            }
            self.tried = Tried::Lost;
            match timeout(BIND_TIME, self.exchange(&person.dn, password)).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(fault)) => PasswordOutcome::Unavailable(format!("binding on the relayed connection: {fault}")),
                Err(_elapsed) => PasswordOutcome::Unavailable("the server did not answer a bind in time".into()),
            }
        })
    }
}

impl Trial<'_> {
    async fn exchange(&mut self, dn: &str, password: &Secret) -> io::Result<PasswordOutcome> {
        let server = self.server.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        *self.has_rights = true;
        encode_bind(self.id, dn, password, self.asks_identity, &mut server.outbox);
        server.send().await?;
        let head = response(server, BIND_RESPONSE, self.id, self.late).await?;
        let reply = server.inbox.filled().get(..head.total).unwrap_or_default();
        let message = Message::read(reply).map_err(io::Error::other)?;
        let response = BindResponse::read(&message).map_err(io::Error::other)?;
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

/// Waits for the response to an operation. It stands at the front of the inbox then; what else has come goes to
/// `late`.
pub(super) async fn response(
    server: &mut Port<Box<dyn Stream>>,
    operation: u8,
    id: i32,
    late: &mut Vec<u8>,
) -> io::Result<Head> {
    loop {
        match front(server.inbox.filled(), CAPACITY, CAPACITY, Sender::Server).map_err(io::Error::other)? {
            Front::Incomplete => server.fill().await?,
            Front::Streamed(_) => return Err(io::ErrorKind::InvalidData.into()),
            Front::Whole(head) if head.operation == operation && head.id == id => return Ok(head),
            Front::Whole(head) => {
                let frame = server.inbox.filled().get(..head.total).unwrap_or_default();
                if is_goodbye(&head, frame) || late.len() + frame.len() > CAPACITY {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                late.extend_from_slice(frame);
                server.inbox.consume(head.total);
            }
        }
    }
}

/// Longest wait for the server's answer to a bind.
const BIND_TIME: Duration = Duration::from_secs(5);
