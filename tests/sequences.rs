//! Lives of a series that are out of the ordinary: files that are gone, stores and checkpoints that do not belong together,
//! changing policies. Each ends with the bytes of one run over all dates, or with a refusal that says why and changes nothing.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ndarray::Array4;
use rasterfuse::describe::OutputDates;
use rasterfuse::describe::{AcquisitionGroups, Instrument, Kernel, OffsetLayer, Prior, Process};
use rasterfuse::engine::{Checkpoint, FusionBuilder, Shard, Start};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::{FusionSink, Report};
use rasterfuse::sink::{ZarrFormat, ZarrSink};
use rasterfuse::source::MemorySource;
use rasterfuse::{Fusion, Result};
use support::{assert_says, tree};

const SIDE: usize = 12;

fn date(k: i32) -> Date {
    Date::from_days(k)
}

/// A fusion of images on `days`, up to `end`. Two tiles; the prior is far off, so that what was not seen shows.
fn builder(days: impl IntoIterator<Item = i32>, end: i32) -> FusionBuilder {
    let days: Vec<i32> = days.into_iter().collect();
    let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (SIDE, SIDE)).unwrap();
    let values = Array4::from_shape_fn((days.len(), 1, SIDE, SIDE), |(t, _, r, c)| {
        let k = (days[t] as usize * 31 + r * 17 + c * 5) % 29;
        if k < 6 { f64::NAN } else { 5.0 + k as f64 / 29.0 }
    });
    let dates = days.into_iter().map(date).collect();
    let source = MemorySource::new(grid.clone(), dates, vec!["red".into()], values).unwrap();
    Fusion::builder(grid)
        .bands(["red"])
        .start(date(0))
        .end(date(end))
        .window(3, 2)
        .process(Process::new(Kernel::Exponential, 150.0, 1e-4))
        .prior(Prior::new(0.4, 10.0))
        .tile(6, SIDE)
        .threads(1)
        .batch_dates(2)
        .checkpoint(Checkpoint::Full)
        .checkpoint_interval(Duration::ZERO)
        .instrument(Instrument::new("fine", Arc::new(source)).noise_variance(1e-2))
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, builder: FusionBuilder, start: Start, replay: bool) -> Result<Report> {
        builder.build()?.job().start(start).replay(replay).run(&mut ZarrSink::create(self.path("fused.zarr")))
    }

    fn shard(&self, builder: FusionBuilder, index: usize, replay: bool) -> Result<Report> {
        let fusion = builder.build()?;
        let job = fusion.job().start(Start::Append).replay(replay).shard(Shard::new(index, 2)?);
        job.run(&mut ZarrSink::create(self.path("fused.zarr")))
    }

    fn visible(&self) -> usize {
        ZarrSink::create(self.path("fused.zarr")).existing().unwrap().unwrap().visible
    }

    /// Fails unless the store is what one run makes.
    fn assert_like(&self, builder: FusionBuilder) {
        let whole = self.path("whole.zarr");
        builder.build().unwrap().run(&mut ZarrSink::create(&whole)).unwrap();
        let (one, many) = (tree(&whole), tree(&self.path("fused.zarr")));
        let different: Vec<_> =
            one.keys().chain(many.keys()).filter(|name| one.get(*name) != many.get(*name)).collect();
        assert!(different.is_empty(), "{different:?}");
    }

    /// Fails unless the run is refused with these words and changes nothing.
    fn assert_refused(&self, builder: FusionBuilder, start: Start, replay: bool, words: &[&str]) {
        let before = tree(&self.path("fused.zarr"));
        assert_says(&self.run(builder, start, replay).unwrap_err().to_string(), words);
        assert!(tree(&self.path("fused.zarr")) == before);
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for name in tree(from).into_keys() {
        let path = to.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // As it is: what is compared has no identity.
        fs::copy(from.join(name), path).unwrap();
    }
}

