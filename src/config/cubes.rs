//! Instruments whose dates are together in one store or file.

use std::path::Path;
use std::sync::Arc;

use super::keys::SourceKeys;
use super::stack::placed;
use crate::error::{Error, Result, shown};
use crate::geometry::Grid;
use crate::source::{Calibration, DimensionNames, RasterSeries, RasterSource, Remote, ZarrCube};
use crate::storage::Place;

/// Whether an instrument has a key.
type Given = fn(&SourceKeys) -> bool;

/// Keys of stacks of files alone.
const STACKS: [(&str, Given); 11] = [
    ("files", |keys| keys.files.is_some()),
    ("list", |keys| keys.list.is_some()),
    ("stac", |keys| keys.stac.is_some()),
    ("preset", |keys| keys.preset.is_some()),
    ("source_bands", |keys| keys.source_bands.is_some()),
    ("mosaic", |keys| keys.mosaic.is_some()),
    ("resolution", |keys| keys.resolution.is_some()),
    ("offset_by", |keys| keys.offset_by.is_some()),
    ("quality", |keys| keys.quality.is_some()),
    ("uncertainty", |keys| keys.uncertainty.is_some()),
    ("headers", |keys| keys.headers.is_some()),
];

/// The cube or series of an instrument, if it has one.
///
/// # Errors
/// [`Error::Setting`] for keys that do not go together, and those of opening.
pub(super) fn open(
    keys: &SourceKeys,
    folder: &Path,
    target: &Grid,
    remote: Remote,
) -> Result<Option<Arc<dyn RasterSource>>> {
    let cube = keys.zarr.is_some().then_some("zarr").or(keys.series.is_some().then_some("series"));
    if let Some(cube) = cube {
        let problem = format!("is for stacks of files and cannot be combined with `{cube}`; leave it out");
        refuse(&problem, &STACKS.map(|(key, given)| (key, given(keys))))?;
    }
    match (&keys.zarr, &keys.series) {
        (Some(_), Some(_)) => Err(Error::setting("series", "given together with `zarr`; leave one out")),
        (Some(path), None) => Ok(Some(open_zarr(keys, place_of(path, folder)?, remote)?)),
        (None, Some(path)) => Ok(Some(open_series(keys, &placed(folder, path), (target, remote))?)),
        (None, None) => {
            let only = "is for cubes (`zarr`) and series; leave it out with `files`";
            refuse(
                only,
                &[
                    ("variable", keys.variable.is_some()),
                    ("variables", keys.variables.is_some()),
                    ("dimensions", keys.dimensions.is_some()),
                    ("dates", keys.dates.is_some()),
                ],
            )?;
            Ok(None)
        }
    }
}

fn open_series(keys: &SourceKeys, path: &Path, (target, remote): (&Grid, Remote)) -> Result<Arc<dyn RasterSource>> {
    refuse("cannot be combined with `series`; leave it out", &[("dimensions", keys.dimensions.is_some())])?;
    let loose = keys.date_format.is_some() && keys.date.is_none();
    refuse("is the form of `date`, which is not given; leave it out", &[("date_format", loose)])?;
    let mut series = RasterSeries::builder(path).variables(variables(keys)?).remote(remote);
    if let Some(dates) = &keys.dates {
        series = series.dates(dates.iter().copied());
    }
    if let Some(date) = &keys.date {
        series = series.date(date, keys.date_format.as_deref().unwrap_or("%Y%m%d"));
    }
    series = series.calibration(calibration(keys)?);
    if let Some(crs) = keys.crs()? {
        series = series.crs(crs);
    }
    if let Some(drivers) = &keys.drivers {
        series = series.drivers(drivers);
    }
    if let Some(reproject) = keys.reproject {
        series = series.onto(target, reproject.into());
    }
    Ok(Arc::new(series.open()?))
}

fn open_zarr(keys: &SourceKeys, place: Place, remote: Remote) -> Result<Arc<dyn RasterSource>> {
    refuse(
        "is for files that GDAL reads and cannot be combined with `zarr`; leave it out",
        &[
            ("date", keys.date.is_some()),
            ("date_format", keys.date_format.is_some()),
            ("dates", keys.dates.is_some()),
            ("reproject", keys.reproject.is_some()),
            ("drivers", keys.drivers.is_some()),
        ],
    )?;
    let mut cube = ZarrCube::builder(place).variables(variables(keys)?).remote(remote);
    if let Some(names) = &keys.dimensions {
        let (time, band, y, x) = (names.time.clone(), names.band.clone(), names.y.clone(), names.x.clone());
        cube = cube.dimensions(DimensionNames { time, band, y, x });
    }
    if let Some(crs) = keys.crs()? {
        cube = cube.crs(crs);
    }
    cube = cube.calibration(calibration(keys)?);
    Ok(Arc::new(cube.open()?))
}

/// Where a cube is: GDAL's names of servers mean nothing to Zarr.
fn place_of(path: &Path, folder: &Path) -> Result<Place> {
    let text = path.to_string_lossy();
    if text.starts_with("/vsi") && !path.exists() {
        let problem =
            "GDAL's name of a server, and GDAL does not read Zarr cubes here; give s3://, gs://, az:// or https://";
        return Err(Error::setting("zarr", format!("{}: {problem}", shown(path))));
    }
    Ok(Place::from(path).within(folder))
}

/// How stored numbers become physical values, as far as it is given.
fn calibration(keys: &SourceKeys) -> Result<Calibration> {
    let valid_range = keys.valid_range.map(|[low, high]| (low, high));
    let nodata = keys.fills()?.unwrap_or_default().to_vec();
    Ok(Calibration { scale: keys.scale, offset: keys.offset, valid_range, nodata })
}

/// The variables asked for; none when the store decides.
fn variables(keys: &SourceKeys) -> Result<Vec<String>> {
    match (&keys.variable, &keys.variables) {
        (Some(_), Some(_)) => Err(Error::setting("variable", "given together with `variables`; leave one out")),
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
