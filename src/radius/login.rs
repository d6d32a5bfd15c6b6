//! A RADIUS client that logs in over an [`Exchange`] and walks through challenges.

use std::sync::Arc;

use crate::engine::response::MsChapSuccess;
use crate::radius::attribute::{ACCESS_ACCEPT, ACCESS_CHALLENGE, NAS_IDENTIFIER, STATE, USER_NAME};
use crate::radius::crypto::MAX_PASSWORD;
use crate::radius::exchange::{Exchange, Failure, Reply, Request};
use crate::radius::method;
use crate::radius::packet::{MAX_VALUE, Overflow, cut};
use crate::secret::Secret;

/// Logs in at one server.
#[derive(Clone, Debug)]
pub struct Login {
    exchange: Exchange,
    nas_identifier: String,
    method: Method,
    /// Further attributes, with type and length.
    attributes: Vec<u8>,
}

/// How the password is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// It is sent, hidden with the shared secret or by TLS.
    #[default]
    Pap,
    /// By a response to a challenge (RFC 1994).
    Chap,
    /// By a response, after which the server proves that it knows the password as well (RFC 2759).
    MsChapV2,
}

/// A question from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// What to show, in order.
    pub messages: Vec<String>,
    /// Whether the answer may be shown while it is typed.
    pub echo: bool,
}

/// How a login ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Let in.
    Accept(Reply),
    /// Let in, but the server did not prove that it knows the password, as MS-CHAPv2 has it.
    Unproven(Reply),
    /// Refused.
    Reject(Reply),
    /// The claimant did not answer a challenge.
    Abandoned,
    /// No reply that proves itself, after all tries.
    Timeout {
        /// Replies that came and proved nothing: a sign of a wrong shared secret.
        unproven: u32,
    },
}

/// Why a login could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The password has more than 128 octets, or the user name more than 253, or is empty; or all attributes
    /// together are too long.
    #[error("the user name or the password is too long for RADIUS, or the name is empty")]
    TooLong,
    /// MS-CHAPv2 takes text.
    #[error("the password is not UTF-8, which MS-CHAPv2 takes")]
    NotText,
    /// The server cannot be reached, or will have nothing of it.
    #[error("the server cannot be asked")]
    Failed(#[source] Failure),
    /// The server goes on asking.
    #[error("the server sent more than {MAX_ROUNDS} challenges")]
    Endless,
}

/// More challenges than any dialog of ours has.
const MAX_ROUNDS: u32 = 32;

impl Login {
    /// Logs in over `exchange`.
    pub fn new(exchange: Exchange) -> Self {
        Self {
            exchange,
            nas_identifier: "portcullis".into(),
            method: Method::default(),
            attributes: Vec::new(),
        }
    }

    /// The NAS-Identifier to send, at most 253 octets.
    #[must_use]
    pub fn nas_identifier(mut self, name: &str) -> Self {
        self.nas_identifier = cut(name, MAX_VALUE).0.into();
        self
    }

    /// How to prove the password, and the answers to challenges.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Further attributes for every request, encoded with type and length.
    #[must_use]
    pub fn attributes(mut self, attributes: &[u8]) -> Self {
        self.attributes.extend_from_slice(attributes);
        self
    }

    /// Logs in with a password; each challenge goes to `answer`, which may give up with `None`.
    ///
    /// # Errors
    /// [`LoginError`]; what the server says or does not say is an [`Outcome`].
    pub async fn login(
        &self,
        user: &str,
        password: &Secret,
        mut answer: impl FnMut(&Challenge) -> Option<Secret>,
    ) -> Result<Outcome, LoginError> {
        let mut typed = password.clone();
        let mut state: Option<Vec<u8>> = None;
        for _ in 0..MAX_ROUNDS {
            let Asked { request, expected } = self.request(user, &typed, state.as_deref())?;
            let reply = match self.exchange.ask(&request).await {
                Ok(reply) => reply,
                Err(Failure::Silence { unproven, .. }) => return Ok(Outcome::Timeout { unproven }),
                Err(Failure::TooLong) => return Err(LoginError::TooLong),
                Err(
                    failure @ (Failure::Busy(_)
                    | Failure::Connect { .. }
                    | Failure::Lost { .. }
                    | Failure::Refused { .. }),
                ) => return Err(LoginError::Failed(failure)),
            };
            match reply.code() {
                ACCESS_ACCEPT if expected.is_some_and(|expected| !method::proves(reply.attributes(), &expected)) => {
                    return Ok(Outcome::Unproven(reply));
                }
                ACCESS_ACCEPT => return Ok(Outcome::Accept(reply)),
                ACCESS_CHALLENGE => {}
                // To an Access-Request an exchange returns nothing else.
                _ => return Ok(Outcome::Reject(reply)),
            }
            let challenge = Challenge {
                messages: reply.messages(),
                echo: reply.echo(),
            };
            let Some(next) = answer(&challenge) else {
                return Ok(Outcome::Abandoned);
            };
            typed = next;
            state = reply.find(STATE).map(<[u8]>::to_vec);
        }
        Err(LoginError::Endless)
    }

    /// Asks whether the server is alive (RFC 5997).
    ///
    /// # Errors
    /// [`LoginError::Failed`] when it cannot be asked.
    pub async fn status(&self) -> Result<bool, LoginError> {
        match self.exchange.status().await {
            Ok(_) => Ok(true),
            Err(Failure::Silence { .. }) => Ok(false),
            Err(failure) => Err(LoginError::Failed(failure)),
        }
    }

    fn request(&self, user: &str, typed: &Secret, state: Option<&[u8]>) -> Result<Asked, LoginError> {
        if user.is_empty() || typed.len() > MAX_PASSWORD {
            return Err(LoginError::TooLong);
        }
        let mut request = Request::access();
        let mut expected = None;
        request.push(USER_NAME, user.as_bytes())?;
        match self.method {
            Method::Pap => request.push_password(typed),
            Method::Chap => method::push_chap(&mut request, typed)?,
            Method::MsChapV2 => {
                let proof = method::push_ms_chap2(&mut request, user, typed)?;
                expected = Some(proof.ok_or(LoginError::NotText)?);
            }
        }
        request.push(NAS_IDENTIFIER, self.nas_identifier.as_bytes())?;
        if let Some(state) = state {
            request.push(STATE, state)?;
        }
        request.push_raw(&self.attributes);
        Ok(Asked { request, expected })
    }
}

/// A request, with what the server must prove when it lets the user in.
struct Asked {
    request: Request,
    expected: Option<Arc<MsChapSuccess>>,
}

impl From<Overflow> for LoginError {
    fn from(_: Overflow) -> Self {
        Self::TooLong
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::radius::crypto::SharedSecret;
    use crate::radius::exchange::{Patience, Target, Transport};

    #[tokio::test]
    async fn what_does_not_fit_is_refused() {
        let target = Target {
            address: "127.0.0.1:1812".parse().unwrap(),
            transport: Transport::Udp(SharedSecret::new(&Secret::new("s3cret"))),
            signed_replies: true,
        };
        let login = Login::new(Exchange::connect(target, Patience::default()));
        let request = |user: &str, password: usize| login.request(user, &Secret::new(vec![b'x'; password]), None);
        assert!(request("ana", 128).is_ok());
        assert!(request("ana", 129).is_err());
        assert!(request("", 5).is_err());
        assert!(request(&"x".repeat(254), 5).is_err());
        let login = login.clone().method(Method::MsChapV2);
        let not_text = login.request("ana", &Secret::new([0xff]), None);
        assert!(matches!(not_text, Err(LoginError::NotText)));
    }
}
