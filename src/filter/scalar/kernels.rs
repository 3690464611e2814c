//! Vectorised loops over runs of cells.
#![allow(clippy::needless_bitwise_bool, reason = "a branch less for the vectoriser to see through")]

use std::f64::consts::TAU;

use pulp::{Simd, WithSimd};

use super::{CellPrediction, Cells, RUN, ScalarBand, ScalarRun};
use crate::filter::exact::FixedPoint;

/// All bits where `condition` holds.
#[inline(always)]
pub(super) fn mask(condition: bool) -> u64 {
    u64::from(condition).wrapping_neg()
}

pub(super) struct Predict<'a> {
    pub(super) cells: Cells<'a>,
    pub(super) prediction: CellPrediction,
}

impl WithSimd for Predict<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { cells, prediction } = self;
        for (mean, variance) in cells.mean.iter_mut().zip(cells.variance) {
            *mean = prediction.mean(*mean);
            *variance = prediction.variance(*variance);
        }
    }
}

pub(super) struct PredictInto<'a> {
    pub(super) prediction: CellPrediction,
    pub(super) mean: &'a [f64],
    pub(super) variance: &'a [f64],
    pub(super) out_mean: &'a mut [f64],
    pub(super) out_sd: &'a mut [f64],
}

impl WithSimd for PredictInto<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { prediction, mean, variance, out_mean, out_sd } = self;
        for (out, mean) in out_mean.iter_mut().zip(mean) {
            *out = prediction.mean(*mean);
        }
        for (out, variance) in out_sd.iter_mut().zip(variance) {
            *out = prediction.variance(*variance).sqrt();
        }
    }
}

pub(super) struct MarkObserved<'a> {
    pub(super) values: &'a [f64],
    pub(super) mean: &'a [f64],
    pub(super) observed: &'a mut [u64],
}

impl WithSimd for MarkObserved<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((observed, value), mean) in self.observed.iter_mut().zip(self.values).zip(self.mean) {
            *observed |= mask(value.is_finite() & !mean.is_nan());
        }
    }
}

/// The value minus the bias where it is used, otherwise NaN.
#[inline(always)]
fn residual(value: f64, used: u64, band: ScalarBand) -> f64 {
    if value.is_finite() & (used != 0) { value - band.bias } else { f64::NAN }
}

pub(super) struct SingleBand<'a> {
    pub(super) run: &'a mut ScalarRun,
    pub(super) band: ScalarBand,
    pub(super) values: &'a [f64],
    pub(super) used: &'a [u64],
}

impl WithSimd for SingleBand<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { run, band, values, used } = self;
        let n = used.len();
        for ((z, value), used) in run.z.iter_mut().zip(values).zip(used) {
            *z = residual(*value, *used, band);
        }
        run.noise[..n].fill(band.noise);
        run.left_out[..n].fill(0.0);
        run.log_det[..n].fill(TAU.ln());
        run.values[..n].fill(1);
    }
}

pub(super) struct AccumulateBand<'a> {
    pub(super) run: &'a mut ScalarRun,
    pub(super) band: ScalarBand,
    pub(super) values: &'a [f64],
    pub(super) used: &'a [u64],
}

impl WithSimd for AccumulateBand<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { run, band, values, used } = self;
        let (precision, log_noise) = (band.noise.recip(), band.noise.ln());
        for (k, (value, used)) in values.iter().zip(used).enumerate().take(RUN) {
            let residual = residual(*value, *used, band);
            let present = !residual.is_nan();
            run.noise[k] += if present { precision } else { 0.0 };
            run.z[k] += if present { residual * precision } else { 0.0 };
            run.log_det[k] += if present { log_noise + TAU.ln() } else { 0.0 };
            run.values[k] += u64::from(present);
        }
    }
}

pub(super) struct NormaliseMean<'a> {
    pub(super) run: &'a mut ScalarRun,
    pub(super) n: usize,
}

impl WithSimd for NormaliseMean<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { run, n } = self;
        for k in 0..n.min(RUN) {
            // Without a value this is 0 / 0 = NaN: there is no observation.
            let precision = run.noise[k];
            run.z[k] /= precision;
            run.noise[k] = precision.recip();
            run.log_det[k] += ln(precision);
        }
    }
}

pub(super) struct AccumulateResidual<'a> {
    pub(super) run: &'a mut ScalarRun,
    pub(super) band: ScalarBand,
    pub(super) values: &'a [f64],
    pub(super) used: &'a [u64],
}

impl WithSimd for AccumulateResidual<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { run, band, values, used } = self;
        let precision = band.noise.recip();
        for (k, (value, used)) in values.iter().zip(used).enumerate().take(RUN) {
            let rest = residual(*value, *used, band) - run.z[k];
            run.left_out[k] += if rest.is_nan() { 0.0 } else { rest * rest * precision };
        }
    }
}

