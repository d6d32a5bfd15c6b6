//! `portcullis audit`

mod export;
mod signed;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::Exit;
use super::output::{CliError, Out, Tone, moment};
use crate::admin::api::{
    AuditLine, AuditOrder, AuditRequest, Outcome, Stretch, Verification, VerifyRequest, moment as rfc3339,
};
use crate::admin::client::AdminClient;
use crate::clock::{self, Timestamp};

#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show the newest records, and new ones as they come
    #[command(after_help = TAIL_HELP)]
    Tail {
        #[command(flatten)]
        filter: FilterArgs,
        /// How many of the newest
        #[arg(
            short = 'n',
            long,
            visible_alias = "lines",
            value_name = "COUNT",
            default_value_t = 20
        )]
        limit: usize,
        /// Go on until Ctrl-C
        #[arg(short, long)]
        follow: bool,
    },
    /// Search all records, newest first
    #[command(after_help = SEARCH_HELP)]
    Search {
        #[command(flatten)]
        filter: FilterArgs,
        /// Most records
        #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1000)]
        limit: usize,
        /// The oldest first
        #[arg(long)]
        oldest_first: bool,
        /// Go on at this record, where an earlier search stopped
        #[arg(long, value_name = "SEQUENCE")]
        from: Option<u64>,
    },
    /// Write records for other programs: JSON, CSV, syslog
    #[command(after_help = export::HELP)]
    Export(export::ExportArgs),
    /// Check that no record was changed, moved or taken out
    #[command(after_help = VERIFY_HELP)]
    Verify(VerifyArgs),
    /// Print a signed statement of how far the audit has got, to note it elsewhere
    #[command(after_help = CHECKPOINT_HELP)]
    Checkpoint,
    /// Print the public key that checkpoints are checked with
    #[command(after_help = KEY_HELP)]
    Key,
    /// Take old records away for good
    #[command(after_help = PRUNE_HELP)]
    Prune {
        /// Records before this moment may go: 2030-01-31T12:00:00Z, 2030-01-31, or 400d for 400 days ago
        #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
        before: Timestamp,
        /// Only tell what would go
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// A head that an earlier verification printed: the chain must pass through it
    #[arg(long, value_name = "SEQUENCE:LINK", conflicts_with = "export")]
    noted: Option<String>,
    /// A checkpoint noted earlier, or a file that holds it: the chain must pass through it
    #[arg(long, value_name = "TEXT|FILE")]
    checkpoint: Option<String>,
    /// Verify this export of the store instead, without the server and without the key file
    #[arg(long, value_name = "FILE", requires = "public_key")]
    export: Option<PathBuf>,
    /// What `audit key` printed, or a file that holds it
    #[arg(long, value_name = "KEY|FILE", requires = "export")]
    public_key: Option<String>,
}

#[derive(Clone, Debug, Default, Args)]
struct FilterArgs {
    /// Not before: 2030-01-31T12:00:00Z, 2030-01-31, or 2h for two hours ago
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    since: Option<Timestamp>,
    /// Before that moment
    #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
    until: Option<Timestamp>,
    /// Who did it or whom it was done to
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Who did it
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
    /// What was done: `login`, `token.enrol`, or `token` for everything about tokens
    #[arg(long)]
    action: Option<String>,
    /// What came of it
    #[arg(long, value_enum)]
    outcome: Option<OutcomeArg>,
    /// Through which RADIUS client or LDAP listener
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Which policy rule decided
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// From which address or network: 192.0.2.7, 192.0.2.0/24
    #[arg(long, value_name = "ADDRESS")]
    source: Option<String>,
    /// Over which protocol: `radius`, `ldap`, `admin`
    #[arg(long, value_name = "NAME")]
    via: Option<String>,
    /// Text anywhere in the record
    #[arg(long)]
    text: Option<String>,
    /// Print one JSON object a line
    #[arg(long)]
    jsonl: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OutcomeArg {
    Accept,
    Restricted,
    Reject,
    Unavailable,
}

impl FilterArgs {
    fn request(&self) -> AuditRequest {
        AuditRequest {
            since: self.since,
            until: self.until,
            user: self.user.clone(),
            actor: self.actor.clone(),
            action: self.action.clone(),
            outcome: self.outcome.map(|outcome| match outcome {
                OutcomeArg::Accept => Outcome::Accept,
                OutcomeArg::Restricted => Outcome::Restricted,
                OutcomeArg::Reject => Outcome::Reject,
                OutcomeArg::Unavailable => Outcome::Unavailable,
            }),
            client: self.client.clone(),
            rule: self.rule.clone(),
            source: self.source.clone(),
            via: self.via.clone(),
            text: self.text.clone(),
            ..AuditRequest::default()
        }
    }
}

pub(super) async fn run(args: AuditArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Tail { filter, limit, follow } => tail(&filter, limit, follow, client, out).await,
        Verb::Search {
            filter,
            limit,
            oldest_first,
            from,
        } => {
            let order = if oldest_first {
                AuditOrder::Oldest
            } else {
                AuditOrder::Newest
            };
            search(&filter, order, from, limit, client, out).await
        }
        Verb::Export(args) => export::run(args, client, out).await,
        Verb::Verify(args) => verify(args, client, out).await,
        Verb::Checkpoint => signed::checkpoint(client, out).await,
        Verb::Key => signed::key(client, out).await,
        Verb::Prune { before, dry_run, yes } => signed::prune(before, dry_run, yes, client, out).await,
    }
}

