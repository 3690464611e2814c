//! The state of a part in float64 or float32, and the conversion between them.

use std::ops::Range;

use serde::Deserialize;

use crate::filter::{
    Channel, Dynamics, Innovation, Lagged, NumericalError, Observations, Saved, Squares, State, Workspace,
};

/// Number type of the windows' covariances. Means are always float64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// float64.
    #[default]
    F64,
    /// float32: half the memory and, for large windows, nearly twice the speed. A window continues in float64, and is
    /// counted in the report, as soon as an update would exceed the precision of float32: where variances are large
    /// compared with the noise, or observations predict each other well. The plan assumes float64 unless prior,
    /// process and noise exclude this.
    F32,
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
        })
    }
}

/// The state of a part, in its current precision.
#[derive(Clone, Debug)]
pub(super) enum Carried {
    Double(State<f64>),
    Single(State<f32>),
}

/// Scratch memory for either precision.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    double: Workspace<f64>,
    single: Workspace<f32>,
    saved: Saved<f32>,
}

/// Calls the same method on either.
macro_rules! either {
    ($carried:expr, $state:ident => $call:expr) => {
        match $carried {
            Carried::Double($state) => $call,
            Carried::Single($state) => $call,
        }
    };
}

impl Carried {
    pub(super) fn new(state: State, precision: Precision) -> Self {
        match precision {
            Precision::F64 => Self::Double(state),
            Precision::F32 => Self::Single(state.cast()),
        }
    }

    /// See [`State::with_lags`].
    pub(super) fn with_lags(self, ranges: Vec<Range<usize>>, lag: usize) -> Self {
        match self {
            Self::Double(state) => Self::Double(state.with_lags(ranges, lag)),
            Self::Single(state) => Self::Single(state.with_lags(ranges, lag)),
        }
    }

    /// See [`State::with_lagged_sums`].
    pub(super) fn with_lagged_sums(self, further: Vec<Vec<(usize, f64)>>) -> Self {
        match self {
            Self::Double(state) => Self::Double(state.with_lagged_sums(further)),
            Self::Single(state) => Self::Single(state.with_lagged_sums(further)),
        }
    }

    /// See [`State::with_history`].
    pub(super) fn with_history(self, dynamics: &Dynamics, blocks: usize, weight: f64, scale: f64) -> Self {
        match self {
            Self::Double(state) => Self::Double(state.with_history(dynamics, blocks, weight, scale)),
            Self::Single(state) => Self::Single(state.with_history(dynamics, blocks, weight, scale)),
        }
    }

    /// See [`State::take_factors`].
    pub(super) fn take_factors(&mut self, dynamics: &Dynamics, offset: impl Fn(usize) -> f64) {
        either!(self, state => state.take_factors(dynamics, offset));
    }

    pub(super) fn lag(&self) -> usize {
        either!(self, state => state.lag())
    }

    pub(super) fn remembered(&self) -> usize {
        either!(self, state => state.remembered())
    }

    pub(super) fn remember(&mut self) {
        either!(self, state => state.remember());
    }

    pub(super) fn lagged_at(&self, k: usize) -> Option<Lagged<'_>> {
        either!(self, state => state.lagged_at(k))
    }

    pub(super) fn predict(&mut self, dynamics: &Dynamics, dt_days: f64) {
        either!(self, state => state.predict(dynamics, dt_days));
    }

    /// See [`State::set_sum`].
    pub(super) fn set_sum<'c>(
        &mut self,
        target: usize,
        sum: impl Iterator<Item = Channel<'c>> + Clone,
        scratch: &mut Vec<f64>,
    ) {
        either!(self, state => state.set_sum(target, sum, scratch));
    }

    /// Mean of state `i`, `dt_days` ahead.
    pub(super) fn predicted_mean(&self, dynamics: &Dynamics, i: usize, dt_days: f64) -> f64 {
        either!(self, state => state.predicted_mean(dynamics, i, dt_days))
    }

    /// See [`State::predicted_parallel`].
    pub(super) fn predicted_parallel(&self, dynamics: &Dynamics, column: usize, i: usize, dt_days: f64) -> f64 {
        either!(self, state => state.predicted_parallel(dynamics, column, i, dt_days))
    }

    /// Covariance of states `i` and `j`, `dt_days` ahead.
    pub(super) fn predicted_cov(&self, dynamics: &Dynamics, (i, j): (usize, usize), dt_days: f64) -> f64 {
        either!(self, state => state.predicted_cov(dynamics, i, j, dt_days))
    }

    /// Converts the state to float64 when float32 cannot hold its variances together with the noise of
    /// `observations`. Returns whether it did.
    pub(super) fn widen_for(&mut self, observations: &Observations) -> bool {
        match self {
            Self::Single(state) if state.check_ratio(observations).is_err() => {
                *self = Self::Double(state.cast());
                true
            }
            _ => false,
        }
    }

    /// Updates the state. An update that exceeds the precision of float32 is undone and repeated in float64; the
    /// second value returns whether that happened.
    pub(super) fn update<'w>(
        &mut self,
        observations: &Observations,
        scratch: &'w mut Scratch,
    ) -> Result<(&'w [Innovation], bool), NumericalError> {
        let widened = match self {
            Self::Double(state) => return Ok((state.update(observations, &mut scratch.double)?, false)),
            Self::Single(state) => {
                state.save(&mut scratch.saved);
                if state.update(observations, &mut scratch.single).is_ok() {
                    return Ok((scratch.single.innovations(), false));
                }
                state.restore(&scratch.saved);
                state.cast()
            }
        };
        *self = Self::Double(widened);
        self.update(observations, scratch).map(|(fits, _)| (fits, true))
    }

    /// See [`State::predicted_observation`].
    pub(super) fn predicted_observation(&self, observations: &Observations, pixel: usize) -> (f64, f64) {
        either!(self, state => state.predicted_observation(observations, pixel))
    }

    /// See [`State::predicted_together`].
    pub(super) fn predicted_together(&self, observations: &Observations, pixel: usize, means: &mut [f64]) -> f64 {
        either!(self, state => state.predicted_together(observations, pixel, means))
    }

    /// What the innovations of a group say of the covariance between bands in the most recent update of such a state.
    pub(super) fn squares<'w>(&self, group: usize, scratch: &'w Scratch) -> Option<Squares<'w>> {
        match self {
            Self::Double(_) => scratch.double.squares(group),
            Self::Single(_) => scratch.single.squares(group),
        }
    }

    pub(super) fn pixel_nis(
        &self,
        observations: &Observations,
        pixel: usize,
        scratch: &mut Scratch,
    ) -> Result<(f64, usize), NumericalError> {
        match self {
            Self::Double(state) => state.pixel_nis(observations, pixel, &mut scratch.double),
            Self::Single(state) => state
                .pixel_nis(observations, pixel, &mut scratch.single)
                .or_else(|_| state.cast::<f64>().pixel_nis(observations, pixel, &mut scratch.double)),
        }
    }
}
