//! Rasters on other grids and in other CRS, read on the target's lines: every value where it belongs on the ground.
#![cfg(feature = "gdal")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use gdal::spatial_ref::{AxisMappingStrategy, CoordTransform, SpatialRef};
use ndarray::{Array3, Array4};
use rasterfuse::geometry::{Grid, PixelRegion};
use rasterfuse::source::gdal::crs_from_definition;
use rasterfuse::source::{Quality, RasterSeries, RasterSource, RasterStack, Resampling, StackBuilder};
use support::{Missing, Sample, Tiff, Truth, assert_says, day, same};
use tempfile::TempDir;

const UTM33: &str = "EPSG:32633";
const UTM34: &str = "EPSG:32634";
const GEOGRAPHIC: &str = "EPSG:4326";

const KINDS: [Resampling; 4] = [Resampling::Nearest, Resampling::Bilinear, Resampling::Cubic, Resampling::Average];

/// At 18.4° E, where the grids of zones 33 and 34 are turned against each other by five degrees.
const LEFT: f64 = 763_200.0;
const TOP: f64 = 5_101_500.0;

/// 30 m in zone 33.
fn target() -> Grid {
    Grid::new(crs_from_definition(UTM33).unwrap(), [LEFT, 30.0, 0.0, TOP, 0.0, -30.0], (60, 80)).unwrap()
}

/// From one CRS to another, x before y.
struct Way(CoordTransform);

impl Way {
    fn new(from: &str, to: &str) -> Self {
        let reference = |definition| {
            let mut reference = SpatialRef::from_definition(definition).unwrap();
            reference.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
            reference
        };
        Self(CoordTransform::new(&reference(from), &reference(to)).unwrap())
    }

    fn go(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let (mut x, mut y) = ([x], [y]);
        self.0.transform_coords(&mut x, &mut y, &mut []).unwrap();
        (x[0], y[0])
    }
}

/// The truth on the ground, in coordinates of zone 33: waves of 1.5 and 2.1 km.
fn waves((x, y): (f64, f64)) -> f64 {
    let (x, y) = (x - LEFT, y - TOP);
    let phase = |length: f64| std::f64::consts::TAU / length;
    (phase(1500.0) * (0.8 * x + 0.6 * y)).sin() + (phase(2100.0) * (0.3 * x - 0.95 * y) + 1.0).cos()
}

fn plane((x, y): (f64, f64)) -> f64 {
    0.01 * (x - LEFT) - 0.02 * (y - TOP) + 100.0
}

/// A grid in any CRS whose pixels of this size cover the target with some to spare.
fn covering(crs: &'static str, (width, height): (f64, f64)) -> Grid {
    let way = Way::new(UTM33, crs);
    let extent = target().extent();
    let xs = [extent.left, extent.right].into_iter();
    let corners: Vec<_> = xs.flat_map(|x| [extent.bottom, extent.top].map(|y| way.go((x, y)))).collect();
    let most =
        |pick: fn(&(f64, f64)) -> f64, sign: f64| corners.iter().map(|c| sign * pick(c)).fold(f64::MIN, f64::max);
    let (left, right) = (-most(|c| c.0, -1.0) - 4.3 * width, most(|c| c.0, 1.0) + 4.0 * width);
    let (bottom, top) = (-most(|c| c.1, -1.0) - 4.0 * height, most(|c| c.1, 1.0) + 4.7 * height);
    let shape = (((top - bottom) / height).ceil() as usize, ((right - left) / width).ceil() as usize);
    Grid::new(crs_from_definition(crs).unwrap(), [left, width, 0.0, top, 0.0, -height], shape).unwrap()
}

/// A field at the true places of a grid's pixel centres.
fn sampled(grid: &Grid, crs: &str, field: fn((f64, f64)) -> f64) -> Array3<f64> {
    let way = Way::new(crs, UTM33);
    Array3::from_shape_fn((1, grid.rows(), grid.cols()), |(_, row, col)| {
        field(way.go(grid.centre(row as i64, col as i64)))
    })
}

fn stack(folder: &Path) -> StackBuilder {
    RasterStack::builder("*.tif", r"_(\d{4}-\d\d-\d\d)").folder(folder).date_format("%Y-%m-%d")
}

fn named(folder: &TempDir, k: i32) -> PathBuf {
    folder.path().join(format!("scene_{}.tif", day(k)))
}

/// The only raster of a folder.
fn write(grid: &Grid, crs: &'static str, values: Array3<f64>, tiff: impl FnOnce(Tiff) -> Tiff) -> TempDir {
    let folder = TempDir::new().unwrap();
    let plain = Tiff { crs: Some(crs), ..Tiff::new(grid, values.view()) };
    tiff(plain).write(&named(&folder, 0));
    folder
}

/// Largest difference between what a source reads on the target and a field at the centres of its pixels, and the number of missing values.
fn difference(source: &RasterStack, field: impl Fn((f64, f64)) -> f64) -> (f64, usize) {
    let target = target();
    let grid = source.grid();
    let slice = source.read(day(0), &[0], &grid.region()).unwrap();
    let extent = target.extent();
    let mut largest = 0.0_f64;
    let mut missing = 0;
    for ((_, row, col), value) in slice.values.indexed_iter() {
        let (x, y) = grid.centre(row as i64, col as i64);
        if (extent.left..extent.right).contains(&x) && (extent.bottom..extent.top).contains(&y) {
            if value.is_nan() {
                missing += 1;
            } else {
                largest = largest.max((value - field((x, y))).abs());
            }
        }
    }
    (largest, missing)
}

