//! What the benches measure, and what they measure it against.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // every bench is a crate of its own and uses a part

pub(crate) mod twin;

use std::sync::Arc;

use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, Par};
use nalgebra::{DMatrix, DVector};
use rasterfuse::filter::{BandModel, BlockCov, Channel, CompressionCache, Dynamics, Observations, ProcessBlock, State};

/// faer's own rank-k product on one triangle: the rate that no update of a dense covariance exceeds.
#[derive(Debug)]
pub(crate) struct RankK {
    cov: Mat<f64>,
    gain: Mat<f64>,
}

impl RankK {
    /// For `n` states and up to `r` pseudo-observations.
    pub(crate) fn new(n: usize, r: usize) -> Self {
        let gain = Mat::from_fn(n, r, |i, j| ((i * 7 + j * 3) % 11) as f64 * 1e-3);
        Self { cov: Mat::identity(n, n), gain }
    }

    /// `P ← P - W Wᵀ` with `r` columns.
    pub(crate) fn run(&mut self, r: usize) {
        let (lower, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
        let gain = self.gain.as_ref().subcols(0, r);
        triangular::matmul(&mut self.cov, lower, Accum::Add, gain, whole, gain.transpose(), whole, -1e-9, Par::Seq);
        std::hint::black_box(&self.cov);
    }
}

/// A state of `n` entries with an exponential covariance.
pub(crate) fn state(n: usize) -> State {
    let correlation = Arc::new(BlockCov::dense(n, |i, j| (-(i.abs_diff(j) as f64) / 20.0).exp()));
    let dynamics = Dynamics::new(vec![ProcessBlock { len: n, transition: 1.0, variance: 1e-2, correlation }]);
    let mut state = State::new(n);
    state.predict(&dynamics, 3.0);
    state
}

/// Observations of `r` single states, spread evenly.
pub(crate) fn observations(n: usize, r: usize) -> Observations {
    let bands = BandModel::new(vec![1.0], vec![1e-4], vec![0.0]);
    let (mut observations, mut cache) = (Observations::new(), CompressionCache::new());
    observations.begin_group(0);
    for k in 0..r {
        let channel = Channel { offset: 0, scale: 1.0, states: &[(k * n / r) as u32], weights: &[1.0] };
        observations.push_pixel(&bands, |_| channel, &[0.2], &mut cache);
    }
    observations
}

/// The same update in the textbook's Joseph form, with full matrices.
#[derive(Debug)]
pub(crate) struct Textbook {
    cov: DMatrix<f64>,
    mean: DVector<f64>,
    operator: DMatrix<f64>,
}

impl Textbook {
    pub(crate) fn new(state: &State, r: usize) -> Self {
        let n = state.n();
        Self {
            cov: DMatrix::from_fn(n, n, |i, j| state.cov.get(i, j)),
            mean: DVector::from_column_slice(&state.mean),
            operator: DMatrix::from_fn(r, n, |k, i| if i == k * n / r { 1.0 } else { 0.0 }),
        }
    }

    pub(crate) fn update(&self) -> (DVector<f64>, DMatrix<f64>) {
        let Self { cov, mean, operator: h } = self;
        let (r, n) = h.shape();
        let s = h * cov * h.transpose() + DMatrix::identity(r, r) * 1e-4;
        let gain = cov * h.transpose() * s.try_inverse().unwrap();
        let left = DMatrix::identity(n, n) - &gain * h;
        let filtered = mean + &gain * (DVector::repeat(r, 0.2) - h * mean);
        (filtered, &left * cov * left.transpose() + &gain * 1e-4 * gain.transpose())
    }
}
