//! Process noise factors of single states, from their level and from fixed factors.

use super::{BlockCov, Dynamics, Real, State};

impl<T: Real> State<T> {
    /// Sets the noise factor of every state. The level of a state with [relative](Dynamics::with_relative) noise is
    /// its current mean plus `offset(i)` (the mean function about which state `i` is an anomaly, or 0). The [fixed
    /// factors](Dynamics::with_factors) multiply it. Predictions use these factors until the next call. Call it at
    /// the start and after every update, so that the result does not depend on the number of steps of a prediction.
    pub fn take_factors(&mut self, dynamics: &Dynamics, offset: impl Fn(usize) -> f64) {
        if dynamics.relative().is_empty() && dynamics.factors().is_empty() {
            return;
        }
        self.factors.clear();
        self.factors.extend_from_slice(dynamics.factors());
        self.factors.resize(self.mean.len(), 1.0);
        for ((states, _), relative) in dynamics.blocks().iter().zip(dynamics.relative()) {
            for i in states.clone() {
                self.factors[i] *= relative.factor(self.mean[i] + offset(i));
            }
        }
    }

    /// Memory of the factors of `n` states.
    #[must_use]
    pub fn factor_bytes(n: usize) -> u64 {
        (n * size_of::<f64>()) as u64
    }
}

/// Adds a column of a correlation with each row multiplied by its factor.
pub(super) struct AddScaledColumn<'a, T> {
    pub(super) correlation: &'a BlockCov,
    pub(super) j: usize,
    pub(super) scale: f64,
    /// Factors of rows `j..`.
    pub(super) factors: &'a [f64],
    pub(super) target: &'a mut [T],
}

