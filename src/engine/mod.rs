//! The engine decides and does no I/O: policy, dialogs and authenticators as pure functions of
//! `(request, facts, now)`. What it wants done comes out as data ([`Step::Do`]); the answer goes back
//! in ([`Attempt::resume`]). Changes come out as a [`Batch`] to be committed before the answer leaves.

pub mod account;
pub mod approval;
pub mod authenticator;
pub mod batch;
pub mod delivery;
pub mod denials;
pub mod dialog;
pub mod event;
pub mod facts;
pub mod filter;
pub mod generated;
pub mod login;
pub mod ocra;
pub mod offline;
pub mod operator;
pub mod outline;
pub mod policy;
pub mod questions;
pub mod record;
pub mod relayed;
pub mod request;
pub mod reseal;
pub mod response;
pub mod reuse;
pub mod review;
pub mod session;
mod stuffed;
pub mod texts;
pub mod throttle;
pub mod upstream;
pub mod verdict;
pub mod workflow;

pub use batch::{Batch, Key, Version, Versioned};
pub use facts::{Facts, Lookup, PasswordOutcome, Person, UserKey};
pub use login::{Attempt, Decision, Effect, Engine, Evidence, Settings, Step};
pub use request::{
    AuthnRequest, Capability, Claims, Given, LoginName, Manner, Operation, Origin, Protocol, Purpose, Split, Transport,
};
pub use session::Report;
pub use verdict::{Closed, Denial, Grant, Outage, Prompt, Restricted, Verdict};

use std::future::Future;
use std::pin::Pin;

use relayed::{Permit, RelayedChange, RelayedResult};

/// A boxed future, for the traits that join the rooms.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What front ends ask: a verdict on one request. Everything the verdict rests on is durable when the
/// future completes. Implemented by the verifier; front ends see no more of it than this.
pub trait Verify: Send + Sync {
    /// Judges `request`; the password, if it comes to that, is tried with `check` (at most once).
    fn verify<'a>(&'a self, request: AuthnRequest, check: Check<'a>) -> BoxFuture<'a, Verdict>;

    /// Whether a directory may be asked for `change` on the connection of who asks for it. A refusal is in the
    /// audit when the future completes.
    fn permit<'a>(&'a self, _change: &'a RelayedChange) -> BoxFuture<'a, Permit> {
        let reason = "password changes are not judged here".to_owned();
        Box::pin(std::future::ready(Permit::Unavailable(reason)))
    }

    /// Tells what a directory made of a permitted `change`, by `rule`. It is in the audit when the future
    /// completes; only then may the answer go on.
    ///
    /// # Errors
    /// [`Outage`] when it could not be written down.
    fn relayed<'a>(
        &'a self,
        _change: &'a RelayedChange,
        _rule: &'a str,
        _result: RelayedResult,
    ) -> BoxFuture<'a, Result<(), Outage>> {
        let reason = "password changes are not kept here".to_owned();
        Box::pin(std::future::ready(Err(Outage { reason })))
    }
}

/// Where front ends bring accounting. Implemented by the sessions; front ends see no more of it than this.
pub trait Keep: Send + Sync {
    /// Keeps what `report` tells; done when that is durable. Only then may the client be told so
    /// (RFC 2866 section 2).
    ///
    /// # Errors
    /// [`Outage`] when it could not be kept: the client shall say it again.
    fn keep(&self, report: Report) -> BoxFuture<'_, Result<(), Outage>>;
}

/// Where the password is tried.
pub enum Check<'a> {
    /// Against the directory named in the request's origin, over its pool.
    Directory,
    /// By the front end itself: the LDAP proxy binds on the connection that it will relay over.
    Own(&'a mut (dyn PasswordCheck + Send)),
}

/// One try of one password for one person.
pub trait PasswordCheck {
    /// Tries `password`; never called with an empty one.
    fn check<'a>(
        &'a mut self,
        person: &'a Person,
        password: &'a crate::secret::Secret,
    ) -> BoxFuture<'a, PasswordOutcome>;
}

#[cfg(test)]
mod tests;
