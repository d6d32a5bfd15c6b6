//! Other RADIUS servers that judge passwords or a factor, as the engine wants it: asked in order of
//! preference, believed only with proof, watched by Status-Server (RFC 5997).
//!
//! A server is down after a failed connection or two questions in a row without an answer. It comes back
//! when it answers Status-Server, or, for those that do not, when some time has passed. Each upstream has its
//! own sockets, its own bounds, and waits on no other.

mod passed;
mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::clock::{self, Timestamp};
use crate::config;
use crate::dictionary::Dictionary;
use crate::engine::facts::PasswordOutcome;
use crate::engine::upstream::{Answer, Awaiting, Challenge, Question};
use crate::radius::attribute::{
    ACCESS_ACCEPT, ACCESS_CHALLENGE, CALLING_STATION_ID, NAS_IDENTIFIER, PROXY_STATE, STATE, USER_NAME,
};
use crate::radius::exchange::{Failure, Reply, Request};
use crate::radius::packet::Overflow;
use crate::tls::TlsError;

use passed::Passed;
use server::Server;

/// Upstreams by name.
pub type Upstreams = BTreeMap<String, Arc<Upstream>>;

/// Servers that judge the same people.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    servers: Vec<Server>,
    /// Our Proxy-State (RFC 2865 section 5.33), by which a request that comes back is known.
    mark: Vec<u8>,
    nas_identifier: Option<String>,
    calling_station: bool,
    passed: Passed,
}

/// A server that cannot be prepared: which of the list, which key, and why.
#[derive(Debug)]
pub struct SetupFault {
    /// Its place in `servers`.
    pub server: usize,
    /// The key at fault.
    pub key: &'static str,
    /// Why.
    pub error: TlsError,
}

/// How an upstream is doing, for `status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamStatus {
    /// The configured name.
    pub name: String,
    /// Its servers in order of preference.
    pub servers: Vec<UpstreamServerStatus>,
}

/// One server of an upstream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UpstreamServerStatus {
    /// Address and port.
    pub address: String,
    /// How packets travel there.
    pub transport: String,
    /// Whether new questions go there.
    pub healthy: bool,
    /// Milliseconds of the last answer.
    pub latency_ms: Option<f64>,
    /// When it answered last.
    pub last: Option<Timestamp>,
    /// Questions in flight.
    pub in_flight: usize,
    /// Replies that proved nothing.
    pub unproven: u64,
    /// The last error.
    pub error: Option<String>,
}

/// Longest time for one question over all servers: an attempt that takes a minute counts as lost.
const LONGEST: Duration = Duration::from_secs(55);

/// Why there is no answer.
struct Unanswered {
    reason: String,
    /// No server could be reached, or none said anything.
    out_of_reach: bool,
}

impl Unanswered {
    fn out_of_reach(reason: &str) -> Self {
        Self {
            reason: reason.to_owned(),
            out_of_reach: true,
        }
    }
}

