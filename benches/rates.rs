//! Prints how fast the filter is on this machine as tables of ratios: `cargo bench --bench rates`, which takes minutes.
//!
//! The reference is faer's own rank-k product on one triangle, measured in turn with the filter: what an update of a dense
//! covariance cannot do without. Best of several turns, because machines are shared.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Instant;

use common::twin::{Scratch, Twin};
use common::{RankK, Textbook, observations, state};
use rasterfuse::filter::{Real, State, Workspace};

fn main() {
    // As criterion has it: `--test` tries that everything runs, and measures nothing.
    let turns = if std::env::args().any(|argument| argument == "--test") { 1 } else { 7 };
    updates(turns);
    for halo in [4, 6] {
        window(halo, turns);
    }
}

/// Seconds that `work` takes.
fn seconds(work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_secs_f64()
}

/// Keeps the least of what it is given.
#[derive(Clone, Copy)]
struct Best(f64);

impl Best {
    fn take(&mut self, seconds: f64) {
        self.0 = self.0.min(seconds);
    }
}

const NONE: Best = Best(f64::INFINITY);

fn updates(turns: usize) {
    println!("| N × r | update | faer rank-k | rank-k / update | float32 faster by | textbook / update |");
    println!("|---|---|---|---|---|---|");
    for (n, r) in
        [(100, 8), (144, 64), (144, 144), (400, 64), (400, 400), (576, 64), (576, 576), (848, 424), (1200, 1200)]
    {
        let (prior, seen) = (state(n), observations(n, r));
        let single = prior.cast::<f32>();
        let (mut double_scratch, mut single_scratch) = (Workspace::new(), Workspace::new());
        let mut reference = RankK::new(n, r);
        let textbook = Textbook::new(&prior, r);
        let (mut double, mut float, mut product, mut full) = (NONE, NONE, NONE, NONE);
        // About 50 ms a turn.
        let repeats = if turns > 1 { (5e9 / (r * n * n) as f64).ceil().min(2000.0) as usize } else { 1 };
        for turn in 0..turns {
            double.take(repeated(
                repeats,
                || prior.clone(),
                |state| {
                    state.update(&seen, &mut double_scratch).unwrap();
                },
            ));
            float.take(repeated(
                repeats,
                || single.clone(),
                |state| {
                    state.update(&seen, &mut single_scratch).unwrap();
                },
            ));
            product.take(repeated(repeats, || (), |()| reference.run(r)));
            if turn < 2 && n <= 576 {
                full.take(seconds(|| drop(std::hint::black_box(textbook.update()))));
            }
        }
        let ratio = if full.0.is_finite() { format!("{:.0}", full.0 / double.0) } else { String::new() };
        println!(
            "| {n} × {r} | {:.3} ms | {:.3} ms | {:.0} % | {:.2} times | {ratio} |",
            double.0 * 1e3,
            product.0 * 1e3,
            100.0 * product.0 / double.0,
            double.0 / float.0
        );
    }
    println!();
}

/// Mean seconds of `work`, what it works on made beforehand.
fn repeated<S>(repeats: usize, make: impl Fn() -> S, mut work: impl FnMut(&mut S)) -> f64 {
    let mut total = 0.0;
    for _ in 0..repeats {
        let mut state = make();
        total += seconds(|| work(&mut state));
    }
    total / repeats as f64
}

fn window(halo: usize, turns: usize) {
    let twin = Twin::new(4, halo);
    let (n, ranks) = (twin.n(), twin.ranks());
    let flops = ranks.iter().sum::<usize>() as f64 * (n * n) as f64;
    let mut references = [(); 2].map(|()| RankK::new(n, ranks.iter().copied().max().unwrap()));
    let mut block = RankK::new(n, 64);
    let (mut filter, mut single, mut lag, mut pair) = (NONE, NONE, NONE, NONE);
    let (mut product, mut product_64, mut product_pair) = (NONE, NONE, NONE);
    for _ in 0..turns {
        filter.take(series(&twin, 0, 1, |state| state));
        product.take(seconds(|| ranks.iter().for_each(|&r| references[0].run(r))));
        product_64.take(seconds(|| (0..100).for_each(|_| block.run(64))) / 100.0);
        single.take(series(&twin, 0, 1, |state| state.cast::<f32>()));
        lag.take(series(&twin, 5, 1, |state| state));
        pair.take(series(&twin, 0, 2, |state| state));
        product_pair.take(seconds(|| in_parallel(&mut references, |one| ranks.iter().for_each(|&r| one.run(r)))));
    }
    let rate = |seconds: f64| flops / seconds / 1e9;
    println!(
        "Window of 4 × 4 cells, halo {halo}: N = {n}, {} dates, {} pseudo-observations",
        ranks.len(),
        ranks.iter().sum::<usize>()
    );
    println!();
    println!("| | seconds | Σ r N² per second | |");
    println!("|---|---|---|---|");
    println!("| faer rank-k, the products of each date | {:.4} | {:.1} GFLOP/s | |", product.0, rate(product.0));
    let rate_64 = (64 * n * n) as f64 / product_64.0 / 1e9;
    println!("| faer rank-64 | | {rate_64:.1} GFLOP/s | |");
    println!(
        "| filter, float64 | {:.4} | {:.1} GFLOP/s | {:.0} % of the products of each date, {:.0} % of rank-64 |",
        filter.0,
        rate(filter.0),
        100.0 * product.0 / filter.0,
        100.0 * rate(filter.0) / rate_64
    );
    println!(
        "| filter, float32 | {:.4} | {:.1} GFLOP/s | {:.2} times float64 |",
        single.0,
        rate(single.0),
        filter.0 / single.0
    );
    println!(
        "| fixed lag of 5 days | {:.4} | {:.1} GFLOP/s | {:.2} times the filter's time |",
        lag.0,
        rate(lag.0),
        lag.0 / filter.0
    );
    for (name, one, two) in [("filter", filter, pair), ("faer rank-k", product, product_pair)] {
        let (total, ratio) = (2.0 * rate(two.0), 2.0 * one.0 / two.0);
        println!("| {name}, two windows on two threads | {:.4} | {total:.1} GFLOP/s | {ratio:.2} times one |", two.0);
    }
    println!();
}

/// Seconds for as many windows as threads.
fn series<T: Real + Send>(twin: &Twin, lag: usize, threads: usize, cast: impl Fn(State) -> State<T>) -> f64 {
    let dynamics = twin.dynamics();
    let mut work: Vec<_> = (0..threads).map(|_| (cast(twin.start(lag)), Scratch::new())).collect();
    let run = |(state, scratch): &mut (State<T>, Scratch<T>)| {
        twin.run(&dynamics, state, scratch);
        std::hint::black_box(&scratch.output);
    };
    // Caches and scratch memory are there when the clock starts, as they are for every window but a worker's first.
    work.iter_mut().for_each(|(_, scratch)| twin.run(&dynamics, &mut cast(twin.start(lag)), scratch));
    seconds(|| in_parallel(&mut work, run))
}

/// Does each item on a thread of its own, the first on this one.
fn in_parallel<I: Send>(items: &mut [I], work: impl Fn(&mut I) + Sync) {
    std::thread::scope(|scope| {
        let (first, rest) = items.split_first_mut().unwrap();
        rest.iter_mut().for_each(|item| drop(scope.spawn(|| work(item))));
        work(first);
    });
}
