//! The grid of the target: a raster's, or a part of it, or one that a box or numbers describe.

use super::FusionConfig;
use crate::describe::Target;
use crate::error::{Error, Result};
use crate::geometry::{Crs, Extent, Grid};
use crate::source::gdal::{crs_from_definition, envelope, read_header};

/// The ways to say where the target is.
const WAYS: &str = "give either `like`, or `geotransform` and `shape` (and `crs`), or `bbox` with `resolution` and `crs`; with `like`, \
                    `bbox` or `crop` takes a part of it";

impl FusionConfig {
    /// The grid of the target.
    pub(super) fn target(&self) -> Result<Grid> {
        let target = &self.description.target;
        if target.bbox.is_some() && target.crop.is_some() {
            return Err(Error::setting("target.crop", "given together with `bbox`; give one of them"));
        }
        let cells = target.geotransform.is_some() || target.shape.is_some();
        match (&target.like, target.bbox) {
            (Some(_), _) if cells || target.crs.is_some() || target.resolution.is_some() => {
                Err(Error::setting("target", format!("`like` gives CRS and cells; {WAYS}")))
            }
            (Some(like), bbox) => {
                let header = read_header(&self.folder.join(like));
                let grid = header.map_err(|error| Error::setting("target.like", error.to_string()))?.grid;
                match (bbox, &target.crop) {
                    (Some(bbox), _) => cropped(&grid, "target.bbox", &extent(bbox)?),
                    (None, Some(crop)) => {
                        let path = self.folder.join(crop);
                        let extent = envelope(&path, grid.crs());
                        let extent = extent.map_err(|error| Error::setting("target.crop", error.to_string()))?;
                        cropped(&grid, "target.crop", &extent)
                    }
                    (None, None) => Ok(grid),
                }
            }
            (None, Some(bbox)) if !cells => boxed(target, bbox),
            (None, None) if target.crop.is_none() && target.resolution.is_none() => described(target),
            _ => Err(Error::setting("target", WAYS)),
        }
    }
}

/// The CRS that is given.
fn crs(target: &Target) -> Result<Crs> {
    target.crs.as_deref().map_or_else(|| Ok(Crs::unknown()), crs_from_definition)
}

/// The grid of cells of `resolution` that covers a box.
fn boxed(target: &Target, bbox: [f64; 4]) -> Result<Grid> {
    let (Some(resolution), Some(_)) = (target.resolution, &target.crs) else {
        let problem = "needs `resolution`, the size of a cell, and `crs`, in whose units both are; or `like`, of which it is a part";
        return Err(Error::setting("target.bbox", problem));
    };
    named(Grid::covering(crs(target)?, &extent(bbox)?, (resolution, resolution)), "target.resolution")
}

/// The grid that numbers describe.
fn described(target: &Target) -> Result<Grid> {
    let (Some(geotransform), Some([rows, cols])) = (target.geotransform, target.shape) else {
        return Err(Error::setting("target", WAYS));
    };
    Grid::new(crs(target)?, geotransform, (rows, cols)).map_err(|error| match error {
        Error::Grid { problem, .. } => Error::Grid { what: "target".into(), problem },
        other => other,
    })
}

fn extent([left, bottom, right, top]: [f64; 4]) -> Result<Extent> {
    if [left, bottom, right, top].iter().all(|edge| edge.is_finite()) && left < right && bottom < top {
        return Ok(Extent { left, bottom, right, top });
    }
    let problem = format!(
        "[{left}, {bottom}, {right}, {top}] must be [left, bottom, right, top] with left < right and bottom < top, x before y"
    );
    Err(Error::setting("target.bbox", problem))
}

fn cropped(grid: &Grid, key: &str, extent: &Extent) -> Result<Grid> {
    named(grid.cropped(extent), key)
}

/// A grid that cannot be, by the key at fault.
fn named(grid: Result<Grid>, key: &str) -> Result<Grid> {
    grid.map_err(|error| match error {
        Error::Grid { problem, .. } => Error::setting(key, problem),
        other => other,
    })
}
