//! Point transforms between the CRS of a raster and that of the target.

use ::gdal::spatial_ref::{AxisMappingStrategy, CoordTransform, SpatialRef};

use super::view::KEY;
use super::{QuietErrors, message, same_crs};
use crate::error::{Error, Result};
use crate::geometry::Grid;

/// Degrees of a turn about the axis of the Earth.
pub(super) const TURN: f64 = 360.0;

/// Transforms points between the CRS of a raster and that of the target, in both directions.
pub(super) enum CrsTransform {
    Same,
    Projected {
        to_native: CoordTransform,
        to_target: CoordTransform,
        /// Longitudes in the middle of raster and target, where their coordinates are longitudes and run on from there.
        middles: (Option<f64>, Option<f64>),
    },
}

/// The longitude in the middle of a grid; `None` where its coordinates are others.
pub(super) fn middle_longitude(grid: &Grid) -> Option<f64> {
    let extent = grid.extent();
    grid.crs().is_geographic().then(|| f64::midpoint(extent.left, extent.right))
}

/// The same longitude within half a turn of `middle`.
fn nearest(longitude: f64, middle: Option<f64>) -> f64 {
    middle.map_or(longitude, |middle| longitude - TURN * ((longitude - middle) / TURN).round())
}

impl CrsTransform {
    pub(super) fn new(what: &str, native: &Grid, target: &Grid) -> Result<Self> {
        if native.crs().is_same_text(target.crs()) || same_crs(native.crs(), target.crs()) {
            return Ok(Self::Same);
        }
        if native.crs().is_unknown() || target.crs().is_unknown() {
            let (expected, found) = (target.crs().clone(), native.crs().clone());
            return Err(Error::CrsMismatch { what: what.to_owned(), expected, found });
        }
        let _quiet = QuietErrors::new();
        let transforms = || {
            let mut native = SpatialRef::from_wkt(native.crs().wkt())?;
            let mut target = SpatialRef::from_wkt(target.crs().wkt())?;
            // x before y, as in geotransforms, whatever the axis order of the authority.
            native.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
            target.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
            let to_native = CoordTransform::new(&target, &native)?;
            Ok(Self::Projected { to_native, to_target: CoordTransform::new(&native, &target)?, middles: (None, None) })
        };
        transforms().map_err(|error: ::gdal::errors::GdalError| {
            let (from, to) = (native.crs(), target.crs());
            Error::setting(KEY, format!("{what}: GDAL has no transform from {from} to {to} ({})", message(&error)))
        })
    }

    /// The same where longitudes run on from the middles of raster and target.
    pub(super) fn around(self, native: &Grid, target: &Grid) -> Self {
        match self {
            Self::Same => Self::Same,
            Self::Projected { to_native, to_target, .. } => {
                let middles = (middle_longitude(native), middle_longitude(target));
                Self::Projected { to_native, to_target, middles }
            }
        }
    }

    pub(super) fn to_native(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        match self {
            Self::Same => Some((x, y)),
            Self::Projected { to_native, middles, .. } => {
                transformed(to_native, x, y).map(|(u, v)| (nearest(u, middles.0), v))
            }
        }
    }

    pub(super) fn to_target(&self, u: f64, v: f64) -> Option<(f64, f64)> {
        match self {
            Self::Same => Some((u, v)),
            Self::Projected { to_target, middles, .. } => {
                transformed(to_target, u, v).map(|(x, y)| (nearest(x, middles.1), y))
            }
        }
    }
}

fn transformed(transform: &CoordTransform, x: f64, y: f64) -> Option<(f64, f64)> {
    let _quiet = QuietErrors::new();
    let (mut x, mut y) = ([x], [y]);
    transform.transform_coords(&mut x, &mut y, &mut []).ok()?;
    (x[0].is_finite() && y[0].is_finite()).then_some((x[0], y[0]))
}
