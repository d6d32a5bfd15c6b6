//! The archive of the audit: moved there, read, searched, verified, pruned, exported.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use portcullis::audit::offline::{Attestation, verify_export};
use portcullis::audit::{Audit, By, Demands, Filter, Order, PublicKey, Retention, Stretch, Tampering, Verification};
use portcullis::clock::Timestamp;
use portcullis::engine::batch::Batch;
use portcullis::engine::event::{AuditEvent, Outcome};
use portcullis::store::export;
use portcullis::store::sled::{Archiving, SledStore};
use portcullis::store::{Durability, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{NOW, audit_chain, event, keyring};

const CACHE: u64 = 1 << 20;

/// So many records go together, and so many stay.
const SEGMENT: u64 = 50;
const STAY: u64 = 10;

fn open(path: &Path) -> Arc<SledStore> {
    let archiving = Archiving {
        segment: SEGMENT,
        stay: STAY,
        look: Duration::from_millis(5),
        oldest: Duration::MAX,
    };
    SledStore::open_with(path, CACHE, keyring(), archiving).unwrap()
}

/// A store that archives nothing, to look at one as it was left.
fn open_still(path: &Path) -> Arc<SledStore> {
    let archiving = Archiving {
        look: Duration::from_secs(3600),
        oldest: Duration::MAX,
        ..Archiving::default()
    };
    SledStore::open_with(path, CACHE, keyring(), archiving).unwrap()
}

fn audit(store: &Arc<SledStore>) -> Audit {
    Audit::new(Arc::clone(store) as Arc<dyn Store>, keyring())
}

/// Events of some variety, one a second.
fn login(number: u64) -> AuditEvent {
    let octet = u8::try_from(number % 7).unwrap();
    AuditEvent {
        at: NOW + Duration::from_secs(number),
        action: ["login", "token.enrol", "token.revoke", "session.start"][usize::try_from(number % 4).unwrap()].into(),
        actor: format!("user{}", number % 13),
        target: (!number.is_multiple_of(3)).then(|| format!("main:{}", number % 5)),
        via: if number.is_multiple_of(2) {
            "radius"
        } else {
            "ldap/external"
        }
        .into(),
        client: Some(if number.is_multiple_of(11) { "wiki" } else { "vpn" }.into()),
        source: Some(IpAddr::V4(Ipv4Addr::new(10, 0, octet, 1))),
        rule: number.is_multiple_of(2).then(|| format!("rule {}", number % 6)),
        outcome: if number.is_multiple_of(9) {
            Outcome::Reject
        } else {
            Outcome::Accept
        },
        reason: number.is_multiple_of(10).then(|| format!("Because of {number}")),
        ..event("nobody")
    }
}

async fn append(store: &dyn Store, first: u64, count: u64) {
    for number in first..first + count {
        let batch = Batch {
            audit: vec![login(number)],
            ..Batch::default()
        };
        // What is written together lies, and goes, together: not too much of it.
        let durability = if number.is_multiple_of(7) {
            Durability::Durable
        } else {
            Durability::Visible
        };
        store.commit(batch, durability).await.unwrap();
    }
    store.commit(Batch::default(), Durability::Durable).await.unwrap();
}

/// Waits until what is left is too little for another segment.
async fn archived(store: &Arc<SledStore>) {
    let archive = store.archive().unwrap();
    while store.status().audit_sequence - archive.through() >= SEGMENT + STAY {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn segments(path: &Path) -> Vec<PathBuf> {
    files(path, "segment")
}

fn files(path: &Path, kind: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(path.join("audit"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|end| end == kind))
        .collect();
    files.sort();
    files
}

fn sequences(stretch: &Stretch) -> Vec<u64> {
    stretch.records.iter().map(|line| line.sequence).collect()
}

async fn all(audit: &Audit, filter: &Filter, order: Order, limit: usize) -> Vec<u64> {
    let mut found = Vec::new();
    let mut from = None;
    loop {
        let stretch = audit.find(filter, order, from, limit).await.unwrap();
        assert!(stretch.records.len() <= limit);
        assert!(stretch.damaged.is_empty(), "{:?}", stretch.damaged);
        found.extend(sequences(&stretch));
        if stretch.end {
            return found;
        }
        from = Some(stretch.next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn complete_stretches_move_and_are_read_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    append(&*store, 1, 333).await;
    archived(&store).await;
    let chain = audit_chain(&*store, &keyring()).await;
    assert_eq!(chain.len(), 333);
    assert_eq!(chain[56].event().unwrap(), login(57));
    assert!(segments(&path).len() >= 6);
    assert!(matches!(
        audit(&store).verify(None).await.unwrap(),
        Verification::Whole(_)
    ));
    // Over the boundary between archive and database, and between segments.
    let through = store.archive().unwrap().through();
    for from in [1, 49, 50, 51, through - 3, through, through + 1] {
        let page = store.audit(from, 7).await.unwrap();
        assert_eq!(page, chain[usize::try_from(from - 1).unwrap()..][..page.len()]);
        assert_eq!(page.len(), 7);
    }
    drop(store);
    let store = open(&path);
    assert_eq!(audit_chain(&*store, &keyring()).await, chain);
    append(&*store, 334, 200).await;
    archived(&store).await;
    assert_eq!(audit_chain(&*store, &keyring()).await.len(), 533);
    let Verification::Whole(whole) = audit(&store).verify(None).await.unwrap() else {
        panic!("broken");
    };
    assert_eq!(whole.records, 533);
    assert!(whole.segments >= 10 && whole.mended.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_database_opens_on_its_archive_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    append(&*store, 1, 90).await;
    let file = folder.path().join("export");
    export::export(&*store, &file).await.unwrap();
    // What is restored goes to the archive, all of it.
    let restored = folder.path().join("restored");
    export::restore(&file, &restored, &keyring(), &export::Restoring::default()).unwrap();
    let copy = open(&restored);
    assert_eq!(copy.archive().unwrap().through(), 90);
    assert_eq!(
        audit_chain(&*copy, &keyring()).await,
        audit_chain(&*store, &keyring()).await
    );
    append(&*copy, 91, 90).await;
    archived(&copy).await;
    drop(copy);
    assert_eq!(audit_chain(&*open(&restored), &keyring()).await.len(), 180);
}

/// Any filter, against looking at every record.
fn filters() -> impl Strategy<Value = Filter> {
    let some = |values: &'static [&'static str]| prop::option::weighted(0.3, prop::sample::select(values));
    let moment = || prop::option::weighted(0.3, (0..500_u64).prop_map(|number| NOW + Duration::from_secs(number)));
    let network = prop::option::weighted(
        0.3,
        prop::sample::select(vec![
            "10.0.3.1/32",
            "10.0.2.0/23",
            "10.0.0.0/8",
            "10.9.0.0/16",
            "0.0.0.0/0",
        ]),
    );
    let outcome = prop::option::weighted(0.3, prop::sample::select(vec![Outcome::Accept, Outcome::Reject]));
    let words = (
        some(&["user1", "USER4", "nobody"]),
        some(&["login", "token", "token.enrol", "tok", "session.start"]),
        some(&["vpn", "Wiki", "x"]),
        some(&["rule 2", "RULE 4", "rule"]),
        some(&["radius", "ldap", "ldap/external", "lda"]),
        some(&["because of", "OF 12", "10.0.3.1", "nothing such"]),
    );
    (moment(), moment(), words, network, outcome, some(&["main:2", "user3"])).prop_map(
        |(since, until, (actor, action, client, rule, via, text), network, outcome, person)| Filter {
            since,
            until,
            people: person.into_iter().map(str::to_owned).collect(),
            actor: actor.map(Into::into),
            action: action.map(Into::into),
            outcome,
            client: client.map(Into::into),
            rule: rule.map(Into::into),
            source: network.map(|network| network.parse().unwrap()),
            via: via.map(Into::into),
            text: text.map(Into::into),
        },
    )
}

/// What a filter means, said another way.
fn holds(filter: &Filter, event: &AuditEvent) -> bool {
    let has = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(is));
    let begins = |wanted: &Option<String>, is: &str, by: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| is == wanted || is.starts_with(&format!("{wanted}{by}")))
    };
    let body = serde_json::to_string(event).unwrap().to_lowercase();
    filter.since.is_none_or(|since| event.at >= since)
        && filter.until.is_none_or(|until| event.at < until)
        && has(&filter.actor, &event.actor)
        && has(&filter.client, event.client.as_deref().unwrap_or("-"))
        && has(&filter.rule, event.rule.as_deref().unwrap_or("-"))
        && begins(&filter.action, &event.action, ".")
        && begins(&filter.via, &event.via, "/")
        && filter.outcome.is_none_or(|outcome| outcome == event.outcome)
        && filter
            .source
            .is_none_or(|network| network.contains(&event.source.unwrap()))
        && filter
            .people
            .iter()
            .all(|name| *name == event.actor || Some(name) == event.target.as_ref())
        && filter
            .text
            .as_ref()
            .is_none_or(|text| body.contains(&text.to_lowercase()))
}

#[test]
fn every_search_finds_what_looking_at_every_record_finds() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = runtime.block_on(async {
        let store = open(&folder.path().join("store"));
        append(&*store, 1, 500).await;
        archived(&store).await;
        store
    });
    let audit = audit(&store);
    let mut runner = TestRunner::new(Config::with_cases(300));
    let matched = std::cell::Cell::new(0);
    runner
        .run(&(filters(), any::<bool>(), 1..60_usize), |(filter, newest, limit)| {
            let mut expected: Vec<u64> = (1..=500).filter(|number| holds(&filter, &login(*number))).collect();
            let order = if newest { Order::NewestFirst } else { Order::OldestFirst };
            if newest {
                expected.reverse();
            }
            matched.set(matched.get() + expected.len());
            prop_assert_eq!(runtime.block_on(all(&audit, &filter, order, limit)), expected);
            Ok(())
        })
        .unwrap();
    assert!(matched.get() > 1000, "the filters find too little");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_says_truly_whether_there_is_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    append(&*store, 1, 200).await;
    archived(&store).await;
    let audit = audit(&store);
    let filter = Filter {
        rule: Some("rule 4".into()),
        ..Filter::default()
    };
    let count = (1..=200).filter(|number| holds(&filter, &login(*number))).count();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let exact = audit.find(&filter, order, None, count).await.unwrap();
        assert_eq!((exact.records.len(), exact.end), (count, true));
        let short = audit.find(&filter, order, None, count - 1).await.unwrap();
        assert_eq!((short.records.len(), short.end), (count - 1, false));
        let rest = audit.find(&filter, order, Some(short.next), count).await.unwrap();
        assert_eq!((rest.records.len(), rest.end), (1, true));
    }
    // Where new ones will be.
    let last = audit.last(&filter, 3).await.unwrap();
    assert_eq!((last.records.len(), last.next), (3, 201));
    let found = audit.search(&filter, last.next, 10).await.unwrap();
    assert!(found.records.is_empty() && found.end && found.next == 201);
    append(&*store, 201, 10).await;
    let found = audit.search(&filter, found.next, 10).await.unwrap();
    assert_eq!((sequences(&found), found.next), (vec![202, 208], 211));
}

