//! What a series looks like, known before its first block: grid, bands, dates, tiles and settings.

use std::sync::Arc;

use super::{OutputSpace, Settings};
use crate::geometry::{Date, Grid};
use crate::model::SpectralBasis;

/// What a sink is told before the first block.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SeriesLayout {
    /// The target grid.
    pub grid: Grid,
    /// Names of the bands.
    pub bands: Vec<String>,
    /// The spectral basis of the bands, where there is one.
    pub basis: Option<Arc<SpectralBasis>>,
    /// What blocks hold: bands, or components of the basis.
    pub space: OutputSpace,
    /// Unit of the bands.
    pub unit: String,
    /// Instrument and band of each offset that blocks hold beside; none by default.
    pub offsets: Vec<String>,
    /// Dates in order.
    pub dates: Vec<Date>,
    /// Dates of the axis that each result waited for; 0 when it was filtered.
    pub lag: usize,
    /// Cells per tile (rows, columns): blocks come in this shape, clipped at the grid's edge.
    pub tile_shape: (usize, usize),
    /// What the series is made with.
    pub settings: Settings,
}

impl SeriesLayout {
    /// Layers of a block's means and of its uncertainties.
    #[must_use]
    pub fn layers(&self) -> (usize, usize) {
        let components = self.basis.as_ref().map_or(self.bands.len(), |basis| basis.components());
        self.space.layers(self.bands.len(), components)
    }

    /// How many of the first `dates` dates will not change when the series is appended to: with a lag, the last ones of a
    /// series wait for dates to come.
    #[must_use]
    pub fn settled(&self, dates: usize) -> usize {
        dates.min(self.dates.len().saturating_sub(self.lag))
    }
}
