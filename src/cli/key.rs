//! `portcullis key`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out, in_full};
use crate::keyring::Keyring;

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a key file with a fresh random key, mode 0600
    #[command(after_help = NEW_HELP)]
    New {
        /// The file to make; an existing one is never replaced
        file: PathBuf,
    },
}

pub(super) fn run(args: &KeyArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let Verb::New { file } = &args.verb;
    Keyring::create(file).map_err(|error| CliError::File(in_full(&error), None))?;
    if out.json {
        return out.json(&serde_json::json!({ "file": file }));
    }
    out.line(format!("made {}", file.display()))?;
    out.line("Keep a copy apart from the store's exports: without it they cannot be read.")?;
    Ok(Exit::Done)
}

const NEW_HELP: &str = "\
The key seals seeds and codes in the store. Keep it outside the store, and keep a copy.

Example:
  portcullis key new /etc/portcullis/portcullis.key";
