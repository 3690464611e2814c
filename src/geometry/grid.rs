//! North-up raster grids: cell centres, extents, and the alignment of two grids.

use std::fmt;
use std::ops::Range;

use super::{Crs, PixelRegion};
use crate::error::{Error, Result};

/// Largest distance between two lattice lines, in cells, at which they count as the same line.
///
/// Geotransforms are written with 6 to 17 digits. Across ten thousand cells, rounding at the sixth digit drifts by
/// less than this.
const LATTICE_TOLERANCE: f64 = 1e-3;

/// Longest side of a grid, in cells: half the Earth at one metre.
const LARGEST_SIDE: usize = 20_000_000;

/// Largest distance between a cell centre and a pixel edge, in cells, at which the centre counts as lying on the
/// edge.
const EDGE_TOLERANCE: f64 = 1e-6;

/// A north-up raster grid: CRS, upper-left corner, cell size and shape. Cells need not be square.
///
/// ```
/// use rasterfuse::geometry::{Crs, Grid};
/// let grid = Grid::new(Crs::unknown(), [500_000.0, 30.0, 0.0, 5_000_000.0, 0.0, -20.0], (100, 200))?;
/// assert_eq!(grid.centre(0, 0), (500_015.0, 4_999_990.0));
/// assert_eq!(grid.extent().bottom, 4_998_000.0);
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    crs: Crs,
    left: f64,
    top: f64,
    cell_width: f64,
    cell_height: f64,
    rows: usize,
    cols: usize,
}

/// Outer edges of a grid, in CRS units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Western edge.
    pub left: f64,
    /// Southern edge.
    pub bottom: f64,
    /// Eastern edge.
    pub right: f64,
    /// Northern edge.
    pub top: f64,
}

impl Grid {
    /// A grid from a GDAL geotransform `[x0, dx, 0, y0, 0, -dy]` (upper-left **corner**) and its (rows, columns).
    ///
    /// # Errors
    /// [`Error::Grid`] when the transform is rotated, sheared, mirrored or south-up, not finite, or the shape is
    /// empty.
    pub fn new(crs: Crs, geotransform: [f64; 6], shape: (usize, usize)) -> Result<Self> {
        let [left, cell_width, shear_x, top, shear_y, step_y] = geotransform;
        let problem = if geotransform.iter().any(|v| !v.is_finite()) {
            Some("the geotransform holds values that are not finite".to_owned())
        } else if shear_x != 0.0 || shear_y != 0.0 {
            Some("the geotransform is rotated or sheared; only north-up rasters are read, warp it first".to_owned())
        } else if cell_width <= 0.0 || step_y >= 0.0 {
            let (dx, dy) = (plain(cell_width), plain(step_y));
            Some(format!("cell size ({dx}, {dy}) is not north-up: dx must be positive and dy negative"))
        } else if shape.0.max(shape.1) > LARGEST_SIDE {
            Some(format!("shape {shape:?} has more than {LARGEST_SIDE} cells a side"))
        } else if shape.0 == 0 || shape.1 == 0 {
            Some(format!("shape {shape:?} holds no cell"))
        } else {
            None
        };
        if let Some(problem) = problem {
            return Err(Error::Grid { what: format!("grid {geotransform:?}"), problem });
        }
        Ok(Self { crs, left, top, cell_width, cell_height: -step_y, rows: shape.0, cols: shape.1 })
    }

