//! The other side of the conversation: a RADIUS client that logs in, walks through challenges, and believes
//! only replies that are proven (RFC 2865 section 3, RFC 3579 section 3.2).

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::clock;
use crate::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, ACCESS_REJECT, ACCESS_REQUEST, NAS_IDENTIFIER, PROMPT, PROMPT_ECHO, REPLY_MESSAGE,
    STATE, STATUS_SERVER, USER_NAME, USER_PASSWORD,
};
use crate::radius::crypto::{AUTHENTICATOR_LEN, SharedSecret, Signature};
use crate::radius::packet::{MAX_LEN, MAX_VALUE, Overflow, Packet, Writer, cut};
use crate::secret::Secret;

/// A server to talk to, and how patiently.
#[derive(Clone, Debug)]
pub struct Exchange {
    server: SocketAddr,
    secret: SharedSecret,
    wait: Duration,
    tries: u32,
    nas_identifier: String,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Let in, with what the server said.
    Accept(Vec<String>),
    /// Refused, with what the server said.
    Reject(Vec<String>),
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
    /// The socket failed.
    #[error("cannot talk to {0}")]
    Socket(SocketAddr, #[source] io::Error),
    /// The password has more than 128 octets, or the user name more than 253, or is empty.
    #[error("the user name or the password is too long for RADIUS, or the name is empty")]
    TooLong,
    /// The server goes on asking.
    #[error("the server sent more than {MAX_ROUNDS} challenges")]
    Endless,
}

/// More challenges than any dialog of ours has.
const MAX_ROUNDS: u32 = 32;

impl Exchange {
    /// A conversation with `server`: three tries, three seconds each.
    pub fn new(server: SocketAddr, secret: &Secret) -> Self {
        Self {
            server,
            secret: SharedSecret::new(secret),
            wait: Duration::from_secs(3),
            tries: 3,
            nas_identifier: "portcullis".into(),
        }
    }

    /// How long to wait for a reply, and how often to send before giving up.
    #[must_use]
    pub fn patience(mut self, wait: Duration, tries: u32) -> Self {
        self.wait = wait;
        self.tries = tries;
        self
    }

    /// The NAS-Identifier to send, at most 253 octets.
    #[must_use]
    pub fn nas_identifier(mut self, name: &str) -> Self {
        self.nas_identifier = cut(name, MAX_VALUE).0.into();
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
        let socket = self.connect().await?;
        let mut typed = password.clone();
        let mut state: Option<Vec<u8>> = None;
        let [first] = clock::random::<1>();
        let mut identifier = first;
        for _ in 0..MAX_ROUNDS {
            let authenticator = clock::random::<AUTHENTICATOR_LEN>();
            let request = self
                .request(identifier, &authenticator, user, &typed, state.as_deref())
                .ok_or(LoginError::TooLong)?;
            let reply = match self.ask(&socket, &request, &authenticator).await? {
                Ok(reply) => reply,
                Err(unproven) => return Ok(Outcome::Timeout { unproven }),
            };
            match reply.kind {
                Kind::Accept => return Ok(Outcome::Accept(reply.messages)),
                Kind::Reject => return Ok(Outcome::Reject(reply.messages)),
                Kind::Challenge => {}
            }
            let challenge = Challenge {
                messages: reply.messages,
                echo: reply.echo,
            };
            let Some(next) = answer(&challenge) else {
                return Ok(Outcome::Abandoned);
            };
            typed = next;
            state = reply.state;
            identifier = identifier.wrapping_add(1);
        }
        Err(LoginError::Endless)
    }

    /// Asks whether the server is alive (RFC 5997).
    ///
    /// # Errors
    /// [`LoginError::Socket`] when the socket fails.
    pub async fn status(&self) -> Result<bool, LoginError> {
        let socket = self.connect().await?;
        let authenticator = clock::random::<AUTHENTICATOR_LEN>();
        let [identifier] = clock::random::<1>();
        let mut request = Vec::new();
        let writer = Writer::begin(&mut request, STATUS_SERVER, identifier, &authenticator, true);
        writer.finish_request(&self.secret);
        Ok(self.ask(&socket, &request, &authenticator).await?.is_ok())
    }

    async fn connect(&self) -> Result<UdpSocket, LoginError> {
        let failed = |error| LoginError::Socket(self.server, error);
        let local: SocketAddr = if self.server.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            (Ipv6Addr::UNSPECIFIED, 0).into()
        };
        let socket = UdpSocket::bind(local).await.map_err(failed)?;
        socket.connect(self.server).await.map_err(failed)?;
        Ok(socket)
    }

