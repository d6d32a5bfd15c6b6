//! `portcullis passcode`

use clap::{Args, Subcommand};

use super::output::{CliError, Out, moment};
use super::{Exit, UserArg};
use crate::admin::api::{IssueRequest, Issued, PasscodeView, PasscodesRequest, RevokePasscodeRequest};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct PasscodeArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Issue a passcode, shown this once; a live one is replaced
    #[command(after_help = ISSUE_HELP)]
    Issue {
        #[command(flatten)]
        user: UserArg,
        /// How long it lives, in minutes: 1 to 480
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=480))]
        minutes: u32,
        /// Let CHAP and MS-CHAPv2 take it, typed as it is shown; a sealed copy of the code is kept for that
        #[arg(long)]
        chap: bool,
    },
    /// List live passcodes of one person or of everybody, without the codes
    #[command(after_help = LIST_HELP)]
    List {
        /// Login name, distinguished name, or key of the record; everybody when left out
        user: Option<String>,
        /// Ask this directory only
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
    },
    /// Revoke a person's live passcode
    #[command(after_help = REVOKE_HELP)]
    Revoke {
        #[command(flatten)]
        user: UserArg,
        /// Only the passcode with this identifier
        #[arg(long)]
        id: Option<String>,
    },
}

pub(super) async fn run(args: PasscodeArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Issue { user, minutes, chap } => {
            let request = IssueRequest {
                user: user.user,
                directory: user.directory,
                minutes: Some(minutes),
                chap,
            };
            let issued: Issued = client.post("/v1/passcode/issue", &request).await?;
            print_issued(&issued, out)
        }
        Verb::List { user, directory } => {
            let request = PasscodesRequest { user, directory };
            let passcodes: Vec<PasscodeView> = client.get("/v1/passcodes", &request).await?;
            if out.json {
                return out.json(&passcodes);
            }
            if passcodes.is_empty() {
                out.line("no live passcodes")?;
            }
            print_passcodes(&passcodes, out)?;
            Ok(Exit::Done)
        }
        Verb::Revoke { user, id } => {
            let request = RevokePasscodeRequest {
                user: user.user,
                directory: user.directory,
                id,
            };
            let revoked: PasscodeView = client.post("/v1/passcode/revoke", &request).await?;
            if out.json {
                return out.json(&revoked);
            }
            out.line(format!("passcode {} of {} is revoked", revoked.id, revoked.login))?;
            Ok(Exit::Done)
        }
    }
}

fn print_issued(issued: &Issued, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(issued);
    }
    let passcode = &issued.passcode;
    out.pairs(&[
        ("passcode", Some(issued.code.clone())),
        ("for", Some(passcode.login.clone())),
        ("until", Some(moment(passcode.expires))),
        ("id", Some(passcode.id.clone())),
    ])?;
    if passcode.chap {
        out.line("Where the login goes by CHAP or MS-CHAPv2 it is typed as it stands here.")?;
    }
    out.line("Shown this once, good for one login. Three wrong passcodes revoke it.")?;
    if issued.replaced {
        out.line("It replaces one that was still live.")?;
    }
    Ok(Exit::Done)
}

pub(super) fn print_passcodes(passcodes: &[PasscodeView], out: &mut Out<'_>) -> Result<(), CliError> {
    let rows = passcodes.iter().map(|passcode| {
        vec![
            passcode.id.clone(),
            passcode.login.clone(),
            passcode.issued_by.clone(),
            moment(passcode.issued),
            moment(passcode.expires),
            passcode.failures.to_string(),
            if passcode.chap { "yes" } else { "no" }.into(),
        ]
    });
    out.table(
        &["PASSCODE", "FOR", "ISSUED BY", "ISSUED", "EXPIRES", "FAILURES", "CHAP"],
        rows.collect(),
    )
}

const ISSUE_HELP: &str = "\
For someone who has lost their token, once you are sure who they are. It stands for a code where a
rule takes a `passcode`. Nobody issues one for themselves.

Examples:
  portcullis passcode issue ana
  portcullis passcode issue ana --minutes 15
  portcullis passcode issue ana --chap
  portcullis passcode issue ana --json | jq -r .code";

const LIST_HELP: &str = "\
Examples:
  portcullis passcode list
  portcullis passcode list ana";

const REVOKE_HELP: &str = "\
Exit code 5 when there is no live one.

Example:
  portcullis passcode revoke ana";
