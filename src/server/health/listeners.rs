//! Asking our own listeners, as a client would.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Found;
use crate::admin::api::Grade;
use crate::config::{Config, LdapListener, LdapTls, Transport};
use crate::radius::probe;
use crate::server::Node;
use crate::server::clients::{own_address_of, own_certificate};

impl Node {
    /// Sends Status-Server from an address of this machine that is a client's, or makes a TLS connection.
    pub(super) async fn test_radius(&self, name: &str, config: &Config) -> Found {
        let Some(listener) = config.radius.iter().find(|listener| listener.name == name) else {
            return Found::fault("", "it is not configured", "run `portcullis reload`");
        };
        let address = listener.listen.to_string();
        let over_tls = match listener.transport {
            Transport::Udp | Transport::Tcp => false,
            Transport::Tls => true,
        };
        if over_tls {
            let server = reachable(listener.listen);
            return match tls_of(listener.certificate.as_deref()).await {
                Ok(tls) => match probe::handshake(server, None, tls, PATIENCE).await {
                    Ok(()) => Found::good(&address, "speaks TLS, and shows the certificate that is configured"),
                    Err(error) => unasked_or_dead(&address, &error, listener.listen).await,
                },
                Err(why) => Found::fault(&address, why, "mend `certificate`, and reload"),
            };
        }
        let table = self.clients.load_full();
        let mine = config.clients.iter().find_map(|client| {
            let source = own_address_of(client, listener.listen, &table)?;
            let secret = client.secret.as_ref().filter(|_| client.certificate.is_none())?;
            Some((client, source, secret))
        });
        let Some((client, source, secret)) = mine else {
            let text = "not asked: no client has an address of this machine. A [[client]] with address = [\"127.0.0.1\"] \
                        (or another of this machine's) makes it possible";
            return Found::untold(&address, text);
        };
        let mut server = listener.listen;
        if server.ip().is_unspecified() {
            server.set_ip(source);
        }
        let asked = match listener.transport {
            Transport::Udp | Transport::Tls => probe::status(server, source, secret, PATIENCE).await,
            Transport::Tcp => probe::status_over_tcp(server, source, secret, PATIENCE).await,
        };
        let from = format!("Status-Server from {source}, as client {}", client.name);
        match asked {
            Ok(probe::Answer::Signed | probe::Answer::Unsigned) => Found::good(&address, format!("answers {from}")),
            Ok(probe::Answer::Silence { unproven: 0 }) => {
                let remedy = format!("`portcullis client test {}` looks at what is in between", client.name);
                Found::fault(&address, format!("does not answer {from}"), &remedy)
            }
            Ok(probe::Answer::Silence { .. }) => {
                let text = format!("answers to {from} did not prove themselves");
                Found::fault(&address, text, "see whether another server has that port")
            }
            Err(error) => Found::untold(&address, format!("not asked: {error}")),
        }
    }

    /// Reads the root entry, over the TLS that the listener is configured with.
    pub(super) async fn test_ldap(&self, name: &str, config: &Config) -> Found {
        let Some(listener) = config.ldap.iter().find(|listener| listener.name == name) else {
            return Found::fault("", "it is not configured", "run `portcullis reload`");
        };
        let address = listener.listen.to_string();
        let server = reachable(listener.listen);
        if listener
            .proxy_protocol
            .as_ref()
            .is_some_and(|balancers| balancers.lists(server.ip()))
        {
            let text = "not asked: from this machine it expects a load balancer (`proxy_protocol.from`)";
            return Found::untold(&address, text);
        }
        let tls = match listener.tls {
            LdapTls::None => None,
            LdapTls::Ldaps | LdapTls::Starttls => match tls_of(listener.certificate.as_deref()).await {
                Ok(tls) => Some(tls),
                Err(why) => return Found::fault(&address, why, "mend `certificate`, and reload"),
            },
        };
        match tokio::time::timeout(PATIENCE, ask_root(server, listener, tls)).await {
            Ok(Ok(Asked::Answered)) => {
                let how = match listener.tls {
                    LdapTls::None => "",
                    LdapTls::Ldaps => " over TLS, with the certificate that is configured",
                    LdapTls::Starttls => " after StartTLS, with the certificate that is configured",
                };
                Found::good(&address, format!("answers a search for the root entry{how}"))
            }
            Ok(Ok(Asked::NoCertificate(why))) => Found::untold(
                &address,
                format!("speaks TLS, and wants a client's certificate, which we have none of: {why}"),
            ),
            Ok(Err(why)) => Found::fault(
                &address,
                why,
                "see the server's log, and `connections` of this listener",
            ),
            Err(_) => {
                let text = format!("no answer within {} s", PATIENCE.as_secs());
                Found::fault(
                    &address,
                    text,
                    "see whether the directory behind it answers: `portcullis test --all`",
                )
            }
        }
    }
}

