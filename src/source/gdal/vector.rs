//! Areas of interest: the envelope of what a vector file holds.

use std::path::Path;

use ::gdal::errors::GdalError;
use ::gdal::spatial_ref::{AxisMappingStrategy, CoordTransform, SpatialRef};
use ::gdal::vector::LayerAccess;
use ::gdal::{Dataset, DatasetOptions, GdalOpenFlags};

use super::crs::crs_from_definition;
use super::drivers::waiting;
use super::{QuietErrors, message, open_error};
use crate::error::{Error, Result};
use crate::geometry::{Crs, Extent, Grid};

/// Formats of files that hold their shapes themselves.
const DRIVERS: [&str; 12] = [
    "GPKG",
    "GeoJSON",
    "GeoJSONSeq",
    "TopoJSON",
    "ESRI Shapefile",
    "FlatGeobuf",
    "GML",
    "KML",
    "LIBKML",
    "MapInfo File",
    "Parquet",
    "SQLite",
];

/// Points on each side of an envelope that follow it into another CRS.
const ALONG: i32 = 21;

/// Degrees around bounds that are compared with those of others.
const AROUND: f64 = 0.01;

/// The envelope, in `crs`, of everything that a vector file holds in all of its layers.
///
/// # Errors
/// [`Error::Open`] when GDAL cannot open the file as one of shapes, it holds none, it has no CRS and `crs` is known, or
/// GDAL has no way from one CRS to the other.
pub fn envelope(path: &Path, crs: &Crs) -> Result<Extent> {
    let _quiet = QuietErrors::new();
    let refused = |problem: String| Error::Open { path: path.to_path_buf(), date: None, problem, source: None };
    if let Some(problem) = waiting(path) {
        return Err(refused(problem));
    }
    let open_flags = GdalOpenFlags::GDAL_OF_VECTOR | GdalOpenFlags::GDAL_OF_VERBOSE_ERROR;
    let options = DatasetOptions { open_flags, allowed_drivers: Some(&DRIVERS), ..DatasetOptions::default() };
    let dataset = Dataset::open_ex(path, options).map_err(|error| match path.metadata() {
        Err(missing) => refused(missing.to_string()),
        Ok(_) => open_error(path, None, &error),
    })?;
    let mut whole: Option<Extent> = None;
    for layer in dataset.layers() {
        // Such as the styles that QGIS keeps in a GeoPackage.
        if layer.feature_count() == 0 || layer.defn().geom_fields().next().is_none() {
            continue;
        }
        let own = layer.get_extent().map_err(|error| open_error(path, None, &error))?;
        let bounds = [own.MinX, own.MinY, own.MaxX, own.MaxY];
        let [left, bottom, right, top] = match (layer.spatial_ref(), crs.is_unknown()) {
            (_, true) => bounds,
            (None, false) => {
                let problem =
                    format!("layer {:?} has no CRS; say which it is in, as with ogr2ogr -a_srs", layer.name());
                return Err(refused(problem));
            }
            (Some(reference), false) => transformed(reference, bounds, crs)
                .map_err(|error| refused(format!("GDAL has no way from its CRS to {crs} ({})", message(&error))))?,
        };
        let joined = whole.map_or(Extent { left, bottom, right, top }, |all| Extent {
            left: all.left.min(left),
            bottom: all.bottom.min(bottom),
            right: all.right.max(right),
            top: all.top.max(top),
        });
        whole = Some(joined);
    }
    whole.ok_or_else(|| refused("it holds no shape".into()))
}

/// [west, south, east, north] of a grid in degrees, with a little around it; `None` without CRS, around a pole and across
/// the antimeridian.
pub(in crate::source) fn geographic_bounds(grid: &Grid) -> Option<[f64; 4]> {
    let _quiet = QuietErrors::new();
    let own = SpatialRef::from_wkt(grid.crs().wkt()).ok()?;
    let Extent { left, bottom, right, top } = grid.extent();
    let degrees = crs_from_definition("EPSG:4326").ok()?;
    let [west, south, east, north] = transformed(own, [left, bottom, right, top], &degrees).ok()?;
    let known = [west, south, east, north].iter().all(|degrees| degrees.is_finite());
    (known && west < east && south < north).then_some([west - AROUND, south - AROUND, east + AROUND, north + AROUND])
}

/// Bounds in another CRS.
fn transformed(mut from: SpatialRef, bounds: [f64; 4], to: &Crs) -> Result<[f64; 4], GdalError> {
    let mut to = SpatialRef::from_wkt(to.wkt())?;
    // x before y, as in geotransforms, whatever the axis order of the authority.
    from.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    to.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    if from == to {
        return Ok(bounds);
    }
    CoordTransform::new(&from, &to)?.transform_bounds(&bounds, ALONG)
}
