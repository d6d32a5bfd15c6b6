//! The codes that count for longer than one login ([`crate::engine::reuse`]), in memory: a restart forgets them,
//! so that nothing of a password outlives the process.
//!
//! What is ended, or runs out, is kept until there is need for its place: by it a text that was right once is
//! told from a guess when an application goes on sending it.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::engine::facts::UserKey;
use crate::engine::request::Origin;
use crate::engine::reuse::{Change, Digest, Entry};

/// Entries of everybody.
#[derive(Debug)]
pub struct Reuse {
    most: usize,
    table: Mutex<Table>,
    /// How often entries were forgotten; written with the table locked.
    forgotten: AtomicU64,
}

/// A moment, as far as entries are concerned: what was being judged when somebody's were forgotten leaves none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

/// Which entries.
#[derive(Clone, Copy, Debug)]
pub enum Whose<'a> {
    /// One person's.
    Of(&'a UserKey),
    /// Everybody's.
    All,
}

/// Most entries kept; of more, the oldest goes.
pub const MOST: usize = 100_000;

#[derive(Debug, Default)]
struct Table {
    people: HashMap<Arc<UserKey>, Vec<Kept>>,
    /// Whose entry is the oldest.
    ages: BTreeMap<u64, Arc<UserKey>>,
    next: u64,
}

#[derive(Debug)]
struct Kept {
    age: u64,
    entry: Arc<Entry>,
}

impl Default for Reuse {
    fn default() -> Self {
        Self::new(MOST)
    }
}

impl Reuse {
    /// Room for `most` entries.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            table: Mutex::default(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Now; to be asked before anything is looked at that a login is judged by.
    pub fn moment(&self) -> Moment {
        Moment(self.forgotten.load(Ordering::SeqCst))
    }

    /// What a person has proven to this application from this source; it may have run out, or been ended.
    pub fn find(&self, user: &UserKey, origin: &Origin) -> Option<Arc<Entry>> {
        let source = origin.source.to_canonical();
        let table = self.table.lock();
        let kept = table.people.get(user)?;
        let kept = kept.iter().find(|kept| kept.is_of(&origin.client, source))?;
        Some(Arc::clone(&kept.entry))
    }

    /// Does what a decision says, now that it is committed; `began` is when it began to be judged.
    pub fn apply(&self, change: Change, began: Moment) {
        let mut table = self.table.lock();
        match change {
            Change::Used { typed: None, .. } => {}
            Change::Used {
                user,
                client,
                source,
                typed: Some(typed),
            } => table.remember_text(&user, &client, source, typed),
            Change::Remember(entry) => {
                if self.moment() == began {
                    table.insert(*entry);
                }
                while table.ages.len() > self.most {
                    table.remove_oldest();
                }
            }
            Change::End { user, client, source } => {
                table.end(&user, |entry| *entry.client == *client && entry.source == source);
            }
            Change::Forget(user) => {
                table.end(&user, |_| true);
            }
        }
    }

    /// Ends entries on somebody's word, those of logins that are being judged included. Returns how many were
    /// live.
    pub fn forget(&self, whose: Whose<'_>, now: Timestamp) -> usize {
        let mut table = self.table.lock();
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        let count = |ended: Vec<Arc<Entry>>| ended.iter().filter(|entry| entry.is_live(now)).count();
        match whose {
            Whose::Of(user) => count(table.end(user, |_| true)),
            Whose::All => {
                let users: Vec<Arc<UserKey>> = table.people.keys().cloned().collect();
                users.iter().map(|user| count(table.end(user, |_| true))).sum()
            }
        }
    }

    /// Live entries, the oldest first, at most `limit`; and whether there are more.
    pub fn list(&self, whose: Whose<'_>, limit: usize, now: Timestamp) -> (Vec<Arc<Entry>>, bool) {
        let table = self.table.lock();
        let mut found: Vec<&Kept> = match whose {
            Whose::Of(user) => table.people.get(user).into_iter().flatten().collect(),
            Whose::All => table.people.values().flatten().collect(),
        };
        found.retain(|kept| kept.entry.is_live(now));
        found.sort_unstable_by_key(|kept| kept.age);
        let more = found.len() > limit;
        let entries = found.into_iter().take(limit).map(|kept| Arc::clone(&kept.entry));
        (entries.collect(), more)
    }
}

impl Table {
    fn insert(&mut self, mut entry: Entry) {
        let age = self.next;
        self.next += 1;
        let user = match self.people.get_key_value(&entry.user) {
            Some((user, _)) => Arc::clone(user),
            None => Arc::new(entry.user.clone()),
        };
        let kept = self.people.entry(Arc::clone(&user)).or_default();
        if let Some(before) = kept.iter().position(|kept| kept.is_of(&entry.client, entry.source)) {
            let before = kept.swap_remove(before);
            self.ages.remove(&before.age);
            entry.take_over(&before.entry);
        }
        kept.push(Kept {
            age,
            entry: Arc::new(entry),
        });
        self.ages.insert(age, user);
    }

    fn remember_text(&mut self, user: &UserKey, client: &str, source: IpAddr, typed: Digest) {
        let mut kept = self.people.get_mut(user).into_iter().flatten();
        if let Some(kept) = kept.find(|kept| kept.is_of(client, source)) {
            Arc::make_mut(&mut kept.entry).remember_text(typed);
        }
    }

