//! A login that nobody makes, decided and explained.

use std::sync::Arc;

use crate::admin::api::{Alternative, ApiError, At, ErrorKind, ExplainRequest, Explanation, Factor, HeldBack, Proof};
use crate::clock::{self, Timestamp};
use crate::config::{Config, LdapTls, Transport};
use crate::engine::account::{AccountState, StateAnswer};
use crate::engine::authenticator::{CODES, KindSet};
use crate::engine::batch::Key;
use crate::engine::denials::GroupDenials;
use crate::engine::facts::{Person, SessionFacts};
use crate::engine::outline::outline;
use crate::engine::policy::{Known, Policy, Ruling, Subject, Terms, Who};
use crate::engine::record::{self, Record, ThrottleRecord, UserRecord};
use crate::engine::request::BadName;
use crate::engine::throttle::Standing;
use crate::engine::verdict::Denial;
use crate::engine::{Capability, Engine, LoginName, Lookup, Manner, Origin, Protocol};
use crate::ldap::listener::service_account;
use crate::server::Node;
use crate::store::Found;

/// What is kept of somebody.
#[derive(Default)]
struct Kept {
    user: UserRecord,
    throttle: ThrottleRecord,
    /// Sessions that are open or about to begin.
    sessions: usize,
}

impl Node {
    pub(super) async fn explain(&self, request: ExplainRequest) -> Result<Explanation, ApiError> {
        let config = self.config.load_full();
        let mut origin = origin(&config, &request)?;
        let client = self.clients.load().named(&origin.client).cloned();
        let client = client.filter(|_| origin.protocol == Protocol::Radius);
        if let Some(client) = &client {
            origin.manner = client.manner.clone();
        }
        let invalid = |error: BadName| ApiError::new(ErrorKind::Invalid, error.to_string());
        let mut login = named(&request.user).map_err(invalid)?;
        let listener = config.ldap.iter().find(|listener| listener.name == *origin.client);
        let listener = listener.filter(|_| origin.protocol == Protocol::Ldap);
        let asked = listener.and_then(|listener| service_account(listener, &request.user, origin.source));
        if let Some((account, rule)) = &asked {
            login = LoginName::account(account).map_err(invalid)?;
            origin.service_account = rule.clone();
        }
        let misplaced = asked.is_some_and(|(_, rule)| rule.is_none());
        let name: &str = &origin.directory;
        let directory = self.verifier.directories().get(name).cloned();
        let directory =
            directory.ok_or_else(|| ApiError::new(ErrorKind::NotFound, format!("there is no directory \"{name}\"")))?;
        let lookup = if misplaced {
            Lookup::Unknown
        } else {
            directory.look_up(&login).await
        };
        let person = match &lookup {
            Lookup::Found(person) => Who::Known(person),
            Lookup::Unknown | Lookup::Ambiguous => Who::Decoy,
            Lookup::Unavailable(reason) => return Err(ApiError::new(ErrorKind::Unavailable, reason.clone())),
        };
        let engine = self.verifier.engine();
        let kept = match lookup.person() {
            Some(person) => Some(self.kept_of(person).await?),
            None => None,
        };
        let state = match lookup.person() {
            Some(person) => directory.state(person).await,
            None => StateAnswer::Unknown,
        };
        let account = match &state {
            StateAnswer::Known(account) => Some(account),
            StateAnswer::Unavailable(reason) if engine.policy.asks_credential() => {
                return Err(ApiError::new(ErrorKind::Unavailable, reason.clone()));
            }
            StateAnswer::Unsupported | StateAnswer::Unknown | StateAnswer::Unavailable(_) => None,
        };
        let now = request.at.unwrap_or_else(clock::now);
        let window = engine.settings.limit.window;
        let subject = Subject {
            known: Known {
                account,
                record: kept.as_ref().map(|kept| &kept.user),
                failures: kept.as_ref().map(|kept| kept.throttle.counted(window, None, now)),
            },
            operation: request.operation.unwrap_or_default(),
            sessions: kept.as_ref().map(|kept| kept.sessions),
            login: &login,
            origin: &origin,
            person,
            now,
        };
        let capability = match (client, listener) {
            (Some(client), _) => client.capability,
            (None, Some(listener)) => Capability::Append(listener.append.0),
            (None, None) => Capability::None,
        };
        let mut held_back = nobody(&lookup, misplaced);
        if let (Some(person), Some(kept)) = (lookup.person(), &kept) {
            let terms = terms_of(&engine.policy, &subject);
            held_back = held_back_by(person, kept, terms, &engine, subject.now);
            held_back.extend(denied_group(&self.verifier.denials().load(), person, subject.now));
            held_back.extend(locked(account, person));
        }
        let outline = outline(&engine.policy, &subject, capability, engine.settings.four_eyes);
        let told = Told {
            subject,
            record: kept.as_ref().map(|kept| &kept.user),
            with: request.with.as_deref(),
            held_back,
        };
        let mut explanation = told.explanation(&engine.policy);
        explanation.outline = outline;
        explanation.text = explanation.in_ascii();
        Ok(explanation)
    }

