//! The routes of `/v1/reuse…`.

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer, MAX_ROWS};
use crate::accounts::Actor;
use crate::admin::api::{ApiError, ClearReuseRequest, ErrorKind, ReuseCleared, ReuseList, ReuseRequest};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::engine::event::Outcome;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/reuse", get(list))
        .route("/v1/reuse/clear", post(clear))
}

async fn list(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<ReuseRequest>,
) -> Answer<ReuseList> {
    authorize(&operator, Verb::ReadReuse, Target::Nobody)?;
    let user = match &request.user {
        Some(user) => {
            let directory = request.directory.as_deref();
            Some(state.person(&operator, Verb::ReadReuse, user, directory).await?.key)
        }
        None => None,
    };
    let limit = request.limit.unwrap_or(MAX_ROWS).min(MAX_ROWS);
    let mut found = state.control.reused(user.as_ref(), limit);
    found.reused = state
        .only_in_scope(&operator, Verb::ReadReuse, found.reused, |reused| {
            Some(reused.user.as_str())
        })
        .await?;
    Ok(Json(found))
}

async fn clear(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ClearReuseRequest>,
) -> Answer<ReuseCleared> {
    authorize(&operator, Verb::ClearReuse, Target::Nobody)?;
    let subject = match (&request.user, request.all) {
        (Some(user), false) => {
            let directory = request.directory.as_deref();
            Some(state.person(&operator, Verb::ClearReuse, user, directory).await?)
        }
        (None, true) => {
            state.everybody(&operator, Verb::ClearReuse)?;
            None
        }
        (Some(_), true) | (None, false) => {
            let error = "either `user` or `all` says whose codes count no more";
            return Err(ApiError::new(ErrorKind::Invalid, error));
        }
    };
    let cleared = state.control.clear_reused(subject.as_ref().map(|subject| &subject.key));
    let whose = subject.as_ref().map_or("everybody", |subject| &subject.login);
    let (by, what) = (Actor::now(&operator.name), format!("{whose}: {cleared} cleared"));
    let word = Verb::ClearReuse.word();
    state
        .accounts
        .note(word, by, subject.as_ref(), Outcome::Accept, &what)
        .await?;
    Ok(Json(ReuseCleared { cleared }))
}
