//! What listeners on TCP do with every connection, whatever is spoken over it.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinError;
use tracing::error;

/// No delay for small answers; a client that has vanished without a word is noticed.
///
/// # Errors
/// As the system gives them.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Errors of a connection that was lost before it was accepted: the next one may be fine.
pub fn concerns_one_connection(fault: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        fault.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Logs a connection's task that panicked: nobody else hears of it.
pub fn report(ended: Result<(), JoinError>) {
    if let Err(fault) = ended
        && fault.is_panic()
    {
        error!(error = &fault as &dyn std::error::Error, "a connection's task panicked");
    }
}
