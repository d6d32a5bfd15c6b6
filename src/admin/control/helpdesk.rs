//! What is done to many accounts, or later.

use crate::admin::api::{ApiError, AskedReport};
use crate::engine::BoxFuture;
use crate::engine::denials::GroupDenial;

/// What is done to many accounts, or later.
pub trait Helpdesk: Send + Sync {
    /// Closes the LDAP connections of the members of a group, as they bound and as the directory says now. Returns how
    /// many there were.
    fn expel_group<'a>(&'a self, denial: &'a GroupDenial) -> BoxFuture<'a, usize>;

    /// Has clients end the sessions of the members of a group. What has begun goes on when the caller does not.
    fn end_sessions_of_group<'a>(
        &'a self,
        denial: &'a GroupDenial,
        operator: String,
    ) -> BoxFuture<'a, Result<AskedReport, ApiError>>;
}
