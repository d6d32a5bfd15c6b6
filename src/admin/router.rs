//! The routes of `/v1/…` and `/metrics`.

mod answers;
mod approvals;
mod clients;
mod delegations;
mod delivery;
mod ending;
mod health;
mod helpdesk;
mod identity;
mod keys;
mod lines;
mod operators;
mod passcodes;
mod policies;
mod reports;
mod requests;
mod reuse;
mod sessions;
mod standing;
mod tokens;
mod trail;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Extension, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::Control;
use super::api::{
    ApiError, DenyView, EnrolRequest, Enrolled, ErrorKind, FindRequest, Found, MAX_REQUEST, RecoveryCodes,
    ReloadReport, ResyncRequest, Resynced, StatusReport, StatusRequest, TokenRef, TokenView, UndenyRequest, UserRef,
    UserView,
};
use super::extract::{Body, Params};
use super::guesses::Guesses;
use super::operator::{Caller, Operator, Target, Verb, authorize};
use crate::accounts::{Accounts, Actor, Subject, Which};
use crate::audit::Audit;
use crate::clock;
use crate::engine::event::Outcome;
use crate::metrics::Metrics;

/// Everything the routes need. Cloning shares it.
#[derive(Clone)]
pub struct AdminState {
    /// People's records.
    pub accounts: Arc<Accounts>,
    /// The audit.
    pub audit: Arc<Audit>,
    /// Counters.
    pub metrics: Metrics,
    /// The process.
    pub control: Arc<dyn Control>,
    /// Wrong API tokens.
    pub guesses: Arc<Guesses>,
}

/// The routes, for one connection's caller.
pub fn router(state: AdminState, caller: Caller) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/reload", post(reload))
        .route("/v1/users", get(find_users))
        .route("/v1/user", get(show_user))
        .route("/v1/user/undeny", post(undeny))
        .route("/v1/denials", get(denials))
        .route("/v1/tokens", get(tokens))
        .route("/v1/token/enrol", post(enrol))
        .route("/v1/token/revoke", post(revoke_token))
        .route("/v1/token/enable", post(enable_token))
        .route("/v1/token/disable", post(disable_token))
        .route("/v1/token/resync", post(resync))
        .route("/v1/recovery-codes/new", post(new_recovery_codes))
        .merge(answers::routes())
        .merge(clients::routes())
        .merge(delivery::routes())
        .merge(passcodes::routes())
        .merge(requests::routes())
        .merge(keys::routes())
        .merge(reuse::routes())
        .merge(sessions::routes())
        .merge(policies::routes())
        .merge(operators::routes())
        .merge(helpdesk::routes())
        .merge(health::routes())
        .merge(trail::routes())
        .merge(upkeep::routes())
        .merge(delegations::routes())
        .merge(tokens::routes())
        .layer(middleware::from_fn(in_time))
        .merge(ending::routes())
        .merge(trail::long())
        .merge(reports::routes())
        .merge(helpdesk::lasting())
        .route("/metrics", get(metrics))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(approvals::listen))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .layer(middleware::from_fn_with_state(
            (state.clone(), caller),
            identity::identify,
        ))
        .with_state(state)
}

/// How long a request may take.
const REQUEST_TIME: Duration = Duration::from_secs(60);

/// Most rows of a search.
const MAX_ROWS: usize = 1000;

type Answer<T> = Result<Json<T>, ApiError>;

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIME, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let secs = REQUEST_TIME.as_secs();
            ApiError::new(ErrorKind::Unavailable, format!("not done within {secs} seconds"))
                .with_remedy("see `portcullis status` for what is slow")
                .into_response()
        }
    }
}

async fn nowhere(request: Request) -> ApiError {
    ApiError::new(
        ErrorKind::NotFound,
        format!("there is nothing at {}", request.uri().path()),
    )
    .with_remedy("docs/cli.md lists the requests")
}

async fn wrong_method(request: Request) -> Response {
    let error = ApiError::new(
        ErrorKind::Invalid,
        format!("{} does not take {}", request.uri().path(), request.method()),
    );
    let body = Json(error.with_remedy("reading is GET, changing is POST"));
    (axum::http::StatusCode::METHOD_NOT_ALLOWED, body).into_response()
}

async fn status(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<StatusRequest>,
) -> Answer<StatusReport> {
    authorize(&operator, Verb::Status, Target::Nobody)?;
    Ok(Json(state.control.status(request.probe).await))
}

async fn metrics(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
) -> Result<Response, ApiError> {
    authorize(&operator, Verb::Status, Target::Nobody)?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, kind)], state.metrics.render()).into_response())
}

