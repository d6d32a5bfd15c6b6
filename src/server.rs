//! The composition root: builds everything from a configuration, starts the listeners, reloads, and
//! stops in good order.

mod certificates;
mod clients;
mod control;
mod deliveries;
mod dialogs;
mod ending;
mod health;
mod helpdesk;
mod learned;
mod operators;
pub mod parts;
mod policies;
mod questions;
mod reuse;
mod sessions;
mod trail;
mod untyped;
mod upkeep;
mod upstreams;
mod watchful;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::accounts::{Accounts, FourEyes, Notice, Surroundings};
use crate::admin::listener::{AdminSocket, SocketError};
use crate::admin::remote::RemoteListener;
use crate::admin::router::AdminState;
use crate::audit::Audit;
use crate::clock::{self, Timestamp};
use crate::config::approval::Approval;
use crate::config::{Config, Transport};
use crate::dictionary::Dictionary;
use crate::directory::Directory;
use crate::document::Faults;
use crate::engine::batch::Batch;
use crate::engine::denials::GroupDenials;
use crate::engine::event::{AuditEvent, Outcome};
use crate::engine::generated::Shape;
use crate::engine::policy::Policy;
use crate::engine::throttle::Limit;
use crate::engine::{Keep, UserKey, Verify};
use crate::keyring::Keyring;
use crate::ldap::bound::Bindings;
use crate::metrics::Metrics;
use crate::policies::files::PolicyFiles;
use crate::policies::versions::Versions;
use crate::radius::client::{ClientTable, Learned};
use crate::radius::intake::Service;
use crate::radius::observed::Strangers;
use crate::radius::{stream, udp};
use crate::sessions::{DirectoryByName, Sessions};
use crate::store::{Durability, Store, export};
use crate::stream::{self as audit_stream, Streams};
use crate::tls::TlsServer;
use crate::tls::mutual::MutualServer;
use crate::verifier::Verifier;
use crate::{admin, ldap};

