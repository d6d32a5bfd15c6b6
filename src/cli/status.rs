//! `portcullis status`

use clap::Args;

use super::Exit;
use super::output::{CliError, Out, moment, moment_or_never};
use crate::admin::api::{ServerStatus, StatusReport, StatusRequest};
use crate::admin::client::AdminClient;

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct StatusArgs {
    /// Ask every directory, upstream, mail server, gateway and collector now, instead of telling how it was last
    #[arg(long)]
    probe: bool,
    /// Exit code 1 unless everything works
    #[arg(long)]
    strict: bool,
}

pub(super) async fn run(args: StatusArgs, client: &AdminClient, out: &mut Out<'_>) -> Result<Exit, CliError> {
    let request = StatusRequest { probe: args.probe };
    let report: StatusReport = client.get("/v1/status", &request).await?;
    if out.json {
        out.json(&report)?;
    } else {
        print(&report, out)?;
    }
    Ok(if args.strict && !report.is_healthy() {
        Exit::Refused
    } else {
        Exit::Done
    })
}

fn print(report: &StatusReport, out: &mut Out<'_>) -> Result<(), CliError> {
    let store = &report.store;
    let state = match &store.error {
        Some(error) => out.news(false, error),
        None => out.news(true, "works"),
    };
    out.pairs(&[
        (
            "node",
            Some(format!(
                "{}, version {}, process {}{}",
                report.node,
                report.version,
                report.pid,
                if report.nodes.len() == 1 { ", serves alone" } else { "" }
            )),
        ),
        ("started", Some(moment(report.started))),
        (
            "configuration",
            Some(format!("{}, read {}", report.config, moment(report.loaded))),
        ),
        (
            "policies",
            Some(format!(
                "{}, {} rules, {}",
                report.policies.path, report.policies.rules, report.policies.version
            )),
        ),
        (
            "store",
            Some(format!(
                "{} at {}, {} KiB, {state}",
                store.kind,
                store.location,
                store.size / 1024
            )),
        ),
        ("audit", Some(format!("{} records", store.audit_sequence))),
        ("sessions", Some(format!("{} open", report.sessions))),
        (
            "queue",
            Some(format!("{} batches waiting", store.queue)).filter(|_| store.queue > 0),
        ),
    ])?;
    out.line("")?;
    let rows = report.listeners.iter().map(|listener| {
        let state = match &listener.error {
            Some(error) => out.news(false, error),
            None => match listener.certificate_ends {
                Some(end) => out.news(true, &format!("listens, certificates until {}", moment(end))),
                None => out.news(true, "listens"),
            },
        };
        vec![
            listener.name.clone(),
            listener.kind.clone(),
            listener.address.clone(),
            listener.active.to_string(),
            state,
        ]
    });
    let rows = rows.collect();
    out.table(&["LISTENER", "KIND", "ADDRESS", "ACTIVE", "STATE"], rows)?;
    out.line("")?;
    let rows = report.directories.iter().flat_map(|directory| {
        directory.servers.iter().map(|server| {
            vec![
                directory.name.clone(),
                server.address.clone(),
                server.connections.to_string(),
                server.relayed.to_string(),
                directory.queue.to_string(),
                server.latency_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms")),
                moment_or_never(server.last),
                directory_state(server, out),
            ]
        })
    });
    let rows = rows.collect();
    out.table(
        &[
            "DIRECTORY",
            "SERVER",
            "CONNECTIONS",
            "RELAYED",
            "QUEUE",
            "LATENCY",
            "LAST",
            "STATE",
        ],
        rows,
    )?;
    print_upstreams(report, out)?;
    print_deliveries(report, out)?;
    print_streams(report, out)?;
    print_nodes(report, out)
}

fn print_streams(report: &StatusReport, out: &mut Out<'_>) -> Result<(), CliError> {
    if report.streams.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let rows = report.streams.iter().map(|stream| {
        vec![
            stream.name.clone(),
            stream.kind.clone(),
            format!("{} {}", stream.transport, stream.target),
            stream.sent.to_string(),
            stream.confirmed.to_string(),
            stream.waiting.to_string(),
            moment_or_never(stream.last),
            stream.latency_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms")),
            match (&stream.error, stream.failing) {
                (None, _) => out.news(true, "works"),
                (Some(error), Some(since)) => out.news(false, &format!("waits since {}: {error}", moment(since))),
                (Some(error), None) => out.news(false, error),
            },
        ]
    });
    let rows = rows.collect();
    out.table(
        &[
            "STREAM",
            "KIND",
            "COLLECTOR",
            "SENT",
            "CONFIRMED",
            "WAITING",
            "LAST",
            "LATENCY",
            "STATE",
        ],
        rows,
    )
}

