//! STAC items in the form of three public catalogues: bands, dates, grids, calibration and clouds are found in them.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

mod support;

use std::fs;
use std::path::Path;

use ndarray::{Array3, Axis};
use rasterfuse::config::FusionConfig;
use rasterfuse::geometry::{Crs, Grid, PixelRegion};
use rasterfuse::source::{RasterSource, RasterStack, StacItems};
use rasterfuse::{Error, Result};
use serde_json::{Value, json};
use support::{Missing, Sample, Tiff, assert_says};
use tempfile::TempDir;

const SIDE: usize = 6;
const UTM: &str = "EPSG:32633";

/// Cells of 10 m in UTM zone 33.
fn grid() -> Grid {
    Grid::new(Crs::from_epsg(32633).unwrap(), [500_000.0, 10.0, 0.0, 5_000_000.0, 0.0, -10.0], (SIDE, SIDE)).unwrap()
}

/// Writes a file of one number and, in its first pixel, another one.
fn write(path: &Path, number: f64, first: f64, sample: Sample) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut values = Array3::from_elem((1, SIDE, SIDE), number);
    values[(0, 0, 0)] = first;
    let tiff = Tiff { crs: Some(UTM), sample, missing: Missing::Nodata(0.0), ..Tiff::new(&grid(), values.view()) };
    tiff.write(path);
}

fn transform() -> Value {
    json!([10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0, 0, 0, 1])
}

/// An item around the target, or far from it.
fn item(id: &str, collection: &str, properties: &Value, assets: &Value, near: bool) -> Value {
    let bbox = if near { [14.9, 45.1, 15.1, 45.2] } else { [20.0, 45.1, 20.2, 45.2] };
    json!({"type": "Feature", "stac_version": "1.0.0", "id": id, "collection": collection, "bbox": bbox,
           "properties": properties, "assets": assets, "links": []})
}

/// Sentinel-2 L2A as Earth Search writes it: assets by common names, grids of each asset, scale and offset of bands,
/// of which the offset may have been applied.
fn earth_search(folder: &Path) -> Value {
    let one = |id: &str, date: &str, applied: bool, clouds: f64, near: bool| {
        let asset = |key: &str, name: &str| {
            json!({"href": format!("./{id}/{key}.tif"), "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                   "eo:bands": [{"name": key, "common_name": name}], "proj:shape": [SIDE, SIDE], "proj:transform": transform(),
                   "raster:bands": [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}], "roles": ["data", "reflectance"]})
        };
        let mut assets = json!({"red": asset("red", "red"), "nir": asset("nir", "nir"), "nir08": asset("nir08", "nir08"),
            "visual": {"href": "visual.tif", "eo:bands": [{"common_name": "red"}, {"common_name": "green"}, {"common_name": "blue"}]},
            "scl": {"href": format!("{id}/scl.tif"), "proj:shape": [SIDE, SIDE], "proj:transform": transform(),
                    "raster:bands": [{"nodata": 0, "data_type": "uint8"}]}});
        assets["red-jp2"] = json!({"href": "s3://bucket/B04.jp2", "type": "image/jp2", "eo:bands": [{"name": "red", "common_name": "red"}]});
        let properties = json!({"datetime": format!("{date}T10:06:01.024000Z"), "eo:cloud_cover": clouds, "proj:epsg": 32633,
            "s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": applied});
        if near {
            let stored = if applied { 2000.0 } else { 3000.0 };
            write(&folder.join(format!("{id}/red.tif")), stored, stored, Sample::U16);
            write(&folder.join(format!("{id}/nir.tif")), 2.0 * stored, stored, Sample::U16);
            // High cloud in the first pixel, vegetation elsewhere.
            write(&folder.join(format!("{id}/scl.tif")), 4.0, 9.0, Sample::U8);
        }
        item(id, "sentinel-2-l2a", &properties, &assets, near)
    };
    json!({"type": "FeatureCollection", "features": [
        one("S2A_33TWL_20240502_0_L2A", "2024-05-02", true, 10.0, true),
        one("S2B_33TWL_20240507_0_L2A", "2024-05-07", false, 30.0, true),
        one("S2B_33TWL_20240512_0_L2A", "2024-05-12", false, 95.0, true),
        one("S2B_34TCR_20240507_0_L2A", "2024-05-07", false, 5.0, false),
    ]})
}

