//! NetCDF files: types, missing numbers and ranges as the conventions have them, whatever GDAL makes of them.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;
#[path = "support/netcdf.rs"]
mod writer;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gdal::DriverManager;
use gdal::raster::RasterCreationOptions;
use ndarray::Array3;
use rasterfuse::geometry::{Crs, Grid};
use rasterfuse::source::gdal::crs_from_definition;
use rasterfuse::source::{RasterSeries, RasterSource, RasterStack, Resampling};
use support::{Sample, Tiff, assert_says, day, refusal, same};
use tempfile::TempDir;
use writer::{Numbers, write_netcdf};

const SIDE: usize = 4;

fn crs() -> Crs {
    crs_from_definition("EPSG:32633").unwrap()
}

fn target() -> Grid {
    Grid::new(crs(), [500_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], (SIDE, SIDE)).unwrap()
}

fn axes() -> (Vec<f64>, Vec<f64>) {
    let centre = |k: usize| 30.0 * (k as f64 + 0.5);
    ((0..SIDE).map(|k| 500_000.0 + centre(k)).collect(), (0..SIDE).map(|k| 5_100_000.0 - centre(k)).collect())
}

/// The same numbers as a file of one date, and as a series of two.
struct Case {
    folder: TempDir,
}

impl Case {
    fn new(numbers: Numbers, attributes: &[(&str, Numbers)]) -> Self {
        let folder = TempDir::new().unwrap();
        let (x, y) = axes();
        write_netcdf(&folder.path().join("a_20240101.nc"), (&x, &y), None, &numbers, attributes);
        // The same on two dates of one file.
        let twice = match &numbers {
            Numbers::Bytes(numbers) => Numbers::Bytes([numbers.as_slice(), numbers].concat()),
            Numbers::Shorts(numbers) => Numbers::Shorts([numbers.as_slice(), numbers].concat()),
            Numbers::Floats(numbers) => Numbers::Floats([numbers.as_slice(), numbers].concat()),
            other => other.clone(),
        };
        write_netcdf(&folder.path().join("series.nc"), (&x, &y), Some(&[0.0, 4.0]), &twice, attributes);
        Self { folder }
    }

    /// The sources of the file: a date, a series, and both on another grid, which is the same.
    fn sources(&self) -> Vec<(&'static str, Box<dyn RasterSource>)> {
        let stack = || RasterStack::builder("a_*.nc", r"_(\d{8})").folder(self.folder.path()).crs(crs());
        let series = || RasterSeries::builder(self.folder.path().join("series.nc")).crs(crs());
        vec![
            ("file", Box::new(stack().open().unwrap())),
            ("file on a grid", Box::new(stack().onto(&target(), Resampling::Nearest).open().unwrap())),
            ("series", Box::new(series().open().unwrap())),
            ("series on a grid", Box::new(series().onto(&target(), Resampling::Nearest).open().unwrap())),
        ]
    }

    fn gives(&self, expected: &[f64]) {
        for (what, source) in self.sources() {
            let (row, col) = source.grid().lattice_offset(&target()).unwrap();
            for date in source.dates() {
                let read = source.read(*date, &[0], &source.grid().region()).unwrap().values;
                let found: Vec<f64> = (0..expected.len()).map(|k| read[(0, row as usize, col as usize + k)]).collect();
                let near = found.iter().zip(expected).all(|(a, b)| same(*a, *b) || (a - b).abs() < 1e-6);
                assert!(near, "{what}, {date}: {found:?}, not {expected:?}");
            }
        }
    }
}

fn bytes(first: [i8; 4]) -> Numbers {
    Numbers::Bytes([first.as_slice(), &[9; 12]].concat())
}

fn shorts(first: [i16; 4]) -> Numbers {
    Numbers::Shorts([first.as_slice(), &[9; 12]].concat())
}

fn floats(first: [f32; 4]) -> Numbers {
    Numbers::Floats([first.as_slice(), &[0.25; 12]].concat())
}

const NAN: f64 = f64::NAN;