/// Acquisitions that were taken in as of another group than they are of now.
#[test]
fn corrected_groups_are_noticed_and_replayed() {
    let tilted = |end: i32, of_day_3: &str| {
        let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (SIDE, SIDE)).unwrap();
        let days: Vec<i32> = (0..=end).filter(|k| k % 2 == 1).collect();
        let values = Array4::from_shape_fn((days.len(), 1, SIDE, SIDE), |(t, _, r, c)| {
            5.0 + ((days[t] as usize * 7 + r + c) % 5) as f64 / 10.0
        });
        let dates = days.into_iter().map(date).collect();
        let source = MemorySource::new(grid, dates, vec!["red".into()], values).unwrap();
        let group = |k: i32| if k == 3 { of_day_3 } else { ["190", "191"][(k / 2 % 2) as usize] };
        let groups = AcquisitionGroups::new((0..20).map(|k| (date(k), group(k))));
        let layer = OffsetLayer::per_group(0.1, groups);
        builder(0..=end, end).instrument(Instrument::new("tilted", source).noise_variance(1e-2).offset_layer(layer))
    };
    let place = Place::new();
    place.run(tilted(6, "191"), Start::New, false).unwrap();
    let words = ["fused.zarr", "\"tilted\"", "1970-01-04", "another group", "replay"];
    place.assert_refused(tilted(8, "190"), Start::Append, false, &words);
    place.run(tilted(8, "190"), Start::Append, true).unwrap();
    // What was replayed is known as it is now.
    place.run(tilted(9, "190"), Start::Append, false).unwrap();
    place.assert_like(tilted(9, "190"));
}

#[test]
fn nothing_is_replayed_without_the_files_it_needs() {
    let place = Place::new();
    place.run(builder((0..=30).filter(|k| *k != 20), 30), Start::New, false).unwrap();
    // Passed files are gone, and a late one would need them.
    place.assert_refused(builder([20, 29, 30], 30), Start::Append, true, &["must be made again", "fine", "is missing"]);
    // New dates do not.
    place.run(builder([29, 30, 31, 33], 33), Start::Append, false).unwrap();
    place.assert_like(builder((0..=33).filter(|k| ![20, 32].contains(k)), 33));
}

#[test]
fn light_states_need_the_days_they_replay() {
    let light = |days: Vec<i32>, end: i32| builder(days, end).checkpoint(Checkpoint::Light).replay_days(10);
    let place = Place::new();
    place.run(light((0..=30).collect(), 30), Start::New, false).unwrap();
    place.assert_refused(light(vec![29, 30, 31], 31), Start::Append, false, &["must be made again", "is missing"]);
    place.run(light((20..=31).collect(), 31), Start::Append, false).unwrap();
    assert_eq!(place.visible(), 32);
}

#[test]
fn a_late_date_hides_what_rests_on_it_from_all_shards() {
    let days = |late: bool, end: i32| (0..=end).filter(move |k| late || *k != 10);
    let place = Place::new();
    place.run(builder(days(false, 20), 20), Start::New, false).unwrap();
    place.shard(builder(days(false, 24), 24), 0, false).unwrap();
    assert_eq!(place.visible(), 21);
    place.shard(builder(days(true, 24), 24), 0, true).unwrap();
    assert_eq!(place.visible(), 10);
    place.shard(builder(days(true, 24), 24), 1, true).unwrap();
    let fusion = builder(days(true, 24), 24).build().unwrap();
    fusion.job().finalize(&mut ZarrSink::create(place.path("fused.zarr"))).unwrap();
    place.assert_like(builder(days(true, 24), 24));
}

/// More shards than tiles: the first has nothing to do, but begins the appending for all.
#[test]
fn a_shard_without_tiles_hides_what_the_others_will_change() {
    let place = Place::new();
    let to = |end: i32| builder(0..=end, end).lag(2);
    place.run(to(6), Start::New, false).unwrap();
    let fusion = to(9).build().unwrap();
    for _ in 0..2 {
        for index in 0..5 {
            let job = fusion.job().start(Start::Append).shard(Shard::new(index, 5).unwrap());
            job.run(&mut ZarrSink::create(place.path("fused.zarr"))).unwrap();
        }
        fusion.job().finalize(&mut ZarrSink::create(place.path("fused.zarr"))).unwrap();
        assert_eq!(place.visible(), 10);
    }
    place.assert_like(to(9));
}

#[test]
fn without_checkpoints_everything_is_replayed_and_hidden_meanwhile() {
    let off = |days: Vec<i32>| builder(days, 12).checkpoint(Checkpoint::Off);
    let place = Place::new();
    place.run(off(vec![0, 2, 4, 9]), Start::New, false).unwrap();
    assert_eq!(fs::read_dir(place.folder.path()).unwrap().count(), 1);
    place.run(off(vec![0, 2, 4, 9]), Start::Resume, false).unwrap();
    place.run(off(vec![0, 2, 4, 6, 9]), Start::Append, true).unwrap();
    place.assert_like(off(vec![0, 2, 4, 6, 9]));
}

