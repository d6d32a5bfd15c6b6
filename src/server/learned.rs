//! What was learned of RADIUS clients, kept in the store over restarts.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::warn;

use crate::engine::batch::{Batch, Change, Key};
use crate::radius::client::{Habit, Habits, Learned};
use crate::store::{Durability, Store, StoreError};

/// Habits in memory, written to the store as they are learned.
#[derive(Debug)]
pub(super) struct LearnedClients {
    habits: Habits,
    news: mpsc::Sender<(Key, Habit)>,
}

/// Habits waiting to be written; what does not fit is learned again from the next request.
const QUEUE: usize = 1024;

/// Habits read in one go.
const PAGE: usize = 1000;

impl LearnedClients {
    /// Reads what earlier processes learned.
    pub(super) async fn load(store: Arc<dyn Store>) -> Result<Arc<Self>, StoreError> {
        let habits = Habits::default();
        let mut after = None;
        loop {
            let page = store.scan(Key::LEARNED_CLIENTS, after.as_ref(), PAGE).await?;
            for (key, value) in &page {
                if let Some((client, address, habit)) = read(key, value) {
                    habits.learn(client, address, habit);
                }
            }
            match page.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => break,
            }
        }
        let (news, mut written) = mpsc::channel::<(Key, Habit)>(QUEUE);
        tokio::spawn(async move {
            while let Some((key, habit)) = written.recv().await {
                let mut batch = Batch::default();
                batch
                    .write
                    .push((key, Change::Put(habit.word().as_bytes().to_vec(), None)));
                if let Err(error) = store.commit(batch, Durability::Durable).await {
                    warn!(%error, "what was learned of a client is not kept");
                }
            }
        });
        Ok(Arc::new(Self { habits, news }))
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
        // Kept in memory only once it is on its way to the store, so that a full queue forgets nothing.
        if self
            .news
            .try_send((Key::learned_client(client, &address.to_string()), habit))
            .is_ok()
        {
            self.habits.learn(client, address, habit);
        }
    }
}

fn read<'a>(key: &'a Key, value: &[u8]) -> Option<(&'a str, IpAddr, Habit)> {
    let name = std::str::from_utf8(key.as_octets().strip_prefix(Key::LEARNED_CLIENTS)?).ok()?;
    let (client, address) = name.rsplit_once('/')?;
    Some((
        client,
        address.parse().ok()?,
        Habit::parse(std::str::from_utf8(value).ok()?)?,
    ))
}
