//! Any raster that GDAL opens. The only file that knows GDAL's (column, row) order and 1-based bands.

mod align;
mod between;
mod cache;
mod crs;
mod quiet;
mod series;
mod view;
mod warp;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::gdal::errors::GdalError;
use ::gdal::raster::{ColorInterpretation, GdalDataType, RasterBand};
use ::gdal::{Dataset, DatasetOptions, GdalOpenFlags, Metadata};
use ndarray::{Array3, ArrayViewMut2, s};

pub(super) use align::Aligned;
pub(super) use cache::block_cache_bytes;
use cache::limit_block_cache;
use crs::crs_of;
pub use crs::{crs_from_definition, same_crs};
use quiet::QuietErrors;
pub use series::{RasterSeries, SeriesBuilder};
pub use view::Resampling;
pub(super) use view::View;

use super::Calibration;
use crate::error::{Error, Result};
use crate::geometry::{Date, Grid, PixelRegion};

/// Idle handles a pool keeps open. A tile reads each date once, so handles are seldom used again before many others; opening a
/// local file costs tens of microseconds, and an open one holds its blocks in GDAL's cache.
const IDLE_HANDLES: usize = 4;

/// What GDAL keeps of an open file beside a decoded block of all bands, generously: two hundred GeoTIFFs that had been read
/// took at most 80 KiB each.
const HANDLE_BYTES: u64 = 128 << 10;

/// Grid, band names and layout of a raster, from its header.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RasterHeader {
    /// Its grid.
    pub grid: Grid,
    /// Band descriptions; empty where the file has none.
    pub bands: Vec<String>,
    /// (rows, columns) of a block of its first band, at most the raster's.
    pub block_shape: Option<(usize, usize)>,
    /// Memory that the file takes while it is open, about: GDAL's records and a decoded block of every band.
    pub open_bytes: u64,
}

/// Reads the header of one raster.
///
/// # Errors
/// [`Error::Open`] when GDAL cannot open it or it has no georeferencing, [`Error::Grid`] when it is not north-up.
pub fn read_header(path: &Path) -> Result<RasterHeader> {
    header(path, &open(path, None)?, None)
}

/// Opens a file for reading; `date` only serves the message.
fn open(path: &Path, date: Option<Date>) -> Result<Dataset> {
    let _quiet = QuietErrors::new();
    limit_block_cache();
    let open_flags = GdalOpenFlags::GDAL_OF_RASTER | GdalOpenFlags::GDAL_OF_VERBOSE_ERROR;
    let options = DatasetOptions { open_flags, ..DatasetOptions::default() };
    Dataset::open_ex(path, options).map_err(|error| {
        // GDAL only says that it does not recognise such paths.
        let problem = match path.metadata() {
            Err(missing) => missing.to_string(),
            Ok(metadata) if metadata.is_dir() => "it is a folder that no raster driver recognises".into(),
            Ok(_) => message(&error),
        };
        Error::Open { path: path.to_path_buf(), date, problem, source: Some(Box::new(error)) }
    })
}

fn open_error(path: &Path, date: Option<Date>, error: &GdalError) -> Error {
    Error::Open { path: path.to_path_buf(), date, problem: message(error), source: Some(Box::new(error.clone())) }
}

/// GDAL's own words, without the wrapping of the binding.
fn message(error: &GdalError) -> String {
    match error {
        GdalError::CplError { msg, .. } | GdalError::NullPointer { msg, .. } if !msg.is_empty() => msg.clone(),
        other => other.to_string(),
    }
}

