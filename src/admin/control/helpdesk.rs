//! What is done to many accounts, or later.

/// What is done to many accounts, or later.
pub trait Helpdesk: Send + Sync {}
