//! Trying whether parts work.

use crate::admin::api::{ApiError, PartsTested};
use crate::engine::BoxFuture;

/// Trying whether parts work.
pub trait Health: Send + Sync {
    /// Tries the parts of this name, or all of them, as those would who use them.
    fn test_parts(&self, name: Option<String>) -> BoxFuture<'_, Result<PartsTested, ApiError>>;
}
