//! Accepts connections: so many at once and no more, each in a task of its own, so that what one client
//! does holds up no other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{LdapListener, LdapTls};
use crate::directory::Directory;
use crate::engine::Verify;
use crate::ldap::relay::{Connection, TICKS};
use crate::ldap::session::Rules;
use crate::ldap::stream::{ClientStream, handshake};
use crate::metrics::Metrics;
use crate::tls::TlsServer;

/// Gives the listener's directory as it is configured now; `None` when it is configured no more. Asked for
/// every bind and every new connection to a server, so that a reload takes effect.
pub type DirectoryProvider = Arc<dyn Fn() -> Option<Arc<dyn Directory>> + Send + Sync>;

/// Serves LDAP on `listener` until `shutdown`, then lets operations under way finish, tells the clients to
/// go (Notice of Disconnection, unavailable) and returns. Dropping the future closes all connections.
///
/// `tls` must be there for `ldap.tls = "ldaps"`; without it such a listener closes every connection.
pub async fn serve(
    listener: TcpListener,
    config: LdapListener,
    tls: Option<Arc<TlsServer>>,
    verify: Arc<dyn Verify>,
    directory: DirectoryProvider,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(config.connections));
    let shared = Arc::new(Shared::new(config, tls, verify, directory, metrics));
    let mut connections = JoinSet::new();
    let mut pause = SHORTEST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(ended) = connections.join_next() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) if concerns_one_connection(&fault) => continue,
            Err(fault) => {
                tracing::warn!(listener = %shared.config.name, error = &fault as &dyn std::error::Error, "cannot accept connections");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        pause = SHORTEST_PAUSE;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            shared.metrics.drop("ldap", "too-many-connections");
            continue;
        };
        let (shared, stop) = (Arc::clone(&shared), shutdown.child_token());
        connections.spawn(async move {
            let _place = place;
            let _counted = Counted::new(&shared.metrics);
            connection(&shared, stream, peer, stop).await;
        });
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// What the connections of a listener have in common.
pub(super) struct Shared {
    pub(super) config: LdapListener,
    pub(super) rules: Rules,
    pub(super) name: Arc<str>,
    pub(super) service: Arc<str>,
    pub(super) tls: Option<Arc<TlsServer>>,
    pub(super) verify: Arc<dyn Verify>,
    pub(super) directory: DirectoryProvider,
    pub(super) metrics: Metrics,
}

impl Shared {
    fn new(
        config: LdapListener,
        tls: Option<Arc<TlsServer>>,
        verify: Arc<dyn Verify>,
        directory: DirectoryProvider,
        metrics: Metrics,
    ) -> Self {
        Self {
            rules: Rules {
                allow_plaintext: config.allow_plaintext,
                anonymous: config.anonymous,
                start_tls: config.tls == LdapTls::Starttls && tls.is_some(),
            },
            name: config.name.as_str().into(),
            service: config.service.as_deref().unwrap_or(&config.name).into(),
            config,
            tls,
            verify,
            directory,
            metrics,
        }
    }

    /// How often a connection looks whether it is idle.
    pub(super) fn tick(&self) -> Duration {
        (self.config.idle / TICKS).max(Duration::from_millis(10))
    }
}

async fn connection(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
    if let Err(fault) = prepare(&stream) {
        tracing::debug!(%peer, error = &fault as &dyn std::error::Error, "cannot set socket options");
    }
    let stream = match (shared.config.tls, &shared.tls) {
        (LdapTls::Ldaps, Some(tls)) => {
            let Some(shaken) = stop.run_until_cancelled(handshake(tls, stream)).await else {
                return;
            };
            match shaken {
                Ok(stream) => stream,
                Err(fault) => {
                    shared.metrics.drop("ldap", "tls-handshake");
                    tracing::info!(listener = %shared.config.name, %peer, error = &fault as &dyn std::error::Error, "no TLS");
                    return;
                }
            }
        }
        (LdapTls::Ldaps, None) => {
            tracing::error!(listener = %shared.config.name, "no certificate to serve LDAPS with");
            return;
        }
        (LdapTls::Starttls | LdapTls::None, _) => ClientStream::Plain(stream),
    };
    Connection::new(Arc::clone(shared), stream, peer, stop).serve().await;
}

/// No delay for small answers; a client that has vanished without a word is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Errors of a connection that was lost before it was accepted: the next one may be fine.
fn concerns_one_connection(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        fault.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(fault) = ended
        && fault.is_panic()
    {
        tracing::error!(error = &fault as &dyn std::error::Error, "a connection's task panicked");
    }
}

/// Counts a connection for as long as it lives.
struct Counted<'m>(&'m Metrics);

impl<'m> Counted<'m> {
    fn new(metrics: &'m Metrics) -> Self {
        metrics.ldap_connections.inc();
        Self(metrics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.ldap_connections.dec();
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
