//! Peak memory does not grow with the series, nor beyond the plan: 4000 dates against 125 of the same scene, and of one so
//! small that what is kept of each date shows, in processes of their own.
#![cfg(all(target_os = "linux", feature = "gdal", feature = "zarr"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use gdal::DriverManager;
use gdal::raster::Buffer;
use rasterfuse::Fusion;
use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
use rasterfuse::engine::MemoryBudget;
use rasterfuse::geometry::Date;
use rasterfuse::sink::ZarrSink;
use rasterfuse::source::{RasterSource, RasterStack};

const FOLDER: &str = "RASTERFUSE_TEST_MEMORY_FOLDER";

/// What a child process fuses: cells per side, window, halo.
type Case = [usize; 3];

const CASE: Case = [64, 8, 7];
const SMALL: Case = [16, 4, 2];

/// A fine raster every 25th day and a coarse one every day.
fn write_scene(folder: &Path, days: i32, cells: usize) {
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
        write(folder.join(format!("coarse_{name}.tif")), cells / 8, 250.0, day);
        if day % 25 == 0 {
            write(folder.join(format!("fine_{name}.tif")), cells, 30.0, day);
        }
    }
}

fn fuse(folder: &Path, [_, window, halo]: Case) {
    let stack = |name: &str| -> Arc<dyn RasterSource> {
        let builder = RasterStack::builder(format!("{name}_*.tif"), format!("{name}_(.{{10}})"));
        Arc::new(builder.folder(folder).date_format("%Y-%m-%d").open().unwrap())
    };
    let fine = stack("fine");
    let coarse = Instrument::new("coarse", stack("coarse")).footprint(Footprint::Uniform);
    let fusion = Fusion::builder(fine.grid().clone())
        .bands(["band1", "band2"])
        .window(window, halo)
        .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
        .prior(Prior::new(0.2, 0.01))
        .instrument(Instrument::new("fine", fine).noise_variance(1e-4))
        .instrument(coarse.noise_variance(1e-3))
        .lag(2)
        .memory(MemoryBudget::Bytes(400 << 20))
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

const CELLS: &str = "RASTERFUSE_TEST_MEMORY_CASE";

/// Runs in the child process; without the variables it has nothing to do.
#[test]
fn child_fuses_and_tells_its_peak() {
    if let (Some(folder), Ok(case)) = (std::env::var_os(FOLDER), std::env::var(CELLS)) {
        let numbers: Vec<usize> = case.split(' ').map(|number| number.parse().unwrap()).collect();
        fuse(Path::new(&folder), numbers.try_into().unwrap());
        println!("peak_kib={}", peak_kib());
    }
}

/// (peak, planned) in KiB.
fn run(days: i32, case: Case) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    write_scene(folder.path(), days, case[0]);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_fuses_and_tells_its_peak", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(CELLS, case.map(|number| number.to_string()).join(" "))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let told = |key: &str| {
        let (_, tail) = text.split_once(key).unwrap();
        tail.lines().next().unwrap().trim().parse().unwrap()
    };
    (told("peak_kib="), told("planned_kib="))
}

/// The largest peak of a short series in several runs. What comes and goes meets by chance, and a long series has as many
/// more chances.
fn run_short(case: Case) -> (u64, u64) {
    let runs = (0..4).map(|_| run(125, case));
    runs.reduce(|a, b| (a.0.max(b.0), b.1)).unwrap()
}

#[test]
fn thirty_two_times_the_dates_take_hardly_more_memory_and_no_more_than_planned() {
    let ((short, planned), (long, planned_long)) = (run_short(CASE), run(4000, CASE));
    println!("peak resident memory: 125 dates {short} KiB, 4000 dates {long} KiB, planned {planned} KiB");
    assert!(long as f64 <= short as f64 * 1.05, "125 dates peak at {short} KiB, 4000 at {long} KiB");
    assert!(
        long <= planned_long && short <= planned,
        "peaks {short} and {long} KiB, planned {planned} and {planned_long}"
    );
}

/// What is kept of a date: names and places of its files, statistics, the record of the tile.
const BYTES_PER_DATE: u64 = 1536;

/// The program at rest is most of the peak of so small a scene: what grows is what is kept of dates.
#[test]
fn four_thousand_dates_of_a_small_scene_keep_little_of_each() {
    let ((short, _), (long, planned)) = (run_short(SMALL), run(4000, SMALL));
    println!("peak resident memory: 125 dates {short} KiB, 4000 dates {long} KiB, planned {planned} KiB");
    let grown = long.saturating_sub(short) * 1024 / (4000 - 125);
    assert!(grown <= BYTES_PER_DATE, "125 dates peak at {short} KiB, 4000 at {long} KiB: {grown} bytes for each date");
    assert!(long <= planned, "peak {long} KiB, planned {planned}");
}

/// The table of the documentation: `cargo test --release --test memory -- --ignored --nocapture`.
#[test]
#[ignore = "takes minutes; prints a table"]
fn table() {
    println!("| cells | window, halo | dates | peak, MiB | planned, MiB |\n|---|---|---|---|---|");
    for case in [[64, 4, 4], [64, 8, 7], [256, 4, 2], [256, 4, 4]] {
        for days in [125, 1250] {
            let (peak, planned) = run(days, case);
            let [cells, window, halo] = case;
            println!("| {cells} x {cells} | {window}, {halo} | {days} | {} | {} |", peak >> 10, planned >> 10);
        }
    }
}
