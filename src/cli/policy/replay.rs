//! `portcullis policy replay`

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::super::Exit;
use super::super::audit::parse_moment;
use super::super::output::{CliError, Out, Tone, moment};
use crate::admin::api::{Changed, Effect, ReplayLine, ReplayReport, ReplayRequest, RuleEffect};
use crate::admin::client::{AdminClient, ClientError};
use crate::clock::Timestamp;

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The folder of the policies to try
    folder: PathBuf,
    /// Logins since: 30d, 12h, 2030-01-31, 2030-01-31T12:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    since: Timestamp,
    /// Logins before, in the same forms [default: now]
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    until: Option<Timestamp>,
    /// Logins by this name only
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Show all people, not the first 50
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(args: ReplayArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let request = ReplayRequest {
        policies: super::read(&args.folder)?,
        since: args.since,
        until: args.until,
        user: args.user,
    };
    let bar = bar();
    let mut ended = None;
    let each = |line: ReplayLine| match line {
        ReplayLine::Progress(progress) => {
            bar.set_length(progress.of);
            bar.set_position(progress.records);
            ControlFlow::Continue(())
        }
        ReplayLine::Report(report) => {
            ended = Some(Ok(report));
            ControlFlow::Break(())
        }
        ReplayLine::Error(error) => {
            ended = Some(Err(error));
            ControlFlow::Break(())
        }
    };
    let answered = client.post_for_lines("/v1/policy/replay", &request, each).await;
    bar.finish_and_clear();
    answered?;
    let report = match ended {
        Some(Ok(report)) => report,
        Some(Err(error)) => return Err(ClientError::Api(error).into()),
        None => return Err(client.broken("the replay broke off").into()),
    };
    if out.json {
        return out.json(&report);
    }
    print(&report, args.all, out)?;
    Ok(Exit::Done)
}

/// Shown on a terminal that reads along; standard output is for the report.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} records, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn print(report: &ReplayReport, all: bool, out: &mut Out<'_>) -> Result<(), CliError> {
    let counts = &report.counts;
    let (since, until) = (moment(report.since), moment(report.until));
    out.line(format!("{} logins from {since} to {until}", counts.logins))?;
    out.line(format!("by the policies {} and by {}\n", report.old, report.new))?;
    let count = |number: u64| (number > 0).then(|| number.to_string());
    let bad = |number: u64, out: &Out<'_>| count(number).map(|text| out.news(false, &text));
    let lost = (bad(counts.loses, out), bad(counts.needs_more, out));
    let lacking = &counts.undecidable;
    out.pairs(&[
        ("lose access", lost.0),
        ("gain access", count(counts.gains)),
        ("proved too little", lost.1),
        ("other proofs, enough", count(counts.still_enough)),
        ("other proofs, unknown", count(counts.other_proofs)),
        ("same, another rule", count(counts.other_rule)),
        ("same", Some(counts.same.to_string())),
        ("not decided: no details recorded", count(lacking.no_context)),
        ("not decided: names of nobody", count(lacking.nobody)),
        ("not decided: people gone", count(lacking.gone)),
        ("not decided: directory unreachable", count(lacking.unreachable)),
        ("not decided: depends on that moment", count(lacking.unknown)),
    ])?;
    let then = &counts.since_then;
    if *then != Default::default() {
        out.line("\nSince then policies, groups or people have changed. By the policies in force now:")?;
        out.pairs(&[
            ("let in then, refused now", count(then.now_refused)),
            ("refused then, let in now", count(then.now_let_in)),
            ("let in then, proved too little now", count(then.now_more)),
        ])?;
    }
    for note in &report.notes {
        out.line(format!("\n{note}"))?;
    }
    print_rules(&report.rules, out)?;
    print_people(report, all, out)
}

fn print_rules(rules: &[RuleEffect], out: &mut Out<'_>) -> Result<(), CliError> {
    if rules.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let row = |rule: &RuleEffect| {
        vec![
            effect(rule.effect, out),
            name(rule.old_rule.as_deref()),
            name(rule.new_rule.as_deref()),
            rule.people.to_string(),
            rule.logins.to_string(),
        ]
    };
    let rows = rules.iter().map(row).collect();
    out.table(&["EFFECT", "RULE NOW", "NEW RULE", "PEOPLE", "LOGINS"], rows)
}

fn print_people(report: &ReplayReport, all: bool, out: &mut Out<'_>) -> Result<(), CliError> {
    if report.people.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let shown = if all { usize::MAX } else { SHOWN };
    let row = |changed: &Changed| {
        vec![
            changed.user.clone(),
            effect(changed.effect, out),
            asked(changed.old_rule.as_deref(), changed.old_proofs.as_deref()),
            asked(changed.new_rule.as_deref(), changed.new_proofs.as_deref()),
            changed.clients.join(", "),
            format!("{} of {}", changed.accepted, changed.logins),
            moment(changed.last),
        ]
    };
    let rows = report.people.iter().take(shown).map(row).collect();
    out.table(&["USER", "EFFECT", "NOW", "NEW", "AT", "LET IN", "LAST"], rows)?;
    let left = report.people.len().saturating_sub(shown);
    if left > 0 || report.more {
        let further = if report.more { " and further ones" } else { "" };
        out.line(format!("{left} more{further}; --all shows them, --json has everything"))?;
    }
    Ok(())
}

fn effect(effect: Effect, out: &Out<'_>) -> String {
    match effect {
        Effect::Loses | Effect::NeedsMore => out.news(false, effect.word()),
        Effect::Gains => out.tint(Tone::Bold, effect.word()),
        Effect::StillEnough | Effect::OtherProofs | Effect::OtherRule | Effect::Same => effect.word().to_owned(),
    }
}

fn name(rule: Option<&str>) -> String {
    rule.unwrap_or("(none)").to_owned()
}

fn asked(rule: Option<&str>, proofs: Option<&str>) -> String {
    match proofs {
        Some(proofs) => format!("{}: {proofs}", name(rule)),
        None => format!("{}: refused", name(rule)),
    }
}

/// People shown unless all are asked for.
const SHOWN: usize = 50;

pub(super) const HELP: &str = "\
The logins in the audit are decided twice: by the policies in force, and by those of the folder.
People and their groups are those of today, the moment is that of the login. What the audit does
not say (how many sessions were open, say) is not guessed: such logins are counted as not decided.
Refused logins count as well: a wrong code tells which rule asked for it. Nothing is changed.

Examples:
  portcullis policy replay --since 30d ~/policies-draft
  portcullis policy replay --since 2030-01-01 --until 2030-02-01 ~/policies-draft --all
  portcullis policy replay --since 7d --user ana ~/policies-draft --json | jq .people";
