//! What the admin socket asks of the process: reload, status, policies.

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::admin::api::{
    ApiError, AskedReport, ClientRow, ClientView, DeliveryStatus, DeliveryTestRequest, DeliveryTested, DirectoryStatus,
    ErrorKind, ExplainRequest, Explanation, FaultLine, ForgetRequest, Forgotten, ListenerStatus, PolicyReport,
    PolicySummary, ReloadReport, ReuseList, ServerStatus, SessionList, SessionView, StatusReport, StoreStatus,
    StrangerView, TestReport, UpstreamServerStatus, UpstreamStatus,
};
use crate::admin::{Control, WhichSessions};
use crate::clock::{self, Timestamp};
use crate::config::{Config, LdapTls, Transport};
use crate::delivery;
use crate::directory;
use crate::document::{Fault, Faults, Severity};
use crate::engine::batch::Key;
use crate::engine::facts::SessionFacts;
use crate::engine::outline::outline;
use crate::engine::policy::{Ruling, Subject, Who};
use crate::engine::record::{self, UserRecord};
use crate::engine::request::BadName;
use crate::engine::{BoxFuture, Capability, LoginName, Lookup, Manner, Origin, Protocol, UserKey};
use crate::ldap::listener::service_account;
use crate::metrics;
use crate::server::deliveries;
use crate::server::ending::Ending;
use crate::server::parts::{self, Parts, Running};
use crate::server::upstreams;
use crate::server::{Node, dialogs};
use crate::upstream;

impl Control for Node {
    fn operators(&self) -> Vec<String> {
        self.config.load().admin.operators.clone()
    }

    fn reload(&self) -> BoxFuture<'_, Result<ReloadReport, ApiError>> {
        Box::pin(self.reload())
    }

    fn status(&self, probe: bool) -> BoxFuture<'_, StatusReport> {
        Box::pin(self.report(probe))
    }

    fn expel(&self, user: &UserKey) -> usize {
        self.bindings.expel(user, clock::monotonic())
    }

    fn end_sessions(&self, which: WhichSessions, operator: String) -> BoxFuture<'_, Result<AskedReport, ApiError>> {
        Box::pin(async move { self.ending().end(which, operator).await })
    }

    fn refresh_sessions(
        &self,
        user: Option<UserKey>,
        client: Option<String>,
        operator: String,
    ) -> BoxFuture<'_, Result<AskedReport, ApiError>> {
        Box::pin(async move { self.ending().refresh(user, client, operator).await })
    }

    fn policy_check(&self) -> BoxFuture<'_, PolicyReport> {
        Box::pin(async move {
            let config = self.config.load_full();
            let read = tokio::task::spawn_blocking(move || check_policies(&config)).await;
            read.unwrap_or_else(|error| PolicyReport {
                path: String::new(),
                files: Vec::new(),
                rules: 0,
                workflows: Vec::new(),
                languages: Vec::new(),
                faults: vec![FaultLine {
                    warning: false,
                    file: String::new(),
                    line: 0,
                    column: 0,
                    key: String::new(),
                    message: format!("the policies could not be checked: {error}"),
                }],
            })
        })
    }

    fn policy_explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<Explanation, ApiError>> {
        Box::pin(self.explain(request))
    }

    fn sessions(
        &self,
        user: Option<UserKey>,
        client: Option<String>,
        limit: usize,
    ) -> BoxFuture<'_, Result<SessionList, ApiError>> {
        Box::pin(self.session_list(user, client, limit))
    }

    fn reused(&self, user: Option<&UserKey>, limit: usize) -> ReuseList {
        self.reuse_list(user, limit)
    }

    fn clear_reused(&self, user: Option<&UserKey>) -> usize {
        self.clear_reuse(user)
    }

    fn session(&self, name: String) -> BoxFuture<'_, Result<SessionView, ApiError>> {
        Box::pin(async move { self.session_view(&name).await })
    }

    fn clients(&self) -> Vec<ClientRow> {
        self.client_rows()
    }

    fn client(&self, name: &str) -> Result<ClientView, ApiError> {
        self.client_view(name)
    }

    fn strangers(&self) -> Vec<StrangerView> {
        self.stranger_views()
    }

    fn test_client(&self, name: String) -> BoxFuture<'_, Result<TestReport, ApiError>> {
        Box::pin(async move { self.test(&name).await })
    }

    fn test_delivery(&self, request: DeliveryTestRequest) -> BoxFuture<'_, Result<DeliveryTested, ApiError>> {
        Box::pin(async move { deliveries::test(&self.verifier.deliveries(), &request).await })
    }

    fn forget_client(&self, request: ForgetRequest, operator: String) -> BoxFuture<'_, Result<Forgotten, ApiError>> {
        Box::pin(self.forget_learned(request, operator))
    }
}

