//! What listeners on all transports share: a packet from a known client, from its integrity to the work
//! that it is, and that work done.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use arc_swap::ArcSwap;
use tracing::{debug, info};

use crate::clock::{self, Timestamp};
use crate::config::Serves;
use crate::dictionary::Dictionary;
use crate::engine::{AuthnRequest, BoxFuture, Check, Given, Keep, Outage, Report, Verdict, Verify};
use crate::keyring::Keyring;
use crate::metrics::{Decision, Metrics};
use crate::radius::accounting::{self, Unreadable};
use crate::radius::attribute::{
    ACCESS_REQUEST, ACCOUNTING_REQUEST, MESSAGE_AUTHENTICATOR, PROXY_STATE, STATUS_SERVER, USER_NAME,
};
use crate::radius::channel::Channel;
use crate::radius::client::{Client, ClientTable, Learned, Unsound};
use crate::radius::observed::Strangers;
use crate::radius::packet::Packet;
use crate::radius::pairs::Listed;
use crate::radius::translate::{self, Refusal, Untranslated};

/// What a listener works with, shared by all of them.
#[derive(Clone)]
pub struct Service {
    /// The clients; swapped as a whole at a reload, which the next batch of packets sees.
    pub clients: Arc<ArcSwap<ClientTable>>,
    /// Judges.
    pub verify: Arc<dyn Verify>,
    /// Keeps what accounting reports.
    pub keep: Arc<dyn Keep>,
    /// Seals dialogs.
    pub keyring: Arc<Keyring>,
    /// Remembers which clients sign.
    pub learned: Arc<dyn Learned>,
    /// Names attributes in logs.
    pub dictionary: Arc<ArcSwap<Dictionary>>,
    /// Counts.
    pub metrics: Metrics,
    /// Remembers who asks without being a client.
    pub strangers: Arc<Strangers>,
}

/// Who sent a packet.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    /// The client that it belongs to.
    pub client: &'a Arc<Client>,
    /// How it came.
    pub channel: Channel,
    /// Where it came from.
    pub source: SocketAddr,
    /// The configured name of the listener that it came to.
    pub listener: Option<&'a Arc<str>>,
}

/// A packet whose integrity suffices, by what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::radius) enum Screened {
    /// To know whether we are alive (RFC 5997). Costs nothing to answer again, so it is not remembered.
    Status,
    /// To log somebody in.
    Access,
    /// To report what has happened (RFC 2866).
    Accounting,
}

/// Why a packet is dropped before it is looked at as a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::radius) enum Unfit {
    /// Its code is not one that is answered here.
    Code,
    /// We have sent it ourselves, to an upstream, and it came back.
    Loop,
    /// Its integrity does not suffice.
    Unsound(Unsound),
}

/// Why no work comes of a packet: it is malformed, and must be dropped silently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::radius) enum Undone {
    /// An Access-Request.
    #[error(transparent)]
    Access(#[from] Untranslated),
    /// An Accounting-Request.
    #[error(transparent)]
    Accounting(#[from] Unreadable),
}

/// What is preferred when there is too much to do (RFC 5080 section 2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::radius) enum Precedence {
    /// A request that carries a State of ours: its dialog would break otherwise.
    Dialog,
    /// A login that begins.
    Login,
    /// Accounting, which is sent again until it is acknowledged.
    Accounting,
}

impl Precedence {
    /// How many requests may be under way for one of these to be taken, of `limit` in all.
    pub(in crate::radius) const fn room(self, limit: usize, serves: Serves) -> usize {
        match self {
            Self::Dialog => limit,
            Self::Accounting if serves.authentication => limit / 2,
            Self::Login | Self::Accounting => limit - limit / 4,
        }
    }
}

/// Work that a request is.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "lives for a moment on the stack, and most are the large one"
)]
pub(in crate::radius) enum Work {
    /// A login, or an answer within a dialog.
    Verify(AuthnRequest),
    /// A report to be kept.
    Account(Report),
    /// Nothing to ask anybody: an Access-Reject.
    Refuse(Refusal),
}

impl Work {
    /// How much it is preferred.
    pub(in crate::radius) const fn precedence(&self) -> Precedence {
        match self {
            Self::Verify(request) if request.dialog.is_some() => Precedence::Dialog,
            Self::Verify(_) | Self::Refuse(_) => Precedence::Login,
            Self::Account(_) => Precedence::Accounting,
        }
    }
}

/// Work that is done.
#[derive(Debug)]
pub(in crate::radius) enum Settled {
    /// A login was judged.
    Verdict(Verdict),
    /// A report is kept: the client may forget it.
    Accounted,
    /// A report could not be kept: silence, so that the client says it again (RFC 2866 section 4.1).
    Unaccounted,
}