async fn broken(path: &Path) -> Option<(u64, Tampering, String)> {
    let store = open_still(path);
    match audit(&store).verify(None).await.unwrap() {
        Verification::Whole(_) => None,
        Verification::Broken(broken) => Some((broken.sequence, broken.tampering, broken.detail)),
    }
}

/// A store with some segments and a tail, closed.
async fn filled(folder: &Path) -> PathBuf {
    let path = folder.join("store");
    let store = open(&path);
    append(&*store, 1, 275).await;
    archived(&store).await;
    store.close().await.unwrap();
    drop(store);
    path
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

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_are_gone_swapped_or_renamed_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(folder.path()).await;
    assert_eq!(broken(&path).await, None);
    let first_of = |file: &Path| -> u64 {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.split('-').next().unwrap().parse().unwrap()
    };
    let names = segments(&path);
    let second = first_of(&names[1]);

    let gone = folder.path().join("gone");
    copy(&path, &gone);
    fs::remove_file(&segments(&gone)[1]).unwrap();
    let (sequence, tampering, detail) = broken(&gone).await.unwrap();
    assert_eq!((sequence, tampering), (second, Tampering::Removed), "{detail}");
    // Reading across the gap is an error that names the file, not an answer.
    let store = open_still(&gone);
    let error = store.audit(second, 10).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains(names[1].file_name().unwrap().to_str().unwrap()),
        "{error}"
    );
    let found = audit(&store)
        .find(&Filter::default(), Order::NewestFirst, None, 1000)
        .await
        .unwrap();
    assert_eq!(found.damaged.len(), 1);
    drop(store);

    let swapped = folder.path().join("swapped");
    copy(&path, &swapped);
    let names = segments(&swapped);
    fs::rename(&names[1], swapped.join("aside")).unwrap();
    fs::rename(&names[2], &names[1]).unwrap();
    fs::rename(swapped.join("aside"), &names[2]).unwrap();
    let (sequence, tampering, detail) = broken(&swapped).await.unwrap();
    assert_eq!((sequence, tampering), (second, Tampering::Reordered), "{detail}");

    let renamed = folder.path().join("renamed");
    copy(&path, &renamed);
    let names = segments(&renamed);
    fs::rename(&names[3], renamed.join("audit/kept.bak")).unwrap();
    let (sequence, tampering, detail) = broken(&renamed).await.unwrap();
    assert_eq!(
        (sequence, tampering),
        (first_of(&names[3]), Tampering::Removed),
        "{detail}"
    );

    // Of another installation: everything links there, but not here.
    let foreign = folder.path().join("foreign");
    {
        let archiving = Archiving {
            segment: SEGMENT,
            stay: STAY,
            look: Duration::from_millis(5),
            oldest: Duration::MAX,
        };
        let other = Arc::new(portcullis::keyring::Keyring::from_root(&[43; 32]));
        let store = SledStore::open_with(&foreign, CACHE, other, archiving).unwrap();
        append(&*store, 1, 275).await;
        archived(&store).await;
    }
    let mixed = folder.path().join("mixed");
    copy(&path, &mixed);
    let last = segments(&mixed).last().unwrap().clone();
    let same = foreign.join("audit").join(last.file_name().unwrap());
    if same.exists() {
        fs::copy(same, &last).unwrap();
        let (sequence, tampering, detail) = broken(&mixed).await.unwrap();
        assert_eq!((sequence, tampering), (first_of(&last), Tampering::Changed), "{detail}");
    }
}

