use ndarray::ArrayView3;

use crate::error::{Error, Result};
use crate::filter::{Channel, Dynamics, Innovation, NotPositiveDefinite, Observations, State, Workspace};
use crate::geometry::{Date, PixelRegion};
use crate::model::{Missing, ObservationModel, Support};
use crate::source::Slice;

/// One window on its way through time.
#[derive(Debug)]
pub(super) struct WindowState {
    pub(super) support: Support,
    pub(super) dynamics: Dynamics,
    pub(super) state: State,
    /// The date the state describes: that of its last update, or the day before the series.
    pub(super) date: Date,
    /// Own cells inside the tile: (spatial state, row in tile, column in tile).
    pub(super) out: Vec<OutCell>,
    /// Whether its diagnostics count in this tile; a window that straddles tiles counts in one.
    pub(super) counts: bool,
}

/// A cell that the tile puts out.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutCell {
    pub(super) state: usize,
    pub(super) row: usize,
    pub(super) col: usize,
    /// Neither prior nor instruments say anything: NaN.
    pub(super) silent: bool,
}

/// Scratch memory of one worker.
#[derive(Debug, Default)]
pub(super) struct Worker {
    workspace: Workspace,
    observations: Observations,
    values: Vec<f64>,
}

/// A date of a batch with what was read for it.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) date: Date,
    /// Whether the date is put out.
    pub(super) output: bool,
    /// (instrument, slice), in the order of the instruments.
    pub(super) slices: Vec<(usize, Slice)>,
}

/// What a window makes of a batch.
#[derive(Debug, Default)]
pub(super) struct WindowOutput {
    /// For each date put out, for each band, for each out cell: mean and variance.
    pub(super) values: Vec<(f64, f64)>,
    /// (date of the batch, fit of each instrument).
    pub(super) innovations: Vec<(usize, Vec<Innovation>)>,
}

impl WindowState {
    /// Runs the window through a batch of dates.
    pub(super) fn advance(
        &mut self,
        batch: &[Reading],
        instruments: &[ObservationModel],
        p: usize,
        worker: &mut Worker,
    ) -> Result<WindowOutput> {
        let mut output = WindowOutput::default();
        for (index, reading) in batch.iter().enumerate() {
            self.observe(reading, instruments, p, worker);
            if !worker.observations.is_empty() {
                // Days without observations have cost nothing so far; now they are one prediction.
                self.state.predict(&self.dynamics, f64::from(reading.date.days_since(self.date)));
                self.date = reading.date;
                let innovations = self
                    .state
                    .update(&worker.observations, &mut worker.workspace)
                    .map_err(|source| self.numerical(reading.date, source))?;
                output.innovations.push((index, innovations));
            }
            if reading.output {
                self.put_out(reading.date, p, &mut output.values)?;
            }
        }
        Ok(output)
    }

    /// Turns the slices of a date into the window's pseudo-observations.
    fn observe(&self, reading: &Reading, instruments: &[ObservationModel], p: usize, worker: &mut Worker) {
        worker.observations.clear();
        let n = self.support.n();
        let mut channels: Vec<Channel<'_>> = Vec::with_capacity(p);
        for (index, slice) in &reading.slices {
            let instrument = &instruments[*index];
            worker.observations.begin_group(*index);
            for (at, footprint) in self.support.pixels(*index) {
                pixel_values(slice.values.view(), &slice.region, at, &mut worker.values);
                if instrument.missing == Missing::Pixel && worker.values.iter().any(|value| value.is_nan()) {
                    continue;
                }
                channels.clear();
                channels.extend((0..p).map(|j| Channel { offset: j * n, ..footprint }));
                worker.observations.push_pixel(
                    &instrument.bands,
                    &channels,
                    &worker.values,
                    worker.workspace.compressions(),
                );
            }
        }
    }

    /// Appends mean and variance of every out cell, predicted to `date` without touching the state.
    fn put_out(&self, date: Date, p: usize, values: &mut Vec<(f64, f64)>) -> Result<()> {
        let dt_days = f64::from(date.days_since(self.date));
        let n = self.support.n();
        for j in 0..p {
            for cell in &self.out {
                if cell.silent {
                    values.push((f64::NAN, f64::NAN));
                    continue;
                }
                let i = j * n + cell.state;
                let mean = self.state.predicted_mean(&self.dynamics, i, dt_days);
                let variance = self.state.predicted_cov(&self.dynamics, i, i, dt_days);
                if !(variance >= 0.0 && mean.is_finite()) {
                    return Err(self.numerical(date, NotPositiveDefinite { pivot: i, size: self.state.n() }));
                }
                values.push((mean, variance));
            }
        }
        Ok(())
    }

    fn numerical(&self, date: Date, source: NotPositiveDefinite) -> Error {
        let (row, col) = self.support.own_cells().first().copied().unwrap_or_default();
        Error::Numerical { row: row as usize, col: col as usize, date, source }
    }
}

/// The bands of one pixel of a slice.
fn pixel_values(slice: ArrayView3<'_, f64>, region: &PixelRegion, at: (usize, usize), values: &mut Vec<f64>) {
    let (row, col) = (at.0 - region.rows.start, at.1 - region.cols.start);
    values.clear();
    values.extend((0..slice.dim().0).map(|band| slice[(band, row, col)]));
}
