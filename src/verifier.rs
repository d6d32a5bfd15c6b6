//! The verifier: loads facts, asks the engine, does what it wants done, commits, and only then answers.

mod delivery;
mod passwords;

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tracing::info;

use crate::clock::{self, Timestamp};
use crate::delivery::Deliveries;
use crate::directory::Directory;
use crate::engine::account::{AccountState, Changed, StateAnswer};
use crate::engine::authenticator::KindSet;
use crate::engine::batch::{Batch, Key, Versioned};
use crate::engine::denials::GroupDenials;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::facts::{self, PasswordOutcome, SessionFacts, UserKey};
use crate::engine::login::{Attempt, Decision, Effect, Engine, Evidence, FAIL_OPEN, Step};
use crate::engine::questions::answers::Hashed;
use crate::engine::record::Record;
use crate::engine::relayed::{Permit, RelayedChange, RelayedResult};
use crate::engine::request::LoginForm;
use crate::engine::reuse::{self, Change};
use crate::engine::throttle::{Limit, Sources};
use crate::engine::upstream::Answer;
use crate::engine::{
    AuthnRequest, BoxFuture, Check, Denial, Facts, LoginName, Lookup, Outage, Verdict, Verify, record,
};
use crate::hashing;
use crate::metrics::{self, Metrics};
use crate::reuse::{Moment, Reuse, Whose};
use crate::store::{CommitError, Durability, Found, Store, StoreError};
use crate::upstream::{Upstream, Upstreams};

/// Directories by name.
pub type Directories = BTreeMap<String, Arc<dyn Directory>>;

/// Joins engine, store and directories. One for the process; its parts are replaced on reload.
pub struct Verifier {
    store: Arc<dyn Store>,
    engine: ArcSwap<Engine>,
    directories: ArcSwap<Directories>,
    upstreams: ArcSwap<Upstreams>,
    deliveries: ArcSwap<Deliveries>,
    source_limit: ArcSwap<Limit>,
    sources: Sources,
    waiting: Waiting,
    reuse: Reuse,
    denials: ArcSwap<GroupDenials>,
    /// Names the next attempt. Begins anywhere, so that attempts from before a restart have other names.
    nonce: AtomicU64,
    metrics: Metrics,
}

/// Attempts that wait for others of the same person.
#[derive(Default)]
struct Waiting(Mutex<HashMap<UserKey, usize>>);

/// A place among those who wait; given up when dropped.
struct Place<'w> {
    waiting: &'w Waiting,
    user: UserKey,
}

impl Waiting {
    /// A place, unless [`MAX_WAITING`] of this person wait already.
    fn enter(&self, lookup: &Lookup) -> Option<Place<'_>> {
        let Lookup::Found(person) = lookup else { return None };
        let mut waiting = self.0.lock();
        let count = waiting.entry(person.key.clone()).or_default();
        if *count >= MAX_WAITING {
            return None;
        }
        *count += 1;
        let user = person.key.clone();
        Some(Place { waiting: self, user })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiting.0.lock();
        if let Some(count) = waiting.get_mut(&self.user) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.user);
            }
        }
    }
}

/// Attempts of one person that may wait; more are turned away, so that a flood on one account takes up
/// no room that others need.
const MAX_WAITING: usize = 128;

/// Times that a decision is made again because the records had changed; each time someone else's went
/// through, so this is met only in a flood on one account.
const MAX_CONFLICTS: u32 = 200;

/// How long an attempt waits for others of the same person to come back.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How often it looks.
const WAIT_STEP: Duration = Duration::from_millis(3);

impl Verifier {
    /// Joins the parts.
    pub fn new(
        store: Arc<dyn Store>,
        engine: Engine,
        directories: Directories,
        source_limit: Limit,
        metrics: Metrics,
    ) -> Self {
        Self {
            store,
            engine: ArcSwap::from_pointee(engine),
            directories: ArcSwap::from_pointee(directories),
            upstreams: ArcSwap::from_pointee(Upstreams::new()),
            deliveries: ArcSwap::default(),
            source_limit: ArcSwap::from_pointee(source_limit),
            sources: Sources::default(),
            waiting: Waiting::default(),
            reuse: Reuse::default(),
            denials: ArcSwap::default(),
            nonce: AtomicU64::new(u64::from_be_bytes(clock::random())),
            metrics,
        }
    }