#[test]
fn any_change_of_a_segment_is_found_and_of_an_index_mended() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = runtime.block_on(filled(folder.path()));
    let filter = Filter {
        actor: Some("user7".into()),
        ..Filter::default()
    };
    let expected: Vec<u64> = (1..=275).filter(|number| holds(&filter, &login(*number))).collect();
    let mut runner = TestRunner::new(Config {
        cases: 60,
        max_shrink_iters: 20,
        ..Config::default()
    });
    let strategy = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        1..=255_u8,
        any::<bool>(),
        any::<bool>(),
    );
    runner
        .run(&strategy, |(file, at, mask, index, cut)| {
            let copied = tempfile::tempdir_in(folder.path()).unwrap();
            let store = copied.path().join("store");
            copy(&path, &store);
            let all_files = files(&store, if index { "index" } else { "segment" });
            let file = &all_files[file.index(all_files.len())];
            let mut octets = fs::read(file).unwrap();
            let at = at.index(octets.len());
            if cut {
                octets.truncate(at);
            } else {
                octets[at] ^= mask;
            }
            fs::write(file, octets).unwrap();
            runtime.block_on(async {
                let opened = open_still(&store);
                let audit = audit(&opened);
                if index {
                    // Found whole by searching first: what is damaged is made again, never "no such record".
                    prop_assert_eq!(all(&audit, &filter, Order::OldestFirst, 1000).await, expected.clone());
                    let verified = audit.verify(None).await.unwrap();
                    prop_assert!(matches!(verified, Verification::Whole(_)), "{verified:?}");
                } else {
                    let found = audit.find(&filter, Order::OldestFirst, None, 1000).await.unwrap();
                    prop_assert!(sequences(&found) == expected || !found.damaged.is_empty());
                    let verified = audit.verify(None).await.unwrap();
                    prop_assert!(matches!(verified, Verification::Broken(_)), "{verified:?}");
                }
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_changed_in_a_segment_with_all_checksums_put_right_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let archiving = Archiving {
        segment: 50,
        stay: 0,
        look: Duration::from_millis(5),
        oldest: Duration::MAX,
    };
    let store = SledStore::open_with(&path, CACHE, keyring(), archiving).unwrap();
    append(&*store, 1, 70).await;
    while store.archive().unwrap().through() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(store);
    // The links lie at the front of a block as they are: swap those of two records. The checksum of the block is
    // left as it was, which must not keep the record from being named.
    let file = &segments(&path)[0];
    let segment = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut links = [0; 64];
    segment.read_exact_at(&mut links, 20 + 32 * 9).unwrap();
    links.rotate_left(32);
    segment.write_all_at(&links, 20 + 32 * 9).unwrap();
    let (sequence, tampering, detail) = broken(&path).await.unwrap();
    assert_eq!((sequence, tampering), (10, Tampering::Changed), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_shows_a_cut_that_the_store_hides() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    append(&*store, 1, 130).await;
    store.close().await.unwrap();
    drop(store);
    let older = folder.path().join("older");
    copy(&path, &older);
    let store = open(&path);
    append(&*store, 131, 5).await;
    let audit_now = audit(&store);
    let checkpoint = audit_now.checkpoint(NOW).await.unwrap().unwrap();
    assert_eq!(checkpoint.position.sequence, 135);
    let demands = Demands {
        checkpoints: vec![checkpoint],
        ..Demands::default()
    };
    let whole = audit_now.verify_with(demands.clone()).await.unwrap();
    assert!(matches!(whole, Verification::Whole(_)), "{whole:?}");
    let cut = open(&older);
    let Verification::Broken(broken) = audit(&cut).verify_with(demands.clone()).await.unwrap() else {
        panic!("whole");
    };
    assert_eq!((broken.sequence, broken.tampering), (131, Tampering::Truncated));
    // Another history since, with the key file at hand: whole in itself, but not what was signed.
    append(&*cut, 900, 20).await;
    assert!(matches!(
        audit(&cut).verify(None).await.unwrap(),
        Verification::Whole(_)
    ));
    let Verification::Broken(broken) = audit(&cut).verify_with(demands).await.unwrap() else {
        panic!("whole");
    };
    assert_eq!((broken.sequence, broken.tampering), (135, Tampering::Changed));
}

fn by(now: Timestamp) -> By<'static> {
    By {
        actor: "uid:0",
        via: "admin",
        now,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_leaves_an_anchor_that_the_rest_goes_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    append(&*store, 1, 400).await;
    archived(&store).await;
    let audit_now = audit(&store);
    let keep = Retention {
        since: NOW + Duration::from_secs(160),
        records: 0,
    };
    let would = audit_now.prunable(&keep).unwrap();
    let pruned = audit_now.prune(&keep, by(NOW)).await.unwrap().unwrap();
    assert_eq!(pruned, would);
    assert!((100..160).contains(&pruned.last), "{pruned:?}");
    assert_eq!(audit_now.prune(&keep, by(NOW)).await.unwrap(), None);
    let first = pruned.last + 1;
    let check = async |store: &Arc<SledStore>| {
        let audit = audit(store);
        let Verification::Whole(whole) = audit.verify(None).await.unwrap() else {
            panic!("broken");
        };
        assert_eq!((whole.gone, whole.records), (pruned.last, 401 - pruned.last));
        assert_eq!(store.audit(1, 1).await.unwrap()[0].sequence, first);
        let found = audit
            .find(&Filter::default(), Order::OldestFirst, None, 1)
            .await
            .unwrap();
        assert_eq!(sequences(&found), [first]);
        let record = audit.last(&Filter::default(), 1).await.unwrap().records.remove(0);
        assert_eq!(
            (record.action.as_str(), record.actor.as_str()),
            ("audit.prune", "uid:0")
        );
    };
    check(&store).await;
    let file = folder.path().join("export");
    let summary = export::export(&*store, &file).await.unwrap();
    assert_eq!(summary.audit, 401 - pruned.last);
    drop(audit_now);
    drop(store);
    assert!(
        segments(&path)
            .iter()
            .all(|file| !file.to_str().unwrap().contains("0000000000000001-"))
    );
    check(&open(&path)).await;

    // What was exported comes back, with the anchor.
    let restored = folder.path().join("restored");
    export::restore(&file, &restored, &keyring(), &export::Restoring::default()).unwrap();
    check(&open(&restored)).await;

    // Files taken away without an anchor are missing, however tidy the rest is.
    fs::remove_file(&segments(&path)[0]).unwrap();
    let (sequence, tampering, detail) = broken(&path).await.unwrap();
    assert_eq!((sequence, tampering), (first, Tampering::Removed), "{detail}");
}

/// The frames of an export, each with its kind.
fn frames(export: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &export[16..export.len() - 32];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = 9 + usize::try_from(u32::from_be_bytes(rest[..4].try_into().unwrap())).unwrap();
        frames.push((rest[4], rest[..length].to_vec()));
        rest = &rest[length..];
    }
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_vouches_for_nothing_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    append(&*store, 1, 400).await;
    archived(&store).await;
    let audit_now = audit(&store);
    let key = audit_now.public_key();
    let (early, late) = (folder.path().join("early"), folder.path().join("late"));
    export::export(&*store, &early).await.unwrap();
    let keep = Retention {
        since: NOW + Duration::from_secs(160),
        records: 0,
    };
    audit_now.prune(&keep, by(NOW)).await.unwrap().unwrap();
    export::export(&*store, &late).await.unwrap();
    let whole = verify_export(&late, &key, &[]).unwrap();
    assert!(matches!(whole, Attestation::Whole(_)), "{whole:?}");

    // Records of one's own before the anchor, and as many fewer at the end.
    const AUDIT: u8 = 3;
    let octets = fs::read(&late).unwrap();
    let mut kept = frames(&octets);
    let own = frames(&fs::read(&early).unwrap());
    let own: Vec<_> = own.into_iter().filter(|(kind, _)| *kind == AUDIT).take(5).collect();
    let end = kept.pop().unwrap();
    kept.truncate(kept.len() - own.len());
    assert!(kept.iter().rev().take(20).all(|(kind, _)| *kind == AUDIT));
    let mut forged = octets[..16].to_vec();
    let header = kept.remove(0);
    for (_, frame) in [vec![header], own, kept, vec![end]].concat() {
        forged.extend_from_slice(&frame);
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, &forged);
    forged.extend_from_slice(digest.as_ref());
    fs::write(&late, forged).unwrap();
    let found = verify_export(&late, &key, &[]).unwrap();
    assert!(matches!(found, Attestation::Broken(_)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_segment_that_a_crash_left_is_not_taken_for_the_one_in_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("store"), folder.path().join("other"));
    let store = open(&path);
    append(&*store, 1, 130).await;
    archived(&store).await;
    store.close().await.unwrap();
    drop(store);
    // The same records, cut where an earlier run had cut them.
    let archiving = Archiving {
        segment: 30,
        stay: STAY,
        look: Duration::from_millis(5),
        oldest: Duration::MAX,
    };
    let cut = SledStore::open_with(&other, CACHE, keyring(), archiving).unwrap();
    append(&*cut, 1, 130).await;
    while cut.archive().unwrap().through() < 30 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cut.close().await.unwrap();
    drop(cut);
    let left = segments(&other).remove(0);
    fs::copy(&left, path.join("audit").join(left.file_name().unwrap())).unwrap();
    assert_eq!(broken(&path).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_keeps_so_many_and_waits_for_exports() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("store"));
    append(&*store, 1, 400).await;
    archived(&store).await;
    let audit = audit(&store);
    let later = NOW + Duration::from_secs(10_000);
    let keep = Retention {
        since: later,
        records: 200,
    };
    let mut snapshot = store.snapshot().await.unwrap();
    let error = audit.prune(&keep, by(later)).await.unwrap_err();
    assert!(format!("{:?}", error).contains("export is under way"), "{error:?}");
    while !snapshot.next(100).await.unwrap().is_empty() {}
    drop(snapshot);
    let pruned = audit.prune(&keep, by(later)).await.unwrap().unwrap();
    assert!((100..=200).contains(&pruned.last), "{pruned:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_verified_with_the_public_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let store = open(&path);
    append(&*store, 1, 100).await;
    let audit_now = audit(&store);
    audit_now.write_checkpoint(NOW).await.unwrap();
    append(&*store, 101, 100).await;
    let key = audit_now.public_key();
    let file = folder.path().join("export");
    let noted = audit_now.checkpoint(NOW).await.unwrap().unwrap();
    append(&*store, 201, 10).await;
    export::export(&*store, &file).await.unwrap();

    let Attestation::Whole(whole) = verify_export(&file, &key, &[]).unwrap() else {
        panic!("broken");
    };
    assert_eq!((whole.records, whole.attested, whole.checkpoints), (211, 100, 1));
    let Attestation::Whole(whole) = verify_export(&file, &key, std::slice::from_ref(&noted)).unwrap() else {
        panic!("broken");
    };
    assert_eq!((whole.attested, whole.checkpoints), (201, 2));
    let Attestation::Whole(whole) = verify_export(&file, &PublicKey([7; 32]), &[]).unwrap() else {
        panic!("broken");
    };
    assert_eq!((whole.attested, whole.checkpoints, whole.foreign), (0, 0, 1));

    // Another history, by whoever has the key file, does not pass the checkpoint that was noted elsewhere.
    let other = open(&folder.path().join("other"));
    append(&*other, 1000, 300).await;
    let forged = folder.path().join("forged");
    export::export(&*other, &forged).await.unwrap();
    let Attestation::Broken(found) = verify_export(&forged, &key, &[noted]).unwrap() else {
        panic!("whole");
    };
    assert_eq!(found.sequence, 1);
}
