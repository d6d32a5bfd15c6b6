//! Another key file in place of the one a store was written with.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use portcullis::clock::{self, Timestamp};
use portcullis::engine::batch::{Batch, Change, Key};
use portcullis::engine::facts::UserKey;
use portcullis::engine::record::{Algorithm, Token, TokenKind, UserRecord, decode, encode};
use portcullis::keyring::{KeyFile, Keyring};
use portcullis::store::export::{self, Restoring};
use portcullis::store::rekey::{RekeyError, Rekeying, next_key_file, rekey};
use portcullis::store::sled::{OpenError, SledStore};
use portcullis::store::{Durability, Store};

use super::support::{audit_chain, event};

const CACHE: u64 = 8 << 20;
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const PEOPLE: u32 = 300;
/// With 29 octets of sealing four pieces of twenty octets.
const POLICIES: &[u8] = b"policies in pieces, sealed as a whole.";

struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    async fn new() -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        Keyring::create(&site.key_file()).unwrap();
        let store = site.open().unwrap();
        let keyring = site.keyring();
        for number in 0..PEOPLE {
            let user = user(number);
            let record = UserRecord {
                login: format!("user{number}"),
                tokens: vec![token(&user, number, &keyring)],
                recovery: vec![keyring.digest_code(b"recovery", &number.to_be_bytes())],
                ..UserRecord::default()
            };
            let mut batch = Batch::default();
            batch.write.push((Key::user(&user), Change::Put(encode(&record), None)));
            batch.audit.push(event("carol"));
            store.commit(batch, Durability::Visible).await.unwrap();
        }
        let mut batch = Batch::default();
        let sealed = keyring.seal(&Key::policy_text_place(7), POLICIES);
        for (piece, octets) in (0..).zip(sealed.chunks(20)) {
            batch
                .write
                .push((Key::policy_text(7, piece), Change::Put(octets.to_vec(), None)));
        }
        for (key, until) in [(Key::upstream(7), Some(NOW)), (Key::session_watch(), None)] {
            batch.write.push((key, Change::Put(b"x".to_vec(), until)));
        }
        store.commit(batch, Durability::Durable).await.unwrap();
        store.close().await.unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key_file(&self) -> PathBuf {
        self.path("key")
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::new(Keyring::load(&self.key_file()).unwrap())
    }

    fn open(&self) -> Result<Arc<SledStore>, OpenError> {
        SledStore::open(&self.store(), CACHE, self.keyring())
    }

    fn how(&self) -> Rekeying {
        Rekeying {
            store: self.store(),
            key_file: self.key_file(),
            into: None,
            renew_answers: false,
            dry_run: false,
            by: "root".into(),
            now: NOW,
        }
    }

    /// Opens the store and looks at everybody in it.
    async fn judge(&self, records: u64) {
        let store = self.open().unwrap();
        let keyring = self.keyring();
        for number in 0..PEOPLE {
            let user = user(number);
            let found = store.read(&[Key::user(&user)], NOW).await.unwrap().remove(0);
            let record: UserRecord = decode(&found.value.unwrap()).unwrap();
            let token = &record.tokens[0];
            let seed = keyring
                .open(&Token::place(user.as_str(), token.id), &token.seed)
                .unwrap();
            assert_eq!(seed.expose(), number.to_be_bytes());
            assert_eq!(
                token.kind,
                TokenKind::Hotp {
                    counter: u64::from(number)
                }
            );
            let code = number.to_be_bytes();
            let mut digests = keyring.digests_of_code(b"recovery", &code);
            assert!(digests.any(|digest| record.recovery == [digest]));
            assert_eq!(found.version.0, u64::from(number) + 1);
        }
        let pieces: Vec<Key> = (0..4).map(|piece| Key::policy_text(7, piece)).collect();
        let found = store.read(&pieces, NOW).await.unwrap();
        let sealed: Vec<u8> = found.into_iter().flat_map(|found| found.value.unwrap()).collect();
        let policies = keyring.open(&Key::policy_text_place(7), &sealed).unwrap();
        assert_eq!(policies.expose(), POLICIES);
        let chain = audit_chain(&*store, &keyring).await;
        assert_eq!(chain.len() as u64, records);
        store.close().await.unwrap();
    }
}

