//! Files of unknown origin: none opens other files or servers, waits for ever, or takes more memory than its pixels need.
#![cfg(all(feature = "gdal", feature = "zarr", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ndarray::Array3;
use rasterfuse::geometry::{Crs, Grid, PixelRegion};
use rasterfuse::source::gdal::crs_from_definition;
use rasterfuse::source::{Calibration, RasterSource, RasterStack, Resampling, ZarrCube};
use rasterfuse::{Error, Result};
use serde_json::{Value, json};
use support::{Sample, Tiff, assert_says, day, program};
use tempfile::TempDir;

const UTM: &str = "EPSG:32633";

fn grid() -> Grid {
    Grid::new(crs_from_definition(UTM).unwrap(), [500_000.0, 30.0, 0.0, 5_100_000.0, 0.0, -30.0], (2, 2)).unwrap()
}

fn tiff(path: &Path) {
    let values = Array3::from_elem((1, 2, 2), 0.25);
    Tiff { crs: Some(UTM), sample: Sample::F32, ..Tiff::new(&grid(), values.view()) }.write(path);
}

/// A description of pixels that are in another file.
fn virtual_raster(source: &str) -> String {
    format!(
        "<VRTDataset rasterXSize=\"2\" rasterYSize=\"2\"><SRS>{UTM}</SRS><GeoTransform>500000, 30, 0, 5100000, 0, -30</GeoTransform>\
         <VRTRasterBand dataType=\"Float32\" band=\"1\"><SimpleSource><SourceFilename relativeToVRT=\"0\">{source}</SourceFilename>\
         <SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
}

fn web_map(server: &str) -> String {
    format!(
        "<GDAL_WMS><Service name=\"WMS\"><ServerUrl>{server}/wms?</ServerUrl><SRS>{UTM}</SRS></Service>\
         <DataWindow><UpperLeftX>500000</UpperLeftX><UpperLeftY>5100000</UpperLeftY><LowerRightX>500060</LowerRightX>\
         <LowerRightY>5099940</LowerRightY><SizeX>2</SizeX><SizeY>2</SizeY></DataWindow><BandsCount>1</BandsCount></GDAL_WMS>"
    )
}

/// A server of this machine that nobody may ask for anything.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn address(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    fn was_not_asked(&self, case: &str) {
        let asked = self.0.accept();
        assert_eq!(
            asked.err().map(|error| error.kind()),
            Some(ErrorKind::WouldBlock),
            "{case}: a connection was opened"
        );
    }
}

/// Opens all files of a folder and reads all of them, on their own grid or on another.
fn read_all(folder: &Path, reproject: bool) -> Result<()> {
    let mut stack = RasterStack::builder("scene_*.tif", r"_(\d{8})").folder(folder);
    if reproject {
        stack = stack.onto(&grid(), Resampling::Nearest);
    }
    let stack = stack.open()?;
    let (rows, cols) = stack.grid().shape();
    stack.dates().iter().try_for_each(|date| stack.read(*date, &[0], &PixelRegion::new(0..rows, 0..cols)).map(drop))
}

#[test]
fn what_patterns_match_opens_no_other_file_and_no_server() {
    let (folder, server) = (TempDir::new().unwrap(), Silent::new());
    let elsewhere = folder.path().join("other.tif");
    tiff(&elsewhere);
    let scene = folder.path().join("scene_20240101.tif");
    let texts = [
        ("VRT", virtual_raster(elsewhere.to_str().unwrap())),
        ("VRT", virtual_raster(&format!("/vsicurl/{}/a.tif", server.address()))),
        ("WMS", web_map(&server.address())),
    ];
    for (driver, text) in &texts {
        fs::write(&scene, text).unwrap();
        for reproject in [false, true] {
            let message = read_all(folder.path(), reproject).unwrap_err().to_string();
            assert_says(&message, &["scene_20240101.tif", "2024-01-01", driver, &format!("drivers = [{driver:?}]")]);
        }
        server.was_not_asked(text);
    }
    fs::write(&scene, &texts[0].1).unwrap();
    let stack = RasterStack::builder("scene_*.tif", r"_(\d{8})").folder(folder.path()).drivers(["VRT"]).open().unwrap();
    let read = stack.read(day(0), &[0], &grid().region()).unwrap();
    assert!(read.values.iter().all(|value| (value - 0.25).abs() < 1e-9), "asked for, it is read");
    // Who writes a name in full and says that it is one gets it.
    let named = folder.path().join("named.vrt");
    fs::rename(&scene, &named).unwrap();
    assert!(RasterStack::from_files([(day(0), named)], Calibration::default()).is_ok());
    fs::write(&scene, &texts[0].1).unwrap();
    assert!(RasterStack::from_files([(day(0), scene)], Calibration::default()).is_err());
}

