//! Independent cells, filtered one by one: where neither process nor footprints nor anything else couples cells, the
//! dense covariances of windows would be diagonal.
//!
//! The cells of a tile are stored in strips of rows. A strip is one task for all dates of a batch. Within it, every
//! run of neighbouring cells is filtered through all dates before the next run starts, so that its states stay in the
//! first-level cache. The dates of the instruments that observe a component decide when the component is predicted,
//! whatever a tile contains, so tiles do not change a bit.

mod model;
mod slice;
mod snapshot;
mod strip;

use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use super::refusals::Refusals;
use super::steps::Step;
use super::window::Reading;
use crate::error::Result;
use crate::geometry::{Date, PixelRegion, Rect};
use crate::model::{ObservationModel, PriorSlice};
use crate::series::FusedBlock;
use slice::CellSlice;
use strip::{Batch, PredictionPlan};

pub(super) use model::CellModel;
pub(super) use strip::{CellFit, CellScratch, Failure, RowStrip};

/// Approximate number of cells in a strip: enough to be worth a task, few enough that every thread has several.
const STRIP_CELLS: usize = 2048;

/// Memory of a strip in addition to its states: per instrument of a batch, and once.
pub(super) const STRIP_BYTES: usize = 1024;

/// Number of rows of a strip, for a tile with this number of columns.
pub(super) fn strip_rows(cols: usize) -> usize {
    (STRIP_CELLS / cols.max(1)).max(1)
}

/// The cells of a tile.
#[derive(Debug)]
pub(super) struct CellField {
    model: Arc<CellModel>,
    tile: PixelRegion,
    strips: Vec<RowStrip>,
    /// The date that the states of each component describe.
    dates: Vec<Date>,
    /// Cells whose arithmetic broke down and that are NaN since: positions in the tile, row by row.
    failed: Vec<usize>,
    /// Plan of the latest batch, by date and component.
    schedule: Vec<PredictionPlan>,
}

impl CellField {
    /// The cells of a tile on `date`, from the prior alone.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) where an instrument observes a cell that a prior raster leaves empty.
    pub(super) fn new(
        model: Arc<CellModel>,
        instruments: &[ObservationModel],
        tile: &PixelRegion,
        prior: &PriorSlice,
        date: Date,
    ) -> Result<Self> {
        let ((rows, cols), components) = (tile.shape(), model.components());
        let step = strip_rows(cols);
        let strip = |first: usize| {
            let rows = first..(first + step).min(rows);
            let mut values = (Vec::new(), Vec::new());
            for j in 0..components {
                for row in rows.clone() {
                    let row = (tile.rows.start + row) as i64;
                    let known = |col: usize| (prior.mean(j, row, col as i64), prior.cov(j, j, row, col as i64));
                    let known = tile.cols.clone().map(known);
                    let nothing = (f64::NAN, f64::NAN);
                    values
                        .extend(known.map(|state| if state.0.is_nan() || state.1.is_nan() { nothing } else { state }));
                }
            }
            RowStrip {
                refusals: Refusals::new(instruments, |_| rows.len() * cols),
                rows,
                mean: values.0,
                variance: values.1,
                fits: Vec::new(),
                failures: Vec::new(),
            }
        };
        let firsts: Vec<usize> = (0..rows).step_by(step).collect();
        let this = Self {
            strips: firsts.into_par_iter().map(strip).collect(),
            model,
            tile: tile.clone(),
            dates: vec![date; components],
            failed: Vec::new(),
            schedule: Vec::new(),
        };
        this.check_uninformed(instruments, prior)?;
        Ok(this)
    }

    /// Refuses a prior without values where an instrument observes.
    fn check_uninformed(&self, instruments: &[ObservationModel], prior: &PriorSlice) -> Result<()> {
        for strip in &self.strips {
            for (k, _) in strip.mean.iter().enumerate().filter(|(_, mean)| mean.is_nan()) {
                let cells = strip.rows.len() * self.tile.cols.len();
                let (row, col) = self.cell(strip.rows.start * self.tile.cols.len() + k % cells);
                let (row, col) = (row as i64, col as i64);
                let observes = |model: &&ObservationModel| !model.lattice.covering(&Rect::cell(row, col)).is_empty();
                if let Some(model) = instruments.iter().find(observes) {
                    return Err(prior.without_value((row, col), &model.name));
                }
            }
        }
        Ok(())
    }

    /// Row and column on the target grid of a position in the tile.
    fn cell(&self, position: usize) -> (usize, usize) {
        let cols = self.tile.cols.len();
        (self.tile.rows.start + position / cols, self.tile.cols.start + position % cols)
    }

    /// Cells that have failed: positions in the tile.
    pub(super) fn failed(&self) -> &[usize] {
        &self.failed
    }

