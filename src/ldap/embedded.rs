//! x
use crate::directory::local::Tree;
use crate::engine::Person;
use crate::ldap::frame::Head;
pub(super) fn answer(_tree: &Tree, _person: Option<&Person>, _head: &Head, _input: &[u8], _out: &mut Vec<u8>) {}
