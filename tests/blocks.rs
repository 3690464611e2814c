//! Reading tile after tile decodes each block once: bytes read from disk against bytes of the files. Alone in its process,
//! whose reads it counts.
#![cfg(all(feature = "gdal", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::fs;

use ndarray::Array3;
use rasterfuse::geometry::{Crs, Grid, PixelRegion};
use rasterfuse::source::{RasterSource, RasterStack};
use support::{Sample, Tiff, day};
use tempfile::TempDir;

const SIDE: usize = 512;
const BANDS: usize = 12;

/// Bytes that this process has read so far, from cache or disk.
fn bytes_read() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Bytes read from the files while a stack is read in tiles, per byte of the files.
fn amplification(stack: &RasterStack, stored: u64, (rows, cols): (usize, usize)) -> f64 {
    let bands: Vec<usize> = (0..stack.bands().len()).collect();
    let before = bytes_read();
    for row in (0..SIDE).step_by(rows) {
        for col in (0..SIDE).step_by(cols) {
            let region = PixelRegion::new(row..(row + rows).min(SIDE), col..(col + cols).min(SIDE));
            for date in stack.dates() {
                stack.read(*date, &bands, &region).unwrap();
            }
        }
    }
    (bytes_read() - before) as f64 / stored as f64
}

#[test]
fn every_block_is_decoded_once_in_whole_tiles_whatever_the_order_of_bands() {
    // A megabyte holds fewer blocks than any of these reads takes.
    gdal::config::set_config_option("GDAL_CACHEMAX", "1").unwrap();
    let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (SIDE, SIDE)).unwrap();
    let noise = |b: usize, r: usize, c: usize| {
        ((b * 7919 + r * 104_729 + c * 1_299_709).wrapping_mul(2_654_435_761) >> 7) % 60_000
    };
    let values = Array3::from_shape_fn((BANDS, SIDE, SIDE), |(b, r, c)| noise(b, r, c) as f64);
    for (options, whole, part) in [
        (
            &["TILED=YES", "BLOCKXSIZE=128", "BLOCKYSIZE=128", "INTERLEAVE=PIXEL", "COMPRESS=DEFLATE"][..],
            (256, 256),
            (64, 64),
        ),
        (
            &["TILED=YES", "BLOCKXSIZE=128", "BLOCKYSIZE=128", "INTERLEAVE=BAND", "COMPRESS=DEFLATE"],
            (256, 256),
            (64, 64),
        ),
        (&["BLOCKYSIZE=16", "INTERLEAVE=PIXEL", "COMPRESS=DEFLATE"], (128, 512), (512, 128)),
    ] {
        let folder = TempDir::new().unwrap();
        let mut stored = 0;
        for k in 0..3 {
            let path = folder.path().join(format!("x_{}.tif", day(k).format("%Y%m%d")));
            Tiff { sample: Sample::U16, options, ..Tiff::new(&grid, values.view()) }.write(&path);
            stored += fs::metadata(path).unwrap().len();
        }
        let stack = RasterStack::builder("x_*.tif", r"x_(\d{8})").folder(folder.path()).open().unwrap();
        let once = amplification(&stack, stored, whole);
        assert!((0.9..1.2).contains(&once), "{options:?}: {once} bytes read for each byte stored");
        // The count can tell: tiles that cut blocks read them again.
        let again = amplification(&stack, stored, part);
        assert!(again > 1.8, "{options:?}: {again}");
    }
}