/// The rasters of the half-pixel test: pixels of about 30 m that lie across the target's cells.
fn oblique() -> Vec<(&'static str, &'static str, Grid)> {
    let shifted =
        Grid::new(target().crs().clone(), [LEFT - 105.0, 30.0, 0.0, TOP + 75.0, 0.0, -30.0], (68, 89)).unwrap();
    vec![
        ("half a cell off", UTM33, shifted),
        ("another zone", UTM34, covering(UTM34, (30.0, 30.0))),
        ("geographic", GEOGRAPHIC, covering(GEOGRAPHIC, (0.000_388, 0.000_270))),
    ]
}

/// What each way may be off at most where pixels of 30 m sample the waves: half a pixel's diagonal times the slope, and the errors of
/// interpolation. Half a pixel would be off by more than twenty times as much in the latter.
fn tolerance(resampling: Resampling) -> f64 {
    match resampling {
        Resampling::Nearest | Resampling::Average => 0.155,
        Resampling::Bilinear => 0.006,
        _ => 0.002,
    }
}

fn assert_true_places(what: &str, source: impl Fn(Resampling) -> RasterStack) {
    for resampling in KINDS {
        let source = source(resampling);
        assert_eq!(source.grid().cell_size(), (30.0, 30.0), "{what}");
        assert!(target().lattice_offset(source.grid()).is_some(), "{what}: {}", source.grid());
        let (error, missing) = difference(&source, waves);
        println!("{what}, {resampling:?}: {error:.5}");
        assert_eq!(missing, 0, "{what}, {resampling:?}");
        assert!(error <= tolerance(resampling), "{what}, {resampling:?}: off by {error}");
        // The test can tell: the same values half a pixel away.
        if matches!(resampling, Resampling::Bilinear | Resampling::Cubic) {
            for (dx, dy) in [(15.0, 0.0), (0.0, 15.0), (-15.0, 0.0), (0.0, -15.0)] {
                let (error, _) = difference(&source, |(x, y)| waves((x + dx, y + dy)));
                assert!(error > 6.0 * tolerance(resampling), "{what}, {resampling:?}: {error} half a pixel away");
            }
        }
    }
}

#[test]
fn values_lie_where_they_belong_whatever_the_grid_and_crs() {
    for (what, crs, grid) in oblique() {
        for sample in [Sample::F32, Sample::F64] {
            let folder = write(&grid, crs, sampled(&grid, crs, waves), |tiff| Tiff { sample, ..tiff });
            assert_true_places(what, |resampling| stack(folder.path()).onto(&target(), resampling).open().unwrap());
        }
    }
}

/// World files, and GeoTIFFs whose pixels are points, give the centre of the first pixel.
#[test]
fn an_origin_that_is_a_centre_is_taken_for_one() {
    let grid = oblique().remove(0).2;
    let values = sampled(&grid, UTM33, waves);
    let (x, y) = grid.centre(0, 0);

    let folder = write(&grid, UTM33, values.clone(), |tiff| Tiff { geotransform: None, ..tiff });
    fs::write(named(&folder, 0).with_extension("tfw"), format!("30\n0\n0\n-30\n{x}\n{y}\n")).unwrap();
    assert_true_places("world file", |resampling| stack(folder.path()).onto(&target(), resampling).open().unwrap());

    let folder = write(&grid, UTM33, values, |tiff| Tiff { point: true, ..tiff });
    let path = named(&folder, 0);
    let stored = || gdal::Dataset::open(&path).unwrap().geo_transform().unwrap();
    gdal::config::set_thread_local_config_option("GTIFF_POINT_GEO_IGNORE", "YES").unwrap();
    let as_written = stored();
    gdal::config::clear_thread_local_config_option("GTIFF_POINT_GEO_IGNORE").unwrap();
    assert_eq!((as_written[0], as_written[3]), (x, y), "the file gives a centre");
    assert_true_places("pixel is point", |resampling| stack(folder.path()).onto(&target(), resampling).open().unwrap());
}

#[test]
fn planes_are_exact_between_pixels() {
    let (_, _, grid) = oblique().remove(0);
    let folder = write(&grid, UTM33, sampled(&grid, UTM33, plane), |tiff| tiff);
    for resampling in [Resampling::Bilinear, Resampling::Cubic] {
        let source = stack(folder.path()).onto(&target(), resampling).open().unwrap();
        let (error, missing) = difference(&source, plane);
        assert!(error < 1e-9 && missing == 0, "{resampling:?}: {error}, {missing} missing");
    }
    // The documented error of a place is a hundredth of a pixel; across the zones planes of one are all but planes of the other.
    let (_, _, grid) = oblique().remove(1);
    let folder = write(&grid, UTM34, sampled(&grid, UTM34, plane), |tiff| tiff);
    let source = stack(folder.path()).onto(&target(), Resampling::Bilinear).open().unwrap();
    let (error, missing) = difference(&source, plane);
    let slope_per_pixel = 30.0 * (0.01 + 0.02);
    assert!(error < 0.01 * slope_per_pixel && missing == 0, "{error}, {missing} missing");
}

