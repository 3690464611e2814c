//! Location of a raster on the lattice of its stack.

use crate::error::Result;
use crate::geometry::{Grid, PixelRegion};

/// The pixels of a raster in cells of the stack: of the same size, or larger or smaller by an integer factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StackLocation {
    /// Upper-left corner, in units of the smaller of cell and pixel.
    row: i64,
    col: i64,
    /// Number of own pixels.
    rows: usize,
    cols: usize,
    /// Stack cells per own pixel, (rows, columns).
    cells: (usize, usize),
    /// Own pixels per stack cell.
    pixels: (usize, usize),
}

/// Largest distance of a ratio of cell sizes from an integer before the lattices are compared.
const RATIO_TOLERANCE: f64 = 1e-4;

impl StackLocation {
    /// The location of `grid` on the lattice of `stack`, or the problem when its lines do not fall on lines of the
    /// lattice.
    pub(super) fn new(stack: &Grid, grid: &Grid) -> Result<Self, String> {
        let ((w, h), (own_w, own_h)) = (stack.cell_size(), grid.cell_size());
        let ratio = |own: f64, cell: f64| {
            let (up, down) = (own / cell, cell / own);
            let integer = |ratio: f64| {
                (ratio >= 0.5 && (ratio / ratio.round() - 1.0).abs() < RATIO_TOLERANCE)
                    .then_some(ratio.round() as usize)
            };
            integer(up).map(|up| (up, 1)).or(integer(down).map(|down| (1, down)))
        };
        let (Some((up_rows, down_rows)), Some((up_cols, down_cols))) = (ratio(own_h, h), ratio(own_w, w)) else {
            return Err(format!("cells of {own_w} x {own_h}, which neither divide nor are made of cells of {w} x {h}"));
        };
        let unaligned = || format!("grid of {grid}, whose lines do not fall on those of {stack}");
        let fine = |grid: &Grid, rows: usize, cols: usize| refined(grid, (rows, cols)).map_err(|_| unaligned());
        let lattice = fine(stack, down_rows, down_cols)?;
        let (row, col) = lattice.lattice_offset(&fine(grid, up_rows, up_cols)?).ok_or_else(unaligned)?;
        let (rows, cols) = grid.shape();
        Ok(Self { row, col, rows, cols, cells: (up_rows, up_cols), pixels: (down_rows, down_cols) })
    }

    /// Whether pixels are cells.
    pub(super) fn is_same(&self) -> bool {
        self.cells == (1, 1) && self.pixels == (1, 1)
    }

    /// Whether some cell of the stack contains several pixels.
    pub(super) fn is_finer(&self) -> bool {
        self.pixels != (1, 1)
    }

    /// Pixels per stack cell, (rows, columns).
    pub(super) fn pixels_per_cell(&self) -> (usize, usize) {
        self.pixels
    }

    /// Stack cells per pixel, (rows, columns).
    pub(super) fn cells_per_pixel(&self) -> (usize, usize) {
        self.cells
    }

    /// [top, bottom, left, right] of the stack cells that the raster covers, also in part, counted from the current
    /// origin.
    pub(super) fn cover(&self) -> [i64; 4] {
        let (down_rows, down_cols) = (self.pixels.0 as i64, self.pixels.1 as i64);
        let bottom = self.row + (self.rows * self.cells.0) as i64;
        let right = self.col + (self.cols * self.cells.1) as i64;
        let ceil = |a: i64, b: i64| -(-a).div_euclid(b);
        [
            self.row.div_euclid(down_rows),
            ceil(bottom, down_rows),
            self.col.div_euclid(down_cols),
            ceil(right, down_cols),
        ]
    }

    /// The same location counted from another corner.
    pub(super) fn counted_from(self, top: i64, left: i64) -> Self {
        Self { row: self.row - top * self.pixels.0 as i64, col: self.col - left * self.pixels.1 as i64, ..self }
    }

    /// The stack cells that the raster covers; some may lie beyond the end of the stack.
    pub(super) fn cells(&self) -> PixelRegion {
        let [top, bottom, left, right] = self.cover().map(|edge| edge.max(0) as usize);
        PixelRegion::new(top..bottom, left..right)
    }

    /// Own rows or columns under a range of cells, unclipped.
    fn span(first: i64, cells: i64, pixels: i64, range: &std::ops::Range<usize>) -> std::ops::Range<i64> {
        let start = (range.start as i64 * pixels - first).div_euclid(cells);
        let end = if range.is_empty() { start } else { (range.end as i64 * pixels - first - 1).div_euclid(cells) + 1 };
        start..end
    }

    fn spans(&self, region: &PixelRegion) -> (std::ops::Range<i64>, std::ops::Range<i64>) {
        (
            Self::span(self.row, self.cells.0 as i64, self.pixels.0 as i64, &region.rows),
            Self::span(self.col, self.cells.1 as i64, self.pixels.1 as i64, &region.cols),
        )
    }

    /// Own pixels under a region of the stack, with a margin of `margin` pixels, clipped to the raster.
    pub(super) fn window(&self, region: &PixelRegion, margin: usize) -> PixelRegion {
        let clip = |range: std::ops::Range<i64>, n: usize| {
            let clip = |edge: i64| edge.clamp(0, n as i64) as usize;
            clip(range.start - margin as i64)..clip(range.end + margin as i64)
        };
        let (rows, cols) = self.spans(region);
        PixelRegion::new(clip(rows, self.rows), clip(cols, self.cols))
    }

