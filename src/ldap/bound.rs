//! Who is bound on which connection, so that connections can be taken from a person at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::engine::denials::GroupDenial;
use crate::engine::{Person, UserKey};

/// The bound connections of all listeners of a process.
#[derive(Debug, Default)]
pub struct Bindings(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    bound: HashMap<UserKey, HashMap<u64, Connected>>,
    /// When somebody was last expelled: a bind under way then was perhaps judged before.
    expelled: HashMap<UserKey, Instant>,
    /// The same of groups.
    expelled_groups: Vec<(GroupDenial, Instant)>,
    last: u64,
}

#[derive(Debug)]
struct Connected {
    person: Arc<Person>,
    expelled: CancellationToken,
}

/// A person bound on a connection; over when dropped.
#[derive(Debug)]
pub(super) struct Bound {
    bindings: Arc<Bindings>,
    number: u64,
    person: Arc<Person>,
    expelled: CancellationToken,
}

/// Binds take no longer than that from their arrival to their registration.
const LONGEST_BIND: Duration = Duration::from_secs(120);

impl Bindings {
    /// Closes all connections that `user` is bound on, those included whose bind has not been answered at
    /// `now`. Returns how many there were.
    pub fn expel(&self, user: &UserKey, now: Instant) -> usize {
        let mut table = self.0.lock();
        table
            .expelled
            .retain(|_, at| now.saturating_duration_since(*at) < LONGEST_BIND);
        table.expelled.insert(user.clone(), now);
        let bound = table.bound.remove(user).unwrap_or_default();
        drop(table);
        for connected in bound.values() {
            connected.expelled.cancel();
        }
        bound.len()
    }

    /// The same for all whose entries had them in the group of `denial` when they bound.
    pub fn expel_group(&self, denial: &GroupDenial, now: Instant) -> usize {
        let mut table = self.0.lock();
        let lately = |at: &Instant| now.saturating_duration_since(*at) < LONGEST_BIND;
        table.expelled_groups.retain(|(_, at)| lately(at));
        table.expelled_groups.push((denial.clone(), now));
        let is_about = |connections: &HashMap<u64, Connected>| {
            let mut people = connections.values().map(|connected| &connected.person);
            people.any(|person| denial.is_about(person))
        };
        let gone: Vec<_> = table.bound.extract_if(|_, connections| is_about(connections)).collect();
        drop(table);
        let gone = gone.iter().flat_map(|(_, connections)| connections.values());
        gone.map(|connected| connected.expelled.cancel()).count()
    }

    /// Who is bound on any connection, each once.
    pub fn people(&self) -> Vec<Arc<Person>> {
        let table = self.0.lock();
        let one =
            |connections: &HashMap<u64, Connected>| connections.values().next().map(|one| Arc::clone(&one.person));
        table.bound.values().filter_map(one).collect()
    }

    /// Notes that the connection which ends with `connection` is bound as `person`, by a bind that came at
    /// `arrived`.
    pub(super) fn enter(
        self: &Arc<Self>,
        person: Arc<Person>,
        arrived: Instant,
        connection: &CancellationToken,
    ) -> Bound {
        let mut table = self.0.lock();
        table.last += 1;
        let bound = Bound {
            bindings: Arc::clone(self),
            number: table.last,
            expelled: connection.child_token(),
            person,
        };
        let user = &bound.person.key;
        let of_group = |(denial, at): &(GroupDenial, Instant)| *at >= arrived && denial.is_about(&bound.person);
        if table.expelled.get(user).is_some_and(|&at| at >= arrived) || table.expelled_groups.iter().any(of_group) {
            bound.expelled.cancel();
        } else {
            let connected = Connected {
                person: Arc::clone(&bound.person),
                expelled: bound.expelled.clone(),
            };
            let connections = table.bound.entry(user.clone()).or_default();
            connections.insert(bound.number, connected);
        }
        drop(table);
        bound
    }
}

impl Bound {
    /// Who.
    pub(super) const fn person(&self) -> &Arc<Person> {
        &self.person
    }