#[test]
fn bytes_are_signed_unless_they_say_otherwise() {
    let scale = || ("scale_factor", Numbers::Doubles(vec![0.01]));
    let fill = |number: i8| ("_FillValue", Numbers::Bytes(vec![number]));
    let range = |low: i8, high: i8| ("valid_range", Numbers::Bytes(vec![low, high]));
    let unsigned = || ("_Unsigned", Numbers::Text("true"));
    Case::new(bytes([-70, 5, -1, 120]), &[scale()]).gives(&[-0.7, 0.05, -0.01, 1.2]);
    Case::new(bytes([-128, 5, -1, 127]), &[fill(-128), scale()]).gives(&[NAN, 0.05, -0.01, 1.27]);
    Case::new(bytes([-70, 5, -101, 101]), &[scale(), range(-100, 100)]).gives(&[-0.7, 0.05, NAN, NAN]);
    Case::new(bytes([-56, 5, -1, 120]), &[fill(-1), scale(), unsigned()]).gives(&[2.0, 0.05, NAN, 1.2]);
    // 0 to 250, as signed bytes.
    Case::new(bytes([-56, 5, -2, 120]), &[scale(), unsigned(), range(0, -6)]).gives(&[2.0, 0.05, NAN, 1.2]);
}

#[test]
fn each_bound_of_a_range_counts_alone() {
    let short = |key, number| (key, Numbers::Shorts(vec![number]));
    let scale = || ("scale_factor", Numbers::Doubles(vec![1e-4]));
    let numbers = || shorts([-5, 2000, 10_001, 30_000]);
    Case::new(numbers(), &[scale(), short("valid_max", 10_000)]).gives(&[-0.0005, 0.2, NAN, NAN]);
    Case::new(numbers(), &[scale(), short("valid_min", 0)]).gives(&[NAN, 0.2, 1.0001, 3.0]);
    let both = ("valid_range", Numbers::Shorts(vec![0, 10_001]));
    Case::new(numbers(), &[scale(), both]).gives(&[NAN, 0.2, 1.0001, NAN]);
    let float = |key, number| (key, Numbers::Floats(vec![number]));
    Case::new(floats([0.05, 0.2, 0.7, 0.71]), &[float("valid_min", 0.05), float("valid_max", 0.7)]).gives(&[
        f64::from(0.05_f32),
        f64::from(0.2_f32),
        f64::from(0.7_f32),
        NAN,
    ]);
    // Missing numbers are so beside a range, one or several.
    let missing = ("missing_value", Numbers::Shorts(vec![2000, 10_001]));
    Case::new(numbers(), &[("_FillValue", Numbers::Shorts(vec![-5])), missing, scale(), short("valid_max", 29_999)])
        .gives(&[NAN; 4]);
}

#[test]
fn a_range_of_other_numbers_than_those_stored_is_told() {
    let range = |low: f32, high: f32| ("valid_range", Numbers::Floats(vec![low, high]));
    let scale = || ("scale_factor", Numbers::Doubles(vec![1e-4]));
    for (numbers, attributes, odd) in [
        (floats([0.1, 0.2, 0.3, 0.4]), vec![range(0.0, 10_000.0)], true),
        (floats([0.1, 0.2, 0.3, 0.4]), vec![range(0.0, 1.0)], false),
        (shorts([1000, 2000, 1, 0]), vec![range(0.0, 1.0), scale()], true),
        (shorts([1000, 2000, 1, 0]), vec![range(0.0, 10_000.0), scale()], false),
    ] {
        let case = Case::new(numbers, &attributes);
        for (what, source) in case.sources() {
            let warnings = source.warnings();
            assert_eq!(warnings.len(), usize::from(odd), "{what}: {warnings:?}");
            if odd {
                assert_says(&warnings[0], &["valid_range", "looks like that of other numbers", "remove the attribute"]);
            }
        }
    }
}

