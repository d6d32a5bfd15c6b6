//! `portcullis deny`

use clap::Args;

use super::audit::span;
use super::output::{CliError, Out, moment};
use super::{Exit, ending, schedule};
use crate::admin::api::{
    AskedReport, DenyReport, DenyRequest, DenyView, GroupDenialView, GroupDenyReport, GroupDenyRequest,
    GroupUndenyRequest, ScheduledAction, UndenyRequest, moment as rfc3339,
};
use crate::admin::client::AdminClient;
use crate::clock::{self, Timestamp};

#[derive(Debug, Args)]
pub(super) struct DenyArgs {
    /// Login name, distinguished name, or key of the record
    #[arg(required_unless_present_any = ["list", "group"], conflicts_with_all = ["list", "group"])]
    user: Option<String>,
    /// Everybody in a group instead: its distinguished name, or its cn
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    group: Option<String>,
    /// Ask this directory only
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    directory: Option<String>,
    /// When it ends by itself: a moment, a date, or a span from now; only when lifted, if left out
    #[arg(long, value_name = "TIME", value_parser = parse_until, conflicts_with_all = ["list", "lift"])]
    until: Option<Timestamp>,
    /// When it begins: a moment, a date, or a span from now; at once, if left out
    #[arg(long, value_name = "TIME", value_parser = parse_until, conflicts_with_all = ["list", "lift"])]
    from: Option<Timestamp>,
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
    if let Some(group) = args.group.clone() {
        return of_group(group, args, client, out).await;
    }
    let Some(user) = args.user else {
        let people: Vec<DenyView> = client.get("/v1/denials", &()).await?;
        let groups: Vec<GroupDenialView> = client.get("/v1/group/denials", &()).await?;
        return print_denials(&people, &groups, out);
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
    if let Some(at) = args.from {
        return schedule::add(at, ScheduledAction::Deny(request), client, out).await;
    }
    let report: DenyReport = client.post("/v1/user/deny", &request).await?;
    print_report(&report, out)
}

async fn of_group(group: String, args: DenyArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let directory = args.directory;
    if args.lift {
        let request = GroupUndenyRequest {
            group,
            directory,
            reason: args.reason,
        };
        let lifted: GroupDenialView = client.post("/v1/group/undeny", &request).await?;
        if out.json {
            return out.json(&lifted);
        }
        out.line(format!("members of {} may log in again", lifted.group))?;
        return Ok(Exit::Done);
    }
    let request = GroupDenyRequest {
        group,
        directory,
        until: args.until,
        reason: args.reason.unwrap_or_default(),
    };
    if let Some(at) = args.from {
        return schedule::add(at, ScheduledAction::DenyGroup(request), client, out).await;
    }
    let report: GroupDenyReport = client.post("/v1/group/deny", &request).await?;
    if out.json {
        return out.json(&report);
    }
    let denial = &report.denied.denial;
    out.line(format!("members of {} are denied {}", denial.group, ends(denial.until)))?;
    if report.denied.replaced {
        out.line("It replaces a denial that was in force.")?;
    }
    print_ended(report.connections, &report.sessions, report.not_asked.as_deref(), out)?;
    Ok(Exit::Done)
}

/// What became of what was open.
pub(super) fn print_ended(
    connections: usize,
    sessions: &AskedReport,
    not_asked: Option<&str>,
    out: &mut Out<'_>,
) -> Result<(), CliError> {
    if connections > 0 {
        out.line(format!("LDAP connections closed: {connections}"))?;
    }
    if let Some(error) = not_asked {
        let text = out.news(false, &format!("open sessions were not ended: {error}"));
        out.line(text)?;
    }
    if !sessions.sessions.is_empty() {
        out.line("")?;
        ending::print(sessions, out)?;
    }
    Ok(())
}

fn print_report(report: &DenyReport, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        return out.json(report);
    }
    let denied = &report.denied;
    let denial = &denied.denial;
    out.line(format!("{} is denied {}", denial.login, ends(denial.until)))?;
    if denied.replaced {
        out.line("It replaces a denial that was in force.")?;
    }
    print_ended(report.connections, &report.sessions, report.not_asked.as_deref(), out)?;
    Ok(Exit::Done)
}

fn print_denials(denials: &[DenyView], groups: &[GroupDenialView], out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json {
        let people = denials.iter().map(|denial| serde_json::json!(denial));
        let all: Vec<_> = people
            .chain(groups.iter().map(|denial| serde_json::json!(denial)))
            .collect();
        return out.json(&all);
    }
    if denials.is_empty() && groups.is_empty() {
        out.line("nobody is denied")?;
    }
    let of_group = groups.iter().map(|denial| {
        vec![
            format!("members of {}", denial.group),
            denial.directory.clone().unwrap_or_else(|| "every directory".to_owned()),
            denial.until.map_or_else(|| "lifted".to_owned(), moment),
            denial.by.clone(),
            moment(denial.at),
            denial.reason.clone(),
        ]
    });
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
    let rows = of_group.chain(rows);
    out.table(&["DENIED", "KEY", "UNTIL", "BY", "SINCE", "REASON"], rows.collect())?;
    Ok(Exit::Done)
}

/// A denial on one line.
pub(super) fn told(denial: &DenyView) -> String {
    format!("{}, by {}: {}", ends(denial.until), denial.by, denial.reason)
}

/// The denial of a group on one line.
pub(super) fn told_of_group(denial: &GroupDenialView) -> String {
    let (group, ends) = (&denial.group, ends(denial.until));
    format!("as a member of {group}, {ends}, by {}: {}", denial.by, denial.reason)
}

fn ends(until: Option<Timestamp>) -> String {
    until.map_or_else(|| "until lifted".to_owned(), |until| format!("until {}", moment(until)))
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
ends at its time or when it is lifted. With --group it is everybody in a group, nested groups as
the directory says, who is in it when they come; open sessions and LDAP connections of members are
ended as those of one person are. With --from it begins later (`portcullis schedule list`).

Examples:
  portcullis deny ana --reason 'laptop stolen'
  portcullis deny ana --until 2h --reason 'under investigation'
  portcullis deny --group contractors --until 2030-01-31 --reason 'contract ended'
  portcullis deny ana --from 2030-01-31T18:00:00Z --reason 'last day'
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
