//! What is believed of a number before the data have spoken: its scale, and a weak prior made of what the data are like.

use super::slots::Slot;
use crate::config::build::Inputs;
use crate::error::{Error, Result};
use crate::estimate::{Candidate, DataSummary, Numbers, Parameter};

/// Share of a band's variance that is taken for the noise of fine pixels to begin with.
const NOISE_SHARE: f64 = 0.003;

/// Shares of the change of coarse pixels from day to day that are taken for their noise, and for the wandering of their offsets.
const COARSE_NOISE_SHARE: f64 = 0.1;
const DRIFT_SHARE: f64 = 0.25;

/// Share of a band's variance that an instrument's offsets have to begin with.
const OFFSET_SHARE: f64 = 0.1;

/// Widths of the priors, factors: of what is hardly known, of change, of noise, of ranges, and of the change of cells when only
/// coarse pixels show any: then they say nothing of it, and the prior must.
const VARIANCE_WIDTH: f64 = 10.0;
const CHANGE_WIDTH: f64 = 5.0;
const NOISE_WIDTH: f64 = 7.0;
const RANGE_WIDTH: f64 = 3.0;
const UNSEEN_CHANGE_WIDTH: f64 = 2.0;

/// Variance below which values are taken to be all the same.
const LEAST_VARIANCE: f64 = 1e-40;

/// Ranges to begin with, in cells: of the process, of a further term.
const RANGE_CELLS: f64 = 8.0;
const FAR_RANGE_CELLS: f64 = 80.0;

/// What a key's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of each component, in CRS units.
    Range,
    FarRange,
    /// Of each component, in u² per day.
    Change,
    FarChange,
    /// Of each component, relative to another variance.
    Nugget,
    Memory,
    PriorMean,
    PriorVariance,
    /// Of each band of the instrument.
    Noise,
    Bias,
    OffsetVariance,
    OffsetDrift,
    OffsetMemory,
    /// Of each component.
    Weight,
    /// One number: the weight of a share.
    Share,
    /// One number, in u.
    Likeness,
    /// One number or one of each feature, in its units.
    FeatureScale,
    /// Of each component: of the logarithm of a variance.
    Amplitude,
}

impl Kind {
    /// Whether what is believed of it goes with the size of values.
    fn has_size(self) -> bool {
        !matches!(
            self,
            Self::Range
                | Self::FarRange
                | Self::Nugget
                | Self::Memory
                | Self::OffsetMemory
                | Self::Weight
                | Self::Share
                | Self::Amplitude
        )
    }
}

fn kind(slot: &Slot) -> Option<Kind> {
    Some(match slot.keys().as_slice() {
        ["process", "range"] => Kind::Range,
        ["process", "nested" | "field", "range"] => Kind::FarRange,
        ["process", "variance"] => Kind::Change,
        ["process", "nested" | "field", "variance"] => Kind::FarChange,
        ["process", "nugget"] | ["process", "nested", "nugget"] => Kind::Nugget,
        ["process", "phi"] | ["process", "field", "phi"] => Kind::Memory,
        ["process", "relative", "weight"] => Kind::Weight,
        ["process", "season", "cosine" | "sine"] => Kind::Amplitude,
        ["process", "adaptive" | "features", "weight"] => Kind::Share,
        ["process", "adaptive", "scale"] => Kind::Likeness,
        ["process", "features", "scale"] => Kind::FeatureScale,
        ["prior", "mean"] => Kind::PriorMean,
        ["prior", "variance"] | ["process", "field", "prior_variance"] => Kind::PriorVariance,
        ["instrument", "noise_variance"] => Kind::Noise,
        ["instrument", "bias"] => Kind::Bias,
        ["instrument", "offset_layer", "variance"] => Kind::OffsetVariance,
        ["instrument", "offset_layer", "drift"] => Kind::OffsetDrift,
        ["instrument", "offset_layer", "phi"] => Kind::OffsetMemory,
        _ => return None,
    })
}

/// Cells per side of the blocks of a further field whose range is estimated: it must not change with the range.
pub(super) fn field_block() -> i64 {
    (FAR_RANGE_CELLS / 8.0) as i64
}

/// Whether a number can be where the word stands.
pub(super) fn can_be_estimated(slot: &Slot) -> bool {
    kind(slot).is_some() || is_level(slot)
}

/// Whether it is a level of relative change: it cannot be told from the variance and is taken from the data.
fn is_level(slot: &Slot) -> bool {
    slot.keys() == ["process", "relative", "level"]
}