#[test]
fn integers_are_interpolated_before_scale_and_offset_apply_and_not_rounded() {
    let (_, _, grid) = oblique().remove(0);
    // Whole numbers at the pixels, halves and quarters between them.
    let steps = |(x, y): (f64, f64)| ((x - LEFT) / 30.0 - 0.5).mul_add(3.0, (TOP - y) / 30.0) + 1000.0;
    let stored = sampled(&grid, UTM33, |(x, y)| {
        let value = ((x - LEFT) / 30.0 - 0.5).mul_add(3.0, (TOP - y) / 30.0) + 1000.0;
        (value * 2.0).round() / 2.0
    })
    .mapv(|value| value * 2.0);
    assert!(stored.iter().all(|value| value.fract() == 0.0));
    let folder = write(&grid, UTM33, stored, |tiff| Tiff { sample: Sample::I16, scale: Some((0.5, -1000.0)), ..tiff });
    let source = stack(folder.path()).onto(&target(), Resampling::Bilinear).open().unwrap();
    let (error, missing) = difference(&source, |place| steps(place) - 1000.0);
    assert!(error < 1e-9 && missing == 0, "{error}, {missing} missing");
    let source = stack(folder.path()).onto(&target(), Resampling::Bilinear).scale(1.0).offset(0.0).open().unwrap();
    let (error, _) = difference(&source, |place| 2.0 * steps(place));
    assert!(error < 1e-9, "{error}");
}

/// A hole of 10 x 10 pixels, in each way that a file can say so.
#[test]
fn missing_values_never_bleed_into_others() {
    let (_, _, grid) = oblique().remove(0);
    let mut values = sampled(&grid, UTM33, plane);
    values.slice_mut(ndarray::s![0, 20..30, 40..50]).fill(f64::NAN);
    let slope_per_pixel = 30.0 * (0.01 + 0.02);
    let ways = [
        (Sample::F32, Missing::Nan),
        (Sample::F32, Missing::Nodata(-9999.0)),
        (Sample::F64, Missing::Nodata(-1e30)),
        (Sample::I16, Missing::Nodata(-32_768.0)),
        (Sample::F32, Missing::Mask),
        (Sample::F32, Missing::Alpha),
    ];
    for (sample, missing) in ways {
        let folder = write(&grid, UTM33, values.clone(), |tiff| Tiff { sample, missing, ..tiff });
        for resampling in KINDS {
            let source = stack(folder.path()).onto(&target(), resampling).open().unwrap();
            let (error, holes) = difference(&source, plane);
            let rounding = if matches!(sample, Sample::I16) { 1.0 } else { 0.0 };
            println!("{sample:?} {missing:?} {resampling:?}: {error:.3}, {holes} missing");
            assert!(error < slope_per_pixel + rounding, "{sample:?} {missing:?} {resampling:?}: {error}");
            assert!((81..=121).contains(&holes), "{sample:?} {missing:?} {resampling:?}: {holes} missing");
        }
    }
}

/// On the file's own lines nothing changes, whatever the type and the way to say that a value is missing.
#[test]
fn on_its_own_lines_a_raster_keeps_its_values() {
    let grid = Grid::new(crs_from_definition(UTM33).unwrap(), [LEFT, 30.0, 0.0, TOP, 0.0, -20.0], (70, 90)).unwrap();
    let mut truth = Truth::new(grid.clone(), 1, &["red", "nir", "swir"]);
    let by_pixel = {
        let mut truth = truth.clone();
        let first = truth.values.index_axis(ndarray::Axis(1), 0).to_owned();
        for ((t, _, r, c), value) in truth.values.indexed_iter_mut() {
            *value = if first[(t, r, c)].is_nan() {
                f64::NAN
            } else if value.is_nan() {
                77.0
            } else {
                *value
            };
        }
        truth
    };
    for (sample, missing) in [
        (Sample::U8, Missing::Nodata(0.0)),
        (Sample::U8, Missing::Nodata(255.0)),
        (Sample::I16, Missing::Nodata(-9999.0)),
        (Sample::I32, Missing::Nodata(f64::from(i32::MIN))),
        (Sample::I64, Missing::Nodata(-9999.0)),
        (Sample::F32, Missing::Nodata(f64::from(f32::MIN))),
        (Sample::F32, Missing::Nodata(0.1)),
        (Sample::F32, Missing::Nan),
        (Sample::F64, Missing::Nodata(f64::MIN)),
        (Sample::F64, Missing::Nan),
        (Sample::U8, Missing::Mask),
        (Sample::F32, Missing::Mask),
        (Sample::U16, Missing::Alpha),
        (Sample::U8, Missing::Together(251.0)),
    ] {
        let truth =
            if matches!(missing, Missing::Mask | Missing::Alpha | Missing::Together(_)) { &by_pixel } else { &truth };
        let folder = TempDir::new().unwrap();
        let values = truth.values.index_axis(ndarray::Axis(0), 0);
        let tiff = Tiff { crs: Some(UTM33), sample, missing, names: truth.bands.clone(), ..Tiff::new(&grid, values) };
        tiff.write(&named(&folder, 0));
        for resampling in [Resampling::Nearest, Resampling::Average] {
            let source = stack(folder.path()).onto(&grid, resampling).open().unwrap();
            // Two pixels more on each side.
            assert_eq!(grid.lattice_offset(source.grid()), Some((-2, -2)));
            assert_eq!(source.bands()[..3], truth.bands);
            for region in [grid.region(), PixelRegion::new(3..69, 61..89), PixelRegion::new(69..70, 0..1)] {
                let within = PixelRegion::new(
                    region.rows.start + 2..region.rows.end + 2,
                    region.cols.start + 2..region.cols.end + 2,
                );
                let read = source.read(day(0), &[2, 0, 1], &within).unwrap().values;
                for ((band, row, col), value) in read.indexed_iter() {
                    let expected = values[([2, 0, 1][band], region.rows.start + row, region.cols.start + col)];
                    assert!(same(*value, expected), "{sample:?} {missing:?} {resampling:?}: {value} for {expected}");
                }
            }
        }
    }
    // Numbers that float32 cannot hold.
    truth.values.mapv_inplace(|value| value * 8_388_593.0 + 1.0);
    let folder = TempDir::new().unwrap();
    let values = truth.values.index_axis(ndarray::Axis(0), 0);
    let missing = Missing::Nodata(-1.0);
    Tiff { crs: Some(UTM33), sample: Sample::I32, missing, ..Tiff::new(&grid, values) }.write(&named(&folder, 0));
    let read = stack(folder.path()).onto(&grid, Resampling::Nearest).open().unwrap();
    let within = PixelRegion::new(2..grid.rows() + 2, 2..grid.cols() + 2);
    let read = read.read(day(0), &[0, 1, 2], &within).unwrap().values;
    assert!(read.iter().zip(values).all(|(a, b)| same(*a, *b)));
}

