//! The client's side of a login over LDAP: connect, bind, ask who it is. For `portcullis login ldap`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::ber::{self, BerError, ENUMERATED, INTEGER, Message, OCTET_STRING, Reader, SEQUENCE};
use crate::ldap::frame::{FrameError, Head, Sender};
use crate::ldap::reply::{BIND_REQUEST, BIND_RESPONSE, EXTENDED_REQUEST, EXTENDED_RESPONSE, START_TLS, WHO_AM_I};
use crate::secret::Secret;
use crate::tls::{self, TlsError};

/// Where and how to log in.
#[derive(Clone, Debug)]
pub struct Target {
    /// `ldap://host[:port]` or `ldaps://host[:port]`.
    pub url: String,
    /// StartTLS before the bind, on `ldap://`.
    pub starttls: bool,
    /// PEM file of the authorities to verify the server with; the system's when absent.
    pub ca_file: Option<PathBuf>,
    /// Name to verify the certificate for, instead of the URL's host.
    pub server_name: Option<String>,
    /// Longest time for each step.
    pub timeout: Duration,
}

/// What came of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The bind's resultCode; 0 is success.
    pub code: i32,
    /// The bind's diagnosticMessage.
    pub diagnostic: String,
    /// Who the server says we are (RFC 4532), `dn:…`, when the bind succeeded and the server tells.
    pub identity: Option<String>,
    /// Whether the password travelled over TLS.
    pub encrypted: bool,
}

impl Report {
    /// Whether the bind succeeded.
    pub fn accepted(&self) -> bool {
        self.code == 0
    }

