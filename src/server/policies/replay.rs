//! Logins of the past, decided by other policies.
//!
//! One at a time, page by page, with a pause after each as long as it took: logins go first. What is kept of it is
//! bounded, whatever the audit holds.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admin::api::{ApiError, ErrorKind, ReplayLine, ReplayProgress, ReplayReport, ReplayRequest};
use crate::audit::{Audit, AuditLine, Filter};
use crate::clock::{self, Timestamp};
use crate::config::Config;
use crate::document::Faults;
use crate::engine::event::Context;
use crate::engine::facts::Person;
use crate::engine::policy::{Known, Policy, Rule, Subject, Who};
use crate::engine::{LoginName, Lookup, Manner, Operation, Origin, Protocol};
use crate::ldap::listener::service_account;
use crate::policies::files::PolicyFiles;
use crate::policies::replay::{Recorded, Tally, decide, is_doubtful, proven};
use crate::policies::versions::short;
use crate::server::Node;
use crate::server::control::faulty;
use crate::server::policies::explain::named;
use crate::server::policies::{check, in_background, taken};

impl Node {
    pub(super) async fn replay(&self, request: ReplayRequest, audit: Arc<Audit>, lines: mpsc::Sender<ReplayLine>) {
        let line = match self.replayed(request, &audit, &lines).await {
            Ok(Some(report)) => ReplayLine::Report(Box::new(report)),
            Ok(None) => return,
            Err(error) => ReplayLine::Error(error),
        };
        // Whoever does not listen any more wants no answer.
        let _ = lines.send(line).await.is_ok();
    }

    /// The report; none when nobody listens any more.
    async fn replayed(
        &self,
        request: ReplayRequest,
        audit: &Audit,
        lines: &mpsc::Sender<ReplayLine>,
    ) -> Result<Option<ReplayReport>, ApiError> {
        let Ok(_alone) = self.replaying.try_lock() else {
            let error = ApiError::new(ErrorKind::Refused, "logins are being replayed already");
            return Err(error.with_remedy("one replay runs at a time; wait for the other to end"));
        };
        let until = request.until.unwrap_or_else(clock::now);
        let new_files = taken(request.policies)?;
        let mut replay = self.prepare(new_files).await?;
        let filter = Filter {
            since: Some(request.since),
            until: Some(until),
            people: request.user.into_iter().collect(),
            ..Filter::default()
        };
        let first = self.first_since(audit, request.since).await?;
        let end = self.store.status().audit_sequence + 1;
        let mut next = first;
        loop {
            let progress = ReplayProgress {
                records: next - first,
                of: end.max(next) - first,
            };
            if lines.send(ReplayLine::Progress(progress)).await.is_err() {
                return Ok(None);
            }
            let began = clock::monotonic();
            let stretch = audit.search(&filter, next, PAGE).await?;
            self.look_up(&stretch.records, &mut replay).await;
            for few in stretch.records.chunks(FEW) {
                for line in few {
                    replay.count(line);
                }
                tokio::task::yield_now().await;
            }
            if let Some(damage) = stretch.damaged.first().filter(|_| !replay.unread) {
                replay.unread = true;
                replay.notes.push(format!("Not all records could be read: {damage}."));
            }
            replay.tally.counts.records += stretch.next.saturating_sub(next);
            next = stretch.next;
            if stretch.end || next > end {
                break;
            }
            tokio::time::sleep(began.elapsed().min(LONGEST_PAUSE)).await;
        }
        Ok(Some(replay.report(request.since, until)))
    }