#[test]
fn finer_pixels_are_averaged_by_area() {
    let grid = Grid::new(target().crs().clone(), [LEFT - 30.0, 10.0, 0.0, TOP + 60.0, 0.0, -10.0], (200, 260)).unwrap();
    let noise = Array3::from_shape_fn((1, 200, 260), |(_, r, c)| ((r * 7919 + c * 104_729) % 1000) as f64);
    let folder = write(&grid, UTM33, noise.clone(), |tiff| tiff);
    let source = stack(folder.path()).onto(&target(), Resampling::Average).open().unwrap();
    assert_eq!(source.grid().cell_size(), (30.0, 30.0));
    let read = source.read(day(0), &[0], &source.grid().region()).unwrap().values;
    let (row, col) = target().lattice_offset(source.grid()).unwrap();
    for ((_, r, c), value) in read.indexed_iter() {
        // The first cell of the target begins six rows and three columns into the raster.
        let (first_row, first_col) = ((row + r as i64) * 3 + 6, (col + c as i64) * 3 + 3);
        let Ok((top, left)) = usize::try_from(first_row).and_then(|r| Ok((r, usize::try_from(first_col)?))) else {
            continue;
        };
        if top + 3 <= 200 && left + 3 <= 260 {
            let mean = noise.slice(ndarray::s![0, top..top + 3, left..left + 3]).mean().unwrap();
            assert!((value - mean).abs() < 1e-9, "{value} for {mean}");
        }
    }
}

#[test]
fn coarse_geographic_pixels_become_whole_numbers_of_cells_about_as_large() {
    // 388 m x 400 m, or 12.9 x 13.3 cells.
    let grid = covering(GEOGRAPHIC, (0.005, 0.0036));
    let folder = write(&grid, GEOGRAPHIC, sampled(&grid, GEOGRAPHIC, plane), |tiff| tiff);
    let source = stack(folder.path()).onto(&target(), Resampling::Bilinear).open().unwrap();
    assert_eq!(source.grid().cell_size(), (13.0 * 30.0, 13.0 * 30.0));
    let (rows, cols) = (target().rows_under(source.grid()), target().cols_under(source.grid()));
    assert!(rows.iter().chain(&cols).all(|cells| cells.end - cells.start == 13));
    // They cover the target, and little beside.
    assert!(
        rows[0].start <= 0 && rows[rows.len() - 1].end >= 60 && cols[0].start <= 0 && cols[cols.len() - 1].end >= 80
    );
    assert!(rows.len() <= 10 && cols.len() <= 12, "{} x {}", rows.len(), cols.len());
    let (error, missing) = difference(&source, plane);
    assert!(error < 0.01 * 390.0 * 0.03 && missing == 0, "{error}, {missing} missing");
}

#[test]
fn the_whole_earth_is_cut_to_the_target() {
    let crs = crs_from_definition(GEOGRAPHIC).unwrap();
    let grid = Grid::new(crs, [-180.0, 0.5, 0.0, 90.0, 0.0, -0.5], (360, 720)).unwrap();
    let values = Array3::from_shape_fn((1, 360, 720), |(_, r, c)| (r * 1000 + c) as f64);
    let folder = write(&grid, GEOGRAPHIC, values, |tiff| tiff);
    let source = stack(folder.path()).onto(&target(), Resampling::Nearest).open().unwrap();
    assert!(source.grid().rows() <= 6 && source.grid().cols() <= 6, "{}", source.grid());
    // 18.4° E, 46° N
    let (rows, cols) = (target().rows_under(source.grid()), target().cols_under(source.grid()));
    let row = rows.iter().position(|cells| cells.contains(&30)).unwrap();
    let col = cols.iter().position(|cells| cells.contains(&40)).unwrap();
    let value = source.read(day(0), &[0], &PixelRegion::new(row..row + 1, col..col + 1)).unwrap().values[(0, 0, 0)];
    let (x, y) = Way::new(UTM33, GEOGRAPHIC).go(source.grid().centre(row as i64, col as i64));
    assert_eq!(value, ((90.0 - y) / 0.5).floor() * 1000.0 + ((x + 180.0) / 0.5).floor());
}

