//! Computes `G = P Hᵀ` from the lower triangle of P, panel by panel.

use super::symmetric::Panel;
use super::workspace::{BlockBuffers, BlockEntry, Columns};
use super::{Observations, Real};

/// Side of the tiles in which a panel is traversed: one cache line of float64.
const TILE: usize = 8;

/// Rows of a smaller tile, for shorter runs of neighbouring states.
const HALF_TILE: usize = TILE / 2;

impl<T: Real> BlockBuffers<T> {
    /// Lists the entries of a block's H by state, and clears the columns of `P Hᵀ` that sum over several states.
    pub(super) fn list_entries(&mut self, observations: &Observations, rows: std::ops::Range<usize>, n: usize) {
        self.entries.clear();
        for (k, row) in rows.enumerate() {
            let entries = observations.row(row);
            let only = entries.len() == 1;
            if !only {
                self.cross.column_mut(k, 0..self.gain.nrows()).fill(T::default());
            }
            let entry =
                |(state, weight)| BlockEntry { state: state as u32, row: k as u32, weight, only, run: u8::from(only) };
            self.entries.extend(entries.map(entry));
        }
        debug_assert!(self.entries.iter().all(|entry| (entry.state as usize) < n));
        self.entries.sort_unstable_by_key(|entry| (entry.state, entry.row));
        for k in (1..self.entries.len()).rev() {
            let (before, after) = (self.entries[k - 1], self.entries[k]);
            if before.only && after.only && before.state + 1 == after.state {
                self.entries[k - 1].run = (after.run + 1).min(TILE as u8);
            }
        }
    }
}

/// Adds the contribution of a panel to `G = P Hᵀ`. After all panels, every entry of G is complete.
pub(super) struct Gather<'a, T: Real> {
    pub(super) panel: &'a Panel<'a, T>,
    pub(super) entries: &'a [BlockEntry],
    pub(super) cross: &'a mut Columns<T>,
}

impl<T: Real> pulp::WithSimd for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        gather(self.panel, self.entries, self.cross);
    }
}

#[inline(always)]
fn gather<T: Real>(panel: &Panel<'_, T>, entries: &[BlockEntry], cross: &mut Columns<T>) {
    let (first, last) = (panel.cols.start, panel.cols.end);
    let values = &*panel.values;
    let entries = &entries[entries.partition_point(|entry| (entry.state as usize) < first)..];
    // The diagonal and below: column `state` of the triangle.
    for entry in &entries[..entries.partition_point(|entry| (entry.state as usize) < last)] {
        let state = entry.state as usize;
        let column = &values.col_as_slice(state - first)[state - first..];
        let target = cross.column_mut(entry.row as usize, state..state + column.len());
        add(target, column.iter(), entry);
    }
    // Left of the diagonal: rows of the triangle, in tiles of a few columns, by runs of neighbouring states where
    // these are long enough.
    for start in (first..last).step_by(TILE) {
        let end = (start + TILE).min(last);
        let mut rest = &entries[entries.partition_point(|entry| entry.state as usize <= start)..];
        while let Some(entry) = rest.first() {
            let run = if end - start == TILE && entry.state as usize >= end { usize::from(entry.run) } else { 1 };
            let taken = if let Some(run) = rest.first_chunk::<TILE>().filter(|_| run >= TILE) {
                gather_tile(panel, start, run, cross);
                TILE
            } else if let Some(run) = rest.first_chunk::<HALF_TILE>().filter(|_| run >= HALF_TILE) {
                gather_tile(panel, start, run, cross);
                HALF_TILE
            } else {
                let state = entry.state as usize;
                let target = cross.column_mut(entry.row as usize, start..state.min(end));
                let row = values.row(state - first).subcols(start - first, target.len());
                add(target, row.iter(), entry);
                1
            };
            rest = &rest[taken..];
        }
    }
}

/// Transposes [`TILE`] columns, starting at `start`, of the neighbouring rows of a run.
#[inline(always)]
fn gather_tile<const ROWS: usize, T: Real>(
    panel: &Panel<'_, T>,
    start: usize,
    run: &[BlockEntry; ROWS],
    cross: &mut Columns<T>,
) {
    let first = panel.cols.start;
    let at = run[0].state as usize - first;
    let mut tile = [[T::default(); TILE]; ROWS];
    for j in 0..TILE {
        let column = &panel.values.col_as_slice(start - first + j)[at..at + ROWS];
        for (row, value) in tile.iter_mut().zip(column) {
            row[j] = *value;
        }
    }
    for (entry, row) in run.iter().zip(&tile) {
        add(cross.column_mut(entry.row as usize, start..start + TILE), row.iter(), entry);
    }
}

/// Adds an entry of H times `values` to a column of G, or sets the column where the entry is the only one.
#[inline(always)]
pub(super) fn add<'a, T: Real + 'a>(target: &mut [T], values: impl Iterator<Item = &'a T>, entry: &BlockEntry) {
    let weight = T::from_f64(entry.weight);
    if entry.only {
        for (to, from) in target.iter_mut().zip(values) {
            *to = weight * *from;
        }
    } else {
        for (to, from) in target.iter_mut().zip(values) {
            *to += weight * *from;
        }
    }
}