impl Node {
    /// What asks clients about their sessions.
    pub(super) fn ending(&self) -> Ending {
        Ending {
            store: Arc::clone(&self.store),
            sessions: Arc::clone(&self.sessions),
            clients: Arc::clone(&self.clients),
            verifier: Arc::clone(&self.verifier),
            metrics: self.metrics.clone(),
        }
    }

    /// Reads everything again, and replaces what is in force if all of it is sound.
    pub(super) async fn reload(&self) -> Result<ReloadReport, ApiError> {
        let reloaded = self.reload_quietly().await;
        match &reloaded {
            Ok(report) => info!(changes = ?report.changes, needs_restart = ?report.needs_restart, "reloaded"),
            Err(error) => error!("not reloaded, the old configuration stays in force: {error}"),
        }
        reloaded
    }

    async fn reload_quietly(&self) -> Result<ReloadReport, ApiError> {
        let _one_at_a_time = self.reloading.lock().await;
        let old = self.config.load_full();
        let (file, config, directories) = (self.file.clone(), Arc::clone(&old), self.verifier.directories());
        let read = tokio::task::spawn_blocking(move || {
            Parts::load(
                &file,
                Some(&Running {
                    config: &config,
                    directories: &directories,
                }),
            )
        });
        let parts = match read.await {
            Ok(Ok(parts)) => parts,
            Ok(Err(faults)) => return Err(faulty(&faults)),
            Err(error) => return Err(ApiError::new(ErrorKind::Internal, error.to_string())),
        };
        for (name, tls) in &self.certificates {
            if let Err(error) = tls.reload() {
                let error = format!("ldap listener \"{name}\": {}", parts::describe(error));
                return Err(
                    ApiError::new(ErrorKind::Faulty, error).with_remedy("mend the certificate and reload again")
                );
            }
        }
        for (name, tls) in &self.radius_certificates {
            if let Err(error) = tls.reload() {
                let error = format!("radius listener \"{name}\": {}", parts::describe(error));
                return Err(
                    ApiError::new(ErrorKind::Faulty, error).with_remedy("mend the certificate and reload again")
                );
            }
        }
        let before = upstreams::Before {
            config: Arc::clone(&old),
            upstreams: self.verifier.upstreams(),
        };
        let started = upstreams::start(
            Arc::clone(&parts.config),
            Arc::clone(&parts.dictionary),
            Arc::clone(&self.keyring),
            Some(before),
        )
        .await;
        let upstreams = started.map_err(|error| ApiError::new(ErrorKind::Faulty, error))?;
        if let Err(error) = self.streams.replace(&parts.config.audit_streams).await {
            return Err(ApiError::new(ErrorKind::Faulty, parts::describe(error)));
        }
        let (changes, needs_restart) = self.differences(&old, &parts);
        let (engine, directories, source_limit) = parts.judging(&self.keyring);
        for directory in directories.values() {
            directory.forget_look_ups();
        }
        self.verifier.replace_upstreams(upstreams);
        let running = self.verifier.deliveries();
        let kept = deliveries::keep(&parts.deliveries, &parts.config, &old, &running);
        self.verifier.replace_deliveries(Arc::new(kept));
        self.verifier.replace(engine, directories, source_limit);
        parts.clients.continue_from(&self.clients.load());
        self.clients.store(Arc::clone(&parts.clients));
        self.sessions.replace(parts::session_settings(&parts.config));
        self.dictionary.store(Arc::clone(&parts.dictionary));
        self.config.store(Arc::clone(&parts.config));
        self.loaded.store(Arc::new(clock::now()));
        for fault in &parts.warnings.0 {
            warn!("{fault}");
        }
        Ok(ReloadReport {
            changes,
            needs_restart,
            warnings: parts.warnings.0.iter().map(line).collect(),
        })
    }

