//! Fixtures of the tests: real peers on loopback, each private to the test that started it.

pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod converse;
pub(crate) mod ds389;
pub(crate) mod eap_server;
pub(crate) mod faults;
pub(crate) mod freeradius;
pub(crate) mod haproxy;
pub(crate) mod mailbox;
pub(crate) mod nas;
pub(crate) mod ocserv;
pub(crate) mod operators;
pub(crate) mod pam;
#[allow(dead_code, reason = "the conformance tests use the rest")]
pub(crate) mod pki;
pub(crate) mod portcullis;
pub(crate) mod process;
pub(crate) mod radclient;
pub(crate) mod radsec_peers;
pub(crate) mod rsyslog;
pub(crate) mod samba;
pub(crate) mod slapd;
pub(crate) mod tap;
pub(crate) mod tmux;
pub(crate) mod totp;
