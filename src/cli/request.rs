//! `portcullis request`, `portcullis approve`

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out, moment};
use super::passcode::holders;
use crate::admin::api::{RefuseRequest, RequestRef, RequestReport, RequestView, RequestsRequest};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what people ask to have approved
    #[command(after_help = LIST_HELP)]
    List {
        /// Most rows, up to 1000
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1000)]
        limit: usize,
    },
    /// Show one request, and who may approve it
    #[command(after_help = SHOW_HELP)]
    Show {
        /// The request's identifier
        id: String,
    },
    /// Deny a request: the login that waits for it is refused
    #[command(after_help = DENY_HELP)]
    Deny {
        /// The request's identifier
        id: String,
        /// Why, for the record and the audit
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The request's identifier, as the one who asks was told
    id: String,
}

pub(super) async fn run(args: RequestArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::List { limit } => {
            let request = RequestsRequest { limit: Some(limit) };
            let open: Vec<RequestView> = client.get("/v1/requests", &request).await?;
            print_list(&open, out)
        }
        Verb::Show { id } => print_one(&client.get("/v1/request", &RequestRef { id }).await?, out),
        Verb::Deny { id, reason } => {
            let denied = client.post("/v1/request/deny", &RefuseRequest { id, reason }).await?;
            print_decided(&denied, out)
        }
    }
}

pub(super) async fn approve(args: ApproveArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let approved = client.post("/v1/request/approve", &RequestRef { id: args.id }).await?;
    print_decided(&approved, out)
}

fn print_decided(request: &RequestView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(request);
    }
    let RequestView {
        id,
        action,
        login,
        client,
        state,
        ..
    } = request;
    out.line(format!("{state}: {id}, {action} of {login} by {client}"))?;
    Ok(Exit::Done)
}

fn print_list(open: &[RequestView], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&open);
    }
    let rows = open.iter().map(|request| {
        vec![
            request.id.clone(),
            request.action.clone(),
            request.login.clone(),
            request.client.clone(),
            from(request),
            moment(request.asked),
            moment(request.expires),
            request.state.clone(),
        ]
    });
    let head = ["REQUEST", "FOR", "BY", "CLIENT", "FROM", "ASKED", "EXPIRES", "STATE"];
    out.table(&head, rows.collect())?;
    if open.is_empty() {
        out.line("nobody asks for anything")?;
    }
    Ok(Exit::Done)
}

fn print_one(report: &RequestReport, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(report);
    }
    let request = &report.request;
    out.pairs(&[
        ("request", Some(request.id.clone())),
        ("for", Some(request.action.clone())),
        ("by", Some(request.login.clone())),
        ("client", Some(request.client.clone())),
        ("service", Some(request.service.clone())),
        ("from", Some(from(request))),
        ("asked", Some(moment(request.asked))),
        ("expires", Some(moment(request.expires))),
        ("state", Some(request.state.clone())),
        ("decided by", request.by.clone()),
        ("decided", request.decided.map(moment)),
        ("reason", request.reason.clone()),
        ("may approve", Some(holders(&report.approvers))),
    ])?;
    Ok(Exit::Done)
}

/// Where it comes from: what the client says of the person's device, else the network source.
fn from(request: &RequestView) -> String {
    match &request.calling_station {
        Some(station) => format!("{station} by {}", request.source),
        None => request.source.to_string(),
    }
}

pub(super) const APPROVE_HELP: &str = "\
For the person's manager, or a member of the configured group, under their own account; nobody
approves for themselves. Look first at who asks, and from where: `portcullis request show ID`.
Exit code 5 when there is no such request any more.

Example:
  portcullis approve K7QXM3";

const LIST_HELP: &str = "\
Examples:
  portcullis request list
  portcullis request list --json | jq -r '.[].id'";

const SHOW_HELP: &str = "\
Example:
  portcullis request show K7QXM3";

const DENY_HELP: &str = "\
Any operator may deny. Exit code 5 when there is no such request any more.

Example:
  portcullis request deny K7QXM3 --reason \"ana did not ask\"";
