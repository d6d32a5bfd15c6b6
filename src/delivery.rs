//! How codes reach people: by e-mail ([`smtp`]), or through an HTTP gateway ([`gateway`]).
//!
//! Each delivery has its own bounds: so many messages on their way, so many that wait, so much time for one.
//! Nobody's login waits for a delivery that is slow longer than [`PATIENCE`], and none but logins that want a code
//! sent wait at all.

mod gateway;
mod smtp;
mod template;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::causes::in_full;
use crate::clock::{self, Timestamp};
use crate::config::{self, DeliveryKind};
use crate::engine::Person;
use crate::engine::authenticator::Kind;
use crate::engine::delivery::{Delivered, Form, Message, Route};
use crate::tls::TlsError;

use gateway::Gateway;
use smtp::Smtp;
use template::Place;

/// Deliveries by name.
pub type Deliveries = BTreeMap<String, Arc<Delivery>>;

/// How long somebody waits for a message to be taken: RADIUS clients send again after three seconds. It goes on
/// without them.
pub const PATIENCE: Duration = Duration::from_millis(2500);

/// One way for codes to reach people.
pub struct Delivery {
    route: Arc<Route>,
    transport: Transport,
    timeout: Duration,
    permits: Semaphore,
    /// Messages on their way or waiting.
    under_way: AtomicUsize,
    most: usize,
    health: Mutex<Health>,
}

enum Transport {
    Smtp(Box<Smtp>),
    Gateway(Box<Gateway>),
}

/// What is remembered of the last messages.
#[derive(Debug, Default)]
struct Health {
    /// How long each of the last messages took, up to [`PATIENCE`].
    spans: VecDeque<Duration>,
    /// Which of them is next to be pretended.
    next: usize,
    sent: u64,
    failed: u64,
    last: Option<Timestamp>,
    latency: Option<Duration>,
    /// Why the last message was not taken.
    error: Option<String>,
}

/// Spans remembered.
const SPANS: usize = 16;

/// How long a message is taken to be on its way before any was.
const FIRST_SPAN: Duration = Duration::from_millis(80);

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Failed {
    /// This destination is refused.
    #[error("{0}")]
    Refused(String),
    /// No more messages are taken now than there are, by us or by the server.
    #[error("{0}")]
    Busy(String),
    /// No message would be taken.
    #[error("{0}")]
    Unavailable(String),
}

/// A delivery that cannot be prepared: which key, and why.
#[derive(Debug)]
pub struct SetupFault {
    /// The key at fault.
    pub key: &'static str,
    /// What is wrong with it.
    pub message: String,
}

impl SetupFault {
    fn new(key: &'static str, message: impl Into<String>) -> Self {
        Self {
            key,
            message: message.into(),
        }
    }

    fn tls(key: &'static str, error: TlsError) -> Self {
        Self::new(key, in_full(&error))
    }
}

/// How a delivery is doing, for `status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeliveryStatus {
    /// The configured name.
    pub name: String,
    /// `smtp` or `http`.
    pub kind: String,
    /// The factor that its codes prove.
    pub serves: String,
    /// Server or gateway.
    pub target: String,
    /// Messages on their way or waiting.
    pub under_way: usize,
    /// Messages taken since the start.
    pub sent: u64,
    /// Messages not taken since the start.
    pub failed: u64,
    /// When the last one was tried.
    pub last: Option<Timestamp>,
    /// How long it took, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Why the last one was not taken.
    pub error: Option<String>,
}

impl Delivery {
    /// Reads what it needs, without connecting. Blocks.
    ///
    /// # Errors
    /// The first fault.
    pub fn new(settings: &config::Delivery) -> Result<Arc<Self>, SetupFault> {
        let transport = match settings.kind {
            DeliveryKind::Smtp => Transport::Smtp(Box::new(Smtp::new(settings)?)),
            DeliveryKind::Http => Transport::Gateway(Box::new(Gateway::new(settings)?)),
        };
        Ok(Arc::new(Self {
            route: Arc::new(route(settings)),
            transport,
            timeout: settings.timeout,
            permits: Semaphore::new(settings.in_flight),
            under_way: AtomicUsize::new(0),
            most: settings.in_flight + settings.queue,
            health: Mutex::default(),
        }))
    }

