//! How long filtering will take, roughly, from the sizes of windows alone.

use std::time::Duration;

use super::{Plan, PlanInput};
use crate::engine::plan::window::WindowCost;
use crate::engine::progress::spoken;

/// Operations per second and thread that updates reach on a usual processor; more with AVX-512.
const RATE: f64 = 3e10;

/// Runs that take longer are worth a warning.
const LONG: Duration = Duration::from_hours(1);

/// Operations of the updates of all windows: with `r` pseudo-observations a date, `N` states and `L` cells of remembered
/// dates, `r N (N + 2 L)` for each window, part and date. All pixels count as clear.
pub(super) fn operations(input: &PlanInput<'_>, window: &WindowCost, windows: usize, lag: usize) -> f64 {
    let pixels = |instruments: &[usize]| instruments.iter().map(|&k| window.pixels[k]).sum::<usize>() as f64;
    let observed: f64 = input.steps.iter().map(|(_, step)| pixels(&step.instruments)).sum();
    let own = (input.window.0 * input.window.0) as f64;
    let parts = input.parts.iter().zip(&window.part_states);
    let of_pixel = parts.map(|(part, &states)| {
        let (states, components) = (states as f64, part.components as f64);
        components * states * (states + 2.0 * lag as f64 * own * components)
    });
    windows as f64 * observed * of_pixel.sum::<f64>()
}

impl Plan {
    /// Time that filtering takes at most, very roughly: without clouds, on a usual processor. Trials of a few windows
    /// and dates ([`Fusion::calibrate`](crate::Fusion::calibrate)) tell it better. Nothing where cells are independent.
    #[must_use]
    pub fn filter_time(&self) -> Duration {
        time(self.operations, self.threads)
    }
}

fn time(operations: f64, threads: usize) -> Duration {
    Duration::try_from_secs_f64(operations / (RATE * threads.max(1) as f64)).unwrap_or(Duration::MAX)
}

/// A warning of runs that take hours, with what to change.
pub(super) fn warning(input: &PlanInput<'_>, window: &WindowCost, windows: usize) -> Option<String> {
    let of = |lag: usize| time(operations(input, window, windows, lag), input.threads);
    let all = of(input.lag);
    if all < LONG {
        return None;
    }
    let (size, halo) = input.window;
    let mut ways = vec![format!("a smaller window.size ({size}) or window.halo ({halo})")];
    if input.model.far.count > 0 {
        ways.push(format!("fewer window.far_samples ({})", input.model.far.count));
    }
    if input.lag > 0 {
        ways.push(format!("a shorter smoothing.lag (without it about {})", spoken(of(0))));
    }
    if window.offsets > 0 {
        ways.push(format!("fewer offset layers ({} states of a window are offsets)", window.offsets));
    }
    Some(format!(
        "filtering takes up to about {} on {} threads, with windows of {} states; less with {}; precision = \"f32\" nearly \
         halves it",
        spoken(all),
        input.threads,
        window.states,
        ways.join(", ")
    ))
}
