//! Model selection: a structure for every free table, table by table, then all free numbers.

use serde::{Serialize, Serializer};

use super::structure::{FreeTable, acquisition, take_variation};
use super::together::becomes_together;
use super::{ChangeByBlock, Choice, Criterion, Estimate, Estimation, Fit};
use crate::describe::{Description, Features, Free, Key, Numbers, PriorCorrelation, Structure};
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
    /// How change varies over the scene, where that was asked for.
    pub change: Option<ChangeByBlock>,
    /// Blocks that were looked at, and cells per side of each.
    pub blocks: (usize, usize),
    /// By instrument.
    pub instruments: Vec<NewImage>,
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
        let mut description = description.clone();
        self.refuse_unobserved(&description)?;
        let varies = take_variation(&mut description);
        self.widen(&mut description);
        let mut choices: Vec<(Key, Choice)> = Vec::new();
        // One table after the other: while its structures are compared, tables before it have the structure chosen,
        // tables after it the first.
        while let Some(table) = FreeTable::find(&description).first() {
            if table.steps(&description, reference).is_empty() {
                table.put_first(&mut description);
                continue;
            }
            let choice = self.choose_structure(table, &mut description, criterion, reference, choices.last())?;
            choices.push((table.key(&description), choice));
        }
        let candidate = self.candidate("description", &description)?;
        tracing::info!("fitting {} numbers to {} blocks", candidate.free_numbers(), self.blocks());
        let fit = self.fit(&match choices.last() {
            Some((_, choice)) => candidate.begin_with(&choice.best().description),
            None => candidate,
        })?;
        warn_of_guesses(&fit);
        let mut found = fit.description.clone();
        let change = varies.then(|| {
            tracing::info!("finding how change varies over the scene, block by block");
            self.change_by_block(&found)
        });
        let change = change.transpose()?;
        if let (Some(variation), Some(process)) =
            (change.as_ref().and_then(ChangeByBlock::variation), found.process.given_mut())
        {
            process.variation = Some(variation.into());
        }
        let blocks = (self.blocks(), self.side());
        let of = |instrument: &ObservationModel| NewImage {
            name: instrument.name.clone(),
            new_image_variance: instrument.new_image_variance(),
        };
        let instruments = Model::new(&found)?.instruments.iter().map(of).collect();
        Ok(EstimationResult { instruments, description: found, free: description, fit, choices, change, blocks })
    }

    /// Compares the structures of a table and gives it the best.
    fn choose_structure(
        &self,
        table: &FreeTable,
        description: &mut Description,
        criterion: Criterion,
        reference: Option<&Features>,
        before: Option<&(Key, Choice)>,
    ) -> Result<Choice> {
        tracing::info!("comparing structures of {}", table.key(description));
        let known = before.map(|(_, choice)| choice.best());
        let candidate = |name: &str, description: &Description| {
            let mut all = description.clone();
            for other in FreeTable::find(&all) {
                other.put_first(&mut all);
            }
            let candidate = self.candidate(name, &all)?;
            Ok::<_, Error>(match known {
                Some(fit) => candidate.begin_with(&fit.description),
                None => candidate,
            })
        };
        let steps = table.steps(description, reference);
        let mut kept = table.put_first(description);
        let mut comparison = self.comparison(criterion);
        match before {
            // The first structure was fitted with those chosen before.
            Some((_, choice)) if choice.best().converged => comparison.begin(choice, &kept),
            _ => _ = comparison.challenge(&candidate(&kept, description)?),
        }
        for step in steps {
            let (name, next) = step.after(&kept, description);
            if comparison.challenge(&candidate(&name, &next)?) {
                (kept, *description) = (name, next);
            }
        }
        comparison.choice()
    }

    /// Refuses free numbers of an instrument of which the sample holds no value.
    fn refuse_unobserved(&self, description: &Description) -> Result<()> {
        let free = description.free();
        for instrument in &self.summary().instruments {
            let unobserved = instrument.bands.iter().all(|band| band.values == 0);
            let table = Key::of_instrument(&instrument.name);
            if unobserved && free.iter().any(|key| key.steps().first() == table.steps().first()) {
                let problem = format!(
                    "no block holds a value of {:?}, so nothing can be estimated of it; look at more windows or larger ones \
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

    /// Where the process is free as a whole, and the noise of every instrument, bands are together: noise and the
    /// prior's variance are ratios then, and cell-sized instruments beside coarse ones have errors of acquisitions.
    fn widen_together(&self, description: &mut Description) {
        if !description.process.is_free() || !becomes_together(description) {
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
            "{key}, number {position}: the blocks say nothing of it; {value:.3e} is a guess, give a better one"
        );
    }
}

/// `blocks`, `cells_per_side`, `fit`, `choices` (each with the `table` that was free), `change` and `instruments`.
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
            blocks: usize,
            cells_per_side: usize,
            fit: &'a Fit,
            choices: Vec<OfTable<'a>>,
            change: Option<&'a ChangeByBlock>,
            instruments: &'a [NewImage],
        }
        let Self { fit, choices, change, blocks: (blocks, cells_per_side), instruments, .. } = self;
        let choices = choices.iter().map(|(table, choice)| OfTable { table, choice }).collect();
        let (blocks, cells_per_side) = (*blocks, *cells_per_side);
        let view = View { blocks, cells_per_side, fit, choices, change: change.as_ref(), instruments };
        view.serialize(serializer)
    }
}