    /// What a reload changes, and what it cannot change.
    fn differences(&self, old: &Config, parts: &Parts) -> (Vec<String>, Vec<String>) {
        let new = &parts.config;
        let mut changes = Vec::new();
        if self.verifier.engine().policy.digest != parts.policy.digest {
            changes.push(format!("policies: {} rules", parts.policy.rules.len()));
        }
        if self.verifier.engine().policy.workflows != parts.policy.workflows {
            changes.push("workflows: dialogs under way in those that changed end".into());
        }
        if self.verifier.engine().policy.texts != parts.policy.texts {
            let languages: Vec<&str> = parts.policy.texts.languages().collect();
            changes.push(format!("prompts: {}", languages.join(", ")));
        }
        if old.limits != new.limits {
            changes.push("limits".into());
        }
        if old.dictionary != new.dictionary {
            changes.push("dictionary".into());
        }
        if old.accounting != new.accounting {
            changes.push("accounting".into());
        }
        if old.passcodes != new.passcodes {
            changes.push("passcodes".into());
        }
        if old.approvals != new.approvals {
            changes.push("approvals".into());
        }
        if old.directories != new.directories {
            changes.push("directories".into());
        }
        if old.upstreams != new.upstreams {
            changes.push("upstreams".into());
        }
        if old.deliveries != new.deliveries {
            changes.push("deliveries".into());
        }
        if old.audit_streams != new.audit_streams {
            changes.push("audit streams".into());
        }
        if old.admin.operators != new.admin.operators {
            changes.push("operators".into());
        }
        if old.clients != new.clients {
            changes.push(format!("RADIUS clients: {}", new.clients.len()));
        }
        let mut waits = Vec::new();
        let mut wait = |differs: bool, what: &str| {
            if differs {
                waits.push(what.to_owned());
            }
        };
        wait(old.radius != new.radius, "[[radius]]");
        wait(old.ldap != new.ldap, "[[ldap]]");
        wait(old.store != new.store, "[store]");
        wait(old.node != new.node, "[node]");
        wait(old.log != new.log, "[log]");
        wait(old.metrics != new.metrics, "[metrics]");
        wait(
            old.admin.socket != new.admin.socket || old.admin.group != new.admin.group,
            "[admin] socket and group",
        );
        (changes, waits)
    }

    async fn report(&self, probe: bool) -> StatusReport {
        let config = self.config.load_full();
        let engine = self.verifier.engine();
        let mut directories = Vec::new();
        for directory in self.verifier.directories().values() {
            let status = if probe {
                directory.probe().await
            } else {
                directory.status()
            };
            directories.push(directory_status(status));
        }
        let mut upstreams = Vec::new();
        for upstream in self.verifier.upstreams().values() {
            let status = if probe {
                upstream.probe().await
            } else {
                upstream.status()
            };
            upstreams.push(upstream_status(status));
        }
        let mut deliveries = Vec::new();
        for delivery in self.verifier.deliveries().values() {
            let status = if probe {
                delivery.probe().await
            } else {
                delivery.status()
            };
            deliveries.push(delivery_status(status));
        }
        let store = self.store.status();
        if probe {
            self.probe_streams().await;
        }
        StatusReport {
            nodes: vec![self.node_status(&config, &store)],
            streams: self.streams.status(),
            version: env!("CARGO_PKG_VERSION").into(),
            node: node_name(&config),
            pid: std::process::id(),
            started: self.started,
            config: self.file.display().to_string(),
            loaded: **self.loaded.load(),
            policies: PolicySummary {
                path: config.policies.path.display().to_string(),
                rules: engine.policy.rules.len(),
                version: engine.policy.digest.get(..16).unwrap_or_default().to_owned(),
            },
            listeners: self.listener_statuses(&config),
            directories,
            upstreams,
            deliveries,
            store: StoreStatus {
                kind: store.kind,
                location: store.location,
                revision: store.revision,
                audit_sequence: store.audit_sequence,
                size: store.size,
                queue: store.queue,
                error: store.error,
            },
            sessions: self.sessions.open(),
        }
    }

