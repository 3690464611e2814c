//! Files that come or go between a killed run and its resume, for dates that readers see already.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rasterfuse::engine::{FusionBuilder, OnError, Start};
use rasterfuse::geometry::Date;
use rasterfuse::series::{FusionSink, Report};
use rasterfuse::sink::{FusedSeries, ZarrSink};
use rasterfuse::source::RasterSource as _;
use rasterfuse::{Error, Result};
use support::two_tiles::{RUN, Run, World, complaints, copy, flip, refused, state_of, verified};
use support::{Fault, FaultySource, FullDisk, assert_says, tree};

/// The coarse file of day 7 is missing.
const WITHOUT: Run = Run { late: false, ..RUN };

fn run(builder: FusionBuilder, (start, replay): (Start, bool), store: &Path) -> Result<Report> {
    builder.build().unwrap().job().start(start).replay(replay).run(&mut ZarrSink::create(store))
}

const RESUME: (Start, bool) = (Start::Resume, false);
const REPLAY: (Start, bool) = (Start::Append, true);

/// With one tile, whose dates become visible as they are made.
fn one(builder: FusionBuilder) -> FusionBuilder {
    builder.tile(8, 8)
}

/// The same, which writes no checkpoint before its end.
fn rarely(builder: FusionBuilder) -> FusionBuilder {
    one(builder).checkpoint_interval(Duration::from_hours(1))
}

fn visible(store: &Path) -> usize {
    FusedSeries::open(store).unwrap().dates().len()
}

fn generation(store: &Path) -> u64 {
    ZarrSink::create(store).existing().unwrap().unwrap().identity.unwrap().generation
}

