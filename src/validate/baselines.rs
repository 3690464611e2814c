//! Baselines: what predicts withheld values without a fusion, on exactly the values that the fusion predicts.
//!
//! They follow the fusion tile by tile: of every pixel the latest clear value is kept, and withheld values until their
//! next clear value has come. Memory is that of a tile, and does not grow with the series.

mod evidence;
mod history;
mod residuals;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::history::{History, NOWHERE, Withheld};
use self::residuals::Residuals;
use self::tally::{OUTPUT, PREDICTIONS, Tally, WINDOW};
use super::comparison::Comparison;
use super::mask::WithheldKind;
use super::predictor::PredictionKind;
use super::source::WithholdingSource;
use crate::engine::{Fusion, Prediction, Progress, Reading};
use crate::error::Result;
use crate::geometry::{Date, Grid, PixelRegion};
use crate::model::{ObservationModel, OffsetModel};
use crate::source::{RasterSource, Slice};
use evidence::FARTHEST_DAYS;

/// Pixels are coarser from this factor on their area.
const COARSER: f64 = 1.5;

/// Follows a fusion and compares it with the baselines.
#[derive(Debug)]
pub(super) struct Baselines<'a> {
    fusion: &'a Fusion,
    sources: &'a [Arc<WithholdingSource>],
    /// How the output is scored, if it is.
    output: Option<PredictionKind>,
    residuals: Vec<Residuals>,
    coarse: Vec<Option<Coarse>>,
    /// Instruments of which something is withheld, and coarser ones, those of the largest pixels first.
    order: Vec<usize>,
    /// Of the instruments in the tile under way.
    histories: Vec<Option<History>>,
    /// The latest date that was read of the tile, and the latest that was output.
    read: Option<Date>,
    shown: Option<Date>,
    tallies: Vec<Tally>,
}

/// The coarser instrument of an instrument.
#[derive(Clone, Debug)]
struct Coarse {
    instrument: usize,
    /// Its band, for each band of the finer one.
    bands: Vec<Option<usize>>,
}

