//! `portcullis test`

use clap::Args;

use super::Exit;
use super::output::{CliError, Out, Tone};
use crate::admin::api::{Grade, PartTested, PartsTested, TestRequest};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct TestArgs {
    /// What to try, by its name in the configuration, or KIND:NAME where several have it
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Try everything
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(args: TestArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let tested: PartsTested = client.post("/v1/test", &TestRequest { name: args.name }).await?;
    let exit = if tested.is_sound() { Exit::Done } else { Exit::Refused };
    if out.json {
        out.json(&tested)?;
        return Ok(exit);
    }
    let rows: Vec<Vec<String>> = tested.parts.iter().map(|part| row(part, out)).collect();
    out.table(&["", "KIND", "NAME", "ADDRESS", "TOOK", "FOUND"], rows)?;
    for part in &tested.parts {
        if let Some(remedy) = &part.remedy {
            out.line(format!("  remedy for {} {}: {remedy}", part.kind, part.name))?;
        }
    }
    Ok(exit)
}

fn row(part: &PartTested, out: &Out<'_>) -> Vec<String> {
    let grade = match part.grade {
        Grade::Good => out.news(true, "good"),
        Grade::Untold => out.tint(Tone::Faint, "-"),
        Grade::Warning => out.news(false, "warning"),
        Grade::Fault => out.news(false, "fault"),
    };
    vec![
        grade,
        part.kind.clone(),
        part.name.clone(),
        part.address.clone(),
        format!("{:.1} ms", part.took_ms),
        part.text.clone(),
    ]
}

const HELP: &str = "\
A RADIUS listener is sent Status-Server with a client's secret, from an address of this machine that
is the client's; an LDAP listener is asked for its root entry, over TLS where it has TLS; of a TLS
listener for RADIUS the handshake is made. In a directory nobody is searched for, and a password of
nobody's tried. The store writes, makes durable, and reads. Mail servers, gateways and collectors
are connected to and sent nothing. KIND is listener, directory, upstream, delivery, stream or store;
`-` marks what cannot be told from here.

Exit code 0 when nothing is at fault, 1 when something is, 3 when no server answers: as checks of
Nagios and its kin take them, with 1 for a warning.

Examples:
  portcullis test --all
  portcullis test main
  portcullis test directory:main --json | jq '.parts[].took_ms'";
