//! Codes sent to people: what is known before, and what comes of it.

use std::sync::Arc;

use tracing::error;

use super::{Verifier, decoded};
use crate::clock::{self, Timestamp};
use crate::delivery::{Deliveries, PATIENCE};
use crate::engine::authenticator::KindSet;
use crate::engine::batch::{Batch, Key, Versioned};
use crate::engine::delivery::{Delivered, Message, Sending};
use crate::engine::event::AuditEvent;
use crate::engine::facts::Person;
use crate::engine::login::Engine;
use crate::store::{Durability, StoreError};

impl Verifier {
    /// Replaces the deliveries.
    pub fn replace_deliveries(&self, deliveries: Arc<Deliveries>) {
        self.deliveries.store(deliveries);
    }

    /// The deliveries in force.
    pub fn deliveries(&self) -> Arc<Deliveries> {
        self.deliveries.load_full()
    }

    /// Has a code sent, or takes the time of it. What takes too long goes on; what comes of it is in the audit later,
    /// as `note` says.
    pub(super) async fn deliver(&self, name: &str, message: Option<Message>, note: Option<AuditEvent>) -> Delivered {
        let Some(delivery) = self.deliveries.load().get(name).cloned() else {
            return Delivered::Unavailable(format!("there is no delivery named {name}"));
        };
        let Some(message) = message else {
            return delivery.pretend().await;
        };
        // A task of its own: it goes on when whoever asked for it is gone.
        let mut sending = tokio::spawn(async move { delivery.send(&message).await });
        if let Ok(sent) = tokio::time::timeout(PATIENCE, &mut sending).await {
            return sent.unwrap_or_else(|error| Delivered::Unavailable(error.to_string()));
        }
        let store = Arc::clone(&self.store);
        tokio::spawn(async move {
            let sent = sending
                .await
                .unwrap_or_else(|error| Delivered::Unavailable(error.to_string()));
            let event = note.and_then(|note| sent.noted(&note, clock::now()));
            let batch = Batch {
                audit: event.into_iter().collect(),
                ..Batch::default()
            };
            if let Err(fault) = store.commit(batch, Durability::Durable).await {
                error!("what came of sending a code is not in the audit: {fault}");
            }
        });
        Delivered::Underway
    }

    /// What was sent to a person, and to wherever they can be reached.
    pub(super) async fn sending(
        &self,
        engine: &Engine,
        person: &Person,
        now: Timestamp,
    ) -> Result<Sending, StoreError> {
        let routes = &engine.policy.routes;
        let reached = KindSet::SENT.iter().filter_map(|kind| routes.to(kind, person).ok());
        let digests: Vec<[u8; 32]> = reached
            .map(|(_, destination)| destination.digest(&engine.keyring))
            .collect();
        let keys: Vec<Key> = std::iter::once(Key::sent_for(&person.key))
            .chain(digests.iter().map(Key::sent_to))
            .collect();
        let mut found = self.store.read(&keys, now).await?.into_iter();
        let sent_for = decoded(found.next())?;
        let destinations = digests
            .into_iter()
            .map(|digest| Ok((digest, decoded(found.next())?)))
            .collect::<Result<Vec<([u8; 32], Versioned<_>)>, StoreError>>()?;
        Ok(Sending {
            person: sent_for,
            destinations,
            random: clock::random(),
        })
    }
}
