//! Counters for Prometheus, written where things happen, read at `/metrics`.

mod directories;
mod health;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use directories::ServerFigures;

/// All metrics of the process. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Verdicts by protocol, client, outcome and reason.
    pub decisions: Family<Decision, Counter>,
    /// Seconds from arrival of a request to its verdict, by RADIUS and by LDAP, each as [`OUTCOMES`].
    radius_seconds: [Histogram; OUTCOMES.len()],
    ldap_seconds: [Histogram; OUTCOMES.len()],
    /// The same, summed up by client.
    client_seconds: Family<ClientOfProtocol, Counter<f64, AtomicU64>>,
    /// See [`Metrics::directory_took`].
    directory_seconds: Family<Asking, Histogram>,
    /// Packets and messages dropped, refused or disconnected, by reason.
    pub dropped: Family<Dropped, Counter>,
    /// RADIUS replies sent again for retransmissions.
    pub replayed: Counter,
    /// Requests being worked on.
    pub in_flight: Family<Protocol, Gauge>,
    /// Open RADIUS client connections by listener; see [`Metrics::radius_connections`].
    pub radius_connections: Family<Listener, Gauge>,
    /// Accounting-Requests by client, kind, and whether they were kept.
    pub accounting: Family<Accounting, Counter>,
    /// Open sessions.
    pub sessions: Gauge,
    /// Requests to end or change sessions (RFC 5176), by what came of them.
    pub asked: Family<Asked, Counter>,
    /// See [`Metrics::unproven`].
    unproven: Family<OfClient, Counter>,
    /// See [`Metrics::reused`].
    reused: Family<Application, Counter>,
    /// Open LDAP client connections.
    pub ldap_connections: Gauge,
    /// LDAP messages relayed in either direction.
    pub ldap_relayed: Counter,
    directories: directories::Directories,
    health: health::Health,
    look: Look,
    registry: Arc<Registry>,
}

/// What is known when somebody looks, and not before.
#[derive(Clone, Default)]
struct Look {
    first: Arc<OnceLock<Box<Refresh>>>,
    /// One at a time: what is old is cleared first.
    rendering: Arc<Mutex<()>>,
}

type Refresh = dyn Fn(&Metrics) + Send + Sync;

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").finish_non_exhaustive()
    }
}

/// Labels of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Decision {
    /// `radius` or `ldap`.
    pub protocol: &'static str,
    /// Configured name of the client or listener.
    pub client: Arc<str>,
    /// `accept`, `challenge`, `reject`, `unavailable`.
    pub outcome: &'static str,
    /// The denial's word, or empty.
    pub reason: &'static str,
}

/// A protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Protocol {
    /// `radius` or `ldap`.
    pub protocol: &'static str,
}

/// Labels of a verdict's time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taking {
    protocol: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClientOfProtocol {
    protocol: &'static str,
    client: Arc<str>,
}

/// Labels of what a directory is asked in a login.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asking {
    directory: Arc<str>,
    /// `look-up` or `password`.
    operation: &'static str,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Listener {
    /// Its configured name.
    pub listener: String,
}

/// Labels of an Accounting-Request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Accounting {
    /// Configured name of the client.
    pub client: String,
    /// `start`, `interim`, `stop`, `on`, `off`.
    pub kind: &'static str,
    /// `kept`, or `not-kept` and so not acknowledged.
    pub outcome: &'static str,
}

/// Labels of a request to end or change a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Asked {
    /// Configured name of the client.
    pub client: String,
    /// `disconnect` or `change`.
    pub kind: &'static str,
    /// `acknowledged`, `refused`, `no-answer`, `unsent`, `unsupported`.
    pub outcome: &'static str,
}

/// A client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClient {
    client: String,
}

/// An LDAP listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Application {
    client: Arc<str>,
}

