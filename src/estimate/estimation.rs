//! Blocks of a scene, in memory, to which descriptions are fitted.

use std::collections::BTreeMap;
use std::time::Instant;

use bytesize::ByteSize;
use rayon::prelude::*;

use super::beliefs::Beliefs;
use super::candidate::{Failed, for_blocks};
use super::objective::Objective;
use super::optimum::{search, usual_effort};
use super::sound;
use super::structure::filled;
use super::together::becomes_together;
use super::watch::Stage;
use super::{Candidate, Choice, Criterion, DataSummary, Estimate, Fit, InstrumentSummary};
use crate::describe::Description;
use crate::engine::{BlockCells, Checkpoint, FusionBuilder, MemoryBudget, Precision, Sample, Sampling};
use crate::error::{Error, Key, Result};
use crate::model::Model;

/// Blocks that structures are compared on at least, where there are so many.
const COMPARED: usize = 6;

/// Difference of a criterion, twice a logarithm, beyond which evidence is called strong.
pub(super) const EVIDENCE: f64 = 6.0;

/// How much of a scene is looked at for an estimation.
///
/// What is read stays in memory, 8 bytes for each value of the blocks looked at, missing ones included: dates × bands
/// × pixels of twice as many blocks as are kept. It does not grow with the scene.
#[derive(Clone, Copy, Debug)]
pub struct EstimationBuilder {
    blocks: Option<usize>,
    side: Option<usize>,
    scattered: Option<usize>,
    radius: f64,
    dates: Option<usize>,
    threads: usize,
    quick: bool,
}

/// Blocks, cells per side of each and cells scattered around it: by default, and where bands are together.
const BLOCKS: (usize, usize, usize) = (24, 10, 0);
const BLOCKS_TOGETHER: (usize, usize, usize) = (8, 4, 48);

/// By what blocks, scattered cells and dates are divided where it must be quick.
const QUICK: usize = 2;

/// Dates of a block.
const DATES: usize = 200;

/// How far scattered cells lie at most, in cells.
const RADIUS: f64 = 24.0;

impl EstimationBuilder {
    /// Blocks at most; default 24, and 8 where bands are estimated together.
    #[must_use]
    pub fn blocks(mut self, blocks: usize) -> Self {
        self.blocks = Some(blocks);
        self
    }

    /// Cells per side of a block; default 10, and 4 where bands are estimated together. Time grows with its fourth to
    /// sixth power.
    #[must_use]
    pub fn side(mut self, cells: usize) -> Self {
        self.side = Some(cells);
        self
    }

    /// Single cells that each block has in addition, scattered around it; default none, and 48 where bands are
    /// estimated together. Neighbouring cells alone say little of what changes over far more
    /// than a block.
    #[must_use]
    pub fn scattered(mut self, cells: usize) -> Self {
        self.scattered = Some(cells);
        self
    }

    /// How far scattered cells lie at most, in cells; default 24.
    #[must_use]
    pub fn radius(mut self, cells: f64) -> Self {
        self.radius = cells;
        self
    }

    /// Dates with observations that a block uses at most, one after the other; default 200. Each block of a longer
    /// series has a stretch of its own.
    #[must_use]
    pub fn dates(mut self, dates: usize) -> Self {
        self.dates = Some(dates);
        self
    }

    /// A first look: half of the blocks, of the scattered cells and of the dates where none of these is set, the first
    /// structure of every table, a rough fit without standard errors.
    #[must_use]
    pub fn quick(mut self, quick: bool) -> Self {
        self.quick = quick;
        self
    }

    /// Worker threads; 0, the default, is one per core.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Refuses numbers that cannot be, before anything is opened.
    ///
    /// # Errors
    /// [`Error::Setting`], as [`read`](Self::read).
    pub(crate) fn check(&self) -> Result<()> {
        let given = [("windows", self.blocks), ("window", self.side), ("dates", self.dates)];
        if let Some((key, _)) = given.into_iter().find(|(_, value)| *value == Some(0)) {
            return Err(Error::setting(format!("estimate.{key}"), "0; give at least 1"));
        }
        if self.radius > 0.0 && self.radius.is_finite() {
            return Ok(());
        }
        Err(Error::number("estimate.radius", self.radius, "must be a positive number of cells"))
    }

