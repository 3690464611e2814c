//! Descriptions in which numbers, or whole tables, are the word `"estimate"`.

mod fill;
mod outcome;
mod rules;
mod sensible;
mod slots;
mod structure;
mod varying;

use std::path::PathBuf;
use std::sync::Arc;

use toml_edit::DocumentMut;

use super::FusionConfig;
use super::build::Inputs;
use crate::error::{Error, Result};
use crate::estimate::{Candidate, Choice, Criterion, Estimate, Estimation, Fit, Numbers};
use rules::Beliefs;
use structure::Structure;

pub use outcome::Estimated;

/// The word that stands for what is to be estimated.
pub(super) const ESTIMATE: &str = "estimate";

/// The text of a description some of whose numbers are free.
#[derive(Clone, Debug)]
pub(super) struct Free {
    path: PathBuf,
    document: DocumentMut,
    /// What is free.
    what: Vec<String>,
}

impl Free {
    /// What of a description is free, if anything; the text with numbers in its place, line by line as it was.
    pub(super) fn find(text: &str, path: PathBuf) -> Option<(Self, String)> {
        if !text.contains(ESTIMATE) {
            return None;
        }
        // What is no TOML is told by whoever reads it as such.
        let mut document: DocumentMut = text.parse().ok()?;
        structure::unfold_instruments(&mut document);
        let tables = structure::free_tables(&document);
        let mut first = document.clone();
        varying::take(&mut first);
        let mut what: Vec<String> = tables.iter().map(ToString::to_string).collect();
        for table in &tables {
            table.put_first(&mut first);
        }
        let slots = slots::find(&first);
        what.extend(slots::find(&document).iter().map(ToString::to_string));
        if what.is_empty() {
            return None;
        }
        // Words where no number can be are left for whoever reads the rest.
        let slots: Vec<_> = slots.into_iter().filter(rules::can_be_estimated).collect();
        let filled = fill::with(&first, &slots, &rules::opening_numbers(&slots));
        Some((Self { path, document, what }, filled.to_string()))
    }
}

impl FusionConfig {
    /// Refuses a description that is not complete.
    pub(super) fn refuse_free(&self) -> Result<()> {
        match &self.free {
            None => Ok(()),
            Some(free) => {
                let (key, others) = free.what.split_first().map_or((String::new(), &[][..]), |(a, b)| (a.clone(), b));
                Err(Error::Unestimated { file: None, key, others: others.to_vec() })
            }
        }
    }

    /// Estimates every number, and chooses every structure, that the description leaves to `"estimate"`, by maximum likelihood on
    /// blocks spread over the scene.
    ///
    /// Where process and prior are free and cells were seen for more than 550 days, a seasonal mean is fitted first, to all dates
    /// there are, and stored beside the description as `NAME.seasonal.zarr`, or with a number in the name where there is one already, which
    /// a series may go on with.
    ///
    /// It takes minutes; how far it has come is told by `tracing` events of level `INFO`.
    ///
    /// # Errors
    /// [`Error::Setting`] when nothing is left to estimate or something cannot be; those of opening and reading the inputs, and of
    /// [`SeasonalStore::write`](crate::sink::SeasonalStore::write).
    pub fn estimate(&self) -> Result<Estimated> {
        self.naming(self.estimate_free())
    }

