//! The LDAP front end between real clients and a real slapd.
//!
//! Every test starts a slapd of its own on loopback (packages slapd, slapd-contrib, ldap-utils,
//! python3-ldap3) and the front end in this process, with a verifier that accepts whoever the directory
//! finds right. What the engine decides is tested elsewhere.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails to set up fails"
)]

mod binds; // who is bound, and what is left of who was
mod controls; // what a bind may ask for besides
mod embedded; // a directory without a server
mod fidelity; // the same through us as without us
mod limits; // clients and servers that misbehave
mod peers; // slapd, a scripted server, the front end
mod wire; // raw LDAP messages