    /// Replaces policy and settings, directories and limits. Attempts under way end as they began.
    pub fn replace(&self, engine: Engine, directories: Directories, source_limit: Limit) {
        self.engine.store(Arc::new(engine));
        self.directories.store(Arc::new(directories));
        self.source_limit.store(Arc::new(source_limit));
        // What was proven under the old rules counts no more.
        self.reuse.forget(Whose::All, clock::now());
    }

    /// Replaces the upstream servers.
    pub fn replace_upstreams(&self, upstreams: Upstreams) {
        self.upstreams.store(Arc::new(upstreams));
    }

    /// The upstream servers in force.
    pub fn upstreams(&self) -> Arc<Upstreams> {
        self.upstreams.load_full()
    }

    /// The codes that count for longer than one login.
    pub fn reuse(&self) -> &Reuse {
        &self.reuse
    }

    /// The groups that nobody of is let in. From the moment that others are put here no login is let in by the old
    /// ones, not one that is under way.
    pub fn denials(&self) -> &ArcSwap<GroupDenials> {
        &self.denials
    }

    /// The engine in force.
    pub fn engine(&self) -> Arc<Engine> {
        self.engine.load_full()
    }

    /// The directories in force.
    pub fn directories(&self) -> Arc<Directories> {
        self.directories.load_full()
    }

    /// The sessions that a login of this person is judged by.
    ///
    /// # Errors
    /// When the store cannot be read, or the record is damaged.
    pub async fn sessions_of(&self, user: &UserKey, most: usize, now: Timestamp) -> Result<SessionFacts, StoreError> {
        let key = Key::grants(user);
        let grants = self.store.read(std::slice::from_ref(&key), now).await?;
        let grants = decoded(grants.into_iter().next())?;
        // Counted after: see there.
        let open = self.store.scan(&Key::sessions_of(user), None, most).await?.len();
        Ok(SessionFacts { open, grants })
    }

