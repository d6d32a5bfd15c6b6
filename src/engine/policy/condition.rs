//! Conditions of rules, and whether they hold.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::engine::facts::{Person, dn_is_under, is_below};
use crate::engine::filter::{Entry, Matcher};
use crate::engine::policy::Who;
use crate::engine::policy::names::{Names, Patterns, joined};
use crate::engine::policy::schedule::{Span, Window};
use crate::engine::policy::state::{Credential, Enrolment};
use crate::engine::policy::view::{Groups, View};
use crate::engine::request::{Operation, Origin, Protocol, Transport};

/// One condition. Lists hold when any of their members does.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `operation`
    Operation(Vec<Operation>),
    /// `protocol`
    Protocol(Vec<Protocol>),
    /// `transport`
    Transport(Vec<Transport>),
    /// `encrypted`
    Encrypted(bool),
    /// `service`
    Service(Names),
    /// `client`
    Client(Names),
    /// `listener`
    Listener(Names),
    /// `application`
    Application(Names),
    /// `directory`
    Directory(Names),
    /// `source`
    Source(Vec<IpNet>),
    /// `nas_identifier`
    NasIdentifier(Names),
    /// `called_station`
    CalledStation(Patterns),
    /// `calling_station`
    CallingStation(Patterns),
    /// `date`
    Date(Span),
    /// `sso_managed`
    SsoManaged(bool),
    /// `user`: login names of the directory.
    User(Names),
    /// `sessions = { at_least = N }`: the person has as many open sessions, or more.
    Sessions(usize),
    /// `failures = { at_least = N }`: as many failures are counted against the person, or more.
    Failures(usize),
    /// `group`
    Group(GroupList),
    /// `privileged`
    Privileged(bool),
    /// `dn_suffix`: normalised.
    DnSuffix(Vec<String>),
    /// `manager`
    Manager(ManagerList),
    /// `credential`
    Credential(Vec<Credential>),
    /// `enrolment`
    Enrolment(Vec<Enrolment>),
    /// `attribute = { name = […] }`, one condition for each name.
    Attribute {
        /// In lower case.
        name: String,
        /// Any of these values.
        values: Names,
    },
    /// `filter`
    Filter(Vec<WrittenFilter>),
    /// `time`
    Time(Vec<Window>),
}

/// Groups of which somebody is in any.
#[derive(Clone, Debug, Default)]
pub struct GroupList {
    /// Normalised distinguished names, or bare common names in lower case.
    names: Vec<String>,
    /// Their numbers among all groups of the policy; none before it is whole.
    numbers: Vec<usize>,
}

/// Managers of whom any is somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerList {
    /// Login names.
    pub(super) logins: Option<Names>,
    /// Normalised distinguished names.
    pub(super) dns: Option<Names>,
}

