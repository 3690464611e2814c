//! A strip of rows of a tile: one task filters it, cell by cell, through all dates of a batch.

use std::ops::Range;

use pulp::Arch;

use super::model::CellModel;
use super::slice::{CellRun, CellSlice, Shared};
use crate::describe::Missing;
use crate::engine::refusals::Refusals;
use crate::filter::{CellPrediction, Cells, RUN, ScalarFit, ScalarRun, drop_missing, mark_observed, predict_into};
use crate::model::Gate;

/// A strip of rows of a tile's cells.
#[derive(Debug)]
pub(in crate::engine) struct RowStrip {
    /// Rows in the tile.
    pub(super) rows: Range<usize>,
    /// **Shape** (component, cells).
    pub(super) mean: Vec<f64>,
    pub(super) variance: Vec<f64>,
    /// What gates have refused of late, of the pixels of its cells.
    pub(super) refusals: Refusals,
    /// The fit of each slice of the latest batch.
    pub(super) fits: Vec<CellFit>,
    /// Cells that failed in the latest batch.
    pub(super) failures: Vec<Failure>,
}

/// The fit of a slice.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct CellFit {
    pub(in crate::engine) pixels: u64,
    pub(in crate::engine) refused: u64,
    pub(in crate::engine) sums: ScalarFit,
}

/// A cell whose mean is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct Failure {
    /// Date of the batch.
    pub(in crate::engine) index: usize,
    /// Row and column in the tile.
    pub(in crate::engine) cell: (usize, usize),
    pub(in crate::engine) component: usize,
}

/// The predictions of a component on a date of the batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct PredictionPlan {
    /// To the date, when an instrument may observe the component.
    pub(super) advance: Option<CellPrediction>,
    /// To the date, from the date of the state, for the output.
    pub(super) output: CellPrediction,
}

/// A batch, in the form that all strips share.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) model: &'a CellModel,
    /// Columns of the tile.
    pub(super) cols: usize,
    /// In the order of the dates.
    pub(super) slices: &'a [CellSlice<'a>],
    /// By date and component.
    pub(super) schedule: &'a [PredictionPlan],
    /// Position of each date among the output dates.
    pub(super) outputs: &'a [Option<usize>],
}

/// Scratch memory of one worker, reused for every batch.
#[derive(Debug)]
pub(in crate::engine) struct CellScratch {
    arch: Arch,
    observed: Box<ScalarRun>,
    /// Whether a pixel is used, by slice of the date.
    used: Vec<u64>,
    nis: Vec<f64>,
    dof: Vec<u64>,
    positions: Vec<usize>,
    /// Cells of a run that failed on a date, with the component.
    failed: Vec<(usize, usize)>,
}

impl Default for CellScratch {
    fn default() -> Self {
        Self {
            arch: Arch::new(),
            observed: Box::default(),
            used: Vec::new(),
            nis: vec![0.0; RUN],
            dof: vec![0; RUN],
            positions: Vec::new(),
            failed: Vec::new(),
        }
    }
}

impl CellScratch {
    /// Memory for this number of slices of a date.
    pub(in crate::engine) fn bytes(slices: usize) -> usize {
        size_of::<Self>() + size_of::<ScalarRun>() + (slices + 4) * RUN * size_of::<u64>()
    }
}

impl RowStrip {
    /// Runs the strip through a batch. `targets` are its rows of the blocks: by block, mean and standard deviation,
    /// component.
    pub(super) fn advance(&mut self, batch: &Batch<'_>, targets: &mut [&mut [f64]], scratch: &mut CellScratch) {
        self.fits.clear();
        self.fits.resize(batch.slices.len(), CellFit::default());
        self.failures.clear();
        for row in 0..self.rows.len() {
            for first in (0..batch.cols).step_by(RUN) {
                let cols = first..(first + RUN).min(batch.cols);
                let run = CellRun { row: self.rows.start + row, cols, at: row * batch.cols + first };
                self.advance_run(batch, &run, targets, scratch);
            }
        }
    }

