//! Descriptions in which numbers, or whole tables, are the word `"estimate"`.

mod fill;
mod outcome;
mod rules;
mod slots;
mod structure;

use std::path::PathBuf;
use std::sync::Arc;

use toml_edit::DocumentMut;

use super::FusionConfig;
use super::build::Inputs;
use crate::error::{Error, Result};
use crate::estimate::{Candidate, Criterion, Estimation, Numbers};
use rules::Beliefs;

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
        let document: DocumentMut = text.parse().ok()?;
        let tables = structure::free_tables(&document);
        let mut first = document.clone();
        let mut what: Vec<String> = tables.iter().map(ToString::to_string).collect();
        for table in &tables {
            if let Some(structure) = table.structures().first() {
                table.put(&mut first, structure);
            }
        }
        let slots = slots::find(&first);
        what.extend(slots::find(&document).iter().map(ToString::to_string));
        if what.is_empty() {
            return None;
        }
        let filled = fill::with(&first, &slots, &rules::placeholders(&slots));
        Some((Self { path, document, what }, filled.to_string()))
    }
}

impl FusionConfig {
    /// Refuses a description that is not complete.
    pub(super) fn refuse_free(&self) -> Result<()> {
        match &self.free {
            None => Ok(()),
            Some(free) => {
                let (first, rest) = free.what.split_first().map_or((String::new(), &[][..]), |(a, b)| (a.clone(), b));
                let others = if rest.is_empty() { String::new() } else { format!(" (as are {})", rest.join(", ")) };
                let problem = format!(
                    "left to \"estimate\"{others}; estimate first, with cargo run --release --example estimate -- FUSION.toml or \
                     FusionConfig::estimate, and fuse with the description that is written"
                );
                Err(Error::setting(first, problem))
            }
        }
    }

    /// Estimates every number, and chooses every structure, that the description leaves to `"estimate"`, by maximum likelihood on
    /// blocks spread over the scene.
    ///
    /// # Errors
    /// [`Error::Setting`] when nothing is left to estimate or something cannot be; those of opening and reading the inputs.
    pub fn estimate(&self) -> Result<Estimated> {
        let Some(free) = &self.free else {
            let problem = "nothing is left to estimate; write \"estimate\" in place of numbers of process, prior, noise_variance or bias";
            return Err(Error::setting("estimate", problem));
        };
        let inputs = Arc::new(self.open()?);
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
        let estimation = builder.read(self.describe(&inputs)?)?;
        let criterion = match options.criterion {
            super::CriterionName::Aic => Criterion::Aic,
            super::CriterionName::Bic => Criterion::Bic,
        };
        let mut document = with_fixed_blocks(free.document.clone());
        let mut choices = Vec::new();
        // One table after the other: while its structures are compared, those chosen before hold and those to come are the first.
        loop {
            let tables = structure::free_tables(&document);
            let Some((table, rest)) = tables.split_first() else { break };
            let structures = table.structures();
            let mut documents = Vec::new();
            for structure in structures {
                let mut tried = document.clone();
                table.put(&mut tried, structure);
                let chosen = tried.clone();
                for other in rest {
                    if let Some(first) = other.structures().first() {
                        other.put(&mut tried, first);
                    }
                }
                documents.push((chosen, self.candidate(structure.name, tried, &inputs, &estimation)?));
            }
            let candidates: Vec<Candidate> = documents.iter().map(|(_, candidate)| candidate.clone()).collect();
            let choice = estimation.choose(&candidates, criterion)?;
            let best = choice.best().candidate.clone();
            let chosen = documents.into_iter().find(|(_, candidate)| candidate.name() == best);
            document = chosen.map_or(document, |(chosen, _)| chosen);
            choices.push((table.to_string(), choice));
        }
        let slots = slots::find(&document);
        let fit = match choices.last() {
            // Everything was free in the last comparison that is free now.
            Some((_, choice)) => choice.best().clone(),
            None => estimation.fit(&self.candidate("description", document.clone(), &inputs, &estimation)?)?,
        };
        let text = outcome::write(&document, &slots, &fit, &choices);
        Ok(Estimated::new(free.path.clone(), text, fit, choices, &estimation))
    }

    /// A description with free numbers as something to fit.
    fn candidate(
        &self,
        name: &str,
        document: DocumentMut,
        inputs: &Arc<Inputs>,
        estimation: &Estimation,
    ) -> Result<Candidate> {
        let document = with_fixed_blocks(document);
        let slots = slots::find(&document);
        let opened = Arc::clone(inputs);
        let beliefs = Beliefs::new(estimation.summary(), &opened);
        let (inputs, folder, slots_of) = (Arc::clone(inputs), self.folder.clone(), slots.clone());
        let describe = move |numbers: &Numbers| {
            let text = fill::with(&document, &slots_of, numbers).to_string();
            FusionConfig::parse(&text, folder.clone())?.describe(&inputs)
        };
        slots.iter().try_fold(Candidate::new(name, describe), |candidate, slot| beliefs.add(candidate, slot))
    }
}

/// Gives further fields whose range is free blocks that do not depend on it: the likelihood would jump with them.
fn with_fixed_blocks(mut document: DocumentMut) -> DocumentMut {
    let free_fields = slots::find(&document).into_iter().filter(|slot| slot.keys() == ["process", "field", "range"]);
    for slot in free_fields {
        let of_field = &slot.path[..slot.path.len() - 1];
        slots::insert_at(&mut document, of_field, "block", rules::field_block());
    }
    document
}