/// The header of an open dataset.
fn header(path: &Path, dataset: &Dataset, date: Option<Date>) -> Result<RasterHeader> {
    let _quiet = QuietErrors::new();
    let (cols, rows) = dataset.raster_size();
    let no_place = || Error::Open {
        path: path.to_path_buf(),
        date,
        problem: "it has no geotransform; georeference it first (gdal_translate -a_srs -a_ullr)".into(),
        source: None,
    };
    let geotransform = dataset.geo_transform().map_err(|_| no_place())?;
    let grid = Grid::new(crs_of(dataset), geotransform, (rows, cols)).map_err(|error| match error {
        Error::Grid { problem, .. } => Error::Grid { what: path.display().to_string(), problem },
        other => other,
    })?;
    let bands = (1..=dataset.raster_count())
        .map(|index| dataset.rasterband(index).and_then(|band| band.description()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| open_error(path, date, &error))?;
    let mut header = RasterHeader { grid, bands, block_shape: None, open_bytes: HANDLE_BYTES };
    if dataset.raster_count() > 0 {
        let band = dataset.rasterband(1).map_err(|error| open_error(path, date, &error))?;
        let (block_cols, block_rows) = band.block_size();
        let (block_rows, block_cols) = (block_rows.clamp(1, rows.max(1)), block_cols.clamp(1, cols.max(1)));
        header.block_shape = Some((block_rows, block_cols));
        let pixel_bytes = u64::from(band.band_type().bits().div_ceil(8)) * dataset.raster_count() as u64;
        header.open_bytes += (block_rows * block_cols) as u64 * pixel_bytes;
    }
    Ok(header)
}

/// A raster file of known date that is opened when needed.
#[derive(Clone, Debug)]
pub(super) struct DatedFile {
    pub(super) date: Date,
    pub(super) path: PathBuf,
    /// What was wrong with it when its stack was opened, if that was let pass.
    pub(super) fault: Option<String>,
}

impl DatedFile {
    pub(super) fn new(date: Date, path: PathBuf) -> Self {
        Self { date, path, fault: None }
    }

    pub(super) fn header(&self) -> Result<RasterHeader> {
        header(&self.path, &open(&self.path, Some(self.date))?, Some(self.date))
    }
}

/// The files of a stack and their open datasets.
///
/// A dataset may wander between threads but never serves two at once (GDAL's rule): a reader takes it out and puts it back.
/// At most [`IDLE_HANDLES`] wait, the least recently used is closed first; so open handles are bounded by that number plus
/// the readers at work.
pub(super) struct DatedFiles {
    files: Vec<DatedFile>,
    bands: Vec<String>,
    calibration: Calibration,
    /// What the files are opened as, if not as they are.
    view: Option<Arc<View>>,
    /// Open datasets by position of their file.
    idle: Mutex<Vec<(usize, Dataset)>>,
}

impl std::fmt::Debug for DatedFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DatedFiles").field("files", &self.files).finish_non_exhaustive()
    }
}

impl DatedFiles {
    pub(super) fn new(files: Vec<DatedFile>, bands: Vec<String>, calibration: Calibration) -> Self {
        Self { files, bands, calibration, view: None, idle: Mutex::default() }
    }

    /// Opens them as a view on another grid.
    pub(super) fn on(self, view: Option<Arc<View>>) -> Self {
        Self { view, ..self }
    }

    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_deref()
    }

    pub(super) fn files(&self) -> &[DatedFile] {
        &self.files
    }

    pub(super) fn bands(&self) -> &[String] {
        &self.bands
    }

    pub(super) fn calibration(&self) -> &Calibration {
        &self.calibration
    }

    /// Files open at once, at most, while so many threads read.
    pub(super) fn most_open(&self, readers: usize) -> usize {
        self.files.len().min(Self::most_handles(readers))
    }

    /// Handles open at once, at most, where several may be of one file.
    fn most_handles(readers: usize) -> usize {
        IDLE_HANDLES + readers
    }

    fn take(&self, index: usize) -> Option<Dataset> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let position = idle.iter().position(|(held, _)| *held == index)?;
        Some(idle.remove(position).1)
    }

    fn put(&self, index: usize, dataset: Dataset) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((index, dataset));
        let evicted = (idle.len() > IDLE_HANDLES).then(|| idle.remove(0));
        drop(idle);
        drop(evicted); // closing may take a while; not under the lock
    }

    /// Reads bands of the `index`-th file inside `region`: values of **shape** (band, y, x), calibrated, NaN where missing.
    pub(super) fn read(&self, index: usize, bands: &[usize], region: &PixelRegion) -> Result<Array3<f64>> {
        let file = &self.files[index];
        if let Some(problem) = &file.fault {
            let (path, date, problem) = (file.path.clone(), Some(file.date), problem.clone());
            return Err(Error::Open { path, date, problem, source: None });
        }
        let dataset = match self.take(index) {
            Some(dataset) => dataset,
            None => match &self.view {
                Some(view) => view.open(&file.path, Some(file.date))?,
                None => open(&file.path, Some(file.date))?,
            },
        };
        let _quiet = QuietErrors::new();
        let values = match &self.view {
            None => self.read_open(file, &dataset, bands, region)?,
            Some(view) => {
                let (rows, cols) = region.shape();
                let mut values = Array3::zeros((bands.len(), rows, cols));
                for piece in view.pieces(region) {
                    let part = self.read_open(file, &dataset, bands, &piece)?;
                    let (row, col) = (piece.rows.start - region.rows.start, piece.cols.start - region.cols.start);
                    let (rows, cols) = piece.shape();
                    values.slice_mut(s![.., row..row + rows, col..col + cols]).assign(&part);
                }
                values
            }
        };
        self.put(index, dataset);
        Ok(values)
    }

    /// Reads bands of an open dataset.
    fn read_open(
        &self,
        file: &DatedFile,
        dataset: &Dataset,
        bands: &[usize],
        region: &PixelRegion,
    ) -> Result<Array3<f64>> {
        let (rows, cols) = region.shape();
        let mut values = Array3::zeros((bands.len(), rows, cols));
        for (&band, plane) in bands.iter().zip(values.outer_iter_mut()) {
            read_plane(dataset, band, region, &self.calibration, plane).map_err(|error| Error::Read {
                origin: file.path.display().to_string(),
                date: file.date,
                band: self.bands.get(band).cloned().unwrap_or_default(),
                rows: region.rows.clone(),
                cols: region.cols.clone(),
                problem: format!(
                    "{}; the file may be truncated or damaged: replace it, or take it out of `files`",
                    message(&error)
                ),
                source: Some(Box::new(error)),
            })?;
        }
        Ok(values)
    }
}

