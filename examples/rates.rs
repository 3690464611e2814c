//! Measures the rate of the filter.
#[path = "../benches/twin/mod.rs"]
mod twin;
use faer::linalg::matmul::triangular::{self, BlockStructure};
use faer::{Accum, Mat, Par};
use rasterfuse::filter::{Real, State};
use std::time::Instant;
use twin::*;

fn rank_k(n: usize, k: usize) -> f64 {
    let w = Mat::<f64>::from_fn(n, k, |i, j| ((i * 7 + j * 3) % 11) as f64 * 1e-3);
    let mut p = Mat::<f64>::identity(n, n);
    let (lower, rect) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    let mut best = f64::MAX;
    for _ in 0..20 {
        let t = Instant::now();
        for _ in 0..3 {
            triangular::matmul(&mut p, lower, Accum::Add, &w, rect, w.transpose(), rect, -1e-9, Par::Seq);
        }
        best = best.min(t.elapsed().as_secs_f64() / 3.0);
    }
    (n * n * k) as f64 / best * 1e-9
}
fn go<T: Real>(twin: &Twin, lag: usize, cast: impl Fn(State) -> State<T>) -> f64 {
    let dynamics = twin.dynamics();
    let mut scratch = Scratch::new();
    let mut best = 0.0_f64;
    for _ in 0..3 {
        let mut state = cast(twin.start(lag));
        let t = Instant::now();
        let work = twin.run(&dynamics, &mut state, &mut scratch);
        let rate = work.useful_flops / t.elapsed().as_secs_f64() * 1e-9;
        if rate > best {
            best = rate;
            println!(
                "  r={} {:.3}s  {rate:.1} GF/s mean[7]={}",
                work.pseudo_observations,
                t.elapsed().as_secs_f64(),
                state.mean[7]
            );
        }
    }
    best
}
fn reference(twin: &Twin) -> f64 {
    let n = twin.n();
    let mut obs = rasterfuse::filter::Observations::new();
    let mut cache = rasterfuse::filter::CompressionCache::new();
    let ranks: Vec<usize> = (0..DAYS)
        .map(|d| {
            twin.observe(d, &mut obs, &mut cache);
            obs.len()
        })
        .filter(|r| *r > 0)
        .collect();
    println!("{ranks:?}");
    let w = Mat::<f64>::from_fn(n, 2000, |i, j| ((i * 7 + j * 3) % 11) as f64 * 1e-3);
    let mut p = Mat::<f64>::identity(n, n);
    let (lower, rect) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
    let mut best = f64::MAX;
    for _ in 0..5 {
        let t = Instant::now();
        for &r in &ranks {
            let w = w.as_ref().subcols(0, r);
            triangular::matmul(&mut p, lower, Accum::Add, &w, rect, w.transpose(), rect, -1e-9, Par::Seq);
        }
        best = best.min(t.elapsed().as_secs_f64());
    }
    ranks.iter().sum::<usize>() as f64 * (n * n) as f64 / best * 1e-9
}
fn main() {
    for (s, h) in [(4, 4), (4, 6)] {
        let twin = Twin::new(s, h);
        let n = twin.n();
        println!("N={n} rank-k k=N {:.1} k=64 {:.1} k=48 {:.1}", rank_k(n, n), rank_k(n, 64), rank_k(n, 48));
        println!("series {:.1}", reference(&twin));
        let a = go(&twin, 0, |s| s);
        let b = go(&twin, 0, |s| s.cast::<f32>());
        let c = go(&twin, 5, |s| s);
        println!(
            "f64 {a:.1} ({:.3} of rank-N, {:.3} of rank-64); f32 x{:.2}; lag5 cost {:.2}",
            a / rank_k(n, n),
            a / rank_k(n, 64),
            b / a,
            a / c
        );
    }
}
