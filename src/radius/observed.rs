//! What has been seen of clients since the process started: how much they ask, what of it went wrong
//! lately and what to do about it; and who asks without being a client. Bounded in memory, and nothing of
//! it is written down.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::engine::Denial;
use crate::engine::request::BadName;
pub use crate::radius::drops::{Closing, Reason};
use crate::radius::translate::Refusal;

/// What has been seen of one client.
#[derive(Debug, Default)]
pub struct Sightings {
    requests: AtomicU64,
    dropped: AtomicU64,
    /// Milliseconds since the epoch; zero for never.
    last: AtomicU64,
    troubles: Mutex<VecDeque<Trouble>>,
}

/// Something that went wrong with a client's packets. The same thing from the same address is one trouble,
/// however often it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What.
    pub what: What,
    /// Where the packets came from.
    pub source: IpAddr,
    /// When it happened first, while it was remembered.
    pub first: Timestamp,
    /// When it happened last.
    pub last: Timestamp,
    /// How often.
    pub times: u64,
    /// Who was logging in the last time, as the packet says; cut at 64 characters.
    pub user: Option<Box<str>>,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A packet got no answer.
    Dropped(Reason),
    /// A request was rejected without asking anybody.
    Refused(Refusal),
    /// A login was refused for something that the administrator can change: a denial with
    /// [`Denial::advice`].
    Denied(Denial),
    /// An unsigned request has a password that is no text.
    Garbled,
}

impl Sightings {
    /// Troubles remembered of one client.
    const MAX_TROUBLES: usize = 16;

    /// Counts a request that came through.
    pub(in crate::radius) fn request(&self, now: Timestamp) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.alive(now);
    }

    /// Notes that a packet came through that is no request for anybody.
    pub(in crate::radius) fn alive(&self, now: Timestamp) {
        self.last.fetch_max(now.millis(), Ordering::Relaxed);
    }

    /// Notes a packet that got no answer.
    pub(in crate::radius) fn dropped(&self, reason: Reason, source: IpAddr, now: Timestamp) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.trouble(What::Dropped(reason), source, None, now);
    }

    /// Notes a request that was rejected without asking anybody.
    pub(in crate::radius) fn refused(&self, refusal: Refusal, source: IpAddr, user: Option<&str>, now: Timestamp) {
        self.trouble(What::Refused(refusal), source, user, now);
    }

    /// Notes a login that was refused, if that is something the administrator can change.
    pub(in crate::radius) fn denied(&self, denial: Denial, source: IpAddr, user: Option<&str>, now: Timestamp) {
        if denial.advice().is_some() {
            self.trouble(What::Denied(denial), source, user, now);
        }
    }

    /// Notes an unsigned request whose password is no text.
    pub(in crate::radius) fn garbled(&self, source: IpAddr, now: Timestamp) {
        self.trouble(What::Garbled, source, None, now);
    }

    /// Requests that came through; retransmissions and Status-Server do not count.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Packets that got no answer.
    pub fn drops(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// When the last packet came through.
    pub fn last(&self) -> Option<Timestamp> {
        Some(self.last.load(Ordering::Relaxed))
            .filter(|millis| *millis > 0)
            .map(Timestamp::from_millis)
    }

    /// The troubles that are remembered, latest first.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.troubles.lock().iter().rev().cloned().collect()
    }

    /// Takes over what was seen of the same client before its entry was read again.
    pub(in crate::radius) fn continue_from(&self, earlier: &Self) {
        self.requests.fetch_add(earlier.requests(), Ordering::Relaxed);
        self.dropped.fetch_add(earlier.drops(), Ordering::Relaxed);
        self.last
            .fetch_max(earlier.last.load(Ordering::Relaxed), Ordering::Relaxed);
        let inherited = earlier.troubles.lock().clone();
        let mut troubles = self.troubles.lock();
        for trouble in inherited.into_iter().rev() {
            if troubles.len() < Self::MAX_TROUBLES {
                troubles.push_front(trouble);
            }
        }
    }

    fn trouble(&self, what: What, source: IpAddr, user: Option<&str>, now: Timestamp) {
        let source = source.to_canonical();
        // Whatever was typed: nothing in it may break the line that shows it.
        let plain = |letter: char| if letter.is_control() { '\u{fffd}' } else { letter };
        let user = user.map(|user| user.chars().take(64).map(plain).collect());
        let mut troubles = self.troubles.lock();
        let known = troubles
            .iter()
            .position(|trouble| trouble.what == what && trouble.source == source);
        let mut trouble = known.and_then(|place| troubles.remove(place)).unwrap_or(Trouble {
            what,
            source,
            first: now,
            last: now,
            times: 0,
            user: None,
        });
        trouble.times += 1;
        trouble.last = now;
        trouble.user = user;
        if troubles.len() >= Self::MAX_TROUBLES {
            troubles.pop_front();
        }
        troubles.push_back(trouble);
    }
}

