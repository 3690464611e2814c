//! Inputs that could mislead: files that disagree, inputs that give nothing, fill values. Each is read as it is meant, refused, or told.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use gdal::raster::RasterCreationOptions;
use gdal::{DriverManager, Metadata};
use ndarray::{Array3, Array4, s};
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Crs, Grid};
use rasterfuse::series::Report;
use rasterfuse::sink::MemorySink;
use rasterfuse::{Error, Fusion, Result};
use support::{Missing, Sample, Tiff, assert_says, refusal};
use tempfile::TempDir;

const UTM: &str = "EPSG:32633";
const SHAPE: (usize, usize) = (12, 12);

fn target() -> Grid {
    Grid::new(Crs::unknown(), [500_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], SHAPE).unwrap()
}

/// A file of int16 with nodata -9999, as a hook changes it.
fn put(folder: &Path, name: &str, numbers: &[f64], change: impl Fn(Tiff) -> Tiff) {
    put_at(folder, name, &target(), numbers, change);
}

/// One number for each band.
fn put_at(folder: &Path, name: &str, grid: &Grid, numbers: &[f64], change: impl Fn(Tiff) -> Tiff) {
    let values = Array3::from_shape_fn((numbers.len(), grid.rows(), grid.cols()), |(band, ..)| numbers[band]);
    let plain = Tiff {
        crs: Some(UTM),
        sample: Sample::I16,
        missing: Missing::Nodata(-9999.0),
        ..Tiff::new(grid, values.view())
    };
    change(plain).write(&folder.join(name));
}

/// A description whose fused value of an observed date is what was taken for the observation.
fn description(bands: &str, instruments: &str, run: &str) -> String {
    format!(
        r#"
        [target]
        geotransform = [500000.0, 30.0, 0.0, 5100000.0, 0.0, -30.0]
        shape = [12, 12]
        crs = "{UTM}"
        bands = {bands}
        [time]
        output = "observed"
        [process]
        kernel = "none"
        variance = 0.01
        [prior]
        mean = 0.5
        variance = 1.0
        {instruments}
        [output]
        store = "out.zarr"
        [run]
        {run}
        "#
    )
}

fn instrument(keys: &str) -> String {
    format!(
        "[[instrument]]\nname = \"s2\"\nfiles = \"s2_*.tif\"\ndate = '_(\\d{{8}})'\nnoise_variance = 1e-9\n{keys}\n"
    )
}

/// A file of zeros by GDAL's description of it, with something said of the file and of its band.
fn described(folder: &Path, name: &str, of_file: &str, of_band: &str) {
    let transform = target().geotransform().map(|number| number.to_string()).join(", ");
    let vrt = format!(
        "<VRTDataset rasterXSize=\"12\" rasterYSize=\"12\"><SRS>{UTM}</SRS><GeoTransform>{transform}</GeoTransform>{of_file}\
         <VRTRasterBand dataType=\"Float32\" band=\"1\">{of_band}</VRTRasterBand></VRTDataset>"
    );
    fs::write(folder.join(name), vrt).unwrap();
}

fn build(folder: &TempDir, text: &str) -> Result<Fusion> {
    FusionConfig::parse(text, folder.path())?.build()
}

fn run(folder: &TempDir, text: &str) -> Result<(Array4<f32>, Report)> {
    let mut sink = MemorySink::new();
    let report = build(folder, text)?.run(&mut sink)?;
    Ok((sink.into_arrays()?.0.mapv(|value| value as f32), report))
}

fn near(value: f32, expected: f32) -> bool {
    (value - expected).abs() < 1e-4
}

/// Three dates of red, of which the second is as `change` makes it.
fn three(change: impl Fn(Tiff) -> Tiff) -> TempDir {
    let folder = TempDir::new().unwrap();
    for day in ["01", "06", "11"] {
        let odd = day == "06";
        put(folder.path(), &format!("s2_202405{day}.tif"), &[2000.0], |tiff| if odd { change(tiff) } else { tiff });
    }
    folder
}

const RED: &str = r#"["red"]"#;
const ON_RED: &str = "bands = [\"red\"]\nscale = 1e-4";

mod headers {
    use super::*;

    #[test]
    fn a_nodata_tag_that_one_date_lacks_is_told_or_refused() {
        let folder = three(|tiff| Tiff { missing: Missing::Nan, ..tiff });
        let text = |headers: &str| description(RED, &instrument(&format!("{ON_RED}\n{headers}")), "");
        let fusion = build(&folder, &text("")).unwrap();
        let warnings = &fusion.plan().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        let words = ["\"s2\"", "nodata tags differ", "1 of 3", "s2_20240506.tif", "2024-05-06", "none", "-9999"];
        assert_says(&warnings[0], &words);
        assert_says(&refusal(build(&folder, &text("headers = \"strict\""))), &[&words[1..], &["headers"]].concat());
        // The number is missing in all of them.
        assert!(build(&folder, &text("nodata = -9999")).unwrap().plan().warnings.is_empty());
    }

