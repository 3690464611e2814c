//! What is believed of a number before the data are asked: where the search begins, and a weak prior made of what the
//! data are like.

use super::profile::Profile;
use super::scale::{Entry, Scale};
use super::together::is_together;
use super::{DataSummary, InstrumentSummary};
use crate::describe::{Description, Features, Free, Instrument, Key, Number, NumberRef, Quantity};
use crate::error::{Error, KeyStep, Result};
use crate::geometry::PixelRegion;
use crate::model::Effect;
use crate::source::RasterSource;

/// Share of a band's variance that is taken for the noise of fine pixels to begin with.
const NOISE_SHARE: f64 = 0.003;

/// Shares of the change of coarse pixels from day to day that are taken for their noise, and for the drift of their
/// offsets.
const COARSE_NOISE_SHARE: f64 = 0.1;
const DRIFT_SHARE: f64 = 0.25;

/// Share of a band's variance that an instrument's offsets have to begin with.
const OFFSET_SHARE: f64 = 0.1;

/// Widths of the priors, factors: of what is hardly known, of change, of noise, of ranges, and of the change of cells
/// when only coarse pixels show any: then they say nothing of it, and the prior must.
const VARIANCE_WIDTH: f64 = 10.0;
const CHANGE_WIDTH: f64 = 5.0;
const NOISE_WIDTH: f64 = 7.0;
const RANGE_WIDTH: f64 = 3.0;
const UNSEEN_CHANGE_WIDTH: f64 = 2.0;

/// Ratios of variances to that of change per day, and the widths of their priors: of a far kernel, of the prior, of
/// noise, of what all pixels of an acquisition have in common, of lasting differences of coarse pixels, of such that are
/// forgotten with a short memory, of drift.
const FAR_RATIO: f64 = 0.5;
const PRIOR_RATIO: f64 = 60.0;
const NOISE_RATIO: f64 = 1.6;
const ACQUISITION_RATIO: f64 = 7.0;
const OFFSET_RATIO: f64 = 50.0;
const FORGOTTEN_RATIO: f64 = 5.0;
const DRIFT_RATIO: f64 = 0.8;
const SHORT_MEMORY: f64 = 0.7;
const RATIO_WIDTH: f64 = 2.7;
const ACQUISITION_WIDTH: f64 = 2.0;
const COARSE_RATIO_WIDTH: f64 = 4.5;

/// Variance below which values are taken to be all the same.
const LEAST_VARIANCE: f64 = 1e-40;

/// Ranges to begin with, in cells: of the process, of a further term.
const RANGE_CELLS: f64 = 8.0;
pub(super) const FAR_RANGE_CELLS: f64 = 80.0;

/// Pixels a side of the part of a raster whose spread is worked out.
const MIDDLE: usize = 512;

/// Mean, variance and change per day of what a number is about.
#[derive(Clone, Copy, Debug)]
struct About {
    mean: f64,
    variance: f64,
    change: f64,
}

impl About {
    fn mean_of(all: &[Self]) -> Option<Self> {
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        let several = || Self {
            mean: mean(|about| about.mean),
            variance: mean(|about| about.variance),
            change: mean(|about| about.change),
        };
        (!all.is_empty()).then(several)
    }
}

/// What the data say of numbers before any likelihood.
#[derive(Debug)]
pub(super) struct Beliefs<'a> {
    pub(super) data: &'a DataSummary,
    /// Variance of each feature of a raster whose scale is free.
    features: Vec<f64>,
    /// Whether the process is about a seasonal mean.
    anomalies: bool,
}

