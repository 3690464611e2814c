//! The update: conditioning a state on the observations of a date.

use faer::dyn_stack::MemStack;
use faer::linalg::cholesky::llt::factor::{LltError, LltRegularization, cholesky_in_place};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Accum, MatMut, MatRef, Par};

use super::gather::{Gather, add};
use super::symmetric::Panel;
use super::workspace::{BlockBuffers, MOST_BLOCK_ROWS, STEP};
use super::{Innovation, NumericalError, Observations, Real, State, Workspace};

/// Columns of the triangles in which the diagonal block of a panel is downdated.
const TRIANGLE: usize = 48;

impl<T: Real> State<T> {
    /// Conditions the state on a date's observations, in sequential blocks of the pseudo-observations.
    ///
    /// Per block `G = P Hᵀ`, `S = H G + R = C Cᵀ`, `W = G C⁻ᵀ`, `m ← m + W C⁻¹ (z - H m)`, `P ← P - W Wᵀ`: the
    /// textbook update (Särkkä & Svensson, *Bayesian Filtering and Smoothing*, 2nd ed., eq. 6.21–6.22) with the gain
    /// factored, on the lower triangle alone. Noise is independent between blocks, so sequential blocks equal one
    /// joint update. The same gains condition the lagged states, and the [parallel](Self::with_parallel) means, for which
    /// z and m have a column each.
    ///
    /// Returns the fit of each instrument, in the order of the groups; see also [`Workspace::squares`].
    ///
    /// # Panics
    /// When there are observations, and these do not have as many columns as the state.
    ///
    /// # Errors
    /// [`NumericalError::RatioTooLarge`] with the state unchanged; any other [`NumericalError`] when the arithmetic
    /// breaks down: the state is then half updated and must not be used.
    pub fn update<'w>(
        &mut self,
        observations: &Observations,
        workspace: &'w mut Workspace<T>,
    ) -> Result<&'w [Innovation], NumericalError> {
        let columns = self.columns();
        assert!(observations.is_empty() || observations.columns() == columns, "the columns of the state");
        workspace.variances.clear();
        workspace.variances.extend((0..self.n()).map(|i| self.cov.get(i, i)));
        self.check_ratio(observations)?;
        workspace.reserve_together(self.rows(), columns);
        workspace.innovations.clear();
        workspace.squares.begin(observations.groups().len(), observations.squares_of());
        for group in observations.groups() {
            let mut innovation = Innovation::begin(group.instrument);
            for pixel in group.pixels.clone().map(|index| observations.pixel(index)) {
                innovation.add_pixel(pixel.values, pixel.left_out, pixel.log_det);
            }
            workspace.innovations.push(innovation);
        }

        let block = &mut workspace.block;
        let mut rows = observations.block(0);
        if !rows.is_empty() {
            block.list_entries(observations, rows.clone(), self.n());
            for panel in self.cov.panels_mut() {
                pulp::Arch::new().dispatch(Gather { panel: &panel, entries: &block.entries, cross: &mut block.cross });
            }
        }
        let largest = workspace.variances.iter().copied().fold(0.0, f64::max);
        let mut group = 0;
        while !rows.is_empty() {
            self.gather_lags(block);
            self.whiten(observations, rows.clone(), block)?;
            for (k, row) in rows.clone().enumerate() {
                while observations.rows_of(group).end <= row {
                    group += 1;
                }
                let pivot = block.innovation_cov[k * MOST_BLOCK_ROWS + k];
                let log_pivot = pivot.ln();
                block.row.clear();
                block.row.extend((0..columns).map(|column| block.innovation[column * rows.len() + k]));
                workspace.innovations[group].add(&block.row, log_pivot);
                workspace.squares.add(group, &block.row, log_pivot);
                if T::LARGEST_CONDITION < f64::INFINITY {
                    let ratio = largest * observations.reach(row).powi(2) / (pivot * pivot);
                    if ratio > T::LARGEST_CONDITION {
                        return Err(NumericalError::IllConditioned { ratio, kind: T::NAME });
                    }
                }
            }
            let next = observations.block(rows.end);
            self.condition(observations, rows.len(), next.clone(), block);
            rows = next;
        }
        self.check(&workspace.variances)?;
        if let Some(history) = self.history.as_mut().filter(|_| !observations.is_empty()) {
            history.record(&self.mean, |i| self.cov.get(i, i));
        }
        Ok(&workspace.innovations)
    }

    /// Whether the type of the covariance has enough digits for an update with `observations`: in float32, the
    /// largest variance may not exceed 10⁶ times the smallest noise variance.
    ///
    /// # Errors
    /// [`NumericalError::RatioTooLarge`] when it does not.
    pub fn check_ratio(&self, observations: &Observations) -> Result<(), NumericalError> {
        if T::LARGEST_RATIO == f64::INFINITY {
            return Ok(());
        }
        let largest = (0..self.n()).map(|i| self.cov.get(i, i)).fold(0.0, f64::max);
        let ratio = largest * observations.information();
        if ratio > T::LARGEST_RATIO {
            return Err(NumericalError::RatioTooLarge { ratio, allowed: T::LARGEST_RATIO, kind: T::NAME });
        }
        Ok(())
    }

    /// Refuses a result that has lost its precision.
    fn check(&self, before: &[f64]) -> Result<(), NumericalError> {
        for (state, (&before, mean)) in before.iter().zip(&self.mean).enumerate() {
            let after = self.cov.get(state, state);
            if after.is_nan() || after < T::LEAST_VARIANCE_RATIO * before {
                return Err(NumericalError::LostPrecision {
                    state,
                    variance_before: before,
                    variance_after: after,
                    kind: T::NAME,
                });
            }
            if !mean.is_finite() {
                return Err(NumericalError::NotFinite { state });
            }
        }
        if let Some(at) = self.parallel.iter().position(|mean| !mean.is_finite()) {
            return Err(NumericalError::NotFinite { state: at % self.n() });
        }
        match self.lags.lost_state(T::LEAST_VARIANCE_RATIO) {
            Some((state, variance_before, variance_after)) => {
                Err(NumericalError::LostPrecision { state, variance_before, variance_after, kind: T::NAME })
            }
            None => Ok(()),
        }
    }

    /// Rows of `P Hᵀ` of the lagged states, below those of the present.
    fn gather_lags(&self, block: &mut BlockBuffers<T>) {
        let (n, rows) = (self.n(), self.lags.rows());
        if rows == 0 {
            return;
        }
        for entry in &block.entries {
            let target = block.cross.column_mut(entry.row as usize, n..n + rows);
            add(target, self.lags.cross(entry.state as usize).iter(), entry);
        }
    }

    /// From `P Hᵀ` to the factor of the innovation covariance, the whitened innovations and the gain W.
    fn whiten(
        &self,
        observations: &Observations,
        rows: std::ops::Range<usize>,
        block: &mut BlockBuffers<T>,
    ) -> Result<(), NumericalError> {
        let size = rows.len();
        let BlockBuffers {
            cross, gain, innovation_cov, factor, inverses, innovation, whitened, entries, scratch, ..
        } = block;
        innovation.clear();
        for column in 0..self.columns() {
            let mean = self.column(column);
            innovation.extend(rows.clone().map(|row| observations.innovation(row, column, mean)));
        }
        // Columns of S, entries on and below the diagonal. Where every row has one entry, the columns are contiguous.
        let all_only = entries.len() == size && entries.iter().all(|entry| entry.only);
        let (states, weights) = observations.entries(rows.clone());
        for (l, column) in innovation_cov.chunks_exact_mut(MOST_BLOCK_ROWS).enumerate().take(size) {
            let cross = &cross.as_slice()[l * cross.stride..];
            if all_only {
                for ((entry, &state), weight) in column[l..size].iter_mut().zip(&states[l..]).zip(&weights[l..]) {
                    *entry = weight * cross[state as usize].to_f64();
                }
                continue;
            }
            for (entry, row) in column[l..size].iter_mut().zip(rows.start + l..) {
                *entry = observations.row(row).map(|(state, weight)| weight * cross[state].to_f64()).sum();
            }
        }
        for (k, row) in rows.enumerate() {
            let noise = observations.noise(row);
            for (l, value) in (k + 1 - noise.len()..=k).zip(noise) {
                innovation_cov[l * MOST_BLOCK_ROWS + k] += value;
            }
        }

        let target = MatMut::from_column_major_slice_with_stride_mut(innovation_cov, size, size, MOST_BLOCK_ROWS);
        factorise(target, MemStack::new(scratch))?;
        forward_substitute(innovation_cov, innovation, size);
        for (column, innovation) in innovation.chunks_exact(size).enumerate() {
            let target = &mut whitened.col_as_slice_mut(column)[..size];
            target.iter_mut().zip(innovation).for_each(|(to, from)| *to = T::from_f64(*from));
        }
        for (l, column) in innovation_cov.chunks_exact(MOST_BLOCK_ROWS).enumerate().take(size) {
            let target = &mut factor.col_as_slice_mut(l)[l..size];
            target.iter_mut().zip(&column[l..size]).for_each(|(to, from)| *to = T::from_f64(*from));
        }
        let used = self.n() + self.lags.rows();
        let stride = cross.stride;
        let cross = MatMut::from_column_major_slice_with_stride_mut(cross.as_mut_slice(), used, size, stride);
        let gain = gain.as_mut().subrows_mut(0, used);
        let factor = factor.as_ref().submatrix(0, 0, size, size);
        solve_transposed(factor, inverses.as_mut(), cross, gain.subcols_mut(0, size));
        Ok(())
    }

    /// Applies the gain of a block to means, covariance and lagged states. It also gathers `P Hᵀ` of the next block,
    /// panel by panel while the panel is in the cache.
    fn condition(
        &mut self,
        observations: &Observations,
        size: usize,
        next: std::ops::Range<usize>,
        block: &mut BlockBuffers<T>,
    ) {
        let (n, lagged) = (self.n(), self.lags.rows());
        let used = n + lagged;
        self.move_means(size, block);
        if !next.is_empty() {
            block.list_entries(observations, next.clone(), n);
        }
        let gain = block.gain.as_ref().submatrix(0, 0, used, size);
        let (present, past) = gain.split_at_row(n);
        for mut panel in self.cov.panels_mut() {
            downdate(&mut panel, present);
            if !next.is_empty() {
                pulp::Arch::new().dispatch(Gather { panel: &panel, entries: &block.entries, cross: &mut block.cross });
            }
        }
        if lagged > 0 {
            matmul(self.lags.cross_mut(), Accum::Add, past, present.transpose(), T::from_f64(-1.0), Par::Seq);
            self.lags.downdate_cov(&block.gain, n, size);
        }
    }

    /// `m ← m + W C⁻¹ (z - H m)` in all columns, present and lagged.
    fn move_means(&mut self, size: usize, block: &mut BlockBuffers<T>) {
        let (n, columns) = (self.n(), self.columns());
        let used = n + self.lags.rows();
        let step = block.step.as_mut().submatrix_mut(0, 0, used, columns);
        let gain = block.gain.as_ref().submatrix(0, 0, used, size);
        let whitened = block.whitened.as_ref().submatrix(0, 0, size, columns);
        matmul(step, Accum::Replace, gain, whitened, T::from_f64(1.0), Par::Seq);
        for column in 0..columns {
            let (present, past) = block.step.col_as_slice(column)[..used].split_at(n);
            let means = self.column_mut(column).iter_mut();
            means.zip(present).for_each(|(mean, step)| *mean += step.to_f64());
            self.lags.move_means(column, past.iter().map(|step| step.to_f64()));
        }
    }
}