#[test]
fn any_region_is_part_of_the_whole_and_many_threads_read_at_once() {
    let (_, _, grid) = oblique().remove(1);
    let values = sampled(&grid, UTM34, waves);
    let stacked = ndarray::concatenate![ndarray::Axis(0), values, &values * 2.0, &values + 5.0];
    let folder = TempDir::new().unwrap();
    for k in 0..3 {
        let values = &stacked + f64::from(k);
        Tiff { crs: Some(UTM34), ..Tiff::new(&grid, values.view()) }.write(&named(&folder, k));
    }
    let source = stack(folder.path()).onto(&target(), Resampling::Cubic).open().unwrap();
    let (rows, cols) = source.grid().shape();
    let whole: Vec<_> =
        (0..3).map(|k| source.read(day(k), &[0, 1, 2], &source.grid().region()).unwrap().values).collect();
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let (source, whole) = (&source, &whole);
            scope.spawn(move || {
                for k in 0..40_usize {
                    let (row, col) = ((k * 13 + thread * 5) % rows, (k * 29 + thread * 3) % cols);
                    let region = PixelRegion::new(row..(row + 17).min(rows), col..(col + 23).min(cols));
                    let date = (k + thread) % 3;
                    let read = source.read(day(date as i32), &[2, 0], &region).unwrap().values;
                    for ((band, r, c), value) in read.indexed_iter() {
                        let expected = whole[date][([2, 0][band], row + r, col + c)];
                        assert!(same(*value, expected), "thread {thread}");
                    }
                }
            });
        }
    });
}

#[test]
fn dates_may_differ_in_grid_and_crs_but_not_in_pixel_size() {
    let folder = TempDir::new().unwrap();
    for (k, (_, crs, grid)) in oblique().into_iter().enumerate() {
        let values = sampled(&grid, crs, waves);
        Tiff { crs: Some(crs), ..Tiff::new(&grid, values.view()) }.write(&named(&folder, k as i32));
    }
    let source = stack(folder.path()).onto(&target(), Resampling::Cubic).open().unwrap();
    let region = source.grid().region();
    let inside = |k: i32| source.read(day(k), &[0], &region).unwrap().values;
    let (a, b, c) = (inside(0), inside(1), inside(2));
    let both = |x: f64, y: f64| x.is_nan() || y.is_nan() || (x - y).abs() < 2.0 * tolerance(Resampling::Cubic);
    assert!(a.iter().zip(&b).zip(&c).all(|((a, b), c)| both(*a, *b) && both(*a, *c)));

    let coarse = covering(UTM34, (90.0, 90.0));
    let values = sampled(&coarse, UTM34, waves);
    Tiff { crs: Some(UTM34), ..Tiff::new(&coarse, values.view()) }.write(&named(&folder, 3));
    let message = stack(folder.path()).onto(&target(), Resampling::Cubic).open().unwrap_err().to_string();
    assert_says(&message, &["reproject", "2024-01-04", "3 x 3", "1 x 1", "instrument of each size"]);
}

#[test]
fn rasters_that_do_not_reach_the_target_or_have_no_crs_are_refused() {
    let away = Grid::new(target().crs().clone(), [LEFT + 1e5, 30.0, 0.0, TOP, 0.0, -30.0], (60, 80)).unwrap();
    let refused = |crs: Option<&'static str>, grid: &Grid| {
        let folder = TempDir::new().unwrap();
        Tiff { crs, ..Tiff::new(grid, Array3::zeros((1, 60, 80)).view()) }.write(&named(&folder, 0));
        stack(folder.path()).onto(&target(), Resampling::Bilinear).open().unwrap_err().to_string()
    };
    assert_says(&refused(Some(UTM33), &away), &["reproject", "763200", "take the instrument out"]);
    assert_says(&refused(Some(UTM34), &target()), &["reproject", "take the instrument out"]);
    assert_says(&refused(None, &target()), &["scene_2024-01-01.tif", "no CRS", "EPSG:32633", "gdal_edit.py -a_srs"]);
}

#[test]
fn damaged_files_and_missing_ones_are_named() {
    let (_, _, grid) = oblique().remove(1);
    let folder = write(&grid, UTM34, sampled(&grid, UTM34, waves), |tiff| tiff);
    let source = stack(folder.path()).onto(&target(), Resampling::Bilinear).open().unwrap();
    let path = named(&folder, 0);
    support::truncate(&path, 9000);
    let message = source.read(day(0), &[0], &source.grid().region()).unwrap_err().to_string();
    assert_says(&message, &[path.to_str().unwrap(), "2024-01-01", "band1", "replace it"]);
    fs::remove_file(&path).unwrap();
    let source = source.read(day(0), &[0], &source.grid().region());
    assert_says(&source.unwrap_err().to_string(), &[path.to_str().unwrap(), "2024-01-01"]);
}

#[test]
fn views_tell_their_blocks_memory_and_resampling() {
    let (_, _, grid) = oblique().remove(1);
    let folder = write(&grid, UTM34, sampled(&grid, UTM34, waves), |tiff| tiff);
    let native = stack(folder.path()).open().unwrap();
    let view = stack(folder.path()).onto(&target(), Resampling::Cubic).open().unwrap();
    let (rows, cols) = view.grid().shape();
    assert_eq!(view.block_shape(), Some((64.min(rows), cols)));
    let values = 8 * 64 * cols as u64;
    assert!(view.handle_bytes(1) >= native.handle_bytes(1) + values, "{}", view.handle_bytes(1));
    assert!(view.settings().contains(&("reproject".into(), "cubic".into())), "{:?}", view.settings());
    assert!(!native.settings().iter().any(|(key, _)| key == "reproject"));
    // Blocks of coarse pixels come from many fine ones: they stay small.
    let fine = covering(UTM34, (1.0, 1.0));
    let folder =
        write(&fine, UTM34, Array3::zeros((1, fine.rows(), fine.cols())), |tiff| Tiff { sample: Sample::U8, ..tiff });
    let view = stack(folder.path()).onto(&target(), Resampling::Average).open().unwrap();
    let (rows, cols) = view.block_shape().unwrap();
    assert!(rows * cols * 900 * 8 <= 2 << 20, "{rows} x {cols}");
}

