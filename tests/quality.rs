//! Quality rasters hide the same pixels whatever region is read: across tiles, resolutions and granules.
#![cfg(feature = "gdal")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

mod support;

use std::path::Path;

use ndarray::{Array2, Axis};
use proptest::prelude::*;
use rasterfuse::geometry::{Crs, Grid, PixelRegion};
use rasterfuse::source::{Quality, RasterSource, RasterStack};
use support::{Missing, Sample, Tiff, assert_says, day};
use tempfile::TempDir;

/// Writes a raster whose corner lies (rows, columns) of 10 m below and right of the origin.
fn write(folder: &Path, name: &str, cell: f64, at: (f64, f64), values: &Array2<f64>, sample: Sample, missing: Missing) {
    let transform = [at.1 * 10.0, cell, 0.0, -at.0 * 10.0, 0.0, -cell];
    let grid = Grid::new(Crs::unknown(), transform, values.dim()).unwrap();
    let values = values.clone().insert_axis(Axis(0));
    Tiff { sample, missing, ..Tiff::new(&grid, values.view()) }.write(&folder.join(name));
}

const SHAPE: (usize, usize) = (24, 30);

/// Data of 10 m and clouds that fill a few cells of a quality raster of `cell` m.
fn world(cell: f64, shape: (usize, usize), clouds: &[(usize, usize)]) -> (TempDir, Array2<f64>) {
    let folder = TempDir::new().unwrap();
    let data = Array2::from_shape_fn(SHAPE, |(r, c)| (1 + 31 * r + c) as f64);
    write(folder.path(), "x_20240101.tif", 10.0, (0.0, 0.0), &data, Sample::I16, Missing::Nan);
    let mut quality = Array2::zeros(shape);
    for cell in clouds {
        quality[*cell] = 8.0;
    }
    write(folder.path(), "q_20240101.tif", cell, (0.0, 0.0), &quality, Sample::U8, Missing::Nodata(255.0));
    (folder, quality)
}

fn stack(folder: &Path, rule: Quality) -> RasterStack {
    RasterStack::builder("x_*.tif", r"x_(\d{8})").folder(folder).quality(rule).open().unwrap()
}

fn hidden(stack: &RasterStack, region: &PixelRegion) -> Array2<bool> {
    stack.read(day(0), &[0], region).unwrap().values.index_axis(Axis(0), 0).mapv(f64::is_nan)
}

