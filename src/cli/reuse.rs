//! `portcullis reuse`

use clap::{Args, Subcommand};

use super::Exit;
use super::output::{CliError, Out, confirm, moment};
use crate::admin::api::{ClearReuseRequest, ReuseCleared, ReuseList, ReuseRequest};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct ReuseArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List codes that still count, of one person or of everybody
    #[command(after_help = LIST_HELP)]
    List {
        /// Login name, distinguished name, or key of the record; everybody when left out
        user: Option<String>,
        /// Ask this directory only
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
        /// Most rows, up to 1000
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1000)]
        limit: usize,
    },
    /// Let codes count no more: the next bind needs a new one
    #[command(after_help = CLEAR_HELP)]
    Clear {
        /// Login name, distinguished name, or key of the record
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        user: Option<String>,
        /// Ask this directory only
        #[arg(long, value_name = "NAME", conflicts_with = "all")]
        directory: Option<String>,
        /// Everybody's
        #[arg(long)]
        all: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(super) async fn run(args: ReuseArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::List { user, directory, limit } => {
            let request = ReuseRequest {
                user,
                directory,
                limit: Some(limit),
            };
            print_list(&client.get("/v1/reuse", &request).await?, out)
        }
        Verb::Clear {
            user,
            directory,
            all,
            yes,
        } => {
            if all && !confirm(yes, "Have everybody give a new code?")? {
                return Ok(Exit::Refused);
            }
            let request = ClearReuseRequest { user, directory, all };
            let done: ReuseCleared = client.post("/v1/reuse/clear", &request).await?;
            if out.json {
                return out.json(&done);
            }
            out.line(format!("cleared: {}", done.cleared))?;
            Ok(Exit::Done)
        }
    }
}

fn print_list(found: &ReuseList, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(found);
    }
    let rows = found.reused.iter().map(|reused| {
        vec![
            reused.login.clone(),
            reused.client.clone(),
            reused.source.to_string(),
            reused.kinds.join("+"),
            reused.rule.clone(),
            moment(reused.given),
            moment(reused.until),
        ]
    });
    let head = ["LOGIN", "APPLICATION", "SOURCE", "KINDS", "RULE", "GIVEN", "UNTIL"];
    out.table(&head, rows.collect())?;
    if found.reused.is_empty() {
        out.line("no code counts for another login")?;
    }
    if found.more {
        out.line("there are more; name a person")?;
    }
    Ok(Exit::Done)
}

const LIST_HELP: &str = "\
Rules with `reuse` let a code count for later LDAP binds of the same application, source and
password. It is kept in memory: a restart or a reload forgets it.

Examples:
  portcullis reuse list
  portcullis reuse list ana
  portcullis reuse list --json | jq '.reused | length'";

const CLEAR_HELP: &str = "\
Examples:
  portcullis reuse clear ana
  portcullis reuse clear --all --yes";
