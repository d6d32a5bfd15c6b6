//! Copies of the store.

/// Copies of the store.
pub trait Upkeep: Send + Sync {}
