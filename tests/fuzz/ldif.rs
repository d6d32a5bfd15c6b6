//! LDIF of any octets: either entries whose names and attributes hold together, or faults with lines.

use std::path::Path;

use portcullis::directory::ldif::{self, MAX_FAULTS};
use portcullis::directory::local::Tree;

/// Reads `data` as an LDIF file.
pub fn ldif(data: &[u8]) {
    let file = Path::new("fuzz.ldif");
    let lines = data.split(|&octet| octet == b'\n').count();
    match ldif::parse(file, data) {
        Ok(records) => {
            for record in &records {
                assert!((1..=lines).contains(&record.line));
                assert!(record.attribute("objectClass").is_some());
                assert!(record.attributes.iter().all(|attribute| !attribute.values.is_empty()));
            }
        }
        Err(faults) => {
            assert!((1..=MAX_FAULTS + 1).contains(&faults.0.len()));
            assert!(faults.0.iter().all(|fault| (1..=lines).contains(&fault.line)));
        }
    }
    if let Ok(tree) = Tree::parse(file, data) {
        let below: usize = tree.roots().map(|root| tree.subtree(root).count()).sum();
        assert_eq!(below, tree.entries().len(), "every entry hangs on one root");
        for entry in tree.entries() {
            assert_eq!(tree.get(entry.dn()).map(|found| found.dn()), Some(entry.dn()));
            assert!(entry.attribute("userPassword").is_none());
        }
    }
}