    /// Ends those entries of a person that are `meant`, and gives them as they were.
    fn end(&mut self, user: &UserKey, meant: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let mut ended = Vec::new();
        for kept in self.people.get_mut(user).into_iter().flatten() {
            if meant(&kept.entry) && !kept.entry.over {
                let over = Entry {
                    over: true,
                    ..Entry::clone(&kept.entry)
                };
                ended.push(std::mem::replace(&mut kept.entry, Arc::new(over)));
            }
        }
        ended
    }

    fn remove_oldest(&mut self) {
        let Some((age, user)) = self.ages.pop_first() else {
            return;
        };
        let Some(kept) = self.people.get_mut(&user) else { return };
        kept.retain(|kept| kept.age != age);
        if kept.is_empty() {
            self.people.remove(&user);
        } else if kept.len() * 4 < kept.capacity() {
            kept.shrink_to_fit();
        }
    }
}

impl Kept {
    fn is_of(&self, client: &str, source: IpAddr) -> bool {
        *self.entry.client == *client && self.entry.source == source
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::authenticator::{Kind, KindSet};
    use crate::engine::request::Manner;
    use crate::engine::request::{Protocol, Transport};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn entry(user: &str, client: &str, source: &str) -> Entry {
        Entry {
            user: UserKey::new("corp", user),
            login: user.into(),
            client: client.into(),
            source: source.parse().unwrap(),
            rule: "r".into(),
            kinds: KindSet::of(Kind::Totp),
            at: NOW,
            until: NOW + Duration::from_secs(600),
            password: [1; 32],
            typed: vec![[2; 32]],
            mark: [3; 16],
            over: false,
        }
    }

    fn origin(client: &str, source: &str) -> Origin {
        Origin {
            protocol: Protocol::Ldap,
            service: client.into(),
            client: client.into(),
            directory: "corp".into(),
            source: source.parse().unwrap(),
            nas_identifier: None,
            calling_station: None,
            called_station: None,
            listener: None,
            application: None,
            transport: Transport::Tls,
            service_account: None,
            manner: Manner::default(),
        }
    }

    fn keep(reuse: &Reuse, entry: Entry) {
        reuse.apply(Change::Remember(Box::new(entry)), reuse.moment());
    }

    fn live(reuse: &Reuse) -> Vec<String> {
        let (entries, _) = reuse.list(Whose::All, usize::MAX, NOW);
        let name = |entry: &Arc<Entry>| format!("{} {} {}", entry.login, entry.client, entry.source);
        entries.iter().map(name).collect()
    }

    #[test]
    fn an_entry_is_found_by_its_person_application_and_source_alone() {
        let reuse = Reuse::default();
        keep(&reuse, entry("ana", "wiki", "192.0.2.1"));
        let ana = UserKey::new("corp", "ana");
        assert!(reuse.find(&ana, &origin("wiki", "192.0.2.1")).is_some());
        assert!(reuse.find(&ana, &origin("wiki", "::ffff:192.0.2.1")).is_some());
        assert!(reuse.find(&ana, &origin("wiki", "192.0.2.2")).is_none());
        assert!(reuse.find(&ana, &origin("mail", "192.0.2.1")).is_none());
        assert!(
            reuse
                .find(&UserKey::new("corp", "ben"), &origin("wiki", "192.0.2.1"))
                .is_none()
        );
    }

    #[test]
    fn what_is_forgotten_while_a_login_is_judged_is_not_remembered_by_it() {
        for whose in [Whose::All, Whose::Of(&UserKey::new("corp", "ana"))] {
            let reuse = Reuse::default();
            let began = reuse.moment();
            assert_eq!(reuse.forget(whose, NOW), 0);
            reuse.apply(Change::Remember(Box::new(entry("ana", "wiki", "192.0.2.1"))), began);
            assert!(live(&reuse).is_empty());
        }
    }

    #[test]
    fn each_end_takes_what_it_is_about() {
        let full = || {
            let reuse = Reuse::default();
            keep(&reuse, entry("ana", "wiki", "192.0.2.1"));
            keep(&reuse, entry("ana", "mail", "192.0.2.1"));
            keep(&reuse, entry("ben", "wiki", "192.0.2.1"));
            reuse
        };
        let end = Change::End {
            user: UserKey::new("corp", "ana"),
            client: "wiki".into(),
            source: "192.0.2.1".parse().unwrap(),
        };
        let reuse = full();
        reuse.apply(end, reuse.moment());
        assert_eq!(live(&reuse), ["ana mail 192.0.2.1", "ben wiki 192.0.2.1"]);
        let reuse = full();
        reuse.apply(Change::Forget(UserKey::new("corp", "ana")), reuse.moment());
        assert_eq!(live(&reuse), ["ben wiki 192.0.2.1"]);
        let reuse = full();
        assert_eq!(reuse.forget(Whose::All, NOW + Duration::from_secs(600)), 0, "run out");
        assert!(live(&reuse).is_empty());
        assert_eq!(full().forget(Whose::Of(&UserKey::new("corp", "ana")), NOW), 2);
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let reuse = Reuse::new(2);
        keep(&reuse, entry("ana", "wiki", "192.0.2.1"));
        keep(&reuse, entry("ben", "wiki", "192.0.2.1"));
        // Given anew: it is the youngest now.
        keep(&reuse, entry("ana", "wiki", "192.0.2.1"));
        keep(&reuse, entry("cem", "wiki", "192.0.2.1"));
        assert_eq!(live(&reuse), ["ana wiki 192.0.2.1", "cem wiki 192.0.2.1"]);
        let table = reuse.table.lock();
        assert_eq!((table.people.len(), table.ages.len()), (2, 2), "nothing is left behind");
    }
}
