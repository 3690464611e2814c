//! What these tests share: series of known content, GeoTIFFs that hold them, and sources that misbehave.
#![allow(dead_code)] // every test file is a crate of its own and uses a part

pub(crate) mod problem;
#[cfg(feature = "zarr")]
pub(crate) mod two_tiles;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
#[cfg(all(feature = "gdal", feature = "zarr"))]
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ndarray::Array4;
use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
use rasterfuse::engine::FusionBuilder;
use rasterfuse::geometry::{Crs, Date, Grid, PixelRegion};
use rasterfuse::series::{ExistingSeries, FusedBlock, FusionSink, HeldBlocks, Report, Saved, SeriesLayout};
use rasterfuse::source::{MemorySource, RasterSource, Slice};
use rasterfuse::storage::Place;
use rasterfuse::{Error, Fusion, Result};

/// 2024-01-01 and the days after it.
pub(crate) fn day(k: i32) -> Date {
    Date::from_ymd(2024, 1, 1).unwrap() + k
}

/// A north-up grid without CRS; pixels are not square.
pub(crate) fn grid(shape: (usize, usize)) -> Grid {
    Grid::new(Crs::unknown(), [600_000.0, 30.0, 0.0, 5_200_000.0, 0.0, -20.0], shape).unwrap()
}

/// Red and near infrared of an instrument on some days from 1970-01-01, in a pattern that no day repeats but `instead` of
/// some pixels (row, column).
pub(crate) fn two_bands(
    shape: (usize, usize),
    days: impl Iterator<Item = i32>,
    noise: f64,
    instead: impl Fn((usize, usize)) -> Option<f64>,
) -> FusionBuilder {
    let dates: Vec<Date> = days.map(Date::from_days).collect();
    let values = Array4::from_shape_fn((dates.len(), 2, shape.0, shape.1), |(t, b, r, c)| {
        instead((r, c)).unwrap_or_else(|| 0.05 + 0.013 * ((7 * t + 5 * b + 3 * r + c) % 31) as f64)
    });
    let source = MemorySource::new(grid(shape), dates, vec!["red".into(), "nir".into()], values).unwrap();
    Fusion::builder(grid(shape))
        .process(Process::new(Kernel::Exponential, 90.0, 2e-4))
        .prior(Prior::new(0.3, 0.02))
        .instrument(Instrument::new("fine", source).noise_variance(noise))
        .start(Date::from_days(0))
}

/// A dated series and the values that a source of it must give.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) grid: Grid,
    pub(crate) dates: Vec<Date>,
    pub(crate) bands: Vec<String>,
    /// (time, band, y, x)
    pub(crate) values: Array4<f64>,
}

impl Truth {
    /// Whole numbers in 1..=250, which no flip or transposition leaves alone, one in seven missing.
    pub(crate) fn new(grid: Grid, dates: usize, bands: &[&str]) -> Self {
        let values = Array4::from_shape_fn((dates, bands.len(), grid.rows(), grid.cols()), |(t, b, r, c)| {
            let missing = (3 * t + b + 2 * r + 5 * c) % 7 == 0;
            if missing { f64::NAN } else { (1 + (89 * t + 53 * b + 17 * r + 5 * c) % 250) as f64 }
        });
        let dates = (0..dates as i32).map(|k| day(4 * k)).collect();
        Self { grid, dates, bands: bands.iter().map(ToString::to_string).collect(), values }
    }

    pub(crate) fn map(mut self, value: impl FnMut(f64) -> f64) -> Self {
        self.values.mapv_inplace(value);
        self
    }

    pub(crate) fn source(&self) -> MemorySource {
        MemorySource::new(self.grid.clone(), self.dates.clone(), self.bands.clone(), self.values.clone()).unwrap()
    }
}

/// Equal, NaN to NaN.
pub(crate) fn same(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan())
}

