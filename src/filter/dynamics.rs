//! Dynamics of the state of a window: transition and process covariance from date to date.

use std::ops::Range;

use super::growth::{decay, growth};
use super::history::History;
use super::{ProcessBlock, Relative, Season};

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
    /// [`State::take_factors`](super::State::take_factors) sets.
    #[must_use]
    pub fn with_relative(mut self, relative: Vec<Relative>) -> Self {
        self.relative = relative;
        self
    }

    /// Multiplies the standard deviations of change of the first states, as many as are given:
    /// `K(s, s') ← f(s) f(s') K(s, s')`. The factors apply from the next
    /// [`State::take_factors`](super::State::take_factors) on.
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
    pub(super) fn growth(&self, index: usize, transition: f64, dt_days: f64) -> f64 {
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