fn factorise(matrix: MatMut<'_, f64>, stack: &mut MemStack) -> Result<(), NumericalError> {
    let size = matrix.nrows();
    cholesky_in_place(matrix, LltRegularization::default(), Par::Seq, stack, faer::Spec::default())
        .map(|_| ())
        .map_err(|LltError::NonPositivePivot { index }| NumericalError::NotPositiveDefinite { pivot: index, size })
}

/// `B ← C⁻¹ B` with C, of side `size`, in a block's storage, and columns of B one after the other.
fn forward_substitute(factor: &[f64], b: &mut [f64], size: usize) {
    for (k, column) in factor.chunks_exact(MOST_BLOCK_ROWS).enumerate().take(size) {
        // Columns are independent of each other: their divisions overlap.
        for b in b.chunks_exact_mut(size) {
            b[k] /= column[k];
            let (done, below) = b.split_at_mut(k + 1);
            below.iter_mut().zip(&column[k + 1..]).for_each(|(value, c)| *value -= done[k] * c);
        }
    }
}

/// `W = G C⁻ᵀ`, [`STEP`] columns at a time by products with the inverse of the diagonal block: on so few columns,
/// products are several times faster than substitution. Destroys G.
fn solve_transposed<T: Real>(
    factor: MatRef<'_, T>,
    mut inverses: MatMut<'_, T>,
    mut cross: MatMut<'_, T>,
    mut gain: MatMut<'_, T>,
) {
    let size = factor.nrows();
    for first in (0..size).step_by(STEP) {
        let width = STEP.min(size - first);
        let diagonal = factor.submatrix(first, first, width, width);
        let mut inverse = inverses.as_mut().submatrix_mut(first, 0, width, width);
        invert_lower_triangular(inverse.as_mut(), diagonal, Par::Seq);
        let (done, rest) = gain.as_mut().split_at_col_mut(first);
        let mut columns = cross.as_mut().subcols_mut(first, width);
        if first > 0 {
            let left = factor.submatrix(first, 0, width, first);
            matmul(columns.as_mut(), Accum::Add, done.as_ref(), left.transpose(), T::from_f64(-1.0), Par::Seq);
        }
        triangular::matmul(
            rest.subcols_mut(0, width),
            BlockStructure::Rectangular,
            Accum::Replace,
            columns.as_ref(),
            BlockStructure::Rectangular,
            inverse.as_ref().transpose(),
            BlockStructure::TriangularUpper,
            T::from_f64(1.0),
            Par::Seq,
        );
    }
}