impl<'a> Baselines<'a> {
    /// Reads the instruments once, for the residuals of their dates. `output`: how output blocks are scored.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn new(
        fusion: &'a Fusion,
        sources: &'a [Arc<WithholdingSource>],
        output: Option<PredictionKind>,
        progress: impl FnMut(&Progress),
    ) -> Result<Self> {
        let models = fusion.instruments();
        let coarse: Vec<Option<Coarse>> = (0..models.len()).map(|k| Coarse::of(fusion, k)).collect();
        let withholds = |k: usize| sources[k].mask().dates().next().is_some();
        let used = |k: usize| {
            let mut finer = (0..models.len()).filter(|&finer| withholds(finer));
            withholds(k) || finer.any(|finer| coarse[finer].as_ref().is_some_and(|coarse| coarse.instrument == k))
        };
        let mut order: Vec<usize> = (0..models.len()).filter(|&k| used(k)).collect();
        order.sort_by(|&a, &b| area(&models[b]).total_cmp(&area(&models[a])));
        Ok(Self {
            fusion,
            sources,
            output,
            residuals: Residuals::of_all(fusion, sources, progress)?,
            coarse,
            order,
            histories: models.iter().map(|_| None).collect(),
            read: None,
            shown: None,
            tallies: vec![Tally::default(); models.len()],
        })
    }

    /// Learns what was read for a batch of dates.
    pub(super) fn read(&mut self, readings: &[Reading]) {
        for Reading { date, slices, .. } in readings {
            // A finer instrument looks up what a coarser one has seen on the same date.
            for &k in &self.order.clone() {
                if let Some((_, slice)) = slices.iter().find(|(instrument, _)| *instrument == k) {
                    self.read_slice(k, slice);
                }
            }
            self.read = Some(*date);
        }
    }

    fn read_slice(&mut self, k: usize, slice: &Slice) {
        let coarse = self.coarse[k].as_ref().map(|coarse| coarse.instrument);
        let mut history = self.histories[k].take().unwrap_or_else(|| History::new(slice, coarse.is_some()));
        self.find_places(k, &mut history);
        let coarse = coarse.and_then(|coarse| self.histories[coarse].as_ref());
        history.learn(slice, coarse);
        if let Some(kind) = self.sources[k].mask().kind(slice.date) {
            history.withhold(slice, kind, coarse);
        }
        for finer in 0..self.coarse.len() {
            if self.coarse[finer].as_ref().is_none_or(|coarse| coarse.instrument != k) {
                continue;
            }
            if let Some(mut fine) = self.histories[finer].take() {
                if fine.places.is_empty() {
                    fine.places = self.places(finer, &fine.region, &history.region);
                }
                fine.learn_coarse(&history, slice.date.days_since_epoch());
                self.histories[finer] = Some(fine);
            }
        }
        self.histories[k] = Some(history);
    }

    /// Looks the places of pixels up, once the coarser instrument has been read.
    fn find_places(&self, k: usize, history: &mut History) {
        let coarse = self.coarse[k].as_ref().and_then(|coarse| self.histories[coarse.instrument].as_ref());
        if let Some(coarse) = coarse.filter(|_| history.places.is_empty()) {
            history.places = self.places(k, &history.region, &coarse.region);
        }
    }

    /// For each value of `region` of an instrument, the position of the coarser instrument's value in its `within`.
    fn places(&self, k: usize, region: &PixelRegion, within: &PixelRegion) -> Vec<u32> {
        let Some(coarse) = &self.coarse[k] else { return Vec::new() };
        let (own, other) = (self.sources[k].grid(), self.sources[coarse.instrument].grid());
        let (rows, cols) = lines(own, other, region);
        let inside = |line: i64, range: &std::ops::Range<usize>| {
            usize::try_from(line).ok().filter(|line| range.contains(line)).map(|line| line - range.start)
        };
        let (height, width) = within.shape();
        let place = |band: Option<usize>, row: i64, col: i64| {
            let (row, col) = (inside(row, &within.rows)?, inside(col, &within.cols)?);
            Some(((band? * height + row) * width + col) as u32)
        };
        let pixels = || rows.iter().flat_map(|&row| cols.iter().map(move |&col| (row, col)));
        let of_band = |&band: &Option<usize>| pixels().map(move |(row, col)| place(band, row, col).unwrap_or(NOWHERE));
        coarse.bands.iter().flat_map(of_band).collect()
    }

    /// Adds the predictions of windows.
    pub(super) fn filtered(&mut self, predictions: &[Prediction]) {
        for &Prediction { date, instrument, band, pixel, value, mean, .. } in predictions {
            if let Some(withheld) = self.waiting_at(instrument, date, band, pixel) {
                withheld.window_error = mean - value;
            }
        }
    }

    /// Adds the error of an output value.
    pub(super) fn output(&mut self, instrument: usize, date: Date, (band, pixel): (usize, (usize, usize)), error: f64) {
        if let Some(withheld) = self.waiting_at(instrument, date, band, pixel) {
            withheld.output_error = error;
        }
    }

    fn waiting_at(&mut self, k: usize, date: Date, band: usize, pixel: (usize, usize)) -> Option<&mut Withheld> {
        self.histories[k].as_mut()?.waiting_at(date, band, pixel)
    }

    /// Notes that the tile has been output up to a date.
    pub(super) fn shown(&mut self, date: Date) {
        self.shown = Some(date);
    }

    /// Scores the withheld values that all is known of: all of them where the tile has ended.
    pub(super) fn settle(&mut self, ended: bool) {
        let Some(now) = self.read else { return };
        let (windows, shown) = (!self.fusion.lag_and_independence().1, self.shown);
        for k in 0..self.histories.len() {
            let Some(mut history) = self.histories[k].take() else { continue };
            let cells = self.fusion.instruments()[k].lattice.first_of_single_cells().is_some();
            let mut waiting = std::mem::take(&mut history.waiting);
            for of_date in &mut waiting {
                let (date, kind) = (of_date.date, of_date.kind);
                let output_due = cells && self.output.is_some() && shown.is_none_or(|shown| shown < date);
                let more = !ended && self.may_follow(k, date, now);
                of_date.values.retain(|withheld| {
                    if windows && withheld.window_error.is_nan() {
                        // Another tile counts the pixel. Its output may still be of this tile, if windows straddle
                        // tiles: such values have no smoothed prediction, and the comparison says how many it is of.
                        return false;
                    }
                    let waits = output_due || !withheld.is_settled(now.days_since_epoch(), more);
                    if waits && !ended {
                        return true;
                    }
                    let band = history.band(withheld.at);
                    let evidence = withheld.evidence(date.days_since_epoch(), self.residuals[k].mean(date, band));
                    let mut errors = [f64::NAN; PREDICTIONS];
                    (errors[WINDOW], errors[OUTPUT]) = (withheld.window_error, withheld.output_error);
                    for (error, prediction) in errors[OUTPUT + 1..].iter_mut().zip(evidence.predictions()) {
                        *error = prediction - withheld.value;
                    }
                    self.tallies[k].add(kind, band, errors);
                    false
                });
                of_date.values.shrink_to_fit();
            }
            waiting.retain(|of_date| !of_date.values.is_empty());
            history.waiting = waiting;
            self.histories[k] = Some(history).filter(|_| !ended);
        }
        if ended {
            (self.read, self.shown) = (None, None);
        }
    }

    /// Whether a clear value may come after `now`, near enough to `date`.
    fn may_follow(&self, k: usize, date: Date, now: Date) -> bool {
        let source = &self.sources[k];
        let follows = &source.dates()[source.dates().partition_point(|other| *other <= now)..];
        let last = self.fusion.period().end().min(date + FARTHEST_DAYS);
        let mut near = follows.iter().take_while(|other| **other <= last);
        near.any(|other| source.mask().kind(*other) != Some(WithheldKind::Date))
    }

    /// The comparisons of an instrument, over all bands, then by band; `name` names a band.
    pub(super) fn comparisons(&self, k: usize, all: &str, name: impl Fn(usize) -> String) -> Vec<Comparison> {
        let (tally, model) = (&self.tallies[k], &self.fusion.instruments()[k]);
        // The output does not include offsets. Where they last, the windows predict such an instrument better than the
        // output does.
        let lasting = model.offset_layers.iter().any(OffsetModel::lasts);
        let judged = self.output.filter(|_| tally.has_output() && !lasting);
        let windows = !self.fusion.lag_and_independence().1;
        let fused = if judged.is_some() || !windows { OUTPUT } else { WINDOW };
        let output = self.output.unwrap_or(PredictionKind::Filtered);
        // A single band adds nothing to all bands.
        let bands = (0..model.source_bands.len()).filter(|_| model.source_bands.len() > 1);
        let bands = std::iter::once((None, all.to_owned())).chain(bands.map(|band| (Some(band), name(band))));
        let kinds = [WithheldKind::Block, WithheldKind::Date];
        bands.flat_map(|band| kinds.map(|kind| tally.comparison(kind, band.clone(), fused, output))).flatten().collect()
    }

    /// The coarser instrument that an instrument is compared with.
    pub(super) fn coarse_name(&self, k: usize) -> Option<&str> {
        self.coarse[k].as_ref().map(|coarse| self.fusion.instruments()[coarse.instrument].name.as_str())
    }
}

