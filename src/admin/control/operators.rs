//! Operators: who they are, what they may do, how they prove it.

use crate::admin::operator::Book;

/// Operators: who they are, what they may do, how they prove it.
pub trait OperatorBook: Send + Sync {
    /// What the configuration says of them now.
    fn book(&self) -> Book;
}
