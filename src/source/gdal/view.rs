//! A grid that rasters of another grid or CRS are read on.

use super::RasterHeader;
use crate::error::Result;
use crate::geometry::{Crs, Grid};

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
    /// Size of a native pixel in pixels of the view, across and down.
    pub(super) native: (f64, f64),
    /// (rows, columns) that are resampled at once.
    pub(super) block: (usize, usize),
    /// Stored number that is missing whatever the file says.
    pub(super) nodata: Option<f64>,
    /// CRS of files that do not tell theirs.
    pub(super) assumed: Option<Crs>,
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

    /// Size of a native pixel in pixels of the view, across and down.
    pub(in crate::source) fn native(&self) -> (f64, f64) {
        self.native
    }

    /// How far away, in pixels of the view along an axis, native pixels (of this size there) are at most that a value comes
    /// from beside those under it.
    pub(in crate::source) fn reach(&self, native: f64) -> f64 {
        // Kernels of interpolation are widened to whole pixels of the view where those are larger.
        let widened = native / Self::scale(native);
        match self.resampling {
            Resampling::Nearest => 0.0,
            // Averages take in native pixels of which they hold a part.
            Resampling::Average => native,
            Resampling::Bilinear => widened,
            Resampling::Cubic => 2.0 * widened,
        }
    }

    /// How much kernels are widened along an axis: pixels of the view per native pixel, where those are notably smaller.
    pub(super) fn scale(native: f64) -> f64 {
        if native > 0.9 { 1.0 } else { native }
    }

    /// Memory that a file of this header takes while it is open as this view.
    pub(in crate::source) fn open_bytes(&self, native: &RasterHeader) -> u64 {
        let pixels = (self.block.0 * self.block.1) as f64;
        let across = |pixels: usize, native: f64| pixels as f64 / Self::scale(native) + 4.0;
        let sources = across(self.block.0, self.native.1) * across(self.block.1, self.native.0);
        // A value and a validity bit each, on either side; rotated blocks come from up to twice their area.
        let resampled = 9.0 * (pixels + 2.0 * sources) * native.bands.len() as f64;
        native.open_bytes + 2 * super::HANDLE_BYTES + resampled as u64
    }

    /// The same for rasters of flags or classes with pixels of their own size: the pixel that holds the point, of pixels cut so
    /// small that about every native one is looked at; with the (rows, columns) of them in each pixel of this view.
    ///
    /// # Errors
    /// [`Error::Grid`](crate::Error::Grid) when that makes too many.
    pub(in crate::source) fn of_flags(&self, cut: (usize, usize)) -> Result<Self> {
        let [left, width, _, top, _, step] = self.grid.geotransform();
        let (rows, cols) = self.grid.shape();
        let geotransform = [left, width / cut.1 as f64, 0.0, top, 0.0, step / cut.0 as f64];
        let grid = Grid::new(self.grid.crs().clone(), geotransform, (rows * cut.0, cols * cut.1))?;
        Ok(Self {
            grid,
            resampling: Resampling::Nearest,
            native: (1.0, 1.0),
            block: self.block,
            nodata: None,
            assumed: self.assumed.clone(),
        })
    }

    /// Numbers that are missing beside those that a file says are.
    pub(in crate::source) fn nodata(self, nodata: Option<f64>) -> Self {
        Self { nodata, ..self }
    }

    /// The CRS of files that do not tell theirs.
    pub(in crate::source) fn assuming(self, crs: Option<Crs>) -> Self {
        Self { assumed: crs, ..self }
    }
}
