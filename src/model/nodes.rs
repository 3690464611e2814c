//! Nodes of a coarse field: its states and the interpolation between them.

use std::collections::BTreeMap;
use std::ops::Range;

use super::rows::SparseRows;
use super::{PixelLattice, Profile};
use crate::filter::Channel;
use crate::geometry::Rect;

/// The states of a coarse field in a window: its values at the centres of blocks of cells. Values in between are
/// interpolated bilinearly.
///
/// Blocks divide the target lattice from the upper-left cell of the grid, so neighbouring windows have the same
/// nodes. The window has all nodes that its cells and the footprints of its pixels need; no remainder is left
/// outside.
#[derive(Clone, Debug)]
pub(crate) struct NodeStates {
    /// (row, column) of their blocks.
    nodes: Vec<(i64, i64)>,
    /// Weights of the window's own cells.
    cells: SparseRows,
    /// Weights of each instrument's pixels.
    pixels: Vec<SparseRows>,
}

/// Weights of nodes by their blocks.
type NodeWeights = Vec<((i64, i64), f64)>;

impl NodeStates {
    /// The nodes for the window's own cells and for the pixels (row, column) of each lattice that observe it, in
    /// blocks of `block` cells.
    pub(crate) fn new<'a>(
        block: usize,
        own: &[(i64, i64)],
        pixels: impl Iterator<Item = (&'a PixelLattice, &'a [(u32, u32)])>,
    ) -> Self {
        let block = block as i64;
        let of_cells: Vec<NodeWeights> =
            own.iter().map(|&(row, col)| weights(block, &Rect::cell(row, col), None)).collect();
        let of_pixel = |lattice: &PixelLattice, &(row, col): &(u32, u32)| {
            let (row, col) = (row as usize, col as usize);
            weights(block, &lattice.rect(row, col), lattice.profile(row, col).as_ref())
        };
        let of_pixels: Vec<Vec<NodeWeights>> =
            pixels.map(|(lattice, at)| at.iter().map(|at| of_pixel(lattice, at)).collect()).collect();
        let mut index: BTreeMap<(i64, i64), u32> = BTreeMap::new();
        for (node, _) in of_cells.iter().chain(of_pixels.iter().flatten()).flatten() {
            index.insert(*node, 0);
        }
        index.values_mut().zip(0..).for_each(|(state, k)| *state = k);
        let rows = |all: &[NodeWeights]| {
            let mut rows = SparseRows::default();
            for weights in all {
                rows.begin();
                weights.iter().for_each(|(node, weight)| rows.push(index[node], *weight));
            }
            rows
        };
        let (cells, pixels) = (rows(&of_cells), of_pixels.iter().map(|all| rows(all)).collect());
        Self { nodes: index.into_keys().collect(), cells, pixels }
    }

    /// Number of states.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The weights of one of the window's own cells.
    pub(crate) fn cell(&self, cell: usize) -> Channel<'_> {
        self.cells.row(cell)
    }

    /// The weights of a pixel of an instrument.
    pub(crate) fn pixel(&self, instrument: usize, pixel: usize) -> Channel<'_> {
        self.pixels[instrument].row(pixel)
    }

    /// Distance of two nodes in CRS units, for cells of `cell_size` (width, height) and blocks of `block` cells.
    pub(crate) fn distance(&self, i: usize, j: usize, block: usize, cell_size: (f64, f64)) -> f64 {
        let ((row, col), (other_row, other_col)) = (self.nodes[i], self.nodes[j]);
        let apart = |a: i64, b: i64, size: f64| (a - b) as f64 * block as f64 * size;
        f64::hypot(apart(col, other_col, cell_size.0), apart(row, other_row, cell_size.1))
    }

    /// Largest number of states that a rectangle of this number of cells needs, with footprints of this size that
    /// extend beyond it.
    pub(crate) fn most(block: usize, cells: (i64, i64), footprint: (i64, i64)) -> usize {
        // The first cell lies between two centres, at worst just before the second. Blocks with an odd side have
        // their centres at cell centres.
        let side = |cells: i64, reach: i64| {
            let beyond = ((cells + 2 * reach) as usize).saturating_sub(1 + block % 2);
            beyond.div_ceil(block) + 2
        };
        side(cells.0, footprint.0) * side(cells.1, footprint.1)
    }
}

