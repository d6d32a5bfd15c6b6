//! An export sent piece by piece to somebody who takes it, while the store goes on working.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::{Entry, Snapshot, Store};
use super::encoder::Encoder;
use super::{ExportError, Head};

/// An export on its way.
pub struct Stream {
    /// The moment of the store that it is made at.
    pub head: Head,
    /// Its octets. An error ends it; so does an end that comes too early, which the digest at the end tells.
    pub pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
}

/// Begins to send everything in `store`, as of now. What changes meanwhile is kept for as long as the export goes on,
/// so a receiver that takes nothing for a minute ends it. `held` is let go of at the end.
///
/// # Errors
/// [`ExportError::Store`].
pub async fn stream(store: &dyn Store, held: impl Send + 'static) -> Result<Stream, ExportError> {
    let snapshot = store.snapshot().await.map_err(ExportError::Store)?;
    let head = *snapshot.head();
    let (sender, pieces) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        if let Err(error) = send(snapshot, &sender).await {
            tracing::warn!(%error, "a backup was cut off");
            // Whoever is gone need not be told.
            let _ = tokio::time::timeout(PATIENCE, sender.send(Err(error))).await;
        }
        drop(held);
    });
    Ok(Stream { head, pieces })
}

async fn send(mut snapshot: Box<dyn Snapshot>, to: &mpsc::Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut octets = Vec::new();
    let mut encoder = Encoder::begin(&snapshot.head().clone(), &mut octets)?;
    loop {
        let entries: Vec<Entry> = snapshot.next(super::PIECE).await.map_err(io::Error::other)?;
        if entries.is_empty() {
            break;
        }
        for entry in &entries {
            encoder.entry(entry, &mut octets)?;
        }
        if octets.len() >= ENOUGH {
            pass_on(&mut octets, to).await?;
        }
        // Reading a piece waits for nothing: others get their turn.
        tokio::task::yield_now().await;
    }
    encoder.finish(&mut octets)?;
    pass_on(&mut octets, to).await
}

async fn pass_on(octets: &mut Vec<u8>, to: &mpsc::Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let gone = |why: &str| io::Error::new(io::ErrorKind::BrokenPipe, why.to_owned());
    match tokio::time::timeout(PATIENCE, to.send(Ok(std::mem::take(octets)))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(gone("the receiver went away")),
        Err(_) => Err(gone("the receiver took nothing for a minute")),
    }
}

/// Pieces that are made before they are taken.
const AHEAD: usize = 4;

/// How large a piece is at least, in octets.
const ENOUGH: usize = 64 * 1024;

/// How long a receiver may take nothing.
const PATIENCE: Duration = Duration::from_secs(60);
