use faer::dyn_stack::MemStack;
use faer::linalg::cholesky::llt::factor::{LltError, LltRegularization, cholesky_in_place};
use faer::linalg::matmul::matmul;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::linalg::triangular_inverse::invert_lower_triangular;
use faer::{Accum, MatMut, MatRef, Par};

use super::symmetric::Panel;
use super::workspace::{BLOCK, Block, Columns, Entry, STEP};
use super::{Innovation, Observations, Real, State, Workspace};

/// Side of the tiles in which the gather walks a panel: a cache line of float64.
const TILE: usize = 8;

/// Rows of a smaller tile, for shorter runs of neighbouring states.
const HALF_TILE: usize = TILE / 2;

/// Columns of the triangles that a panel's diagonal block is downdated in.
const TRIANGLE: usize = 48;

/// A breakdown of the arithmetic: the numbers asked for do not fit into their type.
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
    /// A variance fell by more orders of magnitude than its type has digits for: in one update, or, of a remembered state,
    /// since it is remembered.
    #[error("the variance of state {state} fell from {before:e} to {after:e}, beyond the precision of {kind}")]
    LostPrecision {
        /// The state.
        state: usize,
        /// Variance before the update.
        before: f64,
        /// Variance after it.
        after: f64,
        /// Type of the covariance.
        kind: &'static str,
    },
    /// An observation that those before it on its date predict so well that the type has no digits for what is left.
    #[error(
        "the observations of a date predict each other {ratio:e} times better than the state does, beyond the precision of {kind}"
    )]
    IllConditioned {
        /// Largest variance before the update over the variance of an innovation given those before it.
        ratio: f64,
        /// Type of the covariance.
        kind: &'static str,
    },
    /// A mean that is no number, from observations of absurd size.
    #[error("the mean of state {state} is not finite")]
    NotFinite {
        /// The state.
        state: usize,
    },
    /// Variances and noise too far apart for the type of the covariance; nothing was changed.
    #[error(
        "the largest variance is {ratio:e} times the smallest noise variance, beyond the {allowed:e} that {kind} covariances allow"
    )]
    RatioTooLarge {
        /// Largest variance over smallest noise variance.
        ratio: f64,
        /// Largest ratio allowed.
        allowed: f64,
        /// Type of the covariance.
        kind: &'static str,
    },
}

