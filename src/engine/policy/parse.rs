//! Reading policy files, and what is wrong with them.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Deserialize;

use crate::document::{Document, Fault, Faults, Source};
use crate::engine::facts::normalise_dn;
use crate::engine::policy::{
    Audit, Condition, DEFAULT_PROMPT, MAX_PROMPT, Order, Policy, Requirement, Rule, Ruling, Terms, Window,
};
use crate::engine::request::Protocol;

/// Reads the rules of several files, in order; every fault goes to `faults`. The policy is whole only
/// when none of the faults is an error.
pub fn parse(sources: &[Source], faults: &mut Faults) -> Policy {
    let mut rules: Vec<Rule> = Vec::new();
    let mut places: HashMap<String, String> = HashMap::new();
    for source in sources {
        let Some(document) = Document::parse(source, faults) else {
            continue;
        };
        document.only(&["rule"], faults);
        for (index, raw) in document.items::<RawRule>("rule", faults) {
            let index = index.to_string();
            let at = |keys: &[&'static str]| -> Vec<&str> {
                ["rule", &index].into_iter().chain(keys.iter().copied()).collect()
            };
            let place = format!("{}:{}", source.file().display(), document.line(&at(&[])));
            if let Some(first) = places.insert(raw.name.clone(), place.clone()) {
                faults.0.push(document.fault(
                    &at(&["name"]),
                    format!("a rule named \"{}\" stands at {first} already", raw.name),
                ));
            }
            let rule = match raw.compile(place, |keys, message| document.fault(&at(keys), message)) {
                Ok(rule) => rule,
                Err(found) => {
                    faults.0.extend(found);
                    continue;
                }
            };
            if let Some(before) = rules.iter().find(|before| before.shadows(&rule)) {
                let message = format!(
                    "rule \"{}\" is never reached: rule \"{}\" ({}) matches everything that it would; put it before that one, or remove it",
                    rule.name, before.name, before.place
                );
                faults.0.push(document.warning(&at(&["name"]), message));
            }
            rules.push(rule);
        }
    }
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for source in sources {
        digest.update(source.text().as_bytes());
    }
    Policy {
        rules,
        digest: data_encoding::HEXLOWER.encode(digest.finish().as_ref()),
    }
}