    async fn prepare(&self, new_files: PolicyFiles) -> Result<Replay, ApiError> {
        let engine = self.verifier.engine();
        let names = (
            format!("in force ({})", short(&self.policy_files.load().digest())),
            format!("{} ({})", new_files.folder().display(), short(&new_files.digest())),
        );
        let (file, config) = (self.file.clone(), self.config.load_full());
        let running = Arc::clone(&config);
        let compiled = in_background(move || {
            let (on_disk, _) = Config::load(&file)?;
            let mut faults = Faults::default();
            let (policy, wanted) = check::compile(&file, on_disk, &new_files, &mut faults);
            match faults.any_errors() {
                true => Err(faults),
                false => Ok((policy, wanted.directories != running.directories)),
            }
        });
        let (new, unfetched) = compiled
            .await?
            .map_err(|faults| faulty(&faults).with_remedy("mend the files; nothing was replayed"))?;
        let mut notes = Vec::new();
        if unfetched {
            let note = "The directories in force are not those that the new policies would be used with: attributes of \
                        entries that only those fetch count as missing.";
            notes.push(note.to_owned());
        }
        Ok(Replay {
            doubtful: (is_doubtful(&engine.policy), is_doubtful(&new)),
            old: Arc::clone(&engine.policy),
            new,
            names,
            config,
            people: Cache::new(PEOPLE),
            tally: Tally::default(),
            notes,
            unread: false,
        })
    }

    /// About where the records since a moment begin. Clocks that went back a little are allowed for.
    async fn first_since(&self, audit: &Audit, since: Timestamp) -> Result<u64, ApiError> {
        let since = since - CLOCKS;
        let (mut low, mut high) = (1, self.store.status().audit_sequence + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = audit.search(&Filter::default(), middle, 1).await?;
            match found.records.first() {
                Some(line) if line.at < since => low = line.sequence + 1,
                Some(_) | None => high = middle,
            }
        }
        Ok(low)
    }

    /// Looks up whoever of these records is not known yet, a few at a time.
    async fn look_up(&self, records: &[AuditLine], replay: &mut Replay) {
        let directories = self.verifier.directories();
        let mut asked: HashSet<Name> = HashSet::new();
        let mut under_way: JoinSet<(Name, Looked)> = JoinSet::new();
        for line in records {
            let Some(name) = replay.name(line).filter(|name| !replay.people.contains_key(name)) else {
                continue;
            };
            if !asked.insert(name.clone()) {
                continue;
            }
            if under_way.len() >= LOOK_UPS
                && let Some(Ok((name, looked))) = under_way.join_next().await
            {
                replay.people.insert(name, looked);
            }
            let (Some(directory), Some(login)) = (directories.get(&name.directory).cloned(), replay.login(&name))
            else {
                replay.people.insert(name, Looked::Unreachable);
                continue;
            };
            under_way.spawn(async move {
                let looked = match directory.look_up(&login).await {
                    Lookup::Found(person) => Looked::Person(person),
                    Lookup::Unknown | Lookup::Ambiguous => Looked::Nobody,
                    Lookup::Unavailable(_) => Looked::Unreachable,
                };
                (name, looked)
            });
        }
        while let Some(done) = under_way.join_next().await {
            if let Ok((name, looked)) = done {
                replay.people.insert(name, looked);
            }
        }
    }
}

/// A replay under way.
struct Replay {
    old: Arc<Policy>,
    new: Policy,
    doubtful: (bool, bool),
    names: (String, String),
    config: Arc<Config>,
    people: Cache<Name, Looked>,
    tally: Tally,
    notes: Vec<String>,
    /// Whether a note says that records could not be read.
    unread: bool,
}

/// A name as somebody logged in by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Name {
    directory: String,
    typed: String,
    /// Whether it is that of a service account.
    account: bool,
}

/// Who a name is today.
#[derive(Clone, Debug)]
enum Looked {
    Person(Arc<Person>),
    Nobody,
    Unreachable,
}

impl Replay {
    /// Whom a record is about, where that can be found out.
    fn name(&self, line: &AuditLine) -> Option<Name> {
        operation_of(&line.action)?;
        line.target.as_ref()?;
        let context = line.context.as_ref()?;
        Some(Name {
            directory: context.directory.to_string(),
            typed: line.actor.clone(),
            account: self.account(line).is_some(),
        })
    }

    fn login(&self, name: &Name) -> Option<LoginName> {
        match name.account {
            true => LoginName::account(&name.typed).ok(),
            false => named(&name.typed).ok(),
        }
    }