/// Fetches the page that Prometheus reads.
pub(super) async fn test_metrics(listen: Option<SocketAddr>) -> Found {
    let Some(listen) = listen else {
        return Found::fault("", "it is not configured", "run `portcullis reload`");
    };
    let address = listen.to_string();
    let asking = async {
        let mut stream = TcpStream::connect(reachable(listen)).await?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(head)) if head == *b"HTTP/1.1 200" => Found::good(&address, "answers with the metrics"),
        Ok(Ok(_)) => Found::fault(
            &address,
            "does not answer with the metrics",
            "see whether another server has that port",
        ),
        Ok(Err(error)) => Found::fault(&address, error.to_string(), "see the server's log"),
        Err(_) => Found::fault(&address, "no answer", "see the server's log"),
    }
}

/// Where a socket answers from this machine.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    listen
}

/// Addresses that no client could have are turned away before TLS: a connection that is taken and closed says that
/// somebody listens, and no more.
async fn unasked_or_dead(address: &str, error: &std::io::Error, listen: SocketAddr) -> Found {
    match tokio::time::timeout(PATIENCE, TcpStream::connect(reachable(listen))).await {
        Ok(Ok(_)) => Found {
            grade: Grade::Untold,
            ..Found::good(
                address,
                format!("takes connections, but not ours, which is no client's: {error}"),
            )
        },
        Ok(Err(_)) | Err(_) => Found::fault(address, format!("no TLS: {error}"), "see the server's log"),
    }
}

async fn tls_of(certificate: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let file: PathBuf = certificate.ok_or("it has no certificate")?.to_owned();
    let read = tokio::task::spawn_blocking(move || own_certificate(&file)).await;
    read.unwrap_or_else(|error| Err(error.to_string()))
}

enum Asked {
    Answered,
    NoCertificate(String),
}

async fn ask_root(
    server: SocketAddr,
    listener: &LdapListener,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Asked, String> {
    let lost = |error: std::io::Error| format!("the connection failed: {error}");
    let mut stream = TcpStream::connect(server).await.map_err(lost)?;
    let Some(tls) = tls else {
        root(&mut stream).await.map_err(lost)?;
        return Ok(Asked::Answered);
    };
    if listener.tls == LdapTls::Starttls {
        let answer = ask(&mut stream, START_TLS).await.map_err(lost)?;
        if answer != EXTENDED_RESPONSE {
            return Err("StartTLS was not answered".into());
        }
    }
    let name = ServerName::IpAddress(server.ip().into());
    let connected = TlsConnector::from(tls).connect(name, stream).await;
    let mut stream = connected.map_err(|error| format!("no TLS: {error}"))?;
    match root(&mut stream).await {
        Ok(()) => Ok(Asked::Answered),
        // In TLS 1.3 a client learns only afterwards that its certificate is missed.
        Err(error) if listener.client_certificate != crate::config::ClientCertificate::default() => {
            Ok(Asked::NoCertificate(error.to_string()))
        }
        Err(error) => Err(lost(error)),
    }
}

/// Whatever is answered, in LDAP: who may read the root entry is the policy's affair.
async fn root(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    match ask(stream, ROOT_ENTRY).await? {
        SEARCH_ENTRY | SEARCH_DONE => Ok(()),
        other => Err(std::io::Error::other(format!(
            "it answered with something else (tag {other:#x})"
        ))),
    }
}

/// Sends a message, and gives the tag of the operation that comes back.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), message: &[u8]) -> std::io::Result<u8> {
    stream.write_all(message).await?;
    let mut header = [0; 2];
    stream.read_exact(&mut header).await?;
    let [_, first] = header;
    let length = match first {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(stream.read_u8().await?),
        0x82 => usize::from(stream.read_u16().await?),
        0x84 => usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX),
        _ => return Err(std::io::ErrorKind::InvalidData.into()),
    };
    if length > MOST_ANSWERED {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    // messageID is a short INTEGER: what follows it is the operation.
    let id = body.get(1).copied().map(usize::from).unwrap_or_default();
    body.get(2 + id)
        .copied()
        .ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// How long an answer of our own may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest root entry.
const MOST_ANSWERED: usize = 1 << 20;

/// `searchRequest` for the root entry (RFC 4512 section 5.1), with its `objectClass`.
const ROOT_ENTRY: &[u8] = b"\x30\x25\x02\x01\x01\x63\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectClass\x30\x00";
/// `extendedReq` for StartTLS (RFC 4511 section 4.14.1).
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
const EXTENDED_RESPONSE: u8 = 0x78;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
