//! `portcullis schedule`

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out, moment};
use crate::admin::api::{Action, JobRef, JobState, JobView, ScheduleRequest, ScheduledAction};
use crate::admin::client::AdminClient;
use crate::clock::Timestamp;

#[derive(Debug, Args)]
pub(super) struct ScheduleArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// What is to be done, what is being done, and what was done lately
    #[command(after_help = LIST_HELP)]
    List {
        /// Those that are over, too
        #[arg(long)]
        all: bool,
    },
    /// One job: how far it is, whom it could not be done with and why
    #[command(after_help = SHOW_HELP)]
    Show {
        /// Number
        job: u64,
    },
    /// Call a job off; what it has done stays done
    #[command(after_help = CANCEL_HELP)]
    Cancel {
        /// Number
        job: u64,
    },
}

pub(super) async fn run(args: ScheduleArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::List { all } => {
            let jobs: Vec<JobView> = client.get("/v1/schedule", &()).await?;
            let jobs: Vec<JobView> = jobs.into_iter().filter(|job| all || !job.state.is_over()).collect();
            list(&jobs, out)
        }
        Verb::Show { job } => show(&client.get("/v1/job", &JobRef { job }).await?, out),
        Verb::Cancel { job } => {
            let cancelled: JobView = client.post("/v1/schedule/cancel", &JobRef { job }).await?;
            if out.json {
                return out.json(&cancelled);
            }
            out.line(format!("job {} is cancelled", cancelled.job))?;
            Ok(Exit::Done)
        }
    }
}

/// Has something done later.
pub(super) async fn add(
    at: Timestamp,
    action: ScheduledAction,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let job: JobView = client.post("/v1/schedule", &ScheduleRequest { at, action }).await?;
    if out.json {
        return out.json(&job);
    }
    out.line(format!("job {} at {}: {}", job.job, moment(job.at), job.action.told()))?;
    Ok(Exit::Done)
}

fn list(jobs: &[JobView], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&jobs);
    }
    if jobs.is_empty() {
        out.line("nothing is to be done")?;
    }
    let rows = jobs.iter().map(|job| {
        vec![
            job.job.to_string(),
            moment(job.at),
            state(job, out),
            job.by.clone(),
            counts(job),
            job.action.told(),
        ]
    });
    let rows = rows.collect();
    out.table(&["JOB", "AT", "STATE", "BY", "DONE", "WHAT"], rows)?;
    Ok(Exit::Done)
}

/// One job; the answer is no when it failed, or could not be done with everybody.
pub(super) fn show(job: &JobView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let good = job.progress.failed == 0 && !matches!(job.state, JobState::Failed | JobState::Cancelled);
    let exit = if good { Exit::Done } else { Exit::Refused };
    if out.json {
        out.json(job)?;
        return Ok(exit);
    }
    let reason = match &job.action {
        Action::Deny { reason, .. } | Action::DenyGroup { reason, .. } => Some(reason.clone()),
        Action::ForceChanges(_) | Action::ForceChange(_) | Action::Disable(_) => None,
    };
    out.pairs(&[
        ("job", Some(job.job.to_string())),
        ("what", Some(job.action.told())),
        ("reason", reason),
        ("state", Some(state(job, out))),
        ("by", Some(job.by.clone())),
        ("asked", Some(moment(job.asked))),
        ("at", Some(moment(job.at))),
        ("ended", job.ended.map(moment)),
        ("error", job.error.as_ref().map(|error| out.news(false, error))),
        ("done", Some(job.progress.done.to_string())),
        ("left out", Some(job.progress.skipped.to_string())),
        ("failed", Some(job.progress.failed.to_string())),
    ])?;
    let failures = job.progress.failures.iter();
    let rows: Vec<Vec<String>> = failures
        .map(|failure| vec![failure.who.clone(), failure.why.clone()])
        .collect();
    if !rows.is_empty() {
        out.line("")?;
    }
    out.table(&["FAILED", "WHY"], rows)?;
    Ok(exit)
}

fn state(job: &JobView, out: &Out<'_>) -> String {
    let word = job.state.word();
    match job.state {
        JobState::Waiting | JobState::Running | JobState::Cancelled => word.to_owned(),
        JobState::Done => out.news(job.progress.failed == 0, word),
        JobState::Failed => out.news(false, word),
    }
}

fn counts(job: &JobView) -> String {
    let progress = &job.progress;
    match (job.state, progress.failed) {
        (JobState::Waiting, _) => String::new(),
        (_, 0) => progress.done.to_string(),
        (_, failed) => format!("{}, {failed} failed", progress.done),
    }
}

const LIST_HELP: &str = "\
Jobs are made by --at of `portcullis user must-change` and `portcullis user disable`, by --from of
`portcullis deny`, and by every change of many people. One whose time passed while no server ran is
done at the next start. Whether the operator who asked for it still may do it is asked again then.

Examples:
  portcullis schedule list
  portcullis schedule list --all --json | jq '.[] | select(.state == \"failed\")'";

const SHOW_HELP: &str = "\
Exit code 1 when it failed, was cancelled, or could not be done with somebody.

Example:
  portcullis schedule show 7";

const CANCEL_HELP: &str = "\
Example:
  portcullis schedule cancel 7";
