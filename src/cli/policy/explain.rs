//! `portcullis policy explain`

use std::net::IpAddr;

use clap::{Args, ValueEnum};

use super::super::Exit;
use super::super::audit::parse_moment;
use super::super::output::{CliError, Out};
use crate::admin::api::{ExplainRequest, Explanation, Factor, Operation, Protocol, Strokes, Transport};
use crate::admin::client::AdminClient;
use crate::clock::Timestamp;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
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
    /// How messages travel [default: as the client or listener is configured]
    #[arg(long, value_enum)]
    transport: Option<TransportArg>,
    /// The RADIUS listener that it comes to [default: the only one]
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// NAS-Identifier of the request
    #[arg(long, value_name = "TEXT")]
    nas_identifier: Option<String>,
    /// Called-Station-Id of the request
    #[arg(long, value_name = "TEXT")]
    called_station: Option<String>,
    /// Calling-Station-Id of the request
    #[arg(long, value_name = "TEXT")]
    calling_station: Option<String>,
    /// The proofs at hand, such as password,totp: would they be enough?
    #[arg(long, value_name = "PROOFS", value_delimiter = ',', value_parser = parse_factor)]
    with: Option<Vec<Factor>>,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TransportArg {
    Udp,
    Tcp,
    Tls,
}

pub(super) async fn run(args: ExplainArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let request = ExplainRequest {
        user: args.user,
        client: args.client,
        protocol: args.protocol.map(|protocol| match protocol {
            ProtocolArg::Radius => Protocol::Radius,
            ProtocolArg::Ldap => Protocol::Ldap,
        }),
        operation: args.operation.map(|operation| match operation {
            OperationArg::Login => Operation::Login,
            OperationArg::PasswordChange => Operation::PasswordChange,
            OperationArg::Recovery => Operation::Recovery,
        }),
        source: args.source,
        at: args.at,
        transport: args.transport.map(|transport| match transport {
            TransportArg::Udp => Transport::Udp,
            TransportArg::Tcp => Transport::Tcp,
            TransportArg::Tls => Transport::Tls,
        }),
        listener: args.listener,
        nas_identifier: args.nas_identifier,
        called_station: args.called_station,
        calling_station: args.calling_station,
        with: args.with,
    };
    let explained: Explanation = client.post("/v1/policy/explain", &request).await?;
    if out.json {
        return out.json(&explained);
    }
    let strokes = if out.is_terminal() {
        Strokes::Boxes
    } else {
        Strokes::Ascii
    };
    out.line(explained.branch().draw(strokes))?;
    Ok(Exit::Done)
}

fn parse_factor(word: &str) -> Result<Factor, String> {
    let known = Factor::ALL.into_iter().find(|kind| kind.word() == word);
    known.ok_or_else(|| format!("there are {}", Factor::ALL.map(Factor::word).join(", ")))
}

pub(super) const HELP: &str = "\
Nobody logs in by this: no password is tried, nothing is counted. Every rule on the way is shown
with each of its conditions, marked + where the rule can still apply and - where it cannot. Below
the decision stands which proofs are enough, what keeps the person out besides, what is asked in
which order and words, and which workflows can follow.

Examples:
  portcullis policy explain ana --client vpn
  portcullis policy explain ana --client vpn --with password,totp
  portcullis policy explain ana --client wiki --protocol ldap --at 2030-01-05T03:00:00Z
  portcullis policy explain ana --client wiki --operation password-change
  portcullis policy explain ana --client vpn --nas-identifier gate-2 --calling-station 192.0.2.7
  portcullis policy explain ana --client vpn --source 10.8.0.7 --json | jq .tree";
