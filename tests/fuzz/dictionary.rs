//! Dictionaries of any octets, and attributes of any octets named by one of them.

use std::path::Path;

use portcullis::dictionary::{Dictionary, Home};
use portcullis::document::{Faults, Source};

/// Reads `data` as a dictionary file: what is wrong has its place, and what is right can be written and read.
pub fn dictionary(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut faults = Faults::default();
    let dictionary = Dictionary::parse(&Source::new(Path::new("fuzz"), text), &mut faults);
    let lines = text.lines().count();
    assert!(faults.0.len() <= lines + 1);
    for fault in &faults.0 {
        assert!((1..=lines.max(1)).contains(&fault.line) && fault.column > 0 && !fault.message.is_empty());
    }
    for attribute in dictionary.attributes().take(20) {
        assert!(dictionary.find(&attribute.name).is_some());
        if attribute.home == Home::Standard {
            assert!((1..=255).contains(&attribute.number));
        }
        let mut octets = Vec::new();
        let body = vec![7; attribute.capacity().min(100)];
        attribute.lay_out(&body, &mut octets).expect("a value that fits");
        assert!(dictionary.name(&octets).count() > 0);
    }
}

/// Names the attributes in `data`: every one can be printed, and nothing that is there is lost.
pub fn attribute_names(data: &[u8]) {
    let mut walked = 0;
    for named in Dictionary::shipped().name(data) {
        let (line, logged) = (named.to_string(), named.for_log().to_string());
        assert!(!line.chars().chain(logged.chars()).any(char::is_control));
        assert!(!named.is_secret() || logged.ends_with("octets)"));
        assert!(named.value.len() <= 253);
        walked += 1;
    }
    assert!(walked <= data.len() / 2 + 1);
}