use learned::LearnedClients;
use parts::Parts;
use watchful::Watchful;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration, a policy, or a file that they name is at fault.
    #[error("{0}")]
    Faults(Faults),
    /// The key file or the store cannot be used.
    #[error("{0}")]
    State(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({name})")]
    Listen {
        /// The listener's name.
        name: String,
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The admin socket cannot be made.
    #[error("cannot open the admin socket")]
    Admin(#[source] SocketError),
}

/// A running server.
pub struct Server {
    node: Arc<Node>,
    accounts: Arc<Accounts>,
    listeners: JoinSet<()>,
    shutdown: CancellationToken,
}

/// What lives as long as the process, and what a reload replaces.
pub(crate) struct Node {
    file: PathBuf,
    config: ArcSwap<Config>,
    loaded: ArcSwap<Timestamp>,
    started: Timestamp,
    keyring: Arc<Keyring>,
    store: Arc<dyn Store>,
    verifier: Arc<Verifier>,
    clients: Arc<ArcSwap<ClientTable>>,
    dictionary: Arc<ArcSwap<Dictionary>>,
    learned: Arc<LearnedClients>,
    strangers: Arc<Strangers>,
    bindings: Arc<Bindings>,
    certificates: Vec<(String, Arc<TlsServer>)>,
    admin_certificate: Option<Arc<TlsServer>>,
    sessions: Arc<Sessions>,
    streams: Streams,
    radius_certificates: Vec<(String, Arc<MutualServer>)>,
    metrics: Metrics,
    reloading: Mutex<()>,
    replaying: Mutex<()>,
    policy_files: ArcSwap<PolicyFiles>,
    versions: Versions,
}

/// How long audit streams may take to end in good order.
const STREAMS_END: Duration = Duration::from_secs(3);

/// How often expired records are swept out.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How often it is looked whether an export is due.
const EXPORT_LOOK: Duration = Duration::from_secs(60);

/// Expired records removed in one go.
const SWEEP_BATCH: usize = 1000;

impl Server {
    /// Starts everything that the file configures. Must be called within the runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running then.
    pub async fn start(file: &Path) -> Result<Self, StartError> {
        let path = file.to_owned();
        let read = tokio::task::spawn_blocking(move || Parts::load(&path, None)).await;
        let parts = read
            .map_err(|error| StartError::State(error.to_string()))?
            .map_err(StartError::Faults)?;
        for fault in &parts.warnings.0 {
            warn!("{fault}");
        }
        let config = Arc::clone(&parts.config);
        let (keyring, store) = {
            let config = Arc::clone(&config);
            let opened = tokio::task::spawn_blocking(move || parts::open_state(&config)).await;
            opened
                .map_err(|error| StartError::State(error.to_string()))?
                .map_err(StartError::State)?
        };
        let metrics = Metrics::default();
        let learned = LearnedClients::load(Arc::clone(&store))
            .await
            .map_err(|error| StartError::State(error.to_string()))?;
        let (engine, directories, source_limit) = parts.judging(&keyring);
        let verifier = Arc::new(Verifier::new(
            Arc::clone(&store),
            engine,
            directories,
            source_limit,
            metrics.clone(),
        ));
        let upstreams = upstreams::start(
            Arc::clone(&config),
            Arc::clone(&parts.dictionary),
            Arc::clone(&keyring),
            None,
        )
        .await;
        verifier.replace_upstreams(upstreams.map_err(StartError::State)?);
        verifier.replace_deliveries(Arc::clone(&parts.deliveries));
        let judges = Arc::clone(&verifier);
        let directories: DirectoryByName = Arc::new(move |name| judges.directories().get(name).cloned());
        let settings = parts::session_settings(&config);
        let sessions = Sessions::load(Arc::clone(&store), directories, settings, metrics.clone())
            .await
            .map_err(|error| StartError::State(error.to_string()))?;
        let streams = Streams::new(audit_stream::Source {
            audit: Arc::new(Audit::new(Arc::clone(&store), Arc::clone(&keyring))),
            store: Arc::clone(&store),
            host: control::node_name(&config),
        });
        let node = Arc::new(Node {
            file: file.to_owned(),
            config: ArcSwap::new(Arc::clone(&config)),
            loaded: ArcSwap::from_pointee(clock::now()),
            started: clock::now(),
            versions: Versions::new(Arc::clone(&store), Arc::clone(&keyring)),
            policy_files: ArcSwap::new(Arc::clone(&parts.files)),
            keyring,
            store,
            verifier,
            clients: Arc::new(ArcSwap::new(Arc::clone(&parts.clients))),
            dictionary: Arc::new(ArcSwap::new(Arc::clone(&parts.dictionary))),
            learned,
            strangers: Arc::default(),
            bindings: Arc::default(),
            certificates: parts.certificates,
            admin_certificate: parts.admin_certificate,
            sessions: Arc::new(sessions),
            streams,
            radius_certificates: parts.radius_certificates,
            metrics,
            reloading: Mutex::new(()),
            replaying: Mutex::new(()),
        });
        // Weak: the node has the metrics.
        let measured = Arc::downgrade(&node);
        node.metrics.refresh_by(move |metrics| {
            if let Some(node) = measured.upgrade() {
                control::measure(&node.verifier.directories(), metrics);
                node.measure_health(metrics);
            }
        });
        let surroundings: Arc<dyn Surroundings> = Arc::clone(&node) as Arc<dyn Surroundings>;
        let accounts = Arc::new(Accounts::new(
            Arc::clone(&node.store),
            Arc::clone(&node.keyring),
            surroundings,
        ));
        accounts
            .load_group_denials()
            .await
            .map_err(|error| StartError::State(error.to_string()))?;
        let mut server = Self {
            node,
            accounts,
            listeners: JoinSet::new(),
            shutdown: CancellationToken::new(),
        };
        if let Err(error) = server.listen(&config).await {
            server.stop().await;
            return Err(error);
        }
        let policies = server.node.policies_at_start().await;
        server.node.note("server.start", Outcome::Accept, Some(policies)).await;
        let started = server.node.streams.replace(&config.audit_streams).await;
        if let Err(error) = started {
            server.stop().await;
            return Err(StartError::State(parts::describe(error)));
        }
        let counts = (config.radius.len(), config.ldap.len());
        info!(radius = counts.0, ldap = counts.1, socket = %config.admin_socket().display(), "ready");
        Ok(server)
    }

    /// Administration of people's records, for embedding.
    pub fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts)
    }

    /// Reads configuration and policies again, as on SIGHUP.
    pub async fn reload(&self) {
        match self.node.reload(policies::PROCESS).await {
            Ok(report) => {
                let what = Some(report.summary());
                self.node.note("server.reload", Outcome::Accept, what).await;
            }
            Err(error) => {
                let reason = Some(error.error.lines().next().unwrap_or_default().to_owned());
                self.node.note("server.reload", Outcome::Reject, reason).await;
            }
        }
    }

    /// Takes nothing new, finishes what is under way within the configured time, and makes everything
    /// durable.
    pub async fn stop(mut self) {
        let drain = self.node.config.load().node.drain;
        self.shutdown.cancel();
        let ended = async { while self.listeners.join_next().await.is_some() {} };
        if tokio::time::timeout(drain + Duration::from_secs(1), ended)
            .await
            .is_err()
        {
            warn!("stopping with requests under way");
            self.listeners.abort_all();
        }
        self.node.note("server.stop", Outcome::Accept, None).await;
        // After the last record, which goes with them where the collector takes it.
        if tokio::time::timeout(STREAMS_END, self.node.streams.stop())
            .await
            .is_err()
        {
            warn!("audit streams end without confirmation; what was under way is sent again");
        }
        if let Err(error) = self.node.store.close().await {
            error!(%error, "the store did not close in good order");
        }
    }

    /// Serves until SIGINT or SIGTERM, reloading on SIGHUP.
    ///
    /// # Errors
    /// When signals cannot be waited for.
    pub async fn run(self) -> io::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hangup = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload().await,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            }
        }
        info!("stopping");
        self.stop().await;
        Ok(())
    }

    /// Binds every socket before the first one is served.
    async fn listen(&mut self, config: &Config) -> Result<(), StartError> {
        let failed = |name: &str, address: SocketAddr| {
            let name = name.to_owned();
            move |source| StartError::Listen { name, address, source }
        };
        let (mut datagrams, mut streams) = (Vec::new(), Vec::new());
        for listener in &config.radius {
            let failed = failed(&listener.name, listener.listen);
            match listener.transport {
                Transport::Udp => {
                    let sockets = udp::bind(listener.listen, listener.workers).map_err(failed)?;
                    datagrams.push((listener, sockets));
                }
                Transport::Tcp | Transport::Tls => {
                    streams.push((listener, stream::bind(listener.listen).map_err(failed)?));
                }
            }
        }
        let mut applications = Vec::new();
        for listener in &config.ldap {
            let socket = TcpListener::bind(listener.listen)
                .await
                .map_err(failed(&listener.name, listener.listen))?;
            applications.push((listener, socket));
        }
        let scraped = match config.metrics.listen {
            Some(address) => Some(TcpListener::bind(address).await.map_err(failed("metrics", address))?),
            None => None,
        };
        let remote = match (&config.admin.tls, &self.node.admin_certificate) {
            (Some(settings), Some(tls)) => {
                let bound = RemoteListener::bind(settings.listen, Arc::clone(tls), settings.connections).await;
                Some(bound.map_err(failed("admin.tls", settings.listen))?)
            }
            (Some(_), None) | (None, _) => None,
        };
        make_socket_folder(&config.admin_socket());
        let socket =
            AdminSocket::bind(&config.admin_socket(), config.admin.group.as_deref()).map_err(StartError::Admin)?;

        let node = &self.node;
        let sessions = Arc::clone(&node.sessions) as Arc<dyn Keep>;
        let (keep, watch) = Watchful::new(sessions, node.ending());
        let service = Service {
            clients: Arc::clone(&node.clients),
            verify: Arc::clone(&node.verifier) as Arc<dyn Verify>,
            keep: Arc::new(keep),
            keyring: Arc::clone(&node.keyring),
            learned: Arc::clone(&node.learned) as Arc<dyn Learned>,
            dictionary: Arc::clone(&node.dictionary),
            metrics: node.metrics.clone(),
            strangers: Arc::clone(&node.strangers),
        };
        for (listener, socket) in streams {
            let tls = node.radius_certificates.iter().find(|(name, _)| *name == listener.name);
            let serving = stream::serve(
                socket,
                listener.clone(),
                tls.map(|(_, tls)| Arc::clone(tls)),
                service.clone(),
                self.shutdown.clone(),
                config.node.drain,
            );
            self.listeners.spawn(serving);
        }
        for (listener, sockets) in datagrams {
            let serving = udp::serve(
                sockets,
                listener.clone(),
                service.clone(),
                self.shutdown.clone(),
                config.node.drain,
            );
            self.listeners.spawn(serving);
        }
        for (listener, socket) in applications {
            let tls = node
                .certificates
                .iter()
                .find(|(name, _)| *name == listener.name)
                .map(|(_, tls)| Arc::clone(tls));
            let (holder, name) = (Arc::clone(node), listener.directory.clone().unwrap_or_default());
            let directory: ldap::listener::DirectoryProvider =
                Arc::new(move || holder.verifier.directories().get(&name).cloned());
            let service = ldap::listener::Service {
                tls,
                verify: Arc::clone(&node.verifier) as Arc<dyn Verify>,
                directory,
                bindings: Arc::clone(&node.bindings),
                metrics: node.metrics.clone(),
            };
            self.listeners.spawn(ldap::listener::serve(
                socket,
                listener.clone(),
                service,
                self.shutdown.clone(),
            ));
        }
        if let Some(socket) = scraped {
            self.listeners
                .spawn(serve_metrics(socket, node.metrics.clone(), self.shutdown.clone()));
        }
        let audit = Arc::new(Audit::new(Arc::clone(&node.store), Arc::clone(&node.keyring)));
        let state = AdminState {
            accounts: Arc::clone(&self.accounts),
            audit: Arc::clone(&audit),
            metrics: node.metrics.clone(),
            control: Arc::clone(node) as Arc<dyn admin::Control>,
            guesses: Arc::default(),
        };
        if let Some(remote) = remote {
            let serving = remote.serve(state.clone(), self.shutdown.clone().cancelled_owned());
            self.listeners.spawn(serving);
        }
        self.listeners.spawn(state.clone().run_jobs(self.shutdown.clone()));
        self.listeners
            .spawn(socket.serve(state, self.shutdown.clone().cancelled_owned()));
        let (sessions, shutdown) = (Arc::clone(&node.sessions), self.shutdown.clone());
        self.listeners.spawn(async move { sessions.watch(shutdown).await });
        self.listeners.spawn(watch.run(self.shutdown.clone()));
        self.listeners
            .spawn(sweep(Arc::clone(&node.store), self.shutdown.clone()));
        self.listeners
            .spawn(trail::keep(Arc::clone(node), audit, self.shutdown.clone()));
        self.listeners
            .spawn(export_regularly(Arc::clone(node), self.shutdown.clone()));
        Ok(())
    }
}

