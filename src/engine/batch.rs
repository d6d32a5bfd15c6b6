//! Changes as data: what a decision wants written, with the versions it read.

use std::borrow::Cow;
use std::fmt;

use crate::clock::Timestamp;
use crate::engine::approval::RequestId;
use crate::engine::event::AuditEvent;
use crate::engine::facts::UserKey;
use crate::engine::session::SessionName;

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

    /// The person whose record this is the key of.
    pub fn user_key(&self) -> Option<UserKey> {
        let text = std::str::from_utf8(self.0.strip_prefix(Self::USERS)?).ok()?;
        let (directory, identifier) = text.split_once(':')?;
        Some(UserKey::new(directory, identifier))
    }

    /// Failure counters, which expire: `e/t/<user key>`.
    pub fn throttle(user: &UserKey) -> Self {
        Self::joined(b"e/t/", user.as_str().as_bytes())
    }

    /// Challenges of upstream servers that wait for their answers, which expire: `e/r/<id>`.
    pub fn upstream(id: u64) -> Self {
        Self::joined(b"e/r/", format!("{id:016x}").as_bytes())
    }

    /// Codes sent to one destination, which expire: `e/d/<digest>`.
    pub fn sent_to(digest: &[u8; 32]) -> Self {
        Self::joined(b"e/d/", data_encoding::HEXLOWER.encode(digest).as_bytes())
    }

    /// Codes sent to one person, which expire: `e/o/<user key>`.
    pub fn sent_for(user: &UserKey) -> Self {
        Self::joined(b"e/o/", user.as_str().as_bytes())
    }

    /// Requests that wait for somebody's approval, which expire: `e/q/<id>`.
    pub fn request(id: RequestId) -> Self {
        Self::joined(Self::REQUESTS, id.to_string().as_bytes())
    }

    /// All of them.
    pub const REQUESTS: &'static [u8] = b"e/q/";

    /// The request that this is the key of.
    pub fn request_id(&self) -> Option<RequestId> {
        let id = self.0.strip_prefix(Self::REQUESTS)?;
        RequestId::parse(std::str::from_utf8(id).ok()?)
    }

    /// Whose passcode has this identifier, which expires: `e/p/<id>`.
    pub fn passcode(id: &str) -> Self {
        Self::joined(b"e/p/", part(id).as_bytes())
    }

    /// What somebody may approve in another's place, which expires: `e/l/<account>/<id>`.
    pub fn delegation(account: &str, id: RequestId) -> Self {
        Self::joined(&Self::delegations_to(account), id.to_string().as_bytes())
    }

    /// All of one account.
    pub fn delegations_to(account: &str) -> Vec<u8> {
        [Self::DELEGATIONS, part(account).as_bytes(), b"/"].concat()
    }

    /// All of them.
    pub const DELEGATIONS: &'static [u8] = b"e/l/";

    /// The delegation that this is the key of.
    pub fn delegation_id(&self) -> Option<RequestId> {
        let rest = self.0.strip_prefix(Self::DELEGATIONS)?;
        let (_, id) = std::str::from_utf8(rest).ok()?.rsplit_once('/')?;
        RequestId::parse(id)
    }

    /// What was learned of a RADIUS client: `c/<client>/<address>`.
    pub fn learned_client(client: &str, address: &str) -> Self {
        Self::joined(b"c/", format!("{client}/{address}").as_bytes())
    }

    /// All that was learned of RADIUS clients.
    pub const LEARNED_CLIENTS: &'static [u8] = b"c/";

    /// An open session: `s/<client>/<nas>/<identifier>`.
    pub fn session(name: &SessionName) -> Self {
        Self::joined(Self::SESSIONS, name.to_string().as_bytes())
    }

    /// All open sessions.
    pub const SESSIONS: &'static [u8] = b"s/";

    /// All open sessions of one NAS.
    pub fn sessions_of_nas(client: &str, nas: &str) -> Vec<u8> {
        [
            Self::SESSIONS,
            part(client).as_bytes(),
            b"/",
            part(nas).as_bytes(),
            b"/",
        ]
        .concat()
    }

    /// All open sessions of one client.
    pub fn sessions_of_client(client: &str) -> Vec<u8> {
        [Self::SESSIONS, part(client).as_bytes(), b"/"].concat()
    }

    /// All open sessions of one person: `S/<user key>/`, each with the name of the session behind it.
    pub fn sessions_of(user: &UserKey) -> Vec<u8> {
        [b"S/", part(user.as_str()).as_bytes(), b"/"].concat()
    }

    /// That a session is one person's.
    pub fn session_of(user: &UserKey, name: &SessionName) -> Self {
        Self::joined(&Self::sessions_of(user), name.to_string().as_bytes())
    }

    /// That a session has ended, which expires: `e/s/<client>/<nas>/<identifier>`.
    pub fn ended_session(name: &SessionName) -> Self {
        Self::joined(b"e/s/", name.to_string().as_bytes())
    }

    /// Logins of one person whose session has not been reported yet, which expire: `e/g/<user key>`.
    pub fn grants(user: &UserKey) -> Self {
        Self::joined(b"e/g/", user.as_str().as_bytes())
    }

    /// That nobody of a group is let in: `d/<directory>/<group>`, and `d//<group>` for all directories.
    pub fn group_denial(directory: Option<&str>, group: &str) -> Self {
        let directory = directory.map(part).unwrap_or_default();
        Self::joined(Self::GROUP_DENIALS, format!("{directory}/{}", part(group)).as_bytes())
    }

    /// All denials of groups.
    pub const GROUP_DENIALS: &'static [u8] = b"d/";

    /// Something to be done later, or by and by: `j/<number>`.
    pub fn job(number: u64) -> Self {
        Self::joined(Self::JOBS, format!("{number:016x}").as_bytes())
    }

    /// All of them.
    pub const JOBS: &'static [u8] = b"j/";

    /// That a job is done with one person, which expires: `e/j/<number>/<user key>`.
    pub fn done_with(number: u64, user: &UserKey) -> Self {
        Self::joined(b"e/j/", format!("{number:016x}/{user}").as_bytes())
    }

    /// Responses given to somebody at a machine that cannot reach us, which expire: `e/f/<user key>`.
    pub fn offline(user: &UserKey) -> Self {
        Self::joined(b"e/f/", user.as_str().as_bytes())
    }

    /// An API token of an operator, which expires: `e/a/<account>/<name>`.
    pub fn api_token(account: &str, name: &str) -> Self {
        Self::joined(&Self::api_tokens_of(account), part(name).as_bytes())
    }

    /// All API tokens.
    pub const API_TOKENS: &'static [u8] = b"e/a/";

    /// All API tokens of one account.
    pub fn api_tokens_of(account: &str) -> Vec<u8> {
        [Self::API_TOKENS, part(account).as_bytes(), b"/"].concat()
    }

    /// Which API token a digest is that of, which expires: `e/k/<digest>`.
    pub fn api_token_shown(digest: &[u8; 32]) -> Self {
        Self::joined(b"e/k/", data_encoding::HEXLOWER.encode(digest).as_bytes())
    }

    /// A version of the policies: `p/v/<number>`.
    pub fn policy_version(number: u64) -> Self {
        Self::joined(Self::POLICY_VERSIONS, format!("{number:016x}").as_bytes())
    }

    /// All versions of the policies, oldest first.
    pub const POLICY_VERSIONS: &'static [u8] = b"p/v/";

    /// A piece of the files of a version of the policies: `p/t/<number>/<piece>`.
    pub fn policy_text(number: u64, piece: u32) -> Self {
        Self::joined(b"p/t/", format!("{number:016x}/{piece:04x}").as_bytes())
    }

    /// The version of the policies that this is a piece of.
    pub fn policy_text_number(&self) -> Option<u64> {
        let rest = std::str::from_utf8(self.0.strip_prefix(b"p/t/")?).ok()?;
        let (number, _) = rest.split_once('/')?;
        u64::from_str_radix(number, 16).ok()
    }

    /// The place that the files of a version of the policies are sealed to.
    pub fn policy_text_place(number: u64) -> Vec<u8> {
        format!("policy-version/{number}").into_bytes()
    }

    /// The number of the newest version of the policies.
    pub fn policy_head() -> Self {
        Self::joined(b"p/", b"head")
    }

    /// When sessions were watched.
    pub fn session_watch() -> Self {
        Self::joined(b"w/", b"sessions")
    }

    /// What a test of the store writes, and takes away again: `e/h`.
    pub fn health_test() -> Self {
        Self(b"e/h".to_vec())
    }

    /// How far the collector of an audit stream has come: `x/<name>`.
    pub fn audit_stream(name: &str) -> Self {
        Self::joined(b"x/", name.as_bytes())
    }

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

