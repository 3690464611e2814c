//! Whether a fit's own intervals hold: dates of the sample are withheld and predicted.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::Estimation;
use super::candidate::for_blocks;
use crate::describe::Description;
use crate::engine::{Prediction, SampleBlock};
use crate::error::Result;
use crate::geometry::Date;
use crate::model::{Model, ObservationModel};
use crate::series::{HALF_WIDTH_90, Score, ScoreSums};

/// Passes over the sample; each withholds a quarter of the dates.
const PASSES: usize = 4;

/// Share of values inside 90 % intervals outside of which a result is not what it says.
const TOLERATED: RangeInclusive<f64> = 0.8..=0.97;

/// Dates below which nothing is concluded: what is wrong with a date is wrong with all of its values.
pub(super) const LEAST_DATES: usize = 5;

/// Standard errors, of a share that is counted by dates, within which a departure says nothing.
const CHANCE: f64 = 2.0;

/// Share of predictions that may fail.
const FAILING: f64 = 0.01;

/// How well a fit predicts whole dates of an instrument that it is not shown, in the sample's blocks.
///
/// Each date of the instrument but a block's first is withheld once, together with every fourth other, and predicted
/// from what the others and other instruments show up to it, without `inflate`. It is optimistic:
/// numbers were fitted to the same dates, and a seasonal mean or the features of a reference image may have been made
/// of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SelfCheck {
    /// Name of the instrument.
    pub instrument: String,
    /// Dates that were withheld.
    pub dates: usize,
    /// Of all bands, in u; predictions that broke down are `missing`.
    pub score: Score,
    /// Standard error of `score.coverage_90`, the values of a date being as good as one.
    pub coverage_90_error: f64,
}

impl SelfCheck {
    /// Whether the intervals hold about what they say; also where there are too few dates to know.
    #[must_use]
    pub fn holds(&self) -> bool {
        let Score { values, missing, coverage_90, .. } = self.score;
        let failing = missing as f64 > FAILING * (values + missing) as f64;
        let chance = self.dates < LEAST_DATES || (coverage_90 - 0.9).abs() < CHANCE * self.coverage_90_error;
        !failing && (chance || TOLERATED.contains(&coverage_90))
    }
}

impl fmt::Display for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instrument, dates, score, coverage_90_error } = self;
        write!(
            f,
            "{instrument}: {dates} dates withheld in turn, {} values: RMSE {:.3e}, CRPS {:.3e}, 90 % intervals hold {:.1} ± {:.1} %",
            score.values,
            score.rmse,
            score.crps,
            100.0 * score.coverage_90,
            100.0 * coverage_90_error
        )?;
        if score.missing > 0 { write!(f, "; {} predictions failed numerically", score.missing) } else { Ok(()) }
    }
}

/// What is known of the withheld values of an instrument.
#[derive(Clone, Debug, Default)]
pub(super) struct Withheld {
    instrument: String,
    all: ScoreSums,
    /// Of each date, values inside their intervals and values.
    dates: BTreeMap<Date, (f64, f64)>,
    /// By band, of each value the squared error and its predicted variance, noise included.
    pub(super) errors: BTreeMap<usize, Vec<(f64, f64)>>,
}

impl Withheld {
    fn add(&mut self, of: &Prediction) {
        let (sd, noise) = (of.variance.sqrt(), of.inflation * of.noise);
        self.all.add(of.value, (of.mean, sd), noise);
        let (square, variance) = ((of.value - of.mean).powi(2), of.variance + noise.max(0.0));
        if square.is_finite() && variance.is_finite() && variance > 0.0 {
            self.errors.entry(of.band).or_default().push((square, variance));
        }
        let (inside, values) = self.dates.entry(of.date).or_default();
        let within = (of.value - of.mean).abs() <= HALF_WIDTH_90 * sd.hypot(noise.max(0.0).sqrt());
        (*inside, *values) = (*inside + f64::from(u8::from(within)), *values + 1.0);
    }

