//! Spatial correlation between cells and between averages of cells.

use std::sync::OnceLock;

use super::Average;
use crate::describe::Kernel;
use crate::geometry::Rect;

/// Largest number of entries of a displacement table (8 MiB). Larger displacements are evaluated on request.
const TABLE_ENTRIES: i64 = 1 << 20;

/// Largest number of entries of a displacement table whose sums are tabulated too, four times as many.
const SUMMED_ENTRIES: i64 = 1 << 16;

/// Correlation between cells of the target lattice, and between averages over cells.
///
/// `C(s, s') = Σ_t w_t k_t(|s - s'|; ℓ_t) + nugget [s = s']`. It is stationary, so it is tabulated by the
/// displacement of two cells.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    terms: Vec<CorrelationTerm>,
    nugget: f64,
    /// (width, height) of a cell in CRS units.
    cell_size: (f64, f64),
    /// Displacements up to these are tabulated.
    rows: i64,
    cols: i64,
    /// Made when it is first asked for: of a part's model most correlations are dropped unused.
    table: OnceLock<Table>,
}

/// The smooth part by displacement.
#[derive(Clone, Debug)]
struct Table {
    /// From displacement 0 on, row by row.
    values: Vec<f64>,
    /// Sums over all displacements below and left of each, from the most negative one on (a summed-area table); empty where the table
    /// is large.
    sums: Vec<f64>,
}

/// One kernel of a sum.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CorrelationTerm {
    pub(crate) kernel: Kernel,
    /// ℓ in CRS units.
    pub(crate) range: f64,
    /// Share of the variance.
    pub(crate) weight: f64,
}

impl Correlation {
    /// The correlation, tabulated for displacements up to `reach` (rows, columns) of cells.
    pub(crate) fn new(terms: Vec<CorrelationTerm>, nugget: f64, cell_size: (f64, f64), reach: (i64, i64)) -> Self {
        let (rows, cols) = (reach.0 + 1, reach.1 + 1);
        let (rows, cols) = if rows.saturating_mul(cols) <= TABLE_ENTRIES { (rows, cols) } else { (0, 0) };
        Self { terms, nugget, cell_size, rows, cols, table: OnceLock::new() }
    }

    fn table(&self) -> &Table {
        self.table.get_or_init(|| {
            let cells = Rect::new(0..self.rows, 0..self.cols).cells();
            let values: Vec<f64> = cells.map(|(dr, dc)| self.evaluate(dr, dc)).collect();
            let (height, width) = (2 * self.rows - 1, 2 * self.cols);
            let mut sums = Vec::new();
            if (1..=SUMMED_ENTRIES).contains(&(self.rows * self.cols)) {
                sums = vec![0.0; ((height + 1) * width) as usize];
                for row in 0..height {
                    let mut of_row = 0.0;
                    for col in 0..width - 1 {
                        let (dr, dc) = ((row + 1 - self.rows).abs(), (col + 1 - self.cols).abs());
                        of_row += values[(dr * self.cols + dc) as usize];
                        let below = sums[(row * width + col + 1) as usize];
                        sums[((row + 1) * width + col + 1) as usize] = below + of_row;
                    }
                }
            }
            Table { values, sums }
        })
    }

    /// Sum of the smooth part over the displacements from a cell to those of a rectangle; `None` beyond the table.
    fn sum_to(&self, (row, col): (i64, i64), rect: &Rect) -> Option<f64> {
        let (top, bottom) = (rect.top - row, rect.bottom - row);
        let (left, right) = (rect.left - col, rect.right - col);
        let inside = top > -self.rows && bottom <= self.rows && left > -self.cols && right <= self.cols;
        let sums = Some(&self.table().sums).filter(|sums| inside && !sums.is_empty())?;
        let at = |row: i64, col: i64| sums[((row + self.rows - 1) * 2 * self.cols + col + self.cols - 1) as usize];
        Some(at(bottom, right) - at(top, right) - (at(bottom, left) - at(top, left)))
    }

    /// Whether it is the same as another on the same lattice.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.nugget == other.nugget && self.terms == other.terms
    }

    /// The smooth part at a displacement, without the nugget.
    fn evaluate(&self, rows: i64, cols: i64) -> f64 {
        let distance = f64::hypot(cols as f64 * self.cell_size.0, rows as f64 * self.cell_size.1);
        self.terms.iter().map(|term| term.weight * term.kernel.correlation(distance, term.range)).sum()
    }

    /// Correlation at this displacement in rows and columns, without the nugget.
    pub(crate) fn smooth(&self, rows: i64, cols: i64) -> f64 {
        let (rows, cols) = (rows.abs(), cols.abs());
        if rows < self.rows && cols < self.cols {
            self.table().values[(rows * self.cols + cols) as usize]
        } else {
            self.evaluate(rows, cols)
        }
    }

    /// Whether different cells are independent according to the kernels.
    pub(crate) fn is_white(&self) -> bool {
        self.terms.iter().all(|term| term.kernel == Kernel::None)
    }

    /// Correlation between two cells (row, column).
    pub(crate) fn between_cells(&self, a: (i64, i64), b: (i64, i64)) -> f64 {
        let nugget = if a == b { self.nugget } else { 0.0 };
        self.smooth(a.0 - b.0, a.1 - b.1) + nugget
    }

    /// Correlation between two averages over cells: the weighted double sum of C, exact.
    ///
    /// Cells of two rectangles that are `(dr, dc)` apart have the same correlation, so the sum runs over
    /// displacements, each with the summed weight of its pairs. Weights are products of row and column weights, so
    /// these sums are products as well: `(h₁ + h₂)(w₁ + w₂)` terms, not `h₁ w₁ h₂ w₂`. To a single cell, sums over rectangles of equal
    /// weights are tabulated.
    pub(crate) fn between_averages(&self, a: &Average, b: &Average) -> f64 {
        if let (true, Some(cell)) = (a.is_plain(), b.single_cell())
            && let Some(sum) = a.rects().iter().map(|rect| self.sum_to(cell, rect)).sum::<Option<f64>>()
        {
            let shared = a.rects().iter().any(|rect| rect.contains(cell.0, cell.1));
            return (sum + if shared { self.nugget } else { 0.0 }) / a.total();
        }
        let mut sum = 0.0;
        for from in a.rects() {
            for to in b.rects() {
                let (rows, cols) = (Average::rows_apart((a, from), (b, to)), Average::cols_apart((a, from), (b, to)));
                for (dr, weight) in rows.iter() {
                    sum += weight * cols.iter().map(|(dc, weight)| weight * self.smooth(dr, dc)).sum::<f64>();
                }
                sum += self.nugget * rows.together() * cols.together();
            }
        }
        sum / (a.total() * b.total())
    }
}

