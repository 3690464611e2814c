//! The states of one part of a window: components that are filtered together.

use super::OutCell;
use crate::engine::carried::Carried;
use crate::engine::inflation::Inflation;
use crate::filter::{Dynamics, Lagged, Observations};
use crate::geometry::Date;
use crate::model::{StateCurves, StateLayout, Support};

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
        let mut append = |value_of: &dyn Fn(usize) -> f64| {
            values.extend(
                out.iter().map(|cell| if self.uninformed[cell.state] { f64::NAN } else { value_of(cell.state) }),
            );
        };
        let components = 0..self.layout.components();
        for j in components.clone() {
            append(&|cell| self.predicted_mean(support, (j, cell), dt_days));
        }
        for (j, l) in components.flat_map(|j| (0..=j).map(move |l| (j, l))) {
            append(&|cell| self.predicted_cov(support, (j, l, cell), dt_days));
        }
    }

    /// Mean of a component of one of the window's own cells, over all fields, `dt_days` ahead.
    pub(in crate::engine) fn predicted_mean(&self, support: &Support, (j, cell): (usize, usize), dt_days: f64) -> f64 {
        let states = self.layout.cell(support, j, cell);
        states.map(|(state, weight)| weight * self.state.predicted_mean(&self.dynamics, state, dt_days)).sum()
    }

    /// Mean of a sum of offsets of an instrument's band.
    pub(super) fn offset_mean(&self, band: (usize, usize), offsets: &[u32], dt_days: f64) -> f64 {
        let states = self.layout.offset_states(band, offsets);
        states.map(|state| self.state.predicted_mean(&self.dynamics, state, dt_days)).sum()
    }

    /// Its variance.
    pub(super) fn offset_variance(&self, band: (usize, usize), offsets: &[u32], dt_days: f64) -> f64 {
        let states = self.layout.offset_states(band, offsets);
        let pairs = states.clone().flat_map(|i| states.clone().map(move |j| (i, j)));
        pairs.map(|pair| self.state.predicted_cov(&self.dynamics, pair, dt_days)).sum()
    }

    /// Covariance of two components of one of the window's own cells.
    pub(in crate::engine) fn predicted_cov(
        &self,
        support: &Support,
        (j, l, cell): (usize, usize, usize),
        dt_days: f64,
    ) -> f64 {
        let row = |(state, weight): (usize, f64)| {
            let others = self.layout.cell(support, l, cell);
            let cov = |other: usize| self.state.predicted_cov(&self.dynamics, (state, other), dt_days);
            weight * others.map(|(other, weight)| weight * cov(other)).sum::<f64>()
        };
        self.layout.cell(support, j, cell).map(row).sum()
    }

    /// Appends means and covariances of every output cell at a stored date.
    pub(super) fn output_lagged(&self, lagged: &Lagged<'_>, out: &[OutCell], values: &mut Vec<f64>) {
        for layer in [lagged.mean, lagged.cov].into_iter().flat_map(|layers| layers.chunks_exact(self.uninformed.len()))
        {
            values
                .extend(out.iter().map(|cell| if self.uninformed[cell.state] { f64::NAN } else { layer[cell.state] }));
        }
    }
}
