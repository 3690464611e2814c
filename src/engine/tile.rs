//! One tile on its way through time: its windows, what is read for them, and the blocks they make.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ndarray::Array3;
use rayon::prelude::*;

use super::carried::Carried;
use super::fusion::names;
use super::pipeline::InFlight;
use super::report::FailedWindow;
use super::steps::Step;
use super::stream::FusedBlock;
use super::summary::Summary;
use super::window::{OutCell, Part, PartState, Reading, Waiting, WindowOutput, WindowState, Worker};
use super::{Fusion, OnError};
use crate::error::{Error, Result};
use crate::geometry::{Date, PixelRegion, Rect, Tile, Window};
use crate::model::{Adaptive, PixelLattice, PriorSlice, Support, far_cells};

/// Scratch memory of the threads of a run, one worker each.
#[derive(Debug)]
pub(super) struct Workers(Vec<Mutex<Worker>>);

impl Workers {
    pub(super) fn new(fusion: &Fusion) -> Self {
        Self((0..fusion.pool.current_num_threads()).map(|_| Mutex::new(Worker::new(fusion.parts.len()))).collect())
    }
}

/// What must be read for a tile.
#[derive(Debug)]
pub(super) struct TileReader {
    /// Pixels of each instrument; `None` where it sees nothing of the tile.
    regions: Vec<Option<PixelRegion>>,
}

impl TileReader {
    pub(super) fn new(fusion: &Fusion, tile: &Tile) -> Self {
        let windows: Vec<Window> = fusion.tiling.windows(&tile.region).collect();
        let padded = windows.iter().map(Window::padded_rect).reduce(|a, b| a.hull(&b));
        let (shape, cell_size) = (fusion.target.shape(), fusion.target.cell_size());
        let far: Vec<(i64, i64)> =
            windows.iter().flat_map(|window| far_cells(window, shape, cell_size, fusion.far)).collect();
        let region = |lattice: &PixelLattice| {
            let rects = padded.iter().copied().chain(far.iter().map(|&(row, col)| Rect::cell(row, col)));
            let pixels = rects.map(|rect| lattice.covering(&rect)).filter(|region| !region.is_empty());
            pixels.reduce(|a, b| {
                PixelRegion::new(
                    a.rows.start.min(b.rows.start)..a.rows.end.max(b.rows.end),
                    a.cols.start.min(b.cols.start)..a.cols.end.max(b.cols.end),
                )
            })
        };
        Self { regions: fusion.instruments.iter().map(|instrument| region(&instrument.lattice)).collect() }
    }

