//! Operations that were sent on and not answered: what an abandoned connection owes its client, and what a
//! server may answer at all.

use crate::ber::Reader;
use crate::ldap::frame::Head;
use crate::ldap::reply::{
    ABANDON_REQUEST, Answer, Code, EXTENDED_RESPONSE, INTERMEDIATE_RESPONSE, SEARCH_DONE, SEARCH_ENTRY,
    SEARCH_REFERENCE, is_final, response_to,
};

/// Operations under way on one connection.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// messageID, and the operation of the final response.
    open: Vec<(i32, u8)>,
    /// Where in the list the last answer belonged: the next one often belongs there, too.
    last: usize,
    /// Abandoned, oldest first: answers to them may still be on their way.
    abandoned: Vec<i32>,
    /// Unsolicited notifications since the last answer.
    unsolicited: usize,
}

impl Outstanding {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether the connection has as many operations under way as it may.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= MOST_OUTSTANDING
    }

    /// Whether answers to `id` may still come although nobody waits for them.
    pub(super) fn is_abandoned(&self, id: i32) -> bool {
        self.abandoned.contains(&id)
    }

    /// Whether answers may still come that nobody waits for.
    pub(super) fn has_abandoned(&self) -> bool {
        !self.abandoned.is_empty()
    }

    /// Whether an answer to `id` may still come.
    pub(super) fn is_in_use(&self, id: i32) -> bool {
        self.open.iter().any(|(open, _)| *open == id) || self.is_abandoned(id)
    }

    /// Empties the list, with the answer that says the directory is out of reach.
    pub(super) fn fail(&mut self, out: &mut Vec<u8>) {
        for (id, response) in self.open.drain(..) {
            let answer = Answer {
                id,
                response,
                code: Code::Unavailable,
                text: "the directory is out of reach",
            };
            answer.write(out);
        }
    }

    /// Forgets all of them: abandoned.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }

    /// Gives back the memory that many operations took.
    pub(super) fn rest(&mut self) {
        self.open.shrink_to(FEW);
        self.abandoned.shrink_to(FEW);
    }

    /// The server that knew of what was abandoned is gone.
    pub(super) fn new_server(&mut self) {
        self.abandoned = Vec::new();
        self.unsolicited = 0;
    }

    /// A request that is sent on; `operation` is its protocolOp, as far as it is there.
    pub(super) fn note(&mut self, head: &Head, operation: &[u8]) {
        if let Some(response) = response_to(head.operation) {
            self.open.push((head.id, response));
        } else if head.operation == ABANDON_REQUEST
            && let Ok(target) = Reader::new(operation).integer(ABANDON_REQUEST)
            && let Some(index) = self.open.iter().position(|(id, _)| *id == target)
        {
            // It may never be answered.
            self.open.swap_remove(index);
            if self.abandoned.len() >= MOST_OUTSTANDING {
                self.abandoned.remove(0);
            }
            self.abandoned.push(target);
        }
    }

    /// Takes note of a server's message. False when nothing that was asked is answered by it: to a client it
    /// might pass for the answer to something else.
    pub(super) fn answered(&mut self, head: &Head) -> bool {
        if head.id == 0 {
            // RFC 4511 section 4.4: unsolicited notifications are extended responses.
            self.unsolicited += 1;
            return head.operation == EXTENDED_RESPONSE && self.unsolicited <= MOST_UNSOLICITED;
        }
        self.unsolicited = 0;
        let belongs = |(id, response): &(i32, u8)| *id == head.id && belongs(head.operation, *response);
        let index = match self.open.get(self.last).filter(|open| belongs(open)) {
            Some(_) => Some(self.last),
            None => self.open.iter().position(belongs),
        };
        match index {
            Some(index) if is_final(head.operation) => {
                self.open.swap_remove(index);
            }
            Some(index) => self.last = index,
            None => {
                let Some(index) = self.abandoned.iter().position(|id| *id == head.id) else {
                    return false;
                };
                if is_final(head.operation) {
                    self.abandoned.remove(index);
                }
            }
        }
        true
    }
}

