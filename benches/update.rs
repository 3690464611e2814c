//! One update against faer's own rank-k product on the same sizes and against the textbook form, in the same run.
//!
//! `cargo bench --bench update`; `cargo bench --bench rates` prints the ratios as a table.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod common;

use common::{RankK, Textbook, observations, state};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rasterfuse::filter::Workspace;

/// States beyond which the textbook form takes too long.
const LARGEST_TEXTBOOK: usize = 576;

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("update");
    group.sample_size(10);
    for n in [100, 144, 400, 576, 848, 1200] {
        for r in [8, 64, n] {
            let name = format!("{n}x{r}");
            group.throughput(Throughput::Elements((r * n * n) as u64));
            let (prior, seen) = (state(n), observations(n, r));
            let mut workspace = Workspace::new();
            group.bench_function(BenchmarkId::new("float64", &name), |b| {
                b.iter_batched(
                    || prior.clone(),
                    |mut state| state.update(&seen, &mut workspace).map(|_| ()).map(|()| state),
                    BatchSize::LargeInput,
                );
            });
            let (single, mut workspace) = (prior.cast::<f32>(), Workspace::new());
            group.bench_function(BenchmarkId::new("float32", &name), |b| {
                b.iter_batched(
                    || single.clone(),
                    |mut state| state.update(&seen, &mut workspace).map(|_| ()).map(|()| state),
                    BatchSize::LargeInput,
                );
            });
            let mut reference = RankK::new(n, r);
            group.bench_function(BenchmarkId::new("faer_rank_k", &name), |b| b.iter(|| reference.run(r)));
            if n <= LARGEST_TEXTBOOK {
                let textbook = Textbook::new(&prior, r);
                group.bench_function(BenchmarkId::new("textbook", &name), |b| b.iter(|| textbook.update()));
            }
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
