//! Runs every fuzz target over its corpus, so that what fuzzing once found stays fixed on a stable compiler.

#![allow(clippy::indexing_slicing, reason = "every index is below the length")]

use std::fs;
use std::path::Path;

#[path = "fuzz/dictionary.rs"]
#[allow(unreachable_pub, reason = "the fuzz binaries use the same file")]
mod dictionary;
#[path = "fuzz/ldap_frame.rs"]
#[allow(unreachable_pub, reason = "the fuzz binary uses the same file")]
mod ldap_frame;
#[path = "fuzz/ldap_parts.rs"]
#[allow(unreachable_pub, reason = "the fuzz binaries use the same file")]
mod ldap_parts;
#[path = "fuzz/ldap_restrict.rs"]
#[allow(unreachable_pub, reason = "the fuzz binary uses the same file")]
mod ldap_restrict;
#[path = "fuzz/ldif.rs"]
#[allow(unreachable_pub, reason = "the fuzz binary uses the same file")]
mod ldif;
#[path = "fuzz/policy_file.rs"]
#[allow(unreachable_pub, reason = "the fuzz binary uses the same file")]
mod policy_file;
#[path = "fuzz/proxy_protocol.rs"]
#[allow(unreachable_pub, reason = "the fuzz binary uses the same file")]
mod proxy_protocol;
#[path = "fuzz/targets.rs"]
#[allow(unreachable_pub, reason = "the fuzz binaries use the same file")]
mod targets;

#[test]
fn radius_packet() {
    replay("radius_packet", targets::radius_packet);
}

#[test]
fn accounting_report() {
    replay("accounting_report", targets::accounting_report);
}

#[test]
fn radius_attribute() {
    replay("radius_attribute", targets::radius_attribute);
}

#[test]
fn dictionary_file() {
    replay("dictionary", dictionary::dictionary);
}

#[test]
fn attribute_names() {
    replay("attribute_names", dictionary::attribute_names);
}

#[test]
fn ldap_restrict() {
    replay("ldap_restrict", ldap_restrict::ldap_restrict);
}

#[test]
fn radius_stream() {
    replay("radius_stream", targets::radius_stream);
}

#[test]
fn ldap_frame() {
    replay("ldap_frame", ldap_frame::ldap_frame);
}

#[test]
fn proxy_protocol() {
    replay("proxy_protocol", proxy_protocol::proxy_protocol);
}

#[test]
fn ldap_bind() {
    replay("ldap_bind", ldap_parts::ldap_bind);
}

#[test]
fn ldap_controls() {
    replay("ldap_controls", ldap_parts::ldap_controls);
}

#[test]
fn ldap_extended() {
    replay("ldap_extended", ldap_parts::ldap_extended);
}

#[test]
fn ldap_response() {
    replay("ldap_response", ldap_parts::ldap_response);
}

#[test]
fn policy_file() {
    replay("policy_file", policy_file::policy_file);
}

#[test]
fn ldif() {
    replay("ldif", ldif::ldif);
}

/// Feeds each file of a corpus to its target, and each beginning of it, and it with each octet changed.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder that can be read").path();
        let mut octets = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        run(&octets);
        for end in 0..octets.len().min(600) {
            run(&octets[..end]);
        }
        for at in 0..octets.len().min(600) {
            for flip in [0x01, 0x80, 0xff] {
                octets[at] ^= flip;
                run(&octets);
                octets[at] ^= flip;
            }
        }
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}
