//! The audit as a whole: retention, checkpoints.

/// The audit as a whole: retention, checkpoints.
pub trait Trail: Send + Sync {}