/// Writes a Zarr array of a shape and type as one chunk, with the names of its dimensions.
pub(crate) fn zarr_array(
    folder: &Path,
    (shape, kind): (&[u64], &str),
    names: &[&str],
    attributes: &serde_json::Value,
    bytes: &[u8],
) {
    let document = serde_json::json!({
        "zarr_format": 3, "node_type": "array", "shape": shape, "data_type": kind, "fill_value": 0,
        "chunk_grid": { "name": "regular", "configuration": { "chunk_shape": shape } },
        "chunk_key_encoding": { "name": "default" }, "dimension_names": names, "attributes": attributes,
        "codecs": [{ "name": "bytes", "configuration": { "endian": "little" } }]
    });
    let chunk = shape.iter().fold(folder.join("c"), |chunk, _| chunk.join("0"));
    fs::create_dir_all(chunk.parent().unwrap()).unwrap();
    fs::write(folder.join("zarr.json"), document.to_string()).unwrap();
    fs::write(chunk, bytes).unwrap();
}

/// The text of an error; fails where there is none.
#[track_caller]
pub(crate) fn refusal<T>(result: Result<T>) -> String {
    result.err().unwrap().to_string()
}

/// Fails unless the message holds every word.
pub(crate) fn assert_says(message: &str, words: &[&str]) {
    let silent: Vec<_> = words.iter().filter(|word| !message.contains(**word)).collect();
    assert!(silent.is_empty(), "does not say {silent:?}: {message}");
}

/// Length of the header of a store's records of chunks: series, tile and newest checkpoint.
const RECORDS_HEADER: usize = 68;

/// What must be the same in every run: all but the random identity of a series, and how often it was changed.
fn without_identity(name: &str, bytes: Vec<u8>) -> Vec<u8> {
    if name.contains("mean/.rasterfuse/") {
        return bytes.get(RECORDS_HEADER..).unwrap_or_default().to_vec();
    }
    if !["zarr.json", ".zattrs", ".zmetadata"].iter().any(|end| name.ends_with(end)) {
        return bytes;
    }
    let identifies = |line: &[u8]| {
        ["\"series_id\"", "\"series_generation\""]
            .iter()
            .any(|key| line.windows(key.len()).any(|w| w == key.as_bytes()))
    };
    bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| !identifies(line)).flatten().copied().collect()
}

/// Every file under a folder with its content, but for the identity of a series, by path relative to it.
pub(crate) fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                let bytes = without_identity(&name, fs::read(&path).unwrap());
                files.insert(name, bytes);
            }
        }
    }
    files
}

/// The program, which cargo builds for the tests, with a subcommand.
#[cfg(all(feature = "gdal", feature = "zarr"))]
pub(crate) fn program(subcommand: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rasterfuse"));
    command.arg(subcommand);
    // The tests may themselves run in an array job.
    for name in ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"] {
        command.env_remove(name);
    }
    command
}

/// A sink whose disk fills up.
#[derive(Debug)]
pub(crate) struct FullDisk<S> {
    sink: S,
    left: AtomicUsize,
}

impl<S> FullDisk<S> {
    /// Room for this number of blocks.
    pub(crate) fn after(sink: S, blocks: usize) -> Self {
        Self { sink, left: AtomicUsize::new(blocks) }
    }
}

impl<S: FusionSink> FusionSink for FullDisk<S> {
    fn begin(&mut self, layout: &SeriesLayout) -> Result<()> {
        self.sink.begin(layout)
    }
    fn existing(&self) -> Result<Option<ExistingSeries>> {
        self.sink.existing()
    }
    fn reopen(&mut self, layout: &SeriesLayout, visible: usize) -> Result<()> {
        self.sink.reopen(layout, visible)
    }
    fn join(&mut self, layout: &SeriesLayout) -> Result<()> {
        self.sink.join(layout)
    }
    fn held(&self, layout: &SeriesLayout, tile: (usize, usize), dates: usize) -> Result<HeldBlocks> {
        self.sink.held(layout, tile, dates)
    }
    fn saved(&self, tile: (usize, usize), saved: Saved) -> Result<()> {
        self.sink.saved(tile, saved)
    }
    fn sweep(&self) -> Result<()> {
        self.sink.sweep()
    }
    fn append(&self, block: &FusedBlock) -> Result<()> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_err(|_| Error::Store { path: self.location(), problem: "disk full".into(), source: None })?;
        self.sink.append(block)
    }
    fn flush(&self) -> Result<()> {
        self.sink.flush()
    }
    fn commit(&mut self, dates: usize) -> Result<()> {
        self.sink.commit(dates)
    }
    fn finish(&mut self, report: &Report) -> Result<()> {
        self.sink.finish(report)
    }
    fn settings(&self) -> Vec<(String, String)> {
        self.sink.settings()
    }
    fn state_folder(&self) -> Option<Place> {
        self.sink.state_folder()
    }
    fn location(&self) -> PathBuf {
        self.sink.location()
    }
}

