//! Conditions of rules, and whether they hold.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::engine::facts::{Person, dn_is_under};
use crate::engine::policy::{Subject, Who, Window};
use crate::engine::request::{Operation, Protocol};

/// One condition. Lists hold when any of their members does.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `operation`
    Operation(Vec<Operation>),
    /// `protocol`
    Protocol(Vec<Protocol>),
    /// `service`
    Service(Vec<String>),
    /// `client`
    Client(Vec<String>),
    /// `directory`
    Directory(Vec<String>),
    /// `source`
    Source(Vec<IpNet>),
    /// `encrypted`
    Encrypted(bool),
    /// `nas_identifier`
    NasIdentifier(Vec<String>),
    /// `time`
    Time(Vec<Window>),
    /// `user`: login names of the directory, in lower case.
    User(Vec<String>),
    /// `group`: normalised distinguished names, or bare common names.
    Group(Vec<String>),
    /// `dn_suffix`: normalised.
    DnSuffix(Vec<String>),
    /// `sessions = { at_least = N }`: the person has as many open sessions, or more.
    Sessions(usize),
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// What it asks about is not known.
    Missing,
    /// It is about the person, and nobody is there: taken as favourable to being let in.
    Assumed,
}

impl fmt::Display for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yes => "holds",
            Self::No => "does not hold",
            Self::Missing => "missing",
            Self::Assumed => "assumed",
        })
    }
}

impl Condition {
    /// Whether the condition holds for `subject`.
    pub fn holds(&self, subject: &Subject<'_>) -> Holds {
        let origin = subject.origin;
        match self {
            Self::Operation(list) => yes(list.contains(&subject.operation)),
            Self::Protocol(list) => yes(list.contains(&origin.protocol)),
            Self::Service(list) => yes(contains(list, &origin.service)),
            Self::Client(list) => yes(contains(list, &origin.client)),
            Self::Directory(list) => yes(contains(list, &origin.directory)),
            Self::Source(nets) => {
                let source = canonical(origin.source);
                yes(nets.iter().any(|net| net.contains(&source)))
            }
            Self::Encrypted(wanted) => yes(*wanted == origin.encrypted()),
            Self::NasIdentifier(list) => match &origin.nas_identifier {
                Some(name) => yes(contains(list, name)),
                None => Holds::Missing,
            },
            Self::Time(windows) => yes(windows.iter().any(|window| window.contains(subject.now))),
            Self::User(list) => person(subject, |person| contains(list, &person.login)),
            Self::Group(list) => person(subject, |person| person.groups.iter().any(|group| names(list, group))),
            Self::DnSuffix(list) => person(subject, |person| {
                let dn = crate::engine::facts::normalise_dn(&person.dn);
                list.iter().any(|suffix| dn_is_under(&dn, suffix))
            }),
            Self::Sessions(least) => match (subject.person, subject.sessions) {
                (Who::Decoy, _) => Holds::Assumed,
                (Who::Known(_), Some(open)) => yes(open >= *least),
                (Who::Known(_), None) => Holds::Missing,
            },
        }
    }

    /// What the condition is compared with, for explanations; none when it is not known.
    pub fn value(&self, subject: &Subject<'_>) -> Option<String> {
        let origin = subject.origin;
        let of = |read: fn(&Person) -> String| match subject.person {
            Who::Known(person) => Some(read(person)),
            Who::Decoy => None,
        };
        match self {
            Self::Operation(_) => Some(subject.operation.to_string()),
            Self::Protocol(_) => Some(origin.protocol.to_string()),
            Self::Service(_) => Some(origin.service.to_string()),
            Self::Client(_) => Some(origin.client.to_string()),
            Self::Directory(_) => Some(origin.directory.to_string()),
            Self::Source(_) => Some(origin.source.to_string()),
            Self::Encrypted(_) => Some(origin.encrypted().to_string()),
            Self::NasIdentifier(_) => origin.nas_identifier.clone(),
            Self::Time(_) => Some(subject.now.to_string()),
            Self::User(_) => of(|person| person.login.clone()),
            Self::Group(_) => of(|person| person.groups.join("; ")),
            Self::DnSuffix(_) => of(|person| person.dn.clone()),
            Self::Sessions(_) => subject.sessions.map(|open| open.to_string()),
        }
    }

