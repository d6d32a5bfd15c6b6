//! `portcullis recovery-codes`

use clap::{Args, Subcommand};

use super::output::{CliError, Out, confirm};
use super::{Exit, UserArg};
use crate::admin::api::{RecoveryCodes, UserView};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct RecoveryCodesArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a new set of codes, shown this once; unused old ones are void
    #[command(after_help = NEW_HELP)]
    New {
        #[command(flatten)]
        user: UserArg,
        /// Do not ask, also when unused codes become void
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(args: RecoveryCodesArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let Verb::New { user, yes } = args.verb;
    if !yes {
        let view: UserView = client.get("/v1/user", &user.to_request()).await?;
        let question = format!(
            "{} has {} unused codes; make them void?",
            view.login, view.recovery_codes
        );
        if view.recovery_codes > 0 && !confirm(false, &question)? {
            return Ok(Exit::Refused);
        }
    }
    let made: RecoveryCodes = client.post("/v1/recovery-codes/new", &user.to_request()).await?;
    if out.json {
        return out.json(&made);
    }
    out.line(format!("Recovery codes of {}, each good for one login:", made.login))?;
    for code in &made.codes {
        out.line(format!("  {code}"))?;
    }
    out.line("Shown this once. Blanks, dashes and case do not matter when they are typed.")?;
    if made.replaced > 0 {
        out.line(format!("{} unused old codes are void now.", made.replaced))?;
    }
    Ok(Exit::Done)
}

const NEW_HELP: &str = "\
Examples:
  portcullis recovery-codes new ana
  portcullis recovery-codes new ana --yes --json | jq -r '.codes[]'";
