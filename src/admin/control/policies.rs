//! Policies: checking, explaining, comparing, replaying, keeping and taking back.

use crate::admin::api::{
    ApiError, DiffReport, DiffRequest, ExplainRequest, Explanation, PolicyReport, RollbackReport, SentPolicies,
    VersionFiles, VersionView,
};
use crate::engine::BoxFuture;

/// Policies: checking, explaining, comparing, replaying, keeping and taking back.
pub trait PolicyTools: Send + Sync {
    /// Checks policies without taking them: those on disk, or those that are given.
    fn policy_check(&self, sent: Option<SentPolicies>) -> BoxFuture<'_, Result<PolicyReport, ApiError>>;

    /// Decides a login that nobody makes, and says why.
    fn policy_explain(&self, request: ExplainRequest) -> BoxFuture<'_, Result<Explanation, ApiError>>;

    /// The versions that are kept, the newest first.
    fn policy_versions(&self) -> BoxFuture<'_, Result<Vec<VersionView>, ApiError>>;

    /// One of them with its files.
    fn policy_version(&self, number: u64) -> BoxFuture<'_, Result<VersionFiles, ApiError>>;

    /// What tells two sets of policies apart.
    fn policy_diff(&self, request: DiffRequest) -> BoxFuture<'_, Result<DiffReport, ApiError>>;

    /// Puts a version back into the folder and in force, for an operator of that name, who is audited.
    fn policy_rollback(&self, number: u64, by: String) -> BoxFuture<'_, Result<RollbackReport, ApiError>>;
}
