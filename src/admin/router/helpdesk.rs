//! The routes of what helpdesk does to accounts, one or many, now or later.

use axum::Router;

use super::AdminState;

pub(super) fn routes() -> Router<AdminState> {
    Router::new()
}
