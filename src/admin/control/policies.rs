//! Policies: comparing, replaying, keeping and taking back.

/// Policies: comparing, replaying, keeping and taking back.
pub trait PolicyTools: Send + Sync {}
