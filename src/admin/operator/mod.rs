//! Who is calling, and what they may do.

mod authorize;
mod book;
mod verb;

use std::net::IpAddr;

use tokio::net::unix::UCred;
use tokio::task;

use crate::engine::operator::{Grant, Role};

pub(crate) use authorize::out_of_scope;
pub use authorize::{Seen, Target, authorize, judge};
pub use book::{Book, LocalAccount};
pub use verb::{Manner, Reach, Verb};

/// Who holds the other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// An account of this machine, as the kernel knows it.
    Local {
        /// Its name; `#uid` for an account without a name.
        name: String,
        /// Root or the process's own account, which are administrators without being configured.
        own: bool,
    },
    /// Somebody from this address, of whom nothing is known but the API token that they show.
    Remote(IpAddr),
}

/// A caller at the moment of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// The name in the audit: the local account's, or `account/name` of an API token.
    pub name: String,
    /// What it may be; nobody's operator where this is empty.
    pub grants: Vec<Grant>,
    /// Whether it is root or the process's own account, or acts by a token of theirs: nobody in particular, and so
    /// nobody who could vouch for somebody.
    pub own: bool,
    /// Whether it acts by an API token that somebody else has issued, who has seen it and may be the one who acts.
    pub lent: bool,
    /// Why some of the roles could not be found out.
    pub unresolved: Option<String>,
    /// Whether it still has to confirm sensitive verbs.
    pub confirmation: Confirmation,
}

/// How an operator stands with the confirmation of sensitive verbs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Confirmation {
    /// None is asked for.
    #[default]
    NotNeeded,
    /// A code is asked for, and was not given.
    Due,
    /// A right code came with the request.
    Given,
    /// A code is asked for of everybody, and the operator has nothing that shows any.
    Impossible,
    /// The directory that knows whether the operator has a token cannot be asked.
    Unknown(String),
}

impl Operator {
    /// An administrator of that name, for what the process does by itself, and for tests.
    pub fn administrator(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            grants: vec![Grant::of(Role::Administrator)],
            own: false,
            lent: false,
            unresolved: None,
            confirmation: Confirmation::NotNeeded,
        }
    }

    /// Whether it is an operator at all.
    pub fn is_known(&self) -> bool {
        !self.grants.is_empty()
    }

    /// Whether it is an administrator.
    pub fn is_administrator(&self) -> bool {
        self.grants.iter().any(|grant| grant.role == Role::Administrator)
    }

    /// Whether it may do that to everybody whom separation of duties does not keep it from.
    pub fn is_everywhere(&self, verb: Verb) -> bool {
        let able = self.grants.iter().filter(|grant| authorize::has(grant, verb));
        able.into_iter().any(Grant::is_everywhere)
    }
}

impl Caller {
    /// Finds out who holds the other end of a connection.
    pub async fn of(peer: UCred) -> Self {
        let uid = peer.uid();
        // Name services may ask the network; that must not hold up others.
        let looked_up = task::spawn_blocking(move || nix::unistd::User::from_uid(uid.into())).await;
        let name = match looked_up {
            Ok(Ok(Some(user))) => Some(user.name),
            Ok(Ok(None) | Err(_)) | Err(_) => None,
        };
        Self::Local {
            name: name.unwrap_or_else(|| format!("#{uid}")),
            own: uid == 0 || uid == nix::unistd::geteuid().as_raw(),
        }
    }

    /// The address, of somebody elsewhere.
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Local { .. } => None,
            Self::Remote(address) => Some(*address),
        }
    }
}

#[cfg(test)]
mod tests;
