//! The states of a window before any observation.

use std::sync::Arc;

use super::{BandScale, Earlier, PartState};
use crate::engine::Precision;
use crate::engine::carried::Carried;
use crate::engine::inflation::Inflation;
use crate::error::Result;
use crate::filter::{BlockCov, Dynamics};
use crate::geometry::Date;
use crate::model::{
    Adaptive, Average, Layers, Model, Part, PriorSlice, SeasonalSlice, StateCurves, StateLayout, Support, Together,
};

/// What the states of a window begin with.
#[derive(Debug)]
pub(in crate::engine) struct FirstStates<'a> {
    pub(in crate::engine) model: &'a Model,
    /// Names of its instruments.
    pub(in crate::engine) names: &'a [&'a str],
    /// Dates of the output axis that a result waits for.
    pub(in crate::engine) lag: usize,
    pub(in crate::engine) precision: Precision,
    pub(in crate::engine) support: &'a Arc<Support>,
    pub(in crate::engine) correlations: &'a [Arc<BlockCov>],
    pub(in crate::engine) prior: &'a PriorSlice,
    /// The mean function, where change is proportional to the level.
    pub(in crate::engine) mean: Option<&'a SeasonalSlice>,
    /// What each state is an average of, where the mean function or the place counts.
    pub(in crate::engine) averages: Vec<Average>,
    /// How much more or less each state of a component changes than elsewhere.
    pub(in crate::engine) factors: Vec<Vec<f64>>,
    pub(in crate::engine) date: Date,
}

impl FirstStates<'_> {
    /// The states of a part, from the prior.
    ///
    /// # Errors
    /// [`Error::Setting`](crate::Error::Setting) where an instrument observes a cell that a prior raster leaves empty.
    pub(in crate::engine) fn of(&self, part: &Part) -> Result<PartState> {
        let Self { model, names, support, correlations, prior, date, .. } = *self;
        let (components, together) = (part.filtered(), part.together.as_ref());
        let layout = StateLayout::new(support, components.len(), &part.bands);
        let mut initial = support.initial_state(layout.n(), components, together.map(Arc::as_ref), prior, names)?;
        if prior.is_correlated() {
            support.correlate(&mut initial.state, components, prior, &model.process, correlations);
        }
        let layers = Layers {
            layout: &layout,
            support,
            process: &model.process,
            correlations,
            instruments: &model.instruments,
            components,
            bands: &part.bands,
            cell_size: model.target.cell_size(),
        };
        layers.start(&mut initial.state, prior);
        let (dynamics, inflation) = self.dynamics(part, &layers);
        let mut state = self.carry(Carried::new(initial.state, self.precision), components, &layout);
        if let Some(Adaptive { weight, scale }) = model.process.adaptive {
            state = state.with_history(&dynamics, components.len(), weight, scale);
        }
        let curves = self.mean.map(|mean| StateCurves::new(mean, components, &self.averages));
        let uninformed = initial.uninformed;
        let learned = |together: &Arc<Together>| Some(BandScale::new(together.scale?, together.components.len()));
        let (scale, together) = (together.and_then(learned), together.map(Arc::clone));
        let earlier = Earlier::new(model, part, support);
        let mut part =
            PartState { layout, dynamics, state, date, inflation, uninformed, curves, together, scale, earlier };
        part.set_date(date);
        part.take_factors();
        Ok(part)
    }

    /// How the states change, and the factors on it that will be learned.
    fn dynamics(&self, part: &Part, layers: &Layers<'_>) -> (Dynamics, Inflation) {
        let Model { process, instruments, .. } = self.model;
        let field = self.support.field_blocks(process, self.correlations, part.filtered());
        // Blocks of the first field and of further fields; those of offsets follow.
        let inflated = process.inflate.then_some(field.len() * (1 + process.fields.len()));
        let of_part = part.filtered().iter().filter_map(|&j| self.factors.get(j)).flatten().copied();
        let dynamics = Dynamics::new(field.into_iter().chain(layers.blocks()).collect())
            .with_relative(process.relative(part.filtered()))
            .with_factors(of_part.collect())
            .with_seasons(process.seasons(part.filtered()));
        let noise = instruments.iter().map(|instrument| instrument.inflate);
        let inflation = Inflation::new(noise, inflated, &dynamics);
        (dynamics, inflation)
    }

    /// The state with the earlier dates that a lag waits for.
    fn carry(&self, state: Carried, components: &[usize], layout: &StateLayout) -> Carried {
        if self.lag == 0 {
            return state;
        }
        let own = self.support.own_cells().len();
        let own_cells = (0..components.len()).map(|j| layout.state(j, 0)..layout.state(j, own));
        let state = state.with_lags(own_cells.collect(), self.lag);
        if layout.is_one_field() {
            return state;
        }
        let cells = (0..components.len()).flat_map(|j| (0..own).map(move |cell| (j, cell)));
        state.with_lagged_sums(cells.map(|(j, cell)| layout.further(self.support, j, cell).collect()).collect())
    }
}
