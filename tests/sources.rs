//! Every source gives the same series: one suite that each implementation runs, then what is particular to rasters.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

mod support;

use rasterfuse::geometry::{Date, PixelRegion};
use rasterfuse::source::RasterSource;
use support::{Truth, assert_says, day, grid, same};

const SHAPE: (usize, usize) = (7, 11);

fn truth() -> Truth {
    Truth::new(grid(SHAPE), 3, &["red", "nir", "swir"])
}

/// Whether a read gives exactly what the truth holds there.
fn gives(source: &dyn RasterSource, truth: &Truth, time: usize, bands: &[usize], region: &PixelRegion) -> bool {
    let slice = source.read(truth.dates[time], bands, region).unwrap();
    assert_eq!((slice.date, &slice.region), (truth.dates[time], region));
    assert_eq!(slice.values.dim(), (bands.len(), region.rows.len(), region.cols.len()));
    slice.values.indexed_iter().all(|((band, row, col), value)| {
        same(*value, truth.values[(time, bands[band], region.rows.start + row, region.cols.start + col)])
    })
}

/// Regions of every kind: whole, single pixels at the corners, lines, odd blocks, empty.
fn regions((rows, cols): (usize, usize)) -> Vec<PixelRegion> {
    let corners = [0, rows - 1].into_iter().flat_map(|r| [0, cols - 1].map(|c| (r..r + 1, c..c + 1)));
    let others = [
        (0..rows, 0..cols),
        (rows / 2..rows / 2 + 1, 0..cols),
        (0..rows, cols - 1..cols),
        (1..rows - 1, 2..cols - 3),
        (2..2, 0..cols),
        (0..0, 0..0),
        (rows..rows, cols..cols),
    ];
    corners.chain(others).map(|(rows, cols)| PixelRegion::new(rows, cols)).collect()
}

/// The suite: `source` holds exactly `truth`.
fn conforms(source: &dyn RasterSource, truth: &Truth) {
    tells_what_it_holds(source, truth);
    reads_any_region_and_bands(source, truth);
    refuses_what_it_does_not_hold(source, truth);
    serves_many_threads_at_once(source, truth);
}

fn tells_what_it_holds(source: &dyn RasterSource, truth: &Truth) {
    assert_eq!(source.grid().geotransform(), truth.grid.geotransform());
    assert_eq!(source.grid().shape(), truth.grid.shape());
    assert_eq!(source.dates(), truth.dates);
    assert_eq!(source.bands(), truth.bands);
    assert!(!source.origin().is_empty());
}

fn reads_any_region_and_bands(source: &dyn RasterSource, truth: &Truth) {
    let last = truth.bands.len() - 1;
    let all: Vec<usize> = (0..=last).collect();
    for time in 0..truth.dates.len() {
        for region in regions(truth.grid.shape()) {
            for bands in [&all[..], &[last, 0], &[last], &[0, last, 0, 0], &[]] {
                assert!(gives(source, truth, time, bands, &region), "date {time}, bands {bands:?}, {region:?}");
            }
        }
    }
}

fn refuses_what_it_does_not_hold(source: &dyn RasterSource, truth: &Truth) {
    let (rows, cols) = truth.grid.shape();
    let refused = |date: Date, bands: &[usize], region: PixelRegion| {
        let message = source.read(date, bands, &region).unwrap_err().to_string();
        assert_says(&message, &[&source.origin(), &date.to_string()]);
        message
    };
    let held = truth.dates[0];
    let shape = format!("{rows} x {cols} pixels");
    for (beyond_rows, beyond_cols) in
        [(0..rows + 1, 0..1), (0..1, cols..cols + 1), (usize::MAX - 1..usize::MAX, 0..1), (0..1, 0..usize::MAX)]
    {
        let message = refused(held, &[0], PixelRegion::new(beyond_rows.clone(), beyond_cols.clone()));
        assert_says(&message, &[&format!("{beyond_rows:?}"), &format!("{beyond_cols:?}"), &shape]);
    }
    for unknown in [held + -1, held + 1, *truth.dates.last().unwrap() + 1] {
        assert_says(&refused(unknown, &[0], truth.grid.region()), &["nothing on this date"]);
    }
    let n = truth.bands.len();
    for band in [n, usize::MAX] {
        let message = refused(held, &[0, band], truth.grid.region());
        assert_says(&message, &[&format!("#{band}"), &format!("{n} bands")]);
    }
}

