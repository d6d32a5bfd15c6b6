//! Asks the admin socket.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio_util::task::AbortOnDropHandle;

use super::api::{ApiError, ErrorKind, REQUEST_HEADER};

/// Speaks to one admin socket, a connection for each request.
#[derive(Clone, Debug)]
pub struct AdminClient {
    socket: PathBuf,
    /// The approved request that things are done under.
    request: Option<String>,
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
    /// The server says no.
    #[error(transparent)]
    Api(#[from] ApiError),
}

impl AdminClient {
    /// For the socket at this path.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            request: None,
        }
    }

    /// The same for what is done under an approved request.
    pub fn under(self, request: Option<String>) -> Self {
        Self { request, ..self }
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
        let uri: Uri = path.parse().map_err(|error| self.broken(error))?;
        let stream = self.connect().await?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| self.broken(error))?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.broken(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
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
        drop(connection);
        match status.is_success() {
            true => Ok(()),
            false => Err(refused(status, &buffer)),
        }
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        UnixStream::connect(&self.socket).await.map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                ClientError::Forbidden(self.socket.clone())
            } else {
                ClientError::Unreachable(self.socket.clone(), error)
            }
        })
    }

    async fn exchange(&self, method: Method, target: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let uri: Uri = target.parse().map_err(|error| self.broken(error))?;
        let stream = self.connect().await?;
        let exchange = async {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let mut request = Request::builder()
                .method(method)
                .uri(uri)
                .header(HOST, "localhost")
                .header(CONTENT_TYPE, "application/json");
            if let Some(under) = &self.request {
                request = request.header(REQUEST_HEADER, under);
            }
            let request = request.body(Full::new(body))?;
            let response = sender.send_request(request).await?;
            let status = response.status();
            let octets = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await?
                .to_bytes();
            connection.abort();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, octets))
        };
        let (status, octets) = match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.broken(error)),
            Err(_) => return Err(self.broken(format!("nothing within {} seconds", PATIENCE.as_secs()))),
        };
        if status.is_success() {
            return Ok(octets);
        }
        Err(refused(status, &octets))
    }

    fn broken(&self, error: impl ToString) -> ClientError {
        ClientError::Broken(self.socket.clone(), error.to_string())
    }
}

/// What an answer says that is no success.
fn refused(status: StatusCode, body: &[u8]) -> ClientError {
    ClientError::Api(serde_json::from_slice(body).unwrap_or_else(|_| {
        ApiError::new(
            ErrorKind::Internal,
            format!("the server answered {status} without a reason"),
        )
    }))
}

/// Most octets of a line.
const MAX_LINE: usize = 1 << 20;

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
