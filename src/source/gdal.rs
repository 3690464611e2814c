//! Reads any raster that GDAL opens. Only this file knows GDAL's (column, row) order and its bands counted from 1.

mod address;
mod align;
mod cache;
mod crs;
mod drivers;
mod extremes;
mod failure;
mod hdf5;
mod lines;
mod listing;
mod name;
mod numbers;
mod odd;
mod place;
mod pool;
mod quiet;
mod raster;
mod reach;
mod series;
mod server;
mod spacing;
mod stored;
mod tags;
mod traits;
mod transform;
mod turn;
mod vector;
mod view;
mod warp;
mod write;

use std::io::Read;
use std::path::Path;

use ::gdal::errors::GdalError;
use ::gdal::raster::GdalDataType;
use ::gdal::{Dataset, DatasetOptions, GdalOpenFlags, Metadata};

pub(crate) use address::is_address;
pub(super) use address::is_remote;
pub(super) use align::Aligned;
pub(super) use cache::block_cache_bytes;
use cache::disable_folder_listing;
pub(crate) use cache::limit_block_cache;
pub use crs::{crs_from_definition, same_crs};
use drivers::waiting;
pub(super) use drivers::{Drivers, opening_setters};
pub(super) use extremes::Extremes;
pub(super) use failure::ReadFailure;
use hdf5::Listening;
pub(crate) use lines::Lines;
pub(super) use listing::names_in;
pub(super) use name::Subdataset;
use name::container;
use numbers::Format;
use place::grid_of;
pub(super) use pool::Pool;
pub(crate) use quiet::QuietErrors;
pub(super) use raster::OpenRaster;
pub(super) use reach::Reach;
pub use series::{RasterSeries, SeriesBuilder};
use server::{Requests, answered, plain};
pub(super) use server::{persistently, server_cache_bytes};
use spacing::refuse_uneven;
pub(super) use tags::BandTags;
use tags::UnheardScale;
pub(super) use traits::{AlikeTraits, Traits};
pub use vector::envelope;
pub(super) use vector::geographic_bounds;
pub use view::Resampling;
pub(super) use view::{Valid, View};
#[cfg(feature = "zarr")]
pub(crate) use write::{create, put};
pub use write::{write_raster, write_raster_watched};

use crate::error::{Error, Result};
use crate::geometry::{Date, Grid};

/// Upper bound on what GDAL holds for an open file, in addition to one decoded block of all bands. Measured: at most
/// 80 KiB for each of two hundred GeoTIFFs after reading.
const HANDLE_BYTES: u64 = 128 << 10;

/// A decoded block of a band that is not opened yet: 1024 x 1024 pixels of two bytes, the largest of common products.
const PROMISED_BLOCK_BYTES: u64 = 2 << 20;

/// Grid, band names and block shape of a raster, from its header.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RasterHeader {
    /// The grid.
    pub grid: Grid,
    /// Band descriptions; empty where the file has none.
    pub bands: Vec<String>,
    /// (rows, columns) of a block of the first band, clipped to the raster.
    pub block_shape: Option<(usize, usize)>,
    /// Approximate memory of the open file: GDAL's records and one decoded block of every band.
    pub open_bytes: u64,
    /// What is said of the numbers of each band.
    pub(super) tags: Vec<BandTags>,
}

impl RasterHeader {
    /// The header of a file that is not opened yet, by what a catalogue says of it: number of bands, their type (which
    /// may be empty) and nodata value.
    pub(super) fn promised(grid: Grid, bands: usize, sample: &str, nodata: Option<f64>) -> Self {
        let tags = vec![BandTags::promised(sample, nodata); bands];
        let open_bytes = HANDLE_BYTES + PROMISED_BLOCK_BYTES * bands as u64;
        Self { grid, bands: vec![String::new(); bands], block_shape: None, open_bytes, tags }
    }
}

/// Reads the header of one raster.
///
/// # Errors
/// [`Error::Open`] when GDAL cannot open it or it has no georeferencing, [`Error::Grid`] when it is not north-up.
pub fn read_header(path: &Path) -> Result<RasterHeader> {
    dated_header(path, None, &Drivers::default().named())
}

/// The header of a raster. `date` is used only in the error.
pub(super) fn dated_header(path: &Path, date: Option<Date>, drivers: &Drivers) -> Result<RasterHeader> {
    persistently(drivers.remote(), std::iter::once(path), || {
        let _requests = Requests::of(path, drivers.remote());
        let dataset = open_first(path, date, drivers)?;
        refuse_uneven(path, &dataset, date, drivers)?;
        header(path, &dataset, date)
    })
}

/// Opens a file that nobody has looked at yet: one that GDAL would wait for, or with which it would open other files, is
/// refused.
fn open_first(path: &Path, date: Option<Date>, drivers: &Drivers) -> Result<Dataset> {
    let refused = |problem: String| Error::Open { path: path.to_path_buf(), date, problem, source: None };
    if let Some(problem) = address::unreadable(path).or_else(|| waiting(path)) {
        return Err(refused(problem));
    }
    let dataset = open(path, date, drivers)?;
    match drivers.referring(path).or_else(|| drivers.referring_beside(path, &dataset)) {
        Some(problem) => Err(refused(problem)),
        None => Ok(dataset),
    }
}

