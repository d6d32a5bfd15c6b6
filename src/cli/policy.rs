//! `portcullis policy`

use std::net::IpAddr;

use clap::{Args, Subcommand, ValueEnum};

use super::Exit;
use super::audit::parse_moment;
use super::output::{CliError, Out, Tone};
use crate::admin::api::{ExplainRequest, Explanation, FaultLine, Operation, PolicyReport, Protocol};
use crate::admin::client::AdminClient;
use crate::clock::Timestamp;

#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check the policy files of the running server, without taking them
    #[command(after_help = CHECK_HELP)]
    Check,
    /// Tell how a login would be decided, and why
    #[command(after_help = EXPLAIN_HELP)]
    Explain {
        /// Login name
        user: String,
        /// The RADIUS client or LDAP listener that it comes through, by its configured name
        #[arg(long, value_name = "NAME")]
        client: String,
        /// The protocol, where a client and a listener have the same name
        #[arg(long, value_enum)]
        protocol: Option<ProtocolArg>,
        /// What for [default: login]
        #[arg(long, value_enum)]
        operation: Option<OperationArg>,
        /// The address that it comes from [default: an address of the client]
        #[arg(long, value_name = "ADDRESS")]
        source: Option<IpAddr>,
        /// The moment: 2030-01-31T12:00:00Z, 2030-01-31, or 2h for two hours ago [default: now]
        #[arg(long, value_name = "MOMENT", value_parser = parse_moment)]
        at: Option<Timestamp>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OperationArg {
    Login,
    PasswordChange,
    Recovery,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolArg {
    Radius,
    Ldap,
}

pub(super) async fn run(args: PolicyArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    match args.verb {
        Verb::Check => {
            let report: PolicyReport = client.post("/v1/policy/check", &()).await?;
            print_report(&report, out)
        }
        Verb::Explain {
            user,
            client: name,
            protocol,
            operation,
            source,
            at,
        } => {
            let request = ExplainRequest {
                user,
                client: name,
                protocol: protocol.map(|protocol| match protocol {
                    ProtocolArg::Radius => Protocol::Radius,
                    ProtocolArg::Ldap => Protocol::Ldap,
                }),
                operation: operation.map(|operation| match operation {
                    OperationArg::Login => Operation::Login,
                    OperationArg::PasswordChange => Operation::PasswordChange,
                    OperationArg::Recovery => Operation::Recovery,
                }),
                source,
                at,
            };
            let explained: Explanation = client.post("/v1/policy/explain", &request).await?;
            if out.json {
                return out.json(&explained);
            }
            out.line(explained.text.trim_end())?;
            Ok(Exit::Done)
        }
    }
}

fn print_report(report: &PolicyReport, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let faulty = report.faults.iter().any(|fault| !fault.warning);
    let exit = if faulty { Exit::Usage } else { Exit::Done };
    if out.json {
        out.json(report)?;
        return Ok(exit);
    }
    print_faults(&report.faults, out)?;
    let verdict = out.news(!faulty, if faulty { "not usable" } else { "sound" });
    let (rules, files) = (report.rules, report.files.len());
    let (workflows, languages) = (report.workflows.len(), report.languages.join(", "));
    out.line(format!(
        "{}: {rules} rules and {workflows} workflows in {files} files, prompts in {languages}: {verdict}",
        report.path
    ))?;
    Ok(exit)
}

pub(super) fn print_faults(faults: &[FaultLine], out: &mut Out<'_>) -> Result<(), CliError> {
    for fault in faults {
        let place = match fault.line {
            0 => fault.file.clone(),
            line => format!("{}:{line}:{}", fault.file, fault.column),
        };
        let kind = if fault.warning { "warning: " } else { "" };
        let key = if fault.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", fault.key)
        };
        let place = out.tint(Tone::Bold, &place);
        out.line(format!("{place}: {kind}{key}{}", fault.message))?;
    }
    Ok(())
}

const CHECK_HELP: &str = "\
Faults are printed as FILE:LINE:COLUMN: what is wrong. Exit code 2 when the files could not be
taken. `portcullis check -c FILE` does it without a running server.

Example:
  portcullis policy check && portcullis reload";

const EXPLAIN_HELP: &str = "\
Nobody logs in by this: no password is tried, nothing is counted. Below the decision stands what
is asked, in which order and in which words, and which workflows can follow.

Examples:
  portcullis policy explain ana --client vpn
  portcullis policy explain ana --client wiki --protocol ldap --at 2030-01-05T03:00:00Z
  portcullis policy explain ana --client wiki --operation password-change
  portcullis policy explain ana --client vpn --operation recovery
  portcullis policy explain ana --client vpn --source 10.8.0.7 --json | jq .tree";
