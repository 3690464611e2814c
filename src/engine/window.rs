//! One window: its states, its scratch memory, and its results for a batch.

mod earlier;
mod first;
mod part;
mod scale;
#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use ndarray::{Array3, ArrayView1, s};

use super::carried::Scratch;
use super::refusals::Refusals;
use crate::describe::Missing;
use crate::error::{Error, Result};
use crate::filter::{Channel, CompressionCache, Innovation, NumericalError, Observations, Squares};
use crate::geometry::Date;
use crate::model::{Effect, ObservationModel, Part, PartBands, Pixel, PixelTerms, Support, Together, TogetherBands};
use crate::source::Slice;

use earlier::Earlier;
pub(super) use first::FirstStates;
pub(super) use part::PartState;
pub(super) use scale::BandScale;
pub(super) use waiting::Waiting;

/// The state of one window as it moves through time.
#[derive(Debug)]
pub(super) struct WindowState {
    pub(super) support: Arc<Support>,
    /// In the order of the fusion's parts.
    pub(super) parts: Vec<PartState>,
    /// Own cells inside the tile.
    pub(super) out: Vec<OutCell>,
    /// Where offsets are output: for each instrument the pixel that contains each own cell; `None` for instruments
    /// without offset layers.
    pub(super) offset_pixels: Vec<Option<Vec<Option<u32>>>>,
    /// Whether its diagnostics count in this tile; a window that straddles tiles counts in one.
    pub(super) counts: bool,
    /// Whether it has left float32 for float64.
    pub(super) widened: bool,
    /// Whether its arithmetic broke down: it outputs nothing any more, and its cells are NaN.
    pub(super) failed: bool,
    /// Its results for the latest batch.
    pub(super) output: WindowOutput,
    /// Where observations are withheld: the latest date on which each pixel of each instrument held a value.
    pub(super) last_observed: Vec<Vec<Option<Date>>>,
    /// What gates have refused of late.
    pub(super) refusals: Refusals,
}

/// A cell that the tile outputs.
#[derive(Clone, Copy, Debug)]
pub(super) struct OutCell {
    /// Spatial state.
    pub(super) state: usize,
    /// Row in the tile.
    pub(super) row: usize,
    /// Column in the tile.
    pub(super) col: usize,
}

/// Scratch memory of one worker, reused for every batch.
#[derive(Debug, Default)]
pub(super) struct Worker {
    carried: Scratch,
    parts: Vec<PartScratch>,
    /// Pixels of the date that hold a value.
    pixels: Vec<ObservedPixel>,
    values: Vec<f64>,
    part_values: Vec<f64>,
    /// Noise of a pixel that has its own, of all bands and of a part's.
    noise: Vec<f64>,
    part_noise: Vec<f64>,
    /// What a pixel consists of beyond its footprint.
    terms: PixelTerms,
    /// Of each instrument the pixels of the date that lack a band of bands together.
    incomplete: Vec<u64>,
}

/// The observations of a date for one part.
#[derive(Debug, Default)]
struct PartScratch {
    observations: Observations,
    cache: CompressionCache,
    /// Position of each observed pixel among the date's pixels.
    positions: Vec<u32>,
    /// Probes of withheld values.
    probes: Observations,
    probed: Vec<Probe>,
}

/// What a pixel holds on a date.
struct OfPixel<'a> {
    pixel: Pixel<'a>,
    /// Of all bands, as the two below.
    values: &'a [f64],
    /// Its own noise variances; empty or NaN where it has none.
    noise: &'a [f64],
    /// Where the pixel is to be predicted, the values that are withheld.
    withheld: Option<ArrayView1<'a, f64>>,
}