fn serves_many_threads_at_once(source: &dyn RasterSource, truth: &Truth) {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for (k, region) in regions(truth.grid.shape()).iter().enumerate() {
                    let time = (thread + k) % truth.dates.len();
                    assert!(gives(source, truth, time, &[k % truth.bands.len(), 0], region), "thread {thread}");
                }
            });
        }
    });
}

#[test]
fn arrays_in_memory_conform() {
    conforms(&truth().source(), &truth());
    let one_pixel = Truth::new(grid((1, 5)), 1, &["only"]);
    tells_what_it_holds(&one_pixel.source(), &one_pixel);
}

#[test]
fn composites_of_one_day_conform() {
    use rasterfuse::source::{DayFormat, DaySource};
    use std::sync::Arc;
    let truth = truth();
    let days = Truth::new(grid(SHAPE), 3, &["day"]).map(|_| 0.0);
    let by_day = |days| DaySource::new(Arc::new(truth.source()), Arc::new(days), DayFormat::Offset, Some(1));
    conforms(&by_day(days.source()).unwrap(), &truth);
}

#[test]
fn infinities_in_memory_are_missing() {
    let infinite = truth().map(|v| if v == 1.0 { f64::INFINITY } else { v });
    let missing = truth().map(|v| if v == 1.0 { f64::NAN } else { v });
    assert!(infinite.values.iter().any(|v| v.is_infinite()));
    conforms(&infinite.source(), &missing);
}

#[test]
fn arrays_that_do_not_fit_their_axes_are_refused() {
    use rasterfuse::source::MemorySource;
    let Truth { grid, dates, bands, values } = truth();
    let refused = |dates: Vec<Date>, bands: Vec<String>| {
        MemorySource::new(grid.clone(), dates, bands, values.clone()).unwrap_err().to_string()
    };
    assert_says(&refused(dates[..2].to_vec(), bands.clone()), &["(3, 3, 7, 11)", "(2, 3, 7, 11)"]);
    assert_says(&refused(dates.clone(), bands[1..].to_vec()), &["(3, 3, 7, 11)", "(3, 2, 7, 11)"]);
    assert_says(&refused(vec![day(4), day(0), day(8)], bands.clone()), &["2024-01-05", "2024-01-01", "sort"]);
    assert_says(&refused(vec![day(0), day(4), day(4)], bands), &["2024-01-05"]);
}

#[test]
fn a_slow_source_gives_the_same_and_a_failing_one_fails_on_its_date_only() {
    use std::sync::Arc;
    use std::time::Duration;
    use support::{Fault, FaultySource};
    let truth = truth();
    let with = |fault| FaultySource { inner: Arc::new(truth.source()), date: truth.dates[1], fault };
    conforms(&with(Fault::Wait(Duration::from_micros(10))), &truth);
    let failing = with(Fault::Fail);
    let whole = truth.grid.region();
    assert!(gives(&failing, &truth, 0, &[1], &whole) && gives(&failing, &truth, 2, &[1], &whole));
    assert_says(&failing.read(truth.dates[1], &[1], &whole).unwrap_err().to_string(), &["2024-01-05", "on fire"]);
}

#[cfg(feature = "gdal")]
mod rasters {
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;
    use rasterfuse::Error;
    use rasterfuse::geometry::{Grid, PixelRegion};
    use rasterfuse::source::gdal::{crs_from_definition, same_crs};
    use rasterfuse::source::{Calibration, RasterSource, RasterStack, Resampling, StackBuilder};
    use tempfile::TempDir;

    use super::support::{Missing, Sample, Tiff, Truth, assert_says, day, grid, same, truncate};
    use super::{conforms, gives, truth};

