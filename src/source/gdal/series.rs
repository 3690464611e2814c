//! A time series in one file: the bands of a raster, or of each of its variables, are dates.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ::gdal::{Dataset, Metadata};
use regex::Regex;

use super::server::Requests;
use super::spacing::refuse_uneven;
use super::{
    Aligned, AlikeTraits, Drivers, Extremes, OpenRaster, Pool, RasterHeader, Reach, Resampling, Traits, Valid, View,
    block_cache_bytes, header, is_remote, open, open_first, persistently, same_crs, server_cache_bytes,
};
use crate::error::{Error, Result, shown};
use crate::geometry::{Crs, Date, Grid, PixelRegion};
use crate::source::calibration::calibration_setters;
use crate::source::cf::{self, Acquisitions};
use crate::source::losses::EVERYTHING;
use crate::source::{Calibration, Losses, RasterSource, Remote, Slice, check_request};

/// The default pattern of a date in the description of a band.
const ANY_DATE: &str = r"(?:^|\D)(\d{4}-?\d{2}-?\d{2})(?:\D|$)";

/// Memory that the netCDF and HDF5 libraries use for the chunks of an open variable.
const CHUNK_CACHE_BYTES: u64 = 16 << 20;

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
    extremes: Extremes,
    drivers: Drivers,
    pool: Pool,
}

/// Builder of a [`RasterSeries`]; [`open`](Self::open) finishes it.
#[derive(Clone, Debug)]
pub struct SeriesBuilder {
    path: PathBuf,
    variables: Vec<String>,
    dates: Option<Vec<Date>>,
    date: Option<(String, String)>,
    calibration: Calibration,
    onto: Option<(Grid, Resampling)>,
    crs: Option<Crs>,
    drivers: Drivers,
}

/// One variable of the file, or the file itself.
struct OpenedVariable {
    name: Option<String>,
    path: PathBuf,
    header: RasterHeader,
    dates: Vec<Date>,
}

impl RasterSeries {
    /// A series in the file at `path`.
    #[must_use]
    pub fn builder(path: impl Into<PathBuf>) -> SeriesBuilder {
        SeriesBuilder {
            path: path.into(),
            drivers: Drivers::default().named(),
            variables: Vec::new(),
            dates: None,
            date: None,
            calibration: Calibration::default(),
            onto: None,
            crs: None,
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl SeriesBuilder {
    /// The variables of the file, one for each band. The bands take their names. Default: the only variable, or the
    /// file itself.
    #[must_use]
    pub fn variables<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.variables = names.into_iter().map(Into::into).collect();
        self
    }

    /// The date of each band, in file order. The list replaces the dates of the file.
    #[must_use]
    pub fn dates(mut self, dates: impl IntoIterator<Item = Date>) -> Self {
        self.dates = Some(dates.into_iter().collect());
        self
    }

    /// How to read a date from a band description: the first capture group of a regular expression, and its
    /// `strftime` form. Default: the first `2024-01-31` or `20240131`.
    #[must_use]
    pub fn date(mut self, pattern: impl Into<String>, format: impl Into<String>) -> Self {
        self.date = Some((pattern.into(), format.into()));
        self
    }

    calibration_setters!();

    /// The CRS of the file. It replaces the one that the file gives.
    #[must_use]
    pub fn crs(mut self, crs: Crs) -> Self {
        self.crs = Some(crs);
        self
    }

    /// Also opens the file with these GDAL drivers, such as `VRT`, which read other files or servers that it names. A file
    /// that ends in `.vrt` is opened anyway. See [`StackBuilder::drivers`](crate::source::StackBuilder::drivers).
    #[must_use]
    pub fn drivers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.drivers = self.drivers.with(names);
        self
    }

    /// How servers are asked, where the file is an address or in one of GDAL's file systems.
    #[must_use]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.drivers = self.drivers.asking(remote);
        self
    }

