//! NumPy's files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rasterfuse::fuzz::npy(data));
