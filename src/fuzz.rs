//! Doors to what parses bytes of others, for `fuzz/` and `tests/fuzz.rs`. No part of the interface.
//!
//! Each takes bytes of any kind and must come back: what is wrong with them is an error inside, which is dropped here.
#![allow(missing_docs)]

use std::path::{Component, Path, PathBuf};
use std::{env, fs, process, thread};

use crate::config::FusionConfig;
use crate::describe::AcquisitionGroups;
use crate::geometry::{Date, PixelRegion};
use crate::series::FusionSink;
use crate::sink::{FusedSeries, SeasonalStore, ZarrSink, verify};
use crate::source::{RasterSource, ZarrCube};
use crate::spectral::SpectralResponse;

/// A door, by the name of its folder in `fuzz/corpus`.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 8] = [
    ("toml", toml),
    ("template", template),
    ("cf", cf),
    ("zarr", zarr),
    ("checkpoint", checkpoint),
    ("csv", csv),
    ("npy", npy),
    ("store", store),
];

/// Cells that a cube may have to be read.
const PIXELS: usize = 1 << 16;

/// A description.
pub fn toml(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = FusionConfig::parse(text, Path::new("."));
    }
}

/// Lines: a pattern of file names, a band, a path, a date and its format.
pub fn template(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let mut line = || lines.next().unwrap_or_default();
    crate::source::fuzz_template(line(), line(), line());
    let (date, format) = (line(), line());
    if let Ok(date) = Date::parse(date, format) {
        let _ = date.format(format);
    }
}

/// Attributes in JSON.
pub fn cf(data: &[u8]) {
    if let Ok(attributes) = serde_json::from_slice(data) {
        crate::source::fuzz_cf(&attributes);
    }
}

/// A folder: before each file a line `== path`.
pub fn zarr(data: &[u8]) {
    let folder = unpacked("zarr", data);
    let read = |source: &dyn RasterSource| {
        let (rows, cols) = source.grid().shape();
        let region = PixelRegion::new(0..rows.min(8), 0..cols.min(8));
        let block: usize = source.block_shape().map_or(1, |(rows, cols)| rows.saturating_mul(cols));
        let bands: Vec<usize> = (0..source.bands().len().min(2)).collect();
        if let Some(&date) = source.dates().first().filter(|_| block <= PIXELS) {
            let _ = source.read(date, &bands, &region);
        }
    };
    if let Ok(cube) = ZarrCube::builder(&folder).open() {
        read(&cube);
    }
    if let Ok(series) = FusedSeries::open(&folder) {
        read(&series);
    }
    let _ = SeasonalStore::open(&folder);
    let _ = fs::remove_dir_all(&folder);
}

/// A folder as for `zarr`, as the store of a series with its records of chunks.
pub fn store(data: &[u8]) {
    let folder = unpacked("store", data);
    let _ = ZarrSink::create(&folder).existing();
    let _ = verify(&folder);
    let _ = fs::remove_dir_all(&folder);
}

/// The record of a checkpoint in JSON, and its frames before they are compressed, each behind a line `==`.
pub fn checkpoint(data: &[u8]) {
    let mut parts = split(data, b"\n==\n");
    let header = parts.next().unwrap_or_default();
    let path = scratch("state");
    crate::engine::fuzz_checkpoint(&path, header, &parts.collect::<Vec<_>>());
    let _ = fs::remove_file(&path);
}

/// A table of responses, of groups, or of files.
pub fn csv(data: &[u8]) {
    let path = scratch("csv");
    if fs::write(&path, data).is_ok() {
        if let Ok(response) = SpectralResponse::from_csv(&path) {
            let _ = response.weights(&[450.0, 550.0, 650.0]);
        }
        let _ = AcquisitionGroups::from_csv(&path);
        crate::config::fuzz_list(&path);
        let _ = fs::remove_file(&path);
    }
}

/// An array.
pub fn npy(data: &[u8]) {
    let path = scratch("npy");
    if fs::write(&path, data).is_ok() {
        let _ = crate::npy::read::<ndarray::IxDyn>(&path);
        let _ = crate::sink::Truth::read(Date::from_days(0), &path);
        let _ = fs::remove_file(&path);
    }
}

/// A folder of this thread that holds the files.
fn unpacked(name: &str, data: &[u8]) -> PathBuf {
    let folder = scratch(name);
    let _ = fs::remove_dir_all(&folder);
    for (path, bytes) in files(data) {
        let path = folder.join(path);
        let _ = path.parent().map(fs::create_dir_all);
        let _ = fs::write(&path, bytes);
    }
    folder
}

/// A file, or folder, of this thread.
fn scratch(name: &str) -> PathBuf {
    env::temp_dir().join(format!("rasterfuse-fuzz-{}-{:?}-{name}", process::id(), thread::current().id()))
}

/// The parts between separators.
fn split<'a>(data: &'a [u8], separator: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = Some(data);
    std::iter::from_fn(move || {
        let held = rest?;
        let found = held.windows(separator.len()).position(|window| window == separator);
        let (part, after) = match found {
            Some(at) => (&held[..at], Some(&held[at + separator.len()..])),
            None => (held, None),
        };
        rest = after;
        Some(part)
    })
}

/// Paths that stay in their folder, and what is in them.
fn files(data: &[u8]) -> impl Iterator<Item = (&Path, &[u8])> {
    split(data, b"\n== ").filter_map(|part| {
        let end = part.iter().position(|&byte| byte == b'\n')?;
        let path = Path::new(std::str::from_utf8(&part[..end]).ok()?);
        let stays = path.components().all(|part| matches!(part, Component::Normal(_))) && path.components().count() < 8;
        (stays && end < 200).then_some((path, &part[end + 1..]))
    })
}
