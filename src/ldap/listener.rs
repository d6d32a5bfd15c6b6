//! Accepts connections: so many at once and no more, of them a share for each address, each in a task of its
//! own, so that what one client does holds up no other.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::accept::{concerns_one_connection, prepare, report};
use crate::clock;
use crate::config::{ClientCertificate, LdapListener, LdapTls};
use crate::directory::Directory;
use crate::engine::Verify;
use crate::engine::policy::Rule;
use crate::ldap::account::{Accounts, Named};
use crate::ldap::balancer::Balancers;
use crate::ldap::bound::Bindings;
use crate::ldap::relay::{Connection, TICKS};
use crate::ldap::restrict::Restriction;
use crate::ldap::sasl::Offered;
use crate::ldap::session::Rules;
use crate::ldap::stream::{ClientStream, handshake};
use crate::metrics::Metrics;
use crate::quiet::Quiet;
use crate::tls::TlsServer;

/// Gives the listener's directory as it is configured now; `None` when it is configured no more. Asked for
/// every bind and every new connection to a server, so that a reload takes effect.
pub type DirectoryProvider = Arc<dyn Fn() -> Option<Arc<dyn Directory>> + Send + Sync>;

/// What a listener works with.
pub struct Service {
    /// Its certificate; must be there for `ldap.tls = "ldaps"`: without it every connection is closed.
    pub tls: Option<Arc<TlsServer>>,
    /// Judges binds.
    pub verify: Arc<dyn Verify>,
    /// What its clients' operations are relayed to.
    pub directory: DirectoryProvider,
    /// Who is bound where.
    pub bindings: Arc<Bindings>,
    /// Counts.
    pub metrics: Metrics,
}

/// Serves LDAP on `listener` until `shutdown`, then lets operations under way finish, tells the clients to
/// go (Notice of Disconnection, unavailable) and returns. Dropping the future closes all connections.
pub async fn serve(listener: TcpListener, config: LdapListener, service: Service, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(config.connections));
    let sources = Arc::new(Sources::new(config.connections));
    let shared = Arc::new(Shared::new(config, service));
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
        let proxied = shared.config.proxy_protocol.as_ref();
        let unread = match proxied.is_some_and(|proxied| proxied.lists(peer.ip())) {
            true => Some(shared.balancers.admit()),
            false => None,
        };
        // A balancer's connections are counted as those of the clients behind it, once it has named them.
        let share = match unread {
            Some(Some(_)) => None,
            Some(None) => {
                shared.metrics.drop("ldap", "too-many-unread-proxy-headers");
                continue;
            }
            None => match shared.share(&sources, peer) {
                Some(share) => Some(share),
                None => continue,
            },
        };
        let (shared, stop) = (Arc::clone(&shared), shutdown.child_token());
        let sources = Arc::clone(&sources);
        connections.spawn(async move {
            let _place = place;
            let _counted = Counted::new(&shared.metrics);
            let (mut stream, mut peer, mut share) = (stream, peer, share);
            if let Some(unread) = unread {
                let announced = shared.announced(&mut stream, peer, &stop).await;
                drop(unread);
                let Some(client) = announced else { return };
                peer = client;
                share = shared.share(&sources, peer);
                if share.is_none() {
                    return;
                }
            }
            connection(&shared, stream, peer, stop).await;
            drop(share);
        });
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// The service account that `user` names on a listener, as configured, with what is asked of it when it comes from
/// `source`: nothing lets it in from anywhere else.
pub fn service_account(config: &LdapListener, user: &str, source: IpAddr) -> Option<(String, Option<Arc<Rule>>)> {
    match Accounts::new(config).named(user.as_bytes(), source) {
        Named::Person => None,
        Named::Account(account) => Some((account.written.clone(), Some(Arc::clone(&account.rule)))),
        Named::Misplaced(account) => Some((account.written.clone(), None)),
    }
}

/// What the connections of a listener have in common.
pub(super) struct Shared {
    pub(super) config: LdapListener,
    pub(super) rules: Rules,
    /// How long a connection may be idle of which nothing is known yet.
    pub(super) unsettled: Duration,
    pub(super) name: Arc<str>,
    /// The names of the applications behind it, in their order.
    pub(super) applications: Box<[Arc<str>]>,
    pub(super) service: Arc<str>,
    pub(super) tls: Option<Arc<TlsServer>>,
    pub(super) verify: Arc<dyn Verify>,
    pub(super) directory: DirectoryProvider,
    pub(super) bindings: Arc<Bindings>,
    pub(super) metrics: Metrics,
    /// What connections may do that no service account is bound on.
    pub(super) restriction: Option<Arc<Restriction>>,
    pub(super) accounts: Accounts,
    /// Keeps the lines few about service accounts that come from elsewhere.
    pub(super) misplaced: Mutex<Quiet>,
    balancers: Balancers,
}

