//! Inputs that fail, stall, vanish or are damaged: a run ends with the file's name, or goes on without it and says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use ndarray::{Array4, s};
use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::engine::{FusionBuilder, OnError};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::series::Report;
use rasterfuse::sink::MemorySink;
use rasterfuse::source::{MemorySource, RasterSource};
use rasterfuse::{Error, Fusion, Result};
use support::{Fault, FaultySource, assert_says, day};

const SIDE: usize = 12;
const DAYS: i32 = 10;

fn grid(size: f64, side: usize) -> Grid {
    Grid::new(Crs::unknown(), [0.0, size, 0.0, 0.0, 0.0, -size], (side, side)).unwrap()
}

/// A source of the given days, whose values do not depend on which other days there are.
fn source(grid: Grid, days: impl Iterator<Item = i32>) -> MemorySource {
    let dates: Vec<Date> = days.map(day).collect();
    let value = |(t, _, r, c): (usize, usize, usize, usize)| {
        0.3 + 0.01 * ((dates[t].days_since_epoch() as usize * 7 + r * 3 + c * 5) % 11) as f64
    };
    let values = Array4::from_shape_fn((dates.len(), 1, grid.rows(), grid.cols()), value);
    MemorySource::new(grid, dates.clone(), vec!["red".into()], values).unwrap()
}

fn fusion(fine: Arc<dyn RasterSource>, coarse: Arc<dyn RasterSource>) -> FusionBuilder {
    Fusion::builder(grid(30.0, SIDE))
        .bands(["red"])
        .start(day(0))
        .end(day(DAYS - 1))
        .window(4, 2)
        .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
        .prior(Prior::new(0.3, 0.01))
        .instrument(Instrument::new("fine", fine).noise_variance(1e-4))
        .instrument(Instrument::new("coarse", coarse).footprint(Footprint::Uniform).noise_variance(1e-4))
        .tile(6, 6)
        .lag(2)
}

fn fine() -> Arc<dyn RasterSource> {
    Arc::new(source(grid(30.0, SIDE), (0..DAYS).filter(|k| k % 3 == 1)))
}

fn coarse(days: impl Iterator<Item = i32>) -> Arc<dyn RasterSource> {
    Arc::new(source(grid(120.0, 3), days))
}

fn run(builder: FusionBuilder) -> Result<(Array4<f64>, Array4<f64>, Report)> {
    let mut sink = MemorySink::new();
    let report = builder.build()?.run(&mut sink)?;
    let (mean, sd) = sink.into_arrays()?;
    Ok((mean, sd, report))
}

fn faulty(fault: Fault) -> Arc<dyn RasterSource> {
    Arc::new(FaultySource { inner: coarse(0..DAYS), date: day(5), fault })
}

#[test]
fn a_slice_that_cannot_be_read_ends_the_run_or_is_passed_over_by_name() {
    let error = run(fusion(fine(), faulty(Fault::Fail))).unwrap_err();
    assert_says(&error.to_string(), &["the disk is on fire", &day(5).to_string()]);

    let (mean, sd, report) = run(fusion(fine(), faulty(Fault::Fail)).on_error(OnError::Skip)).unwrap();
    let (expected, expected_sd, _) = run(fusion(fine(), coarse((0..DAYS).filter(|k| *k != 5)))).unwrap();
    assert_eq!((mean, sd), (expected, expected_sd));
    let [skipped] = report.skipped.as_slice() else { panic!("{:?}", report.skipped) };
    assert_eq!((skipped.instrument.as_str(), skipped.date, skipped.tiles), ("coarse", day(5), 4));
    assert_says(&report.to_string(), &["skipped: coarse on", "in 4 tiles", "the disk is on fire"]);
}

#[test]
fn a_source_that_stalls_shows_as_waiting() {
    let stall = Duration::from_millis(300);
    let (mean, _, report) = run(fusion(fine(), faulty(Fault::Wait(stall))).batch_dates(2)).unwrap();
    let (expected, _, quick) = run(fusion(fine(), coarse(0..DAYS))).unwrap();
    assert_eq!(mean, expected);
    // Once for each tile; the next tile's reading may begin while one is filtered.
    assert!(report.timing.read >= 4 * stall, "{:?}", report.timing);
    assert!(report.timing.wait_read >= 2 * stall && quick.timing.wait_read < report.timing.wait_read);
}

