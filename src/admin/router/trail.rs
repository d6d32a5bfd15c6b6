//! The routes of `/v1/audit…`.

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer, MAX_ROWS};
use crate::accounts::AccountError;
use crate::admin::api::{
    ApiError, AuditOrder, AuditRequest, Checkpoint, CheckpointView, ErrorKind, Head, PruneReport, PruneRequest,
    Stretch, Verification, VerifyRequest,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::audit::{By, Demands, Filter, Order, Pruned, Retention};
use crate::clock;

pub(super) fn routes() -> Router<AdminState> {
    Router::new().route("/v1/audit", get(read))
}

/// Routes that take their time with a long audit; the caller may go away, which ends them.
pub(super) fn long() -> Router<AdminState> {
    Router::new()
        .route("/v1/audit/verify", get(verify))
        .route("/v1/audit/checkpoint", get(checkpoint))
        .route("/v1/audit/prune", post(prune))
}

async fn read(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<AuditRequest>,
) -> Answer<Stretch> {
    authorize(&operator, Verb::ReadAudit, Target::Nobody)?;
    let source = match request.source.as_deref().map(AuditRequest::network) {
        Some(None) => {
            let error = ApiError::new(ErrorKind::Invalid, "`source` is neither an address nor a network");
            return Err(error.with_remedy("give 192.0.2.7, or 192.0.2.0/24"));
        }
        Some(network) => network,
        None => None,
    };
    let filter = Filter {
        since: request.since,
        until: request.until,
        people: match request.user {
            Some(user) => state.names_of(user).await?,
            None => Vec::new(),
        },
        actor: request.actor,
        action: request.action,
        outcome: request.outcome,
        client: request.client,
        rule: request.rule,
        source,
        via: request.via,
        text: request.text,
    };
    let order = match request.order {
        Some(AuditOrder::Newest) => Order::NewestFirst,
        Some(AuditOrder::Oldest) | None => Order::OldestFirst,
    };
    let stretch = match (request.last, request.from) {
        (Some(_), Some(_)) => {
            let error = "`from` and `last` do not go together";
            return Err(ApiError::new(ErrorKind::Invalid, error));
        }
        (Some(last), None) => state.audit.last(&filter, last.min(MAX_ROWS)).await?,
        (None, from) => {
            let limit = request.limit.unwrap_or(MAX_ROWS).clamp(1, MAX_ROWS);
            state.audit.find(&filter, order, from, limit).await?
        }
    };
    Ok(Json(stretch))
}

impl AdminState {
    /// What a person is called in the audit: the name as given, and the key, where it can be found.
    async fn names_of(&self, user: String) -> Result<Vec<String>, ApiError> {
        match self.accounts.resolve(&user, None).await {
            Ok(subject) => Ok(vec![user, subject.login, subject.key.to_string()]),
            // The name alone still finds their logins, also while a directory is down.
            Err(AccountError::NoSuchUser(_) | AccountError::Ambiguous(..) | AccountError::DirectoryUnavailable(..)) => {
                Ok(vec![user])
            }
            Err(error) => Err(error.into()),
        }
    }
}

async fn verify(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<VerifyRequest>,
) -> Answer<Verification> {
    authorize(&operator, Verb::ReadAudit, Target::Nobody)?;
    let invalid = |what: &str, remedy: &str| ApiError::new(ErrorKind::Invalid, what).with_remedy(remedy);
    let mut demands = Demands::default();
    if let Some(noted) = &request.noted {
        let remedy = "give what an earlier `portcullis audit verify` printed";
        let head = Head::parse(noted);
        demands
            .heads
            .push(head.ok_or_else(|| invalid("the noted head is not `sequence:link`", remedy))?);
    }
    if let Some(noted) = &request.checkpoint {
        let remedy = "give what an earlier `portcullis audit checkpoint` printed";
        let checkpoint = Checkpoint::parse(noted);
        demands
            .checkpoints
            .push(checkpoint.ok_or_else(|| invalid("that is no checkpoint", remedy))?);
    }
    Ok(Json(state.audit.verify_with(demands).await?))
}

async fn checkpoint(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
) -> Answer<CheckpointView> {
    authorize(&operator, Verb::ReadAudit, Target::Nobody)?;
    let checkpoint = state.audit.checkpoint(clock::now()).await?;
    Ok(Json(CheckpointView {
        checkpoint: checkpoint.map(|checkpoint| checkpoint.to_string()),
        public_key: state.audit.public_key().to_string(),
    }))
}

async fn prune(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<PruneRequest>,
) -> Answer<PruneReport> {
    authorize(&operator, Verb::PruneAudit, Target::Nobody)?;
    let now = clock::now();
    if request.before > now {
        let error = ApiError::new(ErrorKind::Invalid, "`before` lies in the future");
        return Err(error.with_remedy("give a moment in the past"));
    }
    let keep = Retention {
        since: request.before,
        records: 0,
    };
    let pruned = if request.dry_run {
        state.audit.prunable(&keep)
    } else {
        let by = By {
            actor: &operator.name,
            via: "admin",
            now,
        };
        state.audit.prune(&keep, by).await?
    };
    Ok(Json(pruned.map_or_else(PruneReport::default, report)))
}

fn report(pruned: Pruned) -> PruneReport {
    PruneReport {
        records: pruned.last + 1 - pruned.first,
        last: pruned.last,
        latest: Some(pruned.latest),
    }
}
