//! `portcullis store`: works on the files themselves, while no server runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::output::{CliError, Out, in_full};
use super::restore::restore;
use super::{ConfigArgs, Exit};
use crate::config::Config;
use crate::keyring::Keyring;
use crate::store::Store as _;
use crate::store::export::{self, ExportError, Summary};
use crate::store::sled::SledStore;

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the whole store into one checksummed file
    #[command(after_help = EXPORT_HELP)]
    Export {
        /// The file to write
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Check that an export is whole
    #[command(after_help = VERIFY_HELP)]
    Verify {
        /// The export
        file: PathBuf,
    },
    /// Make a store from an export
    #[command(after_help = RESTORE_HELP)]
    Restore {
        /// The export
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the store and its key are.
#[derive(Debug, Args)]
pub(super) struct Place {
    #[command(flatten)]
    config: ConfigArgs,
    /// Folder of the store, instead of the configuration's
    #[arg(long, value_name = "FOLDER", requires = "key_file")]
    store: Option<PathBuf>,
    /// The store's key file, instead of the configuration's
    #[arg(long, value_name = "FILE", requires = "store")]
    key_file: Option<PathBuf>,
}

pub(super) async fn run(args: StoreArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Export { file, place } => {
            let (folder, keyring) = place.resolve()?;
            // Opening would make an empty store where there is none.
            if !folder.is_dir() {
                let what = format!("there is no store at {}", folder.display());
                return Err(CliError::File(
                    what,
                    Some("name its folder with --store, or the configuration with -c"),
                ));
            }
            let store = SledStore::open(&folder, CACHE, keyring)
                .map_err(|error| CliError::File(in_full(&error), Some("a running server writes exports by itself")))?;
            let summary = export::export(&*store, &file).await;
            let closed = store.close().await;
            let summary = summary.map_err(failed)?;
            closed.map_err(|error| CliError::Local(in_full(&error)))?;
            print(&summary, &file, "written", out)
        }
        Verb::Verify { file } => {
            let summary = export::verify(&file).map_err(failed)?;
            print(&summary, &file, "whole", out)
        }
        Verb::Restore { file, place } => restore(&file, &place, false, out),
    }
}

/// Memory for the store's pages, in octets.
const CACHE: u64 = 64 << 20;

impl Place {
    /// The folder, and the keys.
    pub(super) fn resolve(&self) -> Result<(PathBuf, Arc<Keyring>), CliError> {
        let (folder, key_file) = self.paths()?;
        let keyring = Keyring::load(&key_file).map_err(|error| CliError::File(in_full(&error), None))?;
        Ok((folder, Arc::new(keyring)))
    }

    /// The folder and the key file.
    pub(super) fn paths(&self) -> Result<(PathBuf, PathBuf), CliError> {
        Ok(match (&self.store, &self.key_file) {
            (Some(store), Some(key_file)) => (store.clone(), key_file.clone()),
            _ => {
                let (config, _) = Config::load(&self.config.config).map_err(|faults| {
                    CliError::File(faults.to_string(), Some("mend it, or name --store and --key-file"))
                })?;
                let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
                let key_file = config.key_file(credentials.as_deref().map(Path::new));
                (config.store_path(), key_file)
            }
        })
    }
}

pub(super) fn failed(error: ExportError) -> CliError {
    let text = in_full(&error);
    match error {
        ExportError::Damaged { .. } | ExportError::Store(_) => CliError::Local(text),
        ExportError::Io(..)
        | ExportError::Format(..)
        | ExportError::WrongKey(_)
        | ExportError::Open(_)
        | ExportError::Former(_) => CliError::File(text, None),
        ExportError::Exists(_) => CliError::File(
            text,
            Some("with --replace the store that is there is set aside and kept"),
        ),
        ExportError::InPlace(_) => CliError::File(text, Some("stop the server first")),
    }
}

pub(super) fn print(summary: &Summary, place: &Path, what: &str, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&serde_json::json!({
            "place": place,
            "records": summary.records,
            "audit": summary.audit,
            "size": summary.size,
        }));
    }
    out.line(format!(
        "{}: {what}, {} records and {} audit records, {} KiB",
        place.display(),
        summary.records,
        summary.audit,
        summary.size.div_ceil(1024)
    ))?;
    Ok(Exit::Done)
}

const EXPORT_HELP: &str = "\
The server writes exports by itself while it runs (store.export_every), into <node.state>/exports.
This makes one from a store that no server has open. Seeds and codes stay sealed: an export is of
no use without the key file, so keep both, apart.

Examples:
  portcullis store export /var/backups/portcullis.export -c /etc/portcullis/portcullis.toml
  portcullis store export today.export --store state/store --key-file state/portcullis.key";

const VERIFY_HELP: &str = "\
Exit code 1 when the file is damaged. The chain of the audit in it is checked when it is restored.

Example:
  portcullis store verify /var/lib/portcullis/exports/portcullis-1700000000000.export";

const RESTORE_HELP: &str = "\
As `portcullis restore`, without --replace: an existing store is never touched.

Example:
  portcullis store restore FILE -c /etc/portcullis/portcullis.toml";