/// A value beyond float64's squares breaks the arithmetic of the windows that see it, and of no other.
#[test]
fn a_window_that_breaks_down_ends_the_run_or_becomes_nan() {
    let absurd = || {
        let days: Vec<i32> = (0..DAYS).filter(|k| k % 3 == 1).collect();
        let mut values = Array4::from_elem((days.len(), 1, SIDE, SIDE), 0.31);
        values[(1, 0, 1, 1)] = 1e308;
        let dates = days.into_iter().map(day).collect();
        Arc::new(MemorySource::new(grid(30.0, SIDE), dates, vec!["red".into()], values).unwrap())
    };
    let with = |lag: usize, on_error: OnError| run(fusion(absurd(), coarse(0..DAYS)).lag(lag).on_error(on_error));
    let error = with(0, OnError::Abort).unwrap_err();
    assert!(matches!(error, Error::Numerical { .. }), "{error}");
    assert_says(&error.to_string(), &["window at cells [0, 0]", &day(4).to_string(), "valid_range"]);
    let (first, ..) = with(0, OnError::Skip).unwrap();
    for lag in [0, 2] {
        let (mean, sd, report) = with(lag, OnError::Skip).unwrap();
        let [failed] = report.failed_windows.as_slice() else { panic!("{:?}", report.failed_windows) };
        assert_eq!((failed.row, failed.col, failed.date), (0, 0, day(4)));
        assert_says(&report.to_string(), &["failed: window at cells [0, 0]", "NaN from", &failed.reason]);
        for ((t, _, r, c), value) in mean.indexed_iter() {
            // What waits for the lag is lost as well.
            let lost = r < 4 && c < 4 && t + lag >= 4;
            assert_eq!(value.is_nan(), lost, "{t} {r} {c} with lag {lag}");
            assert_eq!(sd[(t, 0, r, c)].is_nan(), lost);
        }
        assert_eq!(first.slice(s![4, 0, 4.., 4..]).iter().filter(|value| value.is_nan()).count(), 0);
    }
}

#[test]
fn progress_is_told_on_the_way() {
    let seen = std::sync::Mutex::new(Vec::new());
    let fusion = fusion(fine(), coarse(0..DAYS)).batch_dates(3).build().unwrap();
    fusion.job().progress(|progress| seen.lock().unwrap().push(progress.clone())).run(&mut MemorySink::new()).unwrap();
    let seen = seen.into_inner().unwrap();
    assert!(seen.len() >= 16);
    assert!(seen.windows(2).all(|pair| pair[0].dates.0 <= pair[1].dates.0 && pair[0].elapsed <= pair[1].elapsed));
    let last = seen.last().unwrap();
    assert_eq!((last.tiles, last.dates), ((4, 4), (40, 40)));
    assert!(last.observations > 0 && last.remaining().unwrap().is_zero());
    assert_says(&last.to_string(), &["4 of 4 tiles", "40 of 40 tile dates", "observations/s"]);
}

#[cfg(all(feature = "gdal", feature = "zarr"))]
mod files {
    use std::fs;
    use std::path::Path;
    use std::process::Output;

    use ndarray::Array3;

    use super::*;
    use crate::support::{Sample, Tiff, program, tree, truncate};

    fn write(folder: &Path) {
        for k in 0..DAYS {
            for (name, size, side) in [("fine", 30.0, SIDE), ("coarse", 120.0, 3)] {
                let value = |(b, r, c)| 0.3 + 0.01 * ((k as usize * 7 + b * 2 + r * 3 + c * 5) % 11) as f64;
                let mut tiff = Tiff::new(&grid(size, side), Array3::from_shape_fn((1, side, side), value).view());
                (tiff.sample, tiff.names, tiff.options) = (Sample::F32, vec!["red".into()], &["COMPRESS=DEFLATE"]);
                tiff.write(&folder.join(format!("{name}_{}.tif", day(k).format("%Y%m%d"))));
            }
        }
    }

    fn fuse(folder: &Path, store: &str, on_error: &str, arguments: &[&str]) -> Output {
        let (start, end) = (day(0), day(DAYS - 1));
        let text = format!(
            r#"
            target = {{ geotransform = [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], shape = [{SIDE}, {SIDE}], bands = ["red"] }}
            time = {{ start = "{start}", end = "{end}" }}
            process = {{ kernel = "exponential", range = 100.0, variance = 1e-4 }}
            prior = {{ mean = 0.25, variance = 0.01 }}
            output = {{ store = "{store}", tile = [8, 8] }}
            run = {{ on_error = "{on_error}" }}
            [[instrument]]
            name = "fine"
            files = "fine_*.tif"
            date = '_(\d+)'
            noise_variance = 1e-4
            [[instrument]]
            name = "coarse"
            files = "coarse_*.tif"
            date = '_(\d+)'
            footprint = "uniform"
            noise_variance = 1e-3
            "#
        );
        fs::write(folder.join("fusion.toml"), text).unwrap();
        program("fuse").arg("fusion.toml").args(arguments).current_dir(folder).output().unwrap()
    }

