//! The routes of what helpdesk does to accounts, one or many, now or later.

mod bulk;
mod running;

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer, MAX_ROWS};
use crate::accounts::jobs::{Action, Named, Whom};
use crate::accounts::{AccountError, Actor, DenyWish, Relation, Subject, UnlockWish};
use crate::admin::WhichSessions;
use crate::admin::api::{
    ApiError, AskedReport, BulkRequest, ErrorKind, ForceRequest, Forced, GroupDenialView, GroupDenyReport,
    GroupDenyRequest, GroupUndenyRequest, JobRef, JobView, LoginView, PasswordReset, ScheduleRequest, ScheduledAction,
    SwitchReport, Switched, UnlockRequest, Unlocked, UnregisterRequest, Unregistered, UserRef,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize, judge};
use crate::audit::Filter;
use crate::clock;
use crate::engine::operator::account_of;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/user/unlock", post(unlock))
        .route("/v1/user/reset", post(reset))
        .route("/v1/user/must-change", post(must_change))
        .route("/v1/user/enable", post(enable))
        .route("/v1/user/unregister", post(unregister))
        .route("/v1/group/undeny", post(undeny_group))
        .route("/v1/group/denials", get(denied_groups))
        .route("/v1/schedule", get(jobs).post(schedule))
        .route("/v1/schedule/cancel", post(cancel))
        .route("/v1/job", get(job))
}

/// Those that wait for clients or for many people to be done with, longer than other requests may take.
pub(super) fn lasting() -> Router<AdminState> {
    Router::new()
        .route("/v1/user/disable", post(disable))
        .route("/v1/group/deny", post(deny_group))
        .route("/v1/users/must-change", post(bulk::must_change))
}

async fn unlock(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<UnlockRequest>,
) -> Answer<Unlocked> {
    let directory = request.directory.as_deref();
    if request.answers {
        state
            .person(&operator, Verb::DefineAnswers, &request.user, directory)
            .await?;
    }
    // Last, as it spends the request that it is done under.
    let subject = state.person(&operator, Verb::Unlock, &request.user, directory).await?;
    let both = !request.account && !request.profile && !request.answers;
    let wish = UnlockWish {
        profile: request.profile || both,
        account: request.account || both,
        answers: request.answers,
    };
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.unlock_all(&subject, wish, by).await?))
}

async fn reset(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<UserRef>,
) -> Answer<PasswordReset> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::ResetPassword, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.reset_password(&subject, by).await?))
}

async fn must_change(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ForceRequest>,
) -> Answer<Forced> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::ForceChange, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.force_change(&subject, !request.undo, by).await?))
}

async fn enable(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<UserRef>,
) -> Answer<Switched> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::EnableUser, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.switch_account(&subject, true, by).await?))
}

async fn disable(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<UserRef>,
) -> Answer<SwitchReport> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::DisableUser, &request.user, directory)
        .await?;
    Ok(Json(state.disable(&subject, &operator.name).await?))
}

async fn unregister(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<UnregisterRequest>,
) -> Answer<Unregistered> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::Unregister, &request.user, directory)
        .await?;
    if request.as_new {
        // It lets somebody enrol with the password alone: whoever may not help themselves to a token may not do this.
        state
            .person(&operator, Verb::EnrolToken, &request.user, directory)
            .await?;
    }
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.unregister(&subject, request.as_new, by).await?))
}

async fn deny_group(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<GroupDenyRequest>,
) -> Answer<GroupDenyReport> {
    authorize(&operator, Verb::DenyGroup, Target::Nobody)?;
    Ok(Json(state.deny_group(&request, &operator.name).await?))
}

async fn undeny_group(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<GroupUndenyRequest>,
) -> Answer<GroupDenialView> {
    authorize(&operator, Verb::LiftGroupDenial, Target::Nobody)?;
    let (reason, by) = (request.reason.unwrap_or_default(), Actor::now(&operator.name));
    let directory = request.directory.as_deref();
    let lifted = state.accounts.lift_group_denial(&request.group, directory, &reason, by);
    Ok(Json(lifted.await?))
}

async fn denied_groups(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
) -> Answer<Vec<GroupDenialView>> {
    authorize(&operator, Verb::ListDenials, Target::Nobody)?;
    // A group is in nobody's scope.
    if !operator.is_everywhere(Verb::ListDenials) {
        return Ok(Json(Vec::new()));
    }
    Ok(Json(state.accounts.denied_groups(clock::now())))
}

