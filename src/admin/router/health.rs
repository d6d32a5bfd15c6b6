//! The routes of `/v1/test…`.

use axum::extract::{Extension, State};
use axum::routing::post;
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::admin::api::{PartsTested, TestRequest};
use crate::admin::extract::Body;
use crate::admin::operator::{Operator, Target, Verb, authorize};

pub(super) fn routes() -> Router<AdminState> {
    Router::new().route("/v1/test", post(test))
}

async fn test(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<TestRequest>,
) -> Answer<PartsTested> {
    authorize(&operator, Verb::TestPart, Target::Nobody)?;
    Ok(Json(state.control.test_parts(request.name).await?))
}
