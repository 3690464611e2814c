//! Which files decide: those that reach the target, whatever their order; and files of dates that were passed may go.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::Array3;
use rasterfuse::geometry::{Crs, Date, Grid, PixelRegion};
use rasterfuse::source::{RasterSource, RasterStack, Resampling};
use support::{Sample, Tiff, assert_says, day, program, same, tree};
use tempfile::TempDir;

const UTM33: &str = "EPSG:32633";

fn utm() -> Crs {
    Crs::from_epsg(32633).unwrap()
}

/// 24 x 24 cells of 30 m.
fn target() -> Grid {
    Grid::new(utm(), [500_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], (24, 24)).unwrap()
}

/// A raster of square pixels around the target, with a corner that is off the target's by this much.
fn put(folder: &Path, date: Date, pixel: f64, off: f64, crs: &'static str) -> PathBuf {
    let side = (1200.0 / pixel) as usize;
    let grid =
        Grid::new(Crs::unknown(), [499_800.0 + off, pixel, 0.0, 5_100_200.0 - off, 0.0, -pixel], (side, side)).unwrap();
    let values = Array3::from_shape_fn((1, side, side), |(_, row, col)| {
        0.2 + 0.1 * (f64::from(date.days_since_epoch() % 7) + row as f64 * 0.7).sin() * (col as f64 * 0.9).cos()
    });
    let path = folder.join(format!("scene_{}.tif", date.format("%Y%m%d")));
    Tiff { crs: Some(crs), sample: Sample::F64, ..Tiff::new(&grid, values.view()) }.write(&path);
    path
}

fn stack(folder: &Path, resampling: Resampling) -> RasterStack {
    RasterStack::builder("scene_*.tif", r"_(\d{8})").folder(folder).onto(&target(), resampling).open().unwrap()
}

fn read(stack: &RasterStack, date: Date) -> Vec<f64> {
    let (rows, cols) = stack.grid().shape();
    stack.read(date, &[0], &PixelRegion::new(0..rows, 0..cols)).unwrap().values.into_raw_vec_and_offset().0
}

fn equal(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(*a, *b))
}

#[test]
fn a_scene_of_another_place_decides_nothing() {
    for resampling in [Resampling::Nearest, Resampling::Bilinear, Resampling::Cubic, Resampling::Average] {
        let folder = TempDir::new().unwrap();
        for k in [1, 2] {
            put(folder.path(), day(k), 90.0, 10.0, UTM33);
        }
        let alone = stack(folder.path(), resampling);
        // The first by date lies in America, with pixels of another size; the last in the same zone, far away.
        put(folder.path(), day(0), 37.0, 25.0, "EPSG:32618");
        put(folder.path(), day(3), 90.0, 250_000.0, UTM33);
        let with = stack(folder.path(), resampling);
        assert_eq!((with.grid(), with.dates()), (alone.grid(), alone.dates()), "{resampling:?}");
        for k in [1, 2] {
            assert!(equal(&read(&with, day(k)), &read(&alone, day(k))), "{resampling:?}, {}", day(k));
        }
    }
}

#[test]
fn the_lines_are_those_of_most_rasters_whatever_their_order() {
    let folder = TempDir::new().unwrap();
    for k in 1..4 {
        put(folder.path(), day(k), 90.0, 30.0, UTM33);
    }
    let expected = stack(folder.path(), Resampling::Nearest).grid().clone();
    let first = put(folder.path(), day(0), 90.0, 60.0, UTM33);
    put(folder.path(), day(5), 90.0, 60.0, UTM33);
    assert_eq!(stack(folder.path(), Resampling::Nearest).grid(), &expected);
    fs::remove_file(first).unwrap();
    assert_eq!(stack(folder.path(), Resampling::Nearest).grid(), &expected);
}

#[test]
fn the_size_of_its_own_pixels_sets_the_kernel_of_each_raster() {
    for resampling in [Resampling::Bilinear, Resampling::Cubic, Resampling::Average] {
        // All of them become single cells of 30 m.
        let sizes = [24.0, 40.0, 20.0];
        let together = TempDir::new().unwrap();
        let alone = sizes.map(|_| TempDir::new().unwrap());
        for (k, (size, own)) in sizes.into_iter().zip(&alone).enumerate() {
            put(together.path(), day(k as i32), size, 7.0, UTM33);
            put(own.path(), day(k as i32), size, 7.0, UTM33);
        }
        let together = stack(together.path(), resampling);
        for (k, own) in alone.iter().enumerate() {
            let own = stack(own.path(), resampling);
            assert_eq!(own.grid(), together.grid());
            assert!(equal(&read(&own, day(k as i32)), &read(&together, day(k as i32))), "{resampling:?}, {}", sizes[k]);
        }
    }
}