impl<'a> Beliefs<'a> {
    /// # Errors
    /// Those of reading a raster of features whose scale is free.
    pub(super) fn new(data: &'a DataSummary, description: &Description) -> Result<Self> {
        let features = description.process.given().and_then(|process| process.features.as_ref());
        let features = match features {
            Some(Features { raster: Some(raster), bands, scale, .. }) if scale.has_free() => {
                let source = raster.source(&Key::from("process.features.raster"))?.as_ref();
                let bands = bands.clone().unwrap_or_else(|| (0..source.bands().len()).collect());
                spread(source, &bands)?.into_iter().map(|sd| sd * sd).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self { data, features, anomalies: description.seasonal.is_some() })
    }

    /// Writes a free number that stands for several as many times as there are; gives numbers that no likelihood can
    /// find what the data say. Where bands are together, one number stands for all of them, and what is found in closed
    /// form gets a first guess.
    ///
    /// # Errors
    /// [`Error::Setting`] for what can be neither.
    pub(super) fn prepare(&self, description: &mut Description) -> Result<Option<Profile>> {
        let mut failure = Ok(());
        let together = is_together(description);
        let mut profile = None;
        if together && description.process.given().is_some_and(|process| process.variance == Free::default().into()) {
            profile = Some(Profile::default());
            description.process.given_mut().into_iter().for_each(|process| process.band_correlation.clear());
        }
        let positions: Vec<Key> = description.instrument.iter().map(Instrument::key).collect();
        description.visit(&mut |key, quantity, mut place: NumberRef<'_>| {
            if together && !is_of_bands(quantity) {
                return;
            }
            let plain = matches!(&place, NumberRef::List(numbers) if **numbers == Free::default().into());
            place.spread(self.count(key, quantity));
            if let (Some(profile), true) = (&mut profile, plain) {
                let effect = match quantity {
                    Quantity::PriorMean => Some(Effect::PriorMean),
                    Quantity::Bias => {
                        positions.iter().position(|of| key.steps().starts_with(of.steps())).map(Effect::Bias)
                    }
                    _ => None,
                };
                if effect.is_some() || quantity == Quantity::Change {
                    match self.guess(key, quantity, place.written()) {
                        Ok(precision) => profile.effects.extend(effect.map(|effect| (effect, precision))),
                        Err(error) => failure = Err(error),
                    }
                    return;
                }
            }
            if quantity != Quantity::Level {
                return;
            }
            for (component, number) in place.written().iter_mut().enumerate().filter(|(_, number)| number.is_free()) {
                if self.anomalies {
                    let problem = "cannot be estimated from anomalies about a seasonal mean; give a typical value";
                    failure = Err(Error::setting(key, problem));
                }
                let About { mean, variance, .. } = self.of_component(component);
                *number = Number::Fixed(mean.abs().max(variance.sqrt()));
            }
        });
        failure.map(|()| profile)
    }

    /// Puts the middle of what is believed in the place of numbers; returns the precision of the first one's prior.
    fn guess(&self, key: &Key, quantity: Quantity, numbers: &mut [Number]) -> Result<f64> {
        let of = numbers.len();
        let mut precision = 0.0;
        for (index, number) in numbers.iter_mut().enumerate() {
            let entry = self.entry(key, quantity, (index, of), number)?;
            *number = Number::Fixed(entry.number(entry.start));
            if index == 0 {
                precision = entry.precision();
            }
        }
        Ok(precision)
    }

