//! Where a grid lies on the Earth: its outline in longitude and latitude.

use ::gdal::spatial_ref::{AxisMappingStrategy, CoordTransform, SpatialRef};

use crate::error::{Error, Result};
use crate::geometry::Grid;
use crate::source::gdal::{QuietErrors, message};

/// Points on each side of the outline: straight lines of a projection are none on a map of degrees.
const POINTS: usize = 8;

/// Outline and box of a grid in WGS 84.
#[derive(Debug, PartialEq)]
pub(super) struct Outline {
    /// Corners (longitude, latitude) against the clock, the first also last.
    pub(super) ring: Vec<[f64; 2]>,
    /// West, south, east, north.
    pub(super) bbox: [f64; 4],
}

/// The outline of a grid; none without CRS.
pub(super) fn outline(grid: &Grid) -> Result<Option<Outline>> {
    if grid.crs().is_unknown() {
        return Ok(None);
    }
    let (mut x, mut y) = sides(grid);
    let _quiet = QuietErrors::new();
    transform(grid, &mut x, &mut y).map_err(|error| Error::Grid {
        what: "target".into(),
        problem: format!("its outline has no longitude and latitude: {}", message(&error)),
    })?;
    let round = |value: f64| (value * 1e7).round() / 1e7;
    let ring: Vec<[f64; 2]> = x.into_iter().zip(y).map(|(x, y)| [round(x), round(y)]).collect();
    let least = |k: usize| ring.iter().fold(f64::INFINITY, |least, point| least.min(point[k]));
    let most = |k: usize| ring.iter().fold(f64::NEG_INFINITY, |most, point| most.max(point[k]));
    let bbox = [least(0), least(1), most(0), most(1)];
    Ok(Some(Outline { ring, bbox }))
}

/// Points along the sides, from the upper left corner down, in the CRS of the grid.
fn sides(grid: &Grid) -> (Vec<f64>, Vec<f64>) {
    let extent = grid.extent();
    let corners = [
        (extent.left, extent.top),
        (extent.left, extent.bottom),
        (extent.right, extent.bottom),
        (extent.right, extent.top),
        (extent.left, extent.top),
    ];
    let between = |pair: &[(f64, f64)]| {
        let (from, to) = (pair[0], pair[1]);
        (0..POINTS).map(move |k| {
            let share = k as f64 / POINTS as f64;
            (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1))
        })
    };
    let along = corners.windows(2).flat_map(between);
    along.chain(corners.first().copied()).unzip()
}

fn transform(grid: &Grid, x: &mut [f64], y: &mut [f64]) -> ::gdal::errors::Result<()> {
    let mut from = SpatialRef::from_wkt(grid.crs().wkt())?;
    let mut to = SpatialRef::from_epsg(4326)?;
    from.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    to.set_axis_mapping_strategy(AxisMappingStrategy::TraditionalGisOrder);
    CoordTransform::new(&from, &to)?.transform_coords(x, y, &mut [])
}
