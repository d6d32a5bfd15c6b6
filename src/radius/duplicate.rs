//! Retransmissions (RFC 5080 section 2.2.2): the same request is judged once and answered with the same
//! octets, so that it consumes no code and no try twice.
//!
//! One table serves one receiving socket. A request is known by source address, source port and
//! identifier; that all its octets are the same tells a retransmission from a new request that reuses the
//! identifier. The authenticator alone would do for clients whose authenticators never repeat; for one whose do,
//! the next who logs in would get the answer that was for somebody else.

use std::collections::hash_map::{self, Entry as Slot};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

/// How much a table may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests, pending and replied.
    pub entries: usize,
    /// Octets of stored replies.
    pub octets: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            entries: 65_536,
            octets: 16 << 20,
        }
    }
}

/// The requests of one socket that are being judged, or were replied to a short while ago.
#[derive(Debug)]
pub struct Table {
    entries: HashMap<Key, Entry, RandomState>,
    /// Replied entries in the order in which they expire. One that was replaced or removed since is
    /// still listed, and told by its serial.
    replied: VecDeque<(Instant, Key, u64)>,
    octets: usize,
    serial: u64,
    replay: Duration,
    bounds: Bounds,
    contents: hash_map::RandomState,
}

/// Stands for one admitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    key: Key,
    serial: u64,
}

/// What a request is.
#[derive(Debug)]
pub enum Seen {
    /// New: judge it, then call [`Table::replied`] or [`Table::forget`].
    New(Ticket),
    /// A retransmission of one that is being judged: stay silent.
    Pending,
    /// A retransmission of one that was replied to: send these octets again.
    Replied(Arc<[u8]>),
    /// The table is full of requests that are being judged: drop this one.
    Full,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    from: SocketAddr,
    identifier: u8,
}

#[derive(Debug)]
struct Entry {
    /// Stands for all octets of the request, under a key of the table's own.
    content: u64,
    serial: u64,
    reply: Option<Arc<[u8]>>,
}

impl Entry {
    fn octets(&self) -> usize {
        self.reply.as_ref().map_or(0, |reply| reply.len())
    }
}

impl Table {
    /// An empty table that keeps replies for `replay`.
    pub fn new(replay: Duration, bounds: Bounds) -> Self {
        Self {
            entries: HashMap::default(),
            replied: VecDeque::new(),
            octets: 0,
            serial: 0,
            replay,
            bounds,
            contents: hash_map::RandomState::new(),
        }
    }

    /// Looks a request up that has passed its integrity check, and enters it when it is new.
    pub fn admit(&mut self, from: SocketAddr, identifier: u8, octets: &[u8], now: Instant) -> Seen {
        self.expire(now);
        let key = Key { from, identifier };
        let content = self.contents.hash_one(octets);
        if self.entries.len() >= self.bounds.entries && !self.entries.contains_key(&key) && !self.evict() {
            return Seen::Full;
        }
        let fresh = Entry {
            content,
            serial: self.serial,
            reply: None,
        };
        match self.entries.entry(key) {
            Slot::Occupied(mut occupied) if occupied.get().content != content => {
                let old = occupied.insert(fresh);
                self.octets -= old.octets();
            }
            Slot::Occupied(occupied) => {
                return match &occupied.get().reply {
                    Some(reply) => Seen::Replied(Arc::clone(reply)),
                    None => Seen::Pending,
                };
            }
            Slot::Vacant(vacant) => {
                vacant.insert(fresh);
            }
        }
        let ticket = Ticket {
            key,
            serial: self.serial,
        };
        self.serial += 1;
        Seen::New(ticket)
    }

    /// Stores the octets that were sent for a request. Nothing happens when a newer request has taken
    /// its place.
    pub fn replied(&mut self, ticket: Ticket, octets: Arc<[u8]>, now: Instant) {
        let Some(entry) = self.entries.get_mut(&ticket.key) else {
            return;
        };
        if entry.serial != ticket.serial || entry.reply.is_some() {
            return;
        }
        let expires = now + self.replay;
        self.octets += octets.len();
        entry.reply = Some(octets);
        self.replied.push_back((expires, ticket.key, ticket.serial));
        while self.octets > self.bounds.octets && self.evict() {}
        self.compact();
    }

    /// Removes a request that gets no reply, so that its retransmission is judged anew. Nothing happens
    /// when a newer request has taken its place.
    pub fn forget(&mut self, ticket: Ticket) {
        if self
            .entries
            .get(&ticket.key)
            .is_some_and(|entry| entry.serial == ticket.serial)
        {
            self.remove(ticket.key);
        }
    }

    /// Requests in the table.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the table holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Octets of replies in the table.
    pub const fn octets(&self) -> usize {
        self.octets
    }

    /// Removes the replies whose time is over.
    pub fn expire(&mut self, now: Instant) {
        while let Some(&(expires, key, serial)) = self.replied.front() {
            if expires > now {
                break;
            }
            self.replied.pop_front();
            if self.holds_reply(key, serial) {
                self.remove(key);
            }
        }
    }

