//! Model selection: a structure for every free table, table by table, then all free numbers.

use serde::{Serialize, Serializer};

use super::check;
use super::structure::{FreeTable, acquisition, take_variation};
use super::together::becomes_together;
use super::watch::{StageKind, Stages, Watch};
use super::{
    ChangeTrial, Choice, Comparison, Criterion, Estimate, Estimation, Fit, GateTrial, InstrumentSummary, SelfCheck,
};
use crate::describe::{Description, Features, Free, Instrument, Key, Numbers, PriorCorrelation, Raster, Structure};
use crate::error::{Error, Result};
use crate::model::{Model, ObservationModel};

/// The result of an estimation: structures, numbers and their standard errors.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EstimationResult {
    /// The description, with a structure for every table and every number.
    pub description: Description,
    /// The same with its numbers still free.
    pub free: Description,
    /// The estimates.
    pub fit: Fit,
    /// Structures that were compared, by the key of the table.
    pub choices: Vec<(Key, Choice)>,
    /// How well withheld dates are predicted, by instrument whose pixels are cells.
    pub checks: Vec<SelfCheck>,
    /// Gates that were tried, where the whole process was free.
    pub gates: Option<GateTrial>,
    /// What a map of change gains, where one was tried.
    pub change: Option<ChangeTrial>,
    /// Blocks that were looked at, and cells per side of each.
    pub blocks: (usize, usize),
    /// By instrument.
    pub instruments: Vec<NewImage>,
    /// Whether it was a first look.
    pub quick: bool,
    /// Whether this is the end: not of what is shown after a stage, nor where a [`Watch`] ended it early.
    pub finished: bool,
}

/// How structures are chosen, and those chosen so far.
struct Selection<'a> {
    criterion: Criterion,
    reference: Option<&'a Features>,
    best: &'a (dyn Fn(&EstimationResult) + Sync),
    choices: Vec<(Key, Choice)>,
}

/// How many structures are fitted for all free tables of a description.
fn structures(description: &Description, reference: Option<&Features>) -> usize {
    let mut description = description.clone();
    let mut count = 0;
    while let Some(table) = FreeTable::find(&description).first() {
        let steps = table.steps(&description, reference).len();
        count += if steps == 0 { 0 } else { 1 + steps };
        table.put_first(&mut description);
    }
    count
}

/// What a new image of an instrument adds to what is known of the scene.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NewImage {
    /// Name of the instrument.
    pub name: String,
    /// Variance of what it would show beyond the fused value, in u², of each band that is read: noise, the errors of
    /// its acquisition and group, and offsets that are forgotten by then.
    pub new_image_variance: Vec<f64>,
}

/// Makes a map of change, named as it is written.
pub type MakeMap<'a> = dyn Fn() -> Result<Raster> + Sync + 'a;

/// What new images add to what a description knows.
fn new_images(description: &Description) -> Result<Vec<NewImage>> {
    let of = |instrument: &ObservationModel| NewImage {
        name: instrument.name.clone(),
        new_image_variance: instrument.new_image_variance(),
    };
    Ok(Model::new(description)?.instruments.iter().map(of).collect())
}

impl Estimation {
    /// Chooses a structure for every table that a description leaves to be chosen, and finds all its free numbers.
    /// `reference` are features of a reference image by which cells may be similar, where there is one.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); [`Error::Setting`] for free numbers of an instrument of which no block holds a value.
    pub fn estimate(
        &self,
        description: &Description,
        criterion: Criterion,
        reference: Option<&Features>,
    ) -> Result<EstimationResult> {
        self.estimate_watched(description, criterion, reference, None, &(), &|_| ())
    }

