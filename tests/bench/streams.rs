//! RADIUS packets over TLS (RFC 6614): a connection that waits for nothing, so that one thread drives many.
#![allow(dead_code, reason = "each generator uses its own part of this")]

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use socket2::{Domain, Socket, Type};

/// Who we are and whom we trust.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Identity {
    /// Speak RADIUS over TLS; these authorities sign the server's certificate. Connections then take the
    /// place of source ports. The server is called `localhost`.
    #[arg(long, requires_all = ["cert", "key"])]
    ca: Option<PathBuf>,
    /// Our certificate.
    #[arg(long)]
    cert: Option<PathBuf>,
    /// Its key.
    #[arg(long)]
    key: Option<PathBuf>,
}

impl Identity {
    /// What connections are made with; nothing without TLS.
    pub(crate) fn config(&self) -> Option<Arc<rustls::ClientConfig>> {
        let (ca, cert, key) = (self.ca.as_ref()?, self.cert.as_ref()?, self.key.as_ref()?);
        let mut roots = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(ca).expect("a file of certificates") {
            roots.add(root.expect("a certificate")).expect("an authority");
        }
        let chain = CertificateDer::pem_file_iter(cert).expect("a file of certificates");
        let chain = chain.map(|link| link.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions that the provider knows")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .expect("a certificate and its key");
        Some(Arc::new(config))
    }
}

/// A connection with the identifiers of the packets that wait to be sent.
pub(crate) struct Stream {
    socket: TcpStream,
    tls: ClientConnection,
    queue: Vec<u8>,
    /// What was received and is not a whole packet yet.
    received: Vec<u8>,
}

impl Stream {
    /// Connects and shakes hands.
    pub(crate) fn connected(from: IpAddr, server: SocketAddr, config: &Arc<rustls::ClientConfig>) -> Self {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address");
        socket.connect(&server.into()).expect("a server");
        let mut socket = TcpStream::from(socket);
        socket.set_nodelay(true).expect("an open socket");
        let name = ServerName::try_from("localhost").expect("a name");
        let mut tls = ClientConnection::new(Arc::clone(config), name).expect("a connection");
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).expect("a handshake");
        }
        socket.set_nonblocking(true).expect("an open socket");
        Self {
            socket,
            tls,
            queue: Vec::new(),
            received: Vec::new(),
        }
    }

    pub(crate) fn queue(&mut self, id: u8) {
        self.queue.push(id);
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Sends what is queued, as few records as there are calls of this.
    pub(crate) fn send<'p>(&mut self, packet: impl Fn(u8) -> &'p Vec<u8>) {
        let octets: Vec<u8> = self.queue.drain(..).flat_map(packet).copied().collect();
        self.tls.writer().write_all(&octets).expect("room in the session");
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the connection broke: {error}"),
            }
        }
    }

    /// Takes what has come; how many packets. What `take` gives back is queued.
    pub(crate) fn receive(&mut self, mut take: impl FnMut(&[u8]) -> Option<u8>) -> usize {
        loop {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => panic!("the server hung up"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("the connection broke: {error}"),
            }
            let state = self.tls.process_new_packets().expect("sound records");
            let at = self.received.len();
            self.received.resize(at + state.plaintext_bytes_to_read(), 0);
            self.tls
                .reader()
                .read_exact(&mut self.received[at..])
                .expect("what is there");
        }
        let received = std::mem::take(&mut self.received);
        let (mut rest, mut count) = (received.as_slice(), 0);
        while let Some(&[_, _, high, low]) = rest.first_chunk::<4>() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some((packet, after)) = rest.split_at_checked(length.max(4)) else {
                break;
            };
            self.queue.extend(take(packet));
            (rest, count) = (after, count + 1);
        }
        self.received = rest.to_vec();
        count
    }

    /// For waiting.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
