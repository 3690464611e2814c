//! Prediction of the state: dynamics, process covariance, and the step ahead.

use std::ops::Range;
use std::sync::Arc;

use super::factors::AddScaledColumn;
use super::history::History;
use super::{Real, Relative, Season, State};

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
    pub(super) fn column(&self, j: usize) -> impl Iterator<Item = &[f64]> {
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

struct AddColumn<'a, T> {
    correlation: &'a BlockCov,
    j: usize,
    scale: f64,
    target: &'a mut [T],
}

impl<T: Real> pulp::WithSimd for AddColumn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.correlation.add_column(self.j, self.scale, self.target);
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

/// Dynamics of the state of a window: `x(t) = F x(t - Δt) + w`, `F` diagonal, `Cov(w) = Q(Δt)` block-diagonal.
#[derive(Clone, Debug)]
pub struct Dynamics {
    blocks: Vec<(Range<usize>, ProcessBlock)>,
    /// For the first blocks.
    relative: Vec<Relative>,
    /// Factors on the standard deviation of change of the first states.
    factors: Vec<f64>,
    /// For the first blocks.
    seasons: Vec<Season>,
    /// The day that the states describe, from which predictions start.
    day: f64,
    /// A number of days, and the variance that each block with a season accumulates in them.
    ahead: (f64, Vec<f64>),
}

impl Dynamics {
    /// Blocks in the order of their states.
    #[must_use]
    pub fn new(blocks: Vec<ProcessBlock>) -> Self {
        let mut next = 0;
        let assign_range = |block: ProcessBlock| {
            let states = next..next + block.len;
            next = states.end;
            (states, block)
        };
        let blocks = blocks.into_iter().map(assign_range).collect();
        Self {
            blocks,
            relative: Vec::new(),
            factors: Vec::new(),
            seasons: Vec::new(),
            day: 0.0,
            ahead: (0.0, Vec::new()),
        }
    }

    /// Makes the process noise of the first blocks, as many as are given, proportional to their level, which
    /// [`State::take_factors`] sets.
    #[must_use]
    pub fn with_relative(mut self, relative: Vec<Relative>) -> Self {
        self.relative = relative;
        self
    }

    /// Multiplies the standard deviations of change of the first states, as many as are given: `K(s, s') ← f(s) f(s')
    /// K(s, s')`. The factors apply from the next [`State::take_factors`] on.
    #[must_use]
    pub fn with_factors(mut self, factors: Vec<f64>) -> Self {
        self.factors = factors;
        self
    }

    /// Makes the process noise of the first blocks, as many as are given, vary with the time of year. After every
    /// prediction, [`start_at`](Self::start_at) must then set the day that the states describe.
    #[must_use]
    pub fn with_seasons(mut self, seasons: Vec<Season>) -> Self {
        self.ahead = (0.0, vec![0.0; seasons.len()]);
        self.seasons = seasons;
        self
    }

    /// Sets the day, counted from 1970-01-01, that the states describe. Seasonal process noise depends on it.
    pub fn start_at(&mut self, day: f64) {
        self.day = day;
        self.ahead.0 = 0.0;
        self.ahead.1.fill(0.0);
    }

    /// Computes the variance accumulated in `dt_days` from the day that the states describe. Repeated calls for
    /// successive days reuse the earlier sum and cost no more than one call.
    pub(crate) fn look_ahead(&mut self, dt_days: f64) {
        if self.seasons.is_empty() || dt_days < self.ahead.0 {
            return;
        }
        let (known, full_days) = (self.ahead.0, dt_days.floor());
        for ((season, (_, block)), grown) in self.seasons.iter().zip(&self.blocks).zip(&mut self.ahead.1) {
            *grown = season.growth(block.transition, self.day, (known, *grown), full_days);
        }
        self.ahead.0 = full_days;
    }

    /// q(Δt) of a block, from the day that the states describe.
    fn growth(&self, index: usize, transition: f64, dt_days: f64) -> f64 {
        match self.seasons.get(index) {
            Some(season) => {
                let known = (self.ahead.0, self.ahead.1.get(index).copied().unwrap_or(0.0));
                let known = if known.0 <= dt_days { known } else { (0.0, 0.0) };
                season.growth(transition, self.day, known, dt_days)
            }
            None => growth(transition, dt_days),
        }
    }

