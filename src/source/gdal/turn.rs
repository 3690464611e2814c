//! Longitudes: rasters whose columns run from 0 to 360 degrees, or across the antimeridian, brought to where the
//! target is.

use super::transform::{CrsTransform, TURN};
use crate::error::Result;
use crate::geometry::Grid;

/// Sample points per side of the target.
const SAMPLES: usize = 8;

/// Columns that an interpolation may need beyond a point.
const MARGIN: f64 = 4.0;

/// A raster, turned about the axis of the Earth.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turned {
    /// Its grid at the longitudes of the target.
    pub(super) grid: Grid,
    /// Where the whole globe is cut elsewhere: the column of the file that comes first.
    pub(super) first_column: Option<usize>,
}

impl Turned {
    /// The raster where the target is; as it is, where its CRS is not geographic or the target lies inside.
    ///
    /// # Errors
    /// As [`CrsTransform::new`].
    pub(super) fn new(what: &str, native: &Grid, target: &Grid) -> Result<Self> {
        let plain = || Self { grid: native.clone(), first_column: None };
        if !native.crs().is_geographic() {
            return Ok(plain());
        }
        let ([left, width, _, top, _, step], (rows, cols)) = (native.geotransform(), native.shape());
        let (span, margin) = (width * cols as f64, MARGIN * width);
        let is_globe = (span - TURN).abs() < 0.01 * width;
        // From other CRS, longitudes come between -180 and 180.
        let usual = -TURN / 2.0 <= left && left + span <= TURN / 2.0;
        if usual && !is_globe && !target.crs().is_geographic() {
            return Ok(plain());
        }
        let Some((west, east)) = longitudes(&CrsTransform::new(what, native, target)?, target) else {
            return Ok(plain());
        };
        let middle = f64::midpoint(west, east);
        // Whole turns that bring the middles closest.
        let turns = ((middle - (left + span / 2.0)) / TURN).round();
        let moved = left + turns * TURN;
        let holds = |left: f64| left + margin <= west && east <= left + span - margin;
        let at = |left: f64, first_column: Option<usize>| {
            let grid = Grid::new(native.crs().clone(), [left, width, 0.0, top, 0.0, step], (rows, cols))?;
            Ok(Self { grid, first_column })
        };
        if is_globe && !holds(moved) {
            // Cut opposite the target, along a line between columns.
            let columns = ((middle - TURN / 2.0 - moved) / width).round();
            let first = (columns as i64).rem_euclid(cols as i64) as usize;
            return at(moved + columns * width, Some(first).filter(|first| *first > 0));
        }
        if turns == 0.0 { Ok(plain()) } else { at(moved, None) }
    }
}

/// West and east of the target, in longitudes of the raster's CRS that run on across the antimeridian.
fn longitudes(transform: &CrsTransform, target: &Grid) -> Option<(f64, f64)> {
    let extent = target.extent();
    let along = |k: usize, from: f64, to: f64| from + (to - from) * k as f64 / SAMPLES as f64;
    let points = (0..=SAMPLES).flat_map(|i| (0..=SAMPLES).map(move |j| (i, j)));
    let mut known: Option<(f64, f64)> = None;
    for (i, j) in points {
        let point = transform.to_native(along(j, extent.left, extent.right), along(i, extent.bottom, extent.top));
        let Some((longitude, _)) = point else { continue };
        let (west, east) = known.unwrap_or((longitude, longitude));
        // Neighbouring points lie less than half a turn apart.
        let longitude = match transform {
            CrsTransform::Same => longitude,
            CrsTransform::Projected { .. } => {
                longitude - TURN * ((longitude - f64::midpoint(west, east)) / TURN).round()
            }
        };
        known = Some((west.min(longitude), east.max(longitude)));
    }
    known
}
