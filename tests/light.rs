//! Appending from light checkpoints: not exact, but near, and nearer the more days are replayed.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

mod support;

use std::path::Path;
use std::sync::Arc;

use ndarray::Array4;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rasterfuse::Fusion;
use rasterfuse::describe::{Field, Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::engine::{Checkpoint, OnError, Shard, Start};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::sink::ZarrSink;
use rasterfuse::source::MemorySource;
use support::{assert_says, day, tree};
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

const SIDE: usize = 32;
const DAYS: i32 = 80;
const TILE: usize = 16;

fn grid(size: f64, side: usize) -> Grid {
    Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side)).unwrap()
}

/// A smooth scene that drifts, seen every sixteenth day by a fine sensor, half clouded, and daily by a coarse one.
fn source(coarse: bool, end: i32) -> Arc<MemorySource> {
    let (side, cells, every) = if coarse { (4, 8, 1) } else { (SIDE, 1, 16) };
    let days: Vec<i32> = (0..=end).filter(|k| k % every == 0).collect();
    let truth = |k: i32, r: usize, c: usize| {
        let (k, r, c) = (f64::from(k), r as f64, c as f64);
        0.3 + 0.05 * (r / 5.0 + k / 40.0).sin() * (c / 7.0).cos() + 0.002 * (k / 9.0 + c / 11.0).sin()
    };
    let values = Array4::from_shape_fn((days.len(), 1, side, side), |(t, _, r, c)| {
        let k = days[t];
        let mut random =
            StdRng::seed_from_u64((k as u64 * 64 + r as u64) * 64 + c as u64 + u64::from(coarse) * 1_000_000);
        let noise = 0.01 * (random.random::<f64>() + random.random::<f64>() + random.random::<f64>() - 1.5) * 2.0;
        let clouded = ((r / 4 * 5 + c / 4 * 3 + k as usize) / 2).is_multiple_of(2);
        if !coarse && clouded {
            return f64::NAN;
        }
        let cells = (0..cells * cells).map(|i| truth(k, r * cells + i / cells, c * cells + i % cells));
        cells.sum::<f64>() / if coarse { 64.0 } else { 1.0 } + noise
    });
    let dates = days.into_iter().map(day).collect();
    let grid = if coarse { grid(240.0, 4) } else { grid(30.0, SIDE) };
    Arc::new(MemorySource::new(grid, dates, vec!["red".into()], values).unwrap())
}

fn fusion(end: i32, checkpoint: Checkpoint, replay_days: u32) -> Fusion {
    let fine = Instrument::new("fine", source(false, end)).noise_variance(1e-4);
    let coarse = Instrument::new("coarse", source(true, end)).footprint(Footprint::Uniform).noise_variance(1e-4);
    Fusion::builder(grid(30.0, SIDE))
        .bands(["red"])
        .start(day(0))
        .end(day(end))
        .window(4, 4)
        .process(Process::new(Kernel::Exponential, 150.0, 2e-5))
        .prior(Prior::new(0.3, 0.01))
        .instrument(fine)
        .instrument(coarse)
        .tile(TILE, TILE)
        .checkpoint(checkpoint)
        .replay_days(replay_days)
        .checkpoint_interval(std::time::Duration::ZERO)
        .build()
        .unwrap()
}

/// A variable of a store, (time, y, x).
fn values(store: &Path, name: &str) -> Vec<f32> {
    let array = Array::open(Arc::new(FilesystemStore::new(store).unwrap()), &format!("/{name}")).unwrap();
    array.retrieve_array_subset(&array.subset_all()).unwrap()
}

