//! Sessions over the store: every report is durable before its client hears so, and what is open can be
//! looked at, counted and given up.
//!
//! One compare-and-swap batch for a report: the session, the entry under its person, what is remembered of
//! its end, the login under way that it came of, and the audit record.

mod keep;
mod stale;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::clock::Timestamp;
use crate::directory::Directory;
use crate::engine::Outage;
use crate::engine::batch::{Batch, Change, Key, Version};
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::UserKey;
use crate::engine::record::{self, decode};
use crate::engine::session::{Cause, Ended, REMEMBERED, SessionName, SessionRecord};
use crate::metrics::Metrics;
use crate::quiet::Quiet;
use crate::store::{CommitError, Durability, Store, StoreError};

/// Finds the directory of a name.
pub type DirectoryByName = Arc<dyn Fn(&str) -> Option<Arc<dyn Directory>> + Send + Sync>;

/// Limits of clients.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// For clients that set none of their own.
    pub common: Limits,
    /// By the client's name.
    pub clients: HashMap<String, Limits>,
}

/// Limits of one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A session of which nothing was heard for this long is closed; zero never closes one.
    pub stale_after: Duration,
    /// Most open sessions. Reports of more are not acknowledged.
    pub most: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stale_after: Duration::from_secs(24 * 3600),
            most: 100_000,
        }
    }
}

impl Settings {
    fn of(&self, client: &str) -> Limits {
        self.clients.get(client).copied().unwrap_or(self.common)
    }

    fn longest(&self) -> Duration {
        let clients = self.clients.values().map(|limits| limits.stale_after);
        clients.fold(self.common.stale_after, Duration::max)
    }
}

/// The open sessions. One for the process.
pub struct Sessions {
    store: Arc<dyn Store>,
    directories: DirectoryByName,
    settings: ArcSwap<Settings>,
    counts: Mutex<HashMap<String, usize>>,
    /// Accounting-On and -Off that are worked on, and those that wait for it: each reads all sessions of its
    /// NAS, page by page, and many at once would take memory and time from everybody else.
    resets: Semaphore,
    resets_waiting: Semaphore,
    unkept: Mutex<Quiet>,
    metrics: Metrics,
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// A session with the version it was read at.
#[derive(Clone, Debug)]
pub struct Open {
    /// The session.
    pub session: SessionRecord,
    version: Version,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this person only.
    pub user: Option<UserKey>,
    /// Of this client only.
    pub client: Option<String>,
}

/// Records read at once.
const PAGE: usize = 1000;

/// Accounting-On and -Off worked on at once.
const RESETS: usize = 2;

/// Those under way at most, the waiting ones included. More are not acknowledged, and said again by the NAS.
const RESETS_WAITING: usize = 64;

/// Times that a change is tried again because others came first.
const RETRIES: usize = 200;

impl Sessions {
    /// Counts what is open in `store`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load(
        store: Arc<dyn Store>,
        directories: DirectoryByName,
        settings: Settings,
        metrics: Metrics,
    ) -> Result<Self, StoreError> {
        let sessions = Self {
            store,
            directories,
            settings: ArcSwap::from_pointee(settings),
            counts: Mutex::default(),
            resets: Semaphore::new(RESETS),
            resets_waiting: Semaphore::new(RESETS_WAITING),
            unkept: Mutex::default(),
            metrics,
        };
        let mut pages = Pages::under(Key::SESSIONS.to_vec());
        while let Some(page) = pages.next(&*sessions.store).await? {
            for session in page.iter().filter_map(|(_, octets)| readable(octets)) {
                sessions.count(&session.client, 1);
            }
        }
        Ok(sessions)
    }

    /// Replaces the limits.
    pub fn replace(&self, settings: Settings) {
        self.settings.store(Arc::new(settings));
    }

    /// How many are open, by this process's count.
    pub fn open(&self) -> usize {
        self.counts.lock().values().sum()
    }

