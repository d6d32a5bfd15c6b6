//! The routes of `/v1/request…`.

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer, MAX_ROWS};
use crate::accounts::{self, Actor};
use crate::admin::api::{RefuseRequest, RequestRef, RequestReport, RequestView, RequestsRequest};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize, out_of_scope};
use crate::clock;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/requests", get(list))
        .route("/v1/request", get(show))
        .route("/v1/request/approve", post(approve))
        .route("/v1/request/deny", post(deny))
}

async fn list(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<RequestsRequest>,
) -> Answer<Vec<RequestView>> {
    authorize(&operator, Verb::ReadRequests, Target::Nobody)?;
    let limit = request.limit.unwrap_or(MAX_ROWS).min(MAX_ROWS);
    let requests = state.accounts.requests(limit, clock::now()).await?;
    let requests = state.only_in_scope(&operator, Verb::ReadRequests, requests, |request| {
        Some(request.user.as_str())
    });
    Ok(Json(requests.await?))
}

async fn show(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<RequestRef>,
) -> Answer<RequestReport> {
    authorize(&operator, Verb::ReadRequests, Target::Nobody)?;
    let (request, approvers) = state.accounts.request(&request.id, clock::now()).await?;
    if !operator.is_everywhere(Verb::ReadRequests)
        && !state.may_see(&operator, Verb::ReadRequests, &request.user).await?
    {
        return Err(out_of_scope(&operator));
    }
    Ok(Json(RequestReport { request, approvers }))
}

async fn approve(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RequestRef>,
) -> Answer<RequestView> {
    decide(&state, &operator, Verb::Approve, &request.id, accounts::Answer::Approve).await
}

async fn deny(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RefuseRequest>,
) -> Answer<RequestView> {
    let answer = accounts::Answer::Deny(request.reason.as_deref().unwrap_or_default());
    decide(&state, &operator, Verb::DenyRequest, &request.id, answer).await
}

async fn decide(
    state: &AdminState,
    operator: &Operator,
    verb: Verb,
    id: &str,
    answer: accounts::Answer<'_>,
) -> Answer<RequestView> {
    authorize(operator, verb, Target::Nobody)?;
    let by = Actor::now(&operator.name);
    let (subject, relation) = state.accounts.find_request(id, by).await?;
    state.allow(operator, verb, &subject, relation).await?;
    Ok(Json(state.accounts.decide_request(&subject, id, answer, by).await?))
}
