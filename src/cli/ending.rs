//! `portcullis session end` and `refresh`: what clients are asked about their sessions.

use clap::Subcommand;

use super::Exit;
use super::output::{CliError, Out};
use crate::admin::api::{Asked, AskedReport, EndRequest, RefreshRequest};
use crate::admin::client::AdminClient;

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Have clients end a person's sessions, or one session
    #[command(after_help = END_HELP)]
    End {
        /// Login name, distinguished name, or key of the record
        #[arg(required_unless_present = "session", conflicts_with = "session")]
        user: Option<String>,
        /// Ask this directory only
        #[arg(long, value_name = "NAME", conflicts_with = "session")]
        directory: Option<String>,
        /// The session of this name, or with this Acct-Session-Id
        #[arg(long, value_name = "ID")]
        session: Option<String>,
        /// Only at this RADIUS client
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
    },
    /// Decide open sessions again by the policies as they are now
    #[command(after_help = REFRESH_HELP)]
    Refresh {
        /// Login name, distinguished name, or key of the record; everybody when left out
        user: Option<String>,
        /// Ask this directory only
        #[arg(long, value_name = "NAME", requires = "user")]
        directory: Option<String>,
        /// Only at this RADIUS client
        #[arg(long, value_name = "NAME")]
        client: Option<String>,
    },
}

pub(super) async fn run(verb: Verb, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let report: AskedReport = match verb {
        Verb::End {
            user,
            directory,
            session,
            client: at,
        } => {
            let request = EndRequest {
                user,
                directory,
                session,
                client: at,
            };
            client.post("/v1/session/end", &request).await?
        }
        Verb::Refresh {
            user,
            directory,
            client: at,
        } => {
            let request = RefreshRequest {
                user,
                directory,
                client: at,
            };
            client.post("/v1/session/refresh", &request).await?
        }
    };
    if out.json {
        out.json(&report)?;
    } else {
        if report.sessions.is_empty() {
            out.line("no open sessions")?;
        }
        print(&report, out)?;
    }
    Ok(if report.is_done() { Exit::Done } else { Exit::Refused })
}

/// The sessions with what came of each; nothing when there are none.
pub(super) fn print(report: &AskedReport, out: &mut Out<'_>) -> Result<(), CliError> {
    let rows = report.sessions.iter().map(|session| {
        let asked = match session.asked {
            Asked::Disconnect => "end",
            Asked::Change => "change",
            Asked::Nothing => "-",
        };
        vec![
            session.session.clone(),
            session.login.clone(),
            session.because.clone().unwrap_or_default(),
            asked.to_owned(),
            out.news(session.is_done(), &session.outcome),
            session.detail.clone(),
        ]
    });
    let rows = rows.collect();
    out.table(&["SESSION", "LOGIN", "BECAUSE", "ASKED TO", "OUTCOME", "DETAIL"], rows)?;
    if report.more {
        out.line("there are more sessions, which were left alone; run it again")?;
    }
    Ok(())
}

const END_HELP: &str = "\
The client is sent a Disconnect-Request (RFC 5176) for each session, if its `dynamic_authorization`
is configured. A session that the client agrees to end is closed by its Stop, or two minutes later at
most; one that the client does not know is closed at once (`gone`). Nobody is kept from logging in
again: that is `portcullis deny`. Exit code 1 unless every client agreed or has no such session; 5 when
there is no such session here.

Examples:
  portcullis session end ana
  portcullis session end ana --client vpn
  portcullis session end --session 8A2F01C4";

const REFRESH_HELP: &str = "\
Whoever would be refused now is disconnected. For the others the client is sent a CoA-Request
(RFC 5176) with the attributes that the rule gives now; without any there is nothing to change.
Attributes that a rule gives no more stay as the client has them until the next login. Exit code 1
unless every client agreed.

Examples:
  portcullis reload && portcullis session refresh
  portcullis session refresh ana";
