//! Odd files of several formats: each is read as it is meant, or refused with what to do.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use gdal::raster::{ColorEntry, ColorTable, RasterCreationOptions};
use gdal::{DriverManager, Metadata};
use ndarray::Array3;
use rasterfuse::Error;
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::{Quality, RasterSeries, RasterSource, RasterStack, StackBuilder, ZarrCube};
use serde_json::json;
use support::{Sample, Tiff, assert_says, day, refusal, zarr_array};
use tempfile::TempDir;

const UTM: &str = "EPSG:32633";
const SIDE: usize = 12;

fn grid() -> Grid {
    Grid::new(Crs::unknown(), [500_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], (SIDE, SIDE)).unwrap()
}

/// Values that differ from pixel to pixel, in the number of a file.
fn stored(scale: f64) -> Array3<f64> {
    Array3::from_shape_fn((1, SIDE, SIDE), |(_, row, col)| (scale * (1000 + 40 * row + col) as f64).round())
}

/// A file of one band in any of GDAL's formats.
fn put(folder: &Path, name: &str, driver: &str, options: &[&str], change: impl Fn(Tiff) -> Tiff) -> PathBuf {
    let (plain, path) = (folder.join("plain"), folder.join(name));
    let values = stored(1.0);
    change(Tiff { crs: Some(UTM), sample: Sample::I16, ..Tiff::new(&grid(), values.view()) }).write(&plain);
    let driver = DriverManager::get_driver_by_name(driver).unwrap();
    let options: RasterCreationOptions = options.iter().copied().collect();
    gdal::Dataset::open(&plain).unwrap().create_copy(&driver, &path, &options).unwrap().close().unwrap();
    fs::remove_file(plain).unwrap();
    path
}

fn stack(folder: &Path, files: &str) -> StackBuilder {
    RasterStack::builder(files, r"_(\d{8})").folder(folder)
}

fn first(source: &dyn RasterSource) -> f64 {
    let date = source.dates()[0];
    source.read(date, &[0], &source.grid().region()).unwrap().values[(0, 1, 2)]
}

#[test]
fn scales_of_envi_headers_that_gdal_does_not_apply_are_refused_unless_one_is_given() {
    for (line, says) in [
        ("reflectance scale factor = 10000", "reflectance scale factor 10000"),
        ("data gain values = {0.0001}", "data gain value 0.0001"),
    ] {
        let folder = TempDir::new().unwrap();
        let path = put(folder.path(), "a_20240501.img", "ENVI", &[], |tiff| tiff);
        let header = path.with_extension("hdr");
        let mut file = fs::File::options().append(true).open(&header).unwrap();
        writeln!(file, "{line}").unwrap();
        drop(file);
        let open = || stack(folder.path(), "a_*.img");
        match open().open() {
            // Where GDAL applies it itself.
            Ok(stack) => assert!((first(&stack) - 0.1042).abs() < 1e-9, "{line}"),
            Err(error) => assert_says(&error.to_string(), &["a_20240501.img", "2024-05-01", says, "scale = 1e-4"]),
        }
        let given = open().scale(1e-4).open().unwrap();
        assert!((first(&given) - 0.1042).abs() < 1e-9, "{line}");
        let series = || RasterSeries::builder(&path).dates([Date::from_days(0)]);
        if let Err(error) = series().open() {
            assert_says(&error.to_string(), &["a_20240501.img", says, "scale"]);
        }
        assert!((first(&series().scale(1e-4).open().unwrap()) - 0.1042).abs() < 1e-9, "{line}");
    }
}

#[test]
fn a_scale_of_zero_is_refused() {
    let folder = TempDir::new().unwrap();
    put(folder.path(), "a_20240501.tif", "GTiff", &[], |tiff| Tiff { scale: Some((0.0, 0.1)), ..tiff });
    assert_says(&refusal(stack(folder.path(), "a_*.tif").open()), &["a_20240501.tif", "scale 0", "give `scale`"]);
    assert!((first(&stack(folder.path(), "a_*.tif").scale(1e-4).open().unwrap()) - 0.2042).abs() < 1e-9);
}

