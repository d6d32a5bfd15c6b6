//! What only the store on disk must do: survive, and refuse to open what is not whole.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use portcullis::engine::batch::{Batch, Change, Version};
use portcullis::keyring::Keyring;
use portcullis::store::export::{self, ExportError, Restoring};
use portcullis::store::sled::{OpenError, SledStore};
use portcullis::store::{Durability, Store};

use crate::support::{NOW, audit_chain, event, key, keyring, put};

use Durability::{Durable, Visible};

const CACHE: u64 = 1 << 20;

fn open(path: &Path) -> Result<Arc<SledStore>, OpenError> {
    SledStore::open(path, CACHE, keyring())
}

/// `users` records of 300 octets and as many audit records.
async fn fill(store: &dyn Store, users: u32) {
    for number in 0..users {
        let mut batch = put(&format!("u/{number:06}"), [number.to_be_bytes(); 75].concat());
        batch.audit.push(event(&format!("{number:06}")));
        store.commit(batch, Visible).await.unwrap();
    }
    store.commit(Batch::default(), Durable).await.unwrap();
}

async fn content(store: &dyn Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let page = store.scan(b"u/", None, usize::MAX).await.unwrap();
    page.into_iter()
        .map(|(key, value)| (key.as_octets().to_vec(), value))
        .collect()
}

#[tokio::test]
async fn everything_survives_a_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).unwrap();
    fill(&*store, 500).await;
    let mut batch = Batch::default();
    batch.write.push((key("e/t/a"), Change::Put(b"1".to_vec(), Some(NOW))));
    batch.write.push((key("u/000003"), Change::Delete));
    store.commit(batch, Visible).await.unwrap();
    let (before, chain) = (content(&*store).await, audit_chain(&*store, &keyring()).await);
    // Dropping makes what was only visible durable as well.
    drop(store);

    let store = open(&path).unwrap();
    assert_eq!(content(&*store).await, before);
    assert_eq!(audit_chain(&*store, &keyring()).await, chain);
    assert_eq!(store.status().revision, 502);
    let expiring = store.read(&[key("e/t/a")], NOW).await.unwrap().remove(0);
    assert_eq!((expiring.value, expiring.version), (None, Version(502)));
    assert_eq!(
        store.commit(put("u/000003", "back"), Durable).await.unwrap(),
        Version(503)
    );
    assert_eq!(store.sweep(NOW, 10).await.unwrap(), 1);
}

#[tokio::test]
async fn another_key_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fill(&*open(&path).unwrap(), 1).await;
    let other = Arc::new(Keyring::from_root(&[43; 32]));
    let error = SledStore::open(&path, CACHE, other).unwrap_err();
    assert!(matches!(error, OpenError::WrongKey { .. }), "{error}");
    open(&path).unwrap();
}

#[tokio::test]
async fn a_damaged_database_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).unwrap();
    fill(&*store, 3000).await;
    drop(store);
    let store = open(&path).unwrap();
    for number in 0..3000 {
        let other = number * 7 % 3000;
        store
            .commit(put(&format!("u/{other:06}"), vec![b'x'; 300]), Visible)
            .await
            .unwrap();
        if number % 100 == 0 {
            store.commit(Batch::default(), Durable).await.unwrap();
        }
    }
    store.close().await.unwrap();
    drop(store);
    let expected = content(&*open(&path).unwrap()).await;
    let whole = fs::read(path.join("db")).unwrap();

    let mut refused = 0;
    for part in 1..24 {
        let damaged = folder.path().join(format!("damaged{part}"));
        copy(&path, &damaged);
        let at = whole.len() * part / 24;
        let file = fs::OpenOptions::new().write(true).open(damaged.join("db")).unwrap();
        let flipped: Vec<_> = whole[at..at + 64].iter().map(|octet| !octet).collect();
        file.write_all_at(&flipped, at as u64).unwrap();
        drop(file);
        match open(&damaged) {
            Err(error @ OpenError::Damaged { .. }) => {
                refused += 1;
                assert!(
                    error.to_string().contains("portcullis restore <file> --replace"),
                    "{error}"
                );
            }
            Err(error) => panic!("{error}"),
            // It hit a place that is not in use, or the audit, whose chain tells.
            Ok(store) => assert!(content(&*store).await == expected),
        }
    }
    assert!(refused > 0);
}