fn user(number: u32) -> UserKey {
    UserKey::new("corp", &format!("{number:04}"))
}

fn token(user: &UserKey, number: u32, keyring: &Keyring) -> Token {
    Token {
        id: 1,
        label: "token-1".into(),
        kind: TokenKind::Hotp {
            counter: u64::from(number),
        },
        algorithm: Algorithm::Sha1,
        digits: 6,
        seed: keyring.seal(&Token::place(user.as_str(), 1), &number.to_be_bytes()),
        disabled: false,
        failures: 0,
        enrolled: NOW,
        last_used: None,
    }
}

const BEFORE: u64 = PEOPLE as u64;

#[tokio::test(flavor = "multi_thread")]
async fn everything_goes_on_under_the_new_key() {
    let site = Site::new().await;
    let old = site.keyring();
    let backup = site.path("backup");
    let store = site.open().unwrap();
    export::export(&*store, &backup).await.unwrap();
    let open = rekey(&site.how()).await.unwrap_err();
    assert!(matches!(open, RekeyError::Open(OpenError::Locked(_))), "{open}");
    drop(store);

    let tried = Rekeying {
        dry_run: true,
        ..site.how()
    };
    let tried = rekey(&tried).await.unwrap();
    assert_eq!(tried.resealed.unwrap().seeds, BEFORE);
    assert!(tried.former.is_none() && !next_key_file(&site.key_file()).exists());
    site.judge(BEFORE).await;

    let done = rekey(&site.how()).await.unwrap();
    assert_eq!(done.resealed.unwrap(), tried.resealed.unwrap());
    assert_eq!(
        done.former,
        Some((site.path("store.former"), Some(site.path("key.former"))))
    );
    assert_ne!(site.keyring().fingerprint(), old.fingerprint());
    site.judge(BEFORE + 1).await;
    let store = site.open().unwrap();
    let gone = store.read(&[Key::upstream(7)], Timestamp::default()).await.unwrap();
    assert!(gone[0].value.is_none());
    let last = store.audit(BEFORE + 1, 10).await.unwrap().remove(0).event().unwrap();
    assert_eq!((last.action.as_str(), last.actor.as_str()), ("rekey", "root"));
    drop(store);
    // The old store and the old key still belong together.
    SledStore::open(&site.path("store.former"), CACHE, Arc::clone(&old)).unwrap();
    assert_eq!(
        Keyring::load(&site.path("key.former")).unwrap().fingerprint(),
        old.fingerprint()
    );

    // A backup of before is refused with the new key, and restored with the old one.
    let error = export::verify_with(&backup, &site.keyring()).unwrap_err();
    assert!(matches!(error, export::ExportError::WrongKey(_)), "{error}");
    export::restore(&backup, &site.path("looked-at"), &old, &Restoring::default()).unwrap();

    let in_the_way = rekey(&site.how()).await.unwrap_err();
    assert!(matches!(in_the_way, RekeyError::InTheWay(_)), "{in_the_way}");
    fs::remove_dir_all(site.path("store.former")).unwrap();
    fs::remove_file(site.path("key.former")).unwrap();
    rekey(&site.how()).await.unwrap();
    site.judge(BEFORE + 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_for_the_operator_to_put_in_place() {
    let site = Site::new().await;
    let into = site.path("new.key");
    let how = Rekeying {
        into: Some(into.clone()),
        ..site.how()
    };
    let done = rekey(&how).await.unwrap();
    assert_eq!(done.key_file, into);
    assert!(matches!(site.open(), Err(OpenError::WrongKey { .. })));
    fs::rename(&into, site.key_file()).unwrap();
    site.judge(BEFORE + 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_is_done_again_or_finished() {
    let site = Site::new().await;
    // Before anything was in place: half a store and a key file that nothing is sealed with.
    fs::create_dir(site.path("store.rekeying")).unwrap();
    fs::write(site.path("store.rekeying/db"), b"half").unwrap();
    let stale = KeyFile::read(&site.key_file()).unwrap().successor(BEFORE, true);
    stale.write(&next_key_file(&site.key_file())).unwrap();
    site.judge(BEFORE).await;
    let done = rekey(&site.how()).await.unwrap();
    assert!(done.resealed.is_some());
    assert_ne!(site.keyring().fingerprint(), stale.keyring().fingerprint());
    site.judge(BEFORE + 1).await;

    // After the stores were exchanged, and before the key files were.
    let (store, key) = (site.store(), site.key_file());
    fs::rename(site.path("store.former"), site.path("store.rekeying")).unwrap();
    fs::rename(&key, next_key_file(&key)).unwrap();
    fs::rename(site.path("key.former"), &key).unwrap();
    assert!(matches!(site.open(), Err(OpenError::WrongKey { .. })));
    let finished = rekey(&site.how()).await.unwrap();
    assert!(finished.resealed.is_none());
    site.judge(BEFORE + 1).await;

    // After the key files were exchanged, and before the old one had its name.
    fs::rename(site.path("key.former"), next_key_file(&key)).unwrap();
    let finished = rekey(&site.how()).await.unwrap();
    assert!(finished.resealed.is_none() && site.path("key.former").exists());
    site.judge(BEFORE + 1).await;
    assert!(store.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sealed_anew_stops_it() {
    let site = Site::new().await;
    let store = site.open().unwrap();
    let mut batch = Batch::default();
    let unknown = Key::from_octets(b"z/1");
    batch.write.push((unknown.clone(), Change::Put(b"x".to_vec(), None)));
    store.commit(batch, Durability::Durable).await.unwrap();
    drop(store);
    let error = rekey(&site.how()).await.unwrap_err();
    assert!(
        matches!(&error, RekeyError::UnknownRecord(name) if name == "z/1"),
        "{error}"
    );

    let store = site.open().unwrap();
    let foreign = UserRecord {
        tokens: vec![token(&user(3), 3, &Keyring::from_root(&[9; 32]))],
        ..UserRecord::default()
    };
    let mut batch = Batch::default();
    batch.write.push((unknown, Change::Delete));
    batch
        .write
        .push((Key::user(&user(900)), Change::Put(encode(&foreign), None)));
    store.commit(batch, Durability::Durable).await.unwrap();
    drop(store);
    let error = rekey(&site.how()).await.unwrap_err();
    assert!(matches!(error, RekeyError::Record(..)), "{error}");
    assert!(!next_key_file(&site.key_file()).exists() && !site.path("store.rekeying").exists());
    site.judge(BEFORE).await;
}

/// The command line, so that it can be killed.
fn command(site: &Site) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
    command
        .args(["rekey", "--yes", "--json", "--store"])
        .arg(site.store())
        .arg("--key-file")
        .arg(site.key_file());
    command
}

fn forget_former(site: &Site) {
    fs::remove_dir_all(site.path("store.former")).unwrap();
    fs::remove_file(site.path("key.former")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_nothing_is_lost() {
    let site = Site::new().await;
    let started = clock::monotonic();
    let done = command(&site).output().unwrap();
    let whole = started.elapsed();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let mut records = BEFORE + 1;
    site.judge(records).await;
    let (mut unfinished, mut finished) = (0, 0);
    for part in 0..16 {
        forget_former(&site);
        let before = site.keyring().fingerprint();
        let mut process = command(&site)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * part / 14);
        process.kill().unwrap();
        process.wait().unwrap();
        // Either the old store and the old key are in place, or another run says what was left to do.
        if site.open().is_ok() && site.keyring().fingerprint() == before {
            unfinished += 1;
            site.judge(records).await;
        } else {
            finished += 1;
        }
        let again = command(&site).output().unwrap();
        if site.path("key.former").exists() && !again.status.success() {
            // All had been done.
            let told = String::from_utf8_lossy(&again.stderr).into_owned();
            assert!(told.contains("in the way"), "{told}");
        } else {
            assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
        }
        assert_ne!(site.keyring().fingerprint(), before);
        records += 1;
        site.judge(records).await;
    }
    println!("{unfinished} were cut off before the new store was in place, {finished} after");
}
