//! The routes of `/v1/backup…` and `/v1/token/import`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

use super::{AdminState, Answer, tokens};
use crate::accounts::{Actor, Imported, TokenImport};
use crate::admin::api::{ApiError, BackupRequest, ErrorKind, ImportToken, ImportTokensRequest, ImportedToken};
use crate::admin::extract::Body;
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::engine::event::Outcome;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/backup", post(backup))
        .route("/v1/token/import", post(import))
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

async fn import(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ImportTokensRequest>,
) -> Answer<Vec<ImportedToken>> {
    authorize(&operator, Verb::ImportTokens, Target::Nobody)?;
    if request.tokens.len() > ImportTokensRequest::MOST {
        let error = format!("at most {} tokens at once", ImportTokensRequest::MOST);
        return Err(ApiError::new(ErrorKind::Invalid, error));
    }
    let mut imported = Vec::with_capacity(request.tokens.len());
    for token in request.tokens {
        let user = token.token.user.clone();
        let mut told = ImportedToken {
            user,
            token: None,
            known: false,
            error: None,
        };
        match state.import_one(&operator, token, request.dry_run).await {
            Ok(Imported::Enrolled(token)) => told.token = Some(*token),
            Ok(Imported::Known) => told.known = true,
            Ok(Imported::Sound) => {}
            // What concerns more than this token ends it: nothing that follows would be done.
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Internal) => return Err(error),
            Err(error) => told.error = Some(error.error),
        }
        imported.push(told);
    }
    Ok(Json(imported))
}

impl AdminState {
    async fn import_one(&self, operator: &Operator, given: ImportToken, dry_run: bool) -> Result<Imported, ApiError> {
        let (user, directory) = (&given.token.user, given.token.directory.as_deref());
        let subject = self.person(operator, Verb::EnrolToken, user, directory).await?;
        let import = TokenImport {
            wish: tokens::wish(given.token)?,
            drift: given.drift,
            disabled: given.disabled,
        };
        let by = Actor::now(&operator.name);
        Ok(self.accounts.import_token(&subject, &import, dry_run, by).await?)
    }
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
