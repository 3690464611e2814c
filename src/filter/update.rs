use faer::dyn_stack::MemStack;
use faer::linalg::cholesky::llt::factor::{LltError, LltRegularization, cholesky_in_place};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
use faer::{Accum, MatMut, MatRef, Par};

use super::workspace::{BLOCK, Block};
use super::{Innovation, Observations, State, SymmetricMatrix, Workspace};

/// Largest loss of a state's variance in one update, relative to the variance before: below it, cancellation in `P - W Wᵀ`
/// leaves fewer than three digits of the result.
const LEAST_VARIANCE_RATIO: f64 = 1e-12;

/// A breakdown of the arithmetic: the numbers asked for do not fit into float64.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NumericalError {
    /// An innovation covariance that is not positive definite, or holds NaN.
    #[error("the innovation covariance is not positive definite (pivot {pivot} of {size})")]
    NotPositiveDefinite {
        /// The pivot that was not positive.
        pivot: usize,
        /// Size of the block.
        size: usize,
    },
    /// A variance fell by more orders of magnitude than float64 has digits for.
    #[error(
        "the variance of state {state} fell from {before:e} to {after:e} in one update, beyond the precision of float64"
    )]
    LostPrecision {
        /// The state.
        state: usize,
        /// Variance before the update.
        before: f64,
        /// Variance after it.
        after: f64,
    },
    /// A mean that is no number, from observations of absurd size.
    #[error("the mean of state {state} is not finite")]
    NotFinite {
        /// The state.
        state: usize,
    },
}

impl State {
    /// Conditions the state on a date's observations, in sequential blocks of the pseudo-observations.
    ///
    /// Per block `G = P Hᵀ`, `S = H G + I = C Cᵀ`, `W = G C⁻ᵀ`, `m ← m + W C⁻¹ (z - H m)`, `P ← P - W Wᵀ`: the textbook update
    /// (Särkkä & Svensson, *Bayesian Filtering and Smoothing*, 2nd ed., eq. 6.21–6.22) with the gain factored, on the lower
    /// triangle alone.
    /// Noise is independent between rows, so blocks one after the other equal all at once.
    ///
    /// Returns how each instrument fitted, in the order of the groups.
    ///
    /// # Errors
    /// [`NumericalError`] when the arithmetic breaks down; the state is then half updated and must not be used.
    pub fn update(
        &mut self,
        observations: &Observations,
        workspace: &mut Workspace,
    ) -> Result<Vec<Innovation>, NumericalError> {
        let mut innovations: Vec<Innovation> = observations.groups().iter().map(Innovation::begin).collect();
        workspace.variances.clear();
        workspace.variances.extend((0..self.n()).map(|i| self.cov.get(i, i)));
        let mut group = 0;
        for start in (0..observations.len()).step_by(BLOCK) {
            let rows = start..(start + BLOCK).min(observations.len());
            self.update_block(observations, rows.clone(), &mut workspace.block)?;
            for (k, row) in rows.enumerate() {
                while observations.groups()[group].rows.end <= row {
                    group += 1;
                }
                let pivot = workspace.block.innovation_cov[k * BLOCK + k];
                innovations[group].add(workspace.block.innovation[k], pivot);
            }
        }
        self.check(&workspace.variances)?;
        Ok(innovations)
    }

    /// Refuses a result whose digits are lost.
    fn check(&self, before: &[f64]) -> Result<(), NumericalError> {
        for (state, (&before, mean)) in before.iter().zip(&self.mean).enumerate() {
            let after = self.cov.get(state, state);
            if after.is_nan() || after < LEAST_VARIANCE_RATIO * before {
                return Err(NumericalError::LostPrecision { state, before, after });
            }
            if !mean.is_finite() {
                return Err(NumericalError::NotFinite { state });
            }
        }
        Ok(())
    }

