//! Where a connection meets what its listener lets through.

use std::sync::Arc;

use super::Connection;
use crate::clock;
use crate::directory::Directory;
use crate::engine::policy::Rule;
use crate::engine::{AuthnRequest, Capability, LoginName, Lookup, Origin, Purpose, Verdict};
use crate::ldap::account::{Account, Named};
use crate::ldap::embedded::Embedded;
use crate::ldap::frame::{Head, Sender};
use crate::ldap::restrict::{Gate, Ruling};

/// Whether a request goes on.
pub(super) enum Passage {
    /// As it is.
    Open,
    /// As this.
    Instead(Vec<u8>),
    /// Not; it is answered and gone.
    Closed,
}

impl Connection {
    /// Puts the gate in place that is due to whoever is bound now.
    pub(super) fn set_gate(&mut self) {
        let restriction = match &self.account {
            Some(account) => account.restriction.as_ref(),
            None => self.shared.restriction.as_ref(),
        };
        let Some(restriction) = restriction else {
            self.pump.gate = None;
            return;
        };
        if !self.pump.gate.as_ref().is_some_and(|gate| gate.keeps(restriction)) {
            self.pump.gate = Some(Box::new(Gate::new(Arc::clone(restriction))));
        }
    }

    /// Where a bind is that of a service account, has `origin` say what is asked of it.
    pub(super) fn ask_of_account(&self, named: &Named, origin: &mut Origin) {
        match named {
            Named::Person => {}
            Named::Account(account) => origin.service_account = Some(Arc::clone(&account.rule)),
            Named::Misplaced(account) => self.report_misplaced(account),
        }
    }

    /// Whose entry was let in: that of a service account has its restriction under each of its names. `None` when
    /// it may not be here.
    pub(super) fn account_let_in(&self, verdict: &Verdict) -> Option<Named> {
        let person = match verdict {
            Verdict::Accept(grant) => &grant.person,
            Verdict::Restricted(restricted) => &restricted.person,
            Verdict::Challenge(_) | Verdict::Closed(_) | Verdict::Reject(_) | Verdict::Unavailable(_) => {
                return Some(Named::Person);
            }
        };
        match self.shared.accounts.at(&person.dn, self.peer.ip().to_canonical()) {
            Named::Misplaced(account) => {
                self.report_misplaced(&account);
                None
            }
            named @ (Named::Person | Named::Account(_)) => Some(named),
        }
    }

    /// By which name and rule a password is changed that belongs to whoever a client names which is not bound: that
    /// of a service account by the account's own, and by nobody's from where the account may not come from.
    pub(super) async fn whose_password(
        &mut self,
        directory: &dyn Directory,
        name: &[u8],
        login: LoginName,
    ) -> (LoginName, Option<Arc<Rule>>) {
        let accounts = &self.shared.accounts;
        let source = self.peer.ip().to_canonical();
        match accounts.named(name, source) {
            Named::Account(account) => match LoginName::account(&account.written) {
                Ok(own) => (own, Some(Arc::clone(&account.rule))),
                Err(_) => (login, None),
            },
            Named::Misplaced(account) => {
                self.report_misplaced(&account);
                (LoginName::account(&account.written).unwrap_or(login), None)
            }
            Named::Person => (self.placed(directory, login).await, None),
        }
    }

    /// The name that `login` is judged by: under another name of its entry, too, a service account is nobody from
    /// where it may not come from, and cannot be locked out from there.
    pub(super) async fn placed(&mut self, directory: &dyn Directory, login: LoginName) -> LoginName {
        let accounts = &self.shared.accounts;
        if accounts.is_empty() {
            return login;
        }
        let Lookup::Found(person) = directory.look_up(&login).await else {
            return login;
        };
        match accounts.at(&person.dn, self.peer.ip().to_canonical()) {
            Named::Misplaced(account) => {
                self.report_misplaced(&account);
                LoginName::account(&account.written).unwrap_or(login)
            }
            Named::Person | Named::Account(_) => login,
        }
    }

    pub(super) fn report_misplaced(&self, account: &Account) {
        let shared = &self.shared;
        if let Some(unlogged) = shared.misplaced.lock().due(clock::monotonic()) {
            tracing::warn!(
                listener = %shared.config.name,
                source = %self.peer.ip().to_canonical(),
                account = account.written,
                unlogged,
                "a service account's name from an address that it may not come from: refused; if the \
                 application is there, add the address to `source` of its [[ldap.service_account]]"
            );
        }
    }

    /// Holds the front message against the listener's restriction. Whatever comes from a client and could reach the
    /// directory has to come by here first.
    pub(super) fn passes(&mut self, head: &Head, input: &[u8]) -> Passage {
        let Some(gate) = self.pump.gate.as_deref_mut() else {
            return Passage::Open;
        };
        match gate.request(head, input) {
            Ruling::Pass => return Passage::Open,
            Ruling::Instead(octets) => return Passage::Instead(octets),
            Ruling::Refuse(answer) => answer.write(&mut self.pump.client.outbox),
            Ruling::Drop => {}
        }
        self.pump.drop_message(head);
        Passage::Closed
    }
}

/// Puts the account's own name in the place of the one that was sent.
pub(super) fn ask_for_account(named: &Named, question: &mut AuthnRequest) {
    let (Named::Account(account) | Named::Misplaced(account)) = named else {
        return;
    };
    match LoginName::account(&account.written) {
        Ok(login) => question.login = login,
        Err(_) => question.origin.service_account = None,
    }
    // No code stands behind its password, and it changes none at a login.
    question.capability = Capability::None;
    question.purpose = Purpose::Login;
}

/// Appends what `embedded` answers to `request`, as far as it may be seen.
pub(super) fn answer(embedded: &Embedded<'_>, gate: &mut Gate, request: &[u8], out: &mut Vec<u8>) {
    let Ok(Some(head)) = Head::read(request, usize::MAX, Sender::Client) else {
        return;
    };
    let mut answers = Vec::new();
    embedded.answer(&head, request, &mut answers);
    let mut rest = answers.as_slice();
    while let Ok(Some(head)) = Head::read(rest, usize::MAX, Sender::Server)
        && let Some((frame, after)) = rest.split_at_checked(head.total)
    {
        gate.answer(&head, frame, out);
        rest = after;
    }
}
