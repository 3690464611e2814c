//! Advice that fits: what a raster lacks or says otherwise, and what to do about it.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use gdal::spatial_ref::SpatialRef;
use gdal::{DriverManager, Gcp, Metadata};
use ndarray::Array3;
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Crs, Grid};
use rasterfuse::source::gdal::{crs_from_definition, read_header};
use rasterfuse::source::{RasterSource, RasterStack, ZarrCube};
use serde_json::json;
use support::{Sample, Tiff, assert_says, zarr_array};
use tempfile::TempDir;

fn tiff(geotransform: Option<[f64; 6]>, crs: Option<&'static str>) -> Tiff {
    let grid = Grid::new(Crs::unknown(), [0.0, 1.0, 0.0, 0.0, 0.0, -1.0], (4, 4)).unwrap();
    let values = Array3::from_elem((1, 4, 4), 0.25);
    Tiff { geotransform, crs, sample: Sample::F32, ..Tiff::new(&grid, values.view()) }
}

#[test]
fn rasters_that_are_no_north_up_grid_come_with_their_remedy() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("scene.tif");
    let said = |path: &Path| read_header(path).unwrap_err().to_string();
    for (geotransform, words) in [
        (
            [500_000.0, 30.0, 0.0, 5_000_000.0, 0.0, 30.0],
            ["scene.tif", "dy negative", "gdalwarp IN OUT turns it round"],
        ),
        (
            [500_000.0, -30.0, 0.0, 5_000_000.0, 0.0, -30.0],
            ["scene.tif", "(-30, -30)", "gdalwarp IN OUT turns it round"],
        ),
        ([500_000.0, 30.0, 4.0, 5_000_000.0, 4.0, -30.0], ["scene.tif", "rotated", "gdalwarp IN OUT (-r bilinear"]),
        ([0.1 + 0.2, 0.1 + 0.2, 0.0, 1.0, 0.0, 0.7 + 0.1], ["scene.tif", "cell size (0.3, 0.8)", "gdalwarp"]),
    ] {
        tiff(Some(geotransform), Some("EPSG:32633")).write(&path);
        assert_says(&said(&path), &words);
    }
    let memory = DriverManager::get_driver_by_name("MEM").unwrap();
    let create = |place: &dyn Fn(&mut gdal::Dataset)| {
        let mut dataset = memory.create("", 4, 4, 1).unwrap();
        place(&mut dataset);
        let geotiff = DriverManager::get_driver_by_name("GTiff").unwrap();
        let options = gdal::raster::RasterCreationOptions::default();
        dataset.create_copy(&geotiff, &path, &options).unwrap().close().unwrap();
    };
    let point = |k: usize| Gcp {
        id: k.to_string(),
        info: String::new(),
        pixel: [0.0, 4.0, 4.0, 0.0][k],
        line: [0.0, 0.0, 4.0, 4.0][k],
        x: [15.0, 15.2, 15.3, 15.1][k],
        y: [46.0, 46.1, 45.9, 45.8][k],
        z: 0.0,
    };
    create(&|dataset| {
        let points: Vec<Gcp> = (0..4).map(point).collect();
        dataset.set_gcps(points, &SpatialRef::from_epsg(4326).unwrap()).unwrap();
    });
    assert_says(&said(&path), &["scene.tif", "4 ground control points", "gdalwarp -tps"]);
    create(&|dataset| dataset.set_metadata_item("LINE_OFF", "2", "RPC").unwrap());
    assert_says(&said(&path), &["scene.tif", "no geotransform"]);
}

fn description(target: &str, crs: &str, process: &str, instrument: &str) -> String {
    format!(
        "[target]\n{target}\ncrs = \"{crs}\"\nshape = [4, 4]\nbands = [\"red\"]\n[process]\n{process}\nvariance = 1e-4\n\
         [prior]\nmean = 0.2\nvariance = 1.0\n[[instrument]]\nname = \"one\"\n{instrument}\nbands = [\"red\"]\nnoise_variance = 1e-4\n\
         [output]\nstore = \"fused.zarr\"\n[run]\nmemory = \"1GiB\"\n"
    )
}

const UTM: &str = "geotransform = [500000.0, 30.0, 0.0, 5000000.0, 0.0, -30.0]";
const FILES: &str = "files = \"scene_*.tif\"\ndate = '_(\\d{8})'";

#[test]
fn crs_are_compared_by_what_they_mean_and_what_differs_is_shown() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("scene_20240101.tif");
    let place = Some([500_000.0, 30.0, 0.0, 5_000_000.0, 0.0, -30.0]);
    let build = || {
        let text = description(UTM, "EPSG:32633", "kernel = \"none\"", FILES);
        FusionConfig::parse(&text, folder.path()).unwrap().build().map(|_| ()).map_err(|error| error.to_string())
    };
    tiff(place, Some("+proj=tmerc +lat_0=0 +lon_0=15 +k=0.9996 +x_0=500000 +y_0=0 +datum=WGS84 +units=m")).write(&path);
    build().expect("the same in other words");
    tiff(place, Some("+proj=tmerc +lat_0=0 +lon_0=15 +k=0.9996 +x_0=400000 +y_0=0 +datum=WGS84 +units=m")).write(&path);
    assert_says(&build().unwrap_err(), &["EPSG:32633", "\"False easting\" 400000 against 500000", "reproject"]);
    tiff(place, Some("EPSG:26933")).write(&path);
    assert_says(&build().unwrap_err(), &["EPSG:26933", "against"]);
    tiff(place, None).write(&path);
    assert_says(&build().unwrap_err(), &["no CRS", "`crs`", "crs = \"EPSG:4326\""]);
    let text = description(UTM, "EPSG:32633", "kernel = \"none\"", &format!("{FILES}\ncrs = \"EPSG:32633\""));
    FusionConfig::parse(&text, folder.path()).unwrap().build().expect("as it says");
}