/// Whether a response is of the kind that an operation has whose final one is `last`. What we do not know may
/// be anything.
const fn belongs(response: u8, last: u8) -> bool {
    match response {
        SEARCH_ENTRY | SEARCH_REFERENCE => last == SEARCH_DONE,
        INTERMEDIATE_RESPONSE => true,
        other => !is_final(other) || other == last,
    }
}

/// Most operations under way on one connection; more are answered busy.
const MOST_OUTSTANDING: usize = 1024;
/// Operations that a quiet connection keeps room for.
const FEW: usize = 8;
/// Unsolicited notifications in a row.
const MOST_UNSOLICITED: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(id: i32, operation: u8) -> Head {
        Head {
            id,
            operation,
            offset: 5,
            total: 20,
        }
    }

    fn asked(requests: &[(i32, u8)]) -> Outstanding {
        let mut outstanding = Outstanding::default();
        for (id, operation) in requests {
            outstanding.note(&head(*id, *operation), &[]);
        }
        outstanding
    }

    #[test]
    fn answers_belong_to_what_was_asked() {
        let mut outstanding = asked(&[(1, 0x63), (2, 0x6e), (3, 0x63)]);
        for (id, operation) in [(3, SEARCH_ENTRY), (1, SEARCH_ENTRY), (3, 0x73), (1, 0x79), (2, 0x79)] {
            assert!(outstanding.answered(&head(id, operation)), "{id} {operation:#x}");
        }
        assert_eq!(outstanding.len(), 3);
        for (id, operation) in [
            (4, SEARCH_ENTRY),
            (2, SEARCH_ENTRY),
            (2, SEARCH_DONE),
            (1, 0x61),
            (0, 0x65),
        ] {
            assert!(!outstanding.answered(&head(id, operation)), "{id} {operation:#x}");
        }
        assert!(outstanding.answered(&head(1, SEARCH_DONE)));
        assert!(!outstanding.answered(&head(1, SEARCH_DONE)), "twice");
        assert!(!outstanding.answered(&head(1, SEARCH_ENTRY)), "after the end");
        assert!(outstanding.answered(&head(2, 0x6f)));
        assert!(outstanding.answered(&head(3, SEARCH_DONE)));
        assert!(outstanding.is_empty());
    }

    #[test]
    fn what_was_abandoned_may_be_answered_still() {
        let mut outstanding = asked(&[(7, 0x63), (8, 0x63)]);
        outstanding.note(&head(9, ABANDON_REQUEST), &[ABANDON_REQUEST, 1, 7]);
        outstanding.note(&head(10, ABANDON_REQUEST), &[ABANDON_REQUEST, 1, 99]);
        assert_eq!(outstanding.len(), 1);
        assert!(outstanding.is_abandoned(7) && !outstanding.is_abandoned(99));
        assert!(outstanding.is_in_use(7) && outstanding.is_in_use(8) && !outstanding.is_in_use(9));
        assert!(outstanding.answered(&head(7, SEARCH_ENTRY)));
        assert!(outstanding.answered(&head(7, SEARCH_DONE)));
        assert!(!outstanding.answered(&head(7, SEARCH_DONE)));
        assert!(!outstanding.answered(&head(99, SEARCH_DONE)), "it was never asked");
    }

    #[test]
    fn notifications_are_few() {
        let mut outstanding = asked(&[(1, 0x63)]);
        let notice = head(0, EXTENDED_RESPONSE);
        assert!((0..MOST_UNSOLICITED).all(|_| outstanding.answered(&notice)));
        assert!(outstanding.answered(&head(1, SEARCH_ENTRY)));
        assert!((0..MOST_UNSOLICITED).all(|_| outstanding.answered(&notice)));
        assert!(!outstanding.answered(&notice));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut outstanding = Outstanding::default();
        for id in 1..3000 {
            outstanding.note(&head(id, 0x63), &[]);
            let [_, _, high, low] = id.to_be_bytes();
            outstanding.note(&head(4000, ABANDON_REQUEST), &[ABANDON_REQUEST, 2, high, low]);
        }
        assert_eq!((outstanding.len(), outstanding.abandoned.len()), (0, MOST_OUTSTANDING));
        assert!(outstanding.is_abandoned(2999) && !outstanding.is_abandoned(1));
    }
}
