//! What keys and values mean, as one number: in the head of a database, and in the header of an export. What an
//! older version wrote is read through a list of steps, one from each number to the next.
//!
//! Records have formats of their own besides ([`crate::engine::record::Record`]): they are read in any of them, and
//! need no step.

use super::{Entry, StoreError};

/// What this version writes.
pub const CURRENT: u32 = 1;

/// From one schema to the next.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Turns an entry of the schema before into those of the one after: none, one or several.
    pub(super) turn: fn(Entry) -> Result<Vec<Entry>, StoreError>,
}

/// The step from schema 1, from schema 2, and so on: a new schema does not compile without the step to it.
const STEPS: [Step; CURRENT as usize - 1] = [];

/// Why entries of another schema are not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unknown;

/// The steps from `schema` on to the current one.
pub(super) fn steps(schema: u32) -> Result<&'static [Step], Unknown> {
    rest(&STEPS, schema)
}

fn rest(steps: &[Step], schema: u32) -> Result<&[Step], Unknown> {
    let done = usize::try_from(schema).ok().and_then(|schema| schema.checked_sub(1));
    done.and_then(|done| steps.get(done..)).ok_or(Unknown)
}

/// Takes an entry up all steps.
pub(super) fn turn(steps: &[Step], entry: Entry) -> Result<Vec<Entry>, StoreError> {
    let mut entries = vec![entry];
    for step in steps {
        let turned: Result<Vec<_>, _> = entries.into_iter().map(step.turn).collect();
        entries = turned?.into_iter().flatten().collect();
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::batch::{Key, Version};
    use crate::store::Record;

    fn named(name: &str) -> Entry {
        Entry::Record(Record {
            key: Key::from_octets(name.as_bytes()),
            version: Version(1),
            expires: None,
            value: Vec::new(),
        })
    }

    fn grown(entry: Entry, by: &str) -> Entry {
        match entry {
            Entry::Record(record) => {
                let name = [record.key.as_octets(), by.as_bytes()].concat();
                named(std::str::from_utf8(&name).unwrap())
            }
            Entry::Audit(record) => Entry::Audit(record),
        }
    }

    const THREE: [Step; 2] = [
        // Doubles.
        Step {
            turn: |entry| Ok(vec![grown(entry.clone(), "b"), grown(entry, "c")]),
        },
        Step {
            turn: |entry| {
                Ok(if entry == named("ac") {
                    vec![]
                } else {
                    vec![grown(entry, "d")]
                })
            },
        },
    ];

    #[test]
    fn entries_go_up_from_where_they_are() {
        let from = |schema| turn(rest(&THREE, schema).unwrap(), named("a")).unwrap();
        assert_eq!(from(1), [named("abd")]);
        assert_eq!(from(2), [named("ad")]);
        assert_eq!(from(3), [named("a")]);
    }

    #[test]
    fn newer_ones_and_none_at_all_are_unknown() {
        assert!(rest(&THREE, 0).is_err() && rest(&THREE, 4).is_err());
        assert_eq!(steps(CURRENT).map(<[Step]>::len), Ok(0));
        assert!(steps(CURRENT + 1).is_err());
    }
}