    pub(super) fn relative(&self) -> &[Relative] {
        &self.relative
    }

    pub(super) fn factors(&self) -> &[f64] {
        &self.factors
    }

    /// Process variance of each block.
    pub(crate) fn variances(&self) -> impl Iterator<Item = f64> + '_ {
        self.blocks.iter().map(|(_, block)| block.variance)
    }

    /// Sets the process variance of a block.
    pub(crate) fn set_variance(&mut self, block: usize, variance: f64) {
        if let Some((_, block)) = self.blocks.get_mut(block) {
            block.variance = variance;
        }
    }

    /// Number of states.
    #[must_use]
    pub fn n(&self) -> usize {
        self.blocks.last().map_or(0, |(states, _)| states.end)
    }

    pub(super) fn blocks(&self) -> &[(Range<usize>, ProcessBlock)] {
        &self.blocks
    }

    fn block_of(&self, i: usize) -> Option<(usize, &Range<usize>, &ProcessBlock)> {
        let index = self.blocks.partition_point(|(states, _)| states.end <= i);
        self.blocks.get(index).map(|(states, block)| (index, states, block))
    }

    /// φ^Δt of state `i`.
    #[must_use]
    pub fn transition(&self, i: usize, dt_days: f64) -> f64 {
        self.block_of(i).map_or(1.0, |(_, _, block)| decay(block.transition, dt_days))
    }

    /// Entry (i, j) of Q(Δt); it depends on the history of the states if there is one.
    pub(super) fn process_cov(&self, history: Option<&History>, i: usize, j: usize, dt_days: f64) -> f64 {
        match self.block_of(i) {
            Some((index, states, block)) if states.contains(&j) => {
                let (row, col) = (i.max(j) - states.start, i.min(j) - states.start);
                let correlation = block.correlation.get(row, col);
                let blended = |history: &History| history.entry(index, row, col, block.variance, correlation);
                self.growth(index, block.transition, dt_days)
                    * block.variance
                    * history.filter(|history| history.covers(index)).map_or(correlation, blended)
            }
            _ => 0.0,
        }
    }
}

/// φ^Δt.
fn decay(transition: f64, dt_days: f64) -> f64 {
    if transition == 1.0 { 1.0 } else { transition.powf(dt_days) }
}

/// q(Δt): the variance that a walk with unit daily variance accumulates in Δt days.
///
/// Δt for φ = 1, `(1 - φ^{2Δt}) / (1 - φ²)` otherwise (Särkkä & Svensson, *Bayesian Filtering and Smoothing*, 2nd
/// ed., section 4.3: the discretised Ornstein–Uhlenbeck process, scaled to one day). With φ = 0 the state does not
/// depend on the preceding day.
pub(crate) fn growth(transition: f64, dt_days: f64) -> f64 {
    if transition == 1.0 {
        dt_days
    } else if transition == 0.0 {
        // The logarithm below is infinite.
        if dt_days == 0.0 { 0.0 } else { 1.0 }
    } else {
        // exp_m1 and the factored denominator preserve precision when φ is close to 1.
        -f64::exp_m1(2.0 * dt_days * transition.ln()) / ((1.0 - transition) * (1.0 + transition))
    }
}

impl<T: Real> State<T> {
    /// Predicts `dt_days` ahead: `m ← F m`, `P ← F P Fᵀ + Q(Δt)`, lower triangle only. The covariance with lagged
    /// states is multiplied by `F`.
    ///
    /// Several days without observations cost one call.
    pub fn predict(&mut self, dynamics: &Dynamics, dt_days: f64) {
        debug_assert_eq!(self.n(), dynamics.n());
        let still = dynamics.blocks.iter().all(|(_, block)| block.transition == 1.0);
        if !still {
            self.decay(dynamics, dt_days);
        }
        for (index, (states, block)) in dynamics.blocks.iter().enumerate() {
            let scale = dynamics.growth(index, block.transition, dt_days) * block.variance;
            for j in states.clone() {
                let column = &mut self.cov.column_mut(j)[..states.end - j];
                let (correlation, first) = (&block.correlation, j - states.start);
                // Row factors of the column, where cells change by more or less than others.
                let factors = self.factors.get(j..states.end);
                let scale = factors.map_or(scale, |factors| scale * factors[0]);
                match (self.history.as_mut().filter(|history| history.covers(index)), factors) {
                    (None, None) => {
                        pulp::Arch::new().dispatch(AddColumn { correlation, j: first, scale, target: column });
                    }
                    (None, Some(factors)) => {
                        let target = column;
                        pulp::Arch::new().dispatch(AddScaledColumn { correlation, j: first, scale, factors, target });
                    }
                    (Some(history), None) => {
                        let blended = history.column(index, block, first).iter();
                        column.iter_mut().zip(blended).for_each(|(value, entry)| *value += T::from_f64(scale * entry));
                    }
                    (Some(history), Some(factors)) => {
                        let blended = history.column(index, block, first).iter().zip(factors);
                        let add = |(value, (entry, factor)): (&mut T, (&f64, &f64))| {
                            *value += T::from_f64(scale * factor * entry)
                        };
                        column.iter_mut().zip(blended).for_each(add);
                    }
                }
            }
        }
    }

