//! States that are sums of others as they are now.

use super::{Channel, Real, State};

impl<T: Real> State<T> {
    /// Makes state `target` the sum of other states as they are now: mean, covariances and those with lagged states.
    /// What it was before is forgotten. `scratch` is overwritten.
    ///
    /// An average that is kept so, with a transition of 1 and without process noise, is conditioned on what is observed
    /// later as lagged states are.
    ///
    /// # Panics
    /// When the sum refers to a state that does not exist, or to `target`.
    pub fn set_sum<'c>(
        &mut self,
        target: usize,
        sum: impl Iterator<Item = Channel<'c>> + Clone,
        scratch: &mut Vec<f64>,
    ) {
        let n = self.n();
        let terms = || {
            let of_piece = |piece: Channel<'c>| {
                let states = piece.states.iter().map(move |state| *state as usize + piece.offset);
                states.zip(piece.weights.iter().map(move |weight| weight * piece.scale))
            };
            sum.clone().flat_map(of_piece)
        };
        assert!(target < n && terms().all(|(state, _)| state < n && state != target), "a sum of other states");
        scratch.clear();
        scratch.resize(n, 0.0);
        for (state, weight) in terms() {
            let column = self.cov.column(state);
            scratch[state..].iter_mut().zip(column).for_each(|(cov, entry)| *cov += weight * entry.to_f64());
        }
        for (i, cov) in scratch.iter_mut().enumerate() {
            let column = self.cov.column(i);
            let below = terms().filter(|(state, _)| *state > i);
            *cov += below.map(|(state, weight)| weight * column[state - i].to_f64()).sum::<f64>();
        }
        scratch[target] = terms().map(|(state, weight)| weight * scratch[state]).sum();
        for (i, cov) in scratch[..target].iter().enumerate() {
            self.cov.column_mut(i)[target - i] = T::from_f64(*cov);
        }
        let column = self.cov.column_mut(target).iter_mut();
        column.zip(&scratch[target..]).for_each(|(entry, cov)| *entry = T::from_f64(*cov));
        let mean = |mean: &[f64]| terms().map(|(state, weight)| weight * mean[state]).sum();
        self.mean[target] = mean(&self.mean);
        for column in self.parallel.chunks_exact_mut(n.max(1)) {
            column[target] = mean(column);
        }
        self.lags.set_sum(target, terms());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state of five, of which the first two are remembered, with all covariances different.
    fn state() -> State {
        let mut state = State::new(5).with_parallel(1).with_lags(vec![0..1, 1..2], 2);
        for i in 0..5 {
            (state.mean[i], state.parallel[i]) = (i as f64, 10.0 - i as f64);
            for j in 0..=i {
                state.cov.set(i, j, 1.0 / (1.0 + (i - j) as f64) + if i == j { i as f64 } else { 0.0 });
            }
        }
        state.remember();
        state
    }

    #[test]
    fn a_sum_has_mean_and_covariances_of_its_terms() {
        for target in [0, 2, 4] {
            let (mut now, before) = (state(), state());
            let others: Vec<u32> = (0..5).filter(|other| *other != target).collect();
            let weights = [0.5, -1.0, 2.0, 0.25];
            let pieces = [
                Channel { offset: 0, scale: 2.0, states: &others[..1], weights: &weights[..1] },
                Channel { offset: 0, scale: 1.0, states: &others[1..], weights: &weights[1..] },
            ];
            let target = target as usize;
            now.set_sum(target, pieces.into_iter(), &mut vec![7.0; 3]);
            let terms: Vec<(usize, f64)> =
                others.iter().map(|other| *other as usize).zip([1.0, -1.0, 2.0, 0.25]).collect();
            let of =
                |value: &dyn Fn(usize) -> f64| terms.iter().map(|(state, weight)| weight * value(*state)).sum::<f64>();
            assert!((now.mean[target] - of(&|i| before.mean[i])).abs() < 1e-14);
            assert!((now.parallel[target] - of(&|i| before.parallel[i])).abs() < 1e-14);
            for j in (0..5).filter(|j| *j != target) {
                assert!((now.cov.get(target, j) - of(&|i| before.cov.get(i, j))).abs() < 1e-14, "{target} {j}");
                for k in (0..5).filter(|k| *k != target) {
                    assert_eq!(now.cov.get(k, j), before.cov.get(k, j));
                }
            }
            let variance = of(&|i| of(&|j| before.cov.get(i, j)));
            assert!((now.cov.get(target, target) - variance).abs() < 1e-13);
            // The covariance with the remembered states.
            for lagged in 0..2 {
                let expected = of(&|i| before.lags.cross(i)[lagged]);
                assert!((now.lags.cross(target)[lagged] - expected).abs() < 1e-14);
            }
        }
    }
}
