use std::collections::BTreeSet;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::geometry::{Grid, PixelRegion, Rect};

/// What part of the ground one pixel of an instrument sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Footprint {
    /// The pixel is a cell of the target lattice.
    Cell,
    /// The plain average of all cells of the target lattice whose centres lie in the pixel's rectangle, left and top
    /// edges included; the lattice goes on beyond the target grid.
    Uniform,
}

/// The cells of the target lattice under each pixel of an instrument: a rectangle of rows × columns for each.
#[derive(Clone, Debug)]
pub(crate) struct PixelLattice {
    rows: Vec<Range<i64>>,
    cols: Vec<Range<i64>>,
}

impl PixelLattice {
    /// Lays an instrument's grid over the target's; both in the same CRS.
    pub(crate) fn new(target: &Grid, source: &Grid, footprint: Footprint, instrument: &str) -> Result<Self> {
        let refuse = |problem: String| Error::setting(format!("instrument {instrument:?}: footprint"), problem);
        match footprint {
            Footprint::Cell => {
                let Some((row, col)) = target.lattice_offset(source) else {
                    return Err(refuse(format!(
                        "\"cell\" needs pixels that are cells of the target grid, but the source has {source} and the \
                         target {target}; use \"uniform\" for coarser pixels; reproject = \"bilinear\", or warping the files first, \
                         brings others onto the target's lines"
                    )));
                };
                let spans = |first: i64, n: usize| (first..first + n as i64).map(|k| k..k + 1).collect();
                Ok(Self { rows: spans(row, source.rows()), cols: spans(col, source.cols()) })
            }
            Footprint::Uniform => {
                let ((width, height), (pixel_width, pixel_height)) = (target.cell_size(), source.cell_size());
                if pixel_width < width * (1.0 - 1e-6) || pixel_height < height * (1.0 - 1e-6) {
                    return Err(refuse(format!(
                        "pixels of {pixel_width} x {pixel_height} are finer than the target's cells of {width} x \
                         {height}; choose a finer target grid or aggregate the files first"
                    )));
                }
                Ok(Self { rows: target.rows_under(source), cols: target.cols_under(source) })
            }
        }
    }

    /// The cells of one pixel.
    pub(crate) fn rect(&self, row: usize, col: usize) -> Rect {
        Rect::new(self.rows[row].clone(), self.cols[col].clone())
    }

    /// The pixels that cover at least one cell of `rect`.
    pub(crate) fn covering(&self, rect: &Rect) -> PixelRegion {
        let touching = |spans: &[Range<i64>], start: i64, end: i64| {
            let first = spans.partition_point(|span| span.end <= start);
            first..spans.partition_point(|span| span.start < end).max(first)
        };
        PixelRegion::new(touching(&self.rows, rect.top, rect.bottom), touching(&self.cols, rect.left, rect.right))
    }

    /// Largest extent of a footprint in (rows, columns) of cells.
    pub(crate) fn largest(&self) -> (i64, i64) {
        let longest = |spans: &[Range<i64>]| spans.iter().map(|span| span.end - span.start).max().unwrap_or(0);
        (longest(&self.rows), longest(&self.cols))
    }

    /// The cell under the first pixel, where every pixel is a cell and neighbours are neighbours.
    pub(crate) fn first_of_single_cells(&self) -> Option<(i64, i64)> {
        let first = |spans: &[Range<i64>]| {
            let first = spans.first()?.start;
            (first..).zip(spans).all(|(cell, span)| *span == (cell..cell + 1)).then_some(first)
        };
        first(&self.rows).zip(first(&self.cols))
    }

    /// Over all windows that take one of `rows` and one of `cols`: the most pixels that touch a window, and the most of
    /// these that reach beyond it.
    pub(crate) fn most_pixels(
        &self,
        rows: impl Iterator<Item = Range<i64>>,
        cols: impl Iterator<Item = Range<i64>>,
    ) -> (usize, usize) {
        // Touching and wholly inside, along one axis; few combinations occur.
        let counts = |spans: &[Range<i64>], window: Range<i64>| {
            let first = spans.partition_point(|span| span.end <= window.start);
            let end = spans.partition_point(|span| span.start < window.end).max(first);
            let inside = |span: &&Range<i64>| span.start >= window.start && span.end <= window.end;
            (end - first, spans[first..end].iter().filter(inside).count())
        };
        let down: BTreeSet<_> = rows.map(|window| counts(&self.rows, window)).collect();
        let across: BTreeSet<_> = cols.map(|window| counts(&self.cols, window)).collect();
        let both = || down.iter().flat_map(|a| across.iter().map(move |b| (a.0 * b.0, a.1 * b.1)));
        (
            both().map(|(touching, _)| touching).max().unwrap_or(0),
            both().map(|(all, inside)| all - inside).max().unwrap_or(0),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Crs;

    fn grid(x0: f64, y0: f64, size: f64, shape: (usize, usize)) -> Grid {
        Grid::new(Crs::unknown(), [x0, size, 0.0, y0, 0.0, -size], shape).unwrap()
    }

    #[test]
    fn uniform_footprints_go_on_beyond_the_grid() {
        let target = grid(0.0, 0.0, 10.0, (6, 6));
        let lattice = PixelLattice::new(&target, &grid(-17.0, 12.0, 25.0, (4, 4)), Footprint::Uniform, "m").unwrap();
        assert_eq!(lattice.rect(0, 0), Rect::new(-1..1, -2..1));
        assert_eq!(lattice.covering(&Rect::new(0..2, 0..2)), PixelRegion::new(0..2, 0..2));
        assert_eq!(lattice.most_pixels(std::iter::once(0..2), [0..2, 4..6].into_iter()), (4, 4));
        let total: i64 =
            (0..4).flat_map(|r| (0..4).map(move |c| (r, c))).map(|(r, c)| lattice.rect(r, c).count()).sum();
        assert_eq!(total, 100); // a partition: 100 m x 100 m of 10 m cells
    }

    #[test]
    fn misfits_are_refused() {
        let target = grid(0.0, 0.0, 10.0, (6, 6));
        assert!(PixelLattice::new(&target, &grid(5.0, 0.0, 10.0, (6, 6)), Footprint::Cell, "x").is_err());
        assert!(PixelLattice::new(&target, &grid(0.0, 0.0, 5.0, (6, 6)), Footprint::Uniform, "x").is_err());
        let shifted = PixelLattice::new(&target, &grid(20.0, 10.0, 10.0, (3, 3)), Footprint::Cell, "x").unwrap();
        assert_eq!(shifted.rect(0, 0), Rect::cell(-1, 2));
        assert!(shifted.covering(&Rect::new(4..6, 0..6)).is_empty());
    }
}