/// A file of HDF5 whose header is sound, and whose values are damaged.
fn damaged(path: &Path) {
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f64
    };
    let values = Array3::from_shape_fn((1, 64, 64), |_| noise());
    let grid = Grid::new(Crs::unknown(), target().geotransform(), (64, 64)).unwrap();
    let plain = path.with_extension("tif");
    Tiff { crs: Some("EPSG:32633"), sample: Sample::I32, ..Tiff::new(&grid, values.view()) }.write(&plain);
    let netcdf = DriverManager::get_driver_by_name("netCDF").unwrap();
    let options: RasterCreationOptions = ["FORMAT=NC4", "COMPRESS=DEFLATE"].into_iter().collect();
    gdal::Dataset::open(&plain).unwrap().create_copy(&netcdf, path, &options).unwrap().close().unwrap();
    fs::remove_file(plain).unwrap();
    let mut bytes = fs::read(path).unwrap();
    // A chunk of many is deflated noise; what describes the file is smaller than a third of it.
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0x55);
    fs::write(path, bytes).unwrap();
}

/// HDF5 prints its errors by itself, on each thread: they become part of the error, and stderr is that of the user.
#[test]
fn what_hdf5_says_while_it_reads_is_part_of_the_error_and_stderr_stays() {
    let folder = TempDir::new().unwrap();
    damaged(&folder.path().join("a_20240101.nc"));
    let text = "[target]\ncrs = \"EPSG:32633\"\ngeotransform = [500000.0, 30.0, 0.0, 5100000.0, 0.0, -30.0]\nshape = [64, 64]\n\
                bands = [\"red\"]\n[process]\nkernel = \"none\"\nvariance = 1e-4\n[prior]\nmean = 0.2\nvariance = 1.0\n\
                [[instrument]]\nname = \"one\"\nfiles = \"a_*.nc\"\ndate = '_(\\d{8})'\nbands = [\"red\"]\nnoise_variance = 1e-6\n\
                REPROJECT\n[output]\nstore = \"fused.zarr\"\n[run]\nmemory = \"1GiB\"\n";
    for reproject in ["", "reproject = \"bilinear\""] {
        fs::write(folder.path().join("fusion.toml"), text.replace("REPROJECT", reproject)).unwrap();
        let output = support::program("fuse").arg("fusion.toml").current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_says(&said, &["a_20240101.nc", "2024-01-01", "HDF5 says: "]);
        assert!(!said.contains("HDF5-DIAG") && !said.contains("#000"), "{said}");
        fs::remove_dir_all(folder.path().join("fused.zarr")).unwrap();
        fs::remove_dir_all(folder.path().join("fused.zarr.state")).unwrap();
    }

    let stderr = || fs::read_link("/proc/self/fd/2").unwrap();
    let (own, done) = (stderr(), AtomicBool::new(false));
    fs::write(folder.path().join("b_20240101.h5"), &fs::read(folder.path().join("a_20240101.nc")).unwrap()[..4000])
        .unwrap();
    std::thread::scope(|scope| {
        let looks = scope.spawn(|| {
            let mut looks = 0;
            let started = Instant::now();
            while !done.load(Ordering::Relaxed) && started.elapsed() < Duration::from_secs(50) {
                assert_eq!(stderr(), own);
                looks += 1;
            }
            looks
        });
        let opens = || {
            for _ in 0..20 {
                let stack = RasterStack::builder("b_*.h5", r"_(\d{8})").folder(folder.path());
                assert_says(&refusal(stack.open()), &["b_20240101.h5", "HDF5 says: truncated file"]);
                let stack = RasterStack::builder("a_*.nc", r"_(\d{8})").folder(folder.path()).open().unwrap();
                let read = stack.read(day(0), &[0], &stack.grid().region());
                assert_says(&refusal(read), &["a_20240101.nc", "HDF5 says: "]);
            }
        };
        std::thread::scope(|readers| (0..3).for_each(|_| drop(readers.spawn(opens))));
        done.store(true, Ordering::Relaxed);
        assert!(looks.join().unwrap() > 0);
    });
}
