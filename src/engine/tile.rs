//! One tile of a run: its windows or independent cells, the slices read for them, and the resulting blocks.

use std::sync::{Arc, Mutex};

use rayon::prelude::*;

use super::cells::{CellField, CellScratch};
use super::in_flight::InFlight;
use super::progress::Within;
use super::seasonal::Curves;
use super::steps::Step;
use super::summary::Summary;
use super::window::{Prediction, Reading, Waiting, WindowState, Worker};
use super::windows::TileInputs;
use super::{Fusion, OnError, windows};
use crate::error::{Error, Result};
use crate::filter::NumericalError;
use crate::geometry::{Date, PixelRegion, Rect, Tile, Window};
use crate::model::Model;
use crate::model::{ObservationModel, PixelLattice, PriorSlice, far_cells};
use crate::series::{BlockOffsets, FailedWindow, FusedBlock};
use crate::source::Slice;

/// Scratch memory of the threads of a run, one worker for each.
#[derive(Debug)]
pub(super) struct Workers {
    windows: Vec<Mutex<Worker>>,
    cells: Vec<Mutex<CellScratch>>,
}

impl Workers {
    pub(super) fn new(fusion: &Fusion) -> Self {
        let threads = || 0..fusion.pool.current_num_threads();
        match fusion.cells {
            None => {
                let windows = threads().map(|_| Mutex::new(Worker::new(fusion.model.parts.len())));
                Self { windows: windows.collect(), cells: Vec::new() }
            }
            Some(_) => {
                Self { windows: Vec::new(), cells: threads().map(|_| Mutex::new(CellScratch::default())).collect() }
            }
        }
    }
}

/// A slice, or why it was skipped.
pub(super) type ReadSlice = Result<Slice, String>;

/// The inputs of a tile.
#[derive(Debug)]
pub(super) struct TileReader {
    /// Pixels of each instrument; `None` where it observes nothing of the tile.
    regions: Vec<Option<PixelRegion>>,
    /// The mean function of these pixels, which is subtracted.
    means: Vec<Option<Curves>>,
}

impl TileReader {
    /// # Errors
    /// The errors of reading a mean function.
    pub(super) fn new(fusion: &Fusion, tile: &Tile) -> Result<Self> {
        // Independent cells have no windows, hence no context.
        let windows: Vec<Window> = match fusion.cells {
            None => fusion.tiling.windows(&tile.region).collect(),
            Some(_) => Vec::new(),
        };
        Self::of_windows(&fusion.model, tile, &windows)
    }

    /// What is under the cells of a tile alone, with no mean subtracted.
    pub(super) fn of_cells(model: &Model, tile: &Tile) -> Self {
        let regions = Self::regions(model, tile, &[]);
        Self { means: regions.iter().map(|_| None).collect(), regions }
    }

    /// What must be read for some windows of a tile, or for its cells alone.
    ///
    /// # Errors
    /// Those of reading a mean function.
    pub(super) fn of_windows(model: &Model, tile: &Tile, windows: &[Window]) -> Result<Self> {
        let regions = Self::regions(model, tile, windows);
        let mean = |(instrument, region): (&ObservationModel, &Option<PixelRegion>)| {
            let (Some(mean), Some(region)) = (&model.seasonal, region) else { return Ok(None) };
            Curves::for_pixels(mean, &model.target, instrument, region).map(Some)
        };
        let means = model.instruments.iter().zip(&regions).map(mean).collect::<Result<_>>()?;
        Ok(Self { regions, means })
    }

    fn regions(model: &Model, tile: &Tile, windows: &[Window]) -> Vec<Option<PixelRegion>> {
        let padded = windows.iter().map(Window::padded_rect).reduce(|a, b| a.hull(&b));
        let padded = padded.unwrap_or(Rect::from(&tile.region));
        let (shape, cell_size) = (model.target.shape(), model.target.cell_size());
        let far: Vec<(i64, i64)> =
            windows.iter().flat_map(|window| far_cells(window, shape, cell_size, model.far)).collect();
        let region = |lattice: &PixelLattice| {
            let rects = std::iter::once(padded).chain(far.iter().map(|&(row, col)| Rect::cell(row, col)));
            let pixels = rects.map(|rect| lattice.covering(&rect)).filter(|region| !region.is_empty());
            pixels.reduce(|a, b| a.hull(&b))
        };
        model.instruments.iter().map(|instrument| region(&instrument.lattice)).collect()
    }