impl<T: Real> State<T> {
    /// Conditions the state on a date's observations, in sequential blocks of the pseudo-observations.
    ///
    /// Per block `G = P Hᵀ`, `S = H G + R = C Cᵀ`, `W = G C⁻ᵀ`, `m ← m + W C⁻¹ (z - H m)`, `P ← P - W Wᵀ`: the textbook update
    /// (Särkkä & Svensson, *Bayesian Filtering and Smoothing*, 2nd ed., eq. 6.21–6.22) with the gain factored, on the lower
    /// triangle alone. Noise is independent between blocks, so one after the other equals all at once. Remembered times are
    /// conditioned along with the present by the same gains.
    ///
    /// Returns how each instrument fitted, in the order of the groups.
    ///
    /// # Errors
    /// [`NumericalError::RatioTooLarge`] before anything is changed; any other [`NumericalError`] when the arithmetic
    /// breaks down: the state is then half updated and must not be used.
    pub fn update<'w>(
        &mut self,
        observations: &Observations,
        workspace: &'w mut Workspace<T>,
    ) -> Result<&'w [Innovation], NumericalError> {
        workspace.variances.clear();
        workspace.variances.extend((0..self.n()).map(|i| self.cov.get(i, i)));
        self.check_ratio(observations)?;
        workspace.reserve(self.rows());
        workspace.innovations.clear();
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
            block.lay_out(observations, rows.clone(), self.n());
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
                let pivot = block.innovation_cov[k * BLOCK + k];
                workspace.innovations[group].add(block.innovation[k], pivot);
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

    /// Whether the covariance's type has digits enough for an update with `observations`: the largest variance over the
    /// smallest noise variance may not exceed 10⁶ in float32.
    ///
    /// # Errors
    /// [`NumericalError::RatioTooLarge`] when it has not.
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

    /// Refuses a result whose digits are lost.
    fn check(&self, before: &[f64]) -> Result<(), NumericalError> {
        for (state, (&before, mean)) in before.iter().zip(&self.mean).enumerate() {
            let after = self.cov.get(state, state);
            if after.is_nan() || after < T::LEAST_VARIANCE_RATIO * before {
                return Err(NumericalError::LostPrecision { state, before, after, kind: T::NAME });
            }
            if !mean.is_finite() {
                return Err(NumericalError::NotFinite { state });
            }
        }
        match self.lags.lost(T::LEAST_VARIANCE_RATIO) {
            Some((state, before, after)) => Err(NumericalError::LostPrecision { state, before, after, kind: T::NAME }),
            None => Ok(()),
        }
    }

    /// Rows of `P Hᵀ` that belong to the lagged states, beneath those of the present.
    fn gather_lags(&self, block: &mut Block<T>) {
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
        block: &mut Block<T>,
    ) -> Result<(), NumericalError> {
        let size = rows.len();
        let Block { cross, gain, innovation_cov, factor, inverses, innovation, whitened, entries, scratch, .. } = block;
        innovation.clear();
        innovation.extend(rows.clone().map(|row| observations.innovation(row, &self.mean)));
        // Columns of S, entries on and below the diagonal. Where every row has one entry they lie one after the other.
        let all_only = entries.len() == size && entries.iter().all(|entry| entry.only);
        let (states, weights) = observations.entries(rows.clone());
        for (l, column) in innovation_cov.chunks_exact_mut(BLOCK).enumerate().take(size) {
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
                innovation_cov[l * BLOCK + k] += value;
            }
        }

        let target = MatMut::from_column_major_slice_with_stride_mut(innovation_cov, size, size, BLOCK);
        factorise(target, MemStack::new(scratch))?;
        forward_substitute(innovation_cov, innovation);
        for (l, column) in innovation_cov.chunks_exact(BLOCK).enumerate().take(size) {
            let target = &mut factor.col_as_slice_mut(l)[l..size];
            target.iter_mut().zip(&column[l..size]).for_each(|(to, from)| *to = T::of(*from));
            whitened[(l, 0)] = T::of(innovation[l]);
        }
        let used = self.n() + self.lags.rows();
        let stride = cross.stride;
        let cross = MatMut::from_column_major_slice_with_stride_mut(cross.as_mut_slice(), used, size, stride);
        let gain = gain.as_mut().subrows_mut(0, used);
        let factor = factor.as_ref().submatrix(0, 0, size, size);
        solve_transposed(factor, inverses.as_mut(), cross, gain.subcols_mut(0, size));
        Ok(())
    }

    /// Applies a block's gain to mean, covariance and lags; gathers the next block's `P Hᵀ` on the way, panel by panel
    /// while the panel is in the cache.
    fn condition(
        &mut self,
        observations: &Observations,
        size: usize,
        next: std::ops::Range<usize>,
        block: &mut Block<T>,
    ) {
        let (n, lagged) = (self.n(), self.lags.rows());
        let used = n + lagged;
        {
            let step = block.step.as_mut().subrows_mut(0, used);
            let gain = block.gain.as_ref().submatrix(0, 0, used, size);
            matmul(step, Accum::Replace, gain, block.whitened.as_ref().subrows(0, size), T::of(1.0), Par::Seq);
        }
        let step = block.step.col_as_slice(0);
        let means = self.mean.iter_mut().chain(self.lags.mean_mut());
        means.zip(&step[..used]).for_each(|(mean, step)| *mean += step.to_f64());

        if !next.is_empty() {
            block.lay_out(observations, next.clone(), n);
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
            matmul(self.lags.cross_mut(), Accum::Add, past, present.transpose(), T::of(-1.0), Par::Seq);
            self.lags.downdate_cov(&block.gain, n, size);
        }
    }

    /// A pixel's own normalised innovation squared and its degrees of freedom, the number of its values: how far the pixel
    /// lies from the state as it is, all other pixels aside. `pixel` counts over all groups.
    ///
    /// `νᵀ (H P Hᵀ + R)⁻¹ ν` of the pseudo-observations plus what they leave out of the values.
    ///
    /// # Errors
    /// [`NumericalError::NotPositiveDefinite`] when the pixel's innovation covariance is not.
    pub fn pixel_nis(
        &self,
        observations: &Observations,
        pixel: usize,
        workspace: &mut Workspace<T>,
    ) -> Result<(f64, usize), NumericalError> {
        let pixel = observations.pixel(pixel);
        let mut nis = pixel.left_out;
        let block = &mut workspace.block;
        // Not in the block's own buffers: a pixel of many components may have more rows than a block.
        let size = pixel.rows.len();
        block.pixel.clear();
        block.pixel.resize(size * size, 0.0);
        block.innovation.clear();
        for (k, row) in pixel.rows.clone().enumerate() {
            let entries = observations.row(row);
            block.innovation.push(observations.innovation(row, &self.mean));
            let noise = observations.noise(row);
            for (l, other) in pixel.rows.clone().enumerate().take(k + 1) {
                let pair = |(i, a): (usize, f64)| -> f64 {
                    observations.row(other).map(|(j, b)| a * b * self.cov.get(i, j)).sum()
                };
                let noise = (l + noise.len()).checked_sub(k + 1).map_or(0.0, |at| noise[at]);
                block.pixel[l * size + k] = entries.clone().map(pair).sum::<f64>() + noise;
            }
        }
        // Cholesky and forward substitution in one pass: small and rare enough for the plain form.
        for l in 0..size {
            let (done, rest) = block.pixel.split_at_mut(l * size);
            let column = &mut rest[l..size];
            for before in done.chunks_exact(size) {
                let factor = before[l];
                column.iter_mut().zip(&before[l..]).for_each(|(value, b)| *value -= factor * b);
            }
            if column[0].is_nan() || column[0] <= 0.0 {
                return Err(NumericalError::NotPositiveDefinite { pivot: l, size });
            }
            let pivot = column[0].sqrt();
            column.iter_mut().for_each(|value| *value /= pivot);
            let whitened = block.innovation[l] / pivot;
            nis += whitened * whitened;
            let below = &mut block.innovation[l + 1..];
            below.iter_mut().zip(&column[1..]).for_each(|(value, c)| *value -= whitened * c);
        }
        Ok((nis, pixel.values))
    }
}