impl Coarse {
    /// Of the instruments of larger pixels the one that observes most of the same target bands; of several the one of
    /// most dates. None with a spectral basis, whose instruments have no target bands in common.
    fn of(fusion: &Fusion, k: usize) -> Option<Self> {
        let (models, period) = (fusion.instruments(), fusion.period());
        if fusion.basis().is_some() {
            return None;
        }
        let bands_of = |other: &ObservationModel| -> Vec<Option<usize>> {
            let band = |target: usize| (0..other.source_bands.len()).find(|&b| other.component_of(b) == Some(target));
            (0..models[k].source_bands.len()).map(|b| models[k].component_of(b).and_then(band)).collect()
        };
        let dates = |other: usize| models[other].source.dates().iter().filter(|date| period.contains(**date)).count();
        let coarser = (0..models.len()).filter(|&other| area(&models[other]) > COARSER * area(&models[k]));
        let candidates = coarser.map(|instrument| Self { instrument, bands: bands_of(&models[instrument]) });
        let shared = |coarse: &Self| coarse.bands.iter().flatten().count();
        let candidates = candidates.filter(|coarse| shared(coarse) > 0);
        candidates.max_by_key(|coarse| (shared(coarse), dates(coarse.instrument), models.len() - coarse.instrument))
    }
}

/// Area of a pixel.
fn area(model: &ObservationModel) -> f64 {
    let (width, height) = model.source.grid().cell_size();
    width * height
}

/// The rows and columns of `other` that hold the centres of the rows and columns of a region of `own`.
fn lines(own: &Grid, other: &Grid, region: &PixelRegion) -> (Vec<i64>, Vec<i64>) {
    let [left, width, _, top, _, height] = other.geotransform();
    let row = |row: usize| ((own.centre(row as i64, 0).1 - top) / height).floor() as i64;
    let col = |col: usize| ((own.centre(0, col as i64).0 - left) / width).floor() as i64;
    (region.rows.clone().map(row).collect(), region.cols.clone().map(col).collect())
}
