//! Overviews in a store: averages of the series, which share its promises.
#![cfg(feature = "zarr")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ndarray::{Array4, ArrayD, Ix4, s};
use rasterfuse::Result;
use rasterfuse::describe::Encoding;
use rasterfuse::engine::{FusionBuilder, Shard, Start};
use rasterfuse::geometry::Date;
use rasterfuse::sink::{FusedSeries, ZarrFormat, ZarrSink, verify};
use rasterfuse::source::RasterSource;
use support::{FullDisk, assert_says, tree, two_bands};
use zarrs::array::Array;
use zarrs::filesystem::FilesystemStore;

const SHAPE: (usize, usize) = (13, 19);
const LEVELS: usize = 2;

/// A series in tiles of eight cells a side, which end within the grid; a part of an index means nothing.
fn builder(end: i32) -> FusionBuilder {
    on(SHAPE, end).tile(8, 8)
}

/// The same on a grid of this shape, with tiles of the planner's choice.
fn on(shape: (usize, usize), end: i32) -> FusionBuilder {
    two_bands(shape, (0..=end).step_by(2), 1e-7, |(row, col)| (row == 0 && col < 4).then_some(0.0))
        .end(Date::from_days(end))
        .index("ndvi", "ln(nir - 0.2)")
        .window(4, 1)
        .lag(2)
        .batch_dates(3)
        .overviews(LEVELS)
}

fn run(store: &Path, end: i32, start: Start) -> Result<()> {
    builder(end).build()?.job().start(start).run(&mut ZarrSink::create(store)).map(drop)
}

/// All values of an array of a store.
fn values(store: &Path, array: &str) -> Array4<f32> {
    let folder = Arc::new(FilesystemStore::new(store).unwrap());
    let array = Array::open(folder, &format!("/{array}")).unwrap();
    let values: ArrayD<f32> = array.retrieve_array_subset(&array.subset_all()).unwrap();
    values.into_dimensionality::<Ix4>().unwrap()
}

#[test]
fn cells_are_averages_of_those_that_have_a_value() {
    let folder = tempfile::tempdir().unwrap();
    for (format, shared) in [(ZarrFormat::V2, 1), (ZarrFormat::V3, 1), (ZarrFormat::V3, 4)] {
        let store = folder.path().join(format!("{format:?}-{shared}.zarr"));
        let fusion = builder(6).encoding(Encoding::float32().dates_per_object(shared)).build().unwrap();
        fusion.run(&mut ZarrSink::create(&store).format(format)).unwrap();
        assert_eq!(fusion.plan().store_objects, 3 * 2 * 6 * 7_u64.div_ceil(shared as u64));
        let mut missing = 0;
        for name in ["mean", "sd"] {
            let fine = values(&store, name);
            for times in [2, 4] {
                let coarse = values(&store, &format!("overviews/{times}/{name}"));
                assert_eq!(coarse.dim(), (7, 3, SHAPE.0.div_ceil(times), SHAPE.1.div_ceil(times)));
                for ((t, b, row, col), found) in coarse.indexed_iter() {
                    let to = |from: usize, most: usize| times * from..(times * from + times).min(most);
                    let cells = fine.slice(s![t, b, to(row, SHAPE.0), to(col, SHAPE.1)]);
                    let held: Vec<f64> = cells.iter().filter(|v| !v.is_nan()).map(|v| f64::from(*v)).collect();
                    missing += cells.len() - held.len();
                    let average = held.iter().sum::<f64>() / held.len() as f64;
                    let near = (f64::from(*found) - average).abs() < 1e-6 * (1.0 + average.abs());
                    assert!(near || (held.is_empty() && found.is_nan()), "{name} {times} {found} {average}");
                }
            }
        }
        assert!(missing > 0, "some cells have no value");
        let found = verify(&store).unwrap();
        assert!(found.is_whole(), "{:?} {:?}", found.faults, found.problems);
        assert_eq!(found.chunks, 3 * 2 * 6 * 7);
        // What reads the series does not see them.
        assert_eq!(FusedSeries::open(&store).unwrap().grid().shape(), SHAPE);
    }
}

