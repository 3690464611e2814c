//! A time series in one file: the bands of a raster, or of each of its variables, are dates.

mod agree;
mod builder;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use builder::OpenedVariable;
pub use builder::SeriesBuilder;

use super::{
    Aligned, AlikeTraits, Drivers, Extremes, OpenRaster, Pool, RasterHeader, Reach, Traits, Valid, View,
    block_cache_bytes, is_remote, persistently, server_cache_bytes,
};
use crate::error::{Error, Result, shown};
use crate::geometry::{Date, Grid, PixelRegion};
use crate::source::cf::Acquisitions;
use crate::source::losses::EVERYTHING;
use crate::source::{Calibration, Losses, RasterSource, Slice, check_request};

/// One raster file, read by GDAL, whose bands are dates: a GeoTIFF, or a NetCDF or HDF file with a variable for each
/// band.
///
/// Opening reads headers. The number of open handles is bounded. Dates come from the CF time coordinate of NetCDF,
/// from the descriptions of the bands, or from a list.
///
/// ```no_run
/// use rasterfuse::source::{RasterSeries, RasterSource};
/// let era = RasterSeries::builder("era5.nc").variables(["t2m", "tp"]).open()?;
/// println!("{} dates of {:?} on {}", era.dates().len(), era.bands(), era.grid());
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct RasterSeries {
    path: PathBuf,
    header: RasterHeader,
    acquisitions: Acquisitions,
    bands: Vec<String>,
    /// The path by which GDAL opens each band.
    paths: Vec<PathBuf>,
    traits: Vec<OnceLock<Arc<Traits>>>,
    alike: AlikeTraits,
    calibration: Calibration,
    /// The grid on which the file is read, when that is not its own.
    view: Option<View>,
    /// Share of the target that it reaches, where it is read for one.
    coverage: Option<f64>,
    /// In what the headers of its bands disagree.
    warnings: Vec<String>,
    extremes: Extremes,
    drivers: Drivers,
    pool: Pool,
}

impl RasterSeries {
    /// A series in the file at `path`.
    #[must_use]
    pub fn builder(path: impl Into<PathBuf>) -> SeriesBuilder {
        SeriesBuilder::new(path.into())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl SeriesBuilder {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`Error::Open`] for a file that GDAL cannot open, that gives no dates, or that gives two acquisitions on one
    /// day; [`Error::Setting`] for variables that are missing or differ in grid or dates, for a list of dates of the
    /// wrong length, and for a malformed pattern or calibration.
    pub fn open(self) -> Result<RasterSeries> {
        let opened = self.variables_opened()?;
        let Some((first, others)) = opened.split_first() else {
            return Err(Error::setting("variables", "an empty list"));
        };
        if let Some((other, difference)) =
            others.iter().find_map(|other| Some((other, agree::difference(first, other)?)))
        {
            let name = |opened: &OpenedVariable| opened.name.clone().unwrap_or_default();
            return Err(Error::setting(
                "variables",
                format!(
                    "{:?} has {difference} than {:?}; make instruments of those that differ",
                    name(other),
                    name(first)
                ),
            ));
        }
        let tags = || opened.iter().flat_map(|opened| &opened.header.tags);
        if let Some(scale) =
            tags().find_map(|tags| tags.unusable_scale.as_ref()).filter(|_| self.calibration.scale.is_none())
        {
            return Err(self.error(format!("it has a scale that is not applied: {scale}; give `scale`")));
        }
        let warnings =
            opened.iter().map(|opened| agree::warnings(opened, &self.calibration)).collect::<Result<Vec<_>>>()?;
        let acquisitions = Acquisitions::new(&first.dates).map_err(|problem| self.error(problem))?;
        let bands =
            opened.iter().map(|opened| opened.name.clone().unwrap_or_else(|| "band1".into())).collect::<Vec<_>>();
        let (mut header, mut coverage) = (first.header.clone(), None);
        let view = match &self.onto {
            None => None,
            Some((target, resampling)) => {
                let mut aligned = Aligned::new(target);
                let mut reach = Reach::new(target, true);
                reach.add(&shown(&self.path), &header.grid)?;
                coverage = Some(reach.share(true));
                // Every date is opened separately.
                header.bands.truncate(1);
                aligned.add(&shown(&self.path), &header)?;
                let view = aligned
                    .view(*resampling)?
                    .nodata(self.calibration.nodata.clone())
                    .assuming(self.crs.clone())
                    .opened_by(self.drivers.clone());
                header.open_bytes = view.open_bytes(&header);
                header.block_shape = Some(view.block_shape());
                header.grid = view.grid().clone();
                Some(view)
            }
        };
        let paths: Vec<PathBuf> = opened.into_iter().map(|opened| opened.path).collect();
        let traits = paths.iter().map(|_| OnceLock::new()).collect();
        let calibration = self.calibration;
        Ok(RasterSeries {
            path: self.path,
            header,
            acquisitions,
            bands,
            paths,
            traits,
            alike: AlikeTraits::default(),
            calibration,
            view,
            coverage,
            warnings: warnings.into_iter().flatten().collect(),
            extremes: Extremes::default(),
            drivers: self.drivers,
            pool: Pool::default(),
        })
    }
}

impl RasterSource for RasterSeries {
    fn grid(&self) -> &Grid {
        &self.header.grid
    }