/// GDAL takes axes that are nearly even for a grid, and places their pixels wrongly.
#[test]
fn axes_of_netcdf_that_are_not_evenly_spaced_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = put(folder.path(), "a_20240501.nc", "netCDF", &["FORMAT=NC"], |tiff| tiff);
    let open = || stack(folder.path(), "a_*.nc").open();
    assert_eq!(first(&open().unwrap()), 1042.0);
    let whole = fs::read(&path).unwrap();
    for (axis, centre, problem) in [("y", 5_100_000.0 - 30.0 * 5.5, "5099847"), ("x", 500_000.0 + 30.0 * 5.5, "500177")]
    {
        // Classic NetCDF holds numbers as they are, the largest byte first.
        let bytes = f64::to_be_bytes(centre);
        let at = whole.windows(8).position(|window| window == bytes).unwrap();
        let mut moved = whole.clone();
        moved[at..at + 8].copy_from_slice(&f64::to_be_bytes(centre + 12.0));
        fs::write(&path, &moved).unwrap();
        match open() {
            // Where GDAL finds it itself.
            Err(Error::Open { problem, .. }) if problem.contains("no geotransform") => {}
            other => assert_says(
                &refusal(other),
                &["a_20240501.nc", "2024-05-01", &format!("{axis:?}"), "not evenly spaced", problem],
            ),
        }
        moved[at..at + 8].copy_from_slice(&f64::to_be_bytes(centre + 0.5));
        fs::write(&path, &moved).unwrap();
        assert!(open().is_ok(), "{axis}: rounded coordinates are even");
    }
}

#[test]
fn formats_that_are_not_opened_unasked_are_named_with_the_key() {
    let folder = TempDir::new().unwrap();
    let float = |tiff| Tiff { sample: Sample::F32, ..tiff };
    put(folder.path(), "a_20240501.map", "PCRaster", &["PCRASTER_VALUESCALE=VS_SCALAR"], float);
    let open = || stack(folder.path(), "a_*.map");
    assert_says(&refusal(open().open()), &["a_20240501.map", "2024-05-01", "drivers = [\"PCRaster\"]"]);
    assert_eq!(first(&open().drivers(["PCRaster"]).open().unwrap()), 1042.0);
    fs::write(folder.path().join("b_20240501.map"), "no raster").unwrap();
    let message = refusal(stack(folder.path(), "b_*.map").open());
    assert!(message.contains("b_20240501.map") && !message.contains("drivers"), "{message}");
}

#[test]
fn overviews_that_are_gone_do_not_matter() {
    let folder = TempDir::new().unwrap();
    let path = put(folder.path(), "a_20240501.tif", "GTiff", &[], |tiff| tiff);
    let beside = folder.path().join("a_20240501.tif.aux.xml");
    for (place, opens) in [("/nowhere/a.ovr", true), ("/vsimem/a.ovr", false), ("WMS:there", false)] {
        let text = format!(
            "<PAMDataset><Metadata domain=\"OVERVIEWS\"><MDI key=\"OVERVIEW_FILE\">{place}</MDI></Metadata></PAMDataset>"
        );
        fs::write(&beside, text).unwrap();
        match stack(folder.path(), "a_*.tif").open() {
            Ok(stack) => assert!(opens && first(&stack) == 1042.0, "{place}"),
            Err(error) => {
                assert!(!opens, "{place}: {error}");
                assert_says(&error.to_string(), &[path.to_str().unwrap(), place]);
            }
        }
    }
}

fn description(time: &str, keys: &str) -> String {
    format!(
        r#"
        [target]
        geotransform = [500000.0, 30.0, 0.0, 5100000.0, 0.0, -30.0]
        shape = [12, 12]
        crs = "{UTM}"
        bands = ["red"]
        [time]
        output = "observed"
        {time}
        [process]
        kernel = "none"
        variance = 0.01
        [prior]
        mean = 0.5
        variance = 1.0
        [[instrument]]
        name = "s2"
        files = "a_*.tif"
        date = '_(\d{{8}})'
        bands = ["red"]
        noise_variance = 1e-9
        {keys}
        [output]
        store = "out.zarr"
        "#
    )
}

