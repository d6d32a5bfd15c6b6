//! `portcullis session`

use clap::{Args, Subcommand};

use super::Exit;
use super::ending;
use super::output::{CliError, Out};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct SessionArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    #[command(flatten)]
    Ending(ending::Verb),
}

pub(super) async fn run(args: SessionArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Ending(verb) => ending::run(verb, client, out).await,
    }
}