    fn listener_statuses(&self, config: &Config) -> Vec<ListenerStatus> {
        let active = |count: i64| u64::try_from(count).unwrap_or(0);
        let worked_on = &self.metrics.in_flight;
        let radius_active = worked_on.get_or_create(&metrics::Protocol { protocol: "radius" }).get();
        let radius = config.radius.iter().map(|listener| ListenerStatus {
            name: listener.name.clone(),
            kind: match listener.transport {
                Transport::Udp => "radius",
                Transport::Tcp => "radius+tcp",
                Transport::Tls => "radsec",
            }
            .into(),
            address: listener.listen.to_string(),
            active: match listener.transport {
                Transport::Udp => active(radius_active),
                Transport::Tcp | Transport::Tls => active(self.metrics.radius_connections(&listener.name).get()),
            },
            certificate_ends: self.radius_ends(&listener.name),
            error: None,
        });
        let ldap = config.ldap.iter().map(|listener| ListenerStatus {
            name: listener.name.clone(),
            kind: match listener.tls {
                LdapTls::Ldaps => "ldaps",
                LdapTls::Starttls => "ldap+starttls",
                LdapTls::None => "ldap",
            }
            .into(),
            address: listener.listen.to_string(),
            active: active(self.metrics.ldap_connections.get()),
            certificate_ends: self.ldap_ends(&listener.name),
            error: None,
        });
        let metrics = config.metrics.listen.map(|address| ListenerStatus {
            name: "metrics".into(),
            kind: "metrics".into(),
            address: address.to_string(),
            active: 0,
            certificate_ends: None,
            error: None,
        });
        radius.chain(ldap).chain(metrics).collect()
    }

    /// When the first of what a RADIUS listener's TLS rests on ends.
    pub(super) fn radius_ends(&self, listener: &str) -> Option<Timestamp> {
        let (_, tls) = self.radius_certificates.iter().find(|(name, _)| name == listener)?;
        tls.endings().iter().map(|ending| ending.at).min()
    }

    fn ldap_ends(&self, listener: &str) -> Option<Timestamp> {
        let (_, tls) = self.certificates.iter().find(|(name, _)| name == listener)?;
        tls.endings().iter().map(|ending| ending.at).min()
    }

    async fn explain(&self, request: ExplainRequest) -> Result<Explanation, ApiError> {
        let config = self.config.load_full();
        let mut origin = origin(&config, &request)?;
        if let (Protocol::Radius, Some(client)) = (origin.protocol, self.clients.load().named(&origin.client)) {
            origin.manner = client.manner.clone();
        }
        let invalid = |error: BadName| ApiError::new(ErrorKind::Invalid, error.to_string());
        let mut login = named(&request.user).map_err(invalid)?;
        let listener = config.ldap.iter().find(|listener| listener.name == *origin.client);
        let asked = listener
            .filter(|_| origin.protocol == Protocol::Ldap)
            .and_then(|listener| service_account(listener, &request.user, origin.source));
        if let Some((account, rule)) = &asked {
            login = LoginName::account(account).map_err(invalid)?;
            origin.service_account = rule.clone();
        }
        let misplaced = asked.is_some_and(|(_, rule)| rule.is_none());
        let name: &str = &origin.directory;
        let Some(directory) = self.verifier.directories().get(name).cloned() else {
            return Err(ApiError::new(
                ErrorKind::NotFound,
                format!("there is no directory \"{name}\""),
            ));
        };
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
        let sessions = match &person {
            Who::Known(person) => {
                // As the verifier counts, by the clock: `at` is about the policy alone.
                let now = clock::now();
                let facts = self.verifier.sessions_of(&person.key, SessionFacts::MOST, now).await;
                let facts = facts.map_err(|error| ApiError::new(ErrorKind::Unavailable, error.to_string()))?;
                Some(facts.count(now))
            }
            Who::Decoy => None,
        };
        let operation = request.operation.unwrap_or_default();
        let subject = Subject {
            operation,
            sessions,
            login: &login,
            origin: &origin,
            person,
            now: request.at.unwrap_or_else(clock::now),
        };
        let explained = engine.policy.explain(&subject);
        let terms = engine.policy.ruling(&subject).and_then(|rule| match &rule.ruling {
            Ruling::Require(terms) => Some(terms),
            Ruling::Deny => None,
        });
        let held = self.held_back(&person, subject.now).await?;
        let possible = terms.is_none_or(|terms| !terms.requirement_for(operation).is_impossible());
        let allowed = terms.is_some() && possible;
        let mut text = explained.to_string();
        if !possible {
            text.push_str(
                "\nThe rule does not ask for the password, and is not about password changes by name, so the end is a refusal.",
            );
        }
        let most = terms.and_then(|terms| terms.max_sessions);
        let full = most.zip(sessions).is_some_and(|(most, open)| open >= most);
        if let Some(open) = sessions.filter(|_| full) {
            text.push_str(&format!(
                "\n{open} sessions are open or about to begin, as many as may be, so the end is a refusal."
            ));
        }
        for reason in &held {
            text.push('\n');
            text.push_str(reason);
        }
        match lookup {
            Lookup::Unknown if misplaced => text.push_str(
                "\nThe name is that of a service account, which may not come from this address, so the end is a refusal.",
            ),
            Lookup::Unknown => text.push_str("\nNobody of this name is in the directory, so the end is a refusal."),
            Lookup::Ambiguous => text.push_str("\nMore than one entry has this name, so the end is a refusal."),
            Lookup::Found(_) | Lookup::Unavailable(_) => {}
        }
        if !allowed || matches!(person, Who::Decoy) {
            let asked = match engine.policy.decoy(&subject) {
                Some(rule) => format!(
                    "\nUntil then they are asked what rule \"{}\" asks of others.",
                    rule.name
                ),
                None => "\nThey are refused without being asked anything.".into(),
            };
            text.push_str(&asked);
        }
        let radius = (origin.protocol == Protocol::Radius).then(|| self.clients.load().named(&origin.client).cloned());
        let capability = match (radius.flatten(), listener) {
            (Some(client), _) => client.capability,
            (None, Some(listener)) => Capability::Append(listener.append.0),
            (None, None) => Capability::None,
        };
        let outline = outline(&engine.policy, &subject, capability, engine.settings.four_eyes);
        text = format!("{text}\n\n{outline}");
        Ok(Explanation {
            outline,
            decision: if allowed && !full && held.is_empty() && matches!(person, Who::Known(_)) {
                "allow".into()
            } else {
                "deny".into()
            },
            rule: explained.decided_by.clone(),
            tree: serde_json::to_value(&explained).unwrap_or_default(),
            text,
        })
    }
}

