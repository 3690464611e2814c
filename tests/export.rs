//! Dates of stores as cloud optimised GeoTIFFs with STAC items: what GDAL reads is what the store holds.
#![cfg(all(feature = "gdal", feature = "zarr"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use gdal::{Dataset, Metadata};
use ndarray::{Array2, Array4};
use rasterfuse::Fusion;
use rasterfuse::describe::{Encoding, Instrument, Kernel, Prior, Process};
use rasterfuse::export::Export;
use rasterfuse::geometry::{Crs, Date, Extent, Grid};
use rasterfuse::sink::{FusedSeries, ZarrFormat, ZarrSink};
use rasterfuse::source::{MemorySource, RasterSource};
use support::{assert_says, program};

const CELL: f64 = 20.0;

/// Cells of a scene of 40 x 50 from this one on, in Slovenia.
fn grid(first: (usize, usize), shape: (usize, usize)) -> Grid {
    let (left, top) = (460_000.0 + CELL * first.1 as f64, 5_121_000.0 - CELL * first.0 as f64);
    Grid::new(Crs::from_epsg(32_633).unwrap(), [left, CELL, 0.0, top, 0.0, -CELL], shape).unwrap()
}

/// A store of four days of these cells; a value depends on the place in the scene alone.
fn store(path: &Path, first: (usize, usize), shape: (usize, usize), encoding: Encoding) -> PathBuf {
    let grid = grid(first, shape);
    let dates: Vec<Date> = (0..4).map(|day| Date::from_ymd(2024, 4, 1).unwrap() + 2 * day).collect();
    let values = Array4::from_shape_fn((4, 2, shape.0, shape.1), |(t, b, r, c)| {
        0.1 + 0.001 * ((r + first.0) * 7 + (c + first.1) * 3 + 11 * b + 5 * t) as f64
    });
    let source = MemorySource::new(grid.clone(), dates, vec!["red".into(), "nir".into()], values).unwrap();
    let fusion = Fusion::builder(grid)
        .process(Process::new(Kernel::None, 0.0, 1e-3))
        .prior(Prior::new(0.3, 0.02))
        .instrument(Instrument::new("fine", source).noise_variance(1e-5))
        .unit("reflectance")
        .encoding(encoding)
        .tile(16, 16);
    fusion.build().unwrap().run(&mut ZarrSink::create(path).format(ZarrFormat::V3)).unwrap();
    path.to_path_buf()
}

fn layer(dataset: &Dataset, band: usize) -> Array2<f64> {
    let buffer = dataset.rasterband(band).unwrap().read_band_as::<f64>().unwrap();
    Array2::from_shape_vec((buffer.height(), buffer.width()), buffer.data().to_vec()).unwrap()
}

#[test]
fn a_date_becomes_an_image_with_names_numbers_and_an_item() {
    let folder = tempfile::tempdir().unwrap();
    let path = store(&folder.path().join("fused.zarr"), (0, 0), (40, 50), Encoding::int16(1e-4));
    let export = Export::open([&path]).unwrap();
    let date = Date::from_ymd(2024, 4, 3).unwrap();
    let written = export.cog(date, &folder.path().join("images/new")).unwrap();
    assert_eq!(written.image.file_name().unwrap(), "fused_2024-04-03.tif");
    let dataset = Dataset::open(&written.image).unwrap();
    assert_eq!(dataset.metadata_item("LAYOUT", "IMAGE_STRUCTURE").as_deref(), Some("COG"));
    assert_eq!(dataset.geo_transform().unwrap(), grid((0, 0), (40, 50)).geotransform());
    assert_eq!(dataset.spatial_ref().unwrap().auth_code().unwrap(), 32_633);
    assert_eq!(dataset.metadata_item("DATE", "").as_deref(), Some("2024-04-03"));
    assert_says(&dataset.metadata_item("SETTINGS", "").unwrap(), &["process.variance", "output.dtype"]);
    let series = FusedSeries::open(&path).unwrap();
    let (mean, sd) = series.values(date, &[0, 1], &series.grid().region()).unwrap();
    for (k, (name, expected)) in [
        ("red", mean.index_axis(ndarray::Axis(0), 0)),
        ("nir", mean.index_axis(ndarray::Axis(0), 1)),
        ("red sd", sd.index_axis(ndarray::Axis(0), 0)),
        ("nir sd", sd.index_axis(ndarray::Axis(0), 1)),
    ]
    .into_iter()
    .enumerate()
    {
        let band = dataset.rasterband(k + 1).unwrap();
        assert_eq!(band.description().unwrap(), name);
        assert!(band.no_data_value().unwrap().is_nan());
        assert_eq!(layer(&dataset, k + 1), expected.mapv(|value| f64::from(value as f32)));
        let statistics = &written.bands[k];
        let largest = expected.iter().fold(0.0_f64, |most, value| most.max(*value));
        assert!(statistics.name == name && (statistics.maximum - largest).abs() < 1e-6 && statistics.valid == 2000);
    }
    let item: serde_json::Value = serde_json::from_slice(&fs::read(&written.item).unwrap()).unwrap();
    assert_eq!((&item["stac_version"], &item["properties"]["proj:code"]), (&"1.1.0".into(), &"EPSG:32633".into()));
    assert_eq!(item["properties"]["datetime"], "2024-04-03T00:00:00Z");
    assert_eq!(item["assets"]["data"]["href"], "./fused_2024-04-03.tif");
    assert_eq!(item["assets"]["data"]["bands"][2]["name"], "red sd");
    let west = item["bbox"][0].as_f64().unwrap();
    let south = item["bbox"][1].as_f64().unwrap();
    assert!((west - 14.48).abs() < 0.02 && (south - 46.23).abs() < 0.02, "{west} {south}");
    // Nothing else is left in the folder, and nothing is replaced unasked.
    assert_eq!(fs::read_dir(folder.path().join("images/new")).unwrap().count(), 2);
    let again = export.cog(date, &folder.path().join("images/new")).unwrap_err().to_string();
    assert_says(&again, &["fused_2024-04-03.tif", "such a file already"]);
    let export = export.overwrite(true).bands(&["nir"]).unwrap();
    assert_eq!(export.cog(date, &folder.path().join("images/new")).unwrap().bands.len(), 2);
}