/// Labels of a drop.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Dropped {
    /// `radius` or `ldap`.
    pub protocol: &'static str,
    /// A stable word.
    pub reason: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("portcullis");
        let constructor: fn() -> Histogram = || {
            Histogram::new([
                0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
            ])
        };
        let seconds: Family<Taking, Histogram> = Family::new_with_constructor(constructor);
        let by = |protocol| OUTCOMES.map(|outcome| seconds.get_or_create_owned(&Taking { protocol, outcome }));
        let mut metrics = Self {
            decisions: Family::default(),
            radius_seconds: by("radius"),
            ldap_seconds: by("ldap"),
            client_seconds: Family::default(),
            directory_seconds: Family::new_with_constructor(constructor),
            dropped: Family::default(),
            replayed: Counter::default(),
            in_flight: Family::default(),
            radius_connections: Family::default(),
            accounting: Family::default(),
            sessions: Gauge::default(),
            asked: Family::default(),
            unproven: Family::default(),
            reused: Family::default(),
            ldap_connections: Gauge::default(),
            ldap_relayed: Counter::default(),
            directories: directories::Directories::default(),
            health: health::Health::default(),
            look: Look::default(),
            registry: Arc::default(),
        };
        registry.register("decisions", "Verdicts", metrics.decisions.clone());
        registry.register(
            "decision_seconds",
            "Seconds from a request's arrival to its verdict",
            seconds,
        );
        registry.register(
            "client_seconds",
            "The same, summed up by client",
            metrics.client_seconds.clone(),
        );
        registry.register(
            "directory_seconds",
            "Seconds that logins waited for a directory",
            metrics.directory_seconds.clone(),
        );
        registry.register(
            "dropped",
            "Packets and messages dropped, by reason",
            metrics.dropped.clone(),
        );
        registry.register(
            "radius_replayed",
            "Replies sent again for retransmissions",
            metrics.replayed.clone(),
        );
        registry.register("in_flight", "Requests being worked on", metrics.in_flight.clone());
        registry.register(
            "radius_connections",
            "Open RADIUS client connections, by listener",
            metrics.radius_connections.clone(),
        );
        registry.register(
            "accounting",
            "Accounting-Requests, by what became of them",
            metrics.accounting.clone(),
        );
        registry.register("sessions", "Open sessions", metrics.sessions.clone());
        registry.register(
            "dynamic_authorization",
            "Requests to end or change sessions, by what came of them",
            metrics.asked.clone(),
        );
        registry.register(
            "dynamic_authorization_unproven",
            "Replies to them that proved nothing",
            metrics.unproven.clone(),
        );
        registry.register(
            "codes_reused",
            "LDAP binds accepted with a code that was given before",
            metrics.reused.clone(),
        );
        registry.register(
            "ldap_connections",
            "Open LDAP client connections",
            metrics.ldap_connections.clone(),
        );
        registry.register("ldap_relayed", "LDAP messages relayed", metrics.ldap_relayed.clone());
        metrics.directories.register(&mut registry);
        metrics.health.register(&mut registry);
        metrics.registry = Arc::new(registry);
        metrics
    }
}

impl Metrics {
    /// Counts a drop.
    pub fn drop(&self, protocol: &'static str, reason: &'static str) {
        self.dropped.get_or_create(&Dropped { protocol, reason }).inc();
    }

    /// Counts replies of a client to requests about its sessions that proved nothing: a sign of a wrong
    /// shared secret.
    pub fn unproven(&self, client: &str, replies: u32) {
        let client = client.to_owned();
        // There from the first request on, so that its growth can be watched.
        let _ = self.unproven.get_or_create(&OfClient { client }).inc_by(replies.into());
    }

    /// Counts a bind of an application that was accepted with a code of before.
    pub fn reused(&self, client: &Arc<str>) {
        let client = Arc::clone(client);
        self.reused.get_or_create(&Application { client }).inc();
    }

    /// Open connections of one RADIUS listener.
    pub fn radius_connections(&self, listener: &str) -> Gauge {
        let listener = listener.to_owned();
        self.radius_connections.get_or_create(&Listener { listener }).clone()
    }

    /// Counts a verdict that took `span`.
    pub fn decided(&self, decision: &Decision, span: Duration) {
        self.decisions.get_or_create(decision).inc();
        let seconds = match decision.protocol {
            "ldap" => &self.ldap_seconds,
            _ => &self.radius_seconds,
        };
        let span = span.as_secs_f64();
        let at = OUTCOMES.iter().position(|outcome| *outcome == decision.outcome);
        if let Some(seconds) = at.and_then(|at| seconds.get(at)) {
            seconds.observe(span);
        }
        let client = ClientOfProtocol {
            protocol: decision.protocol,
            client: Arc::clone(&decision.client),
        };
        self.client_seconds.get_or_create(&client).inc_by(span);
    }

    /// A login has waited `span` for a directory to do `operation`: `look-up` or `password`.
    pub fn directory_took(&self, directory: &Arc<str>, operation: &'static str, span: Duration) {
        let asking = Asking {
            directory: Arc::clone(directory),
            operation,
        };
        self.directory_seconds
            .get_or_create(&asking)
            .observe(span.as_secs_f64());
    }

    /// How the store is.
    pub fn store(&self, queue: usize, size: u64, audit_records: u64, failing: bool) {
        self.health.store(queue, size, audit_records, failing);
    }

    /// How a collector of the audit is.
    pub fn stream(&self, name: &str, sent: u64, waiting: u64, failing: bool) {
        self.health.stream(name, sent, waiting, failing);
    }

    /// Has `refresh` called whenever somebody looks, to tell how the directories are with
    /// [`Metrics::directory`]. The first one counts.
    pub fn refresh_by(&self, refresh: impl Fn(&Self) + Send + Sync + 'static) {
        let _ = self.look.first.set(Box::new(refresh));
    }