impl<T: Real> Block<T> {
    /// Lists the entries of a block's H by state, and clears the columns of `P Hᵀ` to which several states will add.
    fn lay_out(&mut self, observations: &Observations, rows: std::ops::Range<usize>, n: usize) {
        self.entries.clear();
        for (k, row) in rows.enumerate() {
            let entries = observations.row(row);
            let only = entries.len() == 1;
            if !only {
                self.cross.column_mut(k, 0..self.gain.nrows()).fill(T::default());
            }
            let entry =
                |(state, weight)| Entry { state: state as u32, row: k as u32, weight, only, run: u8::from(only) };
            self.entries.extend(entries.map(entry));
        }
        debug_assert!(self.entries.iter().all(|entry| (entry.state as usize) < n));
        self.entries.sort_unstable_by_key(|entry| (entry.state, entry.row));
        for k in (1..self.entries.len()).rev() {
            let (before, after) = (self.entries[k - 1], self.entries[k]);
            if before.only && after.only && before.state + 1 == after.state {
                self.entries[k - 1].run = (after.run + 1).min(TILE as u8);
            }
        }
    }
}

/// Adds a panel's share to `G = P Hᵀ`; over all panels every entry of G is complete.
struct Gather<'a, T: Real> {
    panel: &'a Panel<'a, T>,
    entries: &'a [Entry],
    cross: &'a mut Columns<T>,
}

impl<T: Real> pulp::WithSimd for Gather<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        gather(self.panel, self.entries, self.cross);
    }
}