    async fn decide(&self, request: &AuthnRequest, mut check: Check<'_>) -> Decided {
        let began = self.reuse.moment();
        let engine = self.engine.load_full();
        let name: &str = &request.origin.directory;
        let Some(directory) = self.directories.load().get(name).cloned() else {
            return Decided::outage(format!("there is no directory named {name}"));
        };
        let lookup = match (request.login.form(), &request.origin.service_account) {
            // From an address that it may not come from, a service account is nobody.
            (LoginForm::Account(_), None) => Lookup::Unknown,
            _ => {
                let began = clock::monotonic();
                let found = directory.look_up(&request.login).await;
                self.metrics
                    .directory_took(&request.origin.directory, "look-up", began.elapsed());
                found
            }
        };
        let account = match account_state(engine.policy.asks_credential(), directory.as_ref(), &lookup).await {
            Ok(account) => account,
            Err(reason) => return Decided::outage(reason),
        };
        let claims = &request.claims;
        let known = Known {
            lookup: &lookup,
            certificate: whose(directory.as_ref(), request, claims.certificate.as_ref(), &lookup).await,
            acting_as: whose(directory.as_ref(), request, claims.acting_as.as_ref(), &lookup).await,
            password_by: directory.password_by(),
            most_sessions: engine.policy.most_sessions(),
            reuses: engine.policy.reuses() && reuse::split(request).is_some(),
            approves: engine.policy.approves(),
            account,
        };
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        let mut conflicts = 0;
        let mut queued = None;
        let mut waited = Duration::ZERO;
        let mut under_way: Option<(Attempt<'_>, Evidence)> = None;
        let mut read_before = None;
        loop {
            if conflicts > MAX_CONFLICTS {
                return Decided::outage("the records of this person change too fast".into());
            }
            let now = clock::now();
            let sends = match &under_way {
                None => request.dialog.is_some() && !engine.policy.routes.0.is_empty(),
                Some((attempt, _)) => attempt.may_send(),
            };
            let facts = match read_before.take() {
                Some(facts) => facts,
                None => match self.facts(&known, request, sends.then_some(&*engine), now).await {
                    Ok(facts) => facts,
                    Err(error) => return Decided::outage(error.to_string()),
                },
            };
            // After a conflict the same evidence is judged again on newer facts.
            let step = match &under_way {
                None => engine.begin(request, &facts, now, nonce),
                Some((attempt, evidence)) => attempt.clone().resume(evidence.clone(), &facts, now),
            };
            let (effect, attempt) = match step {
                Step::Do(effect, attempt) => (effect, attempt),
                Step::Decided(decision) => match self.commit(decision, request, &facts, began).await {
                    Some(decided) => return decided,
                    None => {
                        conflicts += 1;
                        continue;
                    }
                },
                Step::Wait => {
                    queued = queued.or_else(|| self.waiting.enter(&lookup));
                    if queued.is_none() || waited >= MAX_WAIT {
                        return Decided::outage("other attempts of this person do not come back".into());
                    }
                    tokio::time::sleep(WAIT_STEP).await;
                    waited += WAIT_STEP;
                    continue;
                }
            };
            queued = None;
            let unchanged = effect.changes_nothing();
            let (performed, asked) =
                watched(self.perform(effect, (directory.as_ref(), &request.origin.directory), &mut check)).await;
            match performed {
                Ok(evidence) => {
                    under_way = Some((attempt, evidence));
                    // What was read a moment ago need not be read again; while somebody else was asked, it
                    // may have been changed.
                    let sends = under_way.as_ref().is_some_and(|(attempt, _)| attempt.may_send());
                    read_before = (unchanged && !asked && !sends).then_some(facts);
                }
                Err(CommitError::Conflict) => conflicts += 1,
                Err(error @ CommitError::Unavailable(_)) => return Decided::outage(error.to_string()),
            }
        }
    }

    /// Commits what the effect rests on, then does it.
    async fn perform(
        &self,
        effect: Effect,
        (directory, name): (&dyn Directory, &Arc<str>),
        check: &mut Check<'_>,
    ) -> Result<Evidence, CommitError> {
        match effect {
            Effect::VerifyPassword {
                person,
                password,
                reserve,
            } => {
                self.write(reserve, Durability::Visible).await?;
                Ok(Evidence::Password(match check {
                    Check::Directory => {
                        let began = clock::monotonic();
                        let outcome = directory.verify(&person, &password).await;
                        self.metrics.directory_took(name, "password", began.elapsed());
                        outcome
                    }
                    Check::Own(own) => own.check(&person, &password).await,
                }))
            }
            Effect::VerifyResponse {
                person,
                response,
                reserve,
            } => {
                self.write(reserve, Durability::Visible).await?;
                let outcome = directory.verify_response(&person, &response).await;
                Ok(Evidence::Response(outcome))
            }
            Effect::Change {
                person,
                change,
                reserve,
            } => {
                self.write(reserve, Durability::Durable).await?;
                let changed = directory.change(&person, change.as_change()).await;
                if matches!(changed, Changed::Done | Changed::Lost(_)) {
                    self.password_changed(directory.name(), Some(&person.key));
                }
                Ok(Evidence::Changed(changed))
            }
            Effect::AskUpstream { question, reserve } => {
                self.write(reserve, Durability::Visible).await?;
                Ok(Evidence::Upstream(match self.upstream(&question.upstream) {
                    Ok(upstream) => upstream.ask(&question).await,
                    Err(reason) => Answer::Unavailable(reason),
                }))
            }
            Effect::Deliver {
                delivery,
                message,
                note,
                reserve,
            } => {
                self.write(reserve, Durability::Durable).await?;
                Ok(Evidence::Delivered(self.deliver(&delivery, message, note).await))
            }
            Effect::Hash(job) => {
                let salt = job.salt;
                let hash = hashing::pool().answer(job).await;
                Ok(Evidence::Hashed(Hashed { salt, hash }))
            }
            Effect::VerifyNobody { password, by: None } => {
                Ok(Evidence::Password(directory.verify_nobody(&password).await))
            }
            Effect::VerifyNobody { by: Some(name), .. } => Ok(Evidence::Password(match self.upstream(&name) {
                Ok(upstream) => upstream.ask_about_nobody().await,
                Err(reason) => PasswordOutcome::Unavailable(reason),
            })),
        }
    }

    fn upstream(&self, name: &str) -> Result<Arc<Upstream>, String> {
        let upstream = self.upstreams.load().get(name).cloned();
        upstream.ok_or_else(|| format!("there is no upstream named {name}"))
    }

    /// Makes a decision durable; `None` when its facts are out of date.
    async fn commit(
        &self,
        decision: Decision,
        request: &AuthnRequest,
        facts: &Facts,
        began: Moment,
    ) -> Option<Decided> {
        let Decision {
            verdict,
            mut batch,
            rule,
            proven,
            reuse: change,
        } = decision;
        if matches!(verdict, Verdict::Reject(Denial::SourceThrottled)) {
            batch.audit.extend(self.note_unheard(request, clock::now()));
        }
        // The audit says which attribute; so shall the log.
        let detail = match verdict {
            Verdict::Reject(Denial::ReplyAttribute | Denial::ChangeForbidden) => {
                batch.audit.iter().rev().find_map(|event| event.reason.clone())
            }
            Verdict::Accept(_) if matches!(change, Some(Change::Used { .. })) => Some(reuse::WORD.to_owned()),
            Verdict::Accept(_) => {
                let mut reasons = batch.audit.iter().rev().filter_map(|event| event.reason.as_deref());
                reasons.find(|reason| reason.starts_with(FAIL_OPEN)).map(str::to_owned)
            }
            Verdict::Restricted(_)
            | Verdict::Closed(_)
            | Verdict::Challenge(_)
            | Verdict::Reject(_)
            | Verdict::Unavailable(_) => None,
        };
        match self.write(batch, Durability::Durable).await {
            Ok(()) => {
                if let Some(late) = self.denied_meanwhile(&verdict, request, facts, rule.as_ref()).await {
                    return Some(late);
                }
                if let Some(change) = change {
                    if matches!(change, Change::Used { .. }) {
                        self.metrics.reused(&request.origin.client);
                    }
                    self.reuse.apply(change, began);
                }
                Some(Decided {
                    verdict,
                    detail,
                    rule,
                    factors: proven,
                })
            }
            Err(CommitError::Conflict) => None,
            Err(CommitError::Unavailable(error)) => Some(Decided::outage(error.to_string())),
        }
    }

    /// Whoever is let in by a decision that did not know of a denial of one of their groups is not let in: the operator
    /// has been told already that it is in force.
    async fn denied_meanwhile(
        &self,
        verdict: &Verdict,
        request: &AuthnRequest,
        facts: &Facts,
        rule: Option<&Arc<str>>,
    ) -> Option<Decided> {
        let person = match verdict {
            Verdict::Accept(grant) => &grant.person,
            Verdict::Restricted(restricted) => &restricted.person,
            Verdict::Closed(_) | Verdict::Challenge(_) | Verdict::Reject(_) | Verdict::Unavailable(_) => return None,
        };
        let denials = self.denials.load();
        if Arc::ptr_eq(&denials, &facts.denials) {
            return None;
        }
        let now = clock::now();
        denials.of(person, now)?;
        let denial = Denial::Denied;
        let batch = Batch {
            audit: vec![crate::engine::login::refusal(
                request,
                person,
                rule.map(AsRef::as_ref),
                denial,
                now,
            )],
            ..Batch::default()
        };
        Some(match self.write(batch, Durability::Durable).await {
            Ok(()) => Decided {
                verdict: Verdict::Reject(denial),
                detail: None,
                rule: rule.cloned(),
                factors: KindSet::EMPTY,
            },
            Err(error) => Decided::outage(error.to_string()),
        })
    }

    /// The audit record that stands for many refusals of one source.
    fn note_unheard(&self, request: &AuthnRequest, now: Timestamp) -> Option<AuditEvent> {
        let origin = &request.origin;
        let count = self.sources.refused(origin.source, now)?;
        Some(AuditEvent {
            at: now,
            action: request.purpose.operation().action().into(),
            actor: request.login.to_string(),
            target: None,
            via: origin.protocol.to_string(),
            client: Some(origin.client.to_string()),
            source: Some(origin.source),
            rule: None,
            factors: Vec::new(),
            outcome: Outcome::Reject,
            reason: Some(format!("{}: {count} refused unheard", Denial::SourceThrottled.word())),
            context: None,
        })
    }

    async fn write(&self, batch: Batch, durability: Durability) -> Result<(), CommitError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.store.commit(batch, durability).await.map(|_| ())
    }

