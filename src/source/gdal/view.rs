//! The grid on which rasters of another grid or CRS are read.

use super::{Drivers, Lines, RasterHeader};
use crate::error::Result;
use crate::geometry::{Crs, Grid};
use crate::source::{Calibration, Quality};

/// The setting that requests a view.
pub(super) const KEY: &str = "reproject";

/// How a value on another grid is computed from the surrounding pixels. Missing pixels never contribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resampling {
    /// The pixel that contains the point. Required for classes and flags.
    Nearest,
    /// Linear in both directions between the four pixels around the point. Exact for planes.
    Bilinear,
    /// Cubic convolution of the sixteen pixels around the point (Keys 1981, a = -1/2). Exact for quadratic surfaces.
    Cubic,
    /// Average of the pixels under the new pixel, by area. For rasters that are much finer than the target's cells.
    Average,
}

impl Resampling {
    /// GDAL's name of the method.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nearest => "NearestNeighbour",
            Self::Bilinear => "Bilinear",
            Self::Cubic => "Cubic",
            Self::Average => "Average",
        }
    }
}

/// A grid on which rasters are read, whatever their own grid.
#[derive(Clone, Debug)]
pub(in crate::source) struct View {
    pub(super) grid: Grid,
    pub(super) resampling: Resampling,
    /// Size of a native pixel in pixels of the view, across and down.
    pub(super) native: (f64, f64),
    /// The lines of its grid among those of the target.
    pub(super) lines: Lines,
    /// (rows, columns) of a block that is resampled at once.
    pub(super) block: (usize, usize),
    /// Stored numbers that mean "missing", in addition to what the file declares.
    pub(super) nodata: Vec<f64>,
    /// Where rasters are flags: the rule that says what their nodata value means.
    pub(super) rule: Option<Quality>,
    /// CRS of files that do not give their own.
    pub(super) assumed: Option<Crs>,
    /// What may open the files.
    pub(super) drivers: Drivers,
}

/// Which values are missing before a file is resampled, in addition to nodata: those of some bands, by position, that lie
/// outside the valid range of a calibration.
#[derive(Clone, Copy, Debug)]
pub(in crate::source) struct Valid<'a> {
    pub(in crate::source) calibration: &'a Calibration,
    pub(in crate::source) bands: &'a [usize],
}

impl Valid<'_> {
    /// Smallest and largest stored number of a band that is valid; a little wider, because the range itself counts after
    /// the resampling.
    pub(super) fn range(&self, band: usize, scale: Option<f64>, offset: Option<f64>) -> Option<(f64, f64)> {
        let (low, high) = self.calibration.valid_range.filter(|_| self.bands.contains(&band))?;
        let scale = self.calibration.scale.or(scale).unwrap_or(1.0);
        let offset = self.calibration.offset.or(offset).unwrap_or(0.0);
        let (a, b) = ((low - offset) / scale, (high - offset) / scale);
        let wider = |bound: f64| 1e-9 * bound.abs().max(1.0);
        let (low, high) = (a.min(b), a.max(b));
        let range = (low - wider(low), high + wider(high));
        (range.0.is_finite() && range.1.is_finite()).then_some(range)
    }
}

impl View {
    pub(in crate::source) fn grid(&self) -> &Grid {
        &self.grid
    }

    /// (rows, columns) of a block that is resampled at once, from the upper-left corner.
    pub(in crate::source) fn block_shape(&self) -> (usize, usize) {
        self.block
    }

    pub(in crate::source) fn resampling(&self) -> Resampling {
        self.resampling
    }

    /// The lines of its grid among those of the target, where others could be taken.
    pub(in crate::source) fn lines(&self) -> Option<Lines> {
        Some(self.lines).filter(|lines| lines.are_chosen())
    }

    /// Size of a native pixel in pixels of the view, across and down.
    pub(in crate::source) fn native(&self) -> (f64, f64) {
        self.native
    }

    /// Largest distance along an axis, in pixels of the view, to a native pixel that contributes to a value, beyond
    /// the native pixels under it. `native` is the size of a native pixel along that axis.
    pub(in crate::source) fn reach(&self, native: f64) -> f64 {
        // GDAL widens interpolation kernels to full pixels of the view where these are larger.
        let widened = native / Self::scale(native);
        match self.resampling {
            Resampling::Nearest => 0.0,
            // An average includes native pixels of which it covers only a part.
            Resampling::Average => native,
            Resampling::Bilinear => widened,
            Resampling::Cubic => 2.0 * widened,
        }
    }

    /// Widening of the kernel along an axis: pixels of the view per native pixel, where native pixels are clearly
    /// smaller.
    pub(super) fn scale(native: f64) -> f64 {
        if native > 0.9 { 1.0 } else { native }
    }

    /// Memory of a file with this header while it is open as this view.
    pub(in crate::source) fn open_bytes(&self, native: &RasterHeader) -> u64 {
        let pixels = (self.block.0 * self.block.1) as f64;
        let across = |pixels: usize, native: f64| pixels as f64 / Self::scale(native) + 4.0;
        let sources = across(self.block.0, self.native.1) * across(self.block.1, self.native.0);
        // A value and a validity bit each, on both sides. Blocks of rotated grids need up to twice their area.
        let resampled = 9.0 * (pixels + 2.0 * sources) * native.bands.len() as f64;
        native.open_bytes + 2 * super::HANDLE_BYTES + resampled as u64
    }

    /// The view for rasters of flags or classes whose pixels have another size. Each pixel of this view is cut into
    /// `cut` (rows, columns), small enough to sample about every native pixel, and each part takes the pixel that
    /// contains its centre.
    ///
    /// # Errors
    /// [`Error::Grid`](crate::Error::Grid) when the cut grid has too many pixels.
    pub(in crate::source) fn for_flags(&self, cut: (usize, usize), rule: &Quality) -> Result<Self> {
        let [left, width, _, top, _, step] = self.grid.geotransform();
        let (rows, cols) = self.grid.shape();
        let geotransform = [left, width / cut.1 as f64, 0.0, top, 0.0, step / cut.0 as f64];
        let grid = Grid::new(self.grid.crs().clone(), geotransform, (rows * cut.0, cols * cut.1))?;
        Ok(Self {
            grid,
            resampling: Resampling::Nearest,
            native: (1.0, 1.0),
            lines: self.lines,
            block: self.block,
            nodata: Vec::new(),
            rule: Some(rule.clone()),
            assumed: self.assumed.clone(),
            drivers: self.drivers.clone(),
        })
    }

    /// Numbers that mean "missing", in addition to those that a file declares.
    pub(in crate::source) fn nodata(self, nodata: Vec<f64>) -> Self {
        Self { nodata, ..self }
    }

    /// The CRS of files that do not give their own.
    pub(in crate::source) fn assuming(self, crs: Option<Crs>) -> Self {
        Self { assumed: crs, ..self }
    }

    /// What may open the files.
    pub(in crate::source) fn opened_by(self, drivers: Drivers) -> Self {
        Self { drivers, ..self }
    }
}