/// The slow twin: a pixel is hidden when any quality cell that it meets lies within `radius` cells of a cloud.
fn twin(quality: &Array2<f64>, ratio: f64, radius: usize) -> Array2<bool> {
    Array2::from_shape_fn(SHAPE, |(row, col)| {
        quality.indexed_iter().any(|((r, c), _)| {
            let meets = |pixel: usize, cell: usize| {
                (pixel as f64) < (cell + 1) as f64 * ratio && ((pixel + 1) as f64) > cell as f64 * ratio
            };
            meets(row, r)
                && meets(col, c)
                && quality.indexed_iter().any(|((a, b), value)| {
                    *value == 8.0 && a.abs_diff(r).pow(2) + b.abs_diff(c).pow(2) <= radius * radius
                })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_region_hides_what_the_slow_twin_does(
        kind in 0_usize..3,
        radius in 0_usize..6,
        clouds in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 0..5),
        corners in prop::array::uniform4(0.0..1.0_f64),
    ) {
        // Quality as fine as the data, coarser, finer.
        let (cell, shape) = [(10.0, (24, 30)), (20.0, (12, 15)), (5.0, (48, 60))][kind];
        let place = |f: f64, n: usize| ((f * n as f64) as usize).min(n - 1);
        let clouds: Vec<_> = clouds.iter().map(|(r, c)| (place(*r, shape.0), place(*c, shape.1))).collect();
        let (folder, quality) = world(cell, shape, &clouds);
        let stack = stack(folder.path(), Quality::files("q_*.tif").bits([3]).dilate(radius));
        let range = |a: f64, b: f64, n: usize| {
            let (a, b) = ((a * n as f64) as usize, (b * (n + 1) as f64) as usize);
            a.min(b)..a.max(b)
        };
        let region = PixelRegion::new(range(corners[0], corners[1], SHAPE.0), range(corners[2], corners[3], SHAPE.1));
        let expected = twin(&quality, cell / 10.0, radius);
        let found = hidden(&stack, &region);
        for ((row, col), hidden) in found.indexed_iter() {
            prop_assert_eq!(*hidden, expected[(region.rows.start + row, region.cols.start + col)], "{} {}", row, col);
        }
    }
}

#[test]
fn a_cloud_beyond_the_region_reaches_into_it() {
    let (folder, _) = world(10.0, SHAPE, &[(10, 15)]);
    let stack = stack(folder.path(), Quality::files("q_*.tif").bits([3]).dilate(3));
    // Tiles on all sides of the cloud, none of which holds it.
    for (region, count) in [
        (PixelRegion::new(0..10, 0..30), 5 + 5 + 1),
        (PixelRegion::new(11..24, 0..30), 5 + 5 + 1),
        (PixelRegion::new(10..11, 0..15), 3),
        (PixelRegion::new(10..11, 16..30), 3),
    ] {
        assert_eq!(hidden(&stack, &region).iter().filter(|hidden| **hidden).count(), count, "{region:?}");
    }
}

#[test]
fn pixels_without_quality_are_missing_and_several_rules_add_up() {
    let (folder, mut quality) = world(10.0, SHAPE, &[(2, 2)]);
    quality[(5, 5)] = 255.0; // no quality
    quality[(7, 7)] = 64.0 + 128.0; // aerosol
    quality[(8, 8)] = 64.0;
    let cut = quality.slice(ndarray::s![0..20, ..]).to_owned();
    write(folder.path(), "q_20240101.tif", 10.0, (0.0, 0.0), &cut, Sample::U8, Missing::Nodata(255.0));
    let clouds = Quality::files("q_*.tif").bits([3]).dilate(1);
    let count = |stack: &RasterStack| hidden(stack, &stack.grid().region()).iter().filter(|hidden| **hidden).count();
    let beyond = 4 * SHAPE.1;
    assert_eq!(count(&stack(folder.path(), clouds.clone())), 5 + 1 + beyond);
    let both = RasterStack::builder("x_*.tif", r"x_(\d{8})").folder(folder.path()).quality(clouds);
    let both = both.quality(Quality::files("q_*.tif").field(6..=7, [3])).open().unwrap();
    assert_eq!(count(&both), 5 + 1 + 1 + beyond);
    let settings = both.settings();
    let rule = |key: &str| settings.iter().find(|(held, _)| held == key).unwrap().1.clone();
    assert_says(&rule("quality"), &["bits [3]", "dilate 1"]);
    assert_says(&rule("quality.2"), &["6-7", "[3]"]);
}

#[test]
fn rules_that_cannot_work_are_refused() {
    let (folder, _) = world(10.0, SHAPE, &[]);
    let refused = |rule: Quality| {
        RasterStack::builder("x_*.tif", r"x_(\d{8})")
            .folder(folder.path())
            .quality(rule)
            .open()
            .unwrap_err()
            .to_string()
    };
    assert_says(&refused(Quality::files("q_*.tif")), &["quality", "hides nothing", "`bits`"]);
    assert_says(
        &refused(Quality::files("q_*.tif").layer(2).bits([1])),
        &["quality.layer", "q_20240101.tif", "1 bands"],
    );
    assert_says(&refused(Quality::band("QA").bits([1])), &["quality.band", "QA", "x_20240101.tif"]);
    assert_says(&refused(Quality::files("none_*.tif").bits([1])), &["quality: no file matches", "none_*.tif"]);
    let thirds = Array2::zeros((80, 100));
    write(folder.path(), "q_20240101.tif", 3.0, (0.0, 0.0), &thirds, Sample::U8, Missing::Nan);
    assert_says(&refused(Quality::files("q_*.tif").bits([1])), &["q_20240101.tif", "2024-01-01", "neither divide"]);
    let halves = Array2::from_elem(SHAPE, 0.5);
    write(folder.path(), "q_20240101.tif", 10.0, (0.0, 0.0), &halves, Sample::F32, Missing::Nan);
    let stack = stack(folder.path(), Quality::files("q_*.tif").bits([1]));
    let error = stack.read(day(0), &[0], &stack.grid().region()).unwrap_err().to_string();
    assert_says(&error, &["q_20240101.tif", "2024-01-01", "0.5", "not an integer", "`keep`"]);
}