    /// Writes a file per date, described by `tiff` where the plain form does not do.
    fn write(folder: &Path, stored: &Truth, tiff: impl Fn(Tiff) -> Tiff) {
        for (date, values) in stored.dates.iter().zip(stored.values.outer_iter()) {
            let plain = Tiff { names: stored.bands.clone(), ..Tiff::new(&stored.grid, values) };
            tiff(plain).write(&folder.join(format!("scene_{date}.tif")));
        }
    }

    fn stack(folder: &Path) -> StackBuilder {
        RasterStack::builder("scene_*.tif", r"scene_(\d{4}-\d\d-\d\d)").folder(folder).date_format("%Y-%m-%d")
    }

    /// Files of `stored` numbers, opened as they are, hold `truth`.
    fn round_trip(stored: &Truth, truth: &Truth, tiff: impl Fn(Tiff) -> Tiff) {
        let folder = TempDir::new().unwrap();
        write(folder.path(), stored, tiff);
        conforms(&stack(folder.path()).open().unwrap(), truth);
    }

    /// The pixel is missing in every band where it is in the first.
    fn missing_by_pixel(mut truth: Truth) -> Truth {
        let first = truth.values.clone();
        for ((t, _, r, c), value) in truth.values.indexed_iter_mut() {
            if first[(t, 0, r, c)].is_nan() {
                *value = f64::NAN;
            } else if value.is_nan() {
                *value = 77.0;
            }
        }
        truth
    }

    /// Without missing values, for types and files that cannot say so.
    fn complete() -> Truth {
        truth().map(|v| if v.is_nan() { 251.0 } else { v })
    }

    #[test]
    fn every_type_and_nodata_value_conforms() {
        for (sample, nodata) in [
            (Sample::U8, 0.0),
            (Sample::U8, 255.0),
            (Sample::U16, 65_535.0),
            (Sample::I16, -32_768.0),
            (Sample::I16, -9999.0),
            (Sample::I32, f64::from(i32::MIN)),
            (Sample::I64, -9999.0),
            (Sample::F32, -9999.0),
            (Sample::F32, -3.4e38),
            (Sample::F32, f64::from(f32::MIN)),
            (Sample::F32, 0.1),
            (Sample::F32, f64::NAN),
            (Sample::F64, -9999.0),
            (Sample::F64, f64::MIN),
            (Sample::F64, f64::NAN),
        ] {
            println!("{sample:?} with nodata {nodata}");
            round_trip(&truth(), &truth(), |tiff| Tiff { sample, missing: Missing::Nodata(nodata), ..tiff });
        }
    }

    #[test]
    fn every_type_without_missing_values_conforms() {
        for sample in [Sample::U8, Sample::U16, Sample::I16, Sample::I32, Sample::I64, Sample::F32, Sample::F64] {
            println!("{sample:?}");
            round_trip(&complete(), &complete(), |tiff| Tiff { sample, ..tiff });
        }
    }

    #[test]
    fn float_files_hold_nan_and_infinity_as_missing() {
        let stored = truth().map(|v| if v == 1.0 { f64::NEG_INFINITY } else { v });
        let expected = truth().map(|v| if v == 1.0 { f64::NAN } else { v });
        for sample in [Sample::F32, Sample::F64] {
            round_trip(&stored, &expected, |tiff| Tiff { sample, ..tiff });
            let missing = Missing::Nodata(-9999.0);
            round_trip(&stored, &expected, |tiff| Tiff { sample, missing, ..tiff });
        }
    }

    #[test]
    fn nodata_outside_the_type_hides_nothing() {
        let tiff = |tiff| Tiff { sample: Sample::U8, missing: Missing::Nodata(-9999.0), ..tiff };
        round_trip(&complete(), &complete(), tiff);
    }

    #[test]
    fn a_mask_of_the_dataset_hides_pixels_in_every_band() {
        let truth = missing_by_pixel(truth());
        for sample in [Sample::U8, Sample::F32] {
            round_trip(&truth, &truth, |tiff| Tiff { sample, missing: Missing::Mask, ..tiff });
        }
    }

