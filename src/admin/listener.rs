//! The Unix socket: made, guarded, served, and removed at the end.

use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::operator::Caller;
use super::router::{AdminState, router};

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("another process serves the admin socket {0}; stop it, or set admin.socket")]
    InUse(PathBuf),
    /// Something that is not a socket is in the way.
    #[error("{0} exists and is not a socket; remove it, or set admin.socket")]
    NotASocket(PathBuf),
    /// No such group.
    #[error("admin.group: there is no group `{0}`")]
    NoSuchGroup(String),
    /// The operating system refuses.
    #[error("cannot make the admin socket {0}")]
    Io(PathBuf, #[source] io::Error),
}

/// A bound socket. Bind before giving up privileges and before saying that the server is ready.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl AdminSocket {
    /// Makes the socket: mode 0660, owned by `group` if one is given. A socket left over by a process
    /// that ended badly is replaced, one that is answered is not.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, SocketError> {
        let failed = |error| SocketError::Io(path.to_owned(), error);
        let group = group.map(find_group).transpose()?;
        clear(path)?;
        // Bound under a private name first: nobody can connect between binding and guarding.
        let private = path.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&private);
        let listener = UnixListener::bind(&private).map_err(failed)?;
        let guarded = guard(&private, group).and_then(|inode| {
            std::fs::rename(&private, path)?;
            Ok(inode)
        });
        match guarded {
            Ok(inode) => Ok(Self {
                listener,
                path: path.to_owned(),
                inode,
            }),
            Err(error) => {
                let _ = std::fs::remove_file(&private);
                Err(failed(error))
            }
        }
    }

    /// Serves until `shutdown`, then lets the requests under way finish for a moment and removes the
    /// socket.
    pub async fn serve(self, state: AdminState, shutdown: impl Future<Output = ()>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = TaskTracker::new();
        let (ending, ended) = watch::channel(());
        let accept = async {
            loop {
                // Acquiring fails only on a closed semaphore, which this one never is.
                let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                    return;
                };
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let serving = serve_connection(stream, state.clone(), ended.clone());
                        connections.spawn(async move {
                            serving.await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: others must get a chance to close theirs.
                        warn!(%error, "the admin socket does not accept");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accept => {}
            () = shutdown => {}
        }
        drop(ending);
        connections.close();
        let _ = tokio::time::timeout(DRAIN, connections.wait()).await;
        // Another process may have put its own socket there meanwhile.
        if std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Connections at once.
const CONNECTIONS: usize = 64;

/// How long a caller may take to send a request's head, and how long a connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(30);

/// How long a connection may last, the longest verification of the audit included.
const CONNECTION_TIME: Duration = Duration::from_secs(3600);

/// How long requests under way may go on after the shutdown.
const DRAIN: Duration = Duration::from_secs(5);

async fn serve_connection(stream: UnixStream, state: AdminState, ended: watch::Receiver<()>) {
    match stream.peer_cred() {
        Ok(peer) => serve_caller(stream, state, Caller::of(peer).await, ended).await,
        Err(error) => warn!(%error, "the admin socket's peer has no credentials"),
    }
}

/// Serves one connection to whoever holds its other end.
pub(super) async fn serve_caller(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    state: AdminState,
    caller: Caller,
    mut ended: watch::Receiver<()>,
) {
    let service = TowerToHyperService::new(router(state, caller));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let served = tokio::time::timeout(CONNECTION_TIME, async {
        tokio::select! {
            served = connection.as_mut() => served,
            // The sender is only ever dropped.
            _ = ended.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        }
    });
    if let Ok(Err(error)) = served.await {
        debug!(%error, "an admin connection ended badly");
    }
}

/// Makes way for a new socket.
fn clear(path: &Path) -> Result<(), SocketError> {
    let failed = |error| SocketError::Io(path.to_owned(), error);
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        // A full queue is somebody who serves, too.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse(path.to_owned())),
        Err(error) => Err(failed(error)),
    }
}

fn guard(path: &Path, group: Option<nix::unistd::Gid>) -> io::Result<u64> {
    if let Some(group) = group {
        nix::unistd::chown(path, None, Some(group)).map_err(io::Error::from)?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(std::fs::metadata(path)?.ino())
}

fn find_group(name: &str) -> Result<nix::unistd::Gid, SocketError> {
    let found = nix::unistd::Group::from_name(name).ok().flatten();
    found
        .map(|group| group.gid)
        .ok_or_else(|| SocketError::NoSuchGroup(name.to_owned()))
}

#[cfg(test)]
mod tests;