    /// Reads the blocks of what a fusion observes. Its numbers do not matter, and may be free.
    ///
    /// # Errors
    /// Those of [`FusionBuilder::build`] and of reading; [`Error::Setting`] when no block holds a value.
    pub fn read(self, fusion: &FusionBuilder) -> Result<Estimation> {
        self.check()?;
        if !becomes_together(fusion.description()) {
            return self.read_blocks(fusion, BLOCKS);
        }
        let together = self.read_blocks(fusion, BLOCKS_TOGETHER)?;
        // Bands will be apart: other blocks say more of them.
        if together.summary.instruments.iter().any(InstrumentSummary::lacks_bands) {
            return self.read_blocks(fusion, BLOCKS);
        }
        Ok(together)
    }

    /// Reads blocks, by default as many of as many cells as `defaults`.
    fn read_blocks(self, fusion: &FusionBuilder, defaults: (usize, usize, usize)) -> Result<Estimation> {
        let (side, threads) = (self.side.unwrap_or(defaults.1), self.threads);
        let part = |number: usize| if self.quick { number.div_ceil(QUICK) } else { number };
        let scattered = self.scattered.unwrap_or_else(|| part(defaults.2));
        let cells = BlockCells { side, scattered, radius: self.radius };
        let (blocks, dates) =
            (self.blocks.unwrap_or_else(|| part(defaults.0)), self.dates.unwrap_or_else(|| part(DATES)));
        let sampling = Sampling { blocks, cells, dates, threads };
        let allowed = fusion.options().memory.bytes()?;
        let plain = fusion
            .clone()
            .describe(for_blocks(filled(fusion.description().clone()), cells))
            .precision(Precision::F64)
            .checkpoint(Checkpoint::Off)
            .memory(MemoryBudget::Bytes(u64::MAX))
            .batch_dates(1)
            .shards(1)
            .threads(1)
            .build()?;
        let threads = if threads == 0 { rayon::current_num_threads() } else { threads };
        let of_a_block = plain.plan().state_bytes.saturating_add(plain.plan().workspace_bytes);
        let needed = of_a_block.saturating_mul(threads as u64);
        if needed > allowed {
            let (needed, allowed) = (ByteSize(needed), ByteSize(allowed));
            let problem = format!(
                "{side} cells a side take {needed} on {threads} threads, more than the {allowed} that run.memory allows; give fewer"
            );
            return Err(Error::setting("estimate.window", problem));
        }
        let sample = Sample::read(&plain, sampling)?;
        sound::check(&sample, plain.model())?;
        let summary = DataSummary::new(&sample, plain.model());
        Ok(Estimation { sample, summary, quick: self.quick })
    }
}

/// Blocks of a scene, in memory, to which descriptions are fitted.
#[derive(Debug)]
pub struct Estimation {
    pub(super) sample: Sample,
    summary: DataSummary,
    pub(super) quick: bool,
}

impl Estimation {
    /// An estimation with the default blocks.
    #[must_use]
    pub fn builder() -> EstimationBuilder {
        EstimationBuilder {
            blocks: None,
            side: None,
            scattered: None,
            radius: RADIUS,
            dates: None,
            threads: 0,
            quick: false,
        }
    }

    /// What the sample's values are like.
    #[must_use]
    pub fn summary(&self) -> &DataSummary {
        &self.summary
    }