    fn request(
        &self,
        identifier: u8,
        authenticator: &[u8; AUTHENTICATOR_LEN],
        user: &str,
        typed: &Secret,
        state: Option<&[u8]>,
    ) -> Option<Vec<u8>> {
        if user.is_empty() {
            return None;
        }
        let hidden = self.secret.hide(typed, authenticator)?;
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, ACCESS_REQUEST, identifier, authenticator, true);
        let mut write = || -> Result<(), Overflow> {
            writer.push(USER_NAME, user.as_bytes())?;
            writer.push(USER_PASSWORD, &hidden)?;
            writer.push(NAS_IDENTIFIER, self.nas_identifier.as_bytes())?;
            state.map_or(Ok(()), |state| writer.push(STATE, state))
        };
        write().ok()?;
        writer.finish_request(&self.secret);
        Some(buffer)
    }

    /// Sends a request until a proven reply comes. The same octets each time: a retransmission is no new
    /// request.
    async fn ask(
        &self,
        socket: &UdpSocket,
        request: &[u8],
        authenticator: &[u8; AUTHENTICATOR_LEN],
    ) -> Result<Result<Answer, u32>, LoginError> {
        let mut buffer = vec![0; MAX_LEN];
        let mut unproven = 0;
        for _ in 0..self.tries {
            // A server that is not there yet refuses by ICMP, which shows at the next call: wait and try again.
            let sent = socket.send(request).await;
            sent.or_else(refused)
                .map_err(|error| LoginError::Socket(self.server, error))?;
            let reply = timeout(
                self.wait,
                self.proven(socket, request, authenticator, &mut buffer, &mut unproven),
            );
            if let Ok(reply) = reply.await {
                return reply.map(Ok);
            }
        }
        Ok(Err(unproven))
    }

    async fn proven(
        &self,
        socket: &UdpSocket,
        request: &[u8],
        authenticator: &[u8; AUTHENTICATOR_LEN],
        buffer: &mut [u8],
        unproven: &mut u32,
    ) -> Result<Answer, LoginError> {
        loop {
            let length = match socket.recv(buffer).await {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    // Until the time for this try is over.
                    std::future::pending().await
                }
                Err(error) => return Err(LoginError::Socket(self.server, error)),
            };
            let reply = buffer
                .get(..length)
                .and_then(|datagram| self.read(datagram, request, authenticator));
            match reply {
                Some(answer) => return Ok(answer),
                None => *unproven += 1,
            }
        }
    }

    /// Reads a reply that carries both proofs.
    fn read(&self, datagram: &[u8], request: &[u8], authenticator: &[u8; AUTHENTICATOR_LEN]) -> Option<Answer> {
        let reply = Packet::parse(datagram).ok()?;
        let kind = match reply.code() {
            ACCESS_ACCEPT => Kind::Accept,
            ACCESS_REJECT => Kind::Reject,
            ACCESS_CHALLENGE => Kind::Challenge,
            _ => return None,
        };
        let proven = Some(&reply.identifier()) == request.get(1)
            && self.secret.proves_response(&reply, authenticator)
            && self.secret.reply_signature(&reply, authenticator) == Signature::Valid;
        proven.then(|| Answer {
            kind,
            messages: reply
                .all(REPLY_MESSAGE)
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .collect(),
            state: reply.find(STATE).map(<[u8]>::to_vec),
            echo: reply.find(PROMPT) == Some(&PROMPT_ECHO.to_be_bytes()),
        })
    }
}

/// A proven reply.
struct Answer {
    kind: Kind,
    messages: Vec<String>,
    state: Option<Vec<u8>>,
    echo: bool,
}

enum Kind {
    Accept,
    Reject,
    Challenge,
}

fn refused(error: io::Error) -> io::Result<usize> {
    if error.kind() == io::ErrorKind::ConnectionRefused {
        Ok(0)
    } else {
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Exchange {
        Exchange::new("127.0.0.1:1812".parse().unwrap(), &Secret::new("s3cret"))
    }

    fn reply(secret: &str, sign: bool) -> Vec<u8> {
        let mut buffer = Vec::new();
        let mut writer = Writer::begin(&mut buffer, ACCESS_CHALLENGE, 9, &[1; 16], sign);
        writer.push_text(REPLY_MESSAGE, "Code:").unwrap();
        writer.push(STATE, b"state").unwrap();
        writer.push_u32(PROMPT, PROMPT_ECHO).unwrap();
        writer.finish_reply(&SharedSecret::new(&Secret::new(secret)));
        buffer
    }

    #[test]
    fn only_proven_replies_count() {
        let request = [ACCESS_REQUEST, 9];
        let answer = exchange().read(&reply("s3cret", true), &request, &[1; 16]).unwrap();
        assert_eq!(answer.messages, ["Code:"]);
        assert_eq!(answer.state.as_deref(), Some(&b"state"[..]));
        assert!(answer.echo && matches!(answer.kind, Kind::Challenge));
        assert!(exchange().read(&reply("wrong", true), &request, &[1; 16]).is_none());
        assert!(exchange().read(&reply("s3cret", false), &request, &[1; 16]).is_none());
        assert!(exchange().read(&reply("s3cret", true), &request, &[2; 16]).is_none());
        let other = [ACCESS_REQUEST, 8];
        assert!(exchange().read(&reply("s3cret", true), &other, &[1; 16]).is_none());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let request = |user: &str, password: usize| {
            exchange().request(1, &[1; 16], user, &Secret::new(vec![b'x'; password]), None)
        };
        assert!(request("ana", 128).is_some());
        assert!(request("ana", 129).is_none());
        assert!(request("", 5).is_none());
        assert!(request(&"x".repeat(254), 5).is_none());
    }
}