/// Weights of the nodes in the average over a rectangle of cells. Interpolation and footprints are products of rows
/// and columns, so the weights are as well.
fn weights(block: i64, rect: &Rect, profile: Option<&Profile>) -> NodeWeights {
    let rows = line(block, rect.top..rect.bottom, |row| profile.map_or(1.0, |profile| profile.row(row)));
    let cols = line(block, rect.left..rect.right, |col| profile.map_or(1.0, |profile| profile.col(col)));
    let pairs = rows.iter().flat_map(|&(row, v)| cols.iter().map(move |&(col, w)| ((row, col), v * w)));
    pairs.filter(|(_, weight)| *weight != 0.0).collect()
}

/// Weights, with sum 1, of the centres of blocks along a line of cells.
fn line(block: i64, cells: Range<i64>, weight: impl Fn(i64) -> f64) -> Vec<(i64, f64)> {
    let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
    let mut total = 0.0;
    for cell in cells {
        // In half cells, so that centres of cells and blocks are integers.
        let beyond = 2 * cell + 1 - block;
        let (first, rest) = (beyond.div_euclid(2 * block), beyond.rem_euclid(2 * block));
        let share = rest as f64 / (2 * block) as f64;
        let weight = weight(cell);
        total += weight;
        *sums.entry(first).or_default() += weight * (1.0 - share);
        if rest > 0 {
            *sums.entry(first + 1).or_default() += weight * share;
        }
    }
    sums.into_iter().map(|(node, sum)| (node, sum / total)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows of so many cells at every place among the blocks.
    #[test]
    fn no_window_needs_more_nodes_than_the_most() {
        for (block, rows, cols) in (2..7).flat_map(|b| (1..15).flat_map(move |r| (1..4).map(move |c| (b, r, c)))) {
            let len = |top: i64, left: i64| {
                let own: Vec<_> = Rect::new(top..top + rows, left..left + cols).cells().collect();
                NodeStates::new(block, &own, std::iter::empty()).len()
            };
            let size = block as i64;
            let found = (0..size).flat_map(|top| (0..size).map(move |left| len(top, left))).max();
            assert_eq!(found, Some(NodeStates::most(block, (rows, cols), (0, 0))), "{block}: {rows} x {cols}");
            assert_eq!(
                NodeStates::most(block, (rows, cols), (2, 1)),
                NodeStates::most(block, (rows + 4, cols + 2), (0, 0))
            );
        }
    }

    /// A plane, which bilinear interpolation keeps: its average over a footprint from the nodes and cell by cell.
    #[test]
    fn averages_of_a_plane_are_exact() {
        let plane = |y: f64, x: f64| 3.0 + 0.7 * y - 0.4 * x + 0.05 * y * x;
        let profile = Profile { first: (-5, 2), rows: [1.0, 2.0, 3.0, 2.5].into(), cols: [0.5, 1.0, 4.0].into() };
        for (block, rect, profile) in [
            (4, Rect::new(-5..-1, 2..5), Some(&profile)),
            (5, Rect::new(-5..-1, 2..5), None),
            (3, Rect::new(0..30, -20..7), None),
            (7, Rect::cell(3, 3), None),
        ] {
            let weigh = |row, col| profile.map_or(1.0, |profile| profile.weight(row, col));
            let total: f64 = rect.cells().map(|(row, col)| weigh(row, col)).sum();
            let expected: f64 =
                rect.cells().map(|(r, c)| weigh(r, c) * plane(r as f64 + 0.5, c as f64 + 0.5)).sum::<f64>() / total;
            let centre = |node: i64| (node as f64 + 0.5) * block as f64;
            let found: f64 =
                weights(block, &rect, profile).iter().map(|((r, c), w)| w * plane(centre(*r), centre(*c))).sum();
            assert!((found - expected).abs() < 1e-12, "{block} {rect:?}: {found} {expected}");
        }
        // A cell at the centre of its block is the block's node.
        assert_eq!(weights(7, &Rect::cell(3, 3), None), [((0, 0), 1.0)]);
    }
}
