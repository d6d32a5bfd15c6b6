//! Measures the audit: durable appending, opening, searching and verifying, with as many records as asked for.
//!
//! Prints one line of JSON for each figure. Works on a store of its own in a folder that must not hold one.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool that meets something unexpected should end there; its output is the figures"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use portcullis::audit::{Audit, Filter, Order, Verification};
use portcullis::clock::{self, Timestamp};
use portcullis::engine::batch::Batch;
use portcullis::engine::event::{AuditEvent, Context, Outcome};
use portcullis::engine::request::Transport;
use portcullis::keyring::Keyring;
use portcullis::store::sled::SledStore;
use portcullis::store::{Durability, Store};

/// Fills a store with records of logins, and measures.
#[derive(Parser)]
struct Options {
    /// Where the store goes.
    #[arg(long)]
    folder: PathBuf,
    /// How many records.
    #[arg(long, default_value_t = 10_000_000)]
    records: u64,
    /// How many commit at a time, each one record in a batch of its own, and wait until it is durable.
    #[arg(long, default_value_t = 512)]
    writers: u64,
    /// How often each search is done.
    #[arg(long, default_value_t = 20)]
    repeat: u32,
    /// Leave the filling out: the folder holds a store that was filled before.
    #[arg(long)]
    filled: bool,
}

const CACHE_OCTETS: u64 = 64 << 20;
const BEGIN: Timestamp = Timestamp::from_secs(1_700_000_000);
/// Moments of two records are so far apart: ten million are a year.
const APART: Duration = Duration::from_millis(3154);
const PEOPLE: u64 = 20_000;
const CLIENTS: u64 = 12;
const RULES: u64 = 9;

fn main() {
    let options = Options::parse();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let keyring = Arc::new(Keyring::from_root(&[1; 32]));
    if !options.filled {
        runtime.block_on(fill(&options, &keyring));
    }
    let begun = clock::monotonic();
    let store = open(&options.folder, &keyring);
    figure("open", begun, 1, "");
    let size = store.status().size >> 20;
    println!(
        "{}",
        serde_json::json!({ "figure": "size", "mib": size, "records": store.status().audit_sequence })
    );
    let audit = Audit::new(Arc::clone(&store) as Arc<dyn Store>, keyring);
    runtime.block_on(async {
        let begun = clock::monotonic();
        audit.catch_up().await.unwrap();
        figure("index of the newest records", begun, 1, "");
        for (name, filter) in filters(options.records) {
            search(&audit, name, &filter, options.repeat).await;
        }
        let begun = clock::monotonic();
        audit.checkpoint(clock::now()).await.unwrap();
        figure("checkpoint", begun, 1, "");
        let begun = clock::monotonic();
        let verified = audit.verify(None).await.unwrap();
        assert!(matches!(verified, Verification::Whole(_)), "{verified:?}");
        figure("verify", begun, store.status().audit_sequence, "records");
        store.close().await.unwrap();
    });
    println!("{}", serde_json::json!({ "figure": "memory", "peak_kib": peak() }));
}

fn open(folder: &Path, keyring: &Arc<Keyring>) -> Arc<SledStore> {
    SledStore::open(&folder.join("store"), CACHE_OCTETS, Arc::clone(keyring)).unwrap()
}

fn figure(name: &str, begun: Instant, count: u64, of: &str) {
    let secs = begun.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss, reason = "a figure of a measurement")]
    let rate = count as f64 / secs;
    println!(
        "{}",
        serde_json::json!({ "figure": name, "secs": secs, "count": count, "of": of, "rate": rate })
    );
}

