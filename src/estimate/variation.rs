//! Whether change varies over the scene, and how: what each block says of its variance by itself, and all together.

use std::fmt;

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};

use super::{Candidate, Estimation, Numbers};
use crate::engine::Trial;
use crate::error::Result;
use crate::model::{Values, Variation, exponential};

/// Logarithms of factors that are tried in every block: so many to either side of 0, so far apart.
const STEPS: (i32, f64) = (10, 0.25);

/// Ranges that are tried, as shares of the largest distance between blocks.
const RANGES: [f64; 5] = [0.1, 0.2, 0.4, 0.8, 1.6];

/// Standard deviations of the factors' logarithm that are tried: the least, the ratio from one to the next, how many.
const SPREADS: (f64, f64, i32) = (0.05, 1.2, 21);

/// What blocks say of the variance of change, given all other numbers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChangeByBlock {
    /// Centres (x, y) of the blocks, in the target's CRS.
    pub places: Vec<(f64, f64)>,
    /// For each group of components that is filtered apart (every band, without a spectral basis) and each block: the logarithm of
    /// the likeliest factor of the process variance and its standard error; `None` where the block does not tell.
    pub log_factors: Vec<Vec<Option<(f64, f64)>>>,
    /// Standard deviation over the scene of the logarithm, of each group, where change varies.
    pub spread: Vec<f64>,
    /// Distance over which factors are alike, in CRS units.
    pub range: f64,
    /// By how much the Bayesian information criterion, over the blocks' estimates, is better with factors that vary than with
    /// the same everywhere.
    pub evidence: f64,
    /// Factors of each component at each place: what the blocks say, each in the light of the others.
    factors: Vec<Vec<f64>>,
}

impl ChangeByBlock {
    /// The factors, interpolated; `None` where evidence that they vary is less than the 6 that is called strong (Kass & Raftery, *Bayes
    /// Factors*, Journal of the American Statistical Association 90, 1995).
    #[must_use]
    pub fn variation(&self) -> Option<Variation> {
        if self.evidence < super::estimation::EVIDENCE {
            return None;
        }
        let new = Variation::new(self.range);
        let points = self.places.iter().zip(&self.factors);
        Some(points.fold(new, |all, (place, factors)| all.point(*place, Values::Each(factors.clone()))))
    }

    /// Place and factors by component of every point.
    #[cfg(feature = "config")]
    pub(crate) fn points(&self) -> impl Iterator<Item = ((f64, f64), &[f64])> {
        self.places.iter().copied().zip(self.factors.iter().map(Vec::as_slice))
    }
}

impl fmt::Display for ChangeByBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.evidence < super::estimation::EVIDENCE { "is not seen to vary" } else { "varies" };
        let spreads: Vec<String> = self.spread.iter().map(|sd| format!("{:.2}", sd.exp())).collect();
        write!(
            f,
            "change {verdict} over the scene: BIC {:+.1} with factors of its variance (x/÷ {}) alike within {:.0}",
            -self.evidence,
            spreads.join(", "),
            self.range
        )
    }
}

impl Estimation {
    /// Finds out whether the process variance varies over the scene: in every block the likeliest factor, all else being as
    /// `numbers` say (those of a [fit](Self::fit)), then a field of factors of which the blocks are noisy observations, by its
    /// likelihood (empirical Bayes; Rasmussen & Williams, *Gaussian Processes for Machine Learning*, section 5.4.1).
    ///
    /// It takes 21 likelihoods of every block, and all blocks are looked at once.
    ///
    /// # Errors
    /// Those of the candidate's description.
    pub fn change_by_block(&self, candidate: &Candidate, numbers: &Numbers) -> Result<ChangeByBlock> {
        let mut all = candidate.fixed().clone();
        numbers.iter().for_each(|(key, numbers)| all.set(key, numbers));
        let sample = &self.sample;
        let groups: Vec<Vec<usize>> =
            Trial::new(candidate.describe(&all)?, sample.side())?.parts().map(<[usize]>::to_vec).collect();
        let steps: Vec<f64> = (-STEPS.0..=STEPS.0).map(|k| f64::from(k) * STEPS.1).collect();
        let trial = |k: usize| {
            let (group, step) = (k / steps.len(), steps[k % steps.len()]);
            let trial = Trial::new(candidate.describe(&all).ok()?, sample.side()).ok()?;
            Some(trial.of_part(group).with_change(step.exp()))
        };
        let values = sample.log_likelihoods(groups.len() * steps.len(), trial, self.blocks());
        let places: Vec<(f64, f64)> = sample.blocks().iter().map(|block| block.centre).collect();
        let of_block = |tried: &[Vec<f64>], block: usize| peak(&steps, |k| tried[k][block]);
        let log_factors: Vec<Vec<_>> = values
            .chunks(steps.len())
            .map(|tried| (0..places.len()).map(|block| of_block(tried, block)).collect())
            .collect();
        let components = groups.iter().flatten().max().map_or(0, |last| last + 1);
        Ok(together(places, log_factors, &groups, components))
    }
}

