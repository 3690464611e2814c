//! Observations of a tile by an instrument on one date, and their pixels on a run of cells.

use std::ops::Range;

use ndarray::{ArrayBase, Data, Ix3};

use super::model::CellInstrument;
use crate::geometry::PixelRegion;

/// The observations of a tile's cells by an instrument on a date of the batch.
#[derive(Debug)]
pub(super) struct CellSlice<'a> {
    /// Date of the batch.
    pub(super) index: usize,
    pub(super) model: &'a CellInstrument,
    /// **Shape** (band, y, x).
    values: &'a [f64],
    shape: (usize, usize),
    /// Row and column in the tile of its first pixel; it may lie beyond the tile.
    first: (i64, i64),
}

/// Cells of a row.
#[derive(Debug)]
pub(super) struct CellRun {
    /// In the tile.
    pub(super) row: usize,
    pub(super) cols: Range<usize>,
    /// Position of its first cell in the strip.
    pub(super) at: usize,
}

/// The pixels of a slice on a run of cells.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// Cells, counted in the run.
    pub(super) cells: Range<usize>,
    /// Position of the first pixel in a band.
    at: usize,
}

impl<'a> CellSlice<'a> {
    pub(super) fn new(
        index: usize,
        model: &'a CellInstrument,
        region: &PixelRegion,
        values: &'a ArrayBase<impl Data<Elem = f64>, Ix3>,
        tile: &PixelRegion,
    ) -> Self {
        let (_, rows, cols) = values.dim();
        let first = model.first_pixel(region, tile);
        Self { index, model, values: values.as_slice().unwrap_or_default(), shape: (rows, cols), first }
    }

    /// Its pixels on the cells of a run, if any.
    pub(super) fn on(&self, run: &CellRun) -> Option<Shared> {
        let (rows, cols) = self.shape;
        let row = usize::try_from(run.row as i64 - self.first.0).ok().filter(|row| *row < rows)?;
        let start = (run.cols.start as i64).max(self.first.1);
        let end = (run.cols.end as i64).min(self.first.1 + cols as i64);
        let cells = (start - run.cols.start as i64) as usize..(end - run.cols.start as i64).max(0) as usize;
        (start < end).then(|| Shared { cells, at: row * cols + (start - self.first.1) as usize })
    }

    /// Values of a band, given by its position among the bands read.
    pub(super) fn band(&self, band: usize, shared: &Shared) -> &'a [f64] {
        let at = band * self.shape.0 * self.shape.1 + shared.at;
        &self.values[at..at + shared.cells.len()]
    }
}
