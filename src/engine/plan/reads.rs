//! What tiles read of the sources: their pixels with context, and what the storage decodes for them.

use std::ops::Range;

use super::PlanInput;
use crate::geometry::Rect;
use crate::model::ObservationModel;

/// Pixels along one axis, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reads {
    /// Over all tiles.
    decoded: u64,
    /// Needed by any tile.
    needed: u64,
}

impl PlanInput<'_> {
    /// All cells of the target.
    pub(super) fn whole(&self) -> Rect {
        let (rows, cols) = self.model.target.shape();
        Rect::new(0..rows as i64, 0..cols as i64)
    }

    /// (rows, columns) of cells around a window that its pixels may lie in, at most.
    fn context(&self) -> (usize, usize) {
        let far = |cell: f64| if self.model.far.count > 0 { (self.model.far.radius / cell).ceil() as usize } else { 0 };
        let (width, height) = self.model.target.cell_size();
        (self.window.1.max(far(height)), self.window.1.max(far(width)))
    }

    /// (rows, columns) of pixels that a tile reads, at most; `pixel` is their (width, height).
    pub(super) fn pixels(&self, tile: (usize, usize), pixel: (f64, f64)) -> (u64, u64) {
        let size = self.window.0;
        let across = |cells: usize, context: usize, total: usize, cell: f64, pixel: f64| {
            // Windows that straddle the tile's edges reach beyond it.
            let straddle = if cells.is_multiple_of(size) { 0 } else { 2 * (size - 1) };
            let cells = cells.saturating_add(straddle).saturating_add(context.saturating_mul(2)).min(total);
            (cells as f64 * cell / pixel).ceil() as u64 + 2
        };
        let ((rows, cols), context, (width, height)) =
            (self.model.target.shape(), self.context(), self.model.target.cell_size());
        (across(tile.0, context.0, rows, height, pixel.1), across(tile.1, context.1, cols, width, pixel.0))
    }

    /// Pixels of an instrument that tiles need on a date, at least once each.
    pub(super) fn needed_pixels(&self, instrument: &ObservationModel) -> u64 {
        let hull = instrument.lattice.covering(&self.whole());
        hull.rows.len() as u64 * hull.cols.len() as u64
    }

    /// How often each pixel that is needed on a date is decoded, on average, with tiles of this shape: because
    /// neighbouring tiles share context, and because blocks of the storage are decoded whole. 1 when the instrument
    /// observes nothing.
    ///
    /// A tile's blocks are those under its rows times those under its columns, so their sum over all tiles is a
    /// product of sums, too.
    pub(super) fn read_amplification(&self, instrument: &ObservationModel, tile: (usize, usize)) -> f64 {
        let (rows, cols) = instrument.source.grid().shape();
        let block = instrument.source.block_shape().unwrap_or((1, 1));
        let (target_rows, target_cols) = self.model.target.shape();
        let (size, context) = (self.window.0, self.context());
        let nothing = 0..0;
        let down = |cells: Range<i64>| instrument.lattice.covering(&Rect::new(cells, nothing.clone())).rows;
        let across = |cells: Range<i64>| instrument.lattice.covering(&Rect::new(nothing.clone(), cells)).cols;
        let down = along(target_rows, tile.0, size, context.0, (block.0, rows), down);
        let across = along(target_cols, tile.1, size, context.1, (block.1, cols), across);
        let needed = down.needed as f64 * across.needed as f64;
        if needed == 0.0 { 1.0 } else { down.decoded as f64 * across.decoded as f64 / needed }
    }
}

/// Reads along an axis of `total` cells in tiles of `tile`; `storage` is the pixels of a block and of the raster,
/// `covering` gives the pixels over a range of cells.
fn along(
    total: usize,
    tile: usize,
    size: usize,
    context: usize,
    storage: (usize, usize),
    covering: impl Fn(Range<i64>) -> Range<usize>,
) -> Reads {
    let (block, end) = (storage.0.max(1), storage.1);
    let decoded = |start: usize| {
        let windows = start / size * size..((start + tile).min(total).div_ceil(size) * size).min(total);
        let cells = windows.start.saturating_sub(context)..windows.end.saturating_add(context).min(total);
        let pixels = covering(cells.start as i64..cells.end as i64);
        if pixels.is_empty() {
            return 0;
        }
        ((pixels.end.div_ceil(block) * block).min(end) - pixels.start / block * block) as u64
    };
    let needed = covering(0..total as i64).len() as u64;
    Reads { decoded: (0..total).step_by(tile.max(1)).map(decoded).sum(), needed }
}

/// (rows, columns) of target cells under a block of each instrument whose storage has blocks.
pub(super) fn blocks(input: &PlanInput<'_>) -> Vec<(f64, f64)> {
    let (width, height) = input.model.target.cell_size();
    let cells = |instrument: &ObservationModel| {
        let (pixel_width, pixel_height) = instrument.source.grid().cell_size();
        let (rows, cols) = instrument.source.block_shape()?;
        Some((rows as f64 * pixel_height / height, cols as f64 * pixel_width / width))
    };
    input.model.instruments.iter().filter_map(cells).collect()
}
