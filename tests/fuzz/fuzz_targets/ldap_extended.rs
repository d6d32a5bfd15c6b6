#![no_main]

#[path = "../ldap_frame.rs"]
#[allow(dead_code, reason = "its own target is another binary")]
mod ldap_frame;
#[path = "../ldap_parts.rs"]
#[allow(dead_code, reason = "its other targets are other binaries")]
mod ldap_parts;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ldap_parts::ldap_extended(data));