/// A description of an instrument with these keys.
fn description(keys: &str, bands: &str) -> String {
    format!(
        "[target]\ncrs = \"{UTM}\"\ngeotransform = [500000, 10, 0, 5000000, 0, -10]\nshape = [{SIDE}, {SIDE}]\nbands = {bands}\n\
         [process]\nkernel = \"none\"\nvariance = 1e-4\n[prior]\nmean = 0.2\nvariance = 0.1\n[output]\nstore = \"out.zarr\"\n\
         [[instrument]]\nname = \"items\"\n{keys}\nnoise_variance = 1e-4\n"
    )
}

fn opened(folder: &Path, keys: &str, bands: &str) -> Result<std::sync::Arc<dyn RasterSource>> {
    let config = FusionConfig::parse(&description(keys, bands), folder)?;
    Ok(config.source("items")?.source)
}

/// The value of each band in a pixel.
fn values(source: &dyn RasterSource, date: usize, pixel: (usize, usize)) -> Vec<f64> {
    let corner = source.grid().lattice_offset(&grid()).unwrap();
    let (row, col) = ((corner.0 + pixel.0 as i64) as usize, (corner.1 + pixel.1 as i64) as usize);
    let bands: Vec<usize> = (0..source.bands().len()).collect();
    let slice = source.read(source.dates()[date], &bands, &PixelRegion::new(row..row + 1, col..col + 1)).unwrap();
    slice.values.index_axis(Axis(1), 0).index_axis(Axis(1), 0).to_vec()
}

fn near(found: &[f64], expected: &[f64]) {
    assert!(
        found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9),
        "{found:?}"
    );
}

fn dates(source: &dyn RasterSource) -> Vec<String> {
    source.dates().iter().map(ToString::to_string).collect()
}

#[test]
fn sentinel2_of_earth_search_with_a_preset() -> Result<()> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("items.json"), earth_search(folder.path()).to_string()).unwrap();
    let keys = "stac = \"items.json\"\npreset = \"sentinel2_l2a_10m\"\nmax_cloud_cover = 50";
    let source = opened(folder.path(), keys, "[\"red\", \"nir\"]")?;
    assert_eq!(
        (dates(&*source), source.bands()),
        (vec!["2024-05-02".into(), "2024-05-07".into()], &["red".into(), "nir".into()][..])
    );
    // The offset is taken out of the first one already.
    near(&values(&*source, 0, (1, 1)), &[0.2, 0.4]);
    near(&values(&*source, 1, (1, 1)), &[0.2, 0.5]);
    // Cloud.
    assert!(values(&*source, 0, (0, 0)).iter().all(|value| value.is_nan()));
    // Without a preset, by the common names of assets, with rules of its own.
    let keys = "stac = \"items.json\"\nsource_bands = [\"nir\"]\nquality = { asset = \"scl\", drop = [9] }\n\
                query = { \"eo:cloud_cover\" = { gt = 20, lt = 50 } }";
    let source = opened(folder.path(), keys, "[\"nir\"]")?;
    assert_eq!(dates(&*source), ["2024-05-07"]);
    near(&values(&*source, 0, (1, 1)), &[0.5]);
    assert!(values(&*source, 0, (0, 0))[0].is_nan());
    Ok(())
}

#[test]
fn planning_opens_no_file_where_items_say_their_grids() -> Result<()> {
    let folder = TempDir::new().unwrap();
    let items = earth_search(folder.path());
    fs::write(folder.path().join("items.json"), items.to_string()).unwrap();
    let files = ["S2A_33TWL_20240502_0_L2A", "S2B_33TWL_20240507_0_L2A", "S2B_33TWL_20240512_0_L2A"];
    for file in files {
        fs::rename(folder.path().join(file), folder.path().join(format!("{file}.away"))).unwrap();
    }
    let keys = "stac = \"items.json\"\npreset = \"sentinel2_l2a_10m\"";
    let plan = FusionConfig::parse(&description(keys, "[\"red\"]"), folder.path())?.build()?;
    assert_eq!(plan.plan().instruments[0].dates, 3);
    // Headers are read where items are not to be trusted.
    let untrusted = opened(folder.path(), &format!("{keys}\nitem_headers = false"), "[\"red\"]");
    assert_says(&untrusted.unwrap_err().to_string(), &["red.tif", "2024-05-02"]);
    for file in files {
        fs::rename(folder.path().join(format!("{file}.away")), folder.path().join(file)).unwrap();
    }
    // A file that is not what its item says is no silent shift.
    let shifted = items.to_string().replace("500000.0", "500010.0");
    fs::write(folder.path().join("items.json"), shifted).unwrap();
    let source = opened(folder.path(), keys, "[\"red\"]")?;
    let (rows, cols) = source.grid().shape();
    let error = source.read(source.dates()[0], &[0], &PixelRegion::new(0..rows, 0..cols)).unwrap_err();
    assert!(matches!(error, Error::Inconsistent { .. }), "{error}");
    assert_says(&error.to_string(), &["500010", "500000", "item_headers = false"]);
    Ok(())
}