impl What {
    /// Whether the client got no answer, rather than an Access-Reject.
    pub const fn is_drop(self) -> bool {
        match self {
            Self::Dropped(_) => true,
            Self::Refused(_) | Self::Denied(_) | Self::Garbled => false,
        }
    }

    /// What it was, in words.
    pub fn text(self) -> String {
        match self {
            Self::Dropped(reason) => reason.text().to_owned(),
            Self::Refused(refusal) => refusal.to_string(),
            Self::Denied(Denial::MethodImpossible) => "CHAP or MS-CHAPv2 that cannot be judged".into(),
            Self::Denied(Denial::MethodOneProof) => "CHAP or MS-CHAPv2 under a rule that asks for more".into(),
            Self::Denied(denial) => denial.word().to_owned(),
            Self::Garbled => "a password that is no text, in a request without Message-Authenticator".to_owned(),
        }
    }

    /// What to do about it.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Dropped(reason) => remedy_for_drop(reason),
            Self::Refused(refusal) => remedy_for_refusal(refusal),
            Self::Garbled => {
                "most likely the shared secret differs, which nothing else tells of requests that are not signed; else the client does not send UTF-8"
            }
            Self::Denied(denial) => match denial.advice() {
                Some(advice) => advice,
                None => "the log and the audit have who it was and why",
            },
        }
    }
}

const fn remedy_for_drop(reason: Reason) -> &'static str {
    match reason {
        Reason::UnknownClient => "add a [[client]] with this address, or leave it: strangers get no answer",
        Reason::Malformed => {
            "the client sends what is no RADIUS packet; capture one (tcpdump -X) and look at it with `portcullis radius decode`"
        }
        Reason::UnexpectedCode => {
            "the client sends a kind of packet to a port that does not serve it; check its ports (authentication 1812, accounting 1813) and `serve` of the listener"
        }
        Reason::ProxyLoop => {
            "an [[upstream]] of ours sends requests back to us: it must judge them itself, so look at its proxy configuration"
        }
        Reason::Unsound(unsound) => unsound.remedy(),
        Reason::Overload => {
            "more requests at once than in_flight allows: see `portcullis status` for a slow directory, or raise in_flight of the listener"
        }
        Reason::SendFailed => "the reply could not be sent; the log has what the system said",
        Reason::Closed(closing) => remedy_for_closing(closing),
    }
}

const fn remedy_for_closing(closing: Closing) -> &'static str {
    match closing {
        Closing::TooMany | Closing::TooManyHandshakes => {
            "raise `connections` of the listener, or find out who opens so many"
        }
        Closing::TooManyOfSource => {
            "raise `connections_per_source` of the listener, or have the client keep fewer connections open"
        }
        Closing::TooFast => {
            "the client opens one connection after the other: have it keep them open, or raise `handshakes_per_source`"
        }
        Closing::Handshake => {
            "the log has what TLS said: most often a certificate that the listener's `client_ca` did not issue, or one that has expired"
        }
        Closing::Version => "the client speaks another version of RADIUS; see `versions` of the listener",
        Closing::Length | Closing::Truncated => {
            "the client sends what is no RADIUS packet, or there is no TLS where there should be"
        }
        Closing::SlowPacket | Closing::SlowReader | Closing::Unfinished => {
            "the client or the network between is stuck; it will connect again"
        }
        Closing::Repeated => "the client uses an identifier again before its reply; mend it there",
        Closing::Idle => "nothing is wrong with that; raise `idle` of the listener to keep connections longer",
        Closing::Removed => "configure the client again, or give it a certificate that is trusted",
    }
}

