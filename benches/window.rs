//! A whole window of the benchmark scene through its 125 days, against faer's rank-k products of the same sizes.
//!
//! `cargo bench --bench window`; `cargo bench --bench rates` prints the ratios as a table.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::RankK;
use common::twin::{Scratch, Twin};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("window");
    group.sample_size(10);
    let twin = Twin::new(4, 4);
    let dynamics = twin.dynamics();
    let mut run = |name: &str, lag: usize| {
        let mut scratch = Scratch::new();
        group.bench_function(name, |b| {
            let start = || twin.start(lag);
            b.iter_batched(start, |mut state| twin.run(&dynamics, &mut state, &mut scratch), BatchSize::LargeInput);
        });
    };
    run("float64", 0);
    run("lag_5", 5);
    let mut scratch = Scratch::new();
    group.bench_function("float32", |b| {
        let start = || twin.start(0).cast::<f32>();
        b.iter_batched(start, |mut state| twin.run(&dynamics, &mut state, &mut scratch), BatchSize::LargeInput);
    });
    let ranks = twin.ranks();
    let mut reference = RankK::new(twin.n(), ranks.iter().copied().max().unwrap());
    group.bench_function("faer_rank_k", |b| b.iter(|| ranks.iter().for_each(|&r| reference.run(r))));
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
