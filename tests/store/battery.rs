//! What every store must do.

use std::sync::Arc;
use std::time::Duration;

use portcullis::engine::batch::{Batch, Change, Key, Version};
use portcullis::store::memory::MemoryStore;
use portcullis::store::sled::SledStore;
use portcullis::store::{CommitError, Durability, Entry, Snapshot, Store};

use crate::support::{NOW, audit_chain, event, key, keyring, put};

use Durability::{Durable, Visible};

/// Runs each test of the battery against each store.
macro_rules! battery {
    ($($test:ident)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(super::Arc::new(super::MemoryStore::new(super::keyring()))).await;
            })*
        }
        mod sled {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let folder = tempfile::tempdir().unwrap();
                let store = super::SledStore::open(&folder.path().join("store"), 1 << 20, super::keyring()).unwrap();
                super::$test(store).await;
            })*
        }
    };
}

battery! {
    a_new_store_is_empty
    versions_grow_and_never_repeat
    a_batch_applies_whole_or_not_at_all
    a_batch_within_limits_is_required
    commits_are_read_at_once
    expired_keys_are_absent_and_swept
    a_sweep_spares_what_was_renewed
    scans_go_page_by_page
    the_audit_chain_links_in_order
    hundred_increments_make_hundred
    one_of_hundred_wins_a_race
    a_snapshot_stands_still
    a_closed_store_refuses
}

async fn version(store: &dyn Store, name: &str) -> Version {
    store.read(&[key(name)], NOW).await.unwrap()[0].version
}

async fn value(store: &dyn Store, name: &str) -> Option<Vec<u8>> {
    store.read(&[key(name)], NOW).await.unwrap().remove(0).value
}

async fn a_new_store_is_empty(store: Arc<dyn Store>) {
    assert_eq!(value(&*store, "u/a").await, None);
    assert_eq!(version(&*store, "u/a").await, Version(0));
    assert!(store.scan(b"", None, 10).await.unwrap().is_empty());
    assert!(store.audit(0, 10).await.unwrap().is_empty());
    let status = store.status();
    assert_eq!((status.revision, status.audit_sequence, status.queue), (0, 0, 0));
    assert_eq!(status.error, None);
}

async fn versions_grow_and_never_repeat(store: Arc<dyn Store>) {
    let first = store.commit(put("u/a", "1"), Durable).await.unwrap();
    assert_eq!(first, Version(1));
    assert_eq!(version(&*store, "u/a").await, first);
    let second = store.commit(put("u/b", "1"), Visible).await.unwrap();
    assert_eq!(second, Version(2));
    assert_eq!(version(&*store, "u/a").await, first);

    let mut delete = Batch::default();
    delete.replace(key("u/a"), first, Change::Delete);
    store.commit(delete, Durable).await.unwrap();
    assert_eq!(version(&*store, "u/a").await, Version(0));
    let again = store.commit(put("u/a", "1"), Durable).await.unwrap();
    assert_eq!(again, Version(4));

    let mut stale = Batch::default();
    stale.replace(key("u/a"), first, Change::Put(b"2".to_vec(), None));
    assert!(matches!(store.commit(stale, Durable).await, Err(CommitError::Conflict)));
    assert_eq!(value(&*store, "u/a").await.unwrap(), b"1");
    assert_eq!(store.status().revision, 4);
}

async fn a_batch_applies_whole_or_not_at_all(store: Arc<dyn Store>) {
    store.commit(put("u/a", "old"), Durable).await.unwrap();
    let mut batch = Batch::default();
    batch.replace(key("u/b"), Version(0), Change::Put(b"new".to_vec(), None));
    batch.replace(key("u/a"), Version(7), Change::Put(b"new".to_vec(), None));
    batch.audit.push(event("a"));
    assert!(matches!(store.commit(batch, Durable).await, Err(CommitError::Conflict)));
    assert_eq!(value(&*store, "u/a").await.unwrap(), b"old");
    assert_eq!(value(&*store, "u/b").await, None);
    assert!(store.audit(1, 10).await.unwrap().is_empty());
    assert_eq!(store.status().revision, 1);

    let mut batch = Batch::default();
    batch.replace(key("u/b"), Version(0), Change::Put(b"new".to_vec(), None));
    batch.replace(key("u/a"), Version(1), Change::Delete);
    batch.audit.push(event("a"));
    let version = store.commit(batch, Durable).await.unwrap();
    let found = store.read(&[key("u/b"), key("u/a")], NOW).await.unwrap();
    assert_eq!(
        (found[0].version, found[0].value.as_deref()),
        (version, Some(&b"new"[..]))
    );
    assert_eq!((found[1].version, &found[1].value), (Version(0), &None));
    assert_eq!(store.audit(1, 10).await.unwrap().len(), 1);
}

