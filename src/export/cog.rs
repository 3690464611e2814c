//! Cloud optimised GeoTIFFs by GDAL. Its driver COG copies a whole dataset, so the cells go into a plain GeoTIFF first,
//! block by block, which it then reads in blocks.

use std::fs;
use std::path::{Path, PathBuf};

use ::gdal::errors::GdalError;
use ::gdal::raster::RasterCreationOptions;
use ::gdal::{Dataset, DriverManager, Metadata};
use ndarray::{Array3, Axis};

use super::BandStatistics;
use crate::error::{Error, Result};
use crate::geometry::{Grid, PixelRegion};
use crate::source::gdal::{QuietErrors, create, limit_block_cache, message, put};

/// How the file is laid out. Overviews are averages of the cells that have a value.
const LAYOUT: [&str; 6] = [
    "COMPRESS=DEFLATE",
    "PREDICTOR=YES",
    "BIGTIFF=IF_SAFER",
    "BLOCKSIZE=512",
    "OVERVIEWS=AUTO",
    "OVERVIEW_RESAMPLING=AVERAGE",
];

/// How cells wait for their copy.
const SCRATCH: [&str; 4] = ["TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512", "BIGTIFF=IF_SAFER"];

/// What is written.
pub(super) struct Image<'a> {
    pub(super) grid: &'a Grid,
    /// Names of the bands, without those of their standard deviations.
    pub(super) names: &'a [&'a str],
    pub(super) unit: &'a str,
    /// Metadata of the file.
    pub(super) tags: Vec<(&'static str, String)>,
}

impl Image<'_> {
    /// Names of the bands in the file: means, then standard deviations.
    pub(super) fn layers(&self) -> impl Iterator<Item = String> {
        let means = self.names.iter().map(|name| (*name).to_owned());
        means.chain(self.names.iter().map(|name| format!("{name} sd")))
    }
}

/// A file that is removed unless it was renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing is left to do about what cannot be removed.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes an image whose blocks `read` gives, **shape** (layer, y, x).
///
/// # Errors
/// [`Error::Export`], and those of `read`.
pub(super) fn write(
    path: &Path,
    image: &Image<'_>,
    blocks: &[PixelRegion],
    read: &mut dyn FnMut(&PixelRegion) -> Result<Array3<f32>>,
) -> Result<Vec<BandStatistics>> {
    let _quiet = QuietErrors::new();
    limit_block_cache();
    let failed = |error: GdalError| Error::Export {
        path: path.to_path_buf(),
        problem: message(&error),
        source: Some(Box::new(error)),
    };
    let cog = DriverManager::get_driver_by_name("COG").map_err(|error| Error::Export {
        path: path.to_path_buf(),
        problem: "this GDAL has no driver COG, which comes with version 3.1; install a newer GDAL".into(),
        source: Some(Box::new(error)),
    })?;
    let plain = Temporary(beside(path, "scratch"));
    let mut statistics: Vec<BandStatistics> = image.layers().map(BandStatistics::new).collect();
    let mut dataset = scratch(&plain.0, image).map_err(failed)?;
    for region in blocks {
        let block = read(region)?;
        put(&dataset, region, &block).map_err(failed)?;
        for (layer, statistics) in block.axis_iter(Axis(0)).zip(&mut statistics) {
            layer.iter().for_each(|value| statistics.add(*value));
        }
    }
    dataset.flush_cache().map_err(failed)?;
    let whole = Temporary(beside(path, "partial"));
    let copy = dataset.create_copy(&cog, &whole.0, &RasterCreationOptions::from_iter(LAYOUT)).map_err(failed)?;
    copy.close().map_err(failed)?;
    dataset.close().map_err(failed)?;
    let renamed = fs::File::open(&whole.0).and_then(|file| file.sync_all()).and_then(|()| fs::rename(&whole.0, path));
    renamed.map_err(|error| Error::Export {
        path: path.to_path_buf(),
        problem: error.to_string(),
        source: Some(Box::new(error)),
    })?;
    Ok(statistics)
}

/// A hidden name in the same folder.
fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.{what}.tif", std::process::id()))
}

/// The plain file, with what the image says of itself.
fn scratch(path: &Path, image: &Image<'_>) -> Result<Dataset, GdalError> {
    let mut dataset = create(path, image.grid, &image.layers().collect::<Vec<_>>(), &SCRATCH)?;
    for (key, value) in &image.tags {
        dataset.set_metadata_item(key, value, "")?;
    }
    for k in 0..dataset.raster_count() {
        dataset.rasterband(k + 1)?.set_metadata_item("units", image.unit, "")?;
    }
    Ok(dataset)
}
