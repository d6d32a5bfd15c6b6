//! The routes of `/v1/backup…`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use super::AdminState;
use crate::accounts::Actor;
use crate::admin::api::{ApiError, BackupRequest};
use crate::admin::extract::Body;
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::engine::event::Outcome;

pub(super) fn routes() -> Router<AdminState> {
    Router::new().route("/v1/backup", post(backup))
}

/// In the audit before the first octet leaves.
async fn backup(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(BackupRequest {}): Body<BackupRequest>,
) -> Result<Response, ApiError> {
    authorize(&operator, Verb::Backup, Target::Nobody)?;
    let backup = state.control.backup().await?;
    let what = format!(
        "at revision {}, with the audit up to record {}",
        backup.revision, backup.audit_sequence
    );
    let (word, by) = (Verb::Backup.word(), Actor::now(&operator.name));
    state.accounts.note(word, by, None, Outcome::Accept, &what).await?;
    let body = axum::body::Body::new(Pieces(backup.pieces));
    Ok(([(CONTENT_TYPE, "application/octet-stream")], body).into_response())
}

/// Octets that come piece by piece.
struct Pieces(mpsc::Receiver<io::Result<Vec<u8>>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = self.0.poll_recv(context);
        piece.map(|piece| piece.map(|octets| octets.map(|octets| Frame::data(octets.into()))))
    }
}