    /// What the engine knows of it.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Sends a message; waits for its turn, and for the answer. Once begun it is to be awaited to its end, in a
    /// task of its own: see [`PATIENCE`].
    pub async fn send(&self, message: &Message) -> Delivered {
        let began = clock::monotonic();
        let sent = match self.enter() {
            None => Err(Failed::Busy("too many messages wait already".into())),
            Some(_place) => {
                let turn = tokio::time::timeout(self.timeout, self.permits.acquire()).await;
                let send = async {
                    match &self.transport {
                        Transport::Smtp(smtp) => smtp.send(message).await,
                        Transport::Gateway(gateway) => gateway.send(message).await,
                    }
                };
                match turn {
                    // The others are what kept it, not the server.
                    Err(_) => Err(Failed::Busy("too many messages are on their way".into())),
                    Ok(_permit) => {
                        let left = self.timeout.saturating_sub(began.elapsed());
                        let timed = tokio::time::timeout(left, send).await;
                        timed.unwrap_or_else(|_| match left < self.timeout / 2 {
                            true => Err(Failed::Busy("too many messages are on their way".into())),
                            false => Err(self.too_long()),
                        })
                    }
                }
            }
        };
        let sent = sent.map(|said| presentable(&said, message));
        let sent = sent.map_err(|failed| match failed {
            Failed::Refused(why) => Failed::Refused(presentable(&why, message)),
            Failed::Busy(why) => Failed::Busy(presentable(&why, message)),
            Failed::Unavailable(why) => Failed::Unavailable(presentable(&why, message)),
        });
        self.note(&sent, began.elapsed());
        let name = &*self.route.name;
        let destination = &message.destination;
        match sent {
            Ok(said) => {
                info!(delivery = name, %destination, user = message.login, answer = said, "code sent");
                Delivered::Sent(said)
            }
            Err(Failed::Refused(why)) => {
                warn!(delivery = name, %destination, user = message.login, reason = why, "destination refused");
                Delivered::Refused(why)
            }
            Err(Failed::Busy(why)) => {
                warn!(delivery = name, %destination, user = message.login, reason = why, "code not sent");
                Delivered::Busy(why)
            }
            Err(Failed::Unavailable(why)) => {
                warn!(delivery = name, %destination, user = message.login, reason = why, "code not sent");
                Delivered::Unavailable(why)
            }
        }
    }

    /// Mails a notice to somebody, within the same bounds as codes. It holds no secret and counts for no limit of codes.
    /// What comes of it is logged.
    pub async fn notify(&self, to: &Person, subject: &str, text: &str) {
        let name = &*self.route.name;
        let destination = match (&self.transport, self.route.destination(to)) {
            (Transport::Smtp(_), Ok(destination)) => destination,
            (Transport::Smtp(_), Err(why)) => {
                warn!(delivery = name, user = to.login, reason = %why, "not told");
                return;
            }
            (Transport::Gateway(_), _) => return,
        };
        let Some(_place) = self.enter() else {
            warn!(
                delivery = name,
                user = to.login,
                "not told: too many messages wait already"
            );
            return;
        };
        let send = async {
            let _permit = self.permits.acquire().await;
            match &self.transport {
                Transport::Smtp(smtp) => smtp.post(destination.as_str(), subject, text).await,
                Transport::Gateway(_) => Ok(String::new()),
            }
        };
        match tokio::time::timeout(self.timeout, send).await {
            Ok(Ok(_)) => info!(delivery = name, %destination, user = to.login, "told of a request"),
            Ok(Err(why)) => {
                let why = replaced(&why.to_string(), destination.as_str(), &destination.to_string());
                warn!(delivery = name, %destination, user = to.login, reason = why, "not told");
            }
            Err(_) => warn!(delivery = name, %destination, user = to.login, "not told in time"),
        }
    }

