//! Reading policy files, and what is wrong with them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::dictionary::Dictionary;
use crate::document::{Document, Fault, Faults, Source, Spot, nearest};
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::policy::enrol::RawEnrol;
use crate::engine::policy::reply::{self, RawReply};
use crate::engine::policy::written::{Placed, RawConditions};
use crate::engine::policy::{
    Audit, Condition, Enrol, MAX_PROMPT, Order, Policy, Requirement, Rule, Ruling, Template, Terms,
};
use crate::engine::request::{Operation, Protocol};
use crate::engine::reuse;
use crate::engine::workflow::{Start, Workflows};

/// Reads the rules of several files, in order, with the RADIUS attributes of `dictionary`; every fault goes
/// to `faults`. The policy is whole only when none of the faults is an error.
pub fn parse(sources: &[Source], dictionary: &Dictionary, faults: &mut Faults) -> Policy {
    let mut rules: Vec<Rule> = Vec::new();
    let mut places: HashMap<String, String> = HashMap::new();
    let mut dated = Vec::new();
    for source in sources {
        let Some(document) = Document::parse(source, faults) else {
            continue;
        };
        document.only(&["rule"], faults);
        for (index, raw) in document.items::<RawRule>("rule", faults) {
            let index = index.to_string();
            let spot = |keys: &[&str]| {
                let path: Vec<&str> = ["rule", &index].into_iter().chain(keys.iter().copied()).collect();
                document.spot(&path)
            };
            if let Some(first) = places.insert(raw.name.clone(), spot(&[]).to_string()) {
                let message = format!("a rule named \"{}\" stands at {first} already", raw.name);
                faults.0.push(spot(&["name"]).fault(message));
            }
            match raw.compile(dictionary, spot) {
                Ok(rule) => {
                    if let Some(message) = rule.idle_reuse() {
                        faults.0.push(spot(&["reuse"]).warning(message));
                    }
                    if let Some(message) = rule.opens() {
                        faults.0.push(spot(&["fail_open"]).warning(message));
                    }
                    dated.extend(rule.dated(|| spot(&["enrol", "until"])));
                    rules.push(rule);
                }
                Err(found) => faults.0.extend(found),
            }
        }
    }
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    for source in sources {
        digest.update(source.text().as_bytes());
    }
    let digest = data_encoding::HEXLOWER.encode(digest.finish().as_ref());
    warn_of_late_default(&rules, faults);
    let policy = Policy {
        dated,
        ..Policy::new(rules, digest)
    };
    for (index, rule) in policy.rules.iter().enumerate() {
        if let Some(before) = policy.rules.iter().take(index).find(|before| before.shadows(rule)) {
            let remedy = match before.denies() && !rule.denies() {
                true => "narrow that one, which is tried first because it denies, or remove this one",
                false => "put it before that one, or remove it",
            };
            let message = format!(
                "rule \"{}\" is never reached: rule \"{}\" ({}) matches everything that it would; {remedy}",
                rule.name, before.name, before.place
            );
            faults.0.push(rule.spot.warning(message));
        }
    }
    policy
}

/// A rule that denies everybody stands for the default, wherever it is.
fn warn_of_late_default(rules: &[Rule], faults: &mut Faults) {
    for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.denies_everybody()) {
        let after = rules.iter().skip(index + 1).filter(|later| !later.denies_everybody());
        let after = after.count();
        if after > 0 {
            let message = format!(
                "rule \"{}\" denies everybody and so is tried last, after the {after} that stand behind it; put it at the end, or say in `when` whom it denies",
                rule.name
            );
            faults.0.push(rule.spot.warning(message));
        }
    }
}

