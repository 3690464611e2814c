//! The states of one part of a window: components that are filtered together.

use std::sync::Arc;

use super::{BandScale, Earlier, OutCell};
use crate::engine::carried::Carried;
use crate::engine::inflation::Inflation;
use crate::filter::{Dynamics, Lagged, Observations};
use crate::geometry::Date;
use crate::model::{StateCurves, StateLayout, Support, Together};

/// The states of a part of a window.
#[derive(Debug)]
pub(in crate::engine) struct PartState {
    pub(in crate::engine) layout: StateLayout,
    pub(in crate::engine) dynamics: Dynamics,
    pub(in crate::engine) state: Carried,
    /// The date that the state describes, or the day before the series.
    pub(in crate::engine) date: Date,
    /// The learned factors on noise and process variances.
    pub(in crate::engine) inflation: Inflation,
    /// Own cells without a prior and without observations: NaN.
    pub(in crate::engine) uninformed: Vec<bool>,
    /// The mean function of its states, where process noise depends on their level.
    pub(in crate::engine) curves: Option<StateCurves>,
    /// Bands that share the covariance of the first: the state has a mean of each, whitened.
    pub(in crate::engine) together: Option<Arc<Together>>,
    /// What is learned of their covariance.
    pub(in crate::engine) scale: Option<BandScale>,
    /// Earlier averages of composites.
    pub(in crate::engine) earlier: Earlier,
}

impl PartState {
    /// Prepares the state for the observations of a date: predicts it, and converts it to float64 if float32 cannot
    /// hold it together with their noise. Returns whether it was converted.
    pub(super) fn prepare(&mut self, date: Date, observations: &Observations) -> bool {
        self.predict_to(date);
        self.state.widen_for(observations)
    }

    /// Updates the process noise factors from the current state.
    pub(in crate::engine) fn take_factors(&mut self) {
        match &mut self.curves {
            None => self.state.take_factors(&self.dynamics, |_| 0.0),
            Some(curves) => self.state.take_factors(&self.dynamics, curves.on(self.date)),
        }
    }

    pub(super) fn predict_to(&mut self, date: Date) {
        let mut from = self.date;
        while let Some(day) = self.earlier.next_kept(from, date) {
            self.predict_directly_to(day);
            self.earlier.keep(day, &self.layout, &mut self.state);
            from = day + 1;
        }
        self.predict_directly_to(date);
    }

    fn predict_directly_to(&mut self, date: Date) {
        if date > self.date {
            self.state.predict(&self.dynamics, f64::from(date.days_since(self.date)));
            self.set_date(date);
        }
    }

    /// Sets the date that the state describes.
    pub(in crate::engine) fn set_date(&mut self, date: Date) {
        self.date = date;
        self.dynamics.start_at(f64::from(date.days_since(Date::from_days(0))));
    }

    /// Appends means and covariances of every output cell, predicted to `date`. The state is unchanged.
    pub(super) fn append_output(&mut self, date: Date, support: &Support, out: &[OutCell], values: &mut Vec<f64>) {
        let dt_days = f64::from(date.days_since(self.date));
        self.dynamics.look_ahead(dt_days);
        let known = |cell: &OutCell| !self.uninformed[cell.state];
        let components = 0..self.components();
        for j in components.clone() {
            let mean = |cell: &OutCell| self.predicted_mean(support, (j, cell.state), dt_days);
            values.extend(out.iter().map(|cell| if known(cell) { mean(cell) } else { f64::NAN }));
        }
        let first = values.len();
        for (j, l) in self.filtered_pairs() {
            let cov = |cell: &OutCell| self.filtered_cov(support, (j, l, cell.state), dt_days);
            values.extend(out.iter().map(|cell| if known(cell) { cov(cell) } else { f64::NAN }));
        }
        self.spread_cov(first, values);
    }

    /// Covariances of pairs of bands, each relative to the variance of the first that the filter has.
    pub(super) fn relative<'t>(&'t self, together: &'t Together) -> impl Fn(usize, usize) -> f64 + use<'t> {
        let learned = self.scale.as_ref().map(BandScale::mean);
        move |b, c| match &learned {
            None => together.relative(b, c),
            Some(learned) => together.scaled(b, c, learned),
        }
    }

    /// Number of components, those that share a covariance counted each.
    fn components(&self) -> usize {
        self.together.as_ref().map_or(self.layout.components(), |together| together.components.len())
    }