    /// The grid of cells of one size (width, height) that covers an area. Its lines lie at multiples of the cell size, so
    /// that grids of neighbouring areas fit together; edges that lie on no line move outwards to the next one.
    ///
    /// ```
    /// use rasterfuse::geometry::{Crs, Extent, Grid};
    /// let area = Extent { left: 1003.0, bottom: 40.0, right: 1060.0, top: 95.0 };
    /// let grid = Grid::covering(Crs::unknown(), &area, (10.0, 10.0))?;
    /// assert_eq!((grid.geotransform(), grid.shape()), ([1000.0, 10.0, 0.0, 100.0, 0.0, -10.0], (6, 6)));
    /// # Ok::<(), rasterfuse::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Grid`] when a size is not positive and finite, the area is empty, or it has too many cells.
    pub fn covering(crs: Crs, area: &Extent, cell_size: (f64, f64)) -> Result<Self> {
        let (width, height) = cell_size;
        if !(width > 0.0 && height > 0.0 && width.is_finite() && height.is_finite()) {
            let problem = format!("cells of {width} x {height} must be finite and positive");
            return Err(Error::Grid { what: "grid".into(), problem });
        }
        let (cols, rows) =
            (lines(area.left / width, area.right / width), lines(area.bottom / height, area.top / height));
        let geotransform = [cols.0 * width, width, 0.0, rows.1 * height, 0.0, -height];
        // Too many are counted as such.
        Self::new(crs, geotransform, ((rows.1 - rows.0) as usize, (cols.1 - cols.0) as usize))
    }

    /// The part of this grid whose cells an area touches; edges that lie on no line move outwards to the next one.
    ///
    /// # Errors
    /// [`Error::Grid`] when the area touches no cell.
    pub fn cropped(&self, area: &Extent) -> Result<Self> {
        let down = lines((self.top - area.top) / self.cell_height, (self.top - area.bottom) / self.cell_height);
        let across = lines((area.left - self.left) / self.cell_width, (area.right - self.left) / self.cell_width);
        let inside =
            |(first, last): (f64, f64), cells: usize| (first.clamp(0.0, cells as f64), last.clamp(0.0, cells as f64));
        let (rows, cols) = (inside(down, self.rows), inside(across, self.cols));
        if rows.0 >= rows.1 || cols.0 >= cols.1 {
            let Extent { left, bottom, right, top } = area;
            let problem = format!(
                "the area of x from {left} to {right} and y from {bottom} to {top} lies outside the grid ({self}); coordinates are in \
                 its CRS, x before y"
            );
            return Err(Error::Grid { what: "area".into(), problem });
        }
        let geotransform = [
            self.left + cols.0 * self.cell_width,
            self.cell_width,
            0.0,
            self.top - rows.0 * self.cell_height,
            0.0,
            -self.cell_height,
        ];
        Self::new(self.crs.clone(), geotransform, ((rows.1 - rows.0) as usize, (cols.1 - cols.0) as usize))
    }

    /// Coordinate reference system.
    #[must_use]
    pub fn crs(&self) -> &Crs {
        &self.crs
    }

    /// The same grid in another CRS, which is not transformed: for files that give none, or a wrong one.
    #[must_use]
    pub fn with_crs(self, crs: Crs) -> Self {
        Self { crs, ..self }
    }

    /// (rows, columns).
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// (width, height) of a cell in CRS units, both positive.
    #[must_use]
    pub fn cell_size(&self) -> (f64, f64) {
        (self.cell_width, self.cell_height)
    }

    /// GDAL geotransform `[x0, dx, 0, y0, 0, -dy]`.
    #[must_use]
    pub fn geotransform(&self) -> [f64; 6] {
        [self.left, self.cell_width, 0.0, self.top, 0.0, -self.cell_height]
    }

    /// The region of all pixels.
    #[must_use]
    pub fn region(&self) -> PixelRegion {
        PixelRegion::new(0..self.rows, 0..self.cols)
    }

    /// (x, y) of the centre of a cell. Cells beyond the grid are on the same lattice.
    #[must_use]
    pub fn centre(&self, row: i64, col: i64) -> (f64, f64) {
        self.at(row as f64, col as f64)
    }

    /// (x, y) of a point in cell coordinates; integers are centres.
    pub(crate) fn at(&self, row: f64, col: f64) -> (f64, f64) {
        (self.left + (col + 0.5) * self.cell_width, self.top - (row + 0.5) * self.cell_height)
    }

    /// x of the column centres, west to east, in CRS units.
    #[must_use]
    pub fn x_centres(&self) -> Vec<f64> {
        (0..self.cols as i64).map(|col| self.centre(0, col).0).collect()
    }

