//! Objects that hold several dates, shards of Zarr: the values and promises of a store with an object for each.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rasterfuse::Result;
use rasterfuse::describe::Encoding;
use rasterfuse::engine::{FusionBuilder, Start};
use rasterfuse::geometry::Date;
use rasterfuse::sink::{FusedSeries, ZarrFormat, ZarrSink, verify};
use rasterfuse::source::RasterSource;
use support::{FullDisk, assert_says, tree, two_bands};

const SIDE: usize = 8;
const LAG: usize = 2;

/// Dates to an object.
const SHARED: usize = 5;

/// A series of two tiles up to a day; where nothing is seen and the prior says nothing, values are missing.
fn builder(end: i32, shared: usize) -> FusionBuilder {
    two_bands((SIDE, SIDE), (0..=end).step_by(3), 1e-5, |_| None)
        .end(Date::from_days(end))
        .window(4, 1)
        .tile(8, 4)
        .lag(LAG)
        .threads(2)
        .batch_dates(4)
        .checkpoint_interval(std::time::Duration::ZERO)
        .encoding(Encoding::float32().dates_per_object(shared))
}

fn run(store: &Path, end: i32, start: Start) -> Result<()> {
    let fusion = builder(end, SHARED).build()?;
    fusion.job().start(start).run(&mut ZarrSink::create(store)).map(drop)
}

/// A store to this day, made in one run, and its files.
fn made(folder: &Path, end: i32) -> (PathBuf, BTreeMap<String, Vec<u8>>) {
    let store = folder.join(format!("whole-{end}.zarr"));
    run(&store, end, Start::New).unwrap();
    let files = tree(&store);
    (store, files)
}

fn values(store: &Path) -> Vec<u64> {
    let series = FusedSeries::open(store).unwrap();
    let of = |&date: &Date| {
        let (mean, sd) = series.values(date, &[0, 1], &series.grid().region()).unwrap();
        mean.into_iter().chain(sd).map(f64::to_bits).collect::<Vec<_>>()
    };
    series.dates().iter().flat_map(of).collect()
}

fn complaints(store: &Path) -> Vec<String> {
    verify(store).unwrap().faults.iter().map(ToString::to_string).collect()
}

#[test]
fn few_objects_hold_the_same_values() {
    let folder = tempfile::tempdir().unwrap();
    let (store, files) = made(folder.path(), 16);
    let single = folder.path().join("single.zarr");
    let fusion = builder(16, 1).build().unwrap();
    fusion.run(&mut ZarrSink::create(&single)).unwrap();
    assert!(values(&store) == values(&single));
    let objects = |files: &BTreeMap<String, Vec<u8>>| {
        files.keys().filter(|name| name.starts_with("mean/c/") || name.starts_with("sd/c/")).count() as u64
    };
    // 17 dates, two tiles, two arrays.
    assert_eq!((objects(&tree(&single)), fusion.plan().store_objects), (68, 68));
    let plan = builder(16, SHARED).build().unwrap().plan().clone();
    assert_eq!((objects(&files), plan.store_objects), (16, 16));
    assert_says(&plan.to_string(), &["in 16 files", "5 dates to an object"]);
    assert!(plan.output_bytes > fusion.plan().output_bytes);
    let document: serde_json::Value = serde_json::from_slice(&files["mean/zarr.json"]).unwrap();
    assert_eq!(document["chunk_grid"]["configuration"]["chunk_shape"], serde_json::json!([5, 2, 8, 4]));
    let codec = &document["codecs"][0];
    assert_eq!((&codec["name"], document["codecs"].as_array().unwrap().len()), (&"sharding_indexed".into(), 1));
    assert_eq!(codec["configuration"]["chunk_shape"], serde_json::json!([1, 2, 8, 4]));
    // What is inside is what single files hold.
    let first = &tree(&single)["mean/c/0/0/0/0"];
    assert_eq!(&files["mean/c/0/0/0/0"][..first.len()], &first[..]);
    let found = verify(&store).unwrap();
    assert!(found.is_whole() && found.chunks == 68, "{:?}", found.problems);
}

