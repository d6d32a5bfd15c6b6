//! `portcullis report`

mod plot;

use clap::{Args, Subcommand, ValueEnum};

use super::Exit;
use super::audit::parse_moment;
use super::output::{CliError, Out, Tone, moment};
use crate::admin::api::{By, Report, ReportKind, ReportRequest};
use crate::admin::client::AdminClient;
use crate::clock::Timestamp;

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Who has a second factor, and how many must do something about theirs
    #[command(after_help = ENROLMENT_HELP)]
    Enrolment {
        /// People of this directory only
        #[arg(long, value_name = "NAME")]
        directory: Option<String>,
        /// Members of this group of that directory only: its distinguished name, or its `cn`
        #[arg(long, value_name = "GROUP", requires = "directory")]
        group: Option<String>,
        #[command(flatten)]
        shape: Shape,
    },
    /// Logins, by what came of them
    #[command(after_help = LOGINS_HELP)]
    Logins {
        #[command(flatten)]
        range: Range,
        /// What to count by
        #[arg(long, value_enum, default_value_t = LoginsBy::Day)]
        by: LoginsBy,
        #[command(flatten)]
        shape: Shape,
    },
    /// What operators did
    #[command(after_help = HELPDESK_HELP)]
    Helpdesk {
        #[command(flatten)]
        range: Range,
        /// What to count by [default: operator and action]
        #[arg(long, value_enum)]
        by: Option<HelpdeskBy>,
        #[command(flatten)]
        shape: Shape,
    },
    /// What was proven in logins that were let in
    #[command(after_help = FACTORS_HELP)]
    Factors {
        #[command(flatten)]
        range: Range,
        /// What to count by, besides the factor
        #[arg(long, value_enum)]
        by: Option<FactorsBy>,
        #[command(flatten)]
        shape: Shape,
    },
}