impl Service {
    /// Judges whether a packet may be answered on a listener that serves `serves`. Whatever does not come
    /// through is dropped silently, and must touch nothing.
    ///
    /// # Errors
    /// [`Unfit`], with the reason.
    pub(in crate::radius) fn screen(
        &self,
        packet: &Packet<'_>,
        sender: Sender<'_>,
        serves: Serves,
    ) -> Result<Screened, Unfit> {
        let screened = match packet.code() {
            STATUS_SERVER => Screened::Status,
            ACCESS_REQUEST if serves.authentication => Screened::Access,
            ACCOUNTING_REQUEST if serves.accounting => Screened::Accounting,
            _ => return Err(Unfit::Code),
        };
        if packet.all(PROXY_STATE).any(|state| state == self.keyring.proxy_mark()) {
            return Err(Unfit::Loop);
        }
        let source = sender.source.ip().to_canonical();
        let client = sender.client;
        match screened {
            Screened::Status | Screened::Access => {
                client.check_integrity(packet, sender.channel, source, &*self.learned)
            }
            Screened::Accounting => client.check_accounting(packet, sender.channel),
        }
        .map_err(Unfit::Unsound)?;
        if screened == Screened::Status {
            sender.client.seen.alive(clock::now());
        }
        Ok(screened)
    }

    /// Makes work of a packet that asks for it and was not seen before.
    ///
    /// # Errors
    /// [`Undone`] says why the packet is malformed and must be dropped silently.
    pub(in crate::radius) fn work(
        &self,
        packet: &Packet<'_>,
        sender: Sender<'_>,
        now: Timestamp,
    ) -> Result<Work, Undone> {
        sender.client.seen.request(now);
        debug!(
            client = %sender.client.name,
            source = %sender.source,
            channel = %sender.channel,
            identifier = packet.identifier(),
            attributes = %Listed { dictionary: &self.dictionary.load(), packet },
            "request"
        );
        if packet.code() == ACCOUNTING_REQUEST {
            let report = accounting::report(packet, sender, &self.keyring, now)?;
            return Ok(Work::Account(report));
        }
        match translate::request(packet, sender, &self.keyring, now) {
            Ok(request) => {
                let text = match &request.given {
                    Given::Typed(typed) => typed.expose_str().is_some(),
                    Given::Response(_) | Given::Proven(_) => true,
                };
                if !text && !packet.has(MESSAGE_AUTHENTICATOR) {
                    sender.client.seen.garbled(sender.source.ip(), now);
                }
                Ok(Work::Verify(request))
            }
            Err(Untranslated::Refused(refusal)) => Ok(Work::Refuse(refusal)),
            Err(malformed @ (Untranslated::MalformedPassword | Untranslated::MalformedResponse)) => {
                Err(malformed.into())
            }
        }
    }

    /// Begins a login; see [`Judging::now_or`].
    pub(in crate::radius) fn judge(&self, request: AuthnRequest) -> Judging {
        let (verify, clients) = (Arc::clone(&self.verify), Arc::clone(&self.clients));
        let (client, source) = (Arc::clone(&request.origin.client), request.origin.source);
        // Only responses are refused often for what the administrator can change.
        let user = matches!(request.given, Given::Response(_)).then(|| request.login.to_string());
        Judging(Box::pin(async move {
            let verdict = verify.verify(request, Check::Directory).await;
            if let Verdict::Reject(denial) = verdict
                && let Some(client) = clients.load().named(&client)
            {
                client.seen.denied(denial, source, user.as_deref(), clock::now());
            }
            Settled::Verdict(verdict)
        }))
    }

    /// Begins to keep a report; see [`Judging::now_or`].
    pub(in crate::radius) fn account(&self, report: Report) -> Judging {
        let keep = Arc::clone(&self.keep);
        Judging(Box::pin(async move {
            match keep.keep(report).await {
                Ok(()) => Settled::Accounted,
                // Why was logged where it was tried.
                Err(Outage { .. }) => Settled::Unaccounted,
            }
        }))
    }

    /// Writes down a request that is refused without asking anybody.
    pub(in crate::radius) fn refused(
        &self,
        refusal: Refusal,
        packet: &Packet<'_>,
        sender: Sender<'_>,
        arrived: Instant,
    ) {
        let denial = refusal.denial().word();
        let client = &sender.client.name;
        let user = String::from_utf8_lossy(packet.find(USER_NAME).unwrap_or_default());
        let name = Some(&*user).filter(|user| !user.is_empty());
        sender
            .client
            .seen
            .refused(refusal, sender.source.ip(), name, clock::now());
        info!(%client, source = %sender.source, ?user, denial, reason = %refusal, "rejected unheard");
        let decision = Decision {
            protocol: "radius",
            client: Arc::clone(client),
            outcome: "reject",
            reason: denial,
        };
        let span = clock::monotonic().saturating_duration_since(arrived);
        self.metrics.decided(&decision, span);
    }
}

/// Work being done. A panic in it ends the request, not the listener: then there is no outcome.
pub(in crate::radius) struct Judging(BoxFuture<'static, Settled>);

impl Judging {
    /// What came of it, when it needs no waiting.
    ///
    /// # Errors
    /// The rest of the work, to be awaited in a task of its own.
    pub(in crate::radius) fn now_or(mut self) -> Result<Option<Settled>, Self> {
        // A waker that does nothing is enough: a task polls again before it relies on its own.
        match Pin::new(&mut self).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(settled) => Ok(settled),
            Poll::Pending => Err(self),
        }
    }
}

impl Future for Judging {
    type Output = Option<Settled>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Settled>> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(Poll::Ready(settled)) => Poll::Ready(Some(settled)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    }
}