    /// The free numbers of a description that is [prepared](Self::prepare).
    ///
    /// # Errors
    /// [`Error::Setting`] by key for what cannot be estimated.
    pub(super) fn entries(&self, description: &Description) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut failure = Ok(());
        description.clone().visit(&mut |key, quantity, mut place| {
            let written = place.written();
            for (index, number) in written.iter().enumerate() {
                if let (Number::Free(_), Ok(())) = (number, &failure) {
                    match self.entry(key, quantity, (index, written.len()), number) {
                        Ok(entry) => entries.push(entry),
                        Err(error) => failure = Err(error),
                    }
                }
            }
        });
        failure.map(|()| entries)
    }

    fn entry(&self, key: &Key, quantity: Quantity, place: (usize, usize), number: &Number) -> Result<Entry> {
        let about = self.about(key, quantity);
        // One number that stands for several, such as a scale of all features, is about them all.
        let of_it = match (place.1, about.as_slice()) {
            (1, all) => About::mean_of(all),
            (_, [one]) => Some(*one),
            (_, all) => all.get(place.0).copied(),
        };
        let Some(of_it) = of_it else {
            let problem = format!("number {} of {}; there are {} to give", place.0 + 1, place.1, about.len());
            return Err(Error::setting(key, problem));
        };
        if has_size(quantity) && of_it.variance < LEAST_VARIANCE {
            let problem = "cannot be estimated: values are the same everywhere in the sampled blocks; give it a value, or leave the band out";
            return Err(Error::setting(key, problem));
        }
        let size = about.iter().map(|about| about.variance.sqrt()).fold(0.0, f64::max);
        let scale = Scale::of(quantity, size);
        let Some((centre, width)) = self.prior(key, quantity, of_it) else {
            return Err(Error::setting(key, "cannot be estimated; give it a value"));
        };
        let Number::Free(free) = number else { return Err(Error::setting(key, "is given already")) };
        let prior = free.prior.unwrap_or((centre, width));
        Entry::new(key, place, scale, free.start.unwrap_or(prior.0), prior)
    }

    /// Centre and width of the weak prior of a number.
    fn prior(&self, key: &Key, quantity: Quantity, about: About) -> Option<(f64, f64)> {
        let About { mean, variance, change } = about;
        let cell = self.data.cell_size.0.min(self.data.cell_size.1);
        let fine = self.instrument(key).is_some_and(|instrument| instrument.observes_cells);
        Some(match quantity {
            Quantity::Amplitude => (0.0, 1.0),
            Quantity::Range => (RANGE_CELLS * cell, RANGE_WIDTH),
            Quantity::FarRange => (FAR_RANGE_CELLS * cell, RANGE_WIDTH),
            Quantity::Change => (change, self.change_width()),
            Quantity::FarChange => (0.5 * change, CHANGE_WIDTH),
            Quantity::Nugget => (0.03, VARIANCE_WIDTH),
            Quantity::PriorVariance => (variance, RANGE_WIDTH),
            Quantity::Noise if fine => (NOISE_SHARE * variance, NOISE_WIDTH),
            Quantity::Noise => (COARSE_NOISE_SHARE * change, CHANGE_WIDTH),
            Quantity::OffsetVariance => (OFFSET_SHARE * variance, VARIANCE_WIDTH),
            Quantity::OffsetDrift => (DRIFT_SHARE * change, CHANGE_WIDTH),
            Quantity::Distance | Quantity::FeatureScale => (variance.sqrt(), VARIANCE_WIDTH),
            Quantity::Memory => (0.98, VARIANCE_WIDTH),
            Quantity::OffsetMemory => (0.98, CHANGE_WIDTH),
            Quantity::Share | Quantity::Weight => (0.5, VARIANCE_WIDTH),
            Quantity::PriorMean => (mean, variance.sqrt()),
            Quantity::Bias => (0.0, 0.3 * variance.sqrt()),
            Quantity::FarRatio => (FAR_RATIO, RATIO_WIDTH),
            Quantity::PriorRatio => (PRIOR_RATIO, RATIO_WIDTH),
            Quantity::NoiseRatio if fine => (NOISE_RATIO, RATIO_WIDTH),
            Quantity::NoiseRatio => (NOISE_RATIO, COARSE_RATIO_WIDTH),
            Quantity::AcquisitionRatio => (ACQUISITION_RATIO, ACQUISITION_WIDTH),
            Quantity::OffsetRatio => (OFFSET_RATIO, COARSE_RATIO_WIDTH),
            Quantity::ForgottenRatio => (FORGOTTEN_RATIO, COARSE_RATIO_WIDTH),
            Quantity::ShortMemory => (SHORT_MEMORY, ACQUISITION_WIDTH),
            Quantity::DriftRatio => (DRIFT_RATIO, COARSE_RATIO_WIDTH),
            Quantity::Level | Quantity::Factor => return None,
        })
    }

    /// How many numbers a free one stands for.
    fn count(&self, key: &Key, quantity: Quantity) -> usize {
        match quantity {
            Quantity::FeatureScale => 1,
            _ => self.about(key, quantity).len(),
        }
    }

    /// What each number of a key is about.
    fn about(&self, key: &Key, quantity: Quantity) -> Vec<About> {
        match quantity {
            Quantity::Noise
            | Quantity::Bias
            | Quantity::OffsetVariance
            | Quantity::OffsetDrift
            | Quantity::OffsetMemory
            | Quantity::NoiseRatio
            | Quantity::AcquisitionRatio
            | Quantity::OffsetRatio
            | Quantity::ForgottenRatio
            | Quantity::ShortMemory
            | Quantity::DriftRatio => self.instrument(key).map_or(Vec::new(), |instrument| self.of_bands(instrument)),
            Quantity::FeatureScale => self.of_features(),
            Quantity::Share | Quantity::Distance => vec![self.of_component(0)],
            _ => (0..self.data.components).map(|component| self.of_component(component)).collect(),
        }
    }

    /// The instrument that a key belongs to.
    fn instrument(&self, key: &Key) -> Option<&InstrumentSummary> {
        let Some(KeyStep::Instrument(name)) = key.steps().first() else { return None };
        self.data.instruments.iter().find(|instrument| instrument.name == *name)
    }

    /// Each feature of a raster, or one number for all curves of a seasonal mean.
    fn of_features(&self) -> Vec<About> {
        if self.features.is_empty() {
            let variances = (0..self.data.components).map(|component| self.of_component(component).variance);
            let variance = variances.sum::<f64>() / self.data.components.max(1) as f64;
            return vec![About { mean: 0.0, variance, change: 0.0 }];
        }
        self.features.iter().map(|&variance| About { mean: 0.0, variance, change: 0.0 }).collect()
    }

    /// Of what no band observes by itself, something sensible.
    fn of_component(&self, component: usize) -> About {
        let shown = self.data.component(component);
        let mean = shown.map_or(0.0, |band| band.mean);
        let variance = shown.map_or(1.0, |band| band.variance);
        // Where no cell is observed twice, coarse pixels show change, but less than that of cells.
        let any = || self.changes_of(component).find(|change| *change > 0.0);
        let change = shown.map(|band| band.change).filter(|change| *change > 0.0);
        let change = change.or_else(any).unwrap_or(variance / 100.0);
        About { mean, variance, change }
    }

    /// Change of a component by the bands of any instrument.
    fn changes_of(&self, component: usize) -> impl Iterator<Item = f64> + '_ {
        let bands = self.data.instruments.iter().flat_map(|instrument| &instrument.bands);
        bands.filter(move |band| band.component == Some(component)).map(|band| band.mean_change)
    }

    /// How well the change of cells is known beforehand.
    fn change_width(&self) -> f64 {
        let cells = self.data.instruments.iter().filter(|instrument| instrument.observes_cells);
        let twice = cells.flat_map(|instrument| &instrument.bands).any(|band| band.change > 0.0);
        if twice { CHANGE_WIDTH } else { UNSEEN_CHANGE_WIDTH }
    }

    /// Each band of an instrument's source.
    fn of_bands(&self, instrument: &InstrumentSummary) -> Vec<About> {
        let of = |source_band: usize| {
            let read = instrument.bands.iter().find(|band| band.source_band == source_band && band.values > 1);
            read.map_or(About { mean: 0.0, variance: 1.0, change: 1.0 }, |band| {
                let component = band.component.map(|component| self.of_component(component).variance);
                let variance = component.unwrap_or(band.variance);
                let change = if band.mean_change > 0.0 { band.mean_change } else { variance / 100.0 };
                About { mean: band.mean, variance, change }
            })
        };
        (0..instrument.source_bands).map(of).collect()
    }
}

