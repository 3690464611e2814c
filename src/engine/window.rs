use ndarray::s;

use crate::error::{Error, Result};
use crate::filter::{Channel, CompressionCache, Dynamics, Innovation, NumericalError, Observations, State, Workspace};
use crate::geometry::Date;
use crate::model::{Missing, ObservationModel, PartBands, Support};
use crate::source::Slice;

/// Components that are filtered together, and what each instrument sees of them.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) components: Vec<usize>,
    /// By instrument.
    pub(super) bands: Vec<PartBands>,
}

/// One window on its way through time.
#[derive(Debug)]
pub(super) struct WindowState {
    pub(super) support: Support,
    /// In the order of the fusion's parts.
    pub(super) parts: Vec<PartState>,
    /// Own cells inside the tile.
    pub(super) out: Vec<OutCell>,
    /// Whether its diagnostics count in this tile; a window that straddles tiles counts in one.
    pub(super) counts: bool,
}

/// The states of a window's part.
#[derive(Debug)]
pub(super) struct PartState {
    pub(super) dynamics: Dynamics,
    pub(super) state: State,
    /// The date the state describes: that of its last update, or the day before the series.
    pub(super) date: Date,
    /// Own cells about which neither prior nor instruments say anything: NaN.
    pub(super) silent: Vec<bool>,
}

/// A cell that the tile puts out.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutCell {
    /// Spatial state.
    pub(super) state: usize,
    /// Row in the tile.
    pub(super) row: usize,
    /// Column in the tile.
    pub(super) col: usize,
}

/// Scratch memory of one worker.
#[derive(Debug)]
pub(super) struct Worker {
    workspace: Workspace,
    observations: Observations,
    /// By part.
    caches: Vec<CompressionCache>,
    values: Vec<f64>,
}

impl Worker {
    pub(super) fn new(parts: usize) -> Self {
        Self {
            workspace: Workspace::new(),
            observations: Observations::new(),
            caches: (0..parts).map(|_| CompressionCache::new()).collect(),
            values: Vec::new(),
        }
    }
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
    /// Mean and variance for each date put out, for each component in the order of the parts, for each out cell.
    pub(super) values: Vec<(f64, f64)>,
    /// (date of the batch, fit of an instrument).
    pub(super) innovations: Vec<(usize, Innovation)>,
}

impl WindowState {
    /// Runs the window through a batch of dates.
    pub(super) fn advance(
        &mut self,
        batch: &[Reading],
        instruments: &[ObservationModel],
        parts: &[Part],
        worker: &mut Worker,
    ) -> Result<WindowOutput> {
        let mut output = WindowOutput::default();
        for (index, reading) in batch.iter().enumerate() {
            for (k, part) in parts.iter().enumerate() {
                self.observe(reading, instruments, part, k, worker);
                let fits = self.parts[k].condition(reading.date, worker);
                let fits = fits.map_err(|source| self.numerical(reading.date, source))?;
                output.innovations.extend(fits.into_iter().map(|fit| (index, fit)));
                if reading.output {
                    self.put_out(k, reading.date, &mut output.values);
                }
            }
        }
        Ok(output)
    }

    /// Turns the slices of a date into the pseudo-observations of a part.
    fn observe(&self, reading: &Reading, instruments: &[ObservationModel], part: &Part, k: usize, worker: &mut Worker) {
        worker.observations.clear();
        let n = self.support.n();
        let mut channels: Vec<Channel<'_>> = Vec::with_capacity(part.components.len());
        for (index, slice) in &reading.slices {
            let (instrument, bands) = (&instruments[*index], &part.bands[*index]);
            if bands.rows.is_empty() {
                continue;
            }
            worker.observations.begin_group(*index);
            for (at, footprint) in self.support.pixels(*index) {
                let pixel = (at.0 - slice.region.rows.start, at.1 - slice.region.cols.start);
                let pixel = slice.values.slice(s![.., pixel.0, pixel.1]);
                if instrument.missing == Missing::Pixel && pixel.iter().any(|value| value.is_nan()) {
                    continue;
                }
                worker.values.clear();
                worker.values.extend(bands.rows.iter().map(|&band| pixel[band]));
                channels.clear();
                channels.extend((0..part.components.len()).map(|j| Channel { offset: j * n, ..footprint }));
                let cache = &mut worker.caches[k];
                worker.observations.push_pixel(&bands.model, &channels, &worker.values, cache);
            }
        }
    }

    /// Appends mean and variance of every out cell of a part, predicted to `date` without touching the state.
    fn put_out(&self, k: usize, date: Date, values: &mut Vec<(f64, f64)>) {
        let PartState { dynamics, state, date: last, silent } = &self.parts[k];
        let dt_days = f64::from(date.days_since(*last));
        for first in (0..state.n()).step_by(self.support.n()) {
            for cell in &self.out {
                if silent[cell.state] {
                    values.push((f64::NAN, f64::NAN));
                    continue;
                }
                let i = first + cell.state;
                let mean = state.predicted_mean(dynamics, i, dt_days);
                let variance = state.predicted_cov(dynamics, i, i, dt_days);
                values.push((mean, variance));
            }
        }
    }

    fn numerical(&self, date: Date, source: NumericalError) -> Error {
        let (row, col) = self.support.own_cells().first().copied().unwrap_or_default();
        Error::Numerical { row: row as usize, col: col as usize, date, source }
    }
}

impl PartState {
    /// Predicts to `date` and updates with the worker's observations. Days without observations cost nothing: they are part
    /// of the next prediction.
    fn condition(&mut self, date: Date, worker: &mut Worker) -> Result<Vec<Innovation>, NumericalError> {
        if worker.observations.is_empty() {
            return Ok(Vec::new());
        }
        self.state.predict(&self.dynamics, f64::from(date.days_since(self.date)));
        self.date = date;
        self.state.update(&worker.observations, &mut worker.workspace)
    }
}
