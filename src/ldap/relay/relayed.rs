//! SASL mechanisms that the directory judges: their steps are relayed, and whom it has let in by them is asked
//! of it, so that the engine can say whether that is enough.
//!
//! The question (WhoAmI, RFC 4532) also finds out what cannot be relayed: where the mechanism has put a layer of
//! its own around what follows (RFC 4422 section 3.7), the server does not understand it.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::timeout_at;

use super::Connection;
use super::bind::Judged;
use super::trial::{Fault, response};
use crate::ber::Message;
use crate::causes::in_full;
use crate::clock;
use crate::directory::ConnectError;
use crate::directory::bind::{BindResponse, describe, encode_sasl_bind, outcome};
use crate::engine::authenticator::Kind;
use crate::engine::{AuthnRequest, Capability, Check, Claims, Given, LoginName, PasswordOutcome, Purpose, Verdict};
use crate::ldap::account::Named;
use crate::ldap::reply::{BIND_RESPONSE, Code, EXTENDED_RESPONSE, ask_who_am_i, told_who_am_i};
use crate::ldap::sasl::authorization_identity;
use crate::ldap::session::{Binding, RelayedBind, Session};
use crate::ldap::translate::{BindEnd, bind_response, end_of};

/// What the server says to a step.
struct Reply {
    pdu: Vec<u8>,
    code: i32,
    outcome: PasswordOutcome,
}

impl Connection {
    /// Relays a step of a mechanism; after the last one, whoever the directory has let in is judged. `goes_on` says
    /// whether the server waits for this step.
    pub(super) async fn relayed_bind(
        &mut self,
        binding: Binding,
        bind: RelayedBind<'_>,
        goes_on: bool,
        arrived: Instant,
    ) -> Session {
        self.embedded = None;
        let name = Arc::clone(&self.shared.name);
        if !goes_on
            && self
                .pump
                .server
                .as_ref()
                .is_some_and(|server| !server.stream.is_wanted())
        {
            self.drop_server();
        }
        let reply = match self.connect().await {
            Ok(()) if self.pump.server.is_none() => {
                let end = Judged::Out(Code::AuthMethodNotSupported);
                return self.end_bind(binding, bind.id, end, arrived).await;
            }
            Ok(()) => {
                self.in_time(arrived, async |connection| connection.step(&bind).await)
                    .await
            }
            Err(ConnectError::Busy(most)) => {
                tracing::warn!(listener = %name, most, "as many connections are relayed to the directory as may be");
                return self.out(binding, &bind, Code::Busy, arrived).await;
            }
            Err(ConnectError::Unreachable(reason)) => Err(reason),
        };
        let reply = match reply {
            Ok(reply) => reply,
            Err(reason) => {
                tracing::warn!(listener = %name, mechanism = %bind.mechanism, reason, "a mechanism cannot be relayed");
                self.drop_server();
                return self.out(binding, &bind, Code::Unavailable, arrived).await;
            }
        };
        if reply.code == Code::SaslBindInProgress.number() {
            if bind_response(&reply.pdu, bind.controls.policy, &mut self.pump.client.outbox).is_err() {
                self.drop_server();
                return self.out(binding, &bind, Code::Unavailable, arrived).await;
            }
            self.negotiating = true;
            return binding.goes_on();
        }
        let code = match reply.outcome {
            PasswordOutcome::Right => {
                let end = self.judge_relayed(&binding, &bind, &reply, arrived).await;
                return self.end_bind(binding, bind.id, end, arrived).await;
            }
            PasswordOutcome::Unavailable(_) if reply.code == Code::AuthMethodNotSupported.number() => {
                Code::AuthMethodNotSupported
            }
            PasswordOutcome::Unavailable(reason) => {
                tracing::warn!(listener = %name, mechanism = %bind.mechanism, reason, "a mechanism was not judged");
                Code::Unavailable
            }
            PasswordOutcome::Wrong
            | PasswordOutcome::Expired
            | PasswordOutcome::MustChange
            | PasswordOutcome::Locked
            | PasswordOutcome::Disabled
            | PasswordOutcome::Unknown => {
                tracing::info!(
                    listener = %name,
                    peer = %self.peer,
                    mechanism = %bind.mechanism,
                    answer = describe(reply.code, b""),
                    "the directory lets nobody in"
                );
                Code::InvalidCredentials
            }
        };
        self.out(binding, &bind, code, arrived).await
    }

    /// Ends a bind that the engine was not asked about.
    async fn out(&mut self, binding: Binding, bind: &RelayedBind<'_>, code: Code, arrived: Instant) -> Session {
        let outcome = if code == Code::InvalidCredentials {
            ("reject", "wrong-password")
        } else {
            ("unavailable", "")
        };
        self.count(outcome, arrived);
        self.end_bind(binding, bind.id, Judged::Out(code), arrived).await
    }

