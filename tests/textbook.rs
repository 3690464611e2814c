//! The blocked update on one triangle against the textbook form, and what must hold for any data.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use rasterfuse::filter::{
    BandModel, BlockCov, Channel, CompressionCache, Dynamics, NumericalError, Observations, ProcessBlock, State,
    Workspace,
};

/// A window's problem: spatial states × components, instruments with pixels that see a few states.
#[derive(Clone, Debug)]
struct Problem {
    spatial: usize,
    sensors: Vec<Sensor>,
    seed: u64,
}

#[derive(Clone, Debug)]
struct Sensor {
    /// Row-major (bands, components).
    design: Vec<f64>,
    noise: Vec<f64>,
    /// Per pixel: states, weights, values (NaN missing).
    pixels: Vec<(Vec<u32>, Vec<f64>, Vec<f64>)>,
}

const COMPONENTS: usize = 2;

fn sensor(spatial: usize, max_pixels: usize) -> impl Strategy<Value = Sensor> {
    let selection = prop::sample::subsequence(vec![[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], 1..=3);
    let spectra = prop::collection::vec([-1.0..1.0_f64, -1.0..1.0_f64], 1..5);
    prop_oneof![selection, spectra].prop_flat_map(move |design| {
        let bands = design.len();
        let pixel = (
            prop::sample::subsequence((0..spatial as u32).collect::<Vec<_>>(), 1..=spatial.min(6)),
            prop::collection::vec(prop_oneof![4 => -1.0..1.0_f64, 1 => Just(f64::NAN)], bands),
        );
        let pixel =
            pixel.prop_map(|(states, values)| (states.clone(), vec![1.0 / states.len() as f64; states.len()], values));
        let noise = prop::collection::vec((-4.0..0.0_f64).prop_map(|e| 10.0_f64.powf(e)), bands);
        (noise, prop::collection::vec(pixel, 0..max_pixels)).prop_map(move |(noise, pixels)| Sensor {
            design: design.concat(),
            noise,
            pixels,
        })
    })
}

fn problem() -> impl Strategy<Value = Problem> {
    (1..60_usize, any::<u64>()).prop_flat_map(|(spatial, seed)| {
        prop::collection::vec(sensor(spatial, 90), 1..4).prop_map(move |sensors| Problem { spatial, sensors, seed })
    })
}

/// A number in (-1, 1) that looks random.
fn noise(seed: u64, k: usize) -> f64 {
    let x = seed.wrapping_add(k as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

impl Problem {
    fn dynamics(&self) -> Dynamics {
        let correlation = Arc::new(BlockCov::dense(self.spatial, |i, j| (-(i.abs_diff(j) as f64) / 4.0).exp()));
        let block = |transition, variance| ProcessBlock {
            len: self.spatial,
            transition,
            variance,
            correlation: Arc::clone(&correlation),
        };
        Dynamics::new(vec![block(1.0, 0.02), block(0.95, 0.05)])
    }

    /// A state with a dense, well-conditioned covariance.
    fn start(&self) -> State {
        let n = self.spatial * COMPONENTS;
        let root = DMatrix::from_fn(n, 4, |i, j| noise(self.seed, i * 7 + j));
        let cov = &root * root.transpose() + DMatrix::identity(n, n) * 0.3;
        let mut state = State::new(n);
        for i in 0..n {
            state.mean[i] = noise(self.seed, 10_000 + i);
            (0..=i).for_each(|j| state.cov.set(i, j, cov[(i, j)]));
        }
        state
    }

    fn push(
        &self,
        k: usize,
        pixels: impl Iterator<Item = usize>,
        observations: &mut Observations,
        cache: &mut CompressionCache,
    ) {
        let sensor = &self.sensors[k];
        let bands = BandModel::new(sensor.design.clone(), sensor.noise.clone(), vec![0.1; sensor.noise.len()]);
        observations.begin_group(k);
        for pixel in pixels {
            let (states, weights, values) = &sensor.pixels[pixel];
            let channels: Vec<_> =
                (0..COMPONENTS).map(|j| Channel { offset: j * self.spatial, states, weights }).collect();
            observations.push_pixel(&bands, &channels, values, cache);
        }
    }

    fn fused(&self) -> (State, f64) {
        let (mut state, mut cache, mut observations) = (self.start(), CompressionCache::new(), Observations::new());
        let mut workspace = Workspace::new();
        for k in 0..self.sensors.len() {
            self.push(k, 0..self.sensors[k].pixels.len(), &mut observations, &mut cache);
        }
        let fits = state.update(&observations, &mut workspace).unwrap();
        (state, fits.iter().map(|fit| fit.log_likelihood).sum())
    }

    /// All scalar data at once: `K = P Hᵀ (H P Hᵀ + R)⁻¹`, the likelihood from the joint density of the data.
    fn textbook(&self) -> (DVector<f64>, DMatrix<f64>, f64) {
        let start = self.start();
        let n = start.n();
        let (mut rows, mut data, mut variances) = (Vec::new(), Vec::new(), Vec::new());
        for sensor in &self.sensors {
            for (states, weights, values) in &sensor.pixels {
                for (band, value) in values.iter().enumerate().filter(|(_, v)| v.is_finite()) {
                    let mut row = DVector::zeros(n);
                    for j in 0..COMPONENTS {
                        for (state, weight) in states.iter().zip(weights) {
                            row[j * self.spatial + *state as usize] = weight * sensor.design[band * COMPONENTS + j];
                        }
                    }
                    rows.push(row.transpose());
                    data.push(value - 0.1);
                    variances.push(sensor.noise[band]);
                }
            }
        }
        let mean = DVector::from_vec(start.mean.clone());
        let cov = DMatrix::from_fn(n, n, |i, j| start.cov.get(i, j));
        if rows.is_empty() {
            return (mean, cov, 0.0);
        }
        let h = DMatrix::from_rows(&rows);
        let innovation = DVector::from_vec(data) - &h * &mean;
        let s = &h * &cov * h.transpose() + DMatrix::from_diagonal(&DVector::from_vec(variances));
        let factor = s.cholesky().unwrap();
        let gain = factor.solve(&(&h * &cov)).transpose();
        let log_det = 2.0 * factor.l().diagonal().iter().map(|d| d.ln()).sum::<f64>();
        let nis = innovation.dot(&factor.solve(&innovation));
        let likelihood = -0.5 * (nis + log_det + innovation.len() as f64 * std::f64::consts::TAU.ln());
        let filtered = &mean + &gain * &innovation;
        let left = DMatrix::identity(n, n) - &gain * &h;
        (filtered, left * cov, likelihood)
    }
}

fn assert_same(state: &State, mean: &DVector<f64>, cov: &DMatrix<f64>, tolerance: f64) {
    for i in 0..state.n() {
        let sd = cov[(i, i)].abs().sqrt();
        assert!(
            (state.mean[i] - mean[i]).abs() <= tolerance * (1.0 + mean[i].abs()),
            "mean {i}: {} {}",
            state.mean[i],
            mean[i]
        );
        for j in 0..=i {
            let scale = sd * cov[(j, j)].abs().sqrt();
            let difference = (state.cov.get(i, j) - cov[(i, j)]).abs();
            assert!(difference <= tolerance * (scale + 1e-3), "cov {i} {j}: {} {}", state.cov.get(i, j), cov[(i, j)]);
        }
    }
}

fn dense(state: &State) -> (DVector<f64>, DMatrix<f64>) {
    (DVector::from_vec(state.mean.clone()), DMatrix::from_fn(state.n(), state.n(), |i, j| state.cov.get(i, j)))
}

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
            let channel = Channel { offset: 0, states: &[i], weights: &[1.0] };
            observations.push_pixel(&bands, &[channel], &[0.5], &mut cache);
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
        let channel = Channel { offset: 0, states: &[0], weights: &[1.0] };
        observations.push_pixel(&bands, &[channel], &[0.5], &mut CompressionCache::new());
        state.update(&observations, &mut Workspace::new()).map(|_| state.cov.get(0, 0))
    };
    let kept = observe(1e4, 1e-6).unwrap();
    assert!((kept / 1e-6 - 1.0).abs() < 1e-3, "{kept}");
    assert!(matches!(observe(1e6, 1e-8), Err(NumericalError::LostPrecision { state: 0, .. })));
    assert!(observe(1e12, 1e-5).is_err());
}
