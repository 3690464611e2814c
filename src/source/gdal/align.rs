//! Choice of the grid of a view: aligned with the target grid, with pixels about as large as those of the rasters.

use std::cmp::Reverse;

use super::transform::CrsTransform;
use super::turn::Turned;
use super::view::{KEY, Resampling, View};
use super::{Drivers, Lines, RasterHeader};
use crate::error::{Error, Result};
use crate::geometry::{Grid, Rect};

/// Pixels of context that a view adds around the target grid.
const MARGIN: i64 = 2;

/// Largest distance, in cells, from a raster edge to a target line at which the edge counts as lying on the line.
const EDGE_TOLERANCE: f64 = 1e-3;

/// Largest difference from a half at which a place lies between two lines, in cells or pixels: rounding must not choose
/// other lines for a file of another extent.
const TIE: f64 = 1e-6;

/// Largest distance from the target, in cells. Points farther away are clamped to it.
const FAR: i64 = 1 << 60;

/// Sample points per side of the target grid, and per side of a raster, in the test for overlap.
const SAMPLES: usize = 32;

/// Largest memory for the source pixels of one block of a view, all bands together, in float64.
const BLOCK_BYTES: f64 = 2.0 * 1024.0 * 1024.0;

/// Smallest and largest side of a block of a view, in pixels, where memory allows.
const BLOCK: (usize, usize) = (64, 256);

/// Chooses the grid of a view from the headers of all rasters that are read on it and reach the target.
///
/// A pixel spans an integer number of target cells, as close as possible to the size of the rasters' pixels at the
/// middle of the target. The grid lines are the target lines closest to those of most rasters there, whatever their
/// order: one raster more or less does not move them. A series that is continued keeps its lines. The view covers the
/// target.
#[derive(Debug)]
pub(in crate::source) struct Aligned {
    target: Grid,
    /// View pixels that fit some raster, with the number of rasters that they fit. Sizes in cells are equal.
    candidates: Vec<(ViewPixels, usize)>,
    /// The last raster grid that was tested, and what came of it. Most stacks have a single grid.
    last: Option<(Grid, Option<ViewPixels>)>,
    /// The lines on which rasters were read before.
    kept: Option<Lines>,
}

/// Size and origin of the pixels of a view.
#[derive(Clone, Copy, Debug)]
struct ViewPixels {
    /// (rows, columns) of target cells in each.
    cells: (i64, i64),
    /// (row, column) of a target cell at which a pixel begins.
    begin: (i64, i64),
    /// Size of a native pixel in pixels of the view, across and down.
    native: (f64, f64),
    block: (usize, usize),
}

impl Aligned {
    pub(in crate::source) fn new(target: &Grid) -> Self {
        Self { target: target.clone(), candidates: Vec::new(), last: None, kept: None }
    }

    /// Takes the lines on which rasters were read before, whatever files are still there; where pixels have the same size.
    pub(in crate::source) fn keeping(self, kept: Option<Lines>) -> Self {
        Self { kept, ..self }
    }

    /// Adds a raster; `what` names it in messages. Returns the size of its pixels in pixels of the view, across and
    /// down, or `None` where it does not reach the target: it then decides nothing.
    ///
    /// # Errors
    /// [`Error::CrsMismatch`] when either CRS is unknown; [`Error::Setting`] when the raster reaches the target, but
    /// the middle of the target lies outside the domain of its CRS, or its pixels differ in size from those of
    /// earlier rasters.
    pub(in crate::source) fn add(&mut self, what: &str, native: &RasterHeader) -> Result<Option<(f64, f64)>> {
        let fitting = match &self.last {
            Some((grid, fitting)) if *grid == native.grid => *fitting,
            _ => self.fitting(what, native)?,
        };
        if let Some(pixels) = fitting {
            match self.candidates.iter_mut().find(|(other, _)| other.begin == pixels.begin) {
                Some((_, rasters)) => *rasters += 1,
                None => self.candidates.push((pixels, 1)),
            }
        }
        self.last = Some((native.grid.clone(), fitting));
        Ok(fitting.map(|pixels| pixels.native))
    }

    /// The view pixels that fit a raster, if it reaches the target.
    fn fitting(&self, what: &str, native: &RasterHeader) -> Result<Option<ViewPixels>> {
        let turned = Turned::new(what, &native.grid, &self.target)?.grid;
        let transform = CrsTransform::new(what, &turned, &self.target)?.around(&turned, &self.target);
        let turned = &RasterHeader { grid: turned, ..native.clone() };
        let pixels = self.pixels_of(what, turned, &transform);
        let cells = pixels.as_ref().map_or((1, 1), |pixels| pixels.cells);
        if !self.meets(&turned.grid, cells, &transform) {
            return Ok(None);
        }
        let pixels = pixels?;
        let first = self.candidates.first().map_or(pixels, |(first, _)| *first);
        if first.cells != pixels.cells {
            let ((rows, cols), (expected_rows, expected_cols)) = (pixels.cells, first.cells);
            return Err(Error::setting(
                KEY,
                format!(
                    "pixels of {what} are {rows} x {cols} target cells, but {expected_rows} x {expected_cols} in the first \
                     file; make an instrument of each size"
                ),
            ));
        }
        Ok(Some(pixels))
    }