async fn a_batch_within_limits_is_required(store: Arc<dyn Store>) {
    store.commit(put("u/long", vec![1; 60_000]), Durable).await.unwrap();
    assert_eq!(value(&*store, "u/long").await.unwrap().len(), 60_000);
    for batch in [
        put("u/long", vec![1; 60_001]),
        put("", "1"),
        put(&"k".repeat(Key::MAX_OCTETS + 1), "1"),
        put("a/1", "1"),
        put("m/head", "1"),
    ] {
        assert!(matches!(
            store.commit(batch, Durable).await,
            Err(CommitError::Unavailable(_))
        ));
    }
    assert_eq!(store.status().revision, 1);
}

async fn commits_are_read_at_once(store: Arc<dyn Store>) {
    for round in 0..300_u32 {
        let durability = if round % 100 == 0 { Durable } else { Visible };
        let octets = round.to_be_bytes().to_vec();
        let version = store.commit(put("u/a", octets.clone()), durability).await.unwrap();
        let found = store.read(&[key("u/a")], NOW).await.unwrap().remove(0);
        assert_eq!((found.version, found.value), (version, Some(octets)));
    }
}

async fn expired_keys_are_absent_and_swept(store: Arc<dyn Store>) {
    let expires = NOW + Duration::from_secs(10);
    let mut batch = put("e/t/lasting", "1");
    for number in 0..5 {
        batch
            .write
            .push((key(&format!("e/t/{number}")), Change::Put(b"1".to_vec(), Some(expires))));
    }
    batch.write.push((key("u/a"), Change::Put(b"1".to_vec(), None)));
    let written = store.commit(batch, Visible).await.unwrap();

    let keys = [key("e/t/0")];
    let before = store
        .read(&keys, expires - Duration::from_millis(1))
        .await
        .unwrap()
        .remove(0);
    assert_eq!(before.value.as_deref(), Some(&b"1"[..]));
    let after = store.read(&keys, expires).await.unwrap().remove(0);
    assert_eq!((after.value, after.version), (None, written));

    assert_eq!(store.sweep(NOW, 100).await.unwrap(), 0);
    assert_eq!(store.sweep(expires, 3).await.unwrap(), 3);
    assert_eq!(store.sweep(expires, 3).await.unwrap(), 2);
    assert_eq!(store.sweep(expires, 3).await.unwrap(), 0);
    let rest = store.scan(b"e/", None, 10).await.unwrap();
    assert_eq!(rest, [(key("e/t/lasting"), b"1".to_vec())]);
    assert_eq!(version(&*store, "e/t/0").await, Version(0));
    assert_eq!(value(&*store, "u/a").await.unwrap(), b"1");
}

async fn a_sweep_spares_what_was_renewed(store: Arc<dyn Store>) {
    let soon = NOW + Duration::from_secs(10);
    let later = NOW + Duration::from_secs(20);
    let mut batch = Batch::default();
    batch.write.push((key("e/t/a"), Change::Put(b"1".to_vec(), Some(soon))));
    let version = store.commit(batch, Durable).await.unwrap();
    let mut batch = Batch::default();
    batch.replace(key("e/t/a"), version, Change::Put(b"2".to_vec(), Some(later)));
    store.commit(batch, Visible).await.unwrap();
    assert_eq!(store.sweep(soon, 10).await.unwrap(), 0);
    assert_eq!(value(&*store, "e/t/a").await.unwrap(), b"2");
    assert_eq!(store.sweep(later, 10).await.unwrap(), 1);
    assert_eq!(value(&*store, "e/t/a").await, None);
}

async fn scans_go_page_by_page(store: Arc<dyn Store>) {
    for number in 0..40_u8 {
        let durability = if number == 30 { Durable } else { Visible };
        store
            .commit(put(&format!("u/{number:02}"), vec![number]), durability)
            .await
            .unwrap();
    }
    store.commit(put("u", "outside"), Visible).await.unwrap();
    store.commit(put("v/1", "outside"), Visible).await.unwrap();
    let mut gone = Batch::default();
    gone.write.push((key("u/07"), Change::Delete));
    gone.write.push((key("u/39"), Change::Delete));
    store.commit(gone, Visible).await.unwrap();

    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = store.scan(b"u/", after.as_ref(), 7).await.unwrap();
        assert!(page.len() <= 7);
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page);
    }
    let expected: Vec<_> = (0..39)
        .filter(|number| *number != 7)
        .map(|number| (key(&format!("u/{number:02}")), vec![number]))
        .collect();
    assert_eq!(seen, expected);
    assert!(store.scan(b"u/", None, 0).await.unwrap().is_empty());
    assert_eq!(store.scan(b"v/", Some(&key("u/05")), 5).await.unwrap().len(), 1);
}