/// Opens a file for reading, or a subdataset by GDAL's name for it, with one of these drivers. Every dataset of this module
/// is opened here. `date` is used only in the error.
fn open(path: &Path, date: Option<Date>, drivers: &Drivers) -> Result<Dataset> {
    let _quiet = QuietErrors::new();
    limit_block_cache();
    disable_folder_listing();
    let open_flags = GdalOpenFlags::GDAL_OF_RASTER | GdalOpenFlags::GDAL_OF_VERBOSE_ERROR;
    let allowed = drivers.of(path);
    let _requests = Requests::of(path, drivers.remote());
    let listening = Listening::to(path);
    // What it means is known here also where GDAL does not know it.
    let own_range: &[&str] = if listening.is_some() { &["HONOUR_VALID_RANGE=NO"] } else { &[] };
    let options = DatasetOptions {
        open_flags,
        allowed_drivers: Some(&allowed),
        open_options: Some(own_range),
        ..DatasetOptions::default()
    };
    Dataset::open_ex(address::gdal_name(path), options).map_err(|error| {
        let said = listening.as_ref().and_then(|_| hdf5::said());
        if is_remote(path) && answered(path, &message(&error)).is_some() {
            return open_error(path, date, &error);
        }
        if let Some(problem) = drivers.referring(path).or_else(|| drivers.other_format(path)) {
            return Error::Open { path: path.to_path_buf(), date, problem, source: Some(Box::new(error)) };
        }
        if is_remote(path) {
            return open_error(path, date, &error);
        }
        // GDAL reports only that it does not recognise such a path.
        let problem = match container(path).metadata() {
            Err(missing) => missing.to_string(),
            Ok(metadata) if metadata.is_dir() => "it is a folder that no raster driver recognises".into(),
            Ok(_) if is_gzip(&container(path)) => "it is compressed by gzip: unpack it first (gunzip)".into(),
            Ok(_) => said.map_or_else(|| message(&error), |said| format!("{} ({said})", message(&error))),
        };
        Error::Open { path: path.to_path_buf(), date, problem, source: Some(Box::new(error)) }
    })
}

/// Whether a file begins as gzip does.
fn is_gzip(path: &Path) -> bool {
    let mut head = [0; 2];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok() && head == [0x1f, 0x8b]
}

fn open_error(path: &Path, date: Option<Date>, error: &GdalError) -> Error {
    Error::Open { path: path.to_path_buf(), date, problem: said(path, error), source: Some(Box::new(error.clone())) }
}

/// GDAL's own message, without the text that the binding adds.
pub(crate) fn message(error: &GdalError) -> String {
    match error {
        GdalError::CplError { msg, .. } | GdalError::NullPointer { msg, .. } if !msg.is_empty() => msg.clone(),
        other => other.to_string(),
    }
}

/// GDAL's own message about a file, or what its server answered.
fn said(path: &Path, error: &GdalError) -> String {
    let message = message(error);
    if is_remote(path) { answered(path, &message).unwrap_or_else(|| plain(&message)) } else { message }
}

/// Refuses bands whose type holds no plain numbers.
fn refuse_no_numbers(path: &Path, dataset: &Dataset, date: Option<Date>) -> Result<()> {
    for index in 1..=dataset.raster_count() {
        let band = dataset.rasterband(index).map_err(|error| open_error(path, date, &error))?;
        if band.band_type() == GdalDataType::Unknown {
            let problem = format!(
                "band {index} holds complex numbers, of which fusing would take the real part alone; make a file of what is meant, such \
                 as the magnitude or its logarithm"
            );
            return Err(Error::Open { path: path.to_path_buf(), date, problem, source: None });
        }
    }
    Ok(())
}

/// Refuses NetCDF axes in kilometres, which GDAL takes for degrees beyond 180 and moves by 360.
fn refuse_kilometres(path: &Path, dataset: &Dataset, date: Option<Date>) -> Result<()> {
    let entries = dataset.metadata_domain("").unwrap_or_default();
    let of = |key: String| dataset.metadata_item(&key, "").unwrap_or_default();
    let axis = entries.iter().find_map(|entry| {
        let (key, units) = entry.split_once('=')?;
        let axis =
            key.strip_suffix("#units").filter(|_| units == "km" || units.to_lowercase().starts_with("kilomet"))?;
        let is_place = of(format!("{axis}#standard_name")).starts_with("projection_")
            || ["X", "Y"].contains(&of(format!("{axis}#axis")).as_str())
            || ["x", "y"].contains(&axis);
        is_place.then_some(axis)
    });
    let Some(axis) = axis else { return Ok(()) };
    let problem = format!(
        "its axis {axis:?} is in kilometres, which GDAL does not place right; write it in metres first, for example in xarray: \
         ds.assign_coords(x=1000 * ds.x, y=1000 * ds.y), with the attribute units = \"m\""
    );
    Err(Error::Open { path: path.to_path_buf(), date, problem, source: None })
}

/// The header of an open dataset.
fn header(path: &Path, dataset: &Dataset, date: Option<Date>) -> Result<RasterHeader> {
    let _quiet = QuietErrors::new();
    let _listening = Listening::to(path);
    let (cols, rows) = dataset.raster_size();
    let grid = grid_of(path, dataset, date)?;
    refuse_kilometres(path, dataset, date)?;
    let bands = (1..=dataset.raster_count())
        .map(|index| dataset.rasterband(index).and_then(|band| band.description()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| open_error(path, date, &error))?;
    refuse_no_numbers(path, dataset, date)?;
    let (unheard, format) = (UnheardScale::new(dataset), Format::of(path, dataset));
    let tags = (1..=dataset.raster_count())
        .map(|index| dataset.rasterband(index).map(|band| BandTags::new(&band, format, unheard.of(index - 1))));
    let tags = tags.collect::<Result<Vec<_>, _>>().map_err(|error| open_error(path, date, &error))?;
    let mut header = RasterHeader { grid, bands, block_shape: None, open_bytes: HANDLE_BYTES, tags };
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
