//! The routes of `/v1/sessions` and `/v1/session`.

use axum::extract::{Extension, State};
use axum::routing::get;
use axum::{Json, Router};

use super::{AdminState, Answer, MAX_ROWS};
use crate::accounts::Relation;
use crate::admin::api::{ApiError, SessionList, SessionRef, SessionView, SessionsRequest};
use crate::admin::extract::Params;
use crate::admin::operator::{Operator, Target, Verb, authorize, out_of_scope};

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
    let mut found = state.control.sessions(user, request.client, limit).await?;
    found.sessions = state
        .only_in_scope(&operator, Verb::ReadSessions, found.sessions, |session| {
            session.user.as_deref()
        })
        .await?;
    Ok(Json(found))
}

async fn show(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<SessionRef>,
) -> Answer<SessionView> {
    authorize(&operator, Verb::ReadSessions, Target::Nobody)?;
    let found = state.session_of(&operator, Verb::ReadSessions, request.session).await?;
    Ok(Json(found))
}

impl AdminState {
    /// An open session, of somebody to whom the operator may do that.
    pub(super) async fn session_of(
        &self,
        operator: &Operator,
        verb: Verb,
        session: String,
    ) -> Result<SessionView, ApiError> {
        let everywhere = operator.is_everywhere(verb) && !verb.manner().asks_rank(operator);
        let found = match self.control.session(session).await {
            Err(_) if !everywhere => return Err(out_of_scope(operator)),
            found => found?,
        };
        if everywhere {
            return Ok(found);
        }
        match &found.user {
            Some(key) => {
                let subject = self.accounts.person_of_key(key).await?;
                self.allow(operator, verb, &subject, Relation::Other).await?;
                Ok(found)
            }
            None => Err(out_of_scope(operator)),
        }
    }
}