#[test]
fn runs_that_end_early_and_dates_that_come_later_give_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (_, whole) = made(folder.path(), 16);
    let store = folder.path().join("fused.zarr");
    for blocks in [3, 9, 14, 6] {
        let mut sink = FullDisk::after(ZarrSink::create(&store), blocks);
        let ended = builder(16, SHARED).build().unwrap().job().start(Start::Resume).run(&mut sink);
        assert_says(&ended.unwrap_err().to_string(), &["disk full"]);
        assert!(complaints(&store).is_empty());
        let dates = FusedSeries::open(&store).unwrap().dates().len();
        assert_eq!(dates % SHARED, 0, "dates appear by whole objects while a run goes on");
    }
    run(&store, 16, Start::Resume).unwrap();
    assert!(tree(&store) == whole);
    let grown = folder.path().join("grown.zarr");
    for end in [1, 2, 7, 9, 16] {
        run(&grown, end, Start::Append).unwrap();
        assert_eq!(FusedSeries::open(&grown).unwrap().dates().len(), end as usize + 1);
        assert!(complaints(&grown).is_empty());
    }
    let chunks = |files: &BTreeMap<String, Vec<u8>>| {
        files.iter().filter(|(name, _)| name.contains("/c/")).map(|(_, bytes)| bytes.clone()).collect::<Vec<_>>()
    };
    assert!(chunks(&tree(&grown)) == chunks(&whole));
}

#[test]
fn damage_is_named_by_date_and_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, whole) = made(folder.path(), 16);
    let object = store.join("sd/c/1/0/0/1");
    let bytes = &whole["sd/c/1/0/0/1"];
    // A bit within the first chunk, which is of the sixth date.
    let mut flipped = bytes.clone();
    flipped[30] ^= 4;
    fs::write(&object, &flipped).unwrap();
    assert_eq!(complaints(&store).len(), 1);
    assert_says(&complaints(&store)[0], &["sd of tile [0, 1] on 1970-01-06 holds other bytes"]);
    // Readers refuse it.
    let series = FusedSeries::open(&store).unwrap();
    let message = series.values(series.dates()[5], &[0], &series.grid().region()).unwrap_err().to_string();
    assert_says(&message, &["whole-16.zarr", "1970-01-06", "checksum"]);
    // The index, the end, the object: all of its dates.
    let mut index = bytes.clone();
    let at = bytes.len() - 20;
    index[at] ^= 1;
    for (damaged, words) in
        [(Some(&index[..]), "index of its object"), (Some(&bytes[..at]), "index of its object"), (None, "is missing")]
    {
        match damaged {
            Some(damaged) => fs::write(&object, damaged).unwrap(),
            None => fs::remove_file(&object).unwrap(),
        }
        let found = complaints(&store);
        assert_eq!(found.len(), SHARED, "{found:?}");
        assert_says(&found[0], &["sd of tile [0, 1] on 1970-01-06", words]);
        run(&store, 16, Start::Resume).unwrap();
        assert!(complaints(&store).is_empty());
        assert_eq!(&fs::read(&object).unwrap(), bytes);
    }
}

#[test]
fn readers_hold_objects_open_that_grow() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("fused.zarr");
    run(&store, 6, Start::New).unwrap();
    let series = FusedSeries::open(&store).unwrap();
    let settled = &series.dates()[..series.dates().len() - LAG];
    let read = || {
        let of = |&date: &Date| series.values(date, &[0], &series.grid().region()).unwrap();
        settled.iter().map(of).collect::<Vec<_>>()
    };
    let before = read();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                assert!(read() == before);
            }
        });
        for end in 7..17 {
            run(&store, end, Start::Append).unwrap();
        }
        ended.store(true, Ordering::SeqCst);
    });
}

#[test]
fn other_numbers_of_dates_are_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let (store, whole) = made(folder.path(), 8);
    let fusion = builder(12, 4).build().unwrap();
    let message = fusion.job().start(Start::Append).run(&mut ZarrSink::create(&store)).unwrap_err().to_string();
    assert_says(&message, &["output.dates_per_object was 5, is 4"]);
    assert!(tree(&store) == whole);
    let two = folder.path().join("two.zarr");
    let fusion = builder(8, SHARED).build().unwrap();
    let message = fusion.run(&mut ZarrSink::create(&two).format(ZarrFormat::V2)).unwrap_err().to_string();
    assert_says(&message, &["output.dates_per_object", "Zarr v2 has no shards"]);
}
