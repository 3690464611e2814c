//! Stores of series with their records of chunks.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rasterfuse::fuzz::store(data));