impl Upstream {
    /// Reads what the servers' TLS needs, without connecting. Blocks.
    ///
    /// # Errors
    /// The first fault of each server.
    pub fn check(config: &config::Upstream) -> Result<(), Vec<SetupFault>> {
        let faults: Vec<SetupFault> = config
            .servers
            .iter()
            .enumerate()
            .filter_map(|(position, server)| server::target(server, config).err().map(|fault| fault.at(position)))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// What is wrong with the attributes that are to be passed on: the place in `pass_reply`, and why.
    pub fn check_passed(config: &config::Upstream, dictionary: &Arc<Dictionary>) -> Vec<(usize, String)> {
        Passed::compile(&config.pass_reply, dictionary).1
    }

    /// Prepares the servers, and begins to watch them. `mark` is the Proxy-State of this installation. Reads
    /// files; needs a tokio runtime.
    ///
    /// # Errors
    /// The first fault.
    pub fn start(
        config: &config::Upstream,
        dictionary: &Arc<Dictionary>,
        mark: &[u8],
    ) -> Result<Arc<Self>, SetupFault> {
        let mut servers = Vec::new();
        for (position, server) in config.servers.iter().enumerate() {
            servers.push(Server::new(server, config).map_err(|fault| fault.at(position))?);
        }
        let interval = config.status_interval;
        let upstream = Arc::new_cyclic(|this: &Weak<Self>| {
            if !interval.is_zero() {
                for (position, server) in servers.iter_mut().enumerate() {
                    let watch = watch(Weak::clone(this), position, interval);
                    server.watched_by(AbortOnDropHandle::new(tokio::spawn(watch)));
                }
            }
            Self {
                name: config.name.clone(),
                servers,
                mark: mark.to_vec(),
                nas_identifier: config.nas_identifier.clone(),
                calling_station: config.calling_station,
                passed: Passed::compile(&config.pass_reply, dictionary).0,
            }
        });
        Ok(upstream)
    }

    /// Asks one server after the other, until one answers. The answer to a challenge goes to the server that
    /// asked it and to no other.
    pub async fn ask(&self, question: &Question) -> Answer {
        let Ok(request) = self.request(question) else {
            // No server could be asked that, so it is nobody's password.
            return Answer::Reject;
        };
        let asked = tokio::time::timeout(LONGEST, self.ask_in_turn(&request, question.challenge.as_ref()));
        let answer = match asked.await {
            Ok(answered) => answered,
            // There was no time to hear all of them.
            Err(_) => Err(Unanswered {
                reason: "it takes too long".to_owned(),
                out_of_reach: false,
            }),
        };
        answer.unwrap_or_else(|unanswered| {
            let reason = format!("upstream {}: {}", self.name, unanswered.reason);
            match unanswered.out_of_reach {
                true => Answer::OutOfReach(reason),
                false => Answer::Unavailable(reason),
            }
        })
    }

    /// Takes the time of a question about somebody whom no server is asked about.
    pub async fn ask_about_nobody(&self) -> PasswordOutcome {
        let healthy = self.servers.iter().find(|server| server.is_up(clock::monotonic()));
        let Some(server) = healthy else {
            return PasswordOutcome::Unavailable(format!("upstream {}: no server is up", self.name));
        };
        tokio::time::sleep(server.latency()).await;
        PasswordOutcome::Unknown
    }

    /// Asks every server for its status now (RFC 5997), all at once.
    pub async fn probe(self: &Arc<Self>) -> UpstreamStatus {
        let mut asked = JoinSet::new();
        for position in 0..self.servers.len() {
            let upstream = Arc::clone(self);
            asked.spawn(async move {
                if let Some(server) = upstream.servers.get(position) {
                    server.probe().await;
                }
            });
        }
        asked.join_all().await;
        self.status()
    }

    /// How it is doing.
    pub fn status(&self) -> UpstreamStatus {
        let now = clock::monotonic();
        UpstreamStatus {
            name: self.name.clone(),
            servers: self.servers.iter().map(|server| server.status(now)).collect(),
        }
    }

    async fn ask_in_turn(&self, request: &Request, challenge: Option<&Awaiting>) -> Result<Answer, Unanswered> {
        let now = clock::monotonic();
        let mut unanswered = Unanswered::out_of_reach("no server is up");
        for server in &self.servers {
            let fits = match challenge {
                // Only it knows, whatever is thought of its health.
                Some(challenge) => challenge.server == server.name(),
                None => server.is_up(now),
            };
            if !fits {
                continue;
            }
            let began = clock::monotonic();
            match server.ask(request).await {
                Ok(reply) => return Ok(self.answer(server, &reply)),
                Err(Failure::TooLong) => return Ok(Answer::Reject),
                Err(failure @ (Failure::Lost { .. } | Failure::Silence { unproven: 0, .. })) => {
                    unanswered.reason = server::in_full(&failure);
                    // It may wait for somebody to press a button, or drop just this question.
                    unanswered.out_of_reach &= !server.is_there(began).await;
                }
                Err(failure @ Failure::Connect { .. }) => unanswered.reason = server::in_full(&failure),
                // There is somebody, or it is we who do not ask.
                Err(failure @ (Failure::Busy(_) | Failure::Silence { .. } | Failure::Refused { .. })) => {
                    unanswered.reason = server::in_full(&failure);
                    unanswered.out_of_reach = false;
                }
            }
        }
        Err(unanswered)
    }

    fn request(&self, question: &Question) -> Result<Request, Overflow> {
        let mut request = Request::access();
        request.push(USER_NAME, question.user.as_bytes())?;
        request.push_password(&question.typed);
        let own = self.nas_identifier.as_ref().or(question.nas_identifier.as_ref());
        request.push(NAS_IDENTIFIER, own.map_or("portcullis", String::as_str).as_bytes())?;
        if let Some(station) = question.calling_station.as_ref().filter(|_| self.calling_station) {
            request.push(CALLING_STATION_ID, station.as_bytes())?;
        }
        if let Some(challenge) = &question.challenge {
            request.push(STATE, &challenge.state)?;
        }
        request.push(PROXY_STATE, &self.mark)?;
        Ok(request)
    }

    fn answer(&self, server: &Server, reply: &Reply) -> Answer {
        match reply.code() {
            ACCESS_ACCEPT => match self.passed.read(reply.attributes().rest(), server.hiding(reply)) {
                Ok(pairs) => Answer::Accept(pairs),
                // Left out, it could be what limits the access.
                Err(name) => Answer::Unavailable(format!("{} sent {name}, which cannot be read", server.name())),
            },
            ACCESS_CHALLENGE => match reply.find(STATE) {
                Some(state) => Answer::Challenge(Challenge {
                    text: one_line(&reply.messages()),
                    echo: reply.echo(),
                    awaiting: Awaiting {
                        server: server.name().to_owned(),
                        state: state.to_vec(),
                    },
                }),
                // Its answer could not be told from a new login.
                None => Answer::Unavailable(format!("{} sent a challenge without State", server.name())),
            },
            // To an Access-Request an exchange returns nothing else.
            _ => Answer::Reject,
        }
    }
}

/// Texts made safe to show: one line, no control characters, at most 120 characters.
fn one_line(messages: &[String]) -> String {
    const MOST: usize = 120;
    let text = messages.join(" ");
    let plain = text.replace(|character: char| character.is_control() || is_format(character), " ");
    let words: Vec<&str> = plain.split_whitespace().collect();
    words
        .join(" ")
        .chars()
        .take(MOST)
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// Characters that show nothing, or turn the line around.
fn is_format(character: char) -> bool {
    matches!(character,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffd}')
}

/// Asks one server for its status, again and again, for as long as the upstream lives; more often while it
/// is down.
async fn watch(upstream: Weak<Upstream>, position: usize, interval: Duration) {
    const WHILE_DOWN: Duration = Duration::from_secs(3);
    let mut pause = Duration::from_millis(10);
    loop {
        tokio::time::sleep(pause).await;
        let Some(upstream) = upstream.upgrade() else { return };
        let Some(server) = upstream.servers.get(position) else {
            return;
        };
        server.probe().await;
        pause = if server.is_up(clock::monotonic()) {
            interval
        } else {
            WHILE_DOWN.min(interval)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Question {
        Question {
            upstream: "up".into(),
            user: "ana".into(),
            typed: crate::secret::Secret::new("123456"),
            challenge: None,
            nas_identifier: None,
            calling_station: None,
        }
    }

    /// A server that may answer Status-Server, and drops all else.
    async fn answer(socket: &tokio::net::UdpSocket, status: bool) {
        use crate::radius::packet::{Packet, Writer};
        let secret = crate::radius::crypto::SharedSecret::new(&crate::secret::Secret::new("s3cret"));
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let packet = Packet::parse(&buffer[..length]).unwrap();
            if !status || packet.code() != 12 {
                continue;
            }
            let mut octets = Vec::new();
            Writer::begin(
                &mut octets,
                ACCESS_ACCEPT,
                packet.identifier(),
                packet.authenticator(),
                true,
            )
            .finish_reply(&secret);
            socket.send_to(&octets, from).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_question_that_is_dropped_is_no_outage_of_a_server_that_tells_its_status() {
        for status in [true, false] {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let config = format!(
                "name = \"up\"\ntimeout = \"300ms\"\ntries = 1\nstatus_interval = \"50ms\"\n\
                 servers = [{{ address = \"{}\", secret = \"s3cret\" }}]\n",
                socket.local_addr().unwrap()
            );
            let serving = tokio::spawn(async move { answer(&socket, status).await });
            let config: config::Upstream = toml::from_str(&config).unwrap();
            let upstream = Upstream::start(&config, Dictionary::shipped(), b"mark").unwrap();
            while status && upstream.status().servers[0].latency_ms.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            for _ in 0..4 {
                let answer = upstream.ask(&asked()).await;
                match status {
                    true => assert!(matches!(answer, Answer::Unavailable(_)), "{answer:?}"),
                    false => assert!(matches!(answer, Answer::OutOfReach(_)), "{answer:?}"),
                }
            }
            serving.abort();
        }
    }

    #[test]
    fn texts_are_made_safe_to_show() {
        let line = |text: &str| one_line(&[text.to_owned()]);
        assert_eq!(line("Enter\r\nthe \x1b[31mcode\0:"), "Enter the [31mcode :");
        assert_eq!(line("a\u{202e}b\u{200b}c"), "a b c");
        assert_eq!(line(" \n "), "");
        assert_eq!(line(&"ö".repeat(300)).chars().count(), 120);
        assert_eq!(one_line(&["One".into(), "two".into()]), "One two");
    }
}
