//! The API over TLS: for API tokens alone, with limits on connections, their time and their number for each source.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::guesses::grouped;
use super::listener::serve_caller;
use super::operator::Caller;
use super::router::AdminState;
use crate::accept::{concerns_one_connection, prepare};
use crate::tls::TlsServer;

/// A bound address.
#[derive(Debug)]
pub struct RemoteListener {
    listener: TcpListener,
    tls: Arc<TlsServer>,
    connections: usize,
}

/// How long the negotiation of TLS may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// How long requests under way may go on after the shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// Between two tries to accept when the system has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

impl RemoteListener {
    /// Listens on an address, for at most so many connections at once; a source has a quarter of them.
    ///
    /// # Errors
    /// As the system gives them.
    pub async fn bind(address: SocketAddr, tls: Arc<TlsServer>, connections: usize) -> io::Result<Self> {
        Ok(Self {
            listener: TcpListener::bind(address).await?,
            tls,
            connections,
        })
    }

    /// Serves until `shutdown`, then lets the requests under way finish for a moment.
    pub async fn serve(self, state: AdminState, shutdown: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(self.connections));
        let sources = Arc::new(Sources {
            most: self.connections.div_ceil(4),
            open: Mutex::default(),
        });
        let connections = TaskTracker::new();
        let (ending, ended) = watch::channel(());
        let accept = async {
            loop {
                let (stream, peer) = match self.listener.accept().await {
                    Ok(accepted) => accepted,
                    Err(fault) if concerns_one_connection(&fault) => continue,
                    Err(error) => {
                        warn!(%error, "the admin listener does not accept");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                };
                // Nobody is made to wait by those who came first: who finds no place is closed at once.
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    debug!(%peer, "no place for another admin connection");
                    continue;
                };
                let Some(share) = Share::take(&sources, peer.ip()) else {
                    debug!(%peer, "too many admin connections of one source");
                    continue;
                };
                let (tls, state, ended) = (Arc::clone(&self.tls), state.clone(), ended.clone());
                connections.spawn(async move {
                    serve_connection(&tls, stream, peer, state, ended).await;
                    drop((place, share));
                });
            }
        };
        tokio::select! {
            () = accept => {}
            () = shutdown => {}
        }
        drop(ending);
        connections.close();
        let _ = timeout(DRAIN, connections.wait()).await;
    }
}

async fn serve_connection(
    tls: &TlsServer,
    stream: TcpStream,
    peer: SocketAddr,
    state: AdminState,
    ended: watch::Receiver<()>,
) {
    if let Err(error) = prepare(&stream) {
        debug!(%peer, %error, "cannot set socket options");
    }
    match timeout(HANDSHAKE_TIME, TlsAcceptor::from(tls.config()).accept(stream)).await {
        Ok(Ok(stream)) => serve_caller(stream, state, Caller::Remote(peer.ip().to_canonical()), ended).await,
        Ok(Err(error)) => debug!(%peer, %error, "no TLS for the admin listener"),
        Err(_) => debug!(%peer, "no TLS for the admin listener in time"),
    }
}

/// How many connections each source has.
#[derive(Debug)]
struct Sources {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection of a source, for as long as it lives.
struct Share {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Share {
    fn take(sources: &Arc<Sources>, address: IpAddr) -> Option<Self> {
        let source = grouped(address);
        let mut all = sources.open.lock();
        let open = all.entry(source).or_default();
        if *open >= sources.most {
            return None;
        }
        *open += 1;
        Some(Self {
            sources: Arc::clone(sources),
            source,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.sources.open.lock();
        if let Some(open) = all.get_mut(&self.source) {
            *open -= 1;
            if *open == 0 {
                all.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share() {
        let sources = Arc::new(Sources {
            most: 2,
            open: Mutex::default(),
        });
        let take = |address: &str| Share::take(&sources, address.parse().unwrap());
        let one = take("2001:db8::1").unwrap();
        let _two = take("2001:db8::2").unwrap();
        assert!(take("2001:db8::3").is_none(), "one /64");
        assert!(take("192.0.2.1").is_some());
        drop(one);
        assert!(take("2001:db8::3").is_some());
        assert_eq!(sources.open.lock().len(), 1, "who has none open is forgotten");
    }
}
