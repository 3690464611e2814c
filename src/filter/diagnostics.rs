//! Innovation statistics of an update.

use std::f64::consts::TAU;

/// Fit of one instrument's observations on one date to the prediction, over one window.
///
/// Conditional on the preceding instruments of the same date (prediction error decomposition, Särkkä & Svensson,
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
    pub(super) fn begin(instrument: usize) -> Self {
        Self { instrument, ..Self::default() }
    }

    /// Adds the values of a pixel and its terms of the likelihood outside the pseudo-observations.
    pub(super) fn add_pixel(&mut self, values: usize, left_out: f64, log_det: f64) {
        self.values += values;
        self.log_likelihood -= 0.5 * (left_out + log_det + values as f64 * TAU.ln());
    }

    /// Adds one whitened innovation and the pivot of the factor that whitened it.
    pub(super) fn add(&mut self, whitened: f64, pivot: f64) {
        self.dof += 1;
        self.nis += whitened * whitened;
        self.log_likelihood -= 0.5 * whitened * whitened + pivot.ln();
    }
}
