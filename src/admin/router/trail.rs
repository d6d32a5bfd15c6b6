//! The routes of `/v1/audit…`.

use axum::Router;

use super::AdminState;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
}
