//! What happens when one of the threads is held up, and what is left of a store that was cut off then.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, mpsc};

use super::*;
use crate::clock::Timestamp;
use crate::engine::event::{AuditEvent, Outcome};

const CACHE: u64 = 1 << 20;

fn open(path: &Path) -> Result<Arc<SledStore>, OpenError> {
    SledStore::open(path, CACHE, Arc::new(Keyring::from_root(&[1; 32])))
}

fn put(name: &str) -> Batch {
    Batch {
        write: vec![(Key::from_octets(name.as_bytes()), Change::Put(b"1".to_vec(), None))],
        ..Batch::default()
    }
}

/// A batch that puts a key and appends an audit record.
fn audited(name: &str) -> Batch {
    let event = AuditEvent {
        at: Timestamp::default(),
        action: "login".into(),
        actor: name.into(),
        target: None,
        via: "radius".into(),
        client: None,
        source: None,
        rule: None,
        factors: Vec::new(),
        outcome: Outcome::Accept,
        reason: None,
    };
    Batch {
        audit: vec![event],
        ..put(name)
    }
}

/// Holds a lock of the store until it is let go.
struct Hold {
    release: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Hold {
    /// Holds up the writer, before it writes to the journal.
    fn writer(store: &SledStore) -> Self {
        Self::new(store, |shared, wait| {
            let _journal = shared.journal.lock();
            wait();
        })
    }

    /// Holds up the tree's thread, before it changes the tree.
    fn tree(store: &SledStore) -> Self {
        Self::new(store, |shared, wait| {
            let _snapshots = shared.snapshots.lock();
            wait();
        })
    }

    fn new(store: &SledStore, hold: impl FnOnce(&Shared, &dyn Fn()) + Send + 'static) -> Self {
        let shared = Arc::clone(&store.shared);
        let (release, released) = mpsc::channel::<()>();
        let (held, is_held) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            hold(&shared, &|| {
                held.send(()).unwrap();
                // An error says that the test is over.
                let _ = released.recv();
            });
        });
        is_held.recv().unwrap();
        Self { release, thread }
    }

    fn let_go(self) {
        drop(self.release);
        self.thread.join().unwrap();
    }
}

async fn read(store: &SledStore, name: &str) -> Option<Vec<u8>> {
    let keys = [Key::from_octets(name.as_bytes())];
    store.read(&keys, Timestamp::default()).await.unwrap().remove(0).value
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn stored(store: &SledStore) -> u64 {
    store.shared.progress.borrow().stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_share_syncs_and_visible_ones_need_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).unwrap();
    let hold = Hold::writer(&store);
    let commits: Vec<_> = (0..32)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(put(&format!("u/{number}")), Durability::Durable).await })
        })
        .collect();
    while store.status().queue < 32 {
        tokio::task::yield_now().await;
    }
    store.commit(put("u/visible"), Durability::Visible).await.unwrap();
    assert_eq!(read(&store, "u/visible").await.as_deref(), Some(&b"1"[..]));
    assert_eq!(store.status().queue, 32);

    hold.let_go();
    for commit in commits {
        commit.await.unwrap().unwrap();
    }
    // The first one may have been alone; all others came while that one was held up.
    assert!(store.shared.state.lock().journalled <= 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_commits_need_no_tree_and_every_layer_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).unwrap();
    // In the tree.
    for name in ["u/1", "u/changed", "u/removed"] {
        store.commit(audited(name), Durability::Durable).await.unwrap();
    }
    drop(store.snapshot().await.unwrap());
    assert_eq!(stored(&store), 3);
    // On the way to it.
    let tree = Hold::tree(&store);
    store.commit(audited("u/2"), Durability::Durable).await.unwrap();
    {
        let mut state = store.shared.state.lock();
        state.wanted = true;
    }
    store.shared.tree_work.notify_one();
    while store.shared.state.lock().applying.is_none() {
        tokio::task::yield_now().await;
    }
    // In the journal only.
    store.commit(audited("u/3"), Durability::Durable).await.unwrap();
    let mut batch = Batch::default();
    batch.write.push((Key::from_octets(b"u/removed"), Change::Delete));
    batch
        .write
        .push((Key::from_octets(b"u/changed"), Change::Put(b"2".to_vec(), None)));
    store.commit(batch, Durability::Durable).await.unwrap();
    // Being written, and pending.
    while store.shared.state.lock().writing.is_some() {
        tokio::task::yield_now().await;
    }
    let writer = Hold::writer(&store);
    store.commit(audited("u/4"), Durability::Visible).await.unwrap();
    while store.shared.state.lock().writing.is_none() {
        tokio::task::yield_now().await;
    }
    store.commit(audited("u/5"), Durability::Visible).await.unwrap();

    for _ in 0..2 {
        let page = store.scan(b"u/", None, usize::MAX).await.unwrap();
        let page: Vec<_> = page.iter().map(|(key, value)| (key.as_octets(), &value[..])).collect();
        let one = &b"1"[..];
        let names = [&b"u/1"[..], b"u/2", b"u/3", b"u/4", b"u/5"];
        let mut expected: Vec<_> = names.map(|name| (name, one)).into();
        expected.push((b"u/changed", b"2"));
        assert_eq!(page, expected);
        assert_eq!(read(&store, "u/removed").await, None);
        for (from, limit) in [(1, 100), (3, 2), (4, 100), (6, 100), (7, 1), (8, 1)] {
            let records = store.audit(from, limit).await.unwrap();
            let sequences: Vec<_> = records.iter().map(|record| record.sequence).collect();
            assert_eq!(sequences, (from..=7).take(limit).collect::<Vec<_>>());
        }
    }
    let mut stale = put("u/removed");
    stale.expect.push((Key::from_octets(b"u/removed"), Version(3)));
    let stale = store.commit(stale, Durability::Visible).await;
    assert!(matches!(stale, Err(CommitError::Conflict)));
    let mut right = put("u/2");
    right.expect.push((Key::from_octets(b"u/2"), Version(4)));
    right.expect.push((Key::from_octets(b"u/1"), Version(1)));
    right.expect.push((Key::from_octets(b"u/removed"), Version(0)));
    store.commit(right, Durability::Visible).await.unwrap();
    writer.let_go();
    tree.let_go();
    store.close().await.unwrap();
    assert_eq!(stored(&store), 9);
    assert_eq!(store.shared.room.available_permits(), shared::ROOM);
}

