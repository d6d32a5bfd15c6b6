//! A bind, from the question to the engine to its answer: what the engine says and what the server holds are
//! brought together, so that neither goes further than the other.

use std::sync::Arc;
use std::time::Instant;

use tokio::time::sleep_until;

use super::password::Identity;
use super::trial::{Trial, Tried};
use super::{Connection, gate};
use crate::clock;
use crate::config::MustChange;
use crate::directory::{Directory, PasswordModify};
use crate::engine::authenticator::{Kind, KindSet};
use crate::engine::{Check, LoginName, Purpose, Verdict};
use crate::ldap::account::Named;
use crate::ldap::authorized::Authorized;
use crate::ldap::password::{CHANGE_AFTER_RESET, policy_response};
use crate::ldap::reply::{Answer, BIND_RESPONSE, Code, bound_to_change};
use crate::ldap::session::{Binding, Session};
use crate::ldap::translate::{Bind, BindEnd, How, bind_response, end_of};
use crate::metrics::Decision;

/// How a bind ended.
pub(super) enum Judged {
    /// Accepted, and answered.
    In,
    /// Accepted to change the password, and answered.
    InToChange,
    /// Refused, to be answered with this.
    Out(Code),
}

impl Connection {
    /// Judges a bind and answers it.
    pub(super) async fn bind(&mut self, binding: Binding, bind: Bind<'_>, arrived: Instant) -> Session {
        // A reload may have brought other entries.
        self.embedded = None;
        let end = self.judge(&binding, &bind, arrived).await;
        self.end_bind(binding, bind.id, end, arrived).await
    }

    /// Answers a bind, unless that is done.
    pub(super) async fn end_bind(&mut self, binding: Binding, id: i32, end: Judged, arrived: Instant) -> Session {
        let code = match end {
            Judged::In => {
                self.settled = true;
                return match self.acting_as {
                    Some(_) => binding.accepted_rewriting(),
                    None => binding.accepted(),
                };
            }
            Judged::InToChange => {
                self.settled = true;
                return binding.restricted();
            }
            Judged::Out(code) => code,
        };
        if code == Code::InvalidCredentials {
            sleep_until((arrived + self.shared.config.reject_delay).into()).await;
        }
        let answer = Answer {
            id,
            response: BIND_RESPONSE,
            code,
            text: "",
        };
        answer.write(&mut self.pump.client.outbox);
        binding.refused()
    }

    async fn judge(&mut self, binding: &Binding, bind: &Bind<'_>, arrived: Instant) -> Judged {
        let shared = Arc::clone(&self.shared);
        let Some(directory) = (shared.directory)() else {
            tracing::warn!(listener = %shared.config.name, "no directory of that name is configured");
            self.count(("unavailable", ""), arrived);
            return Judged::Out(Code::Unavailable);
        };
        let certificate = match (&bind.how, &self.shown) {
            // RFC 4511 appendix A.2: credentials are needed and there are none.
            (How::External { .. }, None) => {
                self.count(("reject", "malformed"), arrived);
                return Judged::Out(Code::InappropriateAuthentication);
            }
            (_, shown) => shown.as_ref().and_then(|shown| shown.login(&shared, self.peer)),
        };
        let mut origin = self.origin(directory.name(), binding.is_encrypted());
        let account = match bind.name() {
            Some(name) => shared.accounts.named(name, origin.source),
            None => Named::Person,
        };
        self.ask_of_account(&account, &mut origin);
        let Some(mut question) = bind.question(origin, shared.config.append.0, certificate) else {
            self.count(("reject", "malformed"), arrived);
            return Judged::Out(Code::InvalidCredentials);
        };
        let authorizes = directory.authorizes();
        if matches!(account, Named::Person) {
            question.login = self.placed(directory.as_ref(), question.login).await;
        }
        question.purpose = self.purpose(directory.as_ref(), bind);
        gate::ask_for_account(&account, &mut question);
        let login = question.login.clone();
        let source = self.peer.ip().to_canonical();
        let mut late = Vec::new();
        let mut trial = Trial {
            directory,
            server: &mut self.pump.server,
            embedded: &mut self.embedded,
            outstanding: &self.pump.outstanding,
            late: &mut late,
            has_rights: &mut self.server_has_rights,
            is_barred: &|person| shared.accounts.misplaces(&person.dn, source),
            id: bind.id,
            asks_identity: bind.controls.identity,
            tried: Tried::Nothing,
        };
        let verdict = shared.verify.verify(question, Check::Own(&mut trial)).await;
        let tried = std::mem::replace(&mut trial.tried, Tried::Nothing);
        drop(trial);
        self.pump.pass_late(&mut late);
        if matches!(tried, Tried::Lost) {
            self.drop_server();
        }
        let account = match (self.account_let_in(&verdict), account) {
            (None, _) => return Judged::Out(Code::InvalidCredentials),
            (Some(Named::Person), named) | (Some(named), _) => named,
        };
        let end = self.conclude(bind, verdict, tried, authorizes, (login, arrived));
        self.account = match (&end, account) {
            (Judged::In | Judged::InToChange, Named::Account(account)) => Some(account),
            (Judged::In | Judged::InToChange | Judged::Out(_), _) => None,
        };
        end
    }