/// `P ← P - W Wᵀ` on one panel. Its diagonal block is downdated in triangles of [`TRIANGLE`] columns, because
/// products of small triangles are slow.
fn downdate<T: Real>(panel: &mut Panel<'_, T>, gain: MatRef<'_, T>) {
    let (first, width) = (panel.cols.start, panel.cols.len());
    let minus = T::from_f64(-1.0);
    let (mut head, below) = panel.values.as_mut().split_at_row_mut(width);
    for start in (0..width).step_by(TRIANGLE) {
        let size = TRIANGLE.min(width - start);
        let columns = head.as_mut().submatrix_mut(start, start, width - start, size);
        let (diagonal, rest) = columns.split_at_row_mut(size);
        let own = gain.subrows(first + start, size);
        triangular::matmul(
            diagonal,
            BlockStructure::TriangularLower,
            Accum::Add,
            own,
            BlockStructure::Rectangular,
            own.transpose(),
            BlockStructure::Rectangular,
            minus,
            Par::Seq,
        );
        let others = gain.subrows(first + start + size, rest.nrows());
        matmul(rest, Accum::Add, others, own.transpose(), minus, Par::Seq);
    }
    let (own, others) = (gain.subrows(first, width), gain.subrows(first + width, below.nrows()));
    matmul(below, Accum::Add, others, own.transpose(), minus, Par::Seq);
}
