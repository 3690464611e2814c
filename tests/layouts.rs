//! Products as they lie on disk: a file for each band, granules side by side, dates of every form, containers, lists.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

mod support;

use std::fs;
use std::path::PathBuf;

use gdal::DriverManager;
use gdal::raster::RasterCreationOptions;
use ndarray::{Array2, Array3, Axis};
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Crs, Date, Grid, PixelRegion};
use rasterfuse::preset::Preset;
use rasterfuse::source::{Granule, Quality, RasterSource, RasterStack, Resampling, Spread, StackBuilder, Uncertainty};
use rasterfuse::{Error, Result};
use support::{Missing, Sample, Tiff, assert_says, refusal, same};
use tempfile::TempDir;

const UTM: &str = "EPSG:32611";

/// A folder to fill with files of 30 m cells (or others) whose corner is given in cells of 30 m.
struct Shelf {
    folder: TempDir,
}

#[derive(Clone)]
struct File {
    values: Array3<f64>,
    /// Corner, in cells of 30 m.
    at: (i64, i64),
    cell: f64,
    tiff: fn(Tiff) -> Tiff,
}

fn file(values: Array2<f64>) -> File {
    File { values: values.insert_axis(Axis(0)), at: (0, 0), cell: 30.0, tiff: |tiff| tiff }
}

impl File {
    fn at(self, row: i64, col: i64) -> Self {
        Self { at: (row, col), ..self }
    }

    fn cell(self, cell: f64) -> Self {
        Self { cell, ..self }
    }

    fn tiff(self, tiff: fn(Tiff) -> Tiff) -> Self {
        Self { tiff, ..self }
    }
}

impl Shelf {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, file: File) {
        let (top, left) = (3_600_000.0 - 30.0 * file.at.0 as f64, 400_000.0 + 30.0 * file.at.1 as f64);
        let (_, rows, cols) = file.values.dim();
        let grid = Grid::new(Crs::unknown(), [left, file.cell, 0.0, top, 0.0, -file.cell], (rows, cols)).unwrap();
        let plain = Tiff {
            crs: Some(UTM),
            sample: Sample::I16,
            missing: Missing::Nodata(-9999.0),
            ..Tiff::new(&grid, file.values.view())
        };
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        (file.tiff)(plain).write(&path);
    }

    /// Rewrites a GeoTIFF by another driver.
    fn convert(&self, name: &str, driver: &str, options: &[&str]) {
        let path = self.path(name);
        let plain = path.with_extension("plain");
        fs::rename(&path, &plain).unwrap();
        let options: RasterCreationOptions = options.iter().copied().collect();
        let driver = DriverManager::get_driver_by_name(driver).unwrap();
        gdal::Dataset::open(&plain).unwrap().create_copy(&driver, &path, &options).unwrap().close().unwrap();
        fs::remove_file(plain).unwrap();
    }

    fn stack(&self, files: &str, date: &str) -> StackBuilder {
        RasterStack::builder(files, date).folder(self.folder.path())
    }
}

fn day(month: u32, day: u32) -> Date {
    Date::from_ymd(2024, month, day).unwrap()
}

/// Stored numbers that tell band, date and cell apart.
fn numbers(seed: usize, shape: (usize, usize)) -> Array2<f64> {
    Array2::from_shape_fn(shape, |(r, c)| (1000 + 500 * seed + 37 * r + 5 * c) as f64)
}

fn whole(stack: &RasterStack, date: Date) -> Array3<f64> {
    let bands: Vec<usize> = (0..stack.bands().len()).collect();
    stack.read(date, &bands, &stack.grid().region()).unwrap().values
}

fn assert_same(found: &Array3<f64>, expected: &Array3<f64>) {
    assert_eq!(found.dim(), expected.dim());
    for (index, value) in found.indexed_iter() {
        let expected = expected[index];
        assert!((value - expected).abs() < 1e-12 || same(*value, expected), "{index:?}: {value}, not {expected}");
    }
}

/// Every region of a stack equals the same part of a whole read.
fn assert_regions_agree(stack: &RasterStack, date: Date) {
    let bands: Vec<usize> = (0..stack.bands().len()).collect();
    let (rows, cols) = stack.grid().shape();
    let all = stack.read(date, &bands, &stack.grid().region()).unwrap();
    for (r0, r1, c0, c1) in (0..60).map(|k| {
        let (a, b) = ((k * 7) % (rows + 1), (k * 5 + 3) % (rows + 1));
        let (c, d) = ((k * 3) % (cols + 1), (k * 11 + 2) % (cols + 1));
        (a.min(b), a.max(b), c.min(d), c.max(d))
    }) {
        let region = PixelRegion::new(r0..r1, c0..c1);
        let part = stack.read(date, &bands, &region).unwrap();
        let cut = |values: &Array3<f64>| values.slice(ndarray::s![.., r0..r1, c0..c1]).to_owned();
        assert_same(&part.values, &cut(&all.values));
        if let (Some(part), Some(all)) = (&part.noise_variance, &all.noise_variance) {
            assert_same(part, &cut(all));
        }
    }
}

/// HLS: B04, B8A and Fmask of tiles SKU and SLU, which share four columns, on two days; SLU only on the first.
fn hls() -> Shelf {
    let shelf = Shelf::new();
    for (seed, tile, time, col) in
        [(0, "T11SKU", "2024123T183919", 0), (1, "T11SLU", "2024123T183915", 6), (2, "T11SKU", "2024128T183921", 0)]
    {
        let name = |layer: &str| format!("{tile}/HLS.S30.{tile}.{time}.v2.0.{layer}.tif");
        for (band, layer) in ["B04", "B8A"].into_iter().enumerate() {
            let mut values = numbers(2 * seed + band, (8, 10));
            values[(0, 7)] = if band == 0 { f64::NAN } else { values[(0, 7)] };
            shelf.put(&name(layer), file(values).at(0, col));
        }
        let mut mask = Array2::from_elem((8, 10), 64.0);
        mask[(5, 8)] = 2.0; // cloud
        mask[(6, 1)] = 32.0; // water
        shelf.put(
            &name("Fmask"),
            file(mask).at(0, col).tiff(|tiff| Tiff { sample: Sample::U8, missing: Missing::Nodata(255.0), ..tiff }),
        );
    }
    shelf
}

