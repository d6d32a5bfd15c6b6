//! The routes of `/v1/passcode…`.

use std::time::Duration;

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer, MAX_ROWS};
use crate::accounts::{Actor, PasscodeWish};
use crate::admin::api::{
    IssueRequest, Issued, PasscodeView, PasscodesRequest, ReleaseRequest, Released, RevokePasscodeRequest,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::clock;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/passcodes", get(list))
        .route("/v1/passcode/issue", post(issue))
        .route("/v1/passcode/release", post(release))
        .route("/v1/passcode/revoke", post(revoke))
}

async fn list(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<PasscodesRequest>,
) -> Answer<Vec<PasscodeView>> {
    authorize(&operator, Verb::ListPasscodes, Target::Nobody)?;
    let subject = match &request.user {
        Some(user) => {
            let directory = request.directory.as_deref();
            Some(state.person(&operator, Verb::ListPasscodes, user, directory).await?)
        }
        None => None,
    };
    let now = clock::now();
    let passcodes = state.accounts.passcodes(subject.as_ref(), MAX_ROWS, now).await?;
    let passcodes = state.only_in_scope(&operator, Verb::ListPasscodes, passcodes, |passcode| {
        Some(passcode.user.as_str())
    });
    Ok(Json(passcodes.await?))
}

async fn issue(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<IssueRequest>,
) -> Answer<Issued> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::IssuePasscode, &request.user, directory)
        .await?;
    let wish = PasscodeWish {
        life: request
            .minutes
            .map(|minutes| Duration::from_secs(u64::from(minutes) * 60)),
        chap: request.chap,
        replaces_factor: request.replaces_factor,
    };
    let by = Actor::now(&operator.name);
    Ok(Json(state.accounts.issue_passcode(&subject, wish, by).await?))
}

async fn release(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ReleaseRequest>,
) -> Answer<Released> {
    authorize(&operator, Verb::ReleasePasscode, Target::Nobody)?;
    let by = Actor::now(&operator.name);
    let (subject, relation) = state.accounts.find_passcode(&request.id, by).await?;
    state
        .allow(&operator, Verb::ReleasePasscode, &subject, relation)
        .await?;
    Ok(Json(state.accounts.release_passcode(&subject, &request.id, by).await?))
}

async fn revoke(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RevokePasscodeRequest>,
) -> Answer<PasscodeView> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::RevokePasscode, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    let revoked = state
        .accounts
        .revoke_passcode(&subject, request.id.as_deref(), by)
        .await?;
    Ok(Json(revoked))
}
