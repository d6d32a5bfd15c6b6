//! `portcullis login ldap`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::Exit;
use crate::cli::output::{CliError, Out, in_full, read_secret};
use crate::ldap::login::{LoginError, Report, Target, login};

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct LdapArgs {
    /// `ldap://host[:port]` or `ldaps://host[:port]`
    url: String,
    /// Distinguished name to bind as, or a login name
    #[arg(long)]
    user: String,
    /// Encrypt with StartTLS before the bind
    #[arg(long)]
    starttls: bool,
    /// PEM file of the authorities to verify the server with [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Name to verify the certificate for [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Longest time for each step, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

pub(super) async fn run(args: LdapArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let password = read_secret("Password (and code, where one is appended): ")?;
    if password.is_empty() {
        let what = "a bind without a password is anonymous and proves nothing (RFC 4513 section 5.1.2)";
        return Err(CliError::Usage(what.into(), None));
    }
    let target = Target {
        url: args.url,
        starttls: args.starttls,
        ca_file: args.ca_file,
        server_name: args.server_name,
        timeout: Duration::from_secs(args.timeout),
    };
    match login(&target, &args.user, &password).await {
        Ok(report) => print(&report, out),
        Err(error) => Err(told(&error)),
    }
}

fn print(report: &Report, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let exit = match report.code {
        SUCCESS => Exit::Done,
        BUSY | UNAVAILABLE => Exit::Unreachable,
        _ => Exit::Refused,
    };
    if out.json {
        out.json(&serde_json::json!({
            "outcome": if report.accepted() { "accepted" } else { "rejected" },
            "code": report.code,
            "diagnostic": report.diagnostic,
            "identity": report.identity,
            "encrypted": report.encrypted,
        }))?;
        return Ok(exit);
    }
    let word = match exit {
        Exit::Done => "accepted".to_owned(),
        Exit::Refused | Exit::Usage | Exit::Unreachable | Exit::Denied | Exit::NotFound => {
            format!("rejected: {}", report.words())
        }
    };
    let text = out.news(exit == Exit::Done, &word);
    out.line(text)?;
    if !report.diagnostic.is_empty() {
        out.line(&report.diagnostic)?;
    }
    if let Some(identity) = &report.identity {
        out.line(format!("the server says: {identity}"))?;
    }
    if !report.encrypted {
        let text = out.news(false, "the password travelled unencrypted");
        out.line(text)?;
    }
    Ok(exit)
}

/// resultCodes of RFC 4511 section 4.1.9.
const SUCCESS: i32 = 0;
const BUSY: i32 = 51;
const UNAVAILABLE: i32 = 52;

fn told(error: &LoginError) -> CliError {
    let text = in_full(error);
    match error {
        LoginError::Url(_) => CliError::Usage(text, None),
        LoginError::Tls(_) => CliError::File(text, None),
        LoginError::Handshake { .. } => CliError::Away(text, Some("name the authority's certificate with --ca-file")),
        LoginError::Connect { .. }
        | LoginError::StartTls { .. }
        | LoginError::Lost(_)
        | LoginError::TimedOut(_)
        | LoginError::NotLdap(_)
        | LoginError::Disconnected { .. } => CliError::Away(text, None),
    }
}

const HELP: &str = "\
The password is typed unseen, or read as the first line of standard input. Where the policy wants
a code, it goes behind the password as the listener's configuration says, after a comma by
default. Exit code 0 when accepted, 1 when rejected, 3 when there was no answer.

Examples:
  portcullis login ldap ldaps://127.0.0.1:636 --ca-file ca.pem --user uid=ana,ou=people,dc=example,dc=org
  echo 'correct-horse,492811' | portcullis login ldap ldap://127.0.0.1 --starttls --user ana";