/// Where a curve that is known at equidistant steps is highest, and how sharply: the parabola through the three highest; at an end the
/// end itself. `None` where it does not bend down, or is not known there.
fn peak(steps: &[f64], value: impl Fn(usize) -> f64) -> Option<(f64, f64)> {
    let best = (0..steps.len()).max_by(|&a, &b| value(a).total_cmp(&value(b)))?;
    let middle = best.clamp(1, steps.len() - 2);
    let [before, at, after] = [middle - 1, middle, middle + 1].map(&value);
    let width = steps[1] - steps[0];
    let bend = (before - 2.0 * at + after) / (width * width);
    if !(bend < 0.0 && bend.is_finite()) {
        return None;
    }
    let top = steps[middle] - (after - before) / (2.0 * width * bend);
    Some((top.clamp(steps[0], steps[steps.len() - 1]), (-bend).recip().sqrt()))
}

/// The field that the blocks' estimates are observations of.
fn together(
    places: Vec<(f64, f64)>,
    log_factors: Vec<Vec<Option<(f64, f64)>>>,
    groups: &[Vec<usize>],
    components: usize,
) -> ChangeByBlock {
    let pairs = places.iter().flat_map(|a| places.iter().map(move |b| (a.0 - b.0).hypot(a.1 - b.1)));
    let longest = pairs.fold(f64::MIN_POSITIVE, f64::max);
    let spreads: Vec<f64> = (0..SPREADS.2).map(|k| SPREADS.0 * SPREADS.1.powi(k)).collect();
    // The spread of each group by itself at a range, and what all are likely together.
    let at_range = |range: f64| {
        let best = |known: &Vec<Option<(f64, f64)>>| {
            let likely = |&spread: &f64| (spread, Observed::new(&places, known, spread, range).log_likelihood());
            spreads.iter().map(likely).max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0.0, 0.0))
        };
        let found: Vec<(f64, f64)> = log_factors.iter().map(best).collect();
        let all: f64 = found.iter().map(|(_, likely)| likely).sum();
        (range, found.into_iter().map(|(spread, _)| spread).collect::<Vec<_>>(), all)
    };
    let tried = RANGES.iter().map(|share| at_range(share * longest));
    let (range, spread, likely) =
        tried.max_by(|a, b| a.2.total_cmp(&b.2)).unwrap_or((longest, Vec::new(), f64::NEG_INFINITY));
    let same: f64 = log_factors.iter().map(|known| Observed::new(&places, known, 0.0, range).log_likelihood()).sum();
    let known = log_factors.iter().flatten().flatten().count();
    let evidence = 2.0 * (likely - same) - (spread.len() + 1) as f64 * (known.max(1) as f64).ln();
    let mut factors = vec![vec![1.0; components]; places.len()];
    for ((known, &spread), group) in log_factors.iter().zip(&spread).zip(groups) {
        let means = Observed::new(&places, known, spread, range).means(&places);
        for (factors, mean) in factors.iter_mut().zip(&means) {
            group.iter().for_each(|&j| factors[j] = mean.exp());
        }
    }
    ChangeByBlock { places, log_factors, spread, range, evidence, factors }
}

/// A field of some spread and range, about the likeliest mean, that has been observed at some places.
struct Observed {
    places: Vec<(f64, f64)>,
    mean: f64,
    /// Without the mean.
    values: DVector<f64>,
    factor: Option<Cholesky<f64, Dyn>>,
    spread: f64,
    range: f64,
}

