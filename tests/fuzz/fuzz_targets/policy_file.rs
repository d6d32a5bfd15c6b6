#![no_main]

#[path = "../policy_file.rs"]
mod policy_file;

libfuzzer_sys::fuzz_target!(|data: &[u8]| policy_file::policy_file(data));
