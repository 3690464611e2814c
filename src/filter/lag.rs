//! Lagged states: the augmentation of the state for fixed-lag smoothing.

use std::ops::Range;
use std::sync::Arc;

use faer::{Mat, MatMut};

use super::bytes::{SnapshotMismatch, SnapshotReader, append_count, append_values};
use super::{Real, SymmetricMatrix};

/// Some states at earlier times, conditional on all observations since: the augmentation of fixed-lag smoothing.
///
/// For each stored time it holds the mean of the lagged states, their covariance with the present state, and the
/// covariances among states at the same position of each range (the components of one cell). Nothing else is needed
/// to condition them on new observations, so memory is `times × lagged × states`, constant in time.
///
/// The method is the Kalman filter of the state augmented with its own past (Anderson & Moore, *Optimal Filtering*,
/// 1979, section 7.3), without the covariances between different lagged times, which nothing reads.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lags<T: Real> {
    /// Lagged states, in ranges of equal length.
    ranges: Vec<Range<usize>>,
    /// Largest number of stored times.
    capacity: usize,
    /// Slots that hold a time: the first `used`.
    used: usize,
    /// Slot of the oldest time, and the number of stored times.
    oldest: usize,
    len: usize,
    /// Cov(lagged, present). **Shape** (capacity × lagged, states).
    cross: Mat<T>,
    /// **Shape** (capacity, lagged).
    mean: Vec<f64>,
    /// Number of further means.
    further: usize,
    /// The further means. **Shape** (capacity, further, lagged).
    parallel: Vec<f64>,
    /// Variances at the time of storing. **Shape** (capacity, lagged).
    first: Vec<f64>,
    /// Terms added to each lagged state: (state, weight). Empty where there are none.
    terms: Arc<[Vec<(usize, f64)>]>,
    /// Covariances between ranges `a >= b` at the same position, pair by pair. **Shape** (capacity, pairs, positions).
    cov: Vec<f64>,
}

/// Estimate of some states at an earlier time.
#[derive(Clone, Copy, Debug)]
pub struct Lagged<'a> {
    /// Mean; with further means, that of column 0. **Shape** (ranges, positions).
    pub mean: &'a [f64],
    /// Further means: columns 1, 2, … **Shape** (further columns, ranges, positions).
    pub parallel: &'a [f64],
    /// Covariance of ranges `a >= b` at the same position. **Shape** (pairs, positions); pairs row by row: (0, 0),
    /// (1, 0), (1, 1), (2, 0), …
    pub cov: &'a [f64],
}

impl<'a> Lagged<'a> {
    /// Mean of a column; column 0 is `mean`. **Shape** (ranges, positions).
    ///
    /// # Panics
    /// When there is no such column.
    #[must_use]
    pub fn column(&self, column: usize) -> &'a [f64] {
        let lagged = self.mean.len();
        column.checked_sub(1).map_or(self.mean, |further| &self.parallel[further * lagged..(further + 1) * lagged])
    }
}

impl<T: Real> Lags<T> {
    pub(super) fn none() -> Self {
        Self::new(0, Vec::new(), 0)
    }

    pub(super) fn new(n: usize, ranges: Vec<Range<usize>>, capacity: usize) -> Self {
        let capacity = if ranges.is_empty() { 0 } else { capacity };
        let lagged: usize = ranges.iter().map(Range::len).sum();
        let pairs = lagged * (ranges.len() + 1) / 2;
        Self {
            ranges,
            capacity,
            used: 0,
            oldest: 0,
            len: 0,
            cross: Mat::zeros(capacity * lagged, n),
            mean: vec![0.0; capacity * lagged],
            further: 0,
            parallel: Vec::new(),
            first: vec![0.0; capacity * lagged],
            terms: Arc::default(),
            cov: vec![0.0; capacity * pairs],
        }
    }

    pub(super) fn cast<U: Real>(&self) -> Lags<U> {
        let cross =
            Mat::from_fn(self.cross.nrows(), self.cross.ncols(), |i, j| U::from_f64(self.cross[(i, j)].to_f64()));
        let Self { ref ranges, capacity, used, oldest, len, ref mean, further, ref first, ref cov, .. } = *self;
        let (ranges, mean, first, cov) = (ranges.clone(), mean.clone(), first.clone(), cov.clone());
        let (terms, parallel) = (Arc::clone(&self.terms), self.parallel.clone());
        Lags { ranges, capacity, used, oldest, len, cross, mean, further, parallel, first, terms, cov }
    }