const fn remedy_for_refusal(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NoUserName | Refusal::UserNameNotText | Refusal::BadUserName(BadName::Empty) => {
            "have the client send the login name as User-Name, in UTF-8"
        }
        Refusal::BadUserName(_) => {
            "a name that was typed cannot belong to anybody; if it is right, see the limits on names in docs/configuration.md"
        }
        Refusal::RepeatedUserName | Refusal::RepeatedPassword | Refusal::RepeatedState => {
            "the client, or a proxy before it, sends the attribute twice; mend it there"
        }
        Refusal::ConflictingMethods => "the client sends two proofs at once; configure it for one method alone",
        Refusal::Eap => {
            "EAP is not offered; configure the client for PAP (on switches and access points: no 802.1X on this server)"
        }
        Refusal::MsChapV1 => "MS-CHAP of the first version: configure the client for PAP or, if it must be, MS-CHAPv2",
        Refusal::NoChallenge => {
            "the client sends a response without CHAP-Challenge or MS-CHAP-Challenge; mend it there, or configure it for PAP"
        }
        Refusal::NoPassword => "the client sends neither User-Password nor a response; configure it for PAP",
        Refusal::EmptyPassword => {
            "somebody typed nothing; where it comes each time, the client sends its password elsewhere: configure it for PAP"
        }
        Refusal::LongPassword => "somebody typed more than RADIUS can carry; where it comes each time, mend the client",
        Refusal::UnknownState => {
            "an answer came too late, or for another client's challenge; give twins that share dialogs one [[client]] with all their addresses"
        }
    }
}

/// Addresses that send packets and are no client, bounded in number: new ones push out those that were not
/// seen again.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<Table>);

/// An address that is no client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// The address.
    pub address: IpAddr,
    /// Packets from it, while it was remembered.
    pub packets: u64,
    /// When the first of them came.
    pub first: Timestamp,
    /// When the last came.
    pub last: Timestamp,
}

#[derive(Debug, Default)]
struct Table {
    places: HashMap<IpAddr, usize>,
    /// With each, whether it was seen again since the hand passed.
    strangers: Vec<(Stranger, bool)>,
    hand: usize,
}

impl Strangers {
    /// Addresses remembered.
    pub const MAX: usize = 256;

    /// Notes a packet.
    pub(in crate::radius) fn note(&self, address: IpAddr, now: Timestamp) {
        let address = address.to_canonical();
        let mut table = self.0.lock();
        let known = table.places.get(&address).copied();
        if let Some((stranger, again)) = known.and_then(|place| table.strangers.get_mut(place)) {
            stranger.packets += 1;
            stranger.last = now;
            *again = true;
            return;
        }
        let stranger = Stranger {
            address,
            packets: 1,
            first: now,
            last: now,
        };
        table.insert(stranger);
    }

    /// All that are remembered, latest first.
    pub fn all(&self) -> Vec<Stranger> {
        let mut all: Vec<Stranger> = self.0.lock().strangers.iter().map(|(stranger, _)| *stranger).collect();
        all.sort_by_key(|stranger| std::cmp::Reverse(stranger.last));
        all
    }
}

