//! `portcullis backup`

mod configuration;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::output::{CliError, Out, in_full};
use super::store::{Place, failed, print};
use super::{ConfigArgs, Exit};
use crate::admin::api::BackupRequest;
use crate::admin::client::AdminClient;
use crate::store::export::{self, Receiver};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct BackupArgs {
    /// The file to write, readable by you alone
    #[arg(required = true)]
    file: Option<PathBuf>,
    /// Also copy the configuration and the policies, without secrets, into the folder FILE.config
    #[arg(long)]
    with_config: bool,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check that a backup, or an export, is whole, and that it belongs to the key file
    #[command(after_help = VERIFY_HELP)]
    Verify {
        /// The backup
        file: PathBuf,
        /// Do not look at the key file: check only what can be checked without it
        #[arg(long)]
        no_key: bool,
        #[command(flatten)]
        place: Place,
    },
}

pub(super) async fn run(args: BackupArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match (args.verb, args.file) {
        (Some(Verb::Verify { file, no_key, place }), _) => verify(&file, no_key, &place, out),
        (None, Some(file)) => {
            let config = args.with_config.then_some(&args.config.config);
            make(&file, config.map(PathBuf::as_path), client, out).await
        }
        (None, None) => Err(CliError::Usage("name the file to write".into(), None)),
    }
}

async fn make(file: &Path, config: Option<&Path>, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    // What can be refused is refused before the server begins.
    let config = config.map(configuration::read).transpose()?;
    let mut receiver = Receiver::create(file).map_err(failed)?;
    let asked = BackupRequest::default();
    client
        .receive("/v1/backup", &asked, |octets| receiver.write(octets))
        .await?;
    let summary = receiver.finish().map_err(failed)?;
    if let Some(config) = config {
        let mut folder = file.as_os_str().to_owned();
        folder.push(".config");
        let folder = PathBuf::from(folder);
        let written = config.write(&folder);
        written.map_err(|error| CliError::File(format!("cannot write {}: {error}", folder.display()), None))?;
    }
    print(&summary, file, "written and checked", out)
}

fn verify(file: &Path, no_key: bool, place: &Place, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if no_key {
        let summary = export::verify(file).map_err(failed)?;
        return print(&summary, file, "whole", out);
    }
    let keyring = match place.resolve() {
        Ok((_, keyring)) => keyring,
        Err(error) => {
            let remedy = "name the key file, or check with --no-key what can be checked without it";
            return Err(CliError::File(in_full(&error), Some(remedy)));
        }
    };
    let summary = export::verify_with(file, &keyring).map_err(failed)?;
    print(&summary, file, "whole, and its audit links under the key file", out)
}

pub(super) const HELP: &str = "\
Everything in the store as of one moment, while logins go on: asked from the running server, checked
after writing, readable by you alone. Seeds and codes in it stay sealed: without the key file it is of
no use, so keep both, apart. What is in the audit says who made it.

Examples:
  portcullis backup /var/backups/portcullis.backup
  portcullis backup /var/backups/portcullis.backup --with-config -c /etc/portcullis/portcullis.toml
  portcullis backup verify /var/backups/portcullis.backup
  portcullis restore /var/backups/portcullis.backup --replace";

const VERIFY_HELP: &str = "\
Exit code 1 when the file is damaged, 2 when it belongs to another key file. No server is asked.

Examples:
  portcullis backup verify portcullis.backup -c /etc/portcullis/portcullis.toml
  portcullis backup verify portcullis.backup --no-key";
