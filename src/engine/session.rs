//! Sessions as accounting tells of them (RFC 2866): what a client reports, what is kept of it, and how a
//! report changes that.
//!
//! Reports are lost, repeated and overtake each other. [`apply`] comes to the same end in whatever order
//! they arrive: a session that has ended is remembered for [`REMEMBERED`], so that a late Start or update
//! does not open it again.

mod class;
mod grants;
mod watch;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::engine::facts::UserKey;
use crate::engine::record::Record;

pub use class::Class;
pub use grants::{GrantRecord, Pending};
pub use watch::{Watch, WatchRecord};

/// One Accounting-Request, in terms of the engine. Texts are as the client sent them, at most 253
/// characters each, without control characters.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is reported.
    pub kind: Kind,
    /// The configured name of the client.
    pub client: Arc<str>,
    /// The client's service name.
    pub service: Arc<str>,
    /// The directory that the client's users are in.
    pub directory: Arc<str>,
    /// Where the report came from.
    pub source: IpAddr,
    /// Whether it came encrypted.
    pub encrypted: bool,
    /// The NAS: its NAS-Identifier, else NAS-IP-Address or NAS-IPv6-Address, else the source.
    pub nas: String,
    /// Acct-Session-Id (RFC 2866 section 5.5); empty when the NAS itself is meant.
    pub id: String,
    /// The login that the session came of, from a Class of ours.
    pub class: Option<Class>,
    /// What is said of the session.
    pub details: Details,
    /// When it happened, by the clock of this server: never later than the report arrived.
    pub at: Timestamp,
    /// What was used up to then.
    pub usage: Usage,
    /// Acct-Terminate-Cause (RFC 2866 section 5.10).
    pub terminate_cause: Option<u32>,
}

/// Acct-Status-Type (RFC 2866 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A session has begun.
    Start,
    /// It goes on.
    Interim,
    /// It has ended.
    Stop,
    /// The NAS has begun to account: no earlier session of it lives.
    On,
    /// The NAS ends accounting: its sessions end with it.
    Off,
    /// Something else, by its number: tunnels (RFC 2867 section 3) and failures. It changes no session.
    Noted(u32),
}

impl Kind {
    /// The word for it in metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interim => "interim",
            Self::Stop => "stop",
            Self::On => "on",
            Self::Off => "off",
            Self::Noted(9) => "tunnel-start",
            Self::Noted(10) => "tunnel-stop",
            Self::Noted(11) => "tunnel-reject",
            Self::Noted(12) => "tunnel-link-start",
            Self::Noted(13) => "tunnel-link-stop",
            Self::Noted(14) => "tunnel-link-reject",
            Self::Noted(15) => "failed",
            Self::Noted(_) => "other",
        }
    }
}

/// What a client says of a session. What a later report leaves out stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// User-Name.
    pub user_name: Option<String>,
    /// Acct-Multi-Session-Id (RFC 2866 section 5.11).
    pub multi_id: Option<String>,
    /// Calling-Station-Id.
    pub calling_station: Option<String>,
    /// Called-Station-Id.
    pub called_station: Option<String>,
    /// Framed-IP-Address.
    pub address: Option<IpAddr>,
    /// Framed-IPv6-Address (RFC 6911), else Framed-IPv6-Prefix (RFC 3162), as text.
    pub address6: Option<String>,
    /// NAS-Port.
    pub port: Option<u32>,
    /// NAS-Port-Id (RFC 2869 section 5.17).
    pub port_id: Option<String>,
    /// The attributes by which the NAS knows itself and the session, as it sent them (type, length and
    /// value; RFC 5176 section 3), to name the session to it. At most [`Details::MAX_IDENTITY`] octets.
    pub identity: Vec<u8>,
}

impl Details {
    /// Most octets of [`Details::identity`].
    pub const MAX_IDENTITY: usize = 2048;

    fn update(&mut self, newer: Self) {
        fn set<T>(old: &mut Option<T>, new: Option<T>) {
            if new.is_some() {
                *old = new;
            }
        }
        set(&mut self.user_name, newer.user_name);
        set(&mut self.multi_id, newer.multi_id);
        set(&mut self.calling_station, newer.calling_station);
        set(&mut self.called_station, newer.called_station);
        set(&mut self.address, newer.address);
        set(&mut self.address6, newer.address6);
        set(&mut self.port, newer.port);
        set(&mut self.port_id, newer.port_id);
        if newer.identity.len() >= self.identity.len() {
            self.identity = newer.identity;
        }
    }
}

/// What a session has used. Counters only grow, so the larger one is the later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Acct-Session-Time, in seconds.
    pub seconds: Option<u32>,
    /// Acct-Input-Octets with Acct-Input-Gigawords: from the person.
    pub octets_in: u64,
    /// Acct-Output-Octets with Acct-Output-Gigawords: to the person.
    pub octets_out: u64,
    /// Acct-Input-Packets.
    pub packets_in: u32,
    /// Acct-Output-Packets.
    pub packets_out: u32,
}

