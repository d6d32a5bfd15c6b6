//! `portcullis passcode`

use clap::{Args, Subcommand};

use super::output::{CliError, Out, moment};
use super::{Exit, UserArg};
use crate::admin::api::{
    IssueRequest, Issued, PasscodeView, PasscodesRequest, ReleaseRequest, Released, RevokePasscodeRequest,
    SecondHolders,
};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct PasscodeArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Issue a passcode, shown this once, whole or its first half; a live one is replaced
    #[command(after_help = ISSUE_HELP)]
    Issue {
        #[command(flatten)]
        user: UserArg,
        /// How long it lives, in minutes: 1 to 480; as configured when left out, which is an hour
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=480))]
        minutes: Option<u32>,
        /// Let CHAP and MS-CHAPv2 take it, typed as it is shown; a sealed copy of the code is kept for that
        #[arg(long)]
        chap: bool,
        /// It stands in for a second factor that was lost: none is asked for beside it
        #[arg(long)]
        replaces_factor: bool,
    },
    /// Release the second half of a passcode, shown this once
    #[command(after_help = RELEASE_HELP)]
    Release {
        /// The passcode's identifier
        id: String,
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
        Verb::Issue {
            user,
            minutes,
            chap,
            replaces_factor,
        } => {
            let request = IssueRequest {
                user: user.user,
                directory: user.directory,
                minutes,
                chap,
                replaces_factor,
            };
            let issued: Issued = client.post("/v1/passcode/issue", &request).await?;
            print_issued(&issued, out)
        }
        Verb::Release { id } => {
            let released: Released = client.post("/v1/passcode/release", &ReleaseRequest { id }).await?;
            print_released(&released, out)
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
    let code = if passcode.halves { "first half" } else { "passcode" };
    out.pairs(&[
        (code, Some(issued.code.clone())),
        ("for", Some(passcode.login.clone())),
        ("until", Some(moment(passcode.expires))),
        ("id", Some(passcode.id.clone())),
        ("second half", issued.second.as_ref().map(holders)),
    ])?;
    if passcode.chap {
        out.line("Where the login goes by CHAP or MS-CHAPv2 it is typed as it stands here.")?;
    }
    if passcode.replaces_factor {
        out.line("It stands in for a second factor that was lost: none is asked for beside it.")?;
    }
    out.line("Shown this once, good for one login. Three wrong passcodes revoke it.")?;
    if passcode.halves {
        let release = format!("portcullis passcode release {}", passcode.id);
        out.line(format!(
            "It opens nothing before the second half is released: {release}"
        ))?;
    }
    if issued.replaced {
        out.line("It replaces one that was still live.")?;
    }
    Ok(Exit::Done)
}

/// Who may be the second of two people.
pub(super) fn holders(second: &SecondHolders) -> String {
    let manager = second.manager.as_ref().map(|login| format!("{login} (manager)"));
    let group = second.group.as_ref().map(|group| format!("a member of {group}"));
    let holders: Vec<String> = manager.into_iter().chain(group).collect();
    match holders.is_empty() {
        true => "nobody".to_owned(),
        false => holders.join(", or "),
    }
}

fn print_released(released: &Released, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(released);
    }
    let passcode = &released.passcode;
    out.pairs(&[
        ("second half", Some(released.second.clone())),
        ("for", Some(passcode.login.clone())),
        ("until", Some(moment(passcode.expires))),
        ("issued by", Some(passcode.issued_by.clone())),
        ("id", Some(passcode.id.clone())),
    ])?;
    out.line("Shown this once. It is typed when the second part is asked for, or right behind the first half.")?;
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
            passcode.state.word().into(),
        ]
    });
    out.table(
        &[
            "PASSCODE",
            "FOR",
            "ISSUED BY",
            "ISSUED",
            "EXPIRES",
            "FAILURES",
            "CHAP",
            "STATE",
        ],
        rows.collect(),
    )
}

const ISSUE_HELP: &str = "\
For someone who cannot log in, once you are sure who they are. It stands for a code where a rule
takes a `passcode`; typed in place of the password it leads to a new one, where a rule for
`password-change` takes it. Nobody issues one for themselves. Where passcodes have two halves (`four_eyes`),
the first is shown here and another person releases the second.

Examples:
  portcullis passcode issue ana
  portcullis passcode issue ana --minutes 15
  portcullis passcode issue ana --chap
  portcullis passcode issue ana --replaces-factor
  portcullis passcode issue ana --json | jq -r .code";

const RELEASE_HELP: &str = "\
For the person's manager, or a member of the configured group, under their own account; never for
who issued it, and nobody releases their own. Make sure who asks before you read it out.

Example:
  portcullis passcode release 7h2kq9xw";

const LIST_HELP: &str = "\
Examples:
  portcullis passcode list
  portcullis passcode list ana";

const REVOKE_HELP: &str = "\
Exit code 5 when there is no live one.

Example:
  portcullis passcode revoke ana";