/// What a [`FaultySource`] does on its date.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Fail,
    Wait(Duration),
}

/// A source that fails, or is slow, on one date.
#[derive(Debug)]
pub(crate) struct FaultySource {
    pub(crate) inner: Arc<dyn RasterSource>,
    pub(crate) date: Date,
    pub(crate) fault: Fault,
}

impl RasterSource for FaultySource {
    fn grid(&self) -> &Grid {
        self.inner.grid()
    }

    fn dates(&self) -> &[Date] {
        self.inner.dates()
    }

    fn bands(&self) -> &[String] {
        self.inner.bands()
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        match self.fault {
            Fault::Fail if date == self.date => Err(Error::Read {
                origin: self.origin(),
                date,
                band: "any".into(),
                rows: region.rows.clone(),
                cols: region.cols.clone(),
                problem: "the disk is on fire".into(),
                source: None,
            }),
            Fault::Wait(time) if date == self.date => {
                std::thread::sleep(time);
                self.inner.read(date, bands, region)
            }
            _ => self.inner.read(date, bands, region),
        }
    }

    fn origin(&self) -> String {
        self.inner.origin()
    }
}

#[cfg(feature = "gdal")]
#[allow(unused_imports)]
pub(crate) use tiff::{Missing, Sample, Tiff, truncate};

#[cfg(feature = "gdal")]
mod tiff {
    use std::fs::{self, File};
    use std::path::Path;

    use gdal::raster::{Buffer, ColorInterpretation, GdalType, RasterBand, RasterCreationOptions};
    use gdal::spatial_ref::SpatialRef;
    use gdal::{DriverManager, Metadata};
    use ndarray::{Array3, ArrayView2, ArrayView3};
    use rasterfuse::geometry::Grid;

