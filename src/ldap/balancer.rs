//! Connections that come through load balancers: whose they are is read from the PROXY header in front of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock;
use crate::config::LdapListener;
use crate::metrics::Metrics;
use crate::proxy_protocol::{self, Announced, Fault};
use crate::quiet::Quiet;

/// The balancers before a listener, and their connections of which nothing is known yet.
pub(super) struct Balancers {
    unread: Arc<Semaphore>,
    quiet: Mutex<Quiet>,
}

impl Balancers {
    pub(super) fn new(config: &LdapListener) -> Self {
        // A part of all connections, so that headers which do not come keep out only each other.
        let unread = (config.connections / 4).max(LEAST_UNREAD);
        Self {
            unread: Arc::new(Semaphore::new(unread)),
            quiet: Mutex::default(),
        }
    }

    /// Room for one more connection whose header is still to come.
    pub(super) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.unread).try_acquire_owned().ok()
    }

    /// Reads whose connection it is; `None` when it is to be closed.
    pub(super) async fn client(
        &self,
        stream: &mut TcpStream,
        balancer: SocketAddr,
        patience: Duration,
        listener: &str,
        metrics: &Metrics,
    ) -> Option<SocketAddr> {
        let patience = patience.min(LONGEST_PATIENCE);
        match proxy_protocol::read(stream, patience).await {
            Ok(Announced::Client(client)) => Some(client),
            Ok(Announced::Unnamed) => proxy_protocol::goes_on(stream, patience).await.then_some(balancer),
            // A health check: neither good nor bad.
            Err(Fault::Nothing) => None,
            Err(fault) => {
                metrics.drop("ldap", fault.word());
                if let Some(unlogged) = self.quiet.lock().due(clock::monotonic()) {
                    let error = &fault as &dyn std::error::Error;
                    tracing::warn!(listener, %balancer, error, unlogged, "closed a connection of a load balancer");
                }
                None
            }
        }
    }
}

/// How long a header may take: balancers send it at once.
const LONGEST_PATIENCE: Duration = Duration::from_secs(5);
/// Connections that may always wait for their header.
const LEAST_UNREAD: usize = 16;
