//! `portcullis restore`, while no server runs.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{CliError, Out, confirm};
use super::store::{Place, failed, print};
use super::{Exit, account};
use crate::clock;
use crate::engine::event::{AuditEvent, Outcome};
use crate::store::export::{self, Restoring};

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup, or the export
    file: PathBuf,
    /// Set the store that is there aside, as STORE.former
    #[arg(long)]
    replace: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &RestoreArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if args.replace {
        let (folder, _) = args.place.paths()?;
        let question = format!(
            "Put what {} holds in place of {}?",
            args.file.display(),
            folder.display()
        );
        // An empty place has nothing to lose.
        if folder.exists() && !confirm(args.yes, &question)? {
            return Ok(Exit::Refused);
        }
    }
    restore(&args.file, &args.place, args.replace, out)
}

pub(super) fn restore(file: &Path, place: &Place, replace: bool, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let (folder, keyring) = place.resolve()?;
    let note = AuditEvent {
        at: clock::now(),
        action: "restore".into(),
        actor: account(),
        target: None,
        via: "cli".into(),
        client: None,
        source: None,
        rule: None,
        factors: Vec::new(),
        outcome: Outcome::Accept,
        reason: Some(format!("from {}", file.display())),
        context: None,
    };
    let how = Restoring {
        replace,
        note: Some(note),
    };
    let restored = export::restore(file, &folder, &keyring, &how).map_err(failed)?;
    print(&restored.summary, &folder, "restored", out)?;
    if let Some(former) = restored.former.filter(|_| !out.json) {
        out.line(format!(
            "What was there is in {}. Destroy it when all is well.",
            former.display()
        ))?;
    }
    Ok(Exit::Done)
}

pub(super) const HELP: &str = "\
Everything is checked first: checksums, the key file, every link of the audit. The new store is made
beside the place it is for and put there in one step: cut off at any moment, there is the old store or
the new one. That it was restored is the last record of its audit.

Everything since the backup is undone: failures and locks are forgotten, and codes used since (recovery
codes, passcodes, codes by counter, codes by time of the last two minutes) can be used once more. Issue
new ones where that matters.

Examples:
  portcullis restore portcullis.backup -c /etc/portcullis/portcullis.toml
  portcullis restore portcullis.backup --replace
  portcullis restore portcullis.backup --store /tmp/looked-at --key-file portcullis.key";
