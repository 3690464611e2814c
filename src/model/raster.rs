//! Rasters of settings, such as the prior, on the target grid.

use ndarray::Array3;

use crate::error::{Error, Result};
use crate::geometry::{Grid, Rect};
use crate::source::{RasterSource, same_crs};

/// Refuses a raster without dates, or one that does not cover the target grid cell by cell.
pub(super) fn check_cover(key: &str, source: &dyn RasterSource, target: &Grid) -> Result<()> {
    let refuse = |problem: String| Err(Error::setting(key, format!("{}: {problem}", source.origin())));
    if source.dates().is_empty() {
        return refuse("no date".into());
    }
    if !same_crs(source.grid().crs(), target.crs()) {
        return Err(Error::CrsMismatch {
            what: format!("{key} ({})", source.origin()),
            expected: target.crs().clone(),
            found: source.grid().crs().clone(),
        });
    }
    let covers = target.lattice_offset(source.grid()).is_some_and(|(row, col)| {
        let (rows, cols) = (source.grid().rows() as i64, source.grid().cols() as i64);
        row <= 0 && col <= 0 && row + rows >= target.rows() as i64 && col + cols >= target.cols() as i64
    });
    if !covers {
        return refuse(format!("its grid ({}) does not cover the target grid ({target}) cell by cell", source.grid()));
    }
    Ok(())
}

/// Reads bands of the first date over the cells of `rect`, as far as the raster extends: values (band, y, x) and the
/// cell of the target lattice at which they start.
pub(super) fn read_around(
    key: &str,
    source: &dyn RasterSource,
    bands: &[usize],
    target: &Grid,
    rect: &Rect,
) -> Result<(Array3<f64>, (i64, i64))> {
    let (Some(offset), Some(&date)) = (target.lattice_offset(source.grid()), source.dates().first()) else {
        return Err(Error::setting(key, format!("{}: does not fit the target grid", source.origin())));
    };
    let region = rect.nearest(offset, source.grid().shape());
    let values = source.read(date, bands, &region)?.values;
    Ok((values, (region.rows.start as i64 + offset.0, region.cols.start as i64 + offset.1)))
}