#[test]
fn what_lies_beside_a_raster_opens_no_server() {
    let (folder, server) = (TempDir::new().unwrap(), Silent::new());
    let scene = folder.path().join("scene_20240101.tif");
    tiff(&scene);
    read_all(folder.path(), false).unwrap();
    let remote = format!("/vsicurl/{}/a.tif", server.address());
    let overviews = |place: &str| {
        format!(
            "<PAMDataset><Metadata domain=\"OVERVIEWS\"><MDI key=\"OVERVIEW_FILE\">{place}</MDI></Metadata></PAMDataset>"
        )
    };
    for (end, text, says) in [
        ("msk", virtual_raster(&remote), "scene_20240101.tif.msk"),
        ("ovr", web_map(&server.address()), "scene_20240101.tif.ovr"),
        ("aux.xml", overviews(&remote), "overviews"),
    ] {
        let beside = folder.path().join(format!("scene_20240101.tif.{end}"));
        fs::write(&beside, text).unwrap();
        for reproject in [false, true] {
            let message = read_all(folder.path(), reproject).unwrap_err().to_string();
            assert_says(&message, &["scene_20240101.tif", says]);
            server.was_not_asked(end);
        }
        fs::remove_file(beside).unwrap();
    }
    // An authority that is an address is not looked up.
    let wkt = crs_from_definition(UTM).unwrap().wkt().to_owned();
    let address = server.address();
    let own = wkt.replace("ID[\"EPSG\",32633]", &format!("ID[\"{address}/crs\",1]"));
    assert_ne!(own, wkt);
    let text = format!("<PAMDataset><SRS>{}</SRS></PAMDataset>", own.replace('"', "&quot;"));
    let plain = Tiff { sample: Sample::F32, ..Tiff::new(&grid(), Array3::from_elem((1, 2, 2), 0.25).view()) };
    plain.write(&scene);
    fs::write(folder.path().join("scene_20240101.tif.aux.xml"), text).unwrap();
    let stack = RasterStack::builder("scene_*.tif", r"_(\d{8})").folder(folder.path()).open().unwrap();
    assert!(!stack.grid().crs().is_unknown());
    server.was_not_asked("the authority of a CRS");
}

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn pipes_devices_and_folders_within_themselves_are_refused_at_once() {
    let started = Instant::now();
    let folder = TempDir::new().unwrap();
    let scene = folder.path().join("scene_20240101.tif");
    pipe(&scene);
    assert_says(&read_all(folder.path(), false).unwrap_err().to_string(), &["scene_20240101.tif", "pipe"]);
    fs::remove_file(&scene).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &scene).unwrap();
    assert_says(&read_all(folder.path(), true).unwrap_err().to_string(), &["scene_20240101.tif", "device"]);
    fs::remove_file(&scene).unwrap();
    tiff(&scene);
    let beside = folder.path().join("scene_20240101.tif.aux.xml");
    pipe(&beside);
    assert_says(&read_all(folder.path(), false).unwrap_err().to_string(), &["scene_20240101.tif.aux.xml", "pipe"]);
    fs::remove_file(&beside).unwrap();

    let inner = folder.path().join("a").join("b");
    fs::create_dir_all(&inner).unwrap();
    let search = || RasterStack::builder("**/scene_*.tif", r"_(\d{8})").folder(folder.path()).open();
    assert_eq!(search().unwrap().dates(), [day(0)]);
    std::os::unix::fs::symlink(folder.path(), inner.join("up")).unwrap();
    std::os::unix::fs::symlink(folder.path(), inner.join("again")).unwrap();
    assert_says(&search().unwrap_err().to_string(), &["a/b/", "link", "**", "`files`"]);
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// A cube of four numbers on each of two days, compressed by one of these codecs, and what its chunks hold.
fn cube(folder: &Path, codec: &Value) {
    let write = |name: &str, document: Value| {
        fs::create_dir_all(folder.join(name)).unwrap();
        fs::write(folder.join(name).join("zarr.json"), document.to_string()).unwrap();
    };
    let array = |shape: Value, chunk: Value, kind: &str, codecs: Value, names: Value, attributes: Value| {
        json!({
            "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": kind, "fill_value": 0,
            "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": chunk } },
            "chunk_key_encoding": { "name": "default" }, "codecs": codecs, "dimension_names": names, "attributes": attributes
        })
    };
    let little = json!({ "name": "bytes", "configuration": { "endian": "little" } });
    let axis = |name: &str, values: [f64; 2], attributes: Value| {
        write(name, array(json!([2]), json!([2]), "float64", json!([little]), json!([name]), attributes));
        fs::create_dir_all(folder.join(name).join("c")).unwrap();
        fs::write(folder.join(name).join("c/0"), values.map(f64::to_le_bytes).concat()).unwrap();
    };
    axis("time", [19_723.0, 19_724.0], json!({ "units": "days since 1970-01-01" }));
    axis("y", [5_099_985.0, 5_099_955.0], json!({}));
    axis("x", [500_015.0, 500_045.0], json!({}));
    let (shape, chunk) = (json!([2, 2, 2]), json!([1, 2, 2]));
    write("red", array(shape, chunk, "float32", json!([little, codec]), json!(["time", "y", "x"]), json!({})));
    fs::create_dir_all(folder.join("red/c/0/0")).unwrap();
    fs::create_dir_all(folder.join("red/c/1/0")).unwrap();
}

