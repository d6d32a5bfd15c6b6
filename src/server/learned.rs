//! What was learned of RADIUS clients, kept in the store over restarts.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::clock::{self, Timestamp};
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::event::AuditEvent;
use crate::radius::client::{Habit, Habits, Known, Learned};
use crate::store::{CommitError, Durability, Store, StoreError};

/// Habits in memory, written to the store as they are learned.
#[derive(Debug)]
pub(super) struct LearnedClients {
    habits: Habits,
    news: mpsc::Sender<News>,
    /// Held while memory and queue change together, so that they change in the same order.
    changing: Mutex<()>,
}

/// What the store has to be told, in order.
#[derive(Debug)]
enum News {
    Learned(Key, Habit, Timestamp),
    Forgotten {
        keys: Vec<Key>,
        audit: Box<AuditEvent>,
        done: oneshot::Sender<Result<(), CommitError>>,
    },
}

/// Why something was not forgotten for good.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForgetError {
    #[error("it is forgotten until the next restart only: the store could not be written")]
    Store(#[source] CommitError),
    #[error("the server is stopping")]
    Stopping,
}

/// News waiting to be written; what does not fit is learned again from the next request.
const QUEUE: usize = 1024;

/// Habits read or forgotten in one go.
const PAGE: usize = 1000;

impl LearnedClients {
    /// Reads what earlier processes learned.
    pub(super) async fn load(store: Arc<dyn Store>) -> Result<Arc<Self>, StoreError> {
        let habits = Habits::default();
        let mut after = None;
        loop {
            let page = store.scan(Key::LEARNED_CLIENTS, after.as_ref(), PAGE).await?;
            for (key, value) in &page {
                if let Some((client, address, habit, since)) = read(key, value) {
                    habits.learn_at(client, address, habit, since);
                }
            }
            match page.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => break,
            }
        }
        let (news, written) = mpsc::channel(QUEUE);
        tokio::spawn(write(store, written));
        Ok(Arc::new(Self {
            habits,
            news,
            changing: Mutex::default(),
        }))
    }

    /// What is known of one client, by address.
    pub(super) fn of(&self, client: &str) -> Vec<(IpAddr, Known)> {
        let mut known = self.habits.all();
        known.retain(|(_, known)| *known.client == *client);
        known.sort_by_key(|(address, _)| *address);
        known
    }

    /// All that is known, in no order.
    pub(super) fn all(&self) -> Vec<(IpAddr, Known)> {
        self.habits.all()
    }

    /// Forgets what is known of a client, of one address or of all, durably and with an audit record; which
    /// addresses that were.
    pub(super) async fn forget(
        &self,
        client: &str,
        address: Option<IpAddr>,
        audit: impl FnOnce(&[IpAddr]) -> AuditEvent,
    ) -> Result<Vec<IpAddr>, ForgetError> {
        let place = self.news.reserve().await.map_err(|_| ForgetError::Stopping)?;
        let (done, written) = oneshot::channel();
        let forgotten = {
            let _together = self.changing.lock();
            let forgotten = self.habits.forget(client, address);
            let key = |address: &IpAddr| Key::learned_client(client, &address.to_string());
            place.send(News::Forgotten {
                keys: forgotten.iter().map(key).collect(),
                audit: Box::new(audit(&forgotten)),
                done,
            });
            forgotten
        };
        match written.await {
            Ok(Ok(())) => Ok(forgotten),
            Ok(Err(error)) => Err(ForgetError::Store(error)),
            Err(_) => Err(ForgetError::Stopping),
        }
    }
}

impl Learned for LearnedClients {
    fn habit(&self, client: &str, address: IpAddr) -> Option<Habit> {
        self.habits.habit(client, address)
    }

    fn learn(&self, client: &str, address: IpAddr, habit: Habit) {
        if self.habits.habit(client, address) == Some(habit) || !self.habits.has_room_for(habit) {
            return;
        }
        let since = clock::now();
        let key = Key::learned_client(client, &address.to_string());
        let _together = self.changing.lock();
        // Kept in memory only once it is on its way to the store, so that a full queue forgets nothing.
        if self.news.try_send(News::Learned(key, habit, since)).is_ok() {
            self.habits.learn_at(client, address, habit, Some(since));
        }
    }
}