    /// Blocks that were kept.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.sample.blocks().len()
    }

    /// Cells per side of each.
    #[must_use]
    pub fn side(&self) -> usize {
        self.sample.cells().side
    }

    /// Values in them.
    #[must_use]
    pub fn values(&self) -> usize {
        self.values_of(self.blocks())
    }

    fn values_of(&self, blocks: usize) -> usize {
        self.sample.blocks()[..blocks].iter().map(|block| block.values).sum()
    }

    /// Log-likelihood of the sample under a description all of whose numbers are given; negative infinity where the
    /// arithmetic breaks down.
    ///
    /// # Errors
    /// Those of the description.
    pub fn log_likelihood(&self, description: &Description) -> Result<f64> {
        let model = Model::new(&for_blocks(description.clone(), self.sample.cells()))?;
        let inputs = self.sample.inputs(&model)?;
        let values = self.sample.by_date(&[Some(model)], &inputs, self.blocks())?;
        let dates: Option<Vec<_>> = values.into_iter().flatten().collect();
        Ok(dates.map_or(f64::NEG_INFINITY, |dates| dates.iter().flatten().map(|of| of.log_likelihood).sum()))
    }

    /// A description with free numbers as something to fit. What is believed of numbers that say nothing of
    /// themselves follows from the data.
    ///
    /// # Errors
    /// [`Error::Setting`] by key for what cannot be estimated.
    pub fn candidate(&self, name: &str, description: &Description) -> Result<Candidate> {
        Candidate::new(name, description, &Beliefs::new(&self.summary, description)?, self.sample.cells())
    }

    /// Finds the numbers of a candidate that are most likely, weak priors included. Numbers of parts of the scene
    /// that are filtered separately and share none are found separately, in parallel.
    ///
    /// # Errors
    /// Those of the description with its initial numbers; [`Error::Setting`] when the likelihood breaks down wherever
    /// it is tried.
    pub fn fit(&self, candidate: &Candidate) -> Result<Fit> {
        self.fit_to(candidate, self.blocks(), false, &Stage::unwatched())
    }

    /// Fits a candidate to the first blocks; `roughly` without standard errors. Where the stage is to end it is the best
    /// so far.
    pub(super) fn fit_to(&self, candidate: &Candidate, blocks: usize, roughly: bool, stage: &Stage<'_>) -> Result<Fit> {
        let started = Instant::now();
        let objective = Objective::new(&self.sample, candidate, blocks, stage)?;
        let mut theta = objective.start();
        let base = theta.clone();
        let mut sd = vec![None; theta.len()];
        let groups = objective.groups();
        let usual = groups.iter().map(|group| usual_effort(&objective, group, roughly)).sum::<usize>();
        stage.expect(objective.evaluations() + usual);
        let searched = |group| search(&objective, group, &base, roughly);
        let found =
            self.sample.install(|| groups.par_iter().with_max_len(1).map(searched).collect::<Result<Vec<_>>>())?;
        let (mut converged, mut steps) = (true, 0);
        for (group, optimum) in groups.iter().zip(found) {
            let Some(optimum) = optimum else {
                let key = &candidate.entries[group.entries[0]].key;
                let problem =
                    "the likelihood could not be computed at any point; check the other settings, and valid_range";
                return Err(Error::setting(key, problem));
            };
            converged &= optimum.converged;
            steps += optimum.steps;
            for ((&entry, value), error) in group.entries.iter().zip(optimum.theta).zip(optimum.sd) {
                theta[entry] = value;
                sd[entry] = Some(error);
            }
        }
        let numbers = objective.numbers(&theta);
        let estimates = candidate.entries.iter().zip(&theta).zip(sd);
        let mut estimates: Vec<_> = estimates.map(|((entry, &theta), sd)| Estimate::new(entry, theta, sd)).collect();
        let mut description = candidate.with_numbers(&numbers);
        if let Some(profile) = &candidate.profile {
            let model = Model::new(&candidate.of_blocks_with_numbers(&numbers))?;
            for (k, part) in model.parts.iter().enumerate() {
                if let (Some(together), Some(maximum)) = (&part.together, objective.maximum(k, &theta)?) {
                    estimates.extend(profile.put(&maximum, together, &model, &mut description));
                }
            }
        }
        Ok(Fit {
            candidate: candidate.name().to_owned(),
            numbers: by_key(&estimates),
            estimates,
            log_likelihood: objective.log_likelihood(&theta)?,
            penalty: objective.penalty(&theta),
            values: self.values_of(blocks),
            blocks,
            steps,
            converged,
            evaluations: objective.evaluations(),
            time: started.elapsed(),
            description,
        })
    }

    /// Fits every candidate to half of the blocks (at least six), roughly, and chooses: the one kept so far gives way
    /// to a later one whose criterion is less by more than 6, which is called strong evidence (Kass & Raftery, *Bayes
    /// Factors*, Journal of the American Statistical Association 90, 1995). So put first what you would rather have;
    /// no other is better by more than 6.
    ///
    /// What is chosen is to be [fitted](Self::fit) to all blocks then, [beginning](Candidate::begin_with) with what
    /// was found. Each search begins, among other places, with what the one kept so far has found of numbers of the
    /// same key, so that a structure that holds another is not fitted worse. Candidates that cannot be fitted are
    /// passed over while others can, and [named](Choice::failed).
    ///
    /// # Errors
    /// As [`fit`](Self::fit) of the last candidate, when none can be fitted.
    pub fn choose(&self, candidates: &[Candidate], criterion: Criterion) -> Result<Choice> {
        let mut comparison = self.comparison(criterion);
        for candidate in candidates {
            comparison.challenge(candidate);
        }
        comparison.choice()
    }

    /// Candidates to be compared one by one, as [`choose`](Self::choose) does, where what comes next depends on what
    /// is kept.
    #[must_use]
    pub fn comparison(&self, criterion: Criterion) -> Comparison<'_> {
        let failure = Error::setting("estimate", "no candidate to choose from");
        Comparison { estimation: self, criterion, fits: Vec::new(), failed: Vec::new(), kept: None, failure }
    }
}

