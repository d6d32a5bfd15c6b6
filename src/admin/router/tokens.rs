//! Tokens: what is asked of a new one, and other names.

use axum::extract::{Extension, State};
use axum::routing::post;
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::accounts::{Actor, TokenWish, Which};
use crate::admin::api::{ApiError, EnrolRequest, ErrorKind, RenameTokenRequest, TokenView};
use crate::admin::extract::Body;
use crate::admin::operator::{Operator, Verb};

pub(super) fn routes() -> Router<AdminState> {
    Router::new().route("/v1/token/rename", post(rename))
}

/// What a request wants enrolled.
pub(super) fn wish(request: EnrolRequest) -> Result<TokenWish, ApiError> {
    let Some(uri) = &request.uri else {
        return Ok(TokenWish {
            kind: request.kind,
            algorithm: request.algorithm,
            digits: request.digits,
            period: request.period,
            counter: request.counter,
            seed: request.seed,
            label: request.label,
            issuer: request.issuer.unwrap_or_else(|| TokenWish::default().issuer),
        });
    };
    let plain = TokenWish::default();
    let said = request.seed.is_some()
        || (request.kind, request.algorithm, request.digits) != (plain.kind, plain.algorithm, plain.digits)
        || (request.period, request.counter) != (plain.period, plain.counter);
    if said {
        let error = "`uri` says all there is to say of a token; `seed`, `kind`, `algorithm`, `digits`, `period` and \
                     `counter` do not go with it";
        return Err(ApiError::new(ErrorKind::Invalid, error));
    }
    let read = TokenWish::from_uri(uri).map_err(|error| ApiError::new(ErrorKind::Invalid, error.to_string()))?;
    Ok(TokenWish {
        label: request.label,
        issuer: request.issuer.unwrap_or(read.issuer),
        ..read
    })
}

async fn rename(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<RenameTokenRequest>,
) -> Answer<TokenView> {
    let directory = request.directory.as_deref();
    let subject = state
        .person(&operator, Verb::ChangeToken, &request.user, directory)
        .await?;
    let which = Which::parse(&request.token);
    let by = Actor::now(&operator.name);
    let renamed = state
        .accounts
        .rename_token(&subject, &which, &request.label, by)
        .await?;
    Ok(Json(renamed))
}
