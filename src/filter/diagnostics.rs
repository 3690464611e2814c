use std::f64::consts::TAU;

use super::observations::Group;

/// How well one instrument's observations on one date fit the prediction, over one window.
///
/// Conditional on the instruments before it on the same date (prediction error decomposition, Särkkä & Svensson,
/// *Bayesian Filtering and Smoothing*, 2nd ed., theorem 16.1 and section 16.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Innovation {
    /// Index of the instrument.
    pub instrument: usize,
    /// Scalar values used (pixels × bands present).
    pub values: usize,
    /// Degrees of freedom of `nis`: pseudo-observations.
    pub dof: usize,
    /// Normalised innovation squared, `Σ‖C⁻¹(z - Hm)‖²`; near `dof` when the model is right.
    pub nis: f64,
    /// Log-likelihood of the values, all constants included.
    pub log_likelihood: f64,
}

impl Innovation {
    pub(super) fn begin(group: &Group) -> Self {
        let constant = group.left_out + group.log_det_noise + group.values as f64 * TAU.ln();
        Self {
            instrument: group.instrument,
            values: group.values,
            dof: group.rows.len(),
            nis: 0.0,
            log_likelihood: -0.5 * constant,
        }
    }

    /// Adds the fit of other states, independent of these, to the same instrument's observations.
    pub fn merge(&mut self, other: &Self) {
        self.values += other.values;
        self.dof += other.dof;
        self.nis += other.nis;
        self.log_likelihood += other.log_likelihood;
    }

    /// Adds one whitened innovation and the pivot of the factor it was whitened with.
    pub(super) fn add(&mut self, whitened: f64, pivot: f64) {
        self.nis += whitened * whitened;
        self.log_likelihood -= 0.5 * whitened * whitened + pivot.ln();
    }
}