impl Table {
    /// Second chance: the hand goes on to the first that was not seen again. Each step takes a chance away,
    /// so that the steps are at most as many as packets came.
    fn insert(&mut self, stranger: Stranger) {
        if self.strangers.len() < Strangers::MAX {
            self.places.insert(stranger.address, self.strangers.len());
            self.strangers.push((stranger, false));
            return;
        }
        loop {
            let place = self.hand % Strangers::MAX;
            self.hand = place + 1;
            let Some((old, again)) = self.strangers.get_mut(place) else {
                return;
            };
            if std::mem::take(again) {
                continue;
            }
            self.places.remove(&old.address);
            self.places.insert(stranger.address, place);
            *old = stranger;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn address(last: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0xc633_0000 + last).into()
    }

    #[test]
    fn the_same_trouble_is_one_however_often_it_happens() {
        let seen = Sightings::default();
        seen.refused(Refusal::MsChapV1, address(1), Some("ana"), at(1));
        for secs in 2..1000 {
            seen.dropped(Reason::Malformed, address(1), at(secs));
        }
        seen.refused(Refusal::MsChapV1, address(1), Some("ben"), at(1000));
        let troubles = seen.troubles();
        assert_eq!(troubles.len(), 2);
        assert_eq!(
            (troubles[0].what, troubles[0].times),
            (What::Refused(Refusal::MsChapV1), 2)
        );
        assert_eq!((troubles[0].first, troubles[0].last), (at(1), at(1000)));
        assert_eq!(troubles[0].user.as_deref(), Some("ben"));
        assert_eq!((troubles[1].times, seen.drops()), (998, 998));
    }

    #[test]
    fn a_name_that_was_typed_forges_no_lines() {
        let seen = Sightings::default();
        seen.refused(
            Refusal::Eap,
            address(1),
            Some("ana\n2030-01-01  all is well\u{1b}[2J"),
            at(1),
        );
        let troubles = seen.troubles();
        let user = troubles[0].user.as_deref().unwrap();
        assert!(!user.chars().any(char::is_control), "{user:?}");
    }

    #[test]
    fn troubles_are_bounded_and_the_oldest_go() {
        let seen = Sightings::default();
        for number in 0..100 {
            seen.dropped(Reason::Malformed, address(number), at(u64::from(number)));
        }
        let troubles = seen.troubles();
        assert_eq!(troubles.len(), Sightings::MAX_TROUBLES);
        assert_eq!(troubles[0].source, address(99));
    }

    #[test]
    fn a_reload_keeps_what_was_seen() {
        let (old, new) = (Sightings::default(), Sightings::default());
        old.request(at(5));
        old.dropped(Reason::Overload, address(1), at(6));
        new.request(at(7));
        new.refused(Refusal::Eap, address(2), None, at(8));
        new.continue_from(&old);
        assert_eq!((new.requests(), new.drops(), new.last()), (2, 1, Some(at(7))));
        let whats: Vec<What> = new.troubles().iter().map(|trouble| trouble.what).collect();
        assert_eq!(whats, [What::Refused(Refusal::Eap), What::Dropped(Reason::Overload)]);
    }

    #[test]
    fn a_flood_of_strangers_does_not_push_out_one_that_keeps_asking() {
        let strangers = Strangers::default();
        for number in 0..100_000 {
            strangers.note(address(number % 60_000 + 1), at(u64::from(number)));
            if number % 100 == 0 {
                strangers.note(address(0), at(u64::from(number)));
            }
        }
        let all = strangers.all();
        assert_eq!(all.len(), Strangers::MAX);
        assert!(all.windows(2).all(|pair| pair[0].last >= pair[1].last));
        let steady = all.iter().find(|stranger| stranger.address == address(0)).unwrap();
        assert_eq!(steady.packets, 1000);
        let clothed: IpAddr = "::ffff:198.51.0.0".parse().unwrap();
        strangers.note(clothed, at(100_000));
        assert_eq!(strangers.all()[0].packets, 1001, "IPv4 in IPv6 clothes is IPv4");
    }

    #[test]
    fn every_drop_has_words_and_a_remedy() {
        for reason in Reason::ALL {
            let what = What::Dropped(reason);
            assert!(!what.text().is_empty() && what.remedy().len() > 20, "{reason:?}");
        }
    }
}