impl PartScratch {
    /// Adds the values of a pixel in a part's bands, and probes of those withheld; says whether there are values.
    fn push<'c, C: IntoIterator<Item = Channel<'c>>>(
        &mut self,
        instrument: usize,
        bands: &PartBands,
        channel: impl Fn(usize) -> C + Copy,
        of: &OfPixel<'_>,
        values: &mut Vec<f64>,
        noise: &mut Vec<f64>,
    ) -> bool {
        let Self { observations, cache, probes, probed, .. } = self;
        let usual = bands.model.noise_variances();
        if let Some(withheld) = of.withheld {
            for (k, &band) in bands.rows.iter().enumerate() {
                let value = withheld[band];
                if !value.is_nan() {
                    let at = probes.pixels();
                    probes.push_probe(&bands.model, k, channel, cache);
                    let noise = known_noise(of.noise.get(band).copied().unwrap_or(f64::NAN), usual[k]);
                    probed.push(Probe { at, instrument, pixel: of.pixel.index, band: k, value, noise });
                }
            }
        }
        values.clear();
        values.extend(bands.rows.iter().map(|&band| of.values[band]));
        if of.noise.iter().all(|noise| noise.is_nan()) {
            return observations.push_pixel(&bands.model, channel, values, cache);
        }
        noise.clear();
        noise.extend(bands.rows.iter().zip(usual).map(|(&band, &usual)| known_noise(of.noise[band], usual)));
        observations.push_noisy_pixel(&bands.model, channel, values, noise)
    }

    /// The same of bands that share one covariance: a pixel that lacks one of them lacks all.
    fn push_together<'c, C: IntoIterator<Item = Channel<'c>>>(
        &mut self,
        instrument: usize,
        together: &Together,
        channel: impl Fn(usize) -> C,
        of: &OfPixel<'_>,
        values: &mut Vec<f64>,
    ) -> bool {
        let Self { observations, probes, probed, .. } = self;
        let TogetherBands { rows, offsets, noise } = &together.bands[instrument];
        // The offsets of a pixel are those of its one band with states.
        let pieces = || channel(0).into_iter().chain(channel(1));
        if let Some(withheld) = of.withheld.filter(|withheld| rows.iter().any(|&row| !withheld[row].is_nan())) {
            let at = probes.pixels();
            probes.push_together_probe(pieces());
            for (band, (&row, &usual)) in
                rows.iter().zip(noise).enumerate().filter(|(_, (row, _))| !withheld[**row].is_nan())
            {
                let noise = known_noise(of.noise.get(row).copied().unwrap_or(f64::NAN), usual);
                probed.push(Probe { at, instrument, pixel: of.pixel.index, band, value: withheld[row], noise });
            }
        }
        if rows.iter().any(|&row| of.values[row].is_nan()) {
            return false;
        }
        values.clear();
        values.extend(rows.iter().zip(offsets).map(|(&row, offset)| of.values[row] - offset));
        together.whiten(values);
        values.extend(together.effects.iter().map(|effect| f64::from(u8::from(*effect == Effect::Bias(instrument)))));
        let noise = together.noise(instrument, of.noise);
        observations.push_together(noise, 2.0 * together.log_det(), pieces(), values);
        true
    }
}

/// A withheld value.
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// Position of what predicts it among the probes.
    at: usize,
    instrument: usize,
    /// Pixel of the window.
    pixel: usize,
    /// Position of the band in the part.
    band: usize,
    value: f64,
    noise: f64,
}

/// A pixel that a window observes on a date.
#[derive(Clone, Copy, Debug)]
struct ObservedPixel {
    instrument: usize,
    /// Whether this is the one window that counts the pixel.
    home: bool,
    /// Normalised innovation squared and its degrees of freedom, of instruments that are gated or robust.
    nis: f64,
    dof: usize,
    refused: bool,
    /// Among the pixels of its instrument that observe the window.
    index: usize,
}

impl Worker {
    pub(super) fn new(parts: usize) -> Self {
        Self { parts: (0..parts).map(|_| PartScratch::default()).collect(), ..Self::default() }
    }
}

/// A date of a batch with the slices read for it.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) date: Date,
    /// Whether the date is an output date.
    pub(super) output: bool,
    /// (instrument, slice), in the order of the instruments.
    pub(crate) slices: Vec<(usize, Slice)>,
    /// (instrument, reason) of slices that could not be read.
    pub(super) skipped: Vec<(usize, String)>,
}

