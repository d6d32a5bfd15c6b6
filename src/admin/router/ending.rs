//! The routes of `/v1/session/end`, `/v1/session/refresh` and `/v1/user/deny…`.
//!
//! They wait for clients to answer, longer than other requests may take. What has begun goes on when the
//! caller goes away.

use axum::extract::{Extension, State};
use axum::routing::post;
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::accounts::{Actor, DenyWish};
use crate::admin::WhichSessions;
use crate::admin::api::{ApiError, AskedReport, DenyReport, DenyRequest, EndRequest, ErrorKind, RefreshRequest};
use crate::admin::extract::Body;
use crate::admin::operator::{Operator, Target, Verb, authorize};

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/user/deny", post(deny))
        .route("/v1/session/end", post(end))
        .route("/v1/session/refresh", post(refresh))
}

/// The denial stands from its commit on, whatever becomes of the rest.
async fn deny(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<DenyRequest>,
) -> Answer<DenyReport> {
    let subject = state
        .person(&operator, Verb::Deny, &request.user, request.directory.as_deref())
        .await?;
    let wish = DenyWish {
        until: request.until,
        reason: request.reason,
    };
    let by = Actor::now(&operator.name);
    let denied = state.accounts.deny(&subject, &wish, by).await?;
    let (connections, sessions, not_asked) = state.expel(&subject, &operator.name).await;
    Ok(Json(DenyReport {
        denied,
        connections,
        sessions,
        not_asked,
    }))
}

async fn end(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<EndRequest>,
) -> Answer<AskedReport> {
    authorize(&operator, Verb::EndSessions, Target::Nobody)?;
    let which = match (&request.user, request.session) {
        (Some(user), None) => {
            let directory = request.directory.as_deref();
            let subject = state.person(&operator, Verb::EndSessions, user, directory).await?;
            WhichSessions::Of(subject.key, request.client)
        }
        (None, Some(session)) => {
            if operator.is_administrator() {
                WhichSessions::Called(session, request.client)
            } else {
                // Whose it is, is asked first; the name that it then has is its own.
                let found = state.session_of(&operator, Verb::EndSessions, session).await?;
                WhichSessions::Called(found.name, request.client)
            }
        }
        (Some(_), Some(_)) | (None, None) => {
            let error = "either `user` or `session` says which sessions are to end";
            return Err(ApiError::new(ErrorKind::Invalid, error));
        }
    };
    Ok(Json(state.control.end_sessions(which, operator.name).await?))
}

async fn refresh(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RefreshRequest>,
) -> Answer<AskedReport> {
    authorize(&operator, Verb::EndSessions, Target::Nobody)?;
    let user = match &request.user {
        Some(user) => {
            let directory = request.directory.as_deref();
            let subject = state.person(&operator, Verb::EndSessions, user, directory).await?;
            Some(subject.key)
        }
        None => {
            state.everybody(&operator, Verb::EndSessions)?;
            None
        }
    };
    let refreshed = state.control.refresh_sessions(user, request.client, operator.name);
    Ok(Json(refreshed.await?))
}
