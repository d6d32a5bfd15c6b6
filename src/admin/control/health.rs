//! Trying whether parts work.

/// Trying whether parts work.
pub trait Health: Send + Sync {}