#[test]
fn files_outside_of_the_period_are_not_opened() {
    let folder = TempDir::new().unwrap();
    let fusion = |time: &str, keys: &str| FusionConfig::parse(&description(time, keys), folder.path())?.build();
    for day in ["20240506", "20240511"] {
        put(folder.path(), &format!("a_{day}.tif"), "GTiff", &[], |tiff| tiff);
    }
    let (before, after) = (folder.path().join("a_20240401.tif"), folder.path().join("a_20240601.tif"));
    fs::write(&before, "no raster").unwrap();
    fs::write(&after, "no raster").unwrap();
    let within = fusion("start = \"2024-05-01\"\nend = \"2024-05-31\"", "").unwrap();
    assert_eq!((within.plan().instruments[0].dates, within.plan().dates), (2, 2));
    assert_says(&refusal(fusion("start = \"2024-05-01\"", "")), &["a_20240601.tif"]);
    assert_says(&refusal(fusion("end = \"2024-05-31\"", "")), &["a_20240401.tif"]);
    // A composite counts on the last day of its window, so that one from before the period may.
    let composite = "composite = { days = 16, centre = 0.0 }";
    assert!(fusion("start = \"2024-05-01\"\nend = \"2024-05-31\"", composite).is_ok());
    assert_says(&refusal(fusion("start = \"2024-04-10\"\nend = \"2024-05-31\"", composite)), &["a_20240401.tif"]);
    // What there is is told where nothing is dated in the period.
    fs::remove_file(before).unwrap();
    fs::remove_file(after).unwrap();
    let daily = description("start = \"2024-07-01\"\nend = \"2024-07-31\"", "").replace("\"observed\"", "\"daily\"");
    let fusion = FusionConfig::parse(&daily, folder.path()).unwrap().build().unwrap();
    let none = refusal(fusion.run(&mut MemorySink::new()));
    assert_says(&none, &["s2", "2024-05-06", "2024-05-11"]);
}