#[tokio::test]
async fn a_lost_or_emptied_database_does_not_open_as_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fill(&*open(&path).unwrap(), 10).await;
    let emptied = folder.path().join("emptied");
    copy(&path, &emptied);
    fs::File::create(emptied.join("db")).unwrap();
    assert!(matches!(open(&emptied), Err(OpenError::Damaged { .. })));
    let lost = folder.path().join("lost");
    copy(&path, &lost);
    fs::remove_file(lost.join("db")).unwrap();
    assert!(matches!(open(&lost), Err(OpenError::Damaged { .. })));
}

#[tokio::test]
async fn an_older_database_does_not_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fill(&*open(&path).unwrap(), 10).await;
    let older = folder.path().join("older");
    copy(&path, &older);
    fill(&*open(&path).unwrap(), 10).await;
    fs::copy(path.join("tip"), older.join("tip")).unwrap();
    let error = open(&older).unwrap_err();
    let said = error.to_string();
    assert!(
        said.contains("is damaged: its last 1") && said.contains(" changes are missing"),
        "{said}"
    );
}

#[tokio::test]
async fn a_recovery_that_was_cut_off_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fill(&*open(&path).unwrap(), 10).await;
    fs::write(path.join("snap.7FFFFFFFFFFFFFFF.generating"), "half of it").unwrap();
    assert_eq!(content(&*open(&path).unwrap()).await.len(), 10);
}

#[tokio::test]
async fn making_a_store_that_was_cut_off_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("making"), "").unwrap();
    fs::write(path.join("conf"), [0; 200]).unwrap();
    fill(&*open(&path).unwrap(), 10).await;
    assert_eq!(content(&*open(&path).unwrap()).await.len(), 10);
}

#[tokio::test]
async fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path).unwrap();
    fill(&*store, 1).await;
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "disk::opens_what_the_environment_names",
            "--nocapture",
            "--ignored",
        ])
        .env("PORTCULLIS_TEST_STORE", &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("in use by another process"),
        "{output:?}"
    );
}

/// The other process of the test above.
#[test]
#[ignore = "run by another test"]
fn opens_what_the_environment_names() {
    let path = std::env::var_os("PORTCULLIS_TEST_STORE").unwrap();
    let error = open(Path::new(&path)).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)));
    println!("{error}");
}

