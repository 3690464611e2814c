//! The lazy iterator over the blocks of a fusion: tile by tile, each through all its dates.

use std::collections::VecDeque;
use std::time::Instant;

use super::Fusion;
use super::fusion::names;
use super::in_flight::InFlight;
use super::progress::{Listener, Progress, Within};
use super::summary::Summary;
use super::tile::{TileReader, TileState, Workers};
use super::window::{Prediction, Reading};
use crate::error::Result;
use crate::series::{FusedBlock, Report, Timing};

/// The lazy tile-and-time iterator: yields one fused block at a time, tiles outermost, dates in order.
///
/// After an error it yields nothing more.
///
/// ```
/// # use rasterfuse::geometry::{Crs, Date, Grid};
/// # use rasterfuse::source::MemorySource;
/// # let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (8, 8))?;
/// # let days = vec![Date::from_days(0), Date::from_days(2)];
/// # let source = MemorySource::new(grid.clone(), days, vec!["red".into()], ndarray::Array4::from_elem((2, 1, 8, 8), 0.2))?;
/// # use rasterfuse::{Fusion, describe::{Instrument, Kernel, Prior, Process}};
/// # let fusion = Fusion::builder(grid)
/// #     .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
/// #     .prior(Prior::new(0.3, 0.05))
/// #     .instrument(Instrument::new("fine", source).noise_variance(1e-5))
/// #     .build()?;
/// let mut warmest = (f64::NEG_INFINITY, None);
/// for block in fusion.stream() {
///     let block = block?; // one tile on one date; (band, y, x)
///     let mean = block.mean.mean().unwrap_or(f64::NAN);
///     if mean > warmest.0 {
///         warmest = (mean, Some(block.date));
///     }
/// }
/// assert_eq!(fusion.output_dates().len(), 3);
/// assert!(warmest.1.is_some_and(|date| fusion.period().contains(date)));
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Debug)]
pub struct TileTime<'a> {
    fusion: &'a Fusion,
    next_tile: usize,
    current: Option<(TileReader, TileState)>,
    ready: VecDeque<FusedBlock>,
    done: bool,
    /// Of the tiles that are done.
    summary: Summary,
    blocks: usize,
    /// Values that the tiles that are done have assimilated.
    observations: u64,
    timing: Timing,
    workers: Workers,
    in_flight: InFlight,
    /// What the latest batch made of withheld values.
    predictions: Vec<Prediction>,
    /// Where sources withhold observations, what was read for the latest batch.
    readings: Vec<Reading>,
    started: Instant,
}

impl Fusion {
    /// The lazy iterator over fused blocks: tile by tile, each through all its dates. Reads, filters and frees only what the
    /// next block needs; dropping it stops everything. With a lag, a date's block comes when so many dates after it have
    /// been fused, or at the end of the tile.
    #[must_use]
    pub fn stream(&self) -> TileTime<'_> {
        TileTime::new(self)
    }
}

impl<'a> TileTime<'a> {
    fn new(fusion: &'a Fusion) -> Self {
        Self {
            fusion,
            next_tile: 0,
            current: None,
            ready: VecDeque::new(),
            done: false,
            summary: Summary::default(),
            blocks: 0,
            observations: 0,
            timing: Timing::default(),
            workers: Workers::new(fusion),
            in_flight: InFlight::default(),
            predictions: Vec::new(),
            readings: Vec::new(),
            started: Instant::now(),
        }
    }

    /// What has been done so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut summary = self.summary.clone();
        if let Some((_, state)) = &self.current {
            summary.merge(state.summary());
        }
        let report = summary.report(&names(&self.fusion.model.instruments));
        Report { blocks: self.blocks, timing: self.timing, ..report }
    }

    /// What the latest batch made of [withheld](crate::validate) values.
    pub(crate) fn predictions(&self) -> &[Prediction] {
        &self.predictions
    }

    /// Where sources [withhold](crate::validate) observations, what was read for the latest batch of dates, no mean
    /// function subtracted.
    pub(crate) fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// Whether the latest batch was the last one of its tile.
    pub(crate) fn ended_tile(&self) -> bool {
        self.current.is_none()
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> Progress {
        let (tiles, dates) = (self.fusion.tiling.tile_count(), self.fusion.steps.len());
        let ended = self.next_tile - usize::from(self.current.is_some());
        let (under_way, observations) =
            self.current.as_ref().map_or((0, 0), |(_, state)| (state.next_step, state.observations));
        Progress {
            tiles: (ended, tiles),
            dates: (ended * dates + under_way, tiles * dates),
            blocks: self.blocks,
            observations: self.observations + observations,
            elapsed: self.started.elapsed(),
            waiting_for: None,
        }
    }

    /// The blocks of the next batch of dates of a tile, or `None` when all is done. Batches without output are empty.
    pub(crate) fn next_batch(&mut self) -> Option<Result<Vec<FusedBlock>>> {
        self.next_batch_watched(None)
    }

    /// As [`next_batch`](Self::next_batch); `callback` is told at most once a second how far windows are within the batch.
    pub(crate) fn next_batch_watched(&mut self, callback: Option<Listener<'_>>) -> Option<Result<Vec<FusedBlock>>> {
        if self.done {
            return None;
        }
        let batch = self.fusion.naming(self.advance(callback));
        self.done = !matches!(batch, Ok(Some(_)));
        batch.transpose()
    }

    fn advance(&mut self, callback: Option<Listener<'_>>) -> Result<Option<Vec<FusedBlock>>> {
        let (fusion, before) = (self.fusion, self.progress());
        let (reader, mut state) = match self.current.take() {
            Some(current) => current,
            None => {
                let Some(tile) = fusion.tiling.tile(self.next_tile) else { return Ok(None) };
                self.next_tile += 1;
                let started = Instant::now();
                let reader = TileReader::new(fusion, &tile)?;
                let state = fusion.pool.install(|| TileState::first(fusion, tile))?;
                self.timing.setup += started.elapsed();
                (reader, state)
            }
        };
        let last = (state.next_step + fusion.plan.batch_dates).min(fusion.steps.len());
        self.readings.clear();
        let started = Instant::now();
        let mut batch =
            fusion.pool.install(|| reader.read(fusion, &fusion.steps[state.next_step..last], &self.in_flight))?;
        let read = Instant::now();
        let within = Within::new(callback, before, self.started, last - state.next_step);
        let blocks = fusion.pool.install(|| state.advance(fusion, &batch, &self.workers, &within))?;
        self.timing.read += read - started;
        self.timing.filter += read.elapsed();
        self.blocks += blocks.len();
        std::mem::swap(&mut self.predictions, &mut state.predictions);
        if fusion.withholds {
            reader.restore(&fusion.model, &mut batch);
            self.readings = batch;
        }
        if last < fusion.steps.len() {
            self.current = Some((reader, state));
        } else {
            self.summary.merge(state.summary());
            self.observations += state.observations;
        }
        Ok(Some(blocks))
    }
}

impl Iterator for TileTime<'_> {
    type Item = Result<FusedBlock>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(block) = self.ready.pop_front() {
                return Some(Ok(block));
            }
            match self.next_batch()? {
                Ok(blocks) => self.ready.extend(blocks),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
