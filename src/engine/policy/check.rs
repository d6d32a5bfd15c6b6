//! What is wrong with rules that can be read: those that never apply, those that nobody comes to, those that let more in
//! than is likely meant, and those about what the configuration does not have.
//!
//! Only what can be proven is told. Where a condition's meaning is not decided by its text alone (who is in which group,
//! say), rules count as if they could apply.

mod compare;
mod reached;

use ipnet::IpNet;

use crate::document::{Document, Fault, Faults, Severity, Source, nearest};
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::policy::{Condition, Policy, Rule, Ruling, Terms};
use crate::engine::request::{Protocol, Transport};

/// What the configuration has that rules can be about.
#[derive(Clone, Debug, Default)]
pub struct Site {
    /// RADIUS clients and LDAP listeners.
    pub places: Vec<Place>,
    /// Names of the directories.
    pub directories: Vec<String>,
    /// Names of the listeners.
    pub listeners: Vec<String>,
    /// Names of the applications behind LDAP listeners.
    pub applications: Vec<String>,
}

/// A RADIUS client or an LDAP listener.
#[derive(Clone, Debug)]
pub struct Place {
    /// What is spoken there.
    pub protocol: Protocol,
    /// Its name.
    pub client: String,
    /// The service.
    pub service: String,
    /// The directory.
    pub directory: String,
    /// How messages may travel.
    pub transports: Vec<Transport>,
    /// The sources that requests may have; any where it is empty.
    pub sources: Vec<IpNet>,
    /// Whether it can show a dialog.
    pub dialog: bool,
}

/// Looks at all rules of `policy`, read from `sources`; what is found goes to `faults`, as warnings.
pub fn check(sources: &[Source], policy: &Policy, site: &Site, faults: &mut Faults) {
    for source in sources {
        // What is wrong with the document as such has been told.
        let Some(document) = Document::parse(source, &mut Faults::default()) else {
            continue;
        };
        for index in 0..document.count("rule") {
            let index = index.to_string();
            let name = document.text(&["rule", &index, "name"]).unwrap_or_default();
            let Some(position) = policy.rules.iter().position(|rule| *rule.name == *name) else {
                continue;
            };
            let (before, rest) = policy.rules.split_at(position);
            let Some((rule, after)) = rest.split_first() else {
                continue;
            };
            let mut look = Look {
                document: &document,
                index: &index,
                rule,
                before,
                after,
                site,
                faults,
            };
            look.all();
        }
    }
}

impl Rule {
    /// What is wrong with the rule as a whole, at its place.
    pub fn fault(&self, severity: Severity, message: impl Into<String>) -> Fault {
        let (file, line) = self.place.rsplit_once(':').unwrap_or((&self.place, "0"));
        let line = line.parse().unwrap_or_default();
        Fault {
            severity,
            file: file.into(),
            line,
            column: usize::from(line > 0),
            key: String::new(),
            message: format!("rule \"{}\" {}", self.name, message.into()),
        }
    }
}

/// One rule, looked at.
struct Look<'a> {
    document: &'a Document<'a>,
    index: &'a str,
    rule: &'a Rule,
    before: &'a [Rule],
    after: &'a [Rule],
    site: &'a Site,
    faults: &'a mut Faults,
}

