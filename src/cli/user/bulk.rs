//! `portcullis user must-change --filter`

use std::io::IsTerminal as _;
use std::ops::ControlFlow;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::admin::api::{BulkLine, BulkRequest, BulkSummary, JobView, ScheduledAction, Sighted};
use crate::admin::client::AdminClient;
use crate::cli::output::{CliError, Out, confirm};
use crate::cli::{Exit, schedule};
use crate::clock::Timestamp;

#[derive(Debug, Args)]
pub(super) struct BulkArgs {
    /// Everybody whom this filter (RFC 4515) finds
    #[arg(long, value_name = "FILTER", requires = "directory")]
    filter: Option<String>,
    /// Members of this group only: its distinguished name, or its cn
    #[arg(long, value_name = "NAME", requires = "filter")]
    group: Option<String>,
    /// Only who has a second factor
    #[arg(long, requires = "filter", conflicts_with = "not_enrolled")]
    enrolled: bool,
    /// Only who has none
    #[arg(long, requires = "filter")]
    not_enrolled: bool,
    /// Tell who it would be, and do nothing
    #[arg(long, requires = "filter", conflicts_with = "at")]
    dry_run: bool,
    /// Do it without being asked
    #[arg(short, long, requires = "filter")]
    yes: bool,
}

pub(super) async fn must_change(
    directory: String,
    args: BulkArgs,
    at: Option<Timestamp>,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let enrolled = match (args.enrolled, args.not_enrolled) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let request = BulkRequest {
        directory,
        filter: args.filter.unwrap_or_default(),
        group: args.group,
        enrolled,
        dry_run: args.dry_run,
    };
    if args.dry_run {
        return dry_run(&request, client, out).await;
    }
    let mut expected = None;
    if !args.yes {
        let summary = count(&request, client).await?;
        if let Some(error) = summary.error {
            return Err(CliError::Away(error, Some("see `portcullis status`")));
        }
        if summary.meant == 0 {
            out.line("nobody is meant")?;
            return Ok(Exit::NotFound);
        }
        let question = format!("Have {} people change their passwords?", summary.meant);
        if summary.meant > UNASKED && !confirm(false, &question)? {
            out.line("nothing was done")?;
            return Ok(Exit::Refused);
        }
        expected = Some(summary.meant);
    }
    if let Some(at) = at {
        return schedule::add(at, ScheduledAction::ForceChanges(request), client, out).await;
    }
    follow(&request, expected, client, out).await
}

/// Most people that are not asked about.
const UNASKED: u64 = 20;

/// Shows how far it is until it is over.
async fn follow(
    request: &BulkRequest,
    expected: Option<u64>,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let bar = bar(expected, out.json);
    let mut last: Option<JobView> = None;
    client
        .post_for_lines("/v1/users/must-change", request, |line| {
            if let BulkLine::Job(job) = line {
                bar.set_position(job.progress.done + job.progress.failed);
                bar.set_message(format!("job {}, {} failed", job.job, job.progress.failed));
                last = Some(job);
            }
            ControlFlow::Continue(())
        })
        .await?;
    bar.finish_and_clear();
    match last {
        Some(job) if job.state.is_over() => schedule::show(&job, out),
        Some(job) => {
            let what = format!(
                "nothing more is heard of job {}; it goes on when the server does",
                job.job
            );
            Err(CliError::Away(
                what,
                Some("`portcullis schedule show` tells what becomes of it"),
            ))
        }
        None => Err(CliError::Away("the server did not say what it does".into(), None)),
    }
}

/// On a terminal only.
fn bar(expected: Option<u64>, quiet: bool) -> ProgressBar {
    let target = match std::io::stderr().is_terminal() && !quiet {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(expected, target);
    let style = match expected {
        Some(_) => ProgressStyle::with_template("{bar:30} {pos} of {len}, {msg}"),
        None => ProgressStyle::with_template("{spinner} {pos}, {msg}"),
    };
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

async fn count(request: &BulkRequest, client: &AdminClient) -> Result<BulkSummary, CliError> {
    let request = BulkRequest {
        dry_run: true,
        ..request.clone()
    };
    let mut summary = None;
    client
        .post_for_lines("/v1/users/must-change", &request, |line| {
            if let BulkLine::Summary(counted) = line {
                summary = Some(counted);
            }
            ControlFlow::Continue(())
        })
        .await?;
    summary.ok_or_else(|| CliError::Away("the server did not say how many there are".into(), None))
}

async fn dry_run(request: &BulkRequest, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let mut summary = BulkSummary::default();
    let mut seen: Vec<Sighted> = Vec::new();
    let mut printed = Ok(());
    client
        .post_for_lines("/v1/users/must-change", request, |line| {
            match line {
                _ if printed.is_err() => return ControlFlow::Break(()),
                line if out.json => printed = out.json_line(&line),
                BulkLine::Person(one) => {
                    seen.push(one);
                    if seen.len() >= TOGETHER {
                        printed = print(&mut seen, out);
                    }
                }
                BulkLine::Summary(counted) => summary = counted,
                BulkLine::Job(_) => {}
            }
            ControlFlow::Continue(())
        })
        .await?;
    printed?;
    if out.json {
        return Ok(Exit::Done);
    }
    print(&mut seen, out)?;
    out.line(format!(
        "{} would be meant, {} left out",
        summary.meant, summary.left_out
    ))?;
    match summary.error {
        None => Ok(Exit::Done),
        Some(error) => Err(CliError::Away(error, Some("see `portcullis status`"))),
    }
}

/// Rows of one table: of a million people none waits for the last.
const TOGETHER: usize = 500;

fn print(seen: &mut Vec<Sighted>, out: &mut Out<'_>) -> Result<(), CliError> {
    let rows = seen.drain(..).map(|one| {
        let meant = match &one.left_out {
            None => out.news(true, "yes"),
            Some(why) => out.news(false, &format!("no: {why}")),
        };
        vec![one.login, meant, one.dn]
    });
    let rows = rows.collect();
    out.table(&["LOGIN", "MEANT", "DN"], rows)
}