/// Looks whether the workflows that rules name are there, and at most one of them for each start. Rules that could
/// not be read are passed over.
pub fn check_workflows(sources: &[Source], workflows: &Workflows, faults: &mut Faults) {
    for source in sources {
        // What is wrong with the document as such has been told.
        let Some(document) = Document::parse(source, &mut Faults::default()) else {
            continue;
        };
        for index in 0..document.count("rule") {
            let index = index.to_string();
            let mut starts: Vec<Start> = Vec::new();
            for position in 0.. {
                let at = ["rule", &index, "workflow", &position.to_string()];
                let Some(name) = document.text(&at) else {
                    break;
                };
                let Some(workflow) = workflows.named(name) else {
                    let names: Vec<&str> = workflows.iter().map(|workflow| &*workflow.name).collect();
                    let hint = nearest(name, &names).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    let message = format!("there is no workflow \"{name}\"; there are {}{hint}", names.join(", "));
                    faults.0.push(document.fault(&at, message));
                    continue;
                };
                if starts.contains(&workflow.start) {
                    let message = format!("is the second that starts with `{}`; name one of them", workflow.start);
                    faults.0.push(document.fault(&at, message));
                }
                starts.push(workflow.start);
            }
        }
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
    #[serde(default, with = "crate::document::span::option")]
    reuse: Option<Duration>,
    #[serde(default)]
    audit: Audit,
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    workflow: Vec<String>,
    #[serde(default)]
    upstream: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default)]
    reply: RawReply,
    #[serde(default)]
    enrol: Option<RawEnrol>,
    #[serde(default)]
    enrol_unprotected: bool,
    #[serde(default)]
    exempt: Option<Vec<String>>,
    #[serde(default)]
    fail_open: Option<String>,
}

impl RawRule {
    fn compile(mut self, dictionary: &Dictionary, spot: impl Fn(&[&str]) -> Spot) -> Result<Rule, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut say = |keys: &[&str], message: &str| faults.push(spot(keys).fault(message));
        let exempt = self.exempt.is_some();
        if let Some(accounts) = self.exempt.take() {
            self.exempt(accounts, &mut say);
        }
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
        if !self.workflow.is_empty() && self.deny {
            say(&["workflow"], "does nothing beside `deny`");
        }
        if self.max_sessions.is_some() && self.deny {
            say(&["max_sessions"], "does nothing beside `deny`");
        }
        if let Some(reuse) = self.reuse {
            if reuse < Duration::from_secs(1) || reuse > reuse::LONGEST {
                say(&["reuse"], "must be at least one second and at most 12 hours");
            }
            if self.deny {
                say(&["reuse"], "does nothing beside `deny`");
            }
        }
        for (keys, message) in self.idle_enrolment() {
            say(&keys, message);
        }
        let mut spots = Vec::new();
        let mut conditions = |table: &'static str, raw: RawConditions| -> Vec<Condition> {
            let placed = raw.compile(|keys, message| {
                let path: Vec<&str> = [table].into_iter().chain(keys.iter().copied()).collect();
                say(&path, message);
            });
            let condition = |(keys, condition): Placed| {
                let path: Vec<&str> = [table].into_iter().chain(keys.iter().map(String::as_str)).collect();
                spots.push(spot(&path));
                condition
            };
            placed.into_iter().map(condition).collect()
        };
        let (when, unless) = (conditions("when", self.when), conditions("unless", self.unless));
        if exempt && !limits_sources(&when) {
            let message = "lets accounts in with a password alone, and from everywhere; say where they come from: \
                           when = { source = [\"10.0.0.5\"] }";
            say(&["exempt"], message);
        }
        let message = match self.message.as_deref().map(Template::parse) {
            Some(Ok(template)) => Some(template),
            Some(Err(error)) => {
                say(&["message"], &error);
                None
            }
            None => None,
        };
        if self.deny && !self.reply.is_empty() {
            say(&["reply"], "does nothing in a rule that denies; remove it");
        }
        let reply = reply::compile(self.reply, dictionary, |keys, message| {
            let path: Vec<&str> = ["reply"].into_iter().chain(keys.iter().copied()).collect();
            say(&path, &message);
        });
        if let Some((key, message)) = idle_opening(self.fail_open.as_deref(), self.require.as_ref()) {
            say(&[key], message);
        }
        let unasked = |kinds: &KindSet| !kinds.has(Kind::Password) && kinds.has_any(KindSet::OUT_OF_BAND);
        let alternatives = self.require.iter().flat_map(Requirement::alternatives);
        if let Some(kinds) = alternatives.copied().find(unasked) {
            let message = format!(
                "takes {kinds} without the password, so that anybody could have messages sent; write {{ all = [\"password\", …] }}"
            );
            say(&["require"], &message);
        }
        let ruling = match (self.deny, self.require) {
            (true, None) => Some(Ruling::Deny),
            (false, Some(requirement)) => Some(Ruling::Require(Terms {
                change: if when.iter().any(is_about_changes) {
                    requirement.clone()
                } else {
                    requirement.with_password()
                },
                order: match requirement.kinds().has_any(KindSet::OUT_OF_BAND) {
                    // Nobody is to have messages sent to somebody else.
                    true => Order::PasswordFirst,
                    false => self.order,
                },
                requirement,
                user_failures: self.user_failures,
                max_sessions: self.max_sessions,
                reuse: self.reuse,
                audit: self.audit,
                upstream: self.upstream.map(Arc::from),
                prompt: self.prompt.map(Arc::from),
                workflows: self.workflow.into_iter().map(Arc::from).collect(),
                message,
                reply,
                enrol: self.enrol.map(|raw| Enrol {
                    grace: match raw {
                        RawEnrol::Now => None,
                        RawEnrol::Grace(grace) => Some(grace),
                    },
                }),
                enrol_unprotected: self.enrol_unprotected,
                exempt,
                fail_open: self.fail_open.map(Arc::from),
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
                place: spot(&[]).to_string(),
                spot: spot(&["name"]),
                when,
                unless,
                spots,
                ruling,
            }),
            _ => Err(faults),
        }
    }
}

