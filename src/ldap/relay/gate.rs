//! Where a connection meets what its listener lets through.

use std::sync::Arc;

use super::Connection;
use crate::clock;
use crate::engine::{AuthnRequest, Capability, LoginName, Origin, Purpose};
use crate::ldap::account::Named;
use crate::ldap::embedded::Embedded;
use crate::ldap::frame::{Head, Sender};
use crate::ldap::restrict::{Gate, Ruling};
use crate::ldap::translate::Bind;

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

    /// Whether a bind is that of a service account; then `origin` says what is asked of it.
    pub(super) fn account_named(&self, bind: &Bind<'_>, origin: &mut Origin) -> Named {
        let shared = &self.shared;
        let named = match bind.name() {
            Some(name) => shared.accounts.named(name, origin.source),
            None => Named::Person,
        };
        match &named {
            Named::Person => {}
            Named::Account(account) => origin.service_account = Some(Arc::clone(&account.rule)),
            Named::Misplaced(account) => {
                if let Some(unlogged) = shared.misplaced.lock().due(clock::monotonic()) {
                    tracing::warn!(
                        listener = %shared.config.name,
                        source = %origin.source,
                        account = account.written,
                        unlogged,
                        "a service account's name from an address that it may not come from: refused; if the \
                         application is there, add the address to `source` of its [[ldap.service_account]]"
                    );
                }
            }
        }
        named
    }

    /// Whether a name is that of a service account which may not come from here.
    pub(super) fn is_misplaced(&self, name: &[u8]) -> bool {
        let source = self.peer.ip().to_canonical();
        matches!(self.shared.accounts.named(name, source), Named::Misplaced(_))
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