impl Usage {
    fn update(&mut self, other: Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.octets_in = self.octets_in.max(other.octets_in);
        self.octets_out = self.octets_out.max(other.octets_out);
        self.packets_in = self.packets_in.max(other.packets_in);
        self.packets_out = self.packets_out.max(other.packets_out);
    }
}

/// Which session: the client, the NAS behind it, and the identifier that the NAS gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionName {
    /// The configured name of the client.
    pub client: String,
    /// [`Report::nas`].
    pub nas: String,
    /// Acct-Session-Id.
    pub id: String,
}

/// What is kept of an open session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The configured name of the client.
    pub client: String,
    /// [`Report::nas`].
    pub nas: String,
    /// Acct-Session-Id.
    pub id: String,
    /// The client's service name at the last report.
    pub service: String,
    /// The directory that the client's users are in.
    pub directory: String,
    /// Where the last report came from.
    pub source: IpAddr,
    /// Whether it came encrypted.
    pub encrypted: bool,
    /// Whose it is, where known.
    pub user: Option<UserKey>,
    /// The login name, as the directory has it where it could be asked.
    pub login: String,
    /// The directory could not be asked whose it is; the next report asks again.
    pub unresolved: bool,
    /// The login it came of.
    pub grant: Option<u64>,
    /// What the client says.
    pub details: Details,
    /// When it began.
    pub started: Timestamp,
    /// Whether a Start was seen; otherwise an update told of it, and `started` is reckoned.
    pub start_seen: bool,
    /// The latest moment that a report was about.
    pub last: Timestamp,
    /// When the last report was heard, by our clock.
    pub heard: Timestamp,
    /// What was used.
    pub usage: Usage,
    /// When its client said that it ends it, because it was asked to: the Stop is to follow within
    /// [`ENDS_WITHIN`].
    pub ending: Option<Timestamp>,
}

/// How long a session that its client ends is waited for.
pub const ENDS_WITHIN: Duration = Duration::from_secs(60);

impl SessionRecord {
    /// Its name.
    pub fn name(&self) -> SessionName {
        SessionName {
            client: self.client.clone(),
            nas: self.nas.clone(),
            id: self.id.clone(),
        }
    }

    /// Whether its client has said that it ends it, and has not reported its Stop for too long.
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.ending.is_some_and(|since| now.since(since) >= ENDS_WITHIN)
    }

    /// How long it has lasted: by the NAS's count, else by the clock.
    pub fn duration(&self, until: Timestamp) -> Duration {
        match self.usage.seconds {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None => until.since(self.started),
        }
    }
}

/// What is remembered of a session that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When it ended.
    pub at: Timestamp,
    /// Nobody said so: it was given up for dead, and a report of it shows that it lives.
    pub presumed: bool,
}

/// How long it is remembered that a session has ended.
pub const REMEMBERED: Duration = Duration::from_secs(3600);

/// A Start or an update about a moment within this of the end came late and does not open the session
/// again: a NAS that tells no times is taken to have sent it when it arrived.
const LATE: Duration = Duration::from_secs(60);

/// A second Start about a moment this much later than all that is known of the session is another
/// session under the same identifier: the NAS lost count.
const REPEATED: Duration = Duration::from_secs(300);

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A Stop said so, with its Acct-Terminate-Cause if it had one.
    Reported(Option<u32>),
    /// The NAS has begun or ended accounting (Accounting-On, Accounting-Off).
    NasReboot,
    /// Another session has begun under the same identifier.
    Replaced,
    /// Nothing was heard of it for too long.
    Stale,
    /// An operator ended it.
    Ended,
    /// Its client was asked to end it, and has no such session.
    NotFound,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported(None) => f.write_str("no cause given"),
            Self::Reported(Some(cause)) => match terminate_cause(*cause) {
                Some(word) => f.write_str(word),
                None => write!(f, "cause {cause}"),
            },
            Self::NasReboot => f.write_str("nas-reboot"),
            Self::Replaced => f.write_str("replaced"),
            Self::Stale => f.write_str("stale"),
            Self::Ended => f.write_str("ended by an operator"),
            Self::NotFound => f.write_str("its client has no such session"),
        }
    }
}

/// RFC 2866 section 5.10; 19 to 22 are RFC 3580 section 3.18, 23 is RFC 4372.
fn terminate_cause(number: u32) -> Option<&'static str> {
    Some(match number {
        1 => "user-request",
        2 => "lost-carrier",
        3 => "lost-service",
        4 => "idle-timeout",
        5 => "session-timeout",
        6 => "admin-reset",
        7 => "admin-reboot",
        8 => "port-error",
        9 => "nas-error",
        10 => "nas-request",
        11 => "nas-reboot",
        12 => "port-unneeded",
        13 => "port-preempted",
        14 => "port-suspended",
        15 => "service-unavailable",
        16 => "callback",
        17 => "user-error",
        18 => "host-request",
        19 => "supplicant-restart",
        20 => "reauthentication-failure",
        21 => "port-reinitialized",
        22 => "port-administratively-disabled",
        _ => return None,
    })
}

/// Whose session it is, as found out by whoever applies a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The person.
    pub user: Option<UserKey>,
    /// The login name.
    pub login: String,
    /// The directory could not be asked.
    pub unresolved: bool,
}