    async fn kept_of(&self, person: &Person) -> Result<Kept, ApiError> {
        fn decoded<T: Record + Default>(found: Option<Found>) -> Result<T, ApiError> {
            let octets = found.and_then(|found| found.value);
            let record = octets.as_deref().map(record::decode).transpose();
            record
                .map(Option::unwrap_or_default)
                .map_err(|error| unavailable(&error))
        }
        // As the verifier counts, by the clock: `at` is about the policy alone.
        let now = clock::now();
        let facts = self.verifier.sessions_of(&person.key, SessionFacts::MOST, now).await;
        let keys = [Key::user(&person.key), Key::throttle(&person.key)];
        let found = self.store.read(&keys, now).await.map_err(|error| unavailable(&error))?;
        let mut found = found.into_iter();
        Ok(Kept {
            user: decoded(found.next())?,
            throttle: decoded(found.next())?,
            sessions: facts.map_err(|error| unavailable(&error))?.count(now),
        })
    }
}

/// What an explanation is made of.
struct Told<'a> {
    subject: Subject<'a>,
    record: Option<&'a UserRecord>,
    with: Option<&'a [Factor]>,
    held_back: Vec<HeldBack>,
}

impl Told<'_> {
    fn explanation(self, policy: &Policy) -> Explanation {
        let Self {
            subject,
            record,
            with,
            held_back,
        } = self;
        let tree = policy.explain(&subject);
        let terms = terms_of(policy, &subject);
        let proofs = terms.map_or_else(Vec::new, |terms| alternatives(terms, &subject, record, with));
        let possible = !proofs.is_empty();
        let enough = with
            .filter(|_| possible)
            .map(|_| proofs.iter().any(|set| set.met == Some(true)));
        let mut notes = Vec::new();
        if terms.is_some() && !possible {
            let note = "The rule does not ask for the password, and is not about password changes by name, so the end \
                        is a refusal.";
            notes.push(note.to_owned());
        }
        if !possible || matches!(subject.person, Who::Decoy) {
            notes.push(match policy.decoy(&subject) {
                Some(rule) => format!("Until then they are asked what rule \"{}\" asks of others.", rule.name),
                None => "They are refused without being asked anything.".into(),
            });
        }
        let lets_in = possible && held_back.is_empty() && enough != Some(false);
        let origin = subject.origin;
        Explanation {
            decision: if lets_in { "allow" } else { "deny" }.into(),
            rule: tree.decided_by.clone(),
            login: At {
                user: subject.login.to_string(),
                dn: match subject.person {
                    Who::Known(person) => Some(person.dn.clone()),
                    Who::Decoy => None,
                },
                client: origin.client.to_string(),
                service: origin.service.to_string(),
                directory: origin.directory.to_string(),
                protocol: origin.protocol,
                transport: origin.transport,
                source: origin.source,
                operation: subject.operation,
                at: subject.now,
            },
            tree,
            proofs,
            enough,
            held_back,
            notes,
            outline: Default::default(),
            text: String::new(),
        }
    }
}

