//! Jobs, done when their time comes: one after the other, and one with many people beside; from the start where they
//! were broken off.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::accounts::jobs::{Action, JobRecord, Named, Progress, Step, Whom};
use crate::accounts::{AccountError, Actor, DenyWish, Subject};
use crate::admin::api::{ApiError, GroupDenyRequest};
use crate::admin::operator::{Operator, Target, Verb, authorize};
use crate::admin::router::AdminState;
use crate::causes::in_full;
use crate::clock;

/// Why somebody is left out whom a filter finds.
pub(super) const NOBODY: &str = "cannot log in here: the directory's own filter does not find it";

impl AdminState {
    /// Does what is due, until `shutdown`. What is under way then is done at the next start.
    pub async fn run_jobs(self, shutdown: CancellationToken) {
        let mut with_many = JoinSet::new();
        loop {
            let wait = tokio::select! {
                () = shutdown.cancelled() => return,
                wait = self.run_due(&mut with_many) => wait,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.accounts.jobs_changed(wait) => {}
                Some(_) = with_many.join_next() => {}
            }
        }
    }

    /// How long nothing is to be done. One job with many people runs beside: nobody stays in because of it who is to be
    /// kept out.
    async fn run_due(&self, with_many: &mut JoinSet<()>) -> Duration {
        let (due, next) = match self.accounts.due_jobs(clock::now()).await {
            Ok(found) => found,
            Err(error) => {
                error!(error = in_full(&error), "jobs cannot be read");
                return LONGEST_WAIT;
            }
        };
        for job in due {
            let number = job.number;
            if matches!(job.action, Action::ForceChanges(_)) {
                if with_many.is_empty() {
                    let state = self.clone();
                    with_many.spawn(async move {
                        if state.run_or_tell(number).await.is_break() {
                            tokio::time::sleep(AFTER_FAULT).await;
                        }
                    });
                }
            } else if self.run_or_tell(number).await.is_break() {
                return AFTER_FAULT;
            }
        }
        let until = next.map(|next| next.since(clock::now()) + Duration::from_millis(1));
        until.map_or(LONGEST_WAIT, |until| until.min(LONGEST_WAIT))
    }