/// A frame of zstd, sixteen bytes long, that declares thirty-two terabytes.
fn zstd_bomb() -> Vec<u8> {
    let size = (1_u64 << 45).to_le_bytes();
    [[0x28, 0xb5, 0x2f, 0xfd, 0xe0].as_slice(), &size, &[1, 0, 0]].concat()
}

/// Two frames of zstd: the second declares the thirty-two terabytes.
fn hidden_bomb(sound: &[u8]) -> Vec<u8> {
    [zstd::encode_all(sound, 1).unwrap(), zstd_bomb()].concat()
}

/// A header of Blosc that declares two gigabytes.
fn blosc_bomb() -> Vec<u8> {
    let (size, block, own) = (0x7fff_0000_u32.to_le_bytes(), 16_u32.to_le_bytes(), 16_u32.to_le_bytes());
    [[2, 1, 0, 4].as_slice(), &size, &block, &own].concat()
}

fn zeros() -> Vec<u8> {
    vec![0; 64 << 20]
}

#[test]
fn a_chunk_that_declares_more_than_it_can_hold_is_refused() {
    let sound = [0.25_f32; 4].map(f32::to_le_bytes).concat();
    let deflate = |bytes: &[u8], zlib: bool| {
        let level = flate2::Compression::fast();
        if zlib {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        } else {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    };
    let blosc = json!({ "name": "blosc", "configuration": { "cname": "lz4", "clevel": 5, "shuffle": "noshuffle", "blocksize": 0 } });
    let cases = [
        (json!({ "name": "zstd", "configuration": { "level": 1, "checksum": false } }), zstd_bomb()),
        (json!({ "name": "zstd", "configuration": { "level": 1, "checksum": false } }), hidden_bomb(&sound)),
        (blosc, blosc_bomb()),
        (json!({ "name": "gzip", "configuration": { "level": 1 } }), deflate(&zeros(), false)),
        (json!({ "name": "numcodecs.zlib", "configuration": { "level": 1 } }), deflate(&zeros(), true)),
    ];
    for (codec, bomb) in cases {
        let folder = TempDir::new().unwrap();
        cube(folder.path(), &codec);
        fs::write(folder.path().join("red/c/0/0/0"), &bomb).unwrap();
        let open = ZarrCube::builder(folder.path()).variable("red").open();
        let cube = open.unwrap_or_else(|error| panic!("{codec}: {error}"));
        let message = cube.read(day(0), &[0], &grid().region()).unwrap_err().to_string();
        let whole = codec["name"] != "zstd" || bomb.len() == 16;
        assert_says(&message, if whole { &["red", "2024-01-01", "declares", "16"] } else { &["red", "2024-01-01"] });
        // The other day is missing, which is no fault.
        assert!(cube.read(day(1), &[0], &grid().region()).is_ok());
    }
    // Frames that do not say their size are read as before.
    let folder = TempDir::new().unwrap();
    cube(folder.path(), &json!({ "name": "zstd", "configuration": { "level": 1, "checksum": false } }));
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&sound).unwrap();
    fs::write(folder.path().join("red/c/0/0/0"), encoder.finish().unwrap()).unwrap();
    let read = ZarrCube::builder(folder.path()).variable("red").open().unwrap();
    let read = read.read(day(0), &[0], &grid().region()).unwrap();
    assert!(read.values.iter().all(|value| *value == 0.25));
    fs::remove_file(folder.path().join("red/c/0/0/0")).unwrap();
    pipe(&folder.path().join("red/c/0/0/0"));
    let piped = ZarrCube::builder(folder.path()).variable("red").open().unwrap();
    assert_says(&piped.read(day(0), &[0], &grid().region()).unwrap_err().to_string(), &["c/0/0/0", "pipe"]);
}

