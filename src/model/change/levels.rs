//! How much cells change against their surroundings, level by level: averages over boxes that get smaller, each as far
//! as the first half of the dates predicts the second.

use ndarray::Array2;

/// Sides of the boxes, in cells. The last is the cell.
const SIDES: [usize; 5] = [31, 15, 7, 3, 1];

/// Cells around a region on which its levels depend.
pub(super) const MARGIN: usize = SIDES[0] / 2;

/// Sizes of change beyond which a value counts no more: most likely a cloud that the mask missed.
const LARGEST: f64 = 3.0;

/// Weight of the surroundings, in dates: a cell without dates has their average.
const PRIOR: f64 = 1.0;

/// Dates per cell of a box above which something is known: below it is rounding.
const KNOWN: f64 = 1e-6;

/// Dates of the first half, of the second, and what lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    First,
    Second,
    Neither,
}

/// Sums of the sizes of change of the cells of a region, each size over what is usual on its date.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    /// Sums and numbers of dates, of each half and of all.
    sums: [Array2<f64>; 3],
    counts: [Array2<f64>; 3],
}

impl Sizes {
    pub(super) fn new(shape: (usize, usize)) -> Self {
        let zeros = || [(); 3].map(|()| Array2::zeros(shape));
        Self { sums: zeros(), counts: zeros() }
    }

    /// Adds the sizes of a plane, NaN where unknown, with a weight.
    pub(super) fn add(&mut self, weight: f64, sizes: impl Iterator<Item = ((usize, usize), Half, f64)>) {
        for (cell, half, size) in sizes.filter(|(.., size)| !size.is_nan()) {
            let own = match half {
                Half::First => Some(0),
                Half::Second => Some(1),
                Half::Neither => None,
            };
            for k in own.into_iter().chain([2]) {
                self.sums[k][cell] += weight * size.min(LARGEST);
                self.counts[k][cell] += weight;
            }
        }
    }

    /// What each level adds to the one above it, in logarithms, by each half and by all.
    pub(super) fn levels(&self) -> Vec<Level> {
        let mut above = [(); 3].map(|()| Array2::zeros(self.sums[0].dim()));
        let level = |side: usize| {
            let counts = [0, 1, 2].map(|k| box_means(&self.counts[k], side));
            let added = [0, 1, 2].map(|k| {
                let sums = box_means(&self.sums[k], side);
                let own = Array2::from_shape_fn(sums.dim(), |cell| {
                    let prior: f64 = above[k][cell];
                    ((sums[cell] + PRIOR * prior.exp()) / (counts[k][cell] + PRIOR)).ln()
                });
                let added = &own - &above[k];
                above[k] = own;
                added
            });
            let known = ndarray::Zip::from(&counts[0]).and(&counts[1]).map_collect(|a, b| a.min(*b) > KNOWN);
            Level { added, known }
        };
        SIDES.map(level).into()
    }
}

/// What a level adds to the one above it.
#[derive(Clone, Debug)]
pub(super) struct Level {
    added: [Array2<f64>; 3],
    /// Whether both halves know something.
    known: Array2<bool>,
}

impl Level {
    /// Of a cell, by all dates.
    pub(super) fn added(&self, cell: (usize, usize)) -> f64 {
        self.added[2][cell]
    }
}

/// Correlations of the halves, in standard errors of none, below which they say nothing.
const CHANCE: f64 = 2.0;

/// Sums over cells from which the share of a signal follows that comes back in the other half.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Agreement {
    count: f64,
    /// Of the first half, the second, and all.
    sums: [f64; 3],
    squares: [f64; 3],
    /// Products of the halves.
    products: f64,
}

impl Agreement {
    pub(super) fn add(&mut self, values: [f64; 3]) {
        self.count += 1.0;
        for ((sum, square), value) in self.sums.iter_mut().zip(&mut self.squares).zip(values) {
            *sum += value;
            *square += value * value;
        }
        self.products += values[0] * values[1];
    }

    /// Adds the cells of a region's level.
    pub(super) fn add_level(&mut self, level: &Level, cells: impl Iterator<Item = (usize, usize)>) {
        for cell in cells.filter(|cell| level.known[*cell]) {
            self.add([0, 1, 2].map(|k: usize| level.added[k][cell]));
        }
    }

    /// The mean of all.
    pub(super) fn mean(&self) -> f64 {
        if self.count > 0.0 { self.sums[2] / self.count } else { 0.0 }
    }

    /// The covariance of the halves, which is the variance of what lasts, over the variance of all: how far a value is
    /// to be believed, from 0 to 1. `together` is how many cells are as good as one; 0 where a correlation as large as
    /// that of the halves may be chance.
    pub(super) fn reliability(&self, together: usize) -> f64 {
        let independent = self.count / together as f64;
        let [first, second, all] = self.sums.map(|sum| sum / self.count);
        let covariance = self.products / self.count - first * second;
        let of = |k: usize, mean: f64| self.squares[k] / self.count - mean * mean;
        let (first, second, all) = (of(0, first), of(1, second), of(2, all));
        let correlation = covariance / (first * second).sqrt();
        if correlation * independent.sqrt() > CHANCE { (covariance / all).min(1.0) } else { 0.0 }
    }
}