    /// Stores so many further means from now on.
    pub(super) fn set_further(&mut self, further: usize) {
        self.further = further;
        self.parallel = vec![0.0; further * self.mean.len()];
    }

    /// Stores sums: each lagged state plus these weighted states.
    pub(super) fn add_terms(&mut self, terms: Vec<Vec<(usize, f64)>>) {
        assert_eq!(terms.len(), self.lagged(), "a sum for each remembered state");
        self.terms = terms.into();
    }

    /// Number of lagged states at one time.
    fn lagged(&self) -> usize {
        self.ranges.iter().map(Range::len).sum()
    }

    fn pairs(&self) -> usize {
        self.lagged() * (self.ranges.len() + 1) / 2
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Rows of the augmentation that hold a time.
    pub(super) fn rows(&self) -> usize {
        self.used * self.lagged()
    }

    /// Rows of the augmentation when every slot is in use.
    pub(super) fn most_rows(&self) -> usize {
        self.cross.nrows()
    }

    /// Column of the covariance with present state `state`.
    pub(super) fn cross(&self, state: usize) -> &[T] {
        &self.cross.col_as_slice(state)[..self.rows()]
    }

    pub(super) fn cross_mut(&mut self) -> MatMut<'_, T> {
        let rows = self.rows();
        self.cross.as_mut().subrows_mut(0, rows)
    }

    /// Adds to the means of a column; `step` has one number for each row in use.
    pub(super) fn move_means(&mut self, column: usize, step: impl Iterator<Item = f64>) {
        match column.checked_sub(1) {
            None => self.mean.iter_mut().zip(step).for_each(|(mean, step)| *mean += step),
            Some(further) => {
                let lagged = self.lagged();
                let slots = self.parallel.chunks_exact_mut((self.further * lagged).max(1));
                let means = slots.flat_map(|slot| &mut slot[further * lagged..(further + 1) * lagged]);
                means.zip(step).for_each(|(mean, step)| *mean += step);
            }
        }
    }

    /// Multiplies the covariance with present state `state` by `factor`.
    pub(super) fn scale(&mut self, state: usize, factor: f64) {
        let rows = self.rows();
        let factor = T::from_f64(factor);
        self.cross.col_as_slice_mut(state)[..rows].iter_mut().for_each(|value| *value *= factor);
    }

    /// Makes the covariance with a present state that of a sum of others.
    pub(super) fn set_sum(&mut self, target: usize, terms: impl Iterator<Item = (usize, f64)>) {
        let rows = self.rows();
        if rows == 0 {
            return;
        }
        self.cross.col_as_slice_mut(target)[..rows].fill(T::from_f64(0.0));
        for (state, weight) in terms {
            let weight = T::from_f64(weight);
            for row in 0..rows {
                let term = self.cross[(row, state)] * weight;
                self.cross[(row, target)] += term;
            }
        }
    }

    /// Stores the present states. The oldest time is dropped when all slots are in use.
    pub(super) fn remember(&mut self, mean: &[f64], parallel: &[f64], present: &SymmetricMatrix<T>) {
        if self.capacity == 0 {
            return;
        }
        if self.len == self.capacity {
            self.forget();
        }
        let slot = (self.oldest + self.len) % self.capacity;
        self.len += 1;
        self.used = self.used.max(slot + 1);
        let (lagged, pairs) = (self.lagged(), self.pairs());
        let mut row = slot * lagged;
        self.remember_means(slot, mean, parallel);
        for states in self.ranges.iter().cloned() {
            // Cov(state, j) is in column j for states from j on, and in the state's own column for the preceding
            // ones.
            for j in 0..states.end {
                let below = states.start.max(j)..states.end;
                let at = row + below.start - states.start;
                let column = &present.column(j)[below.start - j..below.end - j];
                self.cross.col_as_slice_mut(j)[at..at + below.len()].copy_from_slice(column);
            }
            for (row, state) in (row..).zip(states.clone()) {
                self.first[row] = present.get(state, state);
                for (k, &value) in present.column(state).iter().enumerate().skip(1) {
                    self.cross[(row, state + k)] = value;
                }
            }
            row += states.len();
        }
        let pair = self.ranges.iter().enumerate().flat_map(|(k, a)| self.ranges[..=k].iter().map(move |b| (a, b)));
        let entries = pair.flat_map(|(a, b)| a.clone().zip(b.clone()));
        for (target, (i, j)) in self.cov[slot * pairs..].iter_mut().zip(entries) {
            *target = present.get(i, j);
        }
        if !self.terms.is_empty() {
            self.replace_by_sums(slot, present);
        }
    }