    /// Comes when the connection is to end: the person was expelled, or the connection is told to stop.
    pub(super) const fn ended(&self) -> &CancellationToken {
        &self.expelled
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let mut table = self.bindings.0.lock();
        if let Some(connections) = table.bound.get_mut(&self.person.key) {
            connections.remove(&self.number);
            if connections.is_empty() {
                table.bound.remove(&self.person.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::clock;

    fn person(login: &str) -> Arc<Person> {
        Arc::new(Person {
            key: UserKey::new("main", login),
            directory: "main".into(),
            dn: format!("uid={login},dc=x"),
            login: login.into(),
            groups: Vec::new(),
            attributes: BTreeMap::new(),
            enabled: true,
            manager: None,
            sso_managed: None,
        })
    }

    #[test]
    fn only_the_connections_of_that_person_end() {
        let bindings = Arc::new(Bindings::default());
        let (ana, ben) = (person("ana"), person("ben"));
        let stop = CancellationToken::new();
        let now = clock::monotonic();
        let first = bindings.enter(Arc::clone(&ana), now, &stop);
        let second = bindings.enter(Arc::clone(&ana), now, &stop);
        let third = bindings.enter(Arc::clone(&ana), now, &stop);
        let other = bindings.enter(ben, now, &stop);
        drop(second);
        assert_eq!(bindings.expel(&ana.key, now + Duration::from_secs(1)), 2);
        assert!(first.ended().is_cancelled() && third.ended().is_cancelled());
        assert!(!other.ended().is_cancelled() && !stop.is_cancelled());
        drop((first, third, other));
        assert!(bindings.0.lock().bound.is_empty());
    }

    #[test]
    fn the_connections_of_a_groups_members_end() {
        let bindings = Arc::new(Bindings::default());
        let mut ana = Person::clone(&person("ana"));
        ana.groups.push("cn=sales,dc=x".into());
        let (ana, ben) = (Arc::new(ana), person("ben"));
        let denial = GroupDenial {
            group: "sales".into(),
            directory: None,
            deny: crate::engine::record::Deny {
                until: None,
                reason: "left".into(),
                by: "carol".into(),
                at: crate::clock::Timestamp::default(),
            },
        };
        let (stop, now) = (CancellationToken::new(), clock::monotonic());
        let bound = bindings.enter(Arc::clone(&ana), now, &stop);
        let other = bindings.enter(ben, now, &stop);
        assert_eq!(bindings.people().len(), 2);
        assert_eq!(bindings.expel_group(&denial, now + Duration::from_secs(1)), 1);
        assert!(bound.ended().is_cancelled() && !other.ended().is_cancelled());
        let under_way = bindings.enter(Arc::clone(&ana), now, &stop);
        assert!(under_way.ended().is_cancelled());
        // After the denial is lifted, say.
        let later = bindings.enter(ana, now + Duration::from_secs(2), &stop);
        assert!(!later.ended().is_cancelled());
    }

    #[test]
    fn a_bind_under_way_is_caught_and_a_later_one_is_not() {
        let bindings = Arc::new(Bindings::default());
        let ana = person("ana");
        let stop = CancellationToken::new();
        let now = clock::monotonic();
        assert_eq!(bindings.expel(&ana.key, now), 0);
        let early = bindings.enter(Arc::clone(&ana), now, &stop);
        assert!(early.ended().is_cancelled());
        let late = bindings.enter(Arc::clone(&ana), now + Duration::from_millis(1), &stop);
        assert!(!late.ended().is_cancelled());
        drop(early);
        assert_eq!(bindings.0.lock().bound.len(), 1, "the later one is still noted");
    }

    #[test]
    fn expulsions_are_forgotten_when_no_bind_can_be_that_old() {
        let bindings = Bindings::default();
        let now = clock::monotonic();
        bindings.expel(&person("ana").key, now);
        bindings.expel(&person("ben").key, now + LONGEST_BIND);
        assert_eq!(bindings.0.lock().expelled.len(), 1);
    }
}
