//! Descriptions with free numbers, compared with each other.

use serde::{Deserialize, Serialize};

use super::Fit;
use super::beliefs::Beliefs;
use super::profile::Profile;
use super::scale::Entry;
use super::structure::FIELD_BLOCK;
use crate::describe::{Description, Number, Numbers, OutputDates, Structure};
use crate::engine::BlockCells;
use crate::error::Result;
use crate::geometry::Grid;

/// A description with free numbers: one structure that may be compared with others.
#[derive(Clone, Debug)]
pub struct Candidate {
    name: String,
    /// Every free number is written by itself.
    description: Description,
    /// The same as blocks are filtered with it.
    of_blocks: Description,
    /// Its free numbers, in the order in which they are visited.
    pub(super) entries: Vec<Entry>,
    /// What is found in closed form: bands are together then, with a first guess in the place of these numbers.
    pub(super) profile: Option<Profile>,
    /// Whether some numbers begin with what has been found of them.
    known: bool,
}

impl Candidate {
    /// A description with what is believed of its numbers, for blocks of these cells.
    pub(super) fn new(name: &str, description: &Description, beliefs: &Beliefs<'_>, cells: BlockCells) -> Result<Self> {
        let mut description = description.clone();
        let profile = beliefs.prepare(&mut description)?;
        let entries = beliefs.entries(&description)?;
        let of_blocks = for_blocks(description.clone(), cells);
        Ok(Self { name: name.to_owned(), description, of_blocks, entries, profile, known: false })
    }

    /// Begins with the numbers of another description where it gives as many by the same keys, and looks less far for
    /// the optimum.
    #[must_use]
    pub fn begin_with(mut self, found: &Description) -> Self {
        let mut numbers = Vec::new();
        found.clone().visit(&mut |key, _, mut place| {
            let written = place.written();
            let of = written.len();
            numbers.extend(written.iter().enumerate().map(|(index, number)| (key.clone(), index, of, *number)));
        });
        for entry in &mut self.entries {
            let same = |(key, index, of, _): &&(_, usize, usize, Number)| {
                *key == entry.key && *index == entry.index && *of == entry.of
            };
            // A share that rounds to 1 is no number to begin with.
            if let Some((.., Number::Fixed(number))) = numbers.iter().find(same) {
                self.known |= entry.begin_at(*number);
            }
        }
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many numbers are free.
    #[must_use]
    pub fn free_numbers(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// The description with a number for each free one, in their order.
    pub(super) fn with_numbers(&self, numbers: &[f64]) -> Description {
        with_numbers(&self.description, numbers)
    }

    /// The same as blocks are filtered with it.
    pub(super) fn of_blocks_with_numbers(&self, numbers: &[f64]) -> Description {
        with_numbers(&self.of_blocks, numbers)
    }
}

fn with_numbers(description: &Description, numbers: &[f64]) -> Description {
    let mut numbers = numbers.iter();
    let mut description = description.clone();
    description.visit(&mut |_, _, mut place| {
        for free in place.written().iter_mut().filter(|number| number.is_free()) {
            if let Some(number) = numbers.next() {
                *free = Number::Fixed(*number);
            }
        }
    });
    description
}

/// A description whose windows are blocks of these cells, without context, and whose likelihood can be
/// compared between numbers: which values are refused or believed less must not depend on them.
pub(super) fn for_blocks(mut description: Description, cells: BlockCells) -> Description {
    let BlockCells { side, scattered, radius } = cells;
    let (width, height) = description.target.grid.as_ref().map_or((1.0, 1.0), Grid::cell_size);
    let window = &mut description.window;
    (window.size, window.halo, window.far_samples) = (side, 0, scattered);
    window.far_radius = if scattered > 0 { radius * width.max(height) } else { 0.0 };
    description.output.tile = Some([side, side]);
    description.output.offsets = false;
    description.smoothing.lag = 0;
    description.time.output = OutputDates::Observed;
    for instrument in &mut description.instrument {
        (instrument.gate, instrument.follow, instrument.robust, instrument.inflate) = (None, None, None, false);
    }
    if let Structure::Given(process) = &mut description.process {
        process.inflate = false;
        // The likelihood would jump with blocks that depend on a free range.
        for field in &mut process.field {
            let free = field.range.as_ref().is_some_and(Numbers::has_free);
            if free && field.block.is_none() {
                field.block = Some(FIELD_BLOCK);
            }
        }
    }
    description
}

/// By what structures are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Criterion {
    /// Akaike's: what predicts best.
    Aic,
    /// Bayesian: each further number must earn more, the more values there are.
    #[default]
    Bic,
}

impl Criterion {
    /// The criterion's value of a fit; lower is better.
    #[must_use]
    pub fn of(self, fit: &Fit) -> f64 {
        match self {
            Self::Aic => fit.aic(),
            Self::Bic => fit.bic(),
        }
    }
}

/// A candidate that could not be fitted.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Failed {
    pub(super) candidate: String,
    pub(super) reason: String,
}

/// Structures that were fitted, and the one that was chosen: `best` in JSON, by its position among `fits`.
#[derive(Clone, Debug, Serialize)]
pub struct Choice {
    pub(super) fits: Vec<Fit>,
    pub(super) failed: Vec<Failed>,
    pub(super) best: usize,
    pub(super) criterion: Criterion,
}

impl Choice {
    /// The one chosen: fitted on a part of the sample, without standard errors.
    #[must_use]
    pub fn best(&self) -> &Fit {
        &self.fits[self.best]
    }

    /// All, in the order of the candidates.
    #[must_use]
    pub fn fits(&self) -> &[Fit] {
        &self.fits
    }

    /// Name of each candidate that could not be fitted, and why.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.failed.iter().map(|failed| (failed.candidate.as_str(), failed.reason.as_str()))
    }

    /// One line for each candidate, the chosen one marked.
    #[must_use]
    pub fn table(&self) -> Vec<String> {
        let least = self.fits.iter().map(|fit| self.criterion.of(fit)).fold(f64::INFINITY, f64::min);
        let width = self.fits.iter().map(|fit| fit.candidate.chars().count()).max().unwrap_or(0);
        let name = match self.criterion {
            Criterion::Aic => "AIC",
            Criterion::Bic => "BIC",
        };
        let line = |(k, fit): (usize, &Fit)| {
            format!(
                "{} {:width$}  log-likelihood {:.1}, {} parameters, {name} {:+.1}{}",
                if k == self.best { "*" } else { " " },
                fit.candidate,
                fit.log_likelihood,
                fit.parameters(),
                self.criterion.of(fit) - least,
                if fit.converged { "" } else { "; NOT CONVERGED" }
            )
        };
        // A reason may have lines of its own; the table goes into comments.
        let one_line = |reason: &str| reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let failed = self.failed().map(|(name, reason)| format!("  {name}  could not be fitted: {}", one_line(reason)));
        self.fits.iter().enumerate().map(line).chain(failed).collect()
    }
}
