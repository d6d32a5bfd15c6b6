//! A listener between a RADIUS client and a server over TLS that speaks RADIUS/1.1 to both and writes down
//! every packet.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use portcullis::tls::client::{Settings, Trust};
use portcullis::tls::server_name;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::pki::{Authority, Leaf};

const ALPN: &[u8] = b"radius/1.1";

/// The tap, until it is dropped with its runtime.
pub(crate) struct Tap {
    pub(crate) port: u16,
    packets: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Tap {
    /// Shows `own` to clients and comes as `leaf` to the server at `port`.
    pub(crate) async fn start(port: u16, authority: &Authority, own: &Leaf, leaf: &Leaf) -> Self {
        let chain = CertificateDer::pem_file_iter(&own.chain).unwrap();
        let chain: Vec<CertificateDer<'static>> = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![ALPN.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let ca = authority.file();
        let onward = Settings {
            trust: Trust::Authorities(Some(&ca)),
            identity: Some((&leaf.chain, &leaf.key)),
            protocols: &[ALPN],
        };
        let connector = TlsConnector::from(onward.config().unwrap());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let tap = Self {
            port: listener.local_addr().unwrap().port(),
            packets: Arc::default(),
        };
        let packets = Arc::clone(&tap.packets);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let client = acceptor.accept(client).await.unwrap();
                assert_eq!(client.get_ref().1.alpn_protocol(), Some(ALPN));
                let name = server_name("127.0.0.1").unwrap();
                let stream = TcpStream::connect(server).await.unwrap();
                let server = connector.connect(name, stream).await.unwrap();
                let (from_client, to_client) = split(client);
                let (from_server, to_server) = split(server);
                tokio::spawn(carry(from_client, to_server, Arc::clone(&packets)));
                tokio::spawn(carry(from_server, to_client, Arc::clone(&packets)));
            }
        });
        tap
    }

    /// What was written down since the last time, in order.
    pub(crate) fn take(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.packets.lock().unwrap())
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, packets: Arc<Mutex<Vec<Vec<u8>>>>) {
    let mut header = [0; 20];
    while from.read_exact(&mut header).await.is_ok() {
        let mut packet = header.to_vec();
        packet.resize(usize::from(u16::from_be_bytes([header[2], header[3]])), 0);
        from.read_exact(&mut packet[20..]).await.unwrap();
        packets.lock().unwrap().push(packet.clone());
        if to.write_all(&packet).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}
