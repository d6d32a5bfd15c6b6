//! A real listener for connections before a table of users, and a client that speaks octets over TCP or TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis::clock;
use portcullis::config;
use portcullis::dictionary::Dictionary;
use portcullis::engine::Verify;
use portcullis::engine::texts::Texts;
use portcullis::keyring::Keyring;
use portcullis::metrics::Metrics;
use portcullis::radius::attribute::STATUS_SERVER;
use portcullis::radius::client::{ClientTable, Habits};
use portcullis::radius::crypto::SharedSecret;
use portcullis::radius::intake::Service;
use portcullis::radius::packet::{Packet, Writer};
use portcullis::radius::stream;
use portcullis::secret::Secret;
use portcullis::tls::mutual::{Files, MutualServer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::pki::{Authority, Leaf, Offer, client_config, connect};
use crate::server::{PATIENCE, SECRET, Stub, counted, login, request};

/// A listener on loopback.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stub: Arc<Stub>,
    pub(crate) clients: Arc<ArcSwap<ClientTable>>,
    pub(crate) metrics: Metrics,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    pub(crate) tls: Option<Arc<MutualServer>>,
}

/// The line of a client entry for all of loopback.
pub(crate) const ANYWHERE: &str = "address = ['127.0.0.0/8', '::1']";

impl Server {
    /// Bare TCP, with lines added to the listener and to the one client, which is all of loopback.
    pub(crate) fn tcp(listener: &str, client: &str) -> Self {
        let listener = format!("transport = 'tcp'\nhandshakes_per_source = 1000\n{listener}");
        let clients = clients(&[("vpn", &format!("{ANYWHERE}\n{client}"))]);
        Self::listen("127.0.0.1:0", &listener, clients, None)
    }

    /// TLS with these certificates.
    pub(crate) fn tls(site: &Site, listener: &str, clients: ClientTable) -> Self {
        Self::tls_at("127.0.0.1:0", site, listener, clients)
    }

    pub(crate) fn tls_at(address: &str, site: &Site, listener: &str, clients: ClientTable) -> Self {
        let listener = format!("transport = 'tls'\nhandshakes_per_source = 1000\n{listener}");
        Self::listen(address, &listener, clients, Some(site))
    }

    fn listen(address: &str, listener: &str, clients: ClientTable, site: Option<&Site>) -> Self {
        let socket = stream::bind(address.parse().unwrap()).unwrap();
        let bound = socket.local_addr().unwrap();
        let text = format!("listen = '{bound}'\n{listener}");
        // Later lines replace the helpers' own.
        let config: config::RadiusListener = toml::from_str(&last_of_each(&text)).unwrap();
        let tls = site.map(|site| {
            let loaded = MutualServer::load(site.files(), stream::applications(&config.versions));
            Arc::new(loaded.unwrap())
        });
        let clients = Arc::new(ArcSwap::from_pointee(clients));
        let stub = Arc::new(Stub::new());
        let (metrics, shutdown) = (Metrics::default(), CancellationToken::new());
        let service = Service {
            clients: Arc::clone(&clients),
            verify: Arc::clone(&stub) as Arc<dyn Verify>,
            keep: Arc::clone(&stub) as Arc<dyn portcullis::engine::Keep>,
            keyring: Arc::new(Keyring::from_root(&[5; 32])),
            learned: Arc::new(Habits::default()),
            dictionary: Arc::new(ArcSwap::new(Arc::clone(Dictionary::shipped()))),
            metrics: metrics.clone(),
            strangers: Arc::default(),
        };
        let serving = stream::serve(
            socket,
            config,
            tls.clone(),
            service,
            shutdown.clone(),
            Duration::from_secs(15),
        );
        Self {
            address: bound,
            stub,
            clients,
            metrics,
            shutdown,
            task: tokio::spawn(serving),
            tls,
        }
    }

    pub(crate) async fn connect(&self) -> Line<TcpStream> {
        Line::new(TcpStream::connect(self.address).await.unwrap(), SECRET)
    }

    /// How often something was counted, by a fragment of the line in the metrics.
    pub(crate) fn counted(&self, fragment: &str) -> u64 {
        counted(&self.metrics, fragment)
    }

    /// Waits until something was counted.
    pub(crate) async fn until_counted(&self, fragment: &str, times: u64) {
        let reached = async {
            while self.counted(fragment) < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let done = timeout(PATIENCE, reached).await;
        assert!(done.is_ok(), "{fragment} is not counted:\n{}", self.metrics.render());
    }
}

fn last_of_each(text: &str) -> String {
    let mut lines: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        let key = line.split('=').next().unwrap_or_default().trim();
        lines.retain(|(before, _)| *before != key);
        lines.push((key, line));
    }
    lines.into_iter().map(|(_, line)| format!("{line}\n")).collect()
}