    /// One block; leaves the whitened innovations and the Cholesky factor in the buffers.
    fn update_block(
        &mut self,
        observations: &Observations,
        rows: std::ops::Range<usize>,
        block: &mut Block,
    ) -> Result<(), NumericalError> {
        let (n, size) = (self.n(), rows.len());
        let Block { gain, innovation_cov, innovation, entries, scratch } = block;
        gain.clear();
        gain.resize(n * size, 0.0);
        entries.clear();
        for (k, row) in rows.clone().enumerate() {
            entries.extend(observations.row(row).map(|(state, weight)| (state as u32, k as u32, weight)));
        }
        entries.sort_unstable_by_key(|&(state, row, _)| (state, row));
        gather(&self.cov, entries, gain);

        innovation.clear();
        for (k, row) in rows.enumerate() {
            let predicted: f64 = observations.row(row).map(|(state, weight)| weight * self.mean[state]).sum();
            innovation.push(observations.z(row) - predicted);
            // Row k of S, entries left of and on the diagonal.
            for (column, g) in gain.chunks_exact(n).enumerate().take(k + 1) {
                let cross: f64 = observations.row(row).map(|(state, weight)| weight * g[state]).sum();
                innovation_cov[column * BLOCK + k] = cross + if column == k { 1.0 } else { 0.0 };
            }
        }

        let factor = MatMut::from_column_major_slice_with_stride_mut(innovation_cov, size, size, BLOCK);
        factorise(factor, MemStack::new(scratch))?;
        let factor = MatRef::from_column_major_slice_with_stride(innovation_cov, size, size, BLOCK);
        let whitened = MatMut::from_column_major_slice_mut(innovation, size, 1);
        solve_lower_triangular_in_place(factor, whitened, Par::Seq);
        let transposed = MatMut::from_column_major_slice_mut(gain, n, size).transpose_mut();
        solve_lower_triangular_in_place(factor, transposed, Par::Seq);

        let gain = MatRef::from_column_major_slice(gain, n, size);
        let whitened = MatRef::from_column_major_slice(innovation, size, 1);
        matmul(MatMut::from_column_major_slice_mut(&mut self.mean, n, 1), Accum::Add, gain, whitened, 1.0, Par::Seq);
        downdate(&mut self.cov, gain);
        Ok(())
    }
}

fn factorise(matrix: MatMut<'_, f64>, stack: &mut MemStack) -> Result<(), NumericalError> {
    let size = matrix.nrows();
    cholesky_in_place(matrix, LltRegularization::default(), Par::Seq, stack, faer::Spec::default())
        .map(|_| ())
        .map_err(|LltError::NonPositivePivot { index }| NumericalError::NotPositiveDefinite { pivot: index, size })
}

/// `G = P Hᵀ` from the lower triangle: `entries` are H's (state, row, weight) in order of state, `gain` is G column-major.
fn gather(cov: &SymmetricMatrix, entries: &[(u32, u32, f64)], gain: &mut [f64]) {
    let n = cov.n();
    // Rows at and below the diagonal: column `state` of P is contiguous.
    for &(state, row, weight) in entries {
        let (state, row) = (state as usize, row as usize);
        let target = &mut gain[row * n + state..(row + 1) * n];
        for (g, p) in target.iter_mut().zip(cov.column(state)) {
            *g += weight * p;
        }
    }
    // Rows above the diagonal are row `state` of the triangle: walk its columns and pick the states touched.
    let mut first = 0;
    for j in 0..n {
        while entries.get(first).is_some_and(|entry| entry.0 as usize <= j) {
            first += 1;
        }
        let column = cov.column(j);
        for &(state, row, weight) in &entries[first..] {
            gain[row as usize * n + j] += weight * column[state as usize - j];
        }
    }
}

/// `P ← P - W Wᵀ`, panel by panel.
fn downdate(cov: &mut SymmetricMatrix, gain: MatRef<'_, f64>) {
    for panel in cov.panels_mut() {
        let (first, width) = (panel.cols.start, panel.cols.len());
        let target = MatMut::from_column_major_slice_mut(panel.data, panel.rows, width);
        let (diagonal, below) = target.split_at_row_mut(width);
        let own = gain.subrows(first, width);
        triangular::matmul(
            diagonal,
            BlockStructure::TriangularLower,
            Accum::Add,
            own,
            BlockStructure::Rectangular,
            own.transpose(),
            BlockStructure::Rectangular,
            -1.0,
            Par::Seq,
        );
        let rest = gain.subrows(first + width, panel.rows - width);
        matmul(below, Accum::Add, rest, own.transpose(), -1.0, Par::Seq);
    }
}