/// Differences of the last `days` dates from the exact ones, in exact standard deviations: (of means, root mean square; of
/// standard deviations, mean).
fn difference(store: &Path, exact: &Path, days: usize) -> (f64, f64) {
    let last = days * SIDE * SIDE;
    let tail = |store: &Path, name: &str| -> Vec<f64> {
        let values = values(store, name);
        values[values.len() - last..].iter().map(|value| f64::from(*value)).collect()
    };
    let (mean, sd) = (tail(store, "mean"), tail(store, "sd"));
    let (exact_mean, exact_sd) = (tail(exact, "mean"), tail(exact, "sd"));
    let squares = mean.iter().zip(&exact_mean).zip(&exact_sd).map(|((a, b), sd)| ((a - b) / sd).powi(2));
    let wider = sd.iter().zip(&exact_sd).map(|(a, b)| a / b - 1.0);
    ((squares.sum::<f64>() / last as f64).sqrt(), wider.sum::<f64>() / last as f64)
}

#[test]
fn appending_from_light_checkpoints_is_near_the_exact_result() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fusion(DAYS, Checkpoint::Full, 0).run(&mut ZarrSink::create(path("exact"))).unwrap();
    println!("replay_days  means (rms, sd)  standard deviations (mean)");
    let mut errors = Vec::new();
    for replay_days in [0, 4, 8, 16, 32] {
        let store = path(&format!("light{replay_days}"));
        let run = |end: i32, start: Start| {
            let fusion = fusion(end, Checkpoint::Light, replay_days);
            fusion.job().start(start).run(&mut ZarrSink::create(&store)).unwrap();
        };
        run(DAYS - 10, Start::New);
        let before = tree(&store);
        run(DAYS, Start::Append);
        // What readers have seen stays as it was.
        let after = tree(&store);
        for (name, bytes) in before.iter().filter(|(name, _)| name.contains("/c/") && !name.starts_with("time")) {
            assert_eq!(after[name], *bytes, "{name}");
        }
        let (means, sds) = difference(&store, &path("exact"), 10);
        println!("{replay_days:>11}  {means:>15.3}  {sds:>26.3}");
        errors.push((means, sds));
    }
    assert!(errors[0].0 > 2.0 * errors[4].0, "{errors:?}");
    assert!(errors[4].0 < 0.2 && errors[4].1.abs() < 0.05, "{errors:?}");
}

/// A light state is of the sum of all fields: further ones begin with nothing of their own.
#[test]
fn further_fields_begin_at_zero_from_a_light_checkpoint() {
    const FIELD: f64 = 1e-3;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("fused.zarr");
    let run = |end: i32, start: Start| {
        let seen = (0..6).map(day).collect();
        let seen = MemorySource::new(grid(30.0, 2), seen, vec!["red".into()], Array4::from_elem((6, 1, 2, 2), 0.35));
        let process = Process::new(Kernel::Exponential, 1e-3, 2e-4);
        let fusion = Fusion::builder(grid(30.0, 2))
            .bands(["red"])
            .start(day(0))
            .end(day(end))
            .process(process.field(Field::new(Kernel::Matern32, 1e-3, FIELD).phi(0.9).block(1)))
            .prior(Prior::new(0.3, 0.01))
            .instrument(Instrument::new("fine", seen.unwrap()).noise_variance(1e-4))
            .checkpoint(Checkpoint::Light)
            .replay_days(0);
        fusion.build().unwrap().job().start(start).run(&mut ZarrSink::create(&store)).unwrap();
    };
    run(5, Start::New);
    run(7, Start::Append);
    let (mean, sd) = (values(&store, "mean"), values(&store, "sd"));
    for cell in 0..4 {
        let at = |values: &[f32], day: usize| f64::from(values[day * 4 + cell]);
        assert_eq!(at(&mean, 5), at(&mean, 6));
        let grown = at(&sd, 5).powi(2) + 2e-4 + FIELD;
        assert!((at(&sd, 6).powi(2) / grown - 1.0).abs() < 1e-5, "{} {grown}", at(&sd, 6).powi(2));
        let grown = grown + 2e-4 + FIELD * 0.81;
        assert!((at(&sd, 7).powi(2) / grown - 1.0).abs() < 1e-5, "{} {grown}", at(&sd, 7).powi(2));
    }
}