#[test]
fn groups_say_where_overviews_are() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("fused.zarr");
    run(&store, 4, Start::New).unwrap();
    let json =
        |name: &str| -> serde_json::Value { serde_json::from_slice(&fs::read(store.join(name)).unwrap()).unwrap() };
    let group = json("zarr.json");
    let layout = group["attributes"]["multiscales"]["layout"].as_array().unwrap();
    let assets: Vec<&str> = layout.iter().map(|entry| entry["asset"].as_str().unwrap()).collect();
    assert_eq!(assets, ["mean", "overviews/2/mean", "overviews/4/mean", "sd", "overviews/2/sd", "overviews/4/sd"]);
    assert_eq!((&layout[2]["derived_from"], &layout[2]["transform"]["scale"][3]), (&"mean".into(), &4.0.into()));
    let held = group["consolidated_metadata"]["metadata"].as_object().unwrap();
    for name in assets.iter().chain(&["overviews", "overviews/2", "overviews/4/time", "overviews/4/x"]) {
        let mut own = json(&format!("{name}/zarr.json"));
        own.as_object_mut().unwrap().remove("consolidated_metadata");
        assert_eq!(held[*name], own, "{name}");
    }
    let coarse = json("overviews/4/zarr.json");
    assert_eq!(coarse["attributes"]["spatial:shape"], serde_json::json!([4, 5]));
    assert_eq!(coarse["consolidated_metadata"]["metadata"]["mean"]["shape"], serde_json::json!([5, 3, 4, 5]));
}

#[test]
fn they_go_on_with_the_series_and_are_made_again_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.zarr");
    run(&whole, 9, Start::New).unwrap();
    let whole = tree(&whole);
    let store = folder.path().join("fused.zarr");
    for blocks in [5, 12] {
        let mut sink = FullDisk::after(ZarrSink::create(&store), blocks);
        builder(9).build().unwrap().job().start(Start::Resume).run(&mut sink).unwrap_err();
        assert!(verify(&store).unwrap().faults.is_empty());
    }
    run(&store, 9, Start::Resume).unwrap();
    assert!(tree(&store) == whole);
    let shards = folder.path().join("shards.zarr");
    let fusion = builder(9).build().unwrap();
    for index in [1, 0] {
        fusion.job().shard(Shard::new(index, 2).unwrap()).run(&mut ZarrSink::create(&shards)).unwrap();
    }
    fusion.job().finalize(&mut ZarrSink::create(&shards)).unwrap();
    let grown = folder.path().join("grown.zarr");
    [3, 4, 9].into_iter().for_each(|end| run(&grown, end, Start::Append).unwrap());
    for other in [&shards, &grown] {
        for array in ["mean/c", "overviews/2/mean/c", "overviews/4/sd/c", "overviews/4/time"] {
            assert_eq!(tree(&other.join(array)), tree(&store.join(array)), "{array}");
        }
        assert!(verify(other).unwrap().is_whole());
    }
    // A chunk of an overview that is damaged is named, and made again once it is away.
    let chunk = store.join("overviews/4/sd/c/3/0/1/2");
    let bytes = fs::read(&chunk).unwrap();
    fs::write(&chunk, &bytes[1..]).unwrap();
    let found = verify(&store).unwrap();
    assert_says(&found.faults[0].to_string(), &["overviews/4/sd of tile [1, 2] on 1970-01-04"]);
    run(&store, 9, Start::Resume).unwrap();
    assert!(tree(&store) == whole);
    // An overview whose time is of another length is found.
    let time = store.join("overviews/2/time/zarr.json");
    let text = fs::read_to_string(&time).unwrap();
    fs::write(&time, text.replacen("10", "9", 1)).unwrap();
    assert!(!verify(&store).unwrap().is_whole());
}

#[test]
fn what_has_no_overviews_is_refused_by_key() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |builder: FusionBuilder| builder.build().unwrap_err().to_string();
    assert_says(&refused(builder(4).tile(6, 8)), &["output.overviews", "multiple of 4 cells", "[6, 8]"]);
    assert_says(&refused(builder(4).overviews(9)), &["output.overviews", "at most 8"]);
    // Where the grid ends tiles may.
    let fusion = builder(4).tile(SHAPE.0, 8).build().unwrap();
    fusion.run(&mut ZarrSink::create(folder.path().join("tall.zarr"))).unwrap();
    // The planner chooses tiles of whole cells of the coarsest.
    let (rows, cols) = on((700, 500), 0).window(6, 1).overviews(3).build().unwrap().plan().tile_shape;
    let whole = |tile: usize, grid: usize| tile == grid || tile.is_multiple_of(24);
    assert!(rows * cols < 700 * 500 && whole(rows, 700) && whole(cols, 500), "{rows} {cols}");
    let store = folder.path().join("fused.zarr");
    run(&store, 4, Start::New).unwrap();
    let other = builder(6).overviews(1).build().unwrap();
    let message = other.job().start(Start::Append).run(&mut ZarrSink::create(&store)).unwrap_err().to_string();
    assert_says(&message, &["output.overviews was 2, is 1"]);
}
