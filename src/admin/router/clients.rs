//! The routes of `/v1/clients` and `/v1/client…`.

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::admin::api::{ClientRef, ClientRow, ClientView, ForgetRequest, Forgotten, StrangerView, TestReport};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/clients", get(list))
        .route("/v1/clients/unknown", get(unknown))
        .route("/v1/client", get(show))
        .route("/v1/client/test", post(test))
        .route("/v1/client/forget", post(forget))
}

async fn list(State(state): State<AdminState>, Extension(operator): Extension<Operator>) -> Answer<Vec<ClientRow>> {
    authorize(&operator, Verb::ReadClients, Target::Nobody)?;
    Ok(Json(state.control.clients()))
}

async fn unknown(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
) -> Answer<Vec<StrangerView>> {
    authorize(&operator, Verb::ReadClients, Target::Nobody)?;
    Ok(Json(state.control.strangers()))
}

async fn show(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<ClientRef>,
) -> Answer<ClientView> {
    authorize(&operator, Verb::ReadClients, Target::Nobody)?;
    Ok(Json(state.control.client(&request.client)?))
}

async fn test(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ClientRef>,
) -> Answer<TestReport> {
    authorize(&operator, Verb::TestClient, Target::Nobody)?;
    Ok(Json(state.control.test_client(request.client).await?))
}

async fn forget(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ForgetRequest>,
) -> Answer<Forgotten> {
    authorize(&operator, Verb::ForgetClient, Target::Nobody)?;
    Ok(Json(state.control.forget_client(request, operator.name).await?))
}
