//! The routes of `/v1/sessions` and `/v1/session`.

use axum::extract::{Extension, State};
use axum::routing::get;
use axum::{Json, Router};

use super::{AdminState, Answer, MAX_ROWS};
use crate::admin::api::{SessionList, SessionRef, SessionView, SessionsRequest};
use crate::admin::extract::Params;
use crate::admin::operator::{Operator, Target, Verb, authorize};

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/sessions", get(list))
        .route("/v1/session", get(show))
}

async fn list(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<SessionsRequest>,
) -> Answer<SessionList> {
    authorize(&operator, Verb::ReadSessions, Target::Nobody)?;
    let user = match &request.user {
        Some(user) => {
            let directory = request.directory.as_deref();
            Some(state.person(&operator, Verb::ReadSessions, user, directory).await?.key)
        }
        None => None,
    };
    let limit = request.limit.unwrap_or(MAX_ROWS).min(MAX_ROWS);
    Ok(Json(state.control.sessions(user, request.client, limit).await?))
}

async fn show(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<SessionRef>,
) -> Answer<SessionView> {
    authorize(&operator, Verb::ReadSessions, Target::Nobody)?;
    Ok(Json(state.control.session(request.session).await?))
}
