//! What tests of stores share.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portcullis::clock::Timestamp;
use portcullis::engine::batch::{Batch, Change, Key};
use portcullis::engine::event::{AuditEvent, Outcome};
use portcullis::keyring::Keyring;
use portcullis::store::{AuditRecord, Store};

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

pub(crate) fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::from_root(&[42; 32]))
}

pub(crate) fn key(name: &str) -> Key {
    Key::from_octets(name.as_bytes())
}

pub(crate) fn event(actor: &str) -> AuditEvent {
    AuditEvent {
        at: NOW,
        action: "login".into(),
        actor: actor.into(),
        target: None,
        via: "radius".into(),
        client: None,
        source: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        rule: None,
        factors: vec!["password".into()],
        outcome: Outcome::Accept,
        reason: None,
        context: None,
    }
}

pub(crate) fn put(name: &str, value: impl Into<Vec<u8>>) -> Batch {
    Batch {
        write: vec![(key(name), Change::Put(value.into(), None))],
        ..Batch::default()
    }
}

/// The whole audit chain, after checking every link and number.
pub(crate) async fn audit_chain(store: &dyn Store, keyring: &Keyring) -> Vec<AuditRecord> {
    let mut chain: Vec<AuditRecord> = Vec::new();
    loop {
        let page = store.audit(chain.len() as u64 + 1, 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 100);
        chain.extend(page);
    }
    let mut link = [0; 32];
    for (sequence, record) in (1..).zip(&chain) {
        assert_eq!(record.sequence, sequence);
        link = keyring.audit_link(&link, sequence, &record.body);
        assert_eq!(record.link, link, "the link of record {sequence}");
    }
    assert_eq!(store.status().audit_sequence, chain.len() as u64);
    chain
}