    /// `m ← F m`, `P ← F P Fᵀ`.
    fn decay(&mut self, dynamics: &Dynamics, dt_days: f64) {
        for (index, (states, block)) in dynamics.blocks.iter().enumerate() {
            let decayed = decay(block.transition, dt_days);
            for mean in &mut self.mean[states.clone()] {
                *mean *= decayed;
            }
            for (rows, other) in &dynamics.blocks[index..] {
                let factor = T::from_f64(decayed * decay(other.transition, dt_days));
                for j in states.clone() {
                    for value in &mut self.cov.column_mut(j)[rows.start.max(j) - j..rows.end - j] {
                        *value *= factor;
                    }
                }
            }
            if self.lags.rows() > 0 {
                states.clone().for_each(|state| self.lags.scale(state, decayed));
            }
        }
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
        let full_days = BlockCov::dense(7, correlation);
        for head in 0..=7 {
            let split = BlockCov::new(7, head, BlockCov::pack(head, correlation), correlation);
            for j in 0..7 {
                let mut column = vec![0.0; 7 - j];
                split.add_column(j, 2.0, &mut column);
                for i in j..7 {
                    assert_eq!(split.get(i, j), full_days.get(j, i));
                    assert_eq!(column[i - j], 2.0 * correlation(i, j));
                }
            }
        }
    }

    #[test]
    fn without_memory_a_day_brings_all_and_no_time_nothing() {
        for (transition, dt_days, decayed, grown) in [
            (0.0, 0.0, 1.0, 0.0),
            (0.0, 1.0, 0.0, 1.0),
            (0.0, 7.0, 0.0, 1.0),
            (0.5, 0.0, 1.0, 0.0),
            (1.0, 0.0, 1.0, 0.0),
        ] {
            assert_eq!((decay(transition, dt_days), growth(transition, dt_days)), (decayed, grown));
        }
    }

    #[test]
    fn one_long_step_equals_daily_steps_and_the_closed_form() {
        let block = |len, transition, variance| ProcessBlock {
            len,
            transition,
            variance,
            correlation: Arc::new(BlockCov::dense(len, correlation)),
        };
        let dynamics = Dynamics::new(vec![block(3, 0.9, 2.0), block(2, 1.0, 0.5), block(1, 0.999, 1.0)]);
        let mut daily = State::new(6);
        for i in 0..6 {
            daily.mean[i] = i as f64 - 2.0;
            for j in 0..=i {
                daily.cov.set(i, j, correlation(i, j) + if i == j { 1.0 } else { 0.0 });
            }
        }
        let start = daily.clone();
        let mut long = daily.clone();
        long.predict(&dynamics, 5.0);
        for _ in 0..5 {
            daily.predict(&dynamics, 1.0);
        }
        for i in 0..6 {
            assert!((daily.mean[i] - long.mean[i]).abs() < 1e-14);
            assert_eq!(start.predicted_mean(&dynamics, i, 5.0), long.mean[i]);
            for j in 0..6 {
                assert!((daily.cov.get(i, j) - long.cov.get(i, j)).abs() < 1e-13);
                assert!((start.predicted_cov(&dynamics, i, j, 5.0) - long.cov.get(i, j)).abs() < 1e-14);
            }
        }
        assert_eq!(long.cov.get(4, 0), start.cov.get(4, 0) * 0.9_f64.powf(5.0));
    }
}
