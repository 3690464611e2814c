//! Samples of cells that represent an average.

use super::Average;
use crate::geometry::Rect;

/// Largest number of cells that represent an average.
const MOST: usize = 32;

/// Number of candidates per wanted cell. Candidates that are already taken are skipped.
const CANDIDATES: usize = 16;

impl Average {
    /// Cells (row, column) that represent the average: all of them where they are few, otherwise 32 of them, spread
    /// by an Owen-scrambled Sobol sequence over the cells, rectangle by rectangle.
    pub(crate) fn spread(&self) -> &[(i64, i64)] {
        self.samples.get_or_init(|| self.sampled())
    }

    fn sampled(&self) -> Vec<(i64, i64)> {
        let count: i64 = self.rects().iter().map(Rect::count).sum();
        if count <= MOST as i64 {
            return self.rects().iter().flat_map(Rect::cells).collect();
        }
        let mut taken: Vec<(i64, i64)> = Vec::with_capacity(MOST);
        for k in 0..(MOST * CANDIDATES) as u32 {
            if taken.len() == MOST {
                break;
            }
            let [u, v] = [0, 1].map(|dimension| f64::from(sobol_burley::sample(k, dimension, 0)));
            taken.extend(self.cell_at(u * count as f64, v).filter(|cell| !taken.contains(cell)));
        }
        taken
    }

    /// The cell at position `area` of the cells, counted rectangle by rectangle and row by row; `across` in [0, 1)
    /// selects the position in its row.
    fn cell_at(&self, mut area: f64, across: f64) -> Option<(i64, i64)> {
        for rect in self.rects() {
            let cells = rect.count() as f64;
            if area < cells {
                let width = (rect.right - rect.left) as f64;
                return Some((rect.top + (area / width) as i64, rect.left + (across * width) as i64));
            }
            area -= cells;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn few_cells_are_all_taken_and_many_are_spread() {
        let few = Average::new(vec![Rect::new(0..4, -3..2), Rect::new(4..5, 0..2)], None);
        assert_eq!(few.spread().len(), 22);
        let rects = [Rect::new(0..16, 0..10), Rect::new(0..3, 10..16)];
        let average = Average::new(rects.to_vec(), None);
        let cells = average.spread();
        assert_eq!(cells.iter().collect::<BTreeSet<_>>().len(), MOST, "each once");
        assert!(cells.iter().all(|&(row, col)| rects.iter().any(|rect| rect.contains(row, col))));
        // The centre of gravity is about the cells' own, (6.84, 5.31).
        let mean =
            |of: &dyn Fn(&(i64, i64)) -> i64| cells.iter().map(|cell| of(cell) as f64).sum::<f64>() / MOST as f64;
        assert!((mean(&|cell| cell.0) - 6.84).abs() < 0.5 && (mean(&|cell| cell.1) - 5.31).abs() < 0.5, "{cells:?}");
    }
}
