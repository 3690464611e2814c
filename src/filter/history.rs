//! Histories of states, for a process covariance that depends on the similarity of histories.

use std::ops::Range;

use super::ProcessBlock;
use super::bytes::{SnapshotMismatch, SnapshotReader, append_count, append_values};

/// Uncorrelated variance that makes the state-dependent covariance of cells with equal histories positive definite,
/// u².
const JITTER: f64 = 1e-10;

/// The history of the states, in the form that a state-dependent process covariance needs.
///
/// States with similar precision-weighted histories are assumed to change in a similar way:
/// `Q ← α Q + (1 - α) Q_x`, `Q_x(s, s') = σ_s σ_s' exp(-d(s, s') / ℓ_x) + 1e-10 [s = s']`,
/// `d² = Σ_t (a_t(s) / A(s) - a_t(s') / A(s'))²`, `a_t = m_t / sd_t`, `A = Σ_t 1 / sd_t`, with sums over the dates on
/// which the state was updated. `σ_s²` is the process variance of the state, at most that of the component: for a
/// cell the component's without nugget, for an average over cells less.
///
/// The sums are stored as the Gram matrix `Σ_t a_t a_tᵀ` and `A`, so memory does not grow:
/// `d² = G_ss / A_s² + G_s's' / A_s'² - 2 G_ss' / (A_s A_s')`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct History {
    /// α.
    weight: f64,
    /// `ℓ_x`, in u.
    scale: f64,
    /// Number of updates. Q is used unchanged until the first one.
    updates: usize,
    /// One for each block of the dynamics that depends on history.
    blocks: Vec<BlockHistory>,
    /// Scratch.
    column: Vec<f64>,
}

#[derive(Clone, Debug, PartialEq)]
struct BlockHistory {
    first: usize,
    /// `Σ_t 1 / sd_t`.
    precision: Vec<f64>,
    /// `Σ_t a_t a_tᵀ`, lower triangle packed column by column.
    gram: Vec<f64>,
    /// `σ_s` relative to the block's σ.
    amplitude: Vec<f64>,
    /// `a_t` of the current update.
    current: Vec<f64>,
    /// `1 / A`, and `G_ss / A_s²`.
    scaled: Vec<(f64, f64)>,
}

impl History {
    pub(super) fn new(dynamics: &[(Range<usize>, ProcessBlock)], weight: f64, scale: f64) -> Self {
        let longest = dynamics.iter().map(|(_, block)| block.len).max().unwrap_or(0);
        let block = |(states, block): &(Range<usize>, ProcessBlock)| BlockHistory {
            first: states.start,
            precision: vec![0.0; block.len],
            gram: vec![0.0; block.len * (block.len + 1) / 2],
            amplitude: (0..block.len).map(|i| block.correlation.get(i, i).clamp(0.0, 1.0).sqrt()).collect(),
            current: vec![0.0; block.len],
            scaled: vec![(0.0, 0.0); block.len],
        };
        Self {
            weight,
            scale,
            updates: 0,
            blocks: dynamics.iter().map(block).collect(),
            column: Vec::with_capacity(longest),
        }
    }

    /// Whether a block of the dynamics depends on history.
    pub(super) fn covers(&self, block: usize) -> bool {
        block < self.blocks.len()
    }

    /// Adds an updated state to the history.
    pub(super) fn record(&mut self, mean: &[f64], variance: impl Fn(usize) -> f64) {
        self.updates += 1;
        for block in &mut self.blocks {
            for (i, a) in block.current.iter_mut().enumerate() {
                let precision = variance(block.first + i).sqrt().recip();
                block.precision[i] += precision;
                *a = mean[block.first + i] * precision;
            }
            let mut rest = block.gram.as_mut_slice();
            for (j, &a) in block.current.iter().enumerate() {
                let (column, tail) = rest.split_at_mut(block.current.len() - j);
                column.iter_mut().zip(&block.current[j..]).for_each(|(gram, b)| *gram += a * b);
                rest = tail;
            }
            block.scale();
        }
    }

    /// Appends the sums to a snapshot.
    pub(super) fn append_snapshot(&self, target: &mut Vec<u8>) {
        append_count(self.updates, target);
        for block in &self.blocks {
            append_values(&block.precision, target);
            append_values(&block.gram, target);
        }
    }

    /// Restores the sums that [`append_snapshot`](Self::append_snapshot) wrote.
    pub(super) fn restore_snapshot(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotMismatch> {
        self.updates = reader.count()?;
        for block in &mut self.blocks {
            reader.values(&mut block.precision)?;
            reader.values(&mut block.gram)?;
            block.scale();
        }
        Ok(())
    }

    /// Rows `j..` of column `j` of the state-dependent correlation of a block of the dynamics.
    pub(super) fn column(&mut self, index: usize, block: &ProcessBlock, j: usize) -> &[f64] {
        self.column.clear();
        block.correlation.column(j).for_each(|part| self.column.extend_from_slice(part));
        if self.updates == 0 {
            return &self.column;
        }
        let variance = block.variance;
        let block = &self.blocks[index];
        let gram = block.gram_column(j);
        let (share, own) = block.scaled[j];
        let (weight, scale) = ((1.0 - self.weight) * block.amplitude[j], -self.scale.recip());
        let others = block.scaled[j..].iter().zip(&block.amplitude[j..]).zip(gram);
        for (value, ((&(other_share, other), amplitude), gram)) in self.column.iter_mut().zip(others) {
            let distance = distance(own, other, gram * share * other_share);
            *value = self.weight * *value + weight * amplitude * (distance * scale).exp();
        }
        self.column[0] += (1.0 - self.weight) * JITTER / variance;
        &self.column
    }

    /// Entry (i, j), `i >= j`, of a block's state-dependent correlation, where the block's own correlation is
    /// `correlation`: a single entry of [`column`](Self::column).
    pub(super) fn entry(&self, block: usize, i: usize, j: usize, variance: f64, correlation: f64) -> f64 {
        if self.updates == 0 {
            return correlation;
        }
        let block = &self.blocks[block];
        let ((a, own), (b, other)) = (block.scaled[j], block.scaled[i]);
        let distance = distance(own, other, block.gram(i, j) * a * b);
        let similarity = block.amplitude[i] * block.amplitude[j] * (-distance / self.scale).exp();
        let jitter = if i == j { JITTER / variance } else { 0.0 };
        self.weight * correlation + (1.0 - self.weight) * (similarity + jitter)
    }

    /// Bytes of the history of `n` states in blocks of `len`.
    pub(super) fn bytes(n: usize, len: usize) -> usize {
        n.div_ceil(len.max(1)) * (len * (len + 1) / 2 + 5 * len) * size_of::<f64>()
    }
}

impl BlockHistory {
    /// Updates the scaled terms of the distances.
    fn scale(&mut self) {
        for i in 0..self.scaled.len() {
            let share = self.precision[i].recip();
            self.scaled[i] = (share, self.gram(i, i) * share * share);
        }
    }

    /// Rows `j..` of column `j` of the Gram matrix.
    fn gram_column(&self, j: usize) -> &[f64] {
        let n = self.current.len();
        let start = j * n - j * j.saturating_sub(1) / 2;
        &self.gram[start..start + n - j]
    }

    fn gram(&self, i: usize, j: usize) -> f64 {
        self.gram_column(j)[i - j]
    }
}

/// The distance of two histories, from their squared norms and their product.
fn distance(own: f64, other: f64, product: f64) -> f64 {
    // Rounding may make the squared distance of equal histories negative.
    (own + other - 2.0 * product).max(0.0).sqrt()
}
