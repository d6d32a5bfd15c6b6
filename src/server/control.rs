//! What the admin socket asks of the process: reload, status, policies.

use std::sync::Arc;

use tracing::{error, info, warn};

use crate::admin::api::{
    ApiError, AskedReport, ClientRow, ClientView, DeliveryStatus, DeliveryTestRequest, DeliveryTested, DirectoryStatus,
    ErrorKind, FaultLine, ForgetRequest, Forgotten, ListenerStatus, PolicyChange, PolicySummary, ReloadReport,
    ReuseList, ServerStatus, SessionList, SessionView, StatusReport, StoreStatus, StrangerView, TestReport,
    UpstreamServerStatus, UpstreamStatus,
};
use crate::admin::{Control, WhichSessions};
use crate::clock::{self, Timestamp};
use crate::config::{Config, LdapTls, Transport};
use crate::delivery;
use crate::directory;
use crate::document::{Fault, Faults, Severity};
use crate::engine::{BoxFuture, UserKey};
use crate::metrics;
use crate::policies::versions::{Why, short};
use crate::server::Node;
use crate::server::deliveries;
use crate::server::ending::Ending;
use crate::server::parts::{self, Parts, Running};
use crate::server::upstreams;
use crate::upstream;

impl Control for Node {
    fn reload(&self, by: String) -> BoxFuture<'_, Result<ReloadReport, ApiError>> {
        Box::pin(async move { self.reload(&by).await })
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
    pub(super) async fn reload(&self, by: &str) -> Result<ReloadReport, ApiError> {
        let _one_at_a_time = self.reloading.lock().await;
        self.reload_for(by, Why::Reload).await
    }

    /// The same, for whoever holds the lock of reloads.
    pub(super) async fn reload_for(&self, by: &str, why: Why) -> Result<ReloadReport, ApiError> {
        let reloaded = self.reload_quietly(by, why).await;
        match &reloaded {
            Ok(report) => info!(changes = ?report.changes, needs_restart = ?report.needs_restart, "reloaded"),
            Err(error) => error!("not reloaded, the old configuration stays in force: {error}"),
        }
        reloaded
    }

    async fn reload_quietly(&self, by: &str, why: Why) -> Result<ReloadReport, ApiError> {
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
        if let Some(tls) = &self.admin_certificate
            && let Err(error) = tls.reload()
        {
            let error = format!("admin.tls: {}", parts::describe(error));
            return Err(ApiError::new(ErrorKind::Faulty, error).with_remedy("mend the certificate and reload again"));
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
        let before = self.policy_files.swap(Arc::clone(&parts.files)).digest();
        self.config.store(Arc::clone(&parts.config));
        self.loaded.store(Arc::new(clock::now()));
        for fault in &parts.warnings.0 {
            warn!("{fault}");
        }
        let version = self.keep_version(by, why).await;
        Ok(ReloadReport {
            changes,
            needs_restart,
            policy: Some(PolicyChange {
                before,
                after: parts.files.digest(),
                version,
            }),
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
        if old.approvals != new.approvals || old.approval != new.approval {
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
        let who = |config: &Config| {
            let admin = &config.admin;
            (
                admin.operators.clone(),
                admin.directory.clone(),
                admin.confirm,
                admin.token_life,
            )
        };
        if who(old) != who(new) || old.operators != new.operators {
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
        wait(old.admin.tls != new.admin.tls, "[admin.tls]");
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
                version: short(&self.policy_files.load().digest()).to_owned(),
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
        let tls = self.admin_certificate.as_ref();
        let admin = config.admin.tls.as_ref().map(|settings| ListenerStatus {
            name: "admin".into(),
            kind: "admin+tls".into(),
            address: settings.listen.to_string(),
            active: 0,
            certificate_ends: tls.and_then(|tls| tls.endings().iter().map(|ending| ending.at).min()),
            error: None,
        });
        radius.chain(ldap).chain(metrics).chain(admin).collect()
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
}

pub(super) fn faulty(faults: &Faults) -> ApiError {
    ApiError::new(ErrorKind::Faulty, faults.to_string())
        .with_remedy("mend the files and reload again; the old configuration stays in force")
}

pub(super) fn line(fault: &Fault) -> FaultLine {
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