    #[test]
    fn pixels_whose_bands_all_hold_nodata_together_are_missing() {
        // Either band alone may hold the number.
        let mut stored = missing_by_pixel(Truth::new(grid((5, 8)), 2, &["red", "nir"]));
        for ((_, band, row, _), value) in stored.values.indexed_iter_mut() {
            *value = if row == band && !value.is_nan() { 251.0 } else { *value };
        }
        round_trip(&stored, &stored, |tiff| Tiff { sample: Sample::U8, missing: Missing::Together(251.0), ..tiff });
    }

    /// Per-band masks are written as VRTs, the common format that has them.
    #[test]
    fn a_mask_of_one_band_hides_its_pixels() {
        let folder = TempDir::new().unwrap();
        let mut expected = Truth::new(grid((4, 6)), 1, &["red", "nir"]);
        let stored = expected.clone().map(|v| if v.is_nan() { 9.0 } else { v });
        write(folder.path(), &stored, |tiff| tiff);
        let mask = Truth::new(grid((4, 6)), 1, &["mask"]).map(|v| if v > 60.0 { 255.0 } else { 0.0 });
        Tiff { sample: Sample::U8, ..Tiff::new(&mask.grid, mask.values.index_axis(ndarray::Axis(0), 0)) }
            .write(&folder.path().join("mask.tif"));
        for ((_, band, row, col), value) in expected.values.indexed_iter_mut() {
            let hidden = band == 1 && mask.values[(0, 0, row, col)] == 0.0;
            *value = if hidden { f64::NAN } else { stored.values[(0, band, row, col)] };
        }
        let source = |file: &str, band: usize| {
            format!(
                "<SimpleSource><SourceFilename relativeToVRT=\"1\">{file}</SourceFilename>\
                 <SourceBand>{band}</SourceBand></SimpleSource>"
            )
        };
        let band = |k: usize, name: &str, mask: &str| {
            let pixels = source("scene_2024-01-01.tif", k);
            format!(
                "<VRTRasterBand dataType=\"Float64\" band=\"{k}\"><Description>{name}</Description>{pixels}{mask}\
                 </VRTRasterBand>"
            )
        };
        let mask =
            format!("<MaskBand><VRTRasterBand dataType=\"Byte\">{}</VRTRasterBand></MaskBand>", source("mask.tif", 1));
        let transform = expected.grid.geotransform().map(|v| v.to_string()).join(", ");
        let vrt = format!(
            "<VRTDataset rasterXSize=\"6\" rasterYSize=\"4\"><GeoTransform>{transform}</GeoTransform>{}{}</VRTDataset>",
            band(1, "red", ""),
            band(2, "nir", &mask)
        );
        let path = folder.path().join("scene.vrt");
        fs::write(&path, vrt).unwrap();
        let stack = RasterStack::from_files([(day(0), path)], Calibration::default()).unwrap();
        assert!(gives(&stack, &expected, 0, &[0], &expected.grid.region()), "the band without a mask");
        assert!(gives(&stack, &expected, 0, &[1], &expected.grid.region()), "the band with a mask");
    }

    /// A file of bytes behind a description that gives them another type.
    fn bytes_as(folder: &Path, kind: &str, values: [f64; 4]) -> PathBuf {
        let bytes = ndarray::Array3::from_shape_vec((1, 1, 4), values.to_vec()).unwrap();
        Tiff { sample: Sample::U8, ..Tiff::new(&grid((1, 4)), bytes.view()) }.write(&folder.join("bytes.tif"));
        let transform = grid((1, 4)).geotransform().map(|v| v.to_string()).join(", ");
        let path = folder.join("scene_20240501.vrt");
        let vrt = format!(
            "<VRTDataset rasterXSize=\"4\" rasterYSize=\"1\"><SRS>EPSG:32633</SRS><GeoTransform>{transform}</GeoTransform>\
             <VRTRasterBand band=\"1\" {kind}<SimpleSource><SourceFilename relativeToVRT=\"1\">bytes.tif</SourceFilename>\
             <SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
        );
        fs::write(&path, vrt).unwrap();
        path
    }

