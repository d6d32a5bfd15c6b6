//! Dynamic Authorization (RFC 5176): clients are asked to end sessions, or to change what they allow.
//!
//! A request names the session as the client's own reports did. It leaves from one [`Exchange`] for each
//! client and address, so that a client which does not answer holds up nobody else's sessions.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::Timestamp;
use crate::config::{DynamicAuthorization, Identifier};
use crate::dictionary::Pair;
use crate::radius::attribute::{
    CLASS, COA_ACK, COA_NAK, COA_REQUEST, DISCONNECT_ACK, DISCONNECT_NAK, ERROR_CAUSE, EVENT_TIMESTAMP, REPLY_MESSAGE,
};
use crate::radius::client::ClientTable;
use crate::radius::crypto::{Salts, SharedSecret};
use crate::radius::exchange::{Exchange, Failure, Patience, Reply, Request, Target, Transport};
use crate::radius::packet::{Attributes, HEADER_LEN, Writer};
use crate::radius::pairs;
use crate::secret::Secret;

/// How one client takes requests, ready for use.
#[derive(Clone, Debug)]
pub struct Settings {
    port: u16,
    address: Option<IpAddr>,
    secret: SharedSecret,
    /// Whether the secret is for these requests alone.
    secret_of_its_own: bool,
    patience: Patience,
    signed: bool,
    attributes: Vec<u8>,
}

/// A session, as its client knows it.
#[derive(Clone, Debug)]
pub struct Named {
    /// The configured name of the client.
    pub client: String,
    /// Where its last report came from.
    pub source: IpAddr,
    /// Whether that came over TLS.
    pub encrypted: bool,
    /// The attributes that name NAS and session, as the client sent them: type, length and value.
    pub identity: Vec<u8>,
}

/// What a client is asked.
#[derive(Clone, Debug)]
pub enum Wish {
    /// To end the session: Disconnect-Request.
    End,
    /// To put these attributes in the place of what it has: CoA-Request. Those that name a session are left
    /// out: they cannot be changed (RFC 5176 section 3.6).
    Change(Vec<Pair>),
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client has done it.
    Acknowledged,
    /// The client has not done it.
    Refused {
        /// Error-Cause (RFC 5176 section 3.5).
        cause: Option<u32>,
        /// What the client says besides.
        message: Option<String>,
    },
    /// No answer that proves itself, after all tries. The client may have done it all the same.
    Silent {
        /// Answers that proved nothing: a sign of a wrong shared secret.
        unproven: u32,
    },
    /// Not sent, because the client had left the one before without an answer.
    GivenUp,
    /// Not sent, because it cannot be.
    Unsent(String),
    /// Not sent, because the client takes no such requests.
    Unsupported(Lack),
}

/// Why a client cannot be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It has left the configuration.
    Gone,
    /// The configuration does not say how.
    Unconfigured,
    /// It speaks TLS, and no secret is agreed on with it for anything else.
    OverTls,
    /// It has told nothing that names the session.
    Nameless,
}

impl Settings {
    /// Takes over a client's configuration; `shared` is the client's own secret.
    pub fn new(config: &DynamicAuthorization, shared: &Secret) -> Self {
        let mut attributes: Vec<u8> = config.attributes.iter().map(|name| name.number()).collect();
        attributes.sort_unstable();
        attributes.dedup();
        Self {
            port: config.port,
            address: config.address,
            secret: SharedSecret::new(config.secret.as_ref().unwrap_or(shared)),
            secret_of_its_own: config.secret.is_some(),
            patience: Patience {
                in_flight: AT_ONCE_EACH,
                waiting: AT_ONCE_EACH,
                ..Patience::steady(config.timeout, config.tries)
            },
            signed: config.message_authenticator,
            attributes,
        }
    }

    /// Where requests about a session go.
    fn target(&self, session: &Named) -> Result<SocketAddr, Lack> {
        // What everybody signs with over TLS is no secret (RFC 6614 section 2.3).
        if session.encrypted && !self.secret_of_its_own {
            return Err(Lack::OverTls);
        }
        let address = self.address.unwrap_or(session.source);
        Ok(SocketAddr::new(address.to_canonical(), self.port))
    }