/// Numbers with which a description can be read and its inputs opened; no estimate begins with them.
pub(super) fn opening_numbers(slots: &[Slot]) -> Numbers {
    let mut numbers = Numbers::default();
    slots.iter().for_each(|slot| numbers.set(slot.to_string(), [0.5]));
    numbers
}

/// What the data let one believe.
#[derive(Clone, Copy)]
pub(super) struct Beliefs<'a> {
    pub(super) data: &'a DataSummary,
    pub(super) inputs: &'a Inputs,
    /// Standard deviation of each feature, where they are a raster's.
    pub(super) features: Option<&'a [f64]>,
}

impl Beliefs<'_> {
    /// Adds what a slot stands for to a candidate: a parameter of one number for each component or band, or for the element that it
    /// is; or, of a level, numbers that the data tell: no likelihood can, it being no different from another variance.
    pub(super) fn add(&self, candidate: Candidate, slot: &Slot) -> Result<Candidate> {
        let level = |component: usize| {
            let (mean, variance, _) = self.of_component(component);
            mean.abs().max(variance.sqrt())
        };
        if !is_level(slot) {
            return Ok(candidate.parameter(self.parameter(slot)?));
        }
        if self.inputs.seasonal.is_some() {
            let problem = "cannot be told from anomalies about a seasonal mean; give a value that is typical";
            return Err(Error::setting(slot.to_string(), problem));
        }
        let numbers: Vec<f64> = match slot.element() {
            Some(index) => vec![level(index)],
            None => (0..self.data.components).map(level).collect(),
        };
        Ok(candidate.fix(slot.to_string(), numbers))
    }

    /// The parameter of a slot.
    fn parameter(&self, slot: &Slot) -> Result<Parameter> {
        let key = slot.to_string();
        let Some(kind) = kind(slot) else {
            return Err(Error::setting(key, "cannot be estimated; give it a value"));
        };
        let cell = self.data.cell_size.0.min(self.data.cell_size.1);
        // (mean, variance, change per day) of what each number is about.
        let about: Vec<(f64, f64, f64)> = match kind {
            Kind::Noise | Kind::Bias | Kind::OffsetVariance | Kind::OffsetDrift | Kind::OffsetMemory => {
                self.of_bands(slot)
            }
            Kind::FeatureScale => self.of_features(slot),
            Kind::Share | Kind::Likeness => vec![self.of_component(0)],
            _ => (0..self.data.components).map(|component| self.of_component(component)).collect(),
        };
        let about = match slot.element() {
            Some(index) => vec![*about.get(index).ok_or_else(|| {
                Error::setting(&key, format!("the {}th of {} numbers; give no more", index + 1, about.len()))
            })?],
            None => about,
        };
        if kind.has_size() && about.iter().any(|(_, variance, _)| *variance < LEAST_VARIANCE) {
            let problem = "cannot be estimated: values are the same everywhere in the blocks looked at; give it a value, or leave the band out";
            return Err(Error::setting(key, problem));
        }
        let positive = |belief: &dyn Fn(&(f64, f64, f64)) -> f64, width: f64| {
            let centres: Vec<f64> = about.iter().map(belief).collect();
            Parameter::positive(&key, centres.clone()).priors(centres.into_iter().map(|centre| (centre, width)))
        };
        Ok(match kind {
            Kind::Amplitude => Parameter::real(&key, vec![0.0; about.len()], 1.0).prior(0.0, 1.0),
            Kind::Range => positive(&|_| RANGE_CELLS * cell, RANGE_WIDTH),
            Kind::FarRange => positive(&|_| FAR_RANGE_CELLS * cell, RANGE_WIDTH),
            Kind::Change => positive(&|(_, _, change)| *change, self.change_width()),
            Kind::FarChange => positive(&|(_, _, change)| 0.5 * change, CHANGE_WIDTH),
            Kind::Nugget => positive(&|_| 0.03, VARIANCE_WIDTH),
            Kind::PriorVariance => positive(&|(_, variance, _)| *variance, RANGE_WIDTH),
            Kind::Noise if self.sees_cells(slot) => positive(&|(_, variance, _)| NOISE_SHARE * variance, NOISE_WIDTH),
            Kind::Noise => positive(&|(_, _, change)| COARSE_NOISE_SHARE * change, CHANGE_WIDTH),
            Kind::OffsetVariance => positive(&|(_, variance, _)| OFFSET_SHARE * variance, VARIANCE_WIDTH),
            Kind::OffsetDrift => positive(&|(_, _, change)| DRIFT_SHARE * change, CHANGE_WIDTH),
            Kind::Likeness | Kind::FeatureScale => positive(&|(_, variance, _)| variance.sqrt(), VARIANCE_WIDTH),
            Kind::Memory => Parameter::share(&key, vec![0.98; about.len()]).prior(0.98, VARIANCE_WIDTH),
            Kind::OffsetMemory => Parameter::share(&key, vec![0.98; about.len()]).prior(0.98, CHANGE_WIDTH),
            Kind::Share | Kind::Weight => Parameter::share(&key, vec![0.5; about.len()]).prior(0.5, VARIANCE_WIDTH),
            Kind::PriorMean | Kind::Bias => {
                let deviation = |(_, variance, _): &(f64, f64, f64)| variance.sqrt();
                let size = about.iter().map(deviation).fold(0.0, f64::max);
                let belief = |about: &(f64, f64, f64)| match kind {
                    Kind::PriorMean => (about.0, deviation(about)),
                    _ => (0.0, 0.3 * deviation(about)),
                };
                let beliefs: Vec<(f64, f64)> = about.iter().map(belief).collect();
                Parameter::real(&key, beliefs.iter().map(|(centre, _)| *centre).collect::<Vec<_>>(), size)
                    .priors(beliefs)
            }
        })
    }

    /// The same of features: of each where the slot is one of a list, of all together where it is one number for all.
    fn of_features(&self, slot: &Slot) -> Vec<(f64, f64, f64)> {
        let variances: Vec<f64> = match self.features {
            Some(deviations) => deviations.iter().map(|sd| sd * sd).collect(),
            // The curves of the seasonal mean, in u.
            None => (0..self.data.components).map(|component| self.of_component(component).1).collect(),
        };
        match slot.element() {
            Some(_) => variances.into_iter().map(|variance| (0.0, variance, 0.0)).collect(),
            None => vec![(0.0, variances.iter().sum::<f64>() / variances.len().max(1) as f64, 0.0)],
        }
    }

    /// Mean, variance and change per day of a component; of what no band shows by itself, something sensible.
    fn of_component(&self, component: usize) -> (f64, f64, f64) {
        let shown = self.data.component(component);
        let mean = shown.map_or(0.0, |band| band.mean);
        let variance = shown.map_or(1.0, |band| band.variance);
        // Where no cell is seen twice, coarse pixels tell of change, if less than there is.
        let any = || self.changes_of(component).find(|change| *change > 0.0);
        let change = shown.map(|band| band.change).filter(|change| *change > 0.0);
        let change = change.or_else(any).unwrap_or(variance / 100.0);
        (mean, variance, change)
    }

    /// Change that any instrument's bands show of a component.
    fn changes_of(&self, component: usize) -> impl Iterator<Item = f64> + '_ {
        let bands = self.data.instruments.iter().flat_map(|instrument| &instrument.bands);
        bands.filter(move |band| band.component == Some(component)).map(|band| band.mean_change)
    }

    /// How well the change of cells is known beforehand.
    fn change_width(&self) -> f64 {
        let cells = self.data.instruments.iter().filter(|instrument| instrument.sees_cells);
        let twice = cells.flat_map(|instrument| &instrument.bands).any(|band| band.change > 0.0);
        if twice { CHANGE_WIDTH } else { UNSEEN_CHANGE_WIDTH }
    }

    /// Whether the slot's instrument has pixels that are cells.
    fn sees_cells(&self, slot: &Slot) -> bool {
        let index = slot.position("instrument");
        index.and_then(|index| self.data.instruments.get(index)).is_some_and(|instrument| instrument.sees_cells)
    }

    /// The same of each band of the slot's instrument's source.
    fn of_bands(&self, slot: &Slot) -> Vec<(f64, f64, f64)> {
        let Some(index) = slot.position("instrument") else { return Vec::new() };
        let count = self.inputs.instruments.get(index).map_or(0, |opened| opened.source.bands().len());
        let bands = self.data.instruments.get(index).map_or(&[][..], |instrument| &instrument.bands);
        let of = |source_band: usize| {
            let read = bands.iter().find(|band| band.source_band == source_band && band.values > 1);
            read.map_or((0.0, 1.0, 1.0), |band| {
                let component = band.component.map(|component| self.of_component(component).1);
                let variance = component.unwrap_or(band.variance);
                let change = if band.mean_change > 0.0 { band.mean_change } else { variance / 100.0 };
                (band.mean, variance, change)
            })
        };
        (0..count).map(of).collect()
    }
}