#[test]
fn a_date_many_years_from_the_others_is_named() {
    let folder = TempDir::new().unwrap();
    let dates = ["20240506", "20240511", "20240516"];
    for day in dates {
        put(folder.path(), &format!("a_{day}.tif"), "GTiff", &[], |tiff| tiff);
    }
    let warnings = || stack(folder.path(), "a_*.tif").open().unwrap().warnings();
    assert_eq!(warnings(), [""; 0]);
    for (stray, says) in [("19000101", "124 years before"), ("20350101", "10 years after"), ("20330101", "")] {
        let path = put(folder.path(), &format!("a_{stray}.tif"), "GTiff", &[], |tiff| tiff);
        match &warnings()[..] {
            [warning] => assert_says(warning, &[&format!("a_{stray}.tif"), says, "`date`", "time.end"]),
            others => assert!(says.is_empty() && others.is_empty(), "{stray}: {others:?}"),
        }
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn numbers_that_may_be_places_in_a_table_of_colours_are_told() {
    let folder = TempDir::new().unwrap();
    let byte = |tiff: Tiff| Tiff { sample: Sample::U8, ..tiff };
    for (name, coloured) in [("a_20240506.tif", false), ("a_20240511.tif", true)] {
        let path = put(folder.path(), name, "GTiff", &[], byte);
        let flags = gdal::GdalOpenFlags::GDAL_OF_UPDATE;
        let options = gdal::DatasetOptions { open_flags: flags, ..Default::default() };
        let file = gdal::Dataset::open_ex(&path, options).unwrap();
        if coloured {
            let ramp =
                ColorTable::color_ramp(0, &ColorEntry::rgba(0, 0, 0, 255), 255, &ColorEntry::rgba(255, 255, 255, 255))
                    .unwrap();
            file.rasterband(1).unwrap().set_color_table(&ramp);
        }
        file.close().unwrap();
    }
    let warnings = stack(folder.path(), "a_*.tif").open().unwrap().warnings();
    assert!(warnings.iter().any(|warning| warning.contains("colours: 1 file, first")), "{warnings:?}");
    let quality = stack(folder.path(), "a_*06.tif").quality(Quality::files("a_*11.tif").drop([1.0]));
    assert_eq!(quality.open().unwrap().warnings(), [""; 0]);
}

#[test]
fn units_may_be_spelled_in_several_ways() {
    let folder = TempDir::new().unwrap();
    let names = [("20240501", "K"), ("20240506", "Kelvin"), ("20240511", "kelvin")];
    let put_unit = |day: &str, unit: &str| {
        let path = put(folder.path(), &format!("a_{day}.tif"), "GTiff", &[], |tiff| tiff);
        let text =
            format!("<PAMDataset><PAMRasterBand band=\"1\"><UnitType>{unit}</UnitType></PAMRasterBand></PAMDataset>");
        fs::write(format!("{}.aux.xml", path.display()), text).unwrap();
    };
    names.iter().for_each(|(day, unit)| put_unit(day, unit));
    assert!(stack(folder.path(), "a_*.tif").open().unwrap().warnings().is_empty());
    put_unit("20240516", "degC");
    assert_says(&refusal(stack(folder.path(), "a_*.tif").open()), &["a_20240516.tif", "units differ", "degC", "K"]);
}

#[test]
fn numbers_that_the_range_takes_are_counted_as_such_however_large() {
    let folder = TempDir::new().unwrap();
    let values = Array3::from_elem((1, SIDE, SIDE), 3e35);
    let tiff = Tiff { crs: Some(UTM), sample: Sample::F32, ..Tiff::new(&grid(), values.view()) };
    tiff.write(&folder.path().join("a_20240501.tif"));
    for reproject in ["", "reproject = \"nearest\""] {
        let text = description("", &format!("valid_range = [0.0, 1.0]\n{reproject}"));
        let fusion = FusionConfig::parse(&text, folder.path()).unwrap().build().unwrap();
        let message = refusal(fusion.run(&mut MemorySink::new()));
        assert_says(&message, &["s2", "not one value", "144 outside `valid_range`"]);
    }
}

/// A raster whose bands are dates.
fn series(folder: &Path, change: impl Fn(&mut gdal::Dataset)) -> PathBuf {
    let values = Array3::from_shape_fn((3, SIDE, SIDE), |(date, row, col)| (1000 + date + 40 * row + col) as f64);
    let path = folder.join("series.tif");
    let plain =
        Tiff { crs: Some(UTM), sample: Sample::I16, scale: Some((1e-4, 0.0)), ..Tiff::new(&grid(), values.view()) };
    plain.write(&path);
    let flags = gdal::GdalOpenFlags::GDAL_OF_UPDATE;
    let mut file =
        gdal::Dataset::open_ex(&path, gdal::DatasetOptions { open_flags: flags, ..Default::default() }).unwrap();
    change(&mut file);
    file.close().unwrap();
    path
}

#[test]
fn dates_of_a_series_that_disagree_are_refused_or_told() {
    let folder = TempDir::new().unwrap();
    let open = |path: &Path| RasterSeries::builder(path).dates([day(0), day(4), day(8)]);
    let plain = series(folder.path(), |_| {});
    assert!(open(&plain).open().unwrap().warnings().is_empty());
    let scaled = series(folder.path(), |file| file.rasterband(2).unwrap().set_scale(1e-3).unwrap());
    let message = refusal(open(&scaled).open());
    assert_says(
        &message,
        &["series.tif", "scale and offset tags differ", "1 of 3 bands", "band 2 (2024-01-05)", "0.001"],
    );
    let given = open(&scaled).scale(1e-4).open().unwrap();
    assert!((given.read(day(4), &[0], &given.grid().region()).unwrap().values[(0, 1, 2)] - 0.1043).abs() < 1e-9);
    let unit = |unit: &'static str| {
        let path = series(folder.path(), |_| {});
        let band = |(number, unit): (usize, &str)| {
            format!("<PAMRasterBand band=\"{number}\"><UnitType>{unit}</UnitType></PAMRasterBand>")
        };
        let bands = (1..).zip(["K", unit, "kelvin"]).map(band).collect::<Vec<_>>().concat();
        fs::write(folder.path().join("series.tif.aux.xml"), format!("<PAMDataset>{bands}</PAMDataset>")).unwrap();
        open(&path).open()
    };
    assert!(unit("Kelvin").is_ok());
    assert_says(&refusal(unit("degC")), &["series.tif", "units differ", "band 2 (2024-01-05)", "degC"]);
    fs::remove_file(folder.path().join("series.tif.aux.xml")).unwrap();
    let named = series(folder.path(), |file| {
        for (band, name) in ["2024-01-09", "2024-01-05", "2024-01-01"].into_iter().enumerate() {
            file.rasterband(band + 1).unwrap().set_description(name).unwrap();
        }
    });
    assert_says(&open(&named).open().unwrap().warnings()[0], &["band 1 is of 2024-01-09", "listed as 2024-01-01"]);
    let own = RasterSeries::builder(&named).open().unwrap();
    assert!((own.read(day(0), &[0], &own.grid().region()).unwrap().values[(0, 1, 2)] - 0.1044).abs() < 1e-9);
}

#[test]
fn files_of_gzip_are_named_as_such() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("a_20240501.tif"), [0x1f, 0x8b, 8, 0, 0, 0]).unwrap();
    assert_says(&refusal(stack(folder.path(), "a_*.tif").open()), &["a_20240501.tif", "2024-05-01", "gzip", "gunzip"]);
}