    #[test]
    fn signed_bytes_are_signed_also_where_they_are_resampled() {
        let folder = TempDir::new().unwrap();
        let kind = "dataType=\"Byte\"><NoDataValue>-128</NoDataValue>\
                    <Metadata domain=\"IMAGE_STRUCTURE\"><MDI key=\"PIXELTYPE\">SIGNEDBYTE</MDI></Metadata>";
        bytes_as(folder.path(), kind, [226.0, 128.0, 50.0, 255.0]);
        let stack = || RasterStack::builder("*.vrt", r"_(\d{8})").folder(folder.path()).scale(0.01).drivers(["VRT"]);
        let read = |stack: &RasterStack| {
            let (rows, cols) = stack.grid().shape();
            stack
                .read(stack.dates()[0], &[0], &PixelRegion::new(0..rows, 0..cols))
                .unwrap()
                .values
                .into_raw_vec_and_offset()
                .0
        };
        let expected = [-0.3, f64::NAN, 0.5, -0.01];
        let is_expected = |values: &[f64]| {
            let same = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12 || (a.is_nan() && b.is_nan());
            values.len() == 4 && values.iter().zip(&expected).all(same)
        };
        let plain = read(&stack().open().unwrap());
        assert!(is_expected(&plain), "{plain:?}");
        let mut place = grid((1, 4)).geotransform();
        place[0] += 0.2 * place[1];
        let other = Grid::new(crs_from_definition("EPSG:32633").unwrap(), place, (1, 4)).unwrap();
        let resampled = read(&stack().onto(&other, Resampling::Nearest).open().unwrap());
        // A view is a little larger than what is in it.
        let known = resampled.iter().filter(|value| !value.is_nan()).count();
        assert!(known == 3 && resampled.windows(4).any(is_expected), "{resampled:?}");
    }

    #[test]
    fn complex_numbers_are_refused() {
        let folder = TempDir::new().unwrap();
        let path = bytes_as(folder.path(), "dataType=\"CFloat32\">", [1.0, 2.0, 3.0, 4.0]);
        let message = RasterStack::from_files([(day(0), path)], Calibration::default()).unwrap_err().to_string();
        assert_says(&message, &["scene_20240501.vrt", "band 1", "complex", "magnitude"]);
    }

    #[test]
    fn the_date_nearest_to_the_file_counts() {
        let folder = TempDir::new().unwrap();
        let inner = folder.path().join("project_20250101_v2").join("S2A_20240501_T33");
        fs::create_dir_all(&inner).unwrap();
        let stored = Truth::new(grid((2, 2)), 1, &["red"]);
        Tiff::new(&stored.grid, stored.values.index_axis(ndarray::Axis(0), 0)).write(&inner.join("B04.tif"));
        let pattern = "project_20250101_v2/S2A_*/B04.tif";
        let stack = RasterStack::builder(pattern, r"_(\d{8})_").folder(folder.path()).open().unwrap();
        assert_eq!(stack.dates().iter().map(ToString::to_string).collect::<Vec<_>>(), ["2024-05-01"]);
    }

    #[test]
    fn an_alpha_band_hides_pixels_whatever_the_number_of_bands() {
        for bands in [&["red"][..], &["red", "nir"], &["red", "nir", "swir"], &["1", "2", "3", "4", "5", "6"]] {
            let mut truth = missing_by_pixel(Truth::new(grid((5, 8)), 2, bands));
            let folder = TempDir::new().unwrap();
            let tiff = |tiff| Tiff { sample: Sample::U16, missing: Missing::Alpha, ..tiff };
            write(folder.path(), &truth, tiff);
            let stack = stack(folder.path()).open().unwrap();
            truth.bands = stack.bands().to_vec();
            let all: Vec<usize> = (0..bands.len()).collect();
            assert!(gives(&stack, &truth, 1, &all, &truth.grid.region()), "{} bands and alpha", bands.len());
        }
    }

