//! Random windows, and the state of one as dense matrices.

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};
use proptest::prelude::*;
use rasterfuse::filter::{
    BandModel, BlockCov, Channel, CompressionCache, Dynamics, Observations, ProcessBlock, Real, State, Workspace,
};

/// A window's problem: spatial states × components, instruments with pixels that see a few states.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) spatial: usize,
    pub(crate) sensors: Vec<Sensor>,
    pub(crate) seed: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Sensor {
    /// Row-major (bands, components).
    pub(crate) design: Vec<f64>,
    pub(crate) noise: Vec<f64>,
    /// Per pixel: states, weights, values (NaN missing).
    pub(crate) pixels: Vec<(Vec<u32>, Vec<f64>, Vec<f64>)>,
}

pub(crate) const COMPONENTS: usize = 2;

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

pub(crate) fn problem() -> impl Strategy<Value = Problem> {
    (1..60_usize, any::<u64>()).prop_flat_map(|(spatial, seed)| {
        prop::collection::vec(sensor(spatial, 90), 1..4).prop_map(move |sensors| Problem { spatial, sensors, seed })
    })
}

/// A number in (-1, 1) that looks random.
pub(crate) fn noise(seed: u64, k: usize) -> f64 {
    let x = seed.wrapping_add(k as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (x >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
}

impl Problem {
    pub(crate) fn dynamics(&self) -> Dynamics {
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
    pub(crate) fn start(&self) -> State {
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

    pub(crate) fn push(
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
            let channel = |j: usize| Channel { offset: j * self.spatial, scale: 1.0, states, weights };
            observations.push_pixel(&bands, channel, values, cache);
        }
    }

    pub(crate) fn fused(&self) -> (State, f64) {
        let (mut state, mut cache, mut observations) = (self.start(), CompressionCache::new(), Observations::new());
        let mut workspace = Workspace::new();
        for k in 0..self.sensors.len() {
            self.push(k, 0..self.sensors[k].pixels.len(), &mut observations, &mut cache);
        }
        let fits = state.update(&observations, &mut workspace).unwrap();
        (state, fits.iter().map(|fit| fit.log_likelihood).sum())
    }

    /// All scalar data at once: `K = P Hᵀ (H P Hᵀ + R)⁻¹`, the likelihood from the joint density of the data.
    pub(crate) fn textbook(&self) -> (DVector<f64>, DMatrix<f64>, f64) {
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

pub(crate) fn assert_same<T: Real>(state: &State<T>, mean: &DVector<f64>, cov: &DMatrix<f64>, tolerance: f64) {
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

pub(crate) fn dense<T: Real>(state: &State<T>) -> (DVector<f64>, DMatrix<f64>) {
    (DVector::from_vec(state.mean.clone()), DMatrix::from_fn(state.n(), state.n(), |i, j| state.cov.get(i, j)))
}