#[derive(Deserialize)]
struct RawRule {
    name: String,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    when: RawConditions,
    #[serde(default)]
    unless: RawConditions,
    #[serde(default)]
    deny: bool,
    #[serde(default)]
    require: Option<Requirement>,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    user_failures: Option<u32>,
    #[serde(default)]
    max_sessions: Option<usize>,
    #[serde(default)]
    audit: RawAudit,
    #[serde(default)]
    prompt: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawConditions {
    protocol: Option<Vec<Protocol>>,
    service: Option<Vec<String>>,
    client: Option<Vec<String>>,
    directory: Option<Vec<String>>,
    source: Option<Vec<RawNet>>,
    encrypted: Option<bool>,
    nas_identifier: Option<Vec<String>>,
    time: Option<Vec<Window>>,
    user: Option<Vec<String>>,
    group: Option<Vec<String>>,
    dn_suffix: Option<Vec<String>>,
    sessions: Option<RawSessions>,
}

#[derive(Deserialize)]
struct RawSessions {
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

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawAudit {
    #[default]
    All,
    Failures,
}

impl RawRule {
    fn compile(self, place: String, fault: impl Fn(&[&'static str], String) -> Fault) -> Result<Rule, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut say = |keys: &[&'static str], message: &str| faults.push(fault(keys, message.to_owned()));
        if self.name.trim().is_empty() {
            say(&["name"], "is empty; the audit names rules");
        }
        if let Some(prompt) = &self.prompt
            && (prompt.chars().count() > MAX_PROMPT || prompt.chars().any(char::is_control) || prompt.trim().is_empty())
        {
            say(&["prompt"], "must be one line of 1 to 120 characters");
        }
        if self.max_sessions == Some(0) {
            say(
                &["max_sessions"],
                "is 0, which lets nobody in; write deny = true for that",
            );
        }
        if self.max_sessions.is_some() && self.deny {
            say(&["max_sessions"], "does nothing beside `deny`");
        }
        for (table, raw) in [("when", &self.when), ("unless", &self.unless)] {
            if raw.sessions.as_ref().is_some_and(|sessions| sessions.at_least == 0) {
                say(
                    &[table, "sessions"],
                    "at_least is 0, which everybody has; write 1 or more",
                );
            }
        }
        let mut conditions = |table: &'static str, raw: RawConditions| {
            let (list, empty) = raw.compile();
            for key in empty {
                say(
                    &[table, key],
                    "is an empty list, which nothing matches; remove it, or list something",
                );
            }
            list
        };
        let (when, unless) = (conditions("when", self.when), conditions("unless", self.unless));
        let ruling = match (self.deny, self.require) {
            (true, None) => Some(Ruling::Deny),
            (false, Some(requirement)) => Some(Ruling::Require(Terms {
                requirement,
                order: self.order,
                user_failures: self.user_failures,
                max_sessions: self.max_sessions,
                audit: match self.audit {
                    RawAudit::All => Audit::All,
                    RawAudit::Failures => Audit::Failures,
                },
                prompt: self.prompt.as_deref().unwrap_or(DEFAULT_PROMPT).into(),
            })),
            (true, Some(_)) => {
                say(&["deny"], "stands beside `require`; a rule either denies or requires");
                None
            }
            (false, None) => {
                say(&[], "says neither `deny = true` nor `require = ...`");
                None
            }
        };
        match ruling {
            Some(ruling) if faults.is_empty() => Ok(Rule {
                name: Arc::from(self.name),
                place,
                when,
                unless,
                ruling,
            }),
            _ => Err(faults),
        }
    }
}

impl RawConditions {
    /// The conditions, and the keys whose lists are empty.
    fn compile(self) -> (Vec<Condition>, Vec<&'static str>) {
        let mut conditions = Vec::new();
        let mut empty = Vec::new();
        let lower = |list: Vec<String>| {
            list.into_iter()
                .map(|item| item.trim().to_lowercase())
                .collect::<Vec<String>>()
        };
        let dns = |list: Vec<String>| list.iter().map(|item| normalise_dn(item)).collect::<Vec<String>>();
        macro_rules! list {
            ($field:ident, $variant:ident, $map:expr) => {
                if let Some(list) = self.$field {
                    if list.is_empty() {
                        empty.push(stringify!($field));
                    } else {
                        conditions.push(Condition::$variant($map(list)));
                    }
                }
            };
        }
        list!(protocol, Protocol, |list| list);
        list!(service, Service, |list| list);
        list!(client, Client, |list| list);
        list!(directory, Directory, |list| list);
        list!(source, Source, |list: Vec<RawNet>| list
            .into_iter()
            .map(|net| net.0)
            .collect());
        list!(nas_identifier, NasIdentifier, |list| list);
        list!(time, Time, |list| list);
        list!(user, User, lower);
        list!(group, Group, dns);
        list!(dn_suffix, DnSuffix, dns);
        if let Some(wanted) = self.encrypted {
            conditions.push(Condition::Encrypted(wanted));
        }
        if let Some(sessions) = self.sessions {
            conditions.push(Condition::Sessions(sessions.at_least));
        }
        (conditions, empty)
    }
}

impl Rule {
    /// Whether nothing that `later` matches gets past this rule.
    fn shadows(&self, later: &Self) -> bool {
        // A rule with exceptions lets those through; missing data lets a deny rule match where an
        // allow rule does not, so only like rules are compared.
        let alike = matches!(
            (&self.ruling, &later.ruling),
            (Ruling::Deny, Ruling::Deny) | (Ruling::Require(_), Ruling::Require(_))
        ) || self.when.is_empty();
        alike
            && self.unless.is_empty()
            && self
                .when
                .iter()
                .all(|wide| later.when.iter().any(|narrow| wide.covers(narrow)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use super::*;
    use crate::clock::Timestamp;
    use crate::engine::facts::{Person, UserKey};
    use crate::engine::policy::{Subject, Who};
    use crate::engine::request::{LoginName, Origin};

    fn read(text: &str) -> (Policy, Vec<String>) {
        let mut faults = Faults::default();
        let policy = parse(&[Source::new(Path::new("p.toml"), text)], &mut faults);
        (policy, faults.0.iter().map(ToString::to_string).collect())
    }

    fn origin(service: &str, source: &str) -> Origin {
        Origin {
            protocol: Protocol::Radius,
            service: service.into(),
            client: "c1".into(),
            directory: "corp".into(),
            source: source.parse::<IpAddr>().unwrap(),
            nas_identifier: None,
            calling_station: None,
            encrypted: false,
        }
    }

    fn person(groups: &[&str]) -> Person {
        Person {
            key: UserKey::new("corp", "1"),
            directory: "corp".into(),
            dn: "uid=ana,ou=people,dc=example,dc=org".into(),
            login: "ana".into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            attributes: Default::default(),
            enabled: true,
        }
    }

    fn decide(policy: &Policy, origin: &Origin, who: Who<'_>) -> Option<String> {
        let login = LoginName::parse("ana").unwrap();
        let subject = Subject {
            login: &login,
            origin,
            person: who,
            sessions: None,
            now: Timestamp::from_secs(1_767_600_000),
        };
        let decided = policy.decide(&subject).map(|rule| rule.name.to_string());
        assert_eq!(policy.explain(&subject).decided_by, decided, "explain and decide agree");
        decided
    }

    const POLICY: &str = r#"
[[rule]]
name = "no contractors"
when = { group = ["cn=contractors,ou=groups,dc=example,dc=org"] }
deny = true

[[rule]]
name = "only from door1"
when = { nas_identifier = ["door2"] }
deny = true

[[rule]]
name = "vpn"
when = { service = ["vpn"], group = ["staff"] }
unless = { source = ["10.9.0.0/16"] }
require = { all = ["password", "totp"] }
"#;

    #[test]
    fn the_first_match_wins_and_missing_data_never_allows() {
        let (policy, faults) = read(&POLICY.replace("[\"door2\"]", "[\"door2\"], service = [\"door\"]"));
        assert!(faults.is_empty(), "{faults:?}");
        let staff = person(&["cn=staff,ou=groups,dc=example,dc=org"]);
        let both = person(&[
            "cn=contractors,ou=groups,dc=example,dc=org",
            "cn=staff,ou=groups,dc=example,dc=org",
        ]);
        let vpn = origin("vpn", "192.0.2.1");
        assert_eq!(decide(&policy, &vpn, Who::Known(&staff)).as_deref(), Some("vpn"));
        assert_eq!(
            decide(&policy, &vpn, Who::Known(&both)).as_deref(),
            Some("no contractors")
        );
        assert_eq!(decide(&policy, &vpn, Who::Known(&person(&[]))), None, "default deny");
        assert_eq!(decide(&policy, &origin("wiki", "192.0.2.1"), Who::Known(&staff)), None);
        assert_eq!(
            decide(&policy, &origin("vpn", "10.9.1.1"), Who::Known(&staff)),
            None,
            "unless"
        );
        assert_eq!(
            decide(&policy, &vpn, Who::Decoy).as_deref(),
            Some("vpn"),
            "nobody is asked what somebody would be"
        );
    }

    #[test]
    fn a_missing_datum_matches_a_deny() {
        let (policy, _) = read(POLICY);
        let staff = person(&["cn=staff,ou=groups,dc=example,dc=org"]);
        let mut vpn = origin("vpn", "192.0.2.1");
        assert_eq!(
            decide(&policy, &vpn, Who::Known(&staff)).as_deref(),
            Some("only from door1")
        );
        vpn.nas_identifier = Some("door1".into());
        assert_eq!(decide(&policy, &vpn, Who::Known(&staff)).as_deref(), Some("vpn"));
    }

    #[test]
    fn faults_have_places_and_remedies() {
        let (_, faults) = read(
            "[[rule]]\nname = \"a\"\nwhen = { servce = [\"vpn\"] }\nrequire = \"password\"\n\n[[rule]]\nname = \"a\"\ndeny = true\nrequire = \"totp\"\n\n[[rule]]\nname = \"b\"\nwhen = { user = [] }\ndeny = true\n[[rule]]\nname = \"c\"\n",
        );
        assert_eq!(
            faults,
            [
                "p.toml:3:10: rule[0].when.servce: unknown key",
                "p.toml:7:8: rule[1].name: a rule named \"a\" stands at p.toml:1 already",
                "p.toml:8:8: rule[1].deny: stands beside `require`; a rule either denies or requires",
                "p.toml:13:17: rule[2].when.user: is an empty list, which nothing matches; remove it, or list something",
                "p.toml:15:1: rule[3]: says neither `deny = true` nor `require = ...`",
            ]
        );
    }

    #[test]
    fn rules_that_are_never_reached_are_found() {
        let (_, faults) = read(
            r#"
[[rule]]
name = "all of 10"
when = { source = ["10.0.0.0/8"] }
require = "password"
[[rule]]
name = "part of 10"
when = { source = ["10.1.0.0/16"], service = ["vpn"] }
require = { all = ["password", "totp"] }
[[rule]]
name = "other"
when = { source = ["192.0.2.0/24"] }
require = "password"
"#,
        );
        assert_eq!(faults.len(), 1);
        assert!(
            faults[0].starts_with(
                "p.toml:7:8: warning: rule[1].name: rule \"part of 10\" is never reached: rule \"all of 10\" (p.toml:2)"
            ),
            "{}",
            faults[0]
        );
    }
}