impl Reading {
    /// The same slices on the days on which they count for some instruments; nothing where they are.
    pub(super) fn counted(readings: &[Self], instruments: &[ObservationModel]) -> Option<Vec<Self>> {
        let slices = || readings.iter().flat_map(|reading| reading.slices.iter().map(|slice| (reading.date, slice)));
        let day = |(instrument, slice): &(usize, Slice)| instruments[*instrument].counts_on(slice.date);
        if slices().all(|(date, slice)| day(slice) == date) {
            return None;
        }
        let mut by_day: BTreeMap<Date, Vec<(usize, Slice)>> = BTreeMap::new();
        slices().for_each(|(_, slice)| by_day.entry(day(slice)).or_default().push(slice.clone()));
        let reading = |(date, mut slices): (Date, Vec<(usize, Slice)>)| {
            slices.sort_by_key(|(instrument, _)| *instrument);
            Self { date, output: false, slices, skipped: Vec::new() }
        };
        Some(by_day.into_iter().map(reading).collect())
    }

    /// The same, with all values of some instruments withheld.
    pub(super) fn withholding(&self, of: impl Fn(usize) -> bool) -> Self {
        let slice = |(instrument, slice): &(usize, Slice)| {
            let mut slice = slice.clone();
            if of(*instrument) {
                let nothing = Array3::from_elem(slice.values.dim(), f64::NAN);
                slice.withheld = Some(std::mem::replace(&mut slice.values, nothing));
            }
            (*instrument, slice)
        };
        Self {
            date: self.date,
            output: self.output,
            slices: self.slices.iter().map(slice).collect(),
            skipped: self.skipped.clone(),
        }
    }

    /// Shows what is withheld of the pixels that a window observes and does not count.
    pub(super) fn show_around(&mut self, support: &Support) {
        for (instrument, slice) in &mut self.slices {
            let Some(withheld) = &slice.withheld else { continue };
            for pixel in support.pixels(*instrument).filter(|pixel| !pixel.home) {
                let at = s![.., pixel.at.0 - slice.region.rows.start, pixel.at.1 - slice.region.cols.start];
                slice.values.slice_mut(at).assign(&withheld.slice(at));
            }
        }
    }
}

/// The results of a window for a batch. Their memory is reused for the next batch.
#[derive(Debug, Default)]
pub(super) struct WindowOutput {
    /// For each output date, for each part, the means of its components and the covariances of their pairs, each for
    /// every output cell. When the window has failed, dates are missing at the end.
    pub(super) values: Vec<f64>,
    /// (date of the batch, fit of an instrument).
    pub(super) innovations: Vec<(usize, Innovation)>,
    /// (date of the batch, pixels of an instrument).
    pub(super) pixels: Vec<(usize, PixelCount)>,
    /// Predictions of withheld values.
    pub(super) predictions: Vec<Prediction>,
    /// Whether squares of innovations are wanted.
    pub(super) gathers_squares: bool,
    /// Those of bands that share a covariance, all instruments and dates of the batch.
    pub(super) squares: SquareSum,
}

/// Squares of whitened innovations, summed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SquareSum {
    /// Of each pair of columns, the lower triangle row by row.
    pub(crate) products: Vec<f64>,
    /// Logarithms of the innovations' standard deviations.
    pub(crate) log_pivots: f64,
    /// Innovations.
    pub(crate) rows: usize,
}

impl AddAssign<&Self> for SquareSum {
    fn add_assign(&mut self, other: &Self) {
        let Self { products, log_pivots, rows } = other;
        self.add(Squares { products, log_pivots: *log_pivots, rows: *rows });
    }
}

impl SquareSum {
    fn add(&mut self, squares: Squares<'_>) {
        if self.products.is_empty() {
            self.products.resize(squares.products.len(), 0.0);
        }
        self.products.iter_mut().zip(squares.products).for_each(|(sum, square)| *sum += square);
        self.log_pivots += squares.log_pivots;
        self.rows += squares.rows;
    }

    fn clear(&mut self) {
        self.products.clear();
        (self.log_pivots, self.rows) = (0.0, 0);
    }
}