    /// Takes the time of a message, and has the result of the last one, without sending any: for somebody whom
    /// nothing is sent to, but who is not to be told that.
    pub async fn pretend(&self) -> Delivered {
        let (span, error) = {
            let mut health = self.health.lock();
            let at = health.next.checked_rem(health.spans.len()).unwrap_or(0);
            health.next = at.wrapping_add(1);
            let span = health.spans.get(at).copied().unwrap_or(FIRST_SPAN);
            (span, health.error.clone())
        };
        tokio::time::sleep(span).await;
        match error {
            Some(why) => Delivered::Unavailable(why),
            None => Delivered::Sent(String::new()),
        }
    }

    /// Connects to the server now, and sends nothing.
    pub async fn probe(&self) -> DeliveryStatus {
        let began = clock::monotonic();
        let probe = async {
            match &self.transport {
                Transport::Smtp(smtp) => smtp.probe().await,
                Transport::Gateway(gateway) => gateway.probe().await,
            }
        };
        let probed = tokio::time::timeout(self.timeout, probe).await;
        let probed = probed.unwrap_or_else(|_| Err(self.too_long()));
        {
            let mut health = self.health.lock();
            health.error = probed.err().map(|failed| failed.to_string());
            health.latency = Some(began.elapsed());
        }
        self.status()
    }

    /// How it is doing.
    pub fn status(&self) -> DeliveryStatus {
        let health = self.health.lock();
        let (kind, target) = match &self.transport {
            Transport::Smtp(smtp) => ("smtp", smtp.target()),
            Transport::Gateway(gateway) => ("http", gateway.target()),
        };
        DeliveryStatus {
            name: self.route.name.to_string(),
            kind: kind.into(),
            serves: self.route.serves.word().into(),
            target,
            under_way: self.under_way.load(Ordering::Relaxed),
            sent: health.sent,
            failed: health.failed,
            last: health.last,
            latency_ms: health.latency.map(|span| span.as_secs_f64() * 1000.0),
            error: health.error.clone(),
        }
    }

    fn too_long(&self) -> Failed {
        Failed::Unavailable(format!("not done within {} seconds", self.timeout.as_secs()))
    }

    fn enter(&self) -> Option<Entered<'_>> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let entered = Entered(&self.under_way);
        (before < self.most).then_some(entered)
    }

    fn note(&self, sent: &Result<String, Failed>, span: Duration) {
        let mut health = self.health.lock();
        health.last = Some(clock::now());
        health.latency = Some(span);
        health.spans.push_back(span.min(PATIENCE));
        if health.spans.len() > SPANS {
            health.spans.pop_front();
        }
        match sent {
            Ok(_) => {
                health.sent += 1;
                health.error = None;
            }
            // The server works; it is the destination that does not.
            Err(Failed::Refused(_)) => {
                health.failed += 1;
                health.error = None;
            }
            Err(Failed::Busy(why) | Failed::Unavailable(why)) => {
                health.failed += 1;
                health.error = Some(why.clone());
            }
        }
    }
}

/// A message on its way or waiting; counted until it is dropped.
struct Entered<'d>(&'d AtomicUsize);

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is filled in for a place.
fn value<'m>(place: Place, message: &'m Message, minutes: &'m str, text: &'m str) -> &'m str {
    match place {
        Place::Destination => message.destination.as_str(),
        Place::Code => message.code.expose_str().unwrap_or_default(),
        Place::Text => text,
        Place::Minutes => minutes,
        Place::Login => &message.login,
        Place::Service => &message.service,
    }
}

