//! Mail (RFC 5321): one connection for each message, over TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::address::Envelope;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, Message as Mail};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::template::{Escape, Place, Template};
use super::{Failed, SetupFault, in_full, value};
use crate::config::{Delivery as Settings, SmtpTls};
use crate::engine::delivery::Message;
use crate::secret::Secret;
use crate::tls;

/// Most octets that a server may send in one conversation: replies are lines (RFC 5321 section 4.5.3.1.5).
const MOST_RECEIVED: usize = 64 * 1024;

/// A mail server.
pub(super) struct Smtp {
    host: String,
    port: u16,
    protection: Protection,
    credentials: Option<(String, Secret)>,
    from: Mailbox,
    hello: ClientId,
    subject: Template,
    text: Template,
}

enum Protection {
    Implicit(TlsConnector),
    Starttls(TlsParameters),
    None,
}

impl Smtp {
    /// Reads what TLS needs. Blocks.
    pub(super) fn new(settings: &Settings) -> Result<Self, SetupFault> {
        let server = settings.server.as_deref().unwrap_or_default();
        let (host, port) =
            Settings::host_and_port(server, settings.tls).ok_or_else(|| SetupFault::new("server", "is no host"))?;
        let from = settings.from.as_deref().unwrap_or_default();
        let from = from
            .parse::<Mailbox>()
            .map_err(|error| SetupFault::new("from", format!("is no sender: {error}")))?;
        let template = |key, text| {
            Template::parse(text, &Place::WORDS, Escape::Plain).map_err(|fault| SetupFault::new(key, fault))
        };
        let text = template("text", &settings.text)?;
        if !text.holds(&[Place::Code]) {
            return Err(SetupFault::new("text", "does not hold {code}"));
        }
        let subject = template("subject", &settings.subject)?;
        if subject.holds(&[Place::Code]) {
            return Err(SetupFault::new(
                "subject",
                "holds {code}, which screens show while they are locked; put it into `text`",
            ));
        }
        Ok(Self {
            protection: Protection::new(settings, &host)?,
            host,
            port,
            credentials: settings.login.clone().zip(settings.password.clone()),
            from,
            hello: ClientId::default(),
            subject,
            text,
        })
    }

    pub(super) fn target(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    pub(super) async fn send(&self, message: &Message) -> Result<String, Failed> {
        let minutes = message.minutes.to_string();
        let fill = |template: &Template| template.fill(|place| value(place, message, &minutes, ""));
        let (subject, text) = (fill(&self.subject), fill(&self.text));
        self.post(message.destination.as_str(), &subject, &text).await
    }

    /// Sends any mail.
    pub(super) async fn post(&self, to: &str, subject: &str, text: &str) -> Result<String, Failed> {
        let to: Address = to
            .parse()
            .map_err(|_| Failed::Refused("it is no e-mail address".into()))?;
        let envelope = Envelope::new(Some(self.from.email.clone()), vec![to.clone()])
            .map_err(|error| Failed::Refused(error.to_string()))?;
        let mail = Mail::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .date_now()
            .message_id(None)
            .header(ContentType::TEXT_PLAIN)
            .header(AutoSubmitted)
            .body(text.to_owned())
            .map_err(|error| Failed::Refused(error.to_string()))?;
        let octets = zeroize::Zeroizing::new(mail.formatted());
        let mut connection = self.connect().await?;
        let reply = connection.send(&envelope, &octets).await.map_err(failed)?;
        // It has been taken, whatever comes of the farewell.
        let _ = connection.quit().await;
        Ok(format!("{} {}", reply.code(), reply.first_line().unwrap_or_default()))
    }

    /// Connects and authenticates, and sends nothing.
    pub(super) async fn probe(&self) -> Result<(), Failed> {
        let mut connection = self.connect().await?;
        let _ = connection.quit().await;
        Ok(())
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Failed> {
        let unreachable =
            |error: io::Error| Failed::Unavailable(format!("cannot connect to {}: {error}", self.target()));
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let peer = stream.peer_addr().map_err(unreachable)?;
        let stream: Box<dyn AsyncTokioStream> = match &self.protection {
            Protection::Implicit(connector) => {
                let name = tls::server_name(&self.host).map_err(|error| Failed::Unavailable(error.to_string()))?;
                let stream = connector
                    .connect(name, stream)
                    .await
                    .map_err(|error| Failed::Unavailable(format!("TLS with {}: {error}", self.target())))?;
                Box::new(Bounded::new(stream, peer))
            }
            Protection::Starttls(_) => Box::new(Bounded::before_tls(stream, peer)),
            Protection::None => Box::new(Bounded::new(stream, peer)),
        };
        let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &self.hello)
            .await
            .map_err(failed)?;
        if let Protection::Starttls(parameters) = &self.protection {
            if !connection.can_starttls() {
                connection.abort().await;
                return Err(Failed::Unavailable(format!(
                    "{} does not offer STARTTLS, and nothing is sent without",
                    self.target()
                )));
            }
            connection
                .starttls(parameters.clone(), &self.hello)
                .await
                .map_err(failed)?;
        }
        if let Some((login, password)) = &self.credentials {
            let password = password.expose_str().unwrap_or_default().to_owned();
            let credentials = Credentials::new(login.clone(), password);
            connection
                .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
                .await
                .map_err(|error| match failed(error) {
                    Failed::Refused(why) | Failed::Busy(why) | Failed::Unavailable(why) => {
                        Failed::Unavailable(format!("it does not let us in: {why}"))
                    }
                })?;
        }
        Ok(connection)
    }
}

impl Protection {
    fn new(settings: &Settings, host: &str) -> Result<Self, SetupFault> {
        let ca_file = settings.ca_file.as_deref();
        let broken = |error: tls::TlsError| SetupFault::tls("ca_file", error);
        match settings.tls {
            SmtpTls::None => Ok(Self::None),
            SmtpTls::Implicit => {
                tls::server_name(host).map_err(|error| SetupFault::tls("server", error))?;
                let config = tls::client_config(ca_file).map_err(broken)?;
                Ok(Self::Implicit(TlsConnector::from(config)))
            }
            SmtpTls::Starttls => {
                // Read as for everything else, so that a fault in it is told in the same words.
                tls::client_config(ca_file).map_err(broken)?;
                let parameters = starttls(host, ca_file)
                    .map_err(|error| SetupFault::new("ca_file", format!("cannot be used: {error}")))?;
                Ok(Self::Starttls(parameters))
            }
        }
    }
}

fn starttls(host: &str, ca_file: Option<&Path>) -> Result<TlsParameters, Box<dyn std::error::Error>> {
    let builder = TlsParameters::builder(host.to_owned());
    let builder = match ca_file {
        None => builder,
        Some(file) => builder
            .certificate_store(CertificateStore::None)
            .add_root_certificate(Certificate::from_pem(&std::fs::read(file)?)?),
    };
    Ok(builder.build_rustls()?)
}

/// A server that says no for good to this message refuses the destination; everything else is its own affair.
fn failed(error: lettre::transport::smtp::Error) -> Failed {
    let said = in_full(&error);
    if error.is_permanent() && error.status().is_some_and(|code| is_about_destination(code.into())) {
        Failed::Refused(said)
    } else if error.is_transient() {
        // There is somebody, who wants it later: servers that get too much say so (RFC 5321 section 4.2.1).
        Failed::Busy(said)
    } else {
        Failed::Unavailable(said)
    }
}

/// RFC 5321 section 4.2.3: mailbox unavailable, not local, its name not allowed.
fn is_about_destination(code: u16) -> bool {
    matches!(code, 550 | 551 | 553)
}

/// `Auto-Submitted: auto-generated` (RFC 3834 section 5): nobody's holiday notice is to answer it.
#[derive(Clone)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// A stream that ends once the server has sent more than anybody reads.
///
/// Where TLS is still to begin it is read an octet at a time: what somebody in between has sent right behind the
/// answer to STARTTLS then is in nobody's buffer, where it would be taken for what the server says within TLS. It
/// is left for the handshake, which fails of it.
#[derive(Debug)]
struct Bounded<S> {
    stream: S,
    peer: SocketAddr,
    left: usize,
    before_tls: bool,
}

/// The first octet of a handshake (RFC 8446 section 5.1), which no command begins with.
const HANDSHAKE: u8 = 22;

impl<S> Bounded<S> {
    fn new(stream: S, peer: SocketAddr) -> Self {
        Self {
            stream,
            peer,
            left: MOST_RECEIVED,
            before_tls: false,
        }
    }