impl Node {
    /// What keeps a known person out whatever the rules say: sentences for people.
    async fn held_back(&self, person: &Who<'_>, now: Timestamp) -> Result<Vec<String>, ApiError> {
        let Who::Known(person) = person else {
            return Ok(Vec::new());
        };
        let unavailable = |error: String| ApiError::new(ErrorKind::Unavailable, error);
        let key = Key::user(&person.key);
        let found = self.store.read(std::slice::from_ref(&key), clock::now()).await;
        let found = found.map_err(|error| unavailable(error.to_string()))?;
        let octets = found.into_iter().next().and_then(|found| found.value);
        let record = octets.as_deref().map(record::decode::<UserRecord>).transpose();
        let record = record
            .map_err(|error| unavailable(error.to_string()))?
            .unwrap_or_default();
        let mut reasons = Vec::new();
        if let Some(deny) = record.denial(now) {
            let until = deny
                .until
                .map_or_else(|| "until that is lifted".into(), |until| format!("until {until}"));
            reasons.push(format!(
                "They were denied by {}, {until}: {}. So the end is a refusal.",
                deny.by, deny.reason
            ));
        }
        if !person.enabled {
            reasons.push("The directory says that the account is disabled, so the end is a refusal.".into());
        }
        Ok(reasons)
    }
}

/// A name as typed, or a distinguished name.
fn named(user: &str) -> Result<LoginName, BadName> {
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
    let radius = |client: &crate::config::Client| Origin {
        protocol: Protocol::Radius,
        service: client.service.as_deref().unwrap_or(&client.name).into(),
        client: client.name.as_str().into(),
        directory: client.directory.as_deref().unwrap_or_default().into(),
        source: request
            .source
            .or_else(|| client.address.first().map(|net| net.0.addr()))
            .unwrap_or([0, 0, 0, 0].into()),
        nas_identifier: None,
        calling_station: None,
        called_station: None,
        listener: None,
        application: None,
        transport: if client.certificate.is_some() {
            Transport::Tls
        } else {
            Transport::Udp
        },
        service_account: None,
        manner: Manner::default(),
    };
    let ldap = |listener: &crate::config::LdapListener| Origin {
        protocol: Protocol::Ldap,
        service: listener.service.as_deref().unwrap_or(&listener.name).into(),
        client: listener.name.as_str().into(),
        directory: listener.directory.as_deref().unwrap_or_default().into(),
        source: request.source.unwrap_or([127, 0, 0, 1].into()),
        nas_identifier: None,
        calling_station: None,
        called_station: None,
        listener: None,
        application: None,
        transport: if listener.tls == LdapTls::None {
            Transport::Tcp
        } else {
            Transport::Tls
        },
        service_account: None,
        manner: Manner::default(),
    };
    match (request.protocol, client, listener) {
        (Some(Protocol::Radius) | None, Some(client), _) => Ok(radius(client)),
        (Some(Protocol::Ldap) | None, _, Some(listener)) => Ok(ldap(listener)),
        (Some(_) | None, _, _) => {
            let names: Vec<&str> = config
                .clients
                .iter()
                .map(|client| client.name.as_str())
                .chain(config.ldap.iter().map(|listener| listener.name.as_str()))
                .collect();
            let error = format!("there is no RADIUS client or LDAP listener \"{}\"", request.client);
            Err(ApiError::new(ErrorKind::NotFound, error).with_remedy(format!("there are {}", names.join(", "))))
        }
    }
}