impl Node {
    /// Writes down what the process itself did.
    async fn note(&self, action: &str, outcome: Outcome, reason: Option<String>) {
        let event = AuditEvent {
            at: clock::now(),
            action: action.into(),
            actor: "portcullis".into(),
            target: None,
            via: "server".into(),
            client: None,
            source: None,
            rule: None,
            factors: Vec::new(),
            outcome,
            reason,
            context: None,
        };
        let batch = Batch {
            audit: vec![event],
            ..Batch::default()
        };
        if let Err(error) = self.store.commit(batch, Durability::Durable).await {
            error!(%error, action, "not written to the audit");
        }
    }
}

impl Surroundings for Node {
    fn directories(&self) -> Vec<Arc<dyn Directory>> {
        let by_name = self.verifier.directories();
        let config = self.config.load();
        config
            .directories
            .iter()
            .filter_map(|directory| by_name.get(directory.name()).cloned())
            .collect()
    }

    fn limit(&self) -> Limit {
        self.verifier.engine().settings.limit
    }

    fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.verifier.engine().policy)
    }

    fn four_eyes(&self) -> FourEyes {
        let config = self.config.load();
        FourEyes {
            passcodes: config.passcodes.four_eyes,
            holders: config.passcodes.second_holder_group.clone(),
            life: config.passcodes.life,
            approvers: config.approvals.group.clone(),
            rules: config.approval.iter().map(Approval::rule).collect(),
            longest_delegation: config.approvals.longest_delegation,
            notify: config.approvals.notify.is_some(),
        }
    }

    fn group_denials(&self) -> &ArcSwap<GroupDenials> {
        self.verifier.denials()
    }

    fn generated_passwords(&self) -> Shape {
        self.config.load().generated_passwords.shape()
    }

    fn changed(&self, user: &UserKey) {
        self.clear_reuse(Some(user));
    }

    fn tell(&self, notice: Notice) {
        let config = self.config.load();
        let name = config.approvals.notify.as_deref().unwrap_or_default();
        let Some(delivery) = self.verifier.deliveries().get(name).cloned() else {
            return;
        };
        tokio::spawn(async move { delivery.notify(&notice.to, &notice.subject, &notice.text).await });
    }
}