    /// Open sessions, at most `limit`, in the order of their names, and whether there are more.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, filter: &Filter, limit: usize) -> Result<(Vec<SessionRecord>, bool), StoreError> {
        let mut found = Vec::new();
        let mut pages = match (&filter.user, &filter.client) {
            (Some(user), _) => Pages::under(Key::sessions_of(user)),
            (None, Some(client)) => Pages::under(Key::sessions_of_client(client)),
            (None, None) => Pages::under(Key::SESSIONS.to_vec()),
        };
        while let Some(page) = pages.next(&*self.store).await? {
            for (key, octets) in page {
                let session = match &filter.user {
                    Some(user) => self.indexed(user, &key).await?,
                    None => readable(&octets),
                };
                let wanted = |session: &SessionRecord| {
                    filter.client.as_ref().is_none_or(|client| *client == session.client)
                        && filter
                            .user
                            .as_ref()
                            .is_none_or(|user| session.user.as_ref() == Some(user))
                };
                let Some(session) = session.filter(wanted) else {
                    continue;
                };
                if found.len() == limit {
                    return Ok((found, true));
                }
                found.push(session);
            }
        }
        Ok((found, false))
    }

    /// How many sessions of a person are open, up to `most`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count_of(&self, user: &UserKey, most: usize) -> Result<usize, StoreError> {
        Ok(self.store.scan(&Key::sessions_of(user), None, most).await?.len())
    }

    /// The session of that name, as [`SessionName`] prints it.
    ///
    /// # Errors
    /// When the store cannot be read, or the record is damaged.
    pub async fn find(&self, name: &str, now: Timestamp) -> Result<Option<Open>, StoreError> {
        let key = Key::from_octets(&[Key::SESSIONS, name.as_bytes()].concat());
        self.read_open(key, now).await
    }

    /// Open sessions whose Acct-Session-Id is `id`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn with_id(&self, id: &str, limit: usize) -> Result<Vec<SessionRecord>, StoreError> {
        let mut found = Vec::new();
        let mut pages = Pages::under(Key::SESSIONS.to_vec());
        while let Some(page) = pages.next(&*self.store).await? {
            let sessions = page.iter().filter_map(|(_, octets)| readable(octets));
            found.extend(sessions.filter(|session| session.id == id));
            if found.len() >= limit {
                found.truncate(limit);
                break;
            }
        }
        Ok(found)
    }

    /// Notes that the client of this session has said at `now` that it ends it; false when the session is
    /// over already.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn note_ending(&self, name: &SessionName, now: Timestamp) -> Result<bool, StoreError> {
        for _ in 0..RETRIES {
            let Some(open) = self.read_open(Key::session(name), now).await? else {
                return Ok(false);
            };
            let session = SessionRecord {
                ending: Some(now),
                ..open.session
            };
            let mut batch = Batch::default();
            let change = Change::Put(record::encode(&session), None);
            batch.replace(Key::session(name), open.version, change);
            if self.commit(batch).await? {
                return Ok(true);
            }
        }
        Err(StoreError("the records of this session change too fast".into()))
    }

    /// Closes a session that its client, asked about it as it was in `asked`, does not know. False when it is
    /// over already, or has been heard of since: then it lives.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn close_unknown(&self, asked: &SessionRecord, now: Timestamp) -> Result<bool, StoreError> {
        let name = asked.name();
        for _ in 0..RETRIES {
            let open = self.read_open(Key::session(&name), now).await?;
            let Some(open) = open.filter(|open| open.session.heard == asked.heard) else {
                return Ok(false);
            };
            if self.close(&open, Cause::NotFound, now).await? {
                return Ok(true);
            }
        }
        Err(StoreError("the records of this session change too fast".into()))
    }

    /// Closes a session that is still as it was read, and writes `cause` down; false when it has changed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn close(&self, open: &Open, cause: Cause, now: Timestamp) -> Result<bool, StoreError> {
        self.close_all(std::slice::from_ref(open), cause, "server", now).await
    }

    /// Closes several sessions at once: all, or none when one of them has changed.
    async fn close_all(&self, open: &[Open], cause: Cause, via: &str, now: Timestamp) -> Result<bool, StoreError> {
        let mut batch = Batch::default();
        for open in open {
            let session = &open.session;
            let name = session.name();
            batch.replace(Key::session(&name), open.version, Change::Delete);
            let ended = Ended {
                at: now,
                presumed: !matches!(cause, Cause::Reported(_)),
            };
            write_end(&mut batch, &name, session, ended, now);
            batch.audit.push(stopped(session, cause, via, now));
        }
        let done = self.commit(batch).await?;
        if done {
            for open in open {
                self.discount(&open.session.client);
            }
        }
        Ok(done)
    }

    async fn indexed(&self, user: &UserKey, key: &Key) -> Result<Option<SessionRecord>, StoreError> {
        let prefix = Key::sessions_of(user);
        let Some(name) = key.as_octets().strip_prefix(prefix.as_slice()) else {
            return Ok(None);
        };
        let key = Key::from_octets(&[Key::SESSIONS, name].concat());
        let now = crate::clock::now();
        Ok(self.read_open(key, now).await?.map(|open| open.session))
    }

    async fn read_open(&self, key: Key, now: Timestamp) -> Result<Option<Open>, StoreError> {
        let found = self
            .store
            .read(&[key], now)
            .await?
            .into_iter()
            .next()
            .unwrap_or_default();
        let version = found.version;
        let session = found.value.as_deref().map(decode).transpose();
        let session = session.map_err(|error| StoreError(error.to_string()))?;
        Ok(session.map(|session| Open { session, version }))
    }

    /// Commits durably; false on a conflict.
    async fn commit(&self, batch: Batch) -> Result<bool, StoreError> {
        match self.store.commit(batch, Durability::Durable).await {
            Ok(_) => Ok(true),
            Err(CommitError::Conflict) => Ok(false),
            Err(CommitError::Unavailable(error)) => Err(error),
        }
    }

    fn count(&self, client: &str, more: usize) {
        let mut counts = self.counts.lock();
        *counts.entry(client.to_owned()).or_default() += more;
        self.metrics.sessions.inc_by(i64::try_from(more).unwrap_or(0));
    }

    fn discount(&self, client: &str) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(client).filter(|count| **count > 0) {
            *count -= 1;
            self.metrics.sessions.dec();
        }
    }
}