impl RawRule {
    /// What contradicts itself about enrolment.
    fn idle_enrolment(&self) -> Vec<(Vec<&'static str>, &'static str)> {
        let mut found = Vec::new();
        match &self.enrol {
            Some(_) if self.deny => found.push((vec!["enrol"], "does nothing beside `deny`")),
            Some(_) if self.require.as_ref().is_some_and(|require| !Enrol::fits(require)) => found.push((
                vec!["enrol"],
                "does nothing: the token would be a `totp`, and the rule is not met by that and the password",
            )),
            Some(RawEnrol::Grace(grace)) if !grace.is_sound() => {
                found.push((vec!["enrol", "reminder"], "must be one line of 1 to 120 characters"));
            }
            Some(RawEnrol::Now | RawEnrol::Grace(_)) => {}
            None => {}
        }
        if self.deny && self.enrol_unprotected {
            found.push((vec!["enrol_unprotected"], "does nothing beside `deny`"));
        }
        found
    }
}

impl RawRule {
    /// Makes the rule one for accounts that are let in with their password alone.
    fn exempt(&mut self, accounts: Vec<String>, say: &mut impl FnMut(&[&str], &str)) {
        if accounts.iter().all(|name| name.trim().is_empty()) {
            say(&["exempt"], "names no account; list their login names");
        }
        if self.when.user.is_some() {
            say(
                &["when", "user"],
                "stands beside `exempt`, which lists the accounts itself",
            );
        }
        if self.deny || self.require.is_some() {
            let message = "stands beside `deny` or `require`; accounts that are exempt prove their password alone";
            say(&["exempt"], message);
        }
        self.when.user = Some(accounts);
        self.require = Some(Requirement::password());
        self.deny = false;
    }
}

/// Whether a rule is for some sources alone.
fn limits_sources(when: &[Condition]) -> bool {
    let limits = |condition: &Condition| matches!(condition, Condition::Source(nets) if nets.iter().all(|net| net.prefix_len() > 0));
    when.iter().any(limits)
}

