//! Observations: lazy access to dated rasters. Imports [`crate::geometry`] only.
//!
//! Opening a source reads headers. [`RasterSource::read`] touches only the requested pixels. Slices that leave this
//! module hold physical values (scale and offset applied), and NaN where a value is missing.

mod calibration;
#[cfg(any(feature = "gdal", feature = "zarr"))]
mod cf;
mod days;
#[cfg(feature = "gdal")]
pub mod gdal;
mod losses;
mod memory;
mod passes;
#[cfg(feature = "gdal")]
mod quality;
mod remote;
#[cfg(feature = "gdal")]
mod stac;
#[cfg(feature = "gdal")]
mod stack;
#[cfg(feature = "gdal")]
mod uncertainty;
#[cfg(feature = "zarr")]
mod zarr;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use ndarray::Array3;

use crate::error::{Error, Result};
use crate::geometry::{Crs, Date, Grid, PixelRegion};

pub use calibration::Calibration;
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) use cf::fuzz as fuzz_cf;
pub use days::{DayFormat, DaySource};
#[cfg(feature = "gdal")]
pub use gdal::{RasterSeries, Resampling, SeriesBuilder};
pub use losses::Losses;
pub use memory::MemorySource;
pub(crate) use passes::Pass;
pub use passes::{PassProgress, PassWatch};
#[cfg(feature = "gdal")]
pub use quality::Quality;
pub use remote::Remote;
#[cfg(all(feature = "gdal", feature = "config", feature = "zarr"))]
pub(crate) use stac::StacGranule;
#[cfg(feature = "gdal")]
pub use stac::StacItems;
#[cfg(all(feature = "fuzz", feature = "gdal", feature = "zarr"))]
pub(crate) use stack::fuzz as fuzz_template;
#[cfg(feature = "gdal")]
pub use stack::{Granule, Headers, RasterStack, StackBuilder};
#[cfg(feature = "gdal")]
pub use uncertainty::{Spread, Uncertainty};
#[cfg(feature = "zarr")]
pub(crate) use zarr::bound_codecs;
#[cfg(feature = "zarr")]
pub use zarr::{CubeBuilder, DimensionNames, ZarrCube};

/// A dated stack of rasters on one grid. It is read lazily and from many threads at once.
///
/// An implementation holds headers and never the pixels of the full series. Its memory must not grow with the number
/// of dates by more than a name for each.
///
/// ```
/// use ndarray::Array3;
/// use rasterfuse::Result;
/// use rasterfuse::geometry::{Crs, Date, Grid, PixelRegion};
/// use rasterfuse::source::{RasterSource, Slice, check_request};
///
/// /// A simulated sensor, whose pixels brighten from day to day.
/// #[derive(Debug)]
/// struct Simulated {
///     grid: Grid,
///     dates: Vec<Date>,
///     bands: Vec<String>,
/// }
///
/// impl RasterSource for Simulated {
///     fn grid(&self) -> &Grid {
///         &self.grid
///     }
///     fn dates(&self) -> &[Date] {
///         &self.dates
///     }
///     fn bands(&self) -> &[String] {
///         &self.bands
///     }
///     fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
///         let day = check_request(self, date, bands, region)?; // refuses what is not held
///         let (rows, cols) = region.shape();
///         Ok(Slice::new(date, region.clone(), Array3::from_elem((bands.len(), rows, cols), 0.1 + 0.01 * day as f64)))
///     }
///     fn origin(&self) -> String {
///         "simulation".into()
///     }
/// }
///
/// let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// let source = Simulated { grid, dates: (0..5).map(Date::from_days).collect(), bands: vec!["red".into()] };
/// let slice = source.read(Date::from_days(3), &[0], &PixelRegion::new(0..2, 0..4))?;
/// assert_eq!((slice.values.dim(), slice.values[(0, 1, 3)]), ((1, 2, 4), 0.13));
/// assert!(source.read(Date::from_days(9), &[0], &PixelRegion::new(0..2, 0..4)).is_err());
/// # Ok::<(), rasterfuse::Error>(())
/// ```
pub trait RasterSource: Debug + Send + Sync {
    /// The grid that all dates share.
    fn grid(&self) -> &Grid;

