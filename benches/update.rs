//! The update against the rate the machine can reach: faer's own rank-k product on the same sizes, in the same run.
//!
//! `cargo bench --bench update`; divide the times of a row to get the share of the achievable rate.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, Par};
use nalgebra::{DMatrix, DVector};
use rasterfuse::filter::{
    BandModel, BlockCov, Channel, CompressionCache, Dynamics, Observations, ProcessBlock, State, Workspace,
};

/// States and pseudo-observations.
const SIZES: [(usize, usize); 4] = [(144, 144), (400, 64), (400, 400), (848, 424)];

fn state(n: usize) -> State {
    let correlation = Arc::new(BlockCov::dense(n, |i, j| (-(i.abs_diff(j) as f64) / 20.0).exp()));
    let dynamics = Dynamics::new(vec![ProcessBlock { len: n, transition: 1.0, variance: 1e-2, correlation }]);
    let mut state = State::new(n);
    state.predict(&dynamics, 3.0);
    state
}

/// Observations of single states, spread evenly.
fn observations(n: usize, r: usize) -> Observations {
    let bands = BandModel::new(vec![1.0], vec![1e-4], vec![0.0]);
    let (mut observations, mut cache) = (Observations::new(), CompressionCache::new());
    observations.begin_group(0);
    for k in 0..r {
        let channel = Channel { offset: 0, states: &[(k * n / r) as u32], weights: &[1.0] };
        observations.push_pixel(&bands, |_| channel, &[0.2], &mut cache);
    }
    observations
}

fn textbook(cov: &DMatrix<f64>, mean: &DVector<f64>, r: usize) -> (DVector<f64>, DMatrix<f64>) {
    let n = cov.nrows();
    let h = DMatrix::from_fn(r, n, |k, i| if i == k * n / r { 1.0 } else { 0.0 });
    let s = &h * cov * h.transpose() + DMatrix::identity(r, r) * 1e-4;
    let gain = cov * h.transpose() * s.try_inverse().unwrap();
    let left = DMatrix::identity(n, n) - &gain * &h;
    let filtered = mean + &gain * (DVector::repeat(r, 0.2) - &h * mean);
    (filtered, &left * cov * left.transpose() + &gain * 1e-4 * gain.transpose())
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    group.sample_size(10);
    for (n, r) in SIZES {
        let name = format!("{n}x{r}");
        group.throughput(Throughput::Elements((r * n * n) as u64));
        let (prior, seen, mut workspace) = (state(n), observations(n, r), Workspace::new());
        group.bench_function(BenchmarkId::new("blocked", &name), |b| {
            b.iter_batched(
                || prior.clone(),
                |mut state| state.update(&seen, &mut workspace).map(|_| state),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(BenchmarkId::new("faer_rank_k", &name), |b| {
            let gain = Mat::from_fn(n, r, |i, j| ((i * 7 + j * 3) % 11) as f64 * 1e-3);
            let mut cov = Mat::<f64>::identity(n, n);
            b.iter(|| {
                let (lower, whole) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
                triangular::matmul(&mut cov, lower, Accum::Add, &gain, whole, gain.transpose(), whole, -1e-9, Par::Seq);
                black_box(&cov);
            });
        });
        if n <= 400 {
            let cov = DMatrix::from_fn(n, n, |i, j| prior.cov.get(i, j));
            let mean = DVector::zeros(n);
            group.bench_function(BenchmarkId::new("textbook", &name), |b| b.iter(|| textbook(&cov, &mean, r)));
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
