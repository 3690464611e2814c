//! Writes one date of a source as a `GeoTIFF`, block by block.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gdal::raster::{Buffer, RasterCreationOptions};
use gdal::spatial_ref::SpatialRef;
use gdal::{DriverManager, Metadata};

use super::QuietErrors;
use crate::error::{Error, Result};
use crate::geometry::PixelRegion;
use crate::source::RasterSource;

/// Rows and columns that are read and written at a time.
const BLOCK: usize = 256;

/// Writes the first date of a source as float32 with the names of its bands, compressed without loss, NaN where a value
/// is missing. A file that is there is replaced when the new one is complete. Memory does not grow with the raster.
///
/// # Errors
/// [`Error::Store`] where it cannot be written; those of reading.
pub fn write_raster(path: &Path, source: &dyn RasterSource) -> Result<()> {
    let _quiet = QuietErrors::new();
    let temporary = temporary(path);
    let written = write(&temporary, path, source).and_then(|()| {
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

fn write(temporary: &Path, path: &Path, source: &dyn RasterSource) -> Result<()> {
    let refuse = |error: gdal::errors::GdalError| failed(path, format!("cannot write: {error}"), error);
    let Some(&date) = source.dates().first() else {
        let problem = format!("{} has no date", source.origin());
        return Err(Error::Store { path: path.to_path_buf(), problem, source: None });
    };
    let (rows, cols) = source.grid().shape();
    let options = [
        "TILED=YES",
        "BLOCKXSIZE=256",
        "BLOCKYSIZE=256",
        "COMPRESS=DEFLATE",
        "PREDICTOR=3",
        "INTERLEAVE=BAND",
        "BIGTIFF=IF_SAFER",
    ];
    let options = RasterCreationOptions::from_iter(options);
    let driver = DriverManager::get_driver_by_name("GTiff").map_err(refuse)?;
    let bands = source.bands();
    let created = driver.create_with_band_type_with_options::<f32, _>(temporary, cols, rows, bands.len(), &options);
    let mut dataset = created.map_err(refuse)?;
    dataset.set_geo_transform(&source.grid().geotransform()).map_err(refuse)?;
    let wkt = source.grid().crs().wkt();
    if !wkt.is_empty() {
        let reference = SpatialRef::from_wkt(wkt).map_err(refuse)?;
        dataset.set_spatial_ref(&reference).map_err(refuse)?;
    }
    for (k, name) in bands.iter().enumerate() {
        let mut band = dataset.rasterband(k + 1).map_err(refuse)?;
        band.set_description(name).map_err(refuse)?;
        band.set_no_data_value(Some(f64::NAN)).map_err(refuse)?;
    }
    let all: Vec<usize> = (0..bands.len()).collect();
    for (top, left) in (0..rows).step_by(BLOCK).flat_map(|top| (0..cols).step_by(BLOCK).map(move |left| (top, left))) {
        let region = PixelRegion::new(top..(top + BLOCK).min(rows), left..(left + BLOCK).min(cols));
        let values = source.read(date, &all, &region)?.values;
        let (height, width) = region.shape();
        for (k, plane) in values.outer_iter().enumerate() {
            let mut buffer = Buffer::new((width, height), plane.iter().map(|value| *value as f32).collect());
            let mut band = dataset.rasterband(k + 1).map_err(refuse)?;
            band.write((left as isize, top as isize), (width, height), &mut buffer).map_err(refuse)?;
        }
    }
    dataset.close().map_err(refuse)
}