    /// Reads the file, whatever its grid and CRS, on a grid aligned with the lines of `target`, as
    /// [`StackBuilder::onto`](crate::source::StackBuilder::onto) does.
    #[must_use]
    pub fn onto(mut self, target: &Grid, resampling: Resampling) -> Self {
        self.onto = Some((target.clone(), resampling));
        self
    }

    /// Reads the headers.
    ///
    /// # Errors
    /// [`Error::Open`] for a file that GDAL cannot open, that gives no dates, or that gives two acquisitions on one
    /// day; [`Error::Setting`] for variables that are missing or differ in grid or dates, for a list of dates of the
    /// wrong length, and for a malformed pattern or calibration.
    pub fn open(self) -> Result<RasterSeries> {
        self.calibration.validate()?;
        self.drivers.remote().check()?;
        let _requests = Requests::of(&self.path, self.drivers.remote());
        let container = persistently(self.drivers.remote(), std::iter::once(self.path.as_path()), || {
            open_first(&self.path, None, &self.drivers)
        })?;
        let paths = self.paths(&container)?;
        drop(container);
        let opened = paths.into_iter().map(|(name, path)| self.opened(name, path)).collect::<Result<Vec<_>>>()?;
        let Some((first, others)) = opened.split_first() else {
            return Err(Error::setting("variables", "an empty list"));
        };
        if let Some((other, difference)) = others.iter().find_map(|other| Some((other, difference(first, other)?))) {
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
            extremes: Extremes::default(),
            drivers: self.drivers,
            pool: Pool::default(),
        })
    }

    fn error(&self, problem: String) -> Error {
        Error::Open { path: self.path.clone(), date: None, problem, source: None }
    }

    /// The datasets to open: each variable with its name, or the file itself.
    fn paths(&self, container: &Dataset) -> Result<Vec<(Option<String>, PathBuf)>> {
        let held = subdatasets(container);
        let names: Vec<&String> = held.iter().map(|(name, _)| name).collect();
        if container.raster_count() > 0 && held.is_empty() {
            // A file with a single variable is opened as that variable.
            let own = container.rasterband(1).ok().and_then(|band| band.metadata_item("NETCDF_VARNAME", ""));
            return match &self.variables[..] {
                [] => Ok(vec![(own, self.path.clone())]),
                [only] if own.as_ref() == Some(only) => Ok(vec![(own, self.path.clone())]),
                _ => Err(Error::setting(
                    "variables",
                    format!(
                        "{} holds {}, not {:?}",
                        shown(&self.path),
                        own.unwrap_or("no variables".into()),
                        self.variables
                    ),
                )),
            };
        }
        if self.variables.is_empty() {
            return match &held[..] {
                [(name, path)] => Ok(vec![(Some(name.clone()), path.clone())]),
                _ => Err(Error::setting(
                    "variables",
                    format!("{} holds {names:?}; name those to read", shown(&self.path)),
                )),
            };
        }
        let find = |name: &String| {
            let found = held.iter().find(|(other, _)| other == name);
            let (name, path) = found.ok_or_else(|| {
                Error::setting("variables", format!("{name:?} is not in {}, which holds {names:?}", shown(&self.path)))
            })?;
            Ok((Some(name.clone()), path.clone()))
        };
        self.variables.iter().map(find).collect()
    }

    /// Reads the header of one variable, or of the file itself.
    fn opened(&self, name: Option<String>, path: PathBuf) -> Result<OpenedVariable> {
        let dataset = open(&path, None, &self.drivers)?;
        refuse_uneven(&path, &dataset, None, &self.drivers)?;
        let mut header = header(&path, &dataset, None)?;
        if let Some(crs) = &self.crs {
            header.grid = header.grid.with_crs(crs.clone());
        }
        let driver = dataset.driver().short_name();
        if ["netCDF", "HDF5Image", "HDF4Image"].contains(&driver.as_str()) {
            header.open_bytes += CHUNK_CACHE_BYTES;
        }
        let count = dataset.raster_count();
        let dates = match &self.dates {
            Some(dates) if dates.len() != count => {
                let problem = format!("{} dates for the {count} bands of {}", dates.len(), shown(&path));
                return Err(Error::setting("dates", problem));
            }
            Some(dates) => dates.clone(),
            None => match times(&dataset).map_err(|problem| self.error(problem))? {
                Some(dates) => dates,
                None => self.described(&header)?,
            },
        };
        if dates.is_empty() {
            return Err(self.error("it has no bands".into()));
        }
        Ok(OpenedVariable { name, path, header, dates })
    }

    /// The dates in the descriptions of the bands.
    fn described(&self, header: &RasterHeader) -> Result<Vec<Date>> {
        let pattern = self.date.as_ref().map_or(ANY_DATE, |(pattern, _)| pattern);
        let regex = Regex::new(pattern)
            .map_err(|error| Error::setting("date", format!("not a regular expression: {error}")))?;
        let date = |(index, text): (usize, &String)| {
            let captured = regex.captures(text).and_then(|groups| groups.get(1));
            let parsed = captured.and_then(|found| match &self.date {
                Some((_, format)) => Date::parse(found.as_str(), format).ok(),
                None => Date::parse(&found.as_str().replace('-', ""), "%Y%m%d").ok(),
            });
            parsed.ok_or_else(|| {
                self.error(format!(
                    "band {} ({text:?}) gives no date, neither by a CF time coordinate nor by its description (date = '{pattern}'); \
                     list the `dates` of all bands",
                    index + 1
                ))
            })
        };
        header.bands.iter().enumerate().map(date).collect()
    }
}