impl<T: Real> pulp::WithSimd for AddScaledColumn<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let (mut target, mut factors) = (self.target, self.factors);
        for part in self.correlation.column(self.j) {
            let (own, below) = target.split_at_mut(part.len());
            let (weights, rest) = factors.split_at(part.len());
            for ((value, entry), factor) in own.iter_mut().zip(part).zip(weights) {
                *value += T::from_f64(self.scale * factor * entry);
            }
            (target, factors) = (below, rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::filter::{ProcessBlock, Relative};

    fn correlation(i: usize, j: usize) -> f64 {
        (-(i.abs_diff(j) as f64) / 3.0).exp()
    }

    /// Blocks with and without a tail, of which the last does not change with its level.
    fn dynamics() -> Dynamics {
        let block = |len, head, transition, variance| ProcessBlock {
            len,
            transition,
            variance,
            correlation: Arc::new(BlockCov::new(len, head, BlockCov::pack(head, correlation), correlation)),
        };
        let relative = vec![Relative { weight: 1.0, level: 0.2 }, Relative { weight: 0.3, level: 2.0 }];
        Dynamics::new(vec![block(30, 21, 0.97, 0.02), block(5, 5, 1.0, 0.5), block(2, 0, 0.9, 1.0)])
            .with_relative(relative)
    }

    fn start(dynamics: &Dynamics) -> State {
        let mut state = State::new(dynamics.n());
        for i in 0..state.n() {
            state.mean[i] = 0.3 * (i as f64).sin();
            (0..=i).for_each(|j| state.cov.set(i, j, 0.1 * correlation(i, j)));
        }
        state
    }

    /// Entry by entry, from the definition.
    fn slow(before: &State, dynamics: &Dynamics, values: &[f64], dt_days: f64) -> Vec<Vec<f64>> {
        let own = |i: usize| dynamics.factors().get(i).copied().unwrap_or(1.0);
        let g = |i: usize| match i {
            0..30 => own(i) * values[i].abs() / 0.2,
            30..35 => own(i) * (0.7 + 0.3 * (values[i] / 2.0).powi(2)).sqrt(),
            _ => own(i),
        };
        let entry = |i: usize, j: usize| {
            let decayed = dynamics.transition(i, dt_days) * dynamics.transition(j, dt_days) * before.cov.get(i, j);
            decayed + g(i) * g(j) * dynamics.process_cov(None, i, j, dt_days)
        };
        (0..before.n()).map(|i| (0..before.n()).map(|j| entry(i, j)).collect()).collect()
    }

    #[test]
    fn change_goes_with_the_level_of_the_last_update() {
        changes_as_defined(&dynamics());
    }

    #[test]
    fn states_have_factors_of_their_own_with_and_without_a_level() {
        let factors = |n: usize| (0..n).map(|i| 0.5 + 0.1 * i as f64).collect::<Vec<_>>();
        changes_as_defined(&dynamics().with_factors(factors(33)));
        let dynamics = dynamics().with_relative(vec![Relative { weight: 0.0, level: 1.0 }]).with_factors(factors(37));
        let (mut level, mut plain) = (start(&dynamics), start(&dynamics));
        level.take_factors(&dynamics, |_| 0.0);
        level.predict(&dynamics, 3.0);
        let without = dynamics.with_relative(Vec::new());
        // Any number of times: they do not add up.
        (0..3).for_each(|_| plain.take_factors(&without, |_| 0.0));
        plain.predict(&without, 3.0);
        assert_eq!(level.cov, plain.cov);
    }

    fn changes_as_defined(dynamics: &Dynamics) {
        let mut state = start(dynamics);
        let offset = |i: usize| 0.05 * i as f64;
        state.take_factors(dynamics, offset);
        let before = state.clone();
        let values: Vec<f64> = (0..before.n()).map(|i| before.mean[i] + offset(i)).collect();
        let expected = slow(&before, dynamics, &values, 5.0);
        let (mut single, mut split) = (state.cast::<f32>(), state.clone());
        state.predict(dynamics, 5.0);
        single.predict(dynamics, 5.0);
        // The means have decayed on the way; the level has not changed.
        split.predict(dynamics, 2.0);
        split.predict(dynamics, 3.0);
        for i in 0..state.n() {
            for (j, expected) in expected[i].iter().enumerate() {
                assert!((state.cov.get(i, j) - expected).abs() < 1e-13, "{i} {j}");
                assert!((before.predicted_cov(dynamics, i, j, 5.0) - expected).abs() < 1e-13, "{i} {j}");
                assert!((split.cov.get(i, j) - expected).abs() < 1e-13, "{i} {j}");
                assert!((single.cov.get(i, j) - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{i} {j}");
            }
        }
    }

    #[test]
    fn at_its_level_everything_changes_as_ever() {
        let (dynamics, plain) =
            (dynamics(), Dynamics::new(dynamics().blocks().iter().map(|(_, b)| b.clone()).collect()));
        let mut state = start(&dynamics);
        let mut expected = state.clone();
        state.mean.fill(0.2);
        state.take_factors(&dynamics, |i| if i < 30 { 0.0 } else { 1.8 });
        expected.mean.fill(0.2);
        state.predict(&dynamics, 3.0);
        expected.predict(&plain, 3.0);
        assert_eq!((&state.mean, &state.cov), (&expected.mean, &expected.cov));
    }

    #[test]
    fn similarity_and_level_combine() {
        let dynamics = dynamics();
        let mut state = start(&dynamics).with_history(&dynamics, 2, 0.4, 0.3);
        for _ in 0..2 {
            let (mean, cov) = (state.mean.clone(), state.cov.clone());
            if let Some(history) = &mut state.history {
                history.record(&mean, |i| cov.get(i, i));
            }
        }
        state.take_factors(&dynamics, |_| 0.0);
        let before = state.clone();
        state.predict(&dynamics, 4.0);
        for i in 0..state.n() {
            for j in 0..=i {
                let expected = before.predicted_cov(&dynamics, i, j, 4.0);
                assert!((state.cov.get(i, j) - expected).abs() < 1e-13, "{i} {j}");
            }
        }
    }
}