    /// Gives the slices of a batch the mean again that reading subtracted.
    pub(super) fn restore(&self, model: &Model, batch: &mut [Reading]) {
        for (instrument, slice) in batch.iter_mut().flat_map(|reading| &mut reading.slices) {
            if let Some(mean) = &self.means[*instrument] {
                mean.restore(&model.instruments[*instrument], slice);
            }
        }
    }

    /// Reads a batch of dates, slices in parallel. Unreadable slices are an error or skipped, as the fusion is set.
    pub(super) fn read(&self, fusion: &Fusion, steps: &[(Date, Step)], in_flight: &InFlight) -> Result<Vec<Reading>> {
        let wanted = self.wanted(steps);
        let read = |&(index, instrument): &(usize, usize)| {
            let date: Date = steps[index].0;
            self.read_slice(fusion, date, instrument, in_flight)
        };
        let slices = fusion.reading(|| wanted.par_iter().map(read).collect::<Result<Vec<_>>>())?;
        Ok(Self::readings(steps, &wanted, slices))
    }

    /// The slices of these dates: position of the date, and instrument.
    pub(super) fn wanted(&self, steps: &[(Date, Step)]) -> Vec<(usize, usize)> {
        let all = steps.iter().enumerate();
        let all =
            all.flat_map(|(index, (_, step))| step.instruments.iter().map(move |&instrument| (index, instrument)));
        all.filter(|(_, instrument)| self.regions[*instrument].is_some()).collect()
    }

    /// Reads one slice. Where it cannot be read it is an error, or skipped, as the fusion is set.
    pub(super) fn read_slice(
        &self,
        fusion: &Fusion,
        date: Date,
        instrument: usize,
        in_flight: &InFlight,
    ) -> Result<ReadSlice> {
        let model = &fusion.model.instruments[instrument];
        let date = model.dated(date);
        let Some(region) = &self.regions[instrument] else { return Err(Error::Interrupted) };
        let read = in_flight.during(instrument, date, || model.source.read(date, &model.source_bands, region));
        let read = read.map(|mut slice| {
            if let Some(mean) = &self.means[instrument] {
                mean.subtract(model, &mut slice);
            }
            slice
        });
        match read {
            Err(error) if fusion.options.on_error == OnError::Skip => Ok(Err(error.to_string())),
            read => read.map(Ok),
        }
    }

    /// What was read of these dates, of the slices `wanted` in their order.
    pub(super) fn readings(steps: &[(Date, Step)], wanted: &[(usize, usize)], slices: Vec<ReadSlice>) -> Vec<Reading> {
        let reading = |(date, step): &(Date, Step)| Reading {
            date: *date,
            output: step.output.is_some(),
            slices: Vec::new(),
            skipped: Vec::new(),
        };
        let mut batch: Vec<Reading> = steps.iter().map(reading).collect();
        for (&(index, instrument), slice) in wanted.iter().zip(slices) {
            match slice {
                Ok(slice) => batch[index].slices.push((instrument, slice)),
                Err(reason) => batch[index].skipped.push((instrument, reason)),
            }
        }
        batch
    }
}

/// The states of a tile's cells.
#[derive(Debug)]
pub(super) enum States {
    /// By overlapping windows.
    Windows(Vec<WindowState>),
    /// Cell by cell.
    Cells(CellField),
}

/// The states of one tile, and their progress.
#[derive(Debug)]
pub(super) struct TileState {
    pub(super) tile: Tile,
    pub(super) states: States,
    /// The mean function of its cells, which is added to the output.
    mean: Option<Curves>,
    pub(super) next_step: usize,
    /// Dates that were fused but wait for the lag.
    waiting: Waiting,
    summary: Summary,
    /// The summary already contains the statistics up to this date.
    learned: Option<Date>,
    /// Number of values that windows or cells have assimilated.
    pub(super) observations: u64,
    /// Predictions of the withheld values of the latest batch, from the windows that count them.
    pub(super) predictions: Vec<Prediction>,
}