    /// Does something with the server, as long as it has time for since `started`.
    async fn in_time<T>(
        &mut self,
        started: Instant,
        exchange: impl AsyncFnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, String> {
        let Some(server) = &self.pump.server else {
            return Err(in_full(&Fault::Closed));
        };
        let end = started + server.stream.patience();
        match timeout_at(end.into(), exchange(self)).await {
            Ok(done) => done.map_err(|fault| in_full(&fault)),
            Err(_elapsed) => Err("no answer in time".to_owned()),
        }
    }

    /// Sends a step on and reads the answer.
    async fn step(&mut self, bind: &RelayedBind<'_>) -> Result<Reply, Fault> {
        let server = self.pump.server.as_mut().ok_or(Fault::Closed)?;
        self.server_has_rights = true;
        let asks_identity = bind.controls.identity;
        encode_sasl_bind(
            bind.id,
            bind.mechanism.as_str(),
            bind.credentials,
            asks_identity,
            &mut server.outbox,
        );
        server.send().await.map_err(Fault::Io)?;
        let mut late = Vec::new();
        let head = response(server, (BIND_RESPONSE, bind.id), &self.pump.outstanding, &mut late).await?;
        self.pump.pass_late(&mut late);
        let Some(server) = &mut self.pump.server else {
            return Err(Fault::Closed);
        };
        let pdu = server.inbox.filled().get(..head.total).unwrap_or_default().to_vec();
        server.inbox.consume(head.total);
        let message = Message::read(&pdu)?;
        let response = BindResponse::read(&message)?;
        let (code, outcome) = (response.code, outcome(&response));
        self.server_has_rights = code == Code::Success.number();
        Ok(Reply { pdu, code, outcome })
    }

    /// Has the engine judge whom the directory has let in.
    async fn judge_relayed(
        &mut self,
        binding: &Binding,
        bind: &RelayedBind<'_>,
        reply: &Reply,
        arrived: Instant,
    ) -> Judged {
        let shared = Arc::clone(&self.shared);
        let asked = clock::monotonic();
        let told = self
            .in_time(asked, async |connection| connection.ask_who(bind.id).await)
            .await;
        let login = match told {
            Ok(Some(login)) => login,
            Ok(None) => {
                let why = "the directory does not say whom the mechanism has let in (WhoAmI)";
                tracing::warn!(listener = %shared.config.name, mechanism = %bind.mechanism, why, "refused");
                self.count(("reject", "malformed"), arrived);
                self.drop_server();
                return Judged::Out(Code::UnwillingToPerform);
            }
            Err(reason) => {
                let why = "the directory cannot be understood after the mechanism: does it negotiate a security layer? \
                           Clients must ask for none (OpenLDAP: SASL_SECPROPS maxssf=0)";
                tracing::warn!(listener = %shared.config.name, mechanism = %bind.mechanism, reason, why, "refused");
                self.count(("unavailable", ""), arrived);
                self.drop_server();
                return Judged::Out(Code::Unavailable);
            }
        };
        let Some(directory) = (shared.directory)() else {
            self.count(("unavailable", ""), arrived);
            return Judged::Out(Code::Unavailable);
        };
        // A service account is nobody from elsewhere, whatever lets it in.
        let login = self.placed(directory.as_ref(), login).await;
        let certificate = self.shown.as_ref().and_then(|shown| shown.login(&shared, self.peer));
        let question = AuthnRequest {
            login: login.clone(),
            given: Given::Proven(Kind::Sasl),
            dialog: None,
            origin: self.origin(directory.name(), binding.is_encrypted()),
            capability: Capability::None,
            purpose: Purpose::Login,
            claims: Claims {
                certificate: certificate.cloned(),
                acting_as: None,
                mechanism: Some(bind.mechanism.as_str().to_ascii_lowercase().into()),
            },
        };
        let verdict: Verdict = shared.verify.verify(question, Check::Directory).await;
        if let BindEnd::Refused(code) = end_of(&verdict) {
            return Judged::Out(code);
        }
        let Some(named) = self.account_let_in(&verdict) else {
            return Judged::Out(Code::InvalidCredentials);
        };
        if bind_response(&reply.pdu, bind.controls.policy, &mut self.pump.client.outbox).is_err() {
            tracing::error!("the server's answer to a bind has controls that cannot be read; refused");
            return Judged::Out(Code::Unavailable);
        }
        if let Named::Account(account) = named {
            self.account = Some(account);
        }
        self.remember(verdict, (login, arrived));
        Judged::In
    }

    /// Asks the server who is bound; `None` when it does not say.
    async fn ask_who(&mut self, id: i32) -> Result<Option<LoginName>, Fault> {
        // What the client had abandoned may be answered late, and by another name.
        if self.pump.outstanding.is_in_use(id) {
            return Err(Fault::Taken(id));
        }
        let server = self.pump.server.as_mut().ok_or(Fault::Closed)?;
        ask_who_am_i(id, &mut server.outbox);
        server.send().await.map_err(Fault::Io)?;
        let mut late = Vec::new();
        let head = response(server, (EXTENDED_RESPONSE, id), &self.pump.outstanding, &mut late).await?;
        self.pump.pass_late(&mut late);
        let Some(server) = &mut self.pump.server else {
            return Err(Fault::Closed);
        };
        let pdu = server.inbox.filled().get(..head.total).unwrap_or_default();
        let message = Message::read(pdu)?;
        let identity = told_who_am_i(&message).and_then(|identity| authorization_identity(identity).ok().flatten());
        server.inbox.consume(head.total);
        Ok(identity)
    }
}
