//! Estimate of the duration of a run, from trials of a few windows on a few dates.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::Fusion;
use super::in_flight::InFlight;
use super::progress::{Within, spoken};
use super::tile::{TileReader, TileState, Workers};
use crate::error::Result;
use crate::geometry::{PixelRegion, Tile};

/// Number of dates to try for each set of instruments that observe together.
const TRIES: usize = 4;

/// Number of windows to try for each thread.
const WINDOWS_PER_THREAD: usize = 4;

/// Estimated duration of a run, from some of its windows and dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeEstimate {
    /// Construction of windows.
    pub setup: Duration,
    /// Filtering.
    pub filter: Duration,
    /// Reading, which runs in parallel to filtering.
    pub read: Duration,
}

impl TimeEstimate {
    /// Duration of the full run, if writing is not the bottleneck.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.setup + self.filter.max(self.read)
    }
}

/// In seconds: `total_seconds`, `setup_seconds`, `filter_seconds`, `read_seconds`.
impl Serialize for TimeEstimate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { setup, filter, read } = self;
        let mut estimate = serializer.serialize_struct("TimeEstimate", 4)?;
        estimate.serialize_field("total_seconds", &self.total().as_secs_f64())?;
        estimate.serialize_field("setup_seconds", &setup.as_secs_f64())?;
        estimate.serialize_field("filter_seconds", &filter.as_secs_f64())?;
        estimate.serialize_field("read_seconds", &read.as_secs_f64())?;
        estimate.end()
    }
}

impl fmt::Display for TimeEstimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "about {}: setup {}, filter {}, in parallel read {}; writing is not counted",
            spoken(self.total()),
            spoken(self.setup),
            spoken(self.filter),
            spoken(self.read)
        )
    }
}

impl Fusion {
    /// Estimates the duration of a run. It tries windows in the middle of the target on a few dates of each set of
    /// instruments that observe together. This takes a few seconds for most fusions. Nothing is written.
    ///
    /// # Errors
    /// The errors of reading, and of windows whose arithmetic breaks down.
    pub fn calibrate(&self) -> Result<TimeEstimate> {
        let Some(tile) = self.tiling.tile(self.tiling.tile_count() / 2) else { return Ok(TimeEstimate::default()) };
        let sample = self.sample(&tile);
        let started = Instant::now();
        let mut state = self.pool.install(|| TileState::first(self, sample.clone()))?;
        let setup = started.elapsed();
        let (full, sample_reader) = (TileReader::new(self, &tile)?, TileReader::new(self, &sample)?);
        let (workers, in_flight) = (Workers::new(self), InFlight::default());
        // Steps by the set of observing instruments, evenly spread over the series.
        let mut sets: BTreeMap<(&[usize], bool), Vec<usize>> = BTreeMap::new();
        for (index, (_, step)) in self.steps.iter().enumerate() {
            sets.entry((&step.instruments, step.output.is_some())).or_default().push(index);
        }
        let mut chosen: Vec<(usize, usize)> = Vec::new();
        for (set, steps) in sets.values().enumerate() {
            let tries = steps.len().min(TRIES);
            chosen.extend((0..tries).map(|k| (steps[k * steps.len() / tries], set)));
        }
        chosen.sort_unstable();
        let mut times: Vec<Vec<(Duration, Duration)>> = vec![Vec::new(); sets.len()];
        for (index, set) in chosen {
            let steps = &self.steps[index..=index];
            let started = Instant::now();
            drop(self.pool.install(|| full.read(self, steps, &in_flight))?);
            let read = started.elapsed();
            let batch = self.pool.install(|| sample_reader.read(self, steps, &in_flight))?;
            let started = Instant::now();
            state.next_step = index;
            self.pool.install(|| state.advance(self, &batch, &workers, &Within::unwatched()))?;
            times[set].push((read, started.elapsed()));
        }
        let cells = |region: &PixelRegion| region.len() as f64;
        let target = self.model.target.rows() as f64 * self.model.target.cols() as f64;
        let (windows, tiles) = (target / cells(&sample.region), target / cells(&tile.region));
        let mut estimate = TimeEstimate { setup: setup.mul_f64(windows), ..TimeEstimate::default() };
        for (mut times, steps) in times.into_iter().zip(sets.values()) {
            // The slowest one fills the caches and is left out.
            let mut mean = |of: fn(&(Duration, Duration)) -> Duration| {
                times.sort_unstable_by_key(of);
                let used = times.len().saturating_sub(1).max(1);
                times[..used].iter().map(of).sum::<Duration>().div_f64(used as f64).mul_f64(steps.len() as f64)
            };
            estimate.read += mean(|(read, _)| *read).mul_f64(tiles);
            estimate.filter += mean(|(_, filter)| *filter).mul_f64(windows);
        }
        Ok(estimate)
    }

    /// Some full windows in the middle of a tile.
    fn sample(&self, tile: &Tile) -> Tile {
        let wanted = WINDOWS_PER_THREAD * self.pool.current_num_threads();
        let side = (wanted as f64).sqrt().ceil() as usize * self.tiling.window();
        let middle = |range: &std::ops::Range<usize>| {
            let spare = range.len().saturating_sub(side) / 2;
            let first = (range.start + spare) / self.tiling.window() * self.tiling.window();
            first.max(range.start)..(first.max(range.start) + side).min(range.end)
        };
        Tile { index: tile.index, region: PixelRegion::new(middle(&tile.region.rows), middle(&tile.region.cols)) }
    }
}