/// A client table; rejects are not delayed.
pub(crate) fn clients(entries: &[(&str, &str)]) -> ClientTable {
    let read = |(name, lines): &(&str, &str)| -> config::Client {
        let text = format!("name = '{name}'\nreject_delay = '0s'\nprofile = 'dialog'\n{lines}");
        let text = last_of_each(&text);
        toml::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    let configs: Vec<config::Client> = entries.iter().map(read).collect();
    let secret = Secret::new(SECRET);
    let entries = configs.iter().map(|config| {
        let secret = config.secret.as_ref().unwrap_or(&secret);
        (config, secret, "table".into())
    });
    ClientTable::build(entries, &Texts::default()).unwrap()
}

/// Certificates of a server and its clients.
pub(crate) struct Site {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) server: Leaf,
    pub(crate) crl: bool,
}

impl Site {
    pub(crate) fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::make(folder.path(), "main");
        let server = authority.server("server");
        Self {
            folder,
            authority,
            server,
            crl: false,
        }
    }

    fn files(&self) -> Files {
        Files {
            certificate: self.server.chain.clone(),
            key: self.server.key.clone(),
            client_ca: self.authority.file(),
            crl: self.crl.then(|| self.path().join("main.crl.pem")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// `nas1.example.org`
    pub(crate) fn nas(&self) -> Leaf {
        self.authority.client("nas1", &["nas1.example.org"], &["urn:nas:1"], 7)
    }

    /// A connection with a certificate, the usual offer of TLS 1.3, and no ALPN.
    pub(crate) async fn line(&self, server: &Server, leaf: &Leaf) -> Line<Tls> {
        self.offering(server, leaf, &Offer::default()).await
    }

    pub(crate) async fn offering(&self, server: &Server, leaf: &Leaf, offer: &Offer) -> Line<Tls> {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let config = client_config(&self.authority.file(), Some(leaf), offer);
        Line::new(connect(config, stream).await.unwrap(), "radsec")
    }
}

pub(crate) type Tls = tokio_rustls::client::TlsStream<TcpStream>;

/// A connection that speaks octets.
pub(crate) struct Line<S> {
    pub(crate) stream: S,
    pub(crate) secret: SharedSecret,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(crate) fn new(stream: S, secret: &str) -> Self {
        Self {
            stream,
            secret: SharedSecret::new(&Secret::new(secret)),
        }
    }

    pub(crate) async fn send(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends to somebody who may have closed.
    pub(crate) async fn send_anyway(&mut self, octets: &[u8]) {
        let _ = self.stream.write_all(octets).await;
        let _ = self.stream.flush().await;
    }

    /// One packet, by its Length field.
    pub(crate) async fn receive(&mut self) -> Vec<u8> {
        timeout(PATIENCE, self.packet())
            .await
            .expect("a reply")
            .expect("a whole reply")
    }

    async fn packet(&mut self) -> std::io::Result<Vec<u8>> {
        let mut octets = vec![0; 4];
        self.stream.read_exact(&mut octets).await?;
        let length = usize::from(u16::from_be_bytes([octets[2], octets[3]]));
        octets.resize(length, 0);
        self.stream.read_exact(&mut octets[4..]).await?;
        Ok(octets)
    }

    /// Sends a request of RADIUS/1.0, and takes its reply, which must prove itself.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.send(request).await;
        let reply = self.receive().await;
        self.check(request, &reply);
        reply
    }

    pub(crate) fn check(&self, request: &[u8], reply: &[u8]) {
        let (request, reply) = (Packet::parse(request).unwrap(), Packet::parse(reply).unwrap());
        assert_eq!(reply.identifier(), request.identifier());
        assert!(self.secret.proves_response(&reply, request.authenticator()));
        assert!(reply.signed_first());
    }

    /// The other side closes, having sent nothing more.
    pub(crate) async fn expect_close(&mut self) {
        let mut rest = Vec::new();
        // Octets of ours that it did not read make a reset of it.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest))
            .await
            .expect("it closes");
        assert_eq!(rest, [0_u8; 0], "nothing is sent before the end");
    }

    /// A signed Access-Request.
    pub(crate) fn login(&self, identifier: u8, user: &str, password: &str, more: &[(u8, &[u8])]) -> Vec<u8> {
        login(identifier, user, password, more, &self.secret)
    }

    pub(crate) fn status(&self, identifier: u8) -> Vec<u8> {
        request(STATUS_SERVER, identifier, clock::random(), &self.secret, &[], true)
    }
}

/// A packet of RADIUS/1.1.
pub(crate) fn plain(code: u8, token: [u8; 4], attributes: &[(u8, &[u8])]) -> Vec<u8> {
    let mut authenticator = [0; 16];
    authenticator[..4].copy_from_slice(&token);
    let mut buffer = Vec::new();
    let mut writer = Writer::begin(&mut buffer, code, 0, &authenticator, false);
    for (kind, value) in attributes {
        writer.push(*kind, value).unwrap();
    }
    writer.finish_plain();
    buffer
}