    #[test]
    fn a_scale_tag_that_one_date_lacks_is_refused() {
        let folder = TempDir::new().unwrap();
        for (day, scale) in [("01", Some((1e-4, 0.0))), ("06", None), ("11", Some((1e-4, 0.0)))] {
            put(folder.path(), &format!("s2_202405{day}.tif"), &[2000.0], |tiff| Tiff { scale, ..tiff });
        }
        let text = |keys: &str| description(RED, &instrument(&format!("bands = [\"red\"]\n{keys}")), "");
        let message = refusal(build(&folder, &text("")));
        assert_says(
            &message,
            &["s2_20240506.tif", "2024-05-06", "scale 1.0", "0.0001", "`scale`", "headers = \"warn\""],
        );
        let (mean, _) = run(&folder, &text("scale = 1e-4")).unwrap();
        assert!(mean.iter().all(|value| near(*value, 0.2)));
        let warnings = build(&folder, &text("headers = \"warn\"")).unwrap().plan().warnings.clone();
        assert_says(&warnings[0], &["scale and offset tags differ", "1 of 3"]);
    }

    #[test]
    fn floats_among_integers_under_one_scale_are_refused_and_their_date_may_be_skipped() {
        let folder = three(|tiff| Tiff { sample: Sample::F32, missing: Missing::Nan, ..tiff });
        let message = refusal(build(&folder, &description(RED, &instrument(ON_RED), "")));
        assert_says(&message, &["s2_20240506.tif", "floats", "integers", "`scale`"]);
        let (mean, report) = run(&folder, &description(RED, &instrument(ON_RED), "on_error = \"skip\"")).unwrap();
        assert!(mean.iter().all(|value| near(*value, 0.2)));
        let skipped: Vec<String> = report.skipped.iter().map(|slice| slice.date.to_string()).collect();
        assert_eq!(skipped, ["2024-05-06"]);
    }

    #[test]
    fn bands_in_another_order_are_read_by_their_names() {
        let folder = TempDir::new().unwrap();
        for (day, names, numbers) in [
            ("01", ["red", "nir"], [500.0, 4000.0]),
            ("06", ["nir", "red"], [4000.0, 500.0]),
            ("11", ["red", "nir"], [500.0, 4000.0]),
        ] {
            let named = |tiff| Tiff { names: names.map(Into::into).to_vec(), ..tiff };
            put(folder.path(), &format!("s2_202405{day}.tif"), &numbers, named);
        }
        let text = description("[\"red\", \"nir\"]", &instrument("scale = 1e-4"), "");
        let warnings = build(&folder, &text).unwrap().plan().warnings.clone();
        assert_says(&warnings[0], &["another order", "by their names", "1 of 3", "s2_20240506.tif"]);
        let (mean, _) = run(&folder, &text).unwrap();
        for (band, expected) in [(0, 0.05), (1, 0.4)] {
            assert!(mean.slice(s![.., band, .., ..]).iter().all(|value| near(*value, expected)), "{band}");
        }
    }