#[test]
fn granules_beside_the_target_are_no_dates_of_a_mosaic() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), day(1), 30.0, 0.0, UTM33);
    put(folder.path(), day(0), 30.0, 30_000.0, UTM33);
    let open = || RasterStack::builder("scene_*.tif", r"_(\d{8})").folder(folder.path()).mosaic(true);
    assert_eq!(open().open().unwrap().dates(), [day(0), day(1)]);
    assert_eq!(open().covering(&target()).open().unwrap().dates(), [day(1)]);
}

/// A description whose first day is that of its files.
fn describe(folder: &Path, output: &str, reproject: &str) {
    let text = format!(
        "[target]\ncrs = \"{UTM33}\"\ngeotransform = [500000.0, 30.0, 0.0, 5100000.0, 0.0, -30.0]\nshape = [24, 24]\nbands = [\"red\"]\n\
         [time]\noutput = \"{output}\"\n[window]\nsize = 6\nhalo = 2\n[process]\nkernel = \"exponential\"\nrange = 90.0\n\
         variance = 1e-4\n[prior]\nmean = 0.2\nvariance = 0.05\n[[instrument]]\nname = \"one\"\nfiles = \"scene_*.tif\"\n\
         date = '_(\\d{{8}})'\nbands = [\"red\"]\nnoise_variance = 1e-4\n{reproject}\n[output]\nstore = \"fused.zarr\"\ntile = [24, 24]\n\
         [run]\nmemory = \"1GiB\"\nthreads = 1\n"
    );
    fs::write(folder.join("fusion.toml"), text).unwrap();
}

fn fuse(folder: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = program("fuse").arg("fusion.toml").args(arguments).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

#[test]
fn files_of_passed_dates_may_go_before_a_series_is_appended_to() {
    for output in ["daily", "observed"] {
        for reproject in ["", "reproject = \"bilinear\""] {
            let (whole, grown) = (TempDir::new().unwrap(), TempDir::new().unwrap());
            let pixel = if reproject.is_empty() { 30.0 } else { 90.0 };
            let write = |folder: &Path, k: i32| {
                put(folder, day(k), pixel, if reproject.is_empty() { -10.0 } else { 20.0 }, UTM33)
            };
            let days = [0, 2, 3, 6];
            for folder in [whole.path(), grown.path()] {
                describe(folder, output, reproject);
            }
            days.iter().for_each(|k| drop(write(whole.path(), *k)));
            fuse(whole.path(), &[]).unwrap();
            let early: Vec<PathBuf> = days[..3].iter().map(|k| write(grown.path(), *k)).collect();
            fuse(grown.path(), &[]).unwrap();
            write(grown.path(), 6);
            // Of all dates that were passed, none is there any more.
            early.iter().for_each(|path| fs::remove_file(path).unwrap());
            fuse(grown.path(), &["--append"]).unwrap_or_else(|said| panic!("{output}, {reproject}: {said}"));
            let values = |folder: &Path| {
                let files = tree(&folder.join("fused.zarr"));
                files
                    .into_iter()
                    .filter(|(name, _)| name.starts_with("mean/c") || name.starts_with("time/c"))
                    .collect::<Vec<_>>()
            };
            assert!(!values(whole.path()).is_empty());
            assert_eq!(values(whole.path()), values(grown.path()), "{output}, {reproject}");
            // A file from before the first day is not passed over in silence.
            put(grown.path(), day(-3), pixel, if reproject.is_empty() { -10.0 } else { 20.0 }, UTM33);
            assert_says(&fuse(grown.path(), &["--append"]).unwrap_err(), &["time.start", "2024-01-01", "2023-12-29"]);
        }
    }
}

/// Of two lattices that come equally close, a series keeps the one that it began with.
#[test]
fn the_lines_of_a_series_stay_when_the_files_that_chose_them_go() {
    let (whole, grown) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    // Pixels of three cells: on the lines of one lattice until day 2, of another one afterwards.
    let write = |folder: &Path, k: i32| put(folder, day(k), 90.0, if k < 3 { 30.0 } else { 60.0 }, UTM33);
    for folder in [whole.path(), grown.path()] {
        describe(folder, "observed", "reproject = \"nearest\"");
        (0..2).for_each(|k| drop(write(folder, k)));
        fuse(folder, &[]).unwrap();
        (3..6).for_each(|k| drop(write(folder, k)));
    }
    // Here all files are still there, there only those of the other lattice, which is that of most files in both.
    (0..2).for_each(|k| fs::remove_file(grown.path().join(format!("scene_{}.tif", day(k).format("%Y%m%d")))).unwrap());
    let held = |folder: &Path| {
        fuse(folder, &["--append"]).unwrap();
        let text = fs::read_to_string(folder.join("fused.zarr/zarr.json")).unwrap();
        let begin = text.find("3 x 3 cells from").unwrap();
        let files = tree(&folder.join("fused.zarr")).into_iter();
        let values = files.filter(|(name, _)| name.starts_with("mean/c")).collect::<Vec<_>>();
        (text[begin..begin + 24].to_owned(), values)
    };
    assert_eq!(held(whole.path()), held(grown.path()));
}