    #[test]
    fn damaged_files_end_the_run_or_are_passed_over_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str, k: i32| folder.path().join(format!("{name}_{}.tif", day(k).format("%Y%m%d")));
        write(folder.path());
        // Without them a run is what it must be with them.
        let damaged = [("fine", 2), ("fine", 4), ("coarse", 3), ("coarse", 7), ("coarse", 8)];
        let aside = tempfile::tempdir().unwrap();
        for (name, k) in damaged {
            fs::rename(path(name, k), aside.path().join(path(name, k).file_name().unwrap())).unwrap();
        }
        let output = fuse(folder.path(), "without.zarr", "abort", &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for (name, k) in damaged {
            fs::copy(aside.path().join(path(name, k).file_name().unwrap()), path(name, k)).unwrap();
        }
        let good = fs::read(path("fine", 4)).unwrap();
        truncate(&path("fine", 2), 60); // pixels cut off, header whole
        let mut bytes = good.clone();
        let at = bytes.len() - 40;
        bytes[at..at + 20].fill(0x55); // compressed data spoilt
        fs::write(path("fine", 4), bytes).unwrap();
        fs::write(path("coarse", 3), "").unwrap(); // nothing left
        fs::remove_file(path("coarse", 7)).unwrap();
        fs::create_dir(path("coarse", 7)).unwrap(); // no file at all; permissions do not bind root
        fs::remove_file(path("coarse", 8)).unwrap();
        std::os::unix::fs::symlink("gone.tif", path("coarse", 8)).unwrap(); // vanished behind its name

        let output = fuse(folder.path(), "aborted.zarr", "abort", &[]);
        assert_eq!(output.status.code(), Some(1));
        assert_says(
            &String::from_utf8_lossy(&output.stderr),
            &["error: ", "instrument \"coarse\": cannot open raster", "coarse_"],
        );

        let output = fuse(folder.path(), "with.zarr", "skip", &[]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let group = fs::read(folder.path().join("with.zarr/zarr.json")).unwrap();
        let group: serde_json::Value = serde_json::from_slice(&group).unwrap();
        let skipped = group["attributes"]["rasterfuse"]["report"]["skipped"].as_array().unwrap();
        assert_eq!(skipped.len(), damaged.len(), "{said}");
        for (name, k) in damaged {
            let file = path(name, k).file_name().unwrap().to_string_lossy().into_owned();
            assert_says(&said, &[&format!("skipped: {name} on {}", day(k)), &file]);
            assert!(skipped.iter().any(|slice| slice["date"] == day(k).to_string() && slice["instrument"] == name));
        }
        let chunks = |store: &str| {
            let mut files = tree(&folder.path().join(store));
            files.retain(|name, _| name.starts_with("mean/c") || name.starts_with("sd/c"));
            files
        };
        assert!(chunks("with.zarr") == chunks("without.zarr"));
    }

    /// What was passed over is tried again by a replay, and by nothing else.
    #[test]
    fn a_file_that_was_passed_over_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        assert!(fuse(folder.path(), "whole.zarr", "abort", &[]).status.success());
        let path = folder.path().join(format!("fine_{}.tif", day(6).format("%Y%m%d")));
        let good = fs::read(&path).unwrap();
        fs::write(&path, "not there yet").unwrap();
        assert!(fuse(folder.path(), "fused.zarr", "skip", &[]).status.success());
        fs::write(&path, good).unwrap();
        let output = fuse(folder.path(), "fused.zarr", "skip", &["--append"]);
        assert!(output.status.success());
        assert_says(&String::from_utf8_lossy(&output.stdout), &["nothing was left to do", "skipped: fine"]);
        assert!(fuse(folder.path(), "fused.zarr", "skip", &["--append", "--replay"]).status.success());
        assert!(tree(&folder.path().join("whole.zarr")) == tree(&folder.path().join("fused.zarr")));
    }

    /// A file that breaks in the middle of a run stops it; repaired, the run is resumed to the bytes of one without trouble.
    #[test]
    fn a_run_that_a_file_stopped_is_resumed() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        assert!(fuse(folder.path(), "whole.zarr", "abort", &[]).status.success());
        let path = folder.path().join(format!("fine_{}.tif", day(6).format("%Y%m%d")));
        let good = fs::read(&path).unwrap();
        truncate(&path, 60);
        let output = fuse(folder.path(), "fused.zarr", "abort", &[]);
        assert_eq!(output.status.code(), Some(1));
        assert_says(&String::from_utf8_lossy(&output.stderr), &["fine_", &day(6).to_string(), "replace it"]);
        fs::write(&path, good).unwrap();
        assert!(fuse(folder.path(), "fused.zarr", "abort", &["--resume"]).status.success());
        assert!(tree(&folder.path().join("whole.zarr")) == tree(&folder.path().join("fused.zarr")));
    }
}