    #[test]
    fn names_that_only_one_file_has_are_followed_where_they_are_what_bands_observe() {
        let folder = TempDir::new().unwrap();
        put(folder.path(), "s2_20240501.tif", &[500.0, 4000.0], |tiff| tiff);
        let of = |names: [&'static str; 2]| move |tiff| Tiff { names: names.map(Into::into).to_vec(), ..tiff };
        put(folder.path(), "s2_20240506.tif", &[4000.0, 500.0], of(["nir", "red"]));
        let text = description("[\"red\", \"nir\"]", &instrument("scale = 1e-4\nbands = [\"red\", \"nir\"]"), "");
        let warnings = build(&folder, &text).unwrap().plan().warnings.clone();
        assert_says(&warnings[0], &["another order", "s2_20240506.tif", "by their names"]);
        let (mean, _) = run(&folder, &text).unwrap();
        for (band, expected) in [(0, 0.05), (1, 0.4)] {
            assert!(mean.slice(s![.., band, .., ..]).iter().all(|value| near(*value, expected)), "{band}");
        }
        // Other names do not tell the order.
        put(folder.path(), "s2_20240506.tif", &[4000.0, 500.0], of(["B8A", "B04"]));
        assert_says(&refusal(build(&folder, &text)), &["s2_20240506.tif", "bands have names", "order", "headers"]);
        let unknown = description(RED, &instrument("scale = 1e-4\nbands = [\"red\", \"\"]"), "");
        assert_says(&refusal(build(&folder, &unknown)), &["s2_20240506.tif", "bands have names", "order", "headers"]);
    }

    #[test]
    fn a_unit_that_one_date_has_of_its_own_is_refused() {
        let folder = TempDir::new().unwrap();
        for (day, unit) in [("01", "K"), ("06", "degC"), ("11", "K")] {
            described(folder.path(), &format!("s2_202405{day}.vrt"), "", &format!("<UnitType>{unit}</UnitType>"));
        }
        let text =
            description(RED, &instrument("bands = [\"red\"]\ndrivers = [\"VRT\"]").replace("s2_*.tif", "s2_*.vrt"), "");
        assert_says(&refusal(build(&folder, &text)), &["units differ", "s2_20240506.vrt", "degC", "K"]);
    }

    #[test]
    fn a_unit_that_one_date_lacks_is_told() {
        let folder = TempDir::new().unwrap();
        for (day, unit) in [("01", "%"), ("06", ""), ("11", "percent")] {
            described(folder.path(), &format!("s2_202405{day}.vrt"), "", &format!("<UnitType>{unit}</UnitType>"));
        }
        let text =
            description(RED, &instrument("bands = [\"red\"]\ndrivers = [\"VRT\"]").replace("s2_*.tif", "s2_*.vrt"), "");
        let warnings = build(&folder, &text).unwrap().plan().warnings.clone();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_says(&warnings[0], &["a unit that some files lack", "1 of 3", "s2_20240506.vrt"]);
    }

    #[test]
    fn a_name_that_several_bands_have_is_refused_unless_it_is_said_what_they_observe() {
        let folder = TempDir::new().unwrap();
        let named = |tiff| Tiff { names: vec!["red".into(), "red".into()], ..tiff };
        put(folder.path(), "s2_20240501.tif", &[500.0, 4000.0], named);
        let text = |bands: &str| description(RED, &instrument(&format!("scale = 1e-4\n{bands}")), "");
        let message = refusal(build(&folder, &text("")));
        assert_says(&message, &["\"s2\"", "bands", "\"red\" is the name of several bands"]);
        let (mean, _) = run(&folder, &text("bands = [\"\", \"red\"]")).unwrap();
        assert!(mean.iter().all(|value| near(*value, 0.4)));
    }

    #[test]
    fn files_without_names_follow_the_first_that_has_them() {
        let folder = TempDir::new().unwrap();
        let named = |tiff| Tiff { names: vec!["red".into(), "nir".into()], ..tiff };
        put(folder.path(), "s2_20240501.tif", &[500.0, 4000.0], named);
        put(folder.path(), "s2_20240506.tif", &[500.0, 4000.0], |tiff| tiff);
        let text = description("[\"red\", \"nir\"]", &instrument("scale = 1e-4"), "");
        assert_says(
            &build(&folder, &text).unwrap().plan().warnings[0],
            &["s2_20240506.tif", "order of the first file"],
        );
    }

    #[test]
    fn a_tag_that_its_type_cannot_hold_is_told() {
        let folder = three(|tiff| tiff);
        for day in ["01", "06", "11"] {
            let bytes = |tiff| Tiff { sample: Sample::U8, missing: Missing::Nodata(-9999.0), ..tiff };
            put(folder.path(), &format!("s2_202405{day}.tif"), &[20.0], bytes);
        }
        let text = description(RED, &instrument("bands = [\"red\"]\nscale = 0.01"), "");
        let warnings = build(&folder, &text).unwrap().plan().warnings.clone();
        assert_says(&warnings[0], &["hides nothing", "3 files", "-9999", "Byte"]);
    }
}

mod nothing {
    use super::*;

    /// A mask beside each date.
    fn masked(mask: f64, nodata: Missing) -> TempDir {
        let folder = three(|tiff| tiff);
        for day in ["01", "06", "11"] {
            let bytes = |tiff| Tiff { sample: Sample::U8, missing: nodata, ..tiff };
            put(folder.path(), &format!("cloud_202405{day}.tif"), &[mask], bytes);
        }
        folder
    }

    fn with_mask(rule: &str) -> String {
        instrument(&format!("{ON_RED}\nquality = {{ files = \"cloud_*.tif\", {rule} }}"))
    }

