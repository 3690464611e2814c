//! Regions of pixels of a raster, and rectangles of cells of the target lattice.

use std::ops::Range;

/// Half-open rows × columns of pixels of one raster, counted from its upper-left corner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PixelRegion {
    /// Rows, downwards.
    pub rows: Range<usize>,
    /// Columns, rightwards.
    pub cols: Range<usize>,
}

impl PixelRegion {
    /// The region of these rows and columns.
    #[must_use]
    pub fn new(rows: Range<usize>, cols: Range<usize>) -> Self {
        Self { rows, cols }
    }

    /// The region, cut along the lines of windows of so many (rows, columns) that start at the upper-left corner of the
    /// raster.
    #[cfg_attr(
        not(any(feature = "gdal", feature = "zarr")),
        allow(dead_code, reason = "rasters and stores alone have blocks")
    )]
    pub(crate) fn parts(&self, (rows, cols): (usize, usize)) -> impl Iterator<Item = Self> + use<> {
        let cut = |range: Range<usize>, step: usize| {
            (range.start / step..range.end.div_ceil(step))
                .map(move |k| range.start.max(k * step)..range.end.min(k.saturating_add(1).saturating_mul(step)))
        };
        let (across, cols_range) = (cols, self.cols.clone());
        cut(self.rows.clone(), rows)
            .flat_map(move |rows| cut(cols_range.clone(), across).map(move |cols| Self::new(rows.clone(), cols)))
    }

    /// (rows, columns).
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.rows.len(), self.cols.len())
    }

    /// Number of pixels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len() * self.cols.len()
    }

    /// Whether it holds no pixel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() || self.cols.is_empty()
    }

    /// The smallest region that holds both.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        let hull = |a: &Range<usize>, b: &Range<usize>| a.start.min(b.start)..a.end.max(b.end);
        Self { rows: hull(&self.rows, &other.rows), cols: hull(&self.cols, &other.cols) }
    }

    /// The pixels in both regions; may be empty.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let overlap = |a: &Range<usize>, b: &Range<usize>| {
            let start = a.start.max(b.start);
            start..a.end.min(b.end).max(start)
        };
        Self { rows: overlap(&self.rows, &other.rows), cols: overlap(&self.cols, &other.cols) }
    }
}

/// Half-open rows × columns of cells of the target *lattice*. It extends beyond the grid, so coordinates may be
/// negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rect {
    /// First row.
    pub top: i64,
    /// Row after the last.
    pub bottom: i64,
    /// First column.
    pub left: i64,
    /// Column after the last.
    pub right: i64,
}

impl Rect {
    /// The rectangle of these rows and columns.
    #[must_use]
    pub fn new(rows: Range<i64>, cols: Range<i64>) -> Self {
        Self { top: rows.start, bottom: rows.end, left: cols.start, right: cols.end }
    }

    /// One cell.
    #[must_use]
    pub fn cell(row: i64, col: i64) -> Self {
        Self { top: row, bottom: row + 1, left: col, right: col + 1 }
    }

    /// Number of cells.
    #[must_use]
    pub fn count(&self) -> i64 {
        (self.bottom - self.top).max(0) * (self.right - self.left).max(0)
    }

    /// Whether it holds no cell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// Whether the cell lies inside.
    #[must_use]
    pub fn contains(&self, row: i64, col: i64) -> bool {
        (self.top..self.bottom).contains(&row) && (self.left..self.right).contains(&col)
    }

    /// The cells in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            top: self.top.max(other.top),
            bottom: self.bottom.min(other.bottom),
            left: self.left.max(other.left),
            right: self.right.min(other.right),
        }
    }

    /// The smallest rectangle that contains both.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        Self {
            top: self.top.min(other.top),
            bottom: self.bottom.max(other.bottom),
            left: self.left.min(other.left),
            right: self.right.max(other.right),
        }
    }

    /// The cells inside this rectangle of a grid of `shape` whose first cell is at (row, column) `first` of the
    /// lattice; the nearest cells where none lies inside.
    #[must_use]
    pub fn nearest(&self, first: (i64, i64), shape: (usize, usize)) -> PixelRegion {
        let clamp = |from: i64, to: i64, n: usize| {
            let start = from.clamp(0, n as i64 - 1) as usize;
            start..(to.clamp(1, n as i64) as usize).max(start + 1)
        };
        PixelRegion::new(
            clamp(self.top - first.0, self.bottom - first.0, shape.0),
            clamp(self.left - first.1, self.right - first.1, shape.1),
        )
    }

    /// The cells of `self` outside `hole`, as at most four disjoint rectangles appended to `out`.
    pub fn subtract_into(&self, hole: &Self, out: &mut Vec<Self>) {
        let cut = self.intersection(hole);
        if cut.is_empty() {
            out.push(*self);
            return;
        }
        let pieces = [
            Self { bottom: cut.top, ..*self },
            Self { top: cut.bottom, ..*self },
            Self { top: cut.top, bottom: cut.bottom, right: cut.left, ..*self },
            Self { top: cut.top, bottom: cut.bottom, left: cut.right, ..*self },
        ];
        out.extend(pieces.into_iter().filter(|piece| !piece.is_empty()));
    }

    /// All cells, row by row.
    pub fn cells(&self) -> impl Iterator<Item = (i64, i64)> + use<> {
        let cols = self.left..self.right;
        (self.top..self.bottom).flat_map(move |row| cols.clone().map(move |col| (row, col)))
    }
}

impl From<&PixelRegion> for Rect {
    fn from(region: &PixelRegion) -> Self {
        Self::new(region.rows.start as i64..region.rows.end as i64, region.cols.start as i64..region.cols.end as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_cells_of_a_grid_are_those_inside_or_at_its_edge() {
        let rect = Rect::new(-3..4, 8..12);
        assert_eq!(rect.nearest((0, 0), (10, 10)), PixelRegion::new(0..4, 8..10));
        assert_eq!(rect.nearest((5, 0), (2, 20)), PixelRegion::new(0..1, 8..12));
        assert_eq!(rect.nearest((0, -30), (3, 20)), PixelRegion::new(0..3, 19..20));
    }

    #[test]
    fn subtraction_partitions_the_rest() {
        let whole = Rect::new(-2..5, 0..6);
        for hole in [Rect::new(0..2, 1..3), Rect::new(-9..9, 2..3), Rect::new(-2..5, 0..6), Rect::new(7..9, 0..1)] {
            let mut pieces = Vec::new();
            whole.subtract_into(&hole, &mut pieces);
            let mut cells: Vec<_> = pieces.iter().flat_map(Rect::cells).collect();
            let expected: Vec<_> = whole.cells().filter(|&(r, c)| !hole.contains(r, c)).collect();
            cells.sort_unstable();
            assert_eq!(cells, expected, "{hole:?}");
        }
    }

    #[test]
    fn parts_cover_a_region_once_along_the_lines_of_blocks() {
        let region = PixelRegion::new(3..17, 5..9);
        let mut seen = vec![0; region.len()];
        for part in region.parts((8, 4)) {
            assert_eq!((part.rows.start / 8, part.cols.start / 4), ((part.rows.end - 1) / 8, (part.cols.end - 1) / 4));
            for (row, col) in part.rows.clone().flat_map(|r| part.cols.clone().map(move |c| (r, c))) {
                seen[(row - 3) * 4 + col - 5] += 1;
            }
        }
        assert!(seen.iter().all(|count| *count == 1), "{seen:?}");
        assert_eq!(region.parts((usize::MAX, usize::MAX)).collect::<Vec<_>>(), [region]);
    }
}