/// A search filter, as written and ready to be held against people.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenFilter {
    pub(super) text: String,
    pub(super) matcher: Matcher,
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
    /// The key that it is written under.
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Operation(_) => "operation",
            Self::Protocol(_) => "protocol",
            Self::Transport(_) => "transport",
            Self::Encrypted(_) => "encrypted",
            Self::Service(_) => "service",
            Self::Client(_) => "client",
            Self::Listener(_) => "listener",
            Self::Application(_) => "application",
            Self::Directory(_) => "directory",
            Self::Source(_) => "source",
            Self::NasIdentifier(_) => "nas_identifier",
            Self::CalledStation(_) => "called_station",
            Self::CallingStation(_) => "calling_station",
            Self::Date(_) => "date",
            Self::SsoManaged(_) => "sso_managed",
            Self::User(_) => "user",
            Self::Sessions(_) => "sessions",
            Self::Failures(_) => "failures",
            Self::Group(_) => "group",
            Self::Privileged(_) => "privileged",
            Self::DnSuffix(_) => "dn_suffix",
            Self::Manager(_) => "manager",
            Self::Credential(_) => "credential",
            Self::Enrolment(_) => "enrolment",
            Self::Attribute { .. } => "attribute",
            Self::Filter(_) => "filter",
            Self::Time(_) => "time",
        }
    }

    /// Whether the condition holds for what is looked at.
    pub fn holds(&self, view: &View<'_>) -> Holds {
        let subject = view.subject;
        let origin = subject.origin;
        match self {
            Self::Operation(list) => yes(list.contains(&subject.operation)),
            Self::Protocol(list) => yes(list.contains(&origin.protocol)),
            Self::Transport(list) => yes(list.contains(&origin.transport)),
            Self::Encrypted(wanted) => yes(*wanted == origin.encrypted()),
            Self::Service(names) => yes(names.contains(&origin.service)),
            Self::Client(names) => yes(names.contains(&origin.client)),
            Self::Listener(names) => known(listener(origin).map(|name| names.contains(name))),
            Self::Application(names) => known(origin.application.as_deref().map(|name| names.contains(name))),
            Self::Directory(names) => yes(names.contains(&origin.directory)),
            Self::Source(nets) => {
                let source = canonical(origin.source);
                yes(nets.iter().any(|net| net.contains(&source)))
            }
            Self::NasIdentifier(names) => known(origin.nas_identifier.as_deref().map(|name| names.contains(name))),
            Self::CalledStation(patterns) => known(origin.called_station.as_deref().map(|text| patterns.fit(text))),
            Self::CallingStation(patterns) => known(origin.calling_station.as_deref().map(|text| patterns.fit(text))),
            Self::Date(span) => yes(span.contains(subject.now)),
            Self::Time(windows) => yes(windows.iter().any(|window| window.contains(subject.now))),
            Self::User(_)
            | Self::SsoManaged(_)
            | Self::Sessions(_)
            | Self::Failures(_)
            | Self::Group(_)
            | Self::Privileged(_)
            | Self::DnSuffix(_)
            | Self::Manager(_)
            | Self::Credential(_)
            | Self::Enrolment(_)
            | Self::Attribute { .. }
            | Self::Filter(_) => match subject.person {
                Who::Known(person) => known(self.fits(person, view)),
                Who::Decoy => Holds::Assumed,
            },
        }
    }

    /// Whether a condition about a person holds; `None` where what it asks about is missing.
    fn fits(&self, person: &Person, view: &View<'_>) -> Option<bool> {
        let subject = view.subject;
        match self {
            Self::User(names) => Some(names.contains(&person.login)),
            Self::SsoManaged(wanted) => person.sso_managed.map(|managed| managed == *wanted),
            Self::Sessions(least) => subject.sessions.map(|open| open >= *least),
            Self::Failures(least) => subject.known.failures.map(|count| count >= *least),
            Self::Group(list) => Some(list.includes(person, view)),
            Self::Privileged(wanted) => Some(view.is_privileged(person) == *wanted),
            Self::DnSuffix(list) => Some(list.iter().any(|suffix| is_below(&person.dn, suffix))),
            Self::Manager(list) => list.includes(person),
            Self::Credential(list) => {
                let state = subject.known.account?;
                Some(list.iter().any(|credential| credential.is(state)))
            }
            Self::Enrolment(list) => {
                let record = subject.known.record?;
                Some(list.iter().any(|enrolment| enrolment.is(record, subject.now)))
            }
            Self::Attribute { name, values } => {
                // An attribute without any value says as little as one that is not there.
                let fetched = person.attributes.get(name).filter(|fetched| !fetched.is_empty())?;
                Some(fetched.iter().any(|value| values.contains(value)))
            }
            Self::Filter(list) => {
                let mut undefined = false;
                for filter in list {
                    match filter.matcher.matches(person) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => undefined = true,
                    }
                }
                (!undefined).then_some(false)
            }
            Self::Operation(_)
            | Self::Protocol(_)
            | Self::Transport(_)
            | Self::Encrypted(_)
            | Self::Service(_)
            | Self::Client(_)
            | Self::Listener(_)
            | Self::Application(_)
            | Self::Directory(_)
            | Self::Source(_)
            | Self::NasIdentifier(_)
            | Self::CalledStation(_)
            | Self::CallingStation(_)
            | Self::Date(_)
            | Self::Time(_) => None,
        }
    }

    /// What the condition is compared with, for explanations; none when it is not known.
    pub fn value(&self, view: &View<'_>) -> Option<String> {
        let subject = view.subject;
        let origin = subject.origin;
        match self {
            Self::Operation(_) => Some(subject.operation.to_string()),
            Self::Protocol(_) => Some(origin.protocol.to_string()),
            Self::Transport(_) => Some(origin.transport.to_string()),
            Self::Encrypted(_) => Some(origin.encrypted().to_string()),
            Self::Service(_) => Some(origin.service.to_string()),
            Self::Client(_) => Some(origin.client.to_string()),
            Self::Listener(_) => listener(origin).map(ToOwned::to_owned),
            Self::Application(_) => origin.application.as_deref().map(ToOwned::to_owned),
            Self::Directory(_) => Some(origin.directory.to_string()),
            Self::Source(_) => Some(origin.source.to_string()),
            Self::NasIdentifier(_) => origin.nas_identifier.clone(),
            Self::CalledStation(_) => origin.called_station.clone(),
            Self::CallingStation(_) => origin.calling_station.clone(),
            Self::Date(_) | Self::Time(_) => Some(subject.now.to_string()),
            Self::User(_) => view.person(|person| person.login.clone()),
            Self::SsoManaged(_) => view
                .person(|person| person.sso_managed)?
                .map(|managed| managed.to_string()),
            Self::Sessions(_) => subject.sessions.map(|open| open.to_string()),
            Self::Failures(_) => subject.known.failures.map(|count| count.to_string()),
            Self::Group(_) => view.person(|person| person.groups.join("; ")),
            Self::Privileged(_) => view.person(|person| view.is_privileged(person).to_string()),
            Self::DnSuffix(_) => view.person(|person| person.dn.clone()),
            Self::Manager(_) => view.person(|person| {
                let manager = person.manager.as_ref()?;
                Some(match &manager.login {
                    Some(login) => format!("{login} ({})", manager.dn),
                    None => manager.dn.clone(),
                })
            })?,
            Self::Credential(_) => {
                let state = subject.known.account?;
                Some(words(Credential::ALL.into_iter().filter(|one| one.is(state))))
            }
            Self::Enrolment(_) => {
                let record = subject.known.record?;
                Some(words(Enrolment::all().filter(|one| one.is(record, subject.now))))
            }
            Self::Attribute { name, .. } => view.person(|person| Some(person.attributes.get(name)?.join("; ")))?,
            Self::Filter(list) => view.person(|person| {
                let mut names: Vec<&str> = list.iter().flat_map(|filter| filter.matcher.attributes()).collect();
                names.sort_unstable();
                names.dedup();
                let known = names.iter().filter_map(|name| {
                    let values = person.attributes.get(*name)?;
                    Some(format!("{name}={}", values.join(", ")))
                });
                let known: Vec<String> = known.collect();
                (!known.is_empty()).then(|| known.join("; "))
            })?,
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
            (Self::Transport(wide), Self::Transport(narrow)) => all(wide, narrow),
            (Self::Encrypted(wide), Self::Transport(narrow)) => {
                narrow.iter().all(|transport| transport.is_encrypted() == *wide)
            }
            (Self::Transport(wide), Self::Encrypted(true)) => wide.contains(&Transport::Tls),
            (Self::Service(wide), Self::Service(narrow))
            | (Self::Client(wide), Self::Client(narrow))
            | (Self::Listener(wide), Self::Listener(narrow))
            | (Self::Application(wide), Self::Application(narrow))
            | (Self::Directory(wide), Self::Directory(narrow))
            | (Self::NasIdentifier(wide), Self::NasIdentifier(narrow))
            | (Self::User(wide), Self::User(narrow)) => wide.covers(narrow),
            (Self::CalledStation(wide), Self::CalledStation(narrow))
            | (Self::CallingStation(wide), Self::CallingStation(narrow)) => wide.cover(narrow),
            (Self::Group(wide), Self::Group(narrow)) => narrow
                .names
                .iter()
                .all(|group| wide.names.iter().any(|name| is_group(name, group))),
            (Self::Source(wide), Self::Source(narrow)) => narrow
                .iter()
                .all(|inner| wide.iter().any(|outer| outer.contains(inner))),
            (Self::DnSuffix(wide), Self::DnSuffix(narrow)) => narrow
                .iter()
                .all(|inner| wide.iter().any(|outer| dn_is_under(inner, outer))),
            (Self::Sessions(wide), Self::Sessions(narrow)) | (Self::Failures(wide), Self::Failures(narrow)) => {
                wide <= narrow
            }
            (Self::Encrypted(wide), Self::Encrypted(narrow))
            | (Self::Privileged(wide), Self::Privileged(narrow))
            | (Self::SsoManaged(wide), Self::SsoManaged(narrow)) => wide == narrow,
            (Self::Date(wide), Self::Date(narrow)) => wide.covers(narrow),
            (Self::Time(wide), Self::Time(narrow)) => all(wide, narrow),
            (Self::Manager(wide), Self::Manager(narrow)) => {
                let covers = |wide: &Option<Names>, narrow: &Option<Names>| match (wide, narrow) {
                    (_, None) => true,
                    (Some(wide), Some(narrow)) => wide.covers(narrow),
                    (None, Some(_)) => false,
                };
                covers(&wide.logins, &narrow.logins) && covers(&wide.dns, &narrow.dns)
            }
            (Self::Credential(wide), Self::Credential(narrow)) => all(wide, narrow),
            (Self::Enrolment(wide), Self::Enrolment(narrow)) => all(wide, narrow),
            (
                Self::Attribute { name, values },
                Self::Attribute {
                    name: other,
                    values: narrow,
                },
            ) => name == other && values.covers(narrow),
            (Self::Filter(wide), Self::Filter(narrow)) => narrow
                .iter()
                .all(|inner| wide.iter().any(|outer| outer.matcher == inner.matcher)),
            (
                Self::Operation(_)
                | Self::Protocol(_)
                | Self::Transport(_)
                | Self::Encrypted(_)
                | Self::Service(_)
                | Self::Client(_)
                | Self::Listener(_)
                | Self::Application(_)
                | Self::Directory(_)
                | Self::Source(_)
                | Self::NasIdentifier(_)
                | Self::CalledStation(_)
                | Self::CallingStation(_)
                | Self::Date(_)
                | Self::SsoManaged(_)
                | Self::User(_)
                | Self::Sessions(_)
                | Self::Failures(_)
                | Self::Group(_)
                | Self::Privileged(_)
                | Self::DnSuffix(_)
                | Self::Manager(_)
                | Self::Credential(_)
                | Self::Enrolment(_)
                | Self::Attribute { .. }
                | Self::Filter(_)
                | Self::Time(_),
                _,
            ) => false,
        }
    }

    /// The attributes of entries that it asks about, in lower case.
    pub fn attributes(&self) -> Vec<&str> {
        match self {
            Self::Attribute { name, .. } => vec![name],
            Self::Filter(list) => list.iter().flat_map(|filter| filter.matcher.attributes()).collect(),
            Self::Operation(_)
            | Self::Protocol(_)
            | Self::Transport(_)
            | Self::Encrypted(_)
            | Self::Service(_)
            | Self::Client(_)
            | Self::Listener(_)
            | Self::Application(_)
            | Self::Directory(_)
            | Self::Source(_)
            | Self::NasIdentifier(_)
            | Self::CalledStation(_)
            | Self::CallingStation(_)
            | Self::Date(_)
            | Self::SsoManaged(_)
            | Self::User(_)
            | Self::Sessions(_)
            | Self::Failures(_)
            | Self::Group(_)
            | Self::Privileged(_)
            | Self::DnSuffix(_)
            | Self::Manager(_)
            | Self::Credential(_)
            | Self::Enrolment(_)
            | Self::Time(_) => Vec::new(),
        }
    }
}

