//! The blocked update on one triangle against the textbook form, and what must hold for any data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use proptest::prelude::*;
use rasterfuse::filter::{BandModel, Channel, CompressionCache, NumericalError, Observations, State, Workspace};
use support::problem::{assert_same, dense, problem};

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn blocked_update_equals_the_textbook(problem in problem()) {
        let (state, likelihood) = problem.fused();
        let (mean, cov, expected) = problem.textbook();
        assert_same(&state, &mean, &cov, 1e-9);
        prop_assert!((likelihood - expected).abs() <= 1e-9 * (1.0 + expected.abs()), "{likelihood} {expected}");
    }

    #[test]
    fn order_of_instruments_and_pixels_does_not_matter(problem in problem()) {
        let (forward, _) = problem.fused();
        let (mut state, mut cache, mut observations) = (problem.start(), CompressionCache::new(), Observations::new());
        let mut workspace = Workspace::new();
        for k in (0..problem.sensors.len()).rev() {
            problem.push(k, (0..problem.sensors[k].pixels.len()).rev(), &mut observations, &mut cache);
        }
        state.update(&observations, &mut workspace).unwrap();
        let (mean, cov) = dense(&forward);
        assert_same(&state, &mean, &cov, 1e-9);
    }

    #[test]
    fn one_instrument_after_the_other_equals_both_at_once(problem in problem()) {
        let (together, likelihood) = problem.fused();
        let (mut state, mut cache, mut observations) = (problem.start(), CompressionCache::new(), Observations::new());
        let mut workspace = Workspace::new();
        let mut sum = 0.0;
        for k in 0..problem.sensors.len() {
            observations.clear();
            problem.push(k, 0..problem.sensors[k].pixels.len(), &mut observations, &mut cache);
            sum += state.update(&observations, &mut workspace).unwrap().iter().map(|fit| fit.log_likelihood).sum::<f64>();
        }
        let (mean, cov) = dense(&together);
        assert_same(&state, &mean, &cov, 1e-9);
        prop_assert!((sum - likelihood).abs() <= 1e-9 * (1.0 + sum.abs()));
    }

    #[test]
    fn covariance_stays_positive_definite(problem in problem(), days in 1..30_i32) {
        let dynamics = problem.dynamics();
        let (mut state, mut cache, mut observations) = (problem.start(), CompressionCache::new(), Observations::new());
        let mut workspace = Workspace::new();
        for _ in 0..4 {
            state.predict(&dynamics, f64::from(days));
            observations.clear();
            for k in 0..problem.sensors.len() {
                problem.push(k, 0..problem.sensors[k].pixels.len(), &mut observations, &mut cache);
            }
            let before: Vec<f64> = (0..state.n()).map(|i| state.cov.get(i, i)).collect();
            state.update(&observations, &mut workspace).unwrap();
            for (i, variance) in before.iter().enumerate() {
                prop_assert!(state.cov.get(i, i) <= variance * (1.0 + 1e-12), "an observation may not add variance");
            }
            prop_assert!(dense(&state).1.cholesky().is_some());
        }
    }

    #[test]
    fn days_without_observations_equal_daily_steps(problem in problem(), days in 1..40_i32) {
        let dynamics = problem.dynamics();
        let (mut daily, mut long) = (problem.start(), problem.start());
        long.predict(&dynamics, f64::from(days));
        (0..days).for_each(|_| daily.predict(&dynamics, 1.0));
        let (mean, cov) = dense(&daily);
        assert_same(&long, &mean, &cov, 1e-12);
    }
}

#[test]
fn a_broken_covariance_is_an_error_not_a_number() {
    for broken in [f64::NAN, -1e6, f64::NEG_INFINITY] {
        let mut state = State::new(3);
        (0..3).for_each(|i| state.cov.set(i, i, 1.0));
        state.cov.set(1, 1, broken);
        let bands = BandModel::new(vec![1.0], vec![0.1], vec![0.0]);
        let (mut cache, mut observations) = (CompressionCache::new(), Observations::new());
        observations.begin_group(0);
        for i in 0..3 {
            let channel = Channel { offset: 0, scale: 1.0, states: &[i], weights: &[1.0] };
            observations.push_pixel(&bands, |_| channel, &[0.5], &mut cache);
        }
        let error = state.update(&observations, &mut Workspace::new()).unwrap_err();
        assert_eq!(error, NumericalError::NotPositiveDefinite { pivot: 1, size: 3 }, "{broken}");
    }
}

#[test]
fn digits_that_float64_does_not_have_are_an_error() {
    let observe = |prior: f64, noise: f64| {
        let mut state = State::new(1);
        state.cov.set(0, 0, prior);
        let bands = BandModel::new(vec![1.0], vec![noise], vec![0.0]);
        let mut observations = Observations::new();
        observations.begin_group(0);
        let channel = Channel { offset: 0, scale: 1.0, states: &[0], weights: &[1.0] };
        observations.push_pixel(&bands, |_| channel, &[0.5], &mut CompressionCache::new());
        state.update(&observations, &mut Workspace::new()).map(|_| state.cov.get(0, 0))
    };
    let kept = observe(1e4, 1e-6).unwrap();
    assert!((kept / 1e-6 - 1.0).abs() < 1e-3, "{kept}");
    assert!(matches!(observe(1e6, 1e-8), Err(NumericalError::LostPrecision { state: 0, .. })));
    assert!(observe(1e12, 1e-5).is_err());
}