    /// Removes the oldest reply; whether there was one.
    fn evict(&mut self) -> bool {
        while let Some((_, key, serial)) = self.replied.pop_front() {
            if self.holds_reply(key, serial) {
                self.remove(key);
                return true;
            }
        }
        false
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.octets -= entry.octets();
        }
    }

    fn holds_reply(&self, key: Key, serial: u64) -> bool {
        self.entries
            .get(&key)
            .is_some_and(|entry| entry.serial == serial && entry.reply.is_some())
    }

    /// Keeps the list from growing with identifiers that are reused fast.
    fn compact(&mut self) {
        if self.replied.len() <= 2 * self.entries.len() + 64 {
            return;
        }
        let entries = &self.entries;
        self.replied.retain(|(_, key, serial)| {
            entries
                .get(key)
                .is_some_and(|entry| entry.serial == *serial && entry.reply.is_some())
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock;

    const REPLAY: Duration = Duration::from_secs(10);

    fn from(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn table() -> Table {
        Table::new(REPLAY, Bounds::default())
    }

    fn new(seen: Seen) -> Ticket {
        match seen {
            Seen::New(ticket) => ticket,
            other @ (Seen::Pending | Seen::Replied(_) | Seen::Full) => panic!("not new: {other:?}"),
        }
    }

    #[test]
    fn pending_is_silent_and_replied_is_replayed_until_it_expires() {
        let (mut table, start) = (table(), clock::monotonic());
        let ticket = new(table.admit(from(1), 7, &[1; 16], start));
        let late = start + Duration::from_secs(60);
        assert!(matches!(table.admit(from(1), 7, &[1; 16], late), Seen::Pending));
        table.replied(ticket, Arc::from(&b"reply"[..]), late);
        let again = table.admit(from(1), 7, &[1; 16], late + REPLAY - Duration::from_millis(1));
        assert!(matches!(again, Seen::Replied(octets) if *octets == *b"reply"));
        new(table.admit(from(1), 7, &[1; 16], late + REPLAY));
        assert_eq!(table.octets(), 0);
    }

    #[test]
    fn port_address_and_identifier_tell_requests_apart() {
        let (mut table, now) = (table(), clock::monotonic());
        new(table.admit(from(1), 7, &[1; 16], now));
        new(table.admit(from(2), 7, &[1; 16], now));
        new(table.admit(from(1), 8, &[1; 16], now));
        new(table.admit(([192, 0, 2, 2], 1).into(), 7, &[1; 16], now));
    }

    /// An authenticator that a client uses for everybody.
    #[test]
    fn nobody_gets_the_reply_to_another_request() {
        let (mut table, now) = (table(), clock::monotonic());
        let ana = new(table.admit(from(1), 7, b"the same for all, ana", now));
        table.replied(ana, Arc::from(&b"accept"[..]), now);
        new(table.admit(from(1), 7, b"the same for all, eve", now));
    }

    #[test]
    fn another_request_replaces() {
        let (mut table, now) = (table(), clock::monotonic());
        let old = new(table.admit(from(1), 7, &[1; 16], now));
        let young = new(table.admit(from(1), 7, &[2; 16], now));
        table.replied(old, Arc::from(&b"old"[..]), now);
        table.forget(old);
        assert!(matches!(table.admit(from(1), 7, &[2; 16], now), Seen::Pending));
        table.replied(young, Arc::from(&b"young"[..]), now);
        assert!(matches!(table.admit(from(1), 7, &[2; 16], now), Seen::Replied(octets) if *octets == *b"young"));
        assert_eq!((table.len(), table.octets()), (1, 5));
    }

    #[test]
    fn without_a_reply_a_retransmission_is_tried_anew() {
        let (mut table, now) = (table(), clock::monotonic());
        let ticket = new(table.admit(from(1), 7, &[1; 16], now));
        table.forget(ticket);
        new(table.admit(from(1), 7, &[1; 16], now));
    }

    #[test]
    fn bounded_in_number_and_octets() {
        let bounds = Bounds { entries: 4, octets: 30 };
        let (mut table, now) = (Table::new(REPLAY, bounds), clock::monotonic());
        let tickets: Vec<Ticket> = (0..4).map(|id| new(table.admit(from(1), id, &[1; 16], now))).collect();
        assert!(matches!(table.admit(from(1), 9, &[1; 16], now), Seen::Full));
        for ticket in &tickets {
            table.replied(*ticket, Arc::from([0u8; 10]), now);
        }
        assert_eq!((table.len(), table.octets()), (3, 30), "the oldest reply went");
        new(table.admit(from(1), 0, &[1; 16], now));
        new(table.admit(from(1), 9, &[1; 16], now));
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn fast_reuse_of_identifiers_does_not_grow_the_list() {
        let (mut table, now) = (table(), clock::monotonic());
        for round in 0..10_000u32 {
            let mut authenticator = [0; 16];
            authenticator[..4].copy_from_slice(&round.to_be_bytes());
            let ticket = new(table.admit(from(1), 1, &authenticator, now));
            table.replied(ticket, Arc::from([0u8; 20]), now);
        }
        assert!(table.replied.len() < 100, "{}", table.replied.len());
        assert_eq!((table.len(), table.octets()), (1, 20));
    }

    /// Distinct requests without end, from one client and from many: most are replied to, some forgotten,
    /// some never settled.
    #[test]
    fn a_flood_stays_within_bounds() {
        let bounds = Bounds {
            entries: 1000,
            octets: 100_000,
        };
        for clients in [1, 50_000u32] {
            let (mut table, now) = (Table::new(REPLAY, bounds), clock::monotonic());
            let (mut full, mut unsettled) = (0, Vec::new());
            for round in 0..100_000u32 {
                let client = std::net::Ipv4Addr::from(round % clients);
                let port = u16::try_from(round / 256 % 60_000).unwrap();
                let mut authenticator = [0; 16];
                authenticator[..4].copy_from_slice(&round.to_be_bytes());
                let identifier = u8::try_from(round % 256).unwrap();
                let admitted = table.admit((client, port).into(), identifier, &authenticator, now);
                match (admitted, round % 64) {
                    (Seen::New(ticket), 0) => unsettled.push(ticket),
                    (Seen::New(ticket), 1) => table.forget(ticket),
                    (Seen::New(ticket), _) => table.replied(ticket, Arc::from([0; 400]), now),
                    (Seen::Full, _) => full += 1,
                    (other @ (Seen::Pending | Seen::Replied(_)), _) => panic!("{other:?}"),
                }
                assert!(table.len() <= bounds.entries && table.octets() <= bounds.octets);
                assert!(table.replied.len() <= 2 * bounds.entries + 64);
            }
            assert!(table.entries.capacity() <= 4 * bounds.entries && table.replied.capacity() <= 8 * bounds.entries);
            assert_eq!(
                unsettled.len(),
                bounds.entries,
                "what is being judged is never pushed out"
            );
            assert!(full > 0);
            for ticket in unsettled {
                table.forget(ticket);
            }
            assert_eq!((table.len(), table.octets()), (0, 0), "nothing is lost");
            new(table.admit(from(1), 1, &[1; 16], now));
        }
    }

    #[derive(Clone, Debug)]
    enum Act {
        Admit(u8, u8),
        Reply(u8),
        Forget(u8),
        Wait(u8),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        prop::collection::vec(
            prop_oneof![
                4 => (0u8..3, 0u8..3).prop_map(|(id, authenticator)| Act::Admit(id, authenticator)),
                3 => any::<u8>().prop_map(Act::Reply),
                1 => any::<u8>().prop_map(Act::Forget),
                2 => (0u8..8).prop_map(Act::Wait),
            ],
            0..80,
        )
    }

    /// What the naive model keeps for one identifier.
    struct Known {
        authenticator: u8,
        serial: usize,
        reply: Option<(Vec<u8>, Instant)>,
    }

    proptest! {
        #[test]
        fn agrees_with_a_naive_model(acts in acts()) {
            let mut now = clock::monotonic();
            let mut table = table();
            let mut model: HashMap<u8, Known> = HashMap::new();
            let mut tickets: Vec<(Ticket, u8, usize)> = Vec::new();
            for act in acts {
                match act {
                    Act::Admit(id, authenticator) => {
                        model.retain(|_, known| known.reply.as_ref().is_none_or(|(_, expires)| *expires > now));
                        let seen = table.admit(from(1), id, &[authenticator; 16], now);
                        match model.get(&id).filter(|known| known.authenticator == authenticator) {
                            Some(Known { reply: None, .. }) => prop_assert!(matches!(seen, Seen::Pending)),
                            Some(Known { reply: Some((octets, _)), .. }) => {
                                prop_assert!(matches!(seen, Seen::Replied(again) if *again == **octets));
                            }
                            None => {
                                let serial = tickets.len();
                                tickets.push((new(seen), id, serial));
                                model.insert(id, Known { authenticator, serial, reply: None });
                            }
                        }
                    }
                    Act::Reply(pick) if !tickets.is_empty() => {
                        let (ticket, id, serial) = tickets[usize::from(pick) % tickets.len()];
                        let octets = vec![u8::try_from(serial).unwrap(); 3];
                        table.replied(ticket, Arc::from(&octets[..]), now);
                        if let Some(known) = model.get_mut(&id)
                            && known.serial == serial
                            && known.reply.is_none()
                        {
                            known.reply = Some((octets, now + REPLAY));
                        }
                    }
                    Act::Forget(pick) if !tickets.is_empty() => {
                        let (ticket, id, serial) = tickets[usize::from(pick) % tickets.len()];
                        table.forget(ticket);
                        if model.get(&id).is_some_and(|known| known.serial == serial) {
                            model.remove(&id);
                        }
                    }
                    Act::Reply(_) | Act::Forget(_) => {}
                    Act::Wait(secs) => now += Duration::from_secs(secs.into()),
                }
            }
            table.expire(now);
            model.retain(|_, known| known.reply.as_ref().is_none_or(|(_, expires)| *expires > now));
            prop_assert_eq!(table.len(), model.len());
            let octets: usize = model.values().filter_map(|known| known.reply.as_ref()).map(|(octets, _)| octets.len()).sum();
            prop_assert_eq!(table.octets(), octets);
        }
    }
}