    /// The share of values inside, with the spread of dates about it: a ratio estimate of clusters of unequal size
    /// (Cochran, *Sampling Techniques*, 3rd ed., chapter 6), without its factor n / (n - 1).
    pub(super) fn check(&self) -> SelfCheck {
        let score = self.all.score("all bands");
        let departures = self.dates.values().map(|(inside, values)| (inside - score.coverage_90 * values).powi(2));
        let coverage_90_error = departures.sum::<f64>().sqrt() / score.values as f64;
        SelfCheck { instrument: self.instrument.clone(), dates: self.dates.len(), score, coverage_90_error }
    }
}

impl Estimation {
    /// Predicts withheld dates of each instrument whose pixels are cells under a description all of whose numbers are
    /// given, gates included; instruments without a second date in any block are left out.
    ///
    /// # Errors
    /// Those of the description.
    pub fn self_check(&self, description: &Description) -> Result<Vec<SelfCheck>> {
        Ok(self.withhold(description, false)?.iter().map(Withheld::check).collect())
    }

    /// What the checks are made of; as a `gap` only in the squares of blocks, with the scattered cells of the date shown.
    pub(super) fn withhold(&self, description: &Description, gap: bool) -> Result<Vec<Withheld>> {
        let mut of_blocks = for_blocks(description.clone(), self.sample.cells());
        for (of_block, described) in of_blocks.instrument.iter_mut().zip(&description.instrument) {
            (of_block.gate, of_block.follow, of_block.robust) = (described.gate, described.follow, described.robust);
        }
        let model = Model::new(&of_blocks)?;
        let inputs = self.sample.inputs(&model)?;
        let cells: Vec<usize> = (0..model.instruments.len()).filter(|&k| model.observes_cells(k)).collect();
        let of_instrument =
            |instrument: &ObservationModel| Withheld { instrument: instrument.name.clone(), ..Withheld::default() };
        let mut sums: Vec<Withheld> = model.instruments.iter().map(of_instrument).collect();
        for pass in 0..PASSES {
            let of_block = |block: &SampleBlock| {
                let dates = |&k: &usize| block.dates_of(k).skip(1 + pass).step_by(PASSES).map(move |date| (k, date));
                cells.iter().flat_map(dates).collect::<HashSet<_>>()
            };
            let chosen: Vec<_> = self.sample.blocks().iter().map(of_block).collect();
            let withheld = |block: usize, instrument, date| chosen[block].contains(&(instrument, date));
            let predictions = self.sample.predictions(&model, &inputs, gap, withheld)?;
            for prediction in predictions.into_iter().flatten().flatten() {
                sums[prediction.instrument].add(&prediction);
            }
        }
        sums.retain(|sums| !sums.dates.is_empty());
        Ok(sums)
    }
}

/// By which share scores are smaller than others of the same instruments, on average; NaN where dates are too few.
pub(super) fn gain(checks: &[SelfCheck], others: &[SelfCheck]) -> f64 {
    if others.iter().all(|check| check.dates < LEAST_DATES) {
        return f64::NAN;
    }
    let ratios: Vec<f64> = checks.iter().zip(others).map(|(new, old)| new.score.crps / old.score.crps).collect();
    1.0 - ratios.iter().sum::<f64>() / ratios.len() as f64
}

/// Warns of instruments whose intervals do not hold.
pub(super) fn warn(checks: &[SelfCheck]) {
    for check in checks.iter().filter(|check| !check.holds()) {
        if check.score.missing as f64 > FAILING * check.score.values as f64 {
            tracing::warn!(
                "{:?}: {} predictions of withheld values failed numerically",
                check.instrument,
                check.score.missing
            );
            continue;
        }
        let coverage = 100.0 * check.score.coverage_90;
        let what = if coverage < 90.0 { "narrow" } else { "wide" };
        tracing::warn!(
            "{:?}: intervals that should hold 90 % of new values hold {coverage:.0} % on {} withheld dates: uncertainties are too \
             {what}; validate the fusion, which finds a factor for each band",
            check.instrument,
            check.dates
        );
    }
}