/// Through a fusion: three instruments on grids of their own, one truth.
#[test]
fn a_fusion_of_rasters_in_three_crs_finds_the_truth() {
    use rasterfuse::Fusion;
    use rasterfuse::describe::OutputDates;
    use rasterfuse::describe::{Footprint, Instrument, Kernel, Prior, Process};
    use rasterfuse::sink::MemorySink;

    let folder = TempDir::new().unwrap();
    let coarse = covering(GEOGRAPHIC, (0.0015, 0.0011));
    let grids = oblique();
    let rasters = [
        ("shifted", UTM33, grids[0].2.clone(), Footprint::Cell, 1e-6),
        ("turned", UTM34, grids[1].2.clone(), Footprint::Cell, 1e-6),
        ("coarse", GEOGRAPHIC, coarse, Footprint::Uniform, 1e-2),
    ];
    let mut builder = Fusion::builder(target())
        .bands(["red"])
        .window(4, 2)
        .process(Process::new(Kernel::Exponential, 300.0, 1e-6))
        .prior(Prior::new(0.0, 10.0))
        .output(OutputDates::Observed);
    for (name, crs, grid, footprint, noise) in rasters {
        let values = sampled(&grid, crs, waves);
        let path = folder.path().join(format!("{name}_{}.tif", day(0)));
        Tiff { crs: Some(crs), names: vec!["red".into()], sample: Sample::F32, ..Tiff::new(&grid, values.view()) }
            .write(&path);
        let source = RasterStack::builder(format!("{name}_*.tif"), r"_(\d{4}-\d\d-\d\d)")
            .folder(folder.path())
            .date_format("%Y-%m-%d")
            .onto(&target(), Resampling::Cubic)
            .open()
            .unwrap();
        builder = builder.instrument(Instrument::new(name, source).footprint(footprint).noise_variance(noise));
    }
    let mut sink = MemorySink::new();
    builder.build().unwrap().run(&mut sink).unwrap();
    let (mean, _): (Array4<f64>, _) = sink.into_arrays().unwrap();
    let error = |dx: f64| {
        let errors = mean.indexed_iter().map(|((_, _, row, col), value)| {
            let (x, y) = target().centre(row as i64, col as i64);
            (value - waves((x + dx, y))).abs()
        });
        errors.fold(0.0, f64::max)
    };
    assert!(error(0.0) < 0.01, "{}", error(0.0));
    assert!(error(15.0) > 0.04 && error(-15.0) > 0.04, "half a cell away: {} {}", error(15.0), error(-15.0));
}

/// In TOML; the footprint follows from the size of the pixels.
#[test]
fn toml_asks_for_it_with_a_key() {
    use rasterfuse::config::FusionConfig;

    let folder = TempDir::new().unwrap();
    let (_, _, fine) = oblique().remove(1);
    let coarse = covering(GEOGRAPHIC, (0.005, 0.0036));
    for (name, crs, grid) in [("fine", UTM34, &fine), ("coarse", GEOGRAPHIC, &coarse)] {
        let values = sampled(grid, crs, waves);
        let path = folder.path().join(format!("{name}_20240101.tif"));
        Tiff { crs: Some(crs), names: vec!["red".into()], ..Tiff::new(grid, values.view()) }.write(&path);
    }
    let text = format!(
        r#"
        [target]
        crs = "EPSG:32633"
        geotransform = [{LEFT}, 30, 0, {TOP}, 0, -30]
        shape = [60, 80]
        bands = ["red"]
        [process]
        kernel = "exponential"
        range = 300.0
        variance = 1e-4
        [prior]
        mean = 0.2
        variance = 0.05
        [[instrument]]
        name = "fine"
        files = "fine_*.tif"
        date = 'fine_(\d{{8}})'
        reproject = "cubic"
        noise_variance = 1e-5
        [[instrument]]
        name = "coarse"
        files = "coarse_*.tif"
        date = 'coarse_(\d{{8}})'
        reproject = "bilinear"
        noise_variance = 1e-5
        [output]
        store = "fused.zarr"
        "#
    );
    let build = |text: &str| FusionConfig::parse(text, folder.path()).and_then(|config| config.build());
    let fusion = build(&text).unwrap();
    let settings = format!("{:?}", fusion.settings());
    assert_says(&settings, &["cubic", "bilinear", "\"Cell\"", "\"Uniform\""]);
    let refused = |from: &str, to: &str| build(&text.replace(from, to)).unwrap_err().to_string();
    assert_says(&refused("\"cubic\"", "\"lanczos\""), &["reproject", "lanczos", "bilinear"]);
    assert_says(
        &refused("reproject = \"cubic\"", ""),
        &["instrument \"fine\"", "EPSG:32634", "reproject = \"nearest\""],
    );
    let explicit = "reproject = \"bilinear\"\nfootprint = \"cell\"";
    assert_says(&refused("reproject = \"bilinear\"", explicit), &["instrument \"coarse\"", "\"cell\"", "uniform"]);
}

