//! Zarr cubes: written here through zarrs in every form, and by xarray and zarr-python (`make_cubes.py`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::{ArrayD, Axis, IxDyn};
use rasterfuse::geometry::{Crs, PixelRegion};
use rasterfuse::source::{CubeBuilder, DimensionNames, RasterSource, ZarrCube};
use serde_json::{Value, json};
use tempfile::TempDir;
use zarrs::array::{Array, ArrayMetadata, Element};
use zarrs::filesystem::FilesystemStore;

use super::support::{Truth, assert_says, day, grid};
use super::{SHAPE, conforms, gives, truth};

/// A store to write.
struct Store {
    folder: TempDir,
    format: u8,
}

/// How an array is stored, apart from its content.
#[derive(Clone)]
struct Layout {
    data_type: &'static str,
    fill_value: Value,
    /// v3: the chain of codecs; v2: members of the document.
    codecs: Value,
}

impl Layout {
    fn plain(format: u8, data_type: &'static str) -> Self {
        let codecs = if format == 3 { json!([little()]) } else { json!({}) };
        Self { data_type, fill_value: json!(0), codecs }
    }
}

fn little() -> Value {
    json!({ "name": "bytes", "configuration": { "endian": "little" } })
}

impl Store {
    fn new(format: u8) -> Self {
        Self { folder: TempDir::new().unwrap(), format }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn array<T: Element + Clone>(
        &self,
        name: &str,
        dimensions: &[&str],
        chunk: &[usize],
        layout: &Layout,
        attributes: Value,
        values: &ArrayD<T>,
    ) {
        let Value::Object(mut attributes) = attributes else { panic!("attributes") };
        let Layout { data_type, fill_value, codecs } = layout;
        let document = if self.format == 3 {
            json!({
                "zarr_format": 3, "node_type": "array", "shape": values.shape(), "data_type": data_type,
                "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": chunk } },
                "chunk_key_encoding": { "name": "default" }, "fill_value": fill_value, "codecs": codecs,
                "attributes": attributes, "dimension_names": dimensions
            })
        } else {
            attributes.insert("_ARRAY_DIMENSIONS".into(), json!(dimensions));
            let mut document = json!({
                "zarr_format": 2, "shape": values.shape(), "chunks": chunk, "dtype": data_type, "compressor": null,
                "fill_value": fill_value, "order": "C", "filters": null, "attributes": attributes
            });
            let members = codecs.as_object().unwrap().clone();
            document.as_object_mut().unwrap().extend(members);
            document
        };
        let metadata: ArrayMetadata = serde_json::from_value(document).unwrap();
        let store = Arc::new(FilesystemStore::new(self.path()).unwrap());
        let array = Array::new_with_metadata(store, &format!("/{name}"), metadata).unwrap();
        array.store_metadata().unwrap();
        array.store_array_subset(&array.subset_all(), values.iter().cloned().collect::<Vec<T>>()).unwrap();
    }

    fn line(&self, name: &str, values: &[f64], attributes: Value) {
        let data_type = if self.format == 3 { "float64" } else { "<f8" };
        let values = ArrayD::from_shape_vec(IxDyn(&[values.len()]), values.to_vec()).unwrap();
        let layout = Layout::plain(self.format, data_type);
        self.array(name, &[name], &[values.len()], &layout, attributes, &values);
    }

    /// Coordinates of a truth, by the names of its dimensions.
    fn coordinates(&self, truth: &Truth, [time, band, y, x]: [&str; 4], flipped: (bool, bool)) {
        let turn = |mut values: Vec<f64>, turned: bool| {
            if turned {
                values.reverse();
            }
            values
        };
        let days: Vec<f64> = truth.dates.iter().map(|date| f64::from(date.days_since_epoch())).collect();
        self.line(time, &days, json!({ "units": "days since 1970-01-01", "calendar": "proleptic_gregorian" }));
        self.line(y, &turn(truth.grid.y_centres(), flipped.0), json!({}));
        self.line(x, &turn(truth.grid.x_centres(), flipped.1), json!({}));
        let names = ArrayD::from_shape_vec(IxDyn(&[truth.bands.len()]), truth.bands.clone()).unwrap();
        let codecs = if self.format == 3 {
            json!([{ "name": "vlen-utf8" }])
        } else {
            json!({ "filters": [{ "id": "vlen-utf8" }] })
        };
        let layout =
            Layout { data_type: if self.format == 3 { "string" } else { "|O" }, fill_value: json!(""), codecs };
        self.array(band, &[band], &[truth.bands.len()], &layout, json!({}), &names);
    }

    fn cube(&self) -> CubeBuilder {
        ZarrCube::builder(self.path())
    }
}

const NAMES: [&str; 4] = ["time", "band", "y", "x"];

/// The values in another order of axes and directions: `order[k]` is the truth's axis that becomes axis k.
fn arranged(truth: &Truth, order: [usize; 4], flipped: (bool, bool)) -> ArrayD<f64> {
    let mut values = truth.values.clone();
    if flipped.0 {
        values.invert_axis(Axis(2));
    }
    if flipped.1 {
        values.invert_axis(Axis(3));
    }
    values.permuted_axes(order).as_standard_layout().into_owned().into_dyn()
}

