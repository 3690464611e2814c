//! What a stack costs beside bare GDAL reads: fifty deflate-compressed tiled files, tile after tile and date after date, as
//! float64, in the same run and order.
//!
//! `cargo bench --bench read`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gdal::raster::{Buffer, RasterCreationOptions};
use gdal::{Dataset, DriverManager};
use rasterfuse::geometry::{Date, PixelRegion};
use rasterfuse::source::{Quality, RasterSource, RasterStack};

const BANDS: usize = 2;

fn file(folder: &Path, day: i32, layer: &str) -> PathBuf {
    folder.join(format!("x_{}_{layer}.tif", Date::from_days(day).format("%Y%m%d")))
}

/// Tiled, compressed images: a file with all bands, the same as a file for each band, and quality.
fn write_files(folder: &Path, side: usize, days: i32) {
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let options: RasterCreationOptions =
        ["TILED=YES", "COMPRESS=DEFLATE", "BLOCKXSIZE=256", "BLOCKYSIZE=256"].into_iter().collect();
    let write = |path: PathBuf, planes: &[Vec<i16>]| {
        let mut dataset =
            driver.create_with_band_type_with_options::<i16, _>(path, side, side, planes.len(), &options).unwrap();
        dataset.set_geo_transform(&[0.0, 30.0, 0.0, 0.0, 0.0, -30.0]).unwrap();
        for (index, plane) in planes.iter().enumerate() {
            let mut buffer = Buffer::new((side, side), plane.clone());
            let mut band = dataset.rasterband(index + 1).unwrap();
            band.set_no_data_value(Some(-9999.0)).unwrap();
            band.write((0, 0), (side, side), &mut buffer).unwrap();
        }
    };
    for day in 0..days {
        let plane = |band: usize| {
            let value = |k: usize| {
                let x = (k as u64 * 31 + day as u64 * 17 + band as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 55;
                (2000 + (k / side + k % side) % 997 + x as usize) as i16
            };
            (0..side * side).map(value).collect::<Vec<i16>>()
        };
        let planes: Vec<_> = (0..BANDS).map(plane).collect();
        write(file(folder, day, "all"), &planes);
        for (band, plane) in planes.iter().enumerate() {
            write(file(folder, day, &format!("B{band}")), std::slice::from_ref(plane));
        }
        let clouds = (0..side * side).map(|k| i16::from((k / side / 40 + k % side / 40).is_multiple_of(9))).collect();
        write(file(folder, day, "mask"), &[clouds]);
    }
}

fn tiles(side: usize, tile: usize) -> impl Iterator<Item = PixelRegion> {
    let starts = move || (0..side).step_by(tile);
    starts().flat_map(move |row| starts().map(move |col| PixelRegion::new(row..row + tile, col..col + tile)))
}

/// Through a stack.
fn stacked(stack: &RasterStack, side: usize, tile: usize) -> Duration {
    let bands: Vec<usize> = (0..BANDS).collect();
    let started = Instant::now();
    for region in tiles(side, tile) {
        for date in stack.dates() {
            std::hint::black_box(stack.read(*date, &bands, &region).unwrap());
        }
    }
    started.elapsed()
}

/// The same windows of the same (file, band) pairs without anything between.
fn bare(files: &[Vec<(PathBuf, usize)>], side: usize, tile: usize) -> Duration {
    let started = Instant::now();
    for region in tiles(side, tile) {
        for date in files {
            let mut open: Option<(&PathBuf, Dataset)> = None;
            for (path, band) in date {
                let dataset = match open.take() {
                    Some((held, dataset)) if held == path => dataset,
                    _ => Dataset::open(path).unwrap(),
                };
                let start = (region.cols.start as isize, region.rows.start as isize);
                let values =
                    dataset.rasterband(*band).unwrap().read_as::<f64>(start, (tile, tile), (tile, tile), None).unwrap();
                std::hint::black_box(values);
                open = Some((path, dataset));
            }
        }
    }
    started.elapsed()
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let (side, tile, days, rounds) = if test { (512, 256, 3, 1) } else { (1024, 256, 50, 9) };
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), side, days);
    let builder = |pattern: &str| {
        RasterStack::builder(pattern, r"x_(\d{8})").folder(folder.path()).scale(1e-4).valid_range(0.0, 1.0)
    };
    let per_band = || builder("x_*_{band}.tif").source_bands(["B0", "B1"]);
    let files = |layers: &[(&str, usize)]| -> Vec<Vec<(PathBuf, usize)>> {
        let of_day = |day| layers.iter().map(|(layer, band)| (file(folder.path(), day, layer), *band)).collect();
        (0..days).map(of_day).collect()
    };
    let masked = Quality::files("x_*_mask.tif").bits([0]);
    for (what, stack, files) in [
        ("one file", builder("x_*_all.tif").open().unwrap(), files(&[("all", 1), ("all", 2)])),
        ("a file for each band", per_band().open().unwrap(), files(&[("B0", 1), ("B1", 1)])),
        (
            "and quality",
            per_band().quality(masked.clone()).open().unwrap(),
            files(&[("mask", 1), ("B0", 1), ("B1", 1)]),
        ),
        (
            "and clouds widened by 3",
            per_band().quality(masked.dilate(3)).open().unwrap(),
            files(&[("mask", 1), ("B0", 1), ("B1", 1)]),
        ),
    ] {
        // They take turns; the middle of the rounds, as other work on the machine comes and goes.
        let mut times: Vec<(Duration, Duration)> =
            (0..rounds).map(|_| (bare(&files, side, tile), stacked(&stack, side, tile))).collect();
        let rate = |(bare, stack): &(Duration, Duration)| bare.as_secs_f64() / stack.as_secs_f64();
        times.sort_by(|a, b| rate(a).total_cmp(&rate(b)));
        let middle = &times[rounds / 2];
        println!(
            "{days} files, {what}: stack {:.3} s, bare {:.3} s; {:.0} % of the bare rate",
            middle.1.as_secs_f64(),
            middle.0.as_secs_f64(),
            100.0 * rate(middle)
        );
    }
}
