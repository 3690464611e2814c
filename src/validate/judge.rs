//! Scores of predictions against withheld values.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::baselines::Baselines;
use super::mask::WithheldKind;
use super::predictor::PredictionKind;
use super::report::{ALL_BANDS, DaysSince, InstrumentValidation, ScoreRow, ValidationReport};
use super::source::WithholdingSource;
use crate::engine::{Fusion, Prediction, Reading};
use crate::error::Result;
use crate::geometry::{Date, Rect};
use crate::model::ObservationModel;
use crate::series::{FusedBlock, ScoreSums};
use crate::source::RasterSource;
use crate::spectral::pair;

/// Upper bounds of the intervals of days since the latest observation; each interval is scored separately.
const DAYS: [u32; 5] = [4, 8, 16, 32, 64];

/// Compares predictions with withheld values, in sums that do not grow with the number of values.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    fusion: &'a Fusion,
    sources: &'a [Arc<WithholdingSource>],
    /// How the output is scored, if it is.
    output_estimate: Option<PredictionKind>,
    /// One entry for each instrument.
    sums: Vec<InstrumentSums>,
    /// Sum and number of the noise factors of withheld values, by date, instrument and band, until the output of the
    /// date has been scored.
    inflation: BTreeMap<(Date, usize, usize), (f64, f64)>,
    baselines: Option<Baselines<'a>>,
}

#[derive(Clone, Debug, Default)]
struct InstrumentSums {
    by_band: BTreeMap<(PredictionKind, usize, WithheldKind), ScoreSums>,
    /// Of filtered predictions, by position among [`DAYS`]; one more position beyond the last, and one for pixels
    /// without an earlier observation.
    by_days: BTreeMap<usize, ScoreSums>,
}

impl<'a> Judge<'a> {
    /// `output_estimate`: how output blocks are scored, where they are.
    pub(super) fn new(
        fusion: &'a Fusion,
        sources: &'a [Arc<WithholdingSource>],
        output_estimate: Option<PredictionKind>,
        baselines: Option<Baselines<'a>>,
    ) -> Self {
        Self {
            fusion,
            sources,
            output_estimate,
            sums: vec![InstrumentSums::default(); sources.len()],
            inflation: BTreeMap::new(),
            baselines,
        }
    }

    /// Adds what a batch of dates made of withheld values: what was read for it, the predictions of windows, and the
    /// blocks that are output; `ended` where no other batch of the tile follows.
    pub(super) fn batch(
        &mut self,
        readings: &[Reading],
        predictions: &[Prediction],
        blocks: &[FusedBlock],
        ended: bool,
    ) -> Result<()> {
        if let Some(baselines) = &mut self.baselines {
            baselines.read(readings);
            baselines.filtered(predictions);
        }
        self.filtered(predictions);
        blocks.iter().try_for_each(|block| self.block(block))?;
        if let Some(baselines) = &mut self.baselines {
            baselines.settle(ended);
        }
        Ok(())
    }

    /// Adds the predictions of windows.
    fn filtered(&mut self, predictions: &[Prediction]) {
        for prediction in predictions {
            let Prediction { date, instrument, band, value, mean, variance, noise, inflation, days_since, .. } =
                *prediction;
            let Some(kind) = self.sources[instrument].mask().kind(date) else { continue };
            let days = days_since.map_or(DAYS.len() + 1, |days| DAYS.partition_point(|longest| *longest < days));
            let sums = &mut self.sums[instrument];
            let of_band = sums.by_band.entry((PredictionKind::Filtered, band, kind)).or_default();
            for sums in [of_band, sums.by_days.entry(days).or_default()] {
                sums.add(value, (mean, variance.sqrt()), inflation * noise);
            }
            if self.output_estimate.is_some() && self.fusion.instruments()[instrument].inflate {
                let (sum, count) = self.inflation.entry((date, instrument, band)).or_default();
                (*sum, *count) = (*sum + inflation, *count + 1.0);
            }
        }
    }

    /// Adds an output block: its values at withheld pixels that are cells.
    fn block(&mut self, block: &FusedBlock) -> Result<()> {
        let Some(estimate) = self.output_estimate else { return Ok(()) };
        let components = self.fusion.basis().is_some();
        for (k, source) in self.sources.iter().enumerate() {
            let model = &self.fusion.instruments()[k];
            let Some(kind) = source.mask().kind(block.date) else { continue };
            let Some(first) = model.lattice.first_of_single_cells() else { continue };
            let pixels = model.lattice.covering(&Rect::from(&block.region));
            if pixels.is_empty() {
                continue;
            }
            let slice = source.read(block.date, &model.source_bands, &pixels)?;
            let Some(withheld) = &slice.withheld else { continue };
            for ((band, row, col), &value) in withheld.indexed_iter().filter(|(_, value)| !value.is_nan()) {
                let cell = |pixel: usize, first: i64, start: usize| (pixel as i64 + first - start as i64) as usize;
                let row_in = cell(pixels.rows.start + row, first.0, block.region.rows.start);
                let col_in = cell(pixels.cols.start + col, first.1, block.region.cols.start);
                let mean = |j: usize| block.mean[(j, row_in, col_in)];
                let cov = |j: usize, l: usize| match (components, j == l) {
                    (true, _) => block.uncertainty[(pair(j.max(l), j.min(l)), row_in, col_in)],
                    (false, true) => block.uncertainty[(j, row_in, col_in)].powi(2),
                    // Without a basis, components are independent.
                    (false, false) => 0.0,
                };
                let own = slice.noise_variance.as_ref().map_or(f64::NAN, |noise| noise[(band, row, col)]);
                let noise = if own > 0.0 && own.is_finite() { own } else { model.usual_noise(band) };
                // Windows do not output the noise that they learn. The mean over their predictions of the date stands
                // for it.
                let learned = self.inflation.get(&(block.date, k, band)).map_or(1.0, |(sum, count)| sum / count);
                let sums = self.sums[k].by_band.entry((estimate, band, kind)).or_default();
                let predicted = model.observation_of(band, mean, cov);
                sums.add(value, predicted, learned * noise);
                if let Some(baselines) = &mut self.baselines {
                    let pixel = (pixels.rows.start + row, pixels.cols.start + col);
                    baselines.output(k, block.date, (band, pixel), predicted.0 - value);
                }
            }
        }
        if let Some(baselines) = &mut self.baselines {
            baselines.shown(block.date);
        }
        self.inflation.retain(|(date, ..), _| *date > block.date);
        Ok(())
    }

