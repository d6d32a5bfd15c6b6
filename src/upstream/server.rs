//! One upstream server: its exchange, and whether it is up.

use std::error::Error as _;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::clock::{self, Timestamp};
use crate::config::{self, RadiusVersion, UpstreamTransport};
use crate::radius::crypto::SharedSecret;
use crate::radius::exchange::{
    Exchange, Failure, Patience, Reply, Request, Target, TlsTarget, Transport, Version, radsec_secret,
};
use crate::radius::pairs::Hiding;
use crate::tls::client::{Settings, Trust};
use crate::tls::{self, TlsError};
use crate::upstream::{SetupFault, UpstreamServerStatus};

/// How long a server that is down is left alone when it does not answer Status-Server.
const DEAD_TIME: Duration = Duration::from_secs(30);

/// Questions in a row without an answer after which a server is down.
const MISSES: u32 = 2;

/// One server.
#[derive(Debug)]
pub(super) struct Server {
    name: String,
    exchange: Exchange,
    state: Mutex<State>,
    _watch: Option<AbortOnDropHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    /// Questions in a row without an answer.
    misses: u32,
    /// Since when it is down.
    down: Option<Instant>,
    /// Whether it has ever answered Status-Server: only then its silence to it means anything.
    answers_status: bool,
    latency: Option<Duration>,
    last: Option<Timestamp>,
    /// When it last answered anything.
    answered: Option<Instant>,
    error: Option<String>,
}

/// What is wrong with one server's keys.
#[derive(Debug)]
pub(super) struct Fault {
    key: &'static str,
    error: TlsError,
}

impl Fault {
    pub(super) fn at(self, server: usize) -> SetupFault {
        SetupFault {
            server,
            key: self.key,
            error: self.error,
        }
    }
}

/// Where a server is, and how to reach it.
pub(super) fn target(server: &config::UpstreamServer, upstream: &config::Upstream) -> Result<Target, Fault> {
    let secret = server.secret.as_ref().map(SharedSecret::new);
    let transport = match server.transport {
        UpstreamTransport::Udp => Transport::Udp(secret.unwrap_or_else(radsec_secret)),
        UpstreamTransport::Tls => Transport::Tls(tls_target(server, secret)?),
    };
    Ok(Target {
        address: server.address,
        transport,
        signed_replies: upstream.require_message_authenticator,
    })
}

fn tls_target(server: &config::UpstreamServer, secret: Option<SharedSecret>) -> Result<TlsTarget, Fault> {
    let version = match server.radius_version {
        RadiusVersion::Auto => Version::Auto,
        RadiusVersion::V1_0 => Version::V1_0,
        RadiusVersion::V1_1 => Version::V1_1,
    };
    let at = |key: &'static str| move |error| Fault { key, error };
    let trust = match &server.fingerprint {
        Some(fingerprint) => Trust::Fingerprint(fingerprint.parse().map_err(at("fingerprint"))?),
        None => Trust::Authorities(server.ca_file.as_deref()),
    };
    let settings = Settings {
        trust,
        identity: server.certificate.as_deref().zip(server.key.as_deref()),
        protocols: version.alpn(),
    };
    let address = server.address.ip().to_string();
    let name = server.server_name.as_deref().unwrap_or(&address);
    Ok(TlsTarget {
        name: tls::server_name(name).map_err(at("server_name"))?,
        config: settings.config().map_err(|error| {
            let text = error.to_string();
            let about = |file: &Option<std::path::PathBuf>| {
                file.as_ref()
                    .is_some_and(|file| text.contains(&*file.to_string_lossy()))
            };
            let key = if about(&server.key) {
                "key"
            } else if about(&server.certificate) {
                "certificate"
            } else {
                "ca_file"
            };
            Fault { key, error }
        })?,
        secret: secret.unwrap_or_else(radsec_secret),
        version,
    })
}

impl Server {
    pub(super) fn new(server: &config::UpstreamServer, upstream: &config::Upstream) -> Result<Self, Fault> {
        let tries = upstream.tries.max(1);
        let patience = Patience {
            in_flight: upstream.in_flight,
            waiting: upstream.queue,
            ..Patience::steady(upstream.timeout / tries, tries)
        };
        Ok(Self {
            name: server.address.to_string(),
            exchange: Exchange::connect(target(server, upstream)?, patience),
            state: Mutex::default(),
            _watch: None,
        })
    }