/// What is wrong with `fail_open`, and at which key.
fn idle_opening(why: Option<&str>, require: Option<&Requirement>) -> Option<(&'static str, &'static str)> {
    let why = why?;
    let alternatives = require.map(Requirement::alternatives).unwrap_or_default();
    let mut reached = alternatives
        .iter()
        .filter(|kinds| kinds.has_any(Terms::REACHED))
        .peekable();
    let sound = (1..=MAX_PROMPT).contains(&why.trim().chars().count()) && !why.chars().any(char::is_control);
    if !sound {
        Some(("fail_open", "must say why, in one line of 1 to 120 characters"))
    } else if reached.peek().is_none() {
        let message =
            "does nothing: only `radius`, `email-code` and `gateway-code` are let go of where they are out of reach";
        Some(("fail_open", message))
    } else if !reached.all(|kinds| kinds.has(Kind::Password)) {
        Some((
            "fail_open",
            "would let people in without any proof; have the rule ask for the password as well",
        ))
    } else {
        None
    }
}

/// Whether a rule with this condition is about password changes, and says so.
fn is_about_changes(condition: &Condition) -> bool {
    matches!(condition, Condition::Operation(list) if list.contains(&Operation::PasswordChange))
}

impl Rule {
    /// Why `reuse` does nothing, where it stands in vain.
    fn idle_reuse(&self) -> Option<&'static str> {
        let Ruling::Require(terms) = &self.ruling else {
            return None;
        };
        terms.reuse?;
        let mut alternatives = terms.requirement.alternatives().iter();
        if !alternatives.any(|kinds| kinds.has(Kind::Password) && !kinds.codes().is_empty()) {
            return Some("does nothing: the rule takes no code beside a password");
        }
        let elsewhere = |condition: &Condition| matches!(condition, Condition::Protocol(protocols) if !protocols.contains(&Protocol::Ldap));
        self.when
            .iter()
            .any(elsewhere)
            .then_some("does nothing: only LDAP binds reuse codes, and the rule is not for them")
    }

    /// The warning that its choice to let people in without a factor is worth.
    fn opens(&self) -> Option<String> {
        let Ruling::Require(terms) = &self.ruling else {
            return None;
        };
        let why = terms.fail_open.as_ref()?;
        let kinds = terms.requirement.kinds();
        let reached: Vec<&str> = kinds
            .iter()
            .filter(|kind| Terms::REACHED.has(*kind))
            .map(Kind::word)
            .collect();
        Some(format!(
            "rule \"{}\" lets people in without {} whenever that is out of reach ({why}); leave fail_open out to have them wait",
            self.name,
            reached.join(" or ")
        ))
    }

    /// What works only until some moment.
    fn dated(&self, enrol: impl FnOnce() -> Spot) -> Vec<(Timestamp, Fault)> {
        let mut dated = Vec::new();
        if let Ruling::Require(terms) = &self.ruling
            && let Some(grace) = terms.enrol.as_ref().and_then(|enrol| enrol.grace.as_ref())
        {
            let message = format!(
                "is over since {}: whoever has never enrolled does so now; write enrol = \"now\"",
                grace.written
            );
            dated.push((grace.over, enrol().warning(message)));
        }
        for (_, clause) in self.conditions().filter(|(unless, _)| !unless) {
            if let Condition::Date(span) = clause.condition
                && let Some(over) = span.over()
            {
                let message =
                    format!("is over ({span}): the rule matches nobody any more; remove it, or move the date");
                dated.push((over, clause.spot.warning(message)));
            }
        }
        dated
    }

    /// Whether nothing that `later` matches gets past this rule.
    pub(super) fn shadows(&self, later: &Self) -> bool {
        // Missing data lets a rule that denies match where one that lets in does not.
        let lets_pass = match (&self.ruling, &later.ruling) {
            (Ruling::Deny, Ruling::Deny | Ruling::Require(_)) | (Ruling::Require(_), Ruling::Require(_)) => false,
            (Ruling::Require(_), Ruling::Deny) => !self.when.is_empty(),
        };
        // A rule with exceptions lets those through.
        let covered = |wide: &Condition| later.when.iter().any(|narrow| wide.covers(narrow));
        !lets_pass && self.unless.is_empty() && self.when.iter().all(covered)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use super::*;
    use crate::engine::facts::{Person, UserKey};
    use crate::engine::policy::{Known, Subject, Who};
    use crate::engine::request::{LoginName, Manner, Origin, Transport};

    fn read(text: &str) -> (Policy, Vec<String>) {
        let mut faults = Faults::default();
        let policy = parse(
            &[Source::new(Path::new("p.toml"), text)],
            Dictionary::shipped(),
            &mut faults,
        );
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
            called_station: None,
            listener: None,
            application: None,
            transport: Transport::Udp,
            service_account: None,
            manner: Manner::default(),
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
            manager: None,
            sso_managed: None,
        }
    }

    fn decide(policy: &Policy, origin: &Origin, who: Who<'_>) -> Option<String> {
        let login = LoginName::parse("ana").unwrap();
        let subject = Subject {
            login: &login,
            origin,
            person: who,
            operation: Operation::Login,
            sessions: None,
            known: Known::default(),
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
    fn replies_are_checked_and_explained() {
        let (policy, faults) = read(
            r#"
[[rule]]
name = "vpn"
require = "password"
message = "Welcome {mail|stranger}"
[rule.reply]
Session-Timeout = 3600
Service-Type = "Framed-User"
"Tunnel-Type:1" = "VLAN"
"Tunnel-Private-Group-Id:1" = "{vlan|42}"
Cisco-AVPair = ["shell:priv-lvl=15", "group={memberOf:rdn}"]
Tunnel-Password = "hunter2"
"Attr-26.32473.7" = "0x00ff"
"#,
        );
        assert!(faults.is_empty(), "{faults:?}");
        let wanted: Vec<&str> = policy.attributes().into_iter().collect();
        assert_eq!(wanted, ["mail", "memberof", "vlan"]);
        let mut ana = person(&[]);
        let groups = vec!["cn=staff,dc=x".to_owned(), "CN=VPN,DC=x".to_owned()];
        ana.attributes.insert("memberof".into(), groups);
        let origin = origin("vpn", "192.0.2.1");
        let explain = |who: Who<'_>| {
            let login = LoginName::parse("ana").unwrap();
            let subject = Subject {
                operation: Operation::Login,
                sessions: None,
                known: Known::default(),
                login: &login,
                origin: &origin,
                person: who,
                now: Timestamp::from_secs(1_767_600_000),
            };
            policy.explain(&subject).reply
        };
        assert_eq!(
            explain(Who::Known(&ana)),
            [
                "Attr-26.32473.7 = 0x00ff",
                "Cisco-AVPair = \"shell:priv-lvl=15\"",
                "Cisco-AVPair = \"group=staff\"",
                "Cisco-AVPair = \"group=VPN\"",
                "Service-Type = Framed-User",
                "Session-Timeout = 3600",
                "Tunnel-Password = (7 octets)",
                "Tunnel-Private-Group-Id:1 = \"42\"",
                "Tunnel-Type:1 = VLAN",
                "Reply-Message = \"Welcome stranger\"",
            ]
        );
        assert!(explain(Who::Decoy).contains(&"Cisco-AVPair = \"group={memberOf:rdn}\"".to_owned()));
        ana.attributes.insert("memberof".into(), vec!["staff".into()]);
        assert_eq!(
            explain(Who::Known(&ana)),
            ["refused all the same: Cisco-AVPair `{memberof:rdn}` is not a distinguished name for this person"]
        );
    }

    #[test]
    fn faults_of_replies_have_places() {
        let (_, faults) = read(
            r#"
[[rule]]
name = "a"
require = "password"
message = "Welcome {"
[rule.reply]
Session-Timout = 3600
Service-Type = "Framed"
Filter-Id = ["ok", "{x:y}", ""]
Class = []
State = "0x00"
Reply-Message = "x"
"Tunnel-Type:40" = "VLAN"
"Attr-26.311.25" = "x"
Vendor-Specific = "x"
Acct-Interim-Interval = 60
Acct-Session-Id = "x"
User-Password = "x"
[[rule]]
name = "b"
deny = true
reply = { Class = "x" }
[[rule]]
name = "c"
require = "password"
reply = { Class = ["x", true] }
"#,
        );
        assert_eq!(
            faults,
            [
                "p.toml:26:25: rule[2].reply.Class[1]: invalid type: boolean `true`, expected a text, a number, or a list of them",
                "p.toml:5:11: rule[0].message: has a `{` without its `}`; a brace itself is written `{{`",
                "p.toml:17:19: rule[0].reply.Acct-Session-Id: belongs to accounting, and has no place in an Access-Accept",
                "p.toml:14:20: rule[0].reply.Attr-26.311.25: belongs to MS-CHAP, and has no place in a policy",
                "p.toml:10:9: rule[0].reply.Class: is an empty list; remove it, or list something",
                "p.toml:9:20: rule[0].reply.Filter-Id[1]: has `{x:y}`; behind the colon only `rdn` is known",
                "p.toml:9:29: rule[0].reply.Filter-Id[2]: `` is empty; a RADIUS attribute has at least one octet",
                "p.toml:12:17: rule[0].reply.Reply-Message: is set by `message` of the rule",
                "p.toml:8:16: rule[0].reply.Service-Type: `Framed` is neither a number from 0 to 4294967295 nor the name of a value (Login-User, Framed-User, Callback-Login-User, Callback-Framed-User, Outbound-User, Administrative-User, NAS-Prompt-User, Authenticate-Only, …)",
                "p.toml:7:18: rule[0].reply.Session-Timout: no dictionary knows the attribute `Session-Timout`; did you mean `Session-Timeout`?",
                "p.toml:11:9: rule[0].reply.State: belongs to the conversation, and is set by Portcullis alone",
                "p.toml:13:20: rule[0].reply.Tunnel-Type:40: the tag of `Tunnel-Type` must be a number from 1 to 31",
                "p.toml:18:17: rule[0].reply.User-Password: proves who somebody is, and has no place in an Access-Accept",
                "p.toml:15:19: rule[0].reply.Vendor-Specific: holds other attributes; name one of those, such as Cisco-AVPair or Attr-26.9.1",
                "p.toml:22:9: rule[1].reply: does nothing in a rule that denies; remove it",
            ]
        );
    }

    #[test]
    fn enrolment_is_read_checked_and_explained() {
        let both = "require = { all = [\"password\", \"totp\"] }";
        let (policy, faults) = read(&format!(
            "[[rule]]\nname = \"a\"\n{both}\nenrol = \"now\"\nenrol_unprotected = true\n\
             [[rule]]\nname = \"b\"\nwhen = {{ service = [\"vpn\"] }}\n{both}\nenrol = {{ until = \"2026-12-31\" }}\n"
        ));
        let shadowed = faults.iter().all(|fault| fault.contains("is never reached"));
        assert!(shadowed, "{faults:?}");
        let rulings: Vec<String> = policy.rules.iter().map(|rule| rule.ruling.to_string()).collect();
        assert_eq!(
            rulings,
            [
                "require password and totp; whoever has never enrolled does so now; keys are shown without encryption as well",
                "require password and totp; the password alone for whoever has never enrolled until 2026-12-31, who enrols from then on",
            ]
        );
        let warned = |secs: u64| -> Vec<String> {
            let faults = policy.outdated(Timestamp::from_secs(secs));
            faults.map(|fault| fault.to_string()).collect()
        };
        assert!(warned(1_798_761_599).is_empty());
        assert_eq!(
            warned(1_798_761_600),
            [
                "p.toml:10:19: warning: rule[1].enrol.until: is over since 2026-12-31: whoever has never enrolled does so now; write enrol = \"now\""
            ]
        );
    }

    #[test]
    fn faults_of_enrolment_have_places() {
        let both = "require = { all = [\"password\", \"totp\"] }";
        let rules = [
            "deny = true\nenrol = \"now\"",
            "deny = true\nenrol_unprotected = true",
            "require = \"password\"\nenrol = \"now\"",
            "require = { all = [\"password\", \"totp\", \"recovery-code\"] }\nenrol = \"now\"",
            &format!("{both}\nenrol = \"later\""),
            &format!("{both}\nenrol = {{ until = \"soon\" }}"),
            &format!("{both}\nenrol = {{ untill = \"2026-12-31\" }}"),
            &format!("{both}\nenrol = {{ until = \"2026-12-31\", remind = \"x\" }}"),
            &format!("{both}\nenrol = {{ until = \"2026-12-31\", reminder = \"\" }}"),
        ];
        let faults: Vec<String> = rules
            .iter()
            .flat_map(|rule| read(&format!("[[rule]]\nname = \"a\"\n{rule}\n")).1)
            .collect();
        assert_eq!(
            faults,
            [
                "p.toml:4:9: rule[0].enrol: does nothing beside `deny`",
                "p.toml:4:21: rule[0].enrol_unprotected: does nothing beside `deny`",
                "p.toml:4:9: rule[0].enrol: does nothing: the token would be a `totp`, and the rule is not met by that and the password",
                "p.toml:4:9: rule[0].enrol: does nothing: the token would be a `totp`, and the rule is not met by that and the password",
                "p.toml:4:9: rule[0].enrol: `later` is not known; write \"now\", or { until = \"2026-12-31\" }",
                "p.toml:4:9: rule[0].enrol: `soon` is no day; write `2026-12-31`, or `2026-12-31 Europe/Berlin`",
                "p.toml:4:11: rule[0].enrol.untill: unknown key",
                "p.toml:4:9: rule[0].enrol: missing field `until`",
                "p.toml:4:33: rule[0].enrol.remind: unknown key",
                "p.toml:4:44: rule[0].enrol.reminder: must be one line of 1 to 120 characters",
            ]
        );
    }

    #[test]
    fn the_examples_are_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut faults = Faults::default();
        let files = files.filter(|file| file.is_file() && !file.ends_with(crate::engine::questions::FILE));
        let mut files: Vec<_> = files.collect();
        files.sort();
        let sources: Vec<Source> = files
            .iter()
            .map(|file| Source::read(file, &mut faults).unwrap())
            .collect();
        let policy = parse(&sources, Dictionary::shipped(), &mut faults);
        check_workflows(&sources, &Workflows::default(), &mut faults);
        assert!(faults.0.is_empty(), "{faults}");
        assert!(policy.rules.len() > 5);
    }

    #[test]
    fn workflows_are_named_as_they_are() {
        let source = Source::new(
            Path::new("p.toml"),
            "[[rule]]\nname = \"a\"\nrequire = \"password\"\nworkflow = [\"recover\", \"expred\"]\n\n\
             [[rule]]\nname = \"b\"\nrequire = \"password\"\nworkflow = [\n\"recover\",\n\"recover\",\n]\n",
        );
        let mut faults = Faults::default();
        check_workflows(&[source], &Workflows::default(), &mut faults);
        let faults: Vec<String> = faults.0.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "p.toml:4:24: rule[0].workflow[1]: there is no workflow \"expred\"; there are login, expired, passcode, recover, enrol; did you mean `expired`?",
                "p.toml:11:1: rule[1].workflow[1]: is the second that starts with `recover`; name one of them",
            ]
        );
        let (policy, faults) =
            read("[[rule]]\nname = \"a\"\nrequire = \"password\"\nworkflow = [\"x\"]\nprompt = \"Code:\"\n");
        assert!(faults.is_empty(), "{faults:?}");
        let Ruling::Require(terms) = &policy.rules[0].ruling else {
            panic!()
        };
        assert_eq!((&*terms.workflows[0], terms.prompt.as_deref()), ("x", Some("Code:")));
        let (_, faults) = read("[[rule]]\nname = \"a\"\ndeny = true\nworkflow = [\"recover\"]\n");
        assert_eq!(faults, ["p.toml:4:12: rule[0].workflow: does nothing beside `deny`"]);
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
