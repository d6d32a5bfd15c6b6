//! Answers that are looked at before they go out: every message as a whole, and so copied once.

use super::{CAPACITY, Port};
use crate::ldap::frame::{Front, Head, Sender, front};
use crate::ldap::outstanding::Outstanding;
use crate::ldap::reply::{EXTENDED_RESPONSE, is_goodbye};
use crate::ldap::restrict::Gate;

/// Appends to `out` what the client may see of the messages at the front of the server's buffer, and returns how
/// many there were. A message of more than `limit` octets ends the connection to the server. Stops at the answer
/// that is `awaited`.
pub(super) fn show<S>(
    server: &mut Port<S>,
    gate: &mut Gate,
    (outstanding, out): (&mut Outstanding, &mut Vec<u8>),
    awaited: Option<i32>,
    limit: usize,
) -> (u64, Option<Head>) {
    let mut seen = 0;
    while out.len() < CAPACITY && !server.dismissed {
        let input = server.inbox.filled();
        let head = match front(input, server.inbox.most, limit, Sender::Server) {
            Ok(Front::Incomplete) => break,
            Ok(Front::Streamed(head)) => {
                server.inbox.hold(head.total);
                break;
            }
            Ok(Front::Whole(head)) => head,
            Err(fault) => {
                tracing::warn!(
                    error = &fault as &dyn std::error::Error,
                    "an answer of the directory server cannot be looked at; its connection is closed"
                );
                give_up(server);
                break;
            }
        };
        let frame = input.get(..head.total).unwrap_or_default();
        if is_goodbye(&head, frame) {
            // Nothing comes behind it (RFC 4511 section 4.4.1).
            out.extend_from_slice(frame);
            server.gone = true;
            server.dismissed = true;
        } else if awaited == Some(head.id) && head.operation == EXTENDED_RESPONSE {
            return (seen, Some(head));
        } else if outstanding.answered(&head) {
            gate.answer(&head, frame, out);
        } else {
            tracing::warn!(
                id = head.id,
                operation = head.operation,
                "the directory server answers what it was not asked; its connection is closed"
            );
            give_up(server);
            break;
        }
        server.inbox.consume(head.total);
        seen += 1;
    }
    (seen, None)
}

/// Nothing more of this server's goes anywhere.
fn give_up<S>(server: &mut Port<S>) {
    let rest = server.inbox.filled().len();
    server.inbox.consume(rest);
    server.gone = true;
}