async fn jobs(State(state): State<AdminState>, Extension(operator): Extension<Operator>) -> Answer<Vec<JobView>> {
    authorize(&operator, Verb::ReadSchedule, Target::Nobody)?;
    let mut jobs = state.accounts.jobs().await?;
    jobs.retain(|job| state.is_job_for(&operator, Verb::ReadSchedule, job));
    let old = jobs.len().saturating_sub(MAX_ROWS);
    jobs.drain(..old);
    Ok(Json(jobs))
}

async fn job(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<JobRef>,
) -> Answer<JobView> {
    authorize(&operator, Verb::ReadSchedule, Target::Nobody)?;
    let job = state.accounts.job(request.job).await?;
    if !state.is_job_for(&operator, Verb::ReadSchedule, &job) {
        return Err(AccountError::NoSuchJob(request.job.to_string()).into());
    }
    Ok(Json(job))
}

async fn cancel(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<JobRef>,
) -> Answer<JobView> {
    authorize(&operator, Verb::ChangeSchedule, Target::Nobody)?;
    let job = state.accounts.job(request.job).await?;
    if !state.is_job_for(&operator, Verb::ChangeSchedule, &job) {
        return Err(AccountError::NoSuchJob(request.job.to_string()).into());
    }
    state.may_call_off(&operator, &job).await?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.cancel_job(request.job, by).await?))
}

/// Who may do it now may have it done later; whether they still may is asked again then.
async fn schedule(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ScheduleRequest>,
) -> Answer<JobView> {
    authorize(&operator, Verb::ChangeSchedule, Target::Nobody)?;
    let now = clock::now();
    if request.at <= now {
        return Err(ApiError::new(ErrorKind::Invalid, format!("{} is past", request.at)));
    }
    let until = match &request.action {
        ScheduledAction::Deny(deny) => deny.until,
        ScheduledAction::DenyGroup(deny) => deny.until,
        ScheduledAction::ForceChanges(_) | ScheduledAction::ForceChange(_) | ScheduledAction::Disable(_) => None,
    };
    if let Some(until) = until.filter(|&until| until <= request.at) {
        let error = format!("it would be over at {until}, before it begins");
        return Err(ApiError::new(ErrorKind::Invalid, error));
    }
    let action = match request.action {
        ScheduledAction::ForceChanges(bulk) => {
            authorize(&operator, Verb::ForceChanges, Target::Nobody)?;
            Action::ForceChanges(whom(bulk))
        }
        ScheduledAction::ForceChange(user) => {
            Action::ForceChange(state.named(&operator, Verb::ForceChange, &user).await?)
        }
        ScheduledAction::Disable(user) => Action::Disable(state.named(&operator, Verb::DisableUser, &user).await?),
        ScheduledAction::Deny(deny) => {
            let user = UserRef {
                user: deny.user,
                directory: deny.directory,
            };
            Action::Deny {
                whom: state.named(&operator, Verb::Deny, &user).await?,
                until: deny.until,
                reason: deny.reason,
            }
        }
        ScheduledAction::DenyGroup(deny) => {
            authorize(&operator, Verb::DenyGroup, Target::Nobody)?;
            Action::DenyGroup {
                group: deny.group,
                directory: deny.directory,
                until: deny.until,
                reason: deny.reason,
            }
        }
    };
    let by = Actor {
        name: &operator.name,
        now,
    };
    let job = state.accounts.schedule(action, request.at, operator.own, by).await?;
    Ok(Json(job))
}

fn whom(bulk: BulkRequest) -> Whom {
    Whom {
        directory: bulk.directory,
        filter: bulk.filter,
        group: bulk.group,
        enrolled: bulk.enrolled,
    }
}

impl AdminState {
    async fn named(&self, operator: &Operator, verb: Verb, user: &UserRef) -> Result<Named, ApiError> {
        let subject = self
            .person(operator, verb, &user.user, user.directory.as_deref())
            .await?;
        Ok(Named {
            user: subject.key,
            login: subject.login,
        })
    }

    /// Whether an operator may do this to one of many. The one place that is asked for each of them.
    async fn may_do_to(&self, operator: &Operator, verb: Verb, subject: &Subject) -> Result<(), ApiError> {
        match self.refusal(operator, verb, subject).await? {
            None => Ok(self.unapproved(verb, subject)?),
            Some(denied) => Err(denied),
        }
    }