    /// Assigns to every cell of `region`, row by row, the folded `values` (of `window`) of the pixels in it, or
    /// `outside` where there is no pixel.
    pub(super) fn spread<T: Copy>(
        &self,
        window: &PixelRegion,
        values: &[T],
        region: &PixelRegion,
        outside: T,
        fold: impl Fn(T, T) -> T,
        mut give: impl FnMut(usize, T),
    ) {
        let index = |range: std::ops::Range<i64>, held: &std::ops::Range<usize>| {
            let all = range.start >= held.start as i64 && range.end <= held.end as i64;
            all.then(|| (range.start as usize - held.start)..(range.end as usize - held.start))
        };
        let columns: Vec<_> = region
            .cols
            .clone()
            .map(|col| {
                index(Self::span(self.col, self.cells.1 as i64, self.pixels.1 as i64, &(col..col + 1)), &window.cols)
            })
            .collect();
        let width = window.cols.len();
        for (k, row) in region.rows.clone().enumerate() {
            let rows =
                index(Self::span(self.row, self.cells.0 as i64, self.pixels.0 as i64, &(row..row + 1)), &window.rows);
            let cells = columns.iter().enumerate().map(|(j, cols)| (k * columns.len() + j, cols));
            let Some(rows) = rows else {
                cells.for_each(|(cell, _)| give(cell, outside));
                continue;
            };
            if self.is_finer() {
                for (cell, cols) in cells {
                    let lines = rows.clone().map(|row| &values[row * width..(row + 1) * width]);
                    let held = cols.iter().flat_map(|cols| lines.clone().flat_map(|line| &line[cols.clone()]));
                    give(cell, held.copied().reduce(&fold).unwrap_or(outside));
                }
            } else {
                let line = &values[rows.start * width..(rows.start + 1) * width];
                cells.for_each(|(cell, cols)| give(cell, cols.as_ref().map_or(outside, |cols| line[cols.start])));
            }
        }
    }
}

/// The grid with every cell cut into (rows, columns).
pub(super) fn refined(grid: &Grid, (rows, cols): (usize, usize)) -> Result<Grid> {
    let [left, w, _, top, _, h] = grid.geotransform();
    let shape = (grid.rows() * rows, grid.cols() * cols);
    Grid::new(grid.crs().clone(), [left, w / cols as f64, 0.0, top, 0.0, h / rows as f64], shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Crs;

    fn grid(left: f64, top: f64, cell: f64, shape: (usize, usize)) -> Grid {
        Grid::new(Crs::unknown(), [left, cell, 0.0, top, 0.0, -cell], shape).unwrap()
    }

    #[test]
    fn coarser_pixels_are_repeated_and_finer_ones_folded() {
        let stack = grid(0.0, 0.0, 20.0, (4, 6));
        let coarse = StackLocation::new(&stack, &grid(-40.0, 20.0, 60.0, (2, 2))).unwrap();
        assert_eq!(coarse.cover(), [-1, 5, -2, 4]);
        let region = PixelRegion::new(1..4, 0..5);
        let window = coarse.window(&region, 0);
        assert_eq!(window, PixelRegion::new(0..2, 0..2));
        let mut out = vec![0; region.len()];
        coarse.spread(&window, &[1, 2, 3, 4], &region, 9, |a, _| a, |k, v| out[k] = v);
        assert_eq!(out, [1, 2, 2, 2, 9, 3, 4, 4, 4, 9, 3, 4, 4, 4, 9]);

        let fine = StackLocation::new(&stack, &grid(30.0, 0.0, 10.0, (8, 4))).unwrap();
        assert!(fine.is_finer());
        assert_eq!(fine.cover(), [0, 4, 1, 4]);
        let region = PixelRegion::new(0..2, 0..4);
        let window = fine.window(&region, 0);
        assert_eq!(window, PixelRegion::new(0..4, 0..4));
        let values: Vec<i32> = (0..16).collect();
        let mut out = vec![0; region.len()];
        fine.spread(&window, &values, &region, -1, i32::max, |k, v| out[k] = v);
        // Cells that the raster covers in part count as outside.
        assert_eq!(out, [-1, -1, 6, -1, -1, -1, 14, -1]);
        assert_eq!(fine.counted_from(1, 1).cover(), [-1, 3, 0, 3]);
    }

    #[test]
    fn lattices_that_do_not_fit_are_refused() {
        let stack = grid(0.0, 0.0, 20.0, (4, 6));
        for (other, says) in [
            (grid(0.0, 0.0, 30.0, (4, 4)), "neither divide"),
            (grid(5.0, 0.0, 20.0, (4, 4)), "do not fall"),
            (grid(10.0, 0.0, 60.0, (4, 4)), "do not fall"),
        ] {
            assert!(StackLocation::new(&stack, &other).unwrap_err().contains(says), "{other}");
        }
        assert!(StackLocation::new(&stack, &grid(10.0, 0.0, 10.0, (4, 4))).is_ok());
    }
}