    async fn run_or_tell(&self, number: u64) -> ControlFlow<()> {
        match self.run(number).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                let error = in_full(&error);
                error!(job = number, error, "a job is not done, and is tried again");
                ControlFlow::Break(())
            }
        }
    }

    async fn run(&self, number: u64) -> Result<(), AccountError> {
        let Some(job) = self.accounts.begin_job(number, clock::now()).await? else {
            return Ok(());
        };
        info!(
            job = number,
            action = job.action.told(),
            operator = job.by,
            "job begins"
        );
        let mut progress = Progress::default();
        let came = self.perform(&job, &mut progress).await;
        info!(
            job = number,
            done = progress.done,
            left_out = progress.skipped,
            failed = progress.failed,
            error = came.as_ref().err(),
            "job ends"
        );
        self.accounts.end_job(number, progress, came, clock::now()).await
    }

    /// Does it, if the operator may do so now.
    async fn perform(&self, job: &JobRecord, progress: &mut Progress) -> Result<(), String> {
        let operator = self
            .operator_again(&job.by, job.own)
            .await
            .map_err(|error| in_full(&error))?;
        let may = |verb| authorize(&operator, verb, Target::Nobody).map_err(|error| error.error);
        match &job.action {
            Action::ForceChanges(whom) => {
                may(Verb::ForceChanges)?;
                self.force_changes(job.number, &operator, whom, progress).await
            }
            Action::ForceChange(named) => {
                may(Verb::ForceChange)?;
                let subject = self.still(&operator, Verb::ForceChange, named).await?;
                let by = Actor::now(&operator.name);
                match self.accounts.force_in_job(job.number, &subject, by).await {
                    Ok(Step::Done) => progress.done += 1,
                    Ok(Step::Failed(why)) => progress.fail(&subject.login, &why),
                    Err(error) => return Err(in_full(&error)),
                }
                Ok(())
            }
            Action::Disable(named) => {
                may(Verb::DisableUser)?;
                if !self.is_done(job.number).await? {
                    let subject = self.still(&operator, Verb::DisableUser, named).await?;
                    self.disable(&subject, &operator.name).await.map_err(told)?;
                    self.note_done(job.number).await?;
                }
                progress.done += 1;
                Ok(())
            }
            Action::Deny { whom, until, reason } => {
                may(Verb::Deny)?;
                let subject = self.still(&operator, Verb::Deny, whom).await?;
                let wish = DenyWish {
                    until: *until,
                    reason: reason.clone(),
                };
                let by = Actor::now(&operator.name);
                let denied = self.accounts.deny_in_job(job.number, &subject, &wish, by).await;
                denied.map_err(|error| in_full(&error))?;
                self.expel(&subject, &operator.name).await;
                progress.done += 1;
                Ok(())
            }
            Action::DenyGroup {
                group,
                directory,
                until,
                reason,
            } => {
                may(Verb::DenyGroup)?;
                if !self.is_done(job.number).await? {
                    let request = GroupDenyRequest {
                        group: group.clone(),
                        directory: directory.clone(),
                        until: *until,
                        reason: reason.clone(),
                    };
                    self.deny_group(&request, &operator.name).await.map_err(told)?;
                    self.note_done(job.number).await?;
                }
                progress.done += 1;
                Ok(())
            }
        }
    }

    async fn is_done(&self, number: u64) -> Result<bool, String> {
        let done = self.accounts.job_step_is_done(number, clock::now()).await;
        done.map_err(|error| in_full(&error))
    }

    async fn note_done(&self, number: u64) -> Result<(), String> {
        let noted = self.accounts.job_step_done(number, clock::now()).await;
        noted.map_err(|error| in_full(&error))
    }

    /// The person of a job, if the name still is theirs and the operator may do this to them.
    async fn still(&self, operator: &Operator, verb: Verb, named: &Named) -> Result<Subject, String> {
        let directory = named.user.as_str().split_once(':').map(|(directory, _)| directory);
        let subject = self
            .person(operator, verb, &named.login, directory)
            .await
            .map_err(told)?;
        if subject.key != named.user {
            return Err(format!("`{}` is somebody else by now", named.login));
        }
        Ok(subject)
    }

    async fn force_changes(
        &self,
        number: u64,
        operator: &Operator,
        whom: &Whom,
        progress: &mut Progress,
    ) -> Result<(), String> {
        let mut searched = self.accounts.search(whom).map_err(|error| in_full(&error))?;
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut under_way: JoinSet<(String, Came)> = JoinSet::new();
        let (operator, whom) = (Arc::new(operator.clone()), Arc::new(whom.clone()));
        'names: while let Some(names) = searched.names.recv().await {
            for dn in names {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    break 'names;
                };
                while let Some(done) = under_way.try_join_next() {
                    count(progress, done);
                }
                if !self.goes_on(number, progress).await? {
                    searched.came.abort();
                    break 'names;
                }
                let (state, operator, whom) = (self.clone(), Arc::clone(&operator), Arc::clone(&whom));
                under_way.spawn(async move {
                    let _place = place;
                    let came = state.force_one(number, &operator, &whom, &dn).await;
                    (dn, came)
                });
            }
        }
        while let Some(done) = under_way.join_next().await {
            count(progress, done);
            // What has begun is finished, also where the rest was called off.
            self.goes_on(number, progress).await?;
        }
        match searched.came.await {
            Ok(came) => came,
            Err(error) if error.is_cancelled() => Err("called off".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn goes_on(&self, number: u64, progress: &Progress) -> Result<bool, String> {
        let goes_on = self.accounts.job_goes_on(number, progress).await;
        goes_on.map_err(|error| in_full(&error))
    }

    async fn force_one(&self, number: u64, operator: &Operator, whom: &Whom, dn: &str) -> Came {
        let subject = match self.accounts.by_dn(&whom.directory, dn).await {
            Ok(Some(subject)) => subject,
            Ok(None) => return Came::LeftOut,
            Err(error) => return Came::Failed(in_full(&error)),
        };
        match self.force_person(number, operator, whom, &subject).await {
            Ok(came) => came,
            Err(error) => Came::Failed(error),
        }
    }

    async fn force_person(
        &self,
        number: u64,
        operator: &Operator,
        whom: &Whom,
        subject: &Subject,
    ) -> Result<Came, String> {
        let words = |error: AccountError| in_full(&error);
        let by = Actor::now(&operator.name);
        if !self.accounts.is_marked(number, subject, by.now).await.map_err(words)? {
            let record = self.accounts.record_of(subject, by.now).await.map_err(words)?;
            if whom.leaves_out(subject, &record).is_some() {
                return Ok(Came::LeftOut);
            }
            // A job tells nobody of people whom its operator may not see.
            if !self.in_scope(operator, Verb::FindUsers, subject).await.map_err(told)? {
                return Ok(Came::LeftOut);
            }
            self.may_do_to(operator, Verb::ForceChange, subject)
                .await
                .map_err(told)?;
        }
        let step = self.accounts.force_in_job(number, subject, by).await.map_err(words)?;
        Ok(match step {
            Step::Done => Came::Done,
            Step::Failed(why) => Came::Failed(why),
        })
    }
}

enum Came {
    Done,
    LeftOut,
    Failed(String),
}

fn count(progress: &mut Progress, done: Result<(String, Came), tokio::task::JoinError>) {
    match done {
        Ok((_, Came::Done)) => progress.done += 1,
        Ok((_, Came::LeftOut)) => progress.skipped += 1,
        Ok((dn, Came::Failed(why))) => progress.fail(&dn, &why),
        Err(error) => progress.fail("?", &error.to_string()),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: ApiError) -> String {
    error.error
}

/// People of a job at once: their changes share what makes them durable, and a directory is not flooded.
const AT_ONCE: usize = 8;

/// How long nobody looks for what is due: clocks are set, and a laptop sleeps.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long after a fault it is tried again.
const AFTER_FAULT: Duration = Duration::from_secs(10);