/// What a report comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing that is not known already.
    None,
    /// A session is open that was not.
    Opened {
        /// The session.
        session: SessionRecord,
        /// The session that was open under the same name is over.
        replaces: bool,
    },
    /// An open session goes on.
    Updated(SessionRecord),
    /// A session has ended.
    Closed {
        /// The session, as it was in the end.
        session: SessionRecord,
        /// Whether it had been open; otherwise nothing was known of it but its Stop.
        was_open: bool,
    },
}

macro_rules! first_format {
    ($($kind:ty),*) => {$(
        impl Record for $kind {
            const FORMAT: u8 = 1;

            fn from_older(_: u8, _: &[u8]) -> Option<postcard::Result<Self>> {
                None
            }
        }
    )*};
}

first_format!(Ended, GrantRecord, WatchRecord);

impl Record for SessionRecord {
    const FORMAT: u8 = 2;

    fn from_older(format: u8, octets: &[u8]) -> Option<postcard::Result<Self>> {
        // It ended before `ending`; a zero is postcard's `None`.
        (format == 1).then(|| postcard::from_bytes(&[octets, &[0]].concat()))
    }
}

/// How a Start, an update or a Stop changes what is known of its session. `open` is the session as it is
/// open, `ended` what is remembered of its end. Total, pure, and the same for a report that comes twice.
pub fn apply(
    open: Option<&SessionRecord>,
    ended: Option<Ended>,
    report: &Report,
    owner: &Owner,
    now: Timestamp,
) -> Change {
    match (report.kind, open) {
        (Kind::Start, Some(session)) if session.start_seen && report.at > session.last + REPEATED => Change::Opened {
            session: opened(report, owner, now),
            replaces: true,
        },
        (Kind::Start | Kind::Interim, Some(session)) => {
            let updated = updated(session, report, owner, now);
            if report.kind == Kind::Start && session.start_seen {
                // Said again: it tells nothing new, not even that the session lives.
                let quiet = SessionRecord {
                    heard: session.heard,
                    last: session.last,
                    ..updated
                };
                return if quiet == *session {
                    Change::None
                } else {
                    Change::Updated(quiet)
                };
            }
            Change::Updated(updated)
        }
        (Kind::Start | Kind::Interim, None) => match ended {
            Some(ended) if report.at <= ended.at + if ended.presumed { Duration::ZERO } else { LATE } => Change::None,
            Some(_) | None => Change::Opened {
                session: opened(report, owner, now),
                replaces: false,
            },
        },
        (Kind::Stop, Some(session)) => Change::Closed {
            session: updated(session, report, owner, now),
            was_open: true,
        },
        (Kind::Stop, None) => match ended {
            Some(ended) if !ended.presumed && report.at <= ended.at + LATE => Change::None,
            Some(_) | None => Change::Closed {
                session: opened(report, owner, now),
                was_open: false,
            },
        },
        // About the NAS, or about what no record is kept of.
        (Kind::On | Kind::Off | Kind::Noted(_), _) => Change::None,
    }
}

/// Whether a session ends with an Accounting-On or -Off: one that began after it does not.
pub fn ends_with_nas(session: &SessionRecord, report: &Report) -> bool {
    session.started <= report.at
}

fn opened(report: &Report, owner: &Owner, now: Timestamp) -> SessionRecord {
    let lasted = Duration::from_secs(report.usage.seconds.unwrap_or(0).into());
    SessionRecord {
        client: report.client.to_string(),
        nas: report.nas.clone(),
        id: report.id.clone(),
        service: report.service.to_string(),
        directory: report.directory.to_string(),
        source: report.source,
        encrypted: report.encrypted,
        user: owner.user.clone(),
        login: owner.login.clone(),
        unresolved: owner.unresolved,
        grant: report.class.as_ref().map(|class| class.grant),
        details: report.details.clone(),
        started: report.at - lasted,
        start_seen: report.kind == Kind::Start,
        last: report.at,
        heard: now,
        usage: report.usage,
        ending: None,
    }
}

fn updated(session: &SessionRecord, report: &Report, owner: &Owner, now: Timestamp) -> SessionRecord {
    let mut session = session.clone();
    session.service = report.service.to_string();
    session.source = report.source;
    session.encrypted = report.encrypted;
    if session.user.is_none() {
        session.user.clone_from(&owner.user);
        session.unresolved = owner.unresolved;
        if !owner.login.is_empty() {
            session.login.clone_from(&owner.login);
        }
    }
    session.grant = session.grant.or(report.class.as_ref().map(|class| class.grant));
    if report.at >= session.last {
        session.details.update(report.details.clone());
    } else {
        // An older report fills in what later ones left out.
        let newer = std::mem::replace(&mut session.details, report.details.clone());
        session.details.update(newer);
    }
    if report.kind == Kind::Start {
        session.started = if session.start_seen {
            session.started.min(report.at)
        } else {
            report.at
        };
        session.start_seen = true;
    }
    session.last = session.last.max(report.at);
    session.heard = now;
    session.usage.update(report.usage);
    session
}

#[cfg(test)]
pub(crate) mod tests;
