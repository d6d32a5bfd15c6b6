//! How directories and their servers are, as it was when somebody looked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A server of a directory, as it is now.
#[derive(Clone, Debug, Default)]
pub struct ServerFigures {
    /// URL.
    pub server: String,
    /// Whether it takes work.
    pub up: bool,
    /// Connections for look-ups and for trying passwords.
    pub connections: usize,
    /// Connections that are relayed.
    pub relayed: usize,
    /// Seconds that the last answer took.
    pub latency: Option<f64>,
    /// How often it was given up.
    pub given_up: u64,
}

/// The metrics. There are as many labels as configured directories and their servers.
#[derive(Clone, Debug, Default)]
pub(super) struct Directories {
    queue: Family<OfDirectory, Gauge>,
    up: Family<OfServer, Gauge>,
    connections: Family<Connections, Gauge>,
    latency: Family<OfServer, Gauge<f64, AtomicU64>>,
    given_up: Family<OfServer, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDirectory {
    directory: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfServer {
    directory: Arc<str>,
    server: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Connections {
    directory: Arc<str>,
    server: String,
    /// `pool` or `relayed`.
    kind: &'static str,
}

impl Directories {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "directory_queue",
            "Requests waiting for a connection to a directory",
            self.queue.clone(),
        );
        registry.register(
            "directory_server_up",
            "Whether a directory server takes work",
            self.up.clone(),
        );
        registry.register(
            "directory_server_connections",
            "Open connections to a directory server",
            self.connections.clone(),
        );
        registry.register(
            "directory_server_latency_seconds",
            "Seconds that a directory server's last answer took",
            self.latency.clone(),
        );
        registry.register(
            "directory_server_given_up",
            "How often a directory server was given up",
            self.given_up.clone(),
        );
    }

    /// Forgets all directories: those that are configured no more are not told of.
    pub(super) fn clear(&self) {
        self.queue.clear();
        self.up.clear();
        self.connections.clear();
        self.latency.clear();
        self.given_up.clear();
    }

    pub(super) fn set(&self, directory: &str, queue: usize, servers: Vec<ServerFigures>) {
        let directory: Arc<str> = directory.into();
        let of_directory = OfDirectory {
            directory: Arc::clone(&directory),
        };
        self.queue.get_or_create(&of_directory).set(number(queue));
        for figures in servers {
            let of_server = OfServer {
                directory: Arc::clone(&directory),
                server: figures.server,
            };
            self.up.get_or_create(&of_server).set(figures.up.into());
            if let Some(seconds) = figures.latency {
                self.latency.get_or_create(&of_server).set(seconds);
            }
            let given_up = self.given_up.get_or_create(&of_server);
            given_up.inner().store(figures.given_up, Ordering::Relaxed);
            drop(given_up);
            for (kind, count) in [("pool", figures.connections), ("relayed", figures.relayed)] {
                let connections = Connections {
                    directory: Arc::clone(&directory),
                    server: of_server.server.clone(),
                    kind,
                };
                self.connections.get_or_create(&connections).set(number(count));
            }
        }
    }
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