    #[test]
    fn the_files_scale_and_offset_apply_unless_overridden() {
        let folder = TempDir::new().unwrap();
        let stored = truth();
        let missing = Missing::Nodata(-9999.0);
        write(folder.path(), &stored, |tiff| Tiff { sample: Sample::I16, missing, scale: Some((0.25, -3.0)), ..tiff });
        let holds = |builder: StackBuilder, scale: f64, offset: f64| {
            conforms(&builder.open().unwrap(), &stored.clone().map(|v| scale * v + offset));
        };
        let stack = || stack(folder.path());
        holds(stack(), 0.25, -3.0);
        holds(stack().scale(1e-4), 1e-4, -3.0);
        holds(stack().offset(0.5), 0.25, 0.5);
        holds(stack().scale(1.0).offset(0.0), 1.0, 0.0);
        holds(stack().scale(-2.0).offset(1.0), -2.0, 1.0);
    }

    #[test]
    fn the_valid_range_is_physical_and_includes_its_ends() {
        let folder = TempDir::new().unwrap();
        let missing = Missing::Nodata(0.0);
        write(folder.path(), &truth(), |tiff| Tiff { sample: Sample::U8, missing, scale: Some((2.0, 1.0)), ..tiff });
        let expected = truth().map(|v| 2.0 * v + 1.0);
        let (low, high) = (expected.values[(0, 0, 2, 1)], 401.0);
        let expected = expected.map(|v| if (low..=high).contains(&v) { v } else { f64::NAN });
        assert!(
            expected.values.iter().any(|v| *v == low) && expected.values.iter().filter(|v| v.is_nan()).count() > 40
        );
        conforms(&stack(folder.path()).valid_range(low, high).open().unwrap(), &expected);
        let everything = truth().map(|v| 2.0 * v + 1.0);
        let open_ended = stack(folder.path()).valid_range(f64::NEG_INFINITY, f64::INFINITY).open().unwrap();
        conforms(&open_ended, &everything);
    }

    #[test]
    fn tiles_interleaving_and_compression_do_not_matter() {
        let large = Truth::new(grid((37, 53)), 2, &["red", "nir", "swir"]);
        for options in [
            &["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=32", "INTERLEAVE=PIXEL", "COMPRESS=DEFLATE", "PREDICTOR=2"][..],
            &["TILED=YES", "BLOCKXSIZE=32", "BLOCKYSIZE=16", "INTERLEAVE=BAND", "COMPRESS=LZW"],
            &["INTERLEAVE=PIXEL", "BLOCKYSIZE=3"],
            &["INTERLEAVE=BAND", "COMPRESS=DEFLATE"],
            &["BIGTIFF=YES", "ENDIANNESS=BIG"],
        ] {
            println!("{options:?}");
            let missing = Missing::Nodata(-1.0);
            round_trip(&large, &large, |tiff| Tiff { sample: Sample::I16, missing, options, ..tiff });
        }
    }

    #[test]
    fn bands_without_description_are_numbered_and_any_file_may_leave_them_out() {
        let folder = TempDir::new().unwrap();
        write(folder.path(), &truth(), |tiff| Tiff { names: vec!["red".into()], ..tiff });
        Tiff::new(&truth().grid, truth().values.index_axis(ndarray::Axis(0), 0))
            .write(&folder.path().join("scene_2024-03-01.tif"));
        assert_eq!(stack(folder.path()).open().unwrap().bands(), ["red", "band2", "band3"]);
    }

    #[test]
    fn dates_rule_the_order_and_names_may_be_hostile() {
        let folder = TempDir::new().unwrap();
        let odd = folder.path().join("a [b]*? ünï");
        fs::create_dir(&odd).unwrap();
        let truth = Truth::new(grid((4, 6)), 9, &["red"]);
        for (date, values) in truth.dates.iter().zip(truth.values.outer_iter()) {
            let (text, tiff) = (date.to_string(), Tiff::new(&truth.grid, values));
            let (year, month, day) = (&text[..4], &text[5..7], &text[8..]);
            tiff.write(&odd.join(format!("99999999 x_{day}{month}{year}T103000.tif")));
        }
        let named = Truth { bands: vec!["band1".into()], ..truth };
        let stack =
            RasterStack::builder("*.tif", r"x_(\w+)\.").folder(&odd).date_format("%d%m%YT%H%M%S").open().unwrap();
        conforms(&stack, &named);
        let mut files: Vec<_> = stack.files().map(|(date, path)| (date, path.to_path_buf())).collect();
        files.reverse();
        conforms(&RasterStack::from_files(files, Calibration::default()).unwrap(), &named);
    }