impl Look<'_> {
    fn all(&mut self) {
        let strangers = self.strangers();
        if !self.contradicts_itself() && !strangers {
            self.has_no_place();
        }
        self.is_not_reached();
        self.is_exempt();
        self.stands_out();
    }

    fn say(&mut self, path: &[&str], message: String) {
        let path: Vec<&str> = ["rule", self.index].into_iter().chain(path.iter().copied()).collect();
        self.faults.0.push(self.document.warning(&path, message));
    }

    fn terms(&self) -> Option<&Terms> {
        match &self.rule.ruling {
            Ruling::Require(terms) => Some(terms),
            Ruling::Deny => None,
        }
    }

    /// Names that nothing in the configuration has.
    fn strangers(&mut self) -> bool {
        let mut found = Vec::new();
        for (table, conditions) in [("when", &self.rule.when), ("unless", &self.rule.unless)] {
            for condition in conditions {
                let Some((what, key, names, known)) = self.named(condition) else {
                    continue;
                };
                for (position, name) in names.iter().enumerate() {
                    if known.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                        continue;
                    }
                    let hint = nearest(name, &known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    let rule = &self.rule.name;
                    let message = format!("rule \"{rule}\" is about {what} \"{name}\", which there is none of{hint}");
                    found.push((table, key, position.to_string(), message));
                }
            }
        }
        let any = !found.is_empty();
        for (table, key, position, message) in found {
            self.say(&[table, key, &position], message);
        }
        any
    }

    /// What a condition names in the configuration, and what there is of it.
    fn named<'c>(&self, condition: &'c Condition) -> Option<(&'static str, &'static str, Vec<&'c str>, Vec<&str>)> {
        let all = |of: fn(&Place) -> &str| self.site.places.iter().map(of).collect::<Vec<_>>();
        let (what, known) = match compare::key(condition) {
            "client" => ("client", all(|place| &place.client)),
            "service" => ("service", all(|place| &place.service)),
            "directory" => ("directory", self.site.directories.iter().map(String::as_str).collect()),
            "listener" => ("listener", self.site.listeners.iter().map(String::as_str).collect()),
            "application" => (
                "application",
                self.site.applications.iter().map(String::as_str).collect(),
            ),
            _ => return None,
        };
        Some((what, compare::key(condition), compare::names(condition)?, known))
    }

    /// Conditions that never hold together.
    fn contradicts_itself(&mut self) -> bool {
        let lets_in = self.terms().is_some();
        let sure = |condition: &Condition| lets_in || compare::is_always_known(condition);
        for unless in &self.rule.unless {
            let covered =
                |when: &&Condition| sure(when) && (unless.covers(when) || compare::covers_sources(unless, when));
            if let Some(when) = self.rule.when.iter().find(covered) {
                let message = format!(
                    "never applies: whatever `when` lets through ({when}), `unless` leaves out ({unless}); take one of \
                     them away, or narrow `unless`"
                );
                self.say(&["unless", compare::key(unless)], message);
                return true;
            }
        }
        // A missing datum matches a rule that denies.
        let ldap_alone =
            |condition: &Condition| matches!(condition, Condition::Protocol(list) if !list.contains(&Protocol::Radius));
        if lets_in
            && self.rule.when.iter().any(ldap_alone)
            && let Some(radius) = self.rule.when.iter().find(|condition| compare::is_of_radius(condition))
        {
            let key = compare::key(radius);
            let message = format!("never applies: LDAP has no `{key}`, and the rule is for LDAP alone; take one away");
            self.say(&["when", key], message);
            return true;
        }
        false
    }

    /// A rule whose conditions each fit some client or listener, and no client or listener fits them all. One that nothing
    /// here fits may be meant for another server that has the same files.
    fn has_no_place(&mut self) {
        let fits = |condition: &Condition| {
            let mut places = self.site.places.iter();
            places.any(|place| compare::at(condition, place) != Some(false))
        };
        if self.site.places.is_empty() || !self.rule.when.iter().all(fits) {
            return;
        }
        let possible = |place: &Place| {
            let may = |condition: &Condition| compare::at(condition, place) != Some(false);
            let may_not = |condition: &Condition| compare::at(condition, place) != Some(true);
            self.rule.when.iter().all(may) && self.rule.unless.iter().all(may_not)
        };
        if self.site.places.iter().any(possible) {
            return;
        }
        let told = self.rule.when.iter().chain(&self.rule.unless);
        let told: Vec<String> = told
            .filter(|condition| {
                self.site
                    .places
                    .iter()
                    .any(|place| compare::at(condition, place).is_some())
            })
            .map(ToString::to_string)
            .collect();
        let message = format!(
            "rule \"{}\" never applies: no client and no listener of the configuration is all of this: {}",
            self.rule.name,
            told.join("; ")
        );
        self.say(&["when"], message);
    }

    /// A rule all of whose people come to others first. Where one rule alone takes them, that was told when it was read.
    fn is_not_reached(&mut self) {
        if self.before.iter().any(|before| before.shadows(self.rule)) {
            return;
        }
        let Some(takers) = reached::takers(self.rule, self.before) else {
            return;
        };
        let named: Vec<String> = takers
            .iter()
            .map(|rule| format!("\"{}\" ({})", rule.name, rule.place))
            .collect();
        let (who, verb, them) = match named.as_slice() {
            [one] => (format!("rule {one}"), "matches", "that one"),
            several => (format!("rules {} together", several.join(", ")), "match", "them"),
        };
        let remedy = match takers.iter().any(|taker| taker.denies() && !self.rule.denies()) {
            true => format!("rules that deny are tried first, so narrow {them}, or remove this one"),
            false => format!("put it before {them}, or remove it"),
        };
        let name = &self.rule.name;
        let message = format!("rule \"{name}\" is never reached: {who} {verb} everything that it would; {remedy}");
        self.say(&["name"], message);
    }

    /// Listed people who log in with the password alone, from anywhere, where others need more.
    fn is_exempt(&mut self) {
        let password = KindSet::of(Kind::Password);
        let easy = |terms: &Terms| terms.requirement.is_met(password);
        let has = |key: &str| self.rule.when.iter().any(|condition| compare::key(condition) == key);
        if !self.terms().is_some_and(easy) || !has("user") || has("source") {
            return;
        }
        let harder = |other: &&Rule| {
            let Ruling::Require(terms) = &other.ruling else {
                return false;
            };
            !easy(terms) && !compare::are_apart(self.rule, other)
        };
        if let Some(other) = self.after.iter().find(harder) {
            let message = format!(
                "rule \"{}\" lets listed accounts in with the password alone from everywhere, where rule \"{}\" ({}) asks \
                 others for more; say where they come from: source = [\"192.0.2.7\"]",
                self.rule.name, other.name, other.place
            );
            self.say(&["when", "user"], message);
        }
    }

    /// A prompt of its own for some people: whoever sees it knows that the name is one of theirs.
    fn stands_out(&mut self) {
        let about_people = |rule: &Rule| rule.when.iter().chain(&rule.unless).any(compare::is_about_people);
        let asks = |terms: &Terms| terms.requirement.fewest_codes() > 0;
        let Some(terms) = self.terms().filter(|terms| asks(terms) && about_people(self.rule)) else {
            return;
        };
        let Some(own) = &terms.prompt else { return };
        let comes = |rule: &Rule, place: &Place| {
            let may = |condition: &Condition| compare::at(condition, place) != Some(false);
            rule.when.iter().all(may)
        };
        // Whom nobody is, is asked by the first rule that asks for a code.
        let asked_by = |place: &Place| {
            let all = self.before.iter().chain([self.rule]).chain(self.after);
            let mut coming = all
                .filter(|rule| comes(rule, place))
                .filter_map(|rule| match &rule.ruling {
                    Ruling::Require(terms) if asks(terms) => Some((rule, terms)),
                    Ruling::Require(_) | Ruling::Deny => None,
                });
            coming.next()
        };
        let elsewhere = |place: &&Place| {
            place.dialog
                && comes(self.rule, place)
                && asked_by(place)
                    .is_some_and(|(rule, terms)| rule.name != self.rule.name && terms.prompt.as_ref() != Some(own))
        };
        let Some(place) = self.site.places.iter().find(elsewhere) else {
            return;
        };
        let Some((other, _)) = asked_by(place) else { return };
        let message = format!(
            "rule \"{}\" asks some people in words of its own, while names of nobody are asked at client \"{}\" as by rule \
             \"{}\" ({}): whoever sees this prompt knows that the name is somebody's; write the same prompt, or none",
            self.rule.name, place.client, other.name, other.place
        );
        self.say(&["prompt"], message);
    }
}

#[cfg(test)]
mod tests;