    /// Acquisition dates, strictly increasing.
    fn dates(&self) -> &[Date];

    /// Band names, in file order.
    fn bands(&self) -> &[String];

    /// Reads the given bands (indices into [`bands`](Self::bands), any order) of one date inside `region`.
    ///
    /// # Errors
    /// [`Error::Read`] when the source does not hold the date, a band or the region, or when the pixels cannot be
    /// read; [`Error::Open`] when the file can no longer be opened.
    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice>;

    /// Whether its slices may carry their [noise variance](Slice::noise_variance). Default: no.
    fn knows_noise(&self) -> bool {
        false
    }

    /// Where the data come from, for messages: a file pattern, a variable, "memory".
    fn origin(&self) -> String;

    /// The file that holds a date, or the first of several. `None`, the default, where dates have no files of their
    /// own.
    fn path_of(&self, date: Date) -> Option<PathBuf> {
        let _ = date;
        None
    }

    /// The settings, by key, that decide the values in addition to the files, such as scale and offset. A run resumes
    /// or extends a series only when they are equal. Default: none.
    fn settings(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Sentences about suspicious files, found on opening: headers that differ from each other, tags without
    /// meaning. Default: nothing.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Sentences about suspicious values, found so far on reading: numbers that look like undeclared fill values. Default: nothing.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Share of the target that any of the files reaches, from 0 to 1, where the source was opened for a target.
    /// `None`, the default, where the [grid](Self::grid) says it.
    fn coverage(&self) -> Option<f64> {
        None
    }

    /// What became of the values of one band in a region on a date. It may read them several times; it is asked for
    /// only where nothing is left. Default: a value is there or missing.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn losses(&self, date: Date, band: usize, region: &PixelRegion) -> Result<Losses> {
        let values = self.read(date, &[band], region)?.values;
        let left = values.iter().filter(|value| !value.is_nan()).count() as u64;
        Ok(Losses { left, nodata: values.len() as u64 - left, ..Losses::default() })
    }

    /// How many reads should be in flight at a time, where a read waits for a server more than it computes. `None`,
    /// the default: as many as there are threads.
    fn reads_in_flight(&self) -> Option<usize> {
        None
    }

    /// (rows, columns) of a storage block: the storage decodes a block in full, whichever of its pixels are
    /// requested. Blocks tile the raster from its upper-left corner. `None`, the default: reading a region decodes
    /// that region only.
    ///
    /// The planner uses it to choose tiles.
    fn block_shape(&self) -> Option<(usize, usize)> {
        None
    }

    /// Upper bound on the memory that `readers` threads need for open files and decoded blocks, without the slices
    /// that they return. Default: 0.
    fn handle_bytes(&self, readers: usize) -> u64 {
        let _ = readers;
        0
    }

    /// Upper bound on the working memory while this number of bands with (rows, columns) of pixels is read, without
    /// the returned slice: masks, parts to be merged. The planner counts it for each reading thread. Default: one
    /// plane of numbers.
    fn scratch_bytes(&self, bands: usize, (rows, cols): (u64, u64)) -> u64 {
        let _ = bands;
        rows.saturating_mul(cols).saturating_mul(size_of::<f64>() as u64)
    }

    /// Upper bound on the memory of a cache that the sources of this process share, such as GDAL's. The planner
    /// counts the largest one, once. Default: 0.
    fn shared_cache_bytes(&self) -> u64 {
        0
    }
}

impl<S: RasterSource + ?Sized> RasterSource for Arc<S> {
    fn grid(&self) -> &Grid {
        (**self).grid()
    }

    fn dates(&self) -> &[Date] {
        (**self).dates()
    }