    /// Sets cells that have failed to NaN.
    pub(super) fn set_failed(&mut self, failed: &[usize]) {
        let cols = self.tile.cols.len();
        self.failed = failed.iter().copied().filter(|&position| position < self.tile.len()).collect();
        for &position in &self.failed {
            let row = position / cols;
            let Some(strip) = self.strips.iter_mut().find(|strip| strip.rows.contains(&row)) else { continue };
            let (at, cells) = (position - strip.rows.start * cols, strip.rows.len() * cols);
            for states in [&mut strip.mean, &mut strip.variance] {
                states.iter_mut().skip(at).step_by(cells).for_each(|value| *value = f64::NAN);
            }
        }
    }

    /// Runs all cells through a batch and fills the blocks of its output dates. Returns the cells that failed, by
    /// date, row and column, with their positions on the target grid.
    pub(super) fn advance(
        &mut self,
        steps: &[(Date, Step)],
        batch: &[Reading],
        blocks: &mut [FusedBlock],
        scratches: &[Mutex<CellScratch>],
    ) -> Vec<Failure> {
        self.plan_predictions(steps);
        let model = &*self.model;
        let slices = || batch.iter().enumerate().flat_map(|(k, reading)| reading.slices.iter().map(move |s| (k, s)));
        // A source may use any memory layout; those of this crate use the standard one.
        let standard: Vec<_> = slices().map(|(_, (_, slice))| slice.values.as_standard_layout()).collect();
        let slices: Vec<CellSlice<'_>> = slices()
            .zip(&standard)
            .map(|((k, (instrument, slice)), values)| {
                CellSlice::new(k, &model.instruments[*instrument], &slice.region, values, &self.tile)
            })
            .collect();
        let mut outputs = Vec::with_capacity(batch.len());
        let mut next = 0..blocks.len();
        outputs.extend(batch.iter().map(|reading| if reading.output { next.next() } else { None }));
        let cols = self.tile.cols.len();
        let planes = 2 * model.components() * blocks.len();
        let layout = (model.components(), self.tile.len(), strip_rows(cols) * cols);
        let mut targets = targets(blocks, layout, self.strips.len());
        let batch = Batch { model, cols, slices: &slices, schedule: &self.schedule, outputs: &outputs };
        let run = |strip: &mut RowStrip, targets: &mut [&mut [f64]]| {
            let scratch = &scratches[rayon::current_thread_index().unwrap_or_default() % scratches.len()];
            strip.advance(&batch, targets, &mut scratch.lock().unwrap_or_else(PoisonError::into_inner));
        };
        let strips = self.strips.par_iter_mut().with_max_len(1);
        if planes == 0 {
            strips.for_each(|strip| run(strip, &mut []));
        } else {
            strips.zip(targets.par_chunks_mut(planes)).for_each(|(strip, targets)| run(strip, targets));
        }
        self.take_failures()
    }

    /// Plans the predictions of each component from date to date.
    fn plan_predictions(&mut self, steps: &[(Date, Step)]) {
        let model = &*self.model;
        self.schedule.clear();
        for (date, step) in steps {
            for (j, state_date) in self.dates.iter_mut().enumerate() {
                let observes = |&instrument: &usize| {
                    model.instruments[instrument].observed.iter().any(|entry| entry.component == j)
                };
                let prediction = |from: Date| model.prediction(j, f64::from(date.days_since(from)));
                let advance = (*date > *state_date && step.instruments.iter().any(observes)).then(|| {
                    let prediction = prediction(*state_date);
                    *state_date = *date;
                    prediction
                });
                self.schedule.push(PredictionPlan { advance, output: prediction(*state_date) });
            }
        }
    }

    fn take_failures(&mut self) -> Vec<Failure> {
        let mut failures: Vec<Failure> = self.strips.iter().flat_map(|strip| strip.failures.iter().copied()).collect();
        failures.sort_unstable();
        let (cols, first) = (self.tile.cols.len(), (self.tile.rows.start, self.tile.cols.start));
        self.failed.extend(failures.iter().map(|failure| failure.cell.0 * cols + failure.cell.1));
        self.failed.sort_unstable();
        failures.iter_mut().for_each(|failure| failure.cell = (first.0 + failure.cell.0, first.1 + failure.cell.1));
        failures
    }

    /// The fit of each slice of the latest batch, strip by strip, in the order of the slices.
    pub(super) fn fits(&self) -> impl Iterator<Item = &[CellFit]> {
        self.strips.iter().map(|strip| strip.fits.as_slice())
    }
}

/// Rows of the planes of the components in every block, strip by strip: by block, mean and standard deviation,
/// component. Indices follow the components, and are made of them later.
fn targets(
    blocks: &mut [FusedBlock],
    (components, plane, step): (usize, usize, usize),
    strips: usize,
) -> Vec<&mut [f64]> {
    let fields = blocks.iter_mut().flat_map(|block| [&mut block.mean, &mut block.uncertainty]);
    let fields = fields.filter_map(|field| field.as_slice_mut());
    let planes = fields.flat_map(|field| field.chunks_exact_mut(plane.max(1)).take(components));
    let mut rows: Vec<_> = planes.map(|plane| plane.chunks_mut(step.max(1))).collect();
    let mut targets = Vec::with_capacity(rows.len() * strips);
    for _ in 0..strips {
        targets.extend(rows.iter_mut().filter_map(Iterator::next));
    }
    targets
}
