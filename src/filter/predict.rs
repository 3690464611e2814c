//! Prediction of the state to a later day.

use super::block::AddColumn;
use super::factors::AddScaledColumn;
use super::growth::decay;
use super::{Dynamics, Real, State};

impl<T: Real> State<T> {
    /// Predicts `dt_days` ahead: `m ← F m`, `P ← F P Fᵀ + Q(Δt)`, lower triangle only. The covariance with lagged
    /// states is multiplied by `F`.
    ///
    /// Several days without observations cost one call.
    pub fn predict(&mut self, dynamics: &Dynamics, dt_days: f64) {
        debug_assert_eq!(self.n(), dynamics.n());
        let still = dynamics.blocks().iter().all(|(_, block)| block.transition == 1.0);
        if !still {
            self.decay(dynamics, dt_days);
        }
        for (index, (states, block)) in dynamics.blocks().iter().enumerate() {
            let scale = dynamics.growth(index, block.transition, dt_days) * block.variance;
            // States that do not change: lasting offsets, earlier averages.
            if scale == 0.0 {
                continue;
            }
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
                            *value += T::from_f64(scale * factor * entry);
                        };
                        column.iter_mut().zip(blended).for_each(add);
                    }
                }
            }
        }
    }

    /// `m ← F m`, `P ← F P Fᵀ`.
    fn decay(&mut self, dynamics: &Dynamics, dt_days: f64) {
        for (index, (states, block)) in dynamics.blocks().iter().enumerate() {
            let decayed = decay(block.transition, dt_days);
            for mean in &mut self.mean[states.clone()] {
                *mean *= decayed;
            }
            let n = self.n();
            for means in self.parallel.chunks_exact_mut(n.max(1)) {
                means[states.clone()].iter_mut().for_each(|mean| *mean *= decayed);
            }
            for (rows, other) in &dynamics.blocks()[index..] {
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
    use std::sync::Arc;

    use super::*;
    use crate::filter::{BlockCov, ProcessBlock};

    fn correlation(i: usize, j: usize) -> f64 {
        (-(i.abs_diff(j) as f64) / 3.0).exp()
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
