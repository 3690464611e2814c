use std::ops::Range;

use super::Real;

/// Columns per panel: wide enough for the rank-k product to run at the machine's rate, narrow enough that the unused
/// half of the diagonal blocks stays small. A multiple of 24 and 48, in which dense kernels walk.
const PANEL: usize = 96;

/// A symmetric matrix of which only the lower triangle exists.
///
/// Columns are kept in panels of 96, each column-major from the panel's first row down, so that a panel is an ordinary
/// rectangular matrix for the dense kernels while the whole takes little more than half of `n²`.
#[derive(Clone, Debug, PartialEq)]
pub struct SymmetricMatrix<T = f64> {
    n: usize,
    data: Vec<T>,
}

/// One panel: columns `cols`, rows `cols.start..n`, column-major with `n - cols.start` rows.
pub(super) struct Panel<'a, T> {
    pub(super) cols: Range<usize>,
    pub(super) rows: usize,
    pub(super) data: &'a mut [T],
}

impl<T: Real> SymmetricMatrix<T> {
    /// The `n × n` matrix of zeros.
    #[must_use]
    pub fn zeros(n: usize) -> Self {
        Self { n, data: vec![T::default(); Self::len_of(n)] }
    }

    /// Rows, which are also its columns.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Memory an `n × n` matrix takes, at most `u64::MAX`.
    #[must_use]
    pub fn bytes(n: usize) -> u64 {
        // Half the square, and the unused halves of the diagonal blocks.
        let (n, panel) = (n as u128, PANEL as u128);
        let entries = n * (n + panel.min(n)) / 2;
        u64::try_from(entries * size_of::<T>() as u128).unwrap_or(u64::MAX)
    }

    fn len_of(n: usize) -> usize {
        (0..n).step_by(PANEL).map(|first| (n - first) * PANEL.min(n - first)).sum()
    }

    /// Where column `j` has its diagonal entry.
    fn diagonal_at(&self, j: usize) -> usize {
        let panel = j / PANEL;
        let first = panel * PANEL;
        // Panels before this one are all full: sum of PANEL (n - PANEL k) over k < panel.
        let start = PANEL * (panel * self.n) - PANEL * PANEL * (panel * panel.saturating_sub(1) / 2);
        start + (j - first) * (self.n - first) + (j - first)
    }

    /// Rows `j..n` of column `j`.
    #[must_use]
    pub fn column(&self, j: usize) -> &[T] {
        let start = self.diagonal_at(j);
        &self.data[start..start + self.n - j]
    }

    /// Rows `j..n` of column `j`, to change.
    pub fn column_mut(&mut self, j: usize) -> &mut [T] {
        let start = self.diagonal_at(j);
        let len = self.n - j;
        &mut self.data[start..start + len]
    }

    /// Entry (i, j), in either order.
    #[must_use]
    pub fn get(&self, i: usize, j: usize) -> f64 {
        let (row, col) = (i.max(j), i.min(j));
        self.column(col)[row - col].to_f64()
    }

    /// Sets entries (i, j) and (j, i).
    pub fn set(&mut self, i: usize, j: usize, value: f64) {
        let (row, col) = (i.max(j), i.min(j));
        self.column_mut(col)[row - col] = T::of(value);
    }

    /// The same numbers in another type.
    #[must_use]
    pub fn cast<U: Real>(&self) -> SymmetricMatrix<U> {
        SymmetricMatrix { n: self.n, data: self.data.iter().map(|value| U::of(value.to_f64())).collect() }
    }

    /// The panels from left to right.
    pub(super) fn panels_mut(&mut self) -> impl Iterator<Item = Panel<'_, T>> {
        let n = self.n;
        let mut rest = self.data.as_mut_slice();
        (0..n).step_by(PANEL).map(move |first| {
            let cols = first..(first + PANEL).min(n);
            let (data, tail) = std::mem::take(&mut rest).split_at_mut((n - first) * cols.len());
            rest = tail;
            Panel { cols, rows: n - first, data }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_where_they_were_put() {
        for n in [1, 2, 95, 96, 97, 192, 200, 300] {
            let mut matrix = SymmetricMatrix::<f64>::zeros(n);
            let value = |i: usize, j: usize| (i.max(j) * 1000 + i.min(j)) as f64 + 1.0;
            for i in 0..n {
                for j in 0..=i {
                    matrix.set(j, i, value(i, j));
                }
            }
            for i in 0..n {
                for j in 0..n {
                    assert_eq!(matrix.get(i, j), value(i, j));
                }
                assert_eq!(matrix.column(i).len(), n - i);
            }
            let mut seen = 0;
            for panel in matrix.panels_mut() {
                for (c, column) in panel.data.chunks_exact(panel.rows).enumerate() {
                    for (r, &entry) in column.iter().enumerate().skip(c) {
                        assert_eq!(entry, value(panel.cols.start + r, panel.cols.start + c));
                        seen += 1;
                    }
                }
            }
            assert_eq!(seen, n * (n + 1) / 2);
        }
    }
}
