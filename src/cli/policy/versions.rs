//! `portcullis policy versions`, `show`, `rollback`

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::super::Exit;
use super::super::output::{CliError, Out, Tone, confirm, moment};
use super::check::print_faults;
use crate::admin::api::{RollbackReport, RollbackRequest, VersionFiles, VersionRequest, VersionView};
use crate::admin::client::AdminClient;
use crate::policies::files;

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Number of the version
    #[arg(value_name = "VERSION")]
    number: u64,
    /// Write its files into this folder, which is made or must be empty
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// Number of the version
    #[arg(value_name = "VERSION")]
    number: u64,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) async fn list(client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let versions: Vec<VersionView> = client.get("/v1/policy/versions", &()).await?;
    if out.json {
        return out.json(&versions);
    }
    let row = |version: &VersionView| {
        vec![
            version.version.to_string(),
            moment(version.at),
            version.by.clone(),
            why(version),
            version.rules.to_string(),
            version.files.len().to_string(),
            short(&version.digest).to_owned(),
            if version.in_force {
                out.news(true, "in force")
            } else {
                String::new()
            },
        ]
    };
    let rows = versions.iter().map(row).collect();
    out.table(&["VERSION", "SINCE", "BY", "WHY", "RULES", "FILES", "DIGEST", ""], rows)?;
    Ok(Exit::Done)
}

pub(super) async fn show(args: ShowArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let request = VersionRequest { version: args.number };
    let shown: VersionFiles = client.get("/v1/policy/version", &request).await?;
    if let Some(folder) = &args.to {
        write(folder, &shown)?;
    }
    if out.json {
        return out.json(&shown);
    }
    if let Some(folder) = &args.to {
        let count = shown.files.len();
        out.line(format!(
            "wrote {count} files of version {} into {}",
            args.number,
            folder.display()
        ))?;
        return Ok(Exit::Done);
    }
    let version = &shown.version;
    out.pairs(&[
        ("version", Some(version.version.to_string())),
        ("since", Some(moment(version.at))),
        ("by", Some(version.by.clone())),
        ("why", Some(why(version))),
        ("digest", Some(version.digest.clone())),
        ("in force", version.in_force.then(|| "yes".to_owned())),
    ])?;
    for file in &shown.files {
        let name = out.tint(Tone::Bold, &format!("== {}", file.name));
        out.line(format!("\n{name}\n{}", file.text.trim_end()))?;
    }
    Ok(Exit::Done)
}

pub(super) async fn rollback(args: RollbackArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let number = args.number;
    let question = format!("Replace the policy files of the running server by those of version {number}?");
    if !confirm(args.yes, &question)? {
        return Ok(Exit::Refused);
    }
    let request = RollbackRequest { version: number };
    let report: RollbackReport = client.post("/v1/policy/rollback", &request).await?;
    if out.json {
        return out.json(&report);
    }
    print_faults(&report.reload.warnings, out)?;
    let policy = report
        .reload
        .policy
        .as_ref()
        .map_or_else(String::new, |policy| format!(": {policy}"));
    out.line(format!("version {number} is in the folder and in force{policy}"))?;
    if let Some(kept) = &report.kept {
        out.line(format!("the files of before were in no version; they are in {kept}"))?;
    }
    Ok(Exit::Done)
}

fn why(version: &VersionView) -> String {
    match version.of {
        Some(of) => format!("{} to {of}", version.why),
        None => version.why.clone(),
    }
}

/// Enough of a digest to tell versions apart.
fn short(digest: &str) -> &str {
    digest.get(..16).unwrap_or(digest)
}

/// Writes the files of a version into a folder that is made or empty.
fn write(folder: &Path, shown: &VersionFiles) -> Result<(), CliError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| {
            CliError::File(
                format!("cannot write {}: {error}", path.display()),
                Some("name a folder that can be written"),
            )
        }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    if fs::read_dir(folder).map_err(failed(folder))?.next().is_some() {
        let error = format!("{} is not empty", folder.display());
        return Err(CliError::File(
            error,
            Some("name a folder that is empty, or that is not there yet"),
        ));
    }
    for file in &shown.files {
        // A server could say anything.
        if !files::is_name(&file.name) {
            return Err(CliError::Local(format!("`{}` is no name of a policy file", file.name)));
        }
        let path = folder.join(&file.name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed(parent))?;
        }
        let mut made = File::create_new(&path).map_err(failed(&path))?;
        made.write_all(file.text.as_bytes()).map_err(failed(&path))?;
    }
    Ok(())
}

pub(super) const LIST_HELP: &str = "\
A version is what was put in force by a start, a reload or a rollback: all files of the folder of
the policies. The newest are kept (policies.keep_versions, 100).

Examples:
  portcullis policy versions
  portcullis policy versions --json | jq '.[] | select(.by == \"carol\") | .version'";

pub(super) const SHOW_HELP: &str = "\
Examples:
  portcullis policy show 12
  portcullis policy show 12 --to /tmp/policies-12";

pub(super) const ROLLBACK_HELP: &str = "\
The files of the version take the place of those in the folder, all at once, and are put in force.
What else lies in the folder stays. Files that were in no version are kept beside the folder.
Nothing changes when the version does not fit the configuration as it is now.

Examples:
  portcullis policy diff 12
  portcullis policy rollback 12 --yes";
