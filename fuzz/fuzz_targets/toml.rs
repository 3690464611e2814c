//! Descriptions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rasterfuse::fuzz::toml(data));
