//! Who has a second factor, and who must do something about theirs.

use super::{Kind, Report, Row, sums};
use crate::accounts::Census;

/// The counts of people's records, by directory.
pub fn enrolment(census: &Census) -> Report {
    let rows: Vec<Row> = census
        .groups
        .iter()
        .map(|(name, counts)| Row {
            of: vec![name.clone()],
            counts: vec![
                counts.people,
                counts.registered,
                counts.unregistered(),
                counts.must_register,
                counts.must_update,
                counts.tokens_off,
                counts.few_codes,
                counts.answers_due,
                counts.answers_locked,
                counts.denied,
                counts.without_record,
            ],
        })
        .collect();
    Report {
        kind: Kind::Enrolment,
        since: None,
        until: None,
        heads: vec![census.by.to_owned()],
        columns: COLUMNS.iter().map(|column| (*column).to_owned()).collect(),
        total: sums(&rows, COLUMNS.len()),
        rows,
        records: census.records,
        notes: census.notes.clone(),
    }
}

const COLUMNS: [&str; 11] = [
    "people",
    "registered",
    "not registered",
    "must register",
    "must update",
    "tokens off",
    "few codes",
    "answers due",
    "answers locked",
    "denied",
    "no record",
];