#[test]
fn a_list_of_dates_may_only_be_added_to() {
    let list = |dates: &[i32], end: i32| {
        let dates = dates.iter().copied().map(date).collect();
        builder(0..=end, end).output(OutputDates::Dates(dates)).lag(2)
    };
    let place = Place::new();
    place.run(list(&[1, 4, 7, 9], 9), Start::New, false).unwrap();
    place.assert_refused(list(&[2, 4, 7, 9], 9), Start::Append, false, &["fused.zarr", "dates"]);
    // No new date, but observations that the last ones have waited for.
    place.run(list(&[1, 4, 7, 9], 13), Start::Append, false).unwrap();
    place.run(list(&[1, 4, 7, 9, 15], 16), Start::Append, false).unwrap();
    place.assert_like(list(&[1, 4, 7, 9, 15], 16));
}

#[test]
fn late_dates_of_an_observed_axis_are_named_and_replayed() {
    let observed = |days: &[i32]| builder(days.iter().copied(), 10).output(OutputDates::Observed);
    let place = Place::new();
    place.run(observed(&[0, 2, 4, 8]), Start::New, false).unwrap();
    let late = date(6).to_string();
    place.assert_refused(observed(&[0, 2, 4, 6, 8]), Start::Append, false, &["fine", &late, "replay"]);
    place.assert_refused(observed(&[0, 4, 8, 10]), Start::Append, false, &["files are missing"]);
    place.run(observed(&[0, 2, 4, 6, 8, 10]), Start::Append, true).unwrap();
    place.assert_like(observed(&[0, 2, 4, 6, 8, 10]));
}

#[test]
fn an_older_store_beside_newer_checkpoints_is_refused() {
    let place = Place::new();
    place.run(builder(0..=20, 20), Start::New, false).unwrap();
    copy(&place.path("fused.zarr"), &place.path("backup"));
    place.run(builder(0..=25, 25), Start::Append, false).unwrap();
    copy(&place.path("backup"), &place.path("fused.zarr"));
    place.assert_refused(
        builder(0..=26, 26),
        Start::Append,
        false,
        &["of generation 2 of the series, the store of generation 1", "older copy"],
    );
}

#[test]
fn late_data_do_not_leave_stale_light_states_behind() {
    let light = |days: Vec<i32>, end: i32, replay: u32| {
        let days = builder(days, end).checkpoint(Checkpoint::Light).replay_days(replay).keep_checkpoints(1);
        days.process(Process::new(Kernel::Exponential, 1e-6, 1e-4))
    };
    let days = |late: bool, end: i32| (0..=end).filter(|k| late || *k != 12).collect::<Vec<_>>();
    let place = Place::new();
    place.run(light(days(false, 45), 45, 30), Start::New, false).unwrap();
    place.run(light(days(true, 45), 45, 40), Start::Append, true).unwrap();
    let names = tree(&place.path("fused.zarr.state")).into_keys().filter(|name| name.contains(".light"));
    let lights: Vec<String> = names.collect();
    assert!(lights.len() == 2 && lights.iter().all(|name| name.contains(&date(5).to_string())), "{lights:?}");
}

/// A version 2 store whose last document was not written when its run ended is finished by the next.
#[test]
fn stores_of_version_2_are_finished_too() {
    let place = Place::new();
    let fusion = builder(0..=6, 6).build().unwrap();
    let sink = || ZarrSink::create(place.path("fused.zarr")).format(ZarrFormat::V2);
    fusion.run(&mut sink()).unwrap();
    let whole = tree(&place.path("fused.zarr"));
    let text = fs::read_to_string(place.path("fused.zarr/.zmetadata")).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["metadata"][".zattrs"]["rasterfuse"].as_object_mut().unwrap().remove("report");
    fs::write(place.path("fused.zarr/.zmetadata"), format!("{document:#}\n")).unwrap();
    fusion.job().start(Start::Resume).run(&mut sink()).unwrap();
    assert!(tree(&place.path("fused.zarr")) == whole);
}
