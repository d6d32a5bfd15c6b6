//! Bringing into the tree, when a store opens, what stands in the journal only.

use std::fs::File;

use ::sled::IVec;

use super::super::Head;
use super::format::{self, AFTER_AUDIT};
use super::group::Group;
use super::journal::Run;
use super::tree;

/// All that the journal knows and a tree with this head does not, as one group; `None` when it knows
/// nothing new.
///
/// # Errors
/// What is wrong with the journal.
pub(super) fn missing(head: &Head, mut runs: [Run; 2]) -> Result<Option<Group>, String> {
    runs.sort_by_key(|run| run.frames.first().map_or(0, |frame| frame.first));
    let beyond = runs.iter().filter_map(|run| run.beyond).max().unwrap_or_default();
    let mut all = Group {
        head: *head,
        ..Group::default()
    };
    for frame in runs.into_iter().flat_map(|run| run.frames) {
        let next = all.head.revision + 1;
        if frame.group.head.revision < next {
            continue;
        }
        if frame.first != next {
            return Err(format!(
                "changes {next} to {} are missing",
                frame.first.max(next + 1) - 1
            ));
        }
        let audit_follows = frame.group.head.audit_sequence - frame.group.audit.len() as u64 == all.head.audit_sequence;
        if frame.group.head.fingerprint != head.fingerprint || !audit_follows {
            return Err("its journal belongs to another store".into());
        }
        all.merge(frame.group);
    }
    if beyond > all.head.revision {
        let lost = beyond - all.head.revision;
        return Err(format!("its journal is damaged: its last {lost} changes do not read"));
    }
    Ok((all.head.revision > head.revision).then_some(all))
}

/// Brings a group into a tree, on disk, that may hold a part of it already: that may have been cut off.
pub(super) fn apply(db: &::sled::Db, file: &File, head: &Head, group: &Group) -> ::sled::Result<()> {
    // Audit records may have been packed otherwise then.
    let begun: Vec<IVec> = db
        .range::<&[u8], _>(&*format::audit_key(head.audit_sequence + 1)..AFTER_AUDIT)
        .keys()
        .collect::<Result<_, _>>()?;
    for key in begun {
        db.remove(key)?;
    }
    tree::write(db, file, group)
}

#[cfg(test)]
mod tests {
    use super::super::frame::Frame;
    use super::*;

    fn head(revision: u64) -> Head {
        Head {
            revision,
            ..Head::default()
        }
    }

    fn run(revisions: &[(u64, u64)], beyond: Option<u64>) -> Run {
        let frames = revisions.iter().map(|(first, last)| Frame {
            first: *first,
            group: Group {
                head: head(*last),
                ..Group::default()
            },
        });
        Run {
            frames: frames.collect(),
            beyond,
        }
    }

    fn end(revision: u64, runs: [Run; 2]) -> Result<Option<u64>, String> {
        missing(&head(revision), runs).map(|group| group.map(|group| group.head.revision))
    }

    #[test]
    fn frames_follow_the_tree_and_each_other() {
        let runs = || [run(&[(8, 9), (10, 10)], None), run(&[(1, 4), (5, 7)], None)];
        for (revision, expected) in [
            (0, Some(10)),
            (4, Some(10)),
            (7, Some(10)),
            (9, Some(10)),
            (10, None),
            (12, None),
        ] {
            assert_eq!(end(revision, runs()), Ok(expected), "{revision}");
        }
        assert_eq!(end(0, [run(&[], None), run(&[], None)]), Ok(None));
    }

    #[test]
    fn a_gap_is_damage() {
        assert!(end(0, [run(&[(2, 3)], None), run(&[], None)]).is_err());
        assert!(end(3, [run(&[(1, 3)], None), run(&[(5, 6)], None)]).is_err());
        // The tree stands within a frame, where it never stops.
        assert!(end(2, [run(&[(1, 3)], None), run(&[], None)]).is_err());
    }

    #[test]
    fn what_lies_behind_a_damaged_frame_counts_if_it_is_new() {
        assert!(end(1, [run(&[(1, 3)], Some(5)), run(&[], None)]).is_err());
        assert!(end(1, [run(&[(2, 3)], Some(5)), run(&[], None)]).is_err());
        assert_eq!(end(5, [run(&[(1, 3)], Some(5)), run(&[], None)]), Ok(None));
    }
}