    /// As [`estimate`](Self::estimate), followed by a watch that may end it early; `best` is shown the best so far,
    /// whenever a stage has found it. `change` makes a [map of change](crate::model::ChangeMap), which is
    /// [tried](Self::try_change) where the process, or its variation, is left to be chosen; one that cannot be made is
    /// a warning.
    ///
    /// # Errors
    /// As [`estimate`](Self::estimate).
    pub fn estimate_watched(
        &self,
        description: &Description,
        criterion: Criterion,
        reference: Option<&Features>,
        change: Option<&MakeMap<'_>>,
        watch: &dyn Watch,
        best: &(dyn Fn(&EstimationResult) + Sync),
    ) -> Result<EstimationResult> {
        let mut description = description.clone();
        self.refuse_unobserved(&description)?;
        let whole = description.process.is_free();
        let varies = take_variation(&mut description) || (whole && !self.quick);
        self.widen(&mut description);
        let compared = if self.quick { 0 } else { structures(&description, reference) };
        // The last fit, and the check.
        let mut stages = Stages::new(watch, compared + 2 + usize::from(varies && change.is_some()), compared);
        let mut selection = Selection { criterion, reference, best, choices: Vec::new() };
        // One table after the other: while its structures are compared, tables before it have the structure chosen,
        // tables after it the first.
        while let Some(table) = FreeTable::find(&description).first() {
            if self.quick || stages.stops() || table.steps(&description, reference).is_empty() {
                table.put_first(&mut description);
                continue;
            }
            self.choose_structure(table, &mut description, &mut selection, &mut stages)?;
        }
        let known = selection.choices.last().map(|(_, choice)| choice.best());
        let fit = match known {
            Some(known) if stages.stops() => known.clone(),
            _ => {
                let candidate = self.candidate("description", &description)?;
                let candidate = known.map_or(candidate.clone(), |known| candidate.begin_with(&known.description));
                let doing = format!("fitting {} numbers to {} blocks", candidate.free_numbers(), self.blocks());
                self.fit_to(&candidate, self.blocks(), self.quick, &stages.next(doing, StageKind::Fit))?
            }
        };
        let mut result = self.result(description, fit, selection.choices)?;
        if stages.stops() {
            return Ok(result);
        }
        best(&result);
        warn_of_guesses(&result.fit);
        if !stages.stops() {
            _ = stages.next("predicting withheld dates", StageKind::Check);
            if whole {
                (result.checks, result.gates) = self.try_gates(&mut result.description)?;
                result.instruments = new_images(&result.description)?;
            } else {
                result.checks = self.self_check(&result.description)?;
            }
            if let Some(make) = change.filter(|_| varies && !stages.stops()) {
                _ = stages.next("trying a map of change", StageKind::Check);
                match make() {
                    Ok(map) => match self.try_change(&mut result.description, result.checks.clone(), map) {
                        Ok(tried) => (result.checks, result.change) = tried,
                        // What was fitted before counts all the same.
                        Err(error) => tracing::warn!("no map of change: {error}"),
                    },
                    Err(error) => tracing::warn!("no map of change: {error}"),
                }
            }
            check::warn(&result.checks);
        }
        result.finished = !stages.stops();
        Ok(result)
    }

    /// What a fit of a description with free numbers has found, not checked yet.
    fn result(&self, free: Description, fit: Fit, choices: Vec<(Key, Choice)>) -> Result<EstimationResult> {
        Ok(EstimationResult {
            instruments: new_images(&fit.description)?,
            description: fit.description.clone(),
            blocks: (fit.blocks, self.side()),
            free,
            fit,
            choices,
            checks: Vec::new(),
            gates: None,
            change: None,
            quick: self.quick,
            finished: false,
        })
    }

