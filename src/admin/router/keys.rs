//! The routes of `/v1/token/…-yubico` and `/v1/offline…`.

use axum::extract::{Extension, State};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::accounts::{Actor, Holders, KeyWish};
use crate::admin::api::{
    ApiError, EnrolKeyRequest, ErrorKind, ImportKeysRequest, ImportedKey, MachineRef, OfflineEnrolled, OfflineResponse,
    RespondRequest, TokenView, UserRef,
};
use crate::admin::extract::{Body, Params};
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::clock;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
        .route("/v1/token/enrol-yubico", post(enrol_key))
        .route("/v1/token/import-yubico", post(import_keys))
        .route("/v1/offline", get(machines))
        .route("/v1/offline/enrol", post(enrol_machine))
        .route("/v1/offline/revoke", post(revoke_machine))
        .route("/v1/offline/respond", post(respond))
}

async fn enrol_key(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<EnrolKeyRequest>,
) -> Answer<TokenView> {
    authorize(&operator, Verb::EnrolToken, Target::Nobody)?;
    let mut holders = state.accounts.key_holders().await?;
    match state.key(&operator, request, &mut holders, false).await? {
        Some(token) => Ok(Json(token)),
        None => Err(ApiError::new(ErrorKind::Internal, "the key was not enrolled")),
    }
}

async fn import_keys(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<ImportKeysRequest>,
) -> Answer<Vec<ImportedKey>> {
    authorize(&operator, Verb::EnrolToken, Target::Nobody)?;
    if request.keys.len() > ImportKeysRequest::MOST {
        let error = format!("at most {} keys at once", ImportKeysRequest::MOST);
        return Err(ApiError::new(ErrorKind::Invalid, error));
    }
    let mut holders = state.accounts.key_holders().await?;
    let mut imported = Vec::with_capacity(request.keys.len());
    for key in request.keys {
        let (user, public) = (key.user.clone(), key.public.clone());
        let done = state.key(&operator, key, &mut holders, request.dry_run).await;
        let (token, error) = match done {
            Ok(token) => (token, None),
            // What concerns more than this key ends it: nothing that follows would be done.
            Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Internal) => return Err(error),
            Err(error) => (None, Some(error.error)),
        };
        imported.push(ImportedKey {
            user,
            public,
            token,
            error,
        });
    }
    Ok(Json(imported))
}

impl AdminState {
    async fn key(
        &self,
        operator: &Operator,
        request: EnrolKeyRequest,
        holders: &mut Holders,
        dry_run: bool,
    ) -> Result<Option<TokenView>, ApiError> {
        let directory = request.directory.as_deref();
        let subject = self
            .person(operator, Verb::EnrolToken, &request.user, directory)
            .await?;
        let wish = KeyWish {
            public: request.public,
            private: request.private,
            key: request.key,
            code: request.code,
            label: request.label,
        };
        let by = Actor::now(&operator.name);
        Ok(self.accounts.enrol_key(&subject, &wish, holders, dry_run, by).await?)
    }
}

async fn machines(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Params(request): Params<UserRef>,
) -> Answer<Vec<TokenView>> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::ShowUser, &request.user, directory)
        .await?;
    Ok(Json(state.accounts.machines(&subject, clock::now()).await?))
}

async fn enrol_machine(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<MachineRef>,
) -> Answer<OfflineEnrolled> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::EnrolMachine, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    Ok(Json(
        state.accounts.enrol_machine(&subject, &request.machine, by).await?,
    ))
}

async fn revoke_machine(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<MachineRef>,
) -> Answer<TokenView> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::ChangeToken, &request.user, directory)
        .await?;
    let by = Actor::now(&operator.name);
    Ok(Json(
        state.accounts.revoke_machine(&subject, &request.machine, by).await?,
    ))
}

async fn respond(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RespondRequest>,
) -> Answer<OfflineResponse> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::RespondOffline, &request.user, directory)
        .await?;
    let (machine, by) = (request.machine.as_deref(), Actor::now(&operator.name));
    let response = state
        .accounts
        .respond(&subject, &request.challenge, machine, by)
        .await?;
    Ok(Json(response))
}
