//! Tables and lists.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rasterfuse::fuzz::csv(data));
