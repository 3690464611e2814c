//! Nothing is allocated per date: a worker's memory is what the first series needed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../benches/common/mod.rs"]
mod common;

use common::twin::{COMPONENTS, Scratch, Twin};
use rasterfuse::filter::{Real, State};

/// Allocations of a second run through the series of the benchmark's window with the memory of the first.
fn allocations<T: Real>(lag: usize, history: bool, cast: impl Fn(State) -> State<T>) -> u64 {
    let twin = Twin::new(2, 2);
    let dynamics = twin.dynamics();
    let start = || {
        let state = cast(twin.start(lag));
        if history { state.with_history(&dynamics, COMPONENTS, 0.3, 0.5) } else { state }
    };
    let mut scratch = Scratch::new();
    let (mut warm, mut state) = (start(), start());
    twin.run(&dynamics, &mut warm, &mut scratch);
    let counted = allocation_counter::measure(|| twin.run(&dynamics, &mut state, &mut scratch));
    assert!(twin.ranks().iter().sum::<usize>() > 1000);
    assert_eq!(state, warm);
    counted.count_total
}

#[test]
fn the_counter_counts() {
    assert!(allocation_counter::measure(|| drop(std::hint::black_box(vec![0_u8; 100]))).count_total > 0);
}

#[test]
fn a_series_of_dates_allocates_nothing() {
    assert_eq!(allocations(0, false, |state| state), 0);
    assert_eq!(allocations(3, false, |state| state), 0);
    assert_eq!(allocations(3, true, |state| state), 0);
    assert_eq!(allocations(3, false, |state| state.cast::<f32>()), 0);
}