#[test]
fn a_range_of_many_degrees_is_told() {
    let folder = TempDir::new().unwrap();
    let place = [15.0, 0.01, 0.0, 46.0, 0.0, -0.01];
    tiff(Some(place), Some("EPSG:4326")).write(&folder.path().join("scene_20240101.tif"));
    let warnings = |range: f64| {
        let process = format!("kernel = \"exponential\"\nrange = {range:?}");
        let text = description("geotransform = [15.0, 0.01, 0.0, 46.0, 0.0, -0.01]", "EPSG:4326", &process, FILES);
        FusionConfig::parse(&text, folder.path()).unwrap().build().unwrap().plan().warnings.join("\n")
    };
    assert_says(&warnings(300.0), &["a range of 300", "0.040 x 0.040", "degrees", "2.69e-3"]);
    assert!(!warnings(0.03).contains("degrees"), "{}", warnings(0.03));
}

#[test]
fn a_pattern_that_finds_nothing_says_what_lies_there() {
    let folder = TempDir::new().unwrap();
    let said = |pattern: &str| {
        RasterStack::builder(pattern, r"_(\d{8})").folder(folder.path()).open().unwrap_err().to_string()
    };
    fs::write(folder.path().join("S2A_20240101.SAFE.zip"), "").unwrap();
    assert_says(&said("*.tif"), &["no file matches", "1 archives", "S2A_20240101.SAFE.zip", "unpack"]);
    tiff(None, None).write(&folder.path().join("scene[1]_20240101.tif"));
    assert_says(&said("scene[1]_*.tif"), &["`[` begins a set", "scene[1]_20240101.tif", "scene[[]1[]]_*.tif"]);
}

/// HDF5 writes by itself why it cannot open a file: the error says it, and nothing else is on stderr.
#[test]
fn what_hdf5_says_is_part_of_the_error() {
    let folder = TempDir::new().unwrap();
    let whole = fs::read("tests/cubes/bands.nc").unwrap();
    fs::write(folder.path().join("cut.h5"), &whole[..whole.len() / 2]).unwrap();
    fs::write(
        folder.path().join("fusion.toml"),
        description(UTM, "EPSG:32633", "kernel = \"none\"", "series = \"cut.h5\"\nvariables = [\"red\"]"),
    )
    .unwrap();
    let output = support::program("plan").arg("fusion.toml").current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_says(&said, &["instrument \"one\"", "cut.h5", "HDF5 says: truncated file"]);
    assert!(!said.contains("HDF5-DIAG") && !said.contains("NULL pointer"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

/// A store whose CRS is the number in a coordinate of its own.
#[test]
fn the_crs_of_a_cube_may_be_a_coordinate() {
    let folder = TempDir::new().unwrap();
    let array = |name: &str, shape: &[u64], kind: &str, names: &[&str], attributes: serde_json::Value, bytes: &[u8]| {
        zarr_array(&folder.path().join(name), (shape, kind), names, &attributes, bytes);
    };
    let numbers = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    array("time", &[1], "float64", &["time"], json!({ "units": "days since 1970-01-01" }), &numbers(&[19_723.0]));
    array("y", &[2], "float64", &["y"], json!({}), &numbers(&[45.0, 15.0]));
    array("x", &[2], "float64", &["x"], json!({}), &numbers(&[15.0, 45.0]));
    array("data", &[1, 2, 2], "float64", &["time", "y", "x"], json!({}), &numbers(&[0.1, 0.2, 0.3, 0.4]));
    assert!(ZarrCube::builder(folder.path()).open().unwrap().grid().crs().is_unknown());
    array("epsg", &[], "int64", &[], json!({}), &32_633_i64.to_le_bytes());
    let cube = ZarrCube::builder(folder.path()).open().unwrap();
    assert_eq!(cube.grid().crs(), &crs_from_definition("EPSG:32633").unwrap());
    assert_eq!(cube.grid().geotransform(), [0.0, 30.0, 0.0, 60.0, 0.0, -30.0]);
    // As stackstac has it, coordinates are upper-left corners.
    let spec = json!({ "spec": "RasterSpec(epsg=32633)", "crs": "epsg:32633", "transform": "| 30.00, 0.00, 15.00|" });
    array("data", &[1, 2, 2], "float64", &["time", "y", "x"], spec, &numbers(&[0.1, 0.2, 0.3, 0.4]));
    let cube = ZarrCube::builder(folder.path()).open().unwrap();
    assert_eq!(cube.grid().geotransform(), [15.0, 30.0, 0.0, 45.0, 0.0, -30.0]);
}