fn terms_of<'p>(policy: &'p Policy, subject: &Subject<'p>) -> Option<&'p Terms> {
    match &policy.ruling(subject)?.ruling {
        Ruling::Require(terms) => Some(terms),
        Ruling::Deny => None,
    }
}

/// The sets of proofs that are enough, with what of them is at hand and enrolled.
fn alternatives(
    terms: &Terms,
    subject: &Subject<'_>,
    record: Option<&UserRecord>,
    with: Option<&[Factor]>,
) -> Vec<Alternative> {
    let held = with.map(|kinds| kinds.iter().fold(KindSet::EMPTY, |set, kind| set.with(*kind)));
    let proof = |kind| Proof {
        kind,
        at_hand: held.map(|held| held.has(kind)),
        enrolled: record.and_then(|record| {
            let judge = CODES.into_iter().find(|code| code.kind() == kind)?;
            // What is sent is enrolled nowhere.
            (!KindSet::SENT.has(kind)).then(|| judge.enrolled(record, subject.now))
        }),
    };
    let alternative = |set: &KindSet| Alternative {
        proofs: set.iter().map(proof).collect(),
        met: held.map(|held| held.covers(*set)),
    };
    let requirement = terms.requirement_for(subject.operation);
    requirement.alternatives().iter().map(alternative).collect()
}

fn held(denial: Denial, text: impl Into<String>) -> HeldBack {
    HeldBack {
        word: denial.word().to_owned(),
        text: text.into(),
    }
}

/// What keeps a name out that is nobody's.
fn nobody(lookup: &Lookup, misplaced: bool) -> Vec<HeldBack> {
    let text = match lookup {
        Lookup::Unknown if misplaced => {
            "The name is that of a service account, which may not come from this address, so the end is a refusal."
        }
        Lookup::Unknown => "Nobody of this name is in the directory, so the end is a refusal.",
        Lookup::Ambiguous => "More than one entry has this name, so the end is a refusal.",
        Lookup::Found(_) | Lookup::Unavailable(_) => return Vec::new(),
    };
    vec![held(Denial::UnknownUser, text)]
}

/// What keeps a known person out whatever the rules say.
fn held_back_by(
    person: &Arc<Person>,
    kept: &Kept,
    terms: Option<&Terms>,
    engine: &Engine,
    now: Timestamp,
) -> Vec<HeldBack> {
    let mut reasons = Vec::new();
    if let Some(deny) = kept.user.denial(now) {
        let until = until(deny.until);
        let text = format!(
            "They were denied by {}, {until}: {}. So the end is a refusal.",
            deny.by, deny.reason
        );
        reasons.push(held(Denial::Denied, text));
    }
    if !person.enabled {
        let text = "The directory says that the account is disabled, so the end is a refusal.";
        reasons.push(held(Denial::Disabled, text));
    }
    let most = terms.and_then(|terms| terms.max_sessions);
    if most.is_some_and(|most| kept.sessions >= most) {
        let open = kept.sessions;
        let text = format!("{open} sessions are open or about to begin, as many as may be, so the end is a refusal.");
        reasons.push(held(Denial::SessionLimit, text));
    }
    let configured = engine.settings.limit;
    let limit = terms.map_or(configured, |terms| terms.limit(configured));
    if kept.throttle.standing(limit, None, clock::now()) == Standing::Over {
        let text = format!(
            "There were {} failures within {} s, as many as may be, so the end is a refusal until the oldest is past.",
            limit.failures,
            limit.window.as_secs()
        );
        reasons.push(held(Denial::Throttled, text));
    }
    reasons
}

/// The group that keeps them out, if there is one.
fn denied_group(denials: &GroupDenials, person: &Person, now: Timestamp) -> Option<HeldBack> {
    let denial = denials.of(person, now)?;
    let until = until(denial.deny.until);
    let text = format!(
        "The group {} was denied by {}, {until}: {}. They are in it, so the end is a refusal.",
        denial.group, denial.deny.by, denial.deny.reason
    );
    Some(held(Denial::Denied, text))
}