/// A cloud of absurd values, which only the quality raster tells of: on pixels of the data's size, on coarser and on finer ones.
#[test]
fn hidden_pixels_never_bleed_into_others() {
    let slope_per_pixel = 30.0 * (0.01 + 0.02);
    for (what, crs, native) in oblique() {
        let mut values = sampled(&native, crs, plane);
        values.slice_mut(ndarray::s![0, 24..34, 40..50]).fill(1e6);
        for (rows, cols) in [(1, 1), (2, 2)] {
            for finer in [false, true] {
                let folder = write(&native, crs, values.clone(), |tiff| tiff);
                let [left, width, _, top, _, height] = native.geotransform();
                let (x, y) = (rows as f64, cols as f64);
                let (shape, width, height) = if finer {
                    ((native.rows() * rows, native.cols() * cols), width / x, height / y)
                } else {
                    ((native.rows().div_ceil(rows), native.cols().div_ceil(cols)), width * x, height * y)
                };
                let grid = Grid::new(native.crs().clone(), [left, width, 0.0, top, 0.0, height], shape).unwrap();
                let place = |k: usize, step: usize| if finer { k / step } else { k * step };
                let flags = Array3::from_shape_fn((1, shape.0, shape.1), |(_, row, col)| {
                    let (row, col) = (place(row, rows), place(col, cols));
                    f64::from(u8::from((24..34).contains(&row) && (40..50).contains(&col)) * 4)
                });
                let path = folder.path().join(format!("flags_{}.img.tif", day(0)));
                let tiff = Tiff { crs: Some(crs), sample: Sample::U8, ..Tiff::new(&grid, flags.view()) };
                Tiff { missing: Missing::Nodata(255.0), ..tiff }.write(&path);
                for resampling in KINDS {
                    let source = RasterStack::builder("scene_*.tif", r"_(\d{4}-\d\d-\d\d)")
                        .folder(folder.path())
                        .date_format("%Y-%m-%d")
                        .quality(Quality::files("flags_*.img.tif").bits([2]))
                        .onto(&target(), resampling);
                    let (error, holes) = difference(&source.open().unwrap(), plane);
                    assert!(error < slope_per_pixel, "{what}, {resampling:?}, {rows} {finer}: off by {error}");
                    assert!((81..=400).contains(&holes), "{what}, {resampling:?}, {rows} {finer}: {holes} missing");
                }
            }
        }
    }
}

#[test]
fn a_number_given_as_nodata_is_no_value_between_pixels() {
    let (_, _, grid) = oblique().remove(1);
    let mut values = sampled(&grid, UTM34, plane);
    values.slice_mut(ndarray::s![0, 24..34, 40..50]).fill(-9999.0);
    let folder = write(&grid, UTM34, values, |tiff| tiff);
    for resampling in KINDS {
        let source = stack(folder.path()).nodata(-9999.0).onto(&target(), resampling).open().unwrap();
        let (error, holes) = difference(&source, plane);
        assert!(
            error < 30.0 * (0.01 + 0.02) && (50..=130).contains(&holes),
            "{resampling:?}: {error}, {holes} missing"
        );
    }
}

#[test]
fn granules_of_two_zones_make_one_date() {
    let folder = TempDir::new().unwrap();
    let halves = [("west", UTM33, oblique().remove(0).2), ("east", UTM34, covering(UTM34, (30.0, 30.0)))];
    for (name, crs, grid) in halves {
        let mut values = sampled(&grid, crs, plane);
        let cols = values.dim().2;
        let half = if name == "west" { cols / 2 + 3..cols } else { 0..cols / 2 - 3 };
        values.slice_mut(ndarray::s![.., .., half]).fill(f64::NAN);
        let tiff = Tiff { crs: Some(crs), ..Tiff::new(&grid, values.view()) };
        tiff.write(&folder.path().join(format!("{name}_{}.tif", day(0))));
    }
    let source = stack(folder.path()).mosaic(true).onto(&target(), Resampling::Bilinear).open().unwrap();
    let (error, missing) = difference(&source, plane);
    // Where half of the neighbours are missing the others stand for them; half a pixel is 0.45.
    assert!(error < 0.2 && missing == 0, "{error}, {missing} missing");
    let error = stack(folder.path()).mosaic(true).open().unwrap_err();
    assert_says(&error.to_string(), &["west_", "EPSG:32633", "east_", "EPSG:32634", "reproject"]);
}

/// Bands that are dates: each is resampled by itself, and holds its own values.
#[test]
fn a_series_in_one_file_lies_where_it_belongs() {
    for (what, crs, grid) in oblique() {
        let one = sampled(&grid, crs, plane);
        let values = Array3::from_shape_fn((3, grid.rows(), grid.cols()), |(t, row, col)| {
            if t == 2 && row < 30 { -5.0 } else { one[(0, row, col)] + 1000.0 * t as f64 }
        });
        let names = (0..3).map(|t| day(t).to_string()).collect();
        let folder = write(&grid, crs, values, |tiff| Tiff { names, ..tiff });
        let series = RasterSeries::builder(named(&folder, 0)).nodata(-5.0).onto(&target(), Resampling::Bilinear);
        let series = series.open().unwrap();
        assert!(target().lattice_offset(series.grid()).is_some(), "{what}");
        assert!(series.settings().contains(&("reproject".to_owned(), "bilinear".to_owned())));
        for t in 0..3 {
            let slice = series.read(day(t), &[0], &series.grid().region()).unwrap();
            let (mut seen, mut largest) = (0, 0.0_f64);
            for ((_, row, col), value) in slice.values.indexed_iter().filter(|(_, value)| !value.is_nan()) {
                seen += 1;
                let expected = plane(series.grid().centre(row as i64, col as i64)) + 1000.0 * f64::from(t);
                largest = largest.max((value - expected).abs());
            }
            // At the edge of a gap the neighbours that are there stand for the others.
            assert!(largest < if t == 2 { 0.5 } else { 0.02 }, "{what}, {t}: off by {largest}");
            let all = slice.values.len();
            assert!(
                if t == 2 { (all / 4..3 * all / 4).contains(&seen) } else { seen == all },
                "{what}, {t}: {seen} of {all}"
            );
        }
    }
}

