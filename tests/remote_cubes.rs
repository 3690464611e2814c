//! Zarr cubes on web servers: the same values as from a folder, errors that say what a server answered, many reads in
//! flight. Those in object stores are in `storage.rs`.
#![cfg(all(feature = "object-store", feature = "gdal", feature = "config"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::float_cmp, missing_docs)]

#[path = "support/server.rs"]
mod server;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ndarray::Array4;
use rasterfuse::Result;
use rasterfuse::config::FusionConfig;
use rasterfuse::sink::MemorySink;
use rasterfuse::source::{CubeBuilder, DimensionNames, RasterSource, Remote, ZarrCube};
use server::{Answer, Request, Server};
use support::{assert_says, refusal, same, zarr_array};
use tempfile::TempDir;

/// Quick to give up.
fn hasty() -> Remote {
    Remote::default().timeout_seconds(1.0).retries(2).retry_seconds(0.05)
}

/// Stores that xarray and zarr-python wrote.
fn written_by_python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cubes")
}

fn server(folder: &Path, rule: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Server {
    Server::new(folder, Duration::ZERO, rule)
}

/// Every value of a cube.
fn values(cube: &ZarrCube) -> Result<Vec<f64>> {
    let bands: Vec<usize> = (0..cube.bands().len()).collect();
    let mut all = Vec::new();
    for &date in cube.dates() {
        all.extend(cube.read(date, &bands, &cube.grid().region())?.values);
    }
    Ok(all)
}

/// The same cube in a folder and on a server.
fn assert_same(local: CubeBuilder, remote: CubeBuilder) {
    let (local, remote) = (local.open().unwrap(), remote.remote(hasty()).open().unwrap());
    assert_eq!((local.grid(), local.dates(), local.bands()), (remote.grid(), remote.dates(), remote.bands()));
    let (there, here) = (values(&remote).unwrap(), values(&local).unwrap());
    assert!(!here.is_empty() && here.len() == there.len() && here.iter().zip(&there).all(|(a, b)| same(*a, *b)));
    assert_eq!((local.reads_in_flight(), remote.reads_in_flight()), (None, Some(16)));
}

#[test]
fn cubes_on_servers_are_read_like_those_of_a_folder() {
    let folder = written_by_python();
    let server = server(&folder, |_| Answer::Whole);
    let packed = || DimensionNames { time: Some("acquired".into()), ..DimensionNames::default() };
    for (name, variables) in [
        ("plain_v2.zarr", &[][..]),
        ("plain_v2.zarr", &["reflectance"]),
        ("plain_v3.zarr", &[]),
        ("sharded_v3.zarr", &["red", "nir", "swir"]),
        ("packed_v2.zarr", &["refl"]),
        ("packed_v3.zarr", &["refl"]),
        ("fortran_v2.zarr", &["mean"]),
    ] {
        let open = |cube: CubeBuilder| {
            let cube = cube.variables(variables.iter().copied());
            if name.starts_with("packed") { cube.dimensions(packed()) } else { cube }
        };
        assert_same(open(ZarrCube::builder(folder.join(name))), open(ZarrCube::builder(server.url(name))));
    }
    // Where nothing says what arrays there are, they must be named.
    let silent = refusal(ZarrCube::builder(server.url("packed_v3.zarr")).remote(hasty()).open());
    assert_says(&silent, &[&server.url("packed_v3.zarr"), "consolidated", "`variables`"]);
    let unknown = refusal(ZarrCube::builder(server.url("packed_v2.zarr")).variable("red").remote(hasty()).open());
    assert_says(&unknown, &["packed_v2.zarr", "variables", "\"red\" is no array", "its group"]);
    let root = refusal(ZarrCube::builder(server.url("")).remote(hasty()).open());
    assert_says(&root, &["names no folder", "on a server"]);
}

#[test]
fn what_a_server_answers_is_told_and_asked_for_again() {
    let folder = written_by_python();
    let chunk = |request: &Request| request.path.contains("reflectance/c/");
    let open = |server: &Server| ZarrCube::builder(server.url("plain_v3.zarr")).remote(hasty()).open();
    for status in [403, 500] {
        let fails = server(&folder, move |request| if chunk(request) { Answer::Status(status) } else { Answer::Whole });
        let cube = open(&fails).unwrap();
        let said = refusal(values(&cube));
        assert_says(&said, &[&fails.url("plain_v3.zarr"), "reflectance", &status.to_string()]);
        assert_eq!(said.contains("run.remote"), status == 500, "{said}");
        let everything = server(&folder, move |_| Answer::Status(status));
        assert_says(&refusal(open(&everything)), &[&everything.url("plain_v3.zarr"), &status.to_string()]);
    }
    // What is optional is not missing because the server fails.
    let mapping = |request: &Request| request.path.contains("spatial_ref/zarr.json");
    let half = server(&folder, move |request| if mapping(request) { Answer::Status(500) } else { Answer::Whole });
    let opened = ZarrCube::builder(half.url("packed_v3.zarr")).variable("refl").remote(hasty()).open();
    assert_says(&refusal(opened), &["spatial_ref/zarr.json", "500", "run.remote"]);
    let busy = server(&folder, |request| if request.times <= 2 { Answer::Status(503) } else { Answer::Whole });
    assert_same(ZarrCube::builder(folder.join("plain_v3.zarr")), ZarrCube::builder(busy.url("plain_v3.zarr")));
    let broken = server(
        &folder,
        move |request| {
            if chunk(request) && request.times == 1 { Answer::Broken } else { Answer::Whole }
        },
    );
    assert_same(ZarrCube::builder(folder.join("plain_v3.zarr")), ZarrCube::builder(broken.url("plain_v3.zarr")));
    let hangs = server(
        &folder,
        move |request| {
            if chunk(request) { Answer::Wait(Duration::from_secs(4)) } else { Answer::Whole }
        },
    );
    let (cube, began) = (open(&hangs).unwrap(), Instant::now());
    let said = refusal(cube.read(cube.dates()[0], &[0], &cube.grid().region()));
    assert_says(&said, &["plain_v3.zarr", "run.remote"]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

const SIDE: usize = 8;
const DATES: usize = 24;

/// A cube with a chunk for each date, of which one is missing.
fn shelf() -> TempDir {
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("cube.zarr");
    let bytes = |values: &[f64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let axis = |name: &str, attributes: serde_json::Value, values: Vec<f64>| {
        let shape = [values.len() as u64];
        zarr_array(&store.join(name), (&shape, "float64"), &[name], &attributes, &bytes(&values));
    };
    let centres = |first: f64, step: f64| (0..SIDE).map(|k| first + step * k as f64).collect::<Vec<f64>>();
    axis("time", serde_json::json!({ "units": "days since 2024-01-01" }), (0..DATES).map(|k| k as f64).collect());
    axis("y", serde_json::json!({}), centres(225.0, -30.0));
    axis("x", serde_json::json!({}), centres(15.0, 30.0));
    let red = store.join("red");
    let shape = [DATES as u64, SIDE as u64, SIDE as u64];
    zarr_array(&red, (&shape, "float64"), &["time", "y", "x"], &serde_json::json!({}), &[]);
    let text = fs::read_to_string(red.join("zarr.json")).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    document["chunk_grid"]["configuration"]["chunk_shape"] = serde_json::json!([1, SIDE, SIDE]);
    document["fill_value"] = serde_json::json!("NaN");
    fs::write(red.join("zarr.json"), document.to_string()).unwrap();
    for date in 0..DATES {
        let chunk = red.join(format!("c/{date}/0/0"));
        fs::create_dir_all(chunk.parent().unwrap()).unwrap();
        let values: Vec<f64> = (0..SIDE * SIDE).map(|k| (100 * date + k) as f64).collect();
        fs::write(chunk, bytes(&values)).unwrap();
    }
    fs::remove_file(red.join("c/5/0/0")).unwrap();
    folder
}

fn fused(name: &str, run: &str, folder: &Path) -> Result<Array4<f64>> {
    let text = format!(
        "[target]\ngeotransform = [0, 30, 0, 240, 0, -30]\nshape = [{SIDE}, {SIDE}]\nbands = [\"red\"]\n[process]\nkernel = \"none\"\n\
         variance = 1.0\n[prior]\nmean = 100.0\nvariance = 1e4\n[output]\nstore = \"out.zarr\"\n[[instrument]]\nname = \"scene\"\n\
         zarr = \"{name}\"\nvariable = \"red\"\nnoise_variance = 1.0\n[run]\nthreads = 2\n{run}\n"
    );
    let mut sink = MemorySink::new();
    FusionConfig::parse(&text, folder)?.build()?.run(&mut sink)?;
    Ok(sink.into_arrays()?.0)
}

#[test]
fn many_reads_are_in_flight_and_what_is_not_stored_is_missing() -> Result<()> {
    let folder = shelf();
    let server = Server::new(folder.path(), Duration::from_millis(15), |_| Answer::Whole);
    let remote = fused(&server.url("cube.zarr"), "", folder.path())?;
    assert!(server.most_at_once() >= 8, "{} at a time", server.most_at_once());
    assert_eq!(remote, fused("cube.zarr", "", folder.path())?);
    let one = Server::new(folder.path(), Duration::ZERO, |_| Answer::Whole);
    assert_eq!(remote, fused(&one.url("cube.zarr"), "remote = { reads = 1 }", folder.path())?);
    assert_eq!(one.most_at_once(), 1);
    Ok(())
}