async fn write(store: Arc<dyn Store>, mut news: mpsc::Receiver<News>) {
    while let Some(news) = news.recv().await {
        match news {
            News::Learned(key, habit, since) => {
                let value = format!("{} {}", habit.word(), since.millis()).into_bytes();
                let batch = Batch {
                    write: vec![(key, Change::Put(value, None))],
                    ..Batch::default()
                };
                if let Err(error) = store.commit(batch, Durability::Durable).await {
                    warn!(%error, "what was learned of a client is not kept");
                }
            }
            News::Forgotten { keys, audit, done } => {
                let written = forget(&*store, &keys, *audit).await;
                // Whoever asked may have gone away meanwhile.
                let _ = done.send(written);
            }
        }
    }
}

/// The audit record goes with the last of the keys: it tells what is done.
async fn forget(store: &dyn Store, keys: &[Key], audit: AuditEvent) -> Result<(), CommitError> {
    let mut pages = keys.chunks(PAGE).peekable();
    let mut batch = Batch::default();
    while let Some(page) = pages.next() {
        batch.write = page.iter().map(|key| (key.clone(), Change::Delete)).collect();
        if pages.peek().is_some() {
            store.commit(std::mem::take(&mut batch), Durability::Durable).await?;
        }
    }
    batch.audit.push(audit);
    store.commit(batch, Durability::Durable).await.map(drop)
}

/// `<word>`, or `<word> <milliseconds since the epoch>`.
fn read<'a>(key: &'a Key, value: &[u8]) -> Option<(&'a str, IpAddr, Habit, Option<Timestamp>)> {
    let name = std::str::from_utf8(key.as_octets().strip_prefix(Key::LEARNED_CLIENTS)?).ok()?;
    let (client, address) = name.rsplit_once('/')?;
    let value = std::str::from_utf8(value).ok()?;
    let (word, since) = match value.split_once(' ') {
        Some((word, millis)) => (word, Some(Timestamp::from_millis(millis.parse().ok()?))),
        None => (value, None),
    };
    Some((client, address.parse().ok()?, Habit::parse(word)?, since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Outcome;
    use crate::keyring::Keyring;
    use crate::store::memory::MemoryStore;

    fn audit(reason: &str) -> AuditEvent {
        AuditEvent {
            at: Timestamp::default(),
            action: "client.forget".into(),
            actor: "carol".into(),
            target: None,
            via: "admin".into(),
            client: Some("vpn".into()),
            source: None,
            rule: None,
            factors: Vec::new(),
            outcome: Outcome::Accept,
            reason: Some(reason.into()),
            context: None,
        }
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// What the next process would find.
    async fn restarted(store: &Arc<dyn Store>) -> Vec<(IpAddr, Habit, bool)> {
        let learned = LearnedClients::load(Arc::clone(store)).await.unwrap();
        let mut all: Vec<_> = learned.all();
        all.sort_by_key(|(address, _)| *address);
        all.into_iter()
            .map(|(address, known)| (address, known.habit, known.since.is_some()))
            .collect()
    }

    #[tokio::test]
    async fn kept_over_restarts_until_forgotten() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::new(Keyring::from_root(&[7; 32]))));
        let old = Key::learned_client("vpn", "192.0.2.9");
        let batch = Batch {
            write: vec![(old, Change::Put(b"plain".to_vec(), None))],
            ..Batch::default()
        };
        store.commit(batch, Durability::Durable).await.unwrap();

        let learned = LearnedClients::load(Arc::clone(&store)).await.unwrap();
        learned.learn("vpn", address(1), Habit::Plain);
        learned.learn("vpn", address(1), Habit::Signs);
        learned.learn("vpn", address(2), Habit::UnsignedProxy);
        learned.learn("wlan", address(2), Habit::Signs);
        // Goes through the same queue, so everything before it is written.
        let nothing = learned.forget("nobody", None, |_| audit("nothing")).await.unwrap();
        assert!(nothing.is_empty());
        let kept = [
            (address(1), Habit::Signs, true),
            (address(2), Habit::UnsignedProxy, true),
            (address(2), Habit::Signs, true),
            (address(9), Habit::Plain, false),
        ];
        let found = restarted(&store).await;
        assert!(
            found.len() == kept.len() && kept.iter().all(|one| found.contains(one)),
            "{found:?}"
        );

        let gone = learned.forget("vpn", Some(address(2)), |_| audit("one")).await.unwrap();
        assert_eq!(gone, [address(2)]);
        assert_eq!(learned.habit("vpn", address(2)), None);
        assert_eq!(
            learned.habit("wlan", address(2)),
            Some(Habit::Signs),
            "another client's"
        );
        let gone = learned.forget("vpn", None, |gone| audit(&gone.len().to_string())).await;
        assert_eq!(gone.unwrap().len(), 2);
        assert_eq!(restarted(&store).await, [(address(2), Habit::Signs, true)]);
        assert_eq!(store.status().audit_sequence, 3);
    }
}
