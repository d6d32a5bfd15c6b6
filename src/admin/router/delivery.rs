//! The routes of `/v1/delivery…`.

use axum::extract::{Extension, State};
use axum::routing::post;
use axum::{Json, Router};

use super::{AdminState, Answer};
use crate::accounts::Actor;
use crate::admin::api::{DeliveryTestRequest, DeliveryTested};
use crate::admin::extract::Body;
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::engine::event::Outcome;

pub(super) fn routes() -> Router<AdminState> {
    Router::new().route("/v1/delivery/test", post(test))
}

async fn test(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<DeliveryTestRequest>,
) -> Answer<DeliveryTested> {
    authorize(&operator, Verb::TestDelivery, Target::Nobody)?;
    let name = request.delivery.clone();
    let tested = state.control.test_delivery(request).await?;
    let (outcome, word) = match tested.sent {
        true => (Outcome::Accept, Verb::TestDelivery.word()),
        false => (Outcome::Unavailable, Verb::TestDelivery.word()),
    };
    let what = format!("{name}: {}", tested.answer);
    let by = Actor::now(&operator.name);
    state.accounts.note(word, by, None, outcome, &what).await?;
    Ok(Json(tested))
}
