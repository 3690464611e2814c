//! Pairs of components: the lower triangle of a symmetric matrix, row by row.

/// Position of a pair in the lower triangle, row by row.
pub(crate) fn pair(j: usize, l: usize) -> usize {
    let (row, col) = (j.max(l), j.min(l));
    row * (row + 1) / 2 + col
}

/// Entries of the lower triangle of a matrix of so many rows.
pub(crate) fn pair_count(rows: usize) -> usize {
    rows * (rows + 1) / 2
}
