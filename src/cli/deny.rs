//! `portcullis deny`

use clap::Args;

use super::audit::span;
use super::output::{CliError, Out, moment};
use super::{Exit, ending};
use crate::admin::api::{DenyReport, DenyRequest, DenyView, UndenyRequest, moment as rfc3339};
use crate::admin::client::AdminClient;
use crate::clock::{self, Timestamp};

#[derive(Debug, Args)]
pub(super) struct DenyArgs {
    /// Login name, distinguished name, or key of the record
    #[arg(required_unless_present = "list", conflicts_with = "list")]
    user: Option<String>,
    /// Ask this directory only
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    directory: Option<String>,
    /// When it ends by itself: a moment, a date, or a span from now; only when lifted, if left out
    #[arg(long, value_name = "TIME", value_parser = parse_until, conflicts_with_all = ["list", "lift"])]
    until: Option<Timestamp>,
    /// Why, for other operators and the audit
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["list", "lift"], conflicts_with = "list")]
    reason: Option<String>,
    /// Lift the person's denial
    #[arg(long)]
    lift: bool,
    /// Show who is denied
    #[arg(long, conflicts_with = "lift")]
    list: bool,
}

pub(super) async fn run(args: DenyArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let Some(user) = args.user else {
        let denials: Vec<DenyView> = client.get("/v1/denials", &()).await?;
        return print_denials(&denials, out);
    };
    if args.lift {
        let request = UndenyRequest {
            user,
            directory: args.directory,
            reason: args.reason,
        };
        let lifted: DenyView = client.post("/v1/user/undeny", &request).await?;
        if out.json {
            return out.json(&lifted);
        }
        out.line(format!("{} may log in again", lifted.login))?;
        return Ok(Exit::Done);
    }
    let request = DenyRequest {
        user,
        directory: args.directory,
        until: args.until,
        reason: args.reason.unwrap_or_default(),
    };
    let report: DenyReport = client.post("/v1/user/deny", &request).await?;
    print_report(&report, out)
}

fn print_report(report: &DenyReport, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(report);
    }
    let denied = &report.denied;
    let denial = &denied.denial;
    out.line(format!("{} is denied {}", denial.login, ends(denial)))?;
    if denied.replaced {
        out.line("It replaces a denial that was in force.")?;
    }
    if report.connections > 0 {
        out.line(format!("LDAP connections closed: {}", report.connections))?;
    }
    if let Some(error) = &report.not_asked {
        let text = out.news(false, &format!("open sessions were not ended: {error}"));
        out.line(text)?;
    }
    if !report.sessions.sessions.is_empty() {
        out.line("")?;
        ending::print(&report.sessions, out)?;
    }
    Ok(Exit::Done)
}

fn print_denials(denials: &[DenyView], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(&denials);
    }
    if denials.is_empty() {
        out.line("nobody is denied")?;
    }
    let rows = denials.iter().map(|denial| {
        vec![
            denial.login.clone(),
            denial.user.clone(),
            denial.until.map_or_else(|| "lifted".to_owned(), moment),
            denial.by.clone(),
            moment(denial.at),
            denial.reason.clone(),
        ]
    });
    out.table(&["DENIED", "KEY", "UNTIL", "BY", "SINCE", "REASON"], rows.collect())?;
    Ok(Exit::Done)
}

/// A denial on one line.
pub(super) fn told(denial: &DenyView) -> String {
    format!("{}, by {}: {}", ends(denial), denial.by, denial.reason)
}

fn ends(denial: &DenyView) -> String {
    denial
        .until
        .map_or_else(|| "until lifted".to_owned(), |until| format!("until {}", moment(until)))
}

/// Reads a moment to come: RFC 3339, a date (its first moment in UTC), or a span from now.
pub(super) fn parse_until(text: &str) -> Result<Timestamp, String> {
    parse_until_at(text, clock::now())
}

fn parse_until_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    let at = rfc3339::parse(text)
        .or_else(|| rfc3339::parse(&format!("{text}T00:00:00Z")))
        .or_else(|| span(text).map(|span| now + span));
    match at {
        Some(at) if at > now => Ok(at),
        Some(_) => Err("that is past".into()),
        None => Err("expected 2030-01-31T12:00:00Z, 2030-01-31, or a span from now such as 30m, 2h, 7d".into()),
    }
}

pub(super) const HELP: &str = "\
From the moment this is done the person is refused over RADIUS and LDAP, whatever the rules say.
They are asked what others are asked, and told what others are told. It outlives restarts, and
ends at its time or when it is lifted.

Examples:
  portcullis deny ana --reason 'laptop stolen'
  portcullis deny ana --until 2h --reason 'under investigation'
  portcullis deny --list
  portcullis deny ana --lift";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn moments_to_come() {
        let now = Timestamp::from_secs(1_000_000);
        let read = |text| parse_until_at(text, now).map(Timestamp::secs).ok();
        assert_eq!(read("1970-02-01T00:00:00Z"), Some(2_678_400));
        assert_eq!(read("1970-02-01"), Some(2_678_400));
        assert_eq!(read("2h"), Some(1_007_200));
        assert_eq!(read("3d"), Some(1_259_200));
        for bad in ["", "0s", "1970-01-02", "tomorrow", "-2h", "2"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_denial_needs_a_name_and_a_reason() {
        let line = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        for good in [
            "portcullis deny ana --reason x",
            "portcullis deny ana --until 2h --reason x",
            "portcullis deny ana --lift",
            "portcullis deny --list",
        ] {
            assert!(line(good), "{good}");
        }
        for bad in [
            "portcullis deny",
            "portcullis deny ana",
            "portcullis deny ana --until yesterday --reason x",
            "portcullis deny ana --lift --until 2h",
            "portcullis deny ana --list",
            "portcullis deny --lift",
        ] {
            assert!(!line(bad), "{bad}");
        }
    }
}