    #[test]
    fn the_same_crs_is_known_in_any_spelling() {
        let crs = |definition| crs_from_definition(definition).unwrap();
        let utm = crs("EPSG:32633");
        assert_eq!(utm.code(), Some("EPSG:32633"));
        assert!(same_crs(&utm, &crs("EPSG:32633").with_code("other")));
        assert!(!same_crs(&utm, &crs("EPSG:32634")));
        let folder = TempDir::new().unwrap();
        write(folder.path(), &truth(), |tiff| Tiff { crs: Some("EPSG:32633"), ..tiff });
        let stack = stack(folder.path()).open().unwrap();
        assert!(same_crs(stack.grid().crs(), &utm), "{}", stack.grid().crs().wkt());
        assert_says(&crs_from_definition("EPSG:1").unwrap_err().to_string(), &["target.crs", "EPSG:1"]);
    }

    #[test]
    fn opening_reads_no_pixel_and_reading_names_the_damaged_file() {
        let folder = TempDir::new().unwrap();
        let truth = truth();
        write(folder.path(), &truth, |tiff| Tiff { options: &["INTERLEAVE=BAND"], ..tiff });
        let damaged = folder.path().join("scene_2024-01-05.tif");
        truncate(&damaged, 80);
        let stack = stack(folder.path()).open().unwrap();
        assert!(gives(&stack, &truth, 0, &[2], &truth.grid.region()));
        assert!(gives(&stack, &truth, 1, &[0], &truth.grid.region()), "bands before the damage are read");
        let error = stack.read(day(4), &[0, 2], &PixelRegion::new(1..7, 2..9)).unwrap_err();
        assert!(matches!(&error, Error::Read { band, .. } if band == "swir"), "{error}");
        let words = [damaged.to_str().unwrap(), "2024-01-05", "swir", "1..7", "2..9", "truncated", "replace it"];
        assert_says(&error.to_string(), &words);
        assert!(gives(&stack, &truth, 2, &[2], &truth.grid.region()), "other files are not affected");
    }