    /// The request, with the time of its making against replays (RFC 5176 section 6.3).
    fn request(&self, session: &Named, wish: &Wish, now: Timestamp) -> Result<Request, Lack> {
        let mut request = match wish {
            Wish::End => Request::disconnect(),
            Wish::Change(_) => Request::change_of_authorization(),
        };
        if !self.signed {
            request.leave_unsigned();
        }
        let mut names_session = false;
        for attribute in Attributes::new(&session.identity) {
            let known = Identifier::ALL
                .into_iter()
                .find(|identifier| identifier.number() == attribute.kind);
            let Some(identifier) = known.filter(|_| self.attributes.binary_search(&attribute.kind).is_ok()) else {
                continue;
            };
            match wish {
                // There it would be what the session's Class becomes.
                Wish::Change(_) if attribute.kind == CLASS => continue,
                Wish::End | Wish::Change(_) => {}
            }
            names_session |= identifier.names_session();
            request.push_raw(attribute.raw);
        }
        if !names_session {
            return Err(Lack::Nameless);
        }
        let seconds = u32::try_from(now.secs()).unwrap_or(u32::MAX);
        // Four octets fit.
        let _ = request.push_u32(EVENT_TIMESTAMP, seconds);
        if let Wish::Change(pairs) = wish {
            let pairs: Vec<Pair> = pairs.iter().filter(|pair| is_change(pair)).cloned().collect();
            request.push_made(move |secret, authenticator| {
                let mut octets = Vec::new();
                let mut writer = Writer::begin(&mut octets, COA_REQUEST, 0, authenticator, false);
                let hiding = secret.map(|secret| (secret, authenticator));
                pairs::write(&mut writer, &pairs, hiding, &mut Salts::default()).ok()?;
                octets.get(HEADER_LEN..).map(<[u8]>::to_vec)
            });
        }
        Ok(request)
    }
}

/// Whether an attribute can be changed: one that names a session (RFC 5176 section 3) cannot.
pub fn is_change(pair: &Pair) -> bool {
    let kind = pair.attribute.carrier();
    kind == CLASS || Identifier::ALL.iter().all(|identifier| identifier.number() != kind)
}

/// Asks about many sessions at once, each client's in turn and a few at a time. The outcomes are in the
/// order of the questions. Needs a tokio runtime; dropping the future gives up.
pub async fn ask(questions: Vec<(Named, Wish)>, clients: &ClientTable, now: Timestamp) -> Vec<Outcome> {
    let mut peers: HashMap<(String, SocketAddr), Arc<Peer>> = HashMap::new();
    let everybody = Arc::new(Semaphore::new(AT_ONCE));
    let mut outcomes = Vec::with_capacity(questions.len());
    let mut under_way = JoinSet::new();
    for (index, (session, wish)) in questions.into_iter().enumerate() {
        let prepared = clients.named(&session.client).ok_or(Lack::Gone).and_then(|client| {
            let settings = client.dynamic.as_ref().ok_or(Lack::Unconfigured)?;
            let target = settings.target(&session)?;
            Ok((settings, target, settings.request(&session, &wish, now)?))
        });
        let (settings, target, request) = match prepared {
            Ok(prepared) => prepared,
            Err(lack) => {
                outcomes.push(Outcome::Unsupported(lack));
                continue;
            }
        };
        outcomes.push(Outcome::GivenUp);
        let peer = peers
            .entry((session.client, target))
            .or_insert_with(|| Arc::new(Peer::new(settings, target)));
        let (peer, everybody) = (Arc::clone(peer), Arc::clone(&everybody));
        under_way.spawn(async move { (index, peer.ask(&request, &everybody).await) });
    }
    while let Some(done) = under_way.join_next().await {
        // A task that panicked leaves what stands there.
        if let Ok((index, outcome)) = done
            && let Some(place) = outcomes.get_mut(index)
        {
            *place = outcome;
        }
    }
    outcomes
}

/// One client at one address.
struct Peer {
    exchange: Exchange,
    turns: Semaphore,
    silent: AtomicBool,
}

impl Peer {
    fn new(settings: &Settings, address: SocketAddr) -> Self {
        let target = Target {
            address,
            transport: Transport::Udp(settings.secret.clone()),
            // Of Disconnect and CoA, neither requests nor replies need one (RFC 5176 section 3.4).
            signed_replies: false,
        };
        Self {
            exchange: Exchange::connect(target, settings.patience),
            turns: Semaphore::new(AT_ONCE_EACH),
            silent: AtomicBool::new(false),
        }
    }

