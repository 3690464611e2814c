//! Scores against a known truth: errors, coverage of the intervals, and the sums for them.

use std::f64::consts::{FRAC_1_PI, SQRT_2};
use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};
use statrs::function::erf::erf;

use super::errors::ErrorSums;

/// Half width of a 90 % interval of the normal distribution, in standard deviations.
pub(crate) const HALF_WIDTH_90: f64 = 1.644_853_626_951_472_2;

/// Half width of a 50 % interval.
const HALF_WIDTH_50: f64 = 0.674_489_750_196_081_7;

/// Number of bins per doubling of the factor; the first bin starts at `2^LEAST_OCTAVE`.
const BINS_PER_OCTAVE: usize = 32;
const LEAST_OCTAVE: i32 = -6;
const OCTAVES: usize = 16;

/// Scores of a run against the truth of a simulated scene ([`JudgedSink`](crate::sink::JudgedSink)). `serde`
/// serialises it as `{components, bands, all_bands}`.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Scores {
    /// By component of the spectral basis, where components are output and the truth consists of components.
    pub components: Vec<Score>,
    /// By band.
    pub bands: Vec<Score>,
    /// All bands together.
    pooled: Score,
}

/// Errors of a component or band against the truth, over cells and dates.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Score {
    /// Its name.
    pub name: String,
    /// Values compared.
    pub values: u64,
    /// Number of values whose truth is known and whose result is NaN.
    pub missing: u64,
    /// Root of the mean squared error, in u.
    pub rmse: f64,
    /// Mean error, in u.
    pub bias: f64,
    /// Mean absolute error, in u.
    pub mae: f64,
    /// Mean continuous ranked probability score, in u; smaller is better. It generalises the mean absolute error to
    /// forecasts that are distributions. For a Gaussian it is `σ (z (2 Φ(z) - 1) + 2 φ(z) - 1/√π)`, with the error
    /// `z` in standard deviations (Gneiting & Raftery, *Strictly Proper Scoring Rules, Prediction, and Estimation*,
    /// JASA 102, 2007, eq. 21 and below).
    pub crps: f64,
    /// Share of the truth inside the 50 % interval, mean ± 0.674 standard deviations.
    pub coverage_50: f64,
    /// Share of the truth inside the 90 % interval, mean ± 1.645 standard deviations.
    pub coverage_90: f64,
    /// Mean width of the 90 % interval, in u.
    pub width_90: f64,
    /// Root of the mean stated variance, in u: equal to `rmse` when the uncertainty is calibrated.
    pub rms_sd: f64,
    /// Mean of the squared error divided by the stated variance: 1 when the uncertainty is calibrated.
    pub nis_ratio: f64,
    /// The factor on the fused standard deviations at which the 90 % interval contains 90 % of the truth; the noise
    /// of the compared values is unchanged. `None` where no factor achieves this: where the noise alone makes the
    /// interval wide enough, and without values.
    pub sd_factor: Option<f64>,
}

/// The sums of a [`Score`].
#[derive(Clone, Debug, Default)]
pub(crate) struct ScoreSums {
    errors: ErrorSums,
    covered_half: u64,
    covered: u64,
    missing: u64,
    variances: f64,
    widths: f64,
    crps: f64,
    nis: f64,
    factors: Factors,
}

impl ScoreSums {
    /// Adds an observed value with noise variance `noise`, and its predicted mean and standard deviation.
    pub(crate) fn add(&mut self, observed: f64, (mean, sd): (f64, f64), noise: f64) {
        if observed.is_nan() {
            return;
        }
        let error = mean - observed;
        if error.is_nan() || sd.is_nan() {
            self.missing += 1;
            return;
        }
        let total = if noise > 0.0 { (sd * sd + noise).sqrt() } else { sd };
        self.errors.add(error);
        self.covered_half += u64::from(error.abs() <= HALF_WIDTH_50 * total);
        self.covered += u64::from(error.abs() <= HALF_WIDTH_90 * total);
        self.variances += total * total;
        self.widths += 2.0 * HALF_WIDTH_90 * total;
        self.crps += gaussian_crps(error, total);
        if error != 0.0 {
            self.nis += (error / total).powi(2);
        }
        // The interval just reaches the value when (f sd)² + noise = (error / half width)².
        self.factors.add(((error / HALF_WIDTH_90).powi(2) - noise).max(0.0).sqrt() / sd);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.errors.merge(&other.errors);
        self.covered_half += other.covered_half;
        self.covered += other.covered;
        self.missing += other.missing;
        self.variances += other.variances;
        self.widths += other.widths;
        self.crps += other.crps;
        self.nis += other.nis;
        self.factors.merge(&other.factors);
    }