    /// What is known now; of codes that were sent only where an engine is given that may have one sent.
    async fn facts(
        &self,
        known: &Known<'_>,
        request: &AuthnRequest,
        sends: Option<&Engine>,
        now: Timestamp,
    ) -> Result<Facts, StoreError> {
        let source_over_limit = self
            .sources
            .is_over(request.origin.source, **self.source_limit.load(), now);
        let mut facts = Facts {
            lookup: known.lookup.clone(),
            user: Versioned::default(),
            throttle: Versioned::default(),
            source_over_limit,
            password_by: known.password_by.cloned(),
            challenged: Versioned::default(),
            sessions: None,
            certificate: known.certificate.clone(),
            acting_as: known.acting_as.clone(),
            reused: None,
            sending: None,
            approval: None,
            account: known.account.clone(),
            denials: self.denials.load_full(),
        };
        if let Lookup::Found(person) = known.lookup
            && known.most_sessions > 0
        {
            facts.sessions = Some(self.sessions_of(&person.key, known.most_sessions, now).await?);
        }
        if let Lookup::Found(person) = known.lookup
            && known.reuses
        {
            facts.reused = self.reuse.find(&person.key, &request.origin);
        }
        if let (Lookup::Found(person), Some(engine)) = (known.lookup, sends) {
            facts.sending = Some(self.sending(engine, person, now).await?);
        }
        if let Lookup::Found(person) = known.lookup {
            let asking = request.dialog.as_ref().and_then(|dialog| dialog.asking);
            let keys = [Key::user(&person.key), Key::throttle(&person.key)];
            let mut found = self.store.read(&keys, now).await?.into_iter();
            facts.user = decoded(found.next())?;
            facts.throttle = decoded(found.next())?;
            if let Some(id) = facts.user.value.approval.filter(|_| known.approves) {
                let key = [Key::request(id)];
                facts.approval = decoded_if_any(self.store.read(&key, now).await?.into_iter().next())?;
            }
            if let Some(id) = asking {
                let key = [Key::upstream(id)];
                facts.challenged = decoded(self.store.read(&key, now).await?.into_iter().next())?;
            }
        }
        Ok(facts)
    }
}