    /// How a directory and its servers are.
    pub fn directory(&self, directory: &str, queue: usize, servers: Vec<ServerFigures>) {
        self.directories.set(directory, queue, servers);
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        let _alone = self.look.rendering.lock();
        if let Some(refresh) = self.look.first.get() {
            self.directories.clear();
            self.health.clear();
            refresh(self);
        }
        let mut out = String::new();
        // Writing into a String does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

/// What a verdict can be.
const OUTCOMES: [&str; 6] = ["accept", "challenge", "closed", "reject", "restricted", "unavailable"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_told_of_as_they_are_when_somebody_looks() {
        let metrics = Metrics::default();
        let looks = std::sync::atomic::AtomicU64::new(0);
        metrics.refresh_by(move |metrics| {
            let given_up = 1 + looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let server = ServerFigures {
                server: format!("ldap://{given_up}"),
                up: given_up == 2,
                connections: 3,
                relayed: 4,
                latency: Some(0.5),
                given_up,
            };
            metrics.directory("main", 7, vec![server]);
        });
        metrics.render();
        let text = metrics.render();
        let labels = "directory=\"main\",server=\"ldap://2\"";
        for line in [
            "portcullis_directory_queue{directory=\"main\"} 7".to_owned(),
            format!("portcullis_directory_server_up{{{labels}}} 1"),
            format!("portcullis_directory_server_connections{{{labels},kind=\"pool\"}} 3"),
            format!("portcullis_directory_server_connections{{{labels},kind=\"relayed\"}} 4"),
            format!("portcullis_directory_server_latency_seconds{{{labels}}} 0.5"),
            format!("portcullis_directory_server_given_up_total{{{labels}}} 2"),
        ] {
            assert!(text.contains(&line), "{line} is not in {text}");
        }
        assert!(!text.contains("ldap://1"), "it is there no more");
    }

    /// Every metric that the dashboard asks for is there, with the labels that it asks by, and every metric there is has
    /// a place on it.
    #[test]
    fn the_dashboard_knows_the_metrics() {
        let metrics = Metrics::default();
        let decision = Decision {
            protocol: "radius",
            client: "vpn".into(),
            outcome: "accept",
            reason: "",
        };
        metrics.decided(&decision, Duration::from_millis(1));
        metrics.directory_took(&"main".into(), "look-up", Duration::from_millis(1));
        metrics.drop("radius", "unknown-client");
        metrics.unproven("vpn", 1);
        metrics.reused(&"vpn".into());
        metrics.radius_connections("tls").inc();
        metrics.in_flight.get_or_create(&Protocol { protocol: "radius" }).inc();
        let accounting = Accounting {
            client: "vpn".into(),
            kind: "start",
            outcome: "kept",
        };
        metrics.accounting.get_or_create(&accounting).inc();
        let asked = Asked {
            client: "vpn".into(),
            kind: "disconnect",
            outcome: "refused",
        };
        metrics.asked.get_or_create(&asked).inc();
        metrics.refresh_by(|metrics| {
            let server = ServerFigures {
                server: "ldap://1".into(),
                latency: Some(0.5),
                ..ServerFigures::default()
            };
            metrics.directory("main", 1, vec![server]);
            metrics.stream("siem", 1, 2, false);
            metrics.store(1, 2, 3, false);
        });
        let text = metrics.render();
        let dashboard = include_str!("../docs/grafana/portcullis.json");
        let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
        let mut asked = std::collections::BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let expression = target["expr"].as_str().unwrap();
                let labels = expression
                    .split(" by (")
                    .skip(1)
                    .filter_map(|rest| rest.split(')').next());
                let labels: Vec<&str> = labels.flat_map(|list| list.split(", ")).collect();
                for (at, _) in expression.match_indices("portcullis_") {
                    let rest = &expression[at..];
                    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
                    let name = &rest[..end.unwrap_or(rest.len())];
                    let sample = text
                        .lines()
                        .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
                    let sample = sample.unwrap_or_else(|| panic!("{name} is asked for, and is not there:\n{text}"));
                    for label in &labels {
                        assert!(
                            sample.contains(&format!("{label}=\"")),
                            "{name} has no {label}: {sample}"
                        );
                    }
                    asked.insert(name.to_owned());
                }
            }
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().unwrap();
            assert!(
                asked.iter().any(|asked| asked.starts_with(name)),
                "{name} is on no panel"
            );
        }
    }

    #[test]
    fn renders() {
        let metrics = Metrics::default();
        metrics.drop("radius", "unknown-client");
        assert!(
            metrics
                .render()
                .contains("portcullis_dropped_total{protocol=\"radius\",reason=\"unknown-client\"} 1")
        );
        metrics.unproven("vpn", 0);
        let line = |count| format!("portcullis_dynamic_authorization_unproven_total{{client=\"vpn\"}} {count}\n");
        assert!(metrics.render().contains(&line(0)), "there before anything is wrong");
        metrics.unproven("vpn", 2);
        assert!(metrics.render().contains(&line(2)));
    }
}
