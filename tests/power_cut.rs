//! No acknowledged commit is lost: not to a killed process, and not to a power cut.
//!
//! A driver, this same test binary run again, commits durably and tells of each commit after it was
//! acknowledged. For power cuts it runs under strace, which records every write and sync of the store's
//! files. From the record, many moments are replayed into a fresh folder: what was synced by then, and
//! of all else a random part, page by page. The store has to open there and hold all that was told of. Audit records
//! go to the archive all the while.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "support/power.rs"]
mod power;
#[path = "support/store.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use portcullis::audit::{Audit, Verification};
use portcullis::engine::batch::{Change, Version};
use portcullis::store::sled::{Archiving, OpenError, SledStore};
use portcullis::store::{Durability, Store};

use power::{Disk, Random, Record};
use support::{NOW, audit_chain, event, key, keyring, put};

const CACHE: u64 = 1 << 20;
const TASKS: u64 = 8;

/// Opens the store in such a way that the audit goes to its archive all the time, in small segments.
fn open(path: &Path) -> Result<Arc<SledStore>, OpenError> {
    let archiving = Archiving {
        segment: 100,
        stay: 20,
        look: Duration::from_millis(2),
        ..Archiving::default()
    };
    SledStore::open_with(path, CACHE, keyring(), archiving)
}

/// A commit that was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    task: u64,
    round: u64,
    revision: u64,
}

impl Told {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().skip_while(|word| *word != "told").skip(1);
        let mut number = || words.next()?.parse().ok();
        Some(Self {
            task: number()?,
            round: number()?,
            revision: number()?,
        })
    }
}

fn command(store: &Path, rounds: u64) -> Vec<std::ffi::OsString> {
    vec![
        "env".into(),
        format!("PORTCULLIS_TEST_ROUNDS={rounds}").into(),
        format!("PORTCULLIS_TEST_STORE={}", store.display()).into(),
        std::env::current_exe().unwrap().into(),
        "--exact".into(),
        "driver".into(),
        "--ignored".into(),
        "--nocapture".into(),
    ]
}

