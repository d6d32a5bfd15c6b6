//! Many people at once: found by a filter, told of line by line while it goes on.

use std::time::Duration;

use axum::extract::{Extension, State};
use axum::response::Response;
use tokio::sync::mpsc;

use super::whom;
use crate::accounts::Actor;
use crate::accounts::jobs::{Action, Whom};
use crate::admin::api::{ApiError, BulkLine, BulkRequest, BulkSummary, JobState, Sighted};
use crate::admin::extract::Body;
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::admin::router::AdminState;
use crate::admin::router::lines::answer;
use crate::clock;

/// A job for now, and how far it is; it goes on when the caller goes away.
pub(super) async fn must_change(
    State(state): State<AdminState>,
    Extension(operator): Extension<Operator>,
    Body(request): Body<BulkRequest>,
) -> Result<Response, ApiError> {
    authorize(&operator, Verb::ForceChanges, Target::Nobody)?;
    let dry_run = request.dry_run;
    let whom = whom(request);
    let (lines, answer) = lines();
    if dry_run {
        let searched = state.accounts.search(&whom)?;
        tokio::spawn(async move { state.sight(&operator, &whom, searched, &lines).await });
        return Ok(answer);
    }
    let by = Actor::now(&operator.name);
    let action = Action::ForceChanges(whom);
    let job = state.accounts.schedule(action, by.now, operator.own, by).await?;
    tokio::spawn(async move { state.follow(job.job, &lines).await });
    Ok(answer)
}

impl AdminState {
    /// Tells of everybody whom the filter finds whether they are meant.
    async fn sight(
        &self,
        operator: &Operator,
        whom: &Whom,
        mut searched: crate::accounts::jobs::Searched,
        lines: &mpsc::Sender<BulkLine>,
    ) {
        let mut summary = BulkSummary::default();
        while let Some(names) = searched.names.recv().await {
            for dn in names {
                let Some(sighted) = self.look_at(operator, whom, dn).await else {
                    continue;
                };
                match sighted.left_out {
                    None => summary.meant += 1,
                    Some(_) => summary.left_out += 1,
                }
                if lines.send(BulkLine::Person(sighted)).await.is_err() {
                    return;
                }
            }
        }
        summary.error = match searched.came.await {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(error) => Some(error.to_string()),
        };
        let _ = lines.send(BulkLine::Summary(summary)).await;
    }

    /// `None` for people whom the operator may not see.
    async fn look_at(&self, operator: &Operator, whom: &Whom, dn: String) -> Option<Sighted> {
        let everywhere = operator.is_everywhere(Verb::FindUsers);
        let left_out = |login: String, dn: String, why: String| {
            everywhere.then_some(Sighted {
                login,
                dn,
                left_out: Some(why),
            })
        };
        let subject = match self.accounts.by_dn(&whom.directory, &dn).await {
            Ok(Some(subject)) => subject,
            Ok(None) => return left_out(dn.clone(), dn, super::running::NOBODY.into()),
            Err(error) => return left_out(dn.clone(), dn, error.to_string()),
        };
        if !everywhere && !matches!(self.in_scope(operator, Verb::FindUsers, &subject).await, Ok(true)) {
            return None;
        }
        let why = match self.accounts.record_of(&subject, clock::now()).await {
            Ok(record) => whom.leaves_out(&subject, &record).map(str::to_owned),
            Err(error) => Some(error.to_string()),
        };
        let why = match why {
            Some(why) => Some(why),
            None => self
                .may_do_to(operator, Verb::ForceChange, &subject)
                .await
                .err()
                .map(|error| error.error),
        };
        Some(Sighted {
            login: subject.login,
            dn,
            left_out: why,
        })
    }

    /// Tells how a job stands until it is over.
    async fn follow(&self, number: u64, lines: &mpsc::Sender<BulkLine>) {
        let mut changed = self.accounts.watch_jobs();
        loop {
            changed.mark_unchanged();
            // A store that cannot be read ends the answer without its last line, which tells as much.
            let Ok(job) = self.accounts.job(number).await else {
                return;
            };
            let over = job.state.is_over();
            let waits = job.state == JobState::Waiting;
            if lines.send(BulkLine::Job(job)).await.is_err() || over {
                return;
            }
            let _ = tokio::time::timeout(if waits { STEP } else { SLOWEST }, changed.changed()).await;
            tokio::time::sleep(STEP).await;
        }
    }
}

/// Progress is told no more often.
const STEP: Duration = Duration::from_millis(100);

/// And no less often, so that a caller knows that it goes on.
const SLOWEST: Duration = Duration::from_secs(5);

/// An answer of one JSON object a line, and where they come from.
fn lines() -> (mpsc::Sender<BulkLine>, Response) {
    let (sender, lines) = mpsc::channel(16);
    (sender, answer(None, lines))
}
