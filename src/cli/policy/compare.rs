//! `portcullis policy diff`

use std::path::Path;

use clap::Args;

use super::super::Exit;
use super::super::output::{CliError, Out, Tone};
use crate::admin::api::{DiffReport, DiffRequest, PolicySource};
use crate::admin::client::AdminClient;
use crate::policies::diff::{FileChange, Hunk, Mark, RuleChange, RuleText};

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// The older side: number of a version, or a folder [default: what is in force]
    old: Option<String>,
    /// The newer side: number of a version, or a folder [default: the folder of the running server]
    new: Option<String>,
    /// Show all lines of files as well, not the rules alone
    #[arg(long)]
    files: bool,
}

pub(super) async fn run(args: DiffArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let request = match (&args.old, &args.new) {
        (Some(old), Some(new)) => DiffRequest {
            old: source(old)?,
            new: source(new)?,
        },
        // A version is looked at from what is in force, a folder as what would come next.
        (Some(one), None) => match one.parse::<u64>() {
            Ok(_) => DiffRequest {
                old: source(one)?,
                new: PolicySource::default(),
            },
            Err(_) => DiffRequest {
                old: PolicySource::default(),
                new: source(one)?,
            },
        },
        (None, _) => DiffRequest {
            old: PolicySource::default(),
            new: PolicySource {
                folder: true,
                ..PolicySource::default()
            },
        },
    };
    let report: DiffReport = client.post("/v1/policy/diff", &request).await?;
    if out.json {
        return out.json(&report);
    }
    if report.files.is_empty() {
        out.line(format!("{} and {} are the same", report.old, report.new))?;
        return Ok(Exit::Done);
    }
    out.line(out.tint(Tone::Bold, &format!("--- {}\n+++ {}", report.old, report.new)))?;
    for change in &report.rules {
        print_rule(change, out)?;
    }
    for change in &report.files {
        print_file(change, args.files, &report.rules, out)?;
    }
    Ok(Exit::Done)
}

/// A number names a version; everything else is a folder.
fn source(text: &str) -> Result<PolicySource, CliError> {
    match text.parse::<u64>() {
        Ok(number) => Ok(PolicySource {
            version: Some(number),
            ..PolicySource::default()
        }),
        Err(_) => Ok(PolicySource {
            sent: Some(super::read(Path::new(text))?),
            ..PolicySource::default()
        }),
    }
}

fn print_rule(change: &RuleChange, out: &mut Out<'_>) -> Result<(), CliError> {
    let place = |rule: &RuleText| format!("{}:{}, place {}", rule.file, rule.line, rule.position);
    let places = match (&change.old, &change.new) {
        (Some(old), Some(new)) => format!("{} -> {}", place(old), place(new)),
        (Some(one), None) | (None, Some(one)) => place(one),
        (None, None) => String::new(),
    };
    let moved = if change.moved && !change.hunks.is_empty() {
        " and moved"
    } else {
        ""
    };
    let title = format!("rule \"{}\" {}{moved} ({places})", change.rule, change.change.word());
    out.line(format!("\n{}", out.tint(Tone::Bold, &title)))?;
    for hunk in &change.hunks {
        print_hunk(hunk, out)?;
    }
    let whole = match (&change.old, &change.new) {
        (Some(old), None) => Some((old, "-", Tone::Bad)),
        (None, Some(new)) => Some((new, "+", Tone::Good)),
        (_, _) => None,
    };
    if let Some((rule, mark, tone)) = whole {
        for line in rule.text.lines() {
            out.line(out.tint(tone, &format!("{mark}{line}")))?;
        }
    }
    Ok(())
}

/// Files whose rules were told are named only; all others have nothing but their lines.
fn print_file(change: &FileChange, all: bool, rules: &[RuleChange], out: &mut Out<'_>) -> Result<(), CliError> {
    let of_rules = |rule: &RuleChange| {
        let places = rule.old.iter().chain(&rule.new);
        places.clone().any(|place| place.file == change.file)
    };
    let told = rules.iter().any(of_rules);
    let title = format!("file {} {}", change.file, change.change.word());
    out.line(format!("\n{}", out.tint(Tone::Bold, &title)))?;
    if told && !all {
        return Ok(());
    }
    for hunk in &change.hunks {
        print_hunk(hunk, out)?;
    }
    Ok(())
}

fn print_hunk(hunk: &Hunk, out: &mut Out<'_>) -> Result<(), CliError> {
    out.line(out.tint(Tone::Faint, &format!("@@ -{} +{} @@", hunk.old, hunk.new)))?;
    for line in &hunk.lines {
        let text = line.to_string();
        let text = match line.mark {
            Mark::Both => text,
            Mark::Old => out.tint(Tone::Bad, &text),
            Mark::New => out.tint(Tone::Good, &text),
        };
        out.line(text)?;
    }
    Ok(())
}

pub(super) const HELP: &str = "\
Without a side: what is in force, and what the folder of the running server would come to. With one
version: that version, and what is in force. With one folder: what is in force, and that folder.
Rules are compared by their names over all files; a rule that stands elsewhere in the order is
moved.

Examples:
  portcullis policy diff
  portcullis policy diff 12
  portcullis policy diff 11 12
  portcullis policy diff ~/policies-draft --files";