/// The process that commits. Each task counts its rounds in `u/<task>` and leaves `u/<task>/<round>`
/// and an audit record behind, all in one batch.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the other tests"]
async fn driver() {
    let path = std::env::var_os("PORTCULLIS_TEST_STORE").unwrap();
    let rounds: u64 = std::env::var("PORTCULLIS_TEST_ROUNDS").unwrap().parse().unwrap();
    let store = open(Path::new(&path)).unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(commit(Arc::clone(&store), task, rounds)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn commit(store: Arc<SledStore>, task: u64, rounds: u64) {
    let counter = key(&format!("u/{task}"));
    let (mut round, mut version) = counted(&*store, task).await;
    for _ in 0..rounds {
        round += 1;
        let mut batch = put(&format!("u/{task}/{round:06}"), value(task, round));
        batch.replace(
            counter.clone(),
            version,
            Change::Put(round.to_be_bytes().to_vec(), None),
        );
        batch.audit.push(event(&format!("{task}/{round}")));
        let durability = if round % 5 == 0 {
            Durability::Visible
        } else {
            Durability::Durable
        };
        version = store.commit(batch, durability).await.unwrap();
        if durability == Durability::Durable {
            let line = format!("told {task} {round} {}\n", version.0);
            // In one write past the harness's buffers, so that the record shows when it happened.
            std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
    }
}

/// Long enough that the log soon fills several of sled's segments.
fn value(task: u64, round: u64) -> Vec<u8> {
    let length = 200 + (task * 7919 + round * 104_729) % 2500;
    (0..length)
        .map(|at| u8::try_from((at + round) % 251).unwrap())
        .collect()
}

async fn counted(store: &dyn Store, task: u64) -> (u64, Version) {
    let found = store.read(&[key(&format!("u/{task}"))], NOW).await.unwrap().remove(0);
    let round = found
        .value
        .map_or(0, |value| u64::from_be_bytes(value.try_into().unwrap()));
    (round, found.version)
}

/// Opens a store that was cut off, and checks that nothing told of is missing and nothing is half there.
async fn check(path: &Path, told: &[Told], what: &str) {
    let store = match open(path) {
        Ok(store) => store,
        Err(error) => panic!("{what}: {error}, {:?}", std::error::Error::source(&error)),
    };
    let chain = audit_chain(&*store, &keyring()).await;
    let verified = Audit::new(Arc::clone(&store) as Arc<dyn Store>, keyring())
        .verify(None)
        .await;
    let verified = verified.unwrap();
    assert!(matches!(verified, Verification::Whole(_)), "{what}: {verified:?}");
    let audited: BTreeSet<_> = chain.iter().map(|record| record.event().unwrap().actor).collect();
    let mut rounds = BTreeMap::new();
    for task in 0..TASKS {
        let (count, _) = counted(&*store, task).await;
        rounds.insert(task, count);
        let page = store
            .scan(format!("u/{task}/").as_bytes(), None, usize::MAX)
            .await
            .unwrap();
        assert_eq!(page.len() as u64, count, "{what}: records of task {task}");
        for (round, (found, octets)) in (1..).zip(page) {
            assert_eq!(found, key(&format!("u/{task}/{round:06}")), "{what}");
            assert!(octets == value(task, round), "{what}: the value of {found:?}");
            assert!(
                audited.contains(&format!("{task}/{round}")),
                "{what}: audit of {task}/{round}"
            );
        }
    }
    assert_eq!(
        rounds.values().sum::<u64>(),
        chain.len() as u64,
        "{what}: audit records"
    );
    for told in told {
        assert!(rounds[&told.task] >= told.round, "{what}: lost {told:?}");
        assert!(
            store.status().revision >= told.revision,
            "{what}: revision behind {told:?}"
        );
    }
    store.commit(put("u/after", "1"), Durability::Durable).await.unwrap();
}

/// A folder in memory where there is one: what is only looked at needs no disk.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_told_of_is_lost_in_a_power_cut() {
    let mut random = Random::new(20_240_229);
    let mut before = Disk::default();
    let mut told_before = Vec::new();
    // Once from nothing, then on what a power cut in the run before left behind.
    for run in 0..4 {
        let temporary = tempfile::tempdir().unwrap();
        // Resolved, because the record has resolved paths.
        let folder = temporary.path().canonicalize().unwrap();
        before.write(&folder);
        let record = traced(&folder, &before);
        let told: Vec<_> = record
            .lines()
            .filter_map(|(at, line)| Some((at, Told::parse(line)?)))
            .collect();
        assert_eq!(told.len() as u64, TASKS * 120);

        let mut left = Disk::default();
        let mut told_by_then = Vec::new();
        for cut in 0..150 {
            // Some cuts anywhere, most while it commits.
            let first = if cut < 50 { 0 } else { told[0].0 };
            let at = first + random.below(record.end() - first);
            let new = told.iter().filter(|(when, _)| *when < at).map(|(_, told)| *told);
            told_by_then = told_before.iter().copied().chain(new).collect();
            left = record.replay(&before, at, &mut random);
            let copy = scratch();
            left.write(copy.path());
            let what = format!("run {run}, cut {cut} at {at} of {}", record.end());
            check(&copy.path().join("store"), &told_by_then, &what).await;
        }
        (before, told_before) = (left, told_by_then);
    }
}

/// Lets the driver work on the store in `folder` and records what it does.
fn traced(folder: &Path, before: &Disk) -> Record {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let status = Command::new("strace")
        .args(["-f", "-y", "-xx", "-s", "4194304", "-e", power::CALLS, "-o"])
        .arg(trace.path())
        .args(command(&folder.join("store"), 150))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("this test needs strace: apt-get install strace");
    assert!(status.success(), "strace or the driver failed: {status}");
    Record::read(trace.path(), folder, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_told_of_is_lost_when_the_process_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let mut random = Random::new(1_582_164_240);
    let mut told = Vec::new();
    for kill in 0..12 {
        let words = command(&path, u64::from(u32::MAX));
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let wait = random.below(400);
        told.extend(lines.by_ref().filter_map(|line| Told::parse(&line)).take(wait));
        child.kill().unwrap();
        child.wait().unwrap();
        // What is left in the pipe was told of as well; a last line that is cut short only says less.
        told.extend(lines.filter_map(|line| Told::parse(&line)));
        let copy = scratch();
        Disk::of(folder.path()).write(copy.path());
        check(&copy.path().join("store"), &told, &format!("kill {kill} after {wait}")).await;
    }
    assert!(told.len() > 500, "the driver did too little: {}", told.len());
}
