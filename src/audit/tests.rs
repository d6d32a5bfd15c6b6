use proptest::prelude::*;

use super::*;
use crate::engine::BoxFuture;
use crate::engine::batch::{Batch, Key, Version};
use crate::store::memory::MemoryStore;
use crate::store::{AuditRecord, CommitError, Durability, Found, Page, Snapshot, StoreStatus};

/// A store that somebody had their hands on.
struct Tampered {
    records: Vec<AuditRecord>,
    head: u64,
}

impl Store for Tampered {
    fn read<'a>(&'a self, _: &'a [Key], _: Timestamp) -> BoxFuture<'a, Result<Vec<Found>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
    fn commit(&self, _: Batch, _: Durability) -> BoxFuture<'_, Result<Version, CommitError>> {
        Box::pin(async { Err(StoreError("read only".into()).into()) })
    }
    fn scan<'a>(&'a self, _: &'a [u8], _: Option<&'a Key>, _: usize) -> BoxFuture<'a, Result<Page, StoreError>> {
        Box::pin(async { Ok(Page::default()) })
    }
    fn audit(&self, from: u64, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRecord>, StoreError>> {
        let records = self.records.iter().filter(|record| record.sequence >= from).take(limit);
        let records = records.cloned().collect();
        Box::pin(async { Ok(records) })
    }
    fn sweep(&self, _: Timestamp, _: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async { Ok(0) })
    }
    fn snapshot(&self) -> BoxFuture<'_, Result<Box<dyn Snapshot>, StoreError>> {
        Box::pin(async { Err(StoreError("not here".into())) })
    }
    fn status(&self) -> StoreStatus {
        StoreStatus {
            kind: "test".into(),
            location: String::new(),
            revision: self.head,
            audit_sequence: self.head,
            size: 0,
            queue: 0,
            error: None,
        }
    }
    fn close(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::from_root(&[3; 32]))
}

fn login(number: u64) -> AuditEvent {
    AuditEvent {
        at: Timestamp::from_secs(1_700_000_000 + number),
        action: if number.is_multiple_of(10) {
            "token.enrol"
        } else {
            "login"
        }
        .into(),
        actor: if number.is_multiple_of(2) { "ana" } else { "ben" }.into(),
        target: Some(if number.is_multiple_of(2) { "main:1" } else { "main:2" }.into()),
        via: "radius".into(),
        client: Some("vpn".into()),
        source: None,
        rule: Some(format!("rule-{number}")),
        factors: Vec::new(),
        outcome: if number.is_multiple_of(3) {
            Outcome::Reject
        } else {
            Outcome::Accept
        },
        reason: None,
        context: None,
    }
}

/// A chain of `count` records, as stores write it.
fn chain(count: u64) -> Vec<AuditRecord> {
    let keyring = keyring();
    let mut previous = [0; 32];
    let records = (1..=count).map(|sequence| {
        let body = serde_json::to_vec(&login(sequence)).unwrap();
        previous = keyring.audit_link(&previous, sequence, &body);
        AuditRecord {
            sequence,
            link: previous,
            body,
        }
    });
    records.collect()
}

fn verify(records: Vec<AuditRecord>, head: u64, noted: Option<&Head>) -> Verification {
    let audit = Audit::new(Arc::new(Tampered { records, head }), keyring());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(audit.verify(noted)).unwrap()
}

fn fault(verification: Verification) -> (u64, Tampering) {
    match verification {
        Verification::Broken(broken) => (broken.sequence, broken.tampering),
        Verification::Whole(whole) => panic!("passed as whole: {whole:?}"),
    }
}

#[tokio::test]
async fn a_real_store_writes_a_whole_chain() {
    let store = Arc::new(MemoryStore::new(keyring()));
    let audit = Audit::new(Arc::clone(&store) as _, keyring());
    let empty = Verification::Whole(Verified::default());
    assert_eq!(audit.verify(None).await.unwrap(), empty);
    for number in 1..=2500 {
        let batch = Batch {
            audit: vec![login(number)],
            ..Batch::default()
        };
        store.commit(batch, Durability::Durable).await.unwrap();
    }
    let Verification::Whole(whole) = audit.verify(None).await.unwrap() else {
        panic!("broken");
    };
    assert_eq!(whole.records, 2500);
    let noted = Head::parse(&whole.head).unwrap();
    assert_eq!(noted.to_string(), whole.head);
    assert!(matches!(
        audit.verify(Some(&noted)).await.unwrap(),
        Verification::Whole(_)
    ));
    let stranger = Audit::new(store, Arc::new(Keyring::from_root(&[4; 32])));
    assert!(matches!(stranger.verify(None).await.unwrap(), Verification::Broken(_)));
}

#[test]
fn a_cut_that_the_store_itself_hides_shows_against_a_noted_head() {
    let whole = chain(20);
    let noted = Head {
        sequence: 20,
        link: whole[19].link,
    };
    let cut = whole[..15].to_vec();
    assert!(matches!(verify(cut.clone(), 15, None), Verification::Whole(_)));
    assert_eq!(fault(verify(cut, 15, Some(&noted))), (16, Tampering::Truncated));
    let mut other = noted.clone();
    other.link[0] ^= 1;
    assert_eq!(fault(verify(whole, 20, Some(&other))), (20, Tampering::Changed));
}