    fn advance_run(&mut self, batch: &Batch<'_>, run: &CellRun, targets: &mut [&mut [f64]], scratch: &mut CellScratch) {
        let p = batch.model.components();
        let (arch, n) = (scratch.arch, run.cols.len());
        let mut later = 0;
        for (index, (plans, output)) in batch.schedule.chunks_exact(p).zip(batch.outputs).enumerate() {
            for (j, plans) in plans.iter().enumerate() {
                if let Some(prediction) = plans.advance {
                    self.states(batch, j, run, 0..n).predict(arch, prediction);
                }
            }
            let first = later;
            later += batch.slices[first..].iter().take_while(|slice| slice.index == index).count();
            if first < later {
                self.observe(batch, first..later, run, scratch);
            }
            let Some(output) = output else { continue };
            for (j, plans) in plans.iter().enumerate() {
                let Cells { mean, variance } = self.states(batch, j, run, 0..n);
                let (means, sds) = targets[2 * p * output..][..2 * p].split_at_mut(p);
                let (out_mean, out_sd) = (&mut means[j][run.at..run.at + n], &mut sds[j][run.at..run.at + n]);
                predict_into(arch, plans.output, (mean, variance), (out_mean, out_sd));
            }
        }
    }

    /// States of some cells of a run.
    fn states(&mut self, batch: &Batch<'_>, component: usize, run: &CellRun, cells: Range<usize>) -> Cells<'_> {
        let at = component * self.rows.len() * batch.cols + run.at;
        let states = at + cells.start..at + cells.end;
        Cells { mean: &mut self.mean[states.clone()], variance: &mut self.variance[states] }
    }

    /// Assimilates the slices of a date.
    fn observe(&mut self, batch: &Batch<'_>, slices: Range<usize>, run: &CellRun, scratch: &mut CellScratch) {
        if scratch.used.len() < slices.len() * RUN {
            scratch.used.resize(slices.len() * RUN, 0);
        }
        // Gates compare with the prediction, so all of them precede the first update.
        for (k, index) in slices.clone().enumerate() {
            if let Some(shared) = batch.slices[index].on(run) {
                self.admit(batch, index, run, &shared, k, scratch);
            }
        }
        for (k, index) in slices.clone().enumerate() {
            let slice = &batch.slices[index];
            let Some(shared) = slice.on(run) else { continue };
            for entry in &slice.model.observed {
                let CellScratch { arch, observed, used, positions, failed, .. } = &mut *scratch;
                let used = &used[k * RUN..][..shared.cells.len()];
                observed.compress(*arch, &entry.bands, |band| slice.band(entry.rows[band], &shared), used);
                let mut sums = self.fits[index].sums;
                let cells = self.states(batch, entry.component, run, shared.cells.clone());
                observed.update(*arch, cells, &mut sums, positions);
                self.fits[index].sums = sums;
                failed.extend(positions.drain(..).map(|k| (shared.cells.start + k, entry.component)));
            }
        }
        if !scratch.failed.is_empty() {
            self.fail(batch, batch.slices[slices.start].index, run, scratch);
        }
    }

    /// Decides which pixels of slice `k` of its date are used, and counts them.
    fn admit(
        &mut self,
        batch: &Batch<'_>,
        index: usize,
        run: &CellRun,
        shared: &Shared,
        k: usize,
        scratch: &mut CellScratch,
    ) {
        let slice = &batch.slices[index];
        let CellScratch { arch, observed, used, nis, dof, .. } = scratch;
        let n = shared.cells.len();
        let used = &mut used[k * RUN..][..n];
        used.fill(0);
        for entry in &slice.model.observed {
            let cells = self.states(batch, entry.component, run, shared.cells.clone());
            for &band in &entry.rows {
                mark_observed(*arch, slice.band(band, shared), cells.mean, used);
            }
        }
        if slice.model.missing == Missing::Pixel {
            for &band in slice.model.observed.iter().flat_map(|entry| &entry.rows) {
                drop_missing(slice.band(band, shared), used);
            }
        }
        let count = |used: &[u64]| used.iter().map(|used| used & 1).sum::<u64>();
        let seen_pixels = count(used);
        self.fits[index].pixels += seen_pixels;
        let Some(gate) = &slice.model.gate else { return };
        let (nis, dof) = (&mut nis[..n], &mut dof[..n]);
        nis.fill(0.0);
        dof.fill(0);
        for entry in &slice.model.observed {
            observed.compress(*arch, &entry.bands, |band| slice.band(entry.rows[band], shared), used);
            let cells = self.states(batch, entry.component, run, shared.cells.clone());
            observed.add_nis(cells.mean, cells.variance, nis, dof);
        }
        let first = run.at + shared.cells.start;
        let refuses = |k: usize, beyond| self.refusals.refuses((slice.model.index, first + k), beyond);
        refuse(gate, (nis, dof), used, refuses);
        self.fits[index].refused += seen_pixels - count(used);
    }

    /// Sets the cells that failed to NaN in all components, for good.
    fn fail(&mut self, batch: &Batch<'_>, index: usize, run: &CellRun, scratch: &mut CellScratch) {
        scratch.failed.sort_unstable();
        scratch.failed.dedup_by_key(|(cell, _)| *cell);
        for (cell, component) in scratch.failed.drain(..) {
            self.failures.push(Failure { index, cell: (run.row, run.cols.start + cell), component });
            for j in 0..batch.model.components() {
                let Cells { mean, variance } = self.states(batch, j, run, cell..cell + 1);
                mean.fill(f64::NAN);
                variance.fill(f64::NAN);
            }
        }
    }
}

/// Refuses the used pixels whose normalised innovation squared is no number, and those that are refused because it
/// exceeds the threshold of the gate or not.
fn refuse(gate: &Gate, (nis, dof): (&[f64], &[u64]), used: &mut [u64], mut refuses: impl FnMut(usize, bool) -> bool) {
    for (k, used) in used.iter_mut().enumerate().filter(|(_, used)| **used & 1 == 1) {
        if !nis[k].is_finite() || refuses(k, nis[k] > gate.threshold(dof[k] as usize)) {
            *used = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ndarray::Array4;

    use super::*;
    use crate::describe::{Instrument, Kernel, Prior, Process};
    use crate::engine::cells::{CellField, targets};
    use crate::engine::in_flight::InFlight;
    use crate::engine::tile::{TileReader, blocks};
    use crate::geometry::{Crs, Date, Grid, Rect};
    use crate::source::MemorySource;
    use crate::{Fusion, Result};

    /// From one batch to the next a band works with the memory it has.
    #[test]
    fn later_batches_allocate_nothing() -> Result<()> {
        let grid = || Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (12, 300));
        let values = Array4::from_shape_fn((40, 3, 12, 300), |(t, b, r, c)| {
            if (t + b + r + c) % 5 == 0 { f64::NAN } else { 0.3 + 0.01 * ((t * 7 + b * 3 + r * 5 + c) % 4) as f64 }
        });
        let dates = (0..40).map(Date::from_days).collect();
        let source = MemorySource::new(grid()?, dates, ["red", "nir", "b3"].map(String::from).to_vec(), values)?;
        let source = Arc::new(source);
        let instrument = |name| Instrument::new(name, Arc::clone(&source)).noise_variance(1e-3);
        let fusion = Fusion::builder(grid()?)
            .bands(["red", "nir"])
            .process(Process::new(Kernel::None, 0.0, 1e-3).phi(0.99))
            .prior(Prior::new(0.3, 0.01))
            .instrument(instrument("one").gate(0.9).follow(3))
            .instrument(instrument("two").observes(["red", "nir", "red"]).missing(Missing::Pixel))
            .tile(12, 300)
            .build()?;
        let (Some(tile), Some(model)) = (fusion.tiling.tile(0), &fusion.cells) else { panic!("no independent cells") };
        let reader = TileReader::new(&fusion, &tile)?;
        let prior = fusion.model.prior.read(&fusion.model.target, &Rect::from(&tile.region))?;
        let mut field =
            CellField::new(Arc::clone(model), &fusion.model.instruments, &tile.region, &prior, fusion.before_first())?;
        let mut scratch = CellScratch::default();
        for (k, steps) in fusion.steps.chunks(8).enumerate() {
            let batch = reader.read(&fusion, steps, &InFlight::default())?;
            field.plan_predictions(steps);
            let slices: Vec<CellSlice<'_>> = batch
                .iter()
                .enumerate()
                .flat_map(|(index, reading)| reading.slices.iter().map(move |slice| (index, slice)))
                .map(|(index, (instrument, slice))| {
                    let model = &model.instruments[*instrument];
                    CellSlice::new(index, model, &slice.region, &slice.values, &tile.region)
                })
                .collect();
            assert_eq!(slices.len(), 16);
            let outputs: Vec<Option<usize>> = (0..steps.len()).map(Some).collect();
            let done: Vec<(Date, usize)> = steps.iter().map(|(date, _)| (*date, 0)).collect();
            let mut blocks = blocks(&fusion, &tile, &done);
            let planes = 2 * 2 * steps.len();
            let mut targets = targets(&mut blocks, (2, tile.region.len(), 6 * 300), 2);
            let batch = Batch { model, cols: 300, slices: &slices, schedule: &field.schedule, outputs: &outputs };
            for (band, targets) in field.strips.iter_mut().zip(targets.chunks_mut(planes)) {
                let counted = allocation_counter::measure(|| band.advance(&batch, targets, &mut scratch));
                assert!(k == 0 || counted.count_total == 0, "batch {k}: {} allocations", counted.count_total);
            }
        }
        Ok(())
    }
}
