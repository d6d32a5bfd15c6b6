//! `portcullis request`, `portcullis approve`

use std::collections::BTreeMap;

use clap::{Args, Subcommand};

use super::output::{CliError, Out, moment};
use super::passcode::holders;
use super::{Exit, UserArg};
use crate::admin::api::{
    LevelView, NewRequest, RefuseRequest, RequestRef, RequestReport, RequestView, RequestsRequest,
};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask for something that takes an approval
    #[command(after_help = NEW_HELP)]
    New {
        /// What for: passcode, token-enrol, token-revoke, unlock, password-reset, enable, disable, deny, unregister …
        action: String,
        #[command(flatten)]
        user: UserArg,
        /// With which parameters, as they are to be when it is done
        #[arg(value_name = "NAME=VALUE", value_parser = parse_parameter)]
        parameters: Vec<(String, String)>,
        /// Why, for those who are to approve it and the audit
        #[arg(long)]
        reason: String,
    },
    /// List what people ask to have approved
    #[command(after_help = LIST_HELP)]
    List {
        /// Only what you have asked for
        #[arg(long)]
        mine: bool,
        /// Only what waits for your approval
        #[arg(long)]
        for_me: bool,
        /// Also what was denied, cancelled or used, until it expires
        #[arg(long)]
        all: bool,
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
    /// Deny a request, at any level: it is over
    #[command(after_help = DENY_HELP)]
    Deny {
        /// The request's identifier
        id: String,
        /// Why, for the record and the audit
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take back a request of yours
    #[command(after_help = CANCEL_HELP)]
    Cancel {
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
    /// Why, for the record and the audit
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn run(args: RequestArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::New {
            action,
            user,
            parameters,
            reason,
        } => {
            let request = NewRequest {
                action,
                user: user.user,
                directory: user.directory,
                reason,
                parameters: parameters.into_iter().collect::<BTreeMap<_, _>>(),
            };
            print_new(&client.post("/v1/request/new", &request).await?, out)
        }
        Verb::List {
            mine,
            for_me,
            all,
            limit,
        } => {
            let request = RequestsRequest {
                limit: Some(limit),
                mine,
                for_me,
                all,
            };
            let open: Vec<RequestView> = client.get("/v1/requests", &request).await?;
            print_list(&open, out)
        }
        Verb::Show { id } => print_one(&client.get("/v1/request", &RequestRef { id }).await?, out),
        Verb::Deny { id, reason } => {
            let denied = client.post("/v1/request/deny", &RefuseRequest { id, reason }).await?;
            print_decided(&denied, out)
        }
        Verb::Cancel { id, reason } => {
            let cancelled = client.post("/v1/request/cancel", &RefuseRequest { id, reason }).await?;
            print_decided(&cancelled, out)
        }
    }
}

pub(super) async fn approve(args: ApproveArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let ApproveArgs { id, reason } = args;
    let approved = client
        .post("/v1/request/approve", &RefuseRequest { id, reason })
        .await?;
    print_decided(&approved, out)
}

fn parse_parameter(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().replace('-', "_"), value.trim().to_owned())),
        Some(_) => Err("it has no name before `=`".into()),
        None => Ok((text.trim().replace('-', "_"), "true".to_owned())),
    }
}

fn print_new(request: &RequestView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(request);
    }
    out.line(format!("request {}, until {}", request.id, moment(request.expires)))?;
    let levels: Vec<&str> = request.levels.iter().map(|level| level.who.as_str()).collect();
    out.line(format!("to be approved by {}", levels.join(", then ")))?;
    out.line(format!("Once it is, do it with `--under {}`.", request.id))?;
    Ok(Exit::Done)
}

fn print_decided(request: &RequestView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(request);
    }
    let RequestView {
        id,
        action,
        login,
        state,
        ..
    } = request;
    let by = match &request.client {
        Some(client) => format!(" by {client}"),
        None => format!(", asked for by {}", request.asked_by),
    };
    out.line(format!("{state}: {id}, {action} of {login}{by}"))?;
    let done = request.levels.iter().filter(|level| level.by.is_some()).count();
    if let Some(next) = request.levels.get(done).filter(|_| state == "pending") {
        out.line(format!("It waits for {} now.", next.who))?;
    }
    Ok(Exit::Done)
}