/// Commits one record at a time from many tasks, each durable before the next of its task.
async fn fill(options: &Options, keyring: &Arc<Keyring>) {
    let store = open(&options.folder, keyring);
    let next = Arc::new(AtomicU64::new(0));
    let slowest = Arc::new(AtomicU64::new(0));
    let begun = clock::monotonic();
    let records = options.records;
    let writers = (0..options.writers).map(|_| {
        let (store, next, slowest) = (Arc::clone(&store), Arc::clone(&next), Arc::clone(&slowest));
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= records {
                    return;
                }
                let batch = Batch {
                    audit: vec![event(number)],
                    ..Batch::default()
                };
                let begun = clock::monotonic();
                store.commit(batch, Durability::Durable).await.unwrap();
                let micros = u64::try_from(begun.elapsed().as_micros()).unwrap();
                slowest.fetch_max(micros, Ordering::Relaxed);
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    figure("append, durable", begun, records, "records");
    println!(
        "{}",
        serde_json::json!({ "figure": "slowest commit", "micros": slowest.load(Ordering::Relaxed) })
    );
    let archive = store.archive().unwrap();
    let left = records - archive.through();
    println!(
        "{}",
        serde_json::json!({ "figure": "not archived yet", "records": left })
    );
    // What is behind catches up; then the figures are those of a store at rest.
    let begun = clock::monotonic();
    while store.status().audit_sequence - archive.through() > 100_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    figure("archive caught up", begun, left, "records");
    store.close().await.unwrap();
}

/// A login as servers write it, of somebody for whom the numbers were mixed well.
fn event(number: u64) -> AuditEvent {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let person = mixed % PEOPLE;
    let octets = u32::try_from(mixed % (1 << 16)).unwrap();
    AuditEvent {
        at: BEGIN + APART * u32::try_from(number).unwrap(),
        action: if number.is_multiple_of(500) {
            "token.enrol"
        } else {
            "login"
        }
        .into(),
        actor: format!("user{person:05}"),
        target: Some(format!("corp:00000000-0000-4000-8000-{person:012}")),
        via: "radius".into(),
        client: Some(format!("vpn{}", mixed % CLIENTS)),
        source: Some(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | octets))),
        rule: Some(format!("rule {}", mixed % RULES)),
        factors: vec!["password".into(), "totp".into()],
        outcome: if mixed.is_multiple_of(23) {
            Outcome::Reject
        } else {
            Outcome::Accept
        },
        reason: mixed.is_multiple_of(23).then(|| "wrong-code".into()),
        context: Some(Box::new(Context {
            directory: "corp".into(),
            service: "vpn".into(),
            transport: Transport::Udp,
            listener: None,
            application: None,
            nas_identifier: Some(format!("gate{}", mixed % CLIENTS)),
            called_station: None,
            calling_station: Some(format!("192.0.2.{}", mixed % 250)),
        })),
    }
}

fn filters(records: u64) -> Vec<(&'static str, Filter)> {
    let some = |text: &str| Some(text.to_owned());
    let at = |number: u64| Some(BEGIN + APART * u32::try_from(number).unwrap());
    vec![
        ("the newest", Filter::default()),
        (
            "one user",
            Filter {
                people: vec!["user00042".into(), "corp:00000000-0000-4000-8000-000000000042".into()],
                ..Filter::default()
            },
        ),
        (
            "one user, rejected",
            Filter {
                people: vec!["user00042".into()],
                outcome: Some(Outcome::Reject),
                ..Filter::default()
            },
        ),
        (
            "nobody of that name",
            Filter {
                actor: some("nobody"),
                ..Filter::default()
            },
        ),
        (
            "client and rule and outcome",
            Filter {
                client: some("vpn4"),
                rule: some("rule 4"),
                outcome: Some(Outcome::Reject),
                ..Filter::default()
            },
        ),
        (
            "action, an hour in the middle",
            Filter {
                action: some("login"),
                since: at(records / 2),
                until: at(records / 2 + 1141),
                ..Filter::default()
            },
        ),
        (
            "a network of 256 addresses",
            Filter {
                source: Some("10.0.7.0/24".parse().unwrap()),
                outcome: Some(Outcome::Reject),
                ..Filter::default()
            },
        ),
        (
            "a user and a text",
            Filter {
                actor: some("user00042"),
                text: some("wrong-code"),
                ..Filter::default()
            },
        ),
        (
            "a text that is nowhere, one request",
            Filter {
                text: some("no such text"),
                ..Filter::default()
            },
        ),
    ]
}

async fn search(audit: &Audit, name: &str, filter: &Filter, repeat: u32) {
    for order in [Order::NewestFirst, Order::OldestFirst] {
        for limit in [100, 1000] {
            let mut times = Vec::new();
            let mut found = None;
            for _ in 0..repeat {
                let begun = clock::monotonic();
                found = Some(audit.find(filter, order, None, limit).await.unwrap());
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            let first = times.first().copied();
            times.sort_by(f64::total_cmp);
            let found = found.unwrap();
            let line = serde_json::json!({
                "figure": "search", "filter": name, "order": format!("{order:?}"), "limit": limit,
                "found": found.records.len(), "end": found.end,
                "first_ms": first, "median_ms": times.get(times.len() / 2), "worst_ms": times.last(),
            });
            println!("{line}");
        }
    }
}

/// Most memory that the process has had, in KiB.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