/// The same where pixels become much larger ones: kernels are widened, and so is what they must not take in.
#[test]
fn hidden_pixels_never_bleed_where_many_make_one() {
    for ratio in [3, 20] {
        let size = 30.0 / f64::from(ratio);
        let shape = (60 * ratio as usize, 80 * ratio as usize);
        let native = Grid::new(target().crs().clone(), [LEFT, size, 0.0, TOP, 0.0, -size], shape).unwrap();
        // A cloud that begins within a cell, and a grain of it far away.
        let cloud = |row: usize, col: usize| {
            let edge = 20 * ratio as usize + ratio as usize / 2;
            (edge..2 * edge).contains(&row) && col > edge || (row, col) == (5 * ratio as usize, 7 * ratio as usize)
        };
        let values = sampled(&native, UTM33, plane);
        let mut clouded = values.clone();
        clouded.indexed_iter_mut().filter(|((_, r, c), _)| cloud(*r, *c)).for_each(|(_, value)| *value = 1e6);
        let folder = write(&native, UTM33, clouded, |tiff| tiff);
        let flags = Array3::from_shape_fn((1, shape.0, shape.1), |(_, r, c)| f64::from(u8::from(cloud(r, c))));
        let tiff = Tiff { crs: Some(UTM33), sample: Sample::U8, ..Tiff::new(&native, flags.view()) };
        Tiff { missing: Missing::Nodata(255.0), ..tiff }
            .write(&folder.path().join(format!("flags_{}.img.tif", day(0))));
        for resampling in KINDS {
            let source = RasterStack::builder("scene_*.tif", r"_(\d{4}-\d\d-\d\d)")
                .folder(folder.path())
                .date_format("%Y-%m-%d")
                .quality(Quality::files("flags_*.img.tif").bits([0]))
                .onto(&target(), resampling)
                .open()
                .unwrap();
            let (error, holes) = difference(&source, plane);
            assert!(error < 30.0 * (0.01 + 0.02), "{ratio}, {resampling:?}: off by {error}");
            assert!(holes < 2600, "{ratio}, {resampling:?}: {holes} missing of 4800");
        }
    }
}

/// Several fills on several bands, with and without a mask, of integers and of floats, are missing as in the file itself.
#[test]
fn many_numbers_are_missing_in_many_bands() {
    let values = Array3::from_shape_fn((4, 60, 80), |(band, row, col)| {
        let number = (band * 31 + row * 7 + col) % 256;
        if row == 3 { f64::NAN } else { number as f64 }
    });
    let fills = [249.0, 250.0, 251.0, 252.0, 253.0, 254.0, 255.0];
    for sample in [Sample::U8, Sample::I16, Sample::I32, Sample::F32] {
        for missing in [Missing::Nodata(7.0), Missing::Mask, Missing::Alpha] {
            let folder = write(&target(), UTM33, values.clone(), |tiff| Tiff { sample, missing, ..tiff });
            let source = stack(folder.path()).nodata_values(fills).onto(&target(), Resampling::Nearest).open().unwrap();
            let read = source.read(day(0), &[0, 1, 2, 3], &PixelRegion::new(2..62, 2..82)).unwrap().values;
            for (at, value) in read.indexed_iter() {
                let own = values[at];
                let hidden = own >= 249.0 || matches!(missing, Missing::Nodata(_)) && own == 7.0;
                let expected = if hidden { f64::NAN } else { own };
                assert!(same(*value, expected), "{sample:?} {missing:?} {at:?}: {value} for {expected}");
            }
        }
    }
}

/// A number that can be no value does no harm where a mask or alpha hides it.
#[test]
fn what_masks_hide_is_not_judged() {
    for missing in [Missing::Mask, Missing::Alpha] {
        let mut values = Array3::from_elem((2, 60, 80), 0.5);
        values.slice_mut(ndarray::s![0, 20..30, ..]).fill(f64::NAN);
        values.slice_mut(ndarray::s![1, 20..30, ..]).fill(-3.4e38);
        let read = |values: Array3<f64>| {
            let folder = write(&target(), UTM33, values, |tiff| Tiff { sample: Sample::F32, missing, ..tiff });
            let source = stack(folder.path()).open().unwrap();
            let region = source.grid().region();
            source.read(day(0), &[1], &region).and_then(|_| source.read(day(0), &[0, 1], &region))
        };
        let slice = read(values.clone()).unwrap();
        assert_eq!(slice.values.iter().filter(|value| value.is_nan()).count(), 2 * 10 * 80, "{missing:?}");
        values[(1, 50, 50)] = -3.4e38;
        assert_says(&read(values).unwrap_err().to_string(), &["looks like a fill value"]);
    }
}

/// A view that was opened for what a range takes is no view for reading by that range.
#[test]
fn losses_leave_what_a_series_reads() {
    let values = Array3::from_shape_fn((1, 60, 80), |(_, row, col)| if (row + col) % 2 == 0 { 0.5 } else { 90.0 });
    let names = vec![day(0).to_string()];
    let folder = write(&target(), UTM33, values, |tiff| Tiff { names, ..tiff });
    let open = || {
        let series = RasterSeries::builder(named(&folder, 0)).valid_range(0.0, 1.0);
        series.onto(&target(), Resampling::Average).open().unwrap()
    };
    let region = open().grid().region();
    let before = open().read(day(0), &[0], &region).unwrap().values;
    let series = open();
    let losses = series.losses(day(0), 0, &region).unwrap();
    assert!(losses.range > 0, "{losses:?}");
    let after = series.read(day(0), &[0], &region).unwrap().values;
    assert!(before.iter().zip(&after).all(|(a, b)| same(*a, *b)));
    assert_eq!(series.losses(day(0), 0, &region).unwrap(), losses);
}