/// The first property in which two variables differ.
fn difference(first: &OpenedVariable, other: &OpenedVariable) -> Option<&'static str> {
    let (a, b) = (&first.header.grid, &other.header.grid);
    if a.geotransform() != b.geotransform() || a.shape() != b.shape() || !same_crs(a.crs(), b.crs()) {
        Some("another grid")
    } else if first.dates != other.dates {
        Some("other dates")
    } else {
        None
    }
}

/// The variables of a file and the paths by which GDAL opens them: `NETCDF:"f.nc":red`, `HDF5:"f.h5"://grid/red`.
fn subdatasets(container: &Dataset) -> Vec<(String, PathBuf)> {
    let entries = container.metadata_domain("SUBDATASETS").unwrap_or_default();
    let names = entries.iter().filter_map(|entry| {
        let (key, name) = entry.split_once('=')?;
        key.ends_with("_NAME").then_some(name)
    });
    names.filter_map(|name| Some((name.rsplit_once(':')?.1.trim_start_matches('/').to_owned(), name.into()))).collect()
}

/// The dates of the bands from the CF time coordinate of a NetCDF file, if it has one.
fn times(dataset: &Dataset) -> Result<Option<Vec<Date>>, String> {
    let entries = dataset.metadata_domain("").unwrap_or_default();
    let units = entries.iter().find_map(|entry| {
        let (key, value) = entry.split_once('=')?;
        let dimension = key.strip_suffix("#units").filter(|_| value.to_lowercase().contains(" since "))?;
        Some((dimension.to_owned(), value.to_owned()))
    });
    let Some((dimension, units)) = units else { return Ok(None) };
    if let Some(extra) = dataset.metadata_item("NETCDF_DIM_EXTRA", "").filter(|extra| extra.contains(',')) {
        return Err(format!("its bands run over {extra}; only {dimension:?} may: write a variable for each band"));
    }
    let calendar = dataset.metadata_item(&format!("{dimension}#calendar"), "");
    let key = format!("NETCDF_DIM_{dimension}");
    let value = |index: usize| {
        let text = dataset.rasterband(index).ok().and_then(|band| band.metadata_item(&key, ""));
        text.and_then(|text| text.parse().ok()).ok_or_else(|| format!("band {index} has no {key}"))
    };
    let values = (1..=dataset.raster_count()).map(value).collect::<Result<Vec<f64>, String>>()?;
    cf::dates(&values, &units, calendar.as_deref()).map(Some).map_err(|problem| format!("{dimension:?}: {problem}"))
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
