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
//!
//! Baselines, such as the last clear value of a pixel, are scored on the same values.

mod baselines;
mod comparison;
mod judge;
mod mask;
mod predictor;
mod progress;
mod report;
mod source;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::describe::OutputDates;
use crate::describe::OutputSpace;
use crate::engine::{Fusion, FusionBuilder, Progress};
use crate::error::{Error, Result};
use crate::geometry::Date;
use crate::source::RasterSource;
use baselines::Baselines;
use judge::Judge;
use mask::WithholdingMask;
use source::WithholdingSource;

pub use comparison::{ComparedRow, Comparison, LeftOut};
pub use mask::{WithheldKind, Withhold};
pub use predictor::{Baseline, PredictionKind, Predictor};
pub use progress::{ValidationPass, ValidationProgress};
pub use report::{DaysSince, InstrumentValidation, ScoreRow, ValidationReport};

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
#[derive(Clone, Debug)]
pub struct Validation {
    seed: u64,
    baselines: bool,
    usual: Withhold,
    /// Exceptions by instrument name.
    of_instrument: Vec<(String, Withhold)>,
}

impl Default for Validation {
    /// As [`Validation::new`].
    fn default() -> Self {
        Self { seed: 0, baselines: true, usual: Withhold::default(), of_instrument: Vec::new() }
    }
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

    /// Whether baselines are scored on the same values ([`InstrumentValidation::baselines`]). Where blocks are
    /// withheld, the instruments are read once more for them. Default: yes.
    #[must_use]
    pub fn baselines(mut self, baselines: bool) -> Self {
        self.baselines = baselines;
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
        self.run_with(fusion, |_| ())
    }

    /// As [`run`](Self::run), and reports progress: after every batch of dates, and about once a second within one.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_with(
        &self,
        fusion: FusionBuilder,
        mut progress: impl FnMut(&ValidationProgress) + Send,
    ) -> Result<ValidationReport> {
        let (fusion, sources, lag) = self.withheld_from(fusion)?;
        let (_, independent) = fusion.lag_and_independence();
        let estimate = if lag > 0 { PredictionKind::Smoothed } else { PredictionKind::Filtered };
        let output_estimate = (lag > 0 || independent).then_some(estimate);
        let passes = 1 + usize::from(self.baselines && sources.iter().any(|source| source.mask().blocks().is_some()));
        let baselines = if self.baselines {
            let show = |run: &Progress| progress(&ValidationProgress::new(ValidationPass::Residuals, passes, run));
            Some(Baselines::new(&fusion, &sources, output_estimate, show)?)
        } else {
            None
        };
        let mut judge = Judge::new(&fusion, &sources, output_estimate, baselines);
        // The plan counts the batches of slices and results of reading ahead and writing behind. There is one of each
        // here. The withheld values and their predictions need less memory than the batches that are not used; what is
        // kept of them from batch to batch is counted.
        let mut stream = fusion.stream();
        // The threads of windows report too.
        let progress = Mutex::new(progress);
        let show = |run: &Progress| {
            let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress(&ValidationProgress::new(ValidationPass::Fusion, passes, run));
        };
        show(&stream.progress());
        while let Some(blocks) = stream.next_batch_watched(Some(&show)) {
            judge.batch(stream.readings(), stream.predictions(), &blocks?, stream.ended_tile())?;
            show(&stream.progress());
        }
        Ok(judge.report(self.seed, lag))
    }

    /// The fusion without what is withheld, the sources that withhold it, and the lag.
    fn withheld_from(&self, fusion: FusionBuilder) -> Result<(Fusion, Vec<Arc<WithholdingSource>>, usize)> {
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
        let (lag, _) = plain.lag_and_independence();
        let mut withholding = withholding.without_indices().sd_factor(1.0).start(period.start()).end(period.end());
        if lag == 0 {
            // The lag counts dates of the output axis. Without a lag, only the required dates are output.
            withholding = withholding.output(OutputDates::Dates(withheld.into_iter().collect()));
        }
        if plain.basis().is_some() {
            withholding = withholding.space(OutputSpace::Components);
        }
        drop(plain);
        Ok((withholding.build()?, sources, lag))
    }
}