async fn tail(
    filter: &FilterArgs,
    limit: usize,
    follow: bool,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let request = AuditRequest {
        last: Some(limit),
        ..filter.request()
    };
    let mut stretch: Stretch = client.get("/v1/audit", &request).await?;
    warn_damaged(&stretch);
    if !follow {
        return print_all(&stretch.records, filter, out);
    }
    loop {
        for line in &stretch.records {
            if out.json || filter.jsonl {
                out.json_line(line)?;
            } else {
                print_line(line, out)?;
            }
        }
        if stretch.end {
            tokio::time::sleep(POLL).await;
        }
        let request = AuditRequest {
            from: Some(stretch.next),
            ..filter.request()
        };
        stretch = client.get("/v1/audit", &request).await?;
    }
}

async fn search(
    filter: &FilterArgs,
    order: AuditOrder,
    from: Option<u64>,
    limit: usize,
    client: &AdminClient,
    out: &mut Out<'_>,
) -> Result<Exit, CliError> {
    let mut found: Vec<AuditLine> = Vec::new();
    let mut count = 0;
    let mut from = from;
    while count < limit {
        let request = AuditRequest {
            from,
            order: Some(order),
            limit: Some((limit - count).min(1000)),
            ..filter.request()
        };
        let stretch: Stretch = client.get("/v1/audit", &request).await?;
        warn_damaged(&stretch);
        count += stretch.records.len();
        if out.json && !filter.jsonl {
            found.extend(stretch.records);
        } else {
            print_all(&stretch.records, filter, out)?;
        }
        from = Some(stretch.next).filter(|_| !stretch.end);
        if stretch.end {
            break;
        }
    }
    if let Some(next) = from.filter(|_| count >= limit) {
        notice(&format!("there is more: go on with --from {next}"));
    }
    if out.json && !filter.jsonl {
        return out.json(&found);
    }
    Ok(Exit::Done)
}

/// Says what the records that were printed do not show.
fn warn_damaged(stretch: &Stretch) {
    for damage in &stretch.damaged {
        notice(&format!("not looked at: {damage}; run: portcullis audit verify"));
    }
}

/// Goes beside the records, which may be piped on.
#[allow(clippy::print_stderr, reason = "a message for people, apart from the output")]
fn notice(text: &str) {
    eprintln!("{text}");
}

async fn verify(args: VerifyArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let checkpoint = args.checkpoint.as_deref().map(signed::text_or_file).transpose()?;
    if let (Some(export), Some(key)) = (&args.export, &args.public_key) {
        return signed::verify_export(export, key, checkpoint.as_deref(), out);
    }
    let request = VerifyRequest {
        noted: args.noted,
        checkpoint,
    };
    let verified: Verification = client.get("/v1/audit/verify", &request).await?;
    print_verification(&verified, out)
}

fn print_all(lines: &[AuditLine], filter: &FilterArgs, out: &mut Out<'_>) -> Result<Exit, CliError> {
    if out.json && !filter.jsonl {
        return out.json(&lines);
    }
    for line in lines {
        if filter.jsonl {
            out.json_line(line)?;
        } else {
            print_line(line, out)?;
        }
    }
    Ok(Exit::Done)
}

fn print_line(line: &AuditLine, out: &mut Out<'_>) -> Result<(), CliError> {
    let outcome = line.outcome.to_string();
    let mut text = format!(
        "{}  {}  {}  {}",
        out.tint(Tone::Faint, &format!("{:>6}", line.sequence)),
        moment(line.at),
        out.news(line.outcome == Outcome::Accept, &format!("{outcome:<11}")),
        line.action,
    );
    let mut field = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            text.push_str(&format!("  {name}={value}"));
        }
    };
    field("by", Some(&line.actor));
    field("client", line.client.as_deref());
    field("source", line.source.map(|source| source.to_string()).as_deref());
    field("rule", line.rule.as_deref());
    field(
        "factors",
        Some(line.factors.join("+").as_str()).filter(|factors| !factors.is_empty()),
    );
    if let Some(reason) = &line.reason {
        text.push_str(&format!("  {reason}"));
    }
    out.line(text)
}

