//! The routes of `/v1/policy/…`.

use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::admin::api::{
    DiffReport, DiffRequest, ExplainRequest, Explanation, MAX_POLICIES, PolicyReport, RollbackReport, RollbackRequest,
    SentPolicies, VersionFiles, VersionRequest, VersionView,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};

pub(super) fn routes() -> Router<AdminState> {
    let with_files = Router::new()
        .route("/v1/policy/check", post(check))
        .route("/v1/policy/diff", post(diff))
        .layer(DefaultBodyLimit::max(MAX_POLICIES));
    Router::new()
        .route("/v1/policy/explain", post(explain))
        .route("/v1/policy/versions", get(versions))
        .route("/v1/policy/version", get(version))
        .route("/v1/policy/rollback", post(rollback))
        .merge(with_files)
}

async fn check(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(sent): Body<Option<SentPolicies>>,
) -> Answer<PolicyReport> {
    authorize(&operator, Verb::ReadPolicy, Target::Nobody)?;
    Ok(Json(state.control.policy_check(sent).await?))
}

async fn explain(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ExplainRequest>,
) -> Answer<Explanation> {
    authorize(&operator, Verb::ReadPolicy, Target::Nobody)?;
    Ok(Json(state.control.policy_explain(request).await?))
}

async fn versions(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
) -> Answer<Vec<VersionView>> {
    authorize(&operator, Verb::ReadPolicy, Target::Nobody)?;
    Ok(Json(state.control.policy_versions().await?))
}

async fn version(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<VersionRequest>,
) -> Answer<VersionFiles> {
    authorize(&operator, Verb::ReadPolicy, Target::Nobody)?;
    Ok(Json(state.control.policy_version(request.version).await?))
}

async fn diff(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<DiffRequest>,
) -> Answer<DiffReport> {
    authorize(&operator, Verb::ReadPolicy, Target::Nobody)?;
    Ok(Json(state.control.policy_diff(request).await?))
}

async fn rollback(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RollbackRequest>,
) -> Answer<RollbackReport> {
    authorize(&operator, Verb::ChangePolicy, Target::Nobody)?;
    let rolled_back = state.control.policy_rollback(request.version, operator.name);
    Ok(Json(rolled_back.await?))
}
