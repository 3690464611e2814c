//! A grid that rasters of another grid or CRS are read on.

use super::RasterHeader;
use crate::geometry::{Grid, PixelRegion};

/// The key that asks for a view.
pub(super) const KEY: &str = "reproject";

/// How values on another grid come from those of the pixels around, among which missing ones never count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resampling {
    /// The pixel that holds the point. The only way for classes and flags.
    Nearest,
    /// Linear in both directions between the four pixels around the point. Exact for planes.
    Bilinear,
    /// Cubic convolution of the sixteen pixels around the point (Keys 1981, a = -1/2). Exact for quadratic surfaces.
    Cubic,
    /// Average of the pixels under the new pixel, by area. For rasters that are much finer than the target's cells.
    Average,
}

impl Resampling {
    /// GDAL's name of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nearest => "NearestNeighbour",
            Self::Bilinear => "Bilinear",
            Self::Cubic => "Cubic",
            Self::Average => "Average",
        }
    }
}

/// A grid that rasters are read on whatever their own.
#[derive(Clone, Debug)]
pub(in crate::source) struct View {
    pub(super) grid: Grid,
    pub(super) resampling: Resampling,
    /// Pixels of the view per native pixel, across and down, at most 1: below, kernels are widened.
    pub(super) scale: (f64, f64),
    /// (rows, columns) that are resampled at once.
    pub(super) block: (usize, usize),
}

impl View {
    pub(in crate::source) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// (rows, columns) that are resampled at once, from the upper-left corner on.
    pub(in crate::source) fn block_shape(&self) -> (usize, usize) {
        self.block
    }

    pub(in crate::source) fn resampling(&self) -> Resampling {
        self.resampling
    }

    /// Memory that a file of this header takes while it is open as this view.
    pub(in crate::source) fn open_bytes(&self, native: &RasterHeader) -> u64 {
        let pixels = (self.block.0 * self.block.1) as f64;
        let sources = (self.block.0 as f64 / self.scale.1 + 4.0) * (self.block.1 as f64 / self.scale.0 + 4.0);
        // A value and a validity bit each, on either side; rotated blocks come from up to twice their area.
        let resampled = 9.0 * (pixels + 2.0 * sources) * native.bands.len() as f64;
        native.open_bytes + 2 * super::HANDLE_BYTES + resampled as u64
    }

    /// The parts of a region that lie in a block each: all bands of one are resampled together and held for a moment only,
    /// so that they should be read one after another.
    pub(in crate::source) fn pieces(&self, region: &PixelRegion) -> Vec<PixelRegion> {
        let cut = |range: &std::ops::Range<usize>, block: usize| {
            let blocks = range.start / block..range.end.div_ceil(block);
            let piece = |k: usize| (k * block).max(range.start)..((k + 1) * block).min(range.end);
            blocks.map(piece).collect::<Vec<_>>()
        };
        if region.is_empty() {
            return Vec::new();
        }
        let (down, across) = (cut(&region.rows, self.block.0), cut(&region.cols, self.block.1));
        down.iter().flat_map(|rows| across.iter().map(|cols| PixelRegion::new(rows.clone(), cols.clone()))).collect()
    }
}
