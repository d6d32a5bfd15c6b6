//! Operators: who they are, what they may do, how they prove it.

/// Operators: who they are, what they may do, how they prove it.
pub trait OperatorBook: Send + Sync {}
