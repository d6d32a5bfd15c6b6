//! The routes of `/v1/policy/…`.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Extension, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::mpsc;

use super::lines::answer;
use super::{AdminState, Answer};
use crate::admin::api::{
    ApiError, DiffReport, DiffRequest, ErrorKind, ExplainRequest, Explanation, MAX_POLICIES, PolicyReport, ReplayLine,
    ReplayRequest, RollbackReport, RollbackRequest, SentPolicies, VersionFiles, VersionRequest, VersionView,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};

pub(super) fn routes() -> Router<AdminState> {
    let with_files = Router::new()
        .route("/v1/policy/check", post(check))
        .route("/v1/policy/diff", post(diff))
        .route("/v1/policy/replay", post(replay))
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

/// Answers with lines of JSON as they come.
async fn replay(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ReplayRequest>,
) -> Result<Response, ApiError> {
    authorize(&operator, Verb::ReadPolicy, Target::Nobody)?;
    authorize(&operator, Verb::ReadAudit, Target::Nobody)?;
    let (sender, mut lines) = mpsc::channel(4);
    let (control, audit) = (Arc::clone(&state.control), Arc::clone(&state.audit));
    tokio::spawn(async move { control.policy_replay(request, audit, sender).await });
    match lines.recv().await {
        Some(ReplayLine::Error(error)) => Err(error),
        Some(first) => Ok(answer(Some(first), lines)),
        None => Err(ApiError::new(ErrorKind::Internal, "the replay ended without a word")),
    }
}