    #[test]
    fn an_input_of_which_quality_takes_all_is_refused_with_numbers() {
        let folder = masked(1.0, Missing::Nodata(255.0));
        let text = description(RED, &with_mask("drop = [1]"), "");
        let error = run(&folder, &text).unwrap_err();
        assert!(matches!(&error, Error::NothingUsed { band: None, .. }), "{error}");
        assert_says(&error.to_string(), &["\"s2\"", "432 values", "3 of its 3 dates", "432 hidden by `quality`"]);
        let (_, report) = run(&folder, &description(RED, &with_mask("drop = [1]"), "on_error = \"skip\"")).unwrap();
        assert_eq!(report.instruments[0].empty.len(), 3);
        assert_says(
            &report.to_string(),
            &["warning: not one value of s2 was used", "empty: 3 of 3 dates of s2", "2024-05-06"],
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["unused"][0]["instrument"], "s2");
        assert_eq!(json["instruments"][0]["empty"].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn range_nodata_time_and_place_are_told_apart() {
        let folder = three(|tiff| tiff);
        let refused = |keys: &str| refusal(run(&folder, &description(RED, &instrument(keys), "")));
        let out = refused(&format!("{ON_RED}\nvalid_range = [0.5, 1.0]"));
        assert_says(&out, &["432 outside `valid_range`"]);
        assert_says(&refused(&format!("{ON_RED}\nnodata = 2000")), &["432 missing in the files"]);
        let late = description(RED, &instrument(ON_RED), "")
            .replace("output = \"observed\"", "start = \"2025-01-01\"\nend = \"2025-01-03\"");
        let fusion = build(&folder, &late).unwrap();
        assert_says(&fusion.plan().warnings[0], &["gives nothing", "2025-01-01", "(time)", "2024-05-11"]);
        assert_says(&refusal(fusion.run(&mut MemorySink::new())), &["\"s2\"", "(time)"]);
    }

    #[test]
    fn an_instrument_beside_the_target_is_refused_before_anything_is_read() {
        let folder = three(|tiff| tiff);
        let away = Grid::new(Crs::unknown(), [590_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], SHAPE).unwrap();
        put_at(folder.path(), "aw_20240501.tif", &away, &[1000.0], |tiff| tiff);
        let other = instrument(ON_RED).replace("\"s2\"", "\"mod\"").replace("s2_*", "aw_*");
        let both = format!("{}{other}", instrument(ON_RED));
        let fusion = build(&folder, &description(RED, &both, "")).unwrap();
        assert_eq!(fusion.plan().instruments[1].coverage.to_bits(), 0.0_f64.to_bits());
        assert_says(&fusion.plan().to_string(), &["\"mod\"", "does not touch", "(place)"]);
        assert_says(&refusal(fusion.run(&mut MemorySink::new())), &["\"mod\"", "not one value", "(place)"]);
        let (mean, report) = run(&folder, &description(RED, &both, "on_error = \"skip\"")).unwrap();
        assert!(near(mean[(0, 0, 0, 0)], 0.2) && report.unused.len() == 1);
    }

    #[test]
    fn a_band_without_a_value_is_refused_by_its_name() {
        let folder = TempDir::new().unwrap();
        for day in ["01", "06"] {
            let named = |tiff| Tiff { names: vec!["red".into(), "nir".into()], ..tiff };
            put(folder.path(), &format!("s2_202405{day}.tif"), &[2000.0, -9999.0], named);
        }
        let text = |run: &str| description("[\"red\", \"nir\"]", &instrument("scale = 1e-4"), run);
        let error = run(&folder, &text("")).unwrap_err();
        assert!(matches!(&error, Error::NothingUsed { band: Some(band), .. } if band == "nir"), "{error}");
        assert_says(&error.to_string(), &["band \"nir\"", "288 missing in the files"]);
        let (mean, report) = run(&folder, &text("on_error = \"skip\"")).unwrap();
        assert!(near(mean[(0, 0, 0, 0)], 0.2) && report.unused[0].band.as_deref() == Some("nir"));
    }

    #[test]
    fn coverage_is_what_the_files_reach_also_on_another_grid() {
        let folder = TempDir::new().unwrap();
        // The left half of the target, in another zone.
        let half = Grid::new(Crs::unknown(), [500_000.0, 60.0, 0.0, 5_100_000.0, 0.0, -60.0], (6, 3)).unwrap();
        put_at(folder.path(), "s2_20240501.tif", &half, &[2000.0], |tiff| tiff);
        let reprojected = instrument(&format!("{ON_RED}\nreproject = \"nearest\""));
        let coverage = build(&folder, &description(RED, &reprojected, "")).unwrap().plan().instruments[0].coverage;
        assert!((coverage - 0.5).abs() < 0.05, "{coverage}");
    }

    #[test]
    fn zeros_of_a_mask_are_clear_whatever_its_nodata_tag() {
        let folder = masked(0.0, Missing::Nodata(0.0));
        let told =
            |rule: &str| build(&folder, &description(RED, &with_mask(rule), "")).unwrap().plan().warnings.clone();
        for rule in ["drop = [1]", "keep = [0]", "bits = [0]", "drop = [1], nodata = []"] {
            let (mean, report) = run(&folder, &description(RED, &with_mask(rule), "")).unwrap();
            assert!(near(mean[(0, 0, 0, 0)], 0.2) && report.instruments[0].dates.len() == 3, "{rule}");
        }
        assert_says(&told("drop = [1]")[0], &["quality.nodata = 0", "cloud_20240501.tif", "3 files", "clear"]);
        assert!(told("keep = [0]").is_empty() && told("drop = [1], nodata = []").is_empty());
        let unknown = run(&folder, &description(RED, &with_mask("drop = [1], nodata = 0"), ""));
        assert_says(&refusal(unknown), &["hidden by `quality`"]);
        // The same where the mask is resampled.
        let resampled = format!("{}reproject = \"nearest\"\n", with_mask("drop = [1]"));
        let (mean, _) = run(&folder, &description(RED, &resampled, "")).unwrap();
        assert!(near(mean[(0, 0, 5, 5)], 0.2));
    }
}

/// Longitudes, kilometres.
mod places {
    use super::*;

    /// One date whose value is the longitude of each pixel's centre, from 180 west to 180 east, on columns that begin at
    /// `west` degrees.
    fn longitudes(folder: &TempDir, west: f64, cols: usize) {
        let grid = Grid::new(Crs::unknown(), [west, 1.0, 0.0, 50.0, 0.0, -1.0], (100, cols)).unwrap();
        let values = Array3::from_shape_fn((1, 100, cols), |(_, _, col)| {
            let longitude = west + col as f64 + 0.5;
            longitude - 360.0 * (longitude / 360.0).round()
        });
        let tiff = Tiff { crs: Some("EPSG:4326"), sample: Sample::F32, ..Tiff::new(&grid, values.view()) };
        tiff.write(&folder.path().join("s2_20240501.tif"));
    }

    /// Fuses on a target of one-degree cells, or in another CRS; values are compared with longitudes.
    fn fused(folder: &TempDir, target: &str, resampling: &str) -> Result<Array4<f32>> {
        let keys = format!("bands = [\"red\"]\nreproject = \"{resampling}\"");
        let text = description(RED, &instrument(&keys), "");
        let (first, rest) = (text.find("geotransform").unwrap(), text.find("bands").unwrap());
        run(folder, &format!("{}{target}\n{}", &text[..first], &text[rest..])).map(|(mean, _)| mean)
    }

    fn degrees(west: f64) -> String {
        format!("geotransform = [{west}, 1.0, 0.0, 40.0, 0.0, -1.0]\nshape = [4, 8]\ncrs = \"EPSG:4326\"")
    }

    #[test]
    fn longitudes_are_turned_to_the_target_both_ways() {
        // Whole globes and parts of it, targets across Greenwich and the antimeridian.
        for (west, cols, target) in [
            (0.0, 360, -4.0),
            (0.0, 360, -64.0),
            (-180.0, 360, 176.0),
            (-180.0, 360, 356.0),
            (0.0, 360, 176.0),
            (300.0, 40, -50.0),
            (-50.0, 40, 320.0),
            (170.0, 40, -178.0),
        ] {
            let folder = TempDir::new().unwrap();
            longitudes(&folder, west, cols);
            for resampling in ["nearest", "bilinear"] {
                let mean = fused(&folder, &degrees(target), resampling).unwrap();
                for col in 0..8 {
                    let longitude = target + col as f64 + 0.5;
                    let expected = (longitude - 360.0 * (longitude / 360.0).round()) as f32;
                    let found = mean[(0, 0, 1, col)];
                    assert!(near(found, expected), "{west} {target} {resampling}: {found}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn longitudes_are_turned_where_the_target_is_projected() {
        for (west, zone, x) in
            [(0.0, 30, 700_000.0), (-180.0, 60, 700_000.0), (0.0, 60, 700_000.0), (170.0, 1, 300_000.0)]
        {
            let folder = TempDir::new().unwrap();
            longitudes(&folder, west, if west > 0.0 { 20 } else { 360 });
            let target = format!(
                "geotransform = [{x}, 20000.0, 0.0, 3000000.0, 0.0, -20000.0]\nshape = [4, 8]\ncrs = \"EPSG:326{zone:02}\""
            );
            let mean = fused(&folder, &target, "nearest").unwrap();
            // Zone 30 ends at Greenwich, zone 60 at the antimeridian, where zone 1 begins.
            let border = if zone == 30 { 0.0 } else { 180.0 };
            for value in &mean {
                let away = (value - border).abs().min((value + border).abs());
                assert!(away < 4.0 && !near(*value, 0.5 + 1e-3), "{west} {zone}: {mean}");
            }
        }
    }

    #[test]
    fn axes_in_kilometres_that_gdal_places_wrong_are_refused() {
        let folder = TempDir::new().unwrap();
        let axis = "<MDI key=\"x#units\">km</MDI><MDI key=\"x#standard_name\">projection_x_coordinate</MDI>";
        described(folder.path(), "s2_20240501.vrt", &format!("<Metadata>{axis}</Metadata>"), "");
        let text =
            description(RED, &instrument("bands = [\"red\"]\ndrivers = [\"VRT\"]").replace("s2_*.tif", "s2_*.vrt"), "");
        assert_says(&refusal(build(&folder, &text)), &["s2_20240501.vrt", "\"x\"", "kilometres", "metres"]);
    }

    #[test]
    fn longitudes_of_files_that_are_not_resampled_are_refused() {
        let folder = TempDir::new().unwrap();
        longitudes(&folder, 0.0, 360);
        // In part, or as a whole.
        for west in [-4.0, -40.0] {
            let text = description(RED, &instrument("bands = [\"red\"]"), "");
            let (first, rest) = (text.find("geotransform").unwrap(), text.find("bands").unwrap());
            let text = format!("{}{}\n{}", &text[..first], degrees(west), &text[rest..]);
            assert_says(
                &refusal(build(&folder, &text)),
                &["\"s2\"", "longitudes", "0 to 360", "reproject = \"nearest\"", "assign_coords"],
            );
        }
    }
}

mod fills {
    use super::*;

    #[test]
    fn a_list_of_fills_is_missing_and_is_so_before_resampling() {
        let folder = TempDir::new().unwrap();
        let coarse = Grid::new(Crs::unknown(), [499_970.0, 60.0, 0.0, 5_100_030.0, 0.0, -60.0], (8, 8)).unwrap();
        let values = Array3::from_shape_fn((1, 8, 8), |(_, row, col)| {
            if (row, col) == (4, 4) {
                249.0
            } else if (row, col) == (4, 5) {
                253.0
            } else {
                40.0
            }
        });
        let tiff = Tiff {
            crs: Some(UTM),
            sample: Sample::U8,
            missing: Missing::Nodata(255.0),
            ..Tiff::new(&coarse, values.view())
        };
        tiff.write(&folder.path().join("s2_20240501.tif"));
        let keys = "bands = [\"red\"]\nscale = 0.1\nnodata = [249, 250, 251, 252, 253, 254]\nreproject = \"bilinear\"";
        let (mean, _) = run(&folder, &description(RED, &instrument(keys), "")).unwrap();
        // Some cells have no value and keep the prior, the others have that of the file.
        assert!(mean.iter().all(|value| near(*value, 4.0) || near(*value, 0.5)), "{mean}");
        assert!(mean.iter().filter(|value| near(**value, 4.0)).count() > 100);
        // So is what lies outside the valid range.
        let keys = "bands = [\"red\"]\nscale = 0.1\nvalid_range = [0.0, 10.0]\nreproject = \"bilinear\"";
        let (ranged, _) = run(&folder, &description(RED, &instrument(keys), "")).unwrap();
        assert!(ranged.iter().zip(&mean).all(|(a, b)| near(*a, *b)), "{ranged}");
        let empty = description(RED, &instrument("bands = [\"red\"]\nnodata = []"), "");
        assert_says(&refusal(build(&folder, &empty)), &["nodata", "empty"]);
    }

    #[test]
    fn numbers_that_can_be_no_value_are_refused_by_file_and_date() {
        let folder = three(|tiff| tiff);
        for day in ["01", "06", "11"] {
            let float = |tiff: Tiff| {
                let mut tiff = Tiff { sample: Sample::F32, missing: Missing::Nan, ..tiff };
                if day == "06" {
                    tiff.values[(0, 3, 4)] = f64::from(f32::MIN);
                }
                tiff
            };
            put(folder.path(), &format!("s2_202405{day}.tif"), &[0.2], float);
        }
        let text = |keys: &str, run: &str| description(RED, &instrument(&format!("bands = [\"red\"]\n{keys}")), run);
        let message = refusal(run(&folder, &text("", "")));
        assert_says(&message, &["s2_20240506.tif", "2024-05-06", "band1", "3.4028", "nodata"]);
        for keys in ["nodata = -3.4028234663852886e38", "valid_range = [0.0, 1.0]"] {
            let (mean, _) = run(&folder, &text(keys, "")).unwrap();
            assert!(mean.iter().all(|value| near(*value, 0.2)), "{keys}");
        }
        let (_, report) = run(&folder, &text("", "on_error = \"skip\"")).unwrap();
        assert_eq!(report.skipped.len(), 1);
    }

    #[test]
    fn the_extreme_of_a_type_on_many_pixels_is_told() {
        for extreme in [65535.0, 0.0] {
            extreme_is_told(extreme);
        }
    }

    fn extreme_is_told(extreme: f64) {
        let folder = three(|tiff| tiff);
        for day in ["01", "06"] {
            let filled = |tiff: Tiff| {
                let mut tiff = Tiff { sample: Sample::U16, missing: Missing::Nan, ..tiff };
                tiff.values.slice_mut(s![0, ..2, ..]).fill(extreme);
                tiff
            };
            put(folder.path(), &format!("s2_202405{day}.tif"), &[2000.0], filled);
        }
        let told = |keys: &str| {
            let text = description(RED, &instrument(&format!("{ON_RED}\n{keys}")), "");
            run(&folder, &text).unwrap().1.notes
        };
        let nodata = format!("nodata = {extreme}");
        assert_says(&told("")[0], &["s2", "2 dates", "s2_20240501.tif", "2024-05-01", &nodata]);
        assert!(told(&nodata).is_empty() && told("valid_range = [0.01, 2.0]").is_empty());
    }

    #[test]
    fn units_of_other_orders_are_told_with_both_medians() {
        let folder = three(|tiff| tiff);
        put(folder.path(), "percent_20240502.tif", &[2000.0], |tiff| tiff);
        let other = instrument("bands = [\"red\"]").replace("\"s2\"", "\"percent\"").replace("s2_*", "percent_*");
        let (_, report) = run(&folder, &description(RED, &format!("{}{other}", instrument(ON_RED)), "")).unwrap();
        assert_says(&report.notes[0], &["s2 and percent", "\"red\"", "0.2000", "2000.0000"]);
        assert_says(&report.to_string(), &["warning: s2 and percent"]);
    }

    #[test]
    fn a_scale_that_makes_reflectance_of_a_million_is_told() {
        let folder = TempDir::new().unwrap();
        for day in ["01", "06"] {
            let scale = Some((1e4, 0.0));
            put(folder.path(), &format!("s2_202405{day}.tif"), &[200.0], |tiff| Tiff { scale, ..tiff });
        }
        let (_, report) = run(&folder, &description(RED, &instrument("bands = [\"red\"]"), "")).unwrap();
        assert_says(&report.notes[0], &["s2", "2000000", "0.5000 ± 1.0000", "scale"]);
    }

    #[test]
    fn integers_that_float64_does_not_hold_are_refused() {
        let folder = TempDir::new().unwrap();
        let text = |keys: &str| description(RED, &instrument(&format!("bands = [\"red\"]\nscale = 1e-16\n{keys}")), "");
        for (number, held) in [(1.0e16, false), (9_007_199_254_740_992.0, false), (9_007_199_254_740_991.0, true)] {
            let large = |mut tiff: Tiff| {
                tiff.values[(0, 0, 0)] = -9999.0;
                Tiff { sample: Sample::I64, missing: Missing::Nodata(-9999.0), ..tiff }
            };
            put(folder.path(), "s2_20240501.tif", &[number], large);
            for reproject in ["", "reproject = \"nearest\""] {
                let result = run(&folder, &text(reproject));
                if held {
                    let mean = result.unwrap().0;
                    assert!(near(mean[(0, 0, 0, 0)], 0.5) && near(mean[(0, 0, 1, 1)], 0.9007), "{reproject}");
                } else {
                    assert_says(&refusal(result), &["s2_20240501.tif", "64-bit", &format!("{number}")]);
                    let given = run(&folder, &text(&format!("{reproject}\nnodata = {number:?}")));
                    assert_says(&refusal(given), &["not one value was used"]);
                }
            }
        }
    }

    #[test]
    fn a_mask_and_a_nodata_tag_both_hide() {
        use gdal::raster::{Buffer, ColorInterpretation};

        for sample in [Sample::I16, Sample::F32] {
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("s2_20240501.tif");
            let mut values = Array3::from_elem((1, SHAPE.0, SHAPE.1), 2000.0);
            values[(0, 8, 8)] = -9999.0;
            let missing = Missing::Nodata(-9999.0);
            Tiff { crs: Some(UTM), sample, missing, ..Tiff::new(&target(), values.view()) }.write(&path);
            let file = gdal::Dataset::open_ex(
                &path,
                gdal::DatasetOptions { open_flags: gdal::GdalOpenFlags::GDAL_OF_UPDATE, ..Default::default() },
            )
            .unwrap();
            let mut band = file.rasterband(1).unwrap();
            assert_eq!(band.color_interpretation(), ColorInterpretation::GrayIndex);
            band.create_mask_band(true).unwrap();
            let mut clear = vec![255_u8; SHAPE.0 * SHAPE.1];
            clear[2 * SHAPE.1 + 3] = 0;
            band.open_mask_band()
                .unwrap()
                .write((0, 0), (SHAPE.1, SHAPE.0), &mut Buffer::new((SHAPE.1, SHAPE.0), clear))
                .unwrap();
            file.close().unwrap();
            for reproject in ["", "reproject = \"nearest\"", "reproject = \"bilinear\""] {
                let (mean, _) =
                    run(&folder, &description(RED, &instrument(&format!("{ON_RED}\n{reproject}")), "")).unwrap();
                let found = [mean[(0, 0, 8, 8)], mean[(0, 0, 2, 3)], mean[(0, 0, 5, 5)]];
                assert!(
                    near(found[0], 0.5) && near(found[1], 0.5) && near(found[2], 0.2),
                    "{sample:?}, {reproject}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn missing_values_of_cf_are_missing_beside_the_fill_value() {
        for missing in ["-28672", "{-28672,-28671}"] {
            let folder = TempDir::new().unwrap();
            let mut values = Array3::from_elem((1, SHAPE.0, SHAPE.1), 2000.0);
            (values[(0, 0, 0)], values[(0, 0, 1)], values[(0, 0, 2)]) = (-28672.0, -9999.0, -28671.0);
            let plain = folder.path().join("plain.tif");
            let tiff = Tiff {
                crs: Some(UTM),
                sample: Sample::I16,
                missing: Missing::Nodata(-9999.0),
                ..Tiff::new(&target(), values.view())
            };
            tiff.write(&plain);
            let memory = DriverManager::get_driver_by_name("MEM").unwrap();
            let options = RasterCreationOptions::default();
            let copy = gdal::Dataset::open(&plain).unwrap().create_copy(&memory, "", &options).unwrap();
            copy.rasterband(1).unwrap().set_metadata_item("missing_value", missing, "").unwrap();
            // The attribute as GDAL hands it on; its NetCDF driver does not write it.
            let geotiff = DriverManager::get_driver_by_name("GTiff").unwrap();
            copy.create_copy(&geotiff, folder.path().join("s2_20240501.tif"), &options).unwrap().close().unwrap();
            fs::remove_file(plain).unwrap();
            for reproject in ["", "reproject = \"nearest\""] {
                let keys = format!("{ON_RED}\n{reproject}");
                let text = description(RED, &instrument(&keys), "");
                let (mean, _) = run(&folder, &text).unwrap();
                assert!(near(mean[(0, 0, 5, 5)], 0.2), "{mean}");
                let expected = if missing.starts_with('{') { 0.5 } else { -2.8671 };
                let found = [mean[(0, 0, 0, 0)], mean[(0, 0, 0, 1)], mean[(0, 0, 0, 2)]];
                assert!(
                    near(found[0], 0.5) && near(found[1], 0.5) && near(found[2], expected),
                    "{missing} {reproject} {found:?}"
                );
            }
        }
    }
}

mod estimation {
    use rasterfuse::describe::{Free, Instrument, Kernel, Prior, Process};
    use rasterfuse::estimate::Estimation;
    use rasterfuse::source::MemorySource;

    use super::*;

    #[test]
    fn a_date_in_another_unit_is_refused_rather_than_taken_for_noise() {
        let dates: Vec<_> = (0..20).map(support::day).collect();
        let read = |odd: f64| {
            let value = |t: usize, y: usize, x: usize| 0.2 + 0.001 * ((7 * t + 3 * y + 5 * x) % 11) as f64;
            let values =
                Array4::from_shape_fn((20, 1, 12, 12), |(t, _, y, x)| if t == 7 { odd } else { 1.0 } * value(t, y, x));
            let source = MemorySource::new(target(), dates.clone(), vec!["red".into()], values).unwrap();
            let scene = Fusion::builder(target())
                .process(Process::new(Kernel::None, 0.0, Free::default()))
                .prior(Prior::new(0.2, 0.01))
                .instrument(Instrument::new("s2", source).noise_variance(1e-4));
            Estimation::builder().side(4).read(&scene)
        };
        assert_says(&refusal(read(1e4)), &["\"s2\"", "2024-01-08", "\"red\"", "`files`"]);
        assert!(read(1.0).is_ok());
    }
}

/// What tiles that never reach the target say of themselves stops nothing.
#[test]
fn headers_of_tiles_elsewhere_are_not_compared() {
    let folder = three(|tiff| tiff);
    let far = Grid::new(Crs::unknown(), [506_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], SHAPE).unwrap();
    let odd = |tiff| Tiff { scale: Some((0.5, 0.0)), ..tiff };
    put_at(folder.path(), "s2_20240506_far.tif", &far, &[2000.0], odd);
    let text = description(RED, &instrument("bands = [\"red\"]\nmosaic = true"), "");
    build(&folder, &text).unwrap();
    put(folder.path(), "s2_20240511_near.tif", &[2000.0], odd);
    assert_says(&refusal(build(&folder, &text)), &["scale and offset tags differ", "s2_20240511_near.tif"]);
}
