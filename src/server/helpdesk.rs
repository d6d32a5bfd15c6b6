//! What is done to many accounts, or later.

use crate::admin::api::{ApiError, AskedReport};
use crate::admin::control::Helpdesk;
use crate::clock;
use crate::engine::denials::GroupDenial;
use crate::engine::request::LoginName;
use crate::engine::{BoxFuture, Lookup};
use crate::server::Node;

impl Helpdesk for Node {
    fn expel_group<'a>(&'a self, denial: &'a GroupDenial) -> BoxFuture<'a, usize> {
        Box::pin(async move {
            let mut closed = self.bindings.expel_group(denial, clock::monotonic());
            // Who became a member after the bind.
            for person in self.bindings.people() {
                let Some(directory) = self.verifier.directories().get(&*person.directory).cloned() else {
                    continue;
                };
                let Ok(login) = LoginName::parse_dn(&person.dn) else {
                    continue;
                };
                if let Lookup::Found(now) = directory.look_up(&login).await
                    && now.key == person.key
                    && denial.is_about(&now)
                {
                    closed += self.bindings.expel(&person.key, clock::monotonic());
                }
            }
            closed
        })
    }

    fn end_sessions_of_group<'a>(
        &'a self,
        denial: &'a GroupDenial,
        operator: String,
    ) -> BoxFuture<'a, Result<AskedReport, ApiError>> {
        Box::pin(async move { self.ending().end_of_group(denial, operator).await })
    }
}
