//! How far a validation has come.

use std::fmt;

use serde::Serialize;

use crate::engine::Progress;

/// A pass of a validation over the inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ValidationPass {
    /// Reads the instruments for the residuals of their dates, which two of the baselines need.
    Residuals,
    /// Fuses without what is withheld, and scores.
    Fusion,
}

/// Progress of a validation. Its text is one line; `serde` serialises it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ValidationProgress {
    /// What is under way.
    pub pass: ValidationPass,
    /// Number of the pass, from 1, and of all passes.
    pub passes: (usize, usize),
    /// How far the pass has come. Dates are those on which something is read.
    #[serde(flatten)]
    pub run: Progress,
}

impl ValidationProgress {
    pub(super) fn new(pass: ValidationPass, passes: usize, run: &Progress) -> Self {
        let number = if pass == ValidationPass::Fusion { passes } else { 1 };
        Self { pass, passes: (number, passes), run: run.clone() }
    }
}

impl fmt::Display for ValidationProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, passes) = self.passes;
        let pass = match self.pass {
            ValidationPass::Residuals => "residuals of dates",
            ValidationPass::Fusion => "fusion",
        };
        write!(f, "pass {number} of {passes}, {pass}: {}", self.run)
    }
}