impl Shared {
    fn new(config: LdapListener, service: Service) -> Self {
        let Service {
            tls,
            verify,
            directory,
            bindings,
            metrics,
        } = service;
        Self {
            rules: Rules {
                allow_plaintext: config.allow_plaintext,
                anonymous: config.anonymous,
                start_tls: config.tls == LdapTls::Starttls && tls.is_some(),
                sasl: Offered::new(&config.sasl, config.client_certificate != ClientCertificate::None),
                relayed: (!config.sasl_relay.is_empty()).then(|| config.sasl_relay.as_slice().into()),
            },
            unsettled: config.idle.min(LONGEST_UNSETTLED),
            balancers: Balancers::new(&config),
            name: config.name.as_str().into(),
            service: config.service.as_deref().unwrap_or(&config.name).into(),
            restriction: config.restrict.as_ref().and_then(Restriction::new),
            accounts: Accounts::new(&config),
            applications: config
                .applications
                .iter()
                .map(|application| application.name.as_str().into())
                .collect(),
            misplaced: Mutex::default(),
            config,
            tls,
            verify,
            directory,
            bindings,
            metrics,
        }
    }

    /// The application that comes from `source`.
    pub(super) fn application(&self, source: IpAddr) -> Option<Arc<str>> {
        let place = self.config.application(source)?;
        self.applications.get(place).cloned()
    }

    /// One connection more of a source, if it may have it.
    fn share(&self, sources: &Arc<Sources>, peer: SocketAddr) -> Option<Share> {
        let share = Share::take(sources, peer.ip());
        if share.is_none() {
            self.metrics.drop("ldap", "too-many-connections-of-one-source");
        }
        share
    }

    /// Whose connection a balancer has made.
    async fn announced(
        &self,
        stream: &mut TcpStream,
        balancer: SocketAddr,
        stop: &CancellationToken,
    ) -> Option<SocketAddr> {
        let name = &self.config.name;
        let read = self
            .balancers
            .client(stream, balancer, self.unsettled, name, &self.metrics);
        stop.run_until_cancelled(read).await.flatten()
    }

    /// How often a connection looks whether it is idle.
    pub(super) fn tick(&self, settled: bool) -> Duration {
        let idle = if settled { self.config.idle } else { self.unsettled };
        (idle / TICKS).max(Duration::from_millis(10))
    }
}