#[test]
fn a_file_for_each_band_with_quality_beside_and_granules_laid_over_one_another() {
    let shelf = hls();
    let preset = Preset::find("hls_s30").unwrap();
    let bands = preset.bands_named(["red", "nir_narrow"]).unwrap();
    let stack = preset.stack_of(shelf.folder.path(), &bands).open().unwrap();
    assert_eq!(stack.dates(), [day(5, 2), day(5, 7)]);
    assert_eq!(stack.bands(), ["red", "nir_narrow"]);
    assert_eq!(stack.grid().shape(), (8, 16));
    assert_eq!(stack.grid().geotransform(), [400_000.0, 30.0, 0.0, 3_600_000.0, 0.0, -30.0]);
    // The slow twin: SKU where it is valid, SLU elsewhere.
    let granule = |seed: usize, band: usize, row: usize, col: usize| {
        let hidden = (row, col) == (5, 8) || (band == 0 && (row, col) == (0, 7));
        if hidden { f64::NAN } else { 1e-4 * numbers(2 * seed + band, (8, 10))[(row, col)] }
    };
    let expected = Array3::from_shape_fn((2, 8, 16), |(band, row, col)| {
        let first = if col < 10 { granule(0, band, row, col) } else { f64::NAN };
        if first.is_nan() && col >= 6 { granule(1, band, row, col - 6) } else { first }
    });
    assert!(!expected[(0, 0, 7)].is_nan(), "the other granule fills what is missing");
    assert_same(&whole(&stack, day(5, 2)), &expected);
    assert_regions_agree(&stack, day(5, 2));
    let alone = Array3::from_shape_fn(
        (2, 8, 16),
        |(band, row, col)| if col < 10 { granule(2, band, row, col) } else { f64::NAN },
    );
    assert_same(&whole(&stack, day(5, 7)), &alone);
    // Files in the order in which they lie.
    let files: Vec<String> =
        stack.files().map(|(_, path)| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(
        files[0].contains("T11SKU.2024123") && files[1].ends_with("B8A.tif") && files[2].contains("T11SLU"),
        "{files:?}"
    );
}

#[test]
fn landsat_scenes_of_one_path_shift_from_date_to_date() {
    let shelf = Shelf::new();
    for (seed, date, corner) in [(0, "20240502", (0, 0)), (1, "20240518", (3, -2))] {
        let name = |layer: &str| format!("LC08_L2SP_042034_{date}_20240511_02_T1_{layer}.TIF");
        let u16 = |tiff| Tiff { sample: Sample::U16, missing: Missing::Nan, ..tiff };
        let mut values = numbers(seed, (6, 7)) * 10.0;
        values[(2, 2)] = 0.0;
        shelf.put(&name("SR_B4"), file(values).at(corner.0, corner.1).tiff(u16));
        shelf.put(&name("SR_B5"), file(numbers(seed + 5, (6, 7)) * 10.0).at(corner.0, corner.1).tiff(u16));
        let mut quality = Array2::from_elem((6, 7), 21_824.0);
        quality[(4, 4)] = 22_280.0;
        shelf.put(&name("QA_PIXEL"), file(quality).at(corner.0, corner.1).tiff(u16));
    }
    let preset = Preset::find("landsat_c2_l2_oli").unwrap();
    let bands = preset.bands_named(["red", "nir"]).unwrap();
    let stack = preset.stack_of(shelf.folder.path(), &bands).open().unwrap();
    assert_eq!(stack.grid().shape(), (9, 9));
    for (seed, date, (top, left)) in [(0, day(5, 2), (0, 2)), (1, day(5, 18), (3, 0))] {
        let expected = Array3::from_shape_fn((2, 9, 9), |(band, row, col)| {
            let Some((r, c)) = row.checked_sub(top).zip(col.checked_sub(left)).filter(|(r, c)| *r < 6 && *c < 7) else {
                return f64::NAN;
            };
            if (r, c) == (4, 4) || (band == 0 && (r, c) == (2, 2)) {
                return f64::NAN;
            }
            2.75e-5 * (numbers(seed + 5 * band, (6, 7))[(r, c)] * 10.0) - 0.2
        });
        assert_same(&whole(&stack, date), &expected);
        assert_regions_agree(&stack, date);
    }
}

/// A SAFE folder as JPEG 2000, with bands of 10 m and the scene classification of 20 m.
fn safe(shelf: &Shelf, baseline: &str, date: &str, offset: f64) {
    let folder = format!(
        "S2A_MSIL2A_{date}T183919_N{baseline}_R070_T11SKU_{date}T223919.SAFE/GRANULE/L2A_T11SKU_A0_{date}T1839/IMG_DATA"
    );
    let image =
        |resolution: &str, layer: &str| format!("{folder}/R{resolution}/T11SKU_{date}T183919_{layer}_{resolution}.jp2");
    let jp2 = |name: &str, file: File| {
        shelf.put(name, file.tiff(|tiff| Tiff { sample: Sample::U16, missing: Missing::Nan, ..tiff }));
        shelf.convert(name, "JP2OpenJPEG", &["QUALITY=100", "REVERSIBLE=YES"]);
    };
    for (k, band) in ["B02", "B04"].into_iter().enumerate() {
        jp2(&image("10m", band), file(numbers(k, (32, 40)) + offset).cell(10.0));
    }
    let mut classes = Array2::from_elem((16, 20), 4.0);
    classes[(3, 5)] = 9.0; // cloud
    classes[(10, 11)] = 11.0; // snow
    jp2(&image("20m", "SCL"), file(classes).cell(20.0));
}

#[test]
fn safe_folders_of_both_baselines_give_the_same_reflectance() {
    let shelf = Shelf::new();
    safe(&shelf, "0301", "20240502", 0.0);
    safe(&shelf, "0510", "20240507", 1000.0);
    let preset = Preset::find("sentinel2_l2a_10m").unwrap();
    let bands = preset.bands_named(["blue", "red"]).unwrap();
    let stack = preset.stack_of(shelf.folder.path(), &bands).open().unwrap();
    let expected = Array3::from_shape_fn((2, 32, 40), |(band, row, col)| {
        let cloud = (6..8).contains(&row) && (10..12).contains(&col);
        if cloud { f64::NAN } else { 1e-4 * numbers(band, (32, 40))[(row, col)] }
    });
    for date in [day(5, 2), day(5, 7)] {
        assert_same(&whole(&stack, date), &expected);
        assert_regions_agree(&stack, date);
    }
    // On another grid the preset's resolution means nothing.
    let elsewhere =
        Grid::new(stack.grid().crs().clone(), [400_005.0, 10.0, 0.0, 3_599_995.0, 0.0, -10.0], (20, 20)).unwrap();
    let moved = preset.stack_of(shelf.folder.path(), &bands).onto(&elsewhere, Resampling::Bilinear).open().unwrap();
    assert!(elsewhere.lattice_offset(moved.grid()).is_some() && whole(&moved, day(5, 7)).iter().any(|v| !v.is_nan()));
    let settings = stack.settings();
    assert!(settings.iter().any(|(key, value)| key == "offset_by" && value.contains("400")), "{settings:?}");
    // A given offset is the only one.
    let raw = preset.stack_of(shelf.folder.path(), &bands).offset(0.0).open().unwrap();
    assert!((whole(&raw, day(5, 7))[(0, 0, 0)] - 0.2).abs() < 1e-12);
    fs::rename(
        shelf.path("S2A_MSIL2A_20240502T183919_N0301_R070_T11SKU_20240502T223919.SAFE"),
        shelf.path("S2A_MSIL2A_20240502T183919_R070_T11SKU.SAFE"),
    )
    .unwrap();
    let error = refusal(preset.stack_of(shelf.folder.path(), &bands).open());
    assert_says(&error, &["offset_by", "S2A_MSIL2A_20240502T183919_R070", "give `offset`"]);
}

/// The folder of a product, and its metadata with these offsets.
fn metadata(shelf: &Shelf, baseline: &str, date: &str, offsets: &[i32]) {
    let one = |(k, offset): (usize, &i32)| format!("<BOA_ADD_OFFSET band_id=\"{k}\">{offset}</BOA_ADD_OFFSET>");
    let list = offsets.iter().enumerate().map(one).collect::<Vec<_>>().concat();
    let text = format!("<n1:x><BOA_QUANTIFICATION_VALUE unit=\"none\">10000</BOA_QUANTIFICATION_VALUE>{list}</n1:x>");
    let folder = format!("S2A_MSIL2A_{date}T183919_N{baseline}_R070_T11SKU_{date}T223919.SAFE");
    fs::write(shelf.path(&folder).join("MTD_MSIL2A.xml"), text).unwrap();
}

#[test]
fn the_offset_of_a_product_is_that_of_its_metadata_or_of_a_baseline_that_is_known() {
    let shelf = Shelf::new();
    safe(&shelf, "9999", "20240502", 0.0);
    let preset = Preset::find("sentinel2_l2a_10m").unwrap();
    let bands = preset.bands_named(["blue", "red"]).unwrap();
    let open = || preset.stack_of(shelf.folder.path(), &bands).open();
    let first = |stack: &RasterStack, date: Date| whole(stack, date)[(0, 0, 0)];
    let expected = 1e-4 * numbers(0, (32, 40))[(0, 0)];
    assert_says(&refusal(open()), &["_N9999_", "MTD_MSIL2A.xml", "999", "give `offset`"]);
    metadata(&shelf, "9999", "20240502", &[0, 0]);
    assert!((first(&open().unwrap(), day(5, 2)) - expected).abs() < 1e-9);
    metadata(&shelf, "9999", "20240502", &[-1000, -1000]);
    assert!((first(&open().unwrap(), day(5, 2)) - expected + 0.1).abs() < 1e-9);
    metadata(&shelf, "9999", "20240502", &[-1000, -900]);
    assert_says(&refusal(open()), &["MTD_MSIL2A.xml", "band to band", "`offset`"]);
    metadata(&shelf, "9999", "20240502", &[]);
    // What the product says counts before its baseline.
    safe(&shelf, "0510", "20240507", 500.0);
    metadata(&shelf, "0510", "20240507", &[-500, -500]);
    assert!((first(&open().unwrap(), day(5, 7)) - expected).abs() < 1e-9);
}

#[test]
fn of_two_versions_of_an_acquisition_the_better_one_counts() {
    let values = |add: f64| file(numbers(0, (8, 10)) + add);
    let expected = |add: f64, scale: f64, offset: f64| offset + scale * (numbers(0, (8, 10))[(0, 0)] + add);
    let zeros = || file(Array2::zeros((8, 10)));
    let read = |preset: &str, shelf: &Shelf, date: Date| {
        let preset = Preset::find(preset).unwrap();
        let stack = preset.stack_of(shelf.folder.path(), &preset.bands_named(["red"]).unwrap()).open().unwrap();
        assert_eq!(stack.dates(), [date]);
        assert_eq!(stack.files().count(), 1, "{:?}", stack.files().collect::<Vec<_>>());
        whole(&stack, date)[(0, 0, 0)]
    };
    // Tier 1 is better than tier 2, and that than real time; of one tier the later processing is the better one.
    for (names, best) in [
        (["20240503_02_RT", "20240511_02_T1"], 1),
        (["20240511_02_T1", "20240520_02_RT"], 0),
        (["20240511_02_T1", "20240601_02_T1"], 1),
        (["20240511_02_T1", "20240601_02_T2"], 0),
        (["20240511_02_T2", "20240601_02_RT"], 0),
    ] {
        let shelf = Shelf::new();
        for (k, name) in names.iter().enumerate() {
            let add = if k == best { 20_000.0 } else { 10_000.0 };
            let granule = format!("LC08_L2SP_040036_20240502_{name}");
            shelf.put(&format!("{granule}_SR_B4.TIF"), values(add));
            shelf.put(&format!("{granule}_QA_PIXEL.TIF"), zeros());
        }
        let value = read("landsat_c2_l2_oli", &shelf, day(5, 2));
        assert!((value - expected(20_000.0, 2.75e-5, -0.2)).abs() < 1e-6, "{names:?}: {value}");
    }
    // A best version that cannot be opened gives way where files at fault are passed over.
    let shelf = Shelf::new();
    for (name, add) in [("20240511_02_T1", 10_000.0), ("20240601_02_T1", 20_000.0)] {
        let granule = format!("LC08_L2SP_040036_20240502_{name}");
        shelf.put(&format!("{granule}_SR_B4.TIF"), values(add));
        shelf.put(&format!("{granule}_QA_PIXEL.TIF"), zeros());
    }
    fs::write(shelf.path("LC08_L2SP_040036_20240502_20240601_02_T1_SR_B4.TIF"), "no raster").unwrap();
    let preset = Preset::find("landsat_c2_l2_oli").unwrap();
    let builder = || preset.stack_of(shelf.folder.path(), &preset.bands_named(["red"]).unwrap());
    assert!(refusal(builder().open()).contains("20240601_02_T1_SR_B4.TIF"));
    let lenient = builder().lenient(true).open().unwrap();
    let value = whole(&lenient, day(5, 2))[(0, 0, 0)];
    assert!((value - expected(10_000.0, 2.75e-5, -0.2)).abs() < 1e-6, "{value}");

    let shelf = Shelf::new();
    for (version, add) in [("v1.5", 100.0), ("v2.0", 200.0)] {
        let granule = format!("HLS.S30.T11SKU.2024123T183919.{version}");
        shelf.put(&format!("{granule}.B04.tif"), values(add));
        shelf.put(&format!("{granule}.Fmask.tif"), zeros());
    }
    assert!((read("hls_s30", &shelf, day(5, 2)) - expected(200.0, 1e-4, 0.0)).abs() < 1e-9);

    // Two parts of one baseline stay together, an older baseline does not.
    let shelf = Shelf::new();
    safe(&shelf, "0301", "20240502", 300.0);
    safe(&shelf, "0510", "20240502", 1000.0);
    let preset = Preset::find("sentinel2_l2a_10m").unwrap();
    let bands = preset.bands_named(["blue", "red"]).unwrap();
    let stack = preset.stack_of(shelf.folder.path(), &bands).open().unwrap();
    assert!((whole(&stack, day(5, 2))[(0, 0, 0)] - 1e-4 * numbers(0, (32, 40))[(0, 0)]).abs() < 1e-9);
    assert_eq!(stack.files().count(), 2, "a file for each band");
}

#[test]
fn days_on_which_nothing_can_have_been_observed_are_refused() {
    let shelf = Shelf::new();
    for name in ["a_20240502.tif", "a_99991231.tif"] {
        shelf.put(name, file(numbers(0, (3, 4))));
    }
    let words = ["a_99991231.tif", "9999-12-31", "cannot be the day of an acquisition"];
    assert_says(&refusal(shelf.stack("a_*.tif", r"a_(\d{8})").open()), &words);
    fs::write(shelf.path("list.csv"), "date, file\n2024-05-02, a_20240502.tif\n0001-01-01, a_99991231.tif\n").unwrap();
    let error = fusion(&shelf, "list = \"list.csv\"\nnoise_variance = 1e-4").map(|_| ()).unwrap_err().to_string();
    assert_says(&error, &["a_99991231.tif", "0001-01-01", "cannot be the day"]);
}

#[test]
fn bands_of_several_cell_sizes_need_a_resolution() {
    let shelf = Shelf::new();
    for (band, cell, shape) in [("B04", 30.0, (8, 12)), ("B11", 60.0, (4, 6))] {
        shelf.put(&format!("a_20240502_{band}.tif"), file(numbers(0, shape)).cell(cell));
    }
    let stack = || shelf.stack("a_*_{band}.tif", r"_(\d{8})_").source_bands(["B04", "B11"]);
    assert_says(&refusal(stack().open()), &["resolution = 30", "B04.tif", "B11.tif", "60", "instrument of each"]);
    let repeated = stack().resolution(30.0).open().unwrap();
    let (fine, coarse) = (numbers(0, (8, 12)), numbers(0, (4, 6)));
    let expected =
        Array3::from_shape_fn((2, 8, 12), |(band, r, c)| if band == 0 { fine[(r, c)] } else { coarse[(r / 2, c / 2)] });
    assert_same(&whole(&repeated, day(5, 2)), &expected);
    assert_regions_agree(&repeated, day(5, 2));
    assert_says(&refusal(stack().resolution(60.0).open()), &["resolution", "60", "30", "average"]);
    assert_says(&refusal(stack().resolution(1e-12).open()), &["resolution", "more than 1000"]);
    // Coarser ones that come later are no better.
    for mosaic in [false, true] {
        let shelf = Shelf::new();
        shelf.put("a_20240502.tif", file(numbers(0, (8, 12))));
        shelf.put("a_20240503.tif", file(numbers(1, (4, 6))).cell(60.0));
        let later = refusal(shelf.stack("a_*.tif", r"_(\d{8})").mosaic(mosaic).open());
        assert_says(&later, &["a_20240503.tif", "60", "coarser", "resolution = 30"]);
    }
    assert_says(&refusal(stack().resolution(20.0).open()), &["resolution", "20", "divide"]);
    assert_says(&refusal(stack().resolution(-1.0).open()), &["resolution", "positive"]);
}

#[test]
fn dates_by_calendar_by_day_of_year_and_with_times() {
    for (names, pattern, format) in [
        (["x_20240502.tif", "x_20240507.tif"], r"_(\d{8})", "%Y%m%d"),
        (["x_2024123.tif", "x_2024128.tif"], r"_(\d{7})", "%Y%j"),
        (["x_A2024123.1839.tif", "x_A2024128.0005.tif"], r"A(\d{7}\.\d{4})", "%Y%j.%H%M"),
        (["x_20240502T235959.tif", "x_20240507T000000.tif"], r"_(\d{8}T\d{6})", "%Y%m%dT%H%M%S"),
        (["x_02-May-2024.tif", "x_07-May-2024.tif"], r"_(.{11})\.", "%d-%b-%Y"),
    ] {
        let shelf = Shelf::new();
        for name in names {
            shelf.put(name, file(numbers(0, (2, 3))));
        }
        let stack = shelf.stack("x_*.tif", pattern).date_format(format).open().unwrap();
        assert_eq!(stack.dates(), [day(5, 2), day(5, 7)], "{format}");
    }
}

#[test]
fn passes_of_one_utc_day_are_one_date() {
    let shelf = Shelf::new();
    shelf.put("x_20240502T101500.tif", file(numbers(0, (4, 5))));
    shelf.put("x_20240502T115000.tif", file(numbers(1, (4, 5))).at(4, 0));
    let stack = || shelf.stack("x_*.tif", r"_(\w+)\.").date_format("%Y%m%dT%H%M%S");
    assert_says(&refusal(stack().open()), &["2024-05-02", "T101500", "T115000", "narrow", "mosaic = true"]);
    let stack = stack().mosaic(true).open().unwrap();
    assert_eq!((stack.dates(), stack.grid().shape()), (&[day(5, 2)][..], (8, 5)));
    assert_same(
        &whole(&stack, day(5, 2)),
        &ndarray::concatenate![
            Axis(1),
            numbers(0, (4, 5)).insert_axis(Axis(0)),
            numbers(1, (4, 5)).insert_axis(Axis(0))
        ],
    );
}

#[test]
fn rasters_inside_containers_have_gdals_own_names() {
    let shelf = Shelf::new();
    for (seed, name) in [(0, "cube [a]/MOD.A2024123.h10.nc"), (3, "cube [a]/MOD.A2024128.h10.nc")] {
        let values =
            ndarray::stack![Axis(0), numbers(seed, (6, 8)), numbers(seed + 1, (6, 8)), Array2::from_elem((6, 8), 1.0)];
        let mut values = values;
        values[(2, 1, 2)] = 0.0;
        shelf.put(name, File { values, ..file(numbers(0, (1, 1))) });
        shelf.convert(name, "netCDF", &[]);
    }
    let pattern = |layer: &str| format!("NETCDF:\"*/MOD.A*.nc\":{layer}");
    let stack = shelf
        .stack(&pattern("{band}"), r"\.A(\d{7})\.")
        .date_format("%Y%j")
        .source_bands(["Band1", "Band2"])
        .quality(Quality::files(pattern("Band3")).keep([1.0]))
        .open()
        .unwrap();
    assert_eq!(stack.dates(), [day(5, 2), day(5, 7)]);
    for (seed, date) in [(0, day(5, 2)), (3, day(5, 7))] {
        let mut expected = ndarray::stack![Axis(0), numbers(seed, (6, 8)), numbers(seed + 1, (6, 8))];
        expected.slice_mut(ndarray::s![.., 1, 2]).fill(f64::NAN);
        assert_same(&whole(&stack, date), &expected);
    }
    let (_, name) = stack.files().next().unwrap();
    assert_says(&name.to_string_lossy(), &["NETCDF:\"", "cube [a]/MOD.A2024123.h10.nc\":Band1"]);
    let missing =
        shelf.stack(&pattern("{band}"), r"\.A(\d{7})\.").date_format("%Y%j").source_bands(["Band1", "Band7"]).open();
    assert_says(&refusal(missing), &["cannot open", "MOD.A2024123.h10.nc\":Band7", "2024-05-02"]);
    assert_says(
        &refusal(RasterStack::from_granules([Granule::new(day(5, 2), [r#"NETCDF:"gone.nc":Band1"#])]).open()),
        &["gone.nc", "No such file"],
    );
}

#[test]
fn modis_as_a_geotiff_for_each_layer_has_quality_for_each_band() {
    let shelf = Shelf::new();
    for (k, band) in ["Band1", "Band2"].into_iter().enumerate() {
        let name = |layer: &str| format!("MCD43A4.061_{layer}_{band}_doy2024123_aid0001.tif");
        let mut values = numbers(k, (5, 6));
        values[(0, 0)] = 32_767.0;
        shelf.put(&name("Nadir_Reflectance"), file(values).tiff(|tiff| Tiff { missing: Missing::Nan, ..tiff }));
        let mut quality = Array2::zeros((5, 6));
        quality[(1, k)] = 1.0;
        quality[(2, k)] = 255.0;
        let u8 = |tiff| Tiff { sample: Sample::U8, missing: Missing::Nan, ..tiff };
        shelf.put(&name("BRDF_Albedo_Band_Mandatory_Quality"), file(quality).tiff(u8));
    }
    let preset = Preset::find("mcd43a4_geotiff").unwrap();
    let stack = preset.stack_of(shelf.folder.path(), &preset.bands_named(["nir", "red"]).unwrap()).open().unwrap();
    let expected = Array3::from_shape_fn((2, 5, 6), |(k, row, col)| {
        let band = 1 - k;
        let hidden = (row, col) == (0, 0) || ((1..3).contains(&row) && col == band);
        if hidden { f64::NAN } else { 1e-4 * numbers(band, (5, 6))[(row, col)] }
    });
    assert_same(&whole(&stack, day(5, 2)), &expected);
    // One band alone has its own quality.
    let red = stack.read(day(5, 2), &[1], &PixelRegion::new(1..3, 0..2)).unwrap().values;
    assert_same(&red, &expected.slice(ndarray::s![1..2, 1..3, 0..2]).to_owned());
}

#[test]
fn emit_has_its_bands_from_the_file_its_mask_in_layer_eight_and_its_uncertainty_beside() {
    const BANDS: usize = 30;
    let shelf = Shelf::new();
    let name = |layer: &str| format!("EMIT_L2A_{layer}_001_20240502T183919_2412312_005.tif");
    let float = |tiff| Tiff { sample: Sample::F32, options: &["INTERLEAVE=PIXEL"], ..tiff };
    let wavelengths = |tiff| Tiff {
        names: (0..BANDS).map(|k| format!("{} nm", 381 + 8 * k)).collect(),
        sample: Sample::F32,
        options: &["INTERLEAVE=PIXEL", "TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16", "COMPRESS=DEFLATE"],
        ..tiff
    };
    let value =
        |b: usize, r: usize, c: usize| f64::from((0.1 + 0.01 * b as f64 + 0.001 * (r * 40 + c) as f64 / 40.0) as f32);
    let mut values = Array3::from_shape_fn((BANDS, 40, 40), |(b, r, c)| value(b, r, c));
    values[(4, 3, 3)] = -0.01;
    shelf.put(&name("RFL"), File { values: values.clone(), ..file(numbers(0, (1, 1))) }.tiff(wavelengths));
    let spread = values.mapv(|v| if v > 0.3 { -9999.0 } else { 0.5 });
    shelf.put(&name("RFLUNCERT"), File { values: spread.clone(), ..file(numbers(0, (1, 1))) }.tiff(float));
    let mut mask = Array3::zeros((8, 40, 40));
    mask[(7, 20, 21)] = 1.0;
    mask[(0, 9, 9)] = 1.0;
    shelf.put(&name("MASK"), File { values: mask, ..file(numbers(0, (1, 1))) }.tiff(float));
    let preset = Preset::find("emit_l2a").unwrap();
    let builder =
        || preset.stack(shelf.folder.path()).uncertainty(Uncertainty::files("EMIT_L2A_RFLUNCERT_*.tif").scale(0.1));
    let stack = builder().open().unwrap();
    assert_eq!((stack.bands().len(), stack.bands()[1].as_str()), (BANDS, "389 nm"));
    let slice = stack.read(day(5, 2), &(0..BANDS).collect::<Vec<_>>(), &stack.grid().region()).unwrap();
    for ((b, r, c), found) in slice.values.indexed_iter() {
        let hidden = (r, c) == (20, 21) || (b, r, c) == (4, 3, 3);
        assert!(same(*found, if hidden { f64::NAN } else { value(b, r, c) }), "{b} {r} {c}: {found}");
    }
    let noise = slice.noise_variance.unwrap();
    for ((b, r, c), found) in noise.indexed_iter() {
        if !slice.values[(b, r, c)].is_nan() {
            let unknown = value(b, r, c) > 0.3;
            assert!(if unknown { found.is_nan() } else { (found - 0.0025).abs() < 1e-12 }, "{b} {r} {c}: {found}");
        }
    }
    // Some of the bands, in another order, by name or number.
    let some = RasterStack::builder(name("RFL"), r"001_(\d{8})")
        .folder(shelf.folder.path())
        .source_bands(["397 nm", "1"])
        .open()
        .unwrap();
    assert_eq!(some.bands(), ["397 nm", "1"]);
    let read = some.read(day(5, 2), &[0, 1], &PixelRegion::new(0..1, 0..1)).unwrap().values;
    assert_same(&read, &ndarray::arr3(&[[[value(2, 0, 0)]], [[value(0, 0, 0)]]]));
    let wrong =
        RasterStack::builder(name("RFL"), r"001_(\d{8})").folder(shelf.folder.path()).source_bands(["500 nm"]).open();
    assert_says(&refusal(wrong), &["source_bands", "500 nm", "381 nm", "number from 1"]);
}

#[test]
fn uncertainty_in_the_data_file_and_as_variance_follows_the_mosaic() {
    let shelf = Shelf::new();
    for (seed, name, col) in [(0, "x_20240502_a.tif", 0), (1, "x_20240502_b.tif", 2)] {
        let mut data = numbers(seed, (3, 4));
        data[(1, 3)] = f64::NAN;
        let values = ndarray::stack![Axis(0), data, Array2::from_elem((3, 4), (seed + 2) as f64)];
        shelf.put(name, File { values, ..file(numbers(0, (1, 1))) }.at(0, col));
    }
    let stack = |kind| {
        let uncertainty = Uncertainty::bands([2]).scale(0.5).kind(kind);
        let builder = shelf.stack("x_*.tif", r"_(\d{8})_").source_bands(["1"]).mosaic(true);
        builder.uncertainty(uncertainty).open().unwrap()
    };
    for (kind, first, second) in [(Spread::Sd, 1.0, 2.25), (Spread::Variance, 1.0, 1.5)] {
        let slice = stack(kind).read(day(5, 2), &[0], &PixelRegion::new(0..3, 0..6)).unwrap();
        let noise = slice.noise_variance.unwrap();
        assert_eq!((noise[(0, 0, 2)], noise[(0, 0, 4)]), (first, second), "{kind:?}");
        assert_eq!(noise[(0, 1, 3)], second, "where the first is missing, the other's value has its own noise");
        assert_eq!(slice.values[(0, 1, 3)], numbers(1, (3, 4))[(1, 1)]);
        assert_regions_agree(&stack(kind), day(5, 2));
    }
}

#[test]
fn lists_lie_in_the_order_given() {
    let shelf = Shelf::new();
    for (seed, name) in [(0, "one.tif"), (1, "two.tif"), (2, "later.tif")] {
        shelf.put(name, file(numbers(seed, (3, 4))));
    }
    let granule = |date: Date, name: &str| Granule::new(date, [shelf.path(name)]);
    let listed = [granule(day(5, 3), "later.tif"), granule(day(5, 2), "two.tif"), granule(day(5, 2), "one.tif")];
    let stack = RasterStack::from_granules(listed).mosaic(true).open().unwrap();
    assert_eq!(stack.dates(), [day(5, 2), day(5, 3)]);
    assert_same(&whole(&stack, day(5, 2)), &numbers(1, (3, 4)).insert_axis(Axis(0)));
    assert_says(&refusal(RasterStack::from_granules([]).open()), &["files", "empty list"]);
    let unlisted =
        RasterStack::from_granules([granule(day(5, 2), "one.tif")]).quality(Quality::listed().bits([1])).open();
    assert_says(&refusal(unlisted), &["one.tif", "quality", "1 rules"]);
    let pattern =
        RasterStack::from_granules([granule(day(5, 2), "one.tif")]).quality(Quality::files("*").bits([1])).open();
    assert_says(&refusal(pattern), &["quality", "list their quality files"]);
}

fn fusion(shelf: &Shelf, instrument: &str) -> Result<rasterfuse::Fusion> {
    let text = format!(
        r#"
        [target]
        crs = "{UTM}"
        geotransform = [400000, 30, 0, 3600000, 0, -30]
        shape = [8, 16]
        bands = ["nir_narrow", "red"]
        [process]
        kernel = "none"
        variance = 1e-4
        [prior]
        mean = 0.2
        variance = 0.05
        [output]
        store = "fused.zarr"
        [[instrument]]
        name = "hls"
        {instrument}
        "#
    );
    FusionConfig::parse(&text, shelf.folder.path())?.build()
}

#[test]
fn presets_lists_and_rules_are_described_in_toml() {
    let shelf = hls();
    fusion(&shelf, "preset = \"hls_s30\"\nfiles = \".\"").unwrap();
    fusion(&shelf, "preset = \"hls_s30\"\nfiles = \".\"\nnoise_variance = 1e-3\nquality = []\nvalid_range = [0, 1]")
        .unwrap();
    let keys = r#"
        files = "*/HLS.S30.*.{band}.tif"
        date = '\.(\d{7})T'
        date_format = "%Y%j"
        source_bands = ["B04", "B8A"]
        bands = ["red", "nir_narrow"]
        mosaic = true
        scale = 1e-4
        noise_variance = 1e-4
    "#;
    fusion(&shelf, keys).unwrap();
    let quality = "quality = [{ files = \"*/HLS.S30.*.Fmask.tif\", bits = [1], fields = [{ bits = [6, 7], values = [3] }], dilate = 2 }]";
    fusion(&shelf, &format!("{keys}\n{quality}")).unwrap();
    let mut list = "date, B8A, B04, quality\n".to_owned();
    for tile in ["T11SKU", "T11SLU"] {
        let time = if tile == "T11SKU" { "2024123T183919" } else { "2024123T183915" };
        let name = |layer: &str| format!("{tile}/HLS.S30.{tile}.{time}.v2.0.{layer}.tif");
        list.extend(["2024-05-02, ", &name("B8A"), ", ", &name("B04"), ", ", &name("Fmask"), "\n"]);
    }
    fs::write(shelf.path("files.csv"), &list).unwrap();
    fusion(&shelf, "preset = \"hls_s30\"\nlist = \"files.csv\"").unwrap();
    fusion(&shelf, "list = \"files.csv\"\nbands = [\"nir_narrow\", \"red\"]\nscale = 1e-4\nnoise_variance = 1e-4\nquality = { bits = [1] }").unwrap();
    let refused = |keys: &str| fusion(&shelf, keys).unwrap_err().to_string();
    assert_says(
        &refused("preset = \"hls\"\nfiles = \".\""),
        &["instrument \"hls\": preset", "hls_s30", "landsat_c2_l2_oli"],
    );
    assert_says(&refused("preset = \"hls_s30\""), &["files", "folder of the hls_s30"]);
    assert_says(&refused("preset = \"hls_s30\"\nfiles = \"x/*.{band}.tif\""), &["files", "quality = []"]);
    assert_says(
        &refused("preset = \"mcd43a4\"\nfiles = \".\"\nsource_bands = [\"B04\"]"),
        &["source_bands", "B04", "red (Band1)"],
    );
    assert_says(&refused("preset = \"hls_s30\"\nfiles = \".\"\nlist = \"files.csv\""), &["list", "`files`"]);
    assert_says(
        &refused("preset = \"hls_s30\"\nfiles = \".\"\nquality = { bits = [1] }"),
        &["quality", "`files`", "`band`"],
    );
    assert_says(&refused("preset = \"hls_s30\"\nfiles = \".\"\nquality = { file = \"x\" }"), &["file"]);
    assert_says(&refused("list = \"files.csv\"\nnoise_variance = 1e-4"), &["quality"]);
    for (from, to, says) in [
        ("2024-05-02", "soon", &["files.csv", "line 2", "soon", "date_format"][..]),
        ("date,", "day,", &["files.csv", "no column `date`"]),
        ("B04,", "B05,", &["files.csv", "no column \"B04\"", "red"]),
        ("T11SKU/HLS.S30.T11SKU.2024123T183919.v2.0.B04.tif", "", &["files.csv", "line 2", "B04", "missing"]),
        ("T11SKU/HLS.S30.T11SKU.2024123T183919.v2.0.B04.tif", "gone.tif", &["gone.tif", "cannot open", "2024-05-02"]),
    ] {
        fs::write(shelf.path("files.csv"), list.replacen(from, to, 1)).unwrap();
        assert_says(&refused("preset = \"hls_s30\"\nlist = \"files.csv\""), says);
    }
    assert_says(&refused("preset = \"hls_s30\"\nlist = \"gone.csv\""), &["list", "gone.csv"]);
}

#[test]
fn what_is_missing_or_does_not_fit_is_named_with_the_fix() {
    let stack = |shelf: &Shelf| {
        let preset = Preset::find("hls_s30").unwrap();
        preset.stack_of(shelf.folder.path(), &preset.bands_named(["red", "nir_narrow"]).unwrap())
    };
    let name = |layer: &str| format!("T11SLU/HLS.S30.T11SLU.2024123T183915.v2.0.{layer}.tif");
    let other = |tiff| Tiff { crs: Some("EPSG:32612"), ..tiff };

    let shelf = hls();
    fs::remove_file(shelf.path(&name("B04"))).unwrap();
    assert_says(
        &refusal(stack(&shelf).open()),
        &[&name("B8A"), "2024-05-02", "band \"B04\" is missing", "add the file", "source_bands"],
    );
    // Let pass, the date is what cannot be read, and says so.
    let lenient = stack(&shelf).lenient(true).open().unwrap();
    assert_eq!(lenient.dates().len(), 2);
    let error = lenient.read(day(5, 2), &[0], &PixelRegion::new(0..1, 0..1)).unwrap_err().to_string();
    assert_says(&error, &[&name("B8A"), "2024-05-02", "band \"B04\" is missing"]);
    lenient.read(day(5, 7), &[0], &PixelRegion::new(0..1, 0..1)).unwrap();

    let shelf = hls();
    fs::remove_file(shelf.path(&name("Fmask"))).unwrap();
    assert_says(
        &refusal(stack(&shelf).open()),
        &[&name("B04"), "2024-05-02", "`quality` is missing", "Fmask.tif", "add the file"],
    );

    let shelf = hls();
    for layer in ["B04", "B8A"] {
        fs::remove_file(shelf.path(&name(layer))).unwrap();
    }
    assert_says(
        &refusal(stack(&shelf).open()),
        &[&name("Fmask"), "data is missing", "add the data", "remove this file"],
    );

    let shelf = hls();
    shelf.put(&name("B04"), file(numbers(0, (8, 10))).at(0, 6).tiff(other));
    let words = [&name("B04"), "2024-05-02", "EPSG:32612", "EPSG:32611", "T11SKU", "reproject", "warp it first"];
    assert_says(&refusal(stack(&shelf).open()), &words);

    let shelf = hls();
    let shifted = File { cell: 30.0, ..file(numbers(0, (8, 10))) };
    shelf.put(
        &name("B04"),
        File { at: (0, 6), ..shifted }
            .tiff(|tiff| Tiff { geotransform: Some([400_010.0, 30.0, 0.0, 3_600_000.0, 0.0, -30.0]), ..tiff }),
    );
    assert_says(&refusal(stack(&shelf).open()), &[&name("B04"), "400010", "T11SKU", "do not fall", "lattice"]);

    let shelf = hls();
    fs::rename(shelf.path("T11SLU"), shelf.path("other")).unwrap();
    for layer in ["B04", "B8A", "Fmask"] {
        let file = name(layer).replace("T11SLU/", "other/");
        fs::rename(shelf.path(&file), shelf.path(&file.replace("2024123", "2024999"))).unwrap();
    }
    let words = ["2024999", "B04.tif", "not a date", "%Y%j", "date_format", "narrow"];
    assert_says(&refusal(stack(&shelf).open()), &words);

    let empty = Shelf::new();
    assert_says(&refusal(stack(&empty).open()), &["files: ", "no file matches", "HLS.S30", "check the folder"]);
    fs::create_dir(empty.path("x")).unwrap();
    assert!(matches!(stack(&empty).open(), Err(Error::NoFiles { .. })));

    let shelf = hls();
    let wrong = shelf.stack("*/HLS.S30.*.{band}.tif", r"\.(\d{7})T").source_bands(["b04"]).open();
    assert_says(&refusal(wrong), &["no file matches", "{band} stands for [\"b04\"]", "but there is", "`source_bands`"]);
    let unknown = shelf.stack("*/HLS.S30.*.{band}.tif", r"\.(\d{7})T").open();
    assert_says(&refusal(unknown), &["source_bands", "{band}", "B04"]);
    let twice = shelf.stack("*/HLS.S30.*.{band}.tif", r"\.(\d{7})T").source_bands(["B04", "B04"]).open();
    assert_says(&refusal(twice), &["source_bands", "twice"]);
}

#[test]
fn partners_may_be_found_by_date() {
    let shelf = Shelf::new();
    for (k, date) in ["20240502", "20240507"].into_iter().enumerate() {
        shelf.put(&format!("fine_{date}_v{k}.tif"), file(numbers(k, (3, 4))));
        let mut quality = Array2::zeros((3, 4));
        quality[(k, 1)] = 8.0;
        shelf.put(&format!("masks/q_{date}.tif"), file(quality));
    }
    let stack = |rule: Quality| shelf.stack("fine_*.tif", r"fine_(\d{8})").quality(rule).open();
    let by_date = Quality::files("masks/q_*.tif").bits([3]);
    let stacked = stack(by_date.clone().date(r"q_(\d{8})", "%Y%m%d")).unwrap();
    for (k, date) in [(0, day(5, 2)), (1, day(5, 7))] {
        let values = whole(&stacked, date);
        assert!(values[(0, k, 1)].is_nan() && values.iter().filter(|v| v.is_nan()).count() == 1);
    }
    let words =
        ["`quality` is missing", "masks/q_*.tif", "of another style", "`quality.date`", "`quality.date_format`"];
    assert_says(&refusal(stack(by_date.clone())), &words);
    let words = ["quality.date: ", "q_20240502.tif", "fix `quality.date` or `quality.date_format`", "%Y%j"];
    assert_says(&refusal(stack(by_date.clone().date(r"q_(\d{8})", "%Y%j"))), &words);
    assert_says(&refusal(stack(by_date.clone().date(r"q_\d{8}", "%Y%m%d"))), &["quality.date", "capture group"]);
    fs::copy(shelf.path("masks/q_20240502.tif"), shelf.path("masks/q_20240502_again.tif")).unwrap();
    assert_says(
        &refusal(stack(by_date.date(r"q_(\d{8})", "%Y%m%d"))),
        &["quality", "q_20240502.tif", "again.tif", "same data", "narrow"],
    );
}

/// What a series is made with does not change when a granule lands beside those that were there.
#[test]
fn a_new_granule_changes_no_setting() {
    let shelf = Shelf::new();
    let describe = |extra: &str| {
        let keys = "files = \"a_*.tif\"\ndate = '_(\\d{8})_'\nmosaic = true\nbands = [\"nir_narrow\", \"red\"]\nnoise_variance = 1e-4";
        fusion(&shelf, &format!("{keys}\n{extra}")).unwrap().settings().clone()
    };
    let image = || {
        let one = file(numbers(0, (8, 8)));
        File { values: ndarray::concatenate![Axis(0), one.values, one.values], ..one }
    };
    shelf.put("a_20240502_west.tif", image());
    let before = [describe(""), describe("reproject = \"nearest\"")];
    shelf.put("a_20240503_east.tif", image().at(0, 8));
    shelf.put("a_20240503_far.tif", image().at(0, 400));
    let after = [describe(""), describe("reproject = \"nearest\"")];
    for (before, after) in before.iter().zip(&after) {
        let differences = before.differences(after);
        assert!(differences.is_empty(), "{differences:?}");
    }
    // The new granule is there.
    let stack = shelf.stack("a_*.tif", r"_(\d{8})_").mosaic(true);
    let stack =
        stack.covering(&Grid::new(stack_crs(), [400_000.0, 30.0, 0.0, 3_600_000.0, 0.0, -30.0], (8, 16)).unwrap());
    let stack = stack.open().unwrap();
    assert_eq!(stack.grid().shape(), (12, 20), "two pixels around the target");
    let values = whole(&stack, day(5, 3));
    let expected = numbers(0, (8, 8));
    for ((_, row, col), value) in values.indexed_iter() {
        let there = (2..10).contains(&row) && (10..18).contains(&col);
        assert_eq!(value.is_nan(), !there, "{row}, {col}");
        assert!(!there || (value - expected[(row - 2, col - 10)]).abs() < 1e-6);
    }
    assert_regions_agree(&stack, day(5, 3));
}

fn stack_crs() -> Crs {
    rasterfuse::source::gdal::crs_from_definition(UTM).unwrap()
}

#[test]
fn what_would_mean_nothing_is_refused_and_what_nothing_observes() {
    let shelf = hls();
    let refused = |instrument: &str, words: &[&str]| {
        let error = fusion(&shelf, instrument).map(|_| ()).unwrap_err().to_string();
        assert_says(&error, words);
    };
    let hls = "preset = \"hls_s30\"\nfiles = \".\"";
    refused(&format!("{hls}\nresolution = 30.0\nreproject = \"nearest\""), &["resolution", "reproject", "either"]);
    refused(
        &format!("{hls}\noffset = 0.1\noffset_by = {{ pattern = '(\\d)', steps = [[0, 0.1]] }}"),
        &["offset_by", "one of"],
    );
    refused(&format!("{hls}\nquality = {{ files = \"**/*.Fmask.tif\", keep = [] }}"), &["quality", "keep = []"]);
    fs::write(shelf.path("bare.csv"), "date, B04\n2024-05-02, a.tif\n").unwrap();
    refused(
        "preset = \"hls_s30\"\nlist = \"bare.csv\"\nsource_bands = [\"red\"]",
        &["bare.csv", "quality", "quality = []"],
    );
    fs::write(shelf.path("sd.csv"), "date, file, uncertainty\n2024-05-02, a.tif, b.tif\n").unwrap();
    refused("list = \"sd.csv\"\nnoise_variance = 1e-4", &["uncertainty", "the list names files"]);
    refused("list = \"sd.csv\"\nnoise_variance = 1e-4\ndate = '('", &["date", "list", "leave it out"]);
    refused("preset = \"hls_s30\"\nfiles = \"hsl\"", &["there is no", "hsl"]);
    refused(&format!("{hls}\nsource_bands = [\"red\"]"), &["target.bands", "no instrument observes \"nir_narrow\""]);
}
