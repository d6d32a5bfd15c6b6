//! Asks the admin socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

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

    /// Sends `body` to `path`, whose answer comes as lines of JSON, and hands them to `each` as they come.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post_lines<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        mut each: impl FnMut(T),
    ) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        let (response, connection) = self.send(Method::POST, path, body.into()).await?;
        let status = response.status();
        let mut frames = response.into_body();
        let mut text: Vec<u8> = Vec::new();
        let mut read = |text: &mut Vec<u8>| {
            while let Some(end) = text.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                each(serde_json::from_slice(&line).map_err(|error| self.broken(error))?);
            }
            Ok::<_, ClientError>(())
        };
        loop {
            let next = tokio::time::timeout(PATIENCE, frames.frame()).await;
            match next.map_err(|_| self.broken("nothing more came"))? {
                None => break,
                Some(frame) => {
                    let frame = frame.map_err(|error| self.broken(error))?;
                    text.extend_from_slice(&frame.into_data().unwrap_or_default());
                }
            }
            if text.len() > MAX_ANSWER {
                return Err(self.broken("a line without an end"));
            }
            if status.is_success() {
                read(&mut text)?;
            }
        }
        connection.abort();
        match status.is_success() {
            true => Ok(()),
            false => Err(refusal(status, &text)),
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, target: &str, body: Bytes) -> Result<T, ClientError> {
        let exchange = async {
            let (response, connection) = self.send(method, target, body).await?;
            let status = response.status();
            let limited = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            connection.abort();
            limited
                .map(|octets| (status, octets.to_bytes()))
                .map_err(|error| self.broken(error))
        };
        let (status, octets) = match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.broken(format!("nothing within {} seconds", PATIENCE.as_secs()))),
        };
        match status.is_success() {
            true => serde_json::from_slice(&octets).map_err(|error| self.broken(error)),
            false => Err(refusal(status, &octets)),
        }
    }

    /// Sends a request. The connection lives until it is aborted.
    async fn send(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>), ClientError> {
        let uri: Uri = target.parse().map_err(|error| self.broken(error))?;
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| {
            if error.kind() == io::ErrorKind::PermissionDenied {
                ClientError::Forbidden(self.socket.clone())
            } else {
                ClientError::Unreachable(self.socket.clone(), error)
            }
        })?;
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.broken(error))?;
        let connection = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let response = sender.send_request(request).await.map_err(|error| self.broken(error))?;
        Ok((response, connection))
    }

    fn broken(&self, error: impl ToString) -> ClientError {
        ClientError::Broken(self.socket.clone(), error.to_string())
    }
}

/// Why a server says no.
fn refusal(status: StatusCode, octets: &[u8]) -> ClientError {
    let error = serde_json::from_slice(octets).unwrap_or_else(|_| {
        ApiError::new(
            ErrorKind::Internal,
            format!("the server answered {status} without a reason"),
        )
    });
    ClientError::Api(error)
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