/// A session's end: out of the person's entries, and remembered for a while.
fn write_end(batch: &mut Batch, name: &SessionName, session: &SessionRecord, ended: Ended, now: Timestamp) {
    if let Some(user) = &session.user {
        batch.write.push((Key::session_of(user, name), Change::Delete));
    }
    let change = Change::Put(record::encode(&ended), Some(now + REMEMBERED));
    batch.write.push((Key::ended_session(name), change));
}

/// The audit record of a session's begin.
fn started(session: &SessionRecord, at: Timestamp) -> AuditEvent {
    let mut what = session.name().to_string();
    if let Some(address) = session.details.address {
        what.push_str(&format!(", address {address}"));
    }
    if let Some(station) = &session.details.calling_station {
        what.push_str(&format!(", calling from {station}"));
    }
    if !session.start_seen {
        what.push_str(", first heard of by an update");
    }
    event("session.start", session, what, "radius", at)
}

/// The audit record of a session's end.
fn stopped(session: &SessionRecord, cause: Cause, via: &str, at: Timestamp) -> AuditEvent {
    let usage = &session.usage;
    let what = format!(
        "{}: {cause}, {} s, {} octets in, {} octets out",
        session.name(),
        session.duration(at).as_secs(),
        usage.octets_in,
        usage.octets_out
    );
    event("session.stop", session, what, via, at)
}

fn event(action: &str, session: &SessionRecord, what: String, via: &str, at: Timestamp) -> AuditEvent {
    AuditEvent {
        at,
        action: action.into(),
        actor: session.login.clone(),
        target: session.user.as_ref().map(ToString::to_string),
        via: via.into(),
        client: Some(session.client.clone()),
        source: Some(session.source),
        rule: None,
        factors: Vec::new(),
        outcome: Outcome::Accept,
        reason: Some(what),
        context: None,
    }
}

/// A damaged record is passed over where many are read: it must not hide the others.
fn readable(octets: &[u8]) -> Option<SessionRecord> {
    match decode(octets) {
        Ok(session) => Some(session),
        Err(error) => {
            tracing::error!(%error, "a session is passed over");
            None
        }
    }
}

fn outage(error: &StoreError) -> Outage {
    Outage {
        reason: error.to_string(),
    }
}

/// Reads everything under a prefix, a page at a time.
struct Pages {
    prefix: Vec<u8>,
    after: Option<Key>,
    done: bool,
}

impl Pages {
    fn under(prefix: Vec<u8>) -> Self {
        Self {
            prefix,
            after: None,
            done: false,
        }
    }

    async fn next(&mut self, store: &dyn Store) -> Result<Option<Vec<(Key, Vec<u8>)>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let page = store.scan(&self.prefix, self.after.as_ref(), PAGE).await?;
        self.done = page.len() < PAGE;
        self.after = page.last().map(|(key, _)| key.clone());
        tokio::task::yield_now().await;
        Ok(Some(page))
    }
}