fn print_verification(verified: &Verification, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let exit = match verified {
        Verification::Whole(_) => Exit::Done,
        Verification::Broken(_) => Exit::Refused,
    };
    if out.json {
        out.json(verified)?;
        return Ok(exit);
    }
    match verified {
        Verification::Whole(whole) => {
            let text = out.news(true, &format!("whole: {} records", whole.records));
            out.line(text)?;
            if whole.gone > 0 {
                let gone = whole.gone;
                out.line(format!(
                    "records up to {gone} were taken away by retention, which is signed"
                ))?;
            }
            for mended in &whole.mended {
                out.line(format!("the index of {mended} was not as written and was made again"))?;
            }
            if !whole.head.is_empty() {
                out.line(format!("head {}", whole.head))?;
            }
        }
        Verification::Broken(broken) => {
            let text = out.news(
                false,
                &format!("broken at record {}: {}", broken.sequence, broken.detail),
            );
            out.line(text)?;
        }
    }
    Ok(exit)
}

/// How often new records are looked for.
const POLL: Duration = Duration::from_millis(500);

/// Reads a moment: RFC 3339, a date (its first moment in UTC), or a span ago.
pub(super) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    parse_moment_at(text, clock::now())
}

fn parse_moment_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Some(at) = rfc3339::parse(text).or_else(|| rfc3339::parse(&format!("{text}T00:00:00Z"))) {
        return Ok(at);
    }
    span(text)
        .map(|span| now - span)
        .ok_or_else(|| "expected 2030-01-31T12:00:00Z, 2030-01-31, or a span ago such as 15m, 2h, 7d".to_owned())
}

/// Reads a span: a whole number and `s`, `m`, `h`, `d` or `w`.
pub(super) fn span(text: &str) -> Option<Duration> {
    let (last, unit) = text.char_indices().next_back()?;
    let count: u64 = text.get(..last)?.parse().ok()?;
    let secs = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    count.checked_mul(secs).map(Duration::from_secs)
}

const TAIL_HELP: &str = "\
Examples:
  portcullis audit tail
  portcullis audit tail --follow --outcome reject
  portcullis audit tail --follow --jsonl | your-log-shipper";

const SEARCH_HELP: &str = "\
With --json one array is printed, with --jsonl one object a line, as they are found. Names, actions, clients,
rules, sources and outcomes are found by an index; a text alone is looked for in every record, the newest first.
When there is more than --limit, a line on stderr says where to go on.

Examples:
  portcullis audit search --user ana --since 7d
  portcullis audit search --action passcode --since 2030-01-01 --until 2030-02-01
  portcullis audit search --rule admins --source 192.0.2.0/24 --oldest-first
  portcullis audit search --client vpn --outcome reject --jsonl | jq -r .reason | sort | uniq -c";

const VERIFY_HELP: &str = "\
Exit code 1 when the chain is broken; the first record at which it shows is named. The head that
is printed stands for everything up to it: note it elsewhere, or better a checkpoint, which is
signed; a later verification shows that even the newest records of that day are still there.

With --export nothing is asked of the server: an auditor needs the export and the public key,
not the key file. The records are compared with the checkpoints in the audit itself, and with
--checkpoint; it is said up to which record they are attested. The public key alone cannot show
that the owner of the key file did not sign another history: a checkpoint noted elsewhere can.

Examples:
  portcullis audit verify
  portcullis audit verify --checkpoint checkpoint-of-january.txt
  portcullis audit verify --export portcullis-1893456000000.export --public-key key.txt";

const CHECKPOINT_HELP: &str = "\
One word: the number of the last record, the moment, and digests, signed. It is signed when you
ask, over all records up to now; the server also writes one to the audit every hour.

Examples:
  portcullis audit checkpoint | mail -s checkpoint auditor@example.org
  portcullis audit verify --checkpoint checkpoint-1:4711:1893456000000:n2xk…";

const KEY_HELP: &str = "\
By this key nobody can write or sign anything. Hand it to auditors in person, or print it.

Examples:
  portcullis audit key > key.txt";

const PRUNE_HELP: &str = "\
Records go in whole segments of 65,536, so some that are older stay. What stays can be verified as
before: a signed anchor says up to which record they went, when, and by whom, and the audit has
it as audit.prune. The configuration can do this by itself: [audit] keep = \"400d\".

Examples:
  portcullis audit prune --before 400d --dry-run
  portcullis audit prune --before 2029-01-01 --yes";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        let now = Timestamp::from_secs(1_000_000);
        let read = |text| parse_moment_at(text, now).map(Timestamp::secs).ok();
        assert_eq!(read("1970-01-01T00:01:00Z"), Some(60));
        assert_eq!(read("1970-01-02"), Some(86_400));
        assert_eq!(read("15m"), Some(1_000_000 - 900));
        assert_eq!(read("2h"), Some(1_000_000 - 7200));
        for bad in ["", "h", "2", "2 h", "-2h", "yesterday", "99999999999999999999d", "2ä"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
