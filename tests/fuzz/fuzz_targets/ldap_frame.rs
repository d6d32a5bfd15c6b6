#![no_main]

#[path = "../ldap_frame.rs"]
mod ldap_frame;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ldap_frame::ldap_frame(data));