    async fn ask(&self, request: &Request, everybody: &Semaphore) -> Outcome {
        // Neither is ever closed.
        let (Ok(_turn), Ok(_room)) = (self.turns.acquire().await, everybody.acquire().await) else {
            return Outcome::GivenUp;
        };
        if self.silent.load(Ordering::Relaxed) {
            return Outcome::GivenUp;
        }
        let outcome = match self.exchange.ask(request).await {
            Ok(reply) => told(&reply),
            Err(failure) => failed(&failure),
        };
        if matches!(outcome, Outcome::Silent { .. }) {
            self.silent.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

fn told(reply: &Reply) -> Outcome {
    match reply.code() {
        DISCONNECT_ACK | COA_ACK => Outcome::Acknowledged,
        DISCONNECT_NAK | COA_NAK => Outcome::Refused {
            cause: reply.find_u32(ERROR_CAUSE),
            message: reply
                .find(REPLY_MESSAGE)
                .map(|text| String::from_utf8_lossy(text).replace(char::is_control, " ")),
        },
        // The exchange lets nothing else through.
        _ => Outcome::Silent { unproven: 1 },
    }
}

fn failed(failure: &Failure) -> Outcome {
    match failure {
        Failure::Silence { unproven, .. } => Outcome::Silent { unproven: *unproven },
        Failure::Refused { cause, .. } => Outcome::Refused {
            cause: *cause,
            message: None,
        },
        Failure::TooLong | Failure::Busy(_) | Failure::Connect { .. } | Failure::Lost { .. } => {
            let mut text = failure.to_string();
            let mut source = std::error::Error::source(failure);
            while let Some(cause) = source {
                text.push_str(": ");
                text.push_str(&cause.to_string());
                source = cause.source();
            }
            Outcome::Unsent(text)
        }
    }
}

impl Outcome {
    /// Whether the client says that it has no such session (RFC 5176 section 3.5: of a session that does not
    /// exist on the NAS).
    pub const fn says_no_such_session(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                cause: Some(SESSION_CONTEXT_NOT_FOUND),
                ..
            }
        )
    }

    /// Answers that came and proved nothing.
    pub const fn unproven(&self) -> u32 {
        match self {
            Self::Silent { unproven } => *unproven,
            Self::Acknowledged | Self::Refused { .. } | Self::GivenUp | Self::Unsent(_) | Self::Unsupported(_) => 0,
        }
    }

    /// The stable word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged",
            Self::Refused { .. } => "refused",
            Self::Silent { .. } | Self::GivenUp => "no-answer",
            Self::Unsent(_) => "unsent",
            Self::Unsupported(_) => "unsupported",
        }
    }
}

/// What there is to say beyond [`Outcome::word`]; empty when nothing is.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acknowledged => Ok(()),
            Self::Refused { cause, message } => {
                match cause {
                    Some(cause) => match cause_name(*cause) {
                        Some(name) => write!(f, "{name} ({cause})")?,
                        None => write!(f, "Error-Cause {cause}")?,
                    },
                    None => f.write_str("no Error-Cause given")?,
                }
                match message {
                    Some(message) => write!(f, ": {message}"),
                    None => Ok(()),
                }
            }
            Self::Silent { unproven: 0 } => f.write_str("nothing came back"),
            Self::Silent { unproven } => write!(
                f,
                "{unproven} answers proved nothing; is the shared secret the same on both sides?"
            ),
            Self::GivenUp => f.write_str("not sent: the client did not answer about another session"),
            Self::Unsent(why) => f.write_str(why),
            Self::Unsupported(lack) => f.write_str(match lack {
                Lack::Gone => "the client is not configured any more",
                Lack::Unconfigured => "the client has no `dynamic_authorization` in the configuration",
                Lack::OverTls => {
                    "the client is connected over TLS, where requests in this direction are not spoken; give its \
                     `dynamic_authorization` a secret of its own to send them over UDP"
                }
                Lack::Nameless => "the client has told nothing that names the session to it",
            }),
        }
    }
}

/// Names of Error-Cause (RFC 5176 section 3.5; 202 to 407 and 501 to 507 as in RFC 3576 section 3.5).
pub const fn cause_name(cause: u32) -> Option<&'static str> {
    Some(match cause {
        201 => "Residual-Session-Context-Removed",
        202 => "Invalid-EAP-Packet",
        401 => "Unsupported-Attribute",
        402 => "Missing-Attribute",
        403 => "NAS-Identification-Mismatch",
        404 => "Invalid-Request",
        405 => "Unsupported-Service",
        406 => "Unsupported-Extension",
        407 => "Invalid-Attribute-Value",
        501 => "Administratively-Prohibited",
        502 => "Request-Not-Routable",
        SESSION_CONTEXT_NOT_FOUND => "Session-Context-Not-Found",
        504 => "Session-Context-Not-Removable",
        505 => "Other-Proxy-Processing-Error",
        506 => "Resources-Unavailable",
        507 => "Request-Initiated",
        508 => "Multiple-Session-Selection-Unsupported",
        _ => return None,
    })
}

/// Error-Cause 503.
const SESSION_CONTEXT_NOT_FOUND: u32 = 503;

/// Requests that one client works on at once.
const AT_ONCE_EACH: usize = 8;

/// Requests under way at once.
const AT_ONCE: usize = 512;
