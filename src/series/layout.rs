//! Description of a series: grid, bands, dates, tiles and settings.

use std::sync::Arc;

use super::{SeriesIdentity, Settings};
use crate::describe::{Encoding, Index, OutputSpace};
use crate::geometry::{Date, Grid};
use crate::spectral::SpectralBasis;

/// Description of a series, which a sink receives before the first block.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SeriesLayout {
    /// The target grid.
    pub grid: Grid,
    /// Names of the bands.
    pub bands: Vec<String>,
    /// The spectral basis of the bands, where there is one.
    pub basis: Option<Arc<SpectralBasis>>,
    /// Contents of blocks: bands, or components of the basis.
    pub space: OutputSpace,
    /// Functions of the bands, which follow these in the blocks; empty by default.
    pub indices: Vec<Index>,
    /// Unit of the bands.
    pub unit: String,
    /// Instrument and band of each offset in the blocks; empty by default.
    pub offsets: Vec<String>,
    /// Dates in order.
    pub dates: Vec<Date>,
    /// Number of dates of the axis that each result waited for; 0 for filtered results.
    pub lag: usize,
    /// Cells per tile (rows, columns): blocks have this shape, clipped at the edge of the grid.
    pub tile_shape: (usize, usize),
    /// How a store holds the numbers.
    pub encoding: Encoding,
    /// Overviews that a store holds, each with cells of twice the size of the one before.
    pub overviews: usize,
    /// Settings of the series.
    pub settings: Settings,
    /// Which series it is.
    pub identity: SeriesIdentity,
}

impl SeriesLayout {
    /// Number of layers of a block's means and of its uncertainties.
    #[must_use]
    pub fn layers(&self) -> (usize, usize) {
        let components = self.basis.as_ref().map_or(self.bands.len(), |basis| basis.components());
        let (means, uncertainties) = self.space.layers(self.bands.len(), components);
        (means + self.indices.len(), uncertainties + self.indices.len())
    }

    /// Names of the bands and of the indices that follow them.
    #[must_use]
    pub fn band_names(&self) -> Vec<String> {
        self.bands.iter().chain(self.indices.iter().map(|index| &index.name)).cloned().collect()
    }

    /// Positions (row, column) of all tiles.
    pub fn tiles(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let ((rows, cols), (tile_rows, tile_cols)) = (self.grid.shape(), self.tile_shape);
        let cols = cols.div_ceil(tile_cols.max(1));
        (0..rows.div_ceil(tile_rows.max(1))).flat_map(move |row| (0..cols).map(move |col| (row, col)))
    }

    /// The number of dates, of the first `dates`, that do not change when the series is appended to. With a lag, the
    /// last dates of a series wait for later ones.
    #[must_use]
    pub fn settled(&self, dates: usize) -> usize {
        dates.min(self.dates.len().saturating_sub(self.lag))
    }
}