    /// Stored type.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Sample {
        U8,
        U16,
        I16,
        I32,
        I64,
        F32,
        F64,
    }

    /// How a file says that a value is missing.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Missing {
        Nan,
        Nodata(f64),
        /// `NODATA_VALUES`: the pixel is missing where every band holds this number.
        Together(f64),
        /// A mask that all bands share; the pixel is missing where its first band is.
        Mask,
        /// A last band that is transparent where the first is missing.
        Alpha,
    }

    /// A GeoTIFF to write; its header comes first in the file, so that cutting the end off takes pixels only.
    #[derive(Clone, Debug)]
    pub(crate) struct Tiff {
        /// Numbers as stored, (band, y, x), NaN where missing.
        pub(crate) values: Array3<f64>,
        pub(crate) geotransform: Option<[f64; 6]>,
        pub(crate) crs: Option<&'static str>,
        /// Whether the origin is stored as the centre of the first pixel, not its corner.
        pub(crate) point: bool,
        pub(crate) names: Vec<String>,
        pub(crate) sample: Sample,
        pub(crate) missing: Missing,
        /// The file's own scale and offset.
        pub(crate) scale: Option<(f64, f64)>,
        pub(crate) options: &'static [&'static str],
    }

    impl Tiff {
        pub(crate) fn new(grid: &Grid, values: ArrayView3<'_, f64>) -> Self {
            Self {
                values: values.to_owned(),
                geotransform: Some(grid.geotransform()),
                crs: None,
                point: false,
                names: Vec::new(),
                sample: Sample::F64,
                missing: Missing::Nan,
                scale: None,
                options: &[],
            }
        }

        pub(crate) fn write(&self, path: &Path) {
            match self.sample {
                Sample::U8 => self.write_as(path, |v| v as u8),
                Sample::U16 => self.write_as(path, |v| v as u16),
                Sample::I16 => self.write_as(path, |v| v as i16),
                Sample::I32 => self.write_as(path, |v| v as i32),
                Sample::I64 => self.write_as(path, |v| v as i64),
                Sample::F32 => self.write_as(path, |v| v as f32),
                Sample::F64 => self.write_as(path, |v| v),
            }
        }

        fn write_as<T: GdalType + Copy>(&self, path: &Path, cast: impl Fn(f64) -> T) {
            let (bands, rows, cols) = self.values.dim();
            let alpha = matches!(self.missing, Missing::Alpha);
            let memory = DriverManager::get_driver_by_name("MEM").unwrap();
            let mut dataset = memory.create_with_band_type::<T, _>("", cols, rows, bands + usize::from(alpha)).unwrap();
            if let Some(geotransform) = self.geotransform {
                dataset.set_geo_transform(&geotransform).unwrap();
            }
            if let Some(crs) = self.crs {
                dataset.set_spatial_ref(&SpatialRef::from_definition(crs).unwrap()).unwrap();
            }
            if self.point {
                dataset.set_metadata_item("AREA_OR_POINT", "Point", "").unwrap();
            }
            let fill = match self.missing {
                Missing::Nan => f64::NAN,
                Missing::Nodata(value) | Missing::Together(value) => value,
                Missing::Mask | Missing::Alpha => 99.0,
            };
            for (index, plane) in self.values.outer_iter().enumerate() {
                let plane = plane.mapv(|v| if v.is_nan() { fill } else { v });
                let mut band = dataset.rasterband(index + 1).unwrap();
                write_plane(&mut band, plane.view(), &cast);
                match (self.missing, self.sample) {
                    (Missing::Nodata(value), Sample::I64) => band.set_no_data_value_i64(Some(value as i64)).unwrap(),
                    (Missing::Nodata(value), _) => band.set_no_data_value(Some(value)).unwrap(),
                    _ => {}
                }
                if let Some((scale, offset)) = self.scale {
                    band.set_scale(scale).unwrap();
                    band.set_offset(offset).unwrap();
                }
                if let Some(name) = self.names.get(index) {
                    band.set_description(name).unwrap();
                }
            }
            let seen = self.values.index_axis(ndarray::Axis(0), 0).mapv(|v| if v.is_nan() { 0.0 } else { 255.0 });
            match self.missing {
                Missing::Together(value) => {
                    let values = vec![value.to_string(); bands].join(" ");
                    dataset.set_metadata_item("NODATA_VALUES", &values, "").unwrap();
                }
                Missing::Mask => {
                    let mut band = dataset.rasterband(1).unwrap();
                    band.create_mask_band(true).unwrap();
                    write_plane(&mut band.open_mask_band().unwrap(), seen.view(), |v| v as u8);
                }
                Missing::Alpha => {
                    let mut band = dataset.rasterband(bands + 1).unwrap();
                    write_plane(&mut band, seen.view(), &cast);
                    band.set_color_interpretation(ColorInterpretation::AlphaBand).unwrap();
                }
                _ => {}
            }
            let geotiff = DriverManager::get_driver_by_name("GTiff").unwrap();
            let options: RasterCreationOptions = self.options.iter().copied().collect();
            dataset.create_copy(&geotiff, path, &options).unwrap().close().unwrap();
        }
    }

    fn write_plane<T: GdalType + Copy>(band: &mut RasterBand<'_>, plane: ArrayView2<'_, f64>, cast: impl Fn(f64) -> T) {
        let (rows, cols) = plane.dim();
        let mut buffer = Buffer::new((cols, rows), plane.iter().map(|v| cast(*v)).collect());
        band.write((0, 0), (cols, rows), &mut buffer).unwrap();
    }

    /// Cuts the last bytes off a file.
    pub(crate) fn truncate(path: &Path, bytes: u64) {
        let length = fs::metadata(path).unwrap().len();
        File::options().write(true).open(path).unwrap().set_len(length - bytes).unwrap();
    }
}