    /// Whether no value was compared.
    pub(crate) fn is_empty(&self) -> bool {
        self.errors.values() == 0
    }

    pub(crate) fn score(&self, name: impl Into<String>) -> Score {
        let n = self.errors.values() as f64;
        Score {
            name: name.into(),
            values: self.errors.values(),
            missing: self.missing,
            rmse: self.errors.rmse(),
            bias: self.errors.bias(),
            mae: self.errors.mae(),
            crps: self.crps / n,
            coverage_50: self.covered_half as f64 / n,
            coverage_90: self.covered as f64 / n,
            width_90: self.widths / n,
            rms_sd: (self.variances / n).sqrt(),
            nis_ratio: self.nis / n,
            sd_factor: self.factors.quantile(0.9),
        }
    }
}

/// See [`Score::crps`].
pub(crate) fn gaussian_crps(error: f64, sd: f64) -> f64 {
    if sd == 0.0 {
        return error.abs();
    }
    let z = error / sd;
    let density = (-0.5 * z * z).exp() * (0.5 * FRAC_1_PI).sqrt();
    sd * (z * erf(z / SQRT_2) + 2.0 * density - FRAC_1_PI.sqrt())
}

/// The factors on the standard deviation at which each interval would just reach its value, counted in bins of 2 %,
/// so that memory does not grow with the number of values.
#[derive(Clone, Debug, Default)]
struct Factors {
    /// Number below the first bin, zeros included.
    below: u64,
    /// Number beyond the last bin.
    beyond: u64,
    /// Empty until the first factor is added.
    bins: Vec<u64>,
}

impl Factors {
    fn add(&mut self, factor: f64) {
        let position = (factor.log2() - f64::from(LEAST_OCTAVE)) * BINS_PER_OCTAVE as f64;
        // 0 / 0: an exact prediction needs no factor, so it counts as zero.
        if position.is_nan() || position < 0.0 {
            self.below += 1;
        } else if position >= (OCTAVES * BINS_PER_OCTAVE) as f64 {
            self.beyond += 1;
        } else {
            self.bins.resize(OCTAVES * BINS_PER_OCTAVE, 0);
            self.bins[position as usize] += 1;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.below += other.below;
        self.beyond += other.beyond;
        if self.bins.is_empty() {
            self.bins.clone_from(&other.bins);
        } else {
            self.bins.iter_mut().zip(&other.bins).for_each(|(own, other)| *own += other);
        }
    }

    /// The quantile, interpolated inside its bin on the logarithmic scale.
    fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.below + self.beyond + self.bins.iter().sum::<u64>();
        let wanted = share * all as f64;
        let mut passed = self.below as f64;
        if all == 0 || passed >= wanted {
            return None;
        }
        for (bin, &count) in self.bins.iter().enumerate() {
            let count = count as f64;
            if passed + count >= wanted {
                let position = bin as f64 + (wanted - passed) / count;
                return Some((position / BINS_PER_OCTAVE as f64 + f64::from(LEAST_OCTAVE)).exp2());
            }
            passed += count;
        }
        None
    }
}

/// Largest number of bands that are listed one by one; for more, their range.
const LISTED: usize = 12;

