//! Fixtures of the tests: real peers on loopback, each private to the test that started it.

pub(crate) mod certificates;
pub(crate) mod clients;
pub(crate) mod eap_server;
pub(crate) mod nas;
pub(crate) mod pam;
pub(crate) mod portcullis;
pub(crate) mod process;
pub(crate) mod radclient;
pub(crate) mod samba;
pub(crate) mod slapd;
pub(crate) mod totp;
