//! What parses bytes of others comes back, whatever they are: the seeds in `fuzz/corpus` and random changes of them.
//!
//! Some changes of each seed; for so many seconds with `RASTERFUSE_FUZZ_SECONDS`. Guided by coverage: `make fuzz`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rasterfuse::fuzz::{TARGETS, Target};

/// Changed inputs of a target where no time is given.
const CHANGES: usize = 400;

/// No input of some kilobytes is worth more, on a busy machine too.
const LONG: Duration = Duration::from_secs(20);

/// What numbers are replaced with.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "1e999",
    "NaN",
    "0.5",
    "255",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e-320",
    "",
];

/// What is put anywhere.
const WORDS: [&str; 18] =
    ["\0", "\n", "\"", "'", "{", "}", "[", "]", "(", ")", "*", "**/", "?", "{band}", "%", ",", "\u{e9}", "\u{1f600}"];

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has no seeds", folder.display());
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// A place in a slice, its end included.
fn place(bytes: &[u8], rng: &mut StdRng) -> usize {
    rng.random_range(0..=bytes.len())
}

/// The run of digits, signs and points, or else of letters, around a place.
fn word_around(bytes: &[u8], at: usize) -> std::ops::Range<usize> {
    let digit = |byte: &u8| byte.is_ascii_digit() || b"+-.".contains(byte);
    let letter = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let is: &dyn Fn(&u8) -> bool = if bytes.get(at).is_some_and(digit) { &digit } else { &letter };
    let start = bytes[..at].iter().rposition(|byte| !is(byte)).map_or(0, |before| before + 1);
    let end = bytes[at..].iter().position(|byte| !is(byte)).map_or(bytes.len(), |after| at + after);
    start..end
}

/// One change.
fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    let at = place(bytes, rng);
    match rng.random_range(0..8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
        1 if at < bytes.len() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
        2 => bytes.truncate(at),
        3 => {
            let end = (at + rng.random_range(0..20)).min(bytes.len());
            bytes.drain(at..end);
        }
        4 => {
            let end = (at + rng.random_range(0..40)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            let to = place(bytes, rng);
            bytes.splice(to..to, again);
        }
        5 => {
            let word = WORDS[rng.random_range(0..WORDS.len())];
            bytes.splice(at..at, word.bytes());
        }
        6 => {
            let (from, range) = (place(other, rng), word_around(bytes, at));
            let word = word_around(other, from);
            bytes.splice(range, other[word].iter().copied());
        }
        _ => {
            // Of all numbers one.
            let starts: Vec<usize> = (0..bytes.len()).filter(|&k| bytes[k].is_ascii_digit()).collect();
            if !starts.is_empty() {
                let number = NUMBERS[rng.random_range(0..NUMBERS.len())];
                let range = word_around(bytes, starts[rng.random_range(0..starts.len())]);
                bytes.splice(range, number.bytes());
            }
        }
    }
}

/// Runs an input; one that panics or takes long is kept.
fn run((name, target): Target, bytes: &[u8]) {
    let started = Instant::now();
    let done = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    if done.is_err() || started.elapsed() > LONG {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{name}"));
        fs::write(&path, bytes).unwrap();
        let what = if done.is_err() { "panics" } else { "takes long" };
        panic!("{name} {what} on {}:\n{}", path.display(), String::from_utf8_lossy(bytes));
    }
}

fn check(target: Target) {
    let name = target.0;
    let seeds = seeds(name);
    seeds.iter().for_each(|seed| run(target, seed));
    let seconds = env::var("RASTERFUSE_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    // Another walk each time where there is time for it; it is printed, so that it can be walked again.
    let walk = env::var("RASTERFUSE_FUZZ_SEED").ok().map(|text| text.parse().unwrap());
    let clock = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| u64::from(time.subsec_nanos()));
    let walk = walk.unwrap_or_else(|| seconds.map_or(0, |_| clock()));
    let mut rng = StdRng::seed_from_u64(walk);
    let (started, mut inputs) = (Instant::now(), 0);
    println!("{name}: RASTERFUSE_FUZZ_SEED={walk}");
    while seconds.map_or(inputs < CHANGES, |seconds| started.elapsed() < Duration::from_secs(seconds)) {
        let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
        let other = &seeds[rng.random_range(0..seeds.len())];
        (0..rng.random_range(1..6)).for_each(|_| change(&mut bytes, other, &mut rng));
        run(target, &bytes);
        inputs += 1;
    }
    println!("{name}: {} seeds, {inputs} changed inputs", seeds.len());
}

macro_rules! targets {
    ($($name:ident: $index:literal),*) => {$(
        #[test]
        fn $name() {
            check(TARGETS[$index]);
        }
    )*};
}

targets!(toml: 0, template: 1, cf: 2, zarr: 3, checkpoint: 4, csv: 5, npy: 6, store: 7);

#[test]
fn every_target_is_checked_and_has_a_program() {
    assert_eq!(TARGETS.len(), 8);
    for (name, _) in TARGETS {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs")).exists(), "{name}");
    }
}