    /// What a bind is for: with a client that can see that the password must be changed, also for that.
    fn purpose(&self, directory: &dyn Directory, bind: &Bind<'_>) -> Purpose {
        let may = match self.shared.config.must_change {
            MustChange::Asked => bind.controls.policy,
            MustChange::Always => true,
            MustChange::Never => false,
        };
        match directory.password_modify() {
            PasswordModify::Relayed if may => Purpose::LoginOrChange { expired: false },
            // An expired password is changed by who knows it, although nobody can bind with it.
            PasswordModify::Translated if may => Purpose::LoginOrChange { expired: true },
            PasswordModify::Relayed | PasswordModify::Translated | PasswordModify::Never => Purpose::Login,
        }
    }

    /// Brings together what the engine says and what the server holds. `authorizes` is whether the directory's
    /// account acts for people whose password was not tried.
    fn conclude(
        &mut self,
        bind: &Bind<'_>,
        verdict: Verdict,
        tried: Tried,
        authorizes: bool,
        came: (LoginName, Instant),
    ) -> Judged {
        match (end_of(&verdict), tried) {
            // Too many connections at once is no outage.
            (BindEnd::Refused(Code::Unavailable), Tried::Busy) => Judged::Out(Code::Busy),
            (BindEnd::Refused(code), _) => Judged::Out(code),
            (BindEnd::Accepted, Tried::Right(reply)) => {
                let out = &mut self.pump.client.outbox;
                if bind_response(&reply, bind.controls.policy, out).is_err() {
                    tracing::error!("the server's answer to a bind has controls that cannot be read; refused");
                    return Judged::Out(Code::Unavailable);
                }
                self.remember(verdict, came);
                Judged::In
            }
            (BindEnd::Restricted, Tried::MustChange(reply)) => {
                let out = &mut self.pump.client.outbox;
                if bind_response(&reply, bind.controls.policy, out).is_err() {
                    tracing::error!("the server's answer to a bind has controls that cannot be read; refused");
                    return Judged::Out(Code::Unavailable);
                }
                self.remember(verdict, came);
                Judged::InToChange
            }
            // Right for the server, which may know nothing of what an operator wants.
            (BindEnd::Restricted, tried @ (Tried::Right(_) | Tried::Nothing | Tried::NotRight)) => {
                if self.server_has_rights && !matches!(tried, Tried::Right(_)) {
                    self.drop_server();
                }
                let policy = policy_response(Some(CHANGE_AFTER_RESET));
                let policy = bind.controls.policy.then_some(policy.as_slice());
                bound_to_change(bind.id, policy, &mut self.pump.client.outbox);
                self.remember(verdict, came);
                Judged::InToChange
            }
            (BindEnd::Restricted, Tried::RightHere | Tried::Lost | Tried::Busy) => {
                tracing::error!("a bind was restricted although the directory did not say so; refused");
                Judged::Out(Code::InvalidCredentials)
            }
            (BindEnd::Accepted, tried @ (Tried::Nothing | Tried::RightHere)) => {
                // The rule asks for no password, or the directory has no server: what the server may hold
                // belongs to somebody else.
                if self.server_has_rights {
                    self.drop_server();
                }
                if let (Verdict::Accept(grant), Tried::Nothing, true) = (&verdict, tried, authorizes) {
                    self.acting_as = Authorized::new(&grant.person.dn);
                    self.drop_server();
                }
                let answer = Answer {
                    id: bind.id,
                    response: BIND_RESPONSE,
                    code: Code::Success,
                    text: "",
                };
                answer.write(&mut self.pump.client.outbox);
                self.remember(verdict, came);
                Judged::In
            }
            (BindEnd::Accepted, Tried::MustChange(_) | Tried::NotRight | Tried::Lost | Tried::Busy) => {
                tracing::error!("a bind was accepted although the directory did not find the password right; refused");
                Judged::Out(Code::InvalidCredentials)
            }
        }
    }

    pub(super) fn remember(&mut self, verdict: Verdict, (login, arrived): (LoginName, Instant)) {
        let (person, proven, dialog) = match verdict {
            Verdict::Accept(grant) => (grant.person, grant.proven, None),
            Verdict::Restricted(restricted) => {
                let dialog = restricted.dialog;
                let password = dialog.password.as_ref().map(|_| KindSet::of(Kind::Password));
                let proven = dialog.proven.union(password.unwrap_or(KindSet::EMPTY));
                (restricted.person, proven, Some(dialog))
            }
            Verdict::Challenge(_) | Verdict::Closed(_) | Verdict::Reject(_) | Verdict::Unavailable(_) => return,
        };
        self.bound = Some(self.shared.bindings.enter(person, arrived, &self.stop));
        self.identity = Some(Identity { login, proven, dialog });
    }

    /// Counts a bind that the verifier was not asked about; it counts its own verdicts.
    pub(super) fn count(&self, (outcome, reason): (&'static str, &'static str), arrived: Instant) {
        let decision = Decision {
            protocol: "ldap",
            client: self.shared.config.name.as_str().into(),
            outcome,
            reason,
        };
        let span = clock::monotonic().saturating_duration_since(arrived);
        self.shared.metrics.decided(&decision, span);
    }
}