#[tokio::test]
async fn a_write_error_is_final_and_shows() {
    // The kernel refuses to let files grow beyond the limit, as a full disk would.
    let output = Command::new("bash")
        .args(["-c", "trap '' XFSZ; ulimit -f 1024; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk::fills_the_disk", "--nocapture", "--ignored"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("kept what was acknowledged"),
        "{output:?}"
    );
}

/// The other process of the test above.
#[tokio::test]
#[ignore = "run by another test"]
async fn fills_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).unwrap();
    let mut acknowledged = 0_u32;
    let error = loop {
        match store
            .commit(put(&format!("u/{acknowledged:06}"), vec![1; 10_000]), Durable)
            .await
        {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "the limit has no effect");
    };
    assert!(error.to_string().contains("cannot write to"), "{error}");
    assert!(store.status().error.is_some());
    for durability in [Visible, Durable] {
        let again = store.commit(put("u/again", "1"), durability).await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string());
    }
    assert!(store.close().await.is_err());
    assert!(acknowledged > 0);
    let last = key(&format!("u/{:06}", acknowledged - 1));
    assert!(store.read(&[last], NOW).await.unwrap()[0].value.is_some());
    println!("kept what was acknowledged: {acknowledged}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_restores_everything() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).unwrap();
    fill(&*store, 2000).await;
    let mut batch = Batch::default();
    batch.write.push((key("e/t/a"), Change::Put(b"1".to_vec(), Some(NOW))));
    store.commit(batch, Visible).await.unwrap();
    let file = folder.path().join("export");
    let summary = export::export(&*store, &file).await.unwrap();
    assert_eq!(
        (summary.records, summary.audit, summary.head.revision),
        (2001, 2000, 2002)
    );
    assert_eq!(export::verify(&file).unwrap(), summary);
    assert_eq!(summary.size, fs::metadata(&file).unwrap().len());
    // What comes after the export is not in it.
    store.commit(put("u/later", "1"), Durable).await.unwrap();

    let restored = folder.path().join("restored");
    assert_eq!(
        export::restore(&file, &restored, &keyring(), &Restoring::default())
            .unwrap()
            .summary,
        summary
    );
    let copy = open(&restored).unwrap();
    assert_eq!(copy.status().revision, 2002);
    assert_eq!(
        audit_chain(&*copy, &keyring()).await,
        audit_chain(&*store, &keyring()).await
    );
    let mut expected = content(&*store).await;
    expected.retain(|(key, _)| key != b"u/later");
    assert_eq!(content(&*copy).await, expected);
    let keys = [key("u/000777"), key("e/t/a")];
    for (old, new) in store
        .read(&keys, NOW)
        .await
        .unwrap()
        .iter()
        .zip(copy.read(&keys, NOW).await.unwrap())
    {
        assert_eq!((old.version, &old.value), (new.version, &new.value));
    }
    assert_eq!(copy.commit(put("u/more", "1"), Durable).await.unwrap(), Version(2003));

    let again = export::restore(&file, &restored, &keyring(), &Restoring::default()).unwrap_err();
    assert!(matches!(again, ExportError::Exists(_)), "{again}");
    let other = Arc::new(Keyring::from_root(&[43; 32]));
    let foreign = export::restore(&file, &folder.path().join("other"), &other, &Restoring::default()).unwrap_err();
    assert!(matches!(foreign, ExportError::WrongKey(_)), "{foreign}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_export_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).unwrap();
    fill(&*store, 100).await;
    let file = folder.path().join("export");
    export::export(&*store, &file).await.unwrap();
    let whole = fs::read(&file).unwrap();

    let damaged = folder.path().join("damaged");
    let into = folder.path().join("restored");
    let refuse = |octets: &[u8], what: &str| {
        fs::write(&damaged, octets).unwrap();
        let error = export::restore(&damaged, &into, &keyring(), &Restoring::default()).unwrap_err();
        assert!(matches!(error, ExportError::Damaged { .. }), "{what}: {error}");
        assert!(!into.exists());
    };
    for at in (0..whole.len())
        .step_by(whole.len() / 300)
        .chain(whole.len() - 40..whole.len())
    {
        let mut octets = whole.clone();
        octets[at] ^= 0x10;
        refuse(&octets, &format!("flipped at {at}"));
    }
    for length in [0, 10, whole.len() / 2, whole.len() - 32, whole.len() - 1] {
        refuse(&whole[..length], &format!("cut at {length}"));
    }
    refuse(&[&whole[..], b"x"].concat(), "longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn exports_rotate() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store")).unwrap();
    fill(&*store, 3).await;
    let exports = folder.path().join("exports");
    fs::create_dir(&exports).unwrap();
    fs::write(exports.join("notes.txt"), "mine").unwrap();
    let mut made = Vec::new();
    for day in 0..5 {
        let now = NOW + std::time::Duration::from_secs(day * 86_400);
        made.push(export::export_and_rotate(&*store, &exports, 2, now).await.unwrap().0);
    }
    let mut left: Vec<_> = fs::read_dir(&exports)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    left.sort();
    assert_eq!(left, [exports.join("notes.txt"), made[3].clone(), made[4].clone()]);
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
