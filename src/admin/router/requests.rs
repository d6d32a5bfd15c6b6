//! The routes of `/v1/request…`.

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::approvals::Deed;
use super::{AdminState, Answer, MAX_ROWS};
use crate::accounts::{self, Actor, Ask, Wanted};
use crate::admin::api::{
    ApiError, ErrorKind, NewRequest, RefuseRequest, RequestRef, RequestReport, RequestView, RequestsRequest,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize, out_of_scope};
use crate::clock;
use crate::engine::approval::Action;
use crate::engine::operator::account_of;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/requests", get(list))
        .route("/v1/request", get(show))
        .route("/v1/request/new", post(ask))
        .route("/v1/request/approve", post(approve))
        .route("/v1/request/deny", post(deny))
        .route("/v1/request/cancel", post(cancel))
}

async fn list(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<RequestsRequest>,
) -> Answer<Vec<RequestView>> {
    authorize(&operator, Verb::ReadRequests, Target::Nobody)?;
    let wanted = Wanted {
        of: request.mine.then_some(account_of(&operator.name)),
        for_whom: request.for_me.then_some(account_of(&operator.name)),
        over: request.all,
        limit: request.limit.unwrap_or(MAX_ROWS).min(MAX_ROWS),
    };
    let requests = state.accounts.requests(wanted, clock::now()).await?;
    // Who asks, and who is asked, sees it whatever the scope.
    if request.mine || request.for_me {
        return Ok(Json(requests));
    }
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

/// Who may not do it at all, also not to this person, does not ask either.
async fn ask(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<NewRequest>,
) -> Answer<RequestView> {
    authorize(&operator, Verb::AskRequest, Target::Nobody)?;
    let Some(deed) = Action::parse(&request.action).and_then(Deed::called) else {
        let error = format!("`{}` is nothing that can be asked for", request.action);
        let askable = Action::ALL.into_iter().filter(|action| action.can_be_asked_for());
        let words: Vec<&str> = askable.map(Action::word).collect();
        let remedy = format!("there are {}", words.join(", "));
        return Err(ApiError::new(ErrorKind::Invalid, error).with_remedy(remedy));
    };
    let directory = request.directory.as_deref();
    let subject = state.permitted(&operator, deed.verb, &request.user, directory).await?;
    let ask = Ask {
        action: deed.action,
        reason: request.reason,
        parameters: deed.asked(&request.parameters)?,
    };
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.ask(&subject, &ask, by).await?))
}

async fn approve(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RefuseRequest>,
) -> Answer<RequestView> {
    let answer = accounts::Answer::Approve(request.reason.as_deref().unwrap_or_default());
    decide(&state, &operator, Verb::Approve, &request.id, answer).await
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

async fn cancel(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RefuseRequest>,
) -> Answer<RequestView> {
    authorize(&operator, Verb::AskRequest, Target::Nobody)?;
    let reason = request.reason.unwrap_or_default();
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.cancel_request(&request.id, &reason, by).await?))
}
