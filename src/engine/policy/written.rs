//! Conditions as they are written, and what they are compiled to.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::Deserialize;

use crate::engine::facts::normalise_dn;
use crate::engine::filter::{Filter, Matcher};
use crate::engine::policy::condition::{Condition, GroupList, ManagerList, WrittenFilter};
use crate::engine::policy::names::{Names, Patterns};
use crate::engine::policy::schedule::{Span, Window};
use crate::engine::policy::state::{Credential, Enrolment};
use crate::engine::policy::template;
use crate::engine::request::{Operation, Protocol, Transport};

/// `when` or `unless`.
#[derive(Default, Deserialize)]
pub(super) struct RawConditions {
    operation: Option<Vec<Operation>>,
    protocol: Option<Vec<Protocol>>,
    transport: Option<Vec<Transport>>,
    encrypted: Option<bool>,
    service: Option<Vec<String>>,
    client: Option<Vec<String>>,
    listener: Option<Vec<String>>,
    application: Option<Vec<String>>,
    directory: Option<Vec<String>>,
    source: Option<Vec<RawNet>>,
    nas_identifier: Option<Vec<String>>,
    called_station: Option<Vec<String>>,
    calling_station: Option<Vec<String>>,
    date: Option<Span>,
    time: Option<Vec<Window>>,
    pub(super) user: Option<Vec<String>>,
    sso_managed: Option<bool>,
    sessions: Option<AtLeast>,
    failures: Option<AtLeast>,
    group: Option<Vec<String>>,
    privileged: Option<bool>,
    dn_suffix: Option<Vec<String>>,
    manager: Option<Vec<String>>,
    credential: Option<Vec<Credential>>,
    enrolment: Option<Vec<Enrolment>>,
    attribute: Option<BTreeMap<String, Vec<String>>>,
    filter: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct AtLeast {
    at_least: usize,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct RawNet(IpNet);

impl TryFrom<String> for RawNet {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let net = text
            .parse::<std::net::IpAddr>()
            .map(IpNet::from)
            .or_else(|_| text.parse::<IpNet>());
        net.map(|net| Self(net.trunc()))
            .map_err(|_| format!("`{text}` is neither an address nor a prefix such as 10.1.0.0/16"))
    }
}

/// A condition with the path of keys that it stands under, within its table.
pub(super) type Placed = (Vec<String>, Condition);

impl RawConditions {
    /// The conditions, those first that cost least to judge; what is wrong goes to `say` with its keys.
    pub(super) fn compile(self, mut say: impl FnMut(&[&str], &str)) -> Vec<Placed> {
        let mut placed: Vec<Placed> = Vec::new();
        macro_rules! list {
            ($field:ident, $map:expr) => {
                if let Some(list) = self.$field {
                    if list.is_empty() {
                        say(&[stringify!($field)], EMPTY);
                    } else {
                        placed.push((vec![stringify!($field).into()], $map(list)));
                    }
                }
            };
        }
        macro_rules! one {
            ($field:ident, $map:expr) => {
                if let Some(value) = self.$field {
                    placed.push((vec![stringify!($field).into()], $map(value)));
                }
            };
        }
        macro_rules! at_least {
            ($field:ident, $map:expr) => {
                match self.$field {
                    Some(AtLeast { at_least: 0 }) => {
                        say(
                            &[stringify!($field)],
                            "at_least is 0, which everybody has; write 1 or more",
                        );
                    }
                    Some(AtLeast { at_least }) => placed.push((vec![stringify!($field).into()], $map(at_least))),
                    None => {}
                }
            };
        }
        let dns = |list: Vec<String>| list.iter().map(|item| normalise_dn(item)).collect::<Vec<String>>();
        list!(operation, Condition::Operation);
        list!(protocol, Condition::Protocol);
        list!(transport, Condition::Transport);
        one!(encrypted, Condition::Encrypted);
        list!(service, |list| Condition::Service(Names::new(list)));
        list!(client, |list| Condition::Client(Names::new(list)));
        list!(listener, |list| Condition::Listener(Names::new(list)));
        list!(application, |list| Condition::Application(Names::new(list)));
        list!(directory, |list| Condition::Directory(Names::new(list)));
        list!(source, |list: Vec<RawNet>| Condition::Source(
            list.into_iter().map(|net| net.0).collect()
        ));
        list!(nas_identifier, |list| Condition::NasIdentifier(Names::new(list)));
        list!(called_station, |list| Condition::CalledStation(Patterns::new(list)));
        list!(calling_station, |list| Condition::CallingStation(Patterns::new(list)));
        one!(date, Condition::Date);
        one!(sso_managed, Condition::SsoManaged);
        list!(user, |list| Condition::User(logins(list)));
        at_least!(sessions, Condition::Sessions);
        at_least!(failures, Condition::Failures);
        list!(group, |list| Condition::Group(GroupList::new(dns(list))));
        one!(privileged, Condition::Privileged);
        list!(dn_suffix, |list| Condition::DnSuffix(dns(list)));
        list!(manager, |list| Condition::Manager(managers(list)));
        list!(credential, Condition::Credential);
        list!(enrolment, Condition::Enrolment);
        if let Some(table) = self.attribute {
            if table.is_empty() {
                say(&["attribute"], "is empty; write { name = [\"value\"] }");
            }
            for (name, values) in table {
                let keys = ["attribute", name.as_str()];
                if values.is_empty() {
                    say(&keys, EMPTY);
                } else if let Some(fault) = fault_of(&name) {
                    say(&keys, fault);
                } else {
                    let condition = Condition::Attribute {
                        name: name.to_lowercase(),
                        values: Names::new(values),
                    };
                    placed.push((keys.map(ToOwned::to_owned).to_vec(), condition));
                }
            }
        }
        if let Some(list) = self.filter {
            if list.is_empty() {
                say(&["filter"], EMPTY);
            }
            let mut filters = Vec::new();
            for (index, text) in list.into_iter().enumerate() {
                match filter(text) {
                    Ok(filter) => filters.push(filter),
                    Err(message) => say(&["filter", &index.to_string()], &message),
                }
            }
            if !filters.is_empty() {
                placed.push((vec!["filter".into()], Condition::Filter(filters)));
            }
        }
        list!(time, Condition::Time);
        placed
    }
}

/// A list of login names.
pub(super) fn logins(list: Vec<String>) -> Names {
    Names::new(list.iter().map(|name| name.trim().to_owned()).collect())
}

/// What has an `=` is a distinguished name.
fn managers(list: Vec<String>) -> ManagerList {
    let (dns, names): (Vec<String>, Vec<String>) = list.into_iter().partition(|name| name.contains('='));
    let some = |list: Vec<String>| (!list.is_empty()).then(|| logins(list));
    ManagerList {
        logins: some(names),
        dns: some(dns.iter().map(|dn| normalise_dn(dn)).collect()),
    }
}

fn filter(text: String) -> Result<WrittenFilter, String> {
    let filter = Filter::parse(&text).map_err(|error| error.to_string())?;
    let matcher = Matcher::new(&filter);
    if !matcher.is_defined() {
        return Err(
            "has a matching rule that is not known here; compare with `=`, `>=`, `<=` and `*`, or let the directory find groups"
                .into(),
        );
    }
    if let Some((name, fault)) = matcher.attributes().find_map(|name| Some((name, fault_of(name)?))) {
        return Err(format!("`{name}`: {fault}"));
    }
    Ok(WrittenFilter { text, matcher })
}

/// Why an attribute cannot be asked about.
fn fault_of(name: &str) -> Option<&'static str> {
    if template::is_secret(name) {
        return Some("is a secret of the directory and is not compared with");
    }
    let sound = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    (name.is_empty() || !name.bytes().all(sound)).then_some("is no name of an attribute")
}

const EMPTY: &str = "is an empty list, which nothing matches; remove it, or list something";
