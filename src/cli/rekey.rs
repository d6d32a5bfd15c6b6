//! `portcullis rekey`, while no server runs.

use std::path::PathBuf;

use clap::Args;

use super::output::{CliError, Out, confirm, in_full};
use super::store::Place;
use super::{Exit, account};
use crate::clock;
use crate::store::rekey::{self, RekeyError, Rekeyed, Rekeying};

#[derive(Debug, Args)]
pub(super) struct RekeyArgs {
    /// Write the new key file here and leave the old one in its place, for you to put the new one there
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Give up the pepper of answers too: everybody has to define their answers anew
    #[arg(long)]
    renew_answers: bool,
    /// Only look whether it can be done, and say what would be
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(args: RekeyArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let (store, key_file) = args.place.paths()?;
    let question = format!("Put {} under a new key?", store.display());
    if !args.dry_run && !confirm(args.yes, &question)? {
        return Ok(Exit::Refused);
    }
    let how = Rekeying {
        store,
        key_file,
        into: args.new_key_file,
        renew_answers: args.renew_answers,
        dry_run: args.dry_run,
        by: account(),
        now: clock::now(),
    };
    let done = rekey::rekey(&how).await.map_err(failed)?;
    told(&how, &done, out)
}

fn told(how: &Rekeying, done: &Rekeyed, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let (former_store, former_key) = match &done.former {
        Some((store, key)) => (Some(store), key.as_ref()),
        None => (None, None),
    };
    if out.json {
        return out.json(&serde_json::json!({
            "resealed": done.resealed,
            "dry_run": how.dry_run,
            "key_file": done.key_file,
            "former_store": former_store,
            "former_key_file": former_key,
        }));
    }
    let what = if how.dry_run { "can be" } else { "are" };
    if let Some(count) = &done.resealed {
        out.line(format!(
            "{} seeds, {} passcodes and {} questions of {} people, and {} versions of the policies {what} sealed anew",
            count.seeds, count.passcodes, count.questions, count.people, count.policies
        ))?;
        if count.digests > 0 {
            out.line(format!(
                "{} sets of recovery codes and passcodes go on under the digest key of the former key file",
                count.digests
            ))?;
        }
        if count.answers > 0 {
            let said = if how.renew_answers {
                "have to be defined anew"
            } else {
                "go on under the former pepper; --renew-answers has them defined anew"
            };
            out.line(format!("{} sets of answers {said}", count.answers))?;
        }
    } else {
        out.line("An earlier run had done all but the last step; it is finished now.")?;
    }
    let Some(former_store) = former_store else {
        out.line("Nothing was changed.")?;
        return Ok(Exit::Done);
    };
    match former_key {
        Some(former_key) => out.line(format!(
            "{} is the new key. Keep a copy of it apart. Backups made before need the old one, {}; the old store is \
             {}. Destroy both when nothing needs them any more.",
            done.key_file.display(),
            former_key.display(),
            former_store.display()
        ))?,
        None => out.line(format!(
            "{} is the new key: put it in place of {} before you start the server. The old store is {}; destroy it \
             when all is well.",
            done.key_file.display(),
            how.key_file.display(),
            former_store.display()
        ))?,
    }
    Ok(Exit::Done)
}

fn failed(error: RekeyError) -> CliError {
    let text = in_full(&error);
    match error {
        RekeyError::Open(_) => CliError::File(text, Some("stop the server first; nothing was changed")),
        RekeyError::NoExchange(..) => {
            CliError::File(text, Some("move the store to a file system that can: ext4, XFS, Btrfs"))
        }
        RekeyError::Io(..)
        | RekeyError::Key(_)
        | RekeyError::NoStore(_)
        | RekeyError::InTheWay(_)
        | RekeyError::UnknownRecord(_) => CliError::File(text, None),
        RekeyError::Store(_) | RekeyError::Record(..) | RekeyError::Chain(_) | RekeyError::Unlike(_) => {
            CliError::Local(text)
        }
    }
}

pub(super) const HELP: &str = "\
Makes a new key file, and seals every secret in the store with it: seeds, keys, passcodes, questions in
people's own words. The store is written anew beside the old one and checked, then both take their
places. Cut off anywhere, the old store and the old key work on, or the next run finishes what was begun.

What only a digest is stored of cannot be sealed anew: recovery codes, passcodes, answers. The new key
file carries on the keys of those digests, and of the audit so far, so that all of it goes on counting;
the old key itself is not in it. Dialogs under way end. Backups and exports made before need the old key
file.

Examples:
  portcullis rekey --dry-run -c /etc/portcullis/portcullis.toml
  portcullis rekey -c /etc/portcullis/portcullis.toml
  portcullis rekey --new-key-file /root/new.key --renew-answers";
