#![no_main]

#[path = "../ldap_restrict.rs"]
mod ldap_restrict;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ldap_restrict::ldap_restrict(data));