impl TileState {
    /// The states of a tile on the day before the series.
    pub(super) fn first(fusion: &Fusion, tile: Tile) -> Result<Self> {
        Self::new(fusion, tile, fusion.before_first(), |extent| fusion.first_prior(extent))
    }

    /// The states of a tile on `date`, from the prior alone; `prior` returns the prior of the cells of a rectangle.
    pub(super) fn new(
        fusion: &Fusion,
        tile: Tile,
        date: Date,
        prior: impl FnOnce(&Rect) -> Result<PriorSlice>,
    ) -> Result<Self> {
        let states = match &fusion.cells {
            None => {
                let inputs = TileInputs::new(&fusion.model, &fusion.tiling, &tile.region, prior)?;
                let correlations = inputs.correlations(&fusion.model.process);
                let known = (&inputs.prior, date);
                States::Windows(windows::build(fusion.window_setup(), &tile.region, &inputs, &correlations, known)?)
            }
            Some(model) => {
                let prior = prior(&Rect::from(&tile.region))?;
                States::Cells(CellField::new(Arc::clone(model), &fusion.model.instruments, &tile.region, &prior, date)?)
            }
        };
        Ok(Self {
            mean: fusion
                .model
                .seasonal
                .as_ref()
                .map(|mean| Curves::for_cells(mean, &fusion.model.target, &tile.region))
                .transpose()?,
            tile,
            states,
            next_step: fusion.steps.partition_point(|(step, _)| *step <= date),
            waiting: Waiting::new(fusion.lag),
            summary: Summary::default(),
            learned: None,
            observations: 0,
            predictions: Vec::new(),
        })
    }

    /// Resumes after `date`, once the windows have been restored, with the statistics up to then.
    pub(super) fn resume_after(&mut self, fusion: &Fusion, date: Date, summary: Summary) {
        self.next_step = fusion.steps.partition_point(|(step, _)| *step <= date);
        let passed = fusion.steps[..self.next_step].iter().filter_map(|(date, step)| Some((*date, step.output?)));
        self.waiting = Waiting::after(fusion.lag, passed);
        self.summary = summary;
    }

    /// Sets the statistics up to `learned`, which is later than the start of the states: replayed dates are not
    /// counted twice.
    pub(super) fn replay_until(&mut self, learned: Date, summary: Summary, failed: &[usize]) {
        self.learned = Some(learned);
        self.summary = summary;
        self.set_failed(failed);
    }

    /// Marks windows or cells that have failed.
    pub(super) fn set_failed(&mut self, failed: &[usize]) {
        match &mut self.states {
            States::Cells(cells) => cells.set_failed(failed),
            States::Windows(windows) => {
                for &window in failed {
                    if let Some(window) = windows.get_mut(window) {
                        window.failed = true;
                    }
                }
            }
        }
    }

    /// Whether dates that the summary already contains are still being replayed.
    pub(super) fn replays(&self, fusion: &Fusion) -> bool {
        let passed = self.next_step.checked_sub(1).map(|step| fusion.steps[step].0);
        self.learned.is_some_and(|learned| passed.is_none_or(|passed| passed < learned))
    }

    /// Positions of the windows or cells that have failed.
    pub(super) fn failed(&self) -> Vec<usize> {
        match &self.states {
            States::Cells(cells) => cells.failed().to_vec(),
            States::Windows(windows) => (0..windows.len()).filter(|&index| windows[index].failed).collect(),
        }
    }

    /// The statistics so far.
    pub(super) fn summary(&self) -> Summary {
        self.counted(self.summary.clone())
    }

    /// The statistics, at the end of the tile's run.
    pub(super) fn take_summary(&mut self) -> Summary {
        let summary = std::mem::take(&mut self.summary);
        self.counted(summary)
    }

    /// The statistics with the numbers of windows.
    fn counted(&self, mut summary: Summary) -> Summary {
        if let States::Windows(windows) = &self.states {
            let counted = || windows.iter().filter(|window| window.counts);
            summary.windows = counted().count();
            summary.widened = counted().filter(|window| window.widened).count();
        }
        summary
    }

    /// Number of dates of the output axis, from its start, whose blocks have been output.
    pub(super) fn output_dates(&self, fusion: &Fusion) -> usize {
        let passed = fusion.steps[..self.next_step].iter().filter(|(_, step)| step.output.is_some()).count();
        passed - self.waiting.len()
    }

