//! How this node is, and trying whether its parts work: each as those would who use it.

mod listeners;

use std::time::{Duration, Instant};

use crate::admin::api::{ApiError, ErrorKind, Grade, NodeStatus, PartTested, PartsTested};
use crate::admin::control::Health;
use crate::clock;
use crate::config::Config;
use crate::engine::batch::{Batch, Change, Key};
use crate::engine::facts::PasswordOutcome;
use crate::engine::{BoxFuture, LoginName, Lookup};
use crate::metrics::Metrics;
use crate::secret::Secret;
use crate::server::{Node, control, parts};
use crate::store::{self, Durability};

impl Health for Node {
    fn test_parts(&self, name: Option<String>) -> BoxFuture<'_, Result<PartsTested, ApiError>> {
        Box::pin(async move { self.test_named(name.as_deref()).await })
    }
}

impl Node {
    /// This node, for `status`.
    pub(super) fn node_status(&self, config: &Config, store: &store::StoreStatus) -> NodeStatus {
        NodeStatus {
            name: control::node_name(config),
            address: config.admin_socket().display().to_string(),
            role: "single".into(),
            connection: "self".into(),
            last: clock::now(),
            latency_ms: None,
            queue: store.queue,
            error: store.error.clone(),
        }
    }

    /// How store and streams are, for metrics.
    pub(super) fn measure_health(&self, metrics: &Metrics) {
        let store = self.store.status();
        metrics.store(store.queue, store.size, store.audit_sequence, store.error.is_some());
        for stream in self.streams.status() {
            metrics.stream(&stream.name, stream.sent, stream.waiting, stream.error.is_some());
        }
    }

    async fn test_named(&self, wanted: Option<&str>) -> Result<PartsTested, ApiError> {
        let config = self.config.load_full();
        let all = self.parts_of(&config);
        let chosen: Vec<Part> = match wanted {
            None => all,
            Some(wanted) => {
                let names: Vec<String> = all.iter().map(Part::full_name).collect();
                let chosen: Vec<Part> = all.into_iter().filter(|part| part.is_called(wanted)).collect();
                if chosen.is_empty() {
                    let error = ApiError::new(ErrorKind::NotFound, format!("there is nothing named \"{wanted}\""));
                    return Err(error.with_remedy(format!("there are {}", names.join(", "))));
                }
                chosen
            }
        };
        // At once, so that all of them together take as long as the slowest; in the order of the configuration.
        let mut tested = Vec::with_capacity(chosen.len());
        let mut trying: Vec<BoxFuture<'_, PartTested>> = Vec::new();
        for part in chosen {
            trying.push(Box::pin(self.test_part(part, &config)));
        }
        for done in together(trying).await {
            tested.push(done);
        }
        Ok(PartsTested { parts: tested })
    }

    fn parts_of(&self, config: &Config) -> Vec<Part> {
        let part = |kind: PartKind| {
            move |name: &String| Part {
                kind,
                name: name.clone(),
            }
        };
        let radius = config.radius.iter().map(|listener| &listener.name);
        let ldap = config.ldap.iter().map(|listener| &listener.name);
        let directories: Vec<String> = config
            .directories
            .iter()
            .map(|directory| directory.name().to_owned())
            .collect();
        let metrics = config.metrics.listen.map(|_| Part {
            kind: PartKind::Metrics,
            name: "metrics".into(),
        });
        let store = Part {
            kind: PartKind::Store,
            name: "store".into(),
        };
        let mut all: Vec<Part> = Vec::new();
        all.extend(radius.map(part(PartKind::Radius)));
        all.extend(ldap.map(part(PartKind::Ldap)));
        all.extend(metrics);
        all.extend(directories.iter().map(part(PartKind::Directory)));
        all.extend(
            config
                .upstreams
                .iter()
                .map(|upstream| &upstream.name)
                .map(part(PartKind::Upstream)),
        );
        all.extend(
            config
                .deliveries
                .iter()
                .map(|delivery| &delivery.name)
                .map(part(PartKind::Delivery)),
        );
        all.extend(
            config
                .audit_streams
                .iter()
                .map(|stream| &stream.name)
                .map(part(PartKind::Stream)),
        );
        all.push(store);
        all
    }

