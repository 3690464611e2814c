//! Fused values of one tile on one date: the output of the engine and the input of sinks.

use ndarray::Array3;

use crate::geometry::{Date, PixelRegion};

/// Fused values of one tile on one date.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FusedBlock {
    /// (row, column) of the tile among tiles, which is the output chunk.
    pub tile: (usize, usize),
    /// Its cells of the target grid.
    pub region: PixelRegion,
    /// The date.
    pub date: Date,
    /// Position of the date on the output axis.
    pub time: usize,
    /// Fused values in u. **Shape** (band, y, x); values of components where [these are output](crate::describe::OutputSpace).
    /// [Indices](super::SeriesLayout::indices) follow the bands.
    /// NaN in cells without a prior and without observations, and in windows that failed.
    pub mean: Array3<f64>,
    /// Their standard deviations in u, **shape** (band, y, x). Where components are output, their covariances: the
    /// p(p+1)/2 entries of the lower triangle row by row, **shape** (pair, y, x).
    pub uncertainty: Array3<f64>,
    /// The estimated offsets of instruments, where [requested](crate::engine::FusionBuilder::offsets).
    pub offsets: Option<BlockOffsets>,
}

/// Offsets of instruments, summed over all layers, at the pixel that contains each cell.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BlockOffsets {
    /// Means in u. **Shape** ([offset](super::SeriesLayout::offsets), y, x). NaN where the instrument has no pixel.
    pub mean: Array3<f64>,
    /// Their standard deviations in u, of the same shape.
    pub sd: Array3<f64>,
}