/// Checks the policies of a folder. Blocks.
pub(crate) fn check_policies(config: &Config) -> PolicyReport {
    let folder = config.policies.path.as_path();
    let mut faults = Faults::default();
    let dictionary = parts::load_dictionary(config, &mut faults);
    let policy = parts::load_policies(folder, &dictionary, &mut faults);
    let files = parts::policy_files(folder).unwrap_or_default().into_iter();
    PolicyReport {
        path: folder.display().to_string(),
        files: files
            .chain(dialogs::files(folder))
            .map(|file| file.display().to_string())
            .collect(),
        rules: policy.rules.len(),
        workflows: policy
            .workflows
            .iter()
            .map(|workflow| workflow.name.to_string())
            .collect(),
        languages: policy.texts.languages().map(ToOwned::to_owned).collect(),
        faults: faults.0.iter().map(line).collect(),
    }
}

fn faulty(faults: &Faults) -> ApiError {
    ApiError::new(ErrorKind::Faulty, faults.to_string())
        .with_remedy("mend the files and reload again; the old configuration stays in force")
}

fn line(fault: &Fault) -> FaultLine {
    FaultLine {
        warning: fault.severity == Severity::Warning,
        file: fault.file.display().to_string(),
        line: fault.line,
        column: fault.column,
        key: fault.key.clone(),
        message: fault.message.clone(),
    }
}

fn directory_status(status: directory::DirectoryStatus) -> DirectoryStatus {
    let server = |server: directory::ServerStatus| ServerStatus {
        address: server.address,
        healthy: server.healthy,
        state: server.standing.word().into(),
        since: server.since,
        next_try: server.next_try,
        given_up: server.given_up,
        latency_ms: server.latency_ms,
        last: server.last,
        connections: server.connections,
        relayed: server.relayed,
        error: server.error,
    };
    DirectoryStatus {
        name: status.name,
        kind: status.kind,
        servers: status.servers.into_iter().map(server).collect(),
        queue: status.queue,
        max_connection_age_s: status.max_connection_age.map(|age| age.as_secs()),
    }
}

/// How the directories are, for metrics.
pub(super) fn measure(directories: &crate::verifier::Directories, metrics: &metrics::Metrics) {
    for directory in directories.values() {
        let status = directory.status();
        if status.kind != "ldap" {
            continue;
        }
        let figures = |server: directory::ServerStatus| metrics::ServerFigures {
            server: server.address,
            up: server.healthy,
            connections: server.connections,
            relayed: server.relayed,
            latency: server.latency_ms.map(|millis| millis / 1000.0),
            given_up: server.given_up,
        };
        let servers = status.servers.into_iter().map(figures).collect();
        metrics.directory(&status.name, status.queue, servers);
    }
}

fn upstream_status(status: upstream::UpstreamStatus) -> UpstreamStatus {
    let server = |server: upstream::UpstreamServerStatus| UpstreamServerStatus {
        address: server.address,
        transport: server.transport,
        healthy: server.healthy,
        latency_ms: server.latency_ms,
        last: server.last,
        in_flight: server.in_flight,
        unproven: server.unproven,
        error: server.error,
    };
    UpstreamStatus {
        name: status.name,
        servers: status.servers.into_iter().map(server).collect(),
    }
}

fn delivery_status(status: delivery::DeliveryStatus) -> DeliveryStatus {
    DeliveryStatus {
        name: status.name,
        kind: status.kind,
        serves: status.serves,
        target: status.target,
        under_way: status.under_way,
        sent: status.sent,
        failed: status.failed,
        last: status.last,
        latency_ms: status.latency_ms,
        error: status.error,
    }
}

/// The name of this node.
pub(super) fn node_name(config: &Config) -> String {
    config.node.name.clone().unwrap_or_else(host_name)
}

fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "portcullis".into())
}
