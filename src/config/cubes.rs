//! Instruments whose dates are together in one store or file.

use std::path::Path;
use std::sync::Arc;

use super::Instrument;
use crate::error::{Error, Result};
use crate::geometry::Grid;
use crate::source::gdal::crs_from_definition;
use crate::source::{Calibration, DimensionNames, RasterSeries, RasterSource, ZarrCube};

/// Whether an instrument has a key.
type Given = fn(&Instrument) -> bool;

/// Keys of stacks of files alone.
const STACKS: [(&str, Given); 9] = [
    ("files", |instrument| instrument.files.is_some()),
    ("list", |instrument| instrument.list.is_some()),
    ("preset", |instrument| instrument.preset.is_some()),
    ("source_bands", |instrument| instrument.source_bands.is_some()),
    ("mosaic", |instrument| instrument.mosaic.is_some()),
    ("resolution", |instrument| instrument.resolution.is_some()),
    ("offset_by", |instrument| instrument.offset_by.is_some()),
    ("quality", |instrument| instrument.quality.is_some()),
    ("uncertainty", |instrument| instrument.uncertainty.is_some()),
];

/// The cube or series of an instrument, if it has one.
///
/// # Errors
/// [`Error::Setting`] for keys that do not go together, and those of opening.
pub(super) fn open(instrument: &Instrument, folder: &Path, target: &Grid) -> Result<Option<Arc<dyn RasterSource>>> {
    let cube = instrument.zarr.is_some().then_some("zarr").or(instrument.series.is_some().then_some("series"));
    if let Some(cube) = cube {
        let problem = format!("is for stacks of files and means nothing beside `{cube}`; leave it out");
        refuse(&problem, &STACKS.map(|(key, given)| (key, given(instrument))))?;
    }
    match (&instrument.zarr, &instrument.series) {
        (Some(_), Some(_)) => Err(Error::setting("series", "given beside `zarr`; leave one out")),
        (Some(path), None) => Ok(Some(open_zarr(instrument, &folder.join(path))?)),
        (None, Some(path)) => Ok(Some(open_series(instrument, &folder.join(path), target)?)),
        (None, None) => {
            let only = "is for cubes (`zarr`) and series; leave it out beside `files`";
            refuse(
                only,
                &[
                    ("variable", instrument.variable.is_some()),
                    ("variables", instrument.variables.is_some()),
                    ("dimensions", instrument.dimensions.is_some()),
                    ("crs", instrument.crs.is_some()),
                    ("dates", instrument.dates.is_some()),
                ],
            )?;
            Ok(None)
        }
    }
}

fn open_series(instrument: &Instrument, path: &Path, target: &Grid) -> Result<Arc<dyn RasterSource>> {
    refuse("means nothing beside `series`; leave it out", &[("dimensions", instrument.dimensions.is_some())])?;
    let loose = instrument.date_format.is_some() && instrument.date.is_none();
    refuse("is the form of `date`, which is not given; leave it out", &[("date_format", loose)])?;
    let mut series = RasterSeries::builder(path).variables(variables(instrument)?);
    if let Some(dates) = &instrument.dates {
        series = series.dates(dates.iter().map(|day| day.0));
    }
    if let Some(date) = &instrument.date {
        series = series.date(date, instrument.date_format.as_deref().unwrap_or("%Y%m%d"));
    }
    series = series.calibration(calibration(instrument));
    if let Some(crs) = &instrument.crs {
        series = series.crs(crs_from_definition(crs).map_err(|error| rename(error, "crs"))?);
    }
    if let Some(reproject) = instrument.reproject {
        series = series.onto(target, reproject.into());
    }
    Ok(Arc::new(series.open()?))
}

fn open_zarr(instrument: &Instrument, path: &Path) -> Result<Arc<dyn RasterSource>> {
    refuse(
        "is for files that GDAL reads and means nothing beside `zarr`; leave it out",
        &[
            ("date", instrument.date.is_some()),
            ("date_format", instrument.date_format.is_some()),
            ("dates", instrument.dates.is_some()),
            ("reproject", instrument.reproject.is_some()),
        ],
    )?;
    let mut cube = ZarrCube::builder(path).variables(variables(instrument)?);
    if let Some(names) = &instrument.dimensions {
        let (time, band, y, x) = (names.time.clone(), names.band.clone(), names.y.clone(), names.x.clone());
        cube = cube.dimensions(DimensionNames { time, band, y, x });
    }
    if let Some(crs) = &instrument.crs {
        cube = cube.crs(crs_from_definition(crs).map_err(|error| rename(error, "crs"))?);
    }
    cube = cube.calibration(calibration(instrument));
    Ok(Arc::new(cube.open()?))
}

/// How stored numbers become physical values, as far as it is given.
fn calibration(instrument: &Instrument) -> Calibration {
    let valid_range = instrument.valid_range.map(|[low, high]| (low, high));
    Calibration { scale: instrument.scale, offset: instrument.offset, valid_range, nodata: instrument.nodata }
}

/// The variables asked for; none when the store is to tell.
fn variables(instrument: &Instrument) -> Result<Vec<String>> {
    match (&instrument.variable, &instrument.variables) {
        (Some(_), Some(_)) => Err(Error::setting("variable", "given beside `variables`; leave one out")),
        (Some(one), None) => Ok(vec![one.clone()]),
        (None, several) => Ok(several.clone().unwrap_or_default()),
    }
}

/// Refuses keys that are given and mean nothing there.
fn refuse(problem: &str, given: &[(&str, bool)]) -> Result<()> {
    match given.iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(Error::setting(*key, problem)),
        None => Ok(()),
    }
}

/// A setting's error under the key that it has here.
fn rename(error: Error, key: &str) -> Error {
    match error {
        Error::Setting { problem, .. } => Error::setting(key, problem),
        other => other,
    }
}