    fn before_tls(stream: S, peer: SocketAddr) -> Self {
        Self {
            before_tls: true,
            ..Self::new(stream, peer)
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug> AsyncTokioStream for Bounded<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.before_tls && buffer.remaining() > 0 {
            let mut octet = [0];
            let mut one = ReadBuf::new(&mut octet);
            std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut one))?;
            buffer.put_slice(one.filled());
        } else {
            std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        }
        let read = buffer.filled().len().saturating_sub(before);
        match self.left.checked_sub(read) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Err(io::Error::other("the server sends more than a reply"))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.before_tls &= octets.first() != Some(&HANDSHAKE);
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::pki_types::PrivateKeyDer;

    use super::*;

    /// A server that offers STARTTLS, with `behind` sent right behind its answer to it.
    async fn probed(behind: &str) -> Result<(), Failed> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = format!("220 go ahead\r\n{behind}");
        let server = tokio::spawn(async move {
            let mut stream = BufReader::new(listener.accept().await.unwrap().0);
            stream.write_all(b"220 mail.test\r\n").await.unwrap();
            for reply in ["250-mail.test\r\n250 STARTTLS\r\n", answer.as_str()] {
                stream.read_line(&mut String::new()).await.unwrap();
                stream.write_all(reply.as_bytes()).await.unwrap();
            }
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let Ok(stream) = acceptor.accept(stream.into_inner()).await else {
                return;
            };
            let mut stream = BufReader::new(stream);
            while stream.read_line(&mut String::new()).await.is_ok_and(|read| read > 0) {
                if stream.write_all(b"250 mail.test\r\n").await.is_err() {
                    return;
                }
            }
        });
        let settings = format!(
            "name = \"mail\"\nkind = \"smtp\"\nserver = \"localhost:{port}\"\nfrom = \"c@example.org\"\nca_file = {:?}\n",
            ca_file.display().to_string()
        );
        let settings: Settings = toml::from_str(&settings).unwrap();
        let probed = Smtp::new(&settings).unwrap().probe().await;
        server.abort();
        probed
    }

    #[tokio::test]
    async fn what_is_said_before_tls_is_no_answer_within() {
        assert_eq!(probed("").await, Ok(()));
        let injected = probed("250-mail.test\r\n250 AUTH PLAIN\r\n").await;
        assert!(matches!(injected, Err(Failed::Unavailable(_))), "{injected:?}");
    }
}
