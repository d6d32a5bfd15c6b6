//! What to look for.

use ipnet::IpNet;

use super::AuditLine;
use crate::clock::Timestamp;
use crate::engine::event::{AuditEvent, Outcome};
use crate::keyring::Keyring;
use crate::store::AuditRecord;
use crate::store::archive::terms::{Field, Query, Term};

/// What to look for; everything given must hold. Names are alike whatever the case of their ASCII letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Who did it or whom it was done to: a name or a key. Any one of these matches.
    pub people: Vec<String>,
    /// Who did it.
    pub actor: Option<String>,
    /// The action, or the beginning of it up to a dot: `token` finds `token.enrol`.
    pub action: Option<String>,
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// The RADIUS client or LDAP listener.
    pub client: Option<String>,
    /// The policy rule that decided.
    pub rule: Option<String>,
    /// The network source, or a network that it lies in.
    pub source: Option<IpNet>,
    /// The protocol, or the beginning of it up to a slash: `ldap` finds `ldap/external`.
    pub via: Option<String>,
    /// Text anywhere in the record, in any case.
    pub text: Option<String>,
}

impl Filter {
    /// The record as printed, if it matches. A record whose text does not read is shown as such.
    pub(super) fn pick(&self, record: &AuditRecord) -> Option<AuditLine> {
        // Text first: looking for it is cheaper than reading the record.
        if !self.has_text(&record.body) {
            return None;
        }
        let event = record.event().unwrap_or_else(|_| unreadable());
        self.matches(&event)
            .then(|| AuditLine::new(record.sequence, &record.link, event))
    }

    /// What an index can tell of it.
    pub(super) fn query(&self, keyring: &Keyring) -> Query {
        let term = |field, word: &str| Term::of(keyring, field, word);
        let mut all = Vec::new();
        if !self.people.is_empty() {
            let both = |name: &String| [term(Field::Actor, name), term(Field::Target, name)];
            all.push(self.people.iter().flat_map(both).collect());
        }
        let outcome = self.outcome.map(|outcome| outcome.to_string());
        for (field, word) in [
            (Field::Actor, &self.actor),
            (Field::Action, &self.action),
            (Field::Outcome, &outcome),
            (Field::Client, &self.client),
            (Field::Rule, &self.rule),
            (Field::Via, &self.via),
        ] {
            all.extend(word.as_deref().map(|word| vec![term(field, word)]));
        }
        let network = self.source.and_then(|source| Term::of_network(keyring, source));
        all.extend(network.map(|term| vec![term]));
        Query {
            all,
            since: self.since,
            until: self.until,
        }
    }

    fn matches(&self, event: &AuditEvent) -> bool {
        let same = |wanted: &str, is: Option<&str>| is.is_some_and(|is| is.eq_ignore_ascii_case(wanted));
        let is = |wanted: &Option<String>, is: Option<&str>| wanted.as_deref().is_none_or(|wanted| same(wanted, is));
        let person = |name: &String| same(name, Some(&event.actor)) || same(name, event.target.as_deref());
        self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
            && self.outcome.is_none_or(|outcome| event.outcome == outcome)
            && is(&self.actor, Some(&event.actor))
            && is(&self.client, event.client.as_deref())
            && is(&self.rule, event.rule.as_deref())
            && self
                .action
                .as_deref()
                .is_none_or(|action| begins(&event.action, action, '.'))
            && self.via.as_deref().is_none_or(|via| begins(&event.via, via, '/'))
            && self
                .source
                .is_none_or(|network| event.source.is_some_and(|source| network.contains(&source)))
            && (self.people.is_empty() || self.people.iter().any(person))
    }

    fn has_text(&self, body: &[u8]) -> bool {
        let Some(text) = self.text.as_deref() else { return true };
        if !text.is_ascii() {
            let body = String::from_utf8_lossy(body).to_lowercase();
            return body.contains(&text.to_lowercase());
        }
        let Some(first) = text.as_bytes().first() else {
            return true;
        };
        let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
        body.windows(text.len()).any(|window| {
            window.first().is_some_and(|octet| *octet == lower || *octet == upper)
                && window.eq_ignore_ascii_case(text.as_bytes())
        })
    }
}

/// Whether a text is what is wanted, or begins with it up to a separator.
fn begins(text: &str, wanted: &str, separator: char) -> bool {
    let Some((beginning, rest)) = text.split_at_checked(wanted.len()) else {
        return false;
    };
    beginning.eq_ignore_ascii_case(wanted) && (rest.is_empty() || rest.starts_with(separator))
}

/// What stands for a record whose text does not read, so that it is seen and not skipped.
fn unreadable() -> AuditEvent {
    AuditEvent {
        at: Timestamp::default(),
        action: "unreadable".into(),
        actor: String::new(),
        target: None,
        via: String::new(),
        client: None,
        source: None,
        rule: None,
        factors: Vec::new(),
        outcome: Outcome::Unavailable,
        reason: Some("the record does not read; run `portcullis audit verify`".into()),
        context: None,
    }
}
