//! Validation: observations are withheld, predicted from all others, and compared. Imports every other module.
//!
//! Two kinds of observations are withheld: contiguous blocks of pixels, which the rest of their date also predicts,
//! and whole dates, which only other dates and instruments predict. Two kinds of predictions are scored: *filtered*
//! ones, from the observations up to their date, and, with a lag, *smoothed* ones, as the fusion outputs them.
//!
//! With windows, an instrument's withheld pixels are predicted like every observation: footprints that extend beyond
//! the window and correlation inside them are exact, for coarse pixels as for fine ones. With a lag the output holds
//! cells without their joint distribution. Smoothed predictions are therefore scored only for instruments whose
//! pixels are cells.
//! for instruments whose pixels are cells only.

mod judge;
mod mask;
mod report;
mod source;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::describe::OutputDates;
use crate::describe::OutputSpace;
use crate::engine::FusionBuilder;
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::source::RasterSource;
use judge::Judge;
use mask::WithholdingMask;
use source::WithholdingSource;

pub use mask::{WithheldKind, Withhold};
pub use report::{DaysSince, InstrumentValidation, PredictionKind, ScoreRow, ValidationReport};

/// Withholds observations of a fusion, predicts them, and scores the predictions.
///
/// ```
/// use ndarray::Array4;
/// use rasterfuse::Fusion;
/// use rasterfuse::geometry::{Crs, Date, Grid};
/// use rasterfuse::describe::{Instrument, Kernel, Prior, Process};
/// use rasterfuse::source::MemorySource;
/// use rasterfuse::validate::{Validation, Withhold};
///
/// let grid = Grid::new(Crs::unknown(), [0.0, 30.0, 0.0, 0.0, 0.0, -30.0], (16, 16))?;
/// let dates: Vec<Date> = (0..12).map(Date::from_days).collect();
/// let values = Array4::from_shape_fn((12, 1, 16, 16), |(t, _, y, x)| 0.3 + 0.01 * (t as f64 + ((x * y) as f64).sin()));
/// let source = MemorySource::new(grid.clone(), dates, vec!["red".into()], values)?;
/// let fusion = Fusion::builder(grid)
///     .bands(["red"])
///     .process(Process::new(Kernel::Exponential, 100.0, 1e-4))
///     .prior(Prior::new(0.3, 0.01))
///     .instrument(Instrument::new("s2", source).noise_variance(1e-5));
/// let report = Validation::new().withhold(Withhold::default().share(0.2).dates(2)).seed(7).run(fusion)?;
/// let score = &report.instruments[0].scores[0].score; // all that was withheld
/// assert!(score.values > 500 && score.rmse < 0.03);
/// println!("{report}");
/// # Ok::<(), rasterfuse::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Validation {
    seed: u64,
    usual: Withhold,
    /// Exceptions by instrument name.
    of_instrument: Vec<(String, Withhold)>,
}

impl Validation {
    /// The defaults of [`Withhold`] for every instrument.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Seed of the random choice: the same seed withholds the same observations of the same inputs. Default: 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets what is withheld of instruments without a setting of their own.
    #[must_use]
    pub fn withhold(mut self, withhold: Withhold) -> Self {
        self.usual = withhold;
        self
    }

    /// Sets what is withheld of one instrument.
    #[must_use]
    pub fn withhold_of(mut self, instrument: impl Into<String>, withhold: Withhold) -> Self {
        self.of_instrument.push((instrument.into(), withhold));
        self
    }

    /// Fuses without the withheld observations, and scores the predictions. Nothing is written, and memory does not
    /// grow with the length of the series.
    ///
    /// A factor on the standard deviations ([`FusionBuilder::sd_factor`]) is not applied: the report gives the factor
    /// to use.
    ///
    /// # Errors
    /// [`Error::Setting`] for invalid shares and blocks, for instruments that do not exist, and when nothing would be
    /// withheld; otherwise the errors of [`FusionBuilder::build`] and of [`Job::run`](crate::engine::Job::run).
    pub fn run(&self, fusion: FusionBuilder) -> Result<ValidationReport> {
        let plain = fusion.clone().build()?;
        let period = plain.period();
        let dates = |source: &dyn RasterSource| -> Vec<Date> {
            source.dates().iter().copied().filter(|date| period.contains(*date)).collect()
        };
        let models = plain.instruments();
        for (name, _) in &self.of_instrument {
            if models.iter().all(|model| model.name != *name) {
                let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
                let problem = format!("there is no instrument {name:?}; there are {names:?}");
                return Err(Error::setting("validation: instrument", problem));
            }
        }
        let mut sources: Vec<Arc<WithholdingSource>> = Vec::with_capacity(models.len());
        let withholding = fusion.withhold(|name, source| {
            let of_this = self.of_instrument.iter().rev().find(|(other, _)| other == name);
            let withhold = of_this.map_or(self.usual, |(_, withhold)| *withhold);
            let shape = source.grid().shape();
            let mask = WithholdingMask::new((self.seed, name), withhold, shape, &dates(source.as_ref()))?;
            let source = Arc::new(WithholdingSource::new(Arc::clone(source), mask));
            sources.push(Arc::clone(&source));
            Ok(source)
        })?;
        let withheld: BTreeSet<Date> = sources.iter().flat_map(|source| source.mask().dates()).collect();
        if withheld.is_empty() {
            let problem = "nothing would be withheld: an instrument needs at least two dates in the period, and a share or a \
                           number of dates above zero";
            return Err(Error::setting("validation", problem));
        }
        let (lag, independent) = plain.lag_and_independence();
        let mut withholding = withholding.without_indices().sd_factor(1.0).start(period.start()).end(period.end());
        if lag == 0 {
            // The lag counts dates of the output axis. Without a lag, only the required dates are output.
            withholding = withholding.output(OutputDates::Dates(withheld.into_iter().collect()));
        }
        if plain.basis().is_some() {
            withholding = withholding.space(OutputSpace::Components);
        }
        drop(plain);
        let fusion = withholding.build()?;
        let mut judge = Judge::new(&fusion, &sources, lag > 0 || independent);
        // The plan counts the batches of slices and results of reading ahead and writing behind. There is one of each
        // here. The withheld values and their predictions need less memory than the batches that are not used.
        let mut stream = fusion.stream();
        while let Some(blocks) = stream.next_batch() {
            let blocks = blocks?;
            judge.filtered(stream.predictions());
            for block in &blocks {
                judge.block(block)?;
            }
        }
        Ok(judge.report(self.seed, lag))
    }
}
