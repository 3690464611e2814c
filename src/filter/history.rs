use super::Dynamics;

/// Uncorrelated variance that keeps the state-dependent covariance of cells with the same history positive definite, u².
const JITTER: f64 = 1e-10;

/// The past of a state, as far as a state-dependent process covariance needs it.
///
/// States whose precision-weighted histories are alike are believed to change alike:
/// `Q ← α Q + (1 - α) Q_x`, `Q_x(s, s') = σ_s σ_s' exp(-d(s, s') / ℓ_x) + 1e-10 [s = s']`,
/// `d² = Σ_t (a_t(s) / A(s) - a_t(s') / A(s'))²`, `a_t = m_t / sd_t`, `A = Σ_t 1 / sd_t`, the sums over the dates on which
/// the state was updated. `σ_s²` is the state's own process variance without nugget: of a cell that of the component, of an
/// average over cells less.
///
/// The sums are carried as Gram matrix `Σ_t a_t a_tᵀ` and `A`, so memory does not grow:
/// `d² = G_ss / A_s² + G_s's' / A_s'² - 2 G_ss' / (A_s A_s')`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct History {
    /// α.
    weight: f64,
    /// `ℓ_x`, in u.
    scale: f64,
    /// Updates so far; before the first, Q is used as it is.
    updates: usize,
    /// By block of the dynamics.
    blocks: Vec<BlockHistory>,
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
}

impl History {
    pub(super) fn new(dynamics: &Dynamics, weight: f64, scale: f64) -> Self {
        let block = |(states, block): &(std::ops::Range<usize>, super::ProcessBlock)| BlockHistory {
            first: states.start,
            precision: vec![0.0; block.len],
            gram: vec![0.0; block.len * (block.len + 1) / 2],
            amplitude: (0..block.len).map(|i| block.correlation.get(i, i).clamp(0.0, 1.0).sqrt()).collect(),
            current: vec![0.0; block.len],
        };
        Self { weight, scale, updates: 0, blocks: dynamics.blocks().iter().map(block).collect() }
    }

    /// Takes in the state after an update.
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
        }
    }

    /// Entry (i, j), `i >= j`, of a block's state-dependent correlation where it is `correlation` otherwise.
    pub(super) fn entry(&self, block: usize, i: usize, j: usize, variance: f64, correlation: f64) -> f64 {
        if self.updates == 0 || variance == 0.0 {
            return correlation;
        }
        let block = &self.blocks[block];
        let alike = block.amplitude[i] * block.amplitude[j] * (-block.distance(i, j) / self.scale).exp();
        let jitter = if i == j { JITTER / variance } else { 0.0 };
        self.weight * correlation + (1.0 - self.weight) * (alike + jitter)
    }

    /// Bytes of the history of `n` states in blocks of `len`.
    pub(super) fn bytes(n: usize, len: usize) -> usize {
        n.div_ceil(len.max(1)) * (len * (len + 1) / 2 + 3 * len) * size_of::<f64>()
    }
}

impl BlockHistory {
    fn gram(&self, i: usize, j: usize) -> f64 {
        let n = self.current.len();
        self.gram[j * n - j * j.saturating_sub(1) / 2 + i - j]
    }

    /// d(i, j), `i >= j`.
    fn distance(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (self.precision[i], self.precision[j]);
        let squared = self.gram(i, i) / (a * a) + self.gram(j, j) / (b * b) - 2.0 * self.gram(i, j) / (a * b);
        // Rounding may take the distance of equal histories below zero.
        squared.max(0.0).sqrt()
    }
}
