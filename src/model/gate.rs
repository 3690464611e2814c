//! The χ² gate of an instrument's pixels.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::error::{Error, Result};

/// Largest normalised innovation squared that a pixel of an instrument may have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gate {
    /// χ² quantiles, indexed by degrees of freedom minus one.
    thresholds: Vec<f64>,
}

/// Smallest allowed gate. A smaller one would refuse half of the good pixels, so the share to refuse is probably
/// meant.
pub(crate) const LEAST_GATE: f64 = 0.5;

impl Gate {
    /// For pixels of up to `bands` values.
    pub(super) fn new(quantile: f64, bands: usize, key: &str) -> Result<Self> {
        let refuse = |problem: String| Error::setting(key, problem);
        if !(LEAST_GATE..1.0).contains(&quantile) {
            let problem = format!(
                "{quantile} must be a quantile from {LEAST_GATE} to below 1, such as 0.999: the share of good pixels that pass"
            );
            return Err(refuse(problem));
        }
        let threshold = |dof: usize| {
            let distribution = ChiSquared::new(dof as f64).map_err(|error| refuse(error.to_string()))?;
            Ok(distribution.inverse_cdf(quantile))
        };
        Ok(Self { thresholds: (1..=bands).map(threshold).collect::<Result<_>>()? })
    }

    /// The threshold for a pixel of `dof` values.
    pub(crate) fn threshold(&self, dof: usize) -> f64 {
        dof.checked_sub(1).and_then(|index| self.thresholds.get(index)).copied().unwrap_or(f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gates_are_chi_squared_quantiles() {
        // Abramowitz & Stegun, Handbook of Mathematical Functions, table 26.8.
        let gate = Gate::new(0.999, 6, "gate").unwrap();
        for (dof, expected) in [(1, 10.828), (2, 13.816), (6, 22.458)] {
            assert!((gate.threshold(dof) - expected).abs() < 1e-3, "{dof}");
        }
        for quantile in [0.0, 0.001, 1.0, -0.5, 99.9, f64::NAN] {
            assert!(Gate::new(quantile, 1, "gate").unwrap_err().to_string().starts_with("gate"));
        }
    }
}