    /// y of the row centres, north to south, in CRS units.
    #[must_use]
    pub fn y_centres(&self) -> Vec<f64> {
        (0..self.rows as i64).map(|row| self.centre(row, 0).1).collect()
    }

    /// Outer edges.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            left: self.left,
            bottom: self.top - self.rows as f64 * self.cell_height,
            right: self.left + self.cols as f64 * self.cell_width,
            top: self.top,
        }
    }

    /// Whether the extents share an area. Ignores the CRS.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (a, b) = (self.extent(), other.extent());
        a.left < b.right && b.left < a.right && a.bottom < b.top && b.bottom < a.top
    }

    /// Share of this grid's extent that lies inside `other`'s, from 0 to 1. Ignores the CRS.
    #[must_use]
    pub fn coverage(&self, other: &Self) -> f64 {
        let (a, b) = (self.extent(), other.extent());
        let width = (a.right.min(b.right) - a.left.max(b.left)).max(0.0);
        let height = (a.top.min(b.top) - a.bottom.max(b.bottom)).max(0.0);
        width * height / ((a.right - a.left) * (a.top - a.bottom))
    }

    /// West and east of `other`, where both are in degrees and a part of this grid lies under it only after a turn of 360
    /// degrees.
    pub(crate) fn turned_away(&self, other: &Self) -> Option<(f64, f64)> {
        let turned = |degrees: f64| {
            let [left, width, skew, top, slope, step] = other.geotransform();
            let grid = Self::new(other.crs.clone(), [left + degrees, width, skew, top, slope, step], other.shape());
            grid.is_ok_and(|grid| self.coverage(&grid) > 0.0)
        };
        let degrees = self.crs.is_geographic() && other.crs.is_geographic();
        let extent = other.extent();
        (degrees && self.coverage(other) < 1.0 && (turned(360.0) || turned(-360.0)))
            .then_some((extent.left, extent.right))
    }

    /// (row, column) of `other`'s first cell on the lattice of this grid, when both lattices coincide: the cell sizes
    /// are equal and the offset is an integer number of cells, to 1e-3 of a cell across both grids.
    #[must_use]
    pub fn lattice_offset(&self, other: &Self) -> Option<(i64, i64)> {
        let near = |value: f64| (value - value.round()).abs() <= LATTICE_TOLERANCE;
        let col = (other.left - self.left) / self.cell_width;
        let row = (self.top - other.top) / self.cell_height;
        let (a, b) = (self.extent(), other.extent());
        let last_col = (b.right - a.left) / self.cell_width - other.cols as f64;
        let last_row = (a.top - b.bottom) / self.cell_height - other.rows as f64;
        let same = near(col)
            && near(row)
            && (last_col - col.round()).abs() <= LATTICE_TOLERANCE
            && (last_row - row.round()).abs() <= LATTICE_TOLERANCE;
        same.then(|| (row.round() as i64, col.round() as i64))
    }

    /// Rows of this lattice whose centres lie in each of `other`'s pixel rows, top edge included, bottom edge not.
    ///
    /// Consecutive pixel rows have adjoining ranges. Ranges may be negative, because the lattice extends beyond the
    /// grid.
    #[must_use]
    pub fn rows_under(&self, other: &Self) -> Vec<Range<i64>> {
        spans(self.top, -self.cell_height, other.top, -other.cell_height, other.rows)
    }

    /// Columns of this lattice whose centres lie in each of `other`'s pixel columns, left edge included, right edge
    /// not.
    #[must_use]
    pub fn cols_under(&self, other: &Self) -> Vec<Range<i64>> {
        spans(self.left, self.cell_width, other.left, other.cell_width, other.cols)
    }
}

/// A number as people write it, for messages: what arithmetic adds behind the twelfth digit is left out.
fn plain(number: f64) -> f64 {
    format!("{number:.11e}").parse().unwrap_or(number)
}

/// The last line before an interval and the first one after it, in cells; ends that lie on a line are lines.
fn lines(first: f64, last: f64) -> (f64, f64) {
    ((first + LATTICE_TOLERANCE).floor(), (last - LATTICE_TOLERANCE).ceil())
}

