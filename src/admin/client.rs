//! Asks the admin socket, or the same over TLS.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::api::{ApiError, CONFIRM_HEADER, ErrorKind, REQUEST_HEADER};
use crate::causes::in_full;
use crate::secret::Secret;
use crate::tls::{TlsError, client_config, server_name};

/// Speaks to one server, a connection for each request.
#[derive(Clone)]
pub struct AdminClient {
    place: Place,
    token: Option<Secret>,
    confirm: Option<Confirm>,
    /// The approved request that things are done under.
    request: Option<String>,
}

/// Asks for the code that a request takes; what it says is why. `None` when there is none to be had.
pub type Confirm = Arc<dyn Fn(&str) -> Option<Secret> + Send + Sync>;

#[derive(Clone)]
enum Place {
    Socket(PathBuf),
    Remote {
        /// `host:port`
        authority: String,
        name: ServerName<'static>,
        tls: Arc<rustls::ClientConfig>,
    },
}

impl fmt::Debug for AdminClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdminClient({})", self.place)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => write!(f, "{}", socket.display()),
            Self::Remote { authority, .. } => write!(f, "https://{authority}"),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("no server answers at {0}")]
    Unreachable(String, #[source] io::Error),
    /// The socket does not let this account connect.
    #[error("this account may not open {0}")]
    Forbidden(String),
    /// The conversation broke off.
    #[error("the server at {0} did not answer: {1}")]
    Broken(String, String),
    /// What the server sent could not be kept.
    #[error("cannot keep what the server sent")]
    Taken(#[source] io::Error),
    /// The server says no.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Why a server cannot be asked over TLS.
#[derive(Debug, thiserror::Error)]
pub enum BadUrl {
    /// Not a URL of ours.
    #[error("`{0}` is not https://host or https://host:port")]
    Url(String),
    /// The authorities cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl AdminClient {
    /// For the socket at this path.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            place: Place::Socket(socket.into()),
            token: None,
            confirm: None,
            request: None,
        }
    }

    /// For the TLS listener at `https://host[:port]`, verified by the authorities in `ca_file` (PEM) or the system's.
    /// Reads files.
    ///
    /// # Errors
    /// [`BadUrl`].
    pub fn remote(url: &str, ca_file: Option<&Path>) -> Result<Self, BadUrl> {
        let bad = || BadUrl::Url(url.to_owned());
        let parsed: Uri = url.parse().map_err(|_| bad())?;
        let plain =
            parsed.scheme_str() == Some("https") && matches!(parsed.path(), "" | "/") && parsed.query().is_none();
        let host = parsed.host().filter(|_| plain).ok_or_else(bad)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            place: Place::Remote {
                authority: format!("{host}:{}", parsed.port_u16().unwrap_or(443)),
                name: server_name(bare)?,
                tls: client_config(ca_file)?,
            },
            token: None,
            confirm: None,
            request: None,
        })
    }

    /// The same for what is done under an approved request.
    #[must_use]
    pub fn under(self, request: Option<String>) -> Self {
        Self { request, ..self }
    }

    /// Shows this API token with every request.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        self.token = Some(token);
        self
    }

    /// Asks for a code where a request takes one, and sends the request again with it.
    #[must_use]
    pub fn confirmed_by(mut self, confirm: Confirm) -> Self {
        self.confirm = Some(confirm);
        self
    }

    /// Reads `path`; `query` becomes its parameters, absent ones left out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ClientError> {
        let target = match query_of(query) {
            text if text.is_empty() => path.to_owned(),
            text => format!("{path}?{text}"),
        };
        self.ask(Method::GET, &target, Bytes::new()).await
    }

    /// Sends `body` to `path`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        self.ask(Method::POST, path, body.into()).await
    }

    /// Reads `path` as text, whatever it is: for `/metrics`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let octets = self.exchange(Method::GET, path, Bytes::new()).await?;
        String::from_utf8(octets.into()).map_err(|error| self.broken(error))
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, target: &str, body: Bytes) -> Result<T, ClientError> {
        let octets = self.exchange(method, target, body).await?;
        serde_json::from_slice(&octets).map_err(|error| self.broken(error))
    }

    /// Sends `body` to `path`, and hands each line of the answer to `line` as it comes, until that says to stop.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post_for_lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut line: impl FnMut(T) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        let (response, _connection) = self.response(&Method::POST, path, body.into()).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut buffer = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(error))?;
            buffer.extend_from_slice(frame.data_ref().map_or(&[], |data| data.as_ref()));
            if buffer.len() > MAX_LINE {
                return Err(self.broken("a line of the answer is too long"));
            }
            while let Some(end) = buffer
                .iter()
                .position(|&octet| octet == b'\n')
                .filter(|_| status.is_success())
            {
                let rest = buffer.split_off(end + 1);
                let whole = std::mem::replace(&mut buffer, rest);
                let read = serde_json::from_slice(&whole).map_err(|error| self.broken(error))?;
                if line(read).is_break() {
                    return Ok(());
                }
            }
        }
        match status.is_success() {
            true => Ok(()),
            false => Err(refused(status, &buffer).into()),
        }
    }

    /// Sends `body` to `path`, and hands on what comes back as it comes. An answer that ends early looks whole: the
    /// caller must be able to tell.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::Taken`] when `take` fails.
    pub async fn receive(
        &self,
        path: &str,
        body: &impl Serialize,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        let (response, _connection) = self.response(&Method::POST, path, body.into()).await?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(status, &self.whole(response).await?).into());
        }
        let mut body = response.into_body();
        while let Some(frame) = timeout(PATIENCE, body.frame()).await.map_err(|_| self.too_late())? {
            let frame = frame.map_err(|error| self.broken(in_full(&error)))?;
            if let Some(octets) = frame.data_ref() {
                take(octets).map_err(ClientError::Taken)?;
            }
        }
        Ok(())
    }

    async fn exchange(&self, method: Method, target: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let (response, _connection) = self.response(&method, target, body).await?;
        let status = response.status();
        let octets = self.whole(response).await?;
        if status.is_success() {
            return Ok(octets);
        }
        Err(refused(status, &octets).into())
    }

    /// The beginning of the answer, and the connection that the rest comes over. Where a code is asked for, it is got
    /// and the request sent again with it, once.
    async fn response(
        &self,
        method: &Method,
        target: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), ClientError> {
        let (response, connection) = self.send(self.request(method, target, body.clone(), None)?).await?;
        let status = response.status();
        let Some(confirm) = self
            .confirm
            .as_ref()
            .filter(|_| status == StatusCode::PRECONDITION_REQUIRED)
        else {
            return Ok((response, connection));
        };
        let why = refused(status, &self.whole(response).await?);
        let Some(code) = confirm(&why.error) else {
            return Err(why.into());
        };
        self.send(self.request(method, target, body, Some(&code))?).await
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let collected = timeout(PATIENCE, Limited::new(response.into_body(), MAX_ANSWER).collect()).await;
        let collected = collected.map_err(|_| self.too_late())?;
        Ok(collected.map_err(|error| self.broken(in_full(&*error)))?.to_bytes())
    }

    fn request(
        &self,
        method: &Method,
        target: &str,
        body: Bytes,
        code: Option<&Secret>,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let uri: Uri = target.parse().map_err(|error| self.broken(error))?;
        let host = match &self.place {
            Place::Socket(_) => "localhost",
            Place::Remote { authority, .. } => authority,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, host)
            .header(CONTENT_TYPE, "application/json");
        if let Some(under) = &self.request {
            request = request.header(REQUEST_HEADER, under);
        }
        let mut request = request.body(Full::new(body)).map_err(|error| self.broken(error))?;
        let mut show = |name: HeaderName, prefix: &[u8], secret: &Secret| {
            let text = Zeroizing::new([prefix, secret.expose()].concat());
            let mut value = HeaderValue::from_bytes(&text).map_err(|error| self.broken(error))?;
            value.set_sensitive(true);
            request.headers_mut().insert(name, value);
            Ok::<_, ClientError>(())
        };
        if let Some(token) = &self.token {
            show(AUTHORIZATION, b"Bearer ", token)?;
        }
        if let Some(code) = code {
            show(HeaderName::from_static(CONFIRM_HEADER), b"", code)?;
        }
        Ok(request)
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, AbortOnDropHandle<()>), ClientError> {
        let opened = match &self.place {
            Place::Socket(socket) => {
                let connected = UnixStream::connect(socket).await;
                speak(connected.map_err(|error| self.unreachable(error))?).await
            }
            Place::Remote { authority, name, tls } => {
                let connected = timeout(CONNECT_TIME, connect(authority, name, tls)).await;
                let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                speak(connected.map_err(|error| self.unreachable(error))?).await
            }
        };
        let (mut sender, connection) = opened.map_err(|error| self.broken(in_full(&error)))?;
        let answered = timeout(PATIENCE, sender.send_request(request)).await;
        let response = answered.map_err(|_| self.too_late())?;
        Ok((response.map_err(|error| self.broken(in_full(&error)))?, connection))
    }

    fn unreachable(&self, error: io::Error) -> ClientError {
        if error.kind() == io::ErrorKind::PermissionDenied {
            return ClientError::Forbidden(self.place.to_string());
        }
        ClientError::Unreachable(self.place.to_string(), error)
    }

    fn too_late(&self) -> ClientError {
        self.broken(format!("nothing within {} seconds", PATIENCE.as_secs()))
    }

    /// The conversation ended without what it was for.
    pub fn broken(&self, error: impl ToString) -> ClientError {
        ClientError::Broken(self.place.to_string(), error.to_string())
    }
}

