//! What a picture of a date needs: cells averaged to a small raster, and the series of one cell.

use ndarray::{Array2, Array3, Axis};

use super::Export;
use crate::error::Result;
use crate::geometry::{Date, PixelRegion};

/// A band of a date, small enough to be looked at.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Preview {
    /// Means in u, **shape** (y, x); NaN where no cell has a value.
    pub mean: Array2<f64>,
    /// Standard deviations in u, of the same shape; of several cells the average.
    pub sd: Array2<f64>,
    /// Cells per side that a value is the average of; fewer at the lower and right edge.
    pub cells: usize,
}

/// The value of a cell on a date.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct CellValue {
    /// The date.
    pub date: Date,
    /// Mean in u.
    pub mean: f64,
    /// Standard deviation in u.
    pub sd: f64,
}

impl Export {
    /// The first of the [bands](Self::bands) on a date, averaged over so many cells that neither side has more than
    /// `most` values.
    ///
    /// # Errors
    /// [`Error::Export`](crate::Error::Export) for a date that is not there, [`Error::Read`](crate::Error::Read) for a damaged store.
    pub fn preview(&self, date: Date, most: usize) -> Result<Preview> {
        self.check(date)?;
        let (rows, cols) = self.grid.shape();
        let cells = rows.max(cols).div_ceil(most.max(1));
        let shape = (2, rows.div_ceil(cells), cols.div_ceil(cells));
        let (mut sums, mut counts) = (Array3::<f64>::zeros(shape), Array3::<u32>::zeros(shape));
        for region in self.mosaic.blocks(&self.grid) {
            let block = self.mosaic.read(date, &self.bands[..1], (&self.grid, &region))?;
            for ((layer, row, col), value) in block.indexed_iter().filter(|(_, value)| !value.is_nan()) {
                let at = [layer, (region.rows.start + row) / cells, (region.cols.start + col) / cells];
                sums[at] += f64::from(*value);
                counts[at] += 1;
            }
        }
        let means = sums / counts.mapv(|count| if count == 0 { f64::NAN } else { f64::from(count) });
        let layer = |k: usize| means.index_axis(Axis(0), k).to_owned();
        Ok(Preview { mean: layer(0), sd: layer(1), cells })
    }

    /// The first of the [bands](Self::bands) in a cell (row, column) of the [grid](Self::grid) on all dates.
    ///
    /// # Errors
    /// [`Error::Export`](crate::Error::Export) for a cell outside the grid, [`Error::Read`](crate::Error::Read) for a damaged store.
    pub fn cell(&self, (row, col): (usize, usize)) -> Result<Vec<CellValue>> {
        let (rows, cols) = self.grid.shape();
        if row >= rows || col >= cols {
            return Err(
                self.refuse(format!("there is no cell ({row}, {col}); it has {rows} x {cols} cells, counted from 0"))
            );
        }
        let region = PixelRegion::new(row..row + 1, col..col + 1);
        let value = |date: &Date| {
            let values = self.mosaic.read(*date, &self.bands[..1], (&self.grid, &region))?;
            let (mean, sd) = (f64::from(values[(0, 0, 0)]), f64::from(values[(1, 0, 0)]));
            Ok(CellValue { date: *date, mean, sd })
        };
        self.dates().iter().map(value).collect()
    }

    /// The cell (row, column) that holds a point of the CRS.
    ///
    /// # Errors
    /// [`Error::Export`](crate::Error::Export) for a point outside the grid.
    pub fn cell_at(&self, (x, y): (f64, f64)) -> Result<(usize, usize)> {
        let (extent, (width, height)) = (self.grid.extent(), self.grid.cell_size());
        let inside = (extent.left..extent.right).contains(&x) && y > extent.bottom && y <= extent.top;
        if !inside {
            return Err(
                self.refuse(format!("({x}, {y}) lies outside the grid ({}); x before y, in its CRS", self.grid))
            );
        }
        Ok((((extent.top - y) / height) as usize, ((x - extent.left) / width) as usize))
    }
}