#[test]
fn chunks_larger_than_their_array_are_refused_before_they_are_decoded() {
    let folder = TempDir::new().unwrap();
    cube(folder.path(), &json!({ "name": "zstd", "configuration": { "level": 1, "checksum": false } }));
    let path = folder.path().join("x/zarr.json");
    let text = fs::read_to_string(&path).unwrap().replace("\"chunk_shape\":[2]", "\"chunk_shape\":[1000000000000]");
    fs::write(&path, text).unwrap();
    let error = ZarrCube::builder(folder.path()).variable("red").open().unwrap_err();
    assert!(matches!(error, Error::Open { .. }));
    assert_says(&error.to_string(), &["\"x\"", "1000000000000", "smaller chunks"]);
}

/// A run that skips what cannot be read ends, and names what it left out.
#[test]
fn a_run_that_skips_gets_past_such_chunks() {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("cube.zarr");
    cube(&store, &json!({ "name": "zstd", "configuration": { "level": 1, "checksum": false } }));
    fs::write(store.join("red/c/0/0/0"), zstd_bomb()).unwrap();
    let sound = [0.25_f32; 4].map(f32::to_le_bytes).concat();
    fs::write(store.join("red/c/1/0/0"), zstd::encode_all(&sound[..], 1).unwrap()).unwrap();
    let text = format!(
        "[target]\ncrs = \"{UTM}\"\ngeotransform = [500000.0, 30.0, 0.0, 5100000.0, 0.0, -30.0]\nshape = [2, 2]\nbands = [\"red\"]\n\
         [process]\nkernel = \"none\"\nvariance = 1e-4\n[prior]\nmean = 0.2\nvariance = 1.0\n\
         [[instrument]]\nname = \"cube\"\nzarr = \"cube.zarr\"\nvariable = \"red\"\ncrs = \"{UTM}\"\nbands = [\"red\"]\n\
         noise_variance = 1e-6\n[output]\nstore = \"fused.zarr\"\n[run]\non_error = \"skip\"\nmemory = \"1GiB\"\n"
    );
    fs::write(folder.path().join("fusion.toml"), text).unwrap();
    let output = program("fuse").arg("fusion.toml").current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_says(&said, &["skipped: cube on 2024-01-01", "declares"]);
}

#[test]
fn names_from_files_do_not_steer_a_terminal() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("scene_20240101_\u{1b}[2J\u{202e}.tif"), "no raster").unwrap();
    let text = "[target]\ngeotransform = [0.0, 30.0, 0.0, 0.0, 0.0, -30.0]\nshape = [2, 2]\nbands = [\"red\"]\n\
                [process]\nkernel = \"none\"\nvariance = 1e-4\n[prior]\nmean = 0.2\nvariance = 1.0\n\
                [[instrument]]\nname = \"one\"\nfiles = \"scene_*.tif\"\ndate = '_(\\d{8})'\nbands = [\"red\"]\n\
                noise_variance = 1e-6\n[output]\nstore = \"fused.zarr\"\n";
    fs::write(folder.path().join("fusion.toml"), text).unwrap();
    for command in ["plan", "fuse"] {
        let output = program(command).arg("fusion.toml").current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{said:?}");
        assert_says(&said, &["scene_20240101_\\u{1b}[2J\\u{202e}.tif"]);
    }
}

#[test]
fn a_crs_beside_files_is_theirs() {
    let folder = TempDir::new().unwrap();
    let values = Array3::from_elem((1, 2, 2), 0.25);
    Tiff::new(&grid(), values.view()).write(&folder.path().join("scene_20240101.tif"));
    let stack = || RasterStack::builder("scene_*.tif", r"_(\d{8})").folder(folder.path());
    assert!(stack().open().unwrap().grid().crs().is_unknown());
    let utm = crs_from_definition(UTM).unwrap();
    assert_eq!(stack().crs(utm.clone()).open().unwrap().grid().crs(), &utm);
    // Without one there is no way to another grid; with it there is.
    let target = Grid::new(utm.clone(), [500_010.0, 20.0, 0.0, 5_099_990.0, 0.0, -20.0], (2, 2)).unwrap();
    assert!(stack().onto(&target, Resampling::Nearest).open().is_err());
    let view = stack().crs(utm).onto(&target, Resampling::Nearest).open().unwrap();
    let (rows, cols) = view.grid().shape();
    let read = view.read(day(0), &[0], &PixelRegion::new(0..rows, 0..cols)).unwrap();
    assert!(read.values.iter().filter(|value| (**value - 0.25).abs() < 1e-9).count() >= 4, "{:?}", read.values);
    assert_ne!(Crs::unknown(), *view.grid().crs());
}
