//! Whether a fit's own intervals hold: dates of the sample are withheld and predicted.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::Estimation;
use super::candidate::for_blocks;
use crate::describe::Description;
use crate::engine::{Prediction, SampleBlock};
use crate::error::Result;
use crate::geometry::Date;
use crate::model::Model;
use crate::series::{Score, ScoreSums};

/// Passes over the sample, each of which withholds as large a part of the dates.
const PASSES: usize = 4;

/// What intervals of 90 % may hold: beyond, the uncertainty of a result is not what it says.
const HOLDS: RangeInclusive<f64> = 0.8..=0.97;

/// Values below which nothing is concluded.
const ENOUGH: u64 = 100;

/// How well a fit predicts whole dates of an instrument that it is not shown, in the sample's blocks.
///
/// Each date of the instrument but a block's first is withheld once, together with every fourth other, and predicted
/// from what the others and other instruments show up to it. Numbers were fitted to the same dates: with many numbers
/// and few dates it says too good a word of them, which withholding dates of a whole fusion
/// ([`Validation`](crate::validate::Validation)) does as well.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SelfCheck {
    /// Name of the instrument.
    pub instrument: String,
    /// Dates that were withheld.
    pub dates: usize,
    /// Of all bands.
    pub score: Score,
}

impl SelfCheck {
    /// Whether the intervals hold about what they say; also where there are too few values to know.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.score.values < ENOUGH || HOLDS.contains(&self.score.coverage_90)
    }
}

impl fmt::Display for SelfCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instrument, dates, score } = self;
        write!(
            f,
            "{instrument}: {dates} dates withheld in turn, {} values: RMSE {:.3e}, CRPS {:.3e}, 90 % intervals hold {:.1} %",
            score.values,
            score.rmse,
            score.crps,
            100.0 * score.coverage_90
        )
    }
}

impl Estimation {
    /// Predicts withheld dates of each instrument whose pixels are cells under a description all of whose numbers are
    /// given; instruments without a second date in any block are left out.
    ///
    /// # Errors
    /// Those of the description.
    pub fn self_check(&self, description: &Description) -> Result<Vec<SelfCheck>> {
        let model = Model::new(&for_blocks(description.clone(), self.sample.cells()))?;
        let inputs = self.sample.inputs(&model)?;
        let cells: Vec<usize> = (0..model.instruments.len()).filter(|&k| model.observes_cells(k)).collect();
        let mut sums = vec![(BTreeSet::<Date>::new(), ScoreSums::default()); model.instruments.len()];
        for pass in 0..PASSES {
            let of_block = |block: &SampleBlock| {
                let dates = |&k: &usize| block.dates_of(k).skip(1 + pass).step_by(PASSES).map(move |date| (k, date));
                cells.iter().flat_map(dates).collect::<HashSet<_>>()
            };
            let chosen: Vec<_> = self.sample.blocks().iter().map(of_block).collect();
            let withheld = |block: usize, instrument, date| chosen[block].contains(&(instrument, date));
            let predictions = self.sample.predictions(&model, &inputs, withheld)?;
            for prediction in predictions.into_iter().flatten().flatten() {
                let Prediction { date, instrument, value, mean, variance, noise, inflation, .. } = prediction;
                let (dates, sums) = &mut sums[instrument];
                dates.insert(date);
                sums.add(value, (mean, variance.sqrt()), inflation * noise);
            }
        }
        let checks = model.instruments.iter().zip(sums).filter(|(_, (_, sums))| !sums.is_empty());
        let check = |(instrument, (dates, sums)): (&crate::model::ObservationModel, (BTreeSet<Date>, ScoreSums))| {
            SelfCheck { instrument: instrument.name.clone(), dates: dates.len(), score: sums.score("all bands") }
        };
        Ok(checks.map(check).collect())
    }
}

/// Warns of instruments whose intervals do not hold.
pub(super) fn warn(checks: &[SelfCheck]) {
    for check in checks.iter().filter(|check| !check.holds()) {
        let coverage = 100.0 * check.score.coverage_90;
        let (are, such) = if coverage < 90.0 { ("narrow", "below") } else { ("wide", "above") };
        let factor = check.score.sd_factor.map_or(String::new(), |factor| {
            format!("; output.sd_factor = {factor:.2} would make them hold, if nothing else is wrong")
        });
        tracing::warn!(
            "{:?}: intervals that should hold 90 % of new values hold {coverage:.0} % on {} withheld dates, far {such} that: \
             uncertainties are too {are}{factor}",
            check.instrument,
            check.dates
        );
    }
}