fn until(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "until that is lifted".into(), |end| format!("until {end}"))
}

/// What the directory says of the account, where it says anything.
fn locked(account: Option<&AccountState>, person: &Person) -> Vec<HeldBack> {
    let Some(state) = account else {
        return Vec::new();
    };
    let mut reasons = Vec::new();
    if state.locked {
        let until = state
            .locked_until
            .map_or_else(String::new, |until| format!(" until {until}"));
        let text = format!("The directory has locked the account{until}, so the end is a refusal.");
        reasons.push(held(Denial::Locked, text));
    }
    if state.disabled && person.enabled {
        let text = "The directory has switched the account off, or its time is over or has not begun, so the end is a \
                    refusal.";
        reasons.push(held(Denial::Disabled, text));
    }
    reasons
}

fn unavailable(error: &dyn std::error::Error) -> ApiError {
    ApiError::new(ErrorKind::Unavailable, error.to_string()).with_remedy("see `portcullis status`")
}

/// A name as typed, or a distinguished name.
pub(super) fn named(user: &str) -> Result<LoginName, BadName> {
    if user.contains('=') {
        LoginName::parse_dn(user)
    } else {
        LoginName::parse(user)
    }
}

/// The origin of a login that nobody makes.
fn origin(config: &Config, request: &ExplainRequest) -> Result<Origin, ApiError> {
    let client = config.clients.iter().find(|client| client.name == request.client);
    let listener = config.ldap.iter().find(|listener| listener.name == request.client);
    // Of several it is not known which one the login would come to.
    let usual = match config.radius.as_slice() {
        [only] => Some(only.name.as_str()),
        [] | [_, _, ..] => None,
    };
    let of = |protocol, service: Option<&str>, directory: Option<&str>, source, transport| Origin {
        protocol,
        service: service.unwrap_or(&request.client).into(),
        client: request.client.as_str().into(),
        directory: directory.unwrap_or_default().into(),
        source: request.source.unwrap_or(source),
        nas_identifier: request.nas_identifier.clone(),
        calling_station: request.calling_station.clone(),
        called_station: request.called_station.clone(),
        listener: request.listener.as_deref().or(usual).map(Into::into),
        application: None,
        transport: request.transport.unwrap_or(transport),
        service_account: None,
        manner: Manner::default(),
    };
    match (request.protocol, client, listener) {
        (Some(Protocol::Radius) | None, Some(client), _) => Ok(of(
            Protocol::Radius,
            client.service.as_deref(),
            client.directory.as_deref(),
            client.address.first().map_or([0, 0, 0, 0].into(), |net| net.0.addr()),
            match client.certificate {
                Some(_) => Transport::Tls,
                None => Transport::Udp,
            },
        )),
        (Some(Protocol::Ldap) | None, _, Some(listener)) => {
            let origin = of(
                Protocol::Ldap,
                listener.service.as_deref(),
                listener.directory.as_deref(),
                [127, 0, 0, 1].into(),
                match listener.tls {
                    LdapTls::None => Transport::Tcp,
                    LdapTls::Starttls | LdapTls::Ldaps => Transport::Tls,
                },
            );
            let place = listener.application(origin.source);
            let application = place.and_then(|place| listener.applications.get(place));
            Ok(Origin {
                listener: None,
                application: application.map(|application| application.name.as_str().into()),
                ..origin
            })
        }
        (Some(_) | None, _, _) => {
            let clients = config.clients.iter().map(|client| client.name.as_str());
            let names: Vec<&str> = clients
                .chain(config.ldap.iter().map(|listener| listener.name.as_str()))
                .collect();
            let error = format!("there is no RADIUS client or LDAP listener \"{}\"", request.client);
            Err(ApiError::new(ErrorKind::NotFound, error).with_remedy(format!("there are {}", names.join(", "))))
        }
    }
}