impl Scores {
    /// Scores of components and bands, each with its name.
    pub(crate) fn new<'a>(
        components: impl Iterator<Item = (String, &'a ScoreSums)>,
        bands: impl Iterator<Item = (String, &'a ScoreSums)>,
    ) -> Self {
        let mut all = ScoreSums::default();
        let bands = bands.map(|(name, sums)| {
            all.merge(sums);
            sums.score(name)
        });
        let bands = bands.collect();
        let components = components.map(|(name, sums)| sums.score(name)).collect();
        Self { components, bands, pooled: all.score("all bands") }
    }

    /// Score of all bands together; `None` without bands.
    #[must_use]
    pub fn all_bands(&self) -> Option<Score> {
        (self.pooled.values > 0).then(|| self.pooled.clone())
    }
}

/// `all_bands` is null where nothing was compared.
impl Serialize for Scores {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut scores = serializer.serialize_struct("Scores", 3)?;
        scores.serialize_field("components", &self.components)?;
        scores.serialize_field("bands", &self.bands)?;
        scores.serialize_field("all_bands", &self.all_bands())?;
        scores.end()
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, values, missing, rmse, bias, coverage_90, rms_sd, .. } = self;
        write!(f, "{name:<16} {values:>12} {rmse:>12.6} {rms_sd:>12.6} {bias:>12.6} {:>9.2} %", 100.0 * coverage_90)?;
        if *missing > 0 {
            write!(f, "   {missing} missing")?;
        }
        Ok(())
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>12} {:>12} {:>12} {:>12} {:>11}",
            "truth", "values", "RMSE", "stated sd", "bias", "in 90 %"
        )?;
        self.components.iter().try_for_each(|score| writeln!(f, "{score}"))?;
        if self.bands.len() <= LISTED {
            self.bands.iter().try_for_each(|score| writeln!(f, "{score}"))?;
        }
        let Some(all) = self.all_bands() else { return write!(f, "nothing to compare") };
        write!(f, "{all}")?;
        if self.bands.len() > LISTED {
            let range = |of: &dyn Fn(&Score) -> f64| {
                let values = || self.bands.iter().filter(|score| score.values > 0).map(of);
                (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
            };
            let (rmse, coverage) = (range(&|score| score.rmse), range(&|score| 100.0 * score.coverage_90));
            write!(
                f,
                "\nband by band: RMSE {:.6} to {:.6}, {:.2} to {:.2} % inside",
                rmse.0, rmse.1, coverage.0, coverage.1
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The score's definition, `∫ (F(x) - [x ≥ y])² dx`, by the midpoint rule.
    fn crps_by_quadrature(error: f64, sd: f64) -> f64 {
        let (steps, reach) = (200_000, 12.0 * sd + error.abs());
        let width = 2.0 * reach / f64::from(steps);
        let at = |k: i32| {
            let x = (f64::from(k) + 0.5) * width - reach;
            let below = 0.5 * (1.0 + erf(x / (sd * SQRT_2)));
            let observed = if x >= -error { 1.0 } else { 0.0 };
            (below - observed).powi(2) * width
        };
        (0..steps).map(at).sum()
    }

    #[test]
    fn crps_is_the_integral_it_stands_for() {
        for (error, sd) in [(0.0, 1.0), (0.3, 0.2), (-0.7, 0.1), (2.0, 3.0)] {
            let (closed, slow) = (gaussian_crps(error, sd), crps_by_quadrature(error, sd));
            assert!((closed - slow).abs() < 2e-4 * slow, "{error} {sd}: {closed} {slow}");
        }
        assert_eq!(gaussian_crps(-0.2, 0.0), 0.2);
        // 2 φ(0) - 1/√π
        assert!((gaussian_crps(0.0, 1.0) - 0.233_695).abs() < 1e-6);
    }

    #[test]
    fn json_has_components_bands_and_all() {
        let mut sums = ScoreSums::default();
        sums.add(0.2, (0.21, 0.1), 0.0);
        let scores = Scores::new(std::iter::empty(), [("red".to_owned(), &sums)].into_iter());
        let json = serde_json::to_value(&scores).unwrap();
        assert_eq!((&json["components"], &json["bands"][0]["name"]), (&serde_json::json!([]), &"red".into()));
        assert_eq!((&json["all_bands"]["coverage_90"], &json["all_bands"]["values"]), (&1.0.into(), &1.into()));
        assert!(serde_json::to_value(Scores::default()).unwrap()["all_bands"].is_null());
    }

    /// Errors that follow N(0, s² + v) exactly (quantiles in place of draws), judged with s/k: the factor finds k.
    #[test]
    fn the_factor_brings_coverage_back() {
        let (s, v, n) = (0.3_f64, 0.02_f64, 20_000);
        let quantiles: Vec<f64> = {
            use statrs::distribution::{ContinuousCDF, Normal};
            let normal = Normal::new(0.0, 1.0).unwrap();
            (0..n).map(|k| normal.inverse_cdf((f64::from(k) + 0.5) / f64::from(n))).collect()
        };
        for k in [1.0, 0.6, 2.5] {
            let judge = |factor: f64| {
                let mut parts = [ScoreSums::default(), ScoreSums::default()];
                for (position, z) in quantiles.iter().enumerate() {
                    let error = z * (s * s + v).sqrt();
                    parts[position % 2].add(0.2, (0.2 + error, factor * s / k), v);
                }
                let [mut all, other] = parts;
                all.merge(&other);
                all.score("x")
            };
            let score = judge(1.0);
            let factor = score.sd_factor.unwrap();
            assert!((factor / k - 1.0).abs() < 0.01, "{k}: {factor}");
            let repaired = judge(factor);
            assert!(
                (repaired.coverage_90 - 0.9).abs() < 0.003 && (repaired.nis_ratio - 1.0).abs() < 0.02,
                "{repaired:?}"
            );
            assert!((repaired.coverage_50 - 0.5).abs() < 0.01 && (repaired.crps / repaired.rmse - 0.5642).abs() < 0.01);
        }
        let mut noisy = ScoreSums::default();
        noisy.add(0.2, (0.21, 0.1), 1.0);
        assert_eq!((noisy.score("x").sd_factor, ScoreSums::default().score("x").sd_factor), (None, None));
    }
}
