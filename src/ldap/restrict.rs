//! What a restricted listener lets through: which operations, on which part of the directory, with which
//! attributes, how much at once.
//!
//! Nothing passes here unread. A request is taken apart to the last octet; what RFC 4511 does not have is
//! refused, and so is what could tell of a hidden attribute without showing it: filters, comparisons, sort
//! keys, changes that fail or not. Controls are let through by list, because any other could do the same in a
//! way that we do not know. Answers are read as well where something in them may have to stay here.

mod answer;
mod attributes;
mod controls;
mod filter;
mod pages;
mod request;

use std::sync::Arc;

use crate::ber::Message;
use crate::config::{Operation, Restrict};
use crate::dn::Dn;
use crate::ldap::frame::Head;
use crate::ldap::reply::{Answer, Code, response_to};

use attributes::Hidden;
use pages::Pages;

/// A restriction, ready to be held against messages.
#[derive(Debug)]
pub struct Restriction {
    /// `None` for all.
    operations: Option<Vec<Operation>>,
    /// Empty for all of the directory.
    bases: Vec<Dn>,
    hidden: Option<Hidden>,
    max_entries: Option<i32>,
    /// In seconds.
    time_limit: Option<i32>,
}

impl Restriction {
    /// Takes what the configuration says; `None` when that restricts nothing.
    pub fn new(config: &Restrict) -> Option<Arc<Self>> {
        let hidden = config.hide_attributes.as_deref().unwrap_or_default();
        let bases = config.bases.iter().flatten();
        let restriction = Self {
            operations: config.operations().map(<[Operation]>::to_vec),
            bases: bases.map(|base| base.dn.clone()).collect(),
            hidden: Hidden::new(hidden.iter().map(|name| name.0.as_str())),
            max_entries: config.max_entries.map(saturating),
            time_limit: config
                .time_limit
                .map(|limit| saturating(u32::try_from(limit.as_secs()).unwrap_or(u32::MAX)).max(1)),
        };
        let any = restriction.operations.is_some()
            || !restriction.bases.is_empty()
            || restriction.hidden.is_some()
            || restriction.max_entries.is_some()
            || restriction.time_limit.is_some();
        any.then(|| Arc::new(restriction))
    }

    /// Whether something in answers may have to stay here. Then controls are let through by list as well.
    fn withholds(&self) -> bool {
        !self.bases.is_empty() || self.hidden.is_some() || self.max_entries.is_some()
    }

    /// Whether an entry of this name may be reached.
    fn reaches(&self, dn: &Dn) -> bool {
        self.bases.is_empty() || self.bases.iter().any(|base| dn.is_within(base))
    }
}

/// A restriction at work on one connection.
#[derive(Debug)]
pub struct Gate {
    restriction: Arc<Restriction>,
    pages: Pages,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Send it on as it is.
    Pass,
    /// Send this on in its place.
    Instead(Vec<u8>),
    /// Answer it; it goes no further.
    Refuse(Answer),
    /// It has no answer and goes no further.
    Drop,
}

impl Gate {
    /// For a connection.
    pub fn new(restriction: Arc<Restriction>) -> Self {
        Self {
            restriction,
            pages: Pages::default(),
        }
    }

    /// Whether this is the gate for `restriction`.
    pub fn keeps(&self, restriction: &Arc<Restriction>) -> bool {
        Arc::ptr_eq(&self.restriction, restriction)
    }

    /// Judges the request that `input` begins with; a part of one is refused.
    pub fn request(&mut self, head: &Head, input: &[u8]) -> Ruling {
        let judged = match input.get(..head.total) {
            Some(frame) => request::judge(&self.restriction, &mut self.pages, frame),
            None => Err(Refusal(Code::AdminLimitExceeded, "the request is too large")),
        };
        match (judged, response_to(head.operation)) {
            (Ok(None), _) => Ruling::Pass,
            (Ok(Some(instead)), _) => Ruling::Instead(instead),
            (Err(Refusal(code, text)), Some(response)) => Ruling::Refuse(Answer {
                id: head.id,
                response,
                code,
                text,
            }),
            (Err(_), None) => Ruling::Drop,
        }
    }

    /// Whether answers have to be read.
    pub fn reads_answers(&self) -> bool {
        self.restriction.withholds()
    }

    /// Appends to `out` what the client may see of `frame`, a whole message of the server's.
    pub fn answer(&mut self, head: &Head, frame: &[u8], out: &mut Vec<u8>) {
        answer::show(&self.restriction, &mut self.pages, head, frame, out);
    }
}

/// Whether the operation of a message is as RFC 4511 has it, to the last octet. Servers read on where one ends too
/// early: what we have put behind it would be taken for a part of it.
pub(super) fn is_whole(message: &Message<'_>) -> bool {
    request::is_whole(message)
}

/// Why a request is not sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refusal(Code, &'static str);

impl From<crate::ber::BerError> for Refusal {
    fn from(_: crate::ber::BerError) -> Self {
        Self(Code::ProtocolError, "the request cannot be read")
    }
}

fn saturating(limit: u32) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
