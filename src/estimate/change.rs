//! Whether a map of change predicts better than change that is the same everywhere.

use std::fmt;

use serde::Serialize;

use super::Estimation;
use super::check::{SelfCheck, gain};
use crate::describe::{Description, Raster, Variation};
use crate::error::Result;

/// A map of change, tried on withheld dates.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ChangeTrial {
    /// By which share the continuous ranked probability score of withheld dates is smaller with it, mean of instruments;
    /// NaN where there are too few dates to tell.
    pub gain: f64,
    /// By how much the log-likelihood of the blocks is larger with it.
    pub log_likelihood: f64,
    /// Whether the description has it.
    pub kept: bool,
}

impl fmt::Display for ChangeTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.kept { "written" } else { "left out" };
        write!(f, "a map of change changes the ")?;
        if !self.gain.is_nan() {
            write!(f, "CRPS of withheld dates by {:+.1} % and the ", -100.0 * self.gain)?;
        }
        write!(f, "log-likelihood by {:+.1}: {what}", self.log_likelihood)
    }
}

impl Estimation {
    /// Gives a description a map of change where it predicts withheld dates better than the checks `plain` of the
    /// description say, or, with fewer than five of them, where the blocks are more likely with it. Returns the checks of
    /// what is kept. All numbers stay as they are: the mean factor is 1, and a likelihood that is maximised once more with
    /// the map takes slow errors of coarse instruments for change.
    ///
    /// # Errors
    /// Those of the description, and of reading the map.
    pub fn try_change(
        &self,
        description: &mut Description,
        plain: Vec<SelfCheck>,
        map: Raster,
    ) -> Result<(Vec<SelfCheck>, Option<ChangeTrial>)> {
        let mut mapped = description.clone();
        let Some(process) = mapped.process.given_mut() else { return Ok((plain, None)) };
        process.variation = Some(Variation { map }.into());
        let checks = self.self_check(&mapped)?;
        let gain = gain(&checks, &plain);
        let log_likelihood = self.log_likelihood(&mapped)? - self.log_likelihood(description)?;
        let kept = if gain.is_nan() { log_likelihood > 0.0 } else { gain > 0.0 };
        let trial = Some(ChangeTrial { gain, log_likelihood, kept });
        if kept {
            *description = mapped;
            return Ok((checks, trial));
        }
        Ok((plain, trial))
    }
}