/// Reads a window of the band at position `band`, counted from 0.
fn read_plane(
    dataset: &Dataset,
    band: usize,
    region: &PixelRegion,
    calibration: &Calibration,
    plane: ArrayViewMut2<'_, f64>,
) -> Result<(), GdalError> {
    let alpha = alpha_band(dataset)?;
    let raster = dataset.rasterband(band + 1)?;
    let own = raster.color_interpretation() == ColorInterpretation::AlphaBand;
    read_band(&raster, alpha.as_ref().filter(|_| !own), region, calibration, plane)
}

/// The band that holds the opacity of the others. GDAL makes a mask of it only in files of two or four bands.
fn alpha_band(dataset: &Dataset) -> Result<Option<RasterBand<'_>>, GdalError> {
    for index in 1..=dataset.raster_count() {
        let band = dataset.rasterband(index)?;
        if band.color_interpretation() == ColorInterpretation::AlphaBand {
            return Ok(Some(band));
        }
    }
    Ok(None)
}

/// Makes NaN of what a mask hides.
fn hide(mask: &RasterBand<'_>, region: &PixelRegion, values: &mut [f64]) -> Result<(), GdalError> {
    let (rows, cols) = region.shape();
    let mut opacity = vec![0.0; values.len()];
    let start = (region.cols.start as isize, region.rows.start as isize);
    mask.read_into_slice::<f64>(start, (cols, rows), (cols, rows), &mut opacity, None)?;
    for (value, _) in values.iter_mut().zip(&opacity).filter(|(_, opacity)| **opacity == 0.0) {
        *value = f64::NAN;
    }
    Ok(())
}

/// Reads a window of one band: nodata, mask bands and alpha become NaN, scale and offset are applied.
fn read_band(
    band: &RasterBand<'_>,
    alpha: Option<&RasterBand<'_>>,
    region: &PixelRegion,
    calibration: &Calibration,
    mut plane: ArrayViewMut2<'_, f64>,
) -> Result<(), GdalError> {
    let (rows, cols) = region.shape();
    let Some(values) = plane.as_slice_mut() else {
        return Err(GdalError::BufferSizeMismatch(region.len(), (rows, cols)));
    };
    let start = (region.cols.start as isize, region.rows.start as isize);
    let size = (cols, rows);
    band.read_into_slice(start, size, size, values, None)?;
    if let Some(nodata) = band.no_data_value() {
        // A float32 file stores the nearest float32 of its nodata value.
        let nodata = if band.band_type() == GdalDataType::Float32 { f64::from(nodata as f32) } else { nodata };
        for value in values.iter_mut().filter(|value| **value == nodata) {
            *value = f64::NAN;
        }
    }
    let flags = band.mask_flags()?;
    // Nodata of a single band has been dealt with; nodata of all bands together is a mask of the dataset.
    if flags.is_per_dataset() || !(flags.is_all_valid() || flags.is_nodata()) {
        hide(&band.open_mask_band()?, region, values)?;
    }
    if let Some(alpha) = alpha {
        hide(alpha, region, values)?;
    }
    calibration.apply(band.scale(), band.offset(), values);
    Ok(())
}