/// Ranges of lattice indices `i` with centre `origin + (i + 0.5) step` inside pixel `k`, half-open towards `step`.
fn spans(origin: f64, step: f64, pixel_origin: f64, pixel_step: f64, pixels: usize) -> Vec<Range<i64>> {
    let first_inside = |edge: f64| {
        let index = (edge - origin) / step - 0.5;
        // A centre on the edge belongs to the pixel that begins there, whatever the last bit of the division is.
        let nearest = index.round();
        if (index - nearest).abs() <= EDGE_TOLERANCE { nearest as i64 } else { index.ceil() as i64 }
    };
    let edges: Vec<i64> = (0..=pixels).map(|k| first_inside(pixel_origin + k as f64 * pixel_step)).collect();
    edges.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

impl fmt::Display for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} x {} cells of {} x {} from ({}, {}), {}",
            self.rows,
            self.cols,
            plain(self.cell_width),
            plain(self.cell_height),
            plain(self.left),
            plain(self.top),
            self.crs
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(x0: f64, dx: f64, y0: f64, dy: f64, shape: (usize, usize)) -> Grid {
        Grid::new(Crs::unknown(), [x0, dx, 0.0, y0, 0.0, -dy], shape).unwrap()
    }

    #[test]
    fn rejects_what_is_not_north_up() {
        for transform in [
            [0.0, 30.0, 1.0, 0.0, 0.0, -30.0],
            [0.0, -30.0, 0.0, 0.0, 0.0, -30.0],
            [0.0, 30.0, 0.0, 0.0, 0.0, 30.0],
            [f64::NAN, 30.0, 0.0, 0.0, 0.0, -30.0],
        ] {
            assert!(Grid::new(Crs::unknown(), transform, (2, 2)).is_err(), "{transform:?}");
        }
        assert!(Grid::new(Crs::unknown(), [0.0, 1.0, 0.0, 0.0, 0.0, -1.0], (0, 2)).is_err());
    }

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        let shown = grid(14.099_999_999_999_998, 0.100_000_000_000_001_42, 46.3, 0.1, (2, 3)).to_string();
        assert_eq!(shown, "2 x 3 cells of 0.1 x 0.1 from (14.1, 46.3), no CRS");
        assert_eq!((plain(5_100_000.25), plain(-0.1), plain(1e-9)), (5_100_000.25, -0.1, 1e-9));
    }

    #[test]
    fn lattices_coincide_only_at_whole_cells() {
        let target = grid(100.0, 29.9, 900.0, 30.0, (44, 45));
        assert_eq!(target.lattice_offset(&grid(100.0 + 3.0 * 29.9, 29.9, 930.0, 30.0, (9, 9))), Some((-1, 3)));
        assert_eq!(target.lattice_offset(&grid(115.0, 29.9, 900.0, 30.0, (9, 9))), None);
        assert_eq!(target.lattice_offset(&grid(100.0, 30.0, 900.0, 30.0, (9, 9))), None);
        // A cell size that is off by 1e-5 has drifted by half a cell at the far end.
        assert_eq!(target.lattice_offset(&grid(100.0, 29.9003, 900.0, 30.0, (9, 5000))), None);
    }

    #[test]
    fn centres_on_edges_belong_to_the_pixel_on_their_right_and_below() {
        let target = grid(0.0, 10.0, 0.0, 10.0, (8, 8));
        // Pixel edges at x = 5, 25, 45: exactly the centres of columns 0, 2 and 4.
        let coarse = grid(5.0, 20.0, -5.0, 20.0, (2, 2));
        assert_eq!(target.cols_under(&coarse), vec![0..2, 2..4]);
        assert_eq!(target.rows_under(&coarse), vec![0..2, 2..4]);
        let beyond = grid(-40.0, 25.0, 40.0, 25.0, (2, 3));
        assert_eq!(target.cols_under(&beyond), vec![-4..-2, -2..1, 1..3]);
        assert_eq!(target.rows_under(&beyond), vec![-4..-2, -2..1]);
    }
}