/// A withheld value and its prediction by the state, which is conditioned on all observations up to its date that were
/// not withheld.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prediction {
    pub(crate) date: Date,
    pub(crate) instrument: usize,
    /// Among the bands read.
    pub(crate) band: usize,
    /// (row, column) on the instrument's grid.
    pub(crate) pixel: (usize, usize),
    pub(crate) value: f64,
    /// Mean and variance of the instrument's value, in u, without noise.
    pub(crate) mean: f64,
    pub(crate) variance: f64,
    /// Stated variance of its noise, and the learned factor on it.
    pub(crate) noise: f64,
    pub(crate) inflation: f64,
    /// Days since the pixel last held a value that was not withheld.
    pub(crate) days_since: Option<u32>,
}

/// The numbers of an instrument's pixels that a window counts: those observed, those of them that it refused, and
/// those that it could not use.
#[derive(Clone, Copy, Debug)]
pub(super) struct PixelCount {
    pub(super) instrument: usize,
    pub(super) observed: u64,
    pub(super) refused: u64,
    /// Pixels that lack a band of a group of bands together, and are missing therefore.
    pub(super) incomplete: u64,
}

impl WindowOutput {
    fn clear(&mut self) {
        self.values.clear();
        self.innovations.clear();
        self.pixels.clear();
        self.predictions.clear();
        self.squares.clear();
    }
}

impl WindowState {
    /// Runs the window through a batch of dates; `last` when no other follows. The results are in `output`.
    pub(super) fn advance(
        &mut self,
        batch: &[Reading],
        last: bool,
        instruments: &[ObservationModel],
        parts: &[Part],
        worker: &mut Worker,
    ) -> Result<()> {
        self.output.clear();
        if self.failed {
            return Ok(());
        }
        for (index, reading) in batch.iter().enumerate() {
            self.observe(reading, instruments, parts, worker);
            if let Err(source) = self.condition(index, reading.date, instruments, worker) {
                self.failed = true;
                return Err(self.numerical(reading.date, source));
            }
            if !self.last_observed.is_empty() {
                self.predict_withheld(reading, parts, worker);
            }
            if reading.output {
                self.output_date(reading, instruments, parts, worker);
            }
        }
        if last {
            // Waiting dates are output as they are, and stay in the state: the series may be extended another day.
            let remembered = self.parts.iter().map(|part| part.state.remembered()).max().unwrap_or(0);
            (0..remembered).for_each(|k| self.output_lagged(k));
        }
        Ok(())
    }

    /// Turns the slices of a date into the pseudo-observations of each part.
    fn observe(&self, reading: &Reading, instruments: &[ObservationModel], parts: &[Part], worker: &mut Worker) {
        let Worker { parts: scratch, pixels, values, part_values, noise, part_noise, terms, incomplete, .. } = worker;
        pixels.clear();
        incomplete.clear();
        incomplete.resize(instruments.len(), 0);
        for part in scratch.iter_mut() {
            part.observations.clear();
            part.positions.clear();
            part.probes.clear();
            part.probed.clear();
        }
        for (part, scratch) in parts.iter().zip(scratch.iter_mut()) {
            if let Some(together) = &part.together {
                scratch.observations.set_columns(together.columns());
                scratch.probes.set_columns(together.columns());
            }
        }
        for &(index, ref slice) in &reading.slices {
            for (part, scratch) in parts.iter().zip(scratch.iter_mut()) {
                if !part.bands[index].rows.is_empty() {
                    scratch.observations.begin_group(index);
                    scratch.probes.begin_group(index);
                }
            }
            let layers = &instruments[index].offset_layers;
            terms.begin(&instruments[index], reading.date, self.support.pixel_count(index));
            for pixel in self.support.pixels(index) {
                let at = (pixel.at.0 - slice.region.rows.start, pixel.at.1 - slice.region.cols.start);
                values.clear();
                values.extend(slice.values.slice(s![.., at.0, at.1]));
                // A pixel is predicted by the one window that counts it.
                let withheld = slice.withheld.as_ref().filter(|_| pixel.home && self.counts);
                if instruments[index].missing == Missing::Pixel && values.iter().any(|value| value.is_nan()) {
                    if withheld.is_none() {
                        continue;
                    }
                    values.fill(f64::NAN);
                }
                noise.clear();
                if let Some(known) = &slice.noise_variance {
                    noise.extend(known.slice(s![.., at.0, at.1]));
                }
                self.support.offsets(index).of_pixel(layers, pixel.index, slice.date, &mut terms.offsets);
                let position = pixels.len() as u32;
                let (mut observed, mut lacks_a_band) = (false, false);
                for ((part, state), scratch) in parts.iter().zip(&self.parts).zip(scratch.iter_mut()) {
                    if part.bands[index].rows.is_empty() {
                        continue;
                    }
                    let of = OfPixel { pixel, values, noise, withheld: withheld.map(|w| w.slice(s![.., at.0, at.1])) };
                    let channel = |j: usize| state.layout.channel(&self.support, (index, pixel), j, terms);
                    let added = match &part.together {
                        Some(together) => scratch.push_together(index, together, channel, &of, part_values),
                        None => scratch.push(index, &part.bands[index], channel, &of, part_values, part_noise),
                    };
                    if added {
                        scratch.positions.push(position);
                        observed = true;
                    } else if part.together.is_some() {
                        lacks_a_band |= part.bands[index].rows.iter().any(|&row| !values[row].is_nan());
                    }
                }
                incomplete[index] += u64::from(lacks_a_band && pixel.home && !observed);
                if observed {
                    let (home, nis, dof, refused) = (pixel.home, 0.0, 0, false);
                    pixels.push(ObservedPixel { instrument: index, home, nis, dof, refused, index: pixel.index });
                }
            }
        }
    }

