//! Directories: who a name belongs to and whether a password is right.

pub mod bind;
pub mod filter;
pub mod ldap;
pub mod ldif;
pub mod local;
mod modify;
mod moment;
mod person;
mod pool;
mod search;
pub mod upstream;
mod wire;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::account::{AccountChange, Changed, StateAnswer};
use crate::engine::facts::{Lookup, PasswordOutcome, Person};
use crate::engine::response::{Response, ResponseOutcome};
use crate::engine::{BoxFuture, LoginName};
use crate::secret::Secret;

/// A two-way stream of octets: TCP, or TLS over it.
pub trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

/// What the LDAP front end relays to.
pub enum Link {
    /// An open connection to a healthy server, TLS done, nobody bound.
    Remote(Box<dyn Stream>),
    /// The directory has no server: its entries are answered from here.
    Embedded(Arc<local::Tree>),
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

    /// What the directory says of the account, asked anew: locked, expired and the like.
    fn state<'a>(&'a self, _person: &'a Person) -> BoxFuture<'a, StateAnswer> {
        Box::pin(std::future::ready(StateAnswer::Unsupported))
    }

    /// The one whom the person's entry names as manager, found like everybody else;
    /// [`Lookup::Unknown`] when it names none, or one who is not among this directory's people.
    fn manager<'a>(&'a self, _person: &'a Person) -> BoxFuture<'a, Lookup> {
        Box::pin(std::future::ready(Lookup::Unknown))
    }

    /// Opens what an LDAP client's operations are relayed to; the error says why it cannot, for logs.
    fn connect(&self) -> BoxFuture<'_, Result<Link, String>>;

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
}

/// One server of a directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerStatus {
    /// URL, or path of the LDIF file.
    pub address: String,
    /// Whether new work goes there.
    pub healthy: bool,
    /// Milliseconds of the last exchange.
    pub latency_ms: Option<f64>,
    /// Connections open to it.
    pub connections: usize,
    /// The last error.
    pub error: Option<String>,
}