impl GroupList {
    /// Takes normalised distinguished names, or bare common names in lower case.
    pub fn new(names: Vec<String>) -> Self {
        Self {
            names,
            numbers: Vec::new(),
        }
    }

    /// As they are compared.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Takes the numbers of its groups among all of the policy.
    pub(super) fn number(&mut self, groups: &mut Groups) {
        self.numbers = self.names.iter().map(|name| groups.number(name)).collect();
    }

    fn includes(&self, person: &Person, view: &View<'_>) -> bool {
        let compared = |name: &String| person.groups.iter().any(|group| is_group(name, group));
        if self.numbers.len() != self.names.len() {
            return self.names.iter().any(compared);
        }
        let mut named = self.names.iter().zip(&self.numbers);
        named.any(|(name, number)| view.is_member(person, *number).unwrap_or_else(|| compared(name)))
    }
}

/// The numbers say the same as the names.
impl PartialEq for GroupList {
    fn eq(&self, other: &Self) -> bool {
        self.names == other.names
    }
}

impl ManagerList {
    /// Whether login names are asked about, and not distinguished names alone.
    pub const fn asks_login(&self) -> bool {
        self.logins.is_some()
    }

    fn includes(&self, person: &Person) -> Option<bool> {
        let manager = person.manager.as_ref()?;
        if self.dns.as_ref().is_some_and(|dns| dns.contains(&manager.dn)) {
            return Some(true);
        }
        let Some(logins) = &self.logins else {
            return Some(false);
        };
        manager.login.as_deref().map(|login| logins.contains(login))
    }
}

