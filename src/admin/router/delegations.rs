//! The routes of `/v1/delegation…`.

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::accounts::{Actor, DelegationWish};
use crate::admin::api::{ApiError, DelegateRequest, DelegationRef, DelegationView, DelegationsRequest, ErrorKind};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::clock;
use crate::engine::approval::Scope;
use crate::engine::operator::account_of;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/delegations", get(list))
        .route("/v1/delegation/add", post(add))
        .route("/v1/delegation/end", post(end))
}

async fn list(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<DelegationsRequest>,
) -> Answer<Vec<DelegationView>> {
    authorize(&operator, Verb::ReadDelegations, Target::Nobody)?;
    let of = request.mine.then_some(account_of(&operator.name));
    Ok(Json(state.accounts.delegations(of, clock::now()).await?))
}

async fn add(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<DelegateRequest>,
) -> Answer<DelegationView> {
    authorize(&operator, Verb::Delegate, Target::Nobody)?;
    let scope = Scope::parse(request.scope.iter().map(String::as_str))
        .map_err(|error| ApiError::new(ErrorKind::Invalid, error))?;
    let wish = DelegationWish {
        to: request.to,
        scope,
        until: request.until,
        reason: request.reason,
    };
    Ok(Json(state.accounts.delegate(&wish, Actor::now(&operator.name)).await?))
}

async fn end(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<DelegationRef>,
) -> Answer<DelegationView> {
    authorize(&operator, Verb::EndDelegation, Target::Nobody)?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.end_delegation(&request.id, by).await?))
}