    fn estimate_free(&self) -> Result<Estimated> {
        let Some(free) = &self.free else {
            let problem = "nothing is left to estimate; write \"estimate\" in place of numbers of process, prior, noise_variance or bias";
            return Err(Error::setting("estimate", problem));
        };
        let options = &self.document.estimate;
        let mut builder = Estimation::builder().threads(self.document.run.threads);
        if let Some(blocks) = options.windows {
            builder = builder.blocks(blocks);
        }
        if let Some(side) = options.window {
            builder = builder.side(side);
        }
        if let Some(dates) = options.dates {
            builder = builder.dates(dates);
        }
        builder.check()?;
        let inputs = Arc::new(self.open()?);
        if free.wants_seasonal_mean()
            && self.span_years(&inputs)?
            && let Some(with_mean) = self.with_seasonal_mean(free)?
        {
            return with_mean.estimate();
        }
        tracing::info!("reading blocks of the scene");
        let estimation = builder.read(self.describe(&inputs)?)?;
        let criterion = match options.criterion {
            super::CriterionName::Aic => Criterion::Aic,
            super::CriterionName::Bic => Criterion::Bic,
        };
        refuse_unseen(&free.document, &estimation)?;
        let mut document = with_fixed_blocks(free.document.clone());
        let varies = varying::take(&mut document);
        structure::widen(&mut document, |index| {
            inputs.instruments.get(index).is_some_and(|opened| self.is_coarse(index, opened, &inputs.target))
        });
        if structure::prior_is_numbers(&document) {
            document["prior"]["correlation"] = toml_edit::value("process");
        }
        let mut choices: Vec<(String, Choice)> = Vec::new();
        let mut known = Numbers::default();
        let features = self.spread_of_features()?;
        let beliefs = Beliefs { data: estimation.summary(), inputs: &inputs, features: features.as_deref() };
        let compares_features = free.chooses_structure() && inputs.seasonal.is_none();
        let reference = if compares_features { self.reference(&inputs, &estimation)? } else { None };
        // One table after the other: while its structures are compared, those chosen before hold and those to come are the first.
        while let Some((table, rest)) = structure::free_tables(&document).split_first() {
            tracing::info!("comparing structures of {table}");
            let candidate = |structure: &Structure| {
                let mut whole = document.clone();
                table.put(&mut whole, structure);
                rest.iter().for_each(|other| other.put_first(&mut whole));
                Ok::<_, Error>(self.candidate(&structure.name, whole, &inputs, beliefs)?.begin_with(&known))
            };
            let (mut kept, others) = table.structures(&document, reference.as_ref());
            let mut comparison = estimation.comparison(criterion);
            match choices.last() {
                // The first structure beside those chosen before was fitted there.
                Some((_, choice)) if choice.best().converged => comparison.begin(choice, &kept.name),
                _ => _ = comparison.challenge(&candidate(&kept)?),
            }
            for next in others {
                let structure = next.after(&kept);
                if comparison.challenge(&candidate(&structure)?) {
                    kept = structure;
                }
            }
            let choice = comparison.choice()?;
            table.put(&mut document, &kept);
            known = choice.best().numbers.clone();
            choices.push((table.to_string(), choice));
        }
        if free.chooses_structure() && !document.contains_key("window") {
            document.insert("window", sensible::window(inputs.target.cell_size()));
        }
        let slots = slots::find(&document);
        let description = self.candidate("description", document.clone(), &inputs, beliefs)?;
        tracing::info!("fitting {} numbers to {} blocks", slots.len(), estimation.blocks());
        let fit = estimation.fit(&description.clone().begin_with(&known))?;
        warn_of_guesses(&fit);
        if varies {
            tracing::info!("finding how change varies over the scene, block by block");
        }
        let change = varies.then(|| estimation.change_by_block(&description, &fit.numbers)).transpose()?;
        if let Some(change) = &change {
            varying::put(&mut document, change);
        }
        let text = outcome::write(&document, &slots, &fit, &choices, change.as_ref());
        Ok(Estimated::new(free.path.clone(), text, fit, choices, change, &estimation))
    }

    /// A description with free numbers as something to fit.
    fn candidate(
        &self,
        name: &str,
        document: DocumentMut,
        inputs: &Arc<Inputs>,
        beliefs: Beliefs<'_>,
    ) -> Result<Candidate> {
        let document = with_fixed_blocks(document);
        let slots = slots::find(&document);
        let (inputs, folder, slots_of) = (Arc::clone(inputs), self.folder.clone(), slots.clone());
        let describe = move |numbers: &Numbers| {
            let text = fill::with(&document, &slots_of, numbers).to_string();
            FusionConfig::parse(&text, folder.clone())?.describe(&inputs)
        };
        slots.iter().try_fold(Candidate::new(name, describe), |candidate, slot| beliefs.add(candidate, slot))
    }
}

/// Refuses free numbers of an instrument of which the sample holds no value.
fn refuse_unseen(document: &DocumentMut, estimation: &Estimation) -> Result<()> {
    let slots = slots::find(document);
    for (index, instrument) in estimation.summary().instruments.iter().enumerate() {
        let unseen = instrument.bands.iter().all(|band| band.values == 0);
        if unseen && slots.iter().any(|slot| slot.position("instrument") == Some(index)) {
            let problem = format!(
                "no block sees a value of {:?}, so nothing can be told of it; look at more windows or larger ones (estimate.window), \
                 or give its numbers",
                instrument.name
            );
            return Err(Error::setting("estimate.windows", problem));
        }
    }
    Ok(())
}

fn warn_of_guesses(fit: &Fit) {
    for Estimate { key, index, value, .. } in fit.estimates.iter().filter(|estimate| !estimate.observed) {
        let position = index + 1;
        tracing::warn!(
            "{key}, number {position}: the blocks tell nothing of it; {value:.3e} is a guess, give a better one"
        );
    }
}

/// Gives further fields whose range is free blocks that do not depend on it: the likelihood would jump with them.
fn with_fixed_blocks(mut document: DocumentMut) -> DocumentMut {
    let free_fields = slots::find(&document).into_iter().filter(|slot| slot.keys() == ["process", "field", "range"]);
    for slot in free_fields {
        // process.field[k], whether its range is one number or a list.
        slots::insert_at(&mut document, &slot.path[..3], "block", rules::field_block());
    }
    document
}