    /// A view of the added rasters. Files with another purpose on the same grid, such as quality flags, use a view
    /// with their own resampling.
    ///
    /// # Errors
    /// [`Error::Setting`] when no raster reaches the target.
    pub(in crate::source) fn view(&self, resampling: Resampling) -> Result<View> {
        let most = |(pixels, rasters): &&(ViewPixels, usize)| (*rasters, Reverse(pixels.begin));
        let Some((pixels, _)) = self.candidates.iter().max_by_key(most).copied() else {
            return Err(Error::setting(
                KEY,
                format!(
                    "no file reaches the target grid ({}); take the instrument out, or correct the CRS or the geotransform of its \
                     files",
                    self.target
                ),
            ));
        };
        let ViewPixels { cells, native, block, .. } = pixels;
        let begin = self.kept.filter(|kept| kept.cells == cells).map_or(pixels.begin, |kept| kept.begin);
        // Pixels that cover the cells, counted from `begin`. The view covers all of the target, whatever part the
        // rasters cover, so that the grid does not change when a raster is added.
        let covered = self.padded(cells);
        let rows = (covered.top - begin.0).div_euclid(cells.0)..(covered.bottom - 1 - begin.0).div_euclid(cells.0) + 1;
        let cols = (covered.left - begin.1).div_euclid(cells.1)..(covered.right - 1 - begin.1).div_euclid(cells.1) + 1;
        let (width, height) = self.target.cell_size();
        let [left, _, _, top, _, _] = self.target.geotransform();
        let geotransform = [
            left + (begin.1 + cols.start * cells.1) as f64 * width,
            width * cells.1 as f64,
            0.0,
            top - (begin.0 + rows.start * cells.0) as f64 * height,
            0.0,
            -height * cells.0 as f64,
        ];
        let shape = ((rows.end - rows.start) as usize, (cols.end - cols.start) as usize);
        let block = (block.0.min(shape.0), block.1.min(shape.1));
        Ok(View {
            grid: Grid::new(self.target.crs().clone(), geotransform, shape)?,
            resampling,
            native,
            lines: Lines { cells, begin },
            block,
            nodata: Vec::new(),
            rule: None,
            assumed: None,
            drivers: Drivers::default(),
        })
    }

    /// The view pixels that fit this raster.
    fn pixels_of(&self, what: &str, native: &RasterHeader, transform: &CrsTransform) -> Result<ViewPixels> {
        let unreachable = || {
            Error::setting(
                KEY,
                format!("{what}: the middle of the target grid ({}) is nowhere in its CRS", self.target),
            )
        };
        let extent = self.target.extent();
        let (x, y) = (f64::midpoint(extent.left, extent.right), f64::midpoint(extent.bottom, extent.top));
        let (u, v) = transform.to_native(x, y).ok_or_else(unreachable)?;
        let (pixel_width, pixel_height) = native.grid.cell_size();
        let step = |du: f64, dv: f64| {
            let (x0, y0) = transform.to_target(u - du / 2.0, v - dv / 2.0)?;
            let (x1, y1) = transform.to_target(u + du / 2.0, v + dv / 2.0)?;
            Some((x1 - x0, y1 - y0))
        };
        let across = step(pixel_width, 0.0).ok_or_else(unreachable)?;
        let down = step(0.0, pixel_height).ok_or_else(unreachable)?;
        let (mut size_x, mut size_y) = (across.0.hypot(across.1), down.0.hypot(down.1));
        // Near a pole, the axes of two CRS may be swapped.
        if across.0.abs() < across.1.abs() {
            (size_x, size_y) = (size_y, size_x);
        }
        let (width, height) = self.target.cell_size();
        let whole_cells = |size: f64, cell: f64| ((size / cell).round() as i64).max(1);
        let cells = (whole_cells(size_y, height), whole_cells(size_x, width));
        let native_size = (size_x / (width * cells.1 as f64), size_y / (height * cells.0 as f64));

        // The native pixel corner nearest to the middle, and the target corner nearest to it.
        let [left, _, _, top, _, _] = native.grid.geotransform();
        let corner_u = left + rounded((u - left) / pixel_width) * pixel_width;
        let corner_v = top - rounded((top - v) / pixel_height) * pixel_height;
        let (corner_x, corner_y) = transform.to_target(corner_u, corner_v).ok_or_else(unreachable)?;
        let begin = (rounded((extent.top - corner_y) / height), rounded((corner_x - extent.left) / width));
        let begin = ((begin.0 as i64).rem_euclid(cells.0), (begin.1 as i64).rem_euclid(cells.1));
        Ok(ViewPixels { cells, begin, native: native_size, block: block_shape(native, native_size) })
    }

    /// The cells of the target and of the margin around it.
    fn padded(&self, cells: (i64, i64)) -> Rect {
        let (rows, cols) = self.target.shape();
        let (margin_rows, margin_cols) = (MARGIN * cells.0, MARGIN * cells.1);
        Rect::new(-margin_rows..rows as i64 + margin_rows, -margin_cols..cols as i64 + margin_cols)
    }

