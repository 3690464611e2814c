use super::Kernel;
use crate::geometry::Rect;

/// Entries of a displacement table at most (8 MiB); what lies beyond is evaluated when asked for.
const TABLE_ENTRIES: i64 = 1 << 20;

/// Correlation between cells of the target lattice, and between averages over cells.
///
/// `C(s, s') = Σ_t w_t k_t(|s - s'|; ℓ_t) + nugget [s = s']`, stationary, so it depends on the displacement between two cells
/// alone and is tabulated by it.
#[derive(Clone, Debug)]
pub(crate) struct Correlation {
    terms: Vec<CorrelationTerm>,
    nugget: f64,
    /// (width, height) of a cell in CRS units.
    cell_size: (f64, f64),
    rows: i64,
    cols: i64,
    table: Vec<f64>,
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
    /// Tabulated for displacements up to `reach` (rows, columns) of cells.
    pub(crate) fn new(terms: Vec<CorrelationTerm>, nugget: f64, cell_size: (f64, f64), reach: (i64, i64)) -> Self {
        let mut this = Self { terms, nugget, cell_size, rows: 0, cols: 0, table: Vec::new() };
        let (rows, cols) = (reach.0 + 1, reach.1 + 1);
        if rows.saturating_mul(cols) <= TABLE_ENTRIES {
            this.table = Rect::new(0..rows, 0..cols).cells().map(|(dr, dc)| this.evaluate(dr, dc)).collect();
            (this.rows, this.cols) = (rows, cols);
        }
        this
    }

    /// The smooth part at a displacement, without the nugget.
    fn evaluate(&self, rows: i64, cols: i64) -> f64 {
        let distance = f64::hypot(cols as f64 * self.cell_size.0, rows as f64 * self.cell_size.1);
        self.terms.iter().map(|term| term.weight * term.kernel.correlation(distance, term.range)).sum()
    }

    fn smooth(&self, rows: i64, cols: i64) -> f64 {
        let (rows, cols) = (rows.abs(), cols.abs());
        if rows < self.rows && cols < self.cols {
            self.table[(rows * self.cols + cols) as usize]
        } else {
            self.evaluate(rows, cols)
        }
    }

    /// Whether different cells are independent, by the kernels alone.
    pub(crate) fn is_white(&self) -> bool {
        self.terms.iter().all(|term| term.kernel == Kernel::None)
    }

    /// Between two cells (row, column).
    pub(crate) fn between_cells(&self, a: (i64, i64), b: (i64, i64)) -> f64 {
        let nugget = if a == b { self.nugget } else { 0.0 };
        self.smooth(a.0 - b.0, a.1 - b.1) + nugget
    }

    /// Between the averages over two unions of disjoint rectangles: the double mean of C over their cells, exact.
    ///
    /// Cells of two rectangles that are `(dr, dc)` apart all have the same correlation, so the sum runs over
    /// displacements, each counted as often as it occurs: `(h₁ + h₂)(w₁ + w₂)` terms, not `h₁ w₁ h₂ w₂`.
    pub(crate) fn between_averages(&self, a: &[Rect], b: &[Rect]) -> f64 {
        let count = |rects: &[Rect]| rects.iter().map(Rect::count).sum::<i64>() as f64;
        let mut sum = 0.0;
        for from in a {
            for to in b {
                sum += self.sum_between(from, to) + self.nugget * from.intersection(to).count() as f64;
            }
        }
        sum / (count(a) * count(b))
    }

    fn sum_between(&self, a: &Rect, b: &Rect) -> f64 {
        // How many pairs of the two ranges are d apart.
        let pairs = |a0: i64, a1: i64, b0: i64, b1: i64, d: i64| ((a1.min(b1 - d)) - (a0.max(b0 - d))).max(0) as f64;
        let mut sum = 0.0;
        for dr in b.top - a.bottom + 1..b.bottom - a.top {
            let mut row = 0.0;
            for dc in b.left - a.right + 1..b.right - a.left {
                row += pairs(a.left, a.right, b.left, b.right, dc) * self.smooth(dr, dc);
            }
            sum += pairs(a.top, a.bottom, b.top, b.bottom, dr) * row;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for correlation in [&tabulated, &direct] {
            assert!((correlation.between_averages(&a, &b) - sum / pairs).abs() < 1e-14);
            assert!((correlation.between_averages(&b, &a) - sum / pairs).abs() < 1e-14);
        }
        assert_eq!(tabulated.between_cells((3, 4), (3, 4)), 1.1);
    }
}