fn print_list(open: &[RequestView], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&open);
    }
    let rows = open.iter().map(|request| {
        let done = request.levels.iter().filter(|level| level.by.is_some()).count();
        vec![
            request.id.clone(),
            request.action.clone(),
            request.login.clone(),
            request.asked_by.clone(),
            about(request),
            moment(request.asked),
            moment(request.expires),
            request.state.clone(),
            format!("{done}/{}", request.levels.len()),
        ]
    });
    let head = [
        "REQUEST",
        "FOR",
        "OF",
        "BY",
        "WITH OR FROM",
        "ASKED",
        "EXPIRES",
        "STATE",
        "LEVELS",
    ];
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
    let waits = request.state == "pending";
    out.pairs(&[
        ("request", Some(request.id.clone())),
        ("for", Some(request.action.clone())),
        ("of", Some(request.login.clone())),
        ("by", Some(request.asked_by.clone())),
        ("why", request.why.clone()),
        (
            "with",
            Some(request.parameters.join(" ")).filter(|text| !text.is_empty()),
        ),
        ("client", request.client.clone()),
        ("service", request.service.clone()),
        ("from", request.client.as_ref().map(|_| from(request))),
        ("asked", Some(moment(request.asked))),
        ("expires", Some(moment(request.expires))),
        ("state", Some(request.state.clone())),
        ("decided by", request.by.clone()),
        ("decided", request.decided.map(moment)),
        ("reason", request.reason.clone()),
        ("may approve", waits.then(|| holders(&report.approvers))),
    ])?;
    out.line("")?;
    let rows = request
        .levels
        .iter()
        .zip(1..)
        .map(|(level, number): (&LevelView, usize)| {
            vec![
                number.to_string(),
                level.who.clone(),
                level.by.clone().unwrap_or_default(),
                level.at.map(moment).unwrap_or_default(),
                level.reason.clone().unwrap_or_default(),
            ]
        });
    out.table(&["LEVEL", "WHO MAY", "APPROVED BY", "WHEN", "WHY"], rows.collect())?;
    Ok(Exit::Done)
}

/// What is asked for: a login's place, or a deed's parameters.
fn about(request: &RequestView) -> String {
    match &request.client {
        Some(client) => format!("{client}, {}", from(request)),
        None => request.parameters.join(" "),
    }
}

/// Where a login comes from: what the client says of the person's device, else the network source.
fn from(request: &RequestView) -> String {
    let source = request.source.map(|source| source.to_string()).unwrap_or_default();
    match &request.calling_station {
        Some(station) => format!("{station} by {source}"),
        None => source,
    }
}

pub(super) const APPROVE_HELP: &str = "\
For those whom the level that it waits for names (the person's manager, a member of a group), or
whom one of them has handed it to with `delegation add`, each under their own account. Nobody
approves what they asked for, what is about themselves, or the same request twice. Look first at
who asks, and for what: `portcullis request show ID`. Exit code 5 when there is no such request
any more.

Examples:
  portcullis approve K7QXM3
  portcullis approve K7QXM3 --reason 'seen in person'";

const NEW_HELP: &str = "\
Where `[[approval]]` in the configuration says that something takes an approval, doing it without
one is refused. Ask for it here; once every level has approved, do it with `--under ID`, under
the same account, once, and before the request expires. Parameters are bound: what is done must
say the same. Secrets (seeds, codes, answers) are no parameters.

Examples:
  portcullis request new passcode ana minutes=15 --reason 'phone lost'
  portcullis request list --mine
  portcullis passcode issue ana --minutes 15 --under K7QXM3
  portcullis request new token-revoke ana token=2 --reason 'left the company'";

const LIST_HELP: &str = "\
Examples:
  portcullis request list
  portcullis request list --for-me
  portcullis request list --mine --all
  portcullis request list --json | jq -r '.[].id'";

const SHOW_HELP: &str = "\
Example:
  portcullis request show K7QXM3";

const DENY_HELP: &str = "\
Any operator may deny a request that waits. (`portcullis deny` keeps a person out; it takes no
requests.) Exit code 5 when there is no such request any more.

Example:
  portcullis request deny K7QXM3 --reason \"ana did not ask\"";

const CANCEL_HELP: &str = "\
Also once it is approved, as long as it was not used.

Example:
  portcullis request cancel K7QXM3";
