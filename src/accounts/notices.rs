//! Who is told that a request waits for them.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::requests::level;
use super::{Accounts, Subject};
use crate::clock;
use crate::engine::approval::{RequestId, RequestRecord};
use crate::engine::facts::Person;
use crate::engine::request::LoginName;

/// Somebody to be told that a request waits for them. It holds no secret.
#[derive(Clone, Debug)]
pub struct Notice {
    /// Who.
    pub to: Arc<Person>,
    /// One line.
    pub subject: String,
    /// What it is about, and what to do.
    pub text: String,
}

impl Accounts {
    /// Has the managers who may approve next, and whom they have handed it to, told of a request that waits. Members of
    /// groups are not told. Nothing depends on it: what fails is logged.
    pub(super) async fn tell_approvers(&self, id: RequestId, record: &RequestRecord, subject: &Subject) {
        if !self.surroundings.four_eyes().notify {
            return;
        }
        match tokio::time::timeout(PATIENCE, self.approvers(record, subject)).await {
            Ok(people) => people
                .into_iter()
                .for_each(|to| self.surroundings.tell(notice(to, id, record))),
            Err(_) => warn!(request = %id, "the directory is slow; nobody is told of the request"),
        }
    }

    async fn approvers(&self, record: &RequestRecord, subject: &Subject) -> Vec<Arc<Person>> {
        let now = clock::now().max(record.asked);
        let Some((_, approver)) = level(record, now) else {
            return Vec::new();
        };
        let approvers = std::slice::from_ref(approver);
        let asked_by = record.asked_by().account;
        let manager = match self.named_manager(subject, approvers, &asked_by).await {
            Ok(Some(manager)) => manager,
            Ok(None) => return Vec::new(),
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                warn!(error, "the manager is not told of a request");
                return Vec::new();
            }
        };
        let mut people = Vec::new();
        let delegations = self.all_delegations(now).await.unwrap_or_default();
        let person = subject.person.as_deref();
        let covers =
            |scope: &crate::engine::approval::Scope| person.is_some_and(|person| scope.covers(record.action(), person));
        for (_, delegation) in delegations {
            let theirs = delegation.from.key.as_ref() == Some(&manager.key) && covers(&delegation.scope);
            let name = LoginName::parse(&delegation.to)
                .ok()
                .filter(|_| theirs && people.len() < MOST);
            let (Some(name), Ok(directories)) = (name, self.chosen(Some(&manager.directory))) else {
                continue;
            };
            for (_, lookup) in super::look_up(directories, &name).await {
                if let crate::engine::facts::Lookup::Found(person) = lookup {
                    people.push(person);
                }
            }
        }
        people.insert(0, manager);
        people
    }
}

fn notice(to: Arc<Person>, id: RequestId, record: &RequestRecord) -> Notice {
    let asked_by = record.asked_by().account;
    let (action, login, expires) = (record.action(), &record.login, record.expires);
    Notice {
        to,
        subject: format!("Request {id} waits for your approval"),
        text: format!(
            "{asked_by} asks for {action} of {login}, until {expires}.\n\n\
             portcullis request show {id}\n\
             portcullis approve {id}\n\
             portcullis request deny {id} --reason \"...\"\n"
        ),
    }
}

/// How long an answer waits for the directory to say who is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Most people told beside the manager.
const MOST: usize = 10;