    /// What is asked of the service account that a record is about, if it is about one.
    fn account(&self, line: &AuditLine) -> Option<(String, Option<Arc<Rule>>)> {
        let client = line.client.as_deref()?;
        let listener = self.config.ldap.iter().find(|listener| listener.name == client)?;
        if !line.via.starts_with("ldap") {
            return None;
        }
        service_account(listener, &line.actor, line.source?)
    }

    /// Decides what a record tells of, if it tells of a login.
    fn count(&mut self, line: &AuditLine) {
        let Some(operation) = operation_of(&line.action) else {
            return;
        };
        self.tally.counts.logins += 1;
        let undecidable = &mut self.tally.counts.undecidable;
        let (Some(context), Some(client), Some(source), Some(protocol)) =
            (&line.context, &line.client, line.source, protocol_of(&line.via))
        else {
            undecidable.no_context += 1;
            return;
        };
        let Some(target) = &line.target else {
            undecidable.nobody += 1;
            return;
        };
        let looked = self
            .name(line)
            .and_then(|name| Some((self.people.get(&name)?, self.login(&name)?)));
        let undecidable = &mut self.tally.counts.undecidable;
        let (person, login) = match looked {
            Some((Looked::Person(person), login)) if person.key.as_str() == target => (person, login),
            Some((Looked::Person(_) | Looked::Nobody, _)) => {
                undecidable.gone += 1;
                return;
            }
            Some((Looked::Unreachable, _)) | None => {
                undecidable.unreachable += 1;
                return;
            }
        };
        let origin = Origin {
            service_account: self.account(line).and_then(|(_, rule)| rule),
            ..origin(protocol, client, source, context)
        };
        let subject = Subject {
            login: &login,
            origin: &origin,
            person: Who::Known(&person),
            operation,
            sessions: None,
            known: Known::default(),
            now: line.at,
        };
        let recorded = Recorded {
            user: &person.login,
            client,
            at: line.at,
            outcome: line.outcome,
            reason: line.reason.as_deref(),
            proven: proven(&line.factors),
        };
        let old = decide(&self.old, self.doubtful.0, &subject);
        let new = decide(&self.new, self.doubtful.1, &subject);
        self.tally.count(&recorded, &subject, old, new);
    }

    fn report(self, since: Timestamp, until: Timestamp) -> ReplayReport {
        let counts = self.tally.counts.clone();
        let (people, rules) = self.tally.changes();
        ReplayReport {
            old: self.names.0,
            new: self.names.1,
            since,
            until,
            more: people.len() >= Tally::MOST,
            counts,
            rules,
            people,
            notes: self.notes,
        }
    }
}

/// Records read at once.
const PAGE: usize = 1000;

/// Records decided before others get their turn.
const FEW: usize = 50;

/// Longest pause after a page.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Look-ups under way at once.
const LOOK_UPS: usize = 4;

/// People remembered.
const PEOPLE: u64 = 100_000;

/// How far the clock may have been set back between two records.
const CLOCKS: Duration = Duration::from_secs(3600);

/// What a record tells of, if it is about a rule's decision.
fn operation_of(action: &str) -> Option<Operation> {
    let all = [Operation::Login, Operation::PasswordChange, Operation::Recovery];
    all.into_iter().find(|operation| operation.action() == action)
}

/// `ldap/external` is LDAP.
fn protocol_of(via: &str) -> Option<Protocol> {
    match via.split('/').next().unwrap_or_default() {
        "radius" => Some(Protocol::Radius),
        "ldap" => Some(Protocol::Ldap),
        _ => None,
    }
}

fn origin(protocol: Protocol, client: &str, source: IpAddr, context: &Context) -> Origin {
    Origin {
        protocol,
        service: Arc::clone(&context.service),
        client: client.into(),
        directory: Arc::clone(&context.directory),
        source,
        nas_identifier: context.nas_identifier.clone(),
        calling_station: context.calling_station.clone(),
        called_station: context.called_station.clone(),
        listener: context.listener.clone(),
        application: context.application.clone(),
        transport: context.transport,
        service_account: None,
        manner: Manner::default(),
    }
}