#[test]
fn landsat_and_sentinel2_of_planetary_computer() -> Result<()> {
    let folder = TempDir::new().unwrap();
    let asset = |name: &str, common: &str| {
        json!({"href": format!("{name}.TIF"), "type": "image/tiff; application=geotiff; profile=cloud-optimized",
               "eo:bands": [{"name": name, "common_name": common}],
               "raster:bands": [{"scale": 2.75e-5, "offset": -0.2, "nodata": 0, "data_type": "uint16"}]})
    };
    let properties = json!({"datetime": "2023-07-01T09:58:02Z", "proj:code": UTM, "proj:shape": [SIDE, SIDE], "proj:transform": transform(),
        "eo:cloud_cover": 3.0, "platform": "landsat-8"});
    let assets = json!({"red": asset("OLI_B4", "red"), "nir08": asset("OLI_B5", "nir08"),
        "qa_pixel": {"href": "qa.TIF", "raster:bands": [{"nodata": 1, "data_type": "uint16"}]}});
    write(&folder.path().join("OLI_B4.TIF"), 10_000.0, 10_000.0, Sample::U16);
    write(&folder.path().join("OLI_B5.TIF"), 20_000.0, 20_000.0, Sample::U16);
    write(&folder.path().join("qa.TIF"), 64.0, 8.0, Sample::U16); // clear, cloud
    let landsat = item("LC08_L2SP_190028_20230701_02_T1", "landsat-c2-l2", &properties, &assets, true);
    // One item, and a catalogue beside it.
    fs::create_dir(folder.path().join("catalogue")).unwrap();
    fs::write(
        folder.path().join("catalogue/catalog.json"),
        json!({"type": "Catalog", "id": "c", "links": []}).to_string(),
    )
    .unwrap();
    let relative = landsat
        .to_string()
        .replace("OLI_B", "../OLI_B")
        .replace("\"name\":\"../", "\"name\":\"")
        .replace("qa.TIF", "../qa.TIF");
    fs::write(folder.path().join("catalogue/item.json"), relative).unwrap();
    let keys = "stac = \"catalogue\"\npreset = \"landsat_c2_l2_oli\"";
    let source = opened(folder.path(), keys, "[\"red\", \"nir\"]")?;
    assert_eq!(dates(&*source), ["2023-07-01"]);
    near(&values(&*source, 0, (1, 1)), &[0.075, 0.35]);
    assert!(values(&*source, 0, (0, 0)).iter().all(|value| value.is_nan()));
    // A scale that is not the preset's is no silent choice.
    let text = fs::read_to_string(folder.path().join("catalogue/item.json")).unwrap();
    fs::write(
        folder.path().join("catalogue/item.json"),
        text.replace("0.0000275", "0.0001").replace("2.75e-5", "0.0001"),
    )
    .unwrap();
    let error = opened(folder.path(), keys, "[\"red\"]").unwrap_err().to_string();
    assert_says(&error, &["scale", "LC08_L2SP_190028_20230701_02_T1", "0.0001", "0.0000275"]);

    // Sentinel-2: assets by band, no scale, the baseline in a property; item after item in lines.
    let of = |id: &str, date: &str, baseline: &str| {
        let asset = |key: &str| {
            json!({"href": format!("{id}/{key}.tif"), "eo:bands": [{"name": key, "common_name": "red"}],
            "proj:shape": [SIDE, SIDE], "proj:transform": transform()})
        };
        let properties =
            json!({"datetime": format!("{date}T10:00:00Z"), "proj:epsg": 32633, "s2:processing_baseline": baseline});
        write(&folder.path().join(format!("{id}/B04.tif")), 3000.0, 3000.0, Sample::U16);
        write(&folder.path().join(format!("{id}/SCL.tif")), 5.0, 3.0, Sample::U8);
        item(id, "sentinel-2-l2a", &properties, &json!({"B04": asset("B04"), "SCL": asset("SCL")}), true).to_string()
    };
    let lines =
        [of("S2A_MSIL2A_20210501", "2021-05-01", "02.14"), of("S2A_MSIL2A_20220501", "2022-05-01", "04.00")].join("\n");
    fs::write(folder.path().join("lines.ndjson"), lines).unwrap();
    let source = opened(folder.path(), "stac = \"lines.ndjson\"\npreset = \"sentinel2_l2a_10m\"", "[\"red\"]")?;
    near(&values(&*source, 0, (2, 2)), &[0.3]);
    near(&values(&*source, 1, (2, 2)), &[0.2]);
    Ok(())
}

