//! Independent cells: the filter of one scalar state per cell, over runs of neighbouring cells at once.
//!
//! Every cell undergoes the same operations at any position of a run, none of them fused or reordered, so the length
//! of runs does not change a bit.

mod kernels;
#[cfg(test)]
mod tests;

use pulp::Arch;

use super::ExactSum;
use super::growth::growth;
use kernels::{
    AccumulateBand, AccumulateResidual, MarkObserved, NormaliseMean, Predict, PredictInto, SingleBand, Sum, Update,
    mask,
};

/// Largest number of cells in a run: the data of a run stay in the first-level cache.
pub(crate) const RUN: usize = 256;

/// A prediction: `m ← φ^Δt m`, `P ← φ^{2Δt} P + q`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CellPrediction {
    decay: f64,
    added: f64,
}

impl CellPrediction {
    /// The prediction over `dt_days`, with transition φ and process variance per day.
    pub(crate) fn new(transition: f64, variance: f64, dt_days: f64) -> Self {
        let decay = if transition == 1.0 { 1.0 } else { transition.powf(dt_days) };
        Self { decay, added: growth(transition, dt_days) * variance }
    }

    #[inline(always)]
    fn mean(self, mean: f64) -> f64 {
        self.decay * mean
    }

    #[inline(always)]
    fn variance(self, variance: f64) -> f64 {
        self.decay * self.decay * variance + self.added
    }

    /// The predicted mean and variance.
    pub(crate) fn apply(self, mean: f64, variance: f64) -> (f64, f64) {
        (self.mean(mean), self.variance(variance))
    }
}

/// Means and variances of a run of cells; NaN in unknown cells.
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    pub(crate) mean: &'a mut [f64],
    pub(crate) variance: &'a mut [f64],
}

/// The measurement model of a band and its component: `y = x + bias + ε`, `ε ~ N(0, noise)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScalarBand {
    pub(crate) noise: f64,
    pub(crate) bias: f64,
}

/// Innovation statistics summed over cells, as in [`Innovation`](super::Innovation).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ScalarFit {
    pub(crate) values: u64,
    pub(crate) dof: u64,
    pub(crate) nis: ExactSum,
    pub(crate) log_likelihood: ExactSum,
}

/// The bands of one component for a run of pixels, compressed to one observation per pixel with its noise (NaN where
/// there is none) and the part of the values that it omits.
///
/// With several bands the observation is their mean weighted by precision: the [`Compression`](super::Compression) for
/// one channel.
#[derive(Debug)]
pub(crate) struct ScalarRun {
    z: [f64; RUN],
    noise: [f64; RUN],
    left_out: [f64; RUN],
    /// `log det V + log A` and the likelihood's constant.
    log_det: [f64; RUN],
    values: [u64; RUN],
    nis: [f64; RUN],
    log_likelihood: [f64; RUN],
}

impl Default for ScalarRun {
    fn default() -> Self {
        let [z, noise, left_out, log_det, nis, log_likelihood] = [[0.0; RUN]; 6];
        Self { z, noise, left_out, log_det, values: [0; RUN], nis, log_likelihood }
    }
}

impl ScalarRun {
    /// Compresses the values of the bands of one component, at pixels for which `used` is not zero. `values` returns
    /// the values of the k-th band.
    pub(crate) fn compress<'v>(
        &mut self,
        arch: Arch,
        bands: &[ScalarBand],
        values: impl Fn(usize) -> &'v [f64],
        used: &[u64],
    ) {
        if let [band] = bands {
            return arch.dispatch(SingleBand { run: self, band: *band, values: values(0), used });
        }
        let n = used.len();
        for row in [&mut self.z, &mut self.noise, &mut self.left_out, &mut self.log_det] {
            row[..n].fill(0.0);
        }
        self.values[..n].fill(0);
        // Precision and weighted mean, then the residuals of the values from it.
        for (k, &band) in bands.iter().enumerate() {
            arch.dispatch(AccumulateBand { run: self, band, values: values(k), used });
        }
        arch.dispatch(NormaliseMean { run: self, n });
        for (k, &band) in bands.iter().enumerate() {
            arch.dispatch(AccumulateResidual { run: self, band, values: values(k), used });
        }
    }

    /// Adds each pixel's normalised innovation squared and its number of values, whatever other pixels hold.
    pub(crate) fn add_nis(&self, mean: &[f64], variance: &[f64], nis: &mut [f64], dof: &mut [u64]) {
        for (k, (mean, variance)) in mean.iter().zip(variance).enumerate() {
            let innovation = self.z[k] - mean;
            if !innovation.is_nan() {
                nis[k] += innovation * innovation / (variance + self.noise[k]) + self.left_out[k];
                dof[k] += self.values[k];
            }
        }
    }

    /// Conditions the cells on the observations: `K = P / (P + r)`, `m ← m + K (z - m)`, `P ← K r`, without
    /// cancellation. Adds the innovation statistics to `fit`. A cell whose mean is not a number is set to NaN and its
    /// position added to `failed`.
    pub(crate) fn update(&mut self, arch: Arch, cells: Cells<'_>, fit: &mut ScalarFit, failed: &mut Vec<usize>) {
        let n = cells.mean.len();
        let Cells { mean, variance } = cells;
        let mut sums = arch.dispatch(Update { run: self, mean, variance });
        if sums.failed != 0 {
            for (k, term) in self.log_likelihood[..n].iter_mut().enumerate().filter(|(_, term)| term.is_nan()) {
                (mean[k], variance[k]) = (f64::NAN, f64::NAN);
                (self.nis[k], *term) = (0.0, 0.0);
                sums.dof -= 1;
                sums.values -= self.values[k];
                failed.push(k);
            }
        }
        fit.values += sums.values;
        fit.dof += sums.dof;
        let (nis, log_likelihood) = (&self.nis[..n], &self.log_likelihood[..n]);
        match arch.dispatch(Sum { nis, log_likelihood }) {
            Some((sum, log_sum)) => {
                fit.nis.add_fixed(sum);
                fit.log_likelihood.add_fixed(log_sum);
            }
            None => {
                nis.iter().for_each(|term| fit.nis.add(*term));
                log_likelihood.iter().for_each(|term| fit.log_likelihood.add(*term));
            }
        }
    }
}

impl Cells<'_> {
    /// Predicts.
    pub(crate) fn predict(self, arch: Arch, prediction: CellPrediction) {
        arch.dispatch(Predict { cells: self, prediction });
    }
}

/// Writes the predicted mean and standard deviation; the cells are unchanged.
pub(crate) fn predict_into(
    arch: Arch,
    prediction: CellPrediction,
    (mean, variance): (&[f64], &[f64]),
    (out_mean, out_sd): (&mut [f64], &mut [f64]),
) {
    arch.dispatch(PredictInto { prediction, mean, variance, out_mean, out_sd });
}

/// Marks in `observed` the pixels with a value in this band whose cell is known.
pub(crate) fn mark_observed(arch: Arch, values: &[f64], mean: &[f64], observed: &mut [u64]) {
    arch.dispatch(MarkObserved { values, mean, observed });
}

/// Clears in `observed` the pixels without a value in this band.
pub(crate) fn drop_missing(values: &[f64], observed: &mut [u64]) {
    observed.iter_mut().zip(values).for_each(|(observed, value)| *observed &= !mask(value.is_nan()));
}
