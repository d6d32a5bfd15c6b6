//! Logins let in whose session has not been reported yet: counted as sessions for a while, so that two
//! logins at once cannot both slip under a limit of one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::session::Class;

/// The logins under way of one person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// Oldest first; at most [`GrantRecord::MAX`].
    pub pending: Vec<Pending>,
}

/// One login let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// As in [`Class::grant`].
    pub id: u64,
    /// The client that was told.
    pub client: String,
    /// From then on it counts no more.
    pub until: Timestamp,
}

impl GrantRecord {
    /// Most logins remembered; the oldest goes when there are more.
    pub const MAX: usize = 1000;

    /// How many count now.
    pub fn live(&self, now: Timestamp) -> usize {
        self.pending.iter().filter(|pending| pending.until > now).count()
    }

    /// With a login let in now, which counts for `life`.
    #[must_use]
    pub fn with(mut self, id: u64, client: &str, now: Timestamp, life: Duration) -> Self {
        self.pending.retain(|pending| pending.until > now);
        let excess = (self.pending.len() + 1).saturating_sub(Self::MAX);
        self.pending.drain(..excess);
        self.pending.push(Pending {
            id,
            client: client.to_owned(),
            until: now + life,
        });
        self
    }

    /// Without the login that a session of `client` came of: the one that its Class names, or, from a
    /// client that does not send Class back, the oldest one.
    #[must_use]
    pub fn without(mut self, class: Option<&Class>, client: &str) -> Self {
        let at = self.pending.iter().position(|pending| match class {
            Some(class) => pending.id == class.grant,
            None => pending.client == client,
        });
        if let Some(at) = at {
            self.pending.remove(at);
        }
        self
    }

    /// When nothing of it counts any more.
    pub fn expires(&self) -> Option<Timestamp> {
        self.pending.iter().map(|pending| pending.until).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::facts::UserKey;

    #[test]
    fn a_login_counts_until_its_session_is_reported_or_its_time_is_over() {
        let at = Timestamp::from_secs;
        let life = Duration::from_secs(60);
        let record = GrantRecord::default()
            .with(1, "vpn", at(100), life)
            .with(2, "wifi", at(110), life)
            .with(3, "vpn", at(120), life);
        assert_eq!(
            (record.live(at(120)), record.live(at(165)), record.live(at(180))),
            (3, 2, 0)
        );
        let class = Class {
            user: UserKey::new("d", "1"),
            grant: 3,
        };
        let ids = |record: &GrantRecord| record.pending.iter().map(|pending| pending.id).collect::<Vec<_>>();
        assert_eq!(ids(&record.clone().without(Some(&class), "vpn")), [1, 2]);
        assert_eq!(ids(&record.clone().without(None, "wifi")), [1, 3]);
        assert_eq!(ids(&record.clone().without(None, "other")), [1, 2, 3]);
        assert_eq!(record.expires(), Some(at(180)));
        assert_eq!(ids(&record.with(4, "vpn", at(175), life)), [3, 4], "what is over goes");
    }

    #[test]
    fn it_does_not_grow_without_bound() {
        let mut record = GrantRecord::default();
        for id in 0..2 * GrantRecord::MAX as u64 {
            record = record.with(id, "vpn", Timestamp::from_secs(1), Duration::from_secs(60));
        }
        assert_eq!(record.pending.len(), GrantRecord::MAX);
    }
}
