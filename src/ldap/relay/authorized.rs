//! Operations that go to the directory with somebody's authorization instead of their bind.

use super::Connection;
use crate::directory::{ConnectError, Directory, Link};
use crate::ldap::authorized::{Authorized, Unsendable};
use crate::ldap::frame::Head;
use crate::ldap::pump::Port;
use crate::ldap::reply::Code;

/// What became of an operation.
pub(super) enum Sent {
    /// It is on its way.
    On,
    /// It is refused with this.
    Refused(Code, &'static str),
    /// It is no LDAP.
    Malformed,
}

impl Connection {
    /// Opens a connection bound as the service account.
    pub(super) async fn connect_authorized(&mut self, directory: &dyn Directory) -> Result<(), ConnectError> {
        match directory.connect_authorized().await? {
            Link::Remote(stream) => {
                self.pump.server = Some(Port::new(stream));
                self.server_has_rights = true;
                Ok(())
            }
            Link::Embedded(_) => Err(ConnectError::Unreachable(
                "an embedded directory takes no authorization".into(),
            )),
        }
    }

    /// Sends `frame` on in place of the front message, with the person's authorization; nothing where it is not
    /// there as a whole. The server must be there.
    pub(super) fn send_authorized(&mut self, authorized: &Authorized, head: &Head, frame: Option<&[u8]>) -> Sent {
        let Some(frame) = frame else {
            return Sent::Refused(Code::AdminLimitExceeded, "the operation is too large to be authorized");
        };
        let Some(server) = &mut self.pump.server else {
            return Sent::Refused(Code::Unavailable, "the directory is out of reach");
        };
        match authorized.rewrite(frame, &mut server.outbox) {
            Ok(()) => {
                self.pump.sent_anew(head);
                Sent::On
            }
            Err(Unsendable::OwnIdentity) => Sent::Refused(
                Code::AuthorizationDenied,
                "this session has an authorization identity already",
            ),
            Err(Unsendable::Extended) => Sent::Refused(
                Code::UnwillingToPerform,
                "extended operations are not performed with somebody's authorization",
            ),
            Err(Unsendable::Malformed) => Sent::Malformed,
        }
    }
}