    fn dates(&self) -> &[Date] {
        &self.acquisitions.dates
    }

    fn bands(&self) -> &[String] {
        &self.bands
    }

    fn read(&self, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        persistently(self.drivers.remote(), std::iter::once(self.path.as_path()), || {
            self.read_by(&self.calibration, date, bands, region)
        })
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.extremes.note().into_iter().collect()
    }

    fn coverage(&self) -> Option<f64> {
        self.coverage
    }

    fn losses(&self, date: Date, band: usize, region: &PixelRegion) -> Result<Losses> {
        Losses::of_range(&self.calibration, |calibration| Ok(self.read_by(calibration, date, &[band], region)?.values))
    }

    fn origin(&self) -> String {
        shown(&self.path)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![("variables".into(), format!("{:?}", self.bands))];
        settings.extend(self.calibration.settings());
        if let Some(view) = &self.view {
            settings.push(("reproject".into(), format!("{:?}", view.resampling()).to_lowercase()));
        }
        settings
    }

    fn reads_in_flight(&self) -> Option<usize> {
        is_remote(&self.path).then(|| self.drivers.remote().reads_in_flight())
    }

    fn block_shape(&self) -> Option<(usize, usize)> {
        self.header.block_shape
    }

    fn handle_bytes(&self, readers: usize) -> u64 {
        self.header.open_bytes.saturating_mul(Pool::most_open(readers) as u64)
    }

    fn shared_cache_bytes(&self) -> u64 {
        block_cache_bytes() + if is_remote(&self.path) { server_cache_bytes() } else { 0 }
    }
}

impl RasterSeries {
    fn read_by(&self, calibration: &Calibration, date: Date, bands: &[usize], region: &PixelRegion) -> Result<Slice> {
        let position = self.acquisitions.positions[check_request(self, date, bands, region)?] as usize;
        let (rows, cols) = region.shape();
        let mut values = ndarray::Array3::zeros((bands.len(), rows, cols));
        for (&band, mut plane) in bands.iter().zip(values.outer_iter_mut()) {
            let (number, within) = match self.view {
                None => (band, position),
                // A view of a single date: resampling a file of many dates would resample all of them. The range of the
                // calibration is part of it.
                Some(_) => {
                    let number = band * self.acquisitions.dates.len() + position;
                    (2 * number + usize::from(calibration.valid_range.is_some_and(|range| range != EVERYTHING)), 0)
                }
            };
            let raster = match self.pool.take(number) {
                Some(raster) => raster,
                None => match &self.view {
                    None => {
                        OpenRaster::open(&self.paths[band], date, &self.drivers, (&self.traits[band], &self.alike))?
                    }
                    Some(view) => {
                        let valid = Valid { calibration, bands: &[position] };
                        OpenRaster::open_view(&self.paths[band], date, (view, None), Some(position), Some(valid))?
                    }
                },
            };
            let Some(plane) = plane.as_slice_mut() else { continue };
            raster.read(&[within], region, calibration, &mut [plane]).map_err(|failure| Error::Read {
                origin: shown(&self.paths[band]),
                date,
                band: self.bands[band].clone(),
                rows: region.rows.clone(),
                cols: region.cols.clone(),
                problem: failure.problem(&self.paths[band], "replace it"),
                source: failure.into_source(),
            })?;
            self.extremes.note_in(raster.take_extreme(), date, &self.path);
            self.pool.put_back(number, raster);
        }
        Ok(Slice::new(date, region.clone(), values))
    }
}