    /// Whether an operator may see and change a job: their own, and with roles for everybody any.
    fn is_job_for(&self, operator: &Operator, verb: Verb, job: &JobView) -> bool {
        operator.is_everywhere(verb) || account_of(&job.by) == account_of(&operator.name)
    }

    /// Asks whether an operator may call a job off: their own, and of others what they may have done themselves.
    pub(in crate::admin) async fn may_call_off(&self, operator: &Operator, job: &JobView) -> Result<(), ApiError> {
        if operator.is_administrator() || account_of(&job.by) == account_of(&operator.name) {
            return Ok(());
        }
        let (verb, named) = match &job.action {
            Action::ForceChanges(_) => (Verb::ForceChanges, None),
            Action::ForceChange(named) => (Verb::ForceChange, Some(named)),
            Action::Disable(named) => (Verb::DisableUser, Some(named)),
            Action::Deny { whom, .. } => (Verb::Deny, Some(whom)),
            Action::DenyGroup { .. } => (Verb::DenyGroup, None),
        };
        judge(operator, verb, Target::Nobody)?;
        let Some(named) = named else { return Ok(()) };
        let directory = named.user.as_str().split_once(':').map(|(directory, _)| directory);
        let subject = self.accounts.resolve(&named.login, directory).await?;
        self.allow(operator, verb, &subject, Relation::Other).await
    }

    /// Switches an account off, and ends what its person has open.
    async fn disable(&self, subject: &Subject, operator: &str) -> Result<SwitchReport, ApiError> {
        let by = Actor::now(operator);
        let switched = self.accounts.switch_account(subject, false, by).await?;
        let (connections, sessions, not_asked) = self.expel(subject, operator).await;
        Ok(SwitchReport {
            switched,
            connections,
            sessions,
            not_asked,
        })
    }

    /// Ends what a person has open: how many LDAP connections, what became of sessions, or why nobody was asked.
    pub(super) async fn expel(&self, subject: &Subject, operator: &str) -> (usize, AskedReport, Option<String>) {
        let connections = self.control.expel(&subject.key);
        let which = WhichSessions::Of(subject.key.clone(), None);
        match self.control.end_sessions(which, operator.to_owned()).await {
            Ok(sessions) => (connections, sessions, None),
            Err(error) => (connections, AskedReport::default(), Some(error.error)),
        }
    }

    /// The denial stands from its commit on, whatever becomes of the rest.
    async fn deny_group(&self, request: &GroupDenyRequest, operator: &str) -> Result<GroupDenyReport, ApiError> {
        let wish = DenyWish {
            until: request.until,
            reason: request.reason.clone(),
        };
        let by = Actor::now(operator);
        let denied = self
            .accounts
            .deny_group(&request.group, request.directory.as_deref(), &wish, by);
        let (denied, denial) = denied.await?;
        let connections = self.control.expel_group(&denial).await;
        let ended = self.control.end_sessions_of_group(&denial, operator.to_owned());
        let (sessions, not_asked) = match ended.await {
            Ok(sessions) => (sessions, None),
            Err(error) => (AskedReport::default(), Some(error.error)),
        };
        Ok(GroupDenyReport {
            denied,
            connections,
            sessions,
            not_asked,
        })
    }

    /// The last logins of a person, as far as the audit gives them at once.
    pub(super) async fn logins(&self, subject: &Subject) -> Vec<LoginView> {
        let filter = Filter {
            people: vec![subject.key.to_string()],
            action: Some("login".into()),
            ..Filter::default()
        };
        let looked = tokio::time::timeout(AUDIT_TIME, self.audit.last(&filter, LOGINS)).await;
        let Ok(Ok(stretch)) = looked else {
            return Vec::new();
        };
        let views = stretch.records.into_iter().rev().map(|line| LoginView {
            at: line.at,
            outcome: line.outcome,
            reason: line.reason,
            client: line.client,
            source: line.source,
            factors: line.factors,
        });
        views.collect()
    }
}

/// Logins that are shown of a person.
const LOGINS: usize = 5;

/// How long the audit is looked at for them: somebody may not have logged in for years.
const AUDIT_TIME: std::time::Duration = std::time::Duration::from_millis(500);
