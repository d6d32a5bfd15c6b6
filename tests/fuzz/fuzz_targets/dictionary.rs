#![no_main]

#[path = "../dictionary.rs"]
#[allow(dead_code, reason = "two targets share the file")]
mod dictionary;

libfuzzer_sys::fuzz_target!(|data: &[u8]| dictionary::dictionary(data));