/// Candidates that are compared one by one, by [`Estimation::comparison`].
#[derive(Debug)]
pub struct Comparison<'a> {
    estimation: &'a Estimation,
    criterion: Criterion,
    fits: Vec<Fit>,
    failed: Vec<Failed>,
    /// The best so far, by its position among the fits.
    kept: Option<usize>,
    failure: Error,
}

impl Comparison<'_> {
    /// Begins with what another comparison of this estimation has chosen, under another name, without fitting it again.
    pub fn begin(&mut self, choice: &Choice, name: &str) {
        self.kept = Some(self.fits.len());
        self.fits.push(Fit { candidate: name.to_owned(), ..choice.best().clone() });
    }

    /// Fits a candidate to half of the blocks (at least six), roughly, and says whether it is kept in place of the
    /// best so far.
    pub fn challenge(&mut self, candidate: &Candidate) -> bool {
        self.challenge_in(candidate, &Stage::unwatched())
    }

    /// The same as a stage that is watched.
    pub(super) fn challenge_in(&mut self, candidate: &Candidate, stage: &Stage<'_>) -> bool {
        let blocks = self.estimation.blocks().div_ceil(2).max(COMPARED).min(self.estimation.blocks());
        let known = self.kept.map(|kept| &self.fits[kept].description);
        let candidate = known.map_or_else(|| candidate.clone(), |found| candidate.clone().begin_with(found));
        match self.estimation.fit_to(&candidate, blocks, true, stage) {
            Ok(fit) if self.criterion.of(&fit).is_finite() => {
                tracing::info!(
                    "log-likelihood {:.1}, {} likelihoods of a block in {:.0} s",
                    fit.log_likelihood,
                    fit.evaluations,
                    fit.time.as_secs_f64()
                );
                let kept = self.kept.map(|kept| self.criterion.of(&self.fits[kept]));
                let better = is_better(self.criterion.of(&fit), kept);
                self.fits.push(fit);
                if better {
                    self.kept = Some(self.fits.len() - 1);
                }
                better
            }
            Ok(fit) => {
                let problem = "its likelihood is not finite anywhere";
                self.failure = Error::setting("estimate", format!("{}: {problem}", candidate.name()));
                self.failed.push(Failed { candidate: fit.candidate, reason: problem.into() });
                false
            }
            Err(error) => {
                let candidate = candidate.name().to_owned();
                self.failed.push(Failed { candidate, reason: error.to_string() });
                self.failure = error;
                false
            }
        }
    }

    /// The best so far.
    pub(super) fn kept(&self) -> Option<&Fit> {
        self.kept.map(|kept| &self.fits[kept])
    }

    /// What was compared, and what is kept.
    ///
    /// # Errors
    /// Those of the last candidate, when none could be fitted.
    pub fn choice(self) -> Result<Choice> {
        let Self { fits, failed, criterion, failure, .. } = self;
        self.kept.map(|best| Choice { fits, failed, best, criterion }).ok_or(failure)
    }
}

/// The numbers of each key that has free ones.
fn by_key(estimates: &[Estimate]) -> BTreeMap<Key, Vec<f64>> {
    let mut numbers: BTreeMap<Key, Vec<f64>> = BTreeMap::new();
    for Estimate { key, value, .. } in estimates {
        numbers.entry(key.clone()).or_default().push(*value);
    }
    numbers
}

/// Whether a criterion is strong evidence against the one kept so far, if there is one.
fn is_better(criterion: f64, kept: Option<f64>) -> bool {
    kept.is_none_or(|kept| criterion < kept - EVIDENCE)
}

#[cfg(test)]
mod tests {
    use super::is_better;

    /// Which of some criteria is kept in the end.
    fn kept(criteria: &[f64]) -> Option<usize> {
        (0..criteria.len()).fold(None, |kept, k| {
            if is_better(criteria[k], kept.map(|kept: usize| criteria[kept])) { Some(k) } else { kept }
        })
    }

    #[test]
    fn what_comes_first_is_kept_without_strong_evidence_against_it() {
        assert_eq!(kept(&[5.9, 0.1, 0.0]), Some(0));
        assert_eq!(kept(&[6.1, 3.0, 0.0]), Some(2));
        assert_eq!(kept(&[6.1, 0.1, -5.0]), Some(2));
        assert_eq!(kept(&[100.0, 50.0, 0.0]), Some(2));
        assert_eq!(kept(&[]), None);
    }
}
