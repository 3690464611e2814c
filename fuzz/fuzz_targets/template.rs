//! Patterns of file names, and dates in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rasterfuse::fuzz::template(data));
