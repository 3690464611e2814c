//! Independent states, each by itself: the filter of one state with scalars, over runs of neighbouring cells at once.
//!
//! Every cell goes through the same operations wherever it lies in a run, none of them fused or reordered, so that the length of
//! runs changes no bit.

use std::f64::consts::TAU;

use pulp::{Arch, Simd, WithSimd};

use super::exact::FixedPoint;
use super::{ExactSum, growth};

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

/// All bits where `condition` holds.
#[inline(always)]
fn mask(condition: bool) -> u64 {
    u64::from(condition).wrapping_neg()
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

struct Predict<'a> {
    cells: Cells<'a>,
    walk: Walk,
}

impl WithSimd for Predict<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { cells, walk } = self;
        for (mean, variance) in cells.mean.iter_mut().zip(cells.variance) {
            *mean = walk.mean(*mean);
            *variance = walk.variance(*variance);
        }
    }
}

struct PutOut<'a> {
    walk: Walk,
    mean: &'a [f64],
    variance: &'a [f64],
    out_mean: &'a mut [f64],
    out_sd: &'a mut [f64],
}

impl WithSimd for PutOut<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { walk, mean, variance, out_mean, out_sd } = self;
        for (out, mean) in out_mean.iter_mut().zip(mean) {
            *out = walk.mean(*mean);
        }
        for (out, variance) in out_sd.iter_mut().zip(variance) {
            *out = walk.variance(*variance).sqrt();
        }
    }
}

struct See<'a> {
    values: &'a [f64],
    mean: &'a [f64],
    seen: &'a mut [u64],
}

impl WithSimd for See<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for ((seen, value), mean) in self.seen.iter_mut().zip(self.values).zip(self.mean) {
            *seen |= mask(value.is_finite() & !mean.is_nan());
        }
    }
}

/// The value less the bias where it is used, otherwise NaN.
#[inline(always)]
fn residual(value: f64, used: u64, band: ScalarBand) -> f64 {
    let present = value.is_finite() & (used != 0);
    if present { value - band.bias } else { f64::NAN }
}

struct Take<'a> {
    run: &'a mut ScalarRun,
    band: ScalarBand,
    values: &'a [f64],
    used: &'a [u64],
}

impl WithSimd for Take<'_> {
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

struct Weigh<'a> {
    run: &'a mut ScalarRun,
    band: ScalarBand,
    values: &'a [f64],
    used: &'a [u64],
}

impl WithSimd for Weigh<'_> {
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

struct Average<'a> {
    run: &'a mut ScalarRun,
    n: usize,
}

impl WithSimd for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { run, n } = self;
        for k in 0..n.min(RUN) {
            // Without a value 0 / 0: there is no observation.
            let precision = run.noise[k];
            run.z[k] /= precision;
            run.noise[k] = precision.recip();
            run.log_det[k] += ln(precision);
        }
    }
}

struct LeaveOut<'a> {
    run: &'a mut ScalarRun,
    band: ScalarBand,
    values: &'a [f64],
    used: &'a [u64],
}

impl WithSimd for LeaveOut<'_> {
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

struct Update<'a> {
    run: &'a mut ScalarRun,
    mean: &'a mut [f64],
    variance: &'a mut [f64],
}

/// What an update counts.
struct Counts {
    values: u64,
    dof: u64,
    /// Not zero when the mean of any cell has become no number; such have a log-likelihood of NaN.
    failed: u64,
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
            // NaN without an observation or a known cell.
            let seen = !innovation.is_nan();
            let s = p + r;
            let inverse = s.recip();
            let gain = p * inverse;
            let updated = m + gain * innovation;
            let squared = innovation * (innovation * inverse);
            let fails = seen & !updated.is_finite();
            let term = -0.5 * (squared + left_out[k] + log_det[k] + ln(s));
            mean[k] = if seen { updated } else { m };
            variance[k] = if seen { gain * r } else { p };
            nis[k] = if seen { squared } else { 0.0 };
            log_likelihood[k] = if fails {
                f64::NAN
            } else if seen {
                term
            } else {
                0.0
            };
            counts.values += values[k] & mask(seen);
            counts.dof += u64::from(seen);
            counts.failed |= u64::from(fails);
        }
        counts
    }
}

/// Sums of both in fixed point; `None` when a term is too large for it.
struct Sum<'a> {
    nis: &'a [f64],
    log_likelihood: &'a [f64],
}

impl WithSimd for Sum<'_> {
    type Output = Option<(i64, i64)>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Option<(i64, i64)> {
        let (mut sum, mut log_sum, mut large) = (0_i64, 0_i64, 0_u64);
        for (nis, term) in self.nis.iter().zip(self.log_likelihood) {
            sum = sum.wrapping_add(FixedPoint::of(*nis));
            log_sum = log_sum.wrapping_add(FixedPoint::of(*term));
            // A term that is no number is not below the limit either.
            let small = (nis.abs() < FixedPoint::LIMIT) & (term.abs() < FixedPoint::LIMIT);
            large |= u64::from(!small);
        }
        (large == 0).then_some((sum, log_sum))
    }
}