async fn connection(shared: &Arc<Shared>, stream: TcpStream, peer: SocketAddr, stop: CancellationToken) {
    let opened = clock::monotonic();
    if let Err(fault) = prepare(&stream) {
        tracing::debug!(%peer, error = &fault as &dyn std::error::Error, "cannot set socket options");
    }
    let stream = match (shared.config.tls, &shared.tls) {
        (LdapTls::Ldaps, Some(tls)) => {
            let Some(shaken) = stop.run_until_cancelled(handshake(tls, stream, shared.unsettled)).await else {
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
    Connection::new(Arc::clone(shared), stream, peer, opened, stop)
        .serve()
        .await;
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

/// How many connections each address has, so that one alone cannot take all of them.
struct Sources {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Sources {
    fn new(connections: usize) -> Self {
        Self {
            most: (connections / 4).max(LEAST_SHARE),
            open: Mutex::default(),
        }
    }
}

/// One connection of its address's share, for as long as it lives.
struct Share {
    sources: Arc<Sources>,
    /// Absent for applications on this machine, which share one address.
    address: Option<IpAddr>,
}

impl Share {
    /// `None` when the address has as many connections as it may.
    fn take(sources: &Arc<Sources>, address: IpAddr) -> Option<Self> {
        let address = Some(address.to_canonical()).filter(|address| !address.is_loopback());
        if let Some(address) = address {
            let mut open = sources.open.lock();
            let count = open.entry(address).or_default();
            if *count >= sources.most {
                return None;
            }
            *count += 1;
        }
        Some(Self {
            sources: Arc::clone(sources),
            address,
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(address) = self.address else {
            return;
        };
        let mut open = self.sources.open.lock();
        if let Some(count) = open.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&address);
            }
        }
    }
}

/// Longest idle time of a connection that has not bound and was not served.
const LONGEST_UNSETTLED: Duration = Duration::from_secs(30);
/// Connections that one address may always have.
const LEAST_SHARE: usize = 16;
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::directory::local::LocalDirectory;
    use crate::engine::{AuthnRequest, BoxFuture, Check, Denial, Verdict};

    #[test]
    fn each_address_has_its_share_and_no_more() {
        let sources = Arc::new(Sources::new(400));
        let take = |address: &str| Share::take(&sources, address.parse().unwrap());
        let mut all: Vec<_> = (0..100).map(|_| take("192.0.2.1").unwrap()).collect();
        assert!(take("192.0.2.1").is_none());
        assert!(take("::ffff:192.0.2.1").is_none(), "the same address in another form");
        all.push(take("192.0.2.2").unwrap());
        assert!(all.pop().is_some() && all.pop().is_some());
        all.push(take("192.0.2.1").unwrap());
        assert!(take("192.0.2.1").is_none());
        drop(all);
        assert!(sources.open.lock().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn the_share_is_never_tiny_and_this_machine_has_no_limit() {
        let sources = Arc::new(Sources::new(2));
        let take = |address: &str| Share::take(&sources, address.parse().unwrap());
        let remote: Vec<_> = (0..17).filter_map(|_| take("2001:db8::1")).collect();
        assert_eq!(remote.len(), LEAST_SHARE);
        let local: Vec<_> = (0..100).filter_map(|_| take("127.0.0.1")).collect();
        assert_eq!(local.len(), 100);
        assert!(take("::1").is_some() && take("::ffff:127.0.0.2").is_some());
    }

    #[test]
    fn little_patience_until_something_is_served() {
        let usual = shared("");
        assert_eq!(usual.tick(false) * TICKS, Duration::from_secs(30));
        assert_eq!(usual.tick(true) * TICKS, Duration::from_secs(900));
        let short = shared("idle = \"8s\"");
        assert_eq!(short.tick(false), short.tick(true));
    }

    /// The longer of the two idle times would outlast any test.
    #[tokio::test]
    async fn a_connection_that_asks_for_nothing_is_closed_early() {
        const ROOT_DSE: &[u8] = b"\x30\x25\x02\x01\x01\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x00";
        let unsettled = Duration::from_secs(1);
        let shared = Arc::new(Shared {
            unsettled,
            ..shared("")
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, peer)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                connections.spawn(async move { connection(&shared, stream, peer, CancellationToken::new()).await });
            }
        });
        let mut served = TcpStream::connect(address).await.unwrap();
        served.write_all(ROOT_DSE).await.unwrap();
        let mut answer = [0; 4096];
        assert_ne!(served.read(&mut answer).await.unwrap(), 0);

        let mut refused = TcpStream::connect(address).await.unwrap();
        refused
            .write_all(b"\x30\x12\x02\x01\x01\x60\x0d\x02\x01\x03\x04\x04cn=x\x80\x02pw")
            .await
            .unwrap();
        let mut silent = TcpStream::connect(address).await.unwrap();
        for stream in [&mut silent, &mut refused] {
            let mut told = Vec::new();
            stream.read_to_end(&mut told).await.unwrap();
            let (unavailable, notice) = (b"\x0a\x01\x34", b"1.3.6.1.4.1.1466.20036");
            assert!(told.ends_with(notice) && told.windows(3).any(|octets| octets == unavailable));
        }
        sleep(unsettled).await;
        served.write_all(ROOT_DSE).await.unwrap();
        assert_ne!(served.read(&mut answer).await.unwrap(), 0);
        serving.abort();
    }

    fn shared(lines: &str) -> Shared {
        let text =
            format!("name = \"wiki\"\nlisten = \"127.0.0.1:0\"\ntls = \"none\"\nallow_plaintext = true\n{lines}");
        let config = toml::from_str(&text).unwrap();
        let local = crate::config::LocalDirectory {
            name: "demo".into(),
            ldif: Path::new("demo.ldif").into(),
            login_attributes: vec!["uid".into()],
            attributes: Vec::new(),
            language_attribute: None,
            disabled_by: Vec::new(),
            sso_managed_by: Vec::new(),
            sso_managed_groups: Vec::new(),
            remember: Duration::ZERO,
            cleartext: false,
            password_check: None,
        };
        let directory: Arc<dyn Directory> =
            LocalDirectory::parse(&local, b"dn: dc=x\nobjectClass: domain\ndc: x\n").unwrap();
        let provider: DirectoryProvider = Arc::new(move || Some(Arc::clone(&directory)));
        let service = Service {
            tls: None,
            verify: Arc::new(Refusing),
            directory: provider,
            bindings: Arc::default(),
            metrics: Metrics::default(),
        };
        Shared::new(config, service)
    }

    struct Refusing;

    impl Verify for Refusing {
        fn verify<'a>(&'a self, _: AuthnRequest, _: Check<'a>) -> BoxFuture<'a, Verdict> {
            Box::pin(std::future::ready(Verdict::Reject(Denial::UnknownUser)))
        }
    }
}