/// Files of a folder of checkpoints by the end of their names.
fn files(store: &Path, end: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(state_of(store)).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

fn chunks(store: &Path) -> BTreeMap<String, Vec<u8>> {
    tree(store).into_iter().filter(|(name, _)| name.contains("/c/")).collect()
}

/// A series whose run ends at day 9: with a checkpoint after day 2 or without one; readers see days 0 to 6, which
/// have seen what there is up to day 8.
fn interrupted(world: &World, name: &str, (kind, checkpoint): (Run, bool)) -> PathBuf {
    let store = world.path(name);
    if checkpoint {
        run(one(kind.broken(4)), RESUME, &store).unwrap_err();
        assert_eq!(files(&store, ".state").len(), 1);
    }
    run(rarely(kind.broken(9)), RESUME, &store).unwrap_err();
    assert_eq!(visible(&store), 7);
    assert_eq!(files(&store, ".state").len(), usize::from(checkpoint));
    assert_eq!(files(&store, ".shown").len(), 1);
    store
}

fn whole(world: &World, name: &str, kind: Run) -> PathBuf {
    let store = world.path(name);
    run(rarely(kind.builder()), (Start::New, false), &store).unwrap();
    store
}

#[test]
fn a_file_that_comes_for_a_visible_date_is_late() {
    let world = World::new();
    let (with, without) = (whole(&world, "with.zarr", RUN), whole(&world, "without.zarr", WITHOUT));
    for checkpoint in [true, false] {
        let store = interrupted(&world, &format!("{checkpoint}.zarr"), (WITHOUT, checkpoint));
        let (before, state) = (world.path("before"), world.path("before.state"));
        copy(&store, &before);
        copy(&state_of(&store), &state);
        let error = run(rarely(RUN.builder()), RESUME, &store).unwrap_err();
        assert!(matches!(error, Error::LateDate { .. }), "{error}");
        assert_says(&error.to_string(), &["coarse", "1970-01-08", "has passed 1970-01-09"]);
        assert!(tree(&before) == tree(&store) && tree(&state) == tree(&state_of(&store)));
        // Without it the run goes on, with it after a replay.
        run(rarely(WITHOUT.builder()), RESUME, &store).unwrap();
        assert!(tree(&without) == tree(&store));
        assert!(files(&store, ".shown").is_empty() && verified(&store).is_whole());
        copy(&before, &store);
        copy(&state, &state_of(&store));
        assert_eq!(generation(&store), 1);
        run(rarely(RUN.builder()), REPLAY, &store).unwrap();
        assert!(tree(&with) == tree(&store));
        assert!(generation(&store) > 1 && verified(&store).is_whole());
    }
}

#[test]
fn a_file_that_comes_for_a_date_that_nobody_has_seen_is_taken() {
    let world = World::new();
    // Of day 9, which no visible date has seen.
    let store = interrupted(&world, "one.zarr", (RUN, true));
    run(rarely(RUN.builder()), RESUME, &store).unwrap();
    assert!(tree(&whole(&world, "whole.zarr", RUN)) == tree(&store));
    // Of the first of two tiles, which has no checkpoint yet, readers see nothing.
    let reference = world.made("tiles.zarr", RUN);
    let store = world.path("first.zarr");
    run(WITHOUT.broken(9).checkpoint_interval(Duration::from_hours(1)), RESUME, &store).unwrap_err();
    RUN.start(&store, Start::Resume, false).unwrap();
    assert!(tree(&reference) == tree(&store));
}

/// One tile is done, the other is not: what comes now has been missed by the first.
#[test]
fn a_file_that_comes_between_two_tiles_is_late() {
    let world = World::new();
    let store = world.path("fused.zarr");
    let mut sink = FullDisk::after(ZarrSink::create(&store), 11 + 4);
    WITHOUT.builder().build().unwrap().job().run(&mut sink).unwrap_err();
    refused(RUN.start(&store, Start::Resume, false), &["coarse", "1970-01-08", "has passed 1970-01-11"]);
    RUN.start(&store, Start::Append, true).unwrap();
    assert!(chunks(&world.made("whole.zarr", RUN)) == chunks(&store));
}

#[test]
fn a_file_that_is_gone_is_named() {
    let world = World::new();
    let store = interrupted(&world, "gone.zarr", (RUN, true));
    let before = tree(&store);
    refused(run(rarely(WITHOUT.builder()), RESUME, &store), &["\"coarse\" for 1970-01-08 is missing", "restore it"]);
    assert!(before == tree(&store));
}

/// What readers see was made without a file that could not be read. Now it is gone, or can be read: all dates are made
/// again, without it or with it.
#[test]
fn a_file_that_could_not_be_read_is_used_for_all_dates_or_none() {
    let world = World::new();
    let skip = |builder: FusionBuilder| rarely(builder).on_error(OnError::Skip).batch_dates(1);
    for now in [RUN, WITHOUT] {
        let store = world.path(&format!("{}.zarr", now.late));
        let broken = FaultySource { inner: RUN.coarse(), date: Date::from_days(7), fault: Fault::Fail };
        // Dates become visible after two seconds.
        let wait = Fault::Wait(Duration::from_millis(2100));
        let slow = FaultySource { inner: Arc::new(broken), date: Date::from_days(9), fault: wait };
        let mut sink = FullDisk::after(ZarrSink::create(&store), 8);
        skip(RUN.seen_by(Arc::new(slow))).build().unwrap().job().run(&mut sink).unwrap_err();
        assert_eq!((visible(&store), files(&store, ".shown").len()), (8, 1));
        run(skip(now.builder()), RESUME, &store).unwrap();
        assert!(chunks(&whole(&world, &format!("whole {}.zarr", now.late), now)) == chunks(&store));
    }
}

/// Nobody knows from what the visible dates were made: they are hidden and made again, from all that there is now.
#[test]
fn what_cannot_be_known_is_made_again() {
    let world = World::new();
    let with = whole(&world, "with.zarr", RUN);
    for checkpoint in [true, false] {
        let store = interrupted(&world, &format!("{checkpoint}.zarr"), (WITHOUT, checkpoint));
        let shown = files(&store, ".shown").remove(0);
        flip(&shown, 30);
        assert_says(&complaints(&store), &[".shown", "its bytes have changed"]);
        refused(run(rarely(RUN.builder()), RESUME, &store), &[".shown", "remove it"]);
        fs::remove_file(&shown).unwrap();
        run(rarely(RUN.builder()), RESUME, &store).unwrap();
        assert!(tree(&with) == tree(&store) && verified(&store).is_whole());
        assert_eq!(generation(&store), 2, "readers can tell");
    }
    // One of another series.
    let (store, other) = (
        interrupted(&world, "a.zarr", (WITHOUT, true)),
        interrupted(&world, "b.zarr", (Run { seed: 5, ..WITHOUT }, true)),
    );
    let name = |store: &Path| files(store, ".shown").remove(0);
    fs::copy(name(&other), name(&store)).unwrap();
    refused(run(rarely(WITHOUT.builder()), RESUME, &store), &[".shown", "another series"]);
    assert_says(&complaints(&store), &[".shown", "another series"]);
}
