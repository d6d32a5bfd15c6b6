//! `portcullis delegation`

use clap::{Args, Subcommand};

use super::Exit;
use super::deny::parse_until;
use super::output::{CliError, Out, moment};
use crate::admin::api::{DelegateRequest, DelegationRef, DelegationView, DelegationsRequest};
use crate::admin::client::AdminClient;
use crate::clock::Timestamp;

#[derive(Debug, Args)]
pub(super) struct DelegationArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Have another operator approve what you may approve, for a while
    #[command(after_help = ADD_HELP)]
    Add {
        /// The other operator's local account
        to: String,
        /// In which matters: action=ACTION[,ACTION], group=NAME, below=DN, or all; what is said counts together
        #[arg(long, value_name = "SCOPE", required = true)]
        scope: Vec<String>,
        /// When it ends: a moment, a date, or a span from now
        #[arg(long, value_name = "TIME", value_parser = parse_until)]
        until: Timestamp,
        /// Why, for other operators and the audit
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// List the delegations that count
    #[command(after_help = LIST_HELP)]
    List {
        /// Only yours: from you, and to you
        #[arg(long)]
        mine: bool,
    },
    /// End a delegation at once
    #[command(after_help = END_HELP)]
    End {
        /// The delegation's identifier
        id: String,
    },
}

pub(super) async fn run(args: DelegationArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Add {
            to,
            scope,
            until,
            reason,
        } => {
            let request = DelegateRequest {
                to,
                scope,
                until,
                reason,
            };
            let made: DelegationView = client.post("/v1/delegation/add", &request).await?;
            if out.json {
                return out.json(&made);
            }
            let (id, to, until) = (&made.id, &made.to, moment(made.expires));
            out.line(format!("delegation {id}: {to} approves in your place until {until}"))?;
            Ok(Exit::Done)
        }
        Verb::List { mine } => {
            let request = DelegationsRequest { mine };
            print_list(
                &client.get::<Vec<DelegationView>>("/v1/delegations", &request).await?,
                out,
            )
        }
        Verb::End { id } => {
            let ended: DelegationView = client.post("/v1/delegation/end", &DelegationRef { id }).await?;
            if out.json {
                return out.json(&ended);
            }
            let DelegationView { id, from, to, .. } = &ended;
            out.line(format!(
                "delegation {id} has ended: {to} approves nothing more for {from}"
            ))?;
            Ok(Exit::Done)
        }
    }
}

fn print_list(delegations: &[DelegationView], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&delegations);
    }
    let rows = delegations.iter().map(|delegation| {
        vec![
            delegation.id.clone(),
            delegation.from.clone(),
            delegation.to.clone(),
            delegation.scope.join(" "),
            moment(delegation.expires),
            delegation.reason.clone(),
        ]
    });
    let head = ["DELEGATION", "FROM", "TO", "SCOPE", "UNTIL", "REASON"];
    out.table(&head, rows.collect())?;
    if delegations.is_empty() {
        out.line("nobody approves in another's place")?;
    }
    Ok(Exit::Done)
}

const ADD_HELP: &str = "\
The other one may then approve requests and logins, and release second halves of passcodes, where
you may at that moment: as a manager, or as a member of a group. What was handed to you is not
handed on. You and they count as one person in one matter. Actions are those of `request new`,
`login` and `passcode-release`.

Examples:
  portcullis delegation add ben --scope all --until 7d --reason 'on leave'
  portcullis delegation add ben --scope action=passcode,unlock --scope group=sales --until 2030-02-01 \\
      --reason 'first line'";

const LIST_HELP: &str = "\
Examples:
  portcullis delegation list
  portcullis delegation list --mine";

const END_HELP: &str = "\
Any operator may end one. Exit code 5 when there is no such delegation any more.

Example:
  portcullis delegation end K7QXM3";