/// What is known of whoever logs in before the store is read.
struct Known<'a> {
    lookup: &'a Lookup,
    /// Whose the name is that a certificate gives.
    certificate: facts::Whose,
    /// Whose the authorization identity is.
    acting_as: facts::Whose,
    /// The upstream that judges passwords in place of the directory.
    password_by: Option<&'a Arc<str>>,
    /// Sessions that the policy wants counted at most.
    most_sessions: usize,
    /// Whether the login may rest on one of before.
    reuses: bool,
    /// Whether it may rest on an approval.
    approves: bool,
    /// What the directory says of the account, where the policy asks.
    account: Option<Box<AccountState>>,
}

impl Verify for Verifier {
    fn verify<'a>(&'a self, request: AuthnRequest, check: Check<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(async move {
            let began = clock::monotonic();
            let Decided {
                verdict,
                detail,
                rule,
                factors,
            } = self.decide(&request, check).await;
            let span = began.elapsed();
            let (outcome, denied, reason, advice) = match &verdict {
                Verdict::Accept(_) => ("accept", "", detail.as_deref().unwrap_or(""), None),
                Verdict::Restricted(_) => ("restricted", "", "", None),
                Verdict::Challenge(prompt) => {
                    let denial = prompt.untold;
                    if denial.is_some_and(Denial::counts_against_source) {
                        self.sources
                            .count(request.origin.source, **self.source_limit.load(), clock::now());
                    }
                    ("challenge", "", denial.map_or("", Denial::word), None)
                }
                Verdict::Closed(closed) => ("closed", "", closed.word, None),
                Verdict::Reject(denial) => {
                    if denial.counts_against_source() {
                        self.sources
                            .count(request.origin.source, **self.source_limit.load(), clock::now());
                    }
                    let word = detail.as_deref().unwrap_or(denial.word());
                    ("reject", denial.word(), word, denial.advice())
                }
                Verdict::Unavailable(Outage { reason }) => ("unavailable", "", reason.as_str(), None),
            };
            let origin = &request.origin;
            let protocol = match origin.protocol {
                crate::engine::Protocol::Radius => "radius",
                crate::engine::Protocol::Ldap => "ldap",
            };
            info!(
                protocol,
                client = %origin.client,
                source = %origin.source,
                user = %request.login,
                operation = %request.purpose.operation(),
                mechanism = request.claims.mechanism.as_deref(),
                rule = rule.as_deref().unwrap_or(""),
                %factors,
                outcome,
                reason,
                advice,
                ms = (span.as_secs_f64() * 1e6).round() / 1000.0,
                "login"
            );
            let client = Arc::clone(&origin.client);
            self.metrics.decided(
                &metrics::Decision {
                    protocol,
                    client,
                    outcome,
                    reason: denied,
                },
                span,
            );
            verdict
        })
    }

    fn permit<'a>(&'a self, change: &'a RelayedChange) -> BoxFuture<'a, Permit> {
        Box::pin(self.permit_change(change))
    }

    fn relayed<'a>(
        &'a self,
        change: &'a RelayedChange,
        rule: &'a str,
        result: RelayedResult,
    ) -> BoxFuture<'a, Result<(), Outage>> {
        Box::pin(self.change_relayed(change, rule, result))
    }
}

