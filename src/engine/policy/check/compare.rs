//! What can be said of conditions by their texts alone.

use ipnet::IpNet;

use super::Place;
use crate::engine::policy::{Condition, GroupList, Names, Rule};
use crate::engine::request::{Operation, Protocol, Transport};

/// The key that a condition is written under.
pub(super) const fn key(condition: &Condition) -> &'static str {
    condition.key()
}

/// The names that a condition lists, where these are plain names.
pub(super) fn names(condition: &Condition) -> Option<Vec<&str>> {
    match condition {
        Condition::Service(list)
        | Condition::Client(list)
        | Condition::Listener(list)
        | Condition::Application(list)
        | Condition::Directory(list)
        | Condition::NasIdentifier(list)
        | Condition::User(list) => Some(list.iter().collect()),
        Condition::Operation(_)
        | Condition::Protocol(_)
        | Condition::Transport(_)
        | Condition::Source(_)
        | Condition::Encrypted(_)
        | Condition::CalledStation(_)
        | Condition::CallingStation(_)
        | Condition::Date(_)
        | Condition::Time(_)
        | Condition::SsoManaged(_)
        | Condition::Group(_)
        | Condition::Privileged(_)
        | Condition::DnSuffix(_)
        | Condition::Manager(_)
        | Condition::Credential(_)
        | Condition::Enrolment(_)
        | Condition::Attribute { .. }
        | Condition::Filter(_)
        | Condition::Sessions(_)
        | Condition::Failures(_) => None,
    }
}

/// Whether what a condition asks about is known of every login, somebody's or nobody's, so that rules that deny and
/// rules that let in read it alike.
pub(super) fn is_always_known(condition: &Condition) -> bool {
    match condition {
        Condition::Operation(_)
        | Condition::Protocol(_)
        | Condition::Transport(_)
        | Condition::Service(_)
        | Condition::Client(_)
        | Condition::Directory(_)
        | Condition::Source(_)
        | Condition::Encrypted(_)
        | Condition::Date(_)
        | Condition::Time(_) => true,
        Condition::NasIdentifier(_)
        | Condition::Listener(_)
        | Condition::Application(_)
        | Condition::CalledStation(_)
        | Condition::CallingStation(_)
        | Condition::User(_)
        | Condition::SsoManaged(_)
        | Condition::Group(_)
        | Condition::Privileged(_)
        | Condition::DnSuffix(_)
        | Condition::Manager(_)
        | Condition::Credential(_)
        | Condition::Enrolment(_)
        | Condition::Attribute { .. }
        | Condition::Filter(_)
        | Condition::Sessions(_)
        | Condition::Failures(_) => false,
    }
}

/// Whether a condition is about the person.
pub(super) fn is_about_people(condition: &Condition) -> bool {
    match condition {
        Condition::User(_)
        | Condition::SsoManaged(_)
        | Condition::Group(_)
        | Condition::Privileged(_)
        | Condition::DnSuffix(_)
        | Condition::Manager(_)
        | Condition::Credential(_)
        | Condition::Enrolment(_)
        | Condition::Attribute { .. }
        | Condition::Filter(_)
        | Condition::Sessions(_)
        | Condition::Failures(_) => true,
        Condition::Operation(_)
        | Condition::Protocol(_)
        | Condition::Transport(_)
        | Condition::Service(_)
        | Condition::Client(_)
        | Condition::Listener(_)
        | Condition::Application(_)
        | Condition::Directory(_)
        | Condition::Source(_)
        | Condition::Encrypted(_)
        | Condition::NasIdentifier(_)
        | Condition::CalledStation(_)
        | Condition::CallingStation(_)
        | Condition::Date(_)
        | Condition::Time(_) => false,
    }
}

/// Whether a condition asks about what only RADIUS has.
pub(super) fn is_of_radius(condition: &Condition) -> bool {
    matches!(key(condition), "nas_identifier" | "called_station" | "calling_station")
}

/// Whether a condition holds at a client or listener; `None` where that depends on the login.
pub(super) fn at(condition: &Condition, place: &Place) -> Option<bool> {
    let any = |list: &[&str], name: &str| Some(list.iter().any(|item| item.eq_ignore_ascii_case(name)));
    match condition {
        Condition::Protocol(list) => Some(list.contains(&place.protocol)),
        Condition::Service(_) => any(&names(condition)?, &place.service),
        Condition::Client(_) => any(&names(condition)?, &place.client),
        Condition::Directory(_) => any(&names(condition)?, &place.directory),
        Condition::Encrypted(wanted) => {
            let is = |transport: &Transport| transport.is_encrypted() == *wanted;
            all_alike(place.transports.iter().map(is))
        }
        Condition::Transport(list) => all_alike(place.transports.iter().map(|transport| list.contains(transport))),
        // An LDAP listener is the client, too.
        Condition::Listener(_) if place.protocol == Protocol::Ldap => any(&names(condition)?, &place.client),
        Condition::Source(nets) if !place.sources.is_empty() => {
            let inside = |source: &IpNet| nets.iter().any(|net| net.contains(source));
            let outside = |source: &IpNet| nets.iter().all(|net| !overlap(net, source));
            let sources = || place.sources.iter();
            match (sources().all(inside), sources().all(outside)) {
                (true, _) => Some(true),
                (false, true) => Some(false),
                (false, false) => None,
            }
        }
        Condition::Operation(_)
        | Condition::Source(_)
        | Condition::Listener(_)
        | Condition::Application(_)
        | Condition::NasIdentifier(_)
        | Condition::CalledStation(_)
        | Condition::CallingStation(_)
        | Condition::Date(_)
        | Condition::Time(_)
        | Condition::User(_)
        | Condition::SsoManaged(_)
        | Condition::Group(_)
        | Condition::Privileged(_)
        | Condition::DnSuffix(_)
        | Condition::Manager(_)
        | Condition::Credential(_)
        | Condition::Enrolment(_)
        | Condition::Attribute { .. }
        | Condition::Filter(_)
        | Condition::Sessions(_)
        | Condition::Failures(_) => None,
    }
}