    async fn test_part(&self, part: Part, config: &Config) -> PartTested {
        let began = clock::monotonic();
        let trying = async {
            match part.kind {
                PartKind::Radius => self.test_radius(&part.name, config).await,
                PartKind::Ldap => self.test_ldap(&part.name, config).await,
                PartKind::Metrics => listeners::test_metrics(config.metrics.listen).await,
                PartKind::Directory => self.test_directory(&part.name).await,
                PartKind::Upstream => self.test_upstream(&part.name).await,
                PartKind::Delivery => self.test_delivery_way(&part.name).await,
                PartKind::Stream => self.test_stream(&part.name, config).await,
                PartKind::Store => self.test_store(began).await,
            }
        };
        let found = tokio::time::timeout(LONGEST, trying).await;
        let found = found.unwrap_or_else(|_| {
            Found::fault(
                "",
                format!("not done within {} s", LONGEST.as_secs()),
                "see the server's log for what is slow",
            )
        });
        PartTested {
            kind: part.kind.word().into(),
            name: part.name,
            address: found.address,
            grade: found.grade,
            took_ms: began.elapsed().as_secs_f64() * 1000.0,
            text: found.text,
            remedy: found.remedy,
        }
    }

    /// Asks every server for its root entry, then searches for somebody who does not exist, and tries a password of
    /// nobody's: both ways that a login goes.
    async fn test_directory(&self, name: &str) -> Found {
        let Some(directory) = self.verifier.directories().get(name).cloned() else {
            return Found::fault("", "it is configured, but not in use", "run `portcullis reload`");
        };
        let status = directory.probe().await;
        let addresses: Vec<&str> = status.servers.iter().map(|server| server.address.as_str()).collect();
        let address = addresses.join(", ");
        let errors = status.servers.iter().filter(|server| !server.healthy);
        let errors: Vec<String> = errors
            .map(|server| {
                format!(
                    "{}: {}",
                    server.address,
                    server.error.as_deref().unwrap_or("does not answer")
                )
            })
            .collect();
        let nobody = format!(
            "portcullis-test-{}",
            data_encoding::HEXLOWER.encode(&clock::random::<8>())
        );
        let login = match LoginName::parse(&nobody) {
            Ok(login) => login,
            Err(error) => return Found::fault(&address, error.to_string(), "this is a defect; please report it"),
        };
        match directory.look_up(&login).await {
            Lookup::Unavailable(why) => {
                let remedy = "see that the server runs, and that `bind_dn` and its password are right";
                return Found::fault(&address, format!("a search failed: {why}"), remedy);
            }
            Lookup::Unknown => {}
            Lookup::Found(_) | Lookup::Ambiguous => {
                let text = format!("a search for nobody ({nobody}) found somebody");
                return Found::fault(&address, text, "`filter` has to name the login: (uid={login})");
            }
        }
        match directory.verify_nobody(&Secret::new(nobody.as_bytes())).await {
            PasswordOutcome::Unavailable(why) => {
                let text = format!("a search is answered, but a bind is not: {why}");
                return Found::fault(&address, text, "see the server's log for why it does not judge binds");
            }
            PasswordOutcome::Right
            | PasswordOutcome::Wrong
            | PasswordOutcome::Expired
            | PasswordOutcome::MustChange
            | PasswordOutcome::Locked
            | PasswordOutcome::Disabled
            | PasswordOutcome::Unknown => {}
        }
        let done = "a search and a bind of nobody are answered as they should be";
        match errors.as_slice() {
            [] => Found::good(&address, done),
            errors => Found {
                grade: Grade::Warning,
                remedy: Some("logins go to the servers that answer; mend the others".into()),
                ..Found::good(&address, format!("{done}, but {}", errors.join("; ")))
            },
        }
    }

    async fn test_upstream(&self, name: &str) -> Found {
        let Some(upstream) = self.verifier.upstreams().get(name).cloned() else {
            return Found::fault("", "it is configured, but not in use", "run `portcullis reload`");
        };
        let status = upstream.probe().await;
        let addresses: Vec<&str> = status.servers.iter().map(|server| server.address.as_str()).collect();
        let address = addresses.join(", ");
        let failing = status.servers.iter().filter_map(|server| {
            let why = server
                .error
                .as_deref()
                .or((!server.healthy).then_some("does not answer"))?;
            Some(format!("{}: {why}", server.address))
        });
        let failing: Vec<String> = failing.collect();
        let remedy = "see that the server runs, that it knows us as a client, and that the secret is the same";
        match (failing.as_slice(), status.servers.iter().any(|server| server.healthy)) {
            ([], _) => Found::good(
                &address,
                "every server answers, or has not been asked for anything it left unanswered",
            ),
            (failing, true) => Found {
                grade: Grade::Warning,
                remedy: Some(remedy.into()),
                ..Found::good(&address, failing.join("; "))
            },
            (failing, false) => Found::fault(&address, failing.join("; "), remedy),
        }
    }

    async fn test_delivery_way(&self, name: &str) -> Found {
        let Some(delivery) = self.verifier.deliveries().get(name).cloned() else {
            return Found::fault("", "it is configured, but not in use", "run `portcullis reload`");
        };
        let status = delivery.probe().await;
        match status.error {
            None => Found::good(&status.target, "it lets us in; nothing was sent"),
            Some(error) => {
                let remedy = format!("then try `portcullis delivery test {name} --to DESTINATION`");
                Found::fault(&status.target, error, &remedy)
            }
        }
    }