    /// Whether a raster covers any cell of the target or of its margin, as far as sample points show.
    ///
    /// The test runs in both directions, because either grid may be far too large for the CRS of the other: points of
    /// the target are tested against the raster, and points of the raster's edge against the target.
    fn meets(&self, native: &Grid, cells: (i64, i64), transform: &CrsTransform) -> bool {
        let padded = self.padded(cells);
        let hit = |rect: Rect| !rect.intersection(&padded).is_empty();
        let extent = native.extent();
        if matches!(transform, CrsTransform::Same) {
            let (first, last) =
                (self.cell((extent.left, extent.top), 1.0), self.cell((extent.right, extent.bottom), -1.0));
            return hit(Rect::new(first.0..last.0 + 1, first.1..last.1 + 1));
        }
        let (pixel_width, pixel_height) = native.cell_size();
        let holds = |(u, v): (f64, f64)| {
            (extent.left - pixel_width..=extent.right + pixel_width).contains(&u)
                && (extent.bottom - pixel_height..=extent.top + pixel_height).contains(&v)
        };
        let part = |k: usize, from: i64, to: i64| from + (to - from) * k as i64 / SAMPLES as i64;
        let corners = |i: usize, j: usize| {
            self.corner(part(i, padded.top, padded.bottom) as f64, part(j, padded.left, padded.right) as f64)
        };
        // The corners and the middle of each patch of the target.
        let patch = |(i, j): (usize, usize)| {
            let ((x, y), (x2, y2)) = (corners(i, j), corners(i + 1, j + 1));
            [(f64::midpoint(x, x2), f64::midpoint(y, y2)), (x, y), (x2, y), (x, y2), (x2, y2)]
        };
        let mut points = (0..SAMPLES).flat_map(|i| (0..SAMPLES).map(move |j| (i, j))).flat_map(patch);
        if points.any(|(x, y)| transform.to_native(x, y).is_some_and(holds)) {
            return true;
        }
        let edge = |k: usize, a: (f64, f64), b: (f64, f64)| {
            let t = k as f64 / SAMPLES as f64;
            (a.0 + t * (b.0 - a.0), a.1 + t * (b.1 - a.1))
        };
        let outline = [
            (extent.left, extent.top),
            (extent.right, extent.top),
            (extent.right, extent.bottom),
            (extent.left, extent.bottom),
            (extent.left, extent.top),
        ];
        let line = outline.windows(2).flat_map(|pair| (0..SAMPLES).map(move |k| edge(k, pair[0], pair[1])));
        let line: Vec<_> = line.chain([outline[0]]).map(|(u, v)| transform.to_target(u, v)).collect();
        line.windows(2).any(|pair| {
            let [Some(a), Some(b)] = *pair else { return false };
            let (a, b) = (self.cell(a, 0.0), self.cell(b, 0.0));
            // The line between the points is slightly curved.
            let along = |a: i64, b: i64, around: i64| a.min(b) - around..a.max(b) + 1 + around;
            hit(Rect::new(along(a.0, b.0, cells.0), along(a.1, b.1, cells.1)))
        })
    }

    /// (x, y) of a corner of the target's lattice.
    fn corner(&self, row: f64, col: f64) -> (f64, f64) {
        let ((width, height), extent) = (self.target.cell_size(), self.target.extent());
        (extent.left + col * width, extent.top - row * height)
    }

    /// (row, column) of the cell that contains a point. A point on a line belongs to the cell below and to the right
    /// (`side` 1) or above and to the left (-1). Distant points are clamped.
    fn cell(&self, (x, y): (f64, f64), side: f64) -> (i64, i64) {
        let ((width, height), extent) = (self.target.cell_size(), self.target.extent());
        let index = |value: f64| ((value + side * EDGE_TOLERANCE).floor() as i64).clamp(-FAR, FAR);
        (index((extent.top - y) / height), index((x - extent.left) / width))
    }
}

/// The nearest whole number; the larger one of two that are equally near, but for rounding.
fn rounded(place: f64) -> f64 {
    (place + 0.5 + TIE).floor()
}

/// A block shape close to the file's own, within the memory for source pixels.
fn block_shape(native: &RasterHeader, size: (f64, f64)) -> (usize, usize) {
    let (rows, cols) = native.block_shape.unwrap_or(BLOCK);
    let pixels = BLOCK_BYTES / (8.0 * native.bands.len().max(1) as f64) * size.0.min(1.0) * size.1.min(1.0);
    let side = pixels.sqrt() as usize;
    let fit = |length: usize| length.clamp(BLOCK.0, BLOCK.1).min(side).max(1);
    (fit(rows), fit(cols))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_the_same_way_whatever_their_rounding() {
        for place in [2.5, 2.5 - 1e-9, 2.5 + 1e-9] {
            assert_eq!((rounded(place), rounded(place - 5.0)), (3.0, -2.0));
        }
        assert_eq!([2.49, -2.51, 0.0].map(rounded), [2.0, -3.0, 0.0]);
    }
}
