//! `portcullis session`

use clap::{Args, Subcommand};

use super::Exit;
use super::ending;
use super::output::{CliError, Out, moment};
use crate::admin::api::{SessionList, SessionRef, SessionView, SessionsRequest};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
pub(super) struct SessionArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List open sessions, of one person or of everybody
    #[command(after_help = LIST_HELP)]
    List {
        /// Login name, distinguished name, or key of the record; everybody when left out
        user: Option<String>,
        /// Ask this directory only
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
        /// Of this RADIUS client only
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
        /// Most rows, up to 1000
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1000)]
        limit: usize,
    },
    /// Show everything known of an open session
    #[command(after_help = SHOW_HELP)]
    Show {
        /// Its name as `session list` shows it, or its Acct-Session-Id
        session: String,
    },
    #[command(flatten)]
    Ending(ending::Verb),
}

pub(super) async fn run(args: SessionArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Ending(verb) => ending::run(verb, client, out).await,
        Verb::List {
            user,
            directory,
            client: of,
            limit,
        } => {
            let request = SessionsRequest {
                user,
                directory,
                client: of,
                limit: Some(limit),
            };
            let found: SessionList = client.get("/v1/sessions", &request).await?;
            print_list(&found, out)
        }
        Verb::Show { session } => {
            let view: SessionView = client.get("/v1/session", &SessionRef { session }).await?;
            print_session(&view, out)
        }
    }
}

fn print_list(found: &SessionList, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(found);
    }
    let rows = found.sessions.iter().map(|session| {
        let address = session.address.map(|address| address.to_string());
        vec![
            session.login.clone(),
            session.name.clone(),
            session.ending.map_or("open", |_| "ending").to_owned(),
            moment(session.started),
            span(session.seconds),
            amount(session.octets_in),
            amount(session.octets_out),
            address.or_else(|| session.address6.clone()).unwrap_or_default(),
            session.calling_station.clone().unwrap_or_default(),
        ]
    });
    let rows = rows.collect();
    let head = [
        "LOGIN",
        "SESSION",
        "STATE",
        "STARTED",
        "LASTED",
        "IN",
        "OUT",
        "ADDRESS",
        "CALLING FROM",
    ];
    out.table(&head, rows)?;
    if found.sessions.is_empty() {
        out.line("no session is open")?;
    }
    if found.more {
        out.line("there are more; name a person or a client")?;
    }
    Ok(Exit::Done)
}

fn print_session(session: &SessionView, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(session);
    }
    let begin = if session.start_seen {
        moment(session.started)
    } else {
        format!("{}, reckoned: the begin was not reported", moment(session.started))
    };
    let over = if session.encrypted { ", encrypted" } else { "" };
    out.pairs(&[
        ("session", Some(session.name.clone())),
        ("login", Some(session.login.clone())),
        (
            "key",
            Some(session.user.clone().unwrap_or_else(|| "not known whose".to_owned())),
        ),
        (
            "user name",
            session.user_name.clone().filter(|name| *name != session.login),
        ),
        (
            "client",
            Some(format!("{}, service {}", session.client, session.service)),
        ),
        ("nas", Some(session.nas.clone())),
        ("identifier", Some(session.id.clone())),
        ("multi-session", session.multi_id.clone()),
        ("started", Some(begin)),
        (
            "last heard",
            Some(format!("{} from {}{over}", moment(session.heard), session.source)),
        ),
        (
            "ending",
            session
                .ending
                .map(|since| format!("since {}, as its client was asked to", moment(since))),
        ),
        ("lasted", Some(span(session.seconds))),
        (
            "in",
            Some(format!("{} octets, {} packets", session.octets_in, session.packets_in)),
        ),
        (
            "out",
            Some(format!(
                "{} octets, {} packets",
                session.octets_out, session.packets_out
            )),
        ),
        ("address", session.address.map(|address| address.to_string())),
        ("address 6", session.address6.clone()),
        ("calling from", session.calling_station.clone()),
        ("called", session.called_station.clone()),
        (
            "port",
            session
                .port_id
                .clone()
                .or_else(|| session.port.map(|port| port.to_string())),
        ),
    ])?;
    Ok(Exit::Done)
}

/// Seconds for people: `2d 3h`, `5h 7m`, `12m 4s`.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days}d {}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h {}m", minutes % 60)
    } else {
        format!("{minutes}m {}s", seconds % 60)
    }
}

/// Octets for people.
fn amount(octets: u64) -> String {
    match octets {
        0..1024 => format!("{octets} B"),
        1024..1_048_576 => format!("{} KiB", octets >> 10),
        1_048_576..1_073_741_824 => format!("{} MiB", octets >> 20),
        1_073_741_824.. => format!("{} GiB", octets >> 30),
    }
}

const LIST_HELP: &str = "\
Sessions are known of RADIUS clients that send accounting here (RFC 2866). What is over is in the audit:
`portcullis audit search --action session`.

Examples:
  portcullis session list
  portcullis session list ana
  portcullis session list --client vpn --json | jq '.sessions | length'";

const SHOW_HELP: &str = "\
Examples:
  portcullis session show vpn/gw1/0A4F21
  portcullis session show 0A4F21";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_for_people() {
        let spans: Vec<String> = [59, 61, 3600, 90_061].into_iter().map(span).collect();
        assert_eq!(spans, ["0m 59s", "1m 1s", "1h 0m", "1d 1h"]);
        let amounts: Vec<String> = [1023, 1024, 5 << 20, 7 << 30].into_iter().map(amount).collect();
        assert_eq!(amounts, ["1023 B", "1 KiB", "5 MiB", "7 GiB"]);
    }
}