/// A cube of integers with -9 where values are missing.
fn integers(truth: &Truth) -> ArrayD<i16> {
    truth.values.mapv(|value| if value.is_nan() { -9 } else { value as i16 }).into_dyn()
}

fn float64(format: u8) -> Layout {
    let data_type = if format == 3 { "float64" } else { "<f8" };
    Layout { fill_value: json!("NaN"), ..Layout::plain(format, data_type) }
}

fn int16(format: u8) -> Layout {
    Layout::plain(format, if format == 3 { "int16" } else { "<i2" })
}

#[test]
fn every_order_and_direction_of_axes_conforms() {
    let truth = truth();
    let orders = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0], [1, 2, 3, 0], [0, 2, 3, 1]];
    let directions = [(false, false), (true, false), (false, true), (true, true)];
    for (k, order) in orders.into_iter().enumerate() {
        for format in [2, 3] {
            let flipped = directions[(k + usize::from(format)) % 4];
            println!("v{format}, order {order:?}, flipped {flipped:?}");
            let store = Store::new(format);
            store.coordinates(&truth, NAMES, flipped);
            let chunk = order.map(|axis| [2, 2, 3, 4][axis]);
            let names = order.map(|axis| NAMES[axis]);
            store.array("refl", &names, &chunk, &float64(format), json!({}), &arranged(&truth, order, flipped));
            let cube = store.cube().variable("refl").open().unwrap();
            conforms(&cube, &truth);
            assert_eq!(cube.block_shape(), Some((3, 4)));
            // Found without being named, too, and kept in no cache.
            conforms(&store.cube().cache_bytes(0).open().unwrap(), &truth);
        }
    }
}

/// A cube of another type holds `truth`.
fn written<T: Element + Clone>(truth: &Truth, format: u8, layout: Layout, attributes: Value, cast: impl Fn(f64) -> T) {
    let store = Store::new(format);
    store.coordinates(truth, NAMES, (false, false));
    let values = truth.values.mapv(cast).into_dyn();
    println!("v{format} {} {attributes}", layout.data_type);
    store.array("refl", &NAMES, &[1, 3, 4, 6], &layout, attributes, &values);
    conforms(&store.cube().open().unwrap(), truth);
}