    /// Runs every window or cell through the batch, in parallel, and returns the blocks of the completed dates.
    pub(super) fn advance(
        &mut self,
        fusion: &Fusion,
        batch: &[Reading],
        workers: &Workers,
        within: &Within<'_>,
    ) -> Result<Vec<FusedBlock>> {
        let steps = &fusion.steps[self.next_step..self.next_step + batch.len()];
        let last = self.next_step + batch.len() == fusion.steps.len();
        let learned = self.learned;
        let is_new = |date: Date| learned.is_none_or(|learned| date > learned);
        for reading in batch.iter().filter(|reading| is_new(reading.date)) {
            for (instrument, reason) in &reading.skipped {
                self.summary.skip(reading.date, *instrument, reason);
            }
            for (instrument, slice) in &reading.slices {
                self.summary.read(reading.date, *instrument, slice);
            }
        }
        self.next_step += batch.len();
        let dates = steps.iter().filter_map(|(date, step)| Some((*date, step.output?)));
        let done = self.waiting.pass(dates, last);
        let indices = fusion.projection.indices();
        let mut covariances = indices.room(done.len(), self.tile.region.shape());
        let mut blocks = match &mut self.states {
            States::Cells(cells) => {
                let mut blocks = blocks(fusion, &self.tile, &done);
                let failures = cells.advance(steps, batch, &mut blocks, &workers.cells);
                for failure in failures {
                    let ((row, col), date) = (failure.cell, steps[failure.index].0);
                    let source = NumericalError::NotFinite { state: failure.component };
                    if fusion.options.on_error == OnError::Abort {
                        return Err(Error::Numerical { file: None, row, col, date, source });
                    }
                    self.summary.fail(FailedWindow { row, col, date, reason: source.to_string() });
                }
                let slices = || batch.iter().flat_map(|reading| reading.slices.iter().map(|(k, _)| (reading.date, *k)));
                for fits in cells.fits() {
                    self.observations += fits.iter().map(|fit| fit.sums.values).sum::<u64>();
                    for ((date, instrument), fit) in slices().zip(fits).filter(|((date, _), _)| is_new(*date)) {
                        self.summary.add_cells(date, instrument, fit);
                    }
                }
                blocks.par_iter_mut().for_each(|block| fusion.projection.scale(&mut block.uncertainty));
                blocks
            }
            States::Windows(windows) => {
                windows::advance(fusion, windows, (batch, last), &workers.windows, (&mut self.summary, within))?;
                self.predictions.clear();
                for window in windows.iter().filter(|window| window.counts) {
                    self.observations +=
                        window.output.innovations.iter().map(|(_, fit)| fit.values as u64).sum::<u64>();
                    self.predictions.extend_from_slice(&window.output.predictions);
                    self.summary.add(&window.output, |index| Some(steps[index].0).filter(|date| is_new(*date)));
                }
                let mut blocks = blocks(fusion, &self.tile, &done);
                windows::assemble(fusion, windows, &mut blocks, &mut covariances);
                blocks
            }
        };
        if let Some(mean) = &self.mean {
            mean.add(&fusion.projection, &mut blocks);
        }
        // They are functions of the values themselves, not of anomalies.
        indices.fill(&mut blocks, &covariances);
        Ok(blocks)
    }
}

/// Blocks of the completed dates, with values to be filled.
pub(super) fn blocks(fusion: &Fusion, tile: &Tile, done: &[(Date, usize)]) -> Vec<FusedBlock> {
    let (rows, cols) = tile.region.shape();
    let (means, uncertainties) = fusion.projection.layers();
    let array = |layers: usize| fusion.spare.take((layers, rows, cols));
    let block = |&(date, time): &(Date, usize)| FusedBlock {
        tile: tile.index,
        region: tile.region.clone(),
        date,
        time,
        mean: array(means),
        uncertainty: array(uncertainties),
        offsets: (!fusion.offsets.is_empty())
            .then(|| BlockOffsets { mean: array(fusion.offsets.len()), sd: array(fusion.offsets.len()) }),
    };
    done.par_iter().map(block).collect()
}
