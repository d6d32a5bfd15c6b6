#![no_main]

#[path = "../ldif.rs"]
mod ldif;

libfuzzer_sys::fuzz_target!(|data: &[u8]| ldif::ldif(data));