#[inline(always)]
fn gather<T: Real>(panel: &Panel<'_, T>, entries: &[Entry], cross: &mut Columns<T>) {
    let (first, last) = (panel.cols.start, panel.cols.end);
    let values = &*panel.values;
    let entries = &entries[entries.partition_point(|entry| (entry.state as usize) < first)..];
    // The diagonal and below: column `state` of the triangle.
    for entry in &entries[..entries.partition_point(|entry| (entry.state as usize) < last)] {
        let state = entry.state as usize;
        let column = &values.col_as_slice(state - first)[state - first..];
        let target = cross.column_mut(entry.row as usize, state..state + column.len());
        add(target, column.iter(), entry);
    }
    // Left of the diagonal: rows of the triangle, in tiles of a few columns, of neighbouring states where there are enough.
    for start in (first..last).step_by(TILE) {
        let end = (start + TILE).min(last);
        let mut rest = &entries[entries.partition_point(|entry| entry.state as usize <= start)..];
        while let Some(entry) = rest.first() {
            let run = if end - start == TILE && entry.state as usize >= end { usize::from(entry.run) } else { 1 };
            let taken = if let Some(run) = rest.first_chunk::<TILE>().filter(|_| run >= TILE) {
                gather_tile(panel, start, run, cross);
                TILE
            } else if let Some(run) = rest.first_chunk::<HALF_TILE>().filter(|_| run >= HALF_TILE) {
                gather_tile(panel, start, run, cross);
                HALF_TILE
            } else {
                let state = entry.state as usize;
                let target = cross.column_mut(entry.row as usize, start..state.min(end));
                let row = values.row(state - first).subcols(start - first, target.len());
                add(target, row.iter(), entry);
                1
            };
            rest = &rest[taken..];
        }
    }
}

/// Transposes [`TILE`] columns from `start` on of as many neighbouring rows of the triangle as there are in the run.
#[inline(always)]
fn gather_tile<const ROWS: usize, T: Real>(
    panel: &Panel<'_, T>,
    start: usize,
    run: &[Entry; ROWS],
    cross: &mut Columns<T>,
) {
    let first = panel.cols.start;
    let at = run[0].state as usize - first;
    let mut tile = [[T::default(); TILE]; ROWS];
    for j in 0..TILE {
        let column = &panel.values.col_as_slice(start - first + j)[at..at + ROWS];
        for (row, value) in tile.iter_mut().zip(column) {
            row[j] = *value;
        }
    }
    for (entry, row) in run.iter().zip(&tile) {
        add(cross.column_mut(entry.row as usize, start..start + TILE), row.iter(), entry);
    }
}

/// Adds an entry of H times `values` to a column of G, or sets it where nothing else comes.
#[inline(always)]
fn add<'a, T: Real + 'a>(target: &mut [T], values: impl Iterator<Item = &'a T>, entry: &Entry) {
    let weight = T::of(entry.weight);
    if entry.only {
        for (to, from) in target.iter_mut().zip(values) {
            *to = weight * *from;
        }
    } else {
        for (to, from) in target.iter_mut().zip(values) {
            *to += weight * *from;
        }
    }
}

fn factorise(matrix: MatMut<'_, f64>, stack: &mut MemStack) -> Result<(), NumericalError> {
    let size = matrix.nrows();
    cholesky_in_place(matrix, LltRegularization::default(), Par::Seq, stack, faer::Spec::default())
        .map(|_| ())
        .map_err(|LltError::NonPositivePivot { index }| NumericalError::NotPositiveDefinite { pivot: index, size })
}

/// `b ← C⁻¹ b` with C in a block's storage.
fn forward_substitute(factor: &[f64], b: &mut [f64]) {
    for (k, column) in factor.chunks_exact(BLOCK).enumerate().take(b.len()) {
        b[k] /= column[k];
        let (done, below) = b.split_at_mut(k + 1);
        below.iter_mut().zip(&column[k + 1..]).for_each(|(value, c)| *value -= done[k] * c);
    }
}

/// `W = G C⁻ᵀ`, [`STEP`] columns at a time by products with the inverse of the diagonal block: products run at several
/// times the rate of substitution on so few columns. Destroys G.
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
            matmul(columns.as_mut(), Accum::Add, done.as_ref(), left.transpose(), T::of(-1.0), Par::Seq);
        }
        triangular::matmul(
            rest.subcols_mut(0, width),
            BlockStructure::Rectangular,
            Accum::Replace,
            columns.as_ref(),
            BlockStructure::Rectangular,
            inverse.as_ref().transpose(),
            BlockStructure::TriangularUpper,
            T::of(1.0),
            Par::Seq,
        );
    }
}

/// `P ← P - W Wᵀ` on one panel, its diagonal block in triangles of [`TRIANGLE`] columns: products of small triangles are slow.
fn downdate<T: Real>(panel: &mut Panel<'_, T>, gain: MatRef<'_, T>) {
    let (first, width) = (panel.cols.start, panel.cols.len());
    let minus = T::of(-1.0);
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