#[test]
fn several_stores_are_one_mosaic_and_a_box_is_a_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let whole = store(&folder.path().join("whole.zarr"), (0, 0), (40, 50), Encoding::float32());
    // They overlap, and leave a corner out.
    let parts = [((0, 0), (22, 30)), ((0, 24), (40, 26)), ((20, 0), (20, 17))];
    let parts = parts.into_iter().enumerate().map(|(k, (first, shape))| {
        store(&folder.path().join(format!("part{k}.zarr")), first, shape, Encoding::float32())
    });
    let parts: Vec<PathBuf> = parts.collect();
    let area = Extent { left: 460_105.0, bottom: 5_120_250.0, right: 460_830.0, top: 5_120_899.0 };
    let date = Date::from_ymd(2024, 4, 7).unwrap();
    let image = |export: Export, name: &str| {
        let written = export.bbox(&area).unwrap().cog(date, &folder.path().join(name)).unwrap();
        let dataset = Dataset::open(&written.image).unwrap();
        (dataset.geo_transform().unwrap(), layer(&dataset, 1), layer(&dataset, 4))
    };
    let expected = image(Export::open([&whole]).unwrap(), "a");
    let found = image(Export::open(&parts).unwrap(), "b");
    assert_eq!((expected.0, expected.1.dim()), (found.0, found.1.dim()));
    assert_eq!(expected.1.dim(), (33, 37));
    let mut lacking = 0;
    for (at, value) in expected.1.indexed_iter() {
        let (row, col) = (at.0 + 5, at.1 + 5);
        if row >= 22 && (17..24).contains(&col) {
            assert!(found.1[at].is_nan() && found.2[at].is_nan(), "{at:?}");
            lacking += 1;
        } else {
            assert_eq!((found.1[at], found.2[at]), (*value, expected.2[at]), "{at:?}");
        }
    }
    assert_eq!(lacking, 16 * 7);
}

#[test]
fn what_cannot_be_exported_is_said_with_what_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = store(&folder.path().join("fused.zarr"), (0, 0), (18, 17), Encoding::float32());
    let export = || Export::open([&path]).unwrap();
    let says = |message: String, words: &[&str]| assert_says(&message, words);
    let date = Date::from_ymd(2024, 5, 1).unwrap();
    says(export().check(date).unwrap_err().to_string(), &["fused.zarr", "no 2024-05-01", "nearest are 2024-04-07"]);
    says(export().bands(&["swir"]).unwrap_err().to_string(), &["fused.zarr", "\"swir\"", "red", "nir"]);
    let away = Extent { left: 0.0, bottom: 0.0, right: 10.0, top: 10.0 };
    says(export().bbox(&away).unwrap_err().to_string(), &["lies outside"]);
    says(Export::open(Vec::<PathBuf>::new()).unwrap_err().to_string(), &["no store"]);
    let other = folder.path().join("other.zarr");
    let shifted =
        Grid::new(Crs::from_epsg(32_633).unwrap(), [460_007.0, CELL, 0.0, 5_121_000.0, 0.0, -CELL], (9, 9)).unwrap();
    let values = Array4::from_elem((1, 2, 9, 9), 0.2);
    let days = vec![Date::from_ymd(2024, 4, 1).unwrap()];
    let source = MemorySource::new(shifted.clone(), days, vec!["red".into(), "nir".into()], values).unwrap();
    let fusion = Fusion::builder(shifted)
        .process(Process::new(Kernel::None, 0.0, 1e-3))
        .prior(Prior::new(0.3, 0.02))
        .instrument(Instrument::new("fine", source).noise_variance(1e-5))
        .unit("reflectance");
    fusion.build().unwrap().run(&mut ZarrSink::create(&other)).unwrap();
    says(Export::open([&path, &other]).unwrap_err().to_string(), &["other.zarr", "does not fit", "cells"]);
    // A run that has not come so far.
    let document = path.join("zarr.json");
    let text = fs::read_to_string(&document).unwrap();
    let run: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(run["attributes"]["rasterfuse"]["dates_planned"], 7);
    let text = text
        .replace("\"dates_planned\":7", "\"dates_planned\":40")
        .replace("\"end\":\"2024-04-07\"", "\"end\":\"2024-05-10\"");
    let text = text
        .replace("\"dates_planned\": 7", "\"dates_planned\": 40")
        .replace("\"end\": \"2024-04-07\"", "\"end\": \"2024-05-10\"");
    fs::write(&document, text).unwrap();
    says(export().check(date).unwrap_err().to_string(), &["not committed yet", "fused.zarr", "nearest are 2024-04-07"]);
}