#[test]
fn records_taken_out_and_the_rest_renumbered_are_told() {
    let mut records = chain(30);
    records.drain(9..12);
    for (sequence, record) in (1..).zip(&mut records) {
        record.sequence = sequence;
    }
    assert_eq!(fault(verify(records, 27, None)), (10, Tampering::Removed));
}

proptest! {
    #[test]
    fn a_changed_record_is_named(count in 1u64..60, pick: prop::sample::Index, octet: prop::sample::Index, bit in 0u8..8) {
        let mut records = chain(count);
        let index = pick.index(records.len());
        let at = octet.index(records[index].body.len());
        records[index].body[at] ^= 1 << bit;
        prop_assert_eq!(fault(verify(records, count, None)), (index as u64 + 1, Tampering::Changed));
    }

    #[test]
    fn a_removed_record_is_named(count in 2u64..60, pick: prop::sample::Index) {
        let mut records = chain(count);
        let index = pick.index(records.len() - 1);
        records.remove(index);
        prop_assert_eq!(fault(verify(records, count, None)), (index as u64 + 1, Tampering::Removed));
    }

    #[test]
    fn swapped_records_are_named(count in 2u64..60, one: prop::sample::Index, other: prop::sample::Index) {
        let mut records = chain(count);
        let (one, other) = (one.index(records.len()), other.index(records.len()));
        prop_assume!(one != other);
        records.swap(one, other);
        // The places keep their numbers; what stands in them changes.
        for (sequence, record) in (1..).zip(&mut records) {
            record.sequence = sequence;
        }
        prop_assert_eq!(fault(verify(records, count, None)), (one.min(other) as u64 + 1, Tampering::Reordered));
    }

    #[test]
    fn a_missing_end_is_named(count in 1u64..60, kept: prop::sample::Index) {
        let mut records = chain(count);
        records.truncate(kept.index(records.len()));
        let left = records.len() as u64;
        prop_assert_eq!(fault(verify(records, count, None)), (left + 1, Tampering::Truncated));
    }
}

fn reader(count: u64) -> Audit {
    Audit::new(
        Arc::new(Tampered {
            records: chain(count),
            head: count,
        }),
        keyring(),
    )
}

fn sequences(stretch: &Stretch) -> Vec<u64> {
    stretch.records.iter().map(|line| line.sequence).collect()
}

#[tokio::test]
async fn filters() {
    let audit = reader(30);
    let search = async |filter: Filter| sequences(&audit.search(&filter, 1, 1000).await.unwrap());
    let some = |text: &str| Some(text.to_owned());
    let at = |number: u64| Some(Timestamp::from_secs(1_700_000_000 + number));
    let cases = [
        (Filter::default(), (1..=30).collect()),
        (
            Filter {
                since: at(28),
                ..Filter::default()
            },
            vec![28, 29, 30],
        ),
        (
            Filter {
                until: at(3),
                ..Filter::default()
            },
            vec![1, 2],
        ),
        (
            Filter {
                action: some("token"),
                ..Filter::default()
            },
            vec![10, 20, 30],
        ),
        (
            Filter {
                action: some("tok"),
                ..Filter::default()
            },
            vec![],
        ),
        (
            Filter {
                actor: some("ANA"),
                since: at(26),
                ..Filter::default()
            },
            vec![26, 28, 30],
        ),
        (
            Filter {
                people: vec!["main:2".into()],
                since: at(27),
                ..Filter::default()
            },
            vec![27, 29],
        ),
        (
            Filter {
                outcome: Some(Outcome::Reject),
                until: at(10),
                ..Filter::default()
            },
            vec![3, 6, 9],
        ),
        (
            Filter {
                client: some("wiki"),
                ..Filter::default()
            },
            vec![],
        ),
        (
            Filter {
                text: some("RULE-17"),
                ..Filter::default()
            },
            vec![17],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(search(filter.clone()).await, expected, "{filter:?}");
    }
}

#[tokio::test]
async fn a_long_search_goes_on_where_it_stopped() {
    let audit = reader(2500);
    let filter = Filter {
        action: Some("token.enrol".into()),
        ..Filter::default()
    };
    let mut from = 1;
    let mut found = Vec::new();
    loop {
        let stretch = audit.search(&filter, from, 7).await.unwrap();
        assert!(stretch.records.len() <= 7);
        found.extend(sequences(&stretch));
        from = stretch.next;
        if stretch.end {
            break;
        }
    }
    assert_eq!(found, (1..=250).map(|number| number * 10).collect::<Vec<u64>>());
    assert_eq!(from, 2501, "where new records will be");
}

#[tokio::test]
async fn the_last_ones_come_oldest_first() {
    let audit = reader(2500);
    let last = audit.last(&Filter::default(), 3).await.unwrap();
    assert_eq!((sequences(&last), last.next), (vec![2498, 2499, 2500], 2501));
    let filter = Filter {
        action: Some("token".into()),
        ..Filter::default()
    };
    let last = audit.last(&filter, 200).await.unwrap();
    assert_eq!(sequences(&last).first(), Some(&510), "over several pages");
    assert_eq!(last.records.len(), 200);
}