/// The attributes that were fetched. What is not there may be hidden from the account for look-ups: comparisons with
/// it are undefined.
impl Entry for Person {
    const ABSENT: Option<bool> = None;

    fn any(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> Option<bool> {
        let values = self.attributes.get(name).filter(|values| !values.is_empty())?;
        Some(values.iter().any(|value| test(value.as_bytes())))
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Attribute { name, values } = self {
            return write!(f, "attribute.{name} is {values}");
        }
        let verb = if matches!(self, Self::Sessions(_) | Self::Failures(_)) {
            "are"
        } else if matches!(self, Self::Filter(_)) {
            "fits"
        } else {
            "is"
        };
        write!(f, "{} {verb} ", self.key())?;
        match self {
            Self::Operation(items) => joined(f, items),
            Self::Protocol(items) => joined(f, items),
            Self::Transport(items) => joined(f, items),
            Self::Source(items) => joined(f, items),
            Self::Encrypted(wanted) | Self::SsoManaged(wanted) | Self::Privileged(wanted) => write!(f, "{wanted}"),
            Self::Service(names)
            | Self::Client(names)
            | Self::Listener(names)
            | Self::Application(names)
            | Self::Directory(names)
            | Self::NasIdentifier(names)
            | Self::User(names)
            | Self::Attribute { values: names, .. } => names.fmt(f),
            Self::CalledStation(patterns) | Self::CallingStation(patterns) => patterns.fmt(f),
            Self::Group(list) => joined(f, list.iter()),
            Self::DnSuffix(items) => joined(f, items),
            Self::Manager(list) => joined(f, [&list.logins, &list.dns].into_iter().flatten()),
            Self::Credential(items) => joined(f, items),
            Self::Enrolment(items) => joined(f, items),
            Self::Filter(list) => joined(f, list.iter().map(|filter| &filter.text)),
            Self::Time(items) => joined(f, items),
            Self::Date(span) => span.fmt(f),
            Self::Sessions(least) | Self::Failures(least) => write!(f, "{least} or more"),
        }
    }
}

fn yes(holds: bool) -> Holds {
    if holds { Holds::Yes } else { Holds::No }
}

fn known(holds: Option<bool>) -> Holds {
    holds.map_or(Holds::Missing, yes)
}

fn words(all: impl Iterator<Item = impl fmt::Display>) -> String {
    all.map(|one| one.to_string()).collect::<Vec<_>>().join(", ")
}

/// An LDAP listener is the client, too.
fn listener(origin: &Origin) -> Option<&str> {
    match origin.protocol {
        Protocol::Ldap => Some(&origin.client),
        Protocol::Radius => origin.listener.as_deref(),
    }
}

/// Whether `written`, a normalised distinguished name or a bare `cn` in small letters, is the group with the
/// normalised distinguished name `group`.
pub fn is_group(written: &str, group: &str) -> bool {
    written == group || bare_name(group) == Some(written)
}

/// The bare `cn` of the group with the normalised distinguished name `group`.
pub(super) fn bare_name(group: &str) -> Option<&str> {
    let bare = group.strip_prefix("cn=")?.split(',').next()?;
    (!bare.contains('=')).then_some(bare)
}

/// An IPv4 address that came mapped into IPv6 is the IPv4 address.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
