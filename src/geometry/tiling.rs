//! Division of the target grid into tiles and windows.

use std::collections::BTreeSet;
use std::ops::Range;

use super::{PixelRegion, Rect};

/// The division of a target grid of (rows, columns) cells into tiles (units of I/O) and windows (units of
/// estimation).
///
/// Windows are anchored to the upper-left corner of the grid, never to the tile, so the tile shape does not change
/// the result. A window that straddles tiles is estimated in each of them, and each tile writes its own cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    shape: (usize, usize),
    tile: (usize, usize),
    window: usize,
    halo: usize,
}

/// A rectangle of the target grid that is read, filtered and written together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// (row, column) of the tile among tiles, which is also its output chunk.
    pub index: (usize, usize),
    /// Its cells.
    pub region: PixelRegion,
}

/// A window: the core cells it estimates and the context around them, clipped to the grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Cells whose estimates are output.
    pub core: PixelRegion,
    /// Core and halo.
    pub padded: PixelRegion,
}

impl Tiling {
    /// Cuts a grid of `shape` cells into tiles of `tile` cells and windows of `window × window` cells with `halo`
    /// cells of context. All sizes are at least one, except the halo.
    #[must_use]
    pub fn new(shape: (usize, usize), tile: (usize, usize), window: usize, halo: usize) -> Self {
        Self { shape, tile: (tile.0.max(1), tile.1.max(1)), window: window.max(1), halo }
    }

    /// (rows, columns) of a full tile.
    #[must_use]
    pub fn tile_shape(&self) -> (usize, usize) {
        self.tile
    }

    /// Cells per side of a window's core.
    #[must_use]
    pub fn window(&self) -> usize {
        self.window
    }

    /// Number of tiles down and across.
    #[must_use]
    pub fn tiles_shape(&self) -> (usize, usize) {
        (self.shape.0.div_ceil(self.tile.0), self.shape.1.div_ceil(self.tile.1))
    }

    /// Number of tiles.
    #[must_use]
    pub fn tile_count(&self) -> usize {
        let (down, across) = self.tiles_shape();
        down * across
    }

    /// Number of windows of the grid.
    #[must_use]
    pub fn window_count(&self) -> usize {
        self.shape.0.div_ceil(self.window) * self.shape.1.div_ceil(self.window)
    }

    /// The tile with this row-major index, or `None` past the last.
    #[must_use]
    pub fn tile(&self, index: usize) -> Option<Tile> {
        let across = self.tiles_shape().1;
        (index < self.tile_count()).then(|| {
            let (row, col) = (index / across, index % across);
            let clip = |k: usize, step: usize, end: usize| k * step..((k + 1) * step).min(end);
            Tile {
                index: (row, col),
                region: PixelRegion::new(clip(row, self.tile.0, self.shape.0), clip(col, self.tile.1, self.shape.1)),
            }
        })
    }

    /// The windows whose core shares a cell with the region, in row-major order.
    pub fn windows(&self, region: &PixelRegion) -> impl Iterator<Item = Window> + use<> {
        let this = *self;
        let across = |cells: &Range<usize>| cells.start / this.window..cells.end.div_ceil(this.window);
        let cols = across(&region.cols);
        across(&region.rows).flat_map(move |row| cols.clone().map(move |col| this.window_at(row, col)))
    }

    /// Padded rows of every row of windows, top to bottom.
    pub fn padded_rows(&self) -> impl Iterator<Item = Range<i64>> + use<> {
        self.padded(self.shape.0)
    }

    /// Padded columns of every column of windows, left to right.
    pub fn padded_cols(&self) -> impl Iterator<Item = Range<i64>> + use<> {
        self.padded(self.shape.1)
    }

    fn padded(&self, end: usize) -> impl Iterator<Item = Range<i64>> + use<> {
        let (window, halo) = (self.window, self.halo);
        (0..end)
            .step_by(window)
            .map(move |start| start.saturating_sub(halo) as i64..((start + window).min(end) + halo).min(end) as i64)
    }

    /// Number of distinct window shapes; the grid clips windows in different ways.
    #[must_use]
    pub fn window_shapes(&self) -> usize {
        let along = |end: usize| {
            let shape = |padded: Range<i64>, start: usize| {
                let core = (start + self.window).min(end) - start;
                (start as i64 - padded.start, core, padded.end - padded.start)
            };
            let starts = (0..end).step_by(self.window);
            self.padded(end).zip(starts).map(|(padded, start)| shape(padded, start)).collect::<BTreeSet<_>>().len()
        };
        along(self.shape.0) * along(self.shape.1)
    }

    /// The window in the given row and column of windows.
    fn window_at(&self, row: usize, col: usize) -> Window {
        let core = |k: usize, end: usize| k * self.window..((k + 1) * self.window).min(end);
        let pad =
            |cells: &Range<usize>, end: usize| cells.start.saturating_sub(self.halo)..(cells.end + self.halo).min(end);
        let core = PixelRegion::new(core(row, self.shape.0), core(col, self.shape.1));
        let padded = PixelRegion::new(pad(&core.rows, self.shape.0), pad(&core.cols, self.shape.1));
        Window { core, padded }
    }
}

impl Window {
    /// Core and halo as lattice cells.
    #[must_use]
    pub fn padded_rect(&self) -> Rect {
        Rect::from(&self.padded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_and_windows_partition_the_grid() {
        for (shape, tile, window, halo) in [((7, 11), (3, 4), 2, 1), ((1, 1), (5, 5), 4, 9), ((44, 45), (16, 16), 4, 4)]
        {
            let tiling = Tiling::new(shape, tile, window, halo);
            let mut shapes = BTreeSet::new();
            let mut hits = vec![0; shape.0 * shape.1];
            for index in 0..tiling.tile_count() {
                let region = tiling.tile(index).unwrap().region;
                for window in tiling.windows(&region) {
                    shapes.insert((
                        window.core.rows.start - window.padded.rows.start,
                        window.core.cols.start - window.padded.cols.start,
                        window.core.shape(),
                        window.padded.shape(),
                    ));
                    let own = window.core.intersection(&region);
                    assert!(!own.is_empty());
                    assert_eq!(window.padded.intersection(&window.core), window.core);
                    for row in own.rows.clone() {
                        for col in own.cols.clone() {
                            hits[row * shape.1 + col] += 1;
                        }
                    }
                }
            }
            assert_eq!(shapes.len(), tiling.window_shapes());
            assert!(hits.iter().all(|&n| n == 1));
            assert!(tiling.tile(tiling.tile_count()).is_none());
        }
    }

    #[test]
    fn windows_do_not_move_with_the_tile() {
        let whole = Tiling::new((20, 20), (20, 20), 4, 3);
        let all: Vec<_> = whole.windows(&PixelRegion::new(0..20, 0..20)).collect();
        let odd = Tiling::new((20, 20), (7, 5), 4, 3);
        for index in 0..odd.tile_count() {
            for window in odd.windows(&odd.tile(index).unwrap().region) {
                assert!(all.contains(&window));
            }
        }
    }
}
