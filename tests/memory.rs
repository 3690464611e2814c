//! Peak memory does not grow with the series, nor beyond the plan: 1250 dates against 125 of the same scene, in processes of
//! their own.
#![cfg(all(target_os = "linux", feature = "gdal", feature = "zarr"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use gdal::DriverManager;
use gdal::raster::Buffer;
use rasterfuse::Fusion;
use rasterfuse::engine::MemoryBudget;
use rasterfuse::geometry::Date;
use rasterfuse::model::{Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::sink::ZarrSink;
use rasterfuse::source::{RasterSource, RasterStack};

const FOLDER: &str = "RASTERFUSE_TEST_MEMORY_FOLDER";

/// A fine raster of 64 x 64 cells every 25th day and a coarse one every day.
fn write_scene(folder: &Path, days: i32) {
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let write = |path: PathBuf, side: usize, cell: f64, day: i32| {
        let mut dataset = driver.create_with_band_type::<f32, _>(path, side, side, 2).unwrap();
        dataset.set_geo_transform(&[0.0, cell, 0.0, 0.0, 0.0, -cell]).unwrap();
        for band in 1..=2 {
            let value = |k: usize| 0.2 + 0.001 * ((k * 31 + day as usize * 17 + band) % 97) as f32;
            let mut buffer = Buffer::new((side, side), (0..side * side).map(value).collect());
            dataset.rasterband(band).unwrap().write((0, 0), (side, side), &mut buffer).unwrap();
        }
    };
    for day in 0..days {
        let name = (Date::from_days(18_000) + day).to_string();
        write(folder.join(format!("coarse_{name}.tif")), 8, 250.0, day);
        if day % 25 == 0 {
            write(folder.join(format!("fine_{name}.tif")), 64, 30.0, day);
        }
    }
}

fn fuse(folder: &Path) {
    let stack = |name: &str| -> Arc<dyn RasterSource> {
        let builder = RasterStack::builder(format!("{name}_*.tif"), format!("{name}_(.{{10}})"));
        Arc::new(builder.folder(folder).date_format("%Y-%m-%d").open().unwrap())
    };
    let fine = stack("fine");
    let coarse = Instrument::new("coarse", stack("coarse")).footprint(Footprint::Uniform);
    let fusion = Fusion::builder(fine.grid().clone())
        .bands(["band1", "band2"])
        .window(8, 7)
        .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
        .prior(Prior::new(0.2, 0.01))
        .instrument(Instrument::new("fine", fine).noise_variance(1e-4))
        .instrument(coarse.noise_variance(1e-3))
        .lag(2)
        .memory(MemoryBudget::Bytes(400 << 20))
        .tile(64, 64)
        .build()
        .unwrap();
    fusion.run(&mut ZarrSink::create(folder.join("fused.zarr"))).unwrap();
    println!("planned_kib={}", fusion.plan().memory_bytes() >> 10);
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Runs in the child process; without the variable it has nothing to do.
#[test]
fn child_fuses_and_tells_its_peak() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        fuse(Path::new(&folder));
        println!("peak_kib={}", peak_kib());
    }
}

#[test]
fn ten_times_the_dates_take_no_more_memory_and_no_more_than_planned() {
    let run = |days: i32| -> (u64, u64) {
        let folder = tempfile::tempdir().unwrap();
        write_scene(folder.path(), days);
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_fuses_and_tells_its_peak", "--nocapture"])
            .env(FOLDER, folder.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let told = |key: &str| {
            let (_, tail) = text.split_once(key).unwrap();
            tail.lines().next().unwrap().trim().parse().unwrap()
        };
        (told("peak_kib="), told("planned_kib="))
    };
    let ((short, planned), (long, planned_long)) = (run(125), run(1250));
    println!("peak resident memory: 125 dates {short} KiB, 1250 dates {long} KiB, planned {planned} KiB");
    assert!(long as f64 <= short as f64 * 1.05, "125 dates peak at {short} KiB, 1250 at {long} KiB");
    assert!(
        long <= planned_long && short <= planned,
        "peaks {short} and {long} KiB, planned {planned} and {planned_long}"
    );
}