#[test]
fn every_type_and_way_to_say_missing_conforms() {
    let truth = truth();
    let fill = |value: f64, missing: f64| if value.is_nan() { missing } else { value };
    let plain = Layout::plain;
    for (format, [u8s, i8s, u16s, i32s, u32s, i64s, u64s, f32s, big]) in [
        (3, ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float32"]),
        (2, ["|u1", "|i1", "<u2", "<i4", "<u4", "<i8", "<u8", "<f4", ">f4"]),
    ] {
        written(&truth, format, plain(format, u8s), json!({ "_FillValue": 255 }), |v| fill(v, 255.0) as u8);
        written(&truth, format, plain(format, u16s), json!({ "missing_value": [65535, 1000] }), |v| {
            fill(v, 65535.0) as u16
        });
        written(&truth, format, plain(format, i32s), json!({ "valid_min": 1 }), |v| fill(v, -7.0) as i32);
        written(&truth, format, plain(format, u32s), json!({ "valid_max": 250 }), |v| fill(v, 4e9) as u32);
        written(&truth, format, plain(format, i64s), json!({ "valid_range": [1, 250] }), |v| fill(v, -5.0) as i64);
        written(&truth, format, plain(format, u64s), json!({ "_FillValue": 300, "missing_value": 400 }), |v| {
            fill(v, 300.0) as u64
        });
        written(&truth, format, plain(format, f32s), json!({ "_FillValue": 0.1 }), |v| fill(v, 0.1) as f32);
        written(&truth, format, plain(format, big), json!({}), |v| v as f32);
        let small = truth.clone().map(|v| v % 100.0 + 1.0);
        written(&small, format, plain(format, i8s), json!({ "_FillValue": -128 }), |v| fill(v, -128.0) as i8);
    }
    // In v2 the fill value says it alone; in v3 it is a value like others.
    let absent = Layout { fill_value: json!(-9), ..int16(2) };
    written(&truth, 2, absent, json!({}), |v| fill(v, -9.0) as i16);
    let present = Layout { fill_value: json!(-9), ..int16(3) };
    let filled = truth.clone().map(|v| fill(v, -9.0));
    written(&filled, 3, present, json!({}), |v| v as i16);
}

#[test]
fn every_codec_that_python_writes_conforms() {
    let truth = truth();
    let named = |name: &str, configuration: Value| json!({ "name": name, "configuration": configuration });
    let blosc = |cname: &str| {
        named("blosc", json!({ "cname": cname, "clevel": 5, "shuffle": "shuffle", "typesize": 2, "blocksize": 0 }))
    };
    let zstd = || named("zstd", json!({ "level": 1, "checksum": true }));
    let shard = |codecs: Value| {
        let index = json!([little(), { "name": "crc32c" }]);
        named("sharding_indexed", json!({ "chunk_shape": [1, 2, 2, 3], "codecs": codecs, "index_codecs": index }))
    };
    let v3 = [
        json!([little(), zstd()]),
        json!([little(), named("gzip", json!({ "level": 5 }))]),
        json!([little(), blosc("lz4")]),
        json!([little(), blosc("zstd")]),
        json!([named("bytes", json!({ "endian": "big" })), { "name": "crc32c" }]),
        json!([named("transpose", json!({ "order": [3, 0, 2, 1] })), little(), zstd()]),
        json!([shard(json!([little(), zstd()]))]),
        json!([shard(json!([little()]))]),
    ];
    let v2 = [
        json!({ "compressor": { "id": "zlib", "level": 4 } }),
        json!({ "compressor": { "id": "gzip", "level": 4 }, "order": "F" }),
        json!({ "compressor": { "id": "zstd", "level": 3 } }),
        json!({ "compressor": { "id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0 }, "dimension_separator": "/" }),
        json!({ "order": "F" }),
    ];
    for (format, codecs) in v3.into_iter().map(|codecs| (3, codecs)).chain(v2.into_iter().map(|codecs| (2, codecs))) {
        println!("v{format} {codecs}");
        let store = Store::new(format);
        store.coordinates(&truth, NAMES, (true, false));
        let layout = Layout { codecs, ..int16(format) };
        let mut values = truth.clone();
        values.values.invert_axis(Axis(2));
        store.array("refl", &NAMES, &[2, 4, 4, 6], &layout, json!({ "_FillValue": -9 }), &integers(&values));
        conforms(&store.cube().open().unwrap(), &truth);
    }
}

#[test]
fn variables_may_be_bands_and_a_single_one_too() {
    let mut truth = truth();
    truth.bands = vec!["nir".into(), "red".into(), "swir".into()];
    for format in [2, 3] {
        let store = Store::new(format);
        store.coordinates(&truth, ["time", "unused", "y", "x"], (false, false));
        for (k, name) in truth.bands.iter().enumerate() {
            // A dimension of length 1 is no obstacle.
            let plane = truth.values.index_axis(Axis(1), k).to_owned().insert_axis(Axis(1)).into_dyn();
            store.array(name, &["time", "height", "y", "x"], &[1, 1, 5, 5], &float64(format), json!({}), &plane);
        }
        conforms(&store.cube().variables(&truth.bands).open().unwrap(), &truth);
        let one = Truth {
            bands: vec!["swir".into()],
            values: truth.values.slice(ndarray::s![.., 2..3, .., ..]).to_owned(),
            ..truth.clone()
        };
        conforms(&store.cube().variable("swir").open().unwrap(), &one);
        let message = store.cube().open().unwrap_err().to_string();
        assert_says(&message, &["variable", "nir", "red", "swir", "`variables`"]);
        let message = store.cube().variables(["nir", "NDVI"]).open().unwrap_err().to_string();
        assert_says(&message, &["variables", "\"NDVI\" is not in", "nir", "time"]);
    }
}

#[test]
fn dimensions_of_any_name_can_be_told() {
    let truth = truth();
    let store = Store::new(3);
    let names = ["k", "l", "m", "n"];
    store.coordinates(&truth, names, (false, true));
    store.array("refl", &names, &[1, 1, 7, 11], &float64(3), json!({}), &arranged(&truth, [0, 1, 2, 3], (false, true)));
    let message = store.cube().variable("refl").open().unwrap_err().to_string();
    assert_says(&message, &["refl", "\"l\" of length 3", "`dimensions`"]);
    let dimensions = DimensionNames {
        band: Some("l".into()),
        y: Some("m".into()),
        x: Some("n".into()),
        ..DimensionNames::default() // the units tell the time
    };
    conforms(&store.cube().variable("refl").dimensions(dimensions).open().unwrap(), &truth);
}

#[test]
fn scale_offset_and_ranges_are_the_stores_unless_given() {
    let truth = truth();
    let store = Store::new(3);
    store.coordinates(&truth, NAMES, (false, false));
    let attributes = json!({ "scale_factor": 0.25, "add_offset": -3.0, "_FillValue": -9, "valid_range": [10, 240] });
    store.array("refl", &NAMES, &[3, 3, 7, 11], &int16(3), attributes, &integers(&truth));
    let numbers = integers(&truth);
    let stored = truth.map(|v| if (10.0..=240.0).contains(&v) { v } else { f64::NAN });
    let holds = |builder: CubeBuilder, scale: f64, offset: f64| {
        conforms(&builder.open().unwrap(), &stored.clone().map(|v| scale * v + offset));
    };
    holds(store.cube(), 0.25, -3.0);
    holds(store.cube().scale(2.0), 2.0, -3.0);
    holds(store.cube().scale(1.0).offset(0.5), 1.0, 0.5);
    let picked = f64::from(*numbers.iter().find(|value| (10..=240).contains(*value)).unwrap());
    let hidden = stored.clone().map(|v| if v == picked { f64::NAN } else { 0.25 * v - 3.0 });
    conforms(&store.cube().nodata(picked).open().unwrap(), &hidden);
    let narrow = stored.map(|v| 0.25 * v - 3.0).map(|v| if (0.0..=40.0).contains(&v) { v } else { f64::NAN });
    let cube = store.cube().valid_range(0.0, 40.0).open().unwrap();
    conforms(&cube, &narrow);
    let settings = format!("{:?}", cube.settings());
    assert_says(&settings, &["variables", "refl", "[0.0, 40.0]"]);
    let message = store.cube().scale(0.0).open().unwrap_err().to_string();
    assert_says(&message, &["scale", "not zero"]);
}

#[test]
fn kilometres_are_converted_to_the_metres_of_the_crs() {
    let truth = truth();
    let store = Store::new(3);
    store.coordinates(&truth, NAMES, (false, false));
    let kilometres = |centres: Vec<f64>| centres.iter().map(|centre| centre / 1000.0).collect::<Vec<_>>();
    store.line("y", &kilometres(truth.grid.y_centres()), json!({ "units": "km" }));
    store.line("x", &kilometres(truth.grid.x_centres()), json!({ "units": "km" }));
    store.array("refl", &NAMES, &[3, 3, 7, 11], &int16(3), json!({ "_FillValue": -9 }), &integers(&truth));
    let metres = "PROJCRS[\"m\",CS[Cartesian,2],LENGTHUNIT[\"metre\",1]]";
    let cube = store.cube().crs(Crs::from_wkt(metres)).open().unwrap();
    for (found, expected) in cube.grid().geotransform().iter().zip(truth.grid.geotransform()) {
        assert!((found - expected).abs() < 1e-6, "{found}, not {expected}");
    }
}

#[test]
fn numbers_that_can_be_no_value_are_refused_and_a_packed_range_is_told() {
    let truth = truth();
    let with = |data_type: &'static str, odd: f64, attributes: Value| {
        let store = Store::new(3);
        store.coordinates(&truth, NAMES, (false, false));
        let layout = Layout { data_type, ..int16(3) };
        let mut values = truth.values.mapv(|value| if value.is_nan() { -9.0 } else { value }).into_dyn();
        values[IxDyn(&[1, 0, 2, 3])] = odd;
        match data_type {
            "int64" => store.array("refl", &NAMES, &[3, 3, 7, 11], &layout, attributes, &values.mapv(|v| v as i64)),
            _ => store.array("refl", &NAMES, &[3, 3, 7, 11], &layout, attributes, &values),
        }
        store
    };
    for (data_type, odd, words) in [("float64", 9.969_209_968_386_869e36, "e36"), ("int64", 9.0e17, "9e17")] {
        let store = with(data_type, odd, json!({ "_FillValue": -9 }));
        let read = |cube: CubeBuilder| cube.open().unwrap().read(truth.dates[1], &[0], &truth.grid.region());
        let message = read(store.cube()).unwrap_err().to_string();
        assert_says(&message, &["refl", &truth.dates[1].to_string(), words, "`nodata`"]);
        let slice = read(store.cube().nodata(odd)).unwrap();
        assert!(slice.values[(0, 2, 3)].is_nan());
    }
    let store = with("float64", 5.0, json!({ "valid_range": [0, 10000] }));
    assert_says(&store.cube().open().unwrap().warnings()[0], &["refl", "valid_range", "[0, 10000]", "packed"]);
    let store = with("float64", 5.0, json!({ "valid_range": [0.0, 250.0] }));
    assert!(store.cube().open().unwrap().warnings().is_empty());
}

#[test]
fn times_in_any_unit_and_order_become_dates() {
    let truth = truth();
    let with_times = |times: &[f64], attributes: Value| {
        let store = Store::new(3);
        store.coordinates(&truth, NAMES, (false, false));
        store.line("time", times, attributes);
        store.array("refl", &NAMES, &[1, 3, 7, 11], &float64(3), json!({}), &truth.values.clone().into_dyn());
        let cube = store.cube().variable("refl").open().map_err(|error| error.to_string());
        (cube, store)
    };
    let (cube, _store) = with_times(&[10.5, 106.5, 202.5], json!({ "units": "hours since 2024-01-01" }));
    conforms(&cube.unwrap(), &truth);
    // Out of order: the dates are sorted, the values go with them.
    let (cube, _store) =
        with_times(&[8.0, 0.0, 4.0], json!({ "units": "days since 2024-01-01", "calendar": "standard" }));
    let mut sorted = truth.clone();
    for (to, from) in [(0, 1), (1, 2), (2, 0)] {
        sorted.values.index_axis_mut(Axis(0), to).assign(&truth.values.index_axis(Axis(0), from));
    }
    conforms(&cube.unwrap(), &sorted);
    for (times, attributes, words) in [
        (
            &[0.0, 4.2, 4.9],
            json!({ "units": "days since 2024-01-01" }),
            ["times 1 and 2", "2024-01-05", "one acquisition a day"],
        ),
        (
            &[0.0, 1.0, 2.0],
            json!({ "units": "days since 2024-01-01", "calendar": "noleap" }),
            ["\"time\"", "noleap", "convert"],
        ),
        (
            &[0.0, 1.0, 2.0],
            json!({ "units": "months since 2024-01-01" }),
            ["\"time\"", "months", "days since 1970-01-01"],
        ),
        (&[0.0, 1.0, 2.0], json!({}), ["\"time\"", "no units", "days since 1970-01-01"]),
        (&[0.0, f64::NAN, 2.0], json!({ "units": "days since 2024-01-01" }), ["\"time\"", "NaN", "drop"]),
    ] {
        let (cube, store) = with_times(times, attributes);
        let message = cube.unwrap_err();
        assert_says(&message, &words);
        assert_says(&message, &[store.path().to_str().unwrap()]);
    }
}

#[test]
fn metadata_that_ask_for_all_memory_are_refused() {
    let truth = truth();
    let store = Store::new(3);
    store.coordinates(&truth, NAMES, (false, false));
    store.array("refl", &NAMES, &[3, 3, 7, 11], &float64(3), json!({}), &truth.values.clone().into_dyn());
    for length in [1_u64 << 33, u64::MAX / 2] {
        for name in ["refl", "time"] {
            let path = store.path().join(name).join("zarr.json");
            let mut document: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            document["shape"][0] = length.into();
            std::fs::write(&path, document.to_string()).unwrap();
        }
        let message = store.cube().open().unwrap_err().to_string();
        assert_says(&message, &["\"time\"", &length.to_string(), "damaged"]);
    }
}

#[test]
fn the_place_is_that_of_the_coordinates_or_of_a_geotransform() {
    let truth = truth();
    let wkt = "LOCAL_CS[\"field\",UNIT[\"metre\",1],AUTHORITY[\"X\",\"1\"]]";
    let mapping = json!({ "GeoTransform": "600000 30 0 5200000 0 -20", "crs_wkt": wkt });
    let place = |coordinates: bool, mapping: Option<&Value>, attributes: Value| {
        let store = Store::new(3);
        store.coordinates(&truth, NAMES, (false, false));
        if !coordinates {
            std::fs::remove_dir_all(store.path().join("x")).unwrap();
            std::fs::remove_dir_all(store.path().join("y")).unwrap();
        }
        if let Some(mapping) = mapping {
            let scalar = ArrayD::<i64>::zeros(IxDyn(&[]));
            store.array("mapping", &[], &[], &Layout::plain(3, "int64"), mapping.clone(), &scalar);
        }
        store.array("refl", &NAMES, &[1, 3, 7, 11], &float64(3), attributes, &truth.values.clone().into_dyn());
        (store.cube().variable("refl").open().map_err(|error| error.to_string()), store)
    };
    let by_mapping = || json!({ "grid_mapping": "mapping" });
    let (cube, _store) = place(false, Some(&mapping), by_mapping());
    let cube = cube.unwrap();
    conforms(&cube, &truth);
    assert!(!cube.grid().crs().is_unknown() && cube.grid().crs().wkt().contains("field"));
    // A cube that was cut keeps a stale GeoTransform.
    let stale = json!({ "GeoTransform": "500000 30 0 5200000 0 -20" });
    conforms(&place(true, Some(&stale), by_mapping()).0.unwrap(), &truth);
    let (cube, _store) = place(false, None, json!({}));
    assert_says(&cube.unwrap_err(), &["refl", "\"y\"", "coordinates", "GeoTransform"]);
    let (cube, _store) = place(true, None, json!({ "proj:code": "EPSG:32633" }));
    assert_eq!(cube.unwrap().grid().crs().code(), Some("EPSG:32633"));

    let store = Store::new(3);
    store.coordinates(&truth, NAMES, (false, false));
    let mut uneven = truth.grid.y_centres();
    uneven[3] += 1.0;
    store.line("y", &uneven, json!({}));
    store.array("refl", &NAMES, &[1, 3, 7, 11], &float64(3), json!({}), &truth.values.clone().into_dyn());
    assert_says(
        &store.cube().open().unwrap_err().to_string(),
        &["\"y\"", "not evenly spaced", "at 3", "regular grids"],
    );
    store.line("y", &truth.grid.y_centres()[..5], json!({}));
    assert_says(&store.cube().open().unwrap_err().to_string(), &["\"y\"", "[5]", "dimension of 7"]);
    store.line("y", &truth.grid.y_centres(), json!({}));
    let given = Crs::from_wkt(wkt);
    assert_eq!(store.cube().crs(given.clone()).open().unwrap().grid().crs(), &given);
}

#[test]
fn stores_that_are_none_and_arrays_that_cannot_be_read_are_named() {
    let refused = |path: &Path| ZarrCube::builder(path).open().unwrap_err().to_string();
    assert_says(&refused(Path::new("/nowhere/cube.zarr")), &["/nowhere/cube.zarr", "No such file"]);
    let empty = TempDir::new().unwrap();
    assert_says(&refused(empty.path()), &[empty.path().to_str().unwrap(), "no Zarr array", "group"]);
    let truth = truth();
    let store = Store::new(3);
    store.coordinates(&truth, NAMES, (false, false));
    assert_says(&refused(store.path()), &["variable", "none of", "time, y and x"]);
    let codecs = json!([little(), { "name": "zip", "configuration": { "level": 11 } }]);
    store.array("refl", &NAMES, &[1, 3, 7, 11], &float64(3), json!({}), &truth.values.clone().into_dyn());
    let document = store.path().join("refl/zarr.json");
    let mut strange: Value = serde_json::from_slice(&std::fs::read(&document).unwrap()).unwrap();
    strange["codecs"] = codecs;
    std::fs::write(&document, strange.to_string()).unwrap();
    let message = store.cube().variable("refl").open().unwrap_err().to_string();
    assert_says(&message, &["refl", "zip"]);
    let message = store.cube().variable("band").open().unwrap_err().to_string();
    assert_says(&message, &["band", "string", "integers, float32 and float64"]);
}

#[test]
fn reading_decodes_only_chunks_that_meet_the_region() {
    let truth = truth();
    let store = Store::new(3);
    store.coordinates(&truth, NAMES, (false, false));
    let layout = Layout { codecs: json!([little(), { "name": "crc32c" }]), ..float64(3) };
    store.array("refl", &NAMES, &[1, 2, 4, 6], &layout, json!({}), &truth.values.clone().into_dyn());
    let cube = store.cube().open().unwrap();
    let damaged = store.path().join("refl/c/1/0/1/1");
    std::fs::write(&damaged, b"not what it was").unwrap();
    assert!(gives(&cube, &truth, 1, &[0, 1, 2], &PixelRegion::new(0..4, 0..11)));
    assert!(gives(&cube, &truth, 1, &[0, 1, 2], &PixelRegion::new(0..7, 0..6)));
    assert!(gives(&cube, &truth, 1, &[2], &truth.grid.region()), "another chunk of bands");
    assert!(gives(&cube, &truth, 0, &[0, 1, 2], &truth.grid.region()), "another date");
    let error = cube.read(day(4), &[2, 1], &PixelRegion::new(3..5, 5..7)).unwrap_err().to_string();
    assert_says(
        &error,
        &[store.path().to_str().unwrap(), "refl", "2024-01-05", "3..5", "5..7", "damaged", "leave the date out"],
    );
    // Nothing is kept of chunks of one date.
    let one = cube.handle_bytes(1);
    assert_eq!((one, cube.handle_bytes(4)), (3 * 2 * 4 * 6 * 8, 4 * one));
}

#[test]
fn chunks_of_many_dates_are_decoded_once_for_a_tiles_dates() {
    let truth = Truth::new(grid(SHAPE), 12, &["red", "nir"]);
    let store = Store::new(3);
    store.coordinates(&truth, NAMES, (false, false));
    store.array("refl", &NAMES, &[12, 1, 7, 4], &float64(3), json!({}), &truth.values.clone().into_dyn());
    let cube = store.cube().open().unwrap();
    let region = PixelRegion::new(0..7, 0..8);
    assert!(gives(&cube, &truth, 0, &[0, 1], &region));
    // The files are gone; what was decoded is still there, and nothing else.
    std::fs::remove_dir_all(store.path().join("refl/c")).unwrap();
    assert!((0..12).all(|time| gives(&cube, &truth, time, &[1, 0], &region)));
    let rest = cube.read(day(0), &[0], &PixelRegion::new(0..7, 8..11)).unwrap().values;
    assert!(rest.iter().all(|value| value.is_nan()), "not read before");
    let chunk = 12 * 7 * 4 * 8;
    // All six chunks fit, and a reader has three copies of one in hand.
    assert_eq!(cube.handle_bytes(2), chunk * (6 + 3 * 2));
    assert_eq!(store.cube().cache_bytes(2 * chunk + 5).open().unwrap().handle_bytes(0), 2 * chunk);
}

#[test]
fn a_fused_series_is_a_cube() {
    use rasterfuse::Fusion;
    use rasterfuse::describe::OutputDates;
    use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
    use rasterfuse::sink::{MemorySink, ZarrFormat, ZarrSink};

    let truth = truth();
    let fusion = || {
        Fusion::builder(truth.grid.clone())
            .bands(&truth.bands)
            .window(2, 1)
            .process(Process::new(Kernel::Exponential, 100.0, 1.0))
            .prior(Prior::new(100.0, 1e4))
            .tile(4, 6)
            // The suite asks for dates between the truth's.
            .output(OutputDates::Observed)
            .instrument(Instrument::new("one", truth.source()).noise_variance(1.0))
            .build()
            .unwrap()
    };
    let mut memory = MemorySink::new();
    fusion().run(&mut memory).unwrap();
    let (mean, _) = memory.into_arrays().unwrap();
    for format in [ZarrFormat::V2, ZarrFormat::V3] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("fused.zarr");
        fusion().run(&mut ZarrSink::create(&path).format(format)).unwrap();
        let cube = ZarrCube::builder(&path).variable("mean").open().unwrap();
        let fused = Truth {
            grid: truth.grid.clone(),
            dates: truth.dates.clone(),
            bands: truth.bands.clone(),
            values: mean.mapv(|value| f64::from(value as f32)),
        };
        conforms(&cube, &fused);
        assert_eq!(cube.block_shape(), Some((4, 6)));
        let message = ZarrCube::builder(&path).open().unwrap_err().to_string();
        assert_says(&message, &["mean", "sd", "name one"]);
    }
}

fn written_by_python(name: &str) -> CubeBuilder {
    ZarrCube::builder(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cubes").join(name))
}

#[test]
fn cubes_written_by_xarray_and_zarr_python_conform() {
    let truth = truth();
    for name in ["plain_v2.zarr", "plain_v3.zarr"] {
        println!("{name}");
        conforms(&written_by_python(name).variable("reflectance").open().unwrap(), &truth);
        conforms(&written_by_python(name).open().unwrap(), &truth);
    }
    let wavelengths = Truth { bands: vec!["665".into(), "842.5".into(), "1610".into()], ..truth.clone() };
    for name in ["packed_v2.zarr", "packed_v3.zarr"] {
        println!("{name}");
        conforms(&written_by_python(name).variable("refl").open().unwrap(), &wavelengths);
    }
    let sharded = written_by_python("sharded_v3.zarr").variables(["red", "nir", "swir"]).open().unwrap();
    conforms(&sharded, &truth);
    assert_eq!(sharded.grid().crs().code(), Some("EPSG:32633"));
    assert_eq!(sharded.block_shape(), Some((4, 4)), "the parts of a shard");
    let fortran = written_by_python("fortran_v2.zarr").open().unwrap();
    conforms(&fortran, &Truth { bands: vec!["band1".into(), "band2".into(), "band3".into()], ..truth });
}

#[cfg(feature = "gdal")]
#[test]
fn toml_names_a_cube_and_its_variables() {
    use rasterfuse::config::FusionConfig;

    let truth = truth();
    let store = Store::new(3);
    let names = ["k", "l", "m", "n"];
    store.coordinates(&truth, names, (true, false));
    store.array("refl", &names, &[1, 3, 7, 11], &float64(3), json!({}), &arranged(&truth, [0, 1, 2, 3], (true, false)));
    let folder = store.path().parent().unwrap();
    let name = store.path().file_name().unwrap().to_str().unwrap();
    let text = format!(
        r#"
        [target]
        geotransform = [600000, 30, 0, 5200000, 0, -20]
        shape = [7, 11]
        bands = ["red", "nir", "swir"]
        [process]
        kernel = "none"
        variance = 1e-4
        [prior]
        mean = 0.2
        variance = 0.05
        [[instrument]]
        name = "cube"
        zarr = "{name}"
        variable = "refl"
        dimensions = {{ band = "l", y = "m", x = "n" }}
        noise_variance = 1e-5
        [output]
        store = "fused.zarr"
        "#
    );
    let build = |text: &str| FusionConfig::parse(text, folder).and_then(|config| config.build());
    let fusion = build(&text).unwrap();
    assert_eq!(fusion.plan().observed_dates, 3);
    let refused = |from: &str, to: &str| build(&text.replace(from, to)).unwrap_err().to_string();
    let variable = "variable = \"refl\"";
    assert_says(&refused(variable, "variable = \"red\""), &["instrument \"cube\": variables", "\"red\" is not in"]);
    assert_says(
        &refused(variable, "variable = \"refl\"\nvariables = [\"refl\"]"),
        &["instrument \"cube\": variable", "leave one out"],
    );
    assert_says(
        &refused(variable, "variable = \"refl\"\nfiles = \"*.tif\""),
        &["instrument \"cube\": files", "`zarr`", "leave"],
    );
    assert_says(
        &refused(variable, "variable = \"refl\"\nreproject = \"cubic\""),
        &["instrument \"cube\": reproject", "`zarr`"],
    );
    assert_says(&refused("band = \"l\"", "bands = \"l\""), &["bands", "line 16"]);
    assert_says(
        &refused(&format!("zarr = \"{name}\""), "files = \"*.tif\""),
        &["instrument \"cube\": variable", "`zarr`"],
    );
    let other = refused(variable, "variable = \"refl\"\ncrs = \"EPSG:32633\"");
    assert_says(&other, &["instrument \"cube\"", "EPSG:32633", "target.crs"]);
}

/// Series in one file, through GDAL.
#[cfg(feature = "gdal")]
mod series {
    use std::path::{Path, PathBuf};

    use ndarray::{Axis, s};
    use rasterfuse::source::{RasterSeries, RasterSource, SeriesBuilder};
    use tempfile::TempDir;

    use super::super::support::{Missing, Sample, Tiff, Truth, assert_says, day, grid, same, truncate};
    use super::super::{SHAPE, conforms, truth};

    fn netcdf(name: &str) -> Option<SeriesBuilder> {
        // GDAL may be built without it.
        gdal::DriverManager::get_driver_by_name("netCDF").ok()?;
        Some(RasterSeries::builder(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cubes").join(name)))
    }

    fn first_band(name: &str) -> Truth {
        let truth = truth();
        Truth { bands: vec![name.into()], values: truth.values.slice(s![.., 0..1, .., ..]).to_owned(), ..truth }
    }

    /// Writes the dates of one band as the bands of a file.
    fn write(path: &Path, truth: &Truth, names: Vec<String>) {
        let values = truth.values.index_axis(Axis(1), 0);
        Tiff { names, sample: Sample::I16, missing: Missing::Nodata(-9.0), ..Tiff::new(&truth.grid, values) }
            .write(path);
    }

    #[test]
    fn variables_of_netcdf_files_conform() {
        let Some(series) = netcdf("series.nc") else { return };
        conforms(&series.open().unwrap(), &first_band("red"));
        conforms(&netcdf("series.nc").unwrap().variables(["red"]).open().unwrap(), &first_band("red"));
        let bands = || netcdf("bands.nc").unwrap();
        let all = bands().variables(["red", "nir", "swir"]).open().unwrap();
        conforms(&all, &truth());
        assert_eq!(all.block_shape(), Some((7, 11)));
        assert!(all.handle_bytes(2) >= 6 * (16 << 20), "{}", all.handle_bytes(2));
        assert_says(&format!("{:?}", all.settings()), &["variables", "red", "nir", "swir"]);
        let message = bands().open().unwrap_err().to_string();
        assert_says(&message, &["variables", "bands.nc", "red", "nir", "swir", "name those"]);
        let message = bands().variables(["red", "blue"]).open().unwrap_err().to_string();
        assert_says(&message, &["variables", "\"blue\" is not in", "nir"]);
        let message = netcdf("series.nc").unwrap().variables(["blue"]).open().unwrap_err().to_string();
        assert_says(&message, &["variables", "series.nc", "red", "blue"]);
        let other = bands().variables(["nir"]).dates([day(8), day(4), day(0)]).scale(1.0).open().unwrap();
        let mut expected = Truth {
            bands: vec!["nir".into()],
            values: truth().values.slice(s![..;-1, 1..2, .., ..]).to_owned(),
            ..truth()
        };
        expected.values.mapv_inplace(|value| 2.0 * value);
        conforms(&other, &expected);
    }

    #[test]
    fn bands_of_a_geotiff_are_dates_by_description_or_list() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("series.tif");
        let truth = first_band("band1");
        for names in [
            vec!["2024-01-01".into(), "NDVI 20240105".into(), "x_2024-01-09T10:30:00".into()],
            vec!["20240101".into(), "20240105".into(), "20240109".into()],
        ] {
            write(&path, &truth, names);
            conforms(&RasterSeries::builder(&path).open().unwrap(), &truth);
        }
        write(&path, &truth, vec!["d001".into(), "d005".into(), "d009".into()]);
        let message = RasterSeries::builder(&path).open().unwrap_err().to_string();
        assert_says(&message, &["series.tif", "band 1 (\"d001\")", "no date", "`dates`"]);
        conforms(&RasterSeries::builder(&path).dates(truth.dates.clone()).open().unwrap(), &truth);
        let message = RasterSeries::builder(&path).dates([day(0)]).open().unwrap_err().to_string();
        assert_says(&message, &["dates", "1 dates for the 3 bands", "series.tif"]);
        let message = RasterSeries::builder(&path).dates([day(0), day(4), day(0)]).open().unwrap_err().to_string();
        assert_says(&message, &["series.tif", "times 0 and 2", "2024-01-01"]);
        write(&path, &truth, vec!["2024/001".into(), "2024/005".into(), "2024/009".into()]);
        conforms(&RasterSeries::builder(&path).date(r"(\d{4}/\d{3})", "%Y/%j").open().unwrap(), &truth);
    }

    #[test]
    fn a_damaged_series_names_file_date_and_band() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("series.tif");
        let truth = Truth { bands: vec!["band1".into()], ..Truth::new(grid(SHAPE), 3, &["any"]) };
        write(&path, &truth, vec!["2024-01-01".into(), "2024-01-05".into(), "2024-01-09".into()]);
        let series = RasterSeries::builder(&path).open().unwrap();
        let whole = truth.grid.region();
        let read = series.read(day(4), &[0], &whole).unwrap().values;
        assert!(read.iter().zip(truth.values.index_axis(Axis(0), 1)).all(|(a, b)| same(*a, *b)));
        drop(series);
        let series = RasterSeries::builder(&path).open().unwrap();
        truncate(&path, 60);
        let message = series.read(day(8), &[0], &whole).unwrap_err().to_string();
        assert_says(&message, &[path.to_str().unwrap(), "2024-01-09", "band1", "truncated"]);
        std::fs::remove_file(&path).unwrap();
        let message = RasterSeries::builder(&path).open().unwrap_err().to_string();
        assert_says(&message, &[path.to_str().unwrap(), "No such file"]);
    }
}
