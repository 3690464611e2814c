//! Symmetric matrices, stored as panels of the lower triangle.

use std::ops::Range;

use faer::Mat;

use super::Real;

/// Columns per panel: wide enough for the rank-k product to run at full speed, narrow enough that the unused half of
/// the diagonal blocks stays small. A multiple of 48, the step of the dense kernels.
const PANEL: usize = 96;

/// A symmetric matrix of which only the lower triangle is stored.
///
/// Columns are stored in panels of 96, each column-major from the first row of the panel down. A panel is an ordinary
/// rectangular matrix with the alignment that dense kernels need, and the matrix takes little more than half of `n²`.
#[derive(Clone, Debug, PartialEq)]
pub struct SymmetricMatrix<T: Real = f64> {
    n: usize,
    panels: Vec<Mat<T>>,
}

/// One panel: columns `cols`, rows `cols.start..n`.
pub(super) struct Panel<'a, T: Real> {
    pub(super) cols: Range<usize>,
    pub(super) values: &'a mut Mat<T>,
}

impl<T: Real> SymmetricMatrix<T> {
    /// The `n × n` matrix of zeros.
    #[must_use]
    pub fn zeros(n: usize) -> Self {
        let panels = (0..n).step_by(PANEL).map(|first| Mat::zeros(n - first, PANEL.min(n - first)));
        Self { n, panels: panels.collect() }
    }

    /// Number of rows and columns.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Memory of an `n × n` matrix, at most `u64::MAX`.
    #[must_use]
    pub fn bytes(n: usize) -> u64 {
        // Half the square, the unused halves of the diagonal blocks, and columns padded to full cache lines.
        let (n, panel, line) = (n as u128, PANEL as u128, 64 / size_of::<T>() as u128);
        let entries = n * (n + panel.min(n)) / 2 + n * (line - 1);
        u64::try_from(entries * size_of::<T>() as u128).unwrap_or(u64::MAX)
    }

    /// Rows `j..n` of column `j`.
    #[must_use]
    pub fn column(&self, j: usize) -> &[T] {
        &self.panels[j / PANEL].col_as_slice(j % PANEL)[j % PANEL..]
    }

    /// Rows `j..n` of column `j`, mutable.
    pub fn column_mut(&mut self, j: usize) -> &mut [T] {
        &mut self.panels[j / PANEL].col_as_slice_mut(j % PANEL)[j % PANEL..]
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
        self.column_mut(col)[row - col] = T::from_f64(value);
    }

    /// The same numbers in another type.
    #[must_use]
    pub fn cast<U: Real>(&self) -> SymmetricMatrix<U> {
        let cast =
            |panel: &Mat<T>| Mat::from_fn(panel.nrows(), panel.ncols(), |i, j| U::from_f64(panel[(i, j)].to_f64()));
        SymmetricMatrix { n: self.n, panels: self.panels.iter().map(cast).collect() }
    }

    /// Appends the lower triangle, column by column.
    pub(super) fn save(&self, target: &mut Vec<T>) {
        (0..self.n).for_each(|j| target.extend_from_slice(self.column(j)));
    }

    /// Restores the triangle that [`save`](Self::save) appended. Returns the remaining values.
    pub(super) fn restore<'s>(&mut self, mut saved: &'s [T]) -> &'s [T] {
        for j in 0..self.n {
            let (column, rest) = saved.split_at(self.n - j);
            self.column_mut(j).copy_from_slice(column);
            saved = rest;
        }
        saved
    }

    /// The panels from left to right.
    pub(super) fn panels_mut(&mut self) -> impl Iterator<Item = Panel<'_, T>> {
        self.panels.iter_mut().enumerate().map(|(k, panel)| {
            let cols = k * PANEL..k * PANEL + panel.ncols();
            Panel { cols, values: panel }
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
                for c in 0..panel.cols.len() {
                    for r in c..panel.values.nrows() {
                        assert_eq!(panel.values[(r, c)], value(panel.cols.start + r, panel.cols.start + c));
                        seen += 1;
                    }
                }
            }
            assert_eq!(seen, n * (n + 1) / 2);
        }
    }
}
