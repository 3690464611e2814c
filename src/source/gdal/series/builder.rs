//! Opening of a series: its variables, their headers and dates.

use std::path::PathBuf;

use ::gdal::{Dataset, Metadata};
use regex::Regex;

use crate::error::{Error, Result, shown};
use crate::geometry::{Crs, Date, Grid};
use crate::source::Calibration;
use crate::source::calibration::calibration_setters;
use crate::source::cf;
use crate::source::gdal::drivers::opening_setters;
use crate::source::gdal::server::Requests;
use crate::source::gdal::spacing::refuse_uneven;
use crate::source::gdal::{Drivers, RasterHeader, Resampling, header, open, open_first, persistently};

/// The default pattern of a date in the description of a band.
const ANY_DATE: &str = r"(?:^|\D)(\d{4}-?\d{2}-?\d{2})(?:\D|$)";

/// Memory that the netCDF and HDF5 libraries use for the chunks of an open variable.
const CHUNK_CACHE_BYTES: u64 = 16 << 20;

/// Builder of a [`RasterSeries`](super::RasterSeries); [`open`](Self::open) finishes it.
#[derive(Clone, Debug)]
pub struct SeriesBuilder {
    pub(super) path: PathBuf,
    pub(super) variables: Vec<String>,
    pub(super) dates: Option<Vec<Date>>,
    pub(super) date: Option<(String, String)>,
    pub(super) calibration: Calibration,
    pub(super) onto: Option<(Grid, Resampling)>,
    pub(super) crs: Option<Crs>,
    pub(super) drivers: Drivers,
}

/// One variable of the file, or the file itself.
pub(super) struct OpenedVariable {
    pub(super) name: Option<String>,
    pub(super) path: PathBuf,
    pub(super) header: RasterHeader,
    pub(super) dates: Vec<Date>,
    /// The first band whose own date is another one than the list gives, with it.
    pub(super) other_date: Option<(usize, Date)>,
}

impl SeriesBuilder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            drivers: Drivers::default().named(),
            variables: Vec::new(),
            dates: None,
            date: None,
            calibration: Calibration::default(),
            onto: None,
            crs: None,
        }
    }

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

    opening_setters!();

    /// Reads the file, whatever its grid and CRS, on a grid aligned with the lines of `target`, as
    /// [`StackBuilder::onto`](crate::source::StackBuilder::onto) does.
    #[must_use]
    pub fn onto(mut self, target: &Grid, resampling: Resampling) -> Self {
        self.onto = Some((target.clone(), resampling));
        self
    }

    /// The headers of its variables, or of the file itself.
    pub(super) fn variables_opened(&self) -> Result<Vec<OpenedVariable>> {
        self.calibration.validate()?;
        self.drivers.remote().check()?;
        let _requests = Requests::of(&self.path, self.drivers.remote());
        let container = persistently(self.drivers.remote(), std::iter::once(self.path.as_path()), || {
            open_first(&self.path, None, &self.drivers)
        })?;
        let paths = self.paths(&container)?;
        drop(container);
        paths.into_iter().map(|(name, path)| self.opened(name, path)).collect()
    }

    pub(super) fn error(&self, problem: String) -> Error {
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
        let own = || match times(&dataset).map_err(|problem| self.error(problem))? {
            Some(dates) => Ok(dates),
            None => self.described(&header),
        };
        let mut other_date = None;
        let dates = match &self.dates {
            Some(dates) if dates.len() != count => {
                let problem = format!("{} dates for the {count} bands of {}", dates.len(), shown(&path));
                return Err(Error::setting("dates", problem));
            }
            Some(dates) => {
                // The list is there because the file may say nothing.
                let own = own().unwrap_or_default();
                other_date =
                    (0..own.len().min(count)).map(|band| (band, own[band])).find(|(band, own)| dates[*band] != *own);
                dates.clone()
            }
            None => own()?,
        };
        if dates.is_empty() {
            return Err(self.error("it has no bands".into()));
        }
        Ok(OpenedVariable { name, path, header, dates, other_date })
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