/// Whether a quantity differs from band to band where bands are together.
fn is_of_bands(quantity: Quantity) -> bool {
    matches!(quantity, Quantity::Change | Quantity::PriorMean | Quantity::Bias | Quantity::Level)
}

/// Whether what is believed of a quantity is proportional to the size of values.
fn has_size(quantity: Quantity) -> bool {
    !quantity.is_ratio()
        && !matches!(
            quantity,
            Quantity::Range
                | Quantity::FarRange
                | Quantity::Nugget
                | Quantity::Memory
                | Quantity::OffsetMemory
                | Quantity::Weight
                | Quantity::Share
                | Quantity::Amplitude
        )
}

/// Standard deviation of each band in the middle of a raster.
///
/// # Errors
/// Those of reading it.
pub(crate) fn spread(raster: &dyn RasterSource, bands: &[usize]) -> Result<Vec<f64>> {
    let middle = |cells: usize| {
        let half = cells.min(MIDDLE) / 2;
        cells / 2 - half..(cells / 2 + half.max(1)).min(cells)
    };
    let (rows, cols) = raster.grid().shape();
    let region = PixelRegion::new(middle(rows), middle(cols));
    let Some(&date) = raster.dates().first() else {
        return Err(Error::setting("process.features.raster", format!("{}: no date", raster.origin())));
    };
    let values = raster.read(date, bands, &region)?.values;
    let sd = |plane: ndarray::ArrayView2<'_, f64>| {
        let known: Vec<f64> = plane.iter().copied().filter(|value| value.is_finite()).collect();
        let mean = known.iter().sum::<f64>() / known.len() as f64;
        (known.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / known.len() as f64).sqrt()
    };
    Ok(values.outer_iter().map(sd).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_for_several_is_about_their_mean() {
        let about = |variance| About { mean: 1.0, variance, change: 0.5 * variance };
        let of_two = About::mean_of(&[about(1.0), about(3.0)]).unwrap();
        assert_eq!((of_two.mean, of_two.variance, of_two.change), (1.0, 2.0, 1.0));
        assert!(About::mean_of(&[]).is_none());
    }
}