/// Day by day, by shards, in any order of tiles: the same as in one go from the same light state, every day.
#[test]
fn light_appending_does_not_depend_on_who_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for end in [40, 41, 44, 60] {
        let fusion = fusion(end, Checkpoint::Light, 12);
        fusion.job().start(Start::Append).run(&mut ZarrSink::create(path("one"))).unwrap();
        for index in [2, 1, 0] {
            let job = fusion.job().start(Start::Append).shard(Shard::new(index, 3).unwrap());
            job.run(&mut ZarrSink::create(path("many"))).unwrap();
        }
        fusion.job().start(Start::Append).finalize(&mut ZarrSink::create(path("many"))).unwrap();
        assert!(tree(&path("one")) == tree(&path("many")), "to day {end}");
    }
    // Observations of days long passed count once, replayed or not.
    let whole = fusion(60, Checkpoint::Light, 12).run(&mut ZarrSink::create(path("whole"))).unwrap();
    let parts = fusion(60, Checkpoint::Light, 12);
    let parts = parts.job().start(Start::Resume).run(&mut ZarrSink::create(path("one"))).unwrap();
    for (a, b) in whole.instruments.iter().zip(&parts.instruments) {
        let dates = |report: &rasterfuse::series::InstrumentReport| -> Vec<(Date, u64, u64)> {
            report.dates.iter().map(|date| (date.date, date.pixels, date.values)).collect()
        };
        assert_eq!(dates(a), dates(b));
    }
}

#[test]
fn what_a_window_wrote_before_it_failed_outlives_a_repair() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("fused.zarr");
    let mut scene = Array4::from_elem((41, 1, 8, 8), 0.31);
    scene[(36, 0, 1, 1)] = 1e308;
    let dates = (0..=40).map(day).collect();
    let seen = MemorySource::new(grid(30.0, 8), dates, vec!["red".into()], scene).unwrap();
    let fusion = Fusion::builder(grid(30.0, 8))
        .bands(["red"])
        .window(4, 1)
        .process(Process::new(Kernel::Exponential, 150.0, 2e-5))
        .prior(Prior::new(0.3, 0.01))
        .instrument(Instrument::new("fine", seen).noise_variance(1e-4))
        .tile(8, 8)
        .checkpoint(Checkpoint::Light)
        .replay_days(12)
        .on_error(OnError::Skip)
        .build()
        .unwrap();
    let resume = || fusion.job().start(Start::Resume).run(&mut ZarrSink::create(&store)).unwrap();
    let (before, known) = (resume(), values(&store, "mean"));
    // After the light state and before the window fails.
    std::fs::remove_file(store.join("mean/c/32/0/0/0")).unwrap();
    let (after, mended) = (resume(), values(&store, "mean"));
    assert_eq!(before.failed_windows, after.failed_windows);
    assert!(known.iter().any(|value| value.is_nan()));
    for (k, (a, b)) in known.iter().zip(&mended).enumerate() {
        assert!((a.is_nan() && b.is_nan()) || (a - b).abs() < 0.01, "day {}: {a} {b}", k / 64);
    }
}

#[test]
fn without_a_checkpoint_nothing_is_appended_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("fused.zarr");
    fusion(20, Checkpoint::Off, 0).run(&mut ZarrSink::create(&store)).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the store is left");
    let longer = fusion(22, Checkpoint::Off, 0);
    let append = |replay: bool| longer.job().start(Start::Append).replay(replay).run(&mut ZarrSink::create(&store));
    assert_says(&append(false).unwrap_err().to_string(), &["fused.zarr", "no checkpoint", "a replay"]);
    append(true).unwrap();
    let exact = folder.path().join("exact.zarr");
    fusion(22, Checkpoint::Off, 0).run(&mut ZarrSink::create(&exact)).unwrap();
    assert!(tree(&exact) == tree(&store));
}
