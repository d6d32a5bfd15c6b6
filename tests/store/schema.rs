//! What earlier versions wrote is read by this one. The files under `tests/vectors` are kept as they were written.

use std::path::Path;
use std::sync::Arc;

use portcullis::clock::Timestamp;
use portcullis::engine::batch::{Batch, Change, Key};
use portcullis::engine::facts::UserKey;
use portcullis::engine::record::{Algorithm, Passcode, Token, TokenKind, UserRecord, decode, encode};
use portcullis::keyring::Keyring;
use portcullis::store::export::{self, ExportError, Restoring};
use portcullis::store::sled::SledStore;
use portcullis::store::{Durability, Store, schema};

use super::support::{audit_chain, event};

const FIXTURE: &str = "tests/vectors/store-schema-1.export";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const CACHE: u64 = 8 << 20;
/// The formats of people's records: one person has each.
const FORMATS: [u8; 4] = [1, 2, 3, CURRENT];
const CURRENT: u8 = 5;

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::from_root(&[17; 32]))
}

fn user(format: u8) -> UserKey {
    UserKey::new("corp", &format!("format-{format}"))
}

fn recovery(format: u8) -> [u8; 32] {
    keyring().digest_code(b"recovery", &[format])
}

/// A record as version `format` wrote it: what came later is missing at its end.
fn older(format: u8) -> Vec<u8> {
    let mut octets = vec![format, 3];
    octets.extend_from_slice(b"ana");
    // No tokens, one recovery code, no failures, no passcode, ever enrolled, no login, next token 2.
    octets.extend_from_slice(&[0, 1]);
    octets.extend_from_slice(&recovery(format));
    octets.extend_from_slice(&[0, 0, 1, 0, 2]);
    if format > 1 {
        // Not denied.
        octets.push(0);
    }
    octets
}

fn current() -> UserRecord {
    let (ring, user) = (keyring(), user(CURRENT));
    UserRecord {
        login: "ana".into(),
        tokens: vec![Token {
            id: 1,
            label: "key".into(),
            kind: TokenKind::Hotp { counter: 12 },
            algorithm: Algorithm::Sha1,
            digits: 6,
            seed: ring.seal(&Token::place(user.as_str(), 1), b"12345678901234567890"),
            disabled: false,
            failures: 3,
            enrolled: NOW,
            last_used: Some(NOW),
        }],
        recovery: vec![recovery(CURRENT)],
        passcode: Some(Passcode {
            id: "p1".into(),
            digest: [7; 32],
            issued_by: "carol".into(),
            issued: NOW,
            expires: NOW,
            failures: 1,
            sealed: Some(ring.seal(&Passcode::place(user.as_str(), "p1"), b"K7QXM3RTWP")),
            refused: 2,
            replaces_factor: true,
            second: None,
            released_by: None,
            halves: false,
        }),
        ever_enrolled: true,
        next_token: 2,
        ..UserRecord::default()
    }
}

/// Wrote the fixture, and will write the one of the next schema.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the fixture is kept as it is"]
async fn writes_a_fixture() {
    let folder = tempfile::tempdir().unwrap();
    let store = SledStore::open(&folder.path().join("store"), CACHE, keyring()).unwrap();
    for format in FORMATS {
        let octets = if format < CURRENT {
            older(format)
        } else {
            encode(&current())
        };
        let mut batch = Batch::default();
        batch.write.push((Key::user(&user(format)), Change::Put(octets, None)));
        batch.audit.push(event("carol"));
        store.commit(batch, Durability::Durable).await.unwrap();
    }
    let name = format!("tests/vectors/store-schema-{}.export", schema::CURRENT);
    export::export(&*store, Path::new(&name)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_schema_is_restored_with_every_format_of_records() {
    let folder = tempfile::tempdir().unwrap();
    let summary = export::verify_with(Path::new(FIXTURE), &keyring()).unwrap();
    assert_eq!((summary.schema, summary.records, summary.audit), (1, 4, 4));
    let into = folder.path().join("store");
    export::restore(Path::new(FIXTURE), &into, &keyring(), &Restoring::default()).unwrap();
    let store = SledStore::open(&into, CACHE, keyring()).unwrap();
    assert_eq!(audit_chain(&*store, &keyring()).await.len(), 4);
    for format in FORMATS {
        let found = store.read(&[Key::user(&user(format))], NOW).await.unwrap().remove(0);
        let octets = found.value.unwrap();
        assert_eq!(octets[0], format);
        let record: UserRecord = decode(&octets).unwrap();
        assert_eq!(
            (record.login.as_str(), record.ever_enrolled, record.next_token),
            ("ana", true, 2)
        );
        assert_eq!(record.recovery, [recovery(format)]);
        if let Some(token) = record.tokens.first() {
            let seed = keyring()
                .open(&Token::place(user(format).as_str(), 1), &token.seed)
                .unwrap();
            assert_eq!(seed.expose(), b"12345678901234567890");
            assert_eq!((token.kind, token.failures), (TokenKind::Hotp { counter: 12 }, 3));
            assert_eq!(record.passcode.as_ref().unwrap().refused, 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut octets = std::fs::read(FIXTURE).unwrap();
    // Behind the magic: length, kind, schema. Its checksum is put right again.
    let next = schema::CURRENT + 1;
    octets[21..25].copy_from_slice(&next.to_be_bytes());
    let length = u32::from_be_bytes(octets[16..20].try_into().unwrap()) as usize;
    let end = 21 + length;
    let sum = crc32fast::hash(&octets[20..end]).to_be_bytes();
    octets[end..end + 4].copy_from_slice(&sum);
    let file = folder.path().join("newer");
    std::fs::write(&file, octets).unwrap();
    let error = export::verify(&file).unwrap_err();
    assert!(
        matches!(error, ExportError::Format(_, schema) if schema == next),
        "{error}"
    );
    assert!(error.to_string().contains("or a newer one"), "{error}");
}