    /// Stores the present means of all columns in a slot, with their terms.
    fn remember_means(&mut self, slot: usize, mean: &[f64], parallel: &[f64]) {
        let lagged = self.lagged();
        let further = &mut self.parallel[slot * self.further * lagged..(slot + 1) * self.further * lagged];
        let targets = std::iter::once(&mut self.mean[slot * lagged..(slot + 1) * lagged]);
        let targets = targets.chain(further.chunks_exact_mut(lagged.max(1)));
        let means = std::iter::once(mean).chain(parallel.chunks_exact(mean.len().max(1)));
        for (target, mean) in targets.zip(means) {
            for (target, state) in target.iter_mut().zip(self.ranges.iter().cloned().flatten()) {
                *target = mean[state];
            }
            for (target, entries) in target.iter_mut().zip(self.terms.iter()) {
                entries.iter().for_each(|&(state, weight)| *target += weight * mean[state]);
            }
        }
    }

    /// Replaces the covariances of the states stored in a slot by those of their sums.
    fn replace_by_sums(&mut self, slot: usize, present: &SymmetricMatrix<T>) {
        let (lagged, pairs) = (self.lagged(), self.pairs());
        let first = slot * lagged;
        for (k, entries) in self.terms.iter().enumerate() {
            for &(state, weight) in entries {
                for j in 0..present.n() {
                    self.cross[(first + k, j)] += T::from_f64(weight * present.get(state, j));
                }
            }
        }
        let positions = lagged / self.ranges.len();
        for k in 0..lagged {
            self.first[first + k] = self.sum_cov(first, k, k);
        }
        let mut pair = slot * pairs;
        for (a, b) in (0..self.ranges.len()).flat_map(|a| (0..=a).map(move |b| (a, b))) {
            for k in 0..positions {
                self.cov[pair] = self.sum_cov(first, a * positions + k, b * positions + k);
                pair += 1;
            }
        }
    }

    /// Covariance of two sums of the slot whose first row is `first`: from the covariance of one with the states of
    /// the other.
    fn sum_cov(&self, first: usize, a: usize, b: usize) -> f64 {
        let positions = self.lagged() / self.ranges.len();
        let cov_with = |state: usize| self.cross[(first + a, state)].to_f64();
        let own = cov_with(self.ranges[b / positions].start + b % positions);
        own + self.terms[b].iter().map(|&(state, weight)| weight * cov_with(state)).sum::<f64>()
    }

    fn forget(&mut self) {
        if self.len > 0 {
            self.oldest = (self.oldest + 1) % self.capacity;
            self.len -= 1;
        }
    }

