//! The LDAP front end between real clients and a real slapd.
//!
//! Every test starts a slapd of its own on loopback and the front end in this process, with a verifier that accepts whoever the directory
//! finds right. What the engine decides is tested elsewhere.

use crate::support::slapd::Slapd;

mod abuse; // clients that mean no good
mod authorized; // rights of people whose password the directory has not seen
mod balancer; // many clients behind one address
mod binds; // who is bound, and what is left of who was
mod controls; // what a bind may ask for besides
mod embedded; // a directory without a server
mod fidelity; // the same through us as without us
mod limits; // clients and servers that misbehave
mod names; // names of people, before real directories
mod order; // binds and StartTLS among other operations
pub(crate) mod peers; // a scripted server, the front end
mod relayed; // mechanisms that the directory judges
mod restricted; // clients that want to see more
mod sasl; // PLAIN as octets
pub(crate) mod wire; // raw LDAP messages

/// A slapd with a few people, and limits that let large messages through.
pub(crate) fn start() -> Slapd {
    Slapd::serving(include_str!("entries/slapd.conf"), &[include_str!("entries/base.ldif")])
}