/// What a server said, for logs and the audit: one line of printable characters, at most 160, without the code
/// and without the destination, which a server may well repeat, an address in small letters, a number without `+`.
fn presentable(said: &str, message: &Message) -> String {
    let code = message.code.expose_str().unwrap_or_default();
    let destination = message.destination.as_str();
    let masked = message.destination.to_string();
    let plain = replaced(said, destination, &masked);
    let plain = replaced(&plain, destination.trim_start_matches('+'), &masked);
    let plain = replaced(&plain, code, "***");
    let letters = plain
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    letters.take(160).collect()
}

/// `text` with `by` in place of every `part`, whatever the case of its ASCII letters.
fn replaced(text: &str, part: &str, by: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let part = part.to_ascii_lowercase();
    let mut done = String::with_capacity(text.len());
    let mut rest = 0;
    // Where one begins in `lower` it begins in `text`: letters beyond ASCII are left alone.
    for (at, found) in lower.match_indices(&part).filter(|(_, found)| !found.is_empty()) {
        done.push_str(text.get(rest..at).unwrap_or_default());
        done.push_str(by);
        rest = at + found.len();
    }
    done.push_str(text.get(rest..).unwrap_or_default());
    done
}

/// What the engine has to know of a delivery.
fn route(settings: &config::Delivery) -> Route {
    let lower = |list: &[String]| list.iter().map(|item| item.to_ascii_lowercase()).collect();
    let serves = settings.serves();
    Route {
        name: settings.name.as_str().into(),
        serves,
        attributes: settings.attributes().iter().map(|name| name.to_lowercase()).collect(),
        form: match serves == Kind::EmailCode {
            true => Form::Mail(lower(&settings.domains)),
            false => Form::Number {
                country_code: settings.country_code.clone(),
                prefixes: settings.prefixes.clone(),
            },
        },
        digits: settings.digits,
        life: settings.life,
        per_destination: settings.per_destination,
        per_person: settings.per_person,
        window: settings.window,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(form: &Form, destination: &str) -> Message {
        Message {
            destination: form.read(destination).unwrap(),
            code: crate::secret::Secret::new("123456"),
            minutes: 5,
            login: "ana".into(),
            service: "vpn".into(),
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_no_outage() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = format!(
            "name = \"mail\"\nkind = \"smtp\"\nserver = \"{}\"\nfrom = \"c@example.org\"\ntls = \"none\"\n\
             in_flight = 1\nqueue = 1\ntimeout = \"2s\"\n",
            silent.local_addr().unwrap()
        );
        let settings: config::Delivery = toml::from_str(&settings).unwrap();
        let delivery = Delivery::new(&settings).unwrap();
        let send = || {
            let delivery = Arc::clone(&delivery);
            let mail = message(&Form::Mail(Vec::new()), "ana@example.org");
            tokio::spawn(async move { delivery.send(&mail).await })
        };
        let first = send();
        while delivery.permits.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let second = send();
        while delivery.under_way.load(Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        let third = send().await.unwrap();
        assert!(matches!(third, Delivered::Busy(_)), "{third:?}");
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(matches!(first, Delivered::Unavailable(_)), "{first:?}");
        assert!(matches!(second, Delivered::Busy(_)), "{second:?}");
    }

    #[test]
    fn what_a_server_repeats_is_masked_however_it_writes_it() {
        let mail = message(&Form::Mail(Vec::new()), "Ana.Moor@example.org");
        let said = presentable(
            "550 <ana.moor@EXAMPLE.org> \u{130}\r\n Ana.Moor@example.org 123456",
            &mail,
        );
        assert_eq!(said, "550 <A***@example.org> \u{130}   A***@example.org ***");
        let numbers = Form::Number {
            country_code: None,
            prefixes: Vec::new(),
        };
        let number = message(&numbers, "+49 170 1234567");
        let said = presentable("no route to 491701234567, tel:+491701234567", &number);
        assert_eq!(said, "no route to +49***67, tel:+49***67");
    }
}
