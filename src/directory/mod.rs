//! Directories: who a name belongs to and whether a password is right.

pub mod bind;
mod dns;
pub mod filter;
mod health;
pub mod ldap;
pub mod ldif;
pub mod local;
mod modify;
mod moment;
mod person;
mod pool;
mod relayed;
mod resolve;
mod search;
mod servers;
pub mod upstream;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::Sender;

use crate::clock::Timestamp;
use crate::engine::account::{AccountChange, Changed, StateAnswer};
use crate::engine::facts::{Lookup, PasswordOutcome, Person};
use crate::engine::response::{Response, ResponseOutcome};
use crate::engine::{BoxFuture, LoginName};
use crate::secret::Secret;

use filter::Filter;

pub use health::Standing;

/// A connection to a directory server that is relayed over: TCP, or TLS over it, nobody bound at first.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {
    /// Longest time for the answer to a bind, opening the connection included.
    fn patience(&self) -> Duration {
        Duration::from_secs(3)
    }

    /// Whether another bind should go over it: its server still is the one that new work goes to, and it
    /// is not too old.
    fn is_wanted(&self) -> bool {
        true
    }

    /// The server has answered a bind after `span`.
    fn answered(&self, _span: Duration) {}

    /// The server is to blame for a bind that came to nothing.
    fn failed(&self, _why: &str) {}
}

impl Stream for tokio::net::TcpStream {}

/// What the LDAP front end relays to.
pub enum Link {
    /// An open connection to a healthy server, TLS done, nobody bound.
    Remote(Box<dyn Stream>),
    /// The directory has no server: its entries are answered from here.
    Embedded(Arc<local::Tree>),
}

/// How passwords are changed that LDAP clients want changed (RFC 3062).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordModify {
    /// The server knows the operation: who is bound may ask it.
    Relayed,
    /// It does not: what is asked for is done by [`Directory::change`].
    Translated,
    /// There is nothing to change here.
    Never,
}

/// Why there is nothing to relay to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// As many connections are relayed as the directory is configured for.
    #[error("{0} connections are relayed to the directory already")]
    Busy(usize),
    /// No server can be reached; the text says why, for logs.
    #[error("{0}")]
    Unreachable(String),
}

/// A directory. Every call ends within the directory's configured time-outs, and no call waits on
/// another directory.
pub trait Directory: Send + Sync {
    /// The configured name.
    fn name(&self) -> &str;

    /// The upstream RADIUS server that judges passwords in place of this directory.
    fn password_by(&self) -> Option<&Arc<str>> {
        None
    }

    /// Finds the one entry that `login` names.
    fn look_up<'a>(&'a self, login: &'a LoginName) -> BoxFuture<'a, Lookup>;

    /// Tries `password` (never empty) for `person`, with at most one bind.
    fn verify<'a>(&'a self, person: &'a Person, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome>;

    /// Judges a response to a challenge by what is kept of the person's password. A directory that is asked
    /// by bind keeps nothing.
    fn verify_response<'a>(&'a self, _person: &'a Person, _response: &'a Response) -> BoxFuture<'a, ResponseOutcome> {
        Box::pin(std::future::ready(ResponseOutcome::Impossible))
    }

    /// Spends the time of [`Directory::verify`] for someone who does not exist: [`PasswordOutcome::Unknown`],
    /// or unavailable just when it would be for someone who does.
    fn verify_nobody<'a>(&'a self, password: &'a Secret) -> BoxFuture<'a, PasswordOutcome>;

    /// Changes an account, at most once: an answer that does not come is unavailable, not a second try. What
    /// was remembered of look-ups is forgotten. A directory that cannot be written to says
    /// [`Changed::Unsupported`].
    fn change<'a>(&'a self, _person: &'a Person, _change: AccountChange<'a>) -> BoxFuture<'a, Changed> {
        Box::pin(std::future::ready(Changed::Unsupported))
    }

    /// How its passwords are changed.
    fn password_modify(&self) -> PasswordModify {
        PasswordModify::Never
    }

    /// What the directory says of the account, asked anew: locked, expired and the like.
    fn state<'a>(&'a self, _person: &'a Person) -> BoxFuture<'a, StateAnswer> {
        Box::pin(std::future::ready(StateAnswer::Unsupported))
    }

    /// Spends the time of [`Directory::state`] for somebody who does not exist: [`StateAnswer::Unknown`], or
    /// unavailable just when it would be for somebody who does.
    fn state_of_nobody(&self) -> BoxFuture<'_, StateAnswer> {
        Box::pin(std::future::ready(StateAnswer::Unsupported))
    }

    /// The one whom the person's entry names as manager, found like everybody else;
    /// [`Lookup::Unknown`] when it names none, or one who is not among this directory's people.
    fn manager<'a>(&'a self, _person: &'a Person) -> BoxFuture<'a, Lookup> {
        Box::pin(std::future::ready(Lookup::Unknown))
    }

    /// Sends the distinguished names of all its people whom `filter` finds to `found`, some at a time and no faster than
    /// they are taken.
    ///
    /// # Errors
    /// Why not all of them were found: those that were have been sent.
    fn people<'a>(&'a self, _filter: &'a Filter, _found: Sender<Vec<String>>) -> BoxFuture<'a, Result<(), String>> {
        let none = "this directory cannot be searched".to_owned();
        Box::pin(std::future::ready(Err(none)))
    }

    /// Opens what an LDAP client's operations are relayed to.
    fn connect(&self) -> BoxFuture<'_, Result<Link, ConnectError>>;

    /// Whether people whose password it has not seen are served with its service account's right to act as them
    /// (RFC 4370).
    fn authorizes(&self) -> bool {
        false
    }

    /// Opens a connection bound as the service account, for operations that each carry the person's
    /// authorization.
    fn connect_authorized(&self) -> BoxFuture<'_, Result<Link, ConnectError>> {
        let none = "the directory's account acts for nobody".to_owned();
        Box::pin(std::future::ready(Err(ConnectError::Unreachable(none))))
    }

    /// Forgets cached look-ups.
    fn forget_look_ups(&self);

    /// Asks each server whether it is there, now.
    fn probe(&self) -> BoxFuture<'_, DirectoryStatus>;

    /// How it was when last used or probed.
    fn status(&self) -> DirectoryStatus;
}

/// How a directory is doing, for `status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectoryStatus {
    /// The configured name.
    pub name: String,
    /// `ldap` or `local`.
    pub kind: String,
    /// Its servers in order of preference.
    pub servers: Vec<ServerStatus>,
    /// Attempts waiting for a connection.
    pub queue: usize,
    /// Longest life of a connection, where there are any.
    pub max_connection_age: Option<Duration>,
}

/// One server of a directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ServerStatus {
    /// URL, or path of the LDIF file.
    pub address: String,
    /// Whether it takes work: all of it, or what no better server takes.
    pub healthy: bool,
    /// How it stands.
    pub standing: Standing,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When it is tried next, unless it is healthy.
    pub next_try: Option<Timestamp>,
    /// How often it was given up.
    pub given_up: u64,
    /// Milliseconds of the last exchange.
    pub latency_ms: Option<f64>,
    /// When it answered last.
    pub last: Option<Timestamp>,
    /// Connections open to it for look-ups and for trying passwords.
    pub connections: usize,
    /// Connections of LDAP clients that are relayed to it.
    pub relayed: usize,
    /// The last error.
    pub error: Option<String>,
}
