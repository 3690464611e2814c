//! Writes one date of a source as a `GeoTIFF`, block by block.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gdal::errors::GdalError;
use gdal::raster::{Buffer, RasterCreationOptions};
use gdal::{Dataset, DriverManager, Metadata};
use ndarray::{Array3, Axis};

use super::QuietErrors;
use crate::error::{Error, Result};
use crate::geometry::{Grid, PixelRegion};
use crate::source::{Pass, PassWatch, RasterSource};

/// Rows and columns that are read and written at a time.
const BLOCK: usize = 256;

/// How the file is laid out.
const LAYOUT: [&str; 7] = [
    "TILED=YES",
    "BLOCKXSIZE=256",
    "BLOCKYSIZE=256",
    "COMPRESS=DEFLATE",
    "PREDICTOR=3",
    "INTERLEAVE=BAND",
    "BIGTIFF=IF_SAFER",
];

/// Writes the first date of a source as float32 with the names of its bands, compressed without loss, NaN where a value
/// is missing. A file that is there is replaced when the new one is complete. Memory does not grow with the raster.
///
/// # Errors
/// [`Error::Store`] where it cannot be written; those of reading.
pub fn write_raster(path: &Path, source: &dyn RasterSource) -> Result<()> {
    write_raster_watched(path, source, &())
}

/// As [`write_raster`], followed by a watch that may end it early: then no file is written, and one that is there stays.
///
/// # Errors
/// As [`write_raster`]; [`Error::Interrupted`] where the watch ends it.
pub fn write_raster_watched(path: &Path, source: &dyn RasterSource, watch: &dyn PassWatch) -> Result<()> {
    let _quiet = QuietErrors::new();
    let temporary = temporary(path);
    let written = write(&temporary, path, source, watch).and_then(|()| {
        fs::rename(&temporary, path).map_err(|error| failed(path, format!("cannot rename: {error}"), error))
    });
    if written.is_err() {
        // The first error is the one to report.
        _ = fs::remove_file(&temporary);
    }
    written
}

fn failed(path: &Path, problem: String, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Store { path: path.to_path_buf(), problem, source: Some(Box::new(error)) }
}

/// In the same folder, for this call alone.
fn temporary(path: &Path) -> PathBuf {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}-{call}.partial.tif", std::process::id()))
}

fn write(temporary: &Path, path: &Path, source: &dyn RasterSource, watch: &dyn PassWatch) -> Result<()> {
    let refuse = |error: GdalError| failed(path, format!("cannot write: {error}"), error);
    let Some(&date) = source.dates().first() else {
        let problem = format!("{} has no date", source.origin());
        return Err(Error::Store { path: path.to_path_buf(), problem, source: None });
    };
    let layers: Vec<String> = source.bands().to_vec();
    let dataset = create(temporary, source.grid(), &layers, &LAYOUT).map_err(refuse)?;
    let (rows, cols) = source.grid().shape();
    let all: Vec<usize> = (0..layers.len()).collect();
    let pass = Pass::new(watch, "writing the raster", (rows * cols) as u64);
    for (top, left) in (0..rows).step_by(BLOCK).flat_map(|top| (0..cols).step_by(BLOCK).map(move |left| (top, left))) {
        let region = PixelRegion::new(top..(top + BLOCK).min(rows), left..(left + BLOCK).min(cols));
        pass.read(region.len())?;
        let values = source.read(date, &all, &region)?.values;
        put(&dataset, &region, &values.mapv(|value| value as f32)).map_err(refuse)?;
    }
    dataset.close().map_err(refuse)
}

/// Creates a plain `GeoTIFF` of float32 with named layers, NaN where a value is missing.
pub(crate) fn create(path: &Path, grid: &Grid, layers: &[String], options: &[&str]) -> Result<Dataset, GdalError> {
    let (rows, cols) = grid.shape();
    let driver = DriverManager::get_driver_by_name("GTiff")?;
    let options: RasterCreationOptions = options.iter().copied().collect();
    let mut dataset = driver.create_with_band_type_with_options::<f32, _>(path, cols, rows, layers.len(), &options)?;
    dataset.set_geo_transform(&grid.geotransform())?;
    if !grid.crs().is_unknown() {
        dataset.set_projection(grid.crs().wkt())?;
    }
    for (k, layer) in layers.iter().enumerate() {
        let mut band = dataset.rasterband(k + 1)?;
        band.set_description(layer)?;
        band.set_no_data_value(Some(f64::NAN))?;
    }
    Ok(dataset)
}

/// Writes the cells of a region, **shape** (layer, y, x).
pub(crate) fn put(dataset: &Dataset, region: &PixelRegion, block: &Array3<f32>) -> Result<(), GdalError> {
    let (rows, cols) = region.shape();
    let corner = (region.cols.start as isize, region.rows.start as isize);
    for (k, layer) in block.axis_iter(Axis(0)).enumerate() {
        let mut buffer = Buffer::new((cols, rows), layer.iter().copied().collect());
        dataset.rasterband(k + 1)?.write(corner, (cols, rows), &mut buffer)?;
    }
    Ok(())
}