async fn reload(State(state): State<AdminState>, Extension(operator): Extension<Operator>) -> Answer<ReloadReport> {
    authorize(&operator, Verb::Reload, Target::Nobody)?;
    let reloaded = state.control.reload(operator.name.clone()).await;
    let (outcome, what) = match &reloaded {
        Ok(report) => (Outcome::Accept, report.summary()),
        Err(error) => (Outcome::Reject, error.error.clone()),
    };
    let by = Actor::now(&operator.name);
    state.accounts.note("reload", by, None, outcome, &what).await?;
    reloaded.map(Json)
}

async fn find_users(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<FindRequest>,
) -> Answer<Found> {
    authorize(&operator, Verb::FindUsers, Target::Nobody)?;
    let limit = request.limit.unwrap_or(50).min(MAX_ROWS);
    let directory = request.directory.as_deref();
    if operator.is_everywhere(Verb::FindUsers) {
        return Ok(Json(state.accounts.find(&request.text, directory, limit).await?));
    }
    // How many there are outside of the scope is not told either.
    let mut found = state.accounts.find(&request.text, directory, MAX_ROWS).await?;
    found.users = state
        .only_in_scope(&operator, Verb::FindUsers, found.users, |row| Some(row.key.as_str()))
        .await?;
    found.more = found.users.len() > limit;
    found.users.truncate(limit);
    found.unavailable.clear();
    Ok(Json(found))
}

async fn show_user(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<UserRef>,
) -> Answer<UserView> {
    let subject = state
        .person(&operator, Verb::ShowUser, &request.user, request.directory.as_deref())
        .await?;
    let (view, logins) = tokio::join!(state.accounts.show(&subject, clock::now()), state.logins(&subject));
    Ok(Json(UserView { logins, ..view? }))
}

async fn undeny(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<UndenyRequest>,
) -> Answer<DenyView> {
    let subject = state
        .person(&operator, Verb::LiftDenial, &request.user, request.directory.as_deref())
        .await?;
    let (reason, by) = (request.reason.unwrap_or_default(), Actor::now(&operator.name));
    Ok(Json(state.accounts.lift_denial(&subject, &reason, by).await?))
}

async fn denials(State(state): State<AdminState>, Extension(operator): Extension<Operator>) -> Answer<Vec<DenyView>> {
    authorize(&operator, Verb::ListDenials, Target::Nobody)?;
    let denials = state.accounts.denials(MAX_ROWS, clock::now()).await?;
    let denials = state.only_in_scope(&operator, Verb::ListDenials, denials, |denial| {
        Some(denial.user.as_str())
    });
    Ok(Json(denials.await?))
}

async fn tokens(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<UserRef>,
) -> Answer<Vec<TokenView>> {
    let subject = state
        .person(&operator, Verb::ShowUser, &request.user, request.directory.as_deref())
        .await?;
    Ok(Json(state.accounts.show(&subject, clock::now()).await?.tokens))
}

async fn enrol(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<EnrolRequest>,
) -> Answer<Enrolled> {
    let subject = state
        .person(&operator, Verb::EnrolToken, &request.user, request.directory.as_deref())
        .await?;
    let wish = tokens::wish(request)?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.enrol(&subject, &wish, by).await?))
}

async fn revoke_token(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<TokenRef>,
) -> Answer<TokenView> {
    let (subject, which) = state.token(&operator, Verb::ChangeToken, &request).await?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.revoke_token(&subject, &which, by).await?))
}

async fn enable_token(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<TokenRef>,
) -> Answer<TokenView> {
    let (subject, which) = state.token(&operator, Verb::EnableToken, &request).await?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.switch_token(&subject, &which, true, by).await?))
}

async fn disable_token(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<TokenRef>,
) -> Answer<TokenView> {
    let (subject, which) = state.token(&operator, Verb::ChangeToken, &request).await?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.switch_token(&subject, &which, false, by).await?))
}

impl AdminState {
    async fn token(&self, operator: &Operator, verb: Verb, request: &TokenRef) -> Result<(Subject, Which), ApiError> {
        let subject = self
            .person(operator, verb, &request.user, request.directory.as_deref())
            .await?;
        Ok((subject, Which::parse(&request.token)))
    }
}

async fn resync(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ResyncRequest>,
) -> Answer<Resynced> {
    let subject = state
        .person(
            &operator,
            Verb::ResyncToken,
            &request.user,
            request.directory.as_deref(),
        )
        .await?;
    let which = Which::parse(&request.token);
    let codes = (&request.first, &request.second);
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.resync(&subject, &which, codes, by).await?))
}

async fn new_recovery_codes(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<UserRef>,
) -> Answer<RecoveryCodes> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::NewRecoveryCodes, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.new_recovery_codes(&subject, by).await?))
}