    /// Reads a batch of dates, slices in parallel. What cannot be read is an error or passed over, as the fusion says.
    pub(super) fn read(&self, fusion: &Fusion, steps: &[(Date, Step)], in_flight: &InFlight) -> Result<Vec<Reading>> {
        let wanted: Vec<(usize, usize, &PixelRegion)> = steps
            .iter()
            .enumerate()
            .flat_map(|(index, (_, step))| step.instruments.iter().map(move |&instrument| (index, instrument)))
            .filter_map(|(index, instrument)| Some((index, instrument, self.regions[instrument].as_ref()?)))
            .collect();
        let slices = wanted
            .par_iter()
            .map(|&(index, instrument, region)| {
                let (model, date) = (&fusion.instruments[instrument], steps[index].0);
                let under_way = || in_flight.lock().unwrap_or_else(PoisonError::into_inner);
                under_way().push((instrument, date, Instant::now()));
                let read = model.source.read(date, &model.source_bands, region);
                under_way().retain(|(other, day, _)| (*other, *day) != (instrument, date));
                match read {
                    Err(error) if fusion.on_error == OnError::Skip => Ok(Err(error.to_string())),
                    read => read.map(Ok),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let reading = |(date, step): &(Date, Step)| Reading {
            date: *date,
            output: step.output.is_some(),
            slices: Vec::new(),
            skipped: Vec::new(),
        };
        let mut batch: Vec<Reading> = steps.iter().map(reading).collect();
        for ((index, instrument, _), slice) in wanted.into_iter().zip(slices) {
            match slice {
                Ok(slice) => batch[index].slices.push((instrument, slice)),
                Err(reason) => batch[index].skipped.push((instrument, reason)),
            }
        }
        Ok(batch)
    }
}

/// The windows of one tile and how far they have come.
#[derive(Debug)]
pub(super) struct TileState {
    pub(super) tile: Tile,
    pub(super) windows: Vec<WindowState>,
    pub(super) next_step: usize,
    /// Dates that were fused but wait for the lag.
    waiting: Waiting,
    summary: Summary,
    /// What happens up to this date is known to the summary already.
    learned: Option<Date>,
    /// Values that windows have been conditioned on.
    pub(super) observations: u64,
}

impl TileState {
    /// The windows of a tile before the first day.
    pub(super) fn first(fusion: &Fusion, tile: Tile) -> Result<Self> {
        let prior = |extent: &Rect| fusion.prior.read(&fusion.target, extent, fusion.bands.len());
        Self::new(fusion, tile, fusion.before_first(), prior)
    }

    /// Builds the windows of a tile as they are on `date`, before which nothing is known but `prior`, which gives the prior of the
    /// cells of a rectangle.
    pub(super) fn new(
        fusion: &Fusion,
        tile: Tile,
        date: Date,
        prior: impl FnOnce(&Rect) -> Result<PriorSlice>,
    ) -> Result<Self> {
        let lattices: Vec<_> = fusion.instruments.iter().map(|instrument| &instrument.lattice).collect();
        let (shape, cell_size) = (fusion.target.shape(), fusion.target.cell_size());
        let windows: Vec<Window> = fusion.tiling.windows(&tile.region).collect();
        let supports: Vec<Support> =
            windows.par_iter().map(|window| Support::new(window, shape, cell_size, fusion.far, &lattices)).collect();

        // Most windows have the same cells but for their place, hence the same correlation between them.
        let mut shared: HashMap<_, Vec<Arc<[f64]>>> = HashMap::new();
        for support in &supports {
            shared.entry(support.shape_key()).or_insert_with(|| {
                fusion.process.correlations.iter().map(|correlation| support.cell_correlation(correlation)).collect()
            });
        }
        let extent =
            supports.iter().map(Support::extent).reduce(|a, b| a.hull(&b)).unwrap_or_else(|| Rect::new(0..0, 0..0));
        let prior = prior(&extent)?;
        let windows = windows
            .into_par_iter()
            .zip(supports)
            .map(|(window, support)| {
                let cells = &shared[&support.shape_key()];
                WindowState::new(fusion, &tile.region, &window, support, cells, &prior, date)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            tile,
            windows,
            next_step: fusion.steps.partition_point(|(step, _)| *step <= date),
            waiting: Waiting::new(fusion.lag),
            summary: Summary::default(),
            learned: None,
            observations: 0,
        })
    }

    /// Goes on behind `date`, the windows having been made what they were then; with what had been learned.
    pub(super) fn go_on_after(&mut self, fusion: &Fusion, date: Date, summary: Summary) {
        self.next_step = fusion.steps.partition_point(|(step, _)| *step <= date);
        let passed = fusion.steps[..self.next_step].iter().filter_map(|(date, step)| Some((*date, step.output?)));
        self.waiting = Waiting::after(fusion.lag, passed);
        self.summary = summary;
    }

    /// Takes over what was learned by `learned`, after the date on which the state begins: what is replayed is not counted twice.
    pub(super) fn replay_until(&mut self, learned: Date, summary: Summary, failed: &[usize]) {
        self.learned = Some(learned);
        self.summary = summary;
        for &window in failed {
            if let Some(window) = self.windows.get_mut(window) {
                window.failed = true;
            }
        }
    }

    /// Whether what is known to the summary already is still being replayed.
    pub(super) fn replays(&self, fusion: &Fusion) -> bool {
        let passed = self.next_step.checked_sub(1).map(|step| fusion.steps[step].0);
        self.learned.is_some_and(|learned| passed.is_none_or(|passed| passed < learned))
    }

    /// Positions of the windows that have failed.
    pub(super) fn failed(&self) -> Vec<usize> {
        self.windows.iter().enumerate().filter(|(_, window)| window.failed).map(|(index, _)| index).collect()
    }

    /// What has been learned so far.
    pub(super) fn summary(&self) -> Summary {
        let counted = || self.windows.iter().filter(|window| window.counts);
        let mut summary = self.summary.clone();
        summary.windows = counted().count();
        summary.widened = counted().filter(|window| window.widened).count();
        summary
    }

    /// Dates of the output axis, from its start, whose blocks have left.
    pub(super) fn put_out(&self, fusion: &Fusion) -> usize {
        let passed = fusion.steps[..self.next_step].iter().filter(|(_, step)| step.output.is_some()).count();
        passed - self.waiting.len()
    }

    /// Runs every window through the batch, windows in parallel, and gives the blocks of the dates that are done.
    pub(super) fn advance(&mut self, fusion: &Fusion, batch: &[Reading], workers: &Workers) -> Result<Vec<FusedBlock>> {
        let steps = &fusion.steps[self.next_step..self.next_step + batch.len()];
        let last = self.next_step + batch.len() == fusion.steps.len();
        let learned = self.learned;
        let is_new = |date: Date| learned.is_none_or(|learned| date > learned);
        for reading in batch.iter().filter(|reading| is_new(reading.date)) {
            for (instrument, reason) in &reading.skipped {
                self.summary.skip(reading.date, *instrument, reason);
            }
        }
        self.filter(fusion, batch, last, workers)?;
        for window in self.windows.iter().filter(|window| window.counts) {
            self.observations += window.output.innovations.iter().map(|(_, fit)| fit.values as u64).sum::<u64>();
            self.summary.add(&window.output, |index| Some(steps[index].0).filter(|date| is_new(*date)));
        }
        self.next_step += batch.len();
        let dates = steps.iter().filter_map(|(date, step)| Some((*date, step.output?)));
        let done = self.waiting.pass(dates, last);
        Ok(self.assemble(fusion, &done))
    }

    fn filter(&mut self, fusion: &Fusion, batch: &[Reading], last: bool, workers: &Workers) -> Result<()> {
        let run = |window: &mut WindowState| {
            // Each thread of the pool has a worker of its own; what a panic may have left in one is cleared before use.
            let worker = &workers.0[rayon::current_thread_index().unwrap_or_default() % workers.0.len()];
            let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
            window.advance(batch, last, &fusion.instruments, &fusion.parts, &mut worker)
        };
        if fusion.on_error == OnError::Abort {
            return self.windows.par_iter_mut().with_max_len(1).try_for_each(run);
        }
        let failed = |window: &mut WindowState| {
            let Err(error) = run(window) else { return None };
            window.counts.then_some(error)
        };
        let errors: Vec<Error> = self.windows.par_iter_mut().with_max_len(1).filter_map(failed).collect();
        for error in errors {
            match error {
                Error::Numerical { row, col, date, source } => {
                    self.summary.fail(FailedWindow { row, col, date, reason: source.to_string() });
                }
                other => return Err(other),
            }
        }
        Ok(())
    }

    /// Puts the windows' results together, a block for each date that is done.
    fn assemble(&self, fusion: &Fusion, done: &[(Date, usize)]) -> Vec<FusedBlock> {
        let (rows, cols) = self.tile.region.shape();
        let p = fusion.bands.len();
        let components = || fusion.parts.iter().flat_map(|part| part.components.iter().copied());
        let block = |(k, &(date, time)): (usize, &(Date, usize))| {
            let mut mean = Array3::from_elem((p, rows, cols), f64::NAN);
            let mut sd = mean.clone();
            for window in &self.windows {
                let n = window.out.len();
                // A window that has failed leaves its cells NaN.
                let Some(values) = window.output.values.get(k * p * n..(k + 1) * p * n) else { continue };
                for (band, values) in components().zip(values.chunks_exact(n)) {
                    for (cell, &(value, variance)) in window.out.iter().zip(values) {
                        mean[(band, cell.row, cell.col)] = value;
                        sd[(band, cell.row, cell.col)] = variance.sqrt();
                    }
                }
            }
            FusedBlock { tile: self.tile.index, region: self.tile.region.clone(), date, time, mean, sd }
        };
        done.iter().enumerate().map(block).collect()
    }
}

impl WindowState {
    /// The window as the prior describes it on `date`.
    fn new(
        fusion: &Fusion,
        tile: &PixelRegion,
        window: &Window,
        support: Support,
        cells: &[Arc<[f64]>],
        prior: &PriorSlice,
        date: Date,
    ) -> Result<Self> {
        let correlations = support.correlations(&fusion.process, cells);
        let names = names(&fusion.instruments);
        let part = |part: &Part| {
            let initial = support.initial_state(&part.components, prior, &names)?;
            let dynamics = support.dynamics(&fusion.process, &correlations, &part.components);
            let (n, own) = (support.n(), support.own_cells().len());
            let mut state = Carried::new(initial.state, fusion.precision);
            if fusion.lag > 0 {
                let own_cells = (0..part.components.len()).map(|j| j * n..j * n + own);
                state = state.with_lags(own_cells.collect(), fusion.lag);
            }
            if let Some(Adaptive { weight, scale }) = fusion.process.adaptive {
                state = state.with_history(&dynamics, weight, scale);
            }
            Ok(PartState { dynamics, state, date, silent: initial.silent })
        };
        let parts = fusion.parts.iter().map(part).collect::<Result<Vec<_>>>()?;
        let counts = tile.rows.contains(&window.core.rows.start) && tile.cols.contains(&window.core.cols.start);
        let out = out_cells(&support, tile);
        Ok(Self { support, parts, out, counts, widened: false, failed: false, output: WindowOutput::default() })
    }
}

/// The window's own cells inside the tile.
fn out_cells(support: &Support, tile: &PixelRegion) -> Vec<OutCell> {
    let cells = support.own_cells().iter().map(|&(row, col)| (row as usize, col as usize)).enumerate();
    cells
        .filter(|(_, (row, col))| tile.rows.contains(row) && tile.cols.contains(col))
        .map(|(state, (row, col))| OutCell { state, row: row - tile.rows.start, col: col - tile.cols.start })
        .collect()
}
