//! A small scene end to end, from arrays to arrays, against faer's rank-k products of the same sizes on one thread.
//!
//! `cargo bench --bench scene`
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::RankK;
use criterion::{Criterion, criterion_group, criterion_main};
use ndarray::Array4;
use rasterfuse::Fusion;
use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
use rasterfuse::geometry::{Crs, Date, Grid};
use rasterfuse::sink::MemorySink;
use rasterfuse::source::MemorySource;

const SIDE: usize = 48;
const DATES: usize = 10;
const SIZE: usize = 4;
const HALO: usize = 8;

fn fusion() -> Fusion {
    let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (SIDE, SIDE)).unwrap();
    let values = Array4::from_shape_fn((DATES, 1, SIDE, SIDE), |(t, _, r, c)| {
        0.3 + 0.01 * ((t * 7 + r * 3 + c * 5) % 11) as f64
    });
    let dates = (0..DATES as i32).map(|k| Date::from_days(2 * k)).collect();
    let source = MemorySource::new(grid.clone(), dates, vec!["red".into()], values).unwrap();
    Fusion::builder(grid)
        .bands(["red"])
        .window(SIZE, HALO)
        .process(Process::new(Kernel::Exponential, 300.0, 1e-4))
        .prior(Prior::new(0.3, 0.01))
        .instrument(Instrument::new("fine", source).noise_variance(1e-4))
        .threads(1)
        .build()
        .unwrap()
}

/// States of every window: as many as its pixels on each date.
fn states() -> Vec<usize> {
    let side = |first: usize| (first + SIZE + HALO).min(SIDE) - first.saturating_sub(HALO);
    let sides = || (0..SIDE).step_by(SIZE).map(side);
    sides().flat_map(|rows| sides().map(move |cols| rows * cols)).collect()
}

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scene");
    group.sample_size(10);
    let fusion = fusion();
    group.bench_function("fusion", |b| b.iter(|| fusion.run(&mut MemorySink::new()).unwrap()));
    let states = states();
    let mut references: Vec<(usize, RankK)> = Vec::new();
    for &n in &states {
        if !references.iter().any(|(held, _)| *held == n) {
            references.push((n, RankK::new(n, n)));
        }
    }
    group.bench_function("faer_rank_k", |b| {
        b.iter(|| {
            for &n in &states {
                let (_, reference) = references.iter_mut().find(|(held, _)| *held == n).unwrap();
                (0..DATES).for_each(|_| reference.run(n));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