/// The nodes that serve together; one that serves alone has been told of already.
fn print_nodes(report: &StatusReport, out: &mut Out<'_>) -> Result<(), CliError> {
    if report.nodes.len() < 2 {
        return Ok(());
    }
    out.line("")?;
    let rows = report.nodes.iter().map(|node| {
        vec![
            node.name.clone(),
            node.address.clone(),
            node.role.clone(),
            node.connection.clone(),
            moment(node.last),
            node.latency_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms")),
            node.queue.to_string(),
            match &node.error {
                None => out.news(true, "works"),
                Some(error) => out.news(false, error),
            },
        ]
    });
    let rows = rows.collect();
    out.table(
        &[
            "NODE",
            "ADDRESS",
            "ROLE",
            "CONNECTION",
            "LAST",
            "LATENCY",
            "QUEUE",
            "STATE",
        ],
        rows,
    )
}

fn print_upstreams(report: &StatusReport, out: &mut Out<'_>) -> Result<(), CliError> {
    if report.upstreams.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let rows = report.upstreams.iter().flat_map(|upstream| {
        upstream.servers.iter().map(|server| {
            vec![
                upstream.name.clone(),
                server.address.clone(),
                server.transport.clone(),
                server.in_flight.to_string(),
                server.latency_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms")),
                moment_or_never(server.last),
                match (&server.error, server.healthy) {
                    (None, true) => out.news(true, "healthy"),
                    (Some(error), true) => out.news(true, &format!("healthy, but: {error}")),
                    (Some(error), false) => out.news(false, error),
                    (None, false) => out.news(false, "not healthy"),
                },
            ]
        })
    });
    let rows = rows.collect();
    out.table(
        &[
            "UPSTREAM",
            "SERVER",
            "TRANSPORT",
            "IN FLIGHT",
            "LATENCY",
            "LAST",
            "STATE",
        ],
        rows,
    )
}

fn print_deliveries(report: &StatusReport, out: &mut Out<'_>) -> Result<(), CliError> {
    if report.deliveries.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let rows = report.deliveries.iter().map(|delivery| {
        vec![
            delivery.name.clone(),
            delivery.serves.clone(),
            delivery.target.clone(),
            delivery.under_way.to_string(),
            delivery.sent.to_string(),
            delivery.failed.to_string(),
            moment_or_never(delivery.last),
            delivery.latency_ms.map_or_else(String::new, |ms| format!("{ms:.1} ms")),
            match &delivery.error {
                None => out.news(true, "works"),
                Some(error) => out.news(false, error),
            },
        ]
    });
    let rows = rows.collect();
    out.table(
        &[
            "DELIVERY",
            "SERVES",
            "TARGET",
            "UNDER WAY",
            "SENT",
            "FAILED",
            "LAST",
            "LATENCY",
            "STATE",
        ],
        rows,
    )
}

/// How a server stands: `given up 2026-07-01 12:00:00, tried again 12:00:05: cannot connect`
fn directory_state(server: &ServerStatus, out: &Out<'_>) -> String {
    let since = server.since.map(|since| format!(" since {}", moment(since)));
    let error = server.error.as_ref().map(|error| format!(": {error}"));
    let (since, error) = (since.unwrap_or_default(), error.unwrap_or_default());
    match (server.healthy, server.state.as_str()) {
        (true, "returning") => out.news(true, &format!("answers again{since}, was given up{error}")),
        (true, _) => out.news(true, "healthy"),
        (false, _) => {
            let next = server.next_try.map(|next| format!(", tried again {}", moment(next)));
            out.news(false, &format!("given up{since}{}{error}", next.unwrap_or_default()))
        }
    }
}

const HELP: &str = "\
Examples:
  portcullis status
  portcullis status --probe --strict > /dev/null || echo 'something is wrong'
  portcullis status --json | jq '.directories[].servers[] | select(.healthy | not)'";
