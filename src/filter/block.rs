//! Blocks of states with a common process, and their correlation, which windows share where it is equal.

use std::sync::Arc;

use super::Real;

/// Correlation of the states of one block; equal parts are shared between windows.
///
/// The first `head` states are usually cells whose mutual correlation is the same in every window. The others (the
/// tail) belong to one window. The head is therefore reference-counted.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockCov {
    n: usize,
    head_len: usize,
    /// Packed lower triangle of the head, column by column.
    head: Arc<[f64]>,
    /// Rows `head_len..n` of every column, column-major; the upper triangle of the tail is unused.
    tail: Vec<f64>,
}

impl BlockCov {
    /// A matrix from a shared head and the rows below it.
    ///
    /// `head` is the packed lower triangle of the first `head_len` states, column by column. `tail(i, j)` returns the
    /// entries of rows `head_len <= i < n`, `j <= i`.
    #[must_use]
    pub fn new(n: usize, head_len: usize, head: Arc<[f64]>, mut tail: impl FnMut(usize, usize) -> f64) -> Self {
        debug_assert_eq!(head.len(), head_len * (head_len + 1) / 2);
        let below = n - head_len;
        let mut values = vec![0.0; below * n];
        if below > 0 {
            for (j, column) in values.chunks_exact_mut(below).enumerate() {
                for (row, value) in column.iter_mut().enumerate().skip(j.saturating_sub(head_len)) {
                    *value = tail(head_len + row, j);
                }
            }
        }
        Self { n, head_len, head, tail: values }
    }

    /// A matrix without a shared head, from `entry(i, j)`, `j <= i`.
    #[must_use]
    pub fn dense(n: usize, entry: impl Fn(usize, usize) -> f64) -> Self {
        let head = Self::pack(n, entry);
        Self { n, head_len: n, head, tail: Vec::new() }
    }

    /// The packed lower triangle, column by column, of `entry(i, j)`, `j <= i`.
    #[must_use]
    pub fn pack(n: usize, entry: impl Fn(usize, usize) -> f64) -> Arc<[f64]> {
        (0..n).flat_map(|j| (j..n).map(move |i| (i, j))).map(|(i, j)| entry(i, j)).collect()
    }

    /// Number of states.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Entry (i, j), in either order.
    #[must_use]
    pub fn get(&self, i: usize, j: usize) -> f64 {
        let (row, col) = (i.max(j), i.min(j));
        if row < self.head_len {
            self.head_column(col)[row - col]
        } else {
            self.tail[col * (self.n - self.head_len) + row - self.head_len]
        }
    }

    /// Rows `j..head_len` of column `j`; empty past the head.
    fn head_column(&self, j: usize) -> &[f64] {
        if j >= self.head_len {
            return &[];
        }
        // Columns 0..j hold head_len, head_len - 1, ... entries.
        let start = j * self.head_len - (j * j.saturating_sub(1)) / 2;
        &self.head[start..start + self.head_len - j]
    }

    /// Rows `max(j, head_len)..n` of column `j`.
    fn tail_column(&self, j: usize) -> &[f64] {
        let below = self.n - self.head_len;
        &self.tail[j * below + j.saturating_sub(self.head_len)..(j + 1) * below]
    }

    /// Rows `j..n` of column `j`, in two parts.
    #[inline(always)]
    pub(crate) fn column(&self, j: usize) -> impl Iterator<Item = &[f64]> {
        [self.head_column(j), self.tail_column(j)].into_iter()
    }

    /// Adds `scale` times rows `j..n` of column `j` to `target`.
    #[inline(always)]
    fn add_column<T: Real>(&self, j: usize, scale: f64, target: &mut [T]) {
        let mut rest = target;
        for part in self.column(j) {
            let (target, below) = rest.split_at_mut(part.len());
            for (value, entry) in target.iter_mut().zip(part) {
                *value += T::from_f64(scale * entry);
            }
            rest = below;
        }
    }
}

/// Consecutive states that share a transition and a process covariance; their noise is independent of that of all
/// other blocks.
#[derive(Clone, Debug)]
pub struct ProcessBlock {
    /// Number of states.
    pub len: usize,
    /// Transition φ per day, in [0, 1].
    pub transition: f64,
    /// Process variance per day, in u²/day.
    pub variance: f64,
    /// Correlation between the block's states.
    pub correlation: Arc<BlockCov>,
}

/// Adds `scale` times rows `j..n` of column `j` to `target`.
pub(super) struct AddColumn<'a, T> {
    pub(super) correlation: &'a BlockCov,
    pub(super) j: usize,
    pub(super) scale: f64,
    pub(super) target: &'a mut [T],
}

impl<T: Real> pulp::WithSimd for AddColumn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.correlation.add_column(self.j, self.scale, self.target);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correlation(i: usize, j: usize) -> f64 {
        (-(i.abs_diff(j) as f64) / 3.0).exp()
    }

    #[test]
    fn head_and_tail_make_one_matrix() {
        let whole = BlockCov::dense(7, correlation);
        for head in 0..=7 {
            let split = BlockCov::new(7, head, BlockCov::pack(head, correlation), correlation);
            for j in 0..7 {
                let mut column = vec![0.0; 7 - j];
                split.add_column(j, 2.0, &mut column);
                for i in j..7 {
                    assert_eq!(split.get(i, j), whole.get(j, i));
                    assert_eq!(column[i - j], 2.0 * correlation(i, j));
                }
            }
        }
    }
}