    /// Pairs of components that have states.
    fn filtered_pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        (0..self.layout.components()).flat_map(|j| (0..=j).map(move |l| (j, l)))
    }

    /// Puts the covariances of all pairs of bands in the place of the variances of the first, which are the values
    /// from `first` on.
    fn spread_cov(&self, first: usize, values: &mut Vec<f64>) {
        let Some(together) = &self.together else { return };
        let end = values.len();
        let relative = self.relative(together);
        for (b, c) in (1..together.components.len()).flat_map(|b| (0..=b).map(move |c| (b, c))) {
            let relative = relative(b, c);
            values.extend_from_within(first..end);
            let last = values.len() - (end - first);
            values[last..].iter_mut().for_each(|value| *value *= relative);
        }
        let own = relative(0, 0);
        values[first..end].iter_mut().for_each(|value| *value *= own);
    }

    /// Mean of a component of one of the window's own cells, over all fields, `dt_days` ahead.
    pub(in crate::engine) fn predicted_mean(&self, support: &Support, (j, cell): (usize, usize), dt_days: f64) -> f64 {
        let Some(together) = &self.together else {
            let states = self.layout.cell(support, j, cell);
            return states
                .map(|(state, weight)| weight * self.state.predicted_mean(&self.dynamics, state, dt_days))
                .sum();
        };
        let mean = |column: usize| {
            let states = self.layout.cell(support, 0, cell);
            let mean = |state| self.state.predicted_parallel(&self.dynamics, column, state, dt_days);
            states.map(|(state, weight)| weight * mean(state)).sum()
        };
        together.value(j, mean)
    }

    /// Mean of a sum of offsets of an instrument's band.
    pub(super) fn offset_mean(&self, band: (usize, usize), offsets: &[u32], dt_days: f64) -> f64 {
        let (instrument, row) = band;
        let Some(together) = &self.together else {
            let states = self.layout.offset_states(band, offsets);
            return states.map(|state| self.state.predicted_mean(&self.dynamics, state, dt_days)).sum();
        };
        let mean = |column: usize| {
            let states = self.layout.offset_states((instrument, 0), offsets);
            states.map(|state| self.state.predicted_parallel(&self.dynamics, column, state, dt_days)).sum()
        };
        together.value(row, mean)
    }

    /// Its variance.
    pub(super) fn offset_variance(&self, band: (usize, usize), offsets: &[u32], dt_days: f64) -> f64 {
        let (instrument, row) = band;
        let (row, scale) = self.together.as_ref().map_or((row, 1.0), |together| (0, self.relative(together)(row, row)));
        let states = self.layout.offset_states((instrument, row), offsets);
        let pairs = states.clone().flat_map(|i| states.clone().map(move |j| (i, j)));
        scale * pairs.map(|pair| self.state.predicted_cov(&self.dynamics, pair, dt_days)).sum::<f64>()
    }

    /// Covariance of two components of one of the window's own cells.
    pub(in crate::engine) fn predicted_cov(
        &self,
        support: &Support,
        (j, l, cell): (usize, usize, usize),
        dt_days: f64,
    ) -> f64 {
        match &self.together {
            None => self.filtered_cov(support, (j, l, cell), dt_days),
            Some(together) => self.relative(together)(j, l) * self.filtered_cov(support, (0, 0, cell), dt_days),
        }
    }

    /// The same of components that have states.
    fn filtered_cov(&self, support: &Support, (j, l, cell): (usize, usize, usize), dt_days: f64) -> f64 {
        let row = |(state, weight): (usize, f64)| {
            let others = self.layout.cell(support, l, cell);
            let cov = |other: usize| self.state.predicted_cov(&self.dynamics, (state, other), dt_days);
            weight * others.map(|(other, weight)| weight * cov(other)).sum::<f64>()
        };
        self.layout.cell(support, j, cell).map(row).sum()
    }

    /// Appends means and covariances of every output cell at a stored date.
    pub(super) fn output_lagged(&self, lagged: &Lagged<'_>, out: &[OutCell], values: &mut Vec<f64>) {
        let positions = self.uninformed.len();
        let mut append = |value_of: &dyn Fn(usize) -> f64| {
            let value = |cell: &OutCell| if self.uninformed[cell.state] { f64::NAN } else { value_of(cell.state) };
            values.extend(out.iter().map(value));
        };
        match &self.together {
            None => lagged.mean.chunks_exact(positions).for_each(|layer| append(&|cell| layer[cell])),
            Some(together) => {
                let whitened = |column: usize, cell: usize| match column.checked_sub(1) {
                    None => lagged.mean[cell],
                    Some(further) => lagged.parallel[further * positions + cell],
                };
                for j in 0..together.components.len() {
                    append(&|cell| together.value(j, |column| whitened(column, cell)));
                }
            }
        }
        let layers = lagged.cov.chunks_exact(positions);
        layers.for_each(|layer| append(&|cell| layer[cell]));
        let first = values.len() - lagged.cov.len() / positions * out.len();
        self.spread_cov(first, values);
    }
}
