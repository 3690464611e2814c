//! Light checkpoints: the state of a tile's single cells on a date, and the prior that it gives to windows that start
//! from it.

use ndarray::{Array3, Axis, Slice, s};

use super::Fusion;
use super::checkpoint::{LightState, Owner, Record, StateFolder};
use super::start::Starts;
use super::tile::{States, TileState};
use super::window::WindowState;
use crate::error::{Error, Result};
use crate::geometry::{Date, PixelRegion, Rect, Tile};
use crate::model::PriorSlice;
use crate::spectral::pair;

/// Chooses the day on which all tiles of a run save their light states, so that the next run can start all tiles from
/// it.
pub(super) struct LightDay {
    wanted: Date,
    /// Start days of tiles.
    begins: Vec<(Date, Tile)>,
    /// Days of the light states to which the records of finished tiles refer.
    done: Vec<(Option<Date>, Tile)>,
}

impl LightDay {
    pub(super) fn new(fusion: &Fusion) -> Self {
        let end = fusion.steps.last().map_or(fusion.before_first(), |(date, _)| *date);
        let wanted = end + -i32::try_from(fusion.options.replay_days).unwrap_or(i32::MAX / 2);
        // Dates that wait for the lag are replayed in any case.
        let waiting = fusion.output.len().checked_sub(fusion.lag).and_then(|first| fusion.output.get(first));
        let wanted = waiting.map_or(wanted, |first| wanted.min(*first + -1)).max(fusion.before_first());
        Self { wanted, begins: Vec::new(), done: Vec::new() }
    }

    /// Adds a tile that starts on `date`.
    pub(super) fn begins(&mut self, date: Date, tile: &Tile) {
        self.begins.push((date, tile.clone()));
    }

    /// Adds a finished tile.
    pub(super) fn done(&mut self, record: &Record, tile: &Tile) {
        self.done.push((record.light, tile.clone()));
    }

    /// The latest day up to the wanted one on which every tile has a light state or will pass; otherwise the earliest
    /// day after it.
    pub(super) fn choose(&self, starts: &Starts<'_>) -> Option<Date> {
        let possible = |day: &Date| {
            let begun = self.begins.iter().all(|(date, tile)| date <= day || starts.has_light(tile, *day));
            begun && self.done.iter().all(|(_, tile)| starts.has_light(tile, *day))
        };
        if let Some((light, _)) = self.done.first() {
            return light.filter(possible);
        }
        let latest = self.begins.iter().map(|(date, _)| *date).max();
        let candidates = || {
            let common = starts.common_lights().iter().copied();
            [self.wanted].into_iter().chain(latest).chain(common).filter(possible)
        };
        let before = candidates().filter(|day| *day <= self.wanted).max();
        before.or_else(|| candidates().filter(|day| *day > self.wanted).min())
    }
}

impl TileState {
    /// Mean and covariance of each cell of the tile, predicted to `date`; no state is later than `date`.
    pub(super) fn light(&self, fusion: &Fusion, date: Date) -> LightState {
        let p = fusion.model.spectrum.components();
        let (rows, cols) = self.tile.region.shape();
        let mut values = Array3::from_elem((p + p * (p + 1) / 2, rows, cols), f64::NAN);
        // Components of different parts stay independent.
        values.slice_mut(s![p.., .., ..]).fill(0.0);
        match &self.states {
            States::Cells(cells) => cells.light(date, &mut values),
            States::Windows(windows) => windows.iter().for_each(|window| window.light(fusion, date, &mut values)),
        }
        LightState { date, values }
    }
}

impl WindowState {
    fn light(&self, fusion: &Fusion, date: Date, values: &mut Array3<f64>) {
        let p = fusion.model.spectrum.components();
        for (part, state) in fusion.model.parts.iter().zip(&self.parts) {
            let dt_days = f64::from(date.days_since(state.date));
            for cell in &self.out {
                let known = !(self.failed || state.uninformed[cell.state]);
                let mut set = |layer: usize, value: f64| {
                    values[(layer, cell.row, cell.col)] = if known { value } else { f64::NAN };
                };
                for (a, &j) in part.components.iter().enumerate() {
                    set(j, state.predicted_mean(&self.support, (a, cell.state), dt_days));
                    for (b, &l) in part.components[..=a].iter().enumerate() {
                        set(p + pair(j, l), state.predicted_cov(&self.support, (a, b, cell.state), dt_days));
                    }
                }
            }
        }
    }
}

/// The prior that the light states of a date give to the cells of `extent`. Beyond the grid, as with any prior, the
/// nearest cell applies. Where windows had failed, the prior of the fusion applies.
pub(super) fn light_prior(
    fusion: &Fusion,
    (folder, owner): (&StateFolder, &Owner),
    date: Date,
    extent: &Rect,
) -> Result<PriorSlice> {
    let p = fusion.model.spectrum.components();
    let region = extent.nearest((0, 0), fusion.model.target.shape());
    let mut values = Array3::from_elem((p + p * (p + 1) / 2, region.rows.len(), region.cols.len()), f64::NAN);
    for (_, tile) in fusion.tiles() {
        let shared = tile.region.intersection(&region);
        if shared.is_empty() {
            continue;
        }
        let file = folder.light(tile.index, date);
        let light = file.light(&fusion.settings, owner)?;
        let expected = (values.dim().0, tile.region.rows.len(), tile.region.cols.len());
        if light.values.dim() != expected {
            let problem = format!("its shape is {:?}, not {expected:?}", light.values.dim());
            return Err(Error::Checkpoint { path: file.path(), problem, source: None });
        }
        let within = |outer: &PixelRegion| {
            s![
                ..,
                shared.rows.start - outer.rows.start..shared.rows.end - outer.rows.start,
                shared.cols.start - outer.cols.start..shared.cols.end - outer.cols.start
            ]
        };
        values.slice_mut(within(&region)).assign(&light.values.slice(within(&tile.region)));
    }
    let first = (region.rows.start as i64, region.cols.start as i64);
    if values.iter().any(|value| value.is_nan()) {
        let prior = fusion.model.prior.read(&fusion.model.target, &Rect::from(&region))?;
        for ((layer, row, col), value) in values.indexed_iter_mut().filter(|(_, value)| value.is_nan()) {
            let (row, col) = (first.0 + row as i64, first.1 + col as i64);
            *value = match layer.checked_sub(p) {
                None => prior.mean(layer, row, col),
                Some(layer) => {
                    let j = (0..p).find(|&j| pair(j, j) >= layer).unwrap_or(0);
                    let l = layer - pair(j, 0);
                    let further: f64 = fusion.model.process.fields.iter().map(|field| field.components[j].prior).sum();
                    prior.cov(j, l, row, col) + if j == l { further } else { 0.0 }
                }
            };
        }
    }
    let cov = values.slice_axis(Axis(0), Slice::from(p..)).to_owned();
    let mean = values.slice_axis(Axis(0), Slice::from(..p)).to_owned();
    Ok(PriorSlice::of_cells(mean, cov, first))
}