/// The name as it stands in keys and commands: `client/nas/identifier`. What would make it ambiguous is
/// written as `%` and two hexadecimal digits; a part longer than [`MAX_PART`] octets is replaced by a digest.
impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", part(&self.client), part(&self.nas), part(&self.id))
    }
}

/// Longest part of a key that is made of several, in octets.
const MAX_PART: usize = 253;

fn part(text: &str) -> Cow<'_, str> {
    let plain = |octet: u8| !octet.is_ascii_control() && !matches!(octet, b'/' | b'%' | b' ' | b'~');
    if text.len() <= MAX_PART && !text.is_empty() && text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(octet) if octet.is_ascii() && !plain(octet) => escaped.push_str(&format!("%{octet:02X}")),
            Ok(_) | Err(_) => escaped.push(character),
        }
    }
    if escaped.len() > MAX_PART || escaped.is_empty() {
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        return Cow::Owned(format!("~{}", data_encoding::HEXLOWER.encode(digest.as_ref())));
    }
    Cow::Owned(escaped)
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

    /// One write that expects nothing.
    pub fn of(key: Key, change: Change) -> Self {
        Self {
            write: vec![(key, change)],
            ..Self::default()
        }
    }

    /// Expects `key` to be at `version` and writes `change` to it.
    pub fn replace(&mut self, key: Key, version: Version, change: Change) {
        self.expect.push((key.clone(), version));
        self.write.push((key, change));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(client: &str, nas: &str, id: &str) -> SessionName {
        SessionName {
            client: client.into(),
            nas: nas.into(),
            id: id.into(),
        }
    }

    #[test]
    fn what_is_kept_of_one_person_has_keys_of_its_own() {
        let user = UserKey::new("corp", "1");
        let session = name("vpn", "10.0.0.1", "1");
        let keys = [
            Key::user(&user),
            Key::throttle(&user),
            Key::sent_for(&user),
            Key::offline(&user),
            Key::done_with(1, &user),
            Key::grants(&user),
            Key::session(&session),
            Key::session_of(&user, &session),
            Key::ended_session(&session),
        ];
        let distinct: std::collections::BTreeSet<&Key> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn names_of_sessions_are_unambiguous_and_bounded() {
        assert_eq!(name("vpn", "10.0.0.1", "00A1").to_string(), "vpn/10.0.0.1/00A1");
        assert_eq!(name("vpn", "a/b", "50% ~").to_string(), "vpn/a%2Fb/50%25%20%7E");
        assert_ne!(name("vpn", "a/b", "c").to_string(), name("vpn", "a", "b/c").to_string());
        assert_eq!(name("vpn", "bü", "ü").to_string(), "vpn/bü/ü");
        let long = name(&"c".repeat(600), &"/".repeat(253), &"ü".repeat(253));
        let user = UserKey::new("d", &"x".repeat(600));
        let key = Key::session_of(&user, &long);
        assert!(key.as_octets().len() <= Key::MAX_OCTETS, "{}", key.as_octets().len());
        let other = name(&"c".repeat(601), &"/".repeat(253), &"ü".repeat(253));
        assert_ne!(Key::session(&long), Key::session(&other));
    }
}