/// Makes the folder that the admin socket goes to, such as `/run/portcullis` after a boot. Whether that
/// worked shows when the socket is made.
fn make_socket_folder(socket: &Path) {
    if let Some(folder) = socket.parent().filter(|folder| !folder.exists()) {
        let _ = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder);
    }
}

/// Removes expired records, a few at a time.
async fn sweep(store: Arc<dyn Store>, shutdown: CancellationToken) {
    let mut pause = SWEEP_EVERY;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = match store.sweep(clock::now(), SWEEP_BATCH).await {
            Ok(SWEEP_BATCH..) => Duration::from_millis(100),
            Ok(_) => SWEEP_EVERY,
            Err(error) => {
                warn!(%error, "expired records were not swept");
                SWEEP_EVERY
            }
        };
    }
}

/// Writes a checksummed export when the last one is old enough, however often the process starts.
async fn export_regularly(node: Arc<Node>, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(EXPORT_LOOK) => {}
        }
        let config = node.config.load_full();
        let folder = config.export_path();
        let due = match export::newest(&folder).await {
            Some(last) => clock::now().since(last) >= config.store.export_every,
            None => true,
        };
        if config.store.export_keep == 0 || !due {
            continue;
        }
        if let Err(error) = tokio::fs::create_dir_all(&folder).await {
            error!(%error, folder = %folder.display(), "the store was not exported");
            continue;
        }
        match export::export_and_rotate(node.store.as_ref(), &folder, config.store.export_keep, clock::now()).await {
            Ok((file, _)) => info!(file = %file.display(), "store exported"),
            Err(error) => error!(error = parts::describe(error), "the store was not exported"),
        }
    }
}

/// `/metrics` over plain HTTP.
async fn serve_metrics(socket: TcpListener, metrics: Metrics, shutdown: CancellationToken) {
    let page = axum::routing::get(move || {
        let text = metrics.render();
        async move {
            (
                [(
                    "content-type",
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                )],
                text,
            )
        }
    });
    let router = axum::Router::new().route("/metrics", page);
    if let Err(error) = axum::serve(socket, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
    {
        error!(%error, "the metrics listener ended");
    }
}
