//! Changes as data: what a decision wants written, with the versions it read.

use crate::clock::Timestamp;
use crate::engine::event::AuditEvent;
use crate::engine::facts::UserKey;

/// A name in the store. At most [`Key::MAX_OCTETS`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// Longest key, in octets.
    pub const MAX_OCTETS: usize = 1024;

    /// Records that persist: `u/<user key>`.
    pub fn user(user: &UserKey) -> Self {
        Self::joined(b"u/", user.as_str().as_bytes())
    }

    /// All user records.
    pub const USERS: &'static [u8] = b"u/";

    /// Failure counters, which expire: `e/t/<user key>`.
    pub fn throttle(user: &UserKey) -> Self {
        Self::joined(b"e/t/", user.as_str().as_bytes())
    }

    /// Challenges of upstream servers that wait for their answers, which expire: `e/r/<id>`.
    pub fn upstream(id: u64) -> Self {
        Self::joined(b"e/r/", format!("{id:016x}").as_bytes())
    }

    /// What was learned of a RADIUS client: `c/<client>/<address>`.
    pub fn learned_client(client: &str, address: &str) -> Self {
        Self::joined(b"c/", format!("{client}/{address}").as_bytes())
    }

    /// All that was learned of RADIUS clients.
    pub const LEARNED_CLIENTS: &'static [u8] = b"c/";

    /// Everything under this prefix may carry an expiry and is swept.
    pub const EXPIRING: &'static [u8] = b"e/";

    /// A key as found in the store.
    pub fn from_octets(octets: &[u8]) -> Self {
        Self(octets.to_vec())
    }

    /// The octets of the key.
    pub fn as_octets(&self) -> &[u8] {
        &self.0
    }

    fn joined(prefix: &[u8], rest: &[u8]) -> Self {
        Self([prefix, rest].concat())
    }
}

/// The store's revision at which a key was last written; zero for a key that does not exist. Revisions
/// only grow, also over deletion and restart, so equal versions mean equal contents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// A value and the version it was read at.
#[derive(Clone, Debug, Default)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// Its version.
    pub version: Version,
}

/// Changes that are applied together or not at all, if every expectation still holds.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Keys with the versions they must still have.
    pub expect: Vec<(Key, Version)>,
    /// Writes.
    pub write: Vec<(Key, Change)>,
    /// Records to append to the audit chain, in order.
    pub audit: Vec<AuditEvent>,
}

/// One write.
#[derive(Clone, Debug)]
pub enum Change {
    /// Store these octets (at most 60,000), until the given moment if there is one.
    Put(Vec<u8>, Option<Timestamp>),
    /// Remove the key.
    Delete,
}

impl Batch {
    /// Whether there is nothing to check, write or append.
    pub fn is_empty(&self) -> bool {
        self.expect.is_empty() && self.write.is_empty() && self.audit.is_empty()
    }

    /// Expects `key` to be at `version` and writes `change` to it.
    pub fn replace(&mut self, key: Key, version: Version, change: Change) {
        self.expect.push((key.clone(), version));
        self.write.push((key, change));
    }
}
