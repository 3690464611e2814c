use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ndarray::Array3;
use rayon::prelude::*;

use super::carried::Carried;
use super::fusion::names;
use super::report::{FitSums, InstrumentReport, Timing};
use super::steps::Step;
use super::window::{OutCell, Part, PartState, Reading, Waiting, WindowOutput, WindowState, Worker};
use super::{Fusion, Report};
use crate::error::Result;
use crate::geometry::{Date, PixelRegion, Rect, Tile, Window};
use crate::model::{Adaptive, PriorSlice, Support};

/// Fused values of one tile on one date.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FusedBlock {
    /// (row, column) of the tile among tiles, which is the output chunk.
    pub tile: (usize, usize),
    /// Its cells of the target grid.
    pub region: PixelRegion,
    /// The date.
    pub date: Date,
    /// Position of the date on the output axis.
    pub time: usize,
    /// Fused values in u. **Shape** (band, y, x). NaN where neither an instrument nor the prior says anything.
    pub mean: Array3<f64>,
    /// Their standard deviations in u. **Shape** (band, y, x).
    pub sd: Array3<f64>,
}

/// The lazy tile-and-time iterator: yields one fused block at a time, tiles outermost, dates in order.
///
/// After an error it yields nothing more.
#[derive(Debug)]
pub struct TileTime<'a> {
    fusion: &'a Fusion,
    next_tile: usize,
    current: Option<TileState>,
    ready: VecDeque<FusedBlock>,
    done: bool,
    /// By step, by instrument of the step.
    fits: Vec<Vec<FitSums>>,
    windows: usize,
    widened: usize,
    blocks: usize,
    timing: Timing,
    /// One per thread.
    workers: Vec<Mutex<Worker>>,
}

/// The windows of one tile and how far they have come.
#[derive(Debug)]
pub(super) struct TileState {
    tile: Tile,
    pub(super) windows: Vec<WindowState>,
    /// Pixels each instrument must read; `None` where it sees nothing of the tile.
    regions: Vec<Option<PixelRegion>>,
    next_step: usize,
    /// Dates that were fused but wait for the lag.
    waiting: Waiting,
}

impl<'a> TileTime<'a> {
    pub(super) fn new(fusion: &'a Fusion) -> Self {
        let fits = fusion.steps.iter().map(|(_, step)| vec![FitSums::default(); step.instruments.len()]).collect();
        Self {
            fusion,
            next_tile: 0,
            current: None,
            ready: VecDeque::new(),
            done: false,
            fits,
            windows: 0,
            widened: 0,
            blocks: 0,
            timing: Timing::default(),
            workers: (0..fusion.pool.current_num_threads())
                .map(|_| Mutex::new(Worker::new(fusion.parts.len())))
                .collect(),
        }
    }

