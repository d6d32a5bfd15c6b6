//! `portcullis policy`

mod check;
mod compare;
mod explain;
mod replay;
mod versions;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out};
use crate::admin::api::SentPolicies;
use crate::admin::client::AdminClient;
use crate::document::Faults;
use crate::policies::files::PolicyFiles;

pub(super) use check::print_faults;

#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check policy files without taking them: those of the running server, or those of a folder
    #[command(after_help = check::HELP)]
    Check {
        /// A folder of policy files; that of the running server when absent
        folder: Option<PathBuf>,
    },
    /// Tell how a login would be decided, and why
    #[command(after_help = explain::HELP)]
    Explain(Box<explain::ExplainArgs>),
    /// List the versions that were put in force
    #[command(after_help = versions::LIST_HELP)]
    Versions,
    /// Show the files of a version, or write them into a folder
    #[command(after_help = versions::SHOW_HELP)]
    Show(versions::ShowArgs),
    /// Compare two versions or folders, rule by rule and line by line
    #[command(after_help = compare::HELP)]
    Diff(compare::DiffArgs),
    /// Decide logins of the past by other policies: who would gain or lose access
    #[command(after_help = replay::HELP)]
    Replay(replay::ReplayArgs),
    /// Put a version back into the folder and in force
    #[command(after_help = versions::ROLLBACK_HELP)]
    Rollback(versions::RollbackArgs),
}

pub(super) async fn run(args: PolicyArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Check { folder } => check::run(folder.as_deref(), client, out).await,
        Verb::Explain(args) => explain::run(*args, client, out).await,
        Verb::Versions => versions::list(client, out).await,
        Verb::Show(args) => versions::show(args, client, out).await,
        Verb::Diff(args) => compare::run(args, client, out).await,
        Verb::Replay(args) => replay::run(args, client, out).await,
        Verb::Rollback(args) => versions::rollback(args, client, out).await,
    }
}

/// Reads a folder, to be sent to the server.
fn read(folder: &Path) -> Result<SentPolicies, CliError> {
    let mut faults = Faults::default();
    let files = PolicyFiles::read(folder, &mut faults);
    if faults.any_errors() {
        return Err(CliError::File(
            faults.to_string(),
            Some("name a folder of policy files"),
        ));
    }
    Ok(SentPolicies {
        path: folder.display().to_string(),
        files: files.to_files(),
    })
}
