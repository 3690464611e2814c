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
fn main() {
    let twin = Twin::new(4, 4);
    for _ in 0..10 {
        go(&twin, 0, |s| s);
    }
}