    /// What has been done so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let instrument = |(index, name): (usize, &str)| {
            let dates = self.fusion.steps.iter().zip(&self.fits).filter_map(|((date, step), fits)| {
                let position = step.instruments.iter().position(|&k| k == index)?;
                fits[position].diagnostics(*date)
            });
            InstrumentReport { name: name.to_owned(), dates: dates.collect() }
        };
        Report {
            instruments: names(&self.fusion.instruments).into_iter().enumerate().map(instrument).collect(),
            windows: self.windows,
            widened_windows: self.widened,
            blocks: self.blocks,
            timing: self.timing,
        }
    }

    /// The blocks of the next batch of dates of a tile, or `None` when all is done. Batches without output are empty.
    pub(super) fn next_batch(&mut self) -> Option<Result<Vec<FusedBlock>>> {
        if self.done {
            return None;
        }
        let batch = self.advance();
        self.done = !matches!(batch, Ok(Some(_)));
        batch.transpose()
    }

    fn advance(&mut self) -> Result<Option<Vec<FusedBlock>>> {
        let fusion = self.fusion;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => {
                let Some(tile) = fusion.tiling.tile(self.next_tile) else { return Ok(None) };
                self.next_tile += 1;
                let started = Instant::now();
                let state = fusion.pool.install(|| TileState::new(fusion, tile))?;
                self.timing.setup += started.elapsed();
                self.windows += state.windows.iter().filter(|window| window.counts).count();
                state
            }
        };
        let first = current.next_step;
        let last = (first + fusion.plan.batch_dates).min(fusion.steps.len());
        let steps = &fusion.steps[first..last];

        let started = Instant::now();
        let batch = fusion.pool.install(|| current.read(fusion, steps))?;
        let read = Instant::now();
        fusion.pool.install(|| current.filter(fusion, &batch, &self.workers))?;
        self.timing.read += read - started;
        self.timing.filter += read.elapsed();

        for WindowState { output, .. } in current.windows.iter().filter(|window| window.counts) {
            let position = |index: usize, instrument| {
                steps[index]
                    .1
                    .instruments
                    .iter()
                    .position(|&k| k == instrument)
                    .map(|position| (first + index, position))
            };
            for &(index, ref fit) in &output.innovations {
                if let Some((step, position)) = position(index, fit.instrument) {
                    self.fits[step][position].add(fit);
                }
            }
            for &(index, ref count) in &output.pixels {
                if let Some((step, position)) = position(index, count.instrument) {
                    self.fits[step][position].count(count);
                }
            }
        }
        current.next_step = last;
        let dates = steps.iter().filter_map(|(date, step)| Some((*date, step.output?)));
        let done = current.waiting.pass(dates, last == fusion.steps.len());
        let blocks = current.assemble(fusion, &done);
        self.blocks += blocks.len();
        if last < fusion.steps.len() {
            self.current = Some(current);
        } else {
            self.widened += current.windows.iter().filter(|window| window.counts && window.widened).count();
        }
        Ok(Some(blocks))
    }

    pub(super) fn add_write_time(&mut self, elapsed: std::time::Duration) {
        self.timing.write += elapsed;
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

impl TileState {
    /// Builds the windows of a tile; reads the prior's rasters, if any.
    pub(super) fn new(fusion: &Fusion, tile: Tile) -> Result<Self> {
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
        let prior = fusion.prior.read(&fusion.target, &extent, fusion.bands.len())?;
        let windows = windows
            .into_par_iter()
            .zip(supports)
            .map(|(window, support)| {
                let cells = &shared[&support.shape_key()];
                WindowState::new(fusion, &tile.region, &window, support, cells, &prior)
            })
            .collect::<Result<Vec<_>>>()?;
        let regions = (0..fusion.instruments.len()).map(|instrument| region_of(&windows, instrument)).collect();
        Ok(Self { tile, windows, regions, next_step: 0, waiting: Waiting::new(fusion.lag) })
    }

    /// Reads a batch of dates, slices in parallel.
    pub(super) fn read(&self, fusion: &Fusion, steps: &[(Date, Step)]) -> Result<Vec<Reading>> {
        let wanted: Vec<(usize, usize, &PixelRegion)> = steps
            .iter()
            .enumerate()
            .flat_map(|(index, (_, step))| step.instruments.iter().map(move |&instrument| (index, instrument)))
            .filter_map(|(index, instrument)| Some((index, instrument, self.regions[instrument].as_ref()?)))
            .collect();
        let slices = wanted
            .par_iter()
            .map(|&(index, instrument, region)| {
                let model = &fusion.instruments[instrument];
                model.source.read(steps[index].0, &model.source_bands, region)
            })
            .collect::<Result<Vec<_>>>()?;
        let reading =
            |(date, step): &(Date, Step)| Reading { date: *date, output: step.output.is_some(), slices: Vec::new() };
        let mut batch: Vec<Reading> = steps.iter().map(reading).collect();
        for ((index, instrument, _), slice) in wanted.into_iter().zip(slices) {
            batch[index].slices.push((instrument, slice));
        }
        Ok(batch)
    }

    /// Runs every window through the batch, windows in parallel.
    fn filter(&mut self, fusion: &Fusion, batch: &[Reading], workers: &[Mutex<Worker>]) -> Result<()> {
        let last = self.next_step + batch.len() == fusion.steps.len();
        self.windows.par_iter_mut().with_max_len(1).try_for_each(|window| {
            // Each thread of the pool has a worker of its own; what a panic may have left in one is cleared before use.
            let worker = &workers[rayon::current_thread_index().unwrap_or_default() % workers.len()];
            let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
            window.advance(batch, last, &fusion.instruments, &fusion.parts, &mut worker)
        })
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
                let values = &window.output.values[k * p * n..(k + 1) * p * n];
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
    /// The window before the first day.
    fn new(
        fusion: &Fusion,
        tile: &PixelRegion,
        window: &Window,
        support: Support,
        cells: &[Arc<[f64]>],
        prior: &PriorSlice,
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
            Ok(PartState { dynamics, state, date: fusion.period.start() + -1, silent: initial.silent })
        };
        let parts = fusion.parts.iter().map(part).collect::<Result<Vec<_>>>()?;
        let counts = tile.rows.contains(&window.core.rows.start) && tile.cols.contains(&window.core.cols.start);
        let out = out_cells(&support, tile);
        Ok(Self { support, parts, out, counts, widened: false, output: WindowOutput::default() })
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

/// The smallest region that holds every pixel of an instrument which the windows use.
fn region_of(windows: &[WindowState], instrument: usize) -> Option<PixelRegion> {
    let pixels = windows.iter().flat_map(|window| window.support.pixels(instrument).map(|pixel| pixel.at));
    pixels.fold(None, |region: Option<PixelRegion>, (row, col)| {
        Some(match region {
            None => PixelRegion::new(row..row + 1, col..col + 1),
            Some(region) => PixelRegion::new(
                region.rows.start.min(row)..region.rows.end.max(row + 1),
                region.cols.start.min(col)..region.cols.end.max(col + 1),
            ),
        })
    })
}