    pub(super) fn watched_by(&mut self, watch: AbortOnDropHandle<()>) {
        self._watch = Some(watch);
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What encrypted values of its reply are read with.
    pub(super) fn hiding<'a>(&'a self, reply: &'a Reply) -> Hiding<'a> {
        self.exchange.hiding(reply)
    }

    /// Whether questions go there.
    pub(super) fn is_up(&self, now: Instant) -> bool {
        let state = self.state.lock();
        match state.down {
            None => true,
            Some(since) => !state.answers_status && now.saturating_duration_since(since) >= DEAD_TIME,
        }
    }

    /// How long an answer takes.
    pub(super) fn latency(&self) -> Duration {
        self.state.lock().latency.unwrap_or_default()
    }

    pub(super) async fn ask(&self, request: &Request) -> Result<Reply, Failure> {
        let began = clock::monotonic();
        let result = self.exchange.ask(request).await;
        match &result {
            Ok(_) => self.answered(began.elapsed(), false),
            // Whether it is down is for its status to say: others could drop a question as well.
            Err(Failure::Silence { .. } | Failure::Lost { .. }) if self.state.lock().answers_status => {}
            Err(failure) => self.failed(failure),
        }
        result
    }

    /// Whether a server that has left a question without an answer is there all the same: it has answered another one
    /// since the question `began`, or answers now when it is asked for its status. Of one that never answers that,
    /// nobody can tell more.
    pub(super) async fn is_there(&self, began: Instant) -> bool {
        let heard = || self.state.lock().answered.is_some_and(|at| at >= began);
        if !heard() && self.state.lock().answers_status {
            self.probe().await;
        }
        heard()
    }

    /// Asks for its status.
    pub(super) async fn probe(&self) {
        let began = clock::monotonic();
        match self.exchange.status().await {
            Ok(_) => self.answered(began.elapsed(), true),
            Err(failure) => {
                if matches!(failure, Failure::Connect { .. }) || self.state.lock().answers_status {
                    self.failed(&failure);
                }
            }
        }
    }

    pub(super) fn status(&self, now: Instant) -> UpstreamServerStatus {
        let healthy = self.is_up(now);
        let figures = self.exchange.figures();
        let state = self.state.lock();
        UpstreamServerStatus {
            address: self.name.clone(),
            transport: self.exchange.channel().to_string(),
            healthy,
            latency_ms: state.latency.map(|latency| latency.as_secs_f64() * 1000.0),
            last: state.last,
            in_flight: figures.in_flight,
            unproven: figures.unproven,
            error: state.error.clone(),
        }
    }

    fn answered(&self, latency: Duration, status: bool) {
        let mut state = self.state.lock();
        state.answers_status |= status;
        state.misses = 0;
        state.last = Some(clock::now());
        state.answered = Some(clock::monotonic());
        state.error = None;
        // Of a status nobody can tell how long a password takes.
        if !status || state.latency.is_none() {
            state.latency = Some(latency);
        }
        if state.down.take().is_some() {
            info!(server = %self.name, "the upstream server is back");
        }
    }

    fn failed(&self, failure: &Failure) {
        let at_once = match failure {
            // Ours to bear: it says nothing of the server.
            Failure::TooLong | Failure::Busy(_) => return,
            Failure::Connect { .. } => true,
            Failure::Lost { .. } | Failure::Silence { .. } | Failure::Refused { .. } => false,
        };
        let text = in_full(failure);
        let mut state = self.state.lock();
        state.misses = state.misses.saturating_add(1);
        if at_once || state.misses >= MISSES {
            if state.down.is_none() {
                warn!(server = %self.name, error = text, "the upstream server is down");
            }
            state.down = Some(clock::monotonic());
        }
        state.error = Some(text);
    }
}

/// A failure with what is behind it.
pub(super) fn in_full(failure: &Failure) -> String {
    match failure.source() {
        Some(source) => format!("{failure}: {source}"),
        None => failure.to_string(),
    }
}
