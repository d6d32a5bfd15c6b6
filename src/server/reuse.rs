//! Codes that count for longer than one login, for operators.

use crate::admin::api::{ReuseList, ReuseView};
use crate::clock;
use crate::engine::facts::UserKey;
use crate::engine::reuse::Entry;
use crate::reuse::Whose;
use crate::server::Node;

impl Node {
    pub(super) fn reuse_list(&self, user: Option<&UserKey>, limit: usize) -> ReuseList {
        let (entries, more) = self.verifier.reuse().list(whose(user), limit, clock::now());
        ReuseList {
            reused: entries.iter().map(|entry| view(entry)).collect(),
            more,
        }
    }

    pub(super) fn clear_reuse(&self, user: Option<&UserKey>) -> usize {
        self.verifier.reuse().forget(whose(user), clock::now())
    }
}

fn whose(user: Option<&UserKey>) -> Whose<'_> {
    user.map_or(Whose::All, Whose::Of)
}

fn view(entry: &Entry) -> ReuseView {
    ReuseView {
        user: entry.user.to_string(),
        login: entry.login.clone(),
        client: entry.client.to_string(),
        source: entry.source,
        kinds: entry.kinds.iter().map(|kind| kind.to_string()).collect(),
        rule: entry.rule.to_string(),
        given: entry.at,
        until: entry.until,
    }
}