    async fn test_stream(&self, name: &str, config: &Config) -> Found {
        let settings = config.audit_streams.iter().find(|stream| stream.name == name);
        let address = settings.map(|stream| stream.server.clone()).unwrap_or_default();
        let waiting = self.streams.status().into_iter().find(|stream| stream.name == name);
        let (waiting, failing) = waiting.map_or((0, None), |stream| (stream.waiting, stream.error));
        match (self.streams.probe(name).await, failing) {
            (Ok(_), None) => Found::good(&address, format!("it lets us in; {waiting} records are under way")),
            (Ok(_), Some(error)) => {
                let text = format!("it lets us in, but {waiting} records wait: {error}");
                Found::fault(&address, text, "see the collector's log for what it makes of them")
            }
            (Err(Some(why)), _) => {
                let remedy = "see that the collector runs, and that `ca_file` holds the authority of its certificate";
                Found::fault(
                    &address,
                    format!("{why}; {waiting} records wait and are not lost"),
                    remedy,
                )
            }
            (Err(None), _) => Found::fault(&address, "it is configured, but not in use", "run `portcullis reload`"),
        }
    }

    /// Writes something durably, reads it again, and takes it away.
    async fn test_store(&self, began: Instant) -> Found {
        let address = self.store.status().location;
        let (key, now) = (Key::health_test(), clock::now());
        let written = clock::random::<16>().to_vec();
        let change = |change| Batch {
            write: vec![(key.clone(), change)],
            ..Batch::default()
        };
        let remedy = "see that the disk has room and does not fail; after a failed write only a restart helps";
        let put = change(Change::Put(written.clone(), Some(now + Duration::from_secs(60))));
        if let Err(error) = self.store.commit(put, Durability::Durable).await {
            return Found::fault(&address, format!("a write failed: {}", parts::describe(error)), remedy);
        }
        let durable = began.elapsed();
        let read = self.store.read(std::slice::from_ref(&key), now).await;
        let read = match read {
            Ok(found) => found.into_iter().next().and_then(|found| found.value),
            Err(error) => return Found::fault(&address, format!("a read failed: {error}"), remedy),
        };
        // Of two tests at once one reads what the other has written, or nothing.
        if read.is_some_and(|read| read.len() != written.len()) {
            return Found::fault(&address, "what was read is not what was written", remedy);
        }
        if let Err(error) = self.store.commit(change(Change::Delete), Durability::Visible).await {
            return Found::fault(&address, format!("a write failed: {}", parts::describe(error)), remedy);
        }
        let millis = durable.as_secs_f64() * 1000.0;
        Found::good(
            &address,
            format!("a write was durable after {millis:.1} ms, and reads back"),
        )
    }

    /// Has every stream connect.
    pub(super) async fn probe_streams(&self) {
        for stream in self.streams.status() {
            self.streams.probe_and_note(&stream.name).await;
        }
    }
}

#[derive(Clone, Debug)]
struct Part {
    kind: PartKind,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PartKind {
    Radius,
    Ldap,
    Metrics,
    Directory,
    Upstream,
    Delivery,
    Stream,
    Store,
}

impl PartKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Radius | Self::Ldap | Self::Metrics => "listener",
            Self::Directory => "directory",
            Self::Upstream => "upstream",
            Self::Delivery => "delivery",
            Self::Stream => "stream",
            Self::Store => "store",
        }
    }
}

impl Part {
    fn full_name(&self) -> String {
        format!("{}:{}", self.kind.word(), self.name)
    }

    fn is_called(&self, wanted: &str) -> bool {
        self.name == wanted || self.full_name() == wanted
    }
}

/// What trying came to.
struct Found {
    address: String,
    grade: Grade,
    text: String,
    remedy: Option<String>,
}

impl Found {
    fn good(address: &str, text: impl Into<String>) -> Self {
        Self {
            address: address.to_owned(),
            grade: Grade::Good,
            text: text.into(),
            remedy: None,
        }
    }

    fn untold(address: &str, text: impl Into<String>) -> Self {
        Self {
            grade: Grade::Untold,
            ..Self::good(address, text)
        }
    }

    fn fault(address: &str, text: impl Into<String>, remedy: &str) -> Self {
        Self {
            grade: Grade::Fault,
            remedy: Some(remedy.to_owned()),
            ..Self::good(address, text)
        }
    }
}

/// Longest time for one part.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits for all, and gives what they came to in their order.
async fn together<T>(mut all: Vec<BoxFuture<'_, T>>) -> Vec<T> {
    let mut done: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for (future, done) in all.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *done = Some(value),
                std::task::Poll::Pending => waiting = true,
            }
        }
        if waiting {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    done.into_iter().flatten().collect()
}
