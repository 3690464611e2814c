//! How a window's state moves from date to date.

use std::ops::Range;

use super::growth::{decay, growth};
use super::history::History;
use super::{ProcessBlock, Relative, Season};

/// How a window's state moves: `x(t) = F x(t - Δt) + w`, `F` diagonal, `Cov(w) = Q(Δt)` block-diagonal.
#[derive(Clone, Debug)]
pub struct Dynamics {
    blocks: Vec<(Range<usize>, ProcessBlock)>,
    /// Of the first blocks.
    relative: Vec<Relative>,
    /// Factor of each of the first states' standard deviation of change.
    factors: Vec<f64>,
    /// Of the first blocks.
    seasons: Vec<Season>,
    /// The day that states describe, from which they are predicted.
    day: f64,
    /// Days since then, and what each block with a season gathers in them.
    ahead: (f64, Vec<f64>),
}

impl Dynamics {
    /// Blocks in the order of their states.
    #[must_use]
    pub fn new(blocks: Vec<ProcessBlock>) -> Self {
        let mut next = 0;
        let place = |block: ProcessBlock| {
            let states = next..next + block.len;
            next = states.end;
            (states, block)
        };
        let blocks = blocks.into_iter().map(place).collect();
        Self {
            blocks,
            relative: Vec::new(),
            factors: Vec::new(),
            seasons: Vec::new(),
            day: 0.0,
            ahead: (0.0, Vec::new()),
        }
    }

    /// Lets the first blocks, as many as are given, change in proportion to their level, which
    /// [`State::take_factors`](super::State::take_factors) tells.
    #[must_use]
    pub fn with_relative(mut self, relative: Vec<Relative>) -> Self {
        self.relative = relative;
        self
    }

    /// Multiplies the standard deviation of change of the first states, as many as are given: `K(s, s') ← f(s) f(s') K(s, s')`.
    /// States heed it from the next [`State::take_factors`](super::State::take_factors) on.
    #[must_use]
    pub fn with_factors(mut self, factors: Vec<f64>) -> Self {
        self.factors = factors;
        self
    }

    /// Lets the change of the first blocks, as many as are given, vary with the time of year. [`start_at`](Self::start_at) must then
    /// say after every prediction which day the states describe.
    #[must_use]
    pub fn with_seasons(mut self, seasons: Vec<Season>) -> Self {
        self.ahead = (0.0, vec![0.0; seasons.len()]);
        self.seasons = seasons;
        self
    }

    /// Says which day, counted from 1970-01-01, states describe: change that varies with the time of year depends on it.
    pub fn start_at(&mut self, day: f64) {
        self.day = day;
        self.ahead.0 = 0.0;
        self.ahead.1.fill(0.0);
    }

    /// Works out what is gathered in so many days from the one that states describe: to be asked for often, on one day after the other,
    /// takes no longer then.
    pub(crate) fn look_ahead(&mut self, dt_days: f64) {
        if self.seasons.is_empty() || dt_days < self.ahead.0 {
            return;
        }
        let (known, whole) = (self.ahead.0, dt_days.floor());
        for ((season, (_, block)), grown) in self.seasons.iter().zip(&self.blocks).zip(&mut self.ahead.1) {
            *grown = season.growth(block.transition, self.day, (known, *grown), whole);
        }
        self.ahead.0 = whole;
    }

    /// q(Δt) of a block, from the day that states describe on.
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

    /// Gives a block another process variance.
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

    /// Entry (i, j) of Q(Δt), in the light of the state's history if it has one.
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