#[derive(Clone, Copy, Debug, Args)]
struct Range {
    /// Not before: 2030-01-31T12:00:00Z, 2030-01-31, or 30d for thirty days ago
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    since: Option<Timestamp>,
    /// Before that moment
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    until: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Args)]
struct Shape {
    /// Print CSV
    #[arg(long, conflicts_with = "plot")]
    csv: bool,
    /// Draw bars
    #[arg(long)]
    plot: bool,
    /// Draw with ASCII only, as where the locale is not UTF-8
    #[arg(long, requires = "plot")]
    ascii: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LoginsBy {
    Day,
    Hour,
    Client,
    Rule,
    Reason,
    Directory,
    Protocol,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HelpdeskBy {
    Operator,
    Action,
    Day,
    Hour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FactorsBy {
    Day,
    Client,
    Rule,
    Directory,
    Protocol,
}

impl Kind {
    fn request(&self) -> (ReportRequest, Shape) {
        let request = |kind, range: Option<&Range>, by| ReportRequest {
            kind,
            since: range.and_then(|range| range.since),
            until: range.and_then(|range| range.until),
            by,
            directory: None,
            group: None,
        };
        match self {
            Self::Enrolment {
                directory,
                group,
                shape,
            } => {
                let request = ReportRequest {
                    directory: directory.clone(),
                    group: group.clone(),
                    ..request(ReportKind::Enrolment, None, None)
                };
                (request, *shape)
            }
            Self::Logins { range, by, shape } => {
                let by = match by {
                    LoginsBy::Day => By::Day,
                    LoginsBy::Hour => By::Hour,
                    LoginsBy::Client => By::Client,
                    LoginsBy::Rule => By::Rule,
                    LoginsBy::Reason => By::Reason,
                    LoginsBy::Directory => By::Directory,
                    LoginsBy::Protocol => By::Protocol,
                };
                (request(ReportKind::Logins, Some(range), Some(by)), *shape)
            }
            Self::Helpdesk { range, by, shape } => {
                let by = by.map(|by| match by {
                    HelpdeskBy::Operator => By::Operator,
                    HelpdeskBy::Action => By::Action,
                    HelpdeskBy::Day => By::Day,
                    HelpdeskBy::Hour => By::Hour,
                });
                (request(ReportKind::Helpdesk, Some(range), by), *shape)
            }
            Self::Factors { range, by, shape } => {
                let by = by.map(|by| match by {
                    FactorsBy::Day => By::Day,
                    FactorsBy::Client => By::Client,
                    FactorsBy::Rule => By::Rule,
                    FactorsBy::Directory => By::Directory,
                    FactorsBy::Protocol => By::Protocol,
                });
                (request(ReportKind::Factors, Some(range), by), *shape)
            }
        }
    }
}

pub(super) async fn run(args: ReportArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let (request, shape) = args.kind.request();
    let report: Report = client.get("/v1/report", &request).await?;
    if shape.csv {
        return csv(&report, out);
    }
    if out.json {
        return out.json(&report);
    }
    if shape.plot {
        let canvas = plot::Canvas::here(shape.ascii, out.is_terminal());
        let lines = plot::draw(&report, &canvas, out);
        out.line(lines)?;
    } else {
        table(&report, out)?;
    }
    for note in &report.notes {
        let note = out.tint(Tone::Faint, note);
        out.line(note)?;
    }
    Ok(Exit::Done)
}

fn table(report: &Report, out: &mut Out<'_>) -> Result<(), CliError> {
    if let Some(since) = report.since {
        out.line(format!("since {}", moment(since)))?;
    }
    if let Some(until) = report.until {
        out.line(format!("until {}", moment(until)))?;
    }
    if report.rows.is_empty() {
        return out.line("nothing to count");
    }
    let heads: Vec<String> = report
        .heads
        .iter()
        .chain(&report.columns)
        .map(|head| head.to_uppercase())
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let number = |count: &u64| count.to_string();
    let mut rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .map(|row| row.of.iter().cloned().chain(row.counts.iter().map(number)).collect())
        .collect();
    if report.rows.len() > 1 {
        let mut sum = vec![out.tint(Tone::Bold, "total")];
        sum.resize(report.heads.len(), String::new());
        sum.extend(report.total.iter().map(number));
        rows.push(sum);
    }
    out.table(&heads, rows)
}

fn csv(report: &Report, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut write = |cells: Vec<String>| writer.write_record(cells).map_err(|error| CliError::Io(error.into()));
    write(report.heads.iter().chain(&report.columns).cloned().collect())?;
    for row in &report.rows {
        let counts = row.counts.iter().map(ToString::to_string);
        let of = row.of.iter().map(|text| crate::admin::api::export::guarded(text));
        write(of.chain(counts).collect())?;
    }
    let octets = writer.into_inner().map_err(|error| CliError::Io(error.into_error()))?;
    out.octets(&octets)
}

const ENROLMENT_HELP: &str = "\
Counts people as they are now, by directory, or the members of one group: registered have a token or recovery codes
that count; must register had them once and have none left; must update have all their tokens
switched off, at most two recovery codes left, or answers to security questions that are due or
locked; no record have those whom only the directory knows.

Examples:
  portcullis report enrolment
  portcullis report enrolment --directory main --group vpn-users --plot";

const LOGINS_HELP: &str = "\
Days and hours are those of UTC. With --plot each bar is a row, drawn in the parts of its outcomes.

Examples:
  portcullis report logins --since 30d --plot
  portcullis report logins --by reason --since 24h
  portcullis report logins --by client --since 2030-01-01 --until 2030-02-01 --csv > january.csv";

const HELPDESK_HELP: &str = "\
Everything that operators did over the admin socket, what was refused as well.

Examples:
  portcullis report helpdesk --since 7d
  portcullis report helpdesk --by operator --plot";

const FACTORS_HELP: &str = "\
A login with two factors counts for each of them.

Examples:
  portcullis report factors --since 90d
  portcullis report factors --by client --csv";