/// Whether the nets of `wide` together hold all those of `narrow`.
pub(super) fn covers_sources(wide: &Condition, narrow: &Condition) -> bool {
    let (Condition::Source(wide), Condition::Source(narrow)) = (wide, narrow) else {
        return false;
    };
    let joined = IpNet::aggregate(wide);
    narrow.iter().all(|net| joined.iter().any(|outer| outer.contains(net)))
}

/// Whether nobody comes to both rules, by what they say of the same thing.
pub(super) fn are_apart(one: &Rule, other: &Rule) -> bool {
    let against = |condition: &Condition| other.when.iter().any(|against| exclude(condition, against));
    one.when.iter().any(against)
}

/// Whether two conditions never hold of the same login.
pub(super) fn exclude(one: &Condition, other: &Condition) -> bool {
    match (one, other) {
        (Condition::Operation(one), Condition::Operation(other)) => one.iter().all(|item| !other.contains(item)),
        (Condition::Protocol(one), Condition::Protocol(other)) => one.iter().all(|item| !other.contains(item)),
        (Condition::Transport(one), Condition::Transport(other)) => one.iter().all(|item| !other.contains(item)),
        (Condition::Encrypted(one), Condition::Encrypted(other))
        | (Condition::Privileged(one), Condition::Privileged(other))
        | (Condition::SsoManaged(one), Condition::SsoManaged(other)) => one != other,
        (Condition::Source(one), Condition::Source(other)) => {
            one.iter().all(|net| other.iter().all(|against| !overlap(net, against)))
        }
        (_, _) if key(one) == key(other) => match (names(one), names(other)) {
            (Some(one), Some(other)) => one
                .iter()
                .all(|name| other.iter().all(|against| !name.eq_ignore_ascii_case(against))),
            (_, _) => false,
        },
        (_, _) => false,
    }
}

/// A condition as several that each hold of a part of what it holds of, together of all; itself where it has no parts.
pub(super) fn parts(condition: &Condition) -> Vec<Condition> {
    macro_rules! each {
        ($variant:ident, $list:expr) => {
            $list
                .iter()
                .map(|item| Condition::$variant(vec![item.clone()]))
                .collect()
        };
    }
    macro_rules! each_name {
        ($variant:ident, $list:expr) => {
            $list
                .iter()
                .map(|name| Condition::$variant(Names::new(vec![name.to_owned()])))
                .collect()
        };
    }
    match condition {
        Condition::Operation(list) => each!(Operation, list),
        Condition::Protocol(list) => each!(Protocol, list),
        Condition::Transport(list) => each!(Transport, list),
        Condition::Service(list) => each_name!(Service, list),
        Condition::Client(list) => each_name!(Client, list),
        Condition::Listener(list) => each_name!(Listener, list),
        Condition::Application(list) => each_name!(Application, list),
        Condition::Directory(list) => each_name!(Directory, list),
        Condition::Source(list) => each!(Source, list),
        Condition::NasIdentifier(list) => each_name!(NasIdentifier, list),
        Condition::Time(list) => each!(Time, list),
        Condition::User(list) => each_name!(User, list),
        Condition::Group(list) => list
            .iter()
            .map(|name| Condition::Group(GroupList::new(vec![name.to_owned()])))
            .collect(),
        Condition::DnSuffix(list) => each!(DnSuffix, list),
        Condition::Credential(list) => each!(Credential, list),
        Condition::Enrolment(list) => each!(Enrolment, list),
        Condition::Encrypted(_)
        | Condition::CalledStation(_)
        | Condition::CallingStation(_)
        | Condition::Date(_)
        | Condition::SsoManaged(_)
        | Condition::Privileged(_)
        | Condition::Manager(_)
        | Condition::Attribute { .. }
        | Condition::Filter(_)
        | Condition::Sessions(_)
        | Condition::Failures(_) => vec![condition.clone()],
    }
}

/// All that a condition of this key can ask about, one by one, where these are few.
pub(super) fn domain(key: &str) -> Option<Vec<Condition>> {
    Some(match key {
        "operation" => [Operation::Login, Operation::PasswordChange, Operation::Recovery]
            .map(|one| Condition::Operation(vec![one]))
            .into(),
        "protocol" => [Protocol::Radius, Protocol::Ldap]
            .map(|one| Condition::Protocol(vec![one]))
            .into(),
        "encrypted" => [true, false].map(Condition::Encrypted).into(),
        _ => return None,
    })
}

fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

fn all_alike(mut values: impl Iterator<Item = bool>) -> Option<bool> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}
