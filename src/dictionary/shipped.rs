//! The dictionaries that are part of the program.

/// Name and text of each, in the order in which they are read.
pub(super) const FILES: &[(&str, &str)] = &[
    (
        "(shipped) standard.dictionary",
        include_str!("data/standard.dictionary"),
    ),
    (
        "(shipped) microsoft.dictionary",
        include_str!("data/microsoft.dictionary"),
    ),
    ("(shipped) cisco.dictionary", include_str!("data/cisco.dictionary")),
    (
        "(shipped) firewalls.dictionary",
        include_str!("data/firewalls.dictionary"),
    ),
    (
        "(shipped) switches.dictionary",
        include_str!("data/switches.dictionary"),
    ),
    (
        "(shipped) wireless.dictionary",
        include_str!("data/wireless.dictionary"),
    ),
];