impl Observed {
    fn new(places: &[(f64, f64)], known: &[Option<(f64, f64)>], spread: f64, range: f64) -> Self {
        let (places, known): (Vec<_>, Vec<_>) =
            places.iter().zip(known).filter_map(|(place, known)| known.map(|known| (*place, known))).unzip();
        let entry = |i: usize, j: usize| {
            let noise = if i == j { known[i].1 * known[i].1 } else { 0.0 };
            spread * spread * exponential(places[i], places[j], range) + noise
        };
        let factor = Cholesky::new(DMatrix::from_fn(places.len(), places.len(), entry));
        let values = DVector::from_iterator(known.len(), known.iter().map(|(value, _)| *value));
        // Generalised least squares; 0 where nothing is known.
        let weights =
            factor.as_ref().map(|factor: &Cholesky<f64, Dyn>| factor.solve(&DVector::repeat(known.len(), 1.0)));
        let mean = weights.map(|weights| weights.dot(&values) / weights.sum()).filter(|mean| mean.is_finite());
        let mean = mean.unwrap_or(0.0);
        Self { places, mean, values: values.add_scalar(-mean), factor, spread, range }
    }

    /// Up to a constant.
    fn log_likelihood(&self) -> f64 {
        let Some(factor) = &self.factor else { return f64::NEG_INFINITY };
        let log_det: f64 = factor.l_dirty().diagonal().iter().map(|value| 2.0 * value.ln()).sum();
        -0.5 * (log_det + self.values.dot(&factor.solve(&self.values)))
    }

    /// What is expected at some places.
    fn means(&self, at: &[(f64, f64)]) -> Vec<f64> {
        let Some(factor) = &self.factor else { return vec![self.mean; at.len()] };
        let weights = factor.solve(&self.values) * (self.spread * self.spread);
        let known = || self.places.iter().zip(&weights);
        let of =
            |at: (f64, f64)| known().map(|(place, weight)| weight * exponential(at, *place, self.range)).sum::<f64>();
        at.iter().map(|&at| self.mean + of(at)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<(f64, f64)> {
        (0..16).map(|k| (f64::from(k % 4) * 1000.0, f64::from(k / 4) * 900.0)).collect()
    }

    #[test]
    fn a_parabola_is_found_and_what_does_not_bend_is_not() {
        let steps: Vec<f64> = (-10..=10).map(|k| f64::from(k) * 0.25).collect();
        let (top, sd) = peak(&steps, |k| -0.5 * ((steps[k] - 0.83) / 0.4).powi(2)).unwrap();
        assert!((top - 0.83).abs() < 1e-12 && (sd - 0.4).abs() < 1e-12);
        let (end, sd) = peak(&steps, |k| -0.5 * ((steps[k] - 9.0) / 2.0).powi(2)).unwrap();
        assert!(end == 2.5 && (sd - 2.0).abs() < 1e-9);
        assert_eq!(peak(&steps, |k| steps[k]), None);
        assert_eq!(peak(&steps, |_| f64::NEG_INFINITY), None);
    }

    #[test]
    fn what_is_the_same_everywhere_is_not_said_to_vary() {
        // Within its standard errors of 1, and of another factor.
        for common in [0.0, 1.5] {
            let known = |k: i32| Some((common + 0.2 * f64::from(k * 7 % 16 - 8) / 8.0, 0.2));
            let found = together(places(), vec![(0..16).map(known).collect()], &[vec![0]], 1);
            assert!(found.evidence < 0.0 && found.variation().is_none(), "{found}");
        }
    }

    #[test]
    fn what_varies_is_interpolated_between_what_is_known() {
        // From the west to the east, by a factor of e each 1500 m; one block does not tell.
        let log = |place: (f64, f64)| place.0 / 1500.0 - 1.0;
        let mut known: Vec<_> = places().iter().map(|&place| Some((log(place), 0.15))).collect();
        known[5] = None;
        let still = vec![Some((0.0, 0.1)); 16];
        let found = together(places(), vec![known, still], &[vec![2], vec![0, 1]], 3);
        assert!(found.evidence > 6.0 && found.variation().is_some(), "{found}");
        for (place, factors) in found.places.iter().zip(&found.factors) {
            assert!((factors[2].ln() - log(*place)).abs() < 0.25, "{place:?} {factors:?}");
            assert!((factors[0] - 1.0).abs() < 0.05 && factors[0] == factors[1], "{place:?} {factors:?}");
        }
    }
}