/// Number of levels.
pub(super) const LEVELS: usize = SIDES.len();

/// How many cells of a level are as good as one: those of its boxes; changes of neighbours are alike in any case.
pub(super) const TOGETHER: [usize; LEVELS] = [31 * 31, 15 * 15, 7 * 7, 3 * 3, 2 * 2];

/// Means over boxes around the cells, as far as they lie in the array.
fn box_means(values: &Array2<f64>, side: usize) -> Array2<f64> {
    let (rows, cols) = values.dim();
    let half = side / 2;
    // Sums of all cells above and to the left.
    let mut sums = Array2::<f64>::zeros((rows + 1, cols + 1));
    for ((row, col), value) in values.indexed_iter() {
        sums[(row + 1, col + 1)] = value + sums[(row, col + 1)] + sums[(row + 1, col)] - sums[(row, col)];
    }
    Array2::from_shape_fn((rows, cols), |(row, col)| {
        let (top, bottom) = (row.saturating_sub(half), (row + half + 1).min(rows));
        let (left, right) = (col.saturating_sub(half), (col + half + 1).min(cols));
        let sum = sums[(bottom, right)] - sums[(top, right)] - sums[(bottom, left)] + sums[(top, left)];
        // Differences of sums round below zero.
        f64::max(sum, 0.0) / ((bottom - top) * (right - left)) as f64
    })
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn boxes_are_averaged_as_far_as_they_lie_inside() {
        let values = Array2::from_shape_fn((9, 12), |(row, col)| ((row * 7 + col * 5) % 11) as f64);
        for side in [1, 3, 7, 31] {
            let means = box_means(&values, side);
            for ((row, col), mean) in means.indexed_iter() {
                let near = |a: usize, b: usize| a.abs_diff(b) <= side / 2;
                let inside: Vec<f64> = values
                    .indexed_iter()
                    .filter(|((r, c), _)| near(*r, row) && near(*c, col))
                    .map(|(_, value)| *value)
                    .collect();
                assert!((mean - inside.iter().sum::<f64>() / inside.len() as f64).abs() < 1e-12);
            }
        }
    }

    /// Sizes of 40 dates whose scale is `scale(row, col)`.
    fn sizes(scale: impl Fn(usize, usize) -> f64) -> Sizes {
        let mut random = StdRng::seed_from_u64(3);
        let mut sizes = Sizes::new((60, 60));
        for date in 0..40 {
            let half = if date < 20 { Half::First } else { Half::Second };
            let plane = Array2::from_shape_fn((60, 60), |(row, col)| scale(row, col) * random.random_range(0.0..2.0));
            sizes.add(1.0, plane.indexed_iter().map(|(cell, size)| (cell, half, *size)));
        }
        sizes
    }

    fn reliabilities(levels: &[Level]) -> Vec<f64> {
        let all = || (0..60).flat_map(|row| (0..60).map(move |col| (row, col)));
        let of = |(level, together): (&Level, usize)| {
            let mut agreement = Agreement::default();
            agreement.add_level(level, all());
            agreement.reliability(together)
        };
        levels.iter().zip(TOGETHER).map(of).collect()
    }

    #[test]
    fn chance_is_not_believed_and_what_lasts_is() {
        let chance = reliabilities(&sizes(|_, _| 1.0).levels());
        assert_eq!(chance, [0.0; LEVELS]);
        // Every third cell changes twice as much: seen by the smallest boxes alone.
        let levels = sizes(|row, col| if (row + col) % 3 == 0 { 1.0 } else { 0.5 }).levels();
        let lasting = reliabilities(&levels);
        assert!(lasting[4] > 0.8, "{lasting:?}");
        let of = |cell: (usize, usize)| levels.iter().map(|level| level.added(cell)).sum::<f64>();
        let (much, little) = (of((30, 30)), of((30, 31)));
        assert!((much - little - 2.0_f64.ln()).abs() < 0.4, "{much} {little}");
    }

    #[test]
    fn a_cell_without_dates_has_what_surrounds_it_and_clouds_count_little() {
        let mut sizes = Sizes::new((40, 40));
        for _ in 0..50 {
            let planes = (0..40).flat_map(|row| (0..40).map(move |col| (row, col)));
            sizes.add(1.0, planes.map(|cell| (cell, Half::First, if cell == (20, 20) { f64::NAN } else { 1.0 })));
        }
        sizes.add(1.0, std::iter::once(((5, 5), Half::Second, 1e9)));
        let levels = sizes.levels();
        let of = |cell: (usize, usize)| levels.iter().map(|level| level.added(cell)).sum::<f64>();
        assert!(of((20, 20)).abs() < 1e-9 && of((5, 5)) < 0.06, "{} {}", of((20, 20)), of((5, 5)));
    }
}