    /// The result in words.
    pub fn words(&self) -> String {
        format!("{} ({})", in_words(self.code), self.code)
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The URL cannot be used.
    #[error("`{0}` is not a URL such as ldaps://host:636")]
    Url(String),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
    /// No connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS was refused, or the certificate is not trusted.
    #[error("no TLS with {address}")]
    Handshake {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server refused StartTLS.
    #[error("the server refuses StartTLS: {} ({code})", in_words(*.code))]
    StartTls {
        /// Its resultCode.
        code: i32,
    },
    /// The connection broke.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    /// The server did not answer in time.
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// The server does not speak LDAP.
    #[error("the server does not answer in LDAP")]
    NotLdap(#[source] BerError),
    /// The server closed the connection with a notice.
    #[error("the server disconnected: {} ({code}) {text}", in_words(*.code))]
    Disconnected {
        /// Its resultCode.
        code: i32,
        /// Its diagnosticMessage.
        text: String,
    },
}

/// Logs in as `name` (a distinguished name, or whatever the server takes for one).
///
/// # Errors
/// [`LoginError`] when there is no answer to the bind; a refusal is a [`Report`].
pub async fn login(target: &Target, name: &str, password: &Secret) -> Result<Report, LoginError> {
    let url = Url::parse(&target.url)?;
    let address = format!("{}:{}", url.host, url.port);
    let connect = TcpStream::connect((url.host.as_str(), url.port));
    let stream = within(target.timeout, connect)
        .await?
        .map_err(|source| LoginError::Connect {
            address: address.clone(),
            source,
        })?;
    stream.set_nodelay(true).map_err(LoginError::Lost)?;
    if url.tls {
        return talk(
            &mut over_tls(target, &url, address, stream).await?,
            target,
            name,
            password,
            true,
        )
        .await;
    }
    let mut stream = stream;
    if !target.starttls {
        return talk(&mut stream, target, name, password, false).await;
    }
    let request = message(1, EXTENDED_REQUEST, |out| {
        ber::write(REQUEST_NAME, START_TLS.as_bytes(), out);
    });
    let reply = ask(&mut stream, &request, EXTENDED_RESPONSE, target.timeout).await?;
    let code = reply.code;
    if code != 0 {
        return Err(LoginError::StartTls { code });
    }
    talk(
        &mut over_tls(target, &url, address, stream).await?,
        target,
        name,
        password,
        true,
    )
    .await
}

/// A resultCode in words (RFC 4511 appendix A).
pub fn in_words(code: i32) -> &'static str {
    match code {
        0 => "success",
        1 => "operations error",
        2 => "protocol error",
        7 => "authentication method not supported",
        8 => "stronger authentication required",
        12 => "critical extension not available",
        13 => "confidentiality required: use TLS",
        32 => "no such object",
        34 => "the name is not a distinguished name",
        48 => "inappropriate authentication",
        49 => "invalid credentials",
        50 => "insufficient access rights",
        51 => "busy",
        52 => "unavailable: the directory cannot be asked",
        53 => "unwilling to perform",
        _ => "another result",
    }
}

async fn over_tls(
    target: &Target,
    url: &Url,
    address: String,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, LoginError> {
    let config = tls::client_config(target.ca_file.as_deref())?;
    let name = tls::server_name(target.server_name.as_deref().unwrap_or(&url.host))?;
    let handshake = TlsConnector::from(Arc::clone(&config)).connect(name, stream);
    within(target.timeout, handshake)
        .await?
        .map_err(|source| LoginError::Handshake { address, source })
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    target: &Target,
    name: &str,
    password: &Secret,
    encrypted: bool,
) -> Result<Report, LoginError> {
    let request = message(2, BIND_REQUEST, |out| {
        ber::write_integer(INTEGER, 3, out);
        ber::write(OCTET_STRING, name.as_bytes(), out);
        ber::write(SIMPLE, password.expose(), out);
    });
    let bound = ask(stream, &request, BIND_RESPONSE, target.timeout).await?;
    let mut report = Report {
        code: bound.code,
        diagnostic: bound.text,
        identity: None,
        encrypted,
    };
    if report.accepted() {
        let request = message(3, EXTENDED_REQUEST, |out| {
            ber::write(REQUEST_NAME, WHO_AM_I.as_bytes(), out);
        });
        let told = ask(stream, &request, EXTENDED_RESPONSE, target.timeout).await?;
        report.identity = told.value.filter(|_| told.code == 0);
    }
    let goodbye = message(4, super::reply::UNBIND_REQUEST, |_| {});
    // The result is known; a server that is quicker to close is none the worse for it.
    let _best_effort = stream.write_all(&goodbye).await;
    let _best_effort = stream.shutdown().await;
    Ok(report)
}

/// What concerns us of a response.
struct Reply {
    code: i32,
    text: String,
    /// responseValue of an ExtendedResponse.
    value: Option<String>,
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    response: u8,
    longest: Duration,
) -> Result<Reply, LoginError> {
    within(longest, exchange(stream, request, response)).await?
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    response: u8,
) -> Result<Reply, LoginError> {
    stream.write_all(request).await.map_err(LoginError::Lost)?;
    stream.flush().await.map_err(LoginError::Lost)?;
    let mut pdu = Vec::new();
    loop {
        if let Some(head) = Head::read(&pdu, LONGEST_REPLY, Sender::Server).map_err(not_ldap)?
            && pdu.len() >= head.total
        {
            break;
        }
        if stream.read_buf(&mut pdu).await.map_err(LoginError::Lost)? == 0 {
            return Err(LoginError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    let message = Message::read(&pdu).map_err(LoginError::NotLdap)?;
    let reply = read_result(&message).map_err(LoginError::NotLdap)?;
    if message.id == 0 {
        return Err(LoginError::Disconnected {
            code: reply.code,
            text: reply.text,
        });
    }
    if message.operation.tag != response {
        return Err(LoginError::NotLdap(BerError::Unexpected));
    }
    Ok(reply)
}

fn read_result(message: &Message<'_>) -> Result<Reply, BerError> {
    let mut fields = Reader::new(message.operation.content);
    let code = fields.integer(ENUMERATED)?;
    fields.expect(OCTET_STRING)?;
    let text = String::from_utf8_lossy(fields.expect(OCTET_STRING)?).into_owned();
    let mut value = None;
    while !fields.is_empty() {
        let field = fields.element()?;
        if field.tag == RESPONSE_VALUE {
            value = Some(String::from_utf8_lossy(field.content).into_owned());
        }
    }
    Ok(Reply { code, text, value })
}

fn not_ldap(fault: FrameError) -> LoginError {
    LoginError::NotLdap(match fault {
        FrameError::Malformed(fault) => fault,
        FrameError::TooLarge { .. } => BerError::TooLong,
        FrameError::BadMessageId(_) => BerError::Unexpected,
    })
}

fn message(id: i32, operation: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(1024));
    ber::write_with(SEQUENCE, &mut out, |out| {
        ber::write_integer(INTEGER, id, out);
        ber::write_with(operation, out, fill);
    });
    out
}

async fn within<T>(longest: Duration, future: impl Future<Output = T>) -> Result<T, LoginError> {
    timeout(longest, future)
        .await
        .map_err(|_elapsed| LoginError::TimedOut(longest))
}

/// The parts of an LDAP URL that a connection needs.
#[derive(Debug, PartialEq, Eq)]
struct Url {
    tls: bool,
    host: String,
    port: u16,
}

impl Url {
    fn parse(text: &str) -> Result<Self, LoginError> {
        let fault = || LoginError::Url(text.to_owned());
        let (tls, rest) = match text.split_once("://") {
            Some(("ldap", rest)) => (false, rest),
            Some(("ldaps", rest)) => (true, rest),
            _ => return Err(fault()),
        };
        let rest = rest.trim_end_matches('/');
        let default = if tls { 636 } else { 389 };
        let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, default),
            Some((host, port)) => (
                host,
                port.strip_prefix(':')
                    .and_then(|port| port.parse().ok())
                    .ok_or_else(fault)?,
            ),
            None => match rest.split_once(':') {
                Some((host, port)) => (host, port.parse().map_err(|_| fault())?),
                None => (rest, default),
            },
        };
        if host.is_empty() || host.contains(['/', '?', ' ']) {
            return Err(fault());
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port,
        })
    }
}

/// requestName of an ExtendedRequest.
const REQUEST_NAME: u8 = 0x80;
/// responseValue of an ExtendedResponse.
const RESPONSE_VALUE: u8 = 0x8b;
/// AuthenticationChoice `simple`.
const SIMPLE: u8 = 0x80;
/// Longest response that is read.
const LONGEST_REPLY: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parts = |text: &str| Url::parse(text).map(|url| (url.tls, url.host, url.port)).ok();
        assert_eq!(parts("ldap://a.example"), Some((false, "a.example".into(), 389)));
        assert_eq!(parts("ldaps://a.example:1636/"), Some((true, "a.example".into(), 1636)));
        assert_eq!(parts("ldaps://[::1]"), Some((true, "::1".into(), 636)));
        assert_eq!(parts("ldap://[::1]:3890"), Some((false, "::1".into(), 3890)));
        for bad in [
            "a.example",
            "http://a",
            "ldap://",
            "ldap://a:b",
            "ldap://a/dc=x",
            "ldap://[::1]x",
        ] {
            assert_eq!(parts(bad), None, "{bad}");
        }
    }
}