impl Correlation {
    /// Uncorrelated variance of a cell.
    pub(crate) fn nugget(&self) -> f64 {
        self.nugget
    }

    /// The contribution of the nugget to [`between_averages`](Self::between_averages).
    pub(crate) fn nugget_between(&self, a: &Average, b: &Average) -> f64 {
        if self.nugget == 0.0 {
            return 0.0;
        }
        let pairs = a.rects().iter().flat_map(|from| b.rects().iter().map(move |to| ((a, from), (b, to))));
        let shared =
            pairs.map(|(from, to)| Average::rows_apart(from, to).together() * Average::cols_apart(from, to).together());
        self.nugget * shared.sum::<f64>() / (a.total() * b.total())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Rect;
    use crate::model::Profile;

    #[test]
    fn averages_equal_the_double_mean_over_cells() {
        let terms = vec![
            CorrelationTerm { kernel: Kernel::Exponential, range: 90.0, weight: 0.7 },
            CorrelationTerm { kernel: Kernel::Matern32, range: 300.0, weight: 0.3 },
        ];
        let tabulated = Correlation::new(terms.clone(), 0.1, (30.0, 20.0), (40, 40));
        let direct = Correlation::new(terms, 0.1, (30.0, 20.0), (i64::MAX / 2, 2));
        let a = [Rect::new(-3..2, 0..4), Rect::new(2..4, 1..2)];
        let b = [Rect::new(0..5, 2..9), Rect::new(-8..-6, -4..-1), Rect::cell(7, 7)];
        let mut sum = 0.0;
        let mut pairs = 0.0;
        for x in a.iter().flat_map(Rect::cells) {
            for y in b.iter().flat_map(Rect::cells) {
                let d = f64::hypot((x.1 - y.1) as f64 * 30.0, (x.0 - y.0) as f64 * 20.0);
                sum += 0.7 * Kernel::Exponential.correlation(d, 90.0) + 0.3 * Kernel::Matern32.correlation(d, 300.0);
                sum += if x == y { 0.1 } else { 0.0 };
                pairs += 1.0;
            }
        }
        let (a, b) = (Average::new(a.into(), None), Average::new(b.into(), None));
        for correlation in [&tabulated, &direct] {
            assert!((correlation.between_averages(&a, &b) - sum / pairs).abs() < 1e-14);
            assert!((correlation.between_averages(&b, &a) - sum / pairs).abs() < 1e-14);
            // The summed-area table against the sums that it stands for.
            for (row, col) in [(0, 0), (1, 3), (-30, 25), (3, 1)] {
                let cells = a.rects().iter().flat_map(Rect::cells);
                let mean = cells.map(|cell| correlation.between_cells(cell, (row, col))).sum::<f64>() / a.total();
                assert!((correlation.between_averages(&a, &Average::cell(row, col)) - mean).abs() < 1e-13 * mean);
            }
        }
        assert_eq!(tabulated.between_cells((3, 4), (3, 4)), 1.1);
    }

    #[test]
    fn weighted_averages_equal_the_weighted_double_sum() {
        let terms = vec![CorrelationTerm { kernel: Kernel::Exponential, range: 70.0, weight: 1.0 }];
        let correlation = Correlation::new(terms, 0.2, (30.0, 20.0), (40, 40));
        let line = |n: usize, peak: f64| (0..n).map(|k| (-0.1 * (k as f64 - peak).powi(2)).exp()).collect();
        let profile = |first, rows, cols| Profile { first, rows: line(rows, 3.2), cols: line(cols, 2.5) };
        let a = Average::new(vec![Rect::new(0..3, 0..6), Rect::new(3..7, 4..6)], Some(profile((0, 0), 7, 6)));
        let b = Average::new(vec![Rect::new(2..7, -3..2)], Some(profile((2, -3), 6, 5)));
        let c = Average::new(vec![Rect::new(-2..1, 1..3)], None);
        let cells = |average: &Average| -> Vec<((i64, i64), f64)> {
            let cells = average.rects().iter().flat_map(Rect::cells);
            cells.map(|(row, col)| ((row, col), average.weight(row, col))).collect()
        };
        for (a, b) in [(&a, &b), (&b, &c), (&a, &a), (&c, &a)] {
            let (mut sum, mut weights) = (0.0, (0.0, 0.0));
            for (x, v) in cells(a) {
                weights.0 += v;
                sum += cells(b).iter().map(|(y, w)| v * w * correlation.between_cells(x, *y)).sum::<f64>();
            }
            weights.1 += cells(b).iter().map(|(_, w)| w).sum::<f64>();
            let expected = sum / (weights.0 * weights.1);
            assert!((correlation.between_averages(a, b) - expected).abs() < 1e-14 * expected);
        }
    }
}
