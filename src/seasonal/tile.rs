//! The fitted seasonal mean of one tile.

use ndarray::{Array3, Array4};

use crate::geometry::PixelRegion;

/// The fitted cells of a tile.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SeasonalTile {
    /// Cells of the target grid.
    pub region: PixelRegion,
    /// Coefficients in u, **shape** (component, term, y, x).
    pub coefficients: Array4<f32>,
    /// Standard deviation of the observations about the curve in u, with lower weights for outliers; **shape**
    /// (component, y, x).
    pub scatter: Array3<f32>,
}