async fn connect(
    authority: &str,
    name: &ServerName<'static>,
    tls: &Arc<rustls::ClientConfig>,
) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::clone(tls)).connect(name.clone(), stream).await
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> hyper::Result<(SendRequest<Full<Bytes>>, AbortOnDropHandle<()>)> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(async move {
        // What breaks it off is told to whoever waits for the answer.
        let _ = connection.await;
    });
    Ok((sender, AbortOnDropHandle::new(connection)))
}

fn refused(status: StatusCode, octets: &[u8]) -> ApiError {
    serde_json::from_slice(octets).unwrap_or_else(|_| {
        ApiError::new(
            ErrorKind::Internal,
            format!("the server answered {status} without a reason"),
        )
    })
}

/// How long a connection and its TLS may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Most octets of a line.
const MAX_LINE: usize = 8 << 20;

/// Most octets of an answer.
const MAX_ANSWER: usize = 64 << 20;

/// How long an answer may take: the verification of a very long audit is the longest.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The parameters of a query: the fields of `query` that are not null.
fn query_of(query: &impl Serialize) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) else {
        return String::new();
    };
    let pairs = fields.iter().filter_map(|(name, value)| {
        let text = match value {
            serde_json::Value::Null => return None,
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Bool(_)
            | serde_json::Value::Number(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => value.to_string(),
        };
        Some(format!("{name}={}", escaped(&text)))
    });
    pairs.collect::<Vec<_>>().join("&")
}

