//! What reading ahead, filtering and writing behind cost beside bare reads and writes: a scene of independent cells and one
//! instrument, from GeoTIFFs to Zarr, against a loop over the same GDAL reads and the same zarrs writes in the same run.
//!
//! `cargo bench --bench pipeline`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gdal::raster::{Buffer, RasterCreationOptions};
use gdal::{Dataset, DriverManager};
use rasterfuse::Fusion;
use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
use rasterfuse::geometry::Date;
use rasterfuse::sink::ZarrSink;
use rasterfuse::source::{RasterSource, RasterStack};
use zarrs::array::{ArrayBuilder, codec::bytes_to_bytes::blosc, data_type};
use zarrs::filesystem::FilesystemStore;

const BANDS: usize = 2;

/// Tiled, compressed images of a band each, as products come.
fn write_scene(folder: &Path, side: usize, dates: i32) {
    let driver = DriverManager::get_driver_by_name("GTiff").unwrap();
    let options: RasterCreationOptions =
        ["TILED=YES", "COMPRESS=DEFLATE", "BLOCKXSIZE=256", "BLOCKYSIZE=256"].into_iter().collect();
    for day in 0..dates {
        let path = file(folder, day);
        let mut dataset =
            driver.create_with_band_type_with_options::<i16, _>(path, side, side, BANDS, &options).unwrap();
        dataset.set_geo_transform(&[0.0, 30.0, 0.0, 0.0, 0.0, -30.0]).unwrap();
        for band in 1..=BANDS {
            let value = |k: usize| {
                let x = (k as u64 * 31 + day as u64 * 17 + band as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 55;
                (2000 + (k / side + k % side) % 997 + x as usize) as i16
            };
            let mut buffer = Buffer::new((side, side), (0..side * side).map(value).collect());
            dataset.rasterband(band).unwrap().write((0, 0), (side, side), &mut buffer).unwrap();
        }
    }
}

fn file(folder: &Path, day: i32) -> PathBuf {
    folder.join(format!("fine_{}.tif", Date::from_days(day).format("%Y%m%d")))
}

fn fusion(folder: &Path, tile: usize) -> Fusion {
    let stack = RasterStack::builder("fine_*.tif", r"_(\d+)").folder(folder).scale(1e-4).open().unwrap();
    Fusion::builder(stack.grid().clone())
        .bands(["band1", "band2"])
        .window(4, 0)
        .process(Process::new(Kernel::None, 0.0, 1e-4))
        .prior(Prior::new(0.2, 0.01))
        .instrument(Instrument::new("fine", stack).noise_variance(1e-4))
        .tile(tile, tile)
        .build()
        .unwrap()
}

/// The same reads and writes without anything between.
fn bare(folder: &Path, store: &Path, side: usize, tile: usize, dates: i32) -> (Duration, Duration) {
    let store = Arc::new(FilesystemStore::new(store).unwrap());
    let shape = [dates as u64, BANDS as u64, side as u64, side as u64];
    let chunk = [1, BANDS as u64, tile as u64, tile as u64];
    let codec = blosc::BloscCodec::new(
        blosc::BloscCompressor::LZ4,
        5.try_into().unwrap(),
        None,
        blosc::BloscShuffleMode::BitShuffle,
        Some(4),
    );
    let open = |name: &str| {
        ArrayBuilder::new(shape.to_vec(), chunk.to_vec(), data_type::float32(), f32::NAN)
            .bytes_to_bytes_codecs(vec![Arc::new(codec.clone().unwrap())])
            .build(Arc::clone(&store), name)
            .unwrap()
    };
    let arrays = [open("/mean"), open("/sd")];
    let (mut read, mut write) = (Duration::ZERO, Duration::ZERO);
    for (row, col) in (0..side / tile).flat_map(|row| (0..side / tile).map(move |col| (row, col))) {
        for day in 0..dates {
            let started = Instant::now();
            let dataset = Dataset::open(file(folder, day)).unwrap();
            let mut values = Vec::with_capacity(BANDS * tile * tile);
            for band in 1..=BANDS {
                let origin = ((col * tile) as isize, (row * tile) as isize);
                let band = dataset.rasterband(band).unwrap();
                values.extend_from_slice(band.read_as::<f32>(origin, (tile, tile), (tile, tile), None).unwrap().data());
            }
            drop(dataset);
            read += started.elapsed();
            let started = Instant::now();
            for array in &arrays {
                array.store_chunk(&[day as u64, 0, row as u64, col as u64], values.as_slice()).unwrap();
            }
            write += started.elapsed();
        }
    }
    (read, write)
}

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let (side, tile, dates) = if test { (64, 32, 3) } else { (1024, 256, 24) };
    let folder = tempfile::tempdir().unwrap();
    write_scene(folder.path(), side, dates);
    let fusion = fusion(folder.path(), tile);
    for round in 0..if test { 1 } else { 3 } {
        let started = Instant::now();
        let report = fusion.run(&mut ZarrSink::create(folder.path().join(format!("{round}.zarr")))).unwrap();
        let ours = started.elapsed();
        let (read, write) = bare(folder.path(), &folder.path().join(format!("{round}.bare")), side, tile, dates);
        let bare = read + write;
        let seconds = |time: Duration| time.as_secs_f64();
        println!(
            "fusion {:.2} s (setup {:.2}, read {:.2}, filter {:.2}, write {:.2}, waited {:.2} and {:.2}); bare reads {:.2} s, writes {:.2} s; \
             {:.0} % of the bare loop's rate",
            seconds(ours),
            seconds(report.timing.setup),
            seconds(report.timing.read),
            seconds(report.timing.filter),
            seconds(report.timing.write),
            seconds(report.timing.wait_read),
            seconds(report.timing.wait_write),
            seconds(read),
            seconds(write),
            100.0 * seconds(bare) / seconds(ours)
        );
    }
}