#[test]
fn numbers_of_cubes_are_those_that_attributes_mean_or_refused() {
    let folder = TempDir::new().unwrap();
    let floats = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let axis = |name: &str, attributes: serde_json::Value, values: &[f64]| {
        let shape = [values.len() as u64];
        zarr_array(&folder.path().join(name), (&shape, "float64"), &[name], &attributes, &floats(values));
    };
    axis("time", json!({ "units": "days since 2024-01-01" }), &[0.0]);
    axis("y", json!({}), &[45.0, 15.0]);
    axis("x", json!({}), &[15.0, 45.0]);
    let red = |kind: &str, attributes: serde_json::Value, bytes: &[u8]| {
        zarr_array(&folder.path().join("red"), (&[1, 2, 2], kind), &["time", "y", "x"], &attributes, bytes);
        ZarrCube::builder(folder.path()).variable("red")
    };
    let integers = |values: [i64; 4]| values.map(i64::to_le_bytes).concat();
    let read = |cube: &ZarrCube| {
        cube.read(day(0), &[0], &cube.grid().region()).map(|slice| slice.values.into_raw_vec_and_offset().0)
    };

    let scaled = || red("int64", json!({ "scale_factor": 0.0 }), &integers([1000, 2000, 3000, 4000]));
    assert_says(&refusal(scaled().open()), &["red", "scale_factor is 0", "give `scale`"]);
    assert_eq!(read(&scaled().scale(0.5).open().unwrap()).unwrap(), [500.0, 1000.0, 1500.0, 2000.0]);

    for (number, held) in [(9_007_199_254_740_991, true), (9_007_199_254_740_993, false), (i64::MIN, false)] {
        let cube = red("int64", json!({}), &integers([1, 2, number, 4])).open().unwrap();
        match read(&cube) {
            Ok(values) => assert!(held && values[2] == number as f64, "{number}"),
            Err(error) => assert!(!held && error.to_string().contains("can be no value"), "{number}: {error}"),
        }
        let cube = red("int64", json!({ "_FillValue": number }), &integers([1, 2, number, 4])).open().unwrap();
        assert!(read(&cube).unwrap()[2].is_nan(), "{number}");
    }

    for (kind, attributes, bytes, odd) in [
        ("float64", json!({ "valid_range": [0, 10_000] }), floats(&[0.1, 0.2, 0.3, 0.4]), true),
        ("float64", json!({ "valid_range": [0.0, 1.0] }), floats(&[0.1, 0.2, 0.3, 0.4]), false),
        ("int64", json!({ "valid_range": [0.0, 1.0], "scale_factor": 1e-4 }), integers([0, 1, 2, 3]), true),
        ("int64", json!({ "valid_range": [0, 10_000], "scale_factor": 1e-4 }), integers([0, 1, 2, 3]), false),
    ] {
        let warnings = red(kind, attributes.clone(), &bytes).open().unwrap().warnings();
        assert_eq!(warnings.len(), usize::from(odd), "{attributes}: {warnings:?}");
        assert!(!odd || warnings[0].contains("valid_range"), "{warnings:?}");
    }
}