    fn bands(&self) -> &[String] {
        (**self).bands()
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        (**self).read(date, bands, region)
    }

    fn origin(&self) -> String {
        (**self).origin()
    }

    fn knows_noise(&self) -> bool {
        (**self).knows_noise()
    }

    fn path_of(&self, date: Date) -> Option<PathBuf> {
        (**self).path_of(date)
    }

    fn settings(&self) -> Vec<(String, String)> {
        (**self).settings()
    }

    fn warnings(&self) -> Vec<String> {
        (**self).warnings()
    }

    fn notes(&self) -> Vec<String> {
        (**self).notes()
    }

    fn coverage(&self) -> Option<f64> {
        (**self).coverage()
    }

    fn losses(&self, date: Date, band: usize, region: &PixelRegion) -> Result<Losses> {
        (**self).losses(date, band, region)
    }

    fn reads_in_flight(&self) -> Option<usize> {
        (**self).reads_in_flight()
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        (**self).block_shape()
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        (**self).handle_bytes(readers)
    }

    fn scratch_bytes(&self, bands: usize, shape: (u64, u64)) -> u64 {
        (**self).scratch_bytes(bands, shape)
    }

    fn shared_cache_bytes(&self) -> u64 {
        (**self).shared_cache_bytes()
    }
}

/// One instrument, one acquisition, one region: values in physical units, NaN where missing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Slice {
    /// Acquisition date.
    pub date: Date,
    /// Pixels covered, on the source's grid.
    pub region: PixelRegion,
    /// Values. **Shape** (band, y, x) as asked for.
    pub values: Array3<f64>,
    /// Noise variance of each value in u², where the source provides it; **shape** as the values. Where it is NaN,
    /// infinite or not positive, the variance of the [instrument](crate::describe::Instrument::noise_variance) applies.
    pub noise_variance: Option<Array3<f64>>,
    /// Values withheld from the fusion, which predicts them instead; **shape** as the values, NaN elsewhere.
    pub(crate) withheld: Option<Array3<f64>>,
}

impl Slice {
    /// A slice without noise variances; `values` of **shape** (band, y, x).
    #[must_use]
    pub fn new(date: Date, region: PixelRegion, values: Array3<f64>) -> Self {
        Self { date, region, values, noise_variance: None, withheld: None }
    }
}

/// Refuses requests that no source could serve. Every implementation calls it first.
///
/// # Errors
/// [`Error::Read`] that names the date, band or region that the source does not hold.
pub fn check_request<S: RasterSource + ?Sized>(
    source: &S,
    date: Date,
    bands: &[usize],
    region: &PixelRegion,
) -> Result<usize> {
    let refuse = |band: String, problem: String| Error::Read {
        origin: source.origin(),
        date,
        band,
        rows: region.rows.clone(),
        cols: region.cols.clone(),
        problem,
        source: None,
    };
    if let Some(band) = bands.iter().find(|&&band| band >= source.bands().len()) {
        let held = source.bands().len();
        return Err(refuse(format!("#{band}"), format!("the source holds {held} bands, counted from 0")));
    }
    let grid = source.grid();
    if region.rows.end > grid.rows() || region.cols.end > grid.cols() {
        let (rows, cols) = grid.shape();
        return Err(refuse("any".into(), format!("the region reaches beyond the raster's {rows} x {cols} pixels")));
    }
    source
        .dates()
        .binary_search(&date)
        .map_err(|_| refuse("any".into(), "the source holds nothing on this date".into()))
}

/// Whether both are the same CRS. Compares text and code and, with GDAL, the definitions.
#[must_use]
pub fn same_crs(a: &Crs, b: &Crs) -> bool {
    #[cfg(feature = "gdal")]
    {
        a.is_same_text(b) || gdal::same_crs(a, b)
    }
    #[cfg(not(feature = "gdal"))]
    {
        a.is_same_text(b)
    }
}
