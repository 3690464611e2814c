use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::{Fit, Numbers, Parameter};
use crate::engine::FusionBuilder;
use crate::error::Result;

type Describe = dyn Fn(&Numbers) -> Result<FusionBuilder> + Send + Sync;

/// A description with free numbers: one structure that may be compared with others.
///
/// ```
/// use rasterfuse::estimate::{Candidate, Parameter};
/// use rasterfuse::model::{Kernel, Prior, Process};
/// # use rasterfuse::engine::FusionBuilder;
/// # fn candidate(builder: FusionBuilder) -> Candidate {
/// // `builder` has everything but the process
/// Candidate::new("exponential", move |numbers| {
///     let (range, variance) = (numbers.values("range"), numbers.values("variance"));
///     Ok(builder.clone().process(Process::new(Kernel::Exponential, range, variance)))
/// })
/// .parameter(Parameter::positive("range", [300.0]))
/// .parameter(Parameter::positive("variance", [1e-4]))
/// # }
/// ```
#[derive(Clone)]
pub struct Candidate {
    name: String,
    parameters: Vec<Parameter>,
    fixed: Numbers,
    /// Whether some parameters begin with what has been found of them.
    known: bool,
    describe: Arc<Describe>,
}

impl Candidate {
    /// A structure of some name. `describe` is called for many numbers, by several threads at once: it should open nothing.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        describe: impl Fn(&Numbers) -> Result<FusionBuilder> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            parameters: Vec::new(),
            fixed: Numbers::default(),
            known: false,
            describe: Arc::new(describe),
        }
    }

    /// Adds a parameter that is estimated.
    #[must_use]
    pub fn parameter(mut self, parameter: Parameter) -> Self {
        self.parameters.push(parameter);
        self
    }

    /// Gives a key numbers that are not estimated.
    #[must_use]
    pub fn fix(mut self, key: impl Into<String>, numbers: impl Into<Vec<f64>>) -> Self {
        self.fixed.set(key, numbers);
        self
    }

    /// Begins with these numbers where it has parameters of their keys and lengths, and looks less far for the optimum.
    #[must_use]
    pub fn begin_with(mut self, numbers: &Numbers) -> Self {
        for parameter in &mut self.parameters {
            let known = numbers.list(&parameter.key);
            // A share that rounds to 1 is no number to begin with.
            let inside = known.iter().all(|&number| parameter.scale.inside(number).is_finite());
            if known.len() == parameter.len() && inside {
                parameter.initial = known.to_vec();
                self.known = true;
            }
        }
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is estimated.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    pub(super) fn is_known(&self) -> bool {
        self.known
    }

    /// Numbers for everything: those given, and what is fixed where none are.
    pub(super) fn completed(&self, numbers: &Numbers) -> Numbers {
        let mut all = self.fixed.clone();
        numbers.iter().for_each(|(key, numbers)| all.set(key, numbers));
        all
    }

    pub(super) fn fixed(&self) -> &Numbers {
        &self.fixed
    }

    /// The description with the given numbers.
    ///
    /// # Errors
    /// Those of the function it was made of.
    pub fn describe(&self, numbers: &Numbers) -> Result<FusionBuilder> {
        (self.describe)(numbers)
    }
}

impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

/// By what structures are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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
