//! The routes of `/v1/report…`.

use axum::extract::{Extension, State};
use axum::routing::get;
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::admin::api::{ApiError, ErrorKind, Report, ReportKind, ReportRequest};
use crate::admin::extract::Params;
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::clock;
use crate::reports::{self, Question};

/// Reads of long audits take their time; the caller may go away, which ends them.
pub(super) fn routes() -> Router<AdminState> {
    Router::new().route("/v1/report", get(report))
}

async fn report(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<ReportRequest>,
) -> Answer<Report> {
    authorize(&operator, Verb::ReadReports, Target::Nobody)?;
    let ReportRequest {
        kind,
        since,
        until,
        by,
        directory,
        group,
    } = request;
    let invalid = |error: &str| Err(ApiError::new(ErrorKind::Invalid, error));
    if since.zip(until).is_some_and(|(since, until)| since >= until) {
        return invalid("`since` is not before `until`");
    }
    match kind {
        ReportKind::Enrolment if since.or(until).is_some() || by.is_some() => {
            invalid("enrolment is counted as it is now: it has no `since`, no `until` and no `by`")
        }
        ReportKind::Enrolment => {
            let census = match (directory, group) {
                (Some(directory), Some(group)) => {
                    let accounts = &state.accounts;
                    accounts.census_of_group(&directory, &group, clock::now()).await?
                }
                (None, Some(_)) => return invalid("`group` is one of a directory: say which, with `directory`"),
                (directory, None) => state.accounts.census(directory.as_deref(), clock::now()).await?,
            };
            Ok(Json(reports::enrolment(&census)))
        }
        ReportKind::Logins | ReportKind::Helpdesk | ReportKind::Factors if directory.is_some() || group.is_some() => {
            invalid("`directory` and `group` are for enrolment; for logins there is `by=directory`")
        }
        ReportKind::Logins | ReportKind::Helpdesk | ReportKind::Factors => {
            let question = Question { kind, since, until, by };
            Ok(Json(reports::count(&state.audit, &question).await?))
        }
    }
}
