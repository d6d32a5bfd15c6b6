//! `portcullis offline`: machines that cannot reach us.

mod key_file;
mod terminal;
mod tries;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::output::{CliError, Out, confirm, grouped};
use super::token::print_tokens;
use super::{Exit, UserArg, qr};
use crate::admin::api::{MachineRef, OfflineEnrolled, OfflineResponse, RespondRequest, TokenView};
use crate::admin::client::AdminClient;
use key_file::KeyFile;

#[derive(Debug, Args)]
pub(super) struct OfflineArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the key of a person's machine, shown this once
    #[command(after_help = ENROL_HELP)]
    Enrol {
        #[command(flatten)]
        machine: MachineArg,
        /// Write the machine's key file here, readable by you alone; an existing one is never replaced
        #[arg(long, value_name = "FILE")]
        key_file: Option<PathBuf>,
        /// Print no QR code
        #[arg(long)]
        no_qr: bool,
    },
    /// Say the response to the challenge that a machine shows; for helpdesk, never for oneself
    #[command(after_help = RESPOND_HELP)]
    Respond {
        #[command(flatten)]
        user: UserArg,
        /// The eight digits, or what the QR code says
        challenge: String,
        /// Which machine, if the person has several
        #[arg(long, value_name = "NAME")]
        machine: Option<String>,
    },
    /// List a person's machines
    #[command(after_help = LIST_HELP)]
    List(UserArg),
    /// Take a machine's key away: nobody gets a response for it any more
    #[command(after_help = REVOKE_HELP)]
    Revoke {
        #[command(flatten)]
        machine: MachineArg,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// On the machine itself: show a challenge, and ask for the response; needs no server
    #[command(after_help = verify::HELP)]
    Verify(verify::VerifyArgs),
}

#[derive(Clone, Debug, Args)]
struct MachineArg {
    #[command(flatten)]
    user: UserArg,
    /// What the machine is called: letters, digits, `.`, `_`, `-`
    #[arg(long, value_name = "NAME")]
    machine: String,
}

impl MachineArg {
    fn to_request(&self) -> MachineRef {
        MachineRef {
            user: self.user.user.clone(),
            directory: self.user.directory.clone(),
            machine: self.machine.clone(),
        }
    }
}

pub(super) async fn run(args: OfflineArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Enrol {
            machine,
            key_file,
            no_qr,
        } => enrol(&machine, key_file, no_qr, client, out).await,
        Verb::Respond {
            user,
            challenge,
            machine,
        } => {
            let request = RespondRequest {
                user: user.user,
                directory: user.directory,
                challenge,
                machine,
            };
            let response: OfflineResponse = client.post("/v1/offline/respond", &request).await?;
            if out.json {
                return out.json(&response);
            }
            out.pairs(&[
                ("response", Some(grouped(&response.response))),
                ("for", Some(format!("{} at {}", response.login, response.machine))),
            ])?;
            Ok(Exit::Done)
        }
        Verb::List(user) => {
            let machines: Vec<TokenView> = client.get("/v1/offline", &user.to_request()).await?;
            if out.json {
                return out.json(&machines);
            }
            if machines.is_empty() {
                out.line(format!("{} has no machines", user.user))?;
            }
            print_tokens(&machines, out)?;
            Ok(Exit::Done)
        }
        Verb::Revoke { machine, yes } => {
            let question = format!("Revoke the key of `{}` of {}?", machine.machine, machine.user.user);
            if !confirm(yes, &question)? {
                return Ok(Exit::Refused);
            }
            let revoked: TokenView = client.post("/v1/offline/revoke", &machine.to_request()).await?;
            if out.json {
                return out.json(&revoked);
            }
            out.line(format!(
                "the key of {} of {} is revoked",
                revoked.label, machine.user.user
            ))?;
            out.line("The machine itself takes responses until its key file is deleted; nobody can give any.")?;
            Ok(Exit::Done)
        }
        Verb::Verify(args) => verify::run(&args, out),
    }
}

async fn enrol(
    machine: &MachineArg,
    key_file: Option<PathBuf>,
    no_qr: bool,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    // Before the key is made: it is shown once.
    let file = key_file.map(key_file::Fresh::create).transpose()?;
    let request = machine.to_request();
    let enrolled: OfflineEnrolled = client.post("/v1/offline/enrol", &request).await?;
    let text = KeyFile::text(&enrolled);
    if let Some(file) = file {
        file.fill(&text)?;
    }
    if out.json {
        return out.json(&enrolled);
    }
    out.line(format!("{} of {} has a key now:", enrolled.token.label, enrolled.login))?;
    if !no_qr {
        out.line(qr::blocks(&enrolled.uri)?)?;
    }
    out.line(&*text)?;
    out.line("Shown this once. It is the machine's key file, readable there by root alone.")?;
    Ok(Exit::Done)
}

const ENROL_HELP: &str = "\
For a machine whose people cannot be asked for a second factor while it reaches no server. The key
is known to the machine and to us; `offline verify` there asks for the response that `offline
respond` says here. It proves no other login. Nobody makes one for themselves.

Examples:
  portcullis offline enrol ana --machine laptop-7
  portcullis offline enrol ana --machine laptop-7 --key-file laptop-7.key --no-qr";

const RESPOND_HELP: &str = "\
Once you are sure who is calling. Every response is written to the audit; a person gets 10 within
an hour at most.

Examples:
  portcullis offline respond ana 12345678
  portcullis offline respond ana '1234 5678' --machine laptop-7";

const LIST_HELP: &str = "\
Example:
  portcullis offline list ana";

const REVOKE_HELP: &str = "\
Example:
  portcullis offline revoke ana --machine laptop-7";