/// Makes a store whose tree stands at revision 2, with 40 changes more in the journal only, and copies it
/// as a killed process would leave it.
async fn cut_off(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("store");
    let store = open(&path).unwrap();
    for name in ["u/a", "u/b"] {
        store.commit(audited(name), Durability::Durable).await.unwrap();
    }
    drop(store.snapshot().await.unwrap());
    let hold = Hold::tree(&store);
    for number in 0..40 {
        let name = format!("u/{number:02}");
        store.commit(audited(&name), Durability::Durable).await.unwrap();
        if number == 20 {
            // The others go to the journal's other file.
            store.shared.state.lock().wanted = true;
            store.shared.tree_work.notify_one();
            while store.shared.state.lock().applying.is_none() {
                tokio::task::yield_now().await;
            }
        }
    }
    let mut batch = Batch::default();
    batch.write.push((Key::from_octets(b"u/b"), Change::Delete));
    store.commit(batch, Durability::Durable).await.unwrap();
    store.commit(Batch::default(), Durability::Durable).await.unwrap();
    let left = folder.join("left");
    copy(&path, &left);
    hold.let_go();
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_journal_holds_is_replayed() {
    let folder = tempfile::tempdir().unwrap();
    let left = cut_off(folder.path()).await;
    for _ in 0..2 {
        let store = open(&left).unwrap();
        let status = store.status();
        assert_eq!((status.revision, status.audit_sequence), (44, 42));
        assert_eq!(stored(&store), 44);
        assert_eq!(store.scan(b"u/", None, usize::MAX).await.unwrap().len(), 41);
        assert_eq!(read(&store, "u/b").await, None);
        assert_eq!(read(&store, "u/a").await.as_deref(), Some(&b"1"[..]));
        let records = store.audit(1, usize::MAX).await.unwrap();
        let mut head = ledger::Head::new(&store.shared.keyring);
        assert!(records.iter().all(|record| head.follow(&store.shared.keyring, record)));
        assert_eq!(records.len(), 42);
    }
    // And goes on from there.
    let store = open(&left).unwrap();
    assert_eq!(
        store.commit(put("u/c"), Durability::Durable).await.unwrap(),
        Version(45)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_that_was_left_half_written_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let left = cut_off(folder.path()).await;
    {
        // What the tree's thread may have got done: anything but the head, packed in its way.
        let db = ::sled::open(&left).unwrap();
        let (_, runs) = journal::Journal::open(&left).unwrap().unwrap();
        for frame in runs
            .iter()
            .flat_map(|run| &run.frames)
            .filter(|frame| frame.first > 2)
            .take(15)
        {
            for (key, slot) in &frame.group.slots {
                db.insert(key, slot.octets.clone().unwrap()).unwrap();
            }
            format::pack_audit(&frame.group.audit, |key, value| drop(db.insert(key, value).unwrap()));
        }
        db.flush().unwrap();
    }
    let store = open(&left).unwrap();
    assert_eq!(store.status().revision, 44);
    assert_eq!(store.audit(1, usize::MAX).await.unwrap().len(), 42);
    let keys: Vec<_> = store.shared.db.scan_prefix(format::AUDIT).keys().collect();
    assert!(keys.len() <= 3, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_end_of_the_journal_is_normal_and_damage_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let left = cut_off(folder.path()).await;
    let (_, runs) = journal::Journal::open(&left).unwrap().unwrap();
    let newest = usize::from(runs[1].frames.last().unwrap().first > runs[0].frames.last().unwrap().first);
    let frames = runs.map(|run| run.frames.len());
    let spoil = |name: &str, file: usize, frame: usize, tip: Option<u64>| {
        let path = folder.path().join(name);
        copy(&left, &path);
        let journal = path.join(format!("journal.{file}"));
        let journal = fs::OpenOptions::new().write(true).open(journal).unwrap();
        journal.write_all_at(b"?", frame as u64 * 4096 + 70).unwrap();
        if let Some(revision) = tip {
            fs::remove_file(path.join("tip")).unwrap();
            let mut tip = tip::Tip::create(&path).unwrap();
            tip.note_durable(revision).unwrap();
        }
        open(&path).map(|store| store.status().revision)
    };
    let last = frames[newest] - 1;
    // Nobody knows of the last one.
    assert_eq!(spoil("torn", newest, last, Some(43)).unwrap(), 43);
    // The tip does.
    let error = spoil("lost", newest, last, Some(44)).unwrap_err();
    assert!(error.to_string().contains("its last 1 changes are missing"), "{error}");
    // What follows in the same file does.
    let error = spoil("middle", newest, last - 1, Some(0)).unwrap_err();
    assert!(error.to_string().contains("journal is damaged"), "{error}");
    // The other file does.
    let error = spoil("older", 1 - newest, frames[1 - newest] - 1, Some(0)).unwrap_err();
    assert!(error.to_string().contains("are missing"), "{error}");
    for name in ["journal.0", "journal.1"] {
        let path = folder.path().join(format!("without {name}"));
        copy(&left, &path);
        fs::remove_file(path.join(name)).unwrap();
        let error = open(&path).unwrap_err();
        assert!(error.to_string().contains("its journal is missing"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_tree_is_refused_even_if_the_journal_reaches_back_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let left = cut_off(folder.path()).await;
    let mut tip = tip::Tip::open(&left).unwrap().unwrap().0;
    tip.note_stored(10).unwrap();
    drop(tip);
    let error = open(&left).unwrap_err();
    assert!(error.to_string().contains("its last 8 changes are missing"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_without_a_journal_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).unwrap();
    store.commit(audited("u/a"), Durability::Durable).await.unwrap();
    store.close().await.unwrap();
    // As the version before the journal left it.
    let mut head = store.shared.db.get(format::HEAD).unwrap().unwrap().to_vec();
    head[3] = 1;
    store.shared.db.insert(format::HEAD, head).unwrap();
    store.shared.db.flush().unwrap();
    drop(store);
    fs::remove_file(path.join("journal.0")).unwrap();
    fs::remove_file(path.join("journal.1")).unwrap();

    let store = open(&path).unwrap();
    assert_eq!(store.status().revision, 1);
    let head = store.shared.db.get(format::HEAD).unwrap().unwrap();
    assert_eq!(format::schema(&head), Some(format::SCHEMA));
    store.commit(audited("u/b"), Durability::Durable).await.unwrap();
    drop(store);
    assert_eq!(open(&path).unwrap().status().revision, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_wait_when_the_tree_does_not_keep_up() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).unwrap();
    let hold = Hold::tree(&store);
    let committing = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..400 {
                let mut batch = put(&format!("u/{number:03}"));
                batch.write[0].1 = Change::Put(vec![7; 60_000], None);
                store.commit(batch, Durability::Durable).await.unwrap();
            }
        })
    };
    // 24 MB do not fit.
    while store.shared.room.available_permits() > 60_000 / 256 {
        tokio::task::yield_now().await;
    }
    let waiting = store.status().revision;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!committing.is_finished());
    assert!(store.status().revision <= waiting + 1 && waiting < 300, "{waiting}");
    assert_eq!(stored(&store), 0);
    hold.let_go();
    committing.await.unwrap();
    drop(store.snapshot().await.unwrap());
    assert_eq!(
        (stored(&store), store.shared.room.available_permits()),
        (400, shared::ROOM)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_groups_do_not_outgrow_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).unwrap();
    let hold = Hold::tree(&store);
    // Each takes a page of the journal, and little room.
    let committing = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0..9000 {
                store
                    .commit(put(&format!("u/{:02}", number % 50)), Durability::Durable)
                    .await
                    .unwrap();
            }
        })
    };
    while !store.shared.state.lock().full {
        assert!(!committing.is_finished());
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(store.shared.room.available_permits() > 0);
    hold.let_go();
    committing.await.unwrap();
    assert!(journal::size(&path) <= 34 * 1024 * 1024);
    drop(store);
    assert_eq!(open(&path).unwrap().status().revision, 9000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_includes_what_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).unwrap();
    for number in 1..=20 {
        let durability = if number % 2 == 0 {
            Durability::Durable
        } else {
            Durability::Visible
        };
        store.commit(audited(&format!("u/{number}")), durability).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        assert_eq!((snapshot.head().revision, stored(&store)), (number, number));
    }
}