pub(super) struct Update<'a> {
    pub(super) run: &'a mut ScalarRun,
    pub(super) mean: &'a mut [f64],
    pub(super) variance: &'a mut [f64],
}

/// Counts of an update.
pub(super) struct Counts {
    pub(super) values: u64,
    pub(super) dof: u64,
    /// Nonzero when the mean of any cell is not a number; such cells have a log-likelihood of NaN.
    pub(super) failed: u64,
}

impl WithSimd for Update<'_> {
    type Output = Counts;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Counts {
        let Self { run, mean, variance } = self;
        let mut counts = Counts { values: 0, dof: 0, failed: 0 };
        let n = mean.len().min(RUN);
        let (mean, variance) = (&mut mean[..n], &mut variance[..n]);
        let (z, noise, left_out) = (&run.z[..n], &run.noise[..n], &run.left_out[..n]);
        let (log_det, values) = (&run.log_det[..n], &run.values[..n]);
        let (nis, log_likelihood) = (&mut run.nis[..n], &mut run.log_likelihood[..n]);
        for k in 0..n {
            let (m, p, r) = (mean[k], variance[k], noise[k]);
            let innovation = z[k] - m;
            // NaN without an observation or without a known cell.
            let observed = !innovation.is_nan();
            let s = p + r;
            let inverse = s.recip();
            let gain = p * inverse;
            let updated = m + gain * innovation;
            let squared = innovation * (innovation * inverse);
            let fails = observed & !updated.is_finite();
            let term = -0.5 * (squared + left_out[k] + log_det[k] + ln(s));
            mean[k] = if observed { updated } else { m };
            variance[k] = if observed { gain * r } else { p };
            nis[k] = if observed { squared } else { 0.0 };
            log_likelihood[k] = if fails {
                f64::NAN
            } else if observed {
                term
            } else {
                0.0
            };
            counts.values += values[k] & mask(observed);
            counts.dof += u64::from(observed);
            counts.failed |= u64::from(fails);
        }
        counts
    }
}

/// Sums of both in fixed point; `None` when a term is too large.
pub(super) struct Sum<'a> {
    pub(super) nis: &'a [f64],
    pub(super) log_likelihood: &'a [f64],
}

impl WithSimd for Sum<'_> {
    type Output = Option<(i64, i64)>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Option<(i64, i64)> {
        let (mut sum, mut log_sum, mut large) = (0_i64, 0_i64, 0_u64);
        for (nis, term) in self.nis.iter().zip(self.log_likelihood) {
            sum = sum.wrapping_add(FixedPoint::from_term(*nis));
            log_sum = log_sum.wrapping_add(FixedPoint::from_term(*term));
            // A term that is not a number is not below the limit, either.
            let small = (nis.abs() < FixedPoint::LIMIT) & (term.abs() < FixedPoint::LIMIT);
            large |= u64::from(!small);
        }
        (large == 0).then_some((sum, log_sum))
    }
}

/// Natural logarithm of a positive, normal number, without branches and with the same result on every machine. The
/// method and the coefficients are those of FreeBSD's `e_log.c`; the error is below one unit in the last place.
#[inline(always)]
pub(super) fn ln(x: f64) -> f64 {
    const ROOT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;
    const ONE: u64 = 0x3FF0_0000_0000_0000;
    const FRACTION: u64 = 0x000F_FFFF_FFFF_FFFF;
    // The exponent in the low bits of 2⁵² is the number 2⁵² + exponent.
    const EXPONENT_SHIFT: u64 = 0x4330_0000_0000_0000;
    const BIASED: f64 = 4_503_599_627_370_496.0 + 1023.0;
    const HIGH: f64 = 6.931_471_803_691_238e-1;
    const LOW: f64 = 1.908_214_929_270_587_7e-10;
    // x = 2^k m, m between √½ and √2.
    let shifted = x.to_bits().wrapping_add(ONE - ROOT_HALF);
    let m = f64::from_bits((shifted & FRACTION).wrapping_add(ROOT_HALF));
    let k = f64::from_bits(EXPONENT_SHIFT | (shifted >> 52)) - BIASED;
    let f = m - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let w = z * z;
    let even = w * (0.399_999_999_994_094_2 + w * (0.222_221_984_321_497_84 + w * 0.153_138_376_992_093_73));
    let odd = z
        * (0.666_666_666_666_673_5
            + w * (0.285_714_287_436_623_9 + w * (0.181_835_721_616_180_5 + w * 0.147_981_986_051_165_86)));
    let half_square = 0.5 * f * f;
    s * (half_square + even + odd) + k * LOW - half_square + f + k * HIGH
}