    /// Whether everything that `other` lets through is let through by this one as well.
    pub fn covers(&self, other: &Self) -> bool {
        fn all<T: PartialEq>(wide: &[T], narrow: &[T]) -> bool {
            narrow.iter().all(|item| wide.contains(item))
        }
        match (self, other) {
            (Self::Operation(wide), Self::Operation(narrow)) => all(wide, narrow),
            (Self::Protocol(wide), Self::Protocol(narrow)) => all(wide, narrow),
            (Self::Service(wide), Self::Service(narrow))
            | (Self::Client(wide), Self::Client(narrow))
            | (Self::Directory(wide), Self::Directory(narrow))
            | (Self::NasIdentifier(wide), Self::NasIdentifier(narrow))
            | (Self::User(wide), Self::User(narrow))
            | (Self::Group(wide), Self::Group(narrow)) => all(wide, narrow),
            (Self::Source(wide), Self::Source(narrow)) => narrow
                .iter()
                .all(|inner| wide.iter().any(|outer| outer.contains(inner))),
            (Self::DnSuffix(wide), Self::DnSuffix(narrow)) => narrow
                .iter()
                .all(|inner| wide.iter().any(|outer| dn_is_under(inner, outer))),
            (Self::Sessions(wide), Self::Sessions(narrow)) => wide <= narrow,
            (Self::Encrypted(wide), Self::Encrypted(narrow)) => wide == narrow,
            (Self::Time(wide), Self::Time(narrow)) => all(wide, narrow),
            (
                Self::Operation(_)
                | Self::Protocol(_)
                | Self::Service(_)
                | Self::Client(_)
                | Self::Directory(_)
                | Self::Source(_)
                | Self::Encrypted(_)
                | Self::NasIdentifier(_)
                | Self::Time(_)
                | Self::User(_)
                | Self::Group(_)
                | Self::DnSuffix(_)
                | Self::Sessions(_),
                _,
            ) => false,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, items: &[T]) -> fmt::Result {
            write!(f, "{name} is ")?;
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    f.write_str(" or ")?;
                }
                write!(f, "{item}")?;
            }
            Ok(())
        }
        match self {
            Self::Operation(items) => list(f, "operation", items),
            Self::Protocol(items) => list(f, "protocol", items),
            Self::Service(items) => list(f, "service", items),
            Self::Client(items) => list(f, "client", items),
            Self::Directory(items) => list(f, "directory", items),
            Self::Source(items) => list(f, "source", items),
            Self::Encrypted(wanted) => write!(f, "encrypted is {wanted}"),
            Self::NasIdentifier(items) => list(f, "nas_identifier", items),
            Self::Time(items) => list(f, "time", items),
            Self::User(items) => list(f, "user", items),
            Self::Group(items) => list(f, "group", items),
            Self::DnSuffix(items) => list(f, "dn_suffix", items),
            Self::Sessions(least) => write!(f, "sessions are {least} or more"),
        }
    }
}

fn yes(holds: bool) -> Holds {
    if holds { Holds::Yes } else { Holds::No }
}

fn person(subject: &Subject<'_>, holds: impl FnOnce(&Person) -> bool) -> Holds {
    match subject.person {
        Who::Known(person) => yes(holds(person)),
        Who::Decoy => Holds::Assumed,
    }
}

fn contains(list: &[String], name: &str) -> bool {
    list.iter().any(|item| item.eq_ignore_ascii_case(name))
}

fn names(list: &[String], group: &str) -> bool {
    list.iter().any(|item| is_group(item, group))
}

/// Whether `written`, a normalised distinguished name or a bare `cn` in small letters, is the group with the
/// normalised distinguished name `group`.
pub fn is_group(written: &str, group: &str) -> bool {
    let bare = || group.strip_prefix("cn=").and_then(|rest| rest.split(',').next());
    written == group || (!written.contains('=') && Some(written) == bare())
}

/// An IPv4 address that came mapped into IPv6 is the IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