    /// The `k`-th stored time, counted from the oldest.
    pub(super) fn lagged_at(&self, k: usize) -> Option<Lagged<'_>> {
        (k < self.len).then(|| {
            let (lagged, pairs, slot) = (self.lagged(), self.pairs(), (self.oldest + k) % self.capacity);
            let parallel = self.further * lagged;
            Lagged {
                mean: &self.mean[slot * lagged..(slot + 1) * lagged],
                parallel: &self.parallel[slot * parallel..(slot + 1) * parallel],
                cov: &self.cov[slot * pairs..(slot + 1) * pairs],
            }
        })
    }

    /// Subtracts `W_l W_lᵀ` from the stored covariances. The rows of W for the lagged states are those of `gain` from
    /// `first` on, in its first `size` columns.
    pub(super) fn downdate_cov(&mut self, gain: &Mat<T>, first: usize, size: usize) {
        if self.rows() > 0 {
            let (lagged, pairs, ranges) = (self.lagged(), self.pairs(), self.ranges.len());
            let rows = first..first + self.rows();
            pulp::Arch::new().dispatch(DowndateCov { cov: &mut self.cov, gain, rows, size, lagged, pairs, ranges });
        }
    }

    /// The first lagged state whose variance has fallen below `least` times its variance at the time of storing:
    /// (state, variance then, variance now).
    pub(super) fn lost_state(&self, least: f64) -> Option<(usize, f64, f64)> {
        let (lagged, pairs) = (self.lagged(), self.pairs());
        (0..self.len).find_map(|k| {
            let slot = (self.oldest + k) % self.capacity;
            let first = &self.first[slot * lagged..(slot + 1) * lagged];
            let positions = lagged / self.ranges.len();
            self.ranges.iter().enumerate().find_map(|(j, states)| {
                let now = &self.cov[slot * pairs + (j + 1) * (j + 2) / 2 * positions - positions..][..positions];
                let then = &first[j * positions..(j + 1) * positions];
                let lost_state = then.iter().zip(now).position(|(then, now)| now.is_nan() || *now < least * then);
                lost_state.map(|at| (states.start + at, then[at], now[at]))
            })
        })
    }

    /// Appends the values that updates change; float64 numbers are appended to `wide`.
    pub(super) fn save(&self, target: &mut Vec<T>, wide: &mut Vec<f64>) {
        (0..self.cross.ncols()).for_each(|column| target.extend_from_slice(self.cross.col_as_slice(column)));
        [&self.mean, &self.parallel, &self.cov].into_iter().for_each(|values| wide.extend_from_slice(values));
    }

    /// Restores the values that [`save`](Self::save) appended.
    pub(super) fn restore(&mut self, saved: &[T], wide: &[f64]) {
        let rows = self.cross.nrows();
        for column in 0..self.cross.ncols() {
            self.cross.col_as_slice_mut(column).copy_from_slice(&saved[column * rows..(column + 1) * rows]);
        }
        let (mean, wide) = wide.split_at(self.mean.len());
        let (parallel, cov) = wide.split_at(self.parallel.len());
        self.mean.copy_from_slice(mean);
        self.parallel.copy_from_slice(parallel);
        self.cov.copy_from_slice(cov);
    }

    /// Appends the slots that hold a time to a snapshot.
    pub(super) fn append_snapshot(&self, target: &mut Vec<u8>) {
        if self.capacity == 0 {
            return;
        }
        [self.used, self.oldest, self.len].into_iter().for_each(|count| append_count(count, target));
        let (rows, pairs) = (self.rows(), self.used * self.pairs());
        (0..self.cross.ncols()).for_each(|state| append_values(self.cross(state), target));
        let further = rows * self.further;
        for values in [&self.mean[..rows], &self.parallel[..further], &self.first[..rows], &self.cov[..pairs]] {
            append_values(values, target);
        }
    }

    /// Restores the slots that [`append_snapshot`](Self::append_snapshot) wrote; there may be more slots now.
    pub(super) fn restore_snapshot(&mut self, reader: &mut SnapshotReader<'_>) -> Result<(), SnapshotMismatch> {
        if self.capacity == 0 {
            return Ok(());
        }
        let (used, oldest, len) = (reader.count()?, reader.count()?, reader.count()?);
        // A ring buffer that has wrapped around can be restored only at its own size.
        let unturned = oldest == 0 && len == used;
        if used > self.capacity || len > used || oldest >= used.max(1) || !(unturned || used == self.capacity) {
            return Err(SnapshotMismatch);
        }
        (self.used, self.oldest, self.len) = (used, oldest, len);
        let (rows, pairs) = (self.rows(), used * self.pairs());
        for state in 0..self.cross.ncols() {
            reader.values(&mut self.cross.col_as_slice_mut(state)[..rows])?;
        }
        reader.values(&mut self.mean[..rows])?;
        reader.values(&mut self.parallel[..rows * self.further])?;
        reader.values(&mut self.first[..rows])?;
        reader.values(&mut self.cov[..pairs])
    }
}

struct DowndateCov<'a, T: Real> {
    /// **Shape** (slots, pairs).
    cov: &'a mut [f64],
    /// Its rows `rows` are (slots × lagged).
    gain: &'a Mat<T>,
    rows: Range<usize>,
    size: usize,
    lagged: usize,
    pairs: usize,
    ranges: usize,
}

impl<T: Real> pulp::WithSimd for DowndateCov<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let positions = self.lagged / self.ranges;
        for k in 0..self.size {
            let column = &self.gain.col_as_slice(k)[self.rows.clone()];
            let slots = column.chunks_exact(self.lagged).zip(self.cov.chunks_exact_mut(self.pairs));
            for (gain, cov) in slots {
                let mut pair = 0;
                for a in 0..self.ranges {
                    for b in 0..=a {
                        let target = &mut cov[pair * positions..(pair + 1) * positions];
                        let (left, right) = (&gain[a * positions..][..positions], &gain[b * positions..][..positions]);
                        for ((value, x), y) in target.iter_mut().zip(left).zip(right) {
                            *value -= x.to_f64() * y.to_f64();
                        }
                        pair += 1;
                    }
                }
            }
        }
    }
}