/// A verdict whose batch is committed.
struct Decided {
    verdict: Verdict,
    /// What the log says instead of the denial's word.
    detail: Option<String>,
    rule: Option<Arc<str>>,
    factors: KindSet,
}

impl Decided {
    fn outage(reason: String) -> Self {
        Self {
            verdict: Verdict::Unavailable(Outage { reason }),
            detail: None,
            rule: None,
            factors: KindSet::EMPTY,
        }
    }
}

/// Whose a further name of a request is.
async fn whose(
    directory: &dyn Directory,
    request: &AuthnRequest,
    name: Option<&LoginName>,
    login: &Lookup,
) -> facts::Whose {
    match name {
        None => facts::Whose::Absent,
        Some(name) if *name == request.login => facts::Whose::of(login, login),
        Some(name) => facts::Whose::of(&directory.look_up(name).await, login),
    }
}

/// What the directory says of somebody's account, where it is `asked`. For nobody it is asked all the same, so that the
/// time it takes tells nothing.
async fn account_state(
    asked: bool,
    directory: &dyn Directory,
    lookup: &Lookup,
) -> Result<Option<Box<AccountState>>, String> {
    let answer = match lookup {
        _ if !asked => return Ok(None),
        Lookup::Found(person) => directory.state(person).await,
        Lookup::Unknown | Lookup::Ambiguous => directory.state_of_nobody().await,
        Lookup::Unavailable(_) => return Ok(None),
    };
    match answer {
        StateAnswer::Known(state) => Ok(Some(Box::new(state))),
        StateAnswer::Unsupported | StateAnswer::Unknown => Ok(None),
        StateAnswer::Unavailable(reason) => Err(reason),
    }
}

/// Awaits, and tells whether there was anything to wait for.
async fn watched<T>(future: impl Future<Output = T>) -> (T, bool) {
    let mut future = pin!(future);
    let mut waited = false;
    let value = poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        waited |= polled.is_pending();
        polled
    })
    .await;
    (value, waited)
}

fn decoded_if_any<T: Record>(found: Option<Found>) -> Result<Option<Box<T>>, StoreError> {
    let octets = found.and_then(|found| found.value);
    let decoded = octets.map(|octets| record::decode(&octets).map(Box::new));
    decoded.transpose().map_err(|error| StoreError(error.to_string()))
}

fn decoded<T: Record + Default>(found: Option<Found>) -> Result<Versioned<T>, StoreError> {
    let Some(Versioned { value, version }) = found else {
        return Err(StoreError("a read came back short".into()));
    };
    let value = match value {
        Some(octets) => record::decode(&octets).map_err(|error| StoreError(error.to_string()))?,
        None => T::default(),
    };
    Ok(Versioned { value, version })
}

#[cfg(test)]
mod tests;