    #[test]
    fn a_file_that_is_gone_or_shrunk_when_it_is_read_is_named() {
        let folder = TempDir::new().unwrap();
        let truth = truth();
        write(folder.path(), &truth, |tiff| tiff);
        let stack = stack(folder.path()).open().unwrap();
        let path = |k: i32| folder.path().join(format!("scene_{}.tif", day(k)));
        fs::remove_file(path(4)).unwrap();
        let error = stack.read(day(4), &[0], &truth.grid.region()).unwrap_err();
        assert!(matches!(error, Error::Open { .. }));
        assert_says(&error.to_string(), &[path(4).to_str().unwrap(), "2024-01-05"]);
        let small = Truth::new(grid((3, 4)), 1, &["red"]);
        Tiff::new(&small.grid, small.values.index_axis(ndarray::Axis(0), 0)).write(&path(8));
        for (bands, region) in [(&[0][..], truth.grid.region()), (&[2], PixelRegion::new(0..2, 0..2))] {
            let message = stack.read(day(8), bands, &region).unwrap_err().to_string();
            assert_says(&message, &[path(8).to_str().unwrap(), "2024-01-09"]);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn two_hundred_files_need_few_handles() {
        const FILES: usize = 200;
        const THREADS: usize = 8;
        let folder = TempDir::new().unwrap();
        let truth = Truth::new(grid((3, 5)), FILES, &["red"]);
        write(folder.path(), &truth, |tiff| tiff);
        let stack = stack(folder.path()).open().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let open_files = || {
            let links = fs::read_dir("/proc/self/fd").unwrap();
            links
                .filter(|link| link.as_ref().is_ok_and(|l| fs::read_link(l.path()).is_ok_and(|p| p.starts_with(&root))))
        };
        assert_eq!(open_files().count(), 0, "opening the stack leaves no file open");
        let most = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (stack, truth, open_files) = (&stack, &truth, &open_files);
                    scope.spawn(move || {
                        let read = |k: usize| {
                            let time = (k * 7 + thread * 31) % FILES;
                            assert!(gives(stack, truth, time, &[0], &truth.grid.region()), "file {time}");
                            open_files().count()
                        };
                        (0..FILES).map(read).max().unwrap()
                    })
                })
                .collect();
            readers.into_iter().map(|reader| reader.join().unwrap()).max().unwrap()
        });
        // 32 idle and one per reader; the listing itself takes a while, in which files come and go.
        assert!(most > 0 && most <= 2 * (32 + THREADS), "{most} files were open at once");
        drop(stack);
        assert_eq!(open_files().count(), 0, "dropping the stack closes them");
    }

    #[test]
    fn stacks_tell_what_is_decoded_as_a_whole_and_what_open_files_take() {
        let handle = |block: usize| (128 << 10) + block as u64; // GDAL's own records beside a block of all bands
        for (options, block, block_bytes) in [
            (&["TILED=YES", "BLOCKXSIZE=32", "BLOCKYSIZE=16"][..], (16, 32), 16 * 32 * 2 * 4),
            (&["BLOCKYSIZE=5"], (5, 70), 5 * 70 * 2 * 4),
            (&["BLOCKYSIZE=1", "INTERLEAVE=BAND"], (1, 70), 70 * 2 * 4),
            // A block is no larger than its raster.
            (&["TILED=YES"], (40, 70), 40 * 70 * 2 * 4),
        ] {
            let folder = TempDir::new().unwrap();
            let large = Truth::new(grid((40, 70)), 7, &["red", "nir"]);
            write(folder.path(), &large, |tiff| Tiff { sample: Sample::F32, options, ..tiff });
            let stack = stack(folder.path()).open().unwrap();
            assert_eq!(stack.block_shape(), Some(block), "{options:?}");
            // Four wait idle; no more files are open than there are.
            assert_eq!(stack.handle_bytes(1), 5 * handle(block_bytes), "{options:?}");
            assert_eq!(stack.handle_bytes(64), 7 * handle(block_bytes), "{options:?}");
            // Unless the environment of the tests says otherwise.
            let cache = stack.shared_cache_bytes();
            assert!(cache == 16 << 20 || std::env::var_os("GDAL_CACHEMAX").is_some());
            let shared: std::sync::Arc<dyn RasterSource> = std::sync::Arc::new(stack);
            assert_eq!((shared.block_shape(), shared.handle_bytes(1)), (Some(block), 5 * handle(block_bytes)));
            assert_eq!(shared.shared_cache_bytes(), cache);
        }
        let arrays = truth().source();
        assert_eq!((arrays.block_shape(), arrays.handle_bytes(8), arrays.shared_cache_bytes()), (None, 0, 0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_region_equals_that_of_the_twin_in_memory(
            shape in (1_usize..40, 1_usize..40),
            corners in prop::array::uniform4(0.0..1.0_f64),
            bands in prop::collection::vec(0_usize..3, 1..5),
            tiled in any::<bool>(),
        ) {
            let truth = Truth::new(grid(shape), 1, &["red", "nir", "swir"]);
            let folder = TempDir::new().unwrap();
            let options: &[&str] =
                if tiled { &["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "COMPRESS=DEFLATE"] } else { &[] };
            write(folder.path(), &truth, |tiff| Tiff { sample: Sample::F32, options, ..tiff });
            let range = |a: f64, b: f64, n: usize| {
                let (a, b) = ((a * n as f64) as usize, (b * (n + 1) as f64) as usize);
                a.min(b)..a.max(b)
            };
            let [a, b, c, d] = corners;
            let region = PixelRegion::new(range(a, b, shape.0), range(c, d, shape.1));
            let read = |source: &dyn RasterSource| source.read(day(0), &bands, &region).unwrap().values;
            let (file, memory) = (read(&stack(folder.path()).open().unwrap()), read(&truth.source()));
            prop_assert_eq!(file.dim(), memory.dim());
            prop_assert!(file.iter().zip(&memory).all(|(a, b)| same(*a, *b)), "{:?}", region);
        }
    }
}

#[cfg(feature = "zarr")]
#[path = "cubes/suite.rs"]
mod cubes;