    pub(super) fn report(self, seed: u64, lag: usize) -> ValidationReport {
        let (sd_factor, bands) = (self.sd_factor(), self.fusion.bands());
        let instruments = self.fusion.instruments().iter().zip(self.sources).zip(&self.sums);
        let instruments = instruments.enumerate().map(|(k, ((model, source), sums))| InstrumentValidation {
            name: model.name.clone(),
            whole_dates: source.mask().full_dates().to_vec(),
            share: source.mask().blocks().map_or(0.0, |(share, _)| share),
            block: source.mask().blocks().map(|(_, block)| block),
            scores: sums.rows(model, bands, self.fusion.basis().is_some()),
            baselines: self
                .baselines
                .as_ref()
                .map_or_else(Vec::new, |baselines| baselines.comparisons(k, ALL_BANDS, |band| band_name(model, band))),
            coarse: self.baselines.as_ref().and_then(|baselines| baselines.coarse_name(k)).map(Into::into),
        });
        ValidationReport { seed, lag, bands: bands.to_vec(), instruments: instruments.collect(), sd_factor }
    }

    /// The factor of each target band, from instruments whose pixels are cells and whose bands are target bands.
    fn sd_factor(&self) -> Option<Vec<f64>> {
        if self.fusion.basis().is_some() {
            return None;
        }
        let final_estimate = self.output_estimate.unwrap_or(PredictionKind::Filtered);
        let mut of_target = vec![ScoreSums::default(); self.fusion.bands().len()];
        for (model, sums) in self.fusion.instruments().iter().zip(&self.sums) {
            if model.lattice.first_of_single_cells().is_none() {
                continue;
            }
            // The output does not include offsets, so it predicts such an instrument less well than the windows do.
            let wanted = if model.offset_layers.is_empty() { final_estimate } else { PredictionKind::Filtered };
            for ((estimate, band, _), sums) in &sums.by_band {
                if let Some(target) = model.component_of(*band).filter(|_| *estimate == wanted) {
                    of_target[target].merge(sums);
                }
            }
        }
        of_target.into_iter().map(|sums| sums.score("").sd_factor).collect()
    }
}

/// Name of a band read, as its source has it.
fn band_name(model: &ObservationModel, band: usize) -> String {
    model.source.bands()[model.source_bands[band]].clone()
}

impl InstrumentSums {
    /// The most general rows first.
    fn rows(&self, model: &ObservationModel, target_bands: &[String], basis: bool) -> Vec<ScoreRow> {
        let name = |band: usize| band_name(model, band);
        let target = |band: usize| {
            let target = &target_bands[model.component_of(band).filter(|_| !basis)?];
            (*target != name(band)).then(|| target.clone())
        };
        let mut rows = Vec::new();
        for estimate in [PredictionKind::Smoothed, PredictionKind::Filtered] {
            let of_estimate = || self.by_band.iter().filter(move |((other, ..), _)| *other == estimate);
            let mut push_row = |kind: Option<WithheldKind>, band: Option<usize>| {
                let chosen = of_estimate().filter(|((_, of_band, of_kind), _)| {
                    band.is_none_or(|b| b == *of_band) && kind.is_none_or(|k| k == *of_kind)
                });
                let mut sums = ScoreSums::default();
                chosen.for_each(|(_, chosen)| sums.merge(chosen));
                if !sums.is_empty() {
                    let score = sums.score(band.map_or_else(|| ALL_BANDS.into(), name));
                    rows.push(ScoreRow { estimate, kind, days_since: None, target_band: band.and_then(target), score });
                }
            };
            let kinds = [None, Some(WithheldKind::Block), Some(WithheldKind::Date)];
            kinds.into_iter().for_each(|kind| push_row(kind, None));
            // A single band adds nothing to all bands.
            for band in (0..model.source_bands.len()).filter(|_| model.source_bands.len() > 1) {
                kinds.into_iter().for_each(|kind| push_row(kind, Some(band)));
            }
        }
        for (&bin, sums) in &self.by_days {
            let first = bin.checked_sub(1).map_or(0, |before| DAYS[before.min(DAYS.len() - 1)] + 1);
            let days = match DAYS.get(bin) {
                Some(&last) => DaysSince::Between(first, last),
                None if bin == DAYS.len() => DaysSince::AtLeast(first),
                None => DaysSince::Never,
            };
            let score = sums.score(ALL_BANDS);
            let estimate = PredictionKind::Filtered;
            rows.push(ScoreRow { estimate, kind: None, days_since: Some(days), target_band: None, score });
        }
        rows
    }
}