#[test]
fn previews_are_averages_and_cells_are_series() {
    let folder = tempfile::tempdir().unwrap();
    let path = store(&folder.path().join("fused.zarr"), (0, 0), (40, 50), Encoding::float32());
    let export = Export::open([&path]).unwrap().bands(&["nir"]).unwrap();
    let date = Date::from_ymd(2024, 4, 5).unwrap();
    let series = FusedSeries::open(&path).unwrap();
    let (mean, sd) = series.values(date, &[1], &series.grid().region()).unwrap();
    let preview = export.preview(date, 17).unwrap();
    assert_eq!((preview.cells, preview.mean.dim()), (3, (14, 17)));
    // The last row has one cell, the last column two.
    let part = mean.slice(ndarray::s![0, 39.., 48..]);
    assert!((preview.mean[(13, 16)] - part.mean().unwrap()).abs() < 1e-6);
    let part = sd.slice(ndarray::s![0, 3..6, 6..9]);
    assert!((preview.sd[(1, 2)] - part.mean().unwrap()).abs() < 1e-6);
    let cell = export.cell_at((460_000.0 + 7.5 * CELL, 5_121_000.0 - 3.1 * CELL)).unwrap();
    assert_eq!(cell, (3, 7));
    let values = export.cell(cell).unwrap();
    assert_eq!(values.len(), 7);
    assert_eq!((values[4].date, values[4].mean, values[4].sd), (date, mean[(0, 3, 7)], sd[(0, 3, 7)]));
    assert_says(&export.cell((40, 0)).unwrap_err().to_string(), &["no cell (40, 0)", "40 x 50"]);
    assert_says(&export.cell_at((0.0, 0.0)).unwrap_err().to_string(), &["(0, 0) lies outside"]);
}

/// Status, standard output and standard error of the program.
fn said(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = program(arguments[0]).args(&arguments[1..]).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_program_exports_and_draws() {
    let folder = tempfile::tempdir().unwrap();
    let path = store(&folder.path().join("fused.zarr"), (0, 0), (18, 17), Encoding::float32());
    let (store, out) = (path.to_str().unwrap(), folder.path().join("images"));
    let out = out.to_str().unwrap();
    let (status, json, _) = said(&["export", store, "--from", "2024-04-06", "--bands", "nir", "-o", out, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, report["exported"].as_array().unwrap().len()), (Some(0), 2));
    assert_eq!(report["exported"][1]["bands"][1]["name"], "nir sd");
    let (status, _, text) = said(&["export", store, "--date", "2024-04-07", "-o", out]);
    assert_eq!(status, Some(1));
    assert_says(&text, &["fused_2024-04-07.tif", "--overwrite"]);
    let (status, text, _) = said(&["export", store, "--date", "2024-04-07", "--overwrite", "-o", out]);
    assert_eq!(status, Some(0), "{text}");
    assert_says(&text, &["fused_2024-04-07.tif", "1 dates"]);
    let (status, _, text) = said(&["export", store, "--from", "2025-01-01", "-o", out]);
    assert_eq!(status, Some(1));
    assert_says(&text, &["2024-04-01 to 2024-04-07"]);
    assert_eq!(said(&["export", store]).0, Some(2));
    let picture = folder.path().join("look.png");
    let draw = ["look", store, "--band", "nir", "--cell", "3,4", "-o", picture.to_str().unwrap()];
    let (status, text, errors) = said(&draw);
    assert_eq!(status, Some(0), "{errors}");
    assert_says(&text, &["look.png", "nir on 2024-04-07"]);
    let png = png::Decoder::new(std::io::BufReader::new(fs::File::open(&picture).unwrap())).read_info().unwrap();
    assert!(png.info().width > 1000 && png.info().height > 1000);
    let (status, _, text) = said(&["look", store, "--cell", "18,0", "-o", picture.to_str().unwrap()]);
    assert_eq!(status, Some(1));
    assert_says(&text, &["no cell (18, 0)"]);
}