    /// Predicts to `date`, refuses pixels by the gates of their instruments, and updates with the rest.
    fn condition(
        &mut self,
        index: usize,
        date: Date,
        instruments: &[ObservationModel],
        worker: &mut Worker,
    ) -> Result<(), NumericalError> {
        if instruments.iter().any(|instrument| instrument.inflate) {
            self.inflate(worker);
        }
        if worker.pixels.iter().any(|pixel| instruments[pixel.instrument].checks_pixels()) {
            self.check_pixels(date, instruments, worker)?;
        }
        for pixels in worker.pixels.chunk_by(|a, b| a.instrument == b.instrument) {
            let home = || pixels.iter().filter(|pixel| pixel.home);
            let (observed, refused) = (home().count() as u64, home().filter(|pixel| pixel.refused).count() as u64);
            let instrument = pixels[0].instrument;
            self.output.pixels.push((index, PixelCount { instrument, observed, refused, incomplete: 0 }));
        }
        for (instrument, &incomplete) in worker.incomplete.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.output.pixels.push((index, PixelCount { instrument, observed: 0, refused: 0, incomplete }));
        }
        for k in 0..self.parts.len() {
            let part = &mut self.parts[k];
            // Days without observations need no step of their own: the next prediction covers them.
            if worker.parts[k].observations.is_empty() {
                continue;
            }
            let Worker { carried, parts, .. } = &mut *worker;
            let observations = &parts[k].observations;
            self.widened |= part.prepare(date, observations);
            let (fits, widened) = part.state.update(observations, carried)?;
            self.widened |= widened;
            part.take_factors();
            part.inflation.learn(fits, |instrument| instruments[instrument].inflate, &mut part.dynamics);
            self.output.innovations.extend(fits.iter().map(|fit| (index, *fit)));
            let groups = fits.len();
            let PartState { scale, state, .. } = part;
            let squares = || (0..groups).filter_map(|group| state.squares(group, carried));
            if let Some(scale) = scale {
                scale.pass_to(date);
                squares().for_each(|squares| scale.learn(squares));
            }
            if self.output.gathers_squares {
                squares().for_each(|squares| self.output.squares.add(squares));
            }
        }
        Ok(())
    }

    /// Applies the learned noise factors to all observations.
    fn inflate(&self, worker: &mut Worker) {
        let Worker { parts, pixels, .. } = worker;
        for (part, PartScratch { observations, positions, .. }) in self.parts.iter().zip(parts) {
            for (k, &position) in positions.iter().enumerate() {
                let factor = part.inflation.noise_factor(pixels[position as usize].instrument);
                if factor > 1.0 {
                    observations.scale_noise(k, factor);
                }
            }
        }
    }

    /// Refuses each pixel whose normalised innovation squared, over all its bands, exceeds the gate of its
    /// instrument, and increases the noise of outlying pixels of robust instruments. Pixels are compared with the
    /// prediction only, so the order of instruments and pixels does not matter.
    fn check_pixels(
        &mut self,
        date: Date,
        instruments: &[ObservationModel],
        worker: &mut Worker,
    ) -> Result<(), NumericalError> {
        let Worker { carried, parts, pixels, .. } = worker;
        for (part, scratch) in self.parts.iter_mut().zip(parts.iter()) {
            if !scratch.observations.is_empty() {
                self.widened |= part.prepare(date, &scratch.observations);
            }
            for (k, &position) in scratch.positions.iter().enumerate() {
                let pixel = &mut pixels[position as usize];
                if instruments[pixel.instrument].checks_pixels() {
                    let (nis, dof) = part.state.pixel_nis(&scratch.observations, k, carried)?;
                    pixel.nis += nis;
                    pixel.dof += dof;
                }
            }
        }
        for pixel in pixels.iter_mut() {
            if let Some(gate) = &instruments[pixel.instrument].gate {
                let beyond = pixel.nis > gate.threshold(pixel.dof);
                // What is no number never passes.
                pixel.refused =
                    !pixel.nis.is_finite() || self.refusals.refuses((pixel.instrument, pixel.index), beyond);
            }
        }
        for PartScratch { observations, positions, .. } in parts {
            for (k, &position) in positions.iter().enumerate() {
                let pixel = &pixels[position as usize];
                let weight = instruments[pixel.instrument].weight(pixel.nis, pixel.dof);
                if weight < 1.0 && !pixel.refused {
                    observations.scale_noise(k, weight.recip());
                }
            }
            observations.retain(|k| !pixels[positions[k] as usize].refused);
        }
        Ok(())
    }

    /// Predicts the withheld values, and records the pixels with values.
    fn predict_withheld(&mut self, reading: &Reading, parts: &[Part], worker: &Worker) {
        let day = reading.date;
        let dated = |instrument: usize| {
            reading.slices.iter().find(|(other, _)| *other == instrument).map_or(day, |(_, slice)| slice.date)
        };
        for ((part, state), scratch) in parts.iter().zip(&mut self.parts).zip(&worker.parts) {
            if scratch.probed.is_empty() {
                continue;
            }
            state.predict_to(day);
            let mut means = vec![0.0; part.together.as_ref().map_or(0, |together| together.columns())];
            // What is learned scales noise and all that is a ratio.
            let relatives: Vec<[f64; 2]> = part.together.as_ref().map_or(Vec::new(), |together| {
                let learned = state.relative(together);
                (0..together.components.len())
                    .map(|band| [learned(band, band), together.relative(band, band)])
                    .collect()
            });
            let relative = |band: usize| relatives[band][0];
            for probe in &scratch.probed {
                let (mean, variance) = match &part.together {
                    None => {
                        let (mean, variance) = state.state.predicted_observation(&scratch.probes, probe.at);
                        (part.bands[probe.instrument].model.offsets()[probe.band] + mean, variance)
                    }
                    Some(together) => {
                        let variance = state.state.predicted_together(&scratch.probes, probe.at, &mut means);
                        let offset = together.bands[probe.instrument].offsets[probe.band];
                        let mean = together.value(probe.band, |column| means[column]);
                        (offset + mean, variance * relative(probe.band))
                    }
                };
                let date = dated(probe.instrument);
                self.output.predictions.push(Prediction {
                    date,
                    instrument: probe.instrument,
                    band: part.rows(probe.instrument)[probe.band],
                    pixel: self.support.pixel_at(probe.instrument, probe.pixel),
                    value: probe.value,
                    mean,
                    variance,
                    noise: probe.noise,
                    inflation: state.inflation.noise_factor(probe.instrument)
                        * relatives.get(probe.band).map_or(1.0, |[learned, described]| learned / described),
                    days_since: self.last_observed[probe.instrument][probe.pixel]
                        .map(|observed| date.days_since(observed).unsigned_abs()),
                });
            }
        }
        for &(instrument, ref slice) in &reading.slices {
            for (pixel, observed) in self.support.pixels(instrument).zip(&mut self.last_observed[instrument]) {
                let at = (pixel.at.0 - slice.region.rows.start, pixel.at.1 - slice.region.cols.start);
                if slice.values.slice(s![.., at.0, at.1]).iter().any(|value| !value.is_nan()) {
                    *observed = Some(slice.date);
                }
            }
        }
    }

    /// Appends means and covariances of every output cell on a date of the output axis, or, with a lag, on the date
    /// that has waited for it.
    fn output_date(
        &mut self,
        reading: &Reading,
        instruments: &[ObservationModel],
        parts: &[Part],
        worker: &mut Worker,
    ) {
        let date = reading.date;
        if self.parts.iter().all(|part| part.state.lag() == 0) {
            for part in &mut self.parts {
                part.append_output(date, &self.support, &self.out, &mut self.output.values);
            }
            self.output_offsets(reading, instruments, parts, &mut worker.terms.offsets);
            return;
        }
        if self.parts.iter().all(|part| part.state.remembered() == part.state.lag()) {
            self.output_lagged(0);
        }
        for part in &mut self.parts {
            part.predict_to(date);
            part.state.remember();
        }
    }

    /// Appends means and variances of the offsets of each output cell, part by part, instrument by instrument, band by
    /// band; NaN where one of the instrument's layers has no offset on the date.
    fn output_offsets(
        &mut self,
        reading: &Reading,
        instruments: &[ObservationModel],
        parts: &[Part],
        states: &mut Vec<u32>,
    ) {
        let date = reading.date;
        for (part, known) in parts.iter().zip(&self.parts) {
            let dt_days = f64::from(date.days_since(known.date));
            for (k, pixels) in self.offset_pixels.iter().enumerate() {
                let (Some(pixels), layers) = (pixels, &instruments[k].offset_layers) else { continue };
                let acquired = reading.slices.iter().any(|(instrument, _)| *instrument == k);
                // Offsets are those of files by their dates, also where values count later.
                let dated = instruments[k].dated(date);
                let complete = layers.iter().all(|layer| layer.exists_on(dated, acquired));
                for band in 0..part.rows(k).len() {
                    let mut append = |value_of: &dyn Fn(&[u32]) -> f64| {
                        for cell in &self.out {
                            let pixel = pixels[cell.state].filter(|_| complete && !known.uninformed[cell.state]);
                            let value = pixel.map_or(f64::NAN, |pixel| {
                                self.support.offsets(k).of_pixel(layers, pixel as usize, dated, states);
                                value_of(states)
                            });
                            self.output.values.push(value);
                        }
                    };
                    append(&|states| known.offset_mean((k, band), states, dt_days));
                    append(&|states| known.offset_variance((k, band), states, dt_days));
                }
            }
        }
    }

    /// Appends means and covariances on the `k`-th stored date, counted from the oldest, given all observations since.
    fn output_lagged(&mut self, k: usize) {
        for part in &self.parts {
            if let Some(lagged) = part.state.lagged_at(k) {
                part.output_lagged(&lagged, &self.out, &mut self.output.values);
            }
        }
    }

    /// First cell of the window (row, column).
    pub(super) fn first_cell(&self) -> (usize, usize) {
        let (row, col) = self.support.own_cells().first().copied().unwrap_or_default();
        (row as usize, col as usize)
    }

    fn numerical(&self, date: Date, source: NumericalError) -> Error {
        let (row, col) = self.first_cell();
        Error::Numerical { file: None, row, col, date, source }
    }
}

/// The noise variance that applies: the pixel's own where it is valid, otherwise that of the instrument.
fn known_noise(own: f64, usual: f64) -> f64 {
    if own > 0.0 && own.is_finite() { own } else { usual }
}
