//! Tests with real peers: slapd, radclient, pam_radius_auth, ldap-utils, python3-ldap3, oathtool.
//!
//! Each test starts what it needs on loopback ports of its own. `tests/run` installs the peers.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that meets something unexpected should end there, and say so"
)]

#[path = "../support/mod.rs"]
mod support;

// The fixtures themselves: what they start is what the tests believe they start.
mod peers;