#[test]
fn hls_of_lp_daac_has_no_grids_and_opens_headers() -> Result<()> {
    let folder = TempDir::new().unwrap();
    let id = "HLS.S30.T33TWL.2024123T100559.v2.0";
    let asset = |key: &str| json!({"href": format!("{id}.{key}.tif"), "title": key});
    let properties = json!({"datetime": "2024-05-02T10:05:59.000Z", "start_datetime": "2024-05-02T10:05:59.000Z",
        "end_datetime": "2024-05-02T10:05:59.000Z", "eo:cloud_cover": 20});
    let assets =
        json!({"B04": asset("B04"), "B8A": asset("B8A"), "Fmask": asset("Fmask"), "browse": {"href": "b.jpg"}});
    for (key, number, first) in [("B04", 1000.0, 1000.0), ("B8A", 4000.0, 4000.0)] {
        write(&folder.path().join(format!("{id}.{key}.tif")), number, first, Sample::I16);
    }
    write(&folder.path().join(format!("{id}.Fmask.tif")), 64.0, 2.0, Sample::U8);
    let items = json!({"type": "FeatureCollection", "features": [item(id, "HLSS30.v2.0", &properties, &assets, true)]});
    fs::write(folder.path().join("hls.json"), items.to_string()).unwrap();
    let source = opened(folder.path(), "stac = \"hls.json\"\npreset = \"hls_s30\"", "[\"red\", \"nir_narrow\"]")?;
    near(&values(&*source, 0, (1, 1)), &[0.1, 0.4]);
    assert!(values(&*source, 0, (0, 0))[0].is_nan());
    // In code.
    let granules = StacItems::read(folder.path().join("hls.json"))?.granules(["B8A"], Vec::<String>::new())?;
    let stack = RasterStack::from_granules(granules).source_bands(["B8A"]).scale(1e-4).open()?;
    assert_eq!(stack.read(stack.dates()[0], &[0], &PixelRegion::new(1..2, 1..2))?.values[(0, 0, 0)], 0.4);
    Ok(())
}

#[test]
fn items_that_cannot_be_used_are_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("items.json"), earth_search(folder.path()).to_string()).unwrap();
    fs::write(folder.path().join("empty.json"), "{\"type\": \"FeatureCollection\", \"features\": []}").unwrap();
    fs::write(folder.path().join("torn.json"), "{\"type\": \"FeatureCollection\", \"feat").unwrap();
    for (keys, says) in [
        ("stac = \"items.json\"", &["source_bands", "nir08", "scl"][..]),
        ("stac = \"items.json\"\nsource_bands = [\"swir16\"]", &["S2A_33TWL_20240502_0_L2A", "swir16", "nir08"]),
        (
            "stac = \"items.json\"\nsource_bands = [\"red\"]\nmax_cloud_cover = 1",
            &["stac", "none of its items", "max_cloud_cover"],
        ),
        (
            "stac = \"items.json\"\nsource_bands = [\"red\"]\nquery = { \"eo:cloud_cover\" = { below = 3 } }",
            &["query", "below", "lte"],
        ),
        ("stac = \"items.json\"\nsource_bands = [\"red\"]\nquality = { drop = [9] }", &["quality", "asset"]),
        ("stac = \"items.json\"\nfiles = \"*.tif\"", &["stac", "`files`"]),
        ("files = \"*.tif\"\ndate = '(\\d{8})'\nmax_cloud_cover = 3", &["max_cloud_cover", "`stac`"]),
        ("stac = \"https://host/items.json\"\nsource_bands = [\"red\"]", &["https://host/items.json", "save"]),
        ("stac = \"empty.json\"\nsource_bands = [\"red\"]", &["empty.json", "no STAC items"]),
        ("stac = \"torn.json\"\nsource_bands = [\"red\"]", &["torn.json", "no JSON", "line 1"]),
        ("stac = \"gone.json\"\nsource_bands = [\"red\"]", &["gone.json"]),
    ] {
        let error = opened(folder.path(), keys, "[\"red\"]").unwrap_err().to_string();
        assert_says(&error, says);
    }
}
