//! Asks the admin socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::api::{ApiError, ErrorKind};

/// Speaks to one admin socket, a connection for each request.
#[derive(Clone, Debug)]
pub struct AdminClient {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("no server answers at {0}")]
    Unreachable(PathBuf, #[source] io::Error),
    /// The socket does not let this account connect.
    #[error("this account may not open {0}")]
    Forbidden(PathBuf),
    /// The conversation broke off.
    #[error("the server at {0} did not answer: {1}")]
    Broken(PathBuf, String),
    /// What the server sent could not be kept.
    #[error("cannot keep what the server sent")]
    Taken(#[source] io::Error),
    /// The server says no.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl AdminClient {
    /// For the socket at this path.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
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
        let mut answer = self.in_time(self.send(Method::POST, path, body.into())).await?;
        if !answer.response.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        loop {
            let frame = async { Ok(answer.response.frame().await.transpose()?) };
            let Some(frame) = self.in_time(frame).await? else {
                return Ok(());
            };
            if let Some(octets) = frame.data_ref() {
                take(octets).map_err(ClientError::Taken)?;
            }
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, target: &str, body: Bytes) -> Result<T, ClientError> {
        let answer = self.in_time(self.send(method, target, body)).await?;
        if !answer.response.status().is_success() {
            return Err(self.refusal(answer).await);
        }
        let octets = self.in_time(answer.whole()).await?;
        serde_json::from_slice(&octets).map_err(|error| self.broken(error))
    }

    async fn send(&self, method: Method, target: &str, body: Bytes) -> Result<Open, Failure> {
        let uri: Uri = target.parse()?;
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                ClientError::Forbidden(self.socket.clone())
            } else {
                ClientError::Unreachable(self.socket.clone(), error)
            }
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            // What goes wrong shows in the answer.
            let _ = connection.await;
        });
        let connection = AbortOnDrop(connection);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))?;
        let response = sender.send_request(request).await?;
        Ok(Open {
            response,
            _connection: connection,
        })
    }

    async fn in_time<T>(&self, exchange: impl Future<Output = Result<T, Failure>>) -> Result<T, ClientError> {
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Failure::Client(error))) => Err(error),
            Ok(Err(Failure::Exchange(error))) => Err(self.broken(error)),
            Err(_) => Err(self.broken(format!("nothing within {} seconds", PATIENCE.as_secs()))),
        }
    }

    /// What the server says of why it does not.
    async fn refusal(&self, answer: Open) -> ClientError {
        let status = answer.response.status();
        let octets = match self.in_time(answer.whole()).await {
            Ok(octets) => octets,
            Err(error) => return error,
        };
        let error = serde_json::from_slice(&octets).unwrap_or_else(|_| {
            ApiError::new(
                ErrorKind::Internal,
                format!("the server answered {status} without a reason"),
            )
        });
        ClientError::Api(error)
    }

    fn broken(&self, error: impl ToString) -> ClientError {
        ClientError::Broken(self.socket.clone(), error.to_string())
    }
}

/// An answer that is under way.
struct Open {
    response: Response<Incoming>,
    _connection: AbortOnDrop,
}

impl Open {
    async fn whole(self) -> Result<Bytes, Failure> {
        let Self { response, _connection } = self;
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        Ok(body.map_err(Failure::Exchange)?.to_bytes())
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Why an exchange failed.
enum Failure {
    Client(ClientError),
    Exchange(Box<dyn std::error::Error + Send + Sync>),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<hyper::Error> for Failure {
    fn from(error: hyper::Error) -> Self {
        Self::Exchange(error.into())
    }
}

impl From<hyper::http::Error> for Failure {
    fn from(error: hyper::http::Error) -> Self {
        Self::Exchange(error.into())
    }
}

impl From<hyper::http::uri::InvalidUri> for Failure {
    fn from(error: hyper::http::uri::InvalidUri) -> Self {
        Self::Exchange(error.into())
    }
}

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

    #[tokio::test]
    async fn nobody_at_home() {
        let folder = tempfile::tempdir().unwrap();
        let client = AdminClient::new(folder.path().join("admin.sock"));
        let answer: Result<serde_json::Value, _> = client.get("/v1/status", &()).await;
        assert!(matches!(answer, Err(ClientError::Unreachable(..))));
    }
}
