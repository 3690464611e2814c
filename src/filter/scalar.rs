//! Independent states, each by itself: the filter of one state with scalars, over runs of neighbouring cells at once.
//!
//! Every cell goes through the same operations wherever it lies in a run, none of them fused or reordered, so that the length of
//! runs changes no bit.

mod kernels;
#[cfg(test)]
mod tests;

use pulp::Arch;

use super::ExactSum;
use super::growth::growth;
use kernels::{Average, LeaveOut, Predict, PutOut, See, Sum, Take, Update, Weigh, mask};

/// Cells of a run at most: all that is kept of one stays in the first cache.
pub(crate) const RUN: usize = 256;

/// A prediction: `m ← φ^Δt m`, `P ← φ^{2Δt} P + q`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Walk {
    kept: f64,
    gained: f64,
}

impl Walk {
    /// By `dt_days`, with transition φ and process variance per day.
    pub(crate) fn new(transition: f64, variance: f64, dt_days: f64) -> Self {
        let kept = if transition == 1.0 { 1.0 } else { transition.powf(dt_days) };
        Self { kept, gained: growth(transition, dt_days) * variance }
    }

    #[inline(always)]
    fn mean(self, mean: f64) -> f64 {
        self.kept * mean
    }

    #[inline(always)]
    fn variance(self, variance: f64) -> f64 {
        self.kept * self.kept * variance + self.gained
    }

    /// Mean and variance after it.
    pub(crate) fn of(self, mean: f64, variance: f64) -> (f64, f64) {
        (self.mean(mean), self.variance(variance))
    }
}

/// Means and variances of a run of cells; NaN where nothing is known.
#[derive(Debug)]
pub(crate) struct Cells<'a> {
    pub(crate) mean: &'a mut [f64],
    pub(crate) variance: &'a mut [f64],
}

/// How a band sees its component: `y = x + bias + ε`, `ε ~ N(0, noise)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ScalarBand {
    pub(crate) noise: f64,
    pub(crate) bias: f64,
}

/// Sums over cells of how observations fitted; as [`Innovation`](super::Innovation)'s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct ScalarFit {
    pub(crate) values: u64,
    pub(crate) dof: u64,
    pub(crate) nis: ExactSum,
    pub(crate) log_likelihood: ExactSum,
}

/// What the bands of a pixel say of one component, for a run of pixels: one observation with its noise, NaN where there is none,
/// and what it leaves out of the values.
///
/// With several bands it is their mean weighted by precision, the compression of [`Compression`](super::Compression) for one
/// channel.
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
    /// Takes in the values of the bands of one component, of the pixels for which `used` is not zero; `values` gives those of
    /// the k-th band.
    pub(crate) fn take<'v>(
        &mut self,
        arch: Arch,
        bands: &[ScalarBand],
        values: impl Fn(usize) -> &'v [f64],
        used: &[u64],
    ) {
        if let [band] = bands {
            return arch.dispatch(Take { run: self, band: *band, values: values(0), used });
        }
        let n = used.len();
        for row in [&mut self.z, &mut self.noise, &mut self.left_out, &mut self.log_det] {
            row[..n].fill(0.0);
        }
        self.values[..n].fill(0);
        // Precision and weighted mean, then what of the values is beside it.
        for (k, &band) in bands.iter().enumerate() {
            arch.dispatch(Weigh { run: self, band, values: values(k), used });
        }
        arch.dispatch(Average { run: self, n });
        for (k, &band) in bands.iter().enumerate() {
            arch.dispatch(LeaveOut { run: self, band, values: values(k), used });
        }
    }

    /// Adds each pixel's normalised innovation squared, and its number of values, all other pixels aside.
    pub(crate) fn judge(&self, mean: &[f64], variance: &[f64], nis: &mut [f64], dof: &mut [u64]) {
        for (k, (mean, variance)) in mean.iter().zip(variance).enumerate() {
            let innovation = self.z[k] - mean;
            if !innovation.is_nan() {
                nis[k] += innovation * innovation / (variance + self.noise[k]) + self.left_out[k];
                dof[k] += self.values[k];
            }
        }
    }

    /// Conditions the cells on what was taken in: `K = P / (P + r)`, `m ← m + K (z - m)`, `P ← K r`, which cancels no digits.
    /// Adds how it fitted to `fit`. Cells whose mean becomes no number are made NaN and their positions added to `failed`.
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
    pub(crate) fn predict(self, arch: Arch, walk: Walk) {
        arch.dispatch(Predict { cells: self, walk });
    }
}

/// Mean and standard deviation after a prediction, the cells themselves as they are.
pub(crate) fn put_out(
    arch: Arch,
    walk: Walk,
    (mean, variance): (&[f64], &[f64]),
    (out_mean, out_sd): (&mut [f64], &mut [f64]),
) {
    arch.dispatch(PutOut { walk, mean, variance, out_mean, out_sd });
}

/// Marks in `seen` the pixels with a value in this band whose cell is known.
pub(crate) fn see(arch: Arch, values: &[f64], mean: &[f64], seen: &mut [u64]) {
    arch.dispatch(See { values, mean, seen });
}

/// Clears in `seen` the pixels without a value in this band.
pub(crate) fn drop_missing(values: &[f64], seen: &mut [u64]) {
    seen.iter_mut().zip(values).for_each(|(seen, value)| *seen &= !mask(value.is_nan()));
}