/// Natural logarithm of a positive, normal number, without branches and the same on every machine; the method and the
/// coefficients are those of FreeBSD's `e_log.c`, with an error below one unit in the last place.
#[inline(always)]
fn ln(x: f64) -> f64 {
    const ROOT_HALF: u64 = 0x3FE6_A09E_667F_3BCD;
    const ONE: u64 = 0x3FF0_0000_0000_0000;
    const FRACTION: u64 = 0x000F_FFFF_FFFF_FFFF;
    // The exponent in the low bits of 2⁵² is the number 2⁵² + exponent.
    const WHOLE: u64 = 0x4330_0000_0000_0000;
    const BIASED: f64 = 4_503_599_627_370_496.0 + 1023.0;
    const HIGH: f64 = 6.931_471_803_691_238e-1;
    const LOW: f64 = 1.908_214_929_270_587_7e-10;
    // x = 2^k m, m between √½ and √2.
    let shifted = x.to_bits().wrapping_add(ONE - ROOT_HALF);
    let m = f64::from_bits((shifted & FRACTION).wrapping_add(ROOT_HALF));
    let k = f64::from_bits(WHOLE | (shifted >> 52)) - BIASED;
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

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    /// Numbers that look random, in [0, 1).
    fn unit(seed: &mut u64) -> f64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Cells, their bands' values and which pixels are used.
    struct Scene {
        mean: Vec<f64>,
        variance: Vec<f64>,
        values: Vec<Vec<f64>>,
        used: Vec<u64>,
        bands: Vec<ScalarBand>,
    }

    impl Scene {
        fn new(cells: usize, bands: usize, seed: u64) -> Self {
            let mut seed = seed;
            let mut row = |low: f64, high: f64| -> Vec<f64> {
                (0..cells).map(|_| low + (high - low) * unit(&mut seed)).collect()
            };
            let (mut mean, variance) = (row(-1.0, 1.0), row(0.01, 2.0));
            let mut values: Vec<Vec<f64>> = (0..bands).map(|_| row(-3.0, 3.0)).collect();
            let used = row(0.0, 1.0).into_iter().map(|u| mask(u < 0.9)).collect();
            for values in &mut values {
                let lost = row(0.0, 1.0);
                values.iter_mut().zip(lost).filter(|(_, u)| *u < 0.3).for_each(|(value, _)| *value = f64::NAN);
            }
            mean[cells / 2] = f64::NAN;
            let band = |k: usize| ScalarBand { noise: 0.1 + 0.3 * k as f64, bias: 0.05 * k as f64 };
            Self { mean, variance, values, used, bands: (0..bands).map(band).collect() }
        }

        /// In runs of the given lengths.
        fn update(&mut self, lengths: impl IntoIterator<Item = usize>) -> (ScalarFit, Vec<usize>) {
            let (mut run, mut fit, mut failed) = (ScalarRun::default(), ScalarFit::default(), Vec::new());
            let mut first = 0;
            for length in lengths.into_iter().chain(std::iter::repeat(RUN)) {
                let last = (first + length).min(self.mean.len());
                if first == last {
                    break;
                }
                let mut positions = Vec::new();
                run.take(Arch::new(), &self.bands, |k| &self.values[k][first..last], &self.used[first..last]);
                let cells = Cells { mean: &mut self.mean[first..last], variance: &mut self.variance[first..last] };
                run.update(Arch::new(), cells, &mut fit, &mut positions);
                failed.extend(positions.into_iter().map(|k| first + k));
                first = last;
            }
            (fit, failed)
        }
    }

    #[test]
    fn logarithms_are_those_of_the_standard_library() {
        let mut seed = 7;
        for k in 0..100_000 {
            let x = (1.0 + unit(&mut seed)) * 2.0_f64.powi(k % 600 - 300);
            assert!((ln(x) - x.ln()).abs() <= 2.0 * f64::EPSILON * x.ln().abs(), "{x:e}");
        }
        for x in [1.0, 0.5, 2.0, 1.0 + f64::EPSILON, 1.0 - f64::EPSILON, f64::MIN_POSITIVE, f64::MAX] {
            assert!((ln(x) - x.ln()).abs() <= 2.0 * f64::EPSILON * x.ln().abs(), "{x:e}");
        }
    }

    /// Cell by cell, band by band, as in a textbook.
    #[test]
    fn runs_equal_the_textbook() {
        for bands in 1..5 {
            let mut scene = Scene::new(1000, bands, 3 + bands as u64);
            let (mut mean, mut variance) = (scene.mean.clone(), scene.variance.clone());
            let (mut values, mut dof, mut nis, mut log_likelihood) = (0, 0, 0.0, 0.0);
            for cell in (0..1000).filter(|&cell| scene.used[cell] != 0 && !scene.mean[cell].is_nan()) {
                let (prior_mean, prior_variance) = (mean[cell], variance[cell]);
                let present = || (0..bands).filter(|&band| !scene.values[band][cell].is_nan());
                for band in present() {
                    let ScalarBand { noise, bias } = scene.bands[band];
                    let innovation = scene.values[band][cell] - bias - mean[cell];
                    let s = variance[cell] + noise;
                    mean[cell] += variance[cell] / s * innovation;
                    variance[cell] -= variance[cell] * variance[cell] / s;
                    values += 1;
                    log_likelihood -= 0.5 * (innovation * innovation / s + (2.0 * PI * s).ln());
                }
                if present().count() > 0 {
                    // The values together are one observation of the cell.
                    let precision: f64 = present().map(|band| 1.0 / scene.bands[band].noise).sum();
                    let weighted =
                        |band: usize| (scene.values[band][cell] - scene.bands[band].bias) / scene.bands[band].noise;
                    let z = present().map(weighted).sum::<f64>() / precision;
                    dof += 1;
                    nis += (z - prior_mean).powi(2) / (prior_variance + 1.0 / precision);
                }
            }
            let (fit, failed) = scene.update([]);
            assert_eq!((fit.values, fit.dof, failed), (values, dof, vec![]));
            assert!((fit.nis.value() - nis).abs() < 1e-9 * nis, "{} {nis}", fit.nis.value());
            let found = fit.log_likelihood.value();
            assert!((found - log_likelihood).abs() < 1e-9 * log_likelihood.abs(), "{found} {log_likelihood}");
            for cell in 0..1000 {
                assert!(scene.mean[cell].is_nan() == mean[cell].is_nan());
                assert!(!((scene.mean[cell] - mean[cell]).abs() > 1e-13));
                assert!((scene.variance[cell] - variance[cell]).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn runs_of_any_length_give_the_same_bits() {
        for bands in [1, 3] {
            let (mut one, mut other) = (Scene::new(777, bands, 11), Scene::new(777, bands, 11));
            // Terms too large for fixed point in vector instructions.
            for scene in [&mut one, &mut other] {
                scene.values[0][300] = 1e9;
                scene.values[0][301] = 1e12;
            }
            let whole = one.update([]);
            let parted = other.update([1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 7, 7, 7, 100, 250]);
            assert_eq!(whole, parted);
            assert!(whole.0.nis.value() > 1e17);
            let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&one.mean), bits(&other.mean));
            assert_eq!(bits(&one.variance), bits(&other.variance));
        }
    }

    #[test]
    fn a_mean_that_is_no_number_is_told_and_counts_for_nothing() {
        let mut scene = Scene::new(100, 1, 5);
        scene.used[40] = mask(true);
        let mut sound = Scene::new(100, 1, 5);
        sound.used[40] = 0;
        scene.bands[0].bias = -1e308;
        sound.bands[0].bias = -1e308;
        for scene in [&mut scene, &mut sound] {
            scene.values[0].iter_mut().for_each(|value| *value -= 1e308);
            scene.values[0][40] = 1e308;
        }
        let (fit, failed) = scene.update([]);
        let (expected, none) = sound.update([]);
        assert_eq!((failed, none), (vec![40], vec![]));
        assert_eq!(fit, expected);
        assert!(scene.mean[40].is_nan() && scene.variance[40].is_nan());
    }

    #[test]
    fn walks_are_those_of_the_windows() {
        let walk = Walk::new(0.9, 0.5, 3.0);
        let (mean, variance) = walk.of(2.0, 1.5);
        assert!((mean - 2.0 * 0.9_f64.powi(3)).abs() < 1e-15);
        assert!((variance - (1.5 * 0.9_f64.powi(6) + 0.5 * (1.0 + 0.81 + 0.81 * 0.81))).abs() < 1e-15);
        assert_eq!(Walk::new(0.9, 0.5, 0.0).of(2.0, 1.5), (2.0, 1.5));
        let (mut means, mut variances) = ([2.0; 9], [1.5; 9]);
        let (mut out_mean, mut out_sd) = ([0.0; 9], [0.0; 9]);
        put_out(Arch::new(), walk, (&means, &variances), (&mut out_mean, &mut out_sd));
        Cells { mean: &mut means, variance: &mut variances }.predict(Arch::new(), walk);
        assert_eq!((means, variances), ([mean; 9], [variance; 9]));
        assert_eq!((out_mean, out_sd), ([mean; 9], [variance.sqrt(); 9]));
    }
}