    /// Compares the structures of a table and gives it the best.
    fn choose_structure(
        &self,
        table: &FreeTable,
        description: &mut Description,
        selection: &mut Selection<'_>,
        stages: &mut Stages<'_>,
    ) -> Result<()> {
        let key = table.key(description);
        let known = selection.choices.last().map(|(_, choice)| choice);
        let first_of_others = |description: &Description| {
            let mut all = description.clone();
            FreeTable::find(&all).iter().for_each(|other| _ = other.put_first(&mut all));
            all
        };
        let candidate = |name: &str, all: &Description| {
            let candidate = self.candidate(name, all)?;
            Ok::<_, Error>(match known {
                Some(choice) => candidate.begin_with(&choice.best().description),
                None => candidate,
            })
        };
        let steps = table.steps(description, selection.reference);
        let mut kept = table.put_first(description);
        let mut comparison = self.comparison(selection.criterion);
        let doing = |name: &str| format!("trying {key}: {name}");
        match known {
            // The first structure was fitted with those chosen before.
            Some(choice) if choice.best().converged => {
                comparison.begin(choice, &kept);
                stages.skip();
            }
            _ => {
                let all = first_of_others(description);
                comparison.challenge_in(&candidate(&kept, &all)?, &stages.next(doing(&kept), StageKind::Comparison));
                self.show_best(&comparison, all, selection)?;
            }
        }
        for step in steps {
            if stages.stops() {
                break;
            }
            let (name, next) = step.after(&kept, description);
            let all = first_of_others(&next);
            if comparison.challenge_in(&candidate(&name, &all)?, &stages.next(doing(&name), StageKind::Comparison)) {
                (kept, *description) = (name, next);
                self.show_best(&comparison, all, selection)?;
            }
        }
        match comparison.choice() {
            Ok(choice) => selection.choices.push((key, choice)),
            // Ended before anything was found of this table, with what was chosen for those before.
            Err(_) if stages.stops() && !selection.choices.is_empty() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Shows the best of a comparison, which was just found, to who watches.
    fn show_best(&self, comparison: &Comparison<'_>, free: Description, selection: &Selection<'_>) -> Result<()> {
        if let Some(fit) = comparison.kept() {
            (selection.best)(&self.result(free, fit.clone(), selection.choices.clone())?);
        }
        Ok(())
    }

    /// Refuses free numbers of an instrument of which the sample holds no value.
    fn refuse_unobserved(&self, description: &Description) -> Result<()> {
        let free = description.free();
        for instrument in &self.summary().instruments {
            let unobserved = instrument.bands.iter().all(|band| band.values == 0);
            let table = Key::of_instrument(&instrument.name);
            if unobserved && free.iter().any(|key| key.steps().first() == table.steps().first()) {
                let problem = format!(
                    "no block holds a value of {:?}, so nothing can be estimated for it; use more windows or larger ones \
                     (estimate.window), or give its numbers",
                    instrument.name
                );
                return Err(Error::setting("estimate.windows", problem));
            }
        }
        Ok(())
    }

    /// What a free number stands for beyond itself: of instruments whose pixels are not cells a free bias means
    /// offsets too, for their disagreement is hardly ever a constant; a prior of nothing but a free mean and variance
    /// is correlated as the process.
    fn widen(&self, description: &mut Description) {
        self.widen_together(description);
        for (instrument, summary) in description.instrument.iter_mut().zip(&self.summary().instruments) {
            if !summary.observes_cells && instrument.offset_layer.is_none() && instrument.bias == Free::default().into()
            {
                instrument.offset_layer = Some(Structure::Free);
            }
        }
        if let Some(prior) = description.prior.given_mut()
            && prior.mean.is_free()
            && (prior.variance.is_free() || prior.variance == Numbers::ratio(Free::default()).into())
        {
            prior.correlation = PriorCorrelation::Process;
        }
    }

    /// Whether pixels often lack a band that others of their instrument have, where nothing says that bands are together;
    /// with a warning.
    fn lacks_bands(&self, description: &Description) -> bool {
        let lacking: Vec<_> = self.summary().instruments.iter().filter(|instrument| instrument.lacks_bands()).collect();
        let given = |instrument: &Instrument| instrument.noise_variance.as_ref().is_some_and(Numbers::is_ratio);
        let together = description.instrument.iter().any(given);
        for InstrumentSummary { name, pixels, complete_pixels, bands, .. } in &lacking {
            let least = bands.iter().min_by_key(|band| band.values).map_or(0, |band| band.source_band + 1);
            let what = if together {
                "these pixels are missing in all bands"
            } else {
                "bands are estimated and filtered apart"
            };
            tracing::warn!(
                "{name:?}: {} of {pixels} sampled pixels lack a band, band {least} of the files most often: {what}; leave it \
                 out, or fuse it by itself, to have the others together",
                pixels - complete_pixels
            );
        }
        !lacking.is_empty() && !together
    }

    /// Where the process is free as a whole, and the noise of every instrument, bands are together: noise and the
    /// prior's variance are ratios then, and cell-sized instruments beside coarse ones have errors of acquisitions.
    fn widen_together(&self, description: &mut Description) {
        if !description.process.is_free() || !becomes_together(description) || self.lacks_bands(description) {
            return;
        }
        let free = Numbers::from(Free::default());
        let summaries = &self.summary().instruments;
        let several = summaries.iter().any(|summary| !summary.observes_cells);
        for (instrument, summary) in description.instrument.iter_mut().zip(summaries) {
            let plain = instrument.noise_variance.take_if(|noise| *noise == free).is_some();
            if plain {
                instrument.noise_variance = Some(Numbers::ratio(Free::default()));
            }
            // Where nothing else is observed, what a date has in common is change as well as error, and what is wanted are
            // the images.
            if plain && several && instrument.offset_layer.is_none() {
                let of_cells = || Structure::Given(vec![acquisition()]);
                instrument.offset_layer = Some(if summary.observes_cells { of_cells() } else { Structure::Free });
            }
        }
        if let Some(prior) = description.prior.given_mut()
            && prior.variance.is_free()
        {
            prior.variance = Numbers::ratio(Free::default()).into();
        }
    }
}

fn warn_of_guesses(fit: &Fit) {
    for Estimate { key, index, value, .. } in fit.estimates.iter().filter(|estimate| !estimate.observed) {
        let position = index + 1;
        tracing::warn!(
            "{key}, number {position}: the blocks contain no information about it; {value:.3e} is a guess, give a better one"
        );
    }
}

/// `finished`, `quick`, `blocks`, `cells_per_side`, `fit`, `choices` (each with the `table` that was free), `checks`, `gates`,
/// `change` and `instruments`.
impl Serialize for EstimationResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OfTable<'a> {
            table: &'a Key,
            #[serde(flatten)]
            choice: &'a Choice,
        }
        #[derive(Serialize)]
        struct View<'a> {
            finished: bool,
            quick: bool,
            blocks: usize,
            cells_per_side: usize,
            fit: &'a Fit,
            choices: Vec<OfTable<'a>>,
            checks: &'a [SelfCheck],
            gates: Option<GateTrial>,
            change: Option<ChangeTrial>,
            instruments: &'a [NewImage],
        }
        let Self {
            fit,
            choices,
            checks,
            gates,
            change,
            blocks: (blocks, cells_per_side),
            instruments,
            quick,
            finished,
            ..
        } = self;
        let choices = choices.iter().map(|(table, choice)| OfTable { table, choice }).collect();
        let (finished, quick, blocks, cells_per_side) = (*finished, *quick, *blocks, *cells_per_side);
        let (gates, change) = (*gates, *change);
        let view = View { finished, quick, blocks, cells_per_side, fit, choices, checks, gates, change, instruments };
        view.serialize(serializer)
    }
}