async fn the_audit_chain_links_in_order(store: Arc<dyn Store>) {
    let mut expected = Vec::new();
    for round in 0..120 {
        let mut batch = Batch::default();
        for step in 0..=round % 3 {
            let event = event(&format!("{round}/{step}"));
            expected.push(event.clone());
            batch.audit.push(event);
        }
        let durability = if round % 50 == 49 { Durable } else { Visible };
        store.commit(batch, durability).await.unwrap();
    }
    let chain = audit_chain(&*store, &keyring()).await;
    let events: Vec<_> = chain.iter().map(|record| record.event().unwrap()).collect();
    assert_eq!(events, expected);

    let part = store.audit(101, 7).await.unwrap();
    assert_eq!(part, chain[100..107]);
    assert!(store.audit(chain.len() as u64 + 1, 7).await.unwrap().is_empty());
}

async fn hundred_increments_make_hundred(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..100)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                loop {
                    let found = store.read(&[key("u/n")], NOW).await.unwrap().remove(0);
                    let count = found.value.map_or(0, |value| value[0]);
                    let mut batch = Batch::default();
                    batch.replace(key("u/n"), found.version, Change::Put(vec![count + 1], None));
                    batch.audit.push(event("counter"));
                    let durability = if number % 2 == 0 { Durable } else { Visible };
                    match store.commit(batch, durability).await {
                        Ok(_) => break,
                        Err(CommitError::Conflict) => tokio::task::yield_now().await,
                        Err(CommitError::Unavailable(error)) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value(&*store, "u/n").await.unwrap(), [100]);
    assert_eq!(store.status().revision, 100);
    assert_eq!(audit_chain(&*store, &keyring()).await.len(), 100);
}

async fn one_of_hundred_wins_a_race(store: Arc<dyn Store>) {
    let start = store.commit(put("u/code", "unused"), Durable).await.unwrap();
    let tasks: Vec<_> = (0..100_u8)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut batch = Batch::default();
                batch.replace(key("u/code"), start, Change::Put(vec![number], None));
                store.commit(batch, Durable).await
            })
        })
        .collect();
    let mut winners = Vec::new();
    for (number, task) in (0..).zip(tasks) {
        match task.await.unwrap() {
            Ok(_) => winners.push(number),
            Err(CommitError::Conflict) => {}
            Err(CommitError::Unavailable(error)) => panic!("{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(value(&*store, "u/code").await.unwrap(), winners);
}

async fn entries(snapshot: &mut dyn Snapshot, limit: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    loop {
        let piece = snapshot.next(limit).await.unwrap();
        if piece.is_empty() {
            return all;
        }
        all.extend(piece);
    }
}

async fn a_snapshot_stands_still(store: Arc<dyn Store>) {
    for number in 0..60 {
        let mut batch = put(&format!("u/{number:02}"), "old");
        batch.audit.push(event("before"));
        store.commit(batch, Visible).await.unwrap();
    }
    let mut reference = store.snapshot().await.unwrap();
    let expected = entries(&mut *reference, 1000).await;
    assert_eq!(expected.len(), 120);

    let mut snapshot = store.snapshot().await.unwrap();
    assert_eq!(snapshot.head().revision, 60);
    assert_eq!(snapshot.head().audit_sequence, 60);
    assert_eq!(snapshot.head().fingerprint, keyring().fingerprint());
    let mut seen = Vec::new();
    for number in 0..60 {
        seen.extend(snapshot.next(2).await.unwrap());
        // Behind the reader, at it, before it, and where nothing was.
        let other = (number * 37) % 60;
        let mut batch = put(&format!("u/{other:02}"), "new");
        batch.write.push((key(&format!("u/{:02}", 59 - other)), Change::Delete));
        batch
            .write
            .push((key(&format!("u/{other:02}x")), Change::Put(b"new".to_vec(), None)));
        batch.audit.push(event("after"));
        store.commit(batch, Durable).await.unwrap();
    }
    seen.extend(entries(&mut *snapshot, 2).await);
    assert_eq!(seen, expected);
}

async fn a_closed_store_refuses(store: Arc<dyn Store>) {
    store.commit(put("u/a", "1"), Visible).await.unwrap();
    store.close().await.unwrap();
    assert!(matches!(
        store.commit(put("u/a", "2"), Visible).await,
        Err(CommitError::Unavailable(_))
    ));
    assert_eq!(value(&*store, "u/a").await.unwrap(), b"1");
    store.close().await.unwrap();
}