/// Percent-encoding (RFC 3986 section 2.1) of everything but unreserved characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::api::UserRef;

    #[test]
    fn queries_keep_every_character() {
        let query = UserRef {
            user: "EX\\ana &=ü".into(),
            directory: None,
        };
        assert_eq!(query_of(&query), "user=EX%5Cana%20%26%3D%C3%BC");
    }

    #[test]
    fn urls_are_of_https_and_end_after_the_port() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&file, made.cert.pem()).unwrap();
        let client = |url: &str| AdminClient::remote(url, Some(&file)).map(|client| client.place.to_string());
        assert_eq!(
            client("https://door.example.org").unwrap(),
            "https://door.example.org:443"
        );
        assert_eq!(client("https://[::1]:8443/").unwrap(), "https://[::1]:8443");
        for bad in [
            "http://door",
            "https://door/v1",
            "door:8443",
            "https://",
            "https://door?x=1",
        ] {
            assert!(matches!(client(bad), Err(BadUrl::Url(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn nobody_at_home() {
        let folder = tempfile::tempdir().unwrap();
        let client = AdminClient::new(folder.path().join("admin.sock"));
        let answer: Result<serde_json::Value, _> = client.get("/v1/status", &()).await;
        assert!(matches!(answer, Err(ClientError::Unreachable(..))));
    }
}
